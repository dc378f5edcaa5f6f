package emulator

import (
	"flag"
	"fmt"
	"image"
	"os"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/image/font"
	"golang.org/x/image/font/gofont/gomono"
	"golang.org/x/image/font/gofont/gomonobold"
	"golang.org/x/image/font/opentype"
	"golang.org/x/image/math/fixed"
	"golang.org/x/text/encoding/charmap"
)

var update = flag.Bool("update", false, "rewrite the fonts and golden files")

// characters are those of all code pages that the printer has.
func characters() []rune {
	set := map[rune]bool{}
	for b := 0x20; b < 0x100; b++ {
		for _, page := range []*charmap.Charmap{
			charmap.CodePage437, charmap.CodePage850, charmap.CodePage858, charmap.CodePage860, charmap.Windows1252,
		} {
			if r := page.DecodeByte(byte(b)); r >= 0x20 && r != 0x7f && (r < 0x80 || r >= 0xa0) && r != utf8.RuneError {
				set[r] = true
			}
		}
	}
	var rs []rune
	for r := range set {
		rs = append(rs, r)
	}
	slices.Sort(rs)
	return rs
}

// TestROM checks that the stored fonts are what the outlines give, and makes
// them with -update.
func TestROM(t *testing.T) {
	for _, c := range []struct {
		name      string
		rom       *rom
		ttf       []byte
		size      float64
		baseline  int
		threshold uint8
	}{
		{"rom-a.hex", &romA, gomono.TTF, 20, 19, 104},
		{"rom-a-bold.hex", &romABold, gomonobold.TTF, 20, 19, 140},
		{"rom-b.hex", &romB, gomono.TTF, 15, 13, 96},
	} {
		parsed, err := opentype.Parse(c.ttf)
		if err != nil {
			t.Fatal(err)
		}
		face, err := opentype.NewFace(parsed, &opentype.FaceOptions{Size: c.size, DPI: 72, Hinting: font.HintingFull})
		if err != nil {
			t.Fatal(err)
		}
		var out strings.Builder
		out.WriteString("# Glyphs of the Go fonts (c) 2016 Bigelow & Holmes Inc., BSD licence of the Go project.\n")
		for _, r := range characters() {
			if _, ok := face.GlyphAdvance(r); !ok {
				t.Errorf("%s: no glyph for %q", c.name, r)
			}
			m := image.NewAlpha(image.Rect(0, 0, c.rom.width, c.rom.height))
			d := font.Drawer{Dst: m, Src: image.Opaque, Face: face, Dot: fixed.P(0, c.baseline)}
			d.DrawString(string(r))
			fmt.Fprintf(&out, "%04X:", r)
			for y := range c.rom.height {
				bits := 0
				for x := range c.rom.width {
					bits <<= 1
					if m.AlphaAt(x, y).A >= c.threshold {
						bits |= 1
					}
				}
				fmt.Fprintf(&out, "%03X", bits)
			}
			out.WriteString("\n")
		}
		if *update {
			if err := os.WriteFile(c.name, []byte(out.String()), 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if d := cmp.Diff(strings.Split(c.rom.file, "\n"), strings.Split(out.String(), "\n")); d != "" {
			t.Errorf("%s (-have +outlines):\n%s", c.name, d)
		}
	}
}
