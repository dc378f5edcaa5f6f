package router

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/ssg-safe/agent/charge"
	"github.com/ssg-safe/agent/money"
	"github.com/ssg-safe/agent/providers"
)

// far is a provider as it really is: which attempts reached it.
type far struct {
	caps  providers.Caps
	codes map[int]bool // attempts that made a code
	asked map[int]int  // create requests by attempt
}

// world is one charge, what is recorded about it, and two providers. Drivers act
// on it as a terminal does; check holds them to the rules.
type world struct {
	t      *rapid.T
	d      driver
	board  Board
	facts  []charge.Fact
	c      charge.Charge
	far    map[string]*far
	looked map[int]bool // attempts about which their provider was asked
	shown  map[int]bool // attempts whose code a payer saw
	bad    error
}

// driver is how a terminal goes on after a failed attempt. The zero value is right;
// each field is a mistake.
type driver struct {
	noOrphan    bool // the next attempt follows one of unknown outcome
	noLookUp    bool // what can be looked up is not
	sendFirst   bool // the request leaves before its attempt is recorded
	afterCode   bool // another route is tried though a payer sees a code
	sameAttempt bool // the other provider gets the same attempt
}

func (w *world) violated(format string, args ...any) {
	if w.bad == nil {
		w.bad = fmt.Errorf(format, args...)
	}
}

// record writes facts, as the ledger takes them.
func (w *world) record(facts ...charge.Fact) {
	for _, f := range facts {
		next, err := w.c.Apply(f)
		if err != nil {
			w.violated("the ledger refuses it: %v", err)
			return
		}
		if a, ok := f.(charge.AttemptFact); ok && a.State == charge.Sending && a.N > 1 {
			w.follows(a)
		}
		w.facts, w.c = append(w.facts, f), next
	}
}

// follows checks what may stand before another attempt.
func (w *world) follows(next charge.AttemptFact) {
	for _, a := range w.c.Attempts {
		by, _ := w.c.At(a.N)
		switch {
		case w.shown[a.N]:
			w.violated("attempt %d follows one whose code was shown", next.N)
		case a.State == charge.Orphaned && w.far[by].caps.LookUp && !w.looked[a.N]:
			w.violated("attempt %d was orphaned, and could have been looked up", a.N)
		case a.State != charge.Orphaned && a.State != charge.Rejected:
			w.violated("attempt %d follows one that is %s", next.N, a.State)
		case a.State == charge.Rejected && w.far[by].codes[a.N]:
			w.violated("attempt %d made a code and counts as rejected", a.N)
		}
	}
}

// create sends an attempt: what reaches the provider, and what comes back.
func (w *world) create(n int, by string) (providers.Charge, error) {
	f := w.far[by]
	recorded := false
	for _, a := range w.c.Attempts {
		at, _ := w.c.At(a.N)
		recorded = recorded || a.N == n && at == by && a.State == charge.Sending
	}
	if !recorded {
		w.violated("attempt %d is sent to %s before it is on record", n, by)
	}
	kinds := []providers.Kind{providers.NotSent, providers.Rate, providers.Unavailable, providers.Auth, providers.Invalid, providers.Ambiguous, 0, 0}
	k := rapid.SampledFrom(kinds).Draw(w.t, "outcome")
	if k != providers.NotSent {
		if f.asked[n]++; f.asked[n] > 1 {
			w.violated("attempt %d was sent twice to %s", n, by)
		}
	}
	made := k == 0 || k == providers.Ambiguous && rapid.Bool().Draw(w.t, "made")
	if made {
		f.codes[n] = true
	}
	if k != 0 {
		return providers.Charge{}, failure(k)
	}
	return providers.Charge{ProviderID: fmt.Sprintf("%s-%d", by, n), Digest: "aa"}, nil
}

// live goes through the charge's creation, with crashes.
func (w *world) live() {
	send := true
	for step := 0; w.c.State == charge.Created && w.bad == nil && step < 50; step++ {
		last, _ := w.c.Last()
		by, _ := w.c.At(last.N)
		caps := w.far[by].caps
		var facts []charge.Fact
		next := charge.Wait
		var err error
		switch {
		case last.State == charge.Sending && send:
			if rapid.Float64().Draw(w.t, "crash before") < 0.1 {
				send = false
				continue
			}
			var a providers.Charge
			a, err = w.create(last.N, by)
			if rapid.Float64().Draw(w.t, "crash after") < 0.1 {
				send = false // the outcome is lost
				continue
			}
			w.board.Note(by, Create, err, time.Duration(step))
			facts, next = w.c.Answer(last.N, a, err, "h", caps)
			_, more := w.board.Untried(w.c, routes, time.Duration(step))
			if e, ok := errors.AsType[*providers.Error](err); ok && more && e.Kind.OfAccount() {
				facts, next = w.c.Elsewhere(last.N, e.Kind)
			}
			if err == nil {
				w.shown[last.N] = true
			}
			if next == charge.LookUp && w.d.noLookUp {
				w.record(facts...)
				facts, next = w.c.Absent(last.N)
			}
		case last.State == charge.Sending || last.State == charge.Uncertain && !send:
			facts, next = w.c.Interrupted(caps) // after a crash
			send = true
		case last.State == charge.Uncertain:
			w.looked[last.N] = true
			switch found := w.far[by].codes[last.N]; {
			case rapid.Bool().Draw(w.t, "no answer"):
				facts, next = w.c.Unanswered(last.N)
			case found:
				facts = []charge.Fact{charge.AttemptFact{Charge: w.c.ID, N: last.N, State: charge.Accepted, ProviderID: fmt.Sprintf("%s-%d", by, last.N)}}
				w.shown[last.N] = true
			default:
				facts, next = w.c.Absent(last.N)
			}
		default:
			next = charge.Retry
		}
		if w.d.noOrphan && len(facts) == 2 {
			facts = facts[:1] // uncertain, and no more
		}
		w.record(facts...)
		if next == charge.Retry && w.bad == nil && w.c.State == charge.Created {
			send = w.another(step)
		}
	}
	if w.d.afterCode && w.c.State == charge.Pending {
		w.another(50)
	}
	if n := len(w.c.Attempts); n > charge.MaxAttempts {
		w.violated("%d attempts", n)
	}
}

// another records the next attempt; false: a crash follows.
func (w *world) another(step int) bool {
	last, _ := w.c.Last()
	r, _ := w.board.Next(w.c, routes, time.Duration(step))
	n := last.N + 1
	if w.d.sameAttempt {
		n = last.N
	}
	if w.d.sendFirst {
		w.create(n, r.Provider)
	}
	w.record(charge.AttemptFact{Charge: w.c.ID, N: n, State: charge.Sending, Route: r.Provider, Account: r.Account})
	return !w.d.sendFirst
}

// pay lets money arrive through every code that there is, an orphan's too, and
// checks that it is the charge's, once.
func (w *world) pay() {
	var sum money.Amount
	payments := 0
	for _, a := range w.c.Attempts {
		by, account := w.c.At(a.N)
		if !w.far[by].codes[a.N] || a.ProviderID == "" {
			continue
		}
		amount := w.c.Amount
		ev := w.c.FromAnswer(a.N, providers.Charge{
			ProviderID: a.ProviderID, Status: providers.StatusPaid, Amount: &amount, EndToEnd: fmt.Sprintf("E%d", a.N), Digest: "bb",
		})
		if ev.Route != by || ev.Account != account {
			w.violated("evidence of attempt %d names %s/%s", a.N, ev.Route, ev.Account)
		}
		for range 2 { // told twice
			if f := w.c.Credit(ev); f != nil {
				w.record(f)
				payments++
				if _, odd := f.(charge.MismatchFact); odd {
					w.violated("money through attempt %d is called a mismatch", a.N)
				}
			}
		}
		sum += amount
		// The same claim by the other provider is no evidence.
		ev.Route, ev.EndToEnd = map[string]string{"one": "two", "two": "one"}[by], "other"
		if f := w.c.Credit(ev); f != nil {
			if _, odd := f.(charge.MismatchFact); !odd {
				w.violated("attempt %d is credited on the word of %s", a.N, ev.Route)
			}
		}
	}
	var got money.Amount
	for _, p := range w.c.Payments {
		got += p.Amount
	}
	if got != sum || payments != len(w.c.Payments) {
		w.violated("%d centavos came, %d are recorded in %d payments", sum, got, payments)
	}
	again, err := charge.Fold(w.facts)
	if err != nil || again.State != w.c.State {
		w.violated("folded again it is %s (%v), was %s", again.State, err, w.c.State)
	}
}

func newWorld(t *rapid.T, d driver) *world {
	w := &world{t: t, d: d, far: map[string]*far{}, looked: map[int]bool{}, shown: map[int]bool{}}
	for _, r := range routes {
		w.far[r.Provider] = &far{
			caps: providers.Caps{LookUp: rapid.Bool().Draw(t, "look-up")}, codes: map[int]bool{}, asked: map[int]int{},
		}
	}
	first := w.board.First(routes, 0)
	w.record(charge.CreatedFact{Charge: "C", Merchant: "m", Route: first.Provider, Account: first.Account, Amount: 100, Expiry: 60})
	return w
}

// TestModel: whatever providers answer and whenever the terminal dies, a charge has
// one code, and money through any of its attempts is its own.
func TestModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t, driver{})
		w.live()
		if w.bad == nil {
			w.pay()
		}
		if w.bad != nil {
			t.Fatal(w.bad)
		}
	})
}

// TestModelMutants: each mistake is found.
func TestModelMutants(t *testing.T) {
	for name, d := range map[string]driver{
		"fails over from an unknown outcome without orphaning it": {noOrphan: true},
		"fails over without the look-up":                          {noLookUp: true},
		"sends before it records":                                 {sendFirst: true},
		"fails over behind a code that was shown":                 {afterCode: true},
		"sends the same attempt to another provider":              {sameAttempt: true},
	} {
		t.Run(name, func(t *testing.T) {
			for seed := range 500 {
				found := false
				rapid.Custom(func(t *rapid.T) int {
					w := newWorld(t, d)
					w.live()
					found = w.bad != nil
					return 0
				}).Example(seed)
				if found {
					return
				}
			}
			t.Error("not found in 500 lives")
		})
	}
}
