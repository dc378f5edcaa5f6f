package store

import "time"

// SetCheckTimeout sets the time that the boot check may take and returns the
// old one.
func SetCheckTimeout(d time.Duration) time.Duration {
	old := checkTimeout
	checkTimeout = d
	return old
}
