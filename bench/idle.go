package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// usage is what a process used since its start, and its memory now.
type usage struct {
	cpu      time.Duration
	anon     int64 // bytes that no file backs
	resident int64
	written  int64 // bytes caused to be written to disks
	switches int64 // voluntary: how often a thread slept and woke
}

// measureIdle leaves a started agent alone and watches it from outside.
func measureIdle(ctx context.Context, e *env, s *section) error {
	data, err := e.filled(ctx)
	if err != nil {
		return err
	}
	a, err := e.start(ctx, data)
	if err != nil {
		return err
	}
	before, after, err := watch(ctx, a.cmd.Process.Pid, time.Duration(e.count(60, 5))*time.Second)
	if err := errors.Join(err, a.end()); err != nil {
		return err
	}
	took := time.Duration(e.count(60, 5)) * time.Second
	share := float64(after.cpu-before.cpu) / float64(took) * 100
	written := after.written - before.written
	s.say("The stripped agent on a pseudo-terminal with its idle screen, %d entries in the store, %v.", e.count(entries, entries/10), took)
	s.table([][]string{
		{"", "", "target"},
		{"processor, share of one core", fmt.Sprintf("%.2f %%", share), s.target("≤ 0.5 %", share <= 0.5)},
		{"anonymous memory", bytesOf(after.anon), s.target("≤ 20 MB", after.anon <= 20e6)},
		{"resident memory, program and mapped store included", bytesOf(after.resident), ""},
		{"written to the disk", bytesOf(written), s.target("nothing", written == 0)},
		{"wake-ups", fmt.Sprintf("%.1f/s", float64(after.switches-before.switches)/took.Seconds()), ""},
	})
	return nil
}

// watch lets a second go by, in which the start ends, and then measures.
func watch(ctx context.Context, pid int, length time.Duration) (before, after usage, err error) {
	for _, step := range []struct {
		wait time.Duration
		to   *usage
	}{{time.Second, &before}, {length, &after}} {
		select {
		case <-time.After(step.wait):
		case <-ctx.Done():
			return before, after, ctx.Err()
		}
		if *step.to, err = usageOf(pid); err != nil {
			return before, after, err
		}
	}
	return before, after, nil
}

// usageOf reads what the kernel knows of a process.
func usageOf(pid int) (u usage, err error) {
	proc := filepath.Join("/proc", strconv.Itoa(pid))
	status, err := os.ReadFile(filepath.Join(proc, "status"))
	if err != nil {
		return u, err
	}
	u.anon, u.resident = field(status, "RssAnon:")<<10, field(status, "VmRSS:")<<10
	if u.written, err = ioField(pid, "write_bytes"); err != nil {
		return u, err
	}
	threads, err := filepath.Glob(filepath.Join(proc, "task", "*"))
	if err != nil {
		return u, err
	}
	for _, t := range threads {
		// On the processor in nanoseconds; stat counts in ticks of 10 ms.
		raw, err := os.ReadFile(filepath.Join(t, "schedstat"))
		if err != nil {
			return u, err
		}
		nanoseconds, _, _ := strings.Cut(string(raw), " ")
		n, err := strconv.ParseInt(nanoseconds, 10, 64)
		if err != nil {
			return u, fmt.Errorf("%s/schedstat: %w", t, err)
		}
		u.cpu += time.Duration(n)
		if status, err = os.ReadFile(filepath.Join(t, "status")); err != nil {
			return u, err
		}
		u.switches += field(status, "voluntary_ctxt_switches:")
	}
	return u, nil
}

// field is a number in the text of /proc/PID/status; 0 when it is not there.
func field(status []byte, name string) int64 {
	for line := range bytes.Lines(status) {
		if value, ok := bytes.CutPrefix(line, []byte(name)); ok {
			n, _ := strconv.ParseInt(string(bytes.TrimSpace(bytes.TrimSuffix(bytes.TrimSpace(value), []byte("kB")))), 10, 64)
			return n
		}
	}
	return 0
}
