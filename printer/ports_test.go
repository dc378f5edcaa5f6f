package printer_test

import (
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"github.com/ssg-safe/agent/printer"
	"github.com/ssg-safe/agent/printer/emulator"
)

// talk prints a slip over a port and checks that it came out.
func talk(t *testing.T, paper *emulator.Printer, p *printer.Printer, id string) {
	t.Helper()
	prof := profile(t, "epson-80")
	if s, err := p.Ready(t.Context()); err != nil {
		t.Fatalf("not ready: %v (%+v)", err, s)
	}
	j, err := printer.NewJob(id, twentyLines(), prof)
	if err != nil {
		t.Fatal(err)
	}
	if r := p.Print(t.Context(), j); r.Outcome != printer.Confirmed {
		t.Fatalf("got %+v", r)
	}
	s, ok, err := paper.Find(printer.ProcessID(id))
	if err != nil || !ok {
		t.Fatalf("no slip: %v", err)
	}
	if !bytes.Equal(s.Bytes[len(s.Bytes)-len(j.Bytes):], j.Bytes) || len(s.Problems) > 0 {
		t.Errorf("the slip was made of other bytes; problems %v", s.Problems)
	}
}

// serve runs the emulator on a connection until the test ends.
func serve(t *testing.T, paper *emulator.Printer, accept func() (net.Conn, error)) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := accept()
			if err != nil {
				return
			}
			paper.Serve(t.Context(), c) //nolint:errcheck // each test ends it in its own way
		}
	}()
	t.Cleanup(func() { <-done })
}

func TestTCP(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	paper := emulator.New(emulator.Config{ProcessID: true})
	serve(t, paper, l.Accept)
	addr := l.Addr().String()
	p := printer.New(func(ctx context.Context) (printer.Port, error) { return printer.DialTCP(ctx, addr) }, profile(t, "epson-80"), nil)
	talk(t, paper, p, "1")
	paper.HangUp() // the printer restarts its network
	talk(t, paper, p, "2")
	paper.SetCover(true)
	if _, err := p.Ready(t.Context()); !errors.Is(err, printer.ErrNotReady) {
		t.Errorf("cover open: %v", err)
	}
	l.Close()
	paper.HangUp()
	_, err = p.Ready(t.Context())
	if nr, ok := errors.AsType[*printer.NotReadyError](err); !ok || nr.Reasons[0] != printer.NoPort {
		t.Errorf("nobody listens: %v", err)
	}
}

// device is a pty in the role of /dev/usb/lp0: the printer's end, and the name
// of the other.
func device(t *testing.T) (far *os.File, name string) {
	t.Helper()
	far, near, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := term.MakeRaw(int(near.Fd())); err != nil {
		t.Fatal(err)
	}
	// The pair comes in blocking mode, in which a close does not end a read.
	fd, err := unix.FcntlInt(far.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		t.Fatal(err)
	}
	far.Close()
	far = os.NewFile(uintptr(fd), far.Name())
	t.Cleanup(func() {
		near.Close() // until here, so that the far end outlives a reopening
		far.Close()
	})
	return far, near.Name()
}

func TestUSB(t *testing.T) {
	far, name := device(t)
	paper := emulator.New(emulator.Config{ProcessID: true})
	done := make(chan error)
	ctx, cancel := context.WithCancel(t.Context())
	go func() { done <- paper.Serve(ctx, far) }()

	p := printer.New(func(context.Context) (printer.Port, error) { return printer.OpenUSB(name) }, profile(t, "epson-80"), nil)
	talk(t, paper, p, "1")
	if _, err := printer.OpenUSB(name); err == nil || !strings.Contains(err.Error(), "another program") {
		t.Errorf("opened twice: %v", err)
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	talk(t, paper, p, "2") // opened again

	cancel() // unplugged
	<-done
	j, err := printer.NewJob("3", twentyLines(), profile(t, "epson-80"))
	if err != nil {
		t.Fatal(err)
	}
	if r := p.Print(t.Context(), j); r.Outcome != printer.NotStarted {
		t.Errorf("after the unplug: %+v", r)
	}
	if _, err := p.Ready(t.Context()); !errors.Is(err, printer.ErrNotReady) {
		t.Errorf("after the unplug: %v", err)
	}
}

// TestUSBHeldUp: a printer that stops reading in the middle of a job costs a
// deadline, and the count of what went out is that of the kernel.
func TestUSBHeldUp(t *testing.T) {
	far, name := device(t)
	paper := emulator.New(emulator.Config{ProcessID: true})
	done := make(chan error)
	ctx, cancel := context.WithCancel(t.Context())
	go func() { done <- paper.Serve(ctx, far) }()
	prof := profile(t, "epson-80")
	prof.Stall, prof.Rate = 100*time.Millisecond, 0
	p := printer.New(func(context.Context) (printer.Port, error) { return printer.OpenUSB(name) }, prof, nil)
	if _, err := p.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	paper.Stall(true)
	big := printer.Job{ID: "1", Bytes: bytes.Repeat([]byte("x"), 1<<20)}
	r := p.Print(t.Context(), big)
	if r.Outcome != printer.Unknown || r.Accepted == 0 || r.Accepted >= len(big.Bytes) || !strings.Contains(r.Reason, "timeout") {
		t.Errorf("got %+v", r)
	}
	cancel()
	<-done
}

func TestOpenUSBRefuses(t *testing.T) {
	for _, name := range []string{t.TempDir(), "/does/not/exist"} {
		if _, err := printer.OpenUSB(name); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
