package printer

import (
	"context"
	"errors"
	"os"
	"strings"
	"time"

	"github.com/ssg-safe/agent/printer/escpos"
)

// ErrNotReady is what [Printer.Ready] returns, as a [*NotReadyError], when no
// job can be printed now.
var ErrNotReady = errors.New("printer not ready")

// Reason says why a printer is not ready, in a stable word.
type Reason string

// The reasons.
const (
	NoPort        Reason = "no_port" // the port cannot be opened, or is gone
	Silent        Reason = "silent"  // the port is open and nobody answers: not the same as offline
	Offline       Reason = "offline" // it says so and gives no better reason
	CoverOpen     Reason = "cover_open"
	PaperOut      Reason = "paper_out"
	FeedButton    Reason = "feed_button" // somebody holds it
	CutterError   Reason = "cutter_error"
	HeadHot       Reason = "head_hot"           // recovers by itself
	Unrecoverable Reason = "unrecoverable"      // needs a power cycle or a technician
	WaitsRecovery Reason = "waits_for_recovery" // a command or the feed button ends it
)

// NotReadyError names every reason found.
type NotReadyError struct {
	Reasons []Reason
	Err     error // what the line said, with NoPort and Silent
}

// Error lists the reasons.
func (e *NotReadyError) Error() string {
	words := make([]string, len(e.Reasons))
	for i, r := range e.Reasons {
		words[i] = string(r)
	}
	s := ErrNotReady.Error() + ": " + strings.Join(words, ", ")
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Is makes errors.Is(err, ErrNotReady) true.
func (e *NotReadyError) Is(target error) bool { return target == ErrNotReady }

// Unwrap returns Err.
func (e *NotReadyError) Unwrap() error { return e.Err }

// Paper is what the sensors say. A printer without a near-end sensor never
// says PaperLow.
type Paper string

// The states of the paper.
const (
	PaperUnknown Paper = "unknown"
	PaperOK      Paper = "ok"
	PaperLow     Paper = "low"
	PaperEnd     Paper = "end"
)

// Status is what a printer said of itself, or that nobody answered.
type Status struct {
	// Answered is false for a write-only port and for a silent printer.
	Answered bool
	// WriteOnly: the port has nobody who could answer; jobs end as Sent.
	WriteOnly bool

	Offline, CoverOpen, FeedButton, CutterError bool
	HeadHot, Unrecoverable, WaitsRecovery       bool
	Paper                                       Paper
}

// Problems lists what keeps the printer from printing; none = ready.
func (s Status) Problems() []Reason {
	var rs []Reason
	add := func(on bool, r Reason) {
		if on {
			rs = append(rs, r)
		}
	}
	add(s.CoverOpen, CoverOpen)
	add(s.Paper == PaperEnd, PaperOut)
	add(s.FeedButton, FeedButton)
	add(s.CutterError, CutterError)
	add(s.HeadHot, HeadHot)
	add(s.Unrecoverable, Unrecoverable)
	add(s.WaitsRecovery, WaitsRecovery)
	add(s.Offline && len(rs) == 0, Offline)
	return rs
}

// status asks the four groups, one after the other: an answer does not say
// which question it belongs to. The first may take extra time.
func (p *Printer) status(ctx context.Context, extra time.Duration) (Status, error) {
	// An answer left over from before would be taken for that of the first
	// question, and then each for that of the one before it, for ever.
	err := p.listen(ctx, time.Now().Add(quietTime), func(escpos.Reply) bool { return false })
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		return Status{}, err
	}
	var answer [5]byte
	for n := byte(1); n <= 4; n++ {
		if _, err := p.send(escpos.Status(n)); err != nil {
			return Status{}, err
		}
		err := p.listen(ctx, time.Now().Add(queryTime+extra), func(r escpos.Reply) bool {
			if r.Kind == escpos.RealTime {
				answer[n] = r.Byte
			}
			return r.Kind == escpos.RealTime
		})
		if err != nil {
			return Status{}, err
		}
		extra = 0
	}
	return statusOf(answer[1], answer[2], answer[3], answer[4]), nil
}

// statusOf reads the answers to DLE EOT 1 to 4 (Epson TM-T85, TM-U295 and
// others). Near end and end have two bits each, set together.
func statusOf(printer, offline, fault, paper byte) Status {
	s := Status{
		Answered:      true,
		Offline:       printer&0x08 != 0,
		WaitsRecovery: printer&0x20 != 0,
		FeedButton:    printer&0x40 != 0 || offline&0x08 != 0,
		CoverOpen:     offline&0x04 != 0,
		CutterError:   fault&0x08 != 0,
		Unrecoverable: fault&0x20 != 0,
		HeadHot:       fault&0x40 != 0,
		Paper:         PaperOK,
	}
	switch {
	case paper&0x60 == 0x60 || offline&0x20 != 0:
		s.Paper = PaperEnd
	case paper&0x0c == 0x0c:
		s.Paper = PaperLow
	}
	return s
}
