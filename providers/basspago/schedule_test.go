package basspago

import (
	"math/rand/v2"
	"testing"

	"github.com/ssg-safe/agent/charge"
	"github.com/ssg-safe/agent/providers"
	"github.com/ssg-safe/agent/providers/basspago/basspagosim"
	"github.com/ssg-safe/agent/providers/providertest"
	"github.com/ssg-safe/agent/providers/simkit"
)

// TestChargeSchedules: charges under random faults and kills, with every webhook
// lost. What became of a create whose answer was lost is found in the list.
func TestChargeSchedules(t *testing.T) {
	ends := map[charge.State]int{}
	orphans, filters := 0, []string{basspagosim.FrameworkFilters, basspagosim.DocumentFilters, basspagosim.NoFilters}
	n := providertest.Schedules(t, func(t *testing.T, seed uint64) {
		rng := rand.New(rand.NewPCG(seed, 3))
		c, sim, _, _ := tapped(t, basspagosim.Options{Seed: seed, ErrorsUnder200: rng.IntN(2) == 0, Filters: filters[rng.IntN(3)]}, nil)
		trouble := []simkit.Rule{
			{Route: "create", Fault: simkit.DropBefore, Chance: 0.2},
			{Route: "create", Fault: simkit.DropAfter, Chance: 0.3},
			{Route: "create", Fault: simkit.ErrorAfter, Arg: "503", Chance: 0.2},
			{Route: "create", Fault: simkit.HTTP, Arg: "422", Chance: 0.1},
			{Route: "create", Fault: simkit.Truncate, Chance: 0.1},
			{Route: "create", Fault: simkit.Latency, Arg: "1s..40s", Chance: 0.3},
			{Route: "status", Fault: simkit.Truncate, Chance: 0.2},
			{Route: "status", Fault: simkit.HTTP, Arg: "500", Chance: 0.3},
			{Route: "status", Fault: simkit.Echo, Chance: 0.2},
			{Route: "status", Fault: simkit.Word, Arg: "PAGO", Chance: 0.2},
			{Route: "status", Fault: basspagosim.PaymentNull, Chance: 0.2},
			{Route: "list", Fault: simkit.HTTP, Arg: "500", Chance: 0.3},
			{Route: "list", Fault: simkit.HTML, Chance: 0.1},
			{Route: "list", Fault: basspagosim.Drift, Chance: 0.3},
		}
		rng.Shuffle(len(trouble), func(i, j int) { trouble[i], trouble[j] = trouble[j], trouble[i] })
		faults(t, sim, trouble[:rng.IntN(len(trouble)+1)]...)
		providertest.LiveThroughCharges(t, rng, sim, func() providers.Charger { return c }, intent, ends)
		orphans += max(0, len(sim.Charges())-2)
	})
	t.Log(ends, orphans)
	if n >= 500 && (ends[charge.Paid] == 0 || ends[charge.Failed] == 0) {
		t.Errorf("every schedule ended alike: %v, %d orphans", ends, orphans)
	}
}
