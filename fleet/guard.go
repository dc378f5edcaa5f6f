package fleet

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// MQTT 3.1.1 control packet types (section 2.2.1).
const (
	packetConnack    = 2
	packetPublish    = 3
	packetPuback     = 4
	packetSuback     = 9
	packetPingresp   = 13
	packetDisconnect = 14
)

// errEnded is what the client reads after this side closed the connection. It
// must not be net.ErrClosed: paho takes that for its own doing, and would not
// notice that the connection is gone.
var errEnded = errors.New("the connection was ended on this side")

// errGivenUp: the client closed the connection; ConnectionLost says why.
var errGivenUp = errors.New("the MQTT client gave the connection up")

// errByPeer: the other side ended the connection.
var errByPeer = errors.New("the broker ended the connection")

// errPacket: a packet that no broker may send to this client.
var errPacket = errors.New("the broker breaks the protocol")

// guard is the connection as the MQTT client sees it. A broker is not trusted,
// and paho v1.5.1 reads packets of 256 MiB, panics on a SUBACK with more
// results than topics, takes unknown refusals for success and starts a goroutine
// for each message. So the guard lets through only whole packets that it
// understands and this client can have asked for, and one message at a time. It
// also gives each write a deadline (paho: PUBLISH only), and counts what has
// been written, so that a publish is begun only when it cannot block.
//
// One goroutine reads, any may write.
type guard struct {
	conn, raw net.Conn
	in        *bufio.Reader
	packet    []byte // of the current packet, what has not been read yet
	buf       []byte // behind packet
	started   bool   // CONNACK has been read

	arrived chan struct{} // capacity 1: the handler has seen the last PUBLISH

	wrote    atomic.Uint64 // PUBLISH packets written
	progress chan struct{} // capacity 1: wrote rose

	writing chan struct{} // capacity 1: held while a packet is written
	once    sync.Once
	closed  chan struct{}

	mu    sync.Mutex // guards cause
	cause error      // the first
}

func newGuard(conn, raw net.Conn) *guard {
	g := &guard{
		conn: conn, raw: raw, in: bufio.NewReader(conn),
		arrived: make(chan struct{}, 1), progress: make(chan struct{}, 1),
		writing: make(chan struct{}, 1), closed: make(chan struct{}),
	}
	g.arrive() // there was no message before the first
	return g
}

// signal wakes whoever waits on c, now or later.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// end closes the connection, once; the first cause stays.
func (g *guard) end(cause error) {
	g.once.Do(func() {
		g.mu.Lock()
		g.cause = cause
		g.mu.Unlock()
		close(g.closed)
		_ = g.raw.Close() // nothing can be done about a connection that does not close
	})
}

// why is the cause of the end.
func (g *guard) why() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.cause
}

// failed ends the connection with an error of it, and returns what the client
// is told.
func (g *guard) failed(what string, err error) error {
	select {
	case <-g.closed:
		return errEnded
	default:
	}
	if errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) {
		err = fmt.Errorf("%w: %w", errByPeer, err)
	}
	g.end(fmt.Errorf("%s: %w", what, err))
	return errEnded
}

// Read gives the client the bytes of packets that have been looked at.
func (g *guard) Read(p []byte) (int, error) {
	if len(g.packet) == 0 {
		if err := g.next(); err != nil {
			return 0, g.failed("read", err)
		}
	}
	n := copy(p, g.packet)
	g.packet = g.packet[n:]
	return n, nil
}

// next reads one packet into g.packet.
func (g *guard) next() error {
	first, err := g.in.ReadByte()
	if err != nil {
		return err
	}
	length, head := 0, append(g.buf[:0], first)
	for shift := 0; ; shift += 7 {
		if shift > 21 {
			return fmt.Errorf("%w: length of more than four bytes", errPacket)
		}
		b, err := g.in.ReadByte()
		if err != nil {
			return unexpected(err)
		}
		head = append(head, b)
		length |= int(b&0x7f) << shift
		if b&0x80 == 0 {
			break
		}
	}
	if length > maxPacketRead {
		return fmt.Errorf("%w: packet of %d bytes", errPacket, length)
	}
	whole := append(head, make([]byte, length)...)
	body := whole[len(head):]
	if _, err := io.ReadFull(g.in, body); err != nil {
		return unexpected(err)
	}
	if err := g.vet(first, body); err != nil {
		return err
	}
	if first>>4 == packetPublish {
		if err := g.admit(); err != nil {
			return err
		}
	}
	g.buf, g.packet = whole, whole
	if cap(g.buf) > 8<<10 {
		g.buf = nil // a large packet's memory is not kept
	}
	return nil
}

func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// vet refuses what this client cannot have asked for: it subscribes one filter
// at a time with QoS 0, never unsubscribes and publishes with QoS 0 and 1.
func (g *guard) vet(first byte, body []byte) error {
	kind, flags := first>>4, first&0x0f
	bad := func(why string) error {
		return fmt.Errorf("%w: packet type %d, %d bytes: %s", errPacket, kind, len(body), why)
	}
	if g.started == (kind == packetConnack) {
		return bad("CONNACK comes first, and once")
	}
	if kind != packetPublish && flags != 0 {
		return bad("flags")
	}
	switch kind {
	case packetConnack:
		if len(body) != 2 || body[0] > 1 || body[1] > 5 {
			return bad("not a CONNACK")
		}
		g.started = true
	case packetPublish:
		if flags&0x06 != 0 {
			return bad("QoS above what was subscribed")
		}
		if len(body) < 2 {
			return bad("no topic")
		}
		if n := int(binary.BigEndian.Uint16(body)); n == 0 || n > len(body)-2 {
			return bad("topic of another length")
		}
	case packetPuback:
		if len(body) != 2 {
			return bad("length")
		}
	case packetSuback:
		if len(body) != 3 {
			return bad("length")
		}
	case packetPingresp:
		if len(body) != 0 {
			return bad("length")
		}
	default:
		return bad("not for a client like this")
	}
	return nil
}

// admit waits until the handler has seen the message before this one. The
// client would start a goroutine for each, so that a flood was a flood of them,
// and one message could overtake another.
func (g *guard) admit() error {
	select {
	case <-g.arrived:
		return nil
	case <-g.closed:
		return errEnded
	}
}

// arrive notes that the handler has seen a message.
func (g *guard) arrive() { signal(g.arrived) }

// Write writes one packet within the deadline; paho gives a whole packet to one
// Write. Whoever waits for another's packet waits no longer than that has.
func (g *guard) Write(p []byte) (int, error) {
	select {
	case g.writing <- struct{}{}:
		defer func() { <-g.writing }()
	case <-g.closed:
		return 0, errEnded
	}
	if err := g.conn.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		return 0, g.failed("write", err)
	}
	n, err := g.conn.Write(p)
	if err != nil {
		return n, g.failed("write", err)
	}
	if len(p) > 0 && p[0]>>4 == packetPublish {
		g.wrote.Add(1)
		signal(g.progress)
	}
	return n, nil
}

// Close ends the connection, as the client does when it gives it up.
func (g *guard) Close() error {
	g.end(errGivenUp)
	return nil
}

// LocalAddr implements net.Conn.
func (g *guard) LocalAddr() net.Addr { return g.conn.LocalAddr() }

// RemoteAddr implements net.Conn.
func (g *guard) RemoteAddr() net.Addr { return g.conn.RemoteAddr() }

// SetDeadline implements net.Conn for reads; writes have the guard's deadline.
func (g *guard) SetDeadline(t time.Time) error { return g.conn.SetReadDeadline(t) }

// SetReadDeadline implements net.Conn.
func (g *guard) SetReadDeadline(t time.Time) error { return g.conn.SetReadDeadline(t) }

// SetWriteDeadline implements net.Conn. The guard has deadlines of its own; two
// of paho's goroutines would take each other's away.
func (g *guard) SetWriteDeadline(time.Time) error { return nil }
