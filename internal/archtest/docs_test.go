package archtest

import (
	"go/ast"
	"os"
	"regexp"
	"testing"
)

// TestReliabilityNamesRealTests: what docs/reliability.md says was attacked has a
// test of that name.
func TestReliabilityNamesRealTests(t *testing.T) {
	raw, err := os.ReadFile(root + "/docs/reliability.md")
	if err != nil {
		t.Fatal(err)
	}
	_, files, err := load(os.DirFS(root))
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string]bool{}
	for _, f := range files {
		for _, d := range f.ast.Decls {
			if d, ok := d.(*ast.FuncDecl); ok && d.Recv == nil && f.test {
				tests[d.Name.Name] = true
			}
		}
	}
	names := regexp.MustCompile(`\bTest[A-Z]\w+`).FindAllString(string(raw), -1)
	if len(names) < 20 {
		t.Errorf("only %d tests are named", len(names))
	}
	for _, name := range names {
		if !tests[name] {
			t.Errorf("there is no test %s", name)
		}
	}
}
