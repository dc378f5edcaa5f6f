package main

import (
	"cmp"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/ssg-safe/agent/device"
	"github.com/ssg-safe/agent/money"
	"github.com/ssg-safe/agent/reconcile"
	"github.com/ssg-safe/agent/store"
	"github.com/ssg-safe/agent/terminal"
)

type reconcileOptions struct {
	data, file, provider, from, to string
	all, json, csv                 bool
}

func newReconcileCmd(g *globals) *cobra.Command {
	o := &reconcileOptions{}
	cmd := &cobra.Command{
		Use:   "reconcile --config FILE [--from T] [--to T]",
		Short: "Compare the ledger with what the providers say",
		Long: `Reconcile compares the charges of a window of time, and the payments that the
ledger has for them, with what each provider lists; a provider without a list is
asked about every charge. Every payment ends on one line, and the sums of both
sides stand below (docs/reconciliation.md tells the classes and what to do).

--from and --to are days of the first merchant, such as 2026-03-01 (--to is the
last day), or times by RFC 3339. Without them it compares the last 24 hours.

A running agent is asked to do it (through its control.sock), which takes no secret
of the configuration here: what it learns is recorded, and differences become
tickets, as by its own schedule. Where none runs the providers are asked with the
credentials of the configuration, and nothing is recorded.

The table leaves out the lines on which both sides agree; --all shows them. With
--json every line is {"event":"line",…}, the sums of each merchant and provider
{"event":"sums",…}, and the last line {"event":"summary",…}; with --csv there are
the lines alone. Amounts in both are centavos.

Exit codes: 0 both sides agree, or the tickets of all differences are closed;
1 there are differences, or the comparison is not whole, or it failed; 2 wrong
usage or configuration.`,
		Example: `  ssg-agent reconcile --config /etc/ssg-agent/agent.toml
  ssg-agent reconcile --config agent.toml --from 2026-11-01 --to 2026-11-30 --csv > november.csv`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return o.run(cmd.Context(), g) },
	}
	fs := cmd.Flags()
	fs.StringVarP(&o.file, "config", "c", "", "the configuration `FILE` (required)")
	fs.StringVar(&o.data, "data", "", "data `DIRECTORY` of the terminal (default: the configuration's)")
	fs.StringVar(&o.provider, "provider", "", "compare with the [[provider]] of this `NAME` only")
	fs.StringVar(&o.from, "from", "", "first day, or `TIME`")
	fs.StringVar(&o.to, "to", "", "last day, or `TIME` (default: now)")
	fs.BoolVar(&o.all, "all", false, "show the lines on which both sides agree, too")
	fs.BoolVar(&o.json, "json", false, "one JSON object a line")
	fs.BoolVar(&o.csv, "csv", false, "comma-separated lines")
	cmd.MarkFlagsMutuallyExclusive("json", "csv")
	_ = cmd.MarkFlagFilename("config", "toml") // fails for unknown flags only
	return cmd
}

func (o *reconcileOptions) run(ctx context.Context, g *globals) error {
	if o.file == "" {
		return usageError{errors.New("reconcile: which terminal? Give --config FILE")}
	}
	cfg, err := loadSettings(o.file)
	if err != nil {
		return usageError{err}
	}
	if o.provider != "" {
		if _, ok := cfg.Provider(o.provider); !ok {
			return usageError{fmt.Errorf("--provider %q: the configuration has no provider of that name; see 'ssg-agent provider list'", o.provider)}
		}
	}
	zone := cfg.Merchants[0].Zone()
	window, err := windowOf(o.from, o.to, zone, time.Now())
	if err != nil {
		return usageError{fmt.Errorf("reconcile: %w", err)}
	}
	o.data = cmp.Or(o.data, cfg.Data)
	var reports []reconcile.Report
	asked := reconcileRequest{Provider: o.provider, Window: window}
	running, err := askAgentFor(ctx, "reconcile", o.data, http.MethodPost, reconcilePath, asked, &reports)
	if !running {
		reports, err = o.alone(ctx, g, window)
	}
	if err != nil {
		return err
	}
	for _, r := range reports {
		if r.Window.From.After(window.From) {
			fmt.Fprintf(g.stderr, "%s: compared from %s on; older entries of the ledger were deleted\n", r.Provider, r.Window.From.In(zone).Format("2006-01-02 15:04"))
		}
	}
	return o.tell(g.stdout, reports, zone)
}

// windowOf reads the bounds of a window.
func windowOf(from, to string, zone *time.Location, now time.Time) (w reconcile.Window, err error) {
	w = reconcile.Window{From: now.Add(-24 * time.Hour), To: now}
	bound := func(flag, text string, days int, into *time.Time) {
		if text == "" {
			return
		}
		if day, e := time.ParseInLocation(time.DateOnly, text, zone); e == nil {
			*into = day.AddDate(0, 0, days)
			return
		}
		t, e := time.Parse(time.RFC3339, text)
		if e != nil {
			err = errors.Join(err, fmt.Errorf("--%s %q: want a day such as 2026-03-01, or a time such as 2026-03-01T15:04:05-03:00", flag, text))
			return
		}
		*into = t
	}
	bound("to", to, 1, &w.To)
	if w.To.After(now) { // what is not over is compared as far as it has come
		w.To = now
	}
	w.From = w.To.Add(-24 * time.Hour)
	bound("from", from, 0, &w.From)
	w.From, w.To = w.From.UTC(), w.To.UTC()
	switch {
	case err != nil:
	case !w.From.Before(w.To):
		err = errors.New("--from is not before --to, or lies ahead")
	case w.To.Sub(w.From) > maxReconcile:
		err = fmt.Errorf("at most %d days are compared at a time: choose --from and --to closer together", maxReconcile/(24*time.Hour))
	}
	return w, err
}

// maxReconcile is the longest window. A ledger whose older entries were deleted has
// less, and is compared as far as it goes.
const maxReconcile = 92 * 24 * time.Hour

// alone compares the store of a terminal that does not run.
func (o *reconcileOptions) alone(ctx context.Context, g *globals, w reconcile.Window) ([]reconcile.Report, error) {
	cfg, _, err := loadConfig(o.file, true)
	if err != nil {
		return nil, usageError{err}
	}
	s, err := openStore("reconcile", o.data, store.OpenReadOnly)
	if err != nil {
		return nil, err
	}
	log := slog.New(slog.NewTextHandler(g.stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	clock := device.NewClock(buildTime())
	routes, err := openRoutes(cfg, nil, clock.Wall, log)
	if err != nil {
		return nil, usageError{errors.Join(err, s.Close())}
	}
	reports, err := eachProvider(cfg, o.provider, w, func() ([]reconcile.Report, error) {
		return terminal.Removed(s.View, routes, w)
	}, func(name string) (reconcile.Report, error) {
		b := terminal.BooksOf(cfg.Terminal.Code, cfg.merchants(), name, routes[name], cfg.Reconcile.SharedAccounts)
		b.Window = w
		return terminal.Compared(ctx, s.View, routes[name], b, clock.Wall())
	})
	return reports, errors.Join(err, s.Close())
}

// eachProvider compares with one provider after the other. One that fails is told
// as a problem, so that the others are compared all the same. Charges of providers
// that were removed are told, too.
func eachProvider(cfg Config, only string, w reconcile.Window, removed func() ([]reconcile.Report, error), compare func(name string) (reconcile.Report, error)) ([]reconcile.Report, error) {
	reports := []reconcile.Report{}
	for _, p := range cfg.Providers {
		if only != "" && p.Name != only {
			continue
		}
		r, err := compare(p.Name)
		switch {
		case errors.Is(err, context.Canceled), errors.Is(err, terminal.ErrBusy), errors.Is(err, terminal.ErrStopping):
			return nil, err
		case err != nil:
			r = reconcile.Report{Provider: p.Name, Window: w, Problem: reason(err), Lines: []reconcile.Line{}}
		}
		reports = append(reports, r)
	}
	if only != "" {
		return reports, nil
	}
	more, err := removed()
	return append(reports, more...), err
}

// tell prints the reports, and fails if a person has to do something.
func (o *reconcileOptions) tell(w io.Writer, reports []reconcile.Report, zone *time.Location) error {
	var err error
	switch {
	case o.json:
		err = writeReports(w, reports)
	case o.csv:
		err = writeReportsCSV(w, reports)
	default:
		err = o.tabulate(w, reports, zone)
	}
	if err != nil {
		return err
	}
	differences, problems := count(reports)
	switch {
	case problems > 0:
		return fmt.Errorf("reconcile: %d of %d comparisons are not whole; %d differences", problems, len(reports), differences)
	case differences > 0:
		return fmt.Errorf("reconcile: %d differences wait for a person; see 'ssg-agent tickets list'", differences)
	}
	return nil
}

// count counts what a person has to deal with.
func count(reports []reconcile.Report) (differences, problems int) {
	for _, r := range reports {
		if r.Problem != "" {
			problems++
		}
		for _, l := range r.Lines {
			if !l.Settled() {
				differences++
			}
		}
	}
	return differences, problems
}

func writeReports(w io.Writer, reports []reconcile.Report) error {
	out := json.NewEncoder(w)
	for _, r := range reports {
		for _, l := range r.Lines {
			err := out.Encode(struct {
				Event string `json:"event"` // line
				reconcile.Line
			}{"line", l})
			if err != nil {
				return err
			}
		}
		sums, err := r.Sum()
		if err != nil {
			return err
		}
		for _, s := range sums {
			err := out.Encode(struct {
				Event string `json:"event"` // sums
				reconcile.Sums
			}{"sums", s})
			if err != nil {
				return err
			}
		}
		err = out.Encode(struct {
			Event    string           `json:"event"` // provider
			Provider string           `json:"provider"`
			Window   reconcile.Window `json:"window"`
			Listed   bool             `json:"listed"`
			Untimed  int              `json:"untimed,omitempty"`
			Problem  string           `json:"problem,omitempty"`
			Agrees   bool             `json:"agrees"`
		}{"provider", r.Provider, r.Window, r.Listed, r.Untimed, r.Problem, r.Agrees()})
		if err != nil {
			return err
		}
	}
	differences, problems := count(reports)
	return out.Encode(struct {
		Event       string `json:"event"` // summary
		Providers   int    `json:"providers"`
		Differences int    `json:"differences"`
		Problems    int    `json:"problems"`
	}{"summary", len(reports), differences, problems})
}

// writeReportsCSV writes the lines. A cell that a spreadsheet would take for a
// formula gets an apostrophe in front.
func writeReportsCSV(w io.Writer, reports []reconcile.Report) error {
	out := csv.NewWriter(w)
	rows := [][]string{{
		"class", "merchant", "provider", "charge", "attempt", "state", "at", "charged_centavos", "ledger_centavos", "received_centavos",
		"provider_id", "end_to_end", "word", "late", "why", "ticket", "ticket_state",
		"refunded_centavos", "returned_centavos",
	}}
	cents := func(a *money.Amount) string {
		if a == nil {
			return ""
		}
		return strconv.FormatInt(int64(*a), 10)
	}
	for _, r := range reports {
		for _, l := range r.Lines {
			at, attempt := "", ""
			if !l.At.IsZero() {
				at = l.At.UTC().Format(time.RFC3339)
			}
			if l.Attempt > 0 {
				attempt = strconv.Itoa(l.Attempt)
			}
			row := []string{
				string(l.Class), l.Merchant, l.Provider, string(l.Charge), attempt, string(l.State), at,
				cents(l.Asked), cents(l.Ledger), cents(l.Received), l.ID, l.EndToEnd, l.Word, strconv.FormatBool(l.Late), l.Why, l.Ticket, l.TicketState,
				cents(l.Refunded), cents(l.Returned),
			}
			for i, cell := range row {
				row[i] = harmless(cell)
			}
			rows = append(rows, row)
		}
	}
	if err := out.WriteAll(rows); err != nil {
		return fmt.Errorf("reconcile: %w", err)
	}
	return nil
}

// harmless keeps a spreadsheet from taking a text for a formula.
func harmless(s string) string {
	if s != "" && (s[0] == '=' || s[0] == '+' || s[0] == '-' || s[0] == '@' || s[0] == '\t' || s[0] == '\r') {
		return "'" + s
	}
	return s
}

func (o *reconcileOptions) tabulate(w io.Writer, reports []reconcile.Report, zone *time.Location) error {
	for i, r := range reports {
		if i > 0 {
			fmt.Fprintln(w)
		}
		const layout = "2006-01-02 15:04"
		span := fmt.Sprintf("%s  %s to %s", r.Provider, r.Window.From.In(zone).Format(layout), r.Window.To.In(zone).Format(layout))
		if r.Problem != "" && len(r.Lines) == 0 {
			fmt.Fprintf(w, "%s  not compared: %s\n", span, r.Problem)
			continue
		}
		how := "its own list"
		if !r.Listed {
			how = "its answers, one by one: it has no list, so payments of no charge are not seen"
		}
		fmt.Fprintf(w, "%s  by %s\n", span, how)
		if r.Untimed > 0 {
			fmt.Fprintf(w, "%d payments of no charge of this time are not compared: the provider does not say when they came\n", r.Untimed)
		}
		if r.Problem != "" {
			fmt.Fprintf(w, "not whole: %s\n", r.Problem)
		}
		out := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		shown := 0
		for _, l := range r.Lines {
			if !o.all && (l.Class == reconcile.Matched || l.Class == reconcile.Unpaid || l.Class == reconcile.Elsewhere) {
				continue
			}
			if shown++; shown == 1 {
				fmt.Fprintln(out, "CLASS\tWHEN\tCHARGE\tSTATE\tCHARGED\tLEDGER\tPROVIDER\tREFUNDED\tEND-TO-END ID\tTICKET\tWHY")
			}
			when := "-"
			if !l.At.IsZero() {
				when = l.At.In(zone).Format(layout)
			}
			ticket := "-"
			if l.Ticket != "" {
				ticket = l.Ticket + " " + l.TicketState
			}
			fmt.Fprintf(out, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", l.Class, when, orDash(string(l.Charge)), orDash(string(l.State)),
				amountOrDash(l.Asked), amountOrDash(l.Ledger), amountOrDash(l.Received), refundedOf(l), orDash(cmp.Or(l.EndToEnd, l.ID)), ticket, l.Why)
		}
		if err := out.Flush(); err != nil {
			return err
		}
		if err := tabulateSums(w, r); err != nil {
			return err
		}
	}
	return nil
}

func tabulateSums(w io.Writer, r reconcile.Report) error {
	sums, err := r.Sum()
	if err != nil {
		return err
	}
	out := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(out, "MERCHANT\tCLASS\tCOUNT\tLEDGER\tPROVIDER\tWITHOUT AMOUNT\tREFUNDED\t")
	row := func(merchant, class string, t reconcile.Total) {
		fmt.Fprintf(out, "%s\t%s\t%d\t%s\t%s\t%d\t%s\t\n", orDash(merchant), class, t.Count, t.Ledger, t.Received, t.Unsaid, t.Refunded)
	}
	for _, s := range sums {
		for _, c := range reconcile.Classes() {
			if t := s.Classes[c]; t.Count > 0 {
				row(s.Merchant, string(c), t)
			}
		}
		row(s.Merchant, "total", s.Total)
	}
	if len(sums) == 0 {
		row("", "nothing", reconcile.Total{})
	}
	return out.Flush()
}

// refundedOf is what went back of a line's payment: by the ledger, and by the provider
// where that says something else.
func refundedOf(l reconcile.Line) string {
	s := amountOrDash(l.Refunded)
	if l.Returned != nil && (l.Refunded == nil || *l.Returned != *l.Refunded) {
		s += " / " + l.Returned.String()
	}
	return s
}

func amountOrDash(a *money.Amount) string {
	if a == nil {
		return "-"
	}
	return a.String()
}

// reconcileRequest is what the command line asks of a running agent.
type reconcileRequest struct {
	Provider string // "": all
	Window   reconcile.Window
}

// reconcileTime is how long the comparisons of a request may take.
const reconcileTime = 6 * time.Hour

// reconcile compares on behalf of a command.
func (f *front) reconcile(w http.ResponseWriter, r *http.Request) {
	var asked reconcileRequest
	if err := json.NewDecoder(io.LimitReader(r.Body, 4<<10)).Decode(&asked); err != nil {
		commandFailed(w, http.StatusBadRequest, err)
		return
	}
	if err := http.NewResponseController(w).SetWriteDeadline(time.Now().Add(reconcileTime)); err != nil {
		commandFailed(w, http.StatusInternalServerError, err)
		return
	}
	removed := func() ([]reconcile.Report, error) { return f.terminal.Removed(asked.Window) }
	reports, err := eachProvider(f.cfg, asked.Provider, asked.Window, removed, func(name string) (reconcile.Report, error) {
		return f.terminal.Reconcile(r.Context(), name, asked.Window)
	})
	if err != nil {
		commandFailed(w, http.StatusServiceUnavailable, err)
		return
	}
	_ = json.NewEncoder(w).Encode(reports) // the client sees an answer that is cut off
}
