package hub

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"strconv"
	"sync"

	"github.com/ssg-safe/agent/charge"
	"github.com/ssg-safe/agent/fleet/wire"
	"github.com/ssg-safe/agent/ledger"
	"github.com/ssg-safe/agent/proposal"
	"github.com/ssg-safe/agent/ticket"
)

// batch is a wire.Batch whose entries have been looked at.
type batch struct {
	wire.Batch
	entries []candidate
	// signed is what the checkpoint says; nil without one.
	signed *ledger.Checkpoint
}

// candidate is an entry that may become one of the device's copy.
type candidate struct {
	Entry
	poison string    // why nothing can be read from it; empty: it can
	pay    *wire.Pay // what it says about a payment
	// named is the code of a charge that a provider accepted under a name of its
	// own.
	named *charge.AttemptFact
	// ticket was opened or closed.
	ticket *ticket.Ticket
	// proposal is the data of one that was made, said what the device was told of one.
	proposal json.RawMessage
	said     *said
}

// said is a word of the hub about a proposal, as a device recorded it.
type said struct {
	proposal.Said
	JTI string
}

// last is the head of the chain after the batch.
func (b *batch) last() ledger.Head {
	e := b.entries[len(b.entries)-1]
	return ledger.Head{Position: e.Position, Hash: e.Hash}
}

// readAll reads the packets of a group, on as many cores as there are: hashing
// and decoding is most of the collector's work.
func readAll(group []packet) {
	var wg sync.WaitGroup
	next := make(chan *packet)
	for range min(runtime.GOMAXPROCS(0), len(group)) {
		wg.Go(func() {
			for p := range next {
				p.read()
			}
		})
	}
	for i := range group {
		next <- &group[i]
	}
	close(next)
	wg.Wait()
}

// read decodes the payload. It needs nothing but the packet, so that nothing
// expensive is done inside of a transaction.
func (p *packet) read() {
	var err error
	switch p.channel {
	case wire.ChannelLedger:
		err = p.readBatch()
	case wire.ChannelState:
		p.state, err = wire.Decode[wire.State](p.payload)
	case wire.ChannelHello:
		if p.hello, err = wire.Decode[wire.Hello](p.payload); err == nil && p.hello.Device != p.device.Name {
			err = fmt.Errorf("hello of %s", p.hello.Device)
		}
	case wire.ChannelEvt:
		p.evt, err = wire.Decode[wire.Evt](p.payload)
	case wire.ChannelRes:
		p.res, err = wire.Decode[wire.Res](p.payload)
	case wire.ChannelPayGet:
		p.ask, err = wire.Decode[wire.PayGet](p.payload)
	case wire.ChannelPropose:
		p.offer, err = wire.Decode[wire.Propose](p.payload)
	case wire.ChannelTele:
		p.tele, err = wire.Decode[wire.Tele](p.payload)
	default:
		err = fmt.Errorf("channel %s", p.channel)
	}
	p.payload = nil // entries hold on to what they need of it
	if err == nil {
		return
	}
	p.detail = err.Error()
	if p.fault == "" {
		p.fault = DropMalformed
		if errors.Is(err, wire.ErrTooLarge) {
			p.fault = DropTooLarge
		}
	}
}

// readBatch checks everything about a batch that does not need the store: that
// its entries hang together, and that the device signed its checkpoint.
func (p *packet) readBatch() error {
	b, err := wire.DecodeBatch(p.payload)
	if err != nil {
		return err
	}
	read := &batch{Batch: b, entries: make([]candidate, len(b.Entries))}
	prev := b.Prev
	for i, raw := range b.Entries {
		c := &read.entries[i]
		c.Position, c.Hash, c.Bytes = b.At(i), ledger.HashOf(raw), raw
		c.read()
		if said, ok := prevOf(raw, c.Position); ok && said != prev {
			p.fault = DropChain
			return fmt.Errorf("entry %v follows %v, not %v", c.Position, said, prev)
		}
		prev = c.Hash
	}
	if b.Checkpoint != nil {
		if err := p.readCheckpoint(read); err != nil {
			p.fault = DropForged
			return err
		}
	}
	p.batch = read
	return nil
}

func (p *packet) readCheckpoint(b *batch) error {
	c, err := b.Checkpoint.Check(p.device.Key)
	switch {
	case err != nil:
		return err
	case c.Device != p.device.Name:
		return fmt.Errorf("a checkpoint of %.64q", c.Device)
	}
	for _, e := range b.entries {
		if e.Position == c.Head.Position && e.Hash != c.Head.Hash {
			return fmt.Errorf("the checkpoint has %v for %v, which is %v", c.Head.Hash, e.Position, e.Hash)
		}
	}
	b.signed = &c
	return nil
}

// read takes what the hub has to know out of the entry. Whatever cannot be read
// is kept all the same: it is part of the chain.
func (c *candidate) read() {
	e, err := ledger.Decode(c.Bytes)
	if err != nil {
		c.poison = err.Error()
		return
	}
	c.Op = e.Op
	// The content begins behind the time stamp; no token before it can hold a
	// quote.
	if i := bytes.Index(c.Bytes, []byte(`"},"op":"`)); i >= 0 {
		c.Digest = sha256.Sum256(c.Bytes[i+len(`"},`):])
	}
	if e.Kind == ticket.KindOpened || e.Kind == ticket.KindClosed {
		var t ticket.Ticket
		if json.Unmarshal(e.Data, &t) == nil && t.ID != "" { // else it is kept, and tells nobody
			c.ticket = &t
		}
		return
	}
	switch e.Kind {
	case proposal.KindMade:
		c.proposal = e.Data
		return
	case proposal.KindSaid:
		var s said
		var ev proposal.Evidence
		if json.Unmarshal(e.Data, &s.Said) == nil && json.Unmarshal(e.Evidence, &ev) == nil && s.ID != "" {
			s.JTI = ev.JTI
			c.said = &s
		}
		return
	}
	attempt := e.Kind == (charge.AttemptFact{}).Kind()
	if e.Kind != (charge.PaidFact{}).Kind() && !attempt {
		return
	}
	fact, err := charge.Decode(e.Kind, e.Data, e.Evidence)
	if err != nil {
		if !attempt { // the name of a charge brings a hint forward, and no more
			c.poison = err.Error()
		}
		return
	}
	switch f := fact.(type) {
	case charge.AttemptFact:
		name := subjectOf(f)
		if named := f.State == charge.Accepted && f.Callback == "" || f.State == charge.Orphaned && isCallback(f.Callback); named && name != "" && len(name) <= wire.MaxText {
			c.named = &f
		}
	case charge.PaidFact:
		// What an operator vouched for has no provider's answer that could be passed
		// on.
		if ev := f.Evidence; ev.ProviderID != "" && ev.Digest != "" {
			c.pay = &wire.Pay{
				Charge: string(f.Charge), Ver: 1, Status: string(charge.Paid), Cents: f.Amount, EndToEnd: ev.EndToEnd,
				Route: ev.Route, Account: ev.Account, ProviderID: ev.ProviderID, Attempt: ev.Attempt, Digest: ev.Digest,
			}
		}
	}
}

// prevOf returns the hash of the entry before, which every version's envelope is
// taken to have behind its position; false where it cannot be found.
func prevOf(raw []byte, at ledger.Position) (h ledger.Hash, ok bool) {
	_, rest, _ := bytes.Cut(raw, []byte(`,"seq":`+strconv.FormatUint(at.Seq, 10)+`,`))
	rest, ok = bytes.CutPrefix(rest, []byte(`"prev":"`))
	if !ok || len(rest) < 65 || rest[64] != '"' || h.UnmarshalText(rest[:64]) != nil {
		return ledger.Hash{}, false
	}
	return h, true
}
