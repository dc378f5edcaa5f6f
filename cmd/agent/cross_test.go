package main

import (
	"bytes"
	"encoding/json"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ssg-safe/agent/internal/agenttest"
)

// maxBinary bounds the stripped linux/arm/v6 binary, in bytes (DESIGN: 14 MiB).
const maxBinary = 14 << 20

// crossBuild runs scripts/cross-build.sh in the given tree and returns where the
// binaries are.
func crossBuild(t *testing.T, tree string, targets ...string) string {
	t.Helper()
	out := t.TempDir()
	cmd := exec.CommandContext(t.Context(), filepath.Join(tree, "scripts", "cross-build.sh"), append([]string{"-o", out}, targets...)...)
	cmd.Env = append(os.Environ(), "VERSION=v1.2.3-test", "COMMIT=0123abc", "COMMIT_TIME=1750000000", "GOFLAGS=-buildvcs=true")
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", cmd.Args, err, text)
	}
	return out
}

// TestBoards builds for the boards and runs each binary under an emulator of its
// processor: an ARM1176 is a Raspberry Pi 1 or Zero and refuses newer code.
func TestBoards(t *testing.T) {
	root := agenttest.Root(t)
	dist := crossBuild(t, root, "linux/arm/v6", "linux/arm/v7", "linux/arm64")
	for _, board := range []struct{ binary, emulator, cpu, arch string }{
		{"ssg-agent-linux-armv6", "qemu-arm", "arm1176", "arm/v6"},
		{"ssg-agent-linux-armv7", "qemu-arm", "cortex-a7", "arm/v7"},
		{"ssg-agent-linux-arm64", "qemu-aarch64", "cortex-a53", "arm64"},
	} {
		t.Run(board.binary, func(t *testing.T) {
			bin := filepath.Join(dist, board.binary)
			command := []string{agenttest.Tool(t, board.emulator), "-cpu", board.cpu, bin}
			out, err := exec.CommandContext(t.Context(), command[0], append(command[1:], "version", "--json")...).Output()
			if err != nil {
				t.Fatal(err)
			}
			var got buildInfo
			if err := json.Unmarshal(out, &got); err != nil {
				t.Fatal(err)
			}
			if got.Version != "v1.2.3-test" || got.Commit != "0123abc" || got.Time != "2025-06-15T15:06:40Z" ||
				got.Arch != board.arch || got.Cgo || len(got.Libraries) < 5 {
				t.Errorf("version says %s", out)
			}
			runDemoContract(t, 2, command)
		})
	}

	t.Run("size", func(t *testing.T) {
		st, err := os.Stat(filepath.Join(dist, "ssg-agent-linux-armv6"))
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("linux/arm/v6: %d bytes, %.2f MiB", st.Size(), float64(st.Size())/(1<<20))
		if st.Size() > maxBinary {
			t.Errorf("linux/arm/v6 has %d bytes, more than %d", st.Size(), maxBinary)
		}
	})

	t.Run("release files", func(t *testing.T) {
		check := exec.Command("sha256sum", "--check", "--strict", "SHA256SUMS")
		check.Dir = dist
		if out, err := check.CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
		sums, err := os.ReadFile(filepath.Join(dist, "SHA256SUMS"))
		if err != nil {
			t.Fatal(err)
		}
		entries, err := os.ReadDir(dist)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if e.Name() != "SHA256SUMS" && !strings.Contains(string(sums), "  "+e.Name()+"\n") {
				t.Errorf("%s has no checksum", e.Name())
			}
		}
		for _, name := range []string{"LICENSE", "THIRD_PARTY_LICENSES.md", "ssg-agent-linux-armv6.cdx.json", "ssg-hub-linux-armv7", "ssg-hub-linux-arm64.cdx.json"} {
			if !strings.Contains(string(sums), "  "+name+"\n") {
				t.Errorf("no %s in the release", name)
			}
		}
		bom, err := os.ReadFile(filepath.Join(dist, "ssg-agent-linux-armv6.cdx.json"))
		if err != nil {
			t.Fatal(err)
		}
		for _, part := range []string{`"CycloneDX"`, `"v1.2.3-test"`, "pkg:golang/go.etcd.io/bbolt@", "pkg:golang/github.com/tarm/serial@", `"go:GOARM"`} {
			if !bytes.Contains(bom, []byte(part)) {
				t.Errorf("the bill of materials has no %s", part)
			}
		}
	})

	t.Run("reproducible", func(t *testing.T) {
		// The same sources in two folders, without git.
		here, there := filepath.Join(t.TempDir(), "here"), filepath.Join(t.TempDir(), "elsewhere", "deeper")
		copyTree(t, root, here)
		copyTree(t, here, there)
		first, second := crossBuild(t, here, "linux/arm/v7"), crossBuild(t, there, "linux/arm/v7")
		for _, name := range []string{"ssg-agent-linux-armv7", "ssg-agent-linux-armv7.cdx.json", "ssg-hub-linux-armv7", "ssg-hub-linux-armv7.cdx.json"} {
			one, err := os.ReadFile(filepath.Join(first, name))
			if err != nil {
				t.Fatal(err)
			}
			two, err := os.ReadFile(filepath.Join(second, name))
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(one, two) {
				t.Errorf("%s: two builds of the same sources differ", name)
			}
			for _, path := range []string{here, there, goEnv(t, "GOROOT"), goEnv(t, "GOMODCACHE")} {
				if path != "" && bytes.Contains(one, []byte(path+"/")) {
					t.Errorf("%s holds the path %s of the machine that built it", name, path)
				}
			}
		}
	})
}

func TestCrossBuildRefuses(t *testing.T) {
	script := filepath.Join(agenttest.Root(t), "scripts", "cross-build.sh")
	for _, test := range []struct {
		name, target, version, says string
	}{
		{"unknown target", "linux/mips", "v1", "unknown target"},
		{"a version that is flags", "linux/amd64", "v1 -X main.commit=0", "letters, digits"},
	} {
		t.Run(test.name, func(t *testing.T) {
			cmd := exec.Command(script, "-o", t.TempDir(), test.target)
			cmd.Env = append(os.Environ(), "VERSION="+test.version, "COMMIT=0", "COMMIT_TIME=0")
			out, err := cmd.CombinedOutput()
			if err == nil || !strings.Contains(string(out), test.says) {
				t.Errorf("%v, %q; want an error about %q", err, out, test.says)
			}
		})
	}
}

func goEnv(t *testing.T, name string) string {
	t.Helper()
	out, err := exec.Command("go", "env", name).Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

// copyTree copies the module without what a build does not read.
func copyTree(t *testing.T, from, to string) {
	t.Helper()
	err := filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		if d.IsDir() {
			switch {
			case rel != "." && strings.HasPrefix(d.Name(), "."), d.Name() == "testdata", d.Name() == "dist", d.Name() == "docs":
				return fs.SkipDir
			}
			return os.MkdirAll(filepath.Join(to, rel), 0o755)
		}
		st, err := d.Info()
		if err != nil || !st.Mode().IsRegular() {
			return err
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, rel), content, st.Mode().Perm())
	})
	if err != nil {
		t.Fatal(err)
	}
}
