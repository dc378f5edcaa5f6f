// Package providertest holds every payment provider to the contract of package
// providers. An adapter's test is two lines:
//
//	func TestConformance(t *testing.T) {
//		providertest.Run(t, fixture)
//	}
//
// where fixture makes a fresh simulator and says how to build the adapter. Each
// check runs twice: in memory inside a testing/synctest bubble, where hours of
// waiting cost nothing and no goroutine may be left over, and over real
// sockets. Checks of virtual time run in memory only. Optional capabilities are
// found by type assertion and checked where they exist.
//
// The suite itself is tested with adapters that are wrong on purpose: each
// mutant must fail the check that is meant for it.
package providertest

import (
	"bytes"
	"cmp"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"

	"github.com/ssg-safe/agent/money"
	"github.com/ssg-safe/agent/providers"
	"github.com/ssg-safe/agent/providers/simkit"
)

// Simulator is what a provider's simulator must be able to do. Its routes
// include "token" (if it has tokens), "create" and "status".
type Simulator interface {
	http.Handler
	Script() *simkit.Script
	Log() *simkit.Log
	// Charges is the simulator's own ledger.
	Charges() []simkit.Charge
	Pay(id string) error
	Expire(id string) error
}

// Fixture is one provider with one fresh simulator.
type Fixture struct {
	Simulator Simulator
	// New makes the adapter. Its requests go through the transport to baseURL.
	// Client-side request limits must be wide.
	New func(baseURL string, transport http.RoundTripper, log *slog.Logger) (providers.Charger, error)
	// Intent is a valid charge of the amount; n distinguishes charges.
	Intent func(n int, amount money.Amount) providers.Intent
	// PerAttempt says that the id sent to the provider holds the attempt, so that
	// only the same attempt sent again finds its charge.
	PerAttempt bool
	// MaxAmount is the largest amount the provider takes.
	MaxAmount money.Amount
	// Absent is an id of the provider's form that it never gave out; empty: a UUID.
	Absent string
	// Ended is what an unpaid charge is after the simulator's Expire; empty:
	// expired. Some providers have no word for that.
	Ended providers.Status
	// CodeFaults are the arguments of simkit.Code that the adapter must refuse.
	CodeFaults []string
	// Canaries are the credentials and the intent's personal data, as they are
	// sent: they may appear in requests and nowhere else.
	Canaries []string
	// Tokens says that the provider issues access tokens on route "token".
	Tokens bool
}

// Run runs every check against the provider.
func Run(t *testing.T, fixture func(testing.TB) Fixture) {
	t.Run("memory", func(t *testing.T) {
		for _, c := range checks {
			t.Run(c.name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { c.run(inMemory(t, fixture(t))) })
			})
		}
	})
	t.Run("sockets", func(t *testing.T) {
		for _, c := range checks {
			if !c.virtual {
				t.Run(c.name, func(t *testing.T) { c.run(onSockets(t, fixture(t))) })
			}
		}
	})
}

// world is a check's surroundings: the provider, the wire, the simulator.
type world struct {
	testing.TB
	Fixture
	wire     *wire
	url      string
	provider providers.Charger
	reader   providers.StatusReader // nil: not offered
	logged   *syncBuffer
	made     map[string]providers.Ref // what create made, by the provider's id
}

func inMemory(tb testing.TB, f Fixture) *world {
	return build(tb, f, "http://provider.test", &wire{next: providers.Memory(f.Simulator)})
}

func onSockets(tb testing.TB, f Fixture) *world {
	server := httptest.NewServer(f.Simulator)
	transport := &http.Transport{}
	tb.Cleanup(func() {
		transport.CloseIdleConnections()
		server.CloseClientConnections()
		server.Close()
	})
	return build(tb, f, server.URL, &wire{next: transport, sockets: true})
}

func build(tb testing.TB, f Fixture, url string, line *wire) *world {
	tb.Helper()
	f.Absent = cmp.Or(f.Absent, "0f0e0d0c-0000-4000-8000-000000000000")
	f.Ended = cmp.Or(f.Ended, providers.StatusExpired)
	w := &world{TB: tb, Fixture: f, wire: line, url: url, logged: &syncBuffer{}, made: map[string]providers.Ref{}}
	p, err := f.New(url, line, slog.New(slog.NewTextHandler(w.logged, &slog.HandlerOptions{Level: slog.LevelDebug})))
	if err != nil {
		tb.Fatalf("make the provider: %v", err)
	}
	w.provider = p
	w.reader, _ = p.(providers.StatusReader)
	tb.Cleanup(func() { line.audit(tb) })
	return w
}

// faults replaces the fault script.
func (w *world) faults(rules ...simkit.Rule) {
	w.Helper()
	if err := w.Simulator.Script().Set(rules...); err != nil {
		w.Fatal(err)
	}
}

// create makes a charge that has to succeed.
func (w *world) create(n int, amount money.Amount) providers.Charge {
	w.Helper()
	in := w.Intent(n, amount)
	ch, err := w.provider.CreateCharge(w.Context(), in)
	if err != nil {
		w.Fatalf("create %s: %v", amount, err)
	}
	w.made[ch.ProviderID] = refTo(in, ch)
	return ch
}

// refTo names a charge as the terminal does.
func refTo(in providers.Intent, ch providers.Charge) providers.Ref {
	return providers.Ref{Charge: in.ID, Attempt: in.Attempt, ProviderID: ch.ProviderID, Token: ch.Token}
}

// status asks for a charge that create made; the question has to succeed.
func (w *world) status(id string) providers.Charge {
	w.Helper()
	ch, err := w.reader.GetCharge(w.Context(), w.made[id])
	if err != nil {
		w.Fatalf("status: %v", err)
	}
	return ch
}

// wire is the transport at the very end of the line: it records what passes,
// and can refuse connections or put words into the provider's mouth.
type wire struct {
	next    http.RoundTripper
	sockets bool

	mu        sync.Mutex
	refuse    bool
	parrot    int // HTTP status; 0: off. Answers repeat the request.
	requests  []*http.Request
	bodies    []string // of requests, as they went out
	answers   []string // bodies of answers, as far as they were read
	unclosed  int
	tokenSeen []string
}

func (w *wire) RoundTrip(req *http.Request) (*http.Response, error) {
	body := ""
	if req.Body != nil {
		text, err := io.ReadAll(req.Body)
		if err != nil {
			return nil, err
		}
		body = string(text)
		copied := *req
		req = &copied
		req.Body = io.NopCloser(strings.NewReader(body))
	}
	w.mu.Lock()
	refuse, parrot := w.refuse, w.parrot
	if !refuse {
		w.requests = append(w.requests, req)
		w.bodies = append(w.bodies, body)
		if _, token, ok := strings.Cut(req.Header.Get("Authorization"), " "); ok && !slices.Contains(w.tokenSeen, token) {
			w.tokenSeen = append(w.tokenSeen, token)
		}
	}
	w.mu.Unlock()
	if refuse {
		return w.refused(req)
	}
	resp, err := w.next.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	if parrot != 0 && !strings.Contains(req.URL.Path, "token") {
		resp.Body.Close() // replaced
		resp = w.repeat(req, body, parrot)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.unclosed++
	w.answers = append(w.answers, "")
	resp.Body = &tapped{ReadCloser: resp.Body, wire: w, n: len(w.answers) - 1}
	return resp, nil
}

// refused fails the way a closed port does.
func (w *wire) refused(req *http.Request) (*http.Response, error) {
	if !w.sockets {
		if t := httptrace.ContextClientTrace(req.Context()); t != nil && t.GetConn != nil {
			t.GetConn(req.URL.Host)
		}
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	req.URL.Host = l.Addr().String()
	if err := l.Close(); err != nil {
		return nil, err
	}
	return w.next.RoundTrip(req)
}

// audit fails the test if an answer's body was left open.
func (w *wire) audit(tb testing.TB) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.unclosed != 0 {
		tb.Errorf("%d answers were not closed", w.unclosed)
	}
}

type tapped struct {
	io.ReadCloser
	wire *wire
	n    int
	once sync.Once
}

func (t *tapped) Read(p []byte) (int, error) {
	n, err := t.ReadCloser.Read(p)
	t.wire.mu.Lock()
	defer t.wire.mu.Unlock()
	t.wire.answers[t.n] += string(p[:n])
	return n, err
}

func (t *tapped) Close() error {
	t.once.Do(func() {
		t.wire.mu.Lock()
		defer t.wire.mu.Unlock()
		t.wire.unclosed--
	})
	return t.ReadCloser.Close()
}

// set changes the wire's behaviour.
func (w *wire) set(change func(*wire)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	change(w)
}

func (w *wire) lastAnswer() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.answers[len(w.answers)-1]
}

func (w *wire) sent() []*http.Request {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.requests)
}

func (w *wire) tokens() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.tokenSeen)
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}
