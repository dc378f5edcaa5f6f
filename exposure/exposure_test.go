package exposure

import (
	"errors"
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/ssg-safe/agent/money"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func limit(err error) string {
	if r, ok := errors.AsType[*Refusal](err); ok {
		return r.Limit
	}
	return ""
}

func TestRelease(t *testing.T) {
	rules := Rules{Policy: ReleaseUpTo, PerCharge: 1000, Sum: 2500, Count: 3, Age: time.Hour}
	out := func(ages ...time.Duration) Standing {
		var all []Charge
		for _, age := range ages {
			all = append(all, Charge{Amount: 1000, Made: noon.Add(-age), Released: true})
		}
		return Of(all)
	}
	for _, tt := range []struct {
		name     string
		rules    Rules
		standing Standing
		amount   money.Amount
		want     string // the limit that refuses; "": none
	}{
		{"the first", rules, Standing{}, 1000, ""},
		{"too large by a centavo", rules, Standing{}, 1001, "per_charge"},
		{"nothing", rules, Standing{}, 0, "per_charge"},
		{"up to the sum", rules, out(0, 0), 500, ""},
		{"over the sum by a centavo", rules, out(0, 0), 501, "sum"},
		{"over the count", rules, out(0, 0, 0), 1, "count"},
		{"at the age", rules, out(time.Hour), 1, ""},
		{"over the age", rules, out(time.Hour + time.Second), 1, "age"},
		{"the clock was set back", rules, out(-time.Second), 1, "age"},
		{"what is held is no exposure", rules, Of([]Charge{{Amount: 9999, Made: noon.Add(-240 * time.Hour)}}), 1000, ""},
		{"hold", Rules{Policy: Hold, PerCharge: 1000, Sum: 2500, Count: 3, Age: time.Hour}, Standing{}, 1, "policy"},
		{"deny", Rules{}, Standing{}, 1, "policy"},
		{"no limits set", Rules{Policy: ReleaseUpTo}, Standing{}, 1, "per_charge"},
		{"no age set", Rules{Policy: ReleaseUpTo, PerCharge: 1, Sum: 1, Count: 1}, Standing{}, 1, "age"},
		{"a sum that cannot be counted", rules, Of([]Charge{{Amount: math.MaxInt64, Made: noon, Released: true}, {Amount: 1, Made: noon, Released: true}}), 1, "sum"},
	} {
		if got := limit(tt.rules.Release(tt.standing, tt.amount, noon)); got != tt.want {
			t.Errorf("%s: refused by %q, want %q", tt.name, got, tt.want)
		}
	}
}

func TestMake(t *testing.T) {
	full := make([]Charge, MaxPending)
	for _, tt := range []struct {
		policy   Policy
		standing Standing
		want     string
	}{
		{Hold, Standing{}, ""},
		{ReleaseUpTo, Standing{}, ""},
		{Deny, Standing{}, "policy"},
		{"", Standing{}, "policy"},
		{Hold, Of(full[1:]), ""},
		{Hold, Of(full), "pending"},
	} {
		if got := limit(Rules{Policy: tt.policy}.Make(tt.standing)); got != tt.want {
			t.Errorf("%q with %d pending: refused by %q, want %q", tt.policy, tt.standing.Pending.Count, got, tt.want)
		}
	}
}

// Whatever is released and found in whatever order, what is out never exceeds a
// limit, and each limit does let something through.
func TestLimitsHold(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := Rules{
			Policy:    ReleaseUpTo,
			PerCharge: money.Amount(rapid.Int64Range(1, 5000).Draw(t, "per charge")),
			Sum:       money.Amount(rapid.Int64Range(1, 20000).Draw(t, "sum")),
			Count:     rapid.IntRange(1, 8).Draw(t, "count"),
			Age:       time.Duration(rapid.IntRange(1, 240).Draw(t, "age")) * time.Minute,
		}
		now := noon
		var all []Charge
		t.Repeat(map[string]func(*rapid.T){
			"pass": func(t *rapid.T) { now = now.Add(time.Duration(rapid.IntRange(0, 90).Draw(t, "minutes")) * time.Minute) },
			"charge": func(t *rapid.T) {
				amount := money.Amount(rapid.Int64Range(1, 6000).Draw(t, "amount"))
				before := Of(all)
				err := r.Release(before, amount, now)
				if err == nil && !before.Released.Oldest.IsZero() && now.Sub(before.Released.Oldest) > r.Age {
					t.Fatalf("released while the oldest is out for %s", now.Sub(before.Released.Oldest))
				}
				if err != nil && before.Released.Count == 0 && amount <= r.PerCharge && amount <= r.Sum {
					t.Fatalf("refused with nothing out: %v", err)
				}
				all = append(all, Charge{Amount: amount, Made: now, Released: err == nil})
			},
			"find": func(t *rapid.T) {
				if len(all) > 0 {
					i := rapid.IntRange(0, len(all)-1).Draw(t, "which")
					all = append(all[:i], all[i+1:]...)
				}
			},
			"": func(t *rapid.T) {
				s := Of(all)
				if s.Released.Count > r.Count || s.Released.Sum > r.Sum || s.Pending.Count != len(all) || s.Released.Sum > s.Pending.Sum {
					t.Fatalf("%+v breaks %+v", s, r)
				}
			},
		})
	})
}
