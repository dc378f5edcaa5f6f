package terminal

import (
	"github.com/ssg-safe/agent/charge"
	"github.com/ssg-safe/agent/money"
)

// EventKind names an event.
type EventKind string

// Events are told after the commit of what they tell.
const (
	ChargeCreated EventKind = "charge_created" // the code is known: Charge, Code
	ChargeResumed EventKind = "charge_resumed" // as created, after a restart
	ChargePaid    EventKind = "charge_paid"    // Charge with its payments
	ChargeEnded   EventKind = "charge_ended"   // expired, cancelled or failed
	// ChargeReleased: something may leave for a charge made offline, before its
	// payment is found.
	ChargeReleased EventKind = "charge_released"
	ChargeRefunded EventKind = "charge_refunded" // money of Charge went back to its payer
	PaymentOdd     EventKind = "payment_odd"     // a second or mismatched payment: a person must look
	SlipPrinted    EventKind = "slip_printed"    // Slip, Confirmed
	SlipUnknown    EventKind = "slip_unknown"    // Slip: a person must look at the paper
	TicketOpened   EventKind = "ticket_opened"
	TicketClosed   EventKind = "ticket_closed"
	// ProposalChanged: a payout or refund was proposed, or the hub said something of one.
	ProposalChanged EventKind = "proposal_changed"
	// OperatorLocked: Operator typed wrong PINs, Failures in a row, and is locked out.
	OperatorLocked EventKind = "operator_locked"
)

// Event is something that happened and is on disk.
type Event struct {
	Kind      EventKind
	Charge    charge.Charge
	Code      string // the payable text; personal data, not for logs
	Slip      Slip
	Confirmed bool
	Operator  string
	Failures  int
}

// Slip is a printed paper as events tell of it.
type Slip struct {
	Kind   SlipKind
	Charge charge.ID
	NSU    uint64
	Copy   int
	Amount money.Amount
	// Job is the id under which the printer confirmed it.
	Job string
}

func (s slip) public() Slip {
	return Slip{Kind: s.Kind, Charge: s.Charge, NSU: s.NSU, Copy: s.Copy, Amount: s.Amount, Job: processName(s)}
}
