package providertest

import (
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"testing/synctest"
)

// Schedules runs random histories, each from a seed of its own and in a bubble of
// its own. SSG_SCHEDULES sets how many; make prove runs more. It returns how many
// they were.
func Schedules(t *testing.T, run func(t *testing.T, seed uint64)) int {
	t.Helper()
	n := 500
	if text := os.Getenv("SSG_SCHEDULES"); text != "" {
		var err error
		if n, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
	}
	first := rand.Uint64()
	t.Logf("seeds from %d", first)
	for i := range n {
		seed := first + uint64(i)
		synctest.Test(t, func(t *testing.T) { run(t, seed) })
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
	return n
}
