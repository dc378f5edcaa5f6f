package hub

import (
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/ssg-safe/agent/fleet/wire"
	"github.com/ssg-safe/agent/ledger"
)

// work is what happens to one group inside of its transaction. What has to be
// done after the commit is collected and done only then: nothing is sent, logged
// or remembered about a transaction that came to nothing.
type work struct {
	h   *Hub
	tx  Tx
	now time.Time

	devices map[string]*deviceWork
	order   []*deviceWork
	tokens  []token
	after   []func()
	stats   Stats
}

// deviceWork is a device's rows while a group is worked on.
type deviceWork struct {
	Device
	known   bool // is in the registry
	changed bool
	chains  map[uint64]*chainWork
	ctr     uint64
	minted  bool
	ack     *wire.Ack // to be sent
	ackHead bool      // with the head as it is after the group
	events  *int      // of its own that are open, once counted
}

type chainWork struct {
	Chain
	changed bool
}

// token is a message downwards that has its counter and may be signed and sent.
type token struct {
	topic  wire.Topic
	claims any
}

func newWork(h *Hub, tx Tx) *work {
	return &work{h: h, tx: tx, now: time.Now().UTC(), devices: make(map[string]*deviceWork), stats: Stats{Dropped: make(map[Drop]uint64)}}
}

// device returns the rows of a device.
func (w *work) device(name string) (*deviceWork, error) {
	if d := w.devices[name]; d != nil {
		return d, nil
	}
	row, known, err := find[Device](w.tx, KindDevice, name)
	if err != nil {
		return nil, err
	}
	ctr, _, err := find[uint64](w.tx, KindCounter, name)
	if err != nil {
		return nil, err
	}
	d := &deviceWork{Device: row, known: known, chains: make(map[uint64]*chainWork), ctr: ctr}
	w.devices[name] = d
	w.order = append(w.order, d)
	return d, nil
}

func (w *work) chain(d *deviceWork, epoch uint64) (*chainWork, error) {
	if c := d.chains[epoch]; c != nil {
		return c, nil
	}
	row, known, err := find[Chain](w.tx, KindChain, chainKey(d.Name, epoch))
	if err != nil {
		return nil, err
	}
	if !known {
		at := ledger.Position{Epoch: epoch}
		row = Chain{Epoch: epoch, Start: ledger.Head{Position: at}, Head: ledger.Head{Position: at}, Signed: at}
	}
	c := &chainWork{Chain: row}
	d.chains[epoch] = c
	return c, nil
}

// apply works on one packet. What is wrong with the packet is no error; an error
// is the store's.
func (w *work) apply(p *packet) error {
	d, err := w.device(p.device.Name)
	if err != nil {
		return err
	}
	// Between Handle and now it may have changed.
	switch {
	case !d.known:
		w.drop(p, DropUnknown, "")
		return nil
	case !d.Revoked.IsZero():
		w.drop(p, DropRevoked, "")
		return nil
	case p.fault != "":
		return w.fault(d, p)
	}
	switch p.channel {
	case wire.ChannelLedger:
		return w.ledger(d, p)
	case wire.ChannelHello:
		return w.hello(d, p)
	case wire.ChannelEvt:
		return w.event(d, p.evt)
	case wire.ChannelRes:
		return w.result(d, p.res)
	case wire.ChannelPayGet:
		return w.payGet(d, p.ask)
	case wire.ChannelPropose:
		return w.offered(d, p.offer)
	}
	return nil
}

// fault drops a packet that could not be read. Where it looks like an attack or
// a broken ledger, somebody is told.
func (w *work) fault(d *deviceWork, p *packet) error {
	w.drop(p, p.fault, p.detail)
	switch p.fault {
	case DropChain:
		return w.raise(d, AlarmChain, wire.LevelAlarm, "the entries of a batch do not hang together; nothing of it was taken", map[string]string{"detail": p.detail})
	case DropMalformed, DropTooLarge:
		return w.raise(d, AlarmBatch, wire.LevelAlarm, "a batch that this hub cannot read; the device waits until it can: is the hub older than the device?", map[string]string{"detail": p.detail})
	case DropForged:
		return w.raise(d, AlarmCheckpoint, wire.LevelAlarm, "a checkpoint that is not the device's; nothing of its batch was taken", map[string]string{"detail": p.detail})
	}
	return nil
}

func (w *work) drop(p *packet, why Drop, detail string) {
	topic := p.topic()
	w.after = append(w.after, func() { w.h.counters.drop(why, topic, detail) })
}

// raise records an alarm about a device.
func (w *work) raise(d *deviceWork, kind string, level wire.Level, text string, detail map[string]string) error {
	return w.alarm(Alarm{Device: d.Name, Kind: kind, Level: level, Text: text, Detail: detail}, false)
}

func (w *work) alarm(a Alarm, once bool) error {
	a.Last = w.now
	fresh, err := raise(w.tx, a, once)
	if err == nil && fresh {
		w.after = append(w.after, func() {
			w.h.log.Warn("alarm", "device", a.Device, "kind", a.Kind, "level", string(a.Level), "text", a.Text, "detail", a.Detail)
		})
	}
	return err
}

// claims gives the next counter of a device to a token. Counters are at least
// the milliseconds since 1970, so that a hub that was restored from a backup
// is above those that it has forgotten before any device tells it so.
func (w *work) claims(d *deviceWork, jti string, until time.Time) wire.Claims {
	d.ctr = max(d.ctr+1, uint64(max(w.now.UnixMilli(), 0)))
	d.minted = true
	exp := w.now.Add(lifetime)
	if !until.IsZero() && until.Before(exp) {
		exp = until
	}
	// A second is the shortest life that the protocol knows.
	return wire.Claims{Aud: d.Name, JTI: jti, Ctr: d.ctr, Iat: w.now.Unix(), Exp: max(exp.Unix(), w.now.Unix()+1)}
}

// lifetime of a token. Most are answered in a second; what is late is sent anew.
const lifetime = 10 * time.Minute

func newID() string { return rand.Text() }

// send lets a token go out after the commit that holds its counter.
func (w *work) send(d *deviceWork, channel wire.Channel, claims any) {
	topic := wire.Topic{Tenant: d.Tenant, Site: d.Site, Device: d.Name, Channel: channel}
	w.tokens = append(w.tokens, token{topic, claims})
}

// finish writes what has changed, after all packets. The acknowledgements get
// the last counters, so that they are cumulative over the whole group.
func (w *work) finish() error {
	for _, d := range w.order {
		if d.ack != nil {
			if err := w.acknowledge(d); err != nil {
				return err
			}
		}
		var err error
		if d.changed {
			err = put(w.tx, KindDevice, d.Name, d.Device)
		}
		if d.minted && err == nil {
			if d.ctr > wire.MaxCounter {
				return fmt.Errorf("device %s: its counter is used up", d.Name)
			}
			err = put(w.tx, KindCounter, d.Name, d.ctr)
		}
		for epoch, c := range d.chains {
			if c.changed && err == nil {
				err = put(w.tx, KindChain, chainKey(d.Name, epoch), c.Chain)
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (w *work) acknowledge(d *deviceWork) error {
	a := *d.ack
	if d.ackHead {
		c, err := w.chain(d, a.Epoch)
		if err != nil {
			return err
		}
		a.Seq, a.Head = c.Head.Seq, c.Head.Hash
	}
	if a.Want != nil {
		w.stats.Wants++
	}
	a.Claims = w.claims(d, newID(), time.Time{})
	w.send(d, wire.ChannelAck, a)
	return nil
}

// hold answers that nothing is taken for now.
func (d *deviceWork) hold(epoch uint64, why wire.Hold) {
	d.ack = &wire.Ack{Epoch: epoch, Hold: why}
	d.ackHead = true
}

// approved checks an epoch. The first one comes with the registration; another
// one has to wait for an operator.
func (w *work) approved(d *deviceWork, epoch uint64) (bool, error) {
	if slices.Contains(d.Epochs, epoch) {
		return true, nil
	}
	if len(d.Epochs) == 0 {
		d.Epochs, d.changed = []uint64{epoch}, true
		return true, nil
	}
	if d.Asked != epoch {
		d.Asked, d.changed = epoch, true
	}
	return false, w.raise(d, AlarmEpoch, wire.LevelAlarm,
		"the device sends from an epoch that nobody approved: its store was reset or restored, or somebody has a copy of it",
		map[string]string{"epoch": fmt.Sprint(epoch), "approved": fmt.Sprint(d.Epochs)})
}

// event keeps what a device reports among the alarms.
func (w *work) event(d *deviceWork, e wire.Evt) error {
	if e.Level == wire.LevelInfo {
		return nil
	}
	const prefix = "device."
	key := d.Name + "/" + prefix + e.Kind + "/" + e.ID
	_, known, err := find[uint64](w.tx, KindAlarmKey, key)
	if err != nil || known {
		return err
	}
	if d.events == nil {
		open, err := w.openEvents(d)
		if err != nil {
			return err
		}
		d.events = &open
	}
	if *d.events >= maxEvents {
		return w.raise(d, AlarmFlood, wire.LevelWarn, fmt.Sprintf("the device has %d events that nobody took care of; newer ones are not kept", *d.events), nil)
	}
	*d.events++
	detail := make(map[string]string, len(e.Detail)+2)
	for k, v := range e.Detail {
		detail[k] = v
	}
	detail["at"], detail["clock"] = e.At.Format(time.RFC3339Nano), e.Clock
	return w.alarm(Alarm{Device: d.Name, Kind: prefix + e.Kind, Subject: e.ID, Level: e.Level, Text: "the device reports " + e.Kind, Detail: detail}, true)
}

// openEvents counts the device's own events that are open.
func (w *work) openEvents(d *deviceWork) (int, error) {
	open := 0
	for id, err := range scan[uint64](w.tx, KindAlarmKey, d.Name+"/device.") {
		if err != nil {
			return 0, err
		}
		a, err := get[Alarm](w.tx, KindAlarm, alarmKey(id))
		if err != nil && !errors.Is(err, ErrNotFound) {
			return 0, err
		}
		if err == nil && a.Acked.IsZero() {
			open++
		}
	}
	return open, nil
}
