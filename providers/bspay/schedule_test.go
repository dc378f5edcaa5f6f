package bspay

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/ssg-safe/agent/charge"
	"github.com/ssg-safe/agent/payout"
	"github.com/ssg-safe/agent/providers"
	"github.com/ssg-safe/agent/providers/bspay/bspaysim"
	"github.com/ssg-safe/agent/providers/providertest"
	"github.com/ssg-safe/agent/providers/simkit"
	"github.com/ssg-safe/agent/redact"
)

// TestPayoutSchedules: payouts under random faults of the provider and kills of
// the hub end as the provider's ledger says, and none leaves twice.
func TestPayoutSchedules(t *testing.T) {
	ends := map[payout.State]int{}
	n := providertest.Schedules(t, func(t *testing.T, seed uint64) { ends[payoutSchedule(t, seed)]++ })
	t.Log(ends)
	if n >= 500 && (ends[payout.Settled] == 0 || ends[payout.Failed] == 0) {
		t.Errorf("every schedule ended alike: %v", ends)
	}
}

// payoutSchedule runs one history and returns its end.
func payoutSchedule(t *testing.T, seed uint64) payout.State {
	rng := rand.New(rand.NewPCG(seed, 1))
	sim := newSim(t, bspaysim.Options{
		Seed: seed, Balance: 100000, SettleAfter: time.Duration(rng.IntN(60)) * time.Second,
		Conflict: rng.IntN(2) == 0, IgnoreFilters: rng.IntN(2) == 0, BareRows: true,
	})
	trouble := []simkit.Rule{
		{Route: "cashout", Fault: simkit.DropBefore, Chance: 0.2},
		{Route: "cashout", Fault: simkit.DropAfter, Chance: 0.3},
		{Route: "cashout", Fault: simkit.ErrorAfter, Arg: "503", Chance: 0.2},
		{Route: "cashout", Fault: simkit.Rate, Arg: "2s", Chance: 0.2},
		{Route: "cashout", Fault: simkit.Latency, Arg: "1s..40s", Chance: 0.3},
		{Route: "cashout", Fault: bspaysim.Refuse, Arg: "409:REPLAY_DETECTED", Chance: 0.2},
		{Route: "status", Fault: simkit.Truncate, Chance: 0.2},
		{Route: "status", Fault: simkit.HTTP, Arg: "500", Chance: 0.3},
		{Route: "status", Fault: bspaysim.Drift, Chance: 0.5},
		{Route: "token", Fault: simkit.HTTP, Arg: "503", Chance: 0.2},
	}
	rng.Shuffle(len(trouble), func(i, j int) { trouble[i], trouble[j] = trouble[j], trouble[i] })
	faults(t, sim, trouble[:rng.IntN(len(trouble)+1)]...)
	var out providertest.Output
	client := func() *Client {
		c, err := New(config(), providers.Memory(sim), out.Logger())
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	key := redact.Text("12345678909")
	if rng.IntN(4) == 0 {
		key = "nobody@example.com"
	}
	h, c := providertest.Propose(t, Name, 1, 12345, key, true), client()
	for step := 0; !h.Payout.State.Over(); step++ {
		if step == 60 {
			faults(t, sim) // the trouble is over
		}
		if step == 400 {
			t.Fatalf("after %d steps it is still %+v", step, h.Payout)
		}
		again := h.Payout.State == payout.Unknown && h.Payout.Absent >= payout.AbsentAnswers
		if h.Payout.State == payout.Proposed || h.Payout.State == payout.Approved || again {
			o, err := h.Submit()
			if err != nil {
				t.Fatal(err)
			}
			killed := rng.IntN(6)
			if killed == 0 {
				h.Crash() // before the socket was written
				c = client()
				continue
			}
			a, err := c.SubmitPayout(t.Context(), o)
			out.Note(a, err)
			if killed == 1 {
				h.Crash() // with the answer in hand
				c = client()
				continue
			}
			h.Commit(h.Payout.Submitted(o, a, err))
			continue
		}
		time.Sleep(time.Duration(1+rng.IntN(40)) * time.Second)
		h.Ask(c)
	}
	out.Note(h.Disk)
	out.Check(t, secret, signingKey, "12345678909", "nobody@example.com")
	lines := sim.Payouts()
	switch {
	case len(lines) > 1:
		t.Errorf("the provider paid %d times", len(lines))
	case h.Payout.Odd:
		t.Errorf("a contradiction: %+v", h.Payout)
	case h.Payout.State == payout.Settled && (len(lines) != 1 || lines[0].Status != providers.StatusPaid || lines[0].Amount != 12345):
		t.Errorf("settled, and the provider has %+v", lines)
	case h.Payout.State == payout.Failed && len(lines) == 1 && lines[0].Status != providers.StatusFailed:
		t.Errorf("failed (%s), and the provider has %+v", h.Payout.Reason, lines)
	}
	if folded, err := payout.Fold(h.Disk); err != nil || !slices.Equal(folded.ApprovedBy, h.Payout.ApprovedBy) || folded.State != h.Payout.State {
		t.Errorf("memory is not what the disk says: %v", err)
	}
	return h.Payout.State
}

// TestChargeSchedules: charges under random faults and kills of the terminal, with
// every webhook lost. There is one charge at the provider for each of ours, each
// that was paid is known to be, and the sums agree.
func TestChargeSchedules(t *testing.T) {
	n, ends := providertest.ChargeSchedules(t, func(tb testing.TB, rng *rand.Rand) providertest.Fixture {
		return fixture(bspaysim.Options{Seed: rng.Uint64(), Conflict: rng.IntN(3) == 0, IgnoreFilters: rng.IntN(3) == 0})(tb)
	},
		simkit.Rule{Route: "create", Fault: bspaysim.Refuse, Arg: "409:REPLAY_DETECTED", Chance: 0.2},
		simkit.Rule{Route: "status", Fault: bspaysim.Drift, Chance: 0.5},
	)
	if n >= 500 && (ends.States[charge.Paid] == 0 || ends.States[charge.Expired] == 0) {
		t.Errorf("every schedule ended alike: %+v", ends)
	}
}
