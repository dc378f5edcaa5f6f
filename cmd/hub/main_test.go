package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"github.com/ssg-safe/agent/internal/agenttest"
)

// hubMain runs a command line in this process.
func hubMain(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = run(context.WithoutCancel(t.Context()), &globals{stdout: &out, stderr: &errs, args: args})
	return code, out.String(), errs.String()
}

// eventually polls a condition that another process brings about.
func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(90 * time.Second); !done(); {
		if time.Now().After(deadline) {
			t.Fatalf("it did not happen: %s", what)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// running is a hub that serves in this process.
type running struct {
	t    *testing.T
	stop context.CancelFunc
	code chan int
	log  *lockedBuffer
}

// startHub serves a configuration until the test ends.
func startHub(t *testing.T, data, config string) *running {
	t.Helper()
	file := filepath.Join(t.TempDir(), "hub.toml")
	if err := os.WriteFile(file, fmt.Appendf(nil, "version = 1\ndata = %q\n%s", data, config), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	r := &running{t: t, stop: cancel, code: make(chan int, 1), log: new(lockedBuffer)}
	go func() {
		r.code <- run(ctx, &globals{stdout: r.log, stderr: r.log, args: []string{"serve", "--config", file}})
	}()
	t.Cleanup(func() { r.end(0) })
	eventually(t, "the hub runs", func() bool {
		select {
		case code := <-r.code:
			r.code <- code
			t.Fatalf("serve ended with %d:\n%s", code, r.log)
		default:
		}
		code, _, _ := hubMain(t, "status", "--data", data)
		return code == 0
	})
	return r
}

// end stops it, once, and wants an exit code.
func (r *running) end(want int) {
	r.stop()
	if r.code == nil {
		return
	}
	if got := <-r.code; got != want {
		r.t.Errorf("serve ended with %d, want %d:\n%s", got, want, r.log)
	}
	r.code = nil
}

type lockedBuffer struct {
	mu sync.Mutex // guards b
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func TestWrongUsage(t *testing.T) {
	data := t.TempDir()
	for _, test := range []struct {
		args, says string
		code       int
	}{
		{"devise", "Did you mean this?\n\tdevice", 2},
		{"--nope", "unknown flag: --nope", 2},
		{"version extra", "See 'ssg-hub version --help'", 2},
		{"serve", "Give --config FILE", 2},
		{"serve --config " + data + "/none.toml", "no such file", 2},
		{"device", "which of its commands?", 2},
		{"device add", "give the terminal's name", 2},
		{"device add kiosk-1 --key xyz", "43 characters", 2},
		{"device approve-epoch kiosk-1 first", "is no epoch", 2},
		{"device show kiosk-1 --data " + data, "kiosk-1: not found in the registry", 1},
		{"device list --data " + data + "/nowhere", "name the hub's with --data", 2},
		{"alarms ack x --by ana", "is no number of an alarm", 2},
		{"alarms ack 1", "who takes care", 2},
		{"alarms ack 1 --by ana --data " + data, "alarm 1: not found", 1},
		{"charge start kiosk-1 --amount 1,50", "write reais with a dot", 2},
		{"charge start kiosk-1 --amount 1.50 --data " + data, "the hub is not running", 1},
		{"export kiosk-1 --format xml", "there are jsonl and csv", 2},
		{"export kiosk-1 --data " + data, "not found in the registry", 1},
		{"keys pin --data " + data, "no such signing key", 1},
		{"keys rotate --data " + data, "no such signing key", 1},
		{"status --data " + data, "the hub is not running", 1},
	} {
		t.Run(test.args, func(t *testing.T) {
			code, stdout, stderr := hubMain(t, strings.Fields(test.args)...)
			if code != test.code || stdout != "" {
				t.Errorf("exit code %d, stdout %q; want %d and nothing", code, stdout, test.code)
			}
			if !strings.HasPrefix(stderr, "ssg-hub: ") || !strings.Contains(stderr, test.says) {
				t.Errorf("stderr %q does not say %q", stderr, test.says)
			}
		})
	}
}

// Every command says what it is for, what its exit codes mean, and what it takes.
func TestEveryCommandIsExplained(t *testing.T) {
	seen := 0
	var walk func(cmd *cobra.Command)
	walk = func(cmd *cobra.Command) {
		path := cmd.CommandPath()
		if strings.HasPrefix(path, "ssg-hub completion") || strings.HasPrefix(path, "ssg-hub help") {
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
			code, stdout, stderr := hubMain(t, append(strings.Fields(path)[1:], "--help")...)
			if code != 0 || stderr != "" || !strings.Contains(stdout, "Usage:") {
				t.Errorf("--help: exit code %d, stdout %.60q, stderr %q", code, stdout, stderr)
			}
		})
		for _, sub := range cmd.Commands() {
			walk(sub)
		}
	}
	walk(newRootCmd(&globals{}))
	if seen < 28 {
		t.Errorf("%d commands were seen", seen)
	}
}

func TestVersion(t *testing.T) {
	for _, test := range []struct{ args, says string }{
		{"version", "licence Apache-2.0"}, {"version --json", `"version":`}, {"version --licenses", "mochi-mqtt"},
	} {
		if code, stdout, _ := hubMain(t, strings.Fields(test.args)...); code != 0 || !strings.Contains(stdout, test.says) {
			t.Errorf("%s: exit code %d, %.200q", test.args, code, stdout)
		}
	}
}

// binaries are the programs as users run them, built once for all tests.
var binaries = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "ssg-hub-test-")
	if err != nil {
		return "", err
	}
	buildDir = dir
	cmd := exec.Command("go", "build", "-o", dir, "./cmd/agent", "./cmd/hub")
	cmd.Dir = filepath.Join("..", "..")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build: %w\n%s", err, out)
	}
	return dir, nil
})

var buildDir string

// programs returns the paths of ssg-agent and ssg-hub.
func programs(t *testing.T) (agent, hub string) {
	t.Helper()
	agenttest.Root(t)
	dir, err := binaries()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, "agent"), filepath.Join(dir, "hub")
}

func TestMain(m *testing.M) {
	os.Setenv("LC_ALL", "en_US.UTF-8") // of the programs that tests start
	code := m.Run()
	if buildDir != "" {
		os.RemoveAll(buildDir)
	}
	os.Exit(code)
}
