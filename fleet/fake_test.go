package fleet_test

import (
	"context"
	"errors"
	"net"
	"sync"
	"testing"

	"github.com/eclipse/paho.mqtt.golang/packets"
)

// fakeBroker is a tiny MQTT 3.1.1 broker for one terminal, over net.Pipe, which
// does what its script says. Every connection of the terminal is a *peer.
type fakeBroker struct {
	done chan struct{} // closed when the test ends

	mu sync.Mutex // guards what follows

	dialErr  error             // of every dial
	connack  byte              // return code
	suback   byte              // return code
	noPuback bool              // PUBLISH is never acknowledged
	mute     bool              // nothing is answered, everything is read
	deaf     bool              // nothing is read any more
	hangUp   bool              // ends the connection at the CONNECT
	noSuback bool              // SUBSCRIBE is never answered
	onDial   func(addr string) // called with mu held
	greet    func(*peer)       // after the SUBACK
	publish  func(*peer, *pub) // each PUBLISH that arrives, before its PUBACK
	refuse   func(*pub) bool   // ends the connection instead of taking it

	peers    []*peer
	connects []*packets.ConnectPacket
	filters  []string
}

// pub is a PUBLISH that the broker received.
type pub struct {
	topic    string
	payload  []byte
	qos      byte
	retained bool
}

// peer is the broker's end of a connection.
type peer struct {
	b    *fakeBroker
	conn net.Conn
	gone chan struct{} // closed when it ended
	out  chan packets.ControlPacket
	mu   sync.Mutex // guards bye
	bye  bool       // DISCONNECT came
}

// came returns the CONNECTs so far.
func (b *fakeBroker) came() []*packets.ConnectPacket {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.connects
}

func (b *fakeBroker) set(change func(*fakeBroker)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	change(b)
}

// dial is Options.Dial.
func (b *fakeBroker) dial(_ context.Context, _, addr string) (net.Conn, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.onDial != nil {
		b.onDial(addr)
	}
	if b.dialErr != nil {
		return nil, b.dialErr
	}
	here, there := net.Pipe()
	p := &peer{b: b, conn: there, gone: make(chan struct{}), out: make(chan packets.ControlPacket, 1000)}
	b.peers = append(b.peers, p)
	go p.write()
	go p.read()
	return here, nil
}

// last is the newest connection.
func (b *fakeBroker) last() *peer {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.peers) == 0 {
		return nil
	}
	return b.peers[len(b.peers)-1]
}

// kill ends the newest connection without a word.
func (b *fakeBroker) kill() {
	if p := b.last(); p != nil {
		p.conn.Close()
	}
}

// forget drops what was recorded of connections that are over.
func (b *fakeBroker) forget() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.peers = b.peers[max(0, len(b.peers)-1):]
	b.connects, b.filters = nil, nil
}

func (p *peer) send(c packets.ControlPacket) {
	select {
	case p.out <- c:
	case <-p.gone:
	}
}

// deliver publishes to the terminal.
func (p *peer) deliver(topic string, payload []byte) {
	c := packets.NewControlPacket(packets.Publish).(*packets.PublishPacket)
	c.TopicName, c.Payload = topic, payload
	p.send(c)
}

func (p *peer) write() {
	for {
		select {
		case c := <-p.out:
			if c.Write(p.conn) != nil {
				return
			}
		case <-p.gone:
			return
		}
	}
}

func (p *peer) read() {
	defer close(p.gone)
	defer p.conn.Close()
	for {
		c, err := packets.ReadPacket(p.conn)
		if err != nil {
			return
		}
		b := p.b
		b.mu.Lock()
		connack, suback, noPuback, mute, deaf := b.connack, b.suback, b.noPuback, b.mute, b.deaf
		greet, publish, refuse, hangUp, noSuback := b.greet, b.publish, b.refuse, b.hangUp, b.noSuback
		b.mu.Unlock()
		if deaf {
			<-b.done
			return
		}
		if mute {
			continue
		}
		switch c := c.(type) {
		case *packets.ConnectPacket:
			b.set(func(b *fakeBroker) { b.connects = append(b.connects, c) })
			if hangUp {
				return
			}
			r := packets.NewControlPacket(packets.Connack).(*packets.ConnackPacket)
			r.ReturnCode = connack
			p.send(r)
			if connack != 0 {
				continue
			}
		case *packets.SubscribePacket:
			b.set(func(b *fakeBroker) { b.filters = append(b.filters, c.Topics...) })
			if noSuback {
				continue
			}
			r := packets.NewControlPacket(packets.Suback).(*packets.SubackPacket)
			r.MessageID, r.ReturnCodes = c.MessageID, []byte{suback}
			p.send(r)
			if greet != nil && suback < 3 {
				greet(p)
			}
		case *packets.PublishPacket:
			m := &pub{c.TopicName, c.Payload, c.Qos, c.Retain}
			if refuse != nil && refuse(m) {
				return
			}
			if publish != nil {
				publish(p, m)
			}
			if c.Qos == 1 && !noPuback {
				r := packets.NewControlPacket(packets.Puback).(*packets.PubackPacket)
				r.MessageID = c.MessageID
				p.send(r)
			}
		case *packets.PingreqPacket:
			p.send(packets.NewControlPacket(packets.Pingresp))
		case *packets.DisconnectPacket:
			p.mu.Lock()
			p.bye = true
			p.mu.Unlock()
			return
		}
	}
}

var errDial = errors.New("nobody answers")

func newFake(t testing.TB) *fakeBroker {
	t.Helper()
	b := &fakeBroker{done: make(chan struct{})}
	t.Cleanup(func() { close(b.done) })
	return b
}
