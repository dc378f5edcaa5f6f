package store_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/ssg-safe/agent/store/storetest"
)

// traced runs a child and returns its system calls that matter for what is on
// the disk, in order: "write NAME" when a write to a file begins, "flush NAME"
// when a flush of it has returned, "rename", and "say TEXT" for its marks.
func traced(t *testing.T, part string, args ...string) []string {
	t.Helper()
	path, err := exec.LookPath("strace")
	if err != nil {
		t.Fatal("strace is needed to see the order of flushes: apt-get install strace")
	}
	file := filepath.Join(t.TempDir(), "trace")
	below := []string{path, "-f", "-qqq", "-y", "-s", "64", "-o", file, "-e", "signal=none", "-e", "trace=write,pwrite64,fsync,fdatasync,rename,renameat,renameat2"}
	cmd := command(t, below, part, args...)
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return events(string(raw))
}

// call matches a line of strace -f -y: thread, call, file; a call that another
// thread's line interrupts comes as two lines.
var call = regexp.MustCompile(`^(\d+) +(?:<\.\.\. (\w+) resumed>|(\w+)\((?:\d+<([^>]*)>)?(.*))`)

func events(trace string) (found []string) {
	flushing := make(map[string]string) // by thread
	for line := range strings.Lines(trace) {
		m := call.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		thread, resumed, name, file, rest := m[1], m[2], m[3], filepath.Base(m[4]), m[5]
		switch {
		case name == "fsync" || name == "fdatasync":
			if strings.Contains(rest, "unfinished") {
				flushing[thread] = file
			} else {
				found = append(found, "flush "+file)
			}
		case resumed == "fsync" || resumed == "fdatasync":
			found = append(found, "flush "+flushing[thread])
		case name == "pwrite64":
			found = append(found, "write "+file)
		case strings.HasPrefix(name, "rename"):
			found = append(found, "rename")
		case name == "write" && strings.HasPrefix(rest, `, "`):
			text, _, _ := strings.Cut(strings.TrimPrefix(rest, `, "`), `\n`)
			found = append(found, "say "+text)
		}
	}
	return found
}

// TestCreateFlushesInOrder: the file before its name, its name before the end.
func TestCreateFlushesInOrder(t *testing.T) {
	dir := t.TempDir()
	trace := traced(t, "create", filepath.Join(dir, "store.db"))
	if problem := createOrder(trace, filepath.Base(dir)); problem != "" {
		t.Errorf("%s in %q", problem, trace)
	}
	// The mutants: a flush left out.
	for _, left := range []string{"flush store.db.tmp", "flush " + filepath.Base(dir)} {
		mutant := make([]string, 0, len(trace))
		for _, event := range trace {
			if event != left {
				mutant = append(mutant, event)
			}
		}
		if createOrder(mutant, filepath.Base(dir)) == "" {
			t.Errorf("without %q nobody complains", left)
		}
	}
}

func createOrder(trace []string, dir string) string {
	dirty, renamed, kept := false, false, false
	for _, event := range trace {
		switch event {
		case "write store.db.tmp":
			dirty = true
		case "flush store.db.tmp":
			dirty = false
		case "rename":
			if dirty {
				return "renamed before it was flushed"
			}
			renamed = true
		case "flush " + dir:
			kept = kept || renamed
		}
	}
	if !kept {
		return "the directory is not flushed after the rename"
	}
	return ""
}

// TestNothingIsToldBeforeItsFlush: when Done is called, everything that was
// written before it is flushed.
func TestNothingIsToldBeforeItsFlush(t *testing.T) {
	o := fullOptions(filepath.Join(t.TempDir(), "store.db"))
	storetest.Create(t, o)
	trace := traced(t, "work", o.Path, "0", "10", "1")
	told, problem := ackOrder(trace)
	if problem != "" || told != 10 {
		t.Errorf("%d told, %s in %q", told, problem, trace)
	}
	for i, event := range trace { // the mutants: one flush left out
		if event != "flush store.db" || i < len(trace)/2 {
			continue
		}
		mutant := append(append([]string(nil), trace[:i]...), trace[i+1:]...)
		if _, problem := ackOrder(mutant); problem == "" {
			t.Errorf("without the flush at %d nobody complains", i)
		}
	}
}

// ackOrder wants two flushes for each thing told: one of the pages before the
// meta page is written, and one of the meta page.
func ackOrder(trace []string) (told int, problem string) {
	flushes, dirty := 0, false
	for _, event := range trace {
		switch {
		case event == "write store.db":
			dirty = true
		case event == "flush store.db":
			dirty = false
			flushes++
		case strings.HasPrefix(event, "say start"):
			flushes = 0
		case strings.HasPrefix(event, "say done"):
			told++
			if dirty || flushes != 2 {
				return told, fmt.Sprintf("%q after %d flushes, unflushed writes: %v", event, flushes, dirty)
			}
		}
	}
	return told, ""
}
