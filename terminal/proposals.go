package terminal

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"go.etcd.io/bbolt"

	"github.com/ssg-safe/agent/charge"
	"github.com/ssg-safe/agent/ledger"
	"github.com/ssg-safe/agent/money"
	"github.com/ssg-safe/agent/payout"
	"github.com/ssg-safe/agent/proposal"
	"github.com/ssg-safe/agent/queue"
	"github.com/ssg-safe/agent/store"
)

// Proposals are how the terminal proposes payouts and refunds.
type Proposals struct {
	// Device is this terminal's name in its fleet.
	Device string
	// Seal seals a text so that the hub alone can read it; nil: there is no hub.
	Seal func(context string, text []byte) ([]byte, error)
}

// Errors of [Terminal.Propose] besides those of package proposal.
var (
	// ErrNoHub: a terminal pays nothing out by itself, and there is no hub.
	ErrNoHub = errors.New("there is no hub that could pay it out")
	// ErrPayment: the charge has no such payment, or more than one.
	ErrPayment = errors.New("which payment is to be given back is not known")
)

// ProposalRequest asks for a payout to a PIX key, or, where it names a charge, for a
// refund of a payment of it.
type ProposalRequest struct {
	Reference string // the caller's own, which makes it idempotent
	Amount    money.Amount
	// Source is how it was asked for (control, api:NAME), By the name of who asks.
	Source, By string
	// Of a payout: the merchant's id ("" is the first one), and whom it is for.
	Merchant string
	Details  proposal.Details
	// Of a refund: EndToEnd may be empty where the charge has one payment.
	Charge   charge.ID
	EndToEnd string
}

// Propose records a proposal and returns it after the commit; the hub is told by the link.
// The same request again is the same proposal. It moves no money. Errors: those above, of
// package proposal, ErrMerchant, ErrNoCharge, ErrBusy, ErrStopping, and the store's.
func (t *Terminal) Propose(ctx context.Context, r ProposalRequest) (proposal.Record, error) {
	if t.cfg.Proposals.Seal == nil {
		return proposal.Record{}, ErrNoHub
	}
	p, left, err := t.proposed(r)
	if err != nil {
		return proposal.Record{}, err
	}
	var known proposal.Record
	err = t.store.View(func(tx *bbolt.Tx) (err error) {
		known, err = proposal.Find(tx, p, r.Details)
		return err
	})
	if !errors.Is(err, proposal.ErrNotFound) {
		return known, err
	}
	if p.Kind == payout.Refund && p.Amount > left {
		return proposal.Record{}, fmt.Errorf("%w: no more than %s of the payment are left", proposal.ErrInvalid, left)
	}
	if why := t.store.Stats().ReadOnly; why != "" {
		return proposal.Record{}, fmt.Errorf("%w: %s", store.ErrReadOnly, why)
	}
	var sealed []byte
	if p.Kind == payout.ToKey {
		plain, err := r.Details.Encode()
		if err == nil {
			sealed, err = t.cfg.Proposals.Seal(proposal.Context(t.cfg.Proposals.Device, p), plain)
		}
		if err != nil {
			return proposal.Record{}, err
		}
		p.Sealed = proposal.SealedHash(sealed)
	}
	if err := p.Check(t.cfg.Proposals.Device); err != nil {
		return proposal.Record{}, err
	}
	var made proposal.Record
	var fresh bool
	err = t.record(ctx, &decision{name: "proposal", fresh: true}, func(tx *bbolt.Tx, at ledger.Stamp) (err error) {
		made, fresh, err = proposal.Make(tx, at, t.cfg.Proposals.Device, p, r.Details, sealed)
		return err
	}, func() {
		if fresh {
			t.log.Info("proposal", "proposal", made.ID, "kind", string(made.Kind), "amount", made.Amount, "source", made.Source)
		}
		t.observe(Event{Kind: ProposalChanged})
	})
	return made, err
}

// proposed is what a request proposes, before anything is sealed; of a refund also how
// much did not go back yet, as far as is known here.
func (t *Terminal) proposed(r ProposalRequest) (p proposal.Proposal, left money.Amount, err error) {
	p = proposal.Proposal{
		ID: proposal.IDOf(t.cfg.Proposals.Device, r.Reference), Kind: payout.ToKey,
		Reference: r.Reference, Amount: r.Amount, Source: r.Source, By: r.By,
	}
	if r.Charge == "" {
		m, ok := t.merchant(r.Merchant)
		if !ok {
			return p, 0, fmt.Errorf("%w %q", ErrMerchant, r.Merchant)
		}
		p.Merchant = m.ID
		return p, 0, r.Details.Check()
	}
	record, err := t.Record(r.Charge)
	if err != nil {
		return p, 0, err
	}
	var paid []charge.Payment
	for _, pay := range record.Charge.Payments {
		if pay.Evidence.EndToEnd != "" && (r.EndToEnd == "" || pay.Evidence.EndToEnd == r.EndToEnd) {
			paid = append(paid, pay)
		}
	}
	switch {
	case len(paid) == 0 && r.EndToEnd == "":
		return p, 0, fmt.Errorf("%w: charge %s has none with an end-to-end id; one without it is given back in the provider's panel", ErrPayment, r.Charge)
	case len(paid) == 0:
		return p, 0, fmt.Errorf("%w: charge %s has none with that end-to-end id", ErrPayment, r.Charge)
	case len(paid) > 1:
		return p, 0, fmt.Errorf("%w: charge %s has %d: name its end-to-end id", ErrPayment, r.Charge, len(paid))
	}
	p.Kind, p.Charge, p.EndToEnd, p.Merchant = payout.Refund, string(r.Charge), paid[0].Evidence.EndToEnd, record.Charge.Merchant
	p.Provider = cmp.Or(paid[0].Evidence.Route, record.Charge.Route)
	return p, paid[0].Amount - paid[0].Refunded, nil
}

// ProposalSaid records what the hub has signed about a proposal, and tells what kind of
// word it was. with is written in the same transaction, if anything is. Errors:
// proposal.ErrNotFound, ErrBusy, ErrStopping, with's, the store's.
func (t *Terminal) ProposalSaid(ctx context.Context, s proposal.Said, ev proposal.Evidence, with func(*bbolt.Tx) error) (proposal.Word, error) {
	var r proposal.Record
	var word proposal.Word
	err := t.record(ctx, &decision{name: "proposal said"}, func(tx *bbolt.Tx, at ledger.Stamp) (err error) {
		if r, word, err = proposal.Say(tx, at, s, ev); err != nil {
			return err
		}
		if word == proposal.Known {
			return errNothingNew
		}
		return with(tx)
	}, func() {
		t.log.Info("proposal", "proposal", r.ID, "state", string(r.State), "amount", r.Amount)
		if word == proposal.Contradiction {
			t.log.Error("the hub contradicts what is known of a proposal; a person must look", "proposal", r.ID, "why", r.Odd)
		}
		t.observe(Event{Kind: ProposalChanged})
	})
	if errors.Is(err, errNothingNew) {
		return proposal.Known, nil
	}
	return word, err
}

// errNothingNew keeps what changes nothing from being committed.
var errNothingNew = errors.New("nothing new")

// record commits a decision that is all in what write does, and does then on the loop.
// Errors: ErrBusy, ErrStopping, those of write, the store's.
func (t *Terminal) record(ctx context.Context, d *decision, write func(*bbolt.Tx, ledger.Stamp) error, then func()) error {
	result := make(chan error, 1)
	err := t.ask(ctx, func() {
		if t.stopping {
			result <- ErrStopping
			return
		}
		at := t.stamp()
		d.with = func(tx *bbolt.Tx) error { return write(tx, at) }
		d.then = func([]queue.Job) {
			then()
			result <- nil
		}
		d.refused = func(err error) { result <- err }
		t.commit(d)
	})
	if err != nil {
		return err
	}
	told, err := wait(ctx, t, result)
	return cmp.Or(err, told)
}
