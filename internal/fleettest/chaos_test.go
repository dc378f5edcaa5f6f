package fleettest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/ssg-safe/agent/device"
	"github.com/ssg-safe/agent/fleet"
	"github.com/ssg-safe/agent/fleet/wire"
	"github.com/ssg-safe/agent/hub"
	"github.com/ssg-safe/agent/hub/bolt"
	"github.com/ssg-safe/agent/ledger"
	"github.com/ssg-safe/agent/queue"
	"github.com/ssg-safe/agent/store"
)

const (
	terminals = 10
	entries   = 200 // of each terminal
)

// TestChaos has ten terminals write two hundred entries each while the broker
// and the hub are killed, links are cut and links swallow what is sent. Then
// the hub's ledgers must equal the terminals', and at every death of the hub
// nothing may have been acknowledged that it did not hold.
func TestChaos(t *testing.T) {
	for name, start := range map[string]func(*testing.T) ([]*process, []string){
		"mosquitto": mosquitto, "mochi": mochi, "nats": nats,
	} {
		t.Run(name, func(t *testing.T) { chaos(t, start) })
	}
}

func chaos(t *testing.T, start func(*testing.T) ([]*process, []string)) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 2))
	brokers, addrs := start(t)
	for _, a := range addrs {
		listening(t, a)
	}
	var urls []string
	for _, a := range addrs {
		urls = append(urls, "tcp://"+a)
	}
	dir := t.TempDir()
	fleet := make([]*kiosk, terminals)
	for i := range fleet {
		fleet[i] = newKiosk(t, i, urls)
	}
	register(t, dir, fleet)
	hubs := newProcess(t, func() *exec.Cmd { return self(t, "hub "+dir+" "+strings.Join(urls, " ")) })

	// Writers, at the pace of the storm.
	storm, calm := context.WithCancel(t.Context())
	var writers sync.WaitGroup
	for _, k := range fleet {
		writers.Go(func() { k.write(storm, entries) })
	}
	for range 14 {
		pause(t, time.Duration(200+rng.IntN(700))*time.Millisecond)
		switch rng.IntN(4) {
		case 0:
			b := brokers[rng.IntN(len(brokers))]
			b.kill()
			pause(t, time.Duration(rng.IntN(500))*time.Millisecond)
			b.start()
		case 1:
			hubs.kill()
			nothingAhead(t, dir, fleet)
			pause(t, time.Duration(rng.IntN(500))*time.Millisecond)
			hubs.start()
		case 2:
			fleet[rng.IntN(terminals)].line.cut()
		case 3:
			fleet[rng.IntN(terminals)].line.swallow()
		}
	}
	calm()
	writers.Wait() // the rest comes at once

	// Calm: everything must arrive.
	deadline := time.After(3 * time.Minute)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for _, k := range fleet {
		for {
			s := k.link.Status()
			if s.Head.Seq == entries && s.Acked == s.Head {
				break
			}
			select {
			case <-tick.C:
			case <-deadline:
				t.Fatalf("terminal %s: %d of %d entries are acknowledged; %+v", k.name, s.Acked.Seq, entries, s)
			}
		}
	}
	hubs.kill()
	compare(t, dir, fleet)
}

// register enters the terminals into the hub's registry.
func register(t *testing.T, dir string, fleet []*kiosk) {
	t.Helper()
	withHub(t, dir, false, func(st hub.Store) error {
		return st.Update(t.Context(), func(tx hub.Tx) error {
			for i, k := range fleet {
				if err := hub.Register(tx, hub.Device{Name: k.name, Tenant: "acme", Site: "centro", Key: public(key(byte(i + 1)))}); err != nil {
					return err
				}
			}
			return nil
		})
	})
}

// nothingAhead checks, while the hub is dead, that no terminal's cursor is
// ahead of what the hub holds on disk.
func nothingAhead(t *testing.T, dir string, fleet []*kiosk) {
	t.Helper()
	withHub(t, dir, true, func(st hub.Store) error {
		for _, k := range fleet {
			acked := k.link.Status().Acked // before the hub's head is read
			err := st.View(t.Context(), func(tx hub.Tx) error {
				head, err := hub.GetHead(tx, k.name)
				if err == nil && head.Before(acked.Position) {
					t.Errorf("terminal %s was told that %s is safe, and the hub has %s", k.name, acked.Position, head.Position)
				}
				return err
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// compare holds the hub's ledgers against the terminals', byte for byte.
func compare(t *testing.T, dir string, fleet []*kiosk) {
	t.Helper()
	withHub(t, dir, true, func(st hub.Store) error {
		for _, k := range fleet {
			var ours []ledger.Raw
			if err := k.store.View(func(tx *bbolt.Tx) (err error) {
				ours, err = ledger.Read(tx, ledger.Position{}, 1<<20)
				return err
			}); err != nil {
				return err
			}
			i := 0
			err := st.View(t.Context(), func(tx hub.Tx) error {
				for e, err := range tx.Entries(k.name, ledger.Position{}) {
					if err != nil {
						return err
					}
					if i >= len(ours) || e.Position != ours[i].Position || !bytes.Equal(e.Bytes, ours[i].Bytes) {
						return fmt.Errorf("terminal %s: the hub's entry %s is not the terminal's", k.name, e.Position)
					}
					i++
				}
				return nil
			})
			if err != nil {
				return err
			}
			if i != entries || len(ours) != entries {
				t.Errorf("terminal %s has %d entries, the hub %d; want %d", k.name, len(ours), i, entries)
			}
		}
		return nil
	})
}

func withHub(t *testing.T, dir string, readOnly bool, f func(hub.Store) error) {
	t.Helper()
	st, err := bolt.Open(bolt.Options{Path: filepath.Join(dir, "hub.db"), ReadOnly: readOnly})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f(st), st.Close()); err != nil {
		t.Fatal(err)
	}
}

func pause(t *testing.T, d time.Duration) {
	select {
	case <-time.After(d):
	case <-t.Context().Done():
	}
}

// kiosk is a terminal as the fleet sees it: a ledger and a link.
type kiosk struct {
	t     *testing.T
	name  string
	store *store.Store
	link  *fleet.Link
	line  *line
}

func newKiosk(t *testing.T, i int, urls []string) *kiosk {
	t.Helper()
	o := store.Options{
		Path: filepath.Join(t.TempDir(), "store.db"), Size: 2 << 20,
		Migrations: append(append(append([]store.Migration{}, ledger.Migrations...), queue.Migrations...), fleet.Migrations()...),
	}
	if err := store.Create(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	st, err := store.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	k := &kiosk{t: t, name: fmt.Sprintf("d%016d", i), store: st, line: &line{}}
	keys, err := wire.NewKeys(public(hubKey()))
	if err != nil {
		t.Fatal(err)
	}
	k.link, err = fleet.New(fleet.Options{
		Device: k.name, Tenant: "acme", Site: "centro", Version: "test", Brokers: urls, ClientID: fleet.ClientIDRandom,
		Keepalive: time.Second, Store: st, DeviceKey: key(byte(i + 1)), Hub: keys, Clock: device.NewClock(time.Time{}),
		Handler: nobody{}, Dial: k.line.dial, Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	storeCtx, stopStore := context.WithCancel(context.Background())
	var run, commit sync.WaitGroup
	commit.Go(func() { st.Run(storeCtx) })
	run.Go(func() { k.link.Run(ctx) })
	t.Cleanup(func() {
		stop()
		run.Wait()
		stopStore()
		commit.Wait()
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	})
	return k
}

// write appends n entries, slowly while the storm lasts.
func (k *kiosk) write(storm context.Context, n int) {
	for i := range n {
		err := k.store.Commit(context.Background(), store.Op{Do: func(tx *bbolt.Tx) error {
			_, err := ledger.Append(tx, ledger.Stamp{Wall: time.Now(), Boot: "boot", Quality: ledger.Synced}, ledger.Draft{
				Op: "event/" + strconv.Itoa(i), Kind: "test.event", Actor: "test", Data: strings.Repeat("x", 100+i%400),
			})
			return err
		}})
		if err != nil {
			k.t.Error(err)
			return
		}
		k.link.Wake()
		select {
		case <-time.After(50 * time.Millisecond):
		case <-storm.Done():
		}
	}
}

// line is a network line that can be cut and made to swallow what it carries.
type line struct {
	mu   sync.Mutex // guards conn
	conn *wireConn
}

func (l *line) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	w := &wireConn{Conn: c}
	l.mu.Lock()
	l.conn = w
	l.mu.Unlock()
	return w, nil
}

func (l *line) current() *wireConn {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.conn
}

func (l *line) cut() {
	if c := l.current(); c != nil {
		c.Close()
	}
}

// swallow makes the connection half-open: it stays, and nothing passes.
func (l *line) swallow() {
	if c := l.current(); c != nil {
		c.dead.Store(true)
	}
}

type wireConn struct {
	net.Conn
	dead atomic.Bool
}

func (c *wireConn) Write(b []byte) (int, error) {
	if c.dead.Load() {
		return len(b), nil
	}
	return c.Conn.Write(b)
}

func (c *wireConn) Read(b []byte) (int, error) {
	for {
		n, err := c.Conn.Read(b)
		if err != nil || !c.dead.Load() {
			return n, err
		}
	}
}

// nobody answers the fleet's other words.
type nobody struct{}

func (nobody) Paid(context.Context, wire.Pay, fleet.Include) error { return fleet.ErrNotOurs }
func (nobody) Charge(context.Context, wire.ChargeRequest, fleet.Include) (string, error) {
	return "", fleet.ErrInvalid
}
func (nobody) Open() []string { return nil }
func (nobody) Hint(string)    {}
