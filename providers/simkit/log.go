package simkit

import (
	"context"
	"sync"
	"time"
)

// Request is one line of a simulator's log. It holds no body and no header:
// those carry credentials and payers' data.
type Request struct {
	N      int       `json:"n"` // counts from 1
	At     time.Time `json:"at"`
	Method string    `json:"method"`
	Path   string    `json:"path"`
	Route  string    `json:"route"` // empty: no such route
	// Status is what the work ended with; 0: dropped before. Faults after the
	// commit may have sent something else.
	Status    int      `json:"status"`
	Committed bool     `json:"committed"` // the work was done
	Faults    []string `json:"faults,omitempty"`
}

// logged is how many requests a log remembers.
const logged = 4096

// Log remembers the last 4,096 requests and counts all. It is safe for
// concurrent use.
type Log struct {
	mu      sync.Mutex
	n       int
	counts  map[string]int // by method
	last    []Request
	changed chan struct{} // closed and replaced at each request
}

// NewLog returns an empty log.
func NewLog() *Log { return &Log{counts: map[string]int{}, changed: make(chan struct{})} }

func (l *Log) add(r Request) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.n++
	l.counts[r.Method]++
	r.N, r.At = l.n, time.Now().UTC()
	if len(l.last) == logged {
		l.last = l.last[1:]
	}
	l.last = append(l.last, r)
	close(l.changed)
	l.changed = make(chan struct{})
}

// Note records a request that no route serves.
func (l *Log) Note(method, path string, status int) {
	l.add(Request{Method: method, Path: path, Status: status})
}

// Requests returns the requests remembered, oldest first.
func (l *Log) Requests() []Request {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]Request{}, l.last...)
}

// Count returns how many requests of a route were logged since the start, as
// far as they are remembered.
func (l *Log) Count(route string) int {
	n := 0
	for _, r := range l.Requests() {
		if r.Route == route {
			n++
		}
	}
	return n
}

// Total returns how many requests came in, of all time.
func (l *Log) Total() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.n
}

// Method returns how many requests with an HTTP method came in, of all time.
func (l *Log) Method(method string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.counts[method]
}

// Await returns the first remembered request after number n that matches,
// waiting for it if need be.
func (l *Log) Await(ctx context.Context, n int, match func(Request) bool) (Request, error) {
	for {
		l.mu.Lock()
		requests, changed := append([]Request{}, l.last...), l.changed
		l.mu.Unlock()
		for _, r := range requests {
			if r.N > n && match(r) {
				return r, nil
			}
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return Request{}, ctx.Err()
		}
	}
}
