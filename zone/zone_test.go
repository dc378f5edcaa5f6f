package zone

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ssg-safe/agent/internal/agenttest"
)

const probe = "SSG_ZONE_PROBE"

// A test sets what this process, run again where the machine's database is not,
// is to load.
func TestMain(m *testing.M) {
	name := os.Getenv(probe)
	if name == "" {
		os.Exit(m.Run())
	}
	zone, err := Load(name)
	if err != nil {
		os.Stdout.WriteString("error: " + err.Error())
		return
	}
	os.Stdout.WriteString(time.Date(2026, 1, 15, 15, 0, 0, 0, time.UTC).In(zone).Format(time.RFC3339) + " " + zone.String())
}

// TestAgreesWithTheDatabase holds the table to the machine's database, hour by
// hour: to its list of Brazil's zones, and from the end of daylight saving time on
// to the offsets. A new law makes it fail, and the table wrong.
func TestAgreesWithTheDatabase(t *testing.T) {
	db := filepath.Join("/usr/share/zoneinfo", "zone1970.tab")
	table, err := os.ReadFile(db)
	if err != nil {
		t.Fatalf("%v: install tzdata (make deps)", err)
	}
	listed := 0
	for line := range bytes.Lines(table) {
		f := strings.Fields(string(line))
		if len(f) < 3 || f[0][0] == '#' || !strings.Contains(","+f[0]+",", ",BR,") {
			continue
		}
		listed++
		if _, ok := brazil[f[2]]; !ok {
			t.Errorf("the table lacks %s", f[2])
		}
	}
	if listed < 16 {
		t.Errorf("%s lists %d zones of Brazil", db, listed)
	}
	for name, hours := range brazil {
		zone, err := time.LoadLocation(name)
		if err != nil {
			t.Error(err)
			continue
		}
		for at := time.Date(2019, 3, 1, 0, 0, 0, 0, time.UTC); at.Year() < 2040; at = at.Add(time.Hour) {
			if _, offset := at.In(zone).Zone(); offset != hours*3600 {
				t.Errorf("%s is %d s from UTC on %s, not %d h", name, offset, at, hours)
				break
			}
		}
	}
}

// TestWithoutADatabase runs this test where no database can be found: in a file
// system of its own that holds nothing else.
func TestWithoutADatabase(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"America/Sao_Paulo":  "2026-01-15T12:00:00-03:00 America/Sao_Paulo",
		"America/Rio_Branco": "2026-01-15T10:00:00-05:00 America/Rio_Branco",
		"America/Noronha":    "2026-01-15T13:00:00-02:00 America/Noronha",
		"UTC":                "2026-01-15T15:00:00Z UTC",
		"Europe/Lisbon":      `error: time zone "Europe/Lisbon" is not known to this machine: unknown time zone Europe/Lisbon`,
		"Local":              `error: time zone "Local" names no place`,
	} {
		cmd := exec.Command(agenttest.Tool(t, "unshare"), "--user", "--map-root-user", "--mount", "sh", "-c",
			`mount -t tmpfs none /usr/share/zoneinfo && exec "$0"`, self)
		cmd.Env = []string{probe + "=" + name, "PATH=" + os.Getenv("PATH"), "GOROOT=/nowhere"}
		out, err := cmd.CombinedOutput()
		if err != nil || string(out) != want {
			t.Errorf("%s: got %q, %v; want %q", name, out, err, want)
		}
	}
}
