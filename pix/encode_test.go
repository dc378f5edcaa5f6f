package pix

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/ssg-safe/agent/money"
	"pgregory.net/rapid"
)

// static is the Static that writes a parsed static code.
func static(t testing.TB, c Code) Static {
	t.Helper()
	s := Static{
		Key: c.Key, Name: c.Name, City: c.City, TxID: c.TxID,
		Description: c.Description, Facilitator: c.Facilitator,
	}
	if c.Amount != "" {
		cents, ok := c.Cents()
		if !ok {
			t.Fatalf("amount %q is no centavos", c.Amount)
		}
		s.Amount = cents
	}
	return s
}

// The published static codes come out of our writer character by character,
// save for what it leaves out or writes differently on purpose.
func TestEncodeVectors(t *testing.T) {
	want := map[string]func(string) string{
		"bcb-static-evp":  nil,
		"gen-cnpj-alnum":  nil,
		"gen-phone":       nil,
		"pu-static-saque": nil,
		"stone-static-txid22": func(s string) string {
			return strings.Replace(s, "BR.GOV.BCB.PIX", "br.gov.bcb.pix", 1)
		},
		"stone-static-cep": func(s string) string {
			s = strings.Replace(s, "BR.GOV.BCB.PIX", "br.gov.bcb.pix", 1)
			return strings.Replace(s, "610811111111", "", 1)
		},
		"gopix-6250": func(s string) string {
			s = strings.Replace(s, "BR.GOV.BCB.PIX", "br.gov.bcb.pix", 1)
			return strings.Replace(s, "62410503***50300017BR.GOV.BCB.BRCODE01051.0.0", "62070503***", 1)
		},
	}
	for _, v := range vectors(t) {
		if v.Expect.Strict != "ok" {
			continue
		}
		code, err := Parse(v.Payload)
		if err != nil {
			t.Fatal(err)
		}
		change, listed := want[v.ID]
		if isStatic := code.Kind == KindStatic || code.Kind == KindStaticWithdrawal; isStatic != listed {
			t.Errorf("%s: static %v, listed %v", v.ID, isStatic, listed)
			continue
		}
		if !listed {
			continue
		}
		payload := v.Payload
		if change != nil {
			payload = change(payload)
			payload = sealed(payload[:len(payload)-8])
		}
		got, err := static(t, code).Encode()
		if err != nil || got != payload {
			t.Errorf("%s: %v\n got %s\nwant %s", v.ID, err, got, payload)
		}
	}
}

func TestEncode(t *testing.T) {
	good := Static{Key: "12ABC34501DE35", Name: "COFRE TESTE LTDA", City: "SAO PAULO", Amount: 10050, TxID: "K01N0000000000000000000A1"}
	const goodCode = "00020126360014br.gov.bcb.pix011412ABC34501DE355204000053039865406100.505802BR5916COFRE TESTE LTDA6009SAO PAULO62290525K01N0000000000000000000A163042C62"
	with := func(change func(*Static)) Static {
		s := good
		change(&s)
		return s
	}
	long := strings.Repeat("a", 76)
	for _, tt := range []struct {
		name string
		s    Static
		// either part of the code or the whole error
		has, err string
	}{
		{"as it is", good, goodCode, ""},
		{"accents", with(func(s *Static) { s.Name, s.City = "Café da Praça Ltda", "São João" }), "5918Cafe da Praca Ltda6008Sao Joao62", ""},
		{"decomposed accents", with(func(s *Static) { s.City = "Sa\u0303o Paulo" }), "6009Sao Paulo62", ""},
		{"typographic signs", with(func(s *Static) { s.Name = "D’Ávila – Nº 1" }), "5914D'Avila - No 1", ""},
		{"no amount", with(func(s *Static) { s.Amount = 0 }), "53039865802BR", ""},
		{"one centavo", with(func(s *Static) { s.Amount = 1 }), "54040.015802BR", ""},
		{"largest amount", with(func(s *Static) { s.Amount = maxCents }), "54139999999999.995802BR", ""},
		{"no txid", with(func(s *Static) { s.TxID = "" }), "62070503***6304", ""},
		{"txid none", with(func(s *Static) { s.TxID = "***" }), "62070503***6304", ""},
		{"case of the txid", with(func(s *Static) { s.TxID = "aB1" }), "62070503aB16304", ""},
		{"description", with(func(s *Static) { s.Description = "Pedido nº 7" }), "26510014br.gov.bcb.pix011412ABC34501DE350211Pedido no 75204", ""},
		{"facilitator", with(func(s *Static) { s.Facilitator = "01234567" }), "26480014br.gov.bcb.pix011412ABC34501DE350308012345675204", ""},
		{"domain that ends in a dot", with(func(s *Static) { s.Key = long[:70] + "@b.com." }), "", `tag 26-01 (key): found an e-mail with a bad domain, expected name@domain with letters, digits and hyphens in the domain`},
		{"key of 77", with(func(s *Static) { s.Key = long[:71] + "@b.com" }), "26990014br.gov.bcb.pix0177" + long[:71] + "@b.com5204", ""},
		{"key of 78", with(func(s *Static) { s.Key = long[:72] + "@b.com" }), "", `tag 26-01 (key): found 78 characters, expected a key of at most 77`},
		{"largest description", with(func(s *Static) { s.Description = long[:59] }), "2699", ""},
		{
			"description too long beside the key", with(func(s *Static) { s.Description = long[:60] }), "",
			`tag 26-02 (description): found 60 characters, expected at most 59, because template 26 holds 99 with key and facilitator`,
		},
		{"largest description beside a facilitator", with(func(s *Static) { s.Description, s.Facilitator = long[:47], "01234567" }), "2699", ""},
		{
			"description too long beside key and facilitator", with(func(s *Static) { s.Description, s.Facilitator = long[:48], "01234567" }), "",
			`tag 26-02 (description): found 48 characters, expected at most 47, because template 26 holds 99 with key and facilitator`,
		},
		{
			"description of 73", with(func(s *Static) { s.Description = long[:73] }), "",
			`tag 26-02 (description): found 73 characters: "` + long[:60] + `"…, expected 1 to 72 characters`,
		},
		{
			"no room for the facilitator", with(func(s *Static) { s.Key, s.Facilitator = long[:71]+"@b.com", "01234567" }), "",
			`tag 26-03 (facilitator): found a key of 77 characters beside it, expected a shorter key, because template 26 holds 99`,
		},
		{"facilitator with wrong length", with(func(s *Static) { s.Facilitator = "1234567" }), "", `tag 26-03 (facilitator): found 7 characters: "1234567", expected the 8 digits or upper-case letters of an ISPB`},
		{"facilitator in lower case", with(func(s *Static) { s.Facilitator = "0123456a" }), "", `tag 26-03 (facilitator): found "a" at character 8 of "0123456a", expected the 8 digits or upper-case letters of an ISPB`},
		{"txid with hyphen", with(func(s *Static) { s.TxID = "RP12345678-2019" }), "", `tag 62-05 (txid): found "-" at character 11 of "RP12345678-2019", expected 1 to 25 of A-Z, a-z and 0-9, or "***" for none`},
		{"txid with space", with(func(s *Static) { s.TxID = "A 1" }), "", `tag 62-05 (txid): found " " at character 2 of "A 1", expected 1 to 25 of A-Z, a-z and 0-9, or "***" for none`},
		{"txid of 26", with(func(s *Static) { s.TxID = strings.Repeat("A", 26) }), "", `tag 62-05 (txid): found 26 characters: "AAAAAAAAAAAAAAAAAAAAAAAAAA", expected 1 to 25 of A-Z, a-z and 0-9, or "***" for none`},
		{"name of 26", with(func(s *Static) { s.Name = "BANCOCENTRALDOBRASIL000381" }), "", `tag 59 (name): found 26 characters: "BANCOCENTRALDOBRASIL000381", expected 1 to 25 characters`},
		{"name of 26 by folding", with(func(s *Static) { s.Name = "Ærea" + strings.Repeat("a", 21) }), "", `tag 59 (name): found 26 characters: "AErea` + strings.Repeat("a", 21) + `", expected 1 to 25 characters`},
		{"no name", with(func(s *Static) { s.Name = "" }), "", `tag 59 (name): found nothing, expected 1 to 25 characters`},
		{"blank name", with(func(s *Static) { s.Name = "  " }), "", `tag 59 (name): found "  ", expected 1 to 25 characters`},
		{"name in another script", with(func(s *Static) { s.Name = "Loja Жук" }), "", `tag 59 (name): found "Ж" (U+0416) at character 6, expected letters with or without accents, digits and ASCII signs`},
		{"line break in the city", with(func(s *Static) { s.City = "SAO\nPAULO" }), "", `tag 60 (city): found "\n" (U+000A) at character 4, expected letters with or without accents, digits and ASCII signs`},
		{"broken UTF-8", with(func(s *Static) { s.City = "S\xe3o" }), "", `tag 60 (city): found "` + "\uFFFD" + `" (U+FFFD) at character 2, expected letters with or without accents, digits and ASCII signs`},
		{"city of 16", with(func(s *Static) { s.City = "BRASILIA CAPITAL" }), "", `tag 60 (city): found 16 characters: "BRASILIA CAPITAL", expected 1 to 15 characters`},
		{"negative amount", with(func(s *Static) { s.Amount = -1 }), "", `tag 54 (amount): found "-0.01", expected 0.01 to 9999999999.99, or none`},
		{"amount of 14", with(func(s *Static) { s.Amount = maxCents + 1 }), "", `tag 54 (amount): found "10000000000.00", expected 0.01 to 9999999999.99, or none`},
		{
			"everything at once",
			Static{Key: "11987654321", TxID: "é", Amount: -5},
			"",
			"tag 26-01 (key): found 11 digits whose check digits are wrong, expected a CPF (a phone starts with +55)\n" +
				"tag 59 (name): found nothing, expected 1 to 25 characters\n" +
				"tag 60 (city): found nothing, expected 1 to 15 characters\n" +
				"tag 54 (amount): found \"-0.05\", expected 0.01 to 9999999999.99, or none\n" +
				"tag 62-05 (txid): found \"é\" (U+00E9) at character 1 of \"é\", expected 1 to 25 of A-Z, a-z and 0-9, or \"***\" for none",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := tt.s.Encode()
			switch {
			case tt.err != "":
				if err == nil || err.Error() != tt.err || got != "" {
					t.Errorf("got %q, %v\nwant %s", got, err, tt.err)
				}
				problems(t, err)
			case err != nil || !strings.Contains(got, tt.has):
				t.Errorf("got %q, %v, want it to hold %q", got, err, tt.has)
			default:
				if err := Validate(got); err != nil {
					t.Errorf("our own code does not pass: %v", err)
				}
			}
		})
	}
}

// Whatever Encode writes passes Validate and reads back as it was meant.
func TestEncodeParse(t *testing.T) {
	keys := rapid.SampledFrom([]string{
		"12345678909", "11222333000181", "12ABC34501DE35", "+5561912345678", "fulano.t12@example.com", "123e4567-e12b-12d1-a456-426655440000",
	})
	rapid.Check(t, func(t *rapid.T) {
		s := Static{
			Key:         keys.Draw(t, "key"),
			Name:        rapid.StringMatching(`[A-Za-zÀ-ÖØ-Þà-öø-ÿ .&-]{1,25}`).Draw(t, "name"),
			City:        rapid.StringMatching(`[A-ZÁÉÍÓÚÃÕÇ .-]{1,15}`).Draw(t, "city"),
			Amount:      money.Amount(rapid.Int64Range(0, int64(maxCents)).Draw(t, "amount")),
			TxID:        rapid.StringMatching(`[A-Za-z0-9]{0,25}`).Draw(t, "txid"),
			Description: rapid.StringMatching(`[ -~]{0,40}`).Draw(t, "description"),
			Facilitator: rapid.StringMatching(`([0-9A-Z]{8})?`).Draw(t, "facilitator"),
		}
		text, err := s.Encode()
		if err != nil {
			return // refused at the source; what is refused is tested elsewhere
		}
		code, err := Parse(text)
		if err != nil || Validate(text) != nil {
			t.Fatalf("%s: %v, %v", text, err, Validate(text))
		}
		want := Code{
			Kind: KindStatic, Key: s.Key, Name: Fold(s.Name), City: Fold(s.City), TxID: s.TxID,
			Description: s.Description, Facilitator: s.Facilitator, MCC: "0000",
		}
		if s.Facilitator != "" {
			want.Kind = KindStaticWithdrawal
		}
		if s.TxID == "" {
			want.TxID = "***"
		}
		if s.Amount > 0 {
			want.Amount = s.Amount.String()
		}
		k, err := RecogniseKey(s.Key)
		if err != nil {
			t.Fatal(err)
		}
		want.KeyType = k.Type
		code.Fields = nil
		if diff := cmp.Diff(code, want); diff != "" {
			t.Fatalf("got -, want +:\n%s", diff)
		}
		if cents, ok := code.Cents(); cents != s.Amount || ok != (s.Amount > 0) {
			t.Fatalf("cents: got %v, %v, want %v", cents, ok, s.Amount)
		}
	})
}

func TestFold(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{"", ""},
		{"plain", "plain"},
		{"ÁÀÂÃÄ ÉÈÊË ÍÌÎÏ ÓÒÔÕÖ ÚÙÛÜ Ç Ñ", "AAAAA EEEE IIII OOOOO UUUU C N"},
		{"áàâãä éèêë íìîï óòôõö úùûü ç ñ", "aaaaa eeee iiii ooooo uuuu c n"},
		{"1ª Nº “x” ‘y’ — …", "1a No \"x\" 'y' - ..."},
		{"a\u00a0b", "a b"},
		{"a\u0301", "a"},
		{"Жук 漢", "Жук 漢"},
	} {
		if got := Fold(tt.in); got != tt.want {
			t.Errorf("%q: got %q, want %q", tt.in, got, tt.want)
		}
	}
}

func ExampleStatic_Encode() {
	code, err := Static{Key: "12ABC34501DE35", Name: "Cofre Teste Ltda", City: "São Paulo", Amount: 10050, TxID: "K01N0000000000000000000A1"}.Encode()
	fmt.Println(code, err)
	_, err = Static{Key: "11987654321", Name: "Cofre", City: "São Paulo", TxID: "pedido-7"}.Encode()
	fmt.Println(err)
	// Output:
	// 00020126360014br.gov.bcb.pix011412ABC34501DE355204000053039865406100.505802BR5916Cofre Teste Ltda6009Sao Paulo62290525K01N0000000000000000000A16304ADD1 <nil>
	// tag 26-01 (key): found 11 digits whose check digits are wrong, expected a CPF (a phone starts with +55)
	// tag 62-05 (txid): found "-" at character 7 of "pedido-7", expected 1 to 25 of A-Z, a-z and 0-9, or "***" for none
}

func BenchmarkEncode(b *testing.B) {
	s := Static{Key: "12ABC34501DE35", Name: "COFRE TESTE LTDA", City: "SAO PAULO", Amount: 10050, TxID: "K01N0000000000000000000A1"}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Encode(); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkParse(b *testing.B) {
	const text = "00020126360014br.gov.bcb.pix011412ABC34501DE355204000053039865406100.505802BR5916COFRE TESTE LTDA6009SAO PAULO62290525K01N0000000000000000000A163042C62"
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Parse(text); err != nil {
			b.Fatal(err)
		}
	}
}
