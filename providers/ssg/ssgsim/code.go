package ssgsim

import (
	"fmt"
	"strings"

	"github.com/ssg-safe/agent/money"
)

// field is one field of a BR Code.
func field(tag, value string) string { return fmt.Sprintf("%s%02d%s", tag, len(value), value) }

// sealed appends the checksum: CRC16 with polynomial 1021 and start FFFF, over
// everything up to and including its own header (Manual do BR Code, tag 63).
// It is written anew here so that agent and simulator check each other.
func sealed(text string) string {
	text += "6304"
	crc := uint16(0xFFFF)
	for _, b := range []byte(text) {
		crc ^= uint16(b) << 8
		for range 8 {
			carry := crc&0x8000 != 0
			if crc <<= 1; carry {
				crc ^= 0x1021
			}
		}
	}
	return fmt.Sprintf("%s%04X", text, crc)
}

// brcode puts a code together: account is the content of tag 26 after its GUI,
// extra what stands between tags 62 and 63.
func brcode(poi, gui, account string, amount money.Amount, name, city, extra string) string {
	return sealed(field("00", "01") + poi + field("26", field("00", gui)+account) +
		field("52", "0000") + field("53", "986") + field("54", amount.String()) + field("58", "BR") +
		field("59", name) + field("60", city) + field("62", field("05", "***")) + extra)
}

const (
	gui     = "br.gov.bcb.pix"
	useOnce = "010212"
)

func dynamicCode(location string, amount money.Amount, name, city string) string {
	return brcode(useOnce, gui, field("25", location), amount, name, city, "")
}

// CodeFaults are the arguments of the fault simkit.Code: a wrong checksum, half
// a code, another GUI, another amount, a location elsewhere, a static code for
// someone else's key, and a code that also subscribes the payer to a
// recurrence. One more argument spoils nothing: own_key, a static code for the
// key that was asked for.
func CodeFaults() []string {
	return []string{"crc", "cut", "gui", "amount", "host", "foreign_key", "recurrence"}
}

// spoiled is the code of a charge with the given defect. Every result but crc
// and cut has a valid checksum.
func (s *Sim) spoiled(how string, c *charge, key string) string {
	location := s.opts.LocationHost + "/qr/v2/" + c.ID
	name, city := s.opts.PayeeName, s.opts.PayeeCity
	switch how {
	case "crc":
		last := "0"
		if strings.HasSuffix(c.Code, "0") {
			last = "1"
		}
		return c.Code[:len(c.Code)-1] + last
	case "cut":
		return c.Code[:len(c.Code)/2]
	case "gui":
		return brcode(useOnce, "br.example.other", field("25", location), c.Amount, name, city, "")
	case "amount":
		return brcode(useOnce, gui, field("25", location), c.Amount+1, name, city, "")
	case "host":
		return brcode(useOnce, gui, field("25", "elsewhere.example/qr/v2/"+c.ID), c.Amount, name, city, "")
	case "foreign_key":
		return brcode("", gui, field("01", "someone.else@bank.example"), c.Amount, name, city, "")
	case "own_key":
		return brcode("", gui, field("01", key), c.Amount, name, city, "")
	case "recurrence":
		return brcode(useOnce, gui, field("25", location), c.Amount, name, city,
			field("80", field("00", gui)+field("25", s.opts.LocationHost+"/rec/"+c.ID)))
	}
	return c.Code
}
