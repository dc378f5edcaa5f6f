package terminal

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"go.etcd.io/bbolt"

	"github.com/ssg-safe/agent/charge"
	"github.com/ssg-safe/agent/display"
	"github.com/ssg-safe/agent/ledger"
	"github.com/ssg-safe/agent/providers"
	"github.com/ssg-safe/agent/queue"
	"github.com/ssg-safe/agent/redact"
)

// recover takes up what the last run left open. It decides nothing that rests
// on the wall clock.
func (t *Terminal) recover() error {
	var jobs []queue.Job
	err := t.store.View(func(tx *bbolt.Tx) error {
		err := tx.Bucket(openBucket).ForEach(func(id, row []byte) error {
			l, err := t.load(tx, id, row)
			if err == nil {
				t.hold(l)
			}
			return err
		})
		if err != nil {
			return err
		}
		if jobs, err = queue.List(tx); err != nil {
			return err
		}
		return t.restoreMenu(tx)
	})
	if err != nil {
		return err
	}
	// Ids begin with the terminal's code and the time of their making, so this
	// is their order unless the clock jumped.
	slices.SortFunc(t.order, func(a, b charge.ID) int { return cmp.Compare(a, b) })
	t.session.idle()
	for _, job := range jobs {
		if job.Kind != jobKind {
			continue
		}
		if job, err = revive(job); err != nil {
			return err
		}
		t.spool.jobs = append(t.spool.jobs, job)
	}
	// While one is of unknown fate no other is sent.
	slices.SortStableFunc(t.spool.jobs, func(a, b queue.Job) int { return cmp.Compare(settled(a), settled(b)) })
	for _, id := range t.order {
		t.resume(t.charges[id])
	}
	return nil
}

// settled orders jobs: 0 for those that may be on the paper, 1 for the others.
func settled(j queue.Job) int {
	if j.State == started || j.State == unknown {
		return 0
	}
	return 1
}

func (t *Terminal) load(tx *bbolt.Tx, id, row []byte) (*live, error) {
	var s snapshot
	if err := unseal(id, row, &s); err != nil {
		return nil, fmt.Errorf("snapshot of charge %s: %w", id, err)
	}
	c := s.Charge
	l := &live{charge: c, began: -1}
	if s.Boot == t.clock.Boot() {
		l.began, l.deadline, l.known = s.Began, s.Deadline, s.Deadline != 0
		l.paid, l.paidAt = s.Paid, t.wallAt(s.Paid)
	}
	data, err := ledger.GetPrivate(tx, string(c.ID))
	if err != nil {
		return nil, err
	}
	if data != nil {
		var p private
		if err := json.Unmarshal(data, &p); err != nil {
			return nil, fmt.Errorf("private part of charge %s: %w", c.ID, err)
		}
		l.code, l.desc, l.token = p.Code, p.Description, redact.Secret(p.Token)
		l.payer = providers.Payer{
			Name: redact.Name(p.Payer.Name), Document: redact.Document(p.Payer.Document), Email: redact.Email(p.Payer.Email),
			Address: redact.Text(p.Payer.Address), District: redact.Text(p.Payer.District), City: redact.Text(p.Payer.City), State: p.Payer.State,
			Postcode: redact.Text(p.Payer.Postcode),
		}
	}
	return l, nil
}

// resume takes up one charge.
func (t *Terminal) resume(l *live) {
	up := t.clock.Up()
	c := l.charge
	l.watch.payments, l.watch.refunds = len(c.Payments), len(c.Refunds)
	t.unheard(c)
	t.log.Info("taken up", "charge", c.ID, "state", c.State)
	switch {
	case c.State == charge.Created:
		facts, next := c.Interrupted(t.route(c).Caps())
		if !t.awaited(l) {
			t.abandon(l, facts, "interrupted")
			return
		}
		if c.Present && t.session.state == display.Idle {
			t.session.creating(c.ID, c.Amount)
		}
		if l.lookUp = next == charge.LookUp; l.lookUp && len(facts) == 0 {
			return
		}
		if len(facts) == 0 { // the next attempt was waiting for its time
			l.retryAt = up
			return
		}
		t.follow(l, facts, next, nil, func(*decision) {})
	case c.State == charge.Pending:
		if !l.known { // its end is not known on this boot's clock: at most this long
			l.deadline, l.known = up+c.ExpiryDuration(), true
		} else if c.Present && t.session.state == display.Idle && up < l.deadline && t.configured(c) {
			t.session.creating(c.ID, c.Amount)
			_, static := c.Static()
			t.session.pending(static, l.code == "")
		}
		l.watch.start(up, c.State)
		t.observe(Event{Kind: ChargeResumed, Charge: c, Code: l.code})
	case c.State == charge.Paid:
		l.watch.start(up, c.State)
		if c.Present && !c.Late && l.paid != 0 && up < l.paid+paidAgain && t.session.state == display.Idle {
			t.session.creating(c.ID, c.Amount)
			t.session.paid(up, t.cfg.PaidScreen)
		}
	default:
		l.watch.start(up, c.State)
	}
}

// paidAgain is how long after it was paid a charge is called so once more by a
// terminal that starts: later somebody else stands there.
const paidAgain = 30 * time.Second

// abandon ends a charge whose payer never saw a code and is not there any more, for
// a reason.
func (t *Terminal) abandon(l *live, facts []charge.Fact, reason string) {
	if n := len(facts); n == 0 || facts[n-1].Kind() != (charge.EndedFact{State: charge.Failed}).Kind() {
		facts = append(facts, charge.EndedFact{Charge: l.charge.ID, State: charge.Failed, Reason: reason})
	}
	d, err := decide("abandon", l, facts...)
	if err != nil {
		t.fatal = err
		return
	}
	d.then = func([]queue.Job) {
		l.lookUp = false
		t.changed(l, nil)
	}
	t.commit(d)
}
