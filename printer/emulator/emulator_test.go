package emulator

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ssg-safe/agent/pix/qr"
)

const cutFeed = "\x1dVB\x00" // feed to the knife and cut

// one renders a stream that makes one slip, and returns it.
func one(t testing.TB, stream string) Slip {
	t.Helper()
	out := Render([]byte(stream), 576)
	if len(out) != 1 {
		t.Fatalf("%d slips, want 1", len(out))
	}
	return out[0]
}

// fine is one, without problems.
func fine(t testing.TB, stream string) Slip {
	t.Helper()
	s := one(t, stream)
	if len(s.Problems) > 0 {
		t.Fatalf("problems: %v", s.Problems)
	}
	return s
}

// TestCodePages reads the bytes that each page has for Portuguese, from the
// tables of the manuals.
func TestCodePages(t *testing.T) {
	const (
		small   = "á à â ã é ê í ó ô õ ú ü ç"
		capital = "Á À Â Ã É Ê Í Ó Ô Õ Ú Ü Ç"
		signs   = "º ª °"
	)
	for _, c := range []struct {
		name  string
		page  byte
		bytes string
		want  string
	}{
		{"850", 2, "\xa0 \x85 \x83 \xc6 \x82 \x88 \xa1 \xa2 \x93 \xe4 \xa3 \x81 \x87", small},
		{"850", 2, "\xb5 \xb7 \xb6 \xc7 \x90 \xd2 \xd6 \xe0 \xe2 \xe5 \xe9 \x9a \x80", capital},
		{"850", 2, "\xa7 \xa6 \xf8 \xf5", signs + " §"},
		{"858", 19, "\xb5 \xb7 \xb6 \xc7 \x90 \xd2 \xd6 \xe0 \xe2 \xe5 \xe9 \x9a \x80 \xd5", capital + " €"},
		{"860", 3, "\xa0 \x85 \x83 \x84 \x82 \x88 \xa1 \xa2 \x93 \x94 \xa3 \x81 \x87", small},
		{"860", 3, "\x86 \x91 \x8f \x8e \x90 \x89 \x8b \x9f \x8c \x99 \x96 \x9a \x80", capital},
		{"437", 0, "\xa0 \x85 \x83 \x82 \x88 \xa1 \xa2 \x93 \xa3 \x81 \x87 \x90 \x9a \x80", "á à â é ê í ó ô ú ü ç É Ü Ç"},
		{"1252", 16, "\xe1 \xe0 \xe2 \xe3 \xe9 \xea \xed \xf3 \xf4 \xf5 \xfa \xfc \xe7", small},
		{"1252", 16, "\xc1 \xc0 \xc2 \xc3 \xc9 \xca \xcd \xd3 \xd4 \xd5 \xda \xdc \xc7", capital},
		{"1252", 16, "\xba \xaa \xb0", signs},
		// what a wrong page looks like
		{"850 on 437", 0, "S\xc6o \x80\xc6o", "S╞o Ç╞o"},
		{"850 on 860", 3, "S\xc6o \x80\xc6o", "S╞o Ç╞o"},
		{"850 on 1252", 16, "S\xc6o \x80\xc6o", "SÆo €Æo"},
		{"860 on 850", 2, "S\x84o \x80\x84o", "Säo Çäo"},
		{"1252 on 850", 2, "S\xe3o \xc7\xe3o", "SÒo ÃÒo"},
		{"UTF-8 on 850", 2, "São Ção", "S├úo ├ç├úo"},
	} {
		got := fine(t, "\x1b@\x1bt"+string(c.page)+c.bytes+"\n"+cutFeed).Text()
		if got != c.want+"\n" {
			t.Errorf("page %s: %q, want %q", c.name, got, c.want)
		}
	}
	if s := one(t, "\x1bt\x63a\n"+cutFeed); !strings.Contains(fmt.Sprint(s.Problems), "code page 99") {
		t.Errorf("problems %v", s.Problems)
	}
}

// dots draws a slip's rows as text, for small pictures.
func dots(s Slip, from, rows, x, width int) string {
	var b strings.Builder
	for y := from; y < from+rows; y++ {
		for i := x; i < x+width; i++ {
			if s.bits[y*s.dots/8+i/8]&(0x80>>(i%8)) != 0 {
				b.WriteByte('#')
			} else {
				b.WriteByte('.')
			}
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// TestRaster checks images dot by dot, in all four modes, wherever their data
// is split.
func TestRaster(t *testing.T) {
	const data = "\xa0\x01\x40\x80" // 16 dots by 2 rows
	for _, c := range []struct {
		mode byte
		want string
	}{
		{0, "#.#............#\n.#......#.......\n"},
		{1, "##..##........................##\n..##............##..............\n"},
		{2, "#.#............#\n#.#............#\n.#......#.......\n.#......#.......\n"},
		{3, "##..##........................##\n##..##........................##\n..##............##..............\n..##............##..............\n"},
	} {
		s := fine(t, "\x1dv0"+string(c.mode)+"\x02\x00\x02\x00"+data+cutFeed)
		rows := strings.Count(c.want, "\n")
		if got := dots(s, headToKnife, rows, 0, len(c.want)/rows-1); got != c.want {
			t.Errorf("mode %d:\n%swant\n%s", c.mode, got, c.want)
		}
		if got, want := len(s.bits)/72, headToKnife+rows; got != want {
			t.Errorf("mode %d: %d rows of paper, want %d", c.mode, got, want)
		}
	}
	// centred, and cut off at the edge of the paper
	s := fine(t, "\x1ba\x01\x1dv0\x00\x01\x00\x01\x00\xff"+cutFeed)
	if got, want := dots(s, headToKnife, 1, 280, 16), "....########....\n"; got != want {
		t.Errorf("centred: %s", got)
	}
	wide := fine(t, "\x1dv0\x00\x64\x00\x01\x00"+strings.Repeat("\xff", 100)+"ab\n"+cutFeed)
	if !strings.HasSuffix(wide.Text(), "\nab\n") {
		t.Errorf("text after a wide image: %q", wide.Text())
	}
}

// TestKnife: what has not passed the knife goes with the next slip.
func TestKnife(t *testing.T) {
	out := Render([]byte("one\n\x1dV\x00two\n"+cutFeed+"three\n"+cutFeed), 576)
	var texts []string
	for _, s := range out {
		texts = append(texts, s.Text())
	}
	if d := cmp.Diff([]string{"one\ntwo\n", "three\n"}, texts); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	// Ten lines of 30 rows without a feed: the knife stands 96 rows before the
	// end, in the middle of the seventh line.
	out = Render([]byte(strings.Repeat("line\n", 10)+"\x1dV\x01"+cutFeed), 576)
	texts = nil
	for _, s := range out {
		texts = append(texts, s.Text())
	}
	if d := cmp.Diff([]string{strings.Repeat("line\n", 7), strings.Repeat("line\n", 3)}, texts); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	if got := strings.Count(dots(out[1], 0, headToKnife, 0, 48), "#"); got == 0 {
		t.Error("the last lines were not left between head and knife")
	}
}

// TestStyles compares sizes and effects with the plain glyph.
func TestStyles(t *testing.T) {
	plain := fine(t, "H\n"+cutFeed)
	count := func(stream string) int {
		s := fine(t, stream+"H\n"+cutFeed)
		return strings.Count(dots(s, 0, len(s.bits)/72, 0, 576), "#")
	}
	base := strings.Count(dots(plain, 0, len(plain.bits)/72, 0, 576), "#")
	for _, c := range []struct {
		name, stream string
		want         int
	}{
		{"plain", "", base},
		{"wide", "\x1d!\x10", 2 * base},
		{"tall", "\x1d!\x01", 2 * base},
		{"wide and tall", "\x1d!\x11", 4 * base},
		{"print mode wide and tall", "\x1b!\x30", 4 * base},
		{"eight by eight", "\x1d!\x77", 64 * base},
		{"inverse", "\x1dB\x01", 12*24 - base},
		{"initialised", "\x1d!\x77\x1bE\x01\x1dB\x01\x1b@", base},
	} {
		if got := count(c.stream); got != c.want {
			t.Errorf("%s: %d dots, want %d", c.name, got, c.want)
		}
	}
	for name, stream := range map[string]string{"bold": "\x1bE\x01", "double strike": "\x1bG\x01", "mode bold": "\x1b!\x08", "underline": "\x1b-\x01"} {
		if got := count(stream); got <= base {
			t.Errorf("%s: %d dots, plain %d", name, got, base)
		}
	}
	if got := count("\x1bM\x01"); got >= base || got == 0 {
		t.Errorf("font B: %d dots, font A %d", got, base)
	}
}

// TestLines checks wrapping, alignment, margins, tabs and feeds by text.
func TestLines(t *testing.T) {
	for _, c := range []struct{ name, stream, want string }{
		{"wraps at 48", strings.Repeat("x", 50) + "\n", strings.Repeat("x", 48) + "\nxx\n"},
		{"font B wraps at 64", "\x1bM\x01" + strings.Repeat("x", 65) + "\n", strings.Repeat("x", 64) + "\nx\n"},
		{"centre", "\x1ba\x01abcd\n", strings.Repeat(" ", 22) + "abcd\n"},
		{"right", "\x1ba\x02abcd\n", strings.Repeat(" ", 44) + "abcd\n"},
		{"margin", "\x1dL\x18\x00abcd\n", "  abcd\n"},
		{"print width", "\x1dW\x30\x00abcde\n", "abcd\ne\n"},
		{"tab", "ab\tc\n", "ab      c\n"},
		{"feed lines", "a\x1bd\x02b\n", "a\n\nb\n"},
		{"carriage return does nothing", "a\r\nb\n", "a\nb\n"},
		{"feed of units ends the line", "a\x1bJ\x10b\n", "a\nb\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := fine(t, c.stream+cutFeed).Text(); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

// TestProblems: what a printer would not understand, or must not be sent, is
// reported with its place.
func TestProblems(t *testing.T) {
	for _, c := range []struct{ stream, want string }{
		{"ab\x01", "byte 3: unknown byte 01"},
		{"\x1b\xfe", "byte 2: unknown command 1B FE"},
		{"\x1d(Z\x02\x00ab", "byte 7: unknown command 1D 28 5A with 2 bytes"},
		{"\x1bp\x00\x19\xfa", "byte 5: drawer pulse"},
		{"a\x10\x14\x01\x00\x01", "byte 1: real-time drawer pulse"},
		{"\x10\x14\x02\x01\x08", "byte 0: real-time power off"},
		{"a\x1ba\x01", "byte 4: alignment in the middle of a line"},
		{"\x1da\xff", "byte 3: automatic status is not built in"},
		{"\x1d(D\x03\x00\x14\x01\x01", "byte 8: real-time command 1 enabled"},
		{"\x1bR\x08", "byte 3: international set 8 is not built in"},
		{"\x1d(k\x03\x001Q0", "byte 8: QR code without data"},
		{"\x1d(k\x04\x001P0a\x1d(k\x03\x001C\x10\x1d(k\x03\x001Q0\x1dW\x40\x00\x1d(k\x03\x001Q0", "byte 37: QR code of 336 dots is wider than the print area"},
	} {
		s := one(t, c.stream+"\nx\n"+cutFeed)
		if got := s.Problems[0].String(); got != c.want {
			t.Errorf("% x: %s, want %s", c.stream, got, c.want)
		}
	}
	if s := one(t, "abc"); fmt.Sprint(s.Problems) != "[byte 3: the stream ends in the middle of a line byte 3: not cut]" || s.Text() != "abc\n" {
		t.Errorf("%v, %q", s.Problems, s.Text())
	}
}

// TestRealTimeInsideData: a real-time command is obeyed in the middle of a
// picture, and is missing there.
func TestRealTimeInsideData(t *testing.T) {
	s := one(t, "\x1dv0\x00\x06\x00\x01\x00\x01\x10\x14\x01\x00\x01"+"\x02\x03\x04\x05\x06ab\n"+cutFeed)
	if fmt.Sprint(s.Problems) != "[byte 9: real-time drawer pulse]" || !strings.Contains(s.Text(), "\nab\n") {
		t.Errorf("%v, %q", s.Problems, s.Text())
	}
	if s := fine(t, "\x1dv0\x00\x04\x00\x01\x00\x10\x10\x11\x04"+"ab\n"+cutFeed); !strings.Contains(s.Text(), "\nab\n") {
		t.Errorf("10 10 11 04 is data: %q", s.Text())
	}
}

// TestPadding: any number of NULs between commands does nothing.
func TestPadding(t *testing.T) {
	pad := strings.Repeat("\x00", 600)
	a, b := fine(t, pad+"a\n"+pad+cutFeed), fine(t, "a\n"+cutFeed)
	if !bytes.Equal(a.bits, b.bits) || !bytes.Equal(a.Bytes, b.Bytes) {
		t.Error("padding changed the slip")
	}
}

// TestZbarRaster: a code printed as a picture, three dots a module and doubled
// by the printer, is read by a decoder that is not ours.
func TestZbarRaster(t *testing.T) {
	if _, err := exec.LookPath("zbarimg"); err != nil {
		t.Fatal("zbarimg is needed (Debian: zbar-tools)")
	}
	const text = "00020126360014br.gov.bcb.pix0114+5511999990000520400005303986"
	q, err := qr.New(text, qr.M)
	if err != nil {
		t.Fatal(err)
	}
	const px = 3
	stride := (q.Size()*px + 7) / 8
	stream := []byte("\n\x1ba\x01\x1dv0\x03")
	stream = append(stream, byte(stride), 0, byte(q.Size()*px), 0)
	for y := range q.Size() * px {
		row := make([]byte, stride)
		for x := range q.Size() * px {
			if q.Dark(x/px, y/px) {
				row[x/8] |= 0x80 >> (x % 8)
			}
		}
		stream = append(stream, row...)
	}
	s := fine(t, string(stream)+"\n"+cutFeed)
	var png bytes.Buffer
	if err := s.PNG(&png); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "slip.png")
	if err := os.WriteFile(name, png.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := exec.Command("zbarimg", "-q", "--raw", "--nodbus", name).Output()
	if err != nil || strings.TrimSpace(string(got)) != text {
		t.Errorf("reads as %q, %v", got, err)
	}
}

// TestBounds: streams that feed without end, or never cut, do not grow memory
// without end.
func TestBounds(t *testing.T) {
	for name, stream := range map[string]string{
		"feeds":       strings.Repeat("\x1bd\xff", 200),
		"tall lines":  strings.Repeat("\x1d!\x07x\n", 2000),
		"symbols":     "\x1d(k\x04\x001P0a\x1d(k\x03\x001C\x10" + strings.Repeat("\x1d(k\x03\x001Q0", 200),
		"no feed":     strings.Repeat("x", 1100_000),
		"only ids":    "x\n" + cutFeed + strings.Repeat("\x1d(H\x06\x0000abcd", 100_000),
		"problems":    strings.Repeat("\x01", 1200_000),
		"no spacing":  "\x1b3\x00" + strings.Repeat("\x1bd\xff", 2000),
		"big command": "\x1d8L\xff\xff\xff\x7f" + strings.Repeat("\x00", 100),
	} {
		t.Run(name, func(t *testing.T) {
			p := New(Config{ProcessID: true, Keep: 4})
			c := p.Connect()
			if n, err := c.Write([]byte(stream)); n != len(stream) || err != nil {
				t.Fatal(n, err)
			}
			if n := len(p.Slips()); n > 4 {
				t.Errorf("%d slips kept", n)
			}
			for _, s := range p.Slips() {
				if rows := len(s.bits) / 72; rows > maxRows+8192 || len(s.Bytes) > maxStrip+16*maxProblems || len(s.Problems) > maxProblems+1 || len(s.ProcessIDs) > maxProblems {
					t.Errorf("a slip of %d rows, %d bytes, %d problems, %d ids", rows, len(s.Bytes), len(s.Problems), len(s.ProcessIDs))
				}
			}
			if n := cap(p.strip.bytes) + cap(p.strip.bits) + cap(p.in); n > 8<<20 {
				t.Errorf("%d bytes held", n)
			}
			if n := cap(p.strip.text); n > 2*maxRows {
				t.Errorf("%d lines of text held", n)
			}
		})
	}
}

// FuzzEmulator: no stream makes the printer panic or grow without bound, and
// how it was split on the way makes no difference.
func FuzzEmulator(f *testing.F) {
	names, err := filepath.Glob("../slip/testdata/*.bin")
	if err != nil || len(names) == 0 {
		f.Fatalf("no golden slips: %v", err)
	}
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	for _, s := range []string{
		"\x1dv0\x03\x02\x00\x02\x00abcd", "\x1d(k\x03\x001R0", "\x10\x14\x08\x01\x03\x14\x01\x06\x02\x08", "\x1dI\x41\x1dI\x01\x1dr\x01",
		"\x1b*\x21\x02\x00abcdef", "\x1d8L\x04\x00\x00\x00abcd", "\x1dVA\xff\x1dV\x00", "\x1b3\xff\n\x1bJ\xff\x1bd\xff", "\x1dL\xff\xff\x1dW\x00\x00abc\n",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, stream []byte) {
		if len(stream) > 10_000 {
			return
		}
		var texts [2][]string
		for i, size := range []int{len(stream), 1} {
			p := New(Config{ProcessID: true, Keep: 16})
			c := p.Connect()
			for chunk := range slices.Chunk(stream, max(size, 1)) {
				if n, err := c.Write(chunk); n != len(chunk) || err != nil {
					t.Fatal(n, err)
				}
			}
			for _, s := range p.Slips() {
				if len(s.bits)/72 > maxRows+8192 || len(s.Problems) > maxProblems+1 {
					t.Fatalf("%d rows, %d problems", len(s.bits)/72, len(s.Problems))
				}
				texts[i] = append(texts[i], s.Text()+fmt.Sprint(s.ProcessIDs, s.Problems))
			}
		}
		if d := cmp.Diff(texts[0], texts[1]); d != "" {
			t.Fatalf("at once and byte by byte differ:\n%s", d)
		}
	})
}
