package bspay

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ssg-safe/agent/providers/bspay/bspaysim"
	"github.com/ssg-safe/agent/redact"
)

var webhookSecrets = WebhookSecrets{Callback: "sim-callback-secret", Webhook: "sim-webhook-secret"}

func TestWebhookVectors(t *testing.T) {
	all := vectors(t)
	v := all["bspay_webhook_rawbody"]
	secrets := WebhookSecrets{Callback: redact.Secret(v.Key), Webhook: redact.Secret(v.Key)}
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, prefix := range []string{"X-BSPay-", "X-Webhook-"} {
		for _, form := range []string{v.Hex, strings.ToUpper(v.Hex), "sha256=" + v.Hex} {
			e, err := ParseWebhook(http.Header{http.CanonicalHeaderKey(prefix + "Signature"): {form}}, []byte(v.Body), secrets, at)
			if err != nil {
				t.Fatalf("%s %s: %v", prefix, form, err)
			}
			if e.Kind != CashinConfirmed || e.TransactionID != "tx_01" || e.ExternalID != "rt-000123-1" || e.Status != "paid" || e.Amount == nil || *e.Amount != 20000 ||
				e.EndToEnd != "E18236120202601010000s0000000001" || !e.Known || e.Sandbox || len(e.Key) != 64 {
				t.Errorf("got %+v", e)
			}
		}
	}
	other := all["bspay_webhook_ts_dot_body_variant"]
	h := http.Header{"X-Bspay-Signature": {other.Hex}, "X-Bspay-Timestamp": {other.Timestamp}}
	if _, err := ParseWebhook(h, []byte(other.Body), secrets, at); !errors.Is(err, ErrSignature) {
		t.Errorf("the scheme that is not the provider's: got %v, want ErrSignature", err)
	}
}

// TestWebhooks reads what the simulator sends about everything that can happen,
// in both dialects, and refuses what is wrong.
func TestWebhooks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, sim := newClient(t, bspaysim.Options{Balance: 100000}, nil)
		ids := map[EventKind]string{}
		for n, kind := range []EventKind{CashinConfirmed, CashinExpired, CashinRefunded, ChargebackOpened} {
			ch, err := c.CreateCharge(t.Context(), intent(n, 100))
			if err != nil {
				t.Fatal(err)
			}
			switch ids[kind] = ch.ProviderID; kind {
			case CashinExpired:
				err = sim.Expire(ch.ProviderID)
			case CashinRefunded:
				err = errors.Join(sim.Pay(ch.ProviderID), sim.Refund(ch.ProviderID))
			case ChargebackOpened:
				err = sim.Pay(ch.ProviderID)
				if _, e := sim.Dispute(ch.ProviderID); e != nil {
					t.Fatal(e)
				}
			default:
				err = sim.Pay(ch.ProviderID)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		if _, err := c.Transfer(t.Context(), Transfer{Username: "outra", Amount: "1.00", Currency: "BRL", ExternalID: "t"}); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Convert(t.Context(), Conversion{Amount: "10.00", From: "BRL", To: "USDT", ExternalID: "c"}); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Withdraw(t.Context(), Withdrawal{ExternalID: "w", Amount: "1", Currency: "USDT", Key: "nobody"}); err != nil {
			t.Fatal(err)
		}
		keys := map[string]bool{}
		for _, dialect := range []string{"bspay", "webhook"} {
			got := map[EventKind]int{}
			for _, d := range sim.Webhooks(dialect, "") {
				e, err := ParseWebhook(d.Header, []byte(d.Body), webhookSecrets, time.Now())
				if err != nil {
					t.Fatalf("%s: %v", d.Body, err)
				}
				got[e.Kind]++
				keys[e.Key] = true
				if want := ids[e.Kind]; !e.Known || e.Kind != CashinConfirmed && want != "" && e.TransactionID != want {
					t.Errorf("got %+v, want it to be about %q", e, want)
				}
				if e.Kind == CashoutFailed && e.Reason != "PIX_KEY_NOT_FOUND" {
					t.Errorf("got reason %q", e.Reason)
				}
			}
			for kind, n := range map[EventKind]int{
				CashinConfirmed: 2, CashinExpired: 1, CashinRefunded: 1, ChargebackOpened: 1, TransferConfirmed: 1, ConversionConfirmed: 1, CashoutFailed: 1,
			} {
				if got[kind] != n {
					t.Errorf("%s: %d of %s, want %d", dialect, got[kind], kind, n)
				}
			}
		}
		// A second delivery, in another dialect or a year later, has the same key.
		if len(keys) != 8 {
			t.Errorf("%d keys for eight events delivered twice", len(keys))
		}
		for fault, want := range map[string]error{
			bspaysim.BadMAC: ErrSignature, bspaysim.WrongSecret: ErrSignature, bspaysim.SignedTime: ErrSignature,
			bspaysim.Reserialised: ErrSignature, bspaysim.Stale: ErrStale,
		} {
			for _, d := range sim.Webhooks("bspay", fault) {
				if e, err := ParseWebhook(d.Header, []byte(d.Body), webhookSecrets, time.Now()); !errors.Is(err, want) || e != (Event{}) {
					t.Errorf("%s: got %+v (%v), want %v and nothing else", fault, e, err, want)
				}
			}
		}
		for _, d := range sim.Webhooks("webhook", bspaysim.UnknownEvent) {
			if e, err := ParseWebhook(d.Header, []byte(d.Body), webhookSecrets, time.Now()); err != nil || e.Known || e.Kind != "cashin.reconsidered" {
				t.Errorf("unknown event: got %+v (%v)", e, err)
			}
		}
		for _, d := range sim.Webhooks("webhook", bspaysim.Sandbox) {
			if e, err := ParseWebhook(d.Header, []byte(d.Body), webhookSecrets, time.Now()); err != nil || !e.Sandbox {
				t.Errorf("test event: got %+v (%v)", e, err)
			}
		}
	})
}

// TestWebhookEdges: the window's edges, and what else must not pass.
func TestWebhookEdges(t *testing.T) {
	const body = `{"event":"cashin.confirmed","transaction_id":"tx","data":{"status":"confirmed","amount":"1.00"}}`

	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	header := func(pairs ...string) http.Header {
		h := http.Header{}
		for i := 0; i < len(pairs); i += 2 {
			h.Set(pairs[i], pairs[i+1])
		}
		return h
	}
	mac := func(body string) string { return "sha256=" + webhookMAC("sim-callback-secret", body) }
	for _, tt := range []struct {
		name   string
		header http.Header
		body   string
		want   error
	}{
		{"no time", header("X-BSPay-Signature", mac(body)), body, nil},
		{"300 s", header("X-BSPay-Signature", mac(body), "X-BSPay-Timestamp", "1767225300"), body, nil},
		{"301 s", header("X-BSPay-Signature", mac(body), "X-BSPay-Timestamp", "1767225299"), body, ErrStale},
		{"300 s ahead", header("X-BSPay-Signature", mac(body), "X-BSPay-Timestamp", "2026-01-01T00:05:00Z"), body, nil},
		{"301 s ahead", header("X-BSPay-Signature", mac(body), "X-BSPay-Timestamp", "2026-01-01T00:05:01Z"), body, ErrStale},
		{"no such time", header("X-BSPay-Signature", mac(body), "X-BSPay-Timestamp", "soon"), body, ErrStale},
		{"huge time", header("X-BSPay-Signature", mac(body), "X-BSPay-Timestamp", "9223372036854775807"), body, ErrStale},
		{"no signature", header(), body, ErrSignature},
		{"no hex", header("X-BSPay-Signature", "zz"), body, ErrSignature},
		{"half a signature", header("X-BSPay-Signature", webhookMAC("sim-callback-secret", body)[:32]), body, ErrSignature},
		{"the other set's secret", header("X-Webhook-Signature", mac(body)), body, ErrSignature},
		{"one right, one wrong", header("X-BSPay-Signature", mac(body), "X-Webhook-Signature", mac(body)), body, ErrSignature},
		{"another event in the header", header("X-BSPay-Signature", mac(body), "X-BSPay-Event", "cashin.refunded"), body, ErrMalformed},
		{"twice", header("X-BSPay-Signature", mac(`{"event":"a","event":"b","transaction_id":"t"}`)), `{"event":"a","event":"b","transaction_id":"t"}`, ErrMalformed},
		{"no id", header("X-BSPay-Signature", mac(`{"event":"a"}`)), `{"event":"a"}`, ErrMalformed},
		{"no event", header("X-BSPay-Signature", mac(`{"transaction_id":"t"}`)), `{"transaction_id":"t"}`, ErrMalformed},
		{"half a centavo", header("X-BSPay-Signature", mac(`{"event":"a","transaction_id":"t","data":{"amount":0.005}}`)), `{"event":"a","transaction_id":"t","data":{"amount":0.005}}`, ErrMalformed},
	} {
		_, err := ParseWebhook(tt.header, []byte(tt.body), webhookSecrets, now)
		if tt.want == nil && err != nil || tt.want != nil && !errors.Is(err, tt.want) {
			t.Errorf("%s: got %v, want %v", tt.name, err, tt.want)
		}
	}
	if _, err := ParseWebhook(header("X-BSPay-Signature", webhookMAC("", body)), []byte(body), WebhookSecrets{}, now); !errors.Is(err, ErrSignature) {
		t.Errorf("no secret configured: got %v, want ErrSignature", err)
	}
}
