package fleet

import (
	"math/rand/v2"
	"time"

	"github.com/ssg-safe/agent/fleet/wire"
	"github.com/ssg-safe/agent/ledger"
)

// shipped is a batch that was published and that the hub has not acknowledged.
type shipped struct {
	from, to ledger.Position
	taken    bool // the broker has sent its PUBACK, which proves nothing but that
}

// outbox decides what of the ledger goes out next. It does no I/O and knows no
// clock but the times it is told, which only rise. It outlives connections; one
// goroutine uses it.
type outbox struct {
	next   ledger.Position // the first entry to send; also before entries exist
	remote ledger.Position // the newest that the hub is known to hold
	flight []shipped       // in order, without gaps

	answered time.Time // until then the hub may still answer the hello
	progress time.Time // when the hub or the sending last moved
	stalls   int       // in a row

	wanted   ledger.Position // the last want that was followed
	wantedAt time.Time

	hold     wire.Hold // why the hub takes nothing
	holdAt   time.Time // when to ask it again
	holdWait time.Duration

	// The entry with which connections were lost, and how often in a row. Entries
	// before singles are sent one at a time. Until poisonAt the entry is held
	// back.
	suspect    ledger.Position
	losses     int
	singles    ledger.Position
	poisonAt   time.Time
	poisonWait time.Duration
}

// begin is a new connection: nothing is on its way, and what follows the cursor
// is next.
func (o *outbox) begin(now time.Time, cursor ledger.Position) {
	o.flight = nil
	o.next, o.remote = after(cursor), cursor
	o.answered = now.Add(helloWait)
	o.progress = now
	o.wanted, o.wantedAt = ledger.Position{}, time.Time{}
	o.hold, o.holdWait = "", 0 // the hello asks
}

// at moves to the first entry that exists: epochs end, and entries are pruned.
func (o *outbox) at(first ledger.Position) { o.next = first }

// limit is how many batches may be on their way.
func (o *outbox) limit() int {
	if o.stalls > 0 || o.single() {
		return 1
	}
	return window
}

// single reports whether the next entry is sent alone.
func (o *outbox) single() bool { return o.next.Before(o.singles) }

// ready reports whether the next batch may be sent now.
func (o *outbox) ready(now time.Time) bool {
	return o.hold == "" && !now.Before(o.answered) && len(o.flight) < o.limit() && !o.quarantined(now)
}

// quarantined reports whether the next entry is held back.
func (o *outbox) quarantined(now time.Time) bool {
	return o.next == o.suspect && now.Before(o.poisonAt)
}

// sent notes a published batch.
func (o *outbox) sent(now time.Time, from, to ledger.Position) {
	if len(o.flight) == 0 {
		o.progress = now
	}
	o.flight = append(o.flight, shipped{from: from, to: to})
	o.next = after(to)
}

// took notes that the broker has a batch: the batch took no connection with it.
func (o *outbox) took(from ledger.Position) {
	for i := range o.flight {
		if o.flight[i].from == from {
			o.flight[i].taken = true
		}
	}
	if from == o.suspect {
		o.acquit()
	}
}

// acquit ends the suspicion. What is still to be sent alone is.
func (o *outbox) acquit() {
	o.suspect, o.losses, o.poisonAt, o.poisonWait = ledger.Position{}, 0, time.Time{}, 0
}

// heard is an acknowledgement that belongs to this ledger: the hub holds
// everything up to at (Seq 0: nothing is said), and may want something.
func (o *outbox) heard(now time.Time, at ledger.Position, want *ledger.Position, hold wire.Hold) {
	o.answered = now
	if at.Seq != 0 && o.remote.Before(at) {
		o.remote, o.progress, o.stalls = at, now, 0
		if !at.Before(o.suspect) {
			o.acquit()
		}
	}
	if at.Seq != 0 {
		for len(o.flight) > 0 && !at.Before(o.flight[0].to) {
			o.flight = o.flight[1:]
		}
		if !at.Before(o.next) {
			o.next = after(at)
		}
	}
	o.held(now, hold)
	if want == nil || *want == o.wanted && now.Sub(o.wantedAt) < wantAgain {
		return
	}
	// What was sent in vain need not be waited for.
	o.wanted, o.wantedAt = *want, now
	o.remote = ledger.Position{Epoch: want.Epoch, Seq: want.Seq - 1}
	o.next, o.flight, o.progress = *want, nil, now
}

// held notes whether the hub takes entries.
func (o *outbox) held(now time.Time, hold wire.Hold) {
	if hold == "" {
		o.hold, o.holdWait = "", 0
		return
	}
	if o.hold == "" || !now.Before(o.holdAt) {
		o.holdWait = min(max(2*o.holdWait, minHold), maxHold)
		o.holdAt = now.Add(spread(o.holdWait))
	}
	o.hold = hold
	o.rewind(now)
}

// rewind makes what is on its way the next to be sent again.
func (o *outbox) rewind(now time.Time) {
	if len(o.flight) > 0 {
		o.next, o.flight, o.progress = o.flight[0].from, nil, now
	}
}

// ask reports whether it is time to ask a hub that takes nothing again, and
// counts that as done.
func (o *outbox) ask(now time.Time) bool {
	if o.hold == "" || now.Before(o.holdAt) {
		return false
	}
	o.holdWait = min(max(2*o.holdWait, minHold), maxHold)
	o.holdAt = now.Add(spread(o.holdWait))
	return true
}

// stalled reports whether the hub has said nothing for so long that what is on
// its way is to be sent again; it is then next.
func (o *outbox) stalled(now time.Time) bool {
	if len(o.flight) == 0 || now.Before(o.stallAt()) {
		return false
	}
	o.rewind(now)
	o.stalls++
	return true
}

func (o *outbox) stallAt() time.Time {
	wait := maxStall
	if o.stalls < 5 {
		wait = min(wait, stallAfter<<o.stalls)
	}
	return o.progress.Add(wait)
}

// lost is the end of a connection that this side did not want. It reports the
// entry that is held back from now on, if the loss is one too many.
func (o *outbox) lost(now time.Time) (poison ledger.Position, held bool) {
	for _, s := range o.flight {
		if s.taken {
			continue
		}
		if s.from != o.suspect {
			o.suspect, o.losses = s.from, 0
		}
		o.losses++
		switch alone := s.from == s.to; {
		case o.losses < poisonLosses:
		case !alone:
			o.losses = 0
			o.singles = after(s.to)
		default:
			// One more loss is enough from here on.
			o.holdBack(now, s.from)
			return s.from, true
		}
		break
	}
	return ledger.Position{}, false
}

// holdBack keeps an entry, and so what follows it, for a while.
func (o *outbox) holdBack(now time.Time, at ledger.Position) {
	o.suspect = at
	o.poisonWait = min(max(2*o.poisonWait, minPoison), maxPoison)
	o.poisonAt = now.Add(spread(o.poisonWait))
	o.singles = after(at)
}

// due is when something is to be done although nothing happens; zero: never.
func (o *outbox) due(now time.Time) time.Time {
	switch {
	case o.hold != "":
		return o.holdAt
	case now.Before(o.answered):
		return o.answered
	case len(o.flight) > 0:
		return o.stallAt()
	case o.quarantined(now):
		return o.poisonAt
	}
	return time.Time{}
}

// spread takes up to a fifth off a time, so that a fleet does not act at once.
func spread(d time.Duration) time.Duration { return d - rand.N(d/5) }
