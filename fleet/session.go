package fleet

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/url"
	"sync"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"

	"github.com/ssg-safe/agent/fleet/wire"
)

var (
	// errStopped: the context ended.
	errStopped = errors.New("stopped")
	// errRefused: the broker did not grant a subscription.
	errRefused = errors.New("subscription failed")
)

// session is one TCP connection and its MQTT client. Its loop runs in the
// goroutine of Run; the client's goroutines and receive are the others, and all
// have ended when run returns.
type session struct {
	l      *Link
	sid    string
	broker broker
	guard  *guard
	client mqtt.Client

	subscribed chan error    // the result, once
	lost       chan struct{} // closed when the client has ended
	lostErr    error         // why; set before lost is closed
	inbox      chan message
	acks       chan ackNews
	greet      chan struct{} // capacity 1: the hub may have lost its counter

	begun    uint64 // PUBLISH packets given to the client
	inFlight []publish
	since    time.Time // of the subscription; zero until then

	ask     asks
	askAt   time.Time // zero: no charge is open
	offers  asks
	offer   []Offer   // to be sent now
	offerAt time.Time // zero: nothing is offered
	teleAt  time.Time
	tele    []byte    // what was sent last
	stateAt time.Time // when to publish the state; zero: never again
	hello   bool      // is to be published
}

// publish is one that the broker has not taken yet.
type publish struct {
	token mqtt.Token
	at    time.Time
	taken func() // may be nil
}

// message is what the handler copies.
type message struct {
	topic   string
	payload []byte
}

// connect makes one connection, serves it until it ends, and says why it ended.
// served is how long it was subscribed; 0: it never was.
func (l *Link) connect(ctx context.Context, b broker) (served time.Duration, err error) {
	l.counts.inc(cDials)
	conn, raw, err := l.dial(ctx, b)
	if err != nil {
		return 0, err
	}
	s := &session{
		l: l, sid: rand.Text(), broker: b, guard: newGuard(conn, raw),
		subscribed: make(chan error, 1), lost: make(chan struct{}),
		inbox: make(chan message, maxInbox), acks: make(chan ackNews, maxInbox), greet: make(chan struct{}, 1),
	}
	served, err = s.serve(ctx)
	if served > 0 && !errors.Is(err, errStopped) {
		l.counts.inc(cLosses)
		if at, held := l.out.lost(time.Now()); held {
			l.poisoned(at, err)
		}
	}
	l.cursor.began = time.Time{}
	l.keepCursor(time.Now())
	return served, err
}

// options follow the rules for this client library: a client for each
// connection, no reconnecting, no session, no store but its default memory.
func (s *session) options() *mqtt.ClientOptions {
	o := s.l.o
	opts := mqtt.NewClientOptions().
		AddBroker("tcp://" + s.broker.addr). // only for its form: the guard is the connection
		SetCustomOpenConnectionFn(func(*url.URL, mqtt.ClientOptions) (net.Conn, error) { return s.guard, nil }).
		SetProtocolVersion(4).
		SetCleanSession(true).
		SetAutoReconnect(false).
		SetConnectRetry(false).
		SetOrderMatters(false).
		SetConnectTimeout(connectTimeout).
		SetWriteTimeout(writeTimeout).
		SetKeepAlive(o.Keepalive).
		SetPingTimeout(min(o.Keepalive, maxPingTimeout)).
		SetDefaultPublishHandler(s.receiveMQTT).
		SetOnConnectHandler(s.subscribe).
		SetConnectionLostHandler(func(_ mqtt.Client, err error) {
			s.lostErr = err
			close(s.lost)
		})
	if o.ClientID == ClientIDRandom {
		opts.SetClientID(rand.Text())
	} else {
		opts.SetClientID(o.Device)
	}
	if o.Username != "" {
		opts.SetUsername(o.Username)
		opts.SetPassword(o.Password.Reveal())
	}
	if s.l.hub() {
		will, err := wire.Encode(wire.State{V: wire.Version, SID: s.sid})
		if err != nil {
			panic(err) // it holds nothing but our own random id
		}
		opts.SetBinaryWill(s.l.topic(wire.ChannelState), will, wire.ChannelState.QoS(), true)
	}
	return opts
}

// hub reports whether there is one.
func (l *Link) hub() bool { return len(l.o.Hub) > 0 }

// topic is the device's topic of a channel upwards.
func (l *Link) topic(c wire.Channel) string {
	return wire.Topic{Tenant: l.o.Tenant, Site: l.o.Site, Device: l.o.Device, Up: true, Channel: c}.String()
}

// receiveMQTT is the client's only message handler. It copies and never waits.
func (s *session) receiveMQTT(_ mqtt.Client, m mqtt.Message) {
	select {
	case s.inbox <- message{m.Topic(), m.Payload()}:
	default:
		s.l.counts.inc(cDroppedInbox)
	}
	s.guard.arrive()
}

// subscribe is called by the client, in a goroutine of its own, once connected.
func (s *session) subscribe(c mqtt.Client) {
	var filters []string
	if s.l.hub() {
		filters = append(filters, wire.Subscription(s.l.o.Tenant, s.l.o.Site, s.l.o.Device))
	}
	if s.l.o.Mapping != nil {
		filters = append(filters, s.l.o.Mapping.filter(s.l.o.Device))
	}
	for _, filter := range filters {
		if err := grant(c, filter); err != nil {
			s.subscribed <- fmt.Errorf("%w: %w", errRefused, err)
			return
		}
	}
	s.subscribed <- nil
}

// grant subscribes and checks what was granted: a refusal is no error of the
// token.
func grant(c mqtt.Client, filter string) error {
	token := c.Subscribe(filter, 0, nil)
	if !token.WaitTimeout(connectTimeout) {
		return fmt.Errorf("%s: no answer in %v", filter, connectTimeout)
	}
	if err := token.Error(); err != nil {
		return fmt.Errorf("%s: %w", filter, err)
	}
	t, ok := token.(*mqtt.SubscribeToken)
	if !ok {
		return fmt.Errorf("%s: answered by %T", filter, token)
	}
	if code, ok := t.Result()[filter]; !ok || code > 2 {
		return fmt.Errorf("%s: refused by the broker (%#02x)", filter, code)
	}
	return nil
}

// serve connects the client, runs the loop and ends everything.
func (s *session) serve(ctx context.Context) (served time.Duration, err error) {
	s.client = mqtt.NewClient(s.options())
	stop := context.AfterFunc(ctx, func() { s.guard.end(errStopped) })
	token := s.client.Connect()
	if !token.WaitTimeout(connectTimeout + time.Second) {
		s.guard.end(fmt.Errorf("no CONNACK in %v", connectTimeout))
		token.WaitTimeout(writeTimeout)
	}
	stop()
	select {
	case <-token.Done():
		err = token.Error()
	default:
		err = errors.New("the MQTT client hangs")
	}
	if err != nil {
		s.guard.end(err)
		return 0, fmt.Errorf("connect: %w", s.reason(err))
	}
	// From here on the client calls subscribe and, whoever ends the connection,
	// ConnectionLost, once each.
	done := make(chan struct{})
	var receiver sync.WaitGroup
	receiver.Go(func() { s.receive(ctx, done) })
	err = s.loop(ctx)
	if !s.since.IsZero() {
		served = max(time.Since(s.since), 1)
	}
	s.guard.end(err)
	close(done)
	receiver.Wait()
	limit := time.NewTimer(2 * writeTimeout)
	defer limit.Stop()
	for waiting := s.lost; waiting != nil; {
		select {
		case <-waiting:
			waiting = nil
		case <-limit.C:
			s.l.log.Error("the MQTT client did not end")
			return served, s.reason(err)
		}
	}
	if s.since.IsZero() && !errors.Is(err, errRefused) {
		<-s.subscribed
	}
	if !errors.Is(err, errStopped) {
		err = s.reason(s.lostErr)
	}
	return served, err
}

// reason is why the connection ended: what the guard saw, unless it saw only
// that the client gave up.
func (s *session) reason(err error) error {
	if why := s.guard.why(); why != nil && !errors.Is(why, errGivenUp) && !errors.Is(why, errEnded) {
		return why
	}
	return err
}
