package charge_test

import (
	"strings"
	"testing"

	"github.com/ssg-safe/agent/charge"
)

// Names of people are taken; what would be personal data for ever is not.
func TestIsPerson(t *testing.T) {
	for _, name := range []string{"ana", "Ana Júlia", "J. P. d-Ávila", "caixa 2", "ana 004711", strings.Repeat("á", 40)} {
		if !charge.IsPerson(name) {
			t.Errorf("%q is refused", name)
		}
	}
	for what, name := range map[string]string{
		"nothing":               "",
		"a space":               " ",
		"a space at the end":    "ana ",
		"a line break":          "ana\nbia",
		"41 letters":            strings.Repeat("a", 41),
		"a CPF":                 "52998224725",
		"a CPF with dots":       "529.982.247-25",
		"a CPF after a word":    "CPF 529.982.247-25",
		"a CPF in a name":       "ana52998224725",
		"digits of a script":    "ana ٥٢٩٩٨٢٢٤٧٢٥",
		"a CNPJ":                "CNPJ 11222333000181",
		"an alphanumeric CNPJ":  "12ABC34501DE35",
		"a phone":               "tel 11 98765-4321",
		"an international one":  "+5511987654321",
		"a local one":           "tel. 9876-5432",
		"an e-mail address":     "ana@example.com",
		"a random key":          "a3f1c2d4-5678-4abc-9def-0123456789ab",
		"a number, nobody":      "4711",
		"a tab":                 "ana\tbia",
		"what a script escapes": "ana<bia>",
	} {
		if charge.IsPerson(name) {
			t.Errorf("%s: %q is taken", what, name)
		}
	}
}
