// Package webhook is where providers report to the hub over HTTP.
//
//	s, err := webhook.New(webhook.Options{Hub: h, Address: "0.0.0.0:8443", TLS: t, Sources: []webhook.Source{…}})
//	err = s.Run(ctx)
//
// A webhook is a hint: whoever is told of it asks the provider. Terminals that
// never hear of one come to the same end by asking at their own pace. So nothing
// here needs to be believed, and what is here keeps others from causing
// questions, work or noise.
//
// # The way in
//
// Each provider has an address of its own, https://HOST/PATH, whose path nobody
// can guess. What stands below it, /PATH/…, is the same source: banks add /pix,
// and where each attempt has a callback address of its own it ends in a token. A
// source verifies what came over the exact bytes of the body.
//
// # Answers
//
//	200  verified, and durable in the hub's store, or known, or a test event
//	403  everything that is not: wrong path, method, signature, time, certificate,
//	     or too long. It does not say which, and has no body
//	429  more than one address may send, or all to a source that verifies nothing;
//	     with Retry-After
//	503  it could not be recorded: send it again
//
// Which terminal an event is about is found and told in the commit that records
// it (hub.Hub.Receive): a kill between the two loses nothing, because there is no
// between.
package webhook

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/ssg-safe/agent/hub"
	"github.com/ssg-safe/agent/redact"
)

// Bounds of a request.
const (
	// MaxBody is the longest body that is read, in bytes.
	MaxBody = 256 << 10
	// MinPath is the shortest path of a source, in characters.
	MinPath = 22

	readHeader = 5 * time.Second
	readAll    = 8 * time.Second
	// answerWithin is how long recording may take: providers wait ten seconds.
	answerWithin = 8 * time.Second
	idle         = 15 * time.Second
	maxHeader    = 16 << 10
	maxConns     = 256

	// openRate is how many events a second a source takes that verifies nothing, and
	// openBurst how many at once: each may become a row of the store, and a question
	// to the provider. One body has at most 1,000.
	openRate, openBurst = 5, 2000
)

// Errors by which a source refuses a request.
var (
	// ErrForged: not signed by the provider.
	ErrForged = errors.New("not signed by the provider")
	// ErrStale: signed, with a time too far from now.
	ErrStale = errors.New("too old, or from the future")
	// ErrSandbox: a test event. It is answered, and nothing is kept of it.
	ErrSandbox = errors.New("a test event")
)

// Source is one provider's way in.
type Source struct {
	// Name, as the configuration has it.
	Name string
	// Path is what follows the first slash of the address: at least [MinPath] of
	// the characters A-Z a-z 0-9 - and _.
	Path redact.Secret
	// Callers, when set, must have vouched for the caller's certificate.
	Callers *x509.CertPool
	// Open: nothing but the path keeps strangers away. What comes is then paced for
	// all addresses together.
	Open bool
	// Read verifies a body, byte for byte, and tells what it holds. Its error wraps
	// one of those above; nothing is kept of such a request.
	Read func(Request) ([]hub.Webhook, error)
}

// Request is what reached a source.
type Request struct {
	Header http.Header
	// Below is what follows the source's path and a slash.
	Below    string
	Body     []byte
	Received time.Time
}

// Options of a server.
type Options struct {
	Hub     *hub.Hub
	Sources []Source
	// Address to listen at.
	Address string
	// TLS; nil is plain HTTP, for a proxy in front.
	TLS *tls.Config
	// Proxied: a proxy stands in front; its last X-Forwarded-For is who sends.
	Proxied bool
	// Received is called with what was recorded, before it is answered; nil:
	// nothing is. It must not wait.
	Received func(context.Context, []hub.Webhook)
	// Rate is how many requests a second one address may send in the long run, and
	// Burst how many at once; 0 is 20 and 200.
	Rate, Burst int
	// Logger; nil discards.
	Logger *slog.Logger
}

// Server receives webhooks. It is an http.Handler; its methods are safe for
// concurrent use.
type Server struct {
	hub     *hub.Hub
	log     *slog.Logger
	sources map[[sha256.Size]byte]*Source
	tls     *tls.Config
	addr    string
	proxied bool
	limiter *limiter
	after   func(context.Context, []hub.Webhook)

	// open paces the sources that verify nothing, by name.
	open map[string]*limiter

	mu     sync.Mutex // guards all below
	order  []string
	counts map[string]*Stats
}

// New returns a server. It does no I/O.
func New(o Options) (*Server, error) {
	if o.Rate == 0 {
		o.Rate = 20
	}
	if o.Burst == 0 {
		o.Burst = 200
	}
	s := &Server{
		hub: o.Hub, log: o.Logger, sources: make(map[[sha256.Size]byte]*Source), addr: o.Address, proxied: o.Proxied,
		limiter: newLimiter(o.Rate, o.Burst), open: map[string]*limiter{}, counts: map[string]*Stats{nobody: {Source: nobody}}, order: []string{nobody},
	}
	if s.after = o.Received; s.after == nil {
		s.after = func(context.Context, []hub.Webhook) {}
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if o.TLS != nil {
		s.tls = o.TLS.Clone()
		// Which certificates are asked for depends on the path, which comes later.
		s.tls.ClientAuth = tls.RequestClientCert
	}
	for _, src := range o.Sources {
		path := src.Path.Reveal()
		key := sha256.Sum256([]byte(path))
		switch {
		case !ValidPath(path):
			return nil, fmt.Errorf("webhook source %s: its path must have %d to 128 of the characters A-Z a-z 0-9 - and _", src.Name, MinPath)
		case src.Name == "" || src.Name == nobody || s.counts[src.Name] != nil:
			return nil, fmt.Errorf("webhook source %q: names must differ", src.Name)
		case s.sources[key] != nil:
			return nil, fmt.Errorf("webhook source %s: %s has the same path", src.Name, s.sources[key].Name)
		}
		s.sources[key], s.counts[src.Name] = &src, &Stats{Source: src.Name}
		s.order = append(s.order, src.Name)
		if src.Open {
			s.open[src.Name] = newLimiter(openRate, openBurst)
		}
	}
	return s, nil
}

// ValidPath reports whether text can be a source's path.
func ValidPath(text string) bool {
	return len(text) >= MinPath && len(text) <= 128 && !strings.ContainsFunc(text, func(r rune) bool {
		return (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z') && r != '-' && r != '_'
	})
}

// Run listens until ctx ends, then lets what is under way finish. It is called
// once. Errors are the listener's.
func (s *Server) Run(ctx context.Context) error {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", s.addr)
	if err != nil {
		return fmt.Errorf("webhook: %w", err)
	}
	s.log.Info("webhooks", "addr", l.Addr().String(), "tls", s.tls != nil, "sources", len(s.sources))
	var sweeper sync.WaitGroup
	defer sweeper.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	sweeper.Go(func() { s.sweep(ctx) })
	return s.Serve(ctx, l)
}

// Serve is Run on a listener, which it closes, without looking after events that
// wait.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	server := &http.Server{
		Handler: s, ReadHeaderTimeout: readHeader, ReadTimeout: readAll, WriteTimeout: readAll + answerWithin, IdleTimeout: idle,
		MaxHeaderBytes: maxHeader, TLSConfig: s.tls, ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	l = &bounded{Listener: l, free: make(chan struct{}, maxConns)}
	if s.tls != nil {
		l = tls.NewListener(l, s.tls)
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	select {
	case err := <-served:
		return fmt.Errorf("webhook: %w", err)
	case <-ctx.Done():
	}
	limit, cancel := context.WithTimeout(context.WithoutCancel(ctx), answerWithin)
	defer cancel()
	err := server.Shutdown(limit)
	if err != nil {
		err = server.Close()
	}
	<-served // says that it was shut down
	return err
}

// sweep looks after events whose charge does not come.
func (s *Server) sweep(ctx context.Context) {
	tick := time.NewTicker(time.Minute)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if err := s.hub.SweepWebhooks(ctx); err != nil && ctx.Err() == nil {
			s.log.Warn("webhooks that wait", "err", err)
		}
	}
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if wait := s.limiter.take(s.caller(r), 1, time.Now()); wait > 0 {
		s.wait(w, nobody, wait)
		return
	}
	// Everything is read first, and by everyone: nothing shows which paths there
	// are.
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, MaxBody))
	received := time.Now()
	segment, below, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	src := s.sources[sha256.Sum256([]byte(segment))]
	name := nobody
	if src != nil {
		name = src.Name
	}
	if why := s.admit(r, src, err); why != "" {
		s.refuse(w, name, why)
		return
	}
	events, err := src.Read(Request{Header: r.Header, Below: below, Body: body, Received: received})
	switch {
	case errors.Is(err, ErrSandbox):
		s.count(name, func(c *Stats) { c.Sandbox++ })
		return
	case errors.Is(err, ErrStale):
		s.refuse(w, name, Stale)
		return
	case err != nil:
		s.refuse(w, name, Signature)
		return
	}
	for i := range events {
		events[i].Source = name
	}
	if l := s.open[name]; l != nil {
		if wait := l.take(netip.Prefix{}, len(events), received); wait > 0 {
			s.wait(w, name, wait)
			return
		}
	}
	ctx, cancel := context.WithTimeout(r.Context(), answerWithin)
	defer cancel()
	fresh, err := s.hub.Receive(ctx, events)
	if err != nil {
		s.log.Warn("webhook not recorded", "source", name, "err", err)
		s.count(name, func(c *Stats) { c.refuse(Unrecorded) })
		w.Header().Set("Retry-After", "60")
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	s.after(ctx, events)
	s.count(name, func(c *Stats) {
		c.Last = received.UTC()
		c.New += uint64(fresh)
		c.Known += uint64(len(events) - fresh)
	})
}

// wait tells who sends too much to come again.
func (s *Server) wait(w http.ResponseWriter, source string, wait time.Duration) {
	s.count(source, func(c *Stats) { c.refuse(Rate) })
	w.Header().Set("Retry-After", fmt.Sprint(int(wait/time.Second)+1))
	w.WriteHeader(http.StatusTooManyRequests)
}

// admit says why a request is refused before its body is looked at; empty: it is
// not.
func (s *Server) admit(r *http.Request, src *Source, read error) Refusal {
	switch {
	case read != nil:
		return Body
	case src == nil:
		return Path
	case r.Method != http.MethodPost:
		return Method
	case src.Callers != nil && !vouched(r.TLS, src.Callers):
		return Certificate
	}
	return ""
}

// vouched reports whether the caller came with a certificate of one of these.
func vouched(state *tls.ConnectionState, roots *x509.CertPool) bool {
	if state == nil || len(state.PeerCertificates) == 0 {
		return false
	}
	between := x509.NewCertPool()
	for _, c := range state.PeerCertificates[1:] {
		between.AddCert(c)
	}
	_, err := state.PeerCertificates[0].Verify(x509.VerifyOptions{
		Roots: roots, Intermediates: between, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	return err == nil
}

// refuse answers, and says so in the log once a minute: a provider that is refused
// is a secret that is wrong, or a clock.
func (s *Server) refuse(w http.ResponseWriter, source string, why Refusal) {
	quiet := source == nobody // anybody on the internet
	s.count(source, func(c *Stats) {
		quiet = quiet || c.LastReason == why && time.Since(c.LastRefused) < time.Minute
		c.refuse(why)
	})
	if !quiet {
		s.log.Warn("webhook refused", "source", source, "reason", string(why))
	}
	w.WriteHeader(http.StatusForbidden)
}

// caller is who sends, as the limits see it: an address, of IPv6 the network of
// 64 bits.
func (s *Server) caller(r *http.Request) netip.Prefix {
	text, _, _ := net.SplitHostPort(r.RemoteAddr)
	if s.proxied {
		if all := r.Header.Values("X-Forwarded-For"); len(all) > 0 {
			last := all[len(all)-1]
			text = strings.TrimSpace(last[strings.LastIndex(last, ",")+1:])
		}
	}
	addr, err := netip.ParseAddr(text)
	if err != nil {
		return netip.Prefix{}
	}
	bits := 32
	if addr = addr.Unmap(); addr.Is6() {
		bits = 64
	}
	prefix, err := addr.WithZone("").Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return prefix
}
