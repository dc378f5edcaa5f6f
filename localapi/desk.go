package localapi

import (
	"context"
	"time"

	"github.com/ssg-safe/agent/charge"
	"github.com/ssg-safe/agent/closing"
	"github.com/ssg-safe/agent/ledger"
	"github.com/ssg-safe/agent/money"
	"github.com/ssg-safe/agent/proposal"
	"github.com/ssg-safe/agent/queue"
	"github.com/ssg-safe/agent/redact"
	"github.com/ssg-safe/agent/ticket"
)

// Desk is the terminal as requests reach it. Its methods are called from many
// goroutines and return after the commit of what they did. A [*Refusal] means
// that nothing was done; any other error of a method that changes something,
// that the outcome is unknown.
type Desk interface {
	// Start makes a charge, or finds the one that the same caller made by the
	// same order.
	Start(ctx context.Context, o Order) (charge.ID, error)
	// Cancel begins to end an open charge; its provider is asked once more first.
	Cancel(ctx context.Context, id charge.ID) error
	// Reprint prints a copy of the charge's slip.
	Reprint(ctx context.Context, id charge.ID) (Slip, error)
	// Settle retries dead letters, or drops jobs; no ids are all dead letters.
	Settle(ctx context.Context, retry bool, ids []uint64) ([]queue.Job, error)

	// Close closes a merchant's running day, or finds the closing of that number.
	// NothingToClose, ClosingNumber.
	Close(ctx context.Context, c Closure) (closing.Report, error)
	// Look reads a merchant's running day, and the number that closes it.
	// MerchantUnknown.
	Look(merchant string) (closing.Report, uint64, error)

	// CloseTicket records who dealt with a ticket, and what became of it.
	// TicketNotFound, TicketClosed.
	CloseTicket(ctx context.Context, id, by string, how ticket.How) (ticket.Ticket, error)

	// Propose records what the hub is to pay out, or finds what the same request made.
	// NoHub, ProposalRefused, ReferenceTaken, TooManyProposals, ChargeNotFound.
	Propose(ctx context.Context, o ProposalOrder) (proposal.Record, error)

	// Charge reads a charge. ChargeNotFound.
	Charge(id charge.ID) (Record, error)
	// Charges reads charges that were made before a position, newest first, and
	// says where to go on; zero: at the newest, and no more.
	Charges(before ledger.Position, limit int) ([]Record, ledger.Position, error)
	// Open reads the charges that wait for their payers.
	Open() ([]Record, error)
}

// Presence says whether a charge is shown on the kiosk's screen and printed.
type Presence string

// The presences, in the words of a request.
const (
	PresentAlways Presence = "always"  // or the charge is refused
	PresentIfFree Presence = "if_free" // or it is made all the same
	PresentNever  Presence = "never"
)

var presences = []Presence{PresentAlways, PresentIfFree, PresentNever}

// Order is a request for a charge.
type Order struct {
	// Source is who asks, by the ledger's name; Reference is its own name for
	// the charge.
	Source, Reference string
	Amount            money.Amount
	Merchant          string        // id; "" is the first merchant
	Description       string        // for the payer
	Expiry            time.Duration // 0 is the configured time
	Present           Presence
	Payer             Payer
	// Checkout is the token of a charge that was made elsewhere; empty: make one.
	Checkout redact.Secret
}

// Payer is who is asked to pay, as far as the provider demands it.
type Payer struct {
	Name     redact.Name
	Document redact.Document
	Email    redact.Email
	Address  redact.Text
	District redact.Text // bairro
	City     redact.Text
	State    string
	Postcode redact.Text
}

// Record is a charge as the desk has it on disk.
type Record struct {
	Charge charge.Charge
	// Code is the payable text, "" before there is one and after it was purged.
	Code string
	// Wall clock; zero: that has not happened, or its entry was pruned.
	Created, Expires, Paid, Ended time.Time
	Slips                         []Slip
	// Newest is the position of the newest entry about it.
	Newest   ledger.Position
	Merchant Merchant
	Provider Provider
}

// Merchant is who is paid.
type Merchant struct {
	ID   string `json:"id"`
	CNPJ string `json:"cnpj,omitempty"`
	Name string `json:"name,omitempty"`
}

// Provider is who brings the money.
type Provider struct {
	Name string `json:"name"`
	Type string `json:"type,omitempty"`
	CNPJ string `json:"cnpj,omitempty"`
}

// Slip is a printed paper of a charge.
type Slip struct {
	Kind string `json:"kind"` // qr, receipt
	NSU  uint64 `json:"nsu"`
	Copy int    `json:"copy"` // 2 and more say "2ª VIA"
	// State is issued, printed (the printer confirmed it), sent (it cannot
	// confirm), unknown (a person must look) or dropped.
	State string `json:"state"`
}

// Status is the terminal at a glance. The server adds what it reads itself.
type Status struct {
	Terminal string        `json:"terminal"` // its code
	Device   string        `json:"device"`
	Version  string        `json:"version"`
	Screen   ScreenStatus  `json:"screen"`
	Printer  PrinterStatus `json:"printer"`
	// Network says whether providers could be reached: ok, warn, down, unknown.
	Network string `json:"network"`
	// Routes are the providers that make charges.
	Routes []RouteStatus `json:"routes"`
	Link   LinkStatus    `json:"link"`
	Clock  ClockStatus   `json:"clock"`
	Store  StoreStatus   `json:"store"`
	// Pending are the charges that wait for their payers: what is at stake.
	Pending PendingStatus `json:"pending"`
	// Exposure are those of them that were made while their provider could not be
	// reached, and wait to be found.
	Exposure ExposureStatus `json:"exposure"`
	// Tickets are the differences that wait for a person.
	Tickets  ticket.Count `json:"tickets"`
	Position string       `json:"position"` // of the newest ledger entry
}

// ScreenStatus is the kiosk's screen.
type ScreenStatus struct {
	State  string    `json:"state"`
	Charge charge.ID `json:"charge,omitempty"`
}

// RouteStatus is a provider. While it is out, charges of merchants who have another
// one go by that; Why is the kind of the newest failure then.
type RouteStatus struct {
	Provider string `json:"provider"`
	Out      bool   `json:"out"`
	Why      string `json:"why,omitempty"`
}

// PrinterStatus is the slip printer and what waits for it.
type PrinterStatus struct {
	State   string `json:"state"` // ok, warn, down, unknown, none
	Waiting int    `json:"waiting"`
	Dead    int    `json:"dead"` // letters that wait for a person
}

// LinkStatus is the link to the fleet.
type LinkStatus struct {
	Configured bool      `json:"configured"`
	Connected  bool      `json:"connected"`
	Since      time.Time `json:"since,omitzero"`
	LastError  string    `json:"last_error,omitempty"`
	// Pending are the ledger entries that the hub does not have yet.
	Pending      uint64 `json:"pending"`
	Acknowledged string `json:"acknowledged,omitempty"`
}

// ClockStatus is the terminal's clock.
type ClockStatus struct {
	Time    time.Time `json:"time"`
	Quality string    `json:"quality"` // unsynced, floor, synced, anchored
}

// StoreStatus is the store file, in bytes.
type StoreStatus struct {
	Size     int64  `json:"size"`
	Free     int64  `json:"free"`
	Full     bool   `json:"full"`
	ReadOnly string `json:"read_only,omitempty"` // why
}

// ExposureStatus is what was made on trust: all of it, and what goods left for.
type ExposureStatus struct {
	Pending  PendingStatus `json:"pending"`
	Released PendingStatus `json:"released"`
}

// PendingStatus sums up charges.
type PendingStatus struct {
	Count  int          `json:"count"`
	Sum    money.Amount `json:"sum"`
	Oldest time.Time    `json:"oldest,omitzero"`
}
