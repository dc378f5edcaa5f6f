// Package printer turns documents into slips that are known to be printed.
package printer

import (
	"context"
	"errors"
	"log/slog"
)

// Printer speaks with one printer. It is used by one goroutine at a time.
type Printer struct {
	open    func(context.Context) (Port, error)
	profile Profile
	log     *slog.Logger
}

// New returns a Printer that opens its port when it needs it. It does no I/O.
func New(open func(context.Context) (Port, error), p Profile, log *slog.Logger) *Printer {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Printer{open: open, profile: p, log: log}
}

// Ready opens the port if needed and asks the printer how it is. A nil error
// means that a job may be sent now; otherwise the error is [ErrNotReady] as a
// [*NotReadyError].
func (p *Printer) Ready(ctx context.Context) (Status, error) {
	return Status{}, &NotReadyError{Reasons: []Reason{NoPort}, Err: errors.New("not built yet")}
}

// Print sends a job once and waits for its confirmation. Call Ready before.
func (p *Printer) Print(ctx context.Context, j Job) Result { return Result{} }

// Resolve asks what became of a job that ended Unknown.
func (p *Printer) Resolve(ctx context.Context, id string) Result { return Result{Outcome: Unknown} }

// Close gives the port back. The Printer may be used again.
func (p *Printer) Close() error { return nil }

// OpenUSB opens a printer of the kernel's usblp driver, such as /dev/usb/lp0.
func OpenUSB(path string) (Port, error) { return nil, errors.New("not built yet") }

// DialTCP connects to a network printer; addr is host:port (port 9100 as a
// rule).
func DialTCP(ctx context.Context, addr string) (Port, error) {
	return nil, errors.New("not built yet")
}

// CreateFile opens a file to which jobs are appended. Nobody answers there:
// jobs end as [Sent], tier D.
func CreateFile(path string) (Port, error) { return nil, errors.New("not built yet") }
