package hub

import (
	"fmt"
	"net"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ssg-safe/agent/fleet/wire"
)

// maxRead is the largest packet that is read from a broker, in bytes.
const maxRead = wire.MaxPacket + wire.MaxTopic + 16

// packetSuback is an MQTT control packet type.
const packetSuback = 9

// guard is a connection to a broker that is not trusted with the hub's memory
// and patience: paho v1.5.1 reads packets of 256 MiB, panics on a SUBACK with
// more results than topics, and, but for PUBLISH, writes without a deadline.
type guard struct {
	net.Conn

	writing sync.Mutex // one packet at a time

	// Where Read stands within the packets.
	inHeader bool
	kind     byte
	length   int
	shift    int
	left     int
}

func newGuard(conn net.Conn) *guard { return &guard{Conn: conn} }

// Read follows the fixed headers of the packets that go by.
func (g *guard) Read(p []byte) (int, error) {
	n, err := g.Conn.Read(p)
	for rest := p[:n]; len(rest) > 0; {
		switch {
		case g.left > 0:
			skip := min(g.left, len(rest))
			g.left -= skip
			rest = rest[skip:]
		case !g.inHeader: // the type
			g.inHeader, g.kind, g.length, g.shift = true, rest[0]>>4, 0, 0
			rest = rest[1:]
		default: // a byte of the length
			if g.shift > 21 {
				return 0, fmt.Errorf("the broker sends a packet without a length")
			}
			g.length |= int(rest[0]&0x7f) << g.shift
			g.shift += 7
			if rest[0]&0x80 == 0 {
				g.inHeader, g.left = false, g.length
			}
			if g.length > maxRead {
				return 0, fmt.Errorf("the broker sends a packet of %d bytes, at most %d are read", g.length, maxRead)
			}
			if !g.inHeader && g.kind == packetSuback && g.length != 3 { // the hub subscribes to one filter
				return 0, fmt.Errorf("the broker sends a SUBACK of %d bytes", g.length)
			}
			rest = rest[1:]
		}
	}
	return n, err
}

// Write gives each packet a deadline.
func (g *guard) Write(p []byte) (int, error) {
	g.writing.Lock()
	defer g.writing.Unlock()
	if err := g.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		return 0, err
	}
	n, err := g.Conn.Write(p)
	if err != nil {
		_ = g.Close() // half a packet may have gone
	}
	return n, err
}

// SetDeadline sets the deadline for reading; Write sets its own.
func (g *guard) SetDeadline(t time.Time) error { return g.SetReadDeadline(t) }

// dieSoon lets the kernel give up a connection whose data nobody acknowledges.
func dieSoon(_, _ string, c syscall.RawConn) error {
	var err error
	control := func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int((30 * time.Second).Milliseconds()))
	}
	if e := c.Control(control); e != nil {
		return e
	}
	return err
}
