// Package broker is an MQTT broker inside the program, for one site without a
// broker of its own, for the demo and for tests. It is mochi-mqtt with this
// protocol's limits and access rules.
//
// It keeps nothing over a restart, and need not: what it loses is sent again,
// because a PUBACK proves nothing in this protocol. Nobody may read what is not
// meant for him; what a broker must never be trusted with (moving a cursor,
// paying) it cannot do, because the hub signs it.
//
// # Who may do what
//
// A device may publish on its own topics upwards and subscribe to its own
// downwards, below the tenant and site that it was let in for; the device's
// name is the user name, or with client certificates the common name. Its
// client id is that name, or one that cannot be a name (capital letters, such
// as a random id has). It speaks MQTT 3.1.1 with a clean session. So whatever
// it does leaves a few retained messages here and nothing else. The hub may
// read everything upwards and publish downwards. Where nobody is asked who he
// is ([Options.Authenticate] nil), everybody may do everything; such a broker
// listens on a loopback address only. [Broker.Dial] is for the program itself
// and is not asked either.
package broker

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"time"

	mqtt "github.com/mochi-mqtt/server/v2"

	"github.com/ssg-safe/agent/fleet/wire"
)

// Role is what a client may do.
type Role int

// The roles.
const (
	Nobody Role = iota // is refused
	Device             // its own topics
	Hub                // reads upwards, writes downwards
	Anyone             // everything
)

// Grant is what a user was let in for.
type Grant struct {
	Role Role
	// Tenant and Site of a Device.
	Tenant, Site string
}

// Options of a broker.
type Options struct {
	// Addr to listen on, such as 127.0.0.1:0; empty: [Broker.Dial] only.
	Addr string
	// TLS of the listener; nil: plain TCP. With client certificates the common
	// name is the user.
	TLS *tls.Config
	// Authenticate says what a user may do who connects over the network. nil:
	// everything.
	Authenticate func(user, password string) Grant
	// MaxClients at a time; 0 is 10,000.
	MaxClients int
	// Logger; nil discards.
	Logger *slog.Logger
}

// Broker is a broker that runs while Run does. It is safe for concurrent use.
type Broker struct {
	o      Options
	log    *slog.Logger
	server *mqtt.Server
	access *access
	ready  chan struct{}

	mu     sync.Mutex // guards addr, conns and closed
	addr   string
	conns  map[net.Conn]bool
	closed bool
}

// The limits of a connection.
const (
	// packetLimit leaves room for the topic and the packet's own bytes.
	packetLimit    = uint32(wire.MaxPacket + 2*wire.MaxTopic)
	connectTimeout = 20 * time.Second
	writeTimeout   = 15 * time.Second
	maxClients     = 10_000
)

// memory is the listener of Dial.
const memory = "memory"

// New returns a broker. It refuses options that would let strangers in.
func New(o Options) (*Broker, error) {
	if o.Addr != "" && o.Authenticate == nil {
		host, _, err := net.SplitHostPort(o.Addr)
		if err != nil {
			return nil, fmt.Errorf("broker address %q: %w", o.Addr, err)
		}
		if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
			return nil, fmt.Errorf("broker address %q: strangers could connect; ask who they are, or listen on 127.0.0.1", o.Addr)
		}
	}
	if o.MaxClients == 0 {
		o.MaxClients = maxClients
	}
	log := o.Logger
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Broker{o: o, log: log, ready: make(chan struct{}), conns: make(map[net.Conn]bool)}, nil
}

// Ready is closed when Addr is known and connections are taken.
func (b *Broker) Ready() <-chan struct{} { return b.ready }

// Addr is the address it listens on, empty before Ready and without a listener.
func (b *Broker) Addr() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.addr
}

// Run serves until ctx ends. It is called once.
func (b *Broker) Run(ctx context.Context) error {
	capabilities := mqtt.NewDefaultServerCapabilities()
	capabilities.MaximumClients = int64(b.o.MaxClients)
	capabilities.MaximumPacketSize = packetLimit
	capabilities.MaximumQos = 1
	capabilities.SharedSubAvailable = 0
	capabilities.MaximumSessionExpiryInterval = 24 * 60 * 60
	b.server = mqtt.New(&mqtt.Options{
		Capabilities: capabilities, Logger: slog.New(slog.DiscardHandler), SysTopicResendInterval: 60,
	})
	b.access = &access{o: b.o, log: b.log, clients: b.server.Clients}
	if err := b.server.AddHook(b.access, nil); err != nil {
		return fmt.Errorf("broker: %w", err)
	}
	var listener net.Listener
	if b.o.Addr != "" {
		var err error
		if listener, err = new(net.ListenConfig).Listen(ctx, "tcp", b.o.Addr); err != nil {
			return fmt.Errorf("broker: %w", err)
		}
	}
	if err := b.server.Serve(); err != nil {
		return fmt.Errorf("broker: %w", err)
	}
	var wg sync.WaitGroup
	if listener != nil {
		b.mu.Lock()
		b.addr = listener.Addr().String()
		b.mu.Unlock()
		wg.Go(func() { b.accept(listener, &wg) })
		b.log.Info("broker listens", "addr", b.addr, "tls", b.o.TLS != nil)
	}
	close(b.ready)
	<-ctx.Done()
	if listener != nil {
		_ = listener.Close()
	}
	b.closeAll()
	wg.Wait()
	return b.server.Close()
}

func (b *Broker) accept(listener net.Listener, wg *sync.WaitGroup) {
	for {
		conn, err := listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			b.log.Warn("broker accepts no connection", "err", err)
			time.Sleep(100 * time.Millisecond) // out of file descriptors: it passes
			continue
		}
		wg.Go(func() { b.serve("network", conn) })
	}
}

// serve runs one connection.
func (b *Broker) serve(listener string, conn net.Conn) {
	if listener != memory && b.o.TLS != nil {
		conn = tls.Server(conn, b.o.TLS)
	}
	conn = &patient{Conn: conn}
	b.mu.Lock()
	if b.closed || len(b.conns) >= b.o.MaxClients { // also those that have not said who they are
		b.mu.Unlock()
		_ = conn.Close()
		return
	}
	b.conns[conn] = true
	b.mu.Unlock()
	// Until CONNECT has come; then the keepalive rules.
	_ = conn.SetDeadline(time.Now().Add(connectTimeout))
	err := b.server.EstablishConnection(listener, conn)
	if err != nil && !errors.Is(err, io.EOF) {
		b.log.Debug("broker connection ended", "remote", conn.RemoteAddr().String(), "err", err)
	}
	_ = conn.Close()
	b.access.left(conn)
	b.mu.Lock()
	delete(b.conns, conn)
	b.mu.Unlock()
}

func (b *Broker) closeAll() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	for conn := range b.conns {
		_ = conn.Close()
	}
}

// Dial connects the program itself, in memory. It waits until Run serves.
func (b *Broker) Dial(ctx context.Context) (net.Conn, error) {
	select {
	case <-b.ready:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	b.mu.Lock()
	closed := b.closed
	b.mu.Unlock()
	if closed {
		return nil, fmt.Errorf("broker: %w", net.ErrClosed)
	}
	here, there := net.Pipe()
	go b.serve(memory, there)
	return here, nil
}

// Evict ends the connections of a user, who has to say again who he is.
func (b *Broker) Evict(user string) {
	select {
	case <-b.ready:
		b.access.evict(user)
	default: // nobody is connected
	}
}

// Disconnect cuts all connections, as a failing network does. Tests use it.
func (b *Broker) Disconnect() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for conn := range b.conns {
		_ = conn.Close()
	}
}

// patient bounds how long a write may take, so that a client that has vanished
// does not keep its connection for ever.
type patient struct{ net.Conn }

func (p *patient) Write(b []byte) (int, error) {
	if err := p.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		return 0, err
	}
	return p.Conn.Write(b)
}
