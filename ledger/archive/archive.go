// Package archive is the consumer of the ledger for a site without a hub: it
// copies the entries, byte for byte, into files of a directory (another disk, a
// USB stick, a mounted share) and acknowledges them to the ledger, which may
// then prune them.
//
// # Files
//
// A segment holds entries exactly as the ledger stores them, one a line, oldest
// first. The one being written is EPOCH-SEQ.open.jsonl, after its first entry;
// when it has grown to 1 MiB it is flushed and renamed to
// EPOCH-SEQ-SHA256.jsonl, with the hash of the whole file in its name. The
// chain runs on from one segment to the next. [Verify] needs nothing but the
// directory; so do sha256sum and an eye.
//
// # Order
//
// Entries are flushed, then acknowledged. After a crash the archive may be
// ahead of the ledger's cursor, never behind it; a line that was cut off is
// removed and written again. An archive that contradicts the ledger, or lacks
// what it acknowledged, is an error and is never written over. An empty
// directory is such a case too once something was acknowledged: usually its
// disk is not mounted. To go on with a new disk, put an empty file named
// new-archive on it; it begins with all that the ledger still has.
package archive

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"

	"go.etcd.io/bbolt"

	"github.com/ssg-safe/agent/ledger"
	"github.com/ssg-safe/agent/store"
)

// Consumer is the archive's name among the cursors of the ledger.
const Consumer = "archive"

// ErrBroken: the files contradict themselves or the ledger.
var ErrBroken = errors.New("the archive is broken")

const (
	segmentSize = 1 << 20 // bytes after which a segment is sealed
	batch       = 256     // entries between two reads of the store
	maxLine     = 16<<10 + 1
)

// Archive copies the ledger of a store into a directory. Its methods are for
// one goroutine.
type Archive struct {
	store *store.Store
	dir   string
	log   *slog.Logger

	opened bool
	head   ledger.Head // of the last archived entry
	file   *os.File    // the open segment; nil: none
	size   int64
}

// New returns an archive in a directory, which must exist. A nil log discards.
func New(s *store.Store, dir string, log *slog.Logger) *Archive {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Archive{store: s, dir: dir, log: log}
}

// Sync archives everything that the ledger holds beyond the archive and
// acknowledges it. It costs one commit if there was something.
func (a *Archive) Sync(ctx context.Context) (ledger.Head, error) {
	if err := a.open(); err != nil {
		return ledger.Head{}, fmt.Errorf("archive in %s: %w", a.dir, err)
	}
	for {
		n, err := a.copyBatch()
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			a.reset() // what reached the file is found out again
			return ledger.Head{}, fmt.Errorf("archive in %s: %w", a.dir, err)
		}
		if n < batch {
			break
		}
	}
	if a.file != nil {
		if err := a.file.Sync(); err != nil {
			a.reset()
			return ledger.Head{}, fmt.Errorf("archive in %s: flush: %w", a.dir, err)
		}
	}
	head := a.head
	var cursor ledger.Head
	err := a.store.View(func(tx *bbolt.Tx) (err error) {
		cursor, err = ledger.Cursor(tx, Consumer)
		return err
	})
	if err == nil && cursor.Position.Before(head.Position) {
		err = a.store.Commit(ctx, store.Op{Name: "archive.acknowledge", Frees: true, Do: func(tx *bbolt.Tx) error {
			return ledger.Acknowledge(tx, Consumer, head)
		}})
	}
	if err != nil {
		return ledger.Head{}, fmt.Errorf("archive in %s: %w", a.dir, err)
	}
	return head, nil
}

// Close closes the open segment.
func (a *Archive) Close() { a.reset() }

func (a *Archive) reset() {
	if a.file != nil {
		_ = a.file.Close() // flushed by Sync, or found out again
	}
	a.opened, a.file, a.size, a.head = false, nil, 0, ledger.Head{}
}

// copyBatch appends the next entries and returns how many there were.
func (a *Archive) copyBatch() (int, error) {
	var raws []ledger.Raw
	err := a.store.View(func(tx *bbolt.Tx) error {
		if err := a.agrees(tx); err != nil {
			return err
		}
		var err error
		raws, err = ledger.Read(tx, ledger.Position{Epoch: a.head.Epoch, Seq: a.head.Seq + 1}, batch)
		return err
	})
	if err != nil {
		return 0, err
	}
	for _, r := range raws {
		next, err := follows(a.head, r.Bytes)
		if err != nil {
			return 0, err
		}
		if err := a.write(next, r.Bytes); err != nil {
			return 0, err
		}
		a.head = next
	}
	return len(raws), nil
}

// agrees checks that the archive's head is on the ledger's chain.
func (a *Archive) agrees(tx *bbolt.Tx) error {
	anchor, err := ledger.GetAnchor(tx)
	if err != nil {
		return err
	}
	if a.head == (ledger.Head{}) {
		a.head = anchor // a new archive begins with what the ledger still has
	}
	if a.head.Position.Before(anchor.Position) {
		return fmt.Errorf("%w: it ends at %v, but the ledger begins after %v", ErrBroken, a.head.Position, anchor.Position)
	}
	if a.head == anchor {
		return nil
	}
	raws, err := ledger.Read(tx, a.head.Position, 1)
	switch {
	case err != nil:
		return err
	case len(raws) == 0 || raws[0].Position != a.head.Position:
		return fmt.Errorf("%w: it ends at %v, which the ledger does not have", ErrBroken, a.head.Position)
	case ledger.HashOf(raws[0].Bytes) != a.head.Hash:
		return fmt.Errorf("%w: its entry %v is not the ledger's", ErrBroken, a.head.Position)
	}
	return nil
}

func (a *Archive) write(at ledger.Head, raw []byte) error {
	if a.file == nil {
		f, err := os.OpenFile(filepath.Join(a.dir, openName(at.Position)), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return err
		}
		a.file, a.size = f, 0
		if err := os.Remove(filepath.Join(a.dir, beginFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err := syncDir(a.dir); err != nil {
			return err
		}
	}
	line := append(bytes.Clone(raw), '\n')
	if _, err := a.file.WriteAt(line, a.size); err != nil {
		return err
	}
	if a.size += int64(len(line)); a.size >= segmentSize {
		return a.seal()
	}
	return nil
}

// seal flushes the open segment and names it by its hash.
func (a *Archive) seal() error {
	if err := a.file.Sync(); err != nil {
		return err
	}
	sum := sha256.New()
	if _, err := io.Copy(sum, io.NewSectionReader(a.file, 0, a.size)); err != nil {
		return err
	}
	path := a.file.Name()
	if err := a.file.Close(); err != nil {
		return err
	}
	a.file = nil
	sealed := path[:len(path)-len(openSuffix)] + "-" + hex.EncodeToString(sum.Sum(nil)) + ".jsonl"
	if err := os.Rename(path, sealed); err != nil {
		return err
	}
	return syncDir(a.dir)
}

// open finds out what the directory holds.
func (a *Archive) open() error {
	if a.opened {
		return nil
	}
	var cursor ledger.Head
	err := a.store.View(func(tx *bbolt.Tx) (err error) {
		cursor, err = ledger.Cursor(tx, Consumer)
		return err
	})
	if err != nil {
		return err
	}
	segments, err := list(a.dir)
	if err != nil {
		return err
	}
	if len(segments) == 0 && cursor.Seq > 0 && !a.mayBegin() {
		return fmt.Errorf("%w: it is empty, but held entries up to %v: is its disk mounted? To begin a new archive there, make a file %s in it",
			ErrBroken, cursor.Position, beginFile)
	}
	// The last sealed segment and the open one tell the head.
	segments = segments[max(0, len(segments)-2):]
	var last scan
	for i, s := range segments {
		if s.open() && i < len(segments)-1 {
			return fmt.Errorf("%w: %s is not the last segment", ErrBroken, s.name)
		}
		if last, err = scanSegment(a.dir, s, last.head); err != nil {
			return err
		}
	}
	if n := len(segments); n > 0 {
		if cursor.Seq > 0 && last.head.Position.Before(cursor.Position) {
			return fmt.Errorf("%w: it ends at %v, but held entries up to %v", ErrBroken, last.head.Position, cursor.Position)
		}
		if s := segments[n-1]; s.open() {
			if err := a.reopen(s, last); err != nil {
				return err
			}
		}
	}
	a.head, a.opened = last.head, true
	return nil
}

// mayBegin reports whether a person allowed a new archive in an empty directory.
func (a *Archive) mayBegin() bool {
	_, err := os.Stat(filepath.Join(a.dir, beginFile))
	return err == nil
}

// reopen continues the open segment after its last whole entry.
func (a *Archive) reopen(s segment, scan scan) error {
	f, err := os.OpenFile(filepath.Join(a.dir, s.name), os.O_RDWR, 0)
	if err != nil {
		return err
	}
	if scan.cut {
		a.log.Warn("archive: an unfinished line is removed", "segment", s.name, "at", scan.size)
		if err := errors.Join(f.Truncate(scan.size), f.Sync()); err != nil {
			return errors.Join(err, f.Close())
		}
	}
	a.file, a.size = f, scan.size
	if scan.entries == 0 { // nothing whole in it; it would be named wrongly
		a.file = nil
		return errors.Join(f.Close(), os.Remove(f.Name()), syncDir(a.dir))
	}
	return nil
}

// segment is a file of the archive; hash is empty while it is open.
type segment struct {
	name  string
	first ledger.Position
	hash  string
}

func (s segment) open() bool { return s.hash == "" }

const (
	openSuffix = ".open.jsonl"
	beginFile  = "new-archive"
)

var segmentName = regexp.MustCompile(`^([0-9]{10})-([0-9]{20})(?:-([0-9a-f]{64})\.jsonl|\.open\.jsonl)$`)

func openName(p ledger.Position) string {
	return fmt.Sprintf("%010d-%020d%s", p.Epoch, p.Seq, openSuffix)
}

// list returns the segments in order; other files do not matter.
func list(dir string) ([]segment, error) {
	files, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var found []segment
	for _, f := range files {
		m := segmentName.FindStringSubmatch(f.Name())
		if m == nil {
			continue
		}
		epoch, err1 := strconv.ParseUint(m[1], 10, 64)
		seq, err2 := strconv.ParseUint(m[2], 10, 64)
		if err := errors.Join(err1, err2); err != nil {
			return nil, fmt.Errorf("%w: %s: %w", ErrBroken, f.Name(), err)
		}
		found = append(found, segment{f.Name(), ledger.Position{Epoch: epoch, Seq: seq}, m[3]})
	}
	slices.SortFunc(found, func(x, y segment) int {
		if x.first.Before(y.first) {
			return -1
		}
		return 1
	})
	return found, nil
}

// scan is what reading a segment found.
type scan struct {
	head    ledger.Head // after its last whole entry
	first   ledger.Head // before its first entry
	entries uint64
	size    int64 // of its whole entries, in bytes
	cut     bool  // the rest is not a whole entry
}

// scanSegment reads a segment that follows prev; a zero prev is not known.
func scanSegment(dir string, s segment, prev ledger.Head) (scan, error) {
	broken := func(format string, args ...any) error {
		return fmt.Errorf("%w: %s: %w", ErrBroken, s.name, fmt.Errorf(format, args...))
	}
	f, err := os.Open(filepath.Join(dir, s.name))
	if err != nil {
		return scan{}, err
	}
	defer f.Close()
	sum := sha256.New()
	in := bufio.NewReaderSize(io.TeeReader(f, sum), maxLine)
	r := scan{head: prev, first: prev}
	for {
		line, err := in.ReadSlice('\n')
		if errors.Is(err, io.EOF) {
			r.cut = len(line) > 0
			break
		}
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return scan{}, err
		}
		raw := bytes.TrimSuffix(line, []byte{'\n'})
		next, err := link(&r, s, raw)
		if err != nil {
			if s.open() && !errors.Is(err, ErrBroken) { // a torn write; what follows it was never flushed
				r.cut = true
				break
			}
			return scan{}, broken("entry after %v: %w", r.head.Position, err)
		}
		r.head = next
		r.entries++
		r.size += int64(len(line))
	}
	switch {
	case s.open():
	case r.cut || r.entries == 0:
		return scan{}, broken("it ends in the middle of an entry")
	case hex.EncodeToString(sum.Sum(nil)) != s.hash:
		return scan{}, broken("its hash is not the one in its name")
	}
	return r, nil
}

// link checks one line of a segment and returns its head.
func link(r *scan, s segment, raw []byte) (ledger.Head, error) {
	if r.entries > 0 || r.head != (ledger.Head{}) {
		next, err := follows(r.head, raw)
		if err == nil && r.entries == 0 && next.Position != s.first {
			err = fmt.Errorf("%w: entry %v begins it", ErrBroken, next.Position)
		}
		return next, err
	}
	e, err := ledger.Decode(raw)
	if err != nil {
		return ledger.Head{}, err
	}
	if e.Position() != s.first {
		return ledger.Head{}, fmt.Errorf("%w: entry %v begins it", ErrBroken, e.Position())
	}
	r.first.Position = ledger.Position{Epoch: e.Epoch, Seq: e.Seq - 1}
	if err := r.first.Hash.UnmarshalText([]byte(e.Prev)); err != nil {
		return ledger.Head{}, err
	}
	return ledger.Head{Position: e.Position(), Hash: ledger.HashOf(raw)}, nil
}

// follows checks that an entry is the next one of a chain.
func follows(head ledger.Head, raw []byte) (ledger.Head, error) {
	e, err := ledger.Decode(raw)
	switch {
	case err != nil:
		return ledger.Head{}, err
	case !e.Follows(head):
		return ledger.Head{}, fmt.Errorf("%w: entry %v does not follow %v", ErrBroken, e.Position(), head.Position)
	}
	return ledger.Head{Position: e.Position(), Hash: ledger.HashOf(raw)}, nil
}

// Report is what Verify found in order.
type Report struct {
	Segments int         `json:"segments"`
	Entries  uint64      `json:"entries"`
	From     ledger.Head `json:"from"` // before the first entry
	Head     ledger.Head `json:"head"`
	// Cut: the open segment ends in the middle of an entry, as after a crash;
	// the archive repairs that itself.
	Cut bool `json:"cut"`
}

// Verify checks an archive by its files alone: every hash, and the chain from
// the first entry to the last. ErrBroken.
func Verify(dir string) (Report, error) {
	segments, err := list(dir)
	if err != nil {
		return Report{}, fmt.Errorf("verify archive: %w", err)
	}
	var r Report
	for i, s := range segments {
		if s.open() && i < len(segments)-1 {
			return r, fmt.Errorf("verify archive: %w: %s is not the last segment", ErrBroken, s.name)
		}
		found, err := scanSegment(dir, s, r.Head)
		if err != nil {
			return r, fmt.Errorf("verify archive: %w", err)
		}
		if i == 0 {
			r.From = found.first
		}
		r.Head, r.Cut = found.head, found.cut
		r.Segments++
		r.Entries += found.entries
	}
	return r, nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
