package bspay

import (
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ssg-safe/agent/money"
	"github.com/ssg-safe/agent/providers"
	"github.com/ssg-safe/agent/providers/bspay/bspaysim"
	"github.com/ssg-safe/agent/providers/simkit"
	"github.com/ssg-safe/agent/redact"
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

// vectors are the published signatures.
func vectors(t *testing.T) map[string]struct{ Use, Key, Timestamp, Nonce, Body, Message, Hex, User, Password, Header string } {
	t.Helper()
	text, err := os.ReadFile("testdata/vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Vectors []struct{ Name, Use, Key, Timestamp, Nonce, Body, Message, Hex, User, Password, Header string }
	}
	if err := json.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	all := map[string]struct{ Use, Key, Timestamp, Nonce, Body, Message, Hex, User, Password, Header string }{}
	for _, v := range file.Vectors {
		all[v.Name] = struct{ Use, Key, Timestamp, Nonce, Body, Message, Hex, User, Password, Header string }{v.Use, v.Key, v.Timestamp, v.Nonce, v.Body, v.Message, v.Hex, v.User, v.Password, v.Header}
	}
	if len(all) != 8 {
		t.Fatalf("%d vectors, want 8", len(all))
	}
	return all
}

func TestSignatureVectors(t *testing.T) {
	all := vectors(t)
	n := 0
	seen := map[string]string{}
	for name, v := range all {
		if !strings.HasPrefix(name, "bspay_req_") {
			continue
		}
		n++
		got := signature(redact.Secret(v.Key), v.Timestamp, v.Nonce, []byte(v.Body))
		if got != v.Hex {
			t.Errorf("%s: got %s, want %s", name, got, v.Hex)
		}
		if other := seen[got]; other != "" {
			t.Errorf("%s and %s have one signature", name, other)
		}
		seen[got] = name
	}
	if n != 5 {
		t.Errorf("%d vectors of requests, want 5", n)
	}
	basic := all["bspay_basic"]
	cfg := config()
	cfg.ClientID, cfg.ClientSecret = basic.User, redact.Secret(basic.Password)
	c, err := New(cfg, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := c.tokenCall().Header.Get("Authorization"); got != basic.Header {
		t.Errorf("got %q, want %q", got, basic.Header)
	}
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

// TestFind: a charge is found behind an ignored filter and behind pages that
// move, and nobody else's is ever taken for it.
func TestFind(t *testing.T) {
	c, sim := newClient(t, bspaysim.Options{IgnoreFilters: true}, nil)
	var refs []providers.Ref
	for n := range 250 {
		in := intent(n, money.Amount(100+n))
		ch, err := c.CreateCharge(t.Context(), in)
		if err != nil {
			t.Fatal(err)
		}
		refs = append(refs, providers.Ref{Charge: in.ID, ProviderID: ch.ProviderID})
	}
	if err := sim.Pay(refs[249].ProviderID); err != nil {
		t.Fatal(err)
	}
	faults(t, sim, simkit.Rule{Route: "status", Fault: bspaysim.Drift})
	for _, n := range []int{0, 1, 99, 100, 101, 150, 248, 249} {
		want := providers.StatusPending
		if n == 249 {
			want = providers.StatusPaid
		}
		ch, err := c.GetCharge(t.Context(), refs[n])
		if err != nil || ch.ProviderID != refs[n].ProviderID || ch.Amount == nil || *ch.Amount != money.Amount(100+n) || ch.Status != want {
			t.Errorf("charge %d: got %+v (%v), want it %s", n, ch, err, want)
		}
	}
	_, err := c.GetCharge(t.Context(), providers.Ref{Charge: "T001000000000000000000999"})
	wantError(t, err, providers.NotFound, "")
	stranger := refs[7]
	stranger.ProviderID = refs[8].ProviderID
	_, err = c.GetCharge(t.Context(), stranger)
	wantError(t, err, providers.Security, "wrong_echo")
}

// TestPages: the account's transactions come whole, with their pages at a row's
// length and beyond.
func TestPages(t *testing.T) {
	made := 0
	whole, sim := newClient(t, bspaysim.Options{}, nil)
	for _, n := range []int{0, 1, 99, 100, 101, 200, 205} {
		for i := made; i < n; i++ {
			if _, err := whole.CreateCharge(t.Context(), intent(i, 100)); err != nil {
				t.Fatal(err)
			}
		}
		made = n
		before := sim.Log().Count("status")
		ids := map[string]bool{}
		for tx, err := range whole.Transactions(t.Context(), providers.TransactionQuery{Kind: "cashin"}) {
			if err != nil {
				t.Fatal(err)
			}
			ids[tx.ExternalID] = true
		}
		if len(ids) != n {
			t.Errorf("got %d transactions, want %d", len(ids), n)
		}
		if pages := sim.Log().Count("status") - before; pages != n/100+1 {
			t.Errorf("%d transactions took %d requests, want %d", n, pages, n/100+1)
		}
	}
	// A provider that does not turn the page does not keep us for ever.
	stuck, _ := newClient(t, bspaysim.Options{}, nil)
	stuck.clock.next = roundTripper(func(*http.Request) (*http.Response, error) {
		rows := strings.Repeat(`{"transaction_id":"a","status":"pending"},`, pageSize)
		body := `{"access_token":"x","success":true,"data":[` + strings.TrimSuffix(rows, ",") + `]}`
		return &http.Response{StatusCode: 200, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body))}, nil
	})
	n := 0
	for _, err := range stuck.Transactions(t.Context(), providers.TransactionQuery{}) {
		if n++; err != nil {
			wantError(t, err, providers.Contract, "")
		}
	}
	if n != pageSize+1 {
		t.Errorf("%d transactions of one page, want them once and an error", n)
	}
	faults(t, sim, simkit.Rule{Route: "status", Fault: simkit.HTTP, Arg: "503"})
	var errs []error
	for _, err := range whole.Transactions(t.Context(), providers.TransactionQuery{}) {
		errs = append(errs, err)
	}
	if len(errs) != 1 || errs[0] == nil {
		t.Errorf("got %v, want one error", errs)
	}
}

// TestSigned: what moves money is signed over its bytes, refused when anything
// is wrong with that, and repeated once where that helps, as the same order.
func TestSigned(t *testing.T) {
	order := Withdrawal{ExternalID: "w-1", Amount: "1.50", Currency: "USDT", Key: "TXabc", Network: "tron"}
	t.Run("repeat", func(t *testing.T) {
		for _, code := range []string{"409:REPLAY_DETECTED", "401:INVALID_TIMESTAMP", "409:INTERNAL_CONFLICT"} {
			c, sim, all := tapped(t, bspaysim.Options{}, nil)
			faults(t, sim, simkit.Rule{Route: "cashout", Fault: bspaysim.Refuse, Arg: code, Next: 1})
			_, err := c.Withdraw(t.Context(), order)
			wantError(t, err, providers.Funds, "INSUFFICIENT_BALANCE") // it got through
			out := slices.DeleteFunc(*all, func(s sent) bool { return !strings.HasSuffix(s.Line, "/cashout") })
			if len(out) != 2 || out[0].Body != out[1].Body || out[0].Header.Get("X-Nonce") == out[1].Header.Get("X-Nonce") {
				t.Errorf("%s: got %+v, want two requests with one body and two nonces", code, out)
			}
		}
	})
	t.Run("once only", func(t *testing.T) {
		c, sim := newClient(t, bspaysim.Options{}, nil)
		faults(t, sim, simkit.Rule{Route: "cashout", Fault: bspaysim.Refuse, Arg: "401:INVALID_TIMESTAMP"})
		_, err := c.Withdraw(t.Context(), order)
		wantError(t, err, providers.Operator, "INVALID_TIMESTAMP") // the provider says that trying again is no use
		if n := sim.Log().Count("cashout"); n != 2 {
			t.Errorf("%d requests, want 2", n)
		}
	})
	t.Run("wrong key", func(t *testing.T) {
		c, sim := newClient(t, bspaysim.Options{}, func(cfg *Config) { cfg.SigningKey = "another" })
		for range 5 {
			_, err := c.Withdraw(t.Context(), order)
			wantError(t, err, providers.Auth, "INVALID_SIGNATURE")
		}
		// The token is not to blame: charges go on.
		if _, err := c.CreateCharge(t.Context(), intent(1, 100)); err != nil || sim.Log().Count("token") != 1 {
			t.Errorf("after refused signatures: %v, %d tokens", err, sim.Log().Count("token"))
		}
	})
	t.Run("no key", func(t *testing.T) {
		c, sim := newClient(t, bspaysim.Options{}, func(cfg *Config) { cfg.SigningKey = "" })
		_, err := c.Withdraw(t.Context(), order)
		wantError(t, err, providers.Operator, "no_signing_key")
		if n := sim.Log().Total(); n != 0 {
			t.Errorf("%d requests were sent", n)
		}
	})
	t.Run("unknown outcome is sent once", func(t *testing.T) {
		c, sim := newClient(t, bspaysim.Options{}, nil)
		for _, r := range []simkit.Rule{
			{Route: "cashout", Fault: simkit.DropAfter},
			{Route: "cashout", Fault: simkit.HTTP, Arg: "503"},
			{Route: "cashout", Fault: bspaysim.Refuse, Arg: "500:INTERNAL_CONFLICT"},
			{Route: "cashout", Fault: bspaysim.Refuse, Arg: "422:PROVIDER_ERROR"},
		} {
			faults(t, sim, r)
			before := sim.Log().Count("cashout")
			_, err := c.Withdraw(t.Context(), order)
			if e, ok := errors.AsType[*providers.Error](err); !ok || e.Kind != providers.Ambiguous {
				t.Errorf("%s: got %v, want ambiguous", r, err)
			}
			if n := sim.Log().Count("cashout") - before; n != 1 {
				t.Errorf("%s: %d requests, want 1", r, n)
			}
		}
	})
}

// TestClock: timestamps are the provider's time; while this machine's is off by
// more than a minute nothing is signed, and charges go on.
func TestClock(t *testing.T) {
	order := Transfer{ExternalID: "t-1", Amount: "1.50", Currency: "BRL", Username: "outra-loja"}
	for _, tt := range []struct {
		ahead   time.Duration // of this machine
		skew    string        // of the Date that the provider sends
		refused bool
	}{
		{0, "", false},
		{59 * time.Second, "", false},
		{-58 * time.Second, "", false},
		{62 * time.Second, "", true},
		{-62 * time.Second, "", true},
		{24 * time.Hour, "", true},
		{0, "10m", true},
	} {
		synctest.Test(t, func(t *testing.T) {
			c, sim, all := tapped(t, bspaysim.Options{Balance: 1000}, func(cfg *Config) {
				cfg.Now = func() time.Time { return time.Now().Add(tt.ahead) }
			})
			if tt.skew != "" {
				faults(t, sim, simkit.Rule{Route: "*", Fault: bspaysim.Skew, Arg: tt.skew})
			}
			if _, err := c.CreateCharge(t.Context(), intent(1, 100)); err != nil {
				t.Fatalf("ahead %v: %v", tt.ahead, err)
			}
			time.Sleep(time.Hour - time.Second) // the offset is kept by the monotonic clock
			_, err := c.Transfer(t.Context(), order)
			if !tt.refused {
				if err != nil {
					t.Errorf("ahead %v: %v", tt.ahead, err)
				}
				last := (*all)[len(*all)-1]
				if got, want := last.Header.Get("X-Timestamp"), time.Now().Unix(); got != marshal(t, want) {
					t.Errorf("ahead %v: signed at %s, want the provider's time %d", tt.ahead, got, want)
				}
				return
			}
			wantError(t, err, providers.NotSent, "clock_wrong")
			if n := sim.Log().Count("orders"); n != 0 {
				t.Errorf("ahead %v: %d signed requests were sent", tt.ahead, n)
			}
		})
	}
}

// TestSlept: a machine that slept, whose clock is right again, does not refuse to
// sign for what it learnt before.
func TestSlept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, sim := newClient(t, bspaysim.Options{Balance: 1000}, nil)
		if err := c.CheckHealth(t.Context()); err != nil {
			t.Fatal(err)
		}
		c.clock.mu.Lock()
		c.clock.date = c.clock.date.Add(-time.Hour) // the monotonic clock stood still
		c.clock.mu.Unlock()
		if _, err := c.Transfer(t.Context(), Transfer{ExternalID: "t-1", Amount: "1.50", Currency: "BRL", Username: "outra-loja"}); err != nil {
			t.Error(err)
		}
		if n := sim.Log().Count("orders"); n != 1 {
			t.Errorf("%d signed requests, want 1", n)
		}
	})
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
		c, sim := newClient(t, bspaysim.Options{}, func(cfg *Config) { cfg.RequestsPerSecond = DefaultRequestsPerSecond })
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

func TestBalance(t *testing.T) {
	c, sim := newClient(t, bspaysim.Options{Balance: 12345}, nil)
	ch, err := c.CreateCharge(t.Context(), intent(1, 155))
	if err != nil {
		t.Fatal(err)
	}
	if err := sim.Pay(ch.ProviderID); err != nil {
		t.Fatal(err)
	}
	got, err := c.Balance(t.Context())
	if err != nil || len(got) != 8 || got[0] != (providers.Balance{Currency: "BRL", Available: "125.00", Blocked: "0"}) {
		t.Errorf("got %+v (%v)", got, err)
	}
	brl := func(amount string) []providers.Balance {
		return []providers.Balance{{Currency: "BRL", Available: amount}}
	}
	for data, want := range map[string][]providers.Balance{
		`[{"currency":"BRL","available":"1.20"}]`:                brl("1.20"),
		`{"currency":"BRL","balance":7}`:                         brl("7"),
		`{"BRL":12.5}`:                                           brl("12.5"),
		`{"balances":{"BRL":{"available_balance":3}}}`:           brl("3"),
		`{"BRL":{"available":1,"blocked":"x"},"note":"2 coins"}`: nil,
		`{"BRL":"1,20"}`:                                         nil,
		`{"brl":1}`:                                              nil,
		`7`:                                                      nil,
	} {
		v, err := decode([]byte(data))
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, balances(v, "", nil)); d != "" {
			t.Errorf("%s: %s", data, d)
		}
	}
}

func TestReports(t *testing.T) {
	c, _ := newClient(t, bspaysim.Options{}, nil)
	for _, name := range c.Reports() {
		text, err := c.Report(t.Context(), name)
		if err != nil || !json.Valid(text) {
			t.Errorf("%s: got %s (%v)", name, text, err)
		}
		for _, personal := range []string{"11222333000181", "loja@example.com", "Simulada"} {
			if strings.Contains(string(text), personal) {
				t.Errorf("%s holds %q: %s", name, personal, text)
			}
		}
	}
	_, err := c.Report(t.Context(), "gossip")
	wantError(t, err, providers.Invalid, "")
}

// TestCoins: orders in other currencies are exact decimal texts, one per id, and
// never BRL where BRL has its own way.
func TestCoins(t *testing.T) {
	c, sim := newClient(t, bspaysim.Options{Balance: 100000}, nil)
	field := func(text json.RawMessage, err error) func(string) string {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		o, err := parseObject(text)
		if err != nil {
			t.Fatal(err)
		}
		return func(name string) string { return o.text(name) }
	}
	v := Conversion{Amount: "100.00", From: "BRL", To: "USDT", ExternalID: "c-1"}
	if got := field(c.Rate(t.Context(), v))("rate"); got != "0.20000000" {
		t.Errorf("got rate %s", got)
	}
	if got := field(c.Simulate(t.Context(), v))("result"); got != "20.00000000" {
		t.Errorf("got result %s", got)
	}
	first := field(c.Convert(t.Context(), v))("transaction_id")
	if again := field(c.Convert(t.Context(), v))("transaction_id"); again != first || first == "" {
		t.Errorf("the same conversion twice: %q and %q", first, again)
	}
	w := Withdrawal{ExternalID: "w-1", Amount: "19.99999999", Currency: "USDT", Key: "TXabc", Network: "tron"}
	if got := field(c.Withdraw(t.Context(), w))("amount"); got != "19.99999999" {
		t.Errorf("got amount %s", got)
	}
	w.ExternalID, w.Amount = "w-2", "0.00000002"
	_, err := c.Withdraw(t.Context(), w)
	wantError(t, err, providers.Funds, "INSUFFICIENT_BALANCE")
	if got := field(c.Wallet(t.Context(), "BTC", "bitcoin"))("address"); !strings.HasPrefix(got, "sim") {
		t.Errorf("got address %q", got)
	}
	if got := field(c.Deposit(t.Context(), Deposit{Amount: "0.001", Currency: "BTC", Chain: "bitcoin", ExternalID: "d-1"}))("status"); got != "pending" {
		t.Errorf("got status %q", got)
	}
	if got := field(c.Transfer(t.Context(), Transfer{Username: "outra", Amount: "1.00", Currency: "BRL", ExternalID: "t-1"}))("status"); got != "confirmed" {
		t.Errorf("got status %q", got)
	}
	before := sim.Log().Total()
	for _, do := range []func() (json.RawMessage, error){
		func() (json.RawMessage, error) { return c.Wallet(t.Context(), "BRL", "") },
		func() (json.RawMessage, error) { return c.Wallet(t.Context(), "usdt", "") },
		func() (json.RawMessage, error) {
			return c.Withdraw(t.Context(), Withdrawal{ExternalID: "x", Amount: "1", Currency: "BRL", Key: "k"})
		},
		func() (json.RawMessage, error) {
			return c.Withdraw(t.Context(), Withdrawal{ExternalID: "x", Amount: "1", Currency: "USDT"})
		},
		func() (json.RawMessage, error) { return c.Convert(t.Context(), Conversion{"1", "BRL", "USDT", ""}) },
		func() (json.RawMessage, error) { return c.Convert(t.Context(), Conversion{"0.00", "BRL", "USDT", "x"}) },
		func() (json.RawMessage, error) { return c.Convert(t.Context(), Conversion{"-1", "BRL", "USDT", "x"}) },
		func() (json.RawMessage, error) { return c.Convert(t.Context(), Conversion{"1e3", "BRL", "USDT", "x"}) },
		func() (json.RawMessage, error) { return c.Convert(t.Context(), Conversion{"01", "BRL", "USDT", "x"}) },
		func() (json.RawMessage, error) { return c.Convert(t.Context(), Conversion{"1,5", "BRL", "USDT", "x"}) },
		func() (json.RawMessage, error) { return c.Transfer(t.Context(), Transfer{"", "1", "BRL", "x"}) },
	} {
		if _, err := do(); err == nil {
			t.Error("a wrong order was sent")
		} else if e, ok := errors.AsType[*providers.Error](err); !ok || e.Kind != providers.Invalid {
			t.Errorf("got %v, want an invalid error", err)
		}
	}
	if n := sim.Log().Total() - before; n != 0 {
		t.Errorf("%d requests were sent", n)
	}
}

func TestInfractions(t *testing.T) {
	c, sim := newClient(t, bspaysim.Options{}, nil)
	ch, err := c.CreateCharge(t.Context(), intent(1, 100))
	if err != nil {
		t.Fatal(err)
	}
	if err := sim.Pay(ch.ProviderID); err != nil {
		t.Fatal(err)
	}
	id, err := sim.Dispute(ch.ProviderID)
	if err != nil {
		t.Fatal(err)
	}
	for status, want := range map[string]int{"": 1, "open": 1, "responded": 0} {
		list, err := c.Infractions(t.Context(), InfractionQuery{Status: status})
		if err != nil || len(list) != want {
			t.Errorf("status %q: got %d infractions (%v), want %d", status, len(list), err, want)
		}
	}
	pdf := ReplyFile{Name: "nota \"fiscal\".pdf", Type: "application/pdf", Content: []byte("%PDF-1.7")}
	if _, err := c.ReplyInfraction(t.Context(), id, "Mercadoria entregue às 10h", []ReplyFile{pdf, pdf}); err != nil {
		t.Fatal(err)
	}
	text, err := c.Infraction(t.Context(), id)
	if err != nil || !strings.Contains(string(text), "Mercadoria entregue às 10h") || strings.Count(string(text), ".pdf") != 2 {
		t.Errorf("got %s (%v)", text, err)
	}
	_, err = c.Infraction(t.Context(), "00000000-0000-4000-8000-000000000000")
	wantError(t, err, providers.NotFound, "NOT_FOUND")
	before := sim.Log().Total()
	for code, do := range map[string]func() (json.RawMessage, error){
		"invalid_id": func() (json.RawMessage, error) { return c.ReplyInfraction(t.Context(), "", "m", nil) },
		"invalid_message": func() (json.RawMessage, error) {
			return c.ReplyInfraction(t.Context(), id, strings.Repeat("é", 5001), nil)
		},
		"too_many_files": func() (json.RawMessage, error) {
			return c.ReplyInfraction(t.Context(), id, "m", []ReplyFile{pdf, pdf, pdf, pdf, pdf, pdf})
		},
		"invalid_file": func() (json.RawMessage, error) {
			return c.ReplyInfraction(t.Context(), id, "m", []ReplyFile{{Name: "a.exe", Type: "application/x-dosexec", Content: []byte("MZ")}})
		},
	} {
		_, err := do()
		wantError(t, err, providers.Invalid, code)
	}
	if n := sim.Log().Total() - before; n != 0 {
		t.Errorf("%d requests were sent", n)
	}
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
		RequestsPerSecond: -1, Payer: providers.Payer{Document: "1"},
	}
	err := bad.Validate()
	for _, want := range []string{"url: plain HTTP", "client_id: ", "client_secret: missing", "bspay.postback_url", "payer.document", "allowed_hosts", "brcode_check", "requests_per_second"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want it to name %s", err, want)
		}
	}
	if err := config().Validate(); err != nil {
		t.Error(err)
	}
}
