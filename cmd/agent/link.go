package main

import (
	"context"
	"crypto/ed25519"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"slices"
	"sync"
	"time"

	"go.etcd.io/bbolt"

	"github.com/ssg-safe/agent/charge"
	"github.com/ssg-safe/agent/device"
	"github.com/ssg-safe/agent/fleet"
	"github.com/ssg-safe/agent/fleet/wire"
	"github.com/ssg-safe/agent/internal/keypair"
	"github.com/ssg-safe/agent/payout"
	"github.com/ssg-safe/agent/proposal"
	"github.com/ssg-safe/agent/store"
	"github.com/ssg-safe/agent/terminal"
)

// dialer opens connections to brokers; nil is the network.
type dialer func(ctx context.Context, network, addr string) (net.Conn, error)

// openLink makes the link of a configuration; nil where it has no brokers.
func openLink(c FleetConfig, dial dialer, st *store.Store, id device.Identity, clock *device.Clock, desk *desk, measure func() fleet.Metrics, log *slog.Logger) (*fleet.Link, error) {
	if len(c.Brokers) == 0 {
		return nil, nil
	}
	o := fleet.Options{
		Device: id.Device, Tenant: c.Tenant, Site: c.Site, Version: readBuildInfo().Version, Brokers: c.Brokers,
		Username: c.Username, Password: c.Password.Value, ClientID: fleet.ClientID(c.ClientID), Keepalive: c.Keepalive,
		Store: st, DeviceKey: id.DeviceKey, Mapping: c.mapping(), Clock: clock, Handler: desk, Dial: dial, Logger: log,
		Telemetry: measure,
	}
	var err error
	if o.Hub, err = c.keys(); err != nil {
		return nil, err
	}
	if o.TLS, err = c.tls(log); err != nil {
		return nil, err
	}
	return fleet.New(o)
}

func (c FleetConfig) mapping() *fleet.Mapping {
	if c.Mapping == nil {
		return nil
	}
	return &fleet.Mapping{Topic: c.Mapping.Topic, Charge: c.Mapping.Charge, Status: c.Mapping.Status, Words: c.Mapping.Words}
}

// keys are the pinned keys of the hub.
func (c FleetConfig) keys() (wire.Keys, error) {
	if len(c.HubKeys) == 0 {
		return nil, nil
	}
	var pubs []ed25519.PublicKey
	for i, text := range c.HubKeys {
		pub, err := wire.ParseKey(text)
		if err != nil {
			return nil, fmt.Errorf("fleet.hub_keys[%d]: %w", i, err)
		}
		pubs = append(pubs, pub)
	}
	return wire.NewKeys(pubs...)
}

// tls reads the certificates; the terminal's own also when it is renewed.
func (c FleetConfig) tls(log *slog.Logger) (*tls.Config, error) {
	t := &tls.Config{MinVersion: tls.VersionTLS12}
	if c.CA != "" {
		pem, err := os.ReadFile(c.CA)
		if err != nil {
			return nil, fmt.Errorf("fleet.ca: %w", err)
		}
		t.RootCAs = x509.NewCertPool()
		if !t.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("fleet.ca: %s holds no certificate in PEM form", c.CA)
		}
	}
	if c.Certificate != "" {
		own, err := keypair.Load(c.Certificate, c.PrivateKey, log)
		if err != nil {
			return nil, fmt.Errorf("fleet.certificate: %w", err)
		}
		t.GetClientCertificate = own.Client
	}
	return t, nil
}

// desk is where the fleet's words reach the terminal: it implements
// fleet.Handler.
type desk struct {
	terminal *terminal.Terminal
	store    *store.Store

	mu   sync.Mutex // guards open
	open []string
}

// watch follows the terminal's events, to know which payments are waited for.
func (d *desk) watch(e terminal.Event) {
	d.mu.Lock()
	defer d.mu.Unlock()
	id := string(e.Charge.ID)
	switch e.Kind {
	case terminal.ChargeCreated, terminal.ChargeResumed:
		d.open = append(d.open, id)
	case terminal.ChargePaid, terminal.ChargeEnded:
		d.open = slices.DeleteFunc(d.open, func(o string) bool { return o == id })
	}
}

// Open implements fleet.Handler.
func (d *desk) Open() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.open)
}

// Hint implements fleet.Handler.
func (d *desk) Hint(id string) { d.terminal.Hint(charge.ID(id)) }

// Paid implements fleet.Handler: the hub's signed word is evidence, and must
// match the charge as a provider's must.
func (d *desk) Paid(ctx context.Context, p wire.Pay, with fleet.Include) error {
	if p.Status != "paid" {
		d.terminal.Claim(charge.ID(p.Charge), p.Attempt, p.ProviderID)
		return fleet.ErrKnown
	}
	amount := p.Cents
	fact, err := d.terminal.Credit(ctx, charge.ID(p.Charge), charge.Evidence{
		Source: charge.FromHub, Route: p.Route, Account: p.Account, Attempt: p.Attempt, ProviderID: p.ProviderID,
		Word: p.Status, Amount: &amount, EndToEnd: p.EndToEnd, Digest: p.Digest,
	}, with)
	switch {
	case errors.Is(err, terminal.ErrNoCharge):
		return fleet.ErrNotOurs
	case err != nil:
		return err
	case fact == nil:
		return fleet.ErrKnown
	}
	if _, odd := fact.(charge.MismatchFact); odd {
		return fleet.ErrMismatch
	}
	return nil
}

// Payout implements fleet.Handler: news of what this terminal proposed, and of a
// refund of one of its charges, whoever proposed it.
func (d *desk) Payout(ctx context.Context, p wire.Payout, with fleet.Include) error {
	said := d.proposalSaid(ctx, p, with)
	proposed := !errors.Is(said, fleet.ErrNotOurs)
	if proposed && said != nil && !errors.Is(said, fleet.ErrKnown) && !errors.Is(said, fleet.ErrMismatch) {
		return said // it comes again
	}
	switch {
	case p.Kind == string(payout.Refund) && (p.State == string(payout.Settled) || p.State == string(payout.Returned)):
		err := d.refund(ctx, p, with)
		if proposed && (err == nil || errors.Is(err, fleet.ErrKnown)) {
			return said
		}
		return err
	case p.Kind == string(payout.Refund) && !proposed:
		return fleet.ErrKnown // nothing has happened to a charge
	}
	return said
}

// refund records a refund of the hub's that was made, or that came back after that.
func (d *desk) refund(ctx context.Context, p wire.Payout, with fleet.Include) error {
	what, err := d.terminal.Refund(ctx, terminal.Refund{
		ID: p.Payout, Charge: charge.ID(p.Charge), Amount: p.Cents, EndToEnd: p.EndToEnd, Sent: p.Sent, Digest: p.Digest, By: p.By,
		CameBack: p.State == string(payout.Returned),
	}, with)
	switch {
	case errors.Is(err, terminal.ErrBusy):
		return fmt.Errorf("%w: %w", fleet.ErrBusy, err)
	case err != nil:
		return err
	}
	switch what {
	case terminal.RefundKnown:
		return fleet.ErrKnown
	case terminal.RefundNowhere:
		return fleet.ErrNotOurs
	case terminal.RefundUnmatched:
		return fleet.ErrMismatch
	}
	return nil
}

// Charge implements fleet.Handler.
func (d *desk) Charge(ctx context.Context, r wire.ChargeRequest, with fleet.Include) (string, error) {
	id, err := d.terminal.Start(ctx, terminal.Request{
		Merchant: r.Merchant, Amount: r.Amount, Description: r.Description, Reference: r.Reference,
		Source: "fleet", Present: r.Present, With: with,
	})
	switch {
	case errors.Is(err, terminal.ErrReference):
		err = fleet.ErrConflict
	case errors.Is(err, terminal.ErrAmount), errors.Is(err, terminal.ErrMerchant):
		err = fmt.Errorf("%w: %w", fleet.ErrInvalid, err)
	case errors.Is(err, terminal.ErrBusy), errors.Is(err, terminal.ErrScreenTaken), errors.Is(err, store.ErrFull):
		err = fmt.Errorf("%w: %w", fleet.ErrBusy, err)
	}
	return string(id), err
}

// Offers implements fleet.Handler.
func (d *desk) Offers() (list []fleet.Offer, err error) {
	err = d.store.View(func(tx *bbolt.Tx) error {
		waiting, err := proposal.Waiting(tx)
		for _, o := range waiting {
			list = append(list, fleet.Offer{ID: string(o.ID), At: o.At, Sealed: o.Sealed})
		}
		return err
	})
	return list, err
}

// proposalSaid records what the hub says about a proposal of this terminal.
func (d *desk) proposalSaid(ctx context.Context, p wire.Payout, with fleet.Include) error {
	word, err := d.terminal.ProposalSaid(ctx,
		proposal.Said{ID: payout.ID(p.Payout), State: payout.State(p.State), Amount: p.Cents, Reason: p.Reason, Sent: p.Sent},
		proposal.Evidence{Source: "hub", JTI: p.JTI, Ctr: p.Ctr, Digest: p.Digest, By: p.By}, with)
	switch {
	case errors.Is(err, proposal.ErrNotFound):
		return fleet.ErrNotOurs
	case errors.Is(err, terminal.ErrBusy), errors.Is(err, store.ErrFull):
		return fmt.Errorf("%w: %w", fleet.ErrBusy, err)
	case err != nil:
		return err
	case word == proposal.Known:
		return fleet.ErrKnown
	case word == proposal.Contradiction:
		return fleet.ErrMismatch
	}
	return nil
}

// seal seals what the hub alone may read; nil where there is no hub.
func (c FleetConfig) seal() func(context string, text []byte) ([]byte, error) {
	if len(c.Brokers) == 0 || len(c.HubKeys) == 0 {
		return nil
	}
	return func(context string, text []byte) ([]byte, error) {
		keys, err := c.keys()
		if err != nil {
			return nil, err
		}
		return keys.Seal(context, text)
	}
}

var _ fleet.Handler = (*desk)(nil)

// validate checks what belongs together.
func (c FleetConfig) validate(ps *problems) {
	if len(c.Brokers) == 0 {
		if c.Tenant != "" || len(c.HubKeys) > 0 || c.Mapping != nil {
			ps.warn("fleet.brokers", "is empty, so there is no link to the fleet", `list the brokers: brokers = ["ssl://mqtt.example.com:8883"]`)
		}
		return
	}
	if len(c.HubKeys) == 0 && c.Mapping == nil {
		ps.fail("fleet.hub_keys", "is empty, and there is no mapping: the link would serve nothing", "write the keys that `ssg-hub keys pin` prints")
	}
	if len(c.HubKeys) > 0 {
		for name, v := range map[string]string{"tenant": c.Tenant, "site": c.Site} {
			if !wire.ValidSegment(v) {
				ps.fail("fleet."+name, "is not a name of a topic", "write small letters, digits and hyphens, as in the hub's registry")
			}
		}
	}
	for i, text := range c.HubKeys {
		if _, err := wire.ParseKey(text); err != nil {
			ps.fail(fmt.Sprintf("fleet.hub_keys[%d]", i), "is not a public key", "copy it from what `ssg-hub keys pin` prints")
		}
	}
	if c.Keepalive%time.Second != 0 {
		ps.fail("fleet.keepalive", "has a fraction of a second", "MQTT counts whole seconds")
	}
	if (c.Certificate == "") != (c.PrivateKey == "") {
		ps.fail("fleet.certificate", "certificate and private_key go together", "write both, or neither")
	}
	for name, v := range map[string]string{"ca": c.CA, "certificate": c.Certificate, "private_key": c.PrivateKey} {
		absolute(ps, "fleet."+name, v)
	}
	if c.Mapping != nil {
		if err := c.mapping().Validate(); err != nil {
			ps.fail("fleet.mapping", err.Error(), "see \"Fleets with other software\" in docs/mqtt-protocol.md")
		}
	}
}
