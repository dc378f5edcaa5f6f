package providers

import (
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/ssg-safe/agent/redact"
)

// maxDetail bounds the text of an error's detail, in characters.
const maxDetail = 200

// Hidden are values that must never come back in a text for operators:
// credentials and personal data of one call. The zero value is empty. It
// prints as nothing.
type Hidden struct{ values *[]string }

// Hide collects values; empty ones are ignored. Credentials are hidden as a
// whole; of names, documents and addresses also each word of four or more
// letters or digits.
func Hide(secrets ...redact.Secret) Hidden {
	var h Hidden
	for _, s := range secrets {
		h = h.with(s.Reveal())
	}
	return h
}

// WithPayer adds a payer's data.
func (h Hidden) WithPayer(p Payer) Hidden {
	for _, text := range []string{
		p.Name.Reveal(), p.Document.Reveal(), p.Email.Reveal(), p.Address.Reveal(), p.District.Reveal(), p.City.Reveal(), p.Postcode.Reveal(),
	} {
		h = h.with(text)
		for _, word := range strings.FieldsFunc(text, func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) }) {
			if utf8.RuneCountInString(word) >= 4 {
				h = h.with(word)
			}
		}
	}
	return h
}

// WithSecret adds a credential that became known later, such as a token.
func (h Hidden) WithSecret(s redact.Secret) Hidden { return h.with(s.Reveal()) }

func (h Hidden) with(value string) Hidden {
	if value == "" {
		return h
	}
	var values []string
	if h.values != nil {
		values = slices.Clone(*h.values)
	}
	values = append(values, value)
	slices.SortFunc(values, func(a, b string) int { return len(b) - len(a) }) // longest first
	return Hidden{values: &values}
}

const uuid = `(?i:[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})`

var (
	onlyUUID = regexp.MustCompile(`^` + uuid + `$`)
	// A UUID, which names nobody, or a run of digits as long as a CPF, a phone or a
	// card, however punctuated. A UUID can hold such a run.
	manyDigits = regexp.MustCompile(`\b(` + uuid + `)\b|[0-9](?:[.\-/() ]{0,2}[0-9]){8,}`)
	// An alphanumeric CNPJ.
	cnpj = regexp.MustCompile(`\b[0-9A-Z]{2}\.?[0-9A-Z]{3}\.?[0-9A-Z]{3}/?[0-9A-Z]{4}-?[0-9]{2}\b`)
	mail = regexp.MustCompile(`[^\s@"'<>]+@[^\s@"'<>]+`)
	// Tokens, codes and keys: longer than a UUID, without a space.
	longWord = regexp.MustCompile(`\S{40,}`)
)

// Clean makes a text that came from outside fit for an error or a log: hidden
// values are replaced, and so is whatever looks like a document number, a
// phone, an e-mail address, a token or a payable code; control characters
// become spaces; the length is bounded. The result may be cut, never
// rearranged.
func (h Hidden) Clean(text string) string {
	text = h.replace(printable(text))
	text = mail.ReplaceAllString(text, "[personal]")
	text = manyDigits.ReplaceAllStringFunc(text, func(found string) string {
		if onlyUUID.MatchString(found) {
			return found
		}
		return "[digits]"
	})
	text = cnpj.ReplaceAllString(text, "[document]")
	text = longWord.ReplaceAllString(text, "[long]")
	return bound(text, maxDetail)
}

// replace hides the known values, in any case of their letters.
func (h Hidden) replace(text string) string {
	if h.values == nil {
		return text
	}
	var any []string
	for _, v := range *h.values {
		// What is searched in has been made printable, so must the value be.
		if v = printable(v); v != "" {
			any = append(any, regexp.QuoteMeta(v))
		}
	}
	if any == nil {
		return text
	}
	return regexp.MustCompile(`(?i)`+strings.Join(any, "|")).ReplaceAllLiteralString(text, "[hidden]")
}

func printable(text string) string {
	text = strings.ToValidUTF8(text, "?")
	text = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, text)
	return strings.TrimSpace(text)
}

func bound(text string, characters int) string {
	n := 0
	for i := range text {
		if n == characters {
			return text[:i] + "…"
		}
		n++
	}
	return text
}
