package hub

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ssg-safe/agent/fleet/wire"
	"github.com/ssg-safe/agent/ledger"
)

// Options of a hub.
type Options struct {
	// Store keeps everything durable.
	Store Store
	// Signer signs what is sent to the devices.
	Signer *wire.Signer
	// Rate is how many packets a second one device may send in the long run, and
	// Burst how many at once; 0 is 500 and 1000.
	Rate, Burst int
	// Logger; nil discards.
	Logger *slog.Logger
}

// Transport carries packets between the hub and its devices: [NewMQTT], or a
// test's.
type Transport interface {
	// Run hands every packet to handle until ctx ends. handle does not block; done
	// tells that the packet need not be delivered again. Run may return early
	// with an error only when it can never work.
	Run(ctx context.Context, handle func(topic string, payload []byte, done func())) error
	// Send delivers one packet at most once. It may fail and may wait a little;
	// whatever matters is sent again. It is used by one goroutine.
	Send(topic string, payload []byte) error
}

// Hub is the collector. Its methods are safe for concurrent use.
type Hub struct {
	store    Store
	log      *slog.Logger
	signer   atomic.Pointer[wire.Signer]
	counters *counters
	inbox    *inbox
	presence *presence
	jobs     chan *job
	proposed chan struct{} // capacity 1
	faults   chan error    // holds the store's first fault outside of the committer
	ended    chan struct{} // closed when Run has ended

	// Used by the committer alone.
	schedule *schedule
	wants    *wants
	tokens   chan token
}

// job is something that a method wants done in the committer's next transaction.
// An error of do reaches its caller and undoes nothing: do writes only what is
// to stay.
type job struct {
	do   func(*work) error
	err  error
	done chan struct{}
}

// New returns a hub. It does no I/O.
func New(o Options) (*Hub, error) {
	if o.Store == nil || o.Signer == nil {
		return nil, errors.New("a hub needs a store and a signer")
	}
	log := o.Logger
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	if o.Rate == 0 {
		o.Rate = 500
	}
	if o.Burst == 0 {
		o.Burst = 1000
	}
	h := &Hub{
		store: o.Store, log: log, counters: newCounters(log), inbox: newInbox(o.Rate, o.Burst), presence: newPresence(),
		jobs: make(chan *job), proposed: make(chan struct{}, 1), faults: make(chan error, 1), ended: make(chan struct{}),
		schedule: newSchedule(), wants: newWants(), tokens: make(chan token, 4096),
	}
	h.signer.Store(o.Signer)
	return h, nil
}

// SetSigner changes the key that signs from now on. The devices must have pinned
// it already.
func (h *Hub) SetSigner(s *wire.Signer) { h.signer.Store(s) }

// Stats returns what was counted.
func (h *Hub) Stats() Stats {
	s := h.counters.snapshot()
	s.Waiting = h.inbox.waiting()
	return s
}

// Presence returns what is known about a device's connection; false when it was
// not heard of since the hub started.
func (h *Hub) Presence(device string) (Presence, bool) { return h.presence.get(device) }

// Register enters a device into the registry; see [Register].
func (h *Hub) Register(ctx context.Context, d Device) error {
	return h.Update(ctx, func(tx Tx) error { return Register(tx, d) })
}

// Update writes what an operator decided, in a transaction of its own: the
// functions of this package that take a [Tx]. It needs no running hub. After an
// error of fn nothing has changed; after [ErrOutcomeUnknown] Run ends, as it does
// when a commit of its own fails.
func (h *Hub) Update(ctx context.Context, fn func(Tx) error) error {
	err := h.store.Update(ctx, fn)
	if errors.Is(err, ErrOutcomeUnknown) {
		h.fault(err)
	}
	return err
}

// View reads from the store.
func (h *Hub) View(ctx context.Context, fn func(Tx) error) error { return h.store.View(ctx, fn) }

// fault ends Run: a store that cannot be used is left at once, and opened anew.
func (h *Hub) fault(err error) {
	select {
	case h.faults <- err:
	default: // another one ends it already
	}
}

// Head returns the newest entry that is stored of a device; its Seq is 0 when
// there is none.
func (h *Hub) Head(ctx context.Context, device string) (head ledger.Head, err error) {
	err = h.store.View(ctx, func(tx Tx) error {
		head, err = GetHead(tx, device)
		return err
	})
	return head, err
}

// Read returns copies of at most limit entries of a device, exactly as it sent
// them, from the given position on, it included. A zero position is the oldest.
func (h *Hub) Read(ctx context.Context, device string, from ledger.Position, limit int) ([]ledger.Raw, error) {
	var raws []ledger.Raw
	err := h.store.View(ctx, func(tx Tx) error {
		for e, err := range tx.Entries(device, from) {
			if err != nil || len(raws) >= limit {
				return err
			}
			raws = append(raws, ledger.Raw{Position: e.Position, Bytes: slices.Clone(e.Bytes)})
		}
		return nil
	})
	return raws, err
}

// Handle takes one packet from a device. It never waits for the disk; what
// cannot be taken is dropped, counted, and comes again. payload belongs to the
// hub from now on.
//
// done may be nil. It is called at most once, from any goroutine: when the packet
// is durable, or not worth delivering again. It is not called when the hub ends
// before that.
func (h *Hub) Handle(topic string, payload []byte, done func()) {
	if done == nil {
		done = func() {}
	}
	h.counters.add(func(s *Stats) { s.Packets++ })
	p := packet{payload: payload, done: done}
	why, detail := h.admit(&p, topic)
	if why == "" {
		why = h.inbox.put(p)
	}
	if why == "" {
		return
	}
	h.counters.drop(why, topic, detail)
	if why != DropClosed {
		done()
	}
}

// admit looks at a packet before it may wait: who sends it the registry says,
// not the topic.
func (h *Hub) admit(p *packet, topic string) (Drop, string) {
	t, err := wire.ParseTopic(topic)
	switch {
	case err != nil || !t.Up:
		return DropTopic, ""
	case len(p.payload) > wire.MaxPacket:
		return DropTooLarge, fmt.Sprintf("%d bytes", len(p.payload))
	}
	err = h.store.View(context.Background(), func(tx Tx) error {
		p.device, err = get[Device](tx, KindDevice, t.Device)
		return err
	})
	p.channel = t.Channel
	switch {
	case errors.Is(err, ErrNotFound):
		return DropUnknown, ""
	case err != nil:
		h.fault(err)
		return DropClosed, err.Error()
	case !p.device.Revoked.IsZero():
		return DropRevoked, ""
	case p.device.Tenant != t.Tenant || p.device.Site != t.Site:
		return DropMisplaced, fmt.Sprintf("it belongs to %s/%s", p.device.Tenant, p.device.Site)
	}
	return "", ""
}

// Run collects until ctx ends, with the given connection to the devices. It is
// called once. An error is the store's or the connection's, and final.
func (h *Hub) Run(ctx context.Context, t Transport) error {
	defer close(h.ended)
	// Also when ctx has ended already: what ends a hub is no fault.
	if err := h.loadSchedule(context.WithoutCancel(ctx)); err != nil {
		return fmt.Errorf("hub: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	// What is received last is to be answered: so the connection ends after the
	// collector.
	transport, hangUp := context.WithCancel(context.WithoutCancel(ctx))
	defer hangUp()

	var wg, sender sync.WaitGroup
	var errs [2]error
	wg.Go(func() {
		defer cancel()
		if err := t.Run(transport, h.Handle); err != nil && transport.Err() == nil {
			errs[0] = fmt.Errorf("hub connection: %w", err)
		}
	})
	sender.Go(func() { h.sendAll(t) })
	groups := make(chan []packet)
	var gather sync.WaitGroup
	gather.Go(func() { h.gather(ctx, groups) })
	errs[1] = h.commit(ctx, groups)
	cancel()
	h.inbox.close()
	gather.Wait()
	close(h.tokens)
	sender.Wait()
	hangUp()
	wg.Wait()
	return errors.Join(errs[:]...)
}

// gather takes what waits, reads it and hands it to the committer: one group is
// read while the one before is written.
func (h *Hub) gather(ctx context.Context, groups chan<- []packet) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-h.inbox.wake:
		}
		group := h.inbox.take()
		if len(group) == 0 {
			continue
		}
		readAll(group)
		rest := h.light(group)
		sortBatches(rest)
		if len(rest) == 0 {
			continue
		}
		select {
		case <-ctx.Done():
			return
		case groups <- rest:
		}
	}
}

// light works off what needs no transaction, and returns the rest.
func (h *Hub) light(group []packet) []packet {
	rest := group[:0]
	for _, p := range group {
		switch {
		case p.channel == wire.ChannelState && p.fault == "":
			if !h.presence.state(p.device.Name, p.state, time.Now()) {
				h.counters.add(func(s *Stats) { s.Stale++ })
			}
			p.done()
		case p.channel == wire.ChannelTele && p.fault == "":
			h.presence.measured(p.device.Name, p.tele, time.Now())
			p.done()
		case (p.fault == DropMalformed || p.fault == DropTooLarge) && p.channel != wire.ChannelLedger:
			h.counters.drop(p.fault, p.topic(), p.detail)
			p.done()
		default:
			if p.channel == wire.ChannelHello && p.fault == "" {
				h.presence.hello(p.device.Name, p.hello, time.Now())
			}
			if p.channel == wire.ChannelPayGet && p.fault == "" {
				h.inbox.charge(p.device.Name, len(p.ask.Charges))
			}
			rest = append(rest, p)
		}
	}
	return rest
}

// sortBatches puts the batches of each device into the order of its ledger, in
// the places that they have.
func sortBatches(group []packet) {
	places := make(map[string][]int)
	for i, p := range group {
		if p.batch != nil {
			places[p.device.Name] = append(places[p.device.Name], i)
		}
	}
	for _, at := range places {
		if len(at) < 2 {
			continue
		}
		batches := make([]packet, len(at))
		for i, j := range at {
			batches[i] = group[j]
		}
		slices.SortStableFunc(batches, func(a, b packet) int {
			switch {
			case a.batch.From.Before(b.batch.From):
				return -1
			case b.batch.From.Before(a.batch.From):
				return 1
			}
			return 0
		})
		for i, j := range at {
			group[j] = batches[i]
		}
	}
}

// commit is the one goroutine that writes: whatever waits goes into one
// transaction, and answers go out after it.
func (h *Hub) commit(ctx context.Context, groups <-chan []packet) error {
	for {
		var group []packet
		var jobs []*job
		timer := h.schedule.timer(time.Now())
		select {
		case <-ctx.Done():
			return nil
		case err := <-h.faults:
			return fmt.Errorf("hub: %w", err)
		case group = <-groups:
		case j := <-h.jobs:
			jobs = append(jobs, j)
		case <-timer:
		}
		for more := true; more && len(jobs) < maxGroup; {
			select {
			case j := <-h.jobs:
				jobs = append(jobs, j)
			default:
				more = false
			}
		}
		if err := h.do(ctx, group, jobs); err != nil {
			return fmt.Errorf("hub: %w", err)
		}
	}
}

// do is one commit.
func (h *Hub) do(ctx context.Context, group []packet, jobs []*job) error {
	var w *work
	// A group that has been taken is brought to its end.
	err := h.store.Update(context.WithoutCancel(ctx), func(tx Tx) error {
		w = newWork(h, tx)
		for i := range group {
			if err := w.apply(&group[i]); err != nil {
				return err
			}
		}
		for _, j := range jobs {
			j.err = j.do(w)
		}
		if err := w.due(); err != nil {
			return err
		}
		return w.finish()
	})
	if err != nil {
		for _, j := range jobs {
			j.err = err
			close(j.done)
		}
		return err
	}
	h.counters.add(func(s *Stats) {
		s.Commits++
		s.Batches += w.stats.Batches
		s.Entries += w.stats.Entries
		s.Duplicates += w.stats.Duplicates
		s.Poison += w.stats.Poison
		s.Forks += w.stats.Forks
		s.Wants += w.stats.Wants
	})
	for _, do := range w.after {
		do()
	}
	for _, t := range w.tokens {
		select {
		case h.tokens <- t:
		default:
			h.counters.drop(DropUnsent, t.topic.String(), "too much waits to be sent")
		}
	}
	for _, p := range group {
		p.done()
	}
	for _, j := range jobs {
		close(j.done)
	}
	return nil
}

// sendAll signs and sends what is committed, in the order of the counters.
func (h *Hub) sendAll(t Transport) {
	for token := range h.tokens {
		signed, err := h.signer.Load().Sign(token.topic.Channel.Typ(), token.claims)
		if err == nil {
			err = t.Send(token.topic.String(), []byte(signed))
		}
		if err != nil {
			h.counters.drop(DropUnsent, token.topic.String(), err.Error())
			continue
		}
		h.counters.add(func(s *Stats) { s.Tokens++ })
	}
}

// submit has something done in the next transaction, and waits for it.
func (h *Hub) submit(ctx context.Context, do func(*work) error) error {
	j := &job{do: do, done: make(chan struct{})}
	select {
	case h.jobs <- j:
	case <-h.ended:
		return errors.New("the hub has ended")
	case <-ctx.Done():
		return ctx.Err()
	}
	<-j.done
	return j.err
}
