package hub

import (
	"sync"
	"time"

	"github.com/ssg-safe/agent/fleet/wire"
	"github.com/ssg-safe/agent/ledger"
)

// Presence is what is known about a device's connection. It is advisory, and is
// kept in memory: after a start the broker's retained states bring it back.
type Presence struct {
	On      bool      `json:"on"`
	SID     string    `json:"sid,omitempty"`
	Boot    string    `json:"boot,omitempty"`
	Version string    `json:"version,omitempty"`
	Since   time.Time `json:"since,omitzero"` // of On, by the hub's clock
	Seen    time.Time `json:"seen,omitzero"`  // last message of any kind that was looked at
	// From the newest hello.
	Head    ledger.Position `json:"head"`
	Acked   ledger.Position `json:"acked"`
	Clock   string          `json:"clock,omitempty"`
	Pending int             `json:"pending"`
	Free    int64           `json:"free"`
	// From the newest telemetry: sums since the agent started, and values of then.
	Counters map[string]uint64 `json:"counters,omitempty"`
	Gauges   map[string]int64  `json:"gauges,omitempty"`
}

type presence struct {
	mu  sync.Mutex // guards all
	all map[string]Presence
}

func newPresence() *presence { return &presence{all: make(map[string]Presence)} }

func (p *presence) get(device string) (Presence, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	v, ok := p.all[device]
	return v, ok
}

// state notes a state message or a will; false when it belongs to a session that
// has been replaced.
func (p *presence) state(device string, s wire.State, now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	v := p.all[device]
	if !s.On && v.SID != "" && v.SID != s.SID {
		return false
	}
	if v.On != s.On || v.SID != s.SID {
		v.Since = now
	}
	v.On, v.SID, v.Seen = s.On, s.SID, now
	if s.On {
		v.Boot, v.Version = s.Boot, s.Version
	}
	p.all[device] = v
	return true
}

// hello notes what a device says of itself. One of another session than the
// state's may be old, and does not change the session.
func (p *presence) hello(device string, h wire.Hello, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	v := p.all[device]
	v.Seen = now
	if v.SID == "" {
		v.On, v.SID, v.Since = true, h.SID, now
	}
	if v.SID == h.SID {
		v.Version, v.Head, v.Acked = h.Version, h.Head.Position, h.Acked.Position
		v.Clock, v.Pending, v.Free = h.Clock, h.Pending, h.Free
	}
	p.all[device] = v
}

// measured notes what a device measured.
func (p *presence) measured(device string, t wire.Tele, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	v := p.all[device]
	v.Seen, v.Counters, v.Gauges = now, t.Counters, t.Gauges
	p.all[device] = v
}

// away reports whether the device is known not to be there.
func (p *presence) away(device string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	v, ok := p.all[device]
	return ok && v.SID != "" && !v.On
}
