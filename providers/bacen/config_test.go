package bacen

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ssg-safe/agent/providers"
	"github.com/ssg-safe/agent/providers/bacen/bacensim"
	"github.com/ssg-safe/agent/redact"
)

// What is wrong with a configuration, by the names of its fields.
func problems(err error) string {
	var all []string
	if many, ok := err.(interface{ Unwrap() []error }); ok {
		for _, err := range many.Unwrap() {
			if e, ok := errors.AsType[*providers.FieldError](err); ok {
				all = append(all, e.Field+": "+e.Problem)
			} else {
				all = append(all, "?: "+err.Error())
			}
		}
	}
	return strings.Join(all, "\n")
}

func TestValidate(t *testing.T) {
	mutual := func(c *Config) { c.Profile.MutualTLS = true; c.URL = "https://bank.test" }
	for _, tt := range []struct {
		name, says string
		change     func(*Config)
	}{
		{"in order", "", func(*Config) {}},
		{"no address", "url: missing", func(c *Config) { c.URL = "" }},
		{"the profile's address", "", func(c *Config) { c.URL, c.Profile.URL = "", "https://bank.test" }},
		{"plain HTTP", "url: plain HTTP", func(c *Config) { c.AllowInsecureHTTP = false }},
		{"plain HTTP with certificates", "url: plain HTTP shows no client certificate", func(c *Config) { c.Profile.MutualTLS, c.CertificateKey = true, "k" }},
		{"credentials in the address", "url: holds credentials", func(c *Config) { c.URL = "https://a:b@bank.test" }},
		{"a query in the token's address", "token_url: has a query", func(c *Config) { c.TokenURL = "https://bank.test/?x=1" }},
		{"no certificate", "certificate_key: missing", mutual},
		{"a certificate nobody wants", "certificate: the profile says", func(c *Config) { c.CertificateFile = "/x" }},
		{"no application key", "app_key: missing", func(c *Config) { c.Profile.Query = map[string]string{"k": "{app_key}"} }},
		{"a payee that fits no code", "payee: ", func(c *Config) { c.Payees[0].City = strings.Repeat("x", 16) }},
		{"a host with a scheme", "allowed_hosts: not a bare host", func(c *Config) { c.LocationHosts = []string{"https://x"} }},
		{"no credentials", "client_id: missing\nclient_secret: missing", func(c *Config) { c.ClientID, c.ClientSecret = "", "" }},
		{"an unknown word", "brcode_check: unknown word", func(c *Config) { c.CodeCheck = "lax" }},
	} {
		c := config(t)
		tt.change(&c)
		if got := problems(c.Validate()); !strings.HasPrefix(got, tt.says) || tt.says == "" && got != "" {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.says)
		}
	}
	c := config(t)
	c.AppKey, c.CertificateKey = "app-c4nary", "key-c4nary"
	if got := fmt.Sprintf("%v %+v %#v", c, c, c); strings.Contains(got, "c4nary") {
		t.Errorf("prints a secret: %s", got)
	}
}

// The built-in profiles are in order, and none can give money back.
func TestProfiles(t *testing.T) {
	for _, p := range Profiles() {
		if found := p.problems(); len(found) > 0 {
			t.Errorf("%s: %v", p.Name, found)
		}
		if p.Description == "" {
			t.Errorf("%s says nothing about itself", p.Name)
		}
	}
	// The example file shows the defaults.
	generic, err := LoadProfile("generic")
	if err != nil {
		t.Fatal(err)
	}
	bare, err := ParseProfile("x", []byte("version = 1\nname = \"generic\"\n"))
	if err != nil {
		t.Fatal(err)
	}
	bare.Description = generic.Description
	bare.Headers, bare.Query = generic.Headers, generic.Query
	if got, want := fmt.Sprintf("%+v", generic), fmt.Sprintf("%+v", bare); got != want {
		t.Errorf("generic.toml shows\n%s, the defaults are\n%s", got, want)
	}
	for text, says := range map[string]string{
		"version = 1\nname = \"x\"\nurl = \"http://x\"":              "url: not an https:// address",
		"version = 1\nname = \"x\"\nscopes = [\"pix.write\"]":        "can give money back",
		"version = 1\nname = \"x\"\nnothing = 1":                     "x.toml:3:1: unknown key nothing",
		"version = 1\nname = \"x\"\n[headers]\nHost = \"y\"":         "headers.Host: not for a profile to set",
		"version = 1\nname = \"x\"\n[query]\ntxid = \"y\"":           "query.txid: a parameter of the standard",
		"version = 1\nname = \"x\"\n[query]\nk = \"{secret}\"":       "unknown placeholder",
		"version = 1\nname = \"x\"\nmax_window = \"1m\"":             "max_window: below one hour",
		"version = 1\nname = \"x\"\nmax_window = \"a day\"":          "x.toml:3",
		"version = 2\nname = \"x\"":                                  "version: not 1",
		"version = 1\nname = \"x\"\npage_size = \"100\"":             "x.toml:3",
		"version = 1\nname = \"x\"\ntoken_auth = \"bearer\"":         "token_auth: unknown word",
		"version = 1\nname = \"X\"\ntoken_url = \"oauth/token\"\n\n": "name: not a plain name",
	} {
		if _, err := ParseProfile("x.toml", []byte(text)); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: got %v, want %q", text, err, says)
		}
	}
	if _, err := LoadProfile("nowhere"); err == nil || !strings.Contains(err.Error(), "generic") {
		t.Errorf("got %v, want the names there are", err)
	}
	if _, err := LoadProfile("../generic"); err == nil {
		t.Error("left the built-in profiles")
	}
}

// authority issues certificates.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  []byte
}

func newAuthority(t *testing.T) *authority {
	a := &authority{t: t}
	a.cert, a.key, a.pem, _ = a.issue("authority", nil)
	return a
}

// issue makes a certificate; from nil: one that signs others.
func (a *authority) issue(name string, from *authority) (*x509.Certificate, *ecdsa.PrivateKey, []byte, []byte) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"bank.test"}, IsCA: from == nil, BasicConstraintsValid: true,
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}
	parent, signer := template, key
	if from != nil {
		parent, signer = from.cert, from.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		a.t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	return cert, key, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})
}

// The client certificate is shown at both addresses, tokens are bound to it,
// only the pinned authority vouches for the bank.
func TestMutualTLS(t *testing.T) {
	bank, private := newAuthority(t), newAuthority(t)
	_, _, serverCert, serverKey := bank.issue("bank.test", bank)
	pair, err := tls.X509KeyPair(serverCert, serverKey)
	if err != nil {
		t.Fatal(err)
	}
	sim := newSim(t, bacensim.Options{Certificates: true})
	pool := x509.NewCertPool()
	pool.AddCert(private.cert)
	server := httptest.NewUnstartedServer(sim)
	server.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, ClientAuth: tls.VerifyClientCertIfGiven, ClientCAs: pool}
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
	server.StartTLS()
	defer server.Close()

	dir := t.TempDir()
	write := func(name string, text []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	_, _, clientCert, clientKey := private.issue("kiosk", private)
	_, _, otherCert, otherKey := private.issue("other", private)
	base := config(t)
	base.Profile.MutualTLS, base.URL, base.AllowInsecureHTTP = true, "https://bank.test", false
	base.CAFile = write("bank.pem", bank.pem)
	base.CertificateFile, base.CertificateKey = write("kiosk.pem", clientCert), redact.Secret(clientKey)
	open := func(c Config) *Client {
		t.Helper()
		// Every address leads to the test's server.
		way := &http.Transport{DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, server.Listener.Addr().String())
		}}
		transport, err := c.Transport(way)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(transport.CloseIdleConnections)
		client, err := New(c, transport, nil)
		if err != nil {
			t.Fatal(err)
		}
		return client
	}
	c := open(base)
	if _, err := c.CreateCharge(t.Context(), intent(1, 100)); err != nil {
		t.Fatal(err)
	}
	both := base
	both.CertificateFile, both.CertificateKey = "", redact.Secret(string(clientCert)+string(clientKey))
	if err := open(both).CheckHealth(t.Context()); err != nil {
		t.Errorf("certificate and key in one: %v", err)
	}
	foreign := base
	foreign.CAFile = write("private.pem", private.pem)
	_, err = open(foreign).CreateCharge(t.Context(), intent(2, 100))
	if kindOf(err) != providers.NotSent {
		t.Errorf("a bank that nobody vouches for: got %v, want not sent", err)
	}
	without := base
	without.Profile.MutualTLS, without.CertificateFile, without.CertificateKey = false, "", ""
	_, err = open(without).CreateCharge(t.Context(), intent(3, 100))
	if !kindOf(err).Permanent() {
		t.Errorf("no certificate: got %v, want a permanent error", err)
	}

	for _, tt := range []struct {
		name, says string
		change     func(*Config)
	}{
		{"of another pair", "certificate_key: does not belong to the certificate", func(c *Config) { c.CertificateKey = redact.Secret(otherKey) }},
		{"no file", "certificate: ", func(c *Config) { c.CertificateFile = filepath.Join(dir, "none") }},
		{"a file of something else", "certificate: holds no certificate", func(c *Config) { c.CertificateFile = write("key.pem", otherKey) }},
		{"no key", "certificate_key: holds no private key", func(c *Config) { c.CertificateKey = redact.Secret(otherCert) }},
		{"PKCS#12", "certificate_key: is PKCS#12", func(c *Config) { c.CertificateKey = "0\x82\x0a" }},
		{"a password", "certificate_key: is encrypted", func(c *Config) {
			c.CertificateKey = redact.Secret(pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED PRIVATE KEY", Bytes: []byte{1}}))
		}},
		{"no authority", "ca_file: ", func(c *Config) { c.CAFile = filepath.Join(dir, "none") }},
		{"an authority in DER", "ca_file: holds no certificate", func(c *Config) { c.CAFile = write("ca.der", bank.cert.Raw) }},
	} {
		c := base
		tt.change(&c)
		_, err := c.TLS()
		if got := problems(err); !strings.HasPrefix(got, tt.says) {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.says)
		}
		if err != nil && strings.Contains(err.Error(), "BEGIN") {
			t.Errorf("%s: quotes the file: %v", tt.name, err)
		}
	}
}
