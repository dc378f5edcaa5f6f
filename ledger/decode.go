package ledger

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
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
	s := scanner{b: raw, text: string(raw)}
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
// nothing moves any more. text is a copy of b, of which all strings are parts.
type scanner struct {
	b    []byte
	text string
	i    int
	bad  bool
}

func (s *scanner) lit(want string) {
	if s.bad || !strings.HasPrefix(s.text[s.i:], want) {
		s.bad = true
		return
	}
	s.i += len(want)
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

func (s *scanner) number(limit uint64) uint64 {
	start := s.i
	for !s.bad && s.i < len(s.b) && isDigit(s.b[s.i]) {
		s.i++
	}
	digits := s.text[start:s.i]
	n, err := strconv.ParseUint(digits, 10, 64)
	if err != nil || n > limit || len(digits) > 1 && digits[0] == '0' {
		s.bad = true
		return 0
	}
	return n
}

func (s *scanner) amount() money.Amount {
	negative := s.i < len(s.b) && s.b[s.i] == '-'
	limit := uint64(math.MaxInt64)
	if negative {
		s.i++
		limit++
	}
	n := s.number(limit)
	if negative {
		s.bad = s.bad || n == 0 // -0
		return money.Amount(-n)
	}
	return money.Amount(n)
}

// quoted returns what comes before the next quotation mark.
func (s *scanner) quoted() string {
	if s.bad {
		return ""
	}
	n := strings.IndexByte(s.text[s.i:], '"')
	if n < 0 {
		s.bad = true
		return ""
	}
	s.i += n
	return s.text[s.i-n : s.i]
}

func (s *scanner) token(mayBeEmpty bool) string {
	t := s.quoted()
	if !isToken(t) && (t != "" || !mayBeEmpty) {
		s.bad = true
	}
	return t
}

func (s *scanner) hash() string {
	t := s.quoted()
	if !isHash(t) {
		s.bad = true
	}
	return t
}

// wall reads "2006-01-02T15:04:05.000Z". time.Parse takes other spellings too,
// and is slow.
func (s *scanner) wall() time.Time {
	t := s.quoted()
	if len(t) != len(wallFormat) {
		s.bad = true
		return time.Time{}
	}
	var n [7]int // year, month, day, hour, minute, second, millisecond
	field := 0
	for i := range len(t) {
		switch c := wallFormat[i]; {
		case !isDigit(c):
			s.bad = s.bad || t[i] != c
			field++
		case isDigit(t[i]):
			n[field] = 10*n[field] + int(t[i]-'0')
		default:
			s.bad = true
		}
	}
	at := time.Date(n[0], time.Month(n[1]), n[2], n[3], n[4], n[5], n[6]*int(time.Millisecond), time.UTC)
	y, m, d := at.Date()
	h, min, sec := at.Clock()
	if y != n[0] || int(m) != n[1] || d != n[2] || h != n[3] || min != n[4] || sec != n[5] {
		s.bad = true // 30 February, 24:00, second 60
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
		if ps == nil {
			ps = make([]Posting, 0, 4)
		} else {
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
