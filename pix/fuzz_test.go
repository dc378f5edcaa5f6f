package pix

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Parse, print, parse: what was read says the same when it is written again
// field by field. Nothing panics, warnings and errors are complete, Validate
// never passes what Parse refuses, and a static code that passes it comes out
// of our own writer again.
func FuzzParse(f *testing.F) {
	for _, v := range vectors(f) {
		f.Add(v.Payload)
	}
	f.Fuzz(func(t *testing.T, text string) {
		once(t, text)
		if len(text) > 8 { // the fuzzer does not guess sums
			once(t, sealed(strings.TrimSuffix(text[:len(text)-4], "6304")))
		}
	})
}

func once(t *testing.T, text string) {
	code, err := Parse(text)
	strict := Validate(text)
	if (strict == nil) != (err == nil && len(code.Warnings) == 0) {
		t.Fatalf("%q: Parse %v with %v, Validate %v", text, err, code.Warnings, strict)
	}
	if err != nil {
		for _, p := range problems(t, err) {
			if p.Tag == "" || p.Rule == "" || p.Found == "" || p.Want == "" {
				t.Fatalf("%q: incomplete problem %+v", text, p)
			}
		}
		return
	}
	if code.Kind == "" || (code.Key == "") == (code.URL == "" && code.RecURL == "") {
		t.Fatalf("%q: read as %+v", text, code)
	}
	again, err := Parse(printed(code))
	if err != nil {
		t.Fatalf("%q: printed as %q: %v", text, printed(code), err)
	}
	// Lengths in bytes and a CRC in lower case do not survive printing.
	healed := func(c Code) Code {
		c.Warnings = nil
		return c
	}
	code.Fields[len(code.Fields)-1].Value = again.Fields[len(again.Fields)-1].Value
	if diff := cmp.Diff(healed(again), healed(code), cmp.Transformer("tree", values)); diff != "" {
		t.Fatalf("%q after printing (got -, want +):\n%s", text, diff)
	}
	if strict == nil && (code.Kind == KindStatic || code.Kind == KindStaticWithdrawal) {
		written, err := static(t, code).Encode()
		if err != nil {
			t.Fatalf("%q passes and our writer refuses it: %v", text, err)
		}
		if err := Validate(written); err != nil {
			t.Fatalf("%q: written again it does not pass: %v", written, err)
		}
	}
}

// values leaves out the text of templates, in which lengths may be counted
// either way.
func values(f Field) map[string]any {
	if len(f.Fields) > 0 {
		return map[string]any{"tag": f.Tag, "fields": f.Fields}
	}
	return map[string]any{"tag": f.Tag, "value": f.Value}
}

// printed writes the fields of a code again, with lengths in characters.
func printed(c Code) string {
	var chain func([]Field) string
	chain = func(fields []Field) string {
		var b strings.Builder
		for _, f := range fields {
			value := f.Value
			if len(f.Fields) > 0 {
				value = chain(f.Fields)
			}
			n := len([]rune(value))
			b.WriteString(f.Tag[len(f.Tag)-2:])
			b.WriteByte(byte('0' + n/10))
			b.WriteByte(byte('0' + n%10))
			b.WriteString(value)
		}
		return b.String()
	}
	return sealed(chain(c.Fields[:len(c.Fields)-1]))
}

// A key is recognised as one type, comes back unchanged, does not show in its
// own error, and can be written into a code and read back.
func FuzzRecogniseKey(f *testing.F) {
	for _, s := range []string{
		"12345678909", "11222333000181", "12ABC34501DE35", "+5561912345678", "fulano.t12@example.com",
		"123e4567-e12b-12d1-a456-426655440000", "11987654321", "123.456.789-09", "(61) 91234-5678", "Fulano@Example.com",
		"a@b@c", "+", "", "123e4567e12b12d1a456426655440000", "\xff", "joão@example.com",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		k, err := RecogniseKey(text)
		if err != nil {
			if k != (Key{}) {
				t.Fatalf("%q: key beside an error", text)
			}
			return
		}
		if k.Raw() != text || k.Type == "" {
			t.Fatalf("%q came back as %s %q", text, k.Type, k.Raw())
		}
		if strings.Contains(k.String(), text) && strings.TrimLeft(text, "*")[0] != '@' { // "*@0" hides nothing
			t.Fatalf("%q shows in its mask", text)
		}
		code, err := Static{Key: text, Name: "LOJA", City: "SAO PAULO"}.Encode()
		if err != nil {
			t.Fatalf("%q is a key and cannot be written: %v", text, err)
		}
		got, err := Parse(code)
		if err != nil || got.Key != text || got.KeyType != k.Type {
			t.Fatalf("%q came back as %s %q, %v", text, got.KeyType, got.Key, err)
		}
	})
}
