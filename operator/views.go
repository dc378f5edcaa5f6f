package operator

import (
	"fmt"
	"slices"
	"time"

	"github.com/ssg-safe/agent/closing"
	"github.com/ssg-safe/agent/display"
)

// show is the screen that an answer leads to.
func (m *Menu) show(v View, a Answer) screen {
	title := m.t.views[v]
	switch a := a.(type) {
	case SlipList:
		return m.slips(a)
	case Standing:
		return m.standing(a)
	case LetterList:
		return m.letters(a)
	case DayReport:
		if a.Number > 0 {
			return &notice{title: title, text: fmt.Sprintf(m.t.closed, a.Number), tone: display.Good, detail: m.received(a)}
		}
		return m.day(a)
	case Sheet:
		return newSheet(title, a)
	case Printing:
		text := fmt.Sprintf(m.t.printing, a.NSU)
		if a.Copy > 1 {
			text = fmt.Sprintf(m.t.printingCopy, a.NSU, a.Copy)
		}
		return &notice{title: title, text: text, tone: display.Good}
	case Settled:
		return &notice{title: title, text: m.t.settled, tone: display.Good}
	case Refused:
		return &notice{title: title, text: m.t.fault(a.Err), tone: display.Bad}
	}
	return &notice{title: title, text: m.t.fault(nil), tone: display.Bad}
}

// slips lists charges, of whose slips a copy can be printed.
func (m *Menu) slips(list SlipList) screen {
	p := &picker{title: m.t.views[Slips], empty: m.t.noSlips}
	for _, s := range list {
		p.items = append(p.items, item{
			does: m.at(s.At) + " " + s.Amount.BRL(), detail: m.t.chargeState(s),
			pick: func() *Request { m.push(m.slip(s)); return nil },
		})
	}
	return p
}

func (m *Menu) slip(s Slip) screen {
	lines := []display.PageLine{
		{Name: m.t.amount, Value: s.Amount.BRL()},
		{Name: m.t.when, Value: m.at(s.At)},
		{Name: m.t.state, Value: m.t.chargeState(s)},
		{Name: m.t.charge, Value: short(string(s.Charge))},
	}
	asks := m.t.askFirst
	if s.NSU > 0 {
		lines = append(lines, display.PageLine{Name: "NSU", Value: fmt.Sprintf("%06d", s.NSU)})
		asks = fmt.Sprintf(m.t.askCopy, s.Copies+1)
	}
	return &confirm{
		title: m.t.views[Slips], lines: lines, asks: asks,
		does: func() *Request { return m.ask(Slips, Reprint{s.Charge}) },
	}
}

// standing is what waits for its payment.
func (m *Menu) standing(s Standing) screen {
	sum := func(name string, t Tally) display.PageLine {
		l := display.PageLine{Name: name, Value: "0"}
		if t.Count > 0 {
			l.Value, l.Tone = fmt.Sprintf("%d · %s · %s", t.Count, t.Sum.BRL(), lasting(t.Oldest)), display.Caution
		}
		return l
	}
	groups := Sheet{
		{sum(m.t.unfound, s.Pending)},
		{sum(m.t.released, s.Released)},
		{{Name: m.t.tickets, Value: fmt.Sprint(s.OpenTickets), Tone: cautionIf(s.OpenTickets > 0)}},
		{{Name: m.t.openCharges, Value: fmt.Sprint(len(s.Open))}},
	}
	if s.Overdues > 0 {
		groups[2][0] = display.PageLine{Name: m.t.tickets, Value: fmt.Sprintf(m.t.overdues, s.OpenTickets, s.Overdues), Tone: display.Bad}
	}
	for _, t := range s.Tickets {
		l := display.PageLine{Name: t.ID, Value: t.Amount.BRL() + " " + fmt.Sprintf(m.t.until, t.Deadline.In(m.cfg.Zone).Format("02/01")), Tone: display.Caution}
		if t.Overdue {
			l.Tone = display.Bad
		}
		groups = append(groups, []display.PageLine{l})
	}
	for _, o := range s.Open {
		what := m.t.online
		switch {
		case o.Released:
			what = m.t.left
		case o.Offline:
			what = m.t.offline
		}
		groups = append(groups, []display.PageLine{{Name: m.at(o.Made), Value: o.Amount.BRL() + " " + what}})
	}
	return newSheet(m.t.views[Waiting], groups)
}

func cautionIf(b bool) display.Tone {
	if b {
		return display.Caution
	}
	return display.Neutral
}

// letters lists the slips that wait for a decision.
func (m *Menu) letters(list LetterList) screen {
	p := &picker{title: m.t.views[Letters], empty: m.t.noLetters}
	for _, l := range list {
		p.items = append(p.items, item{
			does: fmt.Sprintf("NSU %06d %s", l.NSU, m.t.slipKinds[l.Kind]),
			pick: func() *Request { m.push(m.letter(l)); return nil },
		})
	}
	return p
}

func (m *Menu) letter(l Letter) screen {
	title := fmt.Sprintf("NSU %06d", l.NSU)
	settle := func(retry bool) func() *Request {
		return func() *Request { return m.ask(Letters, Settle{Job: l.Job, Retry: retry}) }
	}
	says, again := m.t.unprinted, m.t.printIt
	if l.Unsure {
		says, again = m.t.unsure, m.t.printCopy
	}
	lines := []display.PageLine{{Name: m.t.slip, Value: m.t.slipKinds[l.Kind]}}
	if l.Amount > 0 {
		lines = append(lines, display.PageLine{Name: m.t.amount, Value: l.Amount.BRL()})
	}
	lines = append(lines, display.PageLine{Value: says, Tone: display.Caution})
	drop := &confirm{title: title, lines: lines[:len(lines)-1], asks: m.t.askDrop, does: settle(false)}
	return newSheet(title, Sheet{lines},
		item{does: again, pick: settle(true)},
		item{does: m.t.giveUp, pick: func() *Request { m.push(drop); return nil }},
	)
}

// days asks whose day it is, where there are several merchants.
func (m *Menu) days() *Request {
	if len(m.cfg.Merchants) == 1 {
		return m.ask(Day, ReadDay{m.cfg.Merchants[0].ID})
	}
	if !m.who.Role.May(Day) {
		return nil
	}
	p := &picker{title: m.t.views[Day]}
	for _, c := range m.cfg.Merchants {
		p.items = append(p.items, item{does: c.Name, pick: func() *Request { return m.ask(Day, ReadDay{c.ID}) }})
	}
	m.push(p)
	return nil
}

// day is the X, and the way to the Z.
func (m *Menu) day(r DayReport) screen {
	groups := Sheet{m.received(r)}
	for _, l := range r.Lines {
		var lines []display.PageLine
		for _, row := range []struct {
			name string
			closing.Total
			tone display.Tone
		}{
			{m.t.paid, l.Paid, display.Neutral},
			{m.t.late, l.Late, display.Caution},
			{m.t.extra, l.Extra, display.Caution},
			{m.t.mismatch, l.Mismatch, display.Caution},
			{m.t.refunded, l.Refunded, display.Neutral},
			{m.t.unmatched, l.Unmatched, display.Caution},
			{m.t.created, l.Created, display.Neutral},
			{m.t.expired, l.Expired, display.Neutral},
			{m.t.cancelled, l.Cancelled, display.Neutral},
			{m.t.failed, l.Failed, display.Neutral},
		} {
			if row.Count > 0 {
				lines = append(lines, display.PageLine{
					Name: l.Provider + " " + row.name, Value: fmt.Sprintf("%d · %s", row.Count, row.Sum.BRL()), Tone: row.tone,
				})
			}
		}
		groups = append(groups, lines)
	}
	var actions []item
	if m.cfg.Printer {
		actions = append(actions, item{does: m.t.printX, pick: func() *Request { return m.ask(Day, PrintDay{r.Merchant}) }})
	}
	if !r.Empty() {
		z := &confirm{
			title: fmt.Sprintf(m.t.closeZ, r.Next), lines: m.received(r), asks: m.t.askZ,
			does: func() *Request { return m.ask(Day, CloseDay{r.Merchant, r.Next}) },
		}
		actions = append(actions, item{does: fmt.Sprintf(m.t.closeZ, r.Next), pick: func() *Request { m.push(z); return nil }})
	}
	return newSheet(m.t.views[Day], groups, actions...)
}

// received is whose day it is, which one, and what came in.
func (m *Menu) received(r DayReport) []display.PageLine {
	name := r.Merchant
	if i := slices.IndexFunc(m.cfg.Merchants, func(c Merchant) bool { return c.ID == r.Merchant }); i >= 0 {
		name = m.cfg.Merchants[i].Name
	}
	date := r.Date
	if at, err := time.Parse(time.DateOnly, r.Date); err == nil {
		date = at.Format("02/01/2006")
	}
	return []display.PageLine{{Name: m.t.merchant, Value: name}, {Name: m.t.date, Value: date}, {Name: m.t.receivedSum, Value: r.Received().BRL()}}
}

// at is a time in the zone of the menu.
func (m *Menu) at(t time.Time) string { return t.In(m.cfg.Zone).Format("02/01 15:04") }

// short is the part of an id by which people find a charge.
func short(id string) string { return id[max(0, len(id)-8):] }

// lasting is a span as short as it can be said.
func lasting(d time.Duration) string {
	switch {
	case d < time.Hour:
		return fmt.Sprintf("%dmin", d/time.Minute)
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh%02d", d/time.Hour, d%time.Hour/time.Minute)
	}
	return fmt.Sprintf("%dd", d/(24*time.Hour))
}
