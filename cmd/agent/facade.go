package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/ssg-safe/agent/internal/config"
	"github.com/ssg-safe/agent/internal/keypair"
	"github.com/ssg-safe/agent/localapi"
	"github.com/ssg-safe/agent/localapi/facade"
	"github.com/ssg-safe/agent/zone"
)

// FacadeConfig is the SSG façade, by which safes that speak the SSG middleware's
// protocol charge through this terminal, whichever provider its merchants have
// (docs/facade.md).
type FacadeConfig struct {
	// Where it listens: host and port, "0.0.0.0:8443". Empty: there is no façade.
	Listen string `toml:"listen"`
	// PEM file of the façade's own certificate.
	Certificate string `toml:"certificate"`
	// PEM file of its private key.
	PrivateKey string `toml:"private_key"`
	// Allows plain HTTP at an address that other machines reach, for safes that know
	// nothing else: secrets and payers' data travel in the clear there.
	AllowInsecureHTTP bool `toml:"allow_insecure_http" default:"false"`
	// How long a token holds.
	TokenLife time.Duration `toml:"token_life" default:"24h" min:"1m" max:"8760h"`
	// The safes.
	Clients []FacadeClient `toml:"client" max:"64"`
}

// FacadeClient is one safe that uses the façade.
type FacadeClient struct {
	// The safe's name: small letters, digits and hyphens. It stands in the ledger
	// beside its charges ("facade:cofre"), of which it sees no others: never change
	// it.
	Name string `toml:"name" required:"true" example:"cofre"`
	// What it sends as client_id.
	ClientID string `toml:"client_id" required:"true" max:"64" example:"cofre-01"`
	// What it sends as client_secret, 32 characters or more: openssl rand -hex 32.
	ClientSecret config.Secret `toml:"client_secret" required:"true" example:"{ credential = \"facade-cofre.secret\" }"`
	// The account_id, a UUID, that it must send with each charge.
	AccountID string `toml:"account_id" required:"true" example:"06919b2b-4274-457a-84b0-4cf4de1405fb"`
	// The merchant whose charges it makes. As chave it must send that one's pix_key.
	Merchant string `toml:"merchant" required:"true" example:"loja"`
	// Whether its charges come on the terminal's screen and printer: never, or
	// if_free, when nothing else has the screen.
	Present string `toml:"present" default:"never" oneof:"never if_free"`
}

// openFacade makes the façade's server; nil where none is configured.
func (f *front) openFacade() {
	c := f.cfg.Facade
	if c.Listen == "" {
		return
	}
	o := facade.Options{Desk: f, TokenLife: c.TokenLife, Zone: zone.SaoPaulo(), Now: f.clock.Wall, Woken: f.control.Woken, Logger: f.log}
	for _, cl := range c.Clients {
		m, _ := f.cfg.Merchant(cl.Merchant) // validate knows it
		o.Clients = append(o.Clients, facade.Client{
			Name: cl.Name, ID: cl.ClientID, Secret: cl.ClientSecret.Value, Account: cl.AccountID, Merchant: cl.Merchant, Key: m.PixKey,
			Present: localapi.Presence(cl.Present),
		})
	}
	f.facade = facade.New(o)
}

// listenFacade opens the façade's address.
func (f *front) listenFacade() (net.Listener, error) {
	certificates, err := serverTLS("facade.certificate", f.cfg.Facade.Certificate, f.cfg.Facade.PrivateKey, f.log)
	if err != nil {
		return nil, err
	}
	return localapi.Listen(f.cfg.Facade.Listen, certificates)
}

// serverTLS reads a server's certificate, now and when it is renewed; nil where none
// is configured.
func serverTLS(key, certificate, private string, log *slog.Logger) (*tls.Config, error) {
	if certificate == "" {
		return nil, nil
	}
	own, err := keypair.Load(certificate, private, log)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", key, err)
	}
	return &tls.Config{GetCertificate: own.Server, MinVersion: tls.VersionTLS12}, nil
}

// validate checks what belongs together.
func (c FacadeConfig) validate(ps *problems, all Config) {
	if c.Listen == "" {
		if len(c.Clients) > 0 {
			ps.warn("facade.listen", "is empty, so there is no façade", `write where it listens: listen = "0.0.0.0:8443"`)
		}
		return
	}
	absolute(ps, "facade.certificate", c.Certificate)
	absolute(ps, "facade.private_key", c.PrivateKey)
	if (c.Certificate == "") != (c.PrivateKey == "") {
		ps.fail("facade.certificate", "certificate and private_key go together", "write both, or neither")
	}
	host, port, err := net.SplitHostPort(c.Listen)
	addr, _ := netip.ParseAddr(host)
	switch {
	case err != nil || port == "":
		ps.fail("facade.listen", "is no address", `write host and port: listen = "0.0.0.0:8443"`)
	case c.Certificate != "" || host == "localhost" || addr.IsLoopback():
	case c.AllowInsecureHTTP:
		ps.warn("facade.allow_insecure_http", "secrets and payers' data travel in the clear on the network", "write certificate and private_key, if the safes know TLS; else keep them on a network of their own")
	default:
		ps.fail("facade.certificate", "is missing: other machines reach this address", "write certificate and private_key; or, for safes that know no TLS, allow_insecure_http = true")
	}
	if len(c.Clients) == 0 {
		ps.fail("facade.client", "there is none, so nobody could use the façade", "add [[facade.client]] with name, client_id, client_secret, account_id and merchant")
	}
	seen := map[string]string{}
	for i, cl := range c.Clients {
		at := fmt.Sprintf("facade.client[%d]", i)
		if cl.Name != "" && !plainName.MatchString(cl.Name) {
			ps.fail(at+".name", "is not a plain name", plainNameRemedy)
		}
		unique(ps, seen, "client "+cl.Name, at, "name")
		unique(ps, seen, "client_id "+cl.ClientID, at, "client_id")
		if secret := cl.ClientSecret.Value.Reveal(); secret != "" && len(secret) < minToken {
			ps.fail(at+".client_secret", fmt.Sprintf("is too short: it must have %d characters", minToken), "make one: openssl rand -hex 32")
		}
		if cl.AccountID != "" && !uuid.MatchString(cl.AccountID) {
			ps.fail(at+".account_id", "is not a UUID", "write 8-4-4-4-12 hexadecimal digits: uuidgen")
		}
		m, known := all.Merchant(cl.Merchant)
		codeless := slices.ContainsFunc(m.Ways(), func(w RouteConfig) bool {
			p, _ := all.Provider(w.Provider)
			kind, _ := familyOf(p.Type)
			return kind.codeless
		})
		switch {
		case cl.Merchant == "": // the schema's business
		case !known:
			ps.fail(at+".merchant", "there is no such merchant", "write the id of a [[merchant]]")
		case m.PixKey == "":
			ps.fail(at+".merchant", "has no pix_key, which the safe must send", "write the merchant's pix_key")
		case codeless:
			ps.fail(at+".merchant", "is charged for by a provider without PIX codes, and a code is what a safe asks for", "name a merchant of another provider")
		}
	}
}

// checkFacade looks at the façade's certificate.
func (d *doctor) checkFacade(context.Context) {
	c := d.cfg.Facade
	switch {
	case c.Listen == "":
		return
	case c.Certificate == "" && !strings.HasPrefix(c.Listen, "127.") && c.AllowInsecureHTTP:
		d.add("facade", checkWarn, "facade_plain", c.Listen)
		return
	case c.Certificate == "":
		d.add("facade", checkOK, "facade_ok", c.Listen)
		return
	}
	own, err := keypair.Load(c.Certificate, c.PrivateKey, nil)
	if err != nil {
		d.add("facade", checkFail, "facade_certificate", reason(err))
		return
	}
	leaf := own.Current().Leaf
	switch now := d.clock.Wall(); {
	case !now.Before(leaf.NotAfter):
		d.add("facade", checkFail, "facade_expired", leaf.NotAfter.Format(time.DateOnly))
	case leaf.NotAfter.Sub(now) < 21*24*time.Hour:
		d.add("facade", checkWarn, "facade_expires", leaf.NotAfter.Format(time.DateOnly))
	default:
		d.add("facade", checkOK, "facade_ok", c.Listen)
	}
}
