package terminal

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.etcd.io/bbolt"

	"github.com/ssg-safe/agent/charge"
	"github.com/ssg-safe/agent/display"
	"github.com/ssg-safe/agent/ledger"
	"github.com/ssg-safe/agent/providers"
	"github.com/ssg-safe/agent/queue"
	"github.com/ssg-safe/agent/router"
	"github.com/ssg-safe/agent/store"
)

// start records a new charge and sends its first attempt.
func (t *Terminal) start(r Request, reply func(charge.ID, error)) {
	m, ok := t.merchant(r.Merchant)
	taken := r.Present && !t.session.free()
	asked := r
	if taken && r.Yield {
		r.Present, taken = false, false
	}
	switch {
	case t.stopping:
		reply("", ErrStopping)
		return
	case !ok:
		reply("", fmt.Errorf("%w %q", ErrMerchant, r.Merchant))
		return
	case r.Amount < t.cfg.MinAmount || r.Amount > t.cfg.MaxAmount:
		reply("", fmt.Errorf("%w: %s is not between %s and %s", ErrAmount, r.Amount.BRL(), t.cfg.MinAmount.BRL(), t.cfg.MaxAmount.BRL()))
		return
	case taken && r.Reference == "":
		reply("", ErrScreenTaken)
		return
	case r.Checkout != "" && !t.cfg.Routes[m.Route].Caps().Codeless:
		reply("", fmt.Errorf("%w: provider %s makes charges with codes, and has no checkouts", ErrCheckout, m.Route))
		return
	}
	id := charge.ID(t.ids.Next(t.clock.Wall()))
	l := &live{payer: r.Payer, desc: r.Description, token: r.Checkout, began: t.clock.Up()}
	by := t.board.First(m.Routes(), t.clock.Up())
	if r.Checkout != "" {
		by = m.Routes()[0] // it is there, and nowhere else
	}
	created := charge.CreatedFact{
		Charge: id, Merchant: m.ID, Route: by.Provider, Account: by.Account, Amount: r.Amount,
		Expiry: int(cmp.Or(r.Expiry, t.cfg.Expiry) / time.Second), Source: r.Source, Reference: r.Reference, Present: r.Present,
	}
	facts, own := []charge.Fact{created}, ""
	if r.Checkout == "" {
		facts, own = t.offline(created)
	}
	d, err := decide("start charge", l, facts...)
	if err != nil {
		reply("", err)
		return
	}
	d.fresh, d.with = true, r.With
	if r.Reference != "" {
		d.reference = newReference(asked, id)
		d.reference.known = taken
	}
	if p := fromPayer(r.Payer); p != (privatePayer{}) || r.Description != "" || r.Checkout != "" {
		d.private = &private{Description: r.Description, Payer: p, Token: r.Checkout.Reveal()}
	}
	if r.Checkout != "" {
		d.checkout = newCheckout(r.Checkout, id)
	}
	if own != "" {
		t.payable(d, l, providers.Charge{BRCode: own}, l.began+d.next.ExpiryDuration())
	}
	before := t.session
	if r.Present && !taken {
		t.session.creating(id, r.Amount)
	}
	d.then = func([]queue.Job) {
		reply(id, nil)
		t.changed(l, nil)
		t.send(l)
	}
	d.refused = func(err error) {
		known, ok := errors.AsType[knownReference](err)
		_, callers := errors.AsType[callersError](err)
		switch {
		case !r.Present || taken:
		case ok || callers || errors.Is(err, ErrReference) || errors.Is(err, ErrCheckout):
			t.session = before // no matter of the person in front of it
		default:
			t.session.fail(t.clock.Up(), storeCode(err))
		}
		if ok {
			err = nil
		}
		reply(known.id, err)
	}
	t.commit(d)
}

func storeCode(err error) string {
	if errors.Is(err, store.ErrFull) {
		return display.ErrFull
	}
	return display.ErrStorage
}

// send performs the newest attempt of l, which is recorded as sending.
func (t *Terminal) send(l *live) {
	last, ok := l.charge.Last()
	if !ok || last.State != charge.Sending {
		return
	}
	route, by := t.route(l.charge), t.way(l.charge, last.N)
	in := providers.Intent{
		ID: string(l.charge.ID), Attempt: last.N, Amount: l.charge.Amount, Expiry: l.charge.ExpiryDuration(),
		Description: l.desc, Account: by.Account, Key: by.Key, Payer: l.payer, Checkout: l.token,
	}
	repeat := slices.ContainsFunc(l.charge.Attempts[:len(l.charge.Attempts)-1], func(a charge.Attempt) bool {
		before, _ := l.charge.At(a.N)
		return before == by.Provider
	})
	t.call(t.acts, t.urgent, route.Caps().CreateTimeout, func(ctx context.Context) input {
		sent := t.clock.Up()
		if repeat {
			ctx = providers.Repeating(ctx)
		}
		a, err := route.CreateCharge(ctx, in)
		return func() { l.later(func() { t.answered(l, last.N, sent, a, err) }) }
	})
}

// call performs a provider call under its time limit, a few of a kind at a time.
func (t *Terminal) call(ctx context.Context, kind chan struct{}, limit time.Duration, f func(ctx context.Context) input) {
	t.perform(ctx, func(ctx context.Context) input {
		select {
		case kind <- struct{}{}:
			defer func() { <-kind }()
		case <-ctx.Done():
		}
		ctx, cancel := context.WithTimeout(ctx, limit)
		defer cancel()
		if kind == t.urgent {
			ctx = providers.WaitedFor(ctx)
		}
		return f(ctx)
	})
}

// line is where questions about a charge queue up.
func (t *Terminal) line(l *live) chan struct{} {
	if t.session.charge == l.charge.ID {
		return t.urgent
	}
	return t.others
}

// answered handles the outcome of create attempt n.
func (t *Terminal) answered(l *live, n int, sent time.Duration, a providers.Charge, err error) {
	by, _ := l.charge.At(n)
	t.reached(by, router.Create, err)
	caps := t.route(l.charge).Caps()
	_, more := t.board.Untried(l.charge, t.ways(l), t.clock.Up())
	e, refused := errors.AsType[*providers.Error](err)
	if !more && (n > 1 || t.clock.Up()-sent >= blip) && refused && (e.Kind == providers.NotSent || !caps.LookUp) && t.fallBack(l, err) {
		return
	}
	facts, next := l.charge.Answer(n, a, err, "", caps)
	if more && refused && e.Kind.OfAccount() {
		facts, next = l.charge.Elsewhere(n, e.Kind)
	}
	if err != nil {
		t.log.Warn("charge attempt", "charge", l.charge.ID, "attempt", n, "err", err)
	}
	t.follow(l, facts, next, err, func(d *decision) {
		if err != nil {
			return
		}
		if len(a.Warnings) > 0 {
			t.log.Warn("the provider's code breaks rules and is shown all the same", "charge", l.charge.ID, "warnings", a.Warnings)
		}
		t.payable(d, l, a, sent+l.charge.ExpiryDuration())
	})
}

// payable adds to a decision how its charge is paid, until a deadline: by a code, or
// elsewhere.
func (t *Terminal) payable(d *decision, l *live, a providers.Charge, deadline time.Duration) {
	l.ahead = a.BRCode
	d.private = &private{
		Code: a.BRCode, Token: cmp.Or(a.Token, l.token).Reveal(), Description: l.desc, Payer: fromPayer(l.payer),
	}
	d.deadline = deadline
	if l.cancel || !d.next.Present || t.printer == nil || a.BRCode == "" {
		return
	}
	s := slip{Kind: SlipQR, Charge: d.next.ID, Merchant: d.next.Merchant, Amount: d.next.Amount, Copy: 1, Expires: t.wallAt(deadline)}
	_, s.Offline = d.next.Static()
	d.issue = append(d.issue, s)
}

// follow commits the outcome of an attempt and what must come after it.
func (t *Terminal) follow(l *live, facts []charge.Fact, then charge.Next, err error, more func(*decision)) {
	up := t.clock.Up()
	ended := l.cancel && l.charge.State == charge.Created && len(facts) == 1 && err == nil && then == charge.Wait // its code was never shown: nobody can pay it
	if ended {
		facts = append(facts, charge.EndedFact{Charge: l.charge.ID, State: charge.Cancelled, Reason: "payer"})
	}
	if then == charge.Retry {
		last, _ := l.charge.Last()
		by, fresh := t.board.Next(l.charge, t.ways(l), up)
		wait := time.Duration(0)
		if !fresh {
			wait = retryWait(last.N, err)
		}
		if here, _ := l.charge.At(last.N); here != by.Provider {
			t.log.Warn("the charge goes by another route", "charge", l.charge.ID, "from", here, "to", by.Provider)
		}
		switch {
		case l.cancel:
			facts = append(facts, charge.EndedFact{Charge: l.charge.ID, State: charge.Cancelled, Reason: "payer"})
		case wait == 0 && !t.stopping:
			facts = append(facts, next(l.charge, by))
		default:
			l.retryAt = up + wait
		}
	}
	d, derr := decide("attempt outcome", l, facts...)
	if derr != nil {
		t.log.Error("answer refused", "err", derr)
		return
	}
	more(d)
	d.then = func([]queue.Job) {
		l.lookUp = then == charge.LookUp
		t.changed(l, err)
		t.send(l)
	}
	t.commit(d)
}

// find asks the provider, by our own id, whether an attempt of unknown outcome
// made a charge.
func (t *Terminal) find(l *live) {
	last, _ := l.charge.Last()
	route := t.route(l.charge)
	l.watch.asking = true
	t.call(t.asks, t.line(l), route.Caps().ReadTimeout, func(ctx context.Context) input {
		a, err := route.GetCharge(ctx, providers.Ref{Charge: string(l.charge.ID), Attempt: last.N})
		return func() {
			l.later(func() {
				l.watch.asking = false
				e, refused := errors.AsType[*providers.Error](err)
				switch {
				case err == nil && (a.BRCode != "" || route.Caps().Codeless):
					t.answered(l, last.N, l.began, a, nil)
				case err == nil || refused && e.Kind == providers.NotFound:
					facts, next := l.charge.Absent(last.N)
					t.unfound(l, facts, next, nil)
				case refused && e.Kind.Permanent() && (!e.Kind.OfAccount() || !t.awaited(l)):
					t.reached(provider(l.charge), router.Ask, err)
					facts, next := l.charge.Unanswered(last.N)
					t.unfound(l, facts, next, err)
				default:
					t.reached(provider(l.charge), router.Ask, err)
					if t.moveOn(l, err) || t.fallBack(l, err) {
						return
					}
					l.watch.asked(t.clock.Up(), err, l.charge.State, route.Caps().Poll)
				}
			})
		}
	})
}

// unfound goes on after an attempt of unknown outcome that no look-up will find, and
// whose code nobody was shown: with another attempt while somebody may wait for it.
func (t *Terminal) unfound(l *live, facts []charge.Fact, next charge.Next, err error) {
	if next == charge.Retry && !l.cancel && !t.awaited(l) {
		t.abandon(l, facts, providers.Ambiguous.String())
		return
	}
	t.follow(l, facts, next, err, func(*decision) {})
}

// awaited reports whether whoever asked for a charge without a code may still wait
// for one.
func (t *Terminal) awaited(l *live) bool {
	return l.began >= 0 && t.clock.Up() <= l.began+l.charge.ExpiryDuration()
}

// retryWait is how long to wait before another attempt: not at all after an
// unknown outcome (the orphan cannot be paid), a little after a refusal that
// may pass.
func retryWait(n int, err error) time.Duration {
	e, ok := errors.AsType[*providers.Error](err)
	if !ok || e.Kind.OutcomeUnknown() {
		return 0
	}
	wait := min(time.Duration(n)*500*time.Millisecond, 2*time.Second)
	return jitter(max(wait, min(e.RetryAfter, 10*time.Second)))
}

// retry sends the next attempt of a charge that waited for it.
func (t *Terminal) retry(l *live) {
	l.retryAt = 0
	by, _ := t.board.Next(l.charge, t.ways(l), t.clock.Up())
	d, err := decide("next attempt", l, next(l.charge, by))
	if l.cancel {
		d, err = decide("cancel", l, charge.EndedFact{Charge: l.charge.ID, State: charge.Cancelled, Reason: "payer"})
	}
	if err != nil {
		t.log.Error("attempt refused", "err", err)
		return
	}
	d.then = func([]queue.Job) {
		t.changed(l, nil)
		t.send(l)
	}
	t.commit(d)
}

// question asks the provider about attempt n of l.
func (t *Terminal) question(l *live) {
	a, ok := l.charge.Accepted()
	if !ok {
		return
	}
	if a.Static {
		t.seek(l, a)
		return
	}
	ended := t.over(l)
	route := t.route(l.charge)
	ref := providers.Ref{Charge: string(l.charge.ID), Attempt: a.N, ProviderID: a.ProviderID, Token: l.token}
	l.watch.asking = true
	t.call(t.asks, t.line(l), route.Caps().ReadTimeout, func(ctx context.Context) input {
		ans, err := route.GetCharge(ctx, ref)
		return func() {
			l.later(func() {
				l.watch.asking = false
				by, _ := l.charge.At(a.N)
				t.reached(by, router.Ask, err)
				l.watch.asked(t.clock.Up(), err, l.charge.State, route.Caps().Poll)
				if l.charge.State.Open() && ended != "" && err == nil {
					l.watch.vain++
				}
				if err != nil {
					t.log.Warn("status", "charge", l.charge.ID, "err", err)
					return
				}
				if facts := l.charge.Observe(a.N, ans, ended); len(facts) > 0 {
					t.learn(l, facts)
				}
			})
		}
	})
}

// over says that the charge has ended by the terminal's own reckoning, as of
// a question that is about to be asked; "" while it has not.
func (t *Terminal) over(l *live) charge.State {
	up := t.clock.Up()
	_, static := l.charge.Static()
	switch {
	case l.cancel && up >= l.watch.cancelled+cancelGrace:
		return charge.Cancelled
	case !static && l.known && up >= l.deadline+t.cfg.Grace:
		return charge.Expired
	}
	return ""
}

// cancelGrace is how long a cancelled charge is still asked about.
const cancelGrace = 4 * time.Second

// learn records facts about money or an end.
func (t *Terminal) learn(l *live, facts []charge.Fact) {
	t.learnWith(l, facts, nil, func(charge.Fact, error) {})
}

// learnWith records facts together with the caller's part of the transaction,
// and says how it ended.
func (t *Terminal) learnWith(l *live, facts []charge.Fact, with func(*bbolt.Tx) error, end func(charge.Fact, error)) {
	d, err := decide("status", l, facts...)
	if err != nil {
		t.log.Error("status refused", "err", err)
		end(nil, err)
		return
	}
	d.with = with
	paid, money := settling(facts)
	// What went back whole before anybody knew that it had come is nobody's sale.
	first := d.next.State.Rank() >= charge.Paid.Rank() && d.next.State != charge.Refunded && l.charge.State.Rank() < charge.Paid.Rank()
	if first {
		d.paid = t.clock.Up()
	}
	if first && t.printer != nil && l.charge.Present && !paid.Late && t.attended(l) {
		d.issue = append(d.issue, slip{
			Kind: SlipReceipt, Charge: l.charge.ID, Merchant: l.charge.Merchant, Amount: paid.Amount, Copy: 1,
			EndToEnd: paid.Evidence.EndToEnd, Route: paid.Evidence.Route, Refunded: d.next.RefundedSum, Paid: t.clock.Wall(),
		})
	}
	d.then = func([]queue.Job) {
		t.changed(l, nil)
		end(money, nil)
	}
	d.refused = func(err error) {
		if _, ok := errors.AsType[callersError](err); ok {
			end(nil, err)
			return
		}
		if errors.Is(err, ledger.ErrConflict) && t.ofAnother(l, facts, with, end) {
			return
		}
		if errors.Is(err, store.ErrFull) {
			t.postpone(d)
			return
		}
		t.fatal = err
		end(nil, err)
	}
	t.commit(d)
}

// ofAnother goes on when something of facts is recorded of another charge: without its
// refunds, of which only comparing tells, then with the payment as that charge's. It
// reports whether there is anything to go on with.
func (t *Terminal) ofAnother(l *live, facts []charge.Fact, with func(*bbolt.Tx) error, end func(charge.Fact, error)) bool {
	others := slices.DeleteFunc(slices.Clone(facts), func(f charge.Fact) bool {
		_, back := f.(charge.RefundedFact)
		return back
	})
	if len(others) == 0 && with == nil {
		t.log.Error("a refund is not recorded: the provider told of it at another charge", "charge", l.charge.ID)
		end(nil, nil)
		return true
	}
	if len(others) > 0 && len(others) < len(facts) {
		t.learnWith(l, others, with, end)
		return true
	}
	_, money := settling(facts)
	odd := charge.ClaimedElsewhere(money)
	if odd != nil {
		t.learnWith(l, []charge.Fact{odd}, with, end)
	}
	return odd != nil
}

// settling is the fact that the charge is paid, if facts have one, and the first that
// tells of money, if any does.
func settling(facts []charge.Fact) (paid charge.PaidFact, money charge.Fact) {
	for _, f := range facts {
		if _, ends := f.(charge.EndedFact); !ends && money == nil {
			money = f
		}
		if p, ok := f.(charge.PaidFact); ok {
			paid = p
		}
	}
	if money == nil {
		money = facts[0]
	}
	return paid, money
}

// attended reports whether the payer of a charge may still be there. A payment of
// a code made here can be found days later; its receipt is printed when somebody
// asks for it.
func (t *Terminal) attended(l *live) bool {
	_, static := l.charge.Static()
	return !static || t.session.charge == l.charge.ID || l.began >= 0 && t.clock.Up() < l.deadline
}

// changed follows a committed change of a charge: screen, watch, events.
func (t *Terminal) changed(l *live, cause error) {
	up := t.clock.Up()
	c := l.charge
	mine := t.session.charge == c.ID
	switch c.State {
	case charge.Pending:
		if l.watch.state != charge.Pending {
			l.watch.start(up, charge.Pending)
			t.plan(l, up)
			t.observe(Event{Kind: ChargeCreated, Charge: c, Code: l.code})
			if mine {
				_, static := c.Static()
				t.session.pending(static, l.code == "")
			}
		}
	case charge.Paid, charge.PartiallyRefunded:
		if l.watch.state.Rank() < charge.Paid.Rank() {
			l.watch.start(up, charge.Paid)
			t.observe(Event{Kind: ChargePaid, Charge: c})
			if mine && !c.Late {
				t.session.paid(up, t.cfg.PaidScreen)
			}
			if c.Late {
				t.log.Warn("late payment: nothing was delivered for it", "charge", c.ID, "amount", c.Amount)
				by, _ := c.Through()
				t.compareSoon(by)
			}
		}
	case charge.Refunded:
		if l.watch.state.Rank() >= charge.Paid.Rank() {
			break
		}
		// It had come and gone back when it was learnt of.
		waited := l.watch.state.Open()
		l.watch.start(up, charge.Paid)
		if waited {
			t.observe(Event{Kind: ChargeEnded, Charge: c})
		}
		if mine && waited {
			t.session.ended(up, charge.Cancelled, "")
		}
	case charge.Expired, charge.Cancelled, charge.Failed:
		if l.watch.state == c.State {
			break
		}
		l.watch.start(up, c.State)
		t.plan(l, up)
		t.observe(Event{Kind: ChargeEnded, Charge: c})
		if mine {
			t.session.ended(up, c.State, errorCode(c, cause))
		}
	}
	for _, p := range c.Payments[min(l.watch.payments, len(c.Payments)):] {
		if p.Mismatch || p.Extra {
			t.log.Error("payment needs a person", "charge", c.ID, "amount", p.Amount, "extra", p.Extra, "mismatch", p.Mismatch)
			t.observe(Event{Kind: PaymentOdd, Charge: c})
			t.compareSoon(p.Evidence.Route)
		}
	}
	l.watch.payments = len(c.Payments)
	if n := len(c.Refunds); n > l.watch.refunds {
		t.log.Info("money went back", "charge", c.ID, "state", c.State, "refunds", n)
		t.observe(Event{Kind: ChargeRefunded, Charge: c})
		l.watch.refunds = n
	}
}

// cancel is the payer's wish to stop.
func (t *Terminal) cancel(id charge.ID) {
	l := t.charges[id]
	if l == nil || !l.charge.State.Open() || l.cancel || l.charge.Released || l.leaving { // what left waits for its payment
		return
	}
	if _, static := l.charge.Static(); static && t.out(provider(l.charge)) {
		// Nobody can be asked. Money that comes all the same is found, and is late.
		l.later(func() {
			if l.charge.State == charge.Pending && !l.charge.Released {
				t.learn(l, []charge.Fact{charge.EndedFact{Charge: id, State: charge.Cancelled, Reason: "payer"}})
			}
		})
		return
	}
	up := t.clock.Up()
	l.cancel = true
	l.watch.cancelled = up
	l.watch.next = up
	if l.retryAt != 0 {
		l.retryAt = up
	}
}

// errorCode is what the screen says about a charge that could not be made.
func errorCode(c charge.Charge, cause error) string {
	if c.State != charge.Failed {
		return ""
	}
	kind := c.Reason
	if e, ok := errors.AsType[*providers.Error](cause); ok {
		kind = e.Kind.String()
	}
	switch kind {
	case providers.NotSent.String(), providers.Unavailable.String(), providers.Rate.String():
		return display.ErrNetwork
	case providers.PayerDataRequired.String():
		return display.ErrPayerData
	case providers.Security.String():
		return display.ErrCode
	case providers.Ambiguous.String(), providers.Contract.String():
		return display.ErrUncertain
	}
	return display.ErrProvider
}

// shortName is what the screen calls a charge: its random part.
func shortName(id charge.ID) string {
	s := string(id)
	return strings.ToUpper(s[max(0, len(s)-8):])
}
