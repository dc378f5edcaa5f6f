package pix

import "strings"

// maxLocation is the length of a location, in characters.
const maxLocation = 77

const wantLocation = "1 to 77 printable ASCII characters without spaces: host/path, no scheme"

// Dynamic is what goes into a dynamic BR Code, for providers that return the
// location of a charge and leave writing its code to their client.
type Dynamic struct {
	// Location is where the charge's payload lies, host and path, without a
	// scheme.
	Location string
	// Name (1 to 25 characters) and City (1 to 15) of the payee. Accents are
	// folded; nothing is cut.
	Name, City string
}

// Encode writes the code of an immediate charge, to be used once. It states
// neither amount nor txid: in a dynamic code both bind nobody, and what is not
// there cannot contradict the charge. Order, characters and errors are those of
// [Static.Encode]; what it returns passes [Validate].
func (d Dynamic) Encode() (string, error) {
	var ps Problems
	refuse := func(tag, rule, found, want string) {
		ps = append(ps, Problem{Tag: tag, Rule: rule, Found: found, Want: want})
	}
	r, i, bad := firstOutside(d.Location, func(r rune) bool { return isPrintable(r) && r != ' ' })
	host, path, _ := strings.Cut(d.Location, "/")
	switch {
	case bad:
		refuse("26-25", "location_format", character(r, i), wantLocation)
	case strings.Contains(d.Location, "://"):
		refuse("26-25", "url_has_scheme", quote(d.Location), wantLocation)
	case host == "" || path == "":
		refuse("26-25", "location_format", orNothing(d.Location), wantLocation)
	case len(d.Location) > maxLocation:
		refuse("26-25", "location_too_long", count(len(d.Location), "character"), wantLocation)
	}
	name := plain(refuse, "59", "merchant_too_long", d.Name, maxName)
	city := plain(refuse, "60", "city_too_long", d.City, maxCity)
	if len(ps) > 0 {
		return "", ps
	}
	var inner [maxTemplate]byte
	account := appendField(inner[:0], "00", gui)
	account = appendField(account, "25", d.Location)
	b := make([]byte, 0, 256)
	b = append(b, "000201010212"...)
	b = appendField(b, "26", account)
	b = append(b, "5204000053039865802BR"...)
	b = appendField(b, "59", name)
	b = appendField(b, "60", city)
	b = appendField(b, "62", appendField(inner[:0], "05", noTxID))
	b = append(b, "6304"...)
	return string(appendCRC(b, crc16(b))), nil
}
