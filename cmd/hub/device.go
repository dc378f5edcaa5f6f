package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/ssg-safe/agent/fleet/wire"
	"github.com/ssg-safe/agent/hub"
	"github.com/ssg-safe/agent/ledger"
)

// dataFlag adds --data, the hub's directory.
func dataFlag(cmd *cobra.Command) *string {
	data := cmd.PersistentFlags().StringP("data", "d", "/var/lib/ssg-hub", "the hub's data `DIRECTORY`")
	_ = cmd.MarkPersistentFlagDirname("data") // fails for unknown flags only
	return data
}

func jsonFlag(cmd *cobra.Command, asJSON *bool) {
	cmd.Flags().BoolVar(asJSON, "json", false, "one JSON object a line")
}

func newDeviceCmd(g *globals) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "device COMMAND",
		Short: "Enrol terminals, look at them, and decide about them",
		Long: `The registry says which terminals there are, and whose each one is: what a topic
says counts for nothing. A terminal's name and key are what this command prints
on it:

  ssg-agent identity --config /etc/ssg-agent/agent.toml

Exit codes: 0 done, 1 failed, 2 wrong usage.`,
		Args: noArgs,
		RunE: needCommand,
	}
	data := dataFlag(cmd)
	cmd.AddCommand(newDeviceAddCmd(g, data), newDeviceListCmd(g, data), newDeviceShowCmd(g, data), newDevicePasswordCmd(g, data), newDeviceMoveCmd(g, data))
	for _, d := range decisions {
		cmd.AddCommand(newDecisionCmd(g, data, d))
	}
	return cmd
}

func newDeviceAddCmd(g *globals, data *string) *cobra.Command {
	var key, tenant, site string
	cmd := &cobra.Command{
		Use:   "add NAME --key KEY --tenant TENANT --site SITE",
		Short: "Enrol a terminal",
		Long: `Add enters a terminal into the registry, with the name and public key that
ssg-agent identity printed on it. Compare the key with the terminal's: whoever
has the private one speaks for it. Doing it again changes nothing.

With --json it prints one line {"event":"device_added","device",…}.

Exit codes: 0 done, 1 failed, 2 wrong usage.`,
		Example: `  ssg-hub device add dq7m3x5zj2w4c6k8a --key 11l5O7wTooGagnx2rbb7qKSa7gB_SfLQmS2ZuCWtLEg --tenant acme --site loja-12`,
		Args:    oneArg("the terminal's name"),
	}
	asJSON := false
	jsonFlag(cmd, &asJSON)
	cmd.Flags().StringVar(&key, "key", "", "its public `KEY`, 43 characters")
	cmd.Flags().StringVar(&tenant, "tenant", "", "whose it is")
	cmd.Flags().StringVar(&site, "site", "", "where it stands")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if key == "" {
			return usageError{errors.New("device add: give --key KEY, as 'ssg-agent identity' prints it on the terminal")}
		}
		pub, err := wire.ParseKey(key)
		if err != nil {
			return usageError{fmt.Errorf("device add: --key: %w", err)}
		}
		d := hub.Device{Name: args[0], Tenant: tenant, Site: site, Key: pub}
		return g.withDesk(cmd.Context(), *data, func(desk *desk) error {
			if err := desk.update(cmd.Context(), func(tx hub.Tx) error { return hub.Register(tx, d) }); err != nil {
				return err
			}
			return g.done(asJSON, "device_added", d.Name, fmt.Sprintf("%s is enrolled at %s/%s", d.Name, d.Tenant, d.Site))
		})
	}
	return cmd
}

// done tells that something was done to a terminal.
func (g *globals) done(asJSON bool, event, device, text string) error {
	if asJSON {
		return json.NewEncoder(g.stdout).Encode(struct {
			Event  string `json:"event"`
			Device string `json:"device"`
		}{event, device})
	}
	_, err := fmt.Fprintln(g.stdout, text)
	return err
}

func newDevicePasswordCmd(g *globals, data *string) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "password NAME",
		Short: "Make a password for the broker inside the hub",
		Long: `Password makes a terminal's password at the broker inside the hub, prints it, and
keeps a hash only: it is shown once. An earlier one is no longer valid. The
terminal's user name is its own name. Terminals with client certificates need
none, and a broker of your own has its own passwords.

With --json it prints one line {"event":"device_password","device","password"}.

Exit codes: 0 done, 1 failed, 2 wrong usage.`,
		Example: `  ssg-hub device password dq7m3x5zj2w4c6k8a`,
		Args:    oneArg("the terminal's name"),
	}
	asJSON := false
	jsonFlag(cmd, &asJSON)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return g.withDesk(cmd.Context(), *data, func(desk *desk) error {
			var password string
			err := desk.decide(cmd.Context(), args[0], func(tx hub.Tx) error {
				p, err := hub.SetPassword(tx, args[0])
				password = p.Reveal() // printing it is what the command is for
				return err
			})
			switch {
			case err != nil:
				return err
			case asJSON:
				return json.NewEncoder(g.stdout).Encode(struct {
					Event    string `json:"event"`
					Device   string `json:"device"`
					Password string `json:"password"`
				}{"device_password", args[0], password})
			}
			_, err = fmt.Fprintln(g.stdout, password)
			return err
		})
	}
	return cmd
}

func newDeviceMoveCmd(g *globals, data *string) *cobra.Command {
	var site string
	cmd := &cobra.Command{
		Use:   "move NAME --site SITE",
		Short: "Note that a terminal stands somewhere else",
		Long: `Move changes a terminal's site. Its tenant never changes, because its ledger is
that tenant's. The terminal's own configuration must name the same site:
messages from another one are dropped, and come again once the two agree.

Exit codes: 0 done, 1 failed, 2 wrong usage.`,
		Example: `  ssg-hub device move dq7m3x5zj2w4c6k8a --site loja-14`,
		Args:    oneArg("the terminal's name"),
	}
	asJSON := false
	jsonFlag(cmd, &asJSON)
	cmd.Flags().StringVar(&site, "site", "", "where it stands now")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return g.withDesk(cmd.Context(), *data, func(desk *desk) error {
			if err := desk.decide(cmd.Context(), args[0], func(tx hub.Tx) error { return hub.Move(tx, args[0], site) }); err != nil {
				return err
			}
			return g.done(asJSON, "device_moved", args[0], fmt.Sprintf("%s is at %s", args[0], site))
		})
	}
	return cmd
}

// decision is one thing that only a person may decide about a terminal.
type decision struct {
	verb, event, done string
	short, long       string
	epoch             bool // takes an epoch
	do                func(tx hub.Tx, name string, epoch uint64) error
}

var decisions = []decision{
	{
		verb: "revoke", event: "device_revoked", done: "is revoked", short: "End a terminal: stolen, lost, sold",
		long: `Revoke ends a terminal: nothing more is taken from it, nothing is sent to it, and
the broker inside the hub does not let it in. What is stored stays. With a
broker of your own, take its access there away as well.`,
		do: func(tx hub.Tx, name string, _ uint64) error { return hub.Revoke(tx, name) },
	},
	{
		verb: "reinstate", event: "device_reinstated", done: "is taken from again", short: "Take a revocation back",
		long: `Reinstate takes a revocation back. The terminal sends what has happened since.`,
		do:   func(tx hub.Tx, name string, _ uint64) error { return hub.Reinstate(tx, name) },
	},
	{
		verb: "approve-epoch", event: "epoch_approved", done: "may send from the new epoch", short: "Take the ledger of a store that was made anew or restored",
		epoch: true,
		long: `A terminal whose store was made anew or restored from a backup begins a new
epoch, and so does a copy of its store that somebody else runs. Its entries wait
until a person has found out which of the two it is, and approves the epoch. The
epochs before stay as they are.`,
		do: hub.ApproveEpoch,
	},
	{
		verb: "approve-fork", event: "fork_approved", done: "goes on with its own version; the hub's is set aside", short: "Go on after a fork, with the terminal's version",
		long: `A fork is two different entries for one position: the terminal was restored from
an image or cloned, or somebody forges. Nothing more is taken until a person has
looked. First make sure that only the right terminal is still running, then
approve: its version is taken from the first difference on, and what the hub
held from there is set aside whole (device show, export --branch). Where the
hub's version is the right terminal's, nothing is set aside.`,
		do: func(tx hub.Tx, name string, _ uint64) error { return hub.ApproveFork(tx, name) },
	},
	{
		verb: "approve-gap", event: "gap_approved", done: "may leave entries out once", short: "Go on behind entries that are lost",
		long: `A gap stays where a terminal has deleted entries that the hub acknowledged and
then lost. Restore a newer backup of the hub if there is one: they are in it.
If there is none, approve-gap lets the entries behind the gap in, once, from the
first that the terminal still has. The gap stays visible in verify and device
show. Where the terminal has the missing ones after all, they are taken, and
nothing is left out.`,
		do: func(tx hub.Tx, name string, _ uint64) error { return hub.ApproveGap(tx, name) },
	},
}

func newDecisionCmd(g *globals, data *string, d decision) *cobra.Command {
	use, example := d.verb+" NAME", "  ssg-hub device "+d.verb+" dq7m3x5zj2w4c6k8a"
	args := oneArg("the terminal's name")
	if d.epoch {
		use, example = use+" EPOCH", example+" 2"
		args = exactArgs(2, "the terminal's name and the epoch")
	}
	cmd := &cobra.Command{
		Use: use, Short: d.short, Example: example, Args: args,
		Long: d.long + fmt.Sprintf("\n\nWith --json it prints one line {\"event\":%q,\"device\"}.\n\nExit codes: 0 done, 1 failed, 2 wrong usage.", d.event),
	}
	asJSON := false
	jsonFlag(cmd, &asJSON)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		var epoch uint64
		if d.epoch {
			var err error
			if epoch, err = strconv.ParseUint(args[1], 10, 64); err != nil || epoch == 0 {
				return usageError{fmt.Errorf("device %s: %q is no epoch; device list shows it", d.verb, args[1])}
			}
		}
		return g.withDesk(cmd.Context(), *data, func(desk *desk) error {
			if err := desk.decide(cmd.Context(), args[0], func(tx hub.Tx) error { return d.do(tx, args[0], epoch) }); err != nil {
				return err
			}
			return g.done(asJSON, d.event, args[0], args[0]+" "+d.done)
		})
	}
	return cmd
}

// deviceInfo is what is known about a terminal. Its JSON form is what --json
// prints.
type deviceInfo struct {
	Event  string `json:"event"`
	Device string `json:"device"`
	Tenant string `json:"tenant"`
	Site   string `json:"site"`
	Key    string `json:"key"`
	State  string `json:"state"`
	// Asked is the epoch that waits for approval, Fork where a fork is.
	Asked    uint64            `json:"asked,omitempty"`
	Fork     *hub.Fork         `json:"fork,omitempty"`
	Head     ledger.Position   `json:"head"`
	Signed   ledger.Position   `json:"signed"`
	Entries  uint64            `json:"entries"`
	Waiting  int               `json:"waiting"` // messages downwards
	Alarms   int               `json:"alarms"`  // open
	Presence *hub.Presence     `json:"presence,omitempty"`
	Chains   []hub.Chain       `json:"chains,omitempty"`
	Suspect  []hub.Quarantined `json:"quarantine,omitempty"`
}

// describe reads what is known about a terminal; alarms are the open ones.
func (d *desk) describe(tx hub.Tx, device hub.Device, alarms map[string]int) (deviceInfo, error) {
	info := deviceInfo{
		Event: "device", Device: device.Name, Tenant: device.Tenant, Site: device.Site, Key: wire.EncodeKey(device.Key),
		State: device.State(), Asked: device.Asked, Fork: device.Fork, Alarms: alarms[device.Name],
	}
	chains, err := hub.Chains(tx, device.Name)
	if err != nil {
		return info, err
	}
	for _, c := range chains {
		info.Head, info.Signed, info.Entries = c.Head.Position, c.Signed, info.Entries+c.Entries
	}
	messages, err := hub.Messages(tx, device.Name)
	if err != nil {
		return info, err
	}
	for _, m := range messages {
		if m.State == hub.Waiting {
			info.Waiting++
		}
	}
	if d.hub != nil {
		if p, ok := d.hub.Presence(device.Name); ok {
			info.Presence = &p
		}
	}
	return info, nil
}

func openAlarms(tx hub.Tx) (map[string]int, error) {
	alarms, err := hub.Alarms(tx, false)
	if err != nil {
		return nil, err
	}
	open := make(map[string]int)
	for _, a := range alarms {
		open[a.Device]++
	}
	return open, nil
}

func newDeviceListCmd(g *globals, data *string) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the terminals",
		Long: `List prints the terminals by name: state, whether it is connected (known only
while the hub runs, and advice at best), what the hub holds of its ledger, how
much of that the terminal has signed, messages on their way, open alarms.

States: new nothing came yet, ok, epoch waits for approve-epoch, forked waits for
approve-fork, revoked.

With --json each is one line {"event":"device","device",…}.

Exit codes: 0 done, 1 failed, 2 wrong usage.`,
		Example: `  ssg-hub device list
  ssg-hub device list --json | jq -r 'select(.state != "ok") | .device'`,
		Args: noArgs,
	}
	asJSON := false
	jsonFlag(cmd, &asJSON)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return g.withDesk(cmd.Context(), *data, func(desk *desk) error {
			var list []deviceInfo
			err := desk.store.View(cmd.Context(), func(tx hub.Tx) error {
				alarms, err := openAlarms(tx)
				if err != nil {
					return err
				}
				devices, err := hub.Devices(tx)
				if err != nil {
					return err
				}
				for _, d := range devices {
					info, err := desk.describe(tx, d, alarms)
					if err != nil {
						return err
					}
					list = append(list, info)
				}
				return nil
			})
			switch {
			case err != nil:
				return err
			case asJSON:
				return encodeAll(g.stdout, list)
			}
			return g.tabulate(list)
		})
	}
	return cmd
}

// encodeAll writes each value as a line of JSON.
func encodeAll[T any](w io.Writer, all []T) error {
	out := json.NewEncoder(w)
	for _, v := range all {
		if err := out.Encode(v); err != nil {
			return err
		}
	}
	return nil
}

func (g *globals) tabulate(list []deviceInfo) error {
	out := tabwriter.NewWriter(g.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(out, g.say("DEVICE\tTENANT/SITE\tSTATE\tONLINE\tHEAD\tSIGNED\tENTRIES\tWAITING\tALARMS"))
	for _, d := range list {
		fmt.Fprintf(out, "%s\t%s/%s\t%s\t%s\t%v\t%v\t%d\t%d\t%d\n",
			d.Device, d.Tenant, d.Site, d.stateWord(g.say), g.say(online(d.Presence)), d.Head, d.Signed, d.Entries, d.Waiting, d.Alarms)
	}
	return out.Flush()
}

func (d deviceInfo) stateWord(say func(string) string) string {
	switch {
	case d.Fork != nil:
		return fmt.Sprintf("%s %v", say(d.State), d.Fork.At)
	case d.Asked != 0:
		return fmt.Sprintf("%s %d", say(d.State), d.Asked)
	}
	return say(d.State)
}

func online(p *hub.Presence) string {
	switch {
	case p == nil:
		return "?"
	case p.On:
		return "yes"
	}
	return "no"
}

func newDeviceShowCmd(g *globals, data *string) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "show NAME",
		Short: "Show all that is known about a terminal",
		Long: `Show prints what list does, and the terminal's key, its epochs with their gaps
and the branches that were set aside after forks, and what is quarantined; and what
the terminal counted since its agent started, as of its newest telemetry.

With --json it is one line {"event":"device","device",…}.

Exit codes: 0 done, 1 failed, 2 wrong usage.`,
		Example: `  ssg-hub device show dq7m3x5zj2w4c6k8a`,
		Args:    oneArg("the terminal's name"),
	}
	asJSON := false
	jsonFlag(cmd, &asJSON)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return g.withDesk(cmd.Context(), *data, func(desk *desk) error {
			info, err := desk.detail(cmd.Context(), args[0])
			switch {
			case err != nil:
				return err
			case asJSON:
				return json.NewEncoder(g.stdout).Encode(info)
			}
			return g.writeDevice(info)
		})
	}
	return cmd
}

func (d *desk) detail(ctx context.Context, name string) (info deviceInfo, err error) {
	err = d.store.View(ctx, func(tx hub.Tx) error {
		device, err := hub.GetDevice(tx, name)
		if err != nil {
			return err
		}
		alarms, err := openAlarms(tx)
		if err != nil {
			return err
		}
		if info, err = d.describe(tx, device, alarms); err != nil {
			return err
		}
		if info.Chains, err = hub.Chains(tx, name); err != nil {
			return err
		}
		info.Suspect, err = hub.Quarantine(tx, name)
		return err
	})
	return info, err
}

func (g *globals) writeDevice(d deviceInfo) error {
	out := tabwriter.NewWriter(g.stdout, 0, 0, 2, ' ', 0)
	row := func(name, format string, a ...any) {
		fmt.Fprintf(out, "%s\t%s\n", g.say(name), fmt.Sprintf(g.say(format), a...)) // Flush returns its error
	}
	row("device", "%s", d.Device)
	row("tenant/site", "%s/%s", d.Tenant, d.Site)
	row("key", "%s", d.Key)
	row("state", "%s", d.stateWord(g.say))
	if f := d.Fork; f != nil {
		row("fork", "at %v since %s: the hub holds %v, the terminal sent %v", f.At, f.Since.Format(time.RFC3339), f.Have, f.Got)
	}
	if p := d.Presence; p != nil {
		row("online", "%s since %s", g.say(online(p)), p.Since.Format(time.RFC3339))
		row("seen", "%s", p.Seen.Format(time.RFC3339))
		row("version", "%s", p.Version)
		for _, name := range slices.Sorted(maps.Keys(p.Counters)) {
			row("counter", "%s %d", name, p.Counters[name])
		}
		for _, name := range slices.Sorted(maps.Keys(p.Gauges)) {
			row("gauge", "%s %d", name, p.Gauges[name])
		}
	}
	row("messages", "%d waiting", d.Waiting)
	row("alarms", "%d open", d.Alarms)
	for _, c := range d.Chains {
		row("epoch", "%d: %d entries, %d bytes, up to %v, signed up to %v", c.Epoch, c.Entries, c.Bytes, c.Head.Position, c.Signed)
		for _, gap := range c.Gaps {
			row("", "lost: after %v up to %v", gap.After.Position, gap.Resume.Position)
		}
		for _, branch := range c.Aside {
			row("", "set aside: %s", branch)
		}
	}
	for _, q := range d.Suspect {
		row("quarantined", "%v since %s: %s", q.At, q.Since.Format(time.RFC3339), q.Reason)
	}
	return out.Flush()
}

// noArgs is cobra.NoArgs as wrong usage.
func noArgs(cmd *cobra.Command, args []string) error {
	if err := cobra.NoArgs(cmd, args); err != nil {
		return usageError{err}
	}
	return nil
}

// oneArg takes one argument; what names it.
func oneArg(what string) cobra.PositionalArgs { return exactArgs(1, what) }

func exactArgs(n int, what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) != n {
			return usageError{fmt.Errorf("%s: give %s", cmd.Name(), what)}
		}
		return nil
	}
}

// needCommand is what a command does that only groups others.
func needCommand(cmd *cobra.Command, _ []string) error {
	return usageError{errors.New(cmd.Name() + ": which of its commands? See '" + cmd.CommandPath() + " --help'")}
}
