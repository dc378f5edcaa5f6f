package main

import (
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/ssg-safe/agent/fleet/wire"
	"github.com/ssg-safe/agent/hub"
	"github.com/ssg-safe/agent/hub/webhook"
	"github.com/ssg-safe/agent/providers/bspay/bspaysim"
	"github.com/ssg-safe/agent/providers/bspaybr/bspaybrsim"
	"github.com/ssg-safe/agent/providers/simkit"
)

// webhookTable is a hub's configuration for one provider's simulator.
func webhookTable(t *testing.T, provider, addr string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{"path": testPath, "callback": "sim-callback-secret", "webhook": "sim-webhook-secret"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	table := fmt.Sprintf("[webhook]\naddress = %q\nbehind_proxy = true\n[[webhook.provider]]\nname = \"psp\"\ntype = %q\npath = { file = \"DIR/path\" }\n", addr, provider)
	switch provider {
	case "bspay":
		table += "callback_secret = { file = \"DIR/callback\" }\nwebhook_secret = { file = \"DIR/webhook\" }\n"
	case "bspaybr":
		table += "webhook_secret = { file = \"DIR/webhook\" }\n"
	}
	return strings.ReplaceAll(table, "DIR", dir)
}

// carrier brings webhooks of a simulator to a hub, as the network may.
type carrier struct {
	t        *testing.T
	sim, hub string
}

type delivery struct {
	URL    string
	Header http.Header
	Body   string
}

// due are the webhooks that the provider sends by now.
func (c carrier) due(query string) (list []delivery) {
	c.t.Helper()
	resp, err := http.Get(c.sim + "/sim/webhooks?" + query)
	if err != nil {
		c.t.Fatal(err)
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(&list); err != nil {
		c.t.Fatal(err)
	}
	return list
}

// bring returns the hub's answer.
func (c carrier) bring(d delivery) int {
	c.t.Helper()
	below := ""
	if d.URL != "" {
		below = d.URL[strings.LastIndex(d.URL, "/"):]
	}
	req, err := http.NewRequest("POST", c.hub+below, strings.NewReader(d.Body))
	if err != nil {
		c.t.Fatal(err)
	}
	req.Header = d.Header
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		c.t.Fatal(err)
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		c.t.Fatal(err)
	}
	return resp.StatusCode
}

func (c carrier) pay(id string) {
	c.t.Helper()
	resp, err := http.Post(c.sim+"/sim/charges/"+id+"/pay", "", nil)
	if err != nil {
		c.t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusNoContent {
		c.t.Fatalf("pay %s: %s", id, resp.Status)
	}
}

// charges are the provider's, oldest first.
func (c carrier) charges() (ids []string) {
	c.t.Helper()
	resp, err := http.Get(c.sim + "/sim/ledger")
	if err != nil {
		c.t.Fatal(err)
	}
	defer resp.Body.Close()
	var list []struct{ ID string }
	if err := json.NewDecoder(resp.Body).Decode(&list); err != nil {
		c.t.Fatal(err)
	}
	for _, l := range list {
		ids = append(ids, l.ID)
	}
	return ids
}

// Webhooks of a provider, over a bad network, through the hub and its broker: the
// terminal asks its provider, and only that makes a charge paid. One whose
// webhooks are all lost is paid all the same, and a hub that is killed between an
// answer and the next step loses nothing.
func TestWebhooksOfAFleet(t *testing.T) {
	for provider, test := range map[string]struct {
		forged, valid []string // queries for webhooks
	}{
		"bspay": {
			[]string{"fault=bad_mac", "fault=wrong_secret", "fault=signed_time", "fault=stale", "fault=reserialised", "form=webhook&fault=bad_mac"},
			[]string{"", "form=webhook"},
		},
		"bspaybr": {
			[]string{"fault=bad_mac", "fault=wrong_secret", "fault=unsigned", "fault=reserialised", "form=upstream&fault=bad_mac"},
			[]string{"", "form=enveloped", "form=upstream", "form=upstream_envelope"},
		},
		"basspago": {nil, []string{""}}, // signs nothing
	} {
		t.Run(provider, func(t *testing.T) {
			addr := freeAddress(t)
			r := newFleetRigWith(t, webhookTable(t, provider, addr), provider, "--pay-after", "0s")
			c := carrier{t, r.simURL, "http://" + addr + "/" + testPath}

			// Forged ones change nothing, whatever they say.
			r.charge()
			r.charge()
			r.charge()
			ids := c.charges()
			if len(ids) != 3 {
				t.Fatalf("the provider has %q", ids)
			}
			c.pay(ids[0])
			for _, query := range test.forged {
				for _, d := range c.due(query) {
					if code := c.bring(d); code != http.StatusForbidden {
						t.Errorf("%s: answered %d", query, code)
					}
				}
			}
			if got := must(t, r.data, "webhook", "list"); got != "no webhooks\n" {
				t.Errorf("forged webhooks left %s", got)
			}

			// True ones come six times, in every form and any order.
			var all []delivery
			for _, query := range test.valid {
				for range 6 {
					all = append(all, c.due(query)...)
				}
			}
			rand.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
			for _, d := range all {
				if code := c.bring(d); code != http.StatusOK {
					t.Errorf("answered %d", code)
				}
			}
			r.paid(1)
			wantTold(t, r, ids[0])

			// The hub is killed when it has answered, and the terminal is away.
			r.agent.end(syscall.SIGTERM)
			eventually(t, "the hub knows that the terminal is away", func() bool {
				p := r.show().Presence
				return p != nil && !p.On
			})
			c.pay(ids[1])
			for _, d := range c.due(test.valid[0]) {
				if code := c.bring(d); code != http.StatusOK {
					t.Errorf("answered %d", code)
				}
			}
			r.hub.end(syscall.SIGKILL)
			r.startHub()
			for _, d := range c.due(test.valid[0]) {
				if code := c.bring(d); code != http.StatusOK {
					t.Errorf("again: answered %d", code)
				}
			}
			r.startAgent(r.agent.cmd.Args[len(r.agent.cmd.Args)-1])
			r.paid(2)
			wantTold(t, r, ids[1])

			// All of the third's are lost.
			c.pay(ids[2])
			r.paid(3)
			var status struct{ Webhooks []webhook.Stats }
			if err := json.Unmarshal([]byte(must(t, r.data, "status", "--json")), &status); err != nil {
				t.Fatal(err)
			}
			if s := status.Webhooks; len(s) != 2 || s[1].Source != "psp" || s[1].Known == 0 {
				t.Errorf("status says %+v", s)
			}
		})
	}
}

// wantTold waits until the terminal has answered the hints about what the provider
// calls so.
func wantTold(t *testing.T, r *fleetRig, id string) {
	t.Helper()
	type shown struct {
		hub.WebhookRecord
		Message *hub.Message
	}
	eventually(t, "the terminal has answered the hint about "+id, func() bool {
		told := 0
		for line := range strings.Lines(must(t, r.data, "webhook", "list", "--json")) {
			var rec hub.WebhookRecord
			if err := json.Unmarshal([]byte(line), &rec); err != nil {
				t.Fatal(err)
			}
			if !slices.Contains(rec.Names, id) {
				continue
			}
			var s shown
			if err := json.Unmarshal([]byte(must(t, r.data, "webhook", "show", fmt.Sprint(rec.N), "--json")), &s); err != nil {
				t.Fatal(err)
			}
			if s.State != hub.WebhookMatched || s.Device != r.device {
				t.Fatalf("the hub has %+v", s)
			}
			if s.Message != nil && s.Message.State == hub.Done && s.Message.Res.Code == wire.CodeKnown {
				told++
			}
		}
		return told > 0
	})
}

// The simulator posts its webhooks itself, by a network that loses, repeats,
// holds back and falsifies them: every charge is paid once, and what was forged
// is counted.
func TestWebhooksOverABadNetwork(t *testing.T) {
	addr := freeAddress(t)
	r := newFleetRigWith(t, webhookTable(t, "bspay", addr), "bspay", "--pay-after", "100ms", "--seed", "7",
		"--webhooks", "http://"+addr+"/"+testPath,
		"--faults", "webhook:bad_mac*1,webhook:duplicate=6*4,webhook:delay=200ms@0.5,webhook:reorder@0.3")
	const n = 3
	for range n {
		r.charge()
	}
	r.paid(n)
	var psp webhook.Stats
	eventually(t, "true and forged webhooks have come", func() bool {
		var status struct{ Webhooks []webhook.Stats }
		if err := json.Unmarshal([]byte(must(t, r.data, "status", "--json")), &status); err != nil {
			t.Fatal(err)
		}
		psp = status.Webhooks[1]
		return psp.New > 0 && psp.Known > 0 && psp.Refused[webhook.Signature] > 0
	})
	if psp.New > n {
		t.Errorf("%d events of %d charges", psp.New, n)
	}
	r.paid(n)
}

// A payout of unknown outcome at a provider that gives no ids is cleared up by the
// webhook at its own address, borne out by a status answer, and by no other.
func TestWebhooksClearUpPayouts(t *testing.T) {
	keys, people := crew(t, "ana", "bia")
	sim, err := bspaybrsim.New(bspaybrsim.Options{Balance: 1_000_000})
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
	data, addr := t.TempDir(), freeAddress(t)
	must(t, data, "keys", "make")
	startHub(t, data, "[listen]\naddress = \"127.0.0.1:0\"\n"+people+webhookTable(t, "bspaybr", addr)+fmt.Sprintf(`[[provider]]
name = "conta"
type = "bspaybr"
merchant = "loja"
url = %q
allow_insecure_http = true
client_id = %q
client_secret = %s
requests_per_second = 100
max_payout = "500.00"
max_day = "600.00"
[provider.bspaybr]
callback_url = "https://hub.example.com/wh"
callback_key = %s
owner_name = "Loja Exemplo Ltda"
owner_document = "11222333000181"
`, server.URL, bspaybrsim.DefaultClientID, secretFile(t, bspaybrsim.DefaultClientSecret), secretFile(t, "a-callback-key-of-the-test")))
	if err := sim.Script().Set(simkit.Rule{Route: bspaybrsim.RoutePayment, Fault: simkit.DropAfter}); err != nil {
		t.Fatal(err)
	}
	r := one(t, data, "payout", "propose", "--provider", "conta", "--amount", "150.00", "--pix-key", "12345678909", "--description", "troco", "--by", "ana", "--key", keys["ana"])
	must(t, data, "payout", "approve", string(r.ID), r.Digest, "--by", "bia", "--key", keys["bia"])
	state := func() string { return string(one(t, data, "payout", "show", string(r.ID)).State) }
	eventually(t, "its outcome is unknown", func() bool { return state() == "unknown" })

	c := carrier{t, server.URL, "http://" + addr + "/" + testPath}
	due := c.due("")
	if len(due) != 1 {
		t.Fatalf("%d webhooks are due", len(due))
	}
	forged := due[0]
	forged.Header = http.Header{"X-Signature": {strings.Repeat("0", 64)}}
	if code := c.bring(forged); code != http.StatusForbidden {
		t.Errorf("forged: answered %d", code)
	}
	elsewhere := due[0]
	elsewhere.URL = "https://hub.example.com/wh/0123456789abcdef0123456789abcdef" // of no payout
	if code := c.bring(elsewhere); code != http.StatusOK {
		t.Errorf("elsewhere: answered %d", code)
	}
	if got := state(); got != "unknown" {
		t.Errorf("a webhook made it %s", got)
	}
	if code := c.bring(due[0]); code != http.StatusOK {
		t.Errorf("answered %d", code)
	}
	eventually(t, "the provider has said that it arrived", func() bool { return state() == "settled" })
	if out := must(t, data, "webhook", "list", "--state", "matched"); strings.Count(out, "\n") != 2 || !strings.Contains(out, string(r.ID)) {
		t.Errorf("what is matched:\n%s", out)
	}
	if list := sim.Payouts(); len(list) != 1 || list[0].Amount != 15000 {
		t.Errorf("the provider has %+v", list)
	}
}

// A webhook about a payout that the hub knows by its own id is no stranger's
// business, and has the provider asked.
func TestWebhooksAboutPayouts(t *testing.T) {
	keys, people := crew(t, "ana", "bia")
	_, account := bspayAccount(t, bspaysim.Options{Balance: 1_000_000})
	data, addr := t.TempDir(), freeAddress(t)
	must(t, data, "keys", "make")
	startHub(t, data, "[listen]\naddress = \"127.0.0.1:0\"\n"+people+webhookTable(t, "bspay", addr)+account)
	r := one(t, data, "payout", "propose", "--provider", "conta", "--amount", "150.00", "--pix-key", "12345678909", "--by", "ana", "--key", keys["ana"])
	must(t, data, "payout", "approve", string(r.ID), r.Digest, "--by", "bia", "--key", keys["bia"])
	_, rest, _ := strings.Cut(account, `url = "`)
	url, _, _ := strings.Cut(rest, `"`)
	c := carrier{t, url, "http://" + addr + "/" + testPath}
	var due []delivery
	eventually(t, "the provider reports the payout", func() bool {
		due = c.due("")
		return len(due) == 1
	})
	for range 2 {
		if code := c.bring(due[0]); code != http.StatusOK {
			t.Errorf("answered %d", code)
		}
	}
	if out := must(t, data, "webhook", "list", "--state", "matched"); strings.Count(out, "\n") != 2 || !strings.Contains(out, string(r.ID)) {
		t.Errorf("what is matched:\n%s", out)
	}
	eventually(t, "it is settled", func() bool { return one(t, data, "payout", "show", string(r.ID)).State == "settled" })
}
