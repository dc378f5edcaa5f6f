package main

import (
	"log/slog"
	"net/http"

	"github.com/ssg-safe/agent/internal/config"
	"github.com/ssg-safe/agent/providers"
	"github.com/ssg-safe/agent/providers/bspaybr"
	"github.com/ssg-safe/agent/providers/bspaybr/bspaybrsim"
	"github.com/ssg-safe/agent/terminal"
)

// BspaybrConfig is what Bspaybr and its relatives (type "bspaybr") need besides.
type BspaybrConfig struct {
	// Below which public https address the provider reports charges: the hub's. It
	// makes no charge without one; nothing need answer there, since the agent asks.
	CallbackURL string `toml:"callback_url" required:"true" example:"https://hub.example.com/wh/bspaybr"`
	// Where the key is that makes the rest of that address, another one for every
	// attempt. Left out: client_secret; then a change of that secret loses the
	// payments of charges that are open at the time.
	CallbackKey config.Secret `toml:"callback_key"`
	// How the provider is asked for a charge's status.
	StatusMethod string `toml:"status_method" default:"get" oneof:"get post"`
	// At which path. Some companies have .php at its end.
	StatusPath string `toml:"status_path" default:"/libs/consult/transaction_status"`
	// Whether the credentials go with that question, in the headers ci and cs.
	StatusAuth string `toml:"status_auth" default:"ci_cs" oneof:"ci_cs none"`
	// How the agent names itself to the provider.
	UserAgent string `toml:"user_agent" default:"ssg-agent" max:"64"`
}

// bspaybrFamily is Bspaybr's API v3.
var bspaybrFamily = family{
	name: bspaybr.Name,
	open: func(_ Config, p ProviderConfig, over http.RoundTripper, log *slog.Logger) (terminal.Route, error) {
		return bspaybr.New(bspaybrConfig(p), over, log)
	},
	own:   func(p ProviderConfig) bool { return p.Bspaybr != nil },
	check: checkBspaybr,
	sim: simulation{
		rules: bspaybrsim.Vocabulary(), modes: []string{"json", "open-status", "picture", "external-id", "blank-errors", modeFunded},
		open: func(o simOptions) (simulator, error) {
			return bspaybrsim.New(bspaybrsim.Options{
				Dir: o.dir, Seed: o.seed, PayAfter: o.payAfter, PayFraction: o.payFraction,
				LocationHost: o.locationHost, PayeeName: o.payee, Faults: o.faults, Logger: o.log, SettleAfter: simSettleAfter, Balance: o.balance(),
				JSON: o.mode("json"), OpenStatus: o.mode("open-status"), Picture: o.mode("picture"),
				ExternalID: o.mode("external-id"), BlankErrors: o.mode("blank-errors"),
			})
		},
		clientID: bspaybrsim.DefaultClientID, clientSecret: bspaybrsim.DefaultClientSecret, locationHost: bspaybrsim.DefaultLocationHost,
		settings: `
[provider.bspaybr]
callback_url = "https://hub.example.com/wh/bspaybr"

[provider.payer]
name = "Pagador Simulado"
document = "52998224725"
`,
	},
}

// bspaybrConfig is the adapter's configuration.
func bspaybrConfig(p ProviderConfig) bspaybr.Config {
	c := bspaybr.Config{
		URL: p.URL, AllowInsecureHTTP: p.AllowInsecureHTTP, ClientID: p.ClientID, ClientSecret: p.ClientSecret.Value,
		LocationHosts: p.AllowedHosts, CodeCheck: p.BRCodeCheck,
	}
	if b := p.Bspaybr; b != nil {
		c.CallbackURL, c.CallbackKey, c.UserAgent = b.CallbackURL, b.CallbackKey.Value, b.UserAgent
		c.StatusMethod, c.StatusPath, c.StatusAuth = b.StatusMethod, b.StatusPath, b.StatusAuth
	}
	if p.Payer != nil {
		c.Payer = providers.Payer(*p.Payer)
	}
	return c
}

// checkBspaybr asks the adapter, and warns of what works but should not stay.
func checkBspaybr(ps *problems, p ProviderConfig, at string) {
	c := bspaybrConfig(p)
	if p.ClientID == "" {
		c.ClientID = "-" // the schema's business
	}
	if p.Bspaybr != nil && p.Bspaybr.CallbackURL == "" {
		c.CallbackURL = "https://-" // likewise
	}
	ps.adapter(c.Validate(), at, map[string]string{"client_secret": "", "user_agent": "bspaybr.user_agent"})
	if ps.remote(p, at) {
		ps.warn(at+".client_secret", "whoever takes it from this terminal can send the account's money away",
			"sweep the account often, or have the provider forbid payouts: one secret does all there")
	}
}
