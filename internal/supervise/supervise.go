// Package supervise keeps the agent's components running and stops them in
// order.
//
// A [Component] is a name and a Run(ctx) error that blocks. The [Supervisor]
// starts the components in the order they were added; what fails or panics is
// started again after a growing, jittered pause, unless it is essential, in
// which case everything stops and the process ends (its supervisor, systemd,
// starts it anew, and it recovers from the store). When the context ends, the
// components stop last in, first out, each with its own context, so that what
// others rest on (the store's committer) goes last.
//
// A [Heart] is how a vital loop proves that it turns. The [Notifier] pings
// systemd's watchdog only while every heart has beaten recently: a loop that
// hangs ends in a restart with all stacks in the journal. A dead printer or
// network has no heart and stops no ping.
//
// A panic is contained only in the goroutine that runs the component; a
// component that starts goroutines waits for them and answers for them.
package supervise

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"runtime/debug"
	"slices"
	"strings"
	"time"
)

// Component is one supervised part of the program.
type Component struct {
	// Name is shown in logs and errors.
	Name string
	// Run blocks until ctx ends or the component is done or fails. Nil before
	// ctx ends means done for good; an error means failed.
	Run func(ctx context.Context) error
	// Essential components are not restarted: when one ends, in error or not,
	// all stop and the supervisor returns its error.
	Essential bool
}

// The pauses before a restart, and how long a run counts as healthy again.
const (
	minPause  = 500 * time.Millisecond
	maxPause  = 30 * time.Second
	steadyRun = time.Minute
)

// stopLimit bounds a whole shutdown; the unit's TimeoutStopSec is 20 s.
const stopLimit = 15 * time.Second

// ErrStopTimeout is returned when components had not stopped in time.
var ErrStopTimeout = errors.New("components did not stop in time")

// Supervisor runs components. Add them all, then call Run once.
type Supervisor struct {
	log        *slog.Logger
	components []Component
}

// New returns a supervisor without components. A nil logger discards.
func New(log *slog.Logger) *Supervisor {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Supervisor{log: log}
}

// Add appends a component. What it needs must have been added before it.
func (s *Supervisor) Add(c Component) { s.components = append(s.components, c) }

// running is a component that was started.
type running struct {
	Component
	cancel context.CancelFunc
	ended  chan struct{} // closed when it will not run again
}

// Run starts everything, waits until ctx or an essential component ends, and
// stops everything, last in first out, within 15 seconds. It returns the
// essential components' errors, joined with [ErrStopTimeout] naming what still
// runs; nil after an orderly stop.
func (s *Supervisor) Run(ctx context.Context) error {
	ended := make(chan error, len(s.components)) // by essential components
	started := make([]running, 0, len(s.components))
	for _, c := range s.components {
		// ctx must not reach the components: it would stop them all at once.
		own, cancel := context.WithCancel(context.WithoutCancel(ctx))
		r := running{Component: c, cancel: cancel, ended: make(chan struct{})}
		started = append(started, r)
		go func() {
			defer close(r.ended)
			err := s.keep(own, r.Component)
			if c.Essential {
				ended <- err
			}
		}()
	}
	var errs []error
	select {
	case <-ctx.Done():
	case err := <-ended:
		errs = append(errs, err)
	}
	errs = append(errs, s.stop(started))
	for {
		select {
		case err := <-ended:
			errs = append(errs, err)
		default:
			return errors.Join(errs...)
		}
	}
}

// keep runs one component until its context ends, it is done, or it is
// essential and failed: that error alone it returns.
func (s *Supervisor) keep(ctx context.Context, c Component) error {
	log := s.log.With("component", c.Name)
	pause := minPause
	for {
		begin := time.Now()
		err := contained(ctx, c)
		switch {
		case err == nil:
			if ctx.Err() == nil {
				log.Info("component done")
			}
			return nil
		case c.Essential && (ctx.Err() == nil || !errors.Is(err, ctx.Err())):
			return fmt.Errorf("%s: %w", c.Name, err)
		case ctx.Err() != nil:
			if !errors.Is(err, ctx.Err()) {
				log.Warn("component failed while stopping", "err", err)
			}
			return nil
		}
		if time.Since(begin) >= steadyRun {
			pause = minPause
		}
		wait := pause/2 + rand.N(pause/2+1)
		log.Error("component failed, restarting", "wait", wait, "err", err)
		pause = min(2*pause, maxPause)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
	}
}

// panicError is a panic that was contained.
type panicError struct {
	value any
	stack []byte
}

func (p *panicError) Error() string { return fmt.Sprintf("panic: %v\n%s", p.value, p.stack) }

// contained runs a component once; a panic becomes an error with its stack.
func contained(ctx context.Context, c Component) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &panicError{v, debug.Stack()}
		}
	}()
	return c.Run(ctx)
}

// stop ends the components from last to first. One that hangs may use half of
// the time that is left, so that those below it still get theirs.
func (s *Supervisor) stop(started []running) error {
	deadline := time.Now().Add(stopLimit)
	wait := func(r running, until time.Time) bool {
		limit := time.NewTimer(time.Until(until))
		defer limit.Stop()
		select {
		case <-r.ended:
			return true
		case <-limit.C:
		}
		select {
		case <-r.ended: // in the same moment, or long before this wait
			return true
		default:
			return false
		}
	}
	var late []running
	for _, r := range slices.Backward(started) {
		r.cancel()
		if !wait(r, time.Now().Add(time.Until(deadline)/2)) {
			s.log.Error("component does not stop", "component", r.Name)
			late = append(late, r)
		}
	}
	var names []string
	for _, r := range late {
		if !wait(r, deadline) {
			names = append(names, r.Name)
		}
	}
	if names != nil {
		return fmt.Errorf("%w: %s", ErrStopTimeout, strings.Join(names, ", "))
	}
	return nil
}
