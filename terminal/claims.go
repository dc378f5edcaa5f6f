package terminal

import (
	"context"

	"github.com/ssg-safe/agent/charge"
	"github.com/ssg-safe/agent/providers"
	"github.com/ssg-safe/agent/reconcile"
	"github.com/ssg-safe/agent/router"
)

// An orphan of which the provider's answer was lost has no name that its provider
// could be asked by. Where reports of the provider come to an address of each
// attempt's own, its orphan is recorded with a hash of that; the hub, which receives
// the reports, finds the attempt by it and tells what the provider calls it: a claim.

// maxClaims bounds those that wait for their provider.
const maxClaims = 100

// nameOrphans notes in a decision by what reports about its orphans are found.
func (t *Terminal) nameOrphans(d *decision) {
	for i, f := range d.facts {
		a, ok := f.(charge.AttemptFact)
		if !ok || a.State != charge.Orphaned {
			continue
		}
		by, _ := d.next.At(a.N)
		if namer, ok := t.cfg.Routes[by].(providers.CallbackNamer); ok && nameless(d.next, a.N) {
			a.Callback = namer.CallbackName(string(a.Charge), a.N)
			d.facts[i] = a
		}
	}
}

// nameless reports whether attempt n is an orphan without a name at its provider.
func nameless(c charge.Charge, n int) bool {
	for _, a := range c.Attempts {
		if a.N == n {
			return a.State == charge.Orphaned && a.ProviderID == ""
		}
	}
	return false
}

// Claim is a [Terminal.Hint] about one attempt that says what its provider is said to
// call it. It never blocks, and proves nothing: the provider must say that the name is
// this attempt's.
func (t *Terminal) Claim(id charge.ID, attempt int, name string) {
	t.Hint(id)
	if name == "" {
		return
	}
	select {
	case t.inbox <- func() {
		if len(t.claims) < maxClaims {
			k := reconcile.Key{Charge: id, Attempt: attempt}
			t.claims[k] = name
			t.followClaim(k)
		}
	}:
	default:
	}
}

// followClaims asks again about those that got no answer.
func (t *Terminal) followClaims() {
	for k := range t.claims {
		t.followClaim(k)
	}
}

// followClaim asks the provider whether a claim is true, and records what it says of
// money. A claim about anything but an orphan without a name is forgotten.
func (t *Terminal) followClaim(k reconcile.Key) {
	if t.stopping {
		return
	}
	t.lookFor(k.Charge, func(l *live, err error) {
		if err != nil {
			t.log.Warn("a report about a charge that is not to be had", "charge", k.Charge, "err", err)
			delete(t.claims, k)
			return
		}
		by, _ := l.charge.At(k.Attempt)
		route := t.cfg.Routes[by]
		_, ok := route.(providers.CallbackNamer)
		name, waits := t.claims[k]
		if !waits || !ok || !nameless(l.charge, k.Attempt) {
			delete(t.claims, k)
			return
		}
		if l.charge.State == charge.Created { // another attempt is under way
			return
		}
		ref := providers.Ref{Charge: string(k.Charge), Attempt: k.Attempt, ProviderID: name, Claimed: true}
		t.call(t.asks, t.others, route.Caps().ReadTimeout, func(ctx context.Context) input {
			ans, err := route.GetCharge(ctx, ref)
			return func() {
				t.reached(by, router.Ask, err)
				if hopeless(err) {
					return // it is asked again
				}
				delete(t.claims, k)
				if err != nil {
					t.log.Warn("a report names an attempt that is not its", "charge", k.Charge, "attempt", k.Attempt, "err", err)
					return
				}
				t.witness(testimony{key: k, charge: &ans}, func() { t.compareSoon(by) })
			}
		})
	})
}
