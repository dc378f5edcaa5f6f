package ssg

import (
	"errors"
	"net/url"
	"slices"
	"strings"

	"github.com/ssg-safe/agent/money"
	"github.com/ssg-safe/agent/pix"
)

// checkCode returns what is wrong with a received code: its form (checksum,
// GUI and the rest of the lenient reader's errors), another amount than the
// charge's, a location at a host that is not allowed, a key that is not ours,
// or a purpose beyond one payment (recurrence, withdrawal). Empty: fit to be
// shown. (reference: Manual do BR Code; what a payer's app would act on.)
func checkCode(text string, amount money.Amount, key string, hosts []string) []string {
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
		if cents, ok := code.Cents(); !ok || cents != amount {
			found = append(found, "tag 54: the code's amount is not the charge's")
		}
	}
	switch {
	case code.URL != "":
		if host := locationHost(code.URL); host == "" || (len(hosts) > 0 && !slices.ContainsFunc(hosts, func(h string) bool { return strings.EqualFold(h, host) })) {
			found = append(found, "tag 26-25: the location's host is not in location_hosts")
		}
	case !sameKey(code.Key, key):
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

// locationHost is the bare host of a location, empty if it has none; a port or
// credentials in it are not bare.
func locationHost(location string) string {
	if !strings.Contains(location, "://") {
		location = "https://" + location
	}
	u, err := url.Parse(location)
	if err != nil || u.User != nil || u.Port() != "" {
		return ""
	}
	return u.Hostname()
}

func sameKey(a, b string) bool {
	x, errX := pix.RecogniseKey(a)
	y, errY := pix.RecogniseKey(b)
	return errX == nil && errY == nil && x == y
}
