package bacen

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	_ "github.com/ssg-safe/agent/internal/bubbles"
	"github.com/ssg-safe/agent/pix"
	"github.com/ssg-safe/agent/providers"
	"github.com/ssg-safe/agent/providers/bacen/bacensim"
	"github.com/ssg-safe/agent/providers/simkit"
)

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// newClient is an adapter and its bank in memory.
func newClient(t *testing.T, o bacensim.Options, change func(*Config)) (*Client, *bacensim.Sim) {
	t.Helper()
	sim := newSim(t, o)
	cfg := config(t)
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

func script(t *testing.T, sim *bacensim.Sim, rules string) {
	t.Helper()
	parsed, err := simkit.ParseRules(rules)
	if err == nil {
		err = sim.Script().Set(parsed...)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestOnTheWire pins what is sent, byte for byte.
func TestOnTheWire(t *testing.T) {
	var requests, bodies, extra []string
	sim := newSim(t, bacensim.Options{})
	cfg := config(t)
	cfg.URL += "/api/v2/"
	cfg.TokenURL = "http://bank.test/api/v2/oauth/token"
	cfg.AppKey = "app-7"
	cfg.Profile.Query = map[string]string{"gw-dev-app-key": "{app_key}"}
	cfg.Profile.Headers = map[string]string{"X-Client": "{client_id}"}
	memory := providers.Memory(http.StripPrefix("/api/v2", sim))
	c, err := New(cfg, roundTripper(func(r *http.Request) (*http.Response, error) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return nil, err
		}
		requests, bodies = append(requests, r.Method+" "+r.URL.String()), append(bodies, string(body))
		extra = append(extra, r.Header.Get("X-Client"))
		r.Body = io.NopCloser(strings.NewReader(string(body)))
		return memory.RoundTrip(r)
	}), nil)
	if err != nil {
		t.Fatal(err)
	}
	in := intent(1, 100)
	in.Payer.Document, in.Description = "123.456.789-09", "Café\n da  manhã"
	ch, err := c.CreateCharge(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.GetCharge(t.Context(), providers.Ref{ProviderID: ch.ProviderID}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.FindStatic(t.Context(), "T001STATIC", time.Unix(1_700_000_000, 1), time.Unix(1_700_003_600, 0)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.CancelCharge(t.Context(), providers.Ref{ProviderID: ch.ProviderID}); err != nil {
		t.Fatal(err)
	}
	txid := in.ID + "1"
	want := []string{
		"POST http://bank.test/api/v2/oauth/token",
		"PUT http://bank.test/api/v2/cob/" + txid + "?gw-dev-app-key=app-7",
		"GET http://bank.test/api/v2/cob/" + txid + "?gw-dev-app-key=app-7",
		"GET http://bank.test/api/v2/pix?fim=2023-11-14T23%3A13%3A20Z&gw-dev-app-key=app-7&inicio=2023-11-14T22%3A13%3A20Z" +
			"&paginacao.itensPorPagina=100&paginacao.paginaAtual=0&txid=T001STATIC",
		"PATCH http://bank.test/api/v2/cob/" + txid + "?gw-dev-app-key=app-7",
	}
	if d := cmp.Diff(want, requests); d != "" {
		t.Errorf("requests:\n%s", d)
	}
	wantBodies := []string{
		"grant_type=client_credentials&scope=cob.read+cob.write+pix.read",
		`{"calendario":{"expiracao":600},"devedor":{"cpf":"12345678909","nome":"Zulmira Quaresma Canario"},"valor":{"original":"1.00"},` +
			`"chave":"12345678000195","solicitacaoPagador":"Café da manhã"}`,
		"", "", `{"status":"REMOVIDA_PELO_USUARIO_RECEBEDOR"}`,
	}
	if d := cmp.Diff(wantBodies, bodies); d != "" {
		t.Errorf("bodies:\n%s", d)
	}
	if d := cmp.Diff([]string{"", "client-7", "client-7", "client-7", "client-7"}, extra); d != "" {
		t.Errorf("the profile's header:\n%s", d)
	}
}

// A charge sent again is the same charge; one whose answer was lost is found by
// our own txid, code and all.
func TestIdempotent(t *testing.T) {
	for name, modes := range map[string]bacensim.Modes{"says the same": {}, "refuses": {RefuseAgain: true}} {
		t.Run(name, func(t *testing.T) {
			c, sim := newClient(t, bacensim.Options{Modes: modes}, nil)
			script(t, sim, "create:drop_after*1")
			lost, err := c.CreateCharge(t.Context(), intent(1, 1234))
			if e := wantError(t, err, providers.Ambiguous, ""); !e.Kind.OutcomeUnknown() || lost.ProviderID != intent(1, 0).ID+"1" {
				t.Errorf("got %+v", lost)
			}
			found, err := c.GetCharge(t.Context(), providers.Ref{Charge: intent(1, 0).ID, Attempt: 1})
			if err != nil {
				t.Fatal(err)
			}
			again, err := c.CreateCharge(t.Context(), intent(1, 1234))
			if err != nil {
				t.Fatal(err)
			}
			charges := sim.Charges()
			if len(charges) != 1 || found.BRCode != charges[0].Code || again.BRCode != found.BRCode || *found.Amount != 1234 {
				t.Errorf("got %+v and %+v, the bank has %+v", found, again, charges)
			}
			other, err := c.CreateCharge(t.Context(), intent(1, 999))
			wantError(t, err, providers.Conflict, "CobOperacaoInvalida")
			if other.BRCode != "" || sim.Charges()[0].Amount != 1234 {
				t.Errorf("another amount under the same txid: got %+v", other)
			}
			// Refused, and the look-up fails: nobody knows what is there.
			script(t, sim, "create:http=400,status:http=500")
			_, err = c.CreateCharge(t.Context(), intent(2, 100))
			if e, ok := errors.AsType[*providers.Error](err); !ok || !e.Kind.OutcomeUnknown() {
				t.Errorf("refused without a look-up: got %v, want an unknown outcome", err)
			}
		})
	}
}

func TestCancel(t *testing.T) {
	c, sim := newClient(t, bacensim.Options{}, nil)
	make := func(n int) providers.Ref {
		t.Helper()
		ch, err := c.CreateCharge(t.Context(), intent(n, 100))
		if err != nil {
			t.Fatal(err)
		}
		return providers.Ref{ProviderID: ch.ProviderID}
	}
	want := func(ref providers.Ref, status providers.Status) {
		t.Helper()
		ch, err := c.CancelCharge(t.Context(), ref)
		if err != nil || ch.Status != status {
			t.Errorf("got %s (%v), want %s", ch.Status, err, status)
		}
	}
	open, paid := make(1), make(2)
	want(open, providers.StatusCancelled)
	want(open, providers.StatusCancelled) // removed already
	if err := sim.Pay(paid.ProviderID); err != nil {
		t.Fatal(err)
	}
	want(paid, providers.StatusPaid)
	if err := sim.Pay(open.ProviderID); err != nil { // money that was under way
		t.Fatal(err)
	}
	ch, err := c.GetCharge(t.Context(), open)
	if err != nil || ch.Status != providers.StatusPaid || ch.EndToEnd == "" {
		t.Errorf("late money: got %+v (%v)", ch, err)
	}
	_, err = c.CancelCharge(t.Context(), providers.Ref{ProviderID: strings.Repeat("X", 26)})
	wantError(t, err, providers.NotFound, "NaoEncontrado")
	refused := make(3)
	script(t, sim, "cancel:http=422")
	_, err = c.CancelCharge(t.Context(), refused)
	wantError(t, err, providers.Invalid, "CobOperacaoInvalida")
}

// A bank that sends a location alone: the code is written here, leads to that
// location and carries the payee's name.
func TestWithoutCode(t *testing.T) {
	c, sim := newClient(t, bacensim.Options{Modes: bacensim.Modes{NoCode: true}}, nil)
	ch, err := c.CreateCharge(t.Context(), intent(1, 100))
	if err != nil {
		t.Fatal(err)
	}
	code, err := pix.Parse(ch.BRCode)
	if err != nil || code.Name != "Loja" || !strings.HasPrefix(code.URL, bacensim.DefaultLocationHost+"/") {
		t.Errorf("got %+v (%v)", code, err)
	}
	if err := sim.PayCode(ch.BRCode); err != nil {
		t.Errorf("a payer's app refuses it: %v", err)
	}
	c, _ = newClient(t, bacensim.Options{Modes: bacensim.Modes{NoCode: true}}, func(cfg *Config) { cfg.Payees = nil })
	_, err = c.CreateCharge(t.Context(), intent(1, 100))
	wantError(t, err, providers.Contract, "no_code")
}

// Expired is reckoned on the bank's clock, not on the terminal's, and late.
func TestExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _ := newClient(t, bacensim.Options{}, func(cfg *Config) {
			cfg.Now = func() time.Time { return time.Date(2099, 1, 1, 0, 0, 0, 0, time.UTC) }
		})
		ch, err := c.CreateCharge(t.Context(), intent(1, 100))
		if err != nil {
			t.Fatal(err)
		}
		for _, tt := range []struct {
			after time.Duration
			want  providers.Status
		}{{0, providers.StatusPending}, {10*time.Minute + settling - time.Second, providers.StatusPending}, {2 * time.Second, providers.StatusExpired}} {
			time.Sleep(tt.after)
			got, err := c.GetCharge(t.Context(), providers.Ref{ProviderID: ch.ProviderID})
			if err != nil || got.Status != tt.want {
				t.Errorf("after %v more: got %s (%v), want %s", tt.after, got.Status, err, tt.want)
			}
		}
	})
}

func TestWords(t *testing.T) {
	for word, want := range map[string]providers.Status{
		"ATIVA": providers.StatusPending, "concluida": providers.StatusPaid, "REMOVIDA_PELO_PSP": providers.StatusCancelled,
		"REMOVIDA_PELO_USUARIO_RECEBEDOR": providers.StatusCancelled, "CONCLUIDA ": providers.StatusUncertain,
		"": providers.StatusUncertain, "PAGA": providers.StatusUncertain, "EXPIRADA": providers.StatusUncertain,
	} {
		if got := (cob{word: word}).status(); got != want {
			t.Errorf("%q: got %s, want %s", word, got, want)
		}
	}
}

// The state of a charge, from what a bank may say about it.
func TestStates(t *testing.T) {
	pixOf := func(e2e, value, more string) string {
		return `{"endToEndId":"` + e2e + `","valor":"` + value + `","horario":"2026-01-01T00:01:00Z"` + more + `}`
	}
	const (
		a = "E00000000202601010001aaaaaaaaaaa"
		b = "E00000000202601010002bbbbbbbbbbb"
	)
	for _, tt := range []struct {
		name, word, pix string
		want            providers.Status
		amount          int64 // -1: none
		e2e             string
	}{
		{"open", "ATIVA", "", providers.StatusPending, 1000, ""},
		{"the word lags behind the money", "ATIVA", pixOf(a, "10.00", ""), providers.StatusPaid, 1000, a},
		{"paid while it was removed", "REMOVIDA_PELO_USUARIO_RECEBEDOR", pixOf(a, "10.00", ""), providers.StatusPaid, 1000, a},
		{"paid, and nobody says how much", "CONCLUIDA", "", providers.StatusPaid, -1, ""},
		{"another amount", "CONCLUIDA", pixOf(a, "9.99", ""), providers.StatusPaid, 999, a},
		{"twice: the first counts", "CONCLUIDA", pixOf(b, "10.00", "") + "," + pixOf(a, "10.00", ""), providers.StatusPaid, 1000, b},
		{"given back", "CONCLUIDA", pixOf(a, "10.00", `,"devolucoes":[{"valor":"10.00","status":"DEVOLVIDO"}]`), providers.StatusRefunded, 1000, a},
		{"given back in part", "CONCLUIDA", pixOf(a, "10.00", `,"devolucoes":{"valor":"3.00","status":"DEVOLVIDO"}`), providers.StatusPaid, 1000, a},
		{"giving back did not work", "CONCLUIDA", pixOf(a, "10.00", `,"devolucoes":[{"valor":"10.00","status":"NAO_REALIZADO"}]`), providers.StatusPaid, 1000, a},
		{"given back in parts", "CONCLUIDA", pixOf(a, "10.00", `,"devolucoes":[{"id":"D1","rtrId":"`+b+`","valor":"3.00","status":"DEVOLVIDO"},{"id":"D2","valor":"6.00","status":"EM_PROCESSAMENTO"},{"id":"D3","rtrId":"x","valor":"7.00","status":"DEVOLVIDO"},{"id":"D1","rtrId":"`+b+`","valor":"3.00","status":"DEVOLVIDO"}]`), providers.StatusRefunded, 1000, a},
		{"a word nobody knows", "LIQUIDADA", pixOf(a, "10.00", ""), providers.StatusUncertain, -1, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			body := `{"txid":"T00100000000000000000000011","status":"` + tt.word + `","chave":"` + key + `","valor":{"original":"10.00"},` +
				`"calendario":{"criacao":"2026-01-01T00:00:00Z","expiracao":3600},"location":"pix.bank.example/qr/v2/7","pix":[` + tt.pix + `]}`
			found, err := parseCob([]byte(body))
			if err != nil {
				t.Fatal(err)
			}
			c, _ := newClient(t, bacensim.Options{}, nil)
			ch := c.charge(providers.Answer{Header: http.Header{"Date": {"Thu, 01 Jan 2026 00:02:00 GMT"}}}, found)
			amount := int64(-1)
			if ch.Amount != nil {
				amount = int64(*ch.Amount)
			}
			if ch.Status != tt.want || amount != tt.amount || ch.EndToEnd != tt.e2e {
				t.Errorf("got %s over %d by %q, want %s over %d by %q", ch.Status, amount, ch.EndToEnd, tt.want, tt.amount, tt.e2e)
			}
		})
	}
}

func TestInvalidIntents(t *testing.T) {
	c, sim := newClient(t, bacensim.Options{}, nil)
	for code, changes := range map[string][]func(*providers.Intent){
		"invalid_id": {
			func(in *providers.Intent) { in.ID = in.ID[1:] },
			func(in *providers.Intent) { in.Attempt = 0 },
			func(in *providers.Intent) { in.ID = strings.Repeat("-", 25) },
		},
		"invalid_amount": {func(in *providers.Intent) { in.Amount = 1_000_000_000_000 }},
		"invalid_expiry": {func(in *providers.Intent) { in.Expiry = time.Second - 1 }},
		"invalid_key":    {func(in *providers.Intent) { in.Key = "12345678900" }},
		"invalid_payer": {
			func(in *providers.Intent) { in.Payer.Document = "12345678900" },
			func(in *providers.Intent) { in.Payer.Name = " " },
		},
	} {
		for _, change := range changes {
			in := intent(1, 100)
			change(&in)
			_, err := c.CreateCharge(t.Context(), in)
			wantError(t, err, providers.Invalid, code)
		}
	}
	_, err := c.GetCharge(t.Context(), providers.Ref{ProviderID: "../pix"})
	wantError(t, err, providers.Invalid, "invalid_id")
	if n := sim.Log().Total(); n != 0 {
		t.Errorf("%d requests were sent", n)
	}
}

func TestFailures(t *testing.T) {
	c, sim := newClient(t, bacensim.Options{}, nil)
	ch, err := c.CreateCharge(t.Context(), intent(1, 100))
	if err != nil {
		t.Fatal(err)
	}
	for arg, want := range map[string]struct {
		kind providers.Kind
		code string
	}{
		"400": {providers.Invalid, "CobOperacaoInvalida"}, "403": {providers.Forbidden, "AcessoNegado"},
		"404": {providers.NotFound, "NaoEncontrado"}, "500": {providers.Ambiguous, "ErroInternoDoServidor"},
	} {
		script(t, sim, "status:http="+arg)
		_, err := c.GetCharge(t.Context(), providers.Ref{ProviderID: ch.ProviderID})
		wantError(t, err, want.kind, want.code)
	}
	for _, tt := range []struct{ body, code, detail string }{
		{`{"type":"https://pix.bcb.gov.br/api/v2/error/CobOperacaoInvalida","title":"T","detail":"D","violacoes":[{"razao":"R","propriedade":"cob.chave","valor":"12345678909"}]}`, "CobOperacaoInvalida", "T; D; cob.chave: R"},
		{`{"type":"about:blank","error":"invalid_client","error_description":"x"}`, "invalid_client", "x"},
		{`{"message":"m","mensagem":"m"}`, "", "m"},
		{`{"title":7,"violacoes":{"razao":"R"}}`, "", ""},
		{`<html>`, "", ""},
	} {
		if code, detail := parseFailure([]byte(tt.body)); code != tt.code || detail != tt.detail {
			t.Errorf("%s: got %q, %q, want %q, %q", tt.body, code, detail, tt.code, tt.detail)
		}
	}
}

// DynamicOnly has every ability but the one that the bank does not have.
func TestDynamicOnly(t *testing.T) {
	c, _ := newClient(t, bacensim.Options{}, nil)
	var p any = c.DynamicOnly()
	if _, finds := p.(providers.StaticFinder); finds {
		t.Error("it finds payments of static codes")
	}
	if got := fmt.Sprintf("%+v", p); strings.Contains(got, secret) {
		t.Errorf("prints the secret: %s", got)
	}
}
