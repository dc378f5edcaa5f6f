package main

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ssg-safe/agent/hub"
)

func newAlarmsCmd(g *globals) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "alarms [list|ack]",
		Short: "List what people have to look at, and note who does",
		Long: `Alarms lists what the hub noticed and a person has to look at, and what terminals
reported. docs/hub.md says of each kind what it means and what to do.

Exit codes: 0 done, 1 failed, 2 wrong usage.`,
		Args: noArgs,
		RunE: needCommand,
	}
	data := dataFlag(cmd)
	cmd.AddCommand(newAlarmsListCmd(g, data), newAlarmsAckCmd(g, data))
	return cmd
}

func newAlarmsListCmd(g *globals, data *string) *cobra.Command {
	var all, asJSON bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the open alarms",
		Long: `List prints the open alarms, oldest first: number, when it happened last, level,
terminal, kind, how often, what happened, what to do, and what it is about. With
--all also those that somebody took care of.

With --json each is one line {"event":"alarm","id",…}.

Exit codes: 0 done, 1 failed, 2 wrong usage.`,
		Example: `  ssg-hub alarms list
  ssg-hub alarms list --json | jq 'select(.level == "alarm")'`,
		Args: noArgs,
	}
	jsonFlag(cmd, &asJSON)
	cmd.Flags().BoolVar(&all, "all", false, "also those that were taken care of")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return g.withDesk(cmd.Context(), *data, func(desk *desk) error {
			var list []hub.Alarm
			err := desk.store.View(cmd.Context(), func(tx hub.Tx) (err error) {
				list, err = hub.Alarms(tx, all)
				return err
			})
			if err != nil {
				return err
			}
			return g.writeAlarms(list, asJSON)
		})
	}
	return cmd
}

func (g *globals) writeAlarms(list []hub.Alarm, asJSON bool) error {
	w := g.stdout
	if asJSON {
		type event struct {
			Event string `json:"event"`
			hub.Alarm
		}
		var events []event
		for _, a := range list {
			events = append(events, event{"alarm", a})
		}
		return encodeAll(w, events)
	}
	if len(list) == 0 {
		_, err := fmt.Fprintln(w, g.say("no alarms"))
		return err
	}
	for _, a := range list {
		var detail []string
		for _, k := range slices.Sorted(maps.Keys(a.Detail)) {
			detail = append(detail, k+"="+a.Detail[k])
		}
		acked := ""
		if !a.Acked.IsZero() {
			acked = fmt.Sprintf("  "+g.say("taken care of by %s at %s")+"\n", a.By, a.Acked.Format(time.RFC3339))
		}
		advice := g.advise(a)
		if advice.remedy != "" {
			advice.remedy = "  " + g.say("do: ") + advice.remedy + "\n"
		}
		_, err := fmt.Fprintf(w, "%d  %s  %s  %s  %s  x%d\n  %s\n%s  %s\n%s",
			a.ID, a.Last.Format(time.RFC3339), g.say(string(a.Level)), a.Device, a.Kind, a.Count, advice.what, advice.remedy, cmp.Or(strings.Join(detail, " "), "-"), acked)
		if err != nil {
			return err
		}
	}
	return nil
}

func newAlarmsAckCmd(g *globals, data *string) *cobra.Command {
	var by string
	cmd := &cobra.Command{
		Use:   "ack NUMBER... --by WHO",
		Short: "Note that somebody takes care of alarms",
		Long: `Ack takes alarms off the list and notes who took care of them. If it happens
again, it is a new alarm. It decides nothing: a fork still waits for
device approve-fork.

Exit codes: 0 done, 1 failed, 2 wrong usage.`,
		Example: `  ssg-hub alarms ack 17 18 --by maria`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usageError{errors.New("alarms ack: which? Give the numbers that alarms list shows")}
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&by, "by", "", "who takes care of them")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		var ids []uint64
		for _, text := range args {
			id, err := strconv.ParseUint(text, 10, 64)
			if err != nil {
				return usageError{fmt.Errorf("alarms ack: %q is no number of an alarm", text)}
			}
			ids = append(ids, id)
		}
		if by == "" {
			return usageError{errors.New("alarms ack: who takes care of them? Give --by WHO")}
		}
		return g.withDesk(cmd.Context(), *data, func(desk *desk) error {
			return desk.update(cmd.Context(), func(tx hub.Tx) error {
				for _, id := range ids {
					if err := hub.AckAlarm(tx, id, by); err != nil {
						return err
					}
				}
				return nil
			})
		})
	}
	return cmd
}
