package ledger_test

import (
	"crypto/ed25519"
	"flag"
	"fmt"
	"slices"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/ssg-safe/agent/ledger"
	"github.com/ssg-safe/agent/store"
	"github.com/ssg-safe/agent/store/storetest"
)

var update = flag.Bool("update", false, "write the golden files anew")

// newStore is a ledger in a small file; the test ends in an audit of all of it.
func newStore(t testing.TB) *store.Store {
	t.Helper()
	return storetest.Run(t, options(t))
}

func options(t testing.TB) store.Options {
	t.Helper()
	return storetest.Options(t, audit, ledger.Migrations...)
}

func audit(tx *bbolt.Tx) error {
	_, err := ledger.Verify(tx, ledger.Head{})
	return err
}

// do commits fn and returns its error.
func do(t testing.TB, s *store.Store, fn func(*bbolt.Tx) error) error {
	t.Helper()
	return s.Commit(t.Context(), store.Op{Name: t.Name(), Do: fn})
}

func mustDo(t testing.TB, s *store.Store, fn func(*bbolt.Tx) error) {
	t.Helper()
	if err := do(t, s, fn); err != nil {
		t.Fatal(err)
	}
}

func mustView(t testing.TB, s *store.Store, fn func(*bbolt.Tx) error) {
	t.Helper()
	if err := s.View(fn); err != nil {
		t.Fatal(err)
	}
}

var day0 = time.Date(2026, 7, 1, 12, 0, 0, 123456789, time.UTC)

func stamp(n int) ledger.Stamp {
	return ledger.Stamp{
		Wall: day0.Add(time.Duration(n) * time.Second), Boot: "4be0643f-1d98-573b-97cd-ca98a65347dd",
		Up: time.Duration(n) * time.Second, Quality: ledger.Synced,
	}
}

func paid(op string, cents int64) ledger.Draft {
	return ledger.Draft{
		Op: op, Kind: "charge.paid", Actor: "terminal",
		Evidence: map[string]string{"digest": "ab12"},
		Postings: []ledger.Posting{{ledger.PixClearing, amount(cents)}, {ledger.Sales, amount(-cents)}},
		Data:     map[string]any{"charge": "T1AB", "note": "açaí <b>"},
	}
}

// fillEntries appends n entries with operations op-FROM… in one commit.
func fillEntries(t testing.TB, s *store.Store, from, n int) {
	t.Helper()
	mustDo(t, s, func(tx *bbolt.Tx) error {
		for i := range n {
			if _, err := ledger.Append(tx, stamp(from+i), paid(fmt.Sprintf("op-%d", from+i), 100)); err != nil {
				return err
			}
		}
		return nil
	})
}

func headOf(t testing.TB, s *store.Store) (h ledger.Head) {
	t.Helper()
	mustView(t, s, func(tx *bbolt.Tx) (err error) {
		h, err = ledger.GetHead(tx)
		return err
	})
	return h
}

// headAt is the head of the chain at a sequence number.
func headAt(t testing.TB, s *store.Store, seq uint64) (h ledger.Head) {
	t.Helper()
	mustView(t, s, func(tx *bbolt.Tx) error {
		raws, err := ledger.Read(tx, ledger.Position{Epoch: 1, Seq: seq}, 1)
		if err == nil && len(raws) == 1 {
			h = ledger.Head{Position: raws[0].Position, Hash: ledger.HashOf(raws[0].Bytes)}
		}
		return err
	})
	return h
}

// key signs the checkpoints of the tests.
var key = ed25519.NewKeyFromSeed(slices.Repeat([]byte{7}, ed25519.SeedSize))

func pub() ed25519.PublicKey { return key.Public().(ed25519.PublicKey) }

func checkpoint(t testing.TB, s *store.Store, seq uint64) {
	t.Helper()
	signed, err := ledger.Sign(key, ledger.Checkpoint{Device: "dev-1", Head: headAt(t, s, seq), Boot: "b", Wall: day0})
	if err != nil {
		t.Fatal(err)
	}
	mustDo(t, s, func(tx *bbolt.Tx) error { return ledger.PutCheckpoint(tx, signed, pub()) })
}
