package hub

import (
	"sync"
	"time"

	"github.com/ssg-safe/agent/fleet/wire"
)

// The bounds of what waits to be worked off.
const (
	// A well-behaved device has at most wire.MaxInFlight batches under way, and
	// a few other messages.
	maxQueued      = 2 * wire.MaxInFlight
	maxQueuedBytes = wire.MaxInFlight * wire.MaxPacket
	maxTotalBytes  = 128 << 20
	// A group is what one commit takes up.
	maxGroup      = 256
	maxGroupBytes = 4 << 20
	// perTurn is how many packets of one device are taken before the next
	// device's turn.
	perTurn = 4
)

// packet is one message that waits, and later what was read from it.
type packet struct {
	device  Device
	channel wire.Channel
	payload []byte
	done    func()

	// Set by read.
	fault  Drop // why it is dropped; empty: it is not
	detail string
	batch  *batch
	state  wire.State
	hello  wire.Hello
	evt    wire.Evt
	res    wire.Res
	ask    wire.PayGet
	tele   wire.Tele
	offer  wire.Propose
}

// topic for logs: the device's own, whatever it was published to.
func (p *packet) topic() string {
	return wire.Topic{Tenant: p.device.Tenant, Site: p.device.Site, Device: p.device.Name, Up: true, Channel: p.channel}.String()
}

// inbox holds a queue for each device that has something waiting, and gives out
// packets by turns, so that no device can starve another.
type inbox struct {
	wake chan struct{} // holds a token while something may be waiting

	mu     sync.Mutex // guards all below
	queues map[string]*queue
	turns  []*queue // those that hold something, next turn first
	bytes  int
	shut   bool
	pace   time.Duration // between two packets of a device, in the long run
	burst  time.Duration // how far ahead of that a device may be
}

type queue struct {
	packets []packet
	bytes   int
	// tat is when the device will have earned the packets that it has sent
	// (generic cell rate algorithm).
	tat time.Time
}

func newInbox(rate, burst int) *inbox {
	pace := time.Second / time.Duration(rate)
	return &inbox{wake: make(chan struct{}, 1), queues: make(map[string]*queue), pace: pace, burst: pace * time.Duration(burst)}
}

// put lets a packet wait, or says why not. cost is in packets.
func (in *inbox) put(p packet) Drop {
	in.mu.Lock()
	defer in.mu.Unlock()
	q := in.queues[p.device.Name]
	if q == nil {
		in.forget()
		q = new(queue)
		in.queues[p.device.Name] = q
	}
	switch {
	case in.shut:
		return DropClosed
	case !in.spend(q, 1):
		return DropRate
	case len(q.packets) >= maxQueued, q.bytes+len(p.payload) > maxQueuedBytes, in.bytes+len(p.payload) > maxTotalBytes:
		return DropBusy
	}
	if len(q.packets) == 0 {
		in.turns = append(in.turns, q)
	}
	q.packets = append(q.packets, p)
	q.bytes += len(p.payload)
	in.bytes += len(p.payload)
	select {
	case in.wake <- struct{}{}:
	default:
	}
	return ""
}

// spend takes n packets from what a device has earned.
func (in *inbox) spend(q *queue, n int) bool {
	now := time.Now()
	if q.tat.Before(now) {
		q.tat = now
	}
	if q.tat.Sub(now) > in.burst {
		return false
	}
	q.tat = q.tat.Add(time.Duration(n) * in.pace)
	return true
}

// charge makes a device pay for what a packet of it caused.
func (in *inbox) charge(device string, n int) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if q := in.queues[device]; q != nil {
		in.spend(q, n)
	}
}

// forget drops idle queues when there are many, so that devices that have left
// cost nothing.
func (in *inbox) forget() {
	const many = 1024
	if len(in.queues) < many || len(in.queues)&(len(in.queues)-1) != 0 {
		return
	}
	now := time.Now()
	for name, q := range in.queues {
		if len(q.packets) == 0 && q.tat.Before(now) {
			delete(in.queues, name)
		}
	}
}

// take returns the next group, empty when nothing waits.
func (in *inbox) take() []packet {
	in.mu.Lock()
	defer in.mu.Unlock()
	var group []packet
	bytes := 0
	for len(in.turns) > 0 && len(group) < maxGroup && bytes < maxGroupBytes {
		q := in.turns[0]
		n := min(perTurn, len(q.packets), maxGroup-len(group))
		for _, p := range q.packets[:n] {
			bytes += len(p.payload)
			q.bytes -= len(p.payload)
			in.bytes -= len(p.payload)
		}
		group = append(group, q.packets[:n]...)
		clear(q.packets[:n])
		q.packets = q.packets[n:]
		in.turns = in.turns[1:]
		if len(q.packets) > 0 {
			in.turns = append(in.turns, q)
		} else {
			q.packets = nil
		}
	}
	if len(in.turns) > 0 {
		select {
		case in.wake <- struct{}{}:
		default:
		}
	}
	return group
}

// close refuses everything from now on.
func (in *inbox) close() {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.shut = true
}

// waiting is how many packets wait.
func (in *inbox) waiting() int {
	in.mu.Lock()
	defer in.mu.Unlock()
	n := 0
	for _, q := range in.turns {
		n += len(q.packets)
	}
	return n
}
