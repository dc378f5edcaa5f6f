package operator

import (
	"errors"
	"time"

	"github.com/ssg-safe/agent/charge"
	"github.com/ssg-safe/agent/closing"
	"github.com/ssg-safe/agent/display"
	"github.com/ssg-safe/agent/money"
	"github.com/ssg-safe/agent/operator/pin"
	"github.com/ssg-safe/agent/redact"
)

// Request is what the menu wants done, never on the loop. Its answer names its
// Ticket.
type Request struct {
	Ticket int
	// By is the actor of what is recorded for it; "" before the log-in.
	By   string
	What What
}

// What is one of the requests below.
type What interface{ what() }

// The requests, and what answers them beside an error.
type (
	// Verify checks a PIN, one at a time: Verified. Operator is "" for a number
	// that nobody has.
	Verify struct {
		Operator string
		Hash     pin.Hash
		PIN      redact.Secret
	}
	// Record writes a fact about logging in into the ledger: Recorded.
	Record struct{ Fact Fact }
	// Read reads a view: SlipList, Standing, LetterList, Sheet. ReadDay reads the
	// running day of a merchant: DayReport.
	Read    struct{ View View }
	ReadDay struct{ Merchant string }
	// Reprint prints a copy of the slip of a charge: Printing.
	Reprint struct{ Charge charge.ID }
	// PrintDay prints an X: Printing. CloseDay does the Z that will have the number,
	// and prints it where there is a printer: DayReport.
	PrintDay struct{ Merchant string }
	CloseDay struct {
		Merchant string
		Number   uint64
	}
	// Settle prints a dead letter as a copy, or gives it up: Settled.
	Settle struct {
		Job   uint64
		Retry bool
	}
)

func (Verify) what()   {}
func (Record) what()   {}
func (Read) what()     {}
func (ReadDay) what()  {}
func (Reprint) what()  {}
func (PrintDay) what() {}
func (CloseDay) what() {}
func (Settle) what()   {}

// Fact is what the ledger keeps of a log-in. Names of fields are stored.
type Fact struct {
	Operator string `json:"operator"`
	// Login: the PIN was right; Role is what he may do. Else Failures counts wrong
	// PINs in a row, and LockedFor is what they led to, in seconds.
	Login     bool `json:"-"`
	Role      Role `json:"role,omitempty"`
	Failures  int  `json:"failures,omitempty"`
	LockedFor int  `json:"locked_for_s,omitempty"`
}

// Answer is one of the answers below.
type Answer interface{ answer() }

// The answers.
type (
	// Verified says whether the PIN was right.
	Verified bool
	// Recorded: the fact is on disk.
	Recorded struct{}
	// SlipList has the last charges with a slip, newest first.
	SlipList []Slip
	// Standing is what waits, and what was made and released without the provider.
	// Tickets are the most urgent of so many that are open, so many of them overdue.
	Standing struct {
		Open                  []Open
		Pending, Released     Tally
		Tickets               []Ticket
		OpenTickets, Overdues int
	}
	// LetterList has the slips that a person must decide about.
	LetterList []Letter
	// DayReport is a closing, or what it would be, and the number of the next one.
	DayReport struct {
		closing.Report
		Next uint64
	}
	// Sheet is groups of lines that stay together where they can.
	Sheet [][]display.PageLine
	// Printing is a slip that was handed to the spool.
	Printing struct {
		NSU  uint64
		Copy int
	}
	// Settled: the job is decided.
	Settled struct{}
	// Refused: it was not done, or not for certain, because of an error; the menu
	// knows those below.
	Refused struct{ Err error }
)

func (Verified) answer()   {}
func (Recorded) answer()   {}
func (SlipList) answer()   {}
func (Standing) answer()   {}
func (LetterList) answer() {}
func (DayReport) answer()  {}
func (Sheet) answer()      {}
func (Printing) answer()   {}
func (Settled) answer()    {}
func (Refused) answer()    {}

// Slip is a charge as the list of slips shows it.
type Slip struct {
	Charge charge.ID
	Amount money.Amount
	At     time.Time // when it was paid, or made
	Paid   bool      // its slip is the receipt; else the code
	// Refunded is what went back of it.
	Refunded money.Amount
	NSU      uint64 // 0: none was printed yet
	Copies   int
}

// Open is a charge that waits for its payment.
type Open struct {
	Charge            charge.ID
	Amount            money.Amount
	Made              time.Time
	Offline, Released bool
}

// Ticket is a difference between ledger and provider that a person must deal with.
type Ticket struct {
	ID       string
	Amount   money.Amount // what came, or else was asked for
	Deadline time.Time
	Overdue  bool
}

// Tally sums up charges; Oldest is the age of the oldest.
type Tally struct {
	Count  int
	Sum    money.Amount
	Oldest time.Duration
}

// Letter is a dead letter.
type Letter struct {
	Job    uint64
	NSU    uint64
	Kind   string // qr, receipt, closing
	Amount money.Amount
	// Unsure: it may be on the paper. Else nothing of it was printed.
	Unsure bool
}

// What a request can fail with that the menu has words for; any other error is a
// fault of the terminal.
var (
	ErrNoPrinter      = errors.New("there is no printer")
	ErrNothingToPrint = errors.New("there is nothing to print")
	ErrSlipWaits      = errors.New("a slip waits already")
	ErrBusy           = errors.New("the terminal is busy")
	ErrNothingToClose = errors.New("there is nothing to close")
	ErrGone           = errors.New("it was settled meanwhile")
	ErrFull           = errors.New("the store is full")
)

// Answer takes the answer to a request. What it returns is to be done next; nil:
// nothing.
func (m *Menu) Answer(ticket int, a Answer, up time.Duration) *Request {
	if m.login != nil && ticket == m.login.ticket {
		return m.checked(*m.login, a, up)
	}
	if m.exam.ticket != 0 && ticket == m.exam.ticket {
		m.examineDone(a, up)
		return nil
	}
	if !m.Open() || ticket != m.ticket {
		return nil
	}
	if at, ok := m.top().(*busy); ok {
		m.touch(up)
		m.replace(m.show(at.view, a))
	}
	return nil
}
