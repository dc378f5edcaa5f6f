package supervise

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	_ "github.com/ssg-safe/agent/internal/bubbles"
)

func TestNotifierSpeaksToSystemd(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	t.Setenv("NOTIFY_SOCKET", path)
	t.Setenv("WATCHDOG_USEC", "30000000")
	t.Setenv("WATCHDOG_PID", strconv.Itoa(os.Getpid()))

	n := NewNotifier(nil)
	if n.interval != 30*time.Second {
		t.Errorf("watchdog interval %v", n.interval)
	}
	n.Extend(90 * time.Second)
	n.Ready()
	n.Status("pronto,\n 3 pendentes")
	n.Status("pronto, 3 pendentes")
	n.Stopping()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := n.Run(ctx); err != nil {
		t.Fatal(err)
	}
	var got []string
	b := make([]byte, 256)
	for range 5 {
		k, err := socket.Read(b)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, string(b[:k]))
	}
	want := []string{"EXTEND_TIMEOUT_USEC=90000000", "READY=1", "STATUS=pronto, 3 pendentes", "STOPPING=1", "WATCHDOG=1"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestNotifierOutsideSystemd(t *testing.T) {
	for _, name := range []string{"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"} {
		t.Setenv(name, "")
	}
	var log bytes.Buffer
	n := NewNotifier(slog.New(slog.NewTextHandler(&log, nil)))
	n.Ready()
	n.Status("x")
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		if err := n.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	if log.Len() != 0 {
		t.Errorf("logged %s", log.String())
	}
}

func TestNotifierSaysWhatWentWrong(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", filepath.Join(t.TempDir(), "nobody"))
	t.Setenv("WATCHDOG_USEC", "soon")
	var log bytes.Buffer
	n := NewNotifier(slog.New(slog.NewTextHandler(&log, nil)))
	n.Ready()
	for _, part := range []string{"no watchdog", "soon", `state="READY=1"`} {
		if !strings.Contains(log.String(), part) {
			t.Errorf("the log does not say %q: %s", part, log.String())
		}
	}
	if n.interval != 0 {
		t.Errorf("interval %v", n.interval)
	}
}

// The watchdog must hunger exactly while a vital loop hangs.
func TestWatchdogFollowsTheHearts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		begin := time.Now()
		var pings []time.Duration
		n := &Notifier{log: slog.New(slog.NewTextHandler(&log, nil)), interval: 30 * time.Second}
		n.send = func(state string) (bool, error) {
			if state != "WATCHDOG=1" {
				t.Errorf("sent %q", state)
			}
			pings = append(pings, time.Since(begin))
			return true, errors.New("socket gone") // must not end the loop
		}
		steady, hangs := n.Heart("committer", 5*time.Second), n.Heart("terminal", 5*time.Second)
		ctx, cancel := context.WithTimeout(t.Context(), 119*time.Second)
		defer cancel()
		var loop sync.WaitGroup
		loop.Go(func() {
			for ctx.Err() == nil {
				now := time.Since(begin)
				steady.Beat()
				if now < 40*time.Second || now >= 80*time.Second {
					hangs.Beat()
				}
				time.Sleep(time.Second)
			}
		})
		if err := n.Run(ctx); err != nil {
			t.Error(err)
		}
		loop.Wait()
		want := []time.Duration{0, 15 * time.Second, 30 * time.Second, 90 * time.Second, 105 * time.Second}
		if diff := cmp.Diff(want, pings); diff != "" {
			t.Error(diff)
		}
		if !strings.Contains(log.String(), `loops="terminal (6s)"`) || strings.Contains(log.String(), "committer (") {
			t.Errorf("the log does not name the loop that hangs, and it alone:\n%s", log.String())
		}
	})
}
