package store_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ssg-safe/agent/store"
	"github.com/ssg-safe/agent/store/storetest"
)

func TestCreateFillsTheFile(t *testing.T) {
	o := storetest.Options(t, nil, rows)
	var steps []int64
	o.Size = 3<<20 + 4096
	o.Progress = func(done, total int64) {
		if total != o.Size {
			t.Errorf("progress of %d, want %d", total, o.Size)
		}
		steps = append(steps, done)
	}
	storetest.Create(t, o)
	var stat unix.Stat_t
	if err := unix.Stat(o.Path, &stat); err != nil {
		t.Fatal(err)
	}
	if stat.Size != o.Size || stat.Blocks*512 < o.Size {
		t.Errorf("size %d with %d on disk, want %d", stat.Size, stat.Blocks*512, o.Size)
	}
	if stat.Mode&0o077 != 0 {
		t.Errorf("others may read it: mode %o", stat.Mode)
	}
	if len(steps) < 3 || steps[len(steps)-1] != o.Size {
		t.Errorf("progress %v", steps)
	}
	if got := store.Warnings(o.Path); got != nil {
		t.Errorf("warnings about a new file: %v", got)
	}
	s := storetest.Run(t, o)
	if st := s.Stats(); st.Size != o.Size || st.Full || st.ReadOnly != "" || st.Free < o.Size*9/10 {
		t.Errorf("stats of a new store: %+v", st)
	}
}

func TestCreateRefuses(t *testing.T) {
	dir := t.TempDir()
	existing := storetest.Options(t, nil, rows)
	storetest.Create(t, existing)
	tests := map[string]struct {
		o    store.Options
		want error
	}{
		"in place":       {existing, store.ErrExists},
		"no directory":   {store.Options{Path: filepath.Join(dir, "no", "store.db")}, fs.ErrNotExist},
		"no space":       {store.Options{Path: filepath.Join(dir, "store.db"), Size: 1 << 50}, store.ErrNoSpace},
		"too small":      {store.Options{Path: filepath.Join(dir, "store.db"), Size: 4096}, nil},
		"not whole page": {store.Options{Path: filepath.Join(dir, "store.db"), Size: 1<<20 + 1}, nil},
	}
	for name, test := range tests {
		err := store.Create(t.Context(), test.o)
		if err == nil || test.want != nil && !errors.Is(err, test.want) {
			t.Errorf("%s: %v, want %v", name, err, test.want)
		}
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestCreateIsCancelled(t *testing.T) {
	o := storetest.Options(t, nil, rows)
	o.Size = 4 << 20
	ctx, cancel := context.WithCancel(t.Context())
	o.Progress = func(int64, int64) { cancel() }
	if err := store.Create(ctx, o); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if left, _ := os.ReadDir(filepath.Dir(o.Path)); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestCreateTwiceAtOnce(t *testing.T) {
	o := storetest.Options(t, nil, rows)
	var second error
	o.Progress = func(int64, int64) {
		if second == nil {
			again := o
			again.Progress = nil
			second = store.Create(t.Context(), again)
		}
	}
	storetest.Create(t, o)
	if !errors.Is(second, store.ErrLocked) {
		t.Errorf("the second creator was told %v, want ErrLocked", second)
	}
	storetest.Audit(t, o)
}

// TestCreateKilledAtEveryStep kills a process that creates a store at each of
// its system calls that change anything, one after the other. Whatever it left,
// Open takes only a whole store, and Create finishes the job.
func TestCreateKilledAtEveryStep(t *testing.T) {
	for _, call := range []string{"openat", "ftruncate", "pwrite64", "fsync", "fdatasync", "renameat,renameat2,rename"} {
		t.Run(call, func(t *testing.T) {
			kills := 0
			// The counts are per thread, and others than the main one make some
			// calls too, so that a count can pass without a kill.
			for n, passed := 1, 0; passed < 3; n++ {
				path := filepath.Join(t.TempDir(), "store.db")
				below := strace(t, fmt.Sprintf("%s:signal=KILL:when=%d", call, n))
				err := command(t, below, "create", path).Run()
				exit, _ := errors.AsType[*exec.ExitError](err)
				switch {
				case err == nil:
					passed++
				case exit != nil && exit.ExitCode() == -1 || exit.ExitCode() == 137:
					kills, passed = kills+1, 0
				default:
					t.Fatalf("child: %v", err)
				}
				checkCreated(t, path, err == nil, n)
			}
			if kills == 0 {
				t.Errorf("no kill at any %s", call)
			}
		})
	}
}

func checkCreated(t *testing.T, path string, finished bool, n int) {
	t.Helper()
	o := fullOptions(path)
	s, err := store.Open(o)
	switch {
	case err == nil:
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	case !errors.Is(err, store.ErrNotExist) || finished:
		t.Fatalf("killed at %d (finished %v): Open: %v", n, finished, err)
	}
	there := err == nil
	if err := store.Create(t.Context(), o); there != errors.Is(err, store.ErrExists) || !there && err != nil {
		t.Fatalf("killed at %d: Create again: %v", n, err)
	}
	storetest.Audit(t, o)
	files, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(files) != 1 {
		t.Errorf("killed at %d: left behind: %v, %v", n, files, err)
	}
}
