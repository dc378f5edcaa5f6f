package main

import (
	"bufio"
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/ssg-safe/agent/hub"
	"github.com/ssg-safe/agent/hub/payouts"
	"github.com/ssg-safe/agent/money"
	"github.com/ssg-safe/agent/payout"
	"github.com/ssg-safe/agent/pix"
	"github.com/ssg-safe/agent/redact"
)

func newPayoutCmd(g *globals) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "payout COMMAND",
		Short: "Send money to a PIX key: propose, approve, see what became of it",
		Long: `A payout is proposed by one person and approved by another, above a limit by two
others, each with a key of his own (ssg-hub operator key). Only then the hub sends
it, once, and asks the provider until it knows what became of it. docs/payouts.md
says how it works and what to do when an outcome stays unknown.

Exit codes: 0 done, 1 failed, 2 wrong usage.`,
		Args: noArgs,
		RunE: needCommand,
	}
	data := dataFlag(cmd)
	cmd.AddCommand(newPayoutProposeCmd(g, data), newDoCmd(g, data), newAskCmd(g, data), newPayoutVerifyCmd(g, data))
	addDecisions(g, data, cmd, payout.ToKey)
	return cmd
}

func newRefundCmd(g *globals) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "refund COMMAND",
		Short: "Give a payment back: propose, approve, see what became of it",
		Long: `A refund gives back a payment that a terminal's ledger tells of, whole or in
parts, never more than was paid. It is proposed and approved as a payout is. Where
the provider can give money back, the hub does it; where it cannot, the approved
refund is a ticket: an alarm says what a person has to do, who then enters how it
ended (refund resolve).

Exit codes: 0 done, 1 failed, 2 wrong usage.`,
		Args: noArgs,
		RunE: needCommand,
	}
	data := dataFlag(cmd)
	cmd.AddCommand(newRefundProposeCmd(g, data))
	addDecisions(g, data, cmd, payout.Refund)
	return cmd
}

// addDecisions adds what payouts and refunds have in common.
func addDecisions(g *globals, data *string, cmd *cobra.Command, kind payout.Kind) {
	cmd.AddCommand(newApproveCmd(g, data, kind), newRejectCmd(g, data, kind), newResolveCmd(g, data, kind), newPayoutListCmd(g, data, kind), newPayoutShowCmd(g, data, kind))
}

// verb is how the commands of a kind begin.
func verb(kind payout.Kind) string { return string(kind) }

// decide signs a statement, here, and has it done by the hub that runs.
func (g *globals) decide(ctx context.Context, data string, sign signing, s payouts.Statement, asJSON bool) error {
	switch {
	case g.desk != nil:
		return errors.New("decisions are signed where the person is, not by the hub")
	case sign.by == "" || sign.key == "":
		return usageError{fmt.Errorf("%s: who decides? Give --by NAME and --key FILE (ssg-hub operator key makes one)", s.Do)}
	}
	key, err := hub.OpenKey(sign.key, func() (redact.Secret, error) {
		return g.passphrase(ctx, sign.passphraseFile, "Passphrase of "+sign.key+": ")
	})
	if err != nil {
		return fmt.Errorf("--key: %w", err)
	}
	s.By, s.At = sign.by, time.Now()
	signed, err := payouts.Sign(s, key)
	if err != nil {
		return usageError{fmt.Errorf("%s: %w", s.Do, err)}
	}
	if sign.printOnly {
		_, err := fmt.Fprintln(g.stdout, signed)
		return err
	}
	own := *g
	own.args, own.in = []string{"payout", "do", "--data", data}, []byte(signed)
	if asJSON {
		own.args = append(own.args, "--json")
	}
	return own.handOver(ctx, data)
}

func newDoCmd(g *globals, data *string) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "do",
		Short: "Do what somebody signed elsewhere",
		Long: `Do reads from standard input what another command printed with --print: so a
person can sign on a machine of his own, and somebody else hands it in. A
statement holds for 15 minutes, an approval for 5.

With --json it prints one line {"event":"payout","payout","state",…}.

Exit codes: 0 done, 1 failed, 2 wrong usage.`,
		Example: `  ssh ana@office ssg-hub payout approve ID DIGEST --by ana --key ana.pem --print | ssg-hub payout do`,
		Args:    noArgs,
	}
	jsonFlag(cmd, &asJSON)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if g.desk == nil {
			in, err := io.ReadAll(io.LimitReader(os.Stdin, payouts.MaxStatement+2))
			if err != nil {
				return err
			}
			own := *g
			own.in = in
			return own.handOver(cmd.Context(), *data)
		}
		g.desk.decided = true
		r, err := g.desk.book.Do(cmd.Context(), strings.TrimSpace(string(g.in)))
		if err != nil {
			return err
		}
		return g.writePayout(r, asJSON)
	}
	return cmd
}

// proposal is what payouts and refunds have in common.
func proposal(kind payout.Kind, route, amount string) (payouts.Statement, error) {
	a, err := money.Parse(amount)
	if err != nil || a <= 0 {
		return payouts.Statement{}, usageError{fmt.Errorf("%s propose: --amount %q: write reais with a dot, such as 25.00", kind, amount)}
	}
	ids, err := pix.NewTxIDs("HUB0")
	if err != nil {
		return payouts.Statement{}, err
	}
	return payouts.Statement{
		Do: payouts.Propose, Payout: payout.ID(ids.Next(time.Now())), Kind: kind, Route: route, Amount: a, Salt: rand.Text(),
	}, nil
}

func newPayoutProposeCmd(g *globals, data *string) *cobra.Command {
	var sign signing
	var route, amount, key, description string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "propose --provider P --amount AMOUNT --pix-key KEY --by NAME --key FILE",
		Short: "Propose to send money to a PIX key",
		Long: `Propose enters a payout for somebody else to approve, and prints its id and the
digest that an approval is bound to. The key that is to be paid is read from
standard input where --pix-key is "-", so that no list of processes shows it.

With --json it prints one line {"event":"payout","payout","state","digest",…}.

Exit codes: 0 it is recorded, 1 failed, 2 wrong usage.`,
		Example: `  ssg-hub payout propose --provider conta --amount 150.00 --pix-key - --description "troco" --by ana --key ~/ana.pem`,
		Args:    noArgs,
	}
	jsonFlag(cmd, &asJSON)
	sign.flags(cmd)
	cmd.Flags().StringVar(&route, "provider", "", "the [[provider]] of the hub's configuration that pays")
	cmd.Flags().StringVar(&amount, "amount", "", "reais with a dot, such as 25.00")
	cmd.Flags().StringVar(&key, "pix-key", "", "the PIX key to pay; - reads it from standard input")
	cmd.Flags().StringVar(&description, "description", "", "what the receiver reads")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		s, err := proposal(payout.ToKey, route, amount)
		if err != nil {
			return err
		}
		if key == "-" && g.desk == nil {
			line, err := bufio.NewReader(io.LimitReader(os.Stdin, 256)).ReadString('\n')
			if err != nil && !errors.Is(err, io.EOF) {
				return err
			}
			key = strings.TrimSpace(line)
		}
		if _, err := pix.RecogniseKey(key); err != nil {
			return usageError{fmt.Errorf("payout propose: --pix-key: %w", err)}
		}
		s.Key, s.Description = key, description
		return g.decide(cmd.Context(), *data, sign, s, asJSON)
	}
	return cmd
}

func newRefundProposeCmd(g *globals, data *string) *cobra.Command {
	var sign signing
	var route, amount, endToEnd string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "propose DEVICE CHARGE --provider P --end-to-end E --amount AMOUNT --by NAME --key FILE",
		Short: "Propose to give a payment back",
		Long: `Propose enters a refund of one payment of a charge, whole or a part, for somebody
else to approve. The payment must stand in the terminal's ledger, as far as the
terminal has signed it (ssg-hub export shows it). --provider is a [[provider]] of the
hub's configuration, or what the terminal calls the one that received the payment.
Where the hub has no such provider, or it cannot give money back, the refund becomes
a ticket. Any other name is an error.

With --json it prints one line {"event":"payout","payout","state","digest",…}.

Exit codes: 0 it is recorded, 1 failed, 2 wrong usage.`,
		Example: `  ssg-hub refund propose dq7m3x5zj2w4c6k8a P001000000000000000000001 --provider banco --end-to-end E182361202026010100000000000001A --amount 10.00 --by ana --key ~/ana.pem`,
		Args:    exactArgs(2, "the terminal's name and the charge's id"),
	}
	jsonFlag(cmd, &asJSON)
	sign.flags(cmd)
	cmd.Flags().StringVar(&route, "provider", "", "the provider that received the payment")
	cmd.Flags().StringVar(&amount, "amount", "", "reais with a dot, such as 25.00")
	cmd.Flags().StringVar(&endToEnd, "end-to-end", "", "the end-to-end id of the payment")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		s, err := proposal(payout.Refund, route, amount)
		if err != nil {
			return err
		}
		s.Device, s.Charge, s.EndToEnd = args[0], args[1], endToEnd
		return g.decide(cmd.Context(), *data, sign, s, asJSON)
	}
	return cmd
}

func newApproveCmd(g *globals, data *string, kind payout.Kind) *cobra.Command {
	var sign signing
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "approve ID DIGEST --by NAME --key FILE",
		Short: "Approve what somebody else proposed",
		Long: `Approve agrees to exactly what show prints: the digest binds amount, provider and
whom it goes to. Look at it first (show --reveal). It holds for five minutes and
serves for one order; whoever proposed it cannot approve it. Above the provider's
limit, and of what a terminal proposed, two people must: show says how many. With
the last approval the hub sends it.

With --json it prints one line {"event":"payout","payout","state",…}.

Exit codes: 0 done, 1 failed, 2 wrong usage.`,
		Example: "  ssg-hub " + verb(kind) + " approve HUB001JDQXM3T5001ZK3V9Q7A 3b5d…64 digits… --by bia --key ~/bia.pem",
		Args:    exactArgs(2, "the id and the digest that show prints"),
	}
	jsonFlag(cmd, &asJSON)
	sign.flags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return g.decide(cmd.Context(), *data, sign, payouts.Statement{Do: payouts.Approve, Payout: payout.ID(args[0]), Kind: kind, Digest: args[1]}, asJSON)
	}
	return cmd
}

func newRejectCmd(g *globals, data *string, kind payout.Kind) *cobra.Command {
	var sign signing
	var reason string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "reject ID --reason WHY --by NAME --key FILE",
		Short: "End a proposal",
		Long: `Reject ends what is proposed or approved and was not sent yet. Whoever proposed it
may do that too.

With --json it prints one line {"event":"payout","payout","state",…}.

Exit codes: 0 done, 1 failed, 2 wrong usage.`,
		Example: "  ssg-hub " + verb(kind) + ` reject HUB001JDQXM3T5001ZK3V9Q7A --reason "twice" --by bia --key ~/bia.pem`,
		Args:    oneArg("the id that list shows"),
	}
	jsonFlag(cmd, &asJSON)
	sign.flags(cmd)
	cmd.Flags().StringVar(&reason, "reason", "", "why; no personal data")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return g.decide(cmd.Context(), *data, sign, payouts.Statement{Do: payouts.Reject, Payout: payout.ID(args[0]), Kind: kind, Reason: reason}, asJSON)
	}
	return cmd
}

func newResolveCmd(g *globals, data *string, kind payout.Kind) *cobra.Command {
	var sign signing
	var reason, state, endToEnd, document string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "resolve ID --state STATE --reason HOW --by NAME --key FILE",
		Short: "Sign for how it ended, where the provider does not tell",
		Long: `Resolve is a person's word about something that was sent and whose outcome the
hub cannot learn: settled, with the end-to-end id of the money that left, failed
or returned, with the document that shows it. It is the last resort: ask first, and
look at the provider's panel and statement. Whoever proposed it may not.

With --json it prints one line {"event":"payout","payout","state",…}.

Exit codes: 0 done, 1 failed, 2 wrong usage.`,
		Example: "  ssg-hub " + verb(kind) + ` resolve HUB001JDQXM3T5001ZK3V9Q7A --state settled --end-to-end E182361202026010100000000000001A --reason "bank statement of 2 January" --by bia --key ~/bia.pem`,
		Args:    oneArg("the id that list shows"),
	}
	jsonFlag(cmd, &asJSON)
	sign.flags(cmd)
	cmd.Flags().StringVar(&state, "state", "", "settled, failed or returned")
	cmd.Flags().StringVar(&endToEnd, "end-to-end", "", "the end-to-end id of the money that left, 32 letters and digits")
	cmd.Flags().StringVar(&document, "document", "", "what shows it; no personal data")
	cmd.Flags().StringVar(&reason, "reason", "", "how it was found out; no personal data")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return g.decide(cmd.Context(), *data, sign, payouts.Statement{
			Do: payouts.Resolve, Payout: payout.ID(args[0]), Kind: kind, State: payout.State(state), EndToEnd: endToEnd, Document: document, Reason: reason,
		}, asJSON)
	}
	return cmd
}

func newAskCmd(g *globals, data *string) *cobra.Command {
	var theirs string
	cmd := &cobra.Command{
		Use:   "ask ID",
		Short: "Ask the provider now what became of a payout or refund",
		Long: `Ask makes the hub ask the provider at once instead of in its turn. Bspaybr tells
nothing of a payout without its reference code, which is in the provider's panel:
give it with --provider-id. The answer must bear it out. show tells what came of
it. It needs a running hub.

Exit codes: 0 it is being asked, 1 failed, 2 wrong usage.`,
		Example: `  ssg-hub payout ask HUB001JDQXM3T5001ZK3V9Q7A --provider-id 7f1c0de2`,
		Args:    oneArg("the id that list shows"),
	}
	cmd.Flags().StringVar(&theirs, "provider-id", "", "the provider's own id of it")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return g.withHub(cmd.Context(), *data, func(desk *desk) error {
			return desk.book.Hint(cmd.Context(), payout.ID(args[0]), theirs)
		})
	}
	return cmd
}

func newPayoutListCmd(g *globals, data *string, kind payout.Kind) *cobra.Command {
	var all, asJSON bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List what is not over",
		Long: `List prints what waits for an approval, is under way or has an unknown outcome,
oldest first; with --all also what is over.

With --json each is one line {"event":"payout","payout","state",…}.

Exit codes: 0 done, 1 failed, 2 wrong usage.`,
		Example: "  ssg-hub " + verb(kind) + " list --json",
		Args:    noArgs,
	}
	jsonFlag(cmd, &asJSON)
	cmd.Flags().BoolVar(&all, "all", false, "also what is over")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return g.withDesk(cmd.Context(), *data, func(desk *desk) error {
			var list []payouts.Record
			err := desk.store.View(cmd.Context(), func(tx hub.Tx) (err error) {
				list, err = payouts.List(tx, kind, all)
				return err
			})
			switch {
			case err != nil:
				return err
			case asJSON:
				var events []payoutEvent
				for _, r := range list {
					events = append(events, payoutEvent{"payout", r})
				}
				return encodeAll(g.stdout, events)
			case len(list) == 0:
				_, err := fmt.Fprintln(g.stdout, g.say("no "+string(kind)+"s"))
				return err
			}
			out := tabwriter.NewWriter(g.stdout, 0, 0, 2, ' ', 0)
			fmt.Fprintln(out, g.say("ID\tMADE\tPROVIDER\tAMOUNT\tSTATE\tPROPOSED BY\tAPPROVED BY"))
			for _, r := range list {
				fmt.Fprintf(out, "%s\t%s\t%s\t%s\t%s\t%s\t"+g.say("%s of %d")+"\n", r.ID, r.Made.Format(time.RFC3339), r.Route, r.Amount, g.stateOf(r), r.By,
					cmp.Or(strings.Join(r.ApprovedBy, ", "), g.say("nobody")), r.Approvers)
			}
			return out.Flush()
		})
	}
	return cmd
}

// stateOf is a payout's state for people.
func (g *globals) stateOf(r payouts.Record) string {
	s := g.say(string(r.State))
	switch {
	case r.Manual && r.State == payout.Unknown:
		s = g.say("ticket")
	case r.Odd:
		s += " " + g.say("(contradicted)")
	}
	return s
}

func newPayoutShowCmd(g *globals, data *string, kind payout.Kind) *cobra.Command {
	var reveal, asJSON bool
	cmd := &cobra.Command{
		Use:   "show ID",
		Short: "Show one, with all that happened to it",
		Long: `Show prints what is proposed, the digest that an approval is bound to, and the
facts so far with who decided. With --reveal it prints whom it goes to: look at it
before you approve. That part is erased some time after the end.

With --json it prints one line {"event":"payout",…}, and one {"event":"fact",…}
for each fact.

Exit codes: 0 done, 1 failed, 2 wrong usage.`,
		Example: "  ssg-hub " + verb(kind) + " show HUB001JDQXM3T5001ZK3V9Q7A --reveal",
		Args:    oneArg("the id that list shows"),
	}
	jsonFlag(cmd, &asJSON)
	cmd.Flags().BoolVar(&reveal, "reveal", false, "print whom it goes to")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return g.withDesk(cmd.Context(), *data, func(desk *desk) error {
			var r payouts.Record
			var d payout.Details
			var history []payouts.Entry
			erased := false
			err := desk.store.View(cmd.Context(), func(tx hub.Tx) (err error) {
				if r, err = payouts.Get(tx, payout.ID(args[0])); err != nil {
					return proposedOnly(tx, payout.ID(args[0]), err)
				}
				if r.Kind != kind {
					return payouts.Misnamed(r, kind)
				}
				if d, err = payouts.Details(tx, r.ID); errors.Is(err, hub.ErrNotFound) {
					erased, err = true, nil
				}
				if err != nil {
					return err
				}
				history, err = payouts.History(tx, r.ID)
				return err
			})
			if err != nil {
				return err
			}
			to := d.Key.String()
			if reveal {
				to = d.Key.Reveal() // what the flag asks for
			}
			if erased {
				to = "erased"
				if !asJSON {
					to = g.say(to)
				}
			}
			if asJSON {
				return writeShown(g.stdout, r, to, history)
			}
			return g.printShown(r, to, history)
		})
	}
	return cmd
}

type payoutEvent struct {
	Event string `json:"event"`
	payouts.Record
}

func (g *globals) writePayout(r payouts.Record, asJSON bool) error {
	if asJSON {
		return json.NewEncoder(g.stdout).Encode(payoutEvent{"payout", r})
	}
	_, err := fmt.Fprintf(g.stdout, "%s  %s  %s  %s\n%s %s\n", r.ID, r.Route, r.Amount, g.stateOf(r), g.say("digest"), r.Digest)
	return err
}

func writeShown(w io.Writer, r payouts.Record, to string, history []payouts.Entry) error {
	out := json.NewEncoder(w)
	err := out.Encode(struct {
		payoutEvent
		To string `json:"to,omitempty"`
	}{payoutEvent{"payout", r}, to})
	if err != nil {
		return err
	}
	type fact struct {
		Event string `json:"event"`
		payouts.Entry
	}
	var facts []fact
	for _, e := range history {
		facts = append(facts, fact{"fact", e})
	}
	return encodeAll(w, facts)
}

// proposedOnly says of a payout that is none what a terminal's proposal of that id is.
func proposedOnly(tx hub.Tx, id payout.ID, missing error) error {
	list, err := hub.Proposals(tx)
	if err != nil {
		return err
	}
	for _, p := range list {
		if p.ID == id && p.Reason != "" {
			return fmt.Errorf("%w: terminal %s proposes it as %s, and it is %s here: %s", missing, p.Device, p.Reference, p.State, p.Reason)
		}
		if p.ID == id {
			return fmt.Errorf("%w: terminal %s proposes it as %s, and it is %s here", missing, p.Device, p.Reference, p.State)
		}
	}
	return missing
}

func (g *globals) printShown(r payouts.Record, to string, history []payouts.Entry) error {
	origin, entry := payouts.Origin{}, ""
	if r.Proposal != nil {
		origin, entry = *r.Proposal, r.Proposal.Entry.String()
	}
	by := ""
	if r.Manual {
		by = g.say("a person, in the provider's panel")
	}
	rows := [][2]string{
		{"id", string(r.ID)},
		{"state", g.stateOf(r)},
		{"amount", r.Amount.String()},
		{"provider", r.Route},
		{"made by", by},
		{"merchant", r.Merchant},
		{"to", to},
		{"terminal", r.Device},
		{"terminal's reference", origin.Reference},
		{"terminal's entry", entry},
		{"charge", r.Charge},
		{"payment", r.EndToEnd},
		{"proposed by", r.By},
		{"approved by", strings.Join(r.ApprovedBy, ", ")},
		{"approvals needed", fmt.Sprint(r.Approvers)},
		{"digest", r.Digest},
		{"provider's id", r.ProviderID},
		{"end-to-end id", r.Paid},
		{"reason", r.Reason},
	}
	out := tabwriter.NewWriter(g.stdout, 0, 0, 2, ' ', 0)
	for _, row := range rows {
		if row[1] != "" {
			fmt.Fprintf(out, "%s\t%s\n", g.say(row[0]), row[1])
		}
	}
	for _, e := range history {
		fmt.Fprintf(out, "%s\t%s  %s\n", e.At.Format(time.RFC3339), e.Kind, e.Fact)
	}
	return out.Flush()
}

func newPayoutVerifyCmd(g *globals, data *string) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "Check the chain of payouts and refunds",
		Long: `Verify checks every fact about payouts and refunds from the first on: numbers and
hashes, that what people decided carries their signatures, and that every payout
is what its facts say. The hub does the same at its start.

With --json it prints one line {"event":"payouts_verified","entries","head","payouts"}.

Exit codes: 0 in order, 1 broken, 2 wrong usage.`,
		Example: `  ssg-hub payout verify`,
		Args:    noArgs,
	}
	jsonFlag(cmd, &asJSON)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return g.withDesk(cmd.Context(), *data, func(desk *desk) error {
			var report payouts.Report
			err := desk.store.View(cmd.Context(), func(tx hub.Tx) (err error) {
				report, err = payouts.Verify(tx)
				return err
			})
			switch {
			case err != nil:
				return err
			case asJSON:
				return json.NewEncoder(g.stdout).Encode(struct {
					Event string `json:"event"`
					payouts.Report
				}{"payouts_verified", report})
			}
			_, err = fmt.Fprintf(g.stdout, g.say("in order: %d payouts and refunds, %d facts, head %s")+"\n", report.Payouts, report.Entries, cmp.Or(report.Head, "-"))
			return err
		})
	}
	return cmd
}
