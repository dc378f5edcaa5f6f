package escpos

import (
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/unicode/norm"
)

// TestTable holds our table to the one of x/text, which we do not use in the
// encoder and the emulator does.
func TestTable(t *testing.T) {
	if n := utf8.RuneCountInString(cp850); n != 128 {
		t.Fatalf("%d characters", n)
	}
	b := 0x80
	for _, r := range cp850 {
		if want := charmap.CodePage850.DecodeByte(byte(b)); r != want {
			t.Errorf("%02X is %q, want %q", b, r, want)
		}
		b++
	}
}

func TestAppendText(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"plain", "Total 12,50 #$@[]{}~", "Total 12,50 #$@[]{}~"},
		{"Portuguese small", "áàâãéêíóôõúüç", "\xa0\x85\x83\xc6\x82\x88\xa1\xa2\x93\xe4\xa3\x81\x87"},
		{"Portuguese capital", "ÁÀÂÃÉÊÍÓÔÕÚÜÇ", "\xb5\xb7\xb6\xc7\x90\xd2\xd6\xe0\xe2\xe5\xe9\x9a\x80"},
		{"signs", "º ª ° §", "\xa7 \xa6 \xf8 \xf5"},
		{"decomposed", norm.NFD.String("São Conceição"), "S\xc6o Concei\x87\xc6o"},
		{"mark after a plain letter", "Jose\u0301", "Jos\x82"},
		{"mark alone", "\u0301", ""},
		{"money", "R$\u00a01.234,56", "R$ 1.234,56"},
		{"dashes and quotes", "– — ‘a’ “b”", "- - 'a' \"b\""},
		{"dots, euro, bullet", "… € •", "... EUR *"},
		{"letters it lacks", "Škoda Łódź œuvre ő", "Skoda L\xa2dz oeuvre o"},
		{"ligature and circled", "ﬁ ①", "fi 1"},
		{"nothing like it", "漢 👍", "? ?"},
		{"white space", "a\tb\r\nc\u2003d", "a b  c d"},
		{"control", "M\x00a\x1b\x10r\x7fi\u009ba", "Maria"},
		{"format", "\u202eabc\u200b\u00ad", "abc"},
		{"not UTF-8", "a\xffb", "a?b"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := string(AppendText(nil, c.text)); got != c.want {
				t.Errorf("%q gives % x, want % x", c.text, got, c.want)
			}
			if got := string(AppendText([]byte("x"), c.text)); got != "x"+c.want {
				t.Errorf("after other text: %q", got)
			}
		})
	}
}

// FuzzAppendText: no control byte ever comes out, and what page 2 has comes
// back as it was.
func FuzzAppendText(f *testing.F) {
	f.Add("São João\x1bp")
	f.Add("a\u0303\u0327\u0301")
	f.Fuzz(func(t *testing.T, s string) {
		out := AppendText(nil, s)
		if i := slices.IndexFunc(out, func(b byte) bool { return b < 0x20 || b == 0x7f }); i >= 0 {
			t.Fatalf("%q gives % x", s, out)
		}
		back, err := charmap.CodePage850.NewDecoder().Bytes(out)
		if err != nil {
			t.Fatal(err)
		}
		if again := AppendText(nil, string(back)); string(again) != string(out) {
			t.Fatalf("%q gives % x, then % x", s, out, again)
		}
	})
}

func TestForbidden(t *testing.T) {
	for _, bad := range []string{"\x10\x04", "\x10\x05", "\x10\x14", "\x1bp"} {
		for _, at := range []int{0, 1, 50} {
			job := strings.Repeat("a", at) + bad
			if Forbidden([]byte(job)) == "" || Forbidden([]byte(job+"zz")) == "" {
				t.Errorf("% x at %d was not found", bad, at)
			}
		}
	}
	for _, good := range []string{"", "\x10", "\x1b", "p\x10\x10", "\x1bd\x04", "abc", "\x10\x11\x04"} {
		if what := Forbidden([]byte(good)); what != "" {
			t.Errorf("% x: %s", good, what)
		}
	}
}
