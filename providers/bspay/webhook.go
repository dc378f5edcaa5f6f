package bspay

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/ssg-safe/agent/money"
	"github.com/ssg-safe/agent/providers"
	"github.com/ssg-safe/agent/redact"
)

// EventKind is what a webhook tells of.
type EventKind string

// The events of the document, and two more that the provider sends.
const (
	CashinConfirmed     EventKind = "cashin.confirmed"
	CashinRefunded      EventKind = "cashin.refunded"
	CashinExpired       EventKind = "cashin.expired"
	CashoutConfirmed    EventKind = "cashout.confirmed"
	CashoutFailed       EventKind = "cashout.failed"
	CashoutRefunded     EventKind = "cashout.refunded"
	WalletDeposit       EventKind = "wallet_deposit"
	TransferConfirmed   EventKind = "transfer.confirmed"
	ConversionConfirmed EventKind = "conversion.confirmed"
	ChargebackOpened    EventKind = "chargeback.opened"
	ChargebackResponded EventKind = "chargeback.responded"
	ChargebackConfirmed EventKind = "chargeback.confirmed"
	ChargebackWon       EventKind = "chargeback.won"
	ChargebackLost      EventKind = "chargeback.lost"
	ChargebackCanceled  EventKind = "chargeback.canceled"
)

var eventKinds = map[EventKind]bool{
	CashinConfirmed: true, CashinRefunded: true, CashinExpired: true, CashoutConfirmed: true, CashoutFailed: true, CashoutRefunded: true,
	WalletDeposit: true, TransferConfirmed: true, ConversionConfirmed: true, ChargebackOpened: true, ChargebackResponded: true,
	ChargebackConfirmed: true, ChargebackWon: true, ChargebackLost: true, ChargebackCanceled: true,
}

// Event is a webhook that the provider signed. It proves nothing: the timestamp
// is not signed, so that an old one can be sent again; it is a reason to ask.
// It holds nothing about people.
type Event struct {
	Kind EventKind
	// Known is false for an event that this version does not know: keep it, answer
	// 200, and tell somebody.
	Known bool
	// Sandbox marks a test event, which production drops.
	Sandbox bool
	// TransactionID, ExternalID and InfractionID name what it is about; any may be
	// empty, not all of the first and last.
	TransactionID, ExternalID, InfractionID string
	Word                                    string           // the provider's status word
	Status                                  providers.Status // its meaning
	Amount                                  *money.Amount    // nil: not said, or not BRL
	EndToEnd                                string
	// Reason is why a payout failed, such as PIX_KEY_NOT_FOUND.
	Reason string
	// Key identifies the event for ever, lower-case hex SHA-256 of kind and id: one
	// with a key that was seen before is dropped, however late.
	Key string
}

// WebhookSecrets are what webhooks are signed with. An empty one accepts
// nothing.
type WebhookSecrets struct {
	Callback redact.Secret // of X-BSPay-… headers
	Webhook  redact.Secret // of X-Webhook-… headers
}

// MaxWebhookAge is by how much a webhook's timestamp may differ from now.
const MaxWebhookAge = 5 * time.Minute

// Errors of ParseWebhook.
var (
	// ErrSignature: no signature, or not the provider's. Answer 401 and keep
	// nothing.
	ErrSignature = errors.New("webhook is not signed by the provider")
	// ErrStale: signed, with a timestamp too far from now.
	ErrStale = errors.New("webhook is stale")
	// ErrMalformed: signed, and not to be understood.
	ErrMalformed = errors.New("webhook cannot be read")
)

// ParseWebhook checks a webhook's signature over the exact bytes of its body,
// its time against received, and reads it. Both sets of headers that the
// provider is known to use are understood; where one of them is present with a
// wrong signature the webhook is refused, whatever the other says.
//
// The error wraps ErrSignature, ErrStale or ErrMalformed.
func ParseWebhook(h http.Header, body []byte, secrets WebhookSecrets, received time.Time) (Event, error) {
	signed := ""
	for _, d := range []struct {
		prefix string
		secret redact.Secret
	}{{"X-BSPay-", secrets.Callback}, {"X-Webhook-", secrets.Webhook}} {
		given := h.Get(d.prefix + "Signature")
		switch {
		case given == "":
		case !signedBy(d.secret, given, body):
			return Event{}, ErrSignature
		default:
			signed = d.prefix
		}
	}
	if signed == "" {
		return Event{}, ErrSignature
	}
	if text := h.Get(signed + "Timestamp"); text != "" {
		at, err := parseTimestamp(text)
		if err != nil {
			return Event{}, fmt.Errorf("%w: its timestamp is no time", ErrStale)
		}
		if d := received.Sub(at).Abs(); d > MaxWebhookAge {
			return Event{}, fmt.Errorf("%w: its timestamp is %v off", ErrStale, d.Round(time.Second))
		}
	}
	e, err := parseEvent(body)
	if err != nil {
		return Event{}, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	if stated := h.Get(signed + "Event"); stated != "" && stated != string(e.Kind) {
		return Event{}, fmt.Errorf("%w: header and body name different events", ErrMalformed)
	}
	e.Sandbox = h.Get("X-Sandbox") == "1"
	return e, nil
}

func signedBy(secret redact.Secret, given string, body []byte) bool {
	mac, err := hex.DecodeString(strings.TrimPrefix(strings.ToLower(given), "sha256="))
	if err != nil || secret == "" {
		return false
	}
	m := hmac.New(sha256.New, []byte(secret.Reveal()))
	m.Write(body) // a hash never fails
	return hmac.Equal(mac, m.Sum(nil))
}

func parseTimestamp(text string) (time.Time, error) {
	if n, err := strconv.ParseInt(text, 10, 64); err == nil {
		if n < 0 || n > 1<<40 {
			return time.Time{}, errors.New("out of range")
		}
		return time.Unix(n, 0), nil
	}
	return time.Parse(time.RFC3339Nano, text)
}

// parseEvent reads a webhook's body. Ids stand at its root or in data.
func parseEvent(body []byte) (Event, error) {
	var in map[string]any
	if err := providers.DecodeJSON(body, &in); err != nil {
		return Event{}, err
	}
	root := object(in)
	data := root.inner("data")
	text := func(names ...string) string {
		if s := root.text(names...); s != "" {
			return s
		}
		return data.text(names...)
	}
	e := Event{
		Kind: EventKind(root.text("event")), TransactionID: text("transaction_id"), ExternalID: text("external_id"),
		InfractionID: text("infraction_id"), Word: data.text("status"), EndToEnd: data.endToEnd(),
		Reason: data.text("error_code", "reason", "failure_reason"),
	}
	if !isID(e.Reason) {
		e.Reason = "" // prose, not a code
	}
	for _, s := range []string{string(e.Kind), e.TransactionID, e.ExternalID, e.InfractionID, e.Word, e.EndToEnd} {
		if s != "" && !isID(s) {
			return Event{}, errors.New("a field is too long or holds odd characters")
		}
	}
	subject := "transaction " + e.TransactionID
	if e.InfractionID != "" { // of which a transaction may have several
		subject = "infraction " + e.InfractionID
	}
	switch {
	case e.Kind == "":
		return Event{}, errors.New("event is missing")
	case e.TransactionID == "" && e.InfractionID == "":
		return Event{}, errors.New("transaction_id is missing")
	}
	var err error
	if e.Amount, err = data.brl("amount"); err != nil {
		return Event{}, err
	}
	e.Known, e.Status = eventKinds[e.Kind], statusOf(e.Word)
	sum := sha256.Sum256([]byte(string(e.Kind) + "\n" + subject))
	e.Key = hex.EncodeToString(sum[:])
	return e, nil
}
