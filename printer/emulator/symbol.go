package emulator

import (
	"fmt"

	"github.com/ssg-safe/agent/pix/qr"
)

// symbol is the state of the QR commands, GS ( k with cn 31.
type symbol struct {
	module int
	level  byte
	data   []byte
}

var levels = map[byte]qr.Level{'0': qr.L, '1': qr.M, '2': qr.Q, '3': qr.H}

// maxSymbol is what the largest symbol holds of bytes of any kind.
const maxSymbol = 2953

func (m *machine) twoDimensional(p *Printer, fn byte, d []byte) {
	s := &m.symbol
	switch {
	case fn == 'A' && len(d) == 2 && (d[0] == '1' || d[0] == '2') && d[1] == 0:
		// models 1 and 2 look alike here
	case fn == 'C' && len(d) == 1 && d[0] >= 1 && d[0] <= 16:
		s.module = int(d[0])
	case fn == 'E' && len(d) == 1 && d[0] >= '0' && d[0] <= '3':
		s.level = d[0]
	case fn == 'P' && len(d) > 1 && len(d) <= maxSymbol+1 && d[0] == '0':
		s.data = append(s.data[:0], d[1:]...)
	case fn == 'Q' && len(d) == 1 && d[0] == '0':
		m.printSymbol(p)
	case fn == 'R' && len(d) == 1 && d[0] == '0':
		m.sizeOfSymbol(p)
	default:
		p.problem(fmt.Sprintf("unknown QR function %02X with %d bytes", fn, len(d)))
	}
}

func (m *machine) makeSymbol(p *Printer) *qr.Matrix {
	if len(m.symbol.data) == 0 {
		p.problem("QR code without data")
		return nil
	}
	q, err := qr.New(string(m.symbol.data), levels[m.symbol.level])
	if err != nil {
		p.problem("QR code cannot be made: " + err.Error())
		return nil
	}
	return q
}

// printSymbol draws the symbol without a quiet zone. What is wider than the
// print area is not drawn, and the printer does not say so.
func (m *machine) printSymbol(p *Printer) {
	m.flush(p)
	q := m.makeSymbol(p)
	if q == nil {
		return
	}
	px := m.symbol.module
	side := q.Size() * px
	if side > m.width {
		p.problem(fmt.Sprintf("QR code of %d dots is wider than the print area", side))
		return
	}
	x := m.indent(side)
	rows := make([][]byte, 0, side)
	for y := range q.Size() {
		row := blankRows(1, p.cfg.Dots)[0]
		for i := range side {
			if q.Dark(i/px, y) {
				dark(row, x+i)
			}
		}
		for range px {
			rows = append(rows, row)
		}
	}
	text := fmt.Sprintf("[QR level %c, %d modules of %d dots: %s]", "LMQH"[m.symbol.level-'0'], q.Size(), px, m.symbol.data)
	p.schedule(work{text: &text, rows: rows})
}

// sizeOfSymbol answers function 52: width and height in decimal dots, and
// whether the symbol can be printed.
func (m *machine) sizeOfSymbol(p *Printer) {
	q := m.makeSymbol(p)
	if q == nil {
		return
	}
	side, fits := q.Size()*m.symbol.module, byte('0')
	if side > m.width {
		fits = '1'
	}
	answer := fmt.Appendf([]byte{0x37, 0x36}, "%d\x1f%d\x1f1\x1f", side, side)
	p.answer(append(answer, fits, 0))
}

// raster is GS v 0 m xL xH yL yH: an image of x bytes by y rows, doubled in
// width by bit 0 of m and in height by bit 1. What is wider than the paper is
// cut off.
func (m *machine) raster(p *Printer, a []byte) {
	if a[0] != '0' {
		p.problem(fmt.Sprintf("unknown command 1D 76 %02X", a[0]))
		return
	}
	mode, width, height := a[1]&0x0f, le(a[2:]), le(a[4:])
	if mode > 3 || width == 0 || height == 0 {
		p.problem(fmt.Sprintf("image of %d bytes by %d rows in mode %02X", width, height, a[1]))
		m.take(int64(width)*int64(height), func(byte) {})
		return
	}
	m.flush(p)
	wide, tall := 1+int(mode&1), 1+int(mode>>1)
	text := fmt.Sprintf("[image %dx%d]", width*8*wide, height*tall)
	say := &text
	x := m.indent(width * 8 * wide)
	row, at := blankRows(1, p.cfg.Dots)[0], 0
	m.take(int64(width)*int64(height), func(b byte) {
		for bit := range 8 {
			if b&(0x80>>bit) != 0 {
				for i := range wide {
					dark(row, x+(at*8+bit)*wide+i)
				}
			}
		}
		if at++; at == width {
			w := work{text: say}
			for range tall {
				w.rows = append(w.rows, row)
			}
			p.schedule(w)
			row, at, say = blankRows(1, p.cfg.Dots)[0], 0, nil
		}
	})
}
