package providertest

import (
	"errors"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/ssg-safe/agent/charge"
	"github.com/ssg-safe/agent/money"
	"github.com/ssg-safe/agent/providers"
	"github.com/ssg-safe/agent/providers/simkit"
	"github.com/ssg-safe/agent/redact"
)

// Ends counts what became of the charges of many histories.
type Ends struct {
	States map[charge.State]int
	// Orphans are the provider's charges that are none of ours, because an answer was
	// lost: nobody saw their codes, and nobody pays them.
	Orphans int
}

// ChargeSchedules runs [Schedules] of charges at a provider that can be asked for a
// status. fixture makes the provider of one history, as odd as the dice want it;
// trouble are faults that it has besides the usual ones. Of some of them, and of a
// wire that loses, doubles and delays, each history is made.
func ChargeSchedules(t *testing.T, fixture func(testing.TB, *rand.Rand) Fixture, trouble ...simkit.Rule) (int, Ends) {
	t.Helper()
	ends := Ends{States: map[charge.State]int{}}
	n := Schedules(t, func(t *testing.T, seed uint64) {
		rng := rand.New(rand.NewPCG(seed, 2))
		liveThroughCharges(t, rng, fixture(t, rng), trouble, &ends)
	})
	t.Log(ends)
	return n, ends
}

// liveThroughCharges makes some charges, one after the other, as a terminal does:
// what is not among the facts is lost when it is killed, and no webhook ever
// arrives. The test fails unless each charge that was paid at the provider is known
// to be, with its amount, and no other is, and if a secret comes out anywhere.
func liveThroughCharges(tb testing.TB, rng *rand.Rand, f Fixture, trouble []simkit.Rule, ends *Ends) {
	usual := []simkit.Rule{
		{Route: "create", Fault: simkit.DropBefore, Chance: 0.2},
		{Route: "create", Fault: simkit.DropAfter, Chance: 0.3},
		{Route: "create", Fault: simkit.ErrorAfter, Arg: "503", Chance: 0.2},
		{Route: "create", Fault: simkit.Truncate, Chance: 0.1},
		{Route: "create", Fault: simkit.Rate, Arg: "2s", Chance: 0.1},
		{Route: "create", Fault: simkit.Latency, Arg: "1s..40s", Chance: 0.3},
		{Route: "status", Fault: simkit.DropAfter, Chance: 0.1},
		{Route: "status", Fault: simkit.Truncate, Chance: 0.2},
		{Route: "status", Fault: simkit.HTTP, Arg: "500", Chance: 0.3},
		{Route: "status", Fault: simkit.Latency, Arg: "1s..40s", Chance: 0.1},
	}
	if f.Tokens {
		usual = append(usual, simkit.Rule{Route: "token", Fault: simkit.HTTP, Arg: "503", Chance: 0.2}, simkit.Rule{Route: "token", Fault: simkit.DropAfter, Chance: 0.1})
	}
	rules := append(usual, trouble...)
	h := &history{TB: tb, Fixture: f, rng: rng, ends: ends, made: map[string]charge.ID{}, paid: map[string]money.Amount{}}
	h.line = &unreliable{next: providers.Memory(f.Simulator), rng: rand.New(rand.NewPCG(rng.Uint64(), 0))}
	h.wire = &wire{next: h.line}
	defer time.Sleep(2 * late) // a bubble waits for nobody whom a failed test left behind
	for n := range 2 {
		rng.Shuffle(len(rules), func(i, j int) { rules[i], rules[j] = rules[j], rules[i] })
		h.trouble(rules[:rng.IntN(len(rules)/2+1)]...)
		h.line.set(rng.Float64() / 4)
		h.start()
		h.charge(n, money.Amount(1000+n))
	}
	h.calm()
	time.Sleep(2 * late) // what is still under way arrives
	h.compare()
}

// history is the life of one terminal at one provider.
type history struct {
	testing.TB
	Fixture
	rng  *rand.Rand
	ends *Ends
	line *unreliable
	wire *wire // in front of it
	out  Output

	provider providers.Charger
	made     map[string]charge.ID    // whose code was shown, by the provider's id
	paid     map[string]money.Amount // of those, what we know of
}

// start makes the adapter of a new process.
func (h *history) start() {
	p, err := h.New("http://provider.test", h.wire, h.out.Logger())
	if err != nil {
		h.Fatal(err)
	}
	h.provider = p
}

func (h *history) trouble(rules ...simkit.Rule) {
	if err := h.Simulator.Script().Set(rules...); err != nil {
		h.Fatal(err)
	}
}

// told writes down what comes out of an adapter besides its log.
func (h *history) told(a providers.Charge, err error) {
	a.BRCode = "" // names the payee, and is shown
	h.out.Note(a, err)
}

// get asks for a charge.
func (h *history) get(ref providers.Ref) (providers.Charge, error) {
	a, err := h.provider.(providers.StatusReader).GetCharge(h.Context(), ref)
	h.told(a, err)
	return a, err
}

// charge makes one charge and follows it to its end.
func (h *history) charge(n int, amount money.Amount) {
	in := h.Intent(n, amount)
	c, token := h.create(in)
	if c.State.Open() {
		c = h.follow(c, token)
	}
	h.ends.States[c.State]++
	h.out.Note(c)
}

// record adds facts to a charge.
func (h *history) record(c charge.Charge, facts []charge.Fact) charge.Charge {
	for _, f := range facts {
		var err error
		if c, err = c.Apply(f); err != nil {
			h.Fatal(err)
		}
	}
	return c
}

// create makes attempts until a code is there or the charge has failed.
func (h *history) create(in providers.Intent) (charge.Charge, redact.Secret) {
	caps := h.provider.Caps()
	c := h.record(charge.Charge{}, []charge.Fact{charge.CreatedFact{Charge: charge.ID(in.ID), Route: h.provider.Name(), Amount: in.Amount, Expiry: 600}})
	next := charge.Retry
	for asked := 0; c.State == charge.Created; {
		var facts []charge.Fact
		last, _ := c.Last()
		in.Attempt = last.N
		switch {
		case next == charge.LookUp:
			if asked++; asked == 20 {
				h.calm()
			}
			a, err := h.get(providers.Ref{Charge: in.ID, Attempt: last.N})
			e, _ := errors.AsType[*providers.Error](err)
			switch {
			case err == nil && (a.BRCode != "" || caps.Codeless):
				facts, next = c.Answer(last.N, a, nil, "hash", caps)
				h.shown(c, a)
			case err == nil || e.Kind == providers.NotFound:
				facts, next = c.Absent(last.N)
			default:
				time.Sleep(time.Minute)
			}
		case last.State != charge.Sending:
			time.Sleep(5 * time.Second)
			facts = []charge.Fact{charge.AttemptFact{Charge: c.ID, N: last.N + 1, State: charge.Sending}}
		default:
			a, err := h.provider.CreateCharge(h.Context(), in)
			h.told(a, err)
			if h.rng.IntN(5) == 0 { // killed with the answer in hand
				h.start()
				facts, next = c.Interrupted(caps)
				break
			}
			facts, next = c.Answer(last.N, a, err, "hash", caps)
			if err == nil {
				h.shown(c, a)
				return h.record(c, facts), a.Token
			}
		}
		c = h.record(c, facts)
	}
	return c, ""
}

// shown notes whose charge it is that a payer sees.
func (h *history) shown(c charge.Charge, a providers.Charge) {
	if owner, taken := h.made[a.ProviderID]; taken {
		h.Errorf("charges %s and %s are both %s", owner, c.ID, a.ProviderID)
	}
	h.made[a.ProviderID] = c.ID
}

// calm ends the trouble.
func (h *history) calm() {
	h.trouble()
	h.line.set(0)
}

// follow asks for a charge that its payer sees, in time or late or never paid, until
// it can be known what became of it.
func (h *history) follow(c charge.Charge, token redact.Secret) charge.Charge {
	const over = 6 // the question from which on there is no trouble
	accepted, _ := c.Accepted()
	ref := providers.Ref{Charge: string(c.ID), Attempt: accepted.N, ProviderID: accepted.ProviderID, Token: token}
	pays := h.rng.IntN(2 * over) // the question before which the payer pays
	if h.rng.IntN(3) == 0 {
		pays = -1
	}
	for asked := range 100 {
		if asked == pays {
			if err := h.Simulator.Pay(accepted.ProviderID); err != nil {
				h.Fatal(err)
			}
		}
		if r, ok := h.Simulator.(interface{ RevokeTokens() error }); ok && h.rng.IntN(12) == 0 {
			if err := r.RevokeTokens(); err != nil {
				h.Fatal(err)
			}
		}
		if asked == over {
			h.calm()
		}
		a, err := h.get(ref)
		switch killed := h.rng.IntN(12) == 0; {
		case killed: // with the answer in hand
			h.start()
		case err == nil:
			c = h.record(c, c.Observe(accepted.N, a, ""))
		}
		if asked > pays && (c.State == charge.Paid || asked > over+1 && err == nil && a.Status != providers.StatusPaid) {
			break
		}
		time.Sleep(2 * time.Minute)
	}
	if p, ok := c.Settling(); ok {
		h.paid[accepted.ProviderID] = p.Amount
	}
	return c
}

// compare holds what we know against the provider's own ledger, and looks for
// secrets in everything that was told.
func (h *history) compare() {
	again := map[string]bool{}
	for _, line := range h.Simulator.Charges() {
		amount, paid := h.paid[line.ID]
		if paid != (line.Status == providers.StatusPaid) || paid && amount != line.Amount {
			h.Errorf("the provider has %+v, and we have %s (paid: %v)", line, amount, paid)
		}
		if _, ours := h.made[line.ID]; !ours {
			h.ends.Orphans++
		}
		if h.provider.Caps().Idempotent && line.ExternalID != "" {
			if again[line.ExternalID] {
				h.Errorf("two charges under id %s", line.ExternalID)
			}
			again[line.ExternalID] = true
		}
		delete(h.made, line.ID)
	}
	for id, c := range h.made {
		h.Errorf("the provider has no %q, which charge %s is said to be", id, c)
	}
	h.out.Check(h, append(h.wire.tokens(), h.Canaries...)...)
}
