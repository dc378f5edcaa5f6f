package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"go.etcd.io/bbolt"

	"github.com/ssg-safe/agent/ledger"
	"github.com/ssg-safe/agent/localapi"
	"github.com/ssg-safe/agent/store"
)

func newLedgerCmd(g *globals) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "ledger verify|list|export --data DIRECTORY",
		Short: "Verify, list or export the ledger",
		Long: `The ledger is the chain of everything that happened at this terminal. Each
entry holds the hash of the one before, and postings that sum to zero. These
commands only read. They ask the agent that runs on the data (through its
control.sock), else they open the store.

Exit codes: 0 done, 1 failed (for verify: the chain is broken), 2 wrong usage.`,
		Args: noArgs,
		RunE: needCommand,
	}
	var data string
	dataFlag(cmd, &data)
	cmd.AddCommand(newLedgerVerifyCmd(g, &data), newLedgerListCmd(g, &data), newLedgerExportCmd(g, &data))
	return cmd
}

func newLedgerVerifyCmd(g *globals, data *string) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "Check the whole chain, its index and its cursors",
		Long: `Verify reads every entry and checks its hash, its number, its postings and its
row in the index of operations, and that head, cursors and checkpoints agree.

With --json it prints one line {"event":"ledger_verified","ok",…}.

Exit codes: 0 in order, 1 broken or not readable, 2 wrong usage.`,
		Example: `  ssg-agent ledger verify --data /var/lib/ssg-agent`,
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			report, err := verifyLedger(cmd.Context(), *data)
			if _, broken := errors.AsType[brokenLedger](err); err == nil || broken {
				err = errors.Join(writeReport(g.stdout, report, err, asJSON), err)
			}
			return err
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "one JSON object")
	return cmd
}

// brokenLedger is what is wrong with a ledger that could be read.
type brokenLedger struct{ error }

// verifyLedger asks the running agent for a check, or makes it.
func verifyLedger(ctx context.Context, data string) (report ledger.Report, err error) {
	const command = "ledger verify"
	var checked localapi.Checked
	asked, err := askAgentFor(ctx, command, data, http.MethodGet, "/v1/ledger/check", nil, &checked)
	if asked {
		if err == nil && !checked.OK {
			err = brokenLedger{fmt.Errorf("%s: %s", command, checked.Problem)}
		}
		return checked.Report, err
	}
	err = viewStore(command, data, func(tx *bbolt.Tx) (err error) {
		if report, err = ledger.Verify(tx, ledger.Head{}); err != nil {
			err = brokenLedger{err}
		}
		return err
	})
	return report, err
}

func writeReport(w io.Writer, r ledger.Report, problem error, asJSON bool) error {
	if asJSON {
		line := struct {
			Event   string `json:"event"`
			OK      bool   `json:"ok"`
			Problem string `json:"problem,omitempty"`
			ledger.Report
		}{"ledger_verified", problem == nil, "", r}
		if problem != nil {
			line.Problem = problem.Error()
		}
		return json.NewEncoder(w).Encode(line)
	}
	if problem != nil {
		return nil // main prints it
	}
	if _, err := fmt.Fprintf(w, "ok: %d entries after %v, %d bytes\nhead: %v %v\n", r.Entries, r.From.Position, r.Bytes, r.Head.Position, r.Head.Hash); err != nil {
		return err
	}
	for _, a := range ledger.Chart() {
		if sum, ok := r.Sums[a]; ok {
			if _, err := fmt.Fprintf(w, "%-16s %16s\n", a, sum); err != nil {
				return err
			}
		}
	}
	return nil
}

func newLedgerListCmd(g *globals, data *string) *cobra.Command {
	var asJSON bool
	var last int
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the entries, oldest first",
		Long: `List prints one line for each entry: position, wall clock with its quality,
kind, actor, operation, postings. With --json it prints each entry exactly as
it is stored.

Exit codes: 0 done, 1 failed, 2 wrong usage.`,
		Example: `  ssg-agent ledger list --data /var/lib/ssg-agent --last 20
  ssg-agent ledger list --data /var/lib/ssg-agent --json | jq -r .kind`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if last < 0 {
				return usageError{errors.New("ledger list: --last is less than 0")}
			}
			return withEntries(cmd.Context(), "ledger list", *data, last, func(entries iter.Seq2[ledger.Position, []byte]) error {
				if asJSON {
					return ledger.WriteJSONL(g.stdout, entries)
				}
				return listEntries(g.stdout, entries)
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "one stored entry a line")
	cmd.Flags().IntVarP(&last, "last", "n", 0, "only the last `N` entries; 0: all")
	return cmd
}

func listEntries(w io.Writer, entries iter.Seq2[ledger.Position, []byte]) error {
	out := bufio.NewWriter(w)
	for pos, raw := range entries {
		e, err := ledger.Decode(raw)
		if err != nil {
			return fmt.Errorf("entry %v: %w", pos, err)
		}
		var postings []string
		for _, p := range e.Postings {
			postings = append(postings, fmt.Sprintf("%s=%s", p.Account, p.Amount))
		}
		line := fmt.Sprintf("%-8v %s %-8s %-24s %-10s %s %s", pos, e.At.Wall.Format("2006-01-02T15:04:05Z"), e.At.Quality, e.Kind, e.Actor, e.Op, strings.Join(postings, " "))
		if _, err := fmt.Fprintln(out, strings.TrimRight(line, " ")); err != nil {
			return err
		}
	}
	return out.Flush()
}

func newLedgerExportCmd(g *globals, data *string) *cobra.Command {
	formats := []string{"jsonl", "csv"}
	format := formats[0]
	cmd := &cobra.Command{
		Use:   "export",
		Short: "Export the entries to standard output",
		Long: `Export writes all entries, oldest first.

  jsonl  every entry exactly as it is stored, one a line: the bytes that the
         chain of hashes runs over
  csv    one line for each posting (entries without postings have one line),
         amounts in centavos; text that a spreadsheet would take for a formula
         begins with an apostrophe

Exit codes: 0 done, 1 failed, 2 wrong usage.`,
		Example: `  ssg-agent ledger export --data /var/lib/ssg-agent --format csv > ledger.csv`,
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !slices.Contains(formats, format) {
				return usageError{fmt.Errorf("ledger export: format %q; there are %s", format, strings.Join(formats, " and "))}
			}
			return withEntries(cmd.Context(), "ledger export", *data, 0, func(entries iter.Seq2[ledger.Position, []byte]) error {
				if format == "csv" {
					return ledger.WriteCSV(g.stdout, entries)
				}
				return ledger.WriteJSONL(g.stdout, entries)
			})
		},
	}
	cmd.Flags().StringVar(&format, "format", format, "jsonl or csv")
	_ = cmd.RegisterFlagCompletionFunc("format", cobra.FixedCompletions(formats, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

// withEntries runs fn over the last entries (0: all) of a data directory: those
// that the running agent sends, or those in the store, opened for reading.
func withEntries(ctx context.Context, command, data string, last int, fn func(iter.Seq2[ledger.Position, []byte]) error) error {
	path := "/v1/ledger"
	if last > 0 {
		path += "?last=" + strconv.Itoa(last)
	}
	answer, err := askAgent(ctx, command, data, http.MethodGet, path, nil)
	switch {
	case err != nil:
		return err
	case answer == nil:
		return viewStore(command, data, func(tx *bbolt.Tx) error {
			var from ledger.Position
			if last > 0 {
				from, _ = ledger.Last(tx, uint64(last))
			}
			return fn(ledger.Entries(tx, from))
		})
	}
	defer answer.Body.Close()
	lines := &entryLines{in: bufio.NewReader(answer.Body)}
	if err := errors.Join(fn(lines.entries()), lines.err); err != nil {
		return fmt.Errorf("%s: %w", command, err)
	}
	return nil
}

// viewStore runs fn over the store of a data directory, opened for reading.
func viewStore(command, data string, fn func(*bbolt.Tx) error) error {
	s, err := openStore(command, data, store.OpenReadOnly)
	if err != nil {
		return err
	}
	if err := errors.Join(s.View(fn), s.Close()); err != nil {
		return fmt.Errorf("%s: %w", command, err)
	}
	return nil
}
