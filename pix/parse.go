package pix

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// Parse reads a code as a tolerant scanner does. Its error is [Problems]: the
// reasons why the code cannot be read. What can be read but should never have
// been written is in [Code.Warnings]. With an error, the Code holds what could
// be made out, for display only.
//
// The text is taken as it is: a caller that got it from a person trims it.
func Parse(text string) (Code, error) {
	r := reader{text: text}
	r.read()
	r.code.Warnings = r.warnings
	return r.code, r.errors.asError()
}

// Validate is the strict reading: nil means that the code may be emitted. Its
// error is [Problems] with errors first, then warnings.
func Validate(text string) error {
	r := reader{text: text}
	r.read()
	return append(r.errors, r.warnings...).asError()
}

// reader collects what one code shows.
type reader struct {
	text             string
	inBytes          bool // lengths count bytes
	code             Code
	errors, warnings Problems
}

func (r *reader) fail(tag, rule, found, want string) {
	r.errors = append(r.errors, Problem{Tag: tag, Rule: rule, Found: found, Want: want})
}

func (r *reader) warn(tag, rule, found, want string) {
	r.warnings = append(r.warnings, Problem{Tag: tag, Rule: rule, Found: found, Want: want})
}

func (r *reader) read() {
	if r.text == "" {
		r.fail("code", "empty", "nothing", "a BR Code")
		return
	}
	if !utf8.ValidString(r.text) {
		r.fail("code", "not_utf8", "bytes that are no UTF-8 text", "printable ASCII")
		return
	}
	if n := utf8.RuneCountInString(r.text); n > maxCode {
		r.fail("code", "too_long", count(n, "character"), fmt.Sprintf("at most %d", maxCode))
		return
	}
	if !r.split() {
		r.crc(false)
		return
	}
	r.crc(true)
	r.order()
	r.ascii()
	r.constants()
	r.account()
	r.amount()
	r.payee()
	r.additional()
	r.empty()
}

// split takes the code apart, templates included.
func (r *reader) split() bool {
	fields, p := split(r.text, "", false)
	if p != nil && len(r.text) != utf8.RuneCountInString(r.text) {
		if f, q := split(r.text, "", true); q == nil {
			fields, p, r.inBytes = f, nil, true
			for _, f := range fields {
				if n := utf8.RuneCountInString(f.Value); n != len(f.Value) {
					r.warn(f.Tag, "length_in_bytes", fmt.Sprintf("length %d", len(f.Value)),
						fmt.Sprintf("%d: lengths count characters", n))
				}
			}
		}
	}
	r.code.Fields = fields
	if p != nil {
		r.errors = append(r.errors, *p)
		return false
	}
	for i := range fields {
		f := &fields[i]
		if !isTemplate(f.Tag) {
			continue
		}
		sub, p := split(f.Value, f.Tag+"-", r.inBytes)
		// A template that is not ours may hold anything.
		ours := f.Tag == "62" || strings.Contains(strings.ToLower(f.Value), gui)
		switch {
		case p == nil:
			f.Fields = sub
		case ours:
			r.errors = append(r.errors, *p)
		}
	}
	return true
}

// isTemplate tells the fields that hold fields and matter to PIX.
func isTemplate(tag string) bool {
	return "26" <= tag && tag <= "51" || tag == "62" || "80" <= tag && tag <= "99"
}

// crc compares tag 63 with the text before its value. Where the fields could
// not be told apart, it looks at the end of the text only.
func (r *reader) crc(fields bool) {
	const want = "the CRC in the last field, 6304 and four hexadecimal digits"
	head, tail := "", r.text
	if n := len(r.text); n >= 8 {
		head, tail = r.text[:n-4], r.text[n-4:]
	}
	last := strings.HasSuffix(head, "6304")
	if fields {
		f := r.code.Fields
		last = f[len(f)-1].Tag == "63"
		if _, ok := r.get("63"); !ok {
			r.fail("63", "crc_missing", "nothing", want)
			return
		} else if !last {
			r.fail("63", "crc_not_last", "tag "+f[len(f)-1].Tag+" after it", want)
			return
		} else if v := f[len(f)-1].Value; len(v) != 4 || !allIn(strings.ToLower(v), isLowerHex) {
			r.fail("63", "crc_format", orNothing(v), "four hexadecimal digits")
			return
		}
	} else if !last {
		r.fail("63", "crc_missing", quote(r.text[max(0, len(r.text)-lastRunes(r.text, 8)):])+" at the end", want)
		return
	}
	sum := string(appendCRC(nil, crc16(head)))
	switch {
	case !strings.EqualFold(sum, tail) || len(tail) != 4:
		r.fail("63", "crc_mismatch", quote(tail), quote(sum)+" (some character of the code was changed or lost)")
	case sum != tail:
		r.warn("63", "crc_lowercase", quote(tail), quote(sum)+" in upper case")
	}
}

// lastRunes is how many bytes the last n characters take.
func lastRunes(text string, n int) (size int) {
	for ; n > 0 && size < len(text); n-- {
		_, s := utf8.DecodeLastRuneInString(text[:len(text)-size])
		size += s
	}
	return size
}

// get finds a field by its tag, in a template where the tag has two ids.
func (r *reader) get(tag string) (value string, ok bool) {
	fields := r.code.Fields
	if len(tag) > 2 {
		for _, f := range fields {
			if f.Tag == tag[:2] {
				return find(f.Fields, tag)
			}
		}
	}
	return find(fields, tag)
}

func find(fields []Field, tag string) (value string, ok bool) {
	for _, f := range fields {
		if f.Tag == tag {
			return f.Value, true
		}
	}
	return "", false
}

// order checks that 00 comes first and that no tag comes twice.
func (r *reader) order() {
	fields := r.code.Fields
	if v, ok := r.get("00"); v != "01" {
		r.fail("00", "bad_payload_format", orNothing(v), `"01"`)
	} else if ok && fields[0].Tag != "00" {
		r.warn("00", "payload_format_not_first", "tag "+fields[0].Tag+" before it", "tag 00 first")
	}
	r.duplicates(fields)
	for _, f := range fields {
		if f.Tag == "62" || isPix(f) {
			r.duplicates(f.Fields)
		}
	}
}

func (r *reader) duplicates(fields []Field) {
	for i, f := range fields {
		if first, ok := find(fields[:i], f.Tag); ok {
			r.fail(f.Tag, "duplicate_id_"+f.Tag, fmt.Sprintf("it a second time (lengths %d and %d)",
				utf8.RuneCountInString(first), utf8.RuneCountInString(f.Value)), "every tag once")
		}
	}
}

// isPix tells a template of PIX from those of other arrangements.
func isPix(f Field) bool {
	v, _ := find(f.Fields, f.Tag+"-00")
	return strings.EqualFold(v, gui)
}

func (r *reader) ascii() {
	var visit func([]Field)
	visit = func(fields []Field) {
		for _, f := range fields {
			if len(f.Fields) > 0 {
				visit(f.Fields)
			} else if c, i, bad := firstOutside(f.Value, isPrintable); bad {
				r.warn(f.Tag, "non_ascii", character(c, i), "printable ASCII without accents")
			}
		}
	}
	visit(r.code.Fields)
}
