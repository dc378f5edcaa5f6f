package fleet_test

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ssg-safe/agent/fleet"
	"github.com/ssg-safe/agent/fleet/wire"
	_ "github.com/ssg-safe/agent/internal/bubbles"
)

// TestHalfOpen: a link that swallows what is sent is noticed within keepalive,
// ping timeout and write deadline, also while there is something to send.
func TestHalfOpen(t *testing.T) {
	for name, test := range map[string]struct {
		fault func(*fakeBroker)
		busy  bool
		limit time.Duration
	}{
		// Idle: a ping is due after 60 s at most, looked for every 5 s, and waited
		// for 15 s, in the same steps.
		"swallows":         {func(b *fakeBroker) { b.mute = true }, false, 85 * time.Second},
		"swallows, busy":   {func(b *fakeBroker) { b.mute = true }, true, 85 * time.Second},
		"takes no bytes":   {func(b *fakeBroker) { b.deaf = true }, false, 85 * time.Second},
		"no bytes, busy":   {func(b *fakeBroker) { b.deaf = true }, true, 20 * time.Second},
		"takes, no PUBACK": {func(b *fakeBroker) { b.noPuback = true }, true, 35 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, 10)
				r.start()
				after(10 * time.Second)
				r.wantSynced()
				r.broker.set(test.fault)
				broken := time.Now()
				for r.count("losses") == 0 {
					if test.busy {
						r.append(1)
					}
					after(time.Second)
					if time.Since(broken) > test.limit {
						t.Fatalf("not noticed in %v", test.limit)
					}
				}
				t.Logf("noticed after %v", time.Since(broken))
				r.broker.set(func(b *fakeBroker) { b.mute, b.deaf, b.noPuback = false, false, false })
				after(time.Minute)
				r.wantSynced()
			})
		})
	}
}

// TestRefusals: a broker that refuses the connection or the subscription is no
// connection, and is not asked too often.
func TestRefusals(t *testing.T) {
	for name, test := range map[string]struct {
		fault func(*fakeBroker)
		why   string
	}{
		"SUBACK 0x80":       {func(b *fakeBroker) { b.suback = 0x80 }, "refused by the broker (0x80)"},
		"CONNACK 5":         {func(b *fakeBroker) { b.connack = 5 }, "not Authorized"},
		"CONNACK 2":         {func(b *fakeBroker) { b.connack = 2 }, "identifier rejected"},
		"CONNACK 66":        {func(b *fakeBroker) { b.connack = 66 }, "not a CONNACK"},
		"nothing answered":  {func(b *fakeBroker) { b.mute = true }, "i/o timeout"},
		"nothing read":      {func(b *fakeBroker) { b.deaf = true }, "i/o timeout"},
		"nobody there":      {func(b *fakeBroker) { b.dialErr = errDial }, "nobody answers"},
		"hangs up":          {func(b *fakeBroker) { b.hangUp = true }, "the broker ended the connection"},
		"only SUBACK fails": {func(b *fakeBroker) { b.noSuback = true }, "no answer in 20s"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, 10)
				test.fault(r.broker)
				link := r.start()
				after(time.Hour)
				status := link.Status()
				if status.Connected || !strings.Contains(status.LastError, test.why) {
					t.Errorf("connected %v, last error %q; want %q in it", status.Connected, status.LastError, test.why)
				}
				if n := r.count("connects"); n != 0 {
					t.Errorf("%d connects", n)
				}
				// 8 doublings, then every 2.5 minutes on average.
				if n := r.count("dials"); n < 10 || n > 60 {
					t.Errorf("%d dials in an hour", n)
				}
				if n := strings.Count(r.log.String(), "no connection to the broker"); n == 0 || n > 3 {
					t.Errorf("the outage was logged %d times in an hour", n)
				}
				r.broker.set(func(b *fakeBroker) {
					b.suback, b.connack, b.mute, b.deaf, b.dialErr, b.hangUp, b.noSuback = 0, 0, false, false, nil, false, false
				})
				after(6 * time.Minute)
				r.wantSynced()
			})
		})
	}
}

// TestBackoff: the pauses are fully jittered, double up to five minutes, go
// through the list of brokers, and begin anew after a connection that stayed.
func TestBackoff(t *testing.T) {
	brokers := []string{"tcp://one:1883", "tcp://two:1883", "tcp://three:1883"}
	dials := func(t *testing.T) (at []time.Duration, addrs []string) {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, 0)
			begin := time.Now()
			r.broker.dialErr = errDial
			r.broker.onDial = func(addr string) {
				at = append(at, time.Since(begin))
				addrs = append(addrs, addr)
			}
			r.start(func(o *fleet.Options) { o.Brokers = brokers })
			after(3 * time.Hour)
		})
		return at, addrs
	}
	firsts := map[string]bool{}
	small, large := 0, 0
	var schedules [][]time.Duration
	for range 12 {
		at, addrs := dials(t)
		schedules = append(schedules, at)
		firsts[addrs[0]] = true
		for i := 1; i < len(at); i++ {
			limit := min(5*time.Minute, time.Second<<min(i-1, 20))
			pause := at[i] - at[i-1]
			if pause > limit+time.Millisecond {
				t.Errorf("pause %d of %v, at most %v", i, pause, limit)
			}
			if i > 9 && pause < limit/4 {
				small++
			}
			if i > 9 && pause > 3*limit/4 {
				large++
			}
			if addrs[i] == addrs[i-1] {
				t.Errorf("%s was dialled twice in a row", addrs[i])
			}
		}
	}
	if small == 0 || large == 0 {
		t.Errorf("%d short and %d long pauses: not spread over the whole range", small, large)
	}
	if len(firsts) < 2 {
		t.Errorf("twelve terminals all began with %v", firsts)
	}
	for i, s := range schedules[1:] {
		if cmp.Equal(s, schedules[0]) {
			t.Errorf("terminals 0 and %d dial at the same times", i+1)
		}
	}
}

// TestBackoffBeginsAnew: after a connection that stayed, the first pause is
// short again, and it is the same broker that is tried first.
func TestBackoffBeginsAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 0)
		r.broker.dialErr = errDial
		var addrs []string
		r.broker.onDial = func(addr string) { addrs = append(addrs, addr) }
		link := r.start(func(o *fleet.Options) { o.Brokers = []string{"tcp://one:1883", "tcp://two:1883"} })
		after(time.Hour)
		r.broker.set(func(b *fakeBroker) { b.dialErr = nil })
		after(5*time.Minute + 2*time.Minute)
		if !link.Status().Connected {
			t.Fatal("not connected")
		}
		r.broker.kill()
		after(2 * time.Second)
		if !link.Status().Connected {
			t.Error("not connected again within 2 s")
		}
		r.broker.set(func(b *fakeBroker) {
			if n := len(addrs); addrs[n-1] != addrs[n-2] {
				t.Errorf("went from %s to %s", addrs[n-2], addrs[n-1])
			}
		})
	})
}

// TestReconnects: kills at any moment lose nothing.
func TestReconnects(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 300)
		r.start()
		for i := range 40 {
			r.append(7)
			time.Sleep(time.Duration(i*i) * 37 * time.Microsecond)
			r.broker.kill()
		}
		after(10 * time.Minute)
		r.wantSynced()
		if got := r.count("losses"); got == 0 {
			t.Error("no loss was counted")
		}
	})
}

// TestTakeOver: somebody else has the same client id, and both throw each other
// out. The pauses grow, and the fleet is told.
func TestTakeOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 0)
		other := true
		r.broker.greet = func(p *peer) {
			r.broker.mu.Lock()
			defer r.broker.mu.Unlock()
			if other {
				time.AfterFunc(500*time.Millisecond, func() { p.conn.Close() })
			}
		}
		r.start()
		after(time.Hour)
		if n := r.count("connects"); n < 8 || n > 60 {
			t.Errorf("%d connections in an hour of ping-pong", n)
		}
		if kinds := r.hub.came().kinds(); !slices.Contains(kinds, "link.takeover") || len(kinds) > 2 {
			t.Errorf("events %q", kinds)
		}
		r.broker.set(func(*fakeBroker) { other = false })
		after(6 * time.Minute)
		if !r.link.Status().Connected {
			t.Error("not connected after it ended")
		}
	})
}

// TestPoison: an entry that takes the connection with it is found, held back
// with an alarm, and never skipped; everything else goes on.
func TestPoison(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 250)
		poison := []byte(`"op":"op-130"`)
		r.broker.refuse = func(m *pub) bool {
			if m.topic != up+"ledger" {
				return false
			}
			raw, err := wire.Unpack(m.payload)
			return err == nil && bytes.Contains(raw, poison)
		}
		link := r.start()
		after(20 * time.Minute)
		if got := r.hub.held().Seq; got != 129 {
			t.Errorf("the hub holds %d entries, want the 129 before the poison", got)
		}
		if got := link.Status(); !got.Quarantined || !got.Connected {
			t.Errorf("status %+v", got)
		}
		losses := r.count("losses")
		if losses > 8 {
			t.Errorf("%d connections were lost to one entry", losses)
		}
		kinds := r.hub.came().kinds()
		if !slices.Contains(kinds, "ledger.poison") || len(kinds) > 2 {
			t.Errorf("events %q", kinds)
		}
		// The connection serves everything else meanwhile.
		jti, token := r.hub.pay("C1", 1)
		r.broker.last().deliver(down+"pay", token)
		after(time.Second)
		if rs := r.hub.came().results; len(rs) != 1 || rs[0].JTI != jti || !rs[0].OK {
			t.Errorf("results %+v", rs)
		}
		// It is tried again, ever less often.
		after(24 * time.Hour)
		if got := r.count("losses") - losses; got < 4 || got > 10 {
			t.Errorf("%d more losses in a day", got)
		}
		if got := r.hub.held().Seq; got != 129 {
			t.Errorf("the hub holds %d entries, want 129: nothing may be skipped", got)
		}
		r.broker.set(func(b *fakeBroker) { b.refuse = nil })
		after(6*time.Hour + time.Minute)
		r.wantSynced()
		if link.Status().Quarantined {
			t.Error("still quarantined")
		}
	})
}

// TestFlappingIsNoPoison: a link that keeps breaking, but not over one entry,
// holds nothing back.
func TestFlappingIsNoPoison(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 0)
		link := r.start()
		for i := range 30 {
			r.append(3)
			after(time.Second)
			r.broker.kill()
			after(time.Duration(i) * time.Second)
		}
		after(10 * time.Minute)
		r.wantSynced()
		if r.count("poison") != 0 || link.Status().Quarantined {
			t.Errorf("poison %d", r.count("poison"))
		}
	})
}

// TestEnd: Run ends soon, whatever the connection is doing.
func TestEnd(t *testing.T) {
	for name, fault := range map[string]func(*fakeBroker){
		"working":        func(*fakeBroker) {},
		"swallows":       func(b *fakeBroker) { b.mute = true },
		"takes no bytes": func(b *fakeBroker) { b.deaf = true },
		"no PUBACK":      func(b *fakeBroker) { b.noPuback = true },
		"no CONNACK":     func(b *fakeBroker) { b.mute = true; b.peers[0].conn.Close() },
		"no dial":        func(b *fakeBroker) { b.dialErr = errDial; b.peers[0].conn.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, 10)
				link := r.start()
				after(10 * time.Second)
				r.broker.set(fault)
				for i := range 10 {
					link.Event(wire.LevelInfo, fmt.Sprintf("test.%d", i), nil)
				}
				r.append(1)
				after(5 * time.Second)
				begin := time.Now()
				r.end()
				if took := time.Since(begin); took > 3*time.Second {
					t.Errorf("Run took %v to end", took)
				}
			})
		})
	}
}
