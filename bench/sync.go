package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ssg-safe/agent/fleet"
	"github.com/ssg-safe/agent/store"
	"github.com/ssg-safe/agent/terminal"
)

const (
	syncTarget = 20_000   // entries a second
	syncMemory = 64 << 20 // what the heap may grow by, terminal, broker and hub together
)

// measureSync has a terminal that was offline for long meet its hub: over TCP on
// the loopback interface, through the embedded broker, into the hub's bbolt
// store, acknowledged after its commits. All three are in this process.
func measureSync(ctx context.Context, e *env, s *section) (err error) {
	from, err := e.filled(ctx)
	if err != nil {
		return err
	}
	dir := filepath.Join(e.dir, "sync")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	o := store.Options{Path: filepath.Join(dir, "store.db"), Migrations: slices.Concat(terminal.Migrations(), fleet.Migrations())}
	if err := copyFile(o.Path, filepath.Join(from, "store.db")); err != nil {
		return err
	}
	st, err := store.Open(o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	f, err := newBackOffice(ctx, dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.close()) }()
	link, err := f.link(st, deaf{}, nil)
	if err != nil {
		return err
	}
	f.run(ctx, st.Run)

	want := link.Status().Head
	before, peak := heap(), uint64(0)
	commits := st.Stats().Commits
	began, worked := time.Now(), processorTime()
	f.run(ctx, link.Run)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for link.Status().Acked != want {
		select {
		case <-tick.C:
		case <-st.Failed():
			return st.Err()
		case <-ctx.Done():
			return ctx.Err()
		}
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		peak = max(peak, m.HeapInuse)
		if time.Since(began) > 2*time.Minute {
			return fmt.Errorf("%+v after two minutes", link.Status())
		}
	}
	took, work := time.Since(began), processorTime()-worked
	rate := float64(want.Seq) / took.Seconds()
	stats, grew := f.hub.Stats(), int64(peak)-int64(before)
	s.say("%d entries in %s: from the first attempt to connect to the cursor that is durable on the terminal.", want.Seq, took.Round(time.Millisecond))
	s.table([][]string{
		{"", "", "target"},
		{"entries a second", fmt.Sprintf("%.0f", rate), s.target("sync ≥ 20,000 entries/s", rate >= syncTarget)},
		{"processor time of one entry, on both sides and in the broker", fmt.Sprintf("%.1f µs", float64(work.Microseconds())/float64(want.Seq)), ""},
		{"commits of the hub, of the terminal", fmt.Sprintf("%d, %d", stats.Commits, st.Stats().Commits-commits), ""},
		{"batches, and entries that came twice", fmt.Sprintf("%d, %d", stats.Batches, stats.Duplicates), ""},
		{"heap in use before, at most", bytesOf(int64(before)) + ", " + bytesOf(int64(peak)), s.target("sync memory flat (≤ 64 MiB more)", grew <= syncMemory)},
	})
	return nil
}

// processorTime is what this process has used so far.
func processorTime() time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		panic(err) // the kernel knows this call
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapInuse
}

func copyFile(to, from string) error {
	raw, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, raw, 0o600)
}
