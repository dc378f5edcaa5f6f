package bspaysim

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ssg-safe/agent/redact"
)

// Delivery is a webhook as the provider sends it. Whether it arrives, how often,
// and in which order, is for its carrier to spoil.
type Delivery struct {
	Header http.Header `json:"header"`
	Body   string      `json:"body"`
}

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

// WebhookFaults lists them.
func WebhookFaults() []string {
	return []string{BadMAC, WrongSecret, SignedTime, Stale, Reserialised, UnknownEvent, Sandbox}
}

// Webhooks returns what is due by now, oldest transaction first: an event of
// each charge, payout and order that is over, and of each infraction. dialect is
// "bspay" or "webhook", the two sets of headers; fault is "" or one of
// [WebhookFaults].
func (s *Sim) Webhooks(dialect, fault string) []Delivery {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	var all []Delivery
	for _, t := range s.order {
		event := events[t.Type+"."+t.word(now)]
		if event == "" {
			continue
		}
		data := s.row(t, now)
		delete(data, "payment_info")
		if t.Fails {
			data["error_code"] = "PIX_KEY_NOT_FOUND"
		}
		all = append(all, s.deliver(dialect, fault, now, event, map[string]any{"transaction_id": t.ID, "data": data}))
	}
	for _, i := range s.infractions {
		event := map[string]string{"open": "chargeback.opened", "responded": "chargeback.responded"}[i.Status]
		all = append(all, s.deliver(dialect, fault, now, event, map[string]any{"data": s.infractionRow(i)}))
	}
	return all
}

// events are the provider's, by type and status word.
var events = map[string]string{
	"cashin.confirmed": "cashin.confirmed", "cashin.refunded": "cashin.refunded", "cashin.expired": "cashin.expired",
	"cashout.confirmed": "cashout.confirmed", "cashout.failed": "cashout.failed",
	"transfer.confirmed": "transfer.confirmed", "conversion.confirmed": "conversion.confirmed",
}

func (s *Sim) deliver(dialect, fault string, now time.Time, event string, body map[string]any) Delivery {
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
	if dialect == "webhook" {
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
	d := Delivery{Header: http.Header{}, Body: string(text)}
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

func (s *Sim) showWebhooks(w http.ResponseWriter, r *http.Request) {
	dialect, fault := r.FormValue("dialect"), r.FormValue("fault")
	if !slices.Contains([]string{"", "bspay", "webhook"}, dialect) || fault != "" && !slices.Contains(WebhookFaults(), fault) {
		http.Error(w, "dialects: bspay, webhook; faults: "+strings.Join(WebhookFaults(), ", "), http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(s.Webhooks(dialect, fault)) // the client may have gone
}
