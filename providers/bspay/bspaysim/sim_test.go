package bspaysim

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	_ "github.com/ssg-safe/agent/internal/bubbles"
	"github.com/ssg-safe/agent/providers"
	"github.com/ssg-safe/agent/providers/simkit"
)

func open(t *testing.T, o Options) *Sim {
	t.Helper()
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() }) // in memory, or closed by the test
	return s
}

// client speaks to a simulator without the adapter's code.
type client struct {
	t     *testing.T
	sim   *Sim
	token string
}

func login(t *testing.T, s *Sim) *client {
	t.Helper()
	c := &client{t: t, sim: s}
	status, out := c.login(DefaultClientID, DefaultClientSecret)
	if status != 200 {
		t.Fatalf("login: %d %v", status, out)
	}
	c.token = out["access_token"].(string)
	return c
}

func (c *client) login(id, secret string) (int, map[string]any) {
	req := httptest.NewRequest("POST", "/v2/oauth/token", bytes.NewReader([]byte(`{"grant_type":"client_credentials"}`)))
	req.SetBasicAuth(id, secret)
	return c.send(req)
}

func (c *client) send(req *http.Request) (int, map[string]any) {
	c.t.Helper()
	w := httptest.NewRecorder()
	c.sim.ServeHTTP(w, req)
	var out map[string]any
	d := json.NewDecoder(w.Body)
	d.UseNumber()
	if err := d.Decode(&out); err != nil && err != io.EOF {
		c.t.Fatalf("%s %s: %v", req.Method, req.URL, err)
	}
	return w.Code, out
}

func (c *client) do(method, path, body string, headers ...string) (int, map[string]any) {
	c.t.Helper()
	req := httptest.NewRequest(method, path, bytes.NewReader([]byte(body)))
	req.Header.Set("Authorization", "Bearer "+c.token)
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	return c.send(req)
}

// code is the error code of an answer, "" for success.
func code(out map[string]any) string {
	e, _ := out["error"].(map[string]any)
	s, _ := e["code"].(string)
	return s
}

func data(out map[string]any) map[string]any {
	d, _ := out["data"].(map[string]any)
	return d
}

func (c *client) create(id, amount string) string {
	c.t.Helper()
	status, out := c.do("POST", "/v2/transactions/cashin", fmt.Sprintf(`{"amount":%s,"currency":"BRL","external_id":%q}`, amount, id))
	if status != 200 {
		c.t.Fatalf("create %s: %d %v", id, status, out)
	}
	return data(out)["transaction_id"].(string)
}

func (c *client) status(id string) string {
	c.t.Helper()
	_, out := c.do("POST", "/v2/account/transactions/list", fmt.Sprintf(`{"external_id":%q}`, id))
	for _, row := range data(out)["items"].([]any) {
		return row.(map[string]any)["status"].(string)
	}
	return ""
}

// sign is written for this test alone.
func sign(key string, at time.Time, nonce, body string) []string {
	timestamp := strconv.FormatInt(at.Unix(), 10)
	m := hmac.New(sha256.New, []byte(key))
	io.WriteString(m, timestamp+"."+nonce+"."+body) // a hash never fails
	return []string{"X-Timestamp", timestamp, "X-Nonce", nonce, "X-Signature", hex.EncodeToString(m.Sum(nil))}
}

func nonce(n int) string { return fmt.Sprintf("3f2504e0-4f89-41d3-9a0c-%012x", n) }

// TestSignatures: the window's edges, nonces, and signatures of other bytes.
func TestSignatures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, Options{Balance: 100000})
		c := login(t, s)
		payout := func(n int) string {
			return fmt.Sprintf(`{"external_id":"p-%d","amount":1.50,"currency":"BRL","key":"12345678909","key_type":"cpf"}`, n)
		}
		try := func(n int, want string, body string, headers ...string) {
			t.Helper()
			status, out := c.do("POST", "/v2/transactions/cashout", body, headers...)
			if code(out) != want || want == "" && status != 202 {
				t.Errorf("payout %d: got %d %q, want %q", n, status, code(out), want)
			}
		}
		now := time.Now()
		try(0, "MISSING_SIGNATURE", payout(0))
		try(1, "", payout(1), sign(DefaultSigningKey, now, nonce(1), payout(1))...)
		try(2, "REPLAY_DETECTED", payout(2), sign(DefaultSigningKey, now, nonce(1), payout(2))...)
		try(3, "", payout(3), sign(DefaultSigningKey, now.Add(-300*time.Second), nonce(3), payout(3))...)
		try(4, "INVALID_TIMESTAMP", payout(4), sign(DefaultSigningKey, now.Add(-301*time.Second), nonce(4), payout(4))...)
		try(5, "", payout(5), sign(DefaultSigningKey, now.Add(300*time.Second), nonce(5), payout(5))...)
		try(6, "INVALID_TIMESTAMP", payout(6), sign(DefaultSigningKey, now.Add(301*time.Second), nonce(6), payout(6))...)
		try(7, "INVALID_SIGNATURE", payout(7), sign("another key", now, nonce(7), payout(7))...)
		reserialised := `{"external_id":"p-8","amount":1.5,"currency":"BRL","key":"12345678909","key_type":"cpf"}`
		try(8, "INVALID_SIGNATURE", reserialised, sign(DefaultSigningKey, now, nonce(8), payout(8))...)
		try(9, "INVALID_NONCE", payout(9), sign(DefaultSigningKey, now, "nine", payout(9))...)
		try(10, "", payout(1), sign(DefaultSigningKey, now, nonce(10), payout(1))...) // the same payout
		time.Sleep(301 * time.Second)
		try(11, "", payout(11), sign(DefaultSigningKey, time.Now(), nonce(1), payout(11))...) // forgotten
		if n := len(s.Payouts()); n != 4 {
			t.Errorf("%d payouts, want 4: 1, 3, 5 and 11", n)
		}
	})
}

// TestLogins: thirty a minute, and five wrong ones in a row block all.
func TestLogins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &client{t: t, sim: open(t, Options{})}
		for i := range 31 {
			want := ""
			if i == 30 {
				want = "RATE_LIMIT_EXCEEDED"
			}
			if status, out := c.login(DefaultClientID, DefaultClientSecret); code(out) != want {
				t.Errorf("login %d: got %d %q, want %q", i+1, status, code(out), want)
			}
		}
		time.Sleep(time.Minute)
		for range 4 {
			c.login(DefaultClientID, "wrong")
		}
		if status, _ := c.login(DefaultClientID, DefaultClientSecret); status != 200 {
			t.Errorf("after four failures: got %d, want 200", status)
		}
		for range 5 {
			c.login(DefaultClientID, "wrong")
		}
		if _, out := c.login(DefaultClientID, DefaultClientSecret); code(out) != "IP_BLOCKED_TEMPORARILY" {
			t.Errorf("after five failures: got %q", code(out))
		}
		time.Sleep(time.Minute)
		if status, _ := c.login(DefaultClientID, DefaultClientSecret); status != 200 {
			t.Errorf("a minute later: got %d, want 200", status)
		}
		c.sim = open(t, Options{ManyLogins: true})
		for i := range 31 {
			if status, _ := c.login(DefaultClientID, DefaultClientSecret); status != 200 {
				t.Errorf("login %d without the limit: got %d, want 200", i+1, status)
			}
		}
	})
}

// TestLedger: payers and payouts come to their ends by the clock, whether the
// simulator runs meanwhile or not, and the sums are right.
func TestLedger(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		o := Options{Dir: dir, Seed: 7, PayAfter: 5 * time.Second, SettleAfter: 3 * time.Second, Balance: 1000}
		s := open(t, o)
		c := login(t, s)
		paid := c.create("a", "12.34")
		c.create("b", "1.00")
		if again := c.create("a", "12.34"); again != paid {
			t.Errorf("the same id: %q and %q", paid, again)
		}
		if got := c.status("a"); got != "pending" { // and its payer is on the way
			t.Errorf("got %s, want pending", got)
		}
		pay := func(n int, key, amount string) (int, map[string]any) {
			body := fmt.Sprintf(`{"external_id":"p-%d","amount":%s,"currency":"BRL","key":%q}`, n, amount, key)
			return c.do("POST", "/v2/transactions/cashout", body, sign(DefaultSigningKey, time.Now(), nonce(n), body)...)
		}
		if status, out := pay(1, "loja@example.com", "4.00"); status != 202 || data(out)["status"] != "pending" {
			t.Errorf("payout: %d %v", status, out)
		}
		if status, out := pay(2, "nobody@example.com", "5.00"); status != 202 {
			t.Errorf("payout: %d %v", status, out)
		}
		if _, out := pay(3, "loja@example.com", "1.01"); code(out) != "INSUFFICIENT_BALANCE" {
			t.Errorf("an overdraft: got %q", code(out))
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		s = open(t, o)
		c.sim = s
		if got := c.status("a"); got != "confirmed" {
			t.Errorf("after a restart: got %s, want confirmed, and the token to hold", got)
		}
		if a, b := c.status("p-1"), c.status("p-2"); a != "confirmed" || b != "failed" {
			t.Errorf("payouts are %s and %s, want confirmed and failed", a, b)
		}
		_, out := c.do("GET", "/v2/account/balance", "")
		brl := data(out)["balances"].([]any)[0].(map[string]any)
		if got := fmt.Sprint(brl["available"]); got != "18.34" { // 10.00 + 12.34 - 4.00
			t.Errorf("got balance %s, want 18.34", got)
		}
		st := s.State()
		if st.Charges != 2 || st.Paid != 1 || st.PaidSum != 1234 || st.Payouts != 1 || st.PayoutSum != 400 {
			t.Errorf("got %+v", st)
		}
		time.Sleep(10 * time.Minute)
		if got := c.status("b"); got != "expired" {
			t.Errorf("got %s, want expired", got)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

// TestRefused: what the provider refuses, with its code, and without a trace.
func TestRefused(t *testing.T) {
	s := open(t, Options{})
	c := login(t, s)
	for body, want := range map[string]string{
		`{`:               "INVALID_PAYLOAD",
		`{"amount":1.00}`: "MISSING_REQUIRED_FIELD",
		`{"amount":"1.00","currency":"BRL","external_id":"x"}`:                                                "MISSING_REQUIRED_FIELD", // no number
		`{"amount":1.005,"currency":"BRL","external_id":"x"}`:                                                 "INVALID_AMOUNT",
		`{"amount":-1,"currency":"BRL","external_id":"x"}`:                                                    "INVALID_AMOUNT",
		`{"amount":1,"currency":"EUR","external_id":"x"}`:                                                     "UNSUPPORTED_CURRENCY",
		`{"amount":1,"currency":"BRL","external_id":"x","postback_url":"http://hub.example.com"}`:             "INVALID_POSTBACK_URL",
		`{"amount":1,"currency":"BRL","external_id":"x","postback_url":"https://localhost/x"}`:                "INVALID_POSTBACK_URL",
		`{"amount":1,"currency":"BRL","external_id":"x","postback_url":"https://192.168.0.7/x"}`:              "INVALID_POSTBACK_URL",
		`{"amount":1,"currency":"BRL","external_id":"x","postback_url":"https://hub.invalid/x"}`:              "INVALID_POSTBACK_URL",
		`{"amount":1,"currency":"USDT","external_id":"x","chain":"tron","postback_url":"https://hub.local/"}`: "INVALID_POSTBACK_URL",
	} {
		if _, out := c.do("POST", "/v2/transactions/cashin", body); code(out) != want {
			t.Errorf("%s: got %q, want %q", body, code(out), want)
		}
	}
	c.token = "guessed"
	if status, out := c.do("GET", "/v2/account/balance", ""); status != 401 || code(out) != "TOKEN_EXPIRED" {
		t.Errorf("a guessed token: got %d %q", status, code(out))
	}
	if status, _ := c.do("GET", "/v2/nothing", ""); status != 404 {
		t.Errorf("no such route: got %d", status)
	}
	if n := len(s.Charges()); n != 0 {
		t.Errorf("%d charges were made", n)
	}
}

// TestControl: the control routes, as curl sees them.
func TestControl(t *testing.T) {
	s := open(t, Options{})
	c := login(t, s)
	id := c.create("a", "1.00")
	for _, tt := range []struct {
		method, path string
		want         int
	}{
		{"POST", "/sim/charges/" + id + "/refund", 400}, // not paid yet
		{"POST", "/sim/charges/" + id + "/pay", 204},
		{"POST", "/sim/charges/" + id + "/dispute", 204},
		{"POST", "/sim/charges/" + id + "/refund", 204},
		{"POST", "/sim/charges/none/pay", 404},
		{"POST", "/sim/charges/none/dispute", 404},
		{"GET", "/sim/state", 200},
	} {
		if status, out := c.do(tt.method, tt.path, ""); status != tt.want {
			t.Errorf("%s %s: got %d %v, want %d", tt.method, tt.path, status, out, tt.want)
		}
	}
	if line := s.Charges()[0]; line.Status != providers.StatusRefunded || line.ExternalID != "a" {
		t.Errorf("got %+v", line)
	}
	req := httptest.NewRequest("GET", "/sim/webhooks?form=webhook", nil)
	w := httptest.NewRecorder()
	s.ServeHTTP(w, req)
	wrong := httptest.NewRecorder()
	s.ServeHTTP(wrong, httptest.NewRequest("GET", "/sim/webhooks?fault=typo", nil))
	if wrong.Code != 400 {
		t.Errorf("an unknown fault: got %d", wrong.Code)
	}
	var all []simkit.Delivery
	if err := json.Unmarshal(w.Body.Bytes(), &all); err != nil || len(all) != 2 || all[0].Header.Get("X-Webhook-Event") != "cashin.refunded" {
		t.Errorf("got %s (%v)", w.Body, err)
	}
	if err := s.Script().Set(simkit.Rule{Route: RouteAccount, Fault: Refuse, Arg: "423:SECURITY_BLOCKED"}); err != nil {
		t.Fatal(err)
	}
	if status, out := c.do("GET", "/v2/account/limits", ""); status != 423 || code(out) != "SECURITY_BLOCKED" {
		t.Errorf("got %d %q", status, code(out))
	}
	if err := s.Script().Set(); err != nil {
		t.Fatal(err)
	}
	if status, _ := c.do("GET", "/v2/account/fees", ""); status != 200 {
		t.Errorf("without the fault: got %d", status)
	}
	if status, _ := c.do("POST", "/sim/tokens/revoke", ""); status != 204 {
		t.Errorf("revoke: got %d", status)
	}
	if status, _ := c.do("GET", "/v2/account/fees", ""); status != 401 {
		t.Errorf("with a revoked token: got %d", status)
	}
}
