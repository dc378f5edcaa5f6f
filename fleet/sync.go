package fleet

import (
	"bytes"
	"errors"
	"fmt"
	"time"

	"go.etcd.io/bbolt"

	"github.com/ssg-safe/agent/fleet/wire"
	"github.com/ssg-safe/agent/ledger"
	"github.com/ssg-safe/agent/store"
)

// sendBatch publishes the next batch of the ledger.
func (s *session) sendBatch(now time.Time) (bool, error) {
	l := s.l
	if !l.out.ready(now) {
		return false, nil
	}
	b, err := l.nextBatch(now)
	if err != nil || len(b.Entries) == 0 {
		return false, err
	}
	b.V, b.SID = wire.Version, s.sid
	payload, err := b.Encode()
	if err != nil {
		// No entry of the ledger is too large (wire.MaxEntry); were it so, it must
		// not be skipped, and all else must go on.
		l.out.holdBack(now, b.From)
		l.poisoned(b.From, err)
		return false, nil
	}
	from := b.From
	s.publish(wire.ChannelLedger, payload, func() { l.out.took(from) })
	l.out.sent(now, from, b.At(len(b.Entries)-1))
	l.counts.inc(cBatches)
	l.counts[cEntries].Add(uint64(len(b.Entries)))
	return true, nil
}

// nextBatch reads the batch that outbox wants next; without entries there is
// nothing to send. The one that reaches the head carries a signed checkpoint.
func (l *Link) nextBatch(now time.Time) (b wire.Batch, err error) {
	err = l.o.Store.View(func(tx *bbolt.Tx) error {
		head, err := ledger.GetHead(tx)
		if err != nil || head.Position.Before(l.out.next) {
			return err
		}
		size, limit := 0, wire.MaxBatchEntries
		for pos, raw := range ledger.Entries(tx, l.out.next) {
			if len(b.Entries) == 0 {
				l.out.at(pos)
				if l.out.quarantined(now) {
					return nil
				}
				if l.out.single() {
					limit = 1
				}
				b.From = pos
				if b.Prev, err = previous(raw); err != nil {
					return err
				}
			} else if pos != b.At(len(b.Entries)) || size+len(raw) > wire.MaxBatchBytes {
				break
			}
			b.Entries = append(b.Entries, bytes.Clone(raw))
			if size += len(raw); len(b.Entries) == limit || size > wire.MaxBatchBytes {
				break
			}
		}
		if n := len(b.Entries); n > 0 && b.At(n-1) == head.Position {
			signed, err := l.checkpoint(head)
			if err != nil {
				return err
			}
			b.Checkpoint = &signed
		}
		return nil
	})
	if err != nil {
		return wire.Batch{}, fmt.Errorf("read ledger: %w", err)
	}
	return b, nil
}

// previous is the hash that an entry holds of the one before it.
func previous(raw []byte) (h ledger.Hash, err error) {
	e, err := ledger.Decode(raw)
	if err != nil {
		return h, err
	}
	return h, h.UnmarshalText([]byte(e.Prev))
}

func (l *Link) checkpoint(head ledger.Head) (ledger.Signed, error) {
	return ledger.Sign(l.o.DeviceKey, ledger.Checkpoint{Device: l.o.Device, Head: head, Boot: l.o.Clock.Boot(), Wall: l.o.Clock.Wall()})
}

// poisoned tells that an entry is held back.
func (l *Link) poisoned(at ledger.Position, err error) {
	l.counts.inc(cPoison)
	l.update(func(st *linkState) { st.quarantined = true })
	l.warn("ledger entry held back: it takes the connection with it", "entry", at.String(), "err", err)
	l.alarm("ledger.poison", map[string]string{"entry": at.String()})
}

// ackNews is an accepted acknowledgement that fits this ledger.
type ackNews struct {
	head ledger.Head // Seq 0: it names none
	own  bool        // head is this chain's; else it lies below what is kept
	seen seen
	want *ledger.Position
	hold wire.Hold
}

// errHead: an acknowledgement of what this ledger does not hold.
var errHead = errors.New("not a head of this ledger")

// place compares an acknowledgement with the ledger. errHead: the hub holds
// another chain, or more than there is: this store or the hub's was restored or
// cloned.
func (l *Link) place(a wire.Ack) (ackNews, error) {
	n := ackNews{
		head: ledger.Head{Position: ledger.Position{Epoch: a.Epoch, Seq: a.Seq}, Hash: a.Head},
		seen: seenOf(a.Claims), want: a.Want, hold: a.Hold,
	}
	if a.Seq == 0 {
		return n, nil
	}
	err := l.o.Store.View(func(tx *bbolt.Tx) error {
		anchor, err := ledger.GetAnchor(tx)
		switch {
		case err != nil:
			return err
		case n.head.Position.Before(anchor.Position):
			return nil // pruned: nobody can tell any more
		case n.head.Position == anchor.Position:
			n.own = n.head.Hash == anchor.Hash
		}
		for pos, raw := range ledger.Entries(tx, n.head.Position) {
			n.own = n.own || pos == n.head.Position && ledger.HashOf(raw) == n.head.Hash
			break
		}
		if !n.own {
			return fmt.Errorf("%w: %v %v", errHead, n.head.Position, n.head.Hash)
		}
		return nil
	})
	return n, err
}

// heard follows an acknowledgement.
func (s *session) heard(now time.Time, n ackNews) {
	l := s.l
	held := l.out.hold
	l.out.heard(now, n.head.Position, n.want, n.hold)
	if n.own {
		l.cursor.aim(n.head, n.seen)
	}
	if n.hold != held {
		if n.hold != "" {
			l.warn("the hub takes no entries", "hold", string(n.hold))
		}
		l.update(func(st *linkState) { st.hold = n.hold })
	}
	l.update(func(st *linkState) { st.quarantined = l.out.quarantined(now) })
	if n.want == nil {
		return
	}
	l.counts.inc(cWants)
	if acked := l.cursor.best().Position; !acked.Before(*n.want) {
		l.warn("the hub wants again what it had acknowledged", "want", n.want.String(), "acked", acked.String())
		l.alarm("hub.restored", map[string]string{"want": n.want.String(), "acked": acked.String()})
	}
	err := l.o.Store.View(func(tx *bbolt.Tx) error {
		anchor, err := ledger.GetAnchor(tx)
		if err == nil && !anchor.Position.Before(*n.want) && anchor.Seq != 0 {
			l.alarm("ledger.pruned", map[string]string{"want": n.want.String(), "kept_after": anchor.Position.String()})
		}
		return err
	})
	if err != nil {
		l.warn("ledger cannot be read", "err", err)
	}
}

// cursor moves the hub's cursor in the store: one commit at a time, and not one
// for each acknowledgement while they come fast. The goroutine of Run owns it.
type cursor struct {
	durable ledger.Head // as last known
	goal    ledger.Head // what the hub holds
	seen    seen        // of the acknowledgement of goal
	moving  ledger.Head // what the commit under way moves to; Seq 0: there is none
	began   time.Time   // of the last commit
	marking bool        // that commit keeps a checkpoint
	marked  ledger.Position
	done    chan error
}

// aim notes what the hub holds.
func (c *cursor) aim(head ledger.Head, s seen) {
	if c.goal.Position.Before(head.Position) {
		c.goal = head
	}
	c.seen = c.seen.over(s)
}

// best is the farthest that is known of the hub.
func (c *cursor) best() ledger.Head {
	if c.durable.Position.Before(c.goal.Position) {
		return c.goal
	}
	return c.durable
}

// due is when the next commit may begin; zero: there is none to make.
func (c *cursor) due() time.Time {
	if c.moving.Seq != 0 || !c.durable.Position.Before(c.goal.Position) {
		return time.Time{}
	}
	return c.began.Add(cursorEvery)
}

// keepCursor starts a commit that is due.
func (l *Link) keepCursor(now time.Time) {
	c := &l.cursor
	if at := c.due(); at.IsZero() || now.Before(at) {
		return
	}
	goal, heard := c.goal, c.seen
	c.moving, c.began = goal, now
	c.marking = goal.Epoch != c.marked.Epoch || goal.Seq-c.marked.Seq >= checkpointEvery
	mark := c.marking
	l.o.Store.Submit(store.Op{
		Name: "fleet.ack", Frees: true,
		Do: func(tx *bbolt.Tx) error {
			if err := ledger.Acknowledge(tx, Consumer, goal); err != nil {
				return err
			}
			if err := putSeen(tx, heard); err != nil || !mark {
				return err
			}
			signed, err := l.checkpoint(goal)
			if err != nil {
				return err
			}
			return ledger.PutCheckpoint(tx, signed, l.public())
		},
		Done: func(err error) { c.done <- err },
	})
}

// moved is the outcome of the commit.
func (l *Link) moved(now time.Time, err error) {
	c := &l.cursor
	goal := c.moving
	c.moving = ledger.Head{}
	if err != nil {
		c.began = now.Add(pauseAfterError)
		l.warn("the hub's acknowledgement could not be kept", "head", goal.Position.String(), "err", err)
		return
	}
	if c.durable = goal; c.marking {
		c.marked = goal.Position
	}
	l.update(func(st *linkState) { st.acked = goal })
}
