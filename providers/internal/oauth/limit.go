package oauth

import (
	"context"
	"sync"
	"time"
)

// limiter spaces requests: one each interval, after a burst. (Generic cell
// rate algorithm: due is when the next request would be on time.)
type limiter struct {
	interval time.Duration
	burst    int

	mu  sync.Mutex
	due time.Time
}

// wait returns when a request may be sent; reserve is how many further ones
// must then still be possible.
func (l *limiter) wait(ctx context.Context, reserve int) error {
	slack := time.Duration(l.burst-1-reserve) * l.interval
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
		t := time.NewTimer(early)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return ctx.Err()
		}
	}
}
