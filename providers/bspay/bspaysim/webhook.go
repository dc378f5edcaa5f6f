package bspaysim

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/ssg-safe/agent/providers/simkit"
	"github.com/ssg-safe/agent/redact"
)

// The forms of webhooks: two sets of headers, each with a secret of its own.
const (
	FormBSPay   = "bspay"
	FormWebhook = "webhook"
)

// The ways in which webhooks can be wrong.
const (
	BadMAC       = "bad_mac"       // a signature of something else
	WrongSecret  = "wrong_secret"  // signed by a stranger
	SignedTime   = "signed_time"   // over timestamp and body, as the provider does not do
	Stale        = "stale"         // 301 seconds old
	Reserialised = "reserialised"  // the same JSON in other bytes
	UnknownEvent = "unknown_event" // an event of a later version
	Sandbox      = "sandbox"       // a test event
)

var (
	forms  = []string{FormBSPay, FormWebhook}
	spoils = []string{BadMAC, WrongSecret, SignedTime, Stale, Reserialised, UnknownEvent, Sandbox}
)

// Webhooks returns what is due by now, oldest transaction first: an event of
// each charge, payout and order that is over, and of each infraction. The form is
// "" for the first one.
func (s *Sim) Webhooks(form, fault string) []simkit.Delivery {
	return simkit.Webhooks(s.events(), form, fault)
}

// Deliver sends webhooks to a URL over a transport until ctx ends, as
// [simkit.Courier] says. What the receiver does not take comes again after 1 m,
// 5 m, 15 m, 1 h and 6 h.
func (s *Sim) Deliver(ctx context.Context, to string, over http.RoundTripper) error {
	c := simkit.Courier{
		Kit: s.Kit, Due: s.events, Dir: s.opts.Dir, Name: "bspay-webhooks.jsonl", To: to, Over: over, Logger: s.log,
		Retry: []time.Duration{time.Minute, 5 * time.Minute, 15 * time.Minute, time.Hour, 6 * time.Hour},
	}
	return c.Run(ctx)
}

// eventNames are the provider's, by type and status word.
var eventNames = map[string]string{
	"cashin.confirmed": "cashin.confirmed", "cashin.refunded": "cashin.refunded", "cashin.expired": "cashin.expired",
	"cashout.confirmed": "cashout.confirmed", "cashout.failed": "cashout.failed",
	"transfer.confirmed": "transfer.confirmed", "conversion.confirmed": "conversion.confirmed",
}

func (s *Sim) events() []simkit.Notice {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	var all []simkit.Notice
	for _, t := range s.order {
		event := eventNames[t.Type+"."+t.word(now)]
		if event == "" {
			continue
		}
		then := *t
		all = append(all, simkit.Notice{ID: t.ID + "/" + event, Write: func(form, fault string) simkit.Delivery {
			data := s.row(&then, now)
			delete(data, "payment_info")
			if then.Fails {
				data["error_code"] = "PIX_KEY_NOT_FOUND"
			}
			d := s.deliver(form, fault, event, map[string]any{"transaction_id": then.ID, "data": data})
			d.URL = then.Postback
			return d
		}})
	}
	for _, i := range s.infractions {
		event := map[string]string{"open": "chargeback.opened", "responded": "chargeback.responded"}[i.Status]
		data := s.infractionRow(i)
		all = append(all, simkit.Notice{ID: i.ID + "/" + event, Write: func(form, fault string) simkit.Delivery {
			return s.deliver(form, fault, event, map[string]any{"data": data})
		}})
	}
	return all
}

func (s *Sim) deliver(form, fault, event string, body map[string]any) simkit.Delivery {
	now := time.Now()
	if fault == UnknownEvent {
		event = "cashin.reconsidered"
	}
	if fault == Stale {
		now = now.Add(-window - time.Second)
	}
	body["event"], body["timestamp"] = event, now.UTC().Truncate(time.Second)
	text, err := json.Marshal(body)
	if err != nil {
		panic(err) // texts and numbers
	}
	prefix, secret := "X-BSPay-", s.opts.CallbackSecret
	if form == FormWebhook {
		prefix, secret = "X-Webhook-", s.opts.WebhookSecret
	}
	timestamp := strconv.FormatInt(now.Unix(), 10)
	signed := string(text)
	switch fault {
	case BadMAC:
		signed += " "
	case WrongSecret:
		secret = "a stranger's secret"
	case SignedTime:
		signed = timestamp + "." + signed
	}
	d := simkit.Delivery{Header: http.Header{}, Body: string(text)}
	if fault == Reserialised {
		d.Body = fmt.Sprintf("{ %s", text[1:])
	}
	d.Header.Set("Content-Type", "application/json")
	d.Header.Set(prefix+"Signature", mac(secret, signed))
	d.Header.Set(prefix+"Event", event)
	d.Header.Set(prefix+"Timestamp", timestamp)
	if fault == Sandbox {
		d.Header.Set("X-Sandbox", "1")
	}
	return d
}

func mac(secret redact.Secret, text string) string {
	m := hmac.New(sha256.New, []byte(secret.Reveal()))
	m.Write([]byte(text)) // a hash never fails
	return hex.EncodeToString(m.Sum(nil))
}
