// Package emulator is a receipt printer made of software: it takes the bytes
// that would go to a printer, answers as one, and hands out the slips that
// fall off its knife as text and pictures.
//
// It stands in for hardware in the demo and in tests, and shows what a stream
// looks like on paper ([Render]). It shares no code with the encoder (package
// printer/escpos): it was written from the command reference alone, so that a
// mistake there is not repeated here.
//
// # How it works
//
// Bytes come in over a line ([Printer.Connect] in memory, [Printer.Serve] over
// a pty or a connection). Real-time commands are obeyed when they arrive,
// wherever they stand; all else goes into the receive buffer. When the buffer
// is full, further bytes are lost without a word, or the line is held up, by
// Config.Flow. An interpreter takes commands out of the buffer as long as the
// printer is online and its mechanism free. Lines, codes and pictures become
// rows of dots; rows move the paper and take time, at Config.Speed. A question
// in the stream is answered when everything before it is on the paper.
//
// When the paper ends the printer goes offline, keeps its buffer, and goes on
// where it stopped after a reload. Without power it loses its buffer, not its
// paper. Between head and knife lie 12 mm: a slip begins with what lay there
// when the one before was cut, so a job that cuts without feeding loses its
// last lines to the next slip, as on paper.
//
// What no printer of the Epson family would understand, and what nobody should
// send (drawer pulses), is reported as a [Problem] of the slip it stood in.
//
// Memory is bounded whatever the input: a strip that grows beyond two metres,
// or was made by more than a megabyte, is torn off.
package emulator

import (
	"context"
	"io"
	"log/slog"
	"sync"
	"time"
)

// Config is a printer's build. The zero value is an 80 mm printer that prints
// at once, knows no process ids and keeps its slips in memory.
type Config struct {
	Dots       int          // printable width, a multiple of 8; 0 = 576
	BufferSize int          // receive buffer in bytes; 0 = 4096
	Flow       bool         // a full buffer holds the line up instead of losing bytes
	ProcessID  bool         // knows GS ( H
	Speed      int          // millimetres a second; 0 = at once
	Dir        string       // where slips are stored as they fall; empty = nowhere
	Keep       int          // slips kept in memory; 0 = 64
	Logger     *slog.Logger // nil = discard
}

const (
	dotsPerMM   = 8
	headToKnife = 12 * dotsPerMM
	maxRows     = 2000 * dotsPerMM // of a strip
	maxStrip    = 1 << 20          // bytes that may make a strip
	maxProblems = 100              // reported for one slip
	cutTime     = 300 * time.Millisecond
)

// Printer is a virtual printer. It is safe for concurrent use.
type Printer struct {
	cfg Config
	log *slog.Logger

	// mu guards everything below. Slips are stored under it: a printer whose
	// mechanism is at work does nothing else.
	mu   sync.Mutex
	wake *sync.Cond // lines: room in the buffer, an answer, an end

	conn    *Conn // the line that answers go to
	in      []byte
	lost    int
	rt      []byte // an unfinished real-time command
	machine machine
	work    []work
	busy    time.Time
	timer   *time.Timer

	off, cover, nearEnd, cutter, stalled bool

	paper    int // rows left; negative = no end
	hangUpIn int // bytes until the line dies; negative = never
	answerID func([4]byte) [4]byte
	fault    error // storing failed: the printer is broken

	strip strip
	tray  tray
}

// work is what the mechanism has to do, in order.
type work struct {
	text  *string  // what it says, noted where it begins
	rows  [][]byte // to print
	blank int      // rows to feed after them
	then  func()   // when all is on the paper
}

// New returns a printer that is switched on and has paper without end. It does
// no I/O.
func New(cfg Config) *Printer {
	if cfg.Dots <= 0 {
		cfg.Dots = 576
	}
	cfg.Dots = (cfg.Dots + 7) &^ 7
	if cfg.BufferSize <= 0 {
		cfg.BufferSize = 4096
	}
	if cfg.Keep <= 0 {
		cfg.Keep = 64
	}
	p := &Printer{cfg: cfg, log: cfg.Logger, paper: -1, hangUpIn: -1}
	if p.log == nil {
		p.log = slog.New(slog.DiscardHandler)
	}
	p.wake = sync.NewCond(&p.mu)
	p.machine.reset(p)
	p.strip.init(cfg.Dots)
	p.tray = tray{dir: cfg.Dir, keep: cfg.Keep}
	return p
}

// do runs f with the printer locked and lets the mechanism go on.
func (p *Printer) do(f func()) {
	p.mu.Lock()
	f()
	p.run()
	p.mu.Unlock()
	p.wake.Broadcast()
}

// EndPaperAfter lets the paper end after so many rows of dots, 8 to a
// millimetre.
func (p *Printer) EndPaperAfter(rows int) { p.do(func() { p.paper = max(rows, 0) }) }

// LoadPaper puts in a roll without end.
func (p *Printer) LoadPaper() { p.do(func() { p.paper = -1 }) }

// SetCover opens or closes the cover.
func (p *Printer) SetCover(open bool) { p.do(func() { p.cover = open }) }

// SetNearEnd sets the near-end sensor.
func (p *Printer) SetNearEnd(on bool) { p.do(func() { p.nearEnd = on }) }

// SetCutterError jams the knife, or frees it.
func (p *Printer) SetCutterError(on bool) { p.do(func() { p.cutter = on }) }

// Stall makes the printer take no bytes (XOFF, or CTS low) until it is called
// with false.
func (p *Printer) Stall(on bool) { p.do(func() { p.stalled = on }) }

// AnswerIDs has every process id answered by what f makes of it; nil = itself.
func (p *Printer) AnswerIDs(f func([4]byte) [4]byte) { p.do(func() { p.answerID = f }) }

// HangUp ends the line that is connected.
func (p *Printer) HangUp() { p.do(func() { p.hangUp() }) }

// HangUpAfter ends the line after it has taken n more bytes.
func (p *Printer) HangUpAfter(n int) { p.do(func() { p.hangUpIn = n }) }

// PowerOff switches the printer off: its buffer is lost, and what comes now
// is not received.
func (p *Printer) PowerOff() {
	p.do(func() {
		p.off = true
		p.in, p.rt, p.work = nil, nil, nil
		p.machine.reset(p)
	})
}

// PowerOn switches the printer on.
func (p *Printer) PowerOn() { p.do(func() { p.off = false }) }

// Lost counts the bytes that came while the buffer was full.
func (p *Printer) Lost() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.lost
}

// Slips lists the slips kept in memory, oldest first.
func (p *Printer) Slips() []Slip {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]Slip(nil), p.tray.slips...)
}

// Find returns the slip that a process id confirmed, from memory or from
// Config.Dir, where it may lie since an earlier run. The error is the
// directory's.
func (p *Printer) Find(id [4]byte) (Slip, bool, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.tray.find(id)
}

// Render prints a stream on a printer of its own, with paper of so many dots,
// and returns its slips, the newest 100 of them. What was not cut comes last,
// with a Problem that says so.
func Render(stream []byte, dots int) []Slip {
	p := New(Config{Dots: dots, ProcessID: true, Keep: maxRendered})
	p.do(func() {
		for _, b := range stream {
			p.receive(b)
			p.run()
		}
		if p.machine.line.used() {
			p.problem("the stream ends in the middle of a line")
			p.machine.flush(p)
			p.run()
		}
		if p.strip.moved {
			p.problem("not cut")
			p.strip.feed(headToKnife)
			p.cutNow()
		}
	})
	return p.Slips()
}

// maxRendered bounds the slips of one stream; of more, the newest come back.
const maxRendered = 100

// receive takes one byte from the line. Real-time commands are obeyed here.
func (p *Printer) receive(b byte) {
	if p.off {
		return
	}
	p.rt = append(p.rt, b)
	for len(p.rt) > 0 {
		more, done := p.realTime(p.rt)
		switch {
		case more:
			return
		case done:
			p.rt = p.rt[:0]
			return
		}
		if len(p.in) < p.cfg.BufferSize {
			p.in = append(p.in, p.rt[0])
		} else {
			p.lost++
		}
		p.rt = p.rt[:copy(p.rt, p.rt[1:])]
	}
}

// holds says that the line must wait.
func (p *Printer) holds() bool {
	return p.stalled || p.cfg.Flow && !p.off && len(p.in)+len(p.rt) >= p.cfg.BufferSize
}

func (p *Printer) offline() bool {
	return p.cover || p.paper == 0 || p.cutter || p.fault != nil
}

// run lets the printer work until it has to wait for bytes, paper, a closed
// cover or the mechanism.
func (p *Printer) run() {
	used := 0
	defer func() {
		if used > 0 {
			p.in = p.in[:copy(p.in, p.in[used:])]
		}
	}()
	for !p.off && !p.offline() {
		if p.cfg.Speed > 0 {
			if wait := time.Until(p.busy); wait > 0 {
				p.again(wait)
				return
			}
		}
		if len(p.work) > 0 {
			p.move()
			continue
		}
		if used == len(p.in) {
			return
		}
		b := p.in[used]
		used++
		if b == 0 && p.machine.between() {
			continue // NUL does nothing; it is no part of what makes a slip
		}
		p.strip.bytes = append(p.strip.bytes, b)
		p.machine.feed(p, b)
		if len(p.strip.bytes) >= maxStrip {
			p.tear("made by more than a megabyte")
		}
	}
}

// again calls run when the mechanism is free.
func (p *Printer) again(wait time.Duration) {
	if p.timer != nil {
		p.timer.Stop()
	}
	p.timer = time.AfterFunc(wait, func() { p.do(func() {}) })
}

// move goes on with the first piece of work: it prints as much as there is
// paper for, and ends the piece when the paper has stopped.
func (p *Printer) move() {
	w := &p.work[0]
	if w.text != nil {
		p.strip.say(*w.text)
		w.text = nil
	}
	n := len(w.rows) + w.blank
	if n == 0 {
		then := w.then
		p.work = p.work[1:]
		if then != nil {
			then()
		}
		return
	}
	if p.paper >= 0 {
		n = min(n, p.paper)
		p.paper -= n
	}
	p.spend(time.Duration(n) * time.Second / dotsPerMM)
	rows := min(n, len(w.rows))
	for _, r := range w.rows[:rows] {
		p.strip.print(r)
	}
	w.rows = w.rows[rows:]
	p.strip.feed(n - rows)
	w.blank -= n - rows
	if p.strip.rows() > maxRows {
		p.tear("longer than two metres")
	}
}

// spend takes the time that the paper needs at one millimetre a second.
func (p *Printer) spend(d time.Duration) {
	if p.cfg.Speed > 0 {
		p.busy = time.Now().Add(d / time.Duration(p.cfg.Speed))
	}
}

// do later: after the work that is waiting.
func (p *Printer) schedule(w work) { p.work = append(p.work, w) }

// problem notes something about the stream, with the place in the strip's own
// bytes.
func (p *Printer) problem(what string) {
	if len(p.strip.problems) < maxProblems {
		p.strip.problems = append(p.strip.problems, Problem{Offset: len(p.strip.bytes), What: what})
	}
}

// cutNow lets everything that has passed the knife fall.
func (p *Printer) cutNow() {
	if p.cfg.Speed > 0 {
		p.busy = time.Now().Add(cutTime)
	}
	s, ok := p.strip.cut()
	if !ok {
		return
	}
	if err := p.tray.put(s); err != nil {
		p.fail(err)
		return
	}
	p.strip.fresh = true
}

// tear ends a strip that is too much.
func (p *Printer) tear(why string) {
	p.problem("torn off: " + why)
	p.strip.feed(headToKnife)
	p.cutNow()
}

// fail breaks the printer: what it cannot keep it must not say it printed.
func (p *Printer) fail(err error) {
	p.fault = err
	p.log.Error("virtual printer cannot store a slip", "err", err)
}

// confirm answers a process id: everything before it is printed.
func (p *Printer) confirm(id [4]byte) {
	switch {
	case p.strip.moved:
		p.strip.ids = appendID(p.strip.ids, id) // of the slip that is not cut yet
	case p.strip.fresh:
		if err := p.tray.confirm(id, p.strip.bytes); err != nil {
			p.fail(err)
			return
		}
		p.strip.bytes = nil
	}
	if p.answerID != nil {
		id = p.answerID(id)
	}
	p.answer([]byte{0x37, 0x22, id[0], id[1], id[2], id[3], 0})
}

// Serve connects rw, a pty or a network connection, until it ends, the printer
// hangs up, or the context is done; it closes rw, which must end a Read of it
// (a file does so in non-blocking mode only). The error is the reason, nil when
// one of the two sides simply closed.
func (p *Printer) Serve(ctx context.Context, rw io.ReadWriteCloser) error {
	c := p.Connect()
	stop := context.AfterFunc(ctx, func() { c.Close() })
	defer stop()
	ends := make(chan error, 2)
	go func() {
		_, err := io.Copy(c, rw)
		ends <- err
	}()
	go func() {
		_, err := io.Copy(rw, c)
		ends <- err
	}()
	err := <-ends
	c.Close()
	rw.Close() //nolint:errcheck // the line has ended already
	<-ends
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}
