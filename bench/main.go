package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// figure is one thing to measure.
type figure struct {
	name    string
	measure func(context.Context, *env, *section) error
}

// figures in the order in which they run.
var figures = []figure{
	{"charge", measureCharge},
	{"push", measurePush},
	{"sync", measureSync},
	{"operation", measureOperation},
	{"slip", measureSlip},
	{"start", measureStart},
	{"idle", measureIdle},
	{"size", measureSize},
}

// env is what the figures share.
type env struct {
	root  string // of the repository
	dir   string // on the disk that is measured; removed at the end
	quick bool
	evict bool
	err   io.Writer

	binary string // the built agent, "" before
	ledger string // a data directory with entries, "" before
}

// count is a number of rounds, or the smaller one of a quick run.
func (e *env) count(full, quick int) int {
	if e.quick {
		return quick
	}
	return full
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, unix.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	e := &env{err: stderr}
	fs := flag.NewFlagSet("bench", flag.ContinueOnError)
	fs.SetOutput(stderr)
	parent := fs.String("dir", "/var/tmp", "`directory` on the disk to measure")
	document := fs.String("write", "docs/benchmarks.md", "put the results into this `file` of the repository, between its markers; empty: nowhere; quick runs never do")
	gate := fs.Bool("gate", false, "fail when a target is missed")
	fs.BoolVar(&e.quick, "quick", false, "short runs, whose figures mean little")
	fs.BoolVar(&e.evict, "evict", false, "cold starts drop only the agent's files from the page cache, not everything: for machines that others use")
	if err := fs.Parse(args); err != nil {
		return 2
	}
	chosen, err := choose(fs.Args())
	if err != nil {
		fmt.Fprintln(stderr, "bench:", err)
		return 2
	}
	if err := e.prepare(*parent); err != nil {
		fmt.Fprintln(stderr, "bench:", err)
		return 1
	}
	defer os.RemoveAll(e.dir)
	if *document != "" && !filepath.IsAbs(*document) {
		*document = filepath.Join(e.root, *document)
	}
	if e.quick {
		*document = ""
	}
	missed, err := e.measure(ctx, chosen, *document, stdout)
	if err != nil {
		fmt.Fprintln(stderr, "bench:", err)
		return 1
	}
	for _, m := range missed {
		fmt.Fprintln(stderr, "bench: missed:", m)
	}
	if *gate && len(missed) > 0 {
		return 1
	}
	return 0
}

func choose(names []string) ([]figure, error) {
	if len(names) == 0 {
		return figures, nil
	}
	var chosen []figure
	for _, name := range names {
		found := false
		for _, f := range figures {
			if f.name == name {
				chosen, found = append(chosen, f), true
			}
		}
		if !found {
			return nil, fmt.Errorf("no figure %q", name)
		}
	}
	return chosen, nil
}

func (e *env) prepare(parent string) error {
	if _, err := diskOf(parent); err != nil {
		return err
	}
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", agentModule).Output()
	if err != nil {
		return fmt.Errorf("find the agent's module: %w", err)
	}
	e.root = strings.TrimSpace(string(out))
	e.dir, err = os.MkdirTemp(parent, "ssg-bench-")
	return err
}

// measure runs figures, prints each and puts them into the document.
func (e *env) measure(ctx context.Context, chosen []figure, document string, stdout io.Writer) (missed []string, err error) {
	sections := map[string]*section{}
	for _, f := range chosen {
		where, err := machine(e.dir)
		if err != nil {
			return nil, err
		}
		began := time.Now()
		s := new(section)
		s.say("*%s.*", where)
		if e.quick {
			s.say("**A quick run: these figures mean little.**")
		}
		if err := f.measure(ctx, e, s); err != nil {
			if errors.Is(err, context.Canceled) {
				return nil, errors.New("interrupted")
			}
			return nil, fmt.Errorf("%s: %w", f.name, err)
		}
		fmt.Fprintf(stdout, "## %s\n\n%s", f.name, s.text.String())
		fmt.Fprintf(e.err, "bench: %s took %v\n", f.name, time.Since(began).Round(time.Second))
		sections[f.name] = s
		for _, m := range s.missed {
			missed = append(missed, f.name+": "+m)
		}
	}
	if document == "" {
		return missed, nil
	}
	return missed, writeDocument(document, sections)
}

// build makes the agent's binary once, as it is shipped.
func (e *env) build(ctx context.Context) (string, error) {
	if e.binary != "" {
		return e.binary, nil
	}
	out := filepath.Join(e.dir, "ssg-agent")
	if err := e.compile(ctx, out, true, nil); err != nil {
		return "", err
	}
	e.binary = out
	return out, nil
}

// compile builds the agent for a target given by environment variables.
func (e *env) compile(ctx context.Context, out string, strip bool, target []string) error {
	args := []string{"build", "-trimpath", "-buildvcs=false", "-tags=nethttpomithttp2"} // as scripts/cross-build.sh
	if strip {
		args = append(args, "-ldflags=-s -w -buildid=")
	}
	if slices.Contains(target, "GOARM=6") {
		list, err := os.ReadFile(filepath.Join(e.root, "scripts", "cold.txt"))
		if err != nil {
			return err
		}
		for line := range strings.Lines(string(list)) {
			if line[0] != '#' {
				args = append(args, "-gcflags="+strings.TrimSpace(line)+"=-l")
			}
		}
	}
	cmd := exec.CommandContext(ctx, "go", append(args, "-o", out, "./cmd/agent")...)
	cmd.Dir = e.root
	cmd.Env = append(append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off", "GOFLAGS="), target...)
	if text, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build the agent %s: %w\n%s", strings.Join(target, " "), err, text)
	}
	return nil
}
