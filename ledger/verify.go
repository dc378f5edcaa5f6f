package ledger

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"

	"go.etcd.io/bbolt"

	"github.com/ssg-safe/agent/money"
)

// ErrBroken: the ledger contradicts itself; the text says where.
var ErrBroken = errors.New("the ledger is broken")

// Report is what Verify found in order.
type Report struct {
	From    Head                     `json:"from"` // the chain was checked after this
	Head    Head                     `json:"head"`
	Entries uint64                   `json:"entries"`
	Bytes   int64                    `json:"bytes"`
	Sums    map[Account]money.Amount `json:"sums"`
}

// Verify checks the chain after from (zero: after the anchor, which is all of
// it): every entry can be read, is next in sequence, holds the hash of the one
// before, balances, and has its row in the index; and the head, the anchor, the
// cursors and the checkpoints agree with it. With a zero from it also checks
// that the index has no other rows. Private data, which no chain covers, is
// checked by its checksums. The first fault ends it with ErrBroken.
func Verify(tx *bbolt.Tx, from Head) (Report, error) {
	anchor, err := GetAnchor(tx)
	if err != nil {
		return Report{}, err
	}
	head, err := GetHead(tx)
	if err != nil {
		return Report{}, err
	}
	whole := from == Head{}
	switch {
	case whole:
		from = anchor
	case from.Position.Before(anchor.Position):
		from = anchor
	default:
		if err := holds(tx, from); err != nil {
			return Report{}, fmt.Errorf("%w: it does not hold the starting point %v %v", ErrBroken, from.Position, from.Hash)
		}
	}
	r := Report{From: from, Sums: make(map[Account]money.Amount)}
	last := from
	ops := tx.Bucket(bOps)
	index := ops.Cursor()
	for x := range examine(Entries(tx, Position{from.Epoch, from.Seq + 1})) {
		if err := verifyEntry(index, last, x, &r); err != nil {
			return r, err
		}
		last = Head{x.pos, x.hash}
	}
	r.Head = last
	if last != head {
		return r, fmt.Errorf("%w: the chain ends at %v %v, the head is %v %v", ErrBroken, last.Position, last.Hash, head.Position, head.Hash)
	}
	if whole {
		rows := uint64(0)
		c := ops.Cursor()
		for k, _ := c.First(); k != nil; k, _ = c.Next() {
			rows++
		}
		if rows != r.Entries {
			return r, fmt.Errorf("%w: %d entries, %d rows in the index", ErrBroken, r.Entries, rows)
		}
		if pos, ok := positionOf(first(tx.Bucket(bEntries))); ok && !anchor.Position.Before(pos) {
			return r, fmt.Errorf("%w: entry %v lies before the anchor", ErrBroken, pos)
		}
	}
	if err := verifyMeta(tx); err != nil {
		return r, err
	}
	return r, errors.Join(verifyCursors(tx), verifyCheckpoints(tx), verifyPrivate(tx))
}

func verifyEntry(index *bbolt.Cursor, last Head, x *examined, r *Report) error {
	broken := func(format string, args ...any) error {
		return fmt.Errorf("%w: entry %v: %w", ErrBroken, x.pos, fmt.Errorf(format, args...))
	}
	e := &x.entry
	switch {
	case x.err != nil:
		return broken("%w", x.err)
	case e.Position() != x.pos:
		return broken("it says it is %v", e.Position())
	case !e.Follows(last):
		return broken("it does not follow %v, whose hash is %v: its prev is %s", last.Position, last.Hash, e.Prev)
	}
	op, row := index.Seek([]byte(e.Op))
	if string(op) != e.Op || len(row) != 48 || !bytes.Equal(row[:16], x.pos.key()) || !bytes.Equal(row[16:], x.content[:]) {
		return broken("the index row of operation %s does not match", e.Op)
	}
	for _, p := range e.Postings {
		sum, err := r.Sums[p.Account].Add(p.Amount)
		if err != nil {
			return broken("sum of %s: %w", p.Account, err)
		}
		r.Sums[p.Account] = sum
	}
	r.Entries++
	r.Bytes += int64(len(x.raw))
	return nil
}

// is reports whether text is the hash in hex, without an allocation.
func (h Hash) is(text string) bool {
	var buf [64]byte
	return string(hex.AppendEncode(buf[:0], h[:])) == text
}

// holds checks that h is the anchor or an entry of the chain.
func holds(tx *bbolt.Tx, h Head) error {
	own, ok, err := headAt(tx, h.Position)
	switch {
	case err != nil:
		return err
	case !ok:
		return fmt.Errorf("%w: no entry %v", ErrMismatch, h.Position)
	case own != h:
		return fmt.Errorf("%w: entry %v has the hash %v, not %v", ErrMismatch, h.Position, own.Hash, h.Hash)
	}
	return nil
}

// headAt returns the chain's own head at a position that is not pruned, the
// anchor's included.
func headAt(tx *bbolt.Tx, p Position) (Head, bool, error) {
	anchor, err := GetAnchor(tx)
	if err != nil {
		return Head{}, false, err
	}
	if p == anchor.Position {
		return anchor, true, nil
	}
	raw := tx.Bucket(bEntries).Get(p.key())
	if raw == nil {
		return Head{}, false, nil
	}
	return Head{p, HashOf(raw)}, true, nil
}

func verifyMeta(tx *bbolt.Tx) error {
	_, err1 := needMeta(tx, kNSU, 8)
	_, err2 := needMeta(tx, kPepper, 32)
	return errors.Join(err1, err2)
}

func first(b *bbolt.Bucket) []byte {
	k, _ := b.Cursor().First()
	return k
}
