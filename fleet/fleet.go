package fleet

import (
	"context"
	"crypto/ed25519"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"strings"
	"sync"
	"time"

	"go.etcd.io/bbolt"

	"github.com/ssg-safe/agent/fleet/wire"
	"github.com/ssg-safe/agent/ledger"
	"github.com/ssg-safe/agent/redact"
	"github.com/ssg-safe/agent/store"
)

// Consumer is the name of the hub's cursor in the ledger.
const Consumer = "hub"

// Errors by which a [Handler] says what became of a message. Any other error
// asks the hub to try again later.
var (
	// ErrKnown: nothing new, it was durable before.
	ErrKnown = errors.New("nothing new")
	// ErrNotOurs: no such charge on this terminal.
	ErrNotOurs = errors.New("no such charge here")
	// ErrMismatch: recorded, but it does not fit the charge.
	ErrMismatch = errors.New("it does not fit the charge")
	// ErrConflict: the reference is taken by a request with other content.
	ErrConflict = errors.New("the reference is taken by another request")
	// ErrInvalid: understood and never possible.
	ErrInvalid = errors.New("not possible")
	// ErrBusy: not now, try again.
	ErrBusy = errors.New("busy")
)

// Include is what a handler's commit must contain: it keeps the counter of the
// message that caused the commit, and may run more than once. A handler that
// commits nothing does not call it.
type Include func(*bbolt.Tx) error

// Handler is the terminal, as the link sees it. Its methods are called from
// several goroutines; the context of Paid, Charge and Payout ends after 30 s
// at the latest.
type Handler interface {
	// Paid records what the hub signed about a charge. It returns nil when that
	// is durable, else one of the errors above, wrapped or not. The same message
	// can come again.
	Paid(ctx context.Context, p wire.Pay, with Include) error
	// Charge makes the charge that the back office asks for and returns its id.
	// r.Reference is its identity: the same reference with the same content is
	// the same charge, returned with ErrKnown or without an error.
	Charge(ctx context.Context, r wire.ChargeRequest, with Include) (charge string, err error)
	// Payout records what the hub signed about a payout or refund, as Paid does.
	Payout(ctx context.Context, p wire.Payout, with Include) error
	// Open lists the charges whose payment somebody waits for. The link asks the
	// hub about each: every 5 s in its first 10 minutes, then every 5 minutes. It
	// must not block.
	Open() []string
	// Offers lists the proposals that the hub has not said that it has. The link sends
	// each as soon as the hub holds its entry, every 5 s in the first 10 minutes, then
	// every 5 minutes, until it is not in the list any more. It may read the store, and
	// waits for nothing else.
	Offers() ([]Offer, error)
	// Hint says that somebody without authority mentioned the charge as settled:
	// ask the provider. It must not block, and ignores what it does not know.
	Hint(charge string)
}

// Offer is a proposal whose details the hub has to be given.
type Offer struct {
	ID     string
	At     ledger.Position // of its entry
	Sealed []byte          // none in a refund
}

// Clock is the terminal's clock, as device.Clock.
type Clock interface {
	Wall() time.Time    // UTC, never before the floor
	Up() time.Duration  // since boot, suspend included
	Boot() string       // id of the boot that Up counts from
	Quality() string    // of Wall: unsynced, floor, synced or anchored
	SetFloor(time.Time) // raises the time that is known to have passed
}

// ClientID says under which name the terminal connects.
type ClientID string

// The ways. Where the broker binds the client id to the credentials, the device
// name keeps every other client from taking the session over. Where it cannot
// (NATS), anybody with a certificate could take over a known name, so it is a
// random one of 128 bits, new for each connection.
const (
	ClientIDDevice ClientID = "device" // the default
	ClientIDRandom ClientID = "random"
)

// Metrics are measurements for the fleet's operators. Names have lower-case
// letters, digits, '_' and '.'.
type Metrics struct {
	Counters map[string]uint64 // sums since the agent started
	Gauges   map[string]int64  // values of this moment
}

// Options of a link. Device, Brokers, Store, Clock, Handler and Version must be
// set, and Hub or Mapping.
type Options struct {
	// Device, Tenant and Site name the terminal in topics (wire.Topic). Tenant
	// and Site are not needed without Hub.
	Device, Tenant, Site string
	// Version of the agent.
	Version string
	// Brokers are addresses, tcp://HOST:PORT or ssl://HOST:PORT, tried in turn
	// from a random one on.
	Brokers []string
	// TLS for ssl addresses: client certificate, pinned CA. The link adds a
	// session cache and the clock with its floor; it verifies always.
	TLS *tls.Config
	// Username and Password, if the broker wants them.
	Username string
	Password redact.Secret
	// ClientID is the way to name the client; empty is ClientIDDevice.
	ClientID ClientID
	// Keepalive in whole seconds; 0 is 60 s. A link that says nothing is noticed
	// after Keepalive + min(Keepalive, 15 s) and a few seconds at the latest.
	Keepalive time.Duration

	// Store holds the ledger, and what Migrations made.
	Store *store.Store
	// DeviceKey signs the checkpoints of the ledger. Needed with Hub.
	DeviceKey ed25519.PrivateKey
	// Hub holds the pinned keys of the hub. Without them there is no hub: nothing
	// is published, and only Mapping is served.
	Hub wire.Keys
	// Mapping reads the status messages of a foreign fleet; nil: there is none.
	Mapping *Mapping

	Clock   Clock
	Handler Handler
	// Telemetry measures; nil: there is none. It is called every TelemetryEvery
	// (60 s to 300 s; 0 is 60 s) while connected, and sent if anything changed.
	Telemetry      func() Metrics
	TelemetryEvery time.Duration

	// Dial opens TCP connections; nil is the system's dialer with
	// TCP_USER_TIMEOUT.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
	// Logger; nil discards.
	Logger *slog.Logger
}

// Status is what the link says about itself.
type Status struct {
	// Connected: subscribed at Broker. It does not say that the hub is there.
	Connected bool      `json:"connected"`
	Broker    string    `json:"broker,omitempty"`
	Since     time.Time `json:"since,omitzero"` // of Connected, wall clock
	// LastError is why the last connection failed or ended.
	LastError string `json:"last_error,omitempty"`
	// Heard is when the hub last signed something that was accepted, wall clock.
	Heard time.Time `json:"heard,omitzero"`
	// Hold is why the hub takes no entries; empty: it does.
	Hold wire.Hold `json:"hold,omitempty"`
	// Quarantined: an entry takes the connection with it and is held back.
	Quarantined bool `json:"quarantined,omitempty"`

	Head    ledger.Head `json:"head"`    // newest entry
	Acked   ledger.Head `json:"acked"`   // newest entry that the hub holds, durable
	Pending uint64      `json:"pending"` // entries behind Acked

	// Counters since New, by name.
	Counters map[string]uint64 `json:"counters"`
}

// broker is one parsed address.
type broker struct {
	text   string // as configured
	addr   string // host:port
	host   string
	secure bool
}

// Link is the terminal's link to its fleet. Its methods are safe for concurrent
// use; Run is called once.
type Link struct {
	o       Options
	brokers []broker
	tls     *tls.Config
	log     *slog.Logger
	counts  counters

	wake    chan struct{} // capacity 1: entries, events, results, open charges or offers
	events  mailbox[wire.Evt]
	results mailbox[wire.Res]

	pays    chan wire.Pay           // accepted, for the handler
	charges chan wire.ChargeRequest // accepted, for the handler
	payouts chan wire.Payout

	warnings, alarms, outages, greetings limiter

	hints  hints
	anchor anchor

	// The goroutine of Run owns these.
	out    outbox
	cursor cursor

	mu      sync.Mutex // guards what follows
	state   linkState
	highest seen // counter and time of what was accepted
}

// New checks the options. It does no I/O.
func New(o Options) (*Link, error) {
	var errs []error
	need := func(ok bool, what string) {
		if !ok {
			errs = append(errs, errors.New(what))
		}
	}
	need(wire.ValidSegment(o.Device), fmt.Sprintf("device %.80q is not 1 to 64 of a-z, 0-9 and -", o.Device))
	need(o.Version != "", "version is missing")
	need(o.Store != nil, "store is missing")
	need(o.Clock != nil, "clock is missing")
	need(o.Handler != nil, "handler is missing")
	need(len(o.Hub) > 0 || o.Mapping != nil, "neither keys of a hub nor a mapping")
	need(len(o.Hub) <= wire.MaxKeys, fmt.Sprintf("%d keys of the hub, at most %d", len(o.Hub), wire.MaxKeys))
	if len(o.Hub) > 0 {
		need(wire.ValidSegment(o.Tenant), fmt.Sprintf("tenant %.80q is not 1 to 64 of a-z, 0-9 and -", o.Tenant))
		need(wire.ValidSegment(o.Site), fmt.Sprintf("site %.80q is not 1 to 64 of a-z, 0-9 and -", o.Site))
		need(len(o.DeviceKey) == ed25519.PrivateKeySize, "device key is missing")
	}
	switch o.ClientID {
	case "":
		o.ClientID = ClientIDDevice
	case ClientIDDevice, ClientIDRandom:
	default:
		need(false, fmt.Sprintf("client id %.80q is neither %q nor %q", string(o.ClientID), ClientIDDevice, ClientIDRandom))
	}
	if o.Keepalive == 0 {
		o.Keepalive = defaultKeepalive
	}
	need(o.Keepalive >= time.Second && o.Keepalive <= maxKeepalive && o.Keepalive%time.Second == 0,
		fmt.Sprintf("keepalive %v is not whole seconds, 1 s to %v", o.Keepalive, maxKeepalive))
	if o.TelemetryEvery == 0 {
		o.TelemetryEvery = minTelemetry
	}
	need(o.TelemetryEvery >= minTelemetry && o.TelemetryEvery <= maxTelemetry,
		fmt.Sprintf("telemetry every %v, not %v to %v", o.TelemetryEvery, minTelemetry, maxTelemetry))
	need(len(o.Brokers) > 0, "no brokers")
	if o.TLS != nil && o.TLS.InsecureSkipVerify {
		need(false, "the TLS configuration does not verify the broker")
	}
	l := &Link{
		o: o, log: o.Logger, wake: make(chan struct{}, 1),
		pays: make(chan wire.Pay, maxPays), charges: make(chan wire.ChargeRequest, maxCharges), payouts: make(chan wire.Payout, maxPays),
		cursor: cursor{done: make(chan error, 1)},
	}
	l.events.limit, l.results.limit = maxEvents, maxResults
	l.warnings.every, l.alarms.every, l.outages.every = logEvery, alarmEvery, offlineLog
	l.greetings.every = greetEvery
	for _, text := range o.Brokers {
		b, err := parseBroker(text)
		errs = append(errs, err)
		l.brokers = append(l.brokers, b)
	}
	if o.Mapping != nil {
		errs = append(errs, o.Mapping.Validate())
	}
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("fleet: %w", err)
	}
	if l.log == nil {
		l.log = slog.New(slog.DiscardHandler)
	}
	l.tls = l.tlsConfig()
	if l.o.Dial == nil {
		l.o.Dial = dialer().DialContext
	}
	return l, nil
}

// parseBroker reads tcp://host:port or ssl://host:port.
func parseBroker(text string) (broker, error) {
	u, err := url.Parse(text)
	if err != nil {
		// The error of url.Parse repeats what may hold a password.
		return broker{}, errors.New("a broker's address is no URL")
	}
	if u.User != nil {
		return broker{}, fmt.Errorf("broker %s: credentials do not belong into the address", u.Host)
	}
	if u.Scheme != "tcp" && u.Scheme != "ssl" || u.Hostname() == "" || u.Port() == "" || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" {
		return broker{}, fmt.Errorf("broker %.80q is not tcp://HOST:PORT or ssl://HOST:PORT", text)
	}
	return broker{text: text, addr: u.Host, host: u.Hostname(), secure: u.Scheme == "ssl"}, nil
}

// Wake says that there may be new entries, open charges or offers. It never blocks.
func (l *Link) Wake() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}
