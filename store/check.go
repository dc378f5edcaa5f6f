package store

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"

	"go.etcd.io/bbolt"
	"golang.org/x/sys/unix"
)

// ErrCheckTimeout: the boot check did not end in time. Nothing is known about
// the file, so it is left alone.
var ErrCheckTimeout = errors.New("the check of the store did not end in time")

// checkTimeout is a variable for the tests.
var checkTimeout = 5 * time.Minute

const (
	checkMemory = 256 << 20 // beyond what the child has when it starts, in bytes
	maxEvidence = 4 << 10
)

// Exit codes of the child, chosen apart from those of a Go program that died.
const (
	checkOK      = 0
	checkFailed  = 10 // the file could not be examined
	checkCorrupt = 11
	checkLocked  = 12
	checkNewer   = 13
	checkMissing = 14
	checkDied    = 15 // never said by the child
)

// checkBegins is what a child says first: from here on its death is evidence.
const checkBegins = "store-check: begins\n"

// BootCheck examines the store from a child process with limits of memory and
// time, because bbolt can take down a process on a damaged file. The child
// holds a lock that keeps writers out. Where a program cannot start itself
// again (qemu-user without binfmt) the check runs in this process, with a
// warning.
//
// A damaged file is moved to quarantine before BootCheck returns ErrCorrupt.
// That is one in which the child found a fault, or over which it died twice; a
// child that was killed from outside, or never came to look, is no evidence.
// Other errors: ErrNotExist, ErrLocked, ErrNewer, ErrCheckTimeout.
func BootCheck(ctx context.Context, o Options) error {
	err := Examine(ctx, o)
	d, damaged := errors.AsType[*DamageError](err)
	if !damaged {
		return err
	}
	if err := quarantine(o.Path, d.Report, time.Now()); err != nil {
		return fmt.Errorf("%w (and moving it aside failed: %w)", d, err)
	}
	return refuseQuarantined(o.Path)
}

// DamageError is what [Examine] found in a store file. It is an ErrCorrupt.
type DamageError struct {
	Path string
	// Report is all that the check said.
	Report string
}

// Error names the file and the first thing found.
func (e *DamageError) Error() string {
	first, _, _ := strings.Cut(e.Report, "\n")
	return fmt.Sprintf("check store %s: %v: %s", e.Path, ErrCorrupt, first)
}

// Is makes errors.Is(err, ErrCorrupt) true.
func (*DamageError) Is(target error) bool { return target == ErrCorrupt }

// Examine is [BootCheck] for a look that changes nothing: a damaged file stays
// where it is, and comes back as a [*DamageError]. One that lies in quarantine
// already is ErrCorrupt too.
func Examine(ctx context.Context, o Options) error {
	if err := refuseQuarantined(o.Path); err != nil {
		return err
	}
	if _, err := os.Stat(o.Path); err != nil {
		return preflight(o.Path) // words it
	}
	code, report, err := runCheck(ctx, o)
	if err == nil && code == checkDied {
		o.log().Warn("the check of the store died; it is tried once more", "report", report)
		code, report, err = runCheck(ctx, o)
	}
	if err != nil {
		return err
	}
	switch code {
	case checkOK:
		return nil
	case checkLocked:
		return fmt.Errorf("check store: %w%s", ErrLocked, holder(o.Path))
	case checkNewer:
		return fmt.Errorf("check store: %w: %s", ErrNewer, report)
	case checkMissing:
		return fmt.Errorf("check store: %w: %s", ErrNotExist, report)
	case checkFailed:
		return fmt.Errorf("check store: %s", report)
	}
	return &DamageError{o.Path, report}
}

// runCheck returns the child's exit code, or checkDied, and what it said.
func runCheck(ctx context.Context, o Options) (code int, report string, err error) {
	argv := o.Check
	if argv == nil {
		exe, err := os.Executable()
		if err != nil || flag.Lookup("test.v") != nil { // a test binary would run its tests
			return checkHere(o, "no program to start")
		}
		argv = []string{exe, "store-check"}
	}
	if o.Copy {
		argv = append(argv[:len(argv):len(argv)], "--copy")
	}
	limited, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	var stdout, stderr evidence
	cmd := exec.CommandContext(limited, argv[0], append(argv[1:len(argv):len(argv)], o.Path)...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	runtime.LockOSThread() // Pdeathsig follows the thread
	defer runtime.UnlockOSThread()
	err = cmd.Run()
	exit, exited := errors.AsType[*exec.ExitError](err)
	said, looked := strings.CutPrefix(stdout.String(), checkBegins)
	switch {
	case ctx.Err() != nil:
		return 0, "", ctx.Err()
	case limited.Err() != nil:
		return 0, "", fmt.Errorf("check store %s: %w (%v)", o.Path, ErrCheckTimeout, checkTimeout)
	case err != nil && !exited:
		return checkHere(o, err.Error())
	case !looked:
		return checkHere(o, fmt.Sprintf("%s did not check (%v): %s", argv[0], err, strings.TrimSpace(stderr.String())))
	case err == nil:
		return checkOK, "", nil
	}
	if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		switch status.Signal() {
		case syscall.SIGKILL, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP:
			return 0, "", fmt.Errorf("check store %s: the check was killed (%v); nothing is known about the file", o.Path, status.Signal())
		}
	}
	if code := exit.ExitCode(); code >= checkFailed && code <= checkMissing {
		return code, strings.TrimSpace(said), nil
	}
	return checkDied, fmt.Sprintf("the check died (%v): %s", exit, strings.TrimSpace(stderr.String())), nil
}

func checkHere(o Options, why string) (int, string, error) {
	o.log().Warn("checking the store without a child process", "reason", why)
	code, report := examine(o)
	return code, report, nil
}

// BootCheckChild is the child's side: it limits its own memory, examines the
// file, writes what it found to standard output and returns the exit code.
func BootCheckChild(o Options) int {
	if err := limitMemory(); err != nil {
		fmt.Fprintf(os.Stderr, "limit memory: %v\n", err)
	}
	fmt.Print(checkBegins)
	code, report := examine(o)
	if report != "" {
		fmt.Println(report)
	}
	return code
}

// limitMemory lets this process have checkMemory more private memory than now.
func limitMemory() error {
	statm, err := os.ReadFile("/proc/self/statm") // its 6th number: data and stack, in pages
	if err != nil {
		return err
	}
	var size, resident, shared, text, lib, data uint64
	if _, err := fmt.Sscan(string(statm), &size, &resident, &shared, &text, &lib, &data); err != nil {
		return fmt.Errorf("read /proc/self/statm: %w", err)
	}
	most := data*uint64(os.Getpagesize()) + checkMemory
	return unix.Setrlimit(unix.RLIMIT_DATA, &unix.Rlimit{Cur: most, Max: most})
}

// examine reads everything: bbolt's structure first, then what Verify knows.
func examine(o Options) (code int, report string) {
	err := Check(o)
	switch {
	case err == nil:
		return checkOK, ""
	case errors.Is(err, ErrCorrupt):
		return checkCorrupt, strings.TrimPrefix(err.Error(), ErrCorrupt.Error()+": ") // who reports it says that
	case errors.Is(err, ErrLocked):
		return checkLocked, err.Error()
	case errors.Is(err, ErrNewer):
		return checkNewer, err.Error()
	case errors.Is(err, ErrNotExist):
		return checkMissing, err.Error()
	}
	return checkFailed, err.Error()
}

// Check examines a store file in this process: bbolt's structure, the store's
// record, and Options.Verify. It reads everything and changes nothing. On a
// damaged file bbolt can take the process down; BootCheck cannot.
func Check(o Options) error {
	if err := preflight(o.Path); err != nil {
		return err
	}
	db, err := openBolt(o.Path, fileSize(o.Path), true)
	if err != nil {
		return err
	}
	err = guard(func() error {
		return db.View(func(tx *bbolt.Tx) error {
			readAhead(o.Path, tx.Size())
			for problem := range tx.Check() {
				// The first one is enough; the child ends with the rest unread.
				return fmt.Errorf("%w: %w", ErrCorrupt, problem)
			}
			have, err := checkRecord(tx, o)
			if err != nil || have < len(o.Migrations) || o.Verify == nil {
				return err
			}
			if err := o.Verify(tx); err != nil {
				return fmt.Errorf("%w: %w", ErrCorrupt, err)
			}
			return nil
		})
	})
	return closeAfter(db, err)
}

// readAhead reads the used part of the file into the page cache. bbolt maps it
// for random access, so that a cold check would wait for each page by itself:
// eight times as long.
func readAhead(path string, used int64) {
	f, err := os.Open(path)
	if err != nil {
		return // it is only slower
	}
	defer f.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(f, used))
}

// evidence keeps the first bytes of what a child wrote; a dying Go program says
// first why.
type evidence struct{ bytes.Buffer }

func (e *evidence) Write(p []byte) (int, error) {
	room := max(0, maxEvidence-e.Len())
	e.Buffer.Write(p[:min(room, len(p))])
	return len(p), nil
}
