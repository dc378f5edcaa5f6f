package powercut

import (
	"fmt"
	"hash/maphash"
	"math/rand/v2"
	"os"
)

// sector is what a disk writes whole.
const sector = 512

// interval is what happened between the returns of two flushes.
type interval struct {
	durable int // writes that are on the disk for certain
	pending int // those behind them that may be
	told    int // how much was told at its end
}

// intervals cuts a recording at its flushes. The end of a recording is no power
// cut: what follows the last flush is an interval too.
func (r Recording) intervals() (writes []Write, told []string, all []interval) {
	durable := 0
	for _, s := range r.Steps {
		switch {
		case s.Write != nil:
			writes = append(writes, *s.Write)
		case s.Told != "":
			told = append(told, s.Told)
		default:
			all = append(all, interval{durable, len(writes) - durable, len(told)})
			durable = s.Flushed
		}
	}
	return writes, told, append(all, interval{durable, len(writes) - durable, len(told)})
}

// Each makes at most budget different states of the file, spread over the whole
// recording, in the file at path, which must be as it was when the recording
// began. check is called for each with what had been told at most. Afterwards the
// file holds what is durable for certain at the end of the recording. Each returns
// how many states there were and the errors of check, at most one for each interval.
func (r Recording) Each(path string, budget int, rng *rand.Rand, check func(told []string) error) (states int, faults []error, err error) {
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return 0, nil, err
	}
	defer file.Close()
	disk, err := os.ReadFile(path)
	if err != nil {
		return 0, nil, err
	}
	writes, told, all := r.intervals()
	on := 0 // writes that are in disk
	for i, iv := range all {
		for ; on < iv.durable; on++ {
			w := writes[on]
			copy(disk[w.Off:], w.Data)
			if _, err := file.WriteAt(w.Data, w.Off); err != nil {
				return states, faults, err
			}
		}
		share := (budget - states) / (len(all) - i)
		pending := writes[iv.durable : iv.durable+iv.pending]
		failed := false
		for _, cut := range cuts(pending, share, rng) {
			if err := cut.apply(file, pending); err != nil {
				return states, faults, err
			}
			states++
			if fault := check(told[:iv.told]); fault != nil && !failed {
				failed = true
				faults = append(faults, fmt.Errorf("after flush %d of %d, %d writes pending: %w", i, len(all)-1, len(pending), fault))
			}
			if err := restore(file, disk, pending); err != nil {
				return states, faults, err
			}
		}
	}
	return states, faults, nil
}

// cut says of each pending write which of its sectors are on the disk; nil: none.
type cut [][]bool

// cuts makes at most n different ones: the plain ones first.
func cuts(pending []Write, n int, rng *rand.Rand) []cut {
	var out []cut
	seen := map[uint64]bool{}
	seed := maphash.MakeSeed()
	add := func(c cut) {
		key := maphash.Comparable(seed, fmt.Sprint(c))
		if !seen[key] && len(out) < n {
			seen[key] = true
			out = append(out, c)
		}
	}
	fill := func(each func(write, sector int) bool) cut {
		c := make(cut, len(pending))
		for i, w := range pending {
			c[i] = make([]bool, (len(w.Data)+sector-1)/sector)
			for j := range c[i] {
				c[i][j] = each(i, j)
			}
		}
		return c
	}
	add(fill(func(int, int) bool { return false }))
	add(fill(func(int, int) bool { return true }))
	for k := range pending {
		add(fill(func(i, _ int) bool { return i != k }))
		add(fill(func(i, _ int) bool { return i == k }))
		add(fill(func(i, j int) bool { return i != k || j%2 == 0 }))
	}
	for tries := 0; len(out) < n && tries < 4*n && len(pending) > 0; tries++ {
		whole := make([]bool, len(pending))
		torn := rng.IntN(len(pending) + 1)
		for i := range whole {
			whole[i] = rng.IntN(2) == 0
		}
		add(fill(func(i, _ int) bool {
			if i == torn {
				return rng.IntN(2) == 0
			}
			return whole[i]
		}))
	}
	return out
}

func (c cut) apply(file *os.File, pending []Write) error {
	for i, w := range pending {
		for j, there := range c[i] {
			if !there {
				continue
			}
			from := j * sector
			if _, err := file.WriteAt(w.Data[from:min(from+sector, len(w.Data))], w.Off+int64(from)); err != nil {
				return err
			}
		}
	}
	return nil
}

func restore(file *os.File, disk []byte, pending []Write) error {
	for _, w := range pending {
		if _, err := file.WriteAt(disk[w.Off:w.Off+int64(len(w.Data))], w.Off); err != nil {
			return err
		}
	}
	return nil
}
