package terminal_test

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/ssg-safe/agent/ledger"
	"github.com/ssg-safe/agent/queue"
	"github.com/ssg-safe/agent/store"
	"github.com/ssg-safe/agent/store/storetest"
	"github.com/ssg-safe/agent/terminal"
)

// TestAuditFindsDamage: a bit that flipped in any row is found at the start.
func TestAuditFindsDamage(t *testing.T) {
	bubble(t, func(r *rig) {
		if _, err := r.term.Start(r.Context(), terminal.Request{Amount: 1000, Source: "api", Reference: "order 7"}); err != nil {
			r.Fatal(err)
		}
		r.pass(time.Second)
		for _, bucket := range []string{"open_charges", "references"} {
			rows := 0
			err := r.store.Commit(r.Context(), store.Op{Do: func(tx *bbolt.Tx) error {
				b := tx.Bucket([]byte(bucket))
				if err := terminal.Audit(tx); err != nil {
					r.Errorf("the store as it is: %v", err)
				}
				k, row := b.Cursor().First()
				k, row = bytes.Clone(k), bytes.Clone(row)
				for i := range row {
					rows++
					bad := bytes.Clone(row)
					bad[i] ^= 4
					if err := b.Put(k, bad); err != nil {
						return err
					}
					if err := terminal.Audit(tx); err == nil {
						r.Errorf("%s: byte %d flipped, and nobody saw it", bucket, i)
					}
				}
				return b.Put(k, row)
			}})
			if err != nil || rows == 0 {
				r.Errorf("%s: %d bytes tried, %v", bucket, rows, err)
			}
		}
	})
}

// FuzzRows puts any row into each bucket that a start reads. Who reads it says
// so or takes it, and does not fall over; a row without its checksum never
// passes.
func FuzzRows(f *testing.F) {
	f.Add([]byte("T001"), []byte(`{"charge":{"id":"T001","state":"pending"}}`), true)
	f.Add([]byte("T001"), []byte(`{"charge":{"id":"T002"},"began_ns":-1,"deadline_ns":9e99}`), true)
	f.Add([]byte("api\x00order 7"), []byte(`{"charge":"T001","asked":"00"}`), true)
	f.Add([]byte{0, 0, 0, 0, 0, 0, 0, 1}, []byte(`{"id":1,"op":"slip/1","kind":"print","state":"lost","payload":{}}`), true)
	f.Add([]byte("head"), bytes.Repeat([]byte{1}, 48), true)
	f.Add([]byte("x"), []byte("\x00\x00\x00\x00{}"), false)
	f.Add([]byte("x"), []byte{}, false)
	st := storetest.Run(f, storetest.Options(f, nil, terminal.Migrations()...))
	f.Fuzz(func(t *testing.T, key, row []byte, sealed bool) {
		if len(key) == 0 || len(key) > bbolt.MaxKeySize || len(row) > 16<<10 {
			return
		}
		if sealed {
			row = store.Seal(key, row)
		}
		rollBack := errors.New("the next input finds a clean store")
		for _, bucket := range []string{"open_charges", "references", "ledger_meta", "ledger_private", "ledger_checkpoints", "queue", "queue_dead"} {
			err := st.Commit(t.Context(), store.Op{Do: func(tx *bbolt.Tx) error {
				if err := tx.Bucket([]byte(bucket)).Put(key, row); err != nil {
					return err
				}
				_, broken := ledger.Verify(tx, ledger.Head{})
				if broken = errors.Join(broken, queue.Audit(tx), terminal.Audit(tx)); broken == nil && !sealed && bucket != "ledger_meta" {
					t.Errorf("%s: a row without a checksum passes", bucket)
				}
				_, _ = queue.List(tx)
				return rollBack
			}})
			if !errors.Is(err, rollBack) {
				t.Fatal(err)
			}
		}
	})
}
