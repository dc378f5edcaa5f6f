package terminal

import (
	"context"
	"slices"
	"time"

	"github.com/ssg-safe/agent/charge"
	"github.com/ssg-safe/agent/display"
)

// work starts whatever is due: attempts, questions, prints, screens.
func (t *Terminal) work() {
	up := t.clock.Up()
	t.session.tick(up)
	t.menu.Tick(up)
	if t.menu.Open() && t.session.state != display.Idle { // a charge has the screen
		t.menu.Close()
	}
	if t.stopping {
		return
	}
	t.recordPostponed(up)
	for _, id := range t.order {
		t.step(t.charges[id], up)
	}
	t.order = slices.DeleteFunc(t.order, t.forget)
	t.probe()
	t.printNext(up)
	t.compareNext(up)
}

// step starts what is due about one charge.
func (t *Terminal) step(l *live, up time.Duration) {
	if l.retryAt != 0 && up >= l.retryAt && !l.busy {
		t.retry(l)
		return
	}
	mine := t.session.charge == l.charge.ID
	if mine && l.lookUp && t.session.state == display.Creating && (l.cancel || up >= l.began+l.charge.ExpiryDuration()) {
		t.cancel(l.charge.ID) // if it is ever found
		t.session.fail(up, display.ErrUncertain)
	}
	if l.lookUp && !l.busy && !l.watch.asking && up >= l.watch.next {
		t.find(l)
		return
	}
	if mine && t.session.waits() && (l.cancel || l.known && up >= l.deadline) {
		_, static := l.charge.Static()
		switch {
		case static && !l.cancel: // nobody knows, and no verdict is to be had
			t.session.held(up)
		case l.cancel:
			t.session.verifying(up + cancelGrace + verdict)
		default:
			t.session.verifying(up + t.cfg.Grace + verdict)
		}
	}
	if at, ok := t.due(l); ok && up >= at {
		t.plan(l, up)
		t.question(l)
	}
}

// forget drops a charge that needs no more attention: one that is paid and not
// on the screen, or that ended without money and was asked about for long
// enough. Its snapshot goes with the next commit, whatever that is about.
func (t *Terminal) forget(id charge.ID) bool {
	l := t.charges[id]
	if l.busy || l.watch.asking || l.charge.State.Open() {
		return false
	}
	if l.charge.State.Rank() >= charge.Paid.Rank() && t.session.charge == id && !l.charge.Late {
		return false
	}
	if _, ok := t.due(l); ok {
		return false
	}
	delete(t.charges, id)
	t.closing = append(t.closing, id)
	return true
}

// untilNext is how long nothing is due.
func (t *Terminal) untilNext() time.Duration {
	up := t.clock.Up()
	next := time.Duration(1<<62 - 1)
	due := func(at time.Duration) { next = min(next, at) }
	if t.session.until != 0 {
		due(t.session.until)
	}
	if at, ok := t.menu.Due(up); ok {
		due(at)
	}
	if !t.stopping {
		if len(t.postponed) > 0 {
			due(t.postponedUntil)
		}
		if at, ok := t.board.NextProbe(); ok {
			due(at)
		}
		for _, l := range t.charges {
			if l.retryAt != 0 && !l.busy {
				due(l.retryAt)
			}
			if l.lookUp && !l.busy && !l.watch.asking {
				due(l.watch.next)
			}
			if at, ok := t.due(l); ok {
				due(at)
			}
			if t.session.charge == l.charge.ID && t.session.waits() && l.known {
				due(l.deadline)
			}
		}
		if at, ok := t.spool.due(); ok && t.printer != nil {
			due(at)
		}
		if at, ok := t.compareDue(); ok {
			due(at)
		}
	}
	return max(0, next-up)
}

// key routes a key press.
func (t *Terminal) key(k display.Key) {
	if t.menuKey(k) {
		return
	}
	id := t.session.charge
	switch t.session.key(k, t.clock.Up(), t.cfg.MinAmount, t.cfg.MaxAmount) {
	case begin:
		amount := t.session.amount
		t.session.idle()
		t.start(Request{Amount: amount, Source: "keypad", Present: true}, func(_ charge.ID, err error) {
			if err != nil {
				t.log.Warn("charge refused", "err", err)
			}
		})
	case stop:
		t.cancel(id)
	case claim:
		if l := t.charges[id]; l != nil {
			t.session.held(t.clock.Up())
			l.later(func() { t.claimed(l) })
		}
	}
}

// drawn reacts to what reached the screen: a code that fits neither screen nor
// paper cannot be paid.
func (t *Terminal) drawn(d display.Drawn) {
	if d.View.State == display.QR && !d.QR && !d.HandedOver && t.printer == nil && t.session.charge == charge.ID(d.View.Charge) {
		t.cancel(t.session.charge)
		t.session.fail(t.clock.Up(), display.ErrFit)
	}
}

// draw shows the view when it changed. Everything a view claims is committed:
// it is made of charges as the store has them.
func (t *Terminal) draw() {
	v := t.menuPage(t.view())
	same := v
	same.Remaining = t.shown.Remaining // the display counts down by itself
	if same == t.shown {
		return
	}
	t.shown = v
	t.screen.Show(v)
}

func (t *Terminal) view() display.View {
	s := t.session
	v := display.View{
		State: s.state, Amount: s.amount, ErrorCode: s.code,
		Status: display.Status{Network: t.network, Printer: t.spool.health, Clock: clockHealth(t.clock.Quality())},
	}
	if t.cfg.Pending != nil {
		v.Status.Pending = t.cfg.Pending()
	}
	if wait := t.exposure().Pending; wait.Count > 0 {
		age := t.clock.Wall().Sub(wait.Oldest).Truncate(time.Minute)
		v.Status.Unfound = display.Unfound{Count: wait.Count, Sum: wait.Sum, Age: max(0, age)}
	}
	if s.state == display.Amount {
		v.Min, v.Max = t.cfg.MinAmount, t.cfg.MaxAmount
	}
	l := t.charges[s.charge]
	if l == nil {
		return v
	}
	m, _ := t.merchant(l.charge.Merchant)
	v.Charge, v.Reference, v.Payee = string(l.charge.ID), shortName(l.charge.ID), m.Name
	v.Amount = l.charge.Amount
	v.Codeless = l.code == "" && l.charge.State != charge.Created && t.route(l.charge).Caps().Codeless
	switch s.state {
	case display.Creating:
		v.Ahead = l.ahead
	case display.QR:
		v.Code, v.Total = l.code, l.charge.ExpiryDuration()
		v.Remaining = max(0, l.deadline-t.clock.Up())
		v.Printed = l.printed == SlipQR
		_, v.Offline = l.charge.Static()
	case display.Held:
		v.Printed, v.Released = l.printed == SlipQR, l.charge.Released
	case display.Verifying, display.Expired, display.Cancelled:
		v.Printed = l.printed == SlipQR
	case display.Paid:
		v.At = l.paidAt.In(m.Zone)
		v.Printed = l.printed == SlipReceipt
	}
	return v
}

func clockHealth(quality string) display.Health {
	switch quality {
	case "synced", "anchored":
		return display.OK
	}
	return display.Warn
}

// Halt shows an error that only a person with tools can mend, such as a store
// that cannot be written, and refuses everything until ctx ends. It is called
// instead of Run.
func (t *Terminal) Halt(ctx context.Context, code string) error {
	t.session.halt(code)
	t.draw()
	for {
		select {
		case <-t.inbox: // its askers wait for their own contexts
		case <-ctx.Done():
			return nil
		}
	}
}
