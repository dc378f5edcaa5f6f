package device

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"

	_ "github.com/ssg-safe/agent/internal/bubbles"
)

// What the printer package, and any other driver, expects of a port.
var _ interface {
	io.ReadWriteCloser
	SetReadDeadline(time.Time) error
	SetWriteDeadline(time.Time) error
} = (*Serial)(nil)

// line opens a pseudo-terminal and a Serial on its far end.
func line(t *testing.T, c SerialConfig) (master *os.File, s *Serial) {
	t.Helper()
	master, tty, err := pty.Open()
	if err != nil {
		t.Fatalf("open pty: %v", err)
	}
	t.Cleanup(func() { master.Close() })
	c.Path = tty.Name()
	if c.Baud == 0 {
		c.Baud = 9600
	}
	s, err = OpenSerial(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	if err := tty.Close(); err != nil {
		t.Fatal(err)
	}
	return master, s
}

func termios(t *testing.T, s *Serial) unix.Termios {
	t.Helper()
	var got *unix.Termios
	err := s.control(func(fd int) (err error) {
		got, err = unix.IoctlGetTermios(fd, unix.TCGETS)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return *got
}

// fill writes until the line takes no more, and returns how much it took.
func fill(t *testing.T, s *Serial) int {
	t.Helper()
	if err := s.SetWriteDeadline(time.Now().Add(30 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	n, err := s.Write(make([]byte, 1<<20))
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("write to a full line: %d bytes, %v; want a deadline", n, err)
	}
	if err := s.SetWriteDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestSerialPassesEveryByte(t *testing.T) {
	master, s := line(t, SerialConfig{})
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	for _, way := range []struct {
		name string
		w    io.Writer
		r    io.Reader
	}{{"out", s, master}, {"in", master, s}} {
		t.Run(way.name, func(t *testing.T) {
			if _, err := way.w.Write(all); err != nil {
				t.Fatal(err)
			}
			got := make([]byte, len(all))
			if _, err := io.ReadFull(way.r, got); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, all) {
				t.Errorf("got %x", got)
			}
		})
	}
}

func TestSerialDeadlines(t *testing.T) {
	master, s := line(t, SerialConfig{})

	if err := s.SetReadDeadline(time.Now().Add(10 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	n, err := s.Read(make([]byte, 8))
	if n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, ErrHangUp) {
		t.Errorf("idle read: %d, %v; want a deadline and no hang-up", n, err)
	}

	taken := fill(t, s)
	if taken == 0 || taken == 1<<20 {
		t.Fatalf("stalled write took %d bytes; want a part", taken)
	}
	// What was counted is what arrives: nothing is lost, nothing is added.
	got := make([]byte, taken)
	if _, err := io.ReadFull(master, got); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Write([]byte{0xA5}); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(master, got[:1]); err != nil || got[0] != 0xA5 {
		t.Errorf("after %d counted bytes: got %#x, %v; want the next write's a5", taken, got[0], err)
	}

	// A deadline set while a read is in progress ends it.
	ended := make(chan error, 1)
	if err := s.SetReadDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
	go func() {
		_, err := s.Read(make([]byte, 1))
		ended <- err
	}()
	if err := s.SetReadDeadline(time.Now()); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("read with its deadline moved to now: %v", err)
	}
}

func TestSerialHangUp(t *testing.T) {
	master, s := line(t, SerialConfig{})
	ended := make(chan error, 1)
	go func() {
		_, err := s.Read(make([]byte, 1))
		ended <- err
	}()
	if err := master.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; !errors.Is(err, ErrHangUp) || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("read in progress: %v; want ErrHangUp", err)
	}
	if _, err := s.Read(make([]byte, 1)); !errors.Is(err, ErrHangUp) {
		t.Errorf("read: %v; want ErrHangUp", err)
	}
	if n, err := s.Write([]byte("x")); n != 0 || !errors.Is(err, ErrHangUp) {
		t.Errorf("write: %d, %v; want ErrHangUp", n, err)
	}
	if err := s.Drain(t.Context()); !errors.Is(err, ErrHangUp) {
		t.Errorf("drain: %v; want ErrHangUp", err)
	}
	if err := s.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
}

// The loser of a race for the port must leave the winner's settings alone: with
// the lock taken after tarm/serial, flow control and rate would be gone here.
func TestSerialSecondOpenIsRefused(t *testing.T) {
	_, s := line(t, SerialConfig{Baud: 115200, Flow: FlowRTSCTS})
	before := termios(t, s)
	if before.Cflag&unix.CRTSCTS == 0 || before.Cflag&unix.CBAUD != unix.B115200 {
		t.Fatalf("control flags %#x: want CRTSCTS and 115200", before.Cflag)
	}
	link := filepath.Join(t.TempDir(), "printer")
	if err := os.Symlink(s.path, link); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{s.path, link} {
		if _, err := OpenSerial(SerialConfig{Path: path, Baud: 9600}); !errors.Is(err, ErrInUse) {
			t.Errorf("second open of %s: %v; want ErrInUse", path, err)
		}
	}
	if after := termios(t, s); after != before {
		t.Errorf("the refused open changed the line: %+v, was %+v", after, before)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := OpenSerial(SerialConfig{Path: s.path, Baud: 9600})
	if err != nil {
		t.Fatalf("open after close: %v", err)
	}
	if err := again.Close(); err != nil {
		t.Error(err)
	}
}

func TestSerialCloseEndsEverything(t *testing.T) {
	_, s := line(t, SerialConfig{})
	fill(t, s)
	calls := map[string]func() error{
		"read":  func() error { _, err := s.Read(make([]byte, 1)); return err },
		"write": func() error { _, err := s.Write(make([]byte, 1<<20)); return err },
		"drain": func() error { return s.Drain(t.Context()) },
	}
	type result struct {
		name string
		err  error
	}
	ended := make(chan result)
	var begun sync.WaitGroup
	begun.Add(len(calls))
	for name, call := range calls {
		go func() {
			begun.Done()
			ended <- result{name, call()}
		}()
	}
	begun.Wait()
	if err := s.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
	for range calls {
		r := <-ended
		// A pseudo-terminal's queue is empty, so a drain may just be done.
		if !errors.Is(r.err, os.ErrClosed) && (r.name != "drain" || r.err != nil) {
			t.Errorf("%s at close: %v; want os.ErrClosed", r.name, r.err)
		}
	}
	if err := s.Close(); err != nil {
		t.Errorf("second close: %v", err)
	}
}

func TestSerialXonXoff(t *testing.T) {
	master, s := line(t, SerialConfig{Flow: FlowXonXoff})
	got := termios(t, s)
	if got.Iflag&(unix.IXON|unix.IXOFF) != unix.IXON|unix.IXOFF || got.Cc[unix.VSTART] != 0x11 || got.Cc[unix.VSTOP] != 0x13 {
		t.Fatalf("input flags %#x, start %#x, stop %#x", got.Iflag, got.Cc[unix.VSTART], got.Cc[unix.VSTOP])
	}
	// The printer says stop, then answers a status byte: once that is read, the
	// stop has been obeyed.
	if _, err := master.Write([]byte{0x13, 0x12}); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 8)
	if n, err := s.Read(b); err != nil || n != 1 || b[0] != 0x12 {
		t.Fatalf("read %x, %v; want the status byte alone", b[:n], err)
	}
	if err := s.SetWriteDeadline(time.Now().Add(20 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if n, err := s.Write([]byte("held")); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("write while stopped: %d, %v; want a deadline", n, err)
	}
	if err := s.SetWriteDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
	if _, err := master.Write([]byte{0x11}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Write([]byte("go on")); err != nil {
		t.Fatal(err)
	}
	if n, err := io.ReadFull(master, b[:5]); err != nil || string(b[:n]) != "go on" {
		t.Errorf("got %q, %v", b[:n], err)
	}
}

func TestSerialDrainAndFlush(t *testing.T) {
	master, s := line(t, SerialConfig{})
	if err := s.Drain(t.Context()); err != nil {
		t.Errorf("drain of an idle line: %v", err)
	}
	if _, err := master.Write([]byte("old answer")); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 64)
	if _, err := s.Read(b[:1]); err != nil || b[0] != 'o' { // it has arrived
		t.Fatalf("read %q, %v", b[:1], err)
	}
	if err := s.Flush(); err != nil {
		t.Fatal(err)
	}
	if _, err := master.Write([]byte("new")); err != nil {
		t.Fatal(err)
	}
	if n, err := s.Read(b); err != nil || string(b[:n]) != "new" {
		t.Errorf("after flush: read %q, %v; want the new answer alone", b[:n], err)
	}
}

// A pseudo-terminal has no output queue of its own, so the waiting is tested on
// a line that is only numbers.
func TestDrainWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		left, fifo := 100, 5
		queued := func() (int, error) { left = max(0, left-10); return left, nil }
		empty := func() bool { fifo--; return fifo == 0 }
		if err := drain(t.Context(), queued, empty); err != nil {
			t.Error(err)
		}
		if left != 0 || fifo != 0 {
			t.Errorf("drained with %d bytes queued and %d in the transmitter", left, fifo)
		}
		if took := time.Since(begin); took != 13*drainStep {
			t.Errorf("took %v, want %v", took, 13*drainStep)
		}

		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		held := func() (int, error) { return 42, nil }
		if err := drain(ctx, held, empty); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "42 bytes wait") {
			t.Errorf("drain of a held line: %v", err)
		}
	})
}

// No pseudo-terminal refuses to close, as a UART with unsent bytes does.
func TestCloseGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		letGo := make(chan struct{})
		if err := within(closeLimit, func() error { <-letGo; return nil }); !errors.Is(err, ErrStuck) {
			t.Errorf("got %v, want ErrStuck", err)
		}
		if took := time.Since(begin); took != closeLimit {
			t.Errorf("gave up after %v, want %v", took, closeLimit)
		}
		close(letGo)
		if err := within(closeLimit, func() error { return io.ErrUnexpectedEOF }); err != io.ErrUnexpectedEOF {
			t.Errorf("got %v, want the close's own error", err)
		}
	})
}

func TestSerialOpenErrors(t *testing.T) {
	plain := filepath.Join(t.TempDir(), "plain")
	if err := os.WriteFile(plain, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	master, tty, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer master.Close()
	defer tty.Close()

	for _, test := range []struct {
		name string
		c    SerialConfig
		is   error
		says string
	}{
		{"absent", SerialConfig{Path: "/dev/serial/by-id/none", Baud: 9600}, fs.ErrNotExist, "by-id/none"},
		{"a file", SerialConfig{Path: plain, Baud: 9600}, nil, "not a device"},
		{"not a line", SerialConfig{Path: "/dev/null", Baud: 9600}, nil, "not a"},
		{"odd rate", SerialConfig{Path: tty.Name(), Baud: 9601}, nil, "9601"},
		// A pseudo-terminal has no parity and 8 bits, and says nothing about it.
		{"parity refused by the driver", SerialConfig{Path: tty.Name(), Baud: 9600, Parity: ParityEven}, nil, "does not support"},
		{"size refused by the driver", SerialConfig{Path: tty.Name(), Baud: 9600, DataBits: 7}, nil, "does not support"},
		{"everything wrong", SerialConfig{Baud: -1, DataBits: 9, Parity: "mark", StopBits: 3, Flow: "dtrdsr"}, nil, "flow: \"dtrdsr\""},
	} {
		t.Run(test.name, func(t *testing.T) {
			s, err := OpenSerial(test.c)
			if err == nil {
				s.Close()
				t.Fatal("opened")
			}
			if test.is != nil && !errors.Is(err, test.is) {
				t.Errorf("%v is not %v", err, test.is)
			}
			if !strings.Contains(err.Error(), test.says) {
				t.Errorf("%q does not say %q", err, test.says)
			}
		})
	}
	if err := (SerialConfig{Path: "p", Baud: 9600, DataBits: 8, Parity: ParityNone, StopBits: 1, Flow: FlowNone}).Validate(); err != nil {
		t.Error(err)
	}
	err = (SerialConfig{Baud: -1, DataBits: 9, Parity: "mark", StopBits: 3, Flow: "dtrdsr"}).Validate()
	for _, field := range []string{"path", "baud", "data_bits", "parity", "stop_bits", "flow"} {
		if !strings.Contains(err.Error(), field+": ") {
			t.Errorf("%v does not name %s", err, field)
		}
	}
	// A failed open leaves nothing behind: the port is free.
	s, err := OpenSerial(SerialConfig{Path: tty.Name(), Baud: 9600, StopBits: 2})
	if err != nil {
		t.Fatalf("open after failures: %v", err)
	}
	s.Close()
}
