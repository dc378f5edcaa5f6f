package simkit

import (
	"fmt"
	"strings"

	"github.com/ssg-safe/agent/money"
)

// Payee writes the dynamic BR Codes of a simulator, and spoils them. It is
// written anew here, apart from package pix, so that agent and simulators check
// each other.
type Payee struct {
	// Host is the host in the location of the codes.
	Host       string
	Name, City string
}

// field is one field of a BR Code.
func field(tag, value string) string { return fmt.Sprintf("%s%02d%s", tag, len(value), value) }

// sealed appends the checksum: CRC16 with polynomial 1021 and start FFFF, over
// everything up to and including its own header (Manual do BR Code, tag 63).
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

const (
	gui     = "br.gov.bcb.pix"
	useOnce = "010212"
)

// write puts a code together: account is the content of tag 26 after its GUI,
// extra what stands between tags 62 and 63.
func (p Payee) write(poi, gui, account string, amount money.Amount, extra string) string {
	return sealed(field("00", "01") + poi + field("26", field("00", gui)+account) +
		field("52", "0000") + field("53", "986") + field("54", amount.String()) + field("58", "BR") +
		field("59", p.Name) + field("60", p.City) + field("62", field("05", "***")) + extra)
}

// Code is the code of a charge whose location has the path, such as "/qr/v2/7".
func (p Payee) Code(path string, amount money.Amount) string {
	return p.write(useOnce, gui, field("25", p.Host+path), amount, "")
}

// CodeFaults are the arguments of the fault [Code]: a wrong checksum, half a
// code, another GUI, another amount, a location elsewhere, a static code for
// someone else's key, and a code that also subscribes the payer to a
// recurrence. One more argument spoils nothing: own_key, a static code for the
// key that was asked for.
func CodeFaults() []string {
	return []string{"crc", "cut", "gui", "amount", "host", "foreign_key", "recurrence"}
}

// Spoiled is the code of that charge with the given defect. Every result but
// crc and cut has a valid checksum.
func (p Payee) Spoiled(how, path string, amount money.Amount, key string) string {
	whole := p.Code(path, amount)
	switch how {
	case "crc":
		last := "0"
		if strings.HasSuffix(whole, "0") {
			last = "1"
		}
		return whole[:len(whole)-1] + last
	case "cut":
		return whole[:len(whole)/2]
	case "gui":
		return p.write(useOnce, "br.example.other", field("25", p.Host+path), amount, "")
	case "amount":
		return p.Code(path, amount+1)
	case "host":
		return p.write(useOnce, gui, field("25", "elsewhere.example"+path), amount, "")
	case "foreign_key":
		return p.write("", gui, field("01", "someone.else@bank.example"), amount, "")
	case "own_key":
		return p.write("", gui, field("01", key), amount, "")
	case "recurrence":
		return p.write(useOnce, gui, field("25", p.Host+path), amount,
			field("80", field("00", gui)+field("25", p.Host+"/rec"+path)))
	}
	return whole
}
