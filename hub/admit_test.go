package hub_test

import (
	"bytes"
	"compress/flate"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.etcd.io/bbolt"

	"github.com/ssg-safe/agent/fleet/wire"
	"github.com/ssg-safe/agent/hub"
	"github.com/ssg-safe/agent/hub/bolt"
	_ "github.com/ssg-safe/agent/internal/bubbles"
	"github.com/ssg-safe/agent/ledger"
)

// bomb inflates to more than anybody allows.
func bomb(t *testing.T) []byte {
	var b bytes.Buffer
	b.WriteByte(0x01)
	w, err := flate.NewWriter(&b, flate.BestCompression)
	if err == nil {
		_, err = w.Write(append([]byte("{"), bytes.Repeat([]byte(" "), 2*wire.MaxInflated)...))
	}
	if err := errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// What is not from a registered device, in its place, within the limits, is
// dropped and counted, and never answered.
func TestAdmission(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		d := r.register("kiosk-1")
		d.add(5)
		stranger := r.stranger("kiosk-9")
		stranger.add(5)
		revoked := r.register("kiosk-2")
		revoked.add(5)
		r.update(func(tx hub.Tx) error { return hub.Revoke(tx, revoked.name) })
		elsewhere := d.clone()
		elsewhere.site = "vault"
		foreign := d.clone()
		foreign.tenant = "rival"

		for _, x := range []*terminal{stranger, revoked, elsewhere, foreign} {
			x.send(x.signed(1, 1, 5))
			x.hello(ledger.Head{})
			x.say(wire.State{V: 1, On: true, SID: "s", Boot: "b", Version: "1", At: time.Now()})
		}
		d.raw(wire.ChannelLedger, bytes.Repeat([]byte("{"), wire.MaxPacket+1))
		d.raw(wire.ChannelLedger, bomb(t))
		d.raw(wire.ChannelLedger, []byte("{}"))
		d.raw(wire.ChannelHello, []byte("\x01\x00"))
		d.raw(wire.ChannelEvt, nil)
		d.raw(wire.ChannelTele, []byte(`{"v":2}`))
		other := stranger.clone()
		other.name = d.name // a hello that names another device than its topic
		payload, err := wire.Encode(wire.Hello{V: 1, SID: "s", Device: "kiosk-9", Version: "1", Clock: "synced"})
		if err != nil {
			t.Fatal(err)
		}
		d.raw(wire.ChannelHello, payload)
		for _, topic := range []string{"", "fleet/v1/acme/lobby/kiosk-1/down/ack", "fleet/v2/acme/lobby/kiosk-1/up/hello", strings.Repeat("x/", 4000), "fleet/v1/acme/lobby/kiosk-1/up/cmd", "fleet/v1/+/lobby/kiosk-1/up/hello"} {
			r.hub.Handle(topic, []byte("{}"), nil)
		}
		r.wantDrops(map[hub.Drop]uint64{
			hub.DropUnknown: 3, hub.DropRevoked: 3, hub.DropMisplaced: 6, hub.DropTooLarge: 2, hub.DropMalformed: 5, hub.DropTopic: 6,
		})
		for _, x := range []*terminal{d, stranger, revoked} {
			x.wantSilence()
			if n := len(r.stored(x.name)); n != 0 {
				t.Errorf("%d entries of %s were stored", n, x.name)
			}
			if p, known := r.hub.Presence(x.name); known && p.SID != "" {
				t.Errorf("presence of %s: %+v", x.name, p)
			}
		}
		r.wantAlarms("kiosk-1:batch") // what stops a ledger is told to somebody
		d.sendAll(1)
		d.wantAck(1, 5)
	})
}

// Every packet is given back to the broker, taken or not: what cannot be read
// would come again for ever.
func TestEveryPacketIsDone(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		d := r.register("kiosk-1")
		d.add(5)
		batch, err := d.batch(1, 1, 5).Encode()
		if err != nil {
			t.Fatal(err)
		}
		var mu sync.Mutex
		done := make(map[string]int)
		for name, p := range map[string]struct {
			topic   string
			payload []byte
		}{
			"batch": {d.topic(wire.ChannelLedger), batch}, "garbage": {d.topic(wire.ChannelLedger), []byte("x")},
			"stranger": {"fleet/v1/a/b/c/up/ledger", batch}, "topic": {"x", batch}, "bomb": {d.topic(wire.ChannelEvt), bomb(t)},
			"tele": {d.topic(wire.ChannelTele), []byte("{}")},
		} {
			r.hub.Handle(p.topic, p.payload, func() {
				mu.Lock()
				defer mu.Unlock()
				done[name]++
			})
		}
		synctest.Wait()
		for _, name := range []string{"batch", "garbage", "stranger", "topic", "bomb", "tele"} {
			if done[name] != 1 {
				t.Errorf("%s was given back %d times", name, done[name])
			}
		}
	})
}

// A flood of bad packets is a line a second in the log.
func TestLogIsQuiet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log lines
		r := &rig{t: t, path: t.TempDir() + "/hub.db", pipe: &pipe{sinks: make(map[string]func(wire.Channel, []byte))}}
		r.opts.Logger = slog.New(slog.NewTextHandler(&log, nil))
		r.start()
		defer r.stop()
		for range 3 {
			for range 1000 {
				r.hub.Handle("fleet/v1/a/b/stranger/up/hello", []byte("{}"), nil)
			}
			time.Sleep(time.Second)
		}
		synctest.Wait()
		if n := log.count("reason=unknown"); n != 3 {
			t.Errorf("%d lines, want 3", n)
		}
		if n := log.count("more=999"); n != 2 {
			t.Errorf("%d lines tell of the silent ones, want 2", n)
		}
	})
}

// lines is a log.
type lines struct {
	mu sync.Mutex // guards text
	b  bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) count(what string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.b.String(), what)
}

// Nothing is acknowledged, to the device or to the broker, before the commit.
func TestNothingBeforeTheCommit(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		gate := r.gate()
		d := r.register("kiosk-1")
		d.add(5)
		payload, err := d.signed(1, 1, 5).Encode()
		if err != nil {
			t.Fatal(err)
		}
		var done bool
		r.hub.Handle(d.topic(wire.ChannelLedger), payload, func() { done = true })
		time.Sleep(time.Hour)
		synctest.Wait()
		if done {
			t.Error("the packet was given back before the commit")
		}
		d.wantSilence()
		close(gate)
		d.wantAck(1, 5)
		if !done {
			t.Error("the packet was not given back after the commit")
		}
	})
}

// After a failed commit nobody knows what is on disk: nothing is acknowledged,
// and the hub ends. The next one finds out.
func TestFailedCommit(t *testing.T) {
	for _, outcome := range []string{"lost", "durable"} {
		t.Run(outcome, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t)
				d := r.register("kiosk-1")
				d.add(10)
				d.send(d.signed(1, 1, 5))
				d.wantAck(1, 5)
				r.stop()
				store, err := bolt.Open(bolt.Options{Path: r.path, Commit: func(tx *bbolt.Tx) error {
					if outcome == "lost" {
						return errors.Join(errors.New("disk"), tx.Rollback())
					}
					return errors.Join(tx.Commit(), errors.New("disk"))
				}})
				if err != nil {
					t.Fatal(err)
				}
				r.store = store
				r.start()
				payload, err := d.signed(1, 6, 10).Encode()
				if err != nil {
					t.Fatal(err)
				}
				r.hub.Handle(d.topic(wire.ChannelLedger), payload, func() { t.Error("the packet was given back") })
				err = <-r.ended
				if !errors.Is(err, hub.ErrOutcomeUnknown) {
					t.Errorf("Run: %v, want ErrOutcomeUnknown", err)
				}
				d.wantSilence()
				if err := r.store.Close(); err != nil {
					t.Fatal(err)
				}
				r.store = nil
				r.start()
				d.send(d.signed(1, 6, 10)) // the broker delivers it again
				d.wantAck(1, 10)
				d.wantStored()
				r.close()
			})
		})
	}
}

// What has been received when the hub is told to stop is answered, or comes
// again.
func TestStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		d := r.register("kiosk-1")
		d.add(200)
		given := make(map[uint64]bool)
		var mu sync.Mutex
		for from := uint64(1); from <= 200; from += 10 {
			payload, err := d.signed(1, from, from+9).Encode()
			if err != nil {
				t.Fatal(err)
			}
			r.hub.Handle(d.topic(wire.ChannelLedger), payload, func() {
				mu.Lock()
				defer mu.Unlock()
				given[from] = true
			})
		}
		r.cancel()
		if err := <-r.ended; err != nil {
			t.Errorf("Run: %v", err)
		}
		r.hub.Handle(d.topic(wire.ChannelLedger), nil, func() { t.Error("a packet after the end was given back") })
		n := uint64(len(r.stored(d.name)))
		for from := range given {
			if from+9 > n {
				t.Errorf("batch %d was given back, and %d entries are stored", from, n)
			}
		}
		d.mu.Lock()
		for _, a := range d.acks {
			if a.Seq > n {
				t.Errorf("ack %d, and %d entries are stored", a.Seq, n)
			}
		}
		d.mu.Unlock()
		if _, err := r.hub.Charge(context.Background(), d.name, wire.ChargeRequest{}, time.Time{}); err == nil {
			t.Error("a charge after the end")
		}
		r.ended <- nil
		r.stop()
	})
}

// One device that sends without end gets its share, and the others theirs.
func TestFairness(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		gate := r.gate()
		loud := r.register("a-loud")
		loud.add(1)
		payload, err := loud.batch(1, 1, 1).Encode()
		if err != nil {
			t.Fatal(err)
		}
		for range 2000 {
			loud.raw(wire.ChannelLedger, bytes.Clone(payload))
		}
		var quiet []*terminal
		for i := range 20 {
			d := r.register(fmt.Sprintf("quiet-%d", i))
			d.add(5)
			d.send(d.signed(1, 1, 5))
			quiet = append(quiet, d)
		}
		dropped := r.hub.Stats().Dropped
		if dropped[hub.DropBusy]+dropped[hub.DropRate] < 1800 {
			t.Errorf("dropped %v of 2000 packets of a loud device", dropped)
		}
		close(gate)
		for _, d := range quiet {
			d.wantAck(1, 5)
		}
		if s := r.hub.Stats(); s.Waiting != 0 {
			t.Errorf("%d packets wait for ever", s.Waiting)
		}
		// It earns its packets back.
		time.Sleep(10 * time.Second)
		loud.add(1)
		loud.send(loud.batch(1, 2, 2))
		loud.wantAck(1, 2)
	})
}

// In the long run a device may send what its rate says.
func TestRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &rig{t: t, path: t.TempDir() + "/hub.db", pipe: &pipe{sinks: make(map[string]func(wire.Channel, []byte))}}
		r.opts.Rate, r.opts.Burst = 10, 20
		r.start()
		d := r.register("kiosk-1")
		taken := 0
		for range 100 {
			before := r.hub.Stats().Dropped[hub.DropRate]
			d.say(wire.State{V: 1, On: true, SID: "s", Boot: "b", Version: "1", At: time.Now()})
			if r.hub.Stats().Dropped[hub.DropRate] == before {
				taken++
			}
			synctest.Wait()
		}
		if taken != 21 {
			t.Errorf("%d of 100 at once, want 21", taken)
		}
		for range 100 {
			time.Sleep(100 * time.Millisecond)
			before := r.hub.Stats().Dropped[hub.DropRate]
			d.say(wire.State{V: 1, On: true, SID: "s", Boot: "b", Version: "1", At: time.Now()})
			if r.hub.Stats().Dropped[hub.DropRate] == before {
				taken++
			}
			synctest.Wait()
		}
		if taken != 121 {
			t.Errorf("%d in ten seconds more, want 100", taken-21)
		}
		r.close()
	})
}

// A will belongs to its session: that of a connection that was replaced, which
// the broker sends late, does not count.
func TestPresence(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		d := r.register("kiosk-1")
		on := func(sid string) wire.State {
			return wire.State{V: 1, On: true, SID: sid, Boot: "b", Version: "1", At: time.Now()}
		}
		want := func(online bool, sid string) {
			t.Helper()
			synctest.Wait()
			if p, _ := r.hub.Presence(d.name); p.On != online || p.SID != sid {
				t.Errorf("presence %+v, want %v in %s", p, online, sid)
			}
		}
		if _, known := r.hub.Presence(d.name); known {
			t.Error("a presence before anything came")
		}
		d.say(on("s1"))
		want(true, "s1")
		d.say(on("s2"))
		d.say(wire.State{V: 1, SID: "s1"})
		want(true, "s2")
		if s := r.hub.Stats(); s.Stale != 1 {
			t.Errorf("%d stale wills", s.Stale)
		}
		d.say(wire.State{V: 1, SID: "s2"})
		want(false, "s2")
		d.say(on("s3"))
		want(true, "s3")
		// A hello of an old session, delivered again, changes no session.
		d.sid = "s2"
		d.hello(ledger.Head{})
		want(true, "s3")
		d.sid = "s3"
		d.add(1)
		d.hello(ledger.Head{})
		want(true, "s3")
		if p, _ := r.hub.Presence(d.name); p.Head.Seq != 1 || p.Clock != "synced" {
			t.Errorf("presence %+v", p)
		}
		// Telemetry says what was measured last, and nothing about the connection.
		for n := range uint64(3) {
			d.say(wire.Tele{V: 1, SID: "s2", At: time.Now(), Clock: "synced", Counters: map[string]uint64{"provider.ssg.sent": n}, Gauges: map[string]int64{"store.free": -7}})
		}
		want(true, "s3")
		if p, _ := r.hub.Presence(d.name); p.Counters["provider.ssg.sent"] != 2 || p.Gauges["store.free"] != -7 || p.Clock != "synced" {
			t.Errorf("presence %+v", p)
		}
	})
}

// What a device reports is kept once, and not without end.
func TestEvents(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		d := r.register("kiosk-1")
		evt := func(id, kind string, level wire.Level) wire.Evt {
			return wire.Evt{V: 1, SID: d.sid, ID: id, Kind: kind, Level: level, At: time.Now(), Clock: "synced", Detail: map[string]string{"port": "usb"}}
		}
		d.say(evt("e1", "printer.jam", wire.LevelWarn))
		d.say(evt("e1", "printer.jam", wire.LevelWarn))
		d.say(evt("e2", "door.open", wire.LevelAlarm))
		d.say(evt("e3", "started", wire.LevelInfo))
		r.wantAlarms("kiosk-1:device.printer.jam", "kiosk-1:device.door.open")
		r.view(func(tx hub.Tx) error {
			all, err := hub.Alarms(tx, false)
			if a := all[0]; a.Count != 1 || a.Detail["port"] != "usb" || a.Level != wire.LevelWarn {
				t.Errorf("alarm %+v", a)
			}
			return err
		})
		r.update(func(tx hub.Tx) error { return hub.AckAlarm(tx, 1, "ana") })
		d.say(evt("e1", "printer.jam", wire.LevelWarn)) // delivered once more
		r.wantAlarms("kiosk-1:device.door.open")
		for i := range 300 {
			d.say(evt(fmt.Sprint("flood-", i), "x", wire.LevelWarn))
			if i%50 == 49 { // as many as may wait
				synctest.Wait()
			}
		}
		synctest.Wait()
		got := r.alarms()
		if len(got) != 201 || !slices.Contains(got, "kiosk-1:device.events") {
			t.Errorf("%d alarms are open, want 201 with the one about the flood", len(got))
		}
	})
}

// A difference that a terminal found is an alarm, once, until the terminal says that
// somebody dealt with it. One that cannot be read is kept, and is none.
func TestDifferences(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		d := r.register("kiosk-1")
		const opened = `{"ticket":"T0123456789","kind":"late","charge":"C1","provider":"ssg","owner":"financeiro","deadline":"2026-03-04T12:00:00Z","opened":"2026-03-01T12:00:00Z"}`
		d.put(d.entry("ticket/1/late/C1/p1", "ticket.opened", "null", opened))
		d.put(d.entry("ticket/1/late/C2/p1", "ticket.opened", "null", `{"ticket":7}`))
		d.sendAll(1)
		d.sendAll(1)
		r.wantAlarms("kiosk-1:difference")
		r.view(func(tx hub.Tx) error {
			all, err := hub.Alarms(tx, false)
			if a := all[0]; a.Subject != "T0123456789" || a.Count != 1 || a.Level != wire.LevelWarn || a.Detail["charge"] != "C1" || a.Detail["owner"] != "financeiro" {
				t.Errorf("alarm %+v", a)
			}
			return err
		})
		d.put(d.entry("ticket/2/late/C1/p1", "ticket.opened", "null", opened)) // found again by a restored store
		d.sendAll(3)
		r.wantAlarms("kiosk-1:difference")
		closed := strings.Replace(opened, `"opened"`, `"closed":"2026-03-02T12:00:00Z","by":"ana","how":"refunded","opened"`, 1)
		d.put(d.entry("ticket/1/late/C1/p1/closed", "ticket.closed", "null", closed))
		d.put(d.entry("ticket/1/late/C9/p1/closed", "ticket.closed", "null", strings.Replace(closed, "T0123456789", "T9999999999", 1)))
		d.sendAll(4)
		r.wantAlarms()
	})
}

func TestAlarmsAreAcknowledged(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		d := r.register("kiosk-1")
		d.add(1)
		d.send(d.batch(1, 1, 1))
		d.newEpoch(7)
		d.add(1)
		for range 3 {
			d.send(d.batch(7, 1, 1))
			synctest.Wait()
		}
		r.wantAlarms("kiosk-1:epoch")
		r.update(func(tx hub.Tx) error {
			all, err := hub.Alarms(tx, false)
			if len(all) != 1 || all[0].Count != 3 || all[0].Detail["epoch"] != "7" {
				t.Errorf("alarms %s", mustJSON(all))
			}
			return errors.Join(err, hub.AckAlarm(tx, all[0].ID, "ana"), hub.AckAlarm(tx, all[0].ID, "bia"))
		})
		r.wantAlarms()
		d.send(d.batch(7, 1, 1)) // it goes on: a new one
		r.wantAlarms("kiosk-1:epoch")
		r.view(func(tx hub.Tx) error {
			all, err := hub.Alarms(tx, true)
			if len(all) != 2 || all[0].By != "ana" || all[1].Count != 1 {
				t.Errorf("alarms %s", mustJSON(all))
			}
			return err
		})
		if err := r.store.Update(t.Context(), func(tx hub.Tx) error { return hub.AckAlarm(tx, 99, "ana") }); !errors.Is(err, hub.ErrNotFound) {
			t.Errorf("acknowledging an alarm that is not there: %v", err)
		}
	})
}

func TestRegistry(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		ctx := t.Context()
		d := hub.Device{Name: "kiosk-1", Tenant: "acme", Site: "lobby", Key: public(keyOf("kiosk-1"))}
		for range 2 {
			if err := r.hub.Register(ctx, d); err != nil {
				t.Errorf("Register: %v", err)
			}
		}
		for name, change := range map[string]func(*hub.Device){
			"key":    func(d *hub.Device) { d.Key = public(keyOf("thief")) },
			"tenant": func(d *hub.Device) { d.Tenant = "rival" },
			"site":   func(d *hub.Device) { d.Site = "vault" },
		} {
			other := d
			change(&other)
			if err := r.hub.Register(ctx, other); !errors.Is(err, hub.ErrConflict) {
				t.Errorf("another %s: %v, want ErrConflict", name, err)
			}
		}
		for name, change := range map[string]func(*hub.Device){
			"name": func(d *hub.Device) { d.Name = "Kiosk 1" },
			"site": func(d *hub.Device) { d.Site = "" },
			"key":  func(d *hub.Device) { d.Key = d.Key[:5] },
		} {
			other := d
			change(&other)
			if err := r.hub.Register(ctx, other); err == nil || errors.Is(err, hub.ErrConflict) {
				t.Errorf("a bad %s: %v", name, err)
			}
		}
		for what, do := range map[string]func(hub.Tx) error{
			"revoke":        func(tx hub.Tx) error { return hub.Revoke(tx, "nobody") },
			"approve epoch": func(tx hub.Tx) error { return hub.ApproveEpoch(tx, "nobody", 1) },
			"approve gap":   func(tx hub.Tx) error { return hub.ApproveGap(tx, "nobody") },
			"approve fork":  func(tx hub.Tx) error { return hub.ApproveFork(tx, "nobody") },
		} {
			if err := r.store.Update(ctx, do); !errors.Is(err, hub.ErrNotFound) {
				t.Errorf("%s of nobody: %v, want ErrNotFound", what, err)
			}
		}
		if err := r.store.Update(ctx, func(tx hub.Tx) error { return hub.ApproveFork(tx, d.Name) }); err == nil {
			t.Error("a fork was approved that there is not")
		}
		if got := r.device(d.Name); got.State() != "new" {
			t.Errorf("state %s", got.State())
		}
	})
}
