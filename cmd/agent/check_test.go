package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// checkAgent runs a command line in this process.
func checkAgent(args ...string) (code int, stdout, stderr string) {
	var out, errs bytes.Buffer
	code = run(context.Background(), &globals{stdin: strings.NewReader(""), stdout: &out, stderr: &errs}, args)
	return code, out.String(), errs.String()
}

func TestCheckCommand(t *testing.T) {
	t.Setenv("SSG_CLIENT_SECRET", testSecret)
	t.Setenv("CREDENTIALS_DIRECTORY", "")
	if err := os.Unsetenv("CREDENTIALS_DIRECTORY"); err != nil { // t.Setenv restores it
		t.Fatal(err)
	}
	tests := map[string]struct {
		args           []string
		code           int
		stdout, stderr []string // parts of the output; nil: nothing is written
	}{
		"ok": {
			[]string{"--config", "../../configs/simulator.toml"},
			0,
			[]string{"../../configs/simulator.toml: ok (no problems)\n"},
			nil,
		},
		"warnings": {
			[]string{"-c", "../../configs/kiosk-serial.toml"},
			0,
			[]string{"../../configs/kiosk-serial.toml: ok (6 warnings)\n"},
			[]string{": warning: provider[0].client_secret: whoever takes it", "systemd gives credentials to its unit only"},
		},
		"errors": {
			[]string{"--config", "testdata/broken/unquoted-keys.toml"},
			2,
			nil,
			[]string{"ssg-agent: testdata/broken/unquoted-keys.toml: 3 errors\n\n", "unquoted-keys.toml:12:11: error: merchant[0].pix_key: is a number", "client_id = 17\n      |             ^^\n"},
		},
		"no file":        {[]string{"--config", "testdata/none.toml"}, 2, nil, []string{"read configuration: open testdata/none.toml: no such file"}},
		"folder":         {[]string{"--config", "testdata"}, 2, nil, []string{"testdata is not a regular file"}},
		"no flag":        {nil, 2, nil, []string{"Give --config FILE"}},
		"extra word":     {[]string{"--config", "a.toml", "b.toml"}, 2, nil, []string{`unexpected "b.toml"`}},
		"unknown flag":   {[]string{"--conf", "a.toml"}, 2, nil, []string{"unknown flag: --conf", "See 'ssg-agent check --help'"}},
		"help":           {[]string{"--help"}, 0, []string{"Exit codes: 0", "Examples:"}, nil},
		"file as a word": {[]string{"a.toml"}, 2, nil, []string{"the file goes after --config"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			code, stdout, stderr := checkAgent(append([]string{"check"}, tt.args...)...)
			if code != tt.code {
				t.Errorf("exit code %d, want %d", code, tt.code)
			}
			for _, o := range []struct {
				what, got string
				want      []string
			}{{"stdout", stdout, tt.stdout}, {"stderr", stderr, tt.stderr}} {
				if o.want == nil && o.got != "" {
					t.Errorf("%s is not empty: %s", o.what, o.got)
				}
				for _, w := range o.want {
					if !strings.Contains(o.got, w) {
						t.Errorf("%s lacks %q:\n%s", o.what, w, o.got)
					}
				}
			}
		})
	}
}

// With --json stdout is JSON lines and nothing else, whatever is wrong.
func TestCheckJSON(t *testing.T) {
	type line struct {
		Event, Severity, File, Path, Message, Remedy, Excerpt string
		Line, Column                                          int
		OK                                                    *bool
		Errors, Warnings                                      int
	}
	t.Setenv("SSG_CLIENT_SECRET", testSecret)
	yes, no := true, false
	tests := map[string]struct {
		file string
		code int
		want []line // Message, Remedy and Excerpt aside
	}{
		"ok": {"../../configs/simulator.toml", 0, []line{
			{Event: "summary", File: "../../configs/simulator.toml", OK: &yes},
		}},
		"warning": {"testdata/broken/printer-kind-missing.toml", 0, []line{
			{Event: "problem", Severity: "warning", File: "testdata/broken/printer-kind-missing.toml", Path: "printer.kind", Line: 24, Column: 2},
			{Event: "summary", File: "testdata/broken/printer-kind-missing.toml", OK: &yes, Warnings: 1},
		}},
		"errors": {"testdata/broken/unquoted-leading-zeros.toml", 2, []line{
			{Event: "problem", Severity: "error", File: "testdata/broken/unquoted-leading-zeros.toml", Path: "merchant[0].cnpj", Line: 9, Column: 8},
			{Event: "problem", Severity: "error", File: "testdata/broken/unquoted-leading-zeros.toml", Path: "merchant[0].pix_key", Line: 12, Column: 11},
			{Event: "summary", File: "testdata/broken/unquoted-leading-zeros.toml", OK: &no, Errors: 2},
		}},
		"no file": {"testdata/none.toml", 2, []line{
			{Event: "problem", Severity: "error", File: "testdata/none.toml"},
			{Event: "summary", File: "testdata/none.toml", OK: &no, Errors: 1},
		}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			code, stdout, stderr := checkAgent("check", "--json", "--config", tt.file)
			if code != tt.code {
				t.Errorf("exit code %d, want %d", code, tt.code)
			}
			if (stderr != "") != (tt.code != 0) {
				t.Errorf("exit code %d and on stderr %q", code, stderr)
			}
			var got []line
			for s := bufio.NewScanner(strings.NewReader(stdout)); s.Scan(); {
				var l line
				if err := json.Unmarshal(s.Bytes(), &l); err != nil {
					t.Fatalf("%v: %s", err, s.Text())
				}
				if l.Event == "problem" && l.Message == "" {
					t.Errorf("no message: %s", s.Text())
				}
				l.Message, l.Remedy, l.Excerpt = "", "", ""
				got = append(got, l)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("lines (-want +got):\n%s", diff)
			}
		})
	}
}

type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, errors.New("no space left") }

// A report that nobody can read is a failure, not a success.
func TestCheckCannotWrite(t *testing.T) {
	t.Setenv("SSG_CLIENT_SECRET", testSecret)
	for _, args := range [][]string{nil, {"--json"}} {
		g := &globals{stdin: strings.NewReader(""), stdout: fullDisk{}, stderr: io.Discard}
		if code := run(t.Context(), g, append([]string{"check", "-c", "../../configs/simulator.toml"}, args...)); code != 1 {
			t.Errorf("%v: exit code %d, want 1", args, code)
		}
	}
}

// A secret file that others can read is a warning, and works.
func TestCheckSecretFile(t *testing.T) {
	dir := t.TempDir()
	secret, file := filepath.Join(dir, "ssg.secret"), filepath.Join(dir, "agent.toml")
	text, err := os.ReadFile("../../configs/simulator.toml")
	if err != nil {
		t.Fatal(err)
	}
	text = bytes.Replace(text, []byte(`{ env = "SSG_CLIENT_SECRET" }`), []byte(`{ file = "`+secret+`" }`), 1)
	if err := errors.Join(os.WriteFile(secret, []byte(testSecret), 0o600), os.WriteFile(file, text, 0o600), os.Chmod(secret, 0o644)); err != nil {
		t.Fatal(err)
	}
	code, stdout, stderr := checkAgent("check", "-c", file)
	if code != 0 || !strings.Contains(stdout, "1 warning") || !strings.Contains(stderr, "has mode 0644") || !strings.Contains(stderr, "chmod 600 "+secret) {
		t.Errorf("exit code %d\n%s\n%s", code, stdout, stderr)
	}
	if strings.Contains(stdout+stderr, testSecret) {
		t.Error("shows the secret")
	}
	c, _, err := loadConfig(file, false)
	if err != nil {
		t.Fatal(err)
	}
	if got := c.Providers[0].ClientSecret.Value.Reveal(); got != testSecret {
		t.Errorf("the secret is %q", got)
	}
}
