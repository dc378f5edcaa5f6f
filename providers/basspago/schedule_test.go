package basspago

import (
	"math/rand/v2"
	"testing"

	"github.com/ssg-safe/agent/charge"
	"github.com/ssg-safe/agent/providers/basspago/basspagosim"
	"github.com/ssg-safe/agent/providers/providertest"
	"github.com/ssg-safe/agent/providers/simkit"
)

// TestChargeSchedules: charges under random faults and kills, with every webhook
// lost. What became of a create whose answer was lost is found in the list.
func TestChargeSchedules(t *testing.T) {
	filters := []string{basspagosim.FrameworkFilters, basspagosim.DocumentFilters, basspagosim.NoFilters}
	n, ends := providertest.ChargeSchedules(t, func(tb testing.TB, rng *rand.Rand) providertest.Fixture {
		return fixture(basspagosim.Options{Seed: rng.Uint64(), ErrorsUnder200: rng.IntN(2) == 0, Filters: filters[rng.IntN(3)]}, nil)(tb)
	},
		simkit.Rule{Route: "create", Fault: simkit.HTTP, Arg: "422", Chance: 0.1},
		simkit.Rule{Route: "status", Fault: simkit.Echo, Chance: 0.2},
		simkit.Rule{Route: "status", Fault: simkit.Word, Arg: "PAGO", Chance: 0.2},
		simkit.Rule{Route: "status", Fault: basspagosim.PaymentNull, Chance: 0.2},
		simkit.Rule{Route: "list", Fault: simkit.HTTP, Arg: "500", Chance: 0.3},
		simkit.Rule{Route: "list", Fault: simkit.HTML, Chance: 0.1},
		simkit.Rule{Route: "list", Fault: basspagosim.Drift, Chance: 0.3},
		simkit.Rule{Route: "list", Fault: basspagosim.Skip, Chance: 0.3},
	)
	if n >= 500 && (ends.States[charge.Paid] == 0 || ends.States[charge.Failed] == 0) {
		t.Errorf("every schedule ended alike: %+v", ends)
	}
}
