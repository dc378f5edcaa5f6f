package providers

import (
	"testing"
	"time"
)

// TestBackoff: any span between the bounds, and not always the same.
func TestBackoff(t *testing.T) {
	for n := -1; n < 80; n++ {
		low, high := MaxPause, time.Duration(0)
		for range 200 {
			d := Backoff(n)
			low, high = min(low, d), max(high, d)
		}
		bound := min(MinPause<<min(max(n, 1), 10), MaxPause)
		if low < MinPause || high > bound || high-low < (bound-MinPause)/2 {
			t.Errorf("after %d failures: %v to %v, bound %v", n, low, high, bound)
		}
	}
}
