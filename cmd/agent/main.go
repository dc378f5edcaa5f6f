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
	"strings"
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
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetIn(g.stdin)
	root.SetOut(g.stdout)
	root.SetErr(g.stderr)
	for _, group := range []struct {
		title    string
		commands []*cobra.Command
	}{
		{"The terminal:", []*cobra.Command{newDemoCmd(g), newRunCmd(g), newCheckCmd(g), newDoctorCmd(g), newBundleCmd(g), newIdentityCmd(g)}},
		{"What it keeps:", []*cobra.Command{newLedgerCmd(g), newQueueCmd(g), newOfflineCmd(g), newReconcileCmd(g), newTicketsCmd(g), newClosingCmd(g), newStoreCmd(g)}},
		{"Tools:", []*cobra.Command{newPixCmd(g), newQRCmd(g), newReceiptCmd(g), newProviderCmd(g), newOperatorCmd(g), newSimCmd(g), newVersionCmd(g)}},
	} {
		root.AddGroup(&cobra.Group{ID: group.title, Title: group.title})
		for _, cmd := range group.commands {
			cmd.GroupID = group.title
			root.AddCommand(cmd)
		}
	}
	root.AddCommand(newStoreCheckCmd(g)) // hidden
	strictHelp(root)
	root.SetHelpCommandGroupID("Tools:")
	root.SetCompletionCommandGroupID("Tools:")
	return root
}

// strictHelp makes help about a command that does not exist wrong usage; cobra's
// own answers with the help of everything, and success.
func strictHelp(root *cobra.Command) {
	root.InitDefaultHelpCmd()
	help, _, err := root.Find([]string{"help"})
	if err != nil {
		panic(err) // it was made a line above
	}
	help.Run = nil
	help.RunE = func(_ *cobra.Command, args []string) error {
		about, rest, err := root.Find(args)
		if err == nil && len(rest) > 0 {
			err = fmt.Errorf("unknown command %q for %q", rest[0], about.CommandPath())
		}
		if err != nil {
			return usageError{fmt.Errorf("%w\nSee '%s --help'", err, about.CommandPath())}
		}
		about.InitDefaultHelpFlag()
		return about.Help()
	}
}

// run executes the command line and returns the exit code: the one place
// where errors become codes. What goes wrong before a command's own code runs
// (arguments, flags, an unknown command) is wrong usage.
func run(ctx context.Context, g *globals, args []string) int {
	root := newRootCmd(g)
	root.SetArgs(args)
	started := false
	noteStart(root, &started)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return 0
	}
	text := strings.TrimRight(err.Error(), "\n")
	if !started && !strings.Contains(text, "--help") {
		text += fmt.Sprintf("\nSee '%s --help'", cmd.CommandPath())
	}
	fmt.Fprintf(g.stderr, "ssg-agent: %s\n", text)
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
	code := run(ctx, &globals{stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr}, os.Args[1:])
	stop()
	os.Exit(code)
}
