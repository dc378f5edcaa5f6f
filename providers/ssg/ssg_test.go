package ssg

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/pelletier/go-toml/v2"

	_ "github.com/ssg-safe/agent/internal/bubbles"
	"github.com/ssg-safe/agent/money"
	"github.com/ssg-safe/agent/providers"
	"github.com/ssg-safe/agent/providers/simkit"
	"github.com/ssg-safe/agent/providers/ssg/ssgsim"
	"github.com/ssg-safe/agent/redact"
)

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// newClient is an adapter and its simulator in memory.
func newClient(t *testing.T, o ssgsim.Options, change func(*Config)) (*Client, *ssgsim.Sim) {
	t.Helper()
	sim := newSim(t, o)
	cfg := config()
	if change != nil {
		change(&cfg)
	}
	c, err := New(cfg, providers.Memory(sim), slog.New(slog.NewTextHandler(t.Output(), nil)))
	if err != nil {
		t.Fatal(err)
	}
	return c, sim
}

func wantError(t *testing.T, err error, kind providers.Kind, code string) *providers.Error {
	t.Helper()
	e, ok := errors.AsType[*providers.Error](err)
	if !ok || e.Kind != kind || e.Code != code {
		t.Fatalf("got %v, want a %v error with code %q", err, kind, code)
	}
	return e
}

// TestOnTheWire pins what is sent, byte for byte.
func TestOnTheWire(t *testing.T) {
	var paths, bodies []string
	sim := newSim(t, ssgsim.Options{})
	cfg := config()
	cfg.BaseURL += "/prefix/"
	// 02:59:59.9 UTC is still the day before in São Paulo.
	cfg.Now = func() time.Time { return time.Date(2026, 3, 1, 2, 49, 59, 900_000_000, time.UTC) }
	memory := providers.Memory(http.StripPrefix("/prefix", sim))
	c, err := New(cfg, roundTripper(func(r *http.Request) (*http.Response, error) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return nil, err
		}
		paths, bodies = append(paths, r.Method+" "+r.URL.String()), append(bodies, string(body))
		r.Body = io.NopCloser(strings.NewReader(string(body)))
		return memory.RoundTrip(r)
	}), nil)
	if err != nil {
		t.Fatal(err)
	}
	in := intent(1, 100)
	in.Payer.Document, in.Payer.Postcode, in.Payer.State = "123.456.789-09", "04711-222", "sp"
	ch, err := c.CreateCharge(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.GetCharge(t.Context(), providers.Ref{ProviderID: ch.ProviderID}); err != nil {
		t.Fatal(err)
	}
	wantPaths := []string{
		"POST http://provider.test/prefix/oauth/token", "POST http://provider.test/prefix/api/generate-qrcode",
		"POST http://provider.test/prefix/api/qrcode/status",
	}
	wantBodies := []string{
		`{"grant_type":"client_credentials","client_id":"client-7","client_secret":"c4nary-client-secret-Xy77"}`,
		`{"valor":"1.00","chave":"12345678000195","data_expiracao":"2026-02-28T23:59:59","nome_pagador":"Zulmira Quaresma Canario",` +
			`"email_pagador":"zulmira.canario@pagadora.example","documento_pagador":"12345678909","cep_pagador":"04711222",` +
			`"endereco_pagador":"Rua Xavantina 4711","cidade_pagador":"Jaguapitanga","uf_pagador":"SP","account_id":"06919b2b-4274-457a-84b0-4cf4de1405fb"}`,
		`{"qrcode_id":"` + ch.ProviderID + `"}`,
	}
	if d := cmp.Diff(wantPaths, paths); d != "" {
		t.Errorf("paths:\n%s", d)
	}
	if d := cmp.Diff(wantBodies, bodies); d != "" {
		t.Errorf("bodies:\n%s", d)
	}
	if want := time.Date(2026, 3, 1, 2, 59, 59, 0, time.UTC); !ch.ExpiresAt.Equal(want) || ch.ExpiresAt.Location() != time.UTC {
		t.Errorf("got expiry %v, want %v", ch.ExpiresAt, want)
	}
}

func TestPayerData(t *testing.T) {
	defaults := payer
	for _, tt := range []struct {
		name         string
		call, config providers.Payer
		kind         providers.Kind // 0: success
		code, detail string
		sentName     string
	}{
		{name: "from the call", call: payer, sentName: "Zulmira Quaresma Canario"},
		{name: "from the configuration", config: defaults, sentName: "Zulmira Quaresma Canario"},
		{
			name: "nowhere", kind: providers.PayerDataRequired, code: "payer_data_required",
			detail: "payer.name, payer.document, payer.email, payer.address, payer.city, payer.state, payer.postcode",
		},
		{
			name: "never mixed", call: providers.Payer{Name: "Outra Pessoa"}, config: defaults,
			kind: providers.PayerDataRequired, code: "payer_data_required", detail: "payer.document",
		},
		{
			name: "never mixed the other way", call: providers.Payer{Document: "52998224725"}, config: defaults,
			kind: providers.PayerDataRequired, code: "payer_data_required", detail: "payer.name",
		},
		{
			name: "name and document from the call, rest configured",
			call: providers.Payer{Name: "Outra Pessoa", Document: "52998224725"}, config: defaults, sentName: "Outra Pessoa",
		},
		{
			name: "half an address", call: providers.Payer{City: "Recife"}, config: defaults,
			kind: providers.PayerDataRequired, code: "payer_data_required", detail: "payer.address, payer.state, payer.postcode",
		},
		{
			name: "CNPJ with letters", call: with(func(p *providers.Payer) { p.Document = "12ABC34501DE35" }),
			kind: providers.Invalid, code: "unsupported_document",
		},
		{name: "wrong check digits", call: with(func(p *providers.Payer) { p.Document = "12345678900" }), kind: providers.Invalid, code: "invalid_payer", detail: "payer.document: neither CPF nor CNPJ: wrong length or check digits"},
		{name: "12 digits", call: with(func(p *providers.Payer) { p.Document = "123456789012" }), kind: providers.Invalid, code: "invalid_payer"},
		{name: "CNPJ", call: with(func(p *providers.Payer) { p.Document = "11.222.333/0001-81" }), sentName: "Zulmira Quaresma Canario"},
		{name: "long name", call: with(func(p *providers.Payer) { p.Name = redact.Name(strings.Repeat("é", 256)) }), kind: providers.Invalid, code: "invalid_payer"},
		{name: "name of 255", call: with(func(p *providers.Payer) { p.Name = redact.Name(strings.Repeat("é", 255)) }), sentName: strings.Repeat("é", 255)},
		{name: "control character", call: with(func(p *providers.Payer) { p.City = "Reci\nfe" }), kind: providers.Invalid, code: "invalid_payer"},
		{name: "no e-mail", call: with(func(p *providers.Payer) { p.Email = "nobody" }), kind: providers.Invalid, code: "invalid_payer", detail: "payer.email: not an e-mail address"},
		{name: "postcode of 7", call: with(func(p *providers.Payer) { p.Postcode = "0471122" }), kind: providers.Invalid, code: "invalid_payer"},
		{name: "state in full", call: with(func(p *providers.Payer) { p.State = "São Paulo" }), kind: providers.Invalid, code: "invalid_payer"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, sim := newClient(t, ssgsim.Options{Strict: true}, func(cfg *Config) { cfg.Payer = tt.config })
			in := intent(1, 100)
			in.Payer = tt.call
			req, _, _ := c.newCreate(in)
			_, err := c.CreateCharge(t.Context(), in)
			if tt.kind == 0 {
				if err != nil {
					t.Fatal(err)
				}
				if req.Name != tt.sentName {
					t.Errorf("sent name %q, want %q", req.Name, tt.sentName)
				}
				return
			}
			e := wantError(t, err, tt.kind, tt.code)
			if tt.detail != "" && e.Detail != tt.detail {
				t.Errorf("got detail %q, want %q", e.Detail, tt.detail)
			}
			if n := sim.Log().Total(); n != 0 {
				t.Errorf("%d requests were sent", n)
			}
		})
	}
}

func with(change func(*providers.Payer)) providers.Payer {
	p := payer
	change(&p)
	return p
}

func TestIntentRefused(t *testing.T) {
	c, sim := newClient(t, ssgsim.Options{}, nil)
	for code, change := range map[string]func(*providers.Intent){
		"invalid_amount":  func(in *providers.Intent) { in.Amount = 100_000_000_000_000 },
		"invalid_expiry":  func(in *providers.Intent) { in.Expiry = 999 * time.Millisecond },
		"invalid_key":     func(in *providers.Intent) { in.Key = "12345678900" },
		"invalid_account": func(in *providers.Intent) { in.Account = "7" },
	} {
		in := intent(1, 100)
		change(&in)
		_, err := c.CreateCharge(t.Context(), in)
		wantError(t, err, providers.Invalid, code)
	}
	_, err := c.GetCharge(t.Context(), providers.Ref{})
	wantError(t, err, providers.Invalid, "invalid_id")
	if n := sim.Log().Total(); n != 0 {
		t.Errorf("%d requests were sent", n)
	}
}

func TestWords(t *testing.T) {
	for word, want := range map[string]providers.Status{
		"PENDENTE": providers.StatusPending, "pago": providers.StatusPaid, "Expirado": providers.StatusExpired,
		"PAGO ": providers.StatusUncertain, "": providers.StatusUncertain, "PAID": providers.StatusUncertain, "CANCELADO": providers.StatusUncertain,
	} {
		if got := statusOf(word); got != want {
			t.Errorf("%q: got %s, want %s", word, got, want)
		}
	}
}

func TestErrorBodies(t *testing.T) {
	c, sim := newClient(t, ssgsim.Options{}, nil)
	ch, err := c.CreateCharge(t.Context(), intent(1, 100))
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.GetCharge(t.Context(), providers.Ref{ProviderID: "x"})
	if e := wantError(t, err, providers.NotFound, "543235"); e.Detail != "ID não encontrado" || e.HTTP != 404 {
		t.Errorf("got %v", e)
	}
	fail := func(arg string) error {
		t.Helper()
		if err := sim.Script().Set(simkit.Rule{Route: "status", Fault: simkit.HTTP, Arg: arg, Next: 1}); err != nil {
			t.Fatal(err)
		}
		_, err := c.GetCharge(t.Context(), providers.Ref{ProviderID: ch.ProviderID})
		return err
	}
	wantError(t, fail("500"), providers.Ambiguous, "13123123123") // more than 32 bits
	if e := wantError(t, fail("422"), providers.Invalid, ""); e.Detail != "The given data was invalid.; valor: The valor format is invalid." {
		t.Errorf("got detail %q", e.Detail)
	}
}

func TestParseFailure(t *testing.T) {
	for _, tt := range []struct{ body, code, detail string }{
		{`{"codigo_erro":"E1","mensagem":"a"}`, "E1", "a"},
		{`{"codigo_erro":9223372036854775807,"mensagem":7}`, "9223372036854775807", ""},
		{`{"codigo_erro":9223372036854775808}`, "", ""},
		{`{"codigo_erro":1.5}`, "", ""},
		{`{"message":"m","errors":{"b":["x","y"],"a":"z","c":[],"d":3}}`, "", "m; a: z; b: x; c; d"},
		{`{"message":"m","errors":["x"]}`, "", "m"},
		{`{"error":"invalid_client","error_description":"d","message":"d"}`, "invalid_client", "d"},
		{`[{"mensagem":"a"}]`, "", ""},
		{`<html>`, "", ""},
		{``, "", ""},
	} {
		code, detail := parseFailure([]byte(tt.body))
		if code != tt.code || detail != tt.detail {
			t.Errorf("%s: got %q, %q, want %q, %q", tt.body, code, detail, tt.code, tt.detail)
		}
	}
}

func TestCodes(t *testing.T) {
	try := func(t *testing.T, how string, change func(*Config)) (providers.Charge, error) {
		t.Helper()
		c, sim := newClient(t, ssgsim.Options{}, change)
		if err := sim.Script().Set(simkit.Rule{Route: "create", Fault: simkit.Code, Arg: how}); err != nil {
			t.Fatal(err)
		}
		return c.CreateCharge(t.Context(), intent(1, 1234))
	}
	warn := func(cfg *Config) { cfg.CodeCheck = CheckWarn }
	t.Run("a static code for our own key", func(t *testing.T) {
		if ch, err := try(t, "own_key", nil); err != nil || ch.BRCode == "" {
			t.Errorf("got %v", err)
		}
	})
	t.Run("any host where none is configured", func(t *testing.T) {
		if _, err := try(t, "host", func(cfg *Config) { cfg.LocationHosts = nil }); err != nil {
			t.Errorf("got %v", err)
		}
	})
	for how, says := range map[string]string{
		"crc": "tag 63", "amount": "tag 54", "host": "location_hosts", "foreign_key": "not ours", "recurrence": "tag 80",
	} {
		t.Run("warn "+how, func(t *testing.T) {
			ch, err := try(t, how, warn)
			if err != nil {
				t.Fatal(err)
			}
			if ch.BRCode == "" || len(ch.Warnings) != 1 || !strings.Contains(ch.Warnings[0], says) {
				t.Errorf("got warnings %q of code %q, want one that says %q", ch.Warnings, ch.BRCode, says)
			}
		})
		t.Run("strict "+how, func(t *testing.T) {
			_, err := try(t, how, nil)
			if e := wantError(t, err, providers.Security, "brcode_check"); !strings.Contains(e.Detail, says) {
				t.Errorf("got %v, want it to say %q", e, says)
			}
		})
	}
	t.Run("never what cannot be a code", func(t *testing.T) {
		sim := providers.Memory(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/oauth/token" {
				io.WriteString(w, `{"token_type":"bearer","expires_in":"60","access_token":"t"}`) // in memory
				return
			}
			w.WriteHeader(http.StatusCreated)
			io.WriteString(w, `{"data":{"id":"1","qrcode":"0002\u001b[2J"}}`) // in memory
		}))
		cfg := config()
		warn(&cfg)
		c, err := New(cfg, sim, nil)
		if err != nil {
			t.Fatal(err)
		}
		ch, err := c.CreateCharge(t.Context(), intent(1, 100))
		wantError(t, err, providers.Security, "brcode_check")
		if ch.BRCode != "" || ch.ProviderID != "1" {
			t.Errorf("got %+v", ch)
		}
	})
}

// TestConfig: all problems at once, each by its field.
func TestConfig(t *testing.T) {
	if err := config().Validate(); err != nil {
		t.Fatal(err)
	}
	bad := Config{
		BaseURL: "http://user:pw@host?x=1", AccountID: "7", LocationHosts: []string{"https://x/", "ok.example"}, CodeCheck: "maybe",
		UserAgent: "a\nb",
		Payer:     providers.Payer{Name: "A", State: "S", Email: "x", Document: "12ABC34501DE35"},
	}
	var got []string
	err := bad.Validate()
	for _, e := range err.(interface{ Unwrap() []error }).Unwrap() {
		f, ok := errors.AsType[*providers.FieldError](e)
		if !ok {
			t.Fatalf("got %T", e)
		}
		got = append(got, f.Field)
	}
	want := []string{
		"base_url", "client_id", "client_secret", "account_id", "payer.document", "payer.email", "payer.state",
		"payer.address", "payer.city", "payer.postcode", "location_hosts", "code_check", "user_agent",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("fields:\n%s\n%v", d, err)
	}
	if _, err := New(bad, nil, nil); err == nil {
		t.Error("New takes a bad configuration")
	}
	for url, says := range map[string]string{
		"": "missing", "http://h": "plain HTTP", "ftp://h": "scheme", "h:81": "not a URL", "https://": "not a URL", "https://h/#x": "fragment",
		"https://h": "", "https://h:81/a/b/": "",
	} {
		cfg := config()
		cfg.BaseURL, cfg.AllowInsecureHTTP = url, false
		if err := cfg.Validate(); (says == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), says) {
			t.Errorf("%q: got %v, want %q", url, err, says)
		}
	}
}

func TestConfigPrints(t *testing.T) {
	cfg := config()
	cfg.Payer = payer
	c, err := New(cfg, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		for _, v := range []any{cfg, &cfg, c, *c.cfg, struct{ C *Client }{c}} { // printing is what is tested
			if out := fmt.Sprintf(verb, v); strings.Contains(out, secret) || strings.Contains(out, "Quaresma C") || strings.Contains(out, "12345678909") {
				t.Errorf("%s of %T leaks: %s", verb, v, out)
			}
		}
	}
}

// TestConfigFile: the struct's tags fit a strict TOML decoder.
func TestConfigFile(t *testing.T) {
	var got Config
	err := toml.NewDecoder(strings.NewReader(`
base_url = "https://pix.example"
client_id = "client-7"
client_secret = "s"
account_id = "06919b2b-4274-457a-84b0-4cf4de1405fb"
location_hosts = ["pix.ssg.example"]
code_check = "warn"
user_agent = "kiosk"
allow_insecure_http = false
[payer]
name = "Loja"
document = "11222333000181"
email = "a@b.example"
address = "Rua A, 1"
city = "Recife"
state = "PE"
postcode = "50000000"
`)).DisallowUnknownFields().Decode(&got)
	if err != nil {
		t.Fatal(err)
	}
	if err := got.Validate(); err != nil {
		t.Error(err)
	}
	if got.ClientSecret.Reveal() != "s" || got.Payer.Postcode.Reveal() != "50000000" || got.CodeCheck != CheckWarn {
		t.Errorf("got %+v", got)
	}
}

func TestPollSchedule(t *testing.T) {
	c, _ := newClient(t, ssgsim.Options{}, nil)
	p := c.Caps().Poll
	// Walk a code of five minutes: 15 polls in 30 s, 30 to 2 min, 36 to 5 min, then ten late ones.
	polls := 0
	for age := time.Duration(0); age < 5*time.Minute; polls++ {
		for i, step := range p.Open {
			if age < step.Until || i == len(p.Open)-1 {
				age += step.Every
				break
			}
		}
	}
	if polls != 15+30+36 || p.Late != 30*time.Second || p.Times != 10 {
		t.Errorf("got %d polls in five minutes, then every %v × %d", polls, p.Late, p.Times)
	}
	if caps := c.Caps(); caps.Idempotent || caps.LookUp {
		t.Errorf("got %+v, want neither idempotency nor look-up", caps)
	}
}

// TestRandomFaults lets a small terminal work through random fault schedules:
// what it believes to be paid is exactly what the provider has as paid among
// the charges it knows, and an orphan is never paid, because nobody saw it.
func TestRandomFaults(t *testing.T) {
	created, settled := 0, 0
	for seed := range uint64(60) {
		synctest.Test(t, func(t *testing.T) {
			rules, err := simkit.ParseRules(`
				*:latency=10ms..30s@0.3, create:drop_before@0.1, create:drop_after@0.1, create:truncate@0.05, create:cut@0.05,
				create:error_after=500@0.05, create:html@0.05, create:code=crc@0.05, create:http=401@0.05, create:rate=3s@0.05,
				token:http=500@0.2, token:drop_after@0.1, status:http=500@0.1, status:truncate@0.1, status:slow=20s@0.1,
				status:http=401@0.05, status:word=TALVEZ@0.05, status:echo@0.05, status:html_after@0.05`)
			if err != nil {
				t.Fatal(err)
			}
			c, sim := newClient(t, ssgsim.Options{Seed: seed, PayAfter: 7 * time.Second, PayFraction: 0.8, Faults: rules}, nil)
			rng := rand.New(rand.NewPCG(seed, 0))
			paid := map[string]money.Amount{}
			known := map[string]bool{}
			for n := range 8 {
				amount := money.Amount(1 + rng.IntN(100000))
				in := intent(n, amount)
				in.Expiry = 2 * time.Minute
				ch, err := c.CreateCharge(t.Context(), in)
				if err != nil {
					e, ok := errors.AsType[*providers.Error](err)
					if !ok {
						t.Fatalf("got %v", err)
					}
					if made := find(sim, ch.ProviderID); ch.ProviderID != "" && (made == nil || !e.Kind.OutcomeUnknown()) {
						t.Errorf("error %v names charge %q", err, ch.ProviderID)
					}
					continue
				}
				known[ch.ProviderID] = true
				for range 60 {
					time.Sleep(2 * time.Second)
					got, err := c.GetCharge(t.Context(), providers.Ref{ProviderID: ch.ProviderID})
					if err == nil && got.Status == providers.StatusPaid {
						paid[ch.ProviderID] = amount
						break
					}
					if err == nil && got.Status == providers.StatusExpired {
						break
					}
				}
			}
			if err := sim.Script().Set(); err != nil {
				t.Fatal(err)
			}
			truth := map[string]money.Amount{}
			for _, line := range sim.Charges() {
				if line.Status == providers.StatusPaid {
					truth[line.ID] = line.Amount
				}
				if line.Status == providers.StatusPaid && !known[line.ID] {
					t.Errorf("seed %d: orphan %s is paid", seed, line.ID)
				}
			}
			if d := cmp.Diff(truth, paid); d != "" {
				t.Errorf("seed %d: provider and terminal differ (-provider +terminal):\n%s", seed, d)
			}
			created += len(sim.Charges())
			settled += len(paid)
		})
	}
	if created < 200 || settled < 100 || settled > created*9/10 {
		t.Errorf("%d of %d charges were paid; the schedules do not try much", settled, created)
	}
	t.Logf("%d charges, %d paid", created, settled)
}

func find(sim *ssgsim.Sim, id string) *simkit.Charge {
	lines := sim.Charges()
	if i := slices.IndexFunc(lines, func(c simkit.Charge) bool { return c.ID == id }); i >= 0 {
		return &lines[i]
	}
	return nil
}

func TestHealth(t *testing.T) {
	c, sim := newClient(t, ssgsim.Options{}, nil)
	if err := c.CheckHealth(t.Context()); err != nil {
		t.Error(err)
	}
	if err := sim.Script().Set(simkit.Rule{Route: "*", Fault: simkit.HTTP, Arg: "401"}); err != nil {
		t.Fatal(err)
	}
	if e, ok := errors.AsType[*providers.Error](c.CheckHealth(context.Background())); !ok || e.Kind != providers.Auth {
		t.Errorf("with refused credentials: got %v, want an auth error", e)
	}
}
