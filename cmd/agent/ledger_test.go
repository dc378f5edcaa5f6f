package main

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/ssg-safe/agent/ledger"
	"github.com/ssg-safe/agent/queue"
	"github.com/ssg-safe/agent/store"
	"github.com/ssg-safe/agent/store/storetest"
)

// smallStore is a data directory with three entries, a waiting job and two dead
// letters.
func smallStore(t *testing.T) (dir string, o store.Options) {
	t.Helper()
	dir = t.TempDir()
	o = storeOptions(storePath(dir), nil)
	o.Size = storetest.Size
	s, stop := storetest.Start(t, o)
	err := s.Commit(t.Context(), store.Op{Name: "test", Do: func(tx *bbolt.Tx) error {
		at := ledger.Stamp{Wall: time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC), Quality: ledger.Synced}
		for _, d := range []ledger.Draft{
			{Op: "charge/A/created", Kind: "charge.created", Actor: "terminal"},
			{Op: "charge/A/paid", Kind: "charge.paid", Actor: "terminal", Postings: []ledger.Posting{
				{Account: ledger.PixClearing, Amount: 1050}, {Account: ledger.Sales, Amount: -1050},
			}},
			{Op: "slip/1/1/issued", Kind: "slip.issued", Actor: "terminal"},
		} {
			if _, err := ledger.Append(tx, at, d); err != nil {
				return err
			}
		}
		for _, op := range []string{"slip/1", "slip/2", "slip/3"} {
			j, err := queue.Put(tx, queue.Job{Op: op, Kind: "print", Subject: "A", State: "queued", Attempts: 3, Reason: "paper out", Created: at.Wall})
			if err != nil {
				return err
			}
			if op != "slip/1" {
				if err := queue.Bury(tx, j.ID, "gave up"); err != nil {
					return err
				}
			}
		}
		return nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	stop()
	return dir, o
}

func TestLedgerCommands(t *testing.T) {
	dir, o := smallStore(t)
	before, err := os.ReadFile(o.Path)
	if err != nil {
		t.Fatal(err)
	}
	code, out, errs := runMain(t, "ledger", "verify", "--data", dir)
	if code != 0 || !strings.Contains(out, "ok: 3 entries") || !strings.Contains(out, "pix_clearing") || !strings.Contains(out, "10.50") {
		t.Errorf("verify: %d\n%s%s", code, out, errs)
	}
	code, out, _ = runMain(t, "ledger", "verify", "--data", dir, "--json")
	var report struct {
		Event   string
		OK      bool
		Entries int
		Head    struct {
			Seq  int
			Hash string
		}
		Sums map[string]int
	}
	if err := json.Unmarshal([]byte(out), &report); err != nil || code != 0 || strings.Count(out, "\n") != 1 ||
		report.Event != "ledger_verified" || !report.OK || report.Entries != 3 || report.Head.Seq != 3 || len(report.Head.Hash) != 64 || report.Sums["sales"] != -1050 {
		t.Errorf("verify --json: %d, %v\n%s", code, err, out)
	}

	code, out, errs = runMain(t, "ledger", "list", "-d", dir)
	if lines := strings.Split(strings.TrimSpace(out), "\n"); code != 0 || len(lines) != 3 || !strings.Contains(lines[1], "charge.paid") || !strings.Contains(lines[1], "sales=-10.50") {
		t.Errorf("list: %d\n%s%s", code, out, errs)
	}
	if _, out, _ := runMain(t, "ledger", "list", "-d", dir, "--last", "1"); strings.Count(out, "\n") != 1 || !strings.Contains(out, "slip.issued") {
		t.Errorf("list --last 1:\n%s", out)
	}
	if _, out, _ := runMain(t, "ledger", "list", "-d", dir, "--last", "9"); strings.Count(out, "\n") != 3 {
		t.Errorf("list --last 9:\n%s", out)
	}

	_, jsonl, _ := runMain(t, "ledger", "export", "-d", dir)
	if _, list, _ := runMain(t, "ledger", "list", "-d", dir, "--json"); list != jsonl {
		t.Errorf("list --json is not what export gives:\n%s\n%s", list, jsonl)
	}
	var prev ledger.Hash
	for line := range strings.Lines(jsonl) {
		raw := []byte(strings.TrimSuffix(line, "\n"))
		e, err := ledger.Decode(raw)
		if err != nil || e.Prev != prev.String() {
			t.Errorf("exported line %s: %v", line, err)
		}
		prev = ledger.HashOf(raw)
	}
	if prev.String() != report.Head.Hash {
		t.Error("the exported chain does not end at the head")
	}
	_, text, _ := runMain(t, "ledger", "export", "-d", dir, "--format", "csv")
	if rows, err := csv.NewReader(strings.NewReader(text)).ReadAll(); err != nil || len(rows) != 5 {
		t.Errorf("export --format csv: %d rows, %v\n%s", len(rows), err, text)
	}
	if after, err := os.ReadFile(o.Path); err != nil || !bytes.Equal(after, before) {
		t.Error("a command that only reads wrote")
	}
}

func TestLedgerVerifyFindsDamage(t *testing.T) {
	dir, o := smallStore(t)
	image, err := os.ReadFile(o.Path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(o.Path, bytes.ReplaceAll(image, []byte("-1050}"), []byte("-1051}")), 0o600); err != nil {
		t.Fatal(err)
	}
	code, out, errs := runMain(t, "ledger", "verify", "--data", dir)
	if code != 1 || out != "" || !strings.Contains(errs, "entry 1/2") {
		t.Errorf("verify: %d, %q, %q", code, out, errs)
	}
	code, out, _ = runMain(t, "ledger", "verify", "--data", dir, "--json")
	if code != 1 || !strings.Contains(out, `"ok":false`) || !strings.Contains(out, "entry 1/2") {
		t.Errorf("verify --json: %d, %s", code, out)
	}
}

func TestQueueCommands(t *testing.T) {
	dir, o := smallStore(t)
	list := func(want ...string) {
		t.Helper()
		code, out, errs := runMain(t, "queue", "list", "--data", dir, "--json")
		var got []string
		for line := range strings.Lines(out) {
			var j struct {
				Event    string
				Dead     bool
				Op       string
				Attempts int
				Reason   string
			}
			if err := json.Unmarshal([]byte(line), &j); err != nil || j.Event != "job" {
				t.Errorf("%s: %v", line, err)
			}
			state := map[bool]string{false: "waiting", true: "dead"}[j.Dead]
			got = append(got, strings.Join([]string{j.Op, state, j.Reason}, " "))
		}
		if code != 0 || strings.Join(got, "; ") != strings.Join(want, "; ") {
			t.Errorf("queue: %d, %q, want %q; %s", code, got, want, errs)
		}
	}
	list("slip/1 waiting paper out", "slip/2 dead gave up", "slip/3 dead gave up")
	code, out, errs := runMain(t, "queue", "list", "--data", dir)
	if code != 0 || !strings.Contains(out, "waiting: 1") || !strings.Contains(out, "dead letters: 2") || !strings.Contains(out, "paper out") {
		t.Errorf("list: %d\n%s%s", code, out, errs)
	}

	if code, _, errs := runMain(t, "queue", "retry", "1", "--data", dir); code != 1 || !strings.Contains(errs, "waits already") {
		t.Errorf("retry of a waiting job: %d, %s", code, errs)
	}
	if code, _, errs := runMain(t, "queue", "drop", "2", "99", "--data", dir); code != 1 || !strings.Contains(errs, "job 99") {
		t.Errorf("drop of an unknown job: %d, %s", code, errs)
	}
	list("slip/1 waiting paper out", "slip/2 dead gave up", "slip/3 dead gave up") // all or none

	if code, out, errs := runMain(t, "queue", "retry", "2", "--data", dir); code != 0 || !strings.Contains(out, "retried: job 2") {
		t.Errorf("retry: %d, %s%s", code, out, errs)
	}
	list("slip/1 waiting paper out", "slip/2 waiting gave up", "slip/3 dead gave up")
	if code, out, errs := runMain(t, "queue", "drop", "--dead", "--data", dir); code != 0 || !strings.Contains(out, "dropped: job 3") {
		t.Errorf("drop --dead: %d, %s%s", code, out, errs)
	}
	if code, out, errs := runMain(t, "queue", "drop", "1", "--data", dir); code != 0 || !strings.Contains(out, "dropped: job 1") {
		t.Errorf("drop of a waiting job: %d, %s%s", code, out, errs)
	}
	list("slip/2 waiting gave up")
	if code, out, _ := runMain(t, "queue", "retry", "--dead", "--data", dir); code != 0 || !strings.Contains(out, "no dead letters") {
		t.Errorf("retry --dead without any: %d, %s", code, out)
	}

	_, out, _ = runMain(t, "ledger", "list", "--data", dir)
	for _, want := range []string{"queue.retried", "queue.dropped", "queue/2/retried/1/4", "queue/1/dropped/1/6", "operator"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %s in the ledger:\n%s", want, out)
		}
	}
	storetest.Audit(t, o)
}

// TestStoreCommandsWithoutAStore: the two everyday mistakes, and wrong usage.
func TestStoreCommandsWithoutAStore(t *testing.T) {
	dir, o := smallStore(t)
	_, stop := storetest.Start(t, o) // the agent
	defer stop()
	for _, command := range [][]string{{"ledger", "verify"}, {"ledger", "list"}, {"ledger", "export"}, {"queue", "list"}, {"queue", "retry", "--dead"}, {"queue", "drop", "1"}} {
		for _, test := range []struct {
			args []string
			code int
			says string
		}{
			{[]string{"--data", dir}, 1, "the agent is running and holds the store"},
			{[]string{"--data", t.TempDir()}, 1, "does not exist"},
			{[]string{"--data", filepath.Join(dir, "no")}, 2, "no directory"},
			{nil, 2, "--data"},
		} {
			code, out, errs := runMain(t, append(command, test.args...)...)
			if code != test.code || out != "" || !strings.Contains(errs, test.says) {
				t.Errorf("%v %v: %d, %q, %q; want %d and %q", command, test.args, code, out, errs, test.code, test.says)
			}
		}
	}
	for _, args := range []string{
		"ledger", "queue", "ledger nope", "ledger verify extra", "ledger list --last -1", "ledger export --format xml -d x",
		"queue retry -d x", "queue drop x -d x", "queue drop 1 --dead -d x", "store-check",
	} {
		if code, out, errs := runMain(t, strings.Fields(args)...); code != 2 || out != "" {
			t.Errorf("%s: %d, %q, %q; want 2", args, code, out, errs)
		}
	}
}
