package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"go.etcd.io/bbolt"

	"github.com/ssg-safe/agent/localapi"
	"github.com/ssg-safe/agent/money"
	"github.com/ssg-safe/agent/payout"
	"github.com/ssg-safe/agent/pix"
	"github.com/ssg-safe/agent/proposal"
	"github.com/ssg-safe/agent/redact"
)

func newPayoutCmd(g *globals) *cobra.Command {
	var data string
	cmd := &cobra.Command{
		Use:   "payout propose|list|show --data DIRECTORY",
		Short: "Propose that money is paid to a PIX key, and see what became of it",
		Long: `A terminal pays nothing out. It proposes; people at the hub approve, and the hub
alone sends money (docs/payouts.md). A proposal is recorded at once, also while
there is no connection, and reaches the hub with the ledger. What the hub says of it
is recorded, too. The PIX key is sealed for the hub before it is stored: it cannot be
read again here, by anybody.

Exit codes: 0 done, 1 failed, 2 wrong usage.`,
		Args: noArgs,
		RunE: needCommand,
	}
	dataFlag(cmd, &data)
	cmd.AddCommand(newPayoutProposeCmd(g, &data), newProposalsCmd(g, &data), newProposalCmd(g, &data))
	return cmd
}

func newRefundCmd(g *globals) *cobra.Command {
	var data string
	cmd := &cobra.Command{
		Use:   "refund propose --data DIRECTORY",
		Short: "Propose that a payment is given back",
		Long: `A terminal gives nothing back by itself: it proposes, as it proposes payouts. payout
list and payout show tell of refunds, too.

Exit codes: 0 done, 1 failed, 2 wrong usage.`,
		Args: noArgs,
		RunE: needCommand,
	}
	dataFlag(cmd, &data)
	cmd.AddCommand(newRefundProposeCmd(g, &data))
	return cmd
}

// proposing are the flags of every proposal.
type proposing struct {
	amount, reference, by string
	asJSON                bool
}

func (p *proposing) flags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&p.amount, "amount", "", "reais with a dot, such as 25.00 (required)")
	cmd.Flags().StringVar(&p.reference, "reference", "", "your own `NUMBER` of it, never a person's: the same one is the same proposal (default: drawn by lot)")
	cmd.Flags().StringVar(&p.by, "by", "", "the `NAME` of who proposes it, for those who approve (required)")
	cmd.Flags().BoolVar(&p.asJSON, "json", false, "one JSON object a line")
}

// body is what the API is asked for.
func (p *proposing) body(command string) (map[string]any, error) {
	amount, err := money.Parse(p.amount)
	switch {
	case p.amount == "":
		return nil, usageError{fmt.Errorf("%s: --amount is missing", command)}
	case err != nil || amount <= 0:
		return nil, usageError{fmt.Errorf("%s: --amount %q: write reais with a dot, such as 25.00", command, p.amount)}
	case p.by == "":
		return nil, usageError{fmt.Errorf("%s: --by is missing: those who approve see who asks for it", command)}
	}
	return map[string]any{"amount": int64(amount), "reference": cmp.Or(p.reference, "cli-"+rand.Text()), "by": p.by}, nil
}

func newPayoutProposeCmd(g *globals, data *string) *cobra.Command {
	var p proposing
	var file, description, merchant string
	cmd := &cobra.Command{
		Use:   "propose --amount AMOUNT --key-file FILE --by NAME",
		Short: "Propose a payout to a PIX key",
		Long: `Propose records that money is to be paid to a PIX key, and prints the proposal's id.
The agent must be running, with a hub in its configuration; the connection may be
away. The key is read from a file or, with "-", from the standard input, because
every process can read a command line. With the same --reference and the same
content it is the same proposal; with another content it is refused.

With --json it prints one line {"event":"proposal","id","state",…}, the amount in
centavos.

Exit codes: 0 it is recorded, 1 failed, 2 wrong usage.`,
		Example: `  ssg-agent payout propose --amount 150.00 --key-file - --by ana --reference caixa-3/17 --data /var/lib/ssg-agent`,
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			const command = "payout propose"
			body, err := p.body(command)
			if err != nil {
				return err
			}
			key, err := readKey(g, file)
			if err != nil {
				return fmt.Errorf("%s: %w", command, err)
			}
			body["key"] = key.Reveal()
			if description != "" {
				body["description"] = description
			}
			if merchant != "" {
				body["merchant"] = merchant
			}
			return g.propose(cmd.Context(), command, *data, body, p)
		},
	}
	p.flags(cmd)
	cmd.Flags().StringVar(&file, "key-file", "", "a `FILE` with the PIX key; - is the standard input (required)")
	cmd.Flags().StringVar(&description, "description", "", "what the receiver reads; sealed like the key")
	cmd.Flags().StringVar(&merchant, "merchant", "", "whose money it is: the `ID` of a merchant (default: the first one)")
	return cmd
}

func newRefundProposeCmd(g *globals, data *string) *cobra.Command {
	var p proposing
	var endToEnd string
	cmd := &cobra.Command{
		Use:   "propose CHARGE --amount AMOUNT --by NAME",
		Short: "Propose that a payment of a charge is given back",
		Long: `Propose records that a payment is to be given back, whole or a part. It goes to where
it came from; nobody names a key. Of a charge with more than one payment,
--end-to-end says which. Everything else is as with payout propose.

With --json it prints one line {"event":"proposal","id","state",…}, the amount in
centavos.

Exit codes: 0 it is recorded, 1 failed, 2 wrong usage.`,
		Example: `  ssg-agent refund propose P001000000000000000000001 --amount 10.00 --by ana --data /var/lib/ssg-agent`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usageError{errors.New("refund propose: name the charge, as `ledger list` shows it")}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			const command = "refund propose"
			body, err := p.body(command)
			if err != nil {
				return err
			}
			body["charge"] = args[0]
			if endToEnd != "" {
				body["end_to_end"] = endToEnd
			}
			return g.propose(cmd.Context(), command, *data, body, p)
		},
	}
	p.flags(cmd)
	cmd.Flags().StringVar(&endToEnd, "end-to-end", "", "the end-to-end `ID` of the payment")
	return cmd
}

// readKey reads a PIX key from a file or the standard input.
func readKey(g *globals, file string) (redact.Text, error) {
	key, err := g.unseen("the key", file, 1024, "whom? Give --key-file FILE, or - for the standard input; a key on the command line could be read by every process")
	if err != nil {
		return "", err
	}
	if _, err := pix.RecogniseKey(key); err != nil { // which does not repeat it
		return "", usageError{fmt.Errorf("--key-file %s: %w", file, err)}
	}
	return redact.Text(key), nil
}

// propose asks the running agent. There is no way without it: it knows the hub.
func (g *globals) propose(ctx context.Context, command, data string, body map[string]any, p proposing) error {
	var made localapi.Proposal
	asked, err := askAgentFor(ctx, command, data, http.MethodPost, "/v1/proposals", body, &made)
	switch {
	case err != nil && p.reference == "":
		return fmt.Errorf("%w (to repeat it, add --reference %s)", err, body["reference"])
	case err != nil:
		return err
	case !asked:
		return fmt.Errorf("%s: no agent runs on %s: start it; it knows for whom the key is to be sealed", command, data)
	case p.asJSON:
		return writeProposals(g.stdout, []localapi.Proposal{made})
	}
	_, err = fmt.Fprintf(g.stdout, "%s  %s  R$ %s  %s\nreference %s\n", made.ID, made.Kind, made.Amount, made.State, made.Reference)
	return err
}

func newProposalsCmd(g *globals, data *string) *cobra.Command {
	var all, asJSON bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the proposals that are not over",
		Long: `List prints the proposals of payouts and refunds of which more is expected, and
those that somebody must look at, newest first; with --all all of them. The states
are the hub's words, as far as they have come: queued (the hub has said nothing
yet), received, awaiting_approval, approved, submitting, unknown, processing; and in
the end settled, failed, returned, rejected (by a person), refused (by the hub, at
once) or forgotten (the hub was restored from a backup).

With --json each is one line {"event":"proposal","id","state",…}.

Exit codes: 0 done, 1 failed, 2 wrong usage.`,
		Example: `  ssg-agent payout list --all --data /var/lib/ssg-agent`,
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var answer struct {
				Proposals []localapi.Proposal `json:"proposals"`
			}
			path := "/v1/proposals"
			if all {
				path += "?all=true"
			}
			asked, err := askAgentFor(cmd.Context(), "payout list", *data, http.MethodGet, path, nil, &answer)
			if !asked {
				err = viewStore("payout list", *data, func(tx *bbolt.Tx) error {
					list, err := proposal.List(tx, all)
					for _, r := range list {
						answer.Proposals = append(answer.Proposals, localapi.ViewProposal(r))
					}
					return err
				})
			}
			if err != nil {
				return err
			}
			if asJSON {
				return writeProposals(g.stdout, answer.Proposals)
			}
			return tabulateProposals(g.stdout, answer.Proposals)
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "also those that are over")
	cmd.Flags().BoolVar(&asJSON, "json", false, "one JSON object a line")
	return cmd
}

func newProposalCmd(g *globals, data *string) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "show ID",
		Short: "Show one proposal",
		Long: `Show prints a proposal and what the hub has said of it. It never shows the key.

With --json it prints one line {"event":"proposal","id","state",…}.

Exit codes: 0 done, 1 failed, 2 wrong usage.`,
		Example: `  ssg-agent payout show QH3K7WZ2M5N4T6V7B2C3D4F5G --data /var/lib/ssg-agent`,
		Args: func(_ *cobra.Command, args []string) error {
			if !oneID(args) {
				return usageError{errors.New("payout show: name the proposal, as `payout list` shows it")}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			var found localapi.Proposal
			asked, err := askAgentFor(cmd.Context(), "payout show", *data, http.MethodGet, "/v1/proposals/"+args[0], nil, &found)
			if !asked {
				err = viewStore("payout show", *data, func(tx *bbolt.Tx) error {
					r, err := proposal.Get(tx, payout.ID(args[0]))
					found = localapi.ViewProposal(r)
					return err
				})
			}
			if err != nil {
				return err
			}
			if asJSON {
				return writeProposals(g.stdout, []localapi.Proposal{found})
			}
			return printProposal(g.stdout, found)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "one JSON object a line")
	return cmd
}

func writeProposals(w io.Writer, list []localapi.Proposal) error {
	out := json.NewEncoder(w)
	for _, p := range list {
		err := out.Encode(struct {
			Event string `json:"event"` // proposal
			localapi.Proposal
		}{"proposal", p})
		if err != nil {
			return err
		}
	}
	return nil
}

func tabulateProposals(w io.Writer, list []localapi.Proposal) error {
	if len(list) == 0 {
		_, err := fmt.Fprintln(w, "no proposals")
		return err
	}
	out := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(out, "ID\tMADE\tKIND\tAMOUNT\tSTATE\tREFERENCE\tBY")
	for _, p := range list {
		state := string(p.State)
		if p.Contradiction != "" {
			state += " (contradicted)"
		}
		fmt.Fprintf(out, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", p.ID, p.MadeAt.Local().Format("2006-01-02 15:04"), p.Kind, p.Amount, state, p.Reference, p.By)
	}
	return out.Flush()
}

func printProposal(w io.Writer, p localapi.Proposal) error {
	heard := ""
	if !p.HeardAt.IsZero() {
		heard = p.HeardAt.Local().Format(time.RFC3339)
	}
	out := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, row := range [][2]string{
		{"id", string(p.ID)},
		{"kind", string(p.Kind)},
		{"state", string(p.State)},
		{"reason", p.Reason},
		{"contradiction", p.Contradiction},
		{"amount", p.Amount.String()},
		{"merchant", p.Merchant},
		{"charge", p.Charge},
		{"payment", p.EndToEnd},
		{"reference", p.Reference},
		{"proposed by", p.By + " (" + p.Source + ")"},
		{"proposed", p.MadeAt.Local().Format(time.RFC3339)},
		{"newest word of the hub", heard},
		{"end-to-end id", p.Sent},
	} {
		if row[1] != "" {
			fmt.Fprintf(out, "%s\t%s\n", row[0], row[1])
		}
	}
	return out.Flush()
}
