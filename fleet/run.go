package fleet

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"
)

// Run keeps the link up until ctx ends, and then returns nil. It returns an
// error only if the store cannot be read at the start.
func (l *Link) Run(ctx context.Context) error {
	if err := l.o.Store.View(Verify); err != nil {
		return fmt.Errorf("fleet: %w", err)
	}
	for attempt := 0; ctx.Err() == nil; attempt++ {
		select {
		case <-ctx.Done():
		case <-time.After(pause(attempt)):
		}
	}
	return nil
}

// pause is a fully jittered pause before the next connection, after so many
// failed ones.
func pause(failed int) time.Duration {
	limit := maxPause
	if failed < 9 {
		limit = min(limit, minPause<<failed)
	}
	return rand.N(limit + 1)
}
