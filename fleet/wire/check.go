package wire

import (
	"fmt"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/ssg-safe/agent/ledger"
)

// all returns the first error.
func all(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// id checks an identifier: 1 to MaxID letters, digits and the signs
// . _ : / @ + # = -
func id(name, s string) error {
	ok := len(s) > 0 && len(s) <= MaxID
	for i := 0; ok && i < len(s); i++ {
		switch c := s[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9':
		case c == '.', c == '_', c == ':', c == '/', c == '@', c == '+', c == '#', c == '=', c == '-':
		default:
			ok = false
		}
	}
	if !ok {
		return fmt.Errorf("%w: %s %.80q", ErrMalformed, name, s)
	}
	return nil
}

// name checks what may be the name of a JSON member.
func name(what, s string) error {
	if !validName(s) {
		return fmt.Errorf("%w: %s %.80q", ErrMalformed, what, s)
	}
	return nil
}

func optionalID(name, s string) error {
	if s == "" {
		return nil
	}
	return id(name, s)
}

// text checks free text: at most MaxText bytes of printable UTF-8, spaces
// included. The replacement character is refused, because that is what decoders
// make of half a surrogate pair.
func text(name, s string) error {
	ok := len(s) <= MaxText && utf8.ValidString(s)
	for _, r := range s {
		ok = ok && r != utf8.RuneError && (unicode.IsPrint(r) || r == '\u00a0')
	}
	if !ok {
		return fmt.Errorf("%w: %s %.80q", ErrMalformed, name, s)
	}
	return nil
}

func needText(name, s string) error {
	if s == "" {
		return fmt.Errorf("%w: %s is empty", ErrMalformed, name)
	}
	return text(name, s)
}

// stamp is a time as it is written.
func stamp(t time.Time) time.Time { return t.UTC().Truncate(time.Millisecond) }

// when checks a time that is in UTC already.
func when(name string, t time.Time) error {
	if t.IsZero() || t.Year() < 1970 || t.Year() > 9999 {
		return fmt.Errorf("%w: %s", ErrMalformed, name)
	}
	return nil
}

func optionalWhen(name string, t time.Time) error {
	if t.IsZero() {
		return nil
	}
	return when(name, t)
}

func clock(q string) error {
	switch ledger.Quality(q) {
	case ledger.Unsynced, ledger.Floor, ledger.Synced, ledger.Anchored:
		return nil
	}
	return fmt.Errorf("%w: clock %.80q", ErrMalformed, q)
}
