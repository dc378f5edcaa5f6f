package bacensim

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/ssg-safe/agent/money"
)

// scanned is what a payer's app reads in a code.
type scanned struct {
	location, key, txid string
	amount              money.Amount
}

// scan reads a code as an app does (Manual do BR Code): fields of two digits of
// id and two of length, checksum last. It is written anew here, apart from
// package pix, so that agent and simulator check each other.
func scan(code string) (scanned, error) {
	refuse := func(why string) (scanned, error) { return scanned{}, fmt.Errorf("%w: %s", ErrUnpayable, why) }
	body, sum, ok := cutLast(code, 4)
	if !ok || !strings.HasSuffix(body, "6304") || fmt.Sprintf("%04X", checksum(body)) != sum {
		return refuse("its checksum is wrong")
	}
	root, ok := fields(body[:len(body)-4])
	if !ok || root["00"] != "01" {
		return refuse("it is not made of fields")
	}
	var out scanned
	accounts := 0
	for tag, value := range root {
		if tag < "26" || tag > "51" {
			continue
		}
		if account, ok := fields(value); ok && strings.EqualFold(account["00"], "br.gov.bcb.pix") {
			out.key, out.location = account["01"], account["25"]
			accounts++
		}
	}
	if accounts != 1 || (out.key == "") == (out.location == "") {
		return refuse("it does not name one key or one location")
	}
	if out.location != "" {
		return out, nil
	}
	more, _ := fields(root["62"])
	if out.txid = more["05"]; out.txid == "***" {
		out.txid = ""
	}
	amount, err := money.Parse(root["54"])
	if err != nil || amount <= 0 {
		return refuse("a static code without an amount: nobody types one here")
	}
	out.amount = amount
	if !staticID.MatchString(out.txid) {
		return refuse("its txid is missing or has other characters than letters and digits")
	}
	return out, nil
}

var staticID = regexp.MustCompile(`^[a-zA-Z0-9]{1,35}$`)

func cutLast(s string, n int) (before, last string, ok bool) {
	if len(s) < n {
		return "", "", false
	}
	return s[:len(s)-n], s[len(s)-n:], true
}

// fields takes a chain of fields apart; a field of an id that was there already
// makes it unreadable.
func fields(s string) (map[string]string, bool) {
	all := map[string]string{}
	for len(s) > 0 {
		if len(s) < 4 {
			return nil, false
		}
		n, err := strconv.ParseUint(s[2:4], 10, 7)
		if err != nil || len(s) < 4+int(n) {
			return nil, false
		}
		if _, twice := all[s[:2]]; twice {
			return nil, false
		}
		all[s[:2]] = s[4 : 4+n]
		s = s[4+n:]
	}
	return all, true
}

// checksum is CRC16 with polynomial 1021 and start FFFF, bit by bit.
func checksum(s string) uint16 {
	crc := uint16(0xFFFF)
	for i := range len(s) {
		for bit := range 8 {
			in := s[i]>>(7-bit)&1 == 1
			out := crc>>15 == 1
			if crc <<= 1; in != out {
				crc ^= 0x1021
			}
		}
	}
	return crc
}
