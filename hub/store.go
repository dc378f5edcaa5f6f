package hub

import (
	"context"
	"errors"
	"iter"

	"github.com/ssg-safe/agent/ledger"
)

// Errors of a [Store] that the hub branches on.
var (
	// ErrNotFound: there is no such row.
	ErrNotFound = errors.New("not found")
	// ErrConflict: something else is in the row's place already.
	ErrConflict = errors.New("something else is recorded there")
	// ErrOutcomeUnknown: a commit failed; it may or may not be durable. The
	// process must end and start anew: it finds out by itself what is there.
	ErrOutcomeUnknown = errors.New("the outcome of the commit is unknown")
)

// Store is where the hub keeps everything durable. Package hub/bolt has one in a
// file; package hub/hubtest tests any implementation against this contract.
//
// Atomicity: what one Update did is durable as a whole when Update returns nil,
// and leaves no trace when fn returns an error, which Update returns as it is. A
// commit that fails has an unknown outcome: Update returns [ErrOutcomeUnknown],
// and so does every later one, because what a reader saw may not be on disk.
//
// Concurrency: all methods may be called from many goroutines. Updates behave as
// if they ran one after the other; a View sees one committed state, also while
// Updates go on. Neither may be nested in the other. A Tx is used by one
// goroutine and only until fn returns. fn runs exactly once.
//
// When ctx has ended before fn is called, it is not called and the error is
// ctx's. Once fn runs, ctx does not stop it.
type Store interface {
	Update(ctx context.Context, fn func(Tx) error) error
	View(ctx context.Context, fn func(Tx) error) error
}

// Tx is one transaction: the copies of the ledgers, and records.
//
// Who owns bytes: what a Tx returns is valid until fn returns and must not be
// modified; what it is given it does not modify, and has copied when fn returns.
// Nothing that is being iterated over may be written before the iteration ends.
//
// A Tx of View refuses to write.
//
// Errors other than those named here are faults of the store: fn returns them.
type Tx interface {
	// Append adds an entry to a device's copy. It is idempotent by position and
	// by operation id: the same bytes in the same place change nothing; other
	// bytes there are ErrConflict and change nothing. The index of operations
	// keeps the first entry that had an Op, whatever comes later; an entry whose
	// Op is empty is not in it. Append looks at neither hashes nor gaps.
	Append(device string, e Entry) error
	// Entry returns the entry at a position, or ErrNotFound. Its Op and Digest
	// are not set.
	Entry(device string, at ledger.Position) (Entry, error)
	// Entries iterates in order of position, from the given one on, it included,
	// as Entry returns them. It ends after the first error.
	Entries(device string, from ledger.Position) iter.Seq2[Entry, error]
	// Op returns where an operation was recorded first, or ErrNotFound.
	Op(device, op string) (Op, error)
	// SetAside moves all entries of from's epoch from that position on to a
	// branch of that name, of which it must be the first use, and takes their
	// operations out of the index. It returns how many there were.
	SetAside(device string, from ledger.Position, branch string) (int, error)
	// Aside iterates over the entries of a branch, as Entries does.
	Aside(device, branch string) iter.Seq2[Entry, error]

	// Get returns a record's document, or ErrNotFound.
	Get(kind Kind, key string) ([]byte, error)
	// Put writes a record, over the one that is there.
	Put(kind Kind, key string, doc []byte) error
	// Delete removes a record; it is no error when there is none.
	Delete(kind Kind, key string) error
	// Scan iterates over the records whose key begins with prefix, in byte order
	// of the keys. It ends after the first error.
	Scan(kind Kind, prefix string) iter.Seq2[Record, error]
}

// Entry is one entry of a device's ledger, as the device sent it.
type Entry struct {
	ledger.Position
	// Hash is the SHA-256 of Bytes, kept beside them.
	Hash  ledger.Hash
	Bytes []byte
	// Op is the entry's operation id; empty when it could not be read. Digest is
	// the hash of the operation's content, which does not depend on position and
	// time.
	Op     string
	Digest ledger.Hash
}

// Op is a row of the index of operations.
type Op struct {
	At     ledger.Position
	Digest ledger.Hash
}

// Record is one small JSON document.
type Record struct {
	Key string
	Doc []byte
}

// Kind is a kind of records: a table. Keys hold 1 to 512 bytes, documents at
// most 64 KiB.
type Kind string

// The kinds. Their documents are this package's business; their names are
// stored and never change.
const (
	KindDevice     Kind = "device"      // device
	KindCounter    Kind = "counter"     // device
	KindChain      Kind = "chain"       // device/epoch
	KindCheckpoint Kind = "checkpoint"  // device/position
	KindQuarantine Kind = "quarantine"  // device/position
	KindPayment    Kind = "payment"     // device/charge
	KindCredit     Kind = "credit"      // end-to-end id
	KindMessage    Kind = "message"     // device/jti
	KindReference  Kind = "reference"   // device/typ/reference
	KindAlarm      Kind = "alarm"       // number
	KindAlarmKey   Kind = "alarm_key"   // device/kind/subject
	KindMeta       Kind = "meta"        // name
	KindWebhook    Kind = "webhook"     // number
	KindWebhookKey Kind = "webhook_key" // source/hash
	KindWaiting    Kind = "waiting"     // number of a webhook that nobody knows the charge of yet
	KindSubject    Kind = "subject"     // a provider's name for a charge
	KindPayout     Kind = "payout"      // see package hub/payouts
	KindProposal   Kind = "proposal"    // device/id
	KindReady      Kind = "ready"       // device/id of a proposal
)

// Kinds lists every kind.
func Kinds() []Kind {
	return []Kind{
		KindDevice, KindCounter, KindChain, KindCheckpoint, KindQuarantine, KindPayment,
		KindCredit, KindMessage, KindReference, KindAlarm, KindAlarmKey, KindMeta,
		KindWebhook, KindWebhookKey, KindWaiting, KindSubject,
		KindPayout, KindProposal, KindReady,
	}
}
