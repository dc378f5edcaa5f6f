package bacen

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ssg-safe/agent/money"
	"github.com/ssg-safe/agent/providers"
	"github.com/ssg-safe/agent/providers/bacen/bacensim"
	"github.com/ssg-safe/agent/providers/simkit"
)

// received lists what came between two times.
func received(t *testing.T, c *Client, q providers.TransactionQuery) (list []providers.Transaction, err error) {
	t.Helper()
	for tr, e := range c.Transactions(t.Context(), q) {
		if e != nil {
			return list, e
		}
		list = append(list, tr)
	}
	return list, nil
}

// Everything that was received is listed once, over pages and windows, with our
// txid where it has one; nothing outside of the time that was asked for.
func TestTransactions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, sim := newClient(t, bacensim.Options{}, func(cfg *Config) {
			cfg.Profile.PageSize, cfg.Profile.MaxWindow = 3, Duration(24*time.Hour)
		})
		start := time.Now()
		var want money.Amount
		for i := range 20 {
			for _, txid := range []string{static, "OTHER"} {
				if err := sim.Receive(txid, money.Amount(i+1)); err != nil {
					t.Fatal(err)
				}
				want += money.Amount(i + 1)
			}
			time.Sleep(10 * time.Hour)
		}
		list, err := received(t, c, providers.TransactionQuery{From: start, To: time.Now().Add(time.Hour), Received: true})
		if err != nil {
			t.Fatal(err)
		}
		var sum money.Amount
		seen := map[string]bool{}
		for _, tr := range list {
			sum += *tr.Cents
			if seen[tr.ID] || tr.ID != tr.EndToEnd || tr.Status != providers.StatusPaid || tr.Amount != tr.Cents.String() || tr.Digest == "" ||
				tr.ExternalID != static && tr.ExternalID != "OTHER" {
				t.Errorf("%+v", tr)
			}
			seen[tr.ID] = true
		}
		if len(list) != 40 || sum != want {
			t.Errorf("%d payments over %s, want 40 over %s", len(list), sum, want)
		}
		some, err := received(t, c, providers.TransactionQuery{From: start.Add(10 * time.Hour), To: start.Add(20 * time.Hour)})
		if err != nil || len(some) != 2 || *some[0].Cents != 2 {
			t.Errorf("ten hours: %+v (%v)", some, err)
		}
		for name, q := range map[string]providers.TransactionQuery{
			"another kind": {Kind: "cashin"}, "another word": {Word: "x"}, "another currency": {Currency: "USD"}, "the future": {From: time.Now().Add(24 * time.Hour), To: time.Now().Add(48 * time.Hour)},
		} {
			if list, err := received(t, c, q); len(list) != 0 || err != nil {
				t.Errorf("%s: %+v (%v)", name, list, err)
			}
		}
		if _, err := received(t, c, providers.TransactionQuery{From: start.AddDate(-2, 0, 0), To: time.Now()}); err == nil {
			t.Error("two years are listed")
		}
		if err := sim.Script().Set(simkit.Rule{Route: bacensim.RoutePix, Fault: simkit.Truncate, Next: 1}); err != nil {
			t.Fatal(err)
		}
		if _, err := received(t, c, providers.TransactionQuery{From: start, To: time.Now()}); err == nil {
			t.Error("half of a page passes for the list")
		}
	})
}

// What was given back is listed by its ids, once each; what is not done does not count, and
// what contradicts itself is refused.
func TestReturns(t *testing.T) {
	d1, d2 := "D00000000202601010001aaaaaaaaaaa", "D00000000202601010002bbbbbbbbbbb"
	for text, want := range map[string][]providers.Return{
		``:     nil,
		`null`: nil,
		`[]`:   nil,
		`{"id":"R1","rtrId":"` + d1 + `","valor":"1.00","status":"DEVOLVIDO"}`:                                                                        {{ID: "R1", Sent: d1, Amount: 100}},
		`[{"id":"R1","valor":"1.00","status":"EM_PROCESSAMENTO"},{"id":"R2","valor":"1.00","status":"NAO_REALIZADO"}]`:                                nil,
		`[{"id":"R1","rtrId":"` + d1 + `","valor":"1.00","status":"devolvido"},{"id":"R2","rtrId":"` + d2 + `","valor":"0.50","status":"DEVOLVIDO"}]`: {{ID: "R1", Sent: d1, Amount: 100}, {ID: "R2", Sent: d2, Amount: 50}},
		`[{"id":"R1","valor":"1.00","status":"DEVOLVIDO"},{"id":"R1","valor":"1.00","status":"DEVOLVIDO"}]`:                                           {{ID: "R1", Amount: 100}},
	} {
		sum, got, err := returned([]byte(text))
		var total money.Amount
		for _, r := range want {
			total += r.Amount
		}
		if err != nil || !slices.Equal(got, want) || sum != total {
			t.Errorf("%s: %v, %v (%v); want %v", text, sum, got, err, want)
		}
	}
	// Without an id it counts, and has no name.
	if sum, got, err := returned([]byte(`[{"id":"R 1","valor":"1.00","status":"DEVOLVIDO"},{"valor":"1.00","status":"DEVOLVIDO"}]`)); err != nil || sum != 200 || got != nil {
		t.Errorf("%v, %v (%v)", sum, got, err)
	}
	for _, bad := range []string{
		`[{"id":"R1","valor":"1.00","status":"DEVOLVIDO"},{"id":"R1","valor":"2.00","status":"DEVOLVIDO"}]`, `[{"id":"R1","valor":"-1.00","status":"DEVOLVIDO"}]`,
		`[{"id":"R1","status":"DEVOLVIDO"}]`, `[1]`, `"x"`, `[{"id":"R1","valor":"90000000000000000.00","status":"DEVOLVIDO"},{"id":"R2","valor":"90000000000000000.00","status":"DEVOLVIDO"}]`,
	} {
		if sum, got, err := returned([]byte(bad)); err == nil {
			t.Errorf("took %s: %v, %v", bad, sum, got)
		}
	}
}

// What was given back whole says so; a row that cannot be read fails the list,
// since what is not read cannot be compared.
func TestTransactionRows(t *testing.T) {
	row := `{"endToEndId":"E00000000202601010001aaaaaaaaaaa","txid":"X","valor":"1.00","horario":"2026-01-01T00:00:00Z"%s}`
	page := func(rows ...string) []byte {
		return []byte(`{"parametros":{},"pix":[` + strings.Join(rows, ",") + `]}`)
	}
	for more, want := range map[string]providers.Status{
		``: providers.StatusPaid,
		`,"devolucoes":[{"valor":"0.40","status":"DEVOLVIDO"}]`: providers.StatusPaid,
		`,"devolucoes":[{"valor":"1.00","status":"DEVOLVIDO"}]`: providers.StatusRefunded,
	} {
		p, err := parsePage(page(strings.Replace(row, "%s", more, 1)), "", true)
		if err != nil || len(p.payments) != 1 || p.payments[0].transaction("d").Status != want {
			t.Errorf("%s: %+v (%v), want %s", more, p.payments, err, want)
		}
	}
	good := strings.Replace(row, "%s", "", 1)
	for _, bad := range []string{`{}`, strings.Replace(good, "1.00", "-1.00", 1), strings.Replace(good, "E00", "", 1), `null`} {
		if p, err := parsePage(page(good, bad), "", true); err == nil {
			t.Errorf("took %s: %+v", bad, p.payments)
		}
	}
}
