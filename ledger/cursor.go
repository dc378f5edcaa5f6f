package ledger

import (
	"bytes"
	"errors"
	"fmt"

	"go.etcd.io/bbolt"
)

// ErrMismatch: a head that is not on this chain was given.
var ErrMismatch = errors.New("not the head of this ledger at that position")

// Cursor returns what a consumer has acknowledged. Its Seq is 0 until then.
func Cursor(tx *bbolt.Tx, consumer string) (Head, error) {
	b, err := getMeta(tx, cursorKey(consumer), headLen)
	if err != nil || b == nil {
		return Head{Position: Position{Epoch: 1}}, err
	}
	return headOf(b), nil
}

// Acknowledge moves a consumer's cursor: everything up to upTo is safe there.
// The hash must be this chain's own at that position, else ErrMismatch; what
// lies behind the cursor already changes nothing. The caller has checked who
// says so.
func Acknowledge(tx *bbolt.Tx, consumer string, upTo Head) error {
	if !isToken(consumer) {
		return fmt.Errorf("acknowledge: consumer %q", consumer)
	}
	now, err := Cursor(tx, consumer)
	if err != nil {
		return err
	}
	if upTo.Position.Before(now.Position) {
		return nil
	}
	if err := holds(tx, upTo); err != nil {
		return fmt.Errorf("acknowledge %s: %w", consumer, err)
	}
	return putMeta(tx, cursorKey(consumer), upTo.bytes())
}

func cursorKey(consumer string) []byte { return append(bytes.Clone(kCursor), consumer...) }

// Cursors returns what each consumer has acknowledged that ever acknowledged
// something.
func Cursors(tx *bbolt.Tx) (map[string]Head, error) {
	found := make(map[string]Head)
	c := tx.Bucket(bMeta).Cursor()
	for k, _ := c.Seek(kCursor); bytes.HasPrefix(k, kCursor); k, _ = c.Next() {
		b, err := needMeta(tx, k, headLen)
		if err != nil {
			return nil, err
		}
		found[string(k[len(kCursor):])] = headOf(b)
	}
	return found, nil
}

// verifyCursors checks that each cursor is on the chain, or behind the anchor.
func verifyCursors(tx *bbolt.Tx) error {
	anchor, err := GetAnchor(tx)
	if err != nil {
		return err
	}
	all, err := Cursors(tx)
	if err != nil {
		return err
	}
	for consumer, h := range all {
		if h.Position.Before(anchor.Position) {
			continue
		}
		if err := holds(tx, h); err != nil {
			return fmt.Errorf("%w: cursor of %s: %w", ErrBroken, consumer, err)
		}
	}
	return nil
}
