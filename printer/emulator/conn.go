package emulator

import (
	"io"
	"os"
	"syscall"
	"time"
)

// Conn is one line to the printer, in memory. It has what a printer.Port
// needs, and is safe for one reader and one writer at a time.
type Conn struct {
	p *Printer

	// guarded by p.mu
	out           []byte // answers not yet read
	closed        bool   // by this side
	dead          bool   // hung up by the printer
	read, written deadline
}

// maxAnswers bounds answers that nobody reads.
const maxAnswers = 4096

// Connect returns a new line to the printer. A printer has one: an earlier
// line is hung up.
func (p *Printer) Connect() *Conn {
	c := &Conn{p: p}
	p.do(func() {
		p.hangUp()
		p.conn = c
	})
	return c
}

func (p *Printer) hangUp() {
	if p.conn != nil {
		p.conn.dead = true
	}
	p.conn, p.hangUpIn = nil, -1
}

// answer sends bytes to whoever is connected.
func (p *Printer) answer(b []byte) {
	if c := p.conn; c != nil && len(c.out)+len(b) <= maxAnswers {
		c.out = append(c.out, b...)
	}
}

// Read returns answers as they come. After a hang-up it returns io.EOF.
func (c *Conn) Read(b []byte) (int, error) {
	c.p.mu.Lock()
	defer c.p.mu.Unlock()
	for {
		switch {
		case c.closed:
			return 0, os.ErrClosed
		case c.read.expired():
			return 0, os.ErrDeadlineExceeded
		case len(b) == 0:
			return 0, nil
		case len(c.out) > 0:
			n := copy(b, c.out)
			c.out = c.out[:copy(c.out, c.out[n:])]
			return n, nil
		case c.dead:
			return 0, io.EOF
		}
		c.p.wake.Wait()
	}
}

// Write gives bytes to the printer as fast as it takes them. After a hang-up
// it fails with EIO, as a line does.
func (c *Conn) Write(b []byte) (n int, err error) {
	for {
		c.p.do(func() {
			for {
				switch {
				case c.closed:
					err = os.ErrClosed
				case n == len(b):
				case c.dead:
					err = syscall.EIO
				case c.p.holds():
					if c.written.expired() {
						err = os.ErrDeadlineExceeded
					}
				default:
					c.p.take(b[n])
					n++
					continue
				}
				return
			}
		})
		if err != nil || n == len(b) {
			return n, err
		}
		c.waitRoom()
	}
}

// take takes a byte off the line, which may die with it.
func (p *Printer) take(b byte) {
	if p.hangUpIn > 0 {
		if p.hangUpIn--; p.hangUpIn == 0 {
			p.hangUp()
		}
	}
	p.receive(b)
	p.run()
}

// waitRoom waits until another try of Write may do something.
func (c *Conn) waitRoom() {
	c.p.mu.Lock()
	defer c.p.mu.Unlock()
	for c.p.holds() && !c.closed && !c.dead && !c.written.expired() {
		c.p.wake.Wait()
	}
}

// Close ends the line. The printer goes on with what it has.
func (c *Conn) Close() error {
	c.p.do(func() {
		c.closed = true
		c.read.set(c.p, time.Time{})
		c.written.set(c.p, time.Time{})
		if c.p.conn == c {
			c.p.conn, c.p.hangUpIn = nil, -1
		}
	})
	return nil
}

// SetReadDeadline bounds Read; the zero time takes the bound away.
func (c *Conn) SetReadDeadline(t time.Time) error { return c.setDeadline(&c.read, t) }

// SetWriteDeadline bounds Write; the zero time takes the bound away.
func (c *Conn) SetWriteDeadline(t time.Time) error { return c.setDeadline(&c.written, t) }

func (c *Conn) setDeadline(d *deadline, t time.Time) error {
	c.p.mu.Lock()
	defer c.p.mu.Unlock()
	if c.closed {
		return os.ErrClosed
	}
	d.set(c.p, t)
	c.p.wake.Broadcast()
	return nil
}

// deadline wakes the line's waiters when its time has come.
type deadline struct {
	at    time.Time
	timer *time.Timer
}

func (d *deadline) expired() bool { return !d.at.IsZero() && time.Until(d.at) <= 0 }

func (d *deadline) set(p *Printer, t time.Time) {
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
	d.at = t
	if wait := time.Until(t); !t.IsZero() && wait > 0 {
		d.timer = time.AfterFunc(wait, func() {
			p.mu.Lock() // whoever looked at the time before is waiting by now
			defer p.mu.Unlock()
			p.wake.Broadcast()
		})
	}
}
