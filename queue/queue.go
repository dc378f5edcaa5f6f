// Package queue keeps the jobs that the terminal still owes the world: provider
// calls and prints, with their attempts and the reason why they wait. A job
// exists only where an effect has retry state of its own; what merely has to
// reach the hub is in the ledger.
//
// The queue knows nothing of kinds. State is a word that belongs to the machine
// of the job's kind; Payload is that machine's data. When to try again is the
// machine's business too: nothing here runs by itself.
//
// A job is put and removed in the transaction of the entries it belongs to. Its
// operation id is unique among all jobs, waiting and dead. A job that cannot be
// helped is buried, and waits among the dead letters until a person revives or
// drops it.
//
// All functions work in the caller's transaction. [Migrations] make the buckets.
package queue

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"go.etcd.io/bbolt"

	"github.com/ssg-safe/agent/store"
)

// Errors that callers branch on.
var (
	// ErrDuplicate: a job with this operation id exists.
	ErrDuplicate = errors.New("a job of this operation exists")
	// ErrNotFound: there is no such job.
	ErrNotFound = errors.New("no such job")
	// ErrJob: a job that cannot be stored.
	ErrJob = errors.New("not a valid job")
	// ErrBroken: the queue contradicts itself; the text says where.
	ErrBroken = errors.New("the queue is broken")
)

// maxJob bounds the stored form of a job, in bytes.
const maxJob = 16 << 10

// Job is one effect that is still owed.
type Job struct {
	// ID is given by Put, rising, never used twice.
	ID uint64 `json:"id"`
	// Op is the operation id, unique in the queue; Kind names the machine;
	// Subject is what the job is about, such as a charge id. These three never
	// change.
	Op      string `json:"op"`
	Kind    string `json:"kind"`
	Subject string `json:"subject,omitempty"`
	// State is the machine's word.
	State string `json:"state"`
	// Attempts so far, and the Reason why the job waits or died.
	Attempts int    `json:"attempts"`
	Reason   string `json:"reason,omitempty"`
	// Payload is the machine's data; no personal data, no secret.
	Payload json.RawMessage `json:"payload,omitempty"`
	// Created is the wall clock at Put, for people; nothing is decided by it.
	Created time.Time `json:"created,omitzero"`
}

// Buckets. Ids are big-endian.
var (
	bJobs = []byte("queue")      // id -> job, sealed
	bDead = []byte("queue_dead") // id -> job, sealed
	bOps  = []byte("queue_ops")  // operation id -> id
)

// Migrations of the queue, for the composition root.
var Migrations = []store.Migration{{Name: "queue: jobs, dead letters, index", Do: func(tx *bbolt.Tx) error {
	for _, name := range [][]byte{bJobs, bDead, bOps} {
		if _, err := tx.CreateBucket(name); err != nil {
			return err
		}
	}
	return nil
}}}

func key(id uint64) []byte { return binary.BigEndian.AppendUint64(nil, id) }

func write(b *bbolt.Bucket, j Job) error {
	raw, err := json.Marshal(j)
	switch {
	case err != nil:
		return fmt.Errorf("%w: %w", ErrJob, err)
	case len(raw) > maxJob:
		return fmt.Errorf("%w: %d bytes, at most %d", ErrJob, len(raw), maxJob)
	}
	k := key(j.ID)
	return b.Put(k, store.Seal(k, raw))
}

func read(b *bbolt.Bucket, id uint64) (Job, bool, error) {
	k := key(id)
	row := b.Get(k)
	if row == nil {
		return Job{}, false, nil
	}
	j, err := decode(k, row)
	return j, err == nil, err
}

// decode reads a row; the job shares no memory with it.
func decode(k, row []byte) (Job, error) {
	raw, err := store.Unseal(k, row)
	var j Job
	if err == nil {
		err = json.Unmarshal(raw, &j)
	}
	switch {
	case err != nil:
		return Job{}, fmt.Errorf("%w: job at %x: %w", ErrBroken, k, err)
	case !bytes.Equal(k, key(j.ID)):
		return Job{}, fmt.Errorf("%w: job at %x says it is %d", ErrBroken, k, j.ID)
	}
	return j, nil
}

// Put adds a job and returns it with its id. ErrDuplicate: a job of this
// operation exists; it is returned. ErrJob: Op or Kind is missing.
func Put(tx *bbolt.Tx, j Job) (Job, error) {
	if j.Op == "" || j.Kind == "" {
		return Job{}, fmt.Errorf("put job: %w: op %q, kind %q", ErrJob, j.Op, j.Kind)
	}
	jobs, ops := tx.Bucket(bJobs), tx.Bucket(bOps)
	if row := ops.Get([]byte(j.Op)); row != nil {
		if len(row) != 8 {
			return Job{}, fmt.Errorf("%w: index row of %s", ErrBroken, j.Op)
		}
		old, ok, err := Get(tx, binary.BigEndian.Uint64(row))
		if err != nil || !ok {
			return Job{}, errors.Join(err, fmt.Errorf("%w: index row of %s", ErrBroken, j.Op))
		}
		return old, fmt.Errorf("put job %s: %w: job %d", j.Op, ErrDuplicate, old.ID)
	}
	id, err := jobs.NextSequence()
	if err != nil {
		return Job{}, fmt.Errorf("put job %s: %w", j.Op, err)
	}
	j.ID, j.Created = id, j.Created.UTC()
	if err := write(jobs, j); err != nil {
		return Job{}, fmt.Errorf("put job %s: %w", j.Op, err)
	}
	if err := ops.Put([]byte(j.Op), key(id)); err != nil {
		return Job{}, fmt.Errorf("put job %s: %w", j.Op, err)
	}
	return j, nil
}

// Update stores a waiting job's new state, attempts, reason and payload. Its
// id finds it; Op, Kind, Subject and Created must be as they were.
func Update(tx *bbolt.Tx, j Job) error {
	jobs := tx.Bucket(bJobs)
	old, ok, err := read(jobs, j.ID)
	switch {
	case err != nil:
		return err
	case !ok:
		return fmt.Errorf("update job %d: %w", j.ID, ErrNotFound)
	case j.Op != old.Op || j.Kind != old.Kind || j.Subject != old.Subject || !j.Created.Equal(old.Created):
		return fmt.Errorf("update job %d: %w: op, kind, subject and creation cannot change", j.ID, ErrJob)
	}
	j.Created = old.Created
	return write(jobs, j)
}

// Remove ends a waiting job: its effect is done or not owed any more.
func Remove(tx *bbolt.Tx, id uint64) error { return remove(tx, bJobs, id) }

// Drop ends a dead letter for good.
func Drop(tx *bbolt.Tx, id uint64) error { return remove(tx, bDead, id) }

func remove(tx *bbolt.Tx, bucket []byte, id uint64) error {
	b, k := tx.Bucket(bucket), key(id)
	row := b.Get(k)
	if row == nil {
		return fmt.Errorf("remove job %d: %w", id, ErrNotFound)
	}
	op, err := opOf(k, row)
	if err != nil {
		return err
	}
	return errors.Join(b.Delete(k), tx.Bucket(bOps).Delete([]byte(op)))
}

// opOf reads the operation id of a row. It decodes the job only if its op has what
// JSON escapes: decoding it was an eighth of a commit's processor time.
func opOf(k, row []byte) (string, error) {
	raw, err := store.Unseal(k, row)
	if err == nil {
		_, rest, _ := bytes.Cut(raw, []byte(`,"op":"`))
		if op, _, ok := bytes.Cut(rest, []byte(`"`)); ok && bytes.IndexByte(op, '\\') < 0 {
			return string(op), nil
		}
	}
	j, err := decode(k, row)
	return j.Op, err
}

// Bury makes a waiting job a dead letter, with the reason.
func Bury(tx *bbolt.Tx, id uint64, reason string) error {
	return move(tx, bJobs, bDead, id, func(j *Job) { j.Reason = reason })
}

// Revive makes a dead letter wait again, with its attempts counted anew.
func Revive(tx *bbolt.Tx, id uint64) error {
	return move(tx, bDead, bJobs, id, func(j *Job) { j.Attempts = 0 })
}

func move(tx *bbolt.Tx, from, to []byte, id uint64, change func(*Job)) error {
	b := tx.Bucket(from)
	j, ok, err := read(b, id)
	switch {
	case err != nil:
		return err
	case !ok:
		return fmt.Errorf("move job %d: %w", id, ErrNotFound)
	}
	change(&j)
	if err := b.Delete(key(id)); err != nil {
		return fmt.Errorf("move job %d: %w", id, err)
	}
	return write(tx.Bucket(to), j)
}

// Get returns a waiting job or a dead letter.
func Get(tx *bbolt.Tx, id uint64) (Job, bool, error) {
	if j, ok, err := read(tx.Bucket(bJobs), id); ok || err != nil {
		return j, ok, err
	}
	return read(tx.Bucket(bDead), id)
}

// List returns the waiting jobs in the order of Put.
func List(tx *bbolt.Tx) ([]Job, error) { return list(tx.Bucket(bJobs)) }

// Dead returns the dead letters in the order of Put.
func Dead(tx *bbolt.Tx) ([]Job, error) { return list(tx.Bucket(bDead)) }

func list(b *bbolt.Bucket) ([]Job, error) {
	var js []Job
	c := b.Cursor()
	for k, row := c.First(); k != nil; k, row = c.Next() {
		j, err := decode(k, row)
		if err != nil {
			return nil, err
		}
		js = append(js, j)
	}
	return js, nil
}

// Audit checks that every job can be read, is either waiting or dead, has an id
// that was given out, and is the only one of its operation. ErrBroken.
func Audit(tx *bbolt.Tx) error {
	ops := tx.Bucket(bOps)
	last := tx.Bucket(bJobs).Sequence()
	seen := make(map[uint64]bool)
	for _, bucket := range [][]byte{bJobs, bDead} {
		js, err := list(tx.Bucket(bucket))
		if err != nil {
			return err
		}
		for _, j := range js {
			row := ops.Get([]byte(j.Op))
			switch {
			case seen[j.ID]:
				return fmt.Errorf("%w: job %d is waiting and dead", ErrBroken, j.ID)
			case j.ID == 0 || j.ID > last:
				return fmt.Errorf("%w: job %d, but ids were given up to %d", ErrBroken, j.ID, last)
			case len(row) != 8 || binary.BigEndian.Uint64(row) != j.ID:
				return fmt.Errorf("%w: job %d has no index row of its operation %s", ErrBroken, j.ID, j.Op)
			}
			seen[j.ID] = true
		}
	}
	rows := 0
	c := ops.Cursor()
	for k, _ := c.First(); k != nil; k, _ = c.Next() {
		rows++
	}
	if rows != len(seen) {
		return fmt.Errorf("%w: %d jobs, %d operations in the index", ErrBroken, len(seen), rows)
	}
	return nil
}
