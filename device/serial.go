package device

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tarm/serial"
	"golang.org/x/sys/unix"
)

// Flow control of a serial line.
const (
	FlowNone    = "none"    // nobody stops anybody
	FlowXonXoff = "xonxoff" // in band: bytes 11h and 13h; text and raster data are safe, they are never answers
	FlowRTSCTS  = "rtscts"  // by wire; a printer's DTR goes to the host's CTS, as Linux has no DTR/DSR handshake
)

// Parity of a serial line.
const (
	ParityNone = "none"
	ParityOdd  = "odd"
	ParityEven = "even"
)

var (
	// ErrInUse means that another open [Serial], here or in another process,
	// holds the port. Its settings were not touched.
	ErrInUse = errors.New("port is in use by another process")
	// ErrHangUp means that the other side is gone: the adapter was unplugged or
	// the line hung up. The port stays dead; close it and open it by name again.
	ErrHangUp = errors.New("port hung up")
	// ErrStuck means that a port did not close in time. It was given up: the
	// kernel frees it when the driver lets go.
	ErrStuck = errors.New("port did not close in time")
)

// closeLimit bounds Close. A UART driver may wait 30 s for bytes that never go
// out (closing_wait); ours are flushed first, so reaching this is a fault.
const closeLimit = 2 * time.Second

// SerialConfig describes one serial line.
type SerialConfig struct {
	// Path is the device, best a stable name such as /dev/serial/by-id/….
	Path string
	// Baud is the line rate in bit/s, one of the standard rates.
	Baud int
	// DataBits is 5 to 8; 0 means 8.
	DataBits int
	// Parity is ParityNone (also when empty), ParityOdd or ParityEven.
	Parity string
	// StopBits is 1 (also when 0) or 2.
	StopBits int
	// Flow is FlowNone (also when empty), FlowXonXoff or FlowRTSCTS.
	Flow string
}

// Validate reports everything that is wrong with the configuration, joined.
func (c SerialConfig) Validate() error {
	var errs []error
	if c.Path == "" {
		errs = append(errs, errors.New("path: missing; give the device, such as /dev/serial/by-id/…"))
	}
	if c.Baud <= 0 {
		errs = append(errs, fmt.Errorf("baud: %d is not a line rate; printers mostly use 9600, 19200, 38400 or 115200", c.Baud))
	}
	if c.DataBits != 0 && (c.DataBits < 5 || c.DataBits > 8) {
		errs = append(errs, fmt.Errorf("data_bits: %d is not 5 to 8", c.DataBits))
	}
	switch c.Parity {
	case "", ParityNone, ParityOdd, ParityEven:
	default:
		errs = append(errs, fmt.Errorf("parity: %q is not none, odd or even", c.Parity))
	}
	if c.StopBits < 0 || c.StopBits > 2 {
		errs = append(errs, fmt.Errorf("stop_bits: %d is not 1 or 2", c.StopBits))
	}
	switch c.Flow {
	case "", FlowNone, FlowXonXoff, FlowRTSCTS:
	default:
		errs = append(errs, fmt.Errorf("flow: %q is not none, xonxoff or rtscts", c.Flow))
	}
	return errors.Join(errs...)
}

// Serial is an open serial line. One reader, one writer and any number of
// other calls may run at the same time; Close ends them all.
type Serial struct {
	path string
	f    *os.File // non-blocking, locked

	closed   atomic.Bool
	closing  sync.Once
	closeErr error
}

// OpenSerial opens the line, exclusively, and sets it up. It never waits for a
// carrier. Branch on [ErrInUse], [fs.ErrNotExist] (not plugged in) and
// [fs.ErrPermission].
func OpenSerial(c SerialConfig) (*Serial, error) {
	if err := c.Validate(); err != nil {
		return nil, fmt.Errorf("serial port %q: %w", c.Path, err)
	}
	f, err := os.OpenFile(c.Path, os.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrPermission) {
		return nil, fmt.Errorf("open serial port: %w (is the user in the group dialout?)", err)
	}
	if err != nil {
		return nil, fmt.Errorf("open serial port: %w", err)
	}
	s := &Serial{path: c.Path, f: f}
	if err := s.setUp(c); err != nil {
		return nil, errors.Join(fmt.Errorf("open serial port %s: %w", c.Path, err), f.Close())
	}
	return s, nil
}

func (s *Serial) setUp(c SerialConfig) error {
	// The lock comes first: whoever loses must not have reset the winner's line.
	err := s.control(func(fd int) error { return unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB) })
	if errors.Is(err, unix.EWOULDBLOCK) {
		return ErrInUse
	}
	if err != nil {
		return fmt.Errorf("lock: %w", err)
	}
	if err := s.f.SetDeadline(time.Time{}); err != nil {
		return fmt.Errorf("not a device that can be waited for: %w", err)
	}
	p, err := serial.OpenPort(&serial.Config{
		Name: c.Path, Baud: c.Baud, Size: byte(c.DataBits),
		Parity:   map[string]serial.Parity{ParityOdd: serial.ParityOdd, ParityEven: serial.ParityEven}[c.Parity],
		StopBits: serial.StopBits(c.StopBits),
	})
	if errors.Is(err, unix.ENOTTY) {
		return fmt.Errorf("not a serial port: %w", err)
	}
	if err != nil {
		return fmt.Errorf("set up %d bit/s: %w", c.Baud, err)
	}
	if err := p.Close(); err != nil {
		return fmt.Errorf("release set-up descriptor: %w", err)
	}
	return s.control(func(fd int) error { return setFlow(fd, c) })
}

// setFlow adds flow control to what tarm/serial wrote, and reads everything
// back: a driver that cannot do a setting leaves it out and reports success.
func setFlow(fd int, c SerialConfig) error {
	t, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		return fmt.Errorf("read line settings: %w", err)
	}
	switch c.Flow {
	case FlowXonXoff:
		t.Iflag |= unix.IXON | unix.IXOFF
		t.Cc[unix.VSTART], t.Cc[unix.VSTOP] = 0x11, 0x13
	case FlowRTSCTS:
		t.Cflag |= unix.CRTSCTS
	}
	if err := unix.IoctlSetTermios(fd, unix.TCSETS, t); err != nil {
		return fmt.Errorf("set flow control %s: %w", c.Flow, err)
	}
	got, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		return fmt.Errorf("read line settings back: %w", err)
	}
	want := unix.Termios{Iflag: t.Iflag, Cflag: unix.CS8}
	switch c.DataBits {
	case 5:
		want.Cflag = unix.CS5
	case 6:
		want.Cflag = unix.CS6
	case 7:
		want.Cflag = unix.CS7
	}
	switch c.Parity {
	case ParityOdd:
		want.Cflag |= unix.PARENB | unix.PARODD
	case ParityEven:
		want.Cflag |= unix.PARENB
	}
	if c.StopBits == 2 {
		want.Cflag |= unix.CSTOPB
	}
	if c.Flow == FlowRTSCTS {
		want.Cflag |= unix.CRTSCTS
	}
	const cflags, iflags = unix.CSIZE | unix.PARENB | unix.PARODD | unix.CSTOPB | unix.CRTSCTS, unix.IXON | unix.IXOFF
	if got.Cflag&cflags != want.Cflag || got.Iflag&iflags != want.Iflag&iflags || got.Cflag&unix.CBAUD != t.Cflag&unix.CBAUD {
		return fmt.Errorf("the driver does not support the line settings: asked for control flags %#x input flags %#x, got %#x %#x",
			want.Cflag, want.Iflag&iflags, got.Cflag&cflags, got.Iflag&iflags)
	}
	return nil
}

// control runs an ioctl on the descriptor without letting go of it. It does not
// use Fd, which would make the descriptor blocking.
func (s *Serial) control(do func(fd int) error) error {
	raw, err := s.f.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	if err := raw.Control(func(fd uintptr) { inner = do(int(fd)) }); err != nil {
		return err
	}
	return inner
}

// Read reads what has arrived, at least one byte. At the deadline it returns
// [os.ErrDeadlineExceeded], after a hang-up [ErrHangUp] (which is also io.EOF
// or the driver's own error), after Close [os.ErrClosed].
func (s *Serial) Read(b []byte) (int, error) {
	n, err := s.f.Read(b)
	return n, s.explain("read", err)
}

// Write hands the bytes to the kernel. It returns how many were taken, also
// when the deadline ([os.ErrDeadlineExceeded]) or a hang-up ([ErrHangUp]) ends
// it. A taken byte may still be lost: see [Serial.Drain].
func (s *Serial) Write(b []byte) (int, error) {
	n, err := s.f.Write(b)
	return n, s.explain("write", err)
}

// explain tells a hang-up from everything else. With VMIN 1 on a non-blocking
// descriptor an empty read is EAGAIN, so an end of file can only be a hang-up.
func (s *Serial) explain(op string, err error) error {
	switch {
	case err == nil:
		return nil
	case s.closed.Load() && errors.Is(err, os.ErrDeadlineExceeded):
		return &fs.PathError{Op: op, Path: s.path, Err: os.ErrClosed} // ended by Close, not by the caller's deadline
	case errors.Is(err, io.EOF), errors.Is(err, unix.EIO), errors.Is(err, unix.ENXIO), errors.Is(err, unix.ENODEV):
		return fmt.Errorf("%s %s: %w: %w", op, s.path, ErrHangUp, err)
	}
	return err // an *fs.PathError, which names the operation and the path
}

// SetReadDeadline ends reads, the one in progress too, at t; zero: never.
func (s *Serial) SetReadDeadline(t time.Time) error { return s.f.SetReadDeadline(t) }

// SetWriteDeadline ends writes, the one in progress too, at t; zero: never.
func (s *Serial) SetWriteDeadline(t time.Time) error { return s.f.SetWriteDeadline(t) }

// Queued returns how many written bytes the kernel has not sent yet.
func (s *Serial) Queued() (int, error) {
	var n int
	err := s.control(func(fd int) (err error) {
		n, err = unix.IoctlGetInt(fd, unix.TIOCOUTQ)
		return err
	})
	return n, s.explain("query queue", err)
}

// drainStep is how often Drain looks at the queue: a byte at 9600 bit/s takes
// about a millisecond.
const drainStep = 2 * time.Millisecond

// Drain waits until everything written has left the kernel and, where the
// driver can tell, the transmitter. It asks in steps instead of tcdrain, which
// cannot be ended while the other side holds the line. An adapter's or a
// printer's own buffer is beyond its sight.
func (s *Serial) Drain(ctx context.Context) error {
	if err := drain(ctx, s.Queued, s.transmitterEmpty); err != nil {
		return fmt.Errorf("drain %s: %w", s.path, err)
	}
	return nil
}

func drain(ctx context.Context, queued func() (int, error), empty func() bool) error {
	tick := time.NewTicker(drainStep)
	defer tick.Stop()
	for {
		n, err := queued()
		if err != nil {
			return err
		}
		if n == 0 && empty() {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%d bytes wait: %w", n, ctx.Err())
		case <-tick.C:
		}
	}
}

// transmitterEmpty asks the line status register; a driver without one (pseudo
// terminals, most USB adapters) counts as empty.
func (s *Serial) transmitterEmpty() bool {
	const temt = 1 // TIOCSER_TEMT
	var lsr int
	err := s.control(func(fd int) (err error) {
		lsr, err = unix.IoctlGetInt(fd, unix.TIOCSERGETLSR)
		return err
	})
	return err != nil || lsr&temt != 0
}

// Flush throws away what was received but not read and what was written but
// not sent.
func (s *Serial) Flush() error {
	err := s.control(func(fd int) error { return unix.IoctlSetInt(fd, unix.TCFLSH, unix.TCIOFLUSH) })
	return s.explain("flush", err)
}

// Close ends the reads, writes and drains in progress with [os.ErrClosed],
// throws away what was not sent (drain first to keep it) and releases the port.
// It returns within two seconds, with [ErrStuck] when the driver would not let
// go. Later calls return the first one's result.
func (s *Serial) Close() error {
	s.closing.Do(func() {
		// A writer that waits must be gone before the flush makes room for its
		// bytes: they would be lost and yet counted. Unsent bytes would make a
		// UART's close wait for closing_wait, 30 s.
		s.closed.Store(true)
		_ = s.f.SetDeadline(time.Now())
		flushErr := s.control(func(fd int) error { return unix.IoctlSetInt(fd, unix.TCFLSH, unix.TCOFLUSH) })
		if s.closeErr = within(closeLimit, s.f.Close); errors.Is(s.closeErr, ErrStuck) {
			s.closeErr = fmt.Errorf("close %s: %w (flush: %v)", s.path, ErrStuck, flushErr)
		}
	})
	return s.closeErr
}

// within runs do and gives it up, still running, with [ErrStuck] after limit.
func within(limit time.Duration, do func() error) error {
	done := make(chan error, 1)
	go func() { done <- do() }()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case err := <-done:
		return err
	case <-timer.C:
		return ErrStuck
	}
}
