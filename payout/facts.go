package payout

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/ssg-safe/agent/money"
)

// Fact is something that happened to a payout and was recorded: the body of one
// ledger entry. The set is closed. Stored names and JSON fields never change; new
// fields are optional.
type Fact interface {
	// Kind is the ledger entry's kind.
	Kind() string
	// Subject is the payout it is about.
	Subject() ID
	// Op is the operation id under which the fact is recorded at most once.
	Op() string

	apply(p *Payout) error
}

func op(id ID, parts string) string { return "payout/" + string(id) + "/" + parts }

// ProposedFact is the first fact.
type ProposedFact struct {
	Intent
	Digest string `json:"digest"`
}

// Kind implements [Fact].
func (ProposedFact) Kind() string { return "payout.proposed" }

// Subject implements [Fact].
func (f ProposedFact) Subject() ID { return f.ID }

// Op implements [Fact].
func (f ProposedFact) Op() string { return op(f.ID, "proposed") }

func (f ProposedFact) apply(p *Payout) error {
	if p.State != "" {
		return p.refuse(f, "")
	}
	*p = Payout{Intent: f.Intent, State: Proposed, Digest: f.Digest}
	return nil
}

// ApprovedFact is one person's agreement.
type ApprovedFact struct {
	Payout ID        `json:"payout"`
	Digest string    `json:"digest"`
	By     string    `json:"by"`
	Until  time.Time `json:"until"`
}

// Kind implements [Fact].
func (ApprovedFact) Kind() string { return "payout.approved" }

// Subject implements [Fact].
func (f ApprovedFact) Subject() ID { return f.Payout }

// Op implements [Fact].
func (f ApprovedFact) Op() string {
	return op(f.Payout, fmt.Sprintf("approved/%s/%d", f.By, f.Until.UnixNano()))
}

func (f ApprovedFact) apply(p *Payout) error {
	switch {
	case p.State != Proposed:
		return p.refuse(f, "")
	case f.Digest != p.Digest:
		return p.refuse(f, ErrDigest.Error())
	case f.By == "" || f.By == p.By || slices.Contains(p.ApprovedBy, f.By):
		return p.refuse(f, ErrApprover.Error())
	}
	if p.ApprovedBy = append(p.ApprovedBy, f.By); p.Until.IsZero() || f.Until.Before(p.Until) {
		p.Until = f.Until
	}
	if len(p.ApprovedBy) >= p.Approvers {
		p.State = Approved
	}
	return nil
}

// LapsedFact says that approvals ended before the order was sent.
type LapsedFact struct {
	Payout ID        `json:"payout"`
	Until  time.Time `json:"until"` // which approvals
}

// Kind implements [Fact].
func (LapsedFact) Kind() string { return "payout.lapsed" }

// Subject implements [Fact].
func (f LapsedFact) Subject() ID { return f.Payout }

// Op implements [Fact].
func (f LapsedFact) Op() string { return op(f.Payout, fmt.Sprintf("lapsed/%d", f.Until.UnixNano())) }

func (f LapsedFact) apply(p *Payout) error {
	if p.State != Proposed && p.State != Approved || len(p.ApprovedBy) == 0 || !f.Until.Equal(p.Until) {
		return p.refuse(f, "")
	}
	p.State, p.ApprovedBy, p.Until = Proposed, nil, time.Time{}
	return nil
}

// RejectedFact ends a proposal.
type RejectedFact struct {
	Payout ID     `json:"payout"`
	By     string `json:"by"`
	Reason string `json:"reason,omitempty"`
}

// Kind implements [Fact].
func (RejectedFact) Kind() string { return "payout.rejected" }

// Subject implements [Fact].
func (f RejectedFact) Subject() ID { return f.Payout }

// Op implements [Fact].
func (f RejectedFact) Op() string { return op(f.Payout, "rejected") }

func (f RejectedFact) apply(p *Payout) error {
	if p.State != Proposed && p.State != Approved || f.By == "" {
		return p.refuse(f, "")
	}
	p.State, p.Reason = Rejected, f.Reason
	return nil
}

// SubmittingFact stands before the nth sending of the order.
type SubmittingFact struct {
	Payout ID  `json:"payout"`
	N      int `json:"n"` // counts from 1
}

// Kind implements [Fact].
func (SubmittingFact) Kind() string { return "payout.submitting" }

// Subject implements [Fact].
func (f SubmittingFact) Subject() ID { return f.Payout }

// Op implements [Fact].
func (f SubmittingFact) Op() string { return op(f.Payout, "submitting/"+strconv.Itoa(f.N)) }

func (f SubmittingFact) apply(p *Payout) error {
	again := p.State == Unknown && p.Resend && p.Absent >= AbsentAnswers
	if p.State != Approved && !again || f.N != p.Submissions+1 || p.Odd {
		return p.refuse(f, "")
	}
	p.State, p.Submissions, p.Absent, p.Reason = Submitting, f.N, 0, ""
	return nil
}

// UnsentFact says that nothing of the nth sending reached the provider, or that
// the provider refused it for now.
type UnsentFact struct {
	Payout ID     `json:"payout"`
	N      int    `json:"n"`
	Reason string `json:"reason"`
}

// Kind implements [Fact].
func (UnsentFact) Kind() string { return "payout.unsent" }

// Subject implements [Fact].
func (f UnsentFact) Subject() ID { return f.Payout }

// Op implements [Fact].
func (f UnsentFact) Op() string { return op(f.Payout, "unsent/"+strconv.Itoa(f.N)) }

func (f UnsentFact) apply(p *Payout) error {
	if p.State != Submitting || f.N != p.Submissions || p.Doubt {
		return p.refuse(f, "")
	}
	p.State, p.Reason = Approved, f.Reason
	return nil
}

// UnknownFact says that nobody knows what became of the nth sending.
type UnknownFact struct {
	Payout ID     `json:"payout"`
	N      int    `json:"n"`
	Reason string `json:"reason"`
}

// Kind implements [Fact].
func (UnknownFact) Kind() string { return "payout.unknown" }

// Subject implements [Fact].
func (f UnknownFact) Subject() ID { return f.Payout }

// Op implements [Fact].
func (f UnknownFact) Op() string { return op(f.Payout, "unknown/"+strconv.Itoa(f.N)) }

func (f UnknownFact) apply(p *Payout) error {
	if p.State != Submitting || f.N != p.Submissions {
		return p.refuse(f, "")
	}
	p.State, p.Reason, p.Doubt = Unknown, f.Reason, true
	return nil
}

// AbsentFact is the provider's answer that it does not know the nth sending.
type AbsentFact struct {
	Payout ID     `json:"payout"`
	N      int    `json:"n"`
	Nth    int    `json:"nth"` // such answer, from 1
	Waited int    `json:"waited_s"`
	Digest string `json:"digest"` // SHA-256 of the answer
}

// Kind implements [Fact].
func (AbsentFact) Kind() string { return "payout.absent" }

// Subject implements [Fact].
func (f AbsentFact) Subject() ID { return f.Payout }

// Op implements [Fact].
func (f AbsentFact) Op() string { return op(f.Payout, fmt.Sprintf("absent/%d/%d", f.N, f.Nth)) }

func (f AbsentFact) apply(p *Payout) error {
	early := f.Nth > 1 && time.Duration(f.Waited)*time.Second < AbsentGap
	if p.State != Unknown || f.N != p.Submissions || f.Nth != p.Absent+1 || f.Digest == "" || early {
		return p.refuse(f, "")
	}
	p.Absent = f.Nth
	return nil
}

// Evidence is what an outcome rests on: the provider's answer about this order, its
// refusal to take it, or the word of a person.
type Evidence struct {
	ProviderID string        `json:"provider_id,omitempty"`
	Word       string        `json:"word,omitempty"`
	Amount     *money.Amount `json:"amount,omitempty"`
	EndToEnd   string        `json:"end_to_end,omitempty"`
	Digest     string        `json:"digest,omitempty"`  // SHA-256 of the provider's answer
	Refusal    string        `json:"refusal,omitempty"` // the error's kind and code
	By         string        `json:"by,omitempty"`      // the person
	// Document is where that person saw it: a receipt, a statement's line.
	Document string `json:"document,omitempty"`
}

// OutcomeFact is what became of the order.
type OutcomeFact struct {
	Payout   ID       `json:"payout"`
	State    State    `json:"state"` // processing, settled, failed, returned
	Reason   string   `json:"reason,omitempty"`
	Evidence Evidence `json:"evidence"`
}

// Kind implements [Fact].
func (OutcomeFact) Kind() string { return "payout.outcome" }

// Subject implements [Fact].
func (f OutcomeFact) Subject() ID { return f.Payout }

// Op implements [Fact].
func (f OutcomeFact) Op() string { return op(f.Payout, string(f.State)) }

func (f OutcomeFact) apply(p *Payout) error {
	switch {
	case !p.follows(f.State):
		return p.refuse(f, "")
	case f.Evidence.Digest == "" && f.Evidence.By == "" && (f.Evidence.Refusal == "" || f.State != Failed):
		return p.refuse(f, "there is no evidence")
	case f.Evidence.Refusal != "" && (p.Doubt || p.State != Submitting):
		return p.refuse(f, "a refusal says nothing about an earlier sending")
	case f.Evidence.Amount != nil && *f.Evidence.Amount != p.Amount:
		return p.refuse(f, fmt.Sprintf("%d centavos are not the payout's %d", *f.Evidence.Amount, p.Amount))
	}
	p.State, p.Reason = f.State, f.Reason
	if f.Evidence.ProviderID != "" {
		p.ProviderID = f.Evidence.ProviderID
	}
	if f.Evidence.EndToEnd != "" {
		p.Paid = f.Evidence.EndToEnd
	}
	return nil
}

// follows reports whether evidence of a state leads on from the present one.
func (p Payout) follows(next State) bool {
	switch p.State {
	case Submitting, Unknown:
		return next == Processing || next == Settled || next == Failed || next == Returned
	case Processing:
		return next == Settled || next == Failed || next == Returned
	case Settled:
		return next == Returned
	}
	return false
}

// OddFact is an answer that contradicts what is recorded. It changes no state.
type OddFact struct {
	Payout   ID       `json:"payout"`
	State    State    `json:"state"` // that the answer claims
	Why      string   `json:"why"`
	Evidence Evidence `json:"evidence"`
}

// Kind implements [Fact].
func (OddFact) Kind() string { return "payout.odd" }

// Subject implements [Fact].
func (f OddFact) Subject() ID { return f.Payout }

// Op implements [Fact].
func (f OddFact) Op() string { return op(f.Payout, "odd") }

func (f OddFact) apply(p *Payout) error {
	if p.Submissions == 0 || p.Odd {
		return p.refuse(f, "")
	}
	p.Odd = true
	return nil
}
