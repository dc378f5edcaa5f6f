// Package proposal keeps what a terminal proposes: that money is paid to a PIX key, or
// that a payment is given back. A proposal moves nothing. The hub makes something of it
// that people approve and that the hub alone submits (package payout); the terminal is
// told what became of it.
//
//	r, fresh, err := proposal.Make(tx, at, device, p, d, sealed)   // in the terminal's commit
//	r, word, err := proposal.Say(tx, at, said, evidence)           // what the hub has signed
//	list, err := proposal.List(tx, true)
//
// # What is kept where
//
// A proposal is a ledger entry ([KindMade]), and so is each thing that the hub says about
// it ([KindSaid]): both are in the chain that the hub holds, too. They name nobody. The
// key that is to be paid, and the text with it, are sealed for the hub alone
// ([Details.Encode]) before they get here; the entry has the hash of what is sealed, and
// the sealed bytes lie in the private part of the store until the hub has said that it has
// them. What is kept longer, for [Keep], is a keyed hash, by which the same request is
// known again.
//
// # Once
//
// A proposal is known by its reference: its id is made of device and reference ([IDOf]),
// so the same reference is the same proposal on a restored store, too. Asked again with
// the same content it is the same one; with another it is refused.
//
// The hub offers a proposal for approval only when it holds, signed, the entry that says
// that the terminal was told of its receipt ([Received]). From then on the terminal has
// nothing left to hand over, so a hub that was restored from a backup cannot be given the
// same proposal a second time: it says [Forgotten].
package proposal

import (
	"cmp"
	"crypto/sha256"
	"encoding/base32"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"time"

	"go.etcd.io/bbolt"

	"github.com/ssg-safe/agent/charge"
	"github.com/ssg-safe/agent/ledger"
	"github.com/ssg-safe/agent/money"
	"github.com/ssg-safe/agent/payout"
	"github.com/ssg-safe/agent/pix"
	"github.com/ssg-safe/agent/store"
)

// Kinds of the ledger entries; their data are a [Proposal] and a [Said].
const (
	KindMade = "proposal.made"
	KindSaid = "proposal.said"
)

// States of a proposal besides those of package payout, which it has from the time on
// that people can approve it.
const (
	// Queued: the hub has said nothing yet.
	Queued payout.State = "queued"
	// Received: the hub has it, and will offer it for approval.
	Received payout.State = "received"
	// Refused: the hub does not offer it to anybody; the reason says why.
	Refused payout.State = "refused"
	// Forgotten: the hub was restored from a backup and knows nothing of it any more. It may
	// have been paid: somebody must look at the provider's statement.
	Forgotten payout.State = "forgotten"
)

// Over reports whether the hub is expected to say no more.
func Over(s payout.State) bool { return s.Over() || s == Refused || s == Forgotten }

// MaxOpen is how many proposals may be unfinished at a time.
const MaxOpen = 50

// Keep is how long the same request is known again. After it a reference is refused.
const Keep = 90 * 24 * time.Hour

// Errors a caller can branch on.
var (
	// ErrInvalid: it cannot be proposed; the text says why.
	ErrInvalid = errors.New("this cannot be proposed")
	// ErrReference: the reference is another proposal's, or an old one's.
	ErrReference = errors.New("the reference is taken by another proposal")
	// ErrTooMany: MaxOpen proposals are unfinished.
	ErrTooMany = errors.New("too many proposals are unfinished")
	// ErrNotFound: there is no such proposal.
	ErrNotFound = errors.New("no such proposal")
)

// Proposal is what is proposed: the data of its entry. It names no person but who made it.
// Its JSON form is stored, so names never change.
type Proposal struct {
	ID        payout.ID    `json:"proposal"`
	Kind      payout.Kind  `json:"kind"`
	Reference string       `json:"reference"`
	Merchant  string       `json:"merchant"`
	Amount    money.Amount `json:"amount"`
	// Charge and EndToEnd name the payment that a refund gives back.
	Charge   string `json:"charge,omitempty"`
	EndToEnd string `json:"end_to_end,omitempty"`
	// Provider is the configured provider that the payment came through.
	Provider string `json:"provider,omitempty"`
	// Sealed is the SHA-256 of the sealed details, in hex; empty in a refund.
	Sealed string `json:"sealed,omitempty"`
	// Source is how it was asked for (control, api:NAME), By the name of who asked.
	Source string `json:"source"`
	By     string `json:"by"`
}

// Said is what the hub has signed about a proposal: the data of its entry.
type Said struct {
	ID     payout.ID    `json:"proposal"`
	State  payout.State `json:"state"`
	Amount money.Amount `json:"amount"`
	Reason string       `json:"reason,omitempty"`
	// Sent is the end-to-end id of the money that left.
	Sent string `json:"sent,omitempty"`
	// Odd says why it contradicts what was said before.
	Odd string `json:"odd,omitempty"`
}

// Evidence is what a [Said] rests on: the token that the hub signed.
type Evidence struct {
	Source string `json:"source"` // hub
	JTI    string `json:"jti"`
	Ctr    uint64 `json:"ctr"`
	// Digest is the provider's answer that the hub has, By the person who signed for it.
	Digest string `json:"digest,omitempty"`
	By     string `json:"by,omitempty"`
}

// Record is a proposal and what became of it.
type Record struct {
	Proposal
	State  payout.State `json:"state"`
	Reason string       `json:"reason,omitempty"`
	Sent   string       `json:"sent,omitempty"`
	// Odd: the hub contradicted itself, or the proposal; a person must look.
	Odd string `json:"odd,omitempty"`
	// Made and Heard, of the newest word of the hub, are by the terminal's clock.
	Made  time.Time `json:"made"`
	Heard time.Time `json:"heard,omitzero"`
	// At is the position of its entry.
	At ledger.Position `json:"at"`
}

var (
	bucket  = []byte("proposals")         // id -> Record, sealed
	waiting = []byte("proposals_waiting") // id -> nothing: what the hub has not said that it has
	open    = []byte("proposals_open")    // id -> nothing: of which more is expected
)

// Migrations of the proposals, for the composition root.
var Migrations = []store.Migration{{Name: "proposals of payouts and refunds", Do: func(tx *bbolt.Tx) error {
	for _, name := range [][]byte{bucket, waiting, open} {
		if _, err := tx.CreateBucketIfNotExists(name); err != nil {
			return err
		}
	}
	return nil
}}}

// IDOf is the id of a device's proposal by its reference.
func IDOf(device, reference string) payout.ID {
	sum := sha256.Sum256([]byte("ssg proposal\n" + device + "\n" + reference))
	return payout.ID(base32.StdEncoding.EncodeToString(sum[:])[:25])
}

// Context is what the details of a proposal are sealed with: they fit no other one.
func Context(device string, p Proposal) string {
	return fmt.Sprintf("ssg proposal 1\n%s\n%s\n%s\n%d", device, p.ID, p.Merchant, p.Amount)
}

// SealedHash is how a [Proposal] names sealed details.
func SealedHash(sealed []byte) string {
	sum := sha256.Sum256(sealed)
	return hex.EncodeToString(sum[:])
}

var (
	referenceForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._:/#-]{0,63}$`)
	merchantForm  = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,31}$`)
	endToEndForm  = regexp.MustCompile(`^[A-Za-z0-9]{32}$`)
	chargeForm    = regexp.MustCompile(`^[0-9A-Z]{25}$`)
	hashForm      = regexp.MustCompile(`^[0-9a-f]{64}$`)
	providerForm  = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,31}$`)
	sourceForm    = regexp.MustCompile(`^[a-z0-9][a-z0-9._:-]{0,63}$`)
)

// Check refuses what no terminal would record; the hub asks the same of what it reads.
// Error: ErrInvalid.
func (p Proposal) Check(device string) error {
	no := func(format string, a ...any) error {
		return fmt.Errorf("%w: %s", ErrInvalid, fmt.Sprintf(format, a...))
	}
	personal, err := pix.RecogniseKey(p.Reference)
	switch {
	case !referenceForm.MatchString(p.Reference):
		return no("a reference has up to 64 letters, digits and . _ : / # -, a letter or digit first")
	case err == nil && personal.Type != pix.KeyRandom:
		return no("the reference is a %s: it stands in the ledger for ever, so use a number of your own", personal.Type)
	case p.ID != IDOf(device, p.Reference):
		return no("the id is not that of the reference on this terminal")
	case p.Amount <= 0:
		return no("the amount is not positive")
	case !merchantForm.MatchString(p.Merchant):
		return no("the merchant is no id of a merchant")
	case !sourceForm.MatchString(p.Source):
		return no("the source is none")
	case !charge.IsPerson(p.By):
		return no("the name of who proposes it has %s", charge.PersonForm)
	}
	switch p.Kind {
	case payout.ToKey:
		if p.Charge != "" || p.EndToEnd != "" || p.Provider != "" || !hashForm.MatchString(p.Sealed) {
			return no("a payout names what is sealed, and no payment")
		}
	case payout.Refund:
		if !chargeForm.MatchString(p.Charge) || !endToEndForm.MatchString(p.EndToEnd) || !providerForm.MatchString(p.Provider) || p.Sealed != "" {
			return no("a refund names charge, end-to-end id and provider, and nothing sealed")
		}
	default:
		return no("unknown kind %q", p.Kind)
	}
	return nil
}

// Decode reads the data of an entry of a device. Error: ErrInvalid.
func Decode(device string, data []byte) (Proposal, error) {
	var p Proposal
	if err := json.Unmarshal(data, &p); err != nil {
		return Proposal{}, fmt.Errorf("%w: it cannot be read", ErrInvalid)
	}
	if err := p.Check(device); err != nil {
		return Proposal{}, err
	}
	return p, nil
}

// held is the private part.
type held struct {
	Asked  string `json:"asked"`            // keyed hash of what was asked for
	Sealed []byte `json:"sealed,omitempty"` // until the hub has it
}

func subject(id payout.ID) string { return "proposal/" + string(id) }

// Find returns what was made by the same request before, or [ErrNotFound]; what is asked
// for says whether it is the same. Error: ErrReference.
func Find(tx *bbolt.Tx, p Proposal, d Details) (Record, error) {
	r, err := Get(tx, p.ID)
	if err != nil {
		return Record{}, err
	}
	var h held
	raw, err := ledger.GetPrivate(tx, subject(p.ID))
	if err == nil && raw == nil {
		return Record{}, fmt.Errorf("%w: %s is an old one's, and what it asked for is erased: use another", ErrReference, p.Reference)
	}
	if err == nil {
		err = json.Unmarshal(raw, &h)
	}
	if err != nil {
		return Record{}, fmt.Errorf("private part of proposal %s: %w", p.ID, err)
	}
	asked, err := p.asked(tx, d)
	if err != nil {
		return Record{}, err
	}
	if asked != h.Asked {
		return Record{}, fmt.Errorf("%w: %s, of %s", ErrReference, r.ID, r.Made.Format(time.RFC3339))
	}
	return r, nil
}

// asked is the keyed hash of what was asked for.
func (p Proposal) asked(tx *bbolt.Tx, d Details) (string, error) {
	raw, err := json.Marshal([]any{p.Kind, p.Merchant, p.Amount, p.Charge, p.EndToEnd, d.Key.Reveal(), d.Description.Reveal()})
	if err != nil {
		return "", err
	}
	return ledger.KeyedHash(tx, raw)
}

// Make records a proposal, with its sealed details; one that was made by the same request
// before is returned, with false. The entry's actor is p.Source.
// Errors: ErrInvalid, ErrReference, ErrTooMany.
func Make(tx *bbolt.Tx, at ledger.Stamp, device string, p Proposal, d Details, sealed []byte) (Record, bool, error) {
	r, err := Find(tx, p, d)
	if !errors.Is(err, ErrNotFound) {
		return r, false, err
	}
	if err := p.Check(device); err != nil {
		return Record{}, false, err
	}
	if p.Sealed != "" && p.Sealed != SealedHash(sealed) {
		return Record{}, false, errors.New("something else was sealed")
	}
	unfinished := 0
	err = tx.Bucket(open).ForEach(func(_, _ []byte) error { unfinished++; return nil })
	if err != nil {
		return Record{}, false, err
	}
	if unfinished >= MaxOpen {
		return Record{}, false, fmt.Errorf("%w: %d; wait until some of them are decided", ErrTooMany, unfinished)
	}
	h := held{Sealed: sealed}
	if h.Asked, err = p.asked(tx, d); err != nil {
		return Record{}, false, err
	}
	raw, err := json.Marshal(h)
	if err != nil {
		return Record{}, false, err
	}
	head, err := ledger.GetHead(tx)
	if err != nil {
		return Record{}, false, err
	}
	e, err := ledger.Append(tx, at, ledger.Draft{Op: MadeOp(head.Epoch, p.ID), Kind: KindMade, Actor: p.Source, Data: p})
	if err != nil {
		return Record{}, false, fmt.Errorf("record proposal: %w", err)
	}
	r = Record{Proposal: p, State: Queued, Made: at.Wall.UTC().Truncate(time.Second), At: e.Position()}
	return r, true, errors.Join(
		ledger.PutPrivate(tx, at.Wall, subject(p.ID), raw),
		put(tx, r),
		tx.Bucket(open).Put([]byte(p.ID), []byte{}),
		tx.Bucket(waiting).Put([]byte(p.ID), []byte{}),
	)
}

// MadeOp is the operation id of the entry that makes a proposal.
func MadeOp(epoch uint64, id payout.ID) string { return op(epoch, id, "made") }

// op is an operation id. A restored store, whose epoch is another, may record again what
// it does not remember.
func op(epoch uint64, id payout.ID, what string) string {
	return fmt.Sprintf("proposal/%d/%s/%s", epoch, id, what)
}

func put(tx *bbolt.Tx, r Record) error {
	raw, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return tx.Bucket(bucket).Put([]byte(r.ID), store.Seal([]byte(r.ID), raw))
}

func read(key, row []byte) (r Record, err error) {
	raw, err := store.Unseal(key, row)
	if err == nil {
		err = json.Unmarshal(raw, &r)
	}
	if err != nil {
		return Record{}, fmt.Errorf("proposal %s: %w", key, err)
	}
	return r, nil
}

// Word is what a word of the hub was.
type Word int

// What it may have been.
const (
	Known         Word = iota // nothing new: nothing was recorded
	News                      // recorded
	Contradiction             // it cannot follow on what is known, and changed no state; recorded the first time
)

// Say records what the hub has signed about a proposal. With [Received] and everything
// after it the sealed details are erased. Error: ErrNotFound.
func Say(tx *bbolt.Tx, at ledger.Stamp, s Said, ev Evidence) (Record, Word, error) {
	fail := func(err error) (Record, Word, error) { return Record{}, Known, err }
	r, err := Get(tx, s.ID)
	if err != nil {
		return fail(err)
	}
	switch s.Odd = r.odd(s); {
	case s.Odd != "" && s.Odd == r.Odd:
		return r, Contradiction, nil
	case s.Odd == "" && s.State == r.State && s.Reason == r.Reason && s.Sent == r.Sent,
		s.State == Forgotten && Over(r.State): // it is known how it ended
		return r, Known, nil
	}
	head, err := ledger.GetHead(tx)
	if err != nil {
		return fail(err)
	}
	_, err = ledger.Append(tx, at, ledger.Draft{
		Op: op(head.Epoch, s.ID, fmt.Sprint("said/", ev.Ctr)), Kind: KindSaid, Actor: "hub", Data: s, Evidence: ev,
	})
	if err != nil {
		return fail(fmt.Errorf("record what the hub says: %w", err))
	}
	if s.Odd != "" {
		r.Odd = s.Odd
		return r, Contradiction, put(tx, r)
	}
	r.State, r.Reason, r.Sent, r.Heard = s.State, s.Reason, s.Sent, at.Wall.UTC().Truncate(time.Second)
	if Over(r.State) {
		err = tx.Bucket(open).Delete([]byte(r.ID))
	}
	return r, News, errors.Join(err, put(tx, r), handedOver(tx, at, r.ID))
}

// odd says what is wrong with a word of the hub.
func (r Record) odd(s Said) string {
	switch {
	case s.Amount != r.Amount:
		return fmt.Sprintf("the hub speaks of %d centavos, and %d were proposed", s.Amount, r.Amount)
	case !Over(r.State), s.State == r.State, s.State == Forgotten, r.State == payout.Settled && s.State == payout.Returned:
		return ""
	}
	return fmt.Sprintf("it was %s, and is said to be %s", r.State, s.State)
}

// handedOver erases what the hub has.
func handedOver(tx *bbolt.Tx, at ledger.Stamp, id payout.ID) error {
	if tx.Bucket(waiting).Get([]byte(id)) == nil {
		return nil
	}
	raw, err := ledger.GetPrivate(tx, subject(id))
	if err == nil && raw != nil {
		var h held
		if err = json.Unmarshal(raw, &h); err == nil {
			h.Sealed = nil
			raw, err = json.Marshal(h)
		}
		if err == nil {
			err = ledger.PutPrivate(tx, at.Wall, subject(id), raw)
		}
	}
	if err != nil {
		return fmt.Errorf("private part of proposal %s: %w", id, err)
	}
	return tx.Bucket(waiting).Delete([]byte(id))
}

// Get returns a proposal, or [ErrNotFound].
func Get(tx *bbolt.Tx, id payout.ID) (Record, error) {
	row := tx.Bucket(bucket).Get([]byte(id))
	if row == nil {
		return Record{}, fmt.Errorf("%w: %s", ErrNotFound, id)
	}
	return read([]byte(id), row)
}

// List returns the proposals of which more is expected, or that were contradicted, newest
// first; with all, also those that are over.
func List(tx *bbolt.Tx, all bool) ([]Record, error) {
	list := []Record{}
	err := tx.Bucket(bucket).ForEach(func(key, row []byte) error {
		r, err := read(key, row)
		if err == nil && (all || !Over(r.State) || r.Odd != "") {
			list = append(list, r)
		}
		return err
	})
	slices.SortFunc(list, func(a, b Record) int { return cmp.Or(b.Made.Compare(a.Made), cmp.Compare(a.ID, b.ID)) })
	return list, err
}

// Offer is what the hub has to be given.
type Offer struct {
	ID     payout.ID
	At     ledger.Position // of its entry
	Sealed []byte
}

// Waiting returns what the hub has not said that it has.
func Waiting(tx *bbolt.Tx) ([]Offer, error) {
	var list []Offer
	err := tx.Bucket(waiting).ForEach(func(key, _ []byte) error {
		r, err := Get(tx, payout.ID(key))
		if err != nil {
			return err
		}
		var h held
		raw, err := ledger.GetPrivate(tx, subject(r.ID))
		if err == nil && raw != nil {
			err = json.Unmarshal(raw, &h)
		}
		if err != nil {
			return fmt.Errorf("private part of proposal %s: %w", r.ID, err)
		}
		list = append(list, Offer{r.ID, r.At, h.Sealed})
		return nil
	})
	return list, err
}

// Holds reports whether private data is that of a proposal that the hub does not have
// yet, and must not be purged.
func Holds(tx *bbolt.Tx, private string) bool {
	id, ok := cutSubject(private)
	return ok && tx.Bucket(waiting).Get([]byte(id)) != nil
}

func cutSubject(private string) (string, bool) {
	const prefix = "proposal/"
	if len(private) <= len(prefix) || private[:len(prefix)] != prefix {
		return "", false
	}
	return private[len(prefix):], true
}

// Audit checks that everything can be read and hangs together, for store.Options.Verify.
func Audit(tx *bbolt.Tx) error {
	list, err := List(tx, true)
	if err != nil {
		return err
	}
	unfinished, queued := 0, 0
	for _, r := range list {
		if !Over(r.State) {
			unfinished++
		}
		if r.State == Queued {
			queued++
		}
		if isOpen := tx.Bucket(open).Get([]byte(r.ID)) != nil; isOpen == Over(r.State) {
			return fmt.Errorf("proposal %s is %s, and its row among the unfinished says otherwise", r.ID, r.State)
		}
		if waits := tx.Bucket(waiting).Get([]byte(r.ID)) != nil; waits != (r.State == Queued) {
			return fmt.Errorf("proposal %s is %s, and its row among the waiting says otherwise", r.ID, r.State)
		}
	}
	for name, want := range map[string]int{string(open): unfinished, string(waiting): queued} {
		rows := 0
		if err := tx.Bucket([]byte(name)).ForEach(func(_, _ []byte) error { rows++; return nil }); err != nil {
			return err
		}
		if rows != want {
			return fmt.Errorf("%d rows of %s, want %d", rows, name, want)
		}
	}
	return nil
}
