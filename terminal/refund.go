package terminal

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"go.etcd.io/bbolt"

	"github.com/ssg-safe/agent/charge"
	"github.com/ssg-safe/agent/ledger"
	"github.com/ssg-safe/agent/money"
	"github.com/ssg-safe/agent/providers"
	"github.com/ssg-safe/agent/queue"
	"github.com/ssg-safe/agent/reconcile"
	"github.com/ssg-safe/agent/ticket"
)

// Refund is the hub's signed word that a payment of a charge, or a part of it, went
// back to its payer.
type Refund struct {
	ID       string // the refund's own
	Charge   charge.ID
	Amount   money.Amount
	EndToEnd string // the payment
	Sent     string // end-to-end id of the money that went; empty: not said
	// Digest is of the provider's answer that shows it; By the person who signed for
	// it where no provider tells.
	Digest, By string
	// CameBack: the refund was settled, and its money came back after that.
	CameBack bool
}

// RefundOutcome is what became of the hub's word about a refund.
type RefundOutcome string

// The outcomes. All but RefundKnown are on disk when they are told.
const (
	RefundRecorded  RefundOutcome = "recorded"  // a fact of the charge, with its postings
	RefundKnown     RefundOutcome = "known"     // nothing new
	RefundUnmatched RefundOutcome = "unmatched" // it does not fit the charge: suspense, and a ticket
	RefundNowhere   RefundOutcome = "nowhere"   // the ledger has no such charge: likewise
)

// Why the hub's word about a refund fits nothing.
const (
	whyNoCharge = "the ledger has no such charge (any more)"
	whyCameBack = "the refund is recorded, and its money came back"
)

// refundBucket has a row for every refund that was ever recorded, by payment and id, and by
// payment and what was sent: entries are pruned, and the hub may say the same again years
// later. It is made with the first one.
var refundBucket = []byte("refunds")

type refundRow struct {
	ID     string        `json:"refund,omitempty"` // of one in suspense
	Charge charge.ID     `json:"charge"`
	Amount money.Amount  `json:"amount"`
	How    RefundOutcome `json:"how"`
	Back   bool          `json:"came_back,omitempty"`
}

// waits reports whether the money is in suspense, and may find its payment yet: a terminal
// that was restored may hear of a refund before it learns again of the payment.
func (r refundRow) waits() bool { return r.How == RefundUnmatched && !r.Back }

func refundKey(endToEnd, name string) []byte { return []byte(endToEnd + "/" + name) }

// findRefund finds a refund of a payment by the first of its names that is known.
func findRefund(tx *bbolt.Tx, endToEnd string, names ...string) (row refundRow, found bool, err error) {
	b := tx.Bucket(refundBucket)
	if b == nil {
		return row, false, nil
	}
	for _, name := range names {
		key := refundKey(endToEnd, name)
		raw := b.Get(key)
		if raw == nil || name == "" {
			continue
		}
		if err := unseal(key, raw, &row); err != nil {
			return row, false, fmt.Errorf("refund %s: %w", key, err)
		}
		return row, true, nil
	}
	return row, false, nil
}

func putRefund(tx *bbolt.Tx, row refundRow, endToEnd string, names ...string) error {
	b, err := tx.CreateBucketIfNotExists(refundBucket)
	if err != nil {
		return err
	}
	for _, name := range names {
		if name == "" {
			continue
		}
		key := refundKey(endToEnd, name)
		raw, err := seal(key, row)
		if err != nil {
			return err
		}
		if err := b.Put(key, raw); err != nil {
			return err
		}
	}
	return nil
}

// settleRefund notes that a refund is recorded at its payment. What it took out of suspense
// while it fitted none goes back there.
func settleRefund(tx *bbolt.Tx, at ledger.Stamp, c charge.Charge, r charge.RefundedFact) error {
	row, known, err := findRefund(tx, r.EndToEnd, r.ID, r.Sent)
	if err != nil {
		return err
	}
	if known && row.waits() {
		f := charge.LostRefundFact{ID: row.ID, Of: row.Charge, Merchant: c.Merchant, Amount: row.Amount, EndToEnd: r.EndToEnd, Found: true}
		f.Provider, _ = c.Through()
		_, err := ledger.Append(tx, at, ledger.Draft{Op: f.Op(), Kind: charge.KindLostRefund, Actor: actor, Postings: f.Postings(), Data: f, Evidence: r.Evidence})
		if err != nil && !errors.Is(err, ledger.ErrDuplicate) {
			return fmt.Errorf("append %s: %w", charge.KindLostRefund, err)
		}
	}
	lost := row.ID
	row = refundRow{Charge: r.Charge, Amount: r.Amount, How: RefundRecorded, Back: row.Back}
	return putRefund(tx, row, r.EndToEnd, r.ID, r.Sent, lost)
}

// errRefundKnown refuses what is recorded already.
var errRefundKnown = errors.New("the refund is recorded already")

// Refund records the hub's word about a refund: as a fact of the charge, or, where it
// fits nothing, in suspense and with a ticket. with is written in the same transaction,
// also its error refuses it. The same word again changes nothing. Errors: ErrBusy,
// ErrStopping, with's, the store's; after those nothing has changed.
func (t *Terminal) Refund(ctx context.Context, r Refund, with func(*bbolt.Tx) error) (RefundOutcome, error) {
	type outcome struct {
		what RefundOutcome
		err  error
	}
	if r.Sent == r.EndToEnd {
		r.Sent = "" // of the money that came: somebody took down the wrong one
	}
	result := make(chan outcome, 1)
	err := t.askPatiently(ctx, func() {
		reply := func(what RefundOutcome, err error) {
			if errors.Is(err, errRefundKnown) {
				what, err = RefundKnown, nil
			}
			result <- outcome{what, err}
		}
		t.lookFor(r.Charge, func(l *live, err error) {
			switch {
			case errors.Is(err, ErrNoCharge) || err == nil && l.charge.ID == "":
				t.unmatched(r, nil, whyNoCharge, with, reply)
			case err != nil:
				reply("", err)
			default:
				l.later(func() { t.refund(l, r, with, reply) })
			}
		})
	})
	if err != nil {
		return "", err
	}
	o, err := wait(ctx, t, result)
	return o.what, cmp.Or(err, o.err)
}

// refund is Refund of a charge that is not being changed meanwhile.
func (t *Terminal) refund(l *live, r Refund, with func(*bbolt.Tx) error, reply func(RefundOutcome, error)) {
	if r.CameBack {
		t.unmatched(r, &l.charge, whyCameBack, with, reply)
		return
	}
	f, err := l.charge.GiveBack(providers.Return{ID: r.ID, Sent: r.Sent, Amount: r.Amount}, charge.Evidence{
		Source: charge.FromHub, Word: "settled", EndToEnd: r.EndToEnd, Digest: r.Digest, By: r.By,
	})
	switch {
	case errors.Is(err, charge.ErrRefund):
		t.unmatched(r, &l.charge, err.Error(), with, reply)
		return
	case f == nil:
		reply(RefundKnown, err)
		return
	}
	once := func(tx *bbolt.Tx) error {
		_, recorded, err := ledger.Lookup(tx, f.Op())
		if err == nil && !recorded {
			var row refundRow
			row, recorded, err = findRefund(tx, r.EndToEnd, r.ID)
			recorded = recorded && !row.waits()
		}
		switch {
		case err != nil:
			return err
		case recorded:
			return errRefundKnown
		}
		return with(tx)
	}
	t.learnWith(l, []charge.Fact{f}, once, func(_ charge.Fact, err error) { reply(RefundRecorded, err) })
}

// unmatched records a refund that fits nothing; c is the charge, nil: there is none.
func (t *Terminal) unmatched(r Refund, c *charge.Charge, why string, with func(*bbolt.Tx) error, reply func(RefundOutcome, error)) {
	what, f := RefundUnmatched, charge.LostRefundFact{ID: r.ID, Of: r.Charge, Amount: r.Amount, EndToEnd: r.EndToEnd, Back: r.CameBack}
	now := t.clock.Wall()
	amount := r.Amount
	note := ticket.Ticket{
		Kind: string(reconcile.RefundMismatch), Charge: r.Charge, EndToEnd: reconcile.Token(r.EndToEnd), Refunded: &amount, Why: why,
		Owner: t.cfg.Reconcile.Owner, Deadline: now.Add(t.cfg.Reconcile.Deadline),
	}
	if c != nil {
		f.Merchant = c.Merchant
		f.Provider, _ = c.Through()
		asked := c.Amount
		note.Charged = &asked
	} else if what = RefundNowhere; len(t.cfg.Merchants) == 1 {
		f.Merchant = t.cfg.Merchants[0].ID
	}
	note.Merchant, note.Provider = f.Merchant, cmp.Or(f.Provider, string(charge.FromHub))
	at := t.stamp()
	d := &decision{name: "unmatched refund"}
	d.with = func(tx *bbolt.Tx) error {
		row, recorded, err := findRefund(tx, r.EndToEnd, r.ID, r.Sent)
		switch {
		case err != nil:
			return err
		case !r.CameBack && recorded && row.Amount == r.Amount, r.CameBack && (!recorded || row.Back):
			return errRefundKnown // of one that was never told, nothing came back
		}
		open, err := ticket.Counted(tx, now)
		if err == nil && open.Open >= ticket.MaxOpen {
			err = fmt.Errorf("%w: %d tickets are open", ErrBusy, open.Open)
		}
		if err != nil {
			return err
		}
		if _, _, err := ticket.Open(tx, at, actor, f.Op(), note); err != nil {
			return err
		}
		if recorded && !r.CameBack { // over another amount: the money is in the books
			row.Amount = r.Amount
			return errors.Join(putRefund(tx, row, r.EndToEnd, r.ID), with(tx))
		}
		if _, err := ledger.Append(tx, at, ledger.Draft{
			Op: f.Op(), Kind: charge.KindLostRefund, Actor: actor, Postings: f.Postings(), Data: f,
			Evidence: charge.Evidence{Source: charge.FromHub, EndToEnd: r.EndToEnd, Amount: &amount, Digest: r.Digest, By: r.By},
		}); err != nil && !errors.Is(err, ledger.ErrDuplicate) {
			return err
		}
		if !recorded {
			row = refundRow{ID: r.ID, Charge: r.Charge, Amount: r.Amount, How: what}
		}
		row.Back = r.CameBack
		return errors.Join(putRefund(tx, row, r.EndToEnd, r.ID, r.Sent), with(tx))
	}
	d.then = func([]queue.Job) {
		t.log.Error("a refund fits nothing: a person must look", "refund", r.ID, "charge", r.Charge, "amount", r.Amount, "why", why)
		t.observe(Event{Kind: TicketOpened})
		reply(what, nil)
	}
	d.refused = func(err error) { reply("", err) }
	t.commit(d)
}
