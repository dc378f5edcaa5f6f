package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"go.etcd.io/bbolt"

	"github.com/ssg-safe/agent/closing"
	"github.com/ssg-safe/agent/device"
	"github.com/ssg-safe/agent/ledger"
	"github.com/ssg-safe/agent/store"
	"github.com/ssg-safe/agent/terminal"
)

// closingOptions are the flags of all closing commands.
type closingOptions struct {
	data, file, merchant string
	print, json          bool
}

func newClosingCmd(g *globals) *cobra.Command {
	o := &closingOptions{}
	cmd := &cobra.Command{
		Use:   "closing x|z|list --data DIRECTORY",
		Short: "Look at the running business day, close it, list closings",
		Long: `A closing sums up what has happened to a merchant since the one before: charges
and money by provider and state. It is a ledger entry, has a number of its own
without gaps, and is never opened again; what becomes known later belongs to the
next one. The agent closes every business day by itself when it is over (cut_off
in [[merchant]]) and the clock is right.

These commands ask the agent that runs on the data (through its control.sock),
else they open the store; then x and z need --config as well, which tells the
merchants and their cut-offs. Only a running agent can print (--print).

Exit codes: 0 done, 1 failed, 2 wrong usage or configuration.`,
		Args: noArgs,
		RunE: needCommand,
	}
	dataFlag(cmd, &o.data)
	flags := cmd.PersistentFlags()
	flags.StringVarP(&o.merchant, "merchant", "m", "", "the merchant's `ID`; without it the first one")
	flags.BoolVar(&o.json, "json", false, "one JSON object a line")
	cmd.AddCommand(
		newClosingReportCmd(g, o, "x", "Look at the running business day",
			`X prints what has happened since the last closing and changes nothing.`),
		newClosingReportCmd(g, o, "z", "Close the running business day",
			`Z closes what has happened since the last closing, records it and prints it. Where
nothing has happened there is nothing to close.`),
		newClosingListCmd(g, o),
	)
	return cmd
}

func newClosingReportCmd(g *globals, o *closingOptions, name, short, long string) *cobra.Command {
	cmd := &cobra.Command{
		Use:   name,
		Short: short,
		Long: long + `

With --json it prints one line, the report as the ledger has it: numbers of
charges and sums in centavos.

Exit codes: 0 done, 1 failed, 2 wrong usage or configuration.`,
		Example: fmt.Sprintf("  ssg-agent closing %s --data /var/lib/ssg-agent --merchant loja", name),
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			r := terminal.ClosingRequest{Merchant: o.merchant, Z: name == "z", Print: o.print, By: "operator"}
			var report closing.Report
			asked, err := askAgentFor(cmd.Context(), "closing "+name, o.data, http.MethodPost, closingPath, r, &report)
			if !asked {
				report, err = o.alone(cmd.Context(), "closing "+name, r)
			}
			if err != nil {
				return err
			}
			return writeClosing(g.stdout, report, o.json)
		},
	}
	cmd.Flags().BoolVar(&o.print, "print", false, "print it, too")
	cmd.Flags().StringVarP(&o.file, "config", "c", "", "the configuration `FILE`, where no agent runs")
	_ = cmd.MarkFlagFilename("config", "toml") // fails for unknown flags only
	return cmd
}

// alone does an X, or a Z, on the store of a terminal that does not run.
func (o *closingOptions) alone(ctx context.Context, command string, r terminal.ClosingRequest) (report closing.Report, err error) {
	switch {
	case o.print:
		return report, fmt.Errorf("%s: no agent runs on %s, and only a running one prints: leave out --print", command, o.data)
	case o.file == "":
		return report, usageError{fmt.Errorf("%s: no agent runs on %s: give --config FILE, too", command, o.data)}
	}
	cfg, err := loadSettings(o.file)
	if err != nil {
		return report, usageError{err}
	}
	if m, ok := cfg.Merchant(r.Merchant); ok {
		r.Merchant = m.ID
	}
	var s *store.Store
	if r.Z {
		s, err = changeStore(ctx, command, o.data)
	} else {
		s, err = openStore(command, o.data, store.OpenReadOnly)
	}
	if err != nil {
		return closing.Report{}, err
	}
	at, book := stampOf(device.NewClock(buildTime())), terminal.Books(cfg.merchants())
	do := func(tx *bbolt.Tx) (err error) {
		report, err = terminal.CloseBooks(tx, at, book, r)
		return err
	}
	if r.Z {
		err = commitAlone(ctx, s, store.Op{Name: command, Frees: true, Do: do})
	} else {
		err = s.View(do)
	}
	if err := errors.Join(err, s.Close()); err != nil {
		return closing.Report{}, fmt.Errorf("%s: %w", command, err)
	}
	return report, nil
}

// commitAlone commits an operation to a store that nobody else works on.
func commitAlone(ctx context.Context, s *store.Store, op store.Op) error {
	running, stop := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = s.Run(running) // Commit returns its error
	}()
	err := s.Commit(ctx, op)
	stop()
	<-ended
	return err
}

func writeClosing(w io.Writer, r closing.Report, asJSON bool) error {
	if asJSON {
		return json.NewEncoder(w).Encode(r)
	}
	name := "X"
	if r.Number > 0 {
		name = fmt.Sprintf("Z %d", r.Number)
	}
	if _, err := fmt.Fprintf(w, "%s  %s  %s  entries after %v up to %v\n", r.Merchant, name, r.Date, r.From, r.To); err != nil {
		return err
	}
	out := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	for _, l := range r.Lines {
		for _, row := range []struct {
			name string
			closing.Total
		}{
			{"paid", l.Paid},
			{"late", l.Late},
			{"extra", l.Extra},
			{"mismatch", l.Mismatch},
			{"refunded", l.Refunded},
			{"refund, unmatched", l.Unmatched},
			{"created", l.Created},
			{"expired", l.Expired},
			{"cancelled", l.Cancelled},
			{"failed", l.Failed},
		} {
			if row.Count > 0 {
				fmt.Fprintf(out, "%s\t%s\t%d\t%s\t\n", orDash(l.Provider), row.name, row.Count, row.Sum)
			}
		}
	}
	fmt.Fprintf(out, "\treceived\t\t%s\t\n", r.Received())
	if back := r.Returned(); back.Count > 0 {
		fmt.Fprintf(out, "\treturned\t\t%s\t\n", back.Sum)
	}
	return out.Flush()
}

func newClosingListCmd(g *globals, o *closingOptions) *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List the closings that the ledger has",
		Long: `List prints the closings of one merchant (--merchant), or of all, oldest first, as
far as their entries were not pruned.

Exit codes: 0 done, 1 failed, 2 wrong usage or configuration.`,
		Example: `  ssg-agent closing list --data /var/lib/ssg-agent --json`,
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return withEntries(cmd.Context(), "closing list", o.data, 0, func(entries iter.Seq2[ledger.Position, []byte]) error {
				none := true
				for pos, raw := range entries {
					e, err := ledger.Decode(raw)
					if err != nil {
						return fmt.Errorf("entry %v: %w", pos, err)
					}
					var r closing.Report
					if e.Kind != closing.Kind {
						continue
					}
					if err := json.Unmarshal(e.Data, &r); err != nil {
						return fmt.Errorf("entry %v: %w", pos, err)
					}
					if o.merchant != "" && r.Merchant != o.merchant {
						continue
					}
					none = false
					if err := writeClosing(g.stdout, r, o.json); err != nil {
						return err
					}
				}
				if none && !o.json {
					_, err := fmt.Fprintln(g.stdout, "no closings; 'closing x' shows the running day")
					return err
				}
				return nil
			})
		},
	}
}
