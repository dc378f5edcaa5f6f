package terminal

import (
	"cmp"
	"context"
	"time"

	"go.etcd.io/bbolt"

	"github.com/ssg-safe/agent/ledger"
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
		ProviderID: token(l.ID), EndToEnd: token(l.EndToEnd), Charged: l.Asked, Ledger: l.Ledger, Received: l.Received, Refunded: cmp.Or(l.Returned, l.Refunded), Why: l.Why,
		Owner: t.cfg.Reconcile.Owner, Deadline: now.Add(t.cfg.Reconcile.Deadline),
	}
}

// CloseTicket records that somebody dealt with a ticket. Errors: those of
// ticket.Close, ErrBusy, ErrStopping, the store's.
func (t *Terminal) CloseTicket(ctx context.Context, id, by string, how ticket.How) (ticket.Ticket, error) {
	var closed ticket.Ticket
	err := t.record(ctx, &decision{name: "close ticket"}, func(tx *bbolt.Tx, at ledger.Stamp) (err error) {
		closed, err = ticket.Close(tx, at, id, by, how)
		return err
	}, func() { t.observe(Event{Kind: TicketClosed}) })
	return closed, err
}
