// Package terminal is the loop that turns inputs into charges, slips and
// screens.
//
// # The one rule
//
// Every input — a key, a request, a provider's answer, a printer's report, a
// timer — is handled by one goroutine ([Terminal.Run]), which owns all state.
// It decides without waiting for anything: a decision is a value that names
// the facts to record, the slips to issue and the effects to start. Decisions
// with facts go to the store's committer, which writes everything that waits
// in one bbolt commit. Effects, and views that claim something (a code,
// "PAGO"), happen only after the commit they rest on; keys, countdown and
// spinner never wait for the disk. What is in memory about a charge is what is
// on disk about it: it changes when the commit is reported, and further inputs
// about that charge wait until then.
//
// A commit whose outcome is unknown ends the process ([Run] returns the
// store's error). At the next start the store tells which operations happened,
// and [Run] resumes from there: attempts in flight are orphaned or looked up,
// open charges are asked about, slips that were being printed are unknown.
//
// # Machines
//
// The loop only routes. What a charge may become is in package charge. The
// screen of the kiosk is session.go, the menu of those who look after it package
// operator (its requests are served in operator.go), the print spool spool.go, the times at
// which providers are asked poll.go; each decides purely. charges.go joins them,
// recover.go begins, and decision.go writes. offline.go is what happens while a
// provider cannot be reached, within the limits of package exposure; routes.go is
// which provider makes a charge, as package router decides. reconcile.go and compare.go
// hold the ledger against the providers.
//
// Others ask through remote.go (credits, hints, references), refund.go (what the hub
// says went back), record.go (what is on record about a charge), settle.go (what a
// person decides about slips), tickets.go (about differences) and proposals.go (what
// the hub is to pay out).
//
// # Time
//
// Deadlines are spans of the boot-time clock ([Clock.Up]) and are compared
// only within one boot. After a reboot the terminal asks the provider and
// believes it; its own clock never declares a charge paid, and declares one
// expired only after the provider, asked after the deadline, did not call it
// paid.
package terminal

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"go.etcd.io/bbolt"

	"github.com/ssg-safe/agent/charge"
	"github.com/ssg-safe/agent/display"
	"github.com/ssg-safe/agent/ledger"
	"github.com/ssg-safe/agent/money"
	"github.com/ssg-safe/agent/operator"
	"github.com/ssg-safe/agent/pix"
	"github.com/ssg-safe/agent/printer"
	"github.com/ssg-safe/agent/providers"
	"github.com/ssg-safe/agent/reconcile"
	"github.com/ssg-safe/agent/redact"
	"github.com/ssg-safe/agent/router"
	"github.com/ssg-safe/agent/store"
)

// Route is a configured provider: what the terminal needs of one.
type Route interface {
	providers.Charger
	providers.StatusReader
}

// Clock tells the time (package device has the real one).
type Clock interface {
	Wall() time.Time   // UTC
	Up() time.Duration // since boot, counting suspend
	Boot() string      // id of this boot
	Quality() string   // of the wall clock: unsynced, floor, synced
}

// Screen shows views. Show must not block (package display).
type Screen interface{ Show(display.View) }

// Printer prints slips (package printer). Its methods block; the terminal
// calls them from goroutines of its own, one at a time.
type Printer interface {
	Ready(ctx context.Context) (printer.Status, error)
	Print(ctx context.Context, job printer.Job) printer.Result
	Resolve(ctx context.Context, job string) printer.Result
}

// Config is what the terminal is told. Durations are spans of boot time.
type Config struct {
	// Code is the terminal's assigned four characters in every charge id.
	Code string
	// Merchants lists who may be paid; the first one is the keypad's.
	Merchants []charge.Merchant
	// Routes are the configured providers by name.
	Routes map[string]Route
	// MinAmount and MaxAmount bound a charge, in centavos.
	MinAmount, MaxAmount money.Amount
	// Expiry is how long a code may be paid.
	Expiry time.Duration
	// Grace is how long after its expiry a charge is still asked about before
	// it is called expired: people pay in the last second.
	Grace time.Duration
	// PaidScreen is how long "PAGO" stands when no key is pressed.
	PaidScreen time.Duration
	// Offline is what is done while a provider cannot be reached.
	Offline Offline
	// Reconcile is how the ledger is compared with what the providers say.
	Reconcile Reconcile
	// Proposals are how payouts and refunds are proposed.
	Proposals Proposals
	// Profile describes the printer; it is not used without one.
	Profile printer.Profile
	// Pending counts the entries that the hub does not have yet, for the screen;
	// nil: there is no hub. It must not block.
	Pending func() int
	// Operators are who may open the operator menu; none: it never opens. Zone,
	// Merchants and Printer of it are the terminal's business.
	Operators operator.Config
	// Inspect reads what the menu shows of the machine, its settings and its faults.
	// It is called off the loop.
	Inspect func(ctx context.Context, v operator.View) (operator.Sheet, error)
}

// Request asks for a charge.
type Request struct {
	Merchant    string // id; "" is the first merchant
	Amount      money.Amount
	Payer       providers.Payer
	Description string
	Reference   string // the caller's own, kept with the charge
	Source      string // who asks: keypad, api, demo
	// Expiry is how long the code may be paid; 0 is the configured time.
	Expiry time.Duration
	// Checkout is the token of a charge that was made elsewhere and is taken over;
	// empty: one is made. Each is taken over once.
	Checkout redact.Secret
	// Present puts the charge on the kiosk's screen and prints its code. Yield
	// makes it without both, instead of not at all, when the screen is taken.
	Present, Yield bool
	// With is written in the commit that records the charge; nil: nothing.
	With func(*bbolt.Tx) error
}

// Errors of [Terminal.Start] a caller can branch on. Any other error, and the
// end of the caller's context, means that it is not known whether the charge was
// recorded.
var (
	// ErrBusy: the inbox is full; nothing was done.
	ErrBusy = errors.New("the terminal is busy")
	// ErrScreenTaken: another charge is on the screen.
	ErrScreenTaken = errors.New("the screen shows another charge")
	// ErrStopping: the terminal is shutting down.
	ErrStopping = errors.New("the terminal is stopping")
	// ErrAmount: the amount is outside the configured limits.
	ErrAmount = errors.New("the amount is outside the limits")
	// ErrMerchant: no such merchant.
	ErrMerchant = errors.New("unknown merchant")
	// ErrReference: the reference names a charge that was asked for otherwise.
	ErrReference = errors.New("the reference is taken by another charge")
	// ErrCheckout: the checkout is another charge's, or its provider has none.
	ErrCheckout = errors.New("the checkout cannot be taken over")
	// ErrNoCharge: there is no such charge in this ledger (any more).
	ErrNoCharge = errors.New("no such charge")
)

// Terminal is the loop. Make one with [New] and start [Terminal.Run]; the
// other methods may be called from any goroutine while it runs.
type Terminal struct {
	cfg     Config
	store   *store.Store
	clock   Clock
	screen  Screen
	printer Printer // nil: no printer
	observe func(Event)
	log     *slog.Logger
	ids     *pix.TxIDs

	inbox chan input
	done  doneQueue

	// Owned by the loop goroutine.
	charges  map[charge.ID]*live
	order    []charge.ID // of charges, oldest first
	session  session
	menu     *operator.Menu
	spool    spool
	network  display.Health
	board    router.Board       // which routes are out
	outages  map[string]*outage // by route: those that cannot be reached
	compare  comparing
	claims   map[reconcile.Key]string // what reports call attempts that have no name here
	closing  []charge.ID              // snapshots to drop with the next commit
	stopping bool
	shown    display.View
	flight   int // effects and commits under way
	fatal    error
	// postponed decisions wait for room in the store until the next attempt.
	postponed      []*decision
	postponedUntil time.Duration
	// folds are those who wait for a closed charge to be read from the ledger.
	folds map[charge.ID][]func(*live, error)
	// copying are the charges of which a copy of a slip is being recorded.
	copying map[charge.ID]bool

	effects sync.WaitGroup
	// acts is the context of effects that must not be cut short by a shutdown,
	// asks of those that only ask.
	acts, asks context.Context
	// urgent, others and probes bound the provider calls under way, each its kind: a
	// payer who waits must not wait until other charges have been asked about, nor a
	// provider that is back until a hundred charges of another one have been.
	urgent, others, probes chan struct{}

	ended chan struct{} // closed when Run ends
	why   error         // set before that: what Run returns
}

// maxCalls is how many provider calls of a kind are under way at one time; a
// kiosk never needs more.
const maxCalls = 4

// New returns a terminal over an open store whose committer is running. The
// printer may be nil. observe is called on the loop goroutine with every
// [Event] after its commit and must not block; nil is allowed. A nil logger
// discards.
func New(cfg Config, st *store.Store, clock Clock, screen Screen, p Printer, observe func(Event), log *slog.Logger) (*Terminal, error) {
	ids, err := pix.NewTxIDs(cfg.Code)
	if err != nil {
		return nil, fmt.Errorf("terminal code: %w", err)
	}
	if len(cfg.Merchants) == 0 {
		return nil, errors.New("a terminal needs a merchant")
	}
	for _, m := range cfg.Merchants {
		for _, r := range m.Routes() {
			if cfg.Routes[r.Provider] == nil {
				return nil, fmt.Errorf("merchant %s: there is no provider %q", m.ID, r.Provider)
			}
		}
		if m.Zone == nil {
			return nil, fmt.Errorf("merchant %s has no time zone", m.ID)
		}
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	if observe == nil {
		observe = func(Event) {}
	}
	t := &Terminal{
		cfg: cfg, store: st, clock: clock, screen: screen, printer: p, observe: observe, log: log, ids: ids,
		inbox:  make(chan input, 64),
		done:   doneQueue{wake: make(chan struct{}, 1)},
		claims: map[reconcile.Key]string{}, charges: map[charge.ID]*live{},
		outages: map[string]*outage{},
		compare: comparing{next: map[string]time.Duration{}, vain: map[string]int{}, days: map[string]string{}},
		folds:   map[charge.ID][]func(*live, error){},
		copying: map[charge.ID]bool{},
		session: session{state: display.Starting},
		menu:    newMenu(cfg, p != nil),
		urgent:  make(chan struct{}, maxCalls), others: make(chan struct{}, maxCalls), probes: make(chan struct{}, maxCalls),
		ended: make(chan struct{}),
	}
	t.watchRoutes()
	return t, nil
}

// input is one thing that happened; it is handled on the loop goroutine.
type input func()

// live is a charge that still matters, as the store knows it, and what goes on
// about it right now.
type live struct {
	charge charge.Charge
	code   string        // payable text, "" before it is recorded, and where there is none
	token  redact.Secret // what it takes to ask about it, where it takes something
	ahead  string        // the same, while it is being recorded
	payer  providers.Payer
	desc   string
	// began is when it was recorded (-1: in an earlier boot), deadline when its
	// code stops being payable, paid when it was paid in this boot: boot-time
	// clock. known is false until there is a deadline.
	began    time.Duration
	deadline time.Duration
	known    bool
	paid     time.Duration
	paidAt   time.Time // the same on the wall clock, for the screen
	printed  SlipKind  // the newest slip that came out

	busy    bool     // a decision about it is being committed
	waiting []func() // inputs that wait for that
	watch   watch
	retryAt time.Duration // when to send the next attempt; 0: none due
	lookUp  bool          // the newest attempt must be looked up
	cancel  bool          // the payer pressed cancel
	leaving bool          // its release is recorded, or just being
}

// Run recovers what the last run left open and then handles inputs until ctx
// ends, when it finishes what is under way, bounded to six seconds. It returns
// nil after such a shutdown and the store's error when a commit's outcome is
// unknown: then the process must end.
func (t *Terminal) Run(ctx context.Context) (err error) {
	var stopActs, stopAsks context.CancelFunc
	t.acts, stopActs = context.WithCancel(context.WithoutCancel(ctx))
	t.asks, stopAsks = context.WithCancel(ctx)
	defer func() {
		t.why = err
		close(t.ended)
		stopActs()
		stopAsks()
		t.effects.Wait()
	}()
	if err := t.recover(); err != nil {
		return fmt.Errorf("recover: %w", err)
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	stop := ctx.Done()
	var hard <-chan time.Time
	for {
		t.work()
		t.draw()
		if t.fatal != nil {
			return t.fatal
		}
		if t.stopping && t.flight == 0 {
			return nil
		}
		timer.Reset(t.untilNext())
		select {
		case in := <-t.inbox:
			in()
		case <-t.done.wake:
			t.done.drain()
		case <-timer.C:
		case <-t.store.Failed():
			return t.store.Err()
		case <-stop:
			stop, t.stopping = nil, true
			hard = time.After(stopLimit)
			t.log.Info("stopping", "under_way", t.flight)
		case <-hard:
			t.log.Warn("stopped with work under way; it is taken up at the next start", "under_way", t.flight)
			return nil
		}
	}
}

// stopLimit bounds the end of what is under way. It is less than half of the
// supervisor's 15 s, so that the committer still runs when the last commits come.
const stopLimit = 6 * time.Second

// Key handles a key press. It never blocks; a key that finds the inbox full is
// dropped.
func (t *Terminal) Key(k display.Key) {
	select {
	case t.inbox <- func() { t.key(k) }:
	default:
	}
}

// Drawn tells the terminal what reached the screen. It never blocks.
func (t *Terminal) Drawn(d display.Drawn) {
	select {
	case t.inbox <- func() { t.drawn(d) }:
	default:
	}
}

// Start records a new charge and begins to create it at its provider. It
// returns the charge's id after the commit. A request with a Reference is
// idempotent: asked again by the same Source it returns the same id, whatever
// would stand in the way of a new charge by then, and ErrReference if it asks for
// something else. The other errors are those above, With's own, and the store's
// ErrFull, ErrReadOnly and ErrOutcomeUnknown.
func (t *Terminal) Start(ctx context.Context, r Request) (charge.ID, error) {
	if r.Reference != "" {
		if id, err := t.named(r); id != "" || err != nil {
			return id, err
		}
	}
	if why := t.store.Stats().ReadOnly; why != "" {
		return "", fmt.Errorf("%w: %s", store.ErrReadOnly, why)
	}
	type answer struct {
		id  charge.ID
		err error
	}
	reply := make(chan answer, 1)
	if err := t.put(func() { t.start(r, func(id charge.ID, err error) { reply <- answer{id, err} }) }); err != nil {
		return "", err
	}
	a, err := wait(ctx, t, reply)
	return a.id, cmp.Or(err, a.err)
}

// Cancel ends a charge as its payer would by the cancel key: its provider is
// asked once more first. A charge that something left for is not ended. Errors:
// ErrBusy, ErrStopping; after any other it is not known whether it was asked for.
func (t *Terminal) Cancel(ctx context.Context, id charge.ID) error {
	return t.ask(ctx, func() { t.cancel(id) })
}

// Work counts what is not finished: charges that wait for their payer or
// provider, slips that wait for the printer.
type Work struct{ Charges, Slips int }

// Unfinished returns the work that is left. It waits for a place in a full inbox.
func (t *Terminal) Unfinished(ctx context.Context) (Work, error) {
	var w Work
	err := t.askPatiently(ctx, func() {
		for _, l := range t.charges {
			if l.charge.State.Open() {
				w.Charges++
			}
		}
		w.Slips = len(t.spool.jobs)
	})
	return w, err
}

// Status is what can be said about the terminal at a glance.
type Status struct {
	// Screen is what the kiosk's screen shows, Charge the charge on it.
	Screen display.State
	Charge charge.ID
	// Network says whether a provider could be reached, Printer whether it works;
	// HasPrinter is false where there is none.
	Network, Printer display.Health
	HasPrinter       bool
	// Routes are the providers that merchants use.
	Routes []RouteStatus
}

// Status returns it.
func (t *Terminal) Status(ctx context.Context) (Status, error) {
	s := Status{HasPrinter: t.printer != nil}
	err := t.ask(ctx, func() {
		s.Routes = t.routeStatus()
		s.Screen, s.Charge, s.Network, s.Printer = t.session.state, t.session.charge, t.network, t.spool.health
	})
	return s, err
}

// put puts an input into the inbox at once. ErrBusy and ErrStopping: it is not
// there.
func (t *Terminal) put(in input) error {
	select {
	case <-t.ended:
		return ErrStopping
	default:
	}
	select {
	case t.inbox <- in:
		return nil
	default:
		return ErrBusy
	}
}

// ask runs f on the loop goroutine and waits for it. After ErrBusy and ErrStopping
// it will not run.
func (t *Terminal) ask(ctx context.Context, f func()) error {
	ran := make(chan struct{})
	if err := t.put(func() { f(); close(ran) }); err != nil {
		return err
	}
	_, err := wait(ctx, t, ran)
	return err
}

// askPatiently is ask of those who rather wait for a place in the inbox.
func (t *Terminal) askPatiently(ctx context.Context, f func()) error {
	ran := make(chan struct{})
	select {
	case t.inbox <- func() { f(); close(ran) }:
	case <-t.ended:
		return ErrStopping
	case <-ctx.Done():
		return ctx.Err()
	}
	_, err := wait(ctx, t, ran)
	return err
}

// errUnanswered: the loop ended on something that it had been asked. Whether it
// happened is not known.
var errUnanswered = errors.New("the terminal ended before it answered")

// wait waits for a reply of the loop, as long as there is one.
func wait[T any](ctx context.Context, t *Terminal, reply <-chan T) (r T, err error) {
	select {
	case r = <-reply:
	case <-ctx.Done():
		err = ctx.Err()
	case <-t.ended:
		select {
		case r = <-reply:
		default:
			err = cmp.Or(t.why, errUnanswered)
		}
	}
	return r, err
}

// perform runs f in a goroutine of its own and its returned input on the loop.
func (t *Terminal) perform(ctx context.Context, f func(ctx context.Context) input) {
	t.flight++
	t.effects.Go(func() {
		in := f(ctx)
		t.done.add(func() {
			t.flight--
			in()
		})
	})
}

// hold takes a charge into memory until [Terminal.forget].
func (t *Terminal) hold(l *live) {
	t.charges[l.charge.ID] = l
	t.order = append(t.order, l.charge.ID)
}

// later runs f now, or after the commit about this charge that is under way.
func (l *live) later(f func()) {
	if l.busy {
		l.waiting = append(l.waiting, f)
		return
	}
	f()
}

// stamp is the time of a decision.
func (t *Terminal) stamp() ledger.Stamp {
	return ledger.Stamp{Wall: t.clock.Wall(), Boot: t.clock.Boot(), Up: t.clock.Up(), Quality: ledger.Quality(t.clock.Quality())}
}

// wallAt is the wall clock of a moment of this boot.
func (t *Terminal) wallAt(up time.Duration) time.Time {
	return t.clock.Wall().Add(up - t.clock.Up())
}

// merchant is a configured merchant; "" is the first one. One that is not
// configured any more has no name.
func (t *Terminal) merchant(id string) (charge.Merchant, bool) {
	for _, m := range t.cfg.Merchants {
		if m.ID == id || id == "" {
			return m, true
		}
	}
	return charge.Merchant{Zone: time.UTC}, false
}

// jitter spreads a span by ±10 %.
func jitter(d time.Duration) time.Duration {
	return d + time.Duration((rand.Int64N(201)-100)*int64(d)/1000)
}

// doneQueue carries results to the loop without ever blocking whoever has
// them. It is bounded by what the loop itself started.
type doneQueue struct {
	mu   sync.Mutex // guards list
	list []input
	wake chan struct{}
}

func (q *doneQueue) add(in input) {
	q.mu.Lock()
	q.list = append(q.list, in)
	q.mu.Unlock()
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

func (q *doneQueue) drain() {
	q.mu.Lock()
	list := q.list
	q.list = nil
	q.mu.Unlock()
	for _, in := range list {
		in()
	}
}
