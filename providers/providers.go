// Package providers is the contract between the terminal and the companies
// that create PIX charges for it.
//
// An adapter is a small type in a package below this one (providers/ssg, …).
// It implements [Provider] and [Charger], and any of the capability interfaces
// its provider really offers; the terminal finds those by type assertion and
// never asks a provider for what it cannot do. Adapters speak HTTP through an
// [http.RoundTripper] given to them, so the same code runs against a real
// host, a simulator on a socket, and a simulator in memory under
// testing/synctest.
//
// # What an error means
//
// Every error an adapter returns is an [*Error]. Its Kind decides what may be
// done next, and the phase decides between "nothing was sent" and "nobody
// knows": a failure before the request's headers were written is [NotSent];
// every later failure (time-out, reset, 5xx, an answer that cannot be read) is
// [Ambiguous]. An ambiguous create is never a failed create: the attempt is
// orphaned or looked up, by the provider's [Caps].
//
// # What an answer proves
//
// A [Charge] carries the digest of the answer's exact bytes and says what the
// provider stated: a status word, perhaps an amount, perhaps an end-to-end id.
// An unknown status word is [StatusUncertain], never paid.
package providers

import (
	"context"
	"fmt"
	"time"

	"github.com/ssg-safe/agent/money"
	"github.com/ssg-safe/agent/redact"
)

// Provider is what every adapter implements. Implementations are safe for
// concurrent use.
type Provider interface {
	// Name is the adapter's configuration name, such as "ssg".
	Name() string
	// Caps describes the provider; it does not change during a run.
	Caps() Caps
}

// Charger creates dynamic charges.
type Charger interface {
	Provider
	// CreateCharge asks the provider for a charge. It makes at most one create
	// request (a token refresh and one repeat after a 401 aside, which is safe
	// because a refused request created nothing).
	//
	// With an error of unknown outcome the Charge still holds what the answer
	// told of the attempt (ProviderID, Digest), so that the orphan can be
	// recorded and watched; it never holds a BRCode then.
	CreateCharge(ctx context.Context, in Intent) (Charge, error)
}

// StatusReader asks for the state of one charge.
type StatusReader interface {
	GetCharge(ctx context.Context, ref Ref) (Charge, error)
}

// Canceller cancels a charge that was not paid.
type Canceller interface {
	CancelCharge(ctx context.Context, ref Ref) (Charge, error)
}

// StaticFinder finds payments of a static BR Code by its txid. Only a route
// with this capability may show a static code while the provider is out of
// reach (BACEN API Pix: GET /pix?txid=).
type StaticFinder interface {
	FindStatic(ctx context.Context, txid string, from, to time.Time) ([]Payment, error)
}

// HealthChecker proves credentials and reachability without creating anything.
type HealthChecker interface {
	CheckHealth(ctx context.Context) error
}

// CallbackNamer is a provider that says nothing of ours in its reports but the callback
// address of each attempt. A Ref that is Claimed goes to such a provider only.
type CallbackNamer interface {
	// CallbackName is a hash of an attempt's address, by which who receives reports
	// finds the attempt.
	CallbackName(charge string, attempt int) string
}

// Caps is what the core must know about a provider besides its interfaces.
type Caps struct {
	// Idempotent: the same Intent sent again returns the same charge.
	Idempotent bool
	// LookUp: a create of unknown outcome can be found by our own id.
	LookUp bool
	// Codeless: charges have no code to show. They are paid where the provider shows
	// them, and can be taken over by an Intent's Checkout.
	Codeless bool
	// CreateTimeout and ReadTimeout bound one call, socket included.
	CreateTimeout, ReadTimeout time.Duration
	// Poll is the status schedule after a charge was created.
	Poll PollSchedule
}

// PollSchedule says how often an open charge is asked about.
type PollSchedule struct {
	// Open lists the steps while the code may still be paid; the last step
	// repeats until expiry.
	Open []PollStep
	// Late is how often, and Times how many times, a charge is asked about
	// after it expired or was cancelled, because money may still arrive.
	Late  time.Duration
	Times int
}

// PollStep is one interval that holds until the charge has the given age.
type PollStep struct {
	Until time.Duration // age of the charge; 0 in the last step: no end
	Every time.Duration
}

// Intent is what the terminal wants to be paid.
type Intent struct {
	// ID is the charge's 25-character id; Attempt counts from 1.
	ID      string
	Attempt int
	Amount  money.Amount
	// Expiry is how long the code may be paid, counted from the sending.
	Expiry      time.Duration
	Description string
	// Account and Key are the merchant's account at the provider and its
	// receiving PIX key.
	Account string
	Key     string
	Payer   Payer
	// Checkout is the token of a charge that was made elsewhere and is to be taken
	// over instead of making one; only where Caps say Codeless.
	Checkout redact.Secret
}

// Payer is who pays, as far as the provider demands to know. Fields come from
// the call or from configuration, never from invention.
type Payer struct {
	Name     redact.Name
	Document redact.Document // CPF or CNPJ, digits (CNPJ may hold letters)
	Email    redact.Email
	Address  redact.Text
	District redact.Text // bairro
	City     redact.Text
	State    string      // two letters
	Postcode redact.Text // CEP, 8 digits
}

// Ref names a charge at its provider.
type Ref struct {
	Charge     string // our charge id
	Attempt    int
	ProviderID string
	// Token is that of the Charge; empty: it has none, or it was lost.
	Token redact.Secret
	// Claimed: the ProviderID is what a report said. An answer that does not show that
	// it is this attempt's is a Security error.
	Claimed bool
}

// Status is a provider's word, mapped.
type Status string

// The unified states (DESIGN of this package: providers disagree on words).
const (
	StatusPending   Status = "pending"
	StatusPaid      Status = "paid"
	StatusExpired   Status = "expired"
	StatusCancelled Status = "cancelled"
	StatusFailed    Status = "failed"
	StatusRefunded  Status = "refunded"
	// StatusUncertain is any word the table does not know. Never paid.
	StatusUncertain Status = "uncertain"
)

// Charge is a provider's answer about one charge.
type Charge struct {
	ProviderID string
	Status     Status
	// Word is the status exactly as the provider wrote it.
	Word string
	// Amount is what the provider says was charged or paid; nil: not said.
	Amount *money.Amount
	// EndToEnd is the Pix end-to-end id; empty: not said.
	EndToEnd string
	// Returns are the parts of the payment that went back to its payer, where the
	// provider lists them. StatusRefunded says that all of it did.
	Returns []Return
	// BRCode is the payable text, verified by the adapter; empty in status answers.
	BRCode string
	// Token is what it takes to ask about the charge, where the provider gives one
	// out at its creation. It opens the charge to whoever has it and is kept apart
	// from the ledger.
	Token redact.Secret
	// ExpiresAt is the provider's own expiry, as it said or as it was told at
	// creation; zero: neither.
	ExpiresAt time.Time
	// Warnings are what the adapter found wrong with the code and was
	// configured to accept; each must raise an alert.
	Warnings []string
	// Digest is the SHA-256 of the answer's body, lower-case hex.
	Digest string
}

// Payment is money that arrived, found by a txid.
type Payment struct {
	EndToEnd string
	TxID     string
	Amount   money.Amount
	At       time.Time
	Returns  []Return // parts that went back, as far as the provider names them
	Returned bool     // all of it went back
	Digest   string
}

// Return is a part of a payment that went back to its payer, for good. ID is the
// refund's, and unique with the payment; Sent is the end-to-end id of the money that
// went, empty: not said.
type Return struct {
	ID     string
	Sent   string
	Amount money.Amount
}

// Kind classifies an error by what may be done about it.
type Kind int

// Permanent kinds come first; Rate, Unavailable and NotSent may be tried
// again; Ambiguous, Contract and Security are unknown outcomes for a create.
const (
	Invalid           Kind = iota + 1 // the request is wrong and will stay wrong
	PayerDataRequired                 // a payer field the provider demands is missing
	Auth                              // credentials refused
	Forbidden                         // not allowed for this account
	NotFound                          // no such charge
	Conflict                          // the id exists with other content
	Funds                             // the account does not hold enough
	Limit                             // below or above the provider's limits
	Operator                          // a person must act at the provider
	Rate                              // too many requests; see RetryAfter
	Unavailable                       // the provider said it cannot now, and did nothing
	NotSent                           // nothing reached the provider
	Ambiguous                         // sent; outcome unknown
	Contract                          // an answer that breaks the provider's own contract
	Security                          // an answer that must not be trusted (foreign code, wrong host)
)

var kindNames = map[Kind]string{
	Invalid: "invalid", PayerDataRequired: "payer_data_required", Auth: "auth", Forbidden: "forbidden",
	NotFound: "not_found", Conflict: "conflict", Funds: "funds", Limit: "limit", Operator: "operator", Rate: "rate",
	Unavailable: "unavailable", NotSent: "not_sent", Ambiguous: "ambiguous", Contract: "contract", Security: "security",
}

// String returns the kind's stable name, as recorded in the ledger.
func (k Kind) String() string { return kindNames[k] }

// Permanent reports whether trying the same request again cannot help.
func (k Kind) Permanent() bool { return k >= Invalid && k <= Operator }

// OfAccount reports whether the provider refused whoever asks, and not what was
// asked for.
func (k Kind) OfAccount() bool { return k == Auth || k == Forbidden || k == Operator }

// OutcomeUnknown reports whether a create that failed this way may have
// happened at the provider.
func (k Kind) OutcomeUnknown() bool { return k == Ambiguous || k == Contract || k == Security }

// Error is every error an adapter returns.
type Error struct {
	Provider string // adapter name
	Op       string // "create", "status", "token"
	Kind     Kind
	// HTTP is the answer's status code; 0 when there was none.
	HTTP int
	// Code is the provider's own error code, verbatim; may be empty.
	Code string
	// Detail is text for operators: redacted, bounded, never shown to payers.
	Detail string
	// RetryAfter is the provider's wish, or the client policy's; 0: none.
	RetryAfter time.Duration
	// Held: the client's own policy sent nothing, so that the error says nothing
	// new about the provider.
	Held bool
	Err  error
}

// Error names provider, operation, kind and detail.
func (e *Error) Error() string {
	s := fmt.Sprintf("%s %s: %s", e.Provider, e.Op, e.Kind)
	if e.HTTP != 0 {
		s += fmt.Sprintf(" (HTTP %d)", e.HTTP)
	}
	if e.Code != "" {
		s += " code " + e.Code
	}
	if e.Detail != "" {
		s += ": " + e.Detail
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }
