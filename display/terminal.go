package display

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/gdamore/tcell/v2"
	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// ErrNoTerminal says that there is no terminal to draw on: TERM unset, dumb or
// unknown, not a tty, or a locale whose character set lacks the blocks of a
// QR code. The caller goes on with Headless.
var ErrNoTerminal = errors.New("no usable terminal")

// errHangup ends a session whose terminal went away.
var errHangup = errors.New("terminal hung up")

// terminal is an open screen and the way back to a shell.
type terminal struct {
	screen tcell.Screen
	tty    *guard // nil in tests that bring a screen
}

// openTerminal opens the device, or the process's own terminal for "". A tty
// that takes no output holds it up until it does, or for the deadline after ctx
// ended.
func openTerminal(ctx context.Context, device string, deadline time.Duration) (terminal, error) {
	if device == "" {
		// What goes to a file or a pipe is not watched by anybody.
		if !term.IsTerminal(int(os.Stdout.Fd())) {
			return terminal{}, errors.New("standard output is not a terminal")
		}
		device = "/dev/tty"
	}
	switch name := os.Getenv("TERM"); name {
	case "", "dumb":
		return terminal{}, fmt.Errorf("TERM is %q: set it to the terminal's type, such as linux", name)
	}
	g, err := newGuard(device)
	if err != nil {
		return terminal{}, err
	}
	type result struct {
		screen tcell.Screen
		err    error
	}
	opened := make(chan result, 1)
	go func() {
		screen, err := newScreen(device)
		opened <- result{screen, err}
	}()
	var r result
	select {
	case r = <-opened:
	case <-ctx.Done():
		// Time to get to where it waits, or the mode would change after it was
		// put back.
		select {
		case r = <-opened:
		case <-time.After(deadline):
			r.err = ctx.Err()
			g.restore()
		}
	}
	if r.err != nil {
		g.close()
		return terminal{}, r.err
	}
	return terminal{r.screen, g}, nil
}

// newScreen starts tcell on a device.
func newScreen(device string) (tcell.Screen, error) {
	tty, err := tcell.NewDevTtyFromDev(device)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", device, err)
	}
	screen, err := tcell.NewTerminfoScreenFromTty(tty)
	if err != nil {
		return nil, fmt.Errorf("TERM is %q: %w", os.Getenv("TERM"), err)
	}
	if err := screen.Init(); err != nil {
		return nil, fmt.Errorf("start the terminal: %w (the locale must be UTF-8: set LC_ALL=C.UTF-8)", err)
	}
	switch cs := screen.CharacterSet(); strings.ToLower(cs) {
	case "utf-8", "utf8":
		return screen, nil
	default:
		screen.Fini()
		return nil, fmt.Errorf("the locale's character set %s has no blocks to draw a code with: set LC_ALL=C.UTF-8", cs)
	}
}

// guard remembers the mode a tty had, and can put it back without tcell and
// without waiting for anything.
type guard struct {
	f     *os.File
	conn  syscall.RawConn
	state *term.State
}

func newGuard(device string) (*guard, error) {
	f, err := os.OpenFile(device, os.O_RDWR|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, fmt.Errorf("open the terminal: %w", err)
	}
	g := &guard{f: f}
	if g.conn, err = f.SyscallConn(); err == nil {
		cerr := g.conn.Control(func(fd uintptr) { g.state, err = term.GetState(int(fd)) })
		err = errors.Join(cerr, err)
	}
	if err != nil {
		g.close()
		return nil, fmt.Errorf("%s is not a terminal: %w", device, err)
	}
	return g, nil
}

// restore gives the tty its mode back and shows the cursor. A tty that takes no
// output at the moment gets the mode only.
func (g *guard) restore() {
	_ = g.conn.Control(func(fd uintptr) { _ = term.Restore(int(fd), g.state) })
	// Attributes off, cursor on, no application keypad, the first screen.
	_ = g.f.SetWriteDeadline(time.Now().Add(100 * time.Millisecond))
	_, _ = g.f.WriteString("\x1b[m\x1b[?25h\x1b[?1l\x1b>\x1b[?1049l\r\n")
}

func (g *guard) close() { _ = g.f.Close() }
