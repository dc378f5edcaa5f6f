package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/ssg-safe/agent/device"
	"github.com/ssg-safe/agent/payout"
	"github.com/ssg-safe/agent/providers"
	"github.com/ssg-safe/agent/terminal"
)

// abilities are what a provider can be able to do, in the order of the table that
// `provider capabilities` and docs/providers.md show.
var abilities = []struct {
	name string
	has  func(terminal.Route) bool
}{
	{"charge", func(terminal.Route) bool { return true }},
	{"status", func(terminal.Route) bool { return true }},
	{"idempotent", func(r terminal.Route) bool { return r.Caps().Idempotent }},
	{"look-up", func(r terminal.Route) bool { return r.Caps().LookUp }},
	{"code", func(r terminal.Route) bool { return !r.Caps().Codeless }},
	{"adopt", can[checkoutReader]},
	{"cancel", can[providers.Canceller]},
	{"offline codes", can[providers.StaticFinder]},
	{"payout", can[payout.Sender]},
	{"health", can[providers.HealthChecker]},
	{"balance", can[providers.BalanceReader]},
	{"transactions", can[providers.Lister]},
	{"reports", can[providers.Reporter]},
}

func can[T any](r terminal.Route) bool {
	_, ok := r.(T)
	return ok
}

// providerFlags are those of all provider commands.
type providerFlags struct {
	config, name string
	asJSON       bool
}

func newProviderCmd(g *globals) *cobra.Command {
	var f providerFlags
	cmd := &cobra.Command{
		Use:   "provider list|capabilities|health|balance|limits|fees|profile|transactions|…",
		Short: "Ask a payment provider about its account",
		Long: `Provider asks the company that makes the charges, with the credentials of a
configuration: whether it answers, what the account holds, what it costs, what
was done. What a provider can tell is in 'provider capabilities'. None of it but
adopt, which a running agent does, needs the agent's data, so it works beside one;
the requests count against the same limits.

The provider is the first merchant's unless --provider names another. Personal
data is masked in all output.

Exit codes: 0 done, 1 failed or not to be had from this provider, 2 wrong usage or
configuration.`,
		Example: `  ssg-agent provider capabilities
  ssg-agent provider balance --config /etc/ssg-agent/agent.toml
  ssg-agent provider transactions --config agent.toml --from 2026-03-01 --json`,
		Args: noArgs,
		RunE: needCommand,
	}
	fs := cmd.PersistentFlags()
	fs.StringVarP(&f.config, "config", "c", "", "the configuration `FILE`")
	fs.StringVar(&f.name, "provider", "", "the `NAME` of a [[provider]] (default: the first merchant's)")
	fs.BoolVar(&f.asJSON, "json", false, "one JSON object a line")
	_ = cmd.MarkPersistentFlagFilename("config", "toml") // fails for unknown flags only
	cmd.AddCommand(newProviderListCmd(g, &f), newCapabilitiesCmd(g, &f), newHealthCmd(g, &f), newBalanceCmd(g, &f), newTransactionsCmd(g, &f))
	for name, short := range map[string]string{
		"limits": "What can be charged and paid out", "fees": "What the provider takes", "profile": "Whose account it is",
	} {
		cmd.AddCommand(newReportCmd(g, &f, name, short))
	}
	cmd.AddCommand(newAdoptCmd(g, &f))
	cmd.AddCommand(bspayCommands(g, &f)...)
	return cmd
}

var errNoConfig = usageError{errors.New("which configuration? Give --config FILE")}

// load reads the configuration.
func (f *providerFlags) load() (Config, error) {
	if f.config == "" {
		return Config{}, errNoConfig
	}
	cfg, _, err := loadConfig(f.config, true)
	if err != nil {
		return Config{}, usageError{err}
	}
	return cfg, nil
}

// open makes the provider that the flags name.
func (f *providerFlags) open(g *globals) (terminal.Route, Config, error) {
	cfg, err := f.load()
	if err != nil {
		return nil, Config{}, err
	}
	name := cmp.Or(f.name, cfg.Merchants[0].Ways()[0].Provider)
	p, ok := cfg.Provider(name)
	if !ok {
		return nil, Config{}, usageError{fmt.Errorf("--provider %q: the configuration has no provider of that name; see 'ssg-agent provider list'", name)}
	}
	only := cfg
	only.Providers = []ProviderConfig{p}
	log := slog.New(slog.NewTextHandler(g.stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	routes, err := openRoutes(only, nil, device.NewClock(buildTime()).Wall, log)
	if err != nil {
		return nil, Config{}, usageError{err}
	}
	f.name = name
	return routes[name], cfg, nil
}

// ability opens the provider and finds what a command needs of it.
func ability[T any](g *globals, f *providerFlags, what string) (T, Config, error) {
	var none T
	route, cfg, err := f.open(g)
	if err != nil {
		return none, Config{}, err
	}
	able, ok := route.(T)
	if !ok {
		return none, Config{}, fmt.Errorf("provider %s (type %s) does not tell %s; see 'ssg-agent provider capabilities'", f.name, route.Name(), what)
	}
	return able, cfg, nil
}

// providerCmd is a command about one provider. Its example is the rest of a line.
func providerCmd(use, short, long, example string, args cobra.PositionalArgs, run func(ctx context.Context, args []string) error) *cobra.Command {
	name, _, _ := strings.Cut(use, " ")
	return &cobra.Command{
		Use: use, Short: short, Example: "  ssg-agent provider " + example, Long: long + "\n\nExit codes: 0 done, 1 failed or not to be had from this provider, 2 wrong usage or\nconfiguration.", Args: args,
		RunE: func(cmd *cobra.Command, args []string) error {
			err := run(cmd.Context(), args)
			if _, usage := errors.AsType[usageError](err); err == nil || usage {
				return err
			}
			return fmt.Errorf("provider %s: %w", name, err)
		},
	}
}

func newProviderListCmd(g *globals, f *providerFlags) *cobra.Command {
	return providerCmd("list", "List the configured providers",
		"List shows the providers of a configuration and whose charges each makes.", `list --config agent.toml`, noArgs, func(context.Context, []string) error {
			if f.config == "" {
				return errNoConfig
			}
			cfg, err := loadSettings(f.config)
			if err != nil {
				return usageError{err}
			}
			type line struct {
				Event     string   `json:"event"`
				Name      string   `json:"name"`
				Type      string   `json:"type"`
				URL       string   `json:"url"`
				Merchants []string `json:"merchants"`
			}
			var lines []line
			for _, p := range cfg.Providers {
				l := line{Event: "provider", Name: p.Name, Type: p.Type, URL: p.URL, Merchants: []string{}}
				for _, m := range cfg.Merchants {
					if m.Uses(p.Name) {
						l.Merchants = append(l.Merchants, m.ID)
					}
				}
				lines = append(lines, l)
			}
			return show(g.stdout, f.asJSON, lines, "NAME\tTYPE\tURL\tMERCHANTS", func(l line) string {
				return fmt.Sprintf("%s\t%s\t%s\t%s", l.Name, l.Type, l.URL, strings.Join(l.Merchants, ", "))
			})
		})
}

// capability is what one kind of provider can do.
type capability struct {
	Event string   `json:"event"`
	Type  string   `json:"type"`
	Can   []string `json:"can"`
}

// capabilities asks each family's adapter, as its simulator's configuration makes
// it.
func capabilities() ([]capability, error) {
	var all []capability
	for _, f := range families {
		m, p, err := f.simulated("http://127.0.0.1:1")
		if err != nil {
			return nil, err
		}
		route, err := f.open(Config{Merchants: []MerchantConfig{m}, Providers: []ProviderConfig{p}}, p, nil, slog.New(slog.DiscardHandler))
		if err != nil {
			return nil, err
		}
		c := capability{Event: "capabilities", Type: f.name}
		for _, a := range abilities {
			if a.has(route) {
				c.Can = append(c.Can, a.name)
			}
		}
		all = append(all, c)
	}
	return all, nil
}

func newCapabilitiesCmd(g *globals, f *providerFlags) *cobra.Command {
	return providerCmd("capabilities", "What each type of provider can do",
		"Capabilities shows the types of provider that this agent speaks to, and what each\ncan do. It needs no configuration; docs/providers.md explains the words.", `capabilities --json`, noArgs, func(context.Context, []string) error {
			all, err := capabilities()
			if err != nil {
				return err
			}
			return show(g.stdout, f.asJSON, all, "TYPE\tCAN", func(c capability) string {
				return c.Type + "\t" + strings.Join(c.Can, ", ")
			})
		})
}

func newHealthCmd(g *globals, f *providerFlags) *cobra.Command {
	return providerCmd("health", "Ask whether the provider answers and knows the credentials",
		"Health makes one harmless request with the configured credentials.", `health --config agent.toml`, noArgs, func(ctx context.Context, _ []string) error {
			able, _, err := ability[providers.HealthChecker](g, f, "whether it is well")
			if err != nil {
				return err
			}
			started := time.Now()
			if err := able.CheckHealth(ctx); err != nil {
				return err
			}
			took := time.Since(started).Round(time.Millisecond)
			if f.asJSON {
				return json.NewEncoder(g.stdout).Encode(map[string]any{"event": "health", "provider": f.name, "ok": true, "took_ms": took.Milliseconds()})
			}
			_, err = fmt.Fprintf(g.stdout, "%s: ok (%v)\n", f.name, took)
			return err
		})
}

func newBalanceCmd(g *globals, f *providerFlags) *cobra.Command {
	return providerCmd("balance", "What the account holds",
		"Balance shows what the account holds in each currency, as the provider writes it.", `balance --config agent.toml`, noArgs, func(ctx context.Context, _ []string) error {
			able, _, err := ability[providers.BalanceReader](g, f, "a balance")
			if err != nil {
				return err
			}
			balances, err := able.Balance(ctx)
			if err != nil {
				return err
			}
			type line struct {
				Event string `json:"event"`
				providers.Balance
			}
			var lines []line
			for _, b := range balances {
				lines = append(lines, line{"balance", b})
			}
			return show(g.stdout, f.asJSON, lines, "CURRENCY\tAVAILABLE\tBLOCKED", func(l line) string {
				return l.Currency + "\t" + l.Available + "\t" + cmp.Or(l.Blocked, "-")
			})
		})
}

func newReportCmd(g *globals, f *providerFlags, name, short string) *cobra.Command {
	return providerCmd(name, short,
		strings.ToUpper(name[:1])+name[1:]+" shows what the provider says, in its own words, with personal data masked.", name+" --config agent.toml", noArgs, func(ctx context.Context, _ []string) error {
			able, _, err := ability[providers.Reporter](g, f, name)
			if err != nil {
				return err
			}
			text, err := able.Report(ctx, name)
			if err != nil {
				return err
			}
			return f.told(g.stdout, name, text)
		})
}

// told prints a provider's own words.
func (f *providerFlags) told(w io.Writer, what string, text json.RawMessage) error {
	if f.asJSON {
		return json.NewEncoder(w).Encode(struct {
			Event string          `json:"event"`
			Data  json.RawMessage `json:"data"`
		}{what, text})
	}
	pretty, err := json.MarshalIndent(text, "", "  ")
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "%s\n", pretty)
	return err
}

func newTransactionsCmd(g *globals, f *providerFlags) *cobra.Command {
	var from, to string
	var q providers.TransactionQuery
	cmd := providerCmd("transactions", "What was done in the account",
		`Transactions lists charges, payouts and whatever else the provider has, in its own
order and words. Days begin at midnight of the first merchant's time zone; without
--from and --to the list is of the last 24 hours. With --json each is one line
{"event":"transaction",…} with the amount in centavos where it is one of BRL.`, `transactions --config agent.toml --from 2026-11-01 --to 2026-11-30`, noArgs, func(ctx context.Context, _ []string) error {
			able, cfg, err := ability[providers.Lister](g, f, "its transactions")
			if err != nil {
				return err
			}
			if q.From, q.To, err = days(from, to, cfg.Merchants[0].Zone(), time.Now()); err != nil {
				return usageError{err}
			}
			out := newListing(g.stdout, f.asJSON, "MADE\tKIND\tSTATUS\tAMOUNT\t\tID\tOUR ID")
			for t, err := range able.Transactions(ctx, q) {
				if err != nil {
					return errors.Join(out.end(), err)
				}
				made := "-"
				if !t.At.IsZero() {
					made = t.At.In(cfg.Merchants[0].Zone()).Format("2006-01-02 15:04:05")
				}
				text := fmt.Sprintf("%s\t%s\t%s\t%s\t%s\t%s\t%s", made, cmp.Or(t.Kind, "-"), t.Word, cmp.Or(t.Amount, "-"), t.Currency, t.ID, cmp.Or(t.ExternalID, "-"))
				if err := out.add(text, struct {
					Event string `json:"event"`
					providers.Transaction
				}{"transaction", t}); err != nil {
					return err
				}
			}
			return out.end()
		})
	fs := cmd.Flags()
	fs.StringVar(&from, "from", "", "first `DAY`, such as 2026-03-01")
	fs.StringVar(&to, "to", "", "last `DAY` (default: today)")
	fs.StringVar(&q.Kind, "kind", "", "only those of a `KIND`, in the provider's word")
	fs.StringVar(&q.Word, "status", "", "only those with a `STATUS`, in the provider's word")
	fs.StringVar(&q.Currency, "currency", "", "only those of a `CURRENCY`")
	return cmd
}

// days turns the first and the last day into a span of time.
func days(from, to string, zone *time.Location, now time.Time) (start, end time.Time, err error) {
	if from == "" && to == "" {
		return now.Add(-24 * time.Hour), now.Add(time.Minute), nil // the provider's clock may be ahead
	}
	day := func(flag, text string) time.Time {
		t, e := time.ParseInLocation(time.DateOnly, text, zone)
		if e != nil {
			err = errors.Join(err, fmt.Errorf("--%s %q: want a day such as 2026-03-01", flag, text))
		}
		return t
	}
	today := now.In(zone).Format(time.DateOnly)
	start, end = day("from", cmp.Or(from, to)), day("to", cmp.Or(to, today)).AddDate(0, 0, 1)
	if err == nil && !start.Before(end) {
		err = errors.New("--from is after --to")
	}
	return start, end, err
}

// listing writes lines as a table, or as JSON.
type listing struct {
	json  *json.Encoder // nil: a table
	table *tabwriter.Writer
	head  string
	n     int
}

func newListing(w io.Writer, asJSON bool, head string) *listing {
	if asJSON {
		return &listing{json: json.NewEncoder(w)}
	}
	return &listing{table: tabwriter.NewWriter(w, 0, 8, 2, ' ', 0), head: head}
}

func (l *listing) add(text string, v any) error {
	l.n++
	if l.json != nil {
		return l.json.Encode(v)
	}
	if l.n == 1 {
		text = l.head + "\n" + text
	}
	_, err := fmt.Fprintln(l.table, text)
	return err
}

func (l *listing) end() error {
	if l.json != nil {
		return nil
	}
	if l.n == 0 {
		fmt.Fprintln(l.table, "none") // Flush tells
	}
	return l.table.Flush()
}

// show writes all of a list.
func show[T any](w io.Writer, asJSON bool, lines []T, head string, text func(T) string) error {
	out := newListing(w, asJSON, head)
	for _, l := range lines {
		if err := out.add(text(l), l); err != nil {
			return err
		}
	}
	return out.end()
}
