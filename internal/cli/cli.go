// Package cli is what the command lines of the agent and of the hub have in
// common: how errors become exit codes, and what counts as wrong usage.
//
// Exit codes are a contract with scripts: 0 done, 1 failed, 2 wrong usage or
// configuration.
package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
)

// Coder is an error that brings its exit code. One without text is not printed.
type Coder interface {
	error
	ExitCode() int
}

// Done is the outcome of a command that another process has done, and whose
// output is written already: its exit code, and no text.
type Done int

// Error is empty.
func (Done) Error() string { return "" }

// ExitCode is that of the other process.
func (d Done) ExitCode() int { return int(d) }

// Run executes a command line, without the program's name, and returns the exit
// code; errors go to the command's error output. What goes wrong before a
// command's own code runs (arguments, flags, an unknown command) is wrong usage.
func Run(ctx context.Context, root *cobra.Command, args []string) int {
	root.SilenceUsage, root.SilenceErrors = true, true
	strictHelp(root)
	root.SetArgs(args)
	started := false
	noteStart(root, &started)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return 0
	}
	if text := strings.TrimRight(err.Error(), "\n"); text != "" {
		if !started && !strings.Contains(text, "--help") {
			text += fmt.Sprintf("\nSee '%s --help'", cmd.CommandPath())
		}
		fmt.Fprintf(root.ErrOrStderr(), "%s: %s\n", root.Name(), text)
	}
	if c, ok := errors.AsType[Coder](err); ok {
		return c.ExitCode()
	}
	if !started {
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

// strictHelp makes help about a command that does not exist wrong usage; cobra's
// own answers with the help of everything, and success.
func strictHelp(root *cobra.Command) {
	root.InitDefaultHelpCmd()
	help, _, err := root.Find([]string{"help"})
	if err != nil {
		return // a program without commands has no help command
	}
	help.Run = nil
	help.RunE = func(_ *cobra.Command, args []string) error {
		about, rest, err := root.Find(args)
		if err == nil && len(rest) > 0 {
			err = fmt.Errorf("unknown command %q for %q", rest[0], about.CommandPath())
		}
		if err != nil {
			return noHelp{fmt.Errorf("%w\nSee '%s --help'", err, about.CommandPath())}
		}
		about.InitDefaultHelpFlag()
		return about.Help()
	}
}

// noHelp is the error of help about what does not exist: wrong usage.
type noHelp struct{ error }

func (noHelp) ExitCode() int { return 2 }

// Interruptible is a context that ends with the first Ctrl-C or SIGTERM; the
// second one ends the process at once.
func Interruptible() (context.Context, context.CancelFunc) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	return ctx, stop
}

// Group is commands under a common title in the help.
type Group struct {
	Title    string
	Commands []*cobra.Command
}

// AddGroups adds commands by groups; help and completion join the last one.
func AddGroups(root *cobra.Command, groups ...Group) {
	for _, g := range groups {
		root.AddGroup(&cobra.Group{ID: g.Title, Title: g.Title})
		for _, cmd := range g.Commands {
			cmd.GroupID = g.Title
			root.AddCommand(cmd)
		}
		root.SetHelpCommandGroupID(g.Title)
		root.SetCompletionCommandGroupID(g.Title)
	}
}
