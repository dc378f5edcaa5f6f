package charge

import (
	"regexp"
	"strings"
	"unicode"
)

// PersonForm says, for errors, what [IsPerson] takes.
const PersonForm = "up to 40 letters, digits, spaces, dots, hyphens and low lines, a letter first, and at most 6 digits: no document, phone or address"

var personForm = regexp.MustCompile(`^[\p{L}][\p{L}0-9 ._-]{0,39}$`)

// IsPerson reports whether a name may stand in the ledger, which forgets nothing, for
// who decided something. A name and a number of one's own at work fit; a CPF, a phone,
// an e-mail address and a PIX key do not, whatever is written around them.
func IsPerson(s string) bool {
	digits := 0
	for _, r := range s {
		if unicode.IsDigit(r) {
			digits++
		}
	}
	return personForm.MatchString(s) && digits <= 6 && strings.TrimSpace(s) == s
}
