package ledger

import (
	"bytes"
	"errors"
	"fmt"

	"go.etcd.io/bbolt"
)

// KindEpoch is the kind of the first entry of every epoch but the first. Its
// prev is the hash of the last entry of the epoch before, so that the chain
// goes on, and its data is an [EpochData].
const KindEpoch = "ledger.epoch"

// EpochData is the data of the entry that begins an epoch.
type EpochData struct {
	// After is the head that the epoch continues.
	After Head `json:"after"`
	// Reason in one stable word, such as "restored".
	Reason string `json:"reason"`
}

// BeginEpoch begins a new epoch and returns its first entry, which names the
// old head. A store that was restored needs one: what it held after the backup
// was made is lost here, and may be known elsewhere under the same numbers.
//
// The number of the epoch is the wall clock in Unix seconds, or one more than
// the last where that is more: two restores of one backup must not begin the
// same epoch. A clock that is wrong can make them do so; the hub then sees a
// fork.
func BeginEpoch(tx *bbolt.Tx, at Stamp, who, reason string) (Entry, error) {
	old, err := GetHead(tx)
	if err != nil {
		return Entry{}, err
	}
	next := Head{Position{Epoch: max(old.Epoch+1, uint64(max(at.Wall.Unix(), 0)))}, old.Hash}
	if err := putMeta(tx, kHead, next.bytes()); err != nil {
		return Entry{}, err
	}
	e, err := Append(tx, at, Draft{
		Op: fmt.Sprintf("epoch/%d", next.Epoch), Kind: KindEpoch, Actor: who, Data: EpochData{After: old, Reason: reason},
	})
	if err != nil {
		return Entry{}, errors.Join(fmt.Errorf("begin epoch %d: %w", next.Epoch, err), putMeta(tx, kHead, old.bytes()))
	}
	return e, nil
}

// Follows reports whether an entry is the next one of a chain after head: the
// next number of the same epoch, or the first one of a later epoch, and the
// hash of what lies before it.
func (e Entry) Follows(head Head) bool {
	next := e.Epoch == head.Epoch && e.Seq == head.Seq+1 ||
		e.Epoch > head.Epoch && e.Seq == 1 && e.Kind == KindEpoch
	return next && head.Hash.is(e.Prev)
}

// Last is the position of the n-th newest entry, or of the oldest one when
// there are fewer; false when there are none.
func Last(tx *bbolt.Tx, n uint64) (Position, bool) {
	c := tx.Bucket(bEntries).Cursor()
	var at []byte
	for k, _ := c.Last(); k != nil && n > 0; k, _ = c.Prev() {
		at = bytes.Clone(k)
		n--
	}
	return positionOf(at)
}
