package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ssg-safe/agent/providers/basspago/basspagosim"
	"github.com/ssg-safe/agent/redact"
)

// What people get wrong about a key of Bass Pago, and where they are told.
func TestBasspagoConfiguration(t *testing.T) {
	const good = `
version = 1
data = "/var/lib/ssg-agent"
[terminal]
code = "P001"
[[merchant]]
id = "loja"
cnpj = "11222333000181"
name = "Loja"
city = "Curitiba"
pix_key = "11222333000181"
provider = "basspago"
[[provider]]
name = "basspago"
type = "basspago"
url = "https://serviceappi.com/basspago-sandbox/api/public/payments/checkout"
client_id = "xm9RSLfh3QW4PvFkIaDItbdjkdzyo2kZ"
client_secret = { env = "SECRET" }
[provider.basspago]
environment = "sandbox"
`
	for _, tt := range []struct{ name, old, new, want string }{
		{"nothing", "", "", ""},
		{"a sandbox in production", `environment = "sandbox"`, ``, "provider[0].url: is a sandbox's by its name, and the environment is production"},
		{"no table", "[provider.basspago]\nenvironment = \"sandbox\"", ``, "provider[0].url: is a sandbox's by its name"},
		{"taken for production", `environment = "sandbox"`, `allow_sandbox_url = true`, "provider[0].basspago.allow_sandbox_url: an address with sandbox"},
		{"another environment", `"sandbox"`, `"prod"`, "provider[0].basspago.environment: "},
		{"another signature", `[provider.basspago]`, "[provider.basspago]\nsignature = \"md5\"", "provider[0].basspago.signature: "},
		{"no address", `url = "https://serviceappi.com/basspago-sandbox/api/public/payments/checkout"`, ``, "provider[0].url: is missing"},
		{"no key", `client_id = "xm9RSLfh3QW4PvFkIaDItbdjkdzyo2kZ"`, ``, "provider[0].client_id: is missing"},
		{"a key with a space", `"xm9R`, `"xm9R `, "provider[0].client_id: not a public key"},
		{"hosts of codes", `[provider.basspago]`, "allowed_hosts = [\"pix.example.com\"]\n[provider.basspago]", "provider[0].allowed_hosts: has no effect"},
		{"a payer's state", `[provider.basspago]`, "[provider.payer]\nstate = \"sp\"\n[provider.basspago]", "provider[0].payer.state: "},
		{
			"a safe that wants codes", `[provider.basspago]`,
			"[facade]\nlisten = \"127.0.0.1:8019\"\n[[facade.client]]\nname = \"cofre\"\nclient_id = \"c\"\nclient_secret = { env = \"SECRET\" }\n" +
				"account_id = \"06919b2b-4274-457a-84b0-4cf4de1405fb\"\nmerchant = \"loja\"\n[provider.basspago]",
			"facade.client[0].merchant: is charged for by a provider without PIX codes",
		},
		{"another family's table", `type = "basspago"`, `type = "bacen"`, `provider[0].basspago: is for a provider of type = "basspago"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			text := strings.Replace(good, tt.old, tt.new, 1)
			_, f := decodeConfig("agent.toml", []byte(text), map[string]string{"SECRET": testSecret})
			var found []string
			for _, p := range f.Problems() {
				found = append(found, p.Path+": "+p.Message)
			}
			all := strings.Join(found, "\n")
			if tt.want == "" && all != "" || !strings.Contains(all, tt.want) || strings.Contains(all, testSecret) {
				t.Errorf("got\n%s\nwant %q", all, tt.want)
			}
			for _, once := range []string{"client_id", "environment", "signature"} {
				if strings.Count(all, once+":") > 1 {
					t.Errorf("one problem, told twice:\n%s", all)
				}
			}
		})
	}
}

// TestDemoBasspago is the demo's contract where charges have no codes: the shop's
// checkouts are taken over, paid and printed, without a QR code anywhere; and no file
// of the demo but the store and the simulator's ledger holds a token.
func TestDemoBasspago(t *testing.T) {
	dir := t.TempDir()
	for range 2 { // the second run finds the first one's ledger
		var out, errs bytes.Buffer
		args := []string{"demo", "--headless", "--json", "--provider", "basspago", "--charges", "3", "--faults", "status:http=500@0.2", "--dir", dir}
		if code := run(t.Context(), &globals{stdout: &out, stderr: &errs}, args); code != 0 {
			t.Fatalf("exit %d: %s\n%s", code, errs.String(), out.String())
		}
		n := map[string]int{}
		for line := range bytes.Lines(out.Bytes()) {
			var e demoEvent
			if err := json.Unmarshal(line, &e); err != nil {
				t.Fatal(err)
			}
			n[e.Event+e.Kind]++
			if e.BRCode != "" || e.Event == "charge_created" && e.Provider != "basspago" {
				t.Errorf("got %s", line)
			}
			if e.Event == "summary" && (*e.Charges != 3 || *e.Paid != 3 || *e.Printed != 3 || !*e.Synced) {
				t.Errorf("got %s", line)
			}
		}
		if n["charge_created"] != 3 || n["charge_paid"] != 3 || n["slip_printedreceipt"] != 3 || n["slip_printedqr"] != 0 || n["qr_shown"] != 0 {
			t.Errorf("got %v", n)
		}
	}
	tokens := simTokens(t, filepath.Join(dir, "simulator-basspago"))
	if len(tokens) != 6 {
		t.Fatalf("%d tokens", len(tokens))
	}
	var out, errs bytes.Buffer
	if code := run(t.Context(), &globals{stdout: &out, stderr: &errs}, []string{"ledger", "export", "--data", dir}); code != 0 {
		t.Fatalf("exit %d: %s", code, errs.String())
	}
	log, err := os.ReadFile(filepath.Join(dir, "agent.log"))
	if err != nil {
		t.Fatal(err)
	}
	for _, token := range tokens {
		if strings.Contains(out.String(), token) || bytes.Contains(log, []byte(token)) {
			t.Error("ledger or log hold a token")
		}
	}
}

// simTokens are the tokens of a simulator's ledger.
func simTokens(t *testing.T, dir string) (all []string) {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(dir, "basspago-ledger.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for line := range bytes.Lines(raw) {
		var k struct{ Token string }
		if err := json.Unmarshal(line, &k); err != nil {
			t.Fatal(err)
		}
		if !seen[k.Token] {
			seen[k.Token] = true
			all = append(all, k.Token)
		}
	}
	return all
}

// TestProviderBasspago: the provider commands against a served simulator; adopt needs
// a running agent and says so, and no output has a token.
func TestProviderBasspago(t *testing.T) {
	r := newProviderRig(t, "basspago", "")
	resp, err := http.Post(r.sim.hello.URL+"/sim/shop", "application/json", strings.NewReader(`{"amount":"42.00"}`))
	if err != nil {
		t.Fatal(err)
	}
	var made struct{ Token redact.Secret }
	raw, err := io.ReadAll(resp.Body)
	if err = errors.Join(err, resp.Body.Close(), json.Unmarshal(raw, &made)); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(made.Token.Reveal()+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	r.ok("ok", "health")
	r.ok("PIX   PENDING  -", "transactions")
	r.ok("none", "transactions", "--status", "APPROVED")
	r.ok("42,00  PENDING", "adopt", "--look", "--token-file", file)
	for args, want := range map[string]string{
		"adopt":                              "which checkout?",
		"adopt --token-file /does/not/exist": "no such file",
		"adopt --merchant x --token-file " + file: "no merchant of that id",
	} {
		if code, out, errs := r.run(strings.Fields(args)...); code != 2 || !strings.Contains(errs, want) || out != "" {
			t.Errorf("%s: exit %d, got %q %q, want 2 and %q", args, code, out, errs, want)
		}
	}
	text, err := os.ReadFile(r.config)
	if err != nil {
		t.Fatal(err)
	}
	data := t.TempDir()
	if err := os.WriteFile(r.config, bytes.Replace(text, []byte("/var/lib/ssg-agent"), []byte(data), 1), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time the merchant's provider stands in a route
		code, out, errs := r.run("adopt", "--token-file", file)
		if code != 1 || !strings.Contains(errs, "only one that runs can take over a checkout") || strings.Contains(out+errs, made.Token.Reveal()) {
			t.Errorf("without an agent: exit %d, got %q %q", code, out, errs)
		}
		if text, err = os.ReadFile(r.config); err != nil {
			t.Fatal(err)
		}
		text = bytes.Replace(text, []byte("\nprovider = "), []byte("\n[[merchant.route]]\nbeneficiary = \"11222333000181\"\nprovider = "), 1)
		if err := os.WriteFile(r.config, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if code, _, errs := newProviderRig(t, "bspay", "").run("adopt", "--token-file", file); code != 1 || !strings.Contains(errs, "does not tell a checkout") {
		t.Errorf("a provider with codes: exit %d, got %q", code, errs)
	}
}

// TestAdoptWhileItRuns: a shop's checkout becomes a charge of the agent that runs, by
// the command line, once, and survives a kill; it is paid and its receipt is printed.
// The local API takes checkouts over, too, and refuses one that is taken.
func TestAdoptWhileItRuns(t *testing.T) {
	k := newKiosk(t, "--provider", "basspago", "--pay-after", "0s")
	k.edit(`type = "ssg"`, `type = "basspago"`, `url = "`+k.sim+`"`, `url = "`+k.sim+basspagosim.Path+`"`,
		`client_id = "sim-client"`, `client_id = "`+basspagosim.DefaultKey+`"`, "[provider.payer]", "[provider.basspago]\nenvironment = \"sandbox\"\n[provider.payer]")
	k.start()
	token := k.shop("42.00")
	adopt := func() (out struct {
		Event, Charge string
		ExternalID    string `json:"external_id"`
	},
	) {
		t.Helper()
		cmd := exec.Command(k.bin, "provider", "adopt", "--json", "--token-file", "-", "--config", k.config)
		cmd.Stdin, cmd.Env = strings.NewReader(token), k.cmd.Env
		text, err := cmd.Output()
		if err != nil {
			t.Fatalf("%v: %s", err, text)
		}
		if err := json.Unmarshal(text, &out); err != nil || out.Event != "adopted" || bytes.Contains(text, []byte(token)) {
			t.Fatalf("%s (%v)", text, err)
		}
		return out
	}
	first := adopt()
	k.kill()
	k.start()
	if again := adopt(); again != first {
		t.Errorf("adopted again: %+v, want %+v", again, first)
	}
	if _, err := k.curl("POST", "/v1/charges", `{"reference":"venda-9","amount":4200,"present":"never","checkout":"`+token+`"}`); err == nil || !strings.Contains(err.Error(), "checkout_refused") {
		t.Errorf("taken over by another reference: got %v", err)
	}
	resp, err := http.Post(k.sim+"/sim/charges/"+first.ExternalID+"/pay", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close() // empty
	c := apiCharge{}
	if !eventually(t, func() bool {
		raw, err := k.asOperator("/v1/charges/" + first.Charge)
		return err == nil && json.Unmarshal(raw, &c) == nil && c.State == "paid" && len(c.Slips) == 1 && c.Slips[0].State == "printed"
	}) {
		t.Fatalf("got %+v", c)
	}
	if c.BRCode != "" || c.Slips[0].Kind != "receipt" || c.Payments[0].Grade != "B" || c.Amount != 4200 {
		t.Errorf("got %+v", c)
	}

	// Both sides agree about it, and nothing else is told of.
	cmd := exec.Command(k.bin, "reconcile", "--config", k.config, "--json")
	cmd.Env = k.cmd.Env
	if out, err := cmd.Output(); err != nil || !bytes.Contains(out, []byte(`"class":"matched"`)) || bytes.Contains(out, []byte("ticket")) {
		t.Errorf("reconcile: %v: %s", err, out)
	}

	token = k.shop("12.00")
	made := k.charge("POST", "/v1/charges", `{"reference":"venda-10","amount":1300,"checkout":"`+token+`"}`)
	if !eventually(t, func() bool {
		made = k.charge("GET", "/v1/charges/"+made.ID, "")
		return made.State == "failed"
	}) {
		t.Errorf("a checkout of another amount: got %+v", made)
	}
}

// shop makes a checkout and returns its token.
func (k *kiosk) shop(amount string) string {
	k.Helper()
	resp, err := http.Post(k.sim+"/sim/shop", "application/json", strings.NewReader(`{"amount":"`+amount+`"}`))
	if err != nil {
		k.Fatal(err)
	}
	defer resp.Body.Close()
	var made struct{ Token string }
	if err := json.NewDecoder(resp.Body).Decode(&made); err != nil {
		k.Fatal(err)
	}
	return made.Token
}

// asOperator asks through the agent's socket, whose owner sees every caller's charges.
func (k *kiosk) asOperator(path string) ([]byte, error) {
	k.Helper()
	return k.curlCmd("--fail", "--unix-socket", filepath.Join(k.data, "control.sock"), "http://localhost"+path).Output()
}
