package localapi

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"time"

	"go.etcd.io/bbolt"

	"github.com/ssg-safe/agent/charge"
	"github.com/ssg-safe/agent/ledger"
)

// snapshot is where to go on when the entries behind an event id are gone.
type snapshot struct {
	// Position is the id to go on from; Open are the charges that waited for
	// their payers then. All others have ended: read those that matter.
	Position string       `json:"position"`
	Open     []chargeView `json:"open"`
}

// chunk bounds what is read from the store at once: a slow reader must not keep
// its pages from being used again.
const chunk = 64

func (s *Server) streamEvents(w http.ResponseWriter, r *http.Request, _ *caller) error {
	q, err := query(r.URL, "after", "charge")
	if err != nil {
		return err
	}
	only := charge.ID(q.Get("charge"))
	if q.Has("charge") && !chargeForm.MatchString(string(only)) {
		return refuse(BadRequest, "charge must be the id of a charge")
	}
	after := q.Get("after")
	if last := r.Header.Get("Last-Event-ID"); last != "" { // newer than what the address says
		after = last
	}
	at, err := s.begin(after)
	if err != nil {
		return err
	}
	select {
	case s.streams <- struct{}{}:
		defer func() { <-s.streams }()
	default:
		return refuse(Busy, "%d event streams are open already", maxStreams)
	}
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	s.stream(r.Context(), w, at, only)
	return nil
}

// begin is the position behind which a stream starts: that of an id, or the
// newest. EventsGone when what comes next cannot be known from the ledger.
func (s *Server) begin(id string) (at ledger.Position, err error) {
	want, ok := decodePosition(id)
	if id != "" && !ok {
		return at, refuse(BadRequest, "an event's id is EPOCH:SEQ")
	}
	gone := false
	err = s.Store.View(func(tx *bbolt.Tx) error {
		head, err := ledger.GetHead(tx)
		if err != nil {
			return err
		}
		anchor, err := ledger.GetAnchor(tx)
		if err != nil {
			return err
		}
		if at = head.Position; id == "" || want == at {
			return nil
		}
		gone = want != anchor.Position
		for pos := range ledger.Entries(tx, want) {
			gone = gone && pos != want
			break
		}
		return nil
	})
	if err != nil {
		return at, err
	}
	if gone {
		open, err := s.Desk.Open()
		if err != nil {
			return at, err
		}
		refusal := refuse(EventsGone, "the entries after %s are not here (any more); go on from the snapshot's position", id)
		refusal.snapshot = &snapshot{Position: encodePosition(at), Open: []chargeView{}}
		for _, record := range open {
			refusal.snapshot.Open = append(refusal.snapshot.Open, view(record))
		}
		return at, refusal
	}
	if id != "" {
		at = want
	}
	return at, nil
}

// stream writes events until the client goes or the server stops.
func (s *Server) stream(ctx context.Context, w http.ResponseWriter, at ledger.Position, only charge.ID) {
	out := http.NewResponseController(w)
	send := func(p []byte) error {
		if err := unhurried(w, writeTime); err != nil {
			return err
		}
		if _, err := w.Write(p); err != nil {
			return err
		}
		return out.Flush()
	}
	hello := fmt.Appendf(nil, "retry: 2000\nid: %s\nevent: ready\ndata: {\"position\":%q}\n\n", encodePosition(at), encodePosition(at))
	if send(hello) != nil {
		return
	}
	look, ping := time.NewTicker(lookEvery), time.NewTicker(pingEvery)
	defer look.Stop()
	defer ping.Stop()
	for {
		woken := s.Woken()
		for {
			events, last, err := s.after(at, only)
			if err != nil {
				s.log.Warn("event stream", "err", err)
				return
			}
			if len(events) > 0 && send(events) != nil {
				return
			}
			if at == last {
				break
			}
			at = last
			ping.Reset(pingEvery)
		}
		select {
		case <-woken:
		case <-look.C:
		case <-ping.C:
			if send([]byte(":\n\n")) != nil {
				return
			}
		case <-ctx.Done():
			return
		}
	}
}

// after makes events of the next entries and returns the last one's position.
// Entries that are not those that must follow end the stream: the client asks
// again and is told.
func (s *Server) after(at ledger.Position, only charge.ID) (events []byte, last ledger.Position, err error) {
	last = at
	err = s.Store.View(func(tx *bbolt.Tx) error {
		n := 0
		for pos, raw := range ledger.Entries(tx, ledger.Position{Epoch: at.Epoch, Seq: at.Seq + 1}) {
			if n++; n > chunk {
				return nil
			}
			if pos.Epoch == last.Epoch && pos.Seq != last.Seq+1 || pos.Epoch != last.Epoch && pos.Seq != 1 {
				return fmt.Errorf("entry %v follows %v", pos, last)
			}
			last = pos
			if only != "" && charge.SubjectOf(raw) != only {
				continue
			}
			events = fmt.Appendf(events, "id: %s\nevent: %s\ndata: %s\n\n", encodePosition(pos), kindOf(raw), raw)
		}
		return nil
	})
	return events, last, err
}

// kindOf is an entry's kind, without decoding it: a token needs no escaping.
func kindOf(raw []byte) []byte {
	_, rest, _ := bytes.Cut(raw, []byte(`"kind":"`))
	kind, _, _ := bytes.Cut(rest, []byte(`"`))
	return kind
}
