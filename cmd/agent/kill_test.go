package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
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
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	bin, dir := agentBinary(t), t.TempDir()
	url := startSim(t, bin, filepath.Join(dir, "simulator"),
		"--pay-after", "40ms", "--seed", strconv.FormatUint(seed, 10), "--faults", strings.Join([]string{
			"create:drop_after@0.08", "create:drop_before@0.08", "create:truncate@0.05", "create:http=500@0.05",
			"create:latency=1ms..30ms@0.5", "status:latency=1ms..40ms@0.5", "status:http=500@0.05", "status:truncate@0.05",
			"status:drop_after@0.05", "token:http=500@0.1",
		}, ","))

	var told []map[string]any // all events that any run told
	data := filepath.Join(dir, "terminal")
	run := func(killAfter time.Duration, charges int) error {
		cmd := exec.Command(bin, "demo", "--headless", "--json", "--charges", strconv.Itoa(charges), "--dir", data, "--sim", url)
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
	audit(t, data, theirs, told)
}

// audit holds the terminal's store, its paper and what it told against the
// simulator's ledger.
func audit(t *testing.T, data string, theirs []simkit.Charge, told []map[string]any) {
	t.Helper()
	entries := readLedger(t, data) // invariant 7: the chain verifies
	facts := map[charge.ID][]charge.Fact{}
	slips := map[string]int{} // kind/nsu/copy
	var nsus []uint64
	for _, e := range entries {
		proof := e.Evidence
		if string(proof) == "null" {
			proof = nil
		}
		f, err := charge.Decode(e.Kind, e.Data, proof)
		if err != nil {
			t.Fatal(err)
		}
		if f != nil {
			facts[f.Subject()] = append(facts[f.Subject()], f)
			continue
		}
		var s struct {
			NSU  uint64 `json:"nsu"`
			Copy int    `json:"copy"`
		}
		if err := json.Unmarshal(e.Data, &s); err != nil {
			t.Fatal(err)
		}
		slips[fmt.Sprintf("%s/%d/%d", e.Kind, s.NSU, s.Copy)]++
		if e.Kind == "slip.issued" {
			nsus = append(nsus, s.NSU)
		}
	}

	// Invariants 1, 4 and 5.
	at := map[string]simkit.Charge{}
	var theirSum, ourSum money.Amount
	for _, c := range theirs {
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
			t.Fatal(err)
		}
		states[c.State]++
		if c.State.Open() {
			t.Errorf("charge %s is still %s", id, c.State)
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
				t.Errorf("charge %s of %d centavos is %+v at the provider", id, c.Amount, p)
			}
		}
		pay, paid := c.Settling()
		if paid {
			ourSum += pay.Amount
			p := at[pay.Evidence.ProviderID]
			if pay.Evidence.Digest == "" || p.Status != providers.StatusPaid || p.Amount != pay.Amount {
				t.Errorf("charge %s is paid on %+v; the provider says %+v", id, pay.Evidence, p)
			}
		}
		if len(c.Payments) > 1 {
			t.Errorf("charge %s has payments %+v", id, c.Payments)
		}
	}
	if ourSum != theirSum {
		t.Errorf("the terminal has %s, the provider %s", ourSum, theirSum)
	}
	unknown := 0
	for _, c := range theirs {
		if !known[c.ID] {
			unknown++
		}
	}
	if unknown > orphans {
		t.Errorf("%d charges at the provider that the terminal never heard of, and only %d orphaned attempts", unknown, orphans)
	}

	// Invariant 2: what was told is recorded.
	for _, e := range told {
		id, _ := e["charge"].(string)
		list := facts[charge.ID(id)]
		has := func(kind string) bool {
			return slices.ContainsFunc(list, func(f charge.Fact) bool { return f.Kind() == kind })
		}
		switch e["event"] {
		case "charge_created":
			if !has("charge.created") || !has("charge.attempt") {
				t.Errorf("told of %s, which is not recorded", id)
			}
		case "charge_paid":
			if !has("charge.paid") {
				t.Errorf("told that %s is paid, which is not recorded", id)
			}
		case "slip_printed":
			if slips[fmt.Sprintf("slip.printed/%.0f/%.0f", e["nsu"], e["copy"])] != 1 {
				t.Errorf("told of slip %.0f, which is not recorded once", e["nsu"])
			}
		}
	}

	// Invariant 8 and the gap-free NSU, against the paper itself.
	slices.Sort(nsus)
	for i, n := range nsus {
		if n != uint64(i+1) {
			t.Fatalf("the NSU after %d is %d", i, n)
		}
	}
	papers, err := filepath.Glob(filepath.Join(data, "slips", "*.bin"))
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]string{}
	for _, p := range papers {
		raw, err := os.ReadFile(p)
		if err != nil {
			t.Fatal(err)
		}
		// GS ( H: the process id that ends a job.
		i := bytes.LastIndex(raw, []byte{0x1D, 0x28, 0x48, 0x06, 0x00, 0x30, 0x30})
		if i < 0 || len(raw) < i+11 {
			continue // torn off: its job never ended
		}
		pid := string(raw[i+7 : i+11])
		if other, ok := seen[pid]; ok {
			t.Errorf("%s and %s are the same slip, and neither says so", other, p)
		}
		seen[pid] = p
	}
	t.Logf("%d entries, charges %v, %d orphaned attempts (%d reached the provider), %d slips on paper, %s on both sides",
		len(entries), states, orphans, unknown, len(papers), ourSum.BRL())
}

// readLedger reads a data directory's ledger after checking all of it.
func readLedger(t *testing.T, data string) []ledger.Entry {
	t.Helper()
	st, err := store.OpenReadOnly(storeOptions(storePath(data), nil))
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	var entries []ledger.Entry
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
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return entries
}

// startSim serves a simulator in a process of its own and returns its URL.
func startSim(t *testing.T, bin, dir string, args ...string) string {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, bin, append([]string{
		"sim", "--provider", "ssg", "--listen", "127.0.0.1:0", "--json", "--dir", dir,
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
