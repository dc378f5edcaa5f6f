package hub_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"

	"github.com/ssg-safe/agent/fleet/wire"
	"github.com/ssg-safe/agent/hub"
	"github.com/ssg-safe/agent/hub/broker"
)

// startBroker runs the embedded broker until the test ends.
func startBroker(t *testing.T) *broker.Broker {
	t.Helper()
	b, err := broker.New(broker.Options{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- b.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("broker: %v", err)
		}
	})
	return b
}

func dialer(b *broker.Broker) func(context.Context, *url.URL) (net.Conn, error) {
	return func(ctx context.Context, _ *url.URL) (net.Conn, error) { return b.Dial(ctx) }
}

// received is what a transport handed over.
type received struct {
	payload string
	done    func()
}

// startTransport runs one until the test ends.
func startTransport(t *testing.T, b *broker.Broker) (*hub.MQTT, <-chan received) {
	t.Helper()
	m, err := hub.NewMQTT(hub.MQTTOptions{Brokers: []string{"tcp://inside.invalid:1"}, Dial: dialer(b)})
	if err != nil {
		t.Fatal(err)
	}
	came := make(chan received, 64)
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() {
		ended <- m.Run(ctx, func(_ string, payload []byte, done func()) { came <- received{string(payload), done} })
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	select {
	case <-m.Ready():
	case <-time.After(time.Minute):
		t.Fatal("no subscription")
	}
	return m, came
}

func next(t *testing.T, came <-chan received) received {
	t.Helper()
	select {
	case r := <-came:
		return r
	case <-time.After(time.Minute):
		t.Fatal("nothing came")
		return received{}
	}
}

// mqttDevice is a client of the broker.
func mqttDevice(t *testing.T, b *broker.Broker) paho.Client {
	t.Helper()
	c := paho.NewClient(paho.NewClientOptions().AddBroker("tcp://inside.invalid:1").SetClientID("kiosk-1").SetAutoReconnect(false).
		SetCustomOpenConnectionFn(func(*url.URL, paho.ClientOptions) (net.Conn, error) { return b.Dial(t.Context()) }))
	if token := c.Connect(); !token.WaitTimeout(time.Minute) || token.Error() != nil {
		t.Fatal(token.Error())
	}
	t.Cleanup(func() { c.Disconnect(0) })
	return c
}

const upHello = "fleet/v1/acme/lobby/kiosk-1/up/hello"

// What the hub is not done with, the broker delivers again; what it is done with,
// it does not.
func TestUnfinishedComesAgain(t *testing.T) {
	b := startBroker(t)
	m, came := startTransport(t, b)
	d := mqttDevice(t, b)
	for i := range 3 {
		if token := d.Publish(upHello, 1, false, fmt.Sprint("m", i)); !token.WaitTimeout(time.Minute) || token.Error() != nil {
			t.Fatal(token.Error())
		}
	}
	for i := range 3 {
		r := next(t, came)
		if r.payload != fmt.Sprint("m", i) {
			t.Fatalf("message %d is %q", i, r.payload)
		}
		if i < 2 {
			r.done()
		}
	}
	// An acknowledgement that was under way when the connection ended is lost; then
	// its message comes again as well, and is acknowledged again.
	for deadline := time.Now().Add(time.Minute); ; {
		pass(t, b, m)
		b.Disconnect()
		alone := true
		for {
			r := next(t, came)
			if r.payload == "m2" {
				break
			}
			alone = false
			r.done()
		}
		if alone {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("what the hub is done with comes again and again")
		}
	}
}

// pass sends something to a device, behind the acknowledgements that are under way,
// and waits until it is there.
func pass(t *testing.T, b *broker.Broker, m *hub.MQTT) {
	t.Helper()
	d := mqttDevice(t, b)
	there := make(chan struct{})
	if token := d.Subscribe("fleet/v1/acme/lobby/kiosk-1/down/ack", 0, func(paho.Client, paho.Message) { close(there) }); !token.WaitTimeout(time.Minute) || token.Error() != nil {
		t.Fatal(token.Error())
	}
	for deadline := time.Now().Add(time.Minute); m.Send("fleet/v1/acme/lobby/kiosk-1/down/ack", []byte("token")) != nil; {
		if time.Now().After(deadline) {
			t.Fatal("it is never sent")
		}
	}
	select {
	case <-there:
	case <-time.After(time.Minute):
		t.Fatal("nothing came")
	}
}

// What is sent while there is no connection fails at once, and is not kept: what
// matters is sent again by the hub.
func TestSend(t *testing.T) {
	b := startBroker(t)
	m, err := hub.NewMQTT(hub.MQTTOptions{Brokers: []string{"tcp://inside.invalid:1"}, Dial: dialer(b)})
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Send("x", nil); err == nil {
		t.Error("sent without a connection")
	}
	running, _ := startTransport(t, b)
	d := mqttDevice(t, b)
	got := make(chan string, 1)
	if token := d.Subscribe("fleet/v1/acme/lobby/kiosk-1/down/+", 0, func(_ paho.Client, m paho.Message) { got <- string(m.Payload()) }); !token.WaitTimeout(time.Minute) {
		t.Fatal("subscribe")
	}
	deadline := time.Now().Add(time.Minute)
	for running.Send("fleet/v1/acme/lobby/kiosk-1/down/ack", []byte("token")) != nil {
		if time.Now().After(deadline) {
			t.Fatal("it is never sent")
		}
	}
	select {
	case text := <-got:
		if text != "token" {
			t.Errorf("%q came", text)
		}
	case <-time.After(time.Minute):
		t.Error("nothing came")
	}
}

// A hub over MQTT: a batch in, a signed acknowledgement out.
func TestHubOverMQTT(t *testing.T) {
	b := startBroker(t)
	link, err := hub.NewMQTT(hub.MQTTOptions{Brokers: []string{"tcp://inside.invalid:1"}, Dial: dialer(b)})
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, path: t.TempDir() + "/hub.db", pipe: &pipe{sinks: make(map[string]func(wire.Channel, []byte)), through: link}}
	r.start()
	defer r.stop()
	d := r.register("kiosk-1")
	d.add(5)
	<-link.Ready()
	c := mqttDevice(t, b)
	var once sync.Once
	acked := make(chan bool)
	if token := c.Subscribe(wire.Subscription("acme", "lobby", "kiosk-1"), 0, func(_ paho.Client, m paho.Message) {
		d.receive(wire.ChannelAck, m.Payload())
		once.Do(func() { close(acked) })
	}); !token.WaitTimeout(time.Minute) {
		t.Fatal("subscribe")
	}
	payload, err := d.signed(1, 1, 5).Encode()
	if err != nil {
		t.Fatal(err)
	}
	c.Publish(d.topic(wire.ChannelLedger), 1, false, payload).WaitTimeout(time.Minute)
	select {
	case <-acked:
	case <-time.After(time.Minute):
		t.Fatal("no acknowledgement")
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if a := d.acks[0]; a.Seq != 5 || a.Head != d.head.Hash {
		t.Errorf("ack %+v", a)
	}
}

func TestNewMQTTRefuses(t *testing.T) {
	for _, brokers := range [][]string{nil, {"localhost"}, {"http://localhost:1"}, {"ssl://localhost:1"}, {"tcp://"}, {"tcp://localhost:1", "x"}} {
		if _, err := hub.NewMQTT(hub.MQTTOptions{Brokers: brokers}); err == nil {
			t.Errorf("%q is taken", brokers)
		}
	}
}

// A broker that cannot be reached is tried again, the others in turn, until the
// hub is told to stop.
func TestUnreachableBrokers(t *testing.T) {
	var mu sync.Mutex
	tried := make(map[string]int)
	enough := make(chan bool)
	var once sync.Once
	m, err := hub.NewMQTT(hub.MQTTOptions{Brokers: []string{"tcp://one:1", "tcp://two:1"}, Dial: func(_ context.Context, u *url.URL) (net.Conn, error) {
		mu.Lock()
		defer mu.Unlock()
		tried[u.Host]++
		if tried["one:1"] > 0 && tried["two:1"] > 0 {
			once.Do(func() { close(enough) })
		}
		return nil, errors.New("unreachable")
	}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- m.Run(ctx, func(string, []byte, func()) {}) }()
	select {
	case <-enough:
	case <-time.After(time.Minute):
		t.Errorf("tried %v", tried)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("Run: %v", err)
	}
}

// The hub receives when it can answer: what is answered in vain, a device asks
// again after half a minute only. Where it cannot answer at all, it receives.
func TestAnswersComeFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var dials atomic.Int32
		m, err := hub.NewMQTT(hub.MQTTOptions{Brokers: []string{"tcp://nowhere.invalid:1883"}, Dial: func(ctx context.Context, _ *url.URL) (net.Conn, error) {
			dials.Add(1)
			<-ctx.Done()
			return nil, ctx.Err()
		}})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- m.Run(ctx, nil) }()
		synctest.Wait()
		if n := dials.Load(); n != 1 {
			t.Errorf("%d connections at once, want the one to send on", n)
		}
		time.Sleep(20*time.Second + time.Millisecond)
		if n := dials.Load(); n != 2 {
			t.Errorf("%d connections when it has not come, want one to receive on", n)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}
