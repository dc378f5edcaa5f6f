package main

import (
	"fmt"
	"strings"

	"github.com/ssg-safe/agent/pix"
)

// routes checks the ways from a merchant to providers: that they are there, and
// that all of them pay him.
func (c Config) routes(ps *problems, m MerchantConfig, at string) {
	if len(m.Routes) == 0 {
		if m.Provider == "" {
			ps.fail(at+".provider", "is missing", `add provider = "…" with the name of a [[provider]], or [[merchant.route]] tables`)
			return
		}
		c.way(ps, m.Ways()[0], at)
		return
	}
	for key, value := range map[string]string{"provider": m.Provider, "account": m.Account} {
		if value != "" {
			ps.fail(at+"."+key, "stands beside [[merchant.route]]: which one counts?", "move it into the first route")
		}
	}
	coded := map[bool]string{}
	seen := map[RouteConfig]int{}
	keys := map[string]string{}
	for i, w := range m.Ways() {
		at := fmt.Sprintf("%s.route[%d]", at, i)
		c.way(ps, w, at)
		m.beneficiary(ps, m.Routes[i], at)
		where := RouteConfig{Provider: w.Provider, Account: w.Account}
		if first, twice := seen[where]; twice && w.Provider != "" {
			ps.fail(at+".provider", fmt.Sprintf("is the same as route[%d]", first), "remove one of them: a provider that cannot is not asked a second time by another name")
		}
		seen[where] = i
		p, _ := c.Provider(w.Provider)
		f, err := familyOf(p.Type)
		if other := coded[!f.codeless]; err == nil && other != "" {
			ps.fail(at+".provider", fmt.Sprintf("makes charges of another kind than %s: with a code on the screen, and without", other), "give the merchant routes of one kind")
		} else if err == nil {
			coded[f.codeless] = p.Name
		}
		if err == nil && f.keyed {
			if first, twice := keys[w.PixKey]; twice && first != p.Name {
				ps.warn(at+".pix_key", fmt.Sprintf("is the key of the route by %s too, and a key belongs to one institution", first), "give the route the key that is registered there")
			}
			keys[w.PixKey] = p.Name
		}
	}
}

// way checks that a route's provider is there, and has what it needs.
func (c Config) way(ps *problems, w RouteConfig, at string) {
	var names []string
	for _, p := range c.Providers {
		if p.Name == "" { // reported already; it may be the one that is meant
			return
		}
		names = append(names, fmt.Sprintf("%q", p.Name))
	}
	p, ok := c.Provider(w.Provider)
	switch {
	case w.Provider == "" || len(names) == 0:
	case !ok:
		ps.fail(at+".provider", fmt.Sprintf("there is no provider of the name %q", w.Provider), "there are: "+strings.Join(names, ", "))
	default:
		if f, err := familyOf(p.Type); err == nil && f.checkMerchant != nil {
			f.checkMerchant(ps, w, at)
		}
	}
}

// beneficiary refuses a route that is not known to pay the merchant.
func (m MerchantConfig) beneficiary(ps *problems, w RouteConfig, at string) {
	switch key, ok := validateKey(ps, at, w.PixKey); {
	case w.Beneficiary == "":
	case !pix.ValidCNPJ(w.Beneficiary):
		ps.fail(at+".beneficiary", "is no CNPJ", "write the 14 characters of the account's owner, without punctuation")
	case w.Beneficiary != m.CNPJ:
		ps.fail(at+".beneficiary", "is another company than the merchant: a fail-over would pay somebody else", "leave the route out, or make it a [[merchant]] of its own")
	case ok && foreign(key, m.CNPJ):
		ps.fail(at+".pix_key", "is the CNPJ of another company than the merchant's", "use a key of the beneficiary's own")
	}
}
