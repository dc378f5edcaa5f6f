package bspay

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"iter"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/ssg-safe/agent/providers"
	"github.com/ssg-safe/agent/providers/internal/settings"
	"github.com/ssg-safe/agent/redact"
)

const (
	pageSize = 100 // the most that the API gives
	// maxPages bounds a search, at 2,000 transactions: beyond it nothing is said
	// rather than "not there".
	maxPages = 20
	// searchDays is how far back a search goes: the longest life of a charge, and
	// a day more because nobody says whose midnight the dates are counted by.
	searchDays = 3
)

// list asks for one page of transactions.
func (c *Client) list(ctx context.Context, op string, page int, q listRequest) (reply, []object, error) {
	q.Page = page
	if q.PageSize == 0 {
		q.PageSize = pageSize
	}
	use := providers.Read
	if op == "status" && q.From == "" { // the question itself, and not the search that may follow
		use = providers.Poll
	}
	r, _, err := c.ask(ctx, request{op: op, method: http.MethodPost, path: "/v2/account/transactions/list", use: use, body: q})
	if err != nil {
		return r, nil, err
	}
	list, err := rows(r.data)
	if err != nil {
		return r, nil, c.contract(r, err)
	}
	return r, list, nil
}

// find looks for a transaction.
func (c *Client) find(ctx context.Context, op string, what search) (reply, object, error) {
	q := listRequest{Type: what.kind, ExternalID: what.ours}
	if what.ours == "" {
		q = listRequest{Type: what.kind, TransactionID: what.theirs}
	}
	if !isID(what.ours + what.theirs) {
		return reply{}, nil, c.http.Fail(providers.Call{Op: op}, providers.Invalid, providers.Answer{}, "invalid_id", "no id to look for", nil)
	}
	r, list, err := c.list(ctx, op, 1, q)
	if err != nil {
		return r, nil, err
	}
	o, err := c.pick(r, list, what)
	if o != nil || err != nil {
		return r, o, err
	}
	// The filter is not promised: it may be ignored, or mean something else.
	now, _ := c.clock.now()
	since := now.AddDate(0, 0, 1-searchDays)
	if !what.since.IsZero() && what.since.Before(since) {
		since = what.since
	}
	q = listRequest{From: date(since.AddDate(0, 0, -1)), To: date(now.AddDate(0, 0, 1))}
	for page := 1; page <= maxPages; page++ {
		if r, list, err = c.list(ctx, op, page, q); err != nil {
			return r, nil, err
		}
		o, err := c.pick(r, list, what)
		if o != nil || err != nil {
			return r, o, err
		}
		if len(list) < pageSize {
			return r, nil, c.http.Fail(r.call, providers.NotFound, r.answer, "", "no such transaction in the list", nil)
		}
	}
	return r, nil, c.http.Fail(r.call, providers.Contract, r.answer, "", "the list has too many transactions to find one without its filter", nil)
}

// pick chooses the row that is looked for; nil: none is.
func (c *Client) pick(r reply, list []object, what search) (object, error) {
	foreign := func(why string) (object, error) {
		return nil, c.http.Fail(r.call, providers.Security, r.answer, "wrong_echo", why, nil)
	}
	var found object
	for _, o := range list {
		kind, id := o.text("type"), o.text("transaction_id", "id")
		switch {
		case what.ours != "" && o.text("external_id") != what.ours, what.ours == "" && id != what.theirs:
			continue
		case kind != "" && kind != what.kind:
			return foreign("our id is that of a transaction of another type")
		case found != nil && found.text("transaction_id", "id") != id: // a page that moved shows a row twice
			return foreign("two transactions have our id")
		}
		found = o
	}
	if found != nil && what.theirs != "" && found.text("transaction_id", "id") != what.theirs {
		return foreign("the transaction with our id is another one")
	}
	return found, nil
}

func date(t time.Time) string { return t.UTC().Format(time.DateOnly) }

// kindReceived is the API's word for charges.
const kindReceived = "cashin"

// Transactions goes through the list of transactions. Dates go out one day wider
// at both ends, because the API does not say by whose midnight it counts, and
// rows are bounded here; a row that tells no time passes.
func (c *Client) Transactions(ctx context.Context, q providers.TransactionQuery) iter.Seq2[providers.Transaction, error] {
	return func(yield func(providers.Transaction, error) bool) {
		now, _ := c.clock.now()
		if q.From.IsZero() {
			q.From = now.AddDate(0, 0, -1)
		}
		if q.To.IsZero() {
			q.To = now.AddDate(0, 0, 1)
		}
		if q.Received && q.Kind == "" {
			q.Kind = kindReceived
		}
		filter := listRequest{
			Status: q.Word, Type: q.Kind, Currency: q.Currency,
			From: date(q.From.AddDate(0, 0, -1)), To: date(q.To.AddDate(0, 0, 1)),
		}
		top := "" // of the page before
		for page := 1; ; page++ {
			r, list, err := c.list(ctx, "transactions", page, filter)
			if err == nil && len(list) > 0 {
				first := list[0].text("transaction_id", "id")
				if first == top {
					err = c.contract(r, errors.New("the next page is the same page"))
				}
				top = first
			}
			if err != nil {
				yield(providers.Transaction{}, err)
				return
			}
			for _, o := range list {
				t, err := o.transaction()
				if err != nil {
					yield(providers.Transaction{}, c.contract(r, err))
					return
				}
				t.Digest = r.answer.Digest
				outside := !t.At.IsZero() && (t.At.Before(q.From) || !t.At.Before(q.To))
				if outside || q.Kind != "" && t.Kind != "" && t.Kind != q.Kind || q.Word != "" && t.Word != q.Word || q.Currency != "" && t.Currency != q.Currency {
					continue
				}
				if !yield(t, nil) {
					return
				}
			}
			if len(list) < pageSize {
				return
			}
		}
	}
}

// get reads something of the account.
func (c *Client) get(ctx context.Context, op, path string) (reply, error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	r, _, err := c.ask(ctx, request{op: op, method: http.MethodGet, path: path, use: providers.Read})
	return r, err
}

// Balance reads what the account holds. The document does not show the answer:
// objects that name their currency, and objects or amounts under a currency's
// name, are found at whatever depth.
func (c *Client) Balance(ctx context.Context) ([]providers.Balance, error) {
	r, err := c.get(ctx, "balance", "/v2/account/balance")
	if err != nil {
		return nil, err
	}
	data, err := decode(r.data)
	if err != nil {
		return nil, c.contract(r, err)
	}
	found := balances(data, "", nil)
	if len(found) == 0 {
		return nil, c.contract(r, errors.New("data holds no balance that can be read"))
	}
	return found, nil
}

// balances adds those found in v, which lies under a currency's name ("": none).
func balances(v any, currency string, found []providers.Balance) []providers.Balance {
	switch v := v.(type) {
	case []any:
		for _, inner := range v {
			found = balances(inner, "", found)
		}
	case map[string]any:
		o := object(v)
		b := providers.Balance{
			Currency: cmp.Or(o.text("currency"), currency), Available: o.text("available", "available_balance", "balance", "amount"),
			Blocked: o.text("blocked", "blocked_balance", "locked"),
		}
		if isCurrency(b.Currency) && isDecimal(b.Available) && (b.Blocked == "" || isDecimal(b.Blocked)) {
			return append(found, b)
		}
		for _, name := range slices.Sorted(maps.Keys(v)) {
			under := ""
			if isCurrency(name) {
				under = name
			}
			found = balances(v[name], under, found)
		}
	case json.Number, string:
		if amount := (object{"": v}).text(""); currency != "" && isDecimal(amount) {
			found = append(found, providers.Balance{Currency: currency, Available: amount})
		}
	}
	return found
}

// reports are what the provider tells in its own words.
var reports = map[string]string{
	"limits": "/v2/account/limits", "fees": "/v2/account/fees", "profile": "/v2/account/info/profile",
}

// Reports returns "fees", "limits" and "profile".
func (c *Client) Reports() []string { return slices.Sorted(maps.Keys(reports)) }

// Report returns one of them.
func (c *Client) Report(ctx context.Context, name string) (json.RawMessage, error) {
	path, ok := reports[name]
	if !ok {
		return nil, c.http.Fail(providers.Call{Op: "report"}, providers.Invalid, providers.Answer{}, "", "there is no such report", nil)
	}
	r, err := c.get(ctx, name, path)
	if err != nil {
		return nil, err
	}
	return c.told(r)
}

// told is the data of an answer for people: what is personal by the name of its
// field is masked, and other texts are cleaned of what looks like it; but for the
// fields that were asked for as they are.
func (c *Client) told(r reply, plain ...string) (json.RawMessage, error) {
	v, err := decode(r.data)
	if err != nil {
		return nil, c.contract(r, err)
	}
	return json.Marshal(clean(r.call.Hide, "", v, plain...))
}

func clean(hide providers.Hidden, field string, v any, plain ...string) any {
	switch v := v.(type) {
	case string:
		switch field = strings.ToLower(field); {
		case slices.Contains(plain, field) && settings.IsText(v, 2048):
			return v
		case strings.Contains(field, "name"):
			return redact.Name(v).String()
		case field == "document" || field == "cpf" || field == "cnpj" || field == "tax_id":
			return redact.Document(v).String()
		case strings.Contains(field, "mail"), strings.Contains(field, "phone"), strings.Contains(field, "address"), strings.Contains(field, "birth"):
			return redact.Text(v).String()
		}
		return hide.Clean(v)
	case []any:
		for i := range v {
			v[i] = clean(hide, field, v[i], plain...)
		}
	case map[string]any:
		for name := range v {
			v[name] = clean(hide, name, v[name], plain...)
		}
	}
	return v
}
