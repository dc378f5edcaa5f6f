package supervise

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
)

// Heart is the pulse of one vital loop.
type Heart struct {
	name   string
	maxAge time.Duration

	mu   sync.Mutex // guards last
	last time.Time
}

// Beat says that the loop has turned. It is cheap; call it in every round, and
// let an idle loop turn at least every third of the heart's age.
func (h *Heart) Beat() {
	now := time.Now()
	h.mu.Lock()
	h.last = now
	h.mu.Unlock()
}

func (h *Heart) age() time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	return time.Since(h.last)
}

// Notifier talks to systemd: the state of the service, and its watchdog. Outside
// systemd (no NOTIFY_SOCKET) everything is a no-op. It is safe for concurrent
// use.
type Notifier struct {
	log      *slog.Logger
	send     func(state string) (bool, error)
	interval time.Duration // the watchdog's; 0: none

	mu     sync.Mutex // guards the rest
	hearts []*Heart
	status string
}

// NewNotifier reads NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID. A nil logger
// discards.
func NewNotifier(log *slog.Logger) *Notifier {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	interval, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		log.Warn("no watchdog", "err", err)
	}
	return &Notifier{
		log: log, interval: interval,
		send: func(state string) (bool, error) { return daemon.SdNotify(false, state) },
	}
}

// Heart registers a vital loop that beats at least every maxAge. It counts as
// having beaten now.
func (n *Notifier) Heart(name string, maxAge time.Duration) *Heart {
	h := &Heart{name: name, maxAge: maxAge, last: time.Now()}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.hearts = append(n.hearts, h)
	return h
}

// Stale returns the vital loops that have not beaten for too long, each with
// how long, in the order they were registered.
func (n *Notifier) Stale() []string {
	n.mu.Lock()
	hearts := n.hearts
	n.mu.Unlock()
	var stale []string
	for _, h := range hearts {
		if age := h.age(); age > h.maxAge {
			stale = append(stale, fmt.Sprintf("%s (%v)", h.name, age.Round(time.Millisecond)))
		}
	}
	return stale
}

// Ready says that the main loop runs; hardware may be missing. The watchdog
// counts from here.
func (n *Notifier) Ready() { n.tell(daemon.SdNotifyReady) }

// Stopping says that an orderly shutdown has begun.
func (n *Notifier) Stopping() { n.tell(daemon.SdNotifyStopping) }

// Extend asks for d more before the start (or stop) times out, counted from
// now; for a boot check that takes long.
func (n *Notifier) Extend(d time.Duration) {
	n.tell(fmt.Sprintf("EXTEND_TIMEOUT_USEC=%d", d.Microseconds()))
}

// Status shows one line to the people who run systemctl status. A line that did
// not change is not sent again.
func (n *Notifier) Status(line string) {
	line = strings.Join(strings.Fields(line), " ")
	n.mu.Lock()
	same := line == n.status
	n.status = line
	n.mu.Unlock()
	if !same {
		n.tell("STATUS=" + line)
	}
}

func (n *Notifier) tell(state string) {
	if _, err := n.send(state); err != nil {
		n.log.Warn("systemd was not notified", "state", state, "err", err)
	}
}

// Run pings the watchdog at half its interval while every heart beats. It is a
// [Component]; without a watchdog it only waits for ctx.
func (n *Notifier) Run(ctx context.Context) error {
	if n.interval == 0 {
		<-ctx.Done()
		return nil
	}
	tick := time.NewTicker(n.interval / 2)
	defer tick.Stop()
	for {
		if stale := n.Stale(); stale != nil {
			n.log.Error("watchdog not pinged: a vital loop hangs", "loops", strings.Join(stale, ", "), "pid", os.Getpid())
		} else {
			n.tell(daemon.SdNotifyWatchdog)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}
