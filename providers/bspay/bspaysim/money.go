package bspaysim

import (
	"encoding/json"
	"math/big"
	"net/http"
	"strings"
	"time"

	"github.com/ssg-safe/agent/providers/simkit"
)

// brl is what a unit of each currency costs. A simulator's market does not move.
var brl = map[string]string{"BRL": "1", "MXN": "0.30", "USDT": "5", "USDC": "5", "BTC": "500000", "ETH": "20000", "SOL": "800", "BNB": "3000"}

// decimals are the digits after the dot that a currency has.
func decimals(currency string) int {
	if currency == "BRL" || currency == "MXN" {
		return 2
	}
	return 8
}

func ratio(text string) *big.Rat {
	r, ok := new(big.Rat).SetString(text)
	if !ok {
		panic("simulator: not a number: " + text) // checked when it came in
	}
	return r
}

// balances is what the account holds: what was paid, less what left or is on its
// way. s.mu is held.
func (s *Sim) balances(now time.Time) map[string]*big.Rat {
	held := map[string]*big.Rat{}
	for currency := range currencies {
		held[currency] = new(big.Rat)
	}
	held["BRL"].Add(held["BRL"], ratio(s.opts.Balance.String()))
	for _, t := range s.order {
		word, amount := t.word(now), ratio(t.Amount)
		switch {
		case t.Type == "cashin" && word == "confirmed":
			held[t.Currency].Add(held[t.Currency], amount)
		case t.Type != "cashin" && word != "failed":
			held[t.Currency].Sub(held[t.Currency], amount)
		}
		if t.Type == "conversion" && word == "confirmed" {
			held[t.To].Add(held[t.To], ratio(t.Result))
		}
	}
	return held
}

// affords reports whether the account holds what a transaction takes. s.mu is
// held.
func (s *Sim) affords(t transaction) bool {
	return s.balances(time.Now())[t.Currency].Cmp(ratio(t.Amount)) >= 0
}

func (s *Sim) account(r *http.Request, _ []byte, _ simkit.Faults) simkit.Answer {
	switch {
	case strings.HasSuffix(r.URL.Path, "/balance"):
		s.mu.Lock()
		defer s.mu.Unlock()
		items := []map[string]any{}
		held := s.balances(time.Now())
		for _, currency := range []string{"BRL", "MXN", "USDT", "USDC", "BTC", "ETH", "SOL", "BNB"} {
			items = append(items, map[string]any{
				"currency": currency, "available": json.Number(held[currency].FloatString(decimals(currency))), "blocked": json.Number("0"),
			})
		}
		return done(http.StatusOK, map[string]any{"balances": items})
	case strings.HasSuffix(r.URL.Path, "/limits"):
		return done(http.StatusOK, map[string]any{"cashin": map[string]any{"min": json.Number("0.01"), "max": json.Number("9999999999.99")}, "cashout": map[string]any{"min": json.Number("0.01"), "max": json.Number("10000.00")}})
	case strings.HasSuffix(r.URL.Path, "/fees"):
		return done(http.StatusOK, map[string]any{"cashin": map[string]any{"percent": json.Number("0"), "fixed": json.Number("0.00")}, "cashout": map[string]any{"fixed": json.Number("0.00")}})
	}
	return done(http.StatusOK, map[string]any{
		"username": "loja-simulada", "name": "Loja Simulada Ltda", "document": "11222333000181", "email": "loja@example.com", "status": "active",
	})
}

// cashout answers 202: how a payout ends is known later.
func (s *Sim) cashout(_ *http.Request, body []byte, f simkit.Faults) simkit.Answer {
	in, ok := read(body)
	if !ok {
		return refuse(http.StatusBadRequest, "INVALID_PAYLOAD")
	}
	t, status, code := in.order()
	key := in.text("key")
	switch {
	case status != 0:
		return refuse(status, code)
	case key == "":
		return refuse(http.StatusBadRequest, "MISSING_REQUIRED_FIELD")
	case t.Currency == "BRL" && !keyTypes[in.text("key_type")]:
		return refuse(http.StatusUnprocessableEntity, "INVALID_KEY_TYPE")
	case t.Currency == "BRL" && t.centavos() > 1_000_000:
		return refuse(http.StatusUnprocessableEntity, "EXCEEDS_MAX_LIMIT")
	}
	t.Type, t.Fails = "cashout", strings.HasPrefix(key, "nobody")
	return s.opened(t, http.StatusAccepted, f)
}

var keyTypes = map[string]bool{"": true, "cpf": true, "cnpj": true, "email": true, "phone": true, "random": true}

func (s *Sim) wallet(_ *http.Request, body []byte, _ simkit.Faults) simkit.Answer {
	in, ok := read(body)
	currency := in.text("currency")
	switch {
	case !ok:
		return refuse(http.StatusBadRequest, "INVALID_PAYLOAD")
	case !currencies[currency] || currency == "BRL":
		return refuse(http.StatusUnprocessableEntity, "UNSUPPORTED_CURRENCY")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return done(http.StatusOK, map[string]any{
		"currency": currency, "chain": in.text("chain"), "address": "sim" + s.uuid("wallet "+currency+in.text("chain"), 0),
	})
}

func (s *Sim) transfer(_ *http.Request, body []byte, f simkit.Faults) simkit.Answer {
	in, ok := read(body)
	if !ok {
		return refuse(http.StatusBadRequest, "INVALID_PAYLOAD")
	}
	t, status, code := in.order()
	switch user := in.text("username"); {
	case status != 0:
		return refuse(status, code)
	case user == "":
		return refuse(http.StatusBadRequest, "MISSING_REQUIRED_FIELD")
	case user == "loja-simulada":
		return refuse(http.StatusUnprocessableEntity, "SELF_TRANSFER_BLOCKED")
	}
	t.Type = "transfer"
	return s.opened(t, http.StatusOK, f)
}

// conversion reads what is to be converted, and what comes out.
func (f fields) conversion() (t transaction, status int, code string) {
	f["currency"] = f.text("base_currency")
	if _, ok := f["external_id"]; !ok {
		f["external_id"] = "none" // a quote has none
	}
	t, status, code = f.order()
	if t.To = f.text("destination_currency"); status == 0 && (!currencies[t.To] || t.To == t.Currency) {
		return t, http.StatusUnprocessableEntity, "UNSUPPORTED_CURRENCY"
	}
	if status == 0 {
		out := new(big.Rat).Mul(ratio(t.Amount), ratio(brl[t.Currency]))
		t.Result = out.Quo(out, ratio(brl[t.To])).FloatString(decimals(t.To))
	}
	t.Type = "conversion"
	return t, status, code
}

func (s *Sim) quote(_ *http.Request, body []byte, _ simkit.Faults) simkit.Answer {
	in, ok := read(body)
	if !ok {
		return refuse(http.StatusBadRequest, "INVALID_PAYLOAD")
	}
	t, status, code := in.conversion()
	if status != 0 {
		return refuse(status, code)
	}
	rate := new(big.Rat).Quo(ratio(brl[t.Currency]), ratio(brl[t.To]))
	return done(http.StatusOK, map[string]any{
		"base_currency": t.Currency, "destination_currency": t.To, "amount": json.Number(t.Amount),
		"rate": json.Number(rate.FloatString(8)), "result": json.Number(t.Result),
	})
}

func (s *Sim) convert(_ *http.Request, body []byte, f simkit.Faults) simkit.Answer {
	in, ok := read(body)
	if !ok {
		return refuse(http.StatusBadRequest, "INVALID_PAYLOAD")
	}
	if in.text("external_id") == "" {
		return refuse(http.StatusBadRequest, "MISSING_REQUIRED_FIELD")
	}
	t, status, code := in.conversion()
	if status != 0 {
		return refuse(status, code)
	}
	return s.opened(t, http.StatusOK, f)
}
