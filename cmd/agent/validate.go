package main

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"github.com/ssg-safe/agent/exposure"
	"github.com/ssg-safe/agent/internal/config"
	"github.com/ssg-safe/agent/pix"
	"github.com/ssg-safe/agent/printer"
	"github.com/ssg-safe/agent/zone"
)

// problems collects what Validate finds.
type problems []config.Problem

func (ps *problems) fail(path, message, remedy string) {
	*ps = append(*ps, config.Problem{Severity: config.Error, Path: path, Message: message, Remedy: remedy})
}

func (ps *problems) warn(path, message, remedy string) {
	*ps = append(*ps, config.Problem{Severity: config.Warning, Path: path, Message: message, Remedy: remedy})
}

// Validate checks what the schema cannot say: forms, check digits, references
// and what belongs together. Missing values are the schema's business; an empty
// one is passed over here. Problems are named by path and never repeat keys,
// documents or secrets.
func (c Config) Validate() []config.Problem {
	var ps problems
	switch {
	case c.Version > 1:
		ps.fail("version", fmt.Sprintf("version %d is for a later agent; this one reads version 1", c.Version), "update the agent; what else is reported here may come from that")
	case c.Version < 1:
		ps.fail("version", "there is no such version", "write version = 1")
	}
	absolute(&ps, "data", c.Data)
	c.Terminal.validate(&ps)
	seen := map[string]string{}
	for i, p := range c.Providers {
		at := fmt.Sprintf("provider[%d]", i)
		p.validate(&ps, at)
		unique(&ps, seen, "provider "+p.Name, at, "name")
	}
	for i, m := range c.Merchants {
		at := fmt.Sprintf("merchant[%d]", i)
		m.validate(&ps, at)
		unique(&ps, seen, "merchant "+m.ID, at, "id")
		c.routes(&ps, m, at)
	}
	c.Offline.validate(&ps)
	c.Reconcile.validate(&ps)
	c.Printer.validate(&ps)
	c.Fleet.validate(&ps)
	c.API.validate(&ps)
	c.Facade.validate(&ps, c)
	c.validateOperators(&ps)
	absolute(&ps, "display.tty", c.Display.TTY)
	if c.Display.TTY != "" && c.Display.TTY == c.Printer.Path {
		ps.fail("printer.path", "is the display's tty", "give printer and display devices of their own")
	}
	absolute(&ps, "archive.dir", c.Archive.Dir)
	if c.Archive.Dir != "" && filepath.Clean(c.Archive.Dir) == filepath.Clean(c.Data) {
		ps.fail("archive.dir", "is the data folder itself", "give the copy a folder of its own, best on another device")
	}
	return ps
}

// absolute refuses paths that depend on where the agent was started.
func absolute(ps *problems, at, path string) {
	if path != "" && !filepath.IsAbs(path) {
		ps.fail(at, "is not an absolute path", "write the whole path, from / on")
	}
}

// unique refuses a second table of a name, "merchant loja".
func unique(ps *problems, seen map[string]string, name, at, key string) {
	first, ok := seen[name]
	switch {
	case strings.HasSuffix(name, " "): // it has none
	case ok:
		ps.fail(at+"."+key, fmt.Sprintf("is that of %s already", first), "give each a name of its own")
	default:
		seen[name] = at
	}
}

var (
	terminalCode = regexp.MustCompile(`^[A-Z0-9]{4}$`)
	plainName    = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,31}$`)
	ttyNumber    = regexp.MustCompile(`^/dev/tty(USB|ACM)[0-9]+$`)
)

const plainNameRemedy = "write 1 to 32 small letters, digits and hyphens, beginning with a letter or digit"

func (t TerminalConfig) validate(ps *problems) {
	if t.Code != "" && !terminalCode.MatchString(t.Code) {
		ps.fail("terminal.code", "is not 4 capital letters (A-Z) and digits", `write it as it was assigned: code = "T001"`)
	}
	if t.MinAmount > t.MaxAmount {
		ps.fail("terminal.min_amount", fmt.Sprintf("%s is more than max_amount, %s", t.MinAmount.BRL(), t.MaxAmount.BRL()), "no charge could be made: lower one or raise the other")
	}
}

func (m MerchantConfig) validate(ps *problems, at string) {
	if m.ID != "" && !plainName.MatchString(m.ID) {
		ps.fail(at+".id", "is not a plain name", plainNameRemedy)
	}
	validateCNPJ(ps, at, m.CNPJ)
	m.validateCode(ps, at)
	for i, line := range m.Header {
		if len([]rune(line)) > 48 {
			ps.fail(fmt.Sprintf("%s.header[%d]", at, i), "is longer than 48 characters, the width of 80 mm paper", "write it as two lines")
		}
	}
	if _, err := zone.Load(m.TimeZone); err != nil {
		ps.fail(at+".time_zone", "is no time zone that this machine knows", `write an IANA name: "America/Sao_Paulo", "America/Manaus", "America/Rio_Branco", "America/Noronha"; zones outside Brazil need the machine's zone database (Debian: tzdata)`)
	}
}

// validate checks that limits and policy belong together.
func (r ReconcileConfig) validate(ps *problems) {
	if !plainName.MatchString(r.Owner) {
		ps.fail("reconcile.owner", "is not a plain name", plainNameRemedy)
	}
}

func (o OfflineConfig) validate(ps *problems) {
	limits := []struct {
		key   string
		unset bool
	}{{"per_charge", o.PerCharge == 0}, {"sum", o.Sum == 0}, {"count", o.Count == 0}, {"age", o.Age == 0}}
	for _, l := range limits {
		switch releases := o.Policy == string(exposure.ReleaseUpTo); {
		case releases && l.unset:
			ps.fail("offline."+l.key, `is 0: with policy = "release_up_to" nothing would ever leave`, "set all four limits, or write policy = \"hold\"")
		case !releases && !l.unset:
			ps.warn("offline."+l.key, fmt.Sprintf("has no effect with policy = %q", o.Policy), `remove it, or write policy = "release_up_to"`)
		}
	}
	if o.PerCharge > o.Sum && o.Sum > 0 {
		ps.warn("offline.per_charge", "is more than sum", "lower it, or raise sum")
	}
}

// validateCNPJ checks a company's number; an empty one is passed over.
func validateCNPJ(ps *problems, at, cnpj string) {
	switch {
	case cnpj == "" || pix.ValidCNPJ(cnpj):
	case pix.ValidCNPJ(strings.NewReplacer(".", "", "/", "", "-", "").Replace(cnpj)):
		ps.fail(at+".cnpj", "has punctuation", "write the 14 characters alone")
	case len(cnpj) == 14:
		ps.fail(at+".cnpj", "is no CNPJ: its check digits are wrong", "compare it with the company's registration")
	default:
		ps.fail(at+".cnpj", fmt.Sprintf("is no CNPJ: %d characters", len([]rune(cnpj))), "write 14 digits or capital letters, with all zeros and without punctuation")
	}
}

// validateCode checks what goes into a BR Code, by the rules of the encoder.
func (m MerchantConfig) validateCode(ps *problems, at string) {
	const anyKey = "5f0e6d4c-0000-0000-0000-000000000000"
	_, err := pix.Static{Key: anyKey, Name: m.Name, City: m.City}.Encode()
	if faults, ok := errors.AsType[pix.Problems](err); ok {
		for _, p := range faults {
			switch {
			case p.Tag == "59" && m.Name != "":
				ps.fail(at+".name", "does not fit into a code: found "+p.Found, "write "+p.Want)
			case p.Tag == "60" && m.City != "":
				ps.fail(at+".city", "does not fit into a code: found "+p.Found, "write "+p.Want)
			}
		}
	}
	if key, ok := validateKey(ps, at, m.PixKey); ok && foreign(key, m.CNPJ) {
		ps.warn(at+".pix_key", "is the CNPJ of another company than the merchant's", "check both: payers see the name of the key's owner")
	}
}

// validateKey checks a PIX key; false where there is none, or none that is valid.
func validateKey(ps *problems, at, text string) (pix.Key, bool) {
	if text == "" {
		return pix.Key{}, false
	}
	key, err := pix.RecogniseKey(text)
	if p, ok := errors.AsType[pix.Problem](err); ok {
		ps.fail(at+".pix_key", "is no PIX key: found "+p.Found, "write "+p.Want)
	}
	return key, err == nil
}

// foreign reports whether a key is by its own form another company's.
func foreign(key pix.Key, cnpj string) bool {
	return key.Type == pix.KeyCNPJ && pix.ValidCNPJ(cnpj) && key.Raw()[:8] != cnpj[:8]
}

func (p ProviderConfig) validate(ps *problems, at string) {
	validateCNPJ(ps, at, p.CNPJ)
	if p.Name != "" && !plainName.MatchString(p.Name) {
		ps.fail(at+".name", "is not a plain name", plainNameRemedy)
	}
	if f, err := familyOf(p.Type); err == nil { // the schema reports another word
		ps.tables(p, at)
		f.check(ps, p, at)
	}
}

// isLoopback reports whether a host is this machine.
func isLoopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

func (p PrinterConfig) validate(ps *problems) {
	if _, err := printer.ProfileByName(p.Profile); err != nil {
		var names []string
		for _, known := range printer.Profiles() {
			names = append(names, fmt.Sprintf("%q", known.Name))
		}
		ps.fail("printer.profile", fmt.Sprintf("%q is not known", p.Profile), "there are: "+strings.Join(names, ", "))
	}
	absolute(ps, "printer.path", p.Path)
	switch p.Kind {
	case "serial", "usb", "file":
		if p.Path == "" {
			ps.fail("printer.path", fmt.Sprintf("is missing: kind = %q needs it", p.Kind), `add path = "…" under [printer]`)
		}
		if ttyNumber.MatchString(p.Path) {
			ps.warn("printer.path", "this name goes to another device when plugs are swapped", "use a name in /dev/serial/by-id/, or one that a udev rule makes")
		}
	case "tcp":
		host, port, err := net.SplitHostPort(p.Address)
		n, perr := strconv.ParseUint(port, 10, 16)
		switch {
		case p.Address == "":
			ps.fail("printer.address", `is missing: kind = "tcp" needs it`, `add address = "192.168.1.50:9100" under [printer]`)
		case err != nil || perr != nil || host == "" || n == 0:
			ps.fail("printer.address", "is not host and port", `write address = "192.168.1.50:9100"`)
		}
	case "none":
		if p.Path != "" || p.Address != "" {
			ps.warn("printer.kind", `a printer is described, but kind = "none": nothing is printed`, "write its kind")
		}
	}
}
