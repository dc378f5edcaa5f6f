package ledger

import (
	"bytes"
	"iter"
	"runtime"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

// copies are n entries, whose bytes the caller may change.
func copies(t *testing.T, n int) [][]byte {
	good := entries(t)
	all := make([][]byte, n)
	for i := range all {
		all[i] = bytes.Clone(good[i%len(good)])
	}
	return all
}

func numbered(raws [][]byte) iter.Seq2[Position, []byte] {
	return func(yield func(Position, []byte) bool) {
		for i, raw := range raws {
			if !yield(Position{1, uint64(i)}, raw) {
				return
			}
		}
	}
}

func TestExamine(t *testing.T) {
	for _, n := range []int{0, 1, stretchLen - 1, stretchLen, stretchLen + 1, 20*stretchLen + 7} {
		raws := copies(t, n)
		got := 0
		for x := range examine(numbered(raws)) {
			want, content, err := decode(raws[got])
			if err != nil {
				t.Fatal(err)
			}
			if x.pos.Seq != uint64(got) || x.err != nil || x.entry.Op != want.Op ||
				x.hash != HashOf(raws[got]) || x.content != HashOf(raws[got][content:]) {
				t.Fatalf("%d entries: the one at %d is examined as %+v", n, got, x)
			}
			got++
		}
		if got != n {
			t.Errorf("%d entries yielded, want %d", got, n)
		}
	}
}

// The race detector sees bytes that are read after the end: then the transaction
// is over, and the pages are somebody else's. It remembers the latest reads only,
// so the last bytes are changed first.
func TestExamineStops(t *testing.T) {
	raws := copies(t, 20*stretchLen)
	begun := 0
	for range examine(func(yield func(Position, []byte) bool) {
		for pos, raw := range numbered(raws) {
			if begun++; !yield(pos, raw) {
				return
			}
		}
	}) {
		break
	}
	for _, raw := range slices.Backward(raws[:begun]) {
		raw[0] ^= 1
	}
}

// A page that cannot be read is a panic in the goroutine of the transaction. It
// is one that can be recovered from if the caller asked for that, as store does.
func TestExamineFault(t *testing.T) {
	lost, err := unix.Mmap(-1, 0, 4096, unix.PROT_NONE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := unix.Munmap(lost); err != nil {
			t.Error(err)
		}
	}()
	raws := copies(t, 5*stretchLen)
	raws[3*stretchLen] = lost[:400]
	seen := 0
	defer func() {
		if p, ok := recover().(runtime.Error); !ok {
			t.Errorf("recovered %v, want a fault", p)
		}
		if seen != 3*stretchLen {
			t.Errorf("%d entries before the fault, want %d", seen, 3*stretchLen)
		}
	}()
	for range examine(numbered(raws)) {
		seen++
	}
}
