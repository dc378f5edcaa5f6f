package device

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// machine is a clock that can be set wrong.
type machine struct {
	now    time.Time
	up     time.Duration
	synced bool
	boots  int
}

func (m *machine) sources() Sources {
	return Sources{
		Now:    func() time.Time { return m.now },
		Up:     func() time.Duration { return m.up },
		Boot:   func() string { m.boots++; return "boot-1" },
		Synced: func() bool { return m.synced },
	}
}

func (m *machine) wait(d time.Duration) { m.now, m.up = m.now.Add(d), m.up+d }

func TestClock(t *testing.T) {
	built := time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)
	m := &machine{now: time.Date(1970, 1, 1, 0, 0, 5, 0, time.FixedZone("", -3*3600)), up: 5 * time.Second}
	c := NewClockFrom(m.sources(), built)
	expect := func(when string, wall time.Time, quality string) {
		t.Helper()
		got := c.Wall()
		if !got.Equal(wall) || got.Location() != time.UTC || c.Quality() != quality {
			t.Errorf("%s: %v %s, want %v %s", when, got, c.Quality(), wall, quality)
		}
	}
	expect("boot in 1970", built, QualityFloor)
	m.wait(time.Hour)
	expect("an hour later", built.Add(time.Hour), QualityFloor) // the floor moves on with the machine

	m.synced = true
	expect("a synced clock behind the floor is still wrong", built.Add(time.Hour), QualityFloor)
	m.synced = false

	m.now = built.AddDate(0, 2, 0)
	expect("jump to a believable time", m.now, QualityUnsynced)
	m.synced = true
	expect("time server found", m.now, QualitySynced)

	server := m.now.Add(time.Minute)
	c.SetFloor(server)
	expect("server is ahead", server, QualityFloor)
	c.SetFloor(built)
	expect("an older floor does not lower it", server, QualityFloor)
	m.wait(10 * time.Second)
	c.SetFloor(server.Add(5 * time.Second))
	expect("nor one that has already passed", server.Add(10*time.Second), QualityFloor)

	m.now = m.now.AddDate(0, -3, 0)
	expect("jump three months back", server.Add(10*time.Second), QualityFloor)
	m.now = m.now.AddDate(10, 0, 0)
	expect("jump ten years ahead", m.now, QualitySynced)

	if c.Up() != m.up {
		t.Errorf("up %v, want %v", c.Up(), m.up)
	}
	first, again := c.Boot(), c.Boot()
	if first != "boot-1" || again != first || m.boots != 1 {
		t.Errorf("boot %q, then %q, asked %d times, want once", first, again, m.boots)
	}
}

// TestPassed: nothing is deleted by the word of a clock that nobody confirmed.
func TestPassed(t *testing.T) {
	built := time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)
	m := &machine{now: built.AddDate(40, 0, 0), up: time.Minute}
	c := NewClockFrom(m.sources(), built)
	m.wait(time.Hour)
	if got, want := c.Passed(), built.Add(time.Hour); !got.Equal(want) {
		t.Errorf("a clock of its own in 2066: %v, want the floor and the hour since, %v", got, want)
	}
	m.synced = true
	if got := c.Passed(); !got.Equal(m.now) {
		t.Errorf("kept by a time server: %v, want %v", got, m.now)
	}
	m.synced, m.now = false, time.Unix(0, 0)
	if got, want := c.Passed(), built.Add(time.Hour); !got.Equal(want) {
		t.Errorf("in 1970: %v, want %v", got, want)
	}
	if got := NewClockFrom(m.sources(), time.Time{}).Passed(); !got.IsZero() {
		t.Errorf("without a floor: %v, want none", got)
	}
}

func TestClockWithoutFloor(t *testing.T) {
	m := &machine{now: time.Unix(0, 0)}
	c := NewClockFrom(m.sources(), time.Time{})
	if got := c.Wall(); !got.Equal(time.Unix(0, 0)) || c.Quality() != QualityUnsynced {
		t.Errorf("got %v %s", got, c.Quality())
	}
}

func TestSystemClock(t *testing.T) {
	c := NewClock(time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC))
	a, before := c.Up(), time.Now()
	if wall := c.Wall(); wall.Before(before.Round(0)) {
		t.Errorf("wall %v is before %v", wall, before)
	}
	if b := c.Up(); a <= 0 || b < a {
		t.Errorf("up went from %v to %v", a, b)
	}
	if q := c.Quality(); q != QualitySynced && q != QualityUnsynced {
		t.Errorf("quality %q", q)
	}
	if c.Boot() == "" || c.Boot() != NewClock(time.Time{}).Boot() {
		t.Errorf("boot %q is not stable", c.Boot())
	}
}

func TestBootID(t *testing.T) {
	path := filepath.Join(t.TempDir(), "boot_id")
	if err := os.WriteFile(path, []byte("0f0f-1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := bootID(path); got != "0f0f-1" {
		t.Errorf("got %q", got)
	}
	hidden := filepath.Join(t.TempDir(), "none")
	a, b := bootID(hidden), bootID(hidden)
	if !strings.HasPrefix(a, "process-") || a == b {
		t.Errorf("without the file: %q and %q, want two different process ids", a, b)
	}
}

func TestTimesyncd(t *testing.T) {
	path := filepath.Join(t.TempDir(), "synchronized")
	now := time.Now()
	if timesyncd(path, now) {
		t.Error("synced without the file")
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		age  time.Duration
		want bool
	}{{time.Minute, true}, {23 * time.Hour, true}, {25 * time.Hour, false}, {-time.Hour, false}} {
		if err := os.Chtimes(path, now, now.Add(-test.age)); err != nil {
			t.Fatal(err)
		}
		if got := timesyncd(path, now); got != test.want {
			t.Errorf("file %v old: %v, want %v", test.age, got, test.want)
		}
	}
}
