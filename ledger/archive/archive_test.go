package archive_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/ssg-safe/agent/ledger"
	"github.com/ssg-safe/agent/ledger/archive"
	"github.com/ssg-safe/agent/store"
	"github.com/ssg-safe/agent/store/storetest"
)

// rig is a ledger and a directory to archive it in.
type rig struct {
	*store.Store
	t    testing.TB
	dir  string
	next int
}

func newRig(t testing.TB) *rig {
	t.Helper()
	o := storetest.Options(t, func(tx *bbolt.Tx) error {
		_, err := ledger.Verify(tx, ledger.Head{})
		return err
	}, ledger.Migrations...)
	o.Size = 8 << 20
	return &rig{Store: storetest.Run(t, o), t: t, dir: t.TempDir()}
}

// add appends entries with size bytes of data each.
func (r *rig) add(n, size int) {
	r.t.Helper()
	err := r.Commit(context.Background(), store.Op{Name: "add", Do: func(tx *bbolt.Tx) error {
		for range n {
			r.next++
			_, err := ledger.Append(tx, ledger.Stamp{Wall: time.Unix(1782907200, 0), Quality: ledger.Synced}, ledger.Draft{
				Op: fmt.Sprintf("op-%d", r.next), Kind: "test", Actor: "test", Data: strings.Repeat("x", size),
			})
			if err != nil {
				return err
			}
		}
		return nil
	}})
	if err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) ledger() (head, cursor ledger.Head, lines []byte) {
	r.t.Helper()
	var out bytes.Buffer
	err := r.View(func(tx *bbolt.Tx) (err error) {
		if head, err = ledger.GetHead(tx); err != nil {
			return err
		}
		if cursor, err = ledger.Cursor(tx, archive.Consumer); err != nil {
			return err
		}
		return ledger.WriteJSONL(&out, ledger.Entries(tx, ledger.Position{}))
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return head, cursor, out.Bytes()
}

func (r *rig) sync() error {
	a := archive.New(r.Store, r.dir, nil)
	defer a.Close()
	_, err := a.Sync(context.Background())
	return err
}

// check wants the archive to hold the whole ledger, byte for byte, acknowledged.
func (r *rig) check() {
	r.t.Helper()
	head, cursor, lines := r.ledger()
	report, err := archive.Verify(r.dir)
	if err != nil || report.Head != head || report.Entries != head.Seq || report.Cut {
		r.t.Errorf("archive %+v, %v; want the head %v", report, err, head.Position)
	}
	if cursor != head {
		r.t.Errorf("acknowledged up to %v of %v", cursor.Position, head.Position)
	}
	var got []byte
	for _, name := range r.files() {
		b, err := os.ReadFile(name)
		if err != nil {
			r.t.Fatal(err)
		}
		got = append(got, b...)
	}
	if !bytes.Equal(got, lines) {
		r.t.Error("the archive's bytes are not the ledger's")
	}
}

func (r *rig) files() []string {
	r.t.Helper()
	names, err := filepath.Glob(filepath.Join(r.dir, "*.jsonl"))
	if err != nil {
		r.t.Fatal(err)
	}
	slices.Sort(names)
	return names
}

func TestArchive(t *testing.T) {
	r := newRig(t)
	if err := r.sync(); err != nil { // nothing there yet
		t.Fatal(err)
	}
	r.add(600, 100) // more than two batches
	if err := r.sync(); err != nil {
		t.Fatal(err)
	}
	r.check()
	commits := r.Stats().Commits
	if err := r.sync(); err != nil {
		t.Fatal(err)
	}
	if got := r.Stats().Commits; got != commits {
		t.Error("archiving nothing cost a commit")
	}
	r.add(300, 4000) // more than a segment
	if err := r.sync(); err != nil {
		t.Fatal(err)
	}
	r.add(5, 100)
	if err := r.sync(); err != nil {
		t.Fatal(err)
	}
	r.check()
	files := r.files()
	if len(files) < 2 {
		t.Fatalf("segments %v", files)
	}
	for _, name := range files[:len(files)-1] {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if sum := sha256.Sum256(b); !strings.Contains(name, hex.EncodeToString(sum[:])) {
			t.Errorf("%s is not named by its hash", name)
		}
	}
}

// TestArchiveAfterACrash cuts the open segment at every place of its last two
// lines; acknowledged entries are never among what is lost.
func TestArchiveAfterACrash(t *testing.T) {
	r := newRig(t)
	r.add(3, 10)
	if err := r.sync(); err != nil {
		t.Fatal(err)
	}
	acknowledged := r.size()
	r.add(2, 10)
	if err := r.sync(); err != nil {
		t.Fatal(err)
	}
	name := r.files()[0]
	whole, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	// The process died after the write and before the acknowledgement: a ledger
	// with the same entries whose cursor is still at 3.
	o, image := behind(t)
	for cut := acknowledged; cut <= len(whole); cut += 1 + (len(whole)-acknowledged)/50 {
		torn := append(bytes.Clone(whole[:cut]), make([]byte, (len(whole)-cut)/2)...) // the rest partly zeros
		if err := os.WriteFile(name, torn, 0o600); err != nil {
			t.Fatal(err)
		}
		report, err := archive.Verify(r.dir)
		if err != nil || report.Head.Seq < 3 {
			t.Fatalf("cut at %d: %+v, %v", cut, report, err)
		}
		if err := os.WriteFile(o.Path, image, 0o600); err != nil {
			t.Fatal(err)
		}
		s, stop := storetest.Start(t, o)
		again := &rig{Store: s, t: t, dir: r.dir}
		if err := again.sync(); err != nil {
			t.Fatalf("cut at %d: %v", cut, err)
		}
		again.check()
		stop()
		if got, err := os.ReadFile(name); err != nil || !bytes.Equal(got, whole) {
			t.Fatalf("cut at %d: not repaired: %v", cut, err)
		}
	}
}

// behind is a store file with five entries, three of them acknowledged.
func behind(t testing.TB) (store.Options, []byte) {
	t.Helper()
	o := storetest.Options(t, nil, ledger.Migrations...)
	s, stop := storetest.Start(t, o)
	r := &rig{Store: s, t: t}
	r.add(3, 10)
	if err := s.Commit(context.Background(), store.Op{Do: func(tx *bbolt.Tx) error {
		h, err := ledger.GetHead(tx)
		return errors.Join(err, ledger.Acknowledge(tx, archive.Consumer, h))
	}}); err != nil {
		t.Fatal(err)
	}
	r.add(2, 10)
	stop()
	image, err := os.ReadFile(o.Path)
	if err != nil {
		t.Fatal(err)
	}
	return o, image
}

func (r *rig) size() (n int) {
	for _, name := range r.files() {
		info, err := os.Stat(name)
		if err != nil {
			r.t.Fatal(err)
		}
		n += int(info.Size())
	}
	return n
}

// TestArchiveRefuses: damage and loss of what was acknowledged are for people,
// and nothing is written over.
func TestArchiveRefuses(t *testing.T) {
	change := func(name string, f func([]byte) []byte) error {
		b, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		return os.WriteFile(name, f(b), 0o600)
	}
	tests := map[string]func(sealed, open string) error{
		"a bit in the sealed segment": func(sealed, _ string) error {
			return change(sealed, func(b []byte) []byte { b[len(b)/2] ^= 1; return b })
		},
		"an entry of the sealed segment": func(sealed, _ string) error {
			return change(sealed, func(b []byte) []byte { return b[:bytes.LastIndexByte(b[:len(b)-1], '\n')+1] })
		},
		"a bit in the open segment": func(_, open string) error {
			return change(open, func(b []byte) []byte { b[len(b)/2] ^= 1; return b })
		},
		"the end of the open segment": func(_, open string) error {
			return change(open, func(b []byte) []byte { return b[:len(b)/2] })
		},
		"the open segment":   func(_, open string) error { return os.Remove(open) },
		"the sealed segment": func(sealed, _ string) error { return os.Remove(sealed) },
		"everything":         func(sealed, open string) error { return errors.Join(os.Remove(sealed), os.Remove(open)) },
		"an open segment in the middle": func(sealed, open string) error {
			return os.WriteFile(strings.Replace(sealed, filepath.Base(sealed)[31:], ".open.jsonl", 1), nil, 0o600)
		},
	}
	for name, damage := range tests {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.add(300, 4000)
			if err := r.sync(); err != nil {
				t.Fatal(err)
			}
			files := r.files()
			if len(files) != 2 {
				t.Fatalf("segments %v", files)
			}
			if err := damage(files[0], files[1]); err != nil {
				t.Fatal(err)
			}
			before := r.size()
			r.add(1, 10)
			err := r.sync()
			if name == "the sealed segment" { // an older volume was taken away: the rest goes on
				if err != nil {
					t.Error(err)
				}
				return
			}
			if !errors.Is(err, archive.ErrBroken) {
				t.Errorf("got %v, want ErrBroken", err)
			}
			if after := r.size(); after != before {
				t.Errorf("written over: %d bytes, then %d", before, after)
			}
		})
	}
}

// TestNewVolume: an empty directory is taken for a disk that is not mounted,
// until a person says otherwise.
func TestNewVolume(t *testing.T) {
	r := newRig(t)
	r.add(3, 10)
	if err := r.sync(); err != nil {
		t.Fatal(err)
	}
	r.dir = t.TempDir()
	if err := r.sync(); !errors.Is(err, archive.ErrBroken) || !strings.Contains(err.Error(), "mounted") {
		t.Errorf("got %v", err)
	}
	if err := os.WriteFile(filepath.Join(r.dir, "new-archive"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := r.sync(); err != nil {
		t.Fatal(err)
	}
	r.check()
	if _, err := os.Stat(filepath.Join(r.dir, "new-archive")); err == nil {
		t.Error("the permission is still there")
	}
}

func TestArchiveOfAnotherTerminal(t *testing.T) {
	a, b := newRig(t), newRig(t)
	a.add(3, 10)
	if err := a.sync(); err != nil {
		t.Fatal(err)
	}
	b.dir = a.dir
	b.add(5, 11)
	if err := b.sync(); !errors.Is(err, archive.ErrBroken) {
		t.Errorf("got %v, want ErrBroken", err)
	}
	a.check()
}

func TestDirectoryIsGone(t *testing.T) {
	r := newRig(t)
	r.add(3, 10)
	r.dir = filepath.Join(t.TempDir(), "stick")
	if err := r.sync(); err == nil || errors.Is(err, archive.ErrBroken) {
		t.Errorf("got %v; a missing disk can come back", err)
	}
	if err := os.Mkdir(r.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := r.sync(); err != nil {
		t.Error(err)
	}
	r.check()
}

// TestVerifyNeedsOnlyTheFiles checks damage without a ledger at hand.
func TestVerifyNeedsOnlyTheFiles(t *testing.T) {
	r := newRig(t)
	r.add(600, 4000)
	if err := r.sync(); err != nil {
		t.Fatal(err)
	}
	files := r.files()
	if len(files) != 3 {
		t.Fatalf("segments %v", files)
	}
	if err := os.Rename(files[1], files[1]+".away"); err != nil {
		t.Fatal(err)
	}
	if _, err := archive.Verify(r.dir); err == nil {
		t.Error("a missing segment was not noticed")
	}
	if _, err := archive.Verify(filepath.Join(r.dir, "no")); err == nil {
		t.Error("a missing directory was not noticed")
	}
}

// FuzzSegment puts arbitrary bytes where the open segment is.
func FuzzSegment(f *testing.F) {
	good, err := os.ReadFile(filepath.Join("..", "testdata", "entries_v1.jsonl"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add(good[:len(good)-10])
	f.Add([]byte("\n\n"))
	f.Add([]byte{})
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, b []byte) {
		name := filepath.Join(dir, "0000000001-00000000000000000001.open.jsonl")
		if err := os.WriteFile(name, b, 0o600); err != nil {
			t.Fatal(err)
		}
		r, err := archive.Verify(dir)
		if err != nil {
			if !errors.Is(err, archive.ErrBroken) {
				t.Errorf("an error that callers do not know: %v", err)
			}
			return
		}
		if r.Entries > 0 && (r.Head.Seq != r.Entries || !bytes.HasPrefix(b, []byte(`{"v":1,"epoch":1,"seq":1,`))) {
			t.Errorf("%+v from %q", r, b)
		}
	})
}

// TestFullDiskAtTheFirstEntry: the first segment was made, and nothing fits in it.
func TestFullDiskAtTheFirstEntry(t *testing.T) {
	r := newRig(t)
	r.add(3, 10)
	if err := os.WriteFile(filepath.Join(r.dir, "0000000001-00000000000000000001.open.jsonl"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := r.sync(); err != nil {
		t.Fatal(err)
	}
	r.check()
}
