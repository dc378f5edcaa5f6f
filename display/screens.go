package display

import (
	"fmt"
	"strconv"
	"time"
)

// The smallest screen that is drawn. Below it there is only a message.
const minCols, minRows = 36, 14

// painter turns a View into a canvas: pure, but for the QR plan that it keeps.
type painter struct {
	t              *texts
	title, support string
	hint           string // at the foot of the idle screen
	demo           bool
	coloured       bool // the terminal can be told both colours of a cell
	plan           plan
}

// moment is what a screen depends on beside its View.
type moment struct {
	elapsed time.Duration // since Show, monotonic
	now     time.Time     // wall clock, merchant's zone
}

// remaining is v's countdown at m.
func (m moment) remaining(v View) time.Duration { return max(0, v.Remaining-m.elapsed) }

// paint draws v and reports whether v's code is on c, whole.
func (p *painter) paint(c *canvas, v View, m moment) (qr bool) {
	if c.w < minCols || c.h < minRows {
		p.tiny(c)
		return false
	}
	if v.State == QR {
		return p.paintQR(c, v, m)
	}
	p.frame(c, v, m)
	if v.State == Operator {
		p.page(c, v.Page, m)
		return false
	}
	// What ends a screen is at its foot, what it says in the middle of the rest.
	foot := compose(c.w-4, 4, func(s *sheet) {
		if v.State == Idle && p.hint != "" {
			s.text(dim, p.hint)
		}
		s.hints(p.hints(v))
	})
	pad := 0
	if c.h >= 20 {
		pad = 1
	}
	room := rect{2, 1 + pad, c.w - 4, c.h - 2 - 2*pad}
	if n := len(foot); n > 0 {
		c.lines(rect{2, c.h - 1 - pad - n, c.w - 4, n}, centre, foot)
		room.h -= n + pad
	}
	body := compose(room.w, room.h, func(s *sheet) { p.body(s, v, m) })
	if v.State == Idle {
		// A picture that never moves burns into the panel.
		if free := room.h - len(body); free > 0 {
			off := int(m.now.Unix()/60) % (free + 1)
			room.y, room.h = room.y+off, len(body)
		}
	}
	c.lines(room, centre, body)
	return false
}

// frame draws the top and the bottom line of a screen.
func (p *painter) frame(c *canvas, v View, m moment) {
	for x := range c.w {
		c.cells[x] = cell{' ', header}
	}
	clock := m.now.Format("15:04")
	if v.Status.Clock == Down {
		clock = "--:--"
	}
	right := line{span{clock + " ", header}}
	if p.demo {
		right = append(line{span{" " + p.t.demo + " ", badge}, span{"  ", header}}, right...)
	}
	c.put(c.w-right.width(), 0, right.width(), right)
	if room := c.w - right.width() - 3; room > 3 {
		c.put(1, 0, room, line{span{shorten(p.title, room), header}})
	}
	c.put(1, c.h-1, c.w-2, p.status(v.Status, c.w-2))
}

// status is the line of small signs: a sign, never a colour alone, and a word
// where there is room.
func (p *painter) status(s Status, w int) line {
	build := func(words bool, gap string) line {
		var l line
		for _, part := range []struct {
			h    Health
			name string
		}{{s.Network, p.t.network}, {s.Printer, p.t.printer}, {s.Clock, p.t.clock}} {
			if part.h == Unknown {
				continue
			}
			if len(l) > 0 {
				l = append(l, span{gap, base})
			}
			sign := map[Health]span{OK: {"●", good}, Warn: {"▲", warn}, Down: {"×", bad}}[part.h]
			name := part.name
			if !words {
				name = string([]rune(name)[:3])
			}
			l = append(l, sign, span{" " + name, dim})
		}
		count := func(n string, more string) {
			if len(l) > 0 {
				l = append(l, span{gap, base})
			}
			if words {
				n += " " + more
			}
			l = append(l, span{n, warn})
		}
		if s.Pending > 0 {
			count("↑ "+strconv.Itoa(s.Pending), p.t.pending)
		}
		if u := s.Unfound; u.Count > 0 {
			count("? "+strconv.Itoa(u.Count), p.t.unfound+" "+u.Sum.BRL()+" "+lasting(u.Age))
		}
		return l
	}
	for _, l := range []line{build(true, "   "), build(false, "   ")} {
		if l.width() <= w {
			return l
		}
	}
	return build(false, " ")
}

// lasting is how long something lasts, as short as it can be said.
func lasting(d time.Duration) string {
	switch {
	case d < time.Hour:
		return fmt.Sprintf("%dmin", d/time.Minute)
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh%02d", d/time.Hour, d%time.Hour/time.Minute)
	}
	return fmt.Sprintf("%dd", d/(24*time.Hour))
}

// hints are the keys that a screen offers.
func (p *painter) hints(v View) []hint {
	switch v.State {
	case Amount:
		return []hint{{"ENTER", p.t.keyConfirm}, {"←", p.t.keyCorrect}, {"ESC", p.t.keyCancel}}
	case QR:
		if v.Offline {
			return []hint{{"ENTER", p.t.keyClaim}, {"ESC", p.t.keyCancel}}
		}
		return []hint{{"ESC", p.t.keyCancel}}
	case Creating, Elsewhere:
		return []hint{{"ESC", p.t.keyCancel}}
	case Paid, Held, Expired, Cancelled, Error:
		return []hint{{"ENTER", p.t.keyBack}}
	}
	return nil
}

// body is the middle of every screen but QR.
func (p *painter) body(s *sheet, v View, m moment) {
	t := p.t
	switch v.State {
	case Idle:
		if s.picture(accent, large.spell("PIX")) {
			s.gap()
		}
		s.text(strong, t.idle)
		s.text(base, t.idleHint)

	case Amount:
		s.text(accent, t.amount)
		s.gap()
		r := strong
		if v.Max > 0 && v.Amount > v.Max {
			r = warn
		}
		s.amount(r, v.Amount)
		s.gap()
		s.detail(base, t.amountHint)
		p.limits(s, v)

	case Creating:
		s.spinner(m.elapsed)
		s.gap()
		s.text(accent, t.creating)
		s.charged(v, strong)
		s.text(base, t.creatingHint)

	case Elsewhere:
		s.spinner(m.elapsed)
		s.gap()
		s.text(accent, t.elsewhere)
		s.charged(v, strong)
		s.text(base, t.elsewhereHint)
		s.label(t.reference, v.Reference)

	case Verifying:
		s.spinner(m.elapsed)
		s.gap()
		s.text(accent, t.verifying)
		s.charged(v, strong)
		s.text(base, t.verifyingHint)

	case Paid:
		if !s.picture(good, beside(tick, large.spell(t.paidWord), 3)) {
			s.text(good, "√ "+t.paidWord)
		}
		s.charged(v, strong)
		s.text(strong, t.paid)
		if v.Payee != "" && s.level < bare {
			s.label(t.payee, v.Payee)
		}
		if !v.At.IsZero() {
			s.text(base, t.confirmedAt+" "+v.At.Format("02/01/2006 15:04:05"))
		}
		if v.Printed {
			s.gap()
			s.text(accent, t.takeReceipt)
		}

	case Held:
		s.sign(accent, exclamation)
		s.text(accent, t.held)
		s.charged(v, strong)
		if v.Released {
			s.text(good, t.released)
		}
		s.text(base, t.heldHint)
		s.label(t.reference, v.Reference)

	case Expired:
		s.sign(warn, cross)
		if v.Codeless {
			s.text(warn, t.tooLate)
		} else {
			s.text(warn, t.expired)
		}
		s.charged(v, base)
		s.text(base, t.expiredHint)
		p.voided(s, v)

	case Cancelled:
		s.sign(warn, cross)
		s.text(warn, t.cancelled)
		s.charged(v, base)
		s.detail(base, t.cancelledHint)
		p.voided(s, v)

	case Error:
		f, ok := t.faults[v.ErrorCode]
		if !ok {
			f = t.unknownFault
		}
		s.sign(bad, exclamation)
		s.text(bad, t.failed)
		s.gap()
		s.text(strong, f.what)
		s.text(base, f.do)
		s.gap()
		p.fault(s, v)

	case Unavailable:
		s.sign(warn, exclamation)
		s.text(warn, t.unavailable)
		s.gap()
		if f, ok := t.faults[v.ErrorCode]; ok {
			s.detail(strong, f.what)
		}
		s.text(base, t.unavailableHint)
		s.gap()
		p.fault(s, v)

	default:
		s.text(accent, t.starting)
		s.gap()
		if v.State == Starting && v.Progress > 0 {
			done := min(v.Progress, 100)
			s.text(base, fmt.Sprintf("%s: %d%%", t.startingFile, done))
			s.bar(accent, time.Duration(done), 100)
		} else {
			s.spinner(m.elapsed)
		}
	}
}

// sign adds a large sign.
func (s *sheet) sign(r role, bitmap []string) {
	if s.picture(r, bitmap) {
		s.gap()
	}
}

// charged adds the amount of a charge, if it has one.
func (s *sheet) charged(v View, r role) {
	if v.Amount > 0 {
		s.gap()
		s.amount(r, v.Amount)
	}
	s.gap()
}

// voided warns of a code that nobody may pay any more.
func (p *painter) voided(s *sheet, v View) {
	s.gap()
	if v.Codeless {
		s.text(strong, p.t.doNotPayElsewhere)
		return
	}
	s.text(strong, p.t.doNotPay)
	if v.Printed {
		s.text(base, p.t.discardPrinted)
	}
}

// fault adds what staff and support need to know.
func (p *painter) fault(s *sheet, v View) {
	if v.ErrorCode != "" {
		s.label(p.t.code, v.ErrorCode)
	}
	s.label(p.t.support, p.support)
}

// limits adds what may be typed, and marks the limit that is broken.
func (p *painter) limits(s *sheet, v View) {
	mark := func(broken bool, text string) span {
		if broken {
			return span{"▲ " + text, warn}
		}
		return span{text, dim}
	}
	var ls line
	if v.Min > 0 {
		ls = append(ls, mark(v.Amount > 0 && v.Amount < v.Min, p.t.min+" "+v.Min.BRL()))
	}
	if v.Max > 0 {
		ls = append(ls, mark(v.Amount > v.Max, p.t.max+" "+v.Max.BRL()))
	}
	if len(ls) == 2 && ls.width()+3 <= s.w {
		s.add(ls[0], span{"   ", base}, ls[1])
		return
	}
	for _, l := range ls {
		s.add(l)
	}
}

// tiny says that there is no room, in what room there is.
func (p *painter) tiny(c *canvas) {
	s := &sheet{w: max(1, c.w)}
	s.text(warn, p.t.tiny)
	s.text(dim, fmt.Sprintf("%dx%d", c.w, c.h))
	if len(s.lines) <= c.h {
		c.lines(rect{0, 0, c.w, c.h}, centre, s.lines)
	} else if c.h > 0 {
		c.put(0, 0, c.w, line{span{shorten(p.t.tiny, c.w), warn}})
	}
}

// animated says how long after m the screen of v looks different by itself; 0
// = never.
func animated(v View, m moment) time.Duration {
	minute := m.now.Truncate(time.Minute).Add(time.Minute).Sub(m.now)
	switch v.State {
	case Creating, Elsewhere, Verifying:
		return frame - m.elapsed%frame
	case Operator:
		if v.Page != nil && v.Page.Busy {
			return frame - m.elapsed%frame
		}
	case Starting:
		if v.Progress <= 0 {
			return frame - m.elapsed%frame
		}
	case QR:
		if left := m.remaining(v); left > 0 {
			// The next whole second of the countdown.
			return left - (left - 1).Truncate(time.Second)
		}
	}
	return minute
}
