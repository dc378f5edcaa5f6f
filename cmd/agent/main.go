// Command ssg-agent is the software inside a PIX terminal: it makes charges,
// shows and prints their codes, learns that they were paid, and keeps a ledger
// that survives any crash. See README.md for a tour and `ssg-agent help`.
package main

import (
	"context"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/ssg-safe/agent/internal/cli"
)

// globals is what every command gets from main.
type globals struct {
	stdin          io.Reader
	stdout, stderr io.Writer
}

// usageError marks wrong usage or configuration: exit code 2.
type usageError struct{ err error }

func (e usageError) Error() string { return e.err.Error() }
func (e usageError) Unwrap() error { return e.err }
func (usageError) ExitCode() int   { return 2 }

func newRootCmd(g *globals) *cobra.Command {
	root := &cobra.Command{
		Use:   "ssg-agent",
		Short: "PIX terminal agent for smart safes and serial points of sale",
		Long: `ssg-agent makes PIX charges, shows and prints their QR codes, learns that they
were paid, prints a receipt it knows was printed, and keeps a ledger that
survives power cuts. Start with:

  ssg-agent demo

Exit codes: 0 done, 1 failed, 2 wrong usage or configuration.`,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetIn(g.stdin)
	root.SetOut(g.stdout)
	root.SetErr(g.stderr)
	cli.AddGroups(root,
		cli.Group{Title: "The terminal:", Commands: []*cobra.Command{newDemoCmd(g), newRunCmd(g), newCheckCmd(g), newDoctorCmd(g), newBundleCmd(g), newIdentityCmd(g)}},
		cli.Group{Title: "What it keeps:", Commands: []*cobra.Command{newLedgerCmd(g), newQueueCmd(g), newOfflineCmd(g), newReconcileCmd(g), newTicketsCmd(g), newClosingCmd(g), newPayoutCmd(g), newRefundCmd(g), newStoreCmd(g)}},
		cli.Group{Title: "Tools:", Commands: []*cobra.Command{newPixCmd(g), newQRCmd(g), newReceiptCmd(g), newProviderCmd(g), newOperatorCmd(g), newSimCmd(g), newVersionCmd(g)}},
	)
	root.AddCommand(newStoreCheckCmd(g)) // hidden
	return root
}

// run executes the command line and returns the exit code.
func run(ctx context.Context, g *globals, args []string) int {
	return cli.Run(ctx, newRootCmd(g), args)
}

func main() {
	ctx, stop := cli.Interruptible()
	code := run(ctx, &globals{stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr}, os.Args[1:])
	stop()
	os.Exit(code)
}
