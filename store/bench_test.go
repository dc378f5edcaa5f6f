package store_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/ssg-safe/agent/ledger"
	"github.com/ssg-safe/agent/queue"
	"github.com/ssg-safe/agent/store"
	"github.com/ssg-safe/agent/store/storetest"
)

// BenchmarkOperation measures the full durable operation: the id is checked, an
// entry of about 350 bytes of content is chained and indexed, and a job is put,
// while one old job is removed so that the queue stays short.
func BenchmarkOperation(b *testing.B) {
	for _, producers := range []int{1, 8, 32} {
		b.Run(fmt.Sprintf("producers=%d", producers), func(b *testing.B) { benchmarkOperation(b, producers) })
	}
}

func benchmarkOperation(b *testing.B, producers int) {
	o := storetest.Options(b, nil, append(append([]store.Migration{}, ledger.Migrations...), queue.Migrations...)...)
	o.Size, o.Commit = 256<<20, nil // every commit flushed
	s := storetest.Run(b, o)
	at := ledger.Stamp{Wall: time.Unix(1767225600, 0), Boot: "4be0643f-1d98-573b-97cd-ca98a65347dd", Quality: ledger.Synced}
	data := map[string]string{"note": strings.Repeat("x", 100)}
	before := s.Stats()
	var next atomic.Int64
	var wg sync.WaitGroup
	for range producers {
		wg.Go(func() {
			var last uint64
			for {
				n := next.Add(1)
				if n > int64(b.N) {
					return
				}
				op := fmt.Sprintf("bench-%09d", n)
				err := s.Commit(b.Context(), store.Op{Name: "bench", New: true, Do: func(tx *bbolt.Tx) error {
					_, err := ledger.Append(tx, at, ledger.Draft{
						Op: op, Kind: "charge.paid", Actor: "provider",
						Postings: []ledger.Posting{{Account: ledger.PixClearing, Amount: 1050}, {Account: ledger.Sales, Amount: -1050}},
						Data:     data,
					})
					if err != nil {
						return err
					}
					if last != 0 {
						if err := queue.Remove(tx, last); err != nil {
							return err
						}
					}
					j, err := queue.Put(tx, queue.Job{Op: op, Kind: "print", State: "ready", Subject: "charge", Created: at.Wall})
					last = j.ID
					return err
				}})
				if err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	st := s.Stats()
	if st.Full {
		b.Fatal(errors.New("the store ran full"))
	}
	commits := float64(st.Commits - before.Commits)
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "ops/s")
	b.ReportMetric(float64(b.N)/commits, "ops/commit")
	b.ReportMetric(float64(st.Bytes-before.Bytes)/float64(b.N), "B/op-disk")
}
