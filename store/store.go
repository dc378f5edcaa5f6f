package store

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

// Errors that callers branch on. All others are described in their text.
var (
	// ErrNotExist: there is no store file. Create makes one.
	ErrNotExist = errors.New("the store does not exist")
	// ErrExists: Create found a store in its place.
	ErrExists = errors.New("the store exists already")
	// ErrLocked: another process holds the store; the text says which.
	ErrLocked = errors.New("another process holds the store")
	// ErrCorrupt: the file is damaged, or was and lies in quarantine.
	ErrCorrupt = errors.New("the store is damaged")
	// ErrNewer: a newer program wrote the file.
	ErrNewer = errors.New("the store was written by a newer version")
	// ErrNoSpace: the disk has no room for the file.
	ErrNoSpace = errors.New("not enough space for the store")
	// ErrOutcomeUnknown: a commit failed; it may or may not be on disk. The
	// process must end and look its operation ids up in the reopened store.
	ErrOutcomeUnknown = errors.New("the outcome of the commit is unknown")
	// ErrFull: the soft limit is reached, and the operation is New; or there is no
	// room at all for it. It left no trace.
	ErrFull = errors.New("the store is full")
	// ErrBusy: too many operations are waiting.
	ErrBusy = errors.New("the store is busy")
	// ErrClosed: the committer has ended.
	ErrClosed = errors.New("the store is closed")
	// ErrReadOnly: the store could only be opened for reading.
	ErrReadOnly = errors.New("the store is read-only")
)

const (
	// DefaultSize is the size of a store file in bytes when Options.Size is 0.
	DefaultSize = 128 << 20
	// MinSize is the smallest store file, in bytes.
	MinSize = 256 << 10

	pageSize    = 4096
	lockTimeout = 2 * time.Second
	fileMode    = 0o600
)

// Options describe a store. The same value serves Create, BootCheck and Open.
type Options struct {
	// Path of the store file, such as DATA/store.db.
	Path string
	// Size in bytes that Create fills; 0 is DefaultSize. An existing file
	// keeps its size.
	Size int64
	// Migrations in order; a file remembers how many it has had.
	Migrations []Migration
	// Verify checks the contents beyond bbolt's own structure. It runs in the
	// boot check, and in Open when that migrated the file.
	Verify func(*bbolt.Tx) error
	// Logger; nil discards.
	Logger *slog.Logger
	// Progress is told by Create how many of total bytes are filled.
	Progress func(done, total int64)
	// Commit ends a write transaction; nil is (*bbolt.Tx).Commit. Tests put
	// their faults here.
	Commit func(*bbolt.Tx) error
	// Check is the command that BootCheck runs, to which it appends Path; nil
	// is this program with the argument "store-check".
	Check []string
	// Copy: the file is a backup, which is shorter than the store was. The command gets
	// the argument "--copy" before the path.
	Copy bool
}

func (o Options) log() *slog.Logger {
	if o.Logger == nil {
		return slog.New(slog.DiscardHandler)
	}
	return o.Logger
}

func (o Options) size() int64 {
	if o.Size == 0 {
		return DefaultSize
	}
	return o.Size
}

// Store is an open store file. Submit, Commit, View, Stats and Backup are safe
// for concurrent use; Run is called once.
type Store struct {
	log    *slog.Logger
	path   string
	db     *bbolt.DB
	commit func(*bbolt.Tx) error
	// size, reserve and the last of it in pages; readOnly says why nothing can be
	// written.
	pages, reserve, last int
	readOnly             string
	// guarded: View turns a panic on damaged pages into ErrCorrupt.
	guarded bool

	// durable is the id of the last transaction whose flushes returned; inFlight
	// is closed when the commit that is now between its first write and its last
	// flush has ended.
	durable  atomic.Int64
	inFlight atomic.Pointer[chan struct{}]

	failed chan struct{}
	stats  counters

	mu      sync.Mutex // guards what follows
	waiting []Op
	spare   []Op // the other buffer of waiting
	state   state
	err     error
	wake    chan struct{}
	// readers are open. While the committer keeps them out, alone is open and
	// gated readers wait for its closing; left closes when the last reader has
	// ended. stuck: one of them did not within readerPatience.
	readers, gated int
	alone, left    chan struct{}
	stuck          bool
}

type state int

const (
	accepting state = iota
	closed
	broken
)

type counters struct {
	commits, ops, refused, highWater atomic.Int64
}

// Open opens an existing store for reading and writing, and applies the
// migrations it lacks. It waits two seconds for the file lock.
//
// Errors: ErrNotExist, ErrLocked, ErrCorrupt, ErrNewer. A file that can be
// read but not written opens read-only; Stats says why.
func Open(o Options) (*Store, error) {
	if err := refuseQuarantined(o.Path); err != nil {
		return nil, err
	}
	if err := preflight(o.Path); err != nil {
		return nil, err
	}
	s, err := open(o, false)
	if reason := unwritable(err); reason != "" {
		o.log().Error("store is read-only", "path", o.Path, "reason", reason)
		if s, err = open(o, true); s != nil {
			s.readOnly = reason
		}
	}
	return s, err
}

// OpenReadOnly opens an existing store for reading, as commands do while no
// agent runs. It changes nothing, so it refuses a file that lacks migrations.
// Damage that View meets is ErrCorrupt.
func OpenReadOnly(o Options) (*Store, error) {
	if err := refuseQuarantined(o.Path); err != nil {
		return nil, err
	}
	if err := preflight(o.Path); err != nil {
		return nil, err
	}
	s, err := open(o, true)
	if s != nil {
		s.readOnly, s.guarded = "opened for reading", true
	}
	return s, err
}

func open(o Options, readOnly bool) (*Store, error) {
	info, err := os.Stat(o.Path)
	if err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	db, err := openBolt(o.Path, info.Size(), readOnly)
	if err != nil {
		return nil, err
	}
	s := &Store{
		log: o.log(), path: o.Path, db: db, commit: o.Commit,
		failed: make(chan struct{}), wake: make(chan struct{}, 1),
		pages: int(info.Size() / pageSize),
	}
	if s.commit == nil {
		s.commit = (*bbolt.Tx).Commit
	}
	s.reserve = reservePages(s.pages)
	s.last = s.reserve / 3
	if err := guard(func() error { return s.prepare(o, readOnly) }); err != nil {
		return nil, closeAfter(db, err)
	}
	return s, nil
}

// closeAfter closes db, except after a panic: then bbolt may hold locks of its
// own, and Close would wait for them for ever.
func closeAfter(db *bbolt.DB, err error) error {
	if errors.Is(err, errPanic) {
		return err
	}
	return errors.Join(err, db.Close())
}

// openBolt is the only place where a store file meets bbolt's options.
func openBolt(path string, size int64, readOnly bool) (db *bbolt.DB, err error) {
	err = guard(func() error {
		db, err = bbolt.Open(path, fileMode, &bbolt.Options{
			Timeout:         lockTimeout,
			FreelistType:    bbolt.FreelistMapType,
			NoFreelistSync:  true,
			PageSize:        pageSize,
			InitialMmapSize: int(size),
			MaxSize:         int(size),
			ReadOnly:        readOnly,
		})
		return err
	})
	switch {
	case errors.Is(err, bolterrors.ErrTimeout):
		return nil, fmt.Errorf("open store %s: %w%s", path, ErrLocked, holder(path))
	case errors.Is(err, bolterrors.ErrInvalid), errors.Is(err, bolterrors.ErrChecksum), errors.Is(err, bolterrors.ErrVersionMismatch):
		return nil, fmt.Errorf("open store %s: %w: %w", path, ErrCorrupt, err)
	case err != nil:
		return nil, fmt.Errorf("open store %s: %w", path, err)
	}
	// The file is full-size from the start. A page of growth instead of 16 MiB
	// lets bbolt use all of it, because it counts AllocSize against MaxSize.
	db.AllocSize = pageSize
	return db, nil
}

var errPanic = errors.New("reading it fails")

// guard turns a panic of bbolt on damaged pages, a fault in its mapping
// included, into ErrCorrupt.
func guard(f func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: %w: %v", ErrCorrupt, errPanic, p)
		}
	}()
	return f()
}

// prepare checks the file's own record, migrates it and proves that it can be
// written.
func (s *Store) prepare(o Options, readOnly bool) error {
	var have int
	err := s.db.View(func(tx *bbolt.Tx) error {
		var err error
		have, err = checkRecord(tx, o)
		s.stats.highWater.Store(tx.Size() / pageSize)
		s.durable.Store(int64(tx.ID()))
		return err
	})
	if err != nil {
		return err
	}
	if readOnly {
		if have < len(o.Migrations) {
			return fmt.Errorf("open store %s: written by an older version: start the agent once to bring it up to date", s.path)
		}
		return nil
	}
	if err := migrate(s.db, o, have); err != nil {
		return err
	}
	if have < len(o.Migrations) && o.Verify != nil {
		if err := s.db.View(o.Verify); err != nil {
			return fmt.Errorf("check migrated store %s: %w: %w", s.path, ErrCorrupt, err)
		}
	}
	if err := probe(s.db); err != nil {
		return err
	}
	return s.db.View(func(tx *bbolt.Tx) error {
		s.stats.highWater.Store(tx.Size() / pageSize)
		s.durable.Store(int64(tx.ID()))
		return nil
	})
}

// Close releases the file. Call it after Run has returned, or instead of Run.
func (s *Store) Close() error {
	s.mu.Lock()
	if s.state == accepting {
		s.state = closed
	}
	left := s.waiting
	s.waiting = nil
	s.mu.Unlock()
	for _, op := range left {
		op.done(ErrClosed)
	}
	if err := s.db.Close(); err != nil {
		return fmt.Errorf("close store: %w", err)
	}
	return nil
}

// View runs fn over what is durable. Keep it short: pages stay occupied while
// it runs. After a failed commit it returns ErrOutcomeUnknown.
func (s *Store) View(fn func(*bbolt.Tx) error) error {
	if s.guarded {
		return guard(func() error { return s.db.View(fn) })
	}
	for {
		if err := s.enter(); err != nil {
			return err
		}
		waited, err := s.read(fn)
		if !waited {
			return err
		}
		s.awaitCommit()
	}
}

// read is one attempt of View by a reader that has entered. It reports whether
// there was a commit to wait for instead.
func (s *Store) read(fn func(*bbolt.Tx) error) (waited bool, err error) {
	defer s.leave()
	err = s.db.View(func(tx *bbolt.Tx) error {
		if int64(tx.ID()) > s.durable.Load() {
			waited = true
			return nil
		}
		return fn(tx)
	})
	return waited, err
}

// enter counts a reader. While the committer is alone it waits, and is counted
// when that ends, before the committer can be alone again.
func (s *Store) enter() error {
	s.mu.Lock()
	alone := s.alone
	if alone == nil {
		s.readers++
	} else {
		s.gated++
	}
	s.mu.Unlock()
	if alone != nil {
		<-alone
	}
	err := s.Err()
	if err != nil {
		s.leave()
	}
	return err
}

func (s *Store) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.readers--; s.readers > 0 {
		return
	}
	s.stuck = false
	if s.left != nil {
		close(s.left)
		s.left = nil
	}
}

// awaitCommit returns when no commit is between its first write and its last
// flush.
func (s *Store) awaitCommit() {
	if ended := s.inFlight.Load(); ended != nil {
		<-*ended
	}
}

// Backup writes a consistent copy while the store is in use. The copy ends with
// the last page in use; [Restore] makes a whole store of it.
func (s *Store) Backup(w io.Writer) error {
	err := s.View(func(tx *bbolt.Tx) error {
		_, err := tx.WriteTo(w)
		return err
	})
	if err != nil {
		return fmt.Errorf("back up store: %w", err)
	}
	return nil
}

// Failed is closed when a commit's outcome is unknown: the process must end.
func (s *Store) Failed() <-chan struct{} { return s.failed }

// Err is nil until the store failed; then it wraps ErrOutcomeUnknown.
func (s *Store) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// Stats is what the store can say about itself.
type Stats struct {
	// Commits and Ops since Open: Ops/Commits is the group size.
	Commits, Ops int64
	// Flushes is how often the disk was asked to flush; Bytes is what was
	// written to it, before the filesystem's own journal.
	Flushes, Bytes int64
	// Refused counts operations turned away (full, busy, closed).
	Refused int64
	// Waiting operations now.
	Waiting int
	// Size of the file and Free in it, in bytes.
	Size, Free int64
	// Reserve in bytes: below it New operations are refused, and in its last third
	// all that do not free space.
	Reserve int64
	// Full: the soft limit is reached.
	Full bool
	// ReadOnly says why nothing can be written; empty: it can.
	ReadOnly string
}

// Stats returns counters and free space.
func (s *Store) Stats() Stats {
	bolt := s.db.Stats()
	s.mu.Lock()
	waiting := len(s.waiting)
	s.mu.Unlock()
	commits, free := s.stats.commits.Load(), s.free()
	st := Stats{
		Commits: commits, Ops: s.stats.ops.Load(),
		// Two per commit: the pages, then the meta page. The file never grows.
		Flushes: 2 * commits,
		Bytes:   bolt.TxStats.GetPageAlloc() + commits*pageSize,
		Refused: s.stats.refused.Load(), Waiting: waiting,
		Size: int64(s.pages) * pageSize, Free: int64(free) * pageSize, Reserve: int64(s.reserve) * pageSize,
		Full: free < s.reserve, ReadOnly: s.readOnly,
	}
	if s.readOnly != "" {
		st.Free, st.Full = 0, true
	}
	return st
}

// free counts the pages that a commit could still use. Pages freed by the last
// commit come back with the next one, unless a reader holds them.
func (s *Store) free() int {
	bolt := s.db.Stats()
	n := bolt.FreePageN + s.pages - 1 - int(s.stats.highWater.Load())
	if bolt.OpenTxN == 0 {
		n += bolt.PendingPageN
	}
	return n
}

// reservePages is the soft limit of a file with n pages: one New operation at its
// largest and what is kept for deleting, a third; in a tiny file a quarter of it.
func reservePages(n int) int { return min(max(n/16, opPages*3/2), 1024, n/4) }

func syncDir(path string) error {
	d, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
