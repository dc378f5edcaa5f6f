package operator

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ssg-safe/agent/display"
)

// The checks below are run on the menu as it is, and on menus with a fault
// (TestMutants), which they must tell from it.
var checks = map[string]func(tamper func(*Menu)) error{
	"roles":    checkRoles,
	"guessing": checkGuessing,
	"insider":  checkInsider,
	"restart":  checkRestart,
	"record":   checkRecordFirst,
	"idle":     checkIdle,
	"examine":  checkExamine,
}

func TestMenu(t *testing.T) {
	for name, check := range checks {
		if err := check(nil); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestMutants: each fault is caught by the check that is meant for it.
func TestMutants(t *testing.T) {
	for _, m := range []struct {
		name, check string
		tamper      func(*Menu)
	}{
		{"an attendant is taken for a technician", "roles", func(m *Menu) {
			if m.who != nil {
				m.who = &Operator{ID: m.who.ID, Role: Technician}
			}
		}},
		{"a role that nobody has may do everything", "roles", func(m *Menu) {
			if m.who != nil && m.who.ID == "2" {
				m.who = &Operator{ID: "2", Role: Roles()[len(Roles())-1]}
			}
		}},
		{"wrong PINs are not counted", "guessing", func(m *Menu) { clear(m.guard) }},
		{"nobody is locked out", "guessing", func(m *Menu) {
			for id, t := range m.guard {
				m.guard[id] = tries{t.failures, 0}
			}
		}},
		{"the delay does not grow", "guessing", func(m *Menu) {
			for id, t := range m.guard {
				m.guard[id] = tries{min(t.failures, 3), t.until}
			}
		}},
		{"any log-in forgives all", "insider", func(m *Menu) {
			if m.who != nil {
				clear(m.guard)
			}
		}},
		{"a restart forgets", "restart", func(m *Menu) { clear(m.guard) }},
		{"told before it is on record", "record", func(m *Menu) {
			if m.login != nil && m.login.right {
				m.who = m.find(m.login.id)
				m.stack = []screen{&home{}}
			}
		}},
		{"a second examination begins beside the first", "examine", func(m *Menu) { m.exam.ticket = 0 }},
		{"what nobody has seen is forgotten", "examine", func(m *Menu) { m.exam.found = nil }},
		{"the menu stays open", "idle", func(m *Menu) { m.until = 1 << 60 }},
	} {
		if err := checks[m.check](m.tamper); err == nil {
			t.Errorf("%s: nothing notices", m.name)
		}
	}
}

// checkRoles: who logs in is offered and can ask for what his role may do, and
// nothing else.
func checkRoles(tamper func(*Menu)) error {
	may := map[string][]View{"1": {Slips, Waiting}, "2": {Slips, Waiting, Day, Letters}, "3": {Slips, Waiting, Day, Letters, State, Settings, Examine}}
	for id, views := range may {
		for digit := range 10 {
			p := newPerson(tamper)
			if !p.login(id, pins[id].Reveal()) {
				return fmt.Errorf("operator %s cannot log in", id)
			}
			var offered []View
			for _, c := range p.m.Page(p.up).Choices {
				offered = append(offered, View(c.Key[0]-'0'))
			}
			if !slices.Equal(offered, views) {
				return fmt.Errorf("operator %s is offered %v", id, offered)
			}
			before := len(p.requests)
			p.keys(fmt.Sprint(digit))
			asked := len(p.requests) > before || p.title() != p.m.t.menu
			if want := slices.Contains(views, View(digit)); asked != want {
				return fmt.Errorf("operator %s presses %d: got %v, want %v", id, digit, asked, want)
			}
			// However a screen of another role comes up, nothing is asked for there.
			for v, what := range map[View]What{
				Slips: Reprint{"c"}, Day: CloseDay{"loja", 1}, Letters: Settle{1, true}, State: Read{State}, Settings: Read{Settings}, Examine: Read{Examine},
			} {
				r := p.m.ask(v, what)
				if want := slices.Contains(views, v); (r != nil) != want {
					return fmt.Errorf("operator %s asks for %T: got %v, want %v", id, what, r != nil, want)
				}
				if r != nil && r.By != "operator:"+id {
					return fmt.Errorf("operator %s asks as %s", id, r.By)
				}
			}
		}
	}
	return nil
}

// checkGuessing: somebody who stands at the keypad for a day has few PINs looked
// at, and every wrong one is on record.
func checkGuessing(tamper func(*Menu)) error {
	p := newPerson(tamper)
	for p.up < 24*time.Hour {
		if p.login("2", "999") {
			return errors.New("a wrong PIN opens the menu")
		}
		p.up += time.Second
	}
	if n := p.verified["2"]; n > 24*4+8 || n < 24*4 {
		return fmt.Errorf("%d PINs were looked at in a day", n)
	}
	if len(p.facts) != p.verified["2"] {
		return fmt.Errorf("%d of %d wrong PINs are on record", len(p.facts), p.verified["2"])
	}
	for i, f := range p.facts {
		if f.Operator != "2" || f.Login || f.Failures != i+1 || time.Duration(f.LockedFor)*time.Second != Delay(i+1) {
			return fmt.Errorf("fact %d is %+v", i, f)
		}
	}
	// The others are not locked out by it.
	if !p.login("3", "333") {
		return errors.New("another operator is locked out")
	}
	p.up += longestDelay
	if !p.login("2", "222") {
		return errors.New("the right PIN does not open the menu after the lock")
	}
	return nil
}

// checkInsider: an operator's own log-ins between his guesses of another's PIN
// change nothing.
func checkInsider(tamper func(*Menu)) error {
	p := newPerson(tamper)
	for p.up < 6*time.Hour {
		for range 2 {
			if p.login("3", "999") {
				return errors.New("a wrong PIN opens the menu")
			}
		}
		if !p.login("1", "111") {
			return errors.New("the right PIN does not")
		}
		p.up += 20 * time.Second
	}
	if n := p.verified["3"]; n > 6*4+8 {
		return fmt.Errorf("%d PINs were looked at in six hours", n)
	}
	return nil
}

// checkRestart: what was recorded of wrong PINs counts after a restart, and the
// delay begins anew.
func checkRestart(tamper func(*Menu)) error {
	p := newPerson(tamper)
	p.m.Restore("2", 6, p.up)
	if p.login("2", "222"); p.verified["2"] != 0 {
		return errors.New("a restart ends the lock")
	}
	p.up += Delay(6)
	p.login("2", "999")
	if len(p.facts) != 1 || p.facts[0].Failures != 7 {
		return fmt.Errorf("after six wrong PINs and a restart: %+v", p.facts)
	}
	p.up += Delay(7)
	if !p.login("2", "222") {
		return errors.New("the right PIN does not open the menu")
	}
	if p.login("2", "999"); p.facts[len(p.facts)-1].Failures != 1 {
		return errors.New("the right PIN does not begin anew")
	}
	return nil
}

// checkRecordFirst: nobody is let in, or told that a PIN is wrong, before that is
// on record.
func checkRecordFirst(tamper func(*Menu)) error {
	for _, secret := range []string{"222", "999"} {
		p := newPerson(tamper)
		p.answer = func(w What) Answer {
			if _, ok := w.(Record); ok {
				return nil // the disk is slow
			}
			return p.sample(w)
		}
		p.login("2", secret)
		if page := p.m.Page(p.up); page == nil || !page.Busy || p.m.who != nil {
			return fmt.Errorf("shown before it is on record: %+v", page)
		}
	}
	return nil
}

// checkIdle: a menu that is left alone closes, and the next one who comes is not
// logged in.
func checkIdle(tamper func(*Menu)) error {
	for keys, limit := range map[string]time.Duration{
		"": LoginIdle, "2": LoginIdle, "2E": LoginIdle, "2E22": LoginIdle, "2E222E": MenuIdle, "2E222E1": MenuIdle, "2E222E11": MenuIdle,
	} {
		p := newPerson(tamper)
		p.keys(chordText + keys)
		p.up += limit - time.Millisecond
		if p.m.Tick(p.up); !p.m.Open() {
			return fmt.Errorf("after %q it closes too early", keys)
		}
		due, ok := p.m.Due(p.up)
		if !ok || due != p.up+time.Millisecond {
			return fmt.Errorf("after %q it is due %v, %v", keys, due-p.up, ok)
		}
		p.up = due
		if p.m.Tick(p.up); p.m.Open() || p.m.who != nil || p.m.Page(p.up) != nil {
			return fmt.Errorf("after %q it stays open", keys)
		}
	}
	return nil
}

// checkExamine: there is one examination at a time, whatever is left and come back
// to; the menu says that it runs, and shows once what it found.
func checkExamine(tamper func(*Menu)) error {
	p := newPerson(tamper)
	p.answer = func(w What) Answer {
		if w == (Read{Examine}) {
			return nil // it takes a while
		}
		return p.sample(w)
	}
	detail := func() string { c := p.m.Page(p.up).Choices; return c[len(c)-1].Detail }
	asked := func() (n int) {
		for _, r := range p.requests {
			if r.What == (Read{Examine}) {
				n++
			}
		}
		return n
	}
	p.login("3", "333")
	p.keys("7")
	running := p.requests[len(p.requests)-1]
	for range 3 {
		p.keys("C7C7C")
		p.login("3", "333")
	}
	p.keys("7")
	if page := p.m.Page(p.up); asked() != 1 || !page.Busy || page.Title != p.m.t.views[Examine] {
		return fmt.Errorf("%d examinations; the page is %+v", asked(), page)
	}
	if p.keys("C"); detail() != p.m.t.examining {
		return fmt.Errorf("while one runs the menu says %q", detail())
	}
	p.keys("5") // its answer is no other view's
	p.step(p.m.Answer(running.Ticket, p.sample(running.What), p.up))
	if !strings.HasPrefix(p.title(), p.m.t.views[State]) {
		return fmt.Errorf("what it found is shown as %s", p.title())
	}
	if p.keys("C"); detail() != p.m.t.examined {
		return fmt.Errorf("when one is over the menu says %q", detail())
	}
	p.m.Close()
	p.up += 5 * time.Minute
	p.login("3", "333")
	p.keys("7")
	if page := p.m.Page(p.up); asked() != 1 || len(page.Lines) == 0 || page.Lines[0].Value != "há 5min" {
		return fmt.Errorf("%d examinations; the page is %+v", asked(), page)
	}
	if p.keys("1"); asked() != 2 || !p.m.Page(p.up).Busy {
		return errors.New("it is not done again")
	}
	running = p.requests[len(p.requests)-1]
	p.step(p.m.Answer(running.Ticket, p.sample(running.What), p.up))
	if page := p.m.Page(p.up); page.Busy || len(page.Lines) == 0 {
		return fmt.Errorf("whoever waits sees %+v", page)
	}
	if p.keys("C"); detail() != "" {
		return fmt.Errorf("of what was seen the menu says %q", detail())
	}
	return nil
}

// TestChord: the chord opens the menu, and nothing that is not quite it.
func TestChord(t *testing.T) {
	for keys, want := range map[string]bool{
		chordText: true, "1B" + chordText: true, "C" + chordText: true, "CC00C00C00C00E": true, "C0C00C00E": true,
		"C00C00": false, "C000C00E": false, "C00C01E": false, "00C00E": false, "C00E": false, "E": false, "C00C00BE": false,
	} {
		p := newPerson(nil)
		if p.keys(keys); p.m.Open() != want {
			t.Errorf("%s: got %v, want %v", keys, p.m.Open(), want)
		}
	}
	p := newPerson(nil)
	p.keys("C00")
	p.up += 11 * time.Second
	if p.keys("C00E"); p.m.Open() {
		t.Error("the chord has all the time in the world")
	}
	p.keys("C00C")
	p.m.Unchord()
	if p.keys("00E"); p.m.Open() {
		t.Error("the chord goes on where it was pressed elsewhere")
	}
	p.m.cfg.Operators = nil
	if p.keys(chordText); p.m.Open() {
		t.Error("the menu opens without operators")
	}
}

// TestUnknownNumber is looked at for as long, and recorded nowhere.
func TestUnknownNumber(t *testing.T) {
	p := newPerson(nil)
	for range 5 {
		if p.login("999", "111") {
			t.Fatal("a number that nobody has opens the menu")
		}
	}
	if p.verified[""] != 5 || len(p.facts) != 0 {
		t.Errorf("%d checks, facts %+v", p.verified[""], p.facts)
	}
	if page := p.m.Page(p.up); page.Notice != portuguese.wrong {
		t.Errorf("the page says %+v", page)
	}
}

// TestPINIsNotShown: on no page, whatever is typed.
func TestPINIsNotShown(t *testing.T) {
	p := newPerson(nil)
	p.keys(chordText + "2E")
	for i := range 14 {
		p.keys("7")
		page := fmt.Sprintf("%+v", *p.m.Page(p.up))
		dots := fmt.Sprintf("Dots:%d ", min(i+1, 12))
		if !strings.Contains(page, dots) || strings.Contains(strings.Replace(page, dots, "", 1), "7") {
			t.Errorf("after %d digits the page is %s", i+1, page)
		}
	}
	p.keys("BBBBBBBBBBBBB222E")
	if p.m.who == nil {
		t.Error("corrections do not correct")
	}
	if text := fmt.Sprintf("%+v %#v", p.requests[0].What, p.requests[0]); strings.Contains(text, "222") {
		t.Errorf("the request shows the PIN: %s", text)
	}
}

// TestChargeTakesScreen: what is closed shows nothing more, whatever answers come;
// a right PIN that comes too late is no log-in, a wrong one counts.
func TestChargeTakesScreen(t *testing.T) {
	for _, right := range []bool{true, false} {
		p := newPerson(nil)
		p.answer = func(What) Answer { return nil }
		p.keys(chordText + "2E222E")
		r := p.requests[0]
		p.m.Close()
		if p.keys(chordText); p.m.Open() {
			t.Error("the menu opens while a PIN is being checked")
		}
		next := p.m.Answer(r.Ticket, Verified(right), p.up)
		if (next != nil) == right {
			t.Errorf("right %v leads to %+v", right, next)
		}
		if next != nil {
			p.m.Answer(next.Ticket, Recorded{}, p.up)
		}
		if p.m.Open() || p.m.who != nil {
			t.Error("the menu is open again")
		}
		if p.keys(chordText); !p.m.Open() {
			t.Error("the menu does not open any more")
		}
	}
	p := newPerson(nil)
	p.login("2", "222")
	p.answer = func(What) Answer { return nil }
	p.keys("1")
	r := p.requests[len(p.requests)-1]
	p.m.Close()
	p.keys(chordText)
	if p.m.Answer(r.Ticket, sample(r.What), p.up); p.title() != portuguese.login {
		t.Errorf("the answer of an earlier log-in is shown: %s", p.title())
	}
}

// TestRecordRefused: who cannot be recorded is not let in.
func TestRecordRefused(t *testing.T) {
	p := newPerson(nil)
	p.answer = func(w What) Answer {
		if _, ok := w.(Record); ok {
			return Refused{fmt.Errorf("write: %w", ErrFull)}
		}
		return p.sample(w)
	}
	if p.login("2", "222") || p.m.Page(p.up).Notice != portuguese.faults[ErrFull] {
		t.Errorf("got %+v", p.m.Page(p.up))
	}
	for range 3 { // wrong ones count all the same
		p.login("2", "999")
	}
	if _, ok := p.m.guard.locked("2", p.up); !ok {
		t.Error("wrong PINs that cannot be recorded are free")
	}
}

// TestActs: what the keys lead to.
func TestActs(t *testing.T) {
	for _, tc := range []struct {
		keys string
		want What
		tone display.Tone
	}{
		{"12E", Reprint{"T0012026030912000000ABCDE"}, display.Good},
		{"1" + "9" + "1E", Reprint{"T0012026030912000000ABCDE"}, display.Good},
		{"1" + "3C", Read{Slips}, display.Neutral},
		{"31", ReadDay{"loja"}, display.Neutral},
		{"321", PrintDay{"bar"}, display.Good}, // the sample's report is of loja
		{"312E", CloseDay{"loja", 41}, display.Good},
		{"312C", ReadDay{"loja"}, display.Neutral},
		{"411", Settle{7, true}, display.Good},
		{"422E", Settle{8, false}, display.Good},
		{"422C", Read{Letters}, display.Neutral},
		{"5", Read{State}, display.Neutral},
		{"6", Read{Settings}, display.Neutral},
		{"7", Read{Examine}, display.Neutral},
	} {
		p := newPerson(nil)
		p.login("3", "333")
		p.keys(tc.keys)
		want := tc.want
		if w, ok := want.(PrintDay); ok {
			w.Merchant = "loja"
			want = w
		}
		if got := p.last(); got != want {
			t.Errorf("%s: got %#v, want %#v", tc.keys, got, want)
		}
		if page := p.m.Page(p.up); page.Tone != tc.tone && tc.tone != display.Neutral {
			t.Errorf("%s: the page is %+v", tc.keys, page)
		}
	}
}

// TestFaults: what cannot be done is said in words of its own.
func TestFaults(t *testing.T) {
	seen := map[string]bool{}
	for _, err := range []error{ErrNoPrinter, ErrNothingToPrint, ErrSlipWaits, ErrBusy, ErrNothingToClose, ErrGone, ErrFull, errors.New("disk"), nil} {
		for _, lang := range []*texts{&portuguese, &english} {
			text := lang.fault(fmt.Errorf("do: %w", err))
			if text == "" || seen[text] && err != nil && lang.faults[err] != "" {
				t.Errorf("%v: %q", err, text)
			}
			seen[text] = true
		}
	}
}

func TestDelay(t *testing.T) {
	var got []time.Duration
	for n := range 12 {
		got = append(got, Delay(n))
	}
	want := []time.Duration{0, 0, 0, 30 * time.Second, time.Minute, 2 * time.Minute, 4 * time.Minute, 8 * time.Minute, 15 * time.Minute, 15 * time.Minute, 15 * time.Minute, 15 * time.Minute}
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if Delay(1<<40) != longestDelay {
		t.Error("many wrong PINs end the lock")
	}
}
