package emulator

import (
	_ "embed"
	"strconv"
	"strings"
	"sync"
)

// rom is a font of the printer: glyphs of one bit a dot.
//
// The glyphs come from Go Mono, which has every character of the code pages,
// drawn once at the size of a printer's cell and stored as text, so that a
// slip has the same dots on every machine. The test of this package makes the
// files (go test -run ROM -update).
type rom struct {
	width, height int
	file          string

	once   sync.Once
	glyphs map[rune][]uint16
}

//go:embed rom-a.hex
var romAFile string

//go:embed rom-a-bold.hex
var romABoldFile string

//go:embed rom-b.hex
var romBFile string

var (
	romA     = rom{width: 12, height: 24, file: romAFile}
	romABold = rom{width: 12, height: 24, file: romABoldFile}
	romB     = rom{width: 9, height: 17, file: romBFile}
)

// glyph is the rows of a character, the leftmost dot in the highest of the
// lowest width bits. What the font lacks is a box.
func (f *rom) glyph(r rune) []uint16 {
	f.once.Do(f.load)
	if g, ok := f.glyphs[r]; ok {
		return g
	}
	return f.glyphs['\ufffd']
}

// load reads lines such as "0041:00003F…", three hexadecimal digits a row.
func (f *rom) load() {
	f.glyphs = make(map[rune][]uint16)
	box := make([]uint16, f.height)
	for y := 3; y < f.height-3; y++ {
		box[y] = 1<<(f.width-2) | 2
	}
	box[3], box[f.height-4] = 1<<(f.width-1)-2, 1<<(f.width-1)-2
	f.glyphs['\ufffd'] = box
	for line := range strings.Lines(f.file) {
		code, bits, ok := strings.Cut(strings.TrimSpace(line), ":")
		if !ok || strings.HasPrefix(code, "#") {
			continue
		}
		r, err := strconv.ParseUint(code, 16, 32)
		if err != nil || len(bits) != 3*f.height {
			panic("emulator: bad font file: " + line)
		}
		g := make([]uint16, f.height)
		for y := range g {
			row, err := strconv.ParseUint(bits[3*y:3*y+3], 16, 16)
			if err != nil {
				panic("emulator: bad font file: " + line)
			}
			g[y] = uint16(row)
		}
		f.glyphs[rune(r)] = g
	}
}
