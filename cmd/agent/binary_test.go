package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/ssg-safe/agent/internal/agenttest"
)

// agentBinary is the program as users run it, built once for all tests.
func agentBinary(t *testing.T) string {
	t.Helper()
	agenttest.Root(t)
	bin, err := buildAgent()
	if err != nil {
		t.Fatal(err)
	}
	return bin
}

var buildDir string

var buildAgent = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "ssg-agent-test-")
	if err != nil {
		return "", err
	}
	buildDir = dir
	bin := filepath.Join(dir, "ssg-agent")
	cmd := exec.Command("go", "build", "-o", bin, ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build: %w\n%s", err, out)
	}
	return bin, nil
})

func TestMain(m *testing.M) {
	if job := os.Getenv(cutJobVariable); job != "" {
		if err := makeStates(job); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	code := m.Run()
	if buildDir != "" {
		os.RemoveAll(buildDir)
	}
	os.Exit(code)
}
