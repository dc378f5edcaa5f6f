package pix

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/ssg-safe/agent/money"
)

const (
	wantTxID   = `1 to 25 of A-Z, a-z and 0-9, or "***" for none`
	wantISPB   = "the 8 digits or upper-case letters of an ISPB"
	wantAmount = "digits with a dot and two decimals"
)

// account reads the PIX template and the template of a recurrence, and settles
// the kind of the code. The limits of key, description and location need no
// check: two digits of length bound a template to 99 characters.
func (r *reader) account() {
	c := &r.code
	var tag string // of the PIX template
	var others []string
	for _, f := range c.Fields {
		switch {
		case "26" <= f.Tag && f.Tag <= "51":
			if !isPix(f) {
				v, _ := find(f.Fields, f.Tag+"-00")
				others = append(others, orNothing(v)+" in "+f.Tag+"-00")
				continue
			}
			if tag != "" {
				r.fail(f.Tag, "two_pix_templates", "a second PIX template beside tag "+tag, "one")
				continue
			}
			tag = f.Tag
			c.Key, _ = find(f.Fields, tag+"-01")
			c.Description, _ = find(f.Fields, tag+"-02")
			c.Facilitator, _ = find(f.Fields, tag+"-03")
			c.URL, _ = find(f.Fields, tag+"-25")
		case "80" <= f.Tag && f.Tag <= "99" && isPix(f):
			v, _ := find(f.Fields, f.Tag+"-25")
			if v == "" {
				continue
			}
			if c.RecURL != "" {
				r.fail(f.Tag, "two_recurrences", "a second recurrence location", "one")
				continue
			}
			c.RecURL = v
			r.location(f.Tag+"-25", v)
		}
	}
	if tag == "" {
		found := "nothing"
		if len(others) > 0 {
			found = strings.Join(others, ", ")
		}
		// A template that could not be taken apart has been named already.
		if !r.failedIn("26", "51") {
			r.fail("26", "no_pix_template", found, quote(gui)+" in sub-field 00 of a template from 26 to 51")
		}
		return
	}
	switch {
	case c.Key != "" && c.URL != "":
		r.fail(tag+"-25", "key_and_url", "a location beside the key in "+tag+"-01", "either a key (static) or a location (dynamic)")
	case c.Key != "":
		c.Kind = KindStatic
		if c.Facilitator != "" {
			c.Kind = KindStaticWithdrawal
			if found := ispbFault(c.Facilitator); found != "" {
				r.warn(tag+"-03", "facilitator_format", found, wantISPB)
			}
		}
		r.key(tag + "-01")
	case c.URL != "":
		c.Kind = KindDynamic
		if strings.Contains(c.URL, "/cobv/") {
			c.Kind = KindDynamicDue
		}
		r.location(tag+"-25", c.URL)
		if c.POI == "11" {
			r.warn("01", "poi11_with_url", `"11" with a location`, `"12", or no tag 01`)
		}
	case c.RecURL != "":
		c.Kind = KindRecurrence
	default:
		r.fail(tag+"-01", "no_key_or_url", "nothing", "a key here, or a location in "+tag+"-25")
	}
}

// failedIn tells whether a tag of the range has an error already.
func (r *reader) failedIn(from, to string) bool {
	for _, p := range r.errors {
		if len(p.Tag) >= 2 && from <= p.Tag[:2] && p.Tag[:2] <= to {
			return true
		}
	}
	return false
}

func (r *reader) key(tag string) {
	k, p := recognise(r.code.Key)
	if p != nil {
		r.warn(tag, p.Rule, p.Found, p.Want)
		return
	}
	r.code.KeyType = k.Type
}

func (r *reader) location(tag, url string) {
	const want = "host/path without https://"
	if scheme, _, ok := strings.Cut(url, "://"); ok {
		r.warn(tag, "url_has_scheme", quote(scheme+"://"), want)
	} else if host, path, ok := strings.Cut(url, "/"); !ok || host == "" || path == "" || strings.ContainsAny(url, " \t\r\n") {
		r.warn(tag, "url_format", quote(url), want)
	}
}

// constants checks the fields that say "reais in Brazil".
func (r *reader) constants() {
	c := &r.code
	if c.POI, _ = r.get("01"); c.POI != "" && c.POI != "11" && c.POI != "12" {
		r.warn("01", "poi_value", quote(c.POI), `"12", or no tag 01`)
	}
	if c.MCC, _ = r.get("52"); len(c.MCC) != 4 || !allDigits(c.MCC) {
		r.fail("52", "bad_52", orNothing(c.MCC), `"0000" or the four digits of a category`)
	}
	if v, _ := r.get("53"); v != "986" {
		r.fail("53", "bad_53", orNothing(v), `"986" (BRL)`)
	}
	if v, _ := r.get("58"); v != "BR" {
		r.fail("58", "bad_58", orNothing(v), `"BR"`)
	}
}

func (r *reader) amount() {
	v, ok := r.get("54")
	if !ok {
		return
	}
	r.code.Amount = v
	if !isDecimal(v) {
		r.fail("54", "bad_54", orNothing(v), wantAmount)
		return
	}
	switch _, decimals, _ := strings.Cut(v, "."); {
	case len(decimals) != 2:
		r.warn("54", "amount_format", quote(v), wantAmount)
	case len(v) > maxAmount:
		r.warn("54", "amount_format", count(len(v), "character"), fmt.Sprintf("at most %d", maxAmount))
	}
	if a, err := money.Parse(strings.TrimSuffix(v, ".")); err == nil && a == 0 {
		r.warn("54", "amount_zero", quote(v), "more than zero, or no tag 54 where the payer types the amount")
	}
}

func (r *reader) payee() {
	c := &r.code
	text := func(tag, rule string, most int) string {
		v, _ := r.get(tag)
		want := fmt.Sprintf("1 to %d characters", most)
		if n := utf8.RuneCountInString(v); v == "" {
			r.fail(tag, "missing_"+tag, "nothing", want)
		} else if n > most {
			r.warn(tag, rule, count(n, "character")+": "+quote(v), want)
		}
		return v
	}
	c.Name = text("59", "merchant_too_long", maxName)
	c.City = text("60", "city_too_long", maxCity)
	c.PostalCode, _ = r.get("61")
}

func (r *reader) additional() {
	if _, ok := r.get("62"); !ok {
		r.warn("62", "missing_62", "nothing", `a template with at least 62-05 "***"`)
		return
	}
	v, ok := r.get("62-05")
	r.code.TxID = v
	switch {
	case r.failedIn("62", "62"):
	case !ok:
		r.warn("62-05", "missing_62-05", "nothing", wantTxID)
	case r.code.URL != "" || v == "" || v == noTxID: // dynamic: the location counts
	default:
		if found := txidFault(v); found != "" {
			r.warn("62-05", "txid_charset", found, wantTxID)
		}
	}
}

// empty warns of fields without a value that nothing else complained about.
func (r *reader) empty() {
	var visit func([]Field)
	visit = func(fields []Field) {
		for _, f := range fields {
			if f.Value == "" && !r.named(f.Tag) {
				r.warn(f.Tag, "empty_"+f.Tag, "an empty value", "a value, or no such field")
			}
			visit(f.Fields)
		}
	}
	visit(r.code.Fields)
}

func (r *reader) named(tag string) bool {
	for _, p := range r.errors {
		if p.Tag == tag {
			return true
		}
	}
	return false
}

func txidFault(txid string) string {
	if c, i, bad := firstOutside(txid, isAlnum); bad {
		return character(c, i) + " of " + quote(txid)
	}
	if n := len(txid); n > maxTxID {
		return count(n, "character") + ": " + quote(txid)
	}
	return ""
}

func ispbFault(ispb string) string {
	if c, i, bad := firstOutside(ispb, isUpperAlnum); bad {
		return character(c, i) + " of " + quote(ispb)
	}
	if len(ispb) != 8 {
		return count(len(ispb), "character") + ": " + quote(ispb)
	}
	return ""
}
