// Package basspagosim simulates Bass Pago's Paycheckout, as its document and what is
// public of its create page describe it: create-paycheckout, obtain-paycheckout and
// the list of a key's checkouts, at whatever path they are below. It is an
// [net/http.Handler], so it runs on a socket (`ssg-agent sim`), inside the demo, and
// in memory under testing/synctest.
//
// A checkout has no code. Its externalId must be new for the key; its token reads it
// without any other credential; the list wants the Encrypted-Security-Code, tells
// neither amount nor date, counts all pages in X-Total-Count, gives at most 50 rows,
// ten unless asked, and ignores filters that it does not know. Errors are a message
// under HTTP 400. [Options] turn on what the sources leave open.
//
// # Ledger and payers
//
// The simulator keeps its own ledger, durably when it has a directory. Nothing of
// who owes is kept; who paid is an invented person. A simulated payer pays a checkout
// PayAfter after it was first asked for. When that falls due is written down at once.
//
// # Control
//
// The routes of [simkit.Kit.Control], where a charge's id is its externalId, and
//
//	POST /sim/shop          make a checkout as a shop does, {"amount":"12.34"} → its token
//	GET  /sim/webhooks      the doorbell as it is rung, for what is over by now
//	GET  /sim/deliveries    the attempts to ring it
//
// # Faults
//
// Those of package simkit on the routes create, status (by a token) and list, its
// Word and Echo, and
//
//	payment_null   an approved checkout says nothing about its payment
//	drift          rows move from page to page, as if one were made between two pages
//	skip           rows are missed at the turn of pages, as if one were gone
package basspagosim

import (
	"cmp"
	"crypto/sha256"
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
)

// The simulator's routes, as fault rules and the request log name them.
const (
	RouteCreate = "create"
	RouteStatus = "status"
	RouteList   = "list"
)

// Faults of its own.
const (
	PaymentNull = "payment_null"
	Drift       = "drift"
	Skip        = "skip"
)

// Vocabulary is what the rules of a fault script can say.
func Vocabulary() simkit.Vocabulary {
	return simkit.Vocabulary{
		Routes: []string{RouteCreate, RouteStatus, RouteList},
		Faults: []string{simkit.Word, simkit.Echo, PaymentNull, Drift, Skip},
		Forms:  []string{Doorbell}, Spoils: []string{UnknownEvent},
	}
}

// What a simulator accepts unless told otherwise.
const (
	DefaultKey    = "SimChavePublica0000000000000000x"
	DefaultSecret = "sim-secret-not-a-credential"
	// Path is where the provider's document has the interface, in production, too.
	Path = "/basspago-sandbox/api/public/payments/checkout"
)

// Signatures of the Encrypted-Security-Code.
const (
	HMAC     = "" // all 128 digits
	Trunc72  = "trunc72"
	Verbatim = "literal" // the secret itself
)

// Which filters the list knows besides status and lessThan; of others it takes no notice.
const (
	FrameworkFilters = ""         // greaterThanOrEqual, and externalId.equals
	DocumentFilters  = "document" // greatherThanOrEqual
	NoFilters        = "none"     // none of any kind
)

// Options set up a simulator. The zero value is a simulator in memory that pays
// nothing by itself.
type Options struct {
	// Dir keeps the ledger; empty: in memory.
	Dir string
	// Seed makes ids, payers and faults repeatable.
	Seed uint64
	// PayAfter is when the payer pays, counted from the first question; zero: never.
	PayAfter time.Duration
	// PayFraction is the share of checkouts that are paid; zero: all of them.
	PayFraction float64
	// Key is the public key, Secret what signs it; empty means the defaults.
	Key    string
	Secret redact.Secret
	// Signature and Filters are among the words above.
	Signature, Filters string
	// ErrorsUnder200 states errors under that HTTP status. BareToken answers a create
	// with the token as a text, instead of an object that has it.
	ErrorsUnder200, BareToken bool
	// Faults is the script at the start.
	Faults []simkit.Rule
	// Logger: nil discards.
	Logger *slog.Logger
}

// Sim is a simulator. It is safe for concurrent use.
type Sim struct {
	*simkit.Kit

	opts Options
	mux  *http.ServeMux
	log  *slog.Logger

	mu        sync.Mutex // guards the ledger below and spans its writes
	journal   *simkit.Journal
	checkouts map[string]*checkout // by externalId
	tokens    map[string]*checkout
	order     []*checkout
}

// checkout is a line of the ledger. Nothing about people is kept.
type checkout struct {
	Token       string       `json:"token"`
	Reference   string       `json:"reference"`
	ExternalID  string       `json:"external_id"`
	Product     string       `json:"product"`
	ProductName string       `json:"product_name"`
	Amount      money.Amount `json:"amount"`
	Created     time.Time    `json:"created"`
	Updated     time.Time    `json:"updated"`
	Seen        bool         `json:"seen,omitempty"`   // asked for
	Forced      string       `json:"forced,omitempty"` // status word set by a control route
	Due         time.Time    `json:"due,omitzero"`     // when it was or will be paid; zero: never
}

// The provider's status words.
const (
	pending  = "PENDING"
	approved = "APPROVED"
	rejected = "REJECTED"
)

var unified = map[string]providers.Status{
	pending: providers.StatusPending, approved: providers.StatusPaid, rejected: providers.StatusFailed,
}

// word is the status at a time.
func (k *checkout) word(now time.Time) string {
	switch {
	case k.Forced != "":
		return k.Forced
	case k.Due.IsZero() || now.Before(k.Due):
		return pending
	}
	return approved
}

// New opens the ledger and returns a simulator; it runs nothing in the background.
// Close it.
func New(o Options) (*Sim, error) {
	o.Key, o.Secret = cmp.Or(o.Key, DefaultKey), cmp.Or(o.Secret, DefaultSecret)
	o.Logger = cmp.Or(o.Logger, slog.New(slog.DiscardHandler))
	var err error
	if o.PayFraction, err = simkit.Share(o.PayFraction); err != nil {
		return nil, err
	}
	s := &Sim{opts: o, log: o.Logger, checkouts: map[string]*checkout{}, tokens: map[string]*checkout{}}
	if s.Kit, err = simkit.NewKit(o.Seed, Vocabulary(), s.refusal, o.Faults...); err != nil {
		return nil, err
	}
	if s.journal, err = simkit.OpenJournal(o.Dir, "basspago-ledger.jsonl", s.apply); err != nil {
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

// Charges returns the checkouts of the ledger, oldest first, as of now: their id is
// the externalId, their account the public key.
func (s *Sim) Charges() []simkit.Charge {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	all := []simkit.Charge{}
	for _, k := range s.order {
		line := simkit.Charge{
			ID: k.ExternalID, ExternalID: k.ExternalID, Account: s.opts.Key, Amount: k.Amount, Status: unified[k.word(now)], Created: k.Created,
		}
		if line.Status == providers.StatusPaid {
			line.Paid = k.Due
		}
		all = append(all, line)
	}
	return all
}

// Pay pays a checkout now, also one that was rejected.
func (s *Sim) Pay(id string) error { return s.force(id, approved) }

// Expire ends a checkout now, which is rejected here; one that is paid stays paid,
// with an error.
func (s *Sim) Expire(id string) error { return s.force(id, rejected) }

func (s *Sim) force(id, word string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.checkouts[id]
	now := time.Now().UTC()
	switch {
	case old == nil:
		return simkit.ErrNoCharge
	case word == rejected && old.word(now) == approved:
		return errors.New("the checkout is paid")
	}
	k := *old
	k.Updated = now
	if k.Forced = word; word == approved {
		k.Due = now
	}
	return s.record(k)
}

// Shop makes a checkout as a shop does, and returns its token.
func (s *Sim) Shop(amount money.Amount) (token redact.Secret, err error) {
	s.mu.Lock()
	n := len(s.order)
	s.mu.Unlock()
	id := fmt.Sprintf("LOJA-%s", name("shop", s.opts.Seed, n)[:12])
	k, err := s.add(checkout{ExternalID: id, Product: "P00001", ProductName: "Pedido da loja", Amount: amount})
	return redact.Secret(k.Token), err
}

// errKnown means that the key has a checkout with this externalId.
var errKnown = errors.New("the externalId is taken")

// add commits a new line: its ids are made here. s.mu is not held.
func (s *Sim) add(k checkout) (checkout, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.checkouts[k.ExternalID] != nil {
		return k, errKnown
	}
	n := len(s.order)
	k.Token, k.Reference = name("token", s.opts.Seed, n), "PCH"+name("reference", s.opts.Seed, n)[:8]
	k.Created = time.Now().UTC()
	k.Updated = k.Created
	return k, s.record(k)
}

// record writes a line down, as it is from now on, and applies it. s.mu is held.
func (s *Sim) record(k checkout) error {
	if err := s.journal.Append(k); err != nil {
		s.log.Error("simulator ledger", "err", err)
		return err
	}
	return s.apply(k)
}

// apply is the ledger's fold: the last state of a line counts.
func (s *Sim) apply(k checkout) error {
	if old := s.checkouts[k.ExternalID]; old != nil {
		*old = k
		return nil
	}
	s.checkouts[k.ExternalID], s.tokens[k.Token] = &k, &k
	s.order = append(s.order, &k)
	return nil
}

// look sends a checkout's payer on the way when it is asked for the first time. s.mu
// is held.
func (s *Sim) look(k *checkout) error {
	if k.Seen || k.Forced != "" || s.opts.PayAfter <= 0 {
		return nil
	}
	seen := *k
	seen.Seen = true
	if simkit.Pays(s.opts.Seed, k.ExternalID, s.opts.PayFraction) {
		seen.Due = time.Now().UTC().Add(s.opts.PayAfter)
	}
	return s.record(seen)
}

// name is the n-th id of a kind: 48 capital letters and digits.
func name(kind string, seed uint64, n int) string {
	const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ012345"
	a, b := sha256.Sum256(fmt.Appendf(nil, "%s %d %d", kind, seed, n)), sha256.Sum256(fmt.Appendf(nil, "%s %d %d+", kind, seed, n))
	text := make([]byte, 48)
	for i, x := range append(a[:], b[:16]...) {
		text[i] = letters[x%32]
	}
	return string(text)
}
