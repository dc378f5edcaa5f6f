package hub_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ssg-safe/agent/fleet/wire"
	"github.com/ssg-safe/agent/hub"
	"github.com/ssg-safe/agent/hub/bolt"
	"github.com/ssg-safe/agent/ledger"
)

// keyOf makes a key that is the same in every run.
func keyOf(name string) ed25519.PrivateKey {
	seed := sha256.Sum256([]byte(name))
	return ed25519.NewKeyFromSeed(seed[:])
}

func public(k ed25519.PrivateKey) ed25519.PublicKey { return k.Public().(ed25519.PublicKey) }

// pipe is a transport without any MQTT: what is sent goes to the terminals.
type pipe struct {
	mu    sync.Mutex // guards all
	sinks map[string]func(channel wire.Channel, payload []byte)
	// through, when set, is a transport of another kind that is used instead.
	through hub.Transport
}

func (p *pipe) Run(ctx context.Context, handle func(string, []byte, func())) error {
	if p.through != nil {
		return p.through.Run(ctx, handle)
	}
	<-ctx.Done()
	return nil
}

func (p *pipe) Send(topic string, payload []byte) error {
	if p.through != nil {
		return p.through.Send(topic, payload)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	t, err := wire.ParseTopic(topic)
	if err != nil || t.Up {
		return fmt.Errorf("sent to %s: %w", topic, err)
	}
	if sink := p.sinks[t.Device]; sink != nil {
		sink(t.Channel, payload)
	}
	return nil
}

// rig is a hub with its store and terminals around it.
type rig struct {
	t      testing.TB
	path   string
	store  *bolt.Store
	pipe   *pipe
	hub    *hub.Hub
	opts   hub.Options
	cancel context.CancelFunc
	ended  chan error
}

func newRig(t testing.TB) *rig {
	t.Helper()
	r := &rig{t: t, path: filepath.Join(t.TempDir(), "hub.db"), pipe: &pipe{sinks: make(map[string]func(wire.Channel, []byte))}}
	r.start()
	return r
}

// start opens the store and runs a hub on it.
func (r *rig) start() {
	r.t.Helper()
	var err error
	if r.store == nil {
		if r.store, err = bolt.Open(bolt.Options{Path: r.path}); err != nil {
			r.t.Fatal(err)
		}
	}
	signer, err := wire.NewSigner(keyOf("hub"))
	if err != nil {
		r.t.Fatal(err)
	}
	o := r.opts
	if o.Store == nil {
		o.Store = r.store
	}
	o.Signer = signer
	if r.hub, err = hub.New(o); err != nil {
		r.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(r.t.Context()))
	r.cancel, r.ended = cancel, make(chan error, 1)
	h := r.hub
	go func() { r.ended <- h.Run(ctx, r.pipe) }()
}

// gated is a store whose updates wait until gate is closed.
type gated struct {
	hub.Store
	gate chan struct{}
}

func (g gated) Update(ctx context.Context, fn func(hub.Tx) error) error {
	<-g.gate
	return g.Store.Update(ctx, fn)
}

// gate starts the hub anew on a store whose updates wait until the returned
// channel is closed; registering does not.
func (r *rig) gate() chan struct{} {
	r.t.Helper()
	r.stop()
	var err error
	if r.store, err = bolt.Open(bolt.Options{Path: r.path}); err != nil {
		r.t.Fatal(err)
	}
	gate := make(chan struct{})
	r.opts.Store = gated{r.store, gate}
	r.start()
	return gate
}

// stop ends the hub and closes the store.
func (r *rig) stop() {
	r.t.Helper()
	r.cancel()
	if err := errors.Join(<-r.ended, r.store.Close()); err != nil {
		r.t.Error(err)
	}
	r.store = nil
}

// abort stops what a failed test left running.
func (r *rig) abort() {
	if r.store != nil {
		r.stop()
	}
}

// close verifies every device, and stops.
func (r *rig) close() {
	r.t.Helper()
	synctest.Wait()
	r.audit()
	r.stop()
}

func (r *rig) audit() {
	r.t.Helper()
	r.view(func(tx hub.Tx) error {
		devices, err := hub.Devices(tx)
		for _, d := range devices {
			if _, err := hub.Verify(tx, d.Name); err != nil {
				r.t.Errorf("audit: %v", err)
			}
		}
		return err
	})
}

func (r *rig) view(fn func(hub.Tx) error) {
	r.t.Helper()
	if err := r.store.View(context.WithoutCancel(r.t.Context()), fn); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) update(fn func(hub.Tx) error) {
	r.t.Helper()
	if err := r.store.Update(r.t.Context(), fn); err != nil {
		r.t.Fatal(err)
	}
}

// alarms lists the open alarms as device:kind.
func (r *rig) alarms() []string {
	r.t.Helper()
	var list []string
	r.view(func(tx hub.Tx) error {
		all, err := hub.Alarms(tx, false)
		for _, a := range all {
			list = append(list, a.Device+":"+a.Kind)
		}
		return err
	})
	return list
}

func (r *rig) wantAlarms(want ...string) {
	r.t.Helper()
	synctest.Wait()
	if got := r.alarms(); !slices.Equal(got, want) {
		r.t.Errorf("alarms %q, want %q", got, want)
	}
}

func (r *rig) wantDrops(want map[hub.Drop]uint64) {
	r.t.Helper()
	synctest.Wait()
	got := r.hub.Stats().Dropped
	for why, n := range want {
		if got[why] != n {
			r.t.Errorf("dropped %v, want %d of %s", got, n, why)
		}
	}
}

// stored returns what the hub holds of a device.
func (r *rig) stored(device string) [][]byte {
	r.t.Helper()
	raws, err := r.hub.Read(context.WithoutCancel(r.t.Context()), device, ledger.Position{}, 1<<30)
	if err != nil {
		r.t.Fatal(err)
	}
	var all [][]byte
	for _, raw := range raws {
		all = append(all, raw.Bytes)
	}
	return all
}

func (r *rig) device(name string) (d hub.Device) {
	r.t.Helper()
	r.view(func(tx hub.Tx) (err error) {
		d, err = hub.GetDevice(tx, name)
		return err
	})
	return d
}

// terminal is a device with its own chain, that checks every token it gets.
type terminal struct {
	r            *rig
	name         string
	tenant, site string
	key          ed25519.PrivateKey
	epoch        uint64
	sid          string
	entries      map[ledger.Position][]byte
	head         ledger.Head

	mu    sync.Mutex // guards all below
	last  uint64     // counter
	acks  []wire.Ack
	pays  []wire.Pay
	asks  []wire.ChargeRequest
	outs  []wire.Payout
	times []time.Time // of pays and asks
}

// register makes a terminal that the hub knows.
func (r *rig) register(name string) *terminal {
	r.t.Helper()
	d := r.stranger(name)
	r.update(func(tx hub.Tx) error {
		return hub.Register(tx, hub.Device{Name: name, Tenant: d.tenant, Site: d.site, Key: public(d.key)})
	})
	return d
}

// stranger makes a terminal that the hub does not know.
func (r *rig) stranger(name string) *terminal {
	d := &terminal{
		r: r, name: name, tenant: "acme", site: "lobby", key: keyOf(name), epoch: 1, sid: "session-1",
		entries: make(map[ledger.Position][]byte), head: ledger.Head{Position: ledger.Position{Epoch: 1}},
	}
	r.pipe.mu.Lock()
	defer r.pipe.mu.Unlock()
	r.pipe.sinks[name] = d.receive
	return d
}

// clone is another terminal with the same identity and the same past.
func (d *terminal) clone() *terminal {
	return &terminal{
		r: d.r, name: d.name, tenant: d.tenant, site: d.site, key: d.key, epoch: d.epoch, sid: d.sid,
		entries: maps.Clone(d.entries), head: d.head,
	}
}

// receive holds every token against the rules: signed, for this device, and with
// a counter above all before.
func (d *terminal) receive(channel wire.Channel, payload []byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	keys, err := wire.NewKeys(public(keyOf("hub")))
	if err != nil {
		d.r.t.Fatal(err)
	}
	var claims wire.Claims
	switch channel {
	case wire.ChannelAck:
		var a wire.Ack
		err = keys.Open(payload, wire.TypAck, d.name, time.Now(), true, &a)
		d.acks = append(d.acks, a)
		claims = a.Claims
	case wire.ChannelPay:
		var p wire.Pay
		err = keys.Open(payload, wire.TypPay, d.name, time.Now(), true, &p)
		d.pays = append(d.pays, p)
		d.times = append(d.times, time.Now())
		claims = p.Claims
	case wire.ChannelPayout:
		var p wire.Payout
		err = keys.Open(payload, wire.TypPayout, d.name, time.Now(), true, &p)
		d.outs = append(d.outs, p)
		claims = p.Claims
	case wire.ChannelCharge:
		var c wire.ChargeRequest
		err = keys.Open(payload, wire.TypCharge, d.name, time.Now(), true, &c)
		d.asks = append(d.asks, c)
		d.times = append(d.times, time.Now())
		claims = c.Claims
	}
	if err != nil {
		d.r.t.Errorf("%s got a bad %s: %v", d.name, channel, err)
		return
	}
	if claims.Ctr <= d.last {
		d.r.t.Errorf("%s got counter %d after %d", d.name, claims.Ctr, d.last)
	}
	d.last = claims.Ctr
}

// ack returns the newest acknowledgement and forgets all; a zero one when none
// came.
func (d *terminal) ack() wire.Ack {
	d.r.t.Helper()
	synctest.Wait()
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.acks) == 0 {
		return wire.Ack{}
	}
	a := d.acks[len(d.acks)-1]
	d.acks = nil
	return a
}

// wantAck expects an acknowledgement up to a position of the own chain.
func (d *terminal) wantAck(epoch, seq uint64) {
	d.r.t.Helper()
	a := d.ack()
	var hash ledger.Hash
	if seq > 0 {
		hash = ledger.HashOf(d.entries[ledger.Position{Epoch: epoch, Seq: seq}])
	}
	if a.Epoch != epoch || a.Seq != seq || a.Head != hash || a.Want != nil || a.Hold != "" {
		d.r.t.Errorf("%s: ack %d/%d %v want %v hold %q; expected %d/%d", d.name, a.Epoch, a.Seq, a.Head, a.Want, a.Hold, epoch, seq)
	}
}

// wantSilence expects no acknowledgement.
func (d *terminal) wantSilence() {
	d.r.t.Helper()
	if a := d.ack(); a.Ctr != 0 {
		d.r.t.Errorf("%s: got ack %d/%d want %v hold %q; expected none", d.name, a.Epoch, a.Seq, a.Want, a.Hold)
	}
}

// wantWant expects to be asked for a position, by an acknowledgement that the
// terminal does not refuse: a head that it has, or none.
func (d *terminal) wantWant(epoch, seq uint64) {
	d.r.t.Helper()
	a := d.ack()
	if own := d.entries[ledger.Position{Epoch: a.Epoch, Seq: a.Seq}]; a.Seq > 0 && ledger.HashOf(own) != a.Head {
		d.r.t.Errorf("%s is asked with the head %d/%d, which is none of its own", d.name, a.Epoch, a.Seq)
	}
	if a.Want == nil || *a.Want != (ledger.Position{Epoch: epoch, Seq: seq}) {
		d.r.t.Errorf("%s: ack %d/%d want %v hold %q; expected to be asked for %d/%d", d.name, a.Epoch, a.Seq, a.Want, a.Hold, epoch, seq)
	}
}

// wantHold expects to be told that nothing is taken.
func (d *terminal) wantHold(why wire.Hold) {
	d.r.t.Helper()
	if a := d.ack(); a.Hold != why {
		d.r.t.Errorf("%s: ack %d/%d want %v hold %q; expected hold %q", d.name, a.Epoch, a.Seq, a.Want, a.Hold, why)
	}
}

// wantStored expects the hub to hold exactly the own chain.
func (d *terminal) wantStored() {
	d.r.t.Helper()
	synctest.Wait()
	var want [][]byte
	for _, at := range slices.SortedFunc(maps.Keys(d.entries), comparePositions) {
		want = append(want, d.entries[at])
	}
	if got := d.r.stored(d.name); !slices.EqualFunc(got, want, bytes.Equal) {
		d.r.t.Errorf("the hub holds %d entries of %s that are not its %d", len(got), d.name, len(want))
	}
}

func comparePositions(a, b ledger.Position) int {
	switch {
	case a.Before(b):
		return -1
	case b.Before(a):
		return 1
	}
	return 0
}

// put appends raw bytes to the own chain.
func (d *terminal) put(raw []byte) {
	d.head = ledger.Head{Position: ledger.Position{Epoch: d.epoch, Seq: d.head.Seq + 1}, Hash: ledger.HashOf(raw)}
	d.entries[d.head.Position] = raw
}

// entry makes the next entry, in the form that package ledger writes.
func (d *terminal) entry(op, kind, evidence, data string) []byte {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	raw := fmt.Appendf(nil, `{"v":1,"epoch":%d,"seq":%d,"prev":"%s","at":{"wall":"%s","boot":"boot-1","up_ms":5,"quality":"synced"},"op":"%s","kind":"%s","actor":"test","evidence":%s,"postings":[{"account":"pix_clearing","amount":100},{"account":"sales","amount":-100}],"data":%s}`,
		d.epoch, d.head.Seq+1, d.head.Hash, at.Format("2006-01-02T15:04:05.000Z"), op, kind, evidence, data)
	if _, err := ledger.Decode(raw); err != nil {
		d.r.t.Fatalf("the test's own entry: %v\n%s", err, raw)
	}
	return raw
}

// add appends n entries.
func (d *terminal) add(n int) {
	for range n {
		d.put(d.entry(fmt.Sprintf("op/%d/%d/%s", d.epoch, d.head.Seq+1, d.sid), "test.kind", "null", `{"n":1}`))
	}
}

// paid appends a charge.paid entry.
func (d *terminal) paid(charge, endToEnd string) {
	d.put(d.entry("payment/"+endToEnd, "charge.paid",
		fmt.Sprintf(`{"source":"provider","route":"r","account":"acc","attempt":1,"provider_id":"P1","word":"PAID","amount":100,"end_to_end":%q,"digest":"d1"}`, endToEnd),
		fmt.Sprintf(`{"charge":%q,"attempt":1,"amount":100}`, charge)))
}

// newEpoch starts another life of the store file, which continues the chain.
func (d *terminal) newEpoch(epoch uint64) {
	d.epoch = epoch
	d.head.Position = ledger.Position{Epoch: epoch}
}

func (d *terminal) prev(at ledger.Position) ledger.Hash {
	if at.Seq > 1 {
		return ledger.HashOf(d.entries[ledger.Position{Epoch: at.Epoch, Seq: at.Seq - 1}])
	}
	var h ledger.Hash
	raw := d.entries[at]
	_, rest, _ := bytes.Cut(raw, []byte(`"prev":"`))
	if h.UnmarshalText(rest[:64]) != nil {
		d.r.t.Fatalf("no prev in %s", raw)
	}
	return h
}

// batch makes a batch of the own entries from..to of an epoch.
func (d *terminal) batch(epoch, from, to uint64) wire.Batch {
	first := ledger.Position{Epoch: epoch, Seq: from}
	b := wire.Batch{V: 1, SID: d.sid, From: first, Prev: d.prev(first)}
	for seq := from; seq <= to; seq++ {
		b.Entries = append(b.Entries, d.entries[ledger.Position{Epoch: epoch, Seq: seq}])
	}
	return b
}

func (d *terminal) checkpoint(at ledger.Head) *ledger.Signed {
	s, err := ledger.Sign(d.key, ledger.Checkpoint{Device: d.name, Head: at, Boot: "boot-1", Wall: time.Now()})
	if err != nil {
		d.r.t.Fatal(err)
	}
	return &s
}

// signed is batch with a checkpoint of its end.
func (d *terminal) signed(epoch, from, to uint64) wire.Batch {
	b := d.batch(epoch, from, to)
	last := ledger.Position{Epoch: epoch, Seq: to}
	b.Checkpoint = d.checkpoint(ledger.Head{Position: last, Hash: ledger.HashOf(d.entries[last])})
	return b
}

func (d *terminal) topic(c wire.Channel) string {
	return wire.Topic{Tenant: d.tenant, Site: d.site, Device: d.name, Up: true, Channel: c}.String()
}

func (d *terminal) send(b wire.Batch) {
	d.r.t.Helper()
	payload, err := b.Encode()
	if err != nil {
		d.r.t.Fatal(err)
	}
	d.raw(wire.ChannelLedger, payload)
}

// perBatch entries of this size fit into one batch.
const perBatch = 80

// sendAll sends everything from a position of the present epoch on, in batches.
func (d *terminal) sendAll(from uint64) {
	d.r.t.Helper()
	for ; from <= d.head.Seq; from += perBatch {
		d.send(d.signed(d.epoch, from, min(from+perBatch-1, d.head.Seq)))
	}
	synctest.Wait()
}

func (d *terminal) raw(c wire.Channel, payload []byte) { d.r.hub.Handle(d.topic(c), payload, nil) }

func (d *terminal) say(m wire.Message) {
	d.r.t.Helper()
	payload, err := wire.Encode(m)
	if err != nil {
		d.r.t.Fatal(err)
	}
	d.raw(m.Channel(), payload)
}

func (d *terminal) hello(acked ledger.Head) {
	d.r.t.Helper()
	d.mu.Lock()
	ctr := d.last
	d.mu.Unlock()
	d.say(wire.Hello{V: 1, SID: d.sid, Device: d.name, Version: "1", Head: d.head, Acked: acked, Ctr: ctr, Clock: "synced"})
}

func (d *terminal) headAt(epoch, seq uint64) ledger.Head {
	at := ledger.Position{Epoch: epoch, Seq: seq}
	return ledger.Head{Position: at, Hash: ledger.HashOf(d.entries[at])}
}

func mustJSON(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(b)
}

func (r *rig) replaceStore(content []byte) {
	r.t.Helper()
	if err := os.WriteFile(r.path, content, 0o600); err != nil {
		r.t.Fatal(err)
	}
}

// broken is a store that a commit of somebody else has failed in, after the hub
// has read what it sends again.
type broken struct{ hub.Store }

func (broken) View(_ context.Context, fn func(hub.Tx) error) error {
	if err := fn(nothing{}); err == nil {
		return nil
	}
	return hub.ErrOutcomeUnknown
}

// nothing is a transaction in which there is nothing to scan, and nothing works.
type nothing struct{ hub.Tx }

func (nothing) Scan(hub.Kind, string) iter.Seq2[hub.Record, error] {
	return func(func(hub.Record, error) bool) {}
}

func (nothing) Get(hub.Kind, string) ([]byte, error) { return nil, hub.ErrOutcomeUnknown }

func mustSigner(t testing.TB) *wire.Signer {
	t.Helper()
	s, err := wire.NewSigner(keyOf("hub"))
	if err != nil {
		t.Fatal(err)
	}
	return s
}
