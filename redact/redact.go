// Package redact holds the types of things that must not be read by everyone:
// credentials, documents, names, addresses.
//
// A value of these types prints, logs and marshals masked, whatever the verb
// or encoder: package fmt with every verb, log/slog in text and JSON,
// encoding/json, anything that knows [encoding.TextMarshaler], and errors that
// wrap a formatted value. What the value really is comes out of Reveal alone,
// so that every disclosure can be found by searching for that word. Decoding
// (JSON, TOML) fills the types like plain strings; storage reveals explicitly
// into private structs.
//
// # What the types cannot do
//
// Package fmt calls no methods on unexported struct fields, nor for the verbs
// %p and misused %w, nor below a pointer field of a struct that is printed with
// %s, %q or %d (go vet reports these verbs). So a struct that holds redacting
// values in unexported fields, or behind pointers to structs, has a Format
// method of its own. A redacting value is never a map key; encoders write keys
// raw.
//
// All types are immutable values, safe for concurrent use. The empty value
// prints empty: that a field is missing is no secret, and often the diagnosis.
package redact

import (
	"fmt"
	"io"
	"log/slog"
	"strings"
	"unicode"
	"unicode/utf8"
)

// What hidden values print as.
const (
	secretMask   = "[secret]"
	documentMask = "[document]"
	personalMask = "[personal]"
)

// Secret is a credential: password, client secret, token, signing key. It
// prints "[secret]".
type Secret string

// Reveal returns the credential itself, to be sent or used, never recorded.
func (s Secret) Reveal() string { return string(s) }

// String returns the mask.
func (s Secret) String() string { return hide(string(s), secretMask) }

// GoString returns the mask.
func (s Secret) GoString() string { return s.String() }

// Format writes the mask for every verb.
func (s Secret) Format(f fmt.State, verb rune) { format(f, verb, s.String()) }

// LogValue returns the mask.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalText returns the mask; encoding/json uses it too.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Document is a CPF (11 digits) or CNPJ (14 digits or capital letters), with or
// without its punctuation. It prints ***.456.789-** or **.345.678/****-**, and
// anything else as "[document]".
type Document string

// Reveal returns the document itself.
func (d Document) Reveal() string { return string(d) }

// String returns the masked document.
func (d Document) String() string {
	bare := strings.NewReplacer(".", "", "-", "", "/", "").Replace(string(d))
	for _, r := range bare {
		if (r < '0' || r > '9') && (r < 'A' || r > 'Z' || len(bare) != 14) {
			return documentMask
		}
	}
	switch len(bare) {
	case 0:
		return hide(string(d), documentMask)
	case 11:
		return "***." + bare[3:6] + "." + bare[6:9] + "-**"
	case 14:
		return "**." + bare[2:5] + "." + bare[5:8] + "/****-**"
	}
	return documentMask
}

// GoString returns the masked document.
func (d Document) GoString() string { return d.String() }

// Format writes the masked document for every verb.
func (d Document) Format(f fmt.State, verb rune) { format(f, verb, d.String()) }

// LogValue returns the masked document.
func (d Document) LogValue() slog.Value { return slog.StringValue(d.String()) }

// MarshalText returns the masked document; encoding/json uses it too.
func (d Document) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// Name is a person's name. It prints the first name and the initial of the
// last one, "Maria S."; a first word that does not look like a name (digits,
// signs, a single name with nothing to shorten beyond 20 characters) prints
// "[personal]".
type Name string

// Reveal returns the name itself.
func (n Name) Reveal() string { return string(n) }

// String returns the shortened name.
func (n Name) String() string {
	words := strings.Fields(string(n))
	if len(words) == 0 {
		return hide(string(n), personalMask)
	}
	first := words[0]
	if utf8.RuneCountInString(first) > 20 || strings.ContainsFunc(first, notInName) {
		return personalMask
	}
	if len(words) == 1 {
		return first
	}
	initial, _ := utf8.DecodeRuneInString(words[len(words)-1])
	if !unicode.IsLetter(initial) {
		return first
	}
	return first + " " + string(initial) + "."
}

func notInName(r rune) bool {
	return !unicode.IsLetter(r) && !unicode.Is(unicode.Mn, r) && r != '\'' && r != '-' && r != '.'
}

// GoString returns the shortened name.
func (n Name) GoString() string { return n.String() }

// Format writes the shortened name for every verb.
func (n Name) Format(f fmt.State, verb rune) { format(f, verb, n.String()) }

// LogValue returns the shortened name.
func (n Name) LogValue() slog.Value { return slog.StringValue(n.String()) }

// MarshalText returns the shortened name; encoding/json uses it too.
func (n Name) MarshalText() ([]byte, error) { return []byte(n.String()), nil }

// Email is a person's e-mail address. It prints "[personal]".
type Email string

// Reveal returns the address itself.
func (e Email) Reveal() string { return string(e) }

// String returns the mask.
func (e Email) String() string { return hide(string(e), personalMask) }

// GoString returns the mask.
func (e Email) GoString() string { return e.String() }

// Format writes the mask for every verb.
func (e Email) Format(f fmt.State, verb rune) { format(f, verb, e.String()) }

// LogValue returns the mask.
func (e Email) LogValue() slog.Value { return slog.StringValue(e.String()) }

// MarshalText returns the mask; encoding/json uses it too.
func (e Email) MarshalText() ([]byte, error) { return []byte(e.String()), nil }

// Text is any other personal text: an address, a message. It prints
// "[personal]".
type Text string

// Reveal returns the text itself.
func (t Text) Reveal() string { return string(t) }

// String returns the mask.
func (t Text) String() string { return hide(string(t), personalMask) }

// GoString returns the mask.
func (t Text) GoString() string { return t.String() }

// Format writes the mask for every verb.
func (t Text) Format(f fmt.State, verb rune) { format(f, verb, t.String()) }

// LogValue returns the mask.
func (t Text) LogValue() slog.Value { return slog.StringValue(t.String()) }

// MarshalText returns the mask; encoding/json uses it too.
func (t Text) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

func hide(value, mask string) string {
	if value == "" {
		return ""
	}
	return mask
}

// format keeps width and padding for the verbs that people use for text, so
// that masked values line up in tables.
func format(f fmt.State, verb rune, masked string) {
	switch verb {
	case 's', 'v', 'q':
		fmt.Fprintf(f, fmt.FormatString(f, verb), masked)
	default:
		io.WriteString(f, masked) // fmt.State never fails
	}
}
