package pix

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

func TestRecogniseKey(t *testing.T) {
	for _, tt := range []struct {
		text string
		want KeyType
		err  string // part of the error
	}{
		{"12345678909", KeyCPF, ""},
		{"00000000191", KeyCPF, ""},
		{"11222333000181", KeyCNPJ, ""},
		{"00000000000191", KeyCNPJ, ""},
		{"12ABC34501DE35", KeyCNPJ, ""},
		{"+5561912345678", KeyPhone, ""},
		{"fulano.t12@example.com", KeyEmail, ""},
		{"a+b_c@sub.example.com.br", KeyEmail, ""},
		{"123e4567-e12b-12d1-a456-426655440000", KeyRandom, ""}, // Banco Central's own, no UUID v4
		{"00000000-0000-0000-0000-000000000000", KeyRandom, ""},
		{"", "", "found nothing"},
		{"12345678900", "", "11 digits whose check digits are wrong, expected a CPF (a phone starts with +55)"},
		{"11987654321", "", "expected a CPF (a phone starts with +55)"}, // a phone without +55
		{"11111111111", "", "check digits are wrong"},
		{"123.456.789-09", "", `"." at character 4, expected a CPF or CNPJ without punctuation`},
		{"11.222.333/0001-81", "", `"." at character 3, expected a CPF or CNPJ without punctuation`},
		{"12.ABC.345/01DE-35", "", `"." at character 3`},
		{"11222333000180", "", "check digits are wrong, expected a CNPJ"},
		{"12abc34501de35", "", `"a" at character 3, expected a CNPJ of digits and upper-case letters`},
		{"12ABC34501DEA5", "", "check digits are wrong"},
		{"00000000000000", "", "check digits are wrong"},
		{"+556191234567", "", "8 digits after the area code"},
		{"+55619123456789", "", "10 digits after the area code"},
		{"+5561212345678", "", "a phone number that starts with 2"},
		{"+5501912345678", "", "area code 01"},
		{"+15551234567", "", "another country than +55"},
		{"+55 61 91234-5678", "", `" " at character 4`},
		{"+", "", "another country"},
		{"5561912345678", "", "13 digits"},
		{"(61) 91234-5678", "", `"(" at character 1`},
		{"Fulano@example.com", "", `"F" at character 1, expected an e-mail in lower case`},
		{"@example.com", "", "one side"},
		{"fulano@", "", "one side"},
		{"a@b@c", "", `"@" at character 2`},
		{"fula no@example.com", "", `" " at character 5`},
		{"fulano@exam_ple.com", "", `"_" at character 12`},
		{"fulano@example..com", "", "a bad domain"},
		{"fulano@-example.com", "", "a bad domain"},
		{"joão@example.com", "", `"ã" (U+00E3) at character 3`},
		{strings.Repeat("a", 70) + "@aaa.com", "", "78 characters"},
		{"123E4567-e12b-12d1-a456-426655440000", "", `"E" at character 4`},
		{"123e4567-e12b-12d1-a456-42665544000g", "", `"g" at character 36`},
		{"123e4567ee12b-12d1-a456-426655440000", "", `"e" at character 9`},
		{"123e4567e12b12d1a456426655440000", "", "32 hexadecimal digits without hyphens"},
		{"loja do zé", "", "10 characters of no known form"},
	} {
		got, err := RecogniseKey(tt.text)
		if tt.err == "" {
			if err != nil || got.Type != tt.want || got.Raw() != tt.text {
				t.Errorf("%q: got %s %q, %v, want %s", tt.text, got.Type, got.Raw(), err, tt.want)
			}
			continue
		}
		if err == nil || !strings.Contains(err.Error(), tt.err) {
			t.Errorf("%q: got %v, %v, want %q", tt.text, got, err, tt.err)
			continue
		}
		if p, ok := errors.AsType[Problem](err); !ok || p.Tag != "key" || got != (Key{}) {
			t.Errorf("%q: got %T with %q and key %v", tt.text, err, p.Tag, got)
		}
		if len(tt.text) > 5 && strings.Contains(err.Error(), tt.text) {
			t.Errorf("the error repeats the key: %v", err)
		}
	}
}

// Every digit of a document counts: no other digit passes in its place.
func TestCheckDigits(t *testing.T) {
	for _, tt := range []struct {
		text  string
		valid func(string) bool
	}{
		{"52998224725", ValidCPF},
		{"11222333000181", ValidCNPJ},
		{"12ABC34501DE35", ValidCNPJ},
	} {
		// Remainders 0 and 1 share a check digit, so there are numbers of
		// which a change passes (12345678909 and 22345678909); not of these.
		if !tt.valid(tt.text) {
			t.Errorf("%s: not valid", tt.text)
		}
		for i, old := range tt.text {
			// A letter weighs as much as the digit 11 or 22 below it, so only
			// digits in place of digits are sure to be caught.
			for r := '0'; r <= '9' && old <= '9'; r++ {
				if mutant := tt.text[:i] + string(r) + tt.text[i+1:]; r != old && tt.valid(mutant) {
					t.Errorf("%s passes for %s", mutant, tt.text)
				}
			}
			if i < len(tt.text)-1 && tt.text[i] != tt.text[i+1] {
				swapped := tt.text[:i] + tt.text[i+1:i+2] + tt.text[i:i+1] + tt.text[i+2:]
				if tt.valid(swapped) {
					t.Errorf("%s passes for %s", swapped, tt.text)
				}
			}
		}
	}
	for _, text := range []string{"", "1", "123456789", "123.456.789-09", "1234567890９", "11222333000181 "} {
		if ValidCPF(text) || ValidCNPJ(text) {
			t.Errorf("%q is valid", text)
		}
	}
	for d := '0'; d <= '9'; d++ {
		if s := strings.Repeat(string(d), 11); ValidCPF(s) {
			t.Errorf("%s is a CPF", s)
		}
		if s := strings.Repeat(string(d), 14); ValidCNPJ(s) {
			t.Errorf("%s is a CNPJ", s)
		}
	}
}

func TestDocumentForms(t *testing.T) {
	for _, tt := range []struct{ in, formatted, masked string }{
		{"11222333000181", "11.222.333/0001-81", "**.222.333/****-**"},
		{"12ABC34501DE35", "12.ABC.345/01DE-35", "**.ABC.345/****-**"},
		{"11.222.333/0001-81", "11.222.333/0001-81", "**.222.333/****-**"},
		{"12345678909", "12345678909", "***.456.789-**"},
		{"123.456.789-09", "123.456.789-09", "***.456.789-**"},
		{"", "", "***"},
		{"1234567890", "1234567890", "***"},
		{"áéíóúãõ", "áéíóúãõ", "***"},
	} {
		if got := FormatCNPJ(tt.in); got != tt.formatted {
			t.Errorf("FormatCNPJ(%q): got %q, want %q", tt.in, got, tt.formatted)
		}
		if got := MaskDocument(tt.in); got != tt.masked {
			t.Errorf("MaskDocument(%q): got %q, want %q", tt.in, got, tt.masked)
		}
	}
}

// However a key leaves the program by accident, it is masked.
func TestKeyMasks(t *testing.T) {
	for _, tt := range []struct{ text, want string }{
		{"12345678909", "cpf ***.456.789-**"},
		{"12ABC34501DE35", "cnpj **.ABC.345/****-**"},
		{"+5561912345678", "phone +55 ** *****-5678"},
		{"fulano.t12@example.com", "email ***@example.com"},
		{"123e4567-e12b-12d1-a456-426655440000", "evp 123e4567-****"},
	} {
		k, err := RecogniseKey(tt.text)
		if err != nil {
			t.Fatal(err)
		}
		if k.String() != tt.want {
			t.Errorf("got %q, want %q", k.String(), tt.want)
		}
		var out bytes.Buffer
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
			fmt.Fprintf(&out, verb+" "+verb+"\n", k, &k)
		}
		fmt.Fprintln(&out, []Key{k}, map[string]Key{"k": k}, struct{ K Key }{k})
		for _, h := range []slog.Handler{slog.NewTextHandler(&out, nil), slog.NewJSONHandler(&out, nil)} {
			slog.New(h).Info("key", "key", k, "pointer", &k, "inside", struct{ K Key }{k})
		}
		if err := json.NewEncoder(&out).Encode(map[string]any{"k": k, "p": &k}); err != nil {
			t.Fatal(err)
		}
		if strings.Contains(out.String(), tt.text) {
			t.Errorf("%s leaks:\n%s", tt.want, out.String())
		}
	}
	if got := (Key{}).String(); got != "***" {
		t.Errorf("zero key: got %q", got)
	}
}

// A code's key and names stay out of logs.
func TestCodeLogValue(t *testing.T) {
	code, err := Parse(sealed("00020126330014br.gov.bcb.pix0111123456789095204000053039865802BR5906FULANO6008BRASILIA62070503***"))
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	slog.New(slog.NewTextHandler(&out, nil)).Info("code", "code", code)
	if s := out.String(); strings.Contains(s, "12345678909") || strings.Contains(s, "FULANO") || !strings.Contains(s, "code.kind=static") {
		t.Errorf("logged %s", s)
	}
}
