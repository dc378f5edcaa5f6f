package hub_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ssg-safe/agent/fleet/wire"
	"github.com/ssg-safe/agent/hub"
	"github.com/ssg-safe/agent/hub/bolt"
)

// sells appends what a charge leaves in the ledger once its provider has
// accepted it under a name.
func (d *terminal) sells(charge, name string) {
	d.put(d.entry("charge/"+charge+"/created", "charge.created", "null", fmt.Sprintf(
		`{"charge":%q,"merchant":"m","route":"r","account":"acc","amount":100,"expiry_s":600,"source":"keypad","present":true}`, charge)))
	d.put(d.entry("charge/"+charge+"/attempt/1/accepted", "charge.attempt", "null", fmt.Sprintf(
		`{"charge":%q,"attempt":1,"state":"accepted","provider_id":%q,"digest":"d1"}`, charge, name)))
}

// reported is an event about what a provider calls so.
func reported(name string) hub.Webhook {
	return hub.Webhook{Source: "psp", Kind: "cashin.confirmed", Known: true, Key: "confirmed-" + name, Names: []string{name}, Paid: true, Digest: "d2"}
}

func (r *rig) receive(want int, events ...hub.Webhook) {
	r.t.Helper()
	fresh, err := r.hub.Receive(r.t.Context(), events)
	if err != nil || fresh != want {
		r.t.Errorf("%d of %d events are new, %v; want %d", fresh, len(events), err, want)
	}
}

func (r *rig) webhooks() (list []hub.WebhookRecord) {
	r.t.Helper()
	r.view(func(tx hub.Tx) (err error) {
		list, err = hub.Webhooks(tx, 1000)
		return err
	})
	return list
}

func (r *rig) wantStates(want ...hub.WebhookState) {
	r.t.Helper()
	var got []hub.WebhookState
	for _, rec := range r.webhooks() {
		got = append(got, rec.State)
	}
	if !slices.Equal(got, want) {
		r.t.Errorf("events are %q, want %q", got, want)
	}
}

// A webhook makes the hub tell the device of the charge to ask, until it answers;
// it says nothing about money.
func TestWebhookIsAHint(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		d, other := r.register("kiosk-1"), r.register("kiosk-2")
		d.sells("C1", "tx_1")
		d.sendAll(1)
		r.receive(1, reported("tx_1"))
		time.Sleep(3 * time.Second)
		pays, _, _ := d.heard()
		if len(pays) != 2 {
			t.Fatalf("sent %d times in 3 s, want 2", len(pays))
		}
		p := pays[0]
		if p.Charge != "C1" || p.Status != "pending" || p.Cents != 0 || p.EndToEnd != "" || p.Route != "r" || p.Account != "acc" || p.ProviderID != "tx_1" || p.Attempt != 1 {
			t.Errorf("the hint says %+v", p)
		}
		if rec := r.webhooks()[0]; rec.Device != "kiosk-1" || rec.Charge != "C1" || rec.Hint != p.JTI || rec.State != hub.WebhookMatched {
			t.Errorf("recorded %+v", rec)
		}
		d.answer(p.JTI, true, wire.CodeKnown)
		time.Sleep(time.Hour)
		if pays, _, _ := d.heard(); len(pays) > 0 {
			t.Errorf("sent %d times after the answer", len(pays))
		}
		if pays, _, _ := other.heard(); len(pays) > 0 {
			t.Error("another device was told")
		}
		r.view(func(tx hub.Tx) error {
			if _, err := tx.Get(hub.KindPayment, "kiosk-1/C1"); !errors.Is(err, hub.ErrNotFound) {
				t.Errorf("a webhook left a payment: %v", err)
			}
			return nil
		})
		d.say(wire.PayGet{V: 1, SID: d.sid, Charges: []string{"C1"}})
		if pays, _, _ := d.heard(); len(pays) > 0 {
			t.Errorf("a webhook is answered as a payment: %+v", pays)
		}
		r.wantAlarms()
	})
}

// An orphan of which only the callback address is known is found by that, whichever
// comes first, and its terminal is told what the provider calls it.
func TestWebhookOfAnOrphan(t *testing.T) {
	const name = "callback:00112233445566778899aabbccddeeff"
	for _, early := range []bool{false, true} {
		bubble(t, func(t *testing.T, r *rig) {
			d := r.register("kiosk-1")
			event := reported("REF-1")
			event.Names = append(event.Names, "tx_1", name)
			foreign := reported("REF-2")
			foreign.Names = append(foreign.Names, "callback:00112233445566778899aabbccddee00")
			if early {
				r.receive(2, event, foreign)
			}
			d.put(d.entry("charge/C1/created", "charge.created", "null",
				`{"charge":"C1","merchant":"m","route":"r","account":"acc","amount":100,"expiry_s":600,"source":"keypad","present":true}`))
			d.put(d.entry("charge/C1/attempt/1/orphaned", "charge.attempt", "null", fmt.Sprintf(
				`{"charge":"C1","attempt":1,"state":"orphaned","callback":%q,"reason":"ambiguous"}`, name)))
			d.put(d.entry("charge/C1/attempt/2/orphaned", "charge.attempt", "null",
				`{"charge":"C1","attempt":2,"state":"orphaned","callback":"REF-2","reason":"ambiguous"}`)) // no callback's name
			d.sendAll(1)
			if !early {
				r.receive(2, event, foreign)
			}
			time.Sleep(time.Second)
			pays, _, _ := d.heard()
			if len(pays) == 0 {
				t.Fatal("the terminal is not told")
			}
			for _, p := range pays {
				if p.Charge != "C1" || p.Attempt != 1 || p.ProviderID != "REF-1" || p.Status != "pending" || p.Cents != 0 {
					t.Errorf("it is told %+v", p)
				}
			}
			r.wantStates(hub.WebhookMatched, hub.WebhookWaiting)
		})
	}
}

// What comes before its charge waits for it; what never gets one is told to
// somebody, if it speaks of money.
func TestWebhookBeforeItsCharge(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		d := r.register("kiosk-1")
		payout := hub.Webhook{Source: "psp", Kind: "cashout.confirmed", Known: true, Key: "k", Names: []string{"tx_9", "out-9"}, Digest: "d"}
		early := reported("tx_1")
		early.Names = append(early.Names, "C1", "E1")
		r.receive(3, early, reported("tx_2"), payout)
		r.wantStates(hub.WebhookWaiting, hub.WebhookWaiting, hub.WebhookWaiting)
		time.Sleep(9 * time.Minute)
		if err := r.hub.SweepWebhooks(t.Context()); err != nil {
			t.Fatal(err)
		}
		d.sells("C1", "tx_1")
		d.sendAll(1)
		if pays, _, _ := d.heard(); len(pays) != 1 || pays[0].Charge != "C1" {
			t.Errorf("told %+v", pays)
		}
		r.wantStates(hub.WebhookMatched, hub.WebhookWaiting, hub.WebhookWaiting)
		r.wantAlarms()
		time.Sleep(time.Minute)
		for range 2 {
			if err := r.hub.SweepWebhooks(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		r.wantStates(hub.WebhookMatched, hub.WebhookUnmatched, hub.WebhookUnmatched)
		r.wantAlarms(":" + hub.AlarmWebhookUnmatched)
		r.view(func(tx hub.Tx) error {
			for rec, err := range tx.Scan(hub.KindWaiting, "") {
				t.Errorf("still waits: %s, %v", rec.Key, err)
			}
			return nil
		})
		// A device that was away brings the charge after all.
		d.sells("C2", "tx_2")
		d.sendAll(3)
		pays, _, _ := d.heard()
		if !slices.ContainsFunc(pays, func(p wire.Pay) bool { return p.Charge == "C2" }) {
			t.Errorf("told %+v", pays)
		}
		r.wantStates(hub.WebhookMatched, hub.WebhookMatched, hub.WebhookUnmatched)
		// Nothing is left of an event in 90 days but its key and the names of charges.
		time.Sleep(91 * 24 * time.Hour)
		for i := range 3 {
			r.receive(1, hub.Webhook{Source: "psp", Kind: "k", Known: true, Key: fmt.Sprint("later", i), Digest: "d"})
		}
		r.view(func(tx hub.Tx) error {
			var left []string
			for rec, err := range tx.Scan(hub.KindSubject, "") {
				if err != nil {
					return err
				}
				left = append(left, rec.Key)
			}
			if !slices.Equal(left, []string{"tx_1", "tx_2"}) {
				t.Errorf("the index has %q", left)
			}
			return nil
		})
	})
}

// A name belongs to the device that had it first.
func TestWebhookNamesAreNotTakenAway(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		d, thief := r.register("kiosk-1"), r.register("kiosk-2")
		d.sells("C1", "tx_1")
		d.sendAll(1)
		thief.sells("C1", "tx_1")
		thief.sendAll(1)
		r.receive(1, reported("tx_1"))
		if pays, _, _ := thief.heard(); len(pays) > 0 {
			t.Error("a device drew another's hint away")
		}
		if pays, _, _ := d.heard(); len(pays) != 1 {
			t.Errorf("told %d times", len(pays))
		}
	})
}

// A hint never takes the place of a message that carries proof, nor its room.
func TestHintsGiveWay(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		d := r.register("kiosk-1")
		d.sells("C1", "tx_1")
		d.sendAll(1)
		for i := range 200 {
			d.sells(fmt.Sprint("X", i), fmt.Sprint("tx_x", i))
			d.sendAll(d.head.Seq - 1)
		}
		if err := r.hub.Pay(t.Context(), d.name, known("C1", "E1")); err != nil {
			t.Fatal(err)
		}
		r.receive(1, reported("tx_1"))
		pays, _, _ := d.heard()
		if len(pays) != 1 || pays[0].Status != "paid" {
			t.Errorf("told %+v", pays)
		}
		time.Sleep(2 * time.Second)
		if pays, _, _ := d.heard(); len(pays) != 1 || pays[0].Status != "paid" {
			t.Errorf("then told %+v", pays)
		}
		for i := range 200 {
			r.receive(1, reported(fmt.Sprint("tx_x", i)))
		}
		for i := range 100 {
			if err := r.hub.Pay(t.Context(), d.name, known(fmt.Sprint("Y", i), fmt.Sprint("EY", i))); err != nil {
				t.Fatalf("payment %d behind a flood of webhooks: %v", i, err)
			}
		}
	})
}

// A flood of rings about one charge, each with other words, has the device told once
// until it answers, and once for each answer after that: it answers as fast as it asks
// its provider, which is once a second at most.
func TestRingsAreBounded(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		d := r.register("kiosk-1")
		d.sells("C1", "tx_1")
		d.sendAll(1)
		n := 0
		flood := func() map[string]bool {
			for range 300 {
				n++
				r.receive(1, hub.Webhook{Source: "bell", Kind: "ring", Known: true, Guessed: true, Key: fmt.Sprint("k", n), Names: []string{"x", "tx_1"}, Digest: "d"})
			}
			told := map[string]bool{}
			pays, _, _ := d.heard()
			for _, p := range pays {
				told[p.JTI] = true
			}
			return told
		}
		first := flood()
		if len(first) != 1 {
			t.Errorf("300 rings are %d messages", len(first))
		}
		if again := flood(); len(again) > 1 {
			t.Errorf("300 more, unanswered, are %d messages", len(again))
		}
		for jti := range first {
			d.answer(jti, true, wire.CodeKnown)
		}
		if next := flood(); len(next) != 1 {
			t.Errorf("300 rings after the answer are %d messages", len(next))
		}
		for range 300 { // words that name nothing
			n++
			r.receive(0, hub.Webhook{Source: "bell", Kind: "ring", Known: true, Guessed: true, Key: fmt.Sprint("k", n), Names: []string{"tx_9"}, Digest: "d"})
		}
		if got := len(r.webhooks()); got != 900 {
			t.Errorf("%d are kept, want 900", got)
		}
	})
}

// Received is received for ever, whatever happens to what the event said.
func TestWebhooksAreDeduplicatedForEver(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		for range 6 {
			r.receive(map[bool]int{true: 1}[len(r.webhooks()) == 0], reported("tx_1"))
		}
		r.receive(1, reported("tx_2"), reported("tx_2"), reported("tx_1"))
		r.stop()
		r.start()
		time.Sleep(100 * 24 * time.Hour)
		if err := r.hub.SweepWebhooks(t.Context()); err != nil {
			t.Fatal(err)
		}
		r.receive(1, reported("tx_3"))
		if list := r.webhooks(); len(list) != 1 || list[0].N != 3 {
			t.Errorf("kept for longer than 90 days: %+v", list)
		}
		r.receive(0, reported("tx_1"), reported("tx_2"))
	})
}

// Only what is the name of a charge is kept of names that are guessed.
func TestGuessedNames(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		d := r.register("kiosk-1")
		d.sells("C1", "tx_1")
		d.sendAll(1)
		bell := hub.Webhook{Source: "bell", Kind: "ring", Known: true, Guessed: true, Key: "1", Names: []string{"Maria da Silva", "tx_1"}, Digest: "d"}
		lost := bell
		lost.Key, lost.Names = "2", []string{"Maria da Silva"}
		r.receive(1, bell, lost)
		list := r.webhooks()
		if len(list) != 1 || !slices.Equal(list[0].Names, []string{"tx_1"}) || list[0].Charge != "C1" {
			t.Errorf("kept %+v", list)
		}
	})
}

func TestWebhookAlarms(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		d := r.register("kiosk-1")
		d.sells("C1", "tx_1")
		d.sendAll(1)
		odd, unread, dispute := reported("a"), reported("b"), reported("tx_1")
		odd.Known = false
		unread.Unread, unread.Names = true, nil
		dispute.Dispute = true
		r.receive(3, odd, unread, dispute)
		r.wantAlarms(":"+hub.AlarmWebhookUnknown, ":"+hub.AlarmWebhookUnread, "kiosk-1:"+hub.AlarmWebhookDispute)
	})
}

func TestWebhookWithoutItsDevice(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		d := r.register("kiosk-1")
		d.sells("C1", "tx_1")
		d.sendAll(1)
		r.update(func(tx hub.Tx) error { return hub.Revoke(tx, d.name) })
		r.receive(1, reported("tx_1"))
		if pays, _, _ := d.heard(); len(pays) > 0 {
			t.Error("a revoked device was told")
		}
		for name, bad := range map[string]hub.Webhook{
			"nothing": {}, "line break": {Source: "s", Kind: "k", Key: "k", Digest: "d", Names: []string{"a\nb"}},
			"long": {Source: "s", Kind: "k", Key: "k", Digest: "d", Names: []string{string(make([]byte, 300))}},
		} {
			if _, err := r.hub.Receive(t.Context(), []hub.Webhook{bad}); err == nil {
				t.Errorf("took %s", name)
			}
		}
	})
}

// lying is a store that says of everything that it is durable, and forgets it.
type lying struct{ hub.Store }

func (l lying) Update(ctx context.Context, fn func(hub.Tx) error) error {
	forget := errors.New("forget it")
	var own error
	err := l.Store.Update(ctx, func(tx hub.Tx) error {
		own = fn(tx)
		return forget
	})
	if errors.Is(err, forget) {
		return own
	}
	return err
}

// amnesiac is a store that knows no key again.
type amnesiac struct{ hub.Store }

type forgetfulTx struct{ hub.Tx }

func (a amnesiac) Update(ctx context.Context, fn func(hub.Tx) error) error {
	return a.Store.Update(ctx, func(tx hub.Tx) error { return fn(forgetfulTx{tx}) })
}

func (f forgetfulTx) Get(kind hub.Kind, key string) ([]byte, error) {
	if kind == hub.KindWebhookKey {
		return nil, hub.ErrNotFound
	}
	return f.Tx.Get(kind, key)
}

// A kill after Receive has returned loses nothing, and a repetition changes
// nothing: the device is told once, whoever asks how often. Stores that break
// either promise are noticed.
func TestReceivedIsDurableOnce(t *testing.T) {
	run := func(t *testing.T, spoil func(hub.Store) hub.Store) (recorded, told int) {
		bubble(t, func(t *testing.T, r *rig) {
			d := r.register("kiosk-1")
			d.sells("C1", "tx_1")
			d.sendAll(1)
			d.heard()
			r.stop()
			st, err := bolt.Open(bolt.Options{Path: r.path})
			if err != nil {
				t.Fatal(err)
			}
			r.store, r.opts.Store = st, spoil(st)
			r.pipe.sinks[d.name] = nil // the network is away: nothing reaches the device before the kill
			r.start()
			for range 2 {
				if _, err := r.hub.Receive(t.Context(), []hub.Webhook{reported("tx_1")}); err != nil {
					t.Fatal(err)
				}
			}
			synctest.Wait()
			r.stop()
			r.opts.Store = nil
			r.pipe.sinks[d.name] = d.receive
			r.start()
			time.Sleep(time.Second)
			pays, _, _ := d.heard()
			recorded, told = len(r.webhooks()), len(pays)
		})
		return recorded, told
	}
	if recorded, told := run(t, func(s hub.Store) hub.Store { return s }); recorded != 1 || told != 1 {
		t.Errorf("recorded %d times, told %d times; want once each", recorded, told)
	}
	if recorded, told := run(t, func(s hub.Store) hub.Store { return lying{s} }); recorded != 0 || told != 0 {
		t.Errorf("mutant that answers before it commits: recorded %d, told %d; the test sees no difference", recorded, told)
	}
	if recorded, _ := run(t, func(s hub.Store) hub.Store { return amnesiac{s} }); recorded < 2 {
		t.Errorf("mutant that knows no event again: recorded %d; the test sees no difference", recorded)
	}
}
