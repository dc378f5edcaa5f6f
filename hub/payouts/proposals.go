package payouts

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/ssg-safe/agent/fleet/wire"
	"github.com/ssg-safe/agent/hub"
	"github.com/ssg-safe/agent/ledger"
	"github.com/ssg-safe/agent/money"
	"github.com/ssg-safe/agent/payout"
	"github.com/ssg-safe/agent/proposal"
)

// Terminals is what terminals may propose to be paid from an account. Nothing leaves by
// it: two people approve each, whatever the amount, because a terminal signs for nobody.
type Terminals struct {
	// Tenant is whose terminals; each may propose payouts for the account's merchant.
	// Refunds of payments in its own ledger every terminal may propose.
	Tenant string
	// PerPayout is the most that one payout may send, PerDay what one terminal's payouts
	// of a day in Brasília may send together. Refunds are bound by what was paid.
	PerPayout, PerDay money.Amount
}

// maxOpenProposals is how many of one terminal may wait or be under way.
const maxOpenProposals = 20

// Origin says which terminal proposed a payout. Its JSON form is stored.
type Origin struct {
	// Entry of the terminal's ledger, and its hash.
	Entry ledger.Position `json:"entry"`
	Hash  ledger.Hash     `json:"hash"`
	// Reference is the terminal's own name of it.
	Reference string `json:"reference"`
	// Source is how it was asked for there, By who asked.
	Source string `json:"source"`
	By     string `json:"by"`
}

// Why a terminal's proposal is refused at once: stable words, which the terminal shows.
const (
	whyAccount = "account" // no account of this merchant takes proposals of this terminal
	whyLimit   = "limit"   // above what one payout may send
	whyDay     = "day"     // above what the terminal's payouts of a day may send
	whyMany    = "many"    // too many of the terminal are not over
	whySealed  = "sealed"  // the details cannot be opened: the hub's keys are others
	whyPayment = "payment" // the payment that is to be given back is not proved, or not so large
	whyPeople  = "people"  // the hub names too few people to approve it
	whyInvalid = "invalid" // it cannot be paid
)

// restoredReason is why what a restored hub has forgotten was ended.
const restoredReason = "the hub was restored from a backup, and this may have been sent since"

func terminalDay(device, day string) string { return prefixTerminal + device + "/" + day + "/" }

func terminalOpen(device string) string { return prefixAtWork + device + "/" }

// takeAll makes payouts of what is ready.
func (b *Book) takeAll(ctx context.Context) error {
	var ready []hub.Proposal
	err := b.store.View(ctx, func(tx hub.Tx) (err error) {
		ready, err = hub.ReadyProposals(tx)
		return err
	})
	for _, p := range ready {
		if err != nil {
			break
		}
		if err = b.take(ctx, p); errors.Is(err, errKeys) {
			b.log.Error("what a terminal proposes waits", "proposal", p.ID, "terminal", p.Device, "err", err)
			err = nil
		}
	}
	return err
}

// errKeys: the hub's keys cannot be read just now, as while they are rotated.
var errKeys = errors.New("the hub's keys cannot be read")

// take makes a payout of a proposal, once, or refuses it.
func (b *Book) take(ctx context.Context, p hub.Proposal) error {
	var paid payment
	why := ""
	if p.Kind == payout.Refund {
		// A ledger is long, and what is read of it here does not change any more.
		err := b.store.View(ctx, func(tx hub.Tx) (err error) {
			paid, err = paidBy(tx, Statement{Device: p.Device, Charge: p.Charge, EndToEnd: p.EndToEnd})
			return err
		})
		if errors.Is(err, ErrUnproved) {
			why, err = whyPayment, nil
		}
		if err != nil {
			return err
		}
	}
	return b.store.Update(ctx, func(tx hub.Tx) error {
		p, err := hub.GetProposal(tx, p.Device, p.ID)
		if err != nil || p.State != hub.Ready {
			return err
		}
		var r Record
		if why == "" {
			r, why, err = b.accept(tx, p, paid)
		}
		if err != nil {
			return err
		}
		if why != "" {
			b.log.Warn("a terminal's proposal is refused", "proposal", p.ID, "terminal", p.Device, "amount", p.Amount, "why", why)
			_, err := hub.Raise(tx, hub.Alarm{
				Device: p.Device, Kind: hub.AlarmProposal, Subject: string(p.ID), Level: wire.LevelWarn, Last: time.Now().UTC(),
				Text:   "the hub refuses what a terminal proposes (" + why + "): docs/payouts.md says what that means",
				Detail: map[string]string{"proposal": string(p.ID), "reference": p.Reference, "amount": p.Amount.String(), "by": p.By, "source": p.Source, "why": why},
			})
			return errors.Join(err, hub.EndProposal(tx, p, proposal.Refused, why), put(tx, tellKey(p.Device, p.ID), true))
		}
		b.log.Info("payout", "do", "propose", "payout", r.ID, "by", r.By, "state", string(r.State), "amount", r.Amount)
		return hub.EndProposal(tx, p, hub.Taken, "")
	})
}

// accept records a terminal's proposal as one that people can approve, or says in a word
// why not.
func (b *Book) accept(tx hub.Tx, p hub.Proposal, paid payment) (r Record, why string, err error) {
	if old, err := Get(tx, p.ID); !errors.Is(err, hub.ErrNotFound) {
		return old, "", err // it was made of it already
	}
	in := payout.Intent{
		ID: p.ID, Kind: p.Kind, Merchant: p.Merchant, Amount: p.Amount, Charge: p.Charge, EndToEnd: p.EndToEnd,
		By: p.Device + "/" + p.Source + "/" + p.By, Approvers: 2,
	}
	d := details{Salt: rand.Text()}
	var earlier []payout.Payout
	manual := false
	if len(b.operators) < in.Approvers {
		return r, whyPeople, nil
	}
	device, err := hub.GetDevice(tx, p.Device)
	if err != nil {
		return r, "", err
	}
	open := 0
	for _, err := range tx.Scan(hub.KindPayout, terminalOpen(p.Device)) {
		if err != nil {
			return r, "", err
		}
		open++
	}
	if open >= maxOpenProposals {
		return r, whyMany, nil
	}
	a := b.accountFor(p, device.Tenant, paid)
	if p.Kind == payout.Refund {
		if paid.merchant != p.Merchant {
			return r, whyPayment, nil
		}
		if manual = a == nil; manual {
			in.Route = paid.route
		}
		if earlier, paid.amount, err = refundable(tx, p.EndToEnd, paid); err != nil {
			return r, "", err
		}
	} else if why, err = b.within(tx, a, p); why != "" || err != nil {
		return r, why, err
	}
	if a != nil {
		in.Route, in.Account, in.Resend = a.Name, a.Account, a.Resend || p.Kind == payout.Refund
	}
	if p.Kind == payout.ToKey {
		plain, err := b.unseal(proposal.Context(p.Device, p.Proposal), p.Box)
		switch {
		case errors.Is(err, wire.ErrSealed):
			b.log.Warn("what a terminal sealed cannot be opened", "proposal", p.ID, "terminal", p.Device, "err", err)
			return r, whySealed, nil
		case err != nil:
			return r, "", fmt.Errorf("%w: %w", errKeys, err)
		}
		whom, err := proposal.DecodeDetails(plain)
		if err != nil {
			return r, whyInvalid, nil
		}
		d.Key, d.Description = whom.Key.Reveal(), whom.Description.Reveal()
	}
	f, err := payout.Propose(in, d.payout(), paid.amount, earlier)
	switch {
	case errors.Is(err, payout.ErrRoom):
		return r, whyPayment, nil
	case err != nil:
		b.log.Warn("a terminal's proposal cannot be one", "proposal", p.ID, "err", err)
		return r, whyInvalid, nil
	}
	if err := put(tx, holdKey(in.ID), d); err != nil {
		return r, "", err
	}
	r, err = b.append(tx, Record{}, f, Entry{
		Device: p.Device, Manual: manual, Proposal: &Origin{Entry: p.Entry, Hash: p.Hash, Reference: p.Reference, Source: p.Source, By: p.By},
	})
	return r, "", err
}

// accountFor is the account that a proposal is paid from; nil: there is none. The
// terminal does not choose it.
func (b *Book) accountFor(p hub.Proposal, tenant string, paid payment) *account {
	if p.Kind == payout.Refund {
		if a := b.routes[paid.route]; a != nil && a.Refunder != nil && a.Merchant == p.Merchant {
			return a
		}
		return nil
	}
	for _, a := range b.routes {
		if a.Terminals != nil && a.Terminals.Tenant == tenant && a.Merchant == p.Merchant && a.Sender != nil {
			return a
		}
	}
	return nil
}

// within looks at what a terminal may propose.
func (b *Book) within(tx hub.Tx, a *account, p hub.Proposal) (why string, err error) {
	switch {
	case a == nil:
		return whyAccount, nil
	case p.Amount > min(a.Terminals.PerPayout, a.PerPayout):
		return whyLimit, nil
	}
	sum := p.Amount
	for row, err := range tx.Scan(hub.KindPayout, terminalDay(p.Device, dayOf(time.Now()))) {
		if err != nil {
			return "", err
		}
		other, err := Get(tx, lastPart(row.Key))
		if err != nil {
			return "", err
		}
		if other.Kind == payout.ToKey && other.State != payout.Rejected && other.State != payout.Failed && other.State != payout.Returned {
			if sum, err = sum.Add(other.Amount); err != nil {
				return "", err
			}
		}
	}
	if sum > a.Terminals.PerDay {
		return whyDay, nil
	}
	return "", nil
}

// trusted refuses the approval of what a terminal proposed that is not heard any more: it
// may have been stolen when it did.
func trusted(tx hub.Tx, r Record) error {
	if r.Proposal == nil {
		return nil
	}
	d, err := hub.GetDevice(tx, r.Device)
	switch {
	case err != nil:
		return err
	case !d.Revoked.IsZero():
		return fmt.Errorf("%w: terminal %s, which proposed it, is revoked: reject it", payout.ErrIntent, r.Device)
	case d.Fork != nil:
		return fmt.Errorf("%w: terminal %s, which proposed it, is forked: find out why first (ssg-hub device show %s)", payout.ErrIntent, r.Device, r.Device)
	}
	return nil
}

// plain is a reason as it can be sent.
func plain(reason string) string {
	if len(reason) > wire.MaxText || !utf8.ValidString(reason) || strings.ContainsFunc(reason, func(r rune) bool { return !unicode.IsPrint(r) || r == utf8.RuneError }) {
		return ""
	}
	return reason
}

// forgetProposals ends what a restored hub may have made something of since.
func (b *Book) forgetProposals(tx hub.Tx) error {
	list, err := hub.Proposals(tx)
	for _, p := range list {
		if err == nil && (p.State == proposal.Received || p.State == hub.Ready) {
			err = errors.Join(hub.EndProposal(tx, p, proposal.Forgotten, restoredReason), put(tx, tellKey(p.Device, p.ID), true))
		}
	}
	return err
}
