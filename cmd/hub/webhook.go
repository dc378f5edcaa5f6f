package main

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/ssg-safe/agent/fleet/wire"
	"github.com/ssg-safe/agent/hub"
	"github.com/ssg-safe/agent/hub/webhook"
	"github.com/ssg-safe/agent/internal/config"
	"github.com/ssg-safe/agent/providers"
	"github.com/ssg-safe/agent/providers/bacen"
	"github.com/ssg-safe/agent/providers/bspay"
	"github.com/ssg-safe/agent/providers/bspaybr"
	"github.com/ssg-safe/agent/redact"
)

// WebhookConfig is where providers report to. Without an address nothing listens.
type WebhookConfig struct {
	Address     string            `toml:"address"`
	Certificate string            `toml:"certificate"`
	PrivateKey  string            `toml:"private_key"`
	BehindProxy bool              `toml:"behind_proxy" default:"false"`
	Providers   []WebhookProvider `toml:"provider" max:"64"`
}

// WebhookProvider is one provider's account, with an address of its own.
type WebhookProvider struct {
	Name           string        `toml:"name" required:"true" min:"1" max:"64"`
	Type           string        `toml:"type" required:"true" oneof:"bspay bspaybr bacen basspago"`
	Path           config.Secret `toml:"path" required:"true"`
	CallbackSecret config.Secret `toml:"callback_secret"`
	WebhookSecret  config.Secret `toml:"webhook_secret"`
	ClientCA       string        `toml:"client_ca"`
}

// validate checks what belongs together.
func (c WebhookConfig) validate(report func(severity config.Severity, path, message, remedy string)) {
	fail := func(path, message, remedy string) { report(config.Error, path, message, remedy) }
	for path, v := range map[string]string{"webhook.certificate": c.Certificate, "webhook.private_key": c.PrivateKey} {
		if v != "" && !filepath.IsAbs(v) {
			fail(path, "is not an absolute path", "write the whole path, from / on")
		}
	}
	if (c.Certificate == "") != (c.PrivateKey == "") {
		fail("webhook.certificate", "certificate and private_key go together", "write both, or neither")
	}
	if c.Address == "" {
		if len(c.Providers) > 0 {
			fail("webhook.address", "is missing: providers could not reach the hub", `write address = "0.0.0.0:8443"`)
		}
		return
	}
	host, _, err := net.SplitHostPort(c.Address)
	switch {
	case err != nil:
		fail("webhook.address", "is not host and port", `write address = "0.0.0.0:8443"`)
	case c.BehindProxy && !loopback(host):
		report(config.Warning, "webhook.address", "is reached past the proxy: whoever does so writes X-Forwarded-For himself", "listen on 127.0.0.1, or let the firewall admit the proxy alone")
	}
	if c.Certificate == "" && !c.BehindProxy {
		fail("webhook.certificate", "is missing: providers report by HTTPS only",
			"write certificate and private_key, or behind_proxy = true where a proxy on this machine has them")
	}
	if len(c.Providers) == 0 {
		fail("webhook.provider", "is missing: whose webhooks are they?", "write a [[webhook.provider]], as configs/hub.toml shows it")
	}
	names := make(map[string]bool)
	for i, p := range c.Providers {
		p.validate(fmt.Sprintf("webhook.provider[%d]", i), c, names, report)
	}
}

func (p WebhookProvider) validate(at string, c WebhookConfig, names map[string]bool, report func(severity config.Severity, path, message, remedy string)) {
	fail := func(key, message, remedy string) { report(config.Error, at+"."+key, message, remedy) }
	if names[p.Name] {
		fail("name", "is another's already", "give each a name of its own")
	}
	names[p.Name] = true
	if p.Type == "" {
		return // which the schema complains of
	}
	if path := p.Path.Value.Reveal(); path != "" && !webhook.ValidPath(path) {
		fail("path", "is not a path that nobody can guess", "use what `ssg-hub webhook path` prints")
	}
	needs := map[string]bool{"callback_secret": p.CallbackSecret.Source != "", "webhook_secret": p.WebhookSecret.Source != "", "client_ca": p.ClientCA != ""}
	takes := map[string]string{"bspay": "callback_secret webhook_secret", "bspaybr": "webhook_secret", "bacen": "client_ca"}[p.Type]
	for key, written := range needs {
		if written && !strings.Contains(takes, key) {
			fail(key, "is nothing that "+p.Type+" knows", "leave it out")
		}
	}
	switch p.Type {
	case "bspay":
		if p.CallbackSecret.Source == "" && p.WebhookSecret.Source == "" {
			fail("callback_secret", "and webhook_secret are missing: nothing could be verified", "write the secret that the provider's page shows for callbacks, or for webhooks, or both")
		}
	case "bspaybr":
		if p.WebhookSecret.Source == "" {
			fail("webhook_secret", "is missing: nothing could be verified", "write the secret that the provider signs webhooks with")
		}
	case "bacen":
		switch {
		case p.ClientCA == "":
			report(config.Warning, at+".client_ca", "is missing: only the path keeps strangers from causing questions", "write the file with the authority of the bank's client certificate")
		case !filepath.IsAbs(p.ClientCA):
			fail("client_ca", "is not an absolute path", "write the whole path, from / on")
		case c.Certificate == "":
			fail("client_ca", "needs TLS here: a proxy does not pass client certificates on", "write webhook.certificate and private_key, or let the proxy check the bank's certificate and leave client_ca out")
		}
	}
}

// server makes the listener; nil where none is configured.
func (c WebhookConfig) server(h *hub.Hub, received func(context.Context, []hub.Webhook), log *slog.Logger) (*webhook.Server, error) {
	if c.Address == "" {
		return nil, nil
	}
	o := webhook.Options{Hub: h, Address: c.Address, Proxied: c.BehindProxy, Received: received, Logger: log}
	if c.Certificate != "" {
		own, err := pair("webhook.certificate", c.Certificate, c.PrivateKey, log)
		if err != nil {
			return nil, err
		}
		o.TLS = &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: own.Server}
	}
	for i, p := range c.Providers {
		src := webhook.Source{Name: p.Name, Path: p.Path.Value, Open: p.open(), Read: p.reader()}
		if p.ClientCA != "" {
			var err error
			if src.Callers, err = authorities(fmt.Sprintf("webhook.provider[%d].client_ca", i), p.ClientCA); err != nil {
				return nil, err
			}
		}
		o.Sources = append(o.Sources, src)
	}
	return webhook.New(o)
}

// open reports whether nothing but the path says who sends.
func (p WebhookProvider) open() bool {
	return p.Type == "basspago" || p.Type == "bacen" && p.ClientCA == ""
}

// reader verifies and reads what a provider of its type sends.
func (p WebhookProvider) reader() func(webhook.Request) ([]hub.Webhook, error) {
	switch p.Type {
	case "bspay":
		secrets := bspay.WebhookSecrets{Callback: p.CallbackSecret.Value, Webhook: p.WebhookSecret.Value}
		return func(r webhook.Request) ([]hub.Webhook, error) {
			return readBspay(r.Header, r.Body, secrets, r.Received)
		}
	case "bspaybr":
		return func(r webhook.Request) ([]hub.Webhook, error) { return readBspaybr(r, p.WebhookSecret.Value) }
	case "basspago":
		return func(r webhook.Request) ([]hub.Webhook, error) { return readDoorbell(r.Body), nil }
	}
	return func(r webhook.Request) ([]hub.Webhook, error) { return readBacen(r.Body), nil }
}

func readBspaybr(r webhook.Request, secret redact.Secret) ([]hub.Webhook, error) {
	e, err := bspaybr.ParseWebhook(r.Header, r.Body, secret)
	switch {
	case errors.Is(err, bspaybr.ErrMalformed):
		return unread(r.Body), nil
	case err != nil:
		return nil, fmt.Errorf("%w: %w", webhook.ErrForged, err)
	}
	kind := string(e.Kind) + "." + strings.ToLower(e.Word)
	if len(kind) > wire.MaxID {
		return unread(r.Body), nil
	}
	// The address is not signed: what came to a wrong one must not stand in the way
	// of the same event at its own.
	return []hub.Webhook{{
		Kind: kind, Known: e.Status != providers.StatusUncertain, Key: digest([]byte(e.Key + "\n" + r.Below)),
		Names: names(e.Reference, e.TransactionID, bspaybr.CallbackName(r.Below)), Paid: e.Kind != bspaybr.PayoutEvent && e.Status == providers.StatusPaid, Digest: digest(r.Body),
	}}, nil
}

func readBspay(h http.Header, body []byte, secrets bspay.WebhookSecrets, received time.Time) ([]hub.Webhook, error) {
	e, err := bspay.ParseWebhook(h, body, secrets, received)
	switch {
	case errors.Is(err, bspay.ErrMalformed), err == nil && len(e.Kind) > wire.MaxID:
		return unread(body), nil
	case errors.Is(err, bspay.ErrStale):
		return nil, fmt.Errorf("%w: %w", webhook.ErrStale, err)
	case err != nil:
		return nil, fmt.Errorf("%w: %w", webhook.ErrForged, err)
	case e.Sandbox:
		return nil, webhook.ErrSandbox
	}
	return []hub.Webhook{{
		Kind: string(e.Kind), Known: e.Known, Key: e.Key, Names: names(e.TransactionID, e.ExternalID, e.InfractionID),
		Paid: e.Kind == bspay.CashinConfirmed, Dispute: e.Kind == bspay.ChargebackOpened, Digest: digest(body),
	}}, nil
}

func readBacen(body []byte) []hub.Webhook {
	list, err := bacen.ParseWebhook(body)
	if err != nil {
		return unread(body)
	}
	var events []hub.Webhook
	for _, e := range list {
		kind := "pix"
		if e.Returned > 0 {
			kind = "pix.devolucao"
		}
		events = append(events, hub.Webhook{Kind: kind, Known: true, Key: e.Key, Names: names(e.TxID, e.EndToEnd), Paid: e.Returned == 0, Digest: digest(body)})
	}
	return events
}

// readDoorbell looks whether something in a body is what a charge is called: Bass
// Pago rings when a checkout is over, and documents neither what it says then nor a
// signature.
func readDoorbell(body []byte) []hub.Webhook {
	e := hub.Webhook{Kind: "ring", Known: true, Guessed: true, Key: digest(body), Digest: digest(body)}
	var in map[string]any
	if providers.DecodeJSON(body, &in) == nil {
		e.Names = texts(in, nil)
	}
	return []hub.Webhook{e}
}

// texts collects what could be names, at most 16.
func texts(v any, found []string) []string {
	switch v := v.(type) {
	case string:
		name := v != "" && len(v) <= 64 && !strings.ContainsFunc(v, func(r rune) bool { return r <= ' ' || r > '~' })
		if name && len(found) < 16 {
			found = append(found, v)
		}
	case []any:
		for _, item := range v {
			found = texts(item, found)
		}
	case map[string]any:
		for _, key := range slices.Sorted(maps.Keys(v)) {
			found = texts(v[key], found)
		}
	}
	return found
}

// unread is what is known of a body that its provider signed and nobody
// understands: that it came.
func unread(body []byte) []hub.Webhook {
	return []hub.Webhook{{Kind: "unread", Known: true, Unread: true, Key: digest(body), Digest: digest(body)}}
}

// names leaves out those that are empty, or no id.
func names(all ...string) (list []string) {
	for _, s := range all {
		if s != "" && len(s) <= 256 {
			list = append(list, s)
		}
	}
	return list
}

func digest(body []byte) string {
	sum := sha256.Sum256(body)
	return hex.EncodeToString(sum[:])
}
