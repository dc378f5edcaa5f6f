package main

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/ssg-safe/agent/internal/config"
)

func newCheckCmd(g *globals) *cobra.Command {
	var path string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "check --config FILE",
		Short: "Show everything that is wrong with a configuration",
		Long: `Check reads a configuration and shows all of its problems at once, each with
file, line, column, the place in the configuration, and what to do about it.
Secrets and personal data are not shown. The keys are described in
docs/configuration.md.

Warnings are things that work but should not stay: plain HTTP, a secret that
others can read, a credential that can mark charges as paid.

With --json every problem is one line {"event":"problem","severity","file",
"line","column","path","message","remedy","excerpt"}, and the last line is
{"event":"summary","file","ok","errors","warnings"}.

Exit codes: 0 the configuration can be used (there may be warnings), 1 the
output could not be written, 2 the configuration has errors or cannot be read.`,
		Example: `  ssg-agent check --config /etc/ssg-agent/agent.toml
  ssg-agent check --config agent.toml --json | jq -r .message`,
		Args: func(cmd *cobra.Command, args []string) error {
			if err := cobra.NoArgs(cmd, args); err != nil {
				return usageError{fmt.Errorf("check: unexpected %q; the file goes after --config", args[0])}
			}
			return nil
		},
		RunE: func(*cobra.Command, []string) error {
			if path == "" {
				return usageError{errors.New("check: which configuration? Give --config FILE")}
			}
			return check(g, path, asJSON)
		},
	}
	cmd.Flags().StringVarP(&path, "config", "c", "", "the configuration `FILE`")
	cmd.Flags().BoolVar(&asJSON, "json", false, "one JSON object a line")
	_ = cmd.MarkFlagFilename("config", "toml") // fails for unknown flags only
	return cmd
}

// check shows what is wrong with a configuration. Errors of the file come back
// as one error; warnings alone go to stderr.
func check(g *globals, path string, asJSON bool) error {
	_, found, err := loadConfig(path, true)
	if asJSON {
		if werr := writeProblems(g, path, found, err); werr != nil {
			return fmt.Errorf("write problems: %w", werr)
		}
		if err != nil && found != nil {
			err = fmt.Errorf("%s: %s", path, config.Count(found))
		}
	}
	switch {
	case err != nil:
		return usageError{err}
	case asJSON:
		return nil
	}
	for _, p := range found {
		fmt.Fprintf(g.stderr, "%s\n\n", p)
	}
	if _, err := fmt.Fprintf(g.stdout, "%s: ok (%s)\n", path, config.Count(found)); err != nil {
		return fmt.Errorf("write result: %w", err)
	}
	return nil
}

// writeProblems writes the JSON form. A file that cannot be read is a problem
// without a place.
func writeProblems(g *globals, path string, found []config.Problem, failed error) error {
	type event struct {
		Event string `json:"event"`
		config.Problem
	}
	if failed != nil && found == nil {
		found = []config.Problem{{Severity: config.Error, File: path, Message: failed.Error()}}
	}
	enc := json.NewEncoder(g.stdout)
	enc.SetEscapeHTML(false)
	errs, warnings := 0, 0
	for _, p := range found {
		if p.Severity == config.Warning {
			warnings++
		} else {
			errs++
		}
		if err := enc.Encode(event{"problem", p}); err != nil {
			return err
		}
	}
	return enc.Encode(struct {
		Event    string `json:"event"`
		File     string `json:"file"`
		OK       bool   `json:"ok"`
		Errors   int    `json:"errors"`
		Warnings int    `json:"warnings"`
	}{"summary", path, failed == nil, errs, warnings})
}
