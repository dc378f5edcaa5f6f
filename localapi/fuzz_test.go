package localapi_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/ssg-safe/agent/localapi"
)

// FuzzOrder: whatever comes is an order that keeps the contract, or a refusal
// with a reason; and an order means the same however it is read.
func FuzzOrder(f *testing.F) {
	for _, seed := range []string{
		order, `{"reference":"a","amount":1}`, `{"reference":"a","amount":1.0}`, `{"amount":1,"amount":2}`, `{"payer":{"document":"x"}}`,
		`{"reference":"\ud800","amount":1}`, `{"reference":"a","amount":1}x`, `[]`, ``, `{`, "{\"reference\":\"\xff\"}", `{"reference":null,"amount":1}`,
		`{"reference":"a","amount":999999999999999,"expiry_seconds":10,"present":"never"}`, strings.Repeat(`{"payer":`, 100),
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		o, err := localapi.DecodeOrder(body)
		if err != nil {
			r, ok := errors.AsType[*localapi.Refusal](err)
			if !ok || r.Error() == "" || r.Code != localapi.BadRequest && r.Code != localapi.Invalid {
				t.Fatalf("%q: %v is no refusal", body, err)
			}
			return
		}
		doc, err := contract()
		if err != nil {
			t.Fatal(err)
		}
		var v any
		if err := json.Unmarshal(body, &v); err != nil {
			t.Fatalf("%q is no JSON and was taken: %v", body, err)
		}
		if wrong := conforms(t, doc, object{"$ref": "#/components/schemas/Order"}, v, "order"); len(wrong) > 0 {
			t.Fatalf("%q was taken: %v", body, wrong)
		}
		var plain struct {
			Reference   string
			Amount      int64
			Merchant    string
			Description string
			Expiry      int64 `json:"expiry_seconds"`
		}
		if err := json.Unmarshal(body, &plain); err != nil {
			t.Fatal(err)
		}
		if plain.Reference != o.Reference || plain.Amount != int64(o.Amount) || plain.Merchant != o.Merchant ||
			plain.Description != o.Description || plain.Expiry != int64(o.Expiry.Seconds()) {
			t.Fatalf("%q is %+v, and elsewhere %+v", body, o, plain)
		}
	})
}

// FuzzJobs: numbers of jobs, or all dead letters; never both, never neither.
func FuzzJobs(f *testing.F) {
	for _, seed := range []string{`{"jobs":[1,2]}`, `{"dead":true}`, `{"dead":false}`, `{"jobs":[]}`, `{"jobs":[1],"dead":true}`, `{}`, `{"jobs":[1.5]}`, `{"jobs":[-1]}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		ids, err := localapi.DecodeJobs(body)
		if err == nil && len(ids) == 0 != strings.Contains(string(body), "dead") && !strings.Contains(string(body), `\u`) {
			t.Fatalf("%q: %v", body, ids)
		}
	})
}

// FuzzPosition: a position that is read is written the same, but for zeros.
func FuzzPosition(f *testing.F) {
	for _, seed := range []string{"1:2", "0:0", "1:", "1:2:3", "999999999999999:999999999999999", "1767225600:7", "-1:1", "01:02"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, ok := localapi.DecodePosition(s)
		if !ok {
			return
		}
		if again, ok := localapi.DecodePosition(localapi.EncodePosition(p)); !ok || again != p {
			t.Fatalf("%q is %v, then %v", s, p, again)
		}
	})
}

// FuzzClosure: a request that is taken conforms to the contract, and names a
// closing.
func FuzzClosure(f *testing.F) {
	for _, seed := range []string{`{"number":1}`, `{"number":7,"merchant":"loja","print":true}`, `{"number":1,"merchant":"-"}`, `{}`, `{"number":0}`, `{"number":1e3}`, `{"number":1,"number":2}`, `{"number":1,"print":"true"}`} {
		f.Add([]byte(seed))
	}
	doc, err := contract()
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		c, err := localapi.DecodeClosure(body)
		if err != nil {
			return
		}
		var v any
		if err := json.Unmarshal(body, &v); err != nil {
			t.Fatal(err)
		}
		if wrong := conforms(t, doc, at(doc, "components", "schemas", "Closure"), v, "body"); len(wrong) > 0 || c.Number == 0 {
			t.Fatalf("%q was taken as %+v: %v", body, c, wrong)
		}
	})
}

// FuzzTicketClosure: what is taken conforms to the contract.
func FuzzTicketClosure(f *testing.F) {
	for _, seed := range []string{`{"by":"ana","how":"refunded"}`, `{"by":"Ana S.","how":"not_ours"}`, `{"by":"","how":"refunded"}`, `{"by":"ana","how":"x"}`, `{"by":"ana","how":["refunded"]}`, `{}`, `{"by":"a","by":"b","how":"accepted"}`} {
		f.Add([]byte(seed))
	}
	doc, err := contract()
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		by, how, err := localapi.DecodeClose(body)
		if err != nil {
			return
		}
		var v any
		if err := json.Unmarshal(body, &v); err != nil {
			t.Fatal(err)
		}
		if wrong := conforms(t, doc, at(doc, "components", "schemas", "TicketClosure"), v, "body"); len(wrong) > 0 || by == "" || how == "" {
			t.Fatalf("%q was taken as %q, %q: %v", body, by, how, wrong)
		}
	})
}

// FuzzProposal: what is taken conforms to the contract, and is one thing or the other.
func FuzzProposal(f *testing.F) {
	for _, seed := range []string{
		`{"reference":"caixa/1","amount":15000,"by":"dora","key":"12345678909","description":"troco","merchant":"loja"}`,
		`{"reference":"caixa/2","amount":1,"by":"Dora S.","charge":"T001XXXXXXXXXXXXXXXXXXXXX","end_to_end":"E1234567820260701120012345678901"}`,
		`{"reference":"caixa/3","amount":1,"by":"dora","key":"a@b.co","charge":"T001XXXXXXXXXXXXXXXXXXXXX"}`, `{}`, `{"reference":"a","reference":"b"}`,
	} {
		f.Add([]byte(seed))
	}
	doc, err := contract()
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		o, err := localapi.DecodeProposal(body)
		if err != nil {
			return
		}
		var v any
		if err := json.Unmarshal(body, &v); err != nil {
			t.Fatal(err)
		}
		if wrong := conforms(t, doc, at(doc, "components", "schemas", "ProposalOrder"), v, "body"); len(wrong) > 0 || (o.Charge == "") == (o.Details.Key == "") {
			t.Fatalf("%q was taken as %+v: %v", body, o, wrong)
		}
	})
}
