package pix

import (
	"encoding/json"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// vector is one code of testdata/vectors.json with what readers must answer.
type vector struct {
	ID      string
	Payload string
	Note    string
	Expect  struct {
		Lenient, Strict  string
		Errors, Warnings []string
		Fields           map[string]*string
	}
}

func vectors(t testing.TB) []vector {
	t.Helper()
	data, err := os.ReadFile("testdata/vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Count   int
		Vectors []vector
	}
	if err := json.Unmarshal(data, &file); err != nil {
		t.Fatal(err)
	}
	if len(file.Vectors) != 34 || file.Count != len(file.Vectors) {
		t.Fatalf("%d vectors, count says %d, want 34", len(file.Vectors), file.Count)
	}
	return file.Vectors
}

// readable are the payloads a tolerant scanner must accept.
func readable(t testing.TB) []vector {
	return slices.DeleteFunc(vectors(t), func(v vector) bool { return v.Expect.Lenient != "ok" })
}

// vectorFields is a Code as the vectors write it: absent fields are absent,
// and the type of an invalid key is null.
func vectorFields(c Code) map[string]*string {
	m := map[string]*string{}
	set := func(name, value string) {
		if value != "" {
			m[name] = &value
		}
	}
	set("type", string(c.Kind))
	set("key", c.Key)
	set("keyType", string(c.KeyType))
	if c.Key != "" && c.KeyType == "" {
		m["keyType"] = nil
	}
	set("url", c.URL)
	set("recUrl", c.RecURL)
	set("amount", c.Amount)
	set("merchant", c.Name)
	set("city", c.City)
	set("postalCode", c.PostalCode)
	set("txid", c.TxID)
	set("description", c.Description)
	set("fss", c.Facilitator)
	set("poi", c.POI)
	return m
}

func rules(ps []Problem) []string {
	rules := []string{}
	for _, p := range ps {
		rules = append(rules, p.Rule)
	}
	return rules
}

func TestVectors(t *testing.T) {
	for _, v := range vectors(t) {
		t.Run(v.ID, func(t *testing.T) {
			code, err := Parse(v.Payload)
			if got := verdict(err); got != v.Expect.Lenient {
				t.Errorf("Parse: %s (%v), want %s: %s", got, err, v.Expect.Lenient, v.Note)
			}
			strict := Validate(v.Payload)
			if got := verdict(strict); got != v.Expect.Strict {
				t.Errorf("Validate: %s (%v), want %s: %s", got, strict, v.Expect.Strict, v.Note)
			}
			if v.Expect.Lenient == "ok" {
				if diff := cmp.Diff(vectorFields(code), v.Expect.Fields); diff != "" {
					t.Errorf("fields (got -, want +):\n%s", diff)
				}
				// The names are the reference reader's and do not bind, but a
				// warning more or less would be worth a look. What is ignored
				// in dynamic codes is no warning here.
				want := slices.DeleteFunc(v.Expect.Warnings, func(s string) bool { return strings.HasSuffix(s, "_ignored") })
				got := rules(code.Warnings)
				slices.Sort(got)
				slices.Sort(want)
				if diff := cmp.Diff(got, append([]string{}, want...)); diff != "" {
					t.Errorf("warnings (got -, want +):\n%s", diff)
				}
				return
			}
			for _, p := range problems(t, err) {
				if p.Tag == "" || p.Rule == "" || p.Found == "" || p.Want == "" {
					t.Errorf("incomplete problem %+v", p)
				}
			}
		})
	}
}

// The tag and the exact words for each vector that cannot be read.
func TestVectorErrors(t *testing.T) {
	want := map[string]string{
		"stone-too-long":   `code: found 513 characters, expected at most 512`,
		"der-crc-flip":     `tag 63 (CRC): found "1D3E", expected "1D3D" (some character of the code was changed or lost)`,
		"der-truncated":    `tag 60 (city): found 7 of the 8 characters its length announces, expected the whole value (the code was cut, or the length is wrong)`,
		"der-no-crc":       `tag 63 (CRC): found nothing, expected the CRC in the last field, 6304 and four hexadecimal digits`,
		"der-len-plus1":    `tag 59 (name): found "008B" after its 14 characters, expected the two-digit id and two-digit length of the next field there (or its length is wrong)`,
		"der-wrong-gui":    `tag 26 (account template): found "br.gov.bcb.spi" in 26-00, expected "br.gov.bcb.pix" in sub-field 00 of a template from 26 to 51`,
		"der-usd":          `tag 53 (currency): found "840", expected "986" (BRL)`,
		"der-no-city":      `tag 60 (city): found nothing, expected 1 to 15 characters`,
		"der-key-and-url":  `tag 26-25 (location): found a location beside the key in 26-01, expected either a key (static) or a location (dynamic)`,
		"der-comma-amount": `tag 54 (amount): found "10,00", expected digits with a dot and two decimals`,
		"der-dup-59":       `tag 59 (name): found it a second time (lengths 13 and 6), expected every tag once`,
		"der-empty":        `code: found nothing, expected a BR Code`,
	}
	for _, v := range vectors(t) {
		if v.Expect.Lenient == "ok" {
			continue
		}
		_, err := Parse(v.Payload)
		first, _, _ := strings.Cut(err.Error(), "\n")
		if first != want[v.ID] {
			t.Errorf("%s:\n got %s\nwant %s", v.ID, first, want[v.ID])
		}
		delete(want, v.ID)
	}
	if len(want) > 0 {
		t.Errorf("no such vectors: %v", want)
	}
}

func verdict(err error) string {
	if err != nil {
		return "error"
	}
	return "ok"
}

func problems(t *testing.T, err error) Problems {
	t.Helper()
	ps, ok := errors.AsType[Problems](err)
	if !ok || len(ps) == 0 {
		t.Fatalf("got %T %v, want Problems", err, err)
	}
	return ps
}
