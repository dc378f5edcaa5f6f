package redact

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

// canary is what must never come out again, in any of these spellings.
const canary = "k4n4ry-7Zq"

// holder carries every type the way the program's structs do: by value, by
// pointer, in slices and maps, embedded.
type holder struct {
	Secret   Secret
	Document Document
	Name     Name
	Email    Email
	Text     Text
	Pointer  *Secret
	List     []Text
	Map      map[string]Email
	Any      any
	Nested   struct{ Inner Secret }
	hidden   *Secret
}

func full() holder {
	s := Secret(canary)
	h := holder{
		Secret: s, Document: canary, Name: "9" + canary, Email: canary, Text: canary, Pointer: &s,
		List: []Text{canary}, Map: map[string]Email{"a": canary}, Any: Secret(canary), hidden: &s,
	}
	h.Nested.Inner = canary
	return h
}

// leaks reports the spellings of the canary found in out.
func leaks(out string) []string {
	var found []string
	for _, s := range []string{
		canary, fmt.Sprintf("%x", canary), fmt.Sprintf("%X", canary), fmt.Sprintf("% x", canary),
		fmt.Sprintf("%d", []byte(canary)), fmt.Sprintf("%U", []rune(canary)), "k4n4ry", "7Zq",
	} {
		if strings.Contains(out, s) {
			found = append(found, s)
		}
	}
	return found
}

// outputs passes v through every way a value leaves the program.
func outputs(t *testing.T, v any) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, verb := range "vsqxXdtUcbeEfFgGoO" {
		for _, flags := range []string{"", "+", "#", " ", "-30", "30", "010", ".3", "+#"} {
			f := "%" + flags + string(verb)
			out[f] = fmt.Sprintf(f, v)
		}
	}
	out["Sprint"] = fmt.Sprint(v)
	err := fmt.Errorf("outer: %w", fmt.Errorf("inner %v", v))
	out["error"] = err.Error()
	out["errors.Join"] = fmt.Sprintf("%+v", errors.Join(err, fmt.Errorf("again %#v", v)))
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	out["json"] = string(text)
	for name, handler := range map[string]func(*bytes.Buffer) slog.Handler{
		"slog text": func(b *bytes.Buffer) slog.Handler { return slog.NewTextHandler(b, nil) },
		"slog json": func(b *bytes.Buffer) slog.Handler { return slog.NewJSONHandler(b, nil) },
	} {
		var b bytes.Buffer
		l := slog.New(handler(&b)).With("with", v)
		l.LogAttrs(context.Background(), slog.LevelInfo, "m", slog.Any("any", v), slog.Group("g", "inner", v))
		out[name] = b.String()
	}
	return out
}

func TestNothingLeaks(t *testing.T) {
	h := full()
	values := map[string]any{
		"Secret": h.Secret, "Document": h.Document, "Name": h.Name, "Email": h.Email, "Text": h.Text,
		"pointer": h.Pointer, "slice": h.List, "map": h.Map, "struct": h, "pointer to struct": &h,
		"array": [2]Secret{canary, canary}, "slice of any": []any{h.Secret, h.Text},
	}
	for name, v := range values {
		for how, out := range outputs(t, v) {
			if l := leaks(out); l != nil {
				t.Errorf("%s by %s leaks %q: %s", name, how, l, out)
			}
		}
	}
	type element struct{ S Secret }
	text, err := xml.Marshal(element{canary})
	if err != nil {
		t.Fatal(err)
	}
	if l := leaks(string(text)); l != nil {
		t.Errorf("xml leaks: %s", text)
	}
}

// TestCanaryWouldBeSeen proves that the test above can fail: a plain string
// leaks by nearly every way.
func TestCanaryWouldBeSeen(t *testing.T) {
	type plain string
	silent := 0
	for _, out := range outputs(t, plain(canary)) {
		if leaks(out) == nil {
			silent++
		}
	}
	// %.3s and its like cut the canary off.
	if all := len(outputs(t, plain(canary))); silent*4 > all {
		t.Errorf("%d of %d outputs hide even a plain string", silent, all)
	}
}

func TestMasks(t *testing.T) {
	tests := []struct {
		got, want string
	}{
		{Secret("x").String(), "[secret]"},
		{Secret("").String(), ""},
		{Document("12345678909").String(), "***.456.789-**"},
		{Document("123.456.789-09").String(), "***.456.789-**"},
		{Document("12345678000195").String(), "**.345.678/****-**"},
		{Document("12.345.678/0001-95").String(), "**.345.678/****-**"},
		{Document("12ABC34501DE35").String(), "**.ABC.345/****-**"},
		{Document("123456789").String(), "[document]"},
		{Document("ABCDEFGHIJK").String(), "[document]"},
		{Document("12abc34501de35").String(), "[document]"},
		{Document("--").String(), "[document]"},
		{Document("").String(), ""},
		{Name("Maria da Silva").String(), "Maria S."},
		{Name("  JOÃO   d'Ávila ").String(), "JOÃO d."},
		{Name("Maria").String(), "Maria"},
		{Name("Ana 12345678909").String(), "Ana"},
		{Name("12345678909 Ana").String(), "[personal]"},
		{Name("a@b.c Ana").String(), "[personal]"},
		{Name(strings.Repeat("a", 21)).String(), "[personal]"},
		{Name(" ").String(), "[personal]"},
		{Name("").String(), ""},
		{Email("a@b.c").String(), "[personal]"},
		{Text("Rua A, 1").String(), "[personal]"},
		{Secret("x").GoString() + Document("x").GoString() + Name("9").GoString() + Email("x").GoString() + Text("x").GoString(), "[secret][document][personal][personal][personal]"},
		{fmt.Sprintf("%-10s|%10v|%q", Secret("x"), Secret("x"), Secret("x")), `[secret]  |  [secret]|"[secret]"`},
	}
	for _, tt := range tests {
		if tt.got != tt.want {
			t.Errorf("got %q, want %q", tt.got, tt.want)
		}
	}
}

// TestRevealAndDecode: the values arrive unchanged by decoding and leave
// unchanged by Reveal.
func TestRevealAndDecode(t *testing.T) {
	var h holder
	if err := json.Unmarshal([]byte(`{"Secret":"s","Document":"12345678909","Name":"Maria da Silva","Email":"a@b.c","Text":"t"}`), &h); err != nil {
		t.Fatal(err)
	}
	got := []string{h.Secret.Reveal(), h.Document.Reveal(), h.Name.Reveal(), h.Email.Reveal(), h.Text.Reveal()}
	want := []string{"s", "12345678909", "Maria da Silva", "a@b.c", "t"}
	if strings.Join(got, "|") != strings.Join(want, "|") {
		t.Errorf("revealed %q, want %q", got, want)
	}
}
