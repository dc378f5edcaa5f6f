package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestQuantile(t *testing.T) {
	hundred := make([]int, 100)
	for i := range hundred {
		hundred[i] = 100 - i
	}
	for _, c := range []struct {
		values []int
		q      float64
		want   int
	}{
		{nil, .5, 0},
		{[]int{7}, .5, 7},
		{[]int{7}, .99, 7},
		{[]int{3, 1, 2}, .5, 2},
		{hundred, .5, 50},
		{hundred, .99, 99},
		{hundred, 1, 100},
	} {
		if got := quantile(c.values, c.q); got != c.want {
			t.Errorf("quantile of %d values at %v is %d, want %d", len(c.values), c.q, got, c.want)
		}
	}
	if hundred[0] != 100 {
		t.Error("quantile changed its argument")
	}
}

// A figure's block is replaced and nothing else.
func TestReplace(t *testing.T) {
	const before = "# A\n\n<!-- bench:slip -->\nold\n<!-- /bench:slip -->\n\n<!-- bench:size -->\n<!-- /bench:size -->\nend\n"
	got, err := replace(before, "slip", "new\n\n")
	if err != nil {
		t.Fatal(err)
	}
	if want := strings.Replace(before, "old\n", "\nnew\n\n", 1); got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
	again, err := replace(got, "slip", "new\n\n")
	if err != nil || again != got {
		t.Errorf("replaced again: %v\n%s", err, again)
	}
	for _, missing := range []string{"idle", ""} {
		if _, err := replace(before, missing, "x"); err == nil {
			t.Errorf("figure %q: no error", missing)
		}
	}
}

// Every figure has its place in the document.
func TestDocumentHasAllFigures(t *testing.T) {
	raw, err := os.ReadFile(filepath.Join("..", "docs", "benchmarks.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range figures {
		if _, err := replace(string(raw), f.name, ""); err != nil {
			t.Errorf("figure %s: %v", f.name, err)
		}
		if command := "bench run . " + f.name; !strings.Contains(string(raw), command) {
			t.Errorf("the document does not say %q", command)
		}
	}
}

func TestTable(t *testing.T) {
	var s section
	s.table([][]string{{"", "n"}, {"ação", s.target("x ≤ 1", true)}, {"b", s.target("y ≤ 1", false)}})
	want := "|      | n                 |\n| ---- | ----------------- |\n| ação | x ≤ 1: met        |\n| b    | y ≤ 1: **missed** |\n\n"
	if got := s.text.String(); got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
	if fmt.Sprint(s.missed) != "[y ≤ 1]" {
		t.Errorf("missed: %v", s.missed)
	}
}

// The glass shows what was drawn where, in whatever pieces it came.
func TestGlass(t *testing.T) {
	const drawn = "\x1b[?25l\x1b[1;1H\x1b[37;44;1m Loja · Totem\x1b[m\x0f\x1b[3;5HIniciando\x1b(0\x1b[3;5HDigite\x1b[C\x1b[Co valor\r\n√"
	const want = " Loja · Totem\n    Digitendo valor\n√\n"
	for size := 1; size <= len(drawn); size++ {
		var g glass
		for at := 0; at < len(drawn); at += size {
			g.write([]byte(drawn[at:min(at+size, len(drawn))]))
		}
		if got := g.String(); got != want {
			t.Fatalf("in pieces of %d:\n%s\nwant:\n%s", size, got, want)
		}
		if !g.shows("Totem") || g.shows("Iniciando") {
			t.Fatalf("in pieces of %d: shows is wrong", size)
		}
		g.write([]byte("\x1b[J"))
		if g.String() != "" {
			t.Fatalf("cleared: %q", g.String())
		}
	}
}

func TestOwnerOf(t *testing.T) {
	own := map[string]string{
		"net/http": "Go: net, HTTP", "net": "Go: net, HTTP", "github.com/x/y": "github.com/x/y",
		"github.com/x/y/sub": "github.com/x/y", "gopkg.in/z.v2": "gopkg.in/z",
	}
	paths := []string{"github.com/x/y/sub", "github.com/x/y", "gopkg.in/z.v2", "net/http", "net"}
	for symbol, want := range map[string]string{
		"net/http.(*Transport).dialConn":        "Go: net, HTTP",
		"net.Dial":                              "Go: net, HTTP",
		"network.Dial":                          noOwner,
		"github.com/x/y.F[go.shape.int]":        "github.com/x/y",
		"github.com/x/y/sub.init.0":             "github.com/x/y",
		"github.com/x/yy.F":                     noOwner,
		"go:itab.*net/http.body,io.Reader":      "Go: net, HTTP",
		"type:.eq.github.com/x/y.T":             "github.com/x/y",
		"gopkg.in/z%2ev2.F":                     "gopkg.in/z",
		"main.run":                              agentModule,
		"go:string.*":                           noOwner,
		"type:*struct { net/http.F int }":       noOwner,
		"github.com/x/y.(*T).Method-fm":         "github.com/x/y",
		"go:(*github.com/x/y.T).Method wrapper": noOwner,
	} {
		if got := ownerOf(symbol, paths, own); got != want {
			t.Errorf("%s belongs to %q, want %q", symbol, got, want)
		}
	}
}

func TestField(t *testing.T) {
	status := []byte("Name:\tagent\nRssAnon:\t    6112 kB\nvoluntary_ctxt_switches:\t17\nnonvoluntary_ctxt_switches:\t5\n")
	for name, want := range map[string]int64{"RssAnon:": 6112, "voluntary_ctxt_switches:": 17, "RssFile:": 0} {
		if got := field(status, name); got != want {
			t.Errorf("%s %d, want %d", name, got, want)
		}
	}
}

// What the kernel says of this very process can be read.
func TestUsageOfThisProcess(t *testing.T) {
	u, err := usageOf(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if u.cpu <= 0 || u.anon <= 0 || u.resident < u.anon {
		t.Errorf("usage %+v", u)
	}
	before, err := ioField(os.Getpid(), "wchar")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(t.TempDir(), "f"), make([]byte, 12345), 0o600); err != nil {
		t.Fatal(err)
	}
	after, err := ioField(os.Getpid(), "wchar")
	if err != nil {
		t.Fatal(err)
	}
	if after-before < 12345 {
		t.Errorf("%d bytes written, want 12345", after-before)
	}
}

// A file that was dropped from the page cache is not there, and one that was
// read is: cold starts rest on it.
func TestForget(t *testing.T) {
	dir, err := os.MkdirTemp("/var/tmp", "ssg-bench-test-") // not a tmpfs
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	path := filepath.Join(dir, "f")
	if err := os.WriteFile(path, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if n, err := resident(f, 1<<20); err != nil || n != 1<<20 {
		t.Errorf("just written: %d bytes in memory, %v", n, err)
	}
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
	if err := forget(path); err != nil {
		t.Fatal(err)
	}
	if n, err := resident(f, 1<<20); err != nil || n > 1<<20/100 {
		t.Errorf("dropped: %d bytes in memory, %v", n, err)
	}
}

func TestDiskOf(t *testing.T) {
	if got, err := diskOf("/proc"); err != nil || !strings.HasPrefix(got, "proc on ") {
		t.Errorf("/proc is on %q, %v", got, err)
	}
	if _, err := diskOf("/dev/shm"); err == nil {
		t.Error("a tmpfs was taken for a disk")
	}
}

// The spans that lie within an interval are counted, the others are not.
func TestSpans(t *testing.T) {
	at := func(n int) time.Time { return time.Unix(int64(n), 0) }
	s := spans{list: []span{{at(0), at(2)}, {at(2), at(3)}, {at(4), at(6)}, {at(6), at(9)}}}
	got := s.within(at(1), at(7))
	if len(got) != 2 || total(got, 9) != 3*time.Second || total(got, 1) != time.Second {
		t.Errorf("within: %v", got)
	}
}
