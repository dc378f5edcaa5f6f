package main

import (
	"bytes"
	"image/png"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ssg-safe/agent/printer"
)

func TestReceiptRender(t *testing.T) {
	profile, err := printer.ProfileByName("epson-58")
	if err != nil {
		t.Fatal(err)
	}
	stream, err := printer.Encode(printer.Document{Blocks: []printer.Block{
		printer.Text{Text: "São João", Align: printer.Right},
		printer.Cut{},
		printer.Pair{Label: "NSU", Value: "000002"},
		printer.Cut{},
	}}, profile, "1")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	two, one := filepath.Join(dir, "two.bin"), filepath.Join(dir, "one.bin")
	for name, b := range map[string][]byte{two: stream, one: []byte("abc\n\x01\x1dVB\x00")} {
		if err := os.WriteFile(name, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	pictures := filepath.Join(dir, "slip.png")
	const text80 = "                                        São João\n"
	for _, c := range []struct {
		name           string
		args           []string
		stdin          string
		code           int
		stdout, stderr string
	}{
		{"text", []string{one}, "", 0, "abc\n", "warning: slip 1, byte 5: unknown byte 01\n"},
		{"text, asked for", []string{one, "--text"}, "", 0, "abc\n", "warning: slip 1"},
		{"standard input", []string{"-"}, "xyz\n\x1dVB\x00", 0, "xyz\n", ""},
		{"not cut", []string{"-"}, "xyz\n", 0, "xyz\n", "warning: slip 1, byte 4: not cut\n"},
		{"several", []string{two, "--profile", "epson-58"}, "", 0, text80[16:] + "- - - - - - - - - - - 8< - - - - - - - - - - -\nNSU" + strings.Repeat(" ", 23) + "000002\n", ""},
		{"pictures", []string{two, "--png", pictures}, "", 0, filepath.Join(dir, "slip-1.png") + "\n" + filepath.Join(dir, "slip-2.png") + "\n", ""},
		{"picture", []string{one, "--png", pictures}, "", 0, pictures + "\n", "warning"},
		{"pictures to standard output", []string{two, "--png", "-"}, "", 1, "", "2 slips"},
		{"nothing", []string{"-"}, "\x1b@", 1, "", "nothing was printed"},
		{"no file", []string{filepath.Join(dir, "none.bin")}, "", 1, "", "none.bin"},
		{"too much", []string{"-"}, strings.Repeat("\x00", maxStream+1), 1, "", "longer than"},
		{"too many", []string{"-"}, strings.Repeat("a\n\x1dVB\x00", 101), 1, "", "more than 100"},
		{"no argument", nil, "", 2, "", "want one file"},
		{"both forms", []string{one, "--png", "a", "--text"}, "", 2, "", "one of them"},
		{"no name", []string{one, "--png", ""}, "", 2, "", "--png"},
		{"unknown profile", []string{one, "--profile", "star"}, "", 2, "", "epson-80, epson-58"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out, errs bytes.Buffer
			g := &globals{stdin: strings.NewReader(c.stdin), stdout: &out, stderr: &errs}
			code := run(t.Context(), g, append([]string{"receipt", "render"}, c.args...))
			if code != c.code || out.String() != c.stdout || !strings.Contains(errs.String(), c.stderr) || c.stderr == "" && errs.Len() > 0 {
				t.Errorf("exit code %d, stdout %q, stderr %q", code, out.String(), errs.String())
			}
		})
	}
	for _, name := range []string{"slip.png", "slip-1.png", "slip-2.png"} {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		img, err := png.Decode(bytes.NewReader(b))
		if err != nil || img.Bounds().Dx() != 640 {
			t.Errorf("%s: %v", name, err)
		}
	}
	var out bytes.Buffer
	g := &globals{stdin: strings.NewReader(""), stdout: &out, stderr: &out}
	if code := run(t.Context(), g, []string{"receipt", "render", one, "--png", "-", "--profile", "epson-58"}); code != 0 {
		t.Fatalf("exit code %d", code)
	}
	_, picture, _ := strings.Cut(out.String(), "\n") // after the warning
	if img, err := png.Decode(strings.NewReader(picture)); err != nil || img.Bounds().Dx() != 464 {
		t.Errorf("standard output: %v", err)
	}
}
