// Package bspaysim simulates BSPAY's API v2, as its document and its other
// pages describe it: tokens by HTTP Basic, charges, payouts, the account and its
// list of transactions, infractions, and orders in other currencies. It is an
// [net/http.Handler], so it runs on a socket (`ssg-agent sim`), inside the demo,
// and in memory under testing/synctest.
//
// It is as strict as the provider where that is told: 30 tokens a minute, five
// wrong logins in a row block, signatures over the exact bytes with a window of
// 300 seconds and a nonce for once, one transaction for one external_id, pages of
// at most 100. Where the sources differ, Options choose: a repeated id answered by
// 409, a filter by external_id that is ignored, rows without codes.
//
// # Ledger and payers
//
// The simulator keeps its own ledger, durably when it has a directory. A
// simulated payer pays a charge PayAfter after it was first asked for: by then the
// terminal knows it and shows its code. When a payment falls due is written down
// at once, so that it happens whether or not the simulator runs at that moment.
// A payout is pending until SettleAfter has passed; one to a key that begins
// with "nobody" fails then, and its money comes back.
//
// # Control
//
// The routes of [simkit.Kit.Control], and
//
//	GET  /sim/state                 counts and sums
//	GET  /sim/payouts               all payouts
//	GET  /sim/webhooks              the webhooks that are due by now, signed (?form=webhook, ?fault=…)
//	GET  /sim/deliveries            the attempts to send them
//	POST /sim/charges/{id}/refund   give the money back
//	POST /sim/charges/{id}/dispute  open an infraction
//	POST /sim/tokens/revoke         every token issued so far is refused from now on
//
// # Faults
//
// Those of package simkit on the routes token, create, status (the list of
// transactions), cashout, account (balance, limits, fees, profile), orders and
// infractions, and its Word, Echo and Code; besides them "refuse=STATUS:CODE", a
// refusal with one of the provider's codes before anything is done; "drift", by
// which rows move from page to page; and "skew=DURATION", a Date that is wrong.
package bspaysim

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/ssg-safe/agent/money"
	"github.com/ssg-safe/agent/providers"
	"github.com/ssg-safe/agent/providers/simkit"
	"github.com/ssg-safe/agent/redact"
)

// The simulator's routes, as fault rules and the request log name them.
const (
	RouteToken       = "token"
	RouteCreate      = "create"
	RouteStatus      = "status"
	RouteCashout     = "cashout"
	RouteAccount     = "account"
	RouteOrders      = "orders"
	RouteInfractions = "infractions"
)

// The faults of this simulator's own.
const (
	Refuse = "refuse" // ARG: STATUS:CODE
	Drift  = "drift"
	Skew   = "skew" // ARG: duration, negative for a provider that is behind
)

// Vocabulary is what the rules of a fault script can say.
func Vocabulary() simkit.Vocabulary {
	return simkit.Vocabulary{
		Routes: []string{RouteToken, RouteCreate, RouteStatus, RouteCashout, RouteAccount, RouteOrders, RouteInfractions},
		Faults: []string{simkit.Word, simkit.Echo, simkit.Code, Refuse, Drift, Skew},
		Forms:  forms, Spoils: spoils,
	}
}

// The credentials that a simulator accepts unless told otherwise. They open
// nothing else.
const (
	DefaultClientID     = "sim-client"
	DefaultClientSecret = "sim-secret-not-a-credential"
	DefaultSigningKey   = "sim-signing-key-not-a-credential"
	// DefaultLocationHost is the host in the location of dynamic codes.
	DefaultLocationHost = "pix.bspay.example"
)

// Options set up a simulator. The zero value is a simulator in memory that
// pays nothing by itself.
type Options struct {
	// Dir keeps the ledger; empty: in memory.
	Dir string
	// Seed makes ids, payers and faults repeatable.
	Seed uint64
	// PayAfter is when the payer pays, counted from the first question for the
	// charge; zero: never. SettleAfter is when a payout ends, counted from its making.
	PayAfter, SettleAfter time.Duration
	// PayFraction is the share of charges that are paid; zero: all of them.
	PayFraction float64
	// Expiry is how long a code can be paid; zero: ten minutes.
	Expiry time.Duration
	// Balance is what the account holds at the start.
	Balance money.Amount
	// Credentials; empty means the defaults, and for the secrets of webhooks
	// "sim-callback-secret" and "sim-webhook-secret".
	ClientID                                                string
	ClientSecret, SigningKey, CallbackSecret, WebhookSecret redact.Secret
	// TokenLife is how long a token holds; zero: one hour.
	TokenLife time.Duration
	// LocationHost, PayeeName and PayeeCity go into the codes; empty: defaults.
	LocationHost, PayeeName, PayeeCity string
	// Conflict answers a repeated external_id by 409 instead of by the same
	// transaction; IgnoreFilters lists what was not asked for; BareRows leaves
	// codes and expiry out of the list.
	Conflict, IgnoreFilters, BareRows bool
	// ManyLogins: as many logins as anybody likes, instead of 30 a minute.
	ManyLogins bool
	// Faults is the script at the start.
	Faults []simkit.Rule
	// Logger: nil discards.
	Logger *slog.Logger
}

// Sim is a simulator. It is safe for concurrent use.
type Sim struct {
	*simkit.Kit

	opts  Options
	payee simkit.Payee
	mux   *http.ServeMux
	log   *slog.Logger
	gate  gate

	mu           sync.Mutex // guards the ledger below and spans its writes
	journal      *simkit.Journal
	tokens       map[string]time.Time // SHA-256 of the token, to its end
	issued       uint64
	transactions map[string]*transaction
	external     map[string]*transaction // by our client's id
	order        []*transaction
	infractions  []*infraction
}

// transaction is a line of the ledger. Nothing about people is kept.
type transaction struct {
	ID, ExternalID string
	Type           string // cashin, cashout, transfer, conversion
	Amount         string // decimal
	Currency       string
	Code           string
	Postback       string // where its events are reported; "": where the account's are
	Created        time.Time
	Expires        time.Time // of a charge; zero: none
	Seen           bool      // asked for
	Forced         string    // status word set by a control route
	Due            time.Time // when it was or will be paid or settled; zero: never
	Fails          bool      // a payout that fails when it is due
	To             string    // of a conversion: currency and amount that come out
	Result         string
	Digest         string // SHA-256 of the request, whose repeat is recognised by it
}

// word is the status at a time.
func (t *transaction) word(now time.Time) string {
	due := !t.Due.IsZero() && !now.Before(t.Due)
	switch {
	case t.Forced != "":
		return t.Forced
	case t.Type == "cashin" && due && t.Due.Before(t.Expires):
		return "confirmed"
	case t.Type == "cashin" && !t.Expires.IsZero() && !now.Before(t.Expires):
		return "expired"
	case t.Type != "cashin" && due && t.Fails:
		return "failed"
	case t.Type != "cashin" && due:
		return "confirmed"
	}
	return "pending"
}

// centavos is the amount of a transaction in BRL.
func (t *transaction) centavos() money.Amount {
	a, err := money.Parse(t.Amount)
	if err != nil || t.Currency != "BRL" {
		return 0
	}
	return a
}

// infraction is a dispute about a charge.
type infraction struct {
	ID, Transaction string
	Status          string // open, responded
	Opened          time.Time
	Replies         []string
}

// record is a line of the journal.
type record struct {
	Op          string       `json:"op"` // transaction, seen, forced, token, revoke, infraction, reply
	At          time.Time    `json:"at"`
	ID          string       `json:"id,omitempty"`
	Transaction *transaction `json:"transaction,omitempty"`
	Due         time.Time    `json:"due,omitzero"`
	Word        string       `json:"word,omitempty"`
	Token       string       `json:"token,omitempty"`
	Expires     time.Time    `json:"expires,omitzero"`
	Text        string       `json:"text,omitempty"`
}

// New opens the ledger and returns a simulator; it runs nothing in the
// background. Close it.
func New(o Options) (*Sim, error) {
	o.ClientID, o.ClientSecret = cmp.Or(o.ClientID, DefaultClientID), cmp.Or(o.ClientSecret, DefaultClientSecret)
	o.SigningKey = cmp.Or(o.SigningKey, DefaultSigningKey)
	o.CallbackSecret, o.WebhookSecret = cmp.Or(o.CallbackSecret, "sim-callback-secret"), cmp.Or(o.WebhookSecret, "sim-webhook-secret")
	o.LocationHost = cmp.Or(o.LocationHost, DefaultLocationHost)
	o.PayeeName, o.PayeeCity = cmp.Or(o.PayeeName, "LOJA SIMULADA LTDA"), cmp.Or(o.PayeeCity, "SAO PAULO")
	o.TokenLife, o.Expiry = cmp.Or(o.TokenLife, time.Hour), cmp.Or(o.Expiry, 10*time.Minute)
	o.Logger = cmp.Or(o.Logger, slog.New(slog.DiscardHandler))
	var err error
	if o.PayFraction, err = simkit.Share(o.PayFraction); err != nil {
		return nil, err
	}
	s := &Sim{
		opts: o, payee: simkit.Payee{Host: o.LocationHost, Name: o.PayeeName, City: o.PayeeCity}, log: o.Logger,
		tokens: map[string]time.Time{}, transactions: map[string]*transaction{}, external: map[string]*transaction{},
	}
	s.gate.nonces = map[string]time.Time{}
	if s.Kit, err = simkit.NewKit(o.Seed, Vocabulary(), refusal, o.Faults...); err != nil {
		return nil, err
	}
	if s.journal, err = simkit.OpenJournal(o.Dir, "bspay-ledger.jsonl", s.apply); err != nil {
		return nil, err
	}
	s.routes()
	return s, nil
}

// Close closes the ledger. Requests that come later are answered with 500.
func (s *Sim) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.journal.Close()
}

var unified = map[string]providers.Status{
	"pending": providers.StatusPending, "confirmed": providers.StatusPaid, "expired": providers.StatusExpired,
	"failed": providers.StatusFailed, "refunded": providers.StatusRefunded,
}

// Charges returns the charges of the ledger, oldest first, as of now.
func (s *Sim) Charges() []simkit.Charge { return s.lines("cashin", "BRL") }

// Payouts returns the payouts of the ledger, oldest first, as of now.
func (s *Sim) Payouts() []simkit.Charge { return s.lines("cashout", "BRL") }

func (s *Sim) lines(kind, currency string) []simkit.Charge {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	all := []simkit.Charge{}
	for _, t := range s.order {
		if t.Type != kind || t.Currency != currency {
			continue
		}
		word := t.word(now)
		line := simkit.Charge{
			ID: t.ID, Amount: t.centavos(), ExternalID: t.ExternalID, Status: unified[word], Code: t.Code, Created: t.Created, Expires: t.Expires,
		}
		if word == "confirmed" {
			line.Paid = t.Due
		}
		all = append(all, line)
	}
	return all
}

// Pay pays a charge now, also one that has expired.
func (s *Sim) Pay(id string) error { return s.force(id, "confirmed") }

// Expire expires a charge now; one that is paid stays paid, with an error.
func (s *Sim) Expire(id string) error { return s.force(id, "expired") }

// Refund gives a payment back.
func (s *Sim) Refund(id string) error { return s.force(id, "refunded") }

// RevokeTokens makes every token issued so far invalid.
func (s *Sim) RevokeTokens() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.record(record{Op: "revoke"})
}

// Dispute opens an infraction about a charge and returns its id.
func (s *Sim) Dispute(id string) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t := s.transactions[id]; t == nil || t.Type != "cashin" {
		return "", simkit.ErrNoCharge
	}
	infraction := s.uuid("infraction", len(s.infractions))
	return infraction, s.record(record{Op: "infraction", ID: infraction, Text: id})
}

func (s *Sim) force(id, word string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.transactions[id]
	if t == nil || t.Type != "cashin" {
		return simkit.ErrNoCharge
	}
	paid := t.word(time.Now()) == "confirmed"
	switch {
	case word == "expired" && paid:
		return errors.New("the charge is paid")
	case word == "refunded" && !paid:
		return errors.New("the charge is not paid")
	}
	return s.record(record{Op: "forced", ID: id, Word: word})
}

// record writes a line down and applies it. s.mu is held.
func (s *Sim) record(r record) error {
	r.At = time.Now().UTC()
	if err := s.journal.Append(r); err != nil {
		s.log.Error("simulator ledger", "err", err)
		return err
	}
	return s.apply(r)
}

// apply is the ledger's fold, of new lines and old ones alike.
func (s *Sim) apply(r record) error {
	switch r.Op {
	case "token":
		s.issued++
		s.tokens[r.Token] = r.Expires
	case "revoke":
		clear(s.tokens)
	case "transaction":
		t := *r.Transaction
		if s.external[t.ExternalID] != nil || s.transactions[t.ID] != nil {
			return fmt.Errorf("transaction %s twice", t.ID)
		}
		t.Created = r.At
		s.transactions[t.ID] = &t
		s.external[t.ExternalID] = &t
		s.order = append(s.order, &t)
	case "seen", "forced":
		t := s.transactions[r.ID]
		if t == nil {
			return fmt.Errorf("%s of unknown transaction %q", r.Op, r.ID)
		}
		if r.Op == "seen" {
			t.Seen, t.Due = true, r.Due
			return nil
		}
		if t.Forced = r.Word; r.Word == "confirmed" {
			t.Due = r.At
		}
	case "infraction":
		s.infractions = append(s.infractions, &infraction{ID: r.ID, Transaction: r.Text, Status: "open", Opened: r.At})
	case "reply":
		for _, i := range s.infractions {
			if i.ID == r.ID {
				i.Status, i.Replies = "responded", append(i.Replies, r.Text)
				return nil
			}
		}
		return fmt.Errorf("reply to unknown infraction %q", r.ID)
	default:
		return fmt.Errorf("unknown record %q", r.Op)
	}
	return nil
}

// uuid is the nth repeatable id of its kind. s.mu is held.
func (s *Sim) uuid(kind string, n int) string {
	h := sha256.Sum256(fmt.Appendf(nil, "%s %d %d", kind, s.opts.Seed, n))
	b := []byte(hex.EncodeToString(h[:16]))
	b[12], b[16] = '4', '8'
	return string(slices.Concat(b[:8], []byte("-"), b[8:12], []byte("-"), b[12:16], []byte("-"), b[16:20], []byte("-"), b[20:]))
}

// location is the path of a charge's location.
func location(id string) string { return "/v2/qr/" + id }

// open commits a transaction, or returns the one that has its external_id, as it is
// now. s.mu is not held.
func (s *Sim) open(t transaction) (made transaction, known bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if old := s.external[t.ExternalID]; old != nil {
		return *old, true, nil
	}
	if t.Type != "cashin" && !s.affords(t) {
		return transaction{}, false, errFunds
	}
	t.ID = s.uuid("transaction", len(s.order))
	now := time.Now().UTC()
	if t.Type == "cashin" {
		// The answer states whole seconds.
		t.Expires = now.Add(s.opts.Expiry).Truncate(time.Second)
		if t.Currency == "BRL" {
			t.Code = s.payee.Code(location(t.ID), t.centavos())
		}
	} else {
		t.Due = now.Add(s.opts.SettleAfter)
	}
	if err := s.record(record{Op: "transaction", Transaction: &t}); err != nil {
		return transaction{}, false, err
	}
	return *s.transactions[t.ID], false, nil
}

var errFunds = errors.New("the account does not hold enough")

// look notes that a charge was asked for, and sends its payer on the way. s.mu is
// held.
func (s *Sim) look(t *transaction) error {
	if t.Type != "cashin" || t.Seen || t.Forced != "" || s.opts.PayAfter <= 0 {
		return nil
	}
	r := record{Op: "seen", ID: t.ID}
	if simkit.Pays(s.opts.Seed, t.ID, s.opts.PayFraction) {
		r.Due = time.Now().UTC().Add(s.opts.PayAfter)
	}
	return s.record(r)
}

// newToken issues a token.
func (s *Sim) newToken() (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := sha256.Sum256(fmt.Appendf(nil, "token %d %d", s.opts.Seed, s.issued))
	token := "sim-" + hex.EncodeToString(h[:])
	return token, s.record(record{Op: "token", Token: digest([]byte(token)), Expires: time.Now().UTC().Add(s.opts.TokenLife)})
}

func (s *Sim) authorised(r *http.Request) bool {
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	end, ok := s.tokens[digest([]byte(token))]
	return ok && time.Now().Before(end)
}

func digest(b []byte) string {
	h := sha256.Sum256(b)
	return hex.EncodeToString(h[:])
}

// State sums up the ledger.
type State struct {
	Charges   int          `json:"charges"`
	Sum       money.Amount `json:"sum"` // centavos, of all charges
	Paid      int          `json:"paid"`
	PaidSum   money.Amount `json:"paid_sum"` // centavos
	Expired   int          `json:"expired"`
	Payouts   int          `json:"payouts"`    // not failed
	PayoutSum money.Amount `json:"payout_sum"` // centavos
	Requests  int          `json:"requests"`
}

// State returns counts and sums as of now.
func (s *Sim) State() State {
	st := State{Requests: s.Log().Total()}
	for _, c := range s.Charges() {
		st.Charges++
		st.Sum += c.Amount
		switch c.Status {
		case providers.StatusPaid:
			st.Paid++
			st.PaidSum += c.Amount
		case providers.StatusExpired:
			st.Expired++
		}
	}
	for _, p := range s.Payouts() {
		if p.Status != providers.StatusFailed {
			st.Payouts++
			st.PayoutSum += p.Amount
		}
	}
	return st
}
