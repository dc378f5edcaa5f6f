package localapi

import (
	"context"
	"errors"
	"net/http"
	"regexp"
	"time"

	"go.etcd.io/bbolt"

	"github.com/ssg-safe/agent/charge"
	"github.com/ssg-safe/agent/money"
	"github.com/ssg-safe/agent/payout"
	"github.com/ssg-safe/agent/pix"
	"github.com/ssg-safe/agent/proposal"
)

// ProposalOrder is a request to propose a payout, or, where it names a charge, a refund.
type ProposalOrder struct {
	Source    string // who asks, by the ledger's name
	By        string // the name of the person
	Reference string
	Amount    money.Amount
	Merchant  string // id; "" is the first merchant
	Details   proposal.Details
	Charge    charge.ID
	EndToEnd  string // "" where the charge has one payment
}

// Proposal is one as callers see it: never with the key.
type Proposal struct {
	ID        payout.ID    `json:"id"`
	Kind      payout.Kind  `json:"kind"`
	State     payout.State `json:"state"`
	Reason    string       `json:"reason,omitempty"`
	Reference string       `json:"reference"`
	Amount    money.Amount `json:"amount"`
	Merchant  string       `json:"merchant"`
	Charge    string       `json:"charge,omitempty"`
	EndToEnd  string       `json:"end_to_end,omitempty"`      // of the payment that is given back
	Sent      string       `json:"sent_end_to_end,omitempty"` // of the money that left
	Source    string       `json:"source"`
	By        string       `json:"by"`
	// Contradiction is why a person must look.
	Contradiction string    `json:"contradiction,omitempty"`
	MadeAt        time.Time `json:"made_at"`
	HeardAt       time.Time `json:"heard_at,omitzero"` // the newest word of the hub
}

// ViewProposal is a record as callers see it.
func ViewProposal(r proposal.Record) Proposal {
	return Proposal{
		ID: r.ID, Kind: r.Kind, State: r.State, Reason: r.Reason, Reference: r.Reference, Amount: r.Amount, Merchant: r.Merchant,
		Charge: r.Charge, EndToEnd: r.EndToEnd, Sent: r.Sent, Source: r.Source, By: r.By, Contradiction: r.Odd, MadeAt: r.Made, HeardAt: r.Heard,
	}
}

func (s *Server) propose(w http.ResponseWriter, r *http.Request, who *caller) error {
	if _, err := query(r.URL); err != nil {
		return err
	}
	body, err := s.body(w, r)
	if err != nil {
		return err
	}
	o, err := decodeProposal(body)
	if err != nil {
		return err
	}
	o.Source = who.source
	ctx, cancel := context.WithTimeout(r.Context(), handlerTime)
	defer cancel()
	made, err := s.Desk.Propose(ctx, o)
	if err != nil {
		return err
	}
	w.Header().Set("Location", "/v1/proposals/"+string(made.ID))
	s.write(w, http.StatusCreated, "application/json", ViewProposal(made))
	return nil
}

func (s *Server) listProposals(w http.ResponseWriter, r *http.Request, _ *caller) error {
	q, err := query(r.URL, "all")
	if err != nil {
		return err
	}
	if q.Has("all") && q.Get("all") != "true" && q.Get("all") != "false" {
		return refuse(BadRequest, "all must be true or false")
	}
	answer := struct {
		Proposals []Proposal `json:"proposals"`
	}{[]Proposal{}}
	err = s.Store.View(func(tx *bbolt.Tx) error {
		list, err := proposal.List(tx, q.Get("all") == "true")
		for _, r := range list {
			answer.Proposals = append(answer.Proposals, ViewProposal(r))
		}
		return err
	})
	if err != nil {
		return err
	}
	s.write(w, http.StatusOK, "application/json", answer)
	return nil
}

func (s *Server) readProposal(w http.ResponseWriter, r *http.Request, _ *caller) error {
	if _, err := query(r.URL); err != nil {
		return err
	}
	var found proposal.Record
	err := s.Store.View(func(tx *bbolt.Tx) (err error) {
		found, err = proposal.Get(tx, payout.ID(r.PathValue("id")))
		return err
	})
	if errors.Is(err, proposal.ErrNotFound) {
		return refuse(ProposalNotFound, "there is no such proposal; list them, also those that are over")
	}
	if err != nil {
		return err
	}
	s.write(w, http.StatusOK, "application/json", ViewProposal(found))
	return nil
}

var (
	endToEndForm      = regexp.MustCompile(`^[A-Za-z0-9]{32}$`)
	proposalReference = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._:/#-]{0,63}$`)
)

// decodeProposal reads the body of a request for a proposal.
func decodeProposal(body []byte) (ProposalOrder, error) {
	var o ProposalOrder
	err := decodeObject(body, map[string]field{
		"reference": text(64, matching(&o.Reference, proposalReference, "letters, digits and . _ : / # -, a letter or digit first")),
		"amount":    centavos(&o.Amount),
		"by": text(40, func(s string) error {
			if o.By = s; !charge.IsPerson(s) {
				return errors.New("must be a name of " + charge.PersonForm)
			}
			return nil
		}),
		"merchant": text(32, matching(&o.Merchant, merchantForm, "the id of a configured merchant")),
		"key": text(77, func(s string) error {
			if _, err := pix.RecogniseKey(s); err != nil {
				return errors.New("must be a PIX key as it is registered")
			}
			return keep(&o.Details.Key)(s)
		}),
		"description": text(140, keep(&o.Details.Description)),
		"charge":      text(25, matching(&o.Charge, chargeForm, "the id of a charge")),
		"end_to_end":  text(32, matching(&o.EndToEnd, endToEndForm, "an end-to-end id: 32 letters and digits")),
	}, "reference", "amount", "by")
	refund := o.Charge != ""
	switch {
	case err != nil:
	case refund == (o.Details.Key != ""):
		err = refuse(Invalid, "name either the key to pay, or the charge whose payment is to be given back")
	case refund && (o.Merchant != "" || o.Details.Description != ""):
		err = refuse(Invalid, "a refund goes back to where the payment came from: leave merchant and description out")
	case !refund && o.EndToEnd != "":
		err = refuse(Invalid, "end_to_end is of a refund, which names a charge")
	}
	if err != nil {
		return ProposalOrder{}, err
	}
	return o, nil
}
