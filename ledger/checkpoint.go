package ledger

import (
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"go.etcd.io/bbolt"

	"github.com/ssg-safe/agent/store"
)

// ErrSignature: a checkpoint that its key did not sign.
var ErrSignature = errors.New("the signature of the checkpoint is wrong")

// checkpointDomain precedes the signed bytes, so that no other signature of the
// device key can be taken for a checkpoint.
const checkpointDomain = "ssg-agent ledger checkpoint v1\n"

// Checkpoint is what a device says about its chain at one moment. Who has seen
// it can tell later whether the tail of the chain was cut off or written anew.
type Checkpoint struct {
	Device string    `json:"device"`
	Head   Head      `json:"head"`
	Boot   string    `json:"boot"`
	Wall   time.Time `json:"wall"`
}

// Signed is a checkpoint's exact bytes with their Ed25519 signature.
type Signed struct {
	Checkpoint json.RawMessage `json:"checkpoint"`
	Signature  []byte          `json:"signature"`
}

// Sign signs a checkpoint.
func Sign(key ed25519.PrivateKey, c Checkpoint) (Signed, error) {
	c.Wall = c.Wall.UTC().Truncate(time.Millisecond)
	raw, err := json.Marshal(c)
	if err != nil {
		return Signed{}, fmt.Errorf("sign checkpoint: %w", err)
	}
	return Signed{raw, ed25519.Sign(key, append([]byte(checkpointDomain), raw...))}, nil
}

// Check verifies the signature and returns the checkpoint, or ErrSignature.
func (s Signed) Check(pub ed25519.PublicKey) (Checkpoint, error) {
	if len(pub) != ed25519.PublicKeySize || !ed25519.Verify(pub, append([]byte(checkpointDomain), s.Checkpoint...), s.Signature) {
		return Checkpoint{}, ErrSignature
	}
	var c Checkpoint
	if err := json.Unmarshal(s.Checkpoint, &c); err != nil {
		return Checkpoint{}, fmt.Errorf("read checkpoint: %w", err)
	}
	return c, nil
}

// PutCheckpoint keeps a checkpoint of this chain, at which it may be pruned
// later. Errors: ErrSignature, ErrMismatch.
func PutCheckpoint(tx *bbolt.Tx, s Signed, pub ed25519.PublicKey) error {
	c, err := s.Check(pub)
	if err != nil {
		return err
	}
	if err := holds(tx, c.Head); err != nil {
		return fmt.Errorf("keep checkpoint: %w", err)
	}
	raw, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("keep checkpoint: %w", err)
	}
	b := tx.Bucket(bCheckpoints)
	b.FillPercent = fillGrowing
	key := c.Head.Position.key()
	return b.Put(key, store.Seal(key, raw))
}

// readCheckpoint reads a row of the bucket.
func readCheckpoint(key, row []byte) (Signed, error) {
	pos, _ := positionOf(key)
	raw, err := store.Unseal(key, row)
	var s Signed
	if err == nil {
		err = json.Unmarshal(raw, &s)
	}
	if err != nil {
		return Signed{}, fmt.Errorf("%w: checkpoint %v: %w", ErrBroken, pos, err)
	}
	return s, nil
}

// verifyCheckpoints checks that what was signed is on the chain.
func verifyCheckpoints(tx *bbolt.Tx) error {
	anchor, err := GetAnchor(tx)
	if err != nil {
		return err
	}
	c := tx.Bucket(bCheckpoints).Cursor()
	for k, row := c.First(); k != nil; k, row = c.Next() {
		s, err := readCheckpoint(k, row)
		if err != nil {
			return err
		}
		var cp Checkpoint
		pos, _ := positionOf(k)
		if err := json.Unmarshal(s.Checkpoint, &cp); err != nil || cp.Head.Position != pos || pos.Before(anchor.Position) {
			return fmt.Errorf("%w: checkpoint %v", ErrBroken, pos)
		}
		if err := holds(tx, cp.Head); err != nil {
			return fmt.Errorf("%w: checkpoint: %w", ErrBroken, err)
		}
	}
	return nil
}
