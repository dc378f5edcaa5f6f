package facade

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ssg-safe/agent/charge"
	_ "github.com/ssg-safe/agent/internal/bubbles"
	"github.com/ssg-safe/agent/localapi"
	"github.com/ssg-safe/agent/money"
)

const (
	secret  = "a-secret-of-the-safe-0123456789abcdef"
	account = "06919b2b-4274-457a-84b0-4cf4de1405fb"
	key     = "11222333000181"
)

// desk is a terminal of the test's: charges become what a test says.
type desk struct {
	localapi.Desk // what the façade does not call

	mu        sync.Mutex // guards all
	orders    []localapi.Order
	records   map[charge.ID]localapi.Record
	cancelled []charge.ID
	woken     chan struct{}
	refuse    error
	slow      time.Duration // how long recording a charge takes
	// provider answers a charge; nil: at once, with a code.
	provider func(*localapi.Record)
}

func (d *desk) Start(ctx context.Context, o localapi.Order) (id charge.ID, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	defer time.Sleep(d.slow)
	if end, ok := ctx.Deadline(); ok && time.Until(end) < d.slow { // the caller is gone before the charge is on disk
		defer func() { id, err = "", context.DeadlineExceeded }()
	}
	if d.refuse != nil {
		return "", d.refuse
	}
	d.orders = append(d.orders, o)
	id = charge.ID(fmt.Sprintf("T001%021d", len(d.orders)))
	r := localapi.Record{Charge: charge.Charge{ID: id, Source: o.Source, Amount: o.Amount, State: charge.Created}}
	if d.provider == nil {
		r.Charge.State, r.Code = charge.Pending, "000201-code-of-"+string(id)
	}
	d.records[id] = r
	return id, nil
}

func (d *desk) Charge(id charge.ID) (localapi.Record, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	r, ok := d.records[id]
	if !ok {
		return r, &localapi.Refusal{Code: localapi.ChargeNotFound, Err: errors.New("none")}
	}
	if d.provider != nil {
		d.provider(&r)
		d.records[id] = r
	}
	return r, nil
}

func (d *desk) Cancel(_ context.Context, id charge.ID) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.cancelled = append(d.cancelled, id)
	return nil
}

func (d *desk) set(id charge.ID, s charge.State) {
	d.mu.Lock()
	defer d.mu.Unlock()
	r := d.records[id]
	r.Charge.State = s
	d.records[id] = r
}

func (d *desk) made() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.orders)
}

type rig struct {
	t    *testing.T
	desk *desk
	s    *Server
	now  time.Time
}

func newRig(t *testing.T) *rig {
	r := &rig{t: t, now: time.Date(2026, 6, 21, 19, 0, 0, 0, time.UTC), desk: &desk{records: map[charge.ID]localapi.Record{}, woken: make(chan struct{})}}
	client := Client{Name: "cofre", ID: "cofre-01", Secret: secret, Account: account, Merchant: "loja", Key: key, Present: localapi.PresentNever}
	other := client
	other.Name, other.ID, other.Secret = "outro", "cofre-02", "another-"+secret
	r.s = New(Options{
		Desk: r.desk, Clients: []Client{client, other}, TokenLife: time.Hour, Zone: time.FixedZone("-03", -3*60*60),
		Now: func() time.Time { return r.now }, Woken: func() <-chan struct{} { return r.desk.woken },
	})
	return r
}

type answer struct {
	code   int
	header http.Header
	body   map[string]any
}

func (r *rig) ask(method, path, token, body string, change ...func(*http.Request)) answer {
	r.t.Helper()
	req := httptest.NewRequest(method, path, strings.NewReader(body))
	req.Header.Set("Content-Type", "application/json")
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	for _, c := range change {
		c(req)
	}
	w := httptest.NewRecorder()
	r.s.ServeHTTP(w, req)
	a := answer{code: w.Code, header: w.Header()}
	if err := json.Unmarshal(w.Body.Bytes(), &a.body); err != nil || w.Header().Get("Content-Type") != "application/json" {
		r.t.Errorf("%s %s: answered %q, %v", method, path, w.Body, err)
	}
	return a
}

func (r *rig) token(id, secret string) string {
	r.t.Helper()
	a := r.ask("POST", "//oauth/token", "", fmt.Sprintf(`{"grant_type":"client_credentials","client_id":%q,"client_secret":%q}`, id, secret))
	token, _ := a.body["access_token"].(string)
	if a.code != 200 || token == "" || a.body["token_type"] != "Bearer" || a.body["expires_in"] != 3600.0 {
		r.t.Fatalf("answered %+v", a)
	}
	return token
}

// order is a good request, with changes in pairs; "" leaves a field out.
func order(changes ...string) string {
	in := map[string]any{
		"valor": "150.50", "chave": key, "data_expiracao": "2026-06-21T16:15:59", "nome_pagador": "Maria da Silva",
		"email_pagador": "maria@example.com", "documento_pagador": "52998224725", "cep_pagador": "01001000",
		"endereco_pagador": "Rua das Flores, 100", "cidade_pagador": "São Paulo", "uf_pagador": "sp", "account_id": strings.ToUpper(account),
	}
	for i := 0; i < len(changes); i += 2 {
		if in[changes[i]] = changes[i+1]; changes[i+1] == "" {
			delete(in, changes[i])
		}
	}
	text, err := json.Marshal(in)
	if err != nil {
		panic(err)
	}
	return string(text)
}

func data(a answer) map[string]any {
	d, _ := a.body["data"].(map[string]any)
	return d
}

// A safe gets a token, a code and, once it is paid, PAGO; its request reaches the
// terminal whole.
func TestASafe(t *testing.T) {
	r := newRig(t)
	token := r.token("cofre-01", secret)
	a := r.ask("POST", "/api/generate-qrcode", token, order())
	id, _ := data(a)["id"].(string)
	if a.code != 201 || id == "" || data(a)["qrcode"] != "000201-code-of-"+id {
		t.Fatalf("answered %+v", a)
	}
	o := r.desk.orders[0]
	if o.Amount != 15050 || o.Merchant != "loja" || o.Source != "facade:cofre" || o.Reference != "" || o.Expiry != 15*time.Minute+59*time.Second || o.Present != localapi.PresentNever {
		t.Errorf("ordered %+v", o)
	}
	p := o.Payer
	if p.Name.Reveal() != "Maria da Silva" || p.Document.Reveal() != "52998224725" || p.Email.Reveal() != "maria@example.com" ||
		p.State != "SP" || p.Postcode.Reveal() != "01001000" || p.City.Reveal() != "São Paulo" || p.Address.Reveal() != "Rua das Flores, 100" {
		t.Errorf("payer %+v", p)
	}
	for _, step := range []struct {
		state charge.State
		word  string
	}{
		{charge.Pending, "PENDENTE"},
		{charge.Expired, "EXPIRADO"},
		{charge.Cancelled, "EXPIRADO"},
		{charge.Failed, "EXPIRADO"},
		{charge.Paid, "PAGO"},
		{charge.PartiallyRefunded, "PAGO"},
		{charge.Refunded, "EXPIRADO"},
		{charge.Created, "PENDENTE"},
	} {
		r.desk.set(charge.ID(id), step.state)
		a := r.ask("POST", "/api/qrcode/status", token, fmt.Sprintf(`{"qrcode_id":%q}`, id))
		if a.code != 200 || data(a)["qrcode_id"] != id || data(a)["status"] != step.word {
			t.Errorf("%s: answered %+v", step.state, a)
		}
	}
	// The same request again is another charge.
	if a := r.ask("POST", "/api/generate-qrcode", token, order()); a.code != 201 || data(a)["id"] == id {
		t.Errorf("again: answered %+v", a)
	}
}

// Another client's charge does not exist.
func TestClientsAreApart(t *testing.T) {
	r := newRig(t)
	id, _ := data(r.ask("POST", "/api/generate-qrcode", r.token("cofre-01", secret), order()))["id"].(string)
	other := r.token("cofre-02", "another-"+secret)
	for _, name := range []string{id, "", "T001", strings.Repeat("A", 25), "../" + id, strings.Repeat("9", 4000)} {
		a := r.ask("POST", "/api/qrcode/status", other, fmt.Sprintf(`{"qrcode_id":%q}`, name))
		if want := 404; name == "" {
			if a.code != 422 {
				t.Errorf("no id: answered %+v", a)
			}
		} else if a.code != want || a.body["codigo_erro"] != 543235.0 || !strings.HasPrefix(a.body["mensagem"].(string), "ID não encontrado") {
			t.Errorf("%.30q: answered %+v", name, a)
		}
	}
}

func TestTokens(t *testing.T) {
	r := newRig(t)
	token := r.token("cofre-01", secret)
	raw, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil {
		t.Fatal(err)
	}
	later := append([]byte{}, raw...)
	later[6]++ // ends later
	flipped := append([]byte{}, raw...)
	flipped[len(raw)-1] ^= 1
	for name, bad := range map[string]string{
		"none": "", "garbage": "x", "longer": base64.RawURLEncoding.EncodeToString(later), "forged": base64.RawURLEncoding.EncodeToString(flipped),
		"short": token[:40], "padded": token + "=", "the secret": secret,
	} {
		a := r.ask("POST", "/api/generate-qrcode", bad, order())
		if a.code != 401 || a.body["message"] == nil || a.header.Get("WWW-Authenticate") == "" {
			t.Errorf("%s: answered %+v", name, a)
		}
	}
	if a := r.ask("POST", "/api/qrcode/status", token, `{"qrcode_id":"x"}`, func(q *http.Request) { q.Header.Set("Authorization", "Basic "+token) }); a.code != 401 {
		t.Errorf("Basic: answered %+v", a)
	}
	// A restart logs nobody out; the end of its time does, and so does a new secret.
	again := newRig(t)
	if a := again.ask("POST", "/api/generate-qrcode", token, order()); a.code != 201 {
		t.Errorf("after a restart: answered %+v", a)
	}
	again.s.clients[0].Secret = "changed-" + secret
	if a := again.ask("POST", "/api/generate-qrcode", token, order()); a.code != 401 {
		t.Errorf("with another secret: answered %+v", a)
	}
	r.now = r.now.Add(time.Hour)
	if a := r.ask("POST", "/api/generate-qrcode", token, order("data_expiracao", "2026-06-21T17:15:59")); a.code != 401 {
		t.Errorf("over: answered %+v", a)
	}
}

func TestCredentials(t *testing.T) {
	r := newRig(t)
	for name, test := range map[string]struct {
		body, oauth string
		code        int
	}{
		"wrong secret":     {`{"grant_type":"client_credentials","client_id":"cofre-01","client_secret":"x"}`, "invalid_client", 401},
		"another's secret": {`{"grant_type":"client_credentials","client_id":"cofre-02","client_secret":"` + secret + `"}`, "invalid_client", 401},
		"nobody":           {`{"grant_type":"client_credentials","client_id":"","client_secret":""}`, "invalid_client", 401},
		"nothing":          {`{}`, "invalid_client", 401},
		"another grant":    {`{"grant_type":"password","client_id":"cofre-01","client_secret":"` + secret + `"}`, "unsupported_grant_type", 400},
		"no JSON":          {`grant_type=client_credentials`, "", 400},
		"twice":            {`{"client_id":"a","client_id":"cofre-01"}`, "", 400},
	} {
		a := r.ask("POST", "/oauth/token", "", test.body)
		if oauth, _ := a.body["error"].(string); a.code != test.code || oauth != test.oauth {
			t.Errorf("%s: answered %+v", name, a)
		}
	}
}

// Whatever is wrong with a request, the safe learns which field, and no charge is
// made.
func TestWrongOrders(t *testing.T) {
	r := newRig(t)
	token := r.token("cofre-01", secret)
	for _, test := range []struct{ field, value string }{
		{"valor", ""},
		{"valor", "107080452L31"},
		{"valor", "15050"},
		{"valor", "150,50"},
		{"valor", "10.5099"},
		{"valor", "10.5"},
		{"valor", "-1.00"},
		{"valor", "0.00"},
		{"valor", "1e2"},
		{"valor", "1234567890123.00"},
		{"valor", " 1.00"},
		{"valor", "１.00"},
		{"valor", "150.50\n"},
		{"chave", ""},
		{"chave", "aspernatur"},
		{"chave", "11222333000182"},
		{"account_id", ""},
		{"account_id", "06919b2b-4274-457a-84b0-4cf4de1405fc"},
		{"data_expiracao", ""},
		{"data_expiracao", "amanhã"},
		{"data_expiracao", "2024-06-21T16:15:59"},
		{"data_expiracao", "2026-06-21T16:00:05"},
		{"data_expiracao", "2026-06-23T16:15:59"},
		{"data_expiracao", "2026-02-30T16:15:59"},
		{"nome_pagador", ""},
		{"nome_pagador", strings.Repeat("á", 256)},
		{"nome_pagador", "Maria\u202e"},
		{"nome_pagador", "a\u0000b"},
		{"email_pagador", "wjsq"},
		{"email_pagador", ""},
		{"documento_pagador", "u"},
		{"documento_pagador", "11111111111"},
		{"documento_pagador", "529982247250"},
		{"cep_pagador", "srqhlbbz"},
		{"cep_pagador", "01001-000"},
		{"uf_pagador", "w"},
		{"uf_pagador", "S1"},
		{"endereco_pagador", ""},
		{"cidade_pagador", strings.Repeat("x", 256)},
	} {
		for _, c := range r.s.clients {
			*c.budget = *localapi.NewBucket(clientBurst, clientEvery)
		}
		a := r.ask("POST", "/api/generate-qrcode", token, order(test.field, test.value))
		fields, _ := a.body["errors"].(map[string]any)
		if a.code != 422 || len(fields) != 1 || fields[test.field] == nil || a.body["message"] == nil {
			t.Errorf("%s %q: answered %+v", test.field, test.value, a)
		}
	}
	for _, c := range r.s.clients {
		*c.budget = *localapi.NewBucket(clientBurst, clientEvery)
	}
	for name, body := range map[string]string{
		"empty": "", "a list": "[]", "null": "null", "cut": order()[:50], "two": order() + order(), "a field twice": strings.Replace(order(), "{", `{"valor":"1.00",`, 1),
		"not UTF-8": "{\"valor\":\"\xff\"}", "deep": strings.Repeat(`{"a":`, 2500),
	} {
		if a := r.ask("POST", "/api/generate-qrcode", token, body); a.code != 400 {
			t.Errorf("%s: answered %+v", name, a)
		}
	}
	if a := r.ask("POST", "/api/generate-qrcode", token, `{"valor":150.50}`); a.code != 422 || len(a.body["errors"].(map[string]any)) != 11 {
		t.Errorf("a number, and the rest missing: answered %+v", a)
	}
	if a := r.ask("POST", "/api/generate-qrcode", token, strings.Repeat(" ", maxBody)+order()); a.code != 413 {
		t.Errorf("too long: answered %+v", a)
	}
	form := func(q *http.Request) { q.Header.Set("Content-Type", "application/x-www-form-urlencoded") }
	if a := r.ask("POST", "/api/generate-qrcode", token, order(), form); a.code != 415 {
		t.Errorf("a form: answered %+v", a)
	}
	if n := r.desk.made(); n != 0 {
		t.Errorf("%d charges were made", n)
	}
}

// PATCH marks nothing paid, whoever asks.
func TestPatchChangesNothing(t *testing.T) {
	r := newRig(t)
	token := r.token("cofre-01", secret)
	id, _ := data(r.ask("POST", "/api/generate-qrcode", token, order()))["id"].(string)
	for _, method := range []string{"PATCH", "POST", "PUT"} {
		if a := r.ask(method, "/api/pix/"+id, token, `{"status":"PAGO"}`); a.code != 403 || a.body["codigo_erro"] != 1002.0 {
			t.Errorf("%s: answered %+v", method, a)
		}
	}
	if a := r.ask("PATCH", "/api/pix/"+id, "", `{"status":"PAGO"}`); a.code != 401 {
		t.Errorf("without a token: answered %+v", a)
	}
	if a := r.ask("POST", "/api/qrcode/status", token, fmt.Sprintf(`{"qrcode_id":%q}`, id)); data(a)["status"] != "PENDENTE" {
		t.Errorf("answered %+v", a)
	}
	for path, want := range map[string]int{"/": 404, "/api": 404, "/oauth/token/x": 404, "/api/generate-qrcode/": 404, "/api/qrcode/status": 405} {
		if a := r.ask("GET", path, token, ""); a.code != want {
			t.Errorf("GET %s: answered %+v", path, a)
		}
	}
	if a := r.ask("GET", "/oauth/token", "", ""); a.code != 405 || a.header.Get("Allow") != "POST" {
		t.Errorf("GET /oauth/token: answered %+v", a)
	}
}

// A safe waits for the provider's code; without one in time, and when the safe has
// hung up, the charge is cancelled.
func TestLateCodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		token := r.token("cofre-01", secret)
		began := time.Now()
		r.desk.provider = func(rec *localapi.Record) {
			if time.Since(began) > 5*time.Second {
				rec.Charge.State, rec.Code = charge.Pending, "000201"
			}
		}
		if a := r.ask("POST", "/api/generate-qrcode", token, order()); a.code != 201 || time.Since(began) > 7*time.Second {
			t.Errorf("after %v: answered %+v", time.Since(began), a)
		}
		r.desk.provider = func(*localapi.Record) {}
		began = time.Now()
		if a := r.ask("POST", "/api/generate-qrcode", token, order()); a.code != 500 || a.body["codigo_erro"] != 1004.0 || time.Since(began) != codeWithin {
			t.Errorf("after %v: answered %+v", time.Since(began), a)
		}
		ctx, hangUp := context.WithTimeout(t.Context(), 3*time.Second)
		defer hangUp()
		r.ask("POST", "/api/generate-qrcode", token, order(), func(q *http.Request) { *q = *q.WithContext(ctx) })
		if got := fmt.Sprint(r.desk.cancelled); got != "[T001000000000000000000002 T001000000000000000000003]" {
			t.Errorf("cancelled %s", got)
		}
		r.desk.provider = func(rec *localapi.Record) { rec.Charge.State = charge.Pending }
		if a := r.ask("POST", "/api/generate-qrcode", token, order()); a.code != 500 || a.body["codigo_erro"] != 1008.0 || len(r.desk.cancelled) != 3 {
			t.Errorf("a provider without codes: answered %+v, cancelled %v", a, r.desk.cancelled)
		}
		r.desk.provider = func(rec *localapi.Record) { rec.Charge.State = charge.Failed }
		if a := r.ask("POST", "/api/generate-qrcode", token, order()); a.code != 500 || a.body["codigo_erro"] != 1003.0 {
			t.Errorf("refused by the provider: answered %+v", a)
		}
		r.desk.provider = func(rec *localapi.Record) { rec.Charge.State, rec.Code = charge.Paid, "000201" }
		if a := r.ask("POST", "/api/generate-qrcode", token, order()); a.code != 201 || data(a)["id"] != "T001000000000000000000006" {
			t.Errorf("paid already: answered %+v", a)
		}
		// Hung up while the charge was recorded, and its code is there at once.
		r.desk.provider, r.desk.slow, r.desk.cancelled = nil, 2*time.Second, nil
		ctx, hangUp = context.WithTimeout(t.Context(), time.Second)
		defer hangUp()
		r.ask("POST", "/api/generate-qrcode", token, order(), func(q *http.Request) { *q = *q.WithContext(ctx) })
		if got := fmt.Sprint(r.desk.cancelled); got != "[T001000000000000000000007]" {
			t.Errorf("hung up while it was recorded: cancelled %s", got)
		}
	})
}

func TestRefusals(t *testing.T) {
	r := newRig(t)
	token := r.token("cofre-01", secret)
	for _, test := range []struct {
		err  error
		code int
		kind float64
	}{
		{&localapi.Refusal{Code: localapi.Busy, Err: errors.New("x")}, 503, 1005},
		{&localapi.Refusal{Code: localapi.StoreFull, Err: errors.New("x")}, 503, 1006},
		{errors.New("the disk"), 500, 1007},
		{&localapi.Refusal{Code: localapi.MerchantUnknown, Err: errors.New("x")}, 500, 1099},
	} {
		r.desk.refuse = test.err
		a := r.ask("POST", "/api/generate-qrcode", token, order())
		if a.code != test.code || a.body["codigo_erro"] != test.kind || strings.Contains(fmt.Sprint(a.body), "disk") {
			t.Errorf("%v: answered %+v", test.err, a)
		}
	}
	r.desk.refuse = &localapi.Refusal{Code: localapi.AmountRefused, Err: errors.New("x")}
	if a := r.ask("POST", "/api/generate-qrcode", token, order()); a.code != 422 || a.body["errors"].(map[string]any)["valor"] == nil {
		t.Errorf("an amount too large: answered %+v", a)
	}
}

// Strangers use up no client's budget, and a client not another's.
func TestRates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		token := r.token("cofre-01", secret)
		last := 0
		for range strangerBurst + 1 {
			last = r.ask("POST", "/oauth/token", "", `{"client_id":"x"}`).code
		}
		if last != 429 {
			t.Errorf("a guesser is answered %d", last)
		}
		if a := r.ask("POST", "/api/qrcode/status", "x", `{}`); a.code != 429 || a.header.Get("Retry-After") == "" {
			t.Errorf("a stranger is answered %+v", a)
		}
		for range clientBurst {
			last = r.ask("POST", "/api/qrcode/status", token, `{"qrcode_id":"x"}`).code
		}
		if last != 429 {
			t.Errorf("a client without end is answered %d", last)
		}
		r.token("cofre-02", "another-"+secret)
	})
}

func FuzzOrder(f *testing.F) {
	f.Add([]byte(order()))
	f.Add([]byte(order("valor", "0.01", "data_expiracao", "2026-06-21 16:15:59")))
	f.Add([]byte(`{"valor":{"a":1},"x":[null]}`))
	f.Add([]byte(`{`))
	s := newRig(&testing.T{}).s
	f.Fuzz(func(t *testing.T, body []byte) {
		in, err := decode(body)
		if err != nil {
			return
		}
		o, err := s.order(in, s.clients[0])
		if err != nil {
			var fail *failure
			if !errors.As(err, &fail) || fail.status != 422 || len(fail.fields) == 0 {
				t.Errorf("refused by %v", err)
			}
			return
		}
		if o.Amount <= 0 || o.Amount.String() != strings.TrimLeft(in["valor"], "0") && o.Amount >= 100 || o.Expiry < localapi.MinExpiry || o.Expiry > localapi.MaxExpiry || o.Merchant != "loja" {
			t.Errorf("took %+v", o)
		}
		if again, err := money.Parse(o.Amount.String()); err != nil || again != o.Amount {
			t.Errorf("amount %v", o.Amount)
		}
	})
}
