package bspay

import (
	"fmt"
	"net/mail"
	"net/url"
	"strings"
	"time"

	"github.com/ssg-safe/agent/pix"
	"github.com/ssg-safe/agent/providers"
	"github.com/ssg-safe/agent/providers/internal/settings"
	"github.com/ssg-safe/agent/redact"
)

// What to do when a received code does not pass its check.
const (
	// CheckStrict refuses the code with a Security error; the default.
	CheckStrict = "strict"
	// CheckWarn returns the code with Charge.Warnings, to be shown and alerted.
	CheckWarn = "warn"
)

// Config is the adapter's configuration: one account. A FieldError of
// [Config.Validate] names a field by the word in parentheses.
type Config struct {
	// URL (url) is where the API is: "https://api.bspay.co", or the host of
	// another company of the family, such as "https://api.pixupbr.com".
	URL string
	// AllowInsecureHTTP (allow_insecure_http) permits an http:// URL.
	AllowInsecureHTTP bool
	// ClientID and ClientSecret (client_id, client_secret) buy the token. Terminals
	// get credentials that can only receive.
	ClientID     string
	ClientSecret redact.Secret
	// SigningKey (bspay.signing_key) signs what moves money out of the account.
	// Without it that is refused, which is right for a terminal.
	SigningKey redact.Secret
	// PostbackURL (bspay.postback_url) is where the provider sends webhooks about
	// this terminal's charges: the hub's public address. Empty: none are sent.
	PostbackURL string
	// Payer (payer) is who pays where the charge does not say; name, document and
	// e-mail count. Put here only data the provider has accepted in writing.
	Payer providers.Payer
	// LocationHosts (allowed_hosts) are the hosts that the location of a code may
	// have; empty: any.
	LocationHosts []string
	// CodeCheck (brcode_check) is CheckStrict (default) or CheckWarn.
	CodeCheck string
	// UserAgent (bspay.user_agent) is sent with every request, since accounts may have
	// lists of them; empty: providers.DefaultUserAgent.
	UserAgent string
	// Now is the wall clock, which the provider's own is compared with; nil:
	// time.Now.
	Now func() time.Time
}

// Format prints the configuration, masked, for every verb.
func (c Config) Format(f fmt.State, _ rune) {
	type fields Config // without this method
	fmt.Fprintf(f, "%+v", fields(c))
}

// Validate returns all problems of the configuration, joined, each a
// [providers.FieldError].
func (c Config) Validate() error {
	var ps settings.Problems
	ps.URL("url", c.URL, c.AllowInsecureHTTP)
	if c.ClientID == "" {
		ps.Add("client_id", "missing", "make credentials in the provider's panel")
	}
	if strings.ContainsRune(c.ClientID, ':') {
		ps.Add("client_id", "holds a colon, which HTTP Basic cannot carry", "copy it again")
	}
	if c.ClientSecret == "" {
		ps.Add("client_secret", "missing", "name the file or variable that holds it")
	}
	if c.PostbackURL != "" {
		u, err := url.Parse(c.PostbackURL)
		if err != nil || u.Scheme != "https" || u.Hostname() == "" || u.User != nil || u.Fragment != "" {
			ps.Add("bspay.postback_url", "not a public https address", "write the hub's address, or leave it out: charges are asked about anyway")
		}
	}
	payer := c.Payer
	for _, p := range checkPayer(&payer) {
		ps.Add("payer."+p.field, p.problem, "")
	}
	ps.Hosts("allowed_hosts", c.LocationHosts)
	ps.Word("brcode_check", c.CodeCheck, CheckStrict, CheckWarn)
	ps.Agent(c.UserAgent)
	return ps.Err()
}

// payerProblem names a field, never its value.
type payerProblem struct{ field, problem string }

// checkPayer looks at the fields that are sent, and takes the punctuation out of
// the document.
func checkPayer(p *providers.Payer) []payerProblem {
	var problems []payerProblem
	p.Document = redact.Document(strings.NewReplacer(".", "", "-", "", "/", "", " ", "").Replace(p.Document.Reveal()))
	if name := p.Name.Reveal(); name != "" && !settings.IsText(name, 255) {
		problems = append(problems, payerProblem{"name", "longer than 255 characters, or not plain text"})
	}
	if d := p.Document.Reveal(); d != "" && !pix.ValidCPF(d) && !pix.ValidCNPJ(d) {
		problems = append(problems, payerProblem{"document", "neither CPF nor CNPJ: wrong length or check digits"})
	}
	if e := p.Email.Reveal(); e != "" {
		if a, err := mail.ParseAddress(e); err != nil || a.Address != e || !settings.IsText(e, 255) {
			problems = append(problems, payerProblem{"email", "not an e-mail address"})
		}
	}
	return problems
}

// payerOf takes name and document together, from the call if that has either of
// them, else from the configuration; the e-mail likewise.
func payerOf(call, defaults providers.Payer) providers.Payer {
	p := providers.Payer{Name: call.Name, Document: call.Document, Email: call.Email}
	if p.Name == "" && p.Document == "" {
		p.Name, p.Document = defaults.Name, defaults.Document
		if p.Email == "" {
			p.Email = defaults.Email
		}
	}
	return p
}
