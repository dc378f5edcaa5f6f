package ledger

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// entries are the golden ones, as bytes.
func entries(t testing.TB) [][]byte {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("testdata", "entries_v1.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	return bytes.Split(bytes.TrimSpace(raw), []byte("\n"))
}

func TestDecodeRefuses(t *testing.T) {
	good := string(entries(t)[0])
	tests := map[string]struct {
		raw  string
		want error
	}{
		"empty":             {"", ErrMalformed},
		"version 2":         {strings.Replace(good, `{"v":1,`, `{"v":2,`, 1), ErrVersion},
		"version 2, shaped": {`{"v":2,"something":"else"}`, ErrVersion},
		"no version":        {strings.Replace(good, `"v":1,`, ``, 1), ErrMalformed},
		"leading zero":      {strings.Replace(good, `"seq":1`, `"seq":01`, 1), ErrMalformed},
		"negative":          {strings.Replace(good, `"seq":1`, `"seq":-1`, 1), ErrMalformed},
		"white space":       {strings.Replace(good, `,"seq"`, `, "seq"`, 1), ErrMalformed},
		"more behind":       {good + " ", ErrMalformed},
		"field added":       {strings.TrimSuffix(good, "}") + `,"x":1}`, ErrMalformed},
		"field missing":     {strings.Replace(good, `"actor":"terminal",`, ``, 1), ErrMalformed},
		"upper-case hash":   {strings.Replace(good, `"prev":"0`, `"prev":"A`, 1), ErrMalformed},
		"short hash":        {strings.Replace(good, `"prev":"0`, `"prev":"`, 1), ErrMalformed},
		"local time":        {strings.Replace(good, `.123Z`, `.123-03:00`, 1), ErrMalformed},
		"microseconds":      {strings.Replace(good, `.123Z`, `.123456Z`, 1), ErrMalformed},
		"30 February":       {strings.Replace(good, `2026-07-01`, `2026-02-30`, 1), ErrMalformed},
		"unknown quality":   {strings.Replace(good, `"synced"`, `"perfect"`, 1), ErrMalformed},
		"escaped op":        {strings.Replace(good, `"op":"c`, `"op":"\u0063`, 1), ErrMalformed},
		"amount with plus":  {strings.Replace(good, `:1050`, `:+1050`, 1), ErrMalformed},
		"amount -0":         {strings.Replace(good, `:1050`, `:-0`, 1), ErrMalformed},
		"decimal amount":    {strings.Replace(good, `:1050`, `:10.50`, 1), ErrMalformed},
		"amount too large":  {strings.Replace(good, `:1050`, `:9223372036854775808`, 1), ErrMalformed},
		"unbalanced":        {strings.Replace(good, `:1050`, `:1051`, 1), ErrUnbalanced},
		"data unbalanced":   {strings.TrimSuffix(good, "}}") + "}", ErrMalformed},
		"data not UTF-8":    {strings.Replace(good, "açaí", "a\xff", 1), ErrMalformed},
		"data with tab":     {strings.Replace(good, "açaí", "a\t", 1), ErrMalformed},
		"data bad escape":   {strings.Replace(good, "açaí", `a\q`, 1), ErrMalformed},
		"too long":          {strings.Replace(good, "açaí", strings.Repeat("x", 64<<10), 1), ErrMalformed},
	}
	if _, err := Decode([]byte(good)); err != nil {
		t.Fatalf("the good one: %v", err)
	}
	for name, test := range tests {
		if test.raw == good {
			t.Errorf("%s: the test changes nothing", name)
		}
		if e, err := Decode([]byte(test.raw)); !errors.Is(err, test.want) {
			t.Errorf("%s: got %+v, %v; want %v", name, e, err, test.want)
		}
	}
}

// FuzzDecode: what Decode takes is valid JSON, which other parsers read alike,
// and it has one spelling: encoded again it gives the same bytes.
func FuzzDecode(f *testing.F) {
	for _, raw := range entries(f) {
		f.Add(raw)
	}
	f.Add([]byte(`{"v":1,"epoch":1,"seq":1,"prev":"` + strings.Repeat("0", 64) + `","at":{"wall":"0000-01-01T00:00:00.000Z","boot":"","up_ms":0,"quality":"floor"},"op":"a","kind":"b","actor":"c","evidence":[{}],"postings":[],"data":-0.1e+9}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		e, err := Decode(raw)
		if err != nil {
			if !errors.Is(err, ErrMalformed) && !errors.Is(err, ErrVersion) && !errors.Is(err, ErrUnbalanced) {
				t.Errorf("an error that callers do not know: %v", err)
			}
			return
		}
		if !json.Valid(raw) {
			t.Fatalf("accepted what is not JSON: %q", raw)
		}
		var loose struct {
			Seq      uint64
			Op       string
			Postings []Posting
			Data     json.RawMessage
		}
		if err := json.Unmarshal(raw, &loose); err != nil || loose.Seq != e.Seq || loose.Op != e.Op ||
			len(loose.Postings) != len(e.Postings) || !bytes.Equal(loose.Data, e.Data) {
			t.Errorf("another parser reads %+v, %v from %s", loose, err, raw)
		}
		var prev Hash
		if err := prev.UnmarshalText([]byte(e.Prev)); err != nil {
			t.Error(err)
		}
		again, _ := encode(e.Position(), prev, e.At, Draft{Op: e.Op, Kind: e.Kind, Actor: e.Actor, Postings: e.Postings}, e.Evidence, e.Data)
		if !bytes.Equal(again, raw) {
			t.Errorf("read   %s\nwrites %s", raw, again)
		}
	})
}
