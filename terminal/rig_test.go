package terminal_test

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.etcd.io/bbolt"

	"github.com/ssg-safe/agent/charge"
	"github.com/ssg-safe/agent/closing"
	"github.com/ssg-safe/agent/display"
	"github.com/ssg-safe/agent/ledger"
	"github.com/ssg-safe/agent/money"
	"github.com/ssg-safe/agent/pix"
	"github.com/ssg-safe/agent/printer"
	"github.com/ssg-safe/agent/proposal"
	"github.com/ssg-safe/agent/providers"
	"github.com/ssg-safe/agent/queue"
	"github.com/ssg-safe/agent/store"
	"github.com/ssg-safe/agent/terminal"
	"github.com/ssg-safe/agent/ticket"
)

// rig is a terminal over a real store, with a provider, a printer, a screen
// and a clock that the test holds. It runs inside a synctest bubble.
type rig struct {
	*testing.T
	path    string
	commit  func(*bbolt.Tx) error
	route   *route
	printer *paper // nil: none
	clock   *clock
	screen  *screen
	edit    func(*terminal.Config) // of the configuration, before start; nil: none
	size    int64                  // of the store

	store  *store.Store
	term   *terminal.Terminal
	cancel context.CancelFunc
	ended  chan error
	mu     sync.Mutex
	events []terminal.Event
	told   func(terminal.Event) // at every event; nil: nothing
}

func bubble(t *testing.T, f func(r *rig)) { bubbleIn(t, 1<<20, f) }

// bubbleIn is bubble with a store of a size.
func bubbleIn(t *testing.T, size int64, f func(r *rig)) {
	synctest.Test(t, func(t *testing.T) {
		r := &rig{
			T: t, path: filepath.Join(t.TempDir(), "store.db"), route: newRoute(), printer: &paper{},
			clock: &clock{start: time.Now(), boot: "boot-1"}, screen: &screen{}, size: size,
		}
		err := store.Create(t.Context(), r.options())
		if err != nil {
			t.Fatal(err)
		}
		r.start()
		defer func() { // also when the test gave up
			r.cancel()
			<-r.ended
		}()
		f(r)
		r.stop()
		r.audit()
	})
}

func (r *rig) options() store.Options {
	return store.Options{Path: r.path, Size: r.size, Migrations: slices.Concat(terminal.Migrations(), closing.Migrations, ticket.Migrations, proposal.Migrations), Commit: r.commit}
}

func (r *rig) config() terminal.Config {
	p, err := printer.ProfileByName("epson-80")
	if err != nil {
		r.Fatal(err)
	}
	return terminal.Config{
		Code: "T001",
		Merchants: []charge.Merchant{{
			ID: "loja", CNPJ: "11222333000181", Name: "COFRE TESTE LTDA", City: "SAO PAULO",
			Key: "11222333000181", Route: "fake", Account: "acc", Zone: time.UTC,
		}},
		Routes:    map[string]terminal.Route{"fake": r.route},
		MinAmount: 100, MaxAmount: 500000, Expiry: 5 * time.Minute, Grace: 10 * time.Second,
		PaidScreen: 8 * time.Second, Profile: p,
	}
}

// start opens the store and runs a terminal on it.
func (r *rig) start() {
	r.Helper()
	st, err := store.Open(r.options())
	if err != nil {
		r.Fatal(err)
	}
	var p terminal.Printer
	if r.printer != nil {
		p = r.printer
	}
	log := slog.New(slog.NewTextHandler(r.Output(), nil))
	cfg := r.config()
	if r.edit != nil {
		r.edit(&cfg)
	}
	term, err := terminal.New(cfg, st, r.clock, r.screen, p, r.observe, log)
	if err != nil {
		r.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	storeCtx, stopStore := context.WithCancel(context.Background())
	committer := make(chan error, 1)
	go func() { committer <- st.Run(storeCtx) }()
	ended := make(chan error, 1)
	go func() {
		err := term.Run(ctx)
		stopStore()
		ended <- errors.Join(err, <-committer, st.Close())
		close(ended)
	}()
	r.store, r.term, r.cancel, r.ended = st, term, cancel, ended
	synctest.Wait()
}

func (r *rig) stop() {
	r.Helper()
	r.cancel()
	if err := <-r.ended; err != nil {
		r.Errorf("terminal ended: %v", err)
	}
}

// restart ends the terminal and starts it on the same store; reboot also
// starts the boot clock anew.
func (r *rig) restart(reboot bool) {
	r.Helper()
	r.stop()
	if reboot {
		r.clock.start, r.clock.boot = time.Now(), r.clock.boot+"+"
	}
	r.start()
}

func (r *rig) observe(e terminal.Event) {
	if r.told != nil {
		r.told(e)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, e)
}

func (r *rig) count(k terminal.EventKind) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 0
	for _, e := range r.events {
		if e.Kind == k {
			n++
		}
	}
	return n
}

// audit checks the closed store: chain, index, queue, bbolt's own structure.
func (r *rig) audit() ledger.Report {
	r.Helper()
	st, err := store.Open(r.options())
	if err != nil {
		r.Fatal(err)
	}
	defer st.Close()
	var report ledger.Report
	if err := st.View(func(tx *bbolt.Tx) error {
		for err := range tx.Check() {
			return err
		}
		if err := queue.Audit(tx); err != nil {
			return err
		}
		var err error
		report, err = ledger.Verify(tx, ledger.Head{})
		return err
	}); err != nil {
		r.Fatal(err)
	}
	return report
}

// kinds lists the ledger's entries.
func (r *rig) kinds() []string {
	r.Helper()
	var kinds []string
	if err := r.store.View(func(tx *bbolt.Tx) error {
		for _, raw := range ledger.Entries(tx, ledger.Position{}) {
			e, err := ledger.Decode(raw)
			if err != nil {
				return err
			}
			kinds = append(kinds, e.Kind)
		}
		return nil
	}); err != nil {
		r.Fatal(err)
	}
	return kinds
}

// fold folds one charge from the ledger alone.
func (r *rig) fold(id charge.ID) charge.Charge {
	r.Helper()
	var facts []charge.Fact
	if err := r.store.View(func(tx *bbolt.Tx) error {
		for _, raw := range ledger.Entries(tx, ledger.Position{}) {
			e, err := ledger.Decode(raw)
			if err != nil {
				return err
			}
			f, err := charge.Decode(e.Kind, e.Data, evidence(e))
			if err != nil {
				return err
			}
			if f != nil && f.Subject() == id {
				facts = append(facts, f)
			}
		}
		return nil
	}); err != nil {
		r.Fatal(err)
	}
	c, err := charge.Fold(facts)
	if err != nil {
		r.Fatal(err)
	}
	return c
}

func evidence(e ledger.Entry) []byte {
	if string(e.Evidence) == "null" {
		return nil
	}
	return e.Evidence
}

func (r *rig) jobs(list func(*bbolt.Tx) ([]queue.Job, error)) []queue.Job {
	r.Helper()
	var jobs []queue.Job
	if err := r.store.View(func(tx *bbolt.Tx) (err error) {
		jobs, err = list(tx)
		return err
	}); err != nil {
		r.Fatal(err)
	}
	return jobs
}

// keys presses keys: digits, "E" to confirm, "C" to cancel.
func (r *rig) keys(s string) {
	for _, c := range s {
		k := display.Key{Kind: display.Digit, Digit: int(c - '0')}
		switch c {
		case 'E':
			k = display.Key{Kind: display.Confirm}
		case 'C':
			k = display.Key{Kind: display.Cancel}
		case 'B':
			k = display.Key{Kind: display.Backspace}
		}
		r.term.Key(k)
	}
	synctest.Wait()
}

// pass lets time go by.
func (r *rig) pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func (r *rig) shows(want display.State) display.View {
	r.Helper()
	v := r.screen.last()
	if v.State != want {
		r.Fatalf("the screen shows %s (code %s), want %s; it showed %v", v.State, v.ErrorCode, want, r.screen.states())
	}
	return v
}

// begin starts a charge from the keypad and returns its id.
func (r *rig) begin() charge.ID {
	r.Helper()
	r.keys("1234E")
	return charge.ID(r.shows(display.QR).Charge)
}

type clock struct {
	start time.Time
	boot  string

	mu    sync.Mutex
	ahead time.Duration // the wall clock
	last  time.Duration
	still int // times in a row that Up said the same
}

func (c *clock) Wall() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Add(c.ahead).UTC()
}

// set puts the wall clock ahead of the true time.
func (c *clock) set(ahead time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ahead = ahead
}

// Up ends a test whose loop spins: in a bubble, time would stand still for ever.
func (c *clock) Up() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	up := time.Since(c.start) + time.Hour
	if c.still++; up != c.last {
		c.last, c.still = up, 0
	}
	if c.still > 10000 {
		panic("the loop spins")
	}
	return up
}

func (c *clock) Boot() string    { return c.boot }
func (c *clock) Quality() string { return "synced" }

type screen struct {
	check func(display.View) // at every view; nil: nothing
	mu    sync.Mutex
	views []display.View
}

func (s *screen) Show(v display.View) {
	if s.check != nil {
		s.check(v)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.views = append(s.views, v)
}

func (s *screen) last() display.View {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.views[len(s.views)-1]
}

func (s *screen) states() []display.State {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []display.State
	for _, v := range s.views {
		if len(out) == 0 || out[len(out)-1] != v.State {
			out = append(out, v.State)
		}
	}
	return out
}

// route is a provider in memory. create and status may be replaced.
type route struct {
	mu      sync.Mutex
	caps    providers.Caps
	create  func(ctx context.Context, in providers.Intent) (providers.Charge, error)
	status  func(ctx context.Context, ref providers.Ref) (providers.Charge, error)
	intents []providers.Intent
	asked   []time.Time
}

func newRoute() *route {
	r := &route{caps: providers.Caps{
		CreateTimeout: 25 * time.Second, ReadTimeout: 10 * time.Second,
		Poll: providers.PollSchedule{
			Open: []providers.PollStep{{Until: 30 * time.Second, Every: 2 * time.Second}, {Every: 5 * time.Second}},
			Late: 30 * time.Second, Times: 10,
		},
	}}
	r.create = r.accept
	r.answer(providers.StatusPending)
	return r
}

func (r *route) accept(_ context.Context, in providers.Intent) (providers.Charge, error) {
	code, err := pix.Static{Key: in.Key, Name: "COFRE TESTE", City: "SAO PAULO", Amount: in.Amount, TxID: in.ID}.Encode()
	return providers.Charge{
		ProviderID: in.ID + "-" + string(rune('0'+in.Attempt)), Status: providers.StatusPending, BRCode: code, Digest: "c0",
	}, err
}

// answer makes every status question end in a status word.
func (r *route) answer(s providers.Status) {
	r.on(func(_ context.Context, ref providers.Ref) (providers.Charge, error) {
		return providers.Charge{ProviderID: ref.ProviderID, Status: s, Word: strings.ToUpper(string(s)), Digest: "d1"}, nil
	})
}

// pays makes every status question end in a payment of the given kind.
func (r *route) pays(amount money.Amount, e2e string) {
	r.on(func(_ context.Context, ref providers.Ref) (providers.Charge, error) {
		return providers.Charge{
			ProviderID: ref.ProviderID, Status: providers.StatusPaid, Word: "PAGO", Amount: &amount, EndToEnd: e2e, Digest: "d2",
		}, nil
	})
}

func (r *route) on(status func(context.Context, providers.Ref) (providers.Charge, error)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.status = status
}

func (r *route) Name() string         { return "fake" }
func (r *route) Caps() providers.Caps { return r.caps }

func (r *route) CreateCharge(ctx context.Context, in providers.Intent) (providers.Charge, error) {
	r.mu.Lock()
	r.intents = append(r.intents, in)
	f := r.create
	r.mu.Unlock()
	return f(ctx, in)
}

func (r *route) GetCharge(ctx context.Context, ref providers.Ref) (providers.Charge, error) {
	r.mu.Lock()
	r.asked = append(r.asked, time.Now())
	f := r.status
	r.mu.Unlock()
	return f(ctx, ref)
}

func (r *route) questions() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.asked)
}

func fails(k providers.Kind) func(context.Context, providers.Intent) (providers.Charge, error) {
	return func(context.Context, providers.Intent) (providers.Charge, error) {
		return providers.Charge{}, &providers.Error{Provider: "fake", Op: "create", Kind: k}
	}
}

// paper is a printer that confirms everything unless told otherwise.
type paper struct {
	mu      sync.Mutex
	ready   error
	wait    func(context.Context) // before Ready answers; nil: it does not
	result  func(printer.Job) printer.Result
	resolve printer.Result
	jobs    []printer.Job
}

func (p *paper) Ready(ctx context.Context) (printer.Status, error) {
	p.mu.Lock()
	wait := p.wait
	p.mu.Unlock()
	if wait != nil {
		wait(ctx)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return printer.Status{}, p.ready
}

func (p *paper) Print(_ context.Context, j printer.Job) printer.Result {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.jobs = append(p.jobs, j)
	if p.result != nil {
		return p.result(j)
	}
	return printer.Result{Outcome: printer.Confirmed, Accepted: len(j.Bytes), Tier: printer.TierA}
}

func (p *paper) Resolve(context.Context, string) printer.Result {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.resolve
}

func (p *paper) set(f func(*paper)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f(p)
}

func (p *paper) ids() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var ids []string
	for _, j := range p.jobs {
		ids = append(ids, j.ID)
	}
	return ids
}
