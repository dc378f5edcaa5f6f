// Package qr turns a text into a QR symbol and the symbol into what screens,
// pictures and paper need.
//
// [New] makes a [Matrix] of one error-correction level; [FitCells] and
// [FitDots] choose the level and the quiet zone by what fits on a terminal
// screen or on paper. A Matrix never changes: make it once per charge and share
// it between goroutines and frames. Making one takes about a millisecond on a
// PC; drawing it is cheap.
//
// The symbol comes from github.com/skip2/go-qrcode, which mixes numeric,
// alphanumeric and byte segments and so makes the smallest symbols for PIX
// codes. Its objects encode anew at every rendering, change while they do, and
// hand out their own slices, so this package asks for the bitmap once, without
// border, and copies it; pictures are drawn here, with whole pixels per module.
//
// No standard of PIX prescribes a level or a size. The quiet zone of four
// modules is ISO/IEC 18004; two is the least that this project draws on a
// screen, and what does not fit is refused, because a cropped symbol is worse
// than a message.
package qr

import (
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"io"
	"strings"

	qrcode "github.com/skip2/go-qrcode"
)

// Level is an error-correction level: how much of the symbol may be lost.
type Level int

// The levels of ISO/IEC 18004, from about 7 % to 30 %.
const (
	L Level = iota
	M
	Q
	H
)

// String is the letter of the level.
func (l Level) String() string {
	if l < L || l > H {
		return fmt.Sprintf("Level(%d)", int(l))
	}
	return "LMQH"[l : l+1]
}

// ParseLevel reads the letter of a level, in either case.
func ParseLevel(text string) (Level, error) {
	for l := L; l <= H; l++ {
		if strings.EqualFold(text, l.String()) {
			return l, nil
		}
	}
	return 0, fmt.Errorf("level %q: want L, M, Q or H", text)
}

// The library's names differ from the standard's: its High is Q, its Highest H.
var library = [...]qrcode.RecoveryLevel{L: qrcode.Low, M: qrcode.Medium, Q: qrcode.High, H: qrcode.Highest}

// Matrix is a QR symbol without its quiet zone. It is immutable and safe for
// concurrent use.
type Matrix struct {
	size int
	dark []bool // row by row
}

// New makes the symbol of a text. It refuses the empty text and one that is too
// long for a symbol at that level (2,953 bytes at L, 1,273 at H, at the least).
func New(text string, level Level) (*Matrix, error) {
	code, err := plan(text, level)
	if err != nil {
		return nil, err
	}
	return draw(code), nil
}

// plan chooses the version of a symbol, which gives its size, in a small part of the time
// that drawing it takes.
func plan(text string, level Level) (*qrcode.QRCode, error) {
	if level < L || level > H {
		return nil, fmt.Errorf("make QR symbol: no level %d", int(level))
	}
	if text == "" {
		return nil, errors.New("make QR symbol: empty text")
	}
	code, err := qrcode.New(text, library[level])
	if err != nil {
		return nil, fmt.Errorf("make QR symbol of %d bytes at level %s: %w", len(text), level, err)
	}
	code.DisableBorder = true // has no effect after the first rendering
	return code, nil
}

// sizeOf is how many modules a side a symbol will have.
func sizeOf(code *qrcode.QRCode) int { return 17 + 4*code.VersionNumber }

func draw(code *qrcode.QRCode) *Matrix {
	rows := code.Bitmap()
	m := &Matrix{size: len(rows), dark: make([]bool, 0, len(rows)*len(rows))}
	for _, row := range rows {
		m.dark = append(m.dark, row...)
	}
	return m
}

// Size is the number of modules on a side, 21 to 177.
func (m *Matrix) Size() int { return m.size }

// Dark reports whether the module in column x and row y, counted from the top
// left corner, is dark. Everything outside the symbol is light.
func (m *Matrix) Dark(x, y int) bool {
	return x >= 0 && y >= 0 && x < m.size && y < m.size && m.dark[y*m.size+x]
}

// HalfBlocks is the symbol as lines of text with the given quiet zone, one
// module a column and two modules a line. Light modules are █ ▀ ▄ and dark ones
// spaces, so it must be shown light on dark: bright white on true black. Every
// line has Size()+2*quiet characters; the lower half of the last line is light.
func (m *Matrix) HalfBlocks(quiet int) []string {
	quiet = max(0, quiet)
	lines := make([]string, 0, (m.size+2*quiet+1)/2)
	var b strings.Builder
	for y := -quiet; y < m.size+quiet; y += 2 {
		b.Reset()
		b.Grow(len("█") * (m.size + 2*quiet))
		for x := -quiet; x < m.size+quiet; x++ {
			switch upper, lower := m.Dark(x, y), m.Dark(x, y+1); {
			case upper && lower:
				b.WriteByte(' ')
			case upper:
				b.WriteRune('▄')
			case lower:
				b.WriteRune('▀')
			default:
				b.WriteRune('█')
			}
		}
		lines = append(lines, b.String())
	}
	return lines
}

// Image is the symbol as a black and white picture with px whole pixels per
// module and the given quiet zone in modules. Values below the least sensible
// ones (1 and 0) count as those.
func (m *Matrix) Image(px, quiet int) *image.Paletted {
	px, quiet = max(1, px), max(0, quiet)
	side := (m.size + 2*quiet) * px
	img := image.NewPaletted(image.Rect(0, 0, side, side), color.Palette{color.White, color.Black})
	for y := range m.size {
		row := img.Pix[(y+quiet)*px*img.Stride:]
		for x := range m.size {
			if m.Dark(x, y) {
				for i := range px {
					row[(x+quiet)*px+i] = 1
				}
			}
		}
		for i := 1; i < px; i++ {
			copy(row[i*img.Stride:(i+1)*img.Stride], row[:img.Stride])
		}
	}
	return img
}

// maxSide bounds a picture: 16 megapixels.
const maxSide = 4096

// PNG writes the picture of [Matrix.Image]. It refuses px below 1, a negative
// quiet zone, and pictures of more than 4096 pixels a side.
func (m *Matrix) PNG(w io.Writer, px, quiet int) error {
	if px < 1 || quiet < 0 || px > maxSide || quiet > maxSide || (m.size+2*quiet)*px > maxSide {
		return fmt.Errorf("write QR picture: %d modules, quiet zone %d, %d pixels a module: want 1 to %d pixels a side",
			m.size, quiet, px, maxSide)
	}
	if err := png.Encode(w, m.Image(px, quiet)); err != nil {
		return fmt.Errorf("write QR picture: %w", err)
	}
	return nil
}
