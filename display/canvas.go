package display

import (
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/gdamore/tcell/v2"
)

// role is what a cell means; the theme says how that looks on a terminal.
type role uint8

const (
	base role = iota
	dim
	strong
	accent
	good
	warn
	bad
	header
	badge
	keycap
	code // the light modules of a QR code, and the spaces between them
)

// theme maps roles to styles. Every style names both of its colours: what a
// terminal takes for its defaults is unknown.
type theme [code + 1]tcell.Style

// newTheme returns the styles for a terminal of so many colours. With eight of
// them bold is the only way to true white, and grey on black is 9:1.
func newTheme(colours int) theme {
	on := func(fg, bg tcell.Color) tcell.Style {
		return tcell.StyleDefault.Foreground(fg).Background(bg)
	}
	if colours < 256 {
		black, grey := tcell.ColorBlack, tcell.ColorSilver
		return theme{
			base:   on(grey, black),
			dim:    on(grey, black),
			strong: on(grey, black).Bold(true),
			accent: on(tcell.ColorTeal, black).Bold(true),
			good:   on(tcell.ColorGreen, black).Bold(true),
			warn:   on(tcell.ColorOlive, black).Bold(true),
			bad:    on(tcell.ColorMaroon, black).Bold(true),
			header: on(grey, tcell.ColorNavy).Bold(true),
			badge:  on(black, tcell.ColorOlive),
			keycap: on(black, grey),
			code:   on(grey, black).Bold(true),
		}
	}
	// 16 and 231 are the black and the white of the colour cube, which no
	// user's palette moves.
	black, white := tcell.PaletteColor(16), tcell.PaletteColor(231)
	rgb := func(hex int32) tcell.Color { return tcell.NewHexColor(hex) }
	return theme{
		base:   on(rgb(0xd7dde3), black),
		dim:    on(rgb(0x9aa5b1), black),
		strong: on(white, black).Bold(true),
		accent: on(rgb(0x3fd0c0), black),
		good:   on(rgb(0x4ade80), black),
		warn:   on(rgb(0xffc94d), black),
		bad:    on(rgb(0xff8080), black),
		header: on(white, rgb(0x0b4f4a)).Bold(true),
		badge:  on(black, rgb(0xffc94d)).Bold(true),
		keycap: on(black, rgb(0xd7dde3)).Bold(true),
		code:   on(white, black).Bold(true),
	}
}

// cell is one character of the screen.
type cell struct {
	r    rune
	role role
}

// canvas is a screen to be: layouts draw on it, the display shows what changed.
type canvas struct {
	w, h  int
	cells []cell

	// cut lists the texts that did not fit. A finished layout has none.
	cut []string
}

// reset makes c an empty canvas of that size, keeping its memory.
func (c *canvas) reset(w, h int) {
	c.w, c.h = w, h
	c.cells = slices.Grow(c.cells[:0], w*h)[:w*h]
	for i := range c.cells {
		c.cells[i] = cell{' ', base}
	}
	c.cut = c.cut[:0]
}

// span is text in one role; line is a row of them.
type span struct {
	text string
	role role
}

type line []span

func (l line) width() int {
	n := 0
	for _, s := range l {
		n += utf8.RuneCountInString(s.text)
	}
	return n
}

// put draws l from (x, y) on, at most w cells of it.
func (c *canvas) put(x, y, w int, l line) {
	if y < 0 || y >= c.h || l.width() > min(w, c.w-x) {
		c.cut = append(c.cut, l.String())
	}
	if y < 0 || y >= c.h {
		return
	}
	end := min(x+w, c.w)
	for _, s := range l {
		for _, r := range s.text {
			if x >= end {
				return
			}
			if x >= 0 {
				c.cells[y*c.w+x] = cell{r, s.role}
			}
			x++
		}
	}
}

func (l line) String() string {
	var b strings.Builder
	for _, s := range l {
		b.WriteString(s.text)
	}
	return b.String()
}

// align is how a sheet's lines lie in their rectangle.
type align int

const (
	centre align = iota
	left
)

// rect is an area of the canvas.
type rect struct{ x, y, w, h int }

// lines draws ls into r, centred vertically.
func (c *canvas) lines(r rect, a align, ls []line) {
	y := r.y + max(0, (r.h-len(ls))/2)
	for i, l := range ls {
		if len(l) == 0 {
			continue
		}
		if y+i >= r.y+r.h {
			c.cut = append(c.cut, l.String())
			continue
		}
		x := r.x
		if a == centre {
			x += max(0, (r.w-l.width())/2)
		}
		c.put(x, y+i, r.x+r.w-x, l)
	}
}

// wrap breaks s at spaces into lines of at most w cells. A no-break space does
// not break; a word longer than a line does.
func wrap(s string, w int) []string {
	var out []string
	cur := ""
	for _, word := range strings.Split(s, " ") {
		for w > 0 && utf8.RuneCountInString(word) > w {
			if cur != "" {
				out, cur = append(out, cur), ""
			}
			rs := []rune(word)
			out, word = append(out, string(rs[:w])), string(rs[w:])
		}
		switch {
		case cur == "":
			cur = word
		case utf8.RuneCountInString(cur)+1+utf8.RuneCountInString(word) <= w:
			cur += " " + word
		default:
			out, cur = append(out, cur), word
		}
	}
	return append(out, cur)
}

// balance wraps s into no more lines than wrap, about equally long: no word
// stands alone below a full line.
func balance(s string, w int) []string {
	longest := 0
	for word := range strings.SplitSeq(s, " ") {
		longest = max(longest, utf8.RuneCountInString(word))
	}
	lines := wrap(s, w)
	for w--; w >= longest; w-- {
		narrower := wrap(s, w)
		if len(narrower) > len(lines) {
			break
		}
		lines = narrower
	}
	return lines
}

// shorten ends a text longer than w cells in "...".
func shorten(s string, w int) string {
	rs := []rune(s)
	if len(rs) <= w {
		return s
	}
	if w <= 3 {
		return string(rs[:max(0, w)])
	}
	return strings.TrimRight(string(rs[:w-3]), " ") + "..."
}
