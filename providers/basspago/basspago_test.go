package basspago

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	_ "github.com/ssg-safe/agent/internal/bubbles"
	"github.com/ssg-safe/agent/money"
	"github.com/ssg-safe/agent/providers"
	"github.com/ssg-safe/agent/providers/basspago/basspagosim"
	"github.com/ssg-safe/agent/providers/simkit"
	"github.com/ssg-safe/agent/redact"
)

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// sent is a request as the provider gets it.
type sent struct{ Path, Query, Code, Body string }

// tapped makes a client for a fresh simulator, and keeps what it sends and logs.
func tapped(t *testing.T, o basspagosim.Options, change func(*Config)) (*Client, *basspagosim.Sim, *[]sent, *bytes.Buffer) {
	t.Helper()
	sim := newSim(t, o)
	cfg := config()
	if change != nil {
		change(&cfg)
	}
	memory := providers.Memory(sim)
	var all []sent
	var log bytes.Buffer
	c, err := New(cfg, roundTripper(func(r *http.Request) (*http.Response, error) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return nil, err
		}
		all = append(all, sent{strings.TrimPrefix(r.URL.Path, basspagosim.Path), r.URL.RawQuery, r.Header.Get("Encrypted-Security-Code"), string(body)})
		r.Body = io.NopCloser(bytes.NewReader(body))
		return memory.RoundTrip(r)
	}), slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})))
	if err != nil {
		t.Fatal(err)
	}
	return c, sim, &all, &log
}

func faults(t *testing.T, sim *basspagosim.Sim, rules ...simkit.Rule) {
	t.Helper()
	if err := sim.Script().Set(rules...); err != nil {
		t.Fatal(err)
	}
}

// canned makes a client whose provider says one thing.
func canned(t *testing.T, status int, body string) *Client {
	t.Helper()
	c, err := New(config(), providers.Memory(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		io.WriteString(w, body) // the client may have gone
	})), nil)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func wantError(t *testing.T, what string, err error, kind providers.Kind, code string) {
	t.Helper()
	if e, ok := errors.AsType[*providers.Error](err); !ok || e.Kind != kind || e.Code != code {
		t.Errorf("%s: got %v, want %v with code %q", what, err, kind, code)
	}
}

func create(t *testing.T, c *Client, in providers.Intent) (providers.Charge, providers.Ref) {
	t.Helper()
	ch, err := c.CreateCharge(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	return ch, providers.Ref{Charge: in.ID, Attempt: in.Attempt, ProviderID: ch.ProviderID, Token: ch.Token}
}

// TestVectors: the code that signs the list, for both keys of the document, whole and
// cut to the length of its sample.
func TestVectors(t *testing.T) {
	raw, err := os.ReadFile("testdata/vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	var all []struct {
		Name, Key, Message, Hex string
		Short                   string `json:"hex_trunc72"`
	}
	if err := json.Unmarshal(raw, &all); err != nil || len(all) != 2 {
		t.Fatalf("%d vectors (%v)", len(all), err)
	}
	for _, v := range all {
		public, _ := strings.CutPrefix(v.Message, "key=")
		for mode, want := range map[string]string{"": v.Hex, SignatureHMAC: v.Hex, SignatureTrunc72: v.Short, SignatureVerbatim: v.Key} {
			c := Config{Key: public, Secret: redact.Secret(v.Key), Signature: mode}
			if got := c.securityCode().Reveal(); got != want {
				t.Errorf("%s, %q: got %s, want %s", v.Name, mode, got, want)
			}
		}
	}
}

// TestOnTheWire pins what is sent, byte for byte, and that the code goes with the
// list alone.
func TestOnTheWire(t *testing.T) {
	c, _, all, _ := tapped(t, basspagosim.Options{}, nil)
	ch, ref := create(t, c, intent(1, 15050))
	if _, err := c.GetCharge(t.Context(), ref); err != nil {
		t.Fatal(err)
	}
	ref.Token = ""
	if _, err := c.GetCharge(t.Context(), ref); err != nil {
		t.Fatal(err)
	}
	want := []sent{
		{"/create-paycheckout", "", "", `{"amount":150.50,"devedor":{"devedorBairro":"Gaiolas","devedorCep":"01001000","devedorCidade":"Viveiro",` +
			`"devedorEndereco":"Rua Passarinho, 17","devedorInscricaoNacional":"12345678909","devedorMail":"canario@quaresma.example",` +
			`"devedorNome":"Zulmira Quaresma Canário","devedorUf":"SP"},"externalId":"T0010000000000000000000011","externalProductId":"terminal",` +
			`"externalProductName":"Pagamento no terminal","key":"xm9RSLfh3QW4PvFkIaDItbdjkdzyo2kZ","solicitacao":"teste"}`},
		{"/obtain-paycheckout", "", "", `{"token":"` + ch.Token.Reveal() + `"}`},
		{
			"/obtain-paycheckouts-api-list", "externalId.equals=T0010000000000000000000011&page=0&size=50&sort=createdAt%2Cdesc",
			c.cfg.securityCode().Reveal(), `{"key":"xm9RSLfh3QW4PvFkIaDItbdjkdzyo2kZ"}`,
		},
	}
	if d := cmp.Diff(want, *all); d != "" {
		t.Error(d)
	}
}

// TestSignatures: each mode opens a list that wants it, and no other; health says so.
func TestSignatures(t *testing.T) {
	modes := map[string]string{SignatureHMAC: basspagosim.HMAC, SignatureTrunc72: basspagosim.Trunc72, SignatureVerbatim: basspagosim.Verbatim}
	for ours := range modes {
		for theirs, wanted := range modes {
			for _, under200 := range []bool{false, true} {
				c, _, _, log := tapped(t, basspagosim.Options{Signature: wanted, ErrorsUnder200: under200}, func(c *Config) { c.Signature = ours })
				err := c.CheckHealth(t.Context())
				if ours == theirs && err != nil {
					t.Errorf("%s: %v", ours, err)
				} else if ours != theirs {
					wantError(t, ours+" where "+theirs+" is wanted", err, providers.Auth, "notValidKey")
				}
				if code := c.cfg.securityCode().Reveal(); strings.Contains(log.String(), code) || err != nil && strings.Contains(err.Error(), code) {
					t.Errorf("%s: the code is told", ours)
				}
			}
		}
	}
}

// TestSample reads the document's own sample, whose sums do not add up, and takes
// gross and net from it.
func TestSample(t *testing.T) {
	const body = `{"referenceNumber":"PCHN3OQDFTP","externalId":"ABCD00039","externalProductId":"P00001","externalProductName":"Paquete",
		"amount":2.0,"totalAmount":2.0,"key":"xm9RSLfh3QW4PvFkIaDItbdjkdzyo2kZ","devedorMail":"[email protected]","status":"APPROVED",
		"merchantName":"EMPRESA PAGAMENTOS LTDA","createdAt":"2023-08-15T13:45:28.825249Z","keyCurrencyCode":"BRL","payment":{"paymentType":"PIX",
		"amountPayed":1.99,"amountCredited":0.99,"valorDesconto":0.5,"valorJuros":0.25,"valorMulta":0.25,"dataPayment":"2023-08-15T13:46:58Z",
		"pagadorNome":"FABIO CARLOS ALVARES LIMA","pagadorInscricaoNacional":"60375093072"}}`
	const token = "QUWV8V6W9ZGZEBJ8Q25MIV0ZY7MUTOY0WTULIVA3XW2HPYNP"
	c := canned(t, 200, body)
	got, err := c.Checkout(t.Context(), token)
	want := Checkout{
		Reference: "PCHN3OQDFTP", ExternalID: "ABCD00039", Product: "Paquete", Amount: 200, Status: providers.StatusPaid, Word: "APPROVED",
		Created: time.Date(2023, 8, 15, 13, 45, 28, 825249000, time.UTC), Paid: new(money.Amount(199)), Credited: new(money.Amount(99)),
	}
	if d := cmp.Diff(want, got); d != "" || err != nil {
		t.Errorf("%s (%v)", d, err)
	}
	if text := fmt.Sprintf("%+v", got); strings.Contains(text, "FABIO") || strings.Contains(text, "60375093072") {
		t.Errorf("the payer is kept: %s", text)
	}
	ch, err := c.GetCharge(t.Context(), providers.Ref{ProviderID: "ABCD00039", Token: token})
	if err != nil || ch.Status != providers.StatusPaid || *ch.Amount != 199 {
		t.Errorf("got %+v (%v)", ch, err)
	}
	for what, change := range map[string][2]string{
		"another key":      {`"xm9RSLfh3QW4PvFkIaDItbdjkdzyo2kZ"`, `"BYJ0ZzDl9NtM59jaGPJVLVCEb5qR5Wp7"`},
		"another currency": {`"BRL"`, `"USD"`},
		"another checkout": {`"ABCD00039"`, `"ABCD00038"`},
	} {
		code := map[string]string{"another key": "wrong_key", "another currency": "wrong_currency", "another checkout": "wrong_echo"}[what]
		_, err := canned(t, 200, strings.Replace(body, change[0], change[1], 1)).GetCharge(t.Context(), providers.Ref{ProviderID: "ABCD00039", Token: token})
		wantError(t, what, err, providers.Security, code)
	}
	for what, change := range map[string][2]string{
		"no amount": {`"amount":2.0,`, ``}, "half a centavo": {`"amount":2.0`, `"amount":2.005`}, "a negative payment": {`1.99`, `-1.99`},
		"no status": {`"status":"APPROVED",`, ``}, "a status twice": {`"status"`, `"status":"PENDING","status"`}, "no reference": {`"referenceNumber":"PCHN3OQDFTP",`, ``},
	} {
		_, err := canned(t, 200, strings.Replace(body, change[0], change[1], 1)).GetCharge(t.Context(), providers.Ref{ProviderID: "ABCD00039", Token: token})
		wantError(t, what, err, providers.Contract, "")
	}
}

// TestErrors: a message without a reference is an error under any status, and what it
// means depends on what was asked.
func TestErrors(t *testing.T) {
	const token = "QUWV8V6W9ZGZEBJ8Q25MIV0ZY7MUTOY0WTULIVA3XW2HPYNP"
	for _, status := range []int{200, 400, 403, 404, 422} {
		c := canned(t, status, `{"message":"notValidKey"}`)
		_, err := c.CreateCharge(t.Context(), intent(1, 100))
		wantError(t, fmt.Sprint("create under ", status), err, providers.Auth, "notValidKey")
		_, err = c.GetCharge(t.Context(), providers.Ref{ProviderID: "x", Token: token})
		wantError(t, fmt.Sprint("status under ", status), err, providers.NotFound, "notValidKey")
		wantError(t, fmt.Sprint("health under ", status), c.CheckHealth(t.Context()), providers.Auth, "notValidKey")
	}
	for _, tt := range []struct {
		status int
		body   string
		kind   providers.Kind
		code   string
	}{
		{200, `{"message":"somethingElse"}`, providers.Contract, "somethingElse"}, // what was done is not known
		{200, `{"message":"O valor de FULANO DE TAL está errado"}`, providers.Contract, ""},
		{400, `{"message":"somethingElse"}`, providers.Invalid, "somethingElse"},
		{400, `{"message":"externalId duplicated"}`, providers.Ambiguous, "duplicate"}, // it is in the list
		{200, `{"message":"externalIdAlreadyExists"}`, providers.Ambiguous, "duplicate"},
		{500, `{"message":"notValidKey"}`, providers.Ambiguous, "notValidKey"},
		{404, `<html>`, providers.Operator, ""},
		{200, `{"token":"short"}`, providers.Contract, ""},
		{200, `{}`, providers.Contract, ""},
		{201, `"QUWV8V6W9ZGZEBJ8Q25MIV0ZY7MUTOY0 TULIVA3XW2HPYNP"`, providers.Contract, ""},
	} {
		ch, err := canned(t, tt.status, tt.body).CreateCharge(t.Context(), intent(1, 100))
		wantError(t, fmt.Sprint(tt.status, " ", tt.body), err, tt.kind, tt.code)
		if ch.ProviderID != "" || ch.Token != "" || ch.Status != "" {
			t.Errorf("%s: got %+v together with an error", tt.body, ch)
		}
	}
}

// TestPayer: what is missing is named before anything is sent, two people are never
// mixed, and the e-mail and the document are optional.
func TestPayer(t *testing.T) {
	c, _, all, _ := tapped(t, basspagosim.Options{}, func(c *Config) { c.Payer = payer })
	in := intent(1, 100)
	in.Payer = providers.Payer{Name: "Outra Pessoa", City: "Recife", Postcode: "50000000"}
	_, err := c.CreateCharge(t.Context(), in)
	wantError(t, "half a payer", err, providers.PayerDataRequired, "payer_data_required")
	if e := fmt.Sprint(err); !strings.Contains(e, "payer.address, payer.district, payer.state") || len(*all) != 0 {
		t.Errorf("got %v after %d requests", err, len(*all))
	}
	in.Payer.Address, in.Payer.District, in.Payer.State = "Rua B, 2", "Centro", "PE"
	if _, err := c.CreateCharge(t.Context(), in); err != nil || strings.Contains((*all)[0].Body, "Mail") || strings.Contains((*all)[0].Body, "Nacional") {
		t.Errorf("got %+v (%v)", *all, err)
	}
	in = intent(2, 100)
	in.Payer = providers.Payer{}
	if _, err := c.CreateCharge(t.Context(), in); err != nil || !strings.Contains((*all)[1].Body, "Zulmira") {
		t.Errorf("the configured payer: got %+v (%v)", *all, err)
	}
	for field, change := range map[string]func(*providers.Payer){
		"state": func(p *providers.Payer) { p.State = "sp" }, "postcode": func(p *providers.Payer) { p.Postcode = "01001-000" },
		"email": func(p *providers.Payer) { p.Email = "nobody" }, "document": func(p *providers.Payer) { p.Document = "12345678900" },
		"district": func(p *providers.Payer) { p.District = "a\nb" },
	} {
		in := intent(3, 100)
		change(&in.Payer)
		_, err := c.CreateCharge(t.Context(), in)
		wantError(t, field, err, providers.Invalid, "invalid_payer")
		if !strings.Contains(fmt.Sprint(err), "payer."+field) {
			t.Errorf("%s: got %v", field, err)
		}
	}
}

// TestAdopt: a shop's checkout is taken over by its token, and followed to its
// payment; what does not fit the charge is refused, and makes nothing.
func TestAdopt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, sim, _, log := tapped(t, basspagosim.Options{PayAfter: time.Minute}, nil)
		token, err := sim.Shop(4200)
		if err != nil {
			t.Fatal(err)
		}
		in := intent(1, 4200)
		in.Checkout, in.Payer = token, providers.Payer{}
		ch, ref := create(t, c, in)
		if shop := sim.Charges()[0]; ch.ProviderID != shop.ID || ch.Token != token || ch.BRCode != "" || ch.Status != providers.StatusPending {
			t.Errorf("got %+v, want %+v", ch, shop)
		}
		time.Sleep(time.Minute)
		got, err := c.GetCharge(t.Context(), ref)
		if err != nil || got.Status != providers.StatusPaid || *got.Amount != 4200 {
			t.Errorf("got %+v (%v)", got, err)
		}

		in.Amount = 4201
		_, err = c.CreateCharge(t.Context(), in)
		wantError(t, "another amount", err, providers.Conflict, "wrong_amount")
		in.Checkout = "QUWV8V6W9ZGZEBJ8Q25MIV0ZY7MUTOY0WTULIVA3XW2HPYNP"
		_, err = c.CreateCharge(t.Context(), in)
		wantError(t, "a token of nothing", err, providers.NotFound, "notValidKey")
		in.Checkout = "no token"
		_, err = c.CreateCharge(t.Context(), in)
		wantError(t, "no token", err, providers.Invalid, "invalid_token")
		in.Checkout, _ = sim.Shop(4201)
		if err := sim.Expire(sim.Charges()[1].ID); err != nil {
			t.Fatal(err)
		}
		_, err = c.CreateCharge(t.Context(), in)
		wantError(t, "a rejected one", err, providers.Conflict, "checkout_over")
		other, err := New(func() Config { c := config(); c.Key = "another"; return c }(), providers.Memory(sim), nil)
		if err != nil {
			t.Fatal(err)
		}
		in.Checkout, in.Amount = token, 4200
		_, err = other.CreateCharge(t.Context(), in)
		wantError(t, "another key's", err, providers.Conflict, "wrong_key")
		if n := len(sim.Charges()); n != 2 {
			t.Errorf("the provider has %d checkouts, want the shop's 2", n)
		}
		for _, told := range []string{log.String(), fmt.Sprint(err), fmt.Sprintf("%+v %v", ch, ref)} {
			if strings.Contains(told, token.Reveal()) {
				t.Errorf("the token is told: %s", told)
			}
		}
	})
}

// TestPaymentNull: an approval that says nothing of its payment is weaker evidence,
// without an amount.
func TestPaymentNull(t *testing.T) {
	c, sim, _, _ := tapped(t, basspagosim.Options{}, nil)
	ch, ref := create(t, c, intent(1, 4200))
	if err := sim.Pay(ch.ProviderID); err != nil {
		t.Fatal(err)
	}
	faults(t, sim, simkit.Rule{Route: basspagosim.RouteStatus, Fault: basspagosim.PaymentNull})
	got, err := c.GetCharge(t.Context(), ref)
	if err != nil || got.Status != providers.StatusPaid || got.Amount != nil {
		t.Errorf("got %+v (%v), want paid without an amount", got, err)
	}
}

func TestValidate(t *testing.T) {
	for _, tt := range []struct {
		field  string
		change func(*Config)
	}{
		{"", func(*Config) {}},
		{"", func(c *Config) { c.Environment, c.AllowSandboxURL = Production, true }},
		{"", func(c *Config) { c.Environment, c.URL = "", "https://pay.example.com/checkout" }},
		{"url", func(c *Config) { c.Environment = Production }},
		{"url", func(c *Config) { c.Environment = "" }},
		{"url", func(c *Config) { c.Environment, c.URL = Production, "https://SANDBOX.example.com/checkout" }},
		{"url", func(c *Config) { c.AllowInsecureHTTP = false }},
		{"basspago.environment", func(c *Config) { c.Environment, c.URL = "prod", "https://pay.example.com" }},
		{"client_id", func(c *Config) { c.Key = "" }},
		{"client_id", func(c *Config) { c.Key = "a b" }},
		{"client_secret", func(c *Config) { c.Secret = "" }},
		{"client_secret", func(c *Config) { c.Signature, c.Secret = SignatureVerbatim, "a\nb" }},
		{"basspago.signature", func(c *Config) { c.Signature = "md5" }},
		{"basspago.product_name", func(c *Config) { c.ProductName = "\x00" }},
		{"payer.state", func(c *Config) { c.Payer.State = "sp" }},
		{"user_agent", func(c *Config) { c.UserAgent = "\x00" }},
	} {
		c := config()
		tt.change(&c)
		err := c.Validate()
		e, _ := errors.AsType[*providers.FieldError](err)
		if (err == nil) != (tt.field == "") || err != nil && e.Field != tt.field {
			t.Errorf("got %v, want a problem of %q", err, tt.field)
		}
		if text := fmt.Sprintf("%v %+v %#v %v", err, c, c, &c); strings.Contains(text, secret) {
			t.Errorf("the secret is told: %s", text)
		}
	}
}
