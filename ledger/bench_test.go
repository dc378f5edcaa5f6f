package ledger_test

import (
	"fmt"
	"testing"

	"go.etcd.io/bbolt"

	"github.com/ssg-safe/agent/ledger"
	"github.com/ssg-safe/agent/store"
	"github.com/ssg-safe/agent/store/storetest"
)

// BenchmarkVerify reads and checks a ledger of 100,000 entries.
func BenchmarkVerify(b *testing.B) {
	const n = 100_000
	o := storetest.Options(b, nil, ledger.Migrations...)
	o.Size = 128 << 20
	s := storetest.Run(b, o)
	for from := 0; from < n; from += 1000 {
		fillEntries(b, s, from, 1000)
	}
	b.Logf("%d entries use %.1f MiB", n, float64(o.Size-s.Stats().Free)/(1<<20))
	for name, from := range map[string]ledger.Head{"all": {}, "last-1000": headAt(b, s, n-1000)} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				err := s.View(func(tx *bbolt.Tx) error {
					_, err := ledger.Verify(tx, from)
					return err
				})
				if err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkAppend is the processor's part of an entry, without the disk.
func BenchmarkAppend(b *testing.B) {
	o := storetest.Options(b, nil, ledger.Migrations...)
	o.Size = 256 << 20
	s := storetest.Run(b, o)
	i := 0
	b.ReportAllocs()
	for b.Loop() {
		err := s.Commit(b.Context(), store.Op{Do: func(tx *bbolt.Tx) error {
			for range 100 {
				i++
				if _, err := ledger.Append(tx, stamp(0), paid(fmt.Sprintf("op-%09d", i), 100)); err != nil {
					return err
				}
			}
			return nil
		}})
		if err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(i), "ns/entry")
}
