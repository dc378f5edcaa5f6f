// Package pix reads, checks and writes BR Codes, the text inside a PIX QR code
// (the same text is the "copia e cola"), and knows PIX keys and txids.
//
// # Which call
//
//   - [Static.Encode] writes a static code. It is narrow on purpose: it refuses
//     whatever some bank is known to stumble over, and names tag and character.
//   - [Parse] reads any code as a tolerant scanner would: what cannot be read is
//     an error, what can be read but should never have been written is a
//     warning in [Code.Warnings].
//   - [Validate] is Parse with the warnings counted as errors: nil means that the
//     code may be emitted. It judges by the standard, so it accepts things that
//     our writer leaves out (point of initiation "11" in a static code, the
//     version block 62-50).
//   - [RecogniseKey] says what type of key a text is, or why it is none.
//   - [TxIDs] makes the 25-character ids that serve as txid of static codes.
//
// Every complaint is a [Problem]: the tag, what was found there, what was
// expected. Errors of Parse, Validate and Encode are [Problems], all of them at
// once.
//
// # The format
//
// A code is a chain of fields: two digits of id, two digits of length in
// characters, the value. Some values are chains themselves; their fields are
// named by both ids, "26-01". Tags of interest:
//
//	00     "01", first
//	01     point of initiation, optional; only "12" (use once) says anything
//	26     the PIX template (any id from 26 to 51 whose 00 is br.gov.bcb.pix)
//	26-01  key (static code)
//	26-02  description (static code)
//	26-03  ISPB of the withdrawal facilitator (static code, Pix Saque)
//	26-25  location of the charge, without https:// (dynamic code)
//	52 53 58  merchant category, "986", "BR"
//	54     amount in reais, absent where the payer types it
//	59 60 61  name, city, postal code of the payee
//	62-05  txid, "***" for none
//	80-25  location of a recurrence (Pix Automático; any id from 80 to 99)
//	63     CRC-16 of everything before its value, last
//
// In a dynamic code only the location counts: what its tags 54 and 62-05 say is
// reported as found and binds nobody. A code with a location in 26-25 and one
// in 80-25 is composite: its Kind is that of the charge and its RecURL is set.
//
// Sources: Banco Central do Brasil, Manual de Padrões para Iniciação do Pix
// v2.2 and Manual do BR Code v1.0; bacen/pix-api 2.9.0; bacen/pix-dict-api for
// the forms of keys. The vectors in testdata/vectors.json bind: verdicts and
// fields of every one are checked by the tests.
//
// Everything here is pure, without I/O (random bits of txids aside), and safe
// for concurrent use.
package pix

import (
	"log/slog"
	"strings"

	"github.com/ssg-safe/agent/money"
)

// gui names PIX inside a template; codes write it in any case.
const gui = "br.gov.bcb.pix"

// Limits in characters.
const (
	maxCode        = 512
	maxTemplate    = 99
	maxKey         = 77
	maxDescription = 72
	maxName        = 25
	maxCity        = 15
	maxAmount      = 13
	maxTxID        = 25
)

// noTxID stands in 62-05 of a code without a txid.
const noTxID = "***"

// Kind is what a code leads to.
type Kind string

// The kinds of code.
const (
	// KindStatic carries a key; it can be paid any number of times.
	KindStatic Kind = "static"
	// KindStaticWithdrawal is a static code for Pix Saque: it names the
	// facilitator through which cash is handed out.
	KindStaticWithdrawal Kind = "static_saque"
	// KindDynamic carries the location of an immediate charge (cob).
	KindDynamic Kind = "dynamic"
	// KindDynamicDue carries the location of a charge with a due date (cobv).
	KindDynamicDue Kind = "dynamic_cobv"
	// KindRecurrence carries only the location of a recurrence.
	KindRecurrence Kind = "recurrence"
)

// Code is what [Parse] found, every value verbatim as in the code and empty
// where it is absent.
//
// A Code prints, logs and marshals all it holds, the payee's key included, with
// one exception: its slog value is only kind, amount and txid.
type Code struct {
	Kind Kind
	// Key and KeyType belong to static codes. KeyType is empty when the key
	// has no valid form; then Warnings says why.
	Key     string
	KeyType KeyType
	// URL is the location of the charge and RecURL that of the recurrence.
	URL, RecURL string
	// Amount is tag 54; see Cents.
	Amount string
	// Name and City are those of the payee. Payers' apps ignore the name and
	// show the one registered with the key.
	Name, City, PostalCode string
	// TxID is 62-05; "***" means none.
	TxID        string
	Description string
	// Facilitator is the ISPB of the withdrawal facilitator, 8 characters.
	Facilitator string
	// POI is the point of initiation, tag 01; MCC the category, tag 52.
	POI, MCC string
	// Warnings are what the reader put up with.
	Warnings []Problem
	// Fields is the whole code, in its order.
	Fields []Field
}

// Field is one field of a code.
type Field struct {
	// Tag is "54", or "26-01" for a field inside a template.
	Tag string `json:"tag"`
	// Value is verbatim; that of a template is the text of all its fields.
	Value string `json:"value"`
	// Fields are those of a template that was taken apart.
	Fields []Field `json:"fields,omitempty"`
}

// Cents is the amount of tag 54. It is false when the tag is absent or no whole
// number of centavos.
func (c Code) Cents() (money.Amount, bool) {
	if !isDecimal(c.Amount) {
		return 0, false
	}
	a, err := money.Parse(strings.TrimSuffix(c.Amount, "."))
	return a, err == nil
}

// LogValue keeps key, names and locations out of logs.
func (c Code) LogValue() slog.Value {
	return slog.GroupValue(
		slog.String("kind", string(c.Kind)),
		slog.String("amount", c.Amount),
		slog.String("txid", c.TxID),
	)
}

// isDecimal is the tolerant form of an amount: digits, perhaps a dot, perhaps
// more digits.
func isDecimal(text string) bool {
	whole, fraction, _ := strings.Cut(text, ".")
	return whole != "" && allDigits(whole) && allDigits(fraction)
}

func allDigits(text string) bool {
	for i := range len(text) {
		if text[i] < '0' || '9' < text[i] {
			return false
		}
	}
	return true
}
