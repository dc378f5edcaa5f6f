// Package ssgsim simulates the SSG PIX middleware (legacy API), as its document
// describes it: a token endpoint, generate-qrcode, qrcode/status and the PATCH
// that marks a charge paid. It is an [net/http.Handler], so it runs on a socket
// (`ssg-agent sim`), inside the demo, and in memory under testing/synctest.
//
// It is as careless as the document: the amount is checked by an unanchored
// expression with an unescaped dot (Options.Strict tightens it), every field is
// required, errors carry 64-bit codes, a request that does not accept JSON gets
// a web page, and PATCH is honoured for any token. Its codes are real dynamic
// BR Codes.
//
// # Ledger and payers
//
// The simulator keeps its own ledger, durably when it has a directory, and its
// charges are the truth that an agent's sums are checked against. A simulated
// payer pays a charge PayAfter after the terminal first asked for its status:
// by then the terminal knows the charge and shows its code, whereas a code that
// got lost on the way can be seen, and paid, by nobody. When a payment falls
// due is written down at once, so that it happens whether or not the simulator
// runs at that moment, as at a real bank.
//
// # Control
//
// The routes of [simkit.Kit.Control], and
//
//	GET  /sim/state          counts and sums
//	POST /sim/tokens/revoke  every token issued so far is refused from now on
//
// # Faults
//
// Those of package simkit on the routes token, create, status and patch, and
// its Word, Echo and Code, the latter with one of
// [simkit.CodeFaults].
package ssgsim

import (
	"cmp"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
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
	RouteToken  = "token"
	RouteCreate = "create"
	RouteStatus = "status"
	RoutePatch  = "patch"
)

// Vocabulary is what the rules of a fault script can say.
func Vocabulary() simkit.Vocabulary {
	return simkit.Vocabulary{
		Routes: []string{RouteToken, RouteCreate, RouteStatus, RoutePatch},
		Faults: []string{simkit.Word, simkit.Echo, simkit.Code},
	}
}

// The credentials that a simulator accepts unless told otherwise.
const (
	DefaultClientID     = "sim-client"
	DefaultClientSecret = "sim-secret-not-a-credential"
	// DefaultAccount is an account id that will do; any UUID does.
	DefaultAccount = "06919b2b-4274-457a-84b0-4cf4de1405fb"
	// DefaultLocationHost is the host in the location of dynamic codes.
	DefaultLocationHost = "pix.ssg.example"
)

// Options set up a simulator. The zero value is a simulator in memory that
// pays nothing by itself.
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
	// ClientID and ClientSecret: empty means the defaults.
	ClientID     string
	ClientSecret redact.Secret
	// TokenLife is how long a token holds; zero: one year.
	TokenLife time.Duration
	// LocationHost, PayeeName and PayeeCity go into the codes; empty: defaults.
	LocationHost, PayeeName, PayeeCity string
	// Strict anchors the amount's expression.
	Strict bool
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
	zone  *time.Location
	mux   *http.ServeMux
	log   *slog.Logger

	mu      sync.Mutex // guards the ledger below and spans its writes
	journal *simkit.Journal
	tokens  map[string]time.Time // SHA-256 of the token, to its end
	issued  uint64
	charges map[string]*charge
	order   []*charge
}

// charge is a line of the ledger. Nothing about the payer is kept.
type charge struct {
	ID      string
	Amount  money.Amount
	Account string
	Code    string
	Created time.Time
	Expires time.Time
	Seen    bool             // the terminal has asked for the status
	Forced  providers.Status // by a control route or PATCH
	Paid    time.Time        // when it was or will be paid; zero: never
}

// location is the path of a charge's location.
func location(id string) string { return "/qr/v2/" + id }

func (c *charge) status(now time.Time) providers.Status {
	switch {
	case c.Forced != "":
		return c.Forced
	case !c.Paid.IsZero() && c.Paid.Before(c.Expires) && !now.Before(c.Paid):
		return providers.StatusPaid
	case !now.Before(c.Expires):
		return providers.StatusExpired
	}
	return providers.StatusPending
}

// record is a line of the journal.
type record struct {
	Op      string           `json:"op"` // charge, seen, forced, token, revoke
	At      time.Time        `json:"at"`
	ID      string           `json:"id,omitempty"`
	Amount  money.Amount     `json:"amount,omitempty"`
	Account string           `json:"account,omitempty"`
	Code    string           `json:"code,omitempty"`
	Expires time.Time        `json:"expires,omitzero"`
	Paid    time.Time        `json:"paid,omitzero"`
	Status  providers.Status `json:"status,omitempty"`
	By      string           `json:"by,omitempty"` // control, patch
	Token   string           `json:"token,omitempty"`
}

// New opens the ledger and returns a simulator; it runs nothing in the
// background. Close it.
func New(o Options) (*Sim, error) {
	o.ClientID, o.ClientSecret = cmp.Or(o.ClientID, DefaultClientID), cmp.Or(o.ClientSecret, DefaultClientSecret)
	o.LocationHost = cmp.Or(o.LocationHost, DefaultLocationHost)
	o.PayeeName, o.PayeeCity = cmp.Or(o.PayeeName, "LOJA SIMULADA LTDA"), cmp.Or(o.PayeeCity, "SAO PAULO")
	o.TokenLife = cmp.Or(o.TokenLife, 365*24*time.Hour)
	o.Logger = cmp.Or(o.Logger, slog.New(slog.DiscardHandler))
	var err error
	if o.PayFraction, err = simkit.Share(o.PayFraction); err != nil {
		return nil, err
	}
	s := &Sim{
		opts: o, payee: simkit.Payee{Host: o.LocationHost, Name: o.PayeeName, City: o.PayeeCity}, zone: zone.SaoPaulo(), log: o.Logger,
		tokens: map[string]time.Time{}, charges: map[string]*charge{},
	}
	if s.Kit, err = simkit.NewKit(o.Seed, Vocabulary(), refusal, o.Faults...); err != nil {
		return nil, err
	}
	if s.journal, err = simkit.OpenJournal(o.Dir, "ssg-ledger.jsonl", s.apply); err != nil {
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

// Charges returns the ledger, oldest first, as of now.
func (s *Sim) Charges() []simkit.Charge {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	all := make([]simkit.Charge, 0, len(s.order))
	for _, c := range s.order {
		line := simkit.Charge{
			ID: c.ID, Amount: c.Amount, Account: c.Account, Status: c.status(now), Code: c.Code,
			Created: c.Created, Expires: c.Expires,
		}
		if line.Status == providers.StatusPaid {
			line.Paid = c.Paid
		}
		all = append(all, line)
	}
	return all
}

// Pay pays a charge now, also one that has expired.
func (s *Sim) Pay(id string) error { return s.force(id, providers.StatusPaid, "control") }

// Expire expires a charge now; one that is paid stays paid, with an error.
func (s *Sim) Expire(id string) error { return s.force(id, providers.StatusExpired, "control") }

// RevokeTokens makes every token issued so far invalid.
func (s *Sim) RevokeTokens() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.record(record{Op: "revoke"})
}

func (s *Sim) force(id string, to providers.Status, by string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.charges[id]
	switch {
	case c == nil:
		return simkit.ErrNoCharge
	case by == "control" && to == providers.StatusExpired && c.status(time.Now()) == providers.StatusPaid:
		return errors.New("the charge is paid")
	}
	return s.record(record{Op: "forced", ID: id, Status: to, By: by})
}

// record writes a line down and applies it. s.mu is held.
func (s *Sim) record(r record) error {
	r.At = time.Now().UTC()
	if r.Op == "forced" && r.Status == providers.StatusPaid {
		r.Paid = r.At
	}
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
		return nil
	case "revoke":
		clear(s.tokens)
		return nil
	case "charge":
		if s.charges[r.ID] != nil {
			return fmt.Errorf("charge %s twice", r.ID)
		}
		c := &charge{ID: r.ID, Amount: r.Amount, Account: r.Account, Code: r.Code, Created: r.At, Expires: r.Expires}
		s.charges[r.ID] = c
		s.order = append(s.order, c)
		return nil
	}
	c := s.charges[r.ID]
	if c == nil {
		return fmt.Errorf("%s of unknown charge %q", r.Op, r.ID)
	}
	switch r.Op {
	case "seen":
		c.Seen, c.Paid = true, r.Paid
	case "forced":
		if c.Forced, c.Paid = r.Status, r.Paid; c.Forced == providers.StatusPending {
			c.Forced = "" // pending again: the clock decides
		}
	default:
		return fmt.Errorf("unknown record %q", r.Op)
	}
	return nil
}

// newCharge commits a charge. s.mu is not held.
func (s *Sim) newCharge(amount money.Amount, account string, expires time.Time) (*charge, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	rng := rand.New(rand.NewPCG(s.opts.Seed, uint64(len(s.order))+1))
	id := uuid(rng)
	code := s.payee.Code(location(id), amount)
	if err := s.record(record{Op: "charge", ID: id, Amount: amount, Account: account, Code: code, Expires: expires.UTC()}); err != nil {
		return nil, err
	}
	return s.charges[id], nil
}

// look returns the status of a charge, and sends its payer on the way when the
// terminal asks for the first time.
func (s *Sim) look(id string) (providers.Status, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.charges[id]
	if c == nil {
		return "", simkit.ErrNoCharge
	}
	now := time.Now()
	if !c.Seen && c.Forced == "" && s.opts.PayAfter > 0 {
		r := record{Op: "seen", ID: id}
		if simkit.Pays(s.opts.Seed, id, s.opts.PayFraction) {
			r.Paid = now.UTC().Add(s.opts.PayAfter)
		}
		if err := s.record(r); err != nil {
			return "", err
		}
	}
	return c.status(now), nil
}

// newToken issues a token and returns it with its life.
func (s *Sim) newToken() (string, time.Duration, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := sha256.Sum256(fmt.Appendf(nil, "token %d %d", s.opts.Seed, s.issued))
	token := "sim-" + hex.EncodeToString(h[:])
	err := s.record(record{Op: "token", Token: digest(token), Expires: time.Now().UTC().Add(s.opts.TokenLife)})
	return token, s.opts.TokenLife, err
}

func (s *Sim) authorised(r *http.Request) bool {
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	end, ok := s.tokens[digest(token)]
	return ok && time.Now().Before(end)
}

func (s *Sim) knows(id, secret string) bool {
	return subtle.ConstantTimeCompare([]byte(id), []byte(s.opts.ClientID)) == 1 &&
		subtle.ConstantTimeCompare([]byte(secret), []byte(s.opts.ClientSecret.Reveal())) == 1
}

func digest(token string) string {
	h := sha256.Sum256([]byte(token))
	return hex.EncodeToString(h[:])
}

func uuid(rng *rand.Rand) string {
	b := fmt.Appendf(nil, "%016x%016x", rng.Uint64(), rng.Uint64())
	b[12], b[16] = '4', '8'
	return string(slices.Concat(b[:8], []byte("-"), b[8:12], []byte("-"), b[12:16], []byte("-"), b[16:20], []byte("-"), b[20:]))
}
