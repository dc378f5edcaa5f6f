package display

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/gdamore/tcell/v2"
	"golang.org/x/sys/unix"
)

// Probe is what can be known of a terminal without drawing on it.
type Probe struct {
	Cols, Rows int
	Colours    int
	// Code: a dynamic code of usual length (180 bytes) fits on the screen, whole.
	Code bool
}

// ProbeTerminal looks at the terminal that a Display with the same device and
// this environment would draw on ("": the process's own), and changes nothing
// on it. What it cannot see is whether the font has the half blocks of a code.
// The error says why a Display would not work there, and is an ErrNoTerminal.
func ProbeTerminal(device string) (Probe, error) {
	p, err := probe(device)
	if err != nil {
		return Probe{}, fmt.Errorf("%w: %w", ErrNoTerminal, err)
	}
	return p, nil
}

func probe(device string) (Probe, error) {
	name := os.Getenv("TERM")
	if name == "" || name == "dumb" {
		return Probe{}, fmt.Errorf("TERM is %q: set it to the terminal's type, such as linux", name)
	}
	info, err := tcell.LookupTerminfo(name)
	if err != nil {
		return Probe{}, fmt.Errorf("TERM is %q: %w", name, err)
	}
	if !utf8Locale() {
		return Probe{}, errors.New("the locale is not UTF-8: set LC_ALL=C.UTF-8")
	}
	if device == "" {
		device = "/dev/tty"
	}
	g, err := newGuard(device)
	if err != nil {
		return Probe{}, err
	}
	defer g.close()
	var size *unix.Winsize
	if cerr := g.conn.Control(func(fd uintptr) { size, err = unix.IoctlGetWinsize(int(fd), unix.TIOCGWINSZ) }); cerr != nil || err != nil {
		return Probe{}, fmt.Errorf("size of %s: %w", device, errors.Join(cerr, err))
	}
	p := Probe{Cols: int(size.Col), Rows: int(size.Row), Colours: info.Colors}
	if os.Getenv("NO_COLOR") != "" {
		p.Colours = 0
	}
	p.Code = p.fits()
	return p, nil
}

// fits lays a usual code out.
func (p Probe) fits() bool {
	var c canvas
	c.reset(p.Cols, p.Rows)
	paint := painter{t: &portuguese, coloured: p.Colours >= 8}
	return paint.paint(&c, View{State: QR, Amount: 123456, Payee: "x", Code: strings.Repeat("usual-code", 18)}, moment{})
}

// utf8Locale reads the environment as tcell does, which takes a locale that
// names no character set for UTF-8.
func utf8Locale() bool {
	name := cmp.Or(os.Getenv("LC_ALL"), os.Getenv("LC_CTYPE"), os.Getenv("LANG"))
	name, _, _ = strings.Cut(name, "@")
	_, charset, named := strings.Cut(name, ".")
	switch strings.ToLower(charset) {
	case "utf-8", "utf8":
		return true
	}
	return !named && name != "C" && name != "POSIX"
}
