package pin

import (
	"fmt"
	"strings"
	"time"

	"github.com/ssg-safe/agent/redact"
)

// How many digits a PIN has.
const (
	MinDigits = 6
	MaxDigits = 12
)

// Check refuses what is no PIN, and PINs that people try first. Its errors do not
// repeat the PIN.
func Check(pin redact.Secret) error {
	p := pin.Reveal()
	switch {
	case p == "":
		return fmt.Errorf("there is no PIN: give %d to %d digits", MinDigits, MaxDigits)
	case strings.Trim(p, "0123456789") != "":
		return fmt.Errorf("the PIN has other characters than digits: the terminal's keypad has only these")
	case len(p) < MinDigits || len(p) > MaxDigits:
		return fmt.Errorf("the PIN has %d digits: give %d to %d", len(p), MinDigits, MaxDigits)
	}
	if why := guessable(p); why != "" {
		return fmt.Errorf("the PIN %s, which people try first: choose another, best by dice", why)
	}
	return nil
}

// guessable says what makes a PIN one of the first guesses; "" if nothing does.
func guessable(p string) string {
	for n := 1; n <= len(p)/2; n++ {
		if strings.HasPrefix(p[n:], p[:len(p)-n]) {
			return "repeats digits" // 111111, 121212, 1231231
		}
	}
	for _, step := range []int{1, 9, 2, 8} {
		if steady(p, step) {
			return "counts up or down" // 234567, 890123, 987654, 246802
		}
	}
	if distinct(p) < 3 {
		return "has only two different digits"
	}
	if pairs(p) {
		return "doubles each digit" // 112233
	}
	for _, form := range []string{"020106", "060102", "02012006", "20060102", "010206", "01022006"} {
		if at, err := time.Parse(form, p); err == nil && at.Year() >= 1900 && at.Year() < 2100 {
			return "is a date"
		}
	}
	return ""
}

// steady reports whether each digit is step more than the one before, modulo ten.
func steady(p string, step int) bool {
	for i := 1; i < len(p); i++ {
		if (int(p[i-1]-'0')+step)%10 != int(p[i]-'0') {
			return false
		}
	}
	return true
}

func distinct(p string) int {
	n := 0
	for d := '0'; d <= '9'; d++ {
		if strings.ContainsRune(p, d) {
			n++
		}
	}
	return n
}

func pairs(p string) bool {
	for i := 0; i+1 < len(p); i += 2 {
		if p[i] != p[i+1] {
			return false
		}
	}
	return len(p)%2 == 0
}
