package fleet_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.etcd.io/bbolt"

	"github.com/ssg-safe/agent/fleet"
	"github.com/ssg-safe/agent/fleet/wire"
	"github.com/ssg-safe/agent/ledger"
)

// tokens are what the hub could say, and others would like to.
type tokens struct {
	ack    wire.Ack
	pay    wire.Pay
	charge wire.ChargeRequest
	payout wire.Payout
}

// newTokens makes claims that would be accepted, above every counter used.
func newTokens(r *rig, ctr uint64) tokens {
	now := time.Now().Unix()
	c := wire.Claims{Aud: device, JTI: "x-1", Ctr: ctr, Iat: now, Exp: now + 600}
	head := r.head()
	return tokens{
		ack: wire.Ack{Claims: c, Epoch: head.Epoch, Seq: head.Seq, Head: head.Hash},
		pay: wire.Pay{
			Claims: c, Charge: "C1", Ver: 1, Status: "paid", Cents: 15050, Route: "r1", ProviderID: "p", Attempt: 1,
			Digest: strings.Repeat("ab", 32),
		},
		charge: wire.ChargeRequest{Claims: c, Reference: "ref", Merchant: "m", Amount: 1},
		payout: wire.Payout{Claims: c, Payout: "R1", Kind: "refund", State: "settled", Cents: 1, Charge: "C1", EndToEnd: "E1", By: "bia"},
	}
}

// claimed sets the claims of all.
func (x tokens) claimed(change func(*wire.Claims)) tokens {
	change(&x.ack.Claims)
	change(&x.pay.Claims)
	change(&x.charge.Claims)
	change(&x.payout.Claims)
	return x
}

func (x tokens) sign(t testing.TB, s *wire.Signer) map[string][]byte {
	t.Helper()
	m := make(map[string][]byte)
	for typ, claims := range map[string]any{wire.TypAck: x.ack, wire.TypPay: x.pay, wire.TypCharge: x.charge, wire.TypPayout: x.payout} {
		token, err := s.Sign(typ, claims)
		if err != nil {
			t.Fatal(err)
		}
		m[strings.TrimSuffix(typ, "+jws")] = []byte(token)
	}
	return m
}

// TestForged: nothing that the hub did not sign for this device, this use and
// this moment changes anything, and each is counted. The last case shows that
// the same messages are accepted when they are right.
func TestForged(t *testing.T) {
	hub, other := signer(t, hubKey), signer(t, key(9))
	flip := func(at int) func([]byte) []byte {
		return func(b []byte) []byte {
			b = slices.Clone(b)
			i := at
			if i < 0 {
				i += len(b)
			}
			if b[i] == 'A' {
				b[i] = 'B'
			} else {
				b[i] = 'A'
			}
			return b
		}
	}
	for _, test := range []struct {
		name    string
		counter string
		claims  func(*wire.Claims)
		signer  *wire.Signer
		bytes   func([]byte) []byte
		topic   func(channel string) string
		quality string // of the clock
	}{
		{name: "another key", counter: "refused_signature", signer: other},
		{name: "signature changed", counter: "refused_signature", bytes: flip(-5)},
		{name: "claims changed", counter: "refused_signature", bytes: flip(120)},
		{name: "header changed", counter: "refused_form", bytes: flip(10)},
		{name: "no signature", counter: "refused_form", bytes: func(b []byte) []byte { return b[:strings.LastIndexByte(string(b), '.')+1] }},
		{name: "alg none", counter: "refused_form", bytes: func(b []byte) []byte {
			_, rest, _ := strings.Cut(string(b), ".")
			return []byte("eyJhbGciOiJub25lIn0." + rest)
		}},
		{name: "another device", counter: "refused_audience", claims: func(c *wire.Claims) { c.Aud = "another" }},
		{name: "expired", counter: "refused_expired", claims: func(c *wire.Claims) { c.Iat -= 1000; c.Exp = c.Iat + 600 }},
		{name: "from the future", counter: "refused_expired", claims: func(c *wire.Claims) { c.Iat += 300; c.Exp += 300 }},
		{name: "expired by the hub's own time", counter: "refused_expired", quality: "unsynced", claims: func(c *wire.Claims) { c.Iat -= 1000; c.Exp = c.Iat + 600 }},
		{name: "replayed", counter: "refused_replay", claims: func(c *wire.Claims) { c.Ctr = 1 }},
		{name: "rotated channels", counter: "refused_type", topic: func(c string) string {
			return down + map[string]string{"ack": "pay", "pay": "charge", "charge": "payout", "payout": "ack"}[c]
		}},
		{name: "another device's topic", counter: "refused_topic", topic: func(c string) string { return strings.Replace(down, device, "another", 1) + c }},
		{name: "another tenant's topic", counter: "refused_topic", topic: func(c string) string { return strings.Replace(down, tenant, "another", 1) + c }},
		{name: "upwards", counter: "refused_topic", topic: func(c string) string { return up + c }},
		{name: "no such channel", counter: "refused_topic", topic: func(string) string { return down + "cmd" }},
		{name: "no topic of ours", counter: "refused_topic", topic: func(string) string { return "$SYS/broker/uptime" }},
		{name: "long topic", counter: "refused_topic", topic: func(string) string { return strings.Repeat("a/", 30000) }},
		{name: "empty", counter: "refused_form", bytes: func([]byte) []byte { return nil }},
		{name: "large", counter: "refused_form", bytes: func(b []byte) []byte { return append(b, make([]byte, 60<<10)...) }},
		{name: "JSON", counter: "refused_form", bytes: func([]byte) []byte { return []byte(`{"ctr":999,"epoch":1,"seq":1}`) }},
		{name: "a bomb", counter: "refused_form", bytes: func([]byte) []byte { return wire.Pack([]byte("{" + strings.Repeat(" ", 1<<20) + "}")) }},
		{name: "as it should be"},
		{name: "as it should be, clock not trusted", quality: "floor"},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, 5)
				r.hub.silent = true
				link := r.start()
				after(time.Second)
				// One that is right sets the counter and the hub's time.
				p := r.broker.last()
				p.deliver(down+"ack", r.hub.sign(wire.TypAck, wire.Ack{Claims: wire.Claims{Aud: device, JTI: "first", Ctr: 50, Iat: time.Now().Unix(), Exp: time.Now().Unix() + 60}}))
				after(time.Second)
				if test.quality != "" {
					r.clock.mu.Lock()
					r.clock.quality = test.quality
					r.clock.mu.Unlock()
				}
				x := newTokens(r, 100)
				if test.claims != nil {
					x = x.claimed(test.claims)
				}
				s := hub
				if test.signer != nil {
					s = test.signer
				}
				i := uint64(0)
				before, commits := link.Status(), r.store.Stats().Commits
				for channel, token := range x.claimed(func(c *wire.Claims) {}).sign(t, s) {
					if test.bytes != nil {
						token = test.bytes(token)
					}
					topic := down + channel
					if test.topic != nil {
						topic = test.topic(channel)
					}
					p.deliver(topic, token)
					after(time.Second)
					i++
				}
				got := link.Status()
				if test.counter == "" {
					// All four have the same counter, so one of them is accepted.
					if got.Counters["refused_replay"] != before.Counters["refused_replay"]+3 || r.store.Stats().Commits == commits {
						t.Errorf("nothing was accepted: %v", got.Counters)
					}
					return
				}
				if n := got.Counters[test.counter] - before.Counters[test.counter]; n != 4 {
					t.Errorf("%s rose by %d, want 4: %v", test.counter, n, got.Counters)
				}
				if got := r.store.Stats().Commits; got != commits {
					t.Errorf("%d commits", got-commits)
				}
				if len(r.terminal.got().paid)+len(r.terminal.got().charges)+len(r.terminal.got().payouts) != 0 || r.cursor().Seq != 0 || len(r.hub.came().results) != 0 {
					t.Errorf("paid %v, charges %v, cursor %v, results %v", r.terminal.got().paid, r.terminal.got().charges, r.cursor(), r.hub.came().results)
				}
				if !got.Connected || got.Counters["losses"] != 0 {
					t.Errorf("the connection was lost: %+v", got)
				}
				if n := strings.Count(r.log.String(), "message refused"); n == 0 || n > 4 {
					t.Errorf("refused messages were logged %d times", n)
				}
			})
		})
	}
}

// TestReorderedAcks: acknowledgements that come late change nothing, and one
// that is missing is made up by the next.
func TestReorderedAcks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 300)
		r.hub.silent = true
		r.start()
		after(5 * time.Second)
		ackAt := func(seq uint64, ctr uint64) []byte {
			h := r.headAt(seq)
			now := time.Now().Unix()
			return r.hub.sign(wire.TypAck, wire.Ack{
				Claims: wire.Claims{Aud: device, JTI: "a", Ctr: ctr, Iat: now, Exp: now + 60}, Epoch: 1, Seq: seq, Head: h.Hash,
			})
		}
		p := r.broker.last()
		p.deliver(down+"ack", ackAt(200, 20))
		after(time.Second)
		p.deliver(down+"ack", ackAt(100, 10)) // overtaken
		after(time.Second)
		if got := r.cursor().Seq; got != 200 {
			t.Fatalf("cursor at %d, want 200", got)
		}
		p.deliver(down+"ack", ackAt(100, 30)) // newer, and says less
		after(time.Second)
		if got := r.cursor().Seq; got != 200 {
			t.Errorf("cursor at %d, want 200: it never goes back", got)
		}
		if got := r.count("refused_replay"); got != 1 {
			t.Errorf("%d refused as replayed, want 1", got)
		}
		p.deliver(down+"ack", ackAt(300, 40))
		after(time.Second)
		if got := r.cursor().Seq; got != 300 {
			t.Errorf("cursor at %d, want 300", got)
		}
	})
}

func (r *rig) headAt(seq uint64) (h ledger.Head) {
	r.t.Helper()
	r.view(func(tx *bbolt.Tx) error {
		raws, err := ledger.Read(tx, ledger.Position{Epoch: 1, Seq: seq}, 1)
		if err == nil {
			h = ledger.Head{Position: raws[0].Position, Hash: ledger.HashOf(raws[0].Bytes)}
		}
		return err
	})
	return h
}

// TestReplayAfterRestart: the counter and the hub's time outlive the process, in
// the commits that the messages caused, and stand in the next hello.
func TestReplayAfterRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 10)
		r.start()
		after(time.Second)
		_, old := r.hub.pay("C1", 1)
		r.broker.last().deliver(down+"pay", old)
		after(time.Second)
		accepted := r.terminal.got().paid[0].Ctr
		r.end()
		r.stop()

		// The next process, on a clock that starts in the past.
		r.open()
		r.clock = newClock()
		r.clock.offset, r.clock.quality = -400*24*time.Hour, "unsynced"
		r.hub.set(func(h *hubDouble) { h.silent = true })
		r.start()
		after(time.Second)
		hellos := r.hub.came().hellos
		if got := hellos[len(hellos)-1]; got.Ctr < accepted {
			t.Errorf("hello says ctr %d, want at least %d", got.Ctr, accepted)
		}
		if got := r.clock.Wall(); got.Before(time.Now().Add(-time.Minute)) {
			t.Errorf("the clock says %v: the floor was not restored", got)
		}
		r.broker.last().deliver(down+"pay", old)
		after(time.Second)
		if len(r.terminal.got().paid) != 1 || r.count("refused_replay") != 1 {
			t.Errorf("paid %d times, %d refused", len(r.terminal.got().paid), r.count("refused_replay"))
		}
		var floor time.Time
		r.view(func(tx *bbolt.Tx) (err error) {
			floor, err = fleet.Floor(tx)
			return err
		})
		if floor.IsZero() || floor.After(time.Now()) {
			t.Errorf("floor %v", floor)
		}
	})
}

// TestNoOvertaking: the client library starts a goroutine for each message;
// still a payment is not refused because an acknowledgement behind it was seen
// first.
func TestNoOvertaking(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 1)
		r.start()
		after(time.Second)
		r.hub.set(func(h *hubDouble) { h.silent = true }) // its own would overtake here
		for i := range 200 {
			_, token := r.hub.pay(fmt.Sprintf("C%d", i), 1)
			r.hub.set(func(h *hubDouble) {
				p := r.broker.last()
				p.deliver(down+"pay", token)
				for range 3 {
					p.deliver(down+"ack", h.ack(nil))
				}
			})
			if i%20 == 19 {
				after(time.Second)
			}
		}
		after(time.Second)
		if got := r.count("refused_replay"); got != 0 || len(r.terminal.got().paid) != 200 {
			t.Errorf("%d refused, %d paid; want 0 and 200", got, len(r.terminal.got().paid))
		}
	})
}

// TestFlood: garbage costs a bounded amount of work, and the messages between
// it are at worst delayed.
func TestFlood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 0)
		link := r.start()
		after(time.Second)
		p := r.broker.last()
		begin := time.Now()
		go func() {
			for i := range 20000 {
				p.deliver(down+"ack", []byte(fmt.Sprintf("garbage %d", i)))
			}
		}()
		after(time.Minute)
		looked := r.count("refused_form")
		if limit := uint64(50 + 20*time.Since(begin)/time.Second + 300); looked > limit {
			t.Errorf("%d messages were looked at in %v, want at most %d", looked, time.Since(begin), limit)
		}
		if looked+r.count("dropped_inbox") < 20000 {
			t.Errorf("%d looked at, %d dropped: not all was read", looked, r.count("dropped_inbox"))
		}
		if !link.Status().Connected {
			t.Error("the link was lost")
		}
		jti, token := r.hub.pay("C1", 1)
		p.deliver(down+"pay", token)
		after(time.Minute)
		if rs := r.hub.came().results; len(rs) != 1 || rs[0].JTI != jti {
			t.Errorf("results %+v", rs)
		}
	})
}

// TestHostileBroker: a broker that reads everything knows the ledger's head, and
// has every token that the hub ever sent. It cannot have an entry pruned that
// the hub does not hold.
func TestHostileBroker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 100)
		var heard [][]byte // tokens of the hub, as the broker kept them
		r.start()
		after(time.Second)
		r.wantSynced()
		safe := r.cursor()
		r.hub.set(func(h *hubDouble) {
			h.silent, h.away = true, true // from here on the broker lets nothing through
			heard = append(heard, h.ack(nil))
		})
		r.append(2000)
		p := r.broker.last()
		evil, other := signer(t, key(66)), signer(t, hubKey)
		for hour := range 48 {
			x := newTokens(r, uint64(1000+hour))
			for _, s := range []*wire.Signer{evil, signer(t, deviceKey)} {
				for channel, token := range x.sign(t, s) {
					p.deliver(down+channel, token)
				}
			}
			// The hub's own word, for the clone in the next shop.
			for channel, token := range x.claimed(func(c *wire.Claims) { c.Aud = "another" }).sign(t, other) {
				p.deliver(down+channel, token)
			}
			for _, token := range heard {
				p.deliver(down+"ack", token)
				p.deliver(down+"pay", token)
			}
			after(time.Hour)
			if hour%12 == 11 {
				r.broker.kill()
				after(10 * time.Minute)
				p = r.broker.last()
			}
		}
		if got := r.cursor(); got != safe {
			t.Errorf("cursor at %v, want %v", got, safe)
		}
		if got := r.tryPrune(0); got > 100 {
			t.Errorf("%d entries were pruned, and the hub holds 100", got)
		}
		if got := r.terminal.got(); len(got.paid)+len(got.charges) != 0 {
			t.Errorf("the terminal believed %+v", got)
		}
		r.hub.set(func(h *hubDouble) { h.silent, h.away = false, false })
		r.broker.kill()
		after(10 * time.Minute)
		if got, want := r.hub.held(), r.head(); got != want {
			t.Errorf("the hub holds up to %v, want %v: the broker could only delay", got, want)
		}
	})
}

// TestHubForgetsItsCounters: a hub that was restored from a backup signs with
// counters that were used. The terminal refuses them, and tells the hub, without
// losing the connection; replays by others make it say hello once a minute.
func TestHubForgetsItsCounters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 300)
		r.start()
		after(time.Second)
		r.wantSynced()
		r.hub.restore(100)
		r.hub.set(func(h *hubDouble) { h.ctr, h.record = 0, record{} })
		r.append(1)
		after(10 * time.Second)
		r.wantSynced()
		if n := len(r.hub.came().hellos); n != 1 || r.count("losses") != 0 {
			t.Errorf("%d hellos and %d losses, want 1 and 0", n, r.count("losses"))
		}
		r.hub.set(func(h *hubDouble) {
			h.record = record{}
			h.ctr = 0
			used := h.ack(nil)
			h.ctr = 1000
			for range 300 {
				r.broker.last().deliver(down+"ack", used)
			}
		})
		after(50 * time.Second)
		if n := len(r.hub.came().hellos); n != 0 {
			t.Errorf("%d hellos in the same minute", n)
		}
		if n := r.count("refused_replay"); n < 100 {
			t.Errorf("%d refused as replayed", n)
		}
	})
}
