package pix

import (
	"fmt"
	"io"
	"log/slog"
	"strings"
	"unicode/utf8"
)

// KeyType is the type of a PIX key.
type KeyType string

// The types of key, named as the directory of keys (DICT) names them.
const (
	KeyCPF    KeyType = "cpf"
	KeyCNPJ   KeyType = "cnpj"
	KeyPhone  KeyType = "phone"
	KeyEmail  KeyType = "email"
	KeyRandom KeyType = "evp"
)

// Key is a recognised PIX key. It is personal data as often as not, so however
// it is printed, logged or marshalled, it shows its type and a mask; [Key.Raw]
// gives the whole.
type Key struct {
	Type  KeyType
	Value string
}

// Raw is the key as registered.
func (k Key) Raw() string { return k.Value }

// String is type and mask, "cpf ***.456.789-**".
func (k Key) String() string { return strings.TrimSpace(string(k.Type) + " " + k.mask()) }

// Format prints the mask whatever the verb.
func (k Key) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, k.String()) }

// LogValue logs the mask.
func (k Key) LogValue() slog.Value { return slog.StringValue(k.String()) }

// MarshalText writes the mask, in JSON too.
func (k Key) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

func (k Key) mask() string {
	v := k.Value
	switch k.Type {
	case KeyCPF, KeyCNPJ:
		return MaskDocument(v)
	case KeyPhone:
		return "+55 ** *****-" + v[max(0, len(v)-4):]
	case KeyEmail:
		if _, domain, ok := strings.Cut(v, "@"); ok {
			return "***@" + domain
		}
	case KeyRandom:
		return v[:min(8, len(v))] + "-****"
	}
	return "***"
}

const anyKey = "a CPF (11 digits), a CNPJ (14 digits or upper-case letters), " +
	"a phone (+55, area code, 9 digits), an e-mail in lower case, or a random key (8-4-4-4-12 lower-case hexadecimal digits)"

// RecogniseKey tells what type of key text is. Nothing is guessed and nothing
// is changed: eleven digits are a CPF and nothing else, a phone starts with
// +55, documents carry no punctuation and correct check digits, letters of
// e-mails and random keys are lower case. Random keys need not be UUIDs of any
// version. The error is a [Problem] with the tag "key" that does not repeat the
// key.
func RecogniseKey(text string) (Key, error) {
	k, p := recognise(text)
	if p != nil {
		return Key{}, *p
	}
	return k, nil
}

func recognise(text string) (Key, *Problem) {
	no := func(found, want string) (Key, *Problem) {
		return Key{}, &Problem{Tag: "key", Rule: "key_invalid", Found: found, Want: want}
	}
	n := utf8.RuneCountInString(text)
	switch {
	case text == "":
		return no("nothing", anyKey)
	case n > maxKey:
		return no(count(n, "character"), fmt.Sprintf("a key of at most %d", maxKey))
	case text[0] == '+':
		return recognisePhone(text, no)
	case strings.Contains(text, "@"):
		if r, i, bad := firstOutside(text, func(r rune) bool { return r < 'A' || 'Z' < r }); bad {
			return no("an e-mail with "+character(r, i), "an e-mail in lower case")
		}
		if found := emailFault(text); found != "" {
			return no("an e-mail with "+found, "name@domain with letters, digits and hyphens in the domain")
		}
		return Key{KeyEmail, text}, nil
	case len(text) == 11 && allDigits(text):
		if !ValidCPF(text) {
			return no("11 digits whose check digits are wrong", "a CPF (a phone starts with +55)")
		}
		return Key{KeyCPF, text}, nil
	case len(text) == 14 && allIn(text, isAlnum):
		if r, i, bad := firstOutside(text, isUpperAlnum); bad {
			return no("14 characters with "+character(r, i), "a CNPJ of digits and upper-case letters")
		}
		if !ValidCNPJ(text) {
			return no("14 characters whose check digits are wrong", "a CNPJ")
		}
		return Key{KeyCNPJ, text}, nil
	case len(text) == 36:
		if r, i, bad := randomFault(text); bad {
			return no("36 characters with "+character(r, i), "a random key of 8-4-4-4-12 lower-case hexadecimal digits")
		}
		return Key{KeyRandom, text}, nil
	case len(text) == 32 && allIn(strings.ToLower(text), isLowerHex):
		return no("32 hexadecimal digits without hyphens", "a random key of 8-4-4-4-12 lower-case hexadecimal digits")
	case allDigits(text) && (n == 10 || n == 12 || n == 13):
		return no(count(n, "digit"), "a CPF of 11, a CNPJ of 14, or a phone that starts with +55")
	}
	if bare := stripPunctuation(text); (len(bare) == 11 && allDigits(bare)) || (len(bare) == 14 && allIn(bare, isUpperAlnum)) {
		r, i, _ := firstOutside(text, isUpperAlnum)
		return no(character(r, i), "a CPF or CNPJ without punctuation")
	}
	if strings.HasPrefix(text, "(") {
		return no(character('(', 0), "a phone that starts with +55, without spaces and punctuation")
	}
	return no(count(n, "character")+" of no known form", anyKey)
}

// recognisePhone accepts Brazilian mobiles only; the directory's grammar would
// allow any country.
func recognisePhone(text string, no func(found, want string) (Key, *Problem)) (Key, *Problem) {
	const want = "+55, a two-digit area code and 9 digits that start with 9"
	digits := text[1:]
	if r, i, bad := firstOutside(digits, func(r rune) bool { return '0' <= r && r <= '9' }); bad {
		return no("a phone with "+character(r, i+1), want)
	}
	switch {
	case !strings.HasPrefix(digits, "55"):
		return no("a phone of another country than +55", want)
	case len(digits) != 13:
		return no("a phone with "+count(max(0, len(digits)-4), "digit")+" after the area code", want)
	case digits[2] == '0' || digits[3] == '0':
		return no("area code "+digits[2:4], want)
	case digits[4] != '9':
		return no("a phone number that starts with "+digits[4:5], want)
	}
	return Key{KeyPhone, text}, nil
}

// emailFault checks the grammar of pix-dict-api, upper case aside.
func emailFault(text string) string {
	at := strings.LastIndexByte(text, '@')
	local, domain := text[:at], text[at+1:]
	if local == "" || domain == "" {
		return "nothing on one side of the @"
	}
	if r, i, bad := firstOutside(local, func(r rune) bool {
		return isAlnum(r) || strings.ContainsRune(".!#$&'*+/=?^_`{|}~-", r)
	}); bad {
		return character(r, i)
	}
	if r, i, bad := firstOutside(domain, func(r rune) bool { return isAlnum(r) || r == '.' || r == '-' }); bad {
		return character(r, utf8.RuneCountInString(text[:at+1])+i)
	}
	for label := range strings.SplitSeq(domain, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return "a bad domain"
		}
	}
	return ""
}

func randomFault(text string) (r rune, index int, bad bool) {
	for i, r := range text {
		hyphen := i == 8 || i == 13 || i == 18 || i == 23
		if hyphen != (r == '-') || !hyphen && !isLowerHex(r) {
			return r, i, true
		}
	}
	return 0, 0, false
}

func isLowerHex(r rune) bool { return '0' <= r && r <= '9' || 'a' <= r && r <= 'f' }

func allIn(text string, ok func(rune) bool) bool {
	_, _, bad := firstOutside(text, ok)
	return !bad
}
