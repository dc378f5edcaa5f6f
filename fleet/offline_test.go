package fleet_test

import (
	"os"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ssg-safe/agent/fleet"
	"github.com/ssg-safe/agent/fleet/wire"
)

// TestMonthOffline: a terminal that reaches nobody for 30 days, in every way in
// which a network can fail, writes on. Nothing grows but its ledger, the link
// makes no commit, and once the hub is there it has everything.
func TestMonthOffline(t *testing.T) {
	const days, perHour = 30, 8
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 10)
		link := r.start(func(o *fleet.Options) {
			o.Telemetry = func() fleet.Metrics { return fleet.Metrics{Gauges: map[string]int64{"now": time.Now().Unix()}} }
		})
		after(time.Minute)
		r.wantSynced()
		commits, written, dials := r.store.Stats().Commits, int64(0), r.count("dials")
		size := fileSize(t, r.options.Path)

		troubles := []func(*fakeBroker){
			func(b *fakeBroker) { b.dialErr = errDial },
			func(b *fakeBroker) { b.hangUp = true },
			func(b *fakeBroker) { b.connack = 5 },
			func(b *fakeBroker) { b.suback = 0x80 },
			func(b *fakeBroker) { b.noSuback = true },
			func(b *fakeBroker) { b.noPuback = true },
			func(b *fakeBroker) { b.mute = true },
			func(*fakeBroker) {}, // there is a broker, and no hub
		}
		r.broker.set(func(b *fakeBroker) { b.publish = nil })
		heap, goroutines := uint64(0), 0
		for day := range days {
			r.broker.set(func(b *fakeBroker) {
				b.dialErr, b.hangUp, b.connack, b.suback, b.noSuback, b.noPuback, b.mute = nil, false, 0, 0, false, false, false
				troubles[day%len(troubles)](b)
			})
			r.broker.kill()
			for range 24 {
				r.append(perHour)
				written++
				link.Event(wire.LevelWarn, "door.open", map[string]string{"door": "1"})
				after(time.Hour)
			}
			r.broker.forget()
			if day == len(troubles) {
				heap, goroutines = liveHeap(), runtime.NumGoroutine()
			}
		}
		// Of the heap, the test itself keeps what fits into this margin.
		if now := liveHeap(); now > heap+1<<20 {
			t.Errorf("the heap grew from %d to %d bytes", heap, now)
		}
		if now := runtime.NumGoroutine(); now > goroutines+20 {
			t.Errorf("%d goroutines, and %d three weeks before", now, goroutines)
		}
		if got := r.store.Stats().Commits - commits; got != written {
			t.Errorf("%d commits, want the %d of the terminal: the link makes none while it is offline", got, written)
		}
		if got := fileSize(t, r.options.Path); got != size {
			t.Errorf("the store's file has %d bytes, and had %d", got, size)
		}
		if got := r.count("dials") - dials; got < days*24 || got > days*24*60 {
			t.Errorf("%d attempts to connect in %d days", got, days)
		}
		if got, want := r.link.Status().Pending, uint64(days*24*perHour); got != want {
			t.Errorf("%d entries are pending, want %d", got, want)
		}

		r.broker.set(func(b *fakeBroker) { b.noPuback, b.publish = false, r.hub.publish })
		r.broker.kill()
		after(time.Hour)
		r.wantSynced()
		if got := len(r.hub.came().events); got != 64 {
			t.Errorf("%d events came of those that no broker had taken, want the newest 64", got)
		}
	})
}

func liveHeap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func fileSize(t *testing.T, path string) int64 {
	t.Helper()
	i, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return i.Size()
}
