package escpos

import (
	"testing"

	"github.com/ssg-safe/agent/pix/qr"
)

// TestModules holds the table to a QR encoder: text that can only be written
// in byte mode needs exactly these sizes.
func TestModules(t *testing.T) {
	text := make([]byte, 900)
	for i := range text {
		text[i] = 'a' + byte(i*7%26)
	}
	for level, l := range map[Level]qr.Level{LevelL: qr.L, LevelM: qr.M} {
		for v, n := range capacity[level] {
			for _, n := range []int{n, n + 1} {
				q, err := qr.New(string(text[:n]), l)
				if err != nil {
					t.Fatal(err)
				}
				got, want := Modules(n, level), q.Size()
				if v == maxVersion-1 && n > capacity[level][v] {
					want = 0
				}
				if got != want {
					t.Errorf("level %c, %d bytes: %d modules, want %d", level, n, got, want)
				}
			}
		}
	}
}

func TestFit(t *testing.T) {
	for _, c := range []struct {
		n, dots         int
		level           Level
		module, modules int
		ok              bool
	}{
		{177, 576, LevelM, 6, 57, true}, // 53 modules, and room for 57
		{177, 384, LevelM, 5, 57, true},
		{250, 384, LevelM, 5, 65, true},
		{400, 384, LevelM, 4, 81, true},
		{500, 384, LevelL, 4, 81, true}, // at level M it would need 3 dots
		{700, 384, 0, 0, 0, false},
		{859, 2000, 0, 0, 0, false}, // more than version 20
	} {
		level, module, modules, ok := Fit(c.n, c.dots, 4, 6)
		if level != c.level || module != c.module || modules != c.modules || ok != c.ok {
			t.Errorf("%d bytes on %d dots: level %c, %d modules of %d, %v; want %+v", c.n, c.dots, level, modules, module, ok, c)
		}
	}
}
