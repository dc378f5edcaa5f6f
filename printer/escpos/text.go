package escpos

import (
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// cp850 holds the characters of page 2 from 80 to FF. It has every Portuguese
// letter with its capitals, and both ordinals.
const cp850 = "ÇüéâäàåçêëèïîìÄÅÉæÆôöòûùÿÖÜø£Ø×ƒ" +
	"áíóúñÑªº¿®¬½¼¡«»░▒▓│┤ÁÂÀ©╣║╗╝¢¥┐" +
	"└┴┬├─┼ãÃ╚╔╩╦╠═╬¤ðÐÊËÈıÍÎÏ┘┌█▄¦Ì▀" +
	"ÓßÔÒõÕµþÞÚÛÙýÝ¯´\u00ad±‗¾¶§÷¸°¨·¹³²■\u00a0"

// latin is cp850 turned round for U+00A0 to U+00FF, other for the rest.
var latin, other = func() (l [96]byte, o map[rune]byte) {
	o = make(map[rune]byte, 48)
	b := 0x80
	for _, r := range cp850 {
		if r <= 0xff {
			l[r-0xa0] = byte(b)
		} else {
			o[r] = byte(b)
		}
		b++
	}
	return l, o
}()

// replacements stand for what page 2 lacks and decomposition cannot give.
// The no-break space is here because the page's own one is drawn as a gap of
// another width by some printers.
var replacements = map[rune]string{
	'\t': " ", '\n': " ", '\r': " ", '\u0085': " ", '\u2028': " ", '\u2029': " ",
	'\u00a0': " ",
	'‐':      "-", '‑': "-", '–': "-", '—': "-", '−': "-",
	'‘': "'", '’': "'", '“': "\"", '”': "\"",
	'•': "*", '€': "EUR",
	'ł': "l", 'Ł': "L", 'đ': "d", 'Đ': "D", 'œ': "oe", 'Œ': "OE", 'ẞ': "SS",
}

// AppendText appends s in CP850, one byte a character, after normalising it to
// NFC. White space becomes a space; control and format characters are dropped,
// so that no byte below 20 and no 7F ever comes out; what the page lacks
// becomes its replacement, its base letter, or "?".
func AppendText(dst []byte, s string) []byte {
	i := 0
	for i < len(s) && s[i] >= 0x20 && s[i] < 0x7f {
		i++
	}
	dst = append(dst, s[:i]...)
	if i == len(s) {
		return dst
	}
	// The last plain byte may carry a mark that follows.
	if i > 0 {
		dst, i = dst[:len(dst)-1], i-1
	}
	s = s[i:]
	if !norm.NFC.IsNormalString(s) {
		s = norm.NFC.String(s)
	}
	for _, r := range s {
		dst = appendRune(dst, r)
	}
	return dst
}

func appendRune(dst []byte, r rune) []byte {
	if b, ok := toCP850(r); ok {
		return append(dst, b)
	}
	if t, ok := replacements[r]; ok {
		return append(dst, t...)
	}
	if unicode.In(r, unicode.Cc, unicode.Cf, unicode.Mn, unicode.Me) {
		return dst
	}
	if unicode.Is(unicode.Zs, r) {
		return append(dst, ' ')
	}
	if r == utf8.RuneError {
		return append(dst, '?')
	}
	n := len(dst)
	var buf [utf8.UTFMax]byte
	for _, d := range string(norm.NFKD.Append(nil, buf[:utf8.EncodeRune(buf[:], r)]...)) {
		if b, ok := toCP850(d); ok {
			dst = append(dst, b)
		} else if t, ok := replacements[d]; ok {
			dst = append(dst, t...)
		} else if !unicode.Is(unicode.Mn, d) {
			dst = append(dst, '?')
		}
	}
	if len(dst) == n {
		dst = append(dst, '?')
	}
	return dst
}

func toCP850(r rune) (byte, bool) {
	switch {
	case r < 0x20 || r == 0x7f:
		return 0, false
	case r < 0x7f:
		return byte(r), true
	case r <= 0xa0 || r == 0xad:
		return 0, false
	case r <= 0xff:
		return latin[r-0xa0], true
	}
	b, ok := other[r]
	return b, ok
}
