package ledger_test

import (
	"errors"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/ssg-safe/agent/ledger"
)

// begin begins an epoch at a wall clock of Unix seconds.
func begin(tx *bbolt.Tx, unix int64) (ledger.Entry, error) {
	at := stamp(0)
	at.Wall = time.Unix(unix, 0)
	return ledger.BeginEpoch(tx, at, "operator", "restored")
}

func TestEpochContinuesTheChain(t *testing.T) {
	s := newStore(t) // which ends in ledger.Verify
	fillEntries(t, s, 0, 5)
	old := headOf(t, s)
	var first ledger.Entry
	mustDo(t, s, func(tx *bbolt.Tx) (err error) {
		first, err = begin(tx, 1_800_000_000)
		return err
	})
	if want := (ledger.Position{Epoch: 1_800_000_000, Seq: 1}); first.Position() != want || first.Prev != old.Hash.String() || !first.Follows(old) {
		t.Errorf("got %v after %s, want %v after %v", first.Position(), first.Prev, want, old.Hash)
	}
	fillEntries(t, s, 5, 3)
	if got, want := headOf(t, s).Position, (ledger.Position{Epoch: 1_800_000_000, Seq: 4}); got != want {
		t.Errorf("head %v, want %v", got, want)
	}
	// A clock that went back does not take the epoch back.
	mustDo(t, s, func(tx *bbolt.Tx) error {
		e, err := begin(tx, 12)
		if e.Epoch != 1_800_000_001 {
			t.Errorf("epoch %d after a clock that went back", e.Epoch)
		}
		return err
	})
	// An operation of an earlier epoch is still known.
	if err := do(t, s, func(tx *bbolt.Tx) error {
		_, err := ledger.Append(tx, stamp(9), paid("op-2", 100))
		return err
	}); !errors.Is(err, ledger.ErrDuplicate) {
		t.Errorf("op-2 again: %v", err)
	}
	mustView(t, s, func(tx *bbolt.Tx) error {
		report, err := ledger.Verify(tx, old)
		if report.Entries != 5 {
			t.Errorf("%d entries after the old head, want 5", report.Entries)
		}
		return err
	})
}

// TestOnlyItsEntryBeginsAnEpoch: an entry that merely has another epoch is no
// continuation.
func TestOnlyItsEntryBeginsAnEpoch(t *testing.T) {
	head := ledger.Head{Position: ledger.Position{Epoch: 3, Seq: 7}, Hash: ledger.HashOf([]byte("x"))}
	good := ledger.Entry{Epoch: 9, Seq: 1, Kind: ledger.KindEpoch, Prev: head.Hash.String()}
	if !good.Follows(head) {
		t.Fatal("the first entry of an epoch does not follow")
	}
	for name, change := range map[string]func(*ledger.Entry){
		"another kind": func(e *ledger.Entry) { e.Kind = "charge.paid" },
		"seq 2":        func(e *ledger.Entry) { e.Seq = 2 },
		"same epoch":   func(e *ledger.Entry) { e.Epoch = 3 },
		"older epoch":  func(e *ledger.Entry) { e.Epoch = 2 },
		"no prev":      func(e *ledger.Entry) { e.Prev = ledger.Hash{}.String() },
	} {
		e := good
		change(&e)
		if e.Follows(head) {
			t.Errorf("%s: it follows", name)
		}
	}
}

func TestPruneAcrossEpochs(t *testing.T) {
	s := newStore(t)
	fillEntries(t, s, 0, 10)
	checkpoint(t, s, 10)
	mustDo(t, s, func(tx *bbolt.Tx) error {
		_, err := begin(tx, 1_800_000_000)
		return err
	})
	fillEntries(t, s, 10, 3) // 10 entries of epoch 1, 4 of the new one
	mustDo(t, s, func(tx *bbolt.Tx) error {
		head, err := ledger.GetHead(tx)
		if err != nil {
			return err
		}
		return ledger.Acknowledge(tx, "hub", head)
	})
	r := ledger.Retention{Consumers: []string{"hub"}, Key: pub(), Limit: 100}
	prune := func(keep uint64) (n int) {
		r.Entries = keep
		mustDo(t, s, func(tx *bbolt.Tx) (err error) {
			n, err = ledger.Prune(tx, r)
			return err
		})
		return n
	}
	if n := prune(14); n != 0 {
		t.Errorf("%d entries pruned of 14 when 14 may stay", n)
	}
	if n := prune(5); n != 0 { // the only checkpoint lies further
		t.Errorf("%d entries pruned past a checkpoint", n)
	}
	r.Keep = ledger.Position{Epoch: 1, Seq: 9}
	if n := prune(4); n != 0 {
		t.Errorf("%d entries pruned, and those after 1/9 were to stay", n)
	}
	r.Keep = ledger.Position{}
	if n := prune(4); n != 10 {
		t.Errorf("%d entries pruned, want the 10 of the old epoch", n)
	}
	mustView(t, s, func(tx *bbolt.Tx) error {
		if at, ok := ledger.Last(tx, 99); !ok || at != (ledger.Position{Epoch: 1_800_000_000, Seq: 1}) {
			t.Errorf("oldest entry %v, %v", at, ok)
		}
		return nil
	})
}
