package hub

import (
	"container/heap"
	"time"

	"github.com/ssg-safe/agent/ledger"
)

// turn is when a message is sent next.
type turn struct {
	device, jti string
	at          time.Time
	tries       int
	sent        time.Time
	index       int
}

// schedule is when what is sent next. It belongs to the committer.
type schedule struct {
	turns    turns
	byDevice map[string]map[string]*turn
}

func newSchedule() *schedule { return &schedule{byDevice: make(map[string]map[string]*turn)} }

func (s *schedule) count(device string) int { return len(s.byDevice[device]) }

func (s *schedule) add(device, jti string, at time.Time, tries int, sent time.Time) {
	s.remove(device, jti)
	t := &turn{device: device, jti: jti, at: at, tries: tries, sent: sent}
	if s.byDevice[device] == nil {
		s.byDevice[device] = make(map[string]*turn)
	}
	s.byDevice[device][jti] = t
	heap.Push(&s.turns, t)
}

func (s *schedule) remove(device, jti string) {
	t := s.byDevice[device][jti]
	if t == nil {
		return
	}
	heap.Remove(&s.turns, t.index)
	if delete(s.byDevice[device], jti); len(s.byDevice[device]) == 0 {
		delete(s.byDevice, device)
	}
}

// again moves one message.
func (s *schedule) again(device, jti string, at time.Time) {
	if t := s.byDevice[device][jti]; t != nil {
		t.at = at
		heap.Fix(&s.turns, t.index)
	}
}

// replay sends everything of a device anew, but nothing twice in a moment.
func (s *schedule) replay(device string, now time.Time) {
	for _, t := range s.byDevice[device] {
		t.tries = 0
		t.at = now
		if soon := t.sent.Add(replayGap); soon.After(now) {
			t.at = soon
		}
		heap.Fix(&s.turns, t.index)
	}
}

// due lists what is to be sent now; it stays in the schedule.
func (s *schedule) due(now time.Time, limit int) []turn {
	var list []turn
	for len(s.turns) > 0 && len(list) < limit && !s.turns[0].at.After(now) {
		t := s.turns[0]
		list = append(list, *t)
		// Until the outcome of the commit is known, and it gets its next turn.
		t.at = now.Add(retries[0])
		heap.Fix(&s.turns, 0)
	}
	return list
}

// timer fires when something is due; nil, which never fires, when nothing waits.
func (s *schedule) timer(now time.Time) <-chan time.Time {
	if len(s.turns) == 0 {
		return nil
	}
	return time.After(max(s.turns[0].at.Sub(now), 0))
}

// turns is a heap by time.
type turns []*turn

func (q turns) Len() int           { return len(q) }
func (q turns) Less(i, j int) bool { return q[i].at.Before(q[j].at) }
func (q turns) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].index, q[j].index = i, j
}

// Push implements heap.Interface.
func (q *turns) Push(x any) {
	t := x.(*turn)
	t.index = len(*q)
	*q = append(*q, t)
}

// Pop implements heap.Interface.
func (q *turns) Pop() any {
	old := *q
	t := old[len(old)-1]
	old[len(old)-1] = nil
	*q = old[:len(old)-1]
	return t
}

// wants remembers what devices were asked for, so that a window full of batches
// behind a gap is one question.
type wants struct{ of map[string]asked }

type asked struct {
	at          ledger.Position
	first, last time.Time
	times       int
	// oldest is where the earliest batch began that came instead, seen when it
	// last came.
	oldest ledger.Position
	seen   time.Time
}

const (
	askAgain  = 5 * time.Second
	stuckFor  = 2 * time.Minute
	stuckAsks = 5
)

func newWants() *wants { return &wants{make(map[string]asked)} }

// ask notes a question. soon: it was asked a moment ago; stuck: it has been
// asked for so long that there will be no answer.
func (w *wants) ask(device string, at ledger.Position, now time.Time) (soon, stuck bool) {
	a := w.of[device]
	if a.at != at {
		a = asked{at: at, first: now, oldest: a.oldest, seen: a.seen}
	}
	soon = a.times > 0 && now.Sub(a.last) < askAgain
	if !soon {
		a.last = now
		a.times++
	}
	w.of[device] = a
	return soon, a.times >= stuckAsks && now.Sub(a.first) >= stuckFor
}

// first notes where a batch begins that is not what was asked for, and reports
// whether it is the earliest that the device has sent since.
func (w *wants) first(device string, at, from ledger.Position, now time.Time) bool {
	a := w.of[device]
	if a.oldest.Seq == 0 || !a.oldest.Before(from) || now.Sub(a.seen) > stuckFor {
		a.oldest, a.seen = from, now
	}
	w.of[device] = a
	return a.at == at && a.times > 0 && a.oldest == from
}
