package store

import (
	"encoding/binary"
	"fmt"
	"time"

	"go.etcd.io/bbolt"
)

// Migration is one step of the file's layout. Its number is its position in
// Options.Migrations, so the list only ever grows at its end.
type Migration struct {
	// Name for messages.
	Name string
	// Do runs in a transaction of its own.
	Do func(*bbolt.Tx) error
}

// The store's own record: bucket "store" with the number of migrations done,
// the size of the file and a counter of openings (all big-endian uint64).
var (
	recordBucket = []byte("store")
	keyVersion   = []byte("version")
	keySize      = []byte("size")
	keyOpened    = []byte("opened")
)

// initialise makes the record in a new file.
func initialise(db *bbolt.DB, size int64) error {
	return db.Update(func(tx *bbolt.Tx) error {
		b, err := tx.CreateBucket(recordBucket)
		if err != nil {
			return err
		}
		if err := b.Put(keySize, number(uint64(size))); err != nil {
			return err
		}
		return b.Put(keyVersion, number(0))
	})
}

// checkRecord returns how many migrations the file has had.
func checkRecord(tx *bbolt.Tx, o Options) (int, error) {
	b := tx.Bucket(recordBucket)
	if b == nil || len(b.Get(keyVersion)) != 8 || len(b.Get(keySize)) != 8 {
		return 0, fmt.Errorf("open store %s: %w: it has no record of its own", o.Path, ErrCorrupt)
	}
	if want, got := binary.BigEndian.Uint64(b.Get(keySize)), fileSize(o.Path); !o.Copy && uint64(got) < want {
		return 0, fmt.Errorf("open store %s: %w: it has %d of %d bytes", o.Path, ErrCorrupt, got, want)
	}
	have := binary.BigEndian.Uint64(b.Get(keyVersion))
	if have > uint64(len(o.Migrations)) {
		return 0, fmt.Errorf("open store %s: %w: layout %d, this program knows %d", o.Path, ErrNewer, have, len(o.Migrations))
	}
	return int(have), nil
}

// migrate applies what is missing, one transaction each, its number in the same
// transaction.
func migrate(db *bbolt.DB, o Options, have int) error {
	for i := have; i < len(o.Migrations); i++ {
		m := o.Migrations[i]
		start := time.Now()
		err := db.Update(func(tx *bbolt.Tx) error {
			if err := m.Do(tx); err != nil {
				return err
			}
			return tx.Bucket(recordBucket).Put(keyVersion, number(uint64(i+1)))
		})
		if err != nil {
			return fmt.Errorf("migrate store %s, step %d %q: %w", o.Path, i+1, m.Name, err)
		}
		o.log().Info("store migrated", "step", i+1, "name", m.Name, "took", time.Since(start))
	}
	return nil
}

// probe makes one commit that means nothing, to learn at the start, and not at
// the first payment, that the disk takes none.
func probe(db *bbolt.DB) error {
	err := db.Update(func(tx *bbolt.Tx) error {
		b := tx.Bucket(recordBucket)
		var n uint64
		if v := b.Get(keyOpened); len(v) == 8 {
			n = binary.BigEndian.Uint64(v)
		}
		return b.Put(keyOpened, number(n+1))
	})
	if err != nil {
		return fmt.Errorf("write to store: %w", err)
	}
	return nil
}

func number(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }
