package broker_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"net"
	"net/url"
	"strings"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"

	"github.com/ssg-safe/agent/fleet/wire"
	"github.com/ssg-safe/agent/hub/broker"
	"github.com/ssg-safe/agent/internal/agenttest"
)

// start runs a broker until the test ends.
func start(t *testing.T, o broker.Options) *broker.Broker {
	t.Helper()
	b, err := broker.New(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- b.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	<-b.Ready()
	return b
}

// roles knows devices d1 and d2 and the hub, each with its name as password.
func roles(user, password string) broker.Grant {
	switch {
	case user != password:
		return broker.Grant{}
	case user == "hub":
		return broker.Grant{Role: broker.Hub}
	}
	return certified(user, password)
}

// certified knows the devices, whatever their password.
func certified(user, _ string) broker.Grant {
	switch user {
	case "d1", "d2", "Not A Name":
		return broker.Grant{Role: broker.Device, Tenant: "acme", Site: "lobby"}
	}
	return broker.Grant{}
}

// client is a connection to the broker, and what came on it.
type client struct {
	t    *testing.T
	c    paho.Client
	came chan paho.Message
	lost chan struct{}
}

// connect returns nil when the broker refuses.
func connect(t *testing.T, addr, id, user string, change func(*paho.ClientOptions)) *client {
	t.Helper()
	c := &client{t: t, came: make(chan paho.Message, 64), lost: make(chan struct{})}
	o := paho.NewClientOptions().AddBroker(addr).SetClientID(id).SetUsername(user).SetPassword(user).
		SetProtocolVersion(4).SetAutoReconnect(false).SetConnectTimeout(time.Minute).
		SetDefaultPublishHandler(func(_ paho.Client, m paho.Message) { c.came <- m }).
		SetConnectionLostHandler(func(paho.Client, error) { close(c.lost) })
	if change != nil {
		change(o)
	}
	c.c = paho.NewClient(o)
	token := c.c.Connect()
	if !token.WaitTimeout(time.Minute) {
		t.Fatal("the broker does not answer")
	}
	if token.Error() != nil {
		return nil
	}
	t.Cleanup(func() { c.c.Disconnect(0) })
	return c
}

// subscribe reports whether the broker grants a filter.
func (c *client) subscribe(filter string) bool {
	c.t.Helper()
	token := c.c.Subscribe(filter, 1, nil)
	if !token.WaitTimeout(time.Minute) {
		c.t.Fatal("the broker does not answer")
	}
	granted, ok := token.(*paho.SubscribeToken).Result()[filter]
	return token.Error() == nil && ok && granted <= 1
}

func (c *client) publish(topic string, retained bool, text string) {
	c.t.Helper()
	// Whether it was taken, its reader tells.
	c.c.Publish(topic, 1, retained, text).WaitTimeout(time.Minute)
}

// want expects these texts and nothing else: marker is one that a reader gets
// last.
func (c *client) want(marker string, texts ...string) {
	c.t.Helper()
	var got []string
	for {
		select {
		case m := <-c.came:
			if text := string(m.Payload()); text != marker {
				got = append(got, text)
				continue
			}
		case <-time.After(time.Minute):
			c.t.Fatalf("%q came, and not the marker %q", got, marker)
		}
		break
	}
	if strings.Join(got, " ") != strings.Join(texts, " ") {
		c.t.Errorf("%q came, want %q", got, texts)
	}
}

const (
	up1   = "fleet/v1/acme/lobby/d1/up/"
	up2   = "fleet/v1/acme/lobby/d2/up/"
	down1 = "fleet/v1/acme/lobby/d1/down/"
	down2 = "fleet/v1/acme/lobby/d2/down/"
)

func TestAccess(t *testing.T) {
	b := start(t, broker.Options{Addr: "127.0.0.1:0", Authenticate: roles})
	addr := "tcp://" + b.Addr()
	hub := connect(t, addr, "hub", "hub", nil)
	if !hub.subscribe(wire.HubSubscription) {
		t.Fatal("the hub may not subscribe")
	}

	t.Run("device", func(t *testing.T) {
		d1, d2 := connect(t, addr, "d1", "d1", nil), connect(t, addr, "d2", "d2", nil)
		if !d1.subscribe(down1+"+") || !d2.subscribe(down2+"+") || !d1.subscribe(down1+"ack") {
			t.Error("a device may not read what is for it")
		}
		for _, filter := range []string{
			"#", "fleet/#", "+/+/+/+/+/+/+", down2 + "+", down2 + "ack", up1 + "+", up2 + "state", "fleet/v1/acme/lobby/+/down/+",
			"fleet/v1/+/+/d1/down/+", "fleet/v1/acme/bar/d1/down/+", "fleet/v1/other/lobby/d1/down/+", "$SYS/#", "$share/g/" + down1 + "+", down1 + "#", wire.HubSubscription,
		} {
			if d := connect(t, addr, "d1", "d1", nil); d.subscribe(filter) {
				t.Errorf("a device may subscribe to %s", filter)
			}
		}
		d1 = connect(t, addr, "d1", "d1", nil)
		if !d1.subscribe(down1 + "+") {
			t.Fatal("refused")
		}
		d1.publish(up1+"hello", false, "own")
		for _, topic := range []string{up2 + "hello", down1 + "ack", down2 + "ack", "fleet/v1/acme/lobby/d1/up/other", "fleet/v1/acme/bar/d1/up/state", "fleet/v1/other/lobby/d1/up/state", "other", up1 + "hello/x"} {
			if d := connect(t, addr, "d1", "d1", nil); d != nil {
				d.publish(topic, true, "not to be read")
			}
		}
		d1 = connect(t, addr, "d1", "d1", nil)
		d1.publish(up1+"hello", false, "last")
		hub.want("last", "own")
		if !d1.subscribe(down1 + "+") {
			t.Fatal("refused")
		}
		hub.publish(down1+"ack", false, "to d1")
		d1.want("to d1")
		hub.publish(down2+"ack", false, "to d2")
		d2.want("to d2")
	})
	t.Run("hub", func(t *testing.T) {
		reader := connect(t, addr, "d1", "d1", nil)
		if !reader.subscribe(down1 + "+") {
			t.Fatal("refused")
		}
		for _, filter := range []string{"#", down1 + "+", "fleet/v1/+/+/+/down/+"} {
			if h := connect(t, addr, "", "hub", nil); h.subscribe(filter) {
				t.Errorf("the hub may subscribe to %s", filter)
			}
		}
		if h := connect(t, addr, "", "hub", nil); h != nil {
			h.publish(up1+"hello", false, "as a device")
		}
		hub.publish(down1+"ack", false, "last")
		reader.want("last")
	})
	t.Run("refused", func(t *testing.T) {
		for _, who := range []struct{ id, user string }{
			{"x", "nobody"},
			{"x", ""},
			{"Not A Name", "Not A Name"},
			// Whoever has a client id has its session.
			{"d2", "d1"},
			{"ssg-hub", "d1"},
			{"ssg-hub-out", "d1"},
			{"hub", "d1"},
		} {
			if connect(t, addr, who.id, who.user, nil) != nil {
				t.Errorf("%q as %q is let in", who.user, who.id)
			}
		}
		if connect(t, addr, "", "d1", func(o *paho.ClientOptions) { o.SetPassword("wrong") }) != nil {
			t.Error("a wrong password is let in")
		}
		for what, change := range map[string]func(*paho.ClientOptions){
			"a session that stays": func(o *paho.ClientOptions) { o.SetCleanSession(false) },
			"MQTT 3.1":             func(o *paho.ClientOptions) { o.SetProtocolVersion(3) },
		} {
			if connect(t, addr, "d1", "d1", change) != nil {
				t.Errorf("%s is let in", what)
			}
		}
		if connect(t, addr, "K3VQ7M2P5X9C1H8D", "d1", nil) == nil {
			t.Error("a random client id is refused")
		}
		hub.publish(down1+"ack", false, "x")
		select {
		case <-hub.lost:
			t.Error("somebody threw the hub off")
		default:
		}
	})
}

// A last will is a message of the client: the same rules hold for it.
func TestLastWill(t *testing.T) {
	b := start(t, broker.Options{Addr: "127.0.0.1:0", Authenticate: roles})
	addr := "tcp://" + b.Addr()
	hub := connect(t, addr, "hub", "hub", nil)
	if !hub.subscribe(wire.HubSubscription) {
		t.Fatal("the hub may not subscribe")
	}
	for _, topic := range []string{up2 + "state", up2 + "ledger", "fleet/v1/acme/bar/d1/up/state", down1 + "ack", "other"} {
		if connect(t, addr, "d1", "d1", func(o *paho.ClientOptions) { o.SetWill(topic, "forged", 1, true) }) != nil {
			t.Errorf("a will on %s is let in", topic)
		}
	}
	if connect(t, addr, "d1", "d1", func(o *paho.ClientOptions) { o.SetWill(up1+"state", "gone", 1, true) }) == nil {
		t.Fatal("a device's own will is refused")
	}
	b.Disconnect()
	hub = connect(t, addr, "hub", "hub", nil)
	if !hub.subscribe(wire.HubSubscription) {
		t.Fatal("the hub may not subscribe")
	}
	hub.want("gone") // retained
}

// Who is to say again who he is, is not there any more; others are.
func TestEvict(t *testing.T) {
	b := start(t, broker.Options{Addr: "127.0.0.1:0", Authenticate: roles})
	addr := "tcp://" + b.Addr()
	d1, d2 := connect(t, addr, "d1", "d1", nil), connect(t, addr, "d2", "d2", nil)
	again := connect(t, addr, "K3VQ7M2P5X9C1H8D", "d1", nil)
	b.Evict("d1")
	for _, c := range []*client{d1, again} {
		select {
		case <-c.lost:
		case <-time.After(time.Minute):
			t.Fatal("it is still connected")
		}
	}
	if !d2.subscribe(down2 + "+") {
		t.Error("another one was thrown off")
	}
}

// With client certificates the common name is the user, whatever else is said.
func TestCertificates(t *testing.T) {
	ca := agenttest.NewAuthority(t)
	b := start(t, broker.Options{Addr: "127.0.0.1:0", TLS: &tls.Config{
		Certificates: []tls.Certificate{ca.Pair("broker")}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: ca.Pool,
	}, Authenticate: certified})
	with := func(pairs ...tls.Certificate) func(*paho.ClientOptions) {
		return func(o *paho.ClientOptions) { o.SetTLSConfig(&tls.Config{RootCAs: ca.Pool, Certificates: pairs}) }
	}
	addr := "ssl://" + b.Addr()
	d := connect(t, addr, "d1", "d2", with(ca.Pair("d1")))
	if d == nil || !d.subscribe(down1+"+") {
		t.Fatal("a device's certificate is refused")
	}
	if d := connect(t, addr, "d1", "d2", with(ca.Pair("d1"))); d.subscribe(down2 + "+") {
		t.Error("the user name counts, and not the certificate")
	}
	for what, change := range map[string]func(*paho.ClientOptions){
		"no certificate": with(), "a stranger's": with(agenttest.NewAuthority(t).Pair("d1")), "a name that is none": with(ca.Pair("Not A Name")),
	} {
		if connect(t, addr, "d1", "d1", change) != nil {
			t.Errorf("%s: let in", what)
		}
	}
}

// What is too large ends the connection that it came on, and no other.
func TestTooLarge(t *testing.T) {
	b := start(t, broker.Options{Addr: "127.0.0.1:0", Authenticate: roles})
	addr := "tcp://" + b.Addr()
	hub := connect(t, addr, "hub", "hub", nil)
	if !hub.subscribe(wire.HubSubscription) {
		t.Fatal("the hub may not subscribe")
	}
	d1, d2 := connect(t, addr, "d1", "d1", nil), connect(t, addr, "d2", "d2", nil)
	largest := strings.Repeat("x", wire.MaxPacket)
	d1.publish(up1+"ledger", false, largest)
	d1.publish(up1+"ledger", false, strings.Repeat("y", 2*wire.MaxPacket))
	select {
	case <-d1.lost:
	case <-time.After(time.Minute):
		t.Error("a packet that is too large is taken")
	}
	d2.publish(up2+"hello", false, "last")
	hub.want("last", largest)
}

// Connections that say nothing are bounded, too.
func TestTooMany(t *testing.T) {
	b := start(t, broker.Options{Addr: "127.0.0.1:0", Authenticate: roles, MaxClients: 3})
	closed := make(chan bool, 8)
	for range cap(closed) {
		conn, err := net.Dial("tcp", b.Addr())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		go func() {
			_, _ = conn.Read(make([]byte, 1))
			closed <- true
		}()
	}
	for range cap(closed) - 3 {
		<-closed
	}
	if connect(t, "tcp://"+b.Addr(), "d1", "d1", nil) != nil {
		t.Error("one more is let in")
	}
	b.Disconnect()
	deadline := time.Now().Add(time.Minute)
	for connect(t, "tcp://"+b.Addr(), "d1", "d1", nil) == nil {
		if time.Now().After(deadline) {
			t.Fatal("nobody is let in any more")
		}
	}
}

// Garbage before CONNECT does no harm.
func TestGarbage(t *testing.T) {
	b := start(t, broker.Options{Addr: "127.0.0.1:0", Authenticate: roles})
	for _, junk := range [][]byte{{}, {0}, {0x10, 0xff, 0xff, 0xff, 0xff, 0xff}, {0x10, 0}, []byte("GET / HTTP/1.1\r\n\r\n"), bytes.Repeat([]byte{0xff}, 1<<16)} {
		conn, err := net.Dial("tcp", b.Addr())
		if err != nil {
			t.Fatal(err)
		}
		_, _ = conn.Write(junk) // it may end the connection in the middle
		_ = conn.Close()
	}
	if connect(t, "tcp://"+b.Addr(), "d1", "d1", nil) == nil {
		t.Error("a device is refused after that")
	}
}

func TestDial(t *testing.T) {
	b := start(t, broker.Options{})
	if b.Addr() != "" {
		t.Errorf("it listens on %s", b.Addr())
	}
	c := connect(t, "tcp://inside.invalid:1", "x", "whoever", func(o *paho.ClientOptions) {
		o.SetCustomOpenConnectionFn(func(*url.URL, paho.ClientOptions) (net.Conn, error) { return b.Dial(t.Context()) })
	})
	if c == nil || !c.subscribe("#") {
		t.Fatal("the program itself is refused")
	}
	c.publish("any/topic", false, "last")
	c.want("last")
	b.Disconnect()
	select {
	case <-c.lost:
	case <-time.After(time.Minute):
		t.Error("Disconnect leaves a connection")
	}
}

func TestNewRefusesStrangers(t *testing.T) {
	for addr, ok := range map[string]bool{
		"": true, "127.0.0.1:0": true, "[::1]:1883": true, "localhost:1883": true,
		"0.0.0.0:1883": false, ":1883": false, "192.168.1.2:1883": false, "hub.example.com:1883": false, "127.0.0.1": false,
	} {
		if _, err := broker.New(broker.Options{Addr: addr}); (err == nil) != ok {
			t.Errorf("%q without passwords: %v", addr, err)
		}
		if _, err := broker.New(broker.Options{Addr: addr, TLS: &tls.Config{MinVersion: tls.VersionTLS12}}); (err == nil) != ok {
			t.Errorf("%q with TLS alone: %v", addr, err)
		}
	}
	if _, err := broker.New(broker.Options{Addr: "0.0.0.0:1883", Authenticate: roles}); err != nil {
		t.Errorf("with passwords: %v", err)
	}
}
