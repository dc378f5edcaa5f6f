package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/ssg-safe/agent/charge"
	"github.com/ssg-safe/agent/ledger"
	"github.com/ssg-safe/agent/money"
	"github.com/ssg-safe/agent/providers"
	"github.com/ssg-safe/agent/providers/simkit"
	"github.com/ssg-safe/agent/store"
)

// TestKills ends a busy terminal by SIGKILL at random moments, against a
// simulator in a process of its own whose network misbehaves, and then holds
// the invariants of DESIGN against two books: the terminal's store and the
// simulator's own ledger. SSG_KILLS sets the number of kills (make prove).
func TestKills(t *testing.T) {
	kills := 25
	if s := os.Getenv("SSG_KILLS"); s != "" {
		var err error
		if kills, err = strconv.Atoi(s); err != nil {
			t.Fatal(err)
		}
	}
	// At the first a lost answer leaves an orphan; at the other it is asked again.
	t.Run("ssg", func(t *testing.T) { killLoop(t, "ssg", kills) })
	// A terminal that is started again twice a second logs in more often than BSPAY
	// allows, and would be kept out instead of killed in the middle of something.
	t.Run("bspay", func(t *testing.T) { killLoop(t, "bspay", (kills+1)/2, "--mode", "many-logins") })
}

func killLoop(t *testing.T, provider string, kills int, mode ...string) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	bin, dir := agentBinary(t), t.TempDir()
	url := startSim(t, bin, filepath.Join(dir, "simulator"), append(mode,
		"--provider", provider, "--pay-after", "40ms", "--seed", strconv.FormatUint(seed, 10), "--faults", strings.Join([]string{
			"create:drop_after@0.08", "create:drop_before@0.08", "create:truncate@0.05", "create:http=500@0.05",
			"create:latency=1ms..30ms@0.5", "status:latency=1ms..40ms@0.5", "status:http=500@0.05", "status:truncate@0.05",
			"status:drop_after@0.05", "token:http=500@0.1",
		}, ","))...)

	var told []map[string]any // all events that any run told
	data := filepath.Join(dir, "terminal")
	run := func(killAfter time.Duration, charges int) error {
		cmd := exec.Command(bin, "demo", "--headless", "--json", "--provider", provider, "--charges", strconv.Itoa(charges), "--dir", data, "--sim", url)
		var errs bytes.Buffer
		cmd.Stderr = &errs
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if killAfter > 0 {
			defer time.AfterFunc(killAfter, func() { cmd.Process.Kill() }).Stop()
		}
		lines := bufio.NewScanner(out)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			var e map[string]any
			if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
				continue // the kill cut the line
			}
			told = append(told, e)
		}
		if err := cmd.Wait(); err != nil {
			return fmt.Errorf("%w: %s", err, errs.Bytes())
		}
		return nil
	}
	for range kills {
		if err := run(time.Duration(50+rng.IntN(900))*time.Millisecond, 1000); err == nil {
			t.Fatal("a run of 1000 charges ended before it was killed")
		} else if e, ok := errors.AsType[*exec.ExitError](err); !ok || e.ExitCode() != -1 {
			t.Fatalf("a run ended by itself: %v\n%s", err, tail(t, filepath.Join(data, "agent.log")))
		}
	}
	httpDo(t, http.MethodDelete, url+"/sim/faults", nil)
	if err := run(0, 2); err != nil {
		t.Fatalf("the last run: %v\n%s", err, tail(t, filepath.Join(data, "agent.log")))
	}
	var theirs []simkit.Charge
	if err := json.Unmarshal(httpDo(t, http.MethodGet, url+"/sim/ledger", nil), &theirs); err != nil {
		t.Fatal(err)
	}
	b := readBooks(t, data, theirs, told)
	b.report(t)
	t.Run("mutants", b.mutants)
}

// books are all that is left after the runs: the terminal's ledger and
// snapshots, its paper, what it told, and the provider's own ledger.
type books struct {
	entries []ledger.Entry
	open    map[charge.ID]charge.Charge // snapshots
	papers  map[string][]byte           // by file name
	theirs  []simkit.Charge
	told    []map[string]any
}

// readBooks reads a data directory after checking all of it: invariant 7.
func readBooks(t *testing.T, data string, theirs []simkit.Charge, told []map[string]any) books {
	t.Helper()
	b := books{theirs: theirs, told: told, papers: map[string][]byte{}}
	b.entries, b.open = readStore(t, data)
	papers, err := filepath.Glob(filepath.Join(data, "slips", "*.bin"))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range papers {
		if b.papers[p], err = os.ReadFile(p); err != nil {
			t.Fatal(err)
		}
	}
	return b
}

// report fails the test for every invariant that does not hold.
func (b books) report(t *testing.T) {
	t.Helper()
	summary, faults := b.audit()
	for _, f := range faults {
		t.Error(f)
	}
	t.Log(summary)
}

// mutants are the books of terminals that are wrong, each in its own way; the
// audit that passed the real ones must catch every one.
func (b books) mutants(t *testing.T) {
	last := func(kind string) int {
		for i, e := range slices.Backward(b.entries) {
			if e.Kind == kind {
				return i
			}
		}
		t.Fatalf("there is no %s", kind)
		return 0
	}
	without := func(kind string) books {
		m := b
		m.entries = slices.Delete(slices.Clone(b.entries), last(kind), last(kind)+1)
		return m
	}
	twice := b
	twice.papers = maps.Clone(b.papers)
	for _, raw := range b.papers {
		if processID(raw) != "" {
			twice.papers["again"] = raw
			break
		}
	}
	unasked := b
	unasked.theirs = slices.Clone(b.theirs)
	for range len(b.entries) { // effects before their commits, each killed between
		unasked.theirs = append(unasked.theirs, simkit.Charge{ID: "unheard of", Status: providers.StatusPending, Amount: 100})
	}
	unpaid := b
	unpaid.theirs = slices.Clone(b.theirs)
	paid := slices.IndexFunc(b.theirs, func(c simkit.Charge) bool { return c.Status == providers.StatusPaid })
	unpaid.theirs[paid].Status = providers.StatusPending
	invented := b
	invented.told = append(slices.Clone(b.told), map[string]any{"event": "charge_paid", "charge": "nobody's"})
	for name, m := range map[string]books{
		"a payment is not recorded":           without("charge.paid"),
		"a slip's number is missing":          without("slip.issued"),
		"a confirmation is not recorded":      without("slip.printed"),
		"a slip is printed twice":             twice,
		"charges are made before their entry": unasked,
		"paid without the provider's word":    unpaid,
		"told before it was recorded":         invented,
	} {
		if _, faults := m.audit(); len(faults) == 0 {
			t.Errorf("%s, and the audit does not see it", name)
		}
	}
}

// audit holds the books against each other and says what does not fit.
func (b books) audit() (summary string, faults []string) {
	fault := func(format string, args ...any) { faults = append(faults, fmt.Sprintf(format, args...)) }
	facts := map[charge.ID][]charge.Fact{}
	slips := map[string]int{} // kind/nsu/copy
	var nsus []uint64
	for _, e := range b.entries {
		proof := e.Evidence
		if string(proof) == "null" {
			proof = nil
		}
		f, err := charge.Decode(e.Kind, e.Data, proof)
		if err != nil {
			fault("entry %v: %v", e.Position(), err)
			continue
		}
		if f != nil {
			facts[f.Subject()] = append(facts[f.Subject()], f)
		}
		if !strings.HasPrefix(e.Kind, "slip.") {
			continue
		}
		var s struct {
			NSU  uint64 `json:"nsu"`
			Copy int    `json:"copy"`
		}
		if err := json.Unmarshal(e.Data, &s); err != nil {
			fault("entry %v: %v", e.Position(), err)
		}
		slips[fmt.Sprintf("%s/%d/%d", e.Kind, s.NSU, s.Copy)]++
		if e.Kind == "slip.issued" {
			nsus = append(nsus, s.NSU)
		}
	}

	// Invariants 1, 4 and 5.
	at := map[string]simkit.Charge{}
	var theirSum, ourSum money.Amount
	for _, c := range b.theirs {
		at[c.ID] = c
		if c.Status == providers.StatusPaid {
			theirSum += c.Amount
		}
	}
	known := map[string]bool{}
	states := map[charge.State]int{}
	orphans := 0
	for id, list := range facts {
		c, err := charge.Fold(list)
		if err != nil {
			fault("charge %s: %v", id, err)
			continue
		}
		if snapshot, ok := b.open[id]; ok && !reflect.DeepEqual(snapshot, c) {
			fault("charge %s is %+v, and its snapshot %+v", id, c, snapshot)
		}
		states[c.State]++
		if c.State.Open() {
			fault("charge %s is still %s", id, c.State)
		}
		for _, a := range c.Attempts {
			if a.State == charge.Orphaned {
				orphans++
			}
			if a.ProviderID == "" {
				continue
			}
			known[a.ProviderID] = true
			if p, ok := at[a.ProviderID]; !ok || p.Amount != c.Amount {
				fault("charge %s of %d centavos is %+v at the provider", id, c.Amount, p)
			}
		}
		pay, paid := c.Settling()
		if paid {
			ourSum += pay.Amount
			p := at[pay.Evidence.ProviderID]
			if pay.Evidence.Digest == "" || p.Status != providers.StatusPaid || p.Amount != pay.Amount {
				fault("charge %s is paid on %+v; the provider says %+v", id, pay.Evidence, p)
			}
		}
		if len(c.Payments) > 1 {
			fault("charge %s has payments %+v", id, c.Payments)
		}
	}
	if ourSum != theirSum {
		fault("the terminal has %s, the provider %s", ourSum, theirSum)
	}
	unknown := 0
	for _, c := range b.theirs {
		if !known[c.ID] {
			unknown++
		}
	}
	if unknown > orphans {
		fault("%d charges at the provider that the terminal never heard of, and only %d orphaned attempts", unknown, orphans)
	}

	// Invariant 2: what was told is recorded.
	for _, e := range b.told {
		id, _ := e["charge"].(string)
		list := facts[charge.ID(id)]
		has := func(kind string) bool {
			return slices.ContainsFunc(list, func(f charge.Fact) bool { return f.Kind() == kind })
		}
		switch e["event"] {
		case "charge_created":
			if !has("charge.created") || !has("charge.attempt") {
				fault("told of %s, which is not recorded", id)
			}
		case "charge_paid":
			if !has("charge.paid") {
				fault("told that %s is paid, which is not recorded", id)
			}
		case "slip_printed":
			if slips[fmt.Sprintf("slip.printed/%.0f/%.0f", e["nsu"], e["copy"])] != 1 {
				fault("told of slip %.0f, which is not recorded once", e["nsu"])
			}
		}
	}

	// Invariant 8 and the gap-free NSU, against the paper itself.
	slices.Sort(nsus)
	for i, n := range nsus {
		if n != uint64(i+1) {
			fault("the NSU after %d is %d", i, n)
			break
		}
	}
	seen := map[string]string{}
	for name, raw := range b.papers {
		pid := processID(raw)
		if pid == "" {
			continue // torn off: its job never ended
		}
		if other, ok := seen[pid]; ok {
			fault("%s and %s are the same slip, and neither says so", other, name)
		}
		seen[pid] = name
	}
	for what, n := range slips {
		if n != 1 {
			fault("%s is recorded %d times", what, n)
		}
		if nsu := strings.Split(what, "/")[1]; slips["slip.issued/"+nsu+"/1"] != 1 {
			fault("%s, and number %s was never given", what, nsu)
		}
	}
	return fmt.Sprintf("%d entries, charges %v, %d orphaned attempts (%d reached the provider), %d slips on paper, %s on both sides",
		len(b.entries), states, orphans, unknown, len(b.papers), ourSum.BRL()), faults
}

// processID is the id under which a slip's end is confirmed, GS ( H; "" if the
// slip was torn off before.
func processID(raw []byte) string {
	i := bytes.LastIndex(raw, []byte{0x1D, 0x28, 0x48, 0x06, 0x00, 0x30, 0x30})
	if i < 0 || len(raw) < i+11 {
		return ""
	}
	return string(raw[i+7 : i+11])
}

// readLedger reads a data directory's ledger after checking all of it.
func readLedger(t *testing.T, data string) []ledger.Entry {
	t.Helper()
	entries, _ := readStore(t, data)
	return entries
}

// readStore reads ledger and snapshots after checking all of the store.
func readStore(t *testing.T, data string) ([]ledger.Entry, map[charge.ID]charge.Charge) {
	t.Helper()
	st, err := store.OpenReadOnly(storeOptions(storePath(data), nil))
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	var entries []ledger.Entry
	open := map[charge.ID]charge.Charge{}
	if err := st.View(func(tx *bbolt.Tx) error {
		for err := range tx.Check() {
			return err
		}
		if err := verifyStore(tx); err != nil {
			return err
		}
		raws, err := ledger.Read(tx, ledger.Position{}, 1<<30)
		if err != nil {
			return err
		}
		for _, raw := range raws {
			e, err := ledger.Decode(raw.Bytes)
			if err != nil {
				return err
			}
			entries = append(entries, e)
		}
		return tx.Bucket([]byte("open_charges")).ForEach(func(id, row []byte) error {
			var s struct {
				Charge charge.Charge `json:"charge"`
			}
			raw, err := store.Unseal(id, row)
			if err == nil {
				err = json.Unmarshal(raw, &s)
			}
			open[charge.ID(id)] = s.Charge
			return err
		})
	}); err != nil {
		t.Fatal(err)
	}
	return entries, open
}

// startSim serves a simulator in a process of its own and returns its URL.
func startSim(t *testing.T, bin, dir string, args ...string) string {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, bin, append([]string{
		"sim", "--listen", "127.0.0.1:0", "--json", "--dir", dir,
	}, args...)...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.Stderr = t.Output()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stop()
		if err := cmd.Wait(); err != nil && cmd.ProcessState.ExitCode() != 0 {
			t.Errorf("simulator: %v", err)
		}
	})
	line, err := bufio.NewReader(out).ReadBytes('\n')
	if err != nil {
		t.Fatalf("simulator: %v", err)
	}
	var hello struct {
		URL string `json:"url"`
	}
	if err := json.Unmarshal(line, &hello); err != nil || hello.URL == "" {
		t.Fatalf("simulator said %q: %v", line, err)
	}
	go io.Copy(io.Discard, out)
	return hello.URL
}

func httpDo(t *testing.T, method, url string, body io.Reader) []byte {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, body)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode/100 != 2 {
		t.Fatalf("%s %s: %s %v %s", method, url, resp.Status, err, raw)
	}
	return raw
}

// tail is the end of a log, for a failing test.
func tail(t *testing.T, path string) string {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	return string(raw[max(0, len(raw)-4000):])
}
