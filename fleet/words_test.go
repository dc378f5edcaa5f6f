package fleet_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.etcd.io/bbolt"

	"github.com/ssg-safe/agent/fleet"
	"github.com/ssg-safe/agent/fleet/wire"
	"github.com/ssg-safe/agent/store"
)

// TestPay: what the hub signed reaches the handler once it is accepted, with
// its counter in the same commit, and is answered.
func TestPay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 1)
		r.start()
		after(time.Second)
		r.hub.set(func(h *hubDouble) { h.silent = true }) // acknowledgements have commits of their own
		commits := r.store.Stats().Commits
		jti, token := r.hub.pay("C1", 1)
		p := r.broker.last()
		p.deliver(down+"pay", token)
		after(100 * time.Millisecond)
		if len(r.terminal.got().paid) != 1 || r.terminal.got().paid[0].Charge != "C1" || r.terminal.got().paid[0].Cents != 15050 {
			t.Fatalf("paid %+v", r.terminal.got().paid)
		}
		if got := r.store.Stats().Commits - commits; got != 1 {
			t.Errorf("%d commits for one payment, want 1", got)
		}
		after(time.Second)
		results := r.hub.came().results
		if len(results) != 1 || results[0].JTI != jti || !results[0].OK || results[0].Code != wire.CodeDone || results[0].Charge != "C1" {
			t.Errorf("results %+v", results)
		}
		if got := r.keptCounter(); got < r.terminal.got().paid[0].Ctr {
			t.Errorf("counter %d is kept, want at least %d", got, r.terminal.got().paid[0].Ctr)
		}
		// The same again, with a new counter: known, and no commit.
		_, token = r.hub.pay("C1", 1)
		p.deliver(down+"pay", token)
		after(time.Second)
		if rs := r.hub.came().results; len(rs) != 2 || !rs[1].OK || rs[1].Code != wire.CodeKnown {
			t.Errorf("results %+v", rs)
		}
	})
}

// keptCounter is the one in the store.
func (r *rig) keptCounter() (ctr uint64) {
	r.t.Helper()
	r.view(func(tx *bbolt.Tx) error {
		row := tx.Bucket([]byte("fleet")).Get([]byte("seen"))
		if row == nil {
			return nil
		}
		v, err := store.Unseal([]byte("seen"), row)
		for _, b := range v[:8] {
			ctr = ctr<<8 | uint64(b)
		}
		return err
	})
	return ctr
}

// TestCodes: each error of a handler has its word in the answer, and none of its
// text.
func TestCodes(t *testing.T) {
	secret := "Maria da Silva 123.456.789-09"
	for _, test := range []struct {
		err  error
		code wire.Code
		ok   bool
	}{
		{fleet.ErrKnown, wire.CodeKnown, true},
		{fleet.ErrNotOurs, wire.CodeUnknown, false},
		{fleet.ErrMismatch, wire.CodeMismatch, false},
		{fleet.ErrConflict, wire.CodeConflict, false},
		{fleet.ErrInvalid, wire.CodeInvalid, false},
		{fleet.ErrBusy, wire.CodeBusy, false},
		{store.ErrBusy, wire.CodeBusy, false},
		{errors.New("disk"), wire.CodeUnavailable, false},
	} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, 0)
			r.terminal.err = fmt.Errorf("%w: %s", test.err, secret)
			r.start()
			after(time.Second)
			payJTI, pay := r.hub.pay("C1", 1)
			chargeJTI, charge := r.hub.charge("ref-1")
			r.broker.last().deliver(down+"pay", pay)
			r.broker.last().deliver(down+"charge", charge)
			after(time.Second)
			results := r.hub.came().results
			slices.SortFunc(results, func(a, b wire.Res) int { return strings.Compare(a.JTI, b.JTI) })
			if len(results) != 2 || results[0].JTI != payJTI || results[1].JTI != chargeJTI {
				t.Fatalf("%v: results %+v", test.err, results)
			}
			for _, res := range results {
				if res.Code != test.code || res.OK != test.ok || strings.Contains(res.Detail, "Maria") {
					t.Errorf("%v: result %+v, want %s", test.err, res, test.code)
				}
			}
		})
	}
}

// TestCharge: a charge from the back office is made once and its id is told.
func TestCharge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 0)
		r.start()
		after(time.Second)
		for range 2 {
			_, token := r.hub.charge("ref-1")
			r.broker.last().deliver(down+"charge", token)
			after(time.Second)
		}
		results := r.hub.came().results
		if len(results) != 2 || results[0].Code != wire.CodeDone || results[1].Code != wire.CodeKnown ||
			results[0].Charge != "C-ref-1" || results[1].Charge != "C-ref-1" {
			t.Errorf("results %+v", results)
		}
		if r.keptCounter() == 0 {
			t.Error("no counter was kept")
		}
	})
}

// TestBusy: a handler that does not come back fills bounded queues; what finds
// no room is answered with busy, acknowledgements go on, and after 30 s the
// handler's context ends.
func TestBusy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 0)
		r.start()
		after(time.Second)
		r.terminal.set(func(f *fakeTerminal) { f.block = make(chan struct{}) })
		for i := range 50 {
			_, token := r.hub.pay(fmt.Sprintf("C%d", i), 1)
			r.broker.last().deliver(down+"pay", token)
			_, token = r.hub.charge(fmt.Sprintf("ref-%d", i))
			r.broker.last().deliver(down+"charge", token)
		}
		after(5 * time.Second)
		busy := 0
		for _, res := range r.hub.came().results {
			if res.Code == wire.CodeBusy {
				busy++
			}
		}
		if want := 50 - 33 + 50 - 9; busy != want {
			t.Errorf("%d answered with busy, want %d; %v", busy, want, r.link.Status().Counters)
		}
		r.append(5)
		after(time.Second)
		r.wantSynced()
		r.terminal.set(func(f *fakeTerminal) { close(f.block); f.block = nil })
		after(time.Minute)
		if got := len(r.hub.came().results); got != 100 {
			t.Errorf("%d results, want 100", got)
		}
	})
}

// TestResultsSurviveTheConnection: a result that finds no connection is told at
// the next.
func TestResultsSurviveTheConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 0)
		r.start()
		after(time.Second)
		block := make(chan struct{})
		r.terminal.set(func(f *fakeTerminal) { f.block = block })
		jti, token := r.hub.pay("C1", 1)
		r.broker.last().deliver(down+"pay", token)
		after(time.Second)
		r.broker.kill()
		synctest.Wait()
		close(block)
		after(time.Minute)
		if rs := r.hub.came().results; len(rs) != 1 || rs[0].JTI != jti || !rs[0].OK {
			t.Errorf("results %+v", rs)
		}
	})
}

// TestAsks: charges that somebody waits for are asked about every 5 s, later
// every 5 minutes, and none costs nothing.
func TestAsks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 0)
		link := r.start()
		after(time.Hour)
		if got := r.hub.came().asked; len(got) != 0 {
			t.Fatalf("asked %v", got)
		}
		r.terminal.set(func(f *fakeTerminal) { f.open = []string{"C1", "C2"} })
		link.Wake()
		after(time.Minute)
		came := r.hub.came()
		if n := len(came.asked); n != 12 && n != 13 {
			t.Errorf("asked %d times in a minute", n)
		}
		for i, asked := range came.asked {
			if !cmp.Equal(asked, []string{"C1", "C2"}) {
				t.Errorf("asked about %v", asked)
			}
			if i > 0 && came.askedAt[i].Sub(came.askedAt[i-1]) < 5*time.Second {
				t.Errorf("asked after %v", came.askedAt[i].Sub(came.askedAt[i-1]))
			}
		}
		after(10 * time.Minute)
		before := len(r.hub.came().asked)
		after(time.Hour)
		if n := len(r.hub.came().asked) - before; n < 11 || n > 13 {
			t.Errorf("asked %d times in an hour about an old charge", n)
		}
		r.terminal.set(func(f *fakeTerminal) {
			f.open = nil
			for i := range 50 {
				f.open = append(f.open, fmt.Sprintf("N%d", i))
			}
		})
		before = len(r.hub.came().asked)
		after(10 * time.Second)
		seen := map[string]bool{}
		for _, asked := range r.hub.came().asked[before:] {
			if len(asked) > wire.MaxAsked {
				t.Errorf("asked about %d charges at once", len(asked))
			}
			for _, c := range asked {
				seen[c] = true
			}
		}
		if len(seen) != 50 {
			t.Errorf("asked about %d of 50 charges", len(seen))
		}
		r.terminal.set(func(f *fakeTerminal) { f.open = nil })
		after(10 * time.Second)
		before = len(r.hub.came().asked)
		after(time.Hour)
		if n := len(r.hub.came().asked) - before; n != 0 {
			t.Errorf("asked %d times about nothing", n)
		}
	})
}

// TestTelemetry: measured while connected, sent when it changed, and never in
// the store.
func TestTelemetry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 0)
		var n, measured atomic.Uint64
		n.Store(1)
		r.start(func(o *fleet.Options) {
			o.Telemetry = func() fleet.Metrics {
				measured.Add(1)
				return fleet.Metrics{Counters: map[string]uint64{"charge.paid": n.Load()}, Gauges: map[string]int64{"rss": 5}}
			}
		})
		after(10*time.Minute + time.Second)
		if got := len(r.hub.came().teles); got != 1 || measured.Load() != 11 {
			t.Errorf("%d sent of %d measured, want 1 of 11", got, measured.Load())
		}
		commits := r.store.Stats().Commits
		for range 5 {
			n.Add(1)
			after(time.Minute)
		}
		teles := r.hub.came().teles
		if len(teles) != 6 {
			t.Fatalf("%d sent, want 6", len(teles))
		}
		last := teles[5]
		if last.Counters["charge.paid"] != 6 || last.Gauges["rss"] != 5 || last.Counters["link.connects"] != 1 {
			t.Errorf("telemetry %+v", last)
		}
		if got := r.store.Stats().Commits; got != commits {
			t.Errorf("%d commits for telemetry", got-commits)
		}
		r.broker.kill()
		r.broker.set(func(b *fakeBroker) { b.dialErr = errDial })
		before := measured.Load()
		after(time.Hour)
		if got := measured.Load(); got != before {
			t.Errorf("measured %d times without a connection", got-before)
		}
	})
}

// TestEvents: events wait for a connection, keep their id and time, and nonsense
// is not sent.
func TestEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 0)
		r.broker.dialErr = errDial
		link := r.start()
		at := time.Now().UTC()
		link.Event(wire.LevelAlarm, "door.open", map[string]string{"door": "1"})
		link.Event("loud", "door.open", nil)
		link.Event(wire.LevelInfo, "with space", nil)
		after(time.Hour)
		r.broker.set(func(b *fakeBroker) { b.dialErr = nil })
		after(6 * time.Minute)
		events := r.hub.came().events
		if len(events) != 1 || events[0].Kind != "door.open" || events[0].Level != wire.LevelAlarm || !events[0].At.Equal(at) ||
			events[0].Detail["door"] != "1" || events[0].ID == "" || events[0].SID == "-" {
			t.Errorf("events %+v", events)
		}
	})
}
