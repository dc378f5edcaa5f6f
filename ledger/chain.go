package ledger

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"

	"go.etcd.io/bbolt"

	"github.com/ssg-safe/agent/store"
)

// Buckets. Keys and numbers are big-endian.
var (
	bEntries     = []byte("ledger")             // position -> entry bytes
	bOps         = []byte("ledger_ops")         // operation id -> position, digest
	bMeta        = []byte("ledger_meta")        // the keys below, sealed
	bCheckpoints = []byte("ledger_checkpoints") // position -> Signed, sealed
	bPrivate     = []byte("ledger_private")     // subject -> time and data, sealed
	bPrivateAge  = []byte("ledger_private_age") // time, subject -> nothing

	kHead   = []byte("head")    // Head of the last entry
	kAnchor = []byte("anchor")  // Head of the last pruned entry
	kNSU    = []byte("nsu")     // last number given
	kPepper = []byte("pepper")  // key of KeyedHash
	kCursor = []byte("cursor/") // + consumer -> Head
)

// How full pages become when they are split: in buckets whose keys only grow,
// and in the index, where operation ids mostly begin with something that grows.
// bbolt's own 0.5 costs a fifth more file for each entry.
const (
	fillGrowing = 1.0
	fillIndex   = 0.8
)

// Migrations of the ledger, for the composition root.
var Migrations = []store.Migration{{Name: "ledger: entries, index, cursors, private data", Do: migrate1}}

func migrate1(tx *bbolt.Tx) error {
	for _, name := range [][]byte{bEntries, bOps, bMeta, bCheckpoints, bPrivate, bPrivateAge} {
		if _, err := tx.CreateBucket(name); err != nil {
			return err
		}
	}
	start := Head{Position: Position{Epoch: 1}}.bytes()
	pepper := make([]byte, 32)
	rand.Read(pepper)
	return errors.Join(putMeta(tx, kHead, start), putMeta(tx, kAnchor, start), putMeta(tx, kPepper, pepper), putMeta(tx, kNSU, make([]byte, 8)))
}

func putMeta(tx *bbolt.Tx, key, value []byte) error {
	return tx.Bucket(bMeta).Put(key, store.Seal(key, value))
}

// getMeta returns a value of the given size; nil when there is none.
func getMeta(tx *bbolt.Tx, key []byte, size int) ([]byte, error) {
	row := tx.Bucket(bMeta).Get(key)
	if row == nil {
		return nil, nil
	}
	value, err := store.Unseal(key, row)
	if err != nil || len(value) != size {
		return nil, fmt.Errorf("%w: %s cannot be read", ErrBroken, key)
	}
	return value, nil
}

// needMeta is getMeta for what every ledger has.
func needMeta(tx *bbolt.Tx, key []byte, size int) ([]byte, error) {
	value, err := getMeta(tx, key, size)
	if err == nil && value == nil {
		err = fmt.Errorf("%w: no %s", ErrBroken, key)
	}
	return value, err
}

func (p Position) key() []byte {
	k := make([]byte, 0, 16)
	k = binary.BigEndian.AppendUint64(k, p.Epoch)
	return binary.BigEndian.AppendUint64(k, p.Seq)
}

func positionOf(k []byte) (Position, bool) {
	if len(k) != 16 {
		return Position{}, false
	}
	return Position{binary.BigEndian.Uint64(k), binary.BigEndian.Uint64(k[8:])}, true
}

func (h Head) bytes() []byte { return append(h.Position.key(), h.Hash[:]...) }

const headLen = 48

// headOf reads the headLen bytes of a head.
func headOf(b []byte) Head {
	p, _ := positionOf(b[:16])
	return Head{p, Hash(b[16:])}
}

func metaHead(tx *bbolt.Tx, key []byte) (Head, error) {
	b, err := needMeta(tx, key, headLen)
	if err != nil {
		return Head{}, err
	}
	return headOf(b), nil
}

// GetHead returns the head of the chain. Its Seq is 0 while there is no entry.
func GetHead(tx *bbolt.Tx) (Head, error) { return metaHead(tx, kHead) }

// GetAnchor returns the last pruned entry; its Seq is 0 while none was pruned.
func GetAnchor(tx *bbolt.Tx) (Head, error) { return metaHead(tx, kAnchor) }

// Append records a draft as the next entry.
//
// If the operation id is recorded already, the existing entry is returned with
// ErrDuplicate when the content is the same (kind, actor, evidence, postings
// and data; not the time) and with ErrConflict when it is not. Other errors:
// ErrDraft, ErrUnbalanced. After any error the transaction holds no change of
// Append.
//
// Evidence and Data of the returned entry must not be modified.
func Append(tx *bbolt.Tx, at Stamp, d Draft) (Entry, error) {
	if err := errors.Join(d.check(), at.check()); err != nil {
		return Entry{}, fmt.Errorf("append %s: %w", d.Op, err)
	}
	evidence, err := value("evidence", d.Evidence)
	if err != nil {
		return Entry{}, fmt.Errorf("append %s: %w", d.Op, err)
	}
	data, err := value("data", d.Data)
	if err != nil {
		return Entry{}, fmt.Errorf("append %s: %w", d.Op, err)
	}
	head, err := GetHead(tx)
	if err != nil {
		return Entry{}, err
	}
	at = at.stored()
	next := Position{head.Epoch, head.Seq + 1}
	raw, content := encode(next, head.Hash, at, d, evidence, data)
	if len(raw) > maxEntry {
		return Entry{}, fmt.Errorf("append %s: %w: %d bytes, at most %d", d.Op, ErrDraft, len(raw), maxEntry)
	}
	digest := sha256.Sum256(raw[content:])
	op := []byte(d.Op)
	ops := tx.Bucket(bOps)
	ops.FillPercent = fillIndex
	if row := ops.Get(op); row != nil {
		return existing(tx, d.Op, row, digest)
	}
	entries := tx.Bucket(bEntries)
	entries.FillPercent = fillGrowing
	key := next.key()
	if err := entries.Put(key, raw); err != nil {
		return Entry{}, fmt.Errorf("append %s: %w", d.Op, err)
	}
	if err := ops.Put(op, append(key, digest[:]...)); err != nil {
		return Entry{}, fmt.Errorf("append %s: %w", d.Op, err)
	}
	if err := putMeta(tx, kHead, Head{next, HashOf(raw)}.bytes()); err != nil {
		return Entry{}, fmt.Errorf("append %s: %w", d.Op, err)
	}
	return Entry{
		V: Version, Epoch: next.Epoch, Seq: next.Seq, Prev: head.Hash.String(), At: at,
		Op: d.Op, Kind: d.Kind, Actor: d.Actor, Evidence: evidence, Postings: d.Postings, Data: data,
	}, nil
}

func existing(tx *bbolt.Tx, op string, row []byte, digest Hash) (Entry, error) {
	e, err := indexed(tx, op, row)
	switch {
	case err != nil:
		return Entry{}, err
	case !bytes.Equal(row[16:], digest[:]):
		return e, fmt.Errorf("append %s: %w: entry %v", op, ErrConflict, e.Position())
	}
	return e, fmt.Errorf("append %s: %w: entry %v", op, ErrDuplicate, e.Position())
}

// indexed returns the entry to which a row of the operation index points.
func indexed(tx *bbolt.Tx, op string, row []byte) (Entry, error) {
	if len(row) != 48 {
		return Entry{}, fmt.Errorf("%w: index row of %s", ErrBroken, op)
	}
	raw := tx.Bucket(bEntries).Get(row[:16])
	if raw == nil {
		return Entry{}, fmt.Errorf("%w: index row of %s points to no entry", ErrBroken, op)
	}
	return Decode(bytes.Clone(raw))
}

// Lookup returns the entry of an operation id. After an unknown outcome it
// says whether the operation happened.
func Lookup(tx *bbolt.Tx, op string) (Entry, bool, error) {
	row := tx.Bucket(bOps).Get([]byte(op))
	if row == nil {
		return Entry{}, false, nil
	}
	e, err := indexed(tx, op, row)
	return e, err == nil, err
}

// Raw is an entry as it is stored.
type Raw struct {
	Position
	Bytes []byte
}

// Read returns copies of at most max entries, from the given position on, it
// included. A zero position is the oldest entry.
func Read(tx *bbolt.Tx, from Position, max int) ([]Raw, error) {
	var rs []Raw
	for pos, raw := range Entries(tx, from) {
		if len(rs) >= max {
			break
		}
		rs = append(rs, Raw{pos, bytes.Clone(raw)})
	}
	return rs, nil
}

// Entries iterates from the given position on, it included. The bytes are valid
// only during the transaction and must not be modified.
func Entries(tx *bbolt.Tx, from Position) iter.Seq2[Position, []byte] {
	return func(yield func(Position, []byte) bool) {
		c := tx.Bucket(bEntries).Cursor()
		for k, v := c.Seek(from.key()); k != nil; k, v = c.Next() {
			pos, _ := positionOf(k)
			if !yield(pos, v) {
				return
			}
		}
	}
}

// Backward iterates over the entries before a position, newest first; before a
// zero position is the newest entry. The bytes are as those of [Entries].
func Backward(tx *bbolt.Tx, before Position) iter.Seq2[Position, []byte] {
	return func(yield func(Position, []byte) bool) {
		c := tx.Bucket(bEntries).Cursor()
		k, v := c.Last()
		if before != (Position{}) {
			if at, _ := c.Seek(before.key()); at != nil {
				k, v = c.Prev()
			} else {
				k, v = c.Last()
			}
		}
		for ; k != nil; k, v = c.Prev() {
			pos, _ := positionOf(k)
			if !yield(pos, v) {
				return
			}
		}
	}
}

// entryCost is what an entry of 470 bytes takes in the file at most, in bytes:
// measured 680 in large commits and 900 in commits of its own, with a payable
// code of 200 bytes beside every fifth.
const entryCost = 1000

// Capacity is how many entries of usual size a store file of the given size in
// bytes holds before the soft limit. The default file of 128 MiB holds 125,829:
// at 80 charges a day of 5 entries each, 314 days without a hub.
func Capacity(fileSize int64) int64 { return (fileSize - fileSize/16) / entryCost }

// NextNSU returns the next number of those that people hold in hand: 1, 2, 3 …
// without gaps, because it is part of the transaction.
func NextNSU(tx *bbolt.Tx) (uint64, error) {
	last, err := needMeta(tx, kNSU, 8)
	if err != nil {
		return 0, err
	}
	n := binary.BigEndian.Uint64(last) + 1
	return n, putMeta(tx, kNSU, binary.BigEndian.AppendUint64(nil, n))
}
