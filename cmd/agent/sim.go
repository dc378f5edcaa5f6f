package main

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// simFlags are the flags of sim.
type simFlags struct {
	provider, listen, dir, faults string
	printer                       string
	payAfter, tokenLife           time.Duration
	payFraction                   float64
	seed                          uint64
	asJSON                        bool
	modes                         []string
	locationHost, webhooks        string
}

func newSimCmd(g *globals) *cobra.Command {
	var f simFlags
	cmd := &cobra.Command{
		Use:   "sim [--provider P] [--listen ADDR] [--dir DIR] [--printer DIR]",
		Short: "Serve a simulated payment provider, and a printer on a serial line",
		Long: `Sim serves a payment provider that is none: it answers as the provider's document
says, moves no money, and pays charges by itself (--pay-after, counted from the
moment the terminal first asks for a charge's status). Its own ledger lies in
--dir and survives a kill; without --dir it is kept in memory. It prints its
address, the credentials to use and the configuration that belongs to them, then
serves until it is interrupted.

With --printer DIR there is a virtual printer, too, on a serial line of its own:
DIR/tty is the line, and the slips fall into DIR as pictures and bytes. It prints
at the speed of a real one and confirms its slips.

Faults (--faults, or PUT /sim/faults while it runs) are rules separated by commas:

  ROUTE:FAULT[=ARG][@CHANCE|*NEXT]

ROUTE is one of the simulator's, or * for all of them:

` + simRoutes() + `
The rule holds always, with a chance from 0 to 1, or for the next so many requests.
Before anything was done:

  latency=50ms, latency=50ms..2s, drop_before, http=500, rate=7s and rate_date=7s
  (429 with Retry-After as seconds or date), html, redirect

after it was done, so that the terminal cannot know:

  drop_after, error_after=500, html_after, truncate, cut, huge, gzip, slow=10s

and, where the simulator has them, answers that are wrong: word=W (status word),
echo (about another charge), code=crc|cut|gui|amount|host|foreign_key|recurrence
(the BR Code). "@FILE" reads the rules from a file; a JSON array of rules is
understood too.

With --provider all every simulator is served, each at an address of its own: with
consecutive ports from that of --listen on, or free ones with port 0. --dir then has
a directory for each, and webhooks go to --webhooks URL/PROVIDER.

With --webhooks URL the provider reports what happens by webhooks, signed with
secrets that docs/providers.md lists. One that has a callback address of its own
goes to that path at the URL's host, the others to the URL. What is not answered
by 2xx within ten seconds comes again as the provider does it. Rules of the route
webhook spoil them on their way or as such:

  drop, duplicate, duplicate=6 (at once), reorder, delay=30s, form=FORM

` + simSpoils() + `
GET /sim/webhooks shows what is due, GET /sim/deliveries what was attempted.

Control: GET /sim/ledger, /sim/requests, /sim/faults; PUT and DELETE
/sim/faults; POST /sim/charges/ID/pay, /sim/charges/ID/expire, /sim/tokens/revoke;
with a printer POST /sim/printer/EVENT: close-cover, end-paper, load-paper,
open-cover, power-off, power-on.
Everyone who reaches the address can use it: keep it on this machine.

Exit codes: 0 interrupted, 1 failed, 2 wrong usage.`,
		Example: `  ssg-agent sim
  ssg-agent sim --dir /tmp/sim --faults 'create:drop_after@0.05,status:latency=50ms..2s'
  ssg-agent sim --provider all --listen 127.0.0.1:8100
  ssg-agent sim --provider bspay --webhooks http://127.0.0.1:8090/wh/bspay --faults 'webhook:duplicate@0.2'
  ssg-agent sim --printer /tmp/ssg-agent-simulator/printer
  curl -X POST http://127.0.0.1:8089/sim/charges/ID/pay
  curl -X POST http://127.0.0.1:8089/sim/printer/end-paper`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !cmd.Flags().Changed("seed") {
				// Ids of a simulator without a ledger must not come again in its next run.
				f.seed = rand.Uint64()
			}
			return serveSim(cmd.Context(), g, f)
		},
	}
	fs := cmd.Flags()
	fs.StringVar(&f.provider, "provider", families[0].name, "which provider to simulate: "+familyNames()+", or "+allProviders)
	fs.StringVar(&f.listen, "listen", "127.0.0.1:8089", "address to serve at; port 0 takes a free one")
	fs.StringVar(&f.dir, "dir", "", "directory of the ledger (default: in memory)")
	fs.StringVar(&f.printer, "printer", "", "directory of a virtual printer's slips and of its serial line (default: no printer)")
	fs.DurationVar(&f.payAfter, "pay-after", 2*time.Second, "when a simulated payer pays; 0: never")
	fs.Float64Var(&f.payFraction, "pay-fraction", 1, "share of the charges that are paid, above 0 and up to 1")
	fs.StringVar(&f.faults, "faults", "", "fault script: rules, or @FILE")
	fs.Uint64Var(&f.seed, "seed", 0, "makes ids, payers and faults repeatable (default: random)")
	fs.StringSliceVar(&f.modes, "mode", nil, "how the provider behaves where its kind differs: "+simModes())
	fs.DurationVar(&f.tokenLife, "token-life", 0, "how long a token holds (default: as the provider's)")
	fs.StringVar(&f.locationHost, "location-host", "", "host in the location of the codes (default: the simulator's)")
	fs.StringVar(&f.webhooks, "webhooks", "", "send webhooks to this `URL` (default: none are sent)")
	fs.BoolVar(&f.asJSON, "json", false, "print one line of JSON instead of text")
	return cmd
}

// simRoutes lists the routes of every simulator, for the help.
func simRoutes() string {
	var b strings.Builder
	for _, f := range families {
		fmt.Fprintf(&b, "  %-9s %s\n", f.name, strings.Join(f.sim.rules.Routes, ", "))
	}
	return b.String()
}

// simSpoils lists the forms and faults of webhooks, for the help.
func simSpoils() string {
	var b strings.Builder
	for _, f := range families {
		if v := f.sim.rules; len(v.Forms) > 0 {
			fmt.Fprintf(&b, "  %-9s %s; form=%s\n", f.name, strings.Join(v.Spoils, ", "), strings.Join(v.Forms, "|"))
		}
	}
	return b.String()
}

// simModes lists the modes of the simulators that have some, for the help.
func simModes() string {
	var parts []string
	for _, f := range families {
		if len(f.sim.modes) > 0 {
			parts = append(parts, f.name+" "+strings.Join(f.sim.modes, "|"))
		}
	}
	return strings.Join(parts, "; ")
}

func indent(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		if line != "\n" {
			b.WriteString("  ")
		}
		b.WriteString(line)
	}
	return b.String()
}
