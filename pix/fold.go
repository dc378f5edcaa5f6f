package pix

import "strings"

// folds are the letters with marks, and the typographic signs, that have a
// plain ASCII form: Latin-1 and what keyboards and word processors add.
var folds = func() map[rune]string {
	m := map[rune]string{}
	for _, line := range []string{
		"A ÀÁÂÃÄÅĀĂĄ", "C ÇĆĈĊČ", "D ĎĐÐ", "E ÈÉÊËĒĔĖĘĚ", "G ĜĞĠĢ", "H ĤĦ", "I ÌÍÎÏĨĪĬĮİ", "J Ĵ", "K Ķ",
		"L ĹĻĽŁ", "N ÑŃŅŇ", "O ÒÓÔÕÖØŌŎŐ", "R ŔŖŘ", "S ŚŜŞŠ", "T ŢŤŦ", "U ÙÚÛÜŨŪŬŮŰŲ", "W Ŵ", "Y ÝŶŸ", "Z ŹŻŽ",
		"a àáâãäåāăąª", "c çćĉċč", "d ďđð", "e èéêëēĕėęě", "g ĝğġģ", "h ĥħ", "i ìíîïĩīĭįı", "j ĵ", "k ķ",
		"l ĺļľł", "n ñńņň", "o òóôõöøōŏőº", "r ŕŗř", "s śŝşš", "t ţťŧ", "u ùúûüũūŭůűų", "w ŵ", "y ýÿŷ", "z źżž",
		"AE Æ", "ae æ", "OE Œ", "oe œ", "ss ß", "- ‐‑‒–—", "' ‘’´", "\" “”", "... …",
	} {
		plain, marked, _ := strings.Cut(line, " ")
		for _, r := range marked {
			m[r] = plain
		}
	}
	m['\u00a0'] = " "
	for r := rune(0x300); r <= 0x36f; r++ { // combining marks: the letter before them stays
		m[r] = ""
	}
	return m
}()

// Fold takes accents off letters and replaces typographic signs by plain ones,
// "SÃO JOÃO" to "SAO JOAO". Characters it has no ASCII form for stay as they
// are; the writer refuses them by name.
func Fold(text string) string {
	if allIn(text, isPrintable) {
		return text
	}
	var b strings.Builder
	for _, r := range text {
		if plain, ok := folds[r]; ok {
			b.WriteString(plain)
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}
