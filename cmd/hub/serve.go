package main

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/ssg-safe/agent/fleet/wire"
	"github.com/ssg-safe/agent/hub"
	"github.com/ssg-safe/agent/hub/bolt"
	"github.com/ssg-safe/agent/hub/broker"
	"github.com/ssg-safe/agent/hub/payouts"
	"github.com/ssg-safe/agent/internal/supervise"
)

func newServeCmd(g *globals) *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use:   "serve --config FILE",
		Short: "Run the hub",
		Long: `Serve collects from the brokers that the configuration names, or, where it names
none, is the broker itself, for the terminals of one site. It needs a signing
key (ssg-hub keys make) and makes its store when there is none. It ends on
SIGTERM or SIGINT, and when the outcome of a commit is unknown: start it again,
and terminals send what is missing.

Exit codes: 0 stopped in order, 1 failed, 2 wrong usage or configuration.`,
		Example: `  ssg-hub serve --config /etc/ssg-hub/hub.toml`,
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch {
			case g.desk != nil:
				return errors.New("the hub is running already")
			case file == "":
				return usageError{errors.New("serve: which configuration? Give --config FILE")}
			}
			return serve(cmd.Context(), g, file)
		},
	}
	cmd.Flags().StringVarP(&file, "config", "c", "", "the configuration `FILE`")
	_ = cmd.MarkFlagFilename("config", "toml") // fails for unknown flags only
	return cmd
}

func serve(ctx context.Context, g *globals, file string) error {
	cfg, problems, err := loadConfig(file)
	if err != nil {
		return err
	}
	log, err := cfg.Log.logger(g)
	if err != nil {
		return err
	}
	for _, p := range problems {
		log.Warn("configuration", "at", p.Path, "problem", p.Message, "remedy", p.Remedy)
	}
	if err := os.MkdirAll(cfg.Data, 0o700); err != nil {
		return fmt.Errorf("data directory: %w", err)
	}
	keys, err := hub.LoadKeys(keysPath(cfg.Data))
	if errors.Is(err, hub.ErrNoKey) {
		return fmt.Errorf("%w: ssg-hub keys make --data %s", err, cfg.Data)
	}
	if err != nil {
		return err
	}
	signer, err := keys.Signer()
	if err != nil {
		return err
	}
	store, err := bolt.Open(bolt.Options{Path: storePath(cfg.Data)})
	if errors.Is(err, bolt.ErrLocked) {
		return fmt.Errorf("%w: a hub runs on %s already", err, cfg.Data)
	}
	if err != nil {
		return err
	}
	h, err := hub.New(hub.Options{Store: store, Signer: signer, Logger: log})
	if err != nil {
		return errors.Join(err, store.Close())
	}
	return errors.Join(serveHub(ctx, cfg, &desk{data: cfg.Data, store: store, hub: h}, log), store.Close())
}

// serveHub runs the parts; what others rest on comes first and goes last.
func serveHub(ctx context.Context, cfg Config, d *desk, log *slog.Logger) error {
	notify := supervise.NewNotifier(log)
	sup := supervise.New(log)
	sup.Add(supervise.Component{Name: "notify", Run: notify.Run})
	var link *hub.MQTT
	var err error
	if len(cfg.Broker.Addresses) > 0 {
		link, err = cfg.Broker.link(log)
	} else {
		var b *broker.Broker
		if b, err = cfg.Listen.broker(d, log); err == nil {
			d.evict = b.Evict
			sup.Add(supervise.Component{Name: "broker", Run: b.Run, Essential: true})
			link, err = hub.NewMQTT(hub.MQTTOptions{
				Brokers: []string{inside}, Logger: log,
				Dial: func(ctx context.Context, _ *url.URL) (net.Conn, error) { return b.Dial(ctx) },
			})
		}
	}
	if err != nil {
		return usageError{err}
	}
	sup.Add(supervise.Component{Name: "hub", Essential: true, Run: func(ctx context.Context) error { return d.hub.Run(ctx, link) }})
	o, err := cfg.payouts(log)
	if err != nil {
		return usageError{err}
	}
	o.Store, o.Mark = d.hub, filepath.Join(cfg.Data, "payouts.mark")
	o.Devices, o.Unseal = d.hub, unsealer(cfg.Data)
	if d.book, err = payouts.Open(ctx, o); err != nil {
		return err
	}
	sup.Add(supervise.Component{Name: "payouts", Essential: true, Run: d.book.Run})
	hints := newPayoutHints(d, o.Routes, log)
	sup.Add(supervise.Component{Name: "payout hints", Run: hints.run})
	if d.webhooks, err = cfg.Webhook.server(d.hub, hints.received, log); err != nil {
		return usageError{err}
	}
	if d.webhooks != nil {
		sup.Add(supervise.Component{Name: "webhook", Run: d.webhooks.Run, Essential: true})
	}
	c := &control{desk: d, log: log, ready: func() {
		notify.Ready()
		log.Info("hub", "data", d.data, "version", readBuildInfo().Version)
	}}
	sup.Add(supervise.Component{Name: "control", Run: c.run, Essential: true})
	return sup.Run(ctx)
}

// unsealer opens what terminals sealed, with whichever of the keys there are now.
func unsealer(data string) func(context string, sealed []byte) ([]byte, error) {
	return func(context string, sealed []byte) ([]byte, error) {
		keys, err := hub.LoadKeys(keysPath(data))
		if err != nil {
			return nil, err
		}
		return wire.OpenSealed([]ed25519.PrivateKey{keys.Signing, keys.Next, keys.Previous}, context, sealed)
	}
}

// inside stands for the broker in this process, which is dialled in memory.
const inside = "tcp://inside.invalid:1883"

func (c BrokerConfig) link(log *slog.Logger) (*hub.MQTT, error) {
	t, err := c.tls(log)
	if err != nil {
		return nil, err
	}
	return hub.NewMQTT(hub.MQTTOptions{
		Brokers: c.Addresses, ClientID: c.ClientID, Username: c.Username, Password: c.Password.Value, TLS: t, Logger: log,
	})
}

// broker is the one inside the hub. It lets in who is in the registry: by
// certificate, or, where no authority for those is configured, by password.
func (c ListenConfig) broker(d *desk, log *slog.Logger) (*broker.Broker, error) {
	t, err := c.tls(log)
	if err != nil {
		return nil, err
	}
	return broker.New(broker.Options{Addr: c.Address, TLS: t, Logger: log, Authenticate: func(name, password string) broker.Grant {
		var device hub.Device
		err := d.store.View(context.Background(), func(tx hub.Tx) (err error) {
			device, err = hub.GetDevice(tx, name)
			return err
		})
		if err != nil || !device.Revoked.IsZero() || c.ClientCA == "" && !device.Admits(password) {
			return broker.Grant{}
		}
		return broker.Grant{Role: broker.Device, Tenant: device.Tenant, Site: device.Site}
	}})
}
