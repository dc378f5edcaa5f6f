package main

import (
	"log/slog"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/ssg-safe/agent/providers"
	"github.com/ssg-safe/agent/providers/ssg"
	"github.com/ssg-safe/agent/providers/ssg/ssgsim"
	"github.com/ssg-safe/agent/terminal"
)

// ssgFamily is the SSG PIX middleware.
var ssgFamily = family{
	name: ssg.Name,
	open: func(_ Config, p ProviderConfig, over http.RoundTripper, log *slog.Logger) (terminal.Route, error) {
		return ssg.New(ssgConfig(p), over, log)
	},
	check: checkSSG,
	keyed: true,
	checkMerchant: func(ps *problems, w RouteConfig, at string) {
		if !uuid.MatchString(w.Account) {
			ps.fail(at+".account", "must be the account_id that SSG assigned, a UUID", `account = "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx"`)
		}
	},
	sim: simulation{
		rules: ssgsim.Vocabulary(), modes: []string{"strict"}, tokenLife: 365 * 24 * time.Hour,
		open: func(o simOptions) (simulator, error) {
			return ssgsim.New(ssgsim.Options{
				Dir: o.dir, Seed: o.seed, PayAfter: o.payAfter, PayFraction: o.payFraction, TokenLife: o.tokenLife,
				LocationHost: o.locationHost, PayeeName: o.payee, Strict: o.mode("strict"), Faults: o.faults, Logger: o.log,
			})
		},
		clientID: ssgsim.DefaultClientID, clientSecret: ssgsim.DefaultClientSecret,
		account: ssgsim.DefaultAccount, locationHost: ssgsim.DefaultLocationHost,
		settings: `
[provider.payer]
name = "Pagador Simulado"
document = "52998224725"
email = "pagador@example.com"
address = "Rua Exemplo, 1"
city = "São Paulo"
state = "SP"
postcode = "01001000"
`,
	},
}

// uuid is the form of an account at SSG.
var uuid = regexp.MustCompile(`^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$`)

// ssgConfig is the adapter's configuration.
func ssgConfig(p ProviderConfig) ssg.Config {
	c := ssg.Config{
		BaseURL: p.URL, AllowInsecureHTTP: p.AllowInsecureHTTP,
		ClientID: p.ClientID, ClientSecret: p.ClientSecret.Value,
		LocationHosts: p.AllowedHosts, CodeCheck: p.BRCodeCheck,
	}
	if p.Payer != nil {
		c.Payer = providers.Payer(*p.Payer)
	}
	return c
}

// ssgFields are the names that the file has for fields of the adapter. The
// credentials are checked by the schema.
var ssgFields = map[string]string{
	"base_url": "url", "location_hosts": "allowed_hosts", "code_check": "brcode_check", "client_id": "", "client_secret": "",
}

// checkSSG asks the adapter, and warns of what works but should not stay.
func checkSSG(ps *problems, p ProviderConfig, at string) {
	ps.adapter(ssgConfig(p).Validate(), at, ssgFields)
	u, err := url.Parse(p.URL)
	if err == nil && isLoopback(u.Hostname()) {
		return // a simulator, or a proxy that is not our business
	}
	if err == nil && u.Scheme == "http" && p.AllowInsecureHTTP {
		ps.warn(at+".url", "is plain HTTP: anyone on the way can read the credentials and forge payments",
			"reach the provider through a VPN or TLS proxy, and list the hosts of its codes in allowed_hosts")
	}
	if p.BRCodeCheck == ssg.CheckWarn {
		ps.warn(at+".brcode_check", "payers are shown codes with a wrong checksum, amount or host", `write brcode_check = "strict"`)
	}
	ps.warn(at+".client_secret", "whoever takes it from this terminal can mark charges as paid",
		"ask SSG for a client without that right; until then a payment that SSG reports is weak evidence")
	if missing := missingForSSG(p.Payer); missing != "" {
		ps.warn(at+".payer", "SSG demands of every charge the payer's "+missing+": charges that do not bring them are refused",
			"write into [provider.payer] what SSG accepted in writing")
	}
}

// missingForSSG lists the data that SSG demands and that is not configured,
// except where others of its group are: the adapter refuses that.
func missingForSSG(p *PayerConfig) string {
	if p == nil {
		p = &PayerConfig{}
	}
	var missing []string
	if p.Name == "" && p.Document == "" {
		missing = append(missing, "name, document")
	}
	if p.Email == "" {
		missing = append(missing, "email")
	}
	if p.Address == "" && p.City == "" && p.State == "" && p.Postcode == "" {
		missing = append(missing, "address, city, state, postcode")
	}
	return strings.Join(missing, ", ")
}
