package terminal_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/ssg-safe/agent/charge"
	"github.com/ssg-safe/agent/display"
	"github.com/ssg-safe/agent/providers"
	"github.com/ssg-safe/agent/queue"
	"github.com/ssg-safe/agent/terminal"
)

// The clock of the rig panics when the loop spins.

func TestSlipsWithoutAPrinterDoNotSpin(t *testing.T) {
	bubble(t, func(r *rig) {
		r.printer.ready = errors.New("no paper")
		r.begin()
		r.stop()
		r.printer = nil
		r.start()
		r.pass(time.Minute)
		if jobs := r.jobs(queue.List); len(jobs) != 1 {
			r.Errorf("jobs %+v, want the slip to wait for a printer", jobs)
		}
	})
}

func TestASlowCommitDoesNotSpin(t *testing.T) {
	bubble(t, func(r *rig) {
		r.stop()
		slow := false
		r.commit = func(tx *bbolt.Tx) error {
			if slow {
				time.Sleep(10 * time.Second)
			}
			return tx.Commit()
		}
		r.start()
		r.route.create = func(context.Context, providers.Intent) (providers.Charge, error) {
			slow = true // the outcome, which says when to try again
			return fails(providers.NotSent)(r.Context(), providers.Intent{})
		}
		r.keys("1234E")
		r.pass(3 * time.Second)
		r.keys("C")
		r.pass(20 * time.Second)
		if c := r.fold(charge.ID(r.route.intents[0].ID)); c.State != charge.Cancelled {
			r.Errorf("state %s", c.State)
		}
	})
}

// holds says how many charges are in memory, and how many snapshots on disk.
func (r *rig) holds() (memory, disk int) {
	r.Helper()
	memory, err := r.term.Held(r.Context())
	if err == nil {
		err = r.store.View(func(tx *bbolt.Tx) error {
			return tx.Bucket([]byte("open_charges")).ForEach(func(_, _ []byte) error { disk++; return nil })
		})
	}
	if err != nil {
		r.Fatal(err)
	}
	return memory, disk
}

func TestPaidChargesAreForgotten(t *testing.T) {
	bubble(t, func(r *rig) {
		for range 5 {
			// Each takes the screen from the one before, which says PAGO.
			id, err := r.term.Start(r.Context(), terminal.Request{Amount: 1000, Source: "api", Present: true})
			if err != nil {
				r.Fatal(err)
			}
			r.route.pays(1000, "E"+string(id))
			r.pass(3 * time.Second)
			r.shows(display.Paid)
		}
		if memory, disk := r.holds(); memory > 1 || disk > 2 {
			r.Errorf("%d charges in memory and %d snapshots, want that of the screen (and the one before it on disk)", memory, disk)
		}
	})
}

func TestClosedChargesAreForgottenAgain(t *testing.T) {
	bubble(t, func(r *rig) {
		id := r.begin()
		r.pass(2 * time.Hour) // expired, watched, forgotten
		for _, e2e := range []string{"E1", "E1", "E2", "E2"} {
			if _, err := r.term.Credit(r.Context(), id, fromHub(r, id, 1234, e2e), nil); err != nil {
				r.Fatal(err)
			}
			r.pass(time.Second)
			if memory, _ := r.holds(); memory != 0 {
				r.Errorf("%d charges in memory after %s", memory, e2e)
			}
		}
		if c := r.fold(id); len(c.Payments) != 2 || !c.Payments[1].Extra {
			r.Errorf("payments %+v", c.Payments)
		}
		r.route.answer(providers.StatusExpired)
		r.begin()
		r.pass(2 * time.Hour)
		r.begin()
		if _, disk := r.holds(); disk != 1 {
			r.Errorf("%d snapshots, want that of the open charge", disk)
		}
	})
}

// TestCreditsOfAClosedChargeAtOnce: the ledger is read while another credit of
// the same charge is recorded.
func TestCreditsOfAClosedChargeAtOnce(t *testing.T) {
	bubble(t, func(r *rig) {
		id := r.begin()
		r.pass(2 * time.Hour)
		ev := fromHub(r, id, 1234, "")
		done := make(chan error)
		for _, e2e := range []string{"E1", "E2", "E3", "E1"} {
			go func() {
				ev := ev
				ev.EndToEnd = e2e
				_, err := r.term.Credit(r.Context(), id, ev, nil)
				done <- err
			}()
		}
		for range 4 {
			if err := <-done; err != nil {
				r.Error(err)
			}
		}
		r.pass(time.Second)
		if c := r.fold(id); c.State != charge.Paid || len(c.Payments) != 3 {
			r.Errorf("state %s with payments %+v", c.State, c.Payments)
		}
		if memory, _ := r.holds(); memory != 0 {
			r.Errorf("%d charges in memory", memory)
		}
	})
}
