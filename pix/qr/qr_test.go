package qr

import (
	"bytes"
	"image"
	"image/png"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	qrcode "github.com/skip2/go-qrcode"
)

const (
	cnpjCode    = "00020126360014br.gov.bcb.pix011411222333000181520400005303986540512.345802BR5916COFRE TESTE LTDA6009SAO PAULO62290525K01N0000000000000000000A16304F53A"
	evpCode     = "00020126580014br.gov.bcb.pix0136123e4567-e12b-12d1-a456-426655440000520400005303986540512.345802BR5916COFRE TESTE LTDA6009SAO PAULO62290525K01N0000000000000000000A163045F69"
	dynamicCode = "00020126990014br.gov.bcb.pix2577qr-h.sandbox.pix.bcb.gov.br/rest/api/v2/cobv/9b95a87c10a84d65bcbf55a48a2e50c85204000053039865802BR5903Pix6008BRASILIA62070503***63048ECF"
)

func matrix(t testing.TB, text string, level Level) *Matrix {
	t.Helper()
	m, err := New(text, level)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestLevels(t *testing.T) {
	for i, letter := range []string{"L", "M", "Q", "H"} {
		l := Level(i)
		if l.String() != letter {
			t.Errorf("%d: got %s, want %s", i, l, letter)
		}
		for _, text := range []string{letter, strings.ToLower(letter)} {
			if got, err := ParseLevel(text); got != l || err != nil {
				t.Errorf("%q: got %v, %v", text, got, err)
			}
		}
	}
	for _, text := range []string{"", "X", "LM", "Medium", "1"} {
		if got, err := ParseLevel(text); err == nil {
			t.Errorf("%q: got %v", text, got)
		}
	}
	if got := Level(7).String(); got != "Level(7)" {
		t.Errorf("got %s", got)
	}
}

// The level really is in the symbol: its two bits stand masked in the format
// information beside the upper left finder. The library's names would mislead.
func TestLevelInSymbol(t *testing.T) {
	for level, want := range map[Level]int{L: 0b01, M: 0b00, Q: 0b11, H: 0b10} {
		m := matrix(t, cnpjCode, level)
		bits := 0
		for _, x := range []int{0, 1} { // the two highest bits of the format, row 8
			bits <<= 1
			if m.Dark(x, 8) {
				bits |= 1
			}
		}
		if got := bits ^ 0b10; got != want { // the fixed format mask starts with 10
			t.Errorf("%s: got %02b, want %02b", level, got, want)
		}
	}
}

func TestNewRefuses(t *testing.T) {
	for _, tt := range []struct {
		text  string
		level Level
		want  string
	}{
		{"", M, "make QR symbol: empty text"},
		{"x", Level(-1), "make QR symbol: no level -1"},
		{"x", Level(4), "make QR symbol: no level 4"},
		{strings.Repeat("x", 2954), L, "make QR symbol of 2954 bytes at level L: content too long to encode"},
		{strings.Repeat("x", 1274), H, "make QR symbol of 1274 bytes at level H: content too long to encode"},
	} {
		if m, err := New(tt.text, tt.level); err == nil || err.Error() != tt.want || m != nil {
			t.Errorf("got %v\nwant %s", err, tt.want)
		}
	}
	matrix(t, strings.Repeat("x", 2953), L)
	matrix(t, strings.Repeat("x", 1273), H)
}

// No quiet zone inside, finders in three corners, light outside.
func TestMatrixShape(t *testing.T) {
	m := matrix(t, cnpjCode, M)
	n := m.Size()
	if n != 41 {
		t.Errorf("size: got %d, want 41", n)
	}
	finder := func(x0, y0 int) bool {
		for y := range 7 {
			for x := range 7 {
				ring := max(abs(x-3), abs(y-3))
				if m.Dark(x0+x, y0+y) != (ring != 2) {
					return false
				}
			}
		}
		return true
	}
	if !finder(0, 0) || !finder(n-7, 0) || !finder(0, n-7) || finder(n-7, n-7) {
		t.Error("finders are not in the three corners")
	}
	for _, p := range []image.Point{{-1, 0}, {0, -1}, {n, 0}, {0, n}, {n, n}, {-5, -5}, {math.MaxInt, 0}} {
		if m.Dark(p.X, p.Y) {
			t.Errorf("dark at %v", p)
		}
	}
}

func abs(n int) int { return max(n, -n) }

// What the library does to callers that keep its object; here it must not show.
func TestLibraryPitfalls(t *testing.T) {
	code, err := qrcode.New(cnpjCode, qrcode.Medium)
	if err != nil {
		t.Fatal(err)
	}
	m := matrix(t, cnpjCode, M)
	if bordered := len(code.Bitmap()); m.Size() != bordered-8 {
		t.Errorf("size: got %d, want %d without the border", m.Size(), bordered-8)
	}
	before := m.HalfBlocks(4)
	img := m.Image(3, 4)
	clear(img.Pix) // a caller may do with its picture what it likes
	if diff := cmp.Diff(m.HalfBlocks(4), before); diff != "" {
		t.Errorf("a picture shares memory with the matrix:\n%s", diff)
	}
}

// One matrix serves many goroutines; the race detector watches.
func TestConcurrentUse(t *testing.T) {
	m := matrix(t, cnpjCode, M)
	want := m.HalfBlocks(4)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 20 {
				if !slices.Equal(m.HalfBlocks(4), want) {
					t.Error("half blocks differ between goroutines")
				}
				m.Image(2, 4)
				other, err := New(cnpjCode, M)
				if err != nil || !slices.Equal(other.HalfBlocks(4), want) {
					t.Errorf("the same text makes another symbol: %v", err)
				}
			}
		})
	}
	wg.Wait()
}

func TestHalfBlocks(t *testing.T) {
	m := matrix(t, cnpjCode, M)
	for _, quiet := range []int{-1, 0, 2, 3, 4} {
		lines := m.HalfBlocks(quiet)
		q := max(0, quiet)
		side := m.Size() + 2*q
		if len(lines) != (side+1)/2 {
			t.Fatalf("quiet %d: %d lines, want %d", quiet, len(lines), (side+1)/2)
		}
		for i, line := range lines {
			if got := utf8.RuneCountInString(line); got != side {
				t.Fatalf("quiet %d: line %d has %d columns, want %d", quiet, i, got, side)
			}
			x := 0
			for _, r := range line {
				upper, lower := m.Dark(x-q, 2*i-q), m.Dark(x-q, 2*i+1-q)
				want := map[[2]bool]rune{{true, true}: ' ', {true, false}: '▄', {false, true}: '▀', {false, false}: '█'}[[2]bool{upper, lower}]
				if r != want {
					t.Fatalf("quiet %d: %q at %d,%d, want %q", quiet, r, x, i, want)
				}
				x++
			}
		}
		// The side is always odd, so the last half line is outside: light.
		if last := lines[len(lines)-1]; strings.ContainsAny(last, " ▀") {
			t.Errorf("quiet %d: dark below the symbol: %q", quiet, last)
		}
	}
}

func TestImage(t *testing.T) {
	m := matrix(t, cnpjCode, L)
	for _, tt := range []struct{ px, quiet, wantPx, wantQuiet int }{
		{1, 0, 1, 0}, {1, 4, 1, 4}, {6, 4, 6, 4}, {7, 2, 7, 2}, {0, -1, 1, 0},
	} {
		img := m.Image(tt.px, tt.quiet)
		if side := (m.Size() + 2*tt.wantQuiet) * tt.wantPx; img.Bounds() != image.Rect(0, 0, side, side) {
			t.Fatalf("%+v: bounds %v, want %d a side", tt, img.Bounds(), side)
		}
		for y := range img.Bounds().Dy() {
			for x := range img.Bounds().Dx() {
				r, _, _, _ := img.At(x, y).RGBA()
				if want := m.Dark(x/tt.wantPx-tt.wantQuiet, y/tt.wantPx-tt.wantQuiet); (r == 0) != want || (r == 0xffff) == want {
					t.Fatalf("%+v: pixel %d,%d is %04x, want dark %v", tt, x, y, r, want)
				}
			}
		}
	}
}

func TestPNG(t *testing.T) {
	m := matrix(t, cnpjCode, M)
	var b bytes.Buffer
	if err := m.PNG(&b, 6, 4); err != nil {
		t.Fatal(err)
	}
	img, err := png.Decode(&b)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(img.(*image.Paletted).Pix, m.Image(6, 4).Pix); diff != "" {
		t.Errorf("the picture changed on its way: %s", diff)
	}
	for _, tt := range []struct{ px, quiet int }{{0, 4}, {-1, 4}, {4, -1}, {1000, 4}, {1, math.MaxInt}, {math.MaxInt, 0}} {
		b.Reset()
		if err := m.PNG(&b, tt.px, tt.quiet); err == nil || b.Len() > 0 {
			t.Errorf("%+v: got %v and %d bytes", tt, err, b.Len())
		}
	}
	if err := m.PNG(brokenWriter{}, 4, 4); err == nil || !strings.Contains(err.Error(), "write QR picture: io: read/write on closed pipe") {
		t.Errorf("broken writer: got %v", err)
	}
}

// Sizes of display.md for the contents of its table, and the order of its fit:
// margin is worth more than correction, a crop never happens.
func TestFitCells(t *testing.T) {
	for _, tt := range []struct {
		name, text string
		cols, rows int
		level      Level
		quiet      int
		ok         bool
	}{
		{"wide screen", cnpjCode, 200, 60, M, 4, true},
		{"just M with 4", cnpjCode, 49, 25, M, 4, true},
		{"one row less: L with 4", cnpjCode, 49, 24, L, 4, true},
		{"one column less: L with 4", cnpjCode, 48, 25, L, 4, true},
		{"just L with 4", cnpjCode, 45, 23, L, 4, true},
		{"L with 3", cnpjCode, 45, 22, L, 3, true},
		{"just L with 3", cnpjCode, 43, 22, L, 3, true},
		{"just L with 2", cnpjCode, 41, 21, L, 2, true},
		{"a row short", cnpjCode, 41, 20, 0, 0, false},
		{"a column short", cnpjCode, 40, 21, 0, 0, false},
		{"dynamic, M with 4", dynamicCode, 57, 29, M, 4, true},
		{"dynamic, L with 4", dynamicCode, 56, 29, L, 4, true},
		{"dynamic, L with 3", dynamicCode, 80, 26, L, 3, true},
		{"dynamic on 80x25", dynamicCode, 80, 25, L, 2, true},
		{"dynamic on 80x24", dynamicCode, 80, 24, 0, 0, false},
		{"random key, M with 4", evpCode, 57, 29, M, 4, true},
		{"random key, L with 4", evpCode, 57, 28, L, 4, true},
		{"nothing there", cnpjCode, 0, 0, 0, 0, false},
		{"empty text", "", 200, 200, 0, 0, false},
		{"only L exists", strings.Repeat("x", 2900), 400, 400, L, 4, true},
		{"too long", strings.Repeat("x", 3000), 400, 400, 0, 0, false},
	} {
		fit, ok := FitCells(tt.text, tt.cols, tt.rows)
		if ok != tt.ok || fit.Level != tt.level || fit.Quiet != tt.quiet {
			t.Errorf("%s: got %v, %s with %d, want %v, %s with %d", tt.name, ok, fit.Level, fit.Quiet, tt.ok, tt.level, tt.quiet)
			continue
		}
		if !ok {
			if fit.Matrix != nil {
				t.Errorf("%s: a symbol that does not fit", tt.name)
			}
			continue
		}
		lines := fit.Matrix.HalfBlocks(fit.Quiet)
		if len(lines) > tt.rows || utf8.RuneCountInString(lines[0]) > tt.cols {
			t.Errorf("%s: %dx%d does not fit %dx%d", tt.name, utf8.RuneCountInString(lines[0]), len(lines), tt.cols, tt.rows)
		}
		if want := matrix(t, tt.text, fit.Level); want.Size() != fit.Matrix.Size() {
			t.Errorf("%s: the symbol is not of level %s", tt.name, fit.Level)
		}
	}
}

// In the whole plane of small screens the answer is the first of the list that
// fits, and grows no worse when the screen grows.
func TestFitCellsOrder(t *testing.T) {
	sizes := map[Level]int{M: matrix(t, cnpjCode, M).Size(), L: matrix(t, cnpjCode, L).Size()}
	for cols := 40; cols <= 50; cols++ {
		for rows := 20; rows <= 26; rows++ {
			var want Fit
			found := false
			for _, try := range []Fit{{nil, M, 4}, {nil, L, 4}, {nil, M, 3}, {nil, L, 3}, {nil, M, 2}, {nil, L, 2}} {
				if side := sizes[try.Level] + 2*try.Quiet; side <= cols && (side+1)/2 <= rows {
					want, found = try, true
					break
				}
			}
			got, ok := FitCells(cnpjCode, cols, rows)
			if ok != found || got.Level != want.Level || got.Quiet != want.Quiet {
				t.Errorf("%dx%d: got %v %s %d, want %v %s %d", cols, rows, ok, got.Level, got.Quiet, found, want.Level, want.Quiet)
			}
		}
	}
}

func TestFitDots(t *testing.T) {
	for _, tt := range []struct {
		name, text               string
		dots, minModule, maxMode int
		level                    Level
		module                   int
		ok                       bool
	}{
		{"80 mm", cnpjCode, 576, 4, 16, M, 11, true},
		{"80 mm, at most 6", cnpjCode, 576, 4, 6, M, 6, true},
		{"58 mm", cnpjCode, 384, 4, 16, M, 7, true},
		{"58 mm, dynamic", dynamicCode, 384, 4, 16, M, 6, true},
		{"M does not fit", cnpjCode, 195, 4, 16, L, 4, true},
		{"M just fits", cnpjCode, 196, 4, 16, M, 4, true},
		{"L just fits", cnpjCode, 180, 4, 16, L, 4, true},
		{"nothing fits", cnpjCode, 179, 4, 16, 0, 0, false},
		{"fewer dots than modules", cnpjCode, 30, 0, 16, 0, 0, false},
		{"most below least", cnpjCode, 576, 4, 3, 0, 0, false},
		{"empty text", "", 576, 4, 16, 0, 0, false},
		{"only L exists", strings.Repeat("x", 2900), 576, 1, 16, L, 3, true},
	} {
		fit, module, ok := FitDots(tt.text, tt.dots, tt.minModule, tt.maxMode)
		if ok != tt.ok || fit.Level != tt.level || module != tt.module {
			t.Errorf("%s: got %v, %s of %d dots, want %v, %s of %d", tt.name, ok, fit.Level, module, tt.ok, tt.level, tt.module)
		}
		if ok && (fit.Quiet != 4 || (fit.Matrix.Size()+8)*module > tt.dots) {
			t.Errorf("%s: %d modules of %d dots with quiet zone %d on %d", tt.name, fit.Matrix.Size(), module, fit.Quiet, tt.dots)
		}
	}
}

func FuzzNew(f *testing.F) {
	for i, text := range []string{cnpjCode, evpCode, dynamicCode, "1", "A", "a", "123ABCabc", "São Paulo", "\x00\xff", strings.Repeat("9", 300)} {
		f.Add(text, i)
	}
	f.Fuzz(func(t *testing.T, text string, level int) {
		m, err := New(text, Level(level))
		if err != nil {
			return
		}
		if n := m.Size(); n < 21 || n > 177 || n%4 != 1 || !m.Dark(0, 0) || m.Dark(7, 7) || !m.Dark(8, n-8) {
			t.Fatalf("%q at %d: no symbol of %d modules", text, level, n)
		}
	})
}

func BenchmarkNew(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := New(cnpjCode, M); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkPlan(b *testing.B) {
	for b.Loop() {
		if _, err := plan(cnpjCode, M); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkHalfBlocks(b *testing.B) {
	m := matrix(b, cnpjCode, M)
	b.ReportAllocs()
	for b.Loop() {
		m.HalfBlocks(4)
	}
}

func BenchmarkFitCells(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := FitCells(cnpjCode, 80, 25); !ok {
			b.Fatal("does not fit")
		}
	}
}
