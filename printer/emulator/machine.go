package emulator

import (
	"fmt"
)

const (
	nul = 0x00
	ht  = 0x09
	lf  = 0x0a
	cr  = 0x0d
	esc = 0x1b
	fs  = 0x1c
	gs  = 0x1d
)

// machine interprets the stream, one byte at a time.
type machine struct {
	cmd  []byte // an unfinished command
	left int64  // bytes of data that belong to the command before
	data func(b byte)

	page    *codePage
	style   style
	align   byte
	spacing int // rows from line to line
	margin  int // dots on the left
	width   int // dots of the print area
	line    line
	symbol  symbol
}

// style is how a character looks. Wide and tall count from 1.
type style struct {
	fontB, bold, inverse bool
	underline            byte
	wide, tall           byte
}

const defaultSpacing = 30

// reset is what ESC @ and a power cycle do.
func (m *machine) reset(p *Printer) {
	*m = machine{
		cmd:     m.cmd[:0],
		page:    pages[0],
		style:   style{wide: 1, tall: 1},
		spacing: defaultSpacing,
		width:   p.cfg.Dots,
		line:    line{cells: m.line.cells[:0]},
		symbol:  symbol{module: 3, level: '0'},
	}
}

// between is true when no command is open.
func (m *machine) between() bool { return len(m.cmd) == 0 && m.left == 0 }

// feed takes the next byte of the stream.
func (m *machine) feed(p *Printer, b byte) {
	if m.left > 0 {
		m.left--
		m.data(b)
		return
	}
	if len(m.cmd) == 0 {
		switch {
		case b == lf:
			m.newline(p)
		case b == cr: // the printer is set to ignore it
		case b == ht:
			m.tab(p)
		case b == esc || b == gs || b == fs:
			m.cmd = append(m.cmd, b)
		case b < 0x20 || b == 0x7f:
			p.problem(fmt.Sprintf("unknown byte %02X", b))
		default:
			m.char(p, b)
		}
		return
	}
	m.cmd = append(m.cmd, b)
	if len(m.cmd) < 2 {
		return
	}
	c, ok := commands[[2]byte{m.cmd[0], m.cmd[1]}]
	if !ok {
		p.problem(fmt.Sprintf("unknown command %02X %02X", m.cmd[0], m.cmd[1]))
		m.cmd = m.cmd[:0]
		return
	}
	if a := m.cmd[2:]; len(a) >= c.need(a) {
		// run may begin to take data, or reset the machine
		a := append([]byte(nil), a...)
		m.cmd = m.cmd[:0]
		c.run(m, p, a)
	}
}

// take passes the next n bytes to f.
func (m *machine) take(n int64, f func(b byte)) { m.left, m.data = n, f }

// command is one command: how many bytes of parameters it has, as far as those
// there tell, and what it does.
type command struct {
	need func(a []byte) int
	run  func(m *machine, p *Printer, a []byte)
}

func params(n int, run func(m *machine, p *Printer, a []byte)) command {
	return command{func([]byte) int { return n }, run}
}

var commands = map[[2]byte]command{
	{esc, '@'}: params(0, func(m *machine, p *Printer, _ []byte) { m.reset(p) }),
	{esc, 't'}: params(1, (*machine).codePage),
	{esc, 'R'}: params(1, func(_ *machine, p *Printer, a []byte) {
		if a[0] != 0 {
			p.problem(fmt.Sprintf("international set %d is not built in", a[0]))
		}
	}),
	{esc, 'd'}: params(1, func(m *machine, p *Printer, a []byte) {
		if m.line.used() {
			m.flush(p)
			a[0] = max(a[0], 1) - 1
		}
		for range a[0] {
			m.newline(p)
		}
	}),
	{esc, 'J'}: params(1, func(m *machine, p *Printer, a []byte) {
		m.flush(p)
		p.schedule(work{blank: int(a[0])})
	}),
	{esc, '2'}: params(0, func(m *machine, _ *Printer, _ []byte) { m.spacing = defaultSpacing }),
	{esc, '3'}: params(1, func(m *machine, _ *Printer, a []byte) { m.spacing = int(a[0]) }),
	{esc, 'a'}: params(1, func(m *machine, p *Printer, a []byte) {
		switch n := a[0] & 0x0f; {
		case n > 2:
			p.problem(fmt.Sprintf("unknown alignment %02X", a[0]))
		case m.line.used():
			p.problem("alignment in the middle of a line")
		default:
			m.align = n
		}
	}),
	{esc, 'E'}: params(1, func(m *machine, _ *Printer, a []byte) { m.style.bold = a[0]&1 != 0 }),
	{esc, 'G'}: params(1, func(m *machine, _ *Printer, a []byte) { m.style.bold = a[0]&1 != 0 }),
	{esc, '-'}: params(1, func(m *machine, _ *Printer, a []byte) { m.style.underline = a[0] & 0x0f % 3 }),
	{esc, 'M'}: params(1, func(m *machine, _ *Printer, a []byte) { m.style.fontB = a[0]&1 != 0 }),
	{esc, '!'}: params(1, func(m *machine, _ *Printer, a []byte) {
		n := a[0]
		m.style.fontB, m.style.bold = n&1 != 0, n&8 != 0
		m.style.tall, m.style.wide = 1+n>>4&1, 1+n>>5&1
		m.style.underline = n >> 7
	}),
	{esc, 'p'}: params(3, func(_ *machine, p *Printer, _ []byte) { p.problem("drawer pulse") }),
	{gs, '!'}: params(1, func(m *machine, p *Printer, a []byte) {
		if a[0]&0x88 != 0 {
			p.problem(fmt.Sprintf("unknown size %02X", a[0]))
			return
		}
		m.style.wide, m.style.tall = 1+a[0]>>4, 1+a[0]&7
	}),
	{gs, 'B'}: params(1, func(m *machine, _ *Printer, a []byte) { m.style.inverse = a[0]&1 != 0 }),
	{gs, 'L'}: params(2, func(m *machine, p *Printer, a []byte) {
		m.margin = min(le(a), p.cfg.Dots)
		m.width = min(m.width, p.cfg.Dots-m.margin)
	}),
	{gs, 'W'}: params(2, func(m *machine, p *Printer, a []byte) { m.width = min(le(a), p.cfg.Dots-m.margin) }),
	{gs, 'V'}: {
		need: func(a []byte) int {
			if len(a) > 0 && (a[0] == 'A' || a[0] == 'B') {
				return 2
			}
			return 1
		},
		run: (*machine).knife,
	},
	{gs, 'I'}: params(1, (*machine).identity),
	{gs, 'r'}: params(1, func(_ *machine, p *Printer, a []byte) {
		switch b := byte(0); a[0] {
		case 1, '1':
			if p.nearEnd {
				b = 0x03
			}
			p.answer([]byte{b})
		case 2, '2':
			p.answer([]byte{b})
		default:
			p.problem(fmt.Sprintf("unknown sensor %02X", a[0]))
		}
	}),
	{gs, 'a'}: params(1, func(_ *machine, p *Printer, a []byte) {
		if a[0] != 0 {
			p.problem("automatic status is not built in")
		}
	}),
	{gs, '('}: {
		need: func(a []byte) int {
			if len(a) < 3 {
				return 3
			}
			return 3 + le(a[1:])
		},
		run: (*machine).extended,
	},
	{gs, 'v'}: {
		need: func(a []byte) int {
			if len(a) > 0 && a[0] != '0' {
				return 1
			}
			return 6
		},
		run: (*machine).raster,
	},
	{gs, '8'}: params(5, func(m *machine, p *Printer, a []byte) {
		p.problem(fmt.Sprintf("unknown command 1D 38 %02X", a[0]))
		n := int64(le(a[1:])) | int64(le(a[3:]))<<16
		m.take(n, func(byte) {})
	}),
	{esc, '*'}: params(3, func(m *machine, p *Printer, a []byte) {
		p.problem("column images are not built in")
		n := int64(le(a[1:]))
		if a[0] >= 32 {
			n *= 3
		}
		m.take(n, func(byte) {})
	}),
	{fs, '.'}: params(0, func(*machine, *Printer, []byte) {}), // no Chinese characters
}

// le is a 16-bit number, low byte first.
func le(a []byte) int { return int(a[0]) | int(a[1])<<8 }

func (m *machine) codePage(p *Printer, a []byte) {
	if page, ok := pages[a[0]]; ok {
		m.page = page
	} else {
		p.problem(fmt.Sprintf("unknown code page %d", a[0]))
	}
}

// knife is GS V: cut here, or move the text past the knife first.
func (m *machine) knife(p *Printer, a []byte) {
	m.flush(p)
	w := work{then: p.cutNow}
	switch a[0] {
	case 0, 1, '0', '1':
	case 'A', 'B':
		w.blank = headToKnife + int(a[1])
	default:
		p.problem(fmt.Sprintf("unknown cut %02X", a[0]))
		return
	}
	p.schedule(w)
}

func (m *machine) identity(p *Printer, a []byte) {
	texts := map[byte]string{'A': "1.00", 'B': "SSG", 'C': "VIRTUAL", 'D': "000001"}
	switch t, ok := texts[a[0]]; {
	case ok:
		p.answer(append(append([]byte{0x5f}, t...), 0))
	case a[0] == 1 || a[0] == '1':
		p.answer([]byte{0x20})
	case a[0] == 2 || a[0] == '2':
		p.answer([]byte{0x02}) // has a knife
	default:
		p.problem(fmt.Sprintf("unknown identity %02X", a[0]))
	}
}

// extended is GS ( fn pL pH …
func (m *machine) extended(p *Printer, a []byte) {
	fn, d := a[0], a[3:]
	switch {
	case fn == 'k' && len(d) >= 2 && d[0] == '1':
		m.twoDimensional(p, d[1], d[2:])
	case fn == 'H' && len(d) == 6 && d[0] == '0' && d[1] == '0':
		if p.cfg.ProcessID {
			p.confirm([4]byte(d[2:]))
		}
	case fn == 'D' && len(d)%2 == 1 && d[0] == 20:
		for i := 1; i < len(d); i += 2 {
			if d[i+1]&1 != 0 {
				p.problem(fmt.Sprintf("real-time command %d enabled", d[i]))
			}
		}
	default:
		p.problem(fmt.Sprintf("unknown command 1D 28 %02X with %d bytes", fn, len(d)))
	}
}
