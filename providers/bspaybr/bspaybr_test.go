package bspaybr

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	_ "github.com/ssg-safe/agent/internal/bubbles"
	"github.com/ssg-safe/agent/providers"
	"github.com/ssg-safe/agent/providers/bspaybr/bspaybrsim"
	"github.com/ssg-safe/agent/providers/simkit"
)

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// sent is a request as the provider gets it.
type sent struct{ Line, Type, Auth, Body string }

// tapped makes a client for a fresh simulator, and keeps what it sends.
func tapped(t *testing.T, o bspaybrsim.Options, change func(*Config)) (*Client, *bspaybrsim.Sim, *[]sent) {
	t.Helper()
	sim := newSim(t, o)
	cfg := config()
	if change != nil {
		change(&cfg)
	}
	memory := providers.Memory(sim)
	var all []sent
	c, err := New(cfg, roundTripper(func(r *http.Request) (*http.Response, error) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return nil, err
		}
		all = append(all, sent{r.Method + " " + r.URL.RequestURI(), r.Header.Get("Content-Type"), r.Header.Get("ci") + " " + r.Header.Get("cs"), string(body)})
		r.Body = io.NopCloser(strings.NewReader(string(body)))
		return memory.RoundTrip(r)
	}), nil)
	if err != nil {
		t.Fatal(err)
	}
	return c, sim, &all
}

func faults(t *testing.T, sim *bspaybrsim.Sim, rules ...simkit.Rule) {
	t.Helper()
	if err := sim.Script().Set(rules...); err != nil {
		t.Fatal(err)
	}
}

// canned makes a client whose provider says one thing.
func canned(t *testing.T, status int, contentType, body string) *Client {
	t.Helper()
	c, err := New(config(), providers.Memory(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		w.WriteHeader(status)
		io.WriteString(w, body) // the client may have gone
	})), nil)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func wantError(t *testing.T, err error, kind providers.Kind, code string) {
	t.Helper()
	if e, ok := errors.AsType[*providers.Error](err); !ok || e.Kind != kind || e.Code != code {
		t.Errorf("got %v, want %v with code %q", err, kind, code)
	}
}

// TestOnTheWire pins what is sent, byte for byte: forms, and where the secret goes.
func TestOnTheWire(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*Config)
		want   sent // the status question
	}{
		{"get", nil, sent{"GET /libs/consult/transaction_status?id=ID", "", "client-7 " + secret, ""}},
		{
			"post", func(c *Config) { c.StatusMethod, c.StatusPath = StatusPost, "/libs/consult/transaction_status.php" },
			sent{"POST /libs/consult/transaction_status.php", "application/json", "client-7 " + secret, `{"id":"ID"}`},
		},
		{"open", func(c *Config) { c.StatusAuth = AuthNone }, sent{"GET /libs/consult/transaction_status?id=ID", "", " ", ""}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, _, all := tapped(t, bspaybrsim.Options{OpenStatus: tt.name == "open"}, tt.change)
			in := intent(1, 15050)
			in.Payer.Document = "123.456.789-09"
			ch, err := c.CreateCharge(t.Context(), in)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := c.GetCharge(t.Context(), providers.Ref{Charge: in.ID, Attempt: 1, ProviderID: ch.ProviderID}); err != nil {
				t.Fatal(err)
			}
			tt.want.Line = strings.Replace(tt.want.Line, "ID", ch.ProviderID, 1)
			tt.want.Body = strings.Replace(tt.want.Body, "ID", ch.ProviderID, 1)
			create := sent{
				"POST /v3/pix/qrcode", "application/x-www-form-urlencoded", " ",
				"client_id=client-7&client_secret=c4nary-client-secret%2FXy77%2B%26%3D&cpf=12345678909&descricao=teste&nome=Zulmira+Quaresma+Can%C3%A1rio" +
					"&urlnoty=https%3A%2F%2Fhub.example.com%2Fwh%2Fbspaybr%2F22aea852438094bb792a374337954b1f&valor=150.50",
			}
			if d := cmp.Diff([]sent{create, tt.want}, *all); d != "" {
				t.Error(d)
			}
		})
	}
}

// TestCallback: every attempt has an address of its own, the same whenever it is
// asked for, that nobody without the key can make.
func TestCallback(t *testing.T) {
	c, _, _ := tapped(t, bspaybrsim.Options{}, nil)
	other, _, _ := tapped(t, bspaybrsim.Options{}, func(c *Config) { c.CallbackKey = "" })
	seen := map[string]bool{}
	for _, address := range []string{
		c.Callback("A", 1), c.Callback("A", 2), c.Callback("A", 11), c.Callback("A1", 1), c.callback("payout", "A", 1), other.Callback("A", 1),
	} {
		token, ok := strings.CutPrefix(address, "https://hub.example.com/wh/bspaybr/")
		if !ok || callbackToken(address) != token || len(token) != 32 || seen[token] {
			t.Errorf("got address %q, want another one below that of the configuration", address)
		}
		seen[token] = true
	}
	if again := c.Callback("A", 1); !seen[callbackToken(again)] {
		t.Errorf("got %q, which is another address", again)
	}
}

// TestOrphan: an attempt whose answer got lost, and the next one, are told apart
// by nothing but their callback addresses; money for either is found under it.
func TestOrphan(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, sim, _ := tapped(t, bspaybrsim.Options{}, nil)
		in := intent(1, 1234)
		faults(t, sim, simkit.Rule{Route: "create", Fault: simkit.DropAfter, Next: 1})
		_, err := c.CreateCharge(t.Context(), in)
		wantError(t, err, providers.Ambiguous, "")
		in.Attempt = 2
		ch, err := c.CreateCharge(t.Context(), in)
		if err != nil {
			t.Fatal(err)
		}
		lines := sim.Charges()
		if len(lines) != 2 || lines[0].Account != c.Callback(in.ID, 1) || lines[1].Account != c.Callback(in.ID, 2) || lines[1].ID != ch.ProviderID {
			t.Fatalf("got %+v", lines)
		}
		if err := sim.Pay(lines[0].ID); err != nil {
			t.Fatal(err)
		}
		hook := sim.Webhooks(bspaybrsim.Enveloped, "")[0]
		e, err := ParseWebhook(hook.Header, []byte(hook.Body), webhookSecret)
		if err != nil || hook.URL != c.Callback(in.ID, 1) || e.Reference != lines[0].ID {
			t.Fatalf("got %+v at %s (%v)", e, hook.URL, err)
		}
		got, err := c.GetCharge(t.Context(), providers.Ref{Charge: in.ID, Attempt: 1, ProviderID: e.Reference})
		if err != nil || got.Status != providers.StatusPaid || got.Amount == nil || *got.Amount != 1234 {
			t.Errorf("got %+v (%v), want the orphan paid", got, err)
		}
		// The same reference code under the other attempt is refused.
		got, err = c.GetCharge(t.Context(), providers.Ref{Charge: in.ID, Attempt: 2, ProviderID: e.Reference})
		if wantError(t, err, providers.Security, "wrong_callback"); got.Status != "" {
			t.Errorf("got %+v together with an error", got)
		}
		faults(t, sim, simkit.Rule{Route: "status", Fault: bspaybrsim.Callback})
		_, err = c.GetCharge(t.Context(), providers.Ref{Charge: in.ID, Attempt: 2, ProviderID: ch.ProviderID})
		wantError(t, err, providers.Security, "wrong_callback")
	})
}

// TestClaimed: what only a report says is believed with the attempt's own callback
// address in the answer, and not without any.
func TestClaimed(t *testing.T) {
	address := ""
	c, err := New(config(), providers.Memory(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `{"data":{"external_id":"r","status":"PAID","amount":"12.34","postback_url":%q}}`, address)
	})), nil)
	if err != nil {
		t.Fatal(err)
	}
	id := intent(1, 1234).ID
	ref := providers.Ref{Charge: id, Attempt: 1, ProviderID: "r"}
	if got, err := c.GetCharge(t.Context(), ref); err != nil || got.Status != providers.StatusPaid {
		t.Errorf("an attempt that is known: %+v (%v)", got, err)
	}
	ref.Claimed = true
	for _, other := range []string{"", "https://example.com/", c.Callback(id, 2)} {
		address = other
		got, err := c.GetCharge(t.Context(), ref)
		if wantError(t, err, providers.Security, "wrong_callback"); got.Status != "" {
			t.Errorf("%q: got %+v", other, got)
		}
	}
	address = c.Callback(id, 1)
	if got, err := c.GetCharge(t.Context(), ref); err != nil || got.Status != providers.StatusPaid || got.ProviderID != "r" {
		t.Errorf("its own: %+v (%v)", got, err)
	}
	if name := c.CallbackName(id, 1); name != CallbackName(callbackToken(address)) || strings.Contains(name, callbackToken(address)) || name == c.CallbackName(id, 2) {
		t.Errorf("the address is called %s", name)
	}
}

// TestCreated reads answers to a create.
func TestCreated(t *testing.T) {
	code := simkit.Payee{Host: bspaybrsim.DefaultLocationHost, Name: "LOJA", City: "SP"}.Code("/qr/1", 1234)
	quoted, err := json.Marshal(code)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, body string
		kind       providers.Kind // 0: fine
		code, id   string
	}{
		{"the document's", `{"transactionId":"t","status":"PENDING","amount":12.34,"qrcode":CODE,"reference_code":"r"}`, 0, "", "r"},
		{"another host's", `{"transactionId":7,"status":"pending","amount":"12.34","qrcode":CODE,"external_id":"r"}`, 0, "", "r"},
		{"both, alike", `{"qrcode":CODE,"reference_code":"r","external_id":"r"}`, 0, "", "r"},
		{"a number", `{"qrcode":CODE,"reference_code":42}`, 0, "", "42"},
		{"both, unlike", `{"qrcode":CODE,"reference_code":"r","external_id":"s"}`, providers.Contract, "", ""},
		{"another amount", `{"status":"PENDING","amount":12.35,"qrcode":CODE,"reference_code":"r"}`, providers.Security, "wrong_amount", "r"},
		{"half a centavo", `{"status":"PENDING","amount":12.345,"qrcode":CODE,"reference_code":"r"}`, providers.Contract, "", ""},
		{"a comma", `{"status":"PENDING","amount":"12,34","qrcode":CODE,"reference_code":"r"}`, providers.Contract, "", ""},
		{"paid already", `{"status":"PAID","qrcode":CODE,"reference_code":"r"}`, providers.Contract, "", "r"},
		{"no reference", `{"transactionId":"t","status":"PENDING","qrcode":CODE}`, providers.Contract, "", ""},
		{"no code", `{"status":"PENDING","reference_code":"r"}`, providers.Contract, "", "r"},
		{"a picture", `{"status":"PENDING","qrcode":"data:image/png;base64,iVBOR","reference_code":"r"}`, providers.Contract, "picture", "r"},
		{"a bare picture", `{"status":"PENDING","qrcode":"iVBORw0KGgo=","reference_code":"r"}`, providers.Contract, "picture", "r"},
		{"an array", `[{"qrcode":CODE,"reference_code":"r"}]`, providers.Contract, "", ""},
		{"twice", `{"qrcode":CODE,"reference_code":"r","Reference_Code":"s"}`, providers.Contract, "", ""},
	} {
		c := canned(t, 200, "application/json", strings.ReplaceAll(tt.body, "CODE", string(quoted)))
		ch, err := c.CreateCharge(t.Context(), intent(1, 1234))
		if ch.ProviderID != tt.id {
			t.Errorf("%s: got id %q, want %q", tt.name, ch.ProviderID, tt.id)
		}
		if tt.kind == 0 {
			if err != nil || ch.BRCode != code {
				t.Errorf("%s: got %+v (%v)", tt.name, ch, err)
			}
			continue
		}
		t.Log(err)
		if wantError(t, err, tt.kind, tt.code); ch.BRCode != "" {
			t.Errorf("%s: got a code together with an error", tt.name)
		}
	}
}

// TestPicture: an account that gives pictures is told apart from one that is
// broken.
func TestPicture(t *testing.T) {
	c, sim, _ := tapped(t, bspaybrsim.Options{Picture: true}, nil)
	ch, err := c.CreateCharge(t.Context(), intent(1, 100))
	if wantError(t, err, providers.Contract, "picture"); ch.ProviderID != sim.Charges()[0].ID {
		t.Errorf("got id %q, want that of the orphan", ch.ProviderID)
	}
}

// TestStatusAnswers: words, amounts, and what is no answer.
func TestStatusAnswers(t *testing.T) {
	for _, tt := range []struct {
		body   string
		status providers.Status // "": refused
		amount int64            // -1: not said
	}{
		{`{"Bank":"Bspaybr","data":{"external_id":"r","status":"PAID","amount":"100.00","confirmed_date":"2025-03-13 12:00:00","postback_url":"https://seusite.com/webhook"}}`, providers.StatusPaid, 10000},
		{`{"data":{"external_id":"r","status":"paid","amount":15.00}}`, providers.StatusPaid, 1500},
		{`{"data":{"external_id":"r","status":"completed","amount":1}}`, providers.StatusPaid, 100},
		{`{"data":{"external_id":"r","status":"Pending"}}`, providers.StatusPending, -1},
		{`{"data":{"external_id":"r","status":"awaiting_payment","amount":null}}`, providers.StatusPending, -1},
		{`{"data":{"external_id":"r","status":"CANCELED"}}`, providers.StatusCancelled, -1},
		{`{"data":{"external_id":"r","status":"error"}}`, providers.StatusFailed, -1},
		{`{"data":{"external_id":"r","status":"PAGO"}}`, providers.StatusUncertain, -1},
		{`{"data":{"external_id":"r","status":"PAID","amount":"1,00"}}`, "", -1},
		{`{"data":{"external_id":"r"}}`, "", -1},
		{`{"data":{"status":"PAID"}}`, "", -1},
		{`{"data":{"external_id":"s","status":"PAID"}}`, "", -1},
		{`{"data":{"external_id":"r","status":"PENDING","STATUS":"PAID"}}`, "", -1},
		{`{"data":[]}`, "", -1},
		{`{"message":"Transação não encontrada"}`, "", -1},
	} {
		ch, err := canned(t, 200, "application/json", tt.body).GetCharge(t.Context(), providers.Ref{Charge: "A", Attempt: 1, ProviderID: "r"})
		amount := int64(-1)
		if ch.Amount != nil {
			amount = int64(*ch.Amount)
		}
		if ch.Status != tt.status || amount != tt.amount || (err == nil) != (tt.status != "") {
			t.Errorf("%s: got %+v (%v), want %q of %d", tt.body, ch, err, tt.status, tt.amount)
		}
	}
}

// TestRefusals: error bodies of all forms end in one text, without what was sent.
func TestRefusals(t *testing.T) {
	long := strings.Repeat("x ", 500)
	for _, tt := range []struct {
		status            int
		contentType, body string
		kind              providers.Kind
		want              string
	}{
		{400, "application/json", `{"message":"valor inválido"}`, providers.Invalid, "valor inválido"},
		{400, "application/json", `[{"statusCode":400,"mensagem":"valor inválido"}]`, providers.Invalid, "valor inválido"},
		{401, "application/json", `{"error":"client_secret ` + secret + ` errado"}`, providers.Auth, "client_secret [hidden] errado"},
		{403, "text/plain", `CPF 12345678909 bloqueado`, providers.Forbidden, "CPF [hidden] bloqueado"},
		{403, "text/plain", long, providers.Forbidden, strings.Repeat("x ", 90)},
		{500, "text/html", `<h1>nome=Can%C3%A1rio</h1>`, providers.Ambiguous, "bytes text/html"},
		{429, "application/json", ``, providers.Rate, "0 bytes"},
		{404, "text/html", `<h1>Not Found</h1>`, providers.Operator, "check url"},
		{422, "text/plain", `nome Zulmira Quaresma Can%C3%A1rio cpf 12345678909`, providers.Invalid, "nome [hidden] [hidden] [hidden] cpf [hidden]"},
	} {
		_, err := canned(t, tt.status, tt.contentType, tt.body).CreateCharge(t.Context(), intent(1, 100))
		e, ok := errors.AsType[*providers.Error](err)
		if !ok || e.Kind != tt.kind || !strings.Contains(e.Detail, tt.want) || len(e.Detail) > 400 {
			t.Errorf("%d %.40s: got %v, want %v with %q", tt.status, tt.body, err, tt.kind, tt.want)
		}
		for _, canary := range []string{secret, "Quaresma", "Can%C3%A1rio", "12345678909"} {
			if strings.Contains(err.Error(), canary) {
				t.Errorf("%d: %q leaks into %v", tt.status, canary, err)
			}
		}
	}
	// A page where the status should be is a wrong address, no missing charge.
	_, err := canned(t, 404, "text/html", "<h1>Not Found</h1>").GetCharge(t.Context(), providers.Ref{ProviderID: "r"})
	wantError(t, err, providers.Operator, "")
	if err := canned(t, 404, "text/html", "<h1>Not Found</h1>").CheckHealth(t.Context()); err == nil {
		t.Error("health is fine at a wrong address")
	}
	if err := canned(t, 401, "application/json", "{}").CheckHealth(t.Context()); err == nil {
		t.Error("health is fine with wrong credentials")
	}
}

// TestPayer: who pays comes from the call or the configuration, is never mixed, and
// must be a person.
func TestPayer(t *testing.T) {
	configured := providers.Payer{Name: "Beatriz Configurada", Document: "52998224725"}
	for _, tt := range []struct {
		name         string
		call, config providers.Payer
		kind         providers.Kind // 0: sent
		want         string         // what is sent, or the error's detail
	}{
		{"from the call", payer, configured, 0, "12345678909 Zulmira Quaresma Canário"},
		{"from the configuration", providers.Payer{Email: "x@y.example"}, configured, 0, "52998224725 Beatriz Configurada"},
		{"nobody", providers.Payer{}, providers.Payer{}, providers.PayerDataRequired, "payer.name, payer.document"},
		{"a name alone", providers.Payer{Name: "Zulmira"}, configured, providers.PayerDataRequired, "payer.document"},
		{"a company", providers.Payer{Name: "Loja", Document: "11222333000181"}, configured, providers.Invalid, "payer.document: a CNPJ"},
		{"a wrong CPF", providers.Payer{Name: "Zulmira", Document: "12345678901"}, configured, providers.Invalid, "payer.document: not a CPF"},
	} {
		c, sim, all := tapped(t, bspaybrsim.Options{}, func(c *Config) { c.Payer = tt.config })
		in := intent(1, 100)
		in.Payer = tt.call
		_, err := c.CreateCharge(t.Context(), in)
		if tt.kind != 0 {
			if e, ok := errors.AsType[*providers.Error](err); !ok || e.Kind != tt.kind || !strings.Contains(e.Detail, tt.want) {
				t.Errorf("%s: got %v, want %v with %q", tt.name, err, tt.kind, tt.want)
			}
			if n := sim.Log().Total(); n != 0 {
				t.Errorf("%s: %d requests were sent", tt.name, n)
			}
			continue
		}
		if err != nil {
			t.Fatalf("%s: %v", tt.name, err)
		}
		form, err := url.ParseQuery((*all)[0].Body)
		if got := form.Get("cpf") + " " + form.Get("nome"); err != nil || got != tt.want {
			t.Errorf("%s: got %q (%v), want %q", tt.name, got, err, tt.want)
		}
	}
}

// TestConfig: each problem is found, by its name, without its secret.
func TestConfig(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*Config)
		want   string
	}{
		{"fine", func(*Config) {}, ""},
		{"no url", func(c *Config) { c.URL = "" }, "url: missing"},
		{"plain HTTP", func(c *Config) { c.AllowInsecureHTTP = false }, "url: plain HTTP"},
		{"no id", func(c *Config) { c.ClientID = "" }, "client_id: missing"},
		{"no secret", func(c *Config) { c.ClientSecret = "" }, "client_secret: missing"},
		{"a line break", func(c *Config) { c.ClientSecret = secret + "\n" }, "client_id: id or secret hold"},
		{"no callback", func(c *Config) { c.CallbackURL = "" }, "bspaybr.callback_url: not a public https address"},
		{"a plain callback", func(c *Config) { c.CallbackURL = "http://hub.example.com" }, "bspaybr.callback_url: not a public https address"},
		{"a callback with a query", func(c *Config) { c.CallbackURL = "https://hub.example.com/?a=b" }, "bspaybr.callback_url: not a public https address"},
		{"a method", func(c *Config) { c.StatusMethod = "put" }, `bspaybr.status_method: unknown word "put"`},
		{"headers", func(c *Config) { c.StatusAuth = "basic" }, `bspaybr.status_auth: unknown word "basic"`},
		{"a path", func(c *Config) { c.StatusPath = "status?id=" }, "bspaybr.status_path: not a path"},
		{"a company", func(c *Config) { c.Payer.Document = "11222333000181" }, "payer.document: a CNPJ"},
		{"a host", func(c *Config) { c.LocationHosts = []string{"https://x"} }, "allowed_hosts: not a bare host name"},
		{"a check", func(c *Config) { c.CodeCheck = "off" }, `brcode_check: unknown word "off"`},
	} {
		cfg := config()
		tt.change(&cfg)
		_, err := New(cfg, nil, nil)
		switch {
		case tt.want == "" && err != nil, tt.want != "" && (err == nil || !strings.HasPrefix(err.Error(), tt.want)):
			t.Errorf("%s: got %v, want %q", tt.name, err, tt.want)
		case err != nil && (strings.Contains(err.Error(), secret) || strings.Contains(err.Error(), callbackKey)):
			t.Errorf("%s: a secret in %v", tt.name, err)
		}
	}
}
