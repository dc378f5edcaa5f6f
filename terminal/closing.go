package terminal

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"go.etcd.io/bbolt"

	"github.com/ssg-safe/agent/charge"
	"github.com/ssg-safe/agent/closing"
	"github.com/ssg-safe/agent/ledger"
	"github.com/ssg-safe/agent/printer"
	layout "github.com/ssg-safe/agent/printer/slip"
	"github.com/ssg-safe/agent/queue"
	"github.com/ssg-safe/agent/ticket"
)

// Books is what closings need to know of a terminal's merchants.
func Books(merchants []charge.Merchant) closing.Book {
	return closing.Book{Merchants: merchants, Open: func(tx *bbolt.Tx, id charge.ID) (charge.Charge, bool) {
		row := tx.Bucket(openBucket).Get([]byte(id))
		var s snapshot
		if row == nil || unseal([]byte(id), row, &s) != nil {
			return charge.Charge{}, false
		}
		return s.Charge, true
	}}
}

// ClosingRequest asks for an X, or for a Z.
type ClosingRequest struct {
	Merchant string // id; "" is the first merchant
	Z        bool   // close; else only look
	// Number makes a Z idempotent: the number that it will have. One that was
	// given already returns the closing as it is recorded, and prints nothing.
	// 0: whichever is next.
	Number uint64
	Print  bool
	By     string // who asks, as the entry's actor
}

// Closing looks at a merchant's running day or closes it, and prints it if that
// is wanted. It returns after the commit. Errors: closing.ErrNothing and
// closing.ErrNumber (of a Z), ErrNoPrinter, ErrBusy, ErrStopping, the store's.
func (t *Terminal) Closing(ctx context.Context, r ClosingRequest) (closing.Report, error) {
	if !r.Z && !r.Print { // commits nothing
		var report closing.Report
		err := t.store.View(func(tx *bbolt.Tx) (err error) {
			report, err = CloseBooks(tx, t.stamp(), Books(t.cfg.Merchants), t.merchantOf(r))
			return err
		})
		return report, err
	}
	type outcome struct {
		report closing.Report
		err    error
	}
	result := make(chan outcome, 1)
	err := t.ask(ctx, func() {
		t.closeBooks(r, func(report closing.Report, _ uint64, err error) { result <- outcome{report, err} })
	})
	if err != nil {
		return closing.Report{}, err
	}
	o, err := wait(ctx, t, result)
	return o.report, cmp.Or(err, o.err)
}

// closeBooks replies with the report and the number of the slip, 0 without one.
func (t *Terminal) closeBooks(r ClosingRequest, reply func(report closing.Report, nsu uint64, err error)) {
	switch {
	case t.stopping:
		reply(closing.Report{}, 0, ErrStopping)
		return
	case r.Print && t.printer == nil:
		reply(closing.Report{}, 0, ErrNoPrinter)
		return
	}
	r = t.merchantOf(r)
	at := t.stamp()
	var report closing.Report
	d := &decision{name: "closing"}
	d.with = func(tx *bbolt.Tx) (err error) {
		if report, err = CloseBooks(tx, at, Books(t.cfg.Merchants), r); err != nil || !r.Print {
			return err
		}
		d.issue[0].Tickets, err = openTickets(tx, r.Merchant)
		return err
	}
	if r.Print {
		d.issue = []slip{{Kind: SlipClosing, Merchant: r.Merchant, Copy: 1, Closing: &report, by: r.By}}
	}
	d.then = func(issued []queue.Job) {
		var nsu uint64
		for _, s := range issuedSlips(issued) {
			nsu = s.NSU
		}
		reply(report, nsu, nil)
	}
	d.refused = func(err error) {
		if known, ok := errors.AsType[knownClosing](err); ok {
			reply(known.Report, 0, nil)
			return
		}
		reply(closing.Report{}, 0, err)
	}
	t.commit(d)
}

// openTickets counts the differences of a merchant that wait for a person.
func openTickets(tx *bbolt.Tx, merchant string) (n int, err error) {
	open, err := ticket.List(tx, false)
	for _, o := range open {
		if o.Merchant == merchant {
			n++
		}
	}
	return n, err
}

// knownClosing says that the closing exists already.
type knownClosing struct{ closing.Report }

func (k knownClosing) Error() string { return fmt.Sprintf("closing %d is recorded", k.Number) }

// merchantOf puts the merchant's id in.
func (t *Terminal) merchantOf(r ClosingRequest) ClosingRequest {
	if m, ok := t.merchant(r.Merchant); ok {
		r.Merchant = m.ID
	}
	return r
}

// CloseBooks does it in the caller's transaction, as [Terminal.Closing] and a
// command without an agent do.
func CloseBooks(tx *bbolt.Tx, at ledger.Stamp, b closing.Book, r ClosingRequest) (closing.Report, error) {
	if !r.Z {
		return closing.Look(tx, b, r.Merchant, at.Wall)
	}
	if r.Number > 0 {
		next, err := closing.Next(tx, r.Merchant)
		if err != nil {
			return closing.Report{}, err
		}
		if r.Number != next {
			old, err := closing.Recorded(tx, r.Merchant, r.Number)
			if err != nil {
				return closing.Report{}, fmt.Errorf("%w: %d", err, next)
			}
			return closing.Report{}, knownClosing{old}
		}
	}
	return closing.Close(tx, at, b, r.Merchant, r.By)
}

// closingDocument lays a closing out. Its merchant need not be configured any
// more.
func (t *Terminal) closingDocument(s slip, m charge.Merchant) printer.Document {
	r := s.Closing
	doc := layout.Closing{
		Merchant: layout.Merchant{Name: cmp.Or(m.Name, r.Merchant), CNPJ: m.CNPJ, Lines: m.Header},
		Terminal: t.cfg.Code, NSU: s.NSU, Number: r.Number, Date: r.Date, From: r.From.String(), To: r.To.String(),
		Tickets: s.Tickets, At: s.Issued.In(m.Zone), Copy: s.Copy,
	}
	total := func(t closing.Total) layout.Total { return layout.Total{Count: t.Count, Sum: t.Sum} }
	for _, l := range r.Lines {
		doc.Providers = append(doc.Providers, layout.ClosingProvider{
			Name: l.Provider,
			Paid: total(l.Paid), Late: total(l.Late), Extra: total(l.Extra), Mismatch: total(l.Mismatch), Refund: total(l.Refunded), Unmatched: total(l.Unmatched),
			Created: total(l.Created), Expired: total(l.Expired), Cancelled: total(l.Cancelled), Failed: total(l.Failed),
		})
	}
	return doc.Document()
}
