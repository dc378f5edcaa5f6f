package store_test

import (
	"compress/gzip"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.etcd.io/bbolt"

	"github.com/ssg-safe/agent/ledger"
	"github.com/ssg-safe/agent/store"
	"github.com/ssg-safe/agent/store/storetest"
)

var update = flag.Bool("update", false, "add the golden store of the current layout if it is missing")

func bucket(name string) store.Migration {
	return store.Migration{Name: name, Do: func(tx *bbolt.Tx) error {
		_, err := tx.CreateBucket([]byte(name))
		return err
	}}
}

func TestMigrations(t *testing.T) {
	o := storetest.Options(t, nil, bucket("one"))
	storetest.Create(t, o)

	fault := errors.New("no")
	o.Migrations = []store.Migration{bucket("one"), bucket("two"), {Name: "bad", Do: func(tx *bbolt.Tx) error {
		if _, err := tx.CreateBucket([]byte("half")); err != nil {
			return err
		}
		return fault
	}}}
	if _, err := store.OpenReadOnly(o); err == nil {
		t.Error("an older file was opened for reading, its new buckets missing")
	}
	if _, err := store.Open(o); !errors.Is(err, fault) {
		t.Errorf("with a migration that fails: %v", err)
	}
	verified := 0
	o.Migrations[2] = bucket("three")
	o.Verify = func(tx *bbolt.Tx) error {
		verified++
		for _, name := range []string{"one", "two", "three"} {
			if tx.Bucket([]byte(name)) == nil {
				return fmt.Errorf("no bucket %s", name)
			}
		}
		if tx.Bucket([]byte("half")) != nil {
			return errors.New("half a migration was kept")
		}
		return nil
	}
	if err := store.Check(o); err != nil || verified != 0 {
		t.Errorf("the check of an older file: %v, %d looks at contents it does not have", err, verified)
	}
	for range 2 {
		s, err := store.Open(o)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	if verified != 1 {
		t.Errorf("verified %d times; want once, after the migration", verified)
	}
	storetest.Audit(t, o)

	o.Migrations = o.Migrations[:2]
	if _, err := store.Open(o); !errors.Is(err, store.ErrNewer) {
		t.Errorf("by an older program: %v, want ErrNewer", err)
	}
	if err := store.BootCheck(t.Context(), o); !errors.Is(err, store.ErrNewer) {
		t.Errorf("checked by an older program: %v, want ErrNewer", err)
	}
}

func TestMigrationWithWrongResult(t *testing.T) {
	o := storetest.Options(t, nil)
	storetest.Create(t, o)
	o.Migrations = []store.Migration{bucket("one")}
	o.Verify = func(*bbolt.Tx) error { return errors.New("lost an entry") }
	if _, err := store.Open(o); !errors.Is(err, store.ErrCorrupt) {
		t.Errorf("got %v, want ErrCorrupt", err)
	}
}

// TestOldLayouts opens stores as older programs left them. Files are added here
// and never written anew.
func TestOldLayouts(t *testing.T) {
	current := filepath.Join("testdata", fmt.Sprintf("layout%d.db.gz", len(fullOptions("").Migrations)))
	if _, err := os.Stat(current); err != nil && *update {
		addLayout(t, current)
	}
	files, err := filepath.Glob(filepath.Join("testdata", "layout*.db.gz"))
	if err != nil || !slices.Contains(files, current) {
		t.Fatalf("%v, %v; want %s among them (-update adds it)", files, err, current)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			o := fullOptions(filepath.Join(t.TempDir(), "store.db"))
			unpack(t, file, o.Path)
			s := storetest.Run(t, o)
			want := map[string]int{"op-0": 1, "op-1": 1, "op-2": 1}
			if diff := cmp.Diff(want, entries(t, s)); diff != "" {
				t.Errorf("entries (-want +got):\n%s", diff)
			}
			err := s.View(func(tx *bbolt.Tx) error {
				private, err := ledger.GetPrivate(tx, "c1")
				if string(private) != "a payable code" {
					t.Errorf("private data %q", private)
				}
				return err
			})
			if err != nil {
				t.Error(err)
			}
			if err := s.Commit(t.Context(), operation(2)); !errors.Is(err, ledger.ErrDuplicate) {
				t.Errorf("an operation that the old program recorded: %v", err)
			}
			if err := s.Commit(t.Context(), operation(3)); err != nil {
				t.Error(err)
			}
		})
	}
}

func addLayout(t *testing.T, file string) {
	o := fullOptions(filepath.Join(t.TempDir(), "store.db"))
	o.Size = store.MinSize
	s, stop := storetest.Start(t, o)
	for n := range 3 {
		if err := s.Commit(t.Context(), operation(n)); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Commit(t.Context(), store.Op{Do: func(tx *bbolt.Tx) error {
		return ledger.PutPrivate(tx, time.Unix(1782907200, 0), "c1", []byte("a payable code"))
	}}); err != nil {
		t.Fatal(err)
	}
	stop()
	in, err := os.ReadFile(o.Path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll("testdata", 0o755); err != nil {
		t.Fatal(err)
	}
	out, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	zip := gzip.NewWriter(out)
	_, err = zip.Write(in)
	if err := errors.Join(err, zip.Close(), out.Close()); err != nil {
		t.Fatal(err)
	}
}

func unpack(t *testing.T, from, to string) {
	t.Helper()
	f, err := os.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	zip, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	image, err := io.ReadAll(zip)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, image, 0o600); err != nil {
		t.Fatal(err)
	}
}
