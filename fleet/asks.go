package fleet

import (
	"slices"
	"time"

	"github.com/ssg-safe/agent/fleet/wire"
)

// asks decides when to ask the hub about which open charge: often at first,
// because somebody stands before the screen, then rarely, because a charge that
// waits for days must not use up the SIM.
type asks struct {
	known map[string]asked
}

type asked struct{ first, next time.Time }

// due returns the charges to ask about now, those that wait longest first, and
// when to look again; zero: when charges are opened.
func (a *asks) due(now time.Time, open []string) (charges []string, next time.Time) {
	known := make(map[string]asked, len(open))
	for _, charge := range open {
		if !validCharge(charge) {
			continue
		}
		k, ok := a.known[charge]
		if !ok {
			k = asked{first: now, next: now}
		}
		if _, twice := known[charge]; !twice && !now.Before(k.next) {
			charges = append(charges, charge)
		}
		known[charge] = k
	}
	slices.SortStableFunc(charges, func(x, y string) int { return known[x].next.Compare(known[y].next) })
	charges = charges[:min(len(charges), wire.MaxAsked)]
	for _, charge := range charges {
		k := known[charge]
		wait := askEvery
		if now.Sub(k.first) >= askOften {
			wait = askLater
		}
		k.next = now.Add(wait)
		known[charge] = k
	}
	a.known = known
	if len(known) > 0 {
		next = now.Add(askEvery)
	}
	return charges, next
}
