package main

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/ssg-safe/agent/fleet/wire"
	"github.com/ssg-safe/agent/hub"
	"github.com/ssg-safe/agent/money"
)

func newChargeCmd(g *globals) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "charge start|show",
		Short: "Start a charge on a terminal from the back office",
		Long: `A back office starts a charge on a terminal by its own reference for the sale.
These commands need a running hub.

Exit codes: 0 done, 1 failed, 2 wrong usage.`,
		Args: noArgs,
		RunE: needCommand,
	}
	data := dataFlag(cmd)
	cmd.AddCommand(newChargeStartCmd(g, data), newChargeShowCmd(g, data))
	return cmd
}

func newChargeStartCmd(g *globals, data *string) *cobra.Command {
	var r wire.ChargeRequest
	var amount string
	var within time.Duration
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "start DEVICE --reference R --merchant M --amount AMOUNT",
		Short: "Ask a terminal to make a charge",
		Long: `Start asks a terminal to make a charge, until it answers or the time given is
over, and prints the id of the request for charge show. The reference is the
identity of the sale: asking again with the same reference is the same charge,
and with other content an error.

With --json it prints one line {"event":"charge_requested","device","id"}.

Exit codes: 0 the request is durable, 1 failed, 2 wrong usage.`,
		Example: `  ssg-hub charge start dq7m3x5zj2w4c6k8a --reference pedido-2231 --merchant loja --amount 25.00 --present`,
		Args:    oneArg("the terminal's name"),
	}
	jsonFlag(cmd, &asJSON)
	cmd.Flags().StringVar(&r.Reference, "reference", "", "the back office's own id of the sale")
	cmd.Flags().StringVar(&r.Merchant, "merchant", "", "the merchant's id in the terminal's configuration")
	cmd.Flags().StringVar(&amount, "amount", "", "reais with a dot, such as 25.00")
	cmd.Flags().StringVar(&r.Description, "description", "", "for the payer; no personal data")
	cmd.Flags().BoolVar(&r.Present, "present", false, "show it on the terminal's screen")
	cmd.Flags().DurationVar(&within, "within", 5*time.Minute, "how long to ask")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		var err error
		if r.Amount, err = money.Parse(amount); err != nil || r.Amount <= 0 {
			return usageError{fmt.Errorf("charge start: --amount %q: write reais with a dot, such as 25.00", amount)}
		}
		return g.withHub(cmd.Context(), *data, func(desk *desk) error {
			id, err := desk.hub.Charge(cmd.Context(), args[0], r, time.Now().Add(within))
			switch {
			case err != nil:
				return err
			case asJSON:
				return json.NewEncoder(g.stdout).Encode(struct {
					Event  string `json:"event"`
					Device string `json:"device"`
					ID     string `json:"id"`
				}{"charge_requested", args[0], id})
			}
			_, err = fmt.Fprintln(g.stdout, id)
			return err
		})
	}
	return cmd
}

func newChargeShowCmd(g *globals, data *string) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "show DEVICE ID",
		Short: "Show what became of a request",
		Long: `Show prints what became of a request of charge start: waiting for the terminal's
answer; done, with the id of the charge; refused, with the reason; expired.
Whether it was paid, the terminal's ledger says.

With --json it prints one line {"event":"message","state",…}.

Exit codes: 0 done, 1 failed, 2 wrong usage.`,
		Example: `  ssg-hub charge show dq7m3x5zj2w4c6k8a GB3W5XQK7N2M4P6R8T2V4X6Z2C`,
		Args:    exactArgs(2, "the terminal's name and the id of the request"),
	}
	jsonFlag(cmd, &asJSON)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return g.withHub(cmd.Context(), *data, func(desk *desk) error {
			m, err := desk.hub.Message(cmd.Context(), args[0], args[1])
			switch {
			case err != nil:
				return err
			case asJSON:
				return json.NewEncoder(g.stdout).Encode(struct {
					Event string `json:"event"`
					hub.Message
				}{"message", m})
			}
			text := string(m.State)
			if m.Res != nil {
				text += ": " + string(m.Res.Code)
				if m.Res.Charge != "" {
					text += ", charge " + m.Res.Charge
				}
				if m.Res.Detail != "" {
					text += ", " + m.Res.Detail
				}
			}
			_, err = fmt.Fprintln(g.stdout, text)
			return err
		})
	}
	return cmd
}
