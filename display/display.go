package display

import (
	"log/slog"
	"time"

	"github.com/gdamore/tcell/v2"

	"github.com/ssg-safe/agent/money"
)

// State names the screen to draw.
type State string

// The screens. Which fields of View each one reads is said there.
const (
	Starting    State = "starting"    // the agent starts; Progress while the data file is made
	Idle        State = "idle"        // nobody is paying
	Amount      State = "amount"      // the payer types an amount
	Creating    State = "creating"    // the provider is asked for a code
	QR          State = "qr"          // the code waits to be paid
	Elsewhere   State = "elsewhere"   // there is no code: the charge is paid where it was opened
	Verifying   State = "verifying"   // after expiry or cancel: the provider is asked once more
	Paid        State = "paid"        // the provider confirmed
	Held        State = "held"        // offline: whether it was paid is found out later
	Expired     State = "expired"     // nobody paid in time
	Cancelled   State = "cancelled"   // called off: the code must not be paid any more
	Error       State = "error"       // ErrorCode says what went wrong
	Unavailable State = "unavailable" // PIX cannot be offered now
	Operator    State = "operator"    // the operator menu: Page says what it shows
)

// View is everything a screen shows: plain values, decided by the caller. The
// zero value of a field leaves its part of the screen out.
type View struct {
	State State

	// Charge is the id of the charge the screen is about. It is not drawn; it
	// comes back in Drawn.
	Charge string

	// Amount is the charge's amount, and on the screen Amount what was typed
	// so far: digits fill it from the right, as on a card machine.
	Amount money.Amount

	// Min and Max are the limits shown on the screen Amount; 0 = none.
	Min, Max money.Amount

	// Payee is the name of who receives the money; Reference is a short text
	// by which staff finds the charge. Control characters are dropped, and
	// what is longer than its line ends in "...".
	Payee, Reference string

	// Code is the BR Code, on the screen QR only. It is drawn whole, with its
	// quiet zone, or not at all: see Drawn.QR.
	Code string

	// Codeless says on the screens Expired and Cancelled that the charge had no code.
	Codeless bool

	// Ahead is the Code of the View that will probably come next. Nothing of it
	// is drawn: its symbol is made, which takes longer than all else on the way
	// to the screen QR, while the charge is still being recorded.
	Ahead string

	// Offline says on the screen QR that the terminal made the code by itself and
	// learns later of its payment: its payer says when it is paid (Confirm).
	// Released says on the screen Held that the goods may leave all the same.
	Offline, Released bool

	// Remaining and Total are the countdown of the screen QR as it stood when
	// Show was called. The display counts down from there by the monotonic
	// clock and stops at zero; it decides nothing when it gets there.
	Remaining, Total time.Duration

	// At is when the payment was confirmed, in the merchant's zone (Paid).
	At time.Time

	// Progress is how much of the data file is made, in percent (Starting).
	Progress int

	// ErrorCode is a short code for support, such as ErrProvider (Error, and
	// where known Unavailable). Codes unknown to this package get a general
	// sentence.
	ErrorCode string

	// Printed says that the printer confirmed the slip that goes with this
	// screen: the printed code on QR, Held, Verifying, Expired and Cancelled, the
	// receipt on Paid.
	Printed bool

	// Page is what the screen Operator shows. It is not changed after Show.
	Page *Page

	Status Status
}

// String names the screen and the charge. Code, Ahead and Payee may be personal data:
// no log, error or test output gets them from a View.
func (v View) String() string { return string(v.State) + " " + v.Charge }

// GoString is String, for %#v.
func (v View) GoString() string { return v.String() }

// LogValue is String, for slog.
func (v View) LogValue() slog.Value { return slog.StringValue(v.String()) }

// Status is the line of small signs at the bottom of every screen.
type Status struct {
	Network, Printer, Clock Health

	// Pending counts what has not reached the hub yet.
	Pending int

	// Unfound are the charges made offline whose payment was not found yet.
	Unfound Unfound
}

// Unfound sums up charges: how many, over how much, and how old the oldest is.
type Unfound struct {
	Count int
	Sum   money.Amount
	Age   time.Duration
}

// Health is the state of one part of the terminal.
type Health int

// The zero value, Unknown, is not drawn: a terminal without a printer shows no
// printer.
const (
	Unknown Health = iota
	OK
	Warn
	Down
)

// KeyKind says what a key means to the terminal, not where it sits.
type KeyKind int

// The keys. The keyboard and a numeric keypad reach them like this: 0-9;
// Backspace or Delete; Enter or #; Esc or *; F1 or ?; Ctrl-C.
const (
	Digit KeyKind = iota + 1
	Backspace
	Confirm
	Cancel
	Help

	// Interrupt is Ctrl-C, which the terminal's raw mode keeps from becoming a
	// signal. A program on somebody's shell ends; a kiosk ignores it.
	Interrupt
)

// Key is one key press.
type Key struct {
	Kind  KeyKind
	Digit int // 0-9, for Digit only
}

// Drawn reports that a View reached the payer. Each new View is reported once,
// unless a newer one overtook it, and again when QR changes: the window became
// too small, the terminal hung up, it came back.
type Drawn struct {
	View View

	// QR: View's code is on the screen, whole, with its quiet zone.
	QR bool

	// HandedOver: there is no screen (Headless). The View was taken note of and
	// nobody has seen it; its code reaches the payer by slip or by the API.
	HandedOver bool
}

// Options are what a Display needs. All of it may be left out.
type Options struct {
	// Tty is the device to draw on, such as /dev/tty1; "" = the process's own
	// terminal.
	Tty string

	// Locale is "pt-BR" (also when empty or unknown) or "en".
	Locale string

	// Title is the left end of the top line: shop and terminal.
	Title string

	// Support is the telephone that error screens name.
	Support string

	// Hint is a line at the foot of the idle screen; "" = none.
	Hint string

	// Demo marks every screen as a demonstration, so that nobody pays.
	Demo bool

	// Now is the wall clock in the merchant's zone, for the clock in the
	// corner only; nil = time.Now. Time spans never come from it.
	Now func() time.Time

	// Keys gets every key press, from the goroutine that drains the terminal's
	// events. It must not block: while it does, the terminal's queue fills.
	// A consumer that is full drops the key.
	Keys func(Key)

	// Drawn is called from the drawing goroutine, after the terminal got the
	// screen. It must not block, and may call Show.
	Drawn func(Drawn)

	// Screen replaces the terminal in tests. The caller has called Init and
	// set the size; the Display ends it with Fini.
	Screen tcell.Screen

	// Logger gets what goes wrong with the terminal; nil = discard. It must
	// not write to that terminal.
	Logger *slog.Logger
}
