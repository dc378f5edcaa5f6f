package store_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.etcd.io/bbolt"

	"github.com/ssg-safe/agent/ledger"
	"github.com/ssg-safe/agent/store"
	"github.com/ssg-safe/agent/store/storetest"
)

// filled is a closed store with n operations.
func filled(t testing.TB, n int) store.Options {
	t.Helper()
	o := fullOptions(filepath.Join(t.TempDir(), "store.db"))
	s, stop := storetest.Start(t, o)
	for i := range n {
		s.Submit(operation(i))
	}
	if err := s.Commit(t.Context(), store.Op{Do: func(tx *bbolt.Tx) error {
		return ledger.PutPrivate(tx, time.Unix(0, 0), "c1", []byte("a payable code"))
	}}); err != nil {
		t.Fatal(err)
	}
	stop()
	return o
}

func TestBootCheckOfAGoodStore(t *testing.T) {
	o := filled(t, 100)
	var out bytes.Buffer
	o.Logger = slog.New(slog.NewTextHandler(&out, nil))
	if err := store.BootCheck(t.Context(), o); err != nil || out.Len() > 0 {
		t.Errorf("%v; log: %s", err, out.String())
	}
	missing := o
	missing.Path += "x"
	if err := store.BootCheck(t.Context(), missing); !errors.Is(err, store.ErrNotExist) {
		t.Errorf("of no file: %v, want ErrNotExist", err)
	}
	s := storetest.Run(t, o)
	if err := store.BootCheck(t.Context(), o); !errors.Is(err, store.ErrLocked) || !strings.Contains(err.Error(), "process") {
		t.Errorf("while in use: %v, want ErrLocked that names the process", err)
	}
	if got := len(entries(t, s)); got != 100 {
		t.Errorf("%d entries", got)
	}
}

// TestBootCheckSurvivesTheChild: whatever happens to the child over the file
// happens to it alone, and is evidence.
func TestBootCheckSurvivesTheChild(t *testing.T) {
	// How a program dies that gets no memory is not always told: Go's runtime
	// may crash, the race detector gives up.
	for part, want := range map[string]string{"verify-crashes": "in a goroutine of its own", "verify-hoards": "the check died"} {
		t.Run(part, func(t *testing.T) {
			o := filled(t, 1)
			t.Setenv(childEnv, part)
			err := store.BootCheck(t.Context(), o)
			if !errors.Is(err, store.ErrCorrupt) || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("got %v, want ErrCorrupt and %q in one line", err, want)
			}
			if note, err := os.ReadFile(o.Path + ".quarantine"); err != nil || !bytes.Contains(note, []byte("evidence")) {
				t.Errorf("note %s, %v", note, err)
			}
		})
	}
}

// TestBootCheckJudgesOnlyByEvidence: a child that dies for reasons of its own
// condemns nothing.
func TestBootCheckJudgesOnlyByEvidence(t *testing.T) {
	script := func(text string) []string {
		path := filepath.Join(t.TempDir(), "check.sh")
		if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text), 0o700); err != nil {
			t.Fatal(err)
		}
		return []string{path}
	}
	const begins = "echo 'store-check: begins'; "
	again := filepath.Join(t.TempDir(), "again")
	tests := map[string]struct {
		check []string
		fails bool
	}{
		"killed for want of memory": {script(begins + "kill -KILL $$"), true},
		"stopped by the system":     {script(begins + "kill -TERM $$"), true},
		"unknown command":           {script("echo 'unknown command' >&2; exit 2"), false}, // checked here instead
		"says nothing":              {script("exit 0"), false},
		"died once":                 {script("test -e " + again + " && { " + begins + "exit 0; }; touch " + again + "; " + begins + "exit 2"), false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			o := filled(t, 1)
			o.Check = test.check
			if err := store.BootCheck(t.Context(), o); errors.Is(err, store.ErrCorrupt) || (err != nil) != test.fails {
				t.Errorf("got %v; want an error: %v, never ErrCorrupt", err, test.fails)
			}
			o.Check = []string{os.Args[0], "store-check"}
			if err := store.BootCheck(t.Context(), o); err != nil {
				t.Errorf("afterwards: %v", err)
			}
		})
	}
}

func TestBootCheckTakesTooLong(t *testing.T) {
	o := filled(t, 1)
	t.Setenv(childEnv, "verify-hangs")
	defer store.SetCheckTimeout(store.SetCheckTimeout(100 * time.Millisecond))
	if err := store.BootCheck(t.Context(), o); !errors.Is(err, store.ErrCheckTimeout) {
		t.Errorf("got %v, want ErrCheckTimeout", err)
	}
	store.SetCheckTimeout(time.Hour)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := store.BootCheck(ctx, o); !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, store.ErrCheckTimeout) {
		t.Errorf("given up by the caller: %v", err)
	}
	t.Setenv(childEnv, "")
	if err := store.BootCheck(t.Context(), o); err != nil {
		t.Errorf("a check that was broken off condemned the file: %v", err)
	}
}

// TestBootCheckWithoutChild: where a program cannot be started, as under
// qemu-user, the check runs here and says so.
func TestBootCheckWithoutChild(t *testing.T) {
	foreign := filepath.Join(t.TempDir(), "foreign")
	if err := os.WriteFile(foreign, []byte("\x7fELF of another machine"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, check := range map[string][]string{"foreign program": {foreign}, "missing program": {foreign + "x"}, "test binary": nil} {
		o := filled(t, 5)
		var out bytes.Buffer
		o.Check, o.Logger = check, slog.New(slog.NewTextHandler(&out, nil))
		if err := store.BootCheck(t.Context(), o); err != nil || !strings.Contains(out.String(), "without a child") {
			t.Errorf("%s: %v; log: %s", name, err, out.String())
		}
		damage(t, o.Path, func(b []byte) []byte { return b[:len(b)/2] })
		if err := store.BootCheck(t.Context(), o); !errors.Is(err, store.ErrCorrupt) {
			t.Errorf("%s, damaged file: %v, want ErrCorrupt", name, err)
		}
	}
}

func damage(t testing.TB, path string, change func([]byte) []byte) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, change(b), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestQuarantine: a damaged file goes aside with its evidence, and nothing takes
// its place until a person acted.
func TestQuarantine(t *testing.T) {
	o := filled(t, 20)
	good, err := os.ReadFile(o.Path)
	if err != nil {
		t.Fatal(err)
	}
	damage(t, o.Path, func(b []byte) []byte {
		return bytes.ReplaceAll(b, []byte(`"op":"op-7"`), []byte(`"op":"op-8"`)) // in free pages too
	})
	bad, err := os.ReadFile(o.Path)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Equal(good, bad) {
		t.Fatal("nothing was damaged")
	}
	first := store.BootCheck(t.Context(), o)
	if !errors.Is(first, store.ErrCorrupt) || !strings.Contains(first.Error(), "entry 1/8") {
		t.Errorf("got %v, want ErrCorrupt that names the entry", first)
	}
	marker := o.Path + ".quarantine"
	for name, try := range map[string]func() error{
		"BootCheck": func() error { return store.BootCheck(t.Context(), o) },
		"Open":      func() error { _, err := store.Open(o); return err },
		"read":      func() error { _, err := store.OpenReadOnly(o); return err },
		"Create":    func() error { return store.Create(t.Context(), o) },
	} {
		if err := try(); !errors.Is(err, store.ErrCorrupt) || !strings.Contains(err.Error(), marker) {
			t.Errorf("%s: %v, want ErrCorrupt that says what to remove", name, err)
		}
	}
	kept, err := filepath.Glob(o.Path + ".corrupt-*")
	if err != nil || len(kept) != 1 {
		t.Fatalf("kept %v, %v", kept, err)
	}
	if evidence, err := os.ReadFile(kept[0]); err != nil || !bytes.Equal(evidence, bad) {
		t.Error("the evidence was changed")
	}
	if note, err := os.ReadFile(marker); err != nil || !bytes.Contains(note, []byte("entry 1/8")) {
		t.Errorf("note %s, %v", note, err)
	}
	// A person puts a backup in its place.
	if err := os.WriteFile(o.Path, good, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(marker); err != nil {
		t.Fatal(err)
	}
	if err := store.BootCheck(t.Context(), o); err != nil {
		t.Error(err)
	}
	if got := len(entries(t, storetest.Run(t, o))); got != 20 {
		t.Errorf("%d entries", got)
	}
}

// TestQuarantineCutShort: the marker comes before the move, so a crash between
// them still keeps everyone out.
func TestQuarantineCutShort(t *testing.T) {
	o := filled(t, 1)
	if err := os.WriteFile(o.Path+".quarantine", []byte("half a no"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := store.Open(o); !errors.Is(err, store.ErrCorrupt) {
		t.Errorf("Open: %v", err)
	}
	if err := store.Create(t.Context(), o); !errors.Is(err, store.ErrCorrupt) {
		t.Errorf("Create: %v", err)
	}
}

func TestOpenRefusesWhatIsNoStore(t *testing.T) {
	good := filled(t, 20)
	image, err := os.ReadFile(good.Path)
	if err != nil {
		t.Fatal(err)
	}
	foreign := filepath.Join(t.TempDir(), "bolt.db")
	db, err := bbolt.Open(foreign, 0o600, &bbolt.Options{PageSize: 4096})
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	bolt, err := os.ReadFile(foreign)
	if err != nil {
		t.Fatal(err)
	}
	overwrite := func(at, n int) []byte {
		b := bytes.Clone(image)
		clear(b[at : at+n])
		return b
	}
	tests := map[string][]byte{
		"empty file":       {},
		"one page":         image[:4096],
		"cut in half":      image[:len(image)/2],
		"cut within pages": image[:8*4096],
		"one page short":   image[:len(image)-4096],
		"zeros":            make([]byte, len(image)),
		"text":             bytes.Repeat([]byte("not a store\n"), 4096),
		"no meta pages":    overwrite(0, 2*4096),
		"another database": bolt,
	}
	for name, content := range tests {
		t.Run(name, func(t *testing.T) {
			o := fullOptions(filepath.Join(t.TempDir(), "store.db"))
			if err := os.WriteFile(o.Path, content, 0o600); err != nil {
				t.Fatal(err)
			}
			for _, open := range []func(store.Options) (*store.Store, error){store.Open, store.OpenReadOnly} {
				if s, err := open(o); !errors.Is(err, store.ErrCorrupt) {
					t.Errorf("got %v, %v; want ErrCorrupt", s, err)
				}
			}
			if after, err := os.ReadFile(o.Path); err != nil || !bytes.Equal(after, content) {
				t.Error("the file was changed")
			}
			if err := store.BootCheck(t.Context(), o); !errors.Is(err, store.ErrCorrupt) {
				t.Errorf("BootCheck: %v, want ErrCorrupt", err)
			}
		})
	}
	if s, err := store.Open(store.Options{Path: t.TempDir()}); err == nil || errors.Is(err, store.ErrCorrupt) {
		t.Errorf("of a directory: %v, %v", s, err)
	}
}

// TestFlippedBits flips bits of pages in use. Either the boot check notices, or
// everything that can be read is as it was; and nothing of it hurts the parent.
func TestFlippedBits(t *testing.T) {
	o := filled(t, 150)
	image, err := os.ReadFile(o.Path)
	if err != nil {
		t.Fatal(err)
	}
	before := readAll(t, o)
	used := bytes.LastIndexFunc(image, func(r rune) bool { return r != 0 })
	noticed := 0
	const flips = 60
	for range flips {
		bit := rand.IntN(8 * used)
		b := bytes.Clone(image)
		b[bit/8] ^= 1 << (bit % 8)
		o := o
		o.Path = filepath.Join(t.TempDir(), "store.db")
		if err := os.WriteFile(o.Path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		switch err := store.BootCheck(t.Context(), o); {
		case errors.Is(err, store.ErrCorrupt):
			noticed++
		case err != nil:
			t.Errorf("bit %d: %v", bit, err)
		default:
			if diff := cmp.Diff(before, readAll(t, o)); diff != "" {
				t.Errorf("bit %d: changed unnoticed (-before +after):\n%s", bit, diff)
			}
		}
	}
	t.Logf("noticed %d of %d; the others changed nothing that can be read", noticed, flips)
	if noticed == 0 {
		t.Error("no flip was noticed")
	}
}

// readAll is every key and value of a store but its own counter.
func readAll(t testing.TB, o store.Options) map[string]string {
	t.Helper()
	s, err := store.OpenReadOnly(o)
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[string]string)
	err = s.View(func(tx *bbolt.Tx) error {
		return tx.ForEach(func(name []byte, b *bbolt.Bucket) error {
			return b.ForEach(func(k, v []byte) error {
				got[string(name)+"/"+string(k)] = string(v)
				return nil
			})
		})
	})
	if err := errors.Join(err, s.Close()); err != nil {
		t.Error(err)
	}
	delete(got, "store/opened")
	return got
}

func TestSecondOpenIsRefused(t *testing.T) {
	o := filled(t, 1)
	storetest.Run(t, o)
	for _, open := range []func(store.Options) (*store.Store, error){store.Open, store.OpenReadOnly} {
		if _, err := open(o); !errors.Is(err, store.ErrLocked) || !strings.Contains(err.Error(), "store.test") {
			t.Errorf("got %v, want ErrLocked that names the process", err)
		}
	}
}
