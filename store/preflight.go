package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"os"
	"syscall"

	bolterrors "go.etcd.io/bbolt/errors"
)

// bbolt's meta pages, pages 0 and 1: a page header of 16 bytes, then 64 bytes
// in the machine's byte order (little on every target of this program).
const (
	metaAt      = 16
	metaLen     = 64
	boltMagic   = 0xED0CDAED
	boltVersion = 2
)

type meta struct {
	pageSize                      uint32
	root, highWater, txid, freeAt uint64
}

// parseMeta reads one meta page; ok is false if it is not valid.
func parseMeta(page []byte) (m meta, ok bool) {
	if len(page) < metaAt+metaLen {
		return meta{}, false
	}
	b := page[metaAt : metaAt+metaLen]
	sum := fnv.New64a()
	sum.Write(b[:56])
	if binary.LittleEndian.Uint32(b) != boltMagic || binary.LittleEndian.Uint32(b[4:]) != boltVersion ||
		binary.LittleEndian.Uint64(b[56:]) != sum.Sum64() {
		return meta{}, false
	}
	return meta{
		pageSize: binary.LittleEndian.Uint32(b[8:]), root: binary.LittleEndian.Uint64(b[16:]),
		freeAt: binary.LittleEndian.Uint64(b[32:]), highWater: binary.LittleEndian.Uint64(b[40:]),
		txid: binary.LittleEndian.Uint64(b[48:]),
	}, true
}

// preflight refuses a file that would make bbolt panic or read past its end.
// It never writes and takes no lock.
func preflight(path string) error {
	f, err := os.Open(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("open store %s: %w", path, ErrNotExist)
	case err != nil:
		return fmt.Errorf("open store: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("open store: %w", err)
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("open store %s: not a regular file", path)
	}
	damaged := func(format string, args ...any) error {
		return fmt.Errorf("open store %s: %w: %s", path, ErrCorrupt, fmt.Sprintf(format, args...))
	}
	if info.Size() < 4*pageSize {
		return damaged("it has only %d bytes", info.Size())
	}
	pages := make([]byte, 2*pageSize)
	if _, err := f.ReadAt(pages, 0); err != nil {
		return fmt.Errorf("open store: %w", err)
	}
	m, ok := parseMeta(pages)
	if other, ok2 := parseMeta(pages[pageSize:]); ok2 && (!ok || other.txid > m.txid) {
		m, ok = other, true
	}
	switch {
	case !ok:
		return damaged("neither meta page is valid")
	case m.pageSize != pageSize:
		return damaged("page size %d", m.pageSize)
	case int64(m.highWater) > info.Size()/pageSize:
		return damaged("it ends after %d bytes, but %d pages are in use", info.Size(), m.highWater)
	case m.root < 2 || m.root >= m.highWater:
		return damaged("root page %d of %d", m.root, m.highWater)
	}
	return nil
}

func fileSize(path string) int64 {
	info, err := os.Stat(path)
	if err != nil {
		return 0
	}
	return info.Size()
}

// unwritable says why a store that failed to open for writing may still be
// read: a fault of space or of the disk, not of the file.
func unwritable(err error) string {
	switch {
	case err == nil, errors.Is(err, ErrCorrupt), errors.Is(err, ErrLocked):
		return ""
	case errors.Is(err, bolterrors.ErrMaxSizeReached):
		return "the file is full"
	}
	for errno, reason := range map[syscall.Errno]string{
		syscall.ENOSPC: "the disk is full", syscall.EDQUOT: "the disk quota is used up", syscall.EFBIG: "the file is at its size limit",
		syscall.EROFS: "the filesystem is read-only", syscall.EIO: "the disk reports errors",
	} {
		if errors.Is(err, errno) {
			return fmt.Sprintf("%s (%v)", reason, err)
		}
	}
	return ""
}
