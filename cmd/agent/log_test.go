package main

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	_ "github.com/ssg-safe/agent/internal/bubbles"
)

// TestLogIsLimited: a fault that repeats itself is written a few times, says
// later how often it was held back, and hides no other message.
func TestLogIsLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		log := slog.New(newLogHandler(&out, slog.LevelInfo, false, false))
		for i := range 100 {
			log.With("port", "x").Warn("printer is not ready", "try", i)
		}
		log.Error("something else")
		log.Debug("too detailed")
		if n := strings.Count(out.String(), "printer is not ready"); n != logBurst {
			t.Errorf("written %d times, want %d", n, logBurst)
		}
		if !strings.Contains(out.String(), "something else") || strings.Contains(out.String(), "too detailed") {
			t.Errorf("got\n%s", out.String())
		}
		out.Reset()
		time.Sleep(logWindow)
		log.Warn("printer is not ready")
		log.Warn("printer is not ready")
		if n := strings.Count(out.String(), "held_back=80"); n != 1 || strings.Count(out.String(), "\n") != 2 {
			t.Errorf("a minute later:\n%s", out.String())
		}
	})
}

// TestLogForTheJournal: a priority in front of every line, and no second time.
func TestLogForTheJournal(t *testing.T) {
	var out bytes.Buffer
	log := slog.New(newLogHandler(&out, slog.LevelDebug, false, true))
	log.Debug("d")
	log.Info("i")
	log.WithGroup("g").Warn("w", "time", "mine")
	log.Error("e")
	want := "<7>level=DEBUG msg=d\n<6>level=INFO msg=i\n<4>level=WARN msg=w g.time=mine\n<3>level=ERROR msg=e\n"
	if out.String() != want {
		t.Errorf("got\n%swant\n%s", out.String(), want)
	}
	out.Reset()
	slog.New(newLogHandler(&out, slog.LevelInfo, true, true)).Info("i")
	if got := out.String(); got != "<6>{\"level\":\"INFO\",\"msg\":\"i\"}\n" {
		t.Errorf("got %s", got)
	}
}
