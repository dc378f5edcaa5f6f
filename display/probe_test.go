package display

import (
	"errors"
	"testing"
)

// TestProbeTerminal: what a Display would refuse, and the sizes that matter.
func TestProbeTerminal(t *testing.T) {
	e := newEmulator(t, false)
	t.Setenv("TERM", "xterm-256color")
	t.Setenv("LC_ALL", "C.UTF-8")
	t.Setenv("NO_COLOR", "")
	for _, size := range []struct {
		cols, rows uint16
		code       bool
	}{{100, 30, true}, {60, 50, true}, {80, 25, false}, {40, 20, false}} {
		e.resize(t, size.cols, size.rows)
		p, err := ProbeTerminal(e.name())
		if err != nil || p.Cols != int(size.cols) || p.Rows != int(size.rows) || p.Colours != 256 || p.Code != size.code {
			t.Errorf("%dx%d: got %+v, %v", size.cols, size.rows, p, err)
		}
	}
	for name, env := range map[string][2]string{"no type": {"TERM", ""}, "unknown type": {"TERM", "nothing-like-it"}, "locale": {"LC_ALL", "pt_BR.ISO-8859-1"}, "C": {"LC_ALL", "C"}} {
		t.Run(name, func(t *testing.T) {
			t.Setenv(env[0], env[1])
			if _, err := ProbeTerminal(e.name()); !errors.Is(err, ErrNoTerminal) {
				t.Errorf("got %v", err)
			}
		})
	}
	t.Setenv("NO_COLOR", "1")
	if p, err := ProbeTerminal(e.name()); err != nil || p.Code || p.Colours != 0 {
		t.Errorf("without colours: %+v, %v", p, err)
	}
	if _, err := ProbeTerminal("/dev/null"); !errors.Is(err, ErrNoTerminal) {
		t.Errorf("/dev/null: %v", err)
	}
}
