package fleet

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"go.etcd.io/bbolt"

	"github.com/ssg-safe/agent/fleet/wire"
	"github.com/ssg-safe/agent/store"
)

var (
	bFleet = []byte("fleet")
	// kSeen -> counter (8 bytes), Unix seconds (8 bytes), big-endian, sealed.
	kSeen = []byte("seen")
)

// ErrBroken: what the store holds about accepted messages cannot be read.
var ErrBroken = errors.New("the record of accepted messages is broken")

// Migrations make the bucket in which the highest accepted counter is kept.
func Migrations() []store.Migration {
	return []store.Migration{{Name: "fleet: highest counter", Do: func(tx *bbolt.Tx) error {
		_, err := tx.CreateBucket(bFleet)
		return err
	}}}
}

// seen is the highest counter accepted, and the newest time at which an
// accepted message was signed (Unix seconds).
type seen struct {
	ctr uint64
	iat int64
}

// over is the higher of each.
func (s seen) over(t seen) seen { return seen{max(s.ctr, t.ctr), max(s.iat, t.iat)} }

func getSeen(tx *bbolt.Tx) (seen, error) {
	b := tx.Bucket(bFleet)
	if b == nil {
		return seen{}, fmt.Errorf("%w: there is no bucket", ErrBroken)
	}
	row := b.Get(kSeen)
	if row == nil {
		return seen{}, nil
	}
	v, err := store.Unseal(kSeen, row)
	if err != nil || len(v) != 16 {
		return seen{}, fmt.Errorf("%w: %d bytes", ErrBroken, len(row))
	}
	return seen{binary.BigEndian.Uint64(v), int64(binary.BigEndian.Uint64(v[8:]))}, nil
}

// putSeen raises what is kept; it never lowers it.
func putSeen(tx *bbolt.Tx, s seen) error {
	had, err := getSeen(tx)
	if err != nil {
		return err
	}
	s = s.over(had)
	if s == had {
		return nil
	}
	v := binary.BigEndian.AppendUint64(nil, s.ctr)
	v = binary.BigEndian.AppendUint64(v, uint64(s.iat))
	return tx.Bucket(bFleet).Put(kSeen, store.Seal(kSeen, v))
}

// Floor is the newest time at which a message was signed that this store
// remembers: it has certainly passed. Zero: there was none.
func Floor(tx *bbolt.Tx) (time.Time, error) {
	s, err := getSeen(tx)
	if err != nil || s.iat <= 0 {
		return time.Time{}, err
	}
	return time.Unix(s.iat, 0).UTC(), nil
}

// Verify checks the bucket, for store.Options.Verify.
func Verify(tx *bbolt.Tx) error {
	s, err := getSeen(tx)
	if err == nil && (s.ctr > wire.MaxCounter || s.iat < 0) {
		err = fmt.Errorf("%w: counter %d, time %d", ErrBroken, s.ctr, s.iat)
	}
	return err
}
