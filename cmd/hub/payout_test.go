package main

import (
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ssg-safe/agent/hub/payouts"
	"github.com/ssg-safe/agent/providers/bspay/bspaysim"
)

// crew are operators with their keys, and the [[operator]] tables for them.
func crew(t *testing.T, names ...string) (keys map[string]string, tables string) {
	t.Helper()
	keys, dir := map[string]string{}, t.TempDir()
	for _, name := range names {
		keys[name] = filepath.Join(dir, name+".pem")
		code, stdout, stderr := hubMain(t, "operator", "key", keys[name], "--name", name)
		if code != 0 {
			t.Fatal(stderr)
		}
		tables += stdout
	}
	return keys, tables
}

// secretFile is a reference to a secret.
func secretFile(t *testing.T, value string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, []byte(value+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("{ file = %q }", path)
}

// bspayAccount is a simulator on a socket, and the [[provider]] for it.
func bspayAccount(t *testing.T, o bspaysim.Options) (*bspaysim.Sim, string) {
	t.Helper()
	sim, err := bspaysim.New(o)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(sim)
	t.Cleanup(func() {
		server.Close()
		if err := sim.Close(); err != nil {
			t.Error(err)
		}
	})
	return sim, fmt.Sprintf(`[[provider]]
name = "conta"
type = "bspay"
merchant = "loja"
url = %q
allow_insecure_http = true
client_id = %q
client_secret = %s
requests_per_second = 100
max_payout = "500.00"
max_day = "600.00"
two_approvers_from = "200.00"
[provider.bspay]
signing_key = %s
`, server.URL, bspaysim.DefaultClientID, secretFile(t, bspaysim.DefaultClientSecret), secretFile(t, bspaysim.DefaultSigningKey))
}

// one runs a command that prints one payout as JSON.
func one(t *testing.T, data string, args ...string) payouts.Record {
	t.Helper()
	var r payouts.Record
	text, _, _ := strings.Cut(must(t, data, append(args, "--json")...), "\n")
	if err := json.Unmarshal([]byte(text), &r); err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	return r
}

// refused runs a command that fails and says why.
func refused(t *testing.T, says string, args ...string) {
	t.Helper()
	code, _, stderr := hubMain(t, args...)
	if code == 0 || !strings.Contains(stderr, says) {
		t.Errorf("%q: exit code %d, %q; want %q", args, code, stderr, says)
	}
}

// A payout goes all its way by the commands: proposed by one, approved by another,
// sent once, settled; and what must not be is refused with a reason.
func TestPayoutCommands(t *testing.T) {
	keys, people := crew(t, "ana", "bia", "caio")
	sim, account := bspayAccount(t, bspaysim.Options{Balance: 1_000_000, SettleAfter: 300 * time.Millisecond})
	data := t.TempDir()
	must(t, data, "keys", "make")
	hub := startHub(t, data, "[listen]\naddress = \"127.0.0.1:0\"\n"+people+account)

	const cpf = "12345678909"
	propose := func(amount string) []string {
		return []string{"payout", "propose", "--provider", "conta", "--amount", amount, "--pix-key", cpf, "--description", "troco", "--by", "ana", "--key", keys["ana"]}
	}
	approve := func(r payouts.Record, who string) []string {
		return []string{"payout", "approve", string(r.ID), r.Digest, "--by", who, "--key", keys[who], "--data", data}
	}
	r := one(t, data, propose("150.00")...)
	if r.State != "awaiting_approval" || r.Approvers != 1 || r.Amount != 15000 {
		t.Fatalf("got %+v", r)
	}
	refused(t, "needs somebody else", approve(r, "ana")...)
	refused(t, "not signed with the key of bia", "payout", "approve", string(r.ID), r.Digest, "--by", "bia", "--key", keys["ana"], "--data", data)
	refused(t, "eva is no operator", "payout", "approve", string(r.ID), r.Digest, "--by", "eva", "--key", keys["ana"], "--data", data)
	refused(t, "not what was proposed", "payout", "approve", string(r.ID), strings.Repeat("0", 64), "--by", "bia", "--key", keys["bia"], "--data", data)
	if n := len(sim.Payouts()); n != 0 {
		t.Fatalf("%d payouts, and nobody approved one", n)
	}
	shown := must(t, data, "payout", "show", string(r.ID))
	if strings.Contains(shown, cpf) || !strings.Contains(must(t, data, "payout", "show", string(r.ID), "--reveal"), cpf) {
		t.Errorf("the key shows without --reveal, or not with it:\n%s", shown)
	}
	must(t, data, approve(r, "bia")...)
	eventually(t, "it is settled", func() bool { return one(t, data, "payout", "show", string(r.ID)).State == "settled" })
	if p := sim.Payouts(); len(p) != 1 || p[0].Amount != 15000 || p[0].ExternalID != string(r.ID) {
		t.Errorf("the provider has %+v", p)
	}
	refused(t, "not possible in state", approve(r, "bia")...)

	// Two from 200.00 on; the day's limit; one payout's.
	big := one(t, data, propose("300.00")...)
	if got := one(t, data, approve(big, "bia")[:8]...); got.State != "awaiting_approval" || big.Approvers != 2 {
		t.Errorf("after one of two: %+v", got)
	}
	must(t, data, approve(big, "caio")...)
	eventually(t, "the second is settled", func() bool { return one(t, data, "payout", "show", string(big.ID)).State == "settled" })
	over := one(t, data, propose("199.00")...)
	refused(t, "R$ 649.00 today", approve(over, "bia")...)
	refused(t, "one payout may send R$ 500.00", append(propose("500.01"), "--data", data)...)
	refused(t, "no route", "payout", "propose", "--provider", "outra", "--amount", "1.00", "--pix-key", cpf, "--by", "ana", "--key", keys["ana"], "--data", data)
	refused(t, "say why", "payout", "reject", string(over.ID), "--by", "bia", "--key", keys["bia"], "--data", data)
	if got := one(t, data, "payout", "reject", string(over.ID), "--reason", "tomorrow", "--by", "bia", "--key", keys["bia"]); got.State != "rejected" {
		t.Errorf("got %+v", got)
	}
	if out := must(t, data, "payout", "list"); out != "no payouts\n" {
		t.Errorf("what is not over:\n%s", out)
	}
	out := must(t, data, "payout", "list", "--all", "--locale", "en")
	if strings.Count(out, "\n") != 4 || strings.Contains(out, "%!") || !slices.ContainsFunc(strings.Split(out, "\n"), func(row string) bool {
		return strings.HasPrefix(row, string(over.ID)) && strings.Join(strings.Fields(row)[2:], " ") == "conta 199.00 rejected ana nobody of 1"
	}) {
		t.Errorf("all:\n%s", out)
	}
	must(t, data, "payout", "verify")
	hub.end(0)

	// Without the hub one can look, and decide nothing.
	must(t, data, "payout", "list", "--all")
	must(t, data, "payout", "verify")
	refused(t, "the hub is not running", append(propose("1.00"), "--data", data)...)
	if log := hub.log.String(); strings.Contains(log, cpf) || strings.Contains(log, "eyJ2") {
		t.Errorf("the log tells whom money went to:\n%s", log)
	}
}
