package pix

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/ssg-safe/agent/money"
)

// maxCents is the largest amount tag 54 holds: ten digits, a dot, two more.
const maxCents money.Amount = 9_999_999_999_99

// Static is what goes into a static BR Code.
type Static struct {
	// Key of the payee, exactly as registered, see [RecogniseKey].
	Key string
	// Name (1 to 25 characters) and City (1 to 15) of the payee. Accents are
	// folded; nothing is cut.
	Name, City string
	// Amount in centavos; 0 leaves the tag out and the payer types the amount.
	Amount money.Amount
	// TxID is 1 to 25 letters and digits, case kept; empty writes "***".
	TxID string
	// Description for the payer, up to 72 characters that share 99 with key and
	// facilitator. Accents are folded.
	Description string
	// Facilitator is the ISPB (8 digits or upper-case letters, leading zeros
	// kept) through which a Pix Saque hands out cash; empty for payments.
	Facilitator string
}

// Encode writes the code. Its order is fixed (00 26 52 53 54 58 59 60 62 63),
// so equal contents make equal codes. It never writes tag 01, an amount of
// zero, or anything but printable ASCII, and always writes 62-05. The error is
// [Problems]: everything that was refused, by tag and character. What Encode
// returns passes [Validate].
func (s Static) Encode() (string, error) {
	var ps Problems
	refuse := func(tag, rule, found, want string) {
		ps = append(ps, Problem{Tag: tag, Rule: rule, Found: found, Want: want})
	}

	if _, p := recognise(s.Key); p != nil {
		refuse("26-01", p.Rule, p.Found, p.Want)
	}
	name := plain(refuse, "59", "merchant_too_long", s.Name, maxName)
	city := plain(refuse, "60", "city_too_long", s.City, maxCity)
	if s.Amount < 0 || s.Amount > maxCents {
		refuse("54", "amount_range", `"`+s.Amount.String()+`"`, "0.01 to "+maxCents.String()+", or none")
	}
	txid := s.TxID
	switch {
	case txid == "":
		txid = noTxID
	case txid == noTxID:
	default:
		if found := txidFault(txid); found != "" {
			refuse("62-05", "txid_charset", found, wantTxID)
		}
	}
	if s.Facilitator != "" {
		if found := ispbFault(s.Facilitator); found != "" {
			refuse("26-03", "facilitator_format", found, wantISPB)
		}
	}
	var description string
	if s.Description != "" {
		room := maxTemplate - (4 + len(gui)) - (4 + len(s.Key)) - 4
		if s.Facilitator != "" {
			room -= 4 + len(s.Facilitator)
		}
		description = plain(refuse, "26-02", "description_too_long", s.Description, maxDescription)
		if n := len(description); n <= maxDescription && n > room {
			refuse("26-02", "description_too_long", count(n, "character"),
				fmt.Sprintf("at most %d, because template 26 holds %d with key and facilitator", max(0, room), maxTemplate))
		}
	}
	if s.Facilitator != "" && 4+len(gui)+4+len(s.Key)+4+len(s.Facilitator) > maxTemplate {
		refuse("26-03", "template_too_long", fmt.Sprintf("a key of %d characters beside it", len(s.Key)),
			fmt.Sprintf("a shorter key, because template 26 holds %d", maxTemplate))
	}
	if len(ps) > 0 {
		return "", ps
	}

	var inner [maxTemplate]byte
	account := appendField(inner[:0], "00", gui)
	account = appendField(account, "01", s.Key)
	if description != "" {
		account = appendField(account, "02", description)
	}
	if s.Facilitator != "" {
		account = appendField(account, "03", s.Facilitator)
	}
	b := make([]byte, 0, 256)
	b = append(b, "000201"...)
	b = appendField(b, "26", account)
	b = append(b, "520400005303986"...)
	if s.Amount > 0 {
		b = appendField(b, "54", s.Amount.String())
	}
	b = append(b, "5802BR"...)
	b = appendField(b, "59", name)
	b = appendField(b, "60", city)
	b = appendField(b, "62", appendField(inner[:0], "05", txid))
	b = append(b, "6304"...)
	return string(appendCRC(b, crc16(b))), nil
}

// appendField writes id, length and value; values are ASCII and at most 99
// characters here.
func appendField[T string | []byte](b []byte, id string, value T) []byte {
	b = append(b, id...)
	b = append(b, byte('0'+len(value)/10), byte('0'+len(value)%10))
	return append(b, value...)
}

// plain folds a text and refuses what cannot be written.
func plain(refuse func(tag, rule, found, want string), tag, ruleTooLong, text string, most int) string {
	folded := Fold(text)
	if r, _, bad := firstOutside(folded, isPrintable); bad {
		at := 0 // where it stands in the text as given
		for _, c := range text {
			if c == r {
				break
			}
			at++
		}
		refuse(tag, "non_ascii", character(r, at), "letters with or without accents, digits and ASCII signs")
		return folded
	}
	n := utf8.RuneCountInString(folded)
	switch {
	case strings.TrimSpace(folded) == "":
		refuse(tag, "missing_"+tag, orNothing(folded), fmt.Sprintf("1 to %d characters", most))
	case n > most:
		refuse(tag, ruleTooLong, count(n, "character")+": "+quote(folded), fmt.Sprintf("1 to %d characters", most))
	}
	return folded
}
