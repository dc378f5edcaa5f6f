// Package pace spaces the requests of adapters to their providers.
package pace

import (
	"context"
	"sync"
	"time"
)

// burst is how many requests may be sent at once after a pause.
const burst = 5

// Limiter spaces requests: one each interval, after a burst of five. (Generic
// cell rate algorithm.) It is safe for concurrent use.
type Limiter struct {
	interval time.Duration

	mu  sync.Mutex
	due time.Time // when the next request would be on time
}

// New returns a limiter; an interval of 0 lets everything pass.
func New(interval time.Duration) *Limiter { return &Limiter{interval: interval} }

// Late is the error of a wait that would outlast its context.
type Late struct{ After time.Duration } // how long it would be

// Error says how long.
func (l *Late) Error() string { return "the request limit allows none for " + l.After.String() }

// Wait returns when a request may be sent; reserve is how many further ones
// must then still be possible, so that reads leave room for a create. A wait that
// would outlast the context fails at once, with [*Late]; the other error is the
// context's.
func (l *Limiter) Wait(ctx context.Context, reserve int) error {
	slack := time.Duration(burst-1-reserve) * l.interval
	for {
		l.mu.Lock()
		now := time.Now()
		if l.due.Before(now) {
			l.due = now
		}
		early := l.due.Sub(now) - slack
		if early <= 0 {
			l.due = l.due.Add(l.interval)
			l.mu.Unlock()
			return nil
		}
		l.mu.Unlock()
		if end, ok := ctx.Deadline(); ok && now.Add(early).After(end) {
			return &Late{early}
		}
		t := time.NewTimer(early)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return ctx.Err()
		}
	}
}
