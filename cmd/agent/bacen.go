package main

import (
	"crypto/tls"
	"log/slog"
	"net/http"
	"net/url"
	"time"

	"github.com/ssg-safe/agent/internal/config"
	"github.com/ssg-safe/agent/providers/bacen"
	"github.com/ssg-safe/agent/providers/bacen/bacensim"
	"github.com/ssg-safe/agent/terminal"
)

// BacenConfig is what a bank that follows Banco Central's API Pix (type "bacen")
// needs besides.
type BacenConfig struct {
	// How the bank differs from the standard: a built-in profile (generic,
	// banco-do-brasil, basspago, simulator), or the absolute path of a profile file
	// of your own. providers/bacen/profiles/generic.toml explains the form.
	Profile string `toml:"profile" default:"generic"`
	// Where tokens come from. Empty: the profile's address.
	TokenURL string `toml:"token_url"`
	// PEM file of the client certificate, with its chain.
	Certificate string `toml:"certificate"`
	// The certificate's private key in PEM, without a password. Without
	// certificate: both in one.
	CertificateKey config.Secret `toml:"certificate_key" whole:"true"`
	// PEM file of the only authorities that may vouch for the bank. Empty: those
	// of the system.
	CAFile string `toml:"ca_file"`
	// The key of the application that some banks want with each request.
	AppKey config.Secret `toml:"app_key"`
}

// bacenFamily is any bank with API Pix.
var bacenFamily = family{
	name: bacen.Name,
	transport: func(p ProviderConfig, way *http.Transport) (*http.Transport, error) {
		c, err := bacenConfig(p, nil)
		if err != nil {
			return nil, err
		}
		return c.Transport(way)
	},
	open: func(c Config, p ProviderConfig, over http.RoundTripper, log *slog.Logger) (terminal.Route, error) {
		cfg, err := bacenConfig(p, c.Merchants)
		if err != nil {
			return nil, err
		}
		return openBacen(cfg, over, log)
	},
	own:   func(p ProviderConfig) bool { return p.Bacen != nil },
	keyed: true,
	check: checkBacen,
	sim: simulation{
		rules: bacensim.Vocabulary(), modes: []string{"no-code", "refuse-again", "ignore-txid", "refunds"}, tokenLife: time.Hour,
		open: func(o simOptions) (simulator, error) {
			return bacensim.New(bacensim.Options{
				Dir: o.dir, Seed: o.seed, PayAfter: o.payAfter, PayFraction: o.payFraction, TokenLife: o.tokenLife,
				LocationHost: o.locationHost, PayeeName: o.payee, Faults: o.faults, Logger: o.log,
				Modes: bacensim.Modes{NoCode: o.mode("no-code"), RefuseAgain: o.mode("refuse-again"), IgnoreTxID: o.mode("ignore-txid"), Refunds: o.mode("refunds")}, RefundAfter: simSettleAfter,
			})
		},
		clientID: bacensim.DefaultClientID, clientSecret: bacensim.DefaultClientSecret, account: "conta-simulada", locationHost: bacensim.DefaultLocationHost,
		settings: `
[provider.bacen]
profile = "simulator" # no client certificate
`,
	},
}

// openBacen makes the adapter. Where the bank does not list payments of static
// codes, the route does not have that ability.
func openBacen(cfg bacen.Config, over http.RoundTripper, log *slog.Logger) (terminal.Route, error) {
	client, err := bacen.New(cfg, over, log)
	if err != nil {
		return nil, err
	}
	if !cfg.Profile.StaticTxID {
		return client.DynamicOnly(), nil
	}
	return client, nil
}

// bacenConfig is the adapter's configuration. The merchants are those that may
// use the provider.
func bacenConfig(p ProviderConfig, merchants []MerchantConfig) (bacen.Config, error) {
	b := p.Bacen
	if b == nil {
		b = &BacenConfig{}
		config.Defaults(b)
	}
	profile, err := bacen.LoadProfile(b.Profile)
	if err != nil {
		return bacen.Config{}, err
	}
	c := bacen.Config{
		Profile: profile, URL: p.URL, TokenURL: b.TokenURL, AllowInsecureHTTP: p.AllowInsecureHTTP,
		ClientID: p.ClientID, ClientSecret: p.ClientSecret.Value,
		CertificateFile: b.Certificate, CertificateKey: b.CertificateKey.Value, CAFile: b.CAFile, AppKey: b.AppKey.Value,
		LocationHosts: p.AllowedHosts, CodeCheck: p.BRCodeCheck,
	}
	for _, m := range merchants {
		for _, w := range m.Ways() {
			if w.Provider == p.Name {
				c.Payees = append(c.Payees, bacen.Payee{Key: w.PixKey, Name: m.Name, City: m.City})
			}
		}
	}
	return c, nil
}

// bacenFields are the names that the file has for fields of the adapter. The
// credentials are checked by the schema, names and cities with the merchants.
var bacenFields = map[string]string{
	"client_id": "", "client_secret": "", "payee": "", "profile": "bacen.profile", "token_url": "bacen.token_url",
	"certificate": "bacen.certificate", "certificate_key": "bacen.certificate_key", "ca_file": "bacen.ca_file", "app_key": "bacen.app_key",
}

// certificateWarning is how long before its end a client certificate is warned of.
const certificateWarning = 30 * 24 * time.Hour

// checkBacen asks the adapter, and warns of what works but should not stay.
func checkBacen(ps *problems, p ProviderConfig, at string) {
	if b := p.Bacen; b != nil {
		absolute(ps, at+".bacen.certificate", b.Certificate)
		absolute(ps, at+".bacen.ca_file", b.CAFile)
		if b.CertificateKey.Name != "" && b.CertificateKey.Value == "" { // it could not be looked at, which is reported
			return
		}
	}
	c, err := bacenConfig(p, nil)
	if err != nil {
		ps.fail(at+".bacen.profile", err.Error(), "correct the file, or name a built-in profile")
		return
	}
	if err := c.Validate(); err != nil {
		ps.adapter(err, at, bacenFields)
		return
	}
	way, err := c.TLS()
	if err != nil {
		ps.adapter(err, at, bacenFields)
		return
	}
	checkCertificates(ps, way.Certificates, at+".bacen.certificate")
	u, err := url.Parse(p.URL)
	if err == nil && isLoopback(u.Hostname()) {
		return // a simulator, or a proxy that is not our business
	}
	if err == nil && u.Scheme == "http" {
		ps.warn(at+".url", "is plain HTTP: anyone on the way can read the credentials and forge payments", "write https://")
	}
	if p.BRCodeCheck == bacen.CheckWarn {
		ps.warn(at+".brcode_check", "payers are shown codes with a wrong checksum, amount or host", `write brcode_check = "strict"`)
	}
	if len(p.AllowedHosts) == 0 {
		ps.warn(at+".allowed_hosts", "is empty: a code may lead anywhere", "list the host of the bank's locations, which its sandbox shows")
	}
}

// checkCertificates warns of a client certificate that is over, or nearly so.
func checkCertificates(ps *problems, pairs []tls.Certificate, at string) {
	for _, pair := range pairs {
		end := pair.Leaf.NotAfter
		switch left := time.Until(end); {
		case left <= 0:
			ps.warn(at, "has been over since "+end.Format(time.DateOnly)+": the bank refuses it", "have a new one issued")
		case left < certificateWarning:
			ps.warn(at, "ends on "+end.Format(time.DateOnly), "have a new one issued, and put it there before")
		}
	}
}
