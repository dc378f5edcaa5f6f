package fleet_test

import (
	"testing"
	"testing/synctest"
	"time"
)

// TestSync: what is in the ledger reaches the hub byte for byte, before and
// after the connection is made.
func TestSync(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 250)
		r.start()
		after(time.Second)
		r.wantSynced()
		r.append(3)
		after(time.Second)
		r.wantSynced()
		r.end()
	})
}
