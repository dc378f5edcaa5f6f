package charge

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/ssg-safe/agent/money"
)

// Fact is something that happened to a charge and was recorded: the body of
// one ledger entry. The set is closed. Stored names and JSON fields never
// change; new fields are optional.
type Fact interface {
	// Kind is the ledger entry's kind.
	Kind() string
	// Subject is the charge it is about.
	Subject() ID
	// Op is the operation id under which the fact is recorded at most once. It
	// is the same however often the same thing is learnt.
	Op() string
	// Proof is the evidence the fact rests on; nil where none is needed. It is
	// stored beside the fact's data, in the entry's evidence field.
	Proof() *Evidence

	apply(c *Charge) error
}

// unproved is embedded by facts that rest on no evidence.
type unproved struct{}

func (unproved) Proof() *Evidence { return nil }

// CreatedFact is the first fact: somebody wants to be paid. Attempt 1 is
// recorded as sending with it, because the request follows at once.
type CreatedFact struct {
	unproved
	Charge    ID           `json:"charge"`
	Merchant  string       `json:"merchant"`
	Route     string       `json:"route"`
	Account   string       `json:"account"`
	Amount    money.Amount `json:"amount"`
	Expiry    int          `json:"expiry_s"`
	Source    string       `json:"source"`
	Reference string       `json:"reference,omitempty"`
	Present   bool         `json:"present"`
}

// Kind implements [Fact].
func (CreatedFact) Kind() string { return "charge.created" }

// Subject implements [Fact].
func (f CreatedFact) Subject() ID { return f.Charge }

// Op implements [Fact].
func (f CreatedFact) Op() string { return "charge/" + string(f.Charge) + "/created" }

func (f CreatedFact) apply(c *Charge) error {
	if c.State != "" {
		return c.refuse(f, "")
	}
	if f.Amount <= 0 {
		return c.refuse(f, "the amount is not positive")
	}
	*c = Charge{
		ID: f.Charge, Merchant: f.Merchant, Route: f.Route, Account: f.Account, Amount: f.Amount, Expiry: f.Expiry,
		Source: f.Source, Reference: f.Reference, Present: f.Present,
		State: Created, Attempts: []Attempt{{N: 1, State: Sending}},
	}
	return nil
}

// AttemptFact moves one create attempt.
type AttemptFact struct {
	unproved
	Charge ID           `json:"charge"`
	N      int          `json:"attempt"`
	State  AttemptState `json:"state"`
	// ProviderID is known for accepted and for codes that were refused.
	// CodeHash (keyed hash of the code, which itself is personal data) and
	// Digest (of the answer's bytes) belong to accepted.
	ProviderID string `json:"provider_id,omitempty"`
	CodeHash   string `json:"code_hash,omitempty"`
	Digest     string `json:"digest,omitempty"`
	// Callback is what reports about an orphan without a ProviderID are found by, where
	// its provider has such (providers.CallbackNamer).
	Callback string `json:"callback,omitempty"`
	// Reason is the error kind of rejected and uncertain.
	Reason string `json:"reason,omitempty"`
	// Route and Account say where a new attempt is made, see [Attempt].
	Route   string `json:"route,omitempty"`
	Account string `json:"account,omitempty"`
	// Static and At: see [Attempt]. Such an attempt begins as accepted.
	Static bool      `json:"static,omitempty"`
	At     time.Time `json:"at,omitzero"`
}

// Kind implements [Fact].
func (AttemptFact) Kind() string { return "charge.attempt" }

// Subject implements [Fact].
func (f AttemptFact) Subject() ID { return f.Charge }

// Op implements [Fact].
func (f AttemptFact) Op() string {
	return "charge/" + string(f.Charge) + "/attempt/" + strconv.Itoa(f.N) + "/" + string(f.State)
}

func (f AttemptFact) apply(c *Charge) error {
	if f.State == Sending || f.Static {
		last, _ := c.Last()
		if c.State != Created || f.N != last.N+1 {
			return c.refuse(f, "")
		}
		if last.State != Rejected && last.State != Orphaned {
			return c.refuse(f, fmt.Sprintf("attempt %d is still %s", last.N, last.State))
		}
		next := Attempt{N: f.N, State: Sending, Route: f.Route, Account: f.Account}
		if f.Static {
			if f.State != Accepted || f.ProviderID == "" || f.At.IsZero() {
				return c.refuse(f, "a static code has a txid and a time, and needs no answer")
			}
			next.State, next.ProviderID, next.Static, next.At = Accepted, f.ProviderID, true, f.At
			c.State = Pending
		}
		c.Attempts = append(c.Attempts, next)
		return nil
	}
	a := c.attempt(f.N)
	if a == nil {
		return c.refuse(f, fmt.Sprintf("there is no attempt %d", f.N))
	}
	allowed := a.State == Sending
	switch f.State {
	case Accepted:
		allowed = allowed || a.State == Uncertain || a.State == Orphaned
	case Rejected, Uncertain:
	case Orphaned:
		allowed = allowed || a.State == Uncertain
	default:
		allowed = false
	}
	if !allowed {
		return c.refuse(f, fmt.Sprintf("attempt %d is %s", a.N, a.State))
	}
	a.State, a.Reason = f.State, f.Reason
	if f.ProviderID != "" {
		a.ProviderID = f.ProviderID
	}
	if f.State == Accepted && c.State == Created {
		c.State = Pending
	}
	return nil
}

// ReleasedFact says that something left for a charge whose payment was not found
// yet. It moves no money.
type ReleasedFact struct {
	unproved
	Charge ID           `json:"charge"`
	Amount money.Amount `json:"amount"`
	// Count and Sum are what was out with it.
	Count int          `json:"count"`
	Sum   money.Amount `json:"sum"`
}

// Kind implements [Fact].
func (ReleasedFact) Kind() string { return "charge.released" }

// Subject implements [Fact].
func (f ReleasedFact) Subject() ID { return f.Charge }

// Op implements [Fact].
func (f ReleasedFact) Op() string { return "charge/" + string(f.Charge) + "/released" }

func (f ReleasedFact) apply(c *Charge) error {
	switch _, static := c.Static(); {
	case c.State != Pending || c.Released:
		return c.refuse(f, "")
	case !static:
		return c.refuse(f, "its provider can be asked")
	case f.Amount != c.Amount:
		return c.refuse(f, fmt.Sprintf("%d centavos are not the charge's %d", f.Amount, c.Amount))
	}
	c.Released = true
	return nil
}

// PaidFact says that the charge was paid.
type PaidFact struct {
	Charge   ID           `json:"charge"`
	Attempt  int          `json:"attempt"`
	Amount   money.Amount `json:"amount"`
	Evidence Evidence     `json:"-"`
	Late     bool         `json:"late,omitempty"`
}

// Kind implements [Fact].
func (PaidFact) Kind() string { return "charge.paid" }

// Subject implements [Fact].
func (f PaidFact) Subject() ID { return f.Charge }

// Op implements [Fact]: one end-to-end id credits one charge, once.
func (f PaidFact) Op() string { return paymentOp(f.Charge, f.Evidence) }

// Proof implements [Fact].
func (f PaidFact) Proof() *Evidence { return &f.Evidence }

func (f PaidFact) apply(c *Charge) error {
	switch {
	case c.State == "" || c.State.Rank() >= Paid.Rank():
		return c.refuse(f, "")
	case f.Amount != c.Amount:
		return c.refuse(f, fmt.Sprintf("%d centavos are not the charge's %d", f.Amount, c.Amount))
	case f.Late != c.State.unpaid():
		return c.refuse(f, "late does not say whether it ended unpaid before")
	}
	if err := f.Evidence.matches(*c); err != nil {
		return c.refuse(f, err.Error())
	}
	c.State, c.Late = Paid, f.Late
	c.Payments = append(c.Payments, Payment{Evidence: f.Evidence, Amount: f.Amount})
	return nil
}

// ExtraPaymentFact is a second payment of a charge that is paid already.
type ExtraPaymentFact struct {
	Charge   ID           `json:"charge"`
	Attempt  int          `json:"attempt"`
	Amount   money.Amount `json:"amount"`
	Evidence Evidence     `json:"-"`
}

// Kind implements [Fact].
func (ExtraPaymentFact) Kind() string { return "charge.payment_extra" }

// Subject implements [Fact].
func (f ExtraPaymentFact) Subject() ID { return f.Charge }

// Op implements [Fact].
func (f ExtraPaymentFact) Op() string { return paymentOp(f.Charge, f.Evidence) }

// Proof implements [Fact].
func (f ExtraPaymentFact) Proof() *Evidence { return &f.Evidence }

func (f ExtraPaymentFact) apply(c *Charge) error {
	if c.State.Rank() < Paid.Rank() {
		return c.refuse(f, "")
	}
	c.Payments = append(c.Payments, Payment{Evidence: f.Evidence, Amount: f.Amount, Extra: true})
	return nil
}

// MismatchFact is money, or a claim of money, that does not match the charge.
type MismatchFact struct {
	Charge   ID           `json:"charge"`
	Attempt  int          `json:"attempt"`
	Amount   money.Amount `json:"amount"` // 0 when the provider did not say
	Evidence Evidence     `json:"-"`
	Why      string       `json:"why"`
	// Booked: its end-to-end id credits another charge, so this money is in the
	// books already.
	Booked bool `json:"booked,omitempty"`
}

// ClaimedElsewhere is the fact to record instead of a payment, paid or extra,
// whose end-to-end id credits another charge: one payment credits one charge.
// It is nil for other facts.
func ClaimedElsewhere(f Fact) Fact {
	const why = "the end-to-end id credits another charge"
	switch f := f.(type) {
	case PaidFact:
		return MismatchFact{Charge: f.Charge, Attempt: f.Attempt, Amount: f.Amount, Evidence: f.Evidence, Why: why, Booked: true}
	case ExtraPaymentFact:
		return MismatchFact{Charge: f.Charge, Attempt: f.Attempt, Amount: f.Amount, Evidence: f.Evidence, Why: why, Booked: true}
	}
	return nil
}

// Kind implements [Fact].
func (MismatchFact) Kind() string { return "charge.payment_mismatch" }

// Subject implements [Fact].
func (f MismatchFact) Subject() ID { return f.Charge }

// Op implements [Fact].
func (f MismatchFact) Op() string {
	return "charge/" + string(f.Charge) + "/mismatch/" + strconv.Itoa(f.Attempt) + "/" + f.Amount.String() + "/" + opPart(f.Evidence.EndToEnd)
}

// Proof implements [Fact].
func (f MismatchFact) Proof() *Evidence { return &f.Evidence }

func (f MismatchFact) apply(c *Charge) error {
	if c.State == "" {
		return c.refuse(f, "")
	}
	c.Payments = append(c.Payments, Payment{Evidence: f.Evidence, Amount: f.Amount, Mismatch: true, Booked: f.Booked})
	return nil
}

// EndedFact ends a charge without money: expired, cancelled or failed.
type EndedFact struct {
	Charge ID    `json:"charge"`
	State  State `json:"state"`
	// Reason says why in one stable word; Evidence is the provider's answer it
	// rests on, nil where no provider was asked (a charge never created there).
	Reason   string    `json:"reason"`
	Evidence *Evidence `json:"-"`
}

// Kind implements [Fact].
func (f EndedFact) Kind() string { return "charge." + string(f.State) }

// Subject implements [Fact].
func (f EndedFact) Subject() ID { return f.Charge }

// Op implements [Fact].
func (f EndedFact) Op() string { return "charge/" + string(f.Charge) + "/ended" }

// Proof implements [Fact].
func (f EndedFact) Proof() *Evidence { return f.Evidence }

func (f EndedFact) apply(c *Charge) error {
	ok := c.State == Created || c.State == Pending && f.State != Failed
	if !ok || !f.State.unpaid() {
		return c.refuse(f, "")
	}
	c.NeverShown = c.State == Created
	c.State, c.Reason = f.State, f.Reason
	return nil
}

func paymentOp(id ID, e Evidence) string {
	if e.EndToEnd != "" {
		return "payment/" + opPart(e.EndToEnd)
	}
	return "charge/" + string(id) + "/payment/" + strconv.Itoa(e.Attempt)
}

// opPart is an end-to-end id as part of an operation id: itself, or its hash
// if it is not what the central bank makes (letters and digits, 32 of them).
func opPart(endToEnd string) string {
	odd := func(r rune) bool {
		return (r < 'A' || r > 'Z') && (r < 'a' || r > 'z') && (r < '0' || r > '9')
	}
	if len(endToEnd) > 64 || strings.ContainsFunc(endToEnd, odd) {
		return fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(endToEnd)))
	}
	return endToEnd
}

// Decode reads the fact of a ledger entry from its data and evidence fields.
// Unknown kinds return nil, nil: they belong to other machines.
func Decode(kind string, data, evidence []byte) (Fact, error) {
	var ev *Evidence
	if len(evidence) > 0 {
		ev = new(Evidence)
		if err := json.Unmarshal(evidence, ev); err != nil {
			return nil, fmt.Errorf("decode evidence of %s: %w", kind, err)
		}
	}
	var err error
	read := func(into any) {
		if err = json.Unmarshal(data, into); err != nil {
			err = fmt.Errorf("decode %s: %w", kind, err)
		}
	}
	proof := func() Evidence {
		if ev == nil {
			if err == nil {
				err = fmt.Errorf("decode %s: it has no evidence", kind)
			}
			return Evidence{}
		}
		return *ev
	}
	var f Fact
	switch kind {
	case CreatedFact{}.Kind():
		var v CreatedFact
		read(&v)
		f = v
	case AttemptFact{}.Kind():
		var v AttemptFact
		read(&v)
		f = v
	case ReleasedFact{}.Kind():
		var v ReleasedFact
		read(&v)
		f = v
	case PaidFact{}.Kind():
		var v PaidFact
		read(&v)
		v.Evidence = proof()
		f = v
	case ExtraPaymentFact{}.Kind():
		var v ExtraPaymentFact
		read(&v)
		v.Evidence = proof()
		f = v
	case MismatchFact{}.Kind():
		var v MismatchFact
		read(&v)
		v.Evidence = proof()
		f = v
	case EndedFact{State: Expired}.Kind(), EndedFact{State: Cancelled}.Kind(), EndedFact{State: Failed}.Kind():
		var v EndedFact
		read(&v)
		v.Evidence = ev
		f = v
	case RefundedFact{}.Kind():
		var v RefundedFact
		read(&v)
		v.Evidence = proof()
		f = v
	}
	if err == nil && f != nil && f.Kind() != kind {
		err = fmt.Errorf("decode %s: its data is of %s", kind, f.Kind())
	}
	if err != nil {
		return nil, err
	}
	return f, nil
}

// SubjectOf is the charge that a ledger entry is about, "" for none, without
// decoding it: inside of a text the key's quotes would be escaped.
func SubjectOf(entry []byte) ID {
	_, rest, _ := bytes.Cut(entry, []byte(`"charge":"`))
	id, _, ok := bytes.Cut(rest, []byte(`"`))
	if !ok {
		return ""
	}
	return ID(id)
}
