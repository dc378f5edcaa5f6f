package fleet_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.etcd.io/bbolt"

	"github.com/ssg-safe/agent/fleet"
	"github.com/ssg-safe/agent/fleet/wire"
	"github.com/ssg-safe/agent/ledger"
	"github.com/ssg-safe/agent/store"
	"github.com/ssg-safe/agent/store/storetest"
)

const (
	device, tenant, site = "dwfdqlcepjjudsgqj", "acme", "loja-12"
	down                 = "fleet/v1/acme/loja-12/dwfdqlcepjjudsgqj/down/"
	up                   = "fleet/v1/acme/loja-12/dwfdqlcepjjudsgqj/up/"
)

func key(seed byte) ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed(slices.Repeat([]byte{seed}, ed25519.SeedSize))
}

func public(k ed25519.PrivateKey) ed25519.PublicKey { return k.Public().(ed25519.PublicKey) }

var deviceKey, hubKey = key(1), key(2)

func signer(t testing.TB, k ed25519.PrivateKey) *wire.Signer {
	t.Helper()
	s, err := wire.NewSigner(k)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func keys(t testing.TB, ks ...ed25519.PrivateKey) wire.Keys {
	t.Helper()
	var pubs []ed25519.PublicKey
	for _, k := range ks {
		pubs = append(pubs, public(k))
	}
	pinned, err := wire.NewKeys(pubs...)
	if err != nil {
		t.Fatal(err)
	}
	return pinned
}

// fakeClock is right, and synced, unless a test says otherwise.
type fakeClock struct {
	mu      sync.Mutex // guards what follows
	start   time.Time
	offset  time.Duration // of the wall clock
	floor   time.Time
	floorUp time.Duration
	quality string
	boot    string
}

func newClock() *fakeClock {
	return &fakeClock{start: time.Now(), quality: "synced", boot: "boot-1"}
}

func (c *fakeClock) Wall() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now().Add(c.offset).UTC()
	if !c.floor.IsZero() {
		if floor := c.floor.Add(time.Since(c.start) - c.floorUp); now.Before(floor) {
			return floor.UTC()
		}
	}
	return now
}

func (c *fakeClock) Up() time.Duration { return time.Since(c.start) }

func (c *fakeClock) Boot() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.boot
}

func (c *fakeClock) Quality() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.quality
}

func (c *fakeClock) SetFloor(t time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if up := time.Since(c.start); c.floor.IsZero() || t.After(c.floor.Add(up-c.floorUp)) {
		c.floor, c.floorUp = t, up
	}
}

// fakeTerminal is a Handler with a store: it commits what it is told, as the
// terminal does.
type fakeTerminal struct {
	store *store.Store

	mu    sync.Mutex // guards what follows
	err   error      // of Paid and Charge
	block chan struct{}
	open  []string
	// offers are what the hub is to be given.
	offers []fleet.Offer
	told
}

// told is what a terminal was told, and acted on.
type told struct {
	paid    []wire.Pay
	charges []wire.ChargeRequest
	payouts []wire.Payout
	hints   []string
}

func (f *fakeTerminal) got() told {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.told
}

func (f *fakeTerminal) script() (block chan struct{}, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.block, f.err
}

func (f *fakeTerminal) commit(ctx context.Context, op string, with fleet.Include) error {
	block, err := f.script()
	if block != nil {
		select {
		case <-block:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if err != nil {
		return err
	}
	return f.store.Commit(ctx, store.Op{Name: "test", Do: func(tx *bbolt.Tx) error {
		_, err := ledger.Append(tx, stamp(0), draft(op))
		if errors.Is(err, ledger.ErrDuplicate) {
			return fleet.ErrKnown
		}
		if err != nil {
			return err
		}
		return with(tx)
	}})
}

func (f *fakeTerminal) Paid(ctx context.Context, p wire.Pay, with fleet.Include) error {
	if err := f.commit(ctx, fmt.Sprintf("pay/%s/%d", p.Charge, p.Ver), with); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.paid = append(f.paid, p)
	return nil
}

func (f *fakeTerminal) Charge(ctx context.Context, r wire.ChargeRequest, with fleet.Include) (string, error) {
	err := f.commit(ctx, "charge/"+r.Reference, with)
	if err != nil && !errors.Is(err, fleet.ErrKnown) {
		return "", err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.charges = append(f.charges, r)
	return "C-" + r.Reference, err
}

func (f *fakeTerminal) Payout(ctx context.Context, p wire.Payout, with fleet.Include) error {
	if err := f.commit(ctx, "payout/"+p.Payout+"/"+p.State, with); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.payouts = append(f.payouts, p)
	return nil
}

func (f *fakeTerminal) Open() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.open)
}

func (f *fakeTerminal) Offers() ([]fleet.Offer, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.offers), nil
}

func (f *fakeTerminal) Hint(charge string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.hints = append(f.hints, charge)
}

func (f *fakeTerminal) set(change func(*fakeTerminal)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change(f)
}

var day0 = time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)

func stamp(n int) ledger.Stamp {
	return ledger.Stamp{Wall: day0.Add(time.Duration(n) * time.Second), Boot: "boot-1", Up: time.Duration(n) * time.Second, Quality: ledger.Synced}
}

func draft(op string) ledger.Draft {
	return ledger.Draft{Op: op, Kind: "test", Actor: "terminal", Data: map[string]string{"note": "açaí " + op}}
}

// rig is a terminal's link with everything around it.
type rig struct {
	t        testing.TB
	store    *store.Store
	options  store.Options
	stop     func() // of the store
	clock    *fakeClock
	terminal *fakeTerminal
	broker   *fakeBroker
	hub      *hubDouble
	log      *logBuffer
	o        fleet.Options
	link     *fleet.Link
	end      func() // of the link
}

// newRig makes everything, and connects nothing.
func newRig(t testing.TB, entries int) *rig {
	t.Helper()
	r := &rig{t: t, clock: newClock(), broker: newFake(t), log: &logBuffer{}, end: func() {}}
	r.options = storetest.Options(t, verify, slices.Concat(ledger.Migrations, fleet.Migrations())...)
	r.options.Size = 8 << 20
	r.open()
	r.hub = newHub(t)
	r.broker.publish = r.hub.publish
	r.append(entries)
	return r
}

func verify(tx *bbolt.Tx) error {
	if err := fleet.Verify(tx); err != nil {
		return err
	}
	_, err := ledger.Verify(tx, ledger.Head{})
	return err
}

// open opens the store.
func (r *rig) open() {
	var stop func()
	r.store, stop = storetest.Start(r.t, r.options)
	r.stop = sync.OnceFunc(stop)
	r.t.Cleanup(r.stop)
	if r.terminal == nil {
		r.terminal = &fakeTerminal{}
	}
	r.terminal.store = r.store
}

// start runs the link until the end of the test, or r.end.
func (r *rig) start(change ...func(*fleet.Options)) *fleet.Link {
	r.t.Helper()
	r.o = fleet.Options{
		Device: device, Tenant: tenant, Site: site, Version: "1.4.0",
		Brokers: []string{"tcp://broker:1883"}, Store: r.store, DeviceKey: deviceKey, Hub: keys(r.t, hubKey),
		Clock: r.clock, Handler: r.terminal, Dial: r.broker.dial, Logger: r.log.logger(),
	}
	for _, c := range change {
		c(&r.o)
	}
	link, err := fleet.New(r.o)
	if err != nil {
		r.t.Fatal(err)
	}
	r.link = link
	ctx, cancel := context.WithCancel(context.WithoutCancel(r.t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- link.Run(ctx) }()
	r.end = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			r.t.Errorf("Run: %v", err)
		}
	})
	r.t.Cleanup(r.end)
	return link
}

// append adds entries to the ledger in one commit, and wakes the link.
func (r *rig) append(n int) {
	r.t.Helper()
	if n == 0 {
		return
	}
	err := r.store.Commit(r.t.Context(), store.Op{Name: "test", Do: func(tx *bbolt.Tx) error {
		head, err := ledger.GetHead(tx)
		if err != nil {
			return err
		}
		for i := range n {
			if _, err := ledger.Append(tx, stamp(int(head.Seq)+i), draft(fmt.Sprintf("op-%d", head.Seq+uint64(i)+1))); err != nil {
				return err
			}
		}
		return nil
	}})
	if err != nil {
		r.t.Fatal(err)
	}
	if r.link != nil {
		r.link.Wake()
	}
}

// appendSized adds one entry of about that size.
func (r *rig) appendSized(op string, size int) {
	r.t.Helper()
	d := draft(op)
	d.Data = map[string]string{"x": strings.Repeat("x", size)}
	err := r.store.Commit(r.t.Context(), store.Op{Name: "test", Do: func(tx *bbolt.Tx) error {
		_, err := ledger.Append(tx, stamp(1), d)
		return err
	}})
	if err != nil {
		r.t.Fatal(err)
	}
}

// prune deletes all but the newest entries, as far as a checkpoint allows.
func (r *rig) prune(keep uint64) {
	r.t.Helper()
	if r.tryPrune(keep) == 0 {
		r.t.Fatal("nothing was pruned")
	}
}

// tryPrune returns how many entries were deleted.
func (r *rig) tryPrune(keep uint64) (deleted int) {
	r.t.Helper()
	err := r.store.Commit(r.t.Context(), store.Op{Name: "test", Do: func(tx *bbolt.Tx) (err error) {
		deleted, err = ledger.Prune(tx, ledger.Retention{
			Consumers: []string{fleet.Consumer}, Key: public(deviceKey), Entries: keep, Limit: 10000,
		})
		return err
	}})
	if err != nil {
		r.t.Fatal(err)
	}
	return deleted
}

func (r *rig) view(fn func(*bbolt.Tx) error) {
	r.t.Helper()
	if err := r.store.View(fn); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) head() (h ledger.Head) {
	r.t.Helper()
	r.view(func(tx *bbolt.Tx) (err error) {
		h, err = ledger.GetHead(tx)
		return err
	})
	return h
}

func (r *rig) cursor() (h ledger.Head) {
	r.t.Helper()
	r.view(func(tx *bbolt.Tx) (err error) {
		h, err = ledger.Cursor(tx, fleet.Consumer)
		return err
	})
	return h
}

// entries are all stored bytes, one entry a line.
func (r *rig) entries() []byte {
	r.t.Helper()
	var b bytes.Buffer
	r.view(func(tx *bbolt.Tx) error { return ledger.WriteJSONL(&b, ledger.Entries(tx, ledger.Position{})) })
	return b.Bytes()
}

// wantSynced fails unless hub and terminal hold the same, and the cursor says so.
func (r *rig) wantSynced() {
	r.t.Helper()
	head := r.head()
	if got := r.hub.held(); got != head {
		r.t.Errorf("hub holds up to %v, want %v", got, head)
	}
	if got, want := r.hub.jsonl(), r.entries(); !bytes.Equal(got, want) {
		r.t.Errorf("hub holds %d bytes, want exactly the terminal's %d", len(got), len(want))
	}
	if got := r.cursor(); got != head {
		r.t.Errorf("cursor at %v, want %v", got, head)
	}
	if s := r.link.Status(); s.Pending != 0 || s.Head != head || s.Acked != head {
		r.t.Errorf("status says head %v, acked %v, pending %d; want both %v and 0", s.Head, s.Acked, s.Pending, head)
	}
}

// after lets bubble time pass.
func after(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// count is one of the link's counters.
func (r *rig) count(name string) uint64 {
	r.t.Helper()
	n, ok := r.link.Status().Counters[name]
	if !ok {
		r.t.Fatalf("no counter %s", name)
	}
	return n
}

// logBuffer keeps what is logged.
type logBuffer struct {
	mu sync.Mutex // guards b
	b  strings.Builder
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func (l *logBuffer) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }
