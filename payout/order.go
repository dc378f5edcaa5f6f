package payout

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/ssg-safe/agent/money"
	"github.com/ssg-safe/agent/providers"
	"github.com/ssg-safe/agent/redact"
)

const (
	// AbsentAnswers is how many answers that an order is not there allow it to be
	// sent again at a provider that takes our id.
	AbsentAnswers = 2
	// AbsentGap is how far apart they must be.
	AbsentGap = 30 * time.Second
	// ApprovalLife is how long an approval serves.
	ApprovalLife = 5 * time.Minute
)

// Sender is a provider that can send money to a PIX key. Implementations are safe
// for concurrent use.
type Sender interface {
	providers.Provider
	// SubmitPayout sends an order, in one request; a repeat that the provider asks
	// for before it does anything aside. An error that is not of unknown outcome
	// means that no money moves.
	SubmitPayout(ctx context.Context, o Order) (Answer, error)
	// FindPayout asks what became of an order. NotFound means that the provider,
	// having looked at all there is since Sent, does not know it.
	FindPayout(ctx context.Context, ref Ref) (Answer, error)
}

// Refunder is a provider that can give a payment back. Implementations are safe
// for concurrent use.
type Refunder interface {
	providers.Provider
	// SubmitRefund sends an order for a refund, as SubmitPayout does. The order's id
	// is the refund's at the provider, unique with the payment's end-to-end id.
	SubmitRefund(ctx context.Context, o Order) (Answer, error)
	// FindRefund asks what became of it. NotFound means that the provider knows the
	// payment and no such refund of it.
	FindRefund(ctx context.Context, ref Ref) (Answer, error)
}

// Order is what a [Sender] or [Refunder] may send. It comes out of [Payout.Order] alone. It
// prints as its id.
type Order struct {
	id       ID
	n        int
	amount   money.Amount
	endToEnd string
	d        Details
}

// ID is the payout's id, which the provider gets as ours.
func (o Order) ID() ID { return o.id }

// Amount is what is sent.
func (o Order) Amount() money.Amount { return o.amount }

// EndToEnd is the payment that a refund gives back; empty for a payout to a key.
func (o Order) EndToEnd() string { return o.endToEnd }

// Key is the PIX key that is paid; empty for a refund.
func (o Order) Key() redact.Text { return o.d.Key }

// Description is what the receiver reads; may be empty.
func (o Order) Description() redact.Text { return o.d.Description }

// Format prints the id for every verb.
func (o Order) Format(f fmt.State, _ rune) { io.WriteString(f, string(o.id)) } // fmt.State never fails

// Ref names an order at its provider.
type Ref struct {
	ID         ID
	ProviderID string    // empty: not known yet
	EndToEnd   string    // the payment that a refund gives back
	Sent       time.Time // not later than its first sending
}

// Answer is what a provider says about an order.
type Answer struct {
	ProviderID string
	// State is Processing, Settled, Failed or Returned; empty for a word that is
	// not known.
	State    State
	Word     string        // as the provider wrote it
	Amount   *money.Amount // nil: not said
	EndToEnd string
	Reason   string // why it failed
	Digest   string // SHA-256 of the answer, lower-case hex
}

func (a Answer) evidence() Evidence {
	return Evidence{ProviderID: a.ProviderID, Word: a.Word, Amount: a.Amount, EndToEnd: a.EndToEnd, Digest: a.Digest}
}

// Approve is one person's agreement to the proposal of a digest. Errors:
// ErrDigest, ErrApprover, a [*TransitionError].
func (p Payout) Approve(digest, by string, now time.Time) (ApprovedFact, error) {
	f := ApprovedFact{Payout: p.ID, Digest: digest, By: by, Until: now.Add(ApprovalLife)}
	switch {
	case digest != p.Digest:
		return ApprovedFact{}, ErrDigest
	case by == p.By:
		return ApprovedFact{}, fmt.Errorf("%w: %s proposed it", ErrApprover, by)
	}
	_, err := p.Apply(f)
	return f, err
}

// Lapsed is the fact that approvals have ended; nil while they serve.
func (p Payout) Lapsed(now time.Time) Fact {
	if p.State != Proposed && p.State != Approved || len(p.ApprovedBy) == 0 || now.Before(p.Until) {
		return nil
	}
	return LapsedFact{Payout: p.ID, Until: p.Until}
}

// Submit is the fact to record before the order is sent: the first time, after
// nothing was sent, or again after the provider's answers that it is not there.
// Errors: ErrLapsed, a [*TransitionError].
func (p Payout) Submit(now time.Time) (SubmittingFact, error) {
	if p.Lapsed(now) != nil {
		return SubmittingFact{}, ErrLapsed
	}
	f := SubmittingFact{Payout: p.ID, N: p.Submissions + 1}
	_, err := p.Apply(f)
	return f, err
}

// Order is what is sent, once, when the fact of [Payout.Submit] is on disk.
// Errors: ErrDigest for details of another proposal, a [*TransitionError].
func (p Payout) Order(d Details) (Order, error) {
	switch {
	case p.State != Submitting:
		return Order{}, &TransitionError{Payout: p.ID, State: p.State, Fact: "an order"}
	case digest(p.Intent, d) != p.Digest:
		return Order{}, ErrDigest
	}
	return Order{id: p.ID, n: p.Submissions, amount: p.Amount, endToEnd: p.EndToEnd, d: d}, nil
}

// Ref names the order for [Sender.FindPayout].
func (p Payout) Ref(sent time.Time) Ref {
	return Ref{ID: p.ID, ProviderID: p.ProviderID, EndToEnd: p.EndToEnd, Sent: sent}
}

// Submitted turns the outcome of a sending into the fact to record. A refusal
// that cannot change ends the payout; one that may, and a request of which nothing
// was sent, lead back to approved. A conflict is unknown: something has our id. So
// is each of them where an earlier sending is in doubt.
func (p Payout) Submitted(o Order, a Answer, err error) Fact {
	unknown := func(reason string) Fact { return UnknownFact{Payout: p.ID, N: o.n, Reason: reason} }
	if err == nil {
		if f, ok := p.Observe(a).(OutcomeFact); ok {
			return f
		}
		return unknown("the answer cannot be used")
	}
	e, ok := errors.AsType[*providers.Error](err)
	switch {
	case !ok || e.Kind.OutcomeUnknown() || e.Kind == providers.Conflict || p.Doubt:
		kind := providers.Ambiguous
		if ok {
			kind = e.Kind
		}
		return unknown(kind.String())
	case e.Kind == providers.NotSent || e.Kind == providers.Rate || e.Kind == providers.Unavailable:
		return UnsentFact{Payout: p.ID, N: o.n, Reason: e.Kind.String()}
	}
	reason := e.Kind.String()
	if e.Code != "" {
		reason += " " + e.Code
	}
	return OutcomeFact{Payout: p.ID, State: Failed, Reason: reason, Evidence: Evidence{Refusal: reason}}
}

// Interrupted is the fact to record at start: an order that was being sent when
// the process ended is of unknown outcome. Nil for all others.
func (p Payout) Interrupted() Fact {
	if p.State != Submitting {
		return nil
	}
	return UnknownFact{Payout: p.ID, N: p.Submissions, Reason: "interrupted"}
}

// Observe turns a provider's answer about the order into the fact to record; nil
// when it says nothing new.
func (p Payout) Observe(a Answer) Fact {
	odd := func(why string) Fact {
		if p.Odd || p.Submissions == 0 {
			return nil
		}
		return OddFact{Payout: p.ID, State: a.State, Why: why, Evidence: a.evidence()}
	}
	switch {
	case a.State == "" || p.Submissions == 0 || a.State == p.State:
		return nil
	case a.Digest == "":
		return nil // no answer at all
	case a.Amount != nil && *a.Amount != p.Amount:
		return odd(fmt.Sprintf("%d centavos are not the payout's %d", *a.Amount, p.Amount))
	case p.ProviderID != "" && a.ProviderID != "" && a.ProviderID != p.ProviderID:
		return odd("the provider has it under another id")
	case p.State == Approved: // it was said that nothing had been sent
		return odd("the provider has an order that was not sent")
	case !p.follows(a.State):
		if p.State == Settled && a.State == Processing || p.State == Returned && (a.State == Processing || a.State == Settled) {
			return nil // an older answer
		}
		return odd("the payout is " + string(p.State))
	}
	return OutcomeFact{Payout: p.ID, State: a.State, Reason: a.Reason, Evidence: a.evidence()}
}

// Missing turns the provider's answer that it does not know the order into the
// fact to record; nil where it says nothing new. answer is the digest of that
// answer; since is how long ago the last such answer came, by a clock that nobody
// sets, counted from the start of the process where that came earlier.
func (p Payout) Missing(answer string, since time.Duration) Fact {
	if p.State != Unknown || p.Absent >= AbsentAnswers || p.Absent > 0 && since < AbsentGap {
		return nil
	}
	return AbsentFact{Payout: p.ID, N: p.Submissions, Nth: p.Absent + 1, Waited: int(since / time.Second), Digest: answer}
}

// Testify is a person's word about what became of an order that the provider
// cannot be asked about: whoever proposed it may not give it, nor anybody while the
// order is being sent. e names the person (By), and what that person saw. Errors:
// ErrApprover, a [*TransitionError].
func (p Payout) Testify(s State, e Evidence, reason string) (Fact, error) {
	if e.By == "" || e.By == p.By {
		return nil, fmt.Errorf("%w: the word must be another's than the proposer's", ErrApprover)
	}
	f := OutcomeFact{Payout: p.ID, State: s, Reason: reason, Evidence: e}
	if p.State == Submitting {
		return nil, p.refuse(f, "it is being sent")
	}
	_, err := p.Apply(f)
	return f, err
}
