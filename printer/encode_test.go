package printer_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ssg-safe/agent/printer"
	"github.com/ssg-safe/agent/printer/emulator"
)

// code is a BR Code of n bytes, as far as a printer can tell.
func code(n int) string {
	return strings.Repeat("00020126580014br.gov.bcb.pix0136123e4567-e89b-", 1+n/46)[:n]
}

func profile(t testing.TB, name string) printer.Profile {
	t.Helper()
	p, err := printer.ProfileByName(name)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// twentyLines is the slip of the published figures: 20 lines of text as a shop
// prints them, and a code of 177 bytes.
func twentyLines() printer.Document {
	centre := func(s string) printer.Text { return printer.Text{Text: s, Align: printer.Centre} }
	return printer.Document{Blocks: []printer.Block{
		printer.Text{Text: "Padaria São João Ltda", Align: printer.Centre, Bold: true},
		centre("CNPJ 12.345.678/0001-95"),
		centre("Av. Conceição, 1200 - São Paulo/SP"),
		centre("Tel. (11) 3333-4444"),
		printer.Rule{},
		printer.Text{Text: "PAGUE COM PIX", Align: printer.Centre, Bold: true},
		printer.Text{Text: "R$ 1.234,56", Align: printer.Centre, Bold: true, Wide: true, Tall: true},
		printer.QR{Code: code(177)},
		centre("Abra o app do seu banco, escolha pagar com Pix e aponte a câmera para o código."),
		printer.Text{Text: "Pague até 21/11/2025 21:45:05", Align: printer.Centre, Bold: true},
		printer.Rule{},
		printer.Pair{Label: "Recebedor", Value: "COFRE TESTE LTDA"},
		printer.Pair{Label: "Terminal", Value: "T001"},
		printer.Pair{Label: "NSU", Value: "000123"},
		printer.Pair{Label: "Emitido em", Value: "21/11/2025 21:30:05"},
		printer.Pair{Label: "TXID", Value: "T0010ABCDEFGHIJKLMNOPQRST"},
		printer.Rule{},
		centre("Atendimento 0800 123 4567"),
		centre("ESTE PAPEL NÃO COMPROVA PAGAMENTO"),
		printer.Text{Text: "NÃO É DOCUMENTO FISCAL", Align: printer.Centre, Bold: true},
		printer.Cut{},
	}}
}

// TestSize holds the wire size of the published figures.
func TestSize(t *testing.T) {
	p := profile(t, "epson-80")
	job, err := printer.NewJob("1", twentyLines(), p)
	if err != nil {
		t.Fatal(err)
	}
	s := render(t, job.Bytes, p)
	if n := strings.Count(s.Text(), "\n") - 3; n != 20 { // the code, and its quiet zone twice
		t.Errorf("the slip has %d lines of text, want 20:\n%s", n, s.Text())
	}
	if len(job.Bytes) > 1024 {
		t.Errorf("%d bytes, want at most 1024", len(job.Bytes))
	}
	// What a confirmation waits for follows from the paper that is really used;
	// the symbol may be smaller than reckoned.
	rows := s.Image().Bounds().Dy() - 16
	if used := (rows + 7) / 8; job.Millimetres < used || job.Millimetres > used+20 {
		t.Errorf("job says %d mm, the slip has %d", job.Millimetres, used)
	}
}

func render(t testing.TB, job []byte, p printer.Profile) emulator.Slip {
	t.Helper()
	out := emulator.Render(job, p.Dots)
	if len(out) != 1 {
		t.Fatalf("%d slips, want 1", len(out))
	}
	if len(out[0].Problems) > 0 {
		t.Fatalf("problems: %v", out[0].Problems)
	}
	return out[0]
}

func BenchmarkEncode(b *testing.B) {
	p := profile(b, "epson-80")
	doc := twentyLines()
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		job, err := printer.Encode(doc, p, "000123/1")
		if err != nil {
			b.Fatal(err)
		}
		n = len(job)
	}
	b.ReportMetric(float64(n), "wire-bytes")
}

// TestLayout shows how blocks become lines.
func TestLayout(t *testing.T) {
	p := profile(t, "epson-58") // 32 columns
	for _, c := range []struct {
		name   string
		blocks []printer.Block
		want   string
	}{
		{"break between words", []printer.Block{printer.Text{Text: "uma frase que não cabe em uma linha só"}}, "uma frase que não cabe em uma\nlinha só\n"},
		{"break inside a word", []printer.Block{printer.Text{Text: strings.Repeat("abcdefgh", 5)}}, "abcdefghabcdefghabcdefghabcdefgh\nabcdefgh\n"},
		{"exactly a line", []printer.Block{printer.Text{Text: strings.Repeat("x", 32)}}, strings.Repeat("x", 32) + "\n"},
		{"characters, not bytes", []printer.Block{printer.Text{Text: strings.Repeat("ã", 32)}}, strings.Repeat("ã", 32) + "\n"},
		{"wide", []printer.Block{printer.Text{Text: "dezessete letras!", Wide: true}}, "dezessete\nletras!\n"},
		{"empty", []printer.Block{printer.Text{Text: "a"}, printer.Text{}, printer.Text{Text: "b"}}, "a\n\nb\n"},
		{"right", []printer.Block{printer.Text{Text: "fim", Align: printer.Right}}, strings.Repeat(" ", 29) + "fim\n"},
		{"pair", []printer.Block{printer.Pair{Label: "NSU", Value: "000001"}}, "NSU" + strings.Repeat(" ", 23) + "000001\n"},
		{"pair that does not fit", []printer.Block{printer.Pair{Label: "Identificador longo", Value: "0123456789ABCD"}}, "Identificador longo\n" + strings.Repeat(" ", 18) + "0123456789ABCD\n"},
		{"style ends with its block", []printer.Block{printer.Text{Text: "a", Align: printer.Right, Bold: true}, printer.Pair{Label: "b", Value: "c"}}, strings.Repeat(" ", 31) + "a\nb" + strings.Repeat(" ", 30) + "c\n"},
		{"feed", []printer.Block{printer.Text{Text: "a"}, printer.Feed{Lines: 3}, printer.Text{Text: "b"}}, "a\n\n\n\nb\n"},
		{"cut is added", []printer.Block{printer.Text{Text: "a"}}, "a\n"},
		{"text after the cut is cut too", []printer.Block{printer.Text{Text: "a"}, printer.Cut{}, printer.Text{Text: "b"}}, "a\n|b\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			job, err := printer.Encode(printer.Document{Blocks: c.blocks}, p, "1")
			if err != nil {
				t.Fatal(err)
			}
			var texts []string
			for _, s := range emulator.Render(job, p.Dots) {
				if len(s.Problems) > 0 {
					t.Errorf("problems: %v", s.Problems)
				}
				texts = append(texts, s.Text())
			}
			if d := cmp.Diff(c.want, strings.Join(texts, "|")); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
}

func TestEncodeRefuses(t *testing.T) {
	p := profile(t, "epson-58")
	other := p
	other.Dialect = "klingon"
	for _, c := range []struct {
		name    string
		block   printer.Block
		profile printer.Profile
		want    error
	}{
		{"code too large for the paper", printer.QR{Code: code(512)}, withDots(p, 200), printer.ErrDoesNotFit},
		{"code too long for the printer", printer.QR{Code: code(513)}, profile(t, "epson-80"), printer.ErrDoesNotFit},
		{"no code", printer.QR{}, p, printer.ErrCode},
		{"control character in a code", printer.QR{Code: "000201\x1bp"}, p, printer.ErrCode},
		{"letter outside ASCII in a code", printer.QR{Code: "São"}, p, printer.ErrCode},
		{"unknown dialect", printer.Text{}, other, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := printer.Encode(printer.Document{Blocks: []printer.Block{c.block}}, c.profile, "1")
			if err == nil || c.want != nil && !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
		})
	}
}

func withDots(p printer.Profile, dots int) printer.Profile {
	p.Dots = dots
	return p
}

// TestSymbolFits prints codes of every length on every paper: a symbol is
// there whenever Encode did not refuse, with its quiet zone.
func TestSymbolFits(t *testing.T) {
	for _, p := range printer.Profiles() {
		for n := 20; n <= 512; n += 41 {
			job, err := printer.Encode(printer.Document{Blocks: []printer.Block{printer.QR{Code: code(n)}}}, p, "1")
			if errors.Is(err, printer.ErrDoesNotFit) {
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			s := render(t, job, p) // reports a symbol that is too wide
			var level byte
			var modules, px int
			if _, err := fmt.Sscanf(strings.TrimLeft(s.Text(), "\n"), "[QR level %c, %d modules of %d dots:", &level, &modules, &px); err != nil {
				t.Fatalf("%d bytes on %s: %v in %q", n, p.Name, err, s.Text())
			}
			if px < 4 || (modules+8)*px > p.Dots {
				t.Errorf("%d bytes on %s: %d modules of %d dots", n, p.Name, modules, px)
			}
		}
	}
	if _, err := printer.Encode(printer.Document{Blocks: []printer.Block{printer.QR{Code: code(300)}}}, profile(t, "epson-58"), "1"); err != nil {
		t.Errorf("300 bytes on 58 mm: %v", err)
	}
}

// FuzzText checks that no string gets a command into a job. The emulator,
// which knows nothing of the encoder, sees the same commands whatever the
// text is: the job makes one slip, without a problem, and every line is what
// a plain text of the same length would make.
func FuzzText(f *testing.F) {
	for _, s := range []string{
		"Maria\x1bp\x00\x19\xfa", "\x10\x14\x01\x00\x01", "São Ção É ã õ Ã Õ", "a\u0303o", "\x1d\x56\x00", "\u009bK", "a\nb\tc\rd",
		"\xff\xfe", "€“”…–•№①ﬁ", "👨‍👩‍👧", "\u202eabc", strings.Repeat("x", 300), "ẛ̣", "İı", "\x7f",
	} {
		f.Add(s, s)
	}
	p, err := printer.ProfileByName("epson-80")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		if len(a)+len(b) > 4000 {
			return // a slip of metres: another matter
		}
		doc := printer.Document{Blocks: []printer.Block{
			printer.Text{Text: a, Bold: true, Align: printer.Centre},
			printer.Pair{Label: a, Value: b},
			printer.Text{Text: b, Wide: true, Tall: true},
			printer.Rule{}, // something to see
		}}
		job, err := printer.Encode(doc, p, a)
		if err != nil {
			t.Fatalf("refused: %v", err)
		}
		if s := render(t, job, p); !cmp.Equal(s.ProcessIDs, [][4]byte{printer.ProcessID(a)}) {
			t.Fatalf("process ids %q", s.ProcessIDs)
		}
	})
}

// TestTextIsOnlyText counts the control bytes of a job: they depend on blocks
// and styles alone, never on what the strings hold.
func TestTextIsOnlyText(t *testing.T) {
	p := profile(t, "epson-80")
	commands := func(s string) string {
		job, err := printer.Encode(printer.Document{Blocks: []printer.Block{printer.Text{Text: s}}}, p, "1")
		if err != nil {
			t.Fatal(err)
		}
		return strings.Map(func(r rune) rune {
			if r < 0x20 || r == 0x7f {
				return r
			}
			return -1
		}, string(job))
	}
	var all strings.Builder
	for b := range 0x20 {
		all.WriteByte(byte(b))
	}
	if got, want := commands("Maria"+all.String()+"\x7f\x1bp\x00\x32\x32\x10\x14\x01\x00\x01"), commands("Maria"); got != want {
		t.Errorf("commands % x, want % x", got, want)
	}
}

func TestProcessID(t *testing.T) {
	seen := map[[4]byte]bool{}
	for i := range 1000 {
		id := printer.ProcessID(fmt.Sprint(i, "/1"))
		for _, b := range id {
			if b < 0x20 || b > 0x7e {
				t.Fatalf("id %q", id)
			}
		}
		seen[id] = true
	}
	if len(seen) < 999 {
		t.Errorf("%d different ids of 1000", len(seen))
	}
	// A job that was started before an update is confirmed after it.
	if got := printer.ProcessID("000123/1"); string(got[:]) != "h[O=" {
		t.Errorf("the id of a job changed: %q", got)
	}
}

func TestProfiles(t *testing.T) {
	for _, p := range printer.Profiles() {
		if p.Name == "" || p.Title == "" || p.Dialect != "epson" || p.Tier != printer.TierA || p.Dots%8 != 0 || p.Dots/12 != p.Columns ||
			p.HeadToCutter <= 0 || p.Speed <= 0 || p.Rate <= 0 || p.Chunk <= 0 || p.Stall <= 0 ||
			p.QR.MinModule < 4 || p.QR.MaxModule < p.QR.MinModule || p.QR.MaxBytes <= 0 {
			t.Errorf("profile %+v", p)
		}
	}
	if _, err := printer.ProfileByName("star"); !errors.Is(err, printer.ErrNoProfile) || !strings.Contains(err.Error(), "epson-80, epson-58") {
		t.Errorf("got %v", err)
	}
}
