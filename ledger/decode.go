package ledger

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/ssg-safe/agent/money"
)

// Decode reads the bytes of an entry. It accepts exactly what Append writes:
// the same fields, order and spelling, so that an entry has one form only. It
// does not check hashes; it does check that the postings balance.
//
// Errors: ErrVersion, ErrMalformed, ErrUnbalanced.
func Decode(raw []byte) (Entry, error) {
	e, _, err := decode(raw)
	return e, err
}

// decode also returns where the content begins (see encode).
func decode(raw []byte) (e Entry, content int, err error) {
	if len(raw) > maxEntry {
		return Entry{}, 0, fmt.Errorf("%w: %d bytes", ErrMalformed, len(raw))
	}
	s := scanner{b: raw}
	s.lit(`{"v":`)
	v := s.number(math.MaxInt32)
	if !s.bad && v != Version {
		return Entry{}, 0, fmt.Errorf("%w %d", ErrVersion, v)
	}
	e.V = int(v)
	s.lit(`,"epoch":`)
	e.Epoch = s.number(math.MaxUint64)
	s.lit(`,"seq":`)
	e.Seq = s.number(math.MaxUint64)
	s.lit(`,"prev":"`)
	e.Prev = s.hash()
	s.lit(`","at":{"wall":"`)
	e.At.Wall = s.wall()
	s.lit(`","boot":"`)
	e.At.Boot = s.token(true)
	s.lit(`","up_ms":`)
	e.At.Up = time.Duration(s.number(math.MaxInt64/uint64(time.Millisecond))) * time.Millisecond
	s.lit(`,"quality":"`)
	e.At.Quality = Quality(s.token(false))
	s.bad = s.bad || !e.At.Quality.known()
	s.lit(`"},`)
	content = s.i
	s.lit(`"op":"`)
	e.Op = s.token(false)
	s.lit(`","kind":"`)
	e.Kind = s.token(false)
	s.lit(`","actor":"`)
	e.Actor = s.token(false)
	s.lit(`","evidence":`)
	e.Evidence = s.value()
	s.lit(`,"postings":[`)
	e.Postings = s.postings()
	s.lit(`],"data":`)
	e.Data = s.value()
	s.lit(`}`)
	if s.bad || s.i != len(raw) || !utf8.Valid(raw) {
		return Entry{}, 0, fmt.Errorf("%w at byte %d", ErrMalformed, s.i)
	}
	if err := balanced(e.Postings); err != nil {
		return Entry{}, 0, err
	}
	return e, content, nil
}

// scanner reads the one spelling of an entry; after a mismatch bad is set and
// nothing moves any more.
type scanner struct {
	b   []byte
	i   int
	bad bool
}

func (s *scanner) lit(want string) {
	if s.bad || len(s.b)-s.i < len(want) || string(s.b[s.i:s.i+len(want)]) != want {
		s.bad = true
		return
	}
	s.i += len(want)
}

// take returns the bytes up to the next one that ok refuses.
func (s *scanner) take(ok func(byte) bool) []byte {
	start := s.i
	for !s.bad && s.i < len(s.b) && ok(s.b[s.i]) {
		s.i++
	}
	return s.b[start:s.i]
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

func (s *scanner) number(limit uint64) uint64 {
	digits := s.take(isDigit)
	n, err := strconv.ParseUint(string(digits), 10, 64)
	if err != nil || n > limit || len(digits) > 1 && digits[0] == '0' {
		s.bad = true
		return 0
	}
	return n
}

func (s *scanner) amount() money.Amount {
	digits := s.take(func(c byte) bool { return isDigit(c) || c == '-' })
	n, err := strconv.ParseInt(string(digits), 10, 64)
	if err != nil || strconv.FormatInt(n, 10) != string(digits) {
		s.bad = true
	}
	return money.Amount(n)
}

func (s *scanner) token(mayBeEmpty bool) string {
	t := string(s.take(func(c byte) bool { return c != '"' }))
	if !isToken(t) && (t != "" || !mayBeEmpty) {
		s.bad = true
	}
	return t
}

func (s *scanner) hash() string {
	t := s.take(func(c byte) bool { return c != '"' })
	var h Hash
	if h.UnmarshalText(t) != nil {
		s.bad = true
	}
	return string(t)
}

func (s *scanner) wall() time.Time {
	t := string(s.take(func(c byte) bool { return c != '"' }))
	at, err := time.Parse(wallFormat, t)
	if err != nil || at.Format(wallFormat) != t {
		s.bad = true
	}
	return at
}

func (s *scanner) value() json.RawMessage {
	if s.bad {
		return nil
	}
	start := s.i
	end, ok := skipValue(s.b, start, maxDepth)
	if !ok {
		s.bad = true
		return nil
	}
	s.i = end
	return s.b[start:end:end]
}

func (s *scanner) postings() []Posting {
	var ps []Posting
	for !s.bad && s.i < len(s.b) && s.b[s.i] != ']' {
		if len(ps) > 0 {
			s.lit(",")
		}
		s.lit(`{"account":"`)
		account := Account(s.token(false))
		s.lit(`","amount":`)
		ps = append(ps, Posting{account, s.amount()})
		s.lit(`}`)
	}
	return ps
}

// skipValue returns the end of the JSON value that begins at i, which must have
// no white space outside strings and at most depth levels of nesting.
func skipValue(b []byte, i, depth int) (end int, ok bool) {
	if i >= len(b) || depth == 0 {
		return i, false
	}
	switch c := b[i]; {
	case c == '"':
		return skipString(b, i)
	case c == '{':
		return skipList(b, i, '}', depth)
	case c == '[':
		return skipList(b, i, ']', depth)
	case c == '-', isDigit(c):
		return skipNumber(b, i)
	}
	for _, word := range []string{"null", "true", "false"} {
		if len(b)-i >= len(word) && string(b[i:i+len(word)]) == word {
			return i + len(word), true
		}
	}
	return i, false
}

// skipList skips an object or an array.
func skipList(b []byte, i int, closing byte, depth int) (end int, ok bool) {
	i++
	if i < len(b) && b[i] == closing {
		return i + 1, true
	}
	for {
		if closing == '}' {
			if i >= len(b) || b[i] != '"' {
				return i, false
			}
			if i, ok = skipString(b, i); !ok || i >= len(b) || b[i] != ':' {
				return i, false
			}
			i++
		}
		if i, ok = skipValue(b, i, depth-1); !ok || i >= len(b) {
			return i, false
		}
		switch b[i] {
		case closing:
			return i + 1, true
		case ',':
			i++
		default:
			return i, false
		}
	}
}

func skipString(b []byte, i int) (end int, ok bool) {
	for i++; i < len(b); i++ {
		switch c := b[i]; {
		case c == '"':
			return i + 1, true
		case c < 0x20:
			return i, false
		case c == '\\':
			i++
			if i >= len(b) {
				return i, false
			}
			switch b[i] {
			case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
			case 'u':
				if len(b)-i < 5 {
					return i, false
				}
				for _, c := range b[i+1 : i+5] {
					if !isDigit(c) && (c < 'a' || c > 'f') && (c < 'A' || c > 'F') {
						return i, false
					}
				}
				i += 4
			default:
				return i, false
			}
		}
	}
	return i, false
}

func skipNumber(b []byte, i int) (end int, ok bool) {
	digits := func() bool {
		start := i
		for i < len(b) && isDigit(b[i]) {
			i++
		}
		return i > start
	}
	if b[i] == '-' {
		i++
	}
	if i < len(b) && b[i] == '0' {
		i++
	} else if !digits() {
		return i, false
	}
	if i < len(b) && b[i] == '.' {
		i++
		if !digits() {
			return i, false
		}
	}
	if i < len(b) && (b[i] == 'e' || b[i] == 'E') {
		i++
		if i < len(b) && (b[i] == '+' || b[i] == '-') {
			i++
		}
		if !digits() {
			return i, false
		}
	}
	return i, true
}
