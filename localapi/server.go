package localapi

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"log/slog"
	"mime"
	"net"
	"net/http"
	"os"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/ssg-safe/agent/redact"
	"github.com/ssg-safe/agent/store"
)

// Scope is a right that a token has.
type Scope string

// The scopes.
const (
	ScopeCharge Scope = "charge" // make charges, cancel one's own
	ScopeRead   Scope = "read"   // charges, events, ledger, state, counters
	ScopeOps    Scope = "ops"    // copies of slips, closings, tickets, proposals, queue, the ledger's check, cancelling any charge
)

// Scopes lists them.
func Scopes() []Scope { return []Scope{ScopeCharge, ScopeRead, ScopeOps} }

// Token is who may ask. Its name stands in the ledger as the source of its
// charges ("api:NAME"), and its references are its own.
type Token struct {
	Name   string
	Scopes []Scope
	Secret redact.Secret
}

// Options of a server. Desk, Store and Status are needed.
type Options struct {
	Desk   Desk
	Store  *store.Store
	Status func(context.Context) (Status, error)
	// Metrics returns counters and gauges by name; nil: only the server's own.
	Metrics func() map[string]int64
	// Control serves a socket that only the owner of the data can open: no token
	// is asked for, and everything is allowed.
	Control bool
	// Commands are what the program's own command line asks besides, by the
	// patterns of net/http. They need Control, and are no part of the API.
	Commands map[string]http.HandlerFunc
	Tokens   []Token
	// Hosts are the names by which clients may call the server, with or without
	// a port; Origins are those of the browser pages that may.
	Hosts, Origins []string
	// Logger; nil discards.
	Logger *slog.Logger
}

// Server answers requests. Its methods are safe for concurrent use.
type Server struct {
	Options
	log      *slog.Logger
	byToken  map[[sha256.Size]byte]*caller
	stranger *Bucket
	mux      *http.ServeMux
	count    counters
	streams  chan struct{}

	mu      sync.Mutex // guards changed
	changed chan struct{}
}

// caller is who asks.
type caller struct {
	source string // in the ledger
	scopes []Scope
	budget *Bucket
}

func (c *caller) may(s Scope) bool { return slices.Contains(c.scopes, s) }

// route is one operation.
type route struct {
	method string
	scope  Scope
	serve  func(*Server, http.ResponseWriter, *http.Request, *caller) error
}

// operations are all there is, by path.
var operations = map[string][]route{
	"/v1/charges": {
		{http.MethodPost, ScopeCharge, (*Server).createCharge},
		{http.MethodGet, ScopeRead, (*Server).listCharges},
	},
	"/v1/charges/{id}":         {{http.MethodGet, ScopeRead, (*Server).readCharge}},
	"/v1/charges/{id}/cancel":  {{http.MethodPost, ScopeCharge, (*Server).cancelCharge}},
	"/v1/charges/{id}/reprint": {{http.MethodPost, ScopeOps, (*Server).reprintCharge}},
	"/v1/closings": {
		{http.MethodPost, ScopeOps, (*Server).closeDay},
		{http.MethodGet, ScopeOps, (*Server).listClosings},
	},
	"/v1/closings/running":   {{http.MethodGet, ScopeOps, (*Server).readRunning}},
	"/v1/tickets":            {{http.MethodGet, ScopeRead, (*Server).listTickets}},
	"/v1/tickets/{id}/close": {{http.MethodPost, ScopeOps, (*Server).closeTicket}},
	"/v1/proposals": {
		{http.MethodPost, ScopeOps, (*Server).propose},
		{http.MethodGet, ScopeOps, (*Server).listProposals},
	},
	"/v1/proposals/{id}": {{http.MethodGet, ScopeOps, (*Server).readProposal}},
	"/v1/events":         {{http.MethodGet, ScopeRead, (*Server).streamEvents}},
	"/v1/status":         {{http.MethodGet, ScopeRead, (*Server).readStatus}},
	"/v1/metrics":        {{http.MethodGet, ScopeRead, (*Server).readMetrics}},
	"/v1/ledger":         {{http.MethodGet, ScopeRead, (*Server).exportLedger}},
	"/v1/ledger/check":   {{http.MethodGet, ScopeOps, (*Server).checkLedger}},
	"/v1/queue":          {{http.MethodGet, ScopeOps, (*Server).listQueue}},
	"/v1/queue/retry":    {{http.MethodPost, ScopeOps, (*Server).retryJobs}},
	"/v1/queue/drop":     {{http.MethodPost, ScopeOps, (*Server).dropJobs}},
}

// New returns a server that answers once it is served.
func New(o Options) *Server {
	s := &Server{
		Options: o, log: o.Logger, byToken: map[[sha256.Size]byte]*caller{},
		stranger: NewBucket(strangerBurst, strangerEvery),
		mux:      http.NewServeMux(), streams: make(chan struct{}, maxStreams), changed: make(chan struct{}),
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	for _, t := range o.Tokens {
		s.byToken[sha256.Sum256([]byte(t.Secret.Reveal()))] = &caller{
			source: "api:" + t.Name, scopes: t.Scopes, budget: NewBucket(callerBurst, callerEvery),
		}
	}
	for pattern, routes := range operations {
		s.mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) { s.operate(w, r, routes) })
	}
	if o.Control {
		for pattern, serve := range o.Commands {
			s.mux.HandleFunc(pattern, serve)
		}
	}
	s.mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		s.fail(w, r, refuse(NotFound, "there is nothing at this path; see docs/openapi.yaml"))
	})
	return s
}

// Serve answers on a listener, which it closes, until ctx ends; then it lets
// requests finish for a moment. An error means that it could not go on.
func (s *Server) Serve(ctx context.Context, l net.Listener) error { return Serve(ctx, l, s, s.log) }

// Serve serves a handler with the limits of this package, on a listener, which it
// closes, until ctx ends; then it lets requests finish for a moment. An error
// means that it could not go on.
func Serve(ctx context.Context, l net.Listener, h http.Handler, log *slog.Logger) error {
	base, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	server := &http.Server{
		Handler:           h,
		ReadHeaderTimeout: headerTime, ReadTimeout: bodyTime, WriteTimeout: writeTime, IdleTimeout: idleTime,
		MaxHeaderBytes: maxHeader,
		BaseContext:    func(net.Listener) context.Context { return base },
		ErrorLog:       slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	stopped := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(stopped)
		end() // event streams
		patience, cancel := context.WithTimeout(context.WithoutCancel(ctx), 3*time.Second)
		defer cancel()
		if server.Shutdown(patience) != nil {
			server.Close()
		}
	})
	err := server.Serve(l)
	if !stop() {
		<-stopped
		return nil
	}
	return errors.Join(err, server.Close())
}

// Wake tells that the ledger has new entries. It never blocks.
func (s *Server) Wake() {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.changed)
	s.changed = make(chan struct{})
}

// Woken is closed at the next Wake.
func (s *Server) Woken() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.changed
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.count.requests.Add(1)
	defer func() {
		if p := recover(); p != nil {
			if p == http.ErrAbortHandler {
				panic(p)
			}
			s.log.Error("panic in a request", "path", r.URL.Path, "panic", p)
			s.fail(w, r, refuse(Broken, "the agent could not answer; its log says why"))
		}
	}()
	if err := s.checkOrigin(w, r); err != nil {
		s.fail(w, r, err)
		return
	}
	if r.Method == http.MethodOptions && r.Header.Get("Origin") != "" {
		w.WriteHeader(http.StatusNoContent) // a browser asks first; it was allowed
		return
	}
	if r.URL.RawPath != "" || path.Clean(r.URL.Path) != r.URL.Path {
		// The mux would redirect.
		s.fail(w, r, refuse(NotFound, "paths are written plainly, without escapes, dots or double slashes"))
		return
	}
	s.mux.ServeHTTP(w, r)
}

// checkOrigin refuses what a browser was tricked into sending: a Host that is
// not this terminal's (a name that was made to point here), and pages that the
// configuration does not name.
func (s *Server) checkOrigin(w http.ResponseWriter, r *http.Request) error {
	known := func(h string) bool { return strings.EqualFold(h, r.Host) }
	if !slices.ContainsFunc(s.Hosts, known) {
		return refuse(HostRefused, "this terminal is not called %q; call it by its configured address", clip(r.Host))
	}
	origin := r.Header.Get("Origin")
	if origin == "" {
		return nil
	}
	if !slices.Contains(s.Origins, origin) || len(r.Header.Values("Origin")) > 1 {
		return refuse(OriginRefused, "pages of %q may not use this terminal", clip(origin))
	}
	h := w.Header()
	h.Set("Access-Control-Allow-Origin", origin)
	h.Set("Access-Control-Allow-Methods", "GET, POST")
	h.Set("Access-Control-Allow-Headers", "Authorization, Content-Type, Last-Event-ID")
	h.Set("Vary", "Origin")
	return nil
}

// operate runs the operation of a path.
func (s *Server) operate(w http.ResponseWriter, r *http.Request, routes []route) {
	if err := s.dispatch(w, r, routes); err != nil {
		s.fail(w, r, err)
	}
}

func (s *Server) dispatch(w http.ResponseWriter, r *http.Request, routes []route) error {
	who, err := s.authenticate(r)
	if err != nil {
		return err
	}
	var methods []string
	for _, op := range routes {
		if op.method != r.Method {
			methods = append(methods, op.method)
			continue
		}
		if !who.may(op.scope) {
			return refuse(Forbidden, "this token lacks the scope %q", op.scope)
		}
		return op.serve(s, w, r, who)
	}
	refusal := refuse(BadMethod, "%s is not for this path; there is %s", clip(r.Method), strings.Join(methods, " and "))
	refusal.allow = strings.Join(methods, ", ")
	return refusal
}

// anybody is who opens the control socket.
var anybody = &caller{source: "control", scopes: Scopes()}

// authenticate finds the caller by its token.
func (s *Server) authenticate(r *http.Request) (*caller, error) {
	if s.Control {
		return anybody, nil
	}
	headers := r.Header.Values("Authorization")
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if len(headers) == 1 && strings.EqualFold(scheme, "Bearer") {
		// Found by its hash: how far a guess was right cannot be timed.
		if who := s.byToken[sha256.Sum256([]byte(token))]; who != nil {
			if !who.budget.Spend(time.Now()) {
				return nil, refuse(RateLimited, "too many requests with this token")
			}
			return who, nil
		}
	}
	switch {
	case !s.stranger.Spend(time.Now()):
		return nil, refuse(RateLimited, "too many requests without a valid token")
	case len(headers) == 0:
		return nil, refuse(Unauthorized, "a token is missing: Authorization: Bearer TOKEN")
	}
	return nil, refuse(Unauthorized, "this token is not known here")
}

// unhurried lifts the limits of a usual request: reading has ended, and what
// is written has a limit of its own.
func unhurried(w http.ResponseWriter, write time.Duration) error {
	c := http.NewResponseController(w)
	return errors.Join(c.SetReadDeadline(time.Time{}), c.SetWriteDeadline(time.Now().Add(write)))
}

// body reads a JSON body.
func (s *Server) body(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	kind, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	charset, named := params["charset"]
	if err != nil || kind != "application/json" || named && !strings.EqualFold(charset, "utf-8") || len(r.Header.Values("Content-Type")) != 1 {
		return nil, refuse(ContentType, "send Content-Type: application/json")
	}
	if r.Header.Get("Content-Encoding") != "" {
		return nil, refuse(ContentType, "send the body as it is, without Content-Encoding")
	}
	return s.read(w, r)
}

// noBody refuses a body where there should be none.
func (s *Server) noBody(w http.ResponseWriter, r *http.Request) error {
	raw, err := s.read(w, r)
	if err == nil && len(raw) > 0 {
		err = refuse(BadRequest, "this request has no body")
	}
	return err
}

func (s *Server) read(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	raw, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if _, large := errors.AsType[*http.MaxBytesError](err); large {
		return nil, refuse(TooLarge, "a body has at most %d bytes", maxBody)
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return nil, refuse(TooSlow, "the body was not there within %v", bodyTime)
	}
	if err != nil {
		return nil, refuse(BadRequest, "the body is cut off")
	}
	return raw, nil
}
