package main

import (
	"bytes"
	"context"
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ssg-safe/agent/hub"
	"github.com/ssg-safe/agent/payout"
)

// verbs are the places in a text where a value goes.
var verbs = regexp.MustCompile(`%[a-z]|\t`)

// TestWords: whatever is said has its Portuguese, with the same values in it; nothing is
// in the table that nobody says.
func TestWords(t *testing.T) {
	said := map[string]bool{"no payouts": true, "no refunds": true}
	for _, s := range []payout.State{payout.Proposed, payout.Approved, payout.Rejected, payout.Submitting, payout.Unknown, payout.Processing, payout.Settled, payout.Failed, payout.Returned} {
		said[string(s)] = true
	}
	for _, word := range []string{
		string(hub.WebhookWaiting), string(hub.WebhookMatched), string(hub.WebhookUnmatched), string(hub.Waiting), string(hub.Done), string(hub.Refused), string(hub.Expired),
		"info", "warn", "alarm", "yes", "no", "new", "revoked", "forked", "epoch", "erased",
	} {
		said[word] = true
	}
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range files {
		if strings.HasSuffix(path, "_test.go") || path == "text.go" {
			continue
		}
		tree, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(tree, func(n ast.Node) bool {
			text := func(e ast.Expr) {
				if lit, ok := e.(*ast.BasicLit); ok && lit.Kind == token.STRING {
					s, err := strconv.Unquote(lit.Value)
					if err != nil {
						t.Fatal(err)
					}
					if s != "" && s != "%s" && s != "%s/%s" && s != "%s %d" {
						said[s] = true
					}
				}
			}
			switch n := n.(type) {
			case *ast.CallExpr:
				if f, ok := n.Fun.(*ast.SelectorExpr); ok && f.Sel.Name == "say" {
					text(n.Args[0])
				}
				if f, ok := n.Fun.(*ast.Ident); ok && f.Name == "row" {
					text(n.Args[0])
					text(n.Args[1])
				}
			case *ast.CompositeLit: // the rows of a table
				if list, ok := n.Type.(*ast.ArrayType); ok {
					if pair, ok := list.Elt.(*ast.ArrayType); ok && pair.Len != nil {
						for _, e := range n.Elts {
							text(e.(*ast.CompositeLit).Elts[0])
						}
					}
				}
			}
			return true
		})
	}
	for english := range said {
		text, ok := portuguese[english]
		if !ok {
			t.Errorf("%q has no Portuguese", english)
		} else if !slices.Equal(verbs.FindAllString(english, -1), verbs.FindAllString(text, -1)) {
			t.Errorf("%q and %q take other values", english, text)
		}
	}
	for english := range portuguese {
		if !said[english] {
			t.Errorf("nobody says %q", english)
		}
	}
}

// TestAlarmWords: every kind of alarm says in both languages what to do.
func TestAlarmWords(t *testing.T) {
	tree, err := parser.ParseFile(token.NewFileSet(), filepath.Join("..", "..", "hub", "alarm.go"), nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	kinds := 0
	ast.Inspect(tree, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || !strings.HasPrefix(spec.Names[0].Name, "Alarm") {
			return true
		}
		kinds++
		kind, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
		if err != nil {
			t.Fatal(err)
		}
		if a := alarmsPortuguese[kind]; a.what == "" || a.remedy == "" || alarmsEnglish[kind].remedy == "" {
			t.Errorf("%s has no words in text.go", kind)
		}
		return true
	})
	if kinds < 20 {
		t.Errorf("%d kinds were found", kinds)
	}
	for kind, english := range alarmsEnglish {
		if n := alarmsPortuguese[kind].remedy; strings.Count(english.remedy, "%s") != strings.Count(n, "%s") {
			t.Errorf("%s: the remedies take other values", kind)
		}
	}
	for kind, want := range map[string]string{
		"device.printer.jam": "o terminal relata: printer.jam", hub.AlarmGap: "ssg-hub device approve-gap kiosk-1", "of.tomorrow": "as it was recorded",
	} {
		for _, locale := range []string{localePT, localeEN} {
			a := (&globals{locale: locale}).advise(hub.Alarm{Kind: kind, Device: "kiosk-1", Text: "as it was recorded"})
			if text := a.what + " " + a.remedy; strings.Contains(text, "%") || locale == localePT && !strings.Contains(text, want) || locale == localeEN && a.what != "as it was recorded" {
				t.Errorf("%s in %s: %+v", kind, locale, a)
			}
		}
	}
}

// TestLocale: Portuguese unless the environment is English, and the flag above both;
// the running hub answers in the language of who asks, and JSON in none.
func TestLocale(t *testing.T) {
	for _, test := range []struct{ all, messages, lang, want string }{
		{"", "", "", localePT},
		{"", "", "pt_BR.UTF-8", localePT},
		{"", "", "en_US.UTF-8", localeEN},
		{"", "", "C.UTF-8", localePT},
		{"", "en_GB", "pt_BR", localeEN},
		{"pt_BR", "en_GB", "en_US", localePT},
	} {
		t.Setenv("LC_ALL", test.all)
		t.Setenv("LC_MESSAGES", test.messages)
		t.Setenv("LANG", test.lang)
		if got := envLocale(); got != test.want {
			t.Errorf("%+v: %s", test, got)
		}
	}
	data := t.TempDir()
	must(t, data, "keys", "make")
	enrol(t, data, 1, "kiosk-1")
	raise := func(d *desk) error {
		return d.update(t.Context(), func(tx hub.Tx) error {
			_, err := hub.Raise(tx, hub.Alarm{Device: "kiosk-1", Kind: hub.AlarmGap, Level: "alarm", Text: "the device cannot send it", Last: time.Now()})
			return err
		})
	}
	if err := (&globals{}).withDesk(t.Context(), data, raise); err != nil {
		t.Fatal(err)
	}
	ask := func(locale string, args ...string) string {
		t.Helper()
		var out, errs bytes.Buffer
		if code := run(context.WithoutCancel(t.Context()), &globals{stdout: &out, stderr: &errs, locale: locale, args: append(args, "--data", data)}); code != 0 {
			t.Fatalf("%q: exit code %d: %s", args, code, &errs)
		}
		return out.String()
	}
	look := func() {
		t.Helper()
		for _, test := range []struct {
			args   []string
			pt, en string
		}{
			{[]string{"alarms", "list"}, "alarme  kiosk-1  gap  x1\n  o terminal não pode enviar", "alarm  kiosk-1  gap  x1\n  the device cannot send it\n  do: restore"},
			{[]string{"device", "list"}, "TERMINAL", "DEVICE"},
			{[]string{"device", "show", "kiosk-1"}, "situação", "state"},
			{[]string{"payout", "list"}, "nenhum pagamento", "no payouts"},
			{[]string{"refund", "list"}, "nenhuma devolução", "no refunds"},
			{[]string{"webhook", "list"}, "nenhum webhook", "no webhooks"},
			{[]string{"payout", "verify"}, "em ordem: 0", "in order: 0"},
		} {
			pt, en := ask(localePT, test.args...), ask(localeEN, test.args...)
			if !strings.Contains(pt, test.pt) || !strings.Contains(en, test.en) || pt == en {
				t.Errorf("%q:\n%s\n%s", test.args, pt, en)
			}
			if got := ask(localeEN, append(slices.Clone(test.args), "--locale", localePT)...); got != pt {
				t.Errorf("%q by the flag:\n%s", test.args, got)
			}
			args := append(slices.Clone(test.args), "--json")
			pt, en = ask(localePT, args...), ask(localeEN, args...)
			if pt != en {
				t.Errorf("%q has a language:\n%s\n%s", args, pt, en)
			}
			for line := range strings.Lines(pt) {
				if !json.Valid([]byte(line)) {
					t.Errorf("%q: %s", args, line)
				}
			}
		}
		refused(t, "write pt-BR or en", "alarms", "list", "--locale", "pt", "--data", data)
	}
	look()
	startHub(t, data, "[listen]\naddress = \"127.0.0.1:0\"\n")
	look()
}
