package config

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pelletier/go-toml/v2"
)

// Whatever the bytes are, decoding ends, every problem has a place in the file,
// and nothing is accepted that the library refuses.
func FuzzDecode(f *testing.F) {
	seeds, err := filepath.Glob("testdata/*.toml")
	if err != nil || len(seeds) == 0 {
		f.Fatalf("no seeds: %v", err)
	}
	for _, s := range seeds {
		text, err := os.ReadFile(s)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	for _, text := range canaryTexts {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var s sample
		file := Decode("f.toml", text, &s, Options{})
		lines := bytes.Split(text, []byte("\n"))
		for _, p := range file.Problems() {
			if p.Line < 1 || p.Line > len(lines) || p.Column < 1 || p.Column > len(lines[p.Line-1])+2 {
				t.Errorf("a problem at %d:%d of %d lines: %s", p.Line, p.Column, len(lines), p.Message)
			}
			if p.Severity == "" || p.Message == "" {
				t.Errorf("an empty problem: %+v", p)
			}
			if len(text) > 3 && (p.Excerpt == "" || !strings.Contains(p.Excerpt, "^")) {
				t.Errorf("no caret: %+v", p)
			}
			if strings.ContainsAny(p.String(), "\x1b\r\x00") {
				t.Errorf("control characters: %q", p.String())
			}
		}
		var v map[string]any
		if err := toml.Unmarshal(bytes.TrimPrefix(text, []byte("\xef\xbb\xbf")), &v); err != nil && file.Err() == nil {
			t.Errorf("accepted, but the library says: %v", err)
		}
	})
}
