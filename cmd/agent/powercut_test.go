package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/ssg-safe/agent/charge"
	"github.com/ssg-safe/agent/internal/agenttest"
	"github.com/ssg-safe/agent/internal/powercut"
	"github.com/ssg-safe/agent/ledger"
	"github.com/ssg-safe/agent/printer"
	"github.com/ssg-safe/agent/queue"
	"github.com/ssg-safe/agent/store"
)

// TestPowerCuts records what the running program does to its store and what it
// tells the world meanwhile: events on its standard output, slips on paper,
// charges at the provider. Then it makes the states that a power cut could have
// left, and looks at each as the next start would: the store is sound, its ledger
// is a prefix of what it became, and bears out everything that had been told.
// SSG_POWER_CUTS sets the number of states (make prove).
func TestPowerCuts(t *testing.T) {
	budget := 6000
	if s := os.Getenv("SSG_POWER_CUTS"); s != "" {
		var err error
		if budget, err = strconv.Atoi(s); err != nil {
			t.Fatal(err)
		}
	}
	// A flush that covers little leaves few different states: many need many charges.
	rec := record(t, agentBinary(t), max(4, budget/3000))
	report := powerCuts(t, rec, rec.recording, budget)
	if report.States < budget*9/10 || len(report.Faults) > 0 {
		t.Errorf("%d of %d states: %s", report.States, budget, strings.Join(report.Faults, "\n"))
	}
	t.Logf("%d states of %d steps", report.States, len(rec.recording.Steps))

	// The same on disks that lie, and of a program that tells too early.
	for name, mutant := range map[string]powercut.Recording{
		"a disk that never flushes":           rec.recording.LyingDisk(1),
		"a disk that ignores each 3rd flush":  rec.recording.LyingDisk(3),
		"everything is told a commit earlier": rec.recording.ToldTooEarly(),
	} {
		t.Run(name, func(t *testing.T) {
			report := powerCuts(t, rec, mutant, 600)
			if len(report.Faults) == 0 {
				t.Fatalf("%d states and nothing is wrong", report.States)
			}
			t.Logf("%.200s", report.Faults[0])
		})
	}
}

// TestPowerCutMutants builds programs with a mistake and wants each found.
func TestPowerCutMutants(t *testing.T) {
	for _, m := range []struct{ name, file, old, new string }{
		{
			"done is called before the commit", "store/commit.go",
			"\treturn -1, s.finish(tx)\n",
			"\tfor i := range ops {\n\t\tif results[i] == nil {\n\t\t\tops[i].done(nil)\n\t\t\tops[i].Done = nil\n\t\t}\n\t}\n\treturn -1, s.finish(tx)\n",
		},
		{
			"no flush", "store/store.go",
			"\tdb.AllocSize = pageSize\n",
			"\tdb.AllocSize = pageSize\n\tdb.NoSync = true\n",
		},
		{
			"a slip is not recorded as started", "terminal/spool.go",
			"\tjob.State = started\n", "",
		},
	} {
		t.Run(m.name, func(t *testing.T) {
			rec := record(t, mutantBinary(t, m.file, m.old, m.new), 4)
			report := powerCuts(t, rec, rec.recording, 1500)
			if len(report.Faults) == 0 {
				t.Fatalf("%d states and nothing is wrong", report.States)
			}
			t.Logf("%.200s", report.Faults[0])
		})
	}
}

// mutantBinary is the program with one passage of its source replaced.
func mutantBinary(t *testing.T, file, old, new string) string {
	t.Helper()
	source := filepath.Join(agenttest.Root(t), file)
	text, err := os.ReadFile(source)
	if err != nil {
		t.Fatal(err)
	}
	if n := bytes.Count(text, []byte(old)); n != 1 {
		t.Fatalf("%s has %d passages that the mutant replaces; want 1: %q", file, n, old)
	}
	dir := t.TempDir()
	changed := filepath.Join(dir, "mutant.go")
	overlay, err := json.Marshal(map[string]map[string]string{"Replace": {source: changed}})
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{
		changed: bytes.Replace(text, []byte(old), []byte(new), 1), filepath.Join(dir, "overlay.json"): overlay,
	} {
		if err := os.WriteFile(name, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	bin := filepath.Join(dir, "ssg-agent")
	cmd := exec.Command("go", "build", "-overlay", filepath.Join(dir, "overlay.json"), "-o", bin, ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	return bin
}

// recorded is a run of the program.
type recorded struct {
	recording powercut.Recording
	before    string // the store's file as the recording begins
	after     string // and as it ends
}

// record runs the demo under strace, on a store that has seen a charge, for so many
// more.
func record(t *testing.T, bin string, charges int) recorded {
	t.Helper()
	strace, tmp := agenttest.Tool(t, "strace"), t.TempDir()
	dir := filepath.Join(tmp, "demo")
	if code, stderr := demoRun(t, []string{bin}, dir, 1); code != 0 {
		t.Fatalf("exit code %d: %s", code, stderr)
	}
	r := recorded{before: filepath.Join(tmp, "before.db"), after: storePath(dir)}
	image, err := os.ReadFile(r.after)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(r.before, image, 0o600); err != nil {
		t.Fatal(err)
	}
	trace := filepath.Join(tmp, "trace")
	code, stderr := demoRun(t, []string{
		strace, "-f", "-qq", "-y", "-s", "16777216", "-e", "signal=none", "-e", "trace=" + powercut.Calls, "-o", trace, bin,
	}, dir, charges)
	if code != 0 {
		t.Fatalf("exit code %d: %s", code, stderr)
	}
	file, err := os.Open(trace)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if r.recording, err = powercut.Parse(file, r.after, tells); err != nil {
		t.Fatal(err)
	}
	return r
}

// tells says what a call tells the world: an event on standard output, a process
// id on paper, a charge at the provider.
func tells(c powercut.Call) string {
	switch {
	case bytes.HasPrefix(c.Data, []byte(`{"event":"`)):
		return string(bytes.TrimSpace(c.Data))
	case strings.HasSuffix(c.File, ".bin.tmp"):
		mark := []byte{0x1D, 0x28, 0x48, 0x06, 0x00, 0x30, 0x30} // GS ( H: the process id that ends a job
		if i := bytes.LastIndex(c.Data, mark); i >= 0 && len(c.Data) >= i+len(mark)+4 {
			return fmt.Sprintf("paper %x", c.Data[i+len(mark):i+len(mark)+4])
		}
	case strings.HasSuffix(c.File, "ledger.jsonl") && bytes.Contains(c.Data, []byte(`"op":"charge"`)):
		return "provider"
	}
	return ""
}

// cutJob is what the child that makes the states is told: a damaged file can
// crash whoever opens it.
type cutJob struct {
	Recording     powercut.Recording
	Before, After string
	Budget        int
	Seed          uint64
}

// cutReport is its answer.
type cutReport struct {
	States int
	Faults []string
}

const cutJobVariable = "SSG_POWERCUT_JOB"

func powerCuts(t *testing.T, rec recorded, r powercut.Recording, budget int) cutReport {
	t.Helper()
	dir := t.TempDir()
	image, err := os.ReadFile(rec.before)
	if err != nil {
		t.Fatal(err)
	}
	job := cutJob{r, filepath.Join(dir, "store.db"), rec.after, budget, uint64(time.Now().UnixNano())}
	t.Logf("seed %d", job.Seed)
	raw, err := json.Marshal(job)
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(dir, "job")
	if err := errors.Join(os.WriteFile(name, raw, 0o600), os.WriteFile(job.Before, image, 0o600)); err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Duration(60+budget/50)*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, self)
	cmd.Env = append(os.Environ(), cutJobVariable+"="+name)
	var errs strings.Builder
	cmd.Stderr = &errs
	out, err := cmd.Output()
	var report cutReport
	if err == nil {
		err = json.Unmarshal(out, &report)
	}
	if err != nil { // it crashed on a state
		report.Faults = append(report.Faults, fmt.Sprintf("%v: %.2000s", err, errs.String()))
	}
	return report
}

// makeStates is the child.
func makeStates(name string) error {
	raw, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	var job cutJob
	if err := json.Unmarshal(raw, &job); err != nil {
		return err
	}
	w, err := newWitness(job.After)
	if err != nil {
		return err
	}
	states, faults, err := job.Recording.Each(job.Before, job.Budget, rand.New(rand.NewPCG(job.Seed, 3)), func(told []string) error {
		return w.examine(job.Before, told)
	})
	if err != nil {
		return err
	}
	report := cutReport{States: states}
	for _, f := range faults {
		report.Faults = append(report.Faults, f.Error())
	}
	return json.NewEncoder(os.Stdout).Encode(report)
}

// witness knows what the ledger became, and what each thing told rests on.
type witness struct {
	entries [][]byte
	rests   map[string]int // event/charge or slip → entries that must be there
	asked   []int          // attempts recorded in the first n entries
	slips   map[string]uint64
}

func newWitness(path string) (*witness, error) {
	w := &witness{rests: map[string]int{}, asked: []int{0}, slips: map[string]uint64{}}
	var err error
	if w.entries, err = soundLedger(path, nil); err != nil {
		return nil, err
	}
	for i, raw := range w.entries {
		e, err := ledger.Decode(raw)
		if err != nil {
			return nil, err
		}
		asked := w.asked[i]
		var d struct {
			charge.AttemptFact
			NSU  uint64 `json:"nsu"`
			Copy int    `json:"copy"`
		}
		if err := json.Unmarshal(e.Data, &d); err != nil {
			return nil, err
		}
		switch {
		case e.Kind == "charge.created", e.Kind == "charge.attempt" && d.State == charge.Sending:
			asked++
		case e.Kind == "charge.attempt" && d.State == charge.Accepted:
			w.rests["charge_created "+string(d.Charge)] = i + 1
			w.rests["qr_shown "+string(d.Charge)] = i + 1
		case e.Kind == "charge.paid":
			w.rests["charge_paid "+string(d.Charge)] = i + 1
		case e.Kind == "slip.printed":
			w.rests[fmt.Sprintf("slip_printed %d/%d", d.NSU, d.Copy)] = i + 1
		case e.Kind == "slip.issued":
			id := printer.ProcessID(fmt.Sprintf("%d/%d", d.NSU, d.Copy))
			w.slips[fmt.Sprintf("paper %x", id[:])] = d.NSU
		}
		w.asked = append(w.asked, asked)
	}
	return w, nil
}

// soundLedger reads a store's ledger after checking all of the store.
func soundLedger(path string, jobs *[]queue.Job) (entries [][]byte, err error) {
	st, err := store.OpenReadOnly(storeOptions(path, nil))
	if err != nil {
		return nil, err
	}
	defer st.Close()
	err = st.View(func(tx *bbolt.Tx) error {
		for err := range tx.Check() {
			return err
		}
		if err := verifyStore(tx); err != nil {
			return err
		}
		for _, raw := range ledger.Entries(tx, ledger.Position{}) {
			entries = append(entries, bytes.Clone(raw))
		}
		if jobs != nil {
			*jobs, err = queue.List(tx)
		}
		return err
	})
	return entries, err
}

// examine looks at one state.
func (w *witness) examine(path string, told []string) error {
	var jobs []queue.Job
	entries, err := soundLedger(path, &jobs)
	if err != nil {
		return err
	}
	if len(entries) > len(w.entries) {
		return fmt.Errorf("%d entries, and there never were more than %d", len(entries), len(w.entries))
	}
	for i, raw := range entries {
		if !bytes.Equal(raw, w.entries[i]) {
			return fmt.Errorf("entry %d is not what was written", i+1)
		}
	}
	provider := 0
	queued := map[uint64]bool{}
	for _, j := range jobs {
		var s struct {
			NSU uint64 `json:"nsu"`
		}
		if err := json.Unmarshal(j.Payload, &s); err != nil {
			return err
		}
		queued[s.NSU] = j.State == "queued"
	}
	for _, what := range told {
		if what == "provider" {
			if provider++; provider > w.asked[len(entries)] {
				return fmt.Errorf("the provider has %d new charges, and only %d attempts are recorded", provider, w.asked[len(entries)])
			}
			continue
		}
		if strings.HasPrefix(what, "paper ") {
			nsu, known := w.slips[what]
			if !known || queued[nsu] {
				return fmt.Errorf("slip %d is on the paper and would be printed again", nsu)
			}
			continue
		}
		var e struct {
			Event, Charge string
			NSU           uint64
			Copy          int
		}
		if err := json.Unmarshal([]byte(what), &e); err != nil {
			return fmt.Errorf("told %.80s: %w", what, err)
		}
		key := e.Event + " " + e.Charge
		if e.Event == "slip_printed" {
			key = fmt.Sprintf("slip_printed %d/%d", e.NSU, e.Copy)
		}
		need, known := w.rests[key]
		if known != (e.Event != "ledger_synced" && e.Event != "summary") {
			return fmt.Errorf("told %s, which never was recorded", key)
		}
		if len(entries) < need {
			return fmt.Errorf("told %s, which is entry %d, and %d are there", key, need, len(entries))
		}
	}
	return nil
}
