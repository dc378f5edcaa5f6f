package fleettest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/ssg-safe/agent/hub"
	"github.com/ssg-safe/agent/hub/bolt"
	"github.com/ssg-safe/agent/ledger"
)

const (
	terminals = 10
	entries   = 200 // of each terminal
)

// TestChaos has ten terminals write two hundred entries each while the broker
// and the hub are killed, links are cut and links swallow what is sent. Then
// the hub's ledgers must equal the terminals', and at no time may anything have
// been acknowledged that the hub did not hold.
func TestChaos(t *testing.T) {
	for name, start := range map[string]func(*testing.T) ([]*process, []string){
		"mosquitto": mosquitto, "mochi": mochi, "nats": nats,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // most of it is waiting for the next connection
			c := newChaos(t, start, "hub")
			c.storm(3, 4, 3, 3)
			c.calm()
			c.compare()
			for _, what := range c.untrue() {
				t.Error(what)
			}
		})
	}
}

// TestChaosSees: a hub that acknowledges before its commit is found out. Its
// ledgers may be whole in the end, because the terminals still hold everything.
func TestChaosSees(t *testing.T) {
	t.Parallel()
	c := newChaos(t, mochi, "hasty-hub")
	c.storm(0, 6, 0, 0)
	c.calm()
	if len(c.untrue()) == 0 {
		t.Error("a hub acknowledged before its commit and was killed six times, and nobody saw it")
	}
}

// chaos is a fleet with its brokers and its hub.
type chaos struct {
	t       *testing.T
	rng     *rand.Rand
	brokers []*process
	hub     *process
	dir     string // of the hub
	fleet   []*kiosk
	lines   []*line // of fleet, in its order
	lies    []string
}

func newChaos(t *testing.T, start func(*testing.T) ([]*process, []string), role string) *chaos {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	c := &chaos{t: t, rng: rand.New(rand.NewPCG(seed, 2)), dir: t.TempDir()}
	var urls []string
	brokers, addrs := start(t)
	for _, a := range addrs {
		listening(t, a)
		urls = append(urls, "tcp://"+a)
	}
	c.brokers = brokers
	for i := range terminals {
		l := &line{}
		k := openKiosk(t, i, createStore(t), urls, 2*time.Second, l.dial)
		t.Cleanup(k.close)
		c.fleet, c.lines = append(c.fleet, k), append(c.lines, l)
	}
	c.withHub(false, func(st hub.Store) error {
		return st.Update(t.Context(), func(tx hub.Tx) error {
			for i := range c.fleet {
				if err := hub.Register(tx, row(i)); err != nil {
					return err
				}
			}
			return nil
		})
	})
	c.hub = newProcess(t, func() *exec.Cmd { return self(t, role+" "+c.dir+" "+strings.Join(urls, " ")) })
	return c
}

// storm has so many of each accident happen, in any order, while the terminals
// write; when it ends they have written everything.
func (c *chaos) storm(brokerKills, hubKills, cuts, halfOpen int) {
	any := func() *line { return c.lines[c.rng.IntN(terminals)] }
	var accidents []func()
	add := func(n int, what func()) { accidents = append(accidents, slices.Repeat([]func(){what}, n)...) }
	add(brokerKills, func() {
		b := c.brokers[c.rng.IntN(len(c.brokers))]
		b.kill()
		c.pause(500)
		b.start()
	})
	add(hubKills, func() {
		c.heard()
		c.hub.kill()
		c.lies = append(c.lies, c.ahead()...)
		c.pause(500)
		c.hub.start()
	})
	add(cuts, func() { any().cut() })
	add(halfOpen, func() { any().swallow() })
	c.rng.Shuffle(len(accidents), func(i, j int) { accidents[i], accidents[j] = accidents[j], accidents[i] })

	blows, over := context.WithCancel(c.t.Context())
	var writers sync.WaitGroup
	for _, k := range c.fleet {
		writers.Go(func() {
			for range entries {
				k.write(1)
				select {
				case <-time.After(50 * time.Millisecond):
				case <-blows.Done():
				}
			}
		})
	}
	for _, accident := range accidents {
		c.pause(900)
		accident()
	}
	over()
	writers.Wait() // the rest comes at once
}

// heard waits until the hub has acknowledged something more, or for a while: to
// kill one that says nothing shows nothing.
func (c *chaos) heard() {
	acked := func() (n uint64) {
		for _, k := range c.fleet {
			n += k.link.Status().Acked.Seq
		}
		return n
	}
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	enough := time.After(5 * time.Second)
	for before := acked(); acked() == before; {
		select {
		case <-tick.C:
		case <-enough:
			return
		}
	}
}

// pause waits for some time up to so many milliseconds.
func (c *chaos) pause(ms int) {
	select {
	case <-time.After(time.Duration(c.rng.IntN(ms)) * time.Millisecond):
	case <-c.t.Context().Done():
	}
}

// calm waits until every terminal knows that the hub holds everything, and ends
// the hub.
func (c *chaos) calm() {
	c.t.Helper()
	deadline := time.After(2 * time.Minute)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for _, k := range c.fleet {
		for {
			s := k.link.Status()
			if s.Head.Seq == entries && s.Acked == s.Head {
				break
			}
			select {
			case <-tick.C:
			case <-deadline:
				c.t.Fatalf("terminal %s: %d of %d entries are acknowledged; %+v", k.name, s.Acked.Seq, entries, s)
			}
		}
	}
	c.hub.kill()
}

// ahead names the terminals whose cursor is ahead of what the dead hub has on
// its disk.
func (c *chaos) ahead() (lies []string) {
	c.t.Helper()
	c.withHub(true, func(st hub.Store) error {
		for _, k := range c.fleet {
			acked := k.link.Status().Acked
			err := st.View(c.t.Context(), func(tx hub.Tx) error {
				head, err := hub.GetHead(tx, k.name)
				if acked.Seq > 0 && head.Before(acked.Position) {
					lies = append(lies, fmt.Sprintf("terminal %s was told that %s is safe, and the hub has %s", k.name, acked.Position, head.Position))
				}
				return err
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
	return lies
}

// untrue is everything that was acknowledged and was not so: what was seen when
// the hub died, and what the hub itself saw when the terminals came back.
func (c *chaos) untrue() []string {
	c.t.Helper()
	lies := c.lies
	c.withHub(true, func(st hub.Store) error {
		return st.View(c.t.Context(), func(tx hub.Tx) error {
			alarms, err := hub.Alarms(tx, true)
			for _, a := range alarms {
				switch {
				case a.Kind == hub.AlarmRollback: // a hello that came late, over another node
				case strings.HasPrefix(a.Kind, "device."): // reported by a terminal: its link does break often
				default:
					lies = append(lies, fmt.Sprintf("terminal %s, alarm %s: %s %v", a.Device, a.Kind, a.Text, a.Detail))
				}
			}
			return err
		})
	})
	return lies
}

// compare holds the hub's ledgers against the terminals', byte for byte.
func (c *chaos) compare() {
	t := c.t
	t.Helper()
	c.withHub(true, func(st hub.Store) error {
		for _, k := range c.fleet {
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

// withHub opens the store of a hub that does not run.
func (c *chaos) withHub(readOnly bool, f func(hub.Store) error) {
	c.t.Helper()
	st, err := bolt.Open(bolt.Options{Path: filepath.Join(c.dir, "hub.db"), ReadOnly: readOnly})
	if err != nil {
		c.t.Fatal(err)
	}
	if err := errors.Join(f(st), st.Close()); err != nil {
		c.t.Fatal(err)
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
