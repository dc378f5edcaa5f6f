package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"go.etcd.io/bbolt"

	"github.com/ssg-safe/agent/charge"
	"github.com/ssg-safe/agent/device"
	"github.com/ssg-safe/agent/ledger"
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
settle them with the bank's statement where the provider cannot list them.

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
The code's txid is the charge's id. The agent must not be running; what it waits
for stands in its status, too (docs/local-api.md). With --json each is one line
{"event":"unfound","charge",…}, amounts in centavos.

Exit codes: 0 done, 1 failed, 2 wrong usage.`,
		Example: `  ssg-agent offline list --data /var/lib/ssg-agent`,
		Args:    noArgs,
		RunE: func(*cobra.Command, []string) error {
			var list []charge.Charge
			err := viewStore("offline list", *data, func(tx *bbolt.Tx) (err error) {
				list, err = terminal.Unfound(tx)
				return err
			})
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
only. The agent must not be running.

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
			}
			s, err := openStore("offline match", *data, store.Open)
			if err != nil {
				return err
			}
			fact, err := matchStatement(cmd.Context(), s, charge.ID(args[0]), paid, endToEnd, by, second)
			if err := errors.Join(err, s.Close()); err != nil {
				return fmt.Errorf("offline match: %w", err)
			}
			what := map[string]string{
				charge.PaidFact{}.Kind():         "paid",
				charge.ExtraPaymentFact{}.Kind(): "a second payment, to be given back",
				charge.MismatchFact{}.Kind():     "not settled: the amount is not the charge's",
			}[fact.Kind()]
			_, err = fmt.Fprintf(g.stdout, "%s: %s\n", fact.Subject(), what)
			return err
		},
	}
	cmd.Flags().StringVar(&amount, "amount", "", "what the statement says was paid, such as 12.34 (required)")
	cmd.Flags().StringVar(&endToEnd, "e2e", "", "end-to-end id of the payment, 32 letters and digits (required)")
	cmd.Flags().StringVar(&by, "by", "", "who found it (required)")
	cmd.Flags().StringVar(&second, "second", "", "who checked it, another person (required)")
	return cmd
}

// matchStatement does it in one transaction.
func matchStatement(ctx context.Context, s *store.Store, id charge.ID, amount money.Amount, endToEnd, by, second string) (charge.Fact, error) {
	var fact charge.Fact
	at := stampOf(device.NewClock(buildTime()))
	err := commitAlone(ctx, s, store.Op{Name: "offline match", Do: func(tx *bbolt.Tx) (err error) {
		fact, err = terminal.RecordStatement(tx, at, id, amount, endToEnd, by, second)
		return err
	}})
	if errors.Is(err, ledger.ErrConflict) {
		err = errors.New("this end-to-end id credits another charge")
	}
	return fact, err
}
