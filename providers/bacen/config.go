package bacen

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/ssg-safe/agent/pix"
	"github.com/ssg-safe/agent/providers"
	"github.com/ssg-safe/agent/redact"
)

// What to do when a received code does not pass its check.
const (
	// CheckStrict refuses the code with a Security error; the default.
	CheckStrict = "strict"
	// CheckWarn returns the code with Charge.Warnings, to be shown and alerted.
	CheckWarn = "warn"
)

// Config is the adapter's configuration: one account at one bank. A FieldError
// of [Config.Validate] names a field by the word in parentheses.
type Config struct {
	// Profile (profile) says how the bank differs from others.
	Profile Profile
	// URL (url) is where the API is, path and all, such as
	// "https://pix.example.com/api"; empty: the profile's.
	URL string
	// TokenURL (token_url) is where tokens come from; empty: the profile's.
	TokenURL string
	// AllowInsecureHTTP (allow_insecure_http) permits http:// addresses, over
	// which everything travels in the clear: a simulator's, or a TLS proxy's on
	// this machine.
	AllowInsecureHTTP bool
	// ClientID and ClientSecret (client_id, client_secret) buy the token.
	ClientID     string
	ClientSecret redact.Secret
	// CertificateFile (certificate) is the PEM file of the client certificate,
	// with its chain; CertificateKey (certificate_key) its private key in PEM.
	// Without a file CertificateKey holds both. A profile with MutualTLS needs
	// them.
	CertificateFile string
	CertificateKey  redact.Secret
	// CAFile (ca_file) is a PEM file of the only authorities that the bank's own
	// certificate may come from; empty: the system's.
	CAFile string
	// AppKey (app_key) is the key of the application that some banks want with
	// each request; the profile says where.
	AppKey redact.Secret
	// Payees are the names that codes carry where the bank sends a location
	// alone, and the keys that a looked-up charge may be for (none: any).
	Payees []Payee
	// LocationHosts (allowed_hosts) are the hosts that the location of a code
	// may have; empty: any.
	LocationHosts []string
	// CodeCheck (brcode_check) is CheckStrict (default) or CheckWarn.
	CodeCheck string
	// UserAgent (user_agent) is sent with every request; empty:
	// providers.DefaultUserAgent.
	UserAgent string
	// Now is the wall clock, used where the bank's answers tell no time; nil:
	// time.Now.
	Now func() time.Time
}

// Payee is who owns a receiving key, for the codes that are written here.
type Payee struct{ Key, Name, City string }

// Format prints the configuration, masked, for every verb.
func (c Config) Format(f fmt.State, _ rune) {
	type fields Config // without this method
	fmt.Fprintf(f, "%+v", fields(c))
}

// basic is the credential of HTTP Basic.
func (c *Config) basic() redact.Secret {
	return redact.Secret(base64.StdEncoding.EncodeToString([]byte(c.ClientID + ":" + c.ClientSecret.Reveal())))
}

// payee is the one with a key; nil: none.
func (c *Config) payee(key string) *Payee {
	for i, p := range c.Payees {
		if p.Key == key {
			return &c.Payees[i]
		}
	}
	return nil
}

// fill replaces the placeholders in a value of the profile.
func (c *Config) fill(value string) string {
	return strings.NewReplacer(placeholderAppKey, c.AppKey.Reveal(), placeholderClientID, c.ClientID).Replace(value)
}

func (c *Config) url() string {
	if c.URL != "" {
		return c.URL
	}
	return c.Profile.URL
}

// tokenURL is the token address; one that is a path lies at the API's host.
func (c *Config) tokenURL() string {
	address := c.TokenURL
	if address == "" {
		address = c.Profile.TokenURL
	}
	if !strings.HasPrefix(address, "/") {
		return address
	}
	u, err := url.Parse(c.url())
	if err != nil {
		return ""
	}
	return u.Scheme + "://" + u.Host + address
}

// Validate returns all problems of the configuration, joined, each a
// [providers.FieldError]. It reads no file: see [Config.TLS].
func (c Config) Validate() error {
	var errs []error
	wrong := func(field, problem, remedy string) {
		errs = append(errs, &providers.FieldError{Field: field, Problem: problem, Remedy: remedy})
	}
	for _, e := range c.Profile.problems() {
		wrong("profile", e.Field+": "+e.Problem, e.Remedy)
	}
	if c.url() == "" {
		wrong("url", "missing, and the profile has none", "write the address from the bank's documents, path and all")
	} else {
		c.validateURL(wrong, "url", c.url())
		if address := c.tokenURL(); address != "" {
			c.validateURL(wrong, "token_url", address)
		}
	}
	if c.ClientID == "" {
		wrong("client_id", "missing", "register this installation with the bank")
	}
	if c.ClientSecret == "" {
		wrong("client_secret", "missing", "name the file or variable that holds it")
	}
	switch {
	case c.Profile.MutualTLS && c.CertificateKey == "":
		wrong("certificate_key", "missing, and this bank's profile demands a client certificate", "name the file of the private key; the certificate goes into certificate")
	case !c.Profile.MutualTLS && (c.CertificateKey != "" || c.CertificateFile != ""):
		wrong("certificate", "the profile says that this bank wants no client certificate", "take a profile with mutual_tls = true, or remove it")
	}
	if c.Profile.wants(placeholderAppKey) && c.AppKey == "" {
		wrong("app_key", "missing, and this bank's profile sends it with each request", "name the file or variable that holds it")
	}
	for _, p := range c.Payees {
		if _, err := (pix.Dynamic{Location: "h/1", Name: p.Name, City: p.City}).Encode(); err != nil {
			wrong("payee", err.Error(), "correct the merchant's name or city")
		}
	}
	for _, h := range c.LocationHosts {
		if !hostForm.MatchString(strings.ToLower(h)) {
			wrong("allowed_hosts", "not a bare host name: "+quote(h), "write it like pix.example.com, without scheme, port or path")
		}
	}
	if c.CodeCheck != "" && c.CodeCheck != CheckStrict && c.CodeCheck != CheckWarn {
		wrong("brcode_check", "unknown word "+quote(c.CodeCheck), `use "strict" or "warn"`)
	}
	if strings.ContainsFunc(c.UserAgent, func(r rune) bool { return r < ' ' || r > '~' }) {
		wrong("user_agent", "not printable ASCII", "")
	}
	return errors.Join(errs...)
}

func (c Config) validateURL(wrong func(field, problem, remedy string), field, address string) {
	u, err := url.Parse(address)
	switch {
	case err != nil || u.Host == "" || u.Opaque != "":
		wrong(field, "not a URL", "write it like https://host/path")
	case u.User != nil:
		wrong(field, "holds credentials", "put them into client_id and client_secret")
	case u.RawQuery != "" || u.Fragment != "" || u.ForceQuery:
		wrong(field, "has a query or a fragment", "end it after the path; query keys belong into a profile")
	case u.Scheme == "http" && !c.AllowInsecureHTTP:
		wrong(field, "plain HTTP", "use https, or for a simulator allow_insecure_http = true")
	case u.Scheme == "http" && c.Profile.MutualTLS:
		wrong(field, "plain HTTP shows no client certificate, which this profile demands", `use https, or for a simulator profile = "simulator"`)
	case u.Scheme != "http" && u.Scheme != "https":
		wrong(field, "unknown scheme "+quote(u.Scheme), "use https")
	}
}

var hostForm = regexp.MustCompile(`^[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?$`)

// quote shows a configured word that is no secret.
func quote(s string) string { return `"` + providers.Hidden{}.Clean(s) + `"` }
