// Package bspaybrsim simulates Bspaybr's API v3, as its document describes it:
// qrcode, payment and transaction_status, with id and secret in every form. It is
// an [net/http.Handler], so it runs on a socket (`ssg-agent sim`), inside the demo,
// and in memory under testing/synctest.
//
// It takes forms and nothing else, wants the headers ci and cs with status
// questions, answers a payment with an array and no id, and writes the amounts of
// status answers as texts. [Options] turn on what other hosts of the same script
// do. Its codes are real dynamic BR Codes; they never expire.
//
// # Ledger and payers
//
// The simulator keeps its own ledger, durably when it has a directory. A simulated
// payer pays a charge PayAfter after the terminal first asked for its status: by
// then the terminal shows its code. When that falls due is written down at once.
// A payout is over SettleAfter after it was sent: it arrived, or was cancelled if
// its key begins with "nobody".
//
// # Control
//
// The routes of [simkit.Kit.Control], and
//
//	GET /sim/payouts                           all payouts
//	GET /sim/webhooks?form=FORM&fault=FAULT    webhooks due by now, signed
//	GET /sim/deliveries                        the attempts to send them
//
// # Faults
//
// Those of package simkit on the routes create, payment and status, its Word, Echo
// and Code, and
//
//	inner=STATUS   a payment is refused with this statusCode, under HTTP 200
//	callback       a status answer has another attempt's callback address
package bspaybrsim

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/ssg-safe/agent/money"
	"github.com/ssg-safe/agent/providers"
	"github.com/ssg-safe/agent/providers/simkit"
	"github.com/ssg-safe/agent/redact"
	"github.com/ssg-safe/agent/zone"
)

// The simulator's routes, as fault rules and the request log name them.
const (
	RouteCreate  = "create"
	RoutePayment = "payment"
	RouteStatus  = "status"
)

// Faults of its own.
const (
	Inner    = "inner"
	Callback = "callback"
)

// Vocabulary is what the rules of a fault script can say.
func Vocabulary() simkit.Vocabulary {
	return simkit.Vocabulary{
		Routes: []string{RouteCreate, RoutePayment, RouteStatus},
		Faults: []string{simkit.Word, simkit.Echo, simkit.Code, Inner, Callback},
		Forms:  forms, Spoils: spoils,
	}
}

// What a simulator accepts and signs with unless told otherwise.
const (
	DefaultClientID      = "sim-client"
	DefaultClientSecret  = "sim-secret-not-a-credential"
	DefaultWebhookSecret = "sim-webhook-secret"
	// DefaultLocationHost is the host in the location of codes.
	DefaultLocationHost = "pix.bspaybr.example"
)

// Options set up a simulator. The zero value is a simulator in memory that pays
// nothing by itself.
type Options struct {
	// Dir keeps the ledger; empty: in memory.
	Dir string
	// Seed makes ids, payers and faults repeatable.
	Seed uint64
	// PayAfter is when the payer pays, counted from the first status question;
	// zero: never.
	PayAfter time.Duration
	// PayFraction is the share of charges that are paid; zero: all of them.
	PayFraction float64
	// SettleAfter is when payouts are over.
	SettleAfter time.Duration
	// Balance is what the account holds at the start, besides what is paid.
	Balance money.Amount
	// ClientID, ClientSecret and WebhookSecret: empty means the defaults.
	ClientID                    string
	ClientSecret, WebhookSecret redact.Secret
	// LocationHost, PayeeName and PayeeCity go into the codes; empty: defaults.
	LocationHost, PayeeName, PayeeCity string
	// JSON takes requests in JSON too. OpenStatus answers status questions without
	// credentials. Picture gives a picture in place of the code. ExternalID calls
	// the reference code so. BlankErrors says nothing in error bodies.
	JSON, OpenStatus, Picture, ExternalID, BlankErrors bool
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
	zone  *time.Location // of the provider's times, which say none
	mux   *http.ServeMux
	log   *slog.Logger

	mu           sync.Mutex // guards the ledger below and spans its writes
	journal      *simkit.Journal
	transactions map[string]*transaction // by reference code
	order        []*transaction
}

// transaction is a line of the ledger. Nothing about people is kept.
type transaction struct {
	Reference     string       `json:"reference"`
	TransactionID string       `json:"transaction"`
	Payout        bool         `json:"payout,omitempty"`
	Amount        money.Amount `json:"amount"`
	Code          string       `json:"code,omitempty"`
	Callback      string       `json:"callback"`
	Created       time.Time    `json:"created"`
	Seen          bool         `json:"seen,omitempty"`   // asked for
	Forced        string       `json:"forced,omitempty"` // status word set by a control route
	Due           time.Time    `json:"due,omitzero"`     // when it was or will be paid or over; zero: never
	Fails         bool         `json:"fails,omitempty"`  // a payout that is cancelled when it is due
}

// The provider's status words.
const (
	pending  = "PENDING"
	paid     = "PAID"
	canceled = "CANCELED"
)

var unified = map[string]providers.Status{
	pending: providers.StatusPending, paid: providers.StatusPaid, canceled: providers.StatusCancelled,
}

// word is the status at a time.
func (t *transaction) word(now time.Time) string {
	switch {
	case t.Forced != "":
		return t.Forced
	case t.Due.IsZero() || now.Before(t.Due):
		return pending
	case t.Fails:
		return canceled
	}
	return paid
}

// location is the path of a charge's location.
func location(reference string) string { return "/qr/v3/at/" + reference }

// New opens the ledger and returns a simulator; it runs nothing in the background.
// Close it.
func New(o Options) (*Sim, error) {
	o.ClientID, o.ClientSecret = cmp.Or(o.ClientID, DefaultClientID), cmp.Or(o.ClientSecret, DefaultClientSecret)
	o.WebhookSecret = cmp.Or(o.WebhookSecret, DefaultWebhookSecret)
	o.LocationHost = cmp.Or(o.LocationHost, DefaultLocationHost)
	o.Logger = cmp.Or(o.Logger, slog.New(slog.DiscardHandler))
	var err error
	if o.PayFraction, err = simkit.Share(o.PayFraction); err != nil {
		return nil, err
	}
	s := &Sim{
		opts: o, zone: zone.SaoPaulo(), log: o.Logger, transactions: map[string]*transaction{},
		payee: simkit.Payee{Host: o.LocationHost, Name: cmp.Or(o.PayeeName, "LOJA SIMULADA LTDA"), City: cmp.Or(o.PayeeCity, "SAO PAULO")},
	}
	if s.Kit, err = simkit.NewKit(o.Seed, Vocabulary(), s.refusal, o.Faults...); err != nil {
		return nil, err
	}
	if s.journal, err = simkit.OpenJournal(o.Dir, "bspaybr-ledger.jsonl", s.apply); err != nil {
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

// Charges returns the charges of the ledger, oldest first, as of now; their
// account is the callback address.
func (s *Sim) Charges() []simkit.Charge { return s.lines(false) }

// Payouts returns the payouts of the ledger, oldest first, as of now; their account
// is the callback address.
func (s *Sim) Payouts() []simkit.Charge { return s.lines(true) }

func (s *Sim) lines(payouts bool) []simkit.Charge {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	all := []simkit.Charge{}
	for _, t := range s.order {
		if t.Payout != payouts {
			continue
		}
		line := simkit.Charge{ID: t.Reference, Amount: t.Amount, Account: t.Callback, Status: unified[t.word(now)], Code: t.Code, Created: t.Created}
		if line.Status == providers.StatusPaid {
			line.Paid = t.Due
		}
		all = append(all, line)
	}
	return all
}

// Pay pays a charge now, also one that was cancelled.
func (s *Sim) Pay(id string) error { return s.force(id, paid) }

// Expire ends a charge now, which is cancelled here; one that is paid stays paid,
// with an error.
func (s *Sim) Expire(id string) error { return s.force(id, canceled) }

func (s *Sim) force(id, word string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.transactions[id]
	now := time.Now().UTC()
	switch {
	case old == nil || old.Payout:
		return simkit.ErrNoCharge
	case word == canceled && old.word(now) == paid:
		return errors.New("the charge is paid")
	}
	t := *old
	if t.Forced = word; word == paid {
		t.Due = now
	}
	return s.record(t)
}

// record writes a line down, as it is from now on, and applies it. s.mu is held.
func (s *Sim) record(t transaction) error {
	if err := s.journal.Append(t); err != nil {
		s.log.Error("simulator ledger", "err", err)
		return err
	}
	return s.apply(t)
}

// apply is the ledger's fold: the last state of a line counts.
func (s *Sim) apply(t transaction) error {
	if old := s.transactions[t.Reference]; old != nil {
		*old = t
		return nil
	}
	s.transactions[t.Reference] = &t
	s.order = append(s.order, &t)
	return nil
}

// errFunds means that the account does not hold enough.
var errFunds = errors.New("saldo insuficiente")

// add commits a new line: its ids are made here. s.mu is not held.
func (s *Sim) add(t transaction) (transaction, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now().UTC()
	if t.Payout && s.balance(now) < t.Amount {
		return t, errFunds
	}
	n := len(s.order)
	t.Reference, t.TransactionID, t.Created = s.name("reference", n), s.name("transaction", n), now
	if t.Payout {
		t.Due = now.Add(s.opts.SettleAfter)
	} else {
		t.Code = s.payee.Code(location(t.Reference), t.Amount)
	}
	return t, s.record(t)
}

// name is the n-th id of a kind: 32 hexadecimal digits.
func (s *Sim) name(kind string, n int) string {
	h := sha256.Sum256(fmt.Appendf(nil, "%s %d %d", kind, s.opts.Seed, n))
	return hex.EncodeToString(h[:16])
}

// balance is what was paid, less what left or is on its way. s.mu is held.
func (s *Sim) balance(now time.Time) money.Amount {
	held := s.opts.Balance
	for _, t := range s.order {
		switch word := t.word(now); {
		case !t.Payout && word == paid:
			held += t.Amount
		case t.Payout && word != canceled:
			held -= t.Amount
		}
	}
	return held
}

// look returns a line and its status, and sends a charge's payer on the way when
// the terminal asks for the first time.
func (s *Sim) look(reference string) (transaction, string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.transactions[reference]
	if t == nil {
		return transaction{}, "", simkit.ErrNoCharge
	}
	now := time.Now().UTC()
	if !t.Seen && !t.Payout && t.Forced == "" && s.opts.PayAfter > 0 {
		seen := *t
		seen.Seen = true
		if simkit.Pays(s.opts.Seed, reference, s.opts.PayFraction) {
			seen.Due = now.Add(s.opts.PayAfter)
		}
		if err := s.record(seen); err != nil {
			return transaction{}, "", err
		}
	}
	return *t, t.word(now), nil
}
