package bacen

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ssg-safe/agent/charge"
	"github.com/ssg-safe/agent/money"
	"github.com/ssg-safe/agent/pix"
	"github.com/ssg-safe/agent/providers"
	"github.com/ssg-safe/agent/providers/bacen/bacensim"
	"github.com/ssg-safe/agent/providers/providertest"
	"github.com/ssg-safe/agent/providers/simkit"
)

// finder is what a history of codes made here needs of a client.
type finder interface {
	providers.Charger
	providers.StaticFinder
}

// staticHistory is a terminal whose bank cannot be reached when charges are made, and
// misbehaves when their payments are looked for.
type staticHistory struct {
	rng    *rand.Rand
	sim    *bacensim.Sim
	out    providertest.Output
	client finder
	start  func() finder // the client of a new process

	charges []charge.Charge
	codes   []string
	late    int // charges whose money was found after their end
}

// TestStaticSchedules: what codes made here bring in, in time, late, twice or of
// another amount, is found under random faults and kills, to the centavo, in lists
// that move and are full of other people's money.
func TestStaticSchedules(t *testing.T) {
	ends, late := map[charge.State]int{}, 0
	n := providertest.Schedules(t, func(t *testing.T, seed uint64) {
		h := newStaticHistory(t, seed, nil)
		if err := h.run(t); err != nil {
			t.Error(err)
		}
		h.out.Check(t, secret, "12345678909", "Quaresma")
		for _, c := range h.charges {
			ends[c.State]++
		}
		late += h.late
	})
	t.Log(ends, late)
	if n >= 500 && (ends[charge.Paid] == 0 || ends[charge.Expired] == 0 || late == 0) {
		t.Errorf("every schedule ended alike: %v, %d late", ends, late)
	}
}

func newStaticHistory(t *testing.T, seed uint64, change func(*Client) finder) *staticHistory {
	h := &staticHistory{rng: rand.New(rand.NewPCG(seed, 4))}
	h.sim = newSim(t, bacensim.Options{
		Seed: seed, TokenLife: time.Duration(30+h.rng.IntN(3600)) * time.Second, Modes: bacensim.Modes{IgnoreTxID: h.rng.IntN(2) == 0},
	})
	cfg := config(t)
	cfg.Profile.PageSize, cfg.Profile.MaxWindow = 2+h.rng.IntN(4), Duration(time.Duration(12+h.rng.IntN(36))*time.Hour)
	h.start = func() finder {
		c, err := New(cfg, providers.Memory(h.sim), h.out.Logger())
		if err != nil {
			t.Fatal(err)
		}
		if change != nil {
			return change(c)
		}
		return c
	}
	h.client = h.start()
	return h
}

// run lives through the history and returns what is wrong with its end.
func (h *staticHistory) run(t *testing.T) error {
	for n := range 1 + h.rng.IntN(3) {
		if err := h.make(t, n); err != nil {
			return err
		}
	}
	if err := h.trouble(); err != nil {
		return err
	}
	const over = 8
	for step := range over + 4 {
		if step == over {
			if err := h.sim.Script().Set(); err != nil {
				return err
			}
		}
		if err := h.people(); err != nil {
			return err
		}
		time.Sleep(time.Duration(1+h.rng.IntN(3600)) * time.Second)
		for i := range h.charges {
			if step == over/2 && h.rng.IntN(2) == 0 && h.charges[i].State == charge.Pending {
				if err := h.record(i, charge.EndedFact{Charge: h.charges[i].ID, State: charge.Expired, Reason: "not_found"}); err != nil {
					return err
				}
			}
			h.sought(t, i) // or not
		}
	}
	time.Sleep(2 * time.Second) // what came in the last second is in the next search
	for i := range h.charges {
		for !h.sought(t, i) { // killed again
		}
	}
	return h.compare()
}

// make makes a charge, whose dynamic attempt is lost on the way, or is not even sent.
func (h *staticHistory) make(t *testing.T, n int) error {
	in := intent(n, money.Amount(1000+n))
	h.charges = append(h.charges, charge.Charge{})
	facts := []charge.Fact{charge.CreatedFact{Charge: charge.ID(in.ID), Route: Name, Amount: in.Amount, Expiry: 600}}
	if h.rng.IntN(2) == 0 {
		if _, err := h.client.CreateCharge(t.Context(), in); err != nil { // nobody hears of it
			return err
		}
		facts = append(facts, charge.AttemptFact{Charge: charge.ID(in.ID), N: 1, State: charge.Uncertain, Reason: providers.Ambiguous.String()})
	}
	if err := h.record(n, facts...); err != nil {
		return err
	}
	code, err := pix.Static{Key: key, Name: "Loja", City: "Recife", Amount: in.Amount, TxID: in.ID}.Encode()
	if err != nil {
		return err
	}
	h.codes = append(h.codes, code)
	return h.record(n, h.charges[n].Offline(time.Now(), providers.NotSent.String(), charge.Route{Provider: Name})...)
}

func (h *staticHistory) record(i int, facts ...charge.Fact) error {
	for _, f := range facts {
		next, err := h.charges[i].Apply(f)
		if err != nil {
			return err
		}
		h.charges[i] = next
		if p, ok := f.(charge.PaidFact); ok && p.Late {
			h.late++
		}
	}
	return nil
}

func (h *staticHistory) trouble() error {
	rules := []simkit.Rule{
		{Route: "pix", Fault: simkit.DropBefore, Chance: 0.2},
		{Route: "pix", Fault: simkit.Truncate, Chance: 0.2},
		{Route: "pix", Fault: simkit.HTTP, Arg: "500", Chance: 0.3},
		{Route: "pix", Fault: simkit.HTTP, Arg: "401", Chance: 0.1},
		{Route: "pix", Fault: simkit.Rate, Arg: "2s", Chance: 0.2},
		{Route: "pix", Fault: simkit.HTML, Chance: 0.1},
		{Route: "pix", Fault: simkit.Latency, Arg: "1s..40s", Chance: 0.1},
		{Route: "pix", Fault: bacensim.Drift, Chance: 0.4},
		{Route: "pix", Fault: bacensim.Skip, Chance: 0.4},
		{Route: "token", Fault: simkit.HTTP, Arg: "503", Chance: 0.2},
	}
	h.rng.Shuffle(len(rules), func(i, j int) { rules[i], rules[j] = rules[j], rules[i] })
	return h.sim.Script().Set(rules[:h.rng.IntN(len(rules)/2+1)]...)
}

// people pay what they were shown, sometimes again, sometimes something else; other
// people pay for other things.
func (h *staticHistory) people() error {
	for i, code := range h.codes {
		var err error
		switch h.rng.IntN(15) {
		case 0:
			err = h.sim.PayCode(code)
		case 1:
			if h.rng.IntN(4) == 0 {
				err = h.sim.Receive(string(h.charges[i].ID), h.charges[i].Amount-1)
			}
		case 2:
			err = h.sim.Receive("OUTRA", h.charges[i].Amount)
		case 3:
			err = h.sim.RevokeTokens()
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// sought is one search, and reports whether everything found was recorded. A kill
// leaves what was recorded before it.
func (h *staticHistory) sought(t *testing.T, i int) bool {
	a, _ := h.charges[i].Static()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	found, err := h.client.FindStatic(ctx, a.ProviderID, a.At.Add(-24*time.Hour), time.Now())
	h.out.Note(found, err)
	if err != nil {
		return false
	}
	for _, p := range found {
		if h.rng.IntN(10) == 0 {
			h.client = h.start()
			return false
		}
		if f := h.charges[i].Credit(h.charges[i].FromPayment(a.N, p)); f != nil {
			if err := h.record(i, f); err != nil {
				t.Fatal(err)
			}
		}
	}
	return true
}

// compare holds the payments of each charge against what the bank received for it.
func (h *staticHistory) compare() error {
	theirs, ours := map[string]money.Amount{}, map[string]money.Amount{}
	var errs []error
	for _, p := range h.sim.Received() {
		if p.TxID != "OUTRA" {
			theirs[p.TxID+" "+p.EndToEnd] = p.Amount
		}
	}
	for _, c := range h.charges {
		whole := false
		for _, p := range c.Payments {
			ours[string(c.ID)+" "+p.Evidence.EndToEnd] += p.Amount
			whole = whole || !p.Mismatch
		}
		if whole != (c.State == charge.Paid) {
			errs = append(errs, fmt.Errorf("%s is %s, with %+v", c.ID, c.State, c.Payments))
		}
		h.out.Note(c)
	}
	for _, line := range h.sim.Charges() {
		if line.Status == providers.StatusPaid {
			errs = append(errs, fmt.Errorf("somebody paid %+v, which nobody saw", line))
		}
	}
	for id, amount := range theirs {
		if ours[id] != amount {
			errs = append(errs, fmt.Errorf("the bank received %s as %s, and we have %s", amount, id, ours[id]))
		}
	}
	for id, amount := range ours {
		if _, ok := theirs[id]; !ok {
			errs = append(errs, fmt.Errorf("we have %s as %s, which the bank did not receive", amount, id))
		}
	}
	return errors.Join(errs...)
}

// finding overrides the search of a client.
type finding struct {
	*Client
	find func(c *Client, ctx context.Context, txid string, from, to time.Time) ([]providers.Payment, error)
}

func (f finding) FindStatic(ctx context.Context, txid string, from, to time.Time) ([]providers.Payment, error) {
	return f.find(f.Client, ctx, txid, from, to)
}

// TestStaticScheduleMutants: clients that are wrong in one way are found out.
func TestStaticScheduleMutants(t *testing.T) {
	for name, find := range map[string]func(c *Client, ctx context.Context, txid string, from, to time.Time) ([]providers.Payment, error){
		"one payment for a code": func(c *Client, ctx context.Context, txid string, from, to time.Time) ([]providers.Payment, error) {
			found, err := c.FindStatic(ctx, txid, from, to)
			return found[:min(1, len(found))], err
		},
		"any payment will do": func(c *Client, ctx context.Context, txid string, from, to time.Time) (found []providers.Payment, err error) {
			for row, err := range c.Transactions(ctx, providers.TransactionQuery{From: from, To: to}) {
				if err != nil {
					return nil, err
				}
				found = append(found, providers.Payment{EndToEnd: row.EndToEnd, TxID: txid, Amount: *row.Cents, At: row.At, Digest: row.Digest})
			}
			return found, nil
		},
		"yesterday is looked for": func(c *Client, ctx context.Context, txid string, from, to time.Time) ([]providers.Payment, error) {
			return c.FindStatic(ctx, txid, from.Add(-24*time.Hour), to.Add(-24*time.Hour))
		},
		"each search is new money": func(c *Client, ctx context.Context, txid string, from, to time.Time) ([]providers.Payment, error) {
			found, err := c.FindStatic(ctx, txid, from, to)
			for i := range found {
				found[i].EndToEnd += to.String()
			}
			return found, err
		},
		"what was asked for was paid": func(c *Client, ctx context.Context, txid string, from, to time.Time) ([]providers.Payment, error) {
			found, err := c.FindStatic(ctx, txid, from, to)
			for i := range found {
				found[i].Amount = max(found[i].Amount, 1000)
			}
			return found, err
		},
	} {
		t.Run(name, func(t *testing.T) {
			var found error
			for seed := uint64(0); seed < 2000 && found == nil; seed++ {
				synctest.Test(t, func(t *testing.T) {
					found = newStaticHistory(t, seed, func(c *Client) finder { return finding{c, find} }).run(t)
				})
			}
			if found == nil {
				t.Fatal("nothing was noticed in 2,000 histories")
			}
			t.Logf("%.300v", found)
		})
	}
}
