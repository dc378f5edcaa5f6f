package terminal

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"go.etcd.io/bbolt"

	"github.com/ssg-safe/agent/charge"
	"github.com/ssg-safe/agent/ledger"
	"github.com/ssg-safe/agent/money"
)

// Unfound lists the charges that were made while their provider was out of reach
// and that are not settled, oldest first.
func Unfound(tx *bbolt.Tx) ([]charge.Charge, error) {
	list, err := kept(tx, func(c charge.Charge) bool {
		_, static := c.Static()
		return static && c.State.Rank() < charge.Paid.Rank()
	})
	slices.SortFunc(list, func(a, b charge.Charge) int {
		x, _ := a.Static()
		y, _ := b.Static()
		return cmp.Or(x.At.Compare(y.At), cmp.Compare(a.ID, b.ID))
	})
	return list, err
}

// Unsettled returns the charges whose outcome is not known: they are being made,
// or may still be paid in time.
func Unsettled(tx *bbolt.Tx) ([]charge.Charge, error) {
	return kept(tx, func(c charge.Charge) bool { return c.State == charge.Created || c.State == charge.Pending })
}

// kept returns those charges beside the ledger that are wanted.
func kept(tx *bbolt.Tx, wanted func(charge.Charge) bool) ([]charge.Charge, error) {
	var list []charge.Charge
	err := tx.Bucket(openBucket).ForEach(func(id, row []byte) error {
		var s snapshot
		if err := unseal(id, row, &s); err != nil {
			return fmt.Errorf("snapshot of charge %s: %w", id, err)
		}
		if wanted(s.Charge) {
			list = append(list, s.Charge)
		}
		return nil
	})
	return list, err
}

// Errors of [Terminal.MatchStatement] and [RecordStatement].
var (
	// ErrRecorded: the same payment of the same charge is in the ledger.
	ErrRecorded = errors.New("this payment is recorded already")
	// ErrClaimed: the payment belongs to another charge.
	ErrClaimed = errors.New("this end-to-end id credits another charge")
)

// StatementLine is a line of the bank's statement that two people found to be the
// payment of a charge made here.
type StatementLine struct {
	Amount   money.Amount `json:"amount"`
	EndToEnd string       `json:"endToEndId"`
	By       string       `json:"by"`     // who found it
	Second   string       `json:"second"` // who checked it
}

// MatchStatement records a line as [RecordStatement] does, while the terminal runs.
// It returns what it recorded after the commit. Errors: ErrNoCharge, ErrRecorded,
// ErrClaimed, what is missing in the line, ErrStopping, the store's.
func (t *Terminal) MatchStatement(ctx context.Context, id charge.ID, line StatementLine) (charge.Fact, error) {
	return t.credit(ctx, id, func(c charge.Charge) (charge.Fact, func(*bbolt.Tx) error, error) {
		f, err := line.of(c)
		return f, func(tx *bbolt.Tx) error { return unclaimed(tx, f) }, err
	})
}

// of is the fact that the line is for a charge.
func (s StatementLine) of(c charge.Charge) (charge.Fact, error) {
	ev, err := c.ByStatement(s.Amount, s.EndToEnd, s.By, s.Second)
	if err != nil {
		return nil, err
	}
	f := c.Credit(ev)
	if f == nil {
		return nil, ErrRecorded
	}
	return f, nil
}

// unclaimed fails when a person would record a payment that is recorded.
func unclaimed(tx *bbolt.Tx, f charge.Fact) error {
	_, found, err := ledger.Lookup(tx, f.Op())
	_, odd := f.(charge.MismatchFact)
	switch {
	case err != nil:
		return err
	case found && odd:
		return ErrRecorded
	case found:
		return ErrClaimed
	}
	return nil
}

// RecordStatement records, in the caller's transaction, a line of the bank's
// statement that two people found to be the payment of such a charge: paid, a
// second payment, or one of another amount. Errors: ErrNoCharge, ErrRecorded,
// ErrClaimed, and what is missing in the line.
func RecordStatement(tx *bbolt.Tx, at ledger.Stamp, id charge.ID, line StatementLine) (charge.Fact, error) {
	key := []byte(id)
	bucket := tx.Bucket(openBucket)
	row := bucket.Get(key)
	if row == nil {
		return nil, fmt.Errorf("%w that waits to be found: %s", ErrNoCharge, id)
	}
	var s snapshot
	if err := unseal(key, row, &s); err != nil {
		return nil, fmt.Errorf("snapshot of charge %s: %w", id, err)
	}
	f, err := line.of(s.Charge)
	if err != nil {
		return nil, err
	}
	if err := unclaimed(tx, f); err != nil {
		return nil, err
	}
	if s.Charge, err = s.Charge.Apply(f); err != nil {
		return nil, err
	}
	if _, err := ledger.Append(tx, at, entryOf(f)); err != nil {
		return nil, err
	}
	if row, err = seal(key, s); err != nil {
		return nil, err
	}
	return f, bucket.Put(key, row)
}
