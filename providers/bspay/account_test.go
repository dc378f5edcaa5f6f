package bspay

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ssg-safe/agent/money"
	"github.com/ssg-safe/agent/providers"
	"github.com/ssg-safe/agent/providers/bspay/bspaysim"
	"github.com/ssg-safe/agent/providers/simkit"
)

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
