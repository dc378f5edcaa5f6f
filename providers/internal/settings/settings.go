// Package settings checks what the configurations of adapters have in common:
// the base address, the hosts of codes, how their agent calls itself and how
// often it asks. Problems are [providers.FieldError]s and name no secret.
package settings

import (
	"errors"
	"net/url"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/ssg-safe/agent/providers"
)

// Problems collects what is wrong. The zero value is empty.
type Problems struct{ errs []error }

// Add reports one problem. An empty remedy is allowed.
func (p *Problems) Add(field, problem, remedy string) {
	p.errs = append(p.errs, &providers.FieldError{Field: field, Problem: problem, Remedy: remedy})
}

// Err joins all problems; nil without any.
func (p *Problems) Err() error { return errors.Join(p.errs...) }

// URL checks an address with an optional path: https, or http where insecure
// is true, without credentials, query and fragment.
func (p *Problems) URL(field, address string, insecure bool) {
	if address == "" {
		p.Add(field, "missing", "")
		return
	}
	u, err := url.Parse(address)
	switch {
	case err != nil || u.Host == "" || u.Opaque != "":
		p.Add(field, "not a URL", "write it like https://host/path")
	case u.User != nil:
		p.Add(field, "holds credentials", "put them into client_id and client_secret")
	case u.RawQuery != "" || u.Fragment != "" || u.ForceQuery:
		p.Add(field, "has a query or a fragment", "end it after the path")
	case u.Scheme == "http" && !insecure:
		p.Add(field, "plain HTTP", "use https, or a VPN with allow_insecure_http = true")
	case u.Scheme != "http" && u.Scheme != "https":
		p.Add(field, "unknown scheme "+Quote(u.Scheme), "use https")
	}
}

var hostForm = regexp.MustCompile(`^[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?$`)

// Hosts checks bare host names.
func (p *Problems) Hosts(field string, hosts []string) {
	for _, h := range hosts {
		if !hostForm.MatchString(strings.ToLower(h)) {
			p.Add(field, "not a bare host name: "+Quote(h), "write it like pix.example.com, without scheme, port or path")
		}
	}
}

// Word checks one of a few words; empty is allowed.
func (p *Problems) Word(field, word string, words ...string) {
	var quoted []string
	for _, w := range words {
		if word == w {
			return
		}
		quoted = append(quoted, `"`+w+`"`)
	}
	if word != "" {
		p.Add(field, "unknown word "+Quote(word), "use "+strings.Join(quoted, " or "))
	}
}

// Agent checks the name that requests carry.
func (p *Problems) Agent(agent string) {
	if strings.ContainsFunc(agent, func(r rune) bool { return r < ' ' || r > '~' }) {
		p.Add("user_agent", "not printable ASCII", "")
	}
}

// Quote shows a configured word that is no secret.
func Quote(s string) string { return `"` + providers.Hidden{}.Clean(s) + `"` }

// IsText reports whether s is plain text: printable, not blank, of at most so many
// characters.
func IsText(s string, most int) bool {
	return utf8.ValidString(s) && utf8.RuneCountInString(s) <= most && strings.TrimSpace(s) != "" &&
		!strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) })
}
