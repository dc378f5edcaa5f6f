package archtest

import (
	"go/ast"
	"os"
	"regexp"
	"strings"
	"testing"
)

// TestGuideQuotesCode: the Go code in docs/adding-a-provider.md stands in the file
// that its first line names, line by line, in that order; comments may be left out.
func TestGuideQuotesCode(t *testing.T) {
	raw, err := os.ReadFile(root + "/docs/adding-a-provider.md")
	if err != nil {
		t.Fatal(err)
	}
	quotes := regexp.MustCompile("(?s)```go\n// (\\S+)\n(.*?)```").FindAllStringSubmatch(string(raw), -1)
	if n := strings.Count(string(raw), "```go"); len(quotes) != n || n < 5 {
		t.Fatalf("%d of %d pieces of code name their file", len(quotes), n)
	}
	for _, q := range quotes {
		source, err := os.ReadFile(root + "/" + q[1])
		if err != nil {
			t.Error(err)
			continue
		}
		rest := string(source)
		for line := range strings.Lines(q[2]) {
			_, after, found := strings.Cut(rest, strings.TrimRight(line, "\n")+"\n")
			if !found {
				t.Errorf("%s has no line, or not there:\n%s", q[1], line)
				break
			}
			rest = after
		}
	}
}

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
