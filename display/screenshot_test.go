package display

import (
	"bytes"
	"context"
	"fmt"
	"image/png"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// showEnv makes the test binary a program that shows the screen named there,
// and makes the file readyEnv when it is drawn.
const (
	showEnv  = "SSG_TEST_SHOW"
	readyEnv = "SSG_TEST_READY"
)

func TestMain(m *testing.M) {
	if state := os.Getenv(showEnv); state != "" {
		if err := showForScreenshot(State(state)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

func showForScreenshot(state State) error {
	o := testOptions()
	o.Drawn = func(d Drawn) {
		if d.QR == (state == QR) {
			_ = os.WriteFile(os.Getenv(readyEnv), nil, 0o600)
		}
	}
	d := New(o)
	d.Show(sample(state))
	return d.Run(context.Background())
}

// screenshot runs this binary in xterm on a virtual X server and returns the
// picture's path.
func screenshot(t *testing.T, state State, size, term string) string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	out, ready := filepath.Join(dir, "screen.png"), filepath.Join(dir, "ready")
	cmd := exec.CommandContext(t.Context(), "../scripts/screenshot.sh", "-g", size, "-t", term, "-r", ready, out, self)
	cmd.Env = append(os.Environ(), showEnv+"="+string(state), readyEnv+"="+ready)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("screenshot (needs Debian's xvfb, xterm, imagemagick, fonts-dejavu-core): %v\n%s", err, &stderr)
	}
	return out
}

// TestScreenshotDecodes: the code on a real terminal emulator is read from its
// screenshot, exactly, with 256 colours and with the eight of a console.
func TestScreenshotDecodes(t *testing.T) {
	for _, tc := range []struct{ size, term string }{
		{"100x30", "xterm-256color"},
		{"80x25", "xterm"},
		{"60x50", "linux"},
	} {
		t.Run(tc.size+" "+tc.term, func(t *testing.T) {
			if got, want := zbar(t, screenshot(t, QR, tc.size, tc.term)), brCode(); got != want {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
}

// TestScreenshotOfPaid is the look from outside at a screen without a code: it
// is not empty, and nothing on it can be paid.
func TestScreenshotOfPaid(t *testing.T) {
	path := screenshot(t, Paid, "100x30", "xterm-256color")
	if got := zbar(t, path); got != "" {
		t.Errorf("got %q from the paid screen, want no code", got)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	img, err := png.Decode(f)
	if err != nil {
		t.Fatal(err)
	}
	green := 0
	for y := range img.Bounds().Dy() {
		for x := range img.Bounds().Dx() {
			if r, g, b, _ := img.At(x, y).RGBA(); g > 2*r && g > b {
				green++
			}
		}
	}
	if share := float64(green) / float64(img.Bounds().Dx()*img.Bounds().Dy()); share < 0.05 {
		t.Errorf("%.3f of the picture is green, want a large tick", share)
	}
}
