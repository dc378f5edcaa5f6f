package payouts

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/ssg-safe/agent/charge"
	"github.com/ssg-safe/agent/fleet/wire"
	"github.com/ssg-safe/agent/hub"
	"github.com/ssg-safe/agent/ledger"
	"github.com/ssg-safe/agent/payout"
	"github.com/ssg-safe/agent/proposal"
)

// Devices is the hub, as far as terminals propose, and are told what becomes of payouts.
type Devices interface {
	// Proposed gets a token when there may be proposals that are ready.
	Proposed() <-chan struct{}
	// Payout tells a device what became of a payout or refund, durably; hub.Hub.
	Payout(ctx context.Context, device string, p wire.Payout) error
}

// Keys of what terminals are told.
const (
	prefixTell  = "tell/"  // DEVICE/ID: of which it was not told the newest
	prefixHeard = "heard/" // DEVICE: the ledger of its that was looked at for what it lacks
)

func tellKey(device string, id payout.ID) string { return prefixTell + device + "/" + string(id) }

// concerns reports whether a refund's state is a matter of its terminal's ledger: money
// went back, or what had gone came back.
func (r Record) concerns() bool {
	return r.Kind == payout.Refund && r.Device != "" && (r.State == payout.Settled || r.State == payout.Returned)
}

// wakeTeller has terminals told what changed.
func (b *Book) wakeTeller() {
	select {
	case b.news <- struct{}{}:
	default:
	}
}

// tellEvery is between attempts to tell what could not be told.
const tellEvery = time.Minute

// serveTerminals makes payouts of what terminals propose, and tells them what becomes of
// it, and of the refunds of their payments, until ctx ends.
func (b *Book) serveTerminals(ctx context.Context) error {
	if b.devices == nil {
		return nil
	}
	tick := time.NewTicker(tellEvery)
	defer tick.Stop()
	looked := map[string]string{}
	if err := b.remind(ctx, looked); err != nil {
		return err
	}
	for {
		if err := b.takeAll(ctx); err != nil {
			return err
		}
		if err := b.tellAll(ctx); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-b.devices.Proposed():
		case <-b.news:
		case <-tick.C:
			if err := b.remind(ctx, looked); err != nil {
				return err
			}
		}
	}
}

// tellAll tells terminals what they were not told yet. What a terminal cannot be told now
// is left for the next time.
func (b *Book) tellAll(ctx context.Context) error {
	var keys []string
	err := b.store.View(ctx, func(tx hub.Tx) error {
		for row, err := range tx.Scan(hub.KindPayout, prefixTell) {
			if err != nil {
				return err
			}
			keys = append(keys, row.Key)
		}
		return nil
	})
	for _, key := range keys {
		if err != nil || ctx.Err() != nil {
			break
		}
		err = b.tellOne(ctx, key)
	}
	return err
}

func (b *Book) tellOne(ctx context.Context, key string) error {
	device, _, _ := strings.Cut(strings.TrimPrefix(key, prefixTell), "/")
	var m wire.Payout
	read := func(tx hub.Tx) (err error) {
		m, err = message(tx, device, lastPart(key))
		return err
	}
	if err := b.store.View(ctx, read); err != nil {
		return err
	}
	said := m
	switch err := b.devices.Payout(ctx, device, said); {
	case errors.Is(err, hub.ErrOutcomeUnknown):
		return err
	case errors.Is(err, hub.ErrNotFound): // it was revoked, and is told nothing more
	case err != nil:
		if ctx.Err() == nil {
			b.log.Warn("a terminal cannot be told now", "terminal", device, "payout", lastPart(key), "err", err)
		}
		return nil
	}
	return b.store.Update(ctx, func(tx hub.Tx) error {
		if err := read(tx); err != nil {
			return err
		}
		if m != said {
			b.wakeTeller() // it has changed meanwhile
			return nil
		}
		return tx.Delete(hub.KindPayout, key)
	})
}

// message is what a terminal is to be told about a payout, with what the newest outcome
// rests on, or about a proposal that became none.
func message(tx hub.Tx, device string, id payout.ID) (wire.Payout, error) {
	r, err := Get(tx, id)
	if errors.Is(err, hub.ErrNotFound) {
		p, err := hub.GetProposal(tx, device, id)
		return p.Payout(p.State, plain(p.Reason)), err
	}
	if err != nil {
		return wire.Payout{}, err
	}
	m := wire.Payout{
		Payout: string(r.ID), Kind: string(r.Kind), State: string(r.State), Cents: r.Amount, Charge: r.Charge, EndToEnd: r.EndToEnd, Sent: r.Paid,
	}
	if r.Proposal != nil {
		m.Reason = plain(r.Reason)
	}
	if r.State == payout.Rejected && r.Reason == restoredReason {
		m.State = string(proposal.Forgotten)
	}
	history, err := History(tx, id)
	if err != nil {
		return wire.Payout{}, err
	}
	for _, e := range history {
		f, err := payout.Decode(e.Kind, e.Fact)
		if err != nil {
			return wire.Payout{}, err
		}
		if o, ok := f.(payout.OutcomeFact); ok {
			m.Digest, m.By = o.Evidence.Digest, o.Evidence.By
		}
	}
	return m, nil
}

// remind notes what terminals are to be told again: their ledger, as the hub holds it,
// lacks a refund that was made, or may lack what became of their proposals. So it is when
// a terminal was restored from a backup, when its version of a fork was taken, and when the
// hub was older than this. A ledger is long, and is looked through only when it has become
// another; looked is what this process knows of that.
func (b *Book) remind(ctx context.Context, looked map[string]string) error {
	lacks := map[string][]payout.ID{}
	became := map[string]string{}
	err := b.store.View(ctx, func(tx hub.Tx) error {
		list, err := List(tx, "", true)
		if err != nil {
			return err
		}
		made := map[string][]Record{}
		for _, r := range list {
			if r.concerns() || r.Proposal != nil {
				made[r.Device] = append(made[r.Device], r)
			}
		}
		proposals, err := hub.Proposals(tx)
		if err != nil {
			return err
		}
		ended := map[string][]payout.ID{}
		for _, p := range proposals {
			if p.State == proposal.Refused || p.State == proposal.Forgotten {
				ended[p.Device] = append(ended[p.Device], p.ID)
				if made[p.Device] == nil {
					made[p.Device] = []Record{}
				}
			}
		}
		for device, records := range made {
			is, err := version(tx, device)
			if err != nil {
				return err
			}
			if looked[device] == is {
				continue
			}
			was, err := get[string](tx, prefixHeard+device)
			if err != nil && !errors.Is(err, hub.ErrNotFound) {
				return err
			}
			became[device] = is
			if was == is {
				continue
			}
			has, err := refundsIn(tx, device)
			if err != nil {
				return err
			}
			lacks[device] = append(lacks[device], ended[device]...)
			for _, r := range records {
				if r.Proposal != nil || !has[told{string(r.ID), r.EndToEnd, r.State == payout.Returned}] {
					lacks[device] = append(lacks[device], r.ID)
				}
			}
		}
		return nil
	})
	if err != nil || len(became) == 0 {
		return err
	}
	err = b.store.Update(ctx, func(tx hub.Tx) error {
		for device, is := range became {
			if was, err := get[string](tx, prefixHeard+device); err == nil && was == is {
				continue
			}
			for _, id := range lacks[device] {
				if err := put(tx, tellKey(device, id), true); err != nil {
					return err
				}
			}
			if err := put(tx, prefixHeard+device, is); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil {
		for device, is := range became {
			looked[device] = is
		}
	}
	return err
}

// version names the ledger that the hub holds of a device: another epoch, or a branch
// that was set aside, makes it another one.
func version(tx hub.Tx, device string) (string, error) {
	chains, err := hub.Chains(tx, device)
	s := ""
	for _, c := range chains {
		s += fmt.Sprintf("%d/%d ", c.Epoch, len(c.Aside))
	}
	return s, err
}

// told is a refund as a terminal's ledger tells of it.
type told struct {
	id, endToEnd string
	back         bool
}

// refundsIn lists the refunds that a device's ledger tells of, as far as the device has
// signed it and has not lost it: a later epoch begins behind an entry that it names.
func refundsIn(tx hub.Tx, device string) (map[told]bool, error) {
	chains, err := hub.Chains(tx, device)
	if err != nil {
		return nil, err
	}
	signed := map[uint64]ledger.Position{}
	for _, c := range chains {
		signed[c.Epoch] = c.Signed
	}
	at := map[told]ledger.Position{}
	for e, err := range tx.Entries(device, ledger.Position{}) {
		if err != nil {
			return nil, err
		}
		d, err := ledger.Decode(e.Bytes)
		if err != nil || d.Kind != ledger.KindEpoch && signed[e.Epoch].Before(e.Position) {
			continue // in quarantine, or hearsay
		}
		switch d.Kind {
		case ledger.KindEpoch:
			var begins ledger.EpochData
			if json.Unmarshal(d.Data, &begins) == nil {
				for r, p := range at {
					if begins.After.Before(p) {
						delete(at, r)
					}
				}
			}
		case charge.RefundedFact{}.Kind():
			var f charge.RefundedFact
			if json.Unmarshal(d.Data, &f) == nil {
				at[told{f.ID, f.EndToEnd, false}] = e.Position
			}
		case charge.KindLostRefund:
			var f charge.LostRefundFact
			if json.Unmarshal(d.Data, &f) == nil {
				at[told{f.ID, f.EndToEnd, f.Back}] = e.Position
			}
		}
	}
	has := map[told]bool{}
	for r := range at {
		has[r] = true
	}
	return has, nil
}
