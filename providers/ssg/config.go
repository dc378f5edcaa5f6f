package ssg

import (
	"cmp"
	"fmt"
	"net/mail"
	"regexp"
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

// Config is the adapter's configuration, the table of one SSG account. Struct
// tags give the names used in files.
type Config struct {
	// BaseURL is where the middleware is, such as "https://pix.example/ssg"; a
	// path is kept as a prefix.
	BaseURL string `toml:"base_url"`
	// AllowInsecureHTTP permits an http:// BaseURL, over which credentials and
	// payers' data travel in the clear. The document's own host is of this kind:
	// put a VPN or a TLS proxy in front of it.
	AllowInsecureHTTP bool `toml:"allow_insecure_http"`
	// ClientID and ClientSecret buy the token. Any holder of them can mark
	// charges paid (the API's PATCH), not only this adapter, which never does.
	ClientID     string        `toml:"client_id"`
	ClientSecret redact.Secret `toml:"client_secret"`
	// AccountID is the account (a UUID) of charges whose Intent names none.
	AccountID string `toml:"account_id"`
	// Payer holds defaults for payer fields, which the API all requires. Put
	// here only data the provider has accepted in writing. A field group (name
	// with document; e-mail; the address fields together) is taken from the
	// Intent as soon as that has any of it, and never mixed.
	Payer providers.Payer `toml:"payer"`
	// LocationHosts are the hosts that the location of a dynamic code may have;
	// empty: any.
	LocationHosts []string `toml:"location_hosts"`
	// CodeCheck is CheckStrict (default) or CheckWarn.
	CodeCheck string `toml:"code_check"`
	// UserAgent is sent with every request; empty: providers.DefaultUserAgent.
	UserAgent string `toml:"user_agent"`
	// Now is the wall clock, from which data_expiracao is counted; nil:
	// time.Now. Token life never depends on it.
	Now func() time.Time `toml:"-"`
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
	wrong := ps.Add
	ps.URL("base_url", c.BaseURL, c.AllowInsecureHTTP)
	if c.ClientID == "" {
		wrong("client_id", "missing", "ask SSG for the client credentials of this installation")
	}
	if c.ClientSecret == "" {
		wrong("client_secret", "missing", "name the file or variable that holds it")
	}
	if c.AccountID != "" && !isUUID(c.AccountID) {
		wrong("account_id", "not a UUID", "copy it whole, 8-4-4-4-12 hexadecimal digits")
	}
	payer := c.Payer
	for _, p := range checkPayer(&payer, false) {
		wrong("payer."+p.field, p.problem, p.remedy)
	}
	groups(c.Payer, func(group []payerField, given int) {
		for _, f := range group {
			if given > 0 && f.value == "" {
				wrong("payer."+f.name, "missing while others of its group are set", "set all of "+names(group)+" or none")
			}
		}
	})
	ps.Hosts("location_hosts", c.LocationHosts)
	ps.Word("code_check", c.CodeCheck, CheckStrict, CheckWarn)
	ps.Agent(c.UserAgent)
	return ps.Err()
}

// payerField is a payer field by its configuration name.
type payerField struct{ name, value string }

// groups visits the groups of payer fields that are never mixed.
func groups(p providers.Payer, visit func(group []payerField, given int)) {
	for _, group := range [][]payerField{
		{{"name", p.Name.Reveal()}, {"document", p.Document.Reveal()}},
		{{"email", p.Email.Reveal()}},
		{{"address", p.Address.Reveal()}, {"city", p.City.Reveal()}, {"state", p.State}, {"postcode", p.Postcode.Reveal()}},
	} {
		given := 0
		for _, f := range group {
			if f.value != "" {
				given++
			}
		}
		visit(group, given)
	}
}

func names(group []payerField) string {
	all := make([]string, len(group))
	for i, f := range group {
		all[i] = f.name
	}
	return strings.Join(all, ", ")
}

// merge takes each group from the call if the call has any of it, else from
// the defaults.
func merge(call, defaults providers.Payer) providers.Payer {
	if call.Name == "" && call.Document == "" {
		call.Name, call.Document = defaults.Name, defaults.Document
	}
	call.Email = cmp.Or(call.Email, defaults.Email)
	if call.Address == "" && call.City == "" && call.State == "" && call.Postcode == "" {
		call.Address, call.City, call.State, call.Postcode = defaults.Address, defaults.City, defaults.State, defaults.Postcode
	}
	return call
}

// payerProblem names a field, never its value.
type payerProblem struct {
	field, problem, remedy string
	missing                bool
	unsupported            bool // an alphanumeric CNPJ
}

// checkPayer applies the document's rules, and brings p into the form that is
// sent: punctuation of document and postcode removed, state in capitals.
func checkPayer(p *providers.Payer, required bool) []payerProblem {
	var problems []payerProblem
	check := func(field, value string, ok bool, problem, remedy string) {
		switch {
		case value == "" && required:
			problems = append(problems, payerProblem{field: field, problem: "missing", missing: true})
		case value != "" && !ok:
			problems = append(problems, payerProblem{field: field, problem: problem, remedy: remedy})
		}
	}
	text := func(field, value string) {
		check(field, value, settings.IsText(value, 255), "longer than 255 characters, or not plain text", "")
	}
	bare := strings.NewReplacer(".", "", "-", "", "/", "", " ", "")
	p.Document = redact.Document(bare.Replace(p.Document.Reveal()))
	p.Postcode = redact.Text(bare.Replace(p.Postcode.Reveal()))
	p.State = strings.ToUpper(p.State)

	text("name", p.Name.Reveal())
	document := p.Document.Reveal()
	if pix.ValidCNPJ(document) && !allDigits(document) {
		problems = append(problems, payerProblem{
			field: "document", problem: "a CNPJ with letters, which this provider's API cannot carry", unsupported: true,
			remedy: "use another provider for this payer",
		})
	} else {
		check("document", document, allDigits(document) && (pix.ValidCPF(document) || pix.ValidCNPJ(document)),
			"neither CPF nor CNPJ: wrong length or check digits", "")
	}
	email := p.Email.Reveal()
	address, err := mail.ParseAddress(email)
	check("email", email, err == nil && address.Address == email && settings.IsText(email, 255), "not an e-mail address", "")
	text("address", p.Address.Reveal())
	text("city", p.City.Reveal())
	check("state", p.State, len(p.State) == 2 && isUpper(p.State[0]) && isUpper(p.State[1]), "not two letters", "write it like SP")
	check("postcode", p.Postcode.Reveal(), len(p.Postcode) == 8 && allDigits(p.Postcode.Reveal()), "not a CEP of 8 digits", "")
	return problems
}

func allDigits(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r < '0' || r > '9' })
}

func isUpper(b byte) bool { return 'A' <= b && b <= 'Z' }

var uuidForm = regexp.MustCompile(`^[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$`)

func isUUID(s string) bool { return uuidForm.MatchString(s) }
