package main

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/ssg-safe/agent/fleet/wire"
	"github.com/ssg-safe/agent/providers"
)

// TestSettingsView: the menu's view of every example has no secret, key or document,
// and names the hosts.
func TestSettingsView(t *testing.T) {
	for _, path := range examples(t) {
		c, f := loadExample(t, path, unchanged)
		if err := f.Err(); err != nil {
			t.Fatal(err)
		}
		var hiding []string
		hidden(reflect.ValueOf(c), false, func(value string) {
			if len(value) > 7 { // shorter ones are cities and states, which zones have in their names
				hiding = append(hiding, value)
			}
		})
		if len(hiding) < 3 {
			t.Errorf("%s: only %d values are hidden", path, len(hiding))
		}
		for _, words := range []*inspectWords{&inspectPortuguese, &inspectEnglish} {
			i := &inspector{front: &front{cfg: c}, texts: words}
			text := fmt.Sprintf("%+v", i.settings())
			for _, value := range hiding {
				if strings.Contains(text, value) {
					t.Errorf("%s: the view holds %q", path, value)
				}
			}
			for _, want := range []string{c.Merchants[0].Name, c.Providers[0].Name, c.Data} {
				if !strings.Contains(text, want) {
					t.Errorf("%s: no %q in %s", path, want, text)
				}
			}
		}
	}
	for address, want := range map[string]string{
		"https://user:password@pix.example.com/v2?token=x": "pix.example.com", "ssl://mqtt.example.com:8883": "mqtt.example.com:8883", "": "–", "::": "–",
	} {
		if got := hostOf(address); got != want {
			t.Errorf("%s: got %s", address, got)
		}
	}
}

// TestInspectWords: each language has every word.
func TestInspectWords(t *testing.T) {
	for _, words := range []inspectWords{inspectPortuguese, inspectEnglish} {
		v := reflect.ValueOf(words)
		for i := range v.NumField() {
			if v.Field(i).IsZero() {
				t.Errorf("no word for %s", v.Type().Field(i).Name)
			}
		}
	}
	if len(inspectPortuguese.health) != len(inspectEnglish.health) || len(inspectPortuguese.quality) != len(inspectEnglish.quality) {
		t.Error("a language has fewer words")
	}
	sources, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	checks := map[string]bool{}
	for _, path := range sources {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`\bd\.add\("([a-z]+)"`).FindAllSubmatch(text, -1) {
			checks[string(m[1])] = true
		}
	}
	if len(checks) < 13 {
		t.Errorf("only %d checks of doctor were found", len(checks))
	}
	for name := range checks {
		if inspectPortuguese.checks[name] == "" || inspectEnglish.checks[name] == "" {
			t.Errorf("no words for doctor's check %s", name)
		}
	}
	for k := providers.Invalid; k.String() != ""; k++ {
		if pt, en := inspectPortuguese.why[k.String()], inspectEnglish.why[k.String()]; pt == "" || en == "" || pt == en {
			t.Errorf("a provider that is out for %s: %q, %q", k, pt, en)
		}
	}
	for _, h := range []wire.Hold{wire.HoldEpoch, wire.HoldFork} {
		if pt, en := inspectPortuguese.holds[h], inspectEnglish.holds[h]; pt == "" || en == "" || pt == en {
			t.Errorf("a hub that holds for %s: %q, %q", h, pt, en)
		}
	}
	for _, q := range []string{"unsynced", "floor", "synced", "anchored"} {
		if inspectEnglish.quality[q] == "" {
			t.Errorf("no word for a clock that is %s", q)
		}
	}
}
