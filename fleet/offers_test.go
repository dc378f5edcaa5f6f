package fleet_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/ssg-safe/agent/fleet"
	"github.com/ssg-safe/agent/ledger"
)

// TestOffers: what belongs to a proposal is sent when the hub holds its entry, and not
// before; again after each connection, ever less often; and no more when it is taken.
func TestOffers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 3)
		r.hub.set(func(h *hubDouble) { h.frozen = true })
		r.terminal.set(func(f *fakeTerminal) {
			f.offers = []fleet.Offer{{ID: "P1", At: ledger.Position{Epoch: 1, Seq: 3}, Sealed: []byte("sealed")}}
		})
		link := r.start()
		after(time.Minute)
		if got := r.hub.came().offered; len(got) != 0 {
			t.Fatalf("offered before the hub holds its entry: %+v", got)
		}
		r.hub.set(func(h *hubDouble) { h.frozen = false })
		link.Wake()
		after(5 * time.Minute)
		got := r.hub.came().offered
		if len(got) == 0 || got[0].Proposal != "P1" || string(got[0].Sealed) != "sealed" {
			t.Fatalf("offered %+v", got)
		}
		after(15 * time.Minute)
		before := len(r.hub.came().offered)
		after(time.Hour)
		if n := len(r.hub.came().offered) - before; n < 11 || n > 13 {
			t.Errorf("offered %d times in an hour", n)
		}
		r.terminal.set(func(f *fakeTerminal) {
			f.offers = []fleet.Offer{{ID: "P2", At: ledger.Position{Epoch: 1, Seq: 3}}, {ID: "P3", At: ledger.Position{Epoch: 1, Seq: 9}}}
		})
		link.Wake()
		after(time.Second)
		got = r.hub.came().offered
		if last := got[len(got)-1]; last.Proposal != "P2" || last.Sealed != nil {
			t.Errorf("offered %+v", last)
		}
		r.terminal.set(func(f *fakeTerminal) { f.offers = nil })
		link.Wake()
		after(10 * time.Second) // one may be under way
		before = len(r.hub.came().offered)
		after(time.Hour)
		if n := len(r.hub.came().offered) - before; n != 0 {
			t.Errorf("offered %d times when it was taken", n)
		}
	})
}
