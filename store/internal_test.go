package store

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"go.etcd.io/bbolt"
)

func TestLockOwner(t *testing.T) {
	const locks = `1: POSIX  ADVISORY  WRITE 611 08:01:1048 0 EOF
2: FLOCK  ADVISORY  WRITE 4242 fe:00:4711 0 EOF
3: FLOCK  ADVISORY  READ  77 fe:00:14711 0 EOF
3: -> FLOCK  ADVISORY  WRITE 88 fe:00:815 0 EOF
nonsense
4: FLOCK  ADVISORY  WRITE -1 fe:00:99 0 EOF
`
	for inode, want := range map[uint64]int{4711: 4242, 14711: 77, 1048: 0, 711: 0, 99: 0, 815: 0, 0: 0} {
		if got := lockOwner(locks, inode); got != want {
			t.Errorf("inode %d: process %d, want %d", inode, got, want)
		}
	}
}

func TestFastCommitRisk(t *testing.T) {
	const on, off = "fc stats:\n12 commits\n0 ineligible\n", "fc stats:\n0 commits\n0 ineligible\n"
	tests := []struct {
		release, info string
		want          bool
	}{
		{"5.10.93", on, true},
		{"5.10.94", on, false},
		{"5.11.0-rpi", on, true},
		{"5.15.26-v7l+", on, true},
		{"5.15.27", on, false},
		{"5.16.1", on, false},
		{"5.9.16", on, false},
		{"6.1.21-v8+", on, false},
		{"5.10.10", off, false},
		{"5.10.10", "", false},
		{"5.10", on, true},
		{"strange", on, false},
	}
	for _, test := range tests {
		if got := fastCommitRisk(test.release, test.info); got != test.want {
			t.Errorf("kernel %s, %.14q: %v, want %v", test.release, test.info, got, test.want)
		}
	}
}

func TestSealedRows(t *testing.T) {
	key, value := []byte("key"), []byte("value")
	row := Seal(key, value)
	if got, err := Unseal(key, row); err != nil || !bytes.Equal(got, value) {
		t.Errorf("got %q, %v", got, err)
	}
	if got, err := Unseal(key, Seal(key, nil)); err != nil || len(got) != 0 {
		t.Errorf("empty value: %q, %v", got, err)
	}
	for bit := range 8 * len(row) {
		bad := bytes.Clone(row)
		bad[bit/8] ^= 1 << (bit % 8)
		if _, err := Unseal(key, bad); !errors.Is(err, ErrSum) {
			t.Errorf("bit %d flipped: %v, want ErrSum", bit, err)
		}
	}
	if _, err := Unseal([]byte("kex"), row); !errors.Is(err, ErrSum) {
		t.Errorf("under another key: %v", err)
	}
	if _, err := Unseal(key, row[:3]); !errors.Is(err, ErrSum) {
		t.Errorf("three bytes: %v", err)
	}
}

func TestWarningsAboutHoles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store.db")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.Truncate(4<<20), f.Close()); err != nil {
		t.Fatal(err)
	}
	if got := Warnings(path); len(got) != 1 {
		t.Errorf("%d warnings about a file of holes: %v", len(got), got)
	}
	if got := Warnings(path + "x"); got != nil {
		t.Errorf("about no file: %v", got)
	}
}

// FuzzPreflight gives the first pages of a file to the check that keeps bbolt
// from reading past its end. Whatever it lets pass, bbolt opens or refuses
// without a crash of this process.
func FuzzPreflight(f *testing.F) {
	path := filepath.Join(f.TempDir(), "good.db")
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{PageSize: pageSize, NoFreelistSync: true})
	if err != nil {
		f.Fatal(err)
	}
	if err := db.Close(); err != nil {
		f.Fatal(err)
	}
	good, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	good = good[:4*pageSize]
	f.Add(good[metaAt:metaAt+metaLen], good[pageSize+metaAt:pageSize+metaAt+metaLen], 4)
	f.Add([]byte{}, good[metaAt:metaAt+metaLen], 4)
	f.Add(good[metaAt:metaAt+metaLen], []byte{}, 3)
	f.Add([]byte{}, []byte{}, 100)
	f.Fuzz(func(t *testing.T, meta0, meta1 []byte, pages int) {
		image := bytes.Clone(good)
		if pages >= 0 && pages < 4 {
			image = image[:pages*pageSize]
		}
		for i, m := range [][]byte{meta0, meta1} {
			if at := i*pageSize + metaAt; at+metaLen <= len(image) {
				clear(image[at : at+metaLen])
				copy(image[at:at+metaLen], m)
			}
		}
		path := filepath.Join(t.TempDir(), "store.db")
		if err := os.WriteFile(path, image, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := preflight(path); err != nil {
			if !errors.Is(err, ErrCorrupt) {
				t.Errorf("preflight: %v", err)
			}
			return
		}
		db, err := openBolt(path, int64(len(image)), true)
		if err != nil {
			return
		}
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
}
