package wire

import (
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/ssg-safe/agent/ledger"
)

// Message is a plain JSON message from terminal to hub: [State], [Hello],
// [Evt], [Tele], [Res], [PayGet] or [Propose]. V of each is [Version].
type Message interface {
	// Channel is where the message travels.
	Channel() Channel

	version() int
	// utc is the message as it is written: times in UTC, to the millisecond.
	utc() Message
	check() error
}

// State says whether the terminal is there. It is retained; the same channel
// carries the last will, with On false. A will whose SID is not the newest
// belongs to a session that has been replaced, and means nothing.
type State struct {
	V       int       `json:"v"`                 // version of the message, 1
	On      bool      `json:"on"`                // the terminal is connected
	SID     string    `json:"sid"`               // id of the session: random, new for each connection
	Boot    string    `json:"boot,omitempty"`    // id of the terminal's boot; always there when on
	Version string    `json:"version,omitempty"` // version of the agent; always there when on
	At      time.Time `json:"at,omitzero"`       // wall clock of the terminal, UTC; always there when on
}

// Hello is the first message of a session: the hub answers with an ack, and
// sends again whatever it has outstanding for the terminal.
type Hello struct {
	V       int         `json:"v"`       // version of the message, 1
	SID     string      `json:"sid"`     // id of the session, as in state
	Device  string      `json:"device"`  // the terminal's own name
	Version string      `json:"version"` // version of the agent
	Head    ledger.Head `json:"head"`    // newest entry of the ledger; seq 0 when there is none
	Acked   ledger.Head `json:"acked"`   // newest entry that the hub has acknowledged; seq 0 when there is none
	Ctr     uint64      `json:"ctr"`     // highest counter that was accepted in any token; 0 when none was
	Clock   string      `json:"clock"`   // quality of the wall clock: unsynced, floor, synced or anchored
	Pending int         `json:"pending"` // charges that are not settled
	Free    int64       `json:"free"`    // bytes free in the store
}

// Level is how urgent an event is.
type Level string

// The levels.
const (
	LevelInfo  Level = "info"
	LevelWarn  Level = "warn"
	LevelAlarm Level = "alarm"
)

// Evt tells of something that somebody may have to look at.
type Evt struct {
	V      int               `json:"v"`                // version of the message, 1
	SID    string            `json:"sid"`              // id of the session, as in state
	ID     string            `json:"id"`               // id of the event: sent again, it is the same
	Kind   string            `json:"kind"`             // what happened, such as printer.jam
	Level  Level             `json:"level"`            // info, warn or alarm
	At     time.Time         `json:"at"`               // wall clock of the terminal, UTC
	Clock  string            `json:"clock"`            // quality of the wall clock, as in hello
	Detail map[string]string `json:"detail,omitempty"` // more about it; never personal data
}

// Tele holds measurements. It may be lost; nothing is decided by it.
type Tele struct {
	V        int               `json:"v"`                  // version of the message, 1
	SID      string            `json:"sid"`                // id of the session, as in state
	At       time.Time         `json:"at"`                 // wall clock of the terminal, UTC
	Clock    string            `json:"clock"`              // quality of the wall clock, as in hello
	UpMS     int64             `json:"up_ms"`              // clock since boot, milliseconds
	Counters map[string]uint64 `json:"counters,omitempty"` // sums since the agent started
	Gauges   map[string]int64  `json:"gauges,omitempty"`   // values of this moment
}

// Code is why a res says what it says.
type Code string

// The codes. The hub ends its retries on any of them except those that ask it
// to try again ([Code.Again]).
const (
	CodeDone        Code = "done"        // ok: it is durable
	CodeKnown       Code = "known"       // ok: nothing new, it was durable before
	CodeUnknown     Code = "unknown"     // no such charge on this terminal
	CodeMismatch    Code = "mismatch"    // recorded, but it does not fit the charge: a person must look
	CodeConflict    Code = "conflict"    // the reference is taken by a request with other content
	CodeInvalid     Code = "invalid"     // understood and never possible, such as an unknown merchant
	CodeBusy        Code = "busy"        // not now: try again
	CodeUnavailable Code = "unavailable" // not in this state of the terminal: try again later
)

// Codes lists every code.
func Codes() []Code {
	return []Code{CodeDone, CodeKnown, CodeUnknown, CodeMismatch, CodeConflict, CodeInvalid, CodeBusy, CodeUnavailable}
}

// Again reports whether the hub should send the same once more, later.
func (c Code) Again() bool { return c == CodeBusy || c == CodeUnavailable }

// Res says what became of one pay, charge or payout token.
type Res struct {
	V      int    `json:"v"`                // version of the message, 1
	SID    string `json:"sid"`              // id of the session, as in state
	JTI    string `json:"jti"`              // jti of the token that is answered
	OK     bool   `json:"ok"`               // what was asked for is durable on the terminal
	Code   Code   `json:"code"`             // why, one word
	Detail string `json:"detail,omitempty"` // why, for people; never personal data
	Charge string `json:"charge,omitempty"` // the charge it is about, when there is one
}

// PayGet asks what the hub knows about charges. The hub answers with a pay for
// each one that it knows to be settled, and with nothing for the others.
type PayGet struct {
	V       int      `json:"v"`       // version of the message, 1
	SID     string   `json:"sid"`     // id of the session, as in state
	Charges []string `json:"charges"` // ids of the charges
}

// Propose hands over what belongs to a proposal that the terminal has in its ledger: whom
// it wants paid, which only the hub can read, and nobody keeps when it is over. It is
// sent until the hub has said, in a payout, that it has it.
type Propose struct {
	V        int    `json:"v"`                // version of the message, 1
	SID      string `json:"sid"`              // id of the session, as in state
	Proposal string `json:"proposal"`         // id of the proposal
	Sealed   []byte `json:"sealed,omitempty"` // the details, sealed to each key of the hub that the terminal has pinned; none in a refund
}

// Channel implements [Message].
func (State) Channel() Channel { return ChannelState }

// Channel implements [Message].
func (Hello) Channel() Channel { return ChannelHello }

// Channel implements [Message].
func (Evt) Channel() Channel { return ChannelEvt }

// Channel implements [Message].
func (Tele) Channel() Channel { return ChannelTele }

// Channel implements [Message].
func (Res) Channel() Channel { return ChannelRes }

// Channel implements [Message].
func (PayGet) Channel() Channel { return ChannelPayGet }

// Channel implements [Message].
func (Propose) Channel() Channel { return ChannelPropose }

func (m State) version() int   { return m.V }
func (m Hello) version() int   { return m.V }
func (m Evt) version() int     { return m.V }
func (m Tele) version() int    { return m.V }
func (m Res) version() int     { return m.V }
func (m PayGet) version() int  { return m.V }
func (m Propose) version() int { return m.V }

func (m State) utc() Message {
	m.At = stamp(m.At)
	return m
}

func (m Evt) utc() Message {
	m.At = stamp(m.At)
	return m
}

func (m Tele) utc() Message {
	m.At = stamp(m.At)
	return m
}

func (m Hello) utc() Message   { return m }
func (m Res) utc() Message     { return m }
func (m PayGet) utc() Message  { return m }
func (m Propose) utc() Message { return m }

func (m State) check() error {
	if !m.On {
		return all(id("sid", m.SID), optionalID("boot", m.Boot), text("version", m.Version), optionalWhen("at", m.At))
	}
	return all(id("sid", m.SID), id("boot", m.Boot), needText("version", m.Version), when("at", m.At))
}

func (m Hello) check() error {
	switch {
	case !ValidSegment(m.Device):
		return fmt.Errorf("%w: device %.80q", ErrMalformed, m.Device)
	case m.Ctr > MaxCounter:
		return fmt.Errorf("%w: ctr %d", ErrMalformed, m.Ctr)
	case m.Pending < 0 || m.Pending > math.MaxInt32 || m.Free < 0:
		return fmt.Errorf("%w: pending %d, free %d", ErrMalformed, m.Pending, m.Free)
	}
	return all(id("sid", m.SID), needText("version", m.Version), clock(m.Clock))
}

func (m Evt) check() error {
	if !slices.Contains([]Level{LevelInfo, LevelWarn, LevelAlarm}, m.Level) {
		return fmt.Errorf("%w: level %.80q", ErrMalformed, string(m.Level))
	}
	if len(m.Detail) > MaxDetails {
		return fmt.Errorf("%w: %d details", ErrTooLarge, len(m.Detail))
	}
	for key, value := range m.Detail {
		if err := all(name("detail", key), text("detail", value)); err != nil {
			return err
		}
	}
	return all(id("sid", m.SID), id("id", m.ID), id("kind", m.Kind), when("at", m.At), clock(m.Clock))
}

func (m Tele) check() error {
	if len(m.Counters) > MaxMetrics || len(m.Gauges) > MaxMetrics {
		return fmt.Errorf("%w: %d counters, %d gauges", ErrTooLarge, len(m.Counters), len(m.Gauges))
	}
	for key := range m.Counters {
		if err := name("counter", key); err != nil {
			return err
		}
	}
	for key := range m.Gauges {
		if err := name("gauge", key); err != nil {
			return err
		}
	}
	if m.UpMS < 0 {
		return fmt.Errorf("%w: up_ms %d", ErrMalformed, m.UpMS)
	}
	return all(id("sid", m.SID), when("at", m.At), clock(m.Clock))
}

func (m Res) check() error {
	known := slices.Contains(Codes(), m.Code)
	if known && m.OK != (m.Code == CodeDone || m.Code == CodeKnown) {
		return fmt.Errorf("%w: ok %v with code %s", ErrMalformed, m.OK, m.Code)
	}
	return all(id("sid", m.SID), id("jti", m.JTI), id("code", string(m.Code)),
		text("detail", m.Detail), optionalID("charge", m.Charge))
}

func (m PayGet) check() error {
	if len(m.Charges) == 0 || len(m.Charges) > MaxAsked {
		return fmt.Errorf("%w: %d charges", ErrMalformed, len(m.Charges))
	}
	for _, c := range m.Charges {
		if err := id("charge", c); err != nil {
			return err
		}
	}
	return id("sid", m.SID)
}

func (m Propose) check() error {
	if len(m.Sealed) > MaxSealed {
		return fmt.Errorf("%w: %d bytes sealed", ErrTooLarge, len(m.Sealed))
	}
	return all(id("sid", m.SID), id("proposal", m.Proposal))
}
