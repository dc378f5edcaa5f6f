package display

import (
	"time"

	"github.com/ssg-safe/agent/pix/qr"
)

// plan is how a code lies on a screen of one size. It is made once for a code
// and a size: the matrix is never computed for a frame.
type plan struct {
	code  string
	w, h  int
	text  rect     // beside or under the symbol; w = 0: the code does not fit
	top   rect     // above it, in the upright layout
	at    rect     // the symbol with its quiet zone
	rows  []string // its half blocks
	whole bool     // the symbol takes the whole height: no top and bottom line
}

const (
	margin   = 2  // columns at the edges and beside the symbol
	panel    = 28 // columns the text beside a symbol needs
	panelMax = 46
	narrow   = 20 // of the same when the symbol takes the whole height
	above    = 5  // rows the text over a symbol needs
	below    = 4  // and under it
)

// arrange finds the layout for a code: beside the text or, on a screen that is
// higher than wide, between the texts; then as large as the screen.
func arrange(text string, w, h int) plan {
	p := plan{code: text, w: w, h: h}
	beside := func(text int, whole bool) bool {
		rows := h - 2
		if whole {
			rows = h
		}
		f, ok := qr.FitCells(p.code, w-text-3*margin, rows)
		if !ok {
			return false
		}
		p.set(f, whole)
		p.text.w = min(w-p.at.w-3*margin, panelMax)
		left := (w - p.at.w - margin - p.text.w) / 2
		p.at.x, p.at.y = left, (h-p.at.h)/2
		p.text.x, p.text.y, p.text.h = left+p.at.w+margin, 1, h-2
		return true
	}
	between := func(above, below int, whole bool) bool {
		rows := h - above - below
		if !whole {
			rows -= 2
		}
		f, ok := qr.FitCells(p.code, w, rows)
		if !ok {
			return false
		}
		p.set(f, whole)
		edge := 1
		if whole {
			edge = 0
		}
		spare := rows - p.at.h
		p.top = rect{margin, edge, w - 2*margin, above + spare/2}
		p.at.x, p.at.y = (w-p.at.w)/2, p.top.y+p.top.h
		y := p.at.y + p.at.h
		p.text = rect{margin, y, w - 2*margin, h - edge - y}
		return true
	}
	tall := h*2 > w
	if tall && between(above, below, false) || !tall && beside(panel, false) {
		return p
	}
	switch {
	case tall && beside(panel, false):
	case !tall && between(above, below, false):
	case beside(narrow, true):
	case between(1, 1, true):
	}
	return p
}

func (p *plan) set(f qr.Fit, whole bool) {
	p.rows = f.Matrix.HalfBlocks(f.Quiet)
	p.at.w, p.at.h = f.Matrix.Size()+2*f.Quiet, len(p.rows)
	p.whole = whole
}

// lay makes the plan of a code on a screen of that size, unless it is made.
func (p *painter) lay(text string, w, h int) {
	if p.plan.code == text && p.plan.w == w && p.plan.h == h {
		return
	}
	p.plan = plan{code: text, w: w, h: h}
	if text != "" && p.coloured {
		p.plan = arrange(text, w, h)
	}
}

// paintQR draws the screen QR and reports whether the code is on it.
func (p *painter) paintQR(c *canvas, v View, m moment) bool {
	p.lay(v.Code, c.w, c.h)
	l := p.plan
	if l.text.w == 0 {
		p.noCode(c, v, m)
		return false
	}
	if !l.whole {
		p.frame(c, v, m)
	}
	for y, row := range l.rows {
		x := 0
		for _, r := range row {
			c.cells[(l.at.y+y)*c.w+l.at.x+x] = cell{r, code}
			x++
		}
	}
	switch {
	case l.top.w == 0:
		c.lines(l.text, left, compose(l.text.w, l.text.h, func(s *sheet) {
			if p.demo && l.whole {
				s.add(span{" " + p.t.demo + " ", badge})
			}
			p.pay(s, v)
			s.gap()
			p.countdown(s, v, m)
			s.gap()
			s.hints(p.hints(v))
		}))
	case l.top.h < above:
		top := line{{v.Amount.BRL(), strong}}
		if p.demo {
			top = append(line{{" " + p.t.demo + " ", badge}, {"  ", base}}, top...)
		}
		c.lines(l.top, centre, []line{top})
		foot := line{{countdown(m.remaining(v)), strong}}
		for _, h := range p.hints(v) {
			foot = append(foot, span{"   ", base}, span{" " + h.key + " ", keycap}, span{" " + h.does, base})
		}
		if foot.width() > l.text.w {
			foot = foot[2:] // two keys matter more than the time
		}
		c.lines(l.text, centre, []line{foot})
	default:
		l.top.y, l.top.h = l.top.y+1, l.top.h-1
		c.lines(l.top, centre, compose(l.top.w, l.top.h, func(s *sheet) { p.pay(s, v) }))
		c.lines(l.text, centre, compose(l.text.w, l.text.h, func(s *sheet) {
			p.countdown(s, v, m)
			s.gap()
			s.hints(p.hints(v))
		}))
	}
	return true
}

// pay adds what is paid, to whom, and how.
func (p *painter) pay(s *sheet, v View) {
	s.detail(accent, p.t.scan)
	s.gap()
	s.amount(strong, v.Amount)
	s.gap()
	s.label(p.t.payee, v.Payee)
	s.label(p.t.reference, v.Reference)
	if v.Offline {
		s.detail(warn, p.t.offline)
	}
	if s.level < dense {
		s.gap()
		s.detail(base, p.t.scanHint)
	}
}

// countdown adds the time that is left, as figures and as a bar.
func (p *painter) countdown(s *sheet, v View, m moment) {
	if v.Total <= 0 && v.Remaining <= 0 {
		return
	}
	left, r := m.remaining(v), accent
	if left <= 30*time.Second {
		r = warn
	}
	s.add(span{p.t.expiresIn + " ", dim}, span{countdown(left), strong})
	s.bar(r, left, max(v.Total, v.Remaining))
}

// noCode is the screen of a code that does not fit: better no code than half of
// one.
func (p *painter) noCode(c *canvas, v View, m moment) {
	p.frame(c, v, m)
	room := rect{margin, 1, c.w - 2*margin, c.h - 2}
	c.lines(room, centre, compose(room.w, room.h, func(s *sheet) {
		if v.Printed {
			s.text(accent, p.t.usePrinted)
			s.charged(v, strong)
			s.label(p.t.payee, v.Payee)
			s.label(p.t.reference, v.Reference)
			s.text(base, p.t.usePrintedHint)
			s.gap()
			p.countdown(s, v, m)
		} else {
			s.text(bad, p.t.noRoom)
			s.charged(v, base)
			s.text(base, p.t.noRoomHint)
			s.gap()
			p.fault(s, View{ErrorCode: ErrFit})
		}
		s.gap()
		s.hints(p.hints(v))
	}))
}
