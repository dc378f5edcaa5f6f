package main

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptrace"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ssg-safe/agent/charge"
	"github.com/ssg-safe/agent/ledger"
	"github.com/ssg-safe/agent/providers"
	"github.com/ssg-safe/agent/providers/bacen/bacensim"
	"github.com/ssg-safe/agent/providers/bspay/bspaysim"
	"github.com/ssg-safe/agent/providers/ssg/ssgsim"
	"github.com/ssg-safe/agent/store"
	"github.com/ssg-safe/agent/terminal"
)

// line is the network before a provider: it counts what comes by, and can fail.
type line struct {
	next http.RoundTripper

	mu   sync.Mutex
	down func(*http.Request) (*http.Response, error) // nil: it works
	came []time.Time
}

func (l *line) RoundTrip(req *http.Request) (*http.Response, error) {
	l.mu.Lock()
	l.came = append(l.came, time.Now())
	down := l.down
	l.mu.Unlock()
	if down != nil {
		return down(req)
	}
	return l.next.RoundTrip(req)
}

func (l *line) set(down func(*http.Request) (*http.Response, error)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.down = down
}

// between counts the requests of a span of time.
func (l *line) between(from, to time.Time) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for _, t := range l.came {
		if !t.Before(from) && t.Before(to) {
			n++
		}
	}
	return n
}

// most is the largest number of requests in any span of a length.
func (l *line) most(span time.Duration, from time.Time) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	most := 0
	for i, t := range l.came {
		if t.Before(from) {
			continue
		}
		j, _ := slices.BinarySearchFunc(l.came, t.Add(span), time.Time.Compare)
		most = max(most, j-i)
	}
	return most
}

// The ways in which a provider is away.
var outages = map[string]func(*http.Request) (*http.Response, error){
	"refused": func(req *http.Request) (*http.Response, error) {
		if trace := httptrace.ContextClientTrace(req.Context()); trace != nil {
			trace.GetConn(req.URL.Host)
		}
		return nil, errors.New("connection refused")
	},
	"silent": func(req *http.Request) (*http.Response, error) {
		if trace := httptrace.ContextClientTrace(req.Context()); trace != nil {
			trace.GetConn(req.URL.Host)
			trace.WroteHeaders()
		}
		<-req.Context().Done()
		return nil, req.Context().Err()
	},
	"HTTP 503": func(*http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: http.StatusServiceUnavailable, Header: http.Header{}, Body: http.NoBody}, nil
	},
}

// figures are what an outage cost.
type figures struct {
	during       int           // requests while it lasted
	second, ten  int           // the most in any second, any ten seconds, after it
	minute       int           // in the first minute after it
	first, found time.Duration // after it: to the first charge, until all payments were found
	unpaid       int           // charges that were paid and not found within a quarter of an hour
	twice        int           // charges at the provider beyond those that are on record as made
}

func (f figures) String() string {
	return fmt.Sprintf("%d requests in the outage; after it %d in the first minute, at most %d in a second and %d in ten; the first charge after %v, all payments found after %v",
		f.during, f.minute, f.second, f.ten, f.first.Round(100*time.Millisecond), f.found.Round(time.Second))
}

// storm reports what an outage of ten minutes with a hundred charges may not cost.
func (f figures) storm() error {
	var errs []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	check(f.during <= 100, "%d requests in the outage, want at most 100", f.during)
	check(f.second <= 7, "%d requests in a second, want at most 7", f.second)
	check(f.ten <= 25, "%d requests in ten seconds, want at most 25", f.ten)
	check(f.first <= time.Minute, "the first charge after %v, want a minute", f.first)
	check(f.unpaid == 0, "%d payments were not found", f.unpaid)
	check(f.twice == 0, "%d charges too many at the provider", f.twice)
	return errors.Join(errs...)
}

// outage lives through it: fifty charges are open when it begins, half of them are
// paid while it lasts, and fifty more are asked for.
func outage(t *testing.T, kind family, sim func() (shopSim, error), down func(*http.Request) (*http.Response, error), rude bool) (f figures) {
	synctest.Test(t, func(t *testing.T) {
		s := &shop{T: t, kind: kind}
		var err error
		if s.sim, err = sim(); err != nil {
			t.Fatal(err)
		}
		defer s.sim.Close()
		cfg, err := demoConfig(t.TempDir(), demoFlags{locale: "pt-BR", headless: true}, kind)
		if err != nil {
			t.Fatal(err)
		}
		cfg.Providers[0].RequestsPerSecond = 2 // as it is without a word
		cfg.Terminal.ChargeExpiry = time.Hour
		cfg.Offline.Policy = "deny"
		l := &line{next: providers.Memory(s.sim)}
		routes, err := openRoutes(cfg, l, nil, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		if rude {
			route, err := kind.open(cfg, cfg.Providers[0], l, slog.New(slog.DiscardHandler))
			if err != nil {
				t.Fatal(err)
			}
			routes = map[string]terminal.Route{cfg.Providers[0].Name: route}
		}
		s.conf = (&wiring{cfg: cfg, routes: routes}).terminalConfig()
		s.opts = storeOptions(filepath.Join(t.TempDir(), "store.db"), nil)
		s.opts.Size = 2 << 20
		if err := store.Create(t.Context(), s.opts); err != nil {
			t.Fatal(err)
		}
		s.start()
		defer func() { s.stop() }()
		begin := func(every time.Duration) charge.ID {
			id, err := s.term.Start(s.Context(), terminal.Request{Amount: 1234, Source: "api"})
			if err != nil {
				t.Fatal(err)
			}
			s.pass(every)
			return id
		}
		for range 50 {
			begin(6 * time.Second)
		}
		if n := len(s.sim.Charges()); n != 50 {
			t.Fatalf("%d charges before the outage", n)
		}
		began := time.Now()
		l.set(down)
		for i, c := range s.sim.Charges() {
			if i%2 == 0 {
				s.pay(c.ID)
			}
		}
		for range 50 {
			begin(12 * time.Second)
		}
		l.set(nil)
		ended := time.Now()
		f.during = l.between(began, ended)
		// The first charge: asked for again until it is made.
		for f.first == 0 && time.Since(ended) < 10*time.Minute {
			if id := begin(time.Second); s.charge(id).State == charge.Pending {
				f.first = time.Since(ended)
			}
		}
		for time.Since(ended) < 15*time.Minute {
			if f.unpaid = 25 - s.count(charge.Paid); f.unpaid == 0 {
				break
			}
			s.pass(time.Second)
		}
		f.found = time.Since(ended)
		f.twice = len(s.sim.Charges()) - s.count(charge.Paid) - s.count(charge.Pending) - s.count(charge.Expired)
		s.pass(max(0, time.Minute-time.Since(ended)))
		f.minute = l.between(ended, ended.Add(time.Minute))
		f.second, f.ten = l.most(time.Second, ended), l.most(10*time.Second, ended)
	})
	return f
}

// count counts the charges in a state.
func (s *shop) count(state charge.State) int {
	records, _, err := s.term.Records(ledger.Position{}, 500)
	if err != nil {
		s.Fatal(err)
	}
	n := 0
	for _, r := range records {
		if r.Charge.State == state {
			n++
		}
	}
	return n
}

// TestProviderOutage is the outage of ten minutes with a hundred charges, with the
// real terminal, policy and adapters. Its figures are in docs/providers.md; -v shows
// them.
func TestProviderOutage(t *testing.T) {
	ssg := func() (shopSim, error) { return ssgsim.New(ssgsim.Options{}) }
	for _, p := range []struct {
		kind family
		sim  func() (shopSim, error)
		how  string
	}{
		{ssgFamily, ssg, "refused"},
		{ssgFamily, ssg, "silent"},
		{ssgFamily, ssg, "HTTP 503"},
		{bspayFamily, func() (shopSim, error) { return bspaysim.New(bspaysim.Options{}) }, "silent"},
		{bacenFamily, func() (shopSim, error) { return bacensim.New(bacensim.Options{}) }, "HTTP 503"},
	} {
		t.Run(p.kind.name+", "+p.how, func(t *testing.T) {
			f := outage(t, p.kind, p.sim, outages[p.how], false)
			t.Log(f)
			if err := f.storm(); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestProviderOutageMutant: without the policy it is a storm, which the figures
// show.
func TestProviderOutageMutant(t *testing.T) {
	f := outage(t, ssgFamily, func() (shopSim, error) { return ssgsim.New(ssgsim.Options{}) }, outages["refused"], true)
	t.Log(f)
	err := f.storm()
	if err == nil || !strings.Contains(err.Error(), "in the outage") || !strings.Contains(err.Error(), "in a second") {
		t.Errorf("got %v, want too many requests in the outage and after it", err)
	}
}

// byHost is a network with several providers.
type byHost map[string]http.RoundTripper

func (h byHost) RoundTrip(req *http.Request) (*http.Response, error) {
	return h[req.URL.Host].RoundTrip(req)
}

// TestFailOverInAnOutage: a merchant with two providers, as a file says, goes on
// charging while the first one is away, is paid through the second, and returns.
func TestFailOverInAnOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first, err := ssgsim.New(ssgsim.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer first.Close()
		second, err := bspaysim.New(bspaysim.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer second.Close()
		cfg, err := demoConfig(t.TempDir(), demoFlags{locale: "pt-BR", headless: true}, ssgFamily)
		if err != nil {
			t.Fatal(err)
		}
		_, other, err := bspayFamily.simulated("http://second.invalid")
		if err != nil {
			t.Fatal(err)
		}
		cfg.Providers = append(cfg.Providers, other)
		m := &cfg.Merchants[0]
		m.Routes = []RouteConfig{
			{Provider: m.Provider, Account: m.Account, Beneficiary: m.CNPJ}, {Provider: other.Name, Beneficiary: m.CNPJ},
		}
		m.Provider, m.Account = "", ""
		for _, p := range cfg.Validate() {
			if strings.HasPrefix(p.Path, "merchant") {
				t.Errorf("%s: %s", p.Path, p.Message)
			}
		}
		l := &line{next: providers.Memory(first)}
		routes, err := openRoutes(cfg, byHost{"simulator.invalid": l, "second.invalid": providers.Memory(second)}, nil, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		s := &shop{T: t, conf: (&wiring{cfg: cfg, routes: routes}).terminalConfig()}
		s.opts = storeOptions(filepath.Join(t.TempDir(), "store.db"), nil)
		s.opts.Size = 1 << 20
		if err := store.Create(t.Context(), s.opts); err != nil {
			t.Fatal(err)
		}
		s.start()
		defer func() { s.stop() }()
		through := func(id charge.ID) string {
			by, _ := s.charge(id).Through()
			return by
		}
		if id := s.order(1000); through(id) != "ssg" || s.charge(id).State != charge.Pending {
			t.Errorf("before the outage: %s by %s", s.charge(id).State, through(id))
		}
		l.set(outages["refused"])
		began := time.Now()
		var ids []charge.ID
		for range 50 {
			id := s.order(1000)
			if c := s.charge(id); c.State != charge.Pending || through(id) != "bspay" {
				t.Fatalf("in the outage: %s by %s (%s)", c.State, through(id), c.Reason)
			}
			ids = append(ids, id)
			s.pass(10 * time.Second)
		}
		if n := l.between(began, time.Now()); n > 120 {
			t.Errorf("%d requests to the provider that was away", n)
		}
		for _, c := range second.Charges() {
			if err := second.Pay(c.ID); err != nil {
				t.Fatal(err)
			}
		}
		l.set(nil)
		s.pass(35 * time.Second)
		if id := s.order(1000); through(id) != "ssg" {
			t.Errorf("after the outage: by %s", through(id))
		}
		s.pass(15 * time.Minute)
		for _, id := range ids {
			p, _ := s.charge(id).Settling()
			if p.Evidence.Route != "bspay" || p.Amount != 1000 {
				t.Errorf("charge %s: %s, paid by %+v", id, s.charge(id).State, p)
			}
		}
		if len(first.Charges()) != 2 || len(second.Charges()) != 50 {
			t.Errorf("%d and %d charges at the providers, want 2 and 50", len(first.Charges()), len(second.Charges()))
		}
	})
}
