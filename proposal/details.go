package proposal

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/ssg-safe/agent/pix"
	"github.com/ssg-safe/agent/redact"
)

// Details are whom a payout is to be paid to, and the text with it. They print masked.
type Details struct {
	Key         redact.Text // the PIX key
	Description redact.Text // what the receiver reads; may be empty
}

const (
	maxKey         = 79 // bytes; a PIX key has at most 77
	maxDescription = 255
	// plainSize is what is sealed, always: its size says nothing of what is in it.
	plainSize = 1 + maxKey + 1 + maxDescription
)

// Check refuses what cannot be paid. Error: ErrInvalid, which does not repeat the key.
func (d Details) Check() error {
	if _, err := pix.RecogniseKey(d.Key.Reveal()); err != nil {
		return fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	text := d.Description.Reveal()
	if len(text) > maxDescription || !utf8.ValidString(text) || strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) || r == utf8.RuneError }) {
		return fmt.Errorf("%w: the description has at most %d bytes of printable text", ErrInvalid, maxDescription)
	}
	return nil
}

// Encode makes the text that is sealed. Error: ErrInvalid.
func (d Details) Encode() ([]byte, error) {
	if err := d.Check(); err != nil {
		return nil, err
	}
	out := make([]byte, plainSize)
	key, text := d.Key.Reveal(), d.Description.Reveal()
	out[0], out[1+maxKey] = byte(len(key)), byte(len(text))
	copy(out[1:], key)
	copy(out[1+maxKey+1:], text)
	return out, nil
}

// DecodeDetails reads what [Details.Encode] made. Error: ErrInvalid.
func DecodeDetails(plain []byte) (Details, error) {
	if len(plain) != plainSize {
		return Details{}, fmt.Errorf("%w: the details have %d bytes", ErrInvalid, len(plain))
	}
	key, err := padded(plain[:1+maxKey])
	text, err2 := padded(plain[1+maxKey:])
	if err := errors.Join(err, err2); err != nil {
		return Details{}, err
	}
	d := Details{Key: redact.Text(key), Description: redact.Text(text)}
	return d, d.Check()
}

// padded reads a length, so many bytes, and nothing but zeros behind them.
func padded(field []byte) (string, error) {
	n := int(field[0])
	if n > len(field)-1 || len(bytes.Trim(field[1+n:], "\x00")) > 0 {
		return "", fmt.Errorf("%w: the details are not in their form", ErrInvalid)
	}
	return string(field[1 : 1+n]), nil
}
