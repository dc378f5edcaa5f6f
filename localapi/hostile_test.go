package localapi_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/ssg-safe/agent/localapi"
)

// TestHostileRequests: each gets an error that says what is wrong, and changes
// nothing: neither the ledger, nor does the terminal ever hear of it.
func TestHostileRequests(t *testing.T) {
	r := newRig(t)
	if a := r.ask(tokenAll, "POST", "/v1/charges", order); a.status != 201 {
		t.Fatal(a)
	}
	const charges = "/v1/charges"
	with := func(old, now string) string { return strings.Replace(order, old, now, 1) }
	reference := with("venda-1", "venda-2") // a good order, but for what is replaced in it
	and := func(old, now string) string { return strings.Replace(reference, old, now, 1) }
	if !strings.Contains(reference, "venda-2") {
		t.Fatal("the order has another reference")
	}
	auth := "Authorization: Bearer " + tokenAll + "\r\n"
	post := func(headers, body string) string {
		return "POST /v1/charges HTTP/1.1\r\nConnection: close\r\n" + headers + body
	}
	host := "Host: " + r.addr + "\r\n"
	json := "Content-Type: application/json\r\n"

	for _, test := range []struct {
		name    string
		raw     string // on a connection of its own, or:
		method  string // POST unless said
		path    string
		token   string // all unless said; "-" is none
		headers []string
		body    string
		status  int
		says    string
	}{
		// Who asks.
		{name: "no token", token: "-", status: 401, says: "token is missing"},
		{name: "unknown token", token: strings.Repeat("x", 40), status: 401, says: "not known"},
		{name: "token in the address", token: "-", path: charges + "?token=" + tokenAll, status: 401, says: "token is missing"},
		{name: "another scheme", token: "-", headers: []string{"Authorization", "Basic " + tokenAll}, status: 401, says: "not known"},
		{name: "two tokens", raw: post(host+auth+"Authorization: Bearer x\r\n"+json, "Content-Length: 2\r\n\r\n{}"), status: 401, says: "not known"},
		{name: "token of readers", token: tokenRead, status: 403, says: `scope \"charge\"`},
		{name: "reprint without ops", token: tokenCharge, path: charges + "/" + one + "/reprint", status: 403, says: `scope \"ops\"`},
		// Where from.
		{name: "another host", headers: []string{"Host", "evil.example"}, status: 421, says: "not called"},
		{name: "another port", headers: []string{"Host", "127.0.0.1:1"}, status: 421, says: "not called"},
		{name: "a whole address of another host", raw: "POST http://evil.example/v1/charges HTTP/1.1\r\nConnection: close\r\n" + host + auth + json + "Content-Length: 2\r\n\r\n{}", status: 421, says: "not called"},
		{name: "no host", raw: post(auth+json, "Content-Length: 2\r\n\r\n{}"), status: 400, says: "missing required Host"},
		{name: "two hosts", raw: post(host+"Host: evil.example\r\n"+auth+json, "Content-Length: 2\r\n\r\n{}"), status: 400, says: "Bad Request"},
		{name: "a page", headers: []string{"Origin", "https://evil.example"}, status: 403, says: "may not use"},
		{name: "a page without a name", headers: []string{"Origin", "null"}, status: 403, says: "may not use"},
		{name: "a page that asks first", method: "OPTIONS", headers: []string{"Origin", "https://evil.example"}, status: 403, says: "may not use"},
		// Paths and methods.
		{name: "dots in the path", raw: "POST /v1/x/../charges HTTP/1.1\r\nConnection: close\r\n" + host + auth + json + "Content-Length: 2\r\n\r\n{}", status: 404, says: "plainly"},
		{name: "double slash", path: "//v1/charges", status: 404, says: "plainly"},
		{name: "escaped slash", path: "/v1%2fcharges", status: 404, says: "plainly"},
		{name: "slash at the end", path: charges + "/", status: 404, says: "plainly"},
		{name: "no such path", path: "/v1/admin", status: 404, says: "nothing at this path"},
		{name: "no charge", method: "GET", path: charges + "/..%2f..%2fetc", status: 404, says: "plainly"},
		{name: "wrong id", path: charges + "/abc/cancel", status: 404, says: "not the id"},
		{name: "method", method: "PUT", status: 405, says: "GET"},
		{name: "unknown parameter", path: charges + "?force=1", status: 400, says: "force"},
		{name: "parameter twice", method: "GET", path: charges + "?limit=1&limit=2", status: 400, says: "twice"},
		{name: "odd limit", method: "GET", path: charges + "?limit=1e3", status: 400, says: "1 to 100"},
		// Bodies.
		{name: "not JSON", body: "hello", status: 400, says: "not a JSON object"},
		{name: "no body", status: 415, says: "application/json"},
		{name: "empty", headers: []string{"Content-Type", "application/json"}, status: 400, says: "not a JSON object"},
		{name: "a list", body: "[" + reference + "]", status: 400, says: "not a JSON object"},
		{name: "no end", body: strings.TrimSuffix(reference, "}}"), status: 400, says: "no end"},
		{name: "two objects", body: reference + reference, status: 400, says: "behind"},
		{name: "not UTF-8", body: and("Café", "Caf\xe9"), status: 400, says: "UTF-8"},
		{name: "form", body: "amount=1500&reference=venda-2", headers: []string{"Content-Type", "application/x-www-form-urlencoded"}, status: 415, says: "application/json"},
		{name: "text of a page", body: reference, headers: []string{"Content-Type", "text/plain"}, status: 415, says: "application/json"},
		{name: "another charset", body: reference, headers: []string{"Content-Type", "application/json; charset=latin1"}, status: 415, says: "application/json"},
		{name: "compressed", body: reference, headers: []string{"Content-Encoding", "gzip"}, status: 415, says: "Content-Encoding"},
		{name: "oversized", body: and("Café", strings.Repeat("x", 20000)), status: 413, says: "16384"},
		{name: "oversized by parts", raw: post(host+auth+json+"Transfer-Encoding: chunked\r\n", "\r\n"+strings.Repeat("1000\r\n"+strings.Repeat(" ", 4096)+"\r\n", 5)+"0\r\n\r\n"), status: 413, says: "16384"},
		{name: "cut off", raw: post(host+auth+json, "Content-Length: 500\r\n\r\n{\"ref") + "\x00HALF", status: 400, says: "cut off"},
		{name: "nested deep", body: and(`"payer":{`, `"payer":`+strings.Repeat("[", 5000)+strings.Repeat("]", 5000)+`,"x":{`), status: 422, says: "payer"},
		{name: "key twice", body: and(`"amount":1500`, `"amount":1500,"amount":1500`), status: 422, says: "amount is there twice"},
		{name: "key in other letters", body: and(`"amount":1500`, `"amount":1500,"AMOUNT":1`), status: 422, says: "AMOUNT is not known"},
		{name: "key twice, escaped", body: and(`"amount":1500`, `"amount":1500,"\u0061mount":1`), status: 422, says: "amount is there twice"},
		{name: "unknown field", body: and(`"amount"`, `"paid":true,"amount"`), status: 422, says: "paid is not known"},
		{name: "unknown field of the payer", body: and(`"state"`, `"cpf":"1","state"`), status: 422, says: "payer.cpf is not known"},
		// Amounts.
		{name: "float", body: and("1500", "15.00"), status: 422, says: "whole centavos"},
		{name: "whole float", body: and("1500", "1500.0"), status: 422, says: "whole centavos"},
		{name: "exponent", body: and("1500", "15e2"), status: 422, says: "whole centavos"},
		{name: "text amount", body: and("1500", `"1500"`), status: 422, says: "whole centavos"},
		{name: "negative", body: and("1500", "-1500"), status: 422, says: "whole centavos"},
		{name: "minus zero", body: and("1500", "-0"), status: 422, says: "whole centavos"},
		{name: "zero", body: and("1500", "0"), status: 422, says: "zero"},
		{name: "null", body: and("1500", "null"), status: 422, says: "whole centavos"},
		{name: "huge", body: and("1500", "99999999999999999999"), status: 422, says: "whole centavos"},
		{name: "no amount", body: and(`"amount":1500,`, ""), status: 422, says: "amount is missing"},
		// Other values.
		{name: "no reference", body: and(`"reference":"venda-2",`, ""), status: 422, says: "reference is missing"},
		{name: "reference with a space", body: and("venda-2", "venda 2"), status: 422, says: "reference must be letters"},
		{name: "reference with a zero byte", body: and("venda-2", `a\u0000b`), status: 422, says: "cannot be printed"},
		{name: "broken surrogate", body: and("Café", `\ud800`), status: 422, says: "cannot be printed"},
		{name: "line in the description", body: and("Café", `a\nb`), status: 422, says: "cannot be printed"},
		{name: "CPF with wrong digits", body: and("11144477735", "11144477736"), status: 422, says: "payer.document must be"},
		{name: "expiry of years", body: and("300", "999999999"), status: 422, says: "expiry_seconds must be"},
		{name: "presence", body: and("if_free", "maybe"), status: 422, says: "present must be"},
		{name: "payer is text", body: and(`"payer":{`, `"payer":"x","y":{`), status: 422, says: "payer must be an object"},
		{name: "body of a cancellation", path: charges + "/" + one + "/cancel", body: `{}`, status: 400, says: "no body"},
		// Headers.
		{name: "header flood", raw: post(host+auth+json+strings.Repeat("X-Flood: "+strings.Repeat("x", 1000)+"\r\n", 40), "\r\n"), status: 431, says: "Too Large"},
		{name: "length and parts", raw: post(host+auth+json+"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", "Content-Length: 3\r\n\r\n{}"), status: 501, says: ""},
		{name: "no HTTP", raw: "\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", status: 400, says: "Bad Request"},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := &rig{T: t, store: r.store, desk: r.desk, server: r.server, addr: r.addr}
			r.renew() // budgets are another test's business
			before, calls := r.head(), r.desk.calls
			var a answer
			if test.raw != "" {
				var err error
				if a, err = r.raw(strings.TrimSuffix(test.raw, "\x00HALF"), strings.HasSuffix(test.raw, "\x00HALF")); err != nil {
					t.Fatal(err)
				}
			} else {
				method, path, token := test.method, test.path, test.token
				if method == "" {
					method = "POST"
				}
				if path == "" {
					path = charges
				}
				switch token {
				case "":
					token = tokenAll
				case "-":
					token = ""
				}
				a = r.ask(token, method, path, test.body, test.headers...)
			}
			if a.status != test.status || !strings.Contains(a.body, test.says) {
				t.Errorf("got %d %s; want %d and %q", a.status, a.body, test.status, test.says)
			}
			if after := r.head(); after != before {
				t.Errorf("the ledger grew from %v to %v", before.Position, after.Position)
			}
			if r.desk.calls != calls {
				t.Error("the terminal heard of it")
			}
		})
	}

	// These reach the terminal, and are refused there.
	before := r.head()
	for _, test := range []struct {
		body, code string
		status     int
	}{
		{with("1500", "1501"), "reference_taken", 409},
		{with(`"present":"if_free",`, ""), "reference_taken", 409},
		{with("11144477735", "52998224725"), "reference_taken", 409},
		{and("1500", "99"), "amount_refused", 422},
		{and("1500", "999999999999999"), "amount_refused", 422},
		{and("loja", "outra"), "merchant_unknown", 422},
	} {
		if a := r.ask(tokenAll, "POST", charges, test.body); a.status != test.status || !strings.Contains(a.body, test.code) {
			t.Errorf("%s: got %d %s; want %s", test.body, a.status, a.body, test.code)
		}
	}
	if after := r.head(); after != before {
		t.Errorf("the ledger grew from %v to %v", before.Position, after.Position)
	}
	// And the good order that all of them were made of is still taken.
	if a := r.ask(tokenAll, "POST", charges, reference); a.status != 201 {
		t.Errorf("a good order: %d %s", a.status, a.body)
	}
}

// renew gives the server's callers their whole budgets.
func (r *rig) renew() { r.server.Renew() }

// TestBudgets: who asks too often waits, and no stranger uses up another's.
func TestBudgets(t *testing.T) {
	r := newRig(t)
	limited := func(token string) (n int) {
		for range 100 {
			if a := r.ask(token, "GET", "/v1/metrics", ""); a.status == 429 {
				if a.header.Get("Retry-After") == "" {
					t.Error("429 without Retry-After")
				}
				n++
			}
		}
		return n
	}
	if n := limited("no-such-token"); n == 0 {
		t.Error("guessing tokens is not slowed down")
	}
	if a := r.ask(tokenRead, "GET", "/v1/metrics", ""); a.status != 200 {
		t.Errorf("a caller pays for strangers: %d", a.status)
	}
	r.renew()
	if n := r.burst(tokenRead, 100); n == 0 {
		t.Error("a caller is not slowed down")
	}
	if a := r.ask(tokenAll, "GET", "/v1/metrics", ""); a.status != 200 {
		t.Errorf("a caller pays for another: %d", a.status)
	}
}

// burst sends requests at once and counts those that were one too many.
func (r *rig) burst(token string, n int) (limited int) {
	answers := make(chan int, n)
	for range n {
		go func() { answers <- r.ask(token, "GET", "/v1/metrics", "").status }()
	}
	for range n {
		if <-answers == 429 {
			limited++
		}
	}
	return limited
}

// TestPagesThatMayAsk: a configured page gets what its browser needs.
func TestPagesThatMayAsk(t *testing.T) {
	r := newRig(t)
	a := r.ask("", "OPTIONS", "/v1/charges", "", "Origin", "https://pdv.example", "Access-Control-Request-Method", "POST")
	if a.status != 204 || a.header.Get("Access-Control-Allow-Origin") != "https://pdv.example" {
		t.Errorf("%d %v", a.status, a.header)
	}
	if a := r.ask(tokenAll, "GET", "/v1/status", "", "Origin", "https://pdv.example", "Host", "Terminal.Example"); a.status != 200 || a.header.Get("Vary") != "Origin" {
		t.Errorf("%d %v %s", a.status, a.header, a.body)
	}
}

// TestUnknownOutcome: what is no refusal may have happened, and the caller is
// told to ask again; the reason stays in the log.
func TestUnknownOutcome(t *testing.T) {
	r := newRig(t)
	r.desk.refuse(fmt.Errorf("the disk says: %s", "secret detail"))
	a := r.ask(tokenAll, "POST", "/v1/charges", order)
	if a.status != 503 || !strings.Contains(a.body, string(localapi.OutcomeUnknown)) || strings.Contains(a.body, "secret") {
		t.Errorf("%d %s", a.status, a.body)
	}
	r.desk.refuse(nil)
	if a := r.ask(tokenAll, "POST", "/v1/charges", order); a.status != 201 {
		t.Errorf("again: %d %s", a.status, a.body)
	}
}
