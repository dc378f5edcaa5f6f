package localapi_test

import (
	"fmt"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/ssg-safe/agent/localapi"
)

const order = `{"reference":"venda-1","amount":1500,"merchant":"loja","description":"Café","expiry_seconds":300,"present":"if_free","checkout":"TOKEN0123456789abcdef","payer":{"name":"Maria da Silva","document":"11144477735","email":"m@example.com","address":"Rua A, 1","district":"Centro","city":"São Paulo","state":"SP","postcode":"01001000"}}`

// TestContract asks for every answer that the contract names, so that what it
// says the server does; the rig holds every answer of all tests against it, so
// that what the server does it says.
func TestContract(t *testing.T) {
	doc, err := contract()
	if err != nil {
		t.Fatal(err)
	}
	r := newRig(t)
	seen := map[string]bool{}
	ask := func(want int, method, path, body string, headers ...string) answer {
		t.Helper()
		r.server.Renew()
		a := r.ask(tokenAll, method, path, body, headers...)
		if a.status != want {
			t.Errorf("%s %s: %d, want %d: %s", method, path, a.status, want, a.body)
		}
		seen[fmt.Sprintf("%s %s %d", method, pattern(path), a.status)] = true
		return a
	}
	refused := func(code localapi.Code, want int, method, path, body string) {
		t.Helper()
		r.desk.refuse(refusal(code))
		defer r.desk.refuse(nil)
		if a := ask(want, method, path, body); !strings.Contains(a.body, `"code":"`+string(code)+`"`) {
			t.Errorf("%s %s: %s, want %s", method, path, a.body, code)
		}
	}
	const nobody = "/v1/charges/T001XXXXXXXXXXXXXXXXXXXXX"

	a := ask(201, "POST", "/v1/charges", order)
	charge := a.header.Get("Location")
	if again := ask(201, "POST", "/v1/charges", order); again.header.Get("Location") != charge || again.body != a.body {
		t.Errorf("again: %s; want %s", again.body, a.body)
	}
	ask(409, "POST", "/v1/charges", strings.Replace(order, "1500", "1501", 1))
	ask(422, "POST", "/v1/charges", `{"reference":"a"}`)
	refused(localapi.ScreenTaken, 409, "POST", "/v1/charges", order)
	for _, code := range []localapi.Code{localapi.Busy, localapi.Stopping, localapi.StoreFull} {
		refused(code, 503, "POST", "/v1/charges", order)
	}
	ask(200, "GET", "/v1/charges", "")
	ask(200, "GET", "/v1/charges?open=true", "")
	if page := ask(200, "GET", "/v1/charges?limit=1", ""); strings.Contains(page.body, "next") {
		t.Errorf("the only page names a next one: %s", page.body)
	}
	ask(200, "GET", charge, "")
	ask(404, "GET", nobody, "")
	ask(404, "POST", nobody+"/cancel", "")
	ask(404, "POST", nobody+"/reprint", "")
	ask(202, "POST", charge+"/reprint", "")
	for _, code := range []localapi.Code{localapi.NothingToPrint, localapi.NoPrinter, localapi.SlipWaits} {
		refused(code, 409, "POST", charge+"/reprint", "")
	}
	if a := r.ask(tokenOther, "POST", charge+"/cancel", ""); a.status != 403 || !strings.Contains(a.body, "not_yours") {
		t.Errorf("another's charge: %d %s", a.status, a.body)
	}
	seen["POST /v1/charges/{id}/cancel 403"] = true
	ask(202, "POST", charge+"/cancel", "")
	r.desk.pay(t, r.desk.made[0], 1500, "E1") // late
	if a := ask(200, "GET", charge, ""); !strings.Contains(a.body, `"state":"paid"`) || !strings.Contains(a.body, `"late":true`) || !strings.Contains(a.body, `"end_to_end":"E1"`) {
		t.Errorf("paid: %s", a.body)
	}
	ask(409, "POST", charge+"/cancel", "")
	ask(410, "GET", "/v1/events?after=9:9", "")
	if a := ask(200, "GET", "/v1/closings/running?merchant=loja", ""); !strings.Contains(a.body, `"next":1`) || !strings.Contains(a.body, `"received":1500`) {
		t.Errorf("the running day: %s", a.body)
	}
	ask(422, "GET", "/v1/closings/running?merchant=outra", "")
	ask(400, "GET", "/v1/closings/running?merchant=A", "")
	z := ask(201, "POST", "/v1/closings", `{"merchant":"loja","number":1,"print":true}`)
	if again := ask(201, "POST", "/v1/closings", `{"number":1}`); again.body != z.body || !strings.Contains(z.body, `"number":1`) {
		t.Errorf("closing 1: %s, then %s", z.body, again.body)
	}
	ask(201, "POST", "/v1/closings", `{"number":2,"print":false}`)
	ask(409, "POST", "/v1/closings", `{"number":4}`)
	refused(localapi.NothingToClose, 409, "POST", "/v1/closings", `{"number":3}`)
	for _, wrong := range []string{`{}`, `{"number":0}`, `{"number":"1"}`, `{"number":3,"print":1}`, `{"number":3,"merchant":"../x"}`} {
		ask(422, "POST", "/v1/closings", wrong)
	}
	if page := ask(200, "GET", "/v1/closings?merchant=loja&limit=1", ""); !strings.Contains(page.body, `"number":2`) || !strings.Contains(page.body, `"next":"`) {
		t.Errorf("closings: %s", page.body)
	}
	if page := ask(200, "GET", "/v1/closings?merchant=outra", ""); page.body != `{"closings":[]}`+"\n" {
		t.Errorf("another merchant's closings: %s", page.body)
	}
	ask(200, "GET", "/v1/closings", "")
	for method, path := range map[string]string{"GET": "/v1/closings/running", "POST": "/v1/closings"} {
		if a := r.ask(tokenOther, method, path, ""); a.status != 403 {
			t.Errorf("%s %s without the scope: %d", method, path, a.status)
		}
	}
	ask(200, "GET", "/v1/status", "")
	ask(200, "GET", "/v1/metrics", "")
	ask(200, "GET", "/v1/ledger", "")
	ask(200, "GET", "/v1/ledger/check", "")
	ask(200, "GET", "/v1/queue", "")
	for _, verb := range []string{"retry", "drop"} {
		path := "/v1/queue/" + verb
		ask(200, "POST", path, `{"jobs":[1,2]}`)
		ask(200, "POST", path, `{"dead":true}`)
		refused(localapi.JobNotFound, 404, "POST", path, `{"jobs":[1]}`)
		refused(localapi.JobBusy, 409, "POST", path, `{"jobs":[1]}`)
	}
	ticket := r.desk.open(t, "late/a/p1")
	if a := ask(200, "GET", "/v1/tickets", ""); !strings.Contains(a.body, ticket.ID) {
		t.Errorf("tickets: %s", a.body)
	}
	if a := ask(200, "GET", "/v1/status", ""); !strings.Contains(a.body, `"tickets":{"open":1,"overdue":1}`) {
		t.Errorf("status: %s", a.body)
	}
	path := "/v1/tickets/" + ticket.ID + "/close"
	for _, wrong := range []string{`{}`, `{"by":"ana"}`, `{"by":"52998224725","how":"refunded"}`, `{"by":"CPF 529.982.247-25","how":"refunded"}`, `{"by":"ana@example.com","how":"refunded"}`, `{"by":"tel 11 98765-4321","how":"refunded"}`, `{"by":"ana","how":"paid"}`, `{"by":"ana","how":null}`} {
		ask(422, "POST", path, wrong)
	}
	ask(404, "POST", "/v1/tickets/T0000000000/close", `{"by":"ana","how":"refunded"}`)
	ask(404, "POST", "/v1/tickets/x/close", `{"by":"ana","how":"refunded"}`)
	if a := r.ask(tokenRead, "POST", path, `{"by":"ana","how":"refunded"}`); a.status != 403 {
		t.Errorf("closed without the scope: %d", a.status)
	}
	ask(200, "POST", path, `{"by":"ana","how":"refunded"}`)
	ask(409, "POST", path, `{"by":"bia","how":"refunded"}`)
	if a := ask(200, "GET", "/v1/tickets", ""); a.body != `{"tickets":[]}`+"\n" {
		t.Errorf("tickets that are open: %s", a.body)
	}
	if a := ask(200, "GET", "/v1/tickets?all=true", ""); !strings.Contains(a.body, `"by":"ana","how":"refunded"`) {
		t.Errorf("tickets: %s", a.body)
	}
	ask(400, "GET", "/v1/tickets?all=1", "")
	const want = `{"reference":"caixa/1","amount":15000,"by":"dora","key":"12345678909","description":"troco"}`
	made := ask(201, "POST", "/v1/proposals", want)
	if again := ask(201, "POST", "/v1/proposals", want); again.body != made.body || again.header.Get("Location") != made.header.Get("Location") || strings.Contains(made.body, "12345678909") {
		t.Errorf("proposed: %s, again: %s", made.body, again.body)
	}
	ask(409, "POST", "/v1/proposals", strings.Replace(want, "15000", "15001", 1))
	ask(409, "POST", "/v1/proposals", strings.Replace(want, "12345678909", "52998224725", 1))
	for _, wrong := range []string{
		`{}`, strings.Replace(want, `"by":"dora",`, "", 1), strings.Replace(want, "dora", "529.982.247-25", 1), strings.Replace(want, "12345678909", "1", 1),
		strings.Replace(want, `,"key":"12345678909"`, "", 1), strings.Replace(want, "caixa/1", "52998224725", 1), strings.Replace(want, "15000", "0", 1),
		strings.Replace(want, `"key":`, `"charge":"T001XXXXXXXXXXXXXXXXXXXXX","key":`, 1), strings.Replace(want, `"key":`, `"end_to_end":"E1234567820260701120012345678901","key":`, 1),
		`{"reference":"caixa/2","amount":1,"by":"dora","charge":"T001XXXXXXXXXXXXXXXXXXXXX","description":"x"}`,
	} {
		if a := ask(422, "POST", "/v1/proposals", wrong); strings.Contains(a.body, "12345678909") {
			t.Errorf("the answer repeats the key: %s", a.body)
		}
	}
	ask(201, "POST", "/v1/proposals", `{"reference":"caixa/2","amount":500,"by":"dora","charge":"T001XXXXXXXXXXXXXXXXXXXXX","end_to_end":"E1234567820260701120012345678901"}`)
	refused(localapi.ChargeNotFound, 404, "POST", "/v1/proposals", want)
	refused(localapi.NoHub, 409, "POST", "/v1/proposals", want)
	refused(localapi.TooManyProposals, 409, "POST", "/v1/proposals", want)
	refused(localapi.StoreFull, 503, "POST", "/v1/proposals", want)
	ask(200, "GET", made.header.Get("Location"), "")
	ask(404, "GET", "/v1/proposals/AAAAAAAAAAAAAAAAAAAAAAAAA", "")
	if a := ask(200, "GET", "/v1/proposals", ""); strings.Count(a.body, `"state":"queued"`) != 2 {
		t.Errorf("proposals: %s", a.body)
	}
	ask(200, "GET", "/v1/proposals?all=true", "")
	ask(400, "GET", "/v1/proposals?all=1", "")
	for method, path := range map[string]string{"GET": "/v1/proposals", "POST": "/v1/proposals"} {
		if a := r.ask(tokenOther, method, path, want); a.status != 403 {
			t.Errorf("%s %s without the scope: %d", method, path, a.status)
		}
	}
	s := r.watch(tokenRead, "", "")
	seen["GET /v1/events 200"] = true
	s.close()

	operations := 0
	for path, methods := range doc["paths"].(object) {
		for method, op := range methods.(object) {
			operations++
			for status := range at(op, "responses").(object) {
				key := fmt.Sprintf("%s %s %s", strings.ToUpper(method), path, status)
				if status != "default" && !seen[key] {
					t.Errorf("the contract has %s, and nobody got it", key)
				}
			}
			// Nobody without a token, and no other method.
			path := strings.ReplaceAll(path, "{id}", nobody[len("/v1/charges/"):]) // of tickets, too
			fresh := localapi.New(r.options())                                     // with its whole budget for strangers
			for _, test := range []struct {
				method, token string
				status        int
			}{{method, "", 401}, {method, "no-such-token", 401}, {"delete", tokenAll, 405}} {
				req := httptest.NewRequest(strings.ToUpper(test.method), "http://"+r.addr+path, nil)
				if test.token != "" {
					req.Header.Set("Authorization", "Bearer "+test.token)
				}
				got := httptest.NewRecorder()
				fresh.ServeHTTP(got, req)
				if got.Code != test.status {
					t.Errorf("%s %s with token %q: %d, want %d", test.method, path, test.token, got.Code, test.status)
				}
				if allow := got.Header().Get("Allow"); got.Code == 405 && !strings.Contains(allow, strings.ToUpper(method)) {
					t.Errorf("%s %s: Allow: %s", test.method, path, allow)
				}
			}
		}
	}
	if n := localapi.Operations(); n != operations {
		t.Errorf("the server has %d operations, the contract %d", n, operations)
	}
	// The request's schema and the decoder agree about the example.
	for name := range at(doc, "components", "schemas", "Order", "properties").(object) {
		if !strings.Contains(order, `"`+name+`"`) {
			t.Errorf("the example order lacks %s", name)
		}
	}
}

func TestCodesAreInTheContract(t *testing.T) {
	doc, err := contract()
	if err != nil {
		t.Fatal(err)
	}
	var got, want []string
	for _, c := range at(doc, "components", "schemas", "Problem", "properties", "code", "enum").([]any) {
		got = append(got, c.(string))
	}
	for c := range localapi.Statuses() {
		want = append(want, string(c))
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("the contract has the codes %v, the server %v", got, want)
	}
}
