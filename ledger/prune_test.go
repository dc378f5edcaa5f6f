package ledger_test

import (
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/ssg-safe/agent/ledger"
	"github.com/ssg-safe/agent/store"
)

func acknowledge(t *testing.T, s *store.Store, consumer string, h ledger.Head) error {
	t.Helper()
	return do(t, s, func(tx *bbolt.Tx) error { return ledger.Acknowledge(tx, consumer, h) })
}

func cursor(t *testing.T, s *store.Store, consumer string) (h ledger.Head) {
	t.Helper()
	mustView(t, s, func(tx *bbolt.Tx) (err error) {
		h, err = ledger.Cursor(tx, consumer)
		return err
	})
	return h
}

func TestAcknowledge(t *testing.T) {
	s := newStore(t)
	fillEntries(t, s, 1, 10)
	if got := cursor(t, s, "hub"); got.Seq != 0 {
		t.Errorf("cursor of a new consumer at %v", got.Position)
	}
	five, eight := headAt(t, s, 5), headAt(t, s, 8)
	forged := eight
	forged.Hash[31] ^= 1
	ahead := ledger.Head{Position: ledger.Position{Epoch: 1, Seq: 11}}
	epoch := eight
	epoch.Epoch = 2
	for _, step := range []struct {
		name string
		upTo ledger.Head
		want error
		then uint64
	}{
		{"first", five, nil, 5},
		{"forged", forged, ledger.ErrMismatch, 5},
		{"ahead of us", ahead, ledger.ErrMismatch, 5},
		{"other epoch", epoch, ledger.ErrMismatch, 5},
		{"forward", eight, nil, 8},
		{"again", eight, nil, 8},
		{"late and old", five, nil, 8},
		{"same place, other hash", forged, ledger.ErrMismatch, 8},
	} {
		if err := acknowledge(t, s, "hub", step.upTo); !errors.Is(err, step.want) {
			t.Errorf("%s: %v, want %v", step.name, err, step.want)
		}
		if got := cursor(t, s, "hub").Seq; got != step.then {
			t.Errorf("%s: cursor at %d, want %d", step.name, got, step.then)
		}
	}
	if err := acknowledge(t, s, "no such/../ name", five); err == nil {
		t.Error("a consumer with spaces was taken")
	}
	if err := acknowledge(t, s, "archive", five); err != nil {
		t.Error(err)
	}
}

func TestCheckpointSignature(t *testing.T) {
	s := newStore(t)
	fillEntries(t, s, 1, 3)
	signed, err := ledger.Sign(key, ledger.Checkpoint{Device: "dev-1", Head: headAt(t, s, 2), Boot: "b", Wall: day0})
	if err != nil {
		t.Fatal(err)
	}
	c, err := signed.Check(pub())
	if err != nil || c.Head != headAt(t, s, 2) || c.Device != "dev-1" {
		t.Errorf("own signature: %+v, %v", c, err)
	}
	_, other, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	bad := map[string]func() (ledger.Signed, ed25519.PublicKey){
		"other key": func() (ledger.Signed, ed25519.PublicKey) { return signed, other.Public().(ed25519.PublicKey) },
		"no key":    func() (ledger.Signed, ed25519.PublicKey) { return signed, nil },
		"without domain": func() (ledger.Signed, ed25519.PublicKey) {
			return ledger.Signed{Checkpoint: signed.Checkpoint, Signature: ed25519.Sign(key, signed.Checkpoint)}, pub()
		},
		"changed": func() (ledger.Signed, ed25519.PublicKey) {
			raw := append(json.RawMessage(nil), signed.Checkpoint...)
			raw[len(raw)-3] ^= 1
			return ledger.Signed{Checkpoint: raw, Signature: signed.Signature}, pub()
		},
	}
	for name, forge := range bad {
		x, k := forge()
		if _, err := x.Check(k); !errors.Is(err, ledger.ErrSignature) {
			t.Errorf("%s: Check: %v, want ErrSignature", name, err)
		}
		if err := do(t, s, func(tx *bbolt.Tx) error { return ledger.PutCheckpoint(tx, x, k) }); !errors.Is(err, ledger.ErrSignature) {
			t.Errorf("%s: PutCheckpoint: %v, want ErrSignature", name, err)
		}
	}
	foreign := headAt(t, s, 2)
	foreign.Hash[0] ^= 1
	lie, err := ledger.Sign(key, ledger.Checkpoint{Head: foreign})
	if err != nil {
		t.Fatal(err)
	}
	if err := do(t, s, func(tx *bbolt.Tx) error { return ledger.PutCheckpoint(tx, lie, pub()) }); !errors.Is(err, ledger.ErrMismatch) {
		t.Errorf("checkpoint of another chain: %v, want ErrMismatch", err)
	}
}

// TestPrune: what may go, and what must stay. The ledger has entries 1–100, one
// a second, and checkpoints at 10, 20, …
func TestPrune(t *testing.T) {
	late, young := stamp(1000).Wall, stamp(1000).Wall.Add(-time.Hour)
	all := ledger.Retention{Consumers: []string{"hub"}, Key: pub(), Before: late, Limit: 1000}
	with := func(change func(*ledger.Retention)) ledger.Retention {
		r := all
		change(&r)
		return r
	}
	tests := map[string]struct {
		hub, archive uint64 // acknowledged up to
		retention    ledger.Retention
		want         int
	}{
		"nothing acknowledged":     {0, 0, all, 0},
		"acknowledged, at a point": {50, 0, all, 50},
		"between checkpoints":      {57, 0, all, 50},
		"before the first one":     {9, 0, all, 0},
		"everything":               {100, 0, all, 100},
		"slowest consumer":         {100, 30, with(func(r *ledger.Retention) { r.Consumers = []string{"hub", "archive"} }), 30},
		"unknown consumer":         {100, 0, with(func(r *ledger.Retention) { r.Consumers = []string{"hub", "usb"} }), 0},
		"young":                    {100, 0, with(func(r *ledger.Retention) { r.Before = young }), 0},
		"young from 46 on":         {100, 0, with(func(r *ledger.Retention) { r.Before = stamp(46).Wall.Add(-time.Second / 2) }), 40},
		"young, but too many":      {100, 0, with(func(r *ledger.Retention) { r.Before, r.Entries = young, 75 }), 20},
		"too many, not sent":       {20, 0, with(func(r *ledger.Retention) { r.Before, r.Entries = young, 10 }), 20},
		"no time is known":         {100, 0, with(func(r *ledger.Retention) { r.Before = time.Time{} }), 0},
		"limited":                  {100, 0, with(func(r *ledger.Retention) { r.Limit = 35 }), 30},
		"limit below a checkpoint": {100, 0, with(func(r *ledger.Retention) { r.Limit = 3 }), 10},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			s := newStore(t)
			fillEntries(t, s, 1, 100)
			for seq := uint64(10); seq <= 100; seq += 10 {
				checkpoint(t, s, seq)
			}
			for consumer, seq := range map[string]uint64{"hub": test.hub, "archive": test.archive} {
				if seq > 0 {
					if err := acknowledge(t, s, consumer, headAt(t, s, seq)); err != nil {
						t.Fatal(err)
					}
				}
			}
			anchor := headAt(t, s, uint64(test.want))
			var got int
			mustDo(t, s, func(tx *bbolt.Tx) (err error) {
				got, err = ledger.Prune(tx, test.retention)
				return err
			})
			if got != test.want {
				t.Errorf("pruned %d, want %d", got, test.want)
			}
			mustView(t, s, func(tx *bbolt.Tx) error {
				r, err := ledger.Verify(tx, ledger.Head{})
				if r.Entries != uint64(100-test.want) {
					t.Errorf("%d entries left", r.Entries)
				}
				if test.want > 0 && r.From != anchor {
					t.Errorf("anchor %v, want the last pruned entry %v", r.From, anchor)
				}
				return err
			})
		})
	}
}

func TestPruneRefuses(t *testing.T) {
	s := newStore(t)
	fillEntries(t, s, 1, 10)
	checkpoint(t, s, 10)
	if err := acknowledge(t, s, "hub", headAt(t, s, 10)); err != nil {
		t.Fatal(err)
	}
	prune := func(r ledger.Retention) error {
		return do(t, s, func(tx *bbolt.Tx) error {
			_, err := ledger.Prune(tx, r)
			return err
		})
	}
	if err := prune(ledger.Retention{Key: pub(), Before: stamp(1000).Wall}); err == nil {
		t.Error("pruned without a consumer")
	}
	if err := prune(ledger.Retention{Consumers: []string{"hub"}, Before: stamp(1000).Wall}); !errors.Is(err, ledger.ErrSignature) {
		t.Errorf("without the key of the checkpoints: %v, want ErrSignature", err)
	}
}

// TestPruneByClocksThatJump: entries stamped without a clock are as old as the
// next one that had one, whatever they say.
func TestPruneByClocksThatJump(t *testing.T) {
	s := newStore(t)
	at := func(seq int) ledger.Stamp {
		st := stamp(seq)
		switch {
		case seq <= 5: // far in the future, unsynced
			st.Wall, st.Quality = st.Wall.AddDate(50, 0, 0), ledger.Unsynced
		case seq > 20: // 1970, unsynced: must not look old
			st.Wall, st.Quality = time.Unix(0, 0), ledger.Unsynced
		}
		return st
	}
	mustDo(t, s, func(tx *bbolt.Tx) error {
		for seq := 1; seq <= 30; seq++ {
			d := paid(fmt.Sprintf("op-%d", seq), 1)
			if _, err := ledger.Append(tx, at(seq), d); err != nil {
				return err
			}
		}
		return nil
	})
	checkpoint(t, s, 5)
	checkpoint(t, s, 30)
	if err := acknowledge(t, s, "hub", headAt(t, s, 30)); err != nil {
		t.Fatal(err)
	}
	var got int
	mustDo(t, s, func(tx *bbolt.Tx) (err error) {
		got, err = ledger.Prune(tx, ledger.Retention{Consumers: []string{"hub"}, Key: pub(), Before: stamp(100).Wall})
		return err
	})
	if got != 5 {
		t.Errorf("pruned %d; want the 5 of the future, and none of those from 1970", got)
	}
}

func TestReplayAfterPruningIsNew(t *testing.T) {
	s := newStore(t)
	fillEntries(t, s, 1, 10)
	checkpoint(t, s, 5)
	if err := acknowledge(t, s, "hub", headAt(t, s, 10)); err != nil {
		t.Fatal(err)
	}
	mustDo(t, s, func(tx *bbolt.Tx) error {
		_, err := ledger.Prune(tx, ledger.Retention{Consumers: []string{"hub"}, Key: pub(), Before: stamp(1000).Wall})
		return err
	})
	for op, want := range map[string]error{"op-5": nil, "op-6": ledger.ErrDuplicate} {
		err := do(t, s, func(tx *bbolt.Tx) error {
			_, err := ledger.Append(tx, stamp(0), paid(op, 100))
			return err
		})
		if !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v: the index lives as long as the entry", op, err, want)
		}
	}
}

// TestPruneSigns: where no checkpoint is, one is made if that is wanted, so that
// each call stays within its limit.
func TestPruneSigns(t *testing.T) {
	s := newStore(t)
	fillEntries(t, s, 1, 300)
	checkpoint(t, s, 300) // behind what may go
	if err := acknowledge(t, s, "archive", headOf(t, s)); err != nil {
		t.Fatal(err)
	}
	r := ledger.Retention{Consumers: []string{"archive"}, Key: pub(), Entries: 100, Keep: ledger.Position{Epoch: 1, Seq: 290}}
	prune := func() (n int) {
		mustDo(t, s, func(tx *bbolt.Tx) (err error) {
			n, err = ledger.Prune(tx, r)
			return err
		})
		return n
	}
	if n := prune(); n != 0 {
		t.Errorf("%d entries went without a checkpoint", n)
	}
	r.Sign = func(h ledger.Head) (ledger.Signed, error) {
		return ledger.Sign(key, ledger.Checkpoint{Device: "dev-1", Head: h, Boot: "b", Wall: day0})
	}
	for _, want := range []int{64, 64, 64, 8, 0} {
		if n := prune(); n != want {
			t.Errorf("%d entries went, want %d", n, want)
		}
	}
	mustView(t, s, audit)
}
