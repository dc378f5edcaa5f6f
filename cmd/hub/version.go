package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	agent "github.com/ssg-safe/agent"
	"github.com/ssg-safe/agent/hub"
	"github.com/ssg-safe/agent/hub/webhook"
)

// Stamped by scripts/cross-build.sh; a plain go build leaves them to the build
// information.
var (
	version string
	commit  string
)

// buildInfo is what version --json prints.
type buildInfo struct {
	Version string `json:"version"`
	Commit  string `json:"commit"`
	Go      string `json:"go"`
	OS      string `json:"os"`
	Arch    string `json:"arch"`
	License string `json:"license"`
}

func readBuildInfo() buildInfo {
	b := buildInfo{Version: version, Commit: commit, Go: runtime.Version(), OS: runtime.GOOS, Arch: runtime.GOARCH, License: "Apache-2.0"}
	if info, ok := debug.ReadBuildInfo(); ok {
		b.Version = cmp.Or(b.Version, info.Main.Version)
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				b.Commit = cmp.Or(b.Commit, s.Value)
			}
		}
	}
	b.Version, b.Commit = cmp.Or(b.Version, "(devel)"), cmp.Or(b.Commit, "unknown")
	return b
}

func newVersionCmd(g *globals) *cobra.Command {
	var asJSON, licenses bool
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Show version, commit and build",
		Long: `Shows which program this is. With --licenses the licence texts of the program and
of the libraries linked into it.

Exit codes: 0 done, 2 wrong usage.`,
		Example: `  ssg-hub version --json`,
		Args:    noArgs,
		RunE: func(*cobra.Command, []string) error {
			b := readBuildInfo()
			switch {
			case licenses:
				_, err := fmt.Fprintf(g.stdout, "%s\n%s", agent.License, agent.ThirdParty)
				return err
			case asJSON:
				return json.NewEncoder(g.stdout).Encode(b)
			}
			_, err := fmt.Fprintf(g.stdout, "ssg-hub %s\ncommit %s\nbuilt with %s for %s/%s\nlicence %s\n", b.Version, b.Commit, b.Go, b.OS, b.Arch, b.License)
			return err
		},
	}
	jsonFlag(cmd, &asJSON)
	cmd.Flags().BoolVar(&licenses, "licenses", false, "print the licence texts")
	cmd.MarkFlagsMutuallyExclusive("json", "licenses")
	return cmd
}

func newStatusCmd(g *globals) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show what the running hub has counted",
		Long: `Status prints what the running hub has counted since it started: packets, commits,
entries taken and known already, tokens sent, and what was thrown away, by
reason; and for each provider that reports by webhook what came and what was
refused. docs/hub.md explains them.

With --json it prints one line {"event":"status",…}.

Exit codes: 0 done, 1 failed or not running, 2 wrong usage.`,
		Example: `  ssg-hub status --json`,
		Args:    noArgs,
	}
	data := dataFlag(cmd)
	jsonFlag(cmd, &asJSON)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return g.withHub(cmd.Context(), *data, func(desk *desk) error {
			type counted struct {
				hub.Stats
				Webhooks []webhook.Stats `json:"webhooks,omitempty"`
			}
			c := counted{Stats: desk.hub.Stats()}
			if desk.webhooks != nil {
				c.Webhooks = desk.webhooks.Stats()
			}
			if asJSON {
				return json.NewEncoder(g.stdout).Encode(struct {
					Event string `json:"event"`
					counted
				}{"status", c})
			}
			text, err := json.MarshalIndent(c, "", "  ")
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(g.stdout, "%s\n", text)
			return err
		})
	}
	return cmd
}
