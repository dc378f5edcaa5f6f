package display

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gdamore/tcell/v2"
	"github.com/google/go-cmp/cmp"

	_ "github.com/ssg-safe/agent/internal/bubbles"
	"github.com/ssg-safe/agent/pix"
)

var update = flag.Bool("update", false, "write the golden files")

// sizes are the consoles that the screens are made for: 80x25, 800x480 and
// 1024x600 panels with an 8x16 font, a 480x800 panel upright.
var sizes = []struct {
	name string
	w, h int
}{{"80x25", 80, 25}, {"100x30", 100, 30}, {"128x37", 128, 37}, {"60x50", 60, 50}}

// noon is the wall clock of the tests.
var noon = time.Date(2026, 3, 9, 12, 0, 0, 0, time.FixedZone("BRT", -3*60*60))

// brCode is a static code with a CNPJ key, an amount and a 25-character txid.
func brCode() string {
	code, err := pix.Static{
		Key: "11222333000181", Name: "COFRE TESTE LTDA", City: "SAO PAULO",
		Amount: 123456, TxID: "A1B2C3D4E5F6G7H8J9K0M1N2P",
	}.Encode()
	if err != nil {
		panic(err)
	}
	return code
}

// sample is a typical View of a state.
func sample(s State) View {
	v := View{
		State: s, Charge: "A1B2C3D4E5F6G7H8J9K0M1N2P", Amount: 123456, Min: 100, Max: 500000,
		Payee: "Cofre Teste Ltda", Reference: "NSU 000123",
		Status: Status{Network: OK, Printer: Warn, Clock: OK, Pending: 12},
	}
	switch s {
	case Starting:
		v = View{State: s, Progress: 42}
	case Idle:
		v = View{State: s, Status: v.Status}
	case QR:
		v.Code, v.Remaining, v.Total = brCode(), 271*time.Second, 300*time.Second
	case Paid:
		v.At, v.Printed = noon.Add(125*time.Second), true
	case Held:
		v.Status.Pending, v.Status.Unfound = 0, Unfound{Count: 3, Sum: 370368, Age: 125 * time.Minute}
	case Expired, Cancelled:
		v.Printed = true
	case Error, Unavailable:
		v.ErrorCode = ErrProvider
	}
	return v
}

// testOptions are the options of all screens in tests.
func testOptions() Options {
	return Options{
		Title: "Padaria Pão Quente · Terminal 0001", Support: "0800 123 4567",
		Now: func() time.Time { return noon },
	}
}

// testPainter paints as a Display with testOptions does.
func testPainter(lang string) *painter {
	o := testOptions()
	return &painter{t: locale(lang), title: o.Title, support: o.Support, coloured: true}
}

// simulation is a screen of the given size, ready for Options.Screen.
func simulation(t testing.TB, w, h int) tcell.SimulationScreen {
	t.Helper()
	s := tcell.NewSimulationScreen("UTF-8")
	if err := s.Init(); err != nil {
		t.Fatal(err)
	}
	s.SetSize(w, h)
	return s
}

// started runs d until the test's end, inside a synctest bubble.
func started(t *testing.T, d *Display) {
	t.Helper()
	done := make(chan error, 1)
	go func() { done <- d.Run(t.Context()) }()
	t.Cleanup(func() {
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	synctest.Wait()
}

// picture is a screen as it was at one moment.
type picture struct {
	w, h  int
	cells []tcell.SimCell
}

func snapshot(s tcell.SimulationScreen) picture {
	cells, w, h := s.GetContents()
	return picture{w, h, append([]tcell.SimCell(nil), cells...)}
}

// shoot shows v on a screen of that size and returns the picture and the
// report.
func shoot(t *testing.T, o Options, v View, w, h int) (picture, Drawn) {
	t.Helper()
	var p picture
	var drawn []Drawn
	synctest.Test(t, func(t *testing.T) {
		screen := simulation(t, w, h)
		o.Screen = screen
		o.Drawn = func(d Drawn) { drawn = append(drawn, d) }
		d := New(o)
		d.Show(v)
		started(t, d)
		p = snapshot(screen)
	})
	if len(drawn) != 1 {
		t.Fatalf("got %d reports, want 1", len(drawn))
	}
	return p, drawn[0]
}

// String is the text of the screen, without the spaces at the ends of lines.
func (p picture) String() string {
	var b strings.Builder
	for y := range p.h {
		var l strings.Builder
		for x := range p.w {
			l.WriteString(string(p.cells[y*p.w+x].Runes))
		}
		b.WriteString(strings.TrimRight(l.String(), " ") + "\n")
	}
	return b.String()
}

// roles is the screen as one letter a cell for its role.
func (p picture) roles() string {
	names := map[tcell.Style]byte{}
	for r, style := range newTheme(256) {
		if _, ok := names[style]; !ok {
			names[style] = ".dSAGWBHYKC"[r]
		}
	}
	var b strings.Builder
	for y := range p.h {
		for x := range p.w {
			n, ok := names[p.cells[y*p.w+x].Style]
			if !ok {
				n = '!'
			}
			b.WriteByte(n)
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// golden compares got with a file of testdata/screens.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
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

// states lists every screen, in the order of a payment.
func states() []State {
	return []State{
		Starting, Idle, Amount, Creating, QR, Elsewhere, Verifying, Paid, Held, Expired, Cancelled, Error, Unavailable,
	}
}
