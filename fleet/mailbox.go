package fleet

import (
	"crypto/rand"
	"slices"
	"sync"

	"github.com/ssg-safe/agent/fleet/wire"
)

// mailbox holds messages until a broker took them. It is bounded: the oldest
// give way. It is safe for concurrent use.
type mailbox[T any] struct {
	limit int

	mu    sync.Mutex // guards what follows
	next  uint64
	items []letter[T]
}

type letter[T any] struct {
	id   uint64
	sent bool // in this connection
	what T
}

// add reports whether another had to go.
func (m *mailbox[T]) add(v T) (dropped bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.items) >= m.limit {
		m.items = slices.Delete(m.items, 0, len(m.items)-m.limit+1)
		dropped = true
	}
	m.next++
	m.items = append(m.items, letter[T]{id: m.next, what: v})
	return dropped
}

// take returns the oldest that is not on its way, and marks it.
func (m *mailbox[T]) take() (id uint64, v T, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := range m.items {
		if !m.items[i].sent {
			m.items[i].sent = true
			return m.items[i].id, m.items[i].what, true
		}
	}
	return 0, v, false
}

// taken forgets one that the broker has.
func (m *mailbox[T]) taken(id uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.items = slices.DeleteFunc(m.items, func(i letter[T]) bool { return i.id == id })
}

// rewind begins a new connection: nothing is on its way.
func (m *mailbox[T]) rewind() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := range m.items {
		m.items[i].sent = false
	}
}

// Event tells the fleet of something that somebody may have to look at. Kind is
// such as printer.jam; detail is never personal data. Events wait in memory for
// a connection, the oldest give way; what must not be lost is a ledger entry.
func (l *Link) Event(level wire.Level, kind string, detail map[string]string) {
	e := wire.Evt{
		V: wire.Version, SID: "-", ID: rand.Text(), Kind: kind, Level: level,
		At: l.o.Clock.Wall(), Clock: l.o.Clock.Quality(), Detail: detail,
	}
	if _, err := wire.Encode(e); err != nil {
		l.warn("event cannot be sent", "kind", kind, "err", err)
		return
	}
	if l.events.add(e) {
		l.counts.inc(cDroppedEvents)
	}
	l.Wake()
}

// answer hands a result over to the current connection, or the next.
func (l *Link) answer(r wire.Res) {
	if l.results.add(r) {
		l.counts.inc(cDroppedResults)
	}
	l.Wake()
}
