package store_test

import (
	"errors"
	"testing"

	"go.etcd.io/bbolt"

	"github.com/ssg-safe/agent/ledger"
	"github.com/ssg-safe/agent/queue"
	"github.com/ssg-safe/agent/store"
)

// entries counts what the ledger holds by operation id, and wants a job for
// each.
func entries(t testing.TB, s *store.Store) map[string]int {
	t.Helper()
	got := make(map[string]int)
	err := s.View(func(tx *bbolt.Tx) error {
		for pos, raw := range ledger.Entries(tx, ledger.Position{}) {
			e, err := ledger.Decode(raw)
			if err != nil {
				t.Errorf("entry %v: %v", pos, err)
			}
			got[e.Op]++
		}
		jobs, err := queue.List(tx)
		for _, j := range jobs {
			if got[j.Op] == 0 {
				t.Errorf("job %s without its entry", j.Op)
			}
		}
		if len(jobs) != len(got) {
			t.Errorf("%d entries, %d jobs", len(got), len(jobs))
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	return got
}

// resolve is what a restart does about an operation of unknown outcome: look it
// up, and do it only if it is not there.
func resolve(t testing.TB, s *store.Store, n int) {
	t.Helper()
	op := operation(n)
	there := false
	err := s.View(func(tx *bbolt.Tx) (err error) {
		_, there, err = ledger.Lookup(tx, op.Name)
		return err
	})
	if err != nil {
		t.Error(err)
	}
	if there { // and if someone forgets to look, the index does not
		if err := s.Commit(t.Context(), op); !errors.Is(err, ledger.ErrDuplicate) {
			t.Errorf("%s done twice: %v", op.Name, err)
		}
		return
	}
	if err := s.Commit(t.Context(), op); err != nil {
		t.Errorf("%s: %v", op.Name, err)
	}
}
