package terminal

import (
	"errors"
	"time"

	"github.com/ssg-safe/agent/charge"
	"github.com/ssg-safe/agent/providers"
)

// watch is when a charge is asked about next. Times are boot time.
type watch struct {
	state     charge.State // the state the rest is about
	since     time.Duration
	next      time.Duration
	hinted    time.Duration // when the newest hint was or will be followed
	asking    bool
	failures  int           // questions in a row that got no answer
	vain      int           // answers after its time that still were no verdict
	over      bool          // it ended long enough ago: ask no more
	cancelled time.Duration // when the payer cancelled
	payments  int           // payments reported to the observer
	refunds   int           // refunds, likewise
}

// start begins to watch a charge in a new state.
func (w *watch) start(up time.Duration, s charge.State) {
	w.state, w.since, w.failures, w.vain, w.over = s, up, 0, 0, false
	w.next = up
}

// asked notes the end of a question about a charge in state s. Late money is
// looked for until an answer, and be it a refusal, comes after the provider's
// time for it: neither outages nor hints use that up.
func (w *watch) asked(up time.Duration, err error, s charge.State, p providers.PollSchedule) {
	e, ok := errors.AsType[*providers.Error](err)
	if answered := err == nil || ok && e.Kind.Permanent(); answered && !s.Open() {
		w.over = up >= w.since+time.Duration(p.Times)*p.Late
	}
	switch {
	case err == nil:
		w.failures = 0
		return
	case ok && e.Held: // it was not asked
		w.next = max(w.next, up+jitter(max(e.RetryAfter, providers.MinPause)))
		return
	}
	w.failures++
	w.next = max(w.next, up+providers.Backoff(w.failures))
	if ok {
		w.next = max(w.next, up+e.RetryAfter)
	}
}

// hint brings the next question forward, once a second.
func (w *watch) hint(up time.Duration) {
	if up < w.hinted {
		return
	}
	w.hinted = max(up, w.hinted+time.Second)
	w.next = min(w.next, w.hinted)
}

// due returns when to ask about l again; false: never, or not now. The schedule
// is the provider's: by the age of the code while it may be paid, quickly while
// the payer waits for a verdict, slowly when none came and ever more slowly while
// none comes, and slowly for a while after the end, because money may still
// arrive. Codes made here are looked for to the end of their watch, whatever was
// found, and while that fails one at a time.
func (t *Terminal) due(l *live) (time.Duration, bool) {
	if l.watch.asking || l.busy {
		return 0, false
	}
	a, ok := l.charge.Accepted()
	if !ok {
		return 0, false
	}
	if a.Static {
		at := l.watch.next
		if o := t.outages[provider(l.charge)]; o != nil {
			at = o.probe
		}
		_, finds := t.route(l.charge).(providers.StaticFinder)
		return at, finds && !l.watch.over
	}
	switch {
	case l.charge.State == charge.Pending:
		return l.watch.next, true
	case l.charge.State.Rank() == charge.Expired.Rank():
		return l.watch.next, !l.watch.over
	}
	return 0, false
}

// plan sets the next question after one was sent.
func (t *Terminal) plan(l *live, up time.Duration) {
	p := t.route(l.charge).Caps().Poll
	w := &l.watch
	over := l.known && up >= l.deadline
	if a, static := l.charge.Static(); static && !(l.cancel && l.charge.State.Open()) {
		w.next = up + jitter(searchInterval(t.clock.Wall().Sub(a.At)))
		return
	}
	switch {
	case l.charge.State.Open() && l.cancel && up < w.cancelled+cancelGrace+verdict:
		w.next = up + time.Second
	case l.charge.State.Open() && over && up < l.deadline+t.cfg.Grace+verdict:
		w.next = up + 2*time.Second
	case !l.charge.State.Open() || l.cancel || over:
		w.next = up + jitter(min(max(p.Late, 5*time.Second)<<min(w.vain/max(p.Times, 1), 10), time.Hour))
	default:
		w.next = up + jitter(interval(p, up-w.since))
		if l.known {
			w.next = min(w.next, l.deadline)
		}
	}
}

// interval is the schedule's step for a code of the given age.
func interval(p providers.PollSchedule, age time.Duration) time.Duration {
	for _, s := range p.Open {
		if s.Until == 0 || age < s.Until {
			return s.Every
		}
	}
	return 5 * time.Second
}
