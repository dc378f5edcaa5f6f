package main

import (
	"debug/buildinfo"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ssg-safe/agent/internal/agenttest"
)

// TestLinked holds what other people's code is linked into the agent to a list
// that reviewers read: a new module or package shows up as a change of
// testdata/linked.txt. `make linked` writes it anew.
func TestLinked(t *testing.T) {
	root := agenttest.Root(t)
	list := exec.Command("go", "list", "-deps", "-f", `{{.ImportPath}}{{with .Module}} {{.Path}} {{.Version}}{{end}}`, "./cmd/agent")
	list.Dir = root
	list.Env = append(os.Environ(), "GOOS=linux", "GOARCH=arm", "CGO_ENABLED=0")
	out, err := list.Output()
	if err != nil {
		t.Fatal(err)
	}
	packages := map[string][]string{}
	for line := range strings.Lines(string(out)) {
		f := strings.Fields(line)
		if why := unwanted[f[0]]; why != "" {
			t.Errorf("the agent links %s: %s", f[0], why)
		}
		if len(f) == 3 { // of another module
			packages[f[1]] = append(packages[f[1]], f[0])
		}
	}

	info, err := buildinfo.ReadFile(agentBinary(t))
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	b.WriteString("# Modules and packages linked into ssg-agent. Made by `make linked`; read by reviewers.\n")
	for _, m := range info.Deps {
		fmt.Fprintf(&b, "\n%s %s\n", m.Path, m.Version)
		slices.Sort(packages[m.Path])
		for _, p := range packages[m.Path] {
			fmt.Fprintf(&b, "\t%s\n", p)
		}
		if packages[m.Path] == nil {
			t.Errorf("the binary holds %s, of which no package is needed", m.Path)
		}
		delete(packages, m.Path)
	}
	for path := range packages {
		t.Errorf("the binary does not list %s", path)
	}
	golden := filepath.Join("testdata", "linked.txt")
	if *update {
		if err := os.WriteFile(golden, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), b.String()); diff != "" {
		t.Errorf("what is linked has changed; if that is meant, run `make linked` and commit the list (-listed +linked):\n%s", diff)
	}
}

// unwanted packages must not get in through a dependency either. What our own
// files may import stands in internal/archtest.
var unwanted = map[string]string{
	"net/http/pprof": "it opens debug pages on every default HTTP server",
	"expvar":         "it opens a page on every default HTTP server",
	"database/sql":   "the agent's store is one bbolt file",
	"html/template":  "it keeps the linker from dropping methods; the console is the hub's",
	"testing":        "it adds its flags to the program",
	"plugin":         "the binary is static",
	"runtime/cgo":    "the binary is static and cross-built",
	"os/user":        "it is not needed, and behaves differently with cgo",
	"go/build":       "a compiler's parts have no business on a kiosk",
}
