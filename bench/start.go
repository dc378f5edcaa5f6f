package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// measureStart starts the built agent again and again on a data directory with
// a long ledger, with everything in the page cache and with nothing in it.
func measureStart(ctx context.Context, e *env, s *section) error {
	data, err := e.filled(ctx)
	if err != nil {
		return err
	}
	info, err := os.Stat(filepath.Join(data, "store.db"))
	if err != nil {
		return err
	}
	if _, err := e.launch(ctx, data); err != nil { // the first one warms all
		return err
	}
	warm, err := e.launches(ctx, data, e.count(20, 3), nil)
	if err != nil {
		return err
	}
	chill, how := e.chill(data)
	cold, err := e.launches(ctx, data, e.count(7, 2), chill)
	if err != nil {
		return err
	}
	n := e.count(entries, entries/10)
	s.say("The stripped agent on a pseudo-terminal, %d entries in a store of %s. Ready is READY=1 to systemd and the idle screen, whichever is later. "+
		"Cold: %s before each start.", n, bytesOf(info.Size()), how)
	row := func(what string, list []launch, of func(launch) time.Duration, verdict string) []string {
		var all []time.Duration
		for _, l := range list {
			all = append(all, of(l))
		}
		return []string{what, ms(median(all)), ms(quantile(all, 1)), fmt.Sprint(len(all)), verdict}
	}
	screen := func(l launch) time.Duration { return l.screen }
	ready := func(l launch) time.Duration { return l.ready }
	middle := func(list []launch, of func(launch) time.Duration) time.Duration {
		var all []time.Duration
		for _, l := range list {
			all = append(all, of(l))
		}
		return median(all)
	}
	s.table([][]string{
		{"", "median", "worst", "starts", "target"},
		row("start → first screen, warm", warm, screen, s.target("first screen ≤ 150 ms", middle(warm, screen) <= 150*time.Millisecond)),
		row("start → first screen, cold", cold, screen, ""),
		row("start → ready to charge, warm", warm, ready, s.target("ready, warm ≤ 300 ms", middle(warm, ready) <= 300*time.Millisecond)),
		row("start → ready to charge, cold", cold, ready, s.target("ready, cold ≤ 1.5 s", middle(cold, ready) <= 1500*time.Millisecond)),
	})
	strip := func(name string, list []launch, of func(launch) time.Duration) series {
		var all []time.Duration
		for _, l := range list {
			all = append(all, of(l))
		}
		return milliseconds(name, all)
	}
	const title = "Each start, the medians, and the targets"
	s.picture("start", title, plot{
		title: title, axis: "milliseconds since the start", marks: []mark{{150, "screen"}, {300, "ready, warm"}, {1500, "ready, cold"}},
		series: []series{
			strip("first screen, warm", warm, screen), strip("first screen, cold", cold, screen),
			strip("ready to charge, warm", warm, ready), strip("ready to charge, cold", cold, ready),
		},
	}.strips())
	return nil
}

// launch is how long one start took.
type launch struct{ screen, ready time.Duration }

func (e *env) launch(ctx context.Context, data string) (launch, error) {
	a, err := e.start(ctx, data)
	if err != nil {
		return launch{}, err
	}
	l := launch{screen: a.screen, ready: max(a.ready, a.idle)}
	return l, a.end()
}

func (e *env) launches(ctx context.Context, data string, n int, before func() error) ([]launch, error) {
	var all []launch
	for range n {
		if before != nil {
			if err := before(); err != nil {
				return nil, err
			}
		}
		l, err := e.launch(ctx, data)
		if err != nil {
			return nil, err
		}
		all = append(all, l)
	}
	return all, nil
}

// chill returns what makes the next start cold, and how to call it: the whole
// page cache is dropped where that is allowed and wanted, else the files of the
// agent. The host of a virtual machine may still have what the guest forgot.
func (e *env) chill(data string) (func() error, string) {
	files := []string{e.binary, filepath.Join(data, "store.db"), filepath.Join(data, "identity.json")}
	evict := func() error {
		unix.Sync()
		var errs []error
		for _, f := range files {
			errs = append(errs, forget(f))
		}
		return errors.Join(errs...)
	}
	drop := func() error {
		unix.Sync()
		return os.WriteFile("/proc/sys/vm/drop_caches", []byte("3\n"), 0)
	}
	if e.evict || unix.Access("/proc/sys/vm/drop_caches", unix.W_OK) != nil {
		return evict, "the files of program and store dropped from the page cache (posix_fadvise, verified by mincore)"
	}
	return drop, "page cache, names and inodes dropped (drop_caches)"
}

// forget drops a file from the page cache, and fails when it is still there.
func forget(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED); err != nil {
		return fmt.Errorf("drop %s from the page cache: %w", path, err)
	}
	info, err := f.Stat()
	if err != nil {
		return err
	}
	left, err := resident(f, info.Size())
	if err != nil {
		return err
	}
	if left > info.Size()/100 {
		return fmt.Errorf("%s of %s are still in the page cache", bytesOf(left), path)
	}
	return nil
}

// resident is how many bytes of a file are in the page cache.
func resident(f *os.File, size int64) (int64, error) {
	if size == 0 {
		return 0, nil
	}
	mapped, err := unix.Mmap(int(f.Fd()), 0, int(size), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return 0, err
	}
	defer unix.Munmap(mapped)
	page := int64(os.Getpagesize())
	in := make([]byte, (size+page-1)/page)
	if err := mincore(mapped, in); err != nil {
		return 0, err
	}
	n := int64(0)
	for _, b := range in {
		n += int64(b & 1)
	}
	return n * page, nil
}

// mincore tells for each page of a mapping whether it is in memory.
func mincore(mapped, in []byte) error {
	_, _, errno := unix.Syscall(unix.SYS_MINCORE,
		uintptr(unsafe.Pointer(&mapped[0])), uintptr(len(mapped)), uintptr(unsafe.Pointer(&in[0])))
	if errno != 0 {
		return fmt.Errorf("mincore: %w", errno)
	}
	return nil
}
