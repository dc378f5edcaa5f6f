package ssgsim

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	_ "github.com/ssg-safe/agent/internal/bubbles"
	"github.com/ssg-safe/agent/money"
	"github.com/ssg-safe/agent/pix"
	"github.com/ssg-safe/agent/providers"
	"github.com/ssg-safe/agent/providers/simkit"
)

// TestMain serves as the process that TestKill ends.
func TestMain(m *testing.M) {
	if dir := os.Getenv("SSGSIM_TEST_DIR"); dir != "" {
		crashChild(dir)
	}
	os.Exit(m.Run())
}

func open(t *testing.T, o Options) *Sim {
	t.Helper()
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() }) // may be closed already
	return s
}

// client speaks to a simulator in plain HTTP, as the document's samples do.
type client struct {
	t     *testing.T
	sim   *Sim
	token string
}

func (c *client) do(method, path, body string, header http.Header) (int, string) {
	c.t.Helper()
	req := httptest.NewRequestWithContext(c.t.Context(), method, path, strings.NewReader(body))
	req.Header.Set("Accept", "application/json")
	req.Header.Set("Authorization", "Bearer "+c.token)
	for name, values := range header {
		req.Header[name] = values
	}
	w := httptest.NewRecorder()
	c.sim.ServeHTTP(w, req)
	return w.Code, w.Body.String()
}

func login(t *testing.T, s *Sim) *client {
	t.Helper()
	c := &client{t: t, sim: s}
	status, body := c.do("POST", "/oauth/token", fmt.Sprintf(
		`{"grant_type":"client_credentials","client_id":%q,"client_secret":%q}`, DefaultClientID, DefaultClientSecret), nil)
	var in struct {
		Type    string `json:"token_type"`
		Expires int64  `json:"expires_in"`
		Token   string `json:"access_token"`
	}
	if err := json.Unmarshal([]byte(body), &in); err != nil || status != 200 || in.Type != "Bearer" || in.Expires != 31536000 || in.Token == "" {
		t.Fatalf("token: %d %s", status, body)
	}
	c.token = in.Token
	return c
}

// fields are a create request that is in order.
func fields(change func(map[string]any)) string {
	in := map[string]any{
		"valor": "150.50", "chave": "12345678000195", "data_expiracao": "2999-06-21T16:15:59", "nome_pagador": "Maria da Silva",
		"email_pagador": "maria@pagadora.example", "documento_pagador": "12345678909", "cep_pagador": "01310100",
		"endereco_pagador": "Av. Paulista, 1", "cidade_pagador": "São Paulo", "uf_pagador": "SP", "account_id": DefaultAccount,
	}
	if change != nil {
		change(in)
	}
	text, err := json.Marshal(in)
	if err != nil {
		panic(err)
	}
	return string(text)
}

func (c *client) create(body string) (id, code string) {
	c.t.Helper()
	status, text := c.do("POST", "/api/generate-qrcode", body, nil)
	var in struct {
		Data struct{ ID, QRCode string }
	}
	if err := json.Unmarshal([]byte(text), &in); err != nil || status != 201 || in.Data.ID == "" {
		c.t.Fatalf("create: %d %s", status, text)
	}
	return in.Data.ID, in.Data.QRCode
}

func (c *client) status(id string) string {
	c.t.Helper()
	status, text := c.do("POST", "/api/qrcode/status", fmt.Sprintf(`{"qrcode_id":%q}`, id), nil)
	var in struct {
		Data struct {
			ID     string `json:"qrcode_id"`
			Status string `json:"status"`
		} `json:"data"`
	}
	if err := json.Unmarshal([]byte(text), &in); err != nil || status != 200 || in.Data.ID != id {
		c.t.Fatalf("status: %d %s", status, text)
	}
	return in.Data.Status
}

// TestDocument walks through the document's endpoints and answers.
func TestDocument(t *testing.T) {
	s := open(t, Options{})
	c := login(t, s)
	id, code := c.create(fields(nil))
	parsed, err := pix.Parse(code)
	if err != nil {
		t.Fatal(err)
	}
	if cents, ok := parsed.Cents(); !ok || cents != 15050 || parsed.Kind != pix.KindDynamic || !strings.HasPrefix(parsed.URL, DefaultLocationHost+"/") {
		t.Errorf("got a %s code for %d at %q, want a dynamic one for 15050", parsed.Kind, cents, parsed.URL)
	}
	if err := pix.Validate(code); err != nil {
		t.Errorf("the code would not pass a strict reader: %v", err)
	}
	if got := c.status(id); got != "PENDENTE" {
		t.Errorf("got status %s, want PENDENTE", got)
	}
	for _, tt := range []struct {
		what, method, path, body string
		header                   http.Header
		status                   int
		want                     string
	}{
		{"unknown id", "POST", "/api/qrcode/status", `{"qrcode_id":"x"}`, nil, 404, `{"codigo_erro":543235,"mensagem":"ID não encontrado"}`},
		{"no id", "POST", "/api/qrcode/status", `{}`, nil, 422, "qrcode id field is required"},
		{"no token", "POST", "/api/qrcode/status", `{"qrcode_id":"x"}`, http.Header{"Authorization": nil}, 401, `{"message":"Unauthenticated."}`},
		{"wrong token", "POST", "/api/generate-qrcode", fields(nil), http.Header{"Authorization": {"Bearer x"}}, 401, "Unauthenticated"},
		{"wrong secret", "POST", "/oauth/token", `{"grant_type":"client_credentials","client_id":"sim-client","client_secret":"x"}`, nil, 401, "invalid_client"},
		{"wrong grant", "POST", "/oauth/token", `{"grant_type":"password"}`, nil, 400, "unsupported_grant_type"},
		{"not accepting JSON", "POST", "/api/qrcode/status", `{"qrcode_id":"x"}`, http.Header{"Accept": nil}, 200, "<!DOCTYPE html>"},
		{"accepting HTML", "POST", "/oauth/token", `{}`, http.Header{"Accept": {"text/html"}}, 200, "<!DOCTYPE html>"},
		{"not JSON", "POST", "/api/generate-qrcode", `x`, nil, 422, "invalid"},
		{"PATCH of nothing", "PATCH", "/api/pix/x", `{"status":"PAGO"}`, nil, 404, `{"codigo_erro":123,"mensagem":"Pix não encontrado"}`},
		{"PATCH to nonsense", "PATCH", "/api/pix/" + id, `{"status":"paid"}`, nil, 422, "selected status is invalid"},
		{"PATCH", "PATCH", "/api/pix/" + id, `{"status":"PAGO"}`, nil, 204, ""},
		{"no such route", "GET", "/api/other", ``, nil, 404, "could not be found"},
	} {
		status, body := c.do(tt.method, tt.path, tt.body, tt.header)
		if status != tt.status || !strings.Contains(body, tt.want) {
			t.Errorf("%s: got %d %s, want %d with %q", tt.what, status, body, tt.status, tt.want)
		}
	}
	if got := c.status(id); got != "PAGO" {
		t.Errorf("after PATCH: got %s, want PAGO", got)
	}
	if st := s.State(); st.Patches != 3 || st.Paid != 1 || st.PaidSum != 15050 {
		t.Errorf("got state %+v, want 3 patches and one paid charge of 15050", st)
	}
	c.do("PATCH", "/api/pix/"+id, `{"status":"PENDENTE"}`, nil)
	if got := c.status(id); got != "PENDENTE" {
		t.Errorf("after PATCH back: got %s, want PENDENTE", got)
	}
}

// TestRequired: every field of the document is required and checked.
func TestRequired(t *testing.T) {
	s := open(t, Options{})
	c := login(t, s)
	wrong := map[string][]any{
		"valor": {"", nil, "abc", ".50", "1.5", "1.x5"}, "chave": {"", strings.Repeat("k", 256)},
		"data_expiracao": {"", "tomorrow", "2024-13-01T00:00:00"}, "nome_pagador": {"", strings.Repeat("n", 256)},
		"email_pagador": {"", "not an address", "Maria <m@x.example>"}, "documento_pagador": {"", "1234567890", "123456789012345", "12ABC34501DE35"},
		"cep_pagador": {"", "0131010", "01310-100"}, "endereco_pagador": {"", strings.Repeat("é", 256)}, "cidade_pagador": {""},
		"uf_pagador": {"", "S", "SPX"}, "account_id": {"", "06919b2b"},
	}
	for field, values := range wrong {
		for _, v := range values {
			status, body := c.do("POST", "/api/generate-qrcode", fields(func(in map[string]any) { in[field] = v }), nil)
			var e laravel
			if err := json.Unmarshal([]byte(body), &e); err != nil || status != 422 || len(e.Errors) != 1 || len(e.Errors[field]) != 1 {
				t.Errorf("%s = %v: got %d %s, want 422 about this field alone", field, v, status, body)
			}
		}
	}
	if n := len(s.Charges()); n != 0 {
		t.Errorf("%d charges were made", n)
	}
}

// TestLooseAmounts: what the document's expression lets through, and the
// strict mode does not.
func TestLooseAmounts(t *testing.T) {
	for text, want := range map[string]money.Amount{
		"150.50": 15050, "0.01": 1, "999999999999.99": 99999999999999,
		"15050": 1550, "150,50": 15050, "10.5099": 1050, "107080452L31": 10708045231, "1500": 100,
	} {
		loose, strict := open(t, Options{}), open(t, Options{Strict: true})
		login(t, loose).create(fields(func(in map[string]any) { in["valor"] = text }))
		if got := loose.Charges()[0].Amount; got != want {
			t.Errorf("%s: got %s, want %s", text, got, want)
		}
		status, _ := login(t, strict).do("POST", "/api/generate-qrcode", fields(func(in map[string]any) { in["valor"] = text }), nil)
		if ok := text == want.String(); (status == 201) != ok {
			t.Errorf("%s in strict mode: got %d, want success: %v", text, status, ok)
		}
	}
}

func TestPayers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, Options{PayAfter: 10 * time.Second})
		c := login(t, s)
		in := func(d time.Duration) string {
			return fields(func(in map[string]any) {
				in["data_expiracao"] = time.Now().Add(d).In(s.zone).Format("2006-01-02T15:04:05")
			})
		}
		unseen, _ := c.create(in(time.Hour))
		seen, _ := c.create(in(time.Hour))
		short, _ := c.create(in(5 * time.Second))
		want := func(id, word string) {
			t.Helper()
			if got := c.status(id); got != word {
				t.Errorf("after %v: got %s, want %s", time.Since(s.Charges()[0].Created), got, word)
			}
		}
		time.Sleep(2 * time.Second)
		want(seen, "PENDENTE") // the payer sees the code now
		want(short, "PENDENTE")
		time.Sleep(9 * time.Second)
		want(seen, "PENDENTE")
		want(short, "EXPIRADO") // nobody pays an expired code
		time.Sleep(time.Second)
		want(seen, "PAGO")
		want(short, "EXPIRADO")
		time.Sleep(2 * time.Hour)
		want(seen, "PAGO")
		if got := s.Charges()[0]; got.ID != unseen || got.Status != providers.StatusExpired {
			t.Errorf("a code that nobody saw is %s", got.Status)
		}
		if err := s.Pay(short); err != nil { // late money
			t.Fatal(err)
		}
		want(short, "PAGO")
		if st := s.State(); st.Paid != 2 || st.Expired != 1 || st.PaidSum != 30100 || st.Sum != 45150 {
			t.Errorf("got state %+v", st)
		}
	})
}

func TestPayFraction(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, Options{PayAfter: time.Second, PayFraction: 0.4, Seed: 3})
		c := login(t, s)
		for range 200 {
			id, _ := c.create(fields(nil))
			c.status(id)
		}
		time.Sleep(time.Second)
		if n := s.State().Paid; n < 50 || n > 110 {
			t.Errorf("%d of 200 were paid at a fraction of 0.4", n)
		}
	})
	if _, err := New(Options{PayFraction: 1.1}); err == nil {
		t.Error("a fraction of 1.1 was taken")
	}
	if _, err := New(Options{Faults: []simkit.Rule{{Route: "x", Fault: "y"}}}); err == nil {
		t.Error("a rule for no route was taken")
	}
}

// TestReopen: the ledger, tokens, payers under way and ids go on where they
// were.
func TestReopen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		s := open(t, Options{Dir: dir, PayAfter: time.Minute})
		c := login(t, s)
		paid, _ := c.create(fields(nil))
		under, _ := c.create(fields(nil))
		forced, _ := c.create(fields(nil))
		c.create(fields(nil))
		c.status(paid)
		time.Sleep(30 * time.Second)
		c.status(under)
		time.Sleep(30 * time.Second)
		if err := s.Expire(forced); err != nil {
			t.Fatal(err)
		}
		if err := s.Expire(paid); err == nil {
			t.Error("a paid charge was made to expire")
		}
		before := s.Charges()
		if before[0].Status != providers.StatusPaid {
			t.Errorf("got %s, want paid: money does not go back by itself", before[0].Status)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = open(t, Options{Dir: dir, PayAfter: time.Minute})
		if d := cmp.Diff(before, s.Charges()); d != "" {
			t.Errorf("the ledger changed:\n%s", d)
		}
		c.sim = s // with the old token
		time.Sleep(30 * time.Second)
		for id, want := range map[string]string{paid: "PAGO", under: "PAGO", forced: "EXPIRADO"} {
			if got := c.status(id); got != want {
				t.Errorf("got %s, want %s", got, want)
			}
		}
		c.create(fields(nil)) // a known id would fail
		if err := s.RevokeTokens(); err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		c.sim = open(t, Options{Dir: dir})
		if status, _ := c.do("POST", "/api/qrcode/status", `{"qrcode_id":"x"}`, nil); status != 401 {
			t.Errorf("a revoked token gets %d, want 401", status)
		}
	})
}

func TestTokenLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &client{t: t, sim: open(t, Options{TokenLife: time.Minute})}
		_, body := c.do("POST", "/oauth/token", `{"grant_type":"client_credentials","client_id":"sim-client","client_secret":"sim-secret-not-a-credential"}`, nil)
		var in struct {
			Token string `json:"access_token"`
		}
		if err := json.Unmarshal([]byte(body), &in); err != nil {
			t.Fatal(err)
		}
		c.token = in.Token
		time.Sleep(time.Minute - 1)
		if status, _ := c.do("POST", "/api/qrcode/status", `{"qrcode_id":"x"}`, nil); status != 404 {
			t.Errorf("just before its end the token gets %d, want 404", status)
		}
		time.Sleep(time.Nanosecond)
		if status, _ := c.do("POST", "/api/qrcode/status", `{"qrcode_id":"x"}`, nil); status != 401 {
			t.Errorf("at its end the token gets %d, want 401", status)
		}
	})
}

// TestControl drives the control routes.
func TestControl(t *testing.T) {
	s := open(t, Options{})
	c := login(t, s)
	id, _ := c.create(fields(nil))
	other, _ := c.create(fields(nil))
	for _, tt := range []struct {
		method, path, body string
		status             int
		want               string
	}{
		{"POST", "/sim/charges/" + id + "/pay", "", 204, ""},
		{"POST", "/sim/charges/" + other + "/expire", "", 204, ""},
		{"POST", "/sim/charges/x/pay", "", 404, "no such charge"},
		{"GET", "/sim/state", "", 200, `"paid_sum": 15050`},
		{"GET", "/sim/ledger", "", 200, `"status": "expired"`},
		{"GET", "/sim/requests", "", 200, `"route": "create"`},
		{"PUT", "/sim/faults", "status:http=500*1", 204, ""},
		{"GET", "/sim/faults", "", 200, `"next": 1`},
		{"PUT", "/sim/faults", "status:x", 400, "no such fault"},
		{"PUT", "/sim/faults", "status", 400, "want ROUTE"},
		{"POST", "/api/qrcode/status", `{"qrcode_id":"x"}`, 500, `{"codigo_erro":13123123123,"mensagem":"Erro interno"}`},
		{"PUT", "/sim/faults", `[{"route":"*","fault":"http","arg":"503"}]`, 204, ""},
		{"POST", "/oauth/token", ``, 503, ""},
		{"DELETE", "/sim/faults", "", 204, ""},
		{"POST", "/sim/tokens/revoke", "", 204, ""},
		{"POST", "/api/qrcode/status", `{"qrcode_id":"x"}`, 401, ""},
	} {
		status, body := c.do(tt.method, tt.path, tt.body, nil)
		if status != tt.status || !strings.Contains(body, tt.want) {
			t.Errorf("%s %s: got %d %s, want %d with %q", tt.method, tt.path, status, body, tt.status, tt.want)
		}
	}
}

// TestFullDisk: a charge that could not be written down was not made.
func TestFullDisk(t *testing.T) {
	s := open(t, Options{Dir: t.TempDir()})
	c := login(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if status, _ := c.do("POST", "/api/generate-qrcode", fields(nil), nil); status != 500 {
		t.Errorf("got %d, want 500", status)
	}
	if n := len(s.Charges()); n != 0 {
		t.Errorf("%d charges were made", n)
	}
}

// TestCodeFaults: each spoilt code is wrong in the way its name says.
func TestCodeFaults(t *testing.T) {
	s := open(t, Options{})
	c := login(t, s)
	for _, how := range append(simkit.CodeFaults(), "own_key") {
		if err := s.Script().Set(simkit.Rule{Route: RouteCreate, Fault: simkit.Code, Arg: how}); err != nil {
			t.Fatal(err)
		}
		_, text := c.create(fields(nil))
		code, err := pix.Parse(text)
		cents, _ := code.Cents()
		ok := false
		switch how {
		case "crc", "cut", "gui":
			_, ok = errors.AsType[pix.Problems](err)
		case "amount":
			ok = err == nil && cents == 15051
		case "host":
			ok = err == nil && strings.HasPrefix(code.URL, "elsewhere.example/")
		case "foreign_key":
			ok = err == nil && code.Key != "" && code.Key != "12345678000195"
		case "own_key":
			ok = err == nil && code.Key == "12345678000195"
		case "recurrence":
			ok = err == nil && code.RecURL != ""
		}
		if !ok {
			t.Errorf("%s: got %+v (%v)", how, code, err)
		}
	}
}

// crashChild makes charges for ever and tells each one's id once the answer is
// in hand.
func crashChild(dir string) {
	s, err := New(Options{Dir: dir})
	if err != nil {
		panic(err)
	}
	server := httptest.NewServer(s)
	token := ""
	call := func(path, body string) map[string]any {
		req, err := http.NewRequest(http.MethodPost, server.URL+path, strings.NewReader(body))
		if err != nil {
			panic(err)
		}
		req.Header.Set("Accept", "application/json")
		req.Header.Set("Authorization", "Bearer "+token)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			panic(err)
		}
		defer resp.Body.Close() // read
		var out map[string]any
		if err := json.NewDecoder(resp.Body).Decode(&out); err != nil {
			panic(err)
		}
		return out
	}
	token = call("/oauth/token", `{"grant_type":"client_credentials","client_id":"sim-client","client_secret":"sim-secret-not-a-credential"}`)["access_token"].(string)
	for {
		fmt.Println(call("/api/generate-qrcode", fields(nil))["data"].(map[string]any)["id"])
	}
}

// TestKill ends a simulator by kill -9 in the middle of its work: whatever it
// answered must be in its ledger afterwards.
func TestKill(t *testing.T) {
	dir := t.TempDir()
	told := map[string]bool{}
	for round := range 4 {
		cmd := exec.CommandContext(t.Context(), os.Args[0])
		cmd.Env = append(os.Environ(), "SSGSIM_TEST_DIR="+dir)
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewReader(out)
		for n := 0; ; n++ {
			line, err := lines.ReadString('\n')
			if err != nil {
				break
			}
			told[strings.TrimSpace(line)] = true
			if n == 5+7*round {
				if err := cmd.Process.Kill(); err != nil {
					t.Fatal(err)
				}
			}
		}
		io.Copy(io.Discard, lines) // ended
		if err := cmd.Wait(); err == nil || len(told) == 0 {
			t.Fatalf("round %d ended by itself (%v) after %d charges: %s", round, err, len(told), &stderr)
		}
	}
	s := open(t, Options{Dir: dir})
	for _, c := range s.Charges() {
		delete(told, c.ID)
	}
	if len(told) != 0 {
		t.Errorf("%d charges were answered and are not in the ledger", len(told))
	}
}
