package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/ssg-safe/agent/internal/agenttest"
)

// installUnit writes the unit where systemd-analyze finds it, with this program
// as what it starts, and perhaps the drop-in for boards without a screen.
func installUnit(t *testing.T, headless bool, change func(string) string) string {
	t.Helper()
	text, err := os.ReadFile("../../configs/ssg-agent.service")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	unit := strings.ReplaceAll(string(text), "ExecStart=/usr/bin/ssg-agent", "ExecStart="+agentBinary(t))
	// Optional programs of the console, which this machine may lack.
	unit = regexp.MustCompile(`(?m)^ExecStartPre=\+-/usr/bin/set(font|term) `).ReplaceAllString(unit, "ExecStartPre=+-/bin/true ")
	if change != nil {
		unit = change(unit)
	}
	path := filepath.Join(dir, "ssg-agent.service")
	if err := os.WriteFile(path, []byte(unit), 0o600); err != nil {
		t.Fatal(err)
	}
	if headless {
		drop, err := os.ReadFile("../../configs/ssg-agent-headless.conf")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(path+".d", 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(path+".d", "headless.conf"), drop, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return path
}

// TestUnit holds the unit against systemd itself: no warning, and an exposure
// that is called OK. A misspelt line must be noticed.
func TestUnit(t *testing.T) {
	analyze := agenttest.Tool(t, "systemd-analyze")
	verify := func(path string) string {
		out, err := exec.CommandContext(t.Context(), analyze, "verify", "--man=no", "--recursive-errors=no", path).CombinedOutput()
		if err != nil {
			out = append(out, err.Error()...)
		}
		return string(out)
	}
	for _, headless := range []bool{false, true} {
		if out := verify(installUnit(t, headless, nil)); out != "" {
			t.Errorf("headless %v: systemd-analyze verify says\n%s", headless, out)
		}
	}
	for name, change := range map[string][2]string{
		"misspelt key": {"WatchdogSec=", "WatchDogSec="},
		"bad value":    {"Restart=always", "Restart=often"},
	} {
		path := installUnit(t, false, func(s string) string { return strings.Replace(s, change[0], change[1], 1) })
		if verify(path) == "" {
			t.Errorf("%s: not noticed", name)
		}
	}
	out, err := exec.CommandContext(t.Context(), analyze, "security", "--offline=true", "--no-pager", installUnit(t, false, nil)).CombinedOutput()
	level := regexp.MustCompile(`Overall exposure level for \S+: ([0-9.]+)`).FindSubmatch(out)
	if level == nil {
		t.Fatalf("systemd-analyze security: %v\n%s", err, out)
	}
	if got, err := strconv.ParseFloat(string(level[1]), 64); err != nil || got > 2 {
		t.Errorf("exposure %s, want at most 2.0\n%s", level[1], out)
	}
}

// TestUnitHasTheCredentials: every credential that the example configuration
// names is given by the unit, with a word for "there is none".
func TestUnitHasTheCredentials(t *testing.T) {
	unit, err := os.ReadFile("../../configs/ssg-agent.service")
	if err != nil {
		t.Fatal(err)
	}
	example, err := os.ReadFile("../../configs/kiosk-serial.toml")
	if err != nil {
		t.Fatal(err)
	}
	names := regexp.MustCompile(`(?m)^[a-z_]+ = \{ credential = "([^"]+)" \}`).FindAllStringSubmatch(string(example), -1)
	if len(names) == 0 {
		t.Fatal("the example names no credential")
	}
	for _, n := range names {
		for _, line := range []string{"LoadCredential=" + n[1] + ":/etc/ssg-agent/secrets/" + n[1], "SetCredential=" + n[1] + ":absent"} {
			if !strings.Contains(string(unit), line+"\n") {
				t.Errorf("the unit has no line %s", line)
			}
		}
	}
}

// TestUdevRules: every line is a rule of keys that match and keys that assign,
// and the example's printer is a name that the rules make.
func TestUdevRules(t *testing.T) {
	rules, err := os.ReadFile("../../configs/60-ssg-agent.rules")
	if err != nil {
		t.Fatal(err)
	}
	match := regexp.MustCompile(`^(ACTION|SUBSYSTEMS?|KERNELS?|DRIVERS?|ATTRS?\{[A-Za-z_]+\})=="[^"]+"$`)
	assign := regexp.MustCompile(`^(SYMLINK\+|GROUP|MODE|ENV\{[A-Z_]+\}|ATTR\{[a-z_]+\})="[^"]+"$`)
	for line := range strings.Lines(string(rules)) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		matches, assigns := 0, 0
		for _, term := range strings.Split(line, ", ") {
			switch {
			case match.MatchString(term) && assigns == 0:
				matches++
			case assign.MatchString(term):
				assigns++
			default:
				t.Errorf("not a term of a rule, or in the wrong place: %s", term)
			}
		}
		if matches == 0 || assigns == 0 {
			t.Errorf("a rule that matches or does nothing: %s", line)
		}
	}
	example, err := os.ReadFile("../../configs/kiosk-serial.toml")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(example), `path = "/dev/ssg/printer"`) || !strings.Contains(string(rules), `SYMLINK+="ssg/printer"`) {
		t.Error("the example's printer is not the name that the rules make")
	}
}
