// Package payout is the life of money that leaves a merchant's account: a payout
// to a PIX key, or a refund of one payment. It is pure: no clock, no disk, no
// network. A state is folded from recorded facts ([Payout.Apply]); what people
// and providers say becomes facts through the methods of [Payout], which hold all
// rules.
//
// # States
//
//	proposed ──approved──▶ approved ──submitting──▶ submitting ──▶ processing ──▶ settled ──▶ returned
//	   │  ▲                  │    ▲                    │  │            │
//	   │  └─────lapsed───────┘    └──────unsent────────┘  │            ├──▶ failed
//	   └──rejected──▶ rejected                            ▼            └──▶ returned
//	                                                   unknown ──▶ (by evidence) processing | settled | failed | returned
//
// Somebody proposes, somebody else approves (two people where the proposal says
// so), and only then money can move. An approval is bound to the digest of the
// whole proposal, its key included, holds for some minutes, and serves for one
// order. Submitting is recorded, and on disk, before the socket is written. There
// is no draft here: what a terminal has written down, and the hub does not offer to
// anybody yet, is in package proposal.
//
// # At most once
//
// An [Order], which is all that a provider's adapter takes, comes out of a payout
// in state submitting and nowhere else. From there the provider's answer leads
// on; "nothing was sent" and a refusal lead back or to the end. Everything else,
// a crash first of all, is unknown, and unknown leaves only by evidence: the
// provider's answer to a question about this order, or a person who signs for
// it. That the provider does not know the order proves nothing by itself, because
// the order may still be on its way. Where the provider takes our id as its own
// (Resend), two such answers, [AbsentGap] apart, allow the same order to be sent
// again; elsewhere they never do. If that sending is refused, or does not get
// through, the payout is unknown again: the earlier one may still arrive.
//
// Contradictions (another amount, a failed payout that was paid after all) change
// no state: they are recorded, once, for a person.
//
// # Refunds
//
// A refund gives back one payment, named by its end-to-end id, and all refunds of
// it together never more than was paid: [Room]. One that a provider cannot make
// is a ticket for a person, not a payout to some key.
//
// # Personal data
//
// The key that is paid and the text with it are [Details], kept apart from the
// facts where they can be erased. Facts hold their salted digest.
package payout

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/ssg-safe/agent/money"
	"github.com/ssg-safe/agent/pix"
	"github.com/ssg-safe/agent/redact"
)

// ID is a payout's identity, made before anything is asked of anybody: 25
// upper-case characters (pix.TxIDs). It is the order's id at the provider too.
type ID string

// Kind says what money leaves for.
type Kind string

// The kinds.
const (
	ToKey  Kind = "payout" // to a PIX key
	Refund Kind = "refund" // a payment is given back
)

// State is what a payout's facts amount to.
type State string

// The states, in the words of the package comment.
const (
	Proposed   State = "awaiting_approval"
	Approved   State = "approved"
	Rejected   State = "rejected"
	Submitting State = "submitting"
	Unknown    State = "unknown"
	Processing State = "processing"
	Settled    State = "settled"
	Failed     State = "failed"
	Returned   State = "returned" // it arrived, or nearly, and came back
)

// Over reports whether nothing more is expected.
func (s State) Over() bool { return s == Rejected || s == Settled || s == Failed || s == Returned }

// out reports whether money may have left, or may yet leave, for good.
func (s State) out() bool { return s != Rejected && s != Failed && s != Returned }

// Intent is what is proposed. It holds nothing personal.
type Intent struct {
	ID       ID     `json:"payout"`
	Kind     Kind   `json:"kind"`
	Merchant string `json:"merchant"`
	Route    string `json:"route"`
	// Account is which account at the route's provider it leaves; empty: not said.
	Account string       `json:"account,omitempty"`
	Amount  money.Amount `json:"amount"`
	// Charge and EndToEnd name the payment that a refund gives back.
	Charge   string `json:"charge,omitempty"`
	EndToEnd string `json:"end_to_end,omitempty"`
	// By is who proposes it: a person or a terminal.
	By string `json:"by"`
	// Approvers is how many people, none of them By, must agree: 1 or 2.
	Approvers int `json:"approvers"`
	// Resend says that the provider takes ID as its own: the same order sent again
	// is the same payout.
	Resend bool `json:"resend,omitempty"`
}

// Details are the personal part of a proposal. They print masked.
type Details struct {
	Key         redact.Text // the PIX key to pay; empty for a refund
	Description redact.Text // what the receiver reads; may be empty
	// Salt keeps the digest from telling the key to who tries all keys: at least
	// 16 characters drawn by lot.
	Salt redact.Secret
}

// digest binds intent and details.
func digest(in Intent, d Details) string {
	text, err := json.Marshal(struct {
		Intent
		Key         string `json:"key"`
		Description string `json:"description"`
		Salt        string `json:"salt"`
	}{in, d.Key.Reveal(), d.Description.Reveal(), d.Salt.Reveal()})
	if err != nil {
		panic(err) // texts and numbers
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}

// Payout is what the facts so far amount to. The zero value has none.
type Payout struct {
	Intent
	State State `json:"state"`
	// Digest is what approvals are bound to.
	Digest string `json:"digest"`
	// ApprovedBy lists who agreed; Until is when the newest approval ends.
	ApprovedBy []string  `json:"approved_by,omitempty"`
	Until      time.Time `json:"until,omitzero"`
	// Submissions counts how often the order was, or may have been, sent.
	Submissions int `json:"submissions,omitempty"`
	// Absent counts the provider's answers that it does not know the newest one.
	Absent int `json:"absent,omitempty"`
	// Doubt: the fate of some sending was unknown. What is learnt of a later one,
	// that it was refused or not sent, then says nothing about that.
	Doubt      bool   `json:"doubt,omitempty"`
	ProviderID string `json:"provider_id,omitempty"`
	// Paid is the end-to-end id of the payout itself.
	Paid   string `json:"paid_end_to_end,omitempty"`
	Reason string `json:"reason,omitempty"` // why it failed, is unknown, was rejected
	// Odd marks a contradiction that a person must look at.
	Odd bool `json:"odd,omitempty"`
}

// TransitionError is a fact that cannot follow on a state.
type TransitionError struct {
	Payout ID
	State  State
	Fact   string // its kind
	Why    string // may be empty
}

// Error names fact and state.
func (e *TransitionError) Error() string {
	s := fmt.Sprintf("payout %s: %s is not possible in state %q", e.Payout, e.Fact, e.State)
	if e.Why != "" {
		s += ": " + e.Why
	}
	return s
}

// Apply returns the payout after a fact, or a [*TransitionError].
func (p Payout) Apply(f Fact) (Payout, error) {
	if p.State != "" && f.Subject() != p.ID {
		return p, p.refuse(f, "it is about payout "+string(f.Subject()))
	}
	p.ApprovedBy = slices.Clone(p.ApprovedBy)
	if err := f.apply(&p); err != nil {
		return Payout{}, err
	}
	return p, nil
}

// Fold applies facts from the first on.
func Fold(facts []Fact) (Payout, error) {
	var p Payout
	for _, f := range facts {
		var err error
		if p, err = p.Apply(f); err != nil {
			return Payout{}, err
		}
	}
	return p, nil
}

func (p Payout) refuse(f Fact, why string) error {
	return &TransitionError{Payout: f.Subject(), State: p.State, Fact: f.Kind(), Why: why}
}

// Errors to branch on.
var (
	// ErrIntent: the proposal itself is wrong.
	ErrIntent = errors.New("payout proposal is wrong")
	// ErrRoom: refunds of a payment would exceed it.
	ErrRoom = errors.New("more would be refunded than was paid")
	// ErrDigest: an approval, or the details, belong to another proposal.
	ErrDigest = errors.New("not what was proposed")
	// ErrApprover: this person cannot approve it.
	ErrApprover = errors.New("approval needs somebody else")
	// ErrLapsed: the approval is over.
	ErrLapsed = errors.New("the approval has lapsed")
)

// Room is how much of a payment may still be refunded: what was paid, less all
// that was or may yet be given back.
func Room(paid money.Amount, refunds []Payout) (money.Amount, error) {
	room := paid
	for _, r := range refunds {
		if r.State.out() || r.Odd {
			var err error
			if room, err = room.Sub(r.Amount); err != nil {
				return 0, err
			}
		}
	}
	return max(room, 0), nil
}

// Propose makes the first fact of a payout. For a refund, paid is what the
// payment of the end-to-end id brought in and earlier all its refunds so far; the
// caller reads them in the transaction that records the fact.
func Propose(in Intent, d Details, paid money.Amount, earlier []Payout) (ProposedFact, error) {
	wrong := func(format string, a ...any) (ProposedFact, error) {
		return ProposedFact{}, fmt.Errorf("%w: %s", ErrIntent, fmt.Sprintf(format, a...))
	}
	switch {
	case in.ID == "" || in.Merchant == "" || in.Route == "" || in.By == "":
		return wrong("id, merchant, route and proposer are needed")
	case in.Amount <= 0:
		return wrong("the amount is not positive")
	case in.Approvers < 1 || in.Approvers > 2:
		return wrong("%d approvers, want 1 or 2", in.Approvers)
	case len(d.Salt) < 16:
		return wrong("the salt is too short")
	}
	switch in.Kind {
	case ToKey:
		if in.EndToEnd != "" || in.Charge != "" {
			return wrong("a payout to a key gives no payment back")
		}
		if _, err := pix.RecogniseKey(d.Key.Reveal()); err != nil {
			return wrong("%v", err)
		}
	case Refund:
		if in.EndToEnd == "" || in.Charge == "" || d.Key != "" {
			return wrong("a refund names charge and end-to-end id, and no key")
		}
		for _, r := range earlier {
			if r.Kind != Refund || r.EndToEnd != in.EndToEnd {
				return wrong("payout %s is no refund of the same payment", r.ID)
			}
		}
		room, err := Room(paid, earlier)
		if err != nil {
			return ProposedFact{}, err
		}
		if in.Amount > room {
			return ProposedFact{}, fmt.Errorf("%w: %s of %s are left", ErrRoom, room, paid)
		}
	default:
		return wrong("unknown kind %q", in.Kind)
	}
	return ProposedFact{Intent: in, Digest: digest(in, d)}, nil
}
