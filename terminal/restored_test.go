package terminal_test

import (
	"errors"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/ssg-safe/agent/charge"
	"github.com/ssg-safe/agent/display"
	"github.com/ssg-safe/agent/ledger"
	"github.com/ssg-safe/agent/printer"
	"github.com/ssg-safe/agent/queue"
	"github.com/ssg-safe/agent/store"
	"github.com/ssg-safe/agent/terminal"
)

// TestRestored: after the backup was made the code was printed, the charge paid
// and its receipt printed. The restored terminal knows none of it, and must
// neither show nor print it again by itself.
func TestRestored(t *testing.T) {
	bubble(t, func(r *rig) {
		r.printer.set(func(p *paper) { p.ready = errors.New("cover open") })
		id := r.begin()
		backup := filepath.Join(r.TempDir(), "backup.db")
		if err := store.SaveBackup(r.Context(), r.options(), backup, r.store.Backup); err != nil {
			r.Fatal(err)
		}
		r.printer.set(func(p *paper) { p.ready = nil })
		r.route.pays(1234, "E1")
		r.pass(30 * time.Second)
		if got, want := r.printer.ids(), []string{"1/1", "2/1"}; !slices.Equal(got, want) {
			r.Fatalf("printed %v, want %v", got, want)
		}
		r.shows(display.Idle)

		r.stop()
		shown := len(r.screen.states())
		at := ledger.Stamp{Wall: r.clock.Wall(), Boot: r.clock.Boot(), Up: r.clock.Up(), Quality: ledger.Synced}
		var first ledger.Entry
		_, err := store.Restore(r.Context(), r.options(), backup, true, func(tx *bbolt.Tx) (err error) {
			first, err = terminal.Restored(tx, at, "operator")
			return err
		})
		if err != nil {
			r.Fatal(err)
		}
		r.start()
		r.pass(time.Minute)

		if first.Kind != ledger.KindEpoch || first.Seq != 1 {
			r.Errorf("the epoch begins with %s, %v", first.Kind, first.Position())
		}
		if got := r.printer.ids()[2:]; len(got) != 0 {
			r.Errorf("printed %v by itself after the restore", got)
		}
		for _, s := range r.screen.states()[shown:] {
			if s != display.Starting && s != display.Idle {
				r.Errorf("the screen showed %s after the restore", s)
			}
		}
		if c := r.fold(id); c.State != charge.Paid || len(c.Payments) != 1 {
			r.Errorf("the charge is %s with %d payments, want the payment found again once", c.State, len(c.Payments))
		}
		dead := r.jobs(queue.Dead)
		if len(dead) != 1 || len(r.jobs(queue.List)) != 0 {
			r.Fatalf("dead letters %+v", dead)
		}
		// Retried by a person, after a second charge: it would say "2ª VIA", but
		// nobody can pay it any more.
		r.revive(dead...)
		r.pass(time.Minute)
		if kinds := r.kinds(); !slices.Contains(kinds, "slip.dropped") {
			r.Errorf("the code of an old charge was not dropped: %v", kinds)
		}
	})
}

// TestRestoredReceiptIsACopy: a receipt that waited when the backup was made,
// and was printed after it, says so when a person has it printed again.
func TestRestoredReceiptIsACopy(t *testing.T) {
	bubble(t, func(r *rig) {
		n := 0
		r.printer.result = func(j printer.Job) printer.Result {
			if n++; n == 1 {
				r.printer.ready = errors.New("paper out")
			}
			return printer.Result{Outcome: printer.Confirmed, Tier: printer.TierA}
		}
		r.route.pays(1234, "E1")
		r.begin()
		r.pass(10 * time.Second)
		backup := filepath.Join(r.TempDir(), "backup.db")
		if err := store.SaveBackup(r.Context(), r.options(), backup, r.store.Backup); err != nil {
			r.Fatal(err)
		}
		r.stop()
		_, err := store.Restore(r.Context(), r.options(), backup, true, func(tx *bbolt.Tx) error {
			_, err := terminal.Restored(tx, ledger.Stamp{Quality: ledger.Unsynced}, "operator")
			return err
		})
		if err != nil {
			r.Fatal(err)
		}
		r.start()
		r.printer.set(func(p *paper) { p.ready = nil })
		r.revive(r.jobs(queue.Dead)...)
		r.pass(time.Minute)
		if got, want := r.printer.ids(), []string{"1/1", "2/2"}; !slices.Equal(got, want) {
			r.Errorf("printed %v, want %v", got, want)
		}
	})
}
