package operator

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gdamore/tcell/v2"
	"github.com/google/go-cmp/cmp"

	"github.com/ssg-safe/agent/display"
	_ "github.com/ssg-safe/agent/internal/bubbles"
)

var update = flag.Bool("update", false, "write the golden files")

// pages are the keys that lead to every page there is, after the chord.
var pages = []struct{ name, keys string }{
	{"number", "2"},
	{"pin", "3E33"},
	{"checking", "3E9E"},
	{"wrong", "3E9E"},
	{"locked", "3E9E"},
	{"menu-attendant", "1E111E"},
	{"menu-supervisor", "2E222E"},
	{"menu-technician", "3E333E"},
	{"busy", "3E333E5"},
	{"slips", "3E333E1"},
	{"slips-2", "3E333E19"},
	{"slip-first", "3E333E11"},
	{"slip-copy", "3E333E12"},
	{"slip-printed", "3E333E12E"},
	{"waiting", "3E333E2"},
	{"waiting-2", "3E333E29"},
	{"merchants", "3E333E3"},
	{"day", "3E333E31"},
	{"day-2", "3E333E319"},
	{"day-3", "3E333E3199"},
	{"day-printed", "3E333E311"},
	{"day-close", "3E333E312"},
	{"day-closed", "3E333E312E"},
	{"letters", "3E333E4"},
	{"letter-unsure", "3E333E41"},
	{"letter-unprinted", "3E333E42"},
	{"letter-drop", "3E333E412"},
	{"letter-settled", "3E333E411"},
	{"sheet", "3E333E7"},
	{"sheet-2", "3E333E79"},
	{"sheet-3", "3E333E799"},
	{"fault", "3E333E1"},
	{"empty", "3E333E4"},
}

// reach leads a person to a page.
func reach(t *testing.T, lang, name, keys string) *display.Page {
	t.Helper()
	p := newPerson(nil)
	p.m = New(testConfig(lang))
	times := 1
	switch name {
	case "locked":
		times = 3
	case "checking", "busy":
		p.answer = func(w What) Answer {
			if _, ok := w.(Read); ok || name == "checking" {
				return nil
			}
			return p.sample(w)
		}
	case "fault", "empty":
		p.answer = func(w What) Answer {
			if _, ok := w.(Read); !ok {
				return p.sample(w)
			}
			if name == "empty" {
				return LetterList{}
			}
			return Refused{ErrSlipWaits}
		}
	}
	for range times {
		p.m.Close()
		p.keys(chordText + keys)
	}
	page := p.m.Page(p.up)
	if page == nil {
		t.Fatalf("%s: the menu is closed", name)
	}
	return page
}

// TestGoldenPages compares every page with its picture, on the smallest screen
// that is drawn and on a large one in Portuguese, on a middle one in English, and
// makes sure that nothing of it is missing.
func TestGoldenPages(t *testing.T) {
	for _, size := range []struct {
		lang string
		w, h int
	}{{"pt-BR", 36, 14}, {"pt-BR", 100, 30}, {"en", 36, 14}, {"en", 60, 50}} {
		for _, pg := range pages {
			t.Run(fmt.Sprintf("%s/%dx%d/%s", size.lang, size.w, size.h, pg.name), func(t *testing.T) {
				page := reach(t, size.lang, pg.name, pg.keys)
				got := shoot(t, size.lang, page, size.w, size.h)
				golden(t, fmt.Sprintf("%s/%dx%d/%s.txt", size.lang, size.w, size.h, pg.name), got)
				complete(t, page, got)
			})
		}
	}
}

// shoot draws a page on a terminal of that size.
func shoot(t *testing.T, lang string, page *display.Page, w, h int) string {
	t.Helper()
	var b strings.Builder
	synctest.Test(t, func(t *testing.T) {
		screen := tcell.NewSimulationScreen("UTF-8")
		if err := screen.Init(); err != nil {
			t.Fatal(err)
		}
		screen.SetSize(w, h)
		d := display.New(display.Options{Screen: screen, Locale: lang, Title: "Padaria São João", Now: func() time.Time { return noon }})
		d.Show(display.View{State: display.Operator, Page: page, Status: display.Status{Network: display.OK, Printer: display.Warn, Pending: 12}})
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- d.Run(ctx) }()
		synctest.Wait()
		cells, w, h := screen.GetContents()
		for y := range h {
			var l strings.Builder
			for x := range w {
				l.WriteString(string(cells[y*w+x].Runes))
			}
			b.WriteString(strings.TrimRight(l.String(), " ") + "\n")
		}
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return b.String()
}

// complete makes sure that all that a page says is on the screen; who is logged in
// may be missing.
func complete(t *testing.T, page *display.Page, screen string) {
	t.Helper()
	squeeze := func(s string) string { return strings.Join(strings.Fields(s), "") }
	shown := squeeze(screen)
	want := []string{page.Title, page.Notice, page.Typed}
	for _, l := range page.Lines {
		want = append(want, l.Name, l.Value)
	}
	for _, c := range append(page.Choices, page.Keys...) {
		want = append(want, c.Key+c.Does)
	}
	for _, text := range want {
		if !strings.Contains(shown, squeeze(text)) {
			t.Errorf("the screen lacks %q", text)
		}
	}
	if n := strings.Count(screen, "●"); page.Dots > 0 && n != page.Dots+1 { // one is the network's
		t.Errorf("%d dots, want %d", n-1, page.Dots)
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", "pages", name)
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v (write it with -update)", err)
	}
	if diff := cmp.Diff(strings.Split(got, "\n"), strings.Split(string(want), "\n")); diff != "" {
		t.Errorf("%s (-got +want):\n%s", path, diff)
	}
}

// TestEveryWord: each language has a word for everything.
func TestEveryWord(t *testing.T) {
	for _, lang := range []*texts{&portuguese, &english} {
		for v := Slips; v <= Examine; v++ {
			if lang.views[v] == "" || needs[v] == "" {
				t.Errorf("view %d has no name or no role", v)
			}
		}
		for _, r := range Roles() {
			if lang.roles[r] == "" {
				t.Errorf("role %s has no name", r)
			}
		}
		for k := keyNext; k <= keyMore; k++ {
			if lang.keyNames[k].Does == "" {
				t.Errorf("key %d has no name", k)
			}
		}
		if len(lang.faults) != len(portuguese.faults) || len(lang.slipKinds) != len(portuguese.slipKinds) {
			t.Error("a word is missing")
		}
	}
}

// TestChargeState: a charge that was paid says how much of that went back.
func TestChargeState(t *testing.T) {
	for want, s := range map[string]Slip{
		"pendente":           {Amount: 100},
		"paga":               {Amount: 100, Paid: true},
		"devolvida em parte": {Amount: 100, Paid: true, Refunded: 99},
		"devolvida":          {Amount: 100, Paid: true, Refunded: 100},
	} {
		if got := portuguese.chargeState(s); got != want {
			t.Errorf("%+v: %q, want %q", s, got, want)
		}
	}
}
