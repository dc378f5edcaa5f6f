package wire

import (
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/ssg-safe/agent/ledger"
	"github.com/ssg-safe/agent/money"
)

// The types of tokens. Each is for one use, and taken for no other.
const (
	TypAck    = "ack+jws"
	TypPay    = "pay+jws"
	TypCharge = "charge+jws"
	TypPayout = "payout+jws"
)

// Claims are in every token. Times are Unix seconds.
//
// Ctr rises strictly with every token that the hub mints for a device, whatever
// its type. A terminal acts on a token only if its ctr is above the highest one
// it has accepted; numbers may be missing, because tokens get lost. A message
// that the hub sends again keeps its jti and gets a new ctr, iat and exp.
type Claims struct {
	Aud string `json:"aud"` // the device that the token is for
	JTI string `json:"jti"` // id of the message: the same when it is sent again
	Ctr uint64 `json:"ctr"` // counter of the device's tokens, 1 to 2^53-1
	Iat int64  `json:"iat"` // when the token was made: also the hub's time
	Exp int64  `json:"exp"` // when it ends
}

// Hold is why the hub takes no entries from a terminal for now.
type Hold string

// The reasons.
const (
	HoldEpoch Hold = "epoch" // a new epoch, which an operator has not approved yet
	HoldFork  Hold = "fork"  // the hub has other bytes for a position: an operator must look
)

// Ack says what the hub holds durably: everything up to Head at (Epoch, Seq).
// It is cumulative. A terminal moves its cursor only if Head is its own head at
// that position.
type Ack struct {
	Claims
	Epoch uint64           `json:"epoch"`          // epoch of the newest entry that the hub holds
	Seq   uint64           `json:"seq"`            // its sequence; 0 when the hub holds none of the epoch
	Head  ledger.Hash      `json:"head"`           // its hash; zeros when seq is 0
	Want  *ledger.Position `json:"want,omitempty"` // please send from there: a gap, or a hub that was restored
	Hold  Hold             `json:"hold,omitempty"` // why nothing is taken for now: epoch or fork
}

// Pay says what the hub knows about a charge, with its evidence.
type Pay struct {
	Claims
	Charge     string       `json:"charge"`               // id of the charge
	Ver        uint64       `json:"ver"`                  // version of what is known; only a higher one is news
	Status     string       `json:"status"`               // pending, paid, expired, cancelled, failed or refunded
	Cents      money.Amount `json:"cents"`                // what was paid, centavos
	EndToEnd   string       `json:"end_to_end,omitempty"` // end-to-end id of the payment
	Route      string       `json:"route"`                // the merchant's route, as the terminal's configuration names it
	Account    string       `json:"account,omitempty"`    // the provider's account
	ProviderID string       `json:"provider_id"`          // the provider's id of the charge
	Attempt    int          `json:"attempt"`              // which create attempt was paid, from 1
	PaidAt     time.Time    `json:"paid_at,omitzero"`     // when, as the provider says, UTC
	Digest     string       `json:"digest"`               // SHA-256 of the provider's answer, lower-case hex
}

// ChargeRequest asks the terminal to make a charge. Reference is its identity:
// the same one with the same content is the same charge.
type ChargeRequest struct {
	Claims
	Reference   string       `json:"reference"`             // the back office's own id of the sale
	Merchant    string       `json:"merchant"`              // as the terminal's configuration names it
	Amount      money.Amount `json:"amount"`                // centavos
	Description string       `json:"description,omitempty"` // for the payer; never personal data
	Present     bool         `json:"present"`               // show it on the screen
}

// Payout says what became of money that leaves: of a payout to a PIX key, or of a
// refund, which gives a payment of a charge of this terminal back. The hub alone sends
// such orders, and keeps the facts about them.
type Payout struct {
	Claims
	Payout   string       `json:"payout"`               // id of the payout or refund
	Kind     string       `json:"kind"`                 // payout or refund
	State    string       `json:"state"`                // what became of it
	Cents    money.Amount `json:"cents"`                // what leaves, centavos
	Charge   string       `json:"charge,omitempty"`     // id of the charge; always there in a refund
	EndToEnd string       `json:"end_to_end,omitempty"` // end-to-end id of the payment that a refund gives back; always there in one
	Sent     string       `json:"sent,omitempty"`       // end-to-end id of the money that left, when it is known
	Digest   string       `json:"digest,omitempty"`     // SHA-256 of the provider's answer that the state rests on, lower-case hex
	By       string       `json:"by,omitempty"`         // the person who signed for the state, where no provider tells
	Reason   string       `json:"reason,omitempty"`     // why it is in that state; never personal data
}

// token is what can be signed.
type token interface {
	typ() string
	claims() Claims
	// utc is the token as it is written: times in UTC, to the millisecond.
	utc() token
	check() error
}

func (Ack) typ() string           { return TypAck }
func (Pay) typ() string           { return TypPay }
func (ChargeRequest) typ() string { return TypCharge }
func (Payout) typ() string        { return TypPayout }
func (c Claims) claims() Claims   { return c }

func (a Ack) utc() token           { return a }
func (r ChargeRequest) utc() token { return r }
func (p Payout) utc() token        { return p }

func (p Pay) utc() token {
	p.PaidAt = stamp(p.PaidAt)
	return p
}

// ExpiresAt is when the token ends, UTC.
func (c Claims) ExpiresAt() time.Time { return time.Unix(c.Exp, 0).UTC() }

// IssuedAt is when the token was made, UTC.
func (c Claims) IssuedAt() time.Time { return time.Unix(c.Iat, 0).UTC() }

// maxUnix is the end of the year 9999.
const maxUnix = 253402300799

func (c Claims) check() error {
	switch {
	case !ValidSegment(c.Aud):
		return fmt.Errorf("%w: aud %.80q", ErrMalformed, c.Aud)
	case c.Ctr == 0 || c.Ctr > MaxCounter:
		return fmt.Errorf("%w: ctr %d", ErrMalformed, c.Ctr)
	case c.Iat <= 0 || c.Exp <= c.Iat || c.Exp > maxUnix:
		return fmt.Errorf("%w: iat %d, exp %d", ErrMalformed, c.Iat, c.Exp)
	case c.Exp-c.Iat > int64(MaxLifetime/time.Second):
		return fmt.Errorf("%w: lifetime of %d s", ErrMalformed, c.Exp-c.Iat)
	}
	return id("jti", c.JTI)
}

func (a Ack) check() error {
	if (a.Seq == 0) != (a.Head == ledger.Hash{}) {
		return fmt.Errorf("%w: seq %d with head %v", ErrMalformed, a.Seq, a.Head)
	}
	if a.Want != nil && a.Want.Seq == 0 {
		return fmt.Errorf("%w: want %v", ErrMalformed, *a.Want)
	}
	return all(a.Claims.check(), optionalID("hold", string(a.Hold)))
}

func (p Pay) check() error {
	switch p.Status {
	case "pending", "paid", "expired", "cancelled", "failed", "refunded":
	default:
		return fmt.Errorf("%w: status %.80q", ErrMalformed, p.Status)
	}
	switch {
	case p.Ver == 0 || p.Attempt < 1 || p.Attempt > math.MaxInt32:
		return fmt.Errorf("%w: ver %d, attempt %d", ErrMalformed, p.Ver, p.Attempt)
	case p.Cents < 0 || p.Cents == 0 && p.Status == "paid":
		return fmt.Errorf("%w: %s with %d cents", ErrMalformed, p.Status, p.Cents)
	}
	return all(p.Claims.check(), id("charge", p.Charge), optionalID("end_to_end", p.EndToEnd), id("route", p.Route),
		text("account", p.Account), needText("provider_id", p.ProviderID), id("digest", p.Digest), optionalWhen("paid_at", p.PaidAt))
}

func (r ChargeRequest) check() error {
	if r.Amount <= 0 {
		return fmt.Errorf("%w: amount of %d centavos", ErrMalformed, r.Amount)
	}
	return all(r.Claims.check(), needText("reference", r.Reference), id("merchant", r.Merchant), text("description", r.Description))
}

// PayoutStates are the states of a [Payout], as package payout has them, and before them those of
// a proposal of which nothing was made, as package proposal has them.
func PayoutStates() []string {
	return []string{"received", "refused", "forgotten", "awaiting_approval", "approved", "rejected", "submitting", "unknown", "processing", "settled", "failed", "returned"}
}

func (p Payout) check() error {
	refund := p.Kind == "refund"
	switch {
	case p.Kind != "payout" && !refund:
		return fmt.Errorf("%w: kind %.80q", ErrMalformed, p.Kind)
	case !slices.Contains(PayoutStates(), p.State):
		return fmt.Errorf("%w: state %.80q", ErrMalformed, p.State)
	case p.Cents <= 0:
		return fmt.Errorf("%w: %d cents", ErrMalformed, p.Cents)
	case refund != (p.Charge != "") || refund != (p.EndToEnd != ""):
		return fmt.Errorf("%w: a refund, and only a refund, names a charge and a payment", ErrMalformed)
	case p.State == "settled" && p.Digest == "" && p.By == "":
		return fmt.Errorf("%w: settled, and nothing says so", ErrMalformed)
	}
	return all(p.Claims.check(), id("payout", p.Payout), optionalID("charge", p.Charge), optionalID("end_to_end", p.EndToEnd),
		optionalID("sent", p.Sent), optionalID("digest", p.Digest), optionalID("by", p.By), text("reason", p.Reason))
}
