package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ssg-safe/agent/fleet/wire"
	"github.com/ssg-safe/agent/hub"
)

func newKeysCmd(g *globals) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "keys make|pin|rotate",
		Short: "Make, show and rotate the keys that sign what terminals obey",
		Long: `Terminals obey what is signed with a key that they have pinned, and nothing else.
The keys are files in the folder keys of the data directory: keep a copy where
nobody finds it. To change the key:

  ssg-hub keys make      makes the next one
  ssg-hub keys pin       prints both, for fleet.hub_keys of every terminal
  ssg-hub keys rotate    signs with the next one, once every terminal has it
  ssg-hub keys pin       prints the new one alone

Exit codes: 0 done, 1 failed, 2 wrong usage.`,
		Args: noArgs,
		RunE: needCommand,
	}
	data := dataFlag(cmd)
	cmd.AddCommand(newKeysMakeCmd(g, data), newKeysPinCmd(g, data), newKeysRotateCmd(g, data))
	return cmd
}

func newKeysMakeCmd(g *globals, data *string) *cobra.Command {
	return keysCmd(g, data, &cobra.Command{
		Use:   "make",
		Short: "Make the first key, or the next one",
		Long: `Make makes the key that the hub signs with, or, where there is one, the next one,
and prints what keys pin prints.

Exit codes: 0 done, 1 failed, 2 wrong usage.`,
		Example: `  ssg-hub keys make`,
	}, hub.MakeKey)
}

func newKeysPinCmd(g *globals, data *string) *cobra.Command {
	return keysCmd(g, data, &cobra.Command{
		Use:   "pin",
		Short: "Print the public keys that terminals have to pin",
		Long: `Pin prints the public keys as the line that belongs into every terminal's
configuration, below [fleet].

With --json it prints one line {"event":"keys","signing","hub_keys"}: the id of
the key that signs, and the keys to pin.

Exit codes: 0 done, 1 failed, 2 wrong usage.`,
		Example: `  ssg-hub keys pin`,
	}, hub.LoadKeys)
}

func newKeysRotateCmd(g *globals, data *string) *cobra.Command {
	var back bool
	cmd := &cobra.Command{
		Use:   "rotate",
		Short: "Sign with the next key",
		Long: `Rotate lets the next key sign, at once where the hub is running. A terminal that
has not pinned it takes nothing any more until it has: its entries wait, safe,
on the terminal. --back lets the previous key sign again.

Exit codes: 0 done, 1 failed, 2 wrong usage.`,
		Example: `  ssg-hub keys rotate`,
	}
	cmd.Flags().BoolVar(&back, "back", false, "let the previous key sign again")
	return keysCmd(g, data, cmd, func(dir string) (hub.Keys, error) {
		if back {
			return hub.RotateKeyBack(dir)
		}
		return hub.RotateKey(dir)
	})
}

// keysCmd does something with the keys, in the running hub where there is one,
// and prints what terminals are to pin.
func keysCmd(g *globals, data *string, cmd *cobra.Command, do func(dir string) (hub.Keys, error)) *cobra.Command {
	asJSON := false
	jsonFlag(cmd, &asJSON)
	cmd.Args = noArgs
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		keys, err := g.onKeys(cmd.Context(), *data, do)
		if err != nil || keys == nil {
			return err
		}
		return writeKeys(g.stdout, *keys, asJSON)
	}
	return cmd
}

// onKeys is withDesk for files beside the store. The keys are nil when the
// running hub has done it all.
func (g *globals) onKeys(ctx context.Context, data string, do func(dir string) (hub.Keys, error)) (*hub.Keys, error) {
	if g.desk == nil {
		if err := g.handOver(ctx, data); !errors.Is(err, errNotRunning) {
			return nil, err
		}
		keys, err := do(keysPath(data))
		return &keys, err
	}
	g.desk.decided = true
	keys, err := do(keysPath(g.desk.data))
	if err != nil {
		return nil, err
	}
	signer, err := keys.Signer()
	if err != nil {
		return nil, err
	}
	g.desk.hub.SetSigner(signer)
	return &keys, nil
}

func writeKeys(w io.Writer, keys hub.Keys, asJSON bool) error {
	var pins []string
	for _, pub := range keys.Pin() {
		pins = append(pins, wire.EncodeKey(pub))
	}
	if asJSON {
		return json.NewEncoder(w).Encode(struct {
			Event   string   `json:"event"`
			Signing string   `json:"signing"`
			HubKeys []string `json:"hub_keys"`
		}{"keys", wire.KeyID(keys.Pin()[0]), pins})
	}
	_, err := fmt.Fprintf(w, "hub_keys = [\"%s\"]\n", strings.Join(pins, `", "`))
	return err
}
