package store_test

import (
	"bufio"
	"errors"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"go.etcd.io/bbolt"

	"github.com/ssg-safe/agent/store"
	"github.com/ssg-safe/agent/store/storetest"
)

// marks are what a working child said before it ended.
type marks struct {
	started, done, unknown []int
	readOnly               string
	code                   int
}

// watch reads the marks of a child; after limit lines it kills it. 0: never.
func watch(t testing.TB, cmd *exec.Cmd, limit int) (m marks) {
	t.Helper()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for n := 1; lines.Scan(); n++ {
		word, rest, _ := strings.Cut(lines.Text(), " ")
		switch number, _ := strconv.Atoi(rest); word {
		case "start":
			m.started = append(m.started, number)
		case "done":
			m.done = append(m.done, number)
		case "unknown":
			m.unknown = append(m.unknown, number)
		case "readonly":
			m.readOnly = rest
		default:
			t.Errorf("child says %q", lines.Text())
		}
		if n == limit {
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := cmd.Wait(); err != nil {
		exit, ok := errors.AsType[*exec.ExitError](err)
		if !ok {
			t.Fatal(err)
		}
		m.code = exit.ExitCode()
	}
	return m
}

// checkCrash opens the store after a crash: what was acknowledged is there, and
// nothing that was not started.
func checkCrash(t *testing.T, o store.Options, started, done []int) (s *store.Store, stop func()) {
	t.Helper()
	storetest.Audit(t, o)
	s, stop = storetest.Start(t, o)
	there := entries(t, s)
	for _, n := range done {
		if there["op-"+strconv.Itoa(n)] != 1 {
			t.Errorf("operation %d was acknowledged and is lost", n)
		}
	}
	for op := range there {
		if n, _ := strconv.Atoi(strings.TrimPrefix(op, "op-")); !slices.Contains(started, n) {
			t.Errorf("%s was never started", op)
		}
	}
	return s, stop
}

// TestKilledAgainAndAgain kills a process with four producers at random points,
// over and over on one file.
func TestKilledAgainAndAgain(t *testing.T) {
	o := fullOptions(filepath.Join(t.TempDir(), "store.db"))
	o.Size = 4 << 20
	storetest.Create(t, o)
	var started, done []int
	const perCycle = 1000
	for cycle := range 12 {
		from := cycle * perCycle
		m := watch(t, command(t, nil, "work", o.Path, strconv.Itoa(from), strconv.Itoa(perCycle), "4"), 1+rand.IntN(120))
		if m.code != -1 {
			t.Fatalf("cycle %d: child ended with %d before it was killed", cycle, m.code)
		}
		started, done = append(started, m.started...), append(done, m.done...)
		_, stop := checkCrash(t, o, started, done)
		stop()
	}
	if len(done) == 0 {
		t.Error("nothing was ever acknowledged")
	}
}

// TestDiskErrors makes a system call of the disk fail at each place in turn and
// wants: nothing acknowledged is lost, the process says "unknown" and ends, and
// after the restart every operation is there exactly once.
func TestDiskErrors(t *testing.T) {
	for _, fault := range []string{"fdatasync:error=EIO", "pwrite64:error=EIO", "pwrite64:error=ENOSPC"} {
		t.Run(fault, func(t *testing.T) {
			survived, ended := 0, 0
			for when := 3; when <= 8; when++ {
				o := fullOptions(filepath.Join(t.TempDir(), "store.db"))
				storetest.Create(t, o)
				m := watch(t, command(t, strace(t, fmt.Sprintf("%s:when=%d", fault, when)), "work", o.Path, "0", "8", "1"), 0)
				if m.code == exitReadOnly { // it hit the trial commit of Open
					continue
				}
				if m.code != exitUnknown || len(m.unknown) != 1 {
					t.Fatalf("when=%d: child ended with %d, marks %+v", when, m.code, m)
				}
				ended++
				s, stop := checkCrash(t, o, m.started, m.done)
				unknown := m.unknown[0]
				if entries(t, s)["op-"+strconv.Itoa(unknown)] == 1 {
					survived++
				}
				for n := range 8 {
					resolve(t, s, n)
				}
				if got := entries(t, s); len(got) != 8 {
					t.Errorf("when=%d: after looking up: %v", when, got)
				}
				stop()
			}
			if ended == 0 {
				t.Error("the fault never hit")
			}
			// A commit that failed may be there: that is why nothing is retried.
			if strings.HasPrefix(fault, "fdatasync") && (survived == 0 || survived == ended) {
				t.Errorf("%d of %d failed commits survived; some, not all, should", survived, ended)
			}
		})
	}
}

// TestRetryDoubles is the mutant: a program that does the operation again when
// its commit failed has it twice.
func TestRetryDoubles(t *testing.T) {
	doubled := false
	for when := 5; when <= 8 && !doubled; when++ {
		path := filepath.Join(t.TempDir(), "bolt.db")
		if err := command(t, strace(t, fmt.Sprintf("fdatasync:error=EIO:when=%d", when)), "naive", path, "6").Run(); err != nil {
			t.Fatal(err)
		}
		db, err := bbolt.Open(path, 0o600, nil)
		if err != nil {
			t.Fatal(err)
		}
		rows := 0
		err = db.View(func(tx *bbolt.Tx) error {
			return tx.Bucket([]byte("rows")).ForEach(func(_, _ []byte) error {
				rows++
				return nil
			})
		})
		if err := errors.Join(err, db.Close()); err != nil {
			t.Fatal(err)
		}
		doubled = rows > 6
	}
	if !doubled {
		t.Error("no operation was doubled: this test does not show why nothing is retried")
	}
}

// TestDiskFaultAtStart: when not even one commit is possible, the store opens
// for reading and says why. The children check that it can be read and refuses.
func TestDiskFaultAtStart(t *testing.T) {
	tests := map[string]struct {
		below []string
		part  string
		want  string
	}{
		"disk full":      {strace(t, "pwrite64:error=ENOSPC:when=1+"), "work", "the disk is full"},
		"disk broken":    {strace(t, "fdatasync:error=EIO:when=1+"), "work", "the disk reports errors"},
		"read-only":      {strace(t, "pwrite64:error=EROFS:when=1+"), "work", "the filesystem is read-only"},
		"file too large": {nil, "file-limit", "the file is at its size limit"}, // by the kernel itself
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			o := fullOptions(filepath.Join(t.TempDir(), "store.db"))
			s, stop := storetest.Start(t, o)
			if err := s.Commit(t.Context(), operation(0)); err != nil {
				t.Fatal(err)
			}
			stop()
			m := watch(t, command(t, test.below, test.part, o.Path, "1", "1", "1"), 0)
			if m.code != exitReadOnly || !strings.Contains(m.readOnly, test.want) {
				t.Errorf("child ended with %d, read-only because %q; want %q", m.code, m.readOnly, test.want)
			}
			s, stop = checkCrash(t, o, []int{0}, []int{0})
			if st := s.Stats(); st.ReadOnly != "" {
				t.Errorf("still read-only: %s", st.ReadOnly)
			}
			stop()
		})
	}
}
