package terminal

import (
	"context"
	"time"

	"go.etcd.io/bbolt"

	"github.com/ssg-safe/agent/queue"
	"github.com/ssg-safe/agent/reconcile"
	"github.com/ssg-safe/agent/ticket"
)

// ripe reports whether a difference is more than two moments apart.
func ripe(l reconcile.Line, now time.Time) bool {
	switch l.Class {
	case reconcile.Missing, reconcile.Unknown, reconcile.Conflict:
		return l.At.IsZero() || now.Sub(l.At) >= ripening
	}
	return true
}

// ticketOf is the ticket of a difference.
func (t *Terminal) ticketOf(l reconcile.Line, now time.Time) ticket.Ticket {
	token := func(id string) string {
		if id == "" {
			return ""
		}
		return reconcile.Token(id)
	}
	return ticket.Ticket{
		Kind: string(l.Class), Charge: l.Charge, Merchant: l.Merchant, Provider: l.Provider,
		ProviderID: token(l.ID), EndToEnd: token(l.EndToEnd), Charged: l.Asked, Ledger: l.Ledger, Received: l.Received, Why: l.Why,
		Owner: t.cfg.Reconcile.Owner, Deadline: now.Add(t.cfg.Reconcile.Deadline),
	}
}

// CloseTicket records that somebody dealt with a ticket. Errors: those of
// ticket.Close, ErrBusy, ErrStopping, the store's.
func (t *Terminal) CloseTicket(ctx context.Context, id, by string, how ticket.How) (ticket.Ticket, error) {
	type outcome struct {
		ticket ticket.Ticket
		err    error
	}
	result := make(chan outcome, 1)
	err := t.ask(ctx, func() {
		if t.stopping {
			result <- outcome{err: ErrStopping}
			return
		}
		at := t.stamp()
		var closed ticket.Ticket
		d := &decision{name: "close ticket"}
		d.with = func(tx *bbolt.Tx) (err error) {
			closed, err = ticket.Close(tx, at, id, by, how)
			return err
		}
		d.then = func([]queue.Job) {
			t.observe(Event{Kind: TicketClosed})
			result <- outcome{ticket: closed}
		}
		d.refused = func(err error) { result <- outcome{err: err} }
		t.commit(d)
	})
	if err != nil {
		return ticket.Ticket{}, err
	}
	o, err := wait(ctx, t, result)
	if err == nil {
		err = o.err
	}
	return o.ticket, err
}
