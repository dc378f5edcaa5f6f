package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/ssg-safe/agent/internal/config"
	"github.com/ssg-safe/agent/money"
	"github.com/ssg-safe/agent/providers"
	"github.com/ssg-safe/agent/providers/policy"
	"github.com/ssg-safe/agent/providers/simkit"
	"github.com/ssg-safe/agent/redact"
	"github.com/ssg-safe/agent/terminal"
)

// families are the providers that this agent speaks to, one row each: what
// type = "…" and --provider may say. The first one is the demo's. A new provider
// is a package below providers and a file here with its row; settings that no
// other has are a sub-table of [ProviderConfig].
var families = []family{ssgFamily, bacenFamily, bspayFamily, bspaybrFamily, basspagoFamily}

// family is one row.
type family struct {
	// name is what configuration and command line call it.
	name string
	// transport is its own way to the network, made of the usual one; nil: the
	// usual one, [providers.NewTransport].
	transport func(ProviderConfig, *http.Transport) (*http.Transport, error)
	// open makes the adapter of a provider in a checked configuration, over a
	// transport.
	open func(Config, ProviderConfig, http.RoundTripper, *slog.Logger) (terminal.Route, error)
	// own reports whether the sub-table of its own settings is there; nil: it has
	// none.
	own func(ProviderConfig) bool
	// keyed: its charges name the receiving PIX key. codeless: they have no code, and
	// are paid where the provider shows them.
	keyed, codeless bool
	// check reports what is wrong with a [[provider]] table, which is at the
	// path at; checkMerchant what this provider asks of a merchant's route (nil:
	// nothing).
	check         func(ps *problems, p ProviderConfig, at string)
	checkMerchant func(ps *problems, w RouteConfig, at string)
	sim           simulation
}

// simulation is a family's simulator, and the configuration that belongs to it.
type simulation struct {
	// rules is what the fault script can say, modes what --mode can.
	rules simkit.Vocabulary
	modes []string
	// tokenLife is how long a token holds unless the command line says so; 0: there
	// are none.
	tokenLife time.Duration
	// open starts it. A directory that cannot be used is an error.
	open func(simOptions) (simulator, error)
	// path is what its interface is below, "" for its root.
	path string
	// The credentials that it accepts, a merchant's account, and the host in its
	// codes ("": its codes have none).
	clientID, clientSecret, account, locationHost string
	// settings is what else a [[provider]] table must say, as TOML: keys first,
	// then sub-tables.
	settings string
}

// simulator is a running simulator: requests go to the handler.
type simulator interface {
	http.Handler
	io.Closer
}

// reporter is a simulator that reports events by webhooks.
type reporter interface {
	Deliver(ctx context.Context, to string, over http.RoundTripper) error
}

// codePayer is a simulator with a payer who scans codes that no provider made. He
// pays a code once, however often it is shown to him.
type codePayer interface {
	PayOnce(code string) error
}

// shopper is a simulator in which others make charges, too, that the terminal takes
// over by their tokens.
type shopper interface {
	Shop(amount money.Amount) (token redact.Secret, err error)
}

// simOptions are the options that every simulator has.
type simOptions struct {
	dir          string // of its ledger; "": in memory
	seed         uint64
	payAfter     time.Duration // 0: nobody pays by himself
	payFraction  float64       // 0: everybody pays
	tokenLife    time.Duration
	locationHost string // "": the simulator's own
	payee        string // name in the codes; "": the simulator's own
	modes        []string
	faults       []simkit.Rule
	log          *slog.Logger
}

// mode reports whether --mode names a mode.
func (o simOptions) mode(name string) bool { return slices.Contains(o.modes, name) }

// familyOf is the family with a name.
func familyOf(name string) (family, error) {
	for _, f := range families {
		if f.name == name {
			return f, nil
		}
	}
	return family{}, fmt.Errorf("%q is no provider of this agent; there are: %s", name, familyNames())
}

// familyNames lists the table for people.
func familyNames() string {
	var names []string
	for _, f := range families {
		names = append(names, f.name)
	}
	return strings.Join(names, ", ")
}

// checkModes refuses modes that the simulator does not have.
func (s simulation) checkModes(modes []string) error {
	for _, m := range modes {
		switch {
		case len(s.modes) == 0:
			return fmt.Errorf("%q: this simulator has one mode only", m)
		case !slices.Contains(s.modes, m):
			return fmt.Errorf("%q: want one of %s", m, strings.Join(s.modes, ", "))
		}
	}
	return nil
}

// table is the part of a configuration file that belongs to a simulator at a
// URL: a merchant and the provider, of the name given. The secret is in the
// environment variable SSG_CLIENT_SECRET.
func (f family) table(name, url, locationHost string) string {
	var b strings.Builder
	b.WriteString(`[[merchant]]
id = "simulador"
cnpj = "11222333000181"
name = "Loja Simulada"
city = "São Paulo"
pix_key = "11222333000181"
`)
	fmt.Fprintf(&b, "provider = %q\n", name)
	if f.sim.account != "" {
		fmt.Fprintf(&b, "account = %q\n", f.sim.account)
	}
	fmt.Fprintf(&b, `
[[provider]]
name = %q
type = %q
url = %q
allow_insecure_http = true # the simulator is on this machine
client_id = %q
client_secret = { env = %q }
`, name, f.name, url+f.sim.path, f.sim.clientID, simSecret)
	if locationHost != "" {
		fmt.Fprintf(&b, "allowed_hosts = [%q]\n", locationHost)
	}
	b.WriteString(f.sim.settings)
	return b.String()
}

// simSecret is the environment variable that holds a simulator's secret.
const simSecret = "SSG_CLIENT_SECRET"

// simulated is what [family.table] says, read as a configuration file is.
func (f family) simulated(url string) (MerchantConfig, ProviderConfig, error) {
	var c struct {
		Merchants []MerchantConfig `toml:"merchant"`
		Providers []ProviderConfig `toml:"provider"`
	}
	secret := func(name string) (string, bool) { return f.sim.clientSecret, name == simSecret }
	text := f.table(f.name, url, f.sim.locationHost)
	if err := config.Decode("simulator", []byte(text), &c, config.Options{LookupEnv: secret}).Err(); err != nil {
		return MerchantConfig{}, ProviderConfig{}, err
	}
	return c.Merchants[0], c.Providers[0], nil
}

// openRoutes makes the configured providers. over replaces the network; nil:
// each provider's own way to it, where certificates are held against now.
func openRoutes(cfg Config, over http.RoundTripper, now func() time.Time, log *slog.Logger) (map[string]terminal.Route, error) {
	return policies{}.open(cfg, over, now, log)
}

// open is openRoutes, by these policies.
func (ps policies) open(cfg Config, over http.RoundTripper, now func() time.Time, log *slog.Logger) (map[string]terminal.Route, error) {
	routes := map[string]terminal.Route{}
	for _, p := range cfg.Providers {
		route, err := openRoute(cfg, p, ps.of(p, log), over, now, log)
		if err != nil {
			return nil, fmt.Errorf("provider %s: %w", p.Name, err)
		}
		routes[p.Name] = route
	}
	return routes, nil
}

// policies are those of the credentials that were met: two providers with one
// credential share its limits.
type policies map[credential]named

type credential struct{ kind, url, client string }

// named is a credential's policy, and the first provider that has it.
type named struct {
	*policy.Policy
	provider string
}

// of is the policy of a provider's credential.
func (ps policies) of(p ProviderConfig, log *slog.Logger) *policy.Policy {
	key := credential{p.Type, p.URL, p.ClientID}
	if _, known := ps[key]; !known {
		ps[key] = named{policy.New(p.RequestsPerSecond, log.With("provider", p.Name)), p.Name}
	}
	return ps[key].Policy
}

// openRoute makes one of them, whose requests keep to a policy.
func openRoute(cfg Config, p ProviderConfig, limits *policy.Policy, over http.RoundTripper, now func() time.Time, log *slog.Logger) (terminal.Route, error) {
	f, err := familyOf(p.Type)
	if err != nil {
		return nil, err
	}
	if s := p.ClientSecret; s.Source == "credential" && s.Value == "" {
		return nil, fmt.Errorf("its credential %s cannot be seen from here; run as root, with the folder that has it: CREDENTIALS_DIRECTORY=/etc/ssg-agent/secrets ssg-agent …", s.Name)
	}
	if over == nil {
		way := providers.NewTransport(now)
		if f.transport != nil {
			if way, err = f.transport(p, way); err != nil {
				return nil, err
			}
		}
		over = way
	}
	return f.open(cfg, p, limits.Over(over), log.With("provider", p.Name))
}

// tables refuses the settings of other families than the provider's own.
func (ps *problems) tables(p ProviderConfig, at string) {
	for _, f := range families {
		if f.name != p.Type && f.own != nil && f.own(p) {
			ps.fail(at+"."+f.name, fmt.Sprintf("is for a provider of type = %q", f.name), "remove the table, or correct type")
		}
	}
}

// adapter reports what an adapter found in its configuration. names are the
// names that the file has for the adapter's fields; "": the schema or another
// check reports it.
func (ps *problems) adapter(err error, at string, names map[string]string) {
	for _, err := range joined(err) {
		field, ok := errors.AsType[*providers.FieldError](err)
		if !ok {
			ps.fail(at, err.Error(), "")
			continue
		}
		name, renamed := names[field.Field]
		switch {
		case !renamed:
			name = field.Field
		case name == "":
			continue
		}
		problem, remedy := field.Problem, cmp.Or(field.Remedy, "correct it, or leave it out")
		if problem == "missing" && field.Remedy == "" {
			problem, remedy = "is missing", fmt.Sprintf("add %s = \"…\" under [[provider]]", name)
		}
		ps.fail(at+"."+name, problem, remedy)
	}
}

// remote warns of what works with a provider but should not stay. False: it is on
// this machine, a simulator, or a proxy that is not our business.
func (ps *problems) remote(p ProviderConfig, at string) bool {
	if !ps.away(p, at) {
		return false
	}
	if p.BRCodeCheck == "warn" {
		ps.warn(at+".brcode_check", "payers are shown codes with a wrong checksum, amount or host", `write brcode_check = "strict"`)
	}
	if len(p.AllowedHosts) == 0 {
		ps.warn(at+".allowed_hosts", "is empty: a code may lead anywhere", "list the host that the provider's codes name; `ssg-agent pix decode` shows it")
	}
	return true
}

// away is the part of remote that is not about codes.
func (ps *problems) away(p ProviderConfig, at string) bool {
	u, err := url.Parse(p.URL)
	if err == nil && isLoopback(u.Hostname()) {
		return false
	}
	if err == nil && u.Scheme == "http" && p.AllowInsecureHTTP {
		ps.warn(at+".url", "is plain HTTP: anyone on the way can read the credentials and forge payments", "write https://")
	}
	return true
}

// joined takes an error of errors.Join apart.
func joined(err error) []error {
	if err == nil {
		return nil
	}
	if many, ok := err.(interface{ Unwrap() []error }); ok {
		return many.Unwrap()
	}
	return []error{err}
}
