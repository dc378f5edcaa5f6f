// Command ssg-agent is the software inside a PIX terminal: it makes charges,
// shows and prints their codes, learns that they were paid, and keeps a ledger
// that survives any crash. See README.md for a tour and `ssg-agent help`.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
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

func newRootCmd(g *globals) *cobra.Command {
	root := &cobra.Command{
		Use:   "ssg-agent",
		Short: "PIX terminal agent for smart safes and serial points of sale",
		Long: `ssg-agent makes PIX charges, shows and prints their QR codes, learns that they
were paid, prints a receipt it knows was printed, and keeps a ledger that
survives power cuts. Start with:

  ssg-agent demo

Exit codes: 0 done, 1 failed, 2 wrong usage or configuration.`,
		SilenceUsage:  true,
		SilenceErrors: true,
		Args: func(cmd *cobra.Command, args []string) error {
			if err := cobra.NoArgs(cmd, args); err != nil {
				return usageError{err}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetIn(g.stdin)
	root.SetOut(g.stdout)
	root.SetErr(g.stderr)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usageError{fmt.Errorf("%w\nSee '%s --help'", err, cmd.CommandPath())}
	})
	root.AddCommand(
		newDemoCmd(g), newRunCmd(g), newCheckCmd(g), newPixCmd(g), newQRCmd(g), newReceiptCmd(g),
		newLedgerCmd(g), newQueueCmd(g), newSimCmd(g), newVersionCmd(g), newStoreCheckCmd(g),
	)
	return root
}

// run executes the command line and returns the exit code: the one place
// where errors become codes.
func run(ctx context.Context, g *globals, args []string) int {
	root := newRootCmd(g)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	fmt.Fprintf(g.stderr, "ssg-agent: %v\n", err)
	if _, ok := errors.AsType[usageError](err); ok {
		return 2
	}
	return 1
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, &globals{stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr}, os.Args[1:])
	stop()
	os.Exit(code)
}
