package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/ssg-safe/agent/hub"
	"github.com/ssg-safe/agent/internal/config"
	"github.com/ssg-safe/agent/internal/keypair"
)

// The structs below are the schema of the configuration file: their tags are its
// keys, defaults and limits (package internal/config). configs/hub.toml shows
// them all, and a test holds it against them.

// Config is the configuration of a hub.
type Config struct {
	// Version of the file's form: 1.
	Version int `toml:"version" required:"true" example:"1"`
	// Data is the folder of store, keys and control socket.
	Data    string        `toml:"data" default:"/var/lib/ssg-hub"`
	Broker  BrokerConfig  `toml:"broker"`
	Listen  ListenConfig  `toml:"listen"`
	Webhook WebhookConfig `toml:"webhook"`
	Log     LogConfig     `toml:"log"`

	Payouts   PayoutsConfig    `toml:"payouts"`
	Operators []OperatorConfig `toml:"operator"`
	Providers []ProviderConfig `toml:"provider"`
}

// PayoutsConfig is what holds for all payouts and refunds.
type PayoutsConfig struct {
	KeepDetails time.Duration `toml:"keep_details" default:"2160h" min:"24h" max:"43800h"`
}

// BrokerConfig is a broker of one's own. Without addresses the hub is the broker.
type BrokerConfig struct {
	Addresses   []string      `toml:"addresses" max:"8"`
	ClientID    string        `toml:"client_id" default:"ssg-hub" min:"1" max:"64"`
	Username    string        `toml:"username" max:"128"`
	Password    config.Secret `toml:"password"`
	CA          string        `toml:"ca"`
	Certificate string        `toml:"certificate"`
	PrivateKey  string        `toml:"private_key"`
}

// ListenConfig is the broker inside the hub, for one site.
type ListenConfig struct {
	Address     string `toml:"address" default:"127.0.0.1:1883"`
	Certificate string `toml:"certificate"`
	PrivateKey  string `toml:"private_key"`
	ClientCA    string `toml:"client_ca"`
}

// LogConfig is what is written to standard error.
type LogConfig struct {
	Level  string `toml:"level" default:"info" oneof:"debug info warn error"`
	Format string `toml:"format" default:"text" oneof:"text json"`
}

// loadConfig reads and checks a configuration; its error is wrong usage. The
// problems are warnings then.
func loadConfig(path string) (Config, []config.Problem, error) {
	var c Config
	f, err := config.Load(path, &c, config.Options{LookupEnv: os.LookupEnv})
	if err != nil {
		return Config{}, nil, usageError{err}
	}
	f.Report(c.validate()...)
	if err := f.Err(); err != nil {
		return Config{}, nil, usageError{err}
	}
	return c, f.Problems(), nil
}

// validate checks what the schema cannot say.
func (c Config) validate() []config.Problem {
	var ps []config.Problem
	report := func(severity config.Severity, path, message, remedy string) {
		ps = append(ps, config.Problem{Severity: severity, Path: path, Message: message, Remedy: remedy})
	}
	fail := func(path, message, remedy string) { report(config.Error, path, message, remedy) }
	if c.Version != 1 {
		fail("version", fmt.Sprintf("this hub reads version 1, not %d", c.Version), "write version = 1")
	}
	if len(socketPath(c.Data)) > maxSocketPath {
		fail("data", "is too long a path for the socket in it", fmt.Sprintf("use a folder whose path has at most %d characters", maxSocketPath-len("/control.sock")))
	}
	for path, v := range map[string]string{
		"data": c.Data, "broker.ca": c.Broker.CA, "broker.certificate": c.Broker.Certificate, "broker.private_key": c.Broker.PrivateKey,
		"listen.certificate": c.Listen.Certificate, "listen.private_key": c.Listen.PrivateKey, "listen.client_ca": c.Listen.ClientCA,
	} {
		if v != "" && !filepath.IsAbs(v) {
			fail(path, "is not an absolute path", "write the whole path, from / on")
		}
	}
	if (c.Broker.Certificate == "") != (c.Broker.PrivateKey == "") {
		fail("broker.certificate", "certificate and private_key go together", "write both, or neither")
	}
	if (c.Listen.Certificate == "") != (c.Listen.PrivateKey == "") {
		fail("listen.certificate", "certificate and private_key go together", "write both, or neither")
	}
	c.Webhook.validate(report)
	c.validatePayouts(fail)
	if names := c.insecure(); names != "" {
		report(config.Warning, "provider", "is reached by plain HTTP ("+names+"): anyone on the way can read what lets money leave", "write https://")
	}
	if len(c.Broker.Addresses) > 0 {
		if _, err := hub.NewMQTT(hub.MQTTOptions{Brokers: c.Broker.Addresses, TLS: &tls.Config{MinVersion: tls.VersionTLS12}}); err != nil {
			fail("broker.addresses", err.Error(), `write addresses = ["ssl://mqtt.example.com:8883"]`)
		}
		return ps
	}
	host, _, err := net.SplitHostPort(c.Listen.Address)
	switch {
	case err != nil:
		fail("listen.address", "is not host and port", `write address = "0.0.0.0:8883"`)
	case c.Listen.Certificate == "" && !loopback(host):
		fail("listen.certificate", "is missing: without TLS anyone on the network could read and change what terminals say",
			`write certificate and private_key (docs/hub.md says how to make them), or listen on 127.0.0.1`)
	case c.Listen.Certificate == "" && c.Listen.ClientCA != "":
		fail("listen.client_ca", "needs TLS: there are no client certificates without it", "write certificate and private_key")
	}
	return ps
}

// loopback reports whether a host is this machine.
func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// tls is the hub's side of a connection to a broker of one's own.
func (c BrokerConfig) tls(log *slog.Logger) (*tls.Config, error) {
	t := &tls.Config{MinVersion: tls.VersionTLS12}
	var err error
	if c.CA != "" {
		if t.RootCAs, err = authorities("broker.ca", c.CA); err != nil {
			return nil, err
		}
	}
	if c.Certificate != "" {
		own, err := pair("broker.certificate", c.Certificate, c.PrivateKey, log)
		if err != nil {
			return nil, err
		}
		t.GetClientCertificate = own.Client
	}
	return t, nil
}

// tls is the side of the broker inside; nil without a certificate.
func (c ListenConfig) tls(log *slog.Logger) (*tls.Config, error) {
	if c.Certificate == "" {
		return nil, nil
	}
	own, err := pair("listen.certificate", c.Certificate, c.PrivateKey, log)
	if err != nil {
		return nil, err
	}
	t := &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: own.Server}
	if c.ClientCA != "" {
		t.ClientAuth = tls.RequireAndVerifyClientCert
		if t.ClientCAs, err = authorities("listen.client_ca", c.ClientCA); err != nil {
			return nil, err
		}
	}
	return t, nil
}

func authorities(key, path string) (*x509.CertPool, error) {
	pem, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", key, err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s: %s holds no certificate in PEM form", key, path)
	}
	return pool, nil
}

func pair(key, certificate, private string, log *slog.Logger) (*keypair.Pair, error) {
	p, err := keypair.Load(certificate, private, log)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", key, err)
	}
	return p, nil
}

// logger writes to standard error.
func (c LogConfig) logger(g *globals) (*slog.Logger, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(c.Level)); err != nil {
		return nil, errors.Join(errors.New("log.level"), err)
	}
	o := &slog.HandlerOptions{Level: level}
	if c.Format == "json" {
		return slog.New(slog.NewJSONHandler(g.stderr, o)), nil
	}
	return slog.New(slog.NewTextHandler(g.stderr, o)), nil
}
