// Package brcode is what adapters check in a code that a provider returned,
// before anybody sees it: what a payer's app would act on must be what was
// asked for.
package brcode

import (
	"errors"
	"net/url"
	"slices"
	"strings"

	"github.com/ssg-safe/agent/money"
	"github.com/ssg-safe/agent/pix"
)

// Want is what a code must be.
type Want struct {
	// Amount is that of the charge; a code that states none passes.
	Amount money.Amount
	// Key is the key a static code may be for; empty: no static code will do.
	Key string
	// Hosts are the hosts a dynamic code's location may have; none: any.
	Hosts []string
	// Location is the location a dynamic code must lead to, with or without a
	// scheme; empty: any.
	Location string
}

// Check returns what is wrong with a received code: its form (checksum, GUI and
// the rest of the lenient reader's errors), another amount than the charge's,
// a location elsewhere, a key that is not ours, or a purpose beyond one payment
// (recurrence, withdrawal). Empty: fit to be shown. (Manual do BR Code.)
func Check(text string, w Want) []string {
	code, err := pix.Parse(text)
	if err != nil {
		problems, ok := errors.AsType[pix.Problems](err)
		if !ok {
			return []string{err.Error()}
		}
		var found []string
		for _, p := range problems {
			found = append(found, p.Error())
		}
		return found
	}
	var found []string
	if code.Amount != "" {
		if cents, ok := code.Cents(); !ok || cents != w.Amount {
			found = append(found, "tag 54: the code's amount is not the charge's")
		}
	}
	switch {
	case code.URL != "":
		found = append(found, CheckLocation(code.URL, w.Hosts)...)
		if w.Location != "" && Bare(code.URL) != Bare(w.Location) {
			found = append(found, "tag 26-25: the code leads elsewhere than the answer's own location")
		}
	case w.Key == "":
		found = append(found, "tag 26-01: a static code, which can be paid again and again and settles no charge")
	case !sameKey(code.Key, w.Key):
		found = append(found, "tag 26-01: a static code for a key that is not ours")
	}
	if code.RecURL != "" {
		found = append(found, "tag 80: the code would subscribe the payer to a recurrence")
	}
	if code.Facilitator != "" {
		found = append(found, "tag 26-03: the code is for a cash withdrawal")
	}
	return found
}

// CheckLocation returns what is wrong with a location by itself: no bare host,
// or one that is not among hosts (none: any).
func CheckLocation(location string, hosts []string) []string {
	host := Host(location)
	if host == "" || (len(hosts) > 0 && !slices.ContainsFunc(hosts, func(h string) bool { return strings.EqualFold(h, host) })) {
		return []string{"tag 26-25: the location's host is not in location_hosts"}
	}
	return nil
}

// Bare is a location as codes carry it, without a scheme.
func Bare(location string) string {
	if _, rest, ok := strings.Cut(location, "://"); ok {
		return rest
	}
	return location
}

// Host is the bare host of a location, empty if it has none; a port or
// credentials in it are not bare.
func Host(location string) string {
	u, err := url.Parse("https://" + Bare(location))
	if err != nil || u.User != nil || u.Port() != "" {
		return ""
	}
	return u.Hostname()
}

// Showable is the least that any code must be: printable ASCII of a length
// that fits a BR Code.
func Showable(code string) bool {
	return len(code) <= 512 && !strings.ContainsFunc(code, func(r rune) bool { return r < ' ' || r > '~' })
}

func sameKey(a, b string) bool {
	x, errX := pix.RecogniseKey(a)
	y, errY := pix.RecogniseKey(b)
	return errX == nil && errY == nil && x == y
}
