package hub

import (
	"errors"
	"fmt"

	"github.com/ssg-safe/agent/fleet/wire"
	"github.com/ssg-safe/agent/ledger"
	"github.com/ssg-safe/agent/money"
	"github.com/ssg-safe/agent/payout"
	"github.com/ssg-safe/agent/proposal"
)

// A proposal of a device becomes one that people can approve in three steps, each of which
// needs the one before:
//
//	queued     the entry that proposes it is here
//	received   that entry is signed by the device, and its details are here (propose); the
//	           device is told, by a message whose id is kept
//	ready      the entry by which the device records just that message is here, and is
//	           offered, by ReadyProposals, once it is signed
//
// The device erases the details with that entry. So a hub that was restored to a time
// before it cannot make the same thing a second time of what it is sent again: the entry
// names a message that this hub never sent, and the proposal is forgotten.

// Proposal is what a device proposes. Its JSON form is stored.
type Proposal struct {
	proposal.Proposal
	Device string `json:"device"`
	// State is Queued, Received, Ready, Taken, proposal.Refused or proposal.Forgotten.
	State payout.State `json:"state"`
	// Entry proposes it, and has this hash.
	Entry ledger.Position `json:"entry"`
	Hash  ledger.Hash     `json:"hash"`
	// Box holds the sealed details until somebody has made something of them.
	Box []byte `json:"box,omitempty"`
	// JTI is the message by which the device was told that it is here, Known the entry
	// by which it recorded that.
	JTI   string           `json:"jti,omitempty"`
	Known *ledger.Position `json:"known,omitempty"`
	// Reason is why it was refused.
	Reason string `json:"reason,omitempty"`
	// Again is what the device, which was restored, has proposed anew under the same
	// reference. It is refused, and of this payout the device is told nothing more, because
	// it would take that for what becomes of the other.
	Again *Again `json:"again,omitempty"`
	// Said is what the device was told last, without claims.
	Said *wire.Payout `json:"said,omitempty"`
}

// Again is a later proposal under the reference of an earlier one. Its JSON form is stored.
type Again struct {
	Entry  ledger.Position `json:"entry"`
	Sealed string          `json:"sealed"`
	Amount money.Amount    `json:"amount"`
}

// whyReference is why such a one is refused.
const whyReference = "reference"

// States of a proposal at the hub, besides those of package proposal.
const (
	// Ready: it can be offered for approval once its entries are signed.
	Ready payout.State = "ready"
	// Taken: it is a payout or refund now, which has a state of its own.
	Taken payout.State = "taken"
)

func proposalKey(device string, id payout.ID) string { return device + "/" + string(id) }

// Proposed gets a token when there may be proposals that are ready.
func (h *Hub) Proposed() <-chan struct{} { return h.proposed }

// wakeProposals tells whoever waits for them, after the commit.
func (w *work) wakeProposals() {
	w.after = append(w.after, func() {
		select {
		case w.h.proposed <- struct{}{}:
		default:
		}
	})
}

// propose notes what an entry proposes.
func (w *work) propose(d *deviceWork, e *candidate) error {
	p, err := proposal.Decode(d.Name, e.proposal)
	if err != nil {
		return w.raise(d, AlarmProposal, wire.LevelAlarm, "the device proposes what no terminal of ours would: it is ignored", map[string]string{"at": e.Position.String(), "why": err.Error()})
	}
	key := proposalKey(d.Name, p.ID)
	old, known, err := find[Proposal](w.tx, KindProposal, key)
	if err != nil {
		return err
	}
	if known && old.State != proposal.Queued {
		if old.Proposal == p {
			return nil
		}
		if p.Kind == payout.ToKey && old.Kind == payout.ToKey {
			old.Again = &Again{e.Position, p.Sealed, p.Amount}
		}
		return errors.Join(put(w.tx, KindProposal, key, old), w.alarm(Alarm{
			Device: d.Name, Kind: AlarmProposal, Subject: string(p.ID), Level: wire.LevelAlarm,
			Text:   "the device, which was restored, proposes anew under a reference that the hub has already: the first one counts, and the other is refused",
			Detail: map[string]string{"proposal": string(p.ID), "reference": p.Reference, "first": old.Entry.String(), "again": e.Position.String()},
		}, true))
	}
	return put(w.tx, KindProposal, key, Proposal{Proposal: p, Device: d.Name, State: proposal.Queued, Entry: e.Position, Hash: e.Hash})
}

// offered takes the details of a proposal, and answers with what is known of it.
func (w *work) offered(d *deviceWork, m wire.Propose) error {
	if d.Fork != nil {
		return nil
	}
	key := proposalKey(d.Name, payout.ID(m.Proposal))
	p, known, err := find[Proposal](w.tx, KindProposal, key)
	if err == nil && !known {
		p, known, err = w.overlooked(d, payout.ID(m.Proposal))
	}
	if err != nil || !known {
		return err // its entry is on the way, and the message comes again
	}
	if p.Kind == payout.ToKey && proposal.SealedHash(m.Sealed) != p.Sealed {
		return w.refuseAgain(d, p, proposal.SealedHash(m.Sealed))
	}
	if p.State != proposal.Queued {
		return w.repeat(d, p)
	}
	if signed, err := Signed(w.tx, d.Name, p.Entry); err != nil || !signed {
		return err
	}
	if p.Kind == payout.ToKey {
		p.Box = m.Sealed
	}
	p.State = proposal.Received
	return w.tell(d, p)
}

// overlooked notes a proposal whose entry came when the hub was of a version that did not
// know what it is.
func (w *work) overlooked(d *deviceWork, id payout.ID) (p Proposal, known bool, err error) {
	chains, err := Chains(w.tx, d.Name)
	if err != nil {
		return p, false, err
	}
	for _, c := range chains {
		op := proposal.MadeOp(c.Epoch, id)
		first, err := w.tx.Op(d.Name, op)
		var e Entry
		if err == nil {
			e, err = w.tx.Entry(d.Name, first.At)
		}
		if errors.Is(err, ErrNotFound) {
			continue
		}
		made := candidate{Entry: e}
		if made.read(); err == nil && made.Op == op && made.proposal != nil {
			err = w.propose(d, &made)
		}
		if err != nil {
			return p, false, err
		}
	}
	return find[Proposal](w.tx, KindProposal, proposalKey(d.Name, id))
}

// refuseAgain refuses what a device has proposed anew under the reference of a proposal
// that is here, when its details are offered.
func (w *work) refuseAgain(d *deviceWork, p Proposal, sealed string) error {
	if p.Again == nil || p.Again.Sealed != sealed {
		return nil
	}
	if signed, err := Signed(w.tx, d.Name, p.Again.Entry); err != nil || !signed {
		return err
	}
	switch err := w.room(d.Name, wire.TypPayout, string(p.ID)); {
	case errors.Is(err, ErrBusy):
		return nil // it comes again
	case err != nil:
		return err
	}
	said := p.Payout(proposal.Refused, whyReference)
	said.Cents = p.Again.Amount
	return w.start(d, Message{Device: d.Name, JTI: newID(), Payout: &said, Made: w.now, State: Waiting})
}

// repeat says again what a device asks for because it was never told, or has forgotten.
func (w *work) repeat(d *deviceWork, p Proposal) error {
	if p.Said == nil {
		return nil // it will be told in a moment
	}
	jti, known, err := find[string](w.tx, KindReference, refKey(d.Name, wire.TypPayout, string(p.ID)))
	if err != nil {
		return err
	}
	if known {
		m, err := get[Message](w.tx, KindMessage, d.Name+"/"+jti)
		if err != nil || m.State == Waiting {
			return err // it is sent until it is answered
		}
	}
	if p.State == proposal.Received {
		return w.tell(d, p)
	}
	if err := w.room(d.Name, wire.TypPayout, string(p.ID)); errors.Is(err, ErrBusy) {
		return nil
	} else if err != nil {
		return err
	}
	return w.start(d, Message{Device: d.Name, JTI: newID(), Payout: p.Said, Made: w.now, State: Waiting})
}

// tell tells the device the state of a proposal that is nothing else yet, and keeps the
// proposal.
func (w *work) tell(d *deviceWork, p Proposal) error {
	said := p.Payout(p.State, p.Reason)
	p.Said = &said
	if p.State != proposal.Received || p.JTI == "" {
		p.JTI = newID() // else the device's entry may be on the way, and names the first one
	}
	m := Message{Device: d.Name, JTI: p.JTI, Payout: &said, Made: w.now, State: Waiting}
	if err := put(w.tx, KindProposal, proposalKey(d.Name, p.ID), p); err != nil {
		return err
	}
	switch err := w.room(d.Name, wire.TypPayout, string(p.ID)); {
	case errors.Is(err, ErrBusy):
		return nil // a device that asks comes again
	case err != nil:
		return err
	}
	return w.start(d, m)
}

// Payout is the message that tells the device of a state of its proposal, without claims.
func (p Proposal) Payout(s payout.State, reason string) wire.Payout {
	return wire.Payout{
		Payout: string(p.ID), Kind: string(p.Kind), State: string(s), Cents: p.Amount, Charge: p.Charge, EndToEnd: p.EndToEnd, Reason: reason,
	}
}

// told notes that a device has recorded what it was told of a proposal.
func (w *work) told(d *deviceWork, e *candidate) error {
	s := e.said.Said
	if s.State != proposal.Received || s.Odd != "" {
		return nil
	}
	key := proposalKey(d.Name, s.ID)
	p, known, err := find[Proposal](w.tx, KindProposal, key)
	switch {
	case err != nil:
		return err
	case !known || p.Known != nil || p.State != proposal.Queued && p.State != proposal.Received:
		return nil
	case p.State == proposal.Queued || p.JTI != e.said.JTI:
		p.State, p.Box, p.Reason = proposal.Forgotten, nil, "the hub was restored from a backup"
		return errors.Join(w.tell(d, p), w.alarm(Alarm{
			Device: d.Name, Kind: AlarmProposal, Subject: string(p.ID), Level: wire.LevelAlarm,
			Text:   "the hub was restored from a backup and has forgotten what became of a device's proposal: it may have been paid; compare with the provider's statement before it is proposed again",
			Detail: map[string]string{"proposal": string(p.ID), "reference": p.Reference, "amount": p.Amount.String()},
		}, true))
	}
	p.State, p.Known = Ready, &e.Position
	w.wakeProposals()
	return errors.Join(put(w.tx, KindProposal, key, p), put(w.tx, KindReady, key, true))
}

// Signed reports whether a device has signed its chain up to a position, which the hub
// holds.
func Signed(tx Tx, device string, at ledger.Position) (bool, error) {
	c, err := get[Chain](tx, KindChain, chainKey(device, at.Epoch))
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	return err == nil && !c.Signed.Before(at), err
}

// ReadyProposals lists the proposals that are ready, and whose entries their devices have
// signed. A device that is revoked, or forked, proposes nothing.
func ReadyProposals(tx Tx) ([]Proposal, error) {
	var list []Proposal
	for row, err := range tx.Scan(KindReady, "") {
		if err != nil {
			return nil, err
		}
		p, err := get[Proposal](tx, KindProposal, row.Key)
		if err != nil {
			return nil, err
		}
		d, err := get[Device](tx, KindDevice, p.Device)
		if err != nil {
			return nil, err
		}
		signed, err := Signed(tx, p.Device, *p.Known)
		if err != nil {
			return nil, err
		}
		e, err := tx.Entry(p.Device, p.Entry)
		if err != nil && !errors.Is(err, ErrNotFound) {
			return nil, err
		}
		if signed && err == nil && e.Hash == p.Hash && d.Revoked.IsZero() && d.Fork == nil {
			list = append(list, p)
		}
	}
	return list, nil
}

// Proposals lists all proposals, by device.
func Proposals(tx Tx) ([]Proposal, error) { return collect[Proposal](tx, KindProposal, "") }

// GetProposal returns a device's proposal, or ErrNotFound.
func GetProposal(tx Tx, device string, id payout.ID) (Proposal, error) {
	return get[Proposal](tx, KindProposal, proposalKey(device, id))
}

// EndProposal records what was made of a proposal: Taken, proposal.Refused or
// proposal.Forgotten, and erases its details. The device is told by [Hub.Payout].
func EndProposal(tx Tx, p Proposal, state payout.State, reason string) error {
	p.State, p.Reason, p.Box = state, reason, nil
	key := proposalKey(p.Device, p.ID)
	return errors.Join(put(tx, KindProposal, key, p), tx.Delete(KindReady, key))
}

// keepProposals sees to the proposals of entries from a fork on, which are set aside.
func keepProposals(tx Tx, device string, from ledger.Position, c Chain) error {
	list, err := collect[Proposal](tx, KindProposal, device+"/")
	if err != nil {
		return err
	}
	gone := func(at ledger.Position) bool {
		return at.Epoch == from.Epoch && !at.Before(from) && c.Signed.Before(at)
	}
	for _, p := range list {
		key := proposalKey(device, p.ID)
		switch {
		case p.State == proposal.Queued && gone(p.Entry):
			err = tx.Delete(KindProposal, key)
		case p.State == Ready && gone(*p.Known):
			p.State, p.Known = proposal.Received, nil
			err = errors.Join(put(tx, KindProposal, key, p), tx.Delete(KindReady, key))
		}
		if err != nil {
			return fmt.Errorf("proposal %s: %w", p.ID, err)
		}
	}
	return nil
}
