package money

import (
	"fmt"
	"math"
	"strings"
)

const (
	maxText     = 64 // bytes of a text worth looking at
	maxExponent = 32 // beyond it no amount but zero fits
)

// Parse reads an amount of reais in the wire form of numbers, exactly: an
// optional minus, digits, optional decimals after a dot, an optional exponent
// ("150.99", "15", "2.0", "10.500", "1e2"). Decimals below the centavo must be
// zero. A comma, a plus sign, spaces and currency signs are refused: for what
// people write there is [ParseBR].
//
// The error wraps [ErrSyntax], [ErrPrecision] or [ErrRange].
func Parse(text string) (Amount, error) {
	if len(text) > maxText {
		return 0, fmt.Errorf("parse amount: %w: text of %d bytes, at most %d", ErrSyntax, len(text), maxText)
	}
	a, err := parse(text)
	if err != nil {
		return 0, fmt.Errorf("parse amount %q: %w", text, err)
	}
	return a, nil
}

func parse(text string) (Amount, error) {
	rest, negative := strings.CutPrefix(text, "-")
	whole, rest := cutDigits(rest)
	if whole == "" {
		return 0, fmt.Errorf("%w: want digits with an optional dot and decimals", ErrSyntax)
	}
	var fraction string
	if r, ok := strings.CutPrefix(rest, "."); ok {
		if fraction, rest = cutDigits(r); fraction == "" {
			return 0, fmt.Errorf("%w: no digits after the dot", ErrSyntax)
		}
	}
	exponent := 0
	if rest != "" && (rest[0] == 'e' || rest[0] == 'E') {
		r, minus := strings.CutPrefix(rest[1:], "-")
		if !minus {
			r = strings.TrimPrefix(r, "+")
		}
		var digits string
		if digits, rest = cutDigits(r); digits == "" {
			return 0, fmt.Errorf("%w: no digits in the exponent", ErrSyntax)
		}
		for _, d := range []byte(digits) {
			if exponent = exponent*10 + int(d-'0'); exponent > maxExponent {
				return 0, fmt.Errorf("%w: exponent above %d", ErrRange, maxExponent)
			}
		}
		if minus {
			exponent = -exponent
		}
	}
	if rest != "" {
		return 0, fmt.Errorf("%w: unexpected %q, want digits with an optional dot and decimals", ErrSyntax, rest)
	}
	return scale(negative, whole+fraction, 2+exponent-len(fraction))
}

// scale is ±digits × 10^shift as centavos.
func scale(negative bool, digits string, shift int) (Amount, error) {
	digits = strings.TrimLeft(digits, "0")
	if digits == "" {
		return 0, nil
	}
	for ; shift < 0; shift++ {
		d, ok := strings.CutSuffix(digits, "0")
		if !ok {
			return 0, ErrPrecision
		}
		digits = d
	}
	if len(digits)+shift > 19 { // 19 digits hold every int64 and never overflow a uint64
		return 0, ErrRange
	}
	var m uint64
	for _, d := range []byte(digits) {
		m = m*10 + uint64(d-'0')
	}
	for range shift {
		m *= 10
	}
	switch {
	case !negative && m <= math.MaxInt64:
		return Amount(m), nil
	case negative && m <= -math.MinInt64:
		return Amount(-m), nil
	}
	return 0, ErrRange
}

// ParseBR reads an amount as people in Brazil write it: an optional minus, an
// optional "R$" with or without a space, reais either plain or with a dot
// between every three digits, and either no decimals or exactly two after a
// comma ("10", "10,00", "1234,56", "R$ 1.234,56", "-R$ 10,00"). Everything
// [Amount.BRL] prints reads back to the same amount.
//
// "1.234" is a thousand two hundred and thirty-four reais here; "10.50" and
// "10,5" are refused, because a guess could be wrong by a factor of ten or a
// hundred. The error wraps [ErrSyntax], [ErrPrecision] or [ErrRange].
func ParseBR(text string) (Amount, error) {
	if len(text) > maxText {
		return 0, fmt.Errorf("parse amount: %w: text of %d bytes, at most %d", ErrSyntax, len(text), maxText)
	}
	a, err := parseBR(text)
	if err != nil {
		return 0, fmt.Errorf("parse amount %q: %w", text, err)
	}
	return a, nil
}

func parseBR(text string) (Amount, error) {
	rest, negative := strings.CutPrefix(text, "-")
	if r, ok := strings.CutPrefix(rest, "R$"); ok {
		r, cut := strings.CutPrefix(r, "\u00a0")
		if !cut {
			r = strings.TrimPrefix(r, " ")
		}
		rest = r
	}
	digits, rest := cutDigits(rest)
	if digits == "" {
		return 0, fmt.Errorf("%w: want reais, such as 1.234,56", ErrSyntax)
	}
	if strings.HasPrefix(rest, ".") && len(digits) > 3 {
		return 0, fmt.Errorf("%w: %d digits before the first dot, at most 3", ErrSyntax, len(digits))
	}
	for strings.HasPrefix(rest, ".") {
		group, r := cutDigits(rest[1:])
		if len(group) != 3 {
			return 0, fmt.Errorf("%w: want three digits after each dot and a comma before the centavos", ErrSyntax)
		}
		digits, rest = digits+group, r
	}
	shift := 2
	if r, ok := strings.CutPrefix(rest, ","); ok {
		var centavos string
		centavos, rest = cutDigits(r)
		switch {
		case len(centavos) > 2:
			return 0, fmt.Errorf("%w: want two digits after the comma", ErrPrecision)
		case len(centavos) < 2:
			return 0, fmt.Errorf("%w: want two digits after the comma", ErrSyntax)
		}
		digits, shift = digits+centavos, 0
	}
	if rest != "" {
		return 0, fmt.Errorf("%w: unexpected %q, want reais such as 1.234,56", ErrSyntax, rest)
	}
	return scale(negative, digits, shift)
}

// cutDigits splits text after its leading ASCII digits.
func cutDigits(text string) (digits, rest string) {
	i := 0
	for i < len(text) && '0' <= text[i] && text[i] <= '9' {
		i++
	}
	return text[:i], text[i:]
}
