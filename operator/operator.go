// Package operator is the menu of the people who look after a kiosk, on the
// kiosk's own screen and keypad: who they are, what each may do, what they see.
// It is pure: package terminal feeds it keys, time and answers, and does what it
// asks for.
//
//	m := operator.New(cfg)
//	if m.Chord(key, up) {       // the keys that open it, on the idle screen
//		m.Begin(up)
//	}
//	r := m.Key(key, up)         // while m.Open(): keys are the menu's
//	r = m.Answer(r.Ticket, a, up)
//	page := m.Page(up)          // what the screen shows
//
// # Logging in
//
// An operator types a number and a PIN. Checking a PIN takes up to seconds
// (package pin) and is a request like any other: the loop has it done elsewhere,
// one at a time, while keys and countdowns go on. Each wrong PIN of an operator is
// a fact that is recorded before anybody is told; the third in a row and each
// after it locks the operator out, for longer each time (see [Delay]). Only the
// right PIN of the same operator begins anew, so nobody tries a colleague's PIN
// between log-ins of his own. The count survives a restart, and the delay is
// waited for again. A number that nobody has is refused after as long a check, and
// recorded nowhere: it may be a PIN that was typed into the wrong field.
//
// The log-in is on record before the menu opens, and every request that changes
// something names the operator, as the actor of its ledger entries.
//
// # Whose screen it is
//
// The menu lies over the idle screen alone. A charge that is presented takes the
// screen, and the loop closes the menu: whoever logs in later logs in himself.
// What was asked for by then still happens. An examination, of which there is one at
// a time, goes on and is shown when it is asked for again.
package operator

import (
	"cmp"
	"reflect"
	"slices"
	"time"

	"github.com/ssg-safe/agent/display"
	"github.com/ssg-safe/agent/operator/pin"
)

// Role is what kind of operator somebody is. Each may do what the one before may.
type Role string

// The roles.
const (
	Attendant  Role = "attendant"  // copies of slips, what is pending
	Supervisor Role = "supervisor" // and closings, dead letters
	Technician Role = "technician" // and state, settings, examination
)

// Roles lists the roles, from the one who may do least.
func Roles() []Role { return []Role{Attendant, Supervisor, Technician} }

// View is a part of the menu, and the right to it.
type View int

// The views, in the order of the menu; their digits never change.
const (
	Slips    View = iota + 1 // the last charges, and copies of their slips
	Waiting                  // charges that wait, and what was released on trust
	Day                      // the running business day: X and Z
	Letters                  // slips that a person must decide about
	State                    // network, printer, clock, hub, store
	Settings                 // the configuration, without secrets
	Examine                  // what doctor finds
)

// needs is the least role for each view.
var needs = map[View]Role{
	Slips: Attendant, Waiting: Attendant, Day: Supervisor, Letters: Supervisor, State: Technician, Settings: Technician, Examine: Technician,
}

// May reports whether a role has the right to a view. Unknown roles and views have
// none.
func (r Role) May(v View) bool {
	least, known := needs[v]
	rank := slices.Index(Roles(), r)
	return known && rank >= slices.Index(Roles(), least)
}

// Operator is somebody who may log in.
type Operator struct {
	// ID is the number that is typed; "operator:" and it are the actor in the
	// ledger. Name is shown on the menu only.
	ID, Name string
	Role     Role
	PIN      pin.Hash
}

// Actor is the operator's name in the ledger.
func (o Operator) Actor() string { return "operator:" + o.ID }

// Merchant is one whose day can be closed.
type Merchant struct{ ID, Name string }

// Config is what a menu is told. Without operators it never opens.
type Config struct {
	Operators []Operator
	Locale    string         // "en", else pt-BR
	Zone      *time.Location // of the times that are shown; nil: UTC
	Merchants []Merchant
	// Printer says that there is one.
	Printer bool
}

// How long the menu stays without a key: while somebody logs in, and afterwards.
const (
	LoginIdle = 30 * time.Second
	MenuIdle  = 90 * time.Second
)

// maxNumber is how many digits the number of an operator has at most.
const maxNumber = 6

// Menu is the menu and who is logged in. It belongs to one goroutine. Times are
// spans of boot time.
type Menu struct {
	cfg   Config
	t     *texts
	chord chord
	guard guard

	stack  []screen  // the last one is shown; empty: the menu is closed
	who    *Operator // nil: nobody is logged in yet
	until  time.Duration
	ticket int

	login *login // a PIN is being checked, or its outcome recorded; nil: none
	exam  exam
	page  *display.Page
}

// screen is one page and what its keys do.
type screen interface {
	page(m *Menu, up time.Duration) display.Page
	key(m *Menu, k display.Key, up time.Duration) *Request
}

// New returns a closed menu.
func New(cfg Config) *Menu {
	cfg.Zone = cmp.Or(cfg.Zone, time.UTC)
	return &Menu{cfg: cfg, t: locale(cfg.Locale), guard: guard{}}
}

// Restore tells the menu of wrong PINs that were recorded in an earlier run.
func (m *Menu) Restore(id string, failures int, up time.Duration) { m.guard.set(id, failures, up) }

// Open reports whether the menu has the screen, if the payer leaves it.
func (m *Menu) Open() bool { return len(m.stack) > 0 }

// Chord takes a key that was pressed on the idle screen or on an amount that
// somebody begins to type, and reports whether it completes the chord that opens
// the menu: cancel 0 0 cancel 0 0 confirm, within ten seconds. Typed into an
// amount, these keys leave it at nothing.
func (m *Menu) Chord(k display.Key, up time.Duration) bool {
	return len(m.cfg.Operators) > 0 && m.chord.press(k, up) && m.login == nil
}

// Unchord forgets keys of the chord: one was pressed elsewhere.
func (m *Menu) Unchord() { m.chord = chord{} }

// Begin opens the menu: it asks who is there.
func (m *Menu) Begin(up time.Duration) {
	m.Close()
	m.stack = []screen{&askNumber{}}
	m.until = up + LoginIdle
}

// Close closes the menu and logs the operator out. Answers that are still to come
// are not shown.
func (m *Menu) Close() {
	m.stack, m.who, m.until, m.page = nil, nil, 0, nil
	m.ticket++
}

// Key takes a key while the menu is open. What it returns is to be done; nil:
// nothing.
func (m *Menu) Key(k display.Key, up time.Duration) *Request {
	if !m.Open() {
		return nil
	}
	m.touch(up)
	return m.top().key(m, k, up)
}

// Tick closes a menu that was left alone.
func (m *Menu) Tick(up time.Duration) {
	if m.Open() && up >= m.until {
		m.Close()
	}
}

// Due is when the page changes by itself; false: never.
func (m *Menu) Due(up time.Duration) (time.Duration, bool) {
	if !m.Open() {
		return 0, false
	}
	if l, ok := m.top().(*locked); ok && up < l.until {
		left := l.until - up
		return min(m.until, up+left-(left-1).Truncate(time.Second)), true
	}
	return m.until, true
}

// Page is what the screen shows; nil: the menu is closed. It is the same pointer
// as long as it says the same.
func (m *Menu) Page(up time.Duration) *display.Page {
	if !m.Open() {
		return nil
	}
	p := m.top().page(m, up)
	if m.who != nil {
		p.Who = m.who.Name + " · " + m.t.roles[m.who.Role]
	}
	if m.page == nil || !reflect.DeepEqual(*m.page, p) {
		m.page = &p
	}
	return m.page
}

func (m *Menu) touch(up time.Duration) {
	m.until = up + LoginIdle
	if m.who != nil {
		m.until = up + MenuIdle
	}
}

func (m *Menu) top() screen { return m.stack[len(m.stack)-1] }

func (m *Menu) push(s screen) { m.stack = append(m.stack, s) }

// replace puts a screen in the place of the one that is shown.
func (m *Menu) replace(s screen) { m.stack[len(m.stack)-1] = s }

// back leaves the screen; the last one closes the menu.
func (m *Menu) back() {
	m.ticket++
	if m.stack = m.stack[:len(m.stack)-1]; len(m.stack) == 0 {
		m.Close()
	}
}

// home leaves everything but the menu itself.
func (m *Menu) home() {
	m.ticket++
	m.stack = []screen{&home{}}
}

// find is the operator with a number.
func (m *Menu) find(id string) *Operator {
	for i := range m.cfg.Operators {
		if m.cfg.Operators[i].ID == id {
			return &m.cfg.Operators[i]
		}
	}
	return nil
}

// ask makes a request of whoever is logged in: the one place where rights are
// looked at. It shows that it is being worked on.
func (m *Menu) ask(v View, what What) *Request {
	if m.who == nil || !m.who.Role.May(v) {
		return nil
	}
	m.push(m.busy(v))
	return m.request(what)
}

func (m *Menu) request(what What) *Request {
	m.ticket++
	r := &Request{Ticket: m.ticket, What: what}
	if m.who != nil {
		r.By = m.who.Actor()
	}
	return r
}
