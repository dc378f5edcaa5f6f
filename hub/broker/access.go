package broker

import (
	"crypto/tls"
	"log/slog"
	"net"
	"strings"
	"sync"
	"time"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/ssg-safe/agent/fleet/wire"
)

// access is mochi's hook that knows who may do what.
type access struct {
	mqtt.HookBase
	o       Options
	log     *slog.Logger
	clients *mqtt.Clients

	who   sync.Map // *mqtt.Client -> who
	conns sync.Map // net.Conn -> *mqtt.Client, while it is connected

	mu     sync.Mutex // guards logged and silent
	logged time.Time
	silent int
}

// refuse logs at most once a second: strangers may try as often as they like.
func (a *access) refuse(cl *mqtt.Client, user string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if now := time.Now(); now.Sub(a.logged) >= time.Second {
		a.log.Warn("broker refuses a client", "client", clip(cl.ID), "user", clip(user), "remote", cl.Net.Remote, "more", a.silent)
		a.logged, a.silent = now, 0
		return
	}
	a.silent++
}

func clip(s string) string { return s[:min(len(s), wire.MaxSegment)] }

// who is a client that has been let in.
type who struct {
	user string
	Grant
}

// ID implements mqtt.Hook.
func (a *access) ID() string { return "access" }

// Provides implements mqtt.Hook.
func (a *access) Provides(b byte) bool {
	return b == mqtt.OnConnectAuthenticate || b == mqtt.OnACLCheck || b == mqtt.OnClientExpired
}

// OnConnectAuthenticate implements mqtt.Hook.
func (a *access) OnConnectAuthenticate(cl *mqtt.Client, pk packets.Packet) bool {
	w := who{user: string(pk.Connect.Username)}
	if cn, certified := commonName(cl.Net.Conn); certified {
		w.user = cn
	}
	// Before the question, so that evict finds whoever was let in by what no
	// longer holds.
	a.who.Store(cl, w)
	a.conns.Store(cl.Net.Conn, cl)
	if w.Grant = a.grant(cl, w.user, pk); w.Role == Nobody {
		a.refuse(cl, w.user)
		return false
	}
	a.who.Store(cl, w)
	return true
}

// grant is what a client is let in for.
func (a *access) grant(cl *mqtt.Client, user string, pk packets.Packet) Grant {
	w := who{user, Grant{Role: Anyone}}
	if cl.Net.Listener != memory && a.o.Authenticate != nil {
		w.Grant = a.o.Authenticate(user, string(pk.Connect.Password))
	}
	if w.Role == Device {
		switch {
		case !wire.ValidSegment(user):
			return Grant{}
		case pk.ProtocolVersion != 4 || !pk.Connect.Clean:
			return Grant{} // sessions would stay here, as many as it has client ids
		case cl.ID != user && wire.ValidSegment(cl.ID):
			// Whoever takes a client id takes over the connection that has it. So a
			// device may call itself by its own name, or by something that is nobody's
			// name.
			return Grant{}
		}
	}
	if old, ok := a.clients.Get(cl.ID); ok && !old.Closed() {
		if before, ok := a.who.Load(old); ok && before.(who).user != user {
			return Grant{}
		}
	}
	// mochi asks nobody about a last will.
	if pk.Connect.WillFlag && !w.may(pk.Connect.WillTopic, true) {
		return Grant{}
	}
	return w.Grant
}

// commonName is the name in a verified client certificate.
func commonName(conn net.Conn) (string, bool) {
	p, ok := conn.(*patient)
	if !ok {
		return "", false
	}
	t, ok := p.Conn.(*tls.Conn)
	if !ok {
		return "", false
	}
	state := t.ConnectionState()
	if len(state.VerifiedChains) == 0 {
		return "", false
	}
	return state.PeerCertificates[0].Subject.CommonName, true
}

// left is called when a connection has ended. A client whose session stays is
// remembered, because what is queued for it is checked too.
func (a *access) left(conn net.Conn) {
	v, ok := a.conns.LoadAndDelete(conn)
	if !ok {
		return
	}
	cl := v.(*mqtt.Client)
	if now, ok := a.clients.Get(cl.ID); !ok || now != cl {
		a.who.Delete(cl)
	}
}

// evict ends what is connected as a user.
func (a *access) evict(user string) {
	a.conns.Range(func(conn, cl any) bool {
		if v, ok := a.who.Load(cl); ok && v.(who).user == user && cl.(*mqtt.Client).Net.Listener != memory {
			_ = conn.(net.Conn).Close()
		}
		return true
	})
}

// OnClientExpired implements mqtt.Hook.
func (a *access) OnClientExpired(cl *mqtt.Client) { a.who.Delete(cl) }

// OnACLCheck implements mqtt.Hook. It is asked about topics that are published,
// filters that are subscribed to, and topics that are delivered.
func (a *access) OnACLCheck(cl *mqtt.Client, topic string, write bool) bool {
	v, ok := a.who.Load(cl)
	return ok && v.(who).may(topic, write)
}

// may reports whether a client may publish to a topic, or subscribe to a filter.
func (w who) may(topic string, write bool) bool {
	switch w.Role {
	case Anyone:
		return true
	case Device:
		t, err := parse(topic, write)
		return err == nil && t.Device == w.user && t.Tenant == w.Tenant && t.Site == w.Site && t.Up == write
	case Hub:
		if !write && topic == wire.HubSubscription {
			return true
		}
		t, err := parse(topic, write)
		return err == nil && t.Up != write
	}
	return false
}

// parse reads a topic, or a filter whose last segment is a '+'.
func parse(topic string, write bool) (wire.Topic, error) {
	if name, ok := strings.CutSuffix(topic, "/+"); ok && !write {
		channel := wire.ChannelAck
		if strings.HasSuffix(name, "/up") {
			channel = wire.ChannelState
		}
		topic = name + "/" + string(channel)
	}
	return wire.ParseTopic(topic)
}
