package printer

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/ssg-safe/agent/printer/escpos"
)

// What a document can be refused for. Errors of [Encode] wrap one of these, or
// say that the profile is not usable.
var (
	// ErrDoesNotFit: a QR code is too large for the paper or the printer, even
	// at the lowest level and the smallest module.
	ErrDoesNotFit = errors.New("does not fit on the paper")
	// ErrCode: a QR code is empty or not printable ASCII.
	ErrCode = errors.New("not a printable code")
	// ErrForbidden: the bytes hold a real-time command or a drawer pulse.
	ErrForbidden = errors.New("forbidden bytes")
)

// The paper's geometry in dots, as the reset leaves it.
const (
	lineDots = 30 // default line spacing
	tallDots = 48 // a line of double height
)

// encode is Encode, and the millimetres of paper that it needs.
func encode(d Document, p Profile, jobID string) (job []byte, mm int, err error) {
	if p.Dialect != "epson" {
		return nil, 0, fmt.Errorf("profile %s: unknown dialect %q", p.Name, p.Dialect)
	}
	e := encoder{profile: p, text: make([]byte, 0, 256)}
	e.b.Bytes = make([]byte, 0, 1024)
	e.b.Reset(p.Dots, p.RealTimeLock)
	cut := true // nothing to cut yet
	for i, block := range d.Blocks {
		if err := e.block(block); err != nil {
			return nil, 0, fmt.Errorf("block %d: %w", i, err)
		}
		_, cut = block.(Cut)
	}
	if !cut || len(d.Blocks) == 0 {
		e.cut()
	}
	e.b.ProcessID(ProcessID(jobID))
	if what := escpos.Forbidden(e.b.Bytes); what != "" {
		return nil, 0, fmt.Errorf("%w: %s", ErrForbidden, what)
	}
	return e.b.Bytes, (e.dots + dotsPerMM - 1) / dotsPerMM, nil
}

type encoder struct {
	b       escpos.Builder
	profile Profile
	dots    int    // of paper so far
	text    []byte // scratch
}

func (e *encoder) block(b Block) error {
	switch b := b.(type) {
	case Text:
		e.paragraph(b)
	case Pair:
		e.pair(b)
	case QR:
		return e.qr(b.Code)
	case Rule:
		// double width: half the bytes
		e.b.Style(escpos.Style{Wide: true})
		e.b.Bytes = append(e.b.Bytes, rule[:min(e.profile.Columns/2, len(rule))]...)
		e.line(false)
	case Feed:
		e.feed(b.Lines)
	case Cut:
		e.cut()
	default:
		return fmt.Errorf("unknown block %T", b)
	}
	return nil
}

const rule = "----------------------------------------------------------------"

func (e *encoder) paragraph(t Text) {
	e.text = escpos.AppendText(e.text[:0], t.Text)
	width := e.profile.Columns
	if t.Wide {
		width /= 2
	}
	e.b.Style(escpos.Style{Bold: t.Bold, Wide: t.Wide, Tall: t.Tall, Align: escpos.Align(t.Align)})
	e.wrap(e.text, width, t.Tall)
}

func (e *encoder) pair(p Pair) {
	e.text = escpos.AppendText(e.text[:0], p.Label)
	n := len(e.text)
	e.text = escpos.AppendText(e.text, p.Value)
	label, value := e.text[:n], e.text[n:]
	gap := e.profile.Columns - len(label) - len(value)
	e.b.Style(escpos.Style{Bold: p.Bold})
	if gap < 1 {
		e.wrap(label, e.profile.Columns, false)
		e.b.Style(escpos.Style{Bold: p.Bold, Align: escpos.Right})
		e.wrap(value, e.profile.Columns, false)
		return
	}
	e.b.Bytes = append(e.b.Bytes, label...)
	for range gap {
		e.b.Bytes = append(e.b.Bytes, ' ')
	}
	e.b.Bytes = append(e.b.Bytes, value...)
	e.line(false)
}

// wrap prints text in lines of at most width characters, broken between words
// where there is a space.
func (e *encoder) wrap(text []byte, width int, tall bool) {
	for {
		line, rest := text, []byte(nil)
		if len(text) > width {
			at := bytes.LastIndexByte(text[:width+1], ' ')
			if at <= 0 {
				at = width
			}
			line, rest = bytes.TrimRight(text[:at], " "), bytes.TrimLeft(text[at:], " ")
		}
		e.b.Bytes = append(e.b.Bytes, line...)
		e.line(tall)
		if len(rest) == 0 {
			return
		}
		text = rest
	}
}

func (e *encoder) line(tall bool) {
	e.b.Line()
	if tall {
		e.dots += tallDots
	} else {
		e.dots += lineDots
	}
}

func (e *encoder) feed(lines int) {
	lines = min(max(lines, 0), 255)
	e.b.Feed(lines)
	e.dots += lines * lineDots
}

func (e *encoder) qr(code string) error {
	for i := range len(code) {
		if code[i] < 0x20 || code[i] > 0x7e {
			return fmt.Errorf("QR code: byte %d: %w", i, ErrCode)
		}
	}
	q := e.profile.QR
	level, module, modules, ok := escpos.Fit(len(code), e.profile.Dots, q.MinModule, q.MaxModule)
	switch {
	case code == "":
		return fmt.Errorf("QR code is empty: %w", ErrCode)
	case !ok || len(code) > q.MaxBytes:
		return fmt.Errorf("QR code of %d bytes on %d dots: %w", len(code), e.profile.Dots, ErrDoesNotFit)
	}
	quiet := (4*module + lineDots - 1) / lineDots // the command draws no quiet zone
	e.b.Style(escpos.Style{Align: escpos.Centre})
	e.feed(quiet)
	e.b.QR(code, level, module)
	e.dots += modules * module
	e.feed(quiet)
	return nil
}

func (e *encoder) cut() {
	e.b.Style(escpos.Style{})
	e.b.Cut()
	e.dots += e.profile.HeadToCutter * dotsPerMM
}
