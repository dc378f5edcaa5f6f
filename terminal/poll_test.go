package terminal_test

import (
	"cmp"
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ssg-safe/agent/charge"
	"github.com/ssg-safe/agent/display"
	"github.com/ssg-safe/agent/money"
	"github.com/ssg-safe/agent/providers"
	"github.com/ssg-safe/agent/terminal"
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

// TestUnknownWordIsAskedAboutSlowly: after the deadline nobody waits for it, and
// a provider that never says a word that counts is not asked for ever.
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
			if n := r.route.questions() - asked; n < 10 || n > 40 {
				r.Errorf("%d questions in the first hour, want about 20", n)
			}
			r.pass(23 * time.Hour)
			asked = r.route.questions()
			r.pass(24 * time.Hour)
			if n := r.route.questions() - asked; n < 20 || n > 30 {
				r.Errorf("%d questions on the second day, want one an hour", n)
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

// TestThePayerDoesNotWaitForQuestions: who stands at the screen does not wait
// until a slow provider has answered about other charges.
func TestThePayerDoesNotWaitForQuestions(t *testing.T) {
	bubble(t, func(r *rig) {
		for range 10 {
			if _, err := r.term.Start(r.Context(), terminal.Request{Amount: 1000, Source: "api"}); err != nil {
				r.Fatal(err)
			}
		}
		most, now := 0, 0
		var mu sync.Mutex
		r.route.on(func(ctx context.Context, _ providers.Ref) (providers.Charge, error) {
			mu.Lock()
			now++
			most = max(most, now)
			mu.Unlock()
			<-ctx.Done()
			mu.Lock()
			now--
			mu.Unlock()
			return providers.Charge{}, &providers.Error{Kind: providers.Ambiguous, Err: ctx.Err()}
		})
		r.pass(5 * time.Second)
		id := r.begin() // shows its code at once
		mu.Lock()
		if most != 4 {
			r.Errorf("%d questions at one time, want 4", most)
		}
		mu.Unlock()
		slow := r.route.status
		r.route.on(func(ctx context.Context, ref providers.Ref) (providers.Charge, error) {
			if ref.Charge != string(id) {
				return slow(ctx, ref)
			}
			paid := money.Amount(1234)
			return providers.Charge{ProviderID: ref.ProviderID, Status: providers.StatusPaid, Amount: &paid, EndToEnd: "E1", Digest: "d"}, nil
		})
		r.pass(3 * time.Second)
		r.shows(display.Paid) // and nor does its payment
	})
}

// TestLookUpThatIsRefused: an attempt of unknown outcome that its provider will never
// tell about ends as an orphan, by itself, also of a charge that nobody stands before;
// another one is sent only while somebody may wait for it.
func TestLookUpThatIsRefused(t *testing.T) {
	unknown := fails(providers.Ambiguous)
	for _, tt := range []struct {
		name   string
		second func(context.Context, providers.Intent) (providers.Charge, error) // and further attempts; nil: accepted
		status providers.Kind
		then   providers.Kind // after the expiry; 0: as before
		soon   string         // attempts after ten seconds, and the state
		late   string         // after the expiry
	}{
		{"for good", nil, providers.Invalid, 0, "orphaned accepted pending", "orphaned accepted expired"},
		{"for good, each time", unknown, providers.Conflict, 0, "orphaned orphaned orphaned failed", "orphaned orphaned orphaned failed"},
		{"to the account", nil, providers.Auth, 0, "uncertain created", "orphaned failed"},
		{"by nobody", nil, providers.NotSent, 0, "uncertain created", "uncertain created"},
		{"by an outage, and then there is none", nil, providers.Unavailable, providers.NotFound, "uncertain created", "orphaned failed"},
		{"by an outage, and then for good", nil, providers.Unavailable, providers.Invalid, "uncertain created", "orphaned failed"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(r *rig) {
				r.route.caps.LookUp = true
				r.route.create = func(ctx context.Context, in providers.Intent) (providers.Charge, error) {
					if in.Attempt == 1 {
						return unknown(ctx, in)
					}
					if tt.second != nil {
						return tt.second(ctx, in)
					}
					return r.route.accept(ctx, in)
				}
				refuse := func(kind providers.Kind) {
					r.route.on(func(_ context.Context, ref providers.Ref) (providers.Charge, error) {
						if ref.ProviderID != "" {
							return providers.Charge{ProviderID: ref.ProviderID, Status: providers.StatusPending, Digest: "d"}, nil
						}
						return providers.Charge{}, &providers.Error{Kind: kind}
					})
				}
				refuse(tt.status)
				id, err := r.term.Start(r.Context(), terminal.Request{Amount: 1234, Source: "api"})
				if err != nil {
					r.Fatal(err)
				}
				state := func() string {
					c, s := r.fold(id), ""
					for _, a := range c.Attempts {
						s += string(a.State) + " "
					}
					if c.NeverShown != (c.State == charge.Failed) {
						r.Errorf("never shown: %v, of a charge that is %s", c.NeverShown, c.State)
					}
					return s + string(c.State)
				}
				r.pass(10 * time.Second)
				if got := state(); got != tt.soon {
					r.Errorf("after ten seconds: %s; want %s", got, tt.soon)
				}
				r.pass(6 * time.Minute)
				refuse(cmp.Or(tt.then, tt.status))
				r.pass(time.Hour)
				if got := state(); got != tt.late {
					r.Errorf("after its time: %s; want %s", got, tt.late)
				}
				sent, asked := len(r.route.intents), r.route.questions()
				r.pass(time.Hour)
				if strings.HasSuffix(tt.late, "failed") && r.route.questions() != asked {
					r.Errorf("%d more questions about a charge that is over", r.route.questions()-asked)
				}
				if n := len(r.route.intents); n != sent {
					r.Errorf("%d more attempts", n-sent)
				}
			})
		})
	}
}

// TestLookUpDoesNotHoldTheScreen: an attempt that cannot be looked up yet is
// given up by its payer, or for him in the end.
func TestLookUpDoesNotHoldTheScreen(t *testing.T) {
	for keys, patience := range map[string]time.Duration{"C": 0, "": 6 * time.Minute} {
		bubble(t, func(r *rig) {
			r.route.caps.LookUp = true
			r.route.create = fails(providers.Ambiguous)
			r.route.on(unreachable)
			r.keys("1234E")
			r.pass(10 * time.Second)
			r.shows(display.Creating)
			r.keys(keys)
			r.pass(patience)
			if keys == "C" {
				if v := r.shows(display.Error); v.ErrorCode != display.ErrUncertain {
					r.Errorf("error code %s", v.ErrorCode)
				}
			}
			r.pass(20 * time.Second)
			r.shows(display.Idle)
			first := r.route.intents[0]
			r.route.on(func(ctx context.Context, ref providers.Ref) (providers.Charge, error) {
				return r.route.accept(ctx, first)
			})
			r.pass(time.Minute)
			r.shows(display.Idle)
			if c := r.fold(charge.ID(first.ID)); c.State != charge.Cancelled {
				r.Errorf("state %s", c.State)
			}
			if ids := r.printer.ids(); len(ids) != 0 {
				r.Errorf("printed %v", ids)
			}
		})
	}
}
