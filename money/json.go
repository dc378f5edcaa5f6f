package money

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
)

// MarshalJSON writes the centavos as an integer.
func (a Amount) MarshalJSON() ([]byte, error) {
	return strconv.AppendInt(nil, int64(a), 10), nil
}

// UnmarshalJSON reads an integer of centavos and refuses everything else:
// strings, decimals, exponents and null, so that reais are never taken for
// centavos nor an absent amount for zero. A field that may be absent is an
// *Amount.
func (a *Amount) UnmarshalJSON(data []byte) error {
	n, err := strconv.ParseInt(string(data), 10, 64)
	if err != nil {
		if errors.Is(err, strconv.ErrRange) {
			return fmt.Errorf("amount %s: %w", data, ErrRange)
		}
		return fmt.Errorf("amount %.40s: %w: want an integer of centavos", data, ErrSyntax)
	}
	*a = Amount(n)
	return nil
}

// Decimal is an amount that speaks JSON the way most providers do: as a number
// of reais. It marshals with two decimals ("150.50" without quotes) and
// unmarshals from a number or a string by the rules of [Parse], exactly. Null
// is refused; a field that may be absent is a *Decimal.
type Decimal Amount

// String is the wire form of the amount, see [Amount.String].
func (d Decimal) String() string { return Amount(d).String() }

// MarshalJSON writes reais as a number with two decimals.
func (d Decimal) MarshalJSON() ([]byte, error) {
	return appendDecimal(make([]byte, 0, 24), Amount(d)), nil
}

// UnmarshalJSON reads reais from a JSON number, or from a string that holds
// one.
func (d *Decimal) UnmarshalJSON(data []byte) error {
	text := string(data)
	if len(data) > 0 && data[0] == '"' {
		if err := json.Unmarshal(data, &text); err != nil {
			return fmt.Errorf("amount: %w", err)
		}
	}
	a, err := Parse(text)
	if err != nil {
		return err
	}
	*d = Decimal(a)
	return nil
}
