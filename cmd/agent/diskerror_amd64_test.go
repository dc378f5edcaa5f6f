package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/ssg-safe/agent/providers/ssg/ssgsim"
)

// TestEveryDiskError makes one write or flush of the store fail in each run of the
// program: the first of the run, the second, and so on to the last it makes. The
// process must not touch the store again and must end with the reason; the next
// start finds out what happened; in the end the books of terminal, paper and
// provider agree. SSG_DISK_ERRORS is how many calls are tried of each kind, spread
// over the run (make prove: all).
func TestEveryDiskError(t *testing.T) {
	limit := 5
	if s := os.Getenv("SSG_DISK_ERRORS"); s != "" {
		var err error
		if limit, err = strconv.Atoi(s); err != nil {
			t.Fatal(err)
		}
	}
	for _, f := range []diskFault{
		{syscall.SYS_FDATASYNC, syscall.EIO},
		{syscall.SYS_FDATASYNC, syscall.ENOSPC},
		{syscall.SYS_PWRITE64, syscall.EIO},
		{syscall.SYS_PWRITE64, syscall.ENOSPC},
	} {
		t.Run(f.String(), func(t *testing.T) {
			tried, faults := f.everywhere(t, agentBinary(t), limit)
			for _, fault := range faults {
				t.Error(fault)
			}
			t.Logf("%d calls failed", tried)
		})
	}
	// Programs that take an error for something else must be caught.
	for _, m := range []struct {
		name, old, new string
		fault          diskFault
	}{
		{
			"flushes once more", "\tif err := s.commit(tx); err != nil {\n",
			"\tif err := s.commit(tx); err != nil && s.db.Sync() != nil {\n",
			diskFault{syscall.SYS_FDATASYNC, syscall.EIO},
		},
		{
			"commits once more", "\t\tbad, err := s.attempt(ops, results)\n",
			"\t\tbad, err := s.attempt(ops, results)\n\t\tif err != nil {\n\t\t\tbad, err = s.attempt(ops, results)\n\t\t}\n",
			diskFault{syscall.SYS_PWRITE64, syscall.ENOSPC},
		},
	} {
		t.Run("mutant "+m.name, func(t *testing.T) {
			_, faults := m.fault.everywhere(t, mutantBinary(t, "store/commit.go", m.old, m.new), 4)
			if len(faults) == 0 {
				t.Fatal("nothing is wrong")
			}
			t.Logf("%.200s", faults[0])
		})
	}
}

// diskFault is an error of a system call.
type diskFault struct {
	call  uint64
	errno syscall.Errno
}

func (f diskFault) String() string {
	name := map[uint64]string{syscall.SYS_FDATASYNC: "flush", syscall.SYS_PWRITE64: "write"}[f.call]
	return name + " " + map[syscall.Errno]string{syscall.EIO: "EIO", syscall.ENOSPC: "ENOSPC"}[f.errno]
}

// everywhere lets at most limit calls fail, one in each run, and says what was
// wrong afterwards.
func (f diskFault) everywhere(t *testing.T, bin string, limit int) (tried int, faults []string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "demo")
	if code, stderr := demoRun(t, []string{bin}, dir, 1); code != 0 {
		t.Fatalf("exit code %d: %s", code, stderr)
	}
	args := []string{bin, "demo", "--headless", "--json", "--charges", "2", "--pay-after", "20ms", "--dir", dir}
	whole, err := f.inject(args, storePath(dir), 0)
	if err != nil || whole.code != 0 || whole.calls < 10 {
		t.Fatalf("without an error: %+v, %v", whole, err)
	}
	step := max(1, whole.calls/limit)
	for n := 1; len(faults) == 0; n += step {
		run, err := f.inject(args, storePath(dir), n)
		if err != nil {
			t.Fatal(err)
		}
		if run.calls < n {
			break // the run makes no more
		}
		tried++
		fault := func(format string, a ...any) {
			faults = append(faults, fmt.Sprintf("call %d: %s\n%s", n, fmt.Sprintf(format, a...), run.stderr))
		}
		switch {
		case run.later > 0:
			fault("the store is written or flushed after the error")
		case run.code == 0:
			fault("the program goes on as if nothing had happened")
		case !strings.Contains(run.stderr, "outcome") && !strings.Contains(run.stderr, "cannot be written"):
			fault("exit code %d, and the reason is not named", run.code)
		}
		if code, stderr := demoRun(t, []string{bin}, dir, 1); code != 0 {
			fault("the next start: exit code %d: %s\n%s", code, stderr, tail(t, filepath.Join(dir, "agent.log")))
		}
	}
	sim, err := ssgsim.New(ssgsim.Options{Dir: filepath.Join(dir, "simulator")})
	if err != nil {
		t.Fatal(err)
	}
	defer sim.Close()
	_, wrong := readBooks(t, dir, sim.Charges(), nil).audit()
	return tried, append(faults, wrong...)
}

// injected is a run of a program one call of which failed.
type injected struct {
	calls  int // of the kind, with the one that failed
	later  int // writes and flushes of the file after it; they end the run
	code   int
	stderr string
}

// inject runs a program and makes the nth call of its threads on the file fail,
// without effect; 0: none. strace counts the calls of each thread by itself, and
// the store's move from thread to thread.
func (f diskFault) inject(argv []string, path string, nth int) (run injected, err error) {
	runtime.LockOSThread() // the tracer is a thread
	defer runtime.UnlockOSThread()
	out, err := os.CreateTemp("", "ssg-agent-test-")
	if err != nil {
		return run, err
	}
	defer func() {
		text, e := os.ReadFile(out.Name())
		run.stderr = string(text)
		err = errors.Join(err, e, out.Close(), os.Remove(out.Name()))
	}()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stderr, cmd.SysProcAttr = out, &syscall.SysProcAttr{Ptrace: true}
	if err := cmd.Start(); err != nil {
		return run, err
	}
	defer func() { _ = cmd.Process.Kill() }() // the waiting is done below
	const all = 0x40000000                    // __WALL: threads, too
	root := cmd.Process.Pid
	var ws syscall.WaitStatus
	if _, err := syscall.Wait4(root, &ws, all, nil); err != nil || !ws.Stopped() {
		return run, fmt.Errorf("first stop: %v, %w", ws, err)
	}
	const exitKill = 0x100000
	options := syscall.PTRACE_O_TRACESYSGOOD | syscall.PTRACE_O_TRACECLONE | syscall.PTRACE_O_TRACEFORK | syscall.PTRACE_O_TRACEVFORK | exitKill
	if err := syscall.PtraceSetOptions(root, options); err != nil {
		return run, err
	}
	inside, failing := map[int]bool{}, map[int]bool{} // a call; one that is to fail
	for tid := root; ; {
		if err := syscall.PtraceSyscall(tid, forwarded(ws)); err != nil && err != syscall.ESRCH {
			return run, err
		}
		if tid, err = syscall.Wait4(-1, &ws, all, nil); err != nil {
			return run, err
		}
		switch {
		case ws.Exited() || ws.Signaled():
			delete(inside, tid)
			if tid == root {
				run.code = ws.ExitStatus()
				return run, nil
			}
		case ws.StopSignal() == syscall.SIGTRAP|0x80:
			if inside[tid] = !inside[tid]; !inside[tid] && !failing[tid] {
				continue
			}
			var regs syscall.PtraceRegs
			if err := syscall.PtraceGetRegs(tid, &regs); err != nil {
				continue // it is being killed
			}
			switch {
			case failing[tid]:
				delete(failing, tid)
				regs.Rax = -uint64(f.errno)
			case regs.Orig_rax != syscall.SYS_FDATASYNC && regs.Orig_rax != syscall.SYS_PWRITE64:
				continue
			default:
				if file, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/%d", tid, regs.Rdi)); err != nil || file != path {
					continue
				}
				if nth > 0 && run.calls >= nth {
					run.later++
					_ = cmd.Process.Kill() // that is enough to know
				}
				if regs.Orig_rax != f.call {
					continue
				}
				if run.calls++; run.calls != nth {
					continue
				}
				failing[tid] = true
				regs.Orig_rax = ^uint64(0) // no such call
			}
			if err := syscall.PtraceSetRegs(tid, &regs); err != nil {
				return run, err
			}
		}
	}
}

// forwarded is the signal that a stopped thread gets when it goes on: none for
// the stops that tracing makes.
func forwarded(ws syscall.WaitStatus) int {
	switch s := ws.StopSignal(); {
	case !ws.Stopped(), s == syscall.SIGTRAP, s == syscall.SIGTRAP|0x80, s == syscall.SIGSTOP:
		return 0
	default:
		return int(s)
	}
}
