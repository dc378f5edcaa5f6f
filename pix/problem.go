package pix

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

// Problem is one thing wrong with a code.
type Problem struct {
	// Tag is where: "54", "26-01", "code" for the text as a whole, "key" for a
	// key that is in no code.
	Tag string `json:"tag"`
	// Rule is a stable word for programs, such as "amount_format".
	Rule string `json:"rule"`
	// Found and Want are for people. Found never holds a whole key.
	Found string `json:"found"`
	Want  string `json:"want"`
}

// Error names the tag, what was found there and what was expected.
func (p Problem) Error() string {
	var b strings.Builder
	if p.Tag != "" && '0' <= p.Tag[0] && p.Tag[0] <= '9' {
		b.WriteString("tag ")
	}
	b.WriteString(p.Tag)
	if name := tagName(p.Tag); name != "" {
		b.WriteString(" (" + name + ")")
	}
	b.WriteString(": found " + p.Found + ", expected " + p.Want)
	return b.String()
}

// Problems is an error made of one or more problems, errors before warnings.
type Problems []Problem

// Error lists the problems, one a line.
func (ps Problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.Error()
	}
	return strings.Join(lines, "\n")
}

// Unwrap gives errors.As and errors.AsType the single problems.
func (ps Problems) Unwrap() []error {
	errs := make([]error, len(ps))
	for i, p := range ps {
		errs[i] = p
	}
	return errs
}

// asError is nil when there is no problem.
func (ps Problems) asError() error {
	if len(ps) == 0 {
		return nil
	}
	return ps
}

// tagName says what a tag holds. A PIX template may have any id of its range,
// so there the second id decides.
func tagName(tag string) string {
	id, sub, inside := strings.Cut(tag, "-")
	switch {
	case "26" <= id && id <= "51":
		if !inside {
			return "account template"
		}
		switch sub {
		case "00":
			return "GUI"
		case "01":
			return "key"
		case "02":
			return "description"
		case "03":
			return "facilitator"
		case "25":
			return "location"
		}
		return ""
	case "80" <= id && id <= "99":
		if !inside {
			return "unreserved template"
		}
		switch sub {
		case "00":
			return "GUI"
		case "25":
			return "recurrence location"
		}
		return ""
	}
	switch tag {
	case "00":
		return "payload format"
	case "01":
		return "point of initiation"
	case "52":
		return "merchant category"
	case "53":
		return "currency"
	case "54":
		return "amount"
	case "58":
		return "country"
	case "59":
		return "name"
	case "60":
		return "city"
	case "61":
		return "postal code"
	case "62":
		return "additional data"
	case "62-05":
		return "txid"
	case "62-50":
		return "version"
	case "63":
		return "CRC"
	}
	return ""
}

// quote shows a value, cut where it would fill the screen.
func quote(text string) string {
	const most = 60
	if utf8.RuneCountInString(text) <= most {
		return strconv.Quote(text)
	}
	return strconv.Quote(string([]rune(text)[:most])) + "…"
}

// orNothing is quote, with a word for the empty value.
func orNothing(text string) string {
	if text == "" {
		return "nothing"
	}
	return quote(text)
}

// count is "1 character", "26 characters".
func count(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return strconv.Itoa(n) + " " + what
}

// character shows one character and its place, counted from 1.
func character(r rune, index int) string {
	s := strconv.Quote(string(r))
	if r < ' ' || '~' < r {
		s += " (U+" + strings.ToUpper(leftPad(strconv.FormatInt(int64(r), 16), 4)) + ")"
	}
	return s + " at character " + strconv.Itoa(index+1)
}

func leftPad(s string, width int) string {
	return strings.Repeat("0", max(0, width-len(s))) + s
}

// firstOutside finds the first character of text that ok refuses.
func firstOutside(text string, ok func(rune) bool) (r rune, index int, found bool) {
	for _, r := range text {
		if !ok(r) {
			return r, index, true
		}
		index++
	}
	return 0, 0, false
}

func isAlnum(r rune) bool {
	return '0' <= r && r <= '9' || 'A' <= r && r <= 'Z' || 'a' <= r && r <= 'z'
}

func isUpperAlnum(r rune) bool { return '0' <= r && r <= '9' || 'A' <= r && r <= 'Z' }

func isPrintable(r rune) bool { return ' ' <= r && r <= '~' }
