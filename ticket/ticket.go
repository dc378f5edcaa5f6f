// Package ticket keeps what a person has to look at: each difference that a
// reconciliation finds, and each refund that fits nothing here, is a ticket with an
// owner and a deadline, opened once and closed by somebody with a name.
//
// Opening and closing are ledger entries ([KindOpened], [KindClosed]), so the hub
// has them, too. The tickets themselves lie in a bucket beside the ledger: an open
// one is found after its entry was pruned, and of a closed one so much is kept
// that the same difference never opens again.
//
// All functions work in the caller's transaction. [Migrations] make the bucket.
package ticket

import (
	"cmp"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.etcd.io/bbolt"

	"github.com/ssg-safe/agent/charge"
	"github.com/ssg-safe/agent/ledger"
	"github.com/ssg-safe/agent/money"
	"github.com/ssg-safe/agent/store"
)

// Kinds of the ledger entries; the data of both is a [Ticket].
const (
	KindOpened = "ticket.opened"
	KindClosed = "ticket.closed"
)

// MaxOpen is how many tickets may be open. What is found beyond that is found
// again by a later comparison, when somebody has closed some.
const MaxOpen = 1000

// Errors a caller can branch on.
var (
	// ErrNotFound: there is no such ticket.
	ErrNotFound = errors.New("no such ticket")
	// ErrClosed: it is closed already.
	ErrClosed = errors.New("the ticket is closed already")
	// ErrWord: what is said of a closing cannot be recorded.
	ErrWord = errors.New("this cannot be recorded")
)

// How says what became of a ticket's matter. The words are few because the ledger
// keeps them for ever: nothing about a person belongs there.
type How string

// What may have become of it.
const (
	Refunded  How = "refunded"  // the money was given back
	Delivered How = "delivered" // the goods were handed over after all
	Credited  How = "credited"  // the customer has a credit
	Corrected How = "corrected" // the provider, or the books, were corrected
	Foreign   How = "not_ours"  // the money is none of this merchant's
	Accepted  How = "accepted"  // it stays as it is
)

// Hows lists them.
func Hows() []How { return []How{Refunded, Delivered, Credited, Corrected, Foreign, Accepted} }

// Ticket is a difference that a person has to deal with. Its JSON form is stored,
// so names never change. It holds nothing about people but who closed it.
type Ticket struct {
	// ID is what people call it.
	ID string `json:"ticket"`
	// Kind is the difference, in the words of package reconcile.
	Kind     string    `json:"kind"`
	Charge   charge.ID `json:"charge,omitempty"`
	Merchant string    `json:"merchant,omitempty"`
	Provider string    `json:"provider"`
	// ProviderID and EndToEnd tell which payment, in the provider's words.
	ProviderID string `json:"provider_id,omitempty"`
	EndToEnd   string `json:"end_to_end,omitempty"`
	// Charged, Ledger and Received are centavos: what was asked for, what the ledger
	// has of it, what the provider says came. Nil: nothing.
	Charged  *money.Amount `json:"charged,omitempty"`
	Ledger   *money.Amount `json:"ledger,omitempty"`
	Received *money.Amount `json:"received,omitempty"`
	// Refunded is what is said to have gone back.
	Refunded *money.Amount `json:"refunded,omitempty"`
	Why      string        `json:"why,omitempty"`
	// Owner is the role whose business it is, until Deadline.
	Owner    string    `json:"owner"`
	Deadline time.Time `json:"deadline"`
	// Opened and Closed are by the terminal's clock; Closed is zero while it is open.
	// By is who closed it, How what became of it.
	Opened time.Time `json:"opened"`
	Closed time.Time `json:"closed,omitzero"`
	By     string    `json:"by,omitempty"`
	How    How       `json:"how,omitempty"`
}

// Overdue reports whether an open ticket's deadline has passed.
func (t Ticket) Overdue(now time.Time) bool { return t.Closed.IsZero() && now.After(t.Deadline) }

// State is "open" or "closed".
func (t Ticket) State() string {
	if t.Closed.IsZero() {
		return "open"
	}
	return "closed"
}

var bucket = []byte("tickets") // subject -> Ticket, sealed

// Migrations of the tickets, for the composition root.
var Migrations = []store.Migration{{Name: "tickets: differences that people deal with", Do: func(tx *bbolt.Tx) error {
	_, err := tx.CreateBucketIfNotExists(bucket)
	return err
}}}

// Audit checks that every ticket can be read, for store.Options.Verify.
func Audit(tx *bbolt.Tx) error {
	_, err := List(tx, true)
	return err
}

// idOf makes a ticket's id of its subject.
func idOf(subject string) string { return fmt.Sprintf("T%.5X", sha256.Sum256([]byte(subject))) }

// Find returns the ticket of a difference, by its subject.
func Find(tx *bbolt.Tx, subject string) (Ticket, bool, error) {
	var t Ticket
	row := tx.Bucket(bucket).Get([]byte(subject))
	if row == nil {
		return t, false, nil
	}
	err := read([]byte(subject), row, &t)
	return t, err == nil, err
}

func read(key, row []byte, into *Ticket) error {
	raw, err := store.Unseal(key, row)
	if err == nil {
		err = json.Unmarshal(raw, into)
	}
	if err != nil {
		return fmt.Errorf("ticket of %s: %w", key, err)
	}
	return nil
}

func put(tx *bbolt.Tx, subject string, t Ticket) error {
	raw, err := json.Marshal(t)
	if err != nil {
		return err
	}
	key := []byte(subject)
	return tx.Bucket(bucket).Put(key, store.Seal(key, raw))
}

// Open records a ticket for a difference, unless there is one, open or closed;
// then it returns that one, and false. The id and the time are made here. Subject
// is 1 to 100 characters of an operation id.
func Open(tx *bbolt.Tx, at ledger.Stamp, who, subject string, t Ticket) (Ticket, bool, error) {
	if old, known, err := Find(tx, subject); known || err != nil {
		return old, false, err
	}
	t.ID, t.Opened = idOf(subject), at.Wall.UTC().Truncate(time.Second)
	t.Deadline = t.Deadline.UTC().Truncate(time.Second)
	op, err := operation(tx, subject)
	if err != nil {
		return Ticket{}, false, err
	}
	if _, err := ledger.Append(tx, at, ledger.Draft{Op: op, Kind: KindOpened, Actor: who, Data: t}); err != nil {
		return Ticket{}, false, fmt.Errorf("open ticket: %w", err)
	}
	return t, true, put(tx, subject, t)
}

// operation is the operation id of a ticket's opening. A restored store, whose
// epoch is another, may find again at another time what it does not remember.
func operation(tx *bbolt.Tx, subject string) (string, error) {
	head, err := ledger.GetHead(tx)
	return fmt.Sprintf("ticket/%d/%s", head.Epoch, subject), err
}

// Close records that somebody dealt with a ticket, by its id. Errors: ErrNotFound,
// ErrClosed, and ErrWord for a name or a word that cannot be recorded.
func Close(tx *bbolt.Tx, at ledger.Stamp, id, by string, how How) (Ticket, error) {
	switch {
	case !charge.IsPerson(by):
		return Ticket{}, fmt.Errorf("%w: the name of who closes it has %s", ErrWord, charge.PersonForm)
	case !slices.Contains(Hows(), how):
		return Ticket{}, fmt.Errorf("%w: %q; what became of it is one of %v", ErrWord, how, Hows())
	}
	var subject []byte
	var t Ticket
	err := tx.Bucket(bucket).ForEach(func(key, row []byte) error {
		if idOf(string(key)) != id {
			return nil
		}
		subject = slices.Clone(key)
		return read(key, row, &t)
	})
	switch {
	case err != nil:
		return Ticket{}, err
	case subject == nil:
		return Ticket{}, fmt.Errorf("%w: %s", ErrNotFound, id)
	case !t.Closed.IsZero():
		return t, fmt.Errorf("%w, by %s on %s: %s", ErrClosed, t.By, t.Closed.Format(time.DateOnly), id)
	}
	t.Closed, t.By, t.How = at.Wall.UTC().Truncate(time.Second), by, how
	op, err := operation(tx, string(subject))
	if err != nil {
		return Ticket{}, err
	}
	if _, err := ledger.Append(tx, at, ledger.Draft{Op: op + "/closed", Kind: KindClosed, Actor: "operator", Data: t}); err != nil {
		return Ticket{}, fmt.Errorf("close ticket %s: %w", id, err)
	}
	return t, put(tx, string(subject), t)
}

// List returns the open tickets, the most urgent first; with all, the closed ones
// behind them, newest first.
func List(tx *bbolt.Tx, all bool) ([]Ticket, error) {
	list := []Ticket{}
	err := tx.Bucket(bucket).ForEach(func(key, row []byte) error {
		var t Ticket
		if err := read(key, row, &t); err != nil {
			return err
		}
		if all || t.Closed.IsZero() {
			list = append(list, t)
		}
		return nil
	})
	slices.SortFunc(list, func(a, b Ticket) int {
		return cmp.Or(b.order()-a.order(), a.Deadline.Compare(b.Deadline)*a.order(), b.Closed.Compare(a.Closed), cmp.Compare(a.ID, b.ID))
	})
	return list, err
}

// order is 1 for open tickets, which come first.
func (t Ticket) order() int {
	if t.Closed.IsZero() {
		return 1
	}
	return 0
}

// Count is how many tickets are open, and how many of them are overdue.
type Count struct {
	Open    int `json:"open"`
	Overdue int `json:"overdue"`
}

// Counted counts them.
func Counted(tx *bbolt.Tx, now time.Time) (c Count, err error) {
	open, err := List(tx, false)
	for _, t := range open {
		c.Open++
		if t.Overdue(now) {
			c.Overdue++
		}
	}
	return c, err
}
