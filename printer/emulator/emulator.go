// Package emulator is a virtual receipt printer.
package emulator

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"time"
)

// Config is a printer's build. The zero value is an 80 mm printer that prints
// at once, has no process ids, and keeps slips in memory only.
type Config struct {
	Dots       int        // printable width; 0 = 576
	BufferSize int        // receive buffer in bytes; 0 = 4096
	Flow       bool       // a full buffer holds the line up instead of losing bytes
	ProcessID  bool       // knows GS ( H
	Speed      int        // millimetres a second; 0 = at once
	Dir        string     // where finished slips are stored; empty = nowhere
	Keep       int        // slips kept in memory; 0 = 64
	OnSlip     func(Slip) // called after a slip was cut and stored
	Logger     *slog.Logger
}

// Printer is a virtual printer. It is safe for concurrent use.
type Printer struct{}

// New returns a printer with paper. It does no I/O.
func New(Config) *Printer { return &Printer{} }

// Slip is what fell off the knife.
type Slip struct {
	Number             int       // from 1, over the printer's life (that of Dir)
	ProcessIDs         [][4]byte // confirmed for it, in order
	Bytes              []byte    // what made it
	Problems           []Problem
	BytesFile, PNGFile string // with Config.Dir
}

// Problem is something in the stream that a printer would not understand or
// must not be sent.
type Problem struct {
	Offset int64
	What   string
}

// Text is the slip as text, one line a line.
func (s Slip) Text() string { return "" }

// PNG writes the slip as a picture, one pixel a dot.
func (s Slip) PNG(w io.Writer) error { return errors.New("not built yet") }

// Slips lists the slips kept in memory, oldest first.
func (p *Printer) Slips() []Slip { return nil }

// Find returns the slip that a process id was answered for, from memory or
// from Config.Dir.
func (p *Printer) Find(id [4]byte) (Slip, bool) { return Slip{}, false }

// Connect returns a new line to the printer, in memory. It is a printer.Port.
func (p *Printer) Connect() *Conn { return &Conn{} }

// Serve connects rw (a pty, a TCP connection) to the printer until it ends.
func (p *Printer) Serve(ctx context.Context, rw io.ReadWriteCloser) error { return nil }

// Render prints a stream on a printer of its own and returns the slips; what
// was not cut comes last.
func Render(stream []byte, dots int) ([]Slip, error) { return nil, errors.New("not built yet") }

// Conn is one line to the printer.
type Conn struct{}

func (c *Conn) Read(b []byte) (int, error)         { return 0, io.EOF }
func (c *Conn) Write(b []byte) (int, error)        { return 0, io.ErrClosedPipe }
func (c *Conn) Close() error                       { return nil }
func (c *Conn) SetReadDeadline(t time.Time) error  { return nil }
func (c *Conn) SetWriteDeadline(t time.Time) error { return nil }
