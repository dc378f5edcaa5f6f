package ledger

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"fmt"
	"time"

	"go.etcd.io/bbolt"
)

// Retention says what Prune may delete.
type Retention struct {
	// Consumers that must have acknowledged an entry; at least one.
	Consumers []string
	// Key that signed the checkpoints: pruning stops only at such a one.
	Key ed25519.PublicKey
	// Before: entries from before then go; zero: none by age. It must rest on a
	// time that has certainly passed. Of the entries' walls only those of quality
	// synced or anchored count.
	Before time.Time
	// Entries to keep at most: above it the oldest go, whatever their age. 0:
	// no limit.
	Entries uint64
	// Keep: entries after this position stay in any case. Zero: no limit.
	Keep Position
	// Limit of entries to delete in one call, so that it fits into the reserve
	// of a full store; 0 is 64. It is exceeded only if the nearest checkpoint
	// lies further.
	Limit uint64
	// Sign, when set, makes a checkpoint where none lies within Limit of what may
	// go. A store that is full needs it: it cannot wait for the next one.
	Sign func(Head) (Signed, error)
}

const pruneLimit = 64

func (r Retention) most() uint64 {
	if r.Limit == 0 {
		return pruneLimit
	}
	return r.Limit
}

// Prune deletes the oldest entries with their index rows, and returns how many.
// It deletes nothing that a consumer has not acknowledged, and stops only at a
// signed checkpoint, whose head becomes the anchor. Call it again while it
// returns more than 0.
func Prune(tx *bbolt.Tx, r Retention) (int, error) {
	anchor, err := GetAnchor(tx)
	if err != nil {
		return 0, err
	}
	limit, err := acknowledged(tx, r.Consumers)
	if err != nil {
		return 0, err
	}
	if r.Keep != (Position{}) && r.Keep.Before(limit) {
		limit = r.Keep
	}
	if r.Sign != nil {
		if err := r.mark(tx, anchor.Position, limit); err != nil {
			return 0, err
		}
	}
	// What may go is looked for only as far as one call can go.
	farthest, ok, err := r.checkpoint(tx, anchor.Position, limit)
	if err != nil || !ok {
		return 0, err
	}
	want, err := r.wanted(tx, anchor.Position, farthest.Position)
	if err != nil {
		return 0, err
	}
	to, ok, err := r.checkpoint(tx, anchor.Position, want)
	if err != nil || !ok {
		return 0, err
	}
	if err := holds(tx, to); err != nil {
		return 0, fmt.Errorf("%w: checkpoint: %w", ErrBroken, err)
	}
	n, err := deleteThrough(tx, to.Position)
	if err != nil {
		return 0, fmt.Errorf("prune ledger: %w", err)
	}
	return n, putMeta(tx, kAnchor, to.bytes())
}

// acknowledged is the position up to which every consumer has everything.
func acknowledged(tx *bbolt.Tx, consumers []string) (Position, error) {
	if len(consumers) == 0 {
		return Position{}, errors.New("prune ledger: no consumers given")
	}
	var low Position
	for i, name := range consumers {
		h, err := Cursor(tx, name)
		if err != nil {
			return Position{}, err
		}
		if i == 0 || h.Position.Before(low) {
			low = h.Position
		}
	}
	return low, nil
}

// wanted is the newest entry, not after end, that may go by number or age.
func (r Retention) wanted(tx *bbolt.Tx, anchor, end Position) (Position, error) {
	want := anchor
	if r.Entries > 0 {
		var err error
		if want, err = r.surplus(tx, anchor, end); err != nil {
			return Position{}, err
		}
	}
	if r.Before.IsZero() {
		return want, nil
	}
	for pos, raw := range Entries(tx, Position{anchor.Epoch, anchor.Seq + 1}) {
		e, err := Decode(raw)
		if err != nil {
			return Position{}, fmt.Errorf("%w: entry %v: %w", ErrBroken, pos, err)
		}
		if !e.At.Quality.trusted() {
			continue // as old as the next one that knows
		}
		if !e.At.Wall.Before(r.Before) {
			return want, nil
		}
		if !pos.Before(end) {
			return end, nil
		}
		if want.Before(pos) {
			want = pos
		}
	}
	return want, nil
}

// surplus is the newest entry, not after end, that is more than r.Entries; the
// anchor when there are not so many.
func (r Retention) surplus(tx *bbolt.Tx, anchor, end Position) (Position, error) {
	head, err := GetHead(tx)
	if err != nil {
		return Position{}, err
	}
	newest := anchor
	if head.Epoch == anchor.Epoch {
		newest.Seq = max(anchor.Seq, head.Seq-min(head.Seq, r.Entries))
	} else if first, ok := Last(tx, r.Entries); ok {
		c := tx.Bucket(bEntries).Cursor()
		c.Seek(first.key())
		if k, _ := c.Prev(); k != nil {
			newest, _ = positionOf(k)
		}
	}
	if end.Before(newest) {
		return end, nil
	}
	return newest, nil
}

func (q Quality) trusted() bool { return q == Synced || q == Anchored }

// checkpoint chooses the last signed checkpoint after anchor and not after
// limit that keeps within r.Limit, or else the first one.
func (r Retention) checkpoint(tx *bbolt.Tx, anchor, limit Position) (Head, bool, error) {
	most := r.most()
	var best Head
	found := false
	c := tx.Bucket(bCheckpoints).Cursor()
	for k, v := c.Seek(Position{anchor.Epoch, anchor.Seq + 1}.key()); k != nil && bytes.Compare(k, limit.key()) <= 0; k, v = c.Next() {
		if pos, _ := positionOf(k); found && (pos.Epoch != anchor.Epoch || pos.Seq-anchor.Seq > most) {
			break
		}
		s, err := readCheckpoint(k, v)
		if err != nil {
			return Head{}, false, err
		}
		cp, err := s.Check(r.Key)
		if err != nil {
			return Head{}, false, fmt.Errorf("prune ledger: %w", err)
		}
		best, found = cp.Head, true
	}
	return best, found, nil
}

// mark keeps a checkpoint as far behind the anchor as one call can go, unless
// there is one.
func (r Retention) mark(tx *bbolt.Tx, anchor, limit Position) error {
	to, err := r.wanted(tx, anchor, limit)
	if err != nil {
		return err
	}
	if to.Epoch == anchor.Epoch {
		to.Seq = min(to.Seq, anchor.Seq+r.most())
	}
	if _, ok, err := r.checkpoint(tx, anchor, to); err != nil || ok || !anchor.Before(to) {
		return err
	}
	head, ok, err := headAt(tx, to)
	if err != nil || !ok {
		return err
	}
	s, err := r.Sign(head)
	if err != nil {
		return err
	}
	return PutCheckpoint(tx, s, r.Key)
}

func deleteThrough(tx *bbolt.Tx, last Position) (int, error) {
	entries, ops, checkpoints := tx.Bucket(bEntries), tx.Bucket(bOps), tx.Bucket(bCheckpoints)
	n := 0
	var keys, opIDs [][]byte
	for pos, raw := range Entries(tx, Position{}) {
		if last.Before(pos) {
			break
		}
		e, err := Decode(raw)
		if err != nil {
			return 0, err
		}
		keys, opIDs = append(keys, pos.key()), append(opIDs, []byte(e.Op))
	}
	for i := range keys {
		if err := errors.Join(entries.Delete(keys[i]), ops.Delete(opIDs[i])); err != nil {
			return 0, err
		}
		n++
	}
	var old [][]byte
	c := checkpoints.Cursor()
	for k, _ := c.First(); k != nil && bytes.Compare(k, last.key()) < 0; k, _ = c.Next() {
		old = append(old, bytes.Clone(k))
	}
	for _, k := range old {
		if err := checkpoints.Delete(k); err != nil {
			return 0, err
		}
	}
	return n, nil
}
