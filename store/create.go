package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"go.etcd.io/bbolt"
	"golang.org/x/sys/unix"
)

const fillChunk = 1 << 20

// Create makes a store file, ready for Open: it is built and filled with zeros
// under a temporary name, flushed, renamed, and the directory flushed. A crash
// at any point leaves no file under the final name, or a whole one. The
// directory must exist; it is locked meanwhile.
//
// Errors: ErrExists, ErrNoSpace, ErrLocked (someone else creates it now),
// ErrCorrupt (the former file lies in quarantine).
func Create(ctx context.Context, o Options) error {
	if size := o.size(); size < MinSize || size%pageSize != 0 {
		return fmt.Errorf("create store %s: size %d is not a multiple of %d from %d", o.Path, size, pageSize, MinSize)
	}
	dir, err := lockDir(o.Path)
	if err != nil {
		return err
	}
	defer dir.Close()
	if err := refuseQuarantined(o.Path); err != nil {
		return err
	}
	if _, err := os.Lstat(o.Path); err == nil {
		return fmt.Errorf("create store %s: %w", o.Path, ErrExists)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("create store: %w", err)
	}
	temp := o.Path + ".tmp" // of an earlier Create that was cut short
	if err := os.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("create store: %w", err)
	}
	if err := checkSpace(o); err != nil {
		return err
	}
	if err := build(ctx, o, temp); err != nil {
		_ = os.Remove(temp)
		return fmt.Errorf("create store %s: %w", o.Path, err)
	}
	if err := os.Rename(temp, o.Path); err != nil {
		return fmt.Errorf("create store: %w", err)
	}
	if err := dir.Sync(); err != nil {
		return fmt.Errorf("create store: flush directory: %w", err)
	}
	return nil
}

func lockDir(path string) (*os.File, error) {
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return nil, fmt.Errorf("create store: %w", err)
	}
	if err := unix.Flock(int(dir.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = dir.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("create store %s: %w: it is being created", path, ErrLocked)
		}
		return nil, fmt.Errorf("create store: lock directory: %w", err)
	}
	return dir, nil
}

// checkSpace wants the file and a little for the filesystem's own records.
func checkSpace(o Options) error {
	var fs unix.Statfs_t
	dir := filepath.Dir(o.Path)
	if err := unix.Statfs(dir, &fs); err != nil {
		return fmt.Errorf("create store: free space of %s: %w", dir, err)
	}
	free, want := int64(fs.Bavail)*int64(fs.Bsize), o.size()+o.size()/64
	if free < want {
		return fmt.Errorf("create store %s: %w: %d MiB needed, %d MiB free", o.Path, ErrNoSpace, (want+1<<20-1)>>20, free>>20)
	}
	return nil
}

func build(ctx context.Context, o Options, temp string) error {
	db, err := openBolt(temp, o.size(), false)
	if err != nil {
		return err
	}
	used, err := layOut(db, o)
	if err := errors.Join(err, db.Close()); err != nil {
		return err
	}
	f, err := os.OpenFile(temp, os.O_RDWR, fileMode)
	if err != nil {
		return err
	}
	if err := errors.Join(fill(ctx, f, used, o), f.Close()); err != nil {
		return err
	}
	return nil
}

// layOut writes the buckets and returns how many bytes of the file are in use.
func layOut(db *bbolt.DB, o Options) (used int64, err error) {
	if err := initialise(db, o.size()); err != nil {
		return 0, err
	}
	if err := migrate(db, o, 0); err != nil {
		return 0, err
	}
	err = db.View(func(tx *bbolt.Tx) error {
		used = tx.Size()
		return nil
	})
	return used, err
}

// fill writes zeros over everything that bbolt has not used yet, so that the
// filesystem has given all blocks and later writes change no metadata.
func fill(ctx context.Context, f *os.File, from int64, o Options) error {
	zeros := make([]byte, fillChunk)
	size := o.size()
	for at := from; at < size; {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := f.WriteAt(zeros[:min(fillChunk, size-at)], at)
		if err != nil {
			return fmt.Errorf("fill: %w", err)
		}
		at += int64(n)
		if o.Progress != nil {
			o.Progress(at, size)
		}
	}
	if err := f.Sync(); err != nil {
		return fmt.Errorf("flush: %w", err)
	}
	return nil
}
