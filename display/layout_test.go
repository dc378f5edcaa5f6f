package display

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/quick"
	"time"
	"unicode/utf8"

	"github.com/ssg-safe/agent/money"
)

// extreme is a View with the longest of everything.
func extreme(s State) View {
	v := sample(s)
	v.Amount, v.Min, v.Max = 9_999_999_999_99, 1_000_000_000_00, 9_999_999_999_98
	v.Payee = strings.Repeat("Ação Ç ", 30)
	v.Reference = strings.Repeat("W", 80)
	v.Remaining, v.Total = 99*time.Hour, 100*time.Hour
	v.At, v.Printed, v.ErrorCode = noon, true, ErrCode
	v.Status = Status{Warn, Warn, Warn, 99_999, Unfound{Count: 1000, Sum: 9_999_999_999_99, Age: 9000 * time.Hour}}
	v.Offline, v.Released = true, true
	return v
}

// TestNothingIsCutOff composes every screen, in every language, at every size
// from the smallest on.
func TestNothingIsCutOff(t *testing.T) {
	var views []View
	for _, state := range states() {
		views = append(views, sample(state), extreme(state))
		if state == Error || state == Unavailable {
			for code := range portuguese.faults {
				v := sample(state)
				v.ErrorCode = code
				views = append(views, v)
			}
		}
	}
	// Codes that are not shown: too large, and none at all.
	for _, printed := range []bool{false, true} {
		v := extreme(QR)
		v.Code, v.Printed = "", printed
		views = append(views, v)
	}
	var c canvas
	portuguese, english := testPainter("pt-BR"), testPainter("en")
	for h := minRows; h <= 60; h += 1 + h/6 {
		for w := minCols; w <= 140; w += 1 + w/9 {
			for _, v := range views {
				for _, p := range []*painter{portuguese, english} {
					p.demo = true
					p.plan = portuguese.plan // the symbol is the same
					c.reset(w, h)
					p.paint(&c, v, moment{now: noon})
					if len(c.cut) > 0 {
						t.Fatalf("%s at %dx%d: cut off: %q\n%s", v.State, w, h, c.cut, text(&c))
					}
				}
			}
		}
	}
}

// TestCutIsNoticed is the fault by which the test above has to fail.
func TestCutIsNoticed(t *testing.T) {
	var c canvas
	for _, draw := range []func(){
		func() { c.put(5, 0, 20, line{{"hello", base}}) },
		func() { c.put(0, 0, 4, line{{"hello", base}}) },
		func() { c.put(0, 3, 9, line{{"hello", base}}) },
		func() { c.lines(rect{0, 0, 9, 1}, left, []line{{{"a", base}}, {{"b", base}}}) },
		func() { c.lines(rect{0, 0, 4, 3}, centre, []line{{{"hello", base}}}) },
	} {
		c.reset(9, 3)
		draw()
		if len(c.cut) != 1 {
			t.Errorf("got %q cut, want one text", c.cut)
		}
	}
}

// text is a canvas as text.
func text(c *canvas) string {
	var b strings.Builder
	for i, cell := range c.cells {
		b.WriteRune(cell.r)
		if (i+1)%c.w == 0 {
			b.WriteByte('\n')
		}
	}
	return b.String()
}

// TestAnySizeIsSafe paints at sizes below the smallest, and absurd ones.
func TestAnySizeIsSafe(t *testing.T) {
	var c canvas
	p := testPainter("")
	for _, state := range states() {
		v := sample(state)
		for h := range minRows + 2 {
			for w := range minCols + 2 {
				c.reset(w, h)
				p.paint(&c, v, moment{now: noon})
			}
		}
		for _, size := range [][2]int{{0, 0}, {1, 500}, {500, 1}, {500, 300}} {
			c.reset(size[0], size[1])
			p.paint(&c, v, moment{now: noon})
		}
	}
}

// consoleGlyphs is what the recommended console fonts (Vietnamese-Terminus*)
// have beside ASCII and the letters of Portuguese.
const consoleGlyphs = "áàâãéêíóôõúüçÁÀÂÃÉÊÍÓÔÕÚÜÇºª\u00a0·" + "█▀▄░■●▲×↑←√"

// TestGlyphsOfTheConsole: a screen uses no character that the console's font
// lacks.
func TestGlyphsOfTheConsole(t *testing.T) {
	var c canvas
	for _, lang := range []string{"pt-BR", "en"} {
		p := testPainter(lang)
		p.demo = true
		for _, state := range states() {
			for _, size := range sizes {
				c.reset(size.w, size.h)
				p.paint(&c, sample(state), moment{now: noon})
				for _, cell := range c.cells {
					if (cell.r < ' ' || cell.r > '~') && !strings.ContainsRune(consoleGlyphs, cell.r) {
						t.Errorf("%s %s: %q (%U) is not in the console's font", lang, state, cell.r, cell.r)
					}
				}
			}
		}
	}
}

// TestTextsAreComplete: no language lacks a text, an error code or a glyph of
// its large word.
func TestTextsAreComplete(t *testing.T) {
	codes := []string{
		ErrNetwork, ErrProvider, ErrCode, ErrPayerData, ErrUncertain, ErrMismatch, ErrStorage, ErrFull,
		ErrPrinter, ErrFit, ErrClock, ErrInternal,
	}
	for name, texts := range map[string]*texts{"pt-BR": &portuguese, "en": &english} {
		v := reflect.ValueOf(texts).Elem()
		for i := range v.NumField() {
			if v.Field(i).IsZero() {
				t.Errorf("%s: %s is empty", name, v.Type().Field(i).Name)
			}
		}
		if len(texts.faults) != len(codes) {
			t.Errorf("%s: got %d faults, want %d", name, len(texts.faults), len(codes))
		}
		for _, c := range codes {
			if f := texts.faults[c]; f.what == "" || f.do == "" {
				t.Errorf("%s: %s says %+v, want a sentence and what to do", name, c, f)
			}
		}
		if large.spell(texts.paidWord) == nil {
			t.Errorf("%s: %q cannot be set in large letters", name, texts.paidWord)
		}
	}
	if locale("en-GB") != &english || locale("") != &portuguese || locale("xx") != &portuguese {
		t.Error("locale: want English for en-GB, Portuguese for the rest")
	}
}

// TestFontsAreRectangles: a row too short would shift every glyph after it.
func TestFontsAreRectangles(t *testing.T) {
	for _, f := range []font{large, small, {'t': tick, 'x': cross, '!': exclamation}} {
		height := 0
		for r, rows := range f {
			if height == 0 {
				height = len(rows)
			}
			if len(rows) != height {
				t.Errorf("%q has %d rows, others %d", r, len(rows), height)
			}
			for _, row := range rows {
				if len(row) != len(rows[0]) {
					t.Errorf("%q: row %q is not %d wide", r, row, len(rows[0]))
				}
			}
		}
	}
}

// TestAmountsAreDrawnExactly reads large figures back by their glyphs: whatever
// the amount, the width and the scale, they spell what money says.
func TestAmountsAreDrawnExactly(t *testing.T) {
	check := func(cents uint32, width, level uint8) bool {
		a := money.Amount(cents)
		w, scale := 12+int(width)%150, int(level)%4
		rows := price(a.BRL(), w, scale)
		if rows == nil {
			return true
		}
		for _, row := range rows {
			if utf8.RuneCountInString(row) > w {
				t.Logf("%v: %d columns of %d", a, utf8.RuneCountInString(row), w)
				return false
			}
		}
		want := strings.TrimPrefix(a.BRL(), "R$\u00a0")
		got := readFigures(rows)
		if got != want {
			t.Logf("%v in %d columns at scale %d reads %q\n%s", a, w, scale, got, strings.Join(rows, "\n"))
		}
		return got == want
	}
	if err := quick.Check(check, &quick.Config{MaxCount: 2000}); err != nil {
		t.Error(err)
	}
}

// readFigures finds the glyphs from the right, at any scale, until something
// else comes.
func readFigures(rows []string) string {
	px := make([][]bool, 2*len(rows))
	width := 0
	for y, row := range rows {
		for _, r := range row {
			px[2*y] = append(px[2*y], r == '█' || r == '▀')
			px[2*y+1] = append(px[2*y+1], r == '█' || r == '▄')
		}
		width = max(width, utf8.RuneCountInString(row))
	}
	best := ""
	for _, f := range []font{large, small} {
		for scale := 1; scale <= 3; scale++ {
			for top := 0; top <= 2; top += 2 {
				out := ""
				for x := width; x > 0; {
					r, w := match(px, f, scale, x, top)
					if r == 0 {
						break
					}
					out = string(r) + out
					x -= w + scale
				}
				if len(out) > len(best) {
					best = out
				}
			}
		}
	}
	return best
}

// match finds the digit or separator that ends at column end.
func match(px [][]bool, f font, scale, end, top int) (rune, int) {
	for _, r := range "0123456789,." {
		g := f[r]
		w := len(g[0]) * scale
		if end < w {
			continue
		}
		same := true
		for y := range len(g) * scale {
			for x := range w {
				want := g[y/scale][x/scale] == '#'
				got := top+y < len(px) && end-w+x < len(px[top+y]) && px[top+y][end-w+x]
				same = same && got == want
			}
		}
		if same {
			return r, w
		}
	}
	return 0, 0
}

func TestCountdown(t *testing.T) {
	for _, tc := range []struct {
		d    time.Duration
		want string
	}{
		{-time.Second, "00:00"},
		{0, "00:00"},
		{1, "00:01"},
		{time.Second, "00:01"},
		{59*time.Second + 1, "01:00"},
		{271 * time.Second, "04:31"},
		{99 * time.Minute, "99:00"},
		{1000 * time.Hour, "99:59"},
	} {
		if got := countdown(tc.d); got != tc.want {
			t.Errorf("countdown(%v): got %s, want %s", tc.d, got, tc.want)
		}
	}
}

// TestAnimationSteps: the next picture is due exactly when the screen would look
// different, and never more than four times a second.
func TestAnimationSteps(t *testing.T) {
	v := View{State: QR, Remaining: 10 * time.Second, Total: 10 * time.Second}
	for _, tc := range []struct {
		view    View
		elapsed time.Duration
		want    time.Duration
	}{
		{v, 0, time.Second},
		{v, time.Nanosecond, time.Second - time.Nanosecond},
		{v, 300 * time.Millisecond, 700 * time.Millisecond},
		{v, 9 * time.Second, time.Second},
		{v, 10 * time.Second, time.Minute},
		{v, time.Hour, time.Minute},
		{View{State: Creating}, 0, frame},
		{View{State: Verifying}, 260 * time.Millisecond, 240 * time.Millisecond},
		{View{State: Starting}, 0, frame},
		{View{State: Starting, Progress: 3}, 0, time.Minute},
		{View{State: Idle}, 0, time.Minute},
		{View{State: Paid}, 12345, time.Minute},
	} {
		if got := animated(tc.view, moment{elapsed: tc.elapsed, now: noon}); got != tc.want {
			t.Errorf("%v after %v: got %v, want %v", tc.view.State, tc.elapsed, got, tc.want)
		}
	}
}

func TestWrapBalanceAndShorten(t *testing.T) {
	for _, tc := range []struct {
		s    string
		w    int
		want []string
	}{
		{"um dois três", 8, []string{"um dois", "três"}},
		{"R$\u00a01,00 ou mais", 8, []string{"R$\u00a01,00", "ou mais"}},
		{"abcdefghij k", 4, []string{"abcd", "efgh", "ij k"}},
		{"", 4, []string{""}},
	} {
		if got := wrap(tc.s, tc.w); !slices.Equal(got, tc.want) {
			t.Errorf("wrap(%q, %d): got %q, want %q", tc.s, tc.w, got, tc.want)
		}
	}
	for _, tc := range []struct {
		s    string
		w    int
		want []string
	}{
		{"um dois três quatro", 15, []string{"um dois", "três quatro"}},
		{"um dois três", 20, []string{"um dois três"}},
		{"abcdefghij k", 10, []string{"abcdefghij", "k"}}, // no word is broken for it
		{"abcdefghij k", 4, []string{"abcd", "efgh", "ij k"}},
		{"", 4, []string{""}},
	} {
		if got := balance(tc.s, tc.w); !slices.Equal(got, tc.want) {
			t.Errorf("balance(%q, %d): got %q, want %q", tc.s, tc.w, got, tc.want)
		}
	}
	for _, tc := range []struct {
		s    string
		w    int
		want string
	}{{"Padaria", 7, "Padaria"}, {"Padaria Pão", 10, "Padaria..."}, {"Padaria", 2, "Pa"}, {"x", 0, ""}} {
		if got := shorten(tc.s, tc.w); got != tc.want {
			t.Errorf("shorten(%q, %d): got %q, want %q", tc.s, tc.w, got, tc.want)
		}
	}
}

// FuzzForeignText paints what providers and operators send: nothing may escape
// its line, move the cursor or break the layout.
func FuzzForeignText(f *testing.F) {
	for _, s := range []string{
		"Padaria Pão Quente", "Sa\u0303o Joa\u0303o", "\x1b[2J\x1b[31mPAGO", "全角の名前です", "a\tb\r\nc", "\xff\xfe",
		"👍🏽👨‍👩‍👧", "\u202eoãsrever", "R\u00ad\u200bS", strings.Repeat("long ", 100), "",
	} {
		f.Add(s, s, s, uint8(0))
	}
	var c canvas
	f.Fuzz(func(t *testing.T, payee, reference, code string, size uint8) {
		at := sizes[int(size)%len(sizes)]
		for _, state := range []State{QR, Paid, Error} {
			v := sample(state)
			v.Payee, v.Reference, v.ErrorCode, v.Printed = payee, reference, code, true
			if state == QR {
				v.Code = "" // text only: the symbol has its own test
			}
			p := testPainter("")
			p.title = clean(payee)
			c.reset(at.w, at.h)
			p.paint(&c, v, moment{now: noon})
			if len(c.cut) > 0 {
				t.Fatalf("%s: cut off: %q", state, c.cut)
			}
			for _, cell := range c.cells {
				if cell.r < ' ' || cell.r == 0x7f || cell.r >= 0x80 && cell.r < 0xa0 || cell.r >= 0x250 && !strings.ContainsRune(consoleGlyphs+"–—‘’“”•€", cell.r) {
					t.Fatalf("%s: %U on the screen", state, cell.r)
				}
			}
		}
	})
}

func TestViewKeepsItsSecrets(t *testing.T) {
	v := sample(QR)
	for _, got := range []string{fmt.Sprint(v), fmt.Sprintf("%+v", v), fmt.Sprintf("%#v", v), fmt.Sprintf("%v", Drawn{View: v}), v.LogValue().String()} {
		if strings.Contains(got, v.Code) || strings.Contains(got, v.Payee) {
			t.Errorf("got %q: code or payee in it", got)
		}
	}
}
