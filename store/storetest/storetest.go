// Package storetest gives tests a small real store whose every use ends in an
// audit of the file.
package storetest

import (
	"context"
	"errors"
	"path/filepath"
	"testing"

	"go.etcd.io/bbolt"

	"github.com/ssg-safe/agent/store"
)

// Size of the files that Options makes, in bytes.
const Size = 1 << 20

// Options describe a store of Size bytes in a fresh directory of the test. Its
// commits do not wait for the disk, which only a power cut could tell; a test or
// benchmark that is about that sets Commit to nil.
func Options(t testing.TB, verify func(*bbolt.Tx) error, migrations ...store.Migration) store.Options {
	t.Helper()
	return store.Options{
		Path: filepath.Join(t.TempDir(), "store.db"), Size: Size, Migrations: migrations, Verify: verify,
		Commit: func(tx *bbolt.Tx) error {
			tx.DB().NoSync = true
			return tx.Commit()
		},
	}
}

// Create makes the file.
func Create(t testing.TB, o store.Options) {
	t.Helper()
	if err := store.Create(t.Context(), o); err != nil {
		t.Fatal(err)
	}
}

// Run opens the store, making it if it is missing, and runs its committer until
// the end of the test, which stops it, closes the file and audits it. A store
// that failed is closed and audited all the same.
func Run(t testing.TB, o store.Options) *store.Store {
	t.Helper()
	s, stop := Start(t, o)
	t.Cleanup(stop)
	return s
}

// Start is Run for a test that reopens the store itself: stop stops the
// committer, closes the file and audits it.
func Start(t testing.TB, o store.Options) (s *store.Store, stop func()) {
	t.Helper()
	if err := store.Create(t.Context(), o); err != nil && !errors.Is(err, store.ErrExists) {
		t.Fatal(err)
	}
	s, err := store.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = s.Run(ctx) // a failure is in s.Err
	}()
	return s, func() {
		t.Helper()
		cancel()
		<-ended
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		Audit(t, o)
	}
}

// Audit checks a closed file: bbolt's structure, then Options.Verify.
func Audit(t testing.TB, o store.Options) {
	t.Helper()
	if err := store.Check(o); err != nil {
		t.Errorf("audit: %v", err)
	}
}
