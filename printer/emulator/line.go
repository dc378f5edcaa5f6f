package emulator

import (
	"strings"
	"unicode/utf8"
)

// line is the characters that wait for a line feed.
type line struct {
	cells []cell
	width int // dots
}

type cell struct {
	r     rune
	style style
	dots  int // wide
}

func (l *line) used() bool { return len(l.cells) > 0 }

// char puts a character on the line, and prints the line first when it is
// full.
func (m *machine) char(p *Printer, b byte) {
	r := rune(b)
	if b >= 0x80 {
		r = m.page[b-0x80]
	}
	if r == utf8.RuneError {
		p.problem("character that the code page lacks")
	}
	w, _ := m.style.cell()
	if m.line.width+w > m.width {
		m.flush(p)
	}
	m.line.cells = append(m.line.cells, cell{r: r, style: m.style, dots: w})
	m.line.width += w
}

// tab goes to the next multiple of eight characters.
func (m *machine) tab(p *Printer) {
	for n := 8 - len(m.line.cells)%8; n > 0; n-- {
		m.char(p, ' ')
	}
}

// newline prints the line, or feeds one.
func (m *machine) newline(p *Printer) {
	if m.line.used() {
		m.flush(p)
		return
	}
	if m.spacing > 0 { // else the paper stays, and any number of lines with it
		p.schedule(work{text: new(string), blank: m.spacing})
	}
}

// flush prints the line if there is one.
func (m *machine) flush(p *Printer) {
	if !m.line.used() {
		return
	}
	x := m.indent(m.line.width)
	text := m.line.text(x)
	rows := m.line.draw(x, p.cfg.Dots)
	m.line.cells, m.line.width = m.line.cells[:0], 0
	p.schedule(work{text: &text, rows: rows, blank: max(m.spacing-len(rows), 0)})
}

// indent is where something of a width begins.
func (m *machine) indent(width int) int {
	free := max(m.width-width, 0)
	switch m.align {
	case 1:
		return m.margin + free/2
	case 2:
		return m.margin + free
	}
	return m.margin
}

// text is the line in characters of font A.
func (l *line) text(x int) string {
	var b strings.Builder
	b.WriteString(strings.Repeat(" ", (x+romA.width/2)/romA.width))
	for _, c := range l.cells {
		b.WriteRune(c.r)
	}
	return strings.TrimRight(b.String(), " ")
}

// draw makes the rows of the line. Characters stand on the lowest row.
func (l *line) draw(x, dots int) [][]byte {
	height := 0
	for _, c := range l.cells {
		_, h := c.style.cell()
		height = max(height, h)
	}
	rows := blankRows(height, dots)
	for _, c := range l.cells {
		c.draw(rows, x, height)
		x += c.dots
	}
	return rows
}

func blankRows(n, dots int) [][]byte {
	all := make([]byte, n*dots/8)
	rows := make([][]byte, n)
	for i := range rows {
		rows[i] = all[i*dots/8 : (i+1)*dots/8]
	}
	return rows
}

// dark sets a dot; outside of the paper there is none.
func dark(row []byte, x int) {
	if x >= 0 && x/8 < len(row) {
		row[x/8] |= 0x80 >> (x % 8)
	}
}

// cell is the size of a character in dots.
func (s style) cell() (width, height int) {
	f := s.rom()
	return f.width * int(s.wide), f.height * int(s.tall)
}

func (s style) rom() *rom {
	switch {
	case s.fontB:
		return &romB
	case s.bold:
		return &romABold
	}
	return &romA
}

func (c cell) draw(rows [][]byte, x, height int) {
	f := c.style.rom()
	glyph := f.glyph(c.r)
	w, h := c.style.cell()
	top := height - h
	for y := range h {
		bits := glyph[y/int(c.style.tall)]
		if c.style.bold && c.style.fontB {
			bits |= bits >> 1 // struck twice, one dot apart
		}
		for i := range w {
			ink := bits>>(f.width-1-i/int(c.style.wide))&1 != 0
			if c.style.underline > 0 && y >= h-int(c.style.underline) {
				ink = true
			}
			if ink != c.style.inverse {
				dark(rows[top+y], x+i)
			}
		}
	}
}
