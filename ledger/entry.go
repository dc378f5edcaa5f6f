package ledger

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/ssg-safe/agent/money"
)

// Errors that callers branch on.
var (
	// ErrDuplicate: the operation id is recorded already, with this content.
	ErrDuplicate = errors.New("the operation is recorded already")
	// ErrConflict: the operation id is recorded with other content.
	ErrConflict = errors.New("the operation id is taken by another content")
	// ErrUnbalanced: the postings do not sum to zero.
	ErrUnbalanced = errors.New("the postings do not sum to zero")
	// ErrDraft: an entry cannot be made of this draft.
	ErrDraft = errors.New("not a valid entry")
	// ErrVersion: an entry of an unknown version.
	ErrVersion = errors.New("unknown version of entry")
	// ErrMalformed: bytes that are not an entry of version 1.
	ErrMalformed = errors.New("malformed entry")
)

// Version of the envelope that this package writes and reads.
const Version = 1

const (
	maxEntry = 16 << 10 // bytes of one entry
	maxToken = 128      // bytes of op, kind, actor, boot, account
	maxDepth = 64       // nesting of evidence and data

	wallFormat = "2006-01-02T15:04:05.000Z"
)

// Position orders entries: by epoch, then by sequence. It is never a time.
type Position struct {
	Epoch uint64 `json:"epoch"`
	Seq   uint64 `json:"seq"`
}

// Before reports whether p comes before q.
func (p Position) Before(q Position) bool {
	return p.Epoch < q.Epoch || p.Epoch == q.Epoch && p.Seq < q.Seq
}

// String is "epoch/seq".
func (p Position) String() string {
	return strconv.FormatUint(p.Epoch, 10) + "/" + strconv.FormatUint(p.Seq, 10)
}

// Hash is the SHA-256 of an entry's bytes; in text, lower-case hex.
type Hash [32]byte

// String is the lower-case hex form.
func (h Hash) String() string { return hex.EncodeToString(h[:]) }

// MarshalText writes lower-case hex.
func (h Hash) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, h[:]), nil }

// UnmarshalText reads 64 lower-case hex digits.
func (h *Hash) UnmarshalText(text []byte) error {
	if !isHash(string(text)) {
		return fmt.Errorf("hash %.70q: want 64 lower-case hex digits", text)
	}
	_, err := hex.Decode(h[:], text)
	return err
}

func isHash(s string) bool {
	if len(s) != 64 {
		return false
	}
	for i := range len(s) {
		if !hexDigit[s[i]] {
			return false
		}
	}
	return true
}

// hexDigit is a table because nobody can predict whether a digit of a hash is a
// letter, the processor included: it made a sixth of decoding an entry.
var hexDigit = [256]bool{
	'0': true, '1': true, '2': true, '3': true, '4': true, '5': true, '6': true, '7': true,
	'8': true, '9': true, 'a': true, 'b': true, 'c': true, 'd': true, 'e': true, 'f': true,
}

// Head is an entry's position and hash: it stands for the whole chain up to it.
type Head struct {
	Position
	Hash Hash `json:"hash"`
}

// Quality says how far a wall clock can be trusted.
type Quality string

// The qualities, worst first.
const (
	Unsynced Quality = "unsynced" // nothing is known
	Floor    Quality = "floor"    // not before a time that has certainly passed
	Synced   Quality = "synced"   // the system says it follows a time source
	Anchored Quality = "anchored" // the hub's time was seen in this boot
)

// Stamp is when something happened, as far as the terminal can know.
type Stamp struct {
	Wall    time.Time     // stored in UTC, to the millisecond
	Boot    string        // /proc/sys/kernel/random/boot_id
	Up      time.Duration // CLOCK_BOOTTIME, stored to the millisecond
	Quality Quality       // of Wall
}

// Account is a name in the chart of accounts.
type Account string

// The chart of accounts; the package comment says what each holds.
const (
	PixClearing    Account = "pix_clearing"
	Sales          Account = "sales"
	Fees           Account = "fees"
	Bank           Account = "bank"
	Refunds        Account = "refunds"
	Suspense       Account = "suspense"
	CustomerCredit Account = "customer_credit"
)

// Chart lists every account that Append accepts.
func Chart() []Account {
	return []Account{PixClearing, Sales, Fees, Bank, Refunds, Suspense, CustomerCredit}
}

func (a Account) known() bool {
	switch a {
	case PixClearing, Sales, Fees, Bank, Refunds, Suspense, CustomerCredit:
		return true
	}
	return false
}

// Posting moves centavos on one account: positive debits, negative credits.
type Posting struct {
	Account Account      `json:"account"`
	Amount  money.Amount `json:"amount"`
}

// Draft is what a caller wants recorded. Op, Kind and Actor are 1 to 128
// letters, digits and the signs . _ : / @ + # = -
type Draft struct {
	Op, Kind, Actor string
	// Evidence and Data are marshalled by encoding/json; nil is null.
	Evidence any
	Postings []Posting
	Data     any
}

// Entry is a decoded entry of version 1. Evidence and Data share memory with
// the bytes it was decoded from.
type Entry struct {
	V     int
	Epoch uint64
	Seq   uint64
	Prev  string
	At    Stamp
	Op    string
	Kind  string
	Actor string
	// Evidence and Data are the exact JSON, "null" when there is none.
	Evidence json.RawMessage
	Postings []Posting
	Data     json.RawMessage
}

// Position of the entry.
func (e Entry) Position() Position { return Position{e.Epoch, e.Seq} }

// HashOf is the hash of an entry's exact bytes.
func HashOf(raw []byte) Hash { return sha256.Sum256(raw) }

// encode writes the envelope. content is where the part begins that does not
// depend on position and time, over which the operation's digest runs.
func encode(pos Position, prev Hash, at Stamp, d Draft, evidence, data []byte) (raw []byte, content int) {
	b := make([]byte, 0, 320+len(d.Op)+len(evidence)+len(data)+48*len(d.Postings))
	b = append(b, `{"v":1,"epoch":`...)
	b = strconv.AppendUint(b, pos.Epoch, 10)
	b = append(b, `,"seq":`...)
	b = strconv.AppendUint(b, pos.Seq, 10)
	b = append(b, `,"prev":"`...)
	b = hex.AppendEncode(b, prev[:])
	b = append(b, `","at":{"wall":"`...)
	b = at.Wall.UTC().AppendFormat(b, wallFormat)
	b = append(b, `","boot":"`...)
	b = append(b, at.Boot...)
	b = append(b, `","up_ms":`...)
	b = strconv.AppendInt(b, at.Up.Milliseconds(), 10)
	b = append(b, `,"quality":"`...)
	b = append(b, at.Quality...)
	b = append(b, `"},`...)
	content = len(b)
	b = append(b, `"op":"`...)
	b = append(b, d.Op...)
	b = append(b, `","kind":"`...)
	b = append(b, d.Kind...)
	b = append(b, `","actor":"`...)
	b = append(b, d.Actor...)
	b = append(b, `","evidence":`...)
	b = append(b, evidence...)
	b = append(b, `,"postings":[`...)
	for i, p := range d.Postings {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, `{"account":"`...)
		b = append(b, p.Account...)
		b = append(b, `","amount":`...)
		b = strconv.AppendInt(b, int64(p.Amount), 10)
		b = append(b, '}')
	}
	b = append(b, `],"data":`...)
	b = append(b, data...)
	return append(b, '}'), content
}

// check refuses a draft that could not be read back or does not balance.
func (d Draft) check() error {
	for _, f := range []struct{ name, value string }{{"op", d.Op}, {"kind", d.Kind}, {"actor", d.Actor}} {
		if !isToken(f.value) {
			return fmt.Errorf("%w: %s %q", ErrDraft, f.name, f.value)
		}
	}
	for _, p := range d.Postings {
		if !p.Account.known() {
			return fmt.Errorf("%w: account %q is not in the chart", ErrDraft, p.Account)
		}
	}
	return balanced(d.Postings)
}

func balanced(ps []Posting) error {
	var sum money.Amount
	for _, p := range ps {
		var err error
		if sum, err = sum.Add(p.Amount); err != nil {
			return fmt.Errorf("%w: %w", ErrUnbalanced, err)
		}
	}
	if sum != 0 {
		return fmt.Errorf("%w: off by %s", ErrUnbalanced, sum)
	}
	return nil
}

func (s Stamp) check() error {
	if y := s.Wall.UTC().Year(); y < 0 || y > 9999 {
		return fmt.Errorf("%w: year %d", ErrDraft, y)
	}
	if s.Boot != "" && !isToken(s.Boot) {
		return fmt.Errorf("%w: boot id %q", ErrDraft, s.Boot)
	}
	if s.Up < 0 {
		return fmt.Errorf("%w: clock since boot %v", ErrDraft, s.Up)
	}
	if !s.Quality.known() {
		return fmt.Errorf("%w: clock quality %q", ErrDraft, s.Quality)
	}
	return nil
}

// stored is the stamp as it can be read back.
func (s Stamp) stored() Stamp {
	s.Wall = s.Wall.UTC().Truncate(time.Millisecond)
	s.Up = s.Up.Truncate(time.Millisecond)
	return s
}

func (q Quality) known() bool {
	return q == Unsynced || q == Floor || q == Synced || q == Anchored
}

// isToken: needs no escaping in JSON, and no quoting anywhere else.
func isToken(s string) bool {
	if len(s) == 0 || len(s) > maxToken {
		return false
	}
	for i := range len(s) {
		switch c := s[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9':
		case c == '.', c == '_', c == ':', c == '/', c == '@', c == '+', c == '#', c == '=', c == '-':
		default:
			return false
		}
	}
	return true
}

// value marshals evidence or data and makes sure that Decode will take it.
func value(name string, v any) ([]byte, error) {
	if v == nil {
		return []byte("null"), nil
	}
	raw, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrDraft, name, err)
	}
	if end, ok := skipValue(raw, 0, maxDepth); !ok || end != len(raw) || !utf8.Valid(raw) {
		return nil, fmt.Errorf("%w: %s is nested too deep or not UTF-8", ErrDraft, name)
	}
	return raw, nil
}
