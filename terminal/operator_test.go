package terminal_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.etcd.io/bbolt"

	"github.com/ssg-safe/agent/charge"
	"github.com/ssg-safe/agent/display"
	"github.com/ssg-safe/agent/ledger"
	"github.com/ssg-safe/agent/money"
	"github.com/ssg-safe/agent/operator"
	"github.com/ssg-safe/agent/operator/pin"
	"github.com/ssg-safe/agent/printer"
	"github.com/ssg-safe/agent/store"
	"github.com/ssg-safe/agent/terminal"
	"github.com/ssg-safe/agent/ticket"
)

// quickHash is of 407193, with the least parameters there are: tests need no
// patience.
const quickHash = "$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHRzYWx0c2FsdA$eQWfwL4AQLhRwYsLEvSQX10IPmOIzZtn8ygyFR/pl7o"

// chord and login are the keys of somebody who opens the menu.
const (
	chord = "C00C00E"
	login = chord + "12E407193E"
)

// withMenu gives a terminal two operators. In a bubble times stand still while a
// PIN is computed.
func withMenu(r *rig) {
	h, err := pin.Parse(quickHash)
	if err != nil {
		r.Fatal(err)
	}
	r.edit = func(c *terminal.Config) {
		c.Operators = operator.Config{Operators: []operator.Operator{
			{ID: "12", Name: "Maria", Role: operator.Technician, PIN: h}, {ID: "3", Name: "Ana", Role: operator.Attendant, PIN: h},
		}}
		c.Inspect = func(_ context.Context, v operator.View) (operator.Sheet, error) {
			return operator.Sheet{{{Name: "view", Value: fmt.Sprint(int(v))}}}, nil
		}
	}
	r.restart(false)
}

// press presses keys as a person does, who waits for what they lead to.
func (r *rig) press(keys string) {
	for _, c := range keys {
		r.keys(string(c))
	}
}

// page is the menu's page that the screen shows.
func (r *rig) page() display.Page {
	r.Helper()
	return *r.shows(display.Operator).Page
}

// entriesOf are the ledger's entries of kinds that begin so, as "kind actor".
func (r *rig) entriesOf(prefix string) []string {
	r.Helper()
	var list []string
	if err := r.store.View(func(tx *bbolt.Tx) error {
		for _, raw := range ledger.Entries(tx, ledger.Position{}) {
			e, err := ledger.Decode(raw)
			if err != nil {
				return err
			}
			if strings.HasPrefix(e.Kind, prefix) {
				list = append(list, e.Kind+" "+e.Actor)
			}
		}
		return nil
	}); err != nil {
		r.Fatal(err)
	}
	return list
}

// TestOperatorMenu: from the keypad to paper and ledger, each with the name of who
// did it.
func TestOperatorMenu(t *testing.T) {
	bubble(t, func(r *rig) {
		withMenu(r)
		id := r.begin()
		r.route.pays(1234, "E1234567820260309120000000000001")
		r.pass(3 * time.Second)
		r.shows(display.Paid)
		r.press("E")
		r.shows(display.Idle)
		commits := r.store.Stats().Commits

		r.press(chord)
		if p := r.page(); !p.Field {
			t.Errorf("the chord leads to %+v", p)
		}
		r.press("12E407193")
		if got := r.store.Stats().Commits; got != commits {
			t.Errorf("keys cost %d commits", got-commits)
		}
		r.press("E")
		if got := r.store.Stats().Commits; got != commits+1 {
			t.Errorf("a log-in costs %d commits", got-commits)
		}
		if got, want := r.entriesOf("operator."), []string{"operator.login operator:12"}; !slices.Equal(got, want) {
			t.Errorf("recorded %v", got)
		}

		r.press("11")
		if p := r.page(); p.Lines[0].Value != money.Amount(1234).BRL() || !strings.Contains(p.Notice, "2ª via") {
			t.Errorf("the slip is %+v", p)
		}
		r.press("E")
		r.pass(2 * time.Second)
		if got := r.printer.ids(); got[len(got)-1] != "2/2" {
			t.Errorf("printed %v", got)
		}
		if got := r.entriesOf("slip.issued"); got[len(got)-1] != "slip.issued operator:12" {
			t.Errorf("issued by %v", got)
		}

		r.press("E" + "31E") // X, printed
		r.press("E3" + "2E")
		if p := r.page(); !strings.Contains(p.Notice, "Fechamento 1 registrado") {
			t.Errorf("the closing says %+v", p)
		}
		if got, want := r.entriesOf("closing."), []string{"closing.z operator:12"}; !slices.Equal(got, want) {
			t.Errorf("closed by %v", got)
		}
		r.press("E5")
		if p := r.page(); p.Lines[0].Value != fmt.Sprint(int(operator.State)) {
			t.Errorf("the state is %+v", p)
		}
		r.press("CC")
		r.shows(display.Idle)
		if r.fold(id).State != charge.Paid {
			t.Error("the menu changed a charge")
		}
	})
}

// TestOperatorStanding: what waits is on the page, tickets too.
func TestOperatorStanding(t *testing.T) {
	bubble(t, func(r *rig) {
		withMenu(r)
		if _, err := r.term.Start(r.Context(), terminal.Request{Amount: 700, Source: "api"}); err != nil {
			t.Fatal(err)
		}
		at := ledger.Stamp{Wall: r.clock.Wall(), Boot: "boot-1", Quality: ledger.Synced}
		charged := money.Amount(4200)
		op := store.Op{Name: "ticket", Do: func(tx *bbolt.Tx) error {
			_, _, err := ticket.Open(tx, at, "terminal", "x/y", ticket.Ticket{
				Kind: "unknown_payment", Provider: "fake", Charged: &charged, Owner: "finance", Opened: at.Wall, Deadline: at.Wall.Add(-time.Hour),
			})
			return err
		}}
		if err := r.store.Commit(r.Context(), op); err != nil {
			t.Fatal(err)
		}
		r.press(login + "2")
		page := r.page()
		page2 := page
		if len(page.Keys) > 1 {
			r.press("9")
			page2 = r.page()
		}
		text := fmt.Sprintf("%+v %+v", page.Lines, page2.Lines)
		for _, want := range []string{"Chamados Value:1, vencidos: 1", charged.BRL(), money.Amount(700).BRL() + " aguarda", "Cobranças abertas Value:1"} {
			if !strings.Contains(text, want) {
				t.Errorf("no %q in %s", want, text)
			}
		}
	})
}

// TestOperatorDeadLetter: a slip that may be on the paper is printed as a copy, or
// given up, by whoever logged in.
func TestOperatorDeadLetter(t *testing.T) {
	bubble(t, func(r *rig) {
		withMenu(r)
		r.printer.set(func(p *paper) {
			p.result = func(printer.Job) printer.Result { return printer.Result{Outcome: printer.Unknown, Accepted: 10} }
			p.resolve = printer.Result{Outcome: printer.Unknown, Drained: true}
		})
		r.begin()
		r.pass(5 * time.Second)
		r.press("C")
		r.pass(20 * time.Second)
		r.press("E")
		r.printer.set(func(p *paper) { p.result = nil })
		r.press(login + "41")
		if p := r.page(); len(p.Choices) != 2 || p.Title != "NSU 000001" {
			t.Fatalf("the letter is %+v", p)
		}
		r.press("2E")
		if got, want := r.entriesOf("queue."), []string{"queue.dropped operator:12"}; !slices.Equal(got, want) {
			t.Errorf("settled by %v", got)
		}
	})
}

// TestOperatorLockout: wrong PINs are on record, lock out, and survive a reboot.
func TestOperatorLockout(t *testing.T) {
	bubble(t, func(r *rig) {
		withMenu(r)
		wrong := func() { r.press(chord + "12E407194E") }
		wrong()
		if p := r.page(); p.Tone != display.Bad {
			t.Errorf("a wrong PIN says %+v", p)
		}
		r.press("E")
		wrong()
		r.press("E")
		wrong()
		if p := r.page(); p.Lines[1].Value != "00:30" {
			t.Errorf("the third wrong PIN says %+v", p)
		}
		r.pass(10 * time.Second)
		if p := r.page(); p.Lines[1].Value != "00:20" {
			t.Errorf("ten seconds later: %+v", p)
		}
		want := []string{"operator.refused operator:12", "operator.refused operator:12", "operator.refused operator:12"}
		if got := r.entriesOf("operator."); !slices.Equal(got, want) {
			t.Errorf("recorded %v", got)
		}
		if n := r.count(terminal.OperatorLocked); n != 1 {
			t.Errorf("%d lock-outs were told", n)
		}
		r.restart(true)
		r.press(chord + "12E")
		if p := r.page(); p.Field || p.Lines[1].Value != "00:30" {
			t.Errorf("after a reboot: %+v", p)
		}
		r.pass(31 * time.Second)
		r.shows(display.Idle)
		r.press(login)
		if p := r.page(); p.Who != "Maria · técnica" {
			t.Errorf("the right PIN leads to %+v", p)
		}
		r.restart(true)
		wrong()
		if p := r.page(); p.Tone != display.Bad {
			t.Errorf("a wrong PIN after a log-in says %+v", p)
		}
	})
}

// TestChargeClosesMenu: an open menu delays no charge of others, wherever it is,
// and nobody is logged in after it.
func TestChargeClosesMenu(t *testing.T) {
	for _, keys := range []string{chord, chord + "12E40", login, login + "1", login + "32", login + "7"} {
		bubble(t, func(r *rig) {
			withMenu(r)
			r.press(keys)
			r.shows(display.Operator)
			id, err := r.term.Start(r.Context(), terminal.Request{Amount: 500, Source: "api", Present: true})
			if err != nil {
				t.Fatalf("%s: %v", keys, err)
			}
			synctest.Wait()
			if v := r.shows(display.QR); v.Charge != string(id) || v.Page != nil {
				t.Errorf("%s: the screen shows %v", keys, v)
			}
			r.press(chord[:1]) // is the payer's
			r.pass(30 * time.Second)
			if c := r.fold(id); c.State != charge.Cancelled {
				t.Errorf("%s: the key did not reach the charge: %s", keys, c.State)
			}
			r.shows(display.Idle)
			r.press("1")
			r.shows(display.Amount)
		})
	}
}

// TestPINIsCheckedOffTheLoop: a charge is recorded while a slow hash is computed,
// and a right PIN that is known only when the charge has the screen is no log-in.
func TestPINIsCheckedOffTheLoop(t *testing.T) {
	bubble(t, func(r *rig) {
		withMenu(r)
		slow, err := pin.Parse("$argon2id$v=19$m=65536,t=4,p=1$c2FsdHNhbHRzYWx0c2FsdA$NRgF8UET35ETjvWDWr4UsJ+OqYBHErrellXt+CccEXU")
		if err != nil {
			t.Fatal(err)
		}
		edit := r.edit
		r.edit = func(c *terminal.Config) {
			edit(c)
			c.Operators.Operators[0].PIN = slow
		}
		r.restart(false)
		r.press(login[:len(login)-1])
		r.term.Key(display.Key{Kind: display.Confirm})
		if _, err := r.term.Start(r.Context(), terminal.Request{Amount: 500, Source: "api", Present: true}); err != nil {
			t.Fatal(err)
		}
		if v := r.screen.last(); v.State == display.Operator || v.State == display.Idle {
			t.Errorf("the charge is recorded, and the screen shows %s", v.State)
		}
		synctest.Wait()
		r.shows(display.QR)
		if got := r.entriesOf("operator."); len(got) != 0 {
			t.Errorf("the charge waited for the PIN: %v", got)
		}
	})
}

// TestChordIsHarmless: typed by a payer it charges nothing, and where there are no
// operators it does nothing.
func TestChordIsHarmless(t *testing.T) {
	bubble(t, func(r *rig) {
		for _, keys := range []string{chord, "1" + chord, chord + chord} {
			r.press(keys)
			r.press("C")
			r.shows(display.Idle)
		}
		if len(r.route.intents) != 0 || len(r.kinds()) != 0 {
			t.Errorf("it made %v", r.kinds())
		}
		withMenu(r)
		r.begin()
		r.press(chord) // the first key cancels, the rest is nothing
		r.pass(time.Minute)
		r.shows(display.Idle)
	})
}

// TestOperatorRights: what an attendant's role has not, no key gives.
func TestOperatorRights(t *testing.T) {
	bubble(t, func(r *rig) {
		withMenu(r)
		r.press(chord + "3E407193E")
		menu := r.page()
		for _, k := range "34567890" {
			r.press(string(k))
			if p := r.page(); p.Title != menu.Title || p.Busy {
				t.Errorf("key %c leads to %+v", k, p)
			}
		}
	})
}

// TestPINNowhere: no entry, no log line and no view holds a PIN.
func TestPINNowhere(t *testing.T) {
	bubble(t, func(r *rig) {
		withMenu(r)
		r.screen.check = func(v display.View) {
			if v.Page != nil && strings.Contains(fmt.Sprintf("%+v", *v.Page), "407193") {
				t.Errorf("the screen shows the PIN: %+v", *v.Page)
			}
		}
		r.press(login + "C")
		r.screen.check = nil
		r.press(chord + "407193E407193E") // the PIN as the number, too
		if err := r.store.View(func(tx *bbolt.Tx) error {
			for _, raw := range ledger.Entries(tx, ledger.Position{}) {
				if strings.Contains(string(raw), "407193") {
					t.Errorf("an entry holds the PIN: %s", raw)
				}
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	})
}
