// Package agenttest is for tests that run the program and other programs.
package agenttest

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Root returns the module's root directory and tells the test cache about the
// sources: a test that runs the go command would otherwise be served a result
// from before the last change.
func Root(t testing.TB) string {
	t.Helper()
	root, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(root, "cmd", "agent", "main.go")); err == nil {
			break
		}
		parent := filepath.Dir(root)
		if parent == root {
			t.Fatal("the test does not run inside the module")
		}
		root = parent
	}
	err = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && path != root && (strings.HasPrefix(d.Name(), ".") || d.Name() == "dist"):
			return fs.SkipDir
		case d.IsDir():
			return nil
		}
		_, err = os.Stat(path) // what the cache watches
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return root
}

// Tool returns the path of a program that the test needs. It is an error, not a
// reason to skip, when it is missing: make deps installs it.
func Tool(t testing.TB, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatalf("%v; `make deps` installs what the tests need", err)
	}
	return path
}
