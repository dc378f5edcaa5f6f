package display

import (
	"bytes"
	"fmt"
	"image"
	"image/png"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gdamore/tcell/v2"
	"pgregory.net/rapid"

	"github.com/ssg-safe/agent/money"
	"github.com/ssg-safe/agent/pix"
	"github.com/ssg-safe/agent/pix/qr"
)

// failer is what a test and a rapid check have in common.
type failer interface {
	Helper()
	Fatal(args ...any)
	Fatalf(format string, args ...any)
}

// zbar reads the QR codes of a picture with an independent decoder. It fails
// the test where the decoder is missing; a picture without a code gives "".
func zbar(t failer, path string) string {
	t.Helper()
	bin, err := exec.LookPath("zbarimg")
	if err != nil {
		t.Fatal("zbarimg is missing: install Debian's zbar-tools")
	}
	var stderr bytes.Buffer
	cmd := exec.Command(bin, "-q", "--raw", "--nodbus", "-Sdisable", "-Sqrcode.enable", path)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	// Exit code 4 is "no code found".
	if err != nil && cmd.ProcessState.ExitCode() != 4 {
		t.Fatalf("zbarimg: %v: %s", err, &stderr)
	}
	return strings.TrimSuffix(string(out), "\n")
}

// render writes the screen as a picture in the colours of its cells, 4 by 8
// pixels each. Only blocks are drawn: other characters are noise to a decoder.
func (p picture) render(t failer, path string) {
	t.Helper()
	const cw, ch = 4, 8
	grey := func(c tcell.Color) byte {
		r, g, b := c.RGB()
		return byte((r + g + b) / 3)
	}
	img := image.NewGray(image.Rect(0, 0, p.w*cw, p.h*ch))
	for i, cell := range p.cells {
		fg, bg, _ := cell.Style.Decompose()
		upper, lower := grey(bg), grey(bg)
		switch string(cell.Runes) {
		case "█":
			upper, lower = grey(fg), grey(fg)
		case "▀":
			upper = grey(fg)
		case "▄":
			lower = grey(fg)
		}
		for y := range ch {
			shade := upper
			if y >= ch/2 {
				shade = lower
			}
			at := img.PixOffset(i%p.w*cw, i/p.w*ch+y)
			for x := range cw {
				img.Pix[at+x] = shade
			}
		}
	}
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := (&png.Encoder{CompressionLevel: png.BestSpeed}).Encode(f, img); err != nil {
		t.Fatal(err)
	}
}

// symbol finds the code's cells on a canvas: their box, and an error unless it
// is a whole square of them.
func symbol(c *canvas) (rect, error) {
	box := rect{c.w, c.h, 0, 0}
	right, bottom, n := -1, -1, 0
	for i, cell := range c.cells {
		if cell.role != code {
			continue
		}
		x, y := i%c.w, i/c.w
		box.x, box.y = min(box.x, x), min(box.y, y)
		right, bottom = max(right, x), max(bottom, y)
		n++
	}
	if n == 0 {
		return rect{}, nil
	}
	box.w, box.h = right-box.x+1, bottom-box.y+1
	if n != box.w*box.h {
		return box, fmt.Errorf("%d cells of a code in a box of %dx%d", n, box.w, box.h)
	}
	if box.h != (box.w+1)/2 {
		return box, fmt.Errorf("the box is %dx%d, not square", box.w, box.h)
	}
	return box, nil
}

// quietZone is the number of light modules around the symbol in box, on its
// worst side.
func quietZone(c *canvas, box rect) int {
	light := func(x, y int) bool { // y in modules
		r := c.cells[(box.y+y/2)*c.w+box.x+x].r
		return r == '█' || r == '▀' && y%2 == 0 || r == '▄' && y%2 == 1
	}
	for q := 0; ; q++ {
		for i := q; i < box.w-q; i++ {
			if !light(i, q) || !light(i, box.w-1-q) || !light(q, i) || !light(box.w-1-q, i) {
				return q
			}
		}
		if q > box.w/2 {
			return q
		}
	}
}

// TestEveryCodeIsReadBack: whatever the payload and the size of the screen, a
// code on the screen is read back from the cells, exactly; and where Drawn says
// that there is none, there is not a cell of one.
func TestEveryCodeIsReadBack(t *testing.T) {
	dir := t.TempDir()
	shown, refused := 0, 0
	rapid.Check(t, func(rt *rapid.T) {
		v := sample(QR)
		v.Code = rapid.StringMatching(`[0-9]{4}[ -~]{96,196}`).Draw(rt, "code")
		v.Amount = money.Amount(rapid.Int64Range(1, 99_999_999).Draw(rt, "amount"))
		w, h := rapid.IntRange(20, 160).Draw(rt, "columns"), rapid.IntRange(10, 60).Draw(rt, "rows")
		v.Printed = rapid.Bool().Draw(rt, "printed")

		var c canvas
		c.reset(w, h)
		p := testPainter("")
		qr := p.paint(&c, v, moment{now: noon})
		box, err := symbol(&c)
		if err != nil {
			rt.Fatal(err)
		}
		if !qr {
			if box.w > 0 {
				rt.Fatalf("cells of a code on the screen, and Drawn.QR is false")
			}
			refused++
			return
		}
		if q := quietZone(&c, box); q < 2 || q > 5 {
			rt.Fatalf("quiet zone of %d modules", q)
		}
		pic, drawn := shoot(t, testOptions(), v, w, h)
		if !drawn.QR {
			rt.Fatal("Drawn.QR is false")
		}
		path := filepath.Join(dir, "screen.png")
		pic.render(rt, path)
		if got := zbar(rt, path); got != v.Code {
			rt.Fatalf("%dx%d: got %q, want %q", w, h, got, v.Code)
		}
		shown++
	})
	if shown < 10 || refused < 5 {
		t.Errorf("%d codes shown and %d refused: the sizes drawn are one-sided", shown, refused)
	}
}

// TestDecoderRefusesFaults shows that the property can fail: inverted, without
// quiet zone, cropped.
func TestDecoderRefusesFaults(t *testing.T) {
	v := sample(QR)
	dir := t.TempDir()
	pic, _ := shoot(t, testOptions(), v, 100, 30)
	good := filepath.Join(dir, "good.png")
	pic.render(t, good)
	if got := zbar(t, good); got != v.Code {
		t.Fatalf("got %q, want the code", got)
	}
	var c canvas
	c.reset(100, 30)
	testPainter("").paint(&c, v, moment{now: noon})
	box, err := symbol(&c)
	if err != nil {
		t.Fatal(err)
	}
	q := quietZone(&c, box)
	style := newTheme(256)[code]
	for name, spoil := range map[string]func(p picture, x, y int){
		"inverted": func(p picture, x, y int) {
			fg, bg, _ := style.Decompose()
			p.cells[y*p.w+x].Style = style.Foreground(bg).Background(fg)
		},
		"without quiet zone": func(p picture, x, y int) {
			if x < box.x+q || x >= box.x+box.w-q || y < box.y+q/2 || y >= box.y+box.h-q/2 {
				p.cells[y*p.w+x].Runes = []rune{' '}
			}
		},
		"cropped": func(p picture, x, y int) {
			if y > box.y+box.h*2/3 {
				p.cells[y*p.w+x].Runes = []rune{' '}
			}
		},
	} {
		pic, _ := shoot(t, testOptions(), v, 100, 30)
		for y := box.y; y < box.y+box.h; y++ {
			for x := box.x; x < box.x+box.w; x++ {
				spoil(pic, x, y)
			}
		}
		path := filepath.Join(dir, "bad.png")
		pic.render(t, path)
		if got := zbar(t, path); got != "" {
			t.Errorf("%s: got %q, want nothing read", name, got)
		}
	}
}

// TestSymbolNoticesFaults is the same for the look at the cells.
func TestSymbolNoticesFaults(t *testing.T) {
	var c canvas
	fresh := func() rect {
		c.reset(100, 30)
		testPainter("").paint(&c, sample(QR), moment{now: noon})
		box, err := symbol(&c)
		if err != nil || quietZone(&c, box) != 4 {
			t.Fatalf("got a box of %+v, quiet zone %d, %v", box, quietZone(&c, box), err)
		}
		return box
	}
	box := fresh()
	c.cells[(box.y+5)*c.w+box.x+5] = cell{'x', base}
	if _, err := symbol(&c); err == nil {
		t.Error("a text over the symbol went unnoticed")
	}
	box = fresh()
	c.cells[box.y*c.w+box.x+9].r = '▄'
	if got := quietZone(&c, box); got != 0 {
		t.Errorf("got a quiet zone of %d, want 0", got)
	}
}

// TestFitTable records where every kind of code goes on every screen: version,
// level, quiet zone and layout.
func TestFitTable(t *testing.T) {
	static := func(key, name, city, txid string, amount money.Amount) string {
		code, err := pix.Static{Key: key, Name: name, City: city, Amount: amount, TxID: txid}.Encode()
		if err != nil {
			t.Fatal(err)
		}
		return code
	}
	const upper, lower = "A1B2C3D4E5F6G7H8J9K0M1N2P", "a1b2c3d4e5f6g7h8j9k0m1n2p"
	const name, city = "COFRE TESTE LTDA", "SAO PAULO"
	const cpf, cnpj, evp = "52998224725", "11222333000181", "123e4567-e89b-12d3-a456-426614174000"
	codes := []struct{ name, code string }{
		{"static, CPF, no amount, no txid", static(cpf, name, city, "", 0)},
		{"static, CNPJ, amount, no txid", static(cnpj, name, city, "", 12345)},
		{"static, CNPJ, amount, upper txid", static(cnpj, name, city, upper, 12345)},
		{"static, CNPJ, amount, lower txid", static(cnpj, name, city, lower, 12345)},
		{"static, EVP, amount, upper txid", static(evp, name, city, upper, 12345)},
		{"static, EVP, amount, lower txid", static(evp, name, city, lower, 12345)},
		{"static, EVP, longest name", static(evp, "COMERCIO DE TESTE COMPLET", "SAO JOSE DO RIO", upper, 1234567)},
		// Lengths of dynamic codes; the letters are of no consequence.
		{"dynamic, 171 bytes", strings.Repeat("pix.example.com/v2/cob", 8)[:171]},
		{"dynamic, 188 bytes", strings.Repeat("pix.example.com/v2/cob", 9)[:188]},
		{"dynamic, 214 bytes", strings.Repeat("pix.example.com/v2/cob", 10)[:214]},
	}
	screens := append(sizes[:len(sizes):len(sizes)], []struct {
		name string
		w, h int
	}{{"66x20", 66, 20}, {"40x33", 40, 33}}...)
	var b strings.Builder
	fmt.Fprintf(&b, "%-34s %5s", "payload", "bytes")
	for _, s := range screens {
		fmt.Fprintf(&b, "  %-16s", s.name)
	}
	b.WriteByte('\n')
	for _, tc := range codes {
		fmt.Fprintf(&b, "%-34s %5d", tc.name, len(tc.code))
		for _, s := range screens {
			fmt.Fprintf(&b, "  %-16s", describe(arrange(tc.code, s.w, s.h)))
		}
		b.WriteByte('\n')
	}
	golden(t, "fit.txt", strings.ReplaceAll(b.String(), " \n", "\n"))
}

// describe is a plan in a few letters: modules, level, quiet zone, layout.
func describe(p plan) string {
	if p.text.w == 0 {
		return "printed"
	}
	for _, level := range []qr.Level{qr.M, qr.L} {
		m, err := qr.New(p.code, level)
		if err != nil {
			return err.Error()
		}
		if q := (p.at.w - m.Size()) / 2; q >= 2 && q <= 4 && p.rows[0] == strings.Repeat("█", p.at.w) && strings.Join(p.rows, "") == strings.Join(m.HalfBlocks(q), "") {
			layout := "beside"
			if p.top.w > 0 {
				layout = "between"
			}
			if p.whole {
				layout += " full"
			}
			return fmt.Sprintf("%d%s%d %s", m.Size(), level, q, layout)
		}
	}
	return "?"
}

// TestSymbolIsMadeOnce: frames and status changes reuse the symbol; another
// code or size makes another.
func TestSymbolIsMadeOnce(t *testing.T) {
	p := testPainter("")
	var c canvas
	v := sample(QR)
	rows := func(w, h int) *string {
		c.reset(w, h)
		if !p.paint(&c, v, moment{now: noon, elapsed: time.Second}) {
			t.Fatal("no code on the screen")
		}
		return &p.plan.rows[0]
	}
	first := rows(100, 30)
	v.Remaining, v.Status.Pending = v.Remaining-time.Minute, 99
	if rows(100, 30) != first {
		t.Error("the symbol was computed again for a frame")
	}
	if rows(80, 25) == first {
		t.Error("another size kept the symbol")
	}
	first = rows(100, 30)
	v.Code = strings.Replace(v.Code, "COFRE", "COFRO", 1)
	if rows(100, 30) == first {
		t.Error("another code kept the symbol")
	}
}

// TestSymbolIsMadeAhead: a View that names the next code looks as without it, and
// the symbol is there when the code's View comes, on the screen as it is by then.
func TestSymbolIsMadeAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		screen := simulation(t, 100, 30)
		o := testOptions()
		o.Screen = screen
		drawn := 0
		o.Drawn = func(Drawn) { drawn++ }
		p := &pen{session: &session{Display: New(o), screen: screen}, painter: *testPainter(""), theme: newTheme(256)}
		show := func(v View) picture {
			p.Show(v)
			p.picture(false)
			return snapshot(screen)
		}
		before := show(sample(Creating))
		v := sample(Creating)
		v.Ahead = brCode()
		if got := show(v); !reflect.DeepEqual(got, before) || drawn != 2 {
			t.Errorf("%d Views reported; the screen shows\n%v\nwant\n%v", drawn, got, before)
		}
		if p.painter.plan.code != v.Ahead || len(p.painter.plan.rows) == 0 {
			t.Fatal("no symbol was made ahead")
		}
		made := &p.painter.plan.rows[0]
		show(sample(QR))
		if &p.painter.plan.rows[0] != made {
			t.Error("the symbol was made again")
		}
		show(v)
		screen.SetSize(80, 25)
		p.screen.Show()
		show(sample(QR))
		if l := p.painter.plan; l.w != 80 || l.text.w == 0 || p.last.View.State != QR || !p.last.QR {
			t.Errorf("on a screen that became smaller: %+v", l)
		}
	})
}

// hooked is a screen whose size somebody asks for.
type hooked struct {
	tcell.SimulationScreen
	asked func()
}

func (h *hooked) Size() (int, int) {
	h.asked()
	return h.SimulationScreen.Size()
}

// A code that is recorded while its symbol is being made is on the screen with the
// next picture: no other is painted before it.
func TestCodeFollowsItsSymbol(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := testOptions()
		var drawn []Drawn
		o.Drawn = func(d Drawn) { drawn = append(drawn, d) }
		d := New(o)
		screen := &hooked{SimulationScreen: simulation(t, 100, 30)}
		screen.asked = sync.OnceFunc(func() { d.Show(sample(QR)) })
		p := &pen{session: &session{Display: d, screen: screen}, painter: *testPainter(""), theme: newTheme(256)}
		v := sample(Creating)
		v.Ahead = brCode()
		d.Show(v)
		p.picture(false)
		if len(drawn) != 1 || drawn[0].View.State != QR || !drawn[0].QR {
			t.Errorf("drawn %v, want the code at once", drawn)
		}
	})
}

// TestNoCodeWithoutColours: where both colours of a cell cannot be set, the
// theme of the terminal decides the polarity.
func TestNoCodeWithoutColours(t *testing.T) {
	p := testPainter("")
	p.coloured = false
	var c canvas
	c.reset(100, 30)
	if p.paint(&c, sample(QR), moment{now: noon}) {
		t.Error("a code was drawn without colours")
	}
	if box, _ := symbol(&c); box.w > 0 {
		t.Error("cells of a code on the screen")
	}
}
