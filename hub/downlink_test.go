package hub_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ssg-safe/agent/fleet/wire"
	"github.com/ssg-safe/agent/hub"
	"github.com/ssg-safe/agent/ledger"
	"github.com/ssg-safe/agent/money"
)

// known is what a provider's answer says about a charge.
func known(charge, endToEnd string) wire.Pay {
	return wire.Pay{
		Charge: charge, Status: "paid", Cents: 100, EndToEnd: endToEnd, Route: "r", Account: "acc", ProviderID: "P1", Attempt: 1, Digest: "d1",
	}
}

func wanted(reference string, amount money.Amount) wire.ChargeRequest {
	return wire.ChargeRequest{Reference: reference, Merchant: "loja", Amount: amount}
}

// heard returns what came downwards, and forgets it.
func (d *terminal) heard() (pays []wire.Pay, asks []wire.ChargeRequest, times []time.Time) {
	d.r.t.Helper()
	synctest.Wait()
	d.mu.Lock()
	defer d.mu.Unlock()
	pays, asks, times = d.pays, d.asks, d.times
	d.pays, d.asks, d.times = nil, nil, nil
	return pays, asks, times
}

func (d *terminal) answer(jti string, ok bool, code wire.Code) {
	d.r.t.Helper()
	d.say(wire.Res{V: 1, SID: d.sid, JTI: jti, OK: ok, Code: code})
	synctest.Wait()
}

func (r *rig) message(device, id string) hub.Message {
	r.t.Helper()
	m, err := r.hub.Message(r.t.Context(), device, id)
	if err != nil {
		r.t.Fatal(err)
	}
	return m
}

// A payment is sent at once, and then again and again until it is answered.
func TestPay(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		d := r.register("kiosk-1")
		began := time.Now()
		if err := r.hub.Pay(t.Context(), d.name, known("C1", "E1")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Minute)
		pays, _, times := d.heard()
		var at []time.Duration
		for _, when := range times {
			at = append(at, when.Sub(began))
		}
		want := []time.Duration{0, 2 * time.Second, 7 * time.Second, 22 * time.Second, 52 * time.Second, 112 * time.Second}
		if !slices.Equal(at, want) {
			t.Errorf("sent after %v, want %v", at, want)
		}
		for _, p := range pays {
			if p.JTI != pays[0].JTI || p.Ver != 1 || p.Cents != 100 || p.EndToEnd != "E1" {
				t.Errorf("sent %+v", p)
			}
		}
		d.answer(pays[0].JTI, true, wire.CodeDone)
		if m := r.message(d.name, pays[0].JTI); m.State != hub.Done {
			t.Errorf("message %+v", m)
		}
		time.Sleep(time.Hour)
		if pays, _, _ := d.heard(); len(pays) != 0 {
			t.Errorf("sent %d times after the answer", len(pays))
		}

		// The same again, or less than is known, is no news.
		less := known("C1", "E1")
		less.Status = "expired"
		for _, p := range []wire.Pay{known("C1", "E1"), less} {
			if err := r.hub.Pay(t.Context(), d.name, p); err != nil {
				t.Errorf("Pay again: %v", err)
			}
		}
		if pays, _, _ := d.heard(); len(pays) != 0 {
			t.Errorf("no news was sent: %+v", pays)
		}
		more := known("C1", "E1")
		more.Status = "refunded"
		if err := r.hub.Pay(t.Context(), d.name, more); err != nil {
			t.Fatal(err)
		}
		if pays, _, _ := d.heard(); len(pays) != 1 || pays[0].Ver != 2 || pays[0].Status != "refunded" {
			t.Errorf("news was sent as %+v", pays)
		}
		if err := r.hub.Pay(t.Context(), "nobody", known("C9", "E9")); !errors.Is(err, hub.ErrNotFound) {
			t.Errorf("to nobody: %v", err)
		}
		if err := r.hub.Pay(t.Context(), d.name, wire.Pay{Charge: "C2", Status: "what"}); !errors.Is(err, wire.ErrMalformed) {
			t.Errorf("what cannot be signed: %v", err)
		}
		r.wantAlarms()
	})
}

// A second payment of a charge is sent until it is answered: that the device
// knows of the first says nothing about it.
func TestPaySecond(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		d := r.register("kiosk-1")
		d.paid("C1", "E1")
		d.sendAll(1)
		d.wantAck(1, 1)
		if err := r.hub.Pay(t.Context(), d.name, known("C1", "E2")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(30 * time.Second)
		pays, _, _ := d.heard()
		if len(pays) != 4 {
			t.Fatalf("sent %d times in 30 s, want 4: %+v", len(pays), pays)
		}
		d.answer(pays[0].JTI, true, wire.CodeDone)
		time.Sleep(time.Hour)
		if pays, _, _ := d.heard(); len(pays) != 0 {
			t.Errorf("sent %d times after the answer", len(pays))
		}
	})
}

// One payment is one charge's, in the whole fleet, whoever says so.
func TestOneCredit(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		d, other := r.register("kiosk-1"), r.register("kiosk-2")
		if err := r.hub.Pay(t.Context(), d.name, known("C1", "E1")); err != nil {
			t.Fatal(err)
		}
		for _, to := range [][2]string{{"kiosk-1", "C2"}, {"kiosk-2", "C1"}} {
			if err := r.hub.Pay(t.Context(), to[0], known(to[1], "E1")); !errors.Is(err, hub.ErrConflict) {
				t.Errorf("E1 to %s of %s: %v, want ErrConflict", to[1], to[0], err)
			}
		}
		r.wantAlarms("kiosk-1:credit", "kiosk-2:credit")
		if pays, _, _ := other.heard(); len(pays) != 0 {
			t.Errorf("%+v was sent", pays)
		}
		// A terminal's own word is kept, and told.
		other.paid("C7", "E1")
		other.sendAll(1)
		other.wantAck(1, 1)
		other.wantStored()
		r.view(func(tx hub.Tx) error {
			all, err := hub.Alarms(tx, false)
			if a := all[len(all)-1]; a.Device != "kiosk-2" || a.Count < 2 {
				t.Errorf("alarm %+v", a)
			}
			return err
		})
	})
}

// What is outstanding comes back after a hello, not to a terminal that is away,
// and survives a restart of the hub.
func TestOutstanding(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		d := r.register("kiosk-1")
		d.say(wire.State{V: 1, On: true, SID: d.sid, Boot: "b", Version: "1", At: time.Now()})
		d.say(wire.State{V: 1, SID: d.sid})
		synctest.Wait()
		if err := r.hub.Pay(t.Context(), d.name, known("C1", "E1")); err != nil {
			t.Fatal(err)
		}
		if pays, _, _ := d.heard(); len(pays) != 1 {
			t.Errorf("sent %d times at first, want once: it may be there by now", len(pays))
		}
		time.Sleep(time.Hour)
		if pays, _, _ := d.heard(); len(pays) != 0 {
			t.Errorf("sent %d times to a terminal that is away", len(pays))
		}
		d.sid = "session-2"
		d.say(wire.State{V: 1, On: true, SID: d.sid, Boot: "b", Version: "1", At: time.Now()})
		d.hello(ledger.Head{})
		pays, _, _ := d.heard()
		if len(pays) != 1 {
			t.Fatalf("sent %d times after a hello, want once", len(pays))
		}
		r.stop()
		r.start()
		again, _, _ := d.heard()
		if len(again) != 1 || again[0].JTI != pays[0].JTI || again[0].Ctr <= pays[0].Ctr {
			t.Errorf("after a restart: %+v, before %+v", again, pays)
		}
		d.answer(pays[0].JTI, true, wire.CodeKnown)
		r.stop()
		r.start()
		if pays, _, _ := d.heard(); len(pays) != 0 {
			t.Errorf("%d were sent that had been answered", len(pays))
		}
	})
}

// The terminal's own signed ledger is an answer as well.
func TestLedgerAnswers(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		d := r.register("kiosk-1")
		if err := r.hub.Pay(t.Context(), d.name, known("C1", "E1")); err != nil {
			t.Fatal(err)
		}
		pays, _, _ := d.heard()
		d.paid("C1", "E1")
		d.send(d.batch(1, 1, 1)) // not signed: a broker's, perhaps
		time.Sleep(10 * time.Second)
		if more, _, _ := d.heard(); len(more) == 0 {
			t.Error("what is not signed counts as an answer")
		}
		d.add(1)
		d.send(d.signed(1, 2, 2))
		time.Sleep(time.Hour)
		d.heard()
		if m := r.message(d.name, pays[0].JTI); m.State != hub.Done {
			t.Errorf("message %+v", m)
		}
	})
}

// What a batch alone says was paid is hearsay: the broker could have made it up.
func TestHearsay(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		d := r.register("kiosk-1")
		d.paid("C1", "E1")
		d.send(d.batch(1, 1, 1))
		d.wantAck(1, 1)
		ask := wire.PayGet{V: 1, SID: d.sid, Charges: []string{"C1", "C2"}}
		d.say(ask)
		if pays, _, _ := d.heard(); len(pays) != 0 {
			t.Fatalf("hearsay was signed: %+v", pays)
		}
		d.add(1)
		d.send(d.signed(1, 2, 2))
		d.say(ask)
		if pays, _, _ := d.heard(); len(pays) != 1 || pays[0].Charge != "C1" || pays[0].Cents != 100 || pays[0].ProviderID != "P1" {
			t.Errorf("asked about a payment that was signed: %+v", pays)
		}
		// Nobody else is told.
		other := r.register("kiosk-2")
		other.say(ask)
		if pays, _, _ := other.heard(); len(pays) != 0 {
			t.Errorf("another terminal is told %+v", pays)
		}
	})
}

func TestCharge(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		d := r.register("kiosk-1")
		until := time.Now().Add(time.Minute)
		id, err := r.hub.Charge(t.Context(), d.name, wanted("sale-1", 2500), until)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := r.hub.Charge(t.Context(), d.name, wanted("sale-1", 2500), until); err != nil || again != id {
			t.Errorf("the same again: %s, %v, want %s", again, err, id)
		}
		if _, err := r.hub.Charge(t.Context(), d.name, wanted("sale-1", 2600), until); !errors.Is(err, hub.ErrConflict) {
			t.Errorf("another amount under the same reference: %v, want ErrConflict", err)
		}
		for what, bad := range map[string]wire.ChargeRequest{"no reference": wanted("", 1), "no amount": wanted("x", 0)} {
			if _, err := r.hub.Charge(t.Context(), d.name, bad, until); !errors.Is(err, wire.ErrMalformed) {
				t.Errorf("%s: %v, want ErrMalformed", what, err)
			}
		}
		if _, err := r.hub.Charge(t.Context(), d.name, wanted("late", 1), time.Now()); err == nil {
			t.Error("a charge whose time has passed")
		}
		if _, err := r.hub.Charge(t.Context(), "nobody", wanted("sale-1", 1), until); !errors.Is(err, hub.ErrNotFound) {
			t.Errorf("on nobody: %v", err)
		}
		_, asks, _ := d.heard()
		if len(asks) != 1 || asks[0].Amount != 2500 || asks[0].ExpiresAt().After(until) {
			t.Fatalf("asked %+v", asks)
		}

		// Busy is not an end.
		d.answer(id, false, wire.CodeBusy)
		time.Sleep(16 * time.Second)
		if _, asks, _ := d.heard(); len(asks) != 1 || asks[0].JTI != id {
			t.Errorf("after busy: asked %+v", asks)
		}
		d.answer(id, true, wire.CodeDone)
		if m := r.message(d.name, id); m.State != hub.Done {
			t.Errorf("message %+v", m)
		}
		// A late answer of another kind changes nothing.
		d.answer(id, false, wire.CodeInvalid)
		if m := r.message(d.name, id); m.State != hub.Done {
			t.Errorf("message %+v", m)
		}
		r.wantAlarms()

		refused, err := r.hub.Charge(t.Context(), d.name, wanted("sale-2", 1), time.Now().Add(time.Minute))
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		d.answer(refused, false, wire.CodeInvalid)
		if m := r.message(d.name, refused); m.State != hub.Refused || m.Res.Code != wire.CodeInvalid {
			t.Errorf("message %+v", m)
		}
		r.wantAlarms("kiosk-1:refused")

		expired, err := r.hub.Charge(t.Context(), d.name, wanted("sale-3", 1), time.Now().Add(time.Minute))
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		d.heard()
		if m := r.message(d.name, expired); m.State != hub.Expired {
			t.Errorf("message %+v", m)
		}
		time.Sleep(time.Hour)
		if _, asks, _ := d.heard(); len(asks) != 0 {
			t.Errorf("asked %d times after the end", len(asks))
		}
		// An answer to something else, or of another terminal, is nothing.
		d.answer("nothing", true, wire.CodeDone)
		other := r.register("kiosk-2")
		other.answer(expired, true, wire.CodeDone)
		if m := r.message(d.name, expired); m.State != hub.Expired {
			t.Errorf("message %+v", m)
		}
	})
}

// Messages do not pile up for a terminal that never answers, and those that
// ended are forgotten after 30 days.
func TestMessagesAreBounded(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		d := r.register("kiosk-1")
		until := time.Now().Add(time.Second)
		n := 0
		var err error
		for ; err == nil && n < 1000; n++ {
			_, err = r.hub.Charge(t.Context(), d.name, wanted(fmt.Sprint("sale-", n), 1), until)
		}
		if !errors.Is(err, hub.ErrBusy) || n != 257 {
			t.Errorf("charge %d: %v, want ErrBusy at 257", n, err)
		}
		// News about a charge that is on its way takes its place.
		count := func() (n int) {
			r.view(func(tx hub.Tx) error {
				all, err := hub.Messages(tx, d.name)
				n = len(all)
				return err
			})
			return n
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if err := r.hub.Pay(t.Context(), d.name, known("C1", "E1")); err != nil {
			t.Errorf("after they have expired: %v", err)
		}
		if got := count(); got != 257 {
			t.Errorf("%d messages are kept", got)
		}
		r.stop()
		time.Sleep(31 * 24 * time.Hour)
		r.start()
		synctest.Wait()
		if got := count(); got != 1 {
			t.Errorf("%d messages are kept after a month, want the one that waits", got)
		}
		d.heard()
	})
}

// An operation that is recorded twice has its effect once, and two contents of it
// are an alarm.
func TestOperationTwice(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		d := r.register("kiosk-1")
		d.put(d.entry("op/x", "test.kind", "null", `{"n":1}`))
		d.put(d.entry("op/x", "test.kind", "null", `{"n":1}`))
		d.sendAll(1)
		d.wantAck(1, 2)
		r.wantAlarms()
		d.put(d.entry("op/x", "test.kind", "null", `{"n":2}`))
		d.sendAll(3)
		d.wantAck(1, 3)
		d.wantStored()
		r.wantAlarms("kiosk-1:operation")
	})
}

// A device that is revoked gets nothing and is asked for nothing; reinstated, it
// goes on where it was.
func TestRevoked(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		d := r.register("kiosk-1")
		d.add(5)
		d.sendAll(1)
		d.wantAck(1, 5)
		if err := r.hub.Pay(t.Context(), d.name, known("C1", "E1")); err != nil {
			t.Fatal(err)
		}
		d.heard()
		r.update(func(tx hub.Tx) error { return hub.Revoke(tx, d.name) })
		d.add(5)
		d.send(d.signed(1, 6, 10))
		time.Sleep(time.Hour)
		d.wantSilence()
		if pays, _, _ := d.heard(); len(pays) != 0 {
			t.Errorf("sent %d times to a revoked device", len(pays))
		}
		if err := r.hub.Pay(t.Context(), d.name, known("C2", "E2")); !errors.Is(err, hub.ErrNotFound) {
			t.Errorf("Pay: %v, want ErrNotFound", err)
		}
		r.update(func(tx hub.Tx) error { return hub.Reinstate(tx, d.name) })
		d.send(d.signed(1, 6, 10))
		d.wantAck(1, 10)
		d.wantStored()
		time.Sleep(time.Hour)
		if pays, _, _ := d.heard(); len(pays) == 0 {
			t.Error("what waited is not sent any more")
		}
	})
}

// A device that was moved is taken from its new site alone.
func TestMoved(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		d := r.register("kiosk-1")
		d.add(5)
		d.sendAll(1)
		d.wantAck(1, 5)
		r.update(func(tx hub.Tx) error { return hub.Move(tx, d.name, "vault") })
		d.add(5)
		d.send(d.signed(1, 6, 10))
		d.wantSilence()
		d.site = "vault"
		d.send(d.signed(1, 6, 10))
		d.wantAck(1, 10)
		if err := r.store.Update(t.Context(), func(tx hub.Tx) error { return hub.Move(tx, d.name, "No Site") }); err == nil {
			t.Error("it was moved to what is no site")
		}
	})
}

// A password is its device's, the newest one alone, and never stored.
func TestPassword(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.register("kiosk-1")
		if r.device("kiosk-1").Admits("") {
			t.Error("a device without a password is let in")
		}
		var passwords []string
		for range 2 {
			r.update(func(tx hub.Tx) error {
				p, err := hub.SetPassword(tx, "kiosk-1")
				passwords = append(passwords, p.Reveal())
				return err
			})
		}
		d := r.device("kiosk-1")
		for _, p := range []string{"", passwords[0], passwords[1] + "x", string(d.Access)} {
			if d.Admits(p) {
				t.Errorf("it is let in with %q", p)
			}
		}
		if !d.Admits(passwords[1]) {
			t.Error("it is not let in")
		}
	})
}

// A store that fails outside of the committer ends the hub: it would drop
// everything for ever.
func TestFailedStoreEndsTheHub(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		d := r.register("kiosk-1")
		synctest.Wait()
		failing := broken{r.store}
		h, err := hub.New(hub.Options{Store: failing, Signer: mustSigner(t)})
		if err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() { ended <- h.Run(t.Context(), r.pipe) }()
		synctest.Wait()
		h.Handle(d.topic(wire.ChannelHello), []byte("{}"), func() { t.Error("the packet was given back") })
		if err := <-ended; !errors.Is(err, hub.ErrOutcomeUnknown) {
			t.Errorf("Run: %v, want ErrOutcomeUnknown", err)
		}
		r.close()
	})
}

// What became of a refund is sent until it is answered, also by a hub that starts anew;
// news takes its place, and what was answered can be said again.
func TestPayout(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		d := r.register("kiosk-1")
		heard := func() []wire.Payout {
			synctest.Wait()
			d.mu.Lock()
			defer d.mu.Unlock()
			outs := d.outs
			d.outs = nil
			return outs
		}
		say := func(state string) error {
			return r.hub.Payout(t.Context(), d.name, wire.Payout{Payout: "R1", Kind: "refund", State: state, Cents: 100, Charge: "C1", EndToEnd: "E1", Digest: "d1"})
		}
		if err := errors.Join(say("settled"), say("settled")); err != nil {
			t.Fatal(err)
		}
		first := heard()
		if len(first) != 1 || first[0].State != "settled" || first[0].Aud != d.name {
			t.Fatalf("sent %+v", first)
		}
		r.stop()
		r.start()
		time.Sleep(10 * time.Second)
		if again := heard(); len(again) == 0 || again[0].JTI != first[0].JTI {
			t.Errorf("sent again: %+v", again)
		}
		if err := say("returned"); err != nil {
			t.Fatal(err)
		}
		news := heard()
		if len(news) != 1 || news[0].JTI == first[0].JTI || news[0].State != "returned" {
			t.Fatalf("news: %+v", news)
		}
		d.answer(news[0].JTI, false, wire.CodeBusy)
		time.Sleep(time.Minute)
		if again := heard(); len(again) == 0 {
			t.Error("a busy terminal is not told again")
		}
		d.answer(news[0].JTI, false, wire.CodeMismatch)
		time.Sleep(time.Hour)
		if again := heard(); len(again) != 0 {
			t.Errorf("sent after the answer: %+v", again)
		}
		if m := r.message(d.name, news[0].JTI); m.State != hub.Refused {
			t.Errorf("message %+v", m)
		}
		r.wantAlarms("kiosk-1:" + hub.AlarmRefused)
		if err := say("returned"); err != nil {
			t.Fatal(err)
		}
		if again := heard(); len(again) != 1 || again[0].JTI == news[0].JTI {
			t.Errorf("said anew: %+v", again)
		}
		// Of a payout that it does not know, as after a reset, nothing is in suspense there.
		if err := r.hub.Payout(t.Context(), d.name, wire.Payout{Payout: "P1", Kind: "payout", State: "settled", Cents: 100, Digest: "d1"}); err != nil {
			t.Fatal(err)
		}
		d.answer(heard()[0].JTI, false, wire.CodeUnknown)
		synctest.Wait()
		r.view(func(tx hub.Tx) error {
			list, err := hub.Alarms(tx, false)
			for _, a := range list {
				if refund := a.Subject == "R1"; strings.Contains(a.Text, "suspense") != refund {
					t.Errorf("alarm about %s: %s", a.Subject, a.Text)
				}
			}
			return err
		})
		if err := r.hub.Payout(t.Context(), "nobody", wire.Payout{Payout: "R9"}); !errors.Is(err, hub.ErrNotFound) {
			t.Errorf("to nobody: %v", err)
		}
		if err := r.hub.Payout(t.Context(), d.name, wire.Payout{Payout: "R9"}); !errors.Is(err, wire.ErrMalformed) {
			t.Errorf("what cannot be signed: %v", err)
		}
	})
}

// TestPayoutsLeaveRoom: a terminal of an earlier version, which answers no word about a
// payout, is still told of payments.
func TestPayoutsLeaveRoom(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		d := r.register("kiosk-1")
		var err error
		n := 0
		for ; err == nil && n < 300; n++ {
			err = r.hub.Payout(t.Context(), d.name, wire.Payout{Payout: fmt.Sprint("R", n), Kind: "refund", State: "settled", Cents: 100, Charge: "C1", EndToEnd: "E1", Digest: "d1"})
		}
		if !errors.Is(err, hub.ErrBusy) || n != 65 {
			t.Errorf("word %d: %v, want ErrBusy at 65", n, err)
		}
		for n := range 150 {
			if err := r.hub.Pay(t.Context(), d.name, known(fmt.Sprint("C", n), fmt.Sprint("E", n))); err != nil {
				t.Fatalf("payment %d: %v", n, err)
			}
		}
	})
}
