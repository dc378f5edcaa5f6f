package main

import (
	"context"
	"crypto/ed25519"
	"errors"
	"net"
	"path/filepath"
	"slices"
	"time"

	"github.com/ssg-safe/agent/device"
	"github.com/ssg-safe/agent/fleet"
	"github.com/ssg-safe/agent/fleet/wire"
	"github.com/ssg-safe/agent/hub"
	"github.com/ssg-safe/agent/hub/bolt"
	"github.com/ssg-safe/agent/hub/broker"
	"github.com/ssg-safe/agent/store"
)

// crew are goroutines that end together, the last one first.
type crew struct{ ends []func() error }

// run starts f; its context ends with stop.
func (c *crew) run(ctx context.Context, f func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	ended := make(chan error, 1)
	go func() { ended <- f(ctx) }()
	c.ends = append(c.ends, func() error { cancel(); return <-ended })
}

func (c *crew) stop() error {
	var errs []error
	for _, end := range slices.Backward(c.ends) {
		errs = append(errs, end())
	}
	c.ends = nil
	return errors.Join(errs...)
}

// backOffice is the embedded broker on a loopback port, and a hub with its store
// on the disk that is measured, for one terminal.
type backOffice struct {
	crew
	addr        string
	store       *bolt.Store
	hub         *hub.Hub
	key, device ed25519.PrivateKey
}

const kioskName = "kiosk"

func newBackOffice(ctx context.Context, dir string) (*backOffice, error) {
	f := &backOffice{
		key:    ed25519.NewKeyFromSeed(slices.Repeat([]byte{1}, ed25519.SeedSize)),
		device: ed25519.NewKeyFromSeed(slices.Repeat([]byte{2}, ed25519.SeedSize)),
	}
	b, err := broker.New(broker.Options{Addr: "127.0.0.1:0"})
	if err != nil {
		return nil, err
	}
	signer, err := wire.NewSigner(f.key)
	if err != nil {
		return nil, err
	}
	if f.store, err = bolt.Open(bolt.Options{Path: filepath.Join(dir, "hub.db")}); err != nil {
		return nil, err
	}
	if f.hub, err = hub.New(hub.Options{Store: f.store, Signer: signer}); err != nil {
		return nil, err
	}
	if err := f.hub.Register(ctx, hub.Device{Name: kioskName, Tenant: "bench", Site: "bench", Key: f.device.Public().(ed25519.PublicKey)}); err != nil {
		return nil, err
	}
	f.run(ctx, b.Run)
	<-b.Ready()
	f.addr = "tcp://" + b.Addr()
	transport, err := hub.NewMQTT(hub.MQTTOptions{Brokers: []string{f.addr}})
	if err != nil {
		return nil, err
	}
	f.run(ctx, func(ctx context.Context) error { return f.hub.Run(ctx, transport) })
	<-transport.Ready()
	return f, nil
}

// close ends what runs, and closes the hub's store.
func (f *backOffice) close() error { return errors.Join(f.stop(), f.store.Close()) }

// link makes the terminal's link; nil dials as it does by itself.
func (f *backOffice) link(st *store.Store, h fleet.Handler, dial func(context.Context, string, string) (net.Conn, error)) (*fleet.Link, error) {
	keys, err := wire.NewKeys(f.key.Public().(ed25519.PublicKey))
	if err != nil {
		return nil, err
	}
	return fleet.New(fleet.Options{
		Device: kioskName, Tenant: "bench", Site: "bench", Version: "bench", Brokers: []string{f.addr},
		Store: st, DeviceKey: f.device, Hub: keys, Clock: device.NewClock(time.Time{}), Handler: h, Dial: dial,
	})
}

// deaf is a terminal that carries nothing out.
type deaf struct{}

func (deaf) Paid(context.Context, wire.Pay, fleet.Include) error { return fleet.ErrNotOurs }
func (deaf) Charge(context.Context, wire.ChargeRequest, fleet.Include) (string, error) {
	return "", fleet.ErrInvalid
}
func (deaf) Payout(context.Context, wire.Payout, fleet.Include) error { return fleet.ErrNotOurs }
func (deaf) Open() []string                                           { return nil }
func (deaf) Hint(string)                                              {}
func (deaf) Offers() ([]fleet.Offer, error)                           { return nil, nil }
