package webhook

import (
	"maps"
	"net"
	"net/netip"
	"sync"
	"time"
)

// Refusal is why a request was refused.
type Refusal string

// The reasons.
const (
	Path        Refusal = "path"        // no source has it
	Method      Refusal = "method"      // not a POST
	Body        Refusal = "body"        // too long, too slow, or cut off
	Certificate Refusal = "certificate" // none, or not vouched for
	Signature   Refusal = "signature"   // not the provider's
	Stale       Refusal = "stale"       // signed, at another time
	Rate        Refusal = "rate"        // one address sends too much, or all do
	Unrecorded  Refusal = "unrecorded"  // the store did not take it; it comes again
)

// nobody stands for requests that reach no source.
const nobody = "-"

// Stats counts what came for one source since the server was made; those of
// source "-" reached none.
type Stats struct {
	Source string `json:"source"`
	// New, Known (received before) and Sandbox (test events) count events that were
	// verified, Last is when one came.
	New     uint64    `json:"new"`
	Known   uint64    `json:"known"`
	Sandbox uint64    `json:"sandbox"`
	Last    time.Time `json:"last,omitzero"`
	// Refused counts requests by reason; LastRefused and LastReason are of the last.
	Refused     map[Refusal]uint64 `json:"refused,omitempty"`
	LastRefused time.Time          `json:"last_refused,omitzero"`
	LastReason  Refusal            `json:"last_reason,omitempty"`
}

func (s *Stats) refuse(why Refusal) {
	if s.Refused == nil {
		s.Refused = make(map[Refusal]uint64)
	}
	s.Refused[why]++
	s.LastRefused, s.LastReason = time.Now().UTC(), why
}

// Stats returns what was counted, by source in the order of the configuration.
func (s *Server) Stats() []Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []Stats
	for _, name := range s.order {
		c := *s.counts[name]
		c.Refused = maps.Clone(c.Refused)
		all = append(all, c)
	}
	return all
}

func (s *Server) count(source string, do func(*Stats)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	do(s.counts[source])
}

// limiter paces callers (generic cell rate algorithm). It remembers so many; the
// others share one place.
type limiter struct {
	pace, burst time.Duration

	mu  sync.Mutex // guards tat
	tat map[netip.Prefix]time.Time
}

const maxCallers = 4096

func newLimiter(rate, burst int) *limiter {
	pace := time.Second / time.Duration(rate)
	return &limiter{pace: pace, burst: pace * time.Duration(burst), tat: make(map[netip.Prefix]time.Time)}
}

// take returns how long the caller has to wait with so many; 0 lets them in, all of
// them. Who has to wait has used up nothing.
func (l *limiter) take(caller netip.Prefix, n int, now time.Time) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, known := l.tat[caller]; !known && len(l.tat) >= maxCallers {
		maps.DeleteFunc(l.tat, func(_ netip.Prefix, tat time.Time) bool { return tat.Before(now) })
		if len(l.tat) >= maxCallers {
			caller = netip.Prefix{}
		}
	}
	tat := l.tat[caller]
	if tat.Before(now) {
		tat = now
	}
	pace := l.pace * time.Duration(n)
	if wait := tat.Sub(now) + pace - l.burst; wait > 0 {
		return wait
	}
	l.tat[caller] = tat.Add(pace)
	return 0
}

// bounded is a listener that serves so many connections at a time; more wait in
// the kernel's queue.
type bounded struct {
	net.Listener
	free chan struct{}
}

// Accept implements net.Listener.
func (b *bounded) Accept() (net.Conn, error) {
	b.free <- struct{}{}
	c, err := b.Listener.Accept()
	if err != nil {
		<-b.free
		return nil, err
	}
	return &boundConn{Conn: c, release: sync.OnceFunc(func() { <-b.free })}, nil
}

type boundConn struct {
	net.Conn
	release func()
}

// Close implements net.Conn.
func (c *boundConn) Close() error {
	defer c.release()
	return c.Conn.Close()
}
