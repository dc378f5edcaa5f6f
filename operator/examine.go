package operator

import (
	"fmt"
	"time"

	"github.com/ssg-safe/agent/display"
)

// exam is the examination of the terminal, of which there is one at a time. It goes
// on when its page is left, or the menu closed.
type exam struct {
	ticket int // of the one that is running; 0: none is
	// found is what the last one found that nobody has looked at yet, at a boot time;
	// nil: there is none.
	found Answer
	at    time.Duration
}

// examine shows the examination that is running, else what one found while nobody
// looked, else it begins one.
func (m *Menu) examine(up time.Duration) *Request {
	switch found := m.exam.found; {
	case !m.who.Role.May(Examine):
		return nil
	case m.exam.ticket != 0:
		m.push(m.busy(Examine))
		return nil
	case found != nil:
		m.exam.found = nil
		m.push(m.examined(found, up-m.exam.at))
		return nil
	}
	return m.beginExam()
}

func (m *Menu) beginExam() *Request {
	r := m.ask(Examine, Read{Examine})
	if r != nil {
		m.exam.ticket = r.Ticket
	}
	return r
}

// examined is what an examination found so long ago, and the way to another one.
func (m *Menu) examined(a Answer, ago time.Duration) screen {
	found, ok := a.(Sheet)
	if !ok {
		return m.show(Examine, a)
	}
	age := Sheet{{{Name: m.t.examinedAt, Value: fmt.Sprintf(m.t.ago, lasting(ago)), Tone: display.Neutral}}}
	again := item{does: m.t.examineAgain, pick: func() *Request {
		m.home()
		return m.beginExam()
	}}
	return newSheet(m.t.views[Examine], append(age, found...), again)
}

// examineDone takes what an examination found: it is shown to whoever waits for it,
// and kept for the next one otherwise.
func (m *Menu) examineDone(a Answer, up time.Duration) {
	m.exam = exam{found: a, at: up}
	if !m.Open() {
		return
	}
	if at, ok := m.top().(*busy); ok && at.view == Examine {
		m.touch(up)
		m.exam.found = nil
		m.replace(m.show(Examine, a))
	}
}

// examState is what the menu says of the examination beside its digit.
func (m *Menu) examState() string {
	switch {
	case m.exam.ticket != 0:
		return m.t.examining
	case m.exam.found != nil:
		return m.t.examined
	}
	return ""
}
