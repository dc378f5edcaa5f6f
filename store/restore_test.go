package store_test

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.etcd.io/bbolt"

	"github.com/ssg-safe/agent/ledger"
	"github.com/ssg-safe/agent/store"
	"github.com/ssg-safe/agent/store/storetest"
)

// backedUp is a store of 30 operations, of which the backup has 20.
func backedUp(t *testing.T) (o store.Options, backup string) {
	t.Helper()
	o = filled(t, 20)
	backup = filepath.Join(t.TempDir(), "backup.db")
	s, stop := storetest.Start(t, o)
	if err := store.SaveBackup(t.Context(), o, backup, s.Backup); err != nil {
		t.Fatal(err)
	}
	for i := 20; i < 30; i++ {
		if err := s.Commit(t.Context(), operation(i)); err != nil {
			t.Fatal(err)
		}
	}
	if err := store.SaveBackup(t.Context(), o, backup, s.Backup); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a second backup over the first: %v", err)
	}
	stop()
	return o, backup
}

func newEpoch(tx *bbolt.Tx) error {
	_, err := ledger.BeginEpoch(tx, ledger.Stamp{Quality: ledger.Unsynced}, "test", "restored")
	return err
}

// leftovers lists the directory of a store.
func leftovers(t *testing.T, o store.Options) string {
	t.Helper()
	files, err := os.ReadDir(filepath.Dir(o.Path))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range files {
		names = append(names, f.Name())
	}
	return strings.Join(names, " ")
}

func TestRestore(t *testing.T) {
	o, backup := backedUp(t)
	before, err := os.ReadFile(backup)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := store.Restore(t.Context(), o, backup, false, newEpoch); !errors.Is(err, store.ErrExists) {
		t.Fatalf("over an existing store: %v", err)
	}
	replaced, err := store.Restore(t.Context(), o, backup, true, operation(99).Do)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(o.Path)
	if err != nil || info.Size() != o.Size || len(store.Warnings(o.Path)) != 0 {
		t.Errorf("restored: %d bytes, want %d, %v; %v", info.Size(), o.Size, store.Warnings(o.Path), err)
	}
	storetest.Audit(t, o)
	if got := len(entries(t, storetest.Run(t, o))); got != 21 {
		t.Errorf("%d entries, want 20 and that of the restore", got)
	}
	old := o
	old.Path = replaced
	storetest.Audit(t, old)
	if after, err := os.ReadFile(backup); err != nil || !bytes.Equal(before, after) {
		t.Error("the backup was changed")
	}
}

func TestRestoreEndsAQuarantine(t *testing.T) {
	o, backup := backedUp(t)
	spoil(t, o.Path)
	if err := store.BootCheck(t.Context(), o); !errors.Is(err, store.ErrCorrupt) {
		t.Fatal(err)
	}
	replaced, err := store.Restore(t.Context(), o, backup, false, newEpoch)
	if err != nil || replaced != "" {
		t.Fatal(replaced, err)
	}
	if err := store.BootCheck(t.Context(), o); err != nil {
		t.Error(err)
	}
	if names := leftovers(t, o); !strings.Contains(names, "store.db.corrupt-") || strings.Contains(names, "quarantine") {
		t.Errorf("left: %s", names)
	}
}

// spoil overwrites the middle of every page in use after the meta pages.
func spoil(t *testing.T, path string) {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for at := 2 * 4096; at+2048 < len(raw); at += 4096 {
		copy(raw[at+16:], "damage")
	}
	if err := os.WriteFile(path, raw, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestRestoreRefuses: whatever is wrong, the place stays as it was.
func TestRestoreRefuses(t *testing.T) {
	o, good := backedUp(t)
	before, err := os.ReadFile(o.Path)
	if err != nil {
		t.Fatal(err)
	}
	variant := func(change func([]byte) []byte) string {
		raw, err := os.ReadFile(good)
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(t.TempDir(), "variant.db")
		if err := os.WriteFile(path, change(raw), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for name, test := range map[string]struct {
		backup string
		change func(*bbolt.Tx) error
		want   error
	}{
		"no backup":    {filepath.Join(t.TempDir(), "none"), newEpoch, store.ErrNotExist},
		"cut short":    {variant(func(b []byte) []byte { return b[:len(b)-4096] }), newEpoch, store.ErrCorrupt},
		"no store":     {variant(func(b []byte) []byte { return bytes.Repeat([]byte("x"), len(b)) }), newEpoch, store.ErrCorrupt},
		"flipped":      {variant(func(b []byte) []byte { return bytes.ReplaceAll(b, []byte(`"op":"op-7"`), []byte(`"op":"op-8"`)) }), newEpoch, store.ErrCorrupt},
		"change fails": {good, func(*bbolt.Tx) error { return errTest }, errTest},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := store.Restore(t.Context(), o, test.backup, true, test.change); !errors.Is(err, test.want) {
				t.Errorf("got %v, want %v", err, test.want)
			}
			if after, err := os.ReadFile(o.Path); err != nil || !bytes.Equal(before, after) {
				t.Error("the store was changed")
			}
			if names := leftovers(t, o); names != filepath.Base(o.Path) {
				t.Errorf("left: %s", names)
			}
		})
	}
	t.Run("in use", func(t *testing.T) {
		s, stop := storetest.Start(t, o)
		defer stop()
		if _, err := store.Restore(t.Context(), o, good, true, newEpoch); !errors.Is(err, store.ErrLocked) {
			t.Errorf("got %v, want ErrLocked", err)
		}
		if s.Err() != nil {
			t.Error(s.Err())
		}
	})
}

var errTest = errors.New("test")

// TestExamineMovesNothing: a look at a damaged store leaves it where it is.
func TestExamineMovesNothing(t *testing.T) {
	o, _ := backedUp(t)
	if err := store.Examine(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	spoil(t, o.Path)
	err := store.Examine(t.Context(), o)
	if d, ok := errors.AsType[*store.DamageError](err); !ok || d.Report == "" || !errors.Is(err, store.ErrCorrupt) {
		t.Errorf("got %v, want a DamageError", err)
	}
	if names := leftovers(t, o); names != filepath.Base(o.Path) {
		t.Errorf("left: %s", names)
	}
}
