package localapi

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
)

// Code is the stable name of a problem; callers branch on it.
type Code string

// The codes. The comment of each says what a caller does about it.
const (
	BadRequest       Code = "bad_request"        // correct the request's form
	Invalid          Code = "invalid"            // correct the named fields
	AmountRefused    Code = "amount_refused"     // stay within the terminal's limits
	MerchantUnknown  Code = "merchant_unknown"   // name a configured merchant, or none
	Unauthorized     Code = "unauthorized"       // send a token
	Forbidden        Code = "forbidden"          // use a token with the scope
	NotYours         Code = "not_yours"          // leave other callers' charges alone
	HostRefused      Code = "host_refused"       // use the configured address
	OriginRefused    Code = "origin_refused"     // configure the origin
	NotFound         Code = "not_found"          // correct the path
	ChargeNotFound   Code = "charge_not_found"   // it never was here, or was pruned
	JobNotFound      Code = "job_not_found"      // list the queue
	TicketNotFound   Code = "ticket_not_found"   // list the tickets
	TicketClosed     Code = "ticket_closed"      // somebody has dealt with it
	ProposalRefused  Code = "proposal_refused"   // correct what the text says
	ProposalNotFound Code = "proposal_not_found" // list the proposals
	TooManyProposals Code = "too_many_proposals" // wait until the hub has decided about some
	NoHub            Code = "no_hub"             // a terminal pays nothing out: connect it to a hub
	BadMethod        Code = "method_not_allowed" // see Allow
	ReferenceTaken   Code = "reference_taken"    // use another reference for another charge
	CheckoutRefused  Code = "checkout_refused"   // the provider has no checkouts, or a charge has taken this one over
	ScreenTaken      Code = "screen_taken"       // wait, or ask for "if_free" or "never"
	NotOpen          Code = "not_open"           // nothing to cancel: read the charge
	NothingToPrint   Code = "nothing_to_print"   // it is neither payable nor paid in time
	NoPrinter        Code = "no_printer"         // none is configured
	NothingToClose   Code = "nothing_to_close"   // nothing has happened since the last closing
	ClosingNumber    Code = "closing_number"     // read which number is next
	SlipWaits        Code = "slip_waits"         // settle the slip that waits first
	JobBusy          Code = "job_busy"           // wait until the printer is done, or is already waiting
	EventsGone       Code = "events_gone"        // go on from the snapshot
	TooLarge         Code = "too_large"          // send less
	TooSlow          Code = "too_slow"           // send faster
	ContentType      Code = "content_type"       // send application/json
	RateLimited      Code = "rate_limited"       // wait as Retry-After says
	Busy             Code = "busy"               // nothing was done: try again
	Stopping         Code = "stopping"           // nothing was done: try again after the restart
	StoreFull        Code = "store_full"         // nothing was done: an operator must make room
	StoreReadOnly    Code = "store_read_only"    // nothing was done: an operator must look
	OutcomeUnknown   Code = "outcome_unknown"    // repeat the same request
	Broken           Code = "internal"           // see the agent's log
)

// statuses are the HTTP status of every code.
var statuses = map[Code]int{
	BadRequest: http.StatusBadRequest, Invalid: http.StatusUnprocessableEntity, AmountRefused: http.StatusUnprocessableEntity,
	MerchantUnknown: http.StatusUnprocessableEntity, Unauthorized: http.StatusUnauthorized, Forbidden: http.StatusForbidden,
	NotYours: http.StatusForbidden, HostRefused: http.StatusMisdirectedRequest, OriginRefused: http.StatusForbidden,
	NotFound: http.StatusNotFound, ChargeNotFound: http.StatusNotFound, JobNotFound: http.StatusNotFound, TicketNotFound: http.StatusNotFound, TicketClosed: http.StatusConflict,
	ProposalRefused: http.StatusUnprocessableEntity, ProposalNotFound: http.StatusNotFound, TooManyProposals: http.StatusConflict, NoHub: http.StatusConflict,
	BadMethod: http.StatusMethodNotAllowed, ReferenceTaken: http.StatusConflict, CheckoutRefused: http.StatusConflict, ScreenTaken: http.StatusConflict,
	NotOpen: http.StatusConflict, NothingToPrint: http.StatusConflict, NoPrinter: http.StatusConflict,
	NothingToClose: http.StatusConflict, ClosingNumber: http.StatusConflict, SlipWaits: http.StatusConflict, JobBusy: http.StatusConflict, EventsGone: http.StatusGone,
	TooLarge: http.StatusRequestEntityTooLarge, TooSlow: http.StatusRequestTimeout, ContentType: http.StatusUnsupportedMediaType,
	RateLimited: http.StatusTooManyRequests, Busy: http.StatusServiceUnavailable, Stopping: http.StatusServiceUnavailable,
	StoreFull: http.StatusServiceUnavailable, StoreReadOnly: http.StatusServiceUnavailable,
	OutcomeUnknown: http.StatusServiceUnavailable, Broken: http.StatusInternalServerError,
}

// Refusal is an error that a caller can act on. Its text goes to the caller.
type Refusal struct {
	Code Code
	Err  error
	// Fields are what is wrong with a body.
	Fields []FieldProblem
	// snapshot goes with EventsGone.
	snapshot *snapshot
	// allow are the methods that go with BadMethod.
	allow string
}

// FieldProblem is one field that cannot be taken.
type FieldProblem struct {
	Field   string `json:"field"`
	Problem string `json:"problem"`
}

// Error is the text for the caller.
func (r *Refusal) Error() string { return r.Err.Error() }

// Unwrap returns the cause.
func (r *Refusal) Unwrap() error { return r.Err }

func refuse(c Code, format string, args ...any) *Refusal {
	return &Refusal{Code: c, Err: fmt.Errorf(format, args...)}
}

// problem is the body of an answer that is none (RFC 9457).
type problem struct {
	Title  string         `json:"title"`
	Status int            `json:"status"`
	Code   Code           `json:"code"`
	Detail string         `json:"detail"`
	Fields []FieldProblem `json:"fields,omitempty"`
	// Snapshot goes with events_gone.
	Snapshot *snapshot `json:"snapshot,omitempty"`
}

// fail answers with a problem. What is no refusal is the agent's own trouble:
// the caller learns that the outcome is unknown, or nothing, and the log all.
func (s *Server) fail(w http.ResponseWriter, r *http.Request, err error) {
	refusal, ok := errors.AsType[*Refusal](err)
	if !ok {
		s.log.Error("request", "method", r.Method, "path", r.URL.Path, "err", err)
		refusal = refuse(Broken, "the agent could not answer; its log says why")
		if r.Method == http.MethodPost {
			refusal = refuse(OutcomeUnknown, "it is not known whether this happened; repeat the same request")
		}
	}
	s.count.refused(refusal.Code)
	status := statuses[refusal.Code]
	h := w.Header()
	switch {
	case refusal.Code == Unauthorized:
		h.Set("WWW-Authenticate", `Bearer realm="ssg-agent"`)
	case refusal.Code == BadMethod:
		h.Set("Allow", refusal.allow)
	case status == http.StatusServiceUnavailable || status == http.StatusTooManyRequests:
		h.Set("Retry-After", "1")
	}
	if status == http.StatusRequestEntityTooLarge || status == http.StatusRequestTimeout {
		h.Set("Connection", "close") // the rest of the body is not read
	}
	p := problem{Title: http.StatusText(status), Status: status, Code: refusal.Code, Detail: refusal.Error(), Fields: refusal.Fields, Snapshot: refusal.snapshot}
	s.write(w, status, "application/problem+json", p)
}

// write answers with JSON.
func (s *Server) write(w http.ResponseWriter, status int, contentType string, body any) {
	raw, err := json.Marshal(body)
	if err != nil { // of our own types: cannot be
		s.log.Error("answer", "err", err)
		status, raw = http.StatusInternalServerError, []byte(`{}`)
	}
	h := w.Header()
	h.Set("Content-Type", contentType)
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = w.Write(append(raw, '\n')) // the caller is gone
}
