package pix

import "strings"

// ValidCPF reports whether text is a CPF: eleven digits without punctuation,
// not all the same, with correct check digits.
func ValidCPF(text string) bool {
	if len(text) != 11 || !allDigits(text) || allSame(text) {
		return false
	}
	return text[9] == checkDigit(text[:9], 10) && text[10] == checkDigit(text[:10], 11)
}

// ValidCNPJ reports whether text is a CNPJ: twelve digits or upper-case letters
// (letters are assigned from July 2026, IN RFB 2229) and two check digits,
// without punctuation, not all the same.
func ValidCNPJ(text string) bool {
	if len(text) != 14 || !allDigits(text[12:]) || allSame(text) {
		return false
	}
	if _, _, bad := firstOutside(text, isUpperAlnum); bad {
		return false
	}
	return text[12] == checkDigit(text[:12], 9) && text[13] == checkDigit(text[:13], 9)
}

// checkDigit is modulo 11 over the characters' ASCII code minus 48, with
// weights that grow from 2 at the right end to most and then start again.
func checkDigit(text string, most int) byte {
	sum, weight := 0, 2
	for i := len(text) - 1; i >= 0; i-- {
		sum += int(text[i]-'0') * weight
		if weight++; weight > most {
			weight = 2
		}
	}
	if rest := sum % 11; rest >= 2 {
		return byte('0' + 11 - rest)
	}
	return '0'
}

func allSame(text string) bool { return strings.Count(text, text[:1]) == len(text) }

// FormatCNPJ punctuates the 14 characters of a CNPJ, 12.ABC.345/01DE-35. Any
// other text comes back unchanged.
func FormatCNPJ(text string) string {
	if len(text) != 14 {
		return text
	}
	if _, _, bad := firstOutside(text, isUpperAlnum); bad {
		return text
	}
	return text[:2] + "." + text[2:5] + "." + text[5:8] + "/" + text[8:12] + "-" + text[12:]
}

// MaskDocument shows the middle of a CPF or CNPJ, punctuated or not:
// ***.456.789-** or **.345.678/****-**. Of anything else it shows nothing.
func MaskDocument(text string) string {
	bare := stripPunctuation(text)
	if _, _, bad := firstOutside(bare, isUpperAlnum); bad {
		return "***"
	}
	switch len(bare) {
	case 11:
		return "***." + bare[3:6] + "." + bare[6:9] + "-**"
	case 14:
		return "**." + bare[2:5] + "." + bare[5:8] + "/****-**"
	}
	return "***"
}

var punctuation = strings.NewReplacer(".", "", "-", "", "/", "")

func stripPunctuation(text string) string { return punctuation.Replace(text) }
