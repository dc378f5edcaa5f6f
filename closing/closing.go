// Package closing sums the ledger up by merchant and business day.
//
// [Look] is the X: what has happened since the last closing, and changes
// nothing. [Close] is the Z: the same, recorded as a ledger entry of kind
// [Kind], numbered 1, 2, 3 … for each merchant without gaps. A closing is never
// opened again. What becomes known later (money that arrives late, a second
// payment) belongs to the next one, whatever day it is of.
//
// # What a closing covers
//
// Every entry of a merchant after the last closing's, up to and including a
// position. Its totals are those of the postings in that range, by provider and
// by what they are: so the sum of all closings and of the open rest is the sum
// of the ledger, to the centavo. Postings of nobody who is known here belong to
// the merchant [Nobody].
//
// # Business days
//
// A business day ends at the merchant's cut-off. [Date] gives an entry's day;
// entries whose clock nobody confirmed count as of the day of the entry before
// them. [Due] closes the days that are over, each by itself. The date is what
// people read; the order is that of numbers and positions.
//
// All functions work in the caller's transaction. [Migrations] make the bucket.
package closing

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"go.etcd.io/bbolt"

	"github.com/ssg-safe/agent/charge"
	"github.com/ssg-safe/agent/ledger"
	"github.com/ssg-safe/agent/money"
	"github.com/ssg-safe/agent/store"
)

// Kind is the kind of a closing's ledger entry; its data is a [Report].
const Kind = "closing.z"

// Nobody is the merchant of postings whose merchant is not known (any more).
const Nobody = "-"

// Errors a caller can branch on.
var (
	// ErrNothing: nothing has happened since the last closing.
	ErrNothing = errors.New("nothing to close")
	// ErrNumber: the next closing has another number.
	ErrNumber = errors.New("the next closing has another number")
)

// Total is a number of facts and the sum of their amounts in centavos.
type Total struct {
	Count int          `json:"count"`
	Sum   money.Amount `json:"sum"`
}

// Line is what happened through one provider. Its JSON form is stored, so names
// never change.
type Line struct {
	Provider string `json:"provider"`
	// Charges that were made, and of those and earlier ones what ended unpaid, by
	// the amount that was asked for.
	Created   Total `json:"created"`
	Expired   Total `json:"expired,omitzero"`
	Cancelled Total `json:"cancelled,omitzero"`
	Failed    Total `json:"failed,omitzero"`
	// Paid is money in time; Late, Extra and Mismatch are money for which nothing
	// was delivered: after the charge had ended, a second time, or another amount.
	Paid     Total `json:"paid,omitzero"`
	Late     Total `json:"late,omitzero"`
	Extra    Total `json:"extra,omitzero"`
	Mismatch Total `json:"mismatch,omitzero"`
	// Refunded is what went back of any of these; Unmatched what the hub says went back
	// and fits no payment of the ledger, less what of it came back or found its payment.
	Refunded  Total `json:"refunded,omitzero"`
	Unmatched Total `json:"refund_unmatched,omitzero"`
}

// Report is an X or a Z. Its JSON form is stored and printed.
type Report struct {
	Merchant string `json:"merchant"`
	// Number of the closing; 0: a look.
	Number uint64 `json:"number,omitempty"`
	// Date is the business day, "2026-07-01".
	Date string `json:"date"`
	// From is the last position of the closing before, To the last one of this.
	From ledger.Position `json:"from"`
	To   ledger.Position `json:"to"`
	// Lines by provider, in the order in which they were first used.
	Lines []Line `json:"lines"`
	// Postings by account: gross received, sales, credits, refunds.
	Postings map[ledger.Account]money.Amount `json:"postings"`
}

// Empty reports whether nothing happened.
func (r Report) Empty() bool { return len(r.Lines) == 0 && len(r.Postings) == 0 }

// Received is the money that came in, before fees and refunds.
func (r Report) Received() (sum money.Amount) {
	for _, l := range r.Lines {
		sum += l.Paid.Sum + l.Late.Sum + l.Extra.Sum + l.Mismatch.Sum
	}
	return sum
}

// Returned is the money that went back.
func (r Report) Returned() (back Total) {
	for _, l := range r.Lines {
		back.Count += l.Refunded.Count + l.Unmatched.Count
		back.Sum += l.Refunded.Sum + l.Unmatched.Sum
	}
	return back
}

var (
	bucket = []byte("closings") // the rows below, sealed
	// kBegin -> where the next reading begins: everything before it is in a
	// closing, or in none for ever. Other keys are "m/" and a merchant -> last.
	kBegin = []byte("begin")
)

// Migrations of the closings, for the composition root.
var Migrations = []store.Migration{{Name: "closings: the last one of each merchant", Do: func(tx *bbolt.Tx) error {
	_, err := tx.CreateBucket(bucket)
	return err
}}}

// last is where a merchant's last closing ended.
type last struct {
	Number uint64          `json:"number"`
	To     ledger.Position `json:"to"`
}

func lastKey(merchant string) []byte { return []byte("m/" + merchant) }

// get reads a row; a missing one leaves into as it is.
func get(tx *bbolt.Tx, key []byte, into any) error {
	row := tx.Bucket(bucket).Get(key)
	if row == nil {
		return nil
	}
	raw, err := store.Unseal(key, row)
	if err == nil {
		err = json.Unmarshal(raw, into)
	}
	if err != nil {
		return fmt.Errorf("row %s of the closings: %w", key, err)
	}
	return nil
}

func put(tx *bbolt.Tx, key []byte, v any) error {
	raw, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return tx.Bucket(bucket).Put(key, store.Seal(key, raw))
}

// Audit checks that every row can be read, for store.Options.Verify.
func Audit(tx *bbolt.Tx) error {
	return tx.Bucket(bucket).ForEach(func(key, _ []byte) error { return get(tx, key, new(json.RawMessage)) })
}

// Look returns what has happened to a merchant since its last closing; now
// gives the date when that is nothing.
func Look(tx *bbolt.Tx, b Book, merchant string, now time.Time) (Report, error) {
	read, err := b.read(tx)
	if err != nil {
		return Report{}, fmt.Errorf("look at %s: %w", merchant, err)
	}
	if err := read.begin(tx, merchant); err != nil {
		return Report{}, err
	}
	r := Report{Merchant: merchant, Date: Date(now, b.merchant(merchant)), From: read.lasts[merchant].To, To: read.head}
	for _, d := range read.days[merchant] {
		r.Date = d.Date
		if err := r.merge(d.Report); err != nil {
			return Report{}, fmt.Errorf("look at %s: %w", merchant, err)
		}
	}
	return r, nil
}

// Close records the closing of everything that has happened to a merchant. A
// time in which nothing happened is not closed: ErrNothing.
func Close(tx *bbolt.Tx, at ledger.Stamp, b Book, merchant, who string) (Report, error) {
	r, err := Look(tx, b, merchant, at.Wall)
	switch {
	case err != nil:
		return Report{}, err
	case r.Empty():
		return Report{}, fmt.Errorf("close %s: %w", merchant, ErrNothing)
	}
	if err := record(tx, at, &r, who); err != nil {
		return Report{}, err
	}
	return r, b.advance(tx)
}

// Due closes the business days that are over by a clock that is known to be
// right, oldest first, and returns their closings. The day of at stays open.
func Due(tx *bbolt.Tx, at ledger.Stamp, b Book, who string) ([]Report, error) {
	if at.Quality != ledger.Synced && at.Quality != ledger.Anchored {
		return nil, nil
	}
	read, err := b.read(tx)
	if err != nil {
		return nil, fmt.Errorf("closings due: %w", err)
	}
	var closed []Report
	for _, merchant := range slices.Sorted(maps.Keys(read.days)) {
		today := Date(at.Wall, b.merchant(merchant))
		from := read.lasts[merchant].To
		for _, d := range read.days[merchant] {
			if d.Date >= today {
				break
			}
			r := d.Report
			r.From, from = from, r.To
			if err := record(tx, at, &r, who); err != nil {
				return nil, err
			}
			closed = append(closed, r)
		}
	}
	if len(closed) == 0 {
		return nil, nil
	}
	return closed, b.advance(tx)
}

// All closes everything that is in no closing, whatever the clock says: the
// ledger must be pruned, and has room for nothing else.
func All(tx *bbolt.Tx, at ledger.Stamp, b Book, who string) ([]Report, error) {
	read, err := b.read(tx)
	if err != nil {
		return nil, fmt.Errorf("close all: %w", err)
	}
	var closed []Report
	for _, merchant := range slices.Sorted(maps.Keys(read.days)) {
		r, err := Close(tx, at, b, merchant, who)
		if err != nil {
			return nil, err
		}
		closed = append(closed, r)
	}
	return closed, nil
}

// Next is the number of a merchant's next closing.
func Next(tx *bbolt.Tx, merchant string) (uint64, error) {
	var l last
	err := get(tx, lastKey(merchant), &l)
	return l.Number + 1, err
}

// Recorded returns a merchant's closing of a number that was given already.
// ErrNumber: it was not, or its entry was pruned.
func Recorded(tx *bbolt.Tx, merchant string, number uint64) (r Report, err error) {
	e, ok, err := ledger.Lookup(tx, operation(merchant, number))
	switch {
	case err != nil:
		return r, err
	case !ok:
		return r, fmt.Errorf("closing %d of %s is not in the ledger (any more): %w", number, merchant, ErrNumber)
	}
	err = json.Unmarshal(e.Data, &r)
	return r, err
}

func operation(merchant string, number uint64) string {
	return fmt.Sprintf("closing/%s/%d", merchant, number)
}

// record numbers a report and makes an entry of it.
func record(tx *bbolt.Tx, at ledger.Stamp, r *Report, who string) (err error) {
	if r.Number, err = Next(tx, r.Merchant); err != nil {
		return err
	}
	draft := ledger.Draft{Op: operation(r.Merchant, r.Number), Kind: Kind, Actor: who, Data: *r}
	if _, err := ledger.Append(tx, at, draft); err != nil {
		return fmt.Errorf("close %s: %w", r.Merchant, err)
	}
	return put(tx, lastKey(r.Merchant), last{Number: r.Number, To: r.To})
}

// advance notes that what was closed need not be read again.
func (b Book) advance(tx *bbolt.Tx) error {
	kept, err := b.Kept(tx)
	if err != nil {
		return err
	}
	return put(tx, kBegin, kept)
}

// Kept is the position after which entries are in no closing yet: they must not
// be pruned.
func (b Book) Kept(tx *bbolt.Tx) (ledger.Position, error) {
	read, err := b.read(tx)
	return read.kept, err
}

// Unclosed are the merchants to whom something has happened since their last
// closing, in order.
func Unclosed(tx *bbolt.Tx, b Book) ([]string, error) {
	read, err := b.read(tx)
	return slices.Sorted(maps.Keys(read.days)), err
}

// Date is the business day of a time at a merchant, "2026-07-01". A cut-off
// until noon ends the day before it, as a bar's at 03:00 does; one after noon
// begins the day after it.
func Date(at time.Time, m charge.Merchant) string {
	local := at.In(m.Zone)
	clock := time.Duration(local.Hour())*time.Hour + time.Duration(local.Minute())*time.Minute
	year, month, day := local.Date()
	switch {
	case m.CutOff < 12*time.Hour && clock < m.CutOff:
		day--
	case m.CutOff >= 12*time.Hour && clock >= m.CutOff:
		day++
	}
	return time.Date(year, month, day, 0, 0, 0, 0, time.UTC).Format(time.DateOnly)
}
