package localapi

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"regexp"

	"go.etcd.io/bbolt"

	"github.com/ssg-safe/agent/charge"
	"github.com/ssg-safe/agent/ticket"
)

// Tickets are what reconciliation found that a person has to deal with.
type Tickets struct {
	Tickets []ticket.Ticket `json:"tickets"`
}

func (s *Server) listTickets(w http.ResponseWriter, r *http.Request, _ *caller) error {
	q, err := query(r.URL, "all")
	if err != nil {
		return err
	}
	if q.Has("all") && q.Get("all") != "true" && q.Get("all") != "false" {
		return refuse(BadRequest, "all must be true or false")
	}
	var list Tickets
	err = s.Store.View(func(tx *bbolt.Tx) (err error) {
		list.Tickets, err = ticket.List(tx, q.Get("all") == "true")
		return err
	})
	if err != nil {
		return err
	}
	s.write(w, http.StatusOK, "application/json", list)
	return nil
}

// ticketID is the form of a ticket's id.
var ticketID = regexp.MustCompile(`^T[0-9A-F]{10}$`)

func (s *Server) closeTicket(w http.ResponseWriter, r *http.Request, _ *caller) error {
	if _, err := query(r.URL); err != nil {
		return err
	}
	id := r.PathValue("id")
	if !ticketID.MatchString(id) {
		return refuse(TicketNotFound, "a ticket's id is T and ten digits or letters to F; see /v1/tickets")
	}
	body, err := s.body(w, r)
	if err != nil {
		return err
	}
	by, how, err := decodeClose(body)
	if err != nil {
		return err
	}
	if err := s.writable(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), handlerTime)
	defer cancel()
	closed, err := s.Desk.CloseTicket(ctx, id, by, how)
	if err != nil {
		return err
	}
	s.write(w, http.StatusOK, "application/json", closed)
	return nil
}

func decodeClose(body []byte) (by string, how ticket.How, err error) {
	err = decodeObject(body, map[string]field{
		"by": text(40, func(s string) error {
			if by = s; !charge.IsPerson(s) {
				return errors.New("must be a name of " + charge.PersonForm)
			}
			return nil
		}),
		"how": func(raw json.RawMessage) error {
			if json.Unmarshal(raw, &how) == nil {
				for _, h := range ticket.Hows() {
					if h == how {
						return nil
					}
				}
			}
			return errors.New("must be one of refunded, delivered, credited, corrected, not_ours, accepted")
		},
	}, "by", "how")
	return by, how, err
}
