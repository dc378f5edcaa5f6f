package fleet

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/bbolt"

	"github.com/ssg-safe/agent/fleet/wire"
	"github.com/ssg-safe/agent/ledger"
)

// counter names one of the link's counters.
type counter int

const (
	cDials counter = iota
	cConnects
	cLosses
	cBatches
	cEntries
	cStalls
	cWants
	cPoison
	cAcks
	cPays
	cCharges
	cPayouts
	cHints
	cRefusedTopic
	cRefusedForm
	cRefusedSignature
	cRefusedType
	cRefusedAudience
	cRefusedExpired
	cRefusedReplay
	cRefusedHead
	cDroppedInbox
	cDroppedEvents
	cDroppedResults
	nCounters
)

var counterNames = [nCounters]string{
	cDials:            "dials",
	cConnects:         "connects",
	cLosses:           "losses",
	cBatches:          "batches",
	cEntries:          "entries",
	cStalls:           "stalls",
	cWants:            "wants",
	cPoison:           "poison",
	cAcks:             "acks",
	cPays:             "pays",
	cCharges:          "charges",
	cPayouts:          "payouts",
	cHints:            "hints",
	cRefusedTopic:     "refused_topic",
	cRefusedForm:      "refused_form",
	cRefusedSignature: "refused_signature",
	cRefusedType:      "refused_type",
	cRefusedAudience:  "refused_audience",
	cRefusedExpired:   "refused_expired",
	cRefusedReplay:    "refused_replay",
	cRefusedHead:      "refused_head",
	cDroppedInbox:     "dropped_inbox",
	cDroppedEvents:    "dropped_events",
	cDroppedResults:   "dropped_results",
}

type counters [nCounters]atomic.Uint64

func (c *counters) inc(n counter) { c[n].Add(1) }

func (c *counters) all() map[string]uint64 {
	m := make(map[string]uint64, nCounters)
	for n := range c {
		m[counterNames[n]] = c[n].Load()
	}
	return m
}

// linkState is what Status tells and connections leave to each other.
type linkState struct {
	connected   bool
	broker      string
	since       time.Time
	lastError   string
	heard       time.Time
	hold        wire.Hold
	quarantined bool
	head, acked ledger.Head
}

// update changes the state under its mutex.
func (l *Link) update(change func(*linkState)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	change(&l.state)
}

// Status returns the link's state. It reads the store, and tells what it last
// knew where that fails.
func (l *Link) Status() Status {
	var head, acked ledger.Head
	var pending uint64
	err := l.o.Store.View(func(tx *bbolt.Tx) (err error) {
		head, acked, pending, err = position(tx)
		return err
	})
	l.mu.Lock()
	s := l.state
	if err == nil {
		l.state.head, l.state.acked = head, acked
	}
	l.mu.Unlock()
	if err != nil {
		head, acked = s.head, s.acked
	}
	return Status{
		Connected: s.connected, Broker: s.broker, Since: s.since, LastError: s.lastError, Heard: s.heard,
		Hold: s.hold, Quarantined: s.quarantined, Head: head, Acked: acked, Pending: pending, Counters: l.counts.all(),
	}
}

// position is the ledger's head, the hub's cursor, and how many entries lie
// between them.
func position(tx *bbolt.Tx) (head, acked ledger.Head, pending uint64, err error) {
	if head, err = ledger.GetHead(tx); err != nil {
		return head, acked, 0, err
	}
	if acked, err = ledger.Cursor(tx, Consumer); err != nil {
		return head, acked, 0, err
	}
	switch {
	case head.Epoch == acked.Epoch:
		// A cursor that never moved stands before what has been pruned for others.
		anchor, err := ledger.GetAnchor(tx)
		if err != nil {
			return head, acked, 0, err
		}
		from := acked.Seq
		if anchor.Epoch == acked.Epoch {
			from = max(from, anchor.Seq)
		}
		return head, acked, head.Seq - min(from, head.Seq), nil
	default:
		// Only after a restore, until the new epoch is approved.
		for range ledger.Entries(tx, after(acked.Position)) {
			pending++
		}
		return head, acked, pending, nil
	}
}

// after is where the entry behind p can be.
func after(p ledger.Position) ledger.Position {
	return ledger.Position{Epoch: p.Epoch, Seq: p.Seq + 1}
}

// limiter lets a message of each kind through once in a while, so that logs and
// alarms stay bounded whatever a broker sends. Kinds are constants of this
// package.
type limiter struct {
	every time.Duration
	mu    sync.Mutex // guards last and held
	last  map[string]time.Time
	held  map[string]int
}

// allow reports whether a kind may be told now, and how many were held back.
func (m *limiter) allow(kind string) (held int, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	if t, told := m.last[kind]; told && now.Sub(t) < m.every {
		m.held[kind]++
		return 0, false
	}
	if m.last == nil {
		m.last, m.held = make(map[string]time.Time), make(map[string]int)
	}
	held = m.held[kind]
	m.last[kind], m.held[kind] = now, 0
	return held, true
}

// warn logs, each message at most once a minute.
func (l *Link) warn(msg string, args ...any) {
	if held, ok := l.warnings.allow(msg); ok {
		if held > 0 {
			args = append(args, slog.Int("suppressed", held))
		}
		l.log.Log(context.Background(), slog.LevelWarn, msg, args...)
	}
}

// alarm raises an event of a kind at most once an hour.
func (l *Link) alarm(kind string, detail map[string]string) {
	if _, ok := l.alarms.allow(kind); ok {
		l.Event(wire.LevelAlarm, kind, detail)
	}
}
