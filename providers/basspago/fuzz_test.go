package basspago

import (
	"testing"

	"github.com/ssg-safe/agent/providers"
)

// FuzzAnswer reads any bytes as every kind of answer.
func FuzzAnswer(f *testing.F) {
	for _, s := range []string{
		``, `null`, `{}`, `[]`, `[null]`, `{"message":"notValidKey"}`, `"QUWV8V6W9ZGZEBJ8Q25MIV0ZY7MUTOY0WTULIVA3XW2HPYNP"`,
		`{"token":"QUWV8V6W9ZGZEBJ8Q25MIV0ZY7MUTOY0WTULIVA3XW2HPYNP"}`,
		`{"referenceNumber":"PCHN3OQDFTP","externalId":"ABCD00039","amount":2.0,"key":"k","status":"APPROVED","createdAt":"2023-08-15T13:45:28.825249Z","keyCurrencyCode":"BRL","payment":{"amountPayed":1.99,"amountCredited":"0.99"}}`,
		`{"referenceNumber":"P","externalId":"A","amount":1e400,"status":"PENDING","payment":null}`,
		`[{"referenceNumber":"PCHH051EX9Z","externalId":"ABCD00002","externalProductId":"P00001","status":"APPROVED","type":"PIX"},{"referenceNumber":"P","status":"x","paymentType":"BOLETO"}]`,
	} {
		f.Add([]byte(s))
	}
	h := providers.HTTP{Provider: Name}
	f.Fuzz(func(t *testing.T, body []byte) {
		e := h.Fail(providers.Call{Op: "x"}, providers.Invalid, providers.Answer{}, parseFailure(body), parseFailure(body), nil)
		if n := len([]rune(e.Error())); n > 400 {
			t.Errorf("an error of %d characters", n)
		}
		if token, err := parseCreated(body); (err == nil) != isToken(token.Reveal()) {
			t.Errorf("took a token that is none (%v)", err)
		}
		k, err := parseCheckout(body)
		if err == nil && (!isID(k.reference) || !isID(k.externalID) || !isWord(k.word) || k.amount <= 0 || k.paid != nil && *k.paid < 0) {
			t.Errorf("took checkout %+v", k)
		}
		if err == nil && parseFailure(body) != "" {
			t.Error("an answer and an error in one")
		}
		rows, err := parseRows(body)
		for _, r := range rows {
			if err != nil || !isID(r.reference) || !isWord(r.word) {
				t.Errorf("took row %+v (%v)", r, err)
			}
		}
	})
}
