package main

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/ssg-safe/agent/store"
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

// TestDamagedStore: one changed digit in an entry, of which bbolt knows nothing. No
// command builds upon it or calls a copy of it good.
func TestDamagedStore(t *testing.T) {
	dir, o := smallStore(t)
	good, err := os.ReadFile(o.Path)
	if err != nil {
		t.Fatal(err)
	}
	damaged := bytes.ReplaceAll(good, []byte(`"amount":1050`), []byte(`"amount":1051`))
	if bytes.Equal(damaged, good) {
		t.Fatal("there is no such entry")
	}
	if err := os.WriteFile(o.Path, damaged, 0o600); err != nil {
		t.Fatal(err)
	}
	backup := filepath.Join(t.TempDir(), "backup.db")
	for _, args := range [][]string{
		{"store", "backup", "--out", backup},
		{"store", "reset"},
		{"queue", "drop", "--dead"},
		{"tickets", "close", "T1", "--by", "ana", "--how", "refunded"},
		{"offline", "match", "T1", "--amount", "1.00", "--e2e", "E00000000202601021504abcdefghijk", "--by", "ana", "--second", "bia"},
	} {
		code, out, errs := runMain(t, append(args, "--data", dir)...)
		if code != 1 || out != "" || !strings.Contains(errs, "damaged") {
			t.Errorf("%v: exit %d, %s%s", args, code, out, errs)
		}
	}
	if now, err := os.ReadFile(o.Path); err != nil || !bytes.Equal(now, damaged) {
		t.Errorf("the store was changed (%v)", err)
	}
	if left, err := filepath.Glob(backup + "*"); err != nil || left != nil {
		t.Errorf("a backup is left: %v %v", left, err)
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

// backup backs the running agent's store up, restores it elsewhere, and closes
// the business day.
func (k *kiosk) backup(run func(...string) string, export []byte) {
	k.Helper()
	dir := k.TempDir()
	file := filepath.Join(dir, "backup.db")
	if out := run("store", "backup", "--out", file); !strings.Contains(out, "all up to entry 1/") {
		k.Errorf("store backup: %s", out)
	}
	code, out, errs := runMain(k.T, "store", "restore", "--data", dir, "--from", file)
	if code != 0 {
		k.Fatalf("store restore: %d\n%s%s", code, out, errs)
	}
	if _, out, _ := runMain(k.T, "ledger", "export", "--data", dir); !strings.HasPrefix(out, string(export)) || len(out) == len(export) {
		k.Errorf("restored:\n%s\nwant the running agent's and the new epoch after it:\n%s", out, export)
	}
	closings := func(args ...string) string {
		k.Helper()
		code, out, errs := runMain(k.T, append([]string{"closing", "--data", k.data}, args...)...)
		if code != 0 {
			k.Errorf("closing %v: %d\n%s", args, code, errs)
		}
		return out
	}
	x, z := closings("x"), closings("z")
	if !strings.Contains(x, " X ") || !strings.Contains(z, " Z 1 ") || !strings.Contains(z, "received") {
		k.Errorf("closings:\n%s%s", x, z)
	}
	if out := closings("list"); out != z {
		k.Errorf("closing list:\n%s\nwant\n%s", out, z)
	}
	// The same by the API: each number once, also after a kill.
	for range 2 {
		if raw, err := k.curl("POST", "/v1/closings", `{"number":1,"print":true}`); err != nil || !strings.Contains(string(raw), `"number":1,"date":`) {
			k.Errorf("closing 1 again: %s, %v", raw, err)
		}
		for body, code := range map[string]string{`{"number":2}`: "nothing_to_close", `{"number":3}`: "closing_number"} {
			if raw, err := k.curl("POST", "/v1/closings", body); err == nil || !strings.Contains(string(raw), code) {
				k.Errorf("%s: %s, want %s", body, raw, code)
			}
		}
		if raw, err := k.curl("GET", "/v1/closings/running", ""); err != nil || !strings.Contains(string(raw), `"next":2`) || !strings.Contains(string(raw), `"received":0`) {
			k.Errorf("running day: %s, %v", raw, err)
		}
		if raw, err := k.curl("GET", "/v1/closings", ""); err != nil || strings.Count(string(raw), `"number":`) != 1 {
			k.Errorf("closings: %s, %v", raw, err)
		}
		k.kill()
		k.start()
	}
	if code, _, errs := runMain(k.T, "closing", "--data", k.data, "z"); code != 1 || !strings.Contains(errs, "nothing to close") {
		k.Errorf("a second Z: %d, %s", code, errs)
	}
}

// TestOlderStore: a store of an earlier version is taken up as it is. layout7.db.gz is the
// backup of a demo's, before there were refunds.
func TestOlderStore(t *testing.T) {
	f, err := os.Open(filepath.Join("testdata", "layout7.db.gz"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	in, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	old, err := io.ReadAll(in)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	backup := filepath.Join(dir, "backup.db")
	if err := os.WriteFile(backup, old, 0o600); err != nil {
		t.Fatal(err)
	}
	data := filepath.Join(dir, "data")
	if err := os.Mkdir(data, 0o700); err != nil {
		t.Fatal(err)
	}
	if code, out, errs := runMain(t, "store", "restore", "-d", data, "--from", backup); code != 0 || !strings.Contains(out, "epoch") {
		t.Fatalf("restore: %d\n%s%s", code, out, errs)
	}
	st, err := store.Open(storeOptions(storePath(data), nil))
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(st.View(verifyStore), st.Close()); err != nil {
		t.Fatal(err)
	}
	if code, out, errs := runMain(t, "ledger", "verify", "-d", data); code != 0 || !strings.Contains(out, "sales") {
		t.Errorf("verify: %d\n%s%s", code, out, errs)
	}
}

// TestMigrationsStay: a store remembers how many migrations it has had, so that one that
// is put before others is never done in a store that exists. New ones come last.
func TestMigrationsStay(t *testing.T) {
	had := []string{
		"ledger: entries, index, cursors, private data", "queue: jobs, dead letters, index", "terminal: open charges",
		"terminal: references of callers", "fleet: highest counter",
		"closings: the last one of each merchant", "tickets: differences that people deal with", "proposals of payouts and refunds",
	}
	for i, m := range storeOptions("", nil).Migrations {
		if i < len(had) && m.Name != had[i] {
			t.Errorf("migration %d is %q, and was %q", i+1, m.Name, had[i])
		}
	}
	if n := len(storeOptions("", nil).Migrations); n < len(had) {
		t.Errorf("%d migrations, and there were %d", n, len(had))
	}
}
