package device

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// How far a wall time may be believed.
const (
	// QualityUnsynced: nobody has confirmed the clock; it is past the floor.
	QualityUnsynced = "unsynced"
	// QualityFloor: the clock is behind a time that is known to have passed, so
	// that time stands in for it. The true time is later.
	QualityFloor = "floor"
	// QualitySynced: the system keeps the clock with a time server.
	QualitySynced = "synced"
)

// Sources is where a [Clock] gets its time from. [SystemSources] is the real
// machine; tests and simulations put their own.
type Sources struct {
	// Now is the wall clock; it may jump and be wrong by years.
	Now func() time.Time
	// Up is the time since boot, suspend included; it never jumps.
	Up func() time.Duration
	// Boot identifies the boot that Up counts from.
	Boot func() string
	// Synced reports whether a time server keeps Now right.
	Synced func() bool
}

// Clock tells wall time with its quality, and time since boot. It is safe for
// concurrent use.
type Clock struct {
	src  Sources
	boot func() string

	mu      sync.Mutex // guards the floor
	floor   time.Time
	floorUp time.Duration // Up when the floor was learned
}

// NewClock returns the machine's clock. The floor is a time known to have
// passed, such as the build's or the last one a trusted server told; zero: none.
func NewClock(floor time.Time) *Clock { return NewClockFrom(SystemSources(), floor) }

// NewClockFrom is [NewClock] on other sources, all of which must be set.
func NewClockFrom(src Sources, floor time.Time) *Clock {
	c := &Clock{src: src, boot: sync.OnceValue(src.Boot)}
	c.SetFloor(floor)
	return c
}

// SetFloor raises the floor to t, a time that is known to have passed by now.
// An earlier floor than the one in force changes nothing.
func (c *Clock) SetFloor(t time.Time) {
	up := c.src.Up()
	c.mu.Lock()
	defer c.mu.Unlock()
	if t.After(c.floorAt(up)) {
		c.floor, c.floorUp = t, up
	}
}

// floorAt is the floor plus the time that certainly went by since it was
// learned; zero while there is none. The caller holds mu.
func (c *Clock) floorAt(up time.Duration) time.Time {
	if c.floor.IsZero() {
		return c.floor
	}
	return c.floor.Add(up - c.floorUp)
}

// Wall returns the wall time in UTC, never before the floor. It may jump in
// both directions; use [Clock.Up] to measure and sequence numbers to order.
func (c *Clock) Wall() time.Time {
	t, _ := c.wall()
	return t
}

func (c *Clock) wall() (t time.Time, atFloor bool) {
	now, up := c.src.Now().Round(0), c.src.Up()
	c.mu.Lock()
	floor := c.floorAt(up)
	c.mu.Unlock()
	if now.Before(floor) {
		return floor.Round(0).UTC(), true
	}
	return now.UTC(), false
}

// Passed returns a time that has certainly passed: the wall time when a time
// server keeps it, else the floor and what went by since. It is zero while
// nothing is known. What is deleted by age is measured by it.
func (c *Clock) Passed() time.Time {
	if t, atFloor := c.wall(); atFloor || c.src.Synced() {
		return t
	}
	up := c.src.Up()
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.floorAt(up).Round(0).UTC()
}

// Up returns the time since boot, suspend included (CLOCK_BOOTTIME).
func (c *Clock) Up() time.Duration { return c.src.Up() }

// Boot identifies the boot that [Clock.Up] counts from: two values of Up
// compare only under the same boot.
func (c *Clock) Boot() string { return c.boot() }

// Quality says how far [Clock.Wall] may be believed: [QualityFloor],
// [QualitySynced] or [QualityUnsynced].
func (c *Clock) Quality() string {
	_, atFloor := c.wall()
	switch {
	case atFloor:
		return QualityFloor
	case c.src.Synced():
		return QualitySynced
	}
	return QualityUnsynced
}

// SystemSources reads the machine's clocks.
func SystemSources() Sources {
	return Sources{
		Now:    time.Now,
		Up:     bootTime,
		Boot:   func() string { return bootID("/proc/sys/kernel/random/boot_id") },
		Synced: func() bool { return timesyncd("/run/systemd/timesync/synchronized", time.Now()) || kernelSynced() },
	}
}

func bootTime() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		panic(fmt.Sprintf("clock_gettime(CLOCK_BOOTTIME): %v", err)) // Linux has had it since 2.6.39
	}
	return time.Duration(ts.Nano())
}

// bootID reads the kernel's boot id. Where the file is hidden (ProcSubset=pid)
// every start of the process counts as a boot of its own: deadlines from before
// it are then looked up instead of believed, which is safe.
func bootID(path string) string {
	b, err := os.ReadFile(path)
	if id := strings.TrimSpace(string(b)); err == nil && id != "" {
		return id
	}
	var random [16]byte
	rand.Read(random[:])
	return "process-" + hex.EncodeToString(random[:])
}

// syncedFor is how long one synchronisation is believed: timesyncd repeats it
// at least every 34 minutes, and a bad crystal loses some ten seconds a day.
const syncedFor = 24 * time.Hour

// timesyncd asks systemd-timesyncd, which touches the file at every
// synchronisation. It is the only way under ProtectClock=yes.
func timesyncd(path string, now time.Time) bool {
	st, err := os.Stat(path)
	if err != nil {
		return false
	}
	age := now.Sub(st.ModTime())
	return age > -time.Minute && age < syncedFor
}

// kernelSynced asks the kernel, where the sandbox allows it. It covers chrony
// and ntpd.
func kernelSynced() bool {
	var tx unix.Timex
	state, err := unix.Adjtimex(&tx)
	return err == nil && state != unix.TIME_ERROR && tx.Status&unix.STA_UNSYNC == 0
}
