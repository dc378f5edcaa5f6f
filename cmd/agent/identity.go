package main

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"

	"github.com/spf13/cobra"

	"github.com/ssg-safe/agent/device"
	"github.com/ssg-safe/agent/fleet/wire"
)

func newIdentityCmd(g *globals) *cobra.Command {
	var file string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "identity --config FILE",
		Short: "Show the terminal's name and public key, to enrol it at a hub",
		Long: `Identity prints the terminal's name and public key, and the command that enrols
it at a hub. Both are made once, on the terminal, when it is new: this command
then makes the store as well, as run does. It may be used while the agent runs.

With --json it prints one line {"event":"identity","device","key","tenant",
"site"}.

Exit codes: 0 done, 1 failed, 2 wrong usage or configuration.`,
		Example: `  ssg-agent identity --config /etc/ssg-agent/agent.toml`,
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if file == "" {
				return usageError{errors.New("identity: which terminal? Give --config FILE")}
			}
			cfg, err := loadSettings(file)
			if err != nil {
				return usageError{err}
			}
			id, err := identityOf(cmd.Context(), cfg)
			if err != nil {
				return fmt.Errorf("identity: %w", err)
			}
			return writeIdentity(g.stdout, id, cfg.Fleet, asJSON)
		},
	}
	cmd.Flags().StringVarP(&file, "config", "c", "", "the configuration `FILE`")
	cmd.Flags().BoolVar(&asJSON, "json", false, "one JSON object")
	_ = cmd.MarkFlagFilename("config", "toml") // fails for unknown flags only
	return cmd
}

// identityOf reads the identity, and makes store and identity of a new terminal.
func identityOf(ctx context.Context, cfg Config) (device.Identity, error) {
	id, err := device.LoadIdentity(cfg.Data)
	if !errors.Is(err, fs.ErrNotExist) {
		return id, err
	}
	st, id, err := openData(ctx, cfg, slog.New(slog.DiscardHandler), nil)
	if err != nil {
		return id, err
	}
	return id, st.Close()
}

func writeIdentity(w io.Writer, id device.Identity, fleet FleetConfig, asJSON bool) error {
	key := wire.EncodeKey(id.DeviceKey.Public().(ed25519.PublicKey))
	if asJSON {
		return json.NewEncoder(w).Encode(struct {
			Event  string `json:"event"`
			Device string `json:"device"`
			Key    string `json:"key"`
			Tenant string `json:"tenant,omitempty"`
			Site   string `json:"site,omitempty"`
		}{"identity", id.Device, key, fleet.Tenant, fleet.Site})
	}
	tenant, site := "TENANT", "SITE"
	if fleet.Tenant != "" && fleet.Site != "" {
		tenant, site = fleet.Tenant, fleet.Site
	}
	_, err := fmt.Fprintf(w, "device  %s\nkey     %s\nenrol   ssg-hub device add %s --key %s --tenant %s --site %s\n", id.Device, key, id.Device, key, tenant, site)
	return err
}
