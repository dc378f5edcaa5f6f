package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"github.com/ssg-safe/agent/device"
	"github.com/ssg-safe/agent/ledger"
	"github.com/ssg-safe/agent/store"
)

func newStoreCheckCmd(*globals) *cobra.Command {
	var backup bool
	cmd := &cobra.Command{
		Use:    "store-check PATH",
		Short:  "Check a store file in a process of its own",
		Hidden: true,
		Args:   cobra.ExactArgs(1),
		Run: func(_ *cobra.Command, args []string) {
			// The exit codes are those that store.BootCheck expects.
			o := storeOptions(args[0], nil)
			o.Copy = backup
			os.Exit(store.BootCheckChild(o))
		},
	}
	cmd.Flags().BoolVar(&backup, "copy", false, "the file is a backup")
	return cmd
}

// dataFlag adds --data, the directory of an agent's data.
func dataFlag(cmd *cobra.Command, data *string) {
	cmd.PersistentFlags().StringVarP(data, "data", "d", "", "the agent's data `DIRECTORY`")
	_ = cmd.MarkPersistentFlagDirname("data") // fails for unknown flags only
}

// needData refuses a command that was not told whose data, or wrongly.
func needData(command, data string) error {
	if data == "" {
		return usageError{fmt.Errorf("%s: whose data? Give --data DIRECTORY", command)}
	}
	if _, err := os.Stat(data); errors.Is(err, fs.ErrNotExist) {
		return usageError{fmt.Errorf("%s: no directory %s: name the agent's with --data (data = … in its configuration)", command, data)}
	}
	return nil
}

// openStore opens the store of a data directory. It words the two ways in which
// that fails every day: nothing there, and an agent that runs.
func openStore(command, data string, open func(store.Options) (*store.Store, error)) (*store.Store, error) {
	if err := needData(command, data); err != nil {
		return nil, err
	}
	s, err := open(storeOptions(storePath(data), nil))
	switch {
	case errors.Is(err, store.ErrLocked):
		return nil, fmt.Errorf("%s: the agent is running and holds the store: %w. Stop it and try again", command, err)
	case errors.Is(err, store.ErrNotExist):
		return nil, fmt.Errorf("%s: %w. An agent makes it when it first runs there", command, err)
	case err != nil:
		return nil, fmt.Errorf("%s: %w", command, err)
	}
	return s, nil
}

// changeStore is openStore for a command that writes. It examines the store first, as
// an agent's start does: on a damaged one bbolt can take the process down, and nothing
// is to be built upon damage.
func changeStore(ctx context.Context, command, data string) (*store.Store, error) {
	return openStore(command, data, func(o store.Options) (*store.Store, error) {
		if err := store.Examine(ctx, o); err != nil {
			return nil, err
		}
		return store.Open(o)
	})
}

// stampOf is the time by a clock, as entries have it.
func stampOf(c *device.Clock) ledger.Stamp {
	return ledger.Stamp{Wall: c.Wall(), Boot: c.Boot(), Up: c.Up(), Quality: ledger.Quality(c.Quality())}
}

// needCommand is the RunE of a command that only groups others.
func needCommand(cmd *cobra.Command, _ []string) error {
	return usageError{fmt.Errorf("%s: which of its commands? See '%s --help'", cmd.Name(), cmd.CommandPath())}
}
