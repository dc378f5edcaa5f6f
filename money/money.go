// Package money is what an amount is in this project: a whole number of
// centavos of Brazilian real, in an int64.
//
// Start with [Amount]. Arithmetic is checked ([Amount.Add], [Amount.Sub],
// [Sum]); text becomes an amount by [Parse] (wire form, as providers write it)
// or [ParseBR] (as people in Brazil write it); an amount becomes text by
// [Amount.String] and [Amount.BRL]. Nothing in here, and nothing near money
// anywhere, goes through a floating-point number: every parser works on the
// digits, and what is not a whole number of centavos is an error, never
// rounded.
//
// In JSON an [Amount] is an integer of centavos, which is how this project
// writes its own files and messages. Providers that speak in decimal numbers
// get a [Decimal].
//
// The zero value of everything is zero reais. All functions are pure and safe
// for concurrent use.
package money

import (
	"errors"
	"fmt"
	"math"
	"strconv"
)

// The ways in which a text or a result is no amount. Every error of this
// package wraps one of them.
var (
	// ErrSyntax: the text is not a number of the expected form.
	ErrSyntax = errors.New("not an amount")
	// ErrPrecision: a number, but not a whole number of centavos.
	ErrPrecision = errors.New("finer than a centavo")
	// ErrRange: does not fit in 64 bits of centavos.
	ErrRange = errors.New("amount out of range")
)

// Amount is a sum of money in centavos, BRL. Negative amounts are legal:
// credits, differences, refunds.
type Amount int64

// String is the wire form, reais with a dot and two decimals: "1234.56",
// "-0.05".
func (a Amount) String() string {
	b := make([]byte, 0, 24)
	return string(appendDecimal(b, a))
}

// BRL is the form people read, "R$ 1.234,56", with a no-break space (U+00A0)
// after the sign of the currency; a negative amount has its minus in front.
func (a Amount) BRL() string {
	m := magnitude(a)
	reais := strconv.FormatUint(m/100, 10)
	b := make([]byte, 0, 32)
	if a < 0 {
		b = append(b, '-')
	}
	b = append(b, "R$\u00a0"...)
	for i := range len(reais) {
		if i > 0 && (len(reais)-i)%3 == 0 {
			b = append(b, '.')
		}
		b = append(b, reais[i])
	}
	return string(append(b, ',', byte('0'+m%100/10), byte('0'+m%10)))
}

// Add returns a+b, or [ErrRange] when the sum does not fit.
func (a Amount) Add(b Amount) (Amount, error) {
	if (b > 0 && a > math.MaxInt64-b) || (b < 0 && a < math.MinInt64-b) {
		return 0, fmt.Errorf("add %s and %s: %w", a, b, ErrRange)
	}
	return a + b, nil
}

// Sub returns a-b, or [ErrRange] when the difference does not fit.
func (a Amount) Sub(b Amount) (Amount, error) {
	if (b < 0 && a > math.MaxInt64+b) || (b > 0 && a < math.MinInt64+b) {
		return 0, fmt.Errorf("subtract %s from %s: %w", b, a, ErrRange)
	}
	return a - b, nil
}

// Sum adds all amounts from left to right, or returns [ErrRange] as soon as a
// partial sum does not fit. The sum of nothing is zero.
func Sum(as ...Amount) (Amount, error) {
	var sum Amount
	for _, a := range as {
		s, err := sum.Add(a)
		if err != nil {
			return 0, err
		}
		sum = s
	}
	return sum, nil
}

// magnitude is |a|, which fits in 64 bits without a sign even for the smallest
// amount.
func magnitude(a Amount) uint64 {
	if a < 0 {
		return -uint64(a)
	}
	return uint64(a)
}

func appendDecimal(b []byte, a Amount) []byte {
	m := magnitude(a)
	if a < 0 {
		b = append(b, '-')
	}
	b = strconv.AppendUint(b, m/100, 10)
	return append(b, '.', byte('0'+m%100/10), byte('0'+m%10))
}
