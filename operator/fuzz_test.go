package operator

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// viewOf is the view whose right a request needs; 0: none.
func viewOf(w What) View {
	switch w := w.(type) {
	case Read:
		return w.View
	case ReadDay, PrintDay, CloseDay:
		return Day
	case Reprint:
		return Slips
	case Settle:
		return Letters
	}
	return 0
}

// FuzzKeys presses any keys at any pace, with answers that come, fail, come late or
// never, and charges that take the screen: the menu never breaks, shows no PIN, and
// asks for nothing that the role of who logged in does not allow.
func FuzzKeys(f *testing.F) {
	for _, pg := range pages {
		f.Add([]byte(chordText + pg.keys))
	}
	f.Add([]byte(chordText + "1E111E" + "r1E" + "s" + chordText + "w1Ea2E"))
	f.Add([]byte(chordText + "2E222En31a2Ea" + "tttt"))
	f.Add([]byte(chordText + "3E333En7C7C7" + "a7" + "s1C7"))
	f.Add([]byte(chordText + "3E333E1" + "99999988888" + "CCCCC"))
	f.Fuzz(func(t *testing.T, script []byte) {
		if len(script) > 400 {
			return
		}
		p := newPerson(nil)
		mode := byte('s') // sound answers
		var late []*Request
		examining := 0
		p.answer = func(w What) Answer {
			if w == (Read{Examine}) && mode == 'n' {
				if examining++; examining > 1 {
					t.Fatal("two examinations at one time")
				}
			}
			switch _, login := w.(Verify); {
			case mode == 'r' && !login:
				return Refused{ErrBusy}
			case mode == 'n' && !login:
				late = append(late, p.requests[len(p.requests)-1])
				return nil
			case mode == 'e':
				switch w := w.(type) {
				case Read:
					return map[View]Answer{Slips: SlipList{}, Waiting: Standing{}, Letters: LetterList{}, State: Sheet{}, Settings: Sheet{{}}, Examine: Sheet{}}[w.View]
				case ReadDay:
					return DayReport{}
				}
			}
			return p.sample(w)
		}
		for _, c := range script {
			before := len(p.requests)
			who := p.m.who
			switch {
			case strings.ContainsRune("rnes", rune(c)):
				mode = c
			case c == 't': // time goes by
				p.up += 20 * time.Second
				p.m.Tick(p.up)
			case c == 'x': // a charge
				p.m.Close()
			case c == 'a' && len(late) > 0:
				r := late[0]
				late = late[1:]
				if r.What == (Read{Examine}) {
					examining--
				}
				p.step(p.m.Answer(r.Ticket, p.sample(r.What), p.up))
			case strings.ContainsRune("0123456789CEB", rune(c)):
				p.keys(string(c))
			default:
				p.up += time.Duration(c) * time.Second / 8
			}
			for _, r := range p.requests[before:] {
				v := viewOf(r.What)
				if v == 0 {
					continue
				}
				if who == nil || !who.Role.May(v) || r.By != who.Actor() {
					t.Fatalf("%T is asked for by %q, who is %+v", r.What, r.By, who)
				}
			}
			page := p.m.Page(p.up)
			if (page != nil) != p.m.Open() {
				t.Fatal("an open menu has no page, or a closed one has")
			}
			if p.m.who != nil && !p.m.Open() {
				t.Fatal("somebody is logged in behind a closed menu")
			}
			if due, ok := p.m.Due(p.up); ok && due < p.up && p.m.until >= p.up {
				t.Fatalf("due %v ago", p.up-due)
			}
			if ask, ok := topOf(p.m).(*askPIN); ok && ask.typed != "" {
				if text := fmt.Sprintf("%+v", *page); strings.Contains(text, string(ask.typed)) && len(ask.typed) > 2 {
					t.Fatalf("the page shows the PIN: %s", text)
				}
			}
		}
	})
}

func topOf(m *Menu) screen {
	if !m.Open() {
		return nil
	}
	return m.top()
}

// TestDueLiesAhead: a lock-out that counts down does not spin, and ends.
func TestDueLiesAhead(t *testing.T) {
	p := newPerson(nil)
	for range 3 {
		p.login("2", "999")
	}
	for range 40 {
		due, ok := p.m.Due(p.up)
		if !ok {
			return
		}
		if due <= p.up {
			t.Fatalf("due %v ago", p.up-due)
		}
		p.up = due
		p.m.Tick(p.up)
	}
	if p.m.Open() {
		t.Error("the menu is open for ever")
	}
}
