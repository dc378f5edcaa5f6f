package printer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// dialTime bounds a connect: a busy network printer lets it hang.
const dialTime = 5 * time.Second

// DialTCP connects to a network printer; addr is host:port, with port 9100 as
// a rule. Such printers serve one client at a time: close the port when it is
// not needed for long.
func DialTCP(ctx context.Context, addr string) (Port, error) {
	d := net.Dialer{Timeout: dialTime}
	c, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	return c, nil
}

// OpenUSB opens a printer of the kernel's usblp driver, such as
// /dev/usb/lp0 or, better, a link that udev made from its serial number. The
// port is locked against a second program. After an unplug every call fails;
// opening again by name finds the printer when it is back.
func OpenUSB(path string) (Port, error) {
	f, err := os.OpenFile(path, os.O_RDWR|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, err
	}
	if err := prepareUSB(f); err != nil {
		return nil, errors.Join(fmt.Errorf("open %s: %w", path, err), f.Close())
	}
	return &usbPort{File: f}, nil
}

func prepareUSB(f *os.File) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if info.Mode()&os.ModeCharDevice == 0 {
		return errors.New("not a device; a file is printed to by the kind file")
	}
	// Without a poller there are no deadlines, and a printer that holds the
	// line would hold us for ever.
	if err := f.SetDeadline(time.Time{}); err != nil {
		return err
	}
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var lock error
	if err := raw.Control(func(fd uintptr) {
		lock = unix.Flock(int(fd), unix.LOCK_EX|unix.LOCK_NB)
	}); err != nil {
		return err
	}
	if errors.Is(lock, unix.EWOULDBLOCK) {
		return errors.New("another program uses it")
	}
	return lock
}

// usbPort makes one thing of usblp right: a printer that has nothing to say
// may answer with an empty packet, which reads as end of file and is none. An
// unplugged printer gives ENODEV or EIO.
type usbPort struct {
	*os.File
	deadline atomic.Pointer[time.Time]
}

const emptyPause = 10 * time.Millisecond

func (u *usbPort) SetReadDeadline(t time.Time) error {
	u.deadline.Store(&t)
	return u.File.SetReadDeadline(t)
}

func (u *usbPort) Read(b []byte) (int, error) {
	for {
		n, err := u.File.Read(b)
		if err != io.EOF {
			return n, err
		}
		if t := u.deadline.Load(); t != nil && !t.IsZero() && !time.Now().Before(*t) {
			return 0, os.ErrDeadlineExceeded
		}
		time.Sleep(emptyPause)
	}
}

// CreateFile opens a file, or makes it, to which jobs are appended. There is
// no printer behind it, so nothing is asked and nothing is confirmed: a job
// that was written ends as [Sent], tier [TierD], whatever the profile.
func CreateFile(path string) (Port, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, errors.Join(fmt.Errorf("open %s: not a regular file", path), err, f.Close())
	}
	return filePort{f}, nil
}

type filePort struct{ *os.File }

// WriteOnly reports true: see [Port].
func (filePort) WriteOnly() bool { return true }

// A regular file does not wait, so that deadlines mean nothing to it.
func (filePort) SetReadDeadline(time.Time) error  { return nil }
func (filePort) SetWriteDeadline(time.Time) error { return nil }

// Close makes the file durable first.
func (f filePort) Close() error { return errors.Join(f.Sync(), f.File.Close()) }
