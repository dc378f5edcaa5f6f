package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// machine describes where a figure was measured, in one line: figures without
// it mean nothing.
func machine(dir string) (string, error) {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return "", err
	}
	disk, err := diskOf(dir)
	if err != nil {
		return "", err
	}
	load, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%s, %d × %s, %s %s, %s, %s, load at the start %s",
		time.Now().UTC().Format("2006-01-02 15:04 UTC"), runtime.NumCPU(), processor(),
		unix.ByteSliceToString(u.Sysname[:]), unix.ByteSliceToString(u.Release[:]), disk, runtime.Version()+" "+runtime.GOARCH,
		strings.Fields(string(load))[0]), nil
}

// processor is the name of the processor; boards call it by other names.
func processor() string {
	raw, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return "unknown processor"
	}
	for _, want := range []string{"model name", "Model", "Hardware", "Processor"} {
		for line := range strings.Lines(string(raw)) {
			if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == want {
				return strings.Join(strings.Fields(value), " ")
			}
		}
	}
	return runtime.GOARCH + " processor"
}

// diskOf names filesystem and device below a directory, and refuses one that
// has no device: a flush costs nothing there.
func diskOf(dir string) (string, error) {
	raw, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return "", err
	}
	abs, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return "", err
	}
	kind, device, best := "", "", -1
	for line := range strings.Lines(string(raw)) {
		f := strings.Fields(line)
		dash := -1
		for i := range f {
			if f[i] == "-" {
				dash = i
			}
		}
		if len(f) < 5 || dash < 0 || len(f) < dash+3 {
			continue
		}
		rel, err := filepath.Rel(f[4], abs)
		if err != nil || rel == ".." || strings.HasPrefix(rel, "../") || len(f[4]) < best {
			continue
		}
		kind, device, best = f[dash+1], f[dash+2], len(f[4])
	}
	switch kind {
	case "":
		return "", errors.New("no mount holds " + dir)
	case "tmpfs", "ramfs":
		return "", fmt.Errorf("%s is on a %s, where a flush costs nothing: give -dir a directory on a disk", dir, kind)
	}
	return kind + " on " + device, nil
}

// probe is the disk's own pace: 4 KiB written into a zero-filled file and
// flushed, as the least that anything durable costs.
type probe struct {
	file *os.File
	page [4096]byte
	next int64
	took []time.Duration
}

const probePages = 4096

func newProbe(dir string) (*probe, error) {
	f, err := os.Create(filepath.Join(dir, "probe"))
	if err != nil {
		return nil, err
	}
	p := &probe{file: f}
	for i := range probePages {
		if _, err := f.WriteAt(p.page[:], int64(i)*int64(len(p.page))); err != nil {
			return nil, err
		}
	}
	return p, f.Sync()
}

// once measures one write and its flush.
func (p *probe) once() error {
	p.page[0]++
	from := time.Now()
	if _, err := p.file.WriteAt(p.page[:], p.next%probePages*int64(len(p.page))); err != nil {
		return err
	}
	if err := unix.Fdatasync(int(p.file.Fd())); err != nil {
		return err
	}
	p.took = append(p.took, time.Since(from))
	p.next++
	return nil
}

// bare writes and flushes what a commit of bbolt does, without a store: pages that are
// not side by side, and then the one that names them.
func (p *probe) bare(pages int) error {
	for i := range pages {
		at := p.next
		if p.next += 2; i == pages-1 {
			if err := unix.Fdatasync(int(p.file.Fd())); err != nil {
				return err
			}
			at = 1 // between the others, and always the same
		}
		p.page[0]++
		if _, err := p.file.WriteAt(p.page[:], at%probePages*int64(len(p.page))); err != nil {
			return err
		}
	}
	return unix.Fdatasync(int(p.file.Fd()))
}

func (p *probe) close() error { return p.file.Close() }
