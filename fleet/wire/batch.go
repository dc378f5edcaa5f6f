package wire

import (
	"bytes"
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"math"
	"strconv"

	"github.com/ssg-safe/agent/ledger"
)

// Batch is a run of ledger entries without a gap, all of one epoch. On the wire
// it is one line of JSON, the header, and then the exact stored bytes of each
// entry, one a line; every line ends with a line feed, and no entry holds one.
// So the bytes that are hashed never pass through anybody's JSON encoder.
type Batch struct {
	V          int             `json:"v"`                    // version of the message, 1
	SID        string          `json:"sid"`                  // id of the session, as in state
	From       ledger.Position `json:"from"`                 // position of the first entry
	Prev       ledger.Hash     `json:"prev"`                 // hash of the entry before the first; zeros when there is none
	Count      int             `json:"count"`                // how many entries follow
	Checkpoint *ledger.Signed  `json:"checkpoint,omitempty"` // what the terminal signed about its chain; in the last batch of a run

	// Entries are the stored bytes.
	Entries [][]byte `json:"-"`
}

// At is the position of entry i.
func (b Batch) At(i int) ledger.Position {
	return ledger.Position{Epoch: b.From.Epoch, Seq: b.From.Seq + uint64(i)}
}

// Encode makes the MQTT payload. Count is set from Entries.
//
// Errors: ErrVersion, ErrMalformed, ErrTooLarge.
func (b Batch) Encode() ([]byte, error) {
	payload, err := b.encode()
	if err != nil {
		return nil, fmt.Errorf("encode batch %v: %w", b.From, err)
	}
	return payload, nil
}

func (b Batch) encode() ([]byte, error) {
	b.Count = len(b.Entries)
	if b.V != Version {
		return nil, fmt.Errorf("%w %d", ErrVersion, b.V)
	}
	if err := b.check(); err != nil {
		return nil, err
	}
	header, err := marshal(b)
	if err != nil {
		return nil, err
	}
	if len(header) > MaxBatchHeader {
		return nil, fmt.Errorf("%w: header of %d bytes", ErrTooLarge, len(header))
	}
	if b.Checkpoint != nil {
		if !bytes.Contains(header, b.Checkpoint.Checkpoint) {
			return nil, fmt.Errorf("%w: the checkpoint has white space, its signature would break", ErrMalformed)
		}
		if err := read(header, new(Batch), nil); err != nil {
			return nil, err
		}
	}
	size := len(header) + 1
	for _, e := range b.Entries {
		size += len(e) + 1
	}
	out := make([]byte, 0, size)
	out = append(append(out, header...), '\n')
	for _, e := range b.Entries {
		out = append(append(out, e...), '\n')
	}
	payload := Pack(out)
	if len(payload) > MaxPacket {
		return nil, fmt.Errorf("%w: payload of %d bytes", ErrTooLarge, len(payload))
	}
	return payload, nil
}

// DecodeBatch reads an MQTT payload. It checks form, sizes and that the entries
// say the positions that follow from the header. Hashes, and what is inside an
// entry, are the hub's business. The entries may share memory with payload.
//
// Errors: ErrTooLarge, ErrEncoding, ErrVersion, ErrMalformed.
func DecodeBatch(payload []byte) (Batch, error) {
	b, err := decodeBatch(payload)
	if err != nil {
		return Batch{}, fmt.Errorf("decode batch: %w", err)
	}
	return b, nil
}

func decodeBatch(payload []byte) (Batch, error) {
	raw, err := Unpack(payload)
	if err != nil {
		return Batch{}, err
	}
	header, rest, ok := bytes.Cut(raw, []byte("\n"))
	switch {
	case len(header) > MaxBatchHeader:
		return Batch{}, fmt.Errorf("%w: header of more than %d bytes", ErrTooLarge, MaxBatchHeader)
	case !ok:
		return Batch{}, fmt.Errorf("%w: the header is not a line", ErrMalformed)
	}
	var b Batch
	if err := read(header, &b, func() error { return versionOf(header) }); err != nil {
		return Batch{}, err
	}
	for len(rest) > 0 {
		entry, after, ok := bytes.Cut(rest, []byte("\n"))
		if !ok {
			return Batch{}, fmt.Errorf("%w: the last entry is not a line", ErrMalformed)
		}
		if len(b.Entries) == MaxBatchEntries {
			return Batch{}, fmt.Errorf("%w: more than %d entries", ErrTooLarge, MaxBatchEntries)
		}
		b.Entries = append(b.Entries, entry[:len(entry):len(entry)])
		rest = after
	}
	if err := b.check(); err != nil {
		return Batch{}, err
	}
	return b, nil
}

func (b Batch) check() error {
	if err := id("sid", b.SID); err != nil {
		return err
	}
	switch n := uint64(len(b.Entries)); {
	case n == 0 || b.Count != len(b.Entries):
		return fmt.Errorf("%w: %d entries, count says %d", ErrMalformed, n, b.Count)
	case n > MaxBatchEntries:
		return fmt.Errorf("%w: %d entries", ErrTooLarge, n)
	case b.From.Seq == 0 || b.From.Seq > math.MaxUint64-n:
		return fmt.Errorf("%w: from %v", ErrMalformed, b.From)
	}
	size := 0
	for i, e := range b.Entries {
		switch size += len(e); {
		case len(e) > MaxEntry:
			return fmt.Errorf("%w: entry %v of %d bytes", ErrTooLarge, b.At(i), len(e))
		case bytes.IndexByte(e, '\n') >= 0, !bytes.HasSuffix(e, []byte("}")):
			return fmt.Errorf("%w: entry %v is not one line with one object", ErrMalformed, b.At(i))
		case !says(e, b.At(i)):
			return fmt.Errorf("%w: entry %v says another position: %.60q", ErrMalformed, b.At(i), e)
		}
	}
	if size > MaxBatchBytes && len(b.Entries) > 1 {
		return fmt.Errorf("%w: %d bytes of entries", ErrTooLarge, size)
	}
	return b.checkCheckpoint()
}

func (b Batch) checkCheckpoint() error {
	if b.Checkpoint == nil {
		return nil
	}
	if c := b.Checkpoint.Checkpoint; len(b.Checkpoint.Signature) != ed25519.SignatureSize || !json.Valid(c) || c[0] != '{' {
		return fmt.Errorf("%w: checkpoint", ErrMalformed)
	}
	return nil
}

// says reports whether an entry begins as the envelope of every version does,
// {"v":N,"epoch":E,"seq":S, with this position.
func says(entry []byte, p ledger.Position) bool {
	rest, ok := bytes.CutPrefix(entry, []byte(`{"v":`))
	if !ok {
		return false
	}
	digits := 0
	for digits < len(rest) && rest[digits] >= '0' && rest[digits] <= '9' {
		digits++
	}
	want := make([]byte, 0, 64)
	want = append(want, `,"epoch":`...)
	want = strconv.AppendUint(want, p.Epoch, 10)
	want = append(want, `,"seq":`...)
	want = strconv.AppendUint(want, p.Seq, 10)
	want = append(want, ',')
	return digits > 0 && bytes.HasPrefix(rest[digits:], want)
}
