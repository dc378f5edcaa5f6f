package supervise

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// stops records in which order components stopped.
type stops struct {
	mu    sync.Mutex // guards names
	names []string
}

func (s *stops) got() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.names)
}

// waits is a component that takes its time to stop.
func (s *stops) waits(name string, takes time.Duration) Component {
	return Component{Name: name, Run: func(ctx context.Context) error {
		<-ctx.Done()
		time.Sleep(takes)
		s.mu.Lock()
		defer s.mu.Unlock()
		s.names = append(s.names, name)
		return ctx.Err()
	}}
}

func TestStopsLastInFirstOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var stops stops
		s := New(nil)
		for _, name := range []string{"store", "terminal", "screen"} {
			s.Add(stops.waits(name, time.Second))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		begin := time.Now()
		if err := s.Run(ctx); err != nil {
			t.Errorf("orderly stop: %v", err)
		}
		// One after the other, not all at once.
		if took := time.Since(begin); took != time.Hour+3*time.Second {
			t.Errorf("took %v", took)
		}
		if !slices.Equal(stops.got(), []string{"screen", "terminal", "store"}) {
			t.Errorf("stopped %v", stops.got())
		}
	})
}

func TestStopsUnderADeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var stops stops
		letGo := make(chan struct{})
		hang := func(context.Context) error { <-letGo; return nil }
		s := New(nil)
		s.Add(stops.waits("store", time.Second))
		s.Add(Component{Name: "printer", Run: hang})
		s.Add(stops.waits("slow", 5*time.Second)) // beyond its half, within the whole
		s.Add(Component{Name: "screen", Run: hang})
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		begin := time.Now()
		err := s.Run(ctx)
		if !errors.Is(err, ErrStopTimeout) || !strings.HasSuffix(err.Error(), ": screen, printer") {
			t.Errorf("got %v, want ErrStopTimeout naming screen and printer", err)
		}
		if took := time.Since(begin); took != stopLimit {
			t.Errorf("took %v, want %v", took, stopLimit)
		}
		// What hangs above the store does not take the store's time.
		if !slices.Equal(stops.got(), []string{"slow", "store"}) {
			t.Errorf("stopped %v, want slow and store", stops.got())
		}
		close(letGo)
	})
}

func TestRestartsWithGrowingPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var starts []time.Time
		s := New(nil)
		s.Add(Component{Name: "link", Run: func(context.Context) error {
			starts = append(starts, time.Now())
			return io.ErrUnexpectedEOF
		}})
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
		defer cancel()
		if err := s.Run(ctx); err != nil {
			t.Fatal(err)
		}
		want, distinct := minPause, map[time.Duration]bool{}
		for i := 1; i < len(starts); i++ {
			pause := starts[i].Sub(starts[i-1])
			if pause < want/2 || pause > want {
				t.Errorf("pause %d: %v, want between %v and %v", i, pause, want/2, want)
			}
			distinct[pause] = true
			want = min(2*want, maxPause)
		}
		if len(starts) < 20 || len(distinct) < len(starts)/2 {
			t.Errorf("%d starts with %d different pauses: no jitter or no restarts", len(starts), len(distinct))
		}
	})
}

func TestPauseIsShortAgainAfterASteadyRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var last time.Duration
		ended, runs := time.Time{}, 0
		s := New(nil)
		s.Add(Component{Name: "link", Run: func(ctx context.Context) error {
			if runs++; runs == 11 {
				last = time.Since(ended)
				<-ctx.Done()
				return nil
			}
			if runs == 10 {
				time.Sleep(steadyRun)
			}
			ended = time.Now()
			return io.ErrUnexpectedEOF
		}})
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		if err := s.Run(ctx); err != nil {
			t.Fatal(err)
		}
		if last == 0 || last > minPause {
			t.Errorf("pause after a steady run: %v, want at most %v", last, minPause)
		}
	})
}

func TestPanicIsContainedAndLogged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		s := New(slog.New(slog.NewTextHandler(&log, nil)))
		starts, neighbour := 0, 0
		s.Add(Component{Name: "neighbour", Run: func(ctx context.Context) error {
			neighbour++
			<-ctx.Done()
			return nil
		}})
		s.Add(Component{Name: "screen", Run: func(ctx context.Context) error {
			if starts++; starts == 1 {
				panic("no such glyph")
			}
			<-ctx.Done()
			return nil
		}})
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := s.Run(ctx); err != nil {
			t.Fatal(err)
		}
		if starts != 2 || neighbour != 1 {
			t.Errorf("%d starts and %d of the neighbour, want 2 and 1", starts, neighbour)
		}
		for _, part := range []string{"component=screen", "panic: no such glyph", "supervise_test.go"} {
			if !strings.Contains(log.String(), part) {
				t.Errorf("the log does not say %q:\n%s", part, log.String())
			}
		}
	})
}

func TestEssentialComponentEndsEverything(t *testing.T) {
	broken := errors.New("commit outcome unknown")
	for _, test := range []struct {
		name string
		end  func() error
		want func(error) bool
	}{
		{"in error", func() error { return broken }, func(err error) bool { return errors.Is(err, broken) && strings.Contains(err.Error(), "store: ") }},
		{"in panic", func() error { panic("broken invariant") }, func(err error) bool { return err != nil && strings.Contains(err.Error(), "broken invariant") }},
		{"done", func() error { return nil }, func(err error) bool { return err == nil }},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var stops stops
				s := New(nil)
				s.Add(stops.waits("below", 0))
				starts := 0
				s.Add(Component{Name: "store", Essential: true, Run: func(context.Context) error {
					starts++
					time.Sleep(time.Minute)
					return test.end()
				}})
				s.Add(stops.waits("above", 0))
				if err := s.Run(t.Context()); !test.want(err) {
					t.Errorf("got %v", err)
				}
				if starts != 1 || !slices.Equal(stops.got(), []string{"above", "below"}) {
					t.Errorf("%d starts, stopped %v", starts, stops.got())
				}
			})
		})
	}
}

func TestEssentialComponentFailingWhileStopping(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broken := errors.New("last commit failed")
		s := New(nil)
		s.Add(Component{Name: "store", Essential: true, Run: func(ctx context.Context) error {
			<-ctx.Done()
			return broken
		}})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := s.Run(ctx); !errors.Is(err, broken) {
			t.Errorf("got %v, want the failure of the last commit", err)
		}
	})
}

func TestComponentDoneIsNotRestarted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		starts := 0
		s := New(nil)
		s.Add(Component{Name: "migration", Run: func(context.Context) error { starts++; return nil }})
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		if err := s.Run(ctx); err != nil || starts != 1 {
			t.Errorf("%d starts, %v", starts, err)
		}
	})
}
