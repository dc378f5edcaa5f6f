package store_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"
	"go.etcd.io/bbolt"

	_ "github.com/ssg-safe/agent/internal/bubbles"
	"github.com/ssg-safe/agent/store"
	"github.com/ssg-safe/agent/store/storetest"
)

var rows = store.Migration{Name: "rows", Do: func(tx *bbolt.Tx) error {
	_, err := tx.CreateBucket([]byte("rows"))
	return err
}}

func put(key, value string) func(*bbolt.Tx) error {
	return func(tx *bbolt.Tx) error { return tx.Bucket([]byte("rows")).Put([]byte(key), []byte(value)) }
}

// content is the whole bucket.
func content(t testing.TB, s *store.Store) map[string]string {
	t.Helper()
	got := make(map[string]string)
	err := s.View(func(tx *bbolt.Tx) error {
		return tx.Bucket([]byte("rows")).ForEach(func(k, v []byte) error {
			got[string(k)] = string(v)
			return nil
		})
	})
	if err != nil {
		t.Error(err)
	}
	return got
}

// log collects what Done was told, in order.
type log struct {
	mu    sync.Mutex
	lines []string
	left  sync.WaitGroup
}

func (l *log) done(name string) func(error) {
	l.left.Add(1)
	return func(err error) {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.lines = append(l.lines, fmt.Sprint(name, ": ", err))
		l.left.Done()
	}
}

func (l *log) wait() []string {
	l.left.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lines
}

// open is a store that nobody commits for yet.
func open(t testing.TB, o store.Options) *store.Store {
	t.Helper()
	storetest.Create(t, o)
	s, err := store.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		storetest.Audit(t, o)
	})
	return s
}

// run commits what is waiting and ends.
func run(s *store.Store) error {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return s.Run(ctx)
}

func TestWaitingOperationsAreOneCommit(t *testing.T) {
	s := open(t, storetest.Options(t, nil, rows))
	var l log
	var want []string
	for i := range 100 {
		name := fmt.Sprintf("op%03d", i)
		s.Submit(store.Op{Name: name, Do: put(name, "x"), Done: l.done(name)})
		want = append(want, name+": <nil>")
	}
	if err := run(s); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, l.wait()); diff != "" {
		t.Errorf("Done (-want +got):\n%s", diff)
	}
	if st := s.Stats(); st.Commits != 1 || st.Ops != 100 || st.Flushes != 2 || st.Bytes < 4096 || st.Waiting != 0 {
		t.Errorf("stats %+v; want 100 operations in 1 commit with 2 flushes", st)
	}
	if got := content(t, s); len(got) != 100 {
		t.Errorf("%d rows", len(got))
	}
}

func TestFailedOperationLeavesNoTrace(t *testing.T) {
	s := open(t, storetest.Options(t, nil, rows))
	no := errors.New("no")
	var l log
	for _, name := range []string{"a", "b!", "c", "d!", "e"} {
		s.Submit(store.Op{Name: name, Done: l.done(name), Do: func(tx *bbolt.Tx) error {
			if err := put(name, "x")(tx); err != nil || !strings.HasSuffix(name, "!") {
				return err
			}
			return no
		}})
	}
	if err := run(s); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"a: <nil>", "b!: no", "c: <nil>", "d!: no", "e: <nil>"}, l.wait()); diff != "" {
		t.Errorf("Done (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string]string{"a": "x", "c": "x", "e": "x"}, content(t, s)); diff != "" {
		t.Errorf("rows (-want +got):\n%s", diff)
	}
	if st := s.Stats(); st.Commits != 1 || st.Ops != 3 {
		t.Errorf("stats %+v; want 3 operations in 1 commit", st)
	}
}

func TestNothingToCommitIsNoCommit(t *testing.T) {
	s := open(t, storetest.Options(t, nil, rows))
	var l log
	s.Submit(store.Op{Name: "a", Do: func(*bbolt.Tx) error { return errors.New("no") }, Done: l.done("a")})
	if err := run(s); err != nil {
		t.Fatal(err)
	}
	if got := s.Stats().Commits; got != 0 || len(l.wait()) != 1 {
		t.Errorf("%d commits", got)
	}
}

// TestResultsRestOnTheCommit: an operation that fails because of another one in
// its group must not learn so when that one is not durable.
func TestResultsRestOnTheCommit(t *testing.T) {
	o := storetest.Options(t, nil, rows)
	o.Commit = func(tx *bbolt.Tx) error {
		if err := tx.Rollback(); err != nil {
			return err
		}
		return errors.New("EIO")
	}
	s := open(t, o)
	exists := errors.New("exists")
	first := func(tx *bbolt.Tx) error {
		if tx.Bucket([]byte("rows")).Get([]byte("k")) != nil {
			return exists
		}
		return put("k", "x")(tx)
	}
	results := make(chan error, 3)
	for range 2 {
		s.Submit(store.Op{Do: first, Done: func(err error) { results <- err }})
	}
	err := run(s)
	for range 2 {
		if err := <-results; !errors.Is(err, store.ErrOutcomeUnknown) {
			t.Errorf("Done was told %v before the group was durable", err)
		}
	}
	if !errors.Is(err, store.ErrOutcomeUnknown) || !errors.Is(s.Err(), store.ErrOutcomeUnknown) {
		t.Errorf("Run %v, Err %v", err, s.Err())
	}
}

// TestCommitError: every way in which a commit can fail, then resolution by
// operation id in the reopened store.
func TestCommitError(t *testing.T) {
	fault := errors.New("input/output error")
	tests := map[string]struct {
		commit    func(*bbolt.Tx) error
		survives  bool
		wantCause string
	}{
		"before it": {func(tx *bbolt.Tx) error { return errors.Join(tx.Rollback(), fault) }, false, "input/output error"},
		"after it":  {func(tx *bbolt.Tx) error { return errors.Join(tx.Commit(), fault) }, true, "input/output error"},
		"panic":     {func(tx *bbolt.Tx) error { _ = tx.Rollback(); panic("page 7 already freed") }, false, "page 7 already freed"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			o := fullOptions(storetest.Options(t, nil).Path)
			o.Commit = func(tx *bbolt.Tx) error {
				if tx.Bucket([]byte("queue_ops")).Get([]byte("op-1")) != nil {
					return test.commit(tx)
				}
				return tx.Commit()
			}
			s := open(t, o)
			var l log
			op := func(n int) store.Op {
				op := operation(n)
				op.Done = l.done(op.Name)
				return op
			}
			s.Submit(op(0))
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			ended := make(chan error, 1)
			go func() { ended <- s.Run(ctx) }()
			l.wait()
			s.Submit(op(1))
			s.Submit(op(2))
			if err := <-ended; !errors.Is(err, store.ErrOutcomeUnknown) || !strings.Contains(err.Error(), test.wantCause) {
				t.Errorf("Run: %v", err)
			}
			s.Submit(op(3)) // too late
			for _, line := range l.wait()[1:] {
				if !strings.Contains(line, store.ErrOutcomeUnknown.Error()) {
					t.Errorf("Done was told %s", line)
				}
			}
			<-s.Failed()
			if err := s.View(func(*bbolt.Tx) error { return nil }); !errors.Is(err, store.ErrOutcomeUnknown) {
				t.Errorf("View of a failed store: %v", err)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}

			o.Commit = nil
			s, stop := storetest.Start(t, o)
			defer stop()
			if got := entries(t, s); got["op-0"] != 1 || (got["op-1"] == 1) != test.survives {
				t.Errorf("after the restart: %v, want op-1 there: %v", got, test.survives)
			}
			for _, n := range []int{1, 2, 3} {
				resolve(t, s, n)
			}
			if diff := cmp.Diff(map[string]int{"op-0": 1, "op-1": 1, "op-2": 1, "op-3": 1}, entries(t, s)); diff != "" {
				t.Errorf("after looking the operations up (-want +got):\n%s", diff)
			}
		})
	}
}

func TestPanicInAnOperation(t *testing.T) {
	s := open(t, storetest.Options(t, nil, rows))
	var l log
	s.Submit(store.Op{Name: "a", Do: put("a", "x"), Done: l.done("a")})
	s.Submit(store.Op{Name: "b", Do: func(*bbolt.Tx) error { panic("bug") }, Done: l.done("b")})
	if err := run(s); !errors.Is(err, store.ErrOutcomeUnknown) || !strings.Contains(err.Error(), `"b"`) {
		t.Errorf("Run: %v; want ErrOutcomeUnknown that names the operation", err)
	}
	for _, line := range l.wait() {
		if !strings.Contains(line, "outcome") {
			t.Errorf("Done was told %s", line)
		}
	}
	<-s.Failed()
}

// TestViewShowsOnlyWhatIsDurable: bbolt shows a commit to readers before its
// last flush has returned; the store does not.
func TestViewShowsOnlyWhatIsDurable(t *testing.T) {
	for _, name := range []string{"flush returns", "flush fails"} {
		t.Run(name, func(t *testing.T) {
			o := storetest.Options(t, nil, rows)
			storetest.Create(t, o)
			synctest.Test(t, func(t *testing.T) {
				o := o
				flushing, flush := make(chan struct{}), make(chan error)
				o.Commit = func(tx *bbolt.Tx) error {
					if err := tx.Commit(); err != nil { // from here on bbolt shows it
						return err
					}
					flushing <- struct{}{}
					return <-flush
				}
				s, err := store.Open(o)
				if err != nil {
					t.Fatal(err)
				}
				defer s.Close()
				ctx, cancel := context.WithCancel(t.Context())
				ended := make(chan struct{})
				go func() {
					defer close(ended)
					_ = s.Run(ctx)
				}()
				s.Submit(store.Op{Do: put("k", "x")})
				<-flushing
				var seen string
				read := make(chan error, 1)
				go func() {
					read <- s.View(func(tx *bbolt.Tx) error {
						seen = string(tx.Bucket([]byte("rows")).Get([]byte("k")))
						return nil
					})
				}()
				synctest.Wait()
				select {
				case err := <-read:
					t.Errorf("read %q, %v while the flush was under way", seen, err)
				default:
				}
				if name == "flush returns" {
					flush <- nil
					if err := <-read; err != nil || seen != "x" {
						t.Errorf("read %q, %v after the flush", seen, err)
					}
				} else {
					flush <- errors.New("EIO")
					if err := <-read; !errors.Is(err, store.ErrOutcomeUnknown) {
						t.Errorf("read %q, %v after the flush failed", seen, err)
					}
				}
				cancel()
				<-ended
			})
		})
	}
}

func TestBusyAndClosed(t *testing.T) {
	s := open(t, storetest.Options(t, nil, rows))
	told := make(map[string]int)
	submit := func() {
		s.Submit(store.Op{Do: put("k", "x"), Done: func(err error) { told[fmt.Sprint(err)]++ }})
	}
	for range 5000 {
		submit()
	}
	busy := told[store.ErrBusy.Error()]
	if err := run(s); err != nil {
		t.Fatal(err)
	}
	submit()
	want := map[string]int{"<nil>": 5000 - busy, store.ErrBusy.Error(): busy, store.ErrClosed.Error(): 1}
	if diff := cmp.Diff(want, told); diff != "" || busy == 0 {
		t.Errorf("Done (-want +got):\n%s", diff)
	}
	if st := s.Stats(); st.Refused != int64(busy)+1 {
		t.Errorf("%d refused, want %d", st.Refused, busy+1)
	}
}

func TestCloseAnswersThoseThatWait(t *testing.T) {
	o := storetest.Options(t, nil, rows)
	storetest.Create(t, o)
	s, err := store.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	var l log
	s.Submit(store.Op{Do: put("a", "x"), Done: l.done("a")})
	s.Submit(store.Op{Do: put("b", "x")}) // nobody wants to know
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"a: " + store.ErrClosed.Error()}, l.wait()); diff != "" {
		t.Error(diff)
	}
}

func TestCommitGivesUpWaiting(t *testing.T) {
	s := open(t, storetest.Options(t, nil, rows))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Commit(ctx, store.Op{Do: put("a", "x")}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if err := run(s); err != nil {
		t.Fatal(err)
	}
	if got := content(t, s); got["a"] != "x" {
		t.Error("the operation was lost with the patience of its caller")
	}
}

// TestSoftLimit fills a store with new obligations until it refuses them, and
// wants everything else to go on.
func TestSoftLimit(t *testing.T) {
	o := storetest.Options(t, nil, rows)
	s := storetest.Run(t, o)
	do := func(op store.Op) error { return s.Commit(t.Context(), op) }
	value := strings.Repeat("v", 1000)
	n := 0
	var err error
	for ; err == nil; n++ {
		err = do(store.Op{Name: "new", New: true, Do: put(fmt.Sprintf("new%06d", n), value)})
	}
	st := s.Stats()
	if !errors.Is(err, store.ErrFull) || !st.Full || st.Free >= st.Reserve {
		t.Fatalf("after %d operations: %v, %+v", n, err, st)
	}
	if used := st.Size - st.Free; used < st.Size*3/4 {
		t.Errorf("full with %d of %d bytes in use", used, st.Size)
	}
	// Acknowledgements and progress rewrite rows all over the file.
	for i := range 500 {
		if err := do(store.Op{Name: "ack", Do: put(fmt.Sprintf("new%06d", i*7919%(n-1)), value)}); err != nil {
			t.Fatalf("acknowledgement %d on a full store: %v", i, err)
		}
	}
	if err := do(store.Op{New: true, Do: put("x", value)}); !errors.Is(err, store.ErrFull) {
		t.Errorf("still full, but: %v", err)
	}
	if err := do(store.Op{Name: "prune", Do: func(tx *bbolt.Tx) error {
		b := tx.Bucket([]byte("rows"))
		for i := range 200 {
			if err := b.Delete(fmt.Appendf(nil, "new%06d", i)); err != nil {
				return err
			}
		}
		return nil
	}}); err != nil {
		t.Fatal(err)
	}
	if err := do(store.Op{New: true, Do: put("x", value)}); err != nil {
		t.Errorf("after pruning: %v", err)
	}
}

// TestNoSoftLimit is the mutant: everything is let in, and what the soft limit
// is for happens: an acknowledgement finds no room. The store lives on, keeps
// what deleting needs, and comes up again.
func TestNoSoftLimit(t *testing.T) {
	o := storetest.Options(t, nil, rows)
	s, stop := storetest.Start(t, o)
	value := strings.Repeat("v", 1000)
	var err error
	n := 0
	for ; err == nil; n++ {
		err = s.Commit(t.Context(), store.Op{Do: put(fmt.Sprintf("new%06d", n), value)})
	}
	if !errors.Is(err, store.ErrFull) || s.Err() != nil {
		t.Fatalf("got %v and %v, want a refusal only", err, s.Err())
	}
	stop()
	s = storetest.Run(t, o)
	if st := s.Stats(); st.ReadOnly != "" {
		t.Errorf("read-only: %s", st.ReadOnly)
	}
	prune := store.Op{Name: "prune", Do: func(tx *bbolt.Tx) error {
		b := tx.Bucket([]byte("rows"))
		for i := range n - 1 {
			if err := b.Delete(fmt.Appendf(nil, "new%06d", i)); err != nil {
				return err
			}
		}
		return nil
	}}
	if err := s.Commit(t.Context(), prune); !errors.Is(err, store.ErrFull) {
		t.Errorf("the mutant that does not say that it frees: %v", err)
	}
	prune.Frees = true
	if err := s.Commit(t.Context(), prune); err != nil {
		t.Errorf("pruning: %v", err)
	}
	if err := s.Commit(t.Context(), store.Op{New: true, Do: put("x", value)}); err != nil {
		t.Errorf("after pruning: %v", err)
	}
}

// TestLargeGroupsKeepTheReserve: many large operations at once, just below the
// limit, must not eat what is kept for acknowledgements.
func TestLargeGroupsKeepTheReserve(t *testing.T) {
	s := open(t, storetest.Options(t, nil, rows))
	value := strings.Repeat("v", 30_000)
	told := make(map[error]int)
	for n := range 200 {
		s.Submit(store.Op{New: true, Do: put(fmt.Sprintf("new%06d", n), value), Done: func(err error) { told[err]++ }})
		s.Submit(store.Op{Do: put("ack", fmt.Sprint(n)), Done: func(err error) { told[err]++ }})
	}
	if err := run(s); err != nil {
		t.Fatal(err)
	}
	if told[nil]+told[store.ErrFull] != 400 || told[nil] < 210 || told[store.ErrFull] < 100 {
		t.Errorf("results %v", told)
	}
	if st := s.Stats(); st.Commits < 3 {
		t.Errorf("%d commits: the group was not divided", st.Commits)
	}
}

// TestReaderAtTheLimit: pages that an open reader holds do not count as free, so
// that acknowledgements still fit beside it.
func TestReaderAtTheLimit(t *testing.T) {
	s := storetest.Run(t, storetest.Options(t, nil, rows))
	value := strings.Repeat("v", 1000)
	do := func(isNew bool, n int) error { // always the same row: garbage that stays pending
		return s.Commit(t.Context(), store.Op{New: isNew, Do: put("k", value+fmt.Sprint(n))})
	}
	err := s.View(func(*bbolt.Tx) error {
		var err error
		for n := 0; err == nil; n++ {
			err = do(true, n)
		}
		if !errors.Is(err, store.ErrFull) {
			t.Errorf("with a reader: %v, want ErrFull", err)
		}
		return do(false, 0)
	})
	if err != nil {
		t.Errorf("an acknowledgement beside the reader: %v", err)
	}
	if err := do(true, 1); err != nil {
		t.Errorf("after the reader: %v", err)
	}
}

// TestManyAtOnce is for the race detector: producers, readers, a backup and
// statistics at the same time; each producer reads its own writes.
func TestManyAtOnce(t *testing.T) {
	o := storetest.Options(t, nil, rows)
	o.Size = 4 << 20
	s := storetest.Run(t, o)
	var wg sync.WaitGroup
	for p := range 8 {
		wg.Go(func() {
			for i := range 50 {
				key, no := fmt.Sprintf("p%d-%03d", p, i), errors.New("no")
				err := s.Commit(t.Context(), store.Op{Name: key, New: true, Do: func(tx *bbolt.Tx) error {
					if err := put(key, "x")(tx); err != nil || i%10 != 9 {
						return err
					}
					return no
				}})
				if err != nil && (i%10 != 9 || !errors.Is(err, no)) {
					t.Errorf("%s: %v", key, err)
				}
				if got := content(t, s); (got[key] == "x") != (err == nil) {
					t.Errorf("%s: reads %q after %v", key, got[key], err)
				}
			}
		})
	}
	wg.Go(func() {
		for range 20 {
			if err := s.Backup(io.Discard); err != nil {
				t.Error(err)
			}
			s.Stats()
		}
	})
	wg.Wait()
	if st := s.Stats(); st.Ops != 360 || st.Commits > 360 {
		t.Errorf("stats %+v, want 360 operations", st)
	}
}
