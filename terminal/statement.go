package terminal

import (
	"cmp"
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
	var list []charge.Charge
	err := tx.Bucket(openBucket).ForEach(func(id, row []byte) error {
		var s snapshot
		if err := unseal(id, row, &s); err != nil {
			return fmt.Errorf("snapshot of charge %s: %w", id, err)
		}
		if _, static := s.Charge.Static(); static && s.Charge.State.Rank() < charge.Paid.Rank() {
			list = append(list, s.Charge)
		}
		return nil
	})
	slices.SortFunc(list, func(a, b charge.Charge) int {
		x, _ := a.Static()
		y, _ := b.Static()
		return cmp.Or(x.At.Compare(y.At), cmp.Compare(a.ID, b.ID))
	})
	return list, err
}

// RecordStatement records, in the caller's transaction, a line of the bank's
// statement that two people found to be the payment of such a charge: paid, a
// second payment, or one of another amount. Errors: ErrNoCharge,
// ledger.ErrConflict when the end-to-end id credits another charge, and what is
// missing in the line.
func RecordStatement(tx *bbolt.Tx, at ledger.Stamp, id charge.ID, amount money.Amount, endToEnd, by, second string) (charge.Fact, error) {
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
	line, err := s.Charge.ByStatement(amount, endToEnd, by, second)
	if err != nil {
		return nil, err
	}
	f := s.Charge.Credit(line)
	if f == nil {
		return nil, errors.New("this payment is recorded already")
	}
	if s.Charge, err = s.Charge.Apply(f); err != nil {
		return nil, err
	}
	switch _, err := ledger.Append(tx, at, entryOf(f)); {
	case errors.Is(err, ledger.ErrDuplicate):
		return nil, errors.New("this payment is recorded already")
	case err != nil:
		return nil, err
	}
	if row, err = seal(key, s); err != nil {
		return nil, err
	}
	return f, bucket.Put(key, row)
}
