package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ssg-safe/agent/providers"
	"github.com/ssg-safe/agent/providers/bspay"
	"github.com/ssg-safe/agent/providers/bspay/bspaysim"
)

// providerRig is a simulator on a socket, with a configuration for it.
type providerRig struct {
	t      *testing.T
	sim    *simRun
	config string
}

func newProviderRig(t *testing.T, kind, more string) *providerRig {
	t.Helper()
	sim := runSim(t, "--provider", kind, "--pay-after", "0s")
	f, err := familyOf(kind)
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv(simSecret, f.sim.clientSecret)
	t.Setenv("SSG_SIGNING_KEY", bspaysim.DefaultSigningKey)
	path := filepath.Join(t.TempDir(), "agent.toml")
	text := "version = 1\ndata = \"/var/lib/ssg-agent\"\n[terminal]\ncode = \"P001\"\n" + f.table("sim", sim.hello.URL, f.sim.locationHost) + more
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return &providerRig{t, sim, path}
}

const withSigningKey = "[provider.bspay]\nsigning_key = { env = \"SSG_SIGNING_KEY\" }\n"

// run runs a provider command and returns exit code, output and errors.
func (r *providerRig) run(args ...string) (int, string, string) {
	r.t.Helper()
	var out, errs bytes.Buffer
	code := run(r.t.Context(), &globals{stdout: &out, stderr: &errs}, append([]string{"provider", "--config", r.config}, args...))
	return code, out.String(), errs.String()
}

// ok runs a command that must succeed and say something.
func (r *providerRig) ok(want string, args ...string) string {
	r.t.Helper()
	code, out, errs := r.run(args...)
	if code != 0 || !strings.Contains(out, want) {
		r.t.Errorf("%s: exit %d, got\n%s%s\nwant %q", strings.Join(args, " "), code, out, errs, want)
	}
	return out
}

// control is a POST to one of the simulator's own routes.
func (r *providerRig) control(path string) {
	r.t.Helper()
	resp, err := http.Post(r.sim.hello.URL+path, "", nil)
	if err != nil {
		r.t.Fatal(err)
	}
	resp.Body.Close() // empty
	if resp.StatusCode != http.StatusNoContent {
		r.t.Fatalf("%s: %s", path, resp.Status)
	}
}

func TestProviderCommands(t *testing.T) {
	r := newProviderRig(t, "bspay", withSigningKey)
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	c, err := bspay.New(bspay.Config{
		URL: r.sim.hello.URL, AllowInsecureHTTP: true, ClientID: bspaysim.DefaultClientID, ClientSecret: bspaysim.DefaultClientSecret,
	}, transport, nil)
	if err != nil {
		t.Fatal(err)
	}
	ch, err := c.CreateCharge(t.Context(), providers.Intent{ID: "T0010000000000000000000001", Attempt: 1, Amount: 123456, Expiry: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	r.ok("sim   bspay  "+r.sim.hello.URL+"  simulador", "list")
	r.ok("ok", "health")
	r.ok("pending  1234.56  BRL  "+ch.ProviderID, "transactions")
	r.ok("none", "transactions", "--status", "confirmed")
	r.control("/sim/charges/" + ch.ProviderID + "/pay")
	r.ok("BRL       1234.56", "balance")
	r.ok(`"max": 9999999999.99`, "limits")
	r.ok(`"percent": 0`, "fees")
	if out := r.ok(`"document": "**.222.333/****-**"`, "profile"); strings.Contains(out, "11222333") || strings.Contains(out, "@") {
		t.Errorf("the profile tells %s", out)
	}
	var line struct {
		Event, ID, Word string
		Centavos        int64
	}
	if err := json.Unmarshal([]byte(r.ok("{", "transactions", "--json")), &line); err != nil || line.Event != "transaction" || line.ID != ch.ProviderID || line.Centavos != 123456 || line.Word != "confirmed" {
		t.Errorf("got %+v (%v)", line, err)
	}

	r.ok(`"rate": 0.20000000`, "convert", "100.00", "BRL", "USDT")
	r.ok(`"result": 20.00000000`, "convert", "100.00", "BRL", "USDT")
	r.ok(`"status": "pending"`, "convert", "100.00", "BRL", "USDT", "--id", "c-1", "--yes")
	r.ok(`"type": "transfer"`, "transfer", "10.00", "BRL", "outra-loja", "--id", "t-1", "--yes")
	first := r.ok(`"type": "transfer"`, "transfer", "10.00", "BRL", "outra-loja", "--id", "t-1", "--yes")
	if again := r.ok(`"type": "transfer"`, "transfer", "10.00", "BRL", "outra-loja", "--id", "t-1", "--yes"); again[:strings.Index(again, "status")] != first[:strings.Index(first, "status")] {
		t.Errorf("the same order again:\n%s\n%s", first, again)
	}
	r.ok("BRL       1124.56", "balance") // one conversion, one transfer
	r.ok(`"address": "sim`, "wallet", "USDT", "--chain", "tron")
	r.ok(`"type": "cashin"`, "deposit", "0.01", "BTC", "--id", "d-1", "--chain", "bitcoin")

	r.control("/sim/charges/" + ch.ProviderID + "/dispute")
	var one struct {
		ID string `json:"infraction_id"`
	}
	if err := json.Unmarshal([]byte(r.ok("{", "infractions", "list", "--json")), &one); err != nil {
		t.Fatal(err)
	}
	pdf := filepath.Join(t.TempDir(), "nota.pdf")
	if err := os.WriteFile(pdf, []byte("%PDF-1.7\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	r.ok(`"status": "responded"`, "infractions", "reply", one.ID, "-m", "Entregue", "-f", pdf)
	r.ok("Entregue [nota.pdf]", "infractions", "show", one.ID)

	for _, tt := range []struct {
		code int
		want string
		args []string
	}{
		{1, "INSUFFICIENT_BALANCE", []string{"withdraw", "99999", "USDT", "TXabc", "--network", "tron", "--id", "w-1", "--yes"}},
		{1, "BRL has commands of its own", []string{"withdraw", "1.00", "BRL", "12345678909", "--id", "w-2", "--yes"}},
		{2, "nothing was sent. This would send 10.00 BRL to outra-loja; add --yes", []string{"transfer", "10.00", "BRL", "outra-loja", "--id", "t-2"}},
		{2, "needs an --id", []string{"transfer", "10.00", "BRL", "outra-loja", "--yes"}},
		{2, "nothing was sent", []string{"convert", "1.00", "BRL", "USDT", "--id", "c-2"}},
		{1, "not_found", []string{"infractions", "show", "00000000-0000-4000-8000-000000000000"}},
		{1, "neither PDF nor JPEG nor PNG", []string{"infractions", "reply", one.ID, "-m", "m", "-f", r.config}},
		{2, "want a day such as", []string{"transactions", "--from", "yesterday"}},
		{2, "--from is after --to", []string{"transactions", "--from", "2026-03-02", "--to", "2026-03-01"}},
		{2, "no provider of that name", []string{"balance", "--provider", "other"}},
		{2, "accepts 1 arg", []string{"wallet"}},
		{2, "which of its commands", nil},
	} {
		code, out, errs := r.run(tt.args...)
		if code != tt.code || !strings.Contains(errs, tt.want) || out != "" {
			t.Errorf("%v: exit %d, got %q and %q, want %d and %q", tt.args, code, out, errs, tt.code, tt.want)
		}
		for _, secret := range []string{bspaysim.DefaultClientSecret, bspaysim.DefaultSigningKey} {
			if strings.Contains(errs, secret) {
				t.Errorf("%v tells a secret: %s", tt.args, errs)
			}
		}
	}
	r.ok("BRL       1124.56", "balance") // and nothing moved
}

// TestProviderWithout: what a provider cannot do is said, and what to do is not a
// guess.
func TestProviderWithout(t *testing.T) {
	r := newProviderRig(t, "ssg", "")
	r.ok("ok", "health")
	for _, args := range [][]string{{"balance"}, {"transactions"}, {"limits"}, {"wallet", "USDT"}, {"infractions", "list"}, {"transfer", "1.00", "BRL", "x", "--id", "1", "--yes"}} {
		if code, _, errs := r.run(args...); code != 1 || !strings.Contains(errs, "provider sim (type ssg) does not tell") || !strings.Contains(errs, "capabilities") {
			t.Errorf("%v: exit %d, %q", args, code, errs)
		}
	}
	var out, errs bytes.Buffer
	if code := run(t.Context(), &globals{stdout: &out, stderr: &errs}, []string{"provider", "balance"}); code != 2 || !strings.Contains(errs.String(), "Give --config FILE") {
		t.Errorf("without a configuration: exit %d, %q", code, errs.String())
	}
}

// TestProviderWithoutKey: nothing can be signed on a terminal.
func TestProviderWithoutKey(t *testing.T) {
	r := newProviderRig(t, "bspay", "")
	if code, _, errs := r.run("transfer", "1.00", "BRL", "x", "--id", "1", "--yes"); code != 1 || !strings.Contains(errs, "needs bspay.signing_key") {
		t.Errorf("exit %d, %q", code, errs)
	}
}

// docs/providers.md has the table of what each provider can do, from the code.
func TestProviderTable(t *testing.T) {
	const path, begin, end = "../../docs/providers.md", "<!-- made from cmd/agent/provider.go by go test ./cmd/agent -update -->\n", "<!-- end -->\n"
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, ok := strings.Cut(string(text), begin)
	_, tail, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("%s has lost a mark of its table", path)
	}
	all, err := capabilities()
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	b.WriteString("| ability |")
	for _, c := range all {
		fmt.Fprintf(&b, " `%s` |", c.Type)
	}
	b.WriteString("\n|---|" + strings.Repeat(":-:|", len(all)) + "\n")
	for _, a := range abilities {
		fmt.Fprintf(&b, "| %s |", a.name)
		for _, c := range all {
			mark := "–"
			for _, name := range c.Can {
				if name == a.name {
					mark = "yes"
				}
			}
			b.WriteString(" " + mark + " |")
		}
		b.WriteString("\n")
		if !strings.Contains(tail, "**"+a.name+"**") {
			t.Errorf("%s does not explain %q", path, a.name)
		}
	}
	goldenFile(t, path, head+begin+b.String()+end+tail)
}
