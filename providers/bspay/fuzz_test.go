package bspay

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/ssg-safe/agent/pix"
	"github.com/ssg-safe/agent/providers"
	"github.com/ssg-safe/agent/providers/internal/brcode"
	"github.com/ssg-safe/agent/redact"
)

func webhookMAC(secret redact.Secret, body string) string {
	m := hmac.New(sha256.New, []byte(secret.Reveal()))
	m.Write([]byte(body)) // a hash never fails
	return hex.EncodeToString(m.Sum(nil))
}

var bodies = []string{
	``, `null`, `{}`, `[]`, `{"success":true}`, `{"success":true,"data":null}`, `{"success":"true","data":{}}`,
	`{"success":true,"data":{"transaction_id":"tx_01","payment_info":{"qrcode":"000201","expires_at":"2026-01-01T00:10:00Z"}},"request_id":"r1"}`,
	`{"success":true,"data":{"items":[{"transaction_id":"tx_01","external_id":"rt-1","status":"confirmed","amount":200.00,"currency":"BRL","e2e_id":"E1"}]}}`,
	`{"success":true,"data":[{"id":"tx","status":"pending","amount":"1.00"}]}`, `{"success":true,"data":{"list":[1]}}`,
	`{"success":true,"data":{"rows":[{"transaction_id":7,"status":"x","amount":1e400}]}}`,
	`{"success":false,"error":{"code":"INVALID_AMOUNT","message":"m","group":"g","retryable":false}}`,
	`{"error":"invalid_client","error_description":"d"}`, `{"success":false,"Success":true,"data":{}}`,
	`{"event":"cashin.confirmed","timestamp":"2026-01-01T00:00:00Z","transaction_id":"tx_01","data":{"transaction_id":"tx_01","external_id":"rt-000123-1","status":"confirmed","amount":200.00,"currency":"BRL","e2e_id":"E18236120202601010000s0000000001"}}`,
	`{"event":"wallet_deposit","data":{"transaction_id":"t","amount":"0.1","currency":"BTC"}}`,
	`{"event":"chargeback.opened","data":{"infraction_id":"i"}}`,
}

// FuzzAnswer reads any bytes as every kind of answer.
func FuzzAnswer(f *testing.F) {
	for _, s := range bodies {
		f.Add([]byte(s))
	}
	h := providers.HTTP{Provider: Name}
	f.Fuzz(func(t *testing.T, body []byte) {
		failed := parseFailure(body)
		e := h.Fail(providers.Call{Op: "x"}, failed.kind(422, true), providers.Answer{}, failed.code, failed.message, nil)
		if n := len([]rune(e.Error())); n > 400 {
			t.Errorf("an error of %d characters", n)
		}
		data, err := payload(body)
		if err != nil {
			return
		}
		if v, err := decode(data); err == nil {
			for _, b := range balances(v, "", nil) {
				if !isCurrency(b.Currency) || !isDecimal(b.Available) {
					t.Errorf("took balance %+v", b)
				}
			}
		}
		if o, err := parseObject(data); err == nil && o.code() != "" && len(brcode.Check(o.code(), brcode.Want{Amount: 100})) == 0 {
			parsed, err := pix.Parse(o.code())
			if cents, ok := parsed.Cents(); err != nil || ok && cents != 100 {
				t.Errorf("took code %q: %v", o.code(), err)
			}
		}
		list, err := rows(data)
		if err != nil {
			return
		}
		for _, o := range list {
			tx, err := o.transaction()
			if err != nil {
				continue
			}
			if tx.ID == "" || tx.Word == "" || tx.Status == "" {
				t.Errorf("took transaction %+v", tx)
			}
			if tx.Status == providers.StatusPaid && !strings.EqualFold(tx.Word, "confirmed") {
				t.Errorf("took %q for paid", tx.Word)
			}
		}
	})
}

func FuzzWebhook(f *testing.F) {
	for _, s := range bodies {
		f.Add([]byte(s), "1767225600")
	}
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, body []byte, timestamp string) {
		h := http.Header{"X-Bspay-Signature": {webhookMAC("s", string(body))}, "X-Bspay-Timestamp": {timestamp}}
		e, err := ParseWebhook(h, body, WebhookSecrets{Callback: "s"}, now)
		if err != nil {
			if e != (Event{}) {
				t.Errorf("an event %+v together with %v", e, err)
			}
			return
		}
		if e.Kind == "" || len(e.Key) != 64 || e.TransactionID == "" && e.InfractionID == "" {
			t.Errorf("took %+v", e)
		}
		again, err := ParseWebhook(h, body, WebhookSecrets{Callback: "s"}, now)
		if err != nil || again.Key != e.Key {
			t.Errorf("read twice: %q and %q", e.Key, again.Key)
		}
		if _, err := ParseWebhook(h, append(body, ' '), WebhookSecrets{Callback: "s"}, now); err == nil {
			t.Error("a body that was changed has the same signature")
		}
	})
}
