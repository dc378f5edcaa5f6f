package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/ssg-safe/agent/device"
	"github.com/ssg-safe/agent/display"
	"github.com/ssg-safe/agent/internal/config"
	"github.com/ssg-safe/agent/operator"
	"github.com/ssg-safe/agent/printer"
	"github.com/ssg-safe/agent/providers"
	"github.com/ssg-safe/agent/providers/simkit"
	"github.com/ssg-safe/agent/terminal"
)

type demoFlags struct {
	dir      string
	headless bool
	charges  int
	json     bool
	provider string
	offline  bool
	sim      string
	faults   string
	payAfter time.Duration
	locale   string
}

func newDemoCmd(g *globals) *cobra.Command {
	var f demoFlags
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Run the whole terminal on this machine, nothing to set up",
		Long: `Runs a terminal with a simulated provider, a simulated payer, a virtual printer,
and a fleet of one: broker and hub are inside, too. Nothing real is touched: no
hardware, no network. Type an amount and press Enter; the payer pays a few
seconds after the code is shown; the slips appear as pictures in the directory's
slips folder. Esc 0 0 Esc 0 0 Enter opens the operator menu (operator 1, PIN 407193).
Ctrl-C ends it.

With --headless there is no screen: what an earlier run left open is finished,
then --charges charges are made, paid and printed, the hub gets the ledger, and
the demo ends.

With --provider basspago nothing has a code: the demo's shop opens checkouts, which
the terminal takes over by their tokens, follows, and prints the receipts of; there
are no QR codes, neither as events nor as slips.

Everything lies under --dir, the simulator's ledger and the printer's paper
included. Kill it at any moment and start it again: nothing is lost and nothing
is doubled.

Exit codes: 0 done (with --headless: every charge was paid and printed, and the
hub has the same ledger byte for byte), 1 failed, 2 wrong usage.`,
		Example: `  ssg-agent demo
  ssg-agent demo --headless --charges 5 --json
  ssg-agent demo --headless --charges 3 --faults 'create:drop_after@0.3'`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return runDemo(cmd.Context(), g, f) },
	}
	fs := cmd.Flags()
	fs.StringVar(&f.dir, "dir", "", "where everything is kept (default ssg-agent-demo in the temporary directory)")
	fs.BoolVar(&f.headless, "headless", false, "no screen: make --charges charges and end")
	fs.IntVar(&f.charges, "charges", 0, "how many charges to make by itself (default 3 with --headless, else none)")
	fs.BoolVar(&f.json, "json", false, "events as JSON lines on stdout (needs --headless)")
	fs.StringVar(&f.provider, "provider", families[0].name, "which provider to simulate: "+familyNames())
	fs.BoolVar(&f.offline, "offline", false, "cut provider and broker off in the middle of the run")
	fs.StringVar(&f.sim, "sim", "", "use the simulator that 'ssg-agent sim' serves at this `URL` instead of one inside")
	fs.StringVar(&f.faults, "faults", "", "fault script of the simulator inside (see 'ssg-agent sim --help')")
	fs.DurationVar(&f.payAfter, "pay-after", 0, "when the simulated payer pays (default 300ms with --headless, else 6s)")
	fs.StringVar(&f.locale, "locale", "pt-BR", "language of the screen: pt-BR or en")
	return cmd
}

func runDemo(ctx context.Context, g *globals, f demoFlags) error {
	kind, err := familyOf(f.provider)
	if err != nil {
		return usageError{fmt.Errorf("--provider: %w", err)}
	}
	switch {
	case f.charges < 0:
		return usageError{errors.New("--charges must not be negative")}
	case f.json && !f.headless:
		return usageError{errors.New("--json needs --headless: the screen and the events share one output")}
	case f.offline && f.charges == 0 && !f.headless:
		return usageError{errors.New("--offline needs --headless or --charges")}
	case f.sim != "" && (f.faults != "" || f.payAfter != 0):
		return usageError{errors.New("--faults and --pay-after are for the simulator inside; set them where --sim runs")}
	}
	if stdin, ok := g.stdin.(*os.File); !f.headless && (!ok || !term.IsTerminal(int(stdin.Fd()))) {
		return usageError{errors.New("there is no terminal to draw on; try: ssg-agent demo --headless --json")}
	}
	if f.headless && f.charges == 0 {
		f.charges = 3
	}
	if f.dir == "" {
		f.dir = filepath.Join(os.TempDir(), "ssg-agent-demo"+kind.suffix())
	}
	dir, err := filepath.Abs(f.dir)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("demo directory: %w", err)
	}
	for _, other := range families {
		if _, err := os.Stat(other.demoLedger(dir)); err == nil && other.name != kind.name {
			return usageError{fmt.Errorf("%s belongs to a demo of %s, whose charges %s cannot finish: use another --dir", dir, other.name, kind.name)}
		}
	}
	log, closeLog, err := demoLog(dir)
	if err != nil {
		return err
	}
	defer closeLog()
	ctx, stop := context.WithCancel(ctx)
	defer stop()

	cfg, err := demoConfig(dir, f, kind)
	if err != nil {
		return err
	}
	clock := device.NewClock(buildTime())
	transport := http.RoundTripper(providers.NewTransport(clock.Wall))
	var sim simulator // nil: one that is served elsewhere
	if f.sim == "" {
		if sim, err = openDemoSim(dir, f, kind, log); err != nil {
			return err
		}
		defer sim.Close()
		transport = providers.Memory(sim)
	} else {
		cfg.Providers[0].URL = f.sim + kind.sim.path
	}
	line := &cuttable{next: transport}
	w := &wiring{cfg: cfg, log: log, clock: clock, limits: policies{}, screen: display.Options{
		Locale: f.locale, Title: title(cfg), Demo: true, Now: merchantClock(cfg), Hint: demoHint(f.locale),
	}, interrupt: stop, private: true}
	routes, err := w.limits.open(cfg, line, nil, log)
	if err != nil {
		return usageError{err}
	}
	w.routes = map[string]terminal.Route{}
	for name, r := range routes {
		w.routes[name] = hurry(r)
	}
	profile, err := printer.ProfileByName(cfg.Printer.Profile)
	if err != nil {
		return err
	}
	paper := newVirtualPrinter(filepath.Join(dir, "slips"), profile.Dots, log)
	w.printer = printer.New(func(context.Context) (printer.Port, error) { return paper.Connect(), nil }, profile, log)

	out := io.Discard
	if f.headless {
		out = g.stdout
	}
	h, err := openDemoHub(dir, line, log)
	if err != nil {
		return err
	}
	defer h.store.Close()
	w.beside, w.dial = h.components(), h.dial
	w.enrol = func(c *FleetConfig, id device.Identity) error { return h.enrol(ctx, c, id) }
	d := newDriver(f, out, paper, line, h, sim, routes[kind.name].Caps().Codeless)
	w.observe, w.drawn = d.observe, d.drawn
	if f.charges > 0 {
		w.drive = d.drive
	}
	err = w.run(ctx)
	if !f.headless {
		fmt.Fprintf(g.stderr, "The slips are in %s\n", filepath.Join(dir, "slips"))
	}
	return err
}

// demoConfig is what a configuration file would say.
func demoConfig(dir string, f demoFlags, kind family) (Config, error) {
	c := defaultConfig()
	c.Version = 1
	c.Data = dir
	c.Terminal.Code, c.Terminal.Name, c.Terminal.Locale = "DEMO", "Terminal 1", f.locale
	c.Store.Size = 16 << 20
	m, p, err := kind.simulated("http://simulator.invalid")
	if err != nil {
		return Config{}, err
	}
	m.ID, m.Name, m.Header = "demo", "Cofre Demonstração", []string{"Rua Exemplo, 1 - Centro", "São Paulo - SP"}
	p.RequestsPerSecond = 100
	c.Merchants, c.Providers = []MerchantConfig{m}, []ProviderConfig{p}
	c.Printer.Kind, c.Printer.Path = "virtual", filepath.Join(dir, "slips")
	c.Operators = []OperatorConfig{{
		ID: demoOperator, Name: "Demo", Role: string(operator.Technician), PIN: config.Secret{Source: "inline", Value: demoHash},
	}}
	if f.headless {
		c.Display.Kind = "none"
	}
	return c, nil
}

// The demo's one operator. The hash is of demoPIN, and no secret.
const (
	demoOperator = "1"
	demoPIN      = "407193"
	demoHash     = "$argon2id$v=19$m=12288,t=3,p=1$c2FsdHNhbHRzYWx0c2FsdA$uet19jfoemc+4zcuzYy1sFwfZnYXqyzyG6klLVwPjLc"
)

// demoHint says on the idle screen how the operator menu is opened.
func demoHint(locale string) string {
	const keys = "ESC\u00a00\u00a00\u00a0ESC\u00a00\u00a00\u00a0ENTER" // does not break
	if locale == "en" {
		return "Operator menu: " + keys + ", number " + demoOperator + ", PIN " + demoPIN
	}
	return "Menu do operador: " + keys + ", número " + demoOperator + ", PIN " + demoPIN
}

// suffix tells the directories of one provider from those of another.
func (f family) suffix() string {
	if f.name == families[0].name {
		return ""
	}
	return "-" + f.name
}

// demoLedger is where the demo's simulator keeps its ledger.
func (f family) demoLedger(dir string) string { return filepath.Join(dir, "simulator"+f.suffix()) }

func openDemoSim(dir string, f demoFlags, kind family, log *slog.Logger) (simulator, error) {
	rules, err := simkit.ParseRules(f.faults)
	if err == nil {
		err = kind.sim.rules.Check(rules...)
	}
	if err != nil {
		return nil, usageError{fmt.Errorf("--faults: %w", err)}
	}
	o := simOptions{
		dir: kind.demoLedger(dir), payAfter: f.payAfter, tokenLife: kind.sim.tokenLife, payee: "COFRE DEMONSTRACAO", faults: rules, log: log,
	}
	if o.payAfter == 0 {
		o.payAfter = 6 * time.Second
		if f.headless {
			o.payAfter = 300 * time.Millisecond
		}
	}
	s, err := kind.sim.open(o)
	if err != nil {
		return nil, fmt.Errorf("simulator: %w", err)
	}
	return s, nil
}

// demoLog writes to a file: the screen or the events have the terminal.
func demoLog(dir string) (*slog.Logger, func(), error) {
	file, err := os.OpenFile(filepath.Join(dir, "agent.log"), os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, nil, fmt.Errorf("log: %w", err)
	}
	return slog.New(slog.NewTextHandler(file, nil)), func() { file.Close() }, nil
}

// hurry makes a route impatient, with the abilities it has.
func hurry(r terminal.Route) terminal.Route {
	if f, ok := r.(providers.StaticFinder); ok {
		return struct {
			impatient
			providers.StaticFinder
		}{impatient{r}, f}
	}
	return impatient{r}
}

// impatient asks a provider more often than it should be asked in earnest,
// because the demo's payer pays at once.
type impatient struct{ terminal.Route }

// Caps implements providers.Provider.
func (p impatient) Caps() providers.Caps {
	c := p.Route.Caps()
	c.Poll.Open = []providers.PollStep{{Every: 100 * time.Millisecond}}
	return c
}
