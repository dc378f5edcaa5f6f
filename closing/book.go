package closing

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.etcd.io/bbolt"

	"github.com/ssg-safe/agent/charge"
	"github.com/ssg-safe/agent/ledger"
	"github.com/ssg-safe/agent/money"
)

// Book says whose an entry is.
type Book struct {
	// Merchants that are configured. The days of others end at midnight UTC.
	Merchants []charge.Merchant
	// Open finds an open charge whose first entries were pruned; false: there is
	// none of that id. It reads the same transaction.
	Open func(*bbolt.Tx, charge.ID) (charge.Charge, bool)
}

// merchant is the configured one of an id, or one of that id alone.
func (b Book) merchant(id string) charge.Merchant {
	for _, m := range b.Merchants {
		if m.ID == id {
			return m
		}
	}
	return charge.Merchant{ID: id, Zone: time.UTC}
}

// day is a business day of a merchant that is in no closing.
type day struct {
	Report
	// sure: an entry with a confirmed clock gave the date.
	sure bool
}

// reading is what the entries hold that are in no closing.
type reading struct {
	head, kept ledger.Position
	lasts      map[string]last
	days       map[string][]day // by merchant, in order
}

// read reads the entries that are in no closing.
func (b Book) read(tx *bbolt.Tx) (reading, error) {
	r := reading{lasts: map[string]last{}, days: map[string][]day{}}
	head, err := ledger.GetHead(tx)
	if err != nil {
		return r, err
	}
	var begin ledger.Position
	if err := get(tx, kBegin, &begin); err != nil {
		return r, err
	}
	r.head, r.kept = head.Position, head.Position
	owners := map[charge.ID]owner{}
	for pos, raw := range ledger.Entries(tx, begin) {
		e, err := ledger.Decode(raw)
		if err != nil {
			return r, fmt.Errorf("entry %v: %w", pos, err)
		}
		f, o, err := b.attribute(tx, e, owners)
		lost, err2 := lostRefund(e, &o)
		if err = errors.Join(err, err2); err != nil {
			return r, fmt.Errorf("entry %v: %w", pos, err)
		}
		if f == nil && len(e.Postings) == 0 {
			continue
		}
		if err := r.take(tx, b.merchant(o.merchant), e, f, lost, o); err != nil {
			return r, fmt.Errorf("entry %v: %w", pos, err)
		}
	}
	return r, nil
}

// begin reads where a merchant's last closing ended.
func (r *reading) begin(tx *bbolt.Tx, merchant string) error {
	if _, ok := r.lasts[merchant]; ok {
		return nil
	}
	var l last
	if err := get(tx, lastKey(merchant), &l); err != nil {
		return err
	}
	r.lasts[merchant] = l
	return nil
}

// take counts an entry, unless it is in a closing.
func (r *reading) take(tx *bbolt.Tx, m charge.Merchant, e ledger.Entry, f charge.Fact, lost Total, o owner) error {
	if err := r.begin(tx, m.ID); err != nil {
		return err
	}
	pos := e.Position()
	if !r.lasts[m.ID].To.Before(pos) {
		return nil
	}
	if !r.kept.Before(pos) {
		r.kept = ledger.Position{Epoch: pos.Epoch, Seq: pos.Seq - 1}
	}
	days := r.days[m.ID]
	sure := e.At.Quality == ledger.Synced || e.At.Quality == ledger.Anchored
	date := Date(e.At.Wall, m)
	switch n := len(days); {
	case n == 0, sure && days[n-1].sure && date > days[n-1].Date:
		days = append(days, day{Report: Report{Merchant: m.ID, Date: date}, sure: sure})
	case sure && !days[n-1].sure:
		days[n-1].Date, days[n-1].sure = date, true
	}
	d := &days[len(days)-1]
	d.To = pos
	r.days[m.ID] = days
	return d.count(f, lost, o, e.Postings)
}

// owner is whom a charge belongs to.
type owner struct {
	merchant, provider string
	amount             money.Amount
}

// attribute finds the fact of an entry and its owner. Facts that no closing
// counts are nil.
func (b Book) attribute(tx *bbolt.Tx, e ledger.Entry, owners map[charge.ID]owner) (charge.Fact, owner, error) {
	nobody := owner{merchant: Nobody}
	f, err := decode(e)
	if f == nil || err != nil {
		return nil, nobody, err
	}
	switch f.(type) {
	case charge.AttemptFact, charge.ReleasedFact:
		return nil, nobody, nil
	}
	id := f.Subject()
	if o, ok := owners[id]; ok {
		return f, o, nil
	}
	o, err := b.find(tx, id, f)
	owners[id] = o
	return f, o, err
}

// find finds a charge's owner in its first entry, in its snapshot, or by the
// account that the evidence names.
func (b Book) find(tx *bbolt.Tx, id charge.ID, f charge.Fact) (owner, error) {
	first, ok, err := ledger.Lookup(tx, charge.CreatedFact{Charge: id}.Op())
	if err != nil {
		return owner{}, err
	}
	if ok {
		made, err := decode(first)
		if c, is := made.(charge.CreatedFact); is {
			return owner{c.Merchant, c.Route, c.Amount}, nil
		}
		return owner{}, fmt.Errorf("charge %s begins with %s: %w", id, first.Kind, err)
	}
	if b.Open != nil {
		if c, ok := b.Open(tx, id); ok {
			return owner{c.Merchant, c.Route, c.Amount}, nil
		}
	}
	o := owner{merchant: Nobody}
	if p := f.Proof(); p != nil {
		o.provider = p.Route
		for _, m := range b.Merchants {
			if slices.ContainsFunc(m.Routes(), func(r charge.Route) bool { return r.Provider == p.Route && r.Account == p.Account }) {
				o.merchant = m.ID
				break
			}
		}
	}
	return o, nil
}

func decode(e ledger.Entry) (charge.Fact, error) {
	proof := e.Evidence
	if string(proof) == "null" {
		proof = nil
	}
	return charge.Decode(e.Kind, e.Data, proof)
}

// lostRefund is what an entry counts as a refund that fits no payment, whose owner it
// sets to the merchant that it names.
func lostRefund(e ledger.Entry, o *owner) (Total, error) {
	if e.Kind != charge.KindLostRefund {
		return Total{}, nil
	}
	var f charge.LostRefundFact
	if err := json.Unmarshal(e.Data, &f); err != nil {
		return Total{}, err
	}
	o.merchant, o.provider = cmp.Or(f.Merchant, Nobody), cmp.Or(f.Provider, Nobody)
	return Total{1, f.Unmatched()}, nil
}

// count adds an entry to a report.
func (r *Report) count(f charge.Fact, lost Total, o owner, postings []ledger.Posting) error {
	one := Line{Provider: o.provider, Unmatched: lost}
	if f != nil {
		if p := f.Proof(); p != nil && p.Route != "" { // where it was paid
			one.Provider = p.Route
		}
	}
	switch f := f.(type) {
	case charge.CreatedFact:
		one.Created = Total{1, f.Amount}
	case charge.PaidFact:
		if f.Late {
			one.Late = Total{1, f.Amount}
		} else {
			one.Paid = Total{1, f.Amount}
		}
	case charge.ExtraPaymentFact:
		one.Extra = Total{1, f.Amount}
	case charge.MismatchFact:
		one.Mismatch = Total{Count: 1}
		if !f.Booked {
			one.Mismatch.Sum = f.Amount
		}
	case charge.RefundedFact:
		if moved := f.Amount - f.Booked; moved > 0 { // the rest is counted already, without a name
			one.Refunded = Total{1, moved}
		}
	case charge.EndedFact:
		switch f.State {
		case charge.Expired:
			one.Expired = Total{1, o.amount}
		case charge.Cancelled:
			one.Cancelled = Total{1, o.amount}
		case charge.Failed:
			one.Failed = Total{1, o.amount}
		}
	}
	moved := map[ledger.Account]money.Amount{}
	for _, p := range postings {
		sum, err := moved[p.Account].Add(p.Amount)
		if err != nil {
			return err
		}
		moved[p.Account] = sum
	}
	return r.merge(Report{Lines: []Line{one}, Postings: moved})
}

// merge adds the totals of another report.
func (r *Report) merge(o Report) error {
	for _, l := range o.Lines {
		if err := r.line(l.Provider).add(l); err != nil {
			return err
		}
	}
	if r.Postings == nil {
		r.Postings = map[ledger.Account]money.Amount{}
	}
	for a, amount := range o.Postings {
		sum, err := r.Postings[a].Add(amount)
		if err != nil {
			return err
		}
		r.Postings[a] = sum
	}
	return nil
}

func (r *Report) line(provider string) *Line {
	for i := range r.Lines {
		if r.Lines[i].Provider == provider {
			return &r.Lines[i]
		}
	}
	r.Lines = append(r.Lines, Line{Provider: provider})
	return &r.Lines[len(r.Lines)-1]
}

func (l *Line) add(o Line) error {
	for _, t := range []struct {
		to *Total
		o  Total
	}{
		{&l.Created, o.Created},
		{&l.Expired, o.Expired},
		{&l.Cancelled, o.Cancelled},
		{&l.Failed, o.Failed},
		{&l.Paid, o.Paid},
		{&l.Late, o.Late},
		{&l.Extra, o.Extra},
		{&l.Mismatch, o.Mismatch},
		{&l.Refunded, o.Refunded},
		{&l.Unmatched, o.Unmatched},
	} {
		sum, err := t.to.Sum.Add(t.o.Sum)
		if err != nil {
			return err
		}
		*t.to = Total{t.to.Count + t.o.Count, sum}
	}
	return nil
}
