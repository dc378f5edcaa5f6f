package simkit

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// Journal is an append-only file of JSON lines. A record that Append has
// returned for survives kill -9 and power cuts; a torn last line is dropped
// when the file is opened again. Without a directory it keeps nothing.
//
// A Journal has one owner; its methods must not run concurrently.
type Journal struct {
	file *os.File // nil: nothing is kept
	size int64
	err  error // the first failed append; the file's end is unknown since
}

// ErrInUse means that another process has the journal open.
var ErrInUse = errors.New("ledger is in use by another simulator")

// OpenJournal opens dir/name, creating both, and replays every record in
// order. An empty dir means in memory.
func OpenJournal[T any](dir, name string, replay func(T) error) (_ *Journal, err error) {
	if dir == "" {
		return &Journal{}, nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open ledger: %w", err)
	}
	path := filepath.Join(dir, name)
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open ledger: %w", err)
	}
	defer func() {
		if err != nil {
			file.Close() // the open failed
		}
	}()
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		if errors.Is(err, syscall.EWOULDBLOCK) {
			err = ErrInUse
		}
		return nil, fmt.Errorf("lock ledger %s: %w", path, err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read ledger: %w", err)
	}
	whole := text[:bytes.LastIndexByte(text, '\n')+1]
	n := 0
	for line := range bytes.Lines(whole) {
		n++
		var record T
		err := json.Unmarshal(line, &record)
		if err == nil {
			err = replay(record)
		}
		if err != nil {
			return nil, fmt.Errorf("read ledger %s line %d: %w", path, n, err)
		}
	}
	if err := file.Truncate(int64(len(whole))); err != nil {
		return nil, fmt.Errorf("drop torn line of ledger: %w", err)
	}
	if err := errors.Join(file.Sync(), syncDir(dir)); err != nil {
		return nil, fmt.Errorf("sync ledger: %w", err)
	}
	return &Journal{file: file, size: int64(len(whole))}, nil
}

// Append writes one record and waits until it is on disk. After an error the
// journal refuses everything: what is on disk is only known by opening it
// again.
func (j *Journal) Append(record any) error {
	line, err := json.Marshal(record)
	if err != nil {
		return fmt.Errorf("append to ledger: %w", err)
	}
	if j.file == nil {
		return nil
	}
	if j.err != nil {
		return j.err
	}
	line = append(line, '\n')
	_, err = j.file.WriteAt(line, j.size)
	if err == nil {
		err = j.file.Sync()
	}
	if err != nil {
		j.err = fmt.Errorf("append to ledger: %w", err)
		return j.err
	}
	j.size += int64(len(line))
	return nil
}

// Close closes the file and gives up its lock.
func (j *Journal) Close() error {
	if j.file == nil {
		return nil
	}
	return j.file.Close()
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
