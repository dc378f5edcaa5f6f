package terminal_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/ssg-safe/agent/display"
	"github.com/ssg-safe/agent/printer"
	"github.com/ssg-safe/agent/providers"
	"github.com/ssg-safe/agent/queue"
	"github.com/ssg-safe/agent/terminal"
)

// TestEffectsRestOnCommits looks into the store at the moment of every effect
// and every claim, with commits so slow that whoever does not wait is ahead of
// them. A kill hits that gap once in a thousand times; this always does.
func TestEffectsRestOnCommits(t *testing.T) {
	bubble(t, func(r *rig) {
		r.stop()
		r.commit = func(tx *bbolt.Tx) error {
			time.Sleep(700 * time.Millisecond)
			return tx.Commit()
		}
		looked := map[string]int{}
		rests := func(what string, on ...string) {
			kinds := r.kinds()
			looked[what]++
			for _, kind := range on {
				if !slices.Contains(kinds, kind) {
					r.Errorf("%s, and %s is not on disk, only %v", what, kind, kinds)
				}
			}
		}
		r.route.create = func(ctx context.Context, in providers.Intent) (providers.Charge, error) {
			rests("the provider is asked", "charge.created")
			return r.route.accept(ctx, in)
		}
		r.screen.check = func(v display.View) {
			switch v.State {
			case display.QR:
				rests("the code is shown", "charge.attempt")
			case display.Paid:
				rests("PAGO is shown", "charge.paid")
			}
		}
		r.told = func(e terminal.Event) {
			switch e.Kind {
			case terminal.ChargeCreated:
				rests("the charge is told of", "charge.created", "charge.attempt")
			case terminal.ChargePaid:
				rests("the payment is told of", "charge.paid")
			case terminal.SlipPrinted:
				rests("the slip is told of", "slip.issued", "slip.printed")
			}
		}
		r.printer.result = func(j printer.Job) printer.Result {
			rests("bytes go to the printer", "slip.issued")
			if jobs := r.jobs(queue.List); len(jobs) != 1 || jobs[0].State != "started" {
				r.Errorf("slip %s is printed while the queue has %+v", j.ID, jobs)
			}
			return printer.Result{Outcome: printer.Confirmed, Accepted: len(j.Bytes), Tier: printer.TierA}
		}
		r.start()
		r.keys("1234E")
		r.pass(10 * time.Second)
		r.route.pays(1234, "E1")
		r.pass(10 * time.Second)
		want := map[string]int{
			"the provider is asked": 1, "the code is shown": 1, "PAGO is shown": 1, "the charge is told of": 1,
			"the payment is told of": 1, "the slip is told of": 2, "bytes go to the printer": 2,
		}
		for what, n := range want {
			if looked[what] < n {
				r.Errorf("%s: seen %d times, want %d", what, looked[what], n)
			}
		}
	})
}
