package localapi

import (
	"net"
	"sync"
	"time"
)

// What one caller, or all of them, may use.
const (
	maxBody        = 16 << 10 // bytes of a request's body
	maxHeader      = 8 << 10  // bytes of its headers; net/http adds 4 KiB
	maxConnections = 64       // of a listener
	maxStreams     = 8        // event streams of a server
	maxPage        = 100      // charges in a list

	headerTime  = 5 * time.Second  // to send the headers
	bodyTime    = 10 * time.Second // to send headers and body
	handlerTime = 10 * time.Second // until the terminal must have decided
	writeTime   = 30 * time.Second // for one answer, or one part of a stream
	idleTime    = time.Minute      // between requests of a connection
	checkTime   = 5 * time.Minute  // for a check of the ledger
	pingEvery   = 15 * time.Second // of a silent event stream
	lookEvery   = time.Second      // for entries that nobody told of

	// A token's requests: so many at once, and one more every so often.
	callerBurst = 40
	callerEvery = 50 * time.Millisecond
	// The same for requests without a known token, all together.
	strangerBurst = 10
	strangerEvery = 500 * time.Millisecond
)

// Bucket is a budget of requests. It is safe for concurrent use.
type Bucket struct {
	burst int
	every time.Duration

	mu    sync.Mutex // guards what follows
	spent int
	since time.Time // spent has been counted down until then
}

// NewBucket is a budget of so many requests at once, and one more every so often.
func NewBucket(burst int, every time.Duration) *Bucket { return &Bucket{burst: burst, every: every} }

// Spend takes one and reports whether there was one left.
func (b *Bucket) Spend(now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if back := now.Sub(b.since) / b.every; back >= time.Duration(b.spent) {
		b.spent, b.since = 0, now
	} else {
		b.spent -= int(back)
		b.since = b.since.Add(back * b.every)
	}
	if b.spent >= b.burst {
		return false
	}
	b.spent++
	return true
}

// bounded is a listener with a limited number of open connections. More wait
// in the kernel's queue.
type bounded struct {
	net.Listener
	slots chan struct{}
	done  chan struct{}
	once  sync.Once
}

func bound(l net.Listener) *bounded {
	return &bounded{Listener: l, slots: make(chan struct{}, maxConnections), done: make(chan struct{})}
}

// Accept implements net.Listener.
func (b *bounded) Accept() (net.Conn, error) {
	select {
	case b.slots <- struct{}{}:
	case <-b.done:
		return nil, net.ErrClosed
	}
	c, err := b.Listener.Accept()
	if err != nil {
		<-b.slots
		return nil, err
	}
	return &slot{Conn: c, free: func() { <-b.slots }}, nil
}

// Close implements net.Listener.
func (b *bounded) Close() error {
	b.once.Do(func() { close(b.done) })
	return b.Listener.Close()
}

// slot is a connection that gives its place back when it is closed.
type slot struct {
	net.Conn
	once sync.Once
	free func()
}

// Close implements net.Conn.
func (s *slot) Close() error {
	defer s.once.Do(s.free)
	return s.Conn.Close()
}
