package bspaybr

import (
	"strings"
	"testing"

	"github.com/ssg-safe/agent/providers"
)

var bodies = []string{
	``, `null`, `{}`, `[]`, `[null]`, `[{"statusCode":200,"message":"Transferência PIX processada com sucesso"}]`, `{"statusCode":403,"mensagem":"m"}`,
	`{"transactionId":"4392d1d7e408d3cec04fm1zf3gv7vkq1","status":"PENDING","amount":150.99,"qrcode":"00020126850014br.gov.bcb.pix","reference_code":"r"}`,
	`{"Bank":"Bspaybr","data":{"external_id":"r","status":"PAID","amount":"100.00","confirmed_date":"2025-03-13 12:00:00","postback_url":"https://seusite.com/webhook"}}`,
	`{"data":{"external_id":1e400,"status":true,"postback_url":null}}`, `{"message":{"message":{}}}`,
	`{"transactionType":"PAYMENT","transactionId":"798176179","statusCode":{"statusId":1,"description":"Pagamento aprovado"}}`,
}

// FuzzAnswer reads any bytes as every kind of answer.
func FuzzAnswer(f *testing.F) {
	for _, s := range bodies {
		f.Add([]byte(s))
	}
	h := providers.HTTP{Provider: Name}
	f.Fuzz(func(t *testing.T, body []byte) {
		e := h.Fail(providers.Call{Op: "x"}, providers.Invalid, providers.Answer{}, "", parseFailure(body), nil)
		if n := len([]rune(e.Error())); n > 400 {
			t.Errorf("an error of %d characters", n)
		}
		if c, err := parseCreated(body); err == nil && (!isID(c.id) || c.code == "") {
			t.Errorf("took charge %+v", c)
		}
		if s, err := parseStatus(body); err == nil && (!isID(s.id) || !isWord(s.word)) {
			t.Errorf("took status %+v", s)
		}
		if n, err := parsePaid(body); (err == nil) != (n >= 100 && n <= 599) {
			t.Errorf("took %d (%v)", n, err)
		}
	})
}

// FuzzWebhook reads any bytes as a webhook: what it takes names something, and
// paid is said by a word that says so.
func FuzzWebhook(f *testing.F) {
	for _, s := range bodies {
		f.Add([]byte(s))
	}
	for _, v := range vectors(f) {
		f.Add([]byte(v.Body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		e, err := ParseWebhook(signed("k", string(body)), body, "k")
		if err != nil {
			if e != (Event{}) {
				t.Errorf("got %+v together with an error", e)
			}
			return
		}
		if e.Reference == "" && e.TransactionID == "" || e.Kind == "" || !isWord(e.Word) || len(e.Key) != 64 || e.Amount != nil && *e.Amount < 0 {
			t.Errorf("took %+v", e)
		}
		if word := strings.ToLower(e.Word); e.Status == providers.StatusPaid && word != "paid" && word != "completed" && !(e.Kind == PayoutEvent && word == "1") {
			t.Errorf("took %q for paid", e.Word)
		}
	})
}
