package basspago

import (
	"bytes"
	"encoding/json"
	"errors"
	"mime"
	"regexp"
	"strings"
	"time"

	"github.com/ssg-safe/agent/money"
	"github.com/ssg-safe/agent/providers"
	"github.com/ssg-safe/agent/redact"
)

// parseCreated reads the token out of the answer to a create: an object that has
// one, or the token as a text by itself. What is public does not say which.
func parseCreated(body []byte) (redact.Secret, error) {
	var token string
	if b := bytes.TrimSpace(body); len(b) > 0 && b[0] == '"' {
		if err := json.Unmarshal(b, &token); err != nil {
			return "", err
		}
	} else {
		var in struct {
			Token string `json:"token"`
		}
		if err := providers.DecodeJSON(body, &in); err != nil {
			return "", err
		}
		token = in.Token
	}
	if !isToken(token) {
		return "", errors.New("token is missing or malformed")
	}
	return redact.Secret(token), nil
}

// checkout is an answer of obtain-paycheckout. What tells of people in it (devedorMail,
// pagadorNome, pagadorInscricaoNacional) is not read.
type checkout struct {
	reference, externalID, product, key, currency string
	word                                          string
	status                                        providers.Status
	amount                                        money.Amount
	created                                       time.Time
	paid, credited                                *money.Amount // gross and net; nil: not said
}

func parseCheckout(body []byte) (checkout, error) {
	var in struct {
		Reference  string         `json:"referenceNumber"`
		ExternalID string         `json:"externalId"`
		Product    string         `json:"externalProductName"`
		Amount     *money.Decimal `json:"amount"`
		Key        string         `json:"key"`
		Word       string         `json:"status"`
		Created    string         `json:"createdAt"`
		Currency   string         `json:"keyCurrencyCode"`
		Payment    *struct {
			Paid     *money.Decimal `json:"amountPayed"`
			Credited *money.Decimal `json:"amountCredited"`
		} `json:"payment"`
	}
	if err := providers.DecodeJSON(body, &in); err != nil {
		return checkout{}, err
	}
	switch {
	case !isID(in.Reference):
		return checkout{}, errors.New("referenceNumber is missing or malformed")
	case !isID(in.ExternalID):
		return checkout{}, errors.New("externalId is missing or malformed")
	case !isWord(in.Word):
		return checkout{}, errors.New("status is missing or malformed")
	case in.Amount == nil || *in.Amount <= 0:
		return checkout{}, errors.New("amount is missing or not positive")
	}
	k := checkout{
		reference: in.Reference, externalID: in.ExternalID, product: in.Product, key: in.Key, currency: in.Currency,
		word: in.Word, status: statusOf(in.Word), amount: money.Amount(*in.Amount),
	}
	if t, err := time.Parse(time.RFC3339Nano, in.Created); err == nil {
		k.created = t.UTC()
	}
	if p := in.Payment; p != nil {
		if p.Paid != nil && *p.Paid < 0 || p.Credited != nil && *p.Credited < 0 {
			return checkout{}, errors.New("a negative amount")
		}
		k.paid, k.credited = (*money.Amount)(p.Paid), (*money.Amount)(p.Credited)
	}
	return k, nil
}

// row is a line of the list.
type row struct {
	reference, externalID, kind, word string
	status                            providers.Status
}

// parseRows reads a page of the list: an array of objects. Where the document's text
// says type its sample says paymentType elsewhere; both are read.
func parseRows(body []byte) ([]row, error) {
	var all []json.RawMessage
	if err := json.Unmarshal(body, &all); err != nil {
		return nil, err
	}
	if all == nil {
		return nil, errors.New("not an array")
	}
	var rows []row
	for _, one := range all {
		var in struct {
			Reference  string `json:"referenceNumber"`
			ExternalID string `json:"externalId"`
			Word       string `json:"status"`
			Type       string `json:"type"`
			Payment    string `json:"paymentType"`
		}
		if err := providers.DecodeJSON(one, &in); err != nil {
			return nil, err
		}
		if in.Type == "" {
			in.Type = in.Payment
		}
		switch {
		case !isID(in.Reference):
			return nil, errors.New("referenceNumber is missing or malformed")
		case in.ExternalID != "" && !isID(in.ExternalID):
			return nil, errors.New("externalId is malformed")
		case !isWord(in.Word):
			return nil, errors.New("status is missing or malformed")
		case in.Type != "" && !isWord(in.Type):
			return nil, errors.New("type is malformed")
		}
		rows = append(rows, row{in.Reference, in.ExternalID, in.Type, in.Word, statusOf(in.Word)})
	}
	return rows, nil
}

// parseFailure is the message of an error body; empty: it is none.
func parseFailure(body []byte) string {
	var in struct {
		Message   string `json:"message"`
		Reference string `json:"referenceNumber"`
	}
	if err := providers.DecodeJSON(body, &in); err != nil || in.Reference != "" {
		return ""
	}
	return in.Message
}

// isDuplicate recognises a refusal of a repeated externalId. The provider says that
// it refuses, not in what words.
func isDuplicate(message string) bool {
	message = strings.ToLower(message)
	for _, part := range []string{"duplicat", "exist", "repeat", "externalid", "repetid"} {
		if strings.Contains(message, part) {
			return true
		}
	}
	return false
}

// words maps the provider's states. Anything else is uncertain.
var words = map[string]providers.Status{
	"pending": providers.StatusPending, "approved": providers.StatusPaid, "rejected": providers.StatusFailed,
}

func statusOf(word string) providers.Status {
	if s, ok := words[strings.ToLower(word)]; ok {
		return s
	}
	return providers.StatusUncertain
}

// isID accepts what can be an id; the document shows none of its form.
func isID(s string) bool {
	return s != "" && len(s) <= 128 && !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' })
}

// isWord accepts what can be a status word.
func isWord(s string) bool {
	return s != "" && len(s) <= 64 && !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' })
}

// wordForm is what error codes such as notValidKey look like.
var wordForm = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_.-]{1,63}$`)

var tokenForm = regexp.MustCompile(`^[0-9A-Za-z_-]{16,256}$`)

// isToken accepts what can be the token of a checkout; those that are shown have 48
// capital letters and digits.
func isToken(s string) bool { return tokenForm.MatchString(s) }

// isPage tells a web server's own page from the API's answers.
func isPage(a providers.Answer) bool {
	kind, _, err := mime.ParseMediaType(a.Header.Get("Content-Type"))
	return err == nil && kind == "text/html"
}
