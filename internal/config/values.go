package config

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/ssg-safe/agent/money"
)

// Size is a number of bytes. Text gives it with a unit, KiB, MiB or GiB.
type Size int64

var sizeUnits = []struct {
	name  string
	bytes int64
}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}}

// String is the shortest form that [ParseSize] reads back.
func (s Size) String() string {
	for _, u := range sizeUnits {
		if s != 0 && int64(s)%u.bytes == 0 {
			return strconv.FormatInt(int64(s)/u.bytes, 10) + u.name
		}
	}
	return strconv.FormatInt(int64(s), 10) + "B"
}

var sizeForm = regexp.MustCompile(`^([0-9]{1,18}) ?([A-Za-z]*)$`)

// ParseSize reads a whole number with a unit: "128MiB".
func ParseSize(text string) (Size, error) {
	m := sizeForm.FindStringSubmatch(text)
	if m == nil {
		return 0, &ValueError{"is not a size", sizeRemedy}
	}
	n, err := strconv.ParseInt(m[1], 10, 64)
	if err != nil {
		return 0, &ValueError{"is not a size", sizeRemedy}
	}
	for _, u := range sizeUnits {
		if m[2] != u.name {
			continue
		}
		if n > math.MaxInt64/u.bytes {
			return 0, &ValueError{"is too large", sizeRemedy}
		}
		return Size(n * u.bytes), nil
	}
	if m[2] == "" {
		return 0, &ValueError{"has no unit", fmt.Sprintf(`write "%sMiB", for example`, m[1])}
	}
	return 0, &ValueError{fmt.Sprintf("has the unit %s, which is none of KiB, MiB and GiB", clip(m[2])), sizeRemedy}
}

const (
	sizeRemedy     = `write a whole number with a unit: "128MiB"`
	durationRemedy = `write a number with a unit: "30s", "5m", "1h30m"`
	amountRemedy   = `write reais with a dot, in quotes: "1234.50"; or whole centavos: 123450`
)

// ParseDuration reads a duration that has a unit, without a sign: "30s",
// "1h30m".
func ParseDuration(text string) (time.Duration, error) {
	if _, err := strconv.ParseFloat(text, 64); err == nil {
		return 0, &ValueError{"has no unit", durationRemedy}
	}
	v, err := time.ParseDuration(text)
	if err != nil || strings.ContainsAny(text, "+-") {
		return 0, &ValueError{"is not a duration", durationRemedy}
	}
	return v, nil
}

// parseAmount reads reais as decimal text.
func parseAmount(text string) (money.Amount, error) {
	a, err := money.Parse(text)
	switch {
	case err != nil && strings.Contains(text, ","):
		return 0, &ValueError{"has a comma", amountRemedy}
	case err != nil:
		return 0, &ValueError{"is not an amount of reais and centavos", amountRemedy}
	case a < 0:
		return 0, &ValueError{"is negative", amountRemedy}
	}
	return a, nil
}

// ValueError is what an UnmarshalText method returns to say what is wrong with a
// value, as the end of a sentence that begins with it, and what to write instead.
// It must not repeat the value.
type ValueError struct{ Complaint, Remedy string }

// Error is the complaint.
func (e *ValueError) Error() string { return e.Complaint }
