package store_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"go.etcd.io/bbolt"

	"github.com/ssg-safe/agent/store"
	"github.com/ssg-safe/agent/store/storetest"
)

// fullStore is a store at its soft limit, and how many rows are in it. Its
// committer runs until the end of the test.
func fullStore(t *testing.T, o store.Options) (s *store.Store, n int) {
	t.Helper()
	s, err := store.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := errors.Join(<-ended, s.Close()); err != nil {
			t.Error(err)
		}
		storetest.Audit(t, o)
	})
	for ; err == nil; n++ {
		err = s.Commit(t.Context(), store.Op{New: true, Do: put(fmt.Sprintf("new%06d", n), strings.Repeat("v", 1000))})
	}
	if !errors.Is(err, store.ErrFull) {
		t.Fatal(err)
	}
	return s, n - 1
}

// rewrite is an acknowledgement that replaces pages all over the file.
func rewrite(i, n int) func(*bbolt.Tx) error {
	return func(tx *bbolt.Tx) error {
		for k := range 4 {
			if err := put(fmt.Sprintf("new%06d", (i*7919+k*n/4)%n), strings.Repeat("w", 1000))(tx); err != nil {
				return err
			}
		}
		return nil
	}
}

// reader is open until left is closed.
func reader(s *store.Store) (left chan struct{}, ended chan error) {
	in := make(chan struct{})
	left, ended = make(chan struct{}), make(chan error, 1)
	go func() {
		ended <- s.View(func(*bbolt.Tx) error {
			close(in)
			<-left
			return nil
		})
	}()
	<-in
	return left, ended
}

// TestReadersOfAFullStore: readers that stay open while many commits go by hold
// the pages that these replace. A commit for which nothing is left waits for
// them, and readers that come wait for it.
func TestReadersOfAFullStore(t *testing.T) {
	o := storetest.Options(t, nil, rows)
	storetest.Create(t, o)
	synctest.Test(t, func(t *testing.T) {
		s, n := fullStore(t, o)
		left, ended := reader(s)
		waited := 0
		for i := range 300 {
			told := make(chan error, 1)
			s.Submit(store.Op{Name: "ack", Do: rewrite(i, n), Done: func(err error) { told <- err }})
			synctest.Wait()
			if len(told) == 0 {
				waited++
				late := make(chan error, 1)
				go func() { late <- s.View(func(*bbolt.Tx) error { return nil }) }()
				synctest.Wait()
				if len(told)+len(late) > 0 {
					t.Error("a commit without room did not keep new readers out")
				}
				close(left)
				if err := errors.Join(<-ended, <-late); err != nil {
					t.Error(err)
				}
				left, ended = reader(s)
			}
			if err := <-told; err != nil {
				t.Fatalf("acknowledgement %d beside readers of a full store: %v", i, err)
			}
		}
		close(left)
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if waited == 0 {
			t.Error("no commit had to wait for the reader: nothing was tested")
		}
		t.Logf("%d of 300 commits waited for a reader", waited)
	})
}

// TestReaderThatDoesNotEnd is the fault that shows what waiting is for: there is
// no room beside the reader. Its operations are refused, the store lives on, and
// waits no second time for the same reader.
func TestReaderThatDoesNotEnd(t *testing.T) {
	o := storetest.Options(t, nil, rows)
	storetest.Create(t, o)
	synctest.Test(t, func(t *testing.T) {
		s, n := fullStore(t, o)
		left, ended := reader(s)
		ack := func(i int) error { return s.Commit(t.Context(), store.Op{Name: "ack", Do: rewrite(i, n)}) }
		var err error
		i := 0
		for ; err == nil && i < 300; i++ {
			err = ack(i)
		}
		if !errors.Is(err, store.ErrFull) || s.Err() != nil {
			t.Fatalf("acknowledgement %d beside the reader: %v, and the store: %v", i, err, s.Err())
		}
		told := make(chan error, 1)
		s.Submit(store.Op{Name: "ack", Do: rewrite(i, n), Done: func(err error) { told <- err }})
		synctest.Wait()
		if len(told) == 0 {
			t.Error("the next one waits for the same reader again")
		}
		<-told
		close(left)
		if err := errors.Join(<-ended, ack(i)); err != nil {
			t.Errorf("after the reader: %v", err)
		}
	})
}

// TestLargeGroupOnAFullStore: one group that replaces every page needs more than
// the reserve; divided it fits.
func TestLargeGroupOnAFullStore(t *testing.T) {
	o := storetest.Options(t, nil, rows)
	storetest.Create(t, o)
	s, n := fullStore(t, o)
	before := s.Stats()
	hold := make(chan struct{})
	s.Submit(store.Op{Do: func(*bbolt.Tx) error { <-hold; return errors.New("only to gather the others") }})
	results := make(chan error, n)
	order := make([]int, 0, n)
	for i := range n {
		s.Submit(store.Op{
			Do: put(fmt.Sprintf("new%06d", i), strings.Repeat("w", 1000)),
			Done: func(err error) {
				order = append(order, i)
				results <- err
			},
		})
	}
	close(hold)
	for range n {
		if err := <-results; err != nil {
			t.Fatal(err)
		}
	}
	if !slices.IsSorted(order) {
		t.Error("operations were answered out of order")
	}
	if got := s.Stats().Commits - before.Commits; got < 3 || got > int64(n)/4 {
		t.Errorf("%d commits for %d operations", got, n)
	}
}

// TestResultsDoNotRestOnTheRefused: what an operation saw of another one that was
// then refused for lack of room is forgotten with it.
func TestResultsDoNotRestOnTheRefused(t *testing.T) {
	s := storetest.Run(t, storetest.Options(t, nil, rows))
	hold, told := make(chan struct{}), make(chan error, 2)
	s.Submit(store.Op{Do: func(*bbolt.Tx) error { <-hold; return errors.New("only to gather the others") }})
	done := func(err error) { told <- err }
	s.Submit(store.Op{Name: "too large", New: true, Do: put("k", strings.Repeat("v", storetest.Size)), Done: done})
	s.Submit(store.Op{Name: "the same again", Do: func(tx *bbolt.Tx) error {
		if tx.Bucket([]byte("rows")).Get([]byte("k")) != nil {
			return errors.New("exists")
		}
		return put("k", "small")(tx)
	}, Done: done})
	close(hold)
	if first, second := <-told, <-told; !errors.Is(first, store.ErrFull) || second != nil {
		t.Errorf("the large one: %v; the same again: %v", first, second)
	}
}
