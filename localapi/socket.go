package localapi

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
)

// ControlSocket is the name of the command line's socket in a data directory.
const ControlSocket = "control.sock"

// Listen opens an address: "host:port", or "unix:/path" for a socket that its
// group may use too. certificates make it speak TLS; nil: it does not.
func Listen(address string, certificates *tls.Config) (net.Listener, error) {
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		return listenUnix(path, 0o660)
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("local API: %w", err)
	}
	if certificates != nil {
		return tls.NewListener(bound(l), certificates), nil
	}
	return bound(l), nil
}

// ListenControl opens the control socket of a data directory, for its owner
// alone. The caller holds the store of that directory.
func ListenControl(data string) (net.Listener, error) {
	return listenUnix(filepath.Join(data, ControlSocket), 0o600)
}

// DialControl reaches the agent that runs on a data directory.
func DialControl(ctx context.Context, data string) (net.Conn, error) {
	return dialUnix(ctx, filepath.Join(data, ControlSocket))
}

// listenUnix makes a socket under another name and moves it into place, so
// that nobody finds it before it has its mode, and one that a killed process
// left behind is replaced.
func listenUnix(path string, mode os.FileMode) (net.Listener, error) {
	fail := func(err error) (net.Listener, error) { return nil, fmt.Errorf("local API: socket %s: %w", path, err) }
	switch info, err := os.Lstat(path); {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return fail(err)
	case info.Mode().Type() != fs.ModeSocket:
		return fail(errors.New("there is something else of that name"))
	default:
		if c, err := dialUnix(context.Background(), path); err == nil {
			c.Close()
			return fail(errors.New("another process answers there"))
		}
	}
	made := fmt.Sprintf("%s.%d", path, os.Getpid())
	if err := os.Remove(made); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fail(err)
	}
	short, done, err := shorten(made)
	if err != nil {
		return fail(err)
	}
	defer done()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Net: "unix", Name: short})
	if err != nil {
		return fail(err)
	}
	l.SetUnlinkOnClose(false)
	if err := errors.Join(os.Chmod(made, mode), os.Rename(made, path)); err != nil {
		return fail(errors.Join(err, l.Close(), os.Remove(made)))
	}
	return &socket{bound(l), path}, nil
}

// socket removes its file when it is closed.
type socket struct {
	net.Listener
	path string
}

// Close implements net.Listener.
func (s *socket) Close() error {
	err := s.Listener.Close()
	if err == nil {
		err = os.Remove(s.path)
	}
	return err
}

func dialUnix(ctx context.Context, path string) (net.Conn, error) {
	short, done, err := shorten(path)
	if err != nil {
		return nil, err
	}
	defer done()
	var d net.Dialer
	return d.DialContext(ctx, "unix", short)
}

// longest is how long a socket's path may be for the kernel.
const longest = 107

// shorten names a path that is too long for the kernel by its open directory.
func shorten(path string) (short string, done func(), err error) {
	if len(path) <= longest {
		return path, func() {}, nil
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return "", nil, err
	}
	return fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), filepath.Base(path)), func() { dir.Close() }, nil
}
