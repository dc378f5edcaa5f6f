package providertest

import (
	"errors"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/ssg-safe/agent/charge"
	"github.com/ssg-safe/agent/money"
	"github.com/ssg-safe/agent/providers"
	"github.com/ssg-safe/agent/redact"
)

// LiveThroughCharges makes some charges, one after the other, as a terminal does at
// a provider that can be asked for a status: what is not among the facts is lost
// when it is killed, and no webhook ever arrives. It fails the test unless each
// charge that was paid at the provider is known to be, with its amount, and no other
// is. client makes the adapter, anew after a kill; ends counts how charges ended. The
// simulator's fault script, as the caller left it, is cleared some time on.
func LiveThroughCharges(t *testing.T, rng *rand.Rand, sim Simulator, client func() providers.Charger,
	intent func(n int, amount money.Amount) providers.Intent, ends map[charge.State]int,
) {
	t.Helper()
	p := client()
	caps := p.Caps()
	ours := map[string]money.Amount{} // paid, by the provider's id
	for n := range 2 {
		in := intent(n, money.Amount(1000+n))
		facts := []charge.Fact{charge.CreatedFact{Charge: charge.ID(in.ID), Route: p.Name(), Amount: in.Amount, Expiry: 600}}
		state := func() charge.Charge {
			got, err := charge.Fold(facts)
			if err != nil {
				t.Fatal(err)
			}
			return got
		}
		tokens := map[int]redact.Secret{} // of attempts
		next := charge.Retry
		for state().State == charge.Created {
			if last, _ := state().Last(); next == charge.LookUp {
				a, err := p.(providers.StatusReader).GetCharge(t.Context(), providers.Ref{Charge: in.ID, Attempt: last.N})
				e, _ := errors.AsType[*providers.Error](err)
				var more []charge.Fact
				switch {
				case err == nil && (a.BRCode != "" || caps.Codeless):
					more, next = state().Answer(last.N, a, nil, "hash", caps)
				case err == nil || e.Kind == providers.NotFound:
					more, next = state().Absent(last.N)
				default:
					time.Sleep(time.Second)
				}
				facts = append(facts, more...)
				continue
			}
			if next == charge.Retry && len(facts) > 1 {
				last, _ := state().Last()
				facts = append(facts, charge.AttemptFact{Charge: charge.ID(in.ID), N: last.N + 1, State: charge.Sending})
			}
			last, _ := state().Last()
			in.Attempt = last.N
			a, err := p.CreateCharge(t.Context(), in)
			var more []charge.Fact
			if rng.IntN(5) == 0 { // killed with the answer in hand
				p = client()
				more, next = state().Interrupted(caps)
			} else {
				tokens[last.N] = a.Token
				more, next = state().Answer(last.N, a, err, "hash", caps)
			}
			facts = append(facts, more...)
		}
		accepted, shown := state().Accepted()
		if !shown {
			ends[charge.Failed]++
			continue
		}
		pays := rng.IntN(20) // the question before which the payer pays, in time or late
		if rng.IntN(3) == 0 {
			pays = -1
		}
		for asked := range 200 {
			if asked == pays {
				if err := sim.Pay(accepted.ProviderID); err != nil {
					t.Fatal(err)
				}
			}
			if asked == 10 {
				if err := sim.Script().Set(); err != nil { // the trouble is over
					t.Fatal(err)
				}
			}
			a, err := p.(providers.StatusReader).GetCharge(t.Context(), providers.Ref{Charge: in.ID, Attempt: accepted.N, ProviderID: accepted.ProviderID, Token: tokens[accepted.N]})
			if err == nil {
				facts = append(facts, state().Observe(accepted.N, a, "")...)
			}
			if s := state().State; s == charge.Paid || !s.Open() && asked > pays {
				break
			}
			time.Sleep(time.Minute)
		}
		if paid, ok := state().Settling(); ok {
			ours[accepted.ProviderID] = paid.Amount
		}
		ends[state().State]++
	}
	for _, line := range sim.Charges() {
		amount, paid := ours[line.ID]
		if paid != (line.Status == providers.StatusPaid) || paid && amount != line.Amount {
			t.Errorf("the provider has %+v, and we have %s (paid: %v)", line, amount, paid)
		}
	}
}
