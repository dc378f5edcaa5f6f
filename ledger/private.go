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
	when := binary.BigEndian.AppendUint64(nil, uint64(max(at.UnixMilli(), 0)))
	if err := tx.Bucket(bPrivateAge).Put(append(when, subject...), []byte{}); err != nil {
		return fmt.Errorf("keep private data of %s: %w", subject, err)
	}
	if err := tx.Bucket(bPrivate).Put([]byte(subject), append(bytes.Clone(when), data...)); err != nil {
		return fmt.Errorf("keep private data of %s: %w", subject, err)
	}
	return nil
}

// GetPrivate returns a copy of a subject's data; nil: there is none (any more).
func GetPrivate(tx *bbolt.Tx, subject string) ([]byte, error) {
	raw := tx.Bucket(bPrivate).Get([]byte(subject))
	switch {
	case raw == nil:
		return nil, nil
	case len(raw) < 8:
		return nil, fmt.Errorf("%w: private data of %s", ErrBroken, subject)
	}
	return append([]byte{}, raw[8:]...), nil
}

func dropPrivate(tx *bbolt.Tx, subject string) error {
	raw := tx.Bucket(bPrivate).Get([]byte(subject))
	if len(raw) < 8 {
		return nil
	}
	if err := tx.Bucket(bPrivateAge).Delete(append(bytes.Clone(raw[:8]), subject...)); err != nil {
		return err
	}
	return tx.Bucket(bPrivate).Delete([]byte(subject))
}

// PurgePrivate deletes what was kept before the given time, at most limit
// subjects, and returns how many it deleted.
func PurgePrivate(tx *bbolt.Tx, before time.Time, limit int) (int, error) {
	end := binary.BigEndian.AppendUint64(nil, uint64(max(before.UnixMilli(), 0)))
	var subjects []string
	c := tx.Bucket(bPrivateAge).Cursor()
	for k, _ := c.First(); len(k) > 8 && bytes.Compare(k[:8], end) < 0 && len(subjects) < limit; k, _ = c.Next() {
		subjects = append(subjects, string(k[8:]))
	}
	for _, s := range subjects {
		if err := dropPrivate(tx, s); err != nil {
			return 0, fmt.Errorf("purge private data: %w", err)
		}
	}
	return len(subjects), nil
}

// KeyedHash is a fingerprint of private data that may stand in an entry: HMAC
// with a secret that never leaves the store, in hex, so that a short list of
// candidates (all CPFs, say) cannot be tried against an exported ledger.
func KeyedHash(tx *bbolt.Tx, data []byte) (string, error) {
	pepper := tx.Bucket(bMeta).Get(kPepper)
	if len(pepper) != 32 {
		return "", fmt.Errorf("%w: no pepper", ErrBroken)
	}
	mac := hmac.New(sha256.New, pepper)
	mac.Write(data)
	return hex.EncodeToString(mac.Sum(nil)), nil
}
