package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ssg-safe/agent/hub"
	"github.com/ssg-safe/agent/ledger"
)

func newVerifyCmd(g *globals) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "verify [DEVICE...]",
		Short: "Check everything that the hub holds",
		Long: `Verify checks every terminal, or those named, from the store alone: the chain of
hashes from the first entry on, numbers without gaps, the index of operations,
the terminals' signatures, and that what is known about payments stands in the
entries. It prints the sums of all postings.

With --json each is one line {"event":"verified","ok","device",…}.

Exit codes: 0 in order, 1 broken or not readable, 2 wrong usage.`,
		Example: `  ssg-hub verify
  ssg-hub verify dq7m3x5zj2w4c6k8a --json`,
		Args: cobra.ArbitraryArgs,
	}
	data := dataFlag(cmd)
	jsonFlag(cmd, &asJSON)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return g.withDesk(cmd.Context(), *data, func(desk *desk) error {
			names := args
			return desk.store.View(cmd.Context(), func(tx hub.Tx) error {
				if len(names) == 0 {
					devices, err := hub.Devices(tx)
					if err != nil {
						return err
					}
					for _, d := range devices {
						names = append(names, d.Name)
					}
				}
				var broken error
				for _, name := range names {
					if err := cmd.Context().Err(); err != nil {
						return err
					}
					report, err := hub.Verify(tx, name)
					if werr := g.writeReport(report, err, asJSON); werr != nil {
						return werr
					}
					broken = errors.Join(broken, err)
				}
				return broken
			})
		})
	}
	return cmd
}

func (g *globals) writeReport(r hub.Report, problem error, asJSON bool) error {
	if asJSON {
		line := struct {
			Event   string `json:"event"`
			OK      bool   `json:"ok"`
			Problem string `json:"problem,omitempty"`
			hub.Report
		}{"verified", problem == nil, "", r}
		if problem != nil {
			line.Problem = problem.Error()
		}
		return json.NewEncoder(g.stdout).Encode(line)
	}
	if problem != nil {
		return nil // main prints it
	}
	var sums []string
	for _, a := range ledger.Chart() {
		if sum, ok := r.Sums[a]; ok {
			sums = append(sums, fmt.Sprintf("%s=%s", a, sum))
		}
	}
	_, err := fmt.Fprintf(g.stdout, g.say("ok: %s (%s): %d entries in %d epochs, %d bytes, up to %v, signed up to %v, %d gaps, %d set aside, %d unreadable")+"\n  %s\n",
		r.Device, g.say(r.State), r.Entries, r.Epochs, r.Bytes, r.Head.Position, r.Signed, r.Gaps, r.Aside, r.Poison, strings.Join(sums, " "))
	return err
}

func newExportCmd(g *globals) *cobra.Command {
	formats := []string{"jsonl", "csv"}
	format := formats[0]
	var branch string
	cmd := &cobra.Command{
		Use:   "export DEVICE",
		Short: "Export a terminal's ledger to standard output",
		Long: `Export writes all entries of a terminal, oldest first.

  jsonl  every entry exactly as the terminal sent it, one a line: the bytes that
         the chain of hashes runs over
  csv    one line for each posting (entries without postings have one line),
         amounts in centavos; text that a spreadsheet would take for a formula
         begins with an apostrophe

With --branch it writes entries that were set aside after a fork; device show
names the branches.

Exit codes: 0 done, 1 failed, 2 wrong usage.`,
		Example: `  ssg-hub export dq7m3x5zj2w4c6k8a --format csv > ledger.csv`,
		Args:    oneArg("the terminal's name"),
	}
	data := dataFlag(cmd)
	cmd.Flags().StringVar(&format, "format", format, "jsonl or csv")
	cmd.Flags().StringVar(&branch, "branch", "", "export the entries of a branch that was set aside")
	_ = cmd.RegisterFlagCompletionFunc("format", cobra.FixedCompletions(formats, cobra.ShellCompDirectiveNoFileComp))
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if !slices.Contains(formats, format) {
			return usageError{fmt.Errorf("export: format %q; there are %s", format, strings.Join(formats, " and "))}
		}
		return g.withDesk(cmd.Context(), *data, func(desk *desk) error {
			return desk.store.View(cmd.Context(), func(tx hub.Tx) error {
				if _, err := hub.GetDevice(tx, args[0]); err != nil {
					return err
				}
				entries := tx.Entries(args[0], ledger.Position{})
				if branch != "" {
					entries = tx.Aside(args[0], branch)
				}
				if format == "csv" {
					return hub.WriteCSV(g.stdout, entries)
				}
				return hub.WriteJSONL(g.stdout, entries)
			})
		})
	}
	return cmd
}

func newBackupCmd(g *globals) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "backup FILE",
		Short: "Write a consistent copy of the store",
		Long: `Backup writes a copy of the store as it is at one moment, while the hub goes on.
FILE is whole or not there, and replaces an older one. To restore it, stop the
hub, put the file in the place of hub.db, and start the hub: terminals send what
is missing. The signing keys are not in it; keep a copy of the folder keys apart.

Exit codes: 0 done, 1 failed, 2 wrong usage.`,
		Example: `  ssg-hub backup /media/backup/hub.db`,
		Args:    oneArg("the file to write"),
	}
	data := dataFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if g.desk != nil { // the other end writes the file
			return g.desk.store.Backup(g.stdout)
		}
		return replace(args[0], func(w io.Writer) error {
			own := *g
			own.stdout = w
			return own.withDesk(cmd.Context(), *data, func(desk *desk) error { return desk.store.Backup(w) })
		})
	}
	return cmd
}

// replace writes a file whole or not at all.
func replace(path string, write func(io.Writer) error) (err error) {
	dir := filepath.Dir(path)
	tmp, err := os.CreateTemp(dir, "."+filepath.Base(path)+".*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name()) //nolint:errcheck // it has its name by then, or is in the way of nobody
	if err := errors.Join(write(tmp), tmp.Sync(), tmp.Close()); err != nil {
		return err
	}
	if err := os.Rename(tmp.Name(), path); err != nil {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
