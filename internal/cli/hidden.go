package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"github.com/ssg-safe/agent/redact"
)

// AskHidden asks on a terminal and reads a line without echo, also of what is typed at
// once. When ctx ends, as by a signal, the terminal is put back as it was.
func AskHidden(ctx context.Context, tty *os.File, out io.Writer, prompt string) (redact.Secret, error) {
	fd := int(tty.Fd())
	before, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		return "", err
	}
	quiet := *before
	quiet.Lflag &^= unix.ECHO
	if err := unix.IoctlSetTermios(fd, unix.TCSETS, &quiet); err != nil {
		return "", err
	}
	defer unix.IoctlSetTermios(fd, unix.TCSETS, before)
	fmt.Fprint(out, prompt)
	type typed struct {
		line []byte
		err  error
	}
	done := make(chan typed, 1)
	go func() {
		line, err := term.ReadPassword(fd)
		done <- typed{line, err}
	}()
	select {
	case r := <-done:
		fmt.Fprintln(out)
		return redact.Secret(r.line), r.err
	case <-ctx.Done():
		fmt.Fprintln(out)
		return "", errors.New("interrupted")
	}
}
