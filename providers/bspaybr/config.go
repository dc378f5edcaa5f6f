package bspaybr

import (
	"fmt"
	"net/url"
	"strings"

	"github.com/ssg-safe/agent/pix"
	"github.com/ssg-safe/agent/providers"
	"github.com/ssg-safe/agent/providers/internal/settings"
	"github.com/ssg-safe/agent/redact"
)

// Words of the configuration.
const (
	// CheckStrict refuses a code that does not pass its check with a Security
	// error; the default. CheckWarn returns it with Charge.Warnings.
	CheckStrict = "strict"
	CheckWarn   = "warn"
	// StatusGet (the default) and StatusPost are how the status is asked for.
	StatusGet  = "get"
	StatusPost = "post"
	// AuthHeaders (the default) sends the credentials with status questions, in the
	// headers ci and cs, which the script's other users know; AuthNone sends none.
	AuthHeaders = "ci_cs"
	AuthNone    = "none"
)

// DefaultStatusPath is the document's.
const DefaultStatusPath = "/libs/consult/transaction_status"

// Config is the adapter's configuration: one account. A FieldError of
// [Config.Validate] names a field by the word in parentheses.
type Config struct {
	// URL (url) is where the API is: "https://bspaybr.com", or another company's
	// host.
	URL string
	// AllowInsecureHTTP (allow_insecure_http) permits an http:// URL.
	AllowInsecureHTTP bool
	// ClientID and ClientSecret (client_id, client_secret) go with every request.
	// Whoever holds them can send the account's money away.
	ClientID     string
	ClientSecret redact.Secret
	// CallbackURL (bspaybr.callback_url) is below which address the provider calls:
	// the hub's public one. The provider demands it; nothing need answer there.
	CallbackURL string
	// CallbackKey (bspaybr.callback_key) is what callback addresses are made with.
	// Empty: ClientSecret; then a new secret makes the provider's answers about
	// charges of the old one look like somebody else's.
	CallbackKey redact.Secret
	// StatusMethod (bspaybr.status_method), StatusPath (bspaybr.status_path) and
	// StatusAuth (bspaybr.status_auth) are how the status is asked for; empty: the
	// defaults above.
	StatusMethod, StatusPath, StatusAuth string
	// Payer (payer) is who pays where the charge does not say: name and CPF, which
	// the provider demands. Put here only data it has accepted in writing.
	Payer providers.Payer
	// LocationHosts (allowed_hosts) are the hosts that the location of a code may
	// have; empty: any.
	LocationHosts []string
	// CodeCheck (brcode_check) is CheckStrict (default) or CheckWarn.
	CodeCheck string
	// UserAgent (bspaybr.user_agent) is sent with every request; empty:
	// providers.DefaultUserAgent.
	UserAgent string
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
		ps.Add("client_id", "missing", "the provider gives it out with the account")
	}
	if c.ClientSecret == "" {
		ps.Add("client_secret", "missing", "name the file or variable that holds it")
	}
	if strings.ContainsFunc(c.ClientID+c.ClientSecret.Reveal(), func(r rune) bool { return r <= ' ' || r > '~' }) {
		ps.Add("client_id", "id or secret hold a space or another character that no header can carry", "copy both again")
	}
	if u, err := url.Parse(c.CallbackURL); err != nil || u.Scheme != "https" || u.Hostname() == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		ps.Add("bspaybr.callback_url", "not a public https address", "write the hub's address, such as https://hub.example.com/wh/bspaybr: the provider makes no charge without one")
	}
	ps.Word("bspaybr.status_method", c.StatusMethod, StatusGet, StatusPost)
	ps.Word("bspaybr.status_auth", c.StatusAuth, AuthHeaders, AuthNone)
	if c.StatusPath != "" && !isPath(c.StatusPath) {
		ps.Add("bspaybr.status_path", "not a path", "write it like "+DefaultStatusPath)
	}
	payer := c.Payer
	for _, p := range checkPayer(&payer) {
		ps.Add("payer."+p.field, p.problem, p.remedy)
	}
	ps.Hosts("allowed_hosts", c.LocationHosts)
	ps.Word("brcode_check", c.CodeCheck, CheckStrict, CheckWarn)
	ps.Agent(c.UserAgent)
	return ps.Err()
}

func isPath(s string) bool {
	u, err := url.Parse(s)
	return err == nil && strings.HasPrefix(s, "/") && u.Host == "" && u.RawQuery == "" && !u.ForceQuery && u.Fragment == ""
}

// payerProblem names a field, never its value.
type payerProblem struct{ field, problem, remedy string }

// checkPayer looks at the fields that are sent, and takes the punctuation out of
// the document.
func checkPayer(p *providers.Payer) []payerProblem {
	var problems []payerProblem
	p.Document = redact.Document(bare(p.Document.Reveal()))
	if name := p.Name.Reveal(); name != "" && !settings.IsText(name, 255) {
		problems = append(problems, payerProblem{"name", "longer than 255 characters, or not plain text", ""})
	}
	switch d := p.Document.Reveal(); {
	case d == "" || pix.ValidCPF(d):
	case pix.ValidCNPJ(d):
		problems = append(problems, payerProblem{"document", "a CNPJ, where the provider asks for a CPF", "use a person's data, or another provider for this payer"})
	default:
		problems = append(problems, payerProblem{"document", "not a CPF: wrong length or check digits", ""})
	}
	return problems
}

// bare is a document without punctuation.
func bare(document string) string {
	return strings.NewReplacer(".", "", "-", "", "/", "", " ", "").Replace(document)
}

// payerOf takes name and document together, from the call if that has either of
// them, else from the configuration.
func payerOf(call, defaults providers.Payer) providers.Payer {
	if call.Name == "" && call.Document == "" {
		call = defaults
	}
	return providers.Payer{Name: call.Name, Document: call.Document}
}
