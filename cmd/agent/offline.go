package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"go.etcd.io/bbolt"

	"github.com/ssg-safe/agent/charge"
	"github.com/ssg-safe/agent/device"
	"github.com/ssg-safe/agent/money"
	"github.com/ssg-safe/agent/store"
	"github.com/ssg-safe/agent/terminal"
)

func newOfflineCmd(g *globals) *cobra.Command {
	var data string
	cmd := &cobra.Command{
		Use:   "offline",
		Short: "Charges made while the provider could not be reached",
		Long: `While a provider cannot be reached, the terminal may make codes of its own
(docs/offline.md). These commands show those whose payment was not found yet, and
settle them with the bank's statement where the provider cannot list them. They
ask the agent that runs on the data (through its control.sock), else they open the
store.

Exit codes: 0 done, 1 failed, 2 wrong usage.`,
		Args: noArgs,
		RunE: needCommand,
	}
	cmd.PersistentFlags().StringVar(&data, "data", "", "data directory of the terminal (required)")
	cmd.AddCommand(newOfflineListCmd(g, &data), newOfflineMatchCmd(g, &data))
	return cmd
}

func newOfflineListCmd(g *globals, data *string) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the charges whose payment was not found yet",
		Long: `List prints, oldest first, the charges that were made while their provider could
not be reached and that are not settled: what to look for in the bank's statement.
The code's txid is the charge's id. With --json each is one line
{"event":"unfound","charge",…}, amounts in centavos.

Exit codes: 0 done, 1 failed, 2 wrong usage.`,
		Example: `  ssg-agent offline list --data /var/lib/ssg-agent`,
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			list, err := unfound(cmd.Context(), *data)
			if err != nil {
				return err
			}
			if asJSON {
				return writeUnfound(g.stdout, list)
			}
			return tabulateUnfound(g.stdout, list)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "one JSON object a line")
	return cmd
}

func writeUnfound(w io.Writer, list []charge.Charge) error {
	out := json.NewEncoder(w)
	for _, c := range list {
		a, _ := c.Static()
		err := out.Encode(struct {
			Event    string       `json:"event"` // unfound
			Charge   charge.ID    `json:"charge"`
			Merchant string       `json:"merchant"`
			Amount   money.Amount `json:"amount"`
			State    charge.State `json:"state"`
			Made     time.Time    `json:"made"`
			Released bool         `json:"released"`
			Odd      int          `json:"odd"` // payments of another amount
		}{"unfound", c.ID, c.Merchant, c.Amount, c.State, a.At, c.Released, len(c.Payments)})
		if err != nil {
			return err
		}
	}
	return nil
}

func tabulateUnfound(w io.Writer, list []charge.Charge) error {
	out := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	var sum money.Amount
	if len(list) > 0 {
		fmt.Fprintln(out, "CHARGE\tMERCHANT\tAMOUNT\tSTATE\tMADE\tRELEASED\tODD PAYMENTS")
	}
	for _, c := range list {
		a, _ := c.Static()
		released := "no"
		if c.Released {
			released = "yes"
		}
		fmt.Fprintf(out, "%s\t%s\t%s\t%s\t%s\t%s\t%d\n", c.ID, c.Merchant, c.Amount.BRL(), c.State, a.At.Format(time.RFC3339), released, len(c.Payments))
		var err error
		if sum, err = sum.Add(c.Amount); err != nil {
			return err
		}
	}
	fmt.Fprintf(out, "%d charges over %s\n", len(list), sum.BRL())
	return out.Flush()
}

func newOfflineMatchCmd(g *globals, data *string) *cobra.Command {
	var amount, endToEnd, by, second string
	cmd := &cobra.Command{
		Use:   "match CHARGE --amount A --e2e ID --by NAME --second NAME",
		Short: "Settle a charge with a line of the bank's statement",
		Long: `Match records that a line of the bank's statement is the payment of a charge that
was made while its provider could not be reached. Two people are named: who found
it, and who checked it. Their names, the end-to-end id and the amount go into the
ledger, where nothing can be taken back.

The amount is the statement's. One that is not the charge's does not settle it; it
is recorded as such, for a person to deal with. An end-to-end id credits one charge
only.

Exit codes: 0 recorded, 1 failed, 2 wrong usage.`,
		Example: `  ssg-agent offline match T00101JZX0000000000000000 --amount 12.34 \
    --e2e E00000000202601021504abcdefghijk --by ana --second bia --data /var/lib/ssg-agent`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usageError{errors.New("offline match: name the charge, as `offline list` shows it")}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			paid, err := money.Parse(amount)
			if err != nil {
				return usageError{fmt.Errorf("offline match: --amount: %w", err)}
			}
			for _, f := range []struct{ name, value string }{{"e2e", endToEnd}, {"by", by}, {"second", second}} {
				if f.value == "" {
					return usageError{fmt.Errorf("offline match: --%s is missing", f.name)}
				}
				if f.name != "e2e" && !charge.IsPerson(f.value) {
					return usageError{fmt.Errorf("offline match: --%s: want a name of %s: the ledger keeps it for ever", f.name, charge.PersonForm)}
				}
			}
			m := match{charge.ID(args[0]), terminal.StatementLine{Amount: paid, EndToEnd: endToEnd, By: by, Second: second}}
			kind, err := matchStatement(cmd.Context(), *data, m)
			if err != nil {
				return err
			}
			what := map[string]string{
				charge.PaidFact{}.Kind():         "paid",
				charge.ExtraPaymentFact{}.Kind(): "a second payment, to be given back",
				charge.MismatchFact{}.Kind():     "not settled: the amount is not the charge's",
			}[kind]
			_, err = fmt.Fprintf(g.stdout, "%s: %s\n", m.Charge, what)
			return err
		},
	}
	cmd.Flags().StringVar(&amount, "amount", "", "what the statement says was paid, such as 12.34 (required)")
	cmd.Flags().StringVar(&endToEnd, "e2e", "", "end-to-end id of the payment, 32 letters and digits (required)")
	cmd.Flags().StringVar(&by, "by", "", "who found it (required)")
	cmd.Flags().StringVar(&second, "second", "", "who checked it, another person (required)")
	return cmd
}

// match is a charge and the line of the statement that is its payment, as it is
// asked of a running agent; matched is the answer.
type (
	match struct {
		Charge charge.ID              `json:"charge"`
		Line   terminal.StatementLine `json:"line"`
	}
	matched struct {
		Kind string `json:"kind"` // of the entry that was recorded
	}
)

// unfound asks the running agent, or reads the store.
func unfound(ctx context.Context, data string) (list []charge.Charge, err error) {
	const command = "offline list"
	if asked, err := askAgentFor(ctx, command, data, http.MethodGet, offlinePath, nil, &list); asked {
		return list, err
	}
	err = viewStore(command, data, func(tx *bbolt.Tx) (err error) {
		list, err = terminal.Unfound(tx)
		return err
	})
	return list, err
}

// matchStatement lets the running agent do it, or does it in the store, in one
// transaction. It returns the kind of the entry that was recorded.
func matchStatement(ctx context.Context, data string, m match) (kind string, err error) {
	const command = "offline match"
	var done matched
	if asked, err := askAgentFor(ctx, command, data, http.MethodPost, offlinePath, m, &done); asked {
		return done.Kind, err
	}
	s, err := changeStore(ctx, command, data)
	if err != nil {
		return "", err
	}
	at := stampOf(device.NewClock(buildTime()))
	err = commitAlone(ctx, s, store.Op{Name: command, Do: func(tx *bbolt.Tx) error {
		fact, err := terminal.RecordStatement(tx, at, m.Charge, m.Line)
		if err == nil {
			kind = fact.Kind()
		}
		return err
	}})
	if err := errors.Join(err, s.Close()); err != nil {
		return "", fmt.Errorf("%s: %w", command, err)
	}
	return kind, nil
}
