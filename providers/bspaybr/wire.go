package bspaybr

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/url"
	"path"
	"regexp"
	"strings"

	"github.com/ssg-safe/agent/money"
	"github.com/ssg-safe/agent/providers"
)

// text is a field that some hosts write as a text and others as a number.
type text string

// UnmarshalJSON takes a JSON text or number, as it is written; null is empty.
func (t *text) UnmarshalJSON(data []byte) error {
	switch {
	case string(data) == "null":
		*t = ""
		return nil
	case len(data) > 0 && data[0] == '"':
		return json.Unmarshal(data, (*string)(t))
	}
	var n json.Number
	if err := json.Unmarshal(data, &n); err != nil {
		return errors.New("neither text nor number")
	}
	*t = text(n)
	return nil
}

// created is a new charge, as far as the answer says.
type created struct {
	id, code string
	amount   *money.Amount
}

// parseCreated reads the answer to a create. With an error the id is that of the
// charge all the same, if the answer has one. The reference code has another name
// at some hosts.
func parseCreated(body []byte) (created, error) {
	var in struct {
		Reference  text           `json:"reference_code"`
		ExternalID text           `json:"external_id"`
		Word       text           `json:"status"`
		Amount     *money.Decimal `json:"amount"`
		Code       string         `json:"qrcode"`
	}
	if err := providers.DecodeJSON(body, &in); err != nil {
		return created{}, err
	}
	id := in.Reference
	if id == "" {
		id = in.ExternalID
	}
	switch {
	case !isID(string(id)):
		return created{}, errors.New("reference_code is missing or malformed")
	case in.ExternalID != "" && in.ExternalID != id:
		return created{}, errors.New("reference_code and external_id differ")
	}
	c := created{id: string(id), code: in.Code, amount: (*money.Amount)(in.Amount)}
	switch {
	case in.Word != "" && statusOf(string(in.Word)) != providers.StatusPending:
		return c, errors.New("status of a new charge is not pending")
	case in.Code == "":
		return c, errors.New("qrcode is missing")
	}
	return c, nil
}

// isPicture tells the picture of a code, in base64, from its text.
func isPicture(code string) bool {
	return strings.HasPrefix(code, "data:image") || strings.HasPrefix(code, "iVBOR")
}

// transaction is a status answer.
type transaction struct {
	id, word string
	status   providers.Status
	amount   *money.Amount
	callback string // postback_url
}

func parseStatus(body []byte) (transaction, error) {
	var in struct {
		Data struct {
			ExternalID text           `json:"external_id"`
			Word       text           `json:"status"`
			Amount     *money.Decimal `json:"amount"`
			Callback   *string        `json:"postback_url"`
		} `json:"data"`
	}
	if err := providers.DecodeJSON(body, &in); err != nil {
		return transaction{}, err
	}
	t := transaction{id: string(in.Data.ExternalID), word: string(in.Data.Word), amount: (*money.Amount)(in.Data.Amount)}
	switch {
	case !isID(t.id):
		return transaction{}, errors.New("data.external_id is missing or malformed")
	case !isWord(t.word):
		return transaction{}, errors.New("data.status is missing or malformed")
	}
	if in.Data.Callback != nil {
		t.callback = *in.Data.Callback
	}
	t.status = statusOf(t.word)
	return t, nil
}

// callbackToken is the token at the end of a callback address; empty: it has
// none.
func callbackToken(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return ""
	}
	if token := path.Base(u.Path); tokenForm.MatchString(token) {
		return token
	}
	return ""
}

var tokenForm = regexp.MustCompile(`^[0-9a-f]{32}$`)

// isID accepts what can be an id; the document shows none of its form.
func isID(s string) bool {
	return s != "" && len(s) <= 255 && !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' })
}

// isWord accepts what can be a status word.
func isWord(s string) bool {
	return s != "" && len(s) <= 64 && !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' })
}

// words maps the states of status answers and webhooks, and those of the upstream
// whose webhooks are passed on. Anything else is uncertain.
var words = map[string]providers.Status{
	"pending": providers.StatusPending, "awaiting_payment": providers.StatusPending,
	"paid": providers.StatusPaid, "completed": providers.StatusPaid,
	"canceled": providers.StatusCancelled, "error": providers.StatusFailed,
}

func statusOf(word string) providers.Status {
	if s, ok := words[strings.ToLower(word)]; ok {
		return s
	}
	return providers.StatusUncertain
}

// result is one line of the answer to a payment.
type result struct {
	Status  json.Number `json:"statusCode"`
	Message string      `json:"message"`
}

// parsePaid reads the answer to a payment: an array of results, or one by itself.
// It returns the status that all of them state.
func parsePaid(body []byte) (int, error) {
	status := 0
	for _, one := range elements(body) {
		var r result
		if err := providers.DecodeJSON(one, &r); err != nil {
			return 0, err
		}
		n, err := r.Status.Int64()
		switch {
		case err != nil || n < 100 || n > 599:
			return 0, errors.New("statusCode is missing or malformed")
		case status != 0 && status != int(n):
			return 0, errors.New("results that differ")
		}
		status = int(n)
	}
	if status == 0 {
		return 0, errors.New("no result")
	}
	return status, nil
}

// elements takes an array apart; what is none is the only element.
func elements(body []byte) []json.RawMessage {
	if b := bytes.TrimSpace(body); len(b) == 0 || b[0] != '[' {
		return []json.RawMessage{body}
	}
	var all []json.RawMessage
	if err := json.Unmarshal(body, &all); err != nil {
		return []json.RawMessage{body} // which is no object either
	}
	return all
}

// parseFailure reads what an error body says, as far as it goes; the document's
// examples of them are blank. The text is not clean yet.
func parseFailure(body []byte) string {
	for _, one := range elements(body) {
		var in map[string]any
		if err := providers.DecodeJSON(one, &in); err != nil {
			continue
		}
		for _, name := range []string{"message", "error", "mensagem"} {
			if s, ok := in[name].(string); ok && s != "" {
				return s
			}
		}
		return ""
	}
	if b := bytes.TrimSpace(body); len(b) > 0 && b[0] != '<' && b[0] != '{' && b[0] != '[' {
		return string(b[:min(len(b), 200)])
	}
	return ""
}
