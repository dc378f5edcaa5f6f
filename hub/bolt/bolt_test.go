package bolt_test

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"go.etcd.io/bbolt"

	"github.com/ssg-safe/agent/hub"
	"github.com/ssg-safe/agent/hub/bolt"
	"github.com/ssg-safe/agent/hub/hubtest"
	"github.com/ssg-safe/agent/ledger"
)

func TestConformance(t *testing.T) {
	hubtest.Test(t, func(t testing.TB, dir string) hubtest.Store { return open(t, filepath.Join(dir, "hub.db")) })
}

func open(t testing.TB, path string) *bolt.Store {
	t.Helper()
	s, err := bolt.Open(bolt.Options{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func put(t testing.TB, s *bolt.Store, key, doc string) error {
	t.Helper()
	return s.Update(t.Context(), func(tx hub.Tx) error { return tx.Put(hub.KindMeta, key, []byte(doc)) })
}

func get(t testing.TB, s *bolt.Store, key string) (doc string, err error) {
	t.Helper()
	err = s.View(t.Context(), func(tx hub.Tx) error {
		b, err := tx.Get(hub.KindMeta, key)
		doc = string(b)
		return err
	})
	return doc, err
}

// A failed commit has an unknown outcome: nothing is read or written after it.
func TestFailedCommitEndsTheStore(t *testing.T) {
	path := filepath.Join(t.TempDir(), "hub.db")
	if err := open(t, path).Close(); err != nil {
		t.Fatal(err)
	}
	fail := errors.New("disk")
	var broken bool
	s, err := bolt.Open(bolt.Options{Path: path, Commit: func(tx *bbolt.Tx) error {
		if broken {
			return errors.Join(fail, tx.Rollback())
		}
		return tx.Commit()
	}})
	if err != nil {
		t.Fatal(err)
	}
	if err := put(t, s, "k", "1"); err != nil {
		t.Fatal(err)
	}
	broken = true
	if err := put(t, s, "k", "2"); !errors.Is(err, hub.ErrOutcomeUnknown) || !errors.Is(err, fail) {
		t.Errorf("got %v, want ErrOutcomeUnknown and its cause", err)
	}
	broken = false
	if err := put(t, s, "k", "3"); !errors.Is(err, hub.ErrOutcomeUnknown) {
		t.Errorf("a later Update: %v, want ErrOutcomeUnknown", err)
	}
	if _, err := get(t, s, "k"); !errors.Is(err, hub.ErrOutcomeUnknown) {
		t.Errorf("a later View: %v, want ErrOutcomeUnknown", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, path)
	defer s.Close()
	if got, err := get(t, s, "k"); got != "1" || err != nil {
		t.Errorf("after opening again: %q, %v", got, err)
	}
}

// An Update that writes nothing costs no commit.
func TestNothingWrittenIsNoCommit(t *testing.T) {
	commits := 0
	s, err := bolt.Open(bolt.Options{Path: filepath.Join(t.TempDir(), "hub.db"), Commit: func(tx *bbolt.Tx) error {
		commits++
		return tx.Commit()
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.Update(t.Context(), func(hub.Tx) error { return nil }); err != nil || commits != 0 {
		t.Errorf("%d commits, %v", commits, err)
	}
	if err := put(t, s, "k", "v"); err != nil || commits != 1 {
		t.Errorf("%d commits, %v", commits, err)
	}
}

func TestLocked(t *testing.T) {
	path := filepath.Join(t.TempDir(), "hub.db")
	s := open(t, path)
	defer s.Close()
	if _, err := bolt.Open(bolt.Options{Path: path}); !errors.Is(err, bolt.ErrLocked) {
		t.Errorf("got %v, want ErrLocked", err)
	}
}

func TestReadOnly(t *testing.T) {
	path := filepath.Join(t.TempDir(), "hub.db")
	if _, err := bolt.Open(bolt.Options{Path: path, ReadOnly: true}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing file: %v, want ErrNotExist", err)
	}
	s := open(t, path)
	if err := errors.Join(put(t, s, "k", "v"), s.Close()); err != nil {
		t.Fatal(err)
	}
	r, err := bolt.Open(bolt.Options{Path: path, ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if got, err := get(t, r, "k"); got != "v" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
	if err := put(t, r, "k", "w"); err == nil {
		t.Error("a write to a read-only store was taken")
	}
}

func TestBackup(t *testing.T) {
	dir := t.TempDir()
	s := open(t, filepath.Join(dir, "hub.db"))
	defer s.Close()
	if err := put(t, s, "k", "old"); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := s.Backup(&b); err != nil {
		t.Fatal(err)
	}
	if err := put(t, s, "k", "new"); err != nil {
		t.Fatal(err)
	}
	copied := filepath.Join(dir, "copy.db")
	if err := os.WriteFile(copied, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	c := open(t, copied)
	defer c.Close()
	if got, err := get(t, c, "k"); got != "old" || err != nil {
		t.Errorf("the copy holds %q, %v", got, err)
	}
}

// Rows that no chain of hashes covers have checksums of their own; a flipped bit
// anywhere is noticed, or lies in no row.
func TestDamage(t *testing.T) {
	path := filepath.Join(t.TempDir(), "hub.db")
	s := open(t, path)
	raw := []byte(`{"v":1,"epoch":1,"seq":1,"marker-of-an-entry":true}`)
	err := s.Update(t.Context(), func(tx hub.Tx) error {
		return errors.Join(
			tx.Put(hub.KindMeta, "key-of-a-row", []byte("marker-of-a-row")),
			tx.Append("d", hub.Entry{Position: ledger.Position{Epoch: 1, Seq: 1}, Hash: ledger.HashOf(raw), Bytes: raw}),
		)
	})
	if err := errors.Join(err, s.Close()); err != nil {
		t.Fatal(err)
	}
	file, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for i := range file {
		if bytes.HasPrefix(file[i:], []byte("marker-of-a-row")) {
			file[i] ^= 1
		}
	}
	if err := os.WriteFile(path, file, 0o600); err != nil {
		t.Fatal(err)
	}
	s = open(t, path)
	defer s.Close()
	if _, err := get(t, s, "key-of-a-row"); !errors.Is(err, bolt.ErrCorrupt) {
		t.Errorf("a damaged row: %v, want ErrCorrupt", err)
	}
	err = s.View(t.Context(), func(tx hub.Tx) error {
		for _, err := range tx.Scan(hub.KindMeta, "") {
			if err != nil {
				return err
			}
		}
		return nil
	})
	if !errors.Is(err, bolt.ErrCorrupt) {
		t.Errorf("a scan over a damaged row: %v, want ErrCorrupt", err)
	}
}

func TestNotAStore(t *testing.T) {
	dir := t.TempDir()
	for name, content := range map[string][]byte{"empty": nil, "text": bytes.Repeat([]byte("no store\n"), 4000)} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		if s, err := bolt.Open(bolt.Options{Path: path}); err == nil {
			t.Errorf("%s: opened", name)
			s.Close()
		} else if !errors.Is(err, bolt.ErrCorrupt) {
			t.Errorf("%s: %v, want ErrCorrupt", name, err)
		}
	}
	// Another program's bbolt file.
	path := filepath.Join(dir, "other")
	db, err := bbolt.Open(path, 0o600, nil)
	if err == nil {
		err = db.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := bolt.Open(bolt.Options{Path: path}); !errors.Is(err, bolt.ErrCorrupt) {
		t.Errorf("another program's file: %v, want ErrCorrupt", err)
	}
}

// A file of a program that knew fewer kinds of records gets room for the others.
func TestNewKinds(t *testing.T) {
	path := filepath.Join(t.TempDir(), "hub.db")
	s := open(t, path)
	if err := errors.Join(put(t, s, "k", "v"), s.Close()); err != nil {
		t.Fatal(err)
	}
	db, err := bbolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(tx *bbolt.Tx) error { return tx.Bucket([]byte("records")).DeleteBucket([]byte(hub.KindWebhook)) })
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	s = open(t, path)
	defer s.Close()
	if got, err := get(t, s, "k"); got != "v" || err != nil {
		t.Errorf("what was there: %q, %v", got, err)
	}
	if err := s.Update(t.Context(), func(tx hub.Tx) error { return tx.Put(hub.KindWebhook, "1", []byte("{}")) }); err != nil {
		t.Error(err)
	}
}
