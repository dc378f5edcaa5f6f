package ssg

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ssg-safe/agent/pix"
	"github.com/ssg-safe/agent/providers"
	"github.com/ssg-safe/agent/providers/internal/brcode"
)

// seed adds the document's sample bodies and the framework's own, and what
// people have seen go wrong.
func seed(f *testing.F) {
	files, err := filepath.Glob("testdata/bodies/*")
	if err != nil || len(files) == 0 {
		f.Fatalf("no corpus: %v", err)
	}
	for _, name := range files {
		body, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(body)
		f.Add(body[:len(body)/2])
	}
	for _, s := range []string{
		``, `null`, `{}`, `[]`, `{"data":null}`, `{"data":[]}`, `{"data":{"id":1,"qrcode":2}}`, `{"data":{"qrcode_id":"1","status":true}}`,
		`{"data":{"qrcode_id":"1","status":"PENDENTE","Status":"PAGO"}}`, `{"codigo_erro":1e400}`, `{"errors":{"a":{"b":[]}}}`,
	} {
		f.Add([]byte(s))
	}
}

func FuzzCreated(f *testing.F) {
	seed(f)
	f.Fuzz(func(t *testing.T, body []byte) {
		id, code, err := parseCreated(body)
		if err != nil {
			return
		}
		if !isID(id) || code == "" {
			t.Errorf("took id %q with code %q", id, code)
		}
		if len(brcode.Check(code, brcode.Want{Amount: 100, Key: "12345678000195"})) == 0 {
			parsed, err := pix.Parse(code)
			if cents, ok := parsed.Cents(); err != nil || ok && cents != 100 {
				t.Errorf("took code %q: %v", code, err)
			}
		}
	})
}

func FuzzStatus(f *testing.F) {
	seed(f)
	f.Fuzz(func(t *testing.T, body []byte) {
		id, word, err := parseStatus(body)
		if err != nil {
			return
		}
		if !isID(id) || word == "" || len(word) > 64 {
			t.Errorf("took id %q with word %q", id, word)
		}
		if statusOf(word) == providers.StatusPaid && !strings.EqualFold(word, "PAGO") {
			t.Errorf("took %q for paid", word)
		}
		if strings.Count(strings.ToLower(string(body)), `"status"`) > 1 && strings.Count(string(body), "{") == 2 {
			t.Errorf("took an answer that states its status twice: %s", body)
		}
	})
}

func FuzzFailure(f *testing.F) {
	seed(f)
	h := providers.HTTP{Provider: Name}
	f.Fuzz(func(t *testing.T, body []byte) {
		code, detail := parseFailure(body)
		e := h.Fail(providers.Call{Op: "x"}, providers.Invalid, providers.Answer{}, code, detail, nil)
		if n := len([]rune(e.Error())); n > 400 {
			t.Errorf("an error of %d characters", n)
		}
	})
}
