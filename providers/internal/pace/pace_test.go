package pace

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	_ "github.com/ssg-safe/agent/internal/bubbles"
)

// TestLimiter: a burst of five, then the rate; reads leave room for a create.
func TestLimiter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := New(500 * time.Millisecond)
		at := func(reserve int) time.Duration {
			t.Helper()
			started := time.Now()
			if err := l.Wait(t.Context(), reserve); err != nil {
				t.Fatal(err)
			}
			return time.Since(started)
		}
		for i := range 4 {
			if d := at(1); d != 0 {
				t.Errorf("read %d waited %v", i, d)
			}
		}
		if d := at(0); d != 0 {
			t.Errorf("the create after a burst of reads waited %v", d)
		}
		if d := at(1); d != time.Second {
			t.Errorf("the next read waited %v, want 1s", d)
		}
		if d := at(0); d != 0 {
			t.Errorf("a create waited %v behind reads", d)
		}
		time.Sleep(time.Hour)
		for i := range 10 {
			want := time.Duration(0)
			if i >= 5 {
				want = 500 * time.Millisecond
			}
			if d := at(0); d != want {
				t.Errorf("create %d after a pause waited %v, want %v", i, d, want)
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		started := time.Now()
		if late, ok := errors.AsType[*Late](l.Wait(ctx, 0)); !ok || late.After != 500*time.Millisecond || time.Since(started) != 0 {
			t.Errorf("got %v after %v, want at once that there is none for half a second", late, time.Since(started))
		}
	})
}
