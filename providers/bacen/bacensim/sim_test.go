package bacensim

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	_ "github.com/ssg-safe/agent/internal/bubbles"
	"github.com/ssg-safe/agent/money"
	"github.com/ssg-safe/agent/pix"
	"github.com/ssg-safe/agent/providers"
	"github.com/ssg-safe/agent/providers/simkit"
)

const (
	txid = "T00100000000000000000000011"
	good = `{"calendario":{"expiracao":3600},"devedor":{"cpf":"12345678909","nome":"Francisco da Silva"},"valor":{"original":"37.00"},"chave":"12345678000195"}`
)

func open(t *testing.T, o Options) *Sim {
	t.Helper()
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() }) // may be closed already
	return s
}

// client speaks to a simulator in plain HTTP.
type client struct {
	t     *testing.T
	sim   *Sim
	token string
}

func (c *client) do(method, path, body string) (int, map[string]any) {
	c.t.Helper()
	req := httptest.NewRequestWithContext(c.t.Context(), method, path, strings.NewReader(body))
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	} else {
		req.SetBasicAuth(DefaultClientID, DefaultClientSecret)
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	w := httptest.NewRecorder()
	c.sim.ServeHTTP(w, req)
	out := map[string]any{}
	if text := w.Body.Bytes(); len(text) > 0 && text[0] == '{' {
		if err := json.Unmarshal(text, &out); err != nil {
			c.t.Fatal(err)
		}
	}
	return w.Code, out
}

func login(t *testing.T, s *Sim) *client {
	t.Helper()
	c := &client{t: t, sim: s}
	status, in := c.do("POST", "/oauth/token", "grant_type=client_credentials&scope=cob.read+pix.read")
	token, _ := in["access_token"].(string)
	if status != 200 || token == "" || in["token_type"] != "Bearer" || in["expires_in"] != 3600.0 {
		t.Fatalf("token: %d %v", status, in)
	}
	c.token = token
	return c
}

// What the standard's document says, step by step.
func TestDocument(t *testing.T) {
	s := open(t, Options{})
	c := login(t, s)
	if status, in := c.do("GET", "/cob/"+txid, ""); status != 404 || !strings.HasSuffix(fmt.Sprint(in["type"]), "/NaoEncontrado") {
		t.Errorf("before it was made: %d %v", status, in)
	}
	status, in := c.do("PUT", "/cob/"+txid, good)
	if status != 201 || in["status"] != "ATIVA" || in["txid"] != txid || in["chave"] != "12345678000195" {
		t.Fatalf("create: %d %v", status, in)
	}
	code, err := pix.Parse(in["pixCopiaECola"].(string))
	if err != nil || code.URL != in["location"] || code.Amount != "37.00" {
		t.Errorf("code %+v (%v), location %v", code, err, in["location"])
	}
	if status, _ := c.do("PUT", "/cob/"+txid, good); status != 200 {
		t.Errorf("the same again: %d", status)
	}
	if status, _ := c.do("PUT", "/cob/"+txid, strings.Replace(good, "37", "38", 1)); status != 409 {
		t.Errorf("something else under the same txid: %d", status)
	}
	if err := s.Pay(txid); err != nil {
		t.Fatal(err)
	}
	_, in = c.do("GET", "/cob/"+txid, "")
	rows, _ := in["pix"].([]any)
	if in["status"] != "CONCLUIDA" || len(rows) != 1 {
		t.Fatalf("paid: %v", in)
	}
	paid := rows[0].(map[string]any)
	e2e := paid["endToEndId"].(string)
	if len(e2e) != 32 || paid["valor"] != "37.00" || paid["txid"] != txid {
		t.Errorf("pix: %v", paid)
	}
	if status, one := c.do("GET", "/pix/"+e2e, ""); status != 200 || one["valor"] != "37.00" {
		t.Errorf("GET /pix/{e2eid}: %d %v", status, one)
	}
	if status, _ := c.do("PATCH", "/cob/"+txid, `{"status":"REMOVIDA_PELO_USUARIO_RECEBEDOR"}`); status != 400 {
		t.Errorf("removing a charge that is paid: %d", status)
	}
	if err := s.Pay(txid); err == nil {
		t.Error("paid twice through its code")
	}
	if st := s.State(); st.Charges != 1 || st.Paid != 1 || st.ReceivedSum != 3700 || st.Requests == 0 {
		t.Errorf("state %+v", st)
	}
	other := "T00100000000000000000000021"
	c.do("PUT", "/cob/"+other, good)
	if status, in := c.do("PATCH", "/cob/"+other, `{"status":"REMOVIDA_PELO_USUARIO_RECEBEDOR"}`); status != 200 || in["status"] != "REMOVIDA_PELO_USUARIO_RECEBEDOR" {
		t.Errorf("remove: %d %v", status, in)
	}
}

func TestRefusals(t *testing.T) {
	s := open(t, Options{})
	c := login(t, s)
	for name, change := range map[string]func(string) string{
		"amount of one decimal": func(b string) string { return strings.Replace(b, "37.00", "37.0", 1) },
		"amount of zero":        func(b string) string { return strings.Replace(b, "37.00", "0.00", 1) },
		"amount as a number":    func(b string) string { return strings.Replace(b, `"37.00"`, "37.00", 1) },
		"no key":                func(b string) string { return strings.Replace(b, "12345678000195", "", 1) },
		"a debtor of both":      func(b string) string { return strings.Replace(b, `"cpf"`, `"cnpj":"12345678000195","cpf"`, 1) },
		"a debtor without name": func(b string) string { return strings.Replace(b, "Francisco da Silva", "", 1) },
		"no time to pay":        func(b string) string { return strings.Replace(b, "3600", "0", 1) },
		"no JSON":               func(b string) string { return b[1:] },
	} {
		if status, in := c.do("PUT", "/cob/"+txid, change(good)); status != 400 || in["title"] == nil {
			t.Errorf("%s: %d %v", name, status, in)
		}
	}
	for _, id := range []string{txid[:25], txid + "123456789", "T0010000000000000000000-11"} {
		if status, _ := c.do("PUT", "/cob/"+id, good); status != 400 {
			t.Errorf("txid %s: %d", id, status)
		}
	}
	for _, query := range []string{
		"", "inicio=2026-01-01T00:00:00Z", "inicio=2026-01-02T00:00:00Z&fim=2026-01-01T00:00:00Z", "inicio=2026-01-01&fim=2026-01-02",
		"inicio=2026-01-01T00:00:00Z&fim=2026-01-02T00:00:00Z&paginacao.itensPorPagina=1001",
	} {
		if status, in := c.do("GET", "/pix?"+query, ""); status != 400 || !strings.HasSuffix(fmt.Sprint(in["type"]), "/PixConsultaInvalida") {
			t.Errorf("%s: %d %v", query, status, in)
		}
	}
	if n := len(s.Charges()); n != 0 {
		t.Errorf("%d charges were made", n)
	}
	if err := s.RevokeTokens(); err != nil {
		t.Fatal(err)
	}
	if status, _ := c.do("GET", "/cob/"+txid, ""); status != 401 {
		t.Errorf("a revoked token: %d", status)
	}
	for _, form := range []string{"grant_type=password", "grant_type=client_credentials&scope=pix.write"} {
		if status, in := (&client{t: t, sim: s}).do("POST", "/oauth/token", form); status != 400 || in["error"] == nil {
			t.Errorf("%s: %d %v", form, status, in)
		}
	}
}

// A payer pays what a code says: a static one again and again, a dynamic one
// once, and no code that is broken.
func TestPayCode(t *testing.T) {
	s := open(t, Options{})
	c := login(t, s)
	const id = "T00100000000000000000000S"
	static, err := pix.Static{Key: "12345678000195", Name: "LOJA", City: "RECIFE", Amount: 1234, TxID: id}.Encode()
	if err != nil {
		t.Fatal(err)
	}
	_, in := c.do("PUT", "/cob/"+txid, good)
	dynamic := in["pixCopiaECola"].(string)
	if err := errors.Join(s.PayCode(static), s.PayCode(static), s.PayCode(dynamic), s.Receive(id, 1)); err != nil {
		t.Fatal(err)
	}
	typed, err := pix.Static{Key: "12345678000195", Name: "LOJA", City: "RECIFE", TxID: id}.Encode()
	if err != nil {
		t.Fatal(err)
	}
	for _, code := range []string{dynamic, "", static[:50], static + "0", strings.Replace(static, "12.34", "99.99", 1), typed} {
		if err := s.PayCode(code); !errors.Is(err, ErrUnpayable) {
			t.Errorf("paid %q: %v", code, err)
		}
	}
	sums := map[string]money.Amount{}
	ids := map[string]bool{}
	for _, p := range s.Received() {
		sums[p.TxID] += p.Amount
		ids[p.EndToEnd] = true
	}
	if sums[id] != 2469 || sums[txid] != 3700 || len(ids) != 4 {
		t.Errorf("received %v under %d ids", sums, len(ids))
	}
	var pay struct{ Code string }
	pay.Code = static
	body, err := json.Marshal(pay)
	if err != nil {
		t.Fatal(err)
	}
	if status, _ := c.do("POST", "/sim/pix", string(body)); status != 204 {
		t.Errorf("control route: %d", status)
	}
	if status, _ := c.do("POST", "/sim/pix", `{"txid":"A","valor":"1,00"}`); status != 400 {
		t.Errorf("control route with a comma: %d", status)
	}
}

// A payment falls due when it was to fall due, whether or not the simulator ran
// meanwhile; what is in the ledger survives.
func TestReopen(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		first := open(t, Options{Dir: dir, PayAfter: time.Minute})
		c := login(t, first)
		c.do("PUT", "/cob/"+txid, good)
		c.do("GET", "/cob/"+txid, "")
		if err := first.Receive("STATIC", 5); err != nil {
			t.Fatal(err)
		}
		if err := first.Close(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		second := open(t, Options{Dir: dir})
		charges, received := second.Charges(), second.Received()
		if len(charges) != 1 || charges[0].Status != providers.StatusPaid || len(received) != 2 || received[0].TxID != "STATIC" {
			t.Errorf("got %+v and %+v", charges, received)
		}
		window := url.Values{"inicio": {stamp(time.Now().Add(-2 * time.Hour))}, "fim": {stamp(time.Now())}}
		again := &client{t: t, sim: second, token: c.token}
		status, _ := again.do("GET", "/pix?"+window.Encode(), "")
		if status != 401 { // an hour has passed: the token is over
			t.Errorf("an old token: %d", status)
		}
		if status, in := login(t, second).do("GET", "/pix?"+window.Encode(), ""); status != 200 || len(in["pix"].([]any)) != 2 {
			t.Errorf("list: %d %v", status, in)
		}
	})
}

func TestFaults(t *testing.T) {
	s := open(t, Options{Faults: []simkit.Rule{{Route: RouteCreate, Fault: simkit.ErrorAfter, Arg: "500"}}})
	c := login(t, s)
	if status, _ := c.do("PUT", "/cob/"+txid, good); status != 500 || len(s.Charges()) != 1 {
		t.Errorf("%d, %d charges", status, len(s.Charges()))
	}
	if _, err := New(Options{Faults: []simkit.Rule{{Route: "nothing", Fault: simkit.HTML}}}); err == nil {
		t.Error("took a rule for a route that is not there")
	}
	if _, err := New(Options{PayFraction: 2}); err == nil {
		t.Error("took a fraction of 2")
	}
}

// A code that the agent's own reader finds in order is read alike here, and no
// text makes the reader fall over.
func FuzzScan(f *testing.F) {
	static, err := pix.Static{Key: "12345678000195", Name: "LOJA", City: "RECIFE", Amount: 1234, TxID: "S1"}.Encode()
	if err != nil {
		f.Fatal(err)
	}
	for _, s := range []string{static, static[:40], "", "6304", "00020163041234", (simkit.Payee{Host: "h", Name: "N", City: "C"}).Code("/1", 5)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, err := scan(text)
		if err != nil {
			return
		}
		if (got.key == "") == (got.location == "") || got.key != "" && (got.amount <= 0 || got.txid == "") {
			t.Errorf("took %+v", got)
		}
		if want, err := pix.Parse(text); err == nil && (want.Key != got.key || want.URL != got.location) {
			t.Errorf("read %+v, package pix %+v", got, want)
		}
	})
}
