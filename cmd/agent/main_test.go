package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

func runMain(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = run(t.Context(), &globals{stdin: strings.NewReader(""), stdout: &out, stderr: &errs}, args)
	return code, out.String(), errs.String()
}

func TestWrongUsage(t *testing.T) {
	for _, test := range []struct{ args, says string }{
		{"legder", "Did you mean this?\n\tledger"},
		{"help nope", `unknown command "nope" for "ssg-agent"`},
		{"help pix nope", `unknown command "nope" for "ssg-agent pix"`},
		{"--nope", "unknown flag: --nope"},
		{"version extra", "See 'ssg-agent version --help'"},
		{"version --json=perhaps", "invalid argument"},
		{"version --json --licenses", "See 'ssg-agent version --help'"},
	} {
		t.Run(test.args, func(t *testing.T) {
			code, stdout, stderr := runMain(t, strings.Fields(test.args)...)
			if code != 2 || stdout != "" {
				t.Errorf("exit code %d, stdout %q; want 2 and nothing", code, stdout)
			}
			if !strings.HasPrefix(stderr, "ssg-agent: ") || !strings.Contains(stderr, test.says) || strings.Count(stderr, "--help") != 1 {
				t.Errorf("stderr %q does not say %q, or not once where help is", stderr, test.says)
			}
		})
	}
}

func TestVersion(t *testing.T) {
	code, stdout, stderr := runMain(t, "version")
	if code != 0 || stderr != "" {
		t.Fatalf("exit code %d, %s", code, stderr)
	}
	for _, part := range []string{"ssg-agent ", "commit ", "Apache-2.0", "go.etcd.io/bbolt", "github.com/tarm/serial"} {
		if !strings.Contains(stdout, part) {
			t.Errorf("no %q in\n%s", part, stdout)
		}
	}
	_, stdout, _ = runMain(t, "version", "--licenses")
	for _, part := range []string{"Apache License", "## go.etcd.io/bbolt LICENSE", "Permission is hereby granted"} {
		if !strings.Contains(stdout, part) {
			t.Errorf("no %q among the licences", part)
		}
	}
	if commitTime = "1750000000"; buildTime().Unix() != 1750000000 {
		t.Errorf("build time %v", buildTime())
	}
	commitTime = ""
}

// Every command a user can see says what it is for, what its exit codes mean, and
// what it takes; help and completion work everywhere.
func TestEveryCommandIsExplained(t *testing.T) {
	seen := 0
	var walk func(cmd *cobra.Command)
	walk = func(cmd *cobra.Command) {
		path := cmd.CommandPath()
		if cmd.Hidden || strings.HasPrefix(path, "ssg-agent completion") || strings.HasPrefix(path, "ssg-agent help") {
			return
		}
		seen++
		t.Run(path, func(t *testing.T) {
			if cmd.Short == "" || !strings.Contains(cmd.Long, "Exit codes:") {
				t.Error("no summary, or a help text without exit codes")
			}
			if cmd.HasParent() && cmd.Args == nil {
				t.Error("does not say what arguments it takes, so it swallows any")
			}
			if cmd.HasParent() && !cmd.HasSubCommands() && cmd.Example == "" {
				t.Error("no example")
			}
			code, stdout, stderr := runMain(t, append(strings.Fields(path)[1:], "--help")...)
			if code != 0 || stderr != "" || !strings.Contains(stdout, "Usage:") {
				t.Errorf("--help: exit code %d, stdout %.60q, stderr %q", code, stdout, stderr)
			}
		})
		for _, sub := range cmd.Commands() {
			walk(sub)
		}
	}
	walk(newRootCmd(&globals{}))
	if seen < 11 {
		t.Errorf("%d commands, want DESIGN's at least", seen)
	}
	for _, shell := range []string{"bash", "zsh", "fish"} {
		if code, stdout, _ := runMain(t, "completion", shell); code != 0 || !strings.Contains(stdout, "ssg-agent") {
			t.Errorf("completion for %s: exit code %d", shell, code)
		}
	}
}
