// Package escpos is the Epson dialect of receipt printers: commands as bytes
// ([Builder], [AppendText]) and the printer's answers taken apart ([Replies]).
// It is pure: it neither opens ports nor waits.
//
// Three things keep a slip from doing what nobody asked for. Text passes
// [AppendText], which lets no byte below 20 through, so that no name, however
// hostile, can hold a command. The Builder knows no command that opens a
// drawer: on a safe that output may be wired to a lock. And [Forbidden] finds
// what slipped through both, at the last point before the wire.
//
// The bytes are those of Epson's ESC/POS command reference and the manuals of
// the printers that follow it; each constant names its command as the
// reference does.
package escpos

// Level is the error correction of a QR symbol, as GS ( k 45 writes it.
type Level byte

// The levels that [Fit] chooses from.
const (
	LevelL Level = '0'
	LevelM Level = '1'
)

// Align is the parameter of ESC a.
type Align byte

// The alignments.
const (
	Left Align = iota
	Centre
	Right
)

// Style is how text looks.
type Style struct {
	Bold, Wide, Tall bool
	Align            Align
}

// Builder writes a job. It remembers the style that the printer is in and
// leaves out commands that would change nothing. The zero value is not ready:
// begin with [Builder.Reset]. Its methods append to Bytes and never fail.
type Builder struct {
	Bytes []byte
	style Style
}

// Reset puts the whole state of the printer back, whatever an earlier job or
// another program left: ESC @ does not reset everything on every model.
// Lock disables the real-time drawer pulse and power-off (GS ( D), on printers
// that know it. Dots is the printable width.
func (b *Builder) Reset(dots int, lock bool) {
	b.Bytes = append(b.Bytes, 0x1b, '@') // initialise
	if lock {
		// functions 1 (pulse) and 2 (power-off) of DLE DC4: off
		b.Bytes = append(b.Bytes, 0x1d, '(', 'D', 5, 0, 20, 1, 0, 2, 0)
	}
	b.Bytes = append(
		b.Bytes,
		0x1d, 'a', 0, // no automatic status
		0x1b, 'R', 0, // international set USA: # $ @ [ ] { } stay what they are
		0x1b, 't', 2, // CP850
		0x1b, '2', // default line spacing
		0x1b, '!', 0, // font A, not bold, not underlined, single size
		0x1b, 'E', 0,
		0x1d, '!', 0,
		0x1d, 'B', 0, // not inverse
		0x1b, 'a', 0,
		0x1d, 'L', 0, 0, // left margin
		0x1d, 'W', byte(dots), byte(dots>>8),
	)
	b.style = Style{}
}

// Style changes the style where it differs. Alignment works at the beginning
// of a line only.
func (b *Builder) Style(s Style) {
	if s.Align != b.style.Align {
		b.Bytes = append(b.Bytes, 0x1b, 'a', byte(s.Align))
	}
	if s.Bold != b.style.Bold {
		b.Bytes = append(b.Bytes, 0x1b, 'E', bit(s.Bold, 1))
	}
	if s.Wide != b.style.Wide || s.Tall != b.style.Tall {
		b.Bytes = append(b.Bytes, 0x1d, '!', bit(s.Wide, 0x10)|bit(s.Tall, 1))
	}
	b.style = s
}

// Line ends a line.
func (b *Builder) Line() { b.Bytes = append(b.Bytes, '\n') }

// Feed moves the paper by whole lines, at most 255.
func (b *Builder) Feed(lines int) {
	switch {
	case lines <= 0:
	case lines <= 2:
		for range lines {
			b.Line()
		}
	default:
		b.Bytes = append(b.Bytes, 0x1b, 'd', byte(min(lines, 255)))
	}
}

// QR has the printer draw a symbol, module dots to a module. The data is
// printable ASCII of at most 7,089 bytes; the caller has checked that it fits.
func (b *Builder) QR(data string, level Level, module int) {
	n := len(data) + 3
	b.Bytes = append(
		b.Bytes,
		0x1d, '(', 'k', 4, 0, '1', 'A', '2', 0, // model 2
		0x1d, '(', 'k', 3, 0, '1', 'C', byte(module),
		0x1d, '(', 'k', 3, 0, '1', 'E', byte(level),
		0x1d, '(', 'k', byte(n), byte(n>>8), '1', 'P', '0',
	)
	b.Bytes = append(b.Bytes, data...)
	b.Bytes = append(b.Bytes, 0x1d, '(', 'k', 3, 0, '1', 'Q', '0')
}

// Cut feeds to the knife and cuts partially: the form that never cuts through
// the last lines.
func (b *Builder) Cut() { b.Bytes = append(b.Bytes, 0x1d, 'V', 'B', 0) }

// ProcessID asks for an answer when all before it is printed and cut. Each
// byte of the id lies in 20 to 7E.
func (b *Builder) ProcessID(id [4]byte) {
	b.Bytes = append(b.Bytes, 0x1d, '(', 'H', 6, 0, '0', '0', id[0], id[1], id[2], id[3])
}

// Status asks, in real time, for group n (1 printer, 2 offline, 3 error, 4
// paper).
func Status(n byte) []byte { return []byte{0x10, 0x04, n} }

// Barrier asks for the paper sensors in order: the answer comes after all that
// was sent before it, and not at all while the printer is out of paper.
func Barrier() []byte { return []byte{0x1d, 'r', 1} }

// CutOff parts what is on the paper from what comes.
func CutOff() []byte { return []byte{0x1d, 'V', 'B', 0} }

// Resync ends whatever command an interrupted job left open, of at most open
// bytes of parameters, and initialises. It prints nothing.
func Resync(open int) []byte {
	b := make([]byte, open, open+2)
	return append(b, 0x1b, '@')
}

func bit(on bool, v byte) byte {
	if on {
		return v
	}
	return 0
}
