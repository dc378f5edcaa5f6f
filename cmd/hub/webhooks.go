package main

import (
	"cmp"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/ssg-safe/agent/hub"
)

func newWebhookCmd(g *globals) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "webhook list|show|path",
		Short: "See what providers have reported",
		Long: `Webhook shows what providers reported to the hub ([webhook] of its configuration),
and whose charge it was about. What was refused, and why, "ssg-hub status" counts.

Exit codes: 0 done, 1 failed, 2 wrong usage.`,
		Args: noArgs,
		RunE: needCommand,
	}
	data := dataFlag(cmd)
	cmd.AddCommand(newWebhookListCmd(g, data), newWebhookShowCmd(g, data), newWebhookPathCmd(g))
	return cmd
}

func newWebhookListCmd(g *globals, data *string) *cobra.Command {
	var last int
	var source, state string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the newest events",
		Long: `List prints the newest events that providers reported, oldest first: number, when,
source, event, what became of it, and the terminal and charge, or the payout,
that it is about:

  waiting    no terminal has sent the charge to the hub yet
  matched    the terminal of the charge is told to ask its provider, or the hub
             asks about its own payout
  unmatched  it is about nothing that the hub knows: another account's business,
             or money that nobody asked for, of which an alarm tells

Each event is listed once, however often it came. They are kept for 90 days, and
known for ever.

With --json each is one line {"event":"webhook","n",…}.

Exit codes: 0 done, 1 failed, 2 wrong usage.`,
		Example: `  ssg-hub webhook list --last 20
  ssg-hub webhook list --state unmatched --json`,
		Args: noArgs,
	}
	jsonFlag(cmd, &asJSON)
	cmd.Flags().IntVar(&last, "last", 100, "how many to look at")
	cmd.Flags().StringVar(&source, "source", "", "only those of one `PROVIDER` of the configuration")
	cmd.Flags().StringVar(&state, "state", "", "only those that are waiting, matched or unmatched")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if last < 1 || last > 100_000 {
			return usageError{errors.New("webhook list: --last: want 1 to 100000")}
		}
		if state != "" && state != string(hub.WebhookWaiting) && state != string(hub.WebhookMatched) && state != string(hub.WebhookUnmatched) {
			return usageError{fmt.Errorf("webhook list: --state %q: want waiting, matched or unmatched", state)}
		}
		return g.withDesk(cmd.Context(), *data, func(desk *desk) error {
			var list []hub.WebhookRecord
			err := desk.store.View(cmd.Context(), func(tx hub.Tx) error {
				all, err := hub.Webhooks(tx, last)
				for _, r := range all {
					if (source == "" || r.Source == source) && (state == "" || string(r.State) == state) {
						list = append(list, r)
					}
				}
				return err
			})
			if err != nil {
				return err
			}
			return g.writeWebhooks(list, asJSON)
		})
	}
	return cmd
}

func (g *globals) writeWebhooks(list []hub.WebhookRecord, asJSON bool) error {
	w := g.stdout
	if asJSON {
		type event struct {
			Event string `json:"event"`
			hub.WebhookRecord
		}
		var events []event
		for _, r := range list {
			events = append(events, event{"webhook", r})
		}
		return encodeAll(w, events)
	}
	if len(list) == 0 {
		_, err := fmt.Fprintln(w, g.say("no webhooks"))
		return err
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, g.say("NUMBER\tRECEIVED\tSOURCE\tEVENT\tSTATE\tTERMINAL\tCHARGE OR PAYOUT")) // Flush returns its error
	for _, r := range list {
		fmt.Fprintf(t, "%d\t%s\t%s\t%s\t%s\t%s\t%s\n",
			r.N, r.At.Format(time.RFC3339), r.Source, r.Kind, g.say(string(r.State)), cmp.Or(r.Device, "-"), cmp.Or(r.Charge, r.Payout, "-"))
	}
	return t.Flush()
}

func newWebhookShowCmd(g *globals, data *string) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "show NUMBER",
		Short: "Show one event, and what became of it",
		Long: `Show prints an event: when it came, what the provider calls its subject, the hash
of its body, whose charge it is about, and whether the terminal has been told to
ask. Whether it was paid, the terminal's ledger says.

With --json it prints one line {"event":"webhook","n",…}.

Exit codes: 0 done, 1 failed, 2 wrong usage.`,
		Example: `  ssg-hub webhook show 17`,
		Args:    oneArg("the event's number"),
	}
	jsonFlag(cmd, &asJSON)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		n, err := strconv.ParseUint(args[0], 10, 64)
		if err != nil {
			return usageError{fmt.Errorf("webhook show: %q is no number of an event", args[0])}
		}
		return g.withDesk(cmd.Context(), *data, func(desk *desk) error {
			line := struct {
				Event string `json:"event"`
				hub.WebhookRecord
				Message *hub.Message `json:"message,omitempty"`
			}{Event: "webhook"}
			err := desk.store.View(cmd.Context(), func(tx hub.Tx) (err error) {
				line.WebhookRecord, line.Message, err = hub.GetWebhook(tx, n)
				return err
			})
			switch {
			case errors.Is(err, hub.ErrNotFound):
				return fmt.Errorf("%w; it never was, or is older than 90 days: ssg-hub webhook list", err)
			case err != nil:
				return err
			case asJSON:
				return json.NewEncoder(g.stdout).Encode(line)
			}
			told := "-"
			if line.Message != nil {
				told = string(line.Message.State)
			}
			r := line.WebhookRecord
			out := tabwriter.NewWriter(g.stdout, 0, 0, 2, ' ', 0)
			for _, row := range [][2]string{
				{"webhook", fmt.Sprint(r.N)},
				{"received", r.At.Format(time.RFC3339)},
				{"source", r.Source},
				{"event", r.Kind},
				{"subject", cmp.Or(strings.Join(r.Names, " "), "-")},
				{"body", "SHA-256 " + r.Digest},
				{"state", g.say(string(r.State))},
				{"terminal", cmp.Or(r.Device, "-")},
				{"charge", cmp.Or(r.Charge, "-")},
				{"payout", cmp.Or(r.Payout, "-")},
				{"told", g.say(told)},
			} {
				fmt.Fprintf(out, "%s\t%s\n", g.say(row[0]), row[1])
			}
			return out.Flush()
		})
	}
	return cmd
}

func newWebhookPathCmd(g *globals) *cobra.Command {
	return &cobra.Command{
		Use:   "path",
		Short: "Make a path that nobody can guess",
		Long: `Path prints a new random path for one [[webhook.provider]]. Put it into a file of its
own, mode 0600, and give the provider https://HOST/PATH.

Exit codes: 0 done, 2 wrong usage.`,
		Example: `  ssg-hub webhook path > /etc/ssg-hub/secrets/bspay.path`,
		Args:    noArgs,
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprintln(g.stdout, rand.Text())
			return err
		},
	}
}
