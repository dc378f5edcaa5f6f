package ledger

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"time"

	"go.etcd.io/bbolt"

	"github.com/ssg-safe/agent/store"
)

// PutPrivate keeps personal data or a payable code apart from the entries,
// under a subject such as a charge id, until PurgePrivate. It replaces what the
// subject had.
func PutPrivate(tx *bbolt.Tx, at time.Time, subject string, data []byte) error {
	if !isToken(subject) {
		return fmt.Errorf("keep private data: subject %q", subject)
	}
	if err := dropPrivate(tx, subject); err != nil {
		return err
	}
	when := ageKey(at)
	rows, ages := tx.Bucket(bPrivate), tx.Bucket(bPrivateAge)
	rows.FillPercent, ages.FillPercent = fillIndex, fillIndex
	if err := ages.Put(append(when, subject...), []byte{}); err != nil {
		return fmt.Errorf("keep private data of %s: %w", subject, err)
	}
	key := []byte(subject)
	if err := rows.Put(key, store.Seal(key, append(when[:8:8], data...))); err != nil {
		return fmt.Errorf("keep private data of %s: %w", subject, err)
	}
	return nil
}

// GetPrivate returns a copy of a subject's data; nil: there is none (any more).
func GetPrivate(tx *bbolt.Tx, subject string) ([]byte, error) {
	_, data, err := readPrivate(tx, subject)
	return data, err
}

// readPrivate returns the time and a copy of the data, both nil for none.
func readPrivate(tx *bbolt.Tx, subject string) (when, data []byte, err error) {
	row := tx.Bucket(bPrivate).Get([]byte(subject))
	if row == nil {
		return nil, nil, nil
	}
	value, err := store.Unseal([]byte(subject), row)
	if err != nil || len(value) < 8 {
		return nil, nil, fmt.Errorf("%w: private data of %s cannot be read", ErrBroken, subject)
	}
	value = bytes.Clone(value)
	return value[:8:8], value[8:], nil
}

func dropPrivate(tx *bbolt.Tx, subject string) error {
	when, _, err := readPrivate(tx, subject)
	if err != nil || when == nil {
		return err
	}
	if err := tx.Bucket(bPrivateAge).Delete(append(when, subject...)); err != nil {
		return err
	}
	return tx.Bucket(bPrivate).Delete([]byte(subject))
}

// verifyPrivate checks that every subject can be read and has its row by time.
func verifyPrivate(tx *bbolt.Tx) error {
	ages := tx.Bucket(bPrivateAge)
	subjects, rows := 0, 0
	c := tx.Bucket(bPrivate).Cursor()
	for k, _ := c.First(); k != nil; k, _ = c.Next() {
		when, _, err := readPrivate(tx, string(k))
		if err != nil {
			return err
		}
		if ages.Get(append(when, k...)) == nil {
			return fmt.Errorf("%w: private data of %s has no row by time", ErrBroken, k)
		}
		subjects++
	}
	c = ages.Cursor()
	for k, _ := c.First(); k != nil; k, _ = c.Next() {
		rows++
	}
	if rows != subjects {
		return fmt.Errorf("%w: %d subjects with private data, %d rows by time", ErrBroken, subjects, rows)
	}
	return nil
}

// PurgePrivate deletes what was kept before the given time, at most limit
// subjects, and returns how many it deleted. It spares the subjects of which
// inUse says so; nil spares none.
func PurgePrivate(tx *bbolt.Tx, before time.Time, limit int, inUse func(subject string) bool) (int, error) {
	end := ageKey(before)
	var subjects []string
	c := tx.Bucket(bPrivateAge).Cursor()
	for k, _ := c.First(); len(k) > 8 && bytes.Compare(k[:8], end) < 0 && len(subjects) < limit; k, _ = c.Next() {
		if subject := string(k[8:]); inUse == nil || !inUse(subject) {
			subjects = append(subjects, subject)
		}
	}
	for _, s := range subjects {
		if err := dropPrivate(tx, s); err != nil {
			return 0, fmt.Errorf("purge private data: %w", err)
		}
	}
	return len(subjects), nil
}

// RedatePrivate dates anew, as of now, what a clock that ran ahead had dated
// after the given time, at most limit subjects; it would never be purged. It
// returns how many there were.
func RedatePrivate(tx *bbolt.Tx, after, now time.Time, limit int) (int, error) {
	start := ageKey(after)
	var subjects []string
	c := tx.Bucket(bPrivateAge).Cursor()
	for k, _ := c.Seek(start); len(k) > 8 && len(subjects) < limit; k, _ = c.Next() {
		subjects = append(subjects, string(k[8:]))
	}
	for _, s := range subjects {
		_, data, err := readPrivate(tx, s)
		if err == nil {
			err = PutPrivate(tx, now, s, data)
		}
		if err != nil {
			return 0, fmt.Errorf("date private data anew: %w", err)
		}
	}
	return len(subjects), nil
}

// ageKey is how rows by time begin.
func ageKey(t time.Time) []byte {
	return binary.BigEndian.AppendUint64(nil, uint64(max(t.UnixMilli(), 0)))
}

// KeyedHash is a fingerprint of private data that may stand in an entry: HMAC
// with a secret that never leaves the store, in hex, so that a short list of
// candidates (all CPFs, say) cannot be tried against an exported ledger.
func KeyedHash(tx *bbolt.Tx, data []byte) (string, error) {
	pepper, err := needMeta(tx, kPepper, 32)
	if err != nil {
		return "", err
	}
	mac := hmac.New(sha256.New, pepper)
	mac.Write(data)
	return hex.EncodeToString(mac.Sum(nil)), nil
}
