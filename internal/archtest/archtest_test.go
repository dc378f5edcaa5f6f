package archtest

import (
	"os"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

const root = "../.."

func TestTree(t *testing.T) {
	fset, files, err := load(os.DirFS(root))
	if err != nil {
		t.Fatal(err)
	}
	present := map[string]bool{}
	for _, f := range files {
		present[f.pkg] = true
	}
	for _, pkg := range []string{"money", "pix", "pix/qr", "charge", "ledger", "queue", "store", "redact", "providers", "printer", "display", "device", "terminal", "hub", "cmd/agent", "cmd/hub"} {
		if !present[pkg] {
			t.Errorf("package %s was not found: the rules would pass for want of something to check", pkg)
		}
	}
	for _, v := range check(files) {
		t.Error(v)
	}
	for _, pkg := range unsafeBubbles(files) {
		t.Errorf("%s uses testing/synctest: a test file of it must import _ %q, or the race detector may die", pkg, module+"internal/bubbles")
	}
	for _, problem := range undocumented(fset, files) {
		t.Error(problem)
	}
	for _, problem := range locations(fset, files) {
		t.Errorf("%s: fails on a board without a zone database; use package zone", problem)
	}
	for _, problem := range floats(fset, files) {
		t.Errorf("%s: amounts are whole centavos, and floating point loses them", problem)
	}
}

// Every rule must catch the violation that was planted for it, and no other
// rule's plant may be needed for that: a rule that catches nothing fails.
func TestRulesCatch(t *testing.T) {
	plants := []struct{ rule, file, imports string }{
		{"core imports no adapter", "ledger/x.go", module + "printer"},
		{"core imports no adapter", "charge/x.go", module + "providers/ssg"},
		{"core imports no adapter", "pix/qr/x.go", module + "device"},
		{"values do no I/O", "money/x.go", "os"},
		{"values do no I/O", "charge/x.go", "go.etcd.io/bbolt"},
		{"values do no I/O", "pix/x.go", "net/http"},
		{"core reaches no network", "queue/x.go", "net/http"},
		{"core reaches no network", "ledger/x.go", "os/exec"},
		{"store reaches no network", "store/x.go", "net"},
		{"printer stands alone", "printer/x.go", module + "device"},
		{"printer stands alone", "printer/escpos/x.go", module + "display"},
		{"display stands alone", "display/x.go", module + "printer"},
		{"device stands alone", "device/x.go", module + "ledger"},
		{"fleet stands alone", "fleet/x.go", module + "localapi"},
		{"hub knows the protocol, not the terminal", "hub/bolt/x.go", module + "fleet"},
		{"payouts know contracts, no provider", "hub/payouts/x.go", module + "providers/bspay"},
		{"only the hub sends money", "cmd/agent/x.go", module + "hub/payouts"},
		{"only the hub sends money", "hub/x.go", module + "hub/payouts"},
		{"localapi stands alone", "localapi/x.go", module + "terminal"},
		{"providers stand alone", "providers/ssg/x.go", module + "queue"},
		{"local devices have no HTTP", "device/x.go", "net/http"},
		{"the emulator is independent of the encoder", "printer/emulator/x.go", module + "printer/escpos"},
		{"the operator menu is pure", "operator/x.go", module + "terminal"},
		{"the operator menu is pure", "operator/pin/x.go", "os"},
		{"the terminal knows plain types only", "terminal/x.go", module + "providers/ssg"},
		{"the terminal knows plain types only", "terminal/x.go", module + "printer/escpos"},
		{"the terminal knows plain types only", "terminal/x.go", module + "device"},
		{"internal knows values only", "internal/supervise/x.go", module + "terminal"},
		{"only cmd imports what wires the program", "terminal/x.go", module + "internal/supervise"},
		{"only cmd imports what wires the program", "display/x.go", module + "cmd/agent"},
		{"nobody imports the terminal", "scripts/tool/x.go", module + "terminal"},
		{"no debug endpoints", "cmd/agent/x.go", "net/http/pprof"},
		{"no debug endpoints", "cmd/agent/x_test.go", "expvar"},
		{"no SQL in the agent", "store/x.go", "database/sql"},
		{"no HTML in the agent", "localapi/x.go", "html/template"},
		{"no code that only tests need", "printer/emulator/x.go", "testing"},
		{"no code that only tests need", "cmd/agent/x.go", module + "store/storetest"},
		{"no C and no plugins", "device/x.go", "C"},
		{"no C and no plugins", "device/x_test.go", "unsafe"},
		{"one logger", "terminal/x_test.go", "log"},
		{"one zone table", "providers/ssg/x_test.go", "time/tzdata"},
		{"no superseded packages", "pix/x_test.go", "math/rand"},
		{"no assertion libraries", "pix/x_test.go", "github.com/stretchr/testify/require"},
		{"systemd by datagram only", "internal/supervise/x.go", "github.com/coreos/go-systemd/v22/dbus"},
		{"providers/ssg knows no other provider", "providers/ssg/x.go", module + "providers/bspay"},
		{"providers/ssg knows no other provider", "providers/ssg/x.go", module + "providers/ssg/ssgsim"},
		{"providers/next knows no other provider", "providers/next/x.go", module + "providers/ssg"},
		{"providers/ssg/ssgsim is independent of its adapter", "providers/ssg/ssgsim/x.go", module + "providers/ssg"},
	}
	planted := map[string]bool{}
	for _, p := range plants {
		planted[p.rule] = true
		_, files, err := load(fstest.MapFS{p.file: {Data: []byte("package x\n\nimport _ \"" + p.imports + "\"\n")}})
		if err != nil {
			t.Fatal(err)
		}
		caught := slices.ContainsFunc(check(files), func(v violation) bool {
			return v.rule == p.rule && v.file == p.file && v.imports == p.imports
		})
		if !caught {
			t.Errorf("rule %q does not catch %s importing %s", p.rule, p.file, p.imports)
		}
	}
	for _, r := range rules {
		if r.why == "" {
			t.Errorf("rule %q does not say why", r.name)
		}
		if !planted[r.name] {
			t.Errorf("no violation of rule %q was planted", r.name)
		}
	}
}

// What is allowed must stay allowed.
func TestRulesAllow(t *testing.T) {
	for _, p := range []struct{ file, imports string }{
		{"charge/x.go", module + "providers"},
		{"display/x.go", module + "pix/qr"},
		{"display/x.go", module + "money"},
		{"printer/slip/x.go", module + "printer"},
		{"printer/x_test.go", module + "printer/emulator"},
		{"terminal/x.go", module + "display"},
		{"terminal/x_test.go", module + "printer/emulator"},
		{"providers/ssg/x_test.go", module + "providers/ssg/ssgsim"},
		{"providers/providertest/x.go", "testing"},
		{"ledger/x_test.go", module + "store/storetest"},
		{"cmd/agent/x.go", module + "internal/supervise"},
		{"cmd/agent/x.go", module + "providers/ssg"},
		{"store/x.go", "os/exec"},
		{"money/x.go", "log/slog"},
		{"hub/postgres/x.go", "database/sql"},
		{"internal/supervise/x.go", "github.com/coreos/go-systemd/v22/daemon"},
		{"pix/x.go", "math/rand/v2"},
	} {
		_, files, err := load(fstest.MapFS{p.file: {Data: []byte("package x\n\nimport _ \"" + p.imports + "\"\n")}})
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range check(files) {
			t.Errorf("refused: %v", v)
		}
	}
}

func TestLoadSkipsWhatIsNotTheModule(t *testing.T) {
	bad := &fstest.MapFile{Data: []byte("package x\n\nimport _ \"C\"\n")}
	_, files, err := load(fstest.MapFS{
		"bench/go.mod": {}, "bench/x.go": bad, "pix/testdata/x.go": bad, ".git/x.go": bad, "_old/x.go": bad,
		"pix/x.go": {Data: []byte("package pix")},
	})
	if err != nil || len(files) != 1 || files[0].name != "pix/x.go" {
		t.Errorf("loaded %v, %v", files, err)
	}
}

func TestUnsafeBubblesCatches(t *testing.T) {
	uses, safe := &fstest.MapFile{Data: []byte("package x\n\nimport \"testing/synctest\"\n\nvar _ = synctest.Wait\n")},
		&fstest.MapFile{Data: []byte("package x_test\n\nimport _ \"" + module + "internal/bubbles\"\n")}
	_, files, err := load(fstest.MapFS{
		"bad/a_test.go": uses, "good/a_test.go": uses, "good/b_test.go": safe, "internal/bubbles/a_test.go": uses, "other/a.go": safe,
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := unsafeBubbles(files); !slices.Equal(got, []string{"bad"}) {
		t.Errorf("got %q", got)
	}
}

func TestLocationsCatches(t *testing.T) {
	fset, files, err := load(fstest.MapFS{
		"providers/x/a.go": {Data: []byte("package x\n\nimport \"time\"\n\nvar _, _ = time.LoadLocation(\"UTC\")\n")},
		"zone/a.go":        {Data: []byte("package zone\n\nimport \"time\"\n\nvar _, _ = time.LoadLocation(\"UTC\")\n")},
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := locations(fset, files); len(got) != 1 || got[0] != "providers/x/a.go:5:17" {
		t.Errorf("got %q", got)
	}
}

func TestUndocumentedCatches(t *testing.T) {
	fset, files, err := load(fstest.MapFS{
		"pix/a.go": {Data: []byte(`package pix

type Bad struct{}

// Good is documented.
type Good struct{ Field int }

func (Good) Method() {}
func (*Bad) Pointer() {}
func (bad[T]) Hidden() {}
func Func() {}
func private() {}

const BadConst = 1

// Group is documented as one.
const (
	A = 1
	B = 2
)

var (
	BadVar int
	Trailing int // is enough for a value
)

type bad[T any] struct{}
`)},
		"pix/a_test.go":   {Data: []byte("package pix\n\nfunc Exported() {}\n")},
		"cmd/x/a.go":      {Data: []byte("// Command x.\npackage main\n\nfunc Exported() {}\n")},
		"internal/x/a.go": {Data: []byte("// Package x.\npackage x\n\nfunc Exported() {}\n")},
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"pix/a.go:3:6: Bad has", "pix/a.go:8:1: Good.Method has", "pix/a.go:9:1: Bad.Pointer has", "pix/a.go:11:1: Func has",
		"pix/a.go:14:7: BadConst has", "pix/a.go:23:2: BadVar has", "pix: the package has",
	}
	got := undocumented(fset, files)
	if len(got) != len(want) {
		t.Fatalf("got %q, want %q", got, want)
	}
	for i := range got {
		if !strings.HasPrefix(got[i], want[i]) {
			t.Errorf("got %q, want %q", got[i], want[i])
		}
	}
}

func TestFloatsCatches(t *testing.T) {
	src := []byte("package x\n\nconst a = 1.5\n\nfunc f(b float64) { _, _ = strconv.ParseFloat(\"\", 64) }\n")
	fset, files, err := load(fstest.MapFS{"ledger/x.go": {Data: src}, "ledger/x_test.go": {Data: src}, "display/x.go": {Data: src}, "pix/qr/x.go": {Data: src}})
	if err != nil {
		t.Fatal(err)
	}
	got := floats(fset, files)
	want := []string{"ledger/x.go:5:10: float64", "ledger/x.go:5:36: ParseFloat"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
