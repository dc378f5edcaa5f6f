package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ssg-safe/agent/closing"
	"github.com/ssg-safe/agent/ledger"
	"github.com/ssg-safe/agent/money"
)

// TestClosingCommands closes the day of a real terminal: the demo's charges,
// looked at, closed, listed, and found in what the ledger says.
func TestClosingCommands(t *testing.T) {
	bin, dir := agentBinary(t), filepath.Join(t.TempDir(), "demo")
	if out, err := exec.CommandContext(t.Context(), bin, "demo", "--headless", "--json", "--charges", "3", "--pay-after", "20ms", "--dir", dir).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	example, err := os.ReadFile("../../configs/simulator.toml")
	if err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(t.TempDir(), "agent.toml")
	t.Setenv("SSG_CLIENT_SECRET", "sim-secret-not-a-credential")
	if err := os.WriteFile(config, []byte(strings.NewReplacer("/tmp/ssg-agent-simulator/data", dir, `id = "simulador"`, `id = "demo"`).Replace(string(example))), 0o600); err != nil {
		t.Fatal(err)
	}
	report := func(args ...string) (r closing.Report) {
		t.Helper()
		code, out, errs := runMain(t, append([]string{"closing", "--data", dir, "--json"}, args...)...)
		if err := json.Unmarshal([]byte(out), &r); code != 0 || err != nil {
			t.Fatalf("%v: exit %d, %v\n%s%s", args, code, err, out, errs)
		}
		return r
	}
	var sums struct {
		Sums map[ledger.Account]money.Amount
	}
	_, out, _ := runMain(t, "ledger", "verify", "--data", dir, "--json")
	if err := json.Unmarshal([]byte(out), &sums); err != nil {
		t.Fatal(err)
	}
	x := report("x", "--config", config)
	if x.Number != 0 || len(x.Lines) != 1 || x.Lines[0].Paid.Count != 3 || x.Postings[ledger.Sales] != sums.Sums[ledger.Sales] || x.Received() != sums.Sums[ledger.PixClearing] {
		t.Errorf("X %+v, the ledger says %v", x, sums.Sums)
	}
	z := report("z", "--config", config, "--merchant", "demo")
	if z.Number != 1 || z.To != x.To || z.Received() != x.Received() {
		t.Errorf("Z %+v after X %+v", z, x)
	}
	if got := report("list"); got.Number != 1 || got.Received() != z.Received() {
		t.Errorf("list: %+v", got)
	}
	if code, _, errs := runMain(t, "closing", "z", "--data", dir, "--config", config); code != 1 || !strings.Contains(errs, "nothing to close") {
		t.Errorf("a second Z: exit %d, %s", code, errs)
	}
	if code, out, _ := runMain(t, "closing", "list", "--data", dir); code != 0 || !strings.Contains(out, "demo  Z 1") || !strings.Contains(out, "received") {
		t.Errorf("list: exit %d\n%s", code, out)
	}
	if code, out, errs := runMain(t, "ledger", "verify", "--data", dir); code != 0 {
		t.Errorf("verify: %s%s", out, errs)
	}
	for _, args := range [][]string{{"closing"}, {"closing", "z"}, {"closing", "x", "--data", dir}, {"closing", "x", "--data", dir, "--config", "none"}} {
		if code, _, errs := runMain(t, args...); code != 2 || errs == "" {
			t.Errorf("%v: exit %d, %s", args, code, errs)
		}
	}
}
