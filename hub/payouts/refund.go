package payouts

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/ssg-safe/agent/charge"
	"github.com/ssg-safe/agent/hub"
	"github.com/ssg-safe/agent/ledger"
	"github.com/ssg-safe/agent/money"
	"github.com/ssg-safe/agent/payout"
)

// ErrUnproved: the hub cannot show that the payment that is to be given back was
// made.
var ErrUnproved = errors.New("the payment is not proved")

// payment is what a payment brought in, to whom, and by which of the terminal's
// providers.
type payment struct {
	amount          money.Amount
	merchant, route string
	// back are the refunds of it that the terminal's ledger tells of, by their ids.
	back map[string]charge.RefundedFact
}

// elsewhere is how much of the payment went back, as the terminal's ledger tells, by
// others than the hub: in the bank's panel, at its payer's complaint, or by an order that the
// hub holds for rejected or failed, and that went all the same. Where it tells of more than
// there can be, that is all of it.
func (p payment) elsewhere(ours []payout.Payout) (sum money.Amount) {
	var err error
	named := map[string]string{} // by the provider's id of a refund, the hub's
	for id, f := range p.back {
		if f.Same != "" {
			named[f.Same] = id
		}
	}
	for id, f := range p.back {
		if f.Same != "" {
			continue // it is told of by the other name
		}
		own := slices.ContainsFunc(ours, func(r payout.Payout) bool {
			counted := r.Odd || r.State != payout.Rejected && r.State != payout.Failed
			return counted && (string(r.ID) == id || string(r.ID) == named[id] || f.Sent != "" && f.Sent == r.Paid)
		})
		sum, err = sum.Sub(f.Booked) // it names a part of what was told of without a name
		if err == nil && !own {
			sum, err = sum.Add(f.Amount)
		}
		if err != nil {
			return p.amount
		}
	}
	return max(sum, 0)
}

// paidBy finds a payment in the terminal's ledger, as far as the terminal has signed
// it.
func paidBy(tx hub.Tx, s Statement) (payment, error) {
	unproved := func(format string, a ...any) (payment, error) {
		return payment{}, fmt.Errorf("%w: %s", ErrUnproved, fmt.Sprintf(format, a...))
	}
	signed := map[uint64]ledger.Position{}
	chains, err := hub.Chains(tx, s.Device)
	if err != nil {
		return payment{}, err
	}
	for _, c := range chains {
		signed[c.Epoch] = c.Signed
	}
	paid := payment{back: map[string]charge.RefundedFact{}}
	var first string // the route that the charge began at
	for e, err := range tx.Entries(s.Device, ledger.Position{}) {
		if err != nil {
			return payment{}, err
		}
		if charge.SubjectOf(e.Bytes) != charge.ID(s.Charge) {
			continue
		}
		d, err := ledger.Decode(e.Bytes)
		if err != nil {
			continue // in quarantine
		}
		f, err := charge.Decode(d.Kind, d.Data, d.Evidence)
		if err != nil || f == nil || string(f.Subject()) != s.Charge {
			continue
		}
		var amount money.Amount
		var evidence charge.Evidence
		switch f := f.(type) {
		case charge.CreatedFact:
			paid.merchant, first = f.Merchant, f.Route
		case charge.PaidFact:
			amount, evidence = f.Amount, f.Evidence
		case charge.RefundedFact:
			if f.EndToEnd == s.EndToEnd && !signed[e.Epoch].Before(e.Position) {
				paid.back[f.ID] = f
			}
		case charge.ExtraPaymentFact:
			amount, evidence = f.Amount, f.Evidence
		case charge.MismatchFact:
			if !f.Booked {
				amount, evidence = f.Amount, f.Evidence
			}
		}
		if amount <= 0 || evidence.EndToEnd != s.EndToEnd {
			continue
		}
		if signed[e.Epoch].Before(e.Position) {
			return unproved("terminal %s has not signed the entry that tells of it yet: try again when it has synchronised", s.Device)
		}
		paid.amount, paid.route = amount, cmp.Or(evidence.Route, first)
	}
	switch {
	case paid.amount == 0:
		return unproved("no payment %s of charge %s in the ledger of terminal %s", s.EndToEnd, s.Charge, s.Device)
	case paid.merchant == "":
		return unproved("charge %s of terminal %s has no beginning in the ledger", s.Charge, s.Device)
	}
	return paid, nil
}

// receiver refuses a provider that a refund cannot mean. A name that the hub does not
// have is a person's business only if it is the terminal's for where the money came in;
// a mistyped one would be, too, though the hub could do it.
func (b *Book) receiver(name string, paid payment) error {
	here, received := b.routes[name], b.routes[paid.route]
	switch {
	case name == paid.route:
		return nil
	case received != nil && received.Merchant == paid.merchant:
		return fmt.Errorf("%w: the payment came in by provider %s, not by %s", payout.ErrIntent, paid.route, name)
	case here == nil:
		return fmt.Errorf("%w: no provider %q: the terminal calls the one that received the payment %q; the hub has: %s", payout.ErrIntent, name, paid.route, b.routeNames())
	}
	return nil
}

// refundable lists the hub's refunds of a payment, and what of it did not go back by
// another way.
func refundable(tx hub.Tx, endToEnd string, paid payment) (ours []payout.Payout, amount money.Amount, err error) {
	if ours, err = refundsOf(tx, endToEnd); err != nil {
		return nil, 0, err
	}
	return ours, paid.amount - min(paid.elsewhere(ours), paid.amount), nil
}

// paidNow is the payment that a refund gives back, as the terminal's ledger has it now, for
// its approval; none of what is no refund, and where the ledger has lost the payment since.
func paidNow(tx hub.Tx, id payout.ID) (payment, error) {
	r, err := Get(tx, id)
	if err != nil || r.Kind != payout.Refund {
		return payment{}, err
	}
	paid, err := paidBy(tx, Statement{Device: r.Device, Charge: r.Charge, EndToEnd: r.EndToEnd})
	if errors.Is(err, ErrUnproved) {
		err = nil
	}
	return paid, err
}

// stillRoom refuses the approval of a refund whose payment went back by another way since it
// was proposed.
func stillRoom(tx hub.Tx, r Record, paid payment) error {
	if paid.amount == 0 {
		return nil
	}
	others, left, err := refundable(tx, r.EndToEnd, paid)
	if err != nil {
		return err
	}
	others = slices.DeleteFunc(others, func(o payout.Payout) bool { return o.ID == r.ID })
	room, err := payout.Room(left, others)
	if err == nil && r.Amount > room {
		err = fmt.Errorf("%w: R$ %s are left, for some of the payment went back by another way since this was proposed: reject it", payout.ErrRoom, room)
	}
	return err
}

// refundsOf lists the refunds of a payment.
func refundsOf(tx hub.Tx, endToEnd string) ([]payout.Payout, error) {
	var all []payout.Payout
	for row, err := range tx.Scan(hub.KindPayout, backPrefix(endToEnd)) {
		if err != nil {
			return nil, err
		}
		r, err := Get(tx, lastPart(row.Key))
		if err != nil {
			return nil, err
		}
		all = append(all, r.Payout)
	}
	return all, nil
}
