package pix

import (
	"errors"
	"strings"
	"testing"
)

// Every single-character change and every truncation of every readable code is
// refused. The one change a tolerant reader puts up with is a CRC digit that
// turns to lower case; the strict one refuses that too.
func TestMutations(t *testing.T) {
	changed, cut := 0, 0
	for _, v := range readable(t) {
		text := []rune(v.Payload)
		for i, old := range text {
			for _, r := range replacements(old) {
				text[i] = r
				mutant := string(text)
				changed++
				caseOfCRC := i >= len(text)-4 && strings.EqualFold(string(r), string(old))
				if _, err := Parse(mutant); err != nil {
					continue
				}
				if !caseOfCRC {
					t.Errorf("%s: %q at %d instead of %q was read", v.ID, r, i, old)
				}
				if Validate(mutant) == nil {
					t.Errorf("%s: %q at %d instead of %q passed", v.ID, r, i, old)
				}
			}
			text[i] = old
		}
		for i := range text {
			cut++
			if _, err := Parse(string(text[:i])); err == nil {
				t.Errorf("%s: its first %d characters were read", v.ID, i)
			}
			if i == 0 {
				continue
			}
			if _, err := Parse(string(text[i:])); err == nil {
				t.Errorf("%s: without its first %d characters it was read", v.ID, i)
			}
			without := string(text[:i]) + string(text[i+1:])
			if _, err := Parse(without); err == nil {
				t.Errorf("%s: without character %d it was read", v.ID, i)
			}
		}
		for _, tail := range []string{"\n", " ", "0", "6304", "6304ABCD"} {
			if _, err := Parse(v.Payload + tail); err == nil {
				t.Errorf("%s: with %q after it, it was read", v.ID, tail)
			}
		}
	}
	if changed < 300_000 || cut < 3000 {
		t.Errorf("only %d changes and %d truncations", changed, cut)
	}
}

// replacements are all other printable characters and some that are not.
func replacements(old rune) []rune {
	all := make([]rune, 0, 100)
	for r := ' '; r <= '~'; r++ {
		if r != old {
			all = append(all, r)
		}
	}
	return append(all, '\n', 0, 'Á', '٣', '€')
}

// The CRC alone would let 1 in 65,536 through; with a repaired CRC the fields
// themselves must still be caught where they are wrong.
func TestRepairedCRC(t *testing.T) {
	const evp = "0136123e4567-e12b-12d1-a456-426655440000"
	const good = "00020126580014br.gov.bcb.pix" + evp + "5204000053039865802BR5913Fulano de Tal6008BRASILIA62070503***"
	for _, tt := range []struct {
		name, from, to string
		fails          string // rule of an error
		warns          string // rule of a warning
		want           string // text of that problem
	}{
		{"nothing changed", "", "", "", "", ""},
		{"payload format", "000201", "000202", "bad_payload_format", "", `tag 00 (payload format): found "02", expected "01"`},
		{"no payload format", "000201", "", "bad_payload_format", "", `tag 00 (payload format): found nothing, expected "01"`},
		{
			"payload format later", "00020126580014br.gov.bcb.pix" + evp, "26580014br.gov.bcb.pix" + evp + "000201", "",
			"payload_format_not_first", `tag 00 (payload format): found tag 26 before it, expected tag 00 first`,
		},
		{"point of initiation 13", "000201", "000201010213", "", "poi_value", `tag 01 (point of initiation): found "13", expected "12", or no tag 01`},
		{"point of initiation 11", "000201", "000201010211", "", "", ""},
		{"point of initiation 12", "000201", "000201010212", "", "", ""},
		{"no key", "26580014br.gov.bcb.pix" + evp, "26180014br.gov.bcb.pix", "no_key_or_url", "", `tag 26-01 (key): found nothing, expected a key here, or a location in 26-25`},
		{"empty key", "26580014br.gov.bcb.pix" + evp, "26220014br.gov.bcb.pix0100", "no_key_or_url", "", ""},
		{"template 51", "2658", "5158", "", "", ""},
		{"template 52", "26580014", "25580014", "no_pix_template", "", ""},
		{"upper-case GUI", "br.gov", "BR.GOV", "", "", ""},
		{"no template", "26580014br.gov.bcb.pix" + evp, "", "no_pix_template", "", `tag 26 (account template): found nothing, expected "br.gov.bcb.pix" in sub-field 00 of a template from 26 to 51`},
		{
			"two templates", "5204", "27330014br.gov.bcb.pix0111123456789095204", "two_pix_templates", "",
			`tag 27 (account template): found a second PIX template beside tag 26, expected one`,
		},
		{"another arrangement beside it", "5204", "27300012BR.COM.OUTRO011001234567895204", "", "", ""},
		{"another arrangement of any shape", "5204", "2704ab:c5204", "", "", ""},
		{
			"template broken inside", "26580014", "26580013", "bad_header", "",
			`tag 26-00 (GUI): found "x013" after its 13 characters, expected the two-digit id and two-digit length of the next field there (or its length is wrong)`,
		},
		{
			"key length beyond the template", evp, "0137123e4567-e12b-12d1-a456-426655440000", "length_mismatch", "",
			`tag 26-01 (key): found 36 of the 37 characters its length announces, expected the whole value (the code was cut, or the length is wrong)`,
		},
		{"two keys", "26580014br.gov.bcb.pix" + evp, "26480014br.gov.bcb.pix011112345678909011112345678909", "duplicate_id_26-01", "", ""},
		{"category in letters", "52040000", "52040A00", "bad_52", "", `tag 52 (merchant category): found "0A00", expected "0000" or the four digits of a category`},
		{"category", "52040000", "52045411", "", "", ""},
		{"no category", "52040000", "", "bad_52", "", ""},
		{"no currency", "5303986", "", "bad_53", "", `tag 53 (currency): found nothing, expected "986" (BRL)`},
		{"country", "5802BR", "5802PT", "bad_58", "", `tag 58 (country): found "PT", expected "BR"`},
		{"amount", "5802BR", "540510.005802BR", "", "", ""},
		{"amount with comma", "5802BR", "54031,25802BR", "bad_54", "", `tag 54 (amount): found "1,2", expected digits with a dot and two decimals`},
		{"amount in words", "5802BR", "5403dez5802BR", "bad_54", "", ""},
		{"amount with exponent", "5802BR", "54031e25802BR", "bad_54", "", ""},
		{"amount with two dots", "5802BR", "54051.0.05802BR", "bad_54", "", ""},
		{"amount without reais", "5802BR", "5403.505802BR", "bad_54", "", ""},
		{"negative amount", "5802BR", "5405-1.005802BR", "bad_54", "", ""},
		{"empty amount", "5802BR", "54005802BR", "bad_54", "", `tag 54 (amount): found nothing, expected digits with a dot and two decimals`},
		{"amount without decimals", "5802BR", "5402105802BR", "", "amount_format", `tag 54 (amount): found "10", expected digits with a dot and two decimals`},
		{"amount with three decimals", "5802BR", "540610.1235802BR", "", "amount_format", ""},
		{"amount of 14", "5802BR", "541412345678901.235802BR", "", "amount_format", `tag 54 (amount): found 14 characters, expected at most 13`},
		{"amount zero", "5802BR", "54040.005802BR", "", "amount_zero", `tag 54 (amount): found "0.00", expected more than zero, or no tag 54 where the payer types the amount`},
		{"no name", "5913Fulano de Tal", "", "missing_59", "", `tag 59 (name): found nothing, expected 1 to 25 characters`},
		{"empty name", "5913Fulano de Tal", "5900", "missing_59", "", ""},
		{
			"long city", "6008BRASILIA", "6016BRASILIA CAPITAL", "", "city_too_long",
			`tag 60 (city): found 16 characters: "BRASILIA CAPITAL", expected 1 to 15 characters`,
		},
		{"city with accent", "6008BRASILIA", "6008BRASÍLIA", "", "non_ascii", `tag 60 (city): found "Í" (U+00CD) at character 5, expected printable ASCII without accents`},
		{"control character", "BRASILIA", "BRAS\nLIA", "", "non_ascii", `tag 60 (city): found "\n" (U+000A) at character 5, expected printable ASCII without accents`},
		{"city counted in bytes", "6008BRASILIA", "6009BRASÍLIA", "", "length_in_bytes", `tag 60 (city): found length 9, expected 8: lengths count characters`},
		{"empty postal code", "6207", "61006207", "", "empty_61", `tag 61 (postal code): found an empty value, expected a value, or no such field`},
		{"no additional data", "62070503***", "", "", "missing_62", `tag 62 (additional data): found nothing, expected a template with at least 62-05 "***"`},
		{"no txid", "62070503***", "620950051.0.0", "", "missing_62-05", ""},
		{"empty txid", "62070503***", "62040500", "", "empty_62-05", ""},
		{"txid with hyphen", "0503***", "0503A-1", "", "txid_charset", `tag 62-05 (txid): found "-" at character 2 of "A-1", expected 1 to 25 of A-Z, a-z and 0-9, or "***" for none`},
		{"two stars", "62070503***", "62060502**", "", "txid_charset", ""},
		{
			"additional data broken", "62070503***", "62070504***", "length_mismatch", "",
			`tag 62-05 (txid): found 3 of the 4 characters its length announces, expected the whole value (the code was cut, or the length is wrong)`,
		},
		{"two txids", "62070503***", "62140503***0503***", "duplicate_id_62-05", "", ""},
		{"CPF with wrong digits", "26580014br.gov.bcb.pix" + evp, "26330014br.gov.bcb.pix011111987654321", "", "key_invalid", `tag 26-01 (key): found 11 digits whose check digits are wrong, expected a CPF (a phone starts with +55)`},
		{"random key in upper case", "123e4567", "123E4567", "", "key_invalid", `tag 26-01 (key): found 36 characters with "E" at character 4, expected a random key of 8-4-4-4-12 lower-case hexadecimal digits`},
		{"facilitator", "2658", "2670", "", "", ""},
		{"unreserved template", "62070503***", "62070503***8012abcdefghijkl", "", "", ""},
		{
			"unreserved template of PIX broken", "62070503***", "62070503***80250014br.gov.bcb.pix2599a.b", "length_mismatch", "",
			`tag 80-25 (recurrence location): found 3 of the 99 characters its length announces, expected the whole value (the code was cut, or the length is wrong)`,
		},
		{"id not a number", "5802BR", "5A02BR", "bad_header", "", `tag 53 (currency): found "5A02" after its 3 characters, expected the two-digit id and two-digit length of the next field there (or its length is wrong)`},
		{"first id not a number", "000201", "0x0201", "bad_header", "", `code: found "0x02" at its beginning, expected "0002"`},
		{"not a code at all", good, "https://example.com/pix", "bad_header", "", `code: found "http" at its beginning, expected "0002"`},
		{"not UTF-8", "BRASILIA", "BRAS\xcdLIA", "not_utf8", "", `code: found bytes that are no UTF-8 text, expected printable ASCII`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			body := strings.Replace(good, tt.from, tt.to, 1)
			if tt.name == "facilitator" {
				body = strings.Replace(body, evp, evp+"030801234567", 1)
			}
			code := sealed(body)
			got, err := Parse(code)
			if (err != nil) != (tt.fails != "") {
				t.Fatalf("Parse: got %v, want rule %q", err, tt.fails)
			}
			if strict := Validate(code); (strict != nil) != (tt.fails != "" || tt.warns != "") {
				t.Errorf("Validate: got %v", strict)
			}
			reported := got.Warnings
			rule := tt.warns
			if err != nil {
				reported, rule = problems(t, err), tt.fails
			}
			if rule == "" {
				return
			}
			for _, p := range reported {
				if p.Rule == rule {
					if tt.want != "" && p.Error() != tt.want {
						t.Errorf("\n got %s\nwant %s", p, tt.want)
					}
					return
				}
			}
			t.Errorf("got rules %v, want %s", rules(reported), rule)
		})
	}
}

// What is wrong with the end of a code, or with its bytes, in exact words.
func TestBrokenEnds(t *testing.T) {
	const body = "00020126330014br.gov.bcb.pix0111123456789095204000053039865802BR5906FULANO6008BRASILIA62070503***"
	for _, tt := range []struct{ name, text, want string }{
		{"CRC of two digits", body + "6302AB", `tag 63 (CRC): found "AB", expected four hexadecimal digits`},
		{"empty CRC", body + "6300", `tag 63 (CRC): found nothing, expected four hexadecimal digits`},
		{"CRC of letters", body + "6304WXYZ", `tag 63 (CRC): found "WXYZ", expected four hexadecimal digits`},
		{"CRC in the middle", sealed(body) + "6403abc", `tag 63 (CRC): found tag 64 after it, expected the CRC in the last field, 6304 and four hexadecimal digits`},
		{"CRC twice", sealed(sealed(body)), `tag 63 (CRC): found it a second time (lengths 4 and 4), expected every tag once`},
		{
			"too short for a CRC", "0002",
			`tag 00 (payload format): found 0 of the 2 characters its length announces, expected the whole value (the code was cut, or the length is wrong)` + "\n" +
				`tag 63 (CRC): found "0002" at the end, expected the CRC in the last field, 6304 and four hexadecimal digits`,
		},
		{
			"root length in bytes that cuts a character", sealed(strings.Replace(body, "6008BRASILIA", "6010São Paulo6103aÁb", 1)),
			`tag 60 (city): found "103a" after its 10 characters`,
		},
		{
			"template length in bytes that cuts a character", sealed(strings.Replace(body, "6008BRASILIA62070503***", "6010São Paulo62090504***á", 1)),
			`tag 62-05 (txid): found "\xa1" after its 4 characters, expected the two-digit id and two-digit length of the next field there`,
		},
		{"other names", sealed(strings.Replace(body, "26330014", "26330013", 1)), `tag 26-00 (GUI): found "x011" after its 13 characters`},
		{"location among unreserved", sealed(body + "80220014br.gov.bcb.pix7700"), `tag 80-77: found an empty value, expected a value, or no such field`},
		{"other sub-field", sealed(strings.Replace(body, "26330014br.gov.bcb.pix", "26370014br.gov.bcb.pix0700", 1)), `tag 26-07: found an empty value, expected a value, or no such field`},
	} {
		err := Validate(tt.text)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s:\n got %v\nwant %s", tt.name, err, tt.want)
		}
		for _, sub := range problems(t, err).Unwrap() {
			if p, ok := errors.AsType[Problem](err); !ok || sub == nil || p.Rule == "" {
				t.Errorf("%s: %v does not unwrap to problems", tt.name, err)
			}
		}
	}
}

// Rules that only codes with a location can break.
func TestDynamicRules(t *testing.T) {
	const rest = "5204000053039865802BR5903Pix6008BRASILIA62070503***"
	account := func(url string) string {
		return string(appendField(nil, "26", appendField(appendField(nil, "00", gui), "25", url)))
	}
	for _, tt := range []struct {
		name, body string
		kind       Kind
		warns      []string
	}{
		{"cob", account("pix.example.com/v2/1") + rest, KindDynamic, []string{}},
		{"cobv", account("pix.example.com/v2/cobv/1") + rest, KindDynamicDue, []string{}},
		{"scheme", account("https://pix.example.com/v2/1") + rest, KindDynamic, []string{"url_has_scheme"}},
		{"no path", account("pix.example.com") + rest, KindDynamic, []string{"url_format"}},
		{"space", account("pix.example.com/a b") + rest, KindDynamic, []string{"url_format"}},
		{"long", account("pix.example.com/"+strings.Repeat("a", 61)) + rest, KindDynamic, []string{}},
		{"txid of any form", account("pix.example.com/1") + strings.Replace(rest, "0503***", "0503a-b", 1), KindDynamic, []string{}},
	} {
		code, err := Parse(sealed("000201" + tt.body))
		if err != nil || code.Kind != tt.kind || strings.Join(rules(code.Warnings), " ") != strings.Join(tt.warns, " ") {
			t.Errorf("%s: got %s, %v, %v, want %s, %v", tt.name, code.Kind, rules(code.Warnings), err, tt.kind, tt.warns)
		}
	}
}

// A composite code is a charge and a recurrence in one.
func TestComposite(t *testing.T) {
	const rec = "80800014br.gov.bcb.pix2558pix.example.com/qr/v2/rec/2353c790eefb11eaadc10242ac120002"
	for _, tt := range []struct {
		url  string
		kind Kind
	}{
		{"pix.example.com/qr/v2/8b3da2f39a4140d1a91abd93113bd441", KindDynamic},
		{"pix.example.com/qr/v2/cobv/8b3da2f39a4140d1a91abd93113b", KindDynamicDue},
	} {
		account := appendField(appendField(nil, "00", gui), "25", tt.url)
		body := string(appendField([]byte("000201"), "26", account)) + "5204000053039865802BR5903Pix6008BRASILIA62070503***" + rec
		text := sealed(body)
		code, err := Parse(text)
		if err != nil || Validate(text) != nil {
			t.Fatalf("%s: %v, %v", text, err, Validate(text))
		}
		if code.Kind != tt.kind || code.URL != tt.url || code.RecURL != "pix.example.com/qr/v2/rec/2353c790eefb11eaadc10242ac120002" {
			t.Errorf("got %s %q %q", code.Kind, code.URL, code.RecURL)
		}
		twice := sealed(body + strings.Replace(rec, "8080", "8180", 1))
		if _, err := Parse(twice); err == nil || !strings.Contains(err.Error(), "tag 81 (unreserved template): found a second recurrence location") {
			t.Errorf("two recurrences: got %v", err)
		}
	}
}

func TestCents(t *testing.T) {
	for _, tt := range []struct {
		amount string
		want   int64
		ok     bool
	}{
		{"123.45", 12345, true},
		{"10.", 1000, true},
		{"10", 1000, true},
		{"0.9", 90, true},
		{"0.00", 0, true},
		{"10.505", 0, false},
		{"10,00", 0, false},
		{"1e2", 0, false},
		{"-1.00", 0, false},
		{"", 0, false},
	} {
		got, ok := Code{Amount: tt.amount}.Cents()
		if int64(got) != tt.want || ok != tt.ok {
			t.Errorf("%q: got %d, %v, want %d, %v", tt.amount, int64(got), ok, tt.want, tt.ok)
		}
	}
}

func TestCRC(t *testing.T) {
	if got := crc16("123456789"); got != 0x29B1 {
		t.Errorf("check value: got %04X, want 29B1", got)
	}
	if got := string(appendCRC(nil, 0x0B0F)); got != "0B0F" {
		t.Errorf("got %s, want 0B0F", got)
	}
}

// sealed appends the CRC that belongs to a body.
func sealed(body string) string {
	body += "6304"
	return string(appendCRC([]byte(body), crc16(body)))
}
