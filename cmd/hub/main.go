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
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ssg-safe/agent/internal/cli"
)

// globals is what every command gets from main, or from the hub that runs it.
type globals struct {
	stdout, stderr io.Writer
	args           []string // the command line, without the program's name
	in             []byte   // what a command reads that is handed over with it
	desk           *desk    // the running hub's; nil in a process of its own
	locale         string   // of what operators read; English unless it is localePT
}

// usageError marks wrong usage or configuration: exit code 2.
type usageError struct{ err error }

func (e usageError) Error() string { return e.err.Error() }
func (e usageError) Unwrap() error { return e.err }
func (usageError) ExitCode() int   { return 2 }

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
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.PersistentFlags().StringVar(&g.locale, "locale", g.locale, "language of tables and alarms, pt-BR or en: Portuguese unless the environment is English")
	root.PersistentPreRunE = func(*cobra.Command, []string) error {
		if g.locale != "" && g.locale != localePT && g.locale != localeEN {
			return usageError{fmt.Errorf("--locale %q: write pt-BR or en", g.locale)}
		}
		return nil
	}
	root.SetIn(strings.NewReader(""))
	root.SetOut(g.stdout)
	root.SetErr(g.stderr)
	cli.AddGroups(root,
		cli.Group{Title: "The hub:", Commands: []*cobra.Command{newServeCmd(g), newStatusCmd(g), newKeysCmd(g)}},
		cli.Group{Title: "Terminals:", Commands: []*cobra.Command{newDeviceCmd(g), newAlarmsCmd(g), newChargeCmd(g), newWebhookCmd(g)}},
		cli.Group{Title: "Money that leaves:", Commands: []*cobra.Command{newPayoutCmd(g), newRefundCmd(g), newOperatorCmd(g)}},
		cli.Group{Title: "What it keeps:", Commands: []*cobra.Command{newVerifyCmd(g), newExportCmd(g), newBackupCmd(g)}},
		cli.Group{Title: "Tools:", Commands: []*cobra.Command{newVersionCmd(g)}},
	)
	return root
}

// run executes the command line and returns the exit code.
func run(ctx context.Context, g *globals) int {
	return cli.Run(ctx, newRootCmd(g), g.args)
}

func main() {
	ctx, stop := cli.Interruptible()
	code := run(ctx, &globals{stdout: os.Stdout, stderr: os.Stderr, args: os.Args[1:], locale: envLocale()})
	stop()
	os.Exit(code)
}
