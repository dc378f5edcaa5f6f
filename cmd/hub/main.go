// Command ssg-hub is the other side of a fleet of terminals: it collects their
// ledgers over MQTT, acknowledges what is durable, tells them what was paid, and
// raises alarms for people. Package hub is the collector; docs/hub.md is for who
// operates it.
//
// One process holds the store. While `serve` runs, every other command is
// handed over to it through a socket in the data directory (control.go); when it
// does not, the command opens the store itself. So each command exists once, and
// does the same either way.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
)

// globals is what every command gets from main, or from the hub that runs it.
type globals struct {
	stdout, stderr io.Writer
	args           []string // the command line, without the program's name
	in             []byte   // what a command reads that is handed over with it
	desk           *desk    // the running hub's; nil in a process of its own
}

// usageError marks wrong usage or configuration: exit code 2.
type usageError struct{ err error }

func (e usageError) Error() string { return e.err.Error() }
func (e usageError) Unwrap() error { return e.err }

// exitCode is the outcome of a command that the running hub has done, and whose
// output is written already.
type exitCode int

func (e exitCode) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

func newRootCmd(g *globals) *cobra.Command {
	root := &cobra.Command{
		Use:   "ssg-hub",
		Short: "Collector of a fleet of PIX terminals",
		Long: `ssg-hub keeps a copy of every terminal's ledger, byte for byte, and says so by
signed acknowledgements, which alone let terminals delete anything. Begin with

  ssg-hub keys make
  ssg-hub serve --config /etc/ssg-hub/hub.toml

The other commands work while serve runs and when it does not, on the same
machine and as the hub's user.

Exit codes: 0 done, 1 failed, 2 wrong usage or configuration.`,
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetIn(strings.NewReader(""))
	root.SetOut(g.stdout)
	root.SetErr(g.stderr)
	for _, group := range []struct {
		title    string
		commands []*cobra.Command
	}{
		{"The hub:", []*cobra.Command{newServeCmd(g), newStatusCmd(g), newKeysCmd(g)}},
		{"Terminals:", []*cobra.Command{newDeviceCmd(g), newAlarmsCmd(g), newChargeCmd(g), newWebhookCmd(g)}},
		{"Money that leaves:", []*cobra.Command{newPayoutCmd(g), newRefundCmd(g), newOperatorCmd(g)}},
		{"What it keeps:", []*cobra.Command{newVerifyCmd(g), newExportCmd(g), newBackupCmd(g)}},
		{"Tools:", []*cobra.Command{newVersionCmd(g)}},
	} {
		root.AddGroup(&cobra.Group{ID: group.title, Title: group.title})
		for _, cmd := range group.commands {
			cmd.GroupID = group.title
			root.AddCommand(cmd)
		}
	}
	root.SetHelpCommandGroupID("Tools:")
	root.SetCompletionCommandGroupID("Tools:")
	return root
}

// run executes a command line and returns the exit code: the one place where
// errors become codes. What goes wrong before a command's own code runs
// (arguments, flags, an unknown command) is wrong usage.
func run(ctx context.Context, g *globals) int {
	root := newRootCmd(g)
	root.SetArgs(g.args)
	started := false
	noteStart(root, &started)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return 0
	}
	if code, ok := errors.AsType[exitCode](err); ok {
		return int(code)
	}
	text := strings.TrimRight(err.Error(), "\n")
	if !started && !strings.Contains(text, "--help") {
		text += fmt.Sprintf("\nSee '%s --help'", cmd.CommandPath())
	}
	fmt.Fprintf(g.stderr, "ssg-hub: %s\n", text)
	if !started {
		return 2
	}
	if _, ok := errors.AsType[usageError](err); ok {
		return 2
	}
	return 1
}

// noteStart sets started when the code of a command begins to run.
func noteStart(cmd *cobra.Command, started *bool) {
	if do := cmd.RunE; do != nil {
		cmd.RunE = func(cmd *cobra.Command, args []string) error {
			*started = true
			return do(cmd, args)
		}
	}
	for _, sub := range cmd.Commands() {
		noteStart(sub, started)
	}
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends at once
	code := run(ctx, &globals{stdout: os.Stdout, stderr: os.Stderr, args: os.Args[1:]})
	stop()
	os.Exit(code)
}
