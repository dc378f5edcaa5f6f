package hub

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"

	"github.com/ssg-safe/agent/fleet/wire"
	"github.com/ssg-safe/agent/redact"
)

// MQTTOptions say how to reach the broker.
type MQTTOptions struct {
	// Brokers are addresses such as ssl://broker.example:8883 or
	// tcp://127.0.0.1:1883, tried in turn.
	Brokers []string
	// ClientID of the session that the broker keeps for the hub; "ssg-hub" when
	// empty. Two hubs must not share one. What is sent has an id of its own.
	ClientID string
	// Username and Password, where the broker asks for them.
	Username string
	Password redact.Secret
	// TLS for ssl:// addresses.
	TLS *tls.Config
	// Dial connects to a broker; nil: over the network. The embedded broker's
	// Dial is one.
	Dial func(ctx context.Context, broker *url.URL) (net.Conn, error)
	// Logger; nil discards.
	Logger *slog.Logger
}

// MQTT is the [Transport] over a broker, MQTT 3.1.1.
//
// What comes is received in a session that the broker keeps while the hub is
// away, and each packet is acknowledged to the broker only when the hub is done
// with it: whatever was not comes again. What goes out has a connection of its
// own. A client of paho lives as long as its connection and never connects
// again: by itself it would forget acknowledgements and report messages as sent
// that were not.
type MQTT struct {
	o       MQTTOptions
	log     *slog.Logger
	brokers []*url.URL

	mu        sync.Mutex // guards publisher and sending
	publisher paho.Client
	sending   chan struct{} // closed while there is a publisher

	connections atomic.Int64 // how often a session has begun
	ready       chan struct{}
	once        sync.Once
}

var _ Transport = (*MQTT)(nil)

// The limits of a connection. The guarded connection adds a deadline for every
// write: the client's own covers published packets only.
const (
	connectTimeout = 20 * time.Second
	writeTimeout   = 15 * time.Second
	keepAlive      = 60 * time.Second
	pingTimeout    = 15 * time.Second
	minPause       = 500 * time.Millisecond
	maxPause       = 30 * time.Second
	steady         = time.Minute // a connection that lasted so long was a good one
)

// errNotConnected: there is no connection to send on.
var errNotConnected = errors.New("not connected to a broker")

// NewMQTT returns a transport. It does no I/O.
func NewMQTT(o MQTTOptions) (*MQTT, error) {
	if len(o.Brokers) == 0 {
		return nil, errors.New("mqtt: no broker address")
	}
	m := &MQTT{o: o, log: o.Logger, ready: make(chan struct{}), sending: make(chan struct{})}
	m.o.ClientID = cmp.Or(o.ClientID, "ssg-hub")
	if m.log == nil {
		m.log = slog.New(slog.DiscardHandler)
	}
	for _, b := range o.Brokers {
		u, err := url.Parse(b)
		if err != nil || u.Host == "" || u.Scheme != "tcp" && u.Scheme != "ssl" {
			return nil, fmt.Errorf("mqtt: broker address %q: want tcp://host:port or ssl://host:port", b)
		}
		if u.Scheme == "ssl" && o.TLS == nil && o.Dial == nil {
			return nil, fmt.Errorf("mqtt: broker address %q: no TLS configuration", b)
		}
		m.brokers = append(m.brokers, u)
	}
	return m, nil
}

// Ready is closed when the subscription has been granted for the first time.
func (m *MQTT) Ready() <-chan struct{} { return m.ready }

// Run implements [Transport].
func (m *MQTT) Run(ctx context.Context, handle func(topic string, payload []byte, done func())) error {
	var wg sync.WaitGroup
	wg.Go(func() {
		m.keep(ctx, "consumer", func(ctx context.Context, broker *url.URL) error { return m.consume(ctx, broker, handle) })
	})
	wg.Go(func() { m.keep(ctx, "publisher", m.publish) })
	wg.Wait()
	return nil
}

// keep connects again and again, to one broker after the other, with a pause
// that grows and is drawn by lot, so that not all come back in the same moment.
func (m *MQTT) keep(ctx context.Context, what string, connect func(context.Context, *url.URL) error) {
	pause := minPause
	for n := 0; ctx.Err() == nil; n++ {
		broker := m.brokers[n%len(m.brokers)]
		began := time.Now()
		err := connect(ctx, broker)
		if ctx.Err() != nil {
			return
		}
		if time.Since(began) > steady {
			pause = minPause
		}
		wait := pause/2 + rand.N(pause)
		m.log.Warn("broker connection ended", "connection", what, "broker", broker.Redacted(), "again_in", wait, "err", err)
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
		pause = min(2*pause, maxPause)
	}
}

// client makes a client for one connection.
func (m *MQTT) client(ctx context.Context, id string, clean bool, broker *url.URL, handle paho.MessageHandler) (paho.Client, <-chan error, error) {
	lost := make(chan error, 1)
	o := paho.NewClientOptions()
	o.AddBroker(broker.String())
	o.SetClientID(id)
	o.SetUsername(m.o.Username)
	o.SetPassword(m.o.Password.Reveal())
	o.SetCleanSession(clean)
	o.SetProtocolVersion(4)
	o.SetAutoReconnect(false)
	o.SetConnectRetry(false)
	o.SetAutoAckDisabled(true)
	// One handler, which does not block: so packets keep their order.
	o.SetOrderMatters(true)
	o.SetDefaultPublishHandler(handle)
	o.SetKeepAlive(keepAlive)
	o.SetPingTimeout(pingTimeout)
	o.SetConnectTimeout(connectTimeout)
	o.SetWriteTimeout(writeTimeout)
	o.SetConnectionLostHandler(func(_ paho.Client, err error) { lost <- err })
	o.SetCustomOpenConnectionFn(func(u *url.URL, _ paho.ClientOptions) (net.Conn, error) {
		ctx, cancel := context.WithTimeout(ctx, connectTimeout)
		defer cancel()
		conn, err := m.dial(ctx, u)
		if err != nil {
			return nil, err
		}
		return newGuard(conn), nil
	})
	c := paho.NewClient(o)
	t := c.Connect()
	select {
	case <-t.Done():
	case <-ctx.Done():
		c.Disconnect(0)
		return nil, nil, ctx.Err()
	}
	if err := t.Error(); err != nil {
		return nil, nil, fmt.Errorf("connect: %w", err)
	}
	return c, lost, nil
}

func (m *MQTT) dial(ctx context.Context, broker *url.URL) (net.Conn, error) {
	if m.o.Dial != nil {
		return m.o.Dial(ctx, broker)
	}
	d := net.Dialer{KeepAlive: 30 * time.Second, Control: dieSoon}
	conn, err := d.DialContext(ctx, "tcp", broker.Host)
	if err != nil || broker.Scheme != "ssl" {
		return conn, err
	}
	c := m.o.TLS.Clone()
	c.ServerName = cmp.Or(c.ServerName, broker.Hostname())
	t := tls.Client(conn, c)
	if err := t.HandshakeContext(ctx); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return t, nil
}

// consume receives until the connection ends. It begins when answers can be sent,
// if that comes to pass: a device asks again only after half a minute.
func (m *MQTT) consume(ctx context.Context, broker *url.URL, handle func(topic string, payload []byte, done func())) error {
	m.mu.Lock()
	sending := m.sending
	m.mu.Unlock()
	select {
	case <-sending:
	case <-time.After(connectTimeout):
	case <-ctx.Done():
		return nil
	}
	// An acknowledgement is written by the client's one writer, which may wait
	// for the reader, which may wait for the handler: so it is never given from
	// there.
	acks := newAcks()
	defer acks.close()
	c, lost, err := m.client(ctx, m.o.ClientID, false, broker, func(_ paho.Client, msg paho.Message) {
		handle(msg.Topic(), msg.Payload(), func() { acks.add(msg) })
	})
	if err != nil {
		return err
	}
	defer c.Disconnect(250)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer acks.close()
	wg.Go(acks.run)
	if err := subscribe(c, lost); err != nil {
		return err
	}
	m.log.Info("broker connected", "broker", broker.Redacted(), "session", m.connections.Add(1))
	m.once.Do(func() { close(m.ready) })
	select {
	case err := <-lost:
		return err
	case <-ctx.Done():
		return nil
	}
}

// subscribe asks for what the devices send. mochi 2.7.9 takes its own packet
// ids and the client's for the same ones, and refuses with idInUse while a
// message of that number, of the session before, has not been acknowledged: so
// the hub asks again, with the next number.
func subscribe(c paho.Client, lost <-chan error) error {
	const (
		idInUse  = 0x91
		again    = 100 * time.Millisecond
		patience = 50
	)
	for try := 1; ; try++ {
		t := c.Subscribe(wire.HubSubscription, 1, nil)
		switch {
		case !t.WaitTimeout(connectTimeout):
			return errors.New("subscribe: no answer")
		case t.Error() != nil:
			return fmt.Errorf("subscribe: %w", t.Error())
		}
		// A refusal is no error of the token.
		granted := t.(*paho.SubscribeToken).Result()[wire.HubSubscription]
		switch {
		case granted == 1:
			return nil
		case granted != idInUse || try == patience:
			return fmt.Errorf("subscribe: the broker grants %#02x instead of QoS 1: its access rules must let the hub read %s", granted, wire.HubSubscription)
		}
		select {
		case err := <-lost:
			return err
		case <-time.After(again):
		}
	}
}

// publish keeps a connection to send on.
func (m *MQTT) publish(ctx context.Context, broker *url.URL) error {
	c, lost, err := m.client(ctx, m.o.ClientID+"-out", true, broker, func(paho.Client, paho.Message) {})
	if err != nil {
		return err
	}
	defer c.Disconnect(250)
	m.set(c)
	defer m.set(nil)
	select {
	case err := <-lost:
		return err
	case <-ctx.Done():
		return nil
	}
}

func (m *MQTT) set(c paho.Client) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.publisher = c
	if c != nil {
		close(m.sending)
	} else {
		m.sending = make(chan struct{})
	}
}

// Send implements [Transport]: QoS 0, never retained.
func (m *MQTT) Send(topic string, payload []byte) error {
	m.mu.Lock()
	c := m.publisher
	m.mu.Unlock()
	if c == nil {
		return errNotConnected
	}
	t := c.Publish(topic, 0, false, payload)
	if !t.WaitTimeout(writeTimeout) {
		return errors.New("publish: the broker does not read")
	}
	return t.Error()
}

// acks gives acknowledgements to the broker, in the order in which they come.
// There are never more than the broker lets be in flight.
type acks struct {
	mu      sync.Mutex // guards waiting and closed
	wake    *sync.Cond
	waiting []paho.Message
	closed  bool
}

func newAcks() *acks {
	a := new(acks)
	a.wake = sync.NewCond(&a.mu)
	return a
}

func (a *acks) add(m paho.Message) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.closed {
		a.waiting = append(a.waiting, m)
		a.wake.Signal()
	}
}

func (a *acks) close() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.closed = true
	a.wake.Signal()
}

func (a *acks) run() {
	for {
		a.mu.Lock()
		for len(a.waiting) == 0 && !a.closed {
			a.wake.Wait()
		}
		batch := a.waiting
		a.waiting = nil
		a.mu.Unlock()
		if len(batch) == 0 {
			return
		}
		for _, m := range batch {
			m.Ack()
		}
	}
}
