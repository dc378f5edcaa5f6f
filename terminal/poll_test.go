package terminal_test

import (
	"context"
	"testing"
	"time"

	"github.com/ssg-safe/agent/charge"
	"github.com/ssg-safe/agent/display"
	"github.com/ssg-safe/agent/money"
	"github.com/ssg-safe/agent/providers"
)

func unreachable(context.Context, providers.Ref) (providers.Charge, error) {
	return providers.Charge{}, &providers.Error{Kind: providers.NotSent}
}

// TestOutageDoesNotEndTheWatchForLateMoney: questions that nobody answered are
// no questions.
func TestOutageDoesNotEndTheWatchForLateMoney(t *testing.T) {
	bubble(t, func(r *rig) {
		id := r.begin()
		r.pass(5*time.Minute + 15*time.Second)
		if c := r.fold(id); c.State != charge.Expired {
			r.Fatalf("state %s", c.State)
		}
		r.route.on(unreachable)
		asked := r.route.questions()
		r.pass(3 * time.Hour)
		if n := r.route.questions() - asked; n > 3*60*3 {
			r.Errorf("%d questions in 3 hours of outage", n)
		}
		r.route.pays(1234, "E1")
		r.pass(time.Minute)
		if c := r.fold(id); c.State != charge.Paid || !c.Late {
			r.Errorf("state %s, late %v", c.State, c.Late)
		}
	})
}

// TestHintsAreOnlyHints: anybody can send them, so they may neither use up the
// questions nor make the terminal ask without a pause.
func TestHintsAreOnlyHints(t *testing.T) {
	bubble(t, func(r *rig) {
		id := r.begin()
		hints := func() {
			asked := r.route.questions()
			for range 600 {
				r.term.Hint(id)
				r.pass(50 * time.Millisecond)
			}
			if n := r.route.questions() - asked; n > 35 {
				r.Errorf("%d questions in 30 s of hints", n)
			}
		}
		hints()
		r.pass(5 * time.Minute)
		hints()
		r.route.pays(1234, "E1")
		r.pass(time.Minute)
		if c := r.fold(id); c.State != charge.Paid || !c.Late {
			r.Errorf("state %s, late %v", c.State, c.Late)
		}
	})
}

// TestUnknownWordIsAskedAboutSlowly: after the deadline nobody waits for it.
func TestUnknownWordIsAskedAboutSlowly(t *testing.T) {
	for _, keys := range []string{"", "C"} {
		bubble(t, func(r *rig) {
			r.route.answer(providers.StatusUncertain)
			id := r.begin()
			r.keys(keys)
			r.pass(10 * time.Minute)
			r.shows(display.Idle)
			asked := r.route.questions()
			r.pass(time.Hour)
			if n := r.route.questions() - asked; n < 100 || n > 150 {
				r.Errorf("%d questions in an hour, want about 120", n)
			}
			if c := r.fold(id); c.State != charge.Pending {
				r.Errorf("state %s", c.State)
			}
		})
	}
}

// TestContradictions: a provider that tells of another amount every time ends
// nothing, and does not fill the ledger.
func TestContradictions(t *testing.T) {
	bubble(t, func(r *rig) {
		amount := money.Amount(1)
		r.route.on(func(_ context.Context, ref providers.Ref) (providers.Charge, error) {
			amount++
			a := amount
			return providers.Charge{ProviderID: ref.ProviderID, Status: providers.StatusPaid, Word: "PAGO", Amount: &a, Digest: "d"}, nil
		})
		id := r.begin()
		r.pass(3 * time.Minute)
		if c := r.fold(id); c.State != charge.Pending || len(c.Payments) != 10 {
			r.Errorf("state %s, %d payments: %+v", c.State, len(c.Payments), c.Payments)
		}
		r.route.pays(1234, "")
		r.pass(10 * time.Second)
		if c := r.fold(id); c.State != charge.Paid {
			r.Errorf("at last the amount is right, and the charge is %s", c.State)
		}
	})
}
