package pix

import (
	"strings"
	"sync"
	"testing"
	"time"
)

func TestTxIDForm(t *testing.T) {
	ids, err := NewTxIDs("K01N")
	if err != nil {
		t.Fatal(err)
	}
	ids.random = func(b []byte) { copy(b, "\x00\x44\x32\x14\xc7") }
	// 2026-01-01T00:00:00Z is 1767225600000 ms.
	got := ids.Next(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))
	if want := "K01N" + "01KDVDNA00" + "001" + "01234567"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if found := txidFault(got); found != "" || len(got) != 25 {
		t.Errorf("no txid: %s", found)
	}
	if got := ids.Next(time.Date(1969, 1, 1, 0, 0, 0, 0, time.UTC)); got[4:17] != "0000000000002" {
		t.Errorf("before 1970: got %s", got)
	}
	if got := ids.Next(time.Date(30000, 1, 1, 0, 0, 0, 0, time.UTC)); len(got) != 25 || strings.Trim(got, alphabet) != "" {
		t.Errorf("far future: got %s", got)
	}
}

func TestTerminalCode(t *testing.T) {
	for _, tt := range []struct{ code, err string }{
		{"K01N", ""},
		{"LOJA", ""},
		{"", "terminal code: found 0 characters, expected 4 upper-case letters or digits"},
		{"K01", "terminal code: found 3 characters, expected 4 upper-case letters or digits"},
		{"K01NN", "terminal code: found 5 characters, expected 4 upper-case letters or digits"},
		{"k01n", `terminal code: found "k" at character 1, expected 4 upper-case letters or digits`},
		{"K-1N", `terminal code: found "-" at character 2, expected 4 upper-case letters or digits`},
		{"K1É", `terminal code: found "É" (U+00C9) at character 3, expected 4 upper-case letters or digits`},
	} {
		_, err := NewTxIDs(tt.code)
		if err == nil && tt.err != "" || err != nil && err.Error() != tt.err {
			t.Errorf("%q: got %v, want %q", tt.code, err, tt.err)
		}
	}
}

// Ids differ though the clock stands still, jumps back, and many ask at once;
// and either of counter and random bits alone keeps them apart.
func TestTxIDsUnique(t *testing.T) {
	const workers, each = 8, 10_000
	frozen := func(b []byte) { clear(b) }
	for _, tt := range []struct {
		name   string
		random func([]byte)
		each   int
	}{
		{"as shipped", nil, each},
		{"random bits stuck", frozen, 1<<15/workers - 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ids, err := NewTxIDs("T001")
			if err != nil {
				t.Fatal(err)
			}
			if tt.random != nil {
				ids.random = tt.random
			}
			start := time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)
			made := make([][]string, workers)
			var wg sync.WaitGroup
			for w := range workers {
				wg.Go(func() {
					for i := range tt.each {
						now := start.Add(-time.Duration(i/100) * time.Hour) // backwards
						made[w] = append(made[w], ids.Next(now))
					}
				})
			}
			wg.Wait()
			seen := map[string]bool{}
			for _, some := range made {
				for _, id := range some {
					if seen[id] {
						t.Fatalf("%s twice", id)
					}
					seen[id] = true
				}
			}
		})
	}
	t.Run("restarted at the same millisecond", func(t *testing.T) {
		now := time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)
		seen := map[string]bool{}
		for range 1000 {
			ids, err := NewTxIDs("T001")
			if err != nil {
				t.Fatal(err)
			}
			for range 3 {
				id := ids.Next(now)
				if seen[id] {
					t.Fatalf("%s twice", id)
				}
				seen[id] = true
			}
		}
	})
}

func BenchmarkTxID(b *testing.B) {
	ids, err := NewTxIDs("T001")
	if err != nil {
		b.Fatal(err)
	}
	now := time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)
	b.ReportAllocs()
	for b.Loop() {
		ids.Next(now)
	}
}
