// Package exposure decides what may leave a terminal before its payment was
// found. It is pure.
//
// While a provider cannot be reached a terminal shows codes of its own making.
// Whether such a code was paid is known only when the provider can be asked
// again, and until then whatever was handed out for it is a loan: the
// operator's exposure. [Rules] say how large it may become; [Of] says how large
// it is, folded from the charges themselves, so that it survives a crash as
// they do and cannot drift from them.
package exposure

import (
	"fmt"
	"math"
	"time"

	"github.com/ssg-safe/agent/money"
)

// Policy says what happens while a provider cannot be reached.
type Policy string

// The policies. The zero value is Deny.
const (
	// Deny makes no charges.
	Deny Policy = "deny"
	// Hold makes charges, and nothing leaves before their payment is found.
	Hold Policy = "hold"
	// ReleaseUpTo lets goods leave on the payer's word, within limits.
	ReleaseUpTo Policy = "release_up_to"
)

// MaxPending is how many charges may wait to be found, whatever the policy: each
// is kept in memory and looked for.
const MaxPending = 1000

// Rules are a policy and the limits of ReleaseUpTo. A limit of zero releases
// nothing.
type Rules struct {
	Policy    Policy
	PerCharge money.Amount  // of one charge
	Sum       money.Amount  // of all that was released and not found
	Count     int           // of those charges
	Age       time.Duration // of the oldest of them
}

// Charge is one that was made without its provider and whose payment was not
// found yet.
type Charge struct {
	Amount   money.Amount
	Made     time.Time // wall clock
	Released bool
}

// Tally sums up charges.
type Tally struct {
	Count  int          `json:"count"`
	Sum    money.Amount `json:"sum"`             // centavos
	Oldest time.Time    `json:"oldest,omitzero"` // when the oldest was made
}

// Standing is the exposure at a moment: all charges that wait to be found, and
// those of them that something left for.
type Standing struct {
	Pending  Tally `json:"pending"`
	Released Tally `json:"released"`
}

// Of sums up charges.
func Of(charges []Charge) Standing {
	var s Standing
	for _, c := range charges {
		s.Pending.add(c)
		if c.Released {
			s.Released.add(c)
		}
	}
	return s
}

func (t *Tally) add(c Charge) {
	t.Count++
	sum, err := t.Sum.Add(c.Amount)
	if err != nil {
		sum = math.MaxInt64 // more than any limit
	}
	t.Sum = sum
	if t.Oldest.IsZero() || c.Made.Before(t.Oldest) {
		t.Oldest = c.Made
	}
}

// Refusal says which rule something breaks.
type Refusal struct {
	Limit string // policy, pending, per_charge, sum, count, age
	Why   string
}

// Error names the limit and says why.
func (r *Refusal) Error() string { return "offline " + r.Limit + ": " + r.Why }

// Make says whether one more charge may be made without its provider; the error
// is a [*Refusal].
func (r Rules) Make(s Standing) error {
	switch {
	case r.Policy != Hold && r.Policy != ReleaseUpTo:
		return &Refusal{"policy", "no charges are made without the provider"}
	case s.Pending.Count >= MaxPending:
		return &Refusal{"pending", fmt.Sprintf("%d charges wait to be found already", s.Pending.Count)}
	}
	return nil
}

// Release says whether goods may leave for one more charge of an amount; the
// error is a [*Refusal]. now is the wall clock. One that is behind the oldest
// charge has been set back and says nothing about ages: then nothing leaves.
func (r Rules) Release(s Standing, amount money.Amount, now time.Time) error {
	out := s.Released
	sum, err := out.Sum.Add(amount)
	switch {
	case r.Policy != ReleaseUpTo:
		return &Refusal{"policy", "nothing leaves before its payment is found"}
	case amount <= 0 || amount > r.PerCharge:
		return &Refusal{"per_charge", fmt.Sprintf("%s is more than %s", amount.BRL(), r.PerCharge.BRL())}
	case out.Count+1 > r.Count:
		return &Refusal{"count", fmt.Sprintf("%d of %d are out", out.Count, r.Count)}
	case err != nil || sum > r.Sum:
		return &Refusal{"sum", fmt.Sprintf("%s of %s are out", out.Sum.BRL(), r.Sum.BRL())}
	case r.Age <= 0:
		return &Refusal{"age", "no age is allowed"}
	case out.Count > 0 && now.Before(out.Oldest):
		return &Refusal{"age", "the clock is behind the oldest charge"}
	case out.Count > 0 && now.Sub(out.Oldest) > r.Age:
		return &Refusal{"age", fmt.Sprintf("the oldest is out for %s", now.Sub(out.Oldest).Truncate(time.Minute))}
	}
	return nil
}
