package main

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/ssg-safe/agent/closing"
	"github.com/ssg-safe/agent/ledger"
	"github.com/ssg-safe/agent/store"
)

// demoRun runs the demo headless and returns its exit code and standard error.
func demoRun(t *testing.T, command []string, dir string, charges int) (code int, stderr string) {
	t.Helper()
	args := append(command[1:], "demo", "--headless", "--json", "--charges", strconv.Itoa(charges), "--pay-after", "20ms", "--dir", dir)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, command[0], args...)
	var errs strings.Builder
	cmd.Stderr = &errs
	err := cmd.Run()
	if _, ok := errors.AsType[*exec.ExitError](err); err != nil && !ok {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), errs.String()
}

// TestFullStore starts the program on a store that is filled to its soft
// limit: it refuses new charges with the reason, and takes no new obligation.
func TestFullStore(t *testing.T) {
	bin, dir := agentBinary(t), filepath.Join(t.TempDir(), "demo")
	if code, stderr := demoRun(t, []string{bin}, dir, 1); code != 0 {
		t.Fatalf("exit code %d: %s", code, stderr)
	}
	st, err := store.Open(storeOptions(storePath(dir), nil))
	if err != nil {
		t.Fatal(err)
	}
	go st.Run(t.Context())
	for i := 0; ; i++ {
		err := st.Commit(t.Context(), store.Op{New: true, Do: func(tx *bbolt.Tx) error {
			for j := range 20 {
				if _, err := ledger.Append(tx, ledger.Stamp{Wall: time.Now(), Boot: "b", Quality: ledger.Unsynced}, ledger.Draft{
					Op: "fill/" + strconv.Itoa(i) + "/" + strconv.Itoa(j), Kind: "test.fill", Actor: "test", Data: strings.Repeat("x", 2000),
				}); err != nil {
					return err
				}
			}
			return nil
		}})
		if errors.Is(err, store.ErrFull) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	before := readLedger(t, dir)
	code, stderr := demoRun(t, []string{bin}, dir, 1)
	if code != 1 || !strings.Contains(stderr, "full") {
		t.Errorf("exit code %d, stderr %q; want 1 and the reason", code, stderr)
	}
	// What the hub acknowledged may have been pruned meanwhile, and a full store
	// closes the business day so that it can be.
	end := before[len(before)-1].Position()
	for _, e := range readLedger(t, dir) {
		if end.Before(e.Position()) && e.Kind != closing.Kind {
			t.Errorf("%s came into the full store, at %v", e.Kind, e.Position())
		}
	}
}

// TestNoSpaceForTheStore starts the program where its store cannot be made.
func TestNoSpaceForTheStore(t *testing.T) {
	bin, dir := agentBinary(t), filepath.Join(t.TempDir(), "demo")
	// A file size limit stands for a full disk: 8 MiB of the 16 it needs.
	code, stderr := demoRun(t, []string{"/bin/sh", "-c", `ulimit -f 16384; exec "$0" "$@"`, bin}, dir, 1)
	if code != 1 || stderr == "" {
		t.Errorf("exit code %d, stderr %q", code, stderr)
	}
	if _, err := os.Stat(storePath(dir)); err == nil {
		t.Error("half a store was left in its place")
	}
	if code, stderr := demoRun(t, []string{bin}, dir, 1); code != 0 {
		t.Errorf("with space again: exit code %d: %s", code, stderr)
	}
}
