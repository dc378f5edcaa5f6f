package bspaybr

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/ssg-safe/agent/money"
	"github.com/ssg-safe/agent/providers"
	"github.com/ssg-safe/agent/redact"
	"github.com/ssg-safe/agent/zone"
)

// EventKind is what a webhook is about.
type EventKind string

// The kinds.
const (
	ChargeEvent EventKind = "charge" // money that comes in
	PayoutEvent EventKind = "payout" // money that leaves
	// EitherEvent is a webhook of the upstream, passed on: its form is the same for
	// both. Whose reference code it is decides.
	EitherEvent EventKind = "either"
)

// Event is a webhook that the provider signed. It proves nothing: no time is under
// the signature, so that an old one can be sent again; it is a reason to ask. It
// holds nothing about people.
type Event struct {
	Kind EventKind
	// Reference and TransactionID are the provider's names for what it is about;
	// one of them may be empty. The callback address at which the webhook arrived
	// says more: the attempt.
	Reference, TransactionID string
	Word                     string           // the provider's status word or number
	Status                   providers.Status // its meaning; of a payout, paid means that it arrived
	Amount                   *money.Amount    // nil: not said
	EndToEnd                 string
	At                       time.Time // when it was paid; zero: not said, or not readably
	// Key identifies the event for ever, lower-case hex SHA-256 of what it is about
	// and its status: one with a key that was seen before is dropped, however late.
	Key string
}

// Errors of ParseWebhook.
var (
	// ErrSignature: no signature, or not the provider's. Answer 403 and keep
	// nothing.
	ErrSignature = errors.New("webhook is not signed by the provider")
	// ErrMalformed: signed, and not to be understood.
	ErrMalformed = errors.New("webhook cannot be read")
)

// ParseWebhook checks the signature of a webhook (X-SIGNATURE, HMAC-SHA256 over
// the exact bytes of its body) and reads it. All forms that the provider sends are
// understood, bare or in an envelope; an MD5 in the upstream's envelope is no
// proof and is not looked at, nor is X-SECURE-TOKEN.
//
// The error wraps ErrSignature or ErrMalformed.
func ParseWebhook(h http.Header, body []byte, secret redact.Secret) (Event, error) {
	given, err := hex.DecodeString(strings.ToLower(h.Get("X-Signature")))
	m := hmac.New(sha256.New, []byte(secret.Reveal()))
	m.Write(body) // a hash never fails
	if err != nil || secret == "" || !hmac.Equal(given, m.Sum(nil)) {
		return Event{}, ErrSignature
	}
	e, err := parseEvent(body)
	if err != nil {
		return Event{}, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return e, nil
}

// notice is what stands in a webhook, whatever its form. The first two fields
// are envelopes.
type notice struct {
	RequestBody json.RawMessage `json:"requestBody"`
	Message     json.RawMessage `json:"message"`

	Type          string         `json:"transactionType"`
	TransactionID text           `json:"transactionId"`
	ExternalID    text           `json:"external_id"`
	Reference     text           `json:"reference_code"`
	Amount        *money.Decimal `json:"amount"`
	Cents         *money.Amount  `json:"value_cents"`
	Word          text           `json:"status"`
	Code          struct {
		ID text `json:"statusId"`
	} `json:"statusCode"`
	EndToEnd text `json:"end_to_end"`
	Approved text `json:"dateApproval"`
	Paid     text `json:"payment_date"`
}

// parseEvent reads a webhook's body, by what is in it.
func parseEvent(body []byte) (Event, error) {
	var n notice
	if err := providers.DecodeJSON(body, &n); err != nil {
		return Event{}, err
	}
	for range 2 {
		inner := n.RequestBody
		if !isObject(inner) {
			inner = n.Message
		}
		if !isObject(inner) {
			break
		}
		n = notice{}
		if err := providers.DecodeJSON(inner, &n); err != nil {
			return Event{}, err
		}
	}
	e := Event{Reference: string(n.Reference), TransactionID: string(n.TransactionID), Word: string(n.Word), EndToEnd: string(n.EndToEnd)}
	switch {
	case n.Type == "RECEIVEPIX" && n.Word != "":
		e.Kind, e.Status = ChargeEvent, statusOf(e.Word)
	case n.Type == "PAYMENT" && n.Code.ID != "":
		// Only one number is documented.
		e.Kind, e.Word, e.Status = PayoutEvent, string(n.Code.ID), providers.StatusUncertain
		if e.Word == "1" {
			e.Status = providers.StatusPaid
		}
	case n.Type == "" && n.Cents != nil && n.Word != "":
		e.Kind, e.Status = EitherEvent, statusOf(e.Word)
	default:
		return Event{}, errors.New("none of the forms that the provider sends")
	}
	if e.Reference == "" {
		e.Reference = string(n.ExternalID)
	}
	for _, s := range []string{e.Reference, e.TransactionID, e.EndToEnd} {
		if s != "" && !isID(s) {
			return Event{}, errors.New("an id is too long or holds odd characters")
		}
	}
	switch amount := (*money.Amount)(n.Amount); {
	case e.Reference == "" && e.TransactionID == "":
		return Event{}, errors.New("it says not what it is about")
	case n.Reference != "" && n.ExternalID != "" && n.Reference != n.ExternalID:
		return Event{}, errors.New("reference_code and external_id differ")
	case !isWord(e.Word):
		return Event{}, errors.New("status is malformed")
	case amount != nil && n.Cents != nil && *amount != *n.Cents:
		return Event{}, errors.New("amount and value_cents differ")
	case amount != nil:
		e.Amount = amount
	default:
		e.Amount = n.Cents
	}
	if e.Amount != nil && *e.Amount < 0 {
		return Event{}, errors.New("a negative amount")
	}
	e.At = localTime(string(n.Approved), string(n.Paid))
	sum := sha256.Sum256([]byte(string(e.Kind) + "\n" + e.Reference + "\n" + e.TransactionID + "\n" + strings.ToLower(e.Word)))
	e.Key = hex.EncodeToString(sum[:])
	return e, nil
}

func isObject(data json.RawMessage) bool {
	data = bytes.TrimSpace(data)
	return len(data) > 0 && data[0] == '{'
}

// localTime is the first of the texts that is a time; zero: none. One without a
// zone is São Paulo's, as the upstream's are.
func localTime(texts ...string) time.Time {
	for _, s := range texts {
		for _, layout := range []string{time.DateTime, "2006-01-02T15:04:05", time.RFC3339} {
			if t, err := time.ParseInLocation(layout, s, zone.SaoPaulo()); err == nil {
				return t.UTC()
			}
		}
	}
	return time.Time{}
}
