package terminal_test

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/ssg-safe/agent/display"
	"github.com/ssg-safe/agent/printer"
	"github.com/ssg-safe/agent/queue"
	"github.com/ssg-safe/agent/store"
)

// revive makes dead letters wait again, as `queue retry` does, and restarts.
func (r *rig) revive(dead ...queue.Job) {
	r.Helper()
	if err := r.store.Commit(r.Context(), store.Op{Do: func(tx *bbolt.Tx) error {
		var errs []error
		for _, j := range dead {
			errs = append(errs, queue.Revive(tx, j.ID))
		}
		return errors.Join(errs...)
	}}); err != nil {
		r.Fatal(err)
	}
	r.restart(false)
}

// TestPrinterIsWatched: the screen tells of missing paper, and of the new roll,
// while nobody prints, and a printer that is put right gets its slip soon. The
// disk has no part in it.
func TestPrinterIsWatched(t *testing.T) {
	bubble(t, func(r *rig) {
		printerIs := func(want display.Health) {
			r.Helper()
			if got := r.shows(display.Idle).Status.Printer; got != want {
				r.Errorf("the screen says %v of the printer, want %v", got, want)
			}
		}
		printerIs(display.OK)
		before := len(r.kinds())
		r.printer.set(func(p *paper) { p.ready = &printer.NotReadyError{Reasons: []printer.Reason{printer.PaperOut}} })
		r.pass(31 * time.Second)
		printerIs(display.Down)
		r.printer.set(func(p *paper) { p.ready = nil })
		r.pass(6 * time.Second)
		printerIs(display.OK)
		if after := len(r.kinds()); after != before {
			r.Errorf("watching made %d entries", after-before)
		}

		r.printer.set(func(p *paper) { p.ready = &printer.NotReadyError{Reasons: []printer.Reason{printer.PaperOut}} })
		r.begin()
		r.pass(2 * time.Minute)
		r.printer.set(func(p *paper) { p.ready = nil })
		r.pass(7 * time.Second)
		if len(r.printer.ids()) != 1 {
			r.Errorf("7 s after the paper came %d slips are printed, want 1", len(r.printer.ids()))
		}
	})
}

// TestPaidWhileThePrinterIsAsked: the payer paid from the screen while the
// printer took its time to say that it is ready.
func TestPaidWhileThePrinterIsAsked(t *testing.T) {
	bubble(t, func(r *rig) {
		asked := 0
		r.printer.set(func(p *paper) {
			p.wait = func(context.Context) {
				if asked++; asked == 1 {
					time.Sleep(4 * time.Second)
				}
			}
		})
		r.route.pays(1234, "E1")
		r.begin()
		r.pass(10 * time.Second)
		kinds := r.kinds()
		if i := slices.Index(kinds, "slip.dropped"); i < 0 || len(r.printer.ids()) != 1 {
			r.Errorf("printed %v, want the receipt alone; ledger %v", r.printer.ids(), kinds)
		}
	})
}

// TestPaidWhileThePrintIsRecorded: the commit of the payment is ahead of that
// of the print.
func TestPaidWhileThePrintIsRecorded(t *testing.T) {
	bubble(t, func(r *rig) {
		r.stop()
		var slow atomic.Bool
		r.commit = func(tx *bbolt.Tx) error {
			if slow.CompareAndSwap(true, false) {
				time.Sleep(5 * time.Second)
			}
			return tx.Commit()
		}
		r.start()
		asked := 0
		r.printer.set(func(p *paper) {
			p.wait = func(context.Context) {
				if asked++; asked == 1 {
					time.Sleep(4 * time.Second)
				}
			}
		})
		r.begin()
		r.pass(time.Second)
		r.route.pays(1234, "E1")
		slow.Store(true) // the payment, learnt about a second from now
		r.pass(20 * time.Second)
		kinds := r.kinds()
		if i := slices.Index(kinds, "slip.dropped"); i < 0 || len(r.printer.ids()) != 1 {
			r.Errorf("printed %v, want the receipt alone; ledger %v", r.printer.ids(), kinds)
		}
	})
}

func TestCodeIsNotPrintedAfterAReboot(t *testing.T) {
	bubble(t, func(r *rig) {
		r.printer.ready = errors.New("no paper")
		r.begin()
		r.restart(true)
		r.printer.set(func(p *paper) { p.ready = nil })
		r.pass(time.Minute)
		if ids := r.printer.ids(); len(ids) != 0 {
			r.Errorf("printed %v: nobody waits for that code", ids)
		}
		if jobs := r.jobs(queue.List); len(jobs) != 0 {
			r.Errorf("jobs %+v", jobs)
		}
	})
}

// TestUnknownSlipComesFirst: a retried dead letter waits until the slip is
// resolved that was being printed when the process ended.
func TestUnknownSlipComesFirst(t *testing.T) {
	bubble(t, func(r *rig) {
		unknown := func(j printer.Job) printer.Result {
			return printer.Result{Outcome: printer.Unknown, Accepted: 10, Reason: "hang-up"}
		}
		r.printer.result = unknown
		r.printer.resolve = printer.Result{Outcome: printer.Unknown, Drained: true}
		r.route.pays(1234, "E1")
		r.begin()
		r.pass(30 * time.Second) // both slips are dead letters
		r.printer.set(func(p *paper) { p.resolve = printer.Result{Outcome: printer.Unknown, Reason: "offline"} })
		r.route.pays(1234, "E2")
		r.begin()
		r.pass(30 * time.Second) // the third one is unknown
		dead := r.jobs(queue.Dead)
		if len(dead) != 2 {
			r.Fatalf("dead letters: %+v", dead)
		}
		r.printer.set(func(p *paper) { p.result = nil })
		printed := len(r.printer.ids())
		r.revive(dead...)
		r.pass(time.Minute)
		if n := len(r.printer.ids()) - printed; n != 0 {
			r.Fatalf("%d slips were printed while one was unknown", n)
		}
		r.printer.set(func(p *paper) { p.resolve = printer.Result{Outcome: printer.Confirmed, Tier: printer.TierA} })
		r.pass(time.Minute)
		if got, want := r.printer.ids()[printed:], []string{"2/2", "4/1"}; !slices.Equal(got, want) {
			r.Errorf("printed %v, want the copy and the receipt, %v", got, want)
		}
	})
}

// TestRefusedSlipIsNoCopy: of a slip that never reached the line there is no
// first copy.
func TestRefusedSlipIsNoCopy(t *testing.T) {
	bubble(t, func(r *rig) {
		n := 0
		r.printer.result = func(j printer.Job) printer.Result {
			if n++; n == 2 {
				return printer.Result{Outcome: printer.Refused, Reason: "forbidden"}
			}
			return printer.Result{Outcome: printer.Confirmed, Tier: printer.TierA}
		}
		r.printer.resolve = printer.Result{Outcome: printer.Unknown, Drained: true}
		r.route.pays(1234, "E1")
		r.begin()
		r.pass(20 * time.Second)
		dead := r.jobs(queue.Dead)
		if len(dead) != 1 || dead[0].Created.IsZero() {
			r.Fatalf("dead letters: %+v", dead)
		}
		r.revive(dead...)
		r.pass(20 * time.Second)
		if ids := r.printer.ids(); len(ids) != 3 || ids[2] != ids[1] {
			r.Errorf("printed %v, want the refused one again", ids)
		}
		r.shows(display.Idle)
	})
}
