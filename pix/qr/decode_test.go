package qr

import (
	"bytes"
	"encoding/json"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"
)

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

// picture is an image with the text that a scanner must find in it; empty:
// nothing.
type picture struct {
	name, want string
	image      image.Image
}

// scan has zbarimg read the pictures, in one run for each kind of answer, since
// that is where the time goes.
func scan(t *testing.T, pictures []picture, options ...string) {
	t.Helper()
	zbarimg, err := exec.LookPath("zbarimg")
	if err != nil {
		t.Fatalf("this test reads QR codes with zbarimg: install the Debian package zbar-tools (%v)", err)
	}
	read := func(files ...string) (string, error) {
		args := append([]string{"-q", "--raw", "--nodbus"}, options...)
		out, err := exec.CommandContext(t.Context(), zbarimg, append(args, files...)...).Output()
		return string(out), err
	}
	dir := t.TempDir()
	var files []string
	var want []picture
	for i, p := range pictures {
		file := filepath.Join(dir, fmt.Sprintf("%05d.png", i))
		var b bytes.Buffer
		if err := png.Encode(&b, p.image); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, b.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
		if p.want == "" {
			if out, err := read(file); out != "" || err == nil { // exit 4: nothing found
				t.Errorf("%s: zbarimg read %q, %v, want nothing", p.name, out, err)
			}
			continue
		}
		files, want = append(files, file), append(want, p)
	}
	if len(files) == 0 {
		return
	}
	out, err := read(files...)
	lines := strings.Split(strings.TrimSuffix(out, "\n"), "\n")
	if err == nil && len(lines) == len(files) {
		for i, line := range lines {
			if line != want[i].want {
				t.Errorf("%s: zbarimg read %q, want %q", want[i].name, line, want[i].want)
			}
		}
		return
	}
	for i, file := range files { // find the one that was not read
		if out, err := read(file); out != want[i].want+"\n" {
			t.Errorf("%s: zbarimg read %q, %v, want %q", want[i].name, out, err, want[i].want)
		}
	}
}

// payloads are the published codes, readable or not: a symbol shows any text.
func payloads(t *testing.T) map[string]string {
	t.Helper()
	data, err := os.ReadFile("../testdata/vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Vectors []struct{ ID, Payload string }
	}
	if err := json.Unmarshal(data, &file); err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for _, v := range file.Vectors {
		// Scanners guess at accents ("São" reads as "S瓊o"), which is why our
		// writer folds them.
		if isASCII := !strings.ContainsFunc(v.Payload, func(r rune) bool { return r > '~' }); isASCII && v.Payload != "" {
			all[v.ID] = v.Payload
		}
	}
	if len(all) != 31 {
		t.Fatalf("%d payloads, want 31", len(all))
	}
	return all
}

// Pictures of all published codes at all levels read back.
func TestScanPictures(t *testing.T) {
	var pictures []picture
	for id, text := range payloads(t) {
		for l := L; l <= H; l++ {
			px, quiet := 3+int(l)+len(text)%3, 4-2*(len(text)%2)
			m := matrix(t, text, l)
			pictures = append(pictures, picture{fmt.Sprintf("%s at %s, %d px, quiet %d", id, l, px, quiet), text, m.Image(px, quiet)})
		}
	}
	scan(t, pictures)
}

// Texts of every length in mixed alphabets: segments and padding of every kind.
func TestScanLengths(t *testing.T) {
	const mixed = "K01N0000000000000000000A1 fulano@example.com 5204000053039865802BR br.gov.bcb.pix/v2/9b95a87c10a84d65bcbf55a48a2e50c8 SAO PAULO 62290525"
	text := strings.Repeat(mixed, 4)
	var pictures []picture
	for n := 1; n <= 512; n += 1 + n/24 {
		start := n * 7 % len(mixed)
		if start+n > len(text) {
			start = 0
		}
		piece := "x" + text[start:start+n-1] // zbarimg guesses at texts of digits only
		pictures = append(pictures, picture{fmt.Sprintf("%d characters", n), piece, matrix(t, piece, Level(len(pictures)%4)).Image(3, 4)})
	}
	// Large symbols happen to hold what looks like an old bar code.
	scan(t, pictures, "-Sdisable", "-Sqrcode.enable")
}

// Half blocks on a screen, in cells of several shapes with black around them,
// read back in the right polarity and not in the wrong one, nor without a quiet
// zone.
func TestScanHalfBlocks(t *testing.T) {
	var pictures []picture
	white, grey := color.Gray{255}, color.Gray{0xAA}
	for _, code := range []string{cnpjCode, evpCode, dynamicCode} {
		for _, cell := range []image.Point{{8, 16}, {8, 14}, {10, 18}, {8, 17}, {6, 12}} {
			for _, quiet := range []int{4, 3, 2} {
				light := white
				if quiet == 3 {
					light = grey // as some consoles show it
				}
				lines := matrix(t, code, M).HalfBlocks(quiet)
				name := fmt.Sprintf("%d bytes, cell %v, quiet %d, light %d", len(code), cell, quiet, light.Y)
				pictures = append(pictures, picture{name, code, screen(lines, cell, light, color.Gray{0})})
			}
		}
		lines := matrix(t, code, M).HalfBlocks(4)
		pictures = append(pictures,
			picture{"inverted", "", screen(lines, image.Pt(8, 16), color.Gray{0}, white)},
			picture{"without quiet zone", "", screen(matrix(t, code, M).HalfBlocks(0), image.Pt(8, 16), white, color.Gray{0})})
	}
	scan(t, pictures)
}

// screen draws lines of half blocks as a terminal does, with a margin in the
// background colour.
func screen(lines []string, cell image.Point, light, dark color.Gray) image.Image {
	const margin = 3 // cells
	cols := utf8.RuneCountInString(lines[0])
	img := image.NewGray(image.Rect(0, 0, (cols+2*margin)*cell.X, (len(lines)+2*margin)*cell.Y))
	for i := range img.Pix {
		img.Pix[i] = dark.Y
	}
	for row, line := range lines {
		col := 0
		for _, r := range line {
			from, to := 0, cell.Y
			switch r {
			case '▀':
				to = cell.Y / 2
			case '▄':
				from = cell.Y / 2
			case ' ':
				to = 0
			}
			for y := from; y < to; y++ {
				for x := range cell.X {
					img.SetGray((col+margin)*cell.X+x, (row+margin)*cell.Y+y, light)
				}
			}
			col++
		}
	}
	return img
}
