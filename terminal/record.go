package terminal

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.etcd.io/bbolt"

	"github.com/ssg-safe/agent/charge"
	"github.com/ssg-safe/agent/ledger"
	"github.com/ssg-safe/agent/redact"
)

// Record is one charge as the store has it, for whoever asks from outside.
type Record struct {
	Charge charge.Charge
	// Code is the payable text and Description the asker's, until they are
	// purged. Personal data, not for logs.
	Code, Description string
	// By the wall clock of the entries; zero: that has not happened, or its entry
	// was pruned. Expires is when the code stops being payable, at the earliest.
	Created, Expires, Paid, Ended time.Time
	Slips                         []SlipRecord
	// First and Newest are the positions of its first and newest entries that
	// the ledger still has.
	First, Newest ledger.Position

	token redact.Secret // of its accepted attempt, until it is erased
}

// SlipRecord is what became of one slip.
type SlipRecord struct {
	Kind  SlipKind
	NSU   uint64
	Copy  int
	State string // issued, printed, sent, unknown, dropped
}

// Record reads a charge from the store. A charge whose facts were pruned is
// found as long as it is open. ErrNoCharge; safe for concurrent use.
func (t *Terminal) Record(id charge.ID) (Record, error) {
	var found []Record
	err := t.store.View(func(tx *bbolt.Tx) (err error) {
		found, err = readRecords(tx, []charge.ID{id})
		return err
	})
	switch {
	case err != nil:
		return Record{}, err
	case len(found) == 0:
		return Record{}, fmt.Errorf("%w: %s", ErrNoCharge, id)
	}
	return found[0], nil
}

// OpenRecords reads the charges that wait for their payers, in the order of
// their ids. It is safe for concurrent use.
func (t *Terminal) OpenRecords() (open []Record, err error) {
	err = t.store.View(func(tx *bbolt.Tx) error {
		var ids []charge.ID
		err := tx.Bucket(openBucket).ForEach(func(id, row []byte) error {
			var s snapshot
			if err := unseal(id, row, &s); err != nil {
				return fmt.Errorf("snapshot of charge %s: %w", id, err)
			}
			if s.Charge.State.Open() {
				ids = append(ids, s.Charge.ID)
			}
			return nil
		})
		if err == nil {
			open, err = readRecords(tx, ids)
		}
		return err
	})
	return open, err
}

// Records reads at most limit charges that were made before a position, newest
// first; a zero position is the ledger's end. next is where to go on; zero when
// there are no more. It is safe for concurrent use.
func (t *Terminal) Records(before ledger.Position, limit int) (list []Record, next ledger.Position, err error) {
	err = t.store.View(func(tx *bbolt.Tx) error {
		next = ledger.Position{}
		var ids []charge.ID
		for pos, raw := range ledger.Backward(tx, before) {
			if !bytes.Contains(raw, createdKind) {
				continue
			}
			if len(ids) == limit {
				break
			}
			ids, next = append(ids, charge.SubjectOf(raw)), pos
		}
		if len(ids) < limit {
			next = ledger.Position{}
		}
		list, err = readRecords(tx, ids)
		return err
	})
	slices.SortFunc(list, func(a, b Record) int {
		if a.First.Before(b.First) {
			return 1
		}
		return -1
	})
	return list, next, err
}

var createdKind = []byte(`"kind":"` + charge.CreatedFact{}.Kind() + `"`)

// draft is a record that is being read.
type draft struct {
	Record
	facts []charge.Fact
	sent  map[int]time.Time // by attempt
}

// readRecords reads those of the charges that there are. It reads the ledger
// once, from where the oldest of them begins.
func readRecords(tx *bbolt.Tx, ids []charge.ID) ([]Record, error) {
	drafts := map[charge.ID]*draft{}
	open := map[charge.ID]charge.Charge{}
	var from ledger.Position
	for _, id := range ids {
		created, found, err := ledger.Lookup(tx, charge.CreatedFact{Charge: id}.Op())
		if err != nil {
			return nil, err
		}
		if row := tx.Bucket(openBucket).Get([]byte(id)); row != nil {
			var s snapshot
			if err := unseal([]byte(id), row, &s); err != nil {
				return nil, fmt.Errorf("snapshot of charge %s: %w", id, err)
			}
			open[id] = s.Charge
		} else if !found {
			continue
		}
		if at := created.Position(); len(drafts) == 0 || at.Before(from) {
			from = at // zero when its beginning was pruned: all that is left
		}
		drafts[id] = &draft{sent: map[int]time.Time{}}
	}
	if len(drafts) == 0 {
		return nil, nil
	}
	for _, raw := range ledger.Entries(tx, from) {
		d := drafts[charge.SubjectOf(raw)]
		if d == nil {
			continue
		}
		e, err := ledger.Decode(raw)
		if err != nil {
			return nil, err
		}
		if err := d.add(e); err != nil {
			return nil, fmt.Errorf("entry %v: %w", e.Position(), err)
		}
	}
	var records []Record
	for _, id := range ids {
		if d := drafts[id]; d != nil {
			if err := d.finish(tx, id, open); err != nil {
				return nil, err
			}
			records = append(records, d.Record)
		}
	}
	return records, nil
}

// add takes one entry about the charge.
func (d *draft) add(e ledger.Entry) error {
	if d.Newest = e.Position(); d.First == (ledger.Position{}) {
		d.First = d.Newest
	}
	proof := bytes.Clone(e.Evidence)
	if string(proof) == "null" {
		proof = nil
	}
	f, err := charge.Decode(e.Kind, e.Data, proof)
	if err != nil {
		return err
	}
	wall := e.At.Wall
	switch f := f.(type) {
	case nil:
		return d.addSlip(e)
	case charge.CreatedFact:
		d.Created, d.sent[1] = wall, wall
	case charge.AttemptFact:
		if f.State == charge.Sending || f.Static {
			d.sent[f.N] = wall
		}
	case charge.PaidFact:
		d.Paid = wall
	case charge.EndedFact:
		d.Ended = wall
	}
	d.facts = append(d.facts, f)
	return nil
}

// addSlip takes an entry about a slip: the newest word about each copy counts.
func (d *draft) addSlip(e ledger.Entry) error {
	what, ok := strings.CutPrefix(e.Kind, "slip.")
	if !ok {
		return nil
	}
	var s slipEntry
	if err := json.Unmarshal(e.Data, &s); err != nil {
		return err
	}
	now := SlipRecord{Kind: s.Slip, NSU: s.NSU, Copy: s.Copy, State: what}
	for i, old := range d.Slips {
		if old.NSU == now.NSU && old.Copy == now.Copy {
			d.Slips[i] = now
			return nil
		}
	}
	d.Slips = append(d.Slips, now)
	return nil
}

// finish folds the facts; where the first ones were pruned, the snapshot is
// what they amount to.
func (d *draft) finish(tx *bbolt.Tx, id charge.ID, open map[charge.ID]charge.Charge) (err error) {
	if len(d.facts) > 0 && d.facts[0].Kind() == (charge.CreatedFact{}).Kind() {
		if d.Charge, err = charge.Fold(d.facts); err != nil {
			return err
		}
	} else {
		d.Charge = open[id]
	}
	if a, ok := d.Charge.Accepted(); ok {
		if sent, ok := d.sent[a.N]; ok {
			d.Expires = sent.Add(d.Charge.ExpiryDuration())
		}
	}
	raw, err := ledger.GetPrivate(tx, string(id))
	if err != nil || raw == nil {
		return err
	}
	var p private
	if err := json.Unmarshal(raw, &p); err != nil {
		return fmt.Errorf("private part of charge %s: %w", id, err)
	}
	d.Code, d.Description, d.token = p.Code, p.Description, redact.Secret(p.Token)
	return nil
}
