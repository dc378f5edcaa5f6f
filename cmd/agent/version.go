package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"runtime"
	"runtime/debug"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	agent "github.com/ssg-safe/agent"
)

// Stamped by scripts/cross-build.sh; a plain go build leaves them to the build
// information.
var (
	version    string
	commit     string
	commitTime string // Unix seconds
)

// buildInfo is what `version --json` prints.
type buildInfo struct {
	Version   string          `json:"version"`
	Commit    string          `json:"commit"`
	Time      string          `json:"commit_time,omitempty"` // RFC 3339, UTC
	Go        string          `json:"go"`
	OS        string          `json:"os"`
	Arch      string          `json:"arch"` // with the variant: arm/v6
	Cgo       bool            `json:"cgo"`
	License   string          `json:"license"`
	Libraries []agent.Library `json:"libraries"`
}

func readBuildInfo() buildInfo {
	b := buildInfo{
		Version: version, Commit: commit,
		Go: runtime.Version(), OS: runtime.GOOS, Arch: runtime.GOARCH,
		License: "Apache-2.0", Libraries: agent.Libraries(),
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		info = new(debug.BuildInfo)
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "CGO_ENABLED":
			b.Cgo = s.Value == "1"
		case "GOARM":
			b.Arch += "/v" + s.Value
		case "vcs.revision":
			b.Commit = cmp.Or(b.Commit, s.Value)
		}
	}
	b.Version = cmp.Or(b.Version, info.Main.Version, "(devel)")
	b.Commit = cmp.Or(b.Commit, "unknown")
	if t := buildTime(); !t.IsZero() {
		b.Time = t.Format(time.RFC3339)
	}
	return b
}

// buildTime is when the sources were committed, a time that has certainly
// passed: the floor of the clock. It is zero in an unstamped build.
func buildTime() time.Time {
	if seconds, err := strconv.ParseInt(commitTime, 10, 64); err == nil {
		return time.Unix(seconds, 0).UTC()
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if t, err := time.Parse(time.RFC3339, s.Value); s.Key == "vcs.time" && err == nil {
				return t.UTC()
			}
		}
	}
	return time.Time{}
}

func newVersionCmd(g *globals) *cobra.Command {
	var asJSON, licenses bool
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Show version, commit, build and library licences",
		Long: `Shows which program this is: its version and commit, how it was built, and the
libraries linked into it with their licences. With --licenses the licence texts
themselves, the program's own first.

Exit codes: 0 done, 2 wrong usage.`,
		Example: `  ssg-agent version
  ssg-agent version --json
  ssg-agent version --licenses | less`,
		Args: noArgs,
		RunE: func(*cobra.Command, []string) error {
			switch {
			case licenses:
				_, err := fmt.Fprintf(g.stdout, "%s\n%s", agent.License, agent.ThirdParty)
				return err
			case asJSON:
				return json.NewEncoder(g.stdout).Encode(readBuildInfo())
			}
			return printVersion(g.stdout, readBuildInfo())
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	cmd.Flags().BoolVar(&licenses, "licenses", false, "print the licence texts")
	cmd.MarkFlagsMutuallyExclusive("json", "licenses")
	return cmd
}

func printVersion(w io.Writer, b buildInfo) error {
	cgo := "no cgo"
	if b.Cgo {
		cgo = "cgo"
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "ssg-agent\t%s\n", b.Version)
	fmt.Fprintf(t, "commit\t%s\n", b.Commit)
	if b.Time != "" {
		fmt.Fprintf(t, "committed\t%s\n", b.Time)
	}
	fmt.Fprintf(t, "built with\t%s for %s/%s, %s\n", b.Go, b.OS, b.Arch, cgo)
	fmt.Fprintf(t, "licence\t%s (texts: ssg-agent version --licenses)\n", b.License)
	if err := t.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(w, "libraries:")
	for _, l := range b.Libraries {
		fmt.Fprintf(t, "  %s\t%s\t%s\n", l.Module, l.Version, l.License)
	}
	return t.Flush()
}
