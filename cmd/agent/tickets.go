package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"go.etcd.io/bbolt"

	"github.com/ssg-safe/agent/charge"
	"github.com/ssg-safe/agent/device"
	"github.com/ssg-safe/agent/store"
	"github.com/ssg-safe/agent/ticket"
)

func newTicketsCmd(g *globals) *cobra.Command {
	var data string
	cmd := &cobra.Command{
		Use:   "tickets list|close --data DIRECTORY",
		Short: "What reconciliation found that a person has to deal with",
		Long: `A difference between the ledger and a provider is a ticket: money that came late,
twice, over another amount, through a code that was never shown, or on one side
only. Each has an owner and a deadline ([reconcile] in the configuration), is
opened once, and stays open until somebody closes it. docs/reconciliation.md says
what to do about each kind. The commands ask a running agent, else they open the
store.

Exit codes: 0 done, 1 failed, 2 wrong usage.`,
		Args: noArgs,
		RunE: needCommand,
	}
	dataFlag(cmd, &data)
	cmd.AddCommand(newTicketsListCmd(g, &data), newTicketsCloseCmd(g, &data))
	return cmd
}

func newTicketsListCmd(g *globals, data *string) *cobra.Command {
	var all, asJSON bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the tickets",
		Long: `List prints the open tickets, the most urgent first; with --all the closed ones as
well. With --json each is one line {"event":"ticket",…}, amounts in centavos.

Exit codes: 0 done, 1 failed, 2 wrong usage.`,
		Example: `  ssg-agent tickets list --data /var/lib/ssg-agent`,
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var answer struct {
				Tickets []ticket.Ticket `json:"tickets"`
			}
			path := "/v1/tickets"
			if all {
				path += "?all=true"
			}
			asked, err := askAgentFor(cmd.Context(), "tickets list", *data, http.MethodGet, path, nil, &answer)
			if !asked {
				err = viewStore("tickets list", *data, func(tx *bbolt.Tx) (err error) {
					answer.Tickets, err = ticket.List(tx, all)
					return err
				})
			}
			if err != nil {
				return err
			}
			if asJSON {
				return writeTickets(g.stdout, answer.Tickets)
			}
			return tabulateTickets(g.stdout, answer.Tickets, time.Now())
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "the closed ones, too")
	cmd.Flags().BoolVar(&asJSON, "json", false, "one JSON object a line")
	return cmd
}

func writeTickets(w io.Writer, list []ticket.Ticket) error {
	out := json.NewEncoder(w)
	for _, t := range list {
		err := out.Encode(struct {
			Event string `json:"event"` // ticket
			ticket.Ticket
			State string `json:"state"`
		}{"ticket", t, t.State()})
		if err != nil {
			return err
		}
	}
	return nil
}

func tabulateTickets(w io.Writer, list []ticket.Ticket, now time.Time) error {
	out := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	if len(list) > 0 {
		fmt.Fprintln(out, "TICKET\tKIND\tCHARGE\tCHARGED\tLEDGER\tPROVIDER\tREFUNDED\tPAYMENT\tOWNER\tDEADLINE\tSTATE")
	}
	var c ticket.Count
	for _, t := range list {
		state := t.State()
		switch {
		case !t.Closed.IsZero():
			state = fmt.Sprintf("%s by %s", t.How, t.By)
		case t.Overdue(now):
			state = "OVERDUE"
			c.Overdue++
			c.Open++
		default:
			c.Open++
		}
		payment := t.EndToEnd
		if payment == "" {
			payment = t.ProviderID
		}
		fmt.Fprintf(out, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", t.ID, t.Kind, orDash(string(t.Charge)), amountOrDash(t.Charged),
			amountOrDash(t.Ledger), amountOrDash(t.Received), amountOrDash(t.Refunded), orDash(payment), t.Owner, t.Deadline.Local().Format("2006-01-02 15:04"), state)
	}
	fmt.Fprintf(out, "%d open, %d overdue\n", c.Open, c.Overdue)
	return out.Flush()
}

func newTicketsCloseCmd(g *globals, data *string) *cobra.Command {
	var by, how string
	var words []string
	for _, h := range ticket.Hows() {
		words = append(words, string(h))
	}
	cmd := &cobra.Command{
		Use:   "close TICKET --by NAME --how WORD",
		Short: "Record that somebody dealt with a ticket",
		Long: `Close records in the ledger, where nothing can be taken back, who dealt with a
ticket and what became of its matter: ` + strings.Join(words, ", ") + `.
It moves no money and changes no charge. Whatever else is to be said about it
belongs elsewhere: the ledger keeps no data of persons.

Exit codes: 0 recorded, 1 failed, 2 wrong usage.`,
		Example: `  ssg-agent tickets close T3F9A1C02B7 --by ana --how refunded --data /var/lib/ssg-agent`,
		Args: func(_ *cobra.Command, args []string) error {
			if !oneID(args) {
				return usageError{errors.New("tickets close: name the ticket, as `tickets list` shows it")}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			for _, f := range []struct{ name, value string }{{"by", by}, {"how", how}} {
				if f.value == "" {
					return usageError{fmt.Errorf("tickets close: --%s is missing", f.name)}
				}
			}
			if !charge.IsPerson(by) {
				return usageError{fmt.Errorf("tickets close: --by: want a name of %s: the ledger keeps it for ever", charge.PersonForm)}
			}
			var closed ticket.Ticket
			body := map[string]string{"by": by, "how": how}
			path := "/v1/tickets/" + args[0] + "/close"
			asked, err := askAgentFor(cmd.Context(), "tickets close", *data, http.MethodPost, path, body, &closed)
			if !asked {
				closed, err = closeTicket(cmd.Context(), *data, args[0], by, ticket.How(how))
			}
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(g.stdout, "%s %s: %s, by %s\n", closed.ID, closed.Kind, closed.How, closed.By)
			return err
		},
	}
	cmd.Flags().StringVar(&by, "by", "", "who dealt with it (required)")
	cmd.Flags().StringVar(&how, "how", "", "what became of it: "+strings.Join(words, ", ")+" (required)")
	_ = cmd.RegisterFlagCompletionFunc("how", cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

// closeTicket does it in the store of a terminal that does not run.
func closeTicket(ctx context.Context, data, id, by string, how ticket.How) (closed ticket.Ticket, err error) {
	s, err := changeStore(ctx, "tickets close", data)
	if err != nil {
		return closed, err
	}
	at := stampOf(device.NewClock(buildTime()))
	err = commitAlone(ctx, s, store.Op{Name: "close ticket", Do: func(tx *bbolt.Tx) (err error) {
		closed, err = ticket.Close(tx, at, id, by, how)
		return err
	}})
	if err := errors.Join(err, s.Close()); err != nil {
		return closed, fmt.Errorf("tickets close: %w", err)
	}
	return closed, nil
}
