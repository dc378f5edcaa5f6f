package config

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/ssg-safe/agent/redact"
)

type secretHolder struct {
	Secret Secret `toml:"secret" required:"true" example:"{ env = \"TOKEN\" }"`
}

func decodeSecret(t *testing.T, text string, opts Options) (Secret, []string) {
	t.Helper()
	var h secretHolder
	f := Decode("f.toml", []byte(text), &h, opts)
	return h.Secret, places(f.Problems())
}

// A private key has many lines; what says that a secret is a word keeps a key that
// was named by mistake from being sent as one.
func TestWholeSecret(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key.pem")
	const key = "-----BEGIN PRIVATE KEY-----\nAA==\n-----END PRIVATE KEY-----"
	write(t, path, key+"\n", 0o600)
	var h struct {
		Key  Secret `toml:"key" whole:"true"`
		Word Secret `toml:"word"`
	}
	f := Decode("f.toml", fmt.Appendf(nil, "key = { file = %q }\nword = { file = %[1]q }\n", path), &h, Options{})
	if got := h.Key.Value.Reveal(); got != key {
		t.Errorf("got %q", got)
	}
	f.Report(Problem{Path: "word", Message: "is missing"}) // it could not be read, and nothing more is to be said
	want := []string{"2:17 word.file: the secret has more than one line, or other control characters"}
	if diff := cmp.Diff(want, places(f.Problems())); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
}

func TestSecretSources(t *testing.T) {
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	write(t, path("good"), "hunter2\n", 0o600)
	write(t, path("windows"), "hunter2\r\n", 0o600)
	write(t, path("bare"), " hunter2 ", 0o640)
	write(t, path("open"), "hunter2\n", 0o644)
	write(t, path("shared"), "hunter2\n", 0o660)
	write(t, path("empty"), "\n", 0o600)
	write(t, path("lines"), "hunter2\n\n", 0o600)
	write(t, path("large"), strings.Repeat("x", maxSecret+1), 0o600)
	write(t, path("absent"), "absent", 0o400)
	if err := unix.Mkfifo(path("pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	vars := env(map[string]string{"TOKEN": "hunter2", "EMPTY": "", "CREDENTIALS_DIRECTORY": dir})
	file := func(name string) string { return fmt.Sprintf("secret = { file = %q }", path(name)) }

	tests := map[string]struct {
		text string
		want redact.Secret
		at   []string
	}{
		"environment":          {`secret = { env = "TOKEN" }`, "hunter2", nil},
		"file":                 {file("good"), "hunter2", nil},
		"file from Windows":    {file("windows"), "hunter2", nil},
		"no newline, spaces":   {file("bare"), " hunter2 ", nil},
		"credential":           {`secret = { credential = "good" }`, "hunter2", nil},
		"others can read":      {file("open"), "hunter2", []string{"1:19 secret.file: " + path("open") + " has mode 0644: others than the service can read or change it"}},
		"group can write":      {file("shared"), "hunter2", []string{"1:19 secret.file: " + path("shared") + " has mode 0660: others than the service can read or change it"}},
		"not set":              {`secret = { env = "OTHER" }`, "", []string{"1:18 secret.env: the environment variable OTHER is not set"}},
		"empty variable":       {`secret = { env = "EMPTY" }`, "", []string{"1:18 secret.env: the secret is empty"}},
		"empty file":           {file("empty"), "", []string{"1:19 secret.file: the secret is empty"}},
		"two lines":            {file("lines"), "", []string{"1:19 secret.file: the secret has more than one line, or other control characters"}},
		"too large":            {file("large"), "", []string{fmt.Sprintf("1:19 secret.file: %[1]s cannot be read: %[1]s is larger than 65536 bytes", path("large"))}},
		"no file":              {file("none"), "", []string{"1:19 secret.file: " + path("none") + " does not exist"}},
		"folder":               {fmt.Sprintf("secret = { file = %q }", dir), "", []string{fmt.Sprintf("1:19 secret.file: %[1]s cannot be read: %[1]s is not a regular file", dir)}},
		"pipe":                 {file("pipe"), "", []string{fmt.Sprintf("1:19 secret.file: %[1]s cannot be read: %[1]s is not a regular file", path("pipe"))}}, // and nobody waits for its other end
		"relative path":        {`secret = { file = "good" }`, "", []string{"1:19 secret.file: not an absolute path"}},
		"never provisioned":    {`secret = { credential = "absent" }`, "", []string{"1:25 secret.credential: the credential absent was never provisioned"}},
		"no credential":        {`secret = { credential = "none" }`, "", []string{"1:25 secret.credential: none does not exist"}},
		"credential elsewhere": {`secret = { credential = "../good" }`, "", []string{"1:25 secret.credential: not the name of a credential"}},
		"inline":               {`secret = "hunter2"`, "", []string{"1:10 secret: a secret is not written into this file"}},
		"inline number":        {`secret = 12345`, "", []string{"1:10 secret: a secret is not written into this file"}},
		"inline list":          {`secret = ["hunter2"]`, "", []string{"1:10 secret: a secret is not written into this file"}},
		"without quotes":       {`secret = hunter2`, "", []string{"1:10 secret: a secret is not written into this file"}},
		"empty reference":      {`secret = {}`, "", []string{"1:10 secret: says nothing"}},
		"two sources":          {`secret = { env = "TOKEN", file = "/x" }`, "", []string{"1:10 secret: a secret has one source"}},
		"another source":       {`secret = { value = "hunter2" }`, "", []string{"1:20 secret.value: not a key of a secret"}},
		"no text":              {`secret = { env = 5 }`, "", []string{"1:18 secret.env: must be text in quotes"}},
		"secret as name":       {`secret = { env = "hunter2" }`, "", []string{"1:18 secret.env: not the name of an environment variable"}},
		"missing":              {``, "", []string{"1:1 secret: is missing"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, at := decodeSecret(t, tt.text, Options{LookupEnv: vars})
			if got.Value != tt.want {
				t.Errorf("value %q, want %q", got.Value.Reveal(), tt.want.Reveal())
			}
			if diff := cmp.Diff(tt.at, at); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
		})
	}
}

// A check by hand is outside of the unit, where no credential can be seen.
func TestCredentialOutsideOfUnit(t *testing.T) {
	for _, outside := range []bool{false, true} {
		var h secretHolder
		f := Decode("f.toml", []byte(`secret = { credential = "ssg.secret" }`), &h, Options{OutsideUnit: outside})
		if got := f.Err() == nil; got != outside {
			t.Errorf("outside of the unit %t: accepted %t", outside, got)
		}
		if len(f.Problems()) != 1 {
			t.Errorf("outside of the unit %t: problems %v", outside, f.Problems())
		}
	}
}

// Who needs no secret is told of none that is missing, and gets none that is there.
func TestWithoutSecrets(t *testing.T) {
	there := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(there, []byte(canary), 0o644); err != nil { // for everybody to read
		t.Fatal(err)
	}
	for _, text := range []string{
		`secret = { env = "NOT_SET" }`, `secret = { file = "/nowhere" }`, `secret = { credential = "ssg.secret" }`, fmt.Sprintf("secret = { file = %q }", there),
	} {
		var h secretHolder
		f := Decode("f.toml", []byte(text), &h, Options{WithoutSecrets: true})
		if len(f.Problems()) != 0 || h.Secret.Value != "" || h.Secret.Name == "" {
			t.Errorf("%s: problems %v, secret %+v", text, f.Problems(), h.Secret)
		}
	}
	for _, text := range []string{`secret = "inside"`, `secret = {}`, `secret = { env = "A", file = "/b" }`, `secret = { envv = "A" }`} {
		var h secretHolder
		if f := Decode("f.toml", []byte(text), &h, Options{WithoutSecrets: true}); f.Err() == nil {
			t.Errorf("%s is accepted", text)
		}
	}
}

const canary = "zq8canary7"

// leaks lists the problems in which the canary appears, in any of their forms.
func leaks(f *File) []string {
	var out []string
	for _, p := range f.Problems() {
		js, err := json.Marshal(p)
		if err != nil {
			out = append(out, err.Error())
		}
		if strings.Contains(p.String(), canary) || strings.Contains(string(js), canary) {
			out = append(out, p.String())
		}
	}
	return out
}

// What people do with secrets, and with what may be one.
var canaryTexts = map[string]string{
	"inline":               `secret = "` + canary + `"`,
	"inline, other quotes": `secret = '''` + canary + `'''`,
	"over lines":           "secret = \"\"\"\n" + canary + "\n\"\"\"",
	"without quotes":       `secret = ` + canary,
	"half quoted":          `secret = "` + canary,
	"in a list":            `secret = ["` + canary + `"]`,
	"as a name":            `secret = { env = "` + canary + `" }`,
	"as a path":            `secret = { file = "` + canary + `" }`,
	"as a credential":      `secret = { credential = "` + strings.Repeat(canary, 4) + `" }`,
	"other key":            `secret = { value = "` + canary + `" }`,
	"own table":            "[secret]\nvalue = \"" + canary + "\"",
	"own table, wrong":     "[secret]\nenv = [\"" + canary + "\"]",
	"twice":                "secret = \"" + canary + "\"\nsecret = \"" + canary + "\"",
	"misspelt":             `secert = "` + canary + `"`,
	"misspelt, bare":       `secert = ` + canary,
	"misspelt table":       "[secert]\nenv = \"" + canary + "\"",
	"unknown list":         `passwords = ["` + canary + `"]`,
	"in a comment":         `version = "x" # ` + canary,
	"comment after broken": `name = x # ` + canary,
	"comment, no tree":     "[name # " + canary,
	"no tree":              "secret = { env = \"" + canary + "\"\n",
	"no tree, other line":  "secret =\n" + canary + "\n",
	"no equals":            canary,
	"not UTF-8":            "secret = \"" + canary + "\xff\"",
	"in a URL":             `mode = "https://user:` + canary + `@host/"`,
	"masked":               `key = ` + canary,
	"masked number":        "key = [\"" + canary + "\"]",
	"masked by type":       "[sub]\nperson = [\"" + canary + "\"]",
	"beside":               `sub = { person = "` + canary + `", port = "x" }`,
	"table for text":       `name = { secret = "` + canary + `" }`,
	"text for table":       `sub = "` + canary + `"`,
	"text for list":        `lines = "` + canary + `"`,
	"list of tables":       `lines = [{ secret = "` + canary + `" }]`,
}

func TestNoSecretIsShown(t *testing.T) {
	for name, text := range canaryTexts {
		t.Run(name, func(t *testing.T) {
			_, f := decodeSample(text)
			f.Report(Problem{Path: "secret", Message: "is wrong"}, Problem{Path: "key", Message: "is wrong"})
			if f.Err() == nil {
				t.Error("accepted")
			}
			for _, l := range leaks(f) {
				t.Errorf("the value is shown:\n%s", l)
			}
		})
	}
}

// The test above looks in the right places: without hiding, it finds the value.
func TestCanaryIsSeenWithoutHiding(t *testing.T) {
	seen := 0
	for _, text := range canaryTexts {
		_, f := decodeSample(text)
		f.hidden, f.blind = nil, false
		if len(leaks(f)) > 0 {
			seen++
		}
	}
	if seen < 20 {
		t.Errorf("only %d of %d texts show their value when nothing is hidden", seen, len(canaryTexts))
	}
}

// TestInlineSecret: only where the tag says so may a secret stand in the file, and
// it is shown no more than others.
func TestInlineSecret(t *testing.T) {
	var h struct {
		Hash Secret `toml:"hash" inline:"true"`
	}
	f := Decode("f.toml", []byte(`hash = "hunter2"`), &h, Options{})
	if h.Hash != (Secret{Source: "inline", Value: "hunter2"}) || len(f.Problems()) != 0 {
		t.Errorf("got %+v, %v", h.Hash, f.Problems())
	}
	f.Report(Problem{Path: "hash", Message: "is wrong"})
	if text := fmt.Sprint(f.Problems()); !strings.Contains(text, "is wrong") || strings.Contains(text, "hunter2") {
		t.Errorf("the problem reads %s", text)
	}
	for text, want := range map[string]string{
		`hash = ""`: "1:8 hash: is empty", `hash = "a\u0007"`: "1:8 hash: has a line break or another control character",
		`hash = 7`: "1:8 hash: a secret is not written into this file", `hash = ["a"]`: "1:8 hash: a secret is not written into this file",
	} {
		f := Decode("f.toml", []byte(text), &h, Options{})
		if diff := cmp.Diff([]string{want}, places(f.Problems())); diff != "" {
			t.Errorf("%s (-want +got):\n%s", text, diff)
		}
	}
}
