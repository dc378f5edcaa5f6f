package ledger_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.etcd.io/bbolt"

	"github.com/ssg-safe/agent/ledger"
	"github.com/ssg-safe/agent/money"
	"github.com/ssg-safe/agent/store"
	"github.com/ssg-safe/agent/store/storetest"
)

func TestVerifyReports(t *testing.T) {
	s := newStore(t)
	fillEntries(t, s, 1, 10)
	mustView(t, s, func(tx *bbolt.Tx) error {
		r, err := ledger.Verify(tx, ledger.Head{})
		if err != nil {
			return err
		}
		want := map[ledger.Account]money.Amount{ledger.PixClearing: 1000, ledger.Sales: -1000}
		if diff := cmp.Diff(want, r.Sums); diff != "" || r.Entries != 10 || r.Head.Seq != 10 || r.From.Seq != 0 {
			t.Errorf("report %+v\n%s", r, diff)
		}
		r, err = ledger.Verify(tx, headAt(t, s, 4))
		if r.Entries != 6 || r.From.Seq != 4 {
			t.Errorf("from entry 4: %+v", r)
		}
		return err
	})
	wrong := headAt(t, s, 4)
	wrong.Hash[0] ^= 1
	err := s.View(func(tx *bbolt.Tx) error {
		_, err := ledger.Verify(tx, wrong)
		return err
	})
	if !errors.Is(err, ledger.ErrBroken) {
		t.Errorf("from a head that is not ours: %v, want ErrBroken", err)
	}
}

// TestVerifyNotices changes one thing at a time in a good ledger, behind the
// back of the package, and wants Verify to say so.
func TestVerifyNotices(t *testing.T) {
	pos := func(seq uint64) []byte {
		return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, 1), seq)
	}
	rewrite := func(tx *bbolt.Tx, seq uint64, old, new string) error {
		b := tx.Bucket([]byte("ledger"))
		raw := b.Get(pos(seq))
		if !bytes.Contains(raw, []byte(old)) {
			return errors.New("nothing to replace")
		}
		return b.Put(pos(seq), bytes.Replace(raw, []byte(old), []byte(new), 1))
	}
	flip := func(bucket, key string) func(*bbolt.Tx) error {
		return func(tx *bbolt.Tx) error {
			b := tx.Bucket([]byte(bucket))
			k, row := []byte(key), b.Get([]byte(key))
			if key == "" {
				k, row = b.Cursor().First()
			}
			row = bytes.Clone(row)
			row[len(row)-1] ^= 4
			return b.Put(bytes.Clone(k), row)
		}
	}
	remove := func(bucket, key string) func(*bbolt.Tx) error {
		return func(tx *bbolt.Tx) error { return tx.Bucket([]byte(bucket)).Delete([]byte(key)) }
	}
	tests := map[string]struct {
		damage func(*bbolt.Tx) error
		want   string
	}{
		"amounts": {func(tx *bbolt.Tx) error { return rewrite(tx, 5, `"amount":100},{`, `"amount":101},{`) }, "entry 1/5"},
		"both amounts": {func(tx *bbolt.Tx) error {
			return errors.Join(rewrite(tx, 5, `:100}`, `:900}`), rewrite(tx, 5, `:-100}`, `:-900}`))
		}, "entry 1/5"},
		"time":         {func(tx *bbolt.Tx) error { return rewrite(tx, 5, "12:00:", "13:00:") }, "entry 1/6"},
		"time of last": {func(tx *bbolt.Tx) error { return rewrite(tx, 10, "12:00:", "13:00:") }, "head"},
		"sequence":     {func(tx *bbolt.Tx) error { return rewrite(tx, 5, `"seq":5`, `"seq":6`) }, "entry 1/5"},
		"spelling":     {func(tx *bbolt.Tx) error { return rewrite(tx, 10, `"op":`, ` "op":`) }, "entry 1/10"},
		"gap":          {func(tx *bbolt.Tx) error { return tx.Bucket([]byte("ledger")).Delete(pos(5)) }, "entry 1/6"},
		"cut tail":     {func(tx *bbolt.Tx) error { return tx.Bucket([]byte("ledger")).Delete(pos(10)) }, "head"},
		"entry in front": {func(tx *bbolt.Tx) error {
			b := tx.Bucket([]byte("ledger"))
			return b.Put(pos(0), bytes.Clone(b.Get(pos(1))))
		}, "anchor"},
		"no index row": {remove("ledger_ops", "op-5"), "op-5"},
		"index row":    {flip("ledger_ops", "op-5"), "op-5"},
		"orphaned index row": {func(tx *bbolt.Tx) error {
			return tx.Bucket([]byte("ledger_ops")).Put([]byte("ghost"), make([]byte, 48))
		}, "rows in the index"},
		"head":    {flip("ledger_meta", "head"), "head"},
		"no head": {remove("ledger_meta", "head"), "head"},
		"anchor":  {flip("ledger_meta", "anchor"), "anchor"},
		"nsu":     {flip("ledger_meta", "nsu"), "nsu"},
		"pepper":  {flip("ledger_meta", "pepper"), "pepper"},
		"cursor":  {flip("ledger_meta", "cursor/hub"), "cursor/hub"},
		"cursor elsewhere": {func(tx *bbolt.Tx) error {
			k := []byte("cursor/hub")
			return tx.Bucket([]byte("ledger_meta")).Put(k, store.Seal(k, append(pos(3), make([]byte, 32)...)))
		}, "cursor of hub"},
		"checkpoint":      {flip("ledger_checkpoints", ""), "checkpoint 1/8"},
		"private data":    {flip("ledger_private", "c1"), "private data of c1"},
		"private by time": {func(tx *bbolt.Tx) error { return tx.Bucket([]byte("ledger_private_age")).Put([]byte("ghost"), nil) }, "private data"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			o := options(t)
			o.Verify = nil // the end is meant to be broken
			s := storetest.Run(t, o)
			fillEntries(t, s, 1, 10)
			checkpoint(t, s, 8)
			head := headOf(t, s)
			mustDo(t, s, func(tx *bbolt.Tx) error {
				return errors.Join(ledger.Acknowledge(tx, "hub", head), ledger.PutPrivate(tx, day0, "c1", []byte("data")))
			})
			mustView(t, s, audit)
			mustDo(t, s, test.damage)
			if err := s.View(audit); !errors.Is(err, ledger.ErrBroken) || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want ErrBroken and %q", err, test.want)
			}
		})
	}
}

// Entries are examined in stretches by several goroutines. Damage in any of them
// is found, and the first one is told.
func TestVerifyNoticesFar(t *testing.T) {
	const n = 1500
	o := options(t)
	o.Size = 4 << 20
	o.Verify = nil // the end is meant to be broken
	s := storetest.Run(t, o)
	fillEntries(t, s, 1, n)
	mustView(t, s, audit)
	damaged := []uint64{n, 1025, 1024, 257, 256, 255, 2}
	for _, seq := range damaged {
		mustDo(t, s, func(tx *bbolt.Tx) error {
			b := tx.Bucket([]byte("ledger"))
			key := binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, 1), seq)
			return b.Put(key, bytes.Replace(b.Get(key), []byte(":100}"), []byte(":101}"), 1))
		})
		want := fmt.Sprintf("entry 1/%d: ", seq)
		if err := s.View(audit); !errors.Is(err, ledger.ErrBroken) || !strings.Contains(err.Error(), want) {
			t.Errorf("entry %d damaged: %v, want ErrBroken and %q", seq, err, want)
		}
	}
}
