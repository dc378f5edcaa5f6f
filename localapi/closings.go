package localapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"regexp"

	"go.etcd.io/bbolt"

	"github.com/ssg-safe/agent/closing"
	"github.com/ssg-safe/agent/ledger"
	"github.com/ssg-safe/agent/money"
)

// Closure is a request for the closing of a merchant's running day.
type Closure struct {
	Source   string // who asks
	Merchant string // id; "" is the first merchant
	Number   uint64 // that the closing will have; one that was given is that closing
	Print    bool
}

// closingView is a closing as callers see it. Amounts are centavos.
type closingView struct {
	Merchant string                          `json:"merchant"`
	Number   uint64                          `json:"number,omitempty"` // 0: of the running day
	Next     uint64                          `json:"next,omitempty"`   // the number that closes the running day
	Date     string                          `json:"date"`
	From     string                          `json:"from"` // the last position of the closing before
	To       string                          `json:"to"`
	Received money.Amount                    `json:"received"`
	Lines    []closing.Line                  `json:"lines"`
	Postings map[ledger.Account]money.Amount `json:"postings"`
}

func viewClosing(r closing.Report) closingView {
	v := closingView{
		Merchant: r.Merchant, Number: r.Number, Date: r.Date, From: encodePosition(r.From), To: encodePosition(r.To),
		Received: r.Received(), Lines: append([]closing.Line{}, r.Lines...), Postings: map[ledger.Account]money.Amount{},
	}
	maps.Copy(v.Postings, r.Postings)
	return v
}

// closingMerchant is the id of a merchant, or "-": whose money nobody knows.
var closingMerchant = regexp.MustCompile(`^([a-z0-9][a-z0-9-]{0,31}|-)$`)

func (s *Server) readRunning(w http.ResponseWriter, r *http.Request, _ *caller) error {
	q, err := query(r.URL, "merchant")
	if err != nil {
		return err
	}
	if q.Has("merchant") && !closingMerchant.MatchString(q.Get("merchant")) {
		return refuse(BadRequest, "merchant must be the id of a merchant")
	}
	report, next, err := s.Desk.Look(q.Get("merchant"))
	if err != nil {
		return err
	}
	v := viewClosing(report)
	v.Next = next
	s.write(w, http.StatusOK, "application/json", v)
	return nil
}

// closings is a page of them.
type closings struct {
	Closings []closingView `json:"closings"`
	// Next is the before of the next page; absent on the last.
	Next string `json:"next,omitempty"`
}

var closingKind = []byte(`"kind":"` + closing.Kind + `"`)

func (s *Server) listClosings(w http.ResponseWriter, r *http.Request, _ *caller) error {
	q, err := query(r.URL, "merchant", "limit", "before")
	if err != nil {
		return err
	}
	limit, before, err := paging(q)
	if err != nil {
		return err
	}
	page := closings{Closings: []closingView{}}
	err = s.Store.View(func(tx *bbolt.Tx) error {
		for pos, raw := range ledger.Backward(tx, before) {
			if !bytes.Contains(raw, closingKind) {
				continue
			}
			e, err := ledger.Decode(raw)
			if err != nil {
				return fmt.Errorf("entry %v: %w", pos, err)
			}
			var report closing.Report
			if e.Kind != closing.Kind {
				continue
			}
			if err := json.Unmarshal(e.Data, &report); err != nil {
				return fmt.Errorf("entry %v: %w", pos, err)
			}
			if q.Has("merchant") && q.Get("merchant") != report.Merchant {
				continue
			}
			page.Closings = append(page.Closings, viewClosing(report))
			if len(page.Closings) == limit {
				page.Next = encodePosition(pos)
				break
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	s.write(w, http.StatusOK, "application/json", page)
	return nil
}

func (s *Server) closeDay(w http.ResponseWriter, r *http.Request, who *caller) error {
	if _, err := query(r.URL); err != nil {
		return err
	}
	body, err := s.body(w, r)
	if err != nil {
		return err
	}
	c, err := decodeClosure(body)
	if err != nil {
		return err
	}
	if err := s.writable(); err != nil {
		return err
	}
	c.Source = who.source
	ctx, cancel := context.WithTimeout(r.Context(), handlerTime)
	defer cancel()
	report, err := s.Desk.Close(ctx, c)
	if err != nil {
		return err
	}
	s.write(w, http.StatusCreated, "application/json", viewClosing(report))
	return nil
}

func decodeClosure(body []byte) (c Closure, err error) {
	err = decodeObject(body, map[string]field{
		"merchant": text(32, matching(&c.Merchant, closingMerchant, "the id of a merchant")),
		"number": func(raw json.RawMessage) error {
			n, err := whole(raw, "the number of the closing: the running day's next")
			if err == nil && n == 0 {
				err = errors.New("is zero; closings begin with 1")
			}
			c.Number = uint64(n)
			return err
		},
		"print": func(raw json.RawMessage) error {
			c.Print = string(raw) == "true"
			if !c.Print && string(raw) != "false" {
				return errors.New("must be true or false")
			}
			return nil
		},
	}, "number")
	return c, err
}
