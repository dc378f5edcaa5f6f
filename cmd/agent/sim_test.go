package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/ssg-safe/agent/internal/config"
	"github.com/ssg-safe/agent/providers"
	"github.com/ssg-safe/agent/providers/bspay"
	"github.com/ssg-safe/agent/providers/simkit"
	"github.com/ssg-safe/agent/providers/ssg"
	"github.com/ssg-safe/agent/redact"
	"github.com/ssg-safe/agent/terminal"
)

// simRun is a running `ssg-agent sim`.
type simRun struct {
	hello simHello
	out   *bufio.Reader // what follows it
	stop  context.CancelFunc
	code  <-chan int
	err   *bytes.Buffer // read after code
}

func runSim(t *testing.T, args ...string) *simRun {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	out, in := io.Pipe()
	code := make(chan int, 1)
	s := &simRun{stop: stop, code: code, err: &bytes.Buffer{}}
	go func() {
		code <- run(ctx, &globals{stdout: in, stderr: s.err}, append([]string{"sim", "--listen", "127.0.0.1:0", "--json"}, args...))
		in.Close() // cannot fail
	}()
	t.Cleanup(stop)
	s.out = bufio.NewReader(out)
	line, err := s.out.ReadBytes('\n')
	if err != nil {
		t.Fatalf("exit %d: %s", <-code, s.err)
	}
	if err := json.Unmarshal(line, &s.hello); err != nil || s.hello.Event != "listening" {
		t.Fatalf("got %q (%v)", line, err)
	}
	return s
}

func (s *simRun) client(t *testing.T) *ssg.Client {
	t.Helper()
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	c, err := ssg.New(ssg.Config{
		BaseURL: s.hello.URL, AllowInsecureHTTP: true, ClientID: s.hello.ClientID, ClientSecret: redact.Secret(s.hello.ClientSecret),
		AccountID: s.hello.Account, LocationHosts: []string{s.hello.LocationHost},
	}, transport, nil)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// route is an adapter made of the configuration that sim prints.
func (s *simRun) route(t *testing.T) (terminal.Route, error) {
	t.Helper()
	f, err := familyOf(s.hello.Provider)
	if err != nil {
		t.Fatal(err)
	}
	m, p, err := f.simulated(s.hello.URL)
	if err != nil {
		t.Fatal(err)
	}
	p.RequestsPerSecond = 1000
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	return openRoute(Config{Merchants: []MerchantConfig{m}, Providers: []ProviderConfig{p}}, p, policies{}.of(p, slog.New(slog.DiscardHandler)), transport, nil, slog.New(slog.DiscardHandler))
}

func (s *simRun) end(t *testing.T) {
	t.Helper()
	s.stop()
	if code := <-s.code; code != 0 || s.err.Len() != 0 {
		t.Errorf("exit %d: %s", code, s.err)
	}
}

func simIntent() providers.Intent {
	return providers.Intent{
		ID: "SIM10123456789ABCDEFGHJKM", Attempt: 1, Amount: 1234, Expiry: time.Hour, Key: "11222333000181",
		Payer: providers.Payer{
			Name: "Maria da Silva", Document: "52998224725", Email: "maria@example.com", Address: "Rua A, 1", City: "Recife",
			State: "PE", Postcode: "50000000",
		},
	}
}

// TestSim: a charge made through the served simulator is still there, and can
// be paid, after a restart; what is printed is all that a client needs.
func TestSim(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "sim")
	first := runSim(t, "--dir", dir, "--pay-after", "0s", "--seed", "7", "--location-host", "pix.test.example", "--mode", "strict")
	if first.hello.Seed != 7 || first.hello.Dir != dir || first.hello.LocationHost != "pix.test.example" {
		t.Errorf("got %+v", first.hello)
	}
	ch, err := first.client(t).CreateCharge(t.Context(), simIntent())
	if err != nil {
		t.Fatal(err)
	}
	if taken := runSimOnce(t, "sim", "--listen", "127.0.0.1:0", "--dir", dir); taken.code != 1 || !strings.Contains(taken.err, "in use") {
		t.Errorf("a second simulator in one directory: exit %d, %s", taken.code, taken.err)
	}
	if taken := runSimOnce(t, "sim", "--listen", strings.TrimPrefix(first.hello.URL, "http://")); taken.code != 1 {
		t.Errorf("a second simulator at one address: exit %d, %s", taken.code, taken.err)
	}
	first.end(t)

	second := runSim(t, "--dir", dir, "--pay-after", "1ns")
	c := second.client(t)
	for range 2 { // the first question sends the payer
		if ch, err = c.GetCharge(t.Context(), providers.Ref{ProviderID: ch.ProviderID}); err != nil {
			t.Fatal(err)
		}
	}
	if ch.Status != providers.StatusPaid {
		t.Errorf("got status %s, want paid", ch.Status)
	}
	second.end(t)
}

// TestSimWebhooks: a payment is reported to a real address, signed, in the form and
// with the faults that the script says.
func TestSimWebhooks(t *testing.T) {
	type hook struct {
		path  string
		event bspay.Event
		err   error
	}
	got := make(chan hook)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		h := hook{path: r.URL.Path, err: err}
		if err == nil {
			h.event, h.err = bspay.ParseWebhook(r.Header, body, bspay.WebhookSecrets{Webhook: "sim-webhook-secret"}, time.Now())
		}
		if h.err != nil {
			w.WriteHeader(http.StatusUnauthorized)
		}
		select {
		case got <- h:
		case <-t.Context().Done():
		}
	}))
	defer server.Close()
	s := runSim(t, "--provider", "bspay", "--pay-after", "1ns", "--webhooks", server.URL+"/wh", "--faults", "webhook:form=webhook,webhook:duplicate=2")
	route, err := s.route(t)
	if err != nil {
		t.Fatal(err)
	}
	ch, err := route.CreateCharge(t.Context(), simIntent())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := route.GetCharge(t.Context(), providers.Ref{Charge: simIntent().ID, Attempt: 1, ProviderID: ch.ProviderID}); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if h := <-got; h.err != nil || h.path != "/wh" || h.event.Kind != bspay.CashinConfirmed || h.event.TransactionID != ch.ProviderID {
			t.Errorf("got %+v", h)
		}
	}
	s.end(t)
}

// TestSimAll: every provider at an address of its own, each of which an adapter made
// of the printed configuration can be told well of; ledgers in directories of their
// own; webhooks under the provider's name.
func TestSimAll(t *testing.T) {
	hooked := make(chan string, 1)
	hub := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case hooked <- r.URL.Path:
		default:
		}
	}))
	defer hub.Close()
	dir := t.TempDir()
	s := runSim(t, "--provider", "all", "--dir", dir, "--pay-after", "0s", "--webhooks", hub.URL+"/wh")
	hellos := []simHello{s.hello}
	for range families[1:] {
		line, err := s.out.ReadBytes('\n')
		if err != nil {
			t.Fatal(err)
		}
		var h simHello
		if err := json.Unmarshal(line, &h); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		hellos = append(hellos, h)
	}
	urls := map[string]bool{}
	for i, f := range families {
		s.hello = hellos[i]
		if s.hello.Provider != f.name || urls[s.hello.URL] || s.hello.Dir != filepath.Join(dir, f.name) {
			t.Errorf("got %+v, want %s at an address of its own", s.hello, f.name)
		}
		urls[s.hello.URL] = true
		route, err := s.route(t)
		if err != nil {
			t.Fatal(err)
		}
		if err := route.(providers.HealthChecker).CheckHealth(t.Context()); err != nil {
			t.Errorf("%s: %v", f.name, err)
		}
		if f.name == "bspay" {
			ch, err := route.CreateCharge(t.Context(), simIntent())
			if err != nil {
				t.Fatal(err)
			}
			resp, err := http.Post(s.hello.URL+"/sim/charges/"+ch.ProviderID+"/pay", "", nil)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close() // empty
			if path := <-hooked; path != "/wh/bspay" {
				t.Errorf("a webhook at %s", path)
			}
		}
	}
	s.end(t)
}

// TestSimEndsUnderWay: an interrupt does not wait for the delays of the fault
// script.
func TestSimEndsUnderWay(t *testing.T) {
	rules := filepath.Join(t.TempDir(), "rules")
	if err := os.WriteFile(rules, []byte("create:slow=1h\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := runSim(t, "--faults", "@"+rules)
	failed := make(chan error, 1)
	go func() {
		_, err := s.client(t).CreateCharge(context.Background(), simIntent())
		failed <- err
	}()
	for committed := false; !committed; {
		resp, err := http.Get(s.hello.URL + "/sim/requests")
		if err != nil {
			t.Fatal(err)
		}
		var requests []simkit.Request
		err = json.NewDecoder(resp.Body).Decode(&requests)
		resp.Body.Close() // read
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range requests {
			committed = committed || r.Route == "create"
		}
	}
	s.end(t)
	if e, ok := errors.AsType[*providers.Error](<-failed); !ok || !e.Kind.OutcomeUnknown() {
		t.Errorf("got %v, want an error of unknown outcome", e)
	}
}

type simResult struct {
	code     int
	out, err string
}

func runSimOnce(t *testing.T, args ...string) simResult {
	t.Helper()
	var out, errs bytes.Buffer
	code := run(t.Context(), &globals{stdout: &out, stderr: &errs}, args)
	return simResult{code, out.String(), errs.String()}
}

func TestSimUsage(t *testing.T) {
	for _, tt := range []struct{ args, says string }{
		{"--provider other", "other"},
		{"--faults create", "want ROUTE"},
		{"--faults nothing:http=500", "no route"},
		{"--faults @/does/not/exist", "no such file"},
		{"--pay-fraction 0", "--pay-fraction"},
		{"--pay-after -1s", "--pay-after"},
		{"--token-life 1ms", "--token-life"},
		{"--mode other", "want one of strict"},
		{"--webhooks http://127.0.0.1/wh", "ssg sends none"},
		{"--provider bspay --webhooks hub", "want a URL"},
		{"--provider bspay --faults webhook:cut", "no such fault of webhooks"},
		{"--provider all --mode strict", "for one provider"},
		{"--provider all --listen localhost:8100", "want an address and a port"},
		{"--provider all --faults list:http=500", "ssg: fault"},
		{"extra", "unknown command"},
		{"--bogus", "unknown flag"},
	} {
		if got := runSimOnce(t, append([]string{"sim"}, strings.Fields(tt.args)...)...); got.code != 2 || !strings.Contains(got.err, tt.says) || got.out != "" {
			t.Errorf("sim %s: exit %d, out %q, err %q; want 2 and %q", tt.args, got.code, got.out, got.err, tt.says)
		}
	}
	if got := runSimOnce(t, "sim", "--listen", "256.0.0.1:x"); got.code != 1 {
		t.Errorf("a bad address: exit %d (%s), want 1", got.code, got.err)
	}
}

// TestSimSnippet: the configuration that sim prints is one that an agent takes,
// for every provider, and the demo makes its own of the same.
func TestSimSnippet(t *testing.T) {
	for _, f := range families {
		t.Run(f.name, func(t *testing.T) {
			snippet := f.table("sim", "http://127.0.0.1:8089", f.sim.locationHost)
			h := simHello{Provider: f.name, ClientID: f.sim.clientID, ClientSecret: f.sim.clientSecret, Configuration: snippet}
			var text bytes.Buffer
			if err := h.print(&text, false); err != nil {
				t.Fatal(err)
			}
			for line := range strings.Lines(snippet) {
				if !strings.Contains(text.String(), line) {
					t.Errorf("the text lacks %q", line)
				}
			}
			t.Setenv("SSG_CLIENT_SECRET", "s")
			path := filepath.Join(t.TempDir(), "agent.toml")
			file := "version = 1\ndata = \"/tmp/x\"\n[terminal]\ncode = \"SIM1\"\nname = \"Simulador\"\n" + snippet + "[printer]\nkind = \"virtual\"\npath = \"/tmp/x/slips\"\n"
			if err := os.WriteFile(path, []byte(file), 0o600); err != nil {
				t.Fatal(err)
			}
			if got := runSimOnce(t, "check", "--config", path); got.code != 0 {
				t.Errorf("check: exit %d\n%s%s", got.code, got.out, got.err)
			}
			cfg, err := demoConfig(t.TempDir(), demoFlags{locale: "pt-BR"}, f)
			if err != nil {
				t.Fatal(err)
			}
			if p := cfg.Providers[0]; cfg.Merchants[0].Provider != f.name || p.Type != f.name || p.ClientSecret.Value.Reveal() != f.sim.clientSecret {
				t.Errorf("the demo has %+v", p)
			}
			for _, problem := range cfg.Validate() {
				if problem.Severity == config.Error {
					t.Errorf("the demo's configuration: %s", problem)
				}
			}
		})
	}
}

// The words that type = "…" may be are the rows of the table.
func TestFamilies(t *testing.T) {
	f, ok := reflect.TypeFor[ProviderConfig]().FieldByName("Type")
	if got := strings.Join(strings.Fields(f.Tag.Get("oneof")), ", "); !ok || got != familyNames() {
		t.Errorf("type is one of %s, the table has %s", got, familyNames())
	}
	if _, err := familyOf("other"); err == nil {
		t.Error("there is a family that is not there")
	}
}
