package hub

import (
	"errors"
	"fmt"
	"time"

	"github.com/ssg-safe/agent/fleet/wire"
	"github.com/ssg-safe/agent/ledger"
	"github.com/ssg-safe/agent/ticket"
)

// ledger takes a batch: it must continue what is stored, or repeat it.
func (w *work) ledger(d *deviceWork, p *packet) error {
	b := p.batch
	epoch := b.From.Epoch
	if d.Fork != nil {
		w.drop(p, DropHeld, "forked at "+d.Fork.At.String())
		d.hold(epoch, wire.HoldFork)
		return nil
	}
	switch ok, err := w.approved(d, epoch); {
	case err != nil:
		return err
	case !ok:
		w.drop(p, DropHeld, fmt.Sprintf("epoch %d is not approved", epoch))
		d.hold(epoch, wire.HoldEpoch)
		return nil
	}
	c, err := w.chain(d, epoch)
	if err != nil {
		return err
	}
	switch part, err := w.compare(d, c, b); {
	case err != nil:
		return err
	case part != nil && !d.TakeFork:
		return w.fork(d, c, *part)
	case part != nil:
		if ok, err := w.takeFork(d, c, *part); err != nil || !ok {
			return err
		}
	}
	had := c.Head.Seq
	switch gap, err := w.gap(d, c, b); {
	case err != nil:
		return err
	case gap:
		if ok, err := w.takeGap(d, c, b); err != nil {
			return err
		} else if !ok {
			w.drop(p, DropGap, fmt.Sprintf("%v continues %v, the hub holds %v", b.From, b.Prev, c.Head.Position))
			return w.want(d, c, false)
		}
	case had == 0:
		c.Start.Hash, c.Head.Hash = b.Prev, b.Prev
	}
	if err := w.store(d, c, b); err != nil {
		return err
	}
	if err := w.checkpoint(d, c, b); err != nil {
		return err
	}
	if d.TakeGap && c.Head.Seq > had {
		d.TakeGap, d.changed = false, true // the device has the missing entries after all
	}
	if d.TakeFork && c.Head.Seq > had {
		d.TakeFork, d.changed = false, true // there is no difference any more
	}
	w.stats.Batches++
	d.ack, d.ackHead = &wire.Ack{Epoch: epoch}, true
	if epoch != d.current() {
		// The rest of an older epoch, after the terminal was restored. It may
		// have less of it than the hub, and could not check a later head.
		last := b.last()
		d.ack, d.ackHead = &wire.Ack{Epoch: epoch, Seq: last.Seq, Head: last.Hash}, false
	}
	return nil
}

// parting is a position at which device and hub hold different entries.
type parting struct {
	at        ledger.Position
	have, got ledger.Hash
	bytes     []byte // the device's entry, when it was sent
	exact     bool   // it is the first such position
}

// compare holds what a batch repeats against what is stored.
func (w *work) compare(d *deviceWork, c *chainWork, b *batch) (*parting, error) {
	before := ledger.Head{Position: ledger.Position{Epoch: b.From.Epoch, Seq: b.From.Seq - 1}, Hash: b.Prev}
	if part, err := w.same(d, c, before, nil); err != nil || part != nil {
		return part, err
	}
	for i := range b.entries {
		e := &b.entries[i]
		if e.Seq > c.Head.Seq {
			break
		}
		part, err := w.same(d, c, ledger.Head{Position: e.Position, Hash: e.Hash}, e.Bytes)
		if err != nil || part != nil {
			if part != nil {
				part.exact = true // what it follows is the same
			}
			return part, err
		}
		w.stats.Duplicates++
	}
	if b.signed != nil {
		return w.same(d, c, b.signed.Head, nil)
	}
	return nil, nil
}

// same compares one head of the device with the stored chain; nil when they are
// the same, or when the hub holds nothing there.
func (w *work) same(d *deviceWork, c *chainWork, got ledger.Head, bytes []byte) (*parting, error) {
	var have ledger.Hash
	switch {
	case got.Epoch != c.Epoch, got.Seq > c.Head.Seq, c.Head.Seq == 0:
		return nil, nil
	case got.Position == c.Head.Position:
		have = c.Head.Hash
	case got.Position == c.Start.Position:
		have = c.Start.Hash
	default:
		e, err := w.tx.Entry(d.Name, got.Position)
		if errors.Is(err, ErrNotFound) {
			return nil, nil // lies in a gap that an operator let pass
		}
		if err != nil {
			return nil, err
		}
		have = e.Hash
	}
	if have == got.Hash {
		return nil, nil
	}
	part := &parting{at: got.Position, have: have, got: got.Hash, bytes: bytes}
	if got.Seq == c.Start.Seq {
		part.at.Seq, part.exact = c.Start.Seq+1, true // nothing is the same
	}
	return part, nil
}

// fork stops everything that comes from the device, until an operator has seen
// what happened.
func (w *work) fork(d *deviceWork, c *chainWork, part parting) error {
	d.Fork = &Fork{At: part.at, Have: part.have, Got: part.got, Since: w.now}
	d.changed = true
	w.stats.Forks++
	d.hold(part.at.Epoch, wire.HoldFork)
	const maxKept = 32 << 10
	if len(part.bytes) > maxKept {
		part.bytes = nil
	}
	return errors.Join(
		put(w.tx, KindQuarantine, positionKey(d.Name, part.at), Quarantined{At: part.at, Reason: "fork", Since: w.now, Hash: &part.got, Bytes: part.bytes}),
		w.raise(d, AlarmFork, wire.LevelAlarm,
			"the device has another entry at a position that the hub holds: its store was copied or restored, or the broker forges; nothing more is taken from it",
			map[string]string{"at": part.at.String(), "have": part.have.String(), "got": part.got.String(), "signed": c.Signed.String()}))
}

// takeFork goes on with the device's version after an operator said so: what
// the hub holds from the first difference on is set aside. Until that is found
// the device is asked for earlier entries, in growing steps.
func (w *work) takeFork(d *deviceWork, c *chainWork, part parting) (bool, error) {
	if !part.exact {
		const step = wire.MaxBatchEntries
		back := 2*(c.Head.Seq-part.at.Seq) + step
		next := ledger.Position{Epoch: c.Epoch, Seq: c.Start.Seq + 1}
		if part.at.Seq > next.Seq+back {
			next.Seq = part.at.Seq - back
		}
		// Without a head: the hub's is none of the device's, which would refuse it.
		d.ack, d.ackHead = &wire.Ack{Epoch: c.Epoch, Want: &next}, false
		return false, nil
	}
	branch, n, err := c.setAside(w.tx, d.Name, part.at)
	if err != nil {
		return false, err
	}
	c.changed, d.changed, d.TakeFork = true, true, false
	w.after = append(w.after, func() {
		w.h.log.Warn("entries set aside after a fork", "device", d.Name, "from", part.at.String(), "entries", n, "branch", branch)
	})
	return true, nil
}

// gap reports whether entries before a batch are missing. An epoch begins only
// where the one before is complete: an acknowledgement covers all epochs up to
// its own.
func (w *work) gap(d *deviceWork, c *chainWork, b *batch) (bool, error) {
	switch {
	case b.From.Seq > c.Head.Seq+1:
		return true, nil
	case c.Head.Seq > 0 || b.Prev == (ledger.Hash{}):
		return false, nil
	}
	held, err := w.holds(d, c.Epoch, b.Prev)
	return !held, err
}

// takeGap lets a batch behind a gap in where an operator said so: the first that
// the device still has. One that lost those before it on the way would make the
// hole larger than it need be, and the device delete what the hub does not hold.
func (w *work) takeGap(d *deviceWork, c *chainWork, b *batch) (bool, error) {
	next, err := w.missing(d, c)
	if err != nil {
		return false, err
	}
	if first := w.h.wants.first(d.Name, next, b.From, w.now); !d.TakeGap || !first {
		return false, nil
	}
	d.TakeGap, d.changed = false, true
	resume := ledger.Head{Position: ledger.Position{Epoch: b.From.Epoch, Seq: b.From.Seq - 1}, Hash: b.Prev}
	if c.Head.Seq == 0 {
		c.Start = resume
	} else {
		c.Gaps = append(c.Gaps, Gap{After: c.Head, Resume: resume})
	}
	c.Head = resume
	return true, nil
}

// holds looks for an entry of an earlier epoch by its hash. It is asked once for
// an epoch, and found at once unless a terminal was restored from a backup.
func (w *work) holds(d *deviceWork, before uint64, hash ledger.Hash) (bool, error) {
	chains, err := Chains(w.tx, d.Name)
	if err != nil {
		return false, err
	}
	for _, c := range chains {
		if own, ok := d.chains[c.Epoch]; ok {
			c = own.Chain
		}
		if c.Epoch < before && c.Head.Hash == hash && c.Head.Seq > 0 {
			return true, nil
		}
	}
	for e, err := range w.tx.Entries(d.Name, ledger.Position{}) {
		if err != nil {
			return false, err
		}
		if e.Epoch >= before {
			break
		}
		if e.Hash == hash {
			return true, nil
		}
	}
	return false, nil
}

// store appends what is new in a batch.
func (w *work) store(d *deviceWork, c *chainWork, b *batch) error {
	for i := range b.entries {
		e := &b.entries[i]
		if e.Seq <= c.Head.Seq {
			continue
		}
		if err := w.operation(d, e); err != nil {
			return err
		}
		if err := w.tx.Append(d.Name, e.Entry); err != nil {
			return err
		}
		c.Head = ledger.Head{Position: e.Position, Hash: e.Hash}
		c.Entries++
		c.Bytes += int64(len(e.Bytes))
		c.SID = b.SID
		c.changed = true
		w.stats.Entries++
		if e.poison != "" {
			w.stats.Poison++
			err := errors.Join(
				put(w.tx, KindQuarantine, positionKey(d.Name, e.Position), Quarantined{At: e.Position, Reason: e.poison, Since: w.now}),
				w.raise(d, AlarmPoison, wire.LevelAlarm, "an entry that nothing can be read from; it is stored as it is, and acknowledged",
					map[string]string{"at": e.Position.String(), "reason": e.poison}))
			if err != nil {
				return err
			}
		}
		if e.pay != nil {
			if err := w.payment(d, e.Position, *e.pay); err != nil {
				return err
			}
		}
		if e.named != nil {
			if err := w.name(d, *e.named); err != nil {
				return err
			}
		}
		if e.ticket != nil {
			if err := w.ticket(d, *e.ticket); err != nil {
				return err
			}
		}
		if e.proposal != nil {
			if err := w.propose(d, e); err != nil {
				return err
			}
		}
		if e.said != nil {
			if err := w.told(d, e); err != nil {
				return err
			}
		}
	}
	return nil
}

// ticket tells people of a difference that a terminal's reconciliation found, until
// it is closed there.
func (w *work) ticket(d *deviceWork, t ticket.Ticket) error {
	if !t.Closed.IsZero() {
		return AckAbout(w.tx, d.Name, AlarmDifference, t.ID, t.By)
	}
	detail := map[string]string{
		"kind": t.Kind, "charge": string(t.Charge), "provider": t.Provider, "owner": t.Owner, "deadline": t.Deadline.Format(time.RFC3339),
	}
	return w.alarm(Alarm{
		Device: d.Name, Kind: AlarmDifference, Subject: t.ID, Level: wire.LevelWarn, Detail: detail,
		Text: "the terminal and its provider differ: a person must look",
	}, true)
}

// operation looks whether the entry's operation was recorded before. After a
// restore the same fact may be learnt again: that is a repetition. Two contents
// of one operation are not.
func (w *work) operation(d *deviceWork, e *candidate) error {
	if e.Op == "" {
		return nil
	}
	first, err := w.tx.Op(d.Name, e.Op)
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	if err != nil || first.At == e.Position {
		return err
	}
	e.pay, e.ticket, e.proposal, e.said = nil, nil, nil, nil // they had their effect
	if first.Digest == e.Digest {
		return nil
	}
	return w.raise(d, AlarmOperation, wire.LevelAlarm, "an operation is recorded twice with different contents; the first one counts",
		map[string]string{"op": e.Op, "first": first.At.String(), "again": e.Position.String()})
}

// checkpointEvery is how far apart the checkpoints are that are kept for ever;
// besides, the newest one is.
const checkpointEvery = 1000

// checkpoint keeps what the device has signed about its chain.
func (w *work) checkpoint(d *deviceWork, c *chainWork, b *batch) error {
	if b.signed == nil || b.signed.Head.Epoch != c.Epoch {
		return nil
	}
	at := b.signed.Head.Position
	// What lies ahead cannot be checked yet, and comes again.
	if c.Head.Position.Before(at) || !c.Signed.Before(at) {
		return nil
	}
	if c.Signed.Seq > 0 && at.Seq/checkpointEvery == c.Signed.Seq/checkpointEvery {
		if err := w.tx.Delete(KindCheckpoint, positionKey(d.Name, c.Signed)); err != nil {
			return err
		}
	}
	c.Signed, c.changed = at, true
	w.wakeProposals()
	return put(w.tx, KindCheckpoint, positionKey(d.Name, at), b.Checkpoint)
}

// want asks the device to send what is missing.
func (w *work) want(d *deviceWork, c *chainWork, always bool) error {
	next, err := w.missing(d, c)
	if err != nil {
		return err
	}
	patience, stuck := w.h.wants.ask(d.Name, next, w.now)
	if stuck {
		err := w.raise(d, AlarmGap, wire.LevelAlarm,
			"the device does not send what the hub lacks: it may have pruned it; restore a newer backup of the hub, or let the gap pass",
			map[string]string{"want": next.String(), "have": c.Head.Position.String()})
		if err != nil {
			return err
		}
	}
	if patience && !always {
		return nil
	}
	d.ack, d.ackHead = &wire.Ack{Epoch: c.Epoch, Want: &next}, true
	return nil
}

// missing is the first position that the hub does not hold: in an epoch of which
// it holds nothing, it may lie in the one before.
func (w *work) missing(d *deviceWork, c *chainWork) (ledger.Position, error) {
	if c.Head.Seq > 0 {
		return ledger.Position{Epoch: c.Epoch, Seq: c.Head.Seq + 1}, nil
	}
	chains, err := Chains(w.tx, d.Name)
	if err != nil {
		return ledger.Position{}, err
	}
	for i := len(chains) - 1; i >= 0; i-- {
		older := chains[i]
		if own, ok := d.chains[older.Epoch]; ok {
			older = own.Chain
		}
		if older.Epoch < c.Epoch && older.Head.Seq > 0 {
			return ledger.Position{Epoch: older.Epoch, Seq: older.Head.Seq + 1}, nil
		}
	}
	return ledger.Position{Epoch: 1, Seq: 1}, nil
}

// hello answers with what the hub holds, and sends again what is outstanding.
func (w *work) hello(d *deviceWork, p *packet) error {
	m := p.hello
	if err := w.counter(d, m.Ctr); err != nil {
		return err
	}
	w.after = append(w.after, func() { w.h.schedule.replay(d.Name, time.Now()) })
	if d.Fork != nil {
		d.hold(m.Head.Epoch, wire.HoldFork)
		return nil
	}
	// Only a batch makes the first epoch the approved one.
	if len(d.Epochs) > 0 {
		switch ok, err := w.approved(d, m.Head.Epoch); {
		case err != nil:
			return err
		case !ok:
			d.hold(m.Head.Epoch, wire.HoldEpoch)
			return nil
		}
	}
	c, err := w.chain(d, m.Head.Epoch)
	if err != nil {
		return err
	}
	for _, said := range []ledger.Head{m.Head, m.Acked} {
		if said.Seq == 0 {
			continue
		}
		switch part, err := w.same(d, c, said, nil); {
		case err != nil:
			return err
		case part != nil && d.TakeFork:
			part.exact = false
			_, err := w.takeFork(d, c, *part)
			return err
		case part != nil:
			return w.fork(d, c, *part)
		}
	}
	if m.Head.Seq < c.Head.Seq && m.SID != c.SID {
		err := w.raise(d, AlarmRollback, wire.LevelWarn, "the device has less than the hub holds of it: its store may have been restored from a backup without a new epoch",
			map[string]string{"device": m.Head.Position.String(), "hub": c.Head.Position.String()})
		if err != nil {
			return err
		}
	}
	newest, err := w.newest(d)
	if err != nil {
		return err
	}
	if m.Acked.Seq == 0 || !newest.Before(m.Acked.Position) {
		d.ack, d.ackHead = &wire.Ack{Epoch: m.Head.Epoch}, true
		return nil
	}
	err = w.raise(d, AlarmRestored, wire.LevelWarn, "the device was acknowledged more than the hub holds: the hub was restored from a backup; it asks for the rest",
		map[string]string{"acked": m.Acked.Position.String(), "hub": newest.String()})
	if err != nil {
		return err
	}
	return w.want(d, c, true)
}

// newest is the newest position that the hub holds of a device.
func (w *work) newest(d *deviceWork) (ledger.Position, error) {
	chains, err := Chains(w.tx, d.Name)
	if err != nil {
		return ledger.Position{}, err
	}
	var newest ledger.Position
	for _, c := range chains {
		if own, ok := d.chains[c.Epoch]; ok {
			c = own.Chain
		}
		if c.Head.Seq > 0 && newest.Before(c.Head.Position) {
			newest = c.Head.Position
		}
	}
	return newest, nil
}

// counter heals a hub that was restored from a backup: its next token must be
// above whatever the device has accepted. A hello is not signed, so half of the
// counters are out of its reach.
func (w *work) counter(d *deviceWork, accepted uint64) error {
	if accepted <= d.ctr {
		return nil
	}
	detail := map[string]string{"accepted": fmt.Sprint(accepted), "given": fmt.Sprint(d.ctr)}
	if accepted > wire.MaxCounter/2 {
		return w.raise(d, AlarmCounter, wire.LevelAlarm, "the device says it accepted a counter that no hub can have given; it is not believed", detail)
	}
	d.ctr, d.minted = accepted, true
	return w.raise(d, AlarmCounter, wire.LevelWarn, "the device accepted counters that this hub did not give: it was restored from a backup", detail)
}
