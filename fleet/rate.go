package fleet

import (
	"context"
	"sync"
	"time"
)

// bucket is a budget: size at once, and one more every so often. One goroutine
// uses it.
type bucket struct {
	size  int
	every time.Duration

	spent int
	since time.Time // spent has been counted down until then
}

// spend takes one; when there is none left it returns how long to wait for it.
func (b *bucket) spend(now time.Time) time.Duration {
	if back := now.Sub(b.since) / b.every; b.spent == 0 || back >= time.Duration(b.spent) {
		b.spent, b.since = 0, now
	} else {
		b.spent -= int(back)
		b.since = b.since.Add(back * b.every)
	}
	b.spent++
	if b.spent <= b.size {
		return 0
	}
	return b.since.Add(time.Duration(b.spent-b.size) * b.every).Sub(now)
}

// sleep waits, and reports whether it was not called off.
func sleep(ctx context.Context, done <-chan struct{}, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
	case <-done:
	}
	return false
}

// hints keeps foreign messages from making the terminal ask its provider too
// often.
type hints struct {
	mu     sync.Mutex // guards what follows
	budget bucket
	last   map[string]time.Time // at most maxHinted charges
}

func (h *hints) allow(charge string, now time.Time) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if t, ok := h.last[charge]; ok && now.Sub(t) < hintEvery {
		return false
	}
	if h.last == nil || len(h.last) >= maxHinted {
		// What is forgotten may be asked about again a little early; the budget
		// bounds that.
		h.last = make(map[string]time.Time)
	}
	if h.budget.size == 0 {
		h.budget = bucket{size: freeHints, every: hintRefill}
	}
	before := h.budget
	if h.budget.spend(now) > 0 {
		h.budget = before
		return false
	}
	h.last[charge] = now
	return true
}

// hint passes a foreign message on, if it is not one too many.
func (l *Link) hint(charge string) {
	if l.hints.allow(charge, time.Now()) {
		l.counts.inc(cHints)
		l.o.Handler.Hint(charge)
	}
}

// anchor is the newest time at which an accepted message was signed, and where
// the boot-time clock then was: the true time is not before the sum.
type anchor struct {
	mu   sync.Mutex // guards what follows
	iat  time.Time
	up   time.Duration
	boot string
}

// set raises the anchor, and the clock's floor with it.
func (a *anchor) set(c Clock, iat time.Time) {
	up, boot := c.Up(), c.Boot()
	a.mu.Lock()
	if a.boot != boot || iat.After(a.iat.Add(up-a.up)) {
		a.iat, a.up, a.boot = iat, up, boot
	}
	a.mu.Unlock()
	c.SetFloor(iat)
}

// past reports whether t has certainly passed.
func (a *anchor) past(c Clock, t time.Time) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.boot == c.Boot() && !a.iat.IsZero() && a.iat.Add(c.Up()-a.up).After(t)
}
