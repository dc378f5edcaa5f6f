package terminal

import (
	"fmt"

	"go.etcd.io/bbolt"

	"github.com/ssg-safe/agent/charge"
)

// Audit checks what the terminal keeps beside ledger and queue: that every
// snapshot, reference and refund can be read and lies under its own name. The
// boot check asks it, so that damage is found before anything rests on it.
func Audit(tx *bbolt.Tx) error {
	err := tx.Bucket(openBucket).ForEach(func(id, row []byte) error {
		var s snapshot
		if err := unseal(id, row, &s); err != nil {
			return fmt.Errorf("snapshot of charge %s: %w", id, err)
		}
		if s.Charge.ID != charge.ID(id) {
			return fmt.Errorf("snapshot of charge %s: it is of %s", id, s.Charge.ID)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if b := tx.Bucket(wrongPINs); b != nil {
		err = b.ForEach(func(id, row []byte) error { return unseal(id, row, &wrongPIN{}) })
		if err != nil {
			return fmt.Errorf("wrong PINs: %w", err)
		}
	}
	if b := tx.Bucket(refundBucket); b != nil {
		err = b.ForEach(func(key, row []byte) error {
			if err := unseal(key, row, &refundRow{}); err != nil {
				return fmt.Errorf("refund %s: %w", key, err)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return tx.Bucket(referenceBucket).ForEach(func(key, row []byte) error {
		var r reference
		if err := unseal(key, row, &r); err != nil {
			return fmt.Errorf("reference %q: %w", key, err)
		}
		return nil
	})
}
