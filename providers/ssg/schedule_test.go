package ssg

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/ssg-safe/agent/charge"
	"github.com/ssg-safe/agent/providers/providertest"
	"github.com/ssg-safe/agent/providers/simkit"
	"github.com/ssg-safe/agent/providers/ssg/ssgsim"
)

// TestChargeSchedules: charges under random faults and kills, with tokens that end
// early. There is no webhook to lose, nothing can be looked up, and lost answers
// leave orphans, beside which the charge is made again.
func TestChargeSchedules(t *testing.T) {
	n, ends := providertest.ChargeSchedules(t, func(tb testing.TB, rng *rand.Rand) providertest.Fixture {
		f := fixture(tb)
		f.Simulator = newSim(tb, ssgsim.Options{
			Seed: rng.Uint64(), Strict: rng.IntN(2) == 0, TokenLife: time.Duration(30+rng.IntN(3600)) * time.Second,
		})
		return f
	},
		simkit.Rule{Route: "create", Fault: simkit.Code, Arg: "amount", Chance: 0.1},
		simkit.Rule{Route: "status", Fault: simkit.Echo, Chance: 0.2},
		simkit.Rule{Route: "status", Fault: simkit.Word, Arg: "LIQUIDADO", Chance: 0.2},
		simkit.Rule{Route: "status", Fault: simkit.HTTP, Arg: "401", Chance: 0.1},
	)
	if n >= 500 && (ends.States[charge.Paid] == 0 || ends.States[charge.Expired] == 0 || ends.States[charge.Failed] == 0 || ends.Orphans == 0) {
		t.Errorf("every schedule ended alike: %+v", ends)
	}
}
