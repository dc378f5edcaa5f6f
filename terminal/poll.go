package terminal

import (
	"time"

	"github.com/ssg-safe/agent/charge"
	"github.com/ssg-safe/agent/providers"
)

// watch is when a charge is asked about next. Times are boot time.
type watch struct {
	state     charge.State // the state the rest is about
	since     time.Duration
	next      time.Duration
	asking    bool
	failures  int           // questions in a row that got no answer
	late      int           // questions after the charge ended
	cancelled time.Duration // when the payer cancelled
	payments  int           // payments reported to the observer
}

// start begins to watch a charge in a new state.
func (w *watch) start(up time.Duration, s charge.State) {
	w.state, w.since, w.failures, w.late = s, up, 0, 0
	w.next = up
}

// asked notes the end of a question.
func (w *watch) asked(up time.Duration, err error, s charge.State) {
	if !s.Open() {
		w.late++
	}
	if err == nil {
		w.failures = 0
		return
	}
	w.failures++
	w.next = max(w.next, up+jitter(min(time.Second<<min(w.failures, 5), 30*time.Second)))
}

// due returns when to ask about l again; false: never. The schedule is the
// provider's: by the age of the code while it may be paid, quickly while the
// payer waits for a verdict, and slowly for a while after the end, because
// money may still arrive.
func (l *live) due(p providers.PollSchedule) (time.Duration, bool) {
	if l.watch.asking || l.busy {
		return 0, false
	}
	if _, ok := l.charge.Accepted(); !ok {
		return 0, false
	}
	switch {
	case l.charge.State == charge.Pending:
		return l.watch.next, true
	case l.charge.State.Rank() == charge.Expired.Rank():
		return l.watch.next, l.watch.late < p.Times
	}
	return 0, false
}

// plan sets the next question after one was sent.
func (l *live) plan(up time.Duration, p providers.PollSchedule) {
	w := &l.watch
	switch {
	case !l.charge.State.Open():
		w.next = up + jitter(p.Late)
	case l.cancel:
		w.next = up + time.Second
	case l.known && up >= l.deadline:
		w.next = up + 2*time.Second
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
