// Package hubtest tests implementations of [hub.Store] against its contract. Two
// lines run it:
//
//	func TestConformance(t *testing.T) {
//		hubtest.Test(t, func(t testing.TB, dir string) hubtest.Store { return open(t, dir) })
//	}
package hubtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ssg-safe/agent/hub"
	"github.com/ssg-safe/agent/ledger"
)

// Store is a store that can be closed.
type Store interface {
	hub.Store
	Close() error
}

// Open opens the store that lives in a directory (or is named by it), empty when
// it is new. What was committed before a Close must be there after the next Open.
// It fails the test when it cannot.
type Open func(t testing.TB, dir string) Store

// Test runs the whole conformance test.
func Test(t *testing.T, open Open) {
	for _, c := range []struct {
		name string
		test func(*testing.T, *fixture)
	}{
		{"Records", testRecords},
		{"Scan", testScan},
		{"Append", testAppend},
		{"Entries", testEntries},
		{"Operations", testOperations},
		{"SetAside", testSetAside},
		{"Atomicity", testAtomicity},
		{"OwnBytes", testOwnBytes},
		{"Concurrency", testConcurrency},
		{"Snapshots", testSnapshots},
		{"Contexts", testContexts},
		{"ReadOnlyViews", testViewsRefuseWrites},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := &fixture{t: t, open: open, dir: t.TempDir()}
			f.s = open(t, f.dir)
			c.test(t, f)
			f.reopen()
			if err := f.s.Close(); err != nil {
				t.Errorf("Close: %v", err)
			}
		})
	}
}

type fixture struct {
	t    *testing.T
	open Open
	dir  string
	s    Store
}

// reopen closes the store and opens it again: what comes after sees only what
// was durable.
func (f *fixture) reopen() {
	f.t.Helper()
	if err := f.s.Close(); err != nil {
		f.t.Fatalf("Close: %v", err)
	}
	f.s = f.open(f.t, f.dir)
}

func (f *fixture) update(fn func(hub.Tx) error) {
	f.t.Helper()
	if err := f.s.Update(f.t.Context(), fn); err != nil {
		f.t.Fatalf("Update: %v", err)
	}
}

func (f *fixture) view(fn func(hub.Tx) error) {
	f.t.Helper()
	if err := f.s.View(f.t.Context(), fn); err != nil {
		f.t.Fatalf("View: %v", err)
	}
}

// get returns a record, "" when there is none.
func (f *fixture) get(kind hub.Kind, key string) (doc string) {
	f.t.Helper()
	f.view(func(tx hub.Tx) error {
		b, err := tx.Get(kind, key)
		if errors.Is(err, hub.ErrNotFound) {
			return nil
		}
		doc = string(b)
		return err
	})
	return doc
}

func entry(epoch, seq uint64, op string) hub.Entry {
	raw := fmt.Appendf(nil, `{"v":1,"epoch":%d,"seq":%d,"op":%q}`, epoch, seq, op)
	return hub.Entry{
		Position: ledger.Position{Epoch: epoch, Seq: seq}, Hash: ledger.HashOf(raw), Bytes: raw,
		Op: op, Digest: ledger.HashOf([]byte(op)),
	}
}

func positions(t *testing.T, entries iter.Seq2[hub.Entry, error]) (list []string) {
	t.Helper()
	for e, err := range entries {
		if err != nil {
			t.Fatalf("iteration: %v", err)
		}
		if ledger.HashOf(e.Bytes) != e.Hash {
			t.Errorf("entry %v: %q does not have the hash %v", e.Position, e.Bytes, e.Hash)
		}
		list = append(list, e.String())
	}
	return list
}

func testRecords(t *testing.T, f *fixture) {
	if got := f.get(hub.KindDevice, "a"); got != "" {
		t.Errorf("a record in an empty store: %q", got)
	}
	long := strings.Repeat("x", 512)
	f.update(func(tx hub.Tx) error {
		return errors.Join(
			tx.Put(hub.KindDevice, "a", []byte(`{"n":1}`)),
			tx.Put(hub.KindAlarm, "a", []byte(`{"n":2}`)), // the same key of another kind
			tx.Put(hub.KindDevice, long, bytes.Repeat([]byte("y"), 64<<10)),
			tx.Delete(hub.KindDevice, "never there"),
		)
	})
	f.reopen()
	for _, kind := range hub.Kinds() {
		f.update(func(tx hub.Tx) error { return tx.Put(kind, "every kind", []byte(kind)) })
		if got := f.get(kind, "every kind"); got != string(kind) {
			t.Errorf("kind %s: got %q", kind, got)
		}
	}
	if got := []string{f.get(hub.KindDevice, "a"), f.get(hub.KindAlarm, "a")}; !slices.Equal(got, []string{`{"n":1}`, `{"n":2}`}) {
		t.Errorf("got %q", got)
	}
	if got := f.get(hub.KindDevice, long); len(got) != 64<<10 {
		t.Errorf("the largest record has %d bytes", len(got))
	}
	f.update(func(tx hub.Tx) error {
		// A transaction sees its own writes.
		if err := tx.Put(hub.KindDevice, "a", []byte("new")); err != nil {
			return err
		}
		got, err := tx.Get(hub.KindDevice, "a")
		if err != nil || string(got) != "new" {
			t.Errorf("after Put in the same transaction: %q, %v", got, err)
		}
		if err := tx.Delete(hub.KindDevice, "a"); err != nil {
			return err
		}
		if _, err := tx.Get(hub.KindDevice, "a"); !errors.Is(err, hub.ErrNotFound) {
			t.Errorf("after Delete in the same transaction: %v", err)
		}
		return nil
	})
	f.reopen()
	if got := f.get(hub.KindDevice, "a"); got != "" {
		t.Errorf("after Delete: %q", got)
	}
}

func testScan(t *testing.T, f *fixture) {
	scan := func(prefix string) (keys []string) {
		f.view(func(tx hub.Tx) error {
			for r, err := range tx.Scan(hub.KindPayment, prefix) {
				if err != nil {
					return err
				}
				if want := "doc " + r.Key; string(r.Doc) != want {
					t.Errorf("record %s holds %q", r.Key, r.Doc)
				}
				keys = append(keys, r.Key)
			}
			return nil
		})
		return keys
	}
	if got := scan(""); got != nil {
		t.Errorf("scan of nothing: %q", got)
	}
	f.update(func(tx hub.Tx) error {
		for _, k := range []string{"b/2", "b/10", "a/1", "b", "b/1", "c/1", "B/1", "b-x/1", "\xff/1"} {
			if err := tx.Put(hub.KindPayment, k, []byte("doc "+k)); err != nil {
				return err
			}
		}
		return nil
	})
	f.reopen()
	for prefix, want := range map[string][]string{
		"b/":   {"b/1", "b/10", "b/2"},
		"b":    {"b", "b-x/1", "b/1", "b/10", "b/2"},
		"d":    nil,
		"":     {"B/1", "a/1", "b", "b-x/1", "b/1", "b/10", "b/2", "c/1", "\xff/1"},
		"\xff": {"\xff/1"},
	} {
		if diff := cmp.Diff(want, scan(prefix)); diff != "" {
			t.Errorf("scan %q (-want +got):\n%s", prefix, diff)
		}
	}
	f.view(func(tx hub.Tx) error {
		n := 0
		for range tx.Scan(hub.KindPayment, "b") {
			if n++; n == 2 {
				break // and nothing comes after
			}
		}
		return nil
	})
}

func testAppend(t *testing.T, f *fixture) {
	e := entry(1, 1, "op/1")
	f.update(func(tx hub.Tx) error { return tx.Append("d", e) })
	f.update(func(tx hub.Tx) error {
		if err := tx.Append("d", e); err != nil {
			t.Errorf("the same again: %v", err)
		}
		other := entry(1, 1, "op/2")
		if err := tx.Append("d", other); !errors.Is(err, hub.ErrConflict) {
			t.Errorf("other bytes in its place: %v, want ErrConflict", err)
		}
		// Nothing came of the conflict.
		got, err := tx.Entry("d", e.Position)
		if err != nil || !bytes.Equal(got.Bytes, e.Bytes) || got.Hash != e.Hash {
			t.Errorf("after the conflict: %q, %v", got.Bytes, err)
		}
		if _, err := tx.Op("d", "op/2"); !errors.Is(err, hub.ErrNotFound) {
			t.Errorf("the operation of the conflict: %v, want ErrNotFound", err)
		}
		// Neither order nor gaps are its business, nor other devices.
		return errors.Join(tx.Append("d", entry(1, 9, "op/9")), tx.Append("d", entry(1, 5, "op/5")), tx.Append("other", entry(1, 1, "op/1")))
	})
	f.reopen()
	f.view(func(tx hub.Tx) error {
		got, err := tx.Entry("d", e.Position)
		if err != nil || string(got.Bytes) != string(e.Bytes) || got.Hash != e.Hash || got.Position != e.Position {
			t.Errorf("got %q at %v, %v", got.Bytes, got.Position, err)
		}
		for _, at := range []struct {
			device string
			at     ledger.Position
		}{{"d", ledger.Position{Epoch: 1, Seq: 2}}, {"d", ledger.Position{Epoch: 2, Seq: 1}}, {"nobody", e.Position}} {
			if _, err := tx.Entry(at.device, at.at); !errors.Is(err, hub.ErrNotFound) {
				t.Errorf("entry %v of %s: %v, want ErrNotFound", at.at, at.device, err)
			}
		}
		return nil
	})
}

func testEntries(t *testing.T, f *fixture) {
	f.update(func(tx hub.Tx) error {
		// Positions order as numbers.
		for _, p := range []ledger.Position{{Epoch: 1, Seq: 255}, {Epoch: 1, Seq: 256}, {Epoch: 1, Seq: 9}, {Epoch: 1, Seq: 10}, {Epoch: 300, Seq: 1}, {Epoch: 2, Seq: 1}, {Epoch: 1 << 62, Seq: 1 << 63}} {
			if err := tx.Append("dev-1", entry(p.Epoch, p.Seq, p.String())); err != nil {
				return err
			}
		}
		return errors.Join(tx.Append("dev-10", entry(1, 1, "x")), tx.Append("dev", entry(1, 2, "x")))
	})
	f.reopen()
	f.view(func(tx hub.Tx) error {
		all := []string{"1/9", "1/10", "1/255", "1/256", "2/1", "300/1", "4611686018427387904/9223372036854775808"}
		for from, want := range map[ledger.Position][]string{
			{}:                    all,
			{Epoch: 1, Seq: 10}:   all[1:],
			{Epoch: 1, Seq: 11}:   all[2:],
			{Epoch: 1, Seq: 257}:  all[4:],
			{Epoch: 3}:            all[5:],
			{Epoch: 1<<64 - 1}:    nil,
			{Epoch: 300, Seq: 1}:  all[5:],
			{Epoch: 2, Seq: 1000}: all[5:],
		} {
			if diff := cmp.Diff(want, positions(t, tx.Entries("dev-1", from))); diff != "" {
				t.Errorf("from %v (-want +got):\n%s", from, diff)
			}
		}
		if got := positions(t, tx.Entries("nobody", ledger.Position{})); got != nil {
			t.Errorf("entries of nobody: %v", got)
		}
		if got := positions(t, tx.Entries("dev", ledger.Position{})); !slices.Equal(got, []string{"1/2"}) {
			t.Errorf("entries of a device whose name begins others': %v", got)
		}
		return nil
	})
}

func testOperations(t *testing.T, f *fixture) {
	first, again := entry(1, 1, "pay"), entry(1, 2, "pay")
	again.Digest = ledger.HashOf([]byte("another content"))
	silent := entry(1, 3, "")
	f.update(func(tx hub.Tx) error {
		return errors.Join(tx.Append("d", first), tx.Append("d", again), tx.Append("d", silent), tx.Append("e", entry(7, 7, "pay")))
	})
	f.reopen()
	f.view(func(tx hub.Tx) error {
		for _, c := range []struct {
			device string
			want   hub.Op
		}{{"d", hub.Op{At: first.Position, Digest: first.Digest}}, {"e", hub.Op{At: ledger.Position{Epoch: 7, Seq: 7}, Digest: first.Digest}}} {
			if got, err := tx.Op(c.device, "pay"); err != nil || got != c.want {
				t.Errorf("operation of %s: %+v, %v, want %+v: the first one counts", c.device, got, err, c.want)
			}
		}
		for _, op := range []string{"pa", "pay2", ""} {
			if _, err := tx.Op("d", op); !errors.Is(err, hub.ErrNotFound) {
				t.Errorf("operation %q: %v, want ErrNotFound", op, err)
			}
		}
		if got := positions(t, tx.Entries("d", ledger.Position{})); len(got) != 3 {
			t.Errorf("entries %v: one with a known operation is an entry all the same", got)
		}
		return nil
	})
}

func testSetAside(t *testing.T, f *fixture) {
	f.update(func(tx hub.Tx) error {
		for seq := range uint64(300) {
			if err := tx.Append("d", entry(2, seq+1, fmt.Sprint("op/", seq+1))); err != nil {
				return err
			}
		}
		return errors.Join(tx.Append("d", entry(1, 500, "old")), tx.Append("d", entry(3, 1, "new")), tx.Append("e", entry(2, 250, "op/250")))
	})
	f.update(func(tx hub.Tx) error {
		n, err := tx.SetAside("d", ledger.Position{Epoch: 2, Seq: 201}, "fork")
		if n != 100 {
			t.Errorf("SetAside moved %d, want 100", n)
		}
		return err
	})
	f.reopen()
	f.update(func(tx hub.Tx) error {
		if got := positions(t, tx.Entries("d", ledger.Position{Epoch: 2, Seq: 200})); !slices.Equal(got, []string{"2/200", "3/1"}) {
			t.Errorf("what is left: %v", got)
		}
		aside := positions(t, tx.Aside("d", "fork"))
		if len(aside) != 100 || aside[0] != "2/201" || aside[99] != "2/300" {
			t.Errorf("set aside: %v", aside)
		}
		for op, there := range map[string]bool{"op/200": true, "op/201": false, "op/300": false, "old": true, "new": true} {
			if _, err := tx.Op("d", op); errors.Is(err, hub.ErrNotFound) == there {
				t.Errorf("operation %s: %v", op, err)
			}
		}
		if _, err := tx.Op("e", "op/250"); err != nil {
			t.Errorf("operation of another device: %v", err)
		}
		if got := positions(t, tx.Aside("d", "for")); got != nil {
			t.Errorf("a branch that does not exist: %v", got)
		}
		// The place is free again, and the branch's name is taken.
		other := entry(2, 201, "other")
		if err := tx.Append("d", other); err != nil {
			return err
		}
		if _, err := tx.SetAside("d", other.Position, "fork"); !errors.Is(err, hub.ErrConflict) {
			t.Errorf("a second use of a branch: %v, want ErrConflict", err)
		}
		return nil
	})
}

var errRefused = errors.New("refused")

func testAtomicity(t *testing.T, f *fixture) {
	f.update(func(tx hub.Tx) error { return tx.Put(hub.KindMeta, "k", []byte("before")) })
	err := f.s.Update(t.Context(), func(tx hub.Tx) error {
		err := errors.Join(
			tx.Put(hub.KindMeta, "k", []byte("after")), tx.Put(hub.KindMeta, "new", nil),
			tx.Append("d", entry(1, 1, "op")),
		)
		return errors.Join(err, errRefused)
	})
	if !errors.Is(err, errRefused) {
		t.Errorf("Update: %v, want what fn returned", err)
	}
	check := func() {
		t.Helper()
		if got := f.get(hub.KindMeta, "k"); got != "before" {
			t.Errorf("a record after a refused Update: %q", got)
		}
		f.view(func(tx hub.Tx) error {
			if _, err := tx.Entry("d", ledger.Position{Epoch: 1, Seq: 1}); !errors.Is(err, hub.ErrNotFound) {
				t.Errorf("an entry after a refused Update: %v", err)
			}
			if _, err := tx.Op("d", "op"); !errors.Is(err, hub.ErrNotFound) {
				t.Errorf("an operation after a refused Update: %v", err)
			}
			return nil
		})
	}
	check()
	f.reopen()
	check()
	if err := f.s.View(t.Context(), func(hub.Tx) error { return errRefused }); !errors.Is(err, errRefused) {
		t.Errorf("View: %v, want what fn returned", err)
	}
}

// The caller's bytes may change after fn has returned, and a store's must not
// have been changed.
func testOwnBytes(t *testing.T, f *fixture) {
	e := entry(1, 1, "op")
	want := string(e.Bytes)
	doc := []byte("document")
	f.update(func(tx hub.Tx) error {
		return errors.Join(tx.Append("d", e), tx.Put(hub.KindMeta, "k", doc))
	})
	if string(e.Bytes) != want || string(doc) != "document" {
		t.Error("the store changed the caller's bytes")
	}
	clear(e.Bytes)
	clear(doc)
	if got := f.get(hub.KindMeta, "k"); got != "document" {
		t.Errorf("the record is now %q", got)
	}
	f.view(func(tx hub.Tx) error {
		got, err := tx.Entry("d", e.Position)
		if string(got.Bytes) != want {
			t.Errorf("the entry is now %q", got.Bytes)
		}
		return err
	})
}

func testConcurrency(t *testing.T, f *fixture) {
	const goroutines, rounds = 8, 25
	var wg sync.WaitGroup
	for g := range goroutines {
		wg.Go(func() {
			for i := range rounds {
				err := f.s.Update(t.Context(), func(tx hub.Tx) error {
					n, err := tx.Get(hub.KindCounter, "n")
					if err != nil && !errors.Is(err, hub.ErrNotFound) {
						return err
					}
					return errors.Join(
						tx.Put(hub.KindCounter, "n", append(slices.Clone(n), '+')),
						tx.Append(fmt.Sprint("d", g), entry(1, uint64(i+1), fmt.Sprint(i))),
					)
				})
				if err != nil {
					t.Errorf("Update: %v", err)
				}
				err = f.s.View(t.Context(), func(tx hub.Tx) error {
					if _, err := tx.Entry(fmt.Sprint("d", g), ledger.Position{Epoch: 1, Seq: uint64(i + 1)}); err != nil {
						t.Errorf("what was committed is not seen: %v", err)
					}
					return nil
				})
				if err != nil {
					t.Errorf("View: %v", err)
				}
			}
		})
	}
	wg.Wait()
	f.reopen()
	if got := len(f.get(hub.KindCounter, "n")); got != goroutines*rounds {
		t.Errorf("%d updates were counted, want %d: one was lost", got, goroutines*rounds)
	}
}

// A View sees one state from its beginning to its end, and Updates do not wait
// for it.
func testSnapshots(t *testing.T, f *fixture) {
	f.update(func(tx hub.Tx) error { return tx.Put(hub.KindMeta, "k", []byte("old")) })
	f.view(func(tx hub.Tx) error {
		before, err := tx.Get(hub.KindMeta, "k")
		if err != nil {
			return err
		}
		first := string(before)
		done := make(chan error, 1)
		go func() {
			done <- f.s.Update(t.Context(), func(tx hub.Tx) error {
				return errors.Join(tx.Put(hub.KindMeta, "k", []byte("new")), tx.Append("d", entry(1, 1, "op")))
			})
		}()
		if err := <-done; err != nil {
			return err
		}
		after, err := tx.Get(hub.KindMeta, "k")
		if err != nil {
			return err
		}
		if first != "old" || string(after) != "old" || string(before) != "old" {
			t.Errorf("a View saw %q, then %q", first, after)
		}
		if _, err := tx.Entry("d", ledger.Position{Epoch: 1, Seq: 1}); !errors.Is(err, hub.ErrNotFound) {
			t.Errorf("a View saw an entry of later: %v", err)
		}
		return nil
	})
	if got := f.get(hub.KindMeta, "k"); got != "new" {
		t.Errorf("the next View saw %q", got)
	}
}

func testContexts(t *testing.T, f *fixture) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	called := func(hub.Tx) error {
		t.Error("fn was called although its context had ended")
		return nil
	}
	if err := f.s.Update(ctx, called); !errors.Is(err, context.Canceled) {
		t.Errorf("Update: %v", err)
	}
	if err := f.s.View(ctx, called); !errors.Is(err, context.Canceled) {
		t.Errorf("View: %v", err)
	}
	ctx, cancel = context.WithCancel(t.Context())
	err := f.s.Update(ctx, func(tx hub.Tx) error {
		cancel() // too late
		return tx.Put(hub.KindMeta, "k", []byte("there"))
	})
	if err != nil {
		t.Errorf("Update whose context ended while it ran: %v", err)
	}
	if got := f.get(hub.KindMeta, "k"); got != "there" {
		t.Errorf("it left %q", got)
	}
}

func testViewsRefuseWrites(t *testing.T, f *fixture) {
	f.update(func(tx hub.Tx) error {
		return errors.Join(tx.Put(hub.KindMeta, "k", []byte("v")), tx.Append("d", entry(1, 1, "op")))
	})
	f.view(func(tx hub.Tx) error {
		for what, err := range map[string]error{
			"Put":                    tx.Put(hub.KindMeta, "k", []byte("w")),
			"Delete":                 tx.Delete(hub.KindMeta, "k"),
			"Append":                 tx.Append("d", entry(1, 2, "op/2")),
			"Append of a new device": tx.Append("e", entry(1, 1, "op")),
		} {
			if err == nil {
				t.Errorf("%s in a View was not refused", what)
			}
		}
		if _, err := tx.SetAside("d", ledger.Position{Epoch: 1, Seq: 1}, "b"); err == nil {
			t.Error("SetAside in a View was not refused")
		}
		return nil
	})
	if got := f.get(hub.KindMeta, "k"); got != "v" {
		t.Errorf("a View changed a record to %q", got)
	}
}
