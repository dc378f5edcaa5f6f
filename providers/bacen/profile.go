package bacen

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/pelletier/go-toml/v2"

	"github.com/ssg-safe/agent/providers"
)

// How the credentials travel to the token address.
const (
	AuthBasic = "basic" // in the header of HTTP Basic
	AuthForm  = "form"  // as fields of the form
)

// The placeholders that a header or query value of a profile may hold.
const (
	placeholderAppKey   = "{app_key}"
	placeholderClientID = "{client_id}"
)

// Profile is how a bank differs from others: data, never code. Its TOML form is
// explained in profiles/generic.toml. It holds no credentials.
type Profile struct {
	// Version is that of the form, 1.
	Version int `toml:"version"`
	// Name is what configurations call it, Description says what it is for.
	Name        string `toml:"name"`
	Description string `toml:"description"`
	// URL is the API's address, path and all; empty: the configuration says.
	URL string `toml:"url"`
	// TokenURL is where tokens come from; one that begins with "/" is a path at
	// the API's host.
	TokenURL string `toml:"token_url"`
	// TokenAuth is AuthBasic or AuthForm.
	TokenAuth string `toml:"token_auth"`
	// Scopes are asked for with the token; none: the parameter is left out.
	Scopes []string `toml:"scopes"`
	// MutualTLS demands a client certificate.
	MutualTLS bool `toml:"mutual_tls"`
	// Headers and Query are added to every request but the token's. Their values
	// may hold {app_key} and {client_id}.
	Headers map[string]string `toml:"headers"`
	Query   map[string]string `toml:"query"`
	// PageSize is how many rows of a list are asked for at once, MaxWindow the
	// longest time that one list may cover; 0: any.
	PageSize  int      `toml:"page_size"`
	MaxWindow Duration `toml:"max_window"`
	// StaticTxID says that the bank lists payments of static codes by their txid.
	StaticTxID bool `toml:"static_txid"`
}

// Duration is a time span with its unit in files, "744h".
type Duration time.Duration

// UnmarshalText reads a duration.
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	if err != nil {
		return errors.New(`not a duration with a unit, such as "744h"`)
	}
	*d = Duration(v)
	return nil
}

//go:embed profiles/*.toml
var embedded embed.FS

// Profiles returns the profiles that are built in, by name.
func Profiles() []Profile {
	files, err := embedded.ReadDir("profiles")
	if err != nil {
		panic(err) // embedded
	}
	var all []Profile
	for _, f := range files {
		name := strings.TrimSuffix(f.Name(), ".toml")
		p, err := LoadProfile(name)
		if err != nil {
			panic(err) // embedded, and tested
		}
		all = append(all, p)
	}
	return all
}

// LoadProfile returns the built-in profile of a name, or reads the file at an
// absolute path. The error says what is wrong where.
func LoadProfile(name string) (Profile, error) {
	if filepath.IsAbs(name) {
		text, err := os.ReadFile(name)
		if err != nil {
			return Profile{}, fmt.Errorf("read profile: %w", err)
		}
		return ParseProfile(name, text)
	}
	file := name + ".toml"
	text, err := embedded.ReadFile("profiles/" + file)
	if err != nil {
		var names []string
		for _, p := range Profiles() {
			names = append(names, p.Name)
		}
		return Profile{}, fmt.Errorf("no profile %q: there are %s, or the absolute path of a file", name, strings.Join(names, ", "))
	}
	return ParseProfile(file, text)
}

// ParseProfile reads a profile; name is its file's, for errors. What it does not
// say is as in the standard: token at /oauth/token by HTTP Basic, scopes of the
// receiving part, client certificate, pages of 100, windows of any length,
// static codes found by txid. Unknown keys are errors.
func ParseProfile(name string, text []byte) (Profile, error) {
	p := Profile{
		TokenURL: "/oauth/token", TokenAuth: AuthBasic, Scopes: []string{"cob.read", "cob.write", "pix.read"},
		MutualTLS: true, PageSize: 100, StaticTxID: true,
	}
	d := toml.NewDecoder(bytes.NewReader(text)).DisallowUnknownFields()
	if err := d.Decode(&p); err != nil {
		var errs []error
		if unknown, ok := errors.AsType[*toml.StrictMissingError](err); ok {
			for i := range unknown.Errors {
				line, column := unknown.Errors[i].Position()
				errs = append(errs, fmt.Errorf("%s:%d:%d: unknown key %s", name, line, column, strings.Join(unknown.Errors[i].Key(), ".")))
			}
			return Profile{}, errors.Join(errs...)
		}
		if bad, ok := errors.AsType[*toml.DecodeError](err); ok {
			line, column := bad.Position()
			return Profile{}, fmt.Errorf("%s:%d:%d: %w", name, line, column, err)
		}
		return Profile{}, fmt.Errorf("%s: %w", name, err)
	}
	var errs []error
	for _, e := range p.problems() {
		errs = append(errs, fmt.Errorf("%s: %w", name, e))
	}
	if err := errors.Join(errs...); err != nil {
		return Profile{}, err
	}
	return p, nil
}

var (
	profileName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,31}$`)
	scopeForm   = regexp.MustCompile(`^[!#-\[\]-~]+$`) // RFC 6749, 3.3
	headerForm  = regexp.MustCompile(`^[A-Za-z0-9-]+$`)
	queryForm   = regexp.MustCompile(`^[A-Za-z0-9._-]+$`)
	placeholder = regexp.MustCompile(`\{[^{}]*\}`)
)

// ours are the headers that a profile cannot set: the adapter's own, and those
// on which net/http would repeat a request by itself.
var ours = []string{
	"Accept", "Accept-Encoding", "Authorization", "Connection", "Content-Length", "Content-Type", "Cookie", "Host",
	"Idempotency-Key", "Transfer-Encoding", "User-Agent", "X-Idempotency-Key",
}

// problems are what is wrong with the profile by itself.
func (p Profile) problems() []*providers.FieldError {
	var all []*providers.FieldError
	wrong := func(field, problem, remedy string) {
		all = append(all, &providers.FieldError{Field: field, Problem: problem, Remedy: remedy})
	}
	if p.Version != 1 {
		wrong("version", "not 1", "write version = 1")
	}
	if !profileName.MatchString(p.Name) {
		wrong("name", "not a plain name", "write small letters, digits and hyphens")
	}
	if p.URL != "" && !strings.HasPrefix(p.URL, "https://") {
		wrong("url", "not an https:// address", "write the bank's, or leave it to the configuration")
	}
	if !strings.HasPrefix(p.TokenURL, "https://") && !strings.HasPrefix(p.TokenURL, "/") {
		wrong("token_url", "neither an https:// address nor a path", `write "/oauth/token" or the whole address`)
	}
	if p.TokenAuth != AuthBasic && p.TokenAuth != AuthForm {
		wrong("token_auth", "unknown word "+quote(p.TokenAuth), `use "basic" or "form"`)
	}
	for _, s := range p.Scopes {
		switch {
		case !scopeForm.MatchString(s):
			wrong("scopes", "not a scope: "+quote(s), "write each one by itself")
		case strings.HasPrefix(s, "pix.") && strings.Contains(s, "write"):
			wrong("scopes", quote(s)+" can give money back", "leave it out: a terminal only receives")
		}
	}
	for _, set := range []struct {
		field  string
		values map[string]string
		form   *regexp.Regexp
	}{{"headers", p.Headers, headerForm}, {"query", p.Query, queryForm}} {
		for name, value := range set.values {
			field := set.field + "." + name
			switch {
			case !set.form.MatchString(name):
				wrong(field, "not a plain name", "")
			case set.field == "headers" && slices.Contains(ours, http.CanonicalHeaderKey(name)):
				wrong(field, "not for a profile to set", "leave it out")
			case set.field == "query" && (strings.HasPrefix(name, "paginacao.") || slices.Contains([]string{"inicio", "fim", "txid"}, name)):
				wrong(field, "a parameter of the standard", "leave it out")
			}
			if strings.ContainsFunc(value, func(r rune) bool { return r < ' ' || r > '~' }) {
				wrong(field, "not printable ASCII", "")
			}
			for _, found := range placeholder.FindAllString(value, -1) {
				if found != placeholderAppKey && found != placeholderClientID {
					wrong(field, "unknown placeholder "+quote(found), "there are {app_key} and {client_id}")
				}
			}
		}
	}
	if p.PageSize < 1 || p.PageSize > 1000 {
		wrong("page_size", "outside 1–1000", "leave it out for 100")
	}
	if d := time.Duration(p.MaxWindow); d != 0 && d < time.Hour {
		wrong("max_window", "below one hour", `write "24h" or more, or leave it out`)
	}
	slices.SortStableFunc(all, func(a, b *providers.FieldError) int { return strings.Compare(a.Field, b.Field) })
	return all
}

// wants reports whether a header or query key holds a placeholder.
func (p Profile) wants(what string) bool {
	for _, values := range []map[string]string{p.Headers, p.Query} {
		for _, v := range values {
			if strings.Contains(v, what) {
				return true
			}
		}
	}
	return false
}
