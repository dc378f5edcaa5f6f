package bspaybrsim

import (
	"context"
	"crypto/hmac"
	"crypto/md5"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/ssg-safe/agent/providers/simkit"
	"github.com/ssg-safe/agent/redact"
)

// The forms of webhooks.
const (
	Bare             = "bare"              // the script's own
	Enveloped        = "enveloped"         // the same in requestBody
	Upstream         = "upstream"          // the upstream's, with value_cents
	UpstreamEnvelope = "upstream_envelope" // the same in its message, with its MD5
)

// The ways in which webhooks can be wrong.
const (
	BadMAC       = "bad_mac"       // a signature of something else
	WrongSecret  = "wrong_secret"  // signed by a stranger
	Unsigned     = "unsigned"      // no signature, whatever the body holds
	Reserialised = "reserialised"  // the same JSON in other bytes
	UnknownEvent = "unknown_event" // signed, and of a kind that the document does not know
)

var (
	forms  = []string{Bare, Enveloped, Upstream, UpstreamEnvelope}
	spoils = []string{BadMAC, WrongSecret, Unsigned, Reserialised, UnknownEvent}
)

// Webhooks returns what is due by now, oldest transaction first: one for each
// charge and payout that is paid. The form is "" for the first one.
func (s *Sim) Webhooks(form, fault string) []simkit.Delivery {
	return simkit.Webhooks(s.events(), form, fault)
}

// Deliver sends webhooks to the host of a URL over a transport until ctx ends, as
// [simkit.Courier] says; their paths are those of the callback addresses. What the
// receiver does not take comes again each minute, ten times.
func (s *Sim) Deliver(ctx context.Context, to string, over http.RoundTripper) error {
	c := simkit.Courier{
		Kit: s.Kit, Due: s.events, Dir: s.opts.Dir, Name: "bspaybr-webhooks.jsonl", To: to, Over: over, Logger: s.log,
		Retry: slices.Repeat([]time.Duration{time.Minute}, 10),
	}
	return c.Run(ctx)
}

func (s *Sim) events() []simkit.Notice {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []simkit.Notice
	for _, t := range s.order {
		if t.word(time.Now()) == paid {
			then := *t
			all = append(all, simkit.Notice{ID: t.Reference, Write: func(form, fault string) simkit.Delivery {
				return s.deliver(&then, form, fault)
			}})
		}
	}
	return all
}

func (s *Sim) deliver(t *transaction, form, fault string) simkit.Delivery {
	body := s.body(t)
	if strings.HasPrefix(form, Upstream) {
		body = s.upstream(t)
	}
	if fault == UnknownEvent {
		body["transactionType"] = "REVERSAL"
	}
	if form == Enveloped {
		body = map[string]any{"requestBody": body}
	}
	if form == UpstreamEnvelope {
		kind := "qrcode"
		if t.Payout {
			kind = "payment"
		}
		body = map[string]any{
			"notification_type": "pix_" + kind, "message": body,
			"md5": upstreamSum(kind, t.Reference, t.endToEnd(), fmt.Sprint(int64(t.Amount)), s.opts.WebhookSecret),
		}
	}
	text, err := json.Marshal(body)
	if err != nil {
		panic(err) // texts and numbers
	}
	signed, secret := string(text), s.opts.WebhookSecret
	switch fault {
	case BadMAC:
		signed += " "
	case WrongSecret:
		secret = "a stranger's secret"
	}
	d := simkit.Delivery{URL: t.Callback, Header: http.Header{"Content-Type": {"application/json"}}, Body: string(text)}
	if fault == Reserialised {
		d.Body = "{ " + d.Body[1:]
	}
	if fault != Unsigned {
		d.Header.Set("X-SIGNATURE", mac(secret, signed))
	}
	return d
}

// body is the script's own form.
func (s *Sim) body(t *transaction) map[string]any {
	body := map[string]any{
		"transactionId": t.TransactionID, "external_id": t.Reference, "amount": json.Number(t.Amount.String()),
		"dateApproval": t.Due.In(s.zone).Format("2006-01-02 15:04:05"),
	}
	if t.Payout {
		body["transactionType"], body["statusCode"] = "PAYMENT", map[string]any{"statusId": 1, "description": "Pagamento aprovado"}
		return body
	}
	body["transactionType"], body["paymentType"], body["status"] = "RECEIVEPIX", "PIX", paid
	body["creditParty"] = map[string]any{"name": "Loja Simulada", "taxId": "11222333000181"}
	return body
}

// upstream is the form that is passed on.
func (s *Sim) upstream(t *transaction) map[string]any {
	status := "paid"
	if t.Payout {
		status = "completed"
	}
	return map[string]any{
		"value_cents": int64(t.Amount), "reference_code": t.Reference, "external_reference": t.TransactionID, "content": nil, "status": status,
		"generator_name": "Loja Simulada", "generator_document": "11.222.333/0001-81",
		"payment_date": t.Due.In(s.zone).Format("2006-01-02T15:04:05"), "end_to_end": t.endToEnd(),
	}
}

// endToEnd is the payment's end-to-end id.
func (t *transaction) endToEnd() string {
	return "E18236120" + t.Due.UTC().Format("200601021504") + strings.ToUpper(t.Reference[:11])
}

// upstreamSum is what the upstream puts into its envelope; id is the end-to-end id
// of a QR code's payment, or the name of a payment that was sent.
func upstreamSum(kind, reference, id, cents string, secret redact.Secret) string {
	sum := md5.Sum([]byte(strings.Join([]string{kind, reference, id, cents, secret.Reveal()}, ".")))
	return hex.EncodeToString(sum[:])
}

func mac(secret redact.Secret, text string) string {
	m := hmac.New(sha256.New, []byte(secret.Reveal()))
	m.Write([]byte(text)) // a hash never fails
	return hex.EncodeToString(m.Sum(nil))
}
