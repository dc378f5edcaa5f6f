// Package bacensim simulates a bank with Banco Central's API Pix, version 2, the
// receiving part: token, PUT, GET and PATCH of /cob/{txid}, GET /pix and
// /pix/{e2eid}; with Modes.Refunds also PUT and GET of
// /pix/{e2eid}/devolucao/{id}. It is an [net/http.Handler], so it runs on a socket
// (`ssg-agent sim --provider bacen`), inside the demo, and in memory under
// testing/synctest. It shares no code with the adapter.
//
// # Ledger and payers
//
// The simulator keeps its own ledger of charges and received Pix, durably when
// it has a directory; an agent's sums are checked against it. A simulated payer
// pays a charge PayAfter after the terminal first asked for it, if its code
// still can be paid then. When a payment falls due is written down at once, so
// that it happens whether or not the simulator runs at that moment.
//
// A static code is known to no bank before it is paid. [Sim.PayCode] is the app
// of a payer who scans a code: it reads static and dynamic ones by itself, pays
// what they say, and pays a static one as often as it is asked. [Sim.Receive] is
// money of any amount for any txid, such as a second payment or a wrong one.
//
// # Control
//
//	GET  /sim/state    counts and sums
//	GET  /sim/pix      all received Pix
//	POST /sim/pix      {"code": "…"} pays a code; {"txid": "…", "valor": "1.00"} sends
//	                   money under a txid
//	GET  /sim/refunds  all refunds
//	POST /sim/tokens/revoke  every token issued so far is refused from now on
//
// and those of package simkit.
//
// # Faults
//
// Those of package simkit on the routes token, create, status, cancel, pix and
// refund, and its Word, Echo and Code; "not_done" lets a refund fail; "drift" moves
// rows from page to page of the list of received Pix, as if one were put in between
// two pages, and "skip" misses some at the turn of pages, as if one were gone.
package bacensim

import (
	"cmp"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/ssg-safe/agent/money"
	"github.com/ssg-safe/agent/providers"
	"github.com/ssg-safe/agent/providers/simkit"
	"github.com/ssg-safe/agent/redact"
)

// The simulator's routes, as fault rules and the request log name them.
const (
	RouteToken  = "token"
	RouteCreate = "create"
	RouteStatus = "status"
	RouteCancel = "cancel"
	RoutePix    = "pix"
	RouteRefund = "refund"
)

// Vocabulary is what the rules of a fault script can say.
func Vocabulary() simkit.Vocabulary {
	return simkit.Vocabulary{
		Routes: []string{RouteToken, RouteCreate, RouteStatus, RouteCancel, RoutePix, RouteRefund},
		Faults: []string{simkit.Word, simkit.Echo, simkit.Code, NotDone, Drift, Skip},
	}
}

// Faults of the list of received Pix.
const (
	Drift = "drift"
	Skip  = "skip"
)

// What a simulator accepts and calls itself unless told otherwise.
const (
	DefaultClientID     = "sim-client"
	DefaultClientSecret = "sim-secret-not-a-credential"
	DefaultLocationHost = "pix.bank.example"
)

// Modes are the ways in which banks differ from the standard's letter.
type Modes struct {
	// NoCode leaves out pixCopiaECola, which is optional since 2.6.0.
	NoCode bool
	// RefuseAgain refuses a PUT for a txid that exists, even one that says the
	// same.
	RefuseAgain bool
	// IgnoreTxID lists all received Pix, whatever txid is asked for.
	IgnoreTxID bool
	// Refunds lets the client ask for the scope pix.write, and give money back. A
	// terminal's client has no business with it.
	Refunds bool
}

// Options set up a simulator. The zero value is a simulator in memory that pays
// nothing by itself.
type Options struct {
	// Dir keeps the ledger; empty: in memory.
	Dir string
	// Seed makes ids, payers and faults repeatable.
	Seed uint64
	// PayAfter is when the payer pays, counted from the first question for a
	// charge; zero: never. PayFraction is the share of charges that are paid;
	// zero: all of them.
	PayAfter    time.Duration
	PayFraction float64
	// RefundAfter is when a refund is done, counted from its making.
	RefundAfter time.Duration
	// ClientID and ClientSecret: empty means the defaults.
	ClientID     string
	ClientSecret redact.Secret
	// TokenLife is how long a token holds; zero: one hour.
	TokenLife time.Duration
	// LocationHost, PayeeName and PayeeCity go into the codes; empty: defaults.
	LocationHost, PayeeName, PayeeCity string
	// Certificates demands a client certificate with every request and binds
	// tokens to it (RFC 8705). The server in front decides whom it trusts.
	Certificates bool
	Modes        Modes
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

	mu      sync.Mutex // guards the ledger below and spans its writes
	journal *simkit.Journal
	tokens  map[string]token // by the token's SHA-256
	issued  uint64
	charges map[string]*charge
	order   []*charge
	pix     []Pix // received; what falls due later is in charges
	refunds []Refund
}

// token is what is known of an access token.
type token struct {
	end         time.Time
	certificate string // SHA-256 of the certificate it is bound to
	refunds     bool   // has the scope pix.write
}

// charge is a cob. Nothing about the debtor is kept.
type charge struct {
	txid     string
	request  string // digest of what was asked for
	amount   money.Amount
	key      string
	created  time.Time
	expiry   time.Duration
	path     string // of the location
	seen     bool   // the terminal has asked for it
	due      time.Time
	removed  bool
	revision int
}

// Pix is money that was received.
type Pix struct {
	EndToEnd string       `json:"endToEndId"`
	TxID     string       `json:"txid"`
	Amount   money.Amount `json:"centavos"`
	At       time.Time    `json:"horario"`
}

// ErrUnpayable means that a payer's app would refuse the code.
var ErrUnpayable = errors.New("this code cannot be paid")

func (c *charge) end() time.Time { return c.created.Add(c.expiry) }

// record is a line of the journal.
type record struct {
	Op      string        `json:"op"`
	At      time.Time     `json:"at"`
	TxID    string        `json:"txid,omitempty"`
	Request string        `json:"request,omitempty"`
	Amount  money.Amount  `json:"amount,omitempty"`
	Key     string        `json:"key,omitempty"`
	Expiry  time.Duration `json:"expiry_ns,omitempty"`
	Path    string        `json:"path,omitempty"`
	Due     time.Time     `json:"due,omitzero"`
	E2E     string        `json:"e2e,omitempty"`
	Token   string        `json:"token,omitempty"`
	Bound   string        `json:"bound,omitempty"`
	Refunds bool          `json:"refunds,omitempty"`
	Fails   bool          `json:"fails,omitempty"`
}

// New opens the ledger and returns a simulator; it runs nothing in the
// background. Close it.
func New(o Options) (*Sim, error) {
	o.ClientID, o.ClientSecret = cmp.Or(o.ClientID, DefaultClientID), cmp.Or(o.ClientSecret, DefaultClientSecret)
	o.LocationHost = cmp.Or(o.LocationHost, DefaultLocationHost)
	o.PayeeName, o.PayeeCity = cmp.Or(o.PayeeName, "LOJA SIMULADA LTDA"), cmp.Or(o.PayeeCity, "SAO PAULO")
	o.TokenLife = cmp.Or(o.TokenLife, time.Hour)
	o.Logger = cmp.Or(o.Logger, slog.New(slog.DiscardHandler))
	var err error
	if o.PayFraction, err = simkit.Share(o.PayFraction); err != nil {
		return nil, err
	}
	s := &Sim{
		opts: o, payee: simkit.Payee{Host: o.LocationHost, Name: o.PayeeName, City: o.PayeeCity}, log: o.Logger,
		tokens: map[string]token{}, charges: map[string]*charge{},
	}
	if s.Kit, err = simkit.NewKit(o.Seed, Vocabulary(), refusal, o.Faults...); err != nil {
		return nil, err
	}
	if s.journal, err = simkit.OpenJournal(o.Dir, "bacen-ledger.jsonl", s.apply); err != nil {
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

// Charges returns the charges, oldest first, as of now.
func (s *Sim) Charges() []simkit.Charge {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	all := make([]simkit.Charge, 0, len(s.order))
	for _, c := range s.order {
		line := simkit.Charge{
			ID: c.txid, Amount: c.amount, Status: providers.StatusPending, Code: s.payee.Code(c.path, c.amount),
			Created: c.created, Expires: c.end(),
		}
		received := s.received(now, c.txid)
		switch {
		case len(received) > 0:
			line.Status, line.Paid = providers.StatusPaid, received[0].At
		case c.removed:
			line.Status = providers.StatusCancelled
		case !now.Before(c.end()):
			line.Status = providers.StatusExpired
		}
		all = append(all, line)
	}
	return all
}

// Received returns all received Pix, in order of time, as of now.
func (s *Sim) Received() []Pix {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.received(time.Now(), "")
}

// received lists the Pix of a txid ("": of all) up to a moment. s.mu is held.
func (s *Sim) received(now time.Time, txid string) []Pix {
	var all []Pix
	for _, p := range s.pix {
		if txid == "" || p.TxID == txid {
			all = append(all, p)
		}
	}
	for _, c := range s.order {
		if (txid == "" || c.txid == txid) && !c.due.IsZero() && !now.Before(c.due) {
			all = append(all, Pix{EndToEnd: s.endToEnd(c.due, "due "+c.txid), TxID: c.txid, Amount: c.amount, At: c.due})
		}
	}
	slices.SortStableFunc(all, func(a, b Pix) int { return a.At.Compare(b.At) })
	return all
}

// endToEnd is an end-to-end id: E, ISPB, minute in UTC, eleven characters.
func (s *Sim) endToEnd(at time.Time, what string) string {
	h := sha256.Sum256(fmt.Appendf(nil, "e2e %d %s", s.opts.Seed, what))
	return "E00000000" + at.UTC().Format("200601021504") + hex.EncodeToString(h[:])[:11]
}

// Pay pays a charge now, also one that has expired or was removed: late money.
func (s *Sim) Pay(id string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.charges[id]
	switch {
	case c == nil:
		return simkit.ErrNoCharge
	case len(s.received(time.Now(), id)) > 0:
		return errors.New("the charge is paid")
	}
	return s.receive(c.txid, c.amount)
}

// Expire lets a charge expire now, as if it had been made earlier; one that is
// paid stays paid, with an error.
func (s *Sim) Expire(id string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.charges[id] == nil:
		return simkit.ErrNoCharge
	case len(s.received(time.Now(), id)) > 0:
		return errors.New("the charge is paid")
	}
	return s.record(record{Op: "expired", TxID: id})
}

// Receive receives money under a txid, of a charge or of a static code.
func (s *Sim) Receive(txid string, amount money.Amount) error {
	if amount <= 0 || !staticID.MatchString(txid) {
		return fmt.Errorf("%w: want an amount, and a txid of up to 35 letters and digits", ErrUnpayable)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.receive(txid, amount)
}

// receive is Receive with s.mu held.
func (s *Sim) receive(txid string, amount money.Amount) error {
	at := time.Now().UTC().Truncate(time.Millisecond)
	return s.record(record{Op: "pix", TxID: txid, Amount: amount, E2E: s.endToEnd(at, fmt.Sprint(len(s.pix), txid))})
}

// PayCode pays a code as a payer's app does. A code that an app would refuse, a
// charge that cannot be paid any more among them, is [ErrUnpayable].
func (s *Sim) PayCode(code string) error {
	scanned, err := scan(code)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if scanned.location == "" {
		return s.receive(scanned.txid, scanned.amount)
	}
	now := time.Now()
	for _, c := range s.order {
		if s.payee.Host+c.path != scanned.location {
			continue
		}
		if c.removed || !now.Before(c.end()) || len(s.received(now, c.txid)) > 0 {
			return fmt.Errorf("%w: the charge is over", ErrUnpayable)
		}
		return s.receive(c.txid, c.amount)
	}
	return fmt.Errorf("%w: nothing at its location", ErrUnpayable)
}

// PayOnce is [Sim.PayCode] by a payer who remembers: a static code whose money has
// arrived is not paid again.
func (s *Sim) PayOnce(code string) error {
	scanned, err := scan(code)
	if err != nil {
		return err
	}
	for _, p := range s.Received() {
		if scanned.location == "" && p.TxID == scanned.txid {
			return nil
		}
	}
	return s.PayCode(code)
}

// RevokeTokens makes every token issued so far invalid.
func (s *Sim) RevokeTokens() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.record(record{Op: "revoke"})
}

// record writes a line down and applies it. s.mu is held.
func (s *Sim) record(r record) error {
	r.At = time.Now().UTC().Truncate(time.Millisecond)
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
		s.tokens[r.Token] = token{r.Due, r.Bound, r.Refunds}
		return nil
	case "revoke":
		clear(s.tokens)
		return nil
	case "pix":
		s.pix = append(s.pix, Pix{EndToEnd: r.E2E, TxID: r.TxID, Amount: r.Amount, At: r.At})
		return nil
	case "refund":
		s.refunds = append(s.refunds, Refund{ID: r.TxID, EndToEnd: r.E2E, Amount: r.Amount, At: r.At, Due: r.Due, Fails: r.Fails})
		return nil
	case "cob":
		if s.charges[r.TxID] != nil {
			return fmt.Errorf("charge %s twice", r.TxID)
		}
		c := &charge{txid: r.TxID, request: r.Request, amount: r.Amount, key: r.Key, created: r.At, expiry: r.Expiry, path: r.Path}
		s.charges[r.TxID] = c
		s.order = append(s.order, c)
		return nil
	}
	c := s.charges[r.TxID]
	if c == nil {
		return fmt.Errorf("%s of unknown charge %q", r.Op, r.TxID)
	}
	switch r.Op {
	case "seen":
		c.seen, c.due = true, r.Due
	case "removed":
		c.removed, c.due = true, time.Time{}
		c.revision++
	case "expired":
		c.created, c.due = r.At.Add(-c.expiry-time.Hour), time.Time{}
	default:
		return fmt.Errorf("unknown record %q", r.Op)
	}
	return nil
}

// look sends the payer of a charge on the way when the terminal asks for it for
// the first time. s.mu is held.
func (s *Sim) look(c *charge) error {
	if c.seen || c.removed || s.opts.PayAfter <= 0 {
		return nil
	}
	r := record{Op: "seen", TxID: c.txid}
	due := time.Now().UTC().Add(s.opts.PayAfter).Truncate(time.Millisecond)
	if due.Before(c.end()) && simkit.Pays(s.opts.Seed, c.txid, s.opts.PayFraction) {
		r.Due = due
	}
	return s.record(r)
}

// newToken issues a token, bound to a certificate ("": none), with the scope that
// gives money back or without.
func (s *Sim) newToken(certificate string, refunds bool) (string, time.Duration, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := sha256.Sum256(fmt.Appendf(nil, "token %d %d", s.opts.Seed, s.issued))
	value := "sim-" + hex.EncodeToString(h[:])
	err := s.record(record{Op: "token", Token: digest(value), Due: time.Now().UTC().Add(s.opts.TokenLife), Bound: certificate, Refunds: refunds})
	return value, s.opts.TokenLife, err
}

// authorised reports whether a token holds with a certificate, and whether it may give
// money back.
func (s *Sim) authorised(value, certificate string) (ok, refunds bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t, ok := s.tokens[digest(value)]
	return ok && time.Now().Before(t.end) && t.certificate == certificate, t.refunds
}

func (s *Sim) knows(id, secret string) bool {
	return subtle.ConstantTimeCompare([]byte(id), []byte(s.opts.ClientID)) == 1 &&
		subtle.ConstantTimeCompare([]byte(secret), []byte(s.opts.ClientSecret.Reveal())) == 1
}

func digest(text string) string {
	h := sha256.Sum256([]byte(text))
	return hex.EncodeToString(h[:])
}
