package bspay

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"

	"github.com/ssg-safe/agent/providers"
	"github.com/ssg-safe/agent/providers/internal/settings"
)

// What a kiosk never does: other currencies, coins, and money between accounts.
// It is for operators on a command line: amounts are decimal text, nothing of it
// is in the ledger, and answers, whose form the document leaves open, are JSON
// with personal data masked.
//
// Ids are the caller's own. One made here for each call would be a second order
// with every repeat; the same id is the same order.

// Deposit is a request for money to arrive: a charge in another currency than
// BRL.
type Deposit struct {
	Amount, Currency string
	Chain            string // the coin's chain of origin; empty where there is none
	ExternalID       string
}

// Deposit makes a charge in another currency.
func (c *Client) Deposit(ctx context.Context, d Deposit) (json.RawMessage, error) {
	return c.order(ctx, request{op: "deposit", path: "/v2/transactions/cashin", body: cashinRequest{
		Amount: json.Number(d.Amount), Currency: d.Currency, Chain: d.Chain, ExternalID: d.ExternalID,
	}}, foreign(d.Currency), positive(d.Amount), own(d.ExternalID))
}

// Wallet returns the address at which a coin arrives.
func (c *Client) Wallet(ctx context.Context, currency, chain string) (json.RawMessage, error) {
	body := struct {
		Currency string `json:"currency"`
		Chain    string `json:"chain,omitempty"`
	}{currency, chain}
	return c.order(ctx, request{op: "wallet", path: "/v2/transactions/wallet", body: body}, foreign(currency))
}

// Withdrawal sends another currency than BRL away. A PIX key is paid by
// [Client.SubmitPayout] alone.
type Withdrawal struct {
	ExternalID, Amount, Currency string
	Key                          string // address, or account number
	Network                      string // where a coin is broadcast, which may be a second layer
	Name, BankCode               string // of the receiver, where the bank transfer asks for it
}

// Withdraw sends it.
func (c *Client) Withdraw(ctx context.Context, w Withdrawal) (json.RawMessage, error) {
	key := argument{w.Key != "" && settings.IsText(w.Key, 255), "invalid_key", "no address to send to"}
	return c.order(ctx, request{op: "withdraw", path: "/v2/transactions/cashout", moves: true, body: cashoutRequest{
		ExternalID: w.ExternalID, Amount: json.Number(w.Amount), Currency: w.Currency, Key: w.Key,
		Network: w.Network, Name: w.Name, BankCode: w.BankCode,
	}}, foreign(w.Currency), positive(w.Amount), own(w.ExternalID), key)
}

// Transfer moves money to another account at the provider.
type Transfer struct {
	Username, Amount, Currency, ExternalID string
}

// Transfer moves it. The provider takes ten a minute.
func (c *Client) Transfer(ctx context.Context, t Transfer) (json.RawMessage, error) {
	body := struct {
		Username   string      `json:"username"`
		Amount     json.Number `json:"amount"`
		Currency   string      `json:"currency"`
		ExternalID string      `json:"external_id"`
	}{t.Username, json.Number(t.Amount), t.Currency, t.ExternalID}
	user := argument{t.Username != "" && settings.IsText(t.Username, 255), "invalid_username", "nobody to send to"}
	return c.order(ctx, request{op: "transfer", path: "/v2/internal_transfers/payment", moves: true, body: body},
		currency(t.Currency), positive(t.Amount), own(t.ExternalID), user)
}

// Conversion turns money of one currency into another.
type Conversion struct {
	Amount, From, To string
	ExternalID       string // of Convert
}

// Rate returns what it would cost.
func (c *Client) Rate(ctx context.Context, v Conversion) (json.RawMessage, error) {
	return c.convert(ctx, "rate", v, false)
}

// Simulate returns what would come out of it.
func (c *Client) Simulate(ctx context.Context, v Conversion) (json.RawMessage, error) {
	return c.convert(ctx, "simulate", v, false)
}

// Convert does it.
func (c *Client) Convert(ctx context.Context, v Conversion) (json.RawMessage, error) {
	return c.convert(ctx, "new", v, true)
}

func (c *Client) convert(ctx context.Context, what string, v Conversion, moves bool) (json.RawMessage, error) {
	body := struct {
		Amount     json.Number `json:"amount"`
		From       string      `json:"base_currency"`
		To         string      `json:"destination_currency"`
		ExternalID string      `json:"external_id,omitempty"`
	}{json.Number(v.Amount), v.From, v.To, v.ExternalID}
	checks := []argument{currency(v.From), currency(v.To), positive(v.Amount)}
	if moves {
		checks = append(checks, own(v.ExternalID))
	}
	return c.order(ctx, request{op: "conversion " + what, path: "/v2/conversions/" + what, moves: moves, body: body}, checks...)
}

// order checks arguments, asks, and tells.
func (c *Client) order(ctx context.Context, q request, checks ...argument) (json.RawMessage, error) {
	ctx, cancel := context.WithTimeout(ctx, createTimeout)
	defer cancel()
	for _, a := range checks {
		if !a.ok {
			return nil, c.http.Fail(providers.Call{Op: q.op}, providers.Invalid, providers.Answer{}, a.code, a.problem, nil)
		}
	}
	q.method = http.MethodPost
	r, _, err := c.ask(ctx, q)
	if err != nil {
		return nil, err
	}
	return c.told(r, "address", "qrcode") // what somebody is to pay
}

// argument is something that must be right before anything is sent.
type argument struct {
	ok            bool
	code, problem string
}

func positive(amount string) argument {
	ok := isDecimal(amount) && !strings.HasPrefix(amount, "-") && strings.Trim(amount, "0.") != "" &&
		(strings.HasPrefix(amount, "0.") || amount[0] != '0') // as JSON writes numbers
	return argument{ok, "invalid_amount", "the amount is no positive decimal number such as 10.50"}
}

func currency(s string) argument {
	return argument{isCurrency(s), "invalid_currency", "the currency is no code such as BRL or USDT"}
}

func foreign(s string) argument {
	if s == "BRL" {
		return argument{false, "invalid_currency", "BRL has commands of its own: charges, and payouts by the hub"}
	}
	return currency(s)
}

func own(id string) argument {
	return argument{isID(id), "invalid_id", "an order needs an id of its own, which is kept for repeats"}
}
