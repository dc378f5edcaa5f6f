package main

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ssg-safe/agent/fleet/wire"
	"github.com/ssg-safe/agent/hub"
	"github.com/ssg-safe/agent/hub/bolt"
	"github.com/ssg-safe/agent/hub/webhook"
	"github.com/ssg-safe/agent/internal/config"
	"github.com/ssg-safe/agent/payout"
	"github.com/ssg-safe/agent/providers/bspay"
	"github.com/ssg-safe/agent/providers/bspaybr"
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
	s, err := WebhookConfig{Address: "127.0.0.1:0", BehindProxy: true, Providers: providers}.server(h, nil, nil)
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
		Name: "bspay", Path: redact.Secret(testPath + "bspay"), Read: func(webhook.Request) ([]hub.Webhook, error) {
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

// A doorbell is a ring: one that names no charge is answered, and nothing is kept.
func TestDoorbells(t *testing.T) {
	r := newReceiver(t, WebhookProvider{Type: "basspago"})
	for _, body := range []string{`{"referenceNumber":"R1","externalId":"X1","status":"APPROVED","payment":{"pagadorNome":"MARIA CANARIO","pagadorInscricaoNacional":"12345678909"}}`, "", "ding", `[1]`} {
		for range 2 {
			if code := r.post("basspago", body); code != http.StatusOK {
				t.Errorf("%q: answered %d", body, code)
			}
		}
	}
	if list := r.records(); len(list) != 0 {
		t.Errorf("recorded %+v", list)
	}
	if text := mustJSON(t, r.records()); strings.Contains(text, "CANARIO") || strings.Contains(text, "12345678909") || strings.Contains(text, "X1") {
		t.Errorf("kept: %s", text)
	}
	got := readDoorbell([]byte(`{"a":{"b":["X1","Maria Silva",{"c":"X2"}]},"d":7,"e":"` + strings.Repeat("x", 65) + `"}`))
	if len(got) != 1 || !slices.Equal(got[0].Names, []string{"X1", "X2"}) {
		t.Errorf("names %q", got[0].Names)
	}
}

func FuzzDoorbell(f *testing.F) {
	f.Add([]byte(`{"externalId":"X1","x":[{"y":"z"}]}`))
	f.Add([]byte(``))
	f.Fuzz(func(t *testing.T, body []byte) {
		for _, e := range readDoorbell(body) {
			for _, name := range e.Names {
				if name == "" || len(name) > 64 {
					t.Errorf("name %q", name)
				}
			}
			if len(e.Names) > 16 || e.Paid || !e.Guessed {
				t.Errorf("read %+v", e)
			}
		}
	})
}

func mustJSON(t *testing.T, v any) string {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestWebhooksOfLongNames: an event that is called longer than the hub keeps is one that
// cannot be read. It is not refused: its provider would send it for ever.
func TestWebhooksOfLongNames(t *testing.T) {
	long := strings.Repeat("x", 64)
	r := newReceiver(t, WebhookProvider{Type: "bspay", CallbackSecret: secret("k")}, WebhookProvider{Type: "bspaybr", WebhookSecret: secret("k")})
	for source, sent := range map[string]struct{ header, body string }{
		"bspay":   {"X-BSPay-Signature", `{"event":"x` + long + `","transaction_id":"T1"}`},
		"bspaybr": {"X-SIGNATURE", `{"value_cents":1,"reference_code":"R1","status":"` + long + `"}`},
	} {
		m := hmac.New(sha256.New, []byte("k"))
		m.Write([]byte(sent.body))
		if code := r.post(source, sent.body, sent.header, hex.EncodeToString(m.Sum(nil))); code != http.StatusOK {
			t.Errorf("%s: answered %d", source, code)
		}
	}
	for _, rec := range r.records() {
		if rec.Kind != "unread" {
			t.Errorf("got %+v", rec)
		}
	}
}

// TestCallbacksDoNotWait: what comes to callback addresses is looked after elsewhere, once
// for many. A look goes through every payout that there ever was.
func TestCallbacksDoNotWait(t *testing.T) {
	p := &payoutHints{callbacks: map[string]func(payout.ID) string{"conta": nil}, wake: make(chan struct{}, 1)} // and no store to look at
	for range 100 {
		p.received(t.Context(), []hub.Webhook{{Kind: "charge.paid", Names: []string{"R1", bspaybr.CallbackName("0123456789abcdef")}}})
	}
	if len(p.wake) != 1 {
		t.Error("nobody looks")
	}
}
