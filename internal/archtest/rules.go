package archtest

import "strings"

// rule says what some packages may not import. Packages are paths below the
// module's root; a path ending in /... names the tree below it as well.
type rule struct {
	name string
	// of are the packages it binds, except some.
	of, except []string
	// only, when set, are the packages of this module they may import; their own
	// subtree is always allowed.
	only []string
	// neverOwn are packages of this module they may not import; never are full
	// paths of the standard library or of other modules.
	neverOwn, never []string
	// tests: the rule binds test files too.
	tests bool
	// why is the reason, printed with every violation.
	why string
}

var (
	// values are pure: they compute, and neither know a device nor wait.
	values = []string{"money", "pix/...", "redact", "exposure", "zone"}
	// core decides about money.
	core = append([]string{"charge/...", "router", "reconcile/...", "closing/...", "ticket/...", "payout/...", "proposal/...", "ledger/...", "queue/...", "store/..."}, values...)
	// moneyPackages may hold no floating point. pix/qr is geometry of pictures,
	// and has no amounts.
	moneyPackages = []string{"money/...", "pix", "exposure", "charge/...", "reconcile/...", "closing/...", "ticket/...", "payout/...", "proposal/...", "ledger/...", "queue/...", "store/..."}

	// testHelpers export tests and fakes to other packages' tests.
	testHelpers = []string{"providers/providertest/...", "store/storetest/...", "hub/hubtest/...", "internal/agenttest", "internal/powercut"}

	local = []string{"printer/...", "display/...", "device/..."}
)

// rules bind every package; providerRules adds those of each provider.
var rules = []rule{
	{
		name: "core imports no adapter",
		of:   core, only: append([]string{"providers"}, core...),
		why: "the core decides about money and must run, and be tested, without any device, network or screen; of providers it may use the contract's plain types",
	},
	{
		name: "values do no I/O",
		of:   append([]string{"charge/...", "router", "reconcile/...", "payout/..."}, values...),
		never: []string{
			"os/...", "net/...", "syscall", "golang.org/x/sys/...", "go.etcd.io/bbolt/...", "log", "io/ioutil",
		},
		why: "a value that reads a file, a clock or a socket cannot be tested from its arguments alone, nor replayed from the ledger",
	},
	{
		name: "core reaches no network",
		of:   core, never: []string{"net/...", "os/exec"}, except: []string{"store"},
		why: "what the core needs from outside comes through the terminal's inbox as a fact; store alone runs a child process, for its boot check",
	},
	{
		name: "store reaches no network",
		of:   []string{"store"}, never: []string{"net/..."},
		why: "the store is a file",
	},
	{
		name: "printer stands alone", of: []string{"printer/..."}, only: append([]string{"printer/..."}, values...),
		why: "adapters never import each other: the terminal and cmd join them, so that each can be replaced and tested by itself",
	},
	{
		name: "display stands alone", of: []string{"display/..."}, only: append([]string{"display/..."}, values...),
		why: "adapters never import each other: a screen that asks a printer or a provider waits for it",
	},
	{
		name: "device stands alone", of: []string{"device/..."}, only: append([]string{"device/..."}, values...),
		why: "adapters never import each other: a port does not know what is plugged into it",
	},
	{
		name: "fleet stands alone", of: []string{"fleet/..."}, only: append([]string{"fleet/..."}, core...),
		why: "adapters never import each other: the link carries ledger bytes and signed messages, and prints or shows nothing itself",
	},
	{
		name: "hub knows the protocol, not the terminal", of: []string{"hub/..."}, except: []string{"hub/payouts"}, only: append([]string{"hub/...", "fleet/wire"}, core...),
		why: "terminal and hub share messages and the form of the ledger, and nothing else: each can be replaced by another implementation",
	},
	{
		name: "payouts know contracts, no provider", of: []string{"hub/payouts"}, only: append([]string{"hub", "fleet/wire", "providers"}, core...),
		why: "what pays out is given to it by cmd/hub; it decides by approvals and evidence, the same for every provider",
	},
	{
		name: "only the hub sends money", of: []string{"..."}, except: []string{"cmd/hub", "hub/payouts"}, neverOwn: []string{"hub/payouts"},
		why: "a terminal stands where thieves are: no program but the hub's may approve and submit payouts",
	},
	{
		name: "localapi stands alone", of: []string{"localapi/..."}, only: append([]string{"localapi/..."}, core...),
		why: "adapters never import each other: a request becomes an event in the terminal's inbox and nothing else",
	},
	{
		// The conformance suite lives through charges as a terminal does.
		name: "providers stand alone", of: []string{"providers/..."}, except: []string{"providers/providertest"}, only: append([]string{"providers/...", "payout"}, values...),
		why: "adapters never import each other: a provider knows HTTP and money, and no part of the terminal; money leaves by approved orders of package payout alone",
	},
	{
		name: "local devices have no HTTP",
		of:   local, never: []string{"net/http/..."},
		why: "printer, screen and ports are local; an HTTP stack there is a way in and megabytes on ARM",
	},
	{
		name: "the emulator is independent of the encoder",
		of:   []string{"printer/emulator/..."}, neverOwn: []string{"printer/escpos/...", "printer/slip/..."},
		why: "a printer that shares the encoder's code shares its mistakes, and proves nothing",
	},
	{
		name: "the operator menu is pure",
		of:   []string{"operator/..."}, only: append([]string{"operator/...", "display"}, core...),
		never: []string{"os/...", "net/...", "syscall", "go.etcd.io/bbolt/..."},
		why:   "who may do what on a kiosk must be tested from keys and answers alone; the terminal does what the menu asks for",
	},
	{
		name: "the terminal knows plain types only",
		of:   []string{"terminal/..."},
		only: append([]string{"providers", "printer", "printer/slip", "display", "operator"}, core...),
		why:  "the terminal is loop and routing over small interfaces of its own; cmd wires the adapters in",
	},
	{
		name: "internal knows values only",
		of:   []string{"internal/..."}, only: append([]string{"internal/..."}, values...),
		why: "supervision and configuration serve every part, so they may depend on none",
	},
	{
		name: "only cmd imports what wires the program",
		of:   []string{"..."}, except: []string{"cmd/..."}, neverOwn: []string{"cmd/...", "internal/supervise"},
		why: "components block in Run(ctx) and are supervised from outside; a package that supervises is a second main",
	},
	{
		name: "nobody imports the terminal",
		of:   []string{"..."}, except: []string{"cmd/...", "terminal/..."}, neverOwn: []string{"terminal/..."},
		why: "it is the top of the agent; what two parts share belongs below both",
	},
	{
		name: "no debug endpoints",
		of:   []string{"..."}, never: []string{"net/http/pprof", "expvar"}, tests: true,
		why: "both register themselves on every default HTTP server by being imported; a kiosk answers nobody it does not know",
	},
	{
		name: "no SQL in the agent",
		of:   []string{"..."}, except: []string{"hub/postgres/...", "cmd/hub"}, never: []string{"database/sql/..."},
		why: "the agent's store is one bbolt file; only the hub has a database server",
	},
	{
		name: "no HTML in the agent",
		of:   []string{"..."}, except: []string{"hub/console/...", "cmd/hub"}, never: []string{"html/template", "text/template"},
		why: "templates call methods by name, which keeps the linker from dropping any method of the program; the console is the hub's",
	},
	{
		name: "no code that only tests need",
		of:   []string{"..."}, except: testHelpers, neverOwn: testHelpers,
		never: []string{"testing/...", "github.com/google/go-cmp/...", "pgregory.net/rapid", "github.com/creack/pty", "github.com/rogpeppe/go-internal/..."},
		why:   "package testing adds its flags to the program, and helpers for tests do not belong on a kiosk",
	},
	{
		name: "no C and no plugins",
		of:   []string{"..."}, never: []string{"C", "plugin", "unsafe"}, tests: true,
		why: "one static binary for every board: it cross-builds with CGO_ENABLED=0 and is checked by the compiler and the race detector",
	},
	{
		name: "one logger",
		of:   []string{"..."}, never: []string{"log"}, tests: true,
		why: "log/slog redacts by type and keeps levels; the old package prints whatever it is given",
	},
	{
		name: "one zone table",
		of:   []string{"..."}, never: []string{"time/tzdata"}, tests: true,
		why: "Go's zone database is 400 KiB of the smallest binary, and a test that links it passes where a board fails; package zone knows Brazil's",
	},
	{
		name: "no superseded packages",
		of:   []string{"..."}, never: []string{"math/rand", "io/ioutil", "encoding/gob", "github.com/pkg/errors", "golang.org/x/exp/...", "gopkg.in/..."}, tests: true,
		why: "math/rand/v2, io and os, JSON with a stored type of its own, errors and fmt, and the standard library do the same",
	},
	{
		name: "no assertion libraries",
		of:   []string{"..."}, never: []string{"github.com/stretchr/testify/...", "github.com/onsi/...", "gotest.tools/..."}, tests: true,
		why: "tests say got and want in plain Go, with go-cmp for values",
	},
	{
		name: "systemd by datagram only",
		of:   []string{"..."}, tests: true,
		never: []string{
			"github.com/coreos/go-systemd/v22/activation", "github.com/coreos/go-systemd/v22/dbus", "github.com/coreos/go-systemd/v22/journal",
			"github.com/coreos/go-systemd/v22/login1", "github.com/coreos/go-systemd/v22/machine1", "github.com/coreos/go-systemd/v22/sdjournal", "github.com/coreos/go-systemd/v22/util",
		},
		why: "the daemon package is a datagram; the others need cgo or a message bus that the unit's sandbox does not give",
	},
}

// providerRules keep the adapters below providers from each other, and each
// simulator (providers/NAME/NAMEsim) from the adapter it is to test.
func providerRules(files []file) []rule {
	var rules []rule
	seen := map[string]bool{"internal": true, "policy": true, "providertest": true, "simkit": true} // shared, and no adapters
	for _, f := range files {
		below, ok := strings.CutPrefix(f.pkg, "providers/")
		name, _, _ := strings.Cut(below, "/")
		if !ok || seen[name] {
			continue
		}
		seen[name] = true
		adapter := "providers/" + name
		sim := adapter + "/" + name + "sim"
		rules = append(rules, rule{
			name: adapter + " knows no other provider",
			of:   []string{adapter}, only: append([]string{"providers", "providers/internal/...", "payout"}, values...), neverOwn: []string{sim},
			why: "providers differ in what their words mean; sharing code between two adapters carries one's meaning into the other, and a simulator does not belong in a product's path",
		}, rule{
			name: sim + " is independent of its adapter",
			of:   []string{sim + "/..."}, only: append([]string{"providers", "providers/simkit/..."}, values...),
			why: "a simulator that shares the adapter's code shares its misreading of the provider's document",
		})
	}
	return rules
}
