package main

import (
	"log/slog"
	"net/http"

	"github.com/ssg-safe/agent/providers"
	"github.com/ssg-safe/agent/providers/basspago"
	"github.com/ssg-safe/agent/providers/basspago/basspagosim"
	"github.com/ssg-safe/agent/terminal"
)

// BasspagoConfig is what Bass Pago's Paycheckout (type "basspago") needs besides. The
// client id is the public key, the client secret what signs it.
type BasspagoConfig struct {
	// What the url is. As production, a url with "sandbox" in it is refused.
	Environment string `toml:"environment" default:"production" oneof:"production sandbox"`
	// Takes such a url for production all the same: the provider's own pages call one
	// so. Have the provider confirm it.
	AllowSandboxURL bool `toml:"allow_sandbox_url" default:"false"`
	// How the list of checkouts is signed, which the provider's document leaves open:
	// HMAC with SHA-512 of the public key, the first 72 digits of that, or literal,
	// where client_secret is the Encrypted-Security-Code itself.
	Signature string `toml:"signature" default:"hmac_sha512_hex" oneof:"hmac_sha512_hex hmac_sha512_hex_trunc72 literal"`
	// The id of the product that checkouts are for.
	ProductID string `toml:"product_id" default:"terminal" max:"64"`
	// The name of that product, which the payer reads.
	ProductName string `toml:"product_name" default:"Pagamento no terminal" max:"140"`
	// How the agent names itself to the provider.
	UserAgent string `toml:"user_agent" default:"ssg-agent" max:"64"`
}

// basspagoFamily is Bass Pago's Paycheckout.
var basspagoFamily = family{
	name: basspago.Name,
	open: func(_ Config, p ProviderConfig, over http.RoundTripper, log *slog.Logger) (terminal.Route, error) {
		return basspago.New(basspagoConfig(p), over, log)
	},
	own:      func(p ProviderConfig) bool { return p.Basspago != nil },
	codeless: true,
	check:    checkBasspago,
	sim: simulation{
		rules: basspagosim.Vocabulary(), path: basspagosim.Path,
		modes: []string{"trunc72", "literal", "document-filters", "no-filters", "errors-200", "bare-token"},
		open: func(o simOptions) (simulator, error) {
			s := basspagosim.Options{
				Dir: o.dir, Seed: o.seed, PayAfter: o.payAfter, PayFraction: o.payFraction, Faults: o.faults, Logger: o.log,
				ErrorsUnder200: o.mode("errors-200"), BareToken: o.mode("bare-token"),
			}
			switch {
			case o.mode("trunc72"):
				s.Signature = basspagosim.Trunc72
			case o.mode("literal"):
				s.Signature = basspagosim.Verbatim
			}
			switch {
			case o.mode("document-filters"):
				s.Filters = basspagosim.DocumentFilters
			case o.mode("no-filters"):
				s.Filters = basspagosim.NoFilters
			}
			return basspagosim.New(s)
		},
		clientID: basspagosim.DefaultKey, clientSecret: basspagosim.DefaultSecret,
		settings: `
[provider.basspago]
environment = "sandbox"

[provider.payer]
name = "Pagador Simulado"
document = "52998224725"
email = "pagador@example.com"
address = "Rua Exemplo, 1"
district = "Centro"
city = "São Paulo"
state = "SP"
postcode = "01001000"
`,
	},
}

// basspagoConfig is the adapter's configuration.
func basspagoConfig(p ProviderConfig) basspago.Config {
	c := basspago.Config{
		URL: p.URL, AllowInsecureHTTP: p.AllowInsecureHTTP, Key: p.ClientID, Secret: p.ClientSecret.Value,
	}
	if b := p.Basspago; b != nil {
		c.Environment, c.AllowSandboxURL, c.Signature, c.UserAgent = b.Environment, b.AllowSandboxURL, b.Signature, b.UserAgent
		c.ProductID, c.ProductName = b.ProductID, b.ProductName
	}
	if p.Payer != nil {
		c.Payer = providers.Payer(*p.Payer)
	}
	return c
}

// checkBasspago asks the adapter, and warns of what works but should not stay.
func checkBasspago(ps *problems, p ProviderConfig, at string) {
	c := basspagoConfig(p)
	if p.ClientID == "" {
		c.Key = "-" // the schema's business
	}
	if p.ClientSecret.Value == "" {
		c.Secret = "-" // likewise, or it could not be looked at
	}
	ps.adapter(c.Validate(), at, map[string]string{"user_agent": "basspago.user_agent"})
	if len(p.AllowedHosts) > 0 {
		ps.warn(at+".allowed_hosts", "has no effect: checkouts of this provider have no code", "remove it")
	}
	if ps.away(p, at) && c.AllowSandboxURL {
		ps.warn(at+".basspago.allow_sandbox_url", "an address with sandbox in its name is taken for production", "have the provider confirm it, and write the address of production once there is one")
	}
}
