package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

func TestStoreBackupAndRestore(t *testing.T) {
	dir, o := smallStore(t)
	backup := filepath.Join(t.TempDir(), "backup.db")
	code, out, errs := runMain(t, "store", "backup", "-d", dir, "--out", backup)
	if code != 0 || !strings.Contains(out, "all up to entry 1/3") {
		t.Fatalf("backup: %d\n%s%s", code, out, errs)
	}
	if info, err := os.Stat(backup); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the backup is %v, %v", info.Mode(), err)
	}
	if code, _, errs := runMain(t, "store", "backup", "-d", dir, "--out", backup); code != 1 || !strings.Contains(errs, "never writes over") {
		t.Errorf("over a file: %d\n%s", code, errs)
	}
	if code, _, errs := runMain(t, "store", "restore", "-d", dir, "--from", backup); code != 1 || !strings.Contains(errs, "--replace") {
		t.Errorf("over a store: %d\n%s", code, errs)
	}

	// The store is damaged; the agent would put it into quarantine.
	if err := os.WriteFile(o.Path, make([]byte, 64<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	code, out, errs = runMain(t, "store", "restore", "-d", dir, "--from", backup, "--replace")
	if code != 0 || !regexp.MustCompile(`(?m)^the former store is kept as .*replaced-`).MatchString(out) || !strings.Contains(out, "epoch") {
		t.Fatalf("restore: %d\n%s%s", code, out, errs)
	}
	code, out, errs = runMain(t, "ledger", "list", "-d", dir)
	if lines := strings.Split(strings.TrimSpace(out), "\n"); code != 0 || len(lines) != 4 || !strings.Contains(lines[3], "ledger.epoch") {
		t.Errorf("list: %d\n%s%s", code, out, errs)
	}
	if code, out, errs := runMain(t, "ledger", "verify", "-d", dir); code != 0 {
		t.Errorf("verify: %d\n%s%s", code, out, errs)
	}
	if _, out, _ := runMain(t, "queue", "list", "-d", dir); !strings.Contains(out, "waiting: 0") || !strings.Contains(out, "dead letters: 3") {
		t.Errorf("queue:\n%s", out)
	}
}

func TestStoreCommandsRefuse(t *testing.T) {
	dir, _ := smallStore(t)
	for _, args := range [][]string{
		{"store"},
		{"store", "backup", "-d", dir},
		{"store", "backup", "--out", "x"},
		{"store", "restore", "-d", dir},
		{"store", "restore", "-d", dir + "/none", "--from", "x"},
		{"store", "restore", "-d", dir, "--from", "x", "extra"},
	} {
		if code, out, errs := runMain(t, args...); code != 2 || out != "" || errs == "" {
			t.Errorf("%v: exit %d, %q, %q", args, code, out, errs)
		}
	}
	if code, _, errs := runMain(t, "store", "restore", "-d", dir, "--from", dir+"/none", "--replace"); code != 1 || !strings.Contains(errs, dir+"/none") {
		t.Errorf("a backup that is not there: %d, %s", code, errs)
	}
}
