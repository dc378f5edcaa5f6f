package fleet

import (
	"log/slog"
	"testing"
	"time"

	"github.com/ssg-safe/agent/fleet/wire"
	"github.com/ssg-safe/agent/ledger"
	"github.com/ssg-safe/agent/store"
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

// TestFailedCommitKeepsNoCheckpoint: what pruning stops at is where a checkpoint
// was kept, not where one was tried.
func TestFailedCommitKeepsNoCheckpoint(t *testing.T) {
	l := &Link{log: slog.New(slog.DiscardHandler)}
	at := ledger.Position{Epoch: 1, Seq: 70}
	for _, err := range []error{store.ErrBusy, nil} {
		l.cursor.moving, l.cursor.marking = ledger.Head{Position: at}, true
		l.moved(time.Now(), err)
		if kept := l.cursor.marked == at; kept != (err == nil) {
			t.Errorf("after %v the checkpoint at %v is there: %v", err, at, kept)
		}
	}
}
