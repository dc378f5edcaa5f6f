// Package bolt keeps a hub's data in one bbolt file: for one site, the demo and
// the tests. It implements [hub.Store].
//
// # Layout
//
//	entries/DEVICE   epoch, seq -> SHA-256 of the bytes, the bytes
//	ops/DEVICE       operation id -> epoch, seq, digest
//	aside/DEVICE     branch, 0, epoch, seq -> as in entries
//	records/KIND     key -> CRC-32C, document
//
// Numbers are big-endian. A bucket for each device keeps its entries together,
// so that a batch touches the last page of few trees.
//
// # Errors of a commit
//
// A commit that fails has an unknown outcome, as in package store: from then on
// the store refuses everything with [hub.ErrOutcomeUnknown], and the process has
// to end. The file may grow, unlike a terminal's; a full disk is such an error.
package bolt

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"iter"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"go.etcd.io/bbolt"
	bberrors "go.etcd.io/bbolt/errors"

	"github.com/ssg-safe/agent/hub"
	"github.com/ssg-safe/agent/ledger"
)

// Errors that callers branch on.
var (
	// ErrLocked: another process holds the file.
	ErrLocked = errors.New("another process holds the hub's store")
	// ErrCorrupt: the file is not a hub's store, or is damaged.
	ErrCorrupt = errors.New("the hub's store is damaged")
)

// Options of a store.
type Options struct {
	// Path of the file. Its directory must exist.
	Path string
	// ReadOnly opens an existing file for reading, beside other readers.
	ReadOnly bool
	// Commit ends a write transaction; nil is (*bbolt.Tx).Commit. Tests put
	// their faults here.
	Commit func(*bbolt.Tx) error
}

// Store is an open file. It is safe for concurrent use.
type Store struct {
	db     *bbolt.DB
	commit func(*bbolt.Tx) error
	failed atomic.Bool
}

var _ hub.Store = (*Store)(nil)

var (
	bEntries = []byte("entries")
	bOps     = []byte("ops")
	bAside   = []byte("aside")
	bRecords = []byte("records")
	bMeta    = []byte("meta")
	kLayout  = []byte("layout")
	layout   = []byte("hub 1")
)

const (
	lockTimeout = 2 * time.Second
	// initialMmap spares a growing file most of its remaps.
	initialMmap = 256 << 20
	fill        = 0.95
)

// Open opens the file, and makes it when it does not exist. It waits two seconds
// for the lock.
//
// Errors: ErrLocked, ErrCorrupt, and fs.ErrNotExist for a missing file that is
// to be read only.
func Open(o Options) (*Store, error) {
	if _, err := os.Stat(o.Path); errors.Is(err, os.ErrNotExist) && !o.ReadOnly {
		if err := create(o.Path); err != nil {
			return nil, fmt.Errorf("create %s: %w", o.Path, err)
		}
	} else if err != nil {
		return nil, fmt.Errorf("open hub store: %w", err)
	}
	db, err := open(o.Path, o.ReadOnly)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", o.Path, err)
	}
	err = db.View(func(tx *bbolt.Tx) error {
		if b := tx.Bucket(bMeta); b == nil || !bytes.Equal(b.Get(kLayout), layout) {
			return fmt.Errorf("%w: %s has no layout that this program knows", ErrCorrupt, o.Path)
		}
		return nil
	})
	if err == nil && !o.ReadOnly {
		err = addKinds(db)
	}
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	commit := o.Commit
	if commit == nil {
		commit = (*bbolt.Tx).Commit
	}
	return &Store{db: db, commit: commit}, nil
}

func open(path string, readOnly bool) (db *bbolt.DB, err error) {
	// On some damaged files bbolt panics instead of returning an error.
	defer func() {
		if r := recover(); r != nil {
			db, err = nil, fmt.Errorf("%w: %v", ErrCorrupt, r)
		}
	}()
	db, err = bbolt.Open(path, 0o600, &bbolt.Options{
		Timeout: lockTimeout, ReadOnly: readOnly, FreelistType: bbolt.FreelistMapType,
		NoFreelistSync: true, InitialMmapSize: initialMmap, PageSize: 4096,
	})
	switch {
	case errors.Is(err, bberrors.ErrTimeout):
		return nil, ErrLocked
	case errors.Is(err, bberrors.ErrInvalid), errors.Is(err, bberrors.ErrChecksum), errors.Is(err, bberrors.ErrVersionMismatch):
		return nil, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	return db, err
}

// create makes the file under another name first: a crash while bbolt makes its
// first pages leaves a file that cannot be opened.
func create(path string) error {
	tmp := path + ".tmp"
	if err := os.Remove(tmp); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	db, err := open(tmp, false)
	if err != nil {
		return err
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		for _, name := range [][]byte{bEntries, bOps, bAside, bRecords, bMeta} {
			if _, err := tx.CreateBucket(name); err != nil {
				return err
			}
		}
		return tx.Bucket(bMeta).Put(kLayout, layout)
	})
	if err := errors.Join(err, db.Sync(), db.Close()); err != nil {
		return err
	}
	// Not over a file that somebody else made meanwhile.
	if err := os.Link(tmp, path); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	if err := os.Remove(tmp); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// addKinds makes room for the kinds of records that the file has none of: it is
// new, or of a program that did not know them.
func addKinds(db *bbolt.DB) error {
	var missing []hub.Kind
	err := db.View(func(tx *bbolt.Tx) error {
		records := tx.Bucket(bRecords)
		if records == nil {
			return fmt.Errorf("%w: it has no records", ErrCorrupt)
		}
		for _, kind := range hub.Kinds() {
			if records.Bucket([]byte(kind)) == nil {
				missing = append(missing, kind)
			}
		}
		return nil
	})
	if err != nil || len(missing) == 0 {
		return err
	}
	return db.Update(func(tx *bbolt.Tx) error {
		for _, kind := range missing {
			if _, err := tx.Bucket(bRecords).CreateBucket([]byte(kind)); err != nil {
				return err
			}
		}
		return nil
	})
}

// Close releases the file, after the transactions that are open.
func (s *Store) Close() error { return s.db.Close() }

// Backup writes a consistent copy of the whole file while the store is in use.
func (s *Store) Backup(w io.Writer) error {
	return s.view(func(tx *bbolt.Tx) error {
		_, err := tx.WriteTo(w)
		return err
	})
}

// Size of the file in bytes.
func (s *Store) Size() (size int64, err error) {
	err = s.view(func(tx *bbolt.Tx) error {
		size = tx.Size()
		return nil
	})
	return size, err
}

// Update implements [hub.Store].
func (s *Store) Update(ctx context.Context, fn func(hub.Tx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	btx, err := s.db.Begin(true)
	if err != nil {
		return err
	}
	defer btx.Rollback() //nolint:errcheck // after a commit it does nothing
	if s.failed.Load() {
		return hub.ErrOutcomeUnknown
	}
	t := &tx{btx: btx}
	if err := fn(t); err != nil || !t.wrote {
		return err
	}
	if err := s.commit(btx); err != nil {
		s.failed.Store(true)
		return fmt.Errorf("%w: %w", hub.ErrOutcomeUnknown, err)
	}
	return nil
}

// View implements [hub.Store].
func (s *Store) View(ctx context.Context, fn func(hub.Tx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return s.view(func(btx *bbolt.Tx) error { return fn(&tx{btx: btx}) })
}

func (s *Store) view(fn func(*bbolt.Tx) error) error {
	if s.failed.Load() {
		return hub.ErrOutcomeUnknown
	}
	return s.db.View(fn)
}

// tx is one transaction.
type tx struct {
	btx   *bbolt.Tx
	wrote bool
}

func positionKey(p ledger.Position) []byte {
	k := binary.BigEndian.AppendUint64(make([]byte, 0, 16), p.Epoch)
	return binary.BigEndian.AppendUint64(k, p.Seq)
}

func entryOf(k, v []byte) (hub.Entry, error) {
	if len(k) != 16 || len(v) < 32 {
		return hub.Entry{}, fmt.Errorf("%w: row %x", ErrCorrupt, k)
	}
	at := ledger.Position{Epoch: binary.BigEndian.Uint64(k), Seq: binary.BigEndian.Uint64(k[8:])}
	return hub.Entry{Position: at, Hash: ledger.Hash(v[:32]), Bytes: v[32:]}, nil
}

// of is a device's bucket, nil when it has none.
func (t *tx) of(parent []byte, device string) *bbolt.Bucket {
	return t.btx.Bucket(parent).Bucket([]byte(device))
}

func (t *tx) makeOf(parent []byte, device string) (*bbolt.Bucket, error) {
	return t.btx.Bucket(parent).CreateBucketIfNotExists([]byte(device))
}

// Append implements [hub.Tx].
func (t *tx) Append(device string, e hub.Entry) error {
	t.wrote = true
	entries, err := t.makeOf(bEntries, device)
	if err != nil {
		return err
	}
	entries.FillPercent = fill
	key := positionKey(e.Position)
	row := append(e.Hash[:len(e.Hash):len(e.Hash)], e.Bytes...)
	if old := entries.Get(key); old != nil {
		if !bytes.Equal(old, row) {
			return fmt.Errorf("append %s %v: %w", device, e.Position, hub.ErrConflict)
		}
		return nil
	}
	if err := entries.Put(key, row); err != nil {
		return err
	}
	if e.Op == "" {
		return nil
	}
	ops, err := t.makeOf(bOps, device)
	if err != nil {
		return err
	}
	op := []byte(e.Op)
	if ops.Get(op) != nil {
		return nil
	}
	return ops.Put(op, append(key, e.Digest[:]...))
}

// Entry implements [hub.Tx].
func (t *tx) Entry(device string, at ledger.Position) (hub.Entry, error) {
	if b := t.of(bEntries, device); b != nil {
		key := positionKey(at)
		if v := b.Get(key); v != nil {
			return entryOf(key, v)
		}
	}
	return hub.Entry{}, fmt.Errorf("entry %v of %s: %w", at, device, hub.ErrNotFound)
}

// Entries implements [hub.Tx].
func (t *tx) Entries(device string, from ledger.Position) iter.Seq2[hub.Entry, error] {
	return func(yield func(hub.Entry, error) bool) {
		b := t.of(bEntries, device)
		if b == nil {
			return
		}
		c := b.Cursor()
		for k, v := c.Seek(positionKey(from)); k != nil; k, v = c.Next() {
			e, err := entryOf(k, v)
			if !yield(e, err) || err != nil {
				return
			}
		}
	}
}

// Op implements [hub.Tx].
func (t *tx) Op(device, op string) (hub.Op, error) {
	var row []byte
	if b := t.of(bOps, device); b != nil {
		row = b.Get([]byte(op))
	}
	switch {
	case row == nil:
		return hub.Op{}, fmt.Errorf("operation %s of %s: %w", op, device, hub.ErrNotFound)
	case len(row) != 48:
		return hub.Op{}, fmt.Errorf("%w: operation %s of %s", ErrCorrupt, op, device)
	}
	at := ledger.Position{Epoch: binary.BigEndian.Uint64(row), Seq: binary.BigEndian.Uint64(row[8:])}
	return hub.Op{At: at, Digest: ledger.Hash(row[16:])}, nil
}

// SetAside implements [hub.Tx].
func (t *tx) SetAside(device string, from ledger.Position, branch string) (int, error) {
	t.wrote = true
	aside, err := t.makeOf(bAside, device)
	if err != nil {
		return 0, err
	}
	prefix := append([]byte(branch), 0)
	if k, _ := aside.Cursor().Seek(prefix); bytes.HasPrefix(k, prefix) {
		return 0, fmt.Errorf("set aside branch %s of %s: %w", branch, device, hub.ErrConflict)
	}
	entries := t.of(bEntries, device)
	if entries == nil {
		return 0, nil
	}
	n := 0
	c := entries.Cursor()
	end := binary.BigEndian.AppendUint64(nil, from.Epoch)
	for k, v := c.Seek(positionKey(from)); bytes.HasPrefix(k, end); k, v = c.Next() {
		if err := aside.Put(append(bytes.Clone(prefix), k...), v); err != nil {
			return n, err
		}
		n++
	}
	for k, _ := c.Seek(positionKey(from)); bytes.HasPrefix(k, end); k, _ = c.Seek(positionKey(from)) {
		if err := c.Delete(); err != nil {
			return n, err
		}
	}
	return n, t.dropOps(device, from)
}

// dropOps takes what lies in from's epoch, from there on, out of the index. It
// reads the whole index of the device: setting aside is what a person does.
func (t *tx) dropOps(device string, from ledger.Position) error {
	ops := t.of(bOps, device)
	if ops == nil {
		return nil
	}
	var gone [][]byte
	c := ops.Cursor()
	for k, row := c.First(); k != nil; k, row = c.Next() {
		if len(row) == 48 && bytes.Equal(row[:8], positionKey(from)[:8]) && bytes.Compare(row[:16], positionKey(from)) >= 0 {
			gone = append(gone, bytes.Clone(k))
		}
	}
	for _, k := range gone {
		if err := ops.Delete(k); err != nil {
			return err
		}
	}
	return nil
}

// Aside implements [hub.Tx].
func (t *tx) Aside(device, branch string) iter.Seq2[hub.Entry, error] {
	return func(yield func(hub.Entry, error) bool) {
		b := t.of(bAside, device)
		if b == nil {
			return
		}
		prefix := append([]byte(branch), 0)
		c := b.Cursor()
		for k, v := c.Seek(prefix); bytes.HasPrefix(k, prefix); k, v = c.Next() {
			e, err := entryOf(k[len(prefix):], v)
			if !yield(e, err) || err != nil {
				return
			}
		}
	}
}

// castagnoli sums the rows that no chain of hashes covers; bbolt's pages have no
// checksums.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func seal(key, doc []byte) []byte {
	sum := crc32.Update(crc32.Checksum(key, castagnoli), castagnoli, doc)
	return append(binary.BigEndian.AppendUint32(make([]byte, 0, 4+len(doc)), sum), doc...)
}

func unseal(kind hub.Kind, key, row []byte) ([]byte, error) {
	if len(row) < 4 || binary.BigEndian.Uint32(row) != crc32.Update(crc32.Checksum(key, castagnoli), castagnoli, row[4:]) {
		return nil, fmt.Errorf("%w: the checksum of %s %s is wrong", ErrCorrupt, kind, key)
	}
	return row[4:], nil
}

func (t *tx) records(kind hub.Kind) (*bbolt.Bucket, error) {
	if b := t.btx.Bucket(bRecords).Bucket([]byte(kind)); b != nil {
		return b, nil
	}
	return nil, fmt.Errorf("%w: no records of kind %s", ErrCorrupt, kind)
}

// Get implements [hub.Tx].
func (t *tx) Get(kind hub.Kind, key string) ([]byte, error) {
	b, err := t.records(kind)
	if err != nil {
		return nil, err
	}
	row := b.Get([]byte(key))
	if row == nil {
		return nil, fmt.Errorf("%s %s: %w", kind, key, hub.ErrNotFound)
	}
	return unseal(kind, []byte(key), row)
}

// Put implements [hub.Tx].
func (t *tx) Put(kind hub.Kind, key string, doc []byte) error {
	t.wrote = true
	b, err := t.records(kind)
	if err != nil {
		return err
	}
	return b.Put([]byte(key), seal([]byte(key), doc))
}

// Delete implements [hub.Tx].
func (t *tx) Delete(kind hub.Kind, key string) error {
	t.wrote = true
	b, err := t.records(kind)
	if err != nil {
		return err
	}
	return b.Delete([]byte(key))
}

// Scan implements [hub.Tx].
func (t *tx) Scan(kind hub.Kind, prefix string) iter.Seq2[hub.Record, error] {
	return func(yield func(hub.Record, error) bool) {
		b, err := t.records(kind)
		if err != nil {
			yield(hub.Record{}, err)
			return
		}
		c := b.Cursor()
		for k, row := c.Seek([]byte(prefix)); k != nil && bytes.HasPrefix(k, []byte(prefix)); k, row = c.Next() {
			doc, err := unseal(kind, k, row)
			if !yield(hub.Record{Key: string(k), Doc: doc}, err) || err != nil {
				return
			}
		}
	}
}
