package store_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.etcd.io/bbolt"
	"golang.org/x/sys/unix"

	"github.com/ssg-safe/agent/ledger"
	"github.com/ssg-safe/agent/queue"
	"github.com/ssg-safe/agent/store"
)

// The test binary is also the processes that its tests kill: started with
// "store-check" it is the boot check's child, otherwise childEnv names its part.
const childEnv = "STORE_TEST_CHILD"

func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == "store-check" {
		o := fullOptions(os.Args[len(os.Args)-1])
		o.Copy = os.Args[2] == "--copy"
		switch os.Getenv(childEnv) {
		case "verify-crashes":
			o.Verify = func(*bbolt.Tx) error {
				go panic("in a goroutine of its own")
				select {}
			}
		case "verify-hoards":
			o.Verify = func(*bbolt.Tx) error {
				for size := 16 << 20; ; size *= 2 {
					if b := slices.Repeat([]byte{1}, size); len(b) == 0 {
						return nil
					}
				}
			}
		case "verify-hangs":
			o.Verify = func(*bbolt.Tx) error {
				for { // not select, which the runtime knows for a deadlock
					time.Sleep(time.Hour)
				}
			}
		}
		os.Exit(store.BootCheckChild(o))
	}
	if part := os.Getenv(childEnv); part != "" {
		os.Exit(child(part, os.Args[1:]))
	}
	// Under the race detector a child would sleep a second before it ends.
	if err := os.Setenv("GORACE", "atexit_sleep_ms=0"); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

// fullOptions are those of a store with ledger and queue.
func fullOptions(path string) store.Options {
	return store.Options{
		Path: path, Size: 1 << 20,
		Migrations: slices.Concat(ledger.Migrations, queue.Migrations),
		Verify: func(tx *bbolt.Tx) error {
			_, err := ledger.Verify(tx, ledger.Head{})
			return errors.Join(err, queue.Audit(tx))
		},
		Check: []string{os.Args[0], "store-check"},
	}
}

// operation is the full one: an entry and a job under one operation id.
func operation(n int) store.Op {
	op := "op-" + strconv.Itoa(n)
	return store.Op{Name: op, New: true, Do: func(tx *bbolt.Tx) error {
		_, err := ledger.Append(tx, ledger.Stamp{Wall: time.Unix(1782907200, 0), Quality: ledger.Synced}, ledger.Draft{
			Op: op, Kind: "test", Actor: "test",
			Postings: []ledger.Posting{{Account: ledger.PixClearing, Amount: 1}, {Account: ledger.Sales, Amount: -1}},
		})
		if err != nil {
			return err
		}
		_, err = queue.Put(tx, queue.Job{Op: op, Kind: "test", State: "new"})
		return err
	}}
}

// command is this binary as a child that plays a part, below another program
// such as strace if that is given.
func command(t testing.TB, below []string, part string, args ...string) *exec.Cmd {
	t.Helper()
	argv := append(append(slices.Clone(below), os.Args[0]), args...)
	cmd := exec.CommandContext(t.Context(), argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), childEnv+"="+part)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.Stderr = os.Stderr
	return cmd
}

// strace is the program with its arguments for injecting a fault, or a loud
// failure where it is missing.
func strace(t testing.TB, inject string) []string {
	t.Helper()
	path, err := exec.LookPath("strace")
	if err != nil {
		t.Fatal("strace is needed to inject faults: apt-get install strace")
	}
	return []string{path, "-f", "-qqq", "-o", os.DevNull, "-e", "signal=none", "-e", "inject=" + inject}
}

// mark writes a line in one go, so that a kill leaves it whole or not at all.
func mark(format string, args ...any) {
	fmt.Fprintf(os.Stdout, format+"\n", args...)
}

// Exit codes of children that are no crash.
const (
	exitUnknown  = 3 // a commit's outcome is unknown
	exitReadOnly = 4 // the store opened read-only
	exitExists   = 5
)

func child(part string, args []string) int {
	o := fullOptions(args[0])
	switch part {
	case "create":
		runtime.LockOSThread() // strace counts per thread
		err := store.Create(context.Background(), o)
		switch {
		case errors.Is(err, store.ErrExists):
			return exitExists
		case err != nil:
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		return 0
	case "work":
		from, count, producers := atoi(args[1]), atoi(args[2]), atoi(args[3])
		return work(o, from, count, producers)
	case "file-limit":
		signal.Ignore(syscall.SIGXFSZ) // EFBIG instead
		if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: 8192, Max: 8192}); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		return work(o, 0, 1, 1)
	case "naive":
		return naive(args[0], atoi(args[1]))
	}
	fmt.Fprintln(os.Stderr, "no part", part)
	return 1
}

func atoi(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		panic(err)
	}
	return n
}

// work does operations and marks what it starts and what it was told.
func work(o store.Options, from, count, producers int) int {
	s, err := store.Open(o)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if why := s.Stats().ReadOnly; why != "" {
		mark("readonly %s", why)
		if err := s.Commit(context.Background(), operation(from)); !errors.Is(err, store.ErrReadOnly) {
			fmt.Fprintln(os.Stderr, "a read-only store said", err)
			return 1
		}
		if err := s.View(o.Verify); err != nil {
			fmt.Fprintln(os.Stderr, "a read-only store cannot be read:", err)
			return 1
		}
		return exitReadOnly
	}
	go func() {
		runtime.LockOSThread() // strace counts per thread
		_ = s.Run(context.Background())
	}()
	var wg sync.WaitGroup
	for p := range producers {
		wg.Go(func() {
			for n := from + p; n < from+count; n += producers {
				mark("start %d", n)
				err := s.Commit(context.Background(), operation(n))
				switch {
				case err == nil:
					mark("done %d", n)
				case errors.Is(err, store.ErrOutcomeUnknown):
					mark("unknown %d", n)
					return
				default:
					mark("refused %d %v", n, err)
				}
			}
		})
	}
	wg.Wait()
	if s.Err() == nil {
		return 0
	}
	// Whatever is asked of it now, a failed store does nothing.
	<-s.Failed()
	if err := s.Commit(context.Background(), operation(from)); !errors.Is(err, store.ErrOutcomeUnknown) {
		fmt.Fprintln(os.Stderr, "a failed store took an operation:", err)
		return 1
	}
	if err := s.View(func(*bbolt.Tx) error { return nil }); !errors.Is(err, store.ErrOutcomeUnknown) {
		fmt.Fprintln(os.Stderr, "a failed store was read:", err)
		return 1
	}
	return exitUnknown
}

// naive is the mutant: plain bbolt, an operation again when its commit failed,
// and no look at what is there. Each operation is meant to add one row.
func naive(path string, count int) int {
	runtime.LockOSThread()
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{NoFreelistSync: true, FreelistType: bbolt.FreelistMapType})
	if err != nil {
		return 1
	}
	for n := range count {
		add := func(tx *bbolt.Tx) error {
			b, err := tx.CreateBucketIfNotExists([]byte("rows"))
			if err != nil {
				return err
			}
			seq, err := b.NextSequence()
			if err != nil {
				return err
			}
			return b.Put(binary.BigEndian.AppendUint64(nil, seq), strconv.AppendInt(nil, int64(n), 10))
		}
		if db.Update(add) == nil {
			continue
		}
		if db.Update(add) != nil {
			return 1
		}
	}
	return 0
}
