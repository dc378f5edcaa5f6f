package payouts

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/ssg-safe/agent/hub"
	"github.com/ssg-safe/agent/payout"
	"github.com/ssg-safe/agent/providers"
)

// The pauses between questions about one payout, and between attempts to send what
// was not sent. The last one repeats.
var (
	askEvery = []time.Duration{
		2 * time.Second, 5 * time.Second, 10 * time.Second, 20 * time.Second, 30 * time.Second, 30 * time.Second, time.Minute, 2 * time.Minute,
		5 * time.Minute, 15 * time.Minute, time.Hour,
	}
	sendEvery = []time.Duration{2 * time.Second, 5 * time.Second, 10 * time.Second, 30 * time.Second}
)

func pause(of []time.Duration, n int) time.Duration { return of[min(n, len(of)-1)] }

// Run submits what is approved, asks about what is unknown, and tells terminals of their
// refunds, until ctx ends. Its
// error is the store's, and final.
func (b *Book) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	errs := make(chan error, len(b.routes)+2)
	start := func(do func(context.Context) error) {
		wg.Go(func() {
			if err := do(ctx); err != nil && ctx.Err() == nil {
				errs <- err
				cancel()
			}
		})
	}
	for _, a := range b.routes {
		start(func(ctx context.Context) error {
			return (&worker{book: b, a: a, began: time.Now(), known: map[payout.ID]*pace{}}).run(ctx)
		})
	}
	start(b.forget)
	start(b.serveTerminals)
	wg.Wait()
	select {
	case err := <-errs:
		return fmt.Errorf("payouts: %w", err)
	default:
		return nil
	}
}

// worker is the goroutine of a route.
type worker struct {
	book  *Book
	a     *account
	began time.Time
	known map[payout.ID]*pace
}

// pace is what is known of a payout while the process runs. Its times are monotonic.
type pace struct {
	state  payout.State
	sends  int // of the same submission, that were not sent
	asks   int
	due    time.Time
	missed time.Time // when it was last said to be absent
}

func (w *worker) run(ctx context.Context) error {
	for {
		next, err := w.round(ctx)
		if err != nil {
			return err
		}
		var timer <-chan time.Time
		if !next.IsZero() {
			timer = time.After(time.Until(next))
		}
		select {
		case <-ctx.Done():
			return nil
		case <-w.a.wake:
		case <-timer:
		}
	}
}

// round does what is due, and returns when something is due next.
func (w *worker) round(ctx context.Context) (next time.Time, err error) {
	var ids []payout.ID
	err = w.book.store.View(ctx, func(tx hub.Tx) error {
		for row, err := range tx.Scan(hub.KindPayout, prefixOpen+w.a.Name+"/") {
			if err != nil {
				return err
			}
			ids = append(ids, lastPart(row.Key))
		}
		return nil
	})
	if err != nil {
		return next, err
	}
	w.a.mu.Lock()
	hints := w.a.hints
	w.a.hints = map[hint]bool{}
	w.a.mu.Unlock()
	for h := range hints {
		p := w.pace(h.id)
		due, asks := p.due, p.asks
		if err := w.ask(ctx, h.id, h.theirs, p); err != nil {
			return next, err
		}
		// Hints come from outside: however many there are, they put nothing off.
		if p.asks = asks; due.Before(p.due) {
			p.due = due
		}
	}
	open := map[payout.ID]bool{}
	for _, id := range ids {
		open[id] = true
		p := w.pace(id)
		if err := w.step(ctx, id, p); err != nil || ctx.Err() != nil {
			return next, err
		}
		if !p.due.IsZero() && (next.IsZero() || p.due.Before(next)) {
			next = p.due
		}
	}
	for id := range w.known {
		if !open[id] {
			delete(w.known, id)
		}
	}
	return next, nil
}

func (w *worker) pace(id payout.ID) *pace {
	if w.known[id] == nil {
		w.known[id] = &pace{missed: w.began}
	}
	return w.known[id]
}

// step does what is due for one payout. p.due is when to come again; zero: when
// somebody decides something.
func (w *worker) step(ctx context.Context, id payout.ID, p *pace) error {
	var r Record
	err := w.book.store.View(ctx, func(tx hub.Tx) (err error) {
		r, err = Get(tx, id)
		return err
	})
	if err != nil || r.Manual {
		return err
	}
	now := time.Now()
	if p.state != r.State {
		p.state, p.asks, p.due = r.State, 0, time.Time{}
	}
	if r.State == payout.Proposed || r.State == payout.Approved {
		if r.Lapsed(now) != nil {
			p.sends = 0
			_, err := w.book.record(ctx, id, func(r Record) (payout.Fact, error) { return r.Lapsed(time.Now()), nil })
			return err
		}
		if r.State == payout.Proposed {
			p.due = r.Until // zero while nobody has approved it
			return nil
		}
	}
	if now.Before(p.due) {
		return nil
	}
	other := w.a.foreign(r)
	if other && r.State == payout.Approved {
		p.due = r.Until
		return nil
	}
	if r.State == payout.Approved || !other && r.State == payout.Unknown && r.Resend && r.Absent >= payout.AbsentAnswers && !r.Odd {
		return w.send(ctx, id, p)
	}
	if err := w.ask(ctx, id, "", p); err != nil {
		return err
	}
	return w.late(ctx, r)
}

// send submits an order. The fact that it is being submitted is durable before the
// provider hears of it.
func (w *worker) send(ctx context.Context, id payout.ID, p *pace) error {
	var order payout.Order
	sending, err := w.book.record(ctx, id, func(r Record) (payout.Fact, error) {
		f, err := r.Submit(time.Now())
		return f, err
	})
	if _, refused := errors.AsType[*payout.TransitionError](err); refused || errors.Is(err, payout.ErrLapsed) {
		// Somebody was faster, or a person has to look first.
		p.due = time.Now().Add(pause(sendEvery, p.sends))
		p.sends++
		return nil
	}
	if err != nil {
		return err
	}
	var d payout.Details
	err = w.book.store.View(ctx, func(tx hub.Tx) (err error) {
		if d, err = Details(tx, id); errors.Is(err, hub.ErrNotFound) {
			err = nil // the order below cannot be made
		}
		return err
	})
	if err == nil {
		err = w.book.marked(ctx)
	}
	if err != nil {
		return err
	}
	order, err = sending.Order(d)
	var answer payout.Answer
	switch {
	case err != nil: // nothing has left: the order could not even be made
		w.book.log.Error("a payout's details are not what was approved", "payout", id, "err", err)
		err = &providers.Error{Provider: w.a.Name, Op: "payout", Kind: providers.Invalid, Code: "details"}
	case sending.Kind == payout.Refund && w.a.Refunder != nil:
		answer, err = w.a.Refunder.SubmitRefund(ctx, order)
	case sending.Kind == payout.ToKey && w.a.Sender != nil:
		answer, err = w.a.Sender.SubmitPayout(ctx, order)
	default:
		err = &providers.Error{Provider: w.a.Name, Op: "payout", Kind: providers.Operator, Code: "route", Detail: "the route cannot do this any more"}
	}
	if err != nil {
		w.book.log.Warn("payout", "payout", id, "route", w.a.Name, "err", err)
	}
	// What came of it is recorded also when the hub is about to end.
	after, err := w.book.record(context.WithoutCancel(ctx), id, func(r Record) (payout.Fact, error) {
		return r.Submitted(order, answer, err), nil
	})
	if err != nil {
		return err
	}
	p.state, p.asks = after.State, 0
	if after.State == payout.Approved {
		p.due = time.Now().Add(pause(sendEvery, p.sends))
		p.sends++
	} else {
		p.due, p.sends = time.Now().Add(pause(askEvery, 0)), 0
	}
	w.book.log.Info("payout", "payout", id, "route", w.a.Name, "state", string(after.State), "amount", after.Amount)
	return nil
}

// ask asks what became of an order.
func (w *worker) ask(ctx context.Context, id payout.ID, theirs string, p *pace) error {
	var r Record
	err := w.book.store.View(ctx, func(tx hub.Tx) (err error) {
		r, err = Get(tx, id)
		return err
	})
	if err != nil {
		return err
	}
	if r.Submissions == 0 || r.State == payout.Rejected {
		return nil
	}
	// Reckoned from the sending back, for the provider's clock may be another.
	ref := r.Ref(r.Sent.Add(-5 * time.Minute))
	if ref.ProviderID == "" {
		ref.ProviderID = theirs
	}
	var answer payout.Answer
	switch {
	case w.a.foreign(r):
		err = &providers.Error{Provider: w.a.Name, Op: "find payout", Kind: providers.Operator, Code: "account", Detail: "it was sent from another account than the route is now"}
	case r.Kind == payout.Refund && w.a.Refunder != nil:
		answer, err = w.a.Refunder.FindRefund(ctx, ref)
	case r.Kind == payout.ToKey && w.a.Sender != nil:
		answer, err = w.a.Sender.FindPayout(ctx, ref)
	default:
		err = &providers.Error{Provider: w.a.Name, Op: "find payout", Kind: providers.Operator, Code: "route", Detail: "the route cannot do this any more"}
	}
	p.due = time.Now().Add(pause(askEvery, p.asks))
	p.asks++
	e, failed := errors.AsType[*providers.Error](err)
	missing := failed && e.Kind == providers.NotFound
	if err != nil && !missing {
		w.book.log.Warn("payout", "payout", id, "route", w.a.Name, "err", err)
		return nil
	}
	before := r.State
	heard := time.Now()
	absent := false
	r, err = w.book.record(ctx, id, func(r Record) (payout.Fact, error) {
		absent = false
		if !missing {
			return r.Observe(answer), nil
		}
		f := r.Missing(answer.Digest, heard.Sub(p.missed))
		absent = f != nil
		return f, nil
	})
	if absent && err == nil {
		p.missed = heard
		if r.Resend && r.Absent >= payout.AbsentAnswers { // it is sent again, ever more slowly
			p.due = heard.Add(pause(askEvery, r.Submissions))
		}
	}
	if r.State != before && err == nil {
		w.book.log.Info("payout", "payout", id, "route", w.a.Name, "state", string(r.State), "amount", r.Amount)
	}
	return err
}

// late tells a person, once, of a payout that has been unknown, or in the provider's
// hands, for too long.
func (w *worker) late(ctx context.Context, r Record) error {
	if !r.gone() || r.Told || time.Since(r.Sent) < w.a.PersonAfter {
		return nil
	}
	return w.book.store.Update(ctx, func(tx hub.Tx) error {
		r, err := Get(tx, r.ID)
		if err != nil || !r.gone() || r.Told {
			return err
		}
		text := "nobody knows what became of this order: look at the provider's panel, then enter it: ssg-hub " + string(r.Kind) + " resolve " + string(r.ID)
		if r.State == payout.Processing {
			text = "the provider has had this order for long and has not finished it: look at its panel, where somebody may have to release it"
		}
		r.Told = true
		if err := put(tx, payKey(r.ID), r); err != nil {
			return err
		}
		return w.book.tell(tx, r, hub.AlarmPayout, text)
	})
}

// forget erases the personal part of what has been over for long.
func (b *Book) forget(ctx context.Context) error {
	for {
		err := b.store.Update(ctx, func(tx hub.Tx) error {
			var old []string
			for row, err := range tx.Scan(hub.KindPayout, prefixHold) {
				if err != nil {
					return err
				}
				r, err := Get(tx, lastPart(row.Key))
				if err != nil {
					return err
				}
				if !r.Ended.IsZero() && !r.Odd && time.Since(r.Ended) > b.keep {
					old = append(old, row.Key)
				}
			}
			for _, key := range old {
				if err := tx.Delete(hub.KindPayout, key); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(24 * time.Hour):
		}
	}
}
