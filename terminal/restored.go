package terminal

import (
	"bytes"
	"encoding/json"
	"fmt"

	"go.etcd.io/bbolt"

	"github.com/ssg-safe/agent/ledger"
	"github.com/ssg-safe/agent/queue"
)

// Restored makes the store of a backup fit to go on, in one transaction, and
// returns the entry that says so. What happened after the backup was made is
// not known here, so
//
//   - a new epoch begins, whose first entry names the old head;
//   - slips that were waiting may be on paper already: they become dead
//     letters, which a person drops or prints as copies;
//   - open charges go on being asked about, and are not shown or printed: their
//     payers have left, with or without their receipts.
//
// The numbers of slips (NSU) and of closings that were given after the backup are
// given again.
func Restored(tx *bbolt.Tx, at ledger.Stamp, who string) (ledger.Entry, error) {
	e, err := ledger.BeginEpoch(tx, at, who, "restored")
	if err != nil {
		return ledger.Entry{}, err
	}
	jobs, err := queue.List(tx)
	if err != nil {
		return ledger.Entry{}, err
	}
	for _, j := range jobs {
		if j.Kind != jobKind {
			continue
		}
		if err := loseSlip(tx, at, j); err != nil {
			return ledger.Entry{}, fmt.Errorf("print job %d: %w", j.ID, err)
		}
	}
	return e, hideCharges(tx)
}

// loseSlip makes a dead letter of a slip whose fate the backup does not know.
func loseSlip(tx *bbolt.Tx, at ledger.Stamp, j queue.Job) error {
	var s slip
	if err := json.Unmarshal(j.Payload, &s); err != nil {
		return (&printChange{job: j, bury: "damaged: " + err.Error()}).write(tx, at)
	}
	if j.State == lost { // revived, and maybe printed as that copy
		s.Copy++
		var err error
		if j, err = revive(j); err != nil {
			return err
		}
	}
	j.State = lost
	draft := s.entry("unknown", "", "restored")
	return (&printChange{
		job: j, entry: &draft, bury: "the store was restored: look whether the slip was printed, then drop it or retry it as a copy",
	}).write(tx, at)
}

// hideCharges takes the open charges off screen and printer.
func hideCharges(tx *bbolt.Tx) error {
	open := tx.Bucket(openBucket)
	rows := map[string]snapshot{}
	err := open.ForEach(func(id, row []byte) error {
		var s snapshot
		if err := unseal(id, row, &s); err != nil {
			return fmt.Errorf("snapshot of charge %s: %w", id, err)
		}
		s.Charge.Present, s.Boot = false, ""
		rows[string(bytes.Clone(id))] = s
		return nil
	})
	if err != nil {
		return err
	}
	for id, s := range rows {
		row, err := seal([]byte(id), s)
		if err != nil {
			return err
		}
		if err := open.Put([]byte(id), row); err != nil {
			return err
		}
	}
	return nil
}
