package basspago

import (
	"crypto/hmac"
	"crypto/sha512"
	"encoding/hex"
	"fmt"
	"regexp"
	"strings"

	"github.com/ssg-safe/agent/pix"
	"github.com/ssg-safe/agent/providers"
	"github.com/ssg-safe/agent/providers/internal/settings"
	"github.com/ssg-safe/agent/redact"
)

// How the Encrypted-Security-Code is made of the text "key=" and the public key. The
// document says HMAC with SHA-512, and shows 72 digits where that has 128.
const (
	SignatureHMAC     = "hmac_sha512_hex"         // the default
	SignatureTrunc72  = "hmac_sha512_hex_trunc72" // the first 72 digits of that
	SignatureVerbatim = "literal"                 // the secret is the code itself
)

// Environments.
const (
	Production = "production" // the default
	Sandbox    = "sandbox"
)

const (
	// DefaultProductID is what checkouts are for.
	DefaultProductID = "terminal"
	// DefaultProductName is read by payers.
	DefaultProductName = "Pagamento no terminal"
)

// Config is the adapter's configuration: one public key. A FieldError of
// [Config.Validate] names a field by the word in parentheses.
type Config struct {
	// URL (url) is what create-paycheckout and its relatives are below.
	URL string
	// AllowInsecureHTTP (allow_insecure_http) permits an http:// URL.
	AllowInsecureHTTP bool
	// Environment (basspago.environment) is Production (default) or Sandbox. A
	// production whose URL has the word sandbox in it is refused unless
	// AllowSandboxURL (basspago.allow_sandbox_url) is set: the provider's own pages
	// call such an address production.
	Environment     string
	AllowSandboxURL bool
	// Key (client_id) is the public key, Secret (client_secret) what signs it, or the
	// code itself, as Signature (basspago.signature) says.
	Key       string
	Secret    redact.Secret
	Signature string
	// ProductID and ProductName (basspago.product_id, basspago.product_name) are what
	// checkouts are for, which the provider demands; empty: the defaults.
	ProductID, ProductName string
	// Payer (payer) is who pays where the charge does not say. Put here only data
	// that the provider has accepted in writing.
	Payer providers.Payer
	// UserAgent (basspago.user_agent) is sent with every request; empty:
	// providers.DefaultUserAgent.
	UserAgent string
}

// Format prints the configuration, masked, for every verb.
func (c Config) Format(f fmt.State, _ rune) {
	type fields Config // without this method
	fmt.Fprintf(f, "%+v", fields(c))
}

// securityCode is the Encrypted-Security-Code: a constant, and so a credential.
func (c *Config) securityCode() redact.Secret {
	if c.Signature == SignatureVerbatim {
		return c.Secret
	}
	m := hmac.New(sha512.New, []byte(c.Secret.Reveal()))
	m.Write([]byte("key=" + c.Key)) // a hash never fails
	code := hex.EncodeToString(m.Sum(nil))
	if c.Signature == SignatureTrunc72 {
		code = code[:72]
	}
	return redact.Secret(code)
}

// Validate returns all problems of the configuration, joined, each a
// [providers.FieldError].
func (c Config) Validate() error {
	var ps settings.Problems
	ps.URL("url", c.URL, c.AllowInsecureHTTP)
	ps.Word("basspago.environment", c.Environment, Production, Sandbox)
	if c.Environment != Sandbox && !c.AllowSandboxURL && strings.Contains(strings.ToLower(c.URL), "sandbox") {
		ps.Add("url", "is a sandbox's by its name, and the environment is production",
			`write environment = "sandbox" under [provider.basspago]; or allow_sandbox_url = true, if the provider says that this address is production`)
	}
	if c.Key == "" {
		ps.Add("client_id", "missing", "it is the public key, of the provider's key management")
	} else if !isID(c.Key) {
		ps.Add("client_id", "not a public key: spaces, or longer than 128 characters", "copy it from the provider's key management")
	}
	if c.Secret == "" {
		ps.Add("client_secret", "missing", "")
	} else if c.Signature == SignatureVerbatim && !isCode(c.Secret.Reveal()) {
		ps.Add("client_secret", "cannot go into a header", `with signature = "literal" it is the code itself`)
	}
	ps.Word("basspago.signature", c.Signature, SignatureHMAC, SignatureTrunc72, SignatureVerbatim)
	if c.ProductID != "" && !settings.IsText(c.ProductID, 64) {
		ps.Add("basspago.product_id", "longer than 64 characters, or not plain text", "")
	}
	if c.ProductName != "" && !settings.IsText(c.ProductName, 140) {
		ps.Add("basspago.product_name", "longer than 140 characters, or not plain text", "")
	}
	for _, p := range checkPayer(c.Payer) {
		ps.Add("payer."+p.field, p.problem, p.remedy)
	}
	ps.Agent(c.UserAgent)
	return ps.Err()
}

// isCode accepts what a header can carry.
func isCode(s string) bool {
	return len(s) <= 1024 && !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' })
}

var (
	postcodeForm = regexp.MustCompile(`^[0-9]{8}$`)
	stateForm    = regexp.MustCompile(`^[A-Z]{2}$`)
	mailForm     = regexp.MustCompile(`^[^\s@]+@[^\s@]+\.[^\s@]+$`)
)

// problem is what is wrong with a field of the payer. It does not quote it.
type problem struct{ field, problem, remedy string }

// checkPayer checks the fields that are there.
func checkPayer(p providers.Payer) []problem {
	var found []problem
	text := func(field, value string) {
		if value != "" && !settings.IsText(value, 255) {
			found = append(found, problem{field, "longer than 255 characters, or not plain text", ""})
		}
	}
	form := func(field, value string, ok bool, want string) {
		if value != "" && !ok {
			found = append(found, problem{field, "not " + want, ""})
		}
	}
	text("name", p.Name.Reveal())
	text("address", p.Address.Reveal())
	text("district", p.District.Reveal())
	text("city", p.City.Reveal())
	form("state", p.State, stateForm.MatchString(p.State), "two capital letters")
	form("postcode", p.Postcode.Reveal(), postcodeForm.MatchString(p.Postcode.Reveal()), "eight digits")
	form("email", p.Email.Reveal(), len(p.Email.Reveal()) <= 255 && mailForm.MatchString(p.Email.Reveal()), "an e-mail address")
	document := p.Document.Reveal()
	form("document", document, pix.ValidCPF(document) || pix.ValidCNPJ(document), "a CPF or CNPJ: wrong length or check digits")
	return found
}

// payerOf takes the call's payer if it has any field, else the configuration's: two
// people are never mixed.
func payerOf(call, defaults providers.Payer) providers.Payer {
	if call == (providers.Payer{}) {
		return defaults
	}
	return call
}
