package hubtest_test

import (
	"context"
	"errors"
	"iter"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/ssg-safe/agent/hub"
	"github.com/ssg-safe/agent/hub/bolt"
	"github.com/ssg-safe/agent/hub/hubtest"
	"github.com/ssg-safe/agent/ledger"
)

// wrapped is a sound store with one thing wrong.
type wrapped struct {
	hubtest.Store
	update func(s hub.Store, ctx context.Context, fn func(hub.Tx) error) error
	view   func(s hub.Store, ctx context.Context, fn func(hub.Tx) error) error
	tx     func(hub.Tx) hub.Tx
	close  func() error
}

func (w wrapped) spoil(fn func(hub.Tx) error) func(hub.Tx) error {
	if w.tx == nil {
		return fn
	}
	return func(tx hub.Tx) error { return fn(w.tx(tx)) }
}

func (w wrapped) Update(ctx context.Context, fn func(hub.Tx) error) error {
	if w.update != nil {
		return w.update(w.Store, ctx, w.spoil(fn))
	}
	return w.Store.Update(ctx, w.spoil(fn))
}

func (w wrapped) View(ctx context.Context, fn func(hub.Tx) error) error {
	if w.view != nil {
		return w.view(w.Store, ctx, w.spoil(fn))
	}
	return w.Store.View(ctx, w.spoil(fn))
}

func (w wrapped) Close() error {
	if w.close != nil {
		return errors.Join(w.Store.Close(), w.close())
	}
	return w.Store.Close()
}

// The transactions of mutants.
type (
	deaf        struct{ hub.Tx } // forgets what is put
	immortal    struct{ hub.Tx } // deletes nothing
	overwriting struct{ hub.Tx } // takes other bytes for a position
	exclusive   struct{ hub.Tx } // leaves out the first entry
	unfiltered  struct{ hub.Tx } // scans more than the prefix
	absent      struct{ hub.Tx } // has nothing where there is nothing, without an error
	unmoved     struct{ hub.Tx } // sets nothing aside
	forgetful   struct{ hub.Tx } // finds no operation
)

func (deaf) Put(hub.Kind, string, []byte) error                       { return nil }
func (immortal) Delete(hub.Kind, string) error                        { return nil }
func (forgetful) Op(string, string) (hub.Op, error)                   { return hub.Op{}, hub.ErrNotFound }
func (unmoved) SetAside(string, ledger.Position, string) (int, error) { return 0, nil }

func (m overwriting) Append(device string, e hub.Entry) error {
	if err := m.Tx.Append(device, e); !errors.Is(err, hub.ErrConflict) {
		return err
	}
	return nil
}

func (m exclusive) Entries(device string, from ledger.Position) iter.Seq2[hub.Entry, error] {
	return m.Tx.Entries(device, ledger.Position{Epoch: from.Epoch, Seq: from.Seq + 1})
}

func (m unfiltered) Scan(kind hub.Kind, _ string) iter.Seq2[hub.Record, error] {
	return m.Tx.Scan(kind, "")
}

func (m absent) Get(kind hub.Kind, key string) ([]byte, error) {
	doc, err := m.Tx.Get(kind, key)
	if errors.Is(err, hub.ErrNotFound) {
		return nil, nil
	}
	return doc, err
}

var mutants = map[string]func(dir string) wrapped{
	"sound":                 func(string) wrapped { return wrapped{} },
	"forgets records":       func(string) wrapped { return wrapped{tx: func(tx hub.Tx) hub.Tx { return deaf{tx} }} },
	"deletes nothing":       func(string) wrapped { return wrapped{tx: func(tx hub.Tx) hub.Tx { return immortal{tx} }} },
	"overwrites entries":    func(string) wrapped { return wrapped{tx: func(tx hub.Tx) hub.Tx { return overwriting{tx} }} },
	"begins one too late":   func(string) wrapped { return wrapped{tx: func(tx hub.Tx) hub.Tx { return exclusive{tx} }} },
	"scans everything":      func(string) wrapped { return wrapped{tx: func(tx hub.Tx) hub.Tx { return unfiltered{tx} }} },
	"has no ErrNotFound":    func(string) wrapped { return wrapped{tx: func(tx hub.Tx) hub.Tx { return absent{tx} }} },
	"sets nothing aside":    func(string) wrapped { return wrapped{tx: func(tx hub.Tx) hub.Tx { return unmoved{tx} }} },
	"indexes no operations": func(string) wrapped { return wrapped{tx: func(tx hub.Tx) hub.Tx { return forgetful{tx} }} },
	"keeps half of what failed": func(string) wrapped {
		return wrapped{update: func(s hub.Store, ctx context.Context, fn func(hub.Tx) error) (failed error) {
			err := s.Update(ctx, func(tx hub.Tx) error {
				failed = fn(tx)
				return nil
			})
			return errors.Join(failed, err)
		}}
	},
	"swallows writes in views": func(string) wrapped {
		return wrapped{view: func(s hub.Store, ctx context.Context, fn func(hub.Tx) error) error {
			return s.View(ctx, func(tx hub.Tx) error { return fn(deaf{tx}) })
		}}
	},
	"does not see that ctx has ended": func(string) wrapped {
		return wrapped{update: func(s hub.Store, ctx context.Context, fn func(hub.Tx) error) error {
			return s.Update(context.WithoutCancel(ctx), fn)
		}}
	},
	"is not durable": func(dir string) wrapped {
		return wrapped{close: func() error { return os.Remove(filepath.Join(dir, "hub.db")) }}
	},
}

const variable = "SSG_HUBTEST_MUTANT"

// TestMutant is the conformance test of the mutant that the environment names;
// without one, of the sound store.
func TestMutant(t *testing.T) {
	name := os.Getenv(variable)
	if name == "" {
		name = "sound"
	}
	hubtest.Test(t, func(t testing.TB, dir string) hubtest.Store {
		s, err := bolt.Open(bolt.Options{Path: filepath.Join(dir, "hub.db")})
		if err != nil {
			t.Fatal(err)
		}
		w := mutants[name](dir)
		w.Store = s
		return w
	})
}

// TestMutantsFail: a test that no store fails proves nothing.
func TestMutantsFail(t *testing.T) {
	var names []string
	for name := range mutants {
		if name != "sound" {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestMutant$", "-test.failfast", "-test.timeout=60s")
			cmd.Env = append(os.Environ(), variable+"="+name)
			out, err := cmd.CombinedOutput()
			if err == nil || !strings.Contains(string(out), "--- FAIL: TestMutant") || strings.Contains(string(out), "panic:") {
				t.Errorf("the mutant passes, or does not fail by a check: %v\n%s", err, out)
			}
		})
	}
}
