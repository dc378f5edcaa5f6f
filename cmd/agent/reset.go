package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"go.etcd.io/bbolt"

	"github.com/ssg-safe/agent/closing"
	"github.com/ssg-safe/agent/device"
	"github.com/ssg-safe/agent/fleet"
	"github.com/ssg-safe/agent/ledger"
	"github.com/ssg-safe/agent/ledger/archive"
	"github.com/ssg-safe/agent/proposal"
	"github.com/ssg-safe/agent/queue"
	"github.com/ssg-safe/agent/terminal"
	"github.com/ssg-safe/agent/ticket"
)

func newResetCmd(g *globals, data *string) *cobra.Command {
	var confirm string
	var give abandonment
	cmd := &cobra.Command{
		Use:   "reset [--confirm CODE]",
		Short: "Let the terminal begin anew, as one that comes from the factory",
		Long: `Reset puts store and identity aside, so that the next start makes new ones: an
empty ledger, other keys, numbers from 1 on. To the hub it is another terminal,
which must be registered there; revoke the old one. Nothing is deleted: the old
files lie in a folder of their own in the data directory.

It is refused while something would be lost by it, and says what: entries that
the hub or the archive does not have, a business day that is not closed, charges
that are open, slips and tickets that wait for somebody, proposals that are not over.

A hub or an archive that is gone for ever and does not have all is named with
--without, as often as needed. That gives up what nobody else has: the ledger is
copied to another disk first (--copy), the second step repeats the amount that is
given up (--lose), and the new ledger's first entry tells of it, and who decided it
(--by). Whatever else is refused stays refused.

It takes two steps. The first one examines everything and gives a code; the
second one, with --confirm and that code, does it if nothing has changed. The agent
must not be running.

Exit codes: 0 done, 1 refused, not confirmed or failed, 2 wrong usage.`,
		Example: `  systemctl stop ssg-agent
  ssg-agent store reset --data /var/lib/ssg-agent
  ssg-agent store reset --data /var/lib/ssg-agent --confirm 3f2a9c01
  ssg-agent store reset --data /var/lib/ssg-agent --without hub --copy /media/usb/ledger.jsonl --by ana`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			aside, err := reset(cmd.Context(), *data, confirm, give)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(g.stdout, "the terminal begins anew; its former store and identity are kept in %s\n", aside)
			return err
		},
	}
	cmd.Flags().StringVar(&confirm, "confirm", "", "the `CODE` that the first step gave")
	cmd.Flags().StringSliceVar(&give.without, "without", nil, "`WHO` is gone for ever: hub or archive")
	cmd.Flags().StringVar(&give.copy, "copy", "", "with --without: the new `FILE` for a copy of the ledger")
	cmd.Flags().StringVar(&give.by, "by", "", "with --without: the `NAME` of who decides it")
	cmd.Flags().StringVar(&give.lose, "lose", "", "with --without and --confirm: the `AMOUNT` that is given up")
	_ = cmd.MarkFlagFilename("copy", "jsonl") // fails for unknown flags only
	_ = cmd.RegisterFlagCompletionFunc("without", cobra.FixedCompletions([]string{fleet.Consumer, archive.Consumer}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

// reset moves store and identity into a folder and returns that.
func reset(ctx context.Context, data, confirm string, give abandonment) (aside string, err error) {
	const command = "store reset"
	if err := give.check(data); err != nil {
		return "", err
	}
	s, err := changeStore(ctx, command, data)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, s.Close()) }() // held until all is done
	var head ledger.Head
	var reasons []string
	err = s.View(func(tx *bbolt.Tx) (err error) {
		if head, err = ledger.GetHead(tx); err != nil {
			return err
		}
		reasons, err = losses(tx, head, give.without)
		return err
	})
	code := head.Hash.String()[:8]
	switch {
	case err != nil:
		return "", fmt.Errorf("%s: %w", command, err)
	case len(reasons) > 0:
		return "", fmt.Errorf("%s: refused, nothing was changed:\n  - %s", command, strings.Join(reasons, "\n  - "))
	case confirm != "" && confirm != code:
		return "", usageError{fmt.Errorf("%s: --confirm %s is not the code for this ledger; without --confirm the command gives it", command, confirm)}
	case confirm == "" && len(give.without) == 0:
		return "", fmt.Errorf("%s: nothing was changed yet. The ledger up to entry %v and the identity will be put aside. To go on, add --confirm %s", command, head.Position, code)
	}
	aside = folderFor(data, fmt.Sprintf("reset-%d-%d-%s", head.Epoch, head.Seq, code))
	var given *abandoned
	if len(give.without) > 0 {
		id, err := device.LoadIdentity(data)
		if errors.Is(err, fs.ErrNotExist) { // a reset that was cut short
			id, err = device.LoadIdentity(aside)
		}
		if err == nil {
			err = s.View(func(tx *bbolt.Tx) error {
				a, err := give.give(tx, id.Device, head, confirm, code)
				given = &a
				return err
			})
		}
		if err != nil {
			return "", fmt.Errorf("%s: %w", command, err)
		}
	}
	if err := leave(data, given); err != nil {
		return "", fmt.Errorf("%s: %w. Nothing was changed", command, err)
	}
	if err := putAside(data, aside); err != nil {
		return "", fmt.Errorf("%s: %w. Run the command again", command, err)
	}
	return aside, nil
}

// losses says what would be lost, and the way out of each.
func losses(tx *bbolt.Tx, head ledger.Head, without []string) (reasons []string, err error) {
	add := func(format string, a ...any) { reasons = append(reasons, fmt.Sprintf(format, a...)) }
	if reasons, err = missing(tx, head, without); err != nil {
		return nil, err
	}
	unclosed, err := closing.Unclosed(tx, terminal.Books(nil))
	if err != nil {
		return nil, err
	}
	if len(unclosed) > 0 {
		add("the business day of %s is not closed: let the agent run, and close it: ssg-agent closing z --merchant NAME", some(unclosed))
	}
	charges, err := terminal.Unsettled(tx)
	if err != nil {
		return nil, err
	}
	if len(charges) > 0 {
		ids := make([]string, len(charges))
		for i, c := range charges {
			ids[i] = string(c.ID)
		}
		add("%d charges are open: let the agent run until they are paid or expired: %s", len(ids), some(ids))
	}
	jobs, err := queue.List(tx)
	if err != nil {
		return nil, err
	}
	dead, err := queue.Dead(tx)
	if err != nil {
		return nil, err
	}
	if n := len(jobs) + len(dead); n > 0 {
		add("%d slips are not settled: ssg-agent queue list, then retry or drop", n)
	}
	open, err := ticket.List(tx, false)
	if err != nil {
		return nil, err
	}
	if len(open) > 0 {
		ids := make([]string, len(open))
		for i, t := range open {
			ids[i] = t.ID
		}
		add("%d tickets are open: ssg-agent tickets list, then close: %s", len(ids), some(ids))
	}
	proposals, err := proposal.List(tx, false)
	if err != nil {
		return nil, err
	}
	var ids []string
	for _, p := range proposals {
		if !proposal.Over(p.State) {
			ids = append(ids, string(p.ID))
		}
	}
	if len(ids) > 0 && !slices.Contains(without, fleet.Consumer) {
		add("%d proposals are not over: let the agent run with its hub until it has told what became of them: %s", len(ids), some(ids))
	}
	return reasons, nil
}

// some names the first of them.
func some(names []string) string {
	const most = 5
	if len(names) > most {
		return strings.Join(names[:most], ", ") + ", …"
	}
	return strings.Join(names, ", ")
}

// folderFor is the folder of a reset: one that has no store yet. Two ledgers without
// entries have the same name.
func folderFor(data, name string) string {
	dir := filepath.Join(data, name)
	for n := 2; ; n++ {
		if _, err := os.Lstat(storePath(dir)); err != nil {
			return dir
		}
		dir = filepath.Join(data, fmt.Sprintf("%s-%d", name, n))
	}
}

// putAside moves the identity, then the store: an agent that finds the store alone
// refuses to start, so a reset that was cut short is seen, and is run again.
func putAside(data, aside string) error {
	if err := os.Mkdir(aside, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	for _, name := range []string{device.IdentityFile, filepath.Base(storePath(data))} {
		err := os.Rename(filepath.Join(data, name), filepath.Join(aside, name))
		if err != nil && (name != device.IdentityFile || !errors.Is(err, fs.ErrNotExist)) {
			return err
		}
		for _, dir := range []string{aside, data} {
			if err := syncDir(dir); err != nil {
				return err
			}
		}
	}
	return nil
}
