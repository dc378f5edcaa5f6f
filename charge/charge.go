// Package charge is the life of one charge: which facts may be recorded about
// it, and what follows from them. It is pure: no clock, no disk, no network.
//
// A charge's state is never stored as such; it is folded from recorded facts
// ([Charge.Apply]), which are the bodies of ledger entries. What a provider
// says becomes facts through [Charge.Observe] and [Charge.Answer], which hold
// all rules about matching, lateness and doubles.
//
// # States
//
//	fact \ state      created     pending     expired|cancelled|failed  paid                 partially_refunded|refunded
//	attempt facts     created     –           –                         –                    –
//	attempt accepted  pending     –           keeps (late answer)       keeps                keeps
//	released          –           keeps       –                         –                    –
//	paid              paid        paid        paid, late                –                    –
//	extra payment     –           –           –                         paid                 keeps
//	mismatch          keeps       keeps       keeps                     keeps                keeps
//	expired           expired     expired     –                         –                    –
//	cancelled         cancelled   cancelled   –                         –                    –
//	failed            failed      –           –                         –                    –
//	refunded          –           –           –                         partially_refunded|  partially_refunded|
//	                                                                    refunded             refunded
//	refunded, of an   keeps       keeps       keeps                     keeps                keeps
//	extra or mismatch
//
// "–" is refused with a [*TransitionError]. Ranks never fall: created <
// pending < expired = cancelled = failed < paid < partially_refunded <
// refunded. Late money (expired, cancelled or failed, then paid) is legal and
// flagged; it is never dropped and never belongs to another payer's session. A
// second payment is a fact of its own, kept for refund. Money that does not
// match the charge's amount or account is a mismatch: recorded, put into
// suspense, and no reason to call the charge paid.
//
// # Attempts
//
// A charge is created at a provider by attempts, numbered from 1:
// sending → accepted | rejected | uncertain → orphaned. "sending" is recorded
// before the socket is written. An uncertain attempt that cannot be looked up
// is orphaned; its code was never shown, and if money arrives through it all
// the same it is credited to the same charge.
//
// While the provider cannot be reached an attempt may be static: the terminal's
// own code, whose txid is the charge's id. It is accepted as it is recorded, has
// no end, and can be paid again and again; its payments are found by that txid
// ([Charge.FromPayment]). Released says that something left for it before that.
package charge

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/ssg-safe/agent/ledger"
	"github.com/ssg-safe/agent/money"
)

// ID is a charge's identity: 25 upper-case characters, made before any network
// is touched, and the txid of the charge's static code (pix.TxIDs).
type ID string

// State is what a charge's facts amount to.
type State string

// The states, in the words of the package comment's table.
const (
	Created           State = "created"
	Pending           State = "pending"
	Expired           State = "expired"
	Cancelled         State = "cancelled"
	Failed            State = "failed"
	Paid              State = "paid"
	PartiallyRefunded State = "partially_refunded"
	Refunded          State = "refunded"
)

// Rank orders states; no fact lowers a charge's rank.
func (s State) Rank() int {
	switch s {
	case Created:
		return 1
	case Pending:
		return 2
	case Expired, Cancelled, Failed:
		return 3
	case Paid:
		return 4
	case PartiallyRefunded:
		return 5
	case Refunded:
		return 6
	}
	return 0
}

// Open reports whether the charge still waits for its payer.
func (s State) Open() bool { return s == Created || s == Pending }

// unpaid reports whether the charge ended without money.
func (s State) unpaid() bool { return s == Expired || s == Cancelled || s == Failed }

// AttemptState is where one create attempt stands.
type AttemptState string

// States of an attempt.
const (
	Sending   AttemptState = "sending"
	Accepted  AttemptState = "accepted"
	Rejected  AttemptState = "rejected"
	Uncertain AttemptState = "uncertain"
	Orphaned  AttemptState = "orphaned"
)

// Attempt is one create request.
type Attempt struct {
	N          int          `json:"n"`
	State      AttemptState `json:"state"`
	ProviderID string       `json:"provider_id,omitempty"`
	// Route and Account say where it was made; no route: where the charge began
	// ([Charge.At]).
	Route   string `json:"route,omitempty"`
	Account string `json:"account,omitempty"`
	// Reason is the provider error's kind, for rejected and uncertain attempts.
	Reason string `json:"reason,omitempty"`
	// Static says that its code was made here, At when, by the wall clock.
	Static bool      `json:"static,omitempty"`
	At     time.Time `json:"at,omitzero"`
}

// Payment is money that was recorded for a charge.
type Payment struct {
	Evidence Evidence     `json:"evidence"`
	Amount   money.Amount `json:"amount"`
	// Extra marks a second payment, Mismatch one that fits neither amount nor account.
	Extra    bool `json:"extra,omitempty"`
	Mismatch bool `json:"mismatch,omitempty"`
	// Booked: the money is another charge's ([MismatchFact]).
	Booked bool `json:"booked,omitempty"`
	// Refunded is what went back of it, and Unnamed the part of that which no named
	// refund accounts for.
	Refunded money.Amount `json:"refunded,omitempty"`
	Unnamed  money.Amount `json:"unnamed,omitempty"`
}

// Charge is a charge folded from its facts. It is a value: [Charge.Apply]
// returns a new one. Its JSON form is the snapshot kept while a charge is
// open, so field names are never changed.
type Charge struct {
	ID        ID           `json:"id"`
	Merchant  string       `json:"merchant"`
	Route     string       `json:"route"`   // configured provider name, of the first attempt
	Account   string       `json:"account"` // merchant's account there
	Amount    money.Amount `json:"amount"`
	Expiry    int          `json:"expiry_s"` // seconds from the sending of an attempt
	Source    string       `json:"source"`
	Reference string       `json:"reference,omitempty"`
	Present   bool         `json:"present"` // shown on the kiosk's screen and printed
	State     State        `json:"state"`
	Attempts  []Attempt    `json:"attempts,omitempty"`
	Payments  []Payment    `json:"payments,omitempty"`
	Late      bool         `json:"late,omitempty"`
	Reason    string       `json:"reason,omitempty"` // why failed
	// RefundedSum is what went back of the payment that settled it; Refunds are those
	// of all its payments.
	RefundedSum money.Amount `json:"refunded,omitempty"`
	Refunds     []Refund     `json:"refunds,omitempty"`
	// Released: something left for it before its payment was found.
	Released bool `json:"released,omitempty"`
	// NeverShown: it ended before it had a code that anybody was shown, which
	// money that comes for it all the same does not change.
	NeverShown bool `json:"never_shown,omitempty"`
}

// ExpiryDuration is how long the code may be paid.
func (c Charge) ExpiryDuration() time.Duration { return time.Duration(c.Expiry) * time.Second }

// Last returns the newest attempt; false before the first.
func (c Charge) Last() (Attempt, bool) {
	if len(c.Attempts) == 0 {
		return Attempt{}, false
	}
	return c.Attempts[len(c.Attempts)-1], true
}

// At says where attempt n was made: the configured provider and the merchant's
// account there. For an attempt that does not exist it is where the charge began.
func (c Charge) At(n int) (route, account string) {
	if a := c.attempt(n); a != nil && a.Route != "" {
		return a.Route, a.Account
	}
	return c.Route, c.Account
}

// By is the charge as one provider knows it: its attempts there, and the payments
// that came through them.
func (c Charge) By(provider string) Charge {
	own := c
	own.Attempts, own.Payments = nil, nil
	for _, a := range c.Attempts {
		if by, _ := c.At(a.N); by == provider {
			own.Attempts = append(own.Attempts, a)
		}
	}
	for _, p := range c.Payments {
		if p.Evidence.Route == provider {
			own.Payments = append(own.Payments, p)
		}
	}
	return own
}

// Through is where the charge is, in the end: the route and account of the attempt
// that was paid, else of the one whose code the payer sees, else of the newest.
func (c Charge) Through() (route, account string) {
	last, _ := c.Last()
	n := last.N
	if a, ok := c.Accepted(); ok {
		n = a.N
	}
	if p, ok := c.Settling(); ok {
		n = p.Evidence.Attempt
	}
	return c.At(n)
}

// Accepted returns the attempt whose code the payer sees; false while none
// was accepted.
func (c Charge) Accepted() (Attempt, bool) {
	for _, a := range slices.Backward(c.Attempts) {
		if a.State == Accepted {
			return a, true
		}
	}
	return Attempt{}, false
}

// Static returns the attempt whose code was made here, if the payer sees that
// one.
func (c Charge) Static() (Attempt, bool) {
	a, ok := c.Accepted()
	return a, ok && a.Static
}

// Settling returns the payment that made the charge paid; false before that.
func (c Charge) Settling() (Payment, bool) {
	for _, p := range c.Payments {
		if !p.Extra && !p.Mismatch {
			return p, true
		}
	}
	return Payment{}, false
}

// TransitionError says that a fact is not allowed in a charge's state. It
// marks a bug or a damaged ledger, never a payer's doing.
type TransitionError struct {
	Charge ID
	State  State
	Fact   string
	Why    string
}

// Error names the charge, its state and the refused fact.
func (e *TransitionError) Error() string {
	s := fmt.Sprintf("charge %s: %s is not allowed while %s", e.Charge, e.Fact, e.State)
	if e.Why != "" {
		s += ": " + e.Why
	}
	return s
}

// Fold applies facts in order to the zero charge.
func Fold(facts []Fact) (Charge, error) {
	var c Charge
	for _, f := range facts {
		var err error
		if c, err = c.Apply(f); err != nil {
			return Charge{}, err
		}
	}
	return c, nil
}

// Apply returns the charge after one more fact, or a [*TransitionError]. The
// receiver is not changed.
func (c Charge) Apply(f Fact) (Charge, error) {
	next := c
	next.Attempts = slices.Clone(c.Attempts)
	next.Payments = slices.Clone(c.Payments)
	next.Refunds = slices.Clone(c.Refunds)
	if err := f.apply(&next); err != nil {
		return c, err
	}
	if next.State.Rank() < c.State.Rank() {
		return c, c.refuse(f, "its rank would fall")
	}
	return next, nil
}

func (c *Charge) refuse(f Fact, why string) error {
	return &TransitionError{Charge: c.ID, State: c.State, Fact: f.Kind(), Why: why}
}

func (c Charge) attempt(n int) *Attempt {
	for i := range c.Attempts {
		if c.Attempts[i].N == n {
			return &c.Attempts[i]
		}
	}
	return nil
}

// Merchant is who receives the money of a charge.
type Merchant struct {
	ID   string
	CNPJ string // 14 characters, digits or alphanumeric
	Name string
	City string
	// Key is the receiving PIX key, verbatim; Route and Account say at which
	// configured provider it is held. Others are the ways to the same beneficiary
	// besides, in order of preference: fail-over never leaves him.
	Key     string
	Route   string
	Account string
	Others  []Route
	// Header is printed above every slip.
	Header []string
	// Zone is where the merchant's business day begins and ends, and CutOff when,
	// counted from midnight.
	Zone   *time.Location
	CutOff time.Duration
}

// Route is a way to a merchant's money: a configured provider, the merchant's
// account there, and the receiving PIX key, verbatim.
type Route struct{ Provider, Account, Key string }

// Routes are the merchant's ways, in order of preference.
func (m Merchant) Routes() []Route {
	return append([]Route{{m.Route, m.Account, m.Key}}, m.Others...)
}

// Uses reports whether one of them is by a provider.
func (m Merchant) Uses(provider string) bool {
	return slices.ContainsFunc(m.Routes(), func(r Route) bool { return r.Provider == provider })
}

// Postings returns the double-entry lines of a fact; nil for facts that move
// no money. Positive amounts are debits. Gross money received is a debit of
// pix_clearing; it is a sale when it settles the charge in time, a customer's
// credit when it is late or a second payment (nothing was delivered for it),
// and suspense when it does not match. Money whose end-to-end id credits another
// charge is booked there. Money that went back leaves the account that it was booked to;
// a sale, the account of refunds.
func Postings(f Fact) []ledger.Posting {
	received := func(a money.Amount, credit ledger.Account) []ledger.Posting {
		return []ledger.Posting{{Account: ledger.PixClearing, Amount: a}, {Account: credit, Amount: -a}}
	}
	switch f := f.(type) {
	case PaidFact:
		if f.Late {
			return received(f.Amount, ledger.CustomerCredit)
		}
		return received(f.Amount, ledger.Sales)
	case ExtraPaymentFact:
		return received(f.Amount, ledger.CustomerCredit)
	case MismatchFact:
		if f.Amount <= 0 || f.Booked {
			return nil
		}
		return received(f.Amount, ledger.Suspense)
	case RefundedFact:
		if f.Amount == f.Booked {
			return nil
		}
		return []ledger.Posting{{Account: cmp.Or(f.Against, ledger.Refunds), Amount: f.Amount - f.Booked}, {Account: ledger.PixClearing, Amount: f.Booked - f.Amount}}
	}
	return nil
}
