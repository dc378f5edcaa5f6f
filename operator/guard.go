package operator

import (
	"time"

	"github.com/ssg-safe/agent/display"
)

// guard counts wrong PINs by operator.
type guard map[string]tries

// tries are wrong PINs in a row, and until when the next one is not looked at.
type tries struct {
	failures int
	until    time.Duration
}

// The delays of wrong PINs: free ones, the first that locks, the longest.
const (
	freeTries    = 2
	firstDelay   = 30 * time.Second
	longestDelay = 15 * time.Minute
)

// Delay is for how long an operator is locked out after so many wrong PINs in a
// row: not at all after two, then for 30 seconds, and twice as long each time, up
// to a quarter of an hour. A PIN of six digits, 96 times a day, holds for years.
func Delay(failures int) time.Duration {
	d := firstDelay
	for n := failures - freeTries; n > 1 && d < longestDelay; n-- {
		d *= 2
	}
	if failures <= freeTries {
		return 0
	}
	return min(d, longestDelay)
}

func (g guard) set(id string, failures int, up time.Duration) {
	g[id] = tries{failures, up + Delay(failures)}
}

// locked is until when an operator is locked out.
func (g guard) locked(id string, up time.Duration) (time.Duration, bool) {
	t := g[id]
	return t.until, up < t.until
}

// chord is how far the keys that open the menu were pressed.
type chord struct {
	pressed int
	since   time.Duration
}

var chordKeys = []display.Key{
	{Kind: display.Cancel},
	{Kind: display.Digit},
	{Kind: display.Digit},
	{Kind: display.Cancel},
	{Kind: display.Digit},
	{Kind: display.Digit},
	{Kind: display.Confirm},
}

// chordTime is how long the chord may take.
const chordTime = 10 * time.Second

func (c *chord) press(k display.Key, up time.Duration) bool {
	if c.pressed > 0 && (up-c.since > chordTime || k != chordKeys[c.pressed]) {
		*c = chord{}
	}
	if k != chordKeys[c.pressed] {
		return false
	}
	if c.pressed == 0 {
		c.since = up
	}
	if c.pressed++; c.pressed < len(chordKeys) {
		return false
	}
	*c = chord{}
	return true
}
