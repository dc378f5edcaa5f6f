package bspaybr

import (
	"bytes"
	"crypto/hmac"
	"crypto/md5"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/ssg-safe/agent/money"
	"github.com/ssg-safe/agent/providers"
	"github.com/ssg-safe/agent/providers/bspaybr/bspaybrsim"
	"github.com/ssg-safe/agent/redact"
)

const webhookSecret = redact.Secret(bspaybrsim.DefaultWebhookSecret)

type vector struct{ Name, Key, Body, Message, Hex string }

func vectors(t testing.TB) map[string]vector {
	t.Helper()
	text, err := os.ReadFile("testdata/vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct{ Vectors []vector }
	if err := json.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	all := map[string]vector{}
	for _, v := range file.Vectors {
		all[v.Name] = v
	}
	if len(all) != 6 {
		t.Fatalf("%d vectors, want 6", len(all))
	}
	return all
}

func signature(secret redact.Secret, body string) string {
	m := hmac.New(sha256.New, []byte(secret.Reveal()))
	m.Write([]byte(body)) // a hash never fails
	return hex.EncodeToString(m.Sum(nil))
}

func signed(secret redact.Secret, body string) http.Header {
	return http.Header{"X-Signature": {signature(secret, body)}}
}

func centavos(a money.Amount) *money.Amount { return &a }

// TestWebhookVectors: the four forms, signed as published.
func TestWebhookVectors(t *testing.T) {
	all := vectors(t)
	for name, want := range map[string]Event{
		"bspaybr_webhook_enveloped": {
			Kind: ChargeEvent, Reference: "55aefd02e54e785fbb5a80faa19f8802", TransactionID: "c327ce8bee2a18565ec2m1zdu6px2keu",
			Word: "PAID", Status: providers.StatusPaid, Amount: centavos(1500), At: time.Date(2024, 10, 7, 19, 7, 10, 0, time.UTC),
		},
		"bspaybr_webhook_flat_payment": {
			Kind: PayoutEvent, Reference: "ebceb2b835598ccad73ce42eb5etrh2m5", TransactionID: "798176179",
			Word: "1", Status: providers.StatusPaid, Amount: centavos(100), At: time.Date(2024, 12, 19, 20, 10, 54, 0, time.UTC),
		},
		"bspaybr_webhook_qr_cents": {
			Kind: EitherEvent, Reference: "QRCODE123", Word: "paid", Status: providers.StatusPaid, Amount: centavos(15000),
			EndToEnd: "XYZ987654321", At: time.Date(2025, 5, 8, 17, 5, 0, 0, time.UTC),
		},
		"bspaybr_webhook_generic_cents": {
			Kind: EitherEvent, Reference: "PIXPAY456", Word: "completed", Status: providers.StatusPaid, Amount: centavos(5000),
			EndToEnd: "ABC123XYZ789", At: time.Date(2025, 5, 8, 18, 2, 0, 0, time.UTC),
		},
	} {
		v, ok := all[name]
		if !ok {
			t.Fatalf("no vector %s", name)
		}
		for _, form := range []string{v.Hex, strings.ToUpper(v.Hex)} {
			got, err := ParseWebhook(http.Header{"X-Signature": {form}, "X-Secure-Token": {"anything"}}, []byte(v.Body), redact.Secret(v.Key))
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if d := cmp.Diff(want, got, cmpopts.IgnoreFields(Event{}, "Key")); d != "" || len(got.Key) != 64 {
				t.Errorf("%s: key %q, %s", name, got.Key, d)
			}
		}
		// The same JSON in other bytes is another body.
		var compact bytes.Buffer
		if err := json.Indent(&compact, []byte(v.Body), "", " "); err != nil {
			t.Fatal(err)
		}
		if _, err := ParseWebhook(http.Header{"X-Signature": {v.Hex}}, compact.Bytes(), redact.Secret(v.Key)); !errors.Is(err, ErrSignature) {
			t.Errorf("%s, reserialised: got %v, want ErrSignature", name, err)
		}
	}
}

// TestUpstreamVectors: an upstream envelope whose MD5 is right proves nothing; the
// provider's signature does.
func TestUpstreamVectors(t *testing.T) {
	for name, message := range map[string]string{
		"primepag_md5_qrcode":  `{"value_cents":15000,"reference_code":"QRCODE123","status":"paid","end_to_end":"XYZ987654321"}`,
		"primepag_md5_payment": `{"value_cents":5000,"reference_code":"PIXPAY456","idempotent_id":"idem-0001","status":"completed"}`,
	} {
		v := vectors(t)[name]
		sum := md5.Sum([]byte(v.Message))
		if got := hex.EncodeToString(sum[:]); got != v.Hex {
			t.Fatalf("%s: got %s, want %s", name, got, v.Hex)
		}
		body := fmt.Sprintf(`{"notification_type":"pix","message":%s,"md5":%q}`, message, v.Hex)
		if e, err := ParseWebhook(http.Header{"X-Signature": {v.Hex}}, []byte(body), "SECRETKEY"); !errors.Is(err, ErrSignature) || e != (Event{}) {
			t.Errorf("%s: got %+v (%v), want ErrSignature", name, e, err)
		}
		e, err := ParseWebhook(signed("SECRETKEY", body), []byte(body), "SECRETKEY")
		if err != nil || e.Kind != EitherEvent || e.Reference != strings.Split(v.Message, ".")[1] || e.Status != providers.StatusPaid {
			t.Errorf("%s: got %+v (%v)", name, e, err)
		}
	}
}

// TestWebhooks reads what the simulator sends, in every form, and refuses what is
// wrong. Whatever the form, the status then proves what it says.
func TestWebhooks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, sim, _ := tapped(t, bspaybrsim.Options{Balance: 100000}, nil)
		ch, err := c.CreateCharge(t.Context(), intent(1, 15099))
		if err != nil {
			t.Fatal(err)
		}
		if err := sim.Pay(ch.ProviderID); err != nil {
			t.Fatal(err)
		}
		p, h := payouts(t, c), propose(t, 2, 4200, "12345678909")
		h.send(p)
		if len(sim.Payouts()) != 1 {
			t.Fatalf("got payouts %+v", sim.Payouts())
		}
		keys := map[string]bool{}
		for _, form := range bspaybrsim.Vocabulary().Forms {
			all := sim.Webhooks(form, "")
			if len(all) != 2 {
				t.Fatalf("%s: %d webhooks, want 2", form, len(all))
			}
			kinds := []EventKind{ChargeEvent, PayoutEvent}
			if strings.HasPrefix(form, "upstream") {
				kinds = []EventKind{EitherEvent, EitherEvent}
			}
			urls := []string{c.Callback("T001000000000000000000001", 1), p.PayoutCallback("T001000000000000000000002")}
			ids := []string{ch.ProviderID, sim.Payouts()[0].ID}
			amounts := []money.Amount{15099, 4200}
			for i, d := range all {
				e, err := ParseWebhook(d.Header, []byte(d.Body), webhookSecret)
				if err != nil {
					t.Fatalf("%s: %v", d.Body, err)
				}
				if e.Kind != kinds[i] || e.Reference != ids[i] || e.Status != providers.StatusPaid || *e.Amount != amounts[i] || d.URL != urls[i] ||
					!e.At.Equal(time.Now()) {
					t.Errorf("%s: got %+v at %s", form, e, d.URL)
				}
				keys[e.Key] = true
			}
			for _, fault := range bspaybrsim.Vocabulary().Spoils {
				want := ErrSignature
				if fault == bspaybrsim.UnknownEvent {
					want = ErrMalformed
				}
				for _, d := range sim.Webhooks(form, fault) {
					if e, err := ParseWebhook(d.Header, []byte(d.Body), webhookSecret); !errors.Is(err, want) || e != (Event{}) {
						t.Errorf("%s, %s: got %+v (%v), want %v", form, fault, e, err, want)
					}
				}
			}
		}
		// Bare or enveloped, an event has one key.
		if len(keys) != 4 {
			t.Errorf("%d keys for two events in two forms, want 4", len(keys))
		}
		got, err := c.GetCharge(t.Context(), providers.Ref{Charge: "T001000000000000000000001", Attempt: 1, ProviderID: ch.ProviderID})
		if err != nil || got.Status != providers.StatusPaid || *got.Amount != 15099 {
			t.Errorf("got %+v (%v)", got, err)
		}
	})
}

// TestWebhookEdges: what is signed and must not pass all the same.
func TestWebhookEdges(t *testing.T) {
	for _, tt := range []struct {
		body   string
		status providers.Status // "": malformed
	}{
		{`{"transactionType":"RECEIVEPIX","transactionId":"t","status":"PAID"}`, providers.StatusPaid},
		{`{"requestBody":{"message":{"transactionType":"RECEIVEPIX","transactionId":"t","status":"PENDING"}}}`, providers.StatusPending},
		{`{"requestBody":null,"transactionType":"RECEIVEPIX","transactionId":7,"status":"CANCELED"}`, providers.StatusCancelled},
		{`{"message":"text","transactionType":"RECEIVEPIX","transactionId":"t","status":"refunded?"}`, providers.StatusUncertain},
		{`{"transactionType":"PAYMENT","transactionId":"t","statusCode":{"statusId":2,"description":"Pagamento aprovado"}}`, providers.StatusUncertain},
		{`{"transactionType":"PAYMENT","transactionId":"t","statusCode":{"statusId":"1"}}`, providers.StatusPaid},
		{`{"transactionType":"PAYMENT","transactionId":"t","statusCode":{"statusId":10}}`, providers.StatusUncertain},
		{`{"value_cents":100,"reference_code":"r","status":"error"}`, providers.StatusFailed},
		{`{"transactionType":"RECEIVEPIX","transactionId":"t","status":"PAID","amount":1.00,"value_cents":100}`, providers.StatusPaid},
		{`{"transactionType":"RECEIVEPIX","transactionId":"t","status":"PAID","amount":1.00,"value_cents":101}`, ""},
		{`{"transactionType":"RECEIVEPIX","transactionId":"t","status":"PAID","amount":"1,00"}`, ""},
		{`{"transactionType":"RECEIVEPIX","transactionId":"t","status":"PAID","amount":-1}`, ""},
		{`{"transactionType":"RECEIVEPIX","status":"PAID","amount":1}`, ""},
		{`{"transactionType":"RECEIVEPIX","transactionId":"t"}`, ""},
		{`{"transactionType":"PAYMENT","transactionId":"t","status":"PAID"}`, ""},
		{`{"transactionType":"REFUND","transactionId":"t","status":"PAID","value_cents":1}`, ""},
		{`{"value_cents":1.5,"reference_code":"r","status":"paid"}`, ""},
		{`{"reference_code":"r","status":"paid"}`, ""},
		{`{"value_cents":1,"reference_code":"r","external_id":"s","status":"paid"}`, ""},
		{`{"value_cents":1,"reference_code":"a b","status":"paid"}`, ""},
		{`{"value_cents":1,"reference_code":"r","status":"paid","Status":"error"}`, ""},
		{`{"requestBody":{"requestBody":{"requestBody":{"transactionType":"RECEIVEPIX","transactionId":"t","status":"PAID"}}}}`, ""},
		{`[{"value_cents":1,"reference_code":"r","status":"paid"}]`, ""},
		{``, ""},
	} {
		e, err := ParseWebhook(signed("k", tt.body), []byte(tt.body), "k")
		if e.Status != tt.status || tt.status == "" && (!errors.Is(err, ErrMalformed) || e != (Event{})) {
			t.Errorf("%s: got %+v (%v), want %q", tt.body, e, err, tt.status)
		}
	}
	const body = `{"value_cents":1,"reference_code":"r","status":"paid"}`
	for name, h := range map[string]http.Header{
		"none": {}, "no hex": {"X-Signature": {"zz"}}, "half": {"X-Signature": {signature("k", body)[:32]}},
		"prefixed": {"X-Signature": {"sha256=" + signature("k", body)}}, "token": {"X-Secure-Token": {signature("k", body)}},
	} {
		if _, err := ParseWebhook(h, []byte(body), "k"); !errors.Is(err, ErrSignature) {
			t.Errorf("%s: got %v, want ErrSignature", name, err)
		}
	}
	if _, err := ParseWebhook(signed("", body), []byte(body), ""); !errors.Is(err, ErrSignature) {
		t.Errorf("no secret configured: got %v, want ErrSignature", err)
	}
}
