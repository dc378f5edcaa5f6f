package display

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"

	"github.com/gdamore/tcell/v2"
)

const (
	// finiDeadline is how long the terminal gets to go back to what it was.
	finiDeadline = 2 * time.Second

	// reopenPause lies between a hang-up and the next attempt to draw.
	reopenPause = 3 * time.Second

	// syncEvery: kernel messages and hot-plugged fonts disturb a console.
	syncEvery = time.Minute
)

// Display draws Views on a terminal.
type Display struct {
	opts Options
	log  *slog.Logger
	open func(context.Context) (terminal, error)
	wake chan struct{}

	deadline, pause time.Duration // finiDeadline and reopenPause

	mu    sync.Mutex // guards shown
	shown shown

	// The last report and the number of its View, of the drawing goroutine.
	last  Drawn
	lastN int
}

// shown is the newest View and when Show got it.
type shown struct {
	view View
	at   time.Time
	n    int // how many before it; 0 = nothing shown yet
}

// New returns a Display; Run opens the terminal.
func New(o Options) *Display {
	d := &Display{
		opts:     o,
		log:      o.Logger,
		wake:     make(chan struct{}, 1),
		deadline: finiDeadline,
		pause:    reopenPause,
	}
	d.open = func(ctx context.Context) (terminal, error) {
		return openTerminal(ctx, o.Tty, d.deadline)
	}
	if d.log == nil {
		d.log = slog.New(slog.DiscardHandler)
	}
	if d.opts.Now == nil {
		d.opts.Now = time.Now
	}
	if d.opts.Keys == nil {
		d.opts.Keys = func(Key) {}
	}
	if d.opts.Drawn == nil {
		d.opts.Drawn = func(Drawn) {}
	}
	d.shown = shown{view: View{State: Starting}, at: time.Now()}
	return d
}

// Show hands v to the display and returns at once, also before and after Run.
// The newest View wins: one that was not drawn yet is forgotten.
func (d *Display) Show(v View) {
	d.mu.Lock()
	d.shown = shown{v, time.Now(), d.shown.n + 1}
	d.mu.Unlock()
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

func (d *Display) newest() shown {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.shown
}

// Run owns the terminal until ctx ends, then puts it back as it was and
// returns nil. It returns ErrNoTerminal when there is none to begin with; a
// terminal that hangs up later is opened again after a pause. A panic in a
// callback or in a layout comes out of Run, after the terminal was put back.
// One Run at a time.
func (d *Display) Run(ctx context.Context) error {
	if s := d.opts.Screen; s != nil {
		return d.session(ctx, terminal{screen: s})
	}
	for started := false; ; started = true {
		t, err := d.open(ctx)
		switch {
		case err == nil:
			err = d.session(ctx, t)
		case !started && ctx.Err() == nil:
			return fmt.Errorf("%w: %w", ErrNoTerminal, err)
		}
		if ctx.Err() != nil {
			return nil
		}
		d.log.Warn("terminal lost, trying again", "pause", d.pause, "err", err)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(d.pause):
		}
	}
}

// session is the life of one open terminal.
type session struct {
	*Display
	screen  tcell.Screen
	events  chan tcell.Event
	redraw  chan struct{} // the size changed
	hung    chan error
	crashed chan any
}

// session draws on t until ctx ends (nil), the terminal hangs up (errHangup)
// or something panics.
func (d *Display) session(ctx context.Context, t terminal) error {
	q, ok := t.screen.(interface{ EventQ() chan tcell.Event })
	if !ok {
		return fmt.Errorf("screen %T has no event queue", t.screen)
	}
	s := &session{
		Display: d,
		screen:  t.screen,
		// The queue itself, because PollEvent stops when Fini begins, and a
		// terminal that still sends would then hang Fini.
		events:  q.EventQ(),
		redraw:  make(chan struct{}, 1),
		hung:    make(chan error, 1),
		crashed: make(chan any, 2),
	}
	drawing, stopDrawing := context.WithCancel(ctx)
	defer stopDrawing()
	drawn, drained, finished := make(chan struct{}), make(chan struct{}), make(chan struct{})
	go s.guarded(drawn, func() { s.draw(drawing) })
	go s.guarded(drained, func() { s.drain(finished) })

	var err error
	var crash any
	select {
	case <-ctx.Done():
	case err = <-s.hung:
	case crash = <-s.crashed:
	}

	// A tty that takes no output holds up the drawing and Fini for ever.
	stopDrawing()
	limit := time.After(d.deadline)
	stuck := func(ch <-chan struct{}) bool {
		select {
		case <-ch:
			return false
		case <-limit:
			return true
		}
	}
	late := stuck(drawn)
	if !late {
		fini := make(chan struct{})
		go func() {
			defer close(fini)
			t.screen.Fini()
		}()
		late = stuck(fini)
	}
	close(finished)
	if t.tty != nil {
		if late {
			t.tty.restore()
		}
		t.tty.close()
	}
	if late || stuck(drained) {
		d.log.Warn("terminal is stuck, left as it is", "deadline", d.deadline)
	} else if err != nil {
		// The code that the payer saw is gone with the terminal.
		d.report(Drawn{View: d.last.View}, d.lastN)
	}
	if crash == nil {
		select {
		case crash = <-s.crashed:
		default:
		}
	}
	if crash != nil {
		panic(crash)
	}
	return err
}

// guarded runs f and hands a panic to the session instead of ending the process
// with a terminal in raw mode.
func (s *session) guarded(done chan struct{}, f func()) {
	defer close(done)
	defer func() {
		if p := recover(); p != nil {
			s.crashed <- fmt.Sprintf("display: %v\n\n%s", p, debug.Stack())
		}
	}()
	f()
}

// drain empties the terminal's queue until finished: a full one hangs Fini. It
// owns the keys.
func (s *session) drain(finished <-chan struct{}) {
	k := &keys{out: s.opts.Keys}
	wait := time.NewTimer(0)
	defer wait.Stop()
	for {
		var due <-chan time.Time
		if d, ok := k.due(time.Now()); ok {
			wait.Reset(d)
			due = wait.C
		}
		select {
		case <-finished:
			return
		case ev := <-s.events:
			s.event(k, ev)
		case <-due:
			// A character that came in time may wait in the queue.
			select {
			case ev := <-s.events:
				s.event(k, ev)
			default:
				k.release(time.Now())
			}
		}
	}
}

func (s *session) event(k *keys, ev tcell.Event) {
	switch ev := ev.(type) {
	case *tcell.EventKey:
		k.press(ev)
	case *tcell.EventResize:
		select {
		case s.redraw <- struct{}{}:
		default:
		}
	case *tcell.EventError:
		select {
		case s.hung <- fmt.Errorf("%w: %w", errHangup, ev):
		default:
		}
	}
}
