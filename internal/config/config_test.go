package config

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ssg-safe/agent/money"
	"github.com/ssg-safe/agent/redact"
)

// sample has a field of every kind.
type sample struct {
	Version int           `toml:"version" default:"1" min:"1" max:"3"`
	Name    string        `toml:"name" default:"none" max:"10"`
	Key     string        `toml:"key" mask:"true"`
	Mode    string        `toml:"mode" default:"fast" oneof:"fast slow"`
	On      bool          `toml:"on" default:"true"`
	Wait    time.Duration `toml:"wait" default:"5m" min:"1s" max:"1h"`
	Space   Size          `toml:"space" default:"128MiB" min:"1KiB"`
	Price   money.Amount  `toml:"price" default:"1.00" min:"0.01" max:"500.00"`
	Lines   []string      `toml:"lines" max:"3"`
	Secret  Secret        `toml:"secret"`
	Sub     sampleSub     `toml:"sub"`
	Maybe   *sampleSub    `toml:"maybe"`
	Many    []sampleSub   `toml:"many" max:"2"`
	NoKey   int           // has no tag, and is left alone
}

type sampleSub struct {
	Level  level       `toml:"level" default:"low"`
	Person redact.Name `toml:"person"`
	Port   int         `toml:"port" default:"9600"`
	More   *sampleMore `toml:"more"`
}

type sampleMore struct {
	Depth int `toml:"depth" required:"true" example:"7"`
}

type level string

func (l *level) UnmarshalText(text []byte) error {
	if s := string(text); s != "low" && s != "high" {
		return &ValueError{"is neither low nor high", `write "low" or "high"`}
	}
	*l = level(text)
	return nil
}

func sampleDefaults() sample {
	return sample{
		Version: 1, Name: "none", Mode: "fast", On: true, Wait: 5 * time.Minute, Space: 128 << 20, Price: 100,
		Sub: sampleSub{Level: "low", Port: 9600},
	}
}

func decodeSample(text string) (sample, *File) {
	var s sample
	f := Decode("f.toml", []byte(text), &s, Options{LookupEnv: env(map[string]string{"TOKEN": "hunter2"})})
	return s, f
}

func env(vars map[string]string) func(string) (string, bool) {
	return func(name string) (string, bool) {
		v, ok := vars[name]
		return v, ok
	}
}

var exposed = cmp.Options{cmp.Comparer(func(a, b redact.Name) bool { return a == b })}

func TestDecodeValues(t *testing.T) {
	tests := map[string]struct {
		text   string
		change func(*sample)
	}{
		"nothing":           {"", func(*sample) {}},
		"int":               {"version = 2", func(s *sample) { s.Version = 2 }},
		"hexadecimal int":   {"version = 0x3", func(s *sample) { s.Version = 3 }},
		"text":              {`name = "Zoë"`, func(s *sample) { s.Name = "Zoë" }},
		"literal text":      {`name = 'C:\dev'`, func(s *sample) { s.Name = `C:\dev` }},
		"empty text":        {`name = ""`, func(s *sample) { s.Name = "" }},
		"zeros stay":        {`key = "01234567890"`, func(s *sample) { s.Key = "01234567890" }},
		"plus stays":        {`key = "+5511999990000"`, func(s *sample) { s.Key = "+5511999990000" }},
		"spaces stay":       {`key = " 1 "`, func(s *sample) { s.Key = " 1 " }},
		"bool":              {"on = false", func(s *sample) { s.On = false }},
		"duration":          {`wait = "1m30s"`, func(s *sample) { s.Wait = 90 * time.Second }},
		"size":              {`space = "64KiB"`, func(s *sample) { s.Space = 64 << 10 }},
		"size with a space": {`space = "1 GiB"`, func(s *sample) { s.Space = 1 << 30 }},
		"reais":             {`price = "12.34"`, func(s *sample) { s.Price = 1234 }},
		"centavos":          {`price = 1234`, func(s *sample) { s.Price = 1234 }},
		"list":              {`lines = ["a", "b",]`, func(s *sample) { s.Lines = []string{"a", "b"} }},
		"list over lines":   {"lines = [ # one\n \"a\", # two\n]", func(s *sample) { s.Lines = []string{"a"} }},
		"empty list":        {`lines = []`, func(s *sample) { s.Lines = []string{} }},
		"own type":          {"[sub]\nlevel = \"high\"", func(s *sample) { s.Sub.Level = "high" }},
		"dotted":            {`sub.port = 1`, func(s *sample) { s.Sub.Port = 1 }},
		"inline":            {`sub = { port = 1, level = "high" }`, func(s *sample) { s.Sub.Port, s.Sub.Level = 1, "high" }},
		"pointer":           {"[maybe]\nperson = \"Ana\"", func(s *sample) { s.Maybe = &sampleSub{Level: "low", Person: "Ana", Port: 9600} }},
		"tables": {"[[many]]\n[[many]]\nport = 5\n[many.more]\ndepth = 9", func(s *sample) {
			s.Many = []sampleSub{{Level: "low", Port: 9600}, {Level: "low", Port: 5, More: &sampleMore{9}}}
		}},
		"inline tables": {`many = [{}, { port = 5 }]`, func(s *sample) {
			s.Many = []sampleSub{{Level: "low", Port: 9600}, {Level: "low", Port: 5}}
		}},
		"header after its child": {"[sub.more]\ndepth = 1\n[sub]\nport = 2", func(s *sample) { s.Sub.Port, s.Sub.More = 2, &sampleMore{1} }},
		"secret":                 {`secret = { env = "TOKEN" }`, func(s *sample) { s.Secret = Secret{"env", "TOKEN", "hunter2"} }},
		"secret as a table":      {"[secret]\nenv = \"TOKEN\"", func(s *sample) { s.Secret = Secret{"env", "TOKEN", "hunter2"} }},
		"byte order mark":        {"\xef\xbb\xbfversion = 2", func(s *sample) { s.Version = 2 }},
		"carriage returns":       {"version = 2\r\n\r\nname = \"a\"\r\n", func(s *sample) { s.Version, s.Name = 2, "a" }},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, f := decodeSample(tt.text)
			if err := f.Err(); err != nil {
				t.Fatal(err)
			}
			want := sampleDefaults()
			tt.change(&want)
			if diff := cmp.Diff(want, got, exposed); diff != "" {
				t.Errorf("decoded (-want +got):\n%s", diff)
			}
		})
	}
}

// Whatever the destination held before, only defaults and the file remain.
func TestDecodeStartsFromDefaults(t *testing.T) {
	s := sample{Name: "old", Key: "old", Lines: []string{"old"}, Maybe: &sampleSub{}, Secret: Secret{Value: "old"}}
	if err := Decode("f.toml", nil, &s, Options{}).Err(); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(sampleDefaults(), s, exposed); diff != "" {
		t.Errorf("decoded (-want +got):\n%s", diff)
	}
}

// place is a problem as these tests write it.
func place(p Problem) string {
	return fmt.Sprintf("%d:%d %s: %s", p.Line, p.Column, p.Path, p.Message)
}

func places(ps []Problem) []string {
	var out []string
	for _, p := range ps {
		out = append(out, place(p))
	}
	return out
}

func TestDecodeProblems(t *testing.T) {
	tests := map[string]struct {
		text   string
		want   []string
		remedy string // of the first problem
	}{
		"number for text":     {"\nname = 123", []string{`2:8 name: is a number, must be text in quotes`}, `put it in quotes: name = "123"`},
		"masked number":       {"key = +5511999990000", []string{`1:7 key: is a number, must be text in quotes`}, `put it in quotes, with all its zeros and signs: key = "…"`},
		"leading zeros":       {"key = 01234567890", []string{`1:7 key: a number with leading zeros`}, `put it in quotes, as it is: key = "…"`},
		"bare words":          {"key = 12.345.678/0001-95 # cnpj\nmode = slow\nwait = 5m", []string{`1:7 key: text without quotes`, `2:8 mode: text without quotes`, `3:8 wait: text without quotes`}, `put it in quotes, as it is: key = "…"`},
		"float for int":       {"version = 1.0", []string{`1:11 version: is a number with decimals, must be a whole number`}, `write version = 1`},
		"text for int":        {`version = "1"`, []string{`1:11 version: is text, must be a whole number`}, "write a whole number, without quotes"},
		"int too large":       {`version = 99999999999999999999`, []string{`1:11 version: is not a number that fits here`}, "write a value from 1 to 3"},
		"text for bool":       {`on = "true"`, []string{`1:6 on: is text, must be true or false`}, "write true or false, without quotes"},
		"word for bool":       {`on = yes`, []string{`1:6 on: is neither true nor false`}, "write true or false, in small letters and without quotes"},
		"word for int":        {"sub.port = fast", []string{`1:12 sub.port: is not a number`}, "write a whole number without leading zeros: port = 9600"},
		"no value":            {"name =\non = true", []string{`1:1 name: has no value`}, "write text in quotes after the equals sign, or remove the line"},
		"open quotes":         {"name = \"abc\nversion = 9", []string{`1:8 name: text that is not closed, or has a wrong escape`, `2:11 version: must be at most 3`}, `begin and end text with ", and write \\ for a backslash`},
		"wrong escape":        {`name = "C:\dev"`, []string{`1:8 name: text that is not closed, or has a wrong escape`}, `begin and end text with ", and write \\ for a backslash`},
		"no unit":             {`wait = "30"`, []string{`1:8 wait: has no unit`}, durationRemedy},
		"zero without a unit": {`wait = "0"`, []string{`1:8 wait: has no unit`}, durationRemedy},
		"number for duration": {`wait = 30`, []string{`1:8 wait: is a number, must be a duration in quotes`}, `give it a unit and quotes: wait = "30s" for seconds, "30m" for minutes`},
		"unknown unit":        {`wait = "3 dias"`, []string{`1:8 wait: is not a duration`}, durationRemedy},
		"negative duration":   {`wait = "-3s"`, []string{`1:8 wait: is not a duration`}, durationRemedy},
		"duration too long":   {`wait = "2h"`, []string{`1:8 wait: must be at most 1h`}, "write a value from 1s to 1h"},
		"decimal megabytes":   {`space = "128MB"`, []string{`1:9 space: has the unit MB, which is none of KiB, MiB and GiB`}, sizeRemedy},
		"size without unit":   {`space = "128"`, []string{`1:9 space: has no unit`}, `write "128MiB", for example`},
		"number for size":     {`space = 128`, []string{`1:9 space: is a number, must be a size in quotes`}, `give it a unit and quotes: space = "128MiB", for example`},
		"size overflows":      {`space = "99999999999GiB"`, []string{`1:9 space: is too large`}, sizeRemedy},
		"float money":         {`price = 1.50`, []string{`1:9 price: is a number with decimals, must be an amount`}, `write reais in quotes, with a dot and two decimals: price = "1.50"`},
		"comma":               {`price = "1,50"`, []string{`1:9 price: has a comma`}, amountRemedy},
		"fractions of one":    {`price = "1.505"`, []string{`1:9 price: is not an amount of reais and centavos`}, amountRemedy},
		"negative centavos":   {`price = -5`, []string{`1:9 price: is not a number that fits here`}, "write a value from 0.01 to 500.00"},
		"amount too large":    {`price = "500.01"`, []string{"1:9 price: must be at most R$\u00a0500,00"}, "write a value from 0.01 to 500.00"},
		"not one of":          {`mode = "fsat"`, []string{`1:8 mode: "fsat" is not known here`}, `did you mean "fast"? write one of: fast, slow`},
		"too many characters": {`name = "éééééééééééé"`, []string{`1:8 name: must have at most 10 characters`}, "shorten it"},
		"control character":   {`name = "a\u001b[0m"`, []string{`1:8 name: has a line break or another control character`}, "leave it out"},
		"own type":            {"[sub]\nlevel = \"medium\"", []string{`2:9 sub.level: is neither low nor high`}, `write "low" or "high"`},
		"unknown":             {"[sub]\nprot = 1", []string{`2:1 sub.prot: unknown key`}, "did you mean port?"},
		"unknown, far":        {"[sub]\ncolour = 1", []string{`2:1 sub.colour: unknown key`}, "known here: level, person, port, more"},
		"elsewhere":           {"[sub]\nspace = \"1GiB\"", []string{`2:1 sub.space: unknown key`}, "space belongs into the top of the file, before the first [table]"},
		"elsewhere below":     {"port = 1", []string{`1:1 port: unknown key`}, "port belongs into [sub]"},
		"unknown table":       {"[subs]\nport = 1", []string{`1:2 subs: unknown key`}, "did you mean sub?"},
		"unknown odd name":    {"\"a\\u001bb\" = 1", []string{`1:1 "a\x1bb": unknown key`}, "known here: version, name, key, mode, on, wait, space, price, lines, secret, sub, maybe, many"},
		"text for list":       {`lines = "a"`, []string{`1:9 lines: is text, must be a list of text`}, `write it in brackets: lines = ["…"]`},
		"numbers in a list":   {`lines = ["a", 12]`, []string{`1:15 lines[1]: is a number, must be text in quotes`}, `put it in quotes: "12"`},
		"list too long":       {`lines = ["a", "b", "c", "d"]`, []string{`1:9 lines: must have at most 3 entries`}, "shorten it"},
		"list for text":       {`name = ["a"]`, []string{`1:8 name: is a list, must be text in quotes`}, "write text in quotes after the equals sign"},
		"text for table":      {`sub = "a"`, []string{`1:7 sub: is text, must be a table`}, "write [sub] on a line of its own and its keys below"},
		"double brackets":     {`[[sub]]`, []string{`1:3 sub: is a list of tables, must be a table`}, "write [sub], with single brackets: there is only one"},
		"single brackets":     {`[many]`, []string{`1:2 many: is a table, must be a list of tables`}, "write [[many]], with double brackets: there may be several"},
		"too many tables":     {"[[many]]\n[[many]]\n[[many]]", []string{`1:3 many: must have at most 2 entries`}, "shorten it"},
		"missing":             {"[maybe.more]", []string{`1:2 maybe.more.depth: is missing`}, "add depth = 7 under [maybe.more]"},
		"missing in a list":   {"[[many]]\n[many.more]\n", []string{`2:2 many[0].more.depth: is missing`}, "add depth = 7 under [many.more]"},
		"twice":               {"on = true\nname = \"a\"\non = 3", []string{`3:1 on: given a second time; the first is in line 1`}, "remove one of the two"},
		"twice inline":        {"sub = { port = 1, port = 2 }", []string{`1:19 sub.port: given a second time; the first is in line 1`}, "remove one of the two"},
		"table twice":         {"[sub]\n[sub]\nport = \"a\"", []string{`2:2 sub: given a second time; the first is in line 1`, `3:8 sub.port: is text, must be a whole number`}, "write both as one"},
		"table after list":    {"[[many]]\n[many]", []string{`2:2 many: given a second time; the first is in line 1`}, "write [[many]], with double brackets, for one more of them"},
		"value as a table":    {"name = \"a\"\n[name.x]", []string{`2:2 name: is not a table in line 1`}, "write it once, as a value or as a table"},
		"library only":        {"sub = { port = 1 }\n[sub.more]\ndepth = 1", []string{`2:2 : key sub already exists as a value`}, "write every key and table once, and values as TOML has them"},
		"impossible date":     {"name = 2020-13-45", []string{`1:8 name: is a date or time, must be text in quotes`}, `put it in quotes: name = "2020-13-45"`},
		"characters, not bytes": {
			`sub = { person = "Zoë Ç", port = "x" }`, []string{`1:34 sub.port: is text, must be a whole number`}, "write a whole number, without quotes",
		},
		"not closed":  {"on = yes\nlines = [\"a\"\nname = \"b\"", []string{`1:1 : unexpected character U+0079 'y' at start of value`, `3:1 : expected ',' or ']' after array value; the value begins in line 2`}, remedyQuotes},
		"no equals":   {"version 1", []string{`1:9 : expected '=' after key`}, "every line is key = value, [table] or [[table]], and text is in quotes"},
		"latin-1":     {"name = \"a\"\nname = \"S\xe3o\"", []string{`2:10 : not UTF-8 text`}, "save the file as UTF-8, without another encoding"},
		"all at once": {"version = 9\nname = 1\n[sub]\nport = \"a\"\n[[many]]\nx = 1\n", []string{`1:11 version: must be at most 3`, `2:8 name: is a number, must be text in quotes`, `4:8 sub.port: is text, must be a whole number`, `6:1 many[0].x: unknown key`}, "write a value from 1 to 3"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s, f := decodeSample(tt.text)
			ps := f.Problems()
			if diff := cmp.Diff(tt.want, places(ps)); diff != "" {
				t.Fatalf("problems (-want +got):\n%s", diff)
			}
			if ps[0].Remedy != tt.remedy {
				t.Errorf("remedy %q, want %q", ps[0].Remedy, tt.remedy)
			}
			if f.Err() == nil {
				t.Error("a configuration with errors was accepted")
			}
			// A wrong value leaves its default.
			if d := sampleDefaults(); s.Version != d.Version || s.Price != d.Price || s.Wait != d.Wait || s.Mode != d.Mode {
				t.Errorf("wrong values were taken: %+v", s)
			}
		})
	}
}

func TestReport(t *testing.T) {
	text := "version = 1\nkey = 5\n[[many]]\nport = 1\n"
	_, f := decodeSample(text)
	f.Report(
		Problem{Path: "many[0].port", Message: "is taken"},
		Problem{Path: "many[0].person", Message: "is needed", Severity: Warning},
		Problem{Path: "maybe.person", Message: "is needed too"},
		Problem{Path: "key", Message: "is empty"}, // it could not be decoded: says nothing new
	)
	want := []string{
		"1:1 maybe.person: is needed too",
		"2:7 key: is a number, must be text in quotes",
		"3:3 many[0].person: is needed",
		"4:8 many[0].port: is taken",
	}
	if diff := cmp.Diff(want, places(f.Problems())); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
	if got := Count(f.Problems()); got != "3 errors, 1 warning" {
		t.Errorf("count %q", got)
	}
}

func TestWarningsAreNoError(t *testing.T) {
	_, f := decodeSample("version = 1")
	f.Report(Problem{Path: "version", Message: "is old", Severity: Warning})
	if err := f.Err(); err != nil {
		t.Errorf("a warning alone refused the file: %v", err)
	}
	if got := Count(f.Problems()); got != "1 warning" {
		t.Errorf("count %q", got)
	}
}

func TestInvalidText(t *testing.T) {
	_, f := decodeSample("name = \"a\" # note\n\tkey = 12345\n")
	invalid, ok := errors.AsType[*Invalid](f.Err())
	if !ok {
		t.Fatalf("error %T", f.Err())
	}
	want := `f.toml: 1 error

f.toml:2:8: error: key: is a number, must be text in quotes
    2 | 	key = *****
      | 	      ^^^^^
  remedy: put it in quotes, with all its zeros and signs: key = "…"`
	if diff := cmp.Diff(want, invalid.Error()); diff != "" {
		t.Errorf("text (-want +got):\n%s", diff)
	}
}

func TestLongLines(t *testing.T) {
	_, f := decodeSample(`lines = ["` + strings.Repeat("a", 500) + `", 7, "` + strings.Repeat("b", 500) + `"]`)
	lines := strings.Split(f.Problems()[0].Excerpt, "\n")
	if n := len([]rune(lines[0])); n > excerptWidth+10 {
		t.Errorf("the excerpt has %d characters", n)
	}
	if i := strings.IndexByte(lines[1], '^'); lines[0][i] != '7' {
		t.Errorf("the caret is not under the number:\n%s\n%s", lines[0], lines[1])
	}
}

func TestLoad(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a.toml")
	write(t, path, "version = 2\n", 0o600)
	var s sample
	f, err := Load(path, &s, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if s.Version != 2 || len(f.Problems()) != 0 || f.Name != path {
		t.Errorf("version %d, problems %v, name %s", s.Version, f.Problems(), f.Name)
	}

	write(t, path, "version = 2\n", 0o666)
	if f, err = Load(path, &s, Options{}); err != nil {
		t.Fatal(err)
	}
	want := []string{"1:1 : every user of this machine can change this file, and with it the account that money goes to"}
	if diff := cmp.Diff(want, places(f.Problems())); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}

	write(t, path, strings.Repeat("#\n", maxFile), 0o600)
	for _, p := range []string{path, dir, filepath.Join(dir, "none.toml")} {
		if _, err := Load(p, &s, Options{}); err == nil {
			t.Errorf("%s was read", p)
		} else if !strings.Contains(err.Error(), p) {
			t.Errorf("the error does not name the file: %v", err)
		}
	}
}

func write(t *testing.T, path, text string, mode os.FileMode) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil { // whatever the umask
		t.Fatal(err)
	}
}

// A file that is something else altogether is not told line by line.
func TestManyProblems(t *testing.T) {
	_, f := decodeSample(strings.Repeat("x = 1\nx = 2\n", maxProblems))
	ps := f.Problems()
	if len(ps) != maxProblems+1 {
		t.Fatalf("%d problems, want %d", len(ps), maxProblems+1)
	}
	// One unknown key, and all but the first given again.
	if got, want := ps[maxProblems].Message, fmt.Sprintf("%d more problems from here on", maxProblems); got != want {
		t.Errorf("the last problem says %q, want %q", got, want)
	}
	if f.Err() == nil {
		t.Error("accepted")
	}
}

func TestSizeString(t *testing.T) {
	for text, want := range map[string]Size{"128MiB": 128 << 20, "1GiB": 1 << 30, "1536KiB": 1536 << 10} {
		got, err := ParseSize(text)
		if err != nil || got != want || got.String() != text {
			t.Errorf("%s: %d %s %v", text, got, got, err)
		}
	}
	if got := Size(5).String(); got != "5B" {
		t.Errorf("5 bytes are %s", got)
	}
}

// A mistake in a struct is found by the first test that decodes into it.
func TestWrongStructsPanic(t *testing.T) {
	for name, dst := range map[string]any{
		"not a pointer": sample{},
		"unknown type": &struct {
			A float64 `toml:"a"`
		}{},
		"wrong default": &struct {
			A int `toml:"a" default:"x"`
		}{},
		"default no bool": &struct {
			A bool `toml:"a" default:"ja"`
		}{},
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("accepted")
				}
			}()
			Defaults(dst)
		})
	}
}
