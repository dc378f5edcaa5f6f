package main

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"time"

	"github.com/ssg-safe/agent/fleet/wire"
	"github.com/ssg-safe/agent/hub/payouts"
	"github.com/ssg-safe/agent/internal/config"
	"github.com/ssg-safe/agent/money"
	"github.com/ssg-safe/agent/providers"
	"github.com/ssg-safe/agent/providers/bacen"
	"github.com/ssg-safe/agent/providers/bspay"
	"github.com/ssg-safe/agent/providers/bspaybr"
	"github.com/ssg-safe/agent/providers/policy"
	"github.com/ssg-safe/agent/redact"
)

// OperatorConfig is a person who may propose and approve payouts and refunds.
type OperatorConfig struct {
	Name string `toml:"name" required:"true" example:"ana"`
	Key  string `toml:"key" required:"true" example:"11l5O7wTooGagnx2rbb7qKSa7gB_SfLQmS2ZuCWtLEg"`
}

// ProviderConfig is an account that money may leave.
type ProviderConfig struct {
	Name              string        `toml:"name" required:"true" example:"conta"`
	Type              string        `toml:"type" required:"true" example:"bspay" oneof:"bspay bspaybr bacen"`
	Merchant          string        `toml:"merchant" required:"true" example:"loja"`
	URL               string        `toml:"url"`
	AllowInsecureHTTP bool          `toml:"allow_insecure_http" default:"false"`
	ClientID          string        `toml:"client_id" required:"true" example:"hub-1"`
	ClientSecret      config.Secret `toml:"client_secret" required:"true" example:"{ credential = \"conta.secret\" }"`
	RequestsPerSecond int           `toml:"requests_per_second" default:"2" min:"1" max:"100"`

	MaxPayout        money.Amount  `toml:"max_payout" default:"0.00" min:"0.00" max:"9999999999.99"`
	MaxDay           money.Amount  `toml:"max_day" default:"0.00" min:"0.00" max:"9999999999.99"`
	TwoApproversFrom money.Amount  `toml:"two_approvers_from" default:"1000.00" min:"0.00" max:"9999999999.99"`
	PersonAfter      time.Duration `toml:"person_after" default:"30m" min:"1m" max:"24h"`

	Terminals *TerminalsConfig `toml:"terminals"`

	Bspay   *BspayConfig   `toml:"bspay"`
	Bspaybr *BspaybrConfig `toml:"bspaybr"`
	Bacen   *BacenConfig   `toml:"bacen"`
}

// TerminalsConfig is what terminals may propose to be paid from an account.
type TerminalsConfig struct {
	Tenant    string       `toml:"tenant" required:"true" example:"acme"`
	MaxPayout money.Amount `toml:"max_payout" required:"true" example:"100.00" min:"0.01" max:"9999999999.99"`
	MaxDay    money.Amount `toml:"max_day" required:"true" example:"300.00" min:"0.01" max:"9999999999.99"`
}

// BacenConfig is what a bank with API Pix needs to give payments back.
type BacenConfig struct {
	Profile        string        `toml:"profile" default:"generic"`
	TokenURL       string        `toml:"token_url"`
	Certificate    string        `toml:"certificate"`
	CertificateKey config.Secret `toml:"certificate_key" whole:"true"`
	CAFile         string        `toml:"ca_file"`
	AppKey         config.Secret `toml:"app_key"`
}

// BspayConfig is what BSPAY and its relatives need to send money.
type BspayConfig struct {
	SigningKey config.Secret `toml:"signing_key" required:"true" example:"{ credential = \"conta.signing\" }"`
	UserAgent  string        `toml:"user_agent" default:"ssg-hub" max:"64"`
}

// BspaybrConfig is what Bspaybr and its relatives need to send money.
type BspaybrConfig struct {
	CallbackURL  string          `toml:"callback_url" required:"true" example:"https://hub.example.com/wh/bspaybr"`
	CallbackKey  config.Secret   `toml:"callback_key" required:"true" example:"{ credential = \"conta.callback\" }"`
	Name         redact.Name     `toml:"owner_name" required:"true" example:"Loja Exemplo Ltda" max:"255"`
	Document     redact.Document `toml:"owner_document" required:"true" example:"11222333000181"`
	StatusMethod string          `toml:"status_method" default:"get" oneof:"get post"`
	StatusPath   string          `toml:"status_path" default:"/libs/consult/transaction_status"`
	StatusAuth   string          `toml:"status_auth" default:"ci_cs" oneof:"ci_cs none"`
	UserAgent    string          `toml:"user_agent" default:"ssg-hub" max:"64"`
}

// validatePayouts checks what the schema cannot say about operators and accounts.
func (c Config) validatePayouts(fail func(path, message, remedy string)) {
	names, keys := map[string]bool{}, map[string]bool{}
	for i, o := range c.Operators {
		at := fmt.Sprintf("operator[%d]", i)
		_, err := wire.ParseKey(o.Key)
		switch {
		case o.Name == "" || o.Key == "": // the schema's business
		case !payouts.ValidOperator(o.Name):
			fail(at+".name", "has 1 to 32 of a-z, 0-9, '.' and '-'", `write name = "ana"`)
		case names[o.Name]:
			fail(at+".name", "is another operator's", "give each person one table")
		case err != nil:
			fail(at+".key", "is no public key of 43 characters", "copy it from what `ssg-hub operator key` printed")
		case keys[o.Key]:
			fail(at+".key", "is another operator's: one person could approve for two", "have each person make a key with `ssg-hub operator key`")
		}
		names[o.Name], keys[o.Key] = true, true
	}
	if len(c.Providers) > 0 && len(c.Operators) < 2 {
		fail("operator", "names fewer than two people, and who proposes a payout cannot approve it", "add an [[operator]] for each")
	}
	accounts, proposable := map[string]bool{}, map[string]bool{}
	for i, p := range c.Providers {
		at := fmt.Sprintf("provider[%d]", i)
		if p.Name != "" && (!payouts.ValidRoute(p.Name) || accounts[p.Name]) {
			fail(at+".name", "has 1 to 32 of a-z, 0-9, '.', '_' and '-', and is no other provider's", `write name = "conta"`)
		}
		accounts[p.Name] = true
		if p.MaxDay < p.MaxPayout {
			fail(at+".max_day", "is less than max_payout", "raise max_day, or lower max_payout")
		}
		for name, there := range map[string]bool{bspay.Name: p.Bspay != nil, bspaybr.Name: p.Bspaybr != nil, bacen.Name: p.Bacen != nil} {
			switch {
			case p.Type == name && !there:
				fail(at+"."+name, "is missing", "add [provider."+name+"], see configs/hub-payouts.toml")
			case p.Type != name && there:
				fail(at+"."+name, fmt.Sprintf("is for a provider of type = %q", name), "remove the table, or correct type")
			}
		}
		if p.Type == bacen.Name && p.MaxPayout+p.MaxDay > 0 {
			fail(at+".max_payout", "is for payouts to keys, which this type cannot make: it gives payments back", "leave max_payout and max_day out")
		}
		if t := p.Terminals; t != nil {
			switch {
			case p.Type == bacen.Name:
				fail(at+".terminals", "is for accounts that pay to keys, which this type does not", "remove the table; refunds need none")
			case t.Tenant != "" && !wire.ValidSegment(t.Tenant):
				fail(at+".terminals.tenant", "is no tenant of the registry", "write it as `ssg-hub device list` shows it")
			case t.MaxPayout > p.MaxPayout:
				fail(at+".terminals.max_payout", "is more than the account's max_payout", "lower it, or raise the account's")
			case t.MaxDay < t.MaxPayout:
				fail(at+".terminals.max_day", "is less than max_payout beside it", "raise max_day, or lower max_payout")
			case proposable[t.Tenant+"/"+p.Merchant]:
				fail(at+".terminals", "is another account's too, for this merchant and tenant: the terminals do not choose", "leave it with one of the accounts")
			}
			proposable[t.Tenant+"/"+p.Merchant] = true
		}
		if b := p.Bacen; b != nil {
			for name, path := range map[string]string{"certificate": b.Certificate, "ca_file": b.CAFile} {
				if path != "" && !filepath.IsAbs(path) {
					fail(at+".bacen."+name, "is not an absolute path", "write the whole path, from / on")
				}
			}
		}
		if p.ClientSecret.Value == "" {
			continue // the schema's business, or it could not be read
		}
		if _, err := p.route(slog.New(slog.DiscardHandler)); err != nil {
			for _, err := range joined(err) {
				path, message, remedy := at, err.Error(), "correct it"
				if field, ok := errors.AsType[*providers.FieldError](err); ok {
					path, message, remedy = at+"."+p.field(field.Field), field.Problem, cmp.Or(field.Remedy, remedy)
				}
				fail(path, message, remedy)
			}
		}
	}
}

// field is the file's name of an adapter's field.
func (p ProviderConfig) field(name string) string {
	switch name {
	case "name", "document":
		return p.Type + ".owner_" + name
	case "profile", "token_url", "certificate", "certificate_key", "ca_file", "app_key", "user_agent":
		return p.Type + "." + name
	}
	return name
}

// account tells this account from any other that may get its name.
func (p ProviderConfig) account() string {
	sum := sha256.Sum256([]byte(strings.TrimRight(p.URL, "/") + "\n" + p.ClientID))
	return p.Type + "-" + hex.EncodeToString(sum[:8])
}

// joined takes an error of errors.Join apart.
func joined(err error) []error {
	if many, ok := err.(interface{ Unwrap() []error }); ok {
		return many.Unwrap()
	}
	return []error{err}
}

// route makes the account's clients. It sends nothing.
func (p ProviderConfig) route(log *slog.Logger) (payouts.Route, error) {
	r := payouts.Route{
		Name: p.Name, Merchant: p.Merchant, Account: p.account(), PerPayout: p.MaxPayout, PerDay: p.MaxDay, TwoFrom: p.TwoApproversFrom, PersonAfter: p.PersonAfter,
	}
	if t := p.Terminals; t != nil {
		r.Terminals = &payouts.Terminals{Tenant: t.Tenant, PerPayout: t.MaxPayout, PerDay: t.MaxDay}
	}
	log = log.With("provider", p.Name)
	limits, way := policy.New(p.RequestsPerSecond, log), providers.NewTransport(nil)
	over := limits.Over(way)
	var err error
	switch {
	case p.Type == bacen.Name && p.Bacen != nil:
		b := p.Bacen
		var profile bacen.Profile
		if profile, err = bacen.LoadProfile(b.Profile); err != nil {
			return r, &providers.FieldError{Field: "profile", Problem: err.Error(), Remedy: "correct the file, or name a built-in profile"}
		}
		c := bacen.Config{
			Profile: profile, URL: p.URL, TokenURL: b.TokenURL, AllowInsecureHTTP: p.AllowInsecureHTTP, ClientID: p.ClientID, ClientSecret: p.ClientSecret.Value,
			CertificateFile: b.Certificate, CertificateKey: b.CertificateKey.Value, CAFile: b.CAFile, AppKey: b.AppKey.Value,
		}
		if err = c.Validate(); err == nil {
			way, err = c.Transport(way)
		}
		if err == nil {
			var refunds *bacen.Refunds
			if refunds, err = bacen.NewRefunds(c, limits.Over(way), log); err == nil {
				r.Refunder = refunds
			}
		}
	case p.Type == bspay.Name && p.Bspay != nil:
		// It takes our id as its own.
		r.Resend = true
		var c *bspay.Client
		c, err = bspay.New(bspay.Config{
			URL: p.URL, AllowInsecureHTTP: p.AllowInsecureHTTP, ClientID: p.ClientID, ClientSecret: p.ClientSecret.Value,
			SigningKey: p.Bspay.SigningKey.Value, UserAgent: p.Bspay.UserAgent,
		}, over, log)
		if err == nil {
			r.Sender = c
		}
	case p.Type == bspaybr.Name && p.Bspaybr != nil:
		b := p.Bspaybr
		var c *bspaybr.Client
		c, err = bspaybr.New(bspaybr.Config{
			URL: p.URL, AllowInsecureHTTP: p.AllowInsecureHTTP, ClientID: p.ClientID, ClientSecret: p.ClientSecret.Value,
			CallbackURL: b.CallbackURL, CallbackKey: b.CallbackKey.Value, StatusMethod: b.StatusMethod, StatusPath: b.StatusPath, StatusAuth: b.StatusAuth,
			UserAgent: b.UserAgent,
		}, over, log)
		if err == nil {
			var sender *bspaybr.Payouts
			if sender, err = bspaybr.NewPayouts(c, bspaybr.Payer{Name: b.Name, Document: b.Document}); err == nil {
				r.Sender = sender
			}
		}
	}
	return r, err
}

// payouts are the book's options, but for the store.
func (c Config) payouts(log *slog.Logger) (payouts.Options, error) {
	o := payouts.Options{Logger: log, Keep: c.Payouts.KeepDetails}
	for _, p := range c.Operators {
		key, err := wire.ParseKey(p.Key)
		if err != nil {
			return o, err
		}
		o.Operators = append(o.Operators, payouts.Operator{Name: p.Name, Key: key})
	}
	for _, p := range c.Providers {
		r, err := p.route(log)
		if err != nil {
			return o, fmt.Errorf("provider %s: %w", p.Name, err)
		}
		o.Routes = append(o.Routes, r)
	}
	return o, nil
}

// insecure lists the accounts whose credentials travel in the clear.
func (c Config) insecure() string {
	var names []string
	for _, p := range c.Providers {
		if strings.HasPrefix(p.URL, "http://") {
			names = append(names, p.Name)
		}
	}
	return strings.Join(names, ", ")
}
