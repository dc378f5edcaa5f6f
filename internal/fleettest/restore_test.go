package fleettest

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"go.etcd.io/bbolt"

	"github.com/ssg-safe/agent/fleet/wire"
	"github.com/ssg-safe/agent/hub"
	"github.com/ssg-safe/agent/hub/bolt"
	"github.com/ssg-safe/agent/hub/broker"
	_ "github.com/ssg-safe/agent/internal/bubbles"
	"github.com/ssg-safe/agent/ledger"
)

// shop is a fleet in memory, on the clock of the bubble: the embedded broker, a
// hub and its store, and terminals with theirs.
type shop struct {
	t      *testing.T
	broker *broker.Broker
	path   string // of the hub's store
	store  *bolt.Store
	hub    *hub.Hub
	close  func() // of the hub
}

func newShop(t *testing.T) *shop {
	t.Helper()
	s := &shop{t: t, path: filepath.Join(t.TempDir(), "hub.db")}
	var err error
	if s.broker, err = broker.New(broker.Options{}); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- s.broker.Run(ctx) }()
	s.open()
	if err := s.hub.Register(t.Context(), row(0)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.close()
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return s
}

// open runs a hub on the store.
func (s *shop) open() {
	s.t.Helper()
	var err error
	if s.store, err = bolt.Open(bolt.Options{Path: s.path}); err != nil {
		s.t.Fatal(err)
	}
	signer, err := wire.NewSigner(hubKey())
	if err != nil {
		s.t.Fatal(err)
	}
	log := slog.New(slog.NewTextHandler(s.t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
	if s.hub, err = hub.New(hub.Options{Store: s.store, Signer: signer, Logger: log}); err != nil {
		s.t.Fatal(err)
	}
	link, err := hub.NewMQTT(hub.MQTTOptions{
		Brokers: []string{"tcp://memory:1883"}, Logger: log,
		Dial: func(ctx context.Context, _ *url.URL) (net.Conn, error) { return s.broker.Dial(ctx) },
	})
	if err != nil {
		s.t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(s.t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- s.hub.Run(ctx, link) }()
	st := s.store
	s.close = func() {
		stop()
		if err := errors.Join(<-ended, st.Close()); err != nil {
			s.t.Error(err)
		}
		s.close = func() {}
	}
}

// kiosk runs terminal number i on a store file until the end of the test, or
// its close.
func (s *shop) kiosk(i int, path string) *kiosk {
	s.t.Helper()
	k := openKiosk(s.t, i, path, []string{"tcp://memory:1883"}, time.Minute, func(ctx context.Context, _, _ string) (net.Conn, error) { return s.broker.Dial(ctx) })
	s.t.Cleanup(k.close)
	return k
}

// held are the entries of a terminal that the hub holds.
func (s *shop) held(k *kiosk) [][]byte {
	s.t.Helper()
	raws, err := s.hub.Read(s.t.Context(), k.name, ledger.Position{}, 1<<20)
	if err != nil {
		s.t.Fatal(err)
	}
	return bytesOf(raws)
}

func bytesOf(raws []ledger.Raw) (all [][]byte) {
	for _, r := range raws {
		all = append(all, r.Bytes)
	}
	return all
}

// entries are those in the terminal's own ledger.
func (k *kiosk) entries() (all [][]byte) {
	k.t.Helper()
	err := k.store.View(func(tx *bbolt.Tx) error {
		raws, err := ledger.Read(tx, ledger.Position{}, 1<<20)
		all = bytesOf(raws)
		return err
	})
	if err != nil {
		k.t.Fatal(err)
	}
	return all
}

// wantSame fails unless the hub holds exactly what the terminal does, and the
// terminal knows it.
func (s *shop) wantSame(k *kiosk, entries int) {
	s.t.Helper()
	held, own := s.held(k), k.entries()
	if len(own) != entries || !slices.EqualFunc(held, own, bytes.Equal) {
		s.t.Errorf("the hub holds %d entries, the terminal %d: want the same %d", len(held), len(own), entries)
	}
	if st := k.link.Status(); st.Pending != 0 || st.Hold != "" {
		s.t.Errorf("%d entries are pending, hold %q", st.Pending, st.Hold)
	}
}

// wantAlarms fails unless the hub has raised exactly these kinds, by itself or
// for the terminal.
func (s *shop) wantAlarms(kinds ...string) {
	s.t.Helper()
	var got []string
	err := s.store.View(s.t.Context(), func(tx hub.Tx) error {
		alarms, err := hub.Alarms(tx, true)
		for _, a := range alarms {
			got = append(got, a.Kind)
		}
		return err
	})
	if err != nil {
		s.t.Fatal(err)
	}
	slices.Sort(got)
	if got = slices.Compact(got); !slices.Equal(got, kinds) {
		s.t.Errorf("alarms %q, want %q", got, kinds)
	}
}

func (s *shop) update(fn func(hub.Tx) error) {
	s.t.Helper()
	if err := s.store.Update(s.t.Context(), fn); err != nil {
		s.t.Fatal(err)
	}
}

// after lets time pass in the bubble.
func after(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// image copies a file that nobody has open.
func image(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	to := filepath.Join(t.TempDir(), filepath.Base(path))
	if err := os.WriteFile(to, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return to
}

// TestRestoredHub: a hub that was restored from yesterday's backup asks for what
// it has lost, also of terminals that were not disconnected, and has it again;
// terminals' cursors do not move back.
func TestRestoredHub(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShop(t)
		k := s.kiosk(0, createStore(t))
		k.write(500)
		after(time.Minute)
		s.wantSame(k, 500)
		s.close()
		backup := image(t, s.path)
		s.open()
		for range 24 {
			k.write(20)
			after(time.Hour)
		}
		s.wantSame(k, 980)

		s.close()
		s.path = backup
		s.open()
		after(time.Minute)
		if got := k.link.Status().Acked.Seq; got != 980 {
			t.Errorf("cursor at %d, want 980", got)
		}
		k.write(1)
		after(time.Minute)
		s.wantSame(k, 981)
		s.wantAlarms("device.hub.restored")
	})
}

// TestClonedTerminal: the copy of a terminal's image that runs beside it hears
// what the hub acknowledges to the original, and knows by the hash that it is not
// its own: it stops sending and raises an alarm. The original is not disturbed,
// and nothing of either is lost.
func TestClonedTerminal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShop(t)
		k := s.kiosk(0, createStore(t))
		k.write(300)
		after(time.Minute)
		s.wantSame(k, 300)
		k.close()
		clone := s.kiosk(0, image(t, k.path))
		k = s.kiosk(0, k.path)
		k.write(50)
		after(time.Minute)
		s.wantSame(k, 350)

		clone.write(70)
		k.write(5)
		after(10 * time.Minute)
		s.wantSame(k, 355)
		if st := clone.link.Status(); st.Hold != wire.HoldFork || st.Acked.Seq != 300 || len(clone.entries()) != 370 {
			t.Errorf("the clone is told %q and that %d entries are safe, and has %d; want %q, 300, 370",
				st.Hold, st.Acked.Seq, len(clone.entries()), wire.HoldFork)
		}
		s.wantAlarms("device.ledger.fork", hub.AlarmRollback)
	})
}

// TestRolledBackTerminal: a terminal that was set back to an older image, with
// the same epoch, writes other entries over sequence numbers that it has used.
// An operator decides for it; what the hub held is set aside, not deleted.
func TestRolledBackTerminal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShop(t)
		k := s.kiosk(0, createStore(t))
		k.write(100)
		after(time.Minute)
		k.close()
		old := image(t, k.path)
		k = s.kiosk(0, k.path)
		k.write(60)
		after(time.Minute)
		s.wantSame(k, 160)
		lost := s.held(k)[100:]
		k.close()

		k = s.kiosk(0, old)
		after(time.Minute)
		s.wantAlarms("device.ledger.fork", hub.AlarmRollback)
		if got := k.link.Status().Acked.Seq; got != 100 {
			t.Errorf("cursor at %d, want 100: what the hub holds beyond it is not here", got)
		}
		k.write(10)
		after(10 * time.Minute)
		s.wantAlarms("device.ledger.fork", hub.AlarmFork, hub.AlarmRollback)
		if got := len(s.held(k)); got != 160 {
			t.Errorf("the hub holds %d entries, want the 160 that it had", got)
		}

		s.update(func(tx hub.Tx) error { return hub.ApproveFork(tx, k.name) })
		after(time.Hour)
		s.wantSame(k, 110)
		var aside [][]byte
		s.update(func(tx hub.Tx) error {
			chains, err := hub.Chains(tx, k.name)
			if err != nil {
				return err
			}
			for _, branch := range chains[0].Aside {
				for e, err := range tx.Aside(k.name, branch) {
					if err != nil {
						return err
					}
					aside = append(aside, slices.Clone(e.Bytes))
				}
			}
			return nil
		})
		if !slices.EqualFunc(aside, lost, bytes.Equal) {
			t.Errorf("%d entries were set aside, want the %d that were replaced", len(aside), len(lost))
		}
	})
}
