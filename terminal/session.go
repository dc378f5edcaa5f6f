package terminal

import (
	"time"

	"github.com/ssg-safe/agent/charge"
	"github.com/ssg-safe/agent/display"
	"github.com/ssg-safe/agent/money"
)

// session is the kiosk's screen: what the person in front of it does. It is
// pure. It never decides about money: it follows committed facts, and asks the
// loop for what the keys want.
//
//	starting → idle ⇄ amount → creating → qr | elsewhere → verifying | held
//	           idle ← paid | expired | cancelled | error | unavailable | held
type session struct {
	state  display.State
	amount money.Amount
	charge charge.ID
	code   string        // error code
	until  time.Duration // when the screen changes by itself; 0: never
	halted bool          // error screen that no key or timer may leave
	own    bool          // the code was made here: its payer says when it is paid
}

// wish is what a key asks of the loop.
type wish int

const (
	nothing wish = iota
	begin        // start a charge of session.amount
	stop         // cancel session.charge
	claim        // session.charge is paid, says its payer
)

const (
	amountIdle  = 60 * time.Second // an abandoned amount goes away
	noticeStays = 12 * time.Second // expired, cancelled, error
	heldStays   = 30 * time.Second // there is more to read
	// verdict is how long past its grace a verdict may take before the screen
	// says that the charge is still being checked.
	verdict = 10 * time.Second
)

// free reports whether a new charge may take the screen.
func (s *session) free() bool {
	switch s.state {
	case display.Starting, display.Amount, display.Creating, display.QR, display.Elsewhere, display.Verifying:
		return false
	}
	return !s.halted
}

func (s *session) enter(state display.State, until time.Duration) { s.state, s.until = state, until }

func (s *session) idle() { *s = session{state: display.Idle} }

// key handles a key press.
func (s *session) key(k display.Key, up time.Duration, lowest, highest money.Amount) wish {
	switch s.state {
	case display.Idle:
		if k.Kind == display.Digit || k.Kind == display.Confirm {
			s.enter(display.Amount, up+amountIdle)
			s.amount = 0
			s.digit(k, highest)
		}
	case display.Amount:
		s.until = up + amountIdle
		switch k.Kind {
		case display.Digit:
			s.digit(k, highest)
		case display.Backspace:
			s.amount /= 10
		case display.Cancel:
			s.idle()
		case display.Confirm:
			if s.amount >= lowest && s.amount <= highest {
				return begin
			}
		}
	case display.Creating, display.QR, display.Elsewhere:
		switch {
		case k.Kind == display.Cancel:
			return stop
		case k.Kind == display.Confirm && s.own:
			return claim
		}
	case display.Paid, display.Held, display.Expired, display.Cancelled, display.Error, display.Unavailable:
		if !s.halted && (k.Kind == display.Confirm || k.Kind == display.Cancel) {
			s.idle()
		}
	}
	return nothing
}

func (s *session) digit(k display.Key, highest money.Amount) {
	if k.Kind != display.Digit {
		return
	}
	if next := s.amount*10 + money.Amount(k.Digit); next <= highest {
		s.amount = next
	}
}

// creating takes the screen for a charge that is being recorded.
func (s *session) creating(id charge.ID, a money.Amount) {
	*s = session{state: display.Creating, charge: id, amount: a}
}

// pending shows the code, or that there is none because the charge is paid elsewhere;
// own says that the code was made here.
func (s *session) pending(own, elsewhere bool) {
	s.enter(display.QR, 0)
	if elsewhere {
		s.enter(display.Elsewhere, 0)
	}
	s.own = own
}

// waits reports whether a payer is expected to pay.
func (s *session) waits() bool { return s.state == display.QR || s.state == display.Elsewhere }

// held shows that a payment will be found later.
func (s *session) held(up time.Duration) {
	s.enter(display.Held, up+heldStays)
	s.own = false
}

// verifying shows that the provider is asked for the last time; until is when
// even a late verdict should be there.
func (s *session) verifying(until time.Duration) { s.enter(display.Verifying, until) }

// paid shows that the money arrived.
func (s *session) paid(up, stays time.Duration) { s.enter(display.Paid, up+stays) }

// ended shows that a charge ended without money.
func (s *session) ended(up time.Duration, state charge.State, code string) {
	switch {
	case state == charge.Expired:
		s.enter(display.Expired, up+noticeStays)
	case state == charge.Cancelled:
		s.enter(display.Cancelled, up+noticeStays)
	case code == display.ErrNetwork:
		s.enter(display.Unavailable, up+noticeStays)
	default:
		s.enter(display.Error, up+noticeStays)
	}
	s.code = code
}

// fail shows an error that left no charge behind.
func (s *session) fail(up time.Duration, code string) {
	s.enter(display.Error, up+noticeStays)
	s.charge, s.code = "", code
}

// halt shows an error that only a person with tools can mend.
func (s *session) halt(code string) { *s = session{state: display.Error, code: code, halted: true} }

// tick moves on when the time of a screen is over.
func (s *session) tick(up time.Duration) {
	if s.until == 0 || up < s.until {
		return
	}
	switch s.state {
	case display.Verifying:
		id := s.charge
		s.fail(up, display.ErrNetwork)
		s.charge = id
	default:
		s.idle()
	}
}
