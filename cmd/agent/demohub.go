package main

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"go.etcd.io/bbolt"

	"github.com/ssg-safe/agent/device"
	"github.com/ssg-safe/agent/fleet"
	"github.com/ssg-safe/agent/fleet/wire"
	"github.com/ssg-safe/agent/hub"
	"github.com/ssg-safe/agent/hub/bolt"
	"github.com/ssg-safe/agent/hub/broker"
	"github.com/ssg-safe/agent/internal/supervise"
	"github.com/ssg-safe/agent/ledger"
	"github.com/ssg-safe/agent/store"
)

// demoHub is the fleet's other side inside the demo: a broker without a
// socket, and a hub with its own store under the demo's directory.
type demoHub struct {
	store  *bolt.Store
	hub    *hub.Hub
	broker *broker.Broker
	pins   []ed25519.PublicKey
	device string
	line   *cuttable
	log    *slog.Logger
}

func openDemoHub(dir string, line *cuttable, log *slog.Logger) (*demoHub, error) {
	dir = filepath.Join(dir, "hub")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("hub: %w", err)
	}
	keys, err := hub.LoadKeys(dir)
	if errors.Is(err, hub.ErrNoKey) {
		keys, err = hub.MakeKey(dir)
	}
	if err != nil {
		return nil, fmt.Errorf("hub: %w", err)
	}
	log = log.With("part", "hub")
	h := &demoHub{line: line, log: log, pins: keys.Pin()}
	signer, err := keys.Signer()
	if err != nil {
		return nil, err
	}
	if h.broker, err = broker.New(broker.Options{Logger: log}); err != nil {
		return nil, err
	}
	if h.store, err = bolt.Open(bolt.Options{Path: filepath.Join(dir, "hub.db")}); err != nil {
		return nil, fmt.Errorf("hub: %w", err)
	}
	if h.hub, err = hub.New(hub.Options{Store: h.store, Signer: signer, Logger: log}); err != nil {
		return nil, errors.Join(err, h.store.Close())
	}
	return h, nil
}

func (h *demoHub) components() []supervise.Component {
	return []supervise.Component{
		{Name: "broker", Run: h.broker.Run, Essential: true},
		{Name: "hub", Essential: true, Run: func(ctx context.Context) error {
			link, err := hub.NewMQTT(hub.MQTTOptions{
				Brokers: []string{demoBroker}, Logger: h.log,
				Dial: func(ctx context.Context, _ *url.URL) (net.Conn, error) { return h.broker.Dial(ctx) },
			})
			if err != nil {
				return err
			}
			return h.hub.Run(ctx, link)
		}},
	}
}

// demoBroker is nowhere: it is dialled in memory.
const demoBroker = "tcp://broker.invalid:1883"

// enrol registers the terminal at the hub, and tells it where the hub is.
func (h *demoHub) enrol(ctx context.Context, c *FleetConfig, id device.Identity) error {
	h.device = id.Device
	c.Brokers, c.Tenant, c.Site = []string{demoBroker}, "demo", "demo"
	c.HubKeys = nil
	for _, pub := range h.pins {
		c.HubKeys = append(c.HubKeys, wire.EncodeKey(pub))
	}
	c.ClientID, c.Keepalive = string(fleet.ClientIDDevice), time.Minute
	return h.hub.Register(ctx, hub.Device{
		Name: id.Device, Tenant: c.Tenant, Site: c.Site, Key: id.DeviceKey.Public().(ed25519.PublicKey),
	})
}

// dial is the terminal's way to the broker; it can be cut.
func (h *demoHub) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	if err := h.line.err(); err != nil {
		return nil, err
	}
	return h.broker.Dial(ctx)
}

// synced waits until the hub holds all of the terminal's ledger, and compares
// the two byte for byte.
func (h *demoHub) synced(ctx context.Context, st *store.Store, link *fleet.Link) (ledger.Head, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	link.Wake()
	for {
		s := link.Status()
		if s.Connected && s.Head.Seq > 0 && s.Acked == s.Head {
			return s.Head, h.compare(ctx, st)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return s.Acked, fmt.Errorf("the hub holds %s of %s", s.Acked.Position, s.Head.Position)
		}
	}
}

// compare holds the hub's copy against the terminal's ledger.
func (h *demoHub) compare(ctx context.Context, st *store.Store) error {
	var ours []ledger.Raw
	err := st.View(func(tx *bbolt.Tx) (err error) {
		ours, err = ledger.Read(tx, ledger.Position{}, 1<<30)
		return err
	})
	if err != nil {
		return err
	}
	theirs, err := h.hub.Read(ctx, h.device, ledger.Position{}, 1<<30)
	if err != nil {
		return fmt.Errorf("hub: %w", err)
	}
	if len(ours) != len(theirs) {
		return fmt.Errorf("the terminal has %d entries, the hub %d", len(ours), len(theirs))
	}
	for i, e := range ours {
		if e.Position != theirs[i].Position || !bytes.Equal(e.Bytes, theirs[i].Bytes) {
			return fmt.Errorf("the hub has another entry at %s", e.Position)
		}
	}
	return nil
}
