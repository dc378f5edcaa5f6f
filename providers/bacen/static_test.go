package bacen

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ssg-safe/agent/money"
	"github.com/ssg-safe/agent/pix"
	"github.com/ssg-safe/agent/providers"
	"github.com/ssg-safe/agent/providers/bacen/bacensim"
)

const static = "T00100000000000000000000S"

func find(t *testing.T, c *Client, txid string) []providers.Payment {
	t.Helper()
	now := time.Now()
	found, err := c.FindStatic(t.Context(), txid, now.Add(-30*24*time.Hour), now)
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// What a static code brought in is found by its txid: nothing, one payment, a
// second one, one of another amount; never those of other codes.
func TestFindStatic(t *testing.T) {
	for name, modes := range map[string]bacensim.Modes{"filtered": {}, "the bank ignores the filter": {IgnoreTxID: true}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, sim := newClient(t, bacensim.Options{Modes: modes}, nil)
				code, err := pix.Static{Key: key, Name: "Loja", City: "Recife", Amount: 1234, TxID: static}.Encode()
				if err != nil {
					t.Fatal(err)
				}
				if found := find(t, c, static); len(found) != 0 {
					t.Errorf("before anybody paid: %+v", found)
				}
				for range 2 {
					if err := sim.PayCode(code); err != nil {
						t.Fatal(err)
					}
					time.Sleep(time.Hour)
				}
				if err := sim.Receive(static, 1); err != nil {
					t.Fatal(err)
				}
				if err := sim.Receive("T00100000000000000000000X", 1234); err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Second)
				found := find(t, c, static)
				var got []money.Amount
				seen := map[string]bool{}
				for i, p := range found {
					got = append(got, p.Amount)
					seen[p.EndToEnd] = true
					if p.TxID != static || p.Digest == "" || i > 0 && p.At.Before(found[i-1].At) {
						t.Errorf("payment %d: %+v", i, p)
					}
				}
				if fmt.Sprint(got) != fmt.Sprint([]money.Amount{1234, 1234, 1}) || len(seen) != 3 {
					t.Errorf("found %v under %d ids", got, len(seen))
				}
			})
		})
	}
}

// Lists of many pages and windows are read to their end, each payment once.
func TestPages(t *testing.T) {
	for _, modes := range []bacensim.Modes{{}, {IgnoreTxID: true}} {
		synctest.Test(t, func(t *testing.T) {
			c, sim := newClient(t, bacensim.Options{Modes: modes}, func(cfg *Config) {
				cfg.Profile.PageSize, cfg.Profile.MaxWindow = 3, Duration(24*time.Hour)
			})
			for i := range 20 {
				if err := sim.Receive(static, money.Amount(i+1)); err != nil {
					t.Fatal(err)
				}
				if err := sim.Receive("OTHER", 7); err != nil {
					t.Fatal(err)
				}
				if i%4 == 0 {
					time.Sleep(36 * time.Hour)
				}
			}
			time.Sleep(time.Second)
			found := find(t, c, static)
			var sum money.Amount
			for _, p := range found {
				sum += p.Amount
			}
			if len(found) != 20 || sum != 210 {
				t.Errorf("found %d payments of %s", len(found), sum)
			}
		})
	}
}

// All or nothing: what cannot be read to the end says nothing.
func TestFindStaticFaults(t *testing.T) {
	c, sim := newClient(t, bacensim.Options{}, func(cfg *Config) { cfg.Profile.PageSize = 2 })
	for range 5 {
		if err := sim.Receive(static, 100); err != nil {
			t.Fatal(err)
		}
	}
	now := time.Now()
	for _, tt := range []struct {
		fault string
		want  providers.Kind
	}{
		{"pix:http=500", providers.Ambiguous},
		{"pix:html", providers.Contract},
		{"pix:truncate", providers.Contract},
		{"pix:drop_before", providers.Ambiguous},
		{"pix:http=403", providers.Forbidden},
		{"pix:rate=7s", providers.Rate},
		{"pix:drift", providers.Contract},
		{"pix:skip", providers.Contract},
	} {
		script(t, sim, tt.fault)
		found, err := c.FindStatic(t.Context(), static, now.Add(-time.Hour), now.Add(time.Hour))
		if e := kindOf(err); e != tt.want || found != nil {
			t.Errorf("%s: got %v (%v), want %v", tt.fault, found, err, tt.want)
		}
	}
	for _, span := range []time.Duration{0, -time.Hour, maxSpan + time.Hour} {
		_, err := c.FindStatic(t.Context(), static, now, now.Add(span).Truncate(time.Second))
		if span == 0 {
			continue // rounded up to the next second: nothing to refuse
		}
		wantError(t, err, providers.Invalid, "invalid_window")
	}
	_, err := c.FindStatic(t.Context(), "A-B", now.Add(-time.Hour), now)
	wantError(t, err, providers.Invalid, "invalid_id")
}

func kindOf(err error) providers.Kind {
	if e, ok := err.(*providers.Error); ok {
		return e.Kind
	}
	return 0
}

func TestParsePage(t *testing.T) {
	const row = `{"endToEndId":"E00000000202601010001aaaaaaaaaaa","txid":"` + static + `","valor":"1.00","horario":"2026-01-01T00:00:00Z"}`
	for _, tt := range []struct {
		name, body string
		payments   int // -1: refused
	}{
		{"one", `{"parametros":{"paginacao":{"paginaAtual":0,"quantidadeDePaginas":1,"quantidadeTotalDeItens":1}},"pix":[` + row + `]}`, 1},
		{"none", `{"parametros":{"paginacao":{"paginaAtual":0,"quantidadeDePaginas":0,"quantidadeTotalDeItens":0}}}`, 0},
		{"without paging", `{"pix":[` + row + `]}`, 1},
		{"another txid, and broken: not our business", `{"pix":[{"txid":"X","valor":7}]}`, 0},
		{"without txid", `{"pix":[{"endToEndId":"E00000000202601010001aaaaaaaaaaa","valor":"1.00","horario":"2026-01-01T00:00:00Z"}]}`, 0},
		{"neither", `{}`, -1},
		{"ours, without amount", `{"pix":[{"endToEndId":"E00000000202601010001aaaaaaaaaaa","txid":"` + static + `","horario":"2026-01-01T00:00:00Z"}]}`, -1},
		{"ours, below a centavo", `{"pix":[{"endToEndId":"E00000000202601010001aaaaaaaaaaa","txid":"` + static + `","valor":"1.001","horario":"2026-01-01T00:00:00Z"}]}`, -1},
		{"ours, without an end-to-end id", `{"pix":[{"txid":"` + static + `","valor":"1.00","horario":"2026-01-01T00:00:00Z"}]}`, -1},
		{"a count that is none", `{"parametros":{"paginacao":{"quantidadeDePaginas":-1}},"pix":[]}`, -1},
		{"not a list", `{"pix":{}}`, -1},
	} {
		p, err := parsePage([]byte(tt.body), static, false)
		got := len(p.payments)
		if err != nil {
			got = -1
		}
		if got != tt.payments {
			t.Errorf("%s: got %d payments (%v), want %d", tt.name, got, err, tt.payments)
		}
	}
}
