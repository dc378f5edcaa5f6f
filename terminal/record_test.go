package terminal_test

import (
	"crypto/ed25519"
	"errors"
	"slices"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/ssg-safe/agent/charge"
	"github.com/ssg-safe/agent/display"
	"github.com/ssg-safe/agent/ledger"
	"github.com/ssg-safe/agent/providers"
	"github.com/ssg-safe/agent/store"
	"github.com/ssg-safe/agent/terminal"
)

func (r *rig) record(id charge.ID) terminal.Record {
	r.Helper()
	rec, err := r.term.Record(id)
	if err != nil {
		r.Fatal(err)
	}
	return rec
}

func TestRecord(t *testing.T) {
	bubble(t, func(r *rig) {
		began := time.Now()
		id := r.begin()
		r.pass(time.Second)
		rec := r.record(id)
		if rec.Charge.State != charge.Pending || rec.Code == "" || !rec.Paid.IsZero() {
			r.Errorf("pending: %+v", rec)
		}
		if !rec.Created.Equal(began) || !rec.Expires.Equal(began.Add(5*time.Minute)) {
			r.Errorf("created %v, expires %v; began %v", rec.Created, rec.Expires, began)
		}
		if want := []terminal.SlipRecord{{Kind: terminal.SlipQR, NSU: 1, Copy: 1, State: "printed"}}; !slices.Equal(rec.Slips, want) {
			r.Errorf("slips %+v, want %+v", rec.Slips, want)
		}
		open, err := r.term.OpenRecords()
		if err != nil || len(open) != 1 || open[0].Charge.ID != id {
			r.Errorf("open %+v, %v", open, err)
		}
		r.route.pays(1234, "E1")
		r.pass(time.Minute) // paid, shown, forgotten
		for range 2 {       // once more after a reboot
			rec = r.record(id)
			if rec.Charge.State != charge.Paid || rec.Paid.Before(began) || len(rec.Slips) != 2 || rec.Slips[1].Kind != terminal.SlipReceipt {
				r.Errorf("paid: %+v", rec)
			}
			if open, err := r.term.OpenRecords(); err != nil || len(open) != 0 {
				r.Errorf("open %+v, %v", open, err)
			}
			r.restart(true)
		}
		for _, unknown := range []charge.ID{"", "T00100000000000000000000X", charge.ID(string(id) + "/created")} {
			if _, err := r.term.Record(unknown); !errors.Is(err, terminal.ErrNoCharge) {
				r.Errorf("%q: %v, want ErrNoCharge", unknown, err)
			}
		}
	})
}

func TestRecords(t *testing.T) {
	bubble(t, func(r *rig) {
		var made []charge.ID
		for i := range 5 {
			id, err := r.term.Start(r.Context(), terminal.Request{Amount: 1000, Source: "api", Reference: string(rune('a' + i))})
			if err != nil {
				r.Fatal(err)
			}
			made = append(made, id)
			r.pass(time.Second)
		}
		slices.Reverse(made)
		var got []charge.ID
		var next ledger.Position
		for pages := 1; ; pages++ {
			list, after, err := r.term.Records(next, 2)
			if err != nil || pages > 3 {
				r.Fatalf("page %d: %v", pages, err)
			}
			for _, rec := range list {
				got = append(got, rec.Charge.ID)
				if rec.Charge.State != charge.Pending || rec.Charge.Source != "api" {
					r.Errorf("record %+v", rec)
				}
			}
			if next = after; next == (ledger.Position{}) {
				break
			}
		}
		if !slices.Equal(got, made) {
			r.Errorf("listed %v, want %v", got, made)
		}
		if list, next, err := r.term.Records(ledger.Position{Epoch: 9, Seq: 1}, 1); err != nil || len(list) != 1 || list[0].Charge.ID != made[0] {
			r.Errorf("behind the end: %+v, %v, %v", list, next, err)
		}
		r.route.answer(providers.StatusExpired)
		r.pass(10 * time.Second)
	})
}

// TestRecordOfAnOpenChargeSurvivesPruning: its snapshot says what the deleted
// entries said.
func TestRecordOfAnOpenChargeSurvivesPruning(t *testing.T) {
	bubble(t, func(r *rig) {
		id := r.begin()
		r.pass(time.Second)
		r.prune()
		rec := r.record(id)
		if rec.Charge.State != charge.Pending || rec.Code == "" || rec.Charge.Amount != 1234 {
			r.Errorf("record %+v", rec)
		}
	})
}

// prune deletes all entries that there are.
func (r *rig) prune() {
	r.Helper()
	pub, key, _ := ed25519.GenerateKey(nil)
	if err := r.store.Commit(r.Context(), store.Op{Do: func(tx *bbolt.Tx) error {
		head, err := ledger.GetHead(tx)
		if err != nil {
			return err
		}
		s, err := ledger.Sign(key, ledger.Checkpoint{Device: "d", Head: head, Boot: "b", Wall: time.Now()})
		if err != nil {
			return err
		}
		if err := errors.Join(ledger.Acknowledge(tx, "hub", head), ledger.PutCheckpoint(tx, s, pub)); err != nil {
			return err
		}
		n, err := ledger.Prune(tx, ledger.Retention{Consumers: []string{"hub"}, Key: pub, Before: time.Now().Add(time.Hour)})
		if n == 0 {
			r.Error("nothing was pruned")
		}
		return err
	}}); err != nil {
		r.Fatal(err)
	}
}

// TestYield: who does not insist on the screen gets a charge all the same, and
// the same one when it asks again.
func TestYield(t *testing.T) {
	bubble(t, func(r *rig) {
		r.begin()
		req := terminal.Request{Amount: 1000, Source: "api", Reference: "a", Present: true, Yield: true, Expiry: time.Minute}
		id, err := r.term.Start(r.Context(), req)
		if err != nil {
			r.Fatal(err)
		}
		r.pass(0)
		if c := r.record(id).Charge; c.Present || c.Expiry != 60 {
			r.Errorf("charge %+v", c)
		}
		r.route.pays(1234, "E1")
		r.pass(20 * time.Second) // the screen is free
		if again, err := r.term.Start(r.Context(), req); again != id || err != nil {
			r.Errorf("again: %s, %v; want %s", again, err, id)
		}
		req.Expiry = time.Hour
		if _, err := r.term.Start(r.Context(), req); !errors.Is(err, terminal.ErrReference) {
			r.Errorf("another expiry: %v, want ErrReference", err)
		}
		req.Reference = "b"
		if id, err = r.term.Start(r.Context(), req); err != nil || !r.record(id).Charge.Present {
			r.Errorf("on a free screen: %v", err)
		}
	})
}

// TestAskingAgainLeavesPagoStanding: a repeated request is no matter of the
// person in front of the screen.
func TestAskingAgainLeavesPagoStanding(t *testing.T) {
	bubble(t, func(r *rig) {
		req := terminal.Request{Amount: 1000, Source: "api", Reference: "a", Present: true}
		r.route.pays(1000, "E1")
		id, err := r.term.Start(r.Context(), req)
		if err != nil {
			r.Fatal(err)
		}
		r.pass(3 * time.Second)
		r.shows(display.Paid)
		if again, err := r.term.Start(r.Context(), req); again != id || err != nil {
			r.Errorf("again: %s, %v; want %s", again, err, id)
		}
		r.pass(0)
		r.shows(display.Paid)
	})
}
