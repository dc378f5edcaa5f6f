package display

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/creack/pty"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// emulator is the far end of a pty: what is written to it is kept, what is
// typed on it goes to the program.
type emulator struct {
	master, slave *os.File

	mu   sync.Mutex
	grew *sync.Cond
	out  bytes.Buffer
	gone bool
}

// newEmulator opens a pty of 100 by 30 cells with the environment of a Linux
// console. Reading it may be left to the test.
func newEmulator(t *testing.T, read bool) *emulator {
	t.Helper()
	t.Setenv("TERM", "linux")
	t.Setenv("LC_ALL", "C.UTF-8")
	t.Setenv("NO_COLOR", "")
	blocking, slave, err := pty.Open()
	if err != nil {
		t.Fatalf("open a pty: %v", err)
	}
	// A descriptor that Close interrupts.
	fd, err := unix.Dup(int(blocking.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	blocking.Close()
	if err := unix.SetNonblock(fd, true); err != nil {
		t.Fatal(err)
	}
	master := os.NewFile(uintptr(fd), "ptmx")
	e := &emulator{master: master, slave: slave}
	e.resize(t, 100, 30)
	e.grew = sync.NewCond(&e.mu)
	t.Cleanup(func() { master.Close(); slave.Close() })
	if read {
		go e.read()
	}
	return e
}

func (e *emulator) resize(t *testing.T, cols, rows uint16) {
	t.Helper()
	conn, err := e.master.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	cerr := conn.Control(func(fd uintptr) {
		err = unix.IoctlSetWinsize(int(fd), unix.TIOCSWINSZ, &unix.Winsize{Row: rows, Col: cols})
	})
	if err := errors.Join(cerr, err); err != nil {
		t.Fatal(err)
	}
}

// stuff types until nothing more is read: every queue behind the pty is full then.
func (e *emulator) stuff(t *testing.T) {
	t.Helper()
	for {
		if err := e.master.SetWriteDeadline(time.Now().Add(time.Second)); err != nil {
			t.Fatal(err)
		}
		_, err := io.WriteString(e.master, "\r"+strings.Repeat("x", 99))
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func (e *emulator) read() {
	buf := make([]byte, 4096)
	for {
		n, err := e.master.Read(buf)
		e.mu.Lock()
		e.out.Write(buf[:n])
		e.gone = err != nil
		e.grew.Broadcast()
		e.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// await waits until text was written, and forgets everything up to its end.
func (e *emulator) await(t *testing.T, text string) {
	t.Helper()
	e.mu.Lock()
	defer e.mu.Unlock()
	for {
		if _, rest, ok := bytes.Cut(e.out.Bytes(), []byte(text)); ok {
			rest = bytes.Clone(rest)
			e.out.Reset()
			e.out.Write(rest)
			return
		}
		if e.gone {
			t.Fatalf("the terminal was closed before %q came", text)
		}
		e.grew.Wait()
	}
}

func (e *emulator) name() string { return e.slave.Name() }

// mode is the tty's mode: echo, line editing, signals.
func (e *emulator) mode(t *testing.T) unix.Termios {
	t.Helper()
	m, err := unix.IoctlGetTermios(int(e.slave.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	return *m
}

// running starts d and returns how to end it.
func running(t *testing.T, d *Display) (stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- d.Run(ctx) }()
	return func() error { cancel(); return <-done }
}

// TestRealTerminal runs a display on a pty: draws, reads keys, follows the
// size, and leaves the tty as it was.
func TestRealTerminal(t *testing.T) {
	e := newEmulator(t, true)
	before := e.mode(t)
	keys, drawn := make(chan Key, 10), make(chan Drawn, 10)
	o := testOptions()
	o.Tty, o.Keys, o.Drawn = e.name(), func(k Key) { keys <- k }, func(d Drawn) { drawn <- d }
	d := New(o)
	d.Show(sample(QR))
	stop := running(t, d)
	if got := <-drawn; !got.QR {
		t.Error("no code on a terminal of 100x30")
	}
	// Bold white on black: the light modules of a console with eight colours.
	e.await(t, "\x1b[37;40m\x1b[1m███")
	if got := e.mode(t); got.Lflag&(unix.ECHO|unix.ICANON) != 0 {
		t.Errorf("got local flags %x, want no echo and no line editing", got.Lflag)
	}
	for _, tc := range []struct {
		typed string
		want  Key
	}{{"7", Key{Digit, 7}}, {"\r", Key{Kind: Confirm}}, {"\x7f", Key{Kind: Backspace}}, {"\x1b", Key{Kind: Cancel}}, {"\x03", Key{Kind: Interrupt}}} {
		if _, err := io.WriteString(e.master, tc.typed); err != nil {
			t.Fatal(err)
		}
		if got := <-keys; got != tc.want {
			t.Errorf("typed %q: got %+v, want %+v", tc.typed, got, tc.want)
		}
	}
	e.resize(t, 50, 20)
	d.Show(sample(QR)) // no SIGWINCH comes from a tty that does not control us
	for got := range drawn {
		if !got.QR {
			break
		}
	}
	if err := stop(); err != nil {
		t.Errorf("Run: %v", err)
	}
	if diff := cmp.Diff(e.mode(t), before); diff != "" {
		t.Errorf("mode of the tty afterwards (-got +want):\n%s", diff)
	}
	e.await(t, "\x1b[?25h") // the cursor is back
}

// TestEventFlood types faster than anybody reads, also while the display ends.
// Then tcell may still get stuck, between two of its own goroutines, and the
// deadline has to end it.
func TestEventFlood(t *testing.T) {
	e := newEmulator(t, true)
	before := e.mode(t)
	drawn := make(chan Drawn, 10)
	o := testOptions()
	o.Tty, o.Drawn = e.name(), func(d Drawn) { drawn <- d }
	d := New(o)
	d.deadline = 300 * time.Millisecond
	d.Show(sample(Idle))
	stop := running(t, d)
	<-drawn
	ended, flooding := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(flooding)
		for n := 0; ; n++ {
			select {
			case <-ended:
				return
			default:
			}
			// The tty's own queue holds 4 KiB: more is dropped or waits.
			if _, err := io.WriteString(e.master, strings.Repeat("x", 100)); err != nil {
				return
			}
			if n == 20 {
				d.Show(sample(Paid))
			}
		}
	}()
	<-drawn
	if err := stop(); err != nil {
		t.Errorf("Run: %v", err)
	}
	close(ended)
	if err := e.master.SetWriteDeadline(time.Now()); err != nil { // a write that waits
		t.Fatal(err)
	}
	<-flooding
	if diff := cmp.Diff(e.mode(t), before); diff != "" {
		t.Errorf("mode of the tty afterwards (-got +want):\n%s", diff)
	}
}

// TestStuckQueue is the case in which tcell's Fini never returns: nobody reads
// the queue, because the keys' consumer blocks against its contract. The
// deadline passes, and the tty is put back all the same.
func TestStuckQueue(t *testing.T) {
	e := newEmulator(t, true)
	before := e.mode(t)
	drawn, block := make(chan Drawn, 10), make(chan struct{})
	defer close(block)
	var log bytes.Buffer
	o := testOptions()
	o.Tty, o.Drawn, o.Keys = e.name(), func(d Drawn) { drawn <- d }, func(Key) { <-block }
	o.Logger = slog.New(slog.NewTextHandler(&log, nil))
	d := New(o)
	d.deadline = 300 * time.Millisecond
	d.Show(sample(Idle))
	stop := running(t, d)
	<-drawn
	e.stuff(t)
	d.Show(sample(Paid)) // drawing goes on
	<-drawn
	if err := stop(); err != nil {
		t.Errorf("Run: %v", err)
	}
	if !strings.Contains(log.String(), "terminal is stuck") {
		t.Errorf("got log %q, want the terminal to be stuck", &log)
	}
	if diff := cmp.Diff(e.mode(t), before); diff != "" {
		t.Errorf("mode of the tty afterwards (-got +want):\n%s", diff)
	}
	e.await(t, "\x1b[?25h")
}

// TestStuckOutput: the terminal takes no output (scroll lock, a serial line with
// its flow stopped), from the start or later on. The program still ends.
func TestStuckOutput(t *testing.T) {
	for _, when := range []string{"from the start", "later"} {
		t.Run(when, func(t *testing.T) {
			e := newEmulator(t, true)
			before := e.mode(t)
			flow := func(action int) {
				if err := unix.IoctlSetInt(int(e.slave.Fd()), unix.TCXONC, action); err != nil {
					t.Fatal(err)
				}
			}
			defer flow(unix.TCOON)
			if when != "later" {
				flow(unix.TCOOFF)
			}
			drawn := make(chan Drawn, 10)
			opening := make(chan struct{}, 1)
			o := testOptions()
			o.Tty, o.Drawn = e.name(), func(d Drawn) { drawn <- d }
			d := New(o)
			d.deadline = 300 * time.Millisecond
			open := d.open
			d.open = func(ctx context.Context) (terminal, error) {
				opening <- struct{}{}
				return open(ctx)
			}
			d.Show(sample(QR))
			stop := running(t, d)
			<-opening
			if when == "later" {
				<-drawn
				flow(unix.TCOOFF)
				d.Show(sample(Paid))
			}
			if err := stop(); err != nil {
				t.Errorf("Run: %v", err)
			}
			if len(drawn) > 0 {
				t.Errorf("%v was reported as drawn", <-drawn)
			}
			if diff := cmp.Diff(e.mode(t), before); diff != "" {
				t.Errorf("mode of the tty afterwards (-got +want):\n%s", diff)
			}
		})
	}
}

// TestTtyHangup closes the terminal under the display, which draws on the next
// one.
func TestTtyHangup(t *testing.T) {
	first, second := newEmulator(t, true), newEmulator(t, true)
	drawn := make(chan Drawn, 10)
	o := testOptions()
	o.Drawn = func(d Drawn) { drawn <- d }
	d := New(o)
	d.pause = time.Millisecond
	next := []string{first.name(), "/dev/null", second.name()}
	d.open = func(ctx context.Context) (terminal, error) {
		name := next[0]
		next = next[1:]
		return openTerminal(ctx, name, d.deadline)
	}
	d.Show(sample(QR))
	stop := running(t, d)
	if got := <-drawn; !got.QR {
		t.Error("no code on the first terminal")
	}
	first.master.Close()
	if got := <-drawn; got.QR {
		t.Error("the code is still reported after the hang-up")
	}
	if got := <-drawn; !got.QR {
		t.Error("no code on the second terminal")
	}
	second.await(t, "███")
	d.Show(sample(Paid))
	second.await(t, "Confirmado")
	if err := stop(); err != nil {
		t.Errorf("Run: %v", err)
	}
}

// TestPanicLeavesTheTtyUsable: echo, line editing and cursor are back before the
// panic goes on.
func TestPanicLeavesTheTtyUsable(t *testing.T) {
	e := newEmulator(t, true)
	before := e.mode(t)
	o := testOptions()
	o.Tty, o.Drawn = e.name(), func(Drawn) { panic("boom") }
	d := New(o)
	d.Show(sample(Idle))
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the panic did not come out of Run")
			}
			if diff := cmp.Diff(e.mode(t), before); diff != "" {
				t.Errorf("mode of the tty (-got +want):\n%s", diff)
			}
		}()
		_ = d.Run(t.Context())
	}()
	e.await(t, "\x1b[?25h")
}

// TestNoTerminal: everything that makes a terminal unusable is said, and comes
// as ErrNoTerminal. The tty is left as it was.
func TestNoTerminal(t *testing.T) {
	for _, tc := range []struct {
		name, term, locale, tty string
		want                    string
	}{
		{"TERM unset", "", "C.UTF-8", "pty", `TERM is ""`},
		{"dumb", "dumb", "C.UTF-8", "pty", `TERM is "dumb"`},
		{"unknown", "no-such-terminal", "C.UTF-8", "pty", `TERM is "no-such-terminal"`},
		{"locale C", "linux", "C", "pty", "LC_ALL=C.UTF-8"},
		{"locale POSIX", "linux", "POSIX", "pty", "LC_ALL=C.UTF-8"},
		{"Latin-1", "linux", "pt_BR.ISO-8859-1", "pty", "LC_ALL=C.UTF-8"},
		{"no tty", "linux", "C.UTF-8", "/dev/null", "/dev/null is not a terminal"},
		{"no device", "linux", "C.UTF-8", "/dev/no-such-tty", "/dev/no-such-tty"},
		{"a file", "linux", "C.UTF-8", "pty_test.go", "pty_test.go is not a terminal"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			e := newEmulator(t, true)
			before := e.mode(t)
			t.Setenv("TERM", tc.term)
			t.Setenv("LC_ALL", tc.locale)
			if tc.tty == "pty" {
				tc.tty = e.name()
			}
			d := New(Options{Tty: tc.tty})
			d.Show(View{State: Idle})
			err := d.Run(t.Context())
			if !errors.Is(err, ErrNoTerminal) || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want ErrNoTerminal naming %s", err, tc.want)
			}
			if diff := cmp.Diff(e.mode(t), before); diff != "" {
				t.Errorf("mode of the tty (-got +want):\n%s", diff)
			}
		})
	}
	// Locales that are fine.
	for _, locale := range []string{"", "pt_BR", "pt_BR.UTF-8", "en_US.utf8"} {
		t.Run("locale "+locale, func(t *testing.T) {
			e := newEmulator(t, true)
			t.Setenv("LC_ALL", locale)
			t.Setenv("LC_CTYPE", "")
			t.Setenv("LANG", "")
			drawn := make(chan Drawn, 1)
			d := New(Options{Tty: e.name(), Drawn: func(d Drawn) { drawn <- d }})
			d.Show(sample(QR))
			stop := running(t, d)
			if got := <-drawn; !got.QR {
				t.Error("no code on the screen")
			}
			if err := stop(); err != nil {
				t.Errorf("Run: %v", err)
			}
		})
	}
}

// TestOutputToAFile: a program whose output goes elsewhere has no screen.
func TestOutputToAFile(t *testing.T) {
	t.Setenv("TERM", "linux")
	f, err := os.Create(t.TempDir() + "/out")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	old := os.Stdout
	os.Stdout = f
	defer func() { os.Stdout = old }()
	if err := New(Options{}).Run(t.Context()); !errors.Is(err, ErrNoTerminal) || !strings.Contains(err.Error(), "standard output") {
		t.Errorf("got %v, want ErrNoTerminal about standard output", err)
	}
}
