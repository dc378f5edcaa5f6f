package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"

	"github.com/spf13/cobra"
	"go.etcd.io/bbolt"

	"github.com/ssg-safe/agent/device"
	"github.com/ssg-safe/agent/ledger"
	"github.com/ssg-safe/agent/store"
	"github.com/ssg-safe/agent/terminal"
)

func newStoreCmd(g *globals) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "store backup|restore|reset --data DIRECTORY",
		Short: "Back the store up, restore it, or begin anew",
		Long: `The store is the one file of ledger, queue and open charges. Its backup is a
file of its own; the terminal's identity (identity.json) is none of it and is
copied by itself, once.

Exit codes: 0 done, 1 failed, 2 wrong usage.`,
		Args: noArgs,
		RunE: needCommand,
	}
	var data string
	dataFlag(cmd, &data)
	cmd.AddCommand(newBackupCmd(g, &data), newRestoreCmd(g, &data), newResetCmd(g, &data))
	return cmd
}

func newBackupCmd(g *globals, data *string) *cobra.Command {
	var out string
	cmd := &cobra.Command{
		Use:   "backup --out FILE",
		Short: "Write a consistent copy of the store",
		Long: `Backup writes a consistent copy of the store to a new file, flushes it to the
disk and examines it: what cannot be restored is no backup, and is removed. An
agent that runs on the data writes it and goes on. It holds payers' data and
payable codes as the store does: keep it as safe.

Exit codes: 0 done, 1 failed, 2 wrong usage.`,
		Example: `  ssg-agent store backup --data /var/lib/ssg-agent --out /media/usb/store-2026-07-01.db`,
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if out == "" {
				return usageError{errors.New("store backup: where to? Give --out FILE")}
			}
			head, err := backup(cmd.Context(), *data, out)
			if errors.Is(err, fs.ErrExist) {
				err = fmt.Errorf("%w: a backup never writes over a file", err)
			}
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(g.stdout, "%s: all up to entry %s\n", out, head)
			return err
		},
	}
	cmd.Flags().StringVarP(&out, "out", "o", "", "the new `FILE`")
	return cmd
}

// backup writes a backup of the store that a running agent holds, or of one that
// nobody holds, and returns the position up to which it has at least everything.
func backup(ctx context.Context, data, out string) (head string, err error) {
	const command = "store backup"
	answer, err := askAgent(ctx, command, data, http.MethodGet, backupPath, nil)
	switch {
	case err != nil:
		return "", err
	case answer == nil:
		s, err := openStore(command, data, store.OpenReadOnly)
		if err != nil {
			return "", err
		}
		err = s.View(func(tx *bbolt.Tx) error {
			h, err := ledger.GetHead(tx)
			head = h.Position.String()
			return err
		})
		if err == nil {
			err = store.SaveBackup(ctx, storeOptions(storePath(data), nil), out, s.Backup)
		}
		if err := errors.Join(err, s.Close()); err != nil {
			return "", fmt.Errorf("%s: %w", command, err)
		}
		return head, nil
	}
	defer answer.Body.Close()
	err = store.SaveBackup(ctx, storeOptions(storePath(data), nil), out, func(w io.Writer) error {
		_, err := io.Copy(w, answer.Body)
		return err
	})
	if err != nil {
		return "", fmt.Errorf("%s: %w", command, err)
	}
	return answer.Header.Get(headHeader), nil
}

func newRestoreCmd(g *globals, data *string) *cobra.Command {
	var from string
	var replace bool
	cmd := &cobra.Command{
		Use:   "restore --from FILE",
		Short: "Make the store of a backup",
		Long: `Restore examines a backup and makes the store of it. What happened after the
backup was made is not in it, so a new epoch of the ledger begins, whose first
entry names the old head (a hub asks its operator before it takes it); slips
that were waiting become dead letters, because they may have been printed; and
open charges are asked about at their providers, but not shown again. Slips
issued from now on may have numbers (NSU) that were given after the backup, and so
may closings.

A damaged store that lies in quarantine stays there, and the quarantine ends. A
store that is there is refused, unless --replace says to keep it beside the new
one. The agent must not be running.

Exit codes: 0 done, 1 failed (nothing was changed), 2 wrong usage.`,
		Example: `  systemctl stop ssg-agent
  ssg-agent store restore --data /var/lib/ssg-agent --from /media/usb/store-2026-07-01.db
  systemctl start ssg-agent`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if from == "" {
				return usageError{errors.New("store restore: of which backup? Give --from FILE")}
			}
			return restore(cmd.Context(), g, *data, from, replace)
		},
	}
	cmd.Flags().StringVar(&from, "from", "", "the backup `FILE`")
	cmd.Flags().BoolVar(&replace, "replace", false, "keep a store that is there under another name")
	_ = cmd.MarkFlagFilename("from") // fails for unknown flags only
	return cmd
}

func restore(ctx context.Context, g *globals, data, from string, replace bool) error {
	if err := needData("store restore", data); err != nil {
		return err
	}
	at := stampOf(device.NewClock(buildTime()))
	o := storeOptions(storePath(data), nil)
	var first ledger.Entry
	replaced, err := store.Restore(ctx, o, from, replace, func(tx *bbolt.Tx) (err error) {
		first, err = terminal.Restored(tx, at, "operator")
		return err
	})
	switch {
	case errors.Is(err, store.ErrLocked):
		err = fmt.Errorf("%w. Stop the agent and try again", err)
	case errors.Is(err, store.ErrExists):
		err = fmt.Errorf("%w. To keep it beside the restored one, add --replace", err)
	}
	if err != nil {
		return fmt.Errorf("store restore: %w", err)
	}
	if replaced != "" {
		fmt.Fprintf(g.stdout, "the former store is kept as %s\n", replaced)
	}
	_, err = fmt.Fprintf(g.stdout, "%s: restored, epoch %d begins\n", o.Path, first.Epoch)
	return err
}
