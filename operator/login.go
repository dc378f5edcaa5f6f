package operator

import (
	"time"

	"github.com/ssg-safe/agent/display"
	"github.com/ssg-safe/agent/operator/pin"
	"github.com/ssg-safe/agent/redact"
)

// login is a PIN that is being checked: whose, and, once that is known, whether
// it was right. There is one at a time, and no menu opens while its outcome is not
// on disk.
type login struct {
	ticket int
	id     string // "": a number that nobody has
	right  bool
}

// check asks for a PIN to be checked.
func (m *Menu) check(id string, secret redact.Secret) *Request {
	o := m.find(id)
	if o == nil {
		o = &Operator{PIN: pin.Decoy()} // takes as long
	}
	m.replace(&busy{title: m.t.login})
	r := m.request(Verify{Operator: o.ID, Hash: o.PIN, PIN: secret})
	m.login = &login{ticket: r.Ticket, id: o.ID}
	return r
}

// checked follows a PIN: looked at, on record, then told.
func (m *Menu) checked(l login, a Answer, up time.Duration) *Request {
	m.login = nil
	switch a := a.(type) {
	case Verified:
		return m.verified(l, bool(a), up)
	case Recorded:
		if l.right {
			delete(m.guard, l.id)
		}
	case Refused:
		if l.right && m.Open() {
			m.replace(&notice{title: m.t.login, text: m.t.fault(a.Err), tone: display.Bad})
			return nil
		}
	}
	if !m.Open() {
		return nil
	}
	if l.right {
		m.who = m.find(l.id)
		m.home()
		m.touch(up)
		return nil
	}
	m.refuse(l.id, up)
	return nil
}

// verified records what came of a PIN. A right one of which nobody is there any
// more to make use is no log-in.
func (m *Menu) verified(l login, right bool, up time.Duration) *Request {
	var fact Fact
	switch {
	case l.id == "":
		if m.Open() {
			m.refuse("", up)
		}
		return nil
	case right && !m.Open():
		return nil
	case right:
		fact = Fact{Operator: l.id, Login: true, Role: m.find(l.id).Role}
	default:
		n := m.guard[l.id].failures + 1
		m.guard.set(l.id, n, up)
		fact = Fact{Operator: l.id, Failures: n, LockedFor: int(Delay(n) / time.Second)}
	}
	r := m.request(Record{fact})
	m.login = &login{ticket: r.Ticket, id: l.id, right: right}
	return r
}

// refuse tells that number or PIN was wrong, and for how long it is no use to try
// again.
func (m *Menu) refuse(id string, up time.Duration) {
	if until, ok := m.guard.locked(id, up); ok {
		m.replace(&locked{until: until})
		m.until = max(m.until, up+LoginIdle)
		return
	}
	m.replace(&notice{title: m.t.login, text: m.t.wrong, tone: display.Bad})
}

// askNumber asks who is there.
type askNumber struct{ typed string }

func (s *askNumber) page(m *Menu, _ time.Duration) display.Page {
	return display.Page{
		Title: m.t.login, Lines: []display.PageLine{{Value: m.t.askNumber}}, Field: true, Typed: s.typed,
		Keys: m.keys(keyNext, keyCorrect, keyLeave),
	}
}

func (s *askNumber) key(m *Menu, k display.Key, up time.Duration) *Request {
	switch k.Kind {
	case display.Digit:
		if len(s.typed) < maxNumber {
			s.typed += digit(k)
		}
	case display.Backspace:
		s.typed = s.typed[:max(0, len(s.typed)-1)]
	case display.Cancel:
		m.back()
	case display.Confirm:
		if s.typed == "" {
			break
		}
		if until, ok := m.guard.locked(s.typed, up); ok {
			m.replace(&locked{until: until})
			break
		}
		m.replace(&askPIN{id: s.typed})
	}
	return nil
}

// askPIN asks for the PIN; it draws dots alone.
type askPIN struct {
	id    string
	typed redact.Secret
}

func (s *askPIN) page(m *Menu, _ time.Duration) display.Page {
	return display.Page{
		Title: m.t.login, Lines: []display.PageLine{{Value: m.t.askPIN}}, Field: true, Dots: len(s.typed),
		Keys: m.keys(keyConfirm, keyCorrect, keyLeave),
	}
}

func (s *askPIN) key(m *Menu, k display.Key, _ time.Duration) *Request {
	switch k.Kind {
	case display.Digit:
		if len(s.typed) < pin.MaxDigits {
			s.typed += redact.Secret(digit(k))
		}
	case display.Backspace:
		s.typed = s.typed[:max(0, len(s.typed)-1)]
	case display.Cancel:
		m.back()
	case display.Confirm:
		if s.typed != "" {
			return m.check(s.id, s.typed)
		}
	}
	return nil
}

func digit(k display.Key) string { return string(rune('0' + k.Digit)) }

// locked tells for how long an operator is locked out.
type locked struct{ until time.Duration }

func (s *locked) page(m *Menu, up time.Duration) display.Page {
	left := (max(0, s.until-up) + time.Second - 1).Truncate(time.Second)
	lines := []display.PageLine{{Value: m.t.locked}, {Name: m.t.tryAgain, Value: clock(left), Tone: display.Caution}}
	if left == 0 {
		lines = []display.PageLine{{Value: m.t.unlocked}}
	}
	return display.Page{Title: m.t.login, Lines: lines, Keys: m.keys(keyBack)}
}

func (s *locked) key(m *Menu, k display.Key, _ time.Duration) *Request {
	if k.Kind == display.Cancel || k.Kind == display.Confirm {
		m.back()
	}
	return nil
}
