package bspay

import (
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	_ "github.com/ssg-safe/agent/internal/bubbles"
	"github.com/ssg-safe/agent/providers"
	"github.com/ssg-safe/agent/providers/bspay/bspaysim"
	"github.com/ssg-safe/agent/providers/simkit"
)

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// newClient is an adapter and its simulator in memory.
func newClient(t *testing.T, o bspaysim.Options, change func(*Config)) (*Client, *bspaysim.Sim) {
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

func faults(t *testing.T, sim *bspaysim.Sim, rules ...simkit.Rule) {
	t.Helper()
	if err := sim.Script().Set(rules...); err != nil {
		t.Fatal(err)
	}
}

func wantError(t *testing.T, err error, kind providers.Kind, code string) *providers.Error {
	t.Helper()
	e, ok := errors.AsType[*providers.Error](err)
	if !ok || e.Kind != kind || e.Code != code {
		t.Fatalf("got %v, want a %v error with code %q", err, kind, code)
	}
	return e
}

// sent is what went over a wire.
type sent struct {
	Line, Body string
	Header     http.Header
}

// tapped is a client whose requests are noted.
func tapped(t *testing.T, o bspaysim.Options, change func(*Config)) (*Client, *bspaysim.Sim, *[]sent) {
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
		all = append(all, sent{r.Method + " " + r.URL.RequestURI(), string(body), r.Header.Clone()})
		r.Body = io.NopCloser(strings.NewReader(string(body)))
		return memory.RoundTrip(r)
	}), nil)
	if err != nil {
		t.Fatal(err)
	}
	return c, sim, &all
}

// TestOnTheWire pins what is sent, byte for byte.
func TestOnTheWire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // whose clock begins at 2000-01-01
		c, _, all := tapped(t, bspaysim.Options{}, func(cfg *Config) { cfg.PostbackURL = "https://hub.example.com/bspay" })
		in := intent(1, 15050)
		in.Payer.Document = "123.456.789-09"
		ch, err := c.CreateCharge(t.Context(), in)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.GetCharge(t.Context(), providers.Ref{Charge: in.ID, ProviderID: ch.ProviderID}); err != nil {
			t.Fatal(err)
		}
		if _, err := c.GetCharge(t.Context(), providers.Ref{Charge: "nothing"}); err == nil {
			t.Fatal("found nothing")
		}
		want := []sent{
			{Line: "POST /v2/oauth/token", Body: `{"grant_type":"client_credentials"}`},
			{Line: "POST /v2/transactions/cashin", Body: `{"amount":150.50,"currency":"BRL","external_id":"T001000000000000000000001","description":"teste",` +
				`"payer":{"name":"Zulmira Quaresma Canario","document":"12345678909","email":"zulmira.canario@pagadora.example"},` +
				`"postback_url":"https://hub.example.com/bspay"}`},
			{Line: "POST /v2/account/transactions/list", Body: `{"page":1,"page_size":100,"type":"cashin","external_id":"T001000000000000000000001"}`},
			{Line: "POST /v2/account/transactions/list", Body: `{"page":1,"page_size":100,"type":"cashin","external_id":"nothing"}`},
			{Line: "POST /v2/account/transactions/list", Body: `{"page":1,"page_size":100,"from_date":"1999-12-29","to_date":"2000-01-02"}`},
		}
		for i, s := range *all {
			if h := s.Header.Get("X-Signature") + s.Header.Get("X-Nonce"); h != "" {
				t.Errorf("%s is signed", s.Line)
			}
			(*all)[i].Header = nil
		}
		if d := cmp.Diff(want, *all); d != "" {
			t.Error(d)
		}
		if want := time.Date(2000, 1, 1, 0, 10, 0, 0, time.UTC); !ch.ExpiresAt.Equal(want) {
			t.Errorf("got expiry %v, want %v", ch.ExpiresAt, want)
		}
	})
}

// TestSameID: one id is one charge, and what an answer says of it counts.
func TestSameID(t *testing.T) {
	for name, o := range map[string]bspaysim.Options{
		"same transaction": {}, "409": {Conflict: true}, "409, no filter": {Conflict: true, IgnoreFilters: true},
	} {
		t.Run(name, func(t *testing.T) {
			c, sim := newClient(t, o, nil)
			first, err := c.CreateCharge(t.Context(), intent(1, 100))
			if err != nil {
				t.Fatal(err)
			}
			again, err := c.CreateCharge(t.Context(), intent(1, 100))
			if err != nil || again.ProviderID != first.ProviderID || again.BRCode != first.BRCode {
				t.Errorf("got %q (%v), want %q", again.ProviderID, err, first.ProviderID)
			}
			if n := len(sim.Charges()); n != 1 {
				t.Errorf("%d charges, want 1", n)
			}
			_, err = c.CreateCharge(t.Context(), intent(1, 101))
			if e, ok := errors.AsType[*providers.Error](err); !ok || e.Kind != providers.Conflict {
				t.Errorf("another amount: got %v, want a conflict", err)
			}
		})
	}
	c, sim := newClient(t, bspaysim.Options{Conflict: true, BareRows: true}, nil)
	if _, err := c.CreateCharge(t.Context(), intent(1, 100)); err != nil {
		t.Fatal(err)
	}
	ch, err := c.CreateCharge(t.Context(), intent(1, 100))
	wantError(t, err, providers.Conflict, "")
	if ch.ProviderID != sim.Charges()[0].ID || ch.BRCode != "" {
		t.Errorf("got %q with code %q, want the charge that exists, without a code", ch.ProviderID, ch.BRCode)
	}
}

// TestAdoptLost: when the provider says that a charge exists and cannot be asked
// about it, the outcome is unknown, never failed.
func TestAdoptLost(t *testing.T) {
	c, sim := newClient(t, bspaysim.Options{}, nil)
	duplicate := simkit.Rule{Route: "create", Fault: bspaysim.Refuse, Arg: "409:DUPLICATE_EXTERNAL_ID"}
	faults(t, sim, duplicate)
	_, err := c.CreateCharge(t.Context(), intent(1, 100))
	wantError(t, err, providers.Ambiguous, "")
	for _, arg := range []string{"401", "404", "422", "429", "503"} {
		faults(t, sim, duplicate, simkit.Rule{Route: "status", Fault: simkit.HTTP, Arg: arg})
		_, err = c.CreateCharge(t.Context(), intent(1, 100))
		wantError(t, err, providers.Ambiguous, "")
	}
}

func marshal(t *testing.T, v any) string {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestCodes: the provider's error codes have their meaning under any status.
func TestCodes(t *testing.T) {
	for arg, want := range map[string]providers.Kind{
		"422:BELOW_MIN_LIMIT": providers.Limit, "400:EXCEEDS_MAX_LIMIT": providers.Limit, "409:LIMIT_EXCEEDED": providers.Limit,
		"422:INVALID_AMOUNT": providers.Invalid, "422:UNSUPPORTED_CHAIN": providers.Invalid, "403:INVALID_OTP": providers.Operator,
		"403:KYC_REQUIRED": providers.Operator, "403:UNAUTHORIZED_IP": providers.Operator, "423:SECURITY_BLOCKED": providers.Operator,
		"403:SOMETHING_NEW": providers.Forbidden, "409:SOMETHING_NEW": providers.Conflict, "423:": providers.Operator,
		"200:INSUFFICIENT_BALANCE": providers.Funds, "200:SOMETHING_NEW": providers.Contract, "202:INTERNAL_ERROR": providers.Ambiguous,
		"400:INTERNAL_ERROR": providers.Ambiguous, "503:RATE_LIMIT_EXCEEDED": providers.Ambiguous, "500:INVALID_AMOUNT": providers.Ambiguous,
		"403:IP_BLOCKED_TEMPORARILY": providers.Rate, "200:PENDING": providers.Contract,
	} {
		c, sim := newClient(t, bspaysim.Options{}, nil)
		faults(t, sim, simkit.Rule{Route: "create", Fault: bspaysim.Refuse, Arg: arg})
		_, err := c.CreateCharge(t.Context(), intent(1, 100))
		_, code, _ := strings.Cut(arg, ":")
		wantError(t, err, want, code)
	}
	// Nobody is invented: the person at the terminal is asked for.
	c, sim := newClient(t, bspaysim.Options{}, nil)
	faults(t, sim, simkit.Rule{Route: "create", Fault: bspaysim.Refuse, Arg: "400:MISSING_REQUIRED_FIELD"})
	in := intent(1, 100)
	_, err := c.CreateCharge(t.Context(), in)
	wantError(t, err, providers.Invalid, "MISSING_REQUIRED_FIELD")
	in.Payer = providers.Payer{}
	_, err = c.CreateCharge(t.Context(), in)
	wantError(t, err, providers.PayerDataRequired, "MISSING_REQUIRED_FIELD")
}

// TestRetryable: what the provider says of trying again may forbid it for money
// that leaves, and nothing else.
func TestRetryable(t *testing.T) {
	yes, no := true, false
	for _, tt := range []struct {
		code      string
		retryable *bool
		moves     bool
		want      providers.Kind
	}{
		{"RATE_LIMIT_EXCEEDED", nil, true, providers.Rate},
		{"RATE_LIMIT_EXCEEDED", &yes, true, providers.Rate},
		{"RATE_LIMIT_EXCEEDED", &no, true, providers.Operator},
		{"RATE_LIMIT_EXCEEDED", &no, false, providers.Rate},
		{"INSUFFICIENT_BALANCE", &yes, true, providers.Funds},
		{"INTERNAL_ERROR", &no, true, providers.Ambiguous},
	} {
		if got := (failure{code: tt.code, retryable: tt.retryable}).kind(422, tt.moves); got != tt.want {
			t.Errorf("%+v: got %v", tt, got)
		}
	}
}

func TestWords(t *testing.T) {
	for word, want := range map[string]providers.Status{
		"pending": providers.StatusPending, "CONFIRMED": providers.StatusPaid, "Expired": providers.StatusExpired,
		"cancelled": providers.StatusCancelled, "failed": providers.StatusFailed, "refunded": providers.StatusRefunded,
		"canceled": providers.StatusUncertain, "confirmed ": providers.StatusUncertain, "": providers.StatusUncertain, "paid": providers.StatusUncertain,
	} {
		if got := statusOf(word); got != want {
			t.Errorf("%q: got %s, want %s", word, got, want)
		}
	}
}

// TestTokens: one login at a time, none for most of an hour, and few of them
// while the credentials are refused, so that the provider blocks nobody.
func TestTokens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, sim := newClient(t, bspaysim.Options{}, nil)
		for range 40 {
			if err := c.CheckHealth(t.Context()); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Minute)
		}
		if n := sim.Log().Count("token"); n != 1 {
			t.Errorf("%d logins in 40 minutes, want 1", n)
		}
		time.Sleep(20 * time.Minute)
		if err := c.CheckHealth(t.Context()); err != nil || sim.Log().Count("token") != 2 {
			t.Errorf("after an hour: %v, %d logins, want 2", err, sim.Log().Count("token"))
		}
	})
	synctest.Test(t, func(t *testing.T) {
		c, sim := newClient(t, bspaysim.Options{}, func(cfg *Config) { cfg.ClientSecret = "wrong" })
		for range 120 {
			e, ok := errors.AsType[*providers.Error](c.CheckHealth(t.Context()))
			if !ok || e.Kind != providers.Auth {
				t.Fatalf("got %v, want an auth error: the provider must not come to block", e)
			}
			time.Sleep(time.Second)
		}
		if n := sim.Log().Count("token"); n > 5 {
			t.Errorf("%d logins with wrong credentials in two minutes", n)
		}
	})
	// While logins fail for another reason, every call needs one.
	synctest.Test(t, func(t *testing.T) {
		c, sim := newClient(t, bspaysim.Options{}, nil)
		faults(t, sim, simkit.Rule{Route: "token", Fault: simkit.HTTP, Arg: "503"})
		for range 600 {
			e, ok := errors.AsType[*providers.Error](c.CheckHealth(t.Context()))
			if !ok || e.Kind != providers.NotSent {
				t.Fatalf("got %v, want not_sent", e)
			}
		}
		var at []time.Time
		for _, r := range sim.Log().Requests() {
			at = append(at, r.At)
			if n := len(at); n > 30 && at[n-1].Sub(at[n-31]) < time.Minute {
				t.Fatalf("31 logins within a minute")
			}
		}
		if len(at) != 600 {
			t.Errorf("%d logins, want one for each call", len(at))
		}
	})
}

func TestPayer(t *testing.T) {
	someone := providers.Payer{Name: "Loja", Document: "11222333000181", Email: "loja@example.com"}
	for _, tt := range []struct {
		name           string
		call, defaults providers.Payer
		want           string
	}{
		{"nobody", providers.Payer{}, providers.Payer{}, ``},
		{"configured", providers.Payer{}, someone, `{"name":"Loja","document":"11222333000181","email":"loja@example.com"}`},
		{"the call's own, nothing mixed in", providers.Payer{Name: "Maria"}, someone, `{"name":"Maria"}`},
		{"a CNPJ with letters", providers.Payer{Document: "12ABC34501DE35"}, someone, `{"document":"12ABC34501DE35"}`},
	} {
		c, _ := newClient(t, bspaysim.Options{}, func(cfg *Config) { cfg.Payer = tt.defaults })
		in := intent(1, 100)
		in.Payer = tt.call
		body, _, err := c.newCashin(in)
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		if body.Payer != nil {
			text, err := json.Marshal(body.Payer)
			if err != nil {
				t.Fatal(err)
			}
			got = string(text)
		}
		if got != tt.want {
			t.Errorf("%s: got %s, want %s", tt.name, got, tt.want)
		}
	}
	c, sim := newClient(t, bspaysim.Options{}, nil)
	in := intent(1, 100)
	in.Payer.Document = "12345678900"
	_, err := c.CreateCharge(t.Context(), in)
	wantError(t, err, providers.Invalid, "invalid_payer")
	if n := sim.Log().Total(); n != 0 {
		t.Errorf("%d requests were sent", n)
	}
}

func TestConfig(t *testing.T) {
	bad := Config{
		URL: "http://x", ClientID: "a:b", PostbackURL: "http://hub", LocationHosts: []string{"https://x"}, CodeCheck: "maybe",
		Payer: providers.Payer{Document: "1"},
	}
	err := bad.Validate()
	for _, want := range []string{"url: plain HTTP", "client_id: ", "client_secret: missing", "bspay.postback_url", "payer.document", "allowed_hosts", "brcode_check"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want it to name %s", err, want)
		}
	}
	if err := config().Validate(); err != nil {
		t.Error(err)
	}
}
