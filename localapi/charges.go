package localapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/ssg-safe/agent/charge"
	"github.com/ssg-safe/agent/ledger"
	"github.com/ssg-safe/agent/money"
	"github.com/ssg-safe/agent/pix"
)

// chargeView is a charge as callers see it. Amounts are centavos.
type chargeView struct {
	ID            charge.ID     `json:"id"`
	State         charge.State  `json:"state"`
	Reason        string        `json:"reason,omitempty"` // why it failed or ended
	Amount        money.Amount  `json:"amount"`
	Refunded      money.Amount  `json:"refunded"`
	Reference     string        `json:"reference,omitempty"`
	Source        string        `json:"source"`
	Merchant      Merchant      `json:"merchant"`
	Provider      Provider      `json:"provider"`
	Presented     bool          `json:"presented"`
	ExpirySeconds int           `json:"expiry_seconds"`
	Released      bool          `json:"released"`            // goods left before the payment was found
	CodeKind      string        `json:"code_kind,omitempty"` // static, dynamic
	BRCode        string        `json:"brcode,omitempty"`    // while it may be paid
	CreatedAt     time.Time     `json:"created_at,omitzero"`
	ExpiresAt     time.Time     `json:"expires_at,omitzero"`
	PaidAt        time.Time     `json:"paid_at,omitzero"`
	EndedAt       time.Time     `json:"ended_at,omitzero"`
	Late          bool          `json:"late"` // paid after it had ended: nothing was delivered
	Payments      []paymentView `json:"payments"`
	Slips         []Slip        `json:"slips"`
	Position      string        `json:"position"`
}

// paymentView is money that was recorded for a charge.
type paymentView struct {
	Amount   money.Amount `json:"amount"`
	EndToEnd string       `json:"end_to_end,omitempty"`
	// Kind is settles, extra (a second payment) or mismatch (it fits neither
	// amount nor account).
	Kind string `json:"kind"`
	// Refunded is what went back of it.
	Refunded money.Amount `json:"refunded,omitempty"`
	// Grade and Source say what the record rests on.
	Grade      charge.Grade  `json:"grade"`
	Source     charge.Source `json:"source"`
	ProviderID string        `json:"provider_id,omitempty"`
}

func view(r Record) chargeView {
	c := r.Charge
	v := chargeView{
		ID: c.ID, State: c.State, Reason: c.Reason, Amount: c.Amount, Refunded: c.RefundedSum, Reference: c.Reference, Source: c.Source,
		Merchant: r.Merchant, Provider: r.Provider, Presented: c.Present, ExpirySeconds: c.Expiry, Released: c.Released,
		CreatedAt: r.Created, ExpiresAt: r.Expires, PaidAt: r.Paid, EndedAt: r.Ended, Late: c.Late,
		Payments: []paymentView{}, Slips: r.Slips, Position: encodePosition(r.Newest),
	}
	if v.Slips == nil {
		v.Slips = []Slip{}
	}
	if _, own := c.Static(); own || r.Code != "" {
		v.CodeKind = "static"
		if code, _ := pix.Parse(r.Code); code.URL != "" {
			v.CodeKind = "dynamic"
		}
	}
	if c.State == charge.Pending {
		v.BRCode = r.Code
	}
	for _, p := range c.Payments {
		kind := "settles"
		switch {
		case p.Mismatch:
			kind = "mismatch"
		case p.Extra:
			kind = "extra"
		}
		v.Payments = append(v.Payments, paymentView{
			Amount: p.Amount, EndToEnd: p.Evidence.EndToEnd, Kind: kind, Refunded: p.Refunded, Grade: p.Evidence.Grade(), Source: p.Evidence.Source,
			ProviderID: p.Evidence.ProviderID,
		})
	}
	return v
}

func (s *Server) createCharge(w http.ResponseWriter, r *http.Request, who *caller) error {
	if _, err := query(r.URL); err != nil {
		return err
	}
	body, err := s.body(w, r)
	if err != nil {
		return err
	}
	o, err := decodeOrder(body)
	if err != nil {
		return err
	}
	o.Source = who.source
	ctx, cancel := context.WithTimeout(r.Context(), handlerTime)
	defer cancel()
	id, err := s.Desk.Start(ctx, o)
	if err != nil {
		return err
	}
	record, err := s.Desk.Charge(id)
	if r, ok := errors.AsType[*Refusal](err); ok && r.Code == ChargeNotFound {
		return refuse(ReferenceTaken, "the reference is that of charge %s, whose entries were pruned", id)
	}
	if err != nil {
		return err
	}
	w.Header().Set("Location", "/v1/charges/"+string(id))
	s.write(w, http.StatusCreated, "application/json", view(record))
	return nil
}

// writable refuses what a store without space or rights cannot record.
func (s *Server) writable() error {
	if why := s.Store.Stats().ReadOnly; why != "" {
		return refuse(StoreReadOnly, "the store cannot be written: %s", why)
	}
	return nil
}

// listed is a page of charges.
type listed struct {
	Charges []chargeView `json:"charges"`
	// Next is the before of the next page; absent on the last.
	Next string `json:"next,omitempty"`
}

func (s *Server) listCharges(w http.ResponseWriter, r *http.Request, _ *caller) error {
	q, err := query(r.URL, "limit", "before", "open")
	if err != nil {
		return err
	}
	limit, before, err := paging(q)
	if err != nil {
		return err
	}
	var records []Record
	page := listed{Charges: []chargeView{}}
	switch open := q.Get("open"); {
	case q.Has("open") && open != "true" || open == "true" && len(q) > 1:
		return refuse(BadRequest, `open must be "true", alone`)
	case open == "true":
		records, err = s.Desk.Open()
	default:
		next := before
		if records, next, err = s.Desk.Charges(before, limit); next.Seq > 0 {
			page.Next = encodePosition(next)
		}
	}
	if err != nil {
		return err
	}
	for _, record := range records {
		page.Charges = append(page.Charges, view(record))
	}
	s.write(w, http.StatusOK, "application/json", page)
	return nil
}

// paging reads which page of a list is asked for.
func paging(q url.Values) (limit int, before ledger.Position, err error) {
	limit = 20
	if q.Has("limit") {
		if limit, err = strconv.Atoi(q.Get("limit")); err != nil || limit < 1 || limit > maxPage {
			return 0, before, refuse(BadRequest, "limit must be 1 to %d", maxPage)
		}
	}
	before, ok := decodePosition(q.Get("before"))
	if q.Has("before") && !ok {
		return 0, before, refuse(BadRequest, "before must be the next of another page")
	}
	return limit, before, nil
}

// named is the charge that a path names.
func (s *Server) named(r *http.Request) (Record, error) {
	id := r.PathValue("id")
	if !chargeForm.MatchString(id) {
		return Record{}, refuse(ChargeNotFound, "%q is not the id of a charge: 25 capital letters and digits", clip(id))
	}
	return s.Desk.Charge(charge.ID(id))
}

func (s *Server) readCharge(w http.ResponseWriter, r *http.Request, _ *caller) error {
	if _, err := query(r.URL); err != nil {
		return err
	}
	record, err := s.named(r)
	if err != nil {
		return err
	}
	s.write(w, http.StatusOK, "application/json", view(record))
	return nil
}

func (s *Server) cancelCharge(w http.ResponseWriter, r *http.Request, who *caller) error {
	record, err := s.change(w, r)
	switch {
	case err != nil:
		return err
	case record.Charge.Source != who.source && !who.may(ScopeOps):
		return refuse(NotYours, "this charge was made by %q", record.Charge.Source)
	case !record.Charge.State.Open():
		return refuse(NotOpen, "the charge is %s", record.Charge.State)
	case record.Charge.Released:
		return refuse(NotOpen, "goods left for the charge: it waits for its payment")
	}
	ctx, cancel := context.WithTimeout(r.Context(), handlerTime)
	defer cancel()
	if err := s.Desk.Cancel(ctx, record.Charge.ID); err != nil {
		return err
	}
	s.write(w, http.StatusAccepted, "application/json", view(record))
	return nil
}

func (s *Server) reprintCharge(w http.ResponseWriter, r *http.Request, _ *caller) error {
	record, err := s.change(w, r)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), handlerTime)
	defer cancel()
	slip, err := s.Desk.Reprint(ctx, record.Charge.ID)
	if err != nil {
		return fmt.Errorf("reprint: %w", err)
	}
	s.write(w, http.StatusAccepted, "application/json", slip)
	return nil
}

// change reads what a request without a body is about to change.
func (s *Server) change(w http.ResponseWriter, r *http.Request) (Record, error) {
	if _, err := query(r.URL); err != nil {
		return Record{}, err
	}
	if err := s.noBody(w, r); err != nil {
		return Record{}, err
	}
	if err := s.writable(); err != nil {
		return Record{}, err
	}
	return s.named(r)
}
