package printer

import (
	"errors"
	"strings"
)

// ErrNotReady is what [Printer.Ready] returns, as a [*NotReadyError], when no
// job can be printed now.
var ErrNotReady = errors.New("printer not ready")

// Reason says why a printer is not ready, in a stable word.
type Reason string

// The reasons.
const (
	NoPort        Reason = "no_port"       // the port cannot be opened, or is gone
	Silent        Reason = "silent"        // the port is open and the printer does not answer: not the same as offline
	Offline       Reason = "offline"       // it says so and gives no better reason
	CoverOpen     Reason = "cover_open"    //
	PaperOut      Reason = "paper_out"     //
	FeedButton    Reason = "feed_button"   // somebody holds it
	CutterError   Reason = "cutter_error"  //
	HeadHot       Reason = "head_hot"      // recovers by itself
	Unrecoverable Reason = "unrecoverable" // needs a power cycle or a technician
	WaitsRecovery Reason = "waits"         // for a recovery command or the feed button
)

// NotReadyError names every reason found.
type NotReadyError struct {
	Reasons []Reason
	Err     error // what the line said, with NoPort and Silent
}

func (e *NotReadyError) Error() string {
	words := make([]string, len(e.Reasons))
	for i, r := range e.Reasons {
		words[i] = string(r)
	}
	s := ErrNotReady.Error() + ": " + strings.Join(words, ", ")
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Is makes errors.Is(err, ErrNotReady) true.
func (e *NotReadyError) Is(target error) bool { return target == ErrNotReady }

func (e *NotReadyError) Unwrap() error { return e.Err }

// Paper is what the sensors say. A printer without a near-end sensor never
// says PaperLow.
type Paper string

// The states of the paper.
const (
	PaperUnknown Paper = "unknown"
	PaperOK      Paper = "ok"
	PaperLow     Paper = "low"
	PaperEnd     Paper = "end"
)

// Status is what a printer said of itself, or that nobody answered.
type Status struct {
	// Answered is false for a write-only port and for a silent printer.
	Answered bool
	// WriteOnly: the port has nobody who could answer; jobs end as Sent.
	WriteOnly bool

	Offline, CoverOpen, FeedButton, CutterError bool
	HeadHot, Unrecoverable, WaitsRecovery       bool
	Paper                                       Paper
}

// Problems lists what keeps the printer from printing; none = ready.
func (s Status) Problems() []Reason {
	var rs []Reason
	add := func(on bool, r Reason) {
		if on {
			rs = append(rs, r)
		}
	}
	add(s.CoverOpen, CoverOpen)
	add(s.Paper == PaperEnd, PaperOut)
	add(s.FeedButton, FeedButton)
	add(s.CutterError, CutterError)
	add(s.HeadHot, HeadHot)
	add(s.Unrecoverable, Unrecoverable)
	add(s.WaitsRecovery, WaitsRecovery)
	add(s.Offline && len(rs) == 0, Offline)
	return rs
}
