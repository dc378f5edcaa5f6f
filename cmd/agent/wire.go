package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/bbolt"

	"github.com/ssg-safe/agent/charge"
	"github.com/ssg-safe/agent/closing"
	"github.com/ssg-safe/agent/device"
	"github.com/ssg-safe/agent/display"
	"github.com/ssg-safe/agent/exposure"
	"github.com/ssg-safe/agent/fleet"
	"github.com/ssg-safe/agent/fleet/wire"
	"github.com/ssg-safe/agent/internal/supervise"
	"github.com/ssg-safe/agent/ledger"
	"github.com/ssg-safe/agent/ledger/archive"
	"github.com/ssg-safe/agent/operator"
	"github.com/ssg-safe/agent/printer"
	"github.com/ssg-safe/agent/printer/emulator"
	"github.com/ssg-safe/agent/proposal"
	"github.com/ssg-safe/agent/queue"
	"github.com/ssg-safe/agent/store"
	"github.com/ssg-safe/agent/terminal"
	"github.com/ssg-safe/agent/ticket"
)

// wiring is a terminal before it runs: configuration, adapters, and who else
// listens. Everything that touches hardware, disk or network happens in run.
type wiring struct {
	cfg     Config
	log     *slog.Logger
	clock   *device.Clock // its floor rises as the store and the hub tell
	routes  map[string]terminal.Route
	limits  policies         // of the routes' credentials; nil: they are not counted
	printer terminal.Printer // nil: none
	screen  display.Options  // Keys and Drawn are set by run
	observe func(terminal.Event)
	drawn   func(display.Drawn)
	// interrupt is what Ctrl-C on the screen does; nil: nothing.
	interrupt func()
	// drive works the running terminal; when it ends, so does run. Nil: the
	// terminal runs until ctx ends.
	drive func(context.Context, *terminal.Terminal, *store.Store, *fleet.Link) error
	// enrol makes the terminal known to a hub on this machine; nil: the
	// configuration says all.
	enrol func(*FleetConfig, device.Identity) error
	// dial reaches the broker; nil: over the network. beside runs next to the
	// agent and is stopped after it.
	dial   func(ctx context.Context, network, addr string) (net.Conn, error)
	beside []supervise.Component
	// private: nothing outside of this process is examined for the operator menu.
	private bool
}

// run runs the terminal until ctx ends, the driver is done, or a fault ends
// it. The screen comes first and goes last.
func (w *wiring) run(ctx context.Context) error {
	notify := supervise.NewNotifier(w.log)
	var term atomic.Pointer[terminal.Terminal]
	w.screen.Logger = w.log
	w.screen.Keys = func(k display.Key) {
		if k.Kind == display.Interrupt && w.interrupt != nil {
			w.interrupt()
			return
		}
		if t := term.Load(); t != nil {
			t.Key(k)
		}
	}
	w.screen.Drawn = func(d display.Drawn) {
		if t := term.Load(); t != nil {
			t.Drawn(d)
		}
		if w.drawn != nil {
			w.drawn(d)
		}
	}
	s := newScreen(w.cfg.Display.Kind == "none", w.screen, w.log)
	sup := supervise.New(w.log)
	sup.Add(supervise.Component{Name: "notify", Run: notify.Run})
	sup.Add(supervise.Component{Name: "display", Run: s.run})
	for _, c := range w.beside {
		sup.Add(c)
	}
	sup.Add(supervise.Component{Name: "agent", Essential: true, Run: func(ctx context.Context) error {
		return w.agent(ctx, s, notify, &term)
	}})
	return sup.Run(ctx)
}

// agent opens the data directory and runs what works on it.
func (w *wiring) agent(ctx context.Context, s *screen, notify *supervise.Notifier, term *atomic.Pointer[terminal.Terminal]) error {
	st, id, err := openData(ctx, w.cfg, w.log, func(done, total int64) {
		s.Show(display.View{State: display.Starting, Progress: int(done * 100 / max(total, 1))})
		notify.Extend(30 * time.Second)
	})
	if err != nil {
		s.Show(display.View{State: display.Error, ErrorCode: display.ErrStorage})
		return err
	}
	defer st.Close()
	clock := w.clock
	d := &desk{store: st}
	f := &front{cfg: w.cfg, device: id.Device, store: st, clock: clock, limits: w.limits, began: clock.Up(), log: w.log}
	f.open()
	var link *fleet.Link
	var pending atomic.Int64
	config := w.terminalConfig()
	config.Inspect = (&inspector{front: f, private: w.private, texts: inspectTexts(w.cfg.Terminal.Locale)}).inspect
	config.Proposals = terminal.Proposals{Device: id.Device, Seal: w.cfg.Fleet.seal()}
	config.Pending = func() int { return int(pending.Load()) }
	t, err := terminal.New(config, st, clock, s, w.printer, func(e terminal.Event) {
		d.watch(e)
		f.wake()
		if link != nil {
			if e.Kind == terminal.OperatorLocked {
				link.Event(wire.LevelWarn, "operator.locked", map[string]string{"operator": e.Operator, "failures": strconv.Itoa(e.Failures)})
			}
			link.Wake()
		}
		if w.observe != nil {
			w.observe(e)
		}
	}, w.log)
	if err != nil {
		return err
	}
	d.terminal, f.terminal = t, t
	if w.enrol != nil {
		if err := w.enrol(&w.cfg.Fleet, id); err != nil {
			return err
		}
	}
	if link, err = openLink(w.cfg.Fleet, w.dial, st, id, clock, d, func() fleet.Metrics { return telemetry(st, w.limits) }, w.log); err != nil {
		return err
	}
	f.link = link
	term.Store(t)
	w.log.Info("terminal", "device", id.Device, "code", w.cfg.Terminal.Code, "version", readBuildInfo().Version)
	sup := supervise.New(w.log)
	if why := st.Stats().ReadOnly; why != "" {
		w.log.Error("the store cannot be written; nothing new is accepted", "err", why)
		if w.drive != nil {
			return fmt.Errorf("the store cannot be written: %s", why)
		}
		notify.Ready()
		sup.Add(supervise.Component{Name: "terminal", Essential: true, Run: func(ctx context.Context) error { return t.Halt(ctx, display.ErrStorage) }})
		for _, c := range f.components() { // what is there can still be read
			sup.Add(c)
		}
		return sup.Run(ctx)
	}
	sup.Add(supervise.Component{Name: "store", Run: st.Run, Essential: true})
	book := terminal.Books(config.Merchants)
	k := &keeper{store: st, book: book, id: id, clock: clock, log: w.log}
	if dir := w.cfg.Archive.Dir; dir != "" {
		k.archive = archive.New(st, dir, w.log)
		k.consumers = append(k.consumers, archive.Consumer)
	}
	if link != nil {
		k.consumers = append(k.consumers, fleet.Consumer)
	}
	sup.Add(supervise.Component{Name: "keeper", Run: k.run})
	sup.Add(supervise.Component{Name: "closings", Run: (&closer{store: st, book: book, clock: clock, log: w.log}).run})
	sup.Add(supervise.Component{Name: "terminal", Run: t.Run, Essential: true})
	if link != nil {
		sup.Add(supervise.Component{Name: "link", Run: link.Run})
	}
	sup.Add(supervise.Component{Name: "pulse", Run: pulse(t, notify, func() {
		if link != nil {
			pending.Store(int64(link.Status().Pending))
		}
	})})
	for _, c := range f.components() {
		sup.Add(c)
	}
	if w.drive != nil {
		sup.Add(supervise.Component{Name: "driver", Essential: true, Run: func(ctx context.Context) error { return w.drive(ctx, t, st, link) }})
	}
	return sup.Run(ctx)
}

// pulse feeds the watchdog as long as the terminal's loop turns.
func pulse(t *terminal.Terminal, notify *supervise.Notifier, beat func()) func(context.Context) error {
	return func(ctx context.Context) error {
		heart := notify.Heart("terminal", 20*time.Second)
		tick := time.NewTicker(6 * time.Second)
		defer tick.Stop()
		for first := true; ; first = false {
			left, err := t.Unfinished(ctx)
			if err != nil {
				return nil
			}
			heart.Beat()
			beat()
			if first {
				notify.Ready()
			}
			notify.Status(fmt.Sprintf("%d charges open, %d slips waiting", left.Charges, left.Slips))
			select {
			case <-tick.C:
			case <-ctx.Done():
				notify.Stopping()
				return nil
			}
		}
	}
}

// storePath is the store file of a data directory.
func storePath(data string) string { return filepath.Join(data, "store.db") }

// storeOptions describe the store of a data directory.
func storeOptions(path string, log *slog.Logger) store.Options {
	migrations := slices.Concat(terminal.Migrations(), fleet.Migrations(), closing.Migrations, ticket.Migrations, proposal.Migrations)
	return store.Options{Path: path, Migrations: migrations, Verify: verifyStore, Logger: log}
}

// verifyStore is what the boot check asks beyond bbolt's own structure.
func verifyStore(tx *bbolt.Tx) error {
	if _, err := ledger.Verify(tx, ledger.Head{}); err != nil {
		return err
	}
	return errors.Join(queue.Audit(tx), terminal.Audit(tx), fleet.Verify(tx), closing.Audit(tx), ticket.Audit(tx), proposal.Audit(tx))
}

// openData opens the store and the identity of a data directory, and makes
// both in an empty one. It never makes one of the two beside the other's
// history: a store that vanished is a case for people.
func openData(ctx context.Context, cfg Config, log *slog.Logger, progress func(done, total int64)) (*store.Store, device.Identity, error) {
	fail := func(err error) (*store.Store, device.Identity, error) { return nil, device.Identity{}, err }
	dir := cfg.Data
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fail(fmt.Errorf("data directory: %w", err))
	}
	o := storeOptions(storePath(dir), log)
	o.Size, o.Progress = int64(cfg.Store.Size), progress
	id, iderr := device.LoadIdentity(dir)
	if iderr != nil && !errors.Is(iderr, fs.ErrNotExist) {
		return fail(iderr)
	}
	fresh := false
	if _, err := os.Stat(o.Path); errors.Is(err, fs.ErrNotExist) {
		if iderr == nil {
			return fail(fmt.Errorf("%s is missing, but %s has an identity: restore the store from a backup, or, if this terminal is to begin anew, move %s away",
				o.Path, dir, filepath.Join(dir, device.IdentityFile)))
		}
		fresh = true
		if err := store.Create(ctx, o); err != nil {
			return fail(err)
		}
	} else if err := store.BootCheck(ctx, o); err != nil {
		return fail(err)
	}
	st, err := store.Open(o)
	if err != nil {
		return fail(err)
	}
	if iderr != nil {
		if !fresh {
			if err := st.View(empty); err != nil {
				st.Close()
				return fail(fmt.Errorf("%s is missing: %w", filepath.Join(dir, device.IdentityFile), err))
			}
		}
		if id, err = device.CreateIdentity(dir); err != nil {
			st.Close()
			return fail(err)
		}
	}
	recorded, err := recordReset(ctx, dir, st, log)
	if err != nil {
		st.Close()
		return fail(err)
	}
	if recorded { // by a committer that has ended
		if err := st.Close(); err != nil {
			return fail(err)
		}
		if st, err = store.Open(o); err != nil {
			return fail(err)
		}
	}
	return st, id, nil
}

// empty refuses a store with history.
func empty(tx *bbolt.Tx) error {
	head, err := ledger.GetHead(tx)
	if err == nil && head.Seq > 0 {
		err = fmt.Errorf("the ledger beside it has %d entries of that identity: restore it from a backup", head.Seq)
	}
	return err
}

func (w *wiring) terminalConfig() terminal.Config {
	c := w.cfg
	out := terminal.Config{
		Code: c.Terminal.Code, Routes: w.routes, MinAmount: c.Terminal.MinAmount, MaxAmount: c.Terminal.MaxAmount,
		Expiry: c.Terminal.ChargeExpiry, Grace: c.Terminal.VerifyGrace, PaidScreen: c.Terminal.PaidScreen,
	}
	out.Offline = terminal.Offline{
		Rules: exposure.Rules{
			Policy: exposure.Policy(c.Offline.Policy), PerCharge: c.Offline.PerCharge, Sum: c.Offline.Sum, Count: c.Offline.Count, Age: c.Offline.Age,
		},
		Statement: c.Offline.Match == "statement", Watch: c.Offline.Watch,
	}
	out.Reconcile = terminal.Reconcile{
		Days: c.Reconcile.Days, Owner: c.Reconcile.Owner, Deadline: c.Reconcile.Deadline, Shared: c.Reconcile.SharedAccounts,
	}
	out.Profile, _ = printer.ProfileByName(c.Printer.Profile) // Validate knows the name
	out.Merchants = c.merchants()
	out.Operators = operator.Config{Operators: c.operators(), Locale: c.Terminal.Locale}
	return out
}

// merchants are the configured ones, as the terminal knows them.
func (c Config) merchants() []charge.Merchant {
	var out []charge.Merchant
	for _, m := range c.Merchants {
		var ways []charge.Route
		for _, w := range m.Ways() {
			ways = append(ways, charge.Route{Provider: w.Provider, Account: w.Account, Key: w.PixKey})
		}
		out = append(out, charge.Merchant{
			ID: m.ID, CNPJ: m.CNPJ, Name: m.Name, City: m.City,
			Key: ways[0].Key, Route: ways[0].Provider, Account: ways[0].Account, Others: ways[1:],
			Header: m.Header, Zone: m.Zone(), CutOff: time.Duration(m.CutOff),
		})
	}
	return out
}

// openPrinter makes the configured printer for the terminal; nil without one.
func openPrinter(cfg PrinterConfig, log *slog.Logger) (terminal.Printer, error) {
	p, err := newPrinter(cfg, log)
	if p == nil {
		return nil, err // and not an interface that holds a nil
	}
	return p, err
}

// newPrinter makes the configured printer; nil without one.
func newPrinter(cfg PrinterConfig, log *slog.Logger) (*printer.Printer, error) {
	profile, err := printer.ProfileByName(cfg.Profile)
	if err != nil {
		return nil, err
	}
	var open func(context.Context) (printer.Port, error)
	switch cfg.Kind {
	case "none":
		return nil, nil
	case "serial":
		profile.Rate = cfg.Baud / 10 // a byte is ten bits on the line
		line := device.SerialConfig{Path: cfg.Path, Baud: cfg.Baud, Flow: cfg.Flow}
		open = func(context.Context) (printer.Port, error) { return device.OpenSerial(line) }
	case "usb":
		open = func(context.Context) (printer.Port, error) { return printer.OpenUSB(cfg.Path) }
	case "tcp":
		open = func(ctx context.Context) (printer.Port, error) { return printer.DialTCP(ctx, cfg.Address) }
	case "file":
		open = func(context.Context) (printer.Port, error) { return printer.CreateFile(cfg.Path) }
	case "virtual":
		virtual := newVirtualPrinter(cfg.Path, profile.Dots, log)
		open = func(context.Context) (printer.Port, error) { return virtual.Connect(), nil }
	}
	return printer.New(open, profile, log), nil
}

// newVirtualPrinter is a printer whose paper, so many dots wide, lies in a
// directory.
func newVirtualPrinter(dir string, dots int, log *slog.Logger) *emulator.Printer {
	return emulator.New(emulator.Config{Dots: dots, ProcessID: true, Flow: true, Dir: dir, Logger: log})
}

// screen is the display, or nothing where there is no terminal to draw on.
type screen struct {
	log      *slog.Logger
	display  *display.Display // nil: headless from the start
	headless *display.Headless

	mu   sync.Mutex // guards what follows
	bare bool       // no terminal
	last display.View
}

func newScreen(headless bool, o display.Options, log *slog.Logger) *screen {
	s := &screen{log: log, headless: display.NewHeadless(o), bare: headless}
	if !headless {
		s.display = display.New(o)
	}
	return s
}

// Show implements terminal.Screen.
func (s *screen) Show(v display.View) {
	s.mu.Lock()
	s.last = v
	bare := s.bare
	s.mu.Unlock()
	if bare {
		s.headless.Show(v)
		return
	}
	s.display.Show(v)
}

func (s *screen) run(ctx context.Context) error {
	if s.display != nil {
		err := s.display.Run(ctx)
		if !errors.Is(err, display.ErrNoTerminal) {
			return err
		}
		s.log.Warn("no screen; the terminal runs without one", "err", err)
		s.mu.Lock()
		s.bare = true
		last := s.last
		s.mu.Unlock()
		s.headless.Show(last)
	}
	return s.headless.Run(ctx)
}

// title is the left end of the screen's top line.
func title(cfg Config) string {
	m, _ := cfg.Merchant("")
	if cfg.Terminal.Name != "" {
		return m.Name + " · " + cfg.Terminal.Name
	}
	return m.Name
}

// merchantClock is the wall clock of the screen's corner.
func merchantClock(cfg Config) func() time.Time {
	m, _ := cfg.Merchant("")
	zone := m.Zone()
	return func() time.Time { return time.Now().In(zone) }
}
