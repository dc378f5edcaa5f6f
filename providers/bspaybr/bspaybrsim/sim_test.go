package bspaybrsim

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	_ "github.com/ssg-safe/agent/internal/bubbles"
	"github.com/ssg-safe/agent/providers"
	"github.com/ssg-safe/agent/providers/simkit"
	"github.com/ssg-safe/agent/redact"
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

// call speaks to a simulator without the adapter's code.
func call(t *testing.T, s *Sim, req *http.Request) (int, string) {
	t.Helper()
	w := httptest.NewRecorder()
	s.ServeHTTP(w, req)
	return w.Code, w.Body.String()
}

// form is a request as the document's PHP makes it, with fields changed or, where
// empty, left out.
func form(path string, change ...string) *http.Request {
	fields := url.Values{
		"client_id": {DefaultClientID}, "client_secret": {DefaultClientSecret}, "nome": {"João Silva"}, "cpf": {"12345678901"},
		"valor": {"150.99"}, "urlnoty": {"https://seuservidor.com/webhook/pix-qrcode"}, "chave_pix": {"x@example.com"},
	}
	for i := 0; i < len(change); i += 2 {
		if fields.Set(change[i], change[i+1]); change[i+1] == "" {
			fields.Del(change[i])
		}
	}
	req := httptest.NewRequest("POST", path, strings.NewReader(fields.Encode()))
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return req
}

func asks(id string, headers ...string) *http.Request {
	req := httptest.NewRequest("GET", "/libs/consult/transaction_status?id="+id, nil)
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	return req
}

// TestForms: what the document says is required is, and a form is a form.
func TestForms(t *testing.T) {
	s := open(t, Options{})
	for _, path := range []string{"/v3/pix/qrcode", "/v3/pix/payment"} {
		for _, tt := range []struct {
			name, value string
			want        int
		}{
			{"client_id", "", 401},
			{"client_secret", "x", 401},
			{"nome", "", 400},
			{"cpf", "", 400},
			{"cpf", "123.456.789-01", 400},
			{"valor", "", 400},
			{"valor", "150,99", 400},
			{"valor", "150.999", 400},
			{"valor", "0.00", 400},
			{"urlnoty", "", 400},
			{"urlnoty", "http://seuservidor.com/", 400},
		} {
			if status, _ := call(t, s, form(path, tt.name, tt.value)); status != tt.want {
				t.Errorf("%s with %s %q: got %d, want %d", path, tt.name, tt.value, status, tt.want)
			}
		}
		body := `{"client_id":"sim-client","client_secret":"sim-secret-not-a-credential","nome":"J","cpf":"12345678901","valor":1.5,"urlnoty":"https://a.b/","chave_pix":"x"}`
		for loose, want := range map[bool]int{false: 400, true: 200} {
			req := httptest.NewRequest("POST", path, strings.NewReader(body))
			req.Header.Set("Content-Type", "application/json")
			if status, _ := call(t, open(t, Options{JSON: loose, Balance: 1000}), req); status != want {
				t.Errorf("%s in JSON, taken %v: got %d, want %d", path, loose, status, want)
			}
		}
	}
	if n := len(s.Charges()) + len(s.Payouts()); n != 0 {
		t.Errorf("%d refused orders are in the ledger", n)
	}
	for _, tt := range []struct {
		name   string
		req    *http.Request
		status int
		want   string
	}{
		{"funds", form("/v3/pix/payment"), 403, `{"message":"Saldo insuficiente"}`},
		{"no credentials", asks("x"), 401, `{"message":"Credenciais inválidas"}`},
		{"absent", asks("x", "ci", DefaultClientID, "cs", DefaultClientSecret), 404, `{"message":"Transação não encontrada"}`},
		{"elsewhere", httptest.NewRequest("GET", "/v4", nil), 404, "<!DOCTYPE html>"},
	} {
		if status, body := call(t, s, tt.req); status != tt.status || !strings.HasPrefix(body, tt.want) {
			t.Errorf("%s: got %d %s, want %d %s", tt.name, status, body, tt.status, tt.want)
		}
	}
	blank := open(t, Options{BlankErrors: true})
	if status, body := call(t, blank, asks("x")); status != 401 || body != "" {
		t.Errorf("blank errors: got %d %q", status, body)
	}
}

// TestLedger: a charge is paid when the terminal has asked for it, a payout takes
// its time, and both survive a restart.
func TestLedger(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		o := Options{Dir: dir, PayAfter: 5 * time.Second, SettleAfter: 3 * time.Second}
		s := open(t, o)
		status, body := call(t, s, form("/v3/pix/qrcode"))
		var made struct {
			TransactionID, Status, QRCode string
			Amount                        json.Number
			Reference                     string `json:"reference_code"`
		}
		if err := json.Unmarshal([]byte(body), &made); status != 200 || err != nil || made.Amount != "150.99" || made.Status != "PENDING" || made.QRCode != s.Charges()[0].Code {
			t.Fatalf("got %d %s (%v)", status, body, err)
		}
		word := func(s *Sim) string {
			t.Helper()
			status, body := call(t, s, asks(made.Reference, "ci", DefaultClientID, "cs", DefaultClientSecret))
			if status != 200 || !strings.Contains(body, `"amount":"150.99"`) || !strings.Contains(body, `"postback_url":"https://seuservidor.com/webhook/pix-qrcode"`) {
				t.Fatalf("got %d %s", status, body)
			}
			_, rest, _ := strings.Cut(body, `"status":"`)
			got, _, _ := strings.Cut(rest, `"`)
			return got
		}
		time.Sleep(time.Hour)
		if got := word(s); got != "PENDING" {
			t.Errorf("before anybody asked: got %s", got)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		s = open(t, o)
		if got := word(s); got != "PAID" {
			t.Errorf("after the restart: got %s", got)
		}
		if err := s.Expire(made.Reference); err == nil {
			t.Error("a paid charge was cancelled")
		}
		for _, key := range []string{"12345678909", "nobody@example.com"} {
			if status, body := call(t, s, form("/v3/pix/payment", "chave_pix", key, "valor", "50.00")); status != 200 || !strings.HasPrefix(body, `[{"message":`) {
				t.Errorf("payout: got %d %s", status, body)
			}
		}
		if status, _ := call(t, s, form("/v3/pix/payment", "valor", "51.00")); status != 403 {
			t.Errorf("more than is left: got %d, want 403", status)
		}
		time.Sleep(3 * time.Second)
		if p := s.Payouts(); len(p) != 2 || p[0].Status != providers.StatusPaid || p[1].Status != providers.StatusCancelled || p[0].Amount != 5000 {
			t.Errorf("got payouts %+v", p)
		}
		if err := s.Pay(s.Payouts()[0].ID); err != simkit.ErrNoCharge {
			t.Errorf("a payout was paid: %v", err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

// TestSignatures: webhooks are signed as published.
func TestSignatures(t *testing.T) {
	text, err := os.ReadFile("../testdata/vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Vectors []struct{ Name, Alg, Key, Message, Hex string }
	}
	if err := json.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	for _, v := range file.Vectors {
		got := mac(redact.Secret(v.Key), v.Message)
		if v.Alg == "MD5" {
			part := strings.Split(v.Message, ".")
			got = upstreamSum(part[0], part[1], part[2], part[3], redact.Secret(part[4]))
		}
		if got != v.Hex {
			t.Errorf("%s: got %s, want %s", v.Name, got, v.Hex)
		}
	}
	s := open(t, Options{})
	for query, want := range map[string]int{"": 200, "?form=upstream&fault=bad_mac": 200, "?form=other": 400, "?fault=other": 400} {
		if status, _ := call(t, s, httptest.NewRequest("GET", "/sim/webhooks"+query, nil)); status != want {
			t.Errorf("%q: got %d, want %d", query, status, want)
		}
	}
}
