package fleet_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ssg-safe/agent/fleet"
	"github.com/ssg-safe/agent/fleet/wire"
	"github.com/ssg-safe/agent/ledger"
)

// The tests in a bubble also prove that no goroutine outlives Run: a bubble
// does not end before its goroutines have.

// TestSync: what is in the ledger reaches the hub byte for byte, before and
// after the connection is made, and nothing is said twice.
func TestSync(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 1050)
		link := r.start()
		after(time.Second)
		r.wantSynced()
		if got := len(r.hub.came().checkpoints); got != 1 {
			t.Errorf("%d checkpoints, want 1, in the last batch", got)
		}
		for range 3 {
			r.append(1)
			after(time.Second)
			r.wantSynced()
		}
		sum := 0
		for _, b := range r.hub.came().batches {
			sum += len(b.Entries)
		}
		if sum != 1053 || r.count("entries") != 1053 {
			t.Errorf("%d entries were sent, counted %d, want 1053", sum, r.count("entries"))
		}
		status := link.Status()
		if !status.Connected || status.Broker != "tcp://broker:1883" || status.LastError != "" || status.Heard.IsZero() {
			t.Errorf("status %+v", status)
		}
		// Idle, nothing is sent but pings and the state once more.
		before := len(r.hub.came().topics)
		commits := r.store.Stats().Commits
		after(24 * time.Hour)
		if got := r.hub.came().topics[before:]; !cmp.Equal(got, []string{"state"}) {
			t.Errorf("idle for a day, published %v", got)
		}
		if got := r.store.Stats().Commits; got != commits {
			t.Errorf("idle for a day, %d commits", got-commits)
		}
		r.end()
		if status := link.Status(); status.Connected {
			t.Errorf("connected after the end: %+v", status)
		}
	})
}

// TestSession: what a connection says of itself, in which order, and how it
// ends.
func TestSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 3)
		r.start(func(o *fleet.Options) { o.Username, o.Password = device, "broker-secret" })
		after(time.Second)
		p := r.broker.last()
		r.end()
		if !p.bye {
			t.Error("the connection ended without DISCONNECT")
		}
		c := r.broker.came()[0]
		if c.ProtocolVersion != 4 || c.ProtocolName != "MQTT" || !c.CleanSession || c.ClientIdentifier != device ||
			c.Username != device || string(c.Password) != "broker-secret" || c.Keepalive != 60 {
			t.Errorf("CONNECT %+v", c)
		}
		will := decode[wire.State](t, c.WillMessage)
		if !c.WillFlag || !c.WillRetain || c.WillQos != 1 || c.WillTopic != up+"state" || will.On || will.SID == "" {
			t.Errorf("will %v %v %d %s %+v", c.WillFlag, c.WillRetain, c.WillQos, c.WillTopic, will)
		}
		if want := []string{down + "+"}; !cmp.Equal(r.broker.filters, want) {
			t.Errorf("subscribed to %q, want %q", r.broker.filters, want)
		}
		if want := []string{"state", "hello", "ledger", "state"}; !cmp.Equal(r.hub.came().topics, want) {
			t.Errorf("published on %q, want %q", r.hub.came().topics, want)
		}
		want := []wire.State{
			{V: 1, On: true, SID: will.SID, Boot: "boot-1", Version: "1.4.0", At: r.hub.came().states[0].At},
			{V: 1, SID: will.SID},
		}
		if diff := cmp.Diff(r.hub.came().states, want); diff != "" {
			t.Errorf("states, got before want:\n%s", diff)
		}
		wantHello := wire.Hello{
			V: 1, SID: will.SID, Device: device, Version: "1.4.0", Head: r.head(), Acked: ledger.Head{Position: ledger.Position{Epoch: 1}},
			Clock: "synced", Free: r.hub.came().hellos[0].Free,
		}
		if diff := cmp.Diff(r.hub.came().hellos[0], wantHello); diff != "" || wantHello.Free == 0 {
			t.Errorf("hello, got before want:\n%s", diff)
		}
		if strings.Contains(r.log.String(), "broker-secret") || strings.Contains(fmt.Sprintf("%+v", r.o), "broker-secret") {
			t.Error("the password is in the log or in a print")
		}
	})
}

// TestRandomClientIDs: 128 bits, new for each connection.
func TestRandomClientIDs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 0)
		r.start(func(o *fleet.Options) { o.ClientID = fleet.ClientIDRandom })
		after(time.Second)
		r.broker.kill()
		after(time.Minute)
		var ids []string
		for _, c := range r.broker.came() {
			ids = append(ids, c.ClientIdentifier)
		}
		if len(ids) != 2 || ids[0] == ids[1] || len(ids[0]) < 26 || strings.Contains(ids[0], device) {
			t.Errorf("client ids %q", ids)
		}
	})
}

// TestPubackProvesNothing: a broker that takes everything, and no hub behind it.
func TestPubackProvesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 2000)
		r.hub.away = true
		link := r.start()
		after(31 * 24 * time.Hour / 31) // a day
		if got := r.cursor(); got.Seq != 0 {
			t.Fatalf("the cursor moved to %v on PUBACKs", got)
		}
		if got := link.Status(); got.Pending != 2000 || !got.Connected {
			t.Errorf("status %+v", got)
		}
		// The first window at once, then one batch ever less often: SIM data is paid
		// by the byte.
		ledgers := 0
		for _, topic := range r.hub.came().topics {
			if topic == "ledger" {
				ledgers++
			}
		}
		if ledgers < 8+24*60/10 || ledgers > 8+24*60/8+10 {
			t.Errorf("%d batches were sent in a day without a hub", ledgers)
		}
		if r.count("stalls") == 0 {
			t.Error("no stall was counted")
		}
		r.hub.set(func(h *hubDouble) { h.away = false })
		after(maxStall + time.Minute)
		r.wantSynced()
	})
}

// maxStall is how long a link waits at most before it sends again.
const maxStall = 10 * time.Minute

// TestStall: what the hub does not acknowledge is sent again after 30 s.
func TestStall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 150)
		r.hub.silent = true
		r.start()
		after(32 * time.Second)
		if got := len(r.hub.came().batches); got != 2 {
			t.Fatalf("%d batches before the stall, want 2", got)
		}
		after(4 * time.Second) // hello is waited for 3 s
		if got := len(r.hub.came().batches); got != 3 || r.hub.came().batches[2].From != r.hub.came().batches[0].From {
			t.Fatalf("%d batches after the stall, want the first one again", got)
		}
		r.hub.set(func(h *hubDouble) { h.silent = false })
		after(2 * time.Minute)
		r.wantSynced()
	})
}

// TestWindow: a few batches are on their way, and never more publishes than 32;
// a broker that does not take them is left.
func TestWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 3000)
		r.hub.silent = true
		r.start()
		after(20 * time.Second)
		if got := len(r.hub.came().batches); got != 8 {
			t.Errorf("%d batches unacknowledged, want 8", got)
		}
		r.end()

		r.hub.set(func(h *hubDouble) { h.record = record{} })
		r.broker.set(func(b *fakeBroker) { b.noPuback = true })
		link := r.start()
		for range 100 {
			link.Event(wire.LevelInfo, "test.event", nil)
		}
		after(20 * time.Second)
		if got := len(r.hub.came().topics); got != 32 {
			t.Errorf("%d publishes without PUBACK, want 32", got)
		}
		if got := r.count("dropped_events"); got != 100-64 {
			t.Errorf("%d events dropped, want 36", got)
		}
		after(20 * time.Second)
		if got := r.log.String(); !strings.Contains(got, "the broker has taken nothing") {
			t.Errorf("log:\n%s", got)
		}
		r.broker.set(func(b *fakeBroker) { b.noPuback = false })
		r.hub.set(func(h *hubDouble) { h.silent = false; h.record = record{} })
		after(5 * time.Minute)
		r.wantSynced()
		if len(r.hub.came().events) != 64 {
			t.Errorf("%d events came, want 64", len(r.hub.came().events))
		}
	})
}

// TestBatchLimits: large entries travel in batches of at most 32 KiB.
func TestBatchLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 1)
		for i, size := range []int{14 << 10, 14 << 10, 14 << 10, 100, 100} {
			r.appendSized(fmt.Sprintf("large-%d", i), size)
		}
		r.start()
		after(time.Second)
		r.wantSynced()
		var counts []int
		for _, b := range r.hub.came().batches {
			counts = append(counts, len(b.Entries))
		}
		if want := []int{3, 3}; !cmp.Equal(counts, want) {
			t.Errorf("batches of %v entries, want %v", counts, want)
		}
	})
}

// TestWant: the hub was restored from a backup and asks for what lies below the
// cursor; the cursor stays.
func TestWant(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 500)
		r.start()
		after(time.Second)
		r.wantSynced()
		r.hub.restore(42)
		r.broker.kill()
		cursor := r.cursor()
		after(time.Minute)
		r.wantSynced()
		if r.count("wants") == 0 || r.cursor() != cursor {
			t.Errorf("wants %d, cursor %v, want some and %v", r.count("wants"), r.cursor(), cursor)
		}

		// Without a new connection: the next entry shows the hub the gap.
		r.hub.restore(0)
		r.append(1)
		after(time.Minute)
		r.wantSynced()
	})
}

// TestManyWants: several batches behind a gap make the hub ask several times;
// that is answered once.
func TestManyWants(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 800)
		dropped := false
		r.broker.publish = func(p *peer, m *pub) {
			if m.topic == up+"ledger" && !dropped {
				dropped = true // the broker loses the first batch
				return
			}
			r.hub.publish(p, m)
		}
		r.start()
		after(10 * time.Second)
		r.wantSynced()
		if got := len(r.hub.came().batches); got > 7+8+1 {
			t.Errorf("%d batches for one gap", got)
		}
	})
}

// TestWantPruned: what was pruned cannot be sent; what exists is, and somebody
// is told.
func TestWantPruned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 300)
		r.start()
		after(time.Second)
		r.append(1)
		after(time.Second)
		r.wantSynced()
		r.prune(100)
		kept := r.entries()
		r.hub.restore(0)
		r.hub.set(func(h *hubDouble) { h.anyStart = true; h.record = record{} })
		r.broker.kill()
		after(time.Minute)
		if got := r.hub.jsonl(); string(got) != string(kept) {
			t.Errorf("the hub got %d bytes, want the %d that are kept", len(got), len(kept))
		}
		if i := slices.IndexFunc(r.hub.came().events, func(e wire.Evt) bool { return e.Kind == "ledger.pruned" && e.Level == wire.LevelAlarm }); i < 0 {
			t.Errorf("events %+v, want ledger.pruned", r.hub.came().events)
		}
	})
}

// TestHold: a hub that takes nothing is asked now and then, and no more.
func TestHold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 200)
		r.hub.hold = wire.HoldEpoch
		link := r.start()
		after(24 * time.Hour)
		if got := link.Status().Hold; got != wire.HoldEpoch {
			t.Errorf("hold %q", got)
		}
		if n := len(r.hub.came().batches); n != 0 {
			t.Errorf("%d batches were sent to a hub that takes none", n)
		}
		if n := len(r.hub.came().hellos); n < 24*60/10 || n > 24*60/8+10 {
			t.Errorf("the hub was asked %d times in a day", n)
		}
		r.hub.set(func(h *hubDouble) { h.hold = "" })
		after(11 * time.Minute)
		r.wantSynced()
		if got := link.Status().Hold; got != "" {
			t.Errorf("hold %q after it ended", got)
		}
	})
}

// TestFork: the hub holds other bytes at a position of ours. The cursor does
// not move, nothing more is sent, and somebody is told.
func TestFork(t *testing.T) {
	for name, head := range map[string]ledger.Head{
		"other bytes": {Position: ledger.Position{Epoch: 1, Seq: 7}, Hash: ledger.Hash{1}},
		"ahead of us": {Position: ledger.Position{Epoch: 1, Seq: 70}, Hash: ledger.Hash{1}},
		"later epoch": {Position: ledger.Position{Epoch: 9, Seq: 1}, Hash: ledger.Hash{1}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, 20)
				r.hub.head = head
				r.hub.frozen = true
				link := r.start()
				after(time.Hour)
				if got := r.cursor(); got.Seq != 0 {
					t.Errorf("the cursor moved to %v", got)
				}
				if got := link.Status(); got.Hold != wire.HoldFork {
					t.Errorf("status %+v", got)
				}
				if r.count("refused_head") == 0 || r.count("acks") == 0 {
					t.Errorf("counters %v", link.Status().Counters)
				}
				if kinds := r.hub.came().kinds(); !slices.Contains(kinds, "ledger.fork") || len(kinds) > 2 {
					t.Errorf("events %q", kinds)
				}
				if n := len(r.hub.came().batches); n > 1 {
					t.Errorf("%d batches to a hub with another chain", n)
				}
			})
		})
	}
}
