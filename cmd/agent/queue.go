package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"go.etcd.io/bbolt"

	"github.com/ssg-safe/agent/device"
	"github.com/ssg-safe/agent/localapi"
	"github.com/ssg-safe/agent/queue"
	"github.com/ssg-safe/agent/store"
	"github.com/ssg-safe/agent/terminal"
)

func newQueueCmd(g *globals) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "queue list|retry|drop --data DIRECTORY",
		Short: "Show and settle the jobs that wait, and the dead letters",
		Long: `The queue holds what the terminal still has to do, such as prints, with the
number of attempts and the reason why a job waits. A job that cannot be helped
becomes a dead letter and waits for a person. These commands ask the agent that
runs on the data (through its control.sock), else they open the store.

Exit codes: 0 done, 1 failed, 2 wrong usage.`,
		Args: noArgs,
		RunE: needCommand,
	}
	var data string
	dataFlag(cmd, &data)
	cmd.AddCommand(
		newQueueListCmd(g, &data),
		newQueueSettleCmd(g, &data, settlement{
			verb: "retry", short: "Let dead letters be tried again",
			long: `Retry puts dead letters back among the waiting jobs, with their attempts counted
anew; the agent takes them up at once, or when it starts. A slip that may have been printed
already is then printed as a copy that says so.`,
			what: terminal.Retried,
		}),
		newQueueSettleCmd(g, &data, settlement{
			verb: "drop", short: "Give jobs up for good",
			long: `Drop deletes dead letters, or the waiting jobs whose numbers are given. What
they were to do will not be done.`,
			what: terminal.Dropped,
		}),
	)
	return cmd
}

func newQueueListCmd(g *globals, data *string) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List waiting jobs and dead letters",
		Long: `List prints the waiting jobs, then the dead letters, each with its number, state,
attempts, and the reason why it waits or died. With --json each is one line
{"event":"job","dead",…}.

Exit codes: 0 done, 1 failed, 2 wrong usage.`,
		Example: `  ssg-agent queue list --data /var/lib/ssg-agent`,
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			jobs, err := readQueue(cmd.Context(), *data)
			if err != nil {
				return err
			}
			if asJSON {
				return errors.Join(writeJobs(g.stdout, jobs.Waiting, false), writeJobs(g.stdout, jobs.Dead, true))
			}
			return tabulateJobs(g.stdout, jobs.Waiting, jobs.Dead)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "one JSON object a line")
	return cmd
}

// readQueue asks the running agent for its queue, or reads the store.
func readQueue(ctx context.Context, data string) (jobs localapi.Jobs, err error) {
	const command = "queue list"
	if asked, err := askAgentFor(ctx, command, data, http.MethodGet, "/v1/queue", nil, &jobs); asked {
		return jobs, err
	}
	err = viewStore(command, data, func(tx *bbolt.Tx) (err error) {
		if jobs.Waiting, err = queue.List(tx); err != nil {
			return err
		}
		jobs.Dead, err = queue.Dead(tx)
		return err
	})
	return jobs, err
}

func writeJobs(w io.Writer, jobs []queue.Job, dead bool) error {
	out := json.NewEncoder(w)
	for _, j := range jobs {
		err := out.Encode(struct {
			Event string `json:"event"`
			Dead  bool   `json:"dead"`
			queue.Job
		}{"job", dead, j})
		if err != nil {
			return err
		}
	}
	return nil
}

func tabulateJobs(w io.Writer, jobs, dead []queue.Job) error {
	out := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	table := func(title string, jobs []queue.Job) {
		fmt.Fprintf(out, "%s: %d\n", title, len(jobs))
		if len(jobs) > 0 {
			fmt.Fprintln(out, "JOB\tKIND\tSTATE\tATTEMPTS\tSUBJECT\tCREATED\tREASON")
		}
		for _, j := range jobs {
			created := "-"
			if !j.Created.IsZero() {
				created = j.Created.Format(time.RFC3339)
			}
			fmt.Fprintf(out, "%d\t%s\t%s\t%d\t%s\t%s\t%s\n", j.ID, j.Kind, j.State, j.Attempts, orDash(j.Subject), created, orDash(j.Reason))
		}
	}
	table("waiting", jobs)
	table("dead letters", dead)
	return out.Flush()
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// settlement is what an operator does to jobs.
type settlement struct {
	verb        string
	short, long string
	what        terminal.Settlement
}

func newQueueSettleCmd(g *globals, data *string, how settlement) *cobra.Command {
	var allDead bool
	cmd := &cobra.Command{
		Use:   how.verb + " JOB… | --dead",
		Short: how.short,
		Long: how.long + `

All of the jobs that are named are settled, or none. It is recorded in the
ledger.

Exit codes: 0 done, 1 failed, 2 wrong usage.`,
		Example: fmt.Sprintf("  ssg-agent queue %[1]s 12 --data /var/lib/ssg-agent\n  ssg-agent queue %[1]s --dead --data /var/lib/ssg-agent", how.verb),
		Args: func(_ *cobra.Command, args []string) error {
			if allDead == (len(args) > 0) {
				return usageError{fmt.Errorf("queue %s: name jobs by their numbers, or give --dead for all dead letters", how.verb)}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			ids := make([]uint64, len(args))
			for i, a := range args {
				id, err := strconv.ParseUint(a, 10, 64)
				if err != nil {
					return usageError{fmt.Errorf("queue %s: %q is not a job's number", how.verb, a)}
				}
				ids[i] = id
			}
			settled, err := settle(cmd.Context(), *data, how, ids)
			if err != nil {
				return err
			}
			for _, j := range settled {
				if _, err := fmt.Fprintf(g.stdout, "%s: job %d, %s %s\n", how.what, j.ID, j.Kind, j.Subject); err != nil {
					return err
				}
			}
			if len(settled) == 0 {
				_, err = fmt.Fprintln(g.stdout, "there are no dead letters")
			}
			return err
		},
	}
	cmd.Flags().BoolVar(&allDead, "dead", false, "all dead letters")
	return cmd
}

// settle lets the running agent do it, or does it in the store, in one
// transaction; no ids are all dead letters.
func settle(ctx context.Context, data string, how settlement, ids []uint64) ([]queue.Job, error) {
	command := "queue " + how.verb
	wanted := map[string]any{"dead": true}
	if len(ids) > 0 {
		wanted = map[string]any{"jobs": ids}
	}
	var done localapi.Settled
	if asked, err := askAgentFor(ctx, command, data, http.MethodPost, "/v1/queue/"+how.verb, wanted, &done); asked {
		return done.Jobs, err
	}
	s, err := changeStore(ctx, command, data)
	if err != nil {
		return nil, err
	}
	at := stampOf(device.NewClock(buildTime()))
	var settled []queue.Job
	err = commitAlone(ctx, s, store.Op{Name: command, Do: func(tx *bbolt.Tx) (err error) {
		settled, err = terminal.SettleJobs(tx, at, how.what, ids, "operator")
		return err
	}})
	if err := errors.Join(err, s.Close()); err != nil {
		return nil, fmt.Errorf("%s: %w", command, err)
	}
	return settled, nil
}
