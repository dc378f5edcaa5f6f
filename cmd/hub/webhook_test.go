package main

import (
	"context"
	"encoding/json"
	"errors"
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
	"time"

	"github.com/ssg-safe/agent/fleet/wire"
	"github.com/ssg-safe/agent/hub"
	"github.com/ssg-safe/agent/hub/bolt"
	"github.com/ssg-safe/agent/hub/webhook"
	"github.com/ssg-safe/agent/internal/config"
	"github.com/ssg-safe/agent/providers/bspay"
	"github.com/ssg-safe/agent/redact"
)

// receiver is the reception of a configuration, on a store of its own.
type receiver struct {
	t      *testing.T
	server *webhook.Server
	hub    *hub.Hub
	store  *bolt.Store
}

type still struct{}

func (still) Run(ctx context.Context, _ func(string, []byte, func())) error {
	<-ctx.Done()
	return nil
}
func (still) Send(string, []byte) error { return nil }

const testPath = "TESTTESTTESTTESTTESTTESTTE"

func newReceiver(t *testing.T, providers ...WebhookProvider) *receiver {
	t.Helper()
	st, err := bolt.Open(bolt.Options{Path: filepath.Join(t.TempDir(), "hub.db")})
	if err != nil {
		t.Fatal(err)
	}
	signer, err := wire.NewSigner(keyOf(200))
	if err != nil {
		t.Fatal(err)
	}
	h, err := hub.New(hub.Options{Store: st, Signer: signer})
	if err != nil {
		t.Fatal(err)
	}
	for i := range providers {
		providers[i].Name = providers[i].Type
		providers[i].Path = config.Secret{Source: "env", Value: redact.Secret(testPath + providers[i].Type)}
	}
	s, err := WebhookConfig{Address: "127.0.0.1:0", BehindProxy: true, Providers: providers}.server(h, nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- h.Run(ctx, still{}) }()
	t.Cleanup(func() {
		stop()
		if err := errors.Join(<-ended, st.Close()); err != nil {
			t.Error(err)
		}
	})
	return &receiver{t, s, h, st}
}

func secret(value string) config.Secret {
	return config.Secret{Source: "env", Value: redact.Secret(value)}
}

// post delivers a body with headers in pairs.
func (r *receiver) post(provider, body string, headers ...string) int {
	r.t.Helper()
	req := httptest.NewRequest("POST", "/"+testPath+provider, strings.NewReader(body))
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	r.server.ServeHTTP(w, req)
	return w.Code
}

func (r *receiver) records() (list []hub.WebhookRecord) {
	r.t.Helper()
	err := r.store.View(r.t.Context(), func(tx hub.Tx) (err error) {
		list, err = hub.Webhooks(tx, 1000)
		return err
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return list
}

type vector struct{ Name, Key, Body, Hex, Timestamp string }

func webhookVectors(t *testing.T, provider string) map[string]vector {
	t.Helper()
	var file struct{ Vectors []vector }
	if err := json.Unmarshal([]byte(readDoc(t, "providers", provider, "testdata", "vectors.json")), &file); err != nil {
		t.Fatal(err)
	}
	all := make(map[string]vector)
	for _, v := range file.Vectors {
		all[v.Name] = v
	}
	return all
}

// The reference vectors come through, in both dialects and every form of a
// signature; what differs in a byte, a time or a secret does not, and leaves
// nothing.
func TestBspayWebhooks(t *testing.T) {
	all := webhookVectors(t, "bspay")
	v, other := all["bspay_webhook_rawbody"], all["bspay_webhook_ts_dot_body_variant"]
	r := newReceiver(t, WebhookProvider{Type: "bspay", CallbackSecret: secret(v.Key), WebhookSecret: secret(v.Key)})
	now := time.Now()
	stamp := func(age time.Duration) string { return fmt.Sprint(now.Add(-age).Unix()) }
	again := strings.Replace(v.Body, "200.00", "200.0", 1)
	for name, test := range map[string]struct {
		body    string
		headers []string
	}{
		"another scheme": {other.Body, []string{"X-BSPay-Signature", other.Hex, "X-BSPay-Timestamp", other.Timestamp}},
		"re-serialised":  {again, []string{"X-BSPay-Signature", v.Hex}},
		"a space more":   {v.Body + " ", []string{"X-BSPay-Signature", v.Hex}},
		"301 s old":      {v.Body, []string{"X-BSPay-Signature", v.Hex, "X-BSPay-Timestamp", stamp(302 * time.Second)}},
		"from tomorrow":  {v.Body, []string{"X-Webhook-Signature", v.Hex, "X-Webhook-Timestamp", stamp(-24 * time.Hour)}},
		"no signature":   {v.Body, nil},
		"half of it":     {v.Body, []string{"X-BSPay-Signature", v.Hex[:32]}},
		"one of two":     {v.Body, []string{"X-BSPay-Signature", v.Hex, "X-Webhook-Signature", strings.Repeat("0", 64)}},
		"other header":   {v.Body, []string{"X-Signature", v.Hex}},
	} {
		if code := r.post("bspay", test.body, test.headers...); code != http.StatusForbidden {
			t.Errorf("%s: answered %d, want 403", name, code)
		}
	}
	if got := r.records(); len(got) > 0 {
		t.Fatalf("recorded %+v", got)
	}
	for _, headers := range [][]string{
		{"X-BSPay-Signature", v.Hex, "X-Sandbox", "1"}, // of which nothing is kept
		{"X-BSPay-Signature", v.Hex},
		{"X-Webhook-Signature", strings.ToUpper(v.Hex), "X-Webhook-Timestamp", stamp(0), "X-Webhook-Event", "cashin.confirmed"},
		{"X-BSPay-Signature", "sha256=" + v.Hex, "X-BSPay-Timestamp", stamp(298 * time.Second)},
	} {
		if code := r.post("bspay", v.Body, headers...); code != http.StatusOK {
			t.Errorf("%q: answered %d, want 200", headers, code)
		}
		if want := 1; headers[len(headers)-1] != "1" && len(r.records()) != want {
			t.Errorf("recorded %d times, want once", len(r.records()))
		} else if headers[len(headers)-1] == "1" && len(r.records()) > 0 {
			t.Error("a test event was kept")
		}
	}
	if got := r.records()[0]; got.Kind != "cashin.confirmed" || !slices.Contains(got.Names, "tx_01") || !slices.Contains(got.Names, "rt-000123-1") || !got.Paid {
		t.Errorf("recorded %+v", got)
	}
}

// A mutant that does not verify is noticed: this is what the test above would
// see.
func TestUnverifiedWebhooksAreNoticed(t *testing.T) {
	v := webhookVectors(t, "bspay")["bspay_webhook_rawbody"]
	r := newReceiver(t, WebhookProvider{Type: "bspay", CallbackSecret: secret(v.Key)})
	mutant, err := webhook.New(webhook.Options{Hub: r.hub, Sources: []webhook.Source{{
		Name: "bspay", Path: redact.Secret(testPath + "bspay"), Read: func(_ http.Header, body []byte, _ time.Time) ([]hub.Webhook, error) {
			return readBspay(http.Header{"X-Bspay-Signature": {v.Hex}}, []byte(v.Body), bspay.WebhookSecrets{Callback: redact.Secret(v.Key)}, time.Now())
		},
	}}})
	if err != nil {
		t.Fatal(err)
	}
	r.server = mutant
	if code := r.post("bspay", v.Body+" "); code != http.StatusOK || len(r.records()) != 1 {
		t.Errorf("answered %d and recorded %d: the difference cannot be seen", code, len(r.records()))
	}
}

func TestBspaybrWebhooks(t *testing.T) {
	all := webhookVectors(t, "bspaybr")
	names := []string{"bspaybr_webhook_enveloped", "bspaybr_webhook_flat_payment", "bspaybr_webhook_qr_cents", "bspaybr_webhook_generic_cents"}
	r := newReceiver(t, WebhookProvider{Type: "bspaybr", WebhookSecret: secret(all[names[0]].Key)})
	for i, name := range names {
		v := all[name]
		for _, bad := range []string{"", strings.Repeat("0", 64), v.Hex[2:]} {
			if code := r.post("bspaybr/0123456789abcdef", v.Body, "X-SIGNATURE", bad); code != http.StatusForbidden {
				t.Errorf("%s forged: answered %d", name, code)
			}
		}
		if code := r.post("bspaybr", " "+v.Body, "X-SIGNATURE", v.Hex); code != http.StatusForbidden {
			t.Errorf("%s re-serialised: answered %d", name, code)
		}
		for range 6 {
			if code := r.post("bspaybr/0123456789abcdef", v.Body, "X-SIGNATURE", v.Hex, "X-SECURE-TOKEN", "x"); code != http.StatusOK {
				t.Errorf("%s: answered %d", name, code)
			}
		}
		if got := r.records(); len(got) != i+1 || len(got[i].Names) == 0 {
			t.Fatalf("%s: recorded %+v", name, got)
		}
	}
	if text := mustJSON(t, r.records()); strings.Contains(text, "document") || strings.Contains(text, "generator") {
		t.Errorf("kept of people: %s", text)
	}
}

func TestBacenWebhooks(t *testing.T) {
	r := newReceiver(t, WebhookProvider{Type: "bacen"})
	pix := func(n int, more string) string {
		return fmt.Sprintf(`{"endToEndId":"E0000000020260101000%daaaaaaaaaaa","txid":"T00100000000000000000000011","valor":"10.00","horario":"2026-01-01T00:01:00Z","pagador":{"cpf":"12345678909","nome":"MARIA CANARIO"},"infoPagador":"CANARIO"%s}`, n, more)
	}
	for _, body := range []string{pix(1, ""), `{"pix":[` + pix(1, "") + "," + pix(2, "") + "]}", pix(2, `,"devolucoes":[{"id":"d","rtrId":"D","valor":"1.00","status":"DEVOLVIDO"}]`), `{"evento":"teste_webhook"}`} {
		for range 2 {
			if code := r.post("bacen/pix", body); code != http.StatusOK {
				t.Errorf("answered %d", code)
			}
		}
	}
	var kinds []string
	for _, rec := range r.records() {
		kinds = append(kinds, rec.Kind)
	}
	if want := []string{"pix", "pix", "pix.devolucao", "unread"}; !slices.Equal(kinds, want) {
		t.Errorf("recorded %q, want %q", kinds, want)
	}
	if text := mustJSON(t, r.records()); strings.Contains(text, "CANARIO") || strings.Contains(text, "12345678909") {
		t.Errorf("kept of people: %s", text)
	}
}

func mustJSON(t *testing.T, v any) string {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
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
		secrets       string
		forged, valid []string // queries for webhooks
	}{
		"bspay": {
			"callback_secret = { file = \"DIR/callback\" }\nwebhook_secret = { file = \"DIR/webhook\" }\n",
			[]string{"fault=bad_mac", "fault=wrong_secret", "fault=signed_time", "fault=stale", "fault=reserialised", "dialect=webhook&fault=bad_mac"},
			[]string{"", "dialect=webhook"},
		},
		"bspaybr": {
			"webhook_secret = { file = \"DIR/webhook\" }\n",
			[]string{"fault=bad_mac", "fault=wrong_secret", "fault=unsigned", "fault=reserialised", "form=upstream&fault=bad_mac"},
			[]string{"", "form=enveloped", "form=upstream", "form=upstream_envelope"},
		},
	} {
		t.Run(provider, func(t *testing.T) {
			files := t.TempDir()
			for name, text := range map[string]string{"path": testPath, "callback": "sim-callback-secret", "webhook": "sim-webhook-secret"} {
				if err := os.WriteFile(filepath.Join(files, name), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			addr := freeAddress(t)
			table := fmt.Sprintf("[webhook]\naddress = %q\nbehind_proxy = true\n[[webhook.provider]]\nname = \"psp\"\ntype = %q\npath = { file = \"DIR/path\" }\n%s", addr, provider, test.secrets)
			table = strings.ReplaceAll(table, "DIR", files)
			r := newFleetRigWith(t, provider, "0s", table)
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
