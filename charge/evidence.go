package charge

import (
	"errors"
	"fmt"
	"time"

	"github.com/ssg-safe/agent/money"
	"github.com/ssg-safe/agent/providers"
)

// Source says whose word evidence is.
type Source string

// Sources of evidence. A webhook is none of them: it is a hint to ask.
const (
	FromProvider  Source = "provider"  // an answer to our own authenticated question
	FromHub       Source = "hub"       // a message signed by the hub
	FromOperator  Source = "operator"  // a person who is named in By
	FromStatement Source = "statement" // the bank's statement, read by two people, By and Second
)

// Grade says how much a piece of evidence states. What a grade may release is
// the operator's configuration.
type Grade string

// Grades. A names amount, end-to-end id and account; B the amount; C only a
// status word.
const (
	GradeA Grade = "A"
	GradeB Grade = "B"
	GradeC Grade = "C"
)

// Evidence is what a payment rests on. It holds no personal data.
type Evidence struct {
	Source     Source        `json:"source"`
	Route      string        `json:"route"`
	Account    string        `json:"account,omitempty"`
	Attempt    int           `json:"attempt"`
	ProviderID string        `json:"provider_id,omitempty"`
	Word       string        `json:"word,omitempty"` // the provider's own status word
	Amount     *money.Amount `json:"amount,omitempty"`
	EndToEnd   string        `json:"end_to_end,omitempty"`
	Digest     string        `json:"digest,omitempty"` // SHA-256 of the answer's bytes, hex
	By         string        `json:"by,omitempty"`     // the operator
	Second     string        `json:"second,omitempty"` // who checked it, of a statement
}

// Grade returns the strength of e.
func (e Evidence) Grade() Grade {
	switch {
	case e.Amount != nil && e.EndToEnd != "" && e.Account != "":
		return GradeA
	case e.Amount != nil:
		return GradeB
	}
	return GradeC
}

// matches reports why e cannot settle c; nil when it can.
func (e Evidence) matches(c Charge) error {
	a := c.attempt(e.Attempt)
	switch {
	case a == nil:
		return fmt.Errorf("there is no attempt %d", e.Attempt)
	case e.Source == FromOperator:
		if e.By == "" {
			return errors.New("an operator's word needs a name")
		}
	case e.Source == FromStatement:
		if err := e.stated(*a); err != nil {
			return err
		}
	case e.Digest == "":
		return errors.New("the answer's digest is missing")
	case a.ProviderID == "" || a.ProviderID != e.ProviderID:
		return fmt.Errorf("provider id %q is not attempt %d's %q", e.ProviderID, a.N, a.ProviderID)
	}
	if route, account := c.At(a.N); e.Route != route || e.Account != account {
		return fmt.Errorf("account %s/%s is not attempt %d's %s/%s", e.Route, e.Account, a.N, route, account)
	}
	if e.Amount != nil && *e.Amount != c.Amount {
		return fmt.Errorf("%d centavos are not the charge's %d", *e.Amount, c.Amount)
	}
	return nil
}

// stated reports what a line of a bank's statement lacks to settle an attempt.
func (e Evidence) stated(a Attempt) error {
	switch {
	case !a.Static:
		return errors.New("only a code made here is matched by a statement: its provider can be asked")
	case e.By == "" || e.Second == "" || e.By == e.Second:
		return errors.New("a statement needs the names of two people")
	case len(e.EndToEnd) != 32 || opPart(e.EndToEnd) != e.EndToEnd:
		return errors.New("an end-to-end id has 32 letters and digits")
	case e.Amount == nil || *e.Amount <= 0:
		return errors.New("a statement says how much")
	}
	return nil
}

// FromAnswer makes evidence of a provider's answer about an attempt of c. The
// account is the one whose credentials asked.
func (c Charge) FromAnswer(attempt int, a providers.Charge) Evidence {
	route, account := c.At(attempt)
	return Evidence{
		Source: FromProvider, Route: route, Account: account, Attempt: attempt,
		ProviderID: a.ProviderID, Word: a.Word, Amount: a.Amount, EndToEnd: a.EndToEnd, Digest: a.Digest,
	}
}

// FromPayment makes evidence of a payment that the provider lists under the txid
// of an attempt of c.
func (c Charge) FromPayment(attempt int, p providers.Payment) Evidence {
	route, account := c.At(attempt)
	return Evidence{
		Source: FromProvider, Route: route, Account: account, Attempt: attempt,
		ProviderID: p.TxID, Amount: &p.Amount, EndToEnd: p.EndToEnd, Digest: p.Digest,
	}
}

// ByStatement makes evidence of a line of the bank's statement that two people
// found to be the payment of c, whose code was made here. The error says what is
// missing; another amount than the charge's is none, for that money is there.
func (c Charge) ByStatement(amount money.Amount, endToEnd, by, second string) (Evidence, error) {
	a, ok := c.Static()
	if !ok {
		return Evidence{}, fmt.Errorf("charge %s has no code made here: its provider can be asked", c.ID)
	}
	for _, name := range []string{by, second} {
		if !IsPerson(name) {
			return Evidence{}, fmt.Errorf("a statement needs the names of two people, each with %s", PersonForm)
		}
	}
	route, account := c.At(a.N)
	e := Evidence{
		Source: FromStatement, Route: route, Account: account, Attempt: a.N, ProviderID: a.ProviderID,
		Amount: &amount, EndToEnd: endToEnd, By: by, Second: second,
	}
	return e, e.stated(a)
}

// Offline returns the facts that give the charge a code of the terminal's own:
// the newest attempt is over, for the reason given, and a static one follows,
// made at a moment of the wall clock, whose payments are found by way of a route.
// An attempt of unknown outcome is orphaned: its code was never shown.
func (c Charge) Offline(at time.Time, reason string, by Route) []Fact {
	last, _ := c.Last()
	var facts []Fact
	switch last.State {
	case Sending:
		state := Orphaned
		if reason == providers.NotSent.String() {
			state = Rejected
		}
		facts = append(facts, AttemptFact{Charge: c.ID, N: last.N, State: state, Reason: reason})
	case Uncertain:
		facts = append(facts, AttemptFact{Charge: c.ID, N: last.N, State: Orphaned, Reason: reason})
	}
	return append(facts, AttemptFact{
		Charge: c.ID, N: last.N + 1, State: Accepted, ProviderID: string(c.ID), Static: true, At: at.UTC(),
		Route: by.Provider, Account: by.Account,
	})
}

// Observe turns a status answer about an attempt into the facts to record;
// none when nothing new was learnt. ended says that the charge's time is over
// by the terminal's own clock or that its payer cancelled: then a provider
// that still calls it open ends it as that state.
func (c Charge) Observe(attempt int, a providers.Charge, ended State) []Fact {
	ev := c.FromAnswer(attempt, a)
	switch a.Status {
	case providers.StatusPaid, providers.StatusRefunded:
		return c.Received(ev, a.Returns, a.Status == providers.StatusRefunded)
	case providers.StatusPending:
		if c.State.Open() && ended != "" {
			return []Fact{EndedFact{Charge: c.ID, State: ended, Reason: reasonOf(ended), Evidence: &ev}}
		}
	case providers.StatusExpired:
		if c.State.Open() {
			return []Fact{EndedFact{Charge: c.ID, State: Expired, Reason: "provider", Evidence: &ev}}
		}
	case providers.StatusCancelled, providers.StatusFailed:
		if c.State.Open() {
			return []Fact{EndedFact{Charge: c.ID, State: Cancelled, Reason: "provider", Evidence: &ev}}
		}
	}
	return nil
}

func reasonOf(s State) string {
	if s == Cancelled {
		return "payer"
	}
	return "deadline"
}

// maxMismatches bounds what is recorded about one charge when its provider says
// something else every time it is asked. A person was told long before.
const maxMismatches = 10

// Credit turns evidence of money into the one fact that records it: paid,
// extra or mismatch; nil when this money is recorded already, or when too many
// mismatches are.
func (c Charge) Credit(ev Evidence) Fact {
	amount := c.Amount
	if ev.Amount != nil {
		amount = *ev.Amount
	}
	mismatch := ev.matches(c)
	odd := 0
	for _, p := range c.Payments {
		if p.Mismatch {
			odd++
		}
		// A claim that told of no amount does not hide money that matches.
		if p.Evidence.sameMoney(ev) && (p.Amount > 0 || mismatch != nil) {
			return nil
		}
	}
	if mismatch != nil {
		if odd >= maxMismatches {
			return nil
		}
		if ev.Amount == nil {
			amount = 0
		}
		return MismatchFact{Charge: c.ID, Attempt: ev.Attempt, Amount: amount, Evidence: ev, Why: mismatch.Error()}
	}
	if c.State.Rank() >= Paid.Rank() {
		return ExtraPaymentFact{Charge: c.ID, Attempt: ev.Attempt, Amount: amount, Evidence: ev}
	}
	return PaidFact{Charge: c.ID, Attempt: ev.Attempt, Amount: amount, Evidence: ev, Late: c.State.unpaid()}
}

// sameMoney reports whether two pieces of evidence tell of one payment: the
// same end-to-end id, or, where either names none, the same attempt and no
// contradiction about the amount.
func (e Evidence) sameMoney(o Evidence) bool {
	if e.EndToEnd != "" && o.EndToEnd != "" {
		return e.EndToEnd == o.EndToEnd
	}
	return e.Attempt == o.Attempt && (e.Amount == nil || o.Amount == nil || *e.Amount == *o.Amount)
}

// MaxAttempts bounds the create requests of one charge: the first and at most
// two more.
const MaxAttempts = 3

// Next is what must follow a create attempt's end.
type Next int

// What may follow a create answer.
const (
	Wait   Next = iota // the code is there, or the charge ended: nothing to send
	Retry              // send another attempt
	LookUp             // ask the provider whether it happened, before anything else
)

// Answer turns the outcome of create attempt n into facts and says what must
// follow. Exactly one of a and err counts. codeHash is the keyed hash of the
// code. caps tells how an unknown outcome is dealt with: where the provider
// cannot be asked, the attempt is orphaned (its code was never shown, so
// nobody can pay it) and another one may follow.
func (c Charge) Answer(n int, a providers.Charge, err error, codeHash string, caps providers.Caps) ([]Fact, Next) {
	if err == nil {
		return []Fact{AttemptFact{
			Charge: c.ID, N: n, State: Accepted, ProviderID: a.ProviderID, CodeHash: codeHash, Digest: a.Digest,
		}}, Wait
	}
	kind := providers.Ambiguous
	if e, ok := errors.AsType[*providers.Error](err); ok {
		kind = e.Kind
	}
	if !kind.OutcomeUnknown() {
		facts := []Fact{AttemptFact{Charge: c.ID, N: n, State: Rejected, Reason: kind.String()}}
		return c.another(facts, n, kind)
	}
	facts := []Fact{AttemptFact{Charge: c.ID, N: n, State: Uncertain, ProviderID: a.ProviderID, Reason: kind.String()}}
	if caps.LookUp {
		return facts, LookUp
	}
	facts = append(facts, AttemptFact{Charge: c.ID, N: n, State: Orphaned, Reason: kind.String()})
	return c.another(facts, n, kind)
}

// Interrupted returns the facts about an attempt that was in flight when the
// process died.
func (c Charge) Interrupted(caps providers.Caps) ([]Fact, Next) {
	last, ok := c.Last()
	if !ok || last.State != Sending && last.State != Uncertain {
		return nil, Wait
	}
	if last.State == Uncertain {
		if caps.LookUp {
			return nil, LookUp
		}
		return c.another([]Fact{AttemptFact{Charge: c.ID, N: last.N, State: Orphaned, Reason: "interrupted"}}, last.N, providers.Ambiguous)
	}
	return c.Answer(last.N, providers.Charge{}, &providers.Error{Kind: providers.Ambiguous}, "", caps)
}

// Absent returns the facts about attempt n after its provider, asked for it by
// our own id, did not know it.
func (c Charge) Absent(n int) ([]Fact, Next) { return c.orphan(n, "absent") }

// Unanswered returns the facts about attempt n, of unknown outcome, after its
// provider could not be asked for it, when something else than waiting is left: its
// code was never shown.
func (c Charge) Unanswered(n int) ([]Fact, Next) { return c.orphan(n, "unanswered") }

func (c Charge) orphan(n int, reason string) ([]Fact, Next) {
	return c.another([]Fact{AttemptFact{Charge: c.ID, N: n, State: Orphaned, Reason: reason}}, n, providers.Ambiguous)
}

// Elsewhere returns the facts about attempt n after its provider refused the
// merchant's account, where the charge may be made by another route: an account
// that is refused made nothing.
func (c Charge) Elsewhere(n int, kind providers.Kind) ([]Fact, Next) {
	return c.another([]Fact{AttemptFact{Charge: c.ID, N: n, State: Rejected, Reason: kind.String()}}, n, providers.Unavailable)
}

// another ends the charge, or lets one more attempt follow.
func (c Charge) another(facts []Fact, n int, kind providers.Kind) ([]Fact, Next) {
	final := kind.Permanent() || kind == providers.Security || n >= MaxAttempts
	if final || c.State != Created {
		if c.State == Created {
			facts = append(facts, EndedFact{Charge: c.ID, State: Failed, Reason: kind.String()})
		}
		return facts, Wait
	}
	return facts, Retry
}
