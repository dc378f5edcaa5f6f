package bspay

import (
	"bytes"
	"encoding/json"
	"errors"
	"regexp"
	"strings"
	"time"

	"github.com/ssg-safe/agent/money"
	"github.com/ssg-safe/agent/providers"
	"github.com/ssg-safe/agent/providers/internal/settings"
)

// The bodies of the API. Field names and their order are the document's.

type cashinRequest struct {
	Amount      json.Number `json:"amount"`
	Currency    string      `json:"currency"`
	Chain       string      `json:"chain,omitempty"`
	ExternalID  string      `json:"external_id"`
	Description string      `json:"description,omitempty"`
	Payer       *payerBody  `json:"payer,omitempty"`
	PostbackURL string      `json:"postback_url,omitempty"`
}

type payerBody struct {
	Name     string `json:"name,omitempty"`
	Document string `json:"document,omitempty"`
	Email    string `json:"email,omitempty"`
}

type listRequest struct {
	Page          int    `json:"page"`
	PageSize      int    `json:"page_size"`
	Status        string `json:"status,omitempty"`
	Type          string `json:"type,omitempty"`
	Currency      string `json:"currency,omitempty"`
	From          string `json:"from_date,omitempty"` // YYYY-MM-DD
	To            string `json:"to_date,omitempty"`
	ExternalID    string `json:"external_id,omitempty"`
	TransactionID string `json:"transaction_id,omitempty"`
}

// payload takes the data out of a successful answer's envelope.
func payload(body []byte) (json.RawMessage, error) {
	var in struct {
		Success *bool           `json:"success"`
		Data    json.RawMessage `json:"data"`
	}
	if err := providers.DecodeJSON(body, &in); err != nil {
		return nil, err
	}
	switch {
	case in.Success == nil:
		return nil, errors.New("success is missing")
	case !*in.Success:
		return nil, errUnsuccessful
	case len(in.Data) == 0 || string(in.Data) == "null":
		return nil, errors.New("data is missing")
	}
	return in.Data, nil
}

// errUnsuccessful is an envelope that says so itself.
var errUnsuccessful = errors.New("success is false")

// object is a JSON object whose exact form the document leaves open: fields are
// taken by any of the names that the provider is known to use.
type object map[string]any

// decode reads data, with its numbers as they are written.
func decode(data json.RawMessage) (v any, err error) {
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	return v, d.Decode(&v)
}

// parseObject reads data that must be an object.
func parseObject(data json.RawMessage) (object, error) {
	v, err := decode(data)
	if err != nil {
		return nil, err
	}
	o, ok := v.(map[string]any)
	if !ok {
		return nil, errors.New("data is not an object")
	}
	return o, nil
}

// inner is an object below o; empty if there is none.
func (o object) inner(name string) object {
	m, _ := o[name].(map[string]any)
	return m
}

// text is the first of the fields that holds a text or number, of at most 2,048
// printable characters: enough for any id, word or code.
func (o object) text(names ...string) string {
	for _, name := range names {
		s := ""
		switch v := o[name].(type) {
		case string:
			s = v
		case json.Number:
			s = v.String()
		}
		if s != "" && settings.IsText(s, 2048) {
			return s
		}
	}
	return ""
}

// time is the first of the fields that holds a time; zero: none. One without a
// zone is taken for UTC.
func (o object) time(names ...string) time.Time {
	for _, name := range names {
		s := o.text(name)
		for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05.999999999", "2006-01-02 15:04:05"} {
			if t, err := time.Parse(layout, s); err == nil {
				return t.UTC()
			}
		}
	}
	return time.Time{}
}

// brl is the field's amount where the object's currency is BRL. Nil: no such
// field. What is no amount is an error.
func (o object) brl(name string) (*money.Amount, error) {
	if currency := o.text("currency"); currency != "" && currency != "BRL" {
		return nil, nil
	}
	switch o[name].(type) {
	case nil:
		return nil, nil
	case string, json.Number:
	default:
		return nil, errors.New(name + " is no amount")
	}
	a, err := money.Parse(o.text(name))
	if err != nil {
		return nil, err
	}
	return &a, nil
}

// transaction reads a row of the list.
func (o object) transaction() (providers.Transaction, error) {
	t := providers.Transaction{
		ID: o.text("transaction_id", "id"), ExternalID: o.text("external_id"), Kind: o.text("type"),
		Word: o.text("status"), Currency: o.text("currency"), Amount: o.text("amount"),
		EndToEnd: o.endToEnd(), At: o.time("created_at", "timestamp", "date"),
	}
	if t.ID == "" {
		return t, errors.New("a transaction without an id")
	}
	if t.Word == "" || len(t.Word) > 64 {
		return t, errors.New("a transaction without a status")
	}
	var err error
	if t.Cents, err = o.brl("amount"); err != nil {
		return t, err
	}
	t.Status = statusOf(t.Word)
	return t, nil
}

func (o object) endToEnd() string {
	return o.text("e2e_id", "end_to_end_id", "end_to_end", "endToEndId")
}

// code is the payable text of a charge.
func (o object) code() string {
	if code := o.inner("payment_info").text("qrcode"); code != "" {
		return code
	}
	return o.text("qrcode")
}

func (o object) expires() time.Time {
	if t := o.inner("payment_info").time("expires_at", "expiration"); !t.IsZero() {
		return t
	}
	return o.time("expires_at")
}

// rows reads the data of a list: an array, or an object with one under the name
// that the provider uses, or one that its relatives use.
func rows(data json.RawMessage) ([]object, error) {
	v, err := decode(data)
	if err != nil {
		return nil, err
	}
	if o, ok := v.(map[string]any); ok {
		for _, name := range []string{"items", "transactions", "results", "records", "rows", "list"} {
			if v, ok = o[name]; ok {
				break
			}
		}
	}
	list, ok := v.([]any)
	if !ok {
		return nil, errors.New("data holds no list")
	}
	all := make([]object, len(list))
	for i, v := range list {
		if all[i], ok = v.(map[string]any); !ok {
			return nil, errors.New("the list holds something else than objects")
		}
	}
	return all, nil
}

// isCurrency accepts a currency's or coin's code.
func isCurrency(s string) bool { return currencyForm.MatchString(s) }

// isDecimal accepts an amount of any currency as the command line and the
// provider write it: digits and decimals, no sign but a minus.
func isDecimal(s string) bool { return decimalForm.MatchString(s) }

var (
	currencyForm = regexp.MustCompile(`^[A-Z]{3,5}$`)
	decimalForm  = regexp.MustCompile(`^-?[0-9]{1,30}(\.[0-9]{1,30})?$`)
)

// words maps the states of the document's life cycle, and "expired", which it has
// as an event only. Anything else is uncertain.
var words = map[string]providers.Status{
	"pending":   providers.StatusPending,
	"confirmed": providers.StatusPaid,
	"expired":   providers.StatusExpired,
	"cancelled": providers.StatusCancelled,
	"failed":    providers.StatusFailed,
	"refunded":  providers.StatusRefunded,
}

func statusOf(word string) providers.Status {
	if s, ok := words[strings.ToLower(word)]; ok {
		return s
	}
	return providers.StatusUncertain
}
