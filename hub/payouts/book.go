package payouts

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/ssg-safe/agent/fleet/wire"
	"github.com/ssg-safe/agent/hub"
	"github.com/ssg-safe/agent/money"
	"github.com/ssg-safe/agent/payout"
)

// Route is an account at a provider that money can leave. What a route cannot do is
// nil.
type Route struct {
	// Name is what operators call it; ValidRoute.
	Name string
	// Merchant is whose account it is.
	Merchant string
	// Account is which account it is, whatever its name: what was proposed for another
	// is neither sent nor asked about here. Empty: whichever has the name.
	Account  string
	Sender   payout.Sender
	Refunder payout.Refunder
	// Resend says that the provider takes our id of a payout as its own
	// (payout.Intent.Resend). Of refunds that is so wherever there are any.
	Resend bool
	// PerPayout and PerDay are the most that one payout, and the payouts of one day
	// in Brasília together, may send. Refunds are bound by what was paid.
	PerPayout, PerDay money.Amount
	// TwoFrom is the amount from which on two people must approve, payouts and
	// refunds; 0: always.
	TwoFrom money.Amount
	// Terminals is what terminals may propose to be paid from it; nil: nothing.
	Terminals *Terminals
	// PersonAfter is how long a payout may be unknown before a person is told.
	PersonAfter time.Duration
}

// Store is what the book needs of a hub.
type Store interface {
	Update(ctx context.Context, fn func(hub.Tx) error) error
	View(ctx context.Context, fn func(hub.Tx) error) error
}

// Options of a book.
type Options struct {
	Store     Store
	Routes    []Route
	Operators []Operator
	// Keep is how long the key that was paid, and the text with it, are kept after
	// the end; 0 is 90 days.
	Keep time.Duration
	// Devices is where terminals propose, and are told what becomes of that and of their
	// payments' refunds; nil: nowhere. Unseal opens what they sealed (wire.OpenSealed).
	Devices Devices
	Unseal  func(context string, sealed []byte) ([]byte, error)
	// Mark is the path of a file beside the store, by which a store that was restored
	// from a backup is noticed; empty: there is none.
	Mark string
	// Logger; nil discards.
	Logger *slog.Logger
}

// Book is the hub's payouts. It is safe for concurrent use.
type Book struct {
	store     Store
	routes    map[string]*account
	operators map[string]Operator
	keep      time.Duration
	mark      *mark
	devices   Devices
	unseal    func(context string, sealed []byte) ([]byte, error)
	news      chan struct{} // capacity 1: a terminal is to be told something
	log       *slog.Logger
}

// account is a route, and what its goroutine knows.
type account struct {
	Route
	wake chan struct{}

	mu    sync.Mutex // guards hints
	hints map[hint]bool
}

// foreign reports whether a payout was proposed for another account than the route is
// now. Of one that does not say for which, nobody knows.
func (a *account) foreign(r Record) bool { return r.Account != "" && r.Account != a.Account }

// hint says that something happened to a payout, which the provider may have under
// the id theirs.
type hint struct {
	id     payout.ID
	theirs string
}

// Open returns the book, after it has verified the chain, ended what a restored store
// has forgotten the end of, and made every payout that was being submitted unknown. Errors: ErrBroken, those of the store, and what is
// wrong with the options.
func Open(ctx context.Context, o Options) (*Book, error) {
	b := &Book{store: o.Store, routes: map[string]*account{}, operators: map[string]Operator{}, keep: o.Keep, mark: &mark{path: o.Mark}, devices: o.Devices, unseal: o.Unseal, news: make(chan struct{}, 1), log: o.Logger}
	if b.log == nil {
		b.log = slog.New(slog.DiscardHandler)
	}
	if b.keep == 0 {
		b.keep = 90 * 24 * time.Hour
	}
	for _, r := range o.Routes {
		if !ValidRoute(r.Name) || b.routes[r.Name] != nil || r.Merchant == "" || r.PersonAfter <= 0 {
			return nil, fmt.Errorf("payouts: route %q: it needs a name of its own, a merchant, and a time after which a person is told", r.Name)
		}
		b.routes[r.Name] = &account{Route: r, wake: make(chan struct{}, 1), hints: map[hint]bool{}}
	}
	for _, op := range o.Operators {
		if _, twice := b.operators[op.Name]; twice || !ValidOperator(op.Name) {
			return nil, fmt.Errorf("payouts: operator %q: it needs a name of its own", op.Name)
		}
		for _, other := range b.operators {
			if other.Key.Equal(op.Key) {
				return nil, fmt.Errorf("payouts: operators %s and %s have one key: two people sign with two", other.Name, op.Name)
			}
		}
		b.operators[op.Name] = op
	}
	var report Report
	var life string
	err := b.store.View(ctx, func(tx hub.Tx) (err error) {
		if report, err = Verify(tx); err != nil {
			return err
		}
		if life, err = get[string](tx, keyLife); errors.Is(err, hub.ErrNotFound) {
			err = nil
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	seen, older, err := b.mark.read(report.Entries, life)
	if older {
		err = b.restored(ctx, seen, report.Entries)
	}
	var list []Record
	if err == nil {
		err = b.store.View(ctx, func(tx hub.Tx) (err error) {
			list, err = List(tx, "", false)
			return err
		})
	}
	for _, r := range list {
		if err != nil {
			break
		}
		if f := r.Interrupted(); f != nil {
			_, err = b.record(ctx, r.ID, func(r Record) (payout.Fact, error) { return r.Interrupted(), nil })
			b.log.Warn("a payout was interrupted while it was being submitted: its outcome is unknown", "payout", r.ID, "amount", r.Amount)
		}
		if a := b.routes[r.Route]; err == nil && !r.Manual && r.gone() && (a == nil || a.foreign(r)) {
			err = b.store.Update(ctx, func(tx hub.Tx) error {
				return b.tell(tx, r, hub.AlarmPayout,
					"the account that this was sent from is not configured any more, and nobody asks what became of it: put it back, or look at the provider's panel and enter it: ssg-hub "+string(r.Kind)+" resolve "+string(r.ID))
			})
		}
	}
	return b, err
}

// gone reports whether an order of it is on its way, as far as anybody knows.
func (r Record) gone() bool {
	return r.State == payout.Submitting || r.State == payout.Unknown || r.State == payout.Processing
}

// record applies the fact that next makes of a payout as it is, in a transaction of
// its own; a nil fact changes nothing.
func (b *Book) record(ctx context.Context, id payout.ID, next func(Record) (payout.Fact, error)) (Record, error) {
	var r Record
	err := b.store.Update(ctx, func(tx hub.Tx) error {
		var err error
		if r, err = Get(tx, id); err != nil {
			return err
		}
		f, err := next(r)
		if f == nil || err != nil {
			return err
		}
		r, err = b.append(tx, r, f, Entry{})
		return err
	})
	b.wakeTeller()
	return r, err
}

// append records a fact, and tells people of what they must look at.
func (b *Book) append(tx hub.Tx, r Record, f payout.Fact, e Entry) (Record, error) {
	e.At = time.Now().UTC()
	next, err := appendFact(tx, r, f, e)
	if err != nil {
		return r, err
	}
	if next.Odd && !r.Odd {
		odd, _ := f.(payout.OddFact)
		err = b.tell(tx, next, hub.AlarmPayout, "the provider's answer contradicts what is recorded: "+odd.Why+"; look at the provider's panel")
	}
	return next, err
}

// tell raises an alarm about a payout.
func (b *Book) tell(tx hub.Tx, r Record, kind, text string) error {
	fresh, err := hub.Raise(tx, hub.Alarm{
		Device: "hub", Kind: kind, Subject: string(r.ID), Level: wire.LevelAlarm, Text: text, Last: time.Now().UTC(),
		Detail: map[string]string{"payout": string(r.ID), "kind": string(r.Kind), "route": r.Route, "amount": r.Amount.String(), "state": string(r.State)},
	})
	if fresh {
		b.log.Warn("alarm", "kind", kind, "payout", r.ID, "text", text)
	}
	return err
}

// Do does what an operator signed and returns the payout as it is then. The same
// proposal again is the same payout.
//
// Errors: [ErrStatement], [ErrKind], [ErrUnproved], those of package payout, [hub.ErrNotFound], [ErrLimit],
// [hub.ErrOutcomeUnknown]. After any but the last nothing has changed.
func (b *Book) Do(ctx context.Context, signed string) (Record, error) {
	s, err := open(signed, func(name string) ed25519.PublicKey { return b.operators[name].Key })
	if err != nil {
		return Record{}, err
	}
	var r Record
	var paid payment
	if s.Do == Propose && s.Kind == payout.Refund || s.Do == Approve {
		// A ledger is long, and what is read of it here does not change any more.
		err := b.store.View(ctx, func(tx hub.Tx) (err error) {
			if s.Do == Approve {
				paid, err = paidNow(tx, s.Payout)
			} else {
				paid, err = paidBy(tx, s)
			}
			return err
		})
		if err != nil {
			return Record{}, err
		}
	}
	err = b.store.Update(ctx, func(tx hub.Tx) error {
		now := time.Now()
		if s.Do == Propose {
			if old, err := Get(tx, s.Payout); !errors.Is(err, hub.ErrNotFound) {
				if err != nil {
					return err
				}
				if d, err := get[details](tx, holdKey(s.Payout)); err != nil || d.Signed != signed {
					return fmt.Errorf("%w: the id is another proposal's", ErrStatement)
				}
				r = old
				return nil
			}
		}
		if err := s.fresh(now); err != nil {
			return err
		}
		var err error
		if s.Do == Propose {
			r, err = b.propose(tx, s, signed, paid)
			return err
		}
		if r, err = Get(tx, s.Payout); err != nil {
			return err
		}
		if s.Kind != "" && s.Kind != r.Kind {
			return Misnamed(r, s.Kind)
		}
		// Approvals that are over count for nothing.
		if f := r.Lapsed(now); f != nil {
			if r, err = b.append(tx, r, f, Entry{}); err != nil {
				return err
			}
		}
		f, err := b.decide(tx, r, s, paid)
		if err != nil {
			return err
		}
		r, err = b.append(tx, r, f, Entry{Signed: signed, Key: b.operators[s.By].Key})
		if err == nil && r.Manual && r.State == payout.Approved {
			r, err = b.byHand(tx, r, now)
		}
		if err == nil && s.Do == Resolve {
			for _, kind := range []string{hub.AlarmTicket, hub.AlarmPayout} { // or somebody else does it again
				err = errors.Join(err, hub.AckAbout(tx, "hub", kind, string(r.ID), s.By))
			}
		}
		return err
	})
	if err != nil {
		return Record{}, err
	}
	b.log.Info("payout", "do", string(s.Do), "payout", r.ID, "by", s.By, "state", string(r.State), "amount", r.Amount)
	b.wake(r.Route)
	b.wakeTeller()
	if r.Manual && r.State == payout.Unknown {
		return r, b.marked(ctx)
	}
	return r, nil
}

// ErrKind: a payout was taken for a refund, or a refund for a payout.
var ErrKind = errors.New("not of this kind")

// Misnamed is the ErrKind of a record.
func Misnamed(r Record, taken payout.Kind) error {
	return fmt.Errorf("%w: %s is a %s, not a %s: see ssg-hub %s show %s", ErrKind, r.ID, r.Kind, taken, r.Kind, r.ID)
}

// marked has the mark say that the newest fact is not to be forgotten.
func (b *Book) marked(ctx context.Context) error {
	var newest head
	err := b.store.View(ctx, func(tx hub.Tx) (err error) {
		newest, err = get[head](tx, keyHead)
		return err
	})
	if err != nil {
		return err
	}
	return b.mark.raise(newest.Seq)
}

// decide is the fact of an approval, a rejection or a testimony. paid is the payment that an
// approved refund gives back.
func (b *Book) decide(tx hub.Tx, r Record, s Statement, paid payment) (payout.Fact, error) {
	switch s.Do {
	case Approve:
		f, err := r.Approve(s.Digest, s.By, s.At)
		if err != nil {
			return nil, err
		}
		if a := b.routes[r.Route]; !r.Manual && (a == nil || a.foreign(r)) {
			return nil, fmt.Errorf("%w: route %s is not configured any more, or is another account than the one it was proposed for: reject it, and propose anew", payout.ErrIntent, r.Route)
		}
		err = trusted(tx, r)
		switch {
		case err != nil:
		case r.Kind == payout.Refund:
			err = stillRoom(tx, r, paid)
		case len(r.ApprovedBy)+1 >= r.Approvers:
			err = b.limits(tx, r)
		}
		return f, err
	case Reject:
		return payout.RejectedFact{Payout: r.ID, By: s.By, Reason: s.Reason}, nil
	}
	return r.Testify(s.State, payout.Evidence{By: s.By, EndToEnd: s.EndToEnd, Document: s.Document}, s.Reason)
}

// ErrLimit: the payout is above a limit of its route.
var ErrLimit = errors.New("above the route's limit")

// limits looks at a payout that is to be approved.
func (b *Book) limits(tx hub.Tx, r Record) error {
	a := b.routes[r.Route]
	if r.Amount > a.PerPayout {
		return fmt.Errorf("%w: R$ %s, and one payout may send R$ %s (max_payout)", ErrLimit, r.Amount, a.PerPayout)
	}
	sum := r.Amount
	for row, err := range tx.Scan(hub.KindPayout, dayPrefix(r.Route, dayOf(time.Now()))) {
		if err != nil {
			return err
		}
		other, err := Get(tx, lastPart(row.Key))
		if err == nil && other.Kind == payout.ToKey {
			sum, err = sum.Add(other.Amount)
		}
		if err != nil {
			return err
		}
	}
	if sum > a.PerDay {
		return fmt.Errorf("%w: it would make R$ %s today, and the day's payouts may send R$ %s (max_day); approve it tomorrow, or raise the limit", ErrLimit, sum, a.PerDay)
	}
	return nil
}

// propose records a proposal.
func (b *Book) propose(tx hub.Tx, s Statement, signed string, paid payment) (Record, error) {
	d := details{Key: s.Key, Description: s.Description, Salt: s.Salt, Signed: signed}
	in := payout.Intent{
		ID: s.Payout, Kind: s.Kind, Route: s.Route, Amount: s.Amount, Charge: s.Charge, EndToEnd: s.EndToEnd, By: s.By, Approvers: 2,
	}
	a := b.routes[s.Route]
	if a != nil {
		in.Merchant, in.Account, in.Resend = a.Merchant, a.Account, a.Resend
		if s.Amount < a.TwoFrom {
			in.Approvers = 1
		}
	}
	var earlier []payout.Payout
	manual := false
	switch {
	case s.Kind == payout.Refund:
		var err error
		manual = a == nil || a.Refunder == nil
		in.Resend, in.Merchant = !manual, paid.merchant
		if err := b.receiver(s.Route, paid); err != nil {
			return Record{}, err
		}
		if !manual && a.Merchant != in.Merchant {
			return Record{}, fmt.Errorf("%w: the charge is merchant %s's, and route %s pays from the account of %s", payout.ErrIntent, in.Merchant, a.Name, a.Merchant)
		}
		if earlier, paid.amount, err = refundable(tx, s.EndToEnd, paid); err != nil {
			return Record{}, err
		}
	case a == nil:
		return Record{}, fmt.Errorf("%w: no route %q; there are: %s", payout.ErrIntent, s.Route, b.routeNames())
	case a.Sender == nil:
		return Record{}, fmt.Errorf("%w: route %s cannot pay to a key", payout.ErrIntent, s.Route)
	case s.Amount > a.PerPayout:
		return Record{}, fmt.Errorf("%w: one payout may send R$ %s (max_payout)", ErrLimit, a.PerPayout)
	}
	if people := in.Approvers + 1; len(b.operators) < people {
		return Record{}, fmt.Errorf("%w: it takes %d people, one to propose it and %d to approve, and the hub's configuration names %d", payout.ErrIntent, people, in.Approvers, len(b.operators))
	}
	f, err := payout.Propose(in, d.payout(), paid.amount, earlier)
	if err != nil {
		return Record{}, err
	}
	if err := put(tx, holdKey(in.ID), d); err != nil {
		return Record{}, err
	}
	return b.append(tx, Record{}, f, Entry{Device: s.Device, Manual: manual})
}

func (b *Book) routeNames() string {
	var names []string
	for name := range b.routes {
		names = append(names, name)
	}
	slices.Sort(names)
	if len(names) == 0 {
		return "none; add a [[provider]] to the hub's configuration"
	}
	return strings.Join(names, ", ")
}

// byHand makes an approved payout that no provider does a person's business: it is
// under way, and nobody here knows how it ends.
func (b *Book) byHand(tx hub.Tx, r Record, now time.Time) (Record, error) {
	f, err := r.Submit(now)
	if err != nil {
		return r, err
	}
	if r, err = b.append(tx, r, f, Entry{}); err != nil {
		return r, err
	}
	if r, err = b.append(tx, r, payout.UnknownFact{Payout: r.ID, N: r.Submissions, Reason: "by hand"}, Entry{}); err != nil {
		return r, err
	}
	return r, b.tell(tx, r, hub.AlarmTicket, fmt.Sprintf(
		"give R$ %s of payment %s back by hand, in the panel of %s; then enter how it ended: ssg-hub refund resolve %s", r.Amount, r.EndToEnd, r.Route, r.ID))
}

// Hint makes the book ask about a payout now: a webhook, or a person, says that
// something happened. providerID is the provider's id where the hint names it, which
// the answer must bear out; it may be empty. A hint proves nothing.
func (b *Book) Hint(ctx context.Context, id payout.ID, providerID string) error {
	var r Record
	err := b.store.View(ctx, func(tx hub.Tx) (err error) {
		r, err = Get(tx, id)
		return err
	})
	a := b.routes[r.Route]
	switch {
	case err != nil:
		return err
	case a == nil || r.Manual:
		return fmt.Errorf("payout %s: there is no provider to ask", id)
	case r.Submissions == 0:
		return fmt.Errorf("payout %s was not submitted yet", id)
	}
	a.mu.Lock()
	if len(a.hints) < 1000 { // what is more is asked about in its turn
		a.hints[hint{id, providerID}] = true
	}
	a.mu.Unlock()
	b.wake(r.Route)
	return nil
}

func (b *Book) wake(route string) {
	if a := b.routes[route]; a != nil {
		select {
		case a.wake <- struct{}{}:
		default:
		}
	}
}
