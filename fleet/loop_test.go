package fleet

import (
	"testing"
	"time"

	"github.com/ssg-safe/agent/fleet/wire"
)

// TestBlockedLoopSleeps: what is due and cannot be published does not keep the
// processor busy until it can; what can be is done at once.
func TestBlockedLoopSleeps(t *testing.T) {
	g, _ := pipe(t)
	now := time.Now()
	s := &session{
		l:     &Link{o: Options{Hub: wire.Keys{"kid": nil}, Telemetry: func() Metrics { return Metrics{} }}},
		guard: g, begun: 1, inFlight: []publish{{at: now}},
		askAt: now.Add(-time.Second), teleAt: now.Add(-time.Second),
	}
	if got := s.due(now); got != pubackTimeout {
		t.Errorf("blocked, the loop sleeps %v, want %v", got, pubackTimeout)
	}
	g.wrote.Store(1)
	if got := s.due(now); got > time.Millisecond {
		t.Errorf("free, the loop sleeps %v", got)
	}
}
