package bspaybr

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/ssg-safe/agent/charge"
	"github.com/ssg-safe/agent/payout"
	"github.com/ssg-safe/agent/providers"
	"github.com/ssg-safe/agent/providers/bspaybr/bspaybrsim"
	"github.com/ssg-safe/agent/providers/providertest"
	"github.com/ssg-safe/agent/providers/simkit"
	"github.com/ssg-safe/agent/redact"
)

// TestChargeSchedules: charges under random faults and kills, with every webhook
// lost. Lost answers leave orphans, whose codes nobody saw and nobody pays.
func TestChargeSchedules(t *testing.T) {
	n, ends := providertest.ChargeSchedules(t, func(tb testing.TB, rng *rand.Rand) providertest.Fixture {
		return fixture(bspaybrsim.Options{Seed: rng.Uint64(), BlankErrors: rng.IntN(2) == 0}, nil)(tb)
	},
		simkit.Rule{Route: "create", Fault: simkit.Code, Arg: "amount", Chance: 0.1},
		simkit.Rule{Route: "status", Fault: bspaybrsim.Callback, Chance: 0.2},
		simkit.Rule{Route: "status", Fault: simkit.Word, Arg: "PAGO", Chance: 0.2},
	)
	if n >= 500 && (ends.States[charge.Paid] == 0 || ends.States[charge.Failed] == 0 || ends.Orphans == 0) {
		t.Errorf("every schedule ended alike: %+v", ends)
	}
}

// TestPayoutSchedules: payouts under random faults and kills. None leaves twice,
// and none is called settled or failed against what the provider has.
func TestPayoutSchedules(t *testing.T) {
	ends := map[payout.State]int{}
	n := providertest.Schedules(t, func(t *testing.T, seed uint64) { ends[payoutSchedule(t, seed)]++ })
	t.Log(ends)
	if n >= 500 && (ends[payout.Settled] == 0 || ends[payout.Failed] == 0 || ends[payout.Unknown] == 0) {
		t.Errorf("every schedule ended alike: %v", ends)
	}
}

// payoutSchedule runs one history and returns its end.
func payoutSchedule(t *testing.T, seed uint64) payout.State {
	rng := rand.New(rand.NewPCG(seed, 1))
	sim := newSim(t, bspaybrsim.Options{Seed: seed, Balance: 20000, SettleAfter: time.Duration(rng.IntN(60)) * time.Second})
	var out providertest.Output
	c, err := New(config(), providers.Memory(sim), out.Logger())
	if err != nil {
		t.Fatal(err)
	}
	p := payouts(t, c)
	trouble := []simkit.Rule{
		{Route: "payment", Fault: simkit.DropBefore, Chance: 0.2},
		{Route: "payment", Fault: simkit.DropAfter, Chance: 0.3},
		{Route: "payment", Fault: simkit.ErrorAfter, Arg: "503", Chance: 0.2},
		{Route: "payment", Fault: simkit.Rate, Arg: "2s", Chance: 0.2},
		{Route: "payment", Fault: simkit.Latency, Arg: "1s..40s", Chance: 0.3},
		{Route: "payment", Fault: bspaybrsim.Inner, Arg: "403", Chance: 0.1},
		{Route: "status", Fault: simkit.Truncate, Chance: 0.2},
		{Route: "status", Fault: simkit.HTTP, Arg: "500", Chance: 0.3},
		{Route: "status", Fault: bspaybrsim.Callback, Chance: 0.2},
	}
	rng.Shuffle(len(trouble), func(i, j int) { trouble[i], trouble[j] = trouble[j], trouble[i] })
	faults(t, sim, trouble[:rng.IntN(len(trouble)+1)]...)
	key := redact.Text("12345678909")
	if rng.IntN(4) == 0 {
		key = "nobody@example.com"
	}
	h := propose(t, 1, 12345, key)
	after := 0 // its end: asked some more, for a contradiction
	for range 60 {
		if h.Payout.State.Over() {
			if after++; after == 6 {
				break
			}
		}
		if h.Payout.State == payout.Proposed || h.Payout.State == payout.Approved {
			o, err := h.Submit()
			if err != nil {
				t.Fatal(err)
			}
			killed := rng.IntN(6)
			if killed == 0 {
				h.Crash() // before the socket was written
				continue
			}
			a, err := p.SubmitPayout(t.Context(), o)
			out.Note(a, err)
			if killed == 1 {
				h.Crash() // with the answer in hand
				continue
			}
			h.Commit(h.Payout.Submitted(o, a, err))
			continue
		}
		time.Sleep(time.Duration(1+rng.IntN(40)) * time.Second)
		// A webhook may come, or a forged one that names another transaction.
		for _, line := range sim.Payouts() {
			a, err := p.FindPayout(t.Context(), payout.Ref{ID: h.Payout.ID, ProviderID: line.ID})
			out.Note(a, err)
			if err == nil {
				h.Commit(h.Payout.Observe(a))
			}
		}
	}
	out.Note(h.Disk)
	out.Check(t, secret, callbackKey, "12345678909", "nobody@example.com")
	lines := sim.Payouts()
	switch {
	case len(lines) > 1:
		t.Errorf("the provider paid %d times", len(lines))
	case h.Payout.Odd:
		t.Errorf("a contradiction: %+v", h.Payout)
	case h.Payout.State == payout.Settled && (len(lines) != 1 || lines[0].Status != providers.StatusPaid || lines[0].Amount != 12345):
		t.Errorf("settled, and the provider has %+v", lines)
	case h.Payout.State == payout.Failed && len(lines) == 1 && lines[0].Status != providers.StatusCancelled:
		t.Errorf("failed (%s), and the provider has %+v", h.Payout.Reason, lines)
	case h.Payout.State == payout.Unknown && len(lines) == 1:
		t.Errorf("the provider has %+v, which was asked about, and it is still unknown", lines)
	}
	return h.Payout.State
}
