package pix

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// TestDynamicVectors: the published dynamic codes, written anew from their
// location and payee, read back the same.
func TestDynamicVectors(t *testing.T) {
	n := 0
	for _, v := range vectors(t) {
		code, err := Parse(v.Payload)
		if err != nil || code.Kind != KindDynamic || v.Expect.Strict != "ok" {
			continue
		}
		n++
		text, err := Dynamic{Location: code.URL, Name: code.Name, City: code.City}.Encode()
		if err != nil {
			t.Errorf("%s: %v", v.ID, err)
			continue
		}
		again, err := Parse(text)
		if err != nil {
			t.Errorf("%s: %v", v.ID, err)
			continue
		}
		got := []string{string(again.Kind), again.URL, again.Name, again.City, again.TxID, again.POI, again.Amount, again.RecURL}
		want := []string{string(KindDynamic), code.URL, code.Name, code.City, "***", "12", "", ""}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", v.ID, diff)
		}
	}
	if n == 0 {
		t.Error("no vector of a dynamic code")
	}
}

// TestDynamicExact pins the layout that Banco Central's own examples have.
func TestDynamicExact(t *testing.T) {
	got, err := Dynamic{Location: "pix.example.com/qr/v2/8b3da2f39a4140d1a91abd93113bd441", Name: "Fulano de Tal", City: "Brasília"}.Encode()
	if err != nil {
		t.Fatal(err)
	}
	const want = "00020101021226760014br.gov.bcb.pix2554pix.example.com/qr/v2/8b3da2f39a4140d1a91abd93113bd441" +
		"5204000053039865802BR5913Fulano de Tal6008Brasilia62070503***6304"
	if !strings.HasPrefix(got, want) || len(got) != len(want)+4 {
		t.Errorf("got  %s\nwant %s and a checksum", got, want)
	}
}

func TestDynamicRefuses(t *testing.T) {
	for _, tt := range []struct {
		d    Dynamic
		want []string // tag and rule
	}{
		{Dynamic{}, []string{"26-25 location_format", "59 missing_59", "60 missing_60"}},
		{Dynamic{Location: "https://pix.example.com/1", Name: "A", City: "B"}, []string{"26-25 url_has_scheme"}},
		{Dynamic{Location: "pix.example.com", Name: "A", City: "B"}, []string{"26-25 location_format"}},
		{Dynamic{Location: "/qr/1", Name: "A", City: "B"}, []string{"26-25 location_format"}},
		{Dynamic{Location: "pix.example.com/q r", Name: "A", City: "B"}, []string{"26-25 location_format"}},
		{Dynamic{Location: "pix.example.com/ção", Name: "A", City: "B"}, []string{"26-25 location_format"}},
		{Dynamic{Location: "h/" + strings.Repeat("x", 75), Name: "A", City: "B"}, nil},
		{Dynamic{Location: "h/" + strings.Repeat("x", 76), Name: "A", City: "B"}, []string{"26-25 location_too_long"}},
		{Dynamic{Location: "h/1", Name: strings.Repeat("N", 26), City: strings.Repeat("C", 16)}, []string{"59 merchant_too_long", "60 city_too_long"}},
		{Dynamic{Location: "h/1", Name: "日本", City: "B"}, []string{"59 non_ascii"}},
	} {
		_, err := tt.d.Encode()
		var got []string
		if ps, ok := errors.AsType[Problems](err); ok {
			for _, p := range ps {
				got = append(got, p.Tag+" "+p.Rule)
			}
		} else if err != nil {
			t.Errorf("%+v: got %T", tt.d, err)
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%+v (-want +got):\n%s", tt.d, diff)
		}
	}
}

// TestDynamicParse: whatever is written can be emitted, and says what it was
// told.
func TestDynamicParse(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := Dynamic{
			Location: rapid.StringMatching(`[a-z]{1,10}(\.[a-z]{2,8}){1,3}(/[A-Za-z0-9._~-]{1,8}){1,4}`).Draw(t, "location"),
			Name:     rapid.StringMatching(`[A-Za-zÁÂÃÇÉÊÍÓÔÕÚáâãçéêíóôõú0-9]([A-Za-zÁÂÃÇÉÊÍÓÔÕÚáâãçéêíóôõú0-9 .&-]{0,23}[A-Za-z])?`).Draw(t, "name"),
			City:     rapid.StringMatching(`[A-Za-zÁÂÃÇÉÊÍÓÔÕÚáâãçéêíóôõú]([A-Za-zÁÂÃÇÉÊÍÓÔÕÚáâãçéêíóôõú ]{0,13}[A-Za-z])?`).Draw(t, "city"),
		}
		text, err := d.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if err := Validate(text); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		code, err := Parse(text)
		if err != nil || code.URL != d.Location || code.Name != Fold(d.Name) || code.City != Fold(d.City) {
			t.Fatalf("got %+v (%v) of %+v", code, err, d)
		}
	})
}
