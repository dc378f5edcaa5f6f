package charge

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/ssg-safe/agent/ledger"
	"github.com/ssg-safe/agent/money"
	"github.com/ssg-safe/agent/providers"
)

// # Money that goes back
//
// A refund gives back one payment of a charge, or a part of it. It is known by that
// payment and its own id, whoever tells of it: the provider's answer to a question of
// the terminal's, or the hub, which has refunds made and signs what became of them.
// All refunds of a payment together are never more than it brought in.
//
// A provider may say that a payment went back and name no refund. What is left of the
// payment counts as given back then, unnamed; a refund that is named later is a part of
// that (RefundedFact.Booked) and moves no money twice.

// ErrRefund: money is said to have gone back that does not fit what the charge was
// paid. The text says how.
var ErrRefund = errors.New("the refund does not fit")

// Refund is a part of a payment that went back to its payer.
type Refund struct {
	ID       string       `json:"refund"`
	EndToEnd string       `json:"end_to_end,omitempty"` // of the payment
	Attempt  int          `json:"attempt"`              // that was paid
	Sent     string       `json:"sent,omitempty"`       // end-to-end id of the money that went
	Amount   money.Amount `json:"amount"`
	Hub      string       `json:"hub,omitempty"` // the hub's id of it; empty: it has not told of it
}

// RefundedFact says that a payment, or a part of it, went back to its payer.
type RefundedFact struct {
	Charge ID           `json:"charge"`
	ID     string       `json:"refund"` // the refund's own id
	Amount money.Amount `json:"amount"`
	// EndToEnd is the payment that is returned; "" where that has no end-to-end id:
	// then the evidence's attempt tells which.
	EndToEnd string `json:"end_to_end"`
	// Against is the account that the payment was booked to, where that is not sales.
	Against ledger.Account `json:"against,omitempty"`
	// Sent is the end-to-end id of the money that went back; empty: not said.
	Sent string `json:"sent,omitempty"`
	// Unnamed: the provider says that the payment went back, and names no refund.
	Unnamed bool `json:"unnamed,omitempty"`
	// Booked is how much of it is in the books already, as an unnamed one, or all of it as
	// Same: another one's id, which is the provider's for what the hub tells of.
	Booked   money.Amount `json:"booked,omitempty"`
	Same     string       `json:"same,omitempty"`
	Evidence Evidence     `json:"-"`
}

// Kind implements [Fact].
func (RefundedFact) Kind() string { return "charge.refunded" }

// Subject implements [Fact].
func (f RefundedFact) Subject() ID { return f.Charge }

// Op implements [Fact]: a refund of a payment is recorded once.
func (f RefundedFact) Op() string { return paymentOp(f.Charge, f.Evidence) + "/refund/" + opPart(f.ID) }

// Proof implements [Fact].
func (f RefundedFact) Proof() *Evidence { return &f.Evidence }

func (f RefundedFact) apply(c *Charge) error {
	i := c.payment(f.Evidence)
	if f.Same != "" && i >= 0 {
		same := c.refund(f.Evidence, f.Same, "")
		if same == nil || same.ID != f.Same || same.Hub != "" || f.Amount != same.Amount || f.Booked != f.Amount || f.Unnamed || f.Evidence.Source != FromHub {
			return c.refuse(f, "it is not refund "+f.Same)
		}
		same.Hub = f.ID
		return nil
	}
	switch {
	case i < 0 || f.EndToEnd != f.Evidence.EndToEnd:
		return c.refuse(f, "there is no such payment")
	case f.Amount <= 0 || f.Booked < 0 || f.Booked > f.Amount || f.Booked > c.Payments[i].Unnamed || f.Unnamed && f.Booked != 0:
		return c.refuse(f, fmt.Sprintf("%d centavos, of which %d are booked", f.Amount, f.Booked))
	case f.Against != c.against(i):
		return c.refuse(f, "the payment was booked to another account")
	case c.refund(f.Evidence, f.ID, f.Sent) != nil:
		return c.refuse(f, "it is recorded already")
	}
	p := &c.Payments[i]
	sum, err := p.Refunded.Add(f.Amount - f.Booked)
	if err != nil || sum > p.Amount {
		return c.refuse(f, "more than was paid")
	}
	p.Refunded = sum
	if p.Unnamed -= f.Booked; f.Unnamed {
		p.Unnamed += f.Amount
	}
	told := Refund{ID: f.ID, EndToEnd: f.EndToEnd, Attempt: p.Evidence.Attempt, Sent: f.Sent, Amount: f.Amount}
	if f.Evidence.Source == FromHub {
		told.Hub = f.ID
	}
	c.Refunds = append(c.Refunds, told)
	if p.Extra || p.Mismatch {
		return nil // the sale stands as it is
	}
	if c.RefundedSum, c.State = sum, PartiallyRefunded; sum == p.Amount {
		c.State = Refunded
	}
	return nil
}

// payment is the payment that evidence of a refund names, by its end-to-end id or,
// where it has none, by its attempt; -1: there is none that brought money in here.
func (c Charge) payment(e Evidence) int {
	for i, p := range c.Payments {
		if p.Amount > 0 && !p.Booked && p.Evidence.EndToEnd == e.EndToEnd && (e.EndToEnd != "" || p.Evidence.Attempt == e.Attempt) {
			return i
		}
	}
	return -1
}

// against is the account that gives the ith payment back: where its money is.
func (c Charge) against(i int) ledger.Account {
	switch p := c.Payments[i]; {
	case p.Mismatch:
		return ledger.Suspense
	case p.Extra, c.Late:
		return ledger.CustomerCredit
	}
	return ""
}

// refund is a recorded refund of a payment; nil: there is none of either id.
func (c Charge) refund(of Evidence, id, sent string) *Refund {
	return c.refundThat(of, func(r Refund) bool { return r.ID == id || r.Hub == id || sent != "" && r.Sent == sent })
}

func (c Charge) refundThat(of Evidence, is func(Refund) bool) *Refund {
	for i, r := range c.Refunds {
		if r.EndToEnd == of.EndToEnd && (of.EndToEnd != "" || r.Attempt == of.Attempt) && is(r) {
			return &c.Refunds[i]
		}
	}
	return nil
}

// unnamed begins the ids of what no refund accounts for.
const unnamed = "unnamed"

// ordered reports whether a refund's id has the form of the hub's (payout.ID), which a
// provider keeps for what the hub orders: 25 upper-case letters and digits.
func ordered(id string) bool {
	return len(id) == 25 && !strings.ContainsFunc(id, func(r rune) bool { return (r < '0' || r > '9') && (r < 'A' || r > 'Z') })
}

// maxRefunds bounds what is recorded about one charge.
const maxRefunds = 100

// GiveBack turns evidence that a refund was made of the payment whose end-to-end id it
// names into the fact that records it; nil when it is recorded already. [ErrRefund]: it
// fits no payment of the charge, or what is left of it.
//
// What the hub has by the word of a person, who gave it back by hand, is the provider's of
// the same amount that the hub has not told of, whatever the person took down as its ids:
// the provider lists all there are. What the provider has by an id of the hub's is that
// order of the hub's, and no other.
func (c Charge) GiveBack(r providers.Return, ev Evidence) (Fact, error) {
	id, amount := r.ID, r.Amount
	i := c.payment(ev)
	if i < 0 || id == "" || amount <= 0 {
		return nil, fmt.Errorf("%w: charge %s has no payment %q", ErrRefund, c.ID, ev.EndToEnd)
	}
	p := c.Payments[i]
	ev.Route, ev.Account, ev.Attempt, ev.ProviderID = p.Evidence.Route, p.Evidence.Account, p.Evidence.Attempt, p.Evidence.ProviderID
	byHand := ev.Source == FromHub && ev.Digest == ""
	if o := c.refund(p.Evidence, id, r.Sent); byHand && o != nil && o.ID != id && o.Hub != "" && o.Hub != id && o.Amount == amount {
		r.Sent = "" // the hub has told of that one: this is another, under the wrong id
	}
	old := c.refund(p.Evidence, id, r.Sent)
	switch {
	case old != nil && old.Amount != amount:
		return nil, fmt.Errorf("%w: refund %s was over %s, and is said to be over %s", ErrRefund, id, old.Amount.BRL(), amount.BRL())
	case old == nil && byHand:
		old = c.refundThat(p.Evidence, func(r Refund) bool {
			return r.Hub == "" && r.Amount == amount && !strings.HasPrefix(r.ID, unnamed) && !ordered(r.ID)
		})
	}
	if old != nil {
		if ev.Source != FromHub || old.Hub != "" || old.ID == id {
			return nil, nil
		}
		ev.Amount = &amount
		return RefundedFact{
			Charge: c.ID, ID: id, Amount: amount, EndToEnd: p.Evidence.EndToEnd, Against: c.against(i), Sent: r.Sent, Booked: amount, Same: old.ID, Evidence: ev,
		}, nil
	}
	if len(c.Refunds) >= maxRefunds {
		return nil, fmt.Errorf("%w: charge %s has %d refunds already", ErrRefund, c.ID, maxRefunds)
	}
	booked := min(p.Unnamed, amount)
	left := p.Amount - p.Refunded
	if amount-booked > left {
		return nil, fmt.Errorf("%w: %s went back, and %s of payment %q were left", ErrRefund, amount.BRL(), left.BRL(), p.Evidence.EndToEnd)
	}
	ev.Amount = &amount
	return RefundedFact{
		Charge: c.ID, ID: id, Amount: amount, EndToEnd: p.Evidence.EndToEnd, Against: c.against(i), Sent: r.Sent, Booked: booked, Evidence: ev,
	}, nil
}

// Received are the facts that a provider's word about money amounts to: of the payment
// that ev tells of, unless it is recorded, and of what went back of it since. whole says
// that all of it did. Refunds that do not fit are left out: comparing finds them.
//
// A charge that still waits and whose money has gone back whole ends as cancelled, and
// its payment is late money: nobody must hand anything out for it. If something left for
// it already it is a sale that was given back.
func (c Charge) Received(ev Evidence, returns []providers.Return, whole bool) []Fact {
	var facts []Fact
	add := func(f Fact) bool {
		next, err := c.Apply(f)
		if err == nil {
			c, facts = next, append(facts, f)
		}
		return err == nil
	}
	if f := c.Credit(ev); f != nil {
		if paid, ok := f.(PaidFact); ok && c.State.Open() && !c.Released && (whole || returnedWhole(paid.Amount, returns)) {
			add(EndedFact{Charge: c.ID, State: Cancelled, Reason: "provider", Evidence: &ev})
			f = c.Credit(ev)
		}
		if !add(f) {
			return append(facts, f) // the caller is told of it
		}
	}
	i := c.returned(ev)
	if i < 0 {
		return facts
	}
	ev.EndToEnd = c.Payments[i].Evidence.EndToEnd
	var total money.Amount
	for _, r := range returns {
		total += r.Amount
	}
	told := c.told(c.Payments[i].Evidence, returns)
	for _, r := range returns {
		// What somebody else told of is among them, by whatever name.
		if told[r.ID] || c.Payments[i].Refunded+r.Amount > total && c.Payments[i].Unnamed == 0 {
			continue
		}
		if f, err := c.GiveBack(r, ev); err == nil && f != nil {
			add(f)
		}
	}
	if p := c.Payments[i]; whole && p.Refunded < p.Amount {
		left := p.Amount - p.Refunded
		ev.Attempt, ev.Amount = p.Evidence.Attempt, &left
		add(RefundedFact{
			Charge: c.ID, ID: unnamed + strconv.Itoa(len(c.Refunds)+1), Amount: left, EndToEnd: ev.EndToEnd,
			Against: c.against(i), Unnamed: true, Evidence: ev,
		})
	}
	return facts
}

// told are the ids of those refunds that are recorded by the hub's word under ids that the
// provider does not list: each by one of its amount.
func (c Charge) told(of Evidence, returns []providers.Return) map[string]bool {
	ids := map[string]bool{}
	for _, own := range c.Refunds {
		listed := func(r providers.Return) bool { return r.ID == own.ID || r.Sent != "" && r.Sent == own.Sent }
		if own.Hub != own.ID || own.EndToEnd != of.EndToEnd || slices.ContainsFunc(returns, listed) {
			continue
		}
		for _, r := range returns {
			if r.Amount == own.Amount && !ids[r.ID] && !ordered(r.ID) && c.refund(of, r.ID, r.Sent) == nil {
				ids[r.ID] = true
				break
			}
		}
	}
	return ids
}

// returned is the payment that a provider's word is about; -1: none.
func (c Charge) returned(ev Evidence) int {
	if i := c.payment(ev); i >= 0 {
		return i
	}
	for i, p := range c.Payments {
		if p.Amount > 0 && !p.Booked && p.Evidence.sameMoney(ev) {
			return i
		}
	}
	return -1
}

func returnedWhole(amount money.Amount, returns []providers.Return) bool {
	for _, r := range returns {
		amount -= r.Amount
	}
	return len(returns) > 0 && amount <= 0
}

// LostRefundFact is money that went back, by the word of the hub, and does not fit what
// the ledger has: it is taken out of suspense, for a person to look at. It is about a charge that
// the ledger may not have (any more), so it is part of none.
type LostRefundFact struct {
	ID       string       `json:"refund"`
	Of       ID           `json:"of"` // the charge, as the hub names it
	Merchant string       `json:"merchant,omitempty"`
	Provider string       `json:"provider,omitempty"`
	Amount   money.Amount `json:"amount"`
	EndToEnd string       `json:"end_to_end"`
	// Back: it was recorded, and its money came back. Found: it fits a payment after all,
	// and is recorded there. Either undoes it.
	Back  bool `json:"back,omitempty"`
	Found bool `json:"found,omitempty"`
}

// KindLostRefund is the kind of its ledger entry.
const KindLostRefund = "refund.unmatched"

// Op is the operation id under which it is recorded at most once.
func (f LostRefundFact) Op() string {
	op := "refund/" + opPart(f.EndToEnd) + "/" + opPart(f.ID)
	switch {
	case f.Back:
		op += "/back"
	case f.Found:
		op += "/found"
	}
	return op
}

// Unmatched is what more has gone back without a payment that it fits; less than zero:
// what less.
func (f LostRefundFact) Unmatched() money.Amount {
	if f.Back || f.Found {
		return -f.Amount
	}
	return f.Amount
}

// Postings are its double-entry lines.
func (f LostRefundFact) Postings() []ledger.Posting {
	out := f.Unmatched()
	return []ledger.Posting{{Account: ledger.Suspense, Amount: out}, {Account: ledger.PixClearing, Amount: -out}}
}
