package payouts

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ssg-safe/agent/hub"
	"github.com/ssg-safe/agent/payout"
	"github.com/ssg-safe/agent/redact"
)

// Record is a payout as the facts have made it, with what the hub adds. Its JSON
// form is stored: names never change.
type Record struct {
	payout.Payout
	// Device is the terminal that proposed it, or whose payment a refund gives back.
	Device string `json:"device,omitempty"`
	// Proposal says where it came from, when the terminal proposed it.
	Proposal *Origin `json:"proposal,omitempty"`
	// Manual: no provider is asked; a person does it and testifies.
	Manual bool      `json:"manual,omitempty"`
	Made   time.Time `json:"made"`
	// Sent is when the order was sent first, Ended when nothing more was expected.
	Sent  time.Time `json:"sent,omitzero"`
	Ended time.Time `json:"ended,omitzero"`
	// Day is the business day whose limit it counts against, once it is approved.
	Day string `json:"day,omitempty"`
	// Told: a person was told that it does not end.
	Told bool `json:"told,omitempty"`
}

// Entry is one fact in the chain. Its JSON form is stored, and hashed.
type Entry struct {
	Seq  uint64          `json:"seq"`  // from 1 on, without gaps
	Prev string          `json:"prev"` // SHA-256 of the entry before, hex; empty in the first
	At   time.Time       `json:"at"`
	Kind string          `json:"kind"`
	Fact json.RawMessage `json:"fact"`
	// Device, Manual and Proposal belong to a proposal, see [Record].
	Device   string  `json:"device,omitempty"`
	Manual   bool    `json:"manual,omitempty"`
	Proposal *Origin `json:"proposal,omitempty"`
	// Signed is the statement that it rests on, and Key the public key of who signed
	// it, so that it can be checked when that person is no operator any more. A
	// proposal's statement holds the key to pay, and lies with the details.
	Signed string            `json:"signed,omitempty"`
	Key    ed25519.PublicKey `json:"key,omitempty"`
}

// head is the end of the chain.
type head struct {
	Seq  uint64 `json:"seq"`
	Hash string `json:"hash"`
}

// details are stored in the clear, apart from the facts.
type details struct {
	Key         string `json:"key,omitempty"`
	Description string `json:"description,omitempty"`
	Salt        string `json:"salt"`
	Signed      string `json:"signed"` // the proposal
}

func (d details) payout() payout.Details {
	return payout.Details{Key: redact.Text(d.Key), Description: redact.Text(d.Description), Salt: redact.Secret(d.Salt)}
}

// Format prints nothing of it.
func (d details) Format(f fmt.State, _ rune) { fmt.Fprint(f, "details") }

// Keys of the records of [hub.KindPayout].
const (
	keyHead    = "head"
	keyLife    = "life" // of the store, drawn by lot at each restore
	prefixFact = "fact/"
	prefixPay  = "payout/"
	prefixOpen = "open/"    // ROUTE/ID: not over
	prefixHold = "details/" // ID
	prefixDay  = "day/"     // ROUTE/DAY/ID: counts against the limit
	prefixBack = "refund/"  // END_TO_END/ID

	prefixTerminal = "terminal/" // DEVICE/DAY/ID: proposed by it
	prefixAtWork   = "at_work/"  // DEVICE/ID: proposed by it, and not over
)

func factKey(seq uint64) string            { return fmt.Sprintf("%s%016x", prefixFact, seq) }
func payKey(id payout.ID) string           { return prefixPay + string(id) }
func holdKey(id payout.ID) string          { return prefixHold + string(id) }
func openKey(r Record) string              { return prefixOpen + r.Route + "/" + string(r.ID) }
func dayPrefix(route, day string) string   { return prefixDay + route + "/" + day + "/" }
func dayKey(r Record) string               { return dayPrefix(r.Route, r.Day) + string(r.ID) }
func backPrefix(endToEnd string) string    { return prefixBack + endToEnd + "/" }
func lastPart(key string) payout.ID        { return payout.ID(key[strings.LastIndexByte(key, '/')+1:]) }
func put(tx hub.Tx, k string, v any) error { return write(tx.Put, k, v) }

func write(to func(hub.Kind, string, []byte) error, key string, v any) error {
	doc, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("write %s: %w", key, err)
	}
	return to(hub.KindPayout, key, doc)
}

func get[T any](tx hub.Tx, key string) (T, error) {
	var v T
	doc, err := tx.Get(hub.KindPayout, key)
	if err != nil {
		return v, err
	}
	if err := json.Unmarshal(doc, &v); err != nil {
		return v, fmt.Errorf("read %s: %w", key, err)
	}
	return v, nil
}

// Get returns a payout or refund, or [hub.ErrNotFound].
func Get(tx hub.Tx, id payout.ID) (Record, error) {
	r, err := get[Record](tx, payKey(id))
	if errors.Is(err, hub.ErrNotFound) {
		return r, fmt.Errorf("payout %s: %w", id, hub.ErrNotFound)
	}
	return r, err
}

// Details returns what is paid to whom, while it has not been erased, or
// [hub.ErrNotFound].
func Details(tx hub.Tx, id payout.ID) (payout.Details, error) {
	d, err := get[details](tx, holdKey(id))
	return d.payout(), err
}

// List returns payouts of a kind ("": all) in the order of their making, with all those
// that are over as well.
func List(tx hub.Tx, kind payout.Kind, all bool) ([]Record, error) {
	var list []Record
	for row, err := range tx.Scan(hub.KindPayout, prefixPay) {
		var r Record
		if err == nil {
			err = json.Unmarshal(row.Doc, &r)
		}
		if err != nil {
			return nil, err
		}
		if (kind == "" || r.Kind == kind) && (all || !r.State.Over() || r.Odd) {
			list = append(list, r)
		}
	}
	slices.SortStableFunc(list, func(a, b Record) int { return a.Made.Compare(b.Made) })
	return list, nil
}

// History returns the facts of a payout, oldest first.
func History(tx hub.Tx, id payout.ID) ([]Entry, error) {
	var all []Entry
	for row, err := range tx.Scan(hub.KindPayout, prefixFact) {
		if err != nil {
			return nil, err
		}
		if !bytes.Contains(row.Doc, []byte(id)) {
			continue
		}
		var e Entry
		if err := json.Unmarshal(row.Doc, &e); err != nil {
			return nil, err
		}
		if f, err := payout.Decode(e.Kind, e.Fact); err != nil {
			return nil, err
		} else if f.Subject() == id {
			all = append(all, e)
		}
	}
	return all, nil
}

// append adds a fact to the chain and to its payout. e has what the fact rests on.
func appendFact(tx hub.Tx, r Record, f payout.Fact, e Entry) (Record, error) {
	next, err := r.Apply(f)
	if err != nil {
		return r, err
	}
	h, err := get[head](tx, keyHead)
	if err != nil && !errors.Is(err, hub.ErrNotFound) {
		return r, err
	}
	e.Seq, e.Prev, e.Kind = h.Seq+1, h.Hash, f.Kind()
	if e.Fact, err = json.Marshal(f); err != nil {
		return r, err
	}
	doc, err := json.Marshal(e)
	if err != nil {
		return r, err
	}
	before := r
	r.Payout = next
	r.fold(f, e)
	err = errors.Join(
		tx.Put(hub.KindPayout, factKey(e.Seq), doc),
		put(tx, keyHead, head{e.Seq, hashOf(doc)}),
		put(tx, payKey(r.ID), r),
	)
	if err == nil {
		err = index(tx, before, r)
	}
	return r, err
}

func hashOf(doc []byte) string {
	sum := sha256.Sum256(doc)
	return hex.EncodeToString(sum[:])
}

// fold is what the hub adds to a payout for a fact.
func (r *Record) fold(f payout.Fact, e Entry) {
	switch f.(type) {
	case payout.ProposedFact:
		r.Made, r.Device, r.Manual, r.Proposal = e.At, e.Device, e.Manual, e.Proposal
	case payout.SubmittingFact:
		if r.Sent.IsZero() {
			r.Sent = e.At
		}
	}
	if r.State.Over() && r.Ended.IsZero() {
		r.Ended = e.At
	}
	switch r.State {
	case payout.Approved:
		if r.Day == "" {
			r.Day = dayOf(e.At)
		}
	case payout.Proposed, payout.Rejected, payout.Failed, payout.Returned:
		r.Day = ""
	}
}

// index keeps the rows by which payouts are found.
func index(tx hub.Tx, before, r Record) error {
	var err error
	switch {
	case r.State.Over():
		err = tx.Delete(hub.KindPayout, openKey(r))
	case before.State == "" || before.State.Over():
		err = put(tx, openKey(r), true)
	}
	if r.Day != before.Day && err == nil {
		if before.Day != "" {
			err = tx.Delete(hub.KindPayout, dayKey(before))
		}
		if r.Day != "" && err == nil {
			err = put(tx, dayKey(r), r.Amount)
		}
	}
	if before.State == "" && r.Kind == payout.Refund && err == nil {
		err = put(tx, backPrefix(r.EndToEnd)+string(r.ID), true)
	}
	if r.State != before.State && (r.Proposal != nil || r.concerns()) && err == nil {
		err = put(tx, tellKey(r.Device, r.ID), true)
	}
	if r.Proposal == nil || err != nil {
		return err
	}
	switch {
	case r.State.Over():
		err = tx.Delete(hub.KindPayout, terminalOpen(r.Device)+string(r.ID))
	case before.State == "":
		err = errors.Join(put(tx, terminalDay(r.Device, dayOf(r.Made))+string(r.ID), true), put(tx, terminalOpen(r.Device)+string(r.ID), true))
	}
	return err
}

// zone is Brasília's time, which business days are reckoned in.
var zone = time.FixedZone("-03", -3*60*60)

func dayOf(t time.Time) string { return t.In(zone).Format(time.DateOnly) }

// ErrBroken: the chain of payouts contradicts itself; the text says where.
var ErrBroken = errors.New("the hub's chain of payouts is broken")

// Report is what [Verify] found in order.
type Report struct {
	Entries uint64 `json:"entries"`
	Head    string `json:"head"` // SHA-256 of the newest entry, hex
	Payouts int    `json:"payouts"`
}

// Verify checks the chain from its first entry on: numbers, hashes, that each fact
// follows on what was before, that what people decided is signed by who they are,
// and that the records are what the facts say. The first fault ends it with
// [ErrBroken].
func Verify(tx hub.Tx) (Report, error) {
	broken := func(format string, a ...any) (Report, error) {
		return Report{}, fmt.Errorf("%w: %s", ErrBroken, fmt.Sprintf(format, a...))
	}
	var last head
	folded := map[payout.ID]Record{}
	for row, err := range tx.Scan(hub.KindPayout, prefixFact) {
		if err != nil {
			return Report{}, err
		}
		var e Entry
		if err := json.Unmarshal(row.Doc, &e); err != nil {
			return broken("%s: %v", row.Key, err)
		}
		if e.Seq != last.Seq+1 || e.Prev != last.Hash || row.Key != factKey(e.Seq) {
			return broken("entry %d does not follow entry %d", e.Seq, last.Seq)
		}
		f, err := payout.Decode(e.Kind, e.Fact)
		if err != nil {
			return broken("entry %d: %v", e.Seq, err)
		}
		r := folded[f.Subject()]
		if err := e.signed(f, r.Kind); err != nil {
			return broken("entry %d: %v", e.Seq, err)
		}
		if r.Payout, err = r.Apply(f); err != nil {
			return broken("entry %d: %v", e.Seq, err)
		}
		r.fold(f, e)
		folded[r.ID] = r
		last = head{e.Seq, hashOf(row.Doc)}
	}
	h, err := get[head](tx, keyHead)
	if err != nil && !errors.Is(err, hub.ErrNotFound) {
		return Report{}, err
	}
	if h != last {
		return broken("the head is said to be entry %d, and the chain ends with %d", h.Seq, last.Seq)
	}
	stored, err := List(tx, "", true)
	if err != nil {
		return Report{}, err
	}
	if len(stored) != len(folded) {
		return broken("%d payouts are recorded, and the facts tell of %d", len(stored), len(folded))
	}
	for _, r := range stored {
		want := folded[r.ID]
		want.Told = r.Told
		if normal(r) != normal(want) {
			return broken("payout %s is not what its facts say", r.ID)
		}
	}
	return Report{Entries: last.Seq, Head: last.Hash, Payouts: len(stored)}, nil
}

// normal is the stored form of a record, so that two can be compared.
func normal(r Record) string {
	doc, err := json.Marshal(r)
	if err != nil {
		panic(err) // texts, numbers and times
	}
	return string(doc)
}

// signed checks that a decision of a person, about a record of this kind, is the
// statement that is with it.
func (e Entry) signed(f payout.Fact, kind payout.Kind) error {
	var want Statement
	switch f := f.(type) {
	case payout.ApprovedFact:
		want = Statement{Do: Approve, By: f.By, Payout: f.Payout, Digest: f.Digest, At: f.Until.Add(-payout.ApprovalLife)}
	case payout.RejectedFact:
		if f.By == restoredBy { // it only ever ends what was not sent
			return nil
		}
		want = Statement{Do: Reject, By: f.By, Payout: f.Payout, Reason: f.Reason}
	case payout.OutcomeFact:
		if f.Evidence.By == "" {
			return nil
		}
		want = Statement{Do: Resolve, By: f.Evidence.By, Payout: f.Payout, Reason: f.Reason, State: f.State, EndToEnd: f.Evidence.EndToEnd, Document: f.Evidence.Document}
	default:
		return nil
	}
	s, err := open(e.Signed, func(string) ed25519.PublicKey { return e.Key })
	if err != nil {
		return err
	}
	if s.Kind != "" { // earlier versions did not say it
		want.Kind = kind
	}
	if want.At.IsZero() {
		want.At = s.At
	}
	if want.V = 1; !s.At.Equal(want.At) {
		return errors.New("it was signed at another time")
	}
	if s.At = want.At; s != want {
		return errors.New("something else was signed")
	}
	return nil
}
