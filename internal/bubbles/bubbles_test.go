//go:build race

package bubbles

import (
	"context"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// child is set in the process that TestWhatFor starts.
const child = "SSG_BUBBLES_CHILD"

// timers lets many timers of a bubble be due at one time, some of which run on the
// threads of those who look at them.
func timers(t *testing.T, rounds int) {
	for range rounds {
		synctest.Test(t, func(*testing.T) {
			var wg sync.WaitGroup
			for range 32 {
				wg.Go(func() {
					for range 50 {
						ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
						var list [8]*time.Timer
						for i := range list {
							list[i] = time.NewTimer(time.Millisecond)
						}
						other := time.AfterFunc(time.Millisecond, func() {})
						for _, timer := range list {
							select {
							case <-timer.C:
							case <-ctx.Done():
							}
							timer.Stop()
						}
						other.Stop()
						cancel()
					}
				})
			}
			wg.Wait()
		})
	}
}

func TestOneProcessor(t *testing.T) {
	if n := runtime.GOMAXPROCS(0); n != 1 {
		t.Errorf("%d processors", n)
	}
	timers(t, 5)
}

// TestWhatFor runs the same timers on four processors, in a process that dies of
// it. A Go whose bubbles live is good news and no failure.
func TestWhatFor(t *testing.T) {
	if os.Getenv(child) != "" {
		runtime.GOMAXPROCS(4)
		timers(t, 30)
		return
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0], "-test.run=^TestWhatFor$")
	cmd.Env = append(os.Environ(), child+"=1")
	out, err := cmd.CombinedOutput()
	if err == nil || ctx.Err() != nil {
		t.Logf("BUBBLES ON FOUR PROCESSORS LIVE: does %s still need this package?", runtime.Version())
		return
	}
	if text := string(out); !strings.Contains(text, "SIGSEGV") && !strings.Contains(text, "ThreadSanitizer") && !strings.Contains(text, "fatal error") {
		t.Errorf("died of something else: %v\n%s", err, text)
	}
}
