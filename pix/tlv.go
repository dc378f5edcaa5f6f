package pix

import (
	"fmt"
	"unicode/utf8"
)

// split takes a chain of fields apart. Lengths count characters, or bytes where
// a careless writer counted those. In a template, prefix is its tag and a
// hyphen. The problem is nil when the whole text was read; otherwise the fields
// before it are returned. A length in bytes that cuts a character in two is
// always a problem, because no field starts with the second half.
func split(text, prefix string, inBytes bool) ([]Field, *Problem) {
	fields := make([]Field, 0, 12)
	for rest := text; rest != ""; {
		if len(rest) < 4 || !allDigits(rest[:4]) {
			return fields, badHeader(rest, prefix, fields)
		}
		tag := prefix + rest[:2]
		want := int(rest[2]-'0')*10 + int(rest[3]-'0')
		rest = rest[4:]
		end, got := prefixLen(rest, want, inBytes)
		if got < want {
			return fields, &Problem{
				Tag: tag, Rule: "length_mismatch",
				Found: fmt.Sprintf("%d of the %s its length announces", got, count(want, "character")),
				Want:  "the whole value (the code was cut, or the length is wrong)",
			}
		}
		fields = append(fields, Field{Tag: tag, Value: rest[:end]})
		rest = rest[end:]
	}
	return fields, nil
}

// prefixLen is the number of bytes that the first n characters take, and how
// many of them there are.
func prefixLen(text string, n int, inBytes bool) (end, got int) {
	if inBytes {
		end = min(n, len(text))
		return end, end
	}
	for got < n && end < len(text) {
		_, size := utf8.DecodeRuneInString(text[end:])
		end += size
		got++
	}
	return end, got
}

// badHeader blames the field before the place where no field starts: most
// often its length is wrong.
func badHeader(rest, prefix string, before []Field) *Problem {
	end, _ := prefixLen(rest, 4, false)
	p := &Problem{Rule: "bad_header", Found: quote(rest[:end])}
	const want = "the two-digit id and two-digit length of the next field there"
	switch {
	case len(before) > 0:
		last := before[len(before)-1]
		p.Tag = last.Tag
		p.Found += " after its " + count(utf8.RuneCountInString(last.Value), "character")
		p.Want = want + " (or its length is wrong)"
	case prefix != "":
		p.Tag = prefix[:2]
		p.Found += " at its beginning"
		p.Want = want
	default:
		p.Tag = "code"
		p.Found += " at its beginning"
		p.Want = `"0002"`
	}
	return p
}
