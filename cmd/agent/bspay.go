package main

import (
	"log/slog"
	"net/http"
	"time"

	"github.com/ssg-safe/agent/internal/config"
	"github.com/ssg-safe/agent/money"
	"github.com/ssg-safe/agent/providers"
	"github.com/ssg-safe/agent/providers/bspay"
	"github.com/ssg-safe/agent/providers/bspay/bspaysim"
	"github.com/ssg-safe/agent/terminal"
)

// BspayConfig is what BSPAY and its relatives (type "bspay") need besides.
type BspayConfig struct {
	// Where the account's signing key is. It lets money leave the account and has
	// no place on a terminal: leave it out there. `ssg-agent provider` needs it for
	// transfers and conversions.
	SigningKey config.Secret `toml:"signing_key"`
	// The public https address at which the provider reports this terminal's
	// charges. Empty: it reports nothing, and is asked.
	PostbackURL string `toml:"postback_url"`
	// How the agent names itself to the provider, where the account has a list of
	// names.
	UserAgent string `toml:"user_agent" default:"ssg-agent" max:"64"`
}

// bspayFamily is BSPAY's API v2.
var bspayFamily = family{
	name: bspay.Name,
	open: func(_ Config, p ProviderConfig, over http.RoundTripper, log *slog.Logger) (terminal.Route, error) {
		return bspay.New(bspayConfig(p), over, log)
	},
	own:   func(p ProviderConfig) bool { return p.Bspay != nil },
	check: checkBspay,
	sim: simulation{
		rules: bspaysim.Vocabulary(), modes: []string{"conflict", "ignore-filters", "bare-rows", "many-logins", modeFunded}, tokenLife: time.Hour,
		open: func(o simOptions) (simulator, error) {
			return bspaysim.New(bspaysim.Options{
				Dir: o.dir, Seed: o.seed, PayAfter: o.payAfter, PayFraction: o.payFraction, TokenLife: o.tokenLife,
				LocationHost: o.locationHost, PayeeName: o.payee, Faults: o.faults, Logger: o.log, SettleAfter: simSettleAfter, Balance: o.balance(),
				Conflict: o.mode("conflict"), IgnoreFilters: o.mode("ignore-filters"), BareRows: o.mode("bare-rows"),
				ManyLogins: o.mode("many-logins"),
			})
		},
		clientID: bspaysim.DefaultClientID, clientSecret: bspaysim.DefaultClientSecret, locationHost: bspaysim.DefaultLocationHost,
	},
}

// modeFunded gives a simulated account R$ 10,000.00 at the start, for payouts.
const modeFunded = "funded"

func (o simOptions) balance() money.Amount {
	if o.mode(modeFunded) {
		return 1_000_000
	}
	return 0
}

// simSettleAfter is when the simulator's transfers and payouts end.
const simSettleAfter = 2 * time.Second

// bspayConfig is the adapter's configuration.
func bspayConfig(p ProviderConfig) bspay.Config {
	c := bspay.Config{
		URL: p.URL, AllowInsecureHTTP: p.AllowInsecureHTTP, ClientID: p.ClientID, ClientSecret: p.ClientSecret.Value,
		LocationHosts: p.AllowedHosts, CodeCheck: p.BRCodeCheck,
	}
	if p.Bspay != nil {
		c.SigningKey, c.PostbackURL, c.UserAgent = p.Bspay.SigningKey.Value, p.Bspay.PostbackURL, p.Bspay.UserAgent
	}
	if p.Payer != nil {
		c.Payer = providers.Payer(*p.Payer)
	}
	return c
}

// checkBspay asks the adapter, and warns of what works but should not stay.
func checkBspay(ps *problems, p ProviderConfig, at string) {
	c := bspayConfig(p)
	if p.ClientID == "" {
		c.ClientID = "-" // the schema's business
	}
	c.ClientSecret = "-"
	ps.adapter(c.Validate(), at, map[string]string{"user_agent": "bspay.user_agent"})
	if p.Bspay != nil && p.Bspay.SigningKey.Name != "" {
		ps.warn(at+".bspay.signing_key", "whoever takes it from this machine can send the account's money away",
			"leave it out on a terminal: charges need no signature")
	}
	ps.remote(p, at)
}
