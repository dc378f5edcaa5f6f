package terminal_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/ssg-safe/agent/charge"
	"github.com/ssg-safe/agent/display"
	"github.com/ssg-safe/agent/exposure"
	"github.com/ssg-safe/agent/ledger"
	"github.com/ssg-safe/agent/money"
	"github.com/ssg-safe/agent/pix"
	"github.com/ssg-safe/agent/providers"
	"github.com/ssg-safe/agent/terminal"
)

// bank is a provider that lists payments of static codes, and can be cut off.
type bank struct {
	*route

	mu        sync.Mutex
	cut       providers.Kind // what calls end in; 0: it is there
	slow      time.Duration  // how long a call takes to find that out
	forbidden bool           // searches are refused
	received  map[string][]providers.Payment
	searches  []time.Time
}

func (b *bank) answer(ctx context.Context) error {
	b.mu.Lock()
	kind, slow := b.cut, b.slow
	b.mu.Unlock()
	if kind == 0 {
		return nil
	}
	select {
	case <-time.After(slow):
	case <-ctx.Done():
	}
	return &providers.Error{Provider: "fake", Op: "call", Kind: kind}
}

func (b *bank) CreateCharge(ctx context.Context, in providers.Intent) (providers.Charge, error) {
	if err := b.answer(ctx); err != nil {
		return providers.Charge{}, err
	}
	return b.route.CreateCharge(ctx, in)
}

func (b *bank) GetCharge(ctx context.Context, ref providers.Ref) (providers.Charge, error) {
	if err := b.answer(ctx); err != nil {
		return providers.Charge{}, err
	}
	return b.route.GetCharge(ctx, ref)
}

func (b *bank) FindStatic(ctx context.Context, txid string, from, to time.Time) ([]providers.Payment, error) {
	b.mu.Lock()
	b.searches = append(b.searches, time.Now())
	b.mu.Unlock()
	if err := b.answer(ctx); err != nil {
		return nil, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.forbidden {
		return nil, &providers.Error{Provider: "fake", Op: "static", Kind: providers.Forbidden, HTTP: 403}
	}
	var found []providers.Payment
	for _, p := range b.received[txid] {
		if !p.At.Before(from) && !p.At.After(to) {
			found = append(found, p)
		}
	}
	return found, nil
}

// pays is money for a static code.
func (b *bank) pays(id charge.ID, amount money.Amount) {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := 0
	for _, list := range b.received {
		n += len(list)
	}
	b.received[string(id)] = append(b.received[string(id)], providers.Payment{
		EndToEnd: fmt.Sprintf("E0000000020260101000000000000%03d", n), TxID: string(id), Amount: amount, At: time.Now(), Digest: "d3",
	})
}

func (b *bank) set(kind providers.Kind) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.cut = kind
}

func (b *bank) asked() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.searches)
}

// offline runs a terminal whose bank can find static codes.
func offline(t *testing.T, o terminal.Offline, f func(r *rig, b *bank)) {
	bubble(t, func(r *rig) {
		b := &bank{route: r.route, received: map[string][]providers.Payment{}}
		b.caps.Idempotent, b.caps.LookUp = true, true
		r.stop()
		r.edit = func(c *terminal.Config) {
			c.Routes = map[string]terminal.Route{"fake": b}
			c.Offline = o
		}
		r.start()
		f(r, b)
	})
}

func hold() terminal.Offline {
	return terminal.Offline{Rules: exposure.Rules{Policy: exposure.Hold}, Watch: 30 * 24 * time.Hour}
}

// make starts a charge that gets a code of the terminal's own.
func (r *rig) makeOffline() charge.ID {
	r.Helper()
	r.keys("1234E")
	r.pass(5 * time.Second)
	v := r.shows(display.QR)
	code, err := pix.Parse(v.Code)
	if err != nil || code.TxID != v.Charge || code.Amount != "12.34" || !v.Offline {
		r.Fatalf("code %+v (%v), offline %v; want a static one with the charge's id", code, err, v.Offline)
	}
	return charge.ID(v.Charge)
}

func (r *rig) exposure() exposure.Standing {
	r.Helper()
	s, err := r.term.Exposure(r.Context())
	if err != nil {
		r.Fatal(err)
	}
	return s
}

// postings sums up the ledger's accounts.
func (r *rig) postings() map[ledger.Account]money.Amount {
	r.Helper()
	sums := map[ledger.Account]money.Amount{}
	if err := r.store.View(func(tx *bbolt.Tx) error {
		for _, raw := range ledger.Entries(tx, ledger.Position{}) {
			e, err := ledger.Decode(raw)
			if err != nil {
				return err
			}
			for _, p := range e.Postings {
				sums[p.Account] += p.Amount
			}
		}
		return nil
	}); err != nil {
		r.Fatal(err)
	}
	return sums
}

// The provider is cut off for an hour. Charges made meanwhile are found and paid
// when it is back, what may leave for them stays within the limits, a second
// payment and one of another amount end on lines of their own.
func TestCutForAnHour(t *testing.T) {
	rules := exposure.Rules{Policy: exposure.ReleaseUpTo, PerCharge: 1234, Sum: 3000, Count: 5, Age: 2 * time.Hour}
	offline(t, terminal.Offline{Rules: rules, Watch: 24 * time.Hour}, func(r *rig, b *bank) {
		b.set(providers.NotSent)
		var ids []charge.ID
		for i := range 5 {
			id := r.makeOffline()
			ids = append(ids, id)
			r.keys("E") // "já paguei"
			v := r.shows(display.Held)
			if want := i < 2; v.Released != want || r.fold(id).Released != want {
				r.Errorf("charge %d: released %v in the ledger %v, want %v", i, v.Released, r.fold(id).Released, want)
			}
			r.keys("E")
			r.pass(10 * time.Minute)
		}
		if s := r.exposure(); s.Pending.Count != 5 || s.Pending.Sum != 6170 || s.Released.Count != 2 || s.Released.Sum != 2468 {
			r.Errorf("exposure %+v", s)
		}
		if u := r.screen.last().Status.Unfound; u.Count != 5 || u.Sum != 6170 || u.Age < 50*time.Minute {
			r.Errorf("the screen says %+v", u)
		}
		if n := r.count(terminal.ChargeReleased); n != 2 {
			r.Errorf("%d releases were told", n)
		}
		b.pays(ids[0], 1234)
		b.pays(ids[1], 1234)
		b.pays(ids[1], 1234) // again
		b.pays(ids[2], 1000) // another amount
		b.pays(ids[3], 1234)
		papers := len(r.printer.ids())
		r.pass(10 * time.Minute)
		if n := r.count(terminal.ChargePaid); n != 0 {
			r.Fatalf("%d paid while the provider is cut off", n)
		}
		b.set(0)
		r.pass(2 * time.Minute)
		for i, want := range []struct {
			state    charge.State
			payments int
		}{{charge.Paid, 1}, {charge.Paid, 2}, {charge.Pending, 1}, {charge.Paid, 1}, {charge.Pending, 0}} {
			c := r.fold(ids[i])
			if c.State != want.state || len(c.Payments) != want.payments || c.Late {
				r.Errorf("charge %d: %s, late %v, payments %+v; want %s with %d", i, c.State, c.Late, c.Payments, want.state, want.payments)
			}
		}
		if c := r.fold(ids[1]); !c.Payments[1].Extra || c.Payments[1].Evidence.Grade() != charge.GradeA {
			r.Errorf("the second payment: %+v", c.Payments[1])
		}
		if c := r.fold(ids[2]); !c.Payments[0].Mismatch {
			r.Errorf("the wrong amount: %+v", c.Payments[0])
		}
		sums := r.postings()
		if sums[ledger.PixClearing] != 4*1234+1000 || sums[ledger.Sales] != -3*1234 || sums[ledger.CustomerCredit] != -1234 || sums[ledger.Suspense] != -1000 {
			r.Errorf("postings %v", sums)
		}
		if n := len(r.printer.ids()) - papers; n != 0 {
			r.Errorf("%d slips came out for payers who left long ago", n)
		}
		if s := r.exposure(); s.Pending.Count != 2 || s.Released.Count != 0 {
			r.Errorf("exposure %+v", s)
		}
		// A new payer is served as ever, with a code of the provider's.
		r.keys("500E")
		if v := r.shows(display.QR); v.Offline {
			r.Error("a code of our own while the provider is there")
		}
	})
}

// Nothing false is offered where a payment could not be found, or where that is
// not wanted.
func TestNoOwnCode(t *testing.T) {
	for name, run := range map[string]func(f func(r *rig)){
		"the provider cannot find it": func(f func(r *rig)) {
			bubble(t, func(r *rig) {
				r.stop()
				r.edit = func(c *terminal.Config) { c.Offline = hold() }
				r.route.create = fails(providers.NotSent)
				r.start()
				f(r)
			})
		},
		"the policy is to deny": func(f func(r *rig)) {
			offline(t, terminal.Offline{Rules: exposure.Rules{Policy: exposure.Deny}}, func(r *rig, b *bank) {
				b.set(providers.NotSent)
				f(r)
			})
		},
		"the provider refuses": func(f func(r *rig)) {
			offline(t, hold(), func(r *rig, b *bank) {
				b.route.create = func(context.Context, providers.Intent) (providers.Charge, error) {
					return providers.Charge{}, &providers.Error{Provider: "fake", Op: "create", Kind: providers.Unavailable, HTTP: 503}
				}
				f(r)
			})
		},
	} {
		run(func(r *rig) {
			for range 3 {
				r.keys("1234E")
				r.pass(10 * time.Second)
				if v := r.shows(display.Unavailable); v.Code != "" {
					r.Errorf("%s: a code on the screen", name)
				}
				r.keys("E")
			}
			if slices.Contains(r.screen.states(), display.QR) {
				r.Errorf("%s: a code was shown", name)
			}
			if n := r.count(terminal.ChargeEnded); n != 3 {
				r.Errorf("%s: %d charges ended, want 3", name, n)
			}
		})
	}
}

// Where the operator matches payments with the bank's statement, any provider
// will do; two people and an end-to-end id settle the charge.
func TestStatement(t *testing.T) {
	bubble(t, func(r *rig) {
		r.stop()
		r.edit = func(c *terminal.Config) {
			c.Offline = hold()
			c.Offline.Statement = true
		}
		r.route.create = fails(providers.NotSent)
		r.start()
		id := r.makeOffline()
		r.pass(time.Hour)
		const e2e = "E0000000020260101000000000000001"
		for name, bad := range map[string]func() (charge.Evidence, error){
			"one person":    func() (charge.Evidence, error) { return r.fold(id).ByStatement(1234, e2e, "ana", "") },
			"twice the one": func() (charge.Evidence, error) { return r.fold(id).ByStatement(1234, e2e, "ana", "ana") },
			"a CPF":         func() (charge.Evidence, error) { return r.fold(id).ByStatement(1234, e2e, "ana", "CPF 529.982.247-25") },
			"an address":    func() (charge.Evidence, error) { return r.fold(id).ByStatement(1234, e2e, "bia@example.com", "ana") },
			"no payment":    func() (charge.Evidence, error) { return r.fold(id).ByStatement(1234, "E1", "ana", "bia") },
			"no amount":     func() (charge.Evidence, error) { return r.fold(id).ByStatement(0, e2e, "ana", "bia") },
		} {
			line, err := bad()
			if err == nil {
				r.Errorf("%s: accepted", name)
			}
			// Whoever gets past that settles nothing all the same.
			if _, err := r.term.Credit(r.Context(), id, line, nil); err != nil {
				r.Fatal(err)
			}
			if c := r.fold(id); c.State != charge.Pending {
				r.Fatalf("%s: it settled the charge", name)
			}
		}
		line, err := r.fold(id).ByStatement(1234, "E0000000020260101000000000000002", "ana", "bia")
		if err != nil {
			r.Fatal(err)
		}
		if _, err := r.term.Credit(r.Context(), id, line, nil); err != nil {
			r.Fatal(err)
		}
		if c := r.fold(id); c.State != charge.Paid || c.Late {
			r.Errorf("%s, late %v", c.State, c.Late)
		}
		if n := r.route.questions(); n != 0 {
			r.Errorf("the provider was asked %d times for a charge that it does not know", n)
		}
	})
}

// A create whose outcome is unknown is looked up first; when that reaches nobody
// either, its attempt is orphaned and the terminal's own code is shown.
func TestUnknownOutcomeThenOwnCode(t *testing.T) {
	offline(t, hold(), func(r *rig, b *bank) {
		b.cut, b.slow = providers.Ambiguous, 3*time.Second
		r.keys("1234E")
		r.pass(20 * time.Second)
		id := charge.ID(r.shows(display.QR).Charge)
		c := r.fold(id)
		if len(c.Attempts) != 2 || c.Attempts[0].State != charge.Orphaned || !c.Attempts[1].Static || c.State != charge.Pending {
			r.Errorf("attempts %+v, %s", c.Attempts, c.State)
		}
		// The next one does not wait for the network at all.
		r.keys("C")
		r.pass(0)
		begun, intents := time.Now(), len(b.intents)
		r.keys("E1234E")
		if v := r.shows(display.QR); !v.Offline || time.Since(begun) != 0 || len(b.intents) != intents {
			r.Errorf("it took %v and %d calls", time.Since(begun), len(b.intents)-intents)
		}
	})
}

// Where the provider cannot be asked by our own id the attempt of unknown outcome is
// orphaned, too, and not called refused: what it made may be paid and is found then.
func TestUnknownOutcomeThenOwnCodeWithoutLookUp(t *testing.T) {
	offline(t, hold(), func(r *rig, b *bank) {
		b.caps.Idempotent, b.caps.LookUp = false, false
		b.cut, b.slow = providers.Ambiguous, 3*time.Second
		r.keys("1234E")
		r.pass(20 * time.Second)
		c := r.fold(charge.ID(r.shows(display.QR).Charge))
		if a := c.Attempts; a[0].State != charge.Orphaned || a[0].Reason != "ambiguous" || !a[len(a)-1].Static {
			r.Errorf("attempts %+v, %s", a, c.State)
		}
	})
}

// A charge made offline survives reboots; its payment is found, and so is a
// second one long after it was paid.
func TestOfflineSurvivesReboots(t *testing.T) {
	offline(t, hold(), func(r *rig, b *bank) {
		b.set(providers.NotSent)
		id := r.makeOffline()
		r.restart(false)
		if v := r.shows(display.QR); v.Charge != string(id) || !v.Offline {
			r.Errorf("after a restart the screen shows %v, offline %v", v, v.Offline)
		}
		r.restart(true)
		r.shows(display.Idle)
		b.pays(id, 1234)
		b.set(0)
		r.pass(time.Minute)
		if c := r.fold(id); c.State != charge.Paid || c.Late || len(c.Payments) != 1 {
			r.Fatalf("%s, late %v, payments %+v", c.State, c.Late, c.Payments)
		}
		r.restart(true)
		r.pass(72 * time.Hour)
		b.pays(id, 1234)
		r.pass(8 * time.Hour)
		if c := r.fold(id); len(c.Payments) != 2 || !c.Payments[1].Extra {
			r.Errorf("the second payment: %+v", c.Payments)
		}
		if n := r.count(terminal.PaymentOdd); n != 1 {
			r.Errorf("%d people were called", n)
		}
	})
}

// Called off while nobody can be asked: it is over at once, and money that comes
// all the same is found, belongs to the payer, and buys nothing.
func TestOfflineCancel(t *testing.T) {
	offline(t, hold(), func(r *rig, b *bank) {
		b.set(providers.NotSent)
		id := r.makeOffline()
		r.keys("C")
		r.shows(display.Cancelled)
		if s := r.exposure(); s.Pending.Count != 0 {
			r.Errorf("exposure %+v", s)
		}
		b.pays(id, 1234)
		b.set(0)
		r.pass(time.Minute)
		if c := r.fold(id); c.State != charge.Paid || !c.Late {
			r.Errorf("%s, late %v", c.State, c.Late)
		}
		if sums := r.postings(); sums[ledger.CustomerCredit] != -1234 || sums[ledger.Sales] != 0 {
			r.Errorf("postings %v", sums)
		}
		if slices.Contains(r.screen.states(), display.Paid) {
			r.Error("another payer saw PAGO")
		}
	})
}

// What something left for cannot be called off: it waits for its payment.
func TestReleasedIsNotCancelled(t *testing.T) {
	rules := exposure.Rules{Policy: exposure.ReleaseUpTo, PerCharge: 2000, Sum: 2000, Count: 1, Age: time.Hour}
	offline(t, terminal.Offline{Rules: rules, Watch: 24 * time.Hour}, func(r *rig, b *bank) {
		b.set(providers.NotSent)
		id := r.makeOffline()
		r.keys("E")
		if err := r.term.Cancel(r.Context(), id); err != nil {
			r.Fatal(err)
		}
		r.pass(time.Minute)
		if c, s := r.fold(id), r.exposure(); c.State != charge.Pending || s.Released.Count != 1 {
			r.Errorf("%s, exposure %+v", c.State, s)
		}
	})
}

// A terminal that starts while the provider is away tries once, not with every
// code that it made before.
func TestStartDuringOutage(t *testing.T) {
	offline(t, hold(), func(r *rig, b *bank) {
		b.set(providers.NotSent)
		for range 20 {
			if _, err := r.term.Start(r.Context(), terminal.Request{Amount: 1234, Source: "api"}); err != nil {
				r.Fatal(err)
			}
			r.pass(5 * time.Second)
		}
		before := b.asked()
		r.restart(true)
		r.pass(time.Second)
		if n := b.asked() - before; n > 2 {
			r.Errorf("%d searches in the first second", n)
		}
	})
}

// While the provider is away one search at a time tries whether it is back, and
// the first answer lets all others follow: before long every payment is found.
func TestOutageIsProbedAndLeftTogether(t *testing.T) {
	offline(t, hold(), func(r *rig, b *bank) {
		b.set(providers.NotSent)
		const n = 40
		var ids []charge.ID
		for range n {
			id, err := r.term.Start(r.Context(), terminal.Request{Amount: 1234, Source: "api"})
			if err != nil {
				r.Fatal(err)
			}
			ids = append(ids, id)
			r.pass(5 * time.Second)
		}
		if s := r.exposure(); s.Pending.Count != n {
			r.Fatalf("exposure %+v", s)
		}
		for _, id := range ids {
			b.pays(id, 1234)
		}
		before := b.asked()
		r.pass(24 * time.Hour)
		if asked := b.asked() - before; asked > 24*3600/12 || asked < 24*3600/20 {
			r.Errorf("%d searches in a day for %d codes, want one at some time in each half minute", asked, n)
		}
		b.set(0)
		r.pass(40 * time.Second)
		if got := r.count(terminal.ChargePaid); got != n {
			r.Errorf("%d of %d are found within 40 s", got, n)
		}
		if w, err := r.term.Unfinished(r.Context()); err != nil || w.Charges != 0 {
			r.Errorf("left: %+v (%v)", w, err)
		}
	})
}

// Codes that are looked for every few hours only are looked for at once when the
// provider comes back from an outage.
func TestReconnectLooksAtOnce(t *testing.T) {
	offline(t, hold(), func(r *rig, b *bank) {
		b.set(providers.NotSent)
		var ids []charge.ID
		for range 3 {
			ids = append(ids, r.makeOffline())
			r.pass(10 * time.Minute)
		}
		b.set(0)
		r.pass(50 * time.Hour)
		b.set(providers.NotSent)
		r.makeOffline()
		for _, id := range ids {
			b.pays(id, 1234)
		}
		b.set(0)
		r.pass(time.Minute)
		if n := r.count(terminal.ChargePaid); n != len(ids) {
			r.Errorf("%d of %d are found within a minute", n, len(ids))
		}
	})
}

// A provider that answers, and refuses searches, is not stormed: charges made
// meanwhile go on as ever.
func TestRefusedSearches(t *testing.T) {
	offline(t, hold(), func(r *rig, b *bank) {
		b.set(providers.NotSent)
		for range 20 {
			if _, err := r.term.Start(r.Context(), terminal.Request{Amount: 1234, Source: "api"}); err != nil {
				r.Fatal(err)
			}
			r.pass(5 * time.Second)
		}
		b.mu.Lock()
		b.cut, b.forbidden = 0, true
		b.mu.Unlock()
		r.pass(time.Minute) // its refusal says that it is back
		before := b.asked()
		for range 6 {
			r.keys("500E")
			if v := r.shows(display.QR); v.Offline {
				r.Error("a code of our own while the provider is there")
			}
			r.pass(10 * time.Minute)
			r.keys("E")
		}
		if n := b.asked() - before; n < 4 || n > 8 {
			r.Errorf("%d searches in an hour, want one about every ten minutes", n)
		}
	})
}

// A terminal whose clock was ahead when it made the code finds its payment all the
// same.
func TestClockAhead(t *testing.T) {
	offline(t, hold(), func(r *rig, b *bank) {
		b.set(providers.NotSent)
		r.clock.set(5 * time.Hour)
		id := r.makeOffline()
		b.pays(id, 1234)
		r.clock.set(0)
		b.set(0)
		r.pass(time.Minute)
		if c := r.fold(id); c.State != charge.Paid {
			r.Errorf("%s", c.State)
		}
	})
}

// A code that nobody paid is looked for to the end of its watch, on a clock that
// is known to be right, and is expired then; the terminal forgets it.
func TestWatchEnds(t *testing.T) {
	offline(t, hold(), func(r *rig, b *bank) {
		b.set(providers.NotSent)
		id := r.makeOffline()
		r.pass(31 * 24 * time.Hour)
		if c := r.fold(id); c.State != charge.Pending {
			r.Fatalf("%s while nobody could be asked", c.State)
		}
		b.set(0)
		r.pass(time.Minute)
		if c := r.fold(id); c.State != charge.Expired || c.Reason != "not_found" {
			r.Errorf("%s (%s)", c.State, c.Reason)
		}
		r.pass(8 * time.Hour) // late money is looked for once more
		asked := b.asked()
		r.pass(48 * time.Hour)
		if n := b.asked() - asked; n != 0 {
			r.Errorf("%d searches after its watch", n)
		}
	})
}
