package terminal_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/ssg-safe/agent/charge"
	"github.com/ssg-safe/agent/providers"
	"github.com/ssg-safe/agent/queue"
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
