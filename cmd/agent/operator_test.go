package main

import (
	"bytes"
	"context"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/creack/pty"

	"github.com/ssg-safe/agent/internal/config"
	"github.com/ssg-safe/agent/operator"
	"github.com/ssg-safe/agent/operator/pin"
	"github.com/ssg-safe/agent/redact"
)

func hashPIN(t *testing.T, stdin string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = run(t.Context(), &globals{stdin: strings.NewReader(stdin), stdout: &out, stderr: &errs}, []string{"operator", "hash"})
	return code, out.String(), errs.String()
}

func TestOperatorHash(t *testing.T) {
	for _, end := range []string{"", "\n", "\r\n"} {
		code, stdout, stderr := hashPIN(t, "407193"+end)
		h, err := pin.Parse(redact.Secret(strings.TrimSuffix(stdout, "\n")))
		if code != 0 || stderr != "" || err != nil || !h.Verify("407193") || h.Weak() != "" {
			t.Errorf("exit code %d, %v, %s", code, err, stderr)
		}
	}
	for in, want := range map[string]string{
		"": "there is no PIN", "1234\n": "4 digits", "111111\n": "repeats digits", "123456\n": "counts", "25031986\n": "a date",
		"407193 \n": "other characters", strings.Repeat("4", 5000): "digits",
	} {
		code, stdout, stderr := hashPIN(t, in)
		if code != 2 || stdout != "" || !strings.Contains(stderr, want) {
			t.Errorf("%.20q: exit code %d, %q, %q", in, code, stdout, stderr)
		}
	}
	if code, _, stderr := runMain(t, "operator"); code != 2 || !strings.Contains(stderr, "which of its commands") {
		t.Errorf("exit code %d, %s", code, stderr)
	}
}

// TestOperatorHashOnTerminal: a PIN is asked for twice and never echoed.
func TestOperatorHashOnTerminal(t *testing.T) {
	for _, tc := range []struct {
		typed, want string
		code        int
	}{
		{"407193\n407193\n", "", 0},
		{"407193\n407194\n", "not the same", 2},
		{"123456\n", "counts", 2},
	} {
		ours, tty, err := pty.Open()
		if err != nil {
			t.Fatal(err)
		}
		echo := make(chan string, 1)
		go func() {
			all, _ := io.ReadAll(ours) // ends with an error when the other side is closed
			echo <- string(all)
		}()
		var out bytes.Buffer
		prompts, typing := io.Pipe()
		go func() { // each line only when it is asked for: echo is off by then
			defer prompts.Close()
			buf := make([]byte, 64)
			for line := range strings.Lines(tc.typed) {
				if _, err := prompts.Read(buf); err != nil {
					return
				}
				_, _ = io.WriteString(ours, line)
			}
			_, _ = io.Copy(io.Discard, prompts)
		}()
		var errs bytes.Buffer
		g := &globals{stdin: tty, stdout: &out, stderr: io.MultiWriter(&errs, typing)}
		code := run(context.WithoutCancel(t.Context()), g, []string{"operator", "hash"})
		typing.Close()
		tty.Close()
		got := <-echo
		ours.Close()
		if code != tc.code || !strings.Contains(errs.String(), tc.want) {
			t.Errorf("%q: exit code %d, %s", tc.typed, code, errs.String())
		}
		if strings.Contains(got, "7") {
			t.Errorf("the terminal shows what was typed: %q", got)
		}
		if code == 0 {
			if h, err := pin.Parse(redact.Secret(strings.TrimSpace(out.String()))); err != nil || !h.Verify("407193") {
				t.Errorf("the hash is not of the PIN: %v", err)
			}
		}
	}
}

func TestOperatorConfig(t *testing.T) {
	const quick = "$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHRzYWx0c2FsdA$uet19jfoemc+4zcuzYy1sFwfZnYXqyzyG6klLVwPjLc"
	base, err := os.ReadFile("../../configs/simulator.toml")
	if err != nil {
		t.Fatal(err)
	}
	decode := func(text string) (Config, *config.File) {
		return decodeConfig("f.toml", append(bytes.Clone(base), text...), map[string]string{"SSG_CLIENT_SECRET": testSecret, "PIN": demoHash})
	}
	table := func(id, role, pin string) string {
		return "\n[[operator]]\nid = \"" + id + "\"\nname = \"Maria\"\nrole = \"" + role + "\"\npin = " + pin + "\n"
	}
	inline := `"` + demoHash + `"`
	for text, want := range map[string]string{
		"":                                "",
		table("12", "supervisor", inline): "",
		table("0", "attendant", `{ env = "PIN" }`):                            "",
		table("12", "supervisor", inline) + table("13", "technician", inline): "",
		table("12", "boss", inline):                                           "operator[0].role: ",
		table("twelve", "attendant", inline):                                  "operator[0].id: is no number of 1 to 6 digits",
		table("1234567", "attendant", inline):                                 "operator[0].id: is no number of 1 to 6 digits",
		table("12", "attendant", inline) + table("12", "attendant", inline):   "operator[1].id: is that of operator[0] already",
		table("12", "attendant", `"407193"`):                                  "operator[0].pin: is no argon2id hash in PHC form",
		table("12", "attendant", `""`):                                        "operator[0].pin: ",
		table("12", "attendant", `407193`):                                    "operator[0].pin: ",
		table("12", "attendant", `"`+quick+`"`):                               "operator[0].pin: the hash is quick to try",
	} {
		c, f := decode(text)
		var got []string
		for _, p := range f.Problems() {
			got = append(got, p.Path+": "+p.Message)
			for _, secret := range []string{"407193", "c2FsdHNhbHRzYWx0c2FsdA", "uet19jfo"} {
				if strings.Contains(p.String(), secret) {
					t.Errorf("the problem shows the hash or a PIN: %s", p)
				}
			}
		}
		switch {
		case want == "" && len(got) > 0, want != "" && (len(got) != 1 || !strings.HasPrefix(got[0], want)):
			t.Errorf("%s: got %v, want %q", text, got, want)
		case want == "" && len(c.operators()) != strings.Count(text, "[[operator]]"):
			t.Errorf("%s: operators %v", text, c.operators())
		}
		for _, o := range c.operators() {
			if want == "" && (!o.PIN.Verify("407193") || !o.Role.May(operator.Slips)) {
				t.Errorf("%s: the operator is %+v", text, o)
			}
		}
	}
	c, f := decode(strings.ReplaceAll(table("12", "attendant", inline), "[[operator]]", "[display]\nkind = \"none\"\n[[operator]]"))
	if ps := f.Problems(); len(ps) != 1 || ps[0].Severity != config.Warning || len(c.operators()) != 1 {
		t.Errorf("operators without a screen: %v", ps)
	}
}
