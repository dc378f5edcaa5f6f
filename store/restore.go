package store

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"go.etcd.io/bbolt"
	"golang.org/x/sys/unix"
)

// SaveBackup makes a new file of what write writes, which is what [Store.Backup]
// wrote, here or in another process. It is flushed, and examined as by [Examine] with
// the store's options: what is there under that name at the end can be restored.
// Errors: fs.ErrExist, ErrCorrupt (of the copy, and so perhaps of the store), Examine's.
func SaveBackup(ctx context.Context, o Options, path string, write func(io.Writer) error) (err error) {
	if _, err := os.Lstat(path); err == nil {
		return fmt.Errorf("back up store: %s: %w", path, fs.ErrExist)
	}
	temp := path + ".tmp"
	f, err := os.OpenFile(temp, os.O_RDWR|os.O_CREATE|os.O_TRUNC, fileMode)
	if err != nil {
		return fmt.Errorf("back up store: %w", err)
	}
	defer func() {
		if err != nil {
			_ = os.Remove(temp)
		}
	}()
	if err := errors.Join(write(f), f.Sync(), f.Close()); err != nil {
		return err
	}
	o.Path, o.Copy = temp, true
	if err := Examine(ctx, o); err != nil {
		return fmt.Errorf("back up store: the copy cannot be restored: %w", err)
	}
	if err := os.Rename(temp, path); err != nil {
		return fmt.Errorf("back up store: %w", err)
	}
	return syncDir(path)
}

// Restore makes the store of a backup: a file that [SaveBackup] made, or
// a copy of a closed store. The copy is filled to its full size, examined as by
// [BootCheck] and migrated; then change is committed to it, which must make it
// fit to go on (a new epoch). Only then it gets the store's name, and a
// quarantine ends. A crash at any point leaves the place as it was, or the
// restored store. The backup is not changed.
//
// With replace, a store that is in the place is kept beside it under the name
// that is returned; without, it is ErrExists. Nothing may use it: ErrLocked.
// Other errors: ErrNoSpace, ErrNewer, ErrCorrupt (of the backup), change's.
func Restore(ctx context.Context, o Options, backup string, replace bool, change func(*bbolt.Tx) error) (replaced string, err error) {
	dir, err := lockDir(o.Path)
	if err != nil {
		return "", err
	}
	defer dir.Close()
	old, err := lockOld(o.Path, replace)
	if err != nil {
		return "", err
	}
	defer old.Close()
	size, err := recordedSize(backup)
	if err != nil {
		return "", fmt.Errorf("restore store from %s: %w", backup, err)
	}
	temp := o
	temp.Path, temp.Size = o.Path+".tmp", size
	if err := os.Remove(temp.Path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("restore store: %w", err)
	}
	if err := checkSpace(temp); err != nil {
		return "", err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(temp.Path)
		}
	}()
	if err := copyWhole(ctx, backup, temp); err != nil {
		return "", fmt.Errorf("restore store from %s: %w", backup, err)
	}
	if err := Examine(ctx, temp); err != nil {
		return "", fmt.Errorf("restore store from %s: %w", backup, err)
	}
	if err := commitTo(temp, change); err != nil {
		return "", fmt.Errorf("restore store from %s: %w", backup, err)
	}
	if old != nil {
		replaced = o.Path + ".replaced-" + time.Now().UTC().Format("20060102T150405Z")
		if err := os.Link(o.Path, replaced); err != nil { // so that the name is never empty
			return "", fmt.Errorf("restore store: keep the old one: %w", err)
		}
	}
	if err := os.Rename(temp.Path, o.Path); err != nil {
		return replaced, fmt.Errorf("restore store: %w", err)
	}
	if err := dir.Sync(); err != nil {
		return replaced, fmt.Errorf("restore store: flush directory: %w", err)
	}
	if err := os.Remove(markerPath(o.Path)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return replaced, fmt.Errorf("restore store: end quarantine: %w", err)
	}
	return replaced, dir.Sync()
}

// lockOld takes the lock of the store that is in the place; nil when there is
// none. It is bbolt's own lock, and no page of the file is read.
func lockOld(path string, replace bool) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("restore store: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("restore store %s: %w%s", path, ErrLocked, holder(path)), f.Close())
	}
	if !replace {
		return nil, errors.Join(fmt.Errorf("restore store %s: %w", path, ErrExists), f.Close())
	}
	return f, nil
}

// recordedSize reads the size that a store had out of a copy of it.
func recordedSize(path string) (size int64, err error) {
	if err := preflight(path); err != nil {
		return 0, err
	}
	db, err := openBolt(path, fileSize(path), true)
	if err != nil {
		return 0, err
	}
	err = guard(func() error {
		return db.View(func(tx *bbolt.Tx) error {
			b := tx.Bucket(recordBucket)
			if b == nil || len(b.Get(keySize)) != 8 {
				return fmt.Errorf("%w: it has no record of its own", ErrCorrupt)
			}
			size = int64(binary.BigEndian.Uint64(b.Get(keySize)))
			if size < fileSize(path) || size > maxSize {
				return fmt.Errorf("%w: %d bytes of a store of %d", ErrCorrupt, fileSize(path), size)
			}
			return nil
		})
	})
	return size, closeAfter(db, err)
}

// maxSize bounds what a damaged record can make Restore fill.
const maxSize = 1 << 40

// copyWhole copies a backup and fills it to the store's size, without holes.
func copyWhole(ctx context.Context, backup string, to Options) error {
	in, err := os.Open(backup)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to.Path, os.O_RDWR|os.O_CREATE|os.O_EXCL, fileMode)
	if err != nil {
		return err
	}
	// Written through memory: a copy by the filesystem could share its blocks.
	n, err := io.Copy(struct{ io.Writer }{out}, struct{ io.Reader }{in})
	if err == nil {
		err = fill(ctx, out, n, to)
	}
	return errors.Join(err, give(out), out.Close())
}

// give hands a file that root made to the owner of its directory: the agent's
// user, who must be able to open it.
func give(f *os.File) error {
	dir, err := os.Stat(filepath.Dir(f.Name()))
	if err != nil {
		return err
	}
	owner, ok := dir.Sys().(*syscall.Stat_t)
	if !ok || os.Geteuid() != 0 {
		return nil
	}
	return f.Chown(int(owner.Uid), int(owner.Gid))
}

// commitTo migrates a store file nobody knows yet, and commits change to it.
func commitTo(o Options, change func(*bbolt.Tx) error) error {
	s, err := open(o, false)
	if err != nil {
		return err
	}
	tx, err := s.db.Begin(true)
	if err == nil {
		if err = change(tx); err == nil {
			err = s.commit(tx)
		} else {
			err = errors.Join(err, tx.Rollback())
		}
	}
	if err := errors.Join(err, s.db.Close()); err != nil {
		return err
	}
	return Check(o)
}
