package fleet

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"time"

	"go.etcd.io/bbolt"

	"github.com/ssg-safe/agent/fleet/wire"
)

// loop serves the connection until it ends.
func (s *session) loop(ctx context.Context) error {
	select {
	case err := <-s.subscribed:
		if err != nil {
			return err
		}
	case <-s.lost:
		return s.lostErr
	case <-ctx.Done():
		return errStopped
	}
	s.up()
	defer s.down()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		now := time.Now()
		s.settle()
		if len(s.inFlight) > 0 && now.Sub(s.inFlight[0].at) >= pubackTimeout {
			return fmt.Errorf("the broker has taken nothing for %v", pubackTimeout)
		}
		if err := s.work(now); err != nil {
			return err
		}
		timer.Reset(s.due(now))
		var taken <-chan struct{}
		if len(s.inFlight) > 0 {
			taken = s.inFlight[0].token.Done()
		}
		select {
		case <-ctx.Done():
			s.goodbye()
			return errStopped
		case <-s.lost:
			s.settle()
			return s.lostErr
		case <-taken:
		case <-s.guard.progress:
		case news := <-s.acks:
			s.heard(time.Now(), news)
			s.offerAt = now // the hub may hold the entry of one now
		case <-s.greet:
			s.hello = true
		case err := <-s.l.cursor.done:
			s.l.moved(time.Now(), err)
		case <-s.l.wake:
			if s.askAt.IsZero() {
				s.askAt = now
			}
			s.offerAt = now
		case <-timer.C:
		}
	}
}

// up begins: the subscription is granted.
func (s *session) up() {
	l, now := s.l, time.Now()
	s.since = now
	l.counts.inc(cConnects)
	l.log.Info("connected to the broker", "broker", s.broker.text, "session", s.sid)
	l.update(func(st *linkState) {
		st.connected, st.broker, st.since, st.lastError = true, s.broker.text, l.o.Clock.Wall(), ""
	})
	l.events.rewind()
	l.results.rewind()
	s.askAt, s.offerAt, s.teleAt = now, now, now
	if l.hub() {
		s.stateAt, s.hello = now, true
		l.out.begin(now, l.cursor.best().Position)
	}
}

// down ends what up began.
func (s *session) down() {
	s.l.update(func(st *linkState) { st.connected, st.broker, st.since = false, "", time.Time{} })
}

// open reports whether a publish would be taken over at once: the one before is
// written, and not too many are on their way.
func (s *session) open() bool {
	return s.guard.wrote.Load() == s.begun && len(s.inFlight) < maxInFlight
}

// publish gives a message to the client. taken is called when the broker has
// it. Call it only when open.
func (s *session) publish(c wire.Channel, payload []byte, taken func()) {
	s.begun++
	token := s.client.Publish(s.l.topic(c), c.QoS(), c.Retained(), payload)
	s.inFlight = append(s.inFlight, publish{token, time.Now(), taken})
}

// settle forgets the publishes that are done. Tokens complete in the order of
// publishing.
func (s *session) settle() {
	for len(s.inFlight) > 0 {
		p := s.inFlight[0]
		select {
		case <-p.token.Done():
		default:
			return
		}
		if p.token.Error() == nil && p.taken != nil {
			p.taken()
		}
		s.inFlight = s.inFlight[1:]
	}
}

// work publishes the most urgent message, if there is one and the way is free.
// What it writes wakes the loop, which comes back for the next.
func (s *session) work(now time.Time) error {
	if !s.l.hub() {
		return nil
	}
	s.l.keepCursor(now)
	if s.l.out.stalled(now) {
		s.l.counts.inc(cStalls)
		s.l.warn("the hub does not acknowledge", "stalls", s.l.out.stalls, "next", s.l.out.next.String())
	}
	if s.l.out.ask(now) {
		s.hello = true
	}
	for _, step := range []func(time.Time) (bool, error){s.sendState, s.sendHello, s.sendResult, s.sendAsk, s.sendOffer, s.sendEvent, s.sendBatch, s.sendTelemetry} {
		if !s.open() {
			return nil
		}
		if did, err := step(now); did || err != nil {
			return err
		}
	}
	return nil
}

// due is how long the loop may sleep.
func (s *session) due(now time.Time) time.Duration {
	at := now.Add(time.Hour)
	sooner := func(t time.Time) {
		if !t.IsZero() && t.Before(at) {
			at = t
		}
	}
	if len(s.inFlight) > 0 {
		sooner(s.inFlight[0].at.Add(pubackTimeout))
	}
	sooner(s.l.cursor.due())
	// What is due and cannot be published waits for the way to be free, which
	// wakes the loop.
	if s.l.hub() && s.open() {
		sooner(s.stateAt)
		sooner(s.askAt)
		sooner(s.offerAt)
		sooner(s.l.out.due(now))
		if s.l.o.Telemetry != nil {
			sooner(s.teleAt)
		}
	}
	return max(at.Sub(now), time.Millisecond)
}

func (s *session) sendState(now time.Time) (bool, error) {
	if s.stateAt.IsZero() || now.Before(s.stateAt) {
		return false, nil
	}
	payload, err := wire.Encode(s.state(true))
	if err != nil {
		return false, err
	}
	// Once more after the broker must have noticed the end of an older
	// connection, whose will would stay as the retained state.
	if s.stateAt.Sub(s.since) < s.l.o.Keepalive {
		s.stateAt = s.since.Add(2*s.l.o.Keepalive + spread(minPause))
	} else {
		s.stateAt = time.Time{}
	}
	s.publish(wire.ChannelState, payload, nil)
	return true, nil
}

func (s *session) state(on bool) wire.State {
	return wire.State{V: wire.Version, On: on, SID: s.sid, Boot: s.l.o.Clock.Boot(), Version: s.l.o.Version, At: s.l.o.Clock.Wall()}
}

func (s *session) sendHello(time.Time) (bool, error) {
	if !s.hello {
		return false, nil
	}
	l := s.l
	h := wire.Hello{
		V: wire.Version, SID: s.sid, Device: l.o.Device, Version: l.o.Version,
		Ctr: l.accepted().ctr, Clock: l.o.Clock.Quality(), Pending: len(l.o.Handler.Open()), Free: l.o.Store.Stats().Free,
	}
	err := l.o.Store.View(func(tx *bbolt.Tx) (err error) {
		h.Head, h.Acked, _, err = position(tx)
		return err
	})
	if err != nil {
		return false, err
	}
	payload, err := wire.Encode(h)
	if err != nil {
		return false, err
	}
	s.hello = false
	s.publish(wire.ChannelHello, payload, nil)
	return true, nil
}

func (s *session) sendResult(time.Time) (bool, error) {
	id, r, ok := s.l.results.take()
	if !ok {
		return false, nil
	}
	r.SID = s.sid
	payload, err := wire.Encode(r)
	if err != nil {
		s.l.results.taken(id)
		s.l.warn("result cannot be sent", "jti", r.JTI, "err", err)
		return false, nil
	}
	s.publish(wire.ChannelRes, payload, func() { s.l.results.taken(id) })
	return true, nil
}

func (s *session) sendEvent(time.Time) (bool, error) {
	id, e, ok := s.l.events.take()
	if !ok {
		return false, nil
	}
	e.SID = s.sid
	payload, err := wire.Encode(e)
	if err != nil {
		s.l.events.taken(id)
		s.l.warn("event cannot be sent", "kind", e.Kind, "err", err)
		return false, nil
	}
	s.publish(wire.ChannelEvt, payload, func() { s.l.events.taken(id) })
	return true, nil
}

func (s *session) sendAsk(now time.Time) (bool, error) {
	if s.askAt.IsZero() || now.Before(s.askAt) {
		return false, nil
	}
	charges, next := s.ask.due(now, s.l.o.Handler.Open())
	s.askAt = next
	if len(charges) == 0 {
		return false, nil
	}
	payload, err := wire.Encode(wire.PayGet{V: wire.Version, SID: s.sid, Charges: charges})
	if err != nil {
		s.l.warn("question cannot be sent", "err", err)
		return false, nil
	}
	s.publish(wire.ChannelPayGet, payload, nil)
	return true, nil
}

// sendOffer sends the details of one proposal whose entry the hub holds.
func (s *session) sendOffer(now time.Time) (bool, error) {
	if s.offerAt.IsZero() || now.Before(s.offerAt) {
		return false, nil
	}
	if len(s.offer) == 0 {
		all, err := s.l.o.Handler.Offers()
		if err != nil {
			return false, err
		}
		acked := s.l.cursor.best().Position
		var ids []string
		byID := make(map[string]Offer)
		for _, o := range all {
			if !acked.Before(o.At) {
				ids = append(ids, o.ID)
				byID[o.ID] = o
			}
		}
		ids, s.offerAt = s.offers.due(now, ids)
		for _, id := range ids {
			s.offer = append(s.offer, byID[id])
		}
		if len(s.offer) == 0 {
			return false, nil
		}
	}
	o := s.offer[0]
	if s.offer = s.offer[1:]; len(s.offer) > 0 {
		s.offerAt = now
	}
	payload, err := wire.Encode(wire.Propose{V: wire.Version, SID: s.sid, Proposal: o.ID, Sealed: o.Sealed})
	if err != nil {
		s.l.warn("proposal cannot be sent", "proposal", o.ID, "err", err)
		return false, nil
	}
	s.publish(wire.ChannelPropose, payload, nil)
	return true, nil
}

func (s *session) sendTelemetry(now time.Time) (bool, error) {
	l := s.l
	if l.o.Telemetry == nil || now.Before(s.teleAt) {
		return false, nil
	}
	s.teleAt = now.Add(l.o.TelemetryEvery)
	m := l.o.Telemetry()
	same, err := json.Marshal(m)
	if err != nil || bytes.Equal(same, s.tele) {
		return false, nil
	}
	s.tele = same
	t := wire.Tele{
		V: wire.Version, SID: s.sid, At: l.o.Clock.Wall(), Clock: l.o.Clock.Quality(), UpMS: l.o.Clock.Up().Milliseconds(),
		Counters: maps.Clone(m.Counters), Gauges: m.Gauges,
	}
	if t.Counters == nil {
		t.Counters = make(map[string]uint64)
	}
	for name, n := range l.counts.all() {
		if n > 0 && len(t.Counters) < wire.MaxMetrics {
			t.Counters["link."+name] = n
		}
	}
	payload, err := wire.Encode(t)
	if err != nil {
		l.warn("telemetry cannot be sent", "err", err)
		return false, nil
	}
	s.publish(wire.ChannelTele, payload, nil)
	return true, nil
}

// goodbye says that the terminal goes on purpose, as far as that takes no time.
func (s *session) goodbye() {
	limit := time.NewTimer(farewell)
	defer limit.Stop()
	for !s.open() {
		select {
		case <-s.guard.progress:
			s.settle()
			continue
		case <-s.lost:
		case <-limit.C:
		}
		return
	}
	if s.l.hub() {
		payload, err := wire.Encode(wire.State{V: wire.Version, SID: s.sid})
		if err != nil {
			return
		}
		s.publish(wire.ChannelState, payload, nil)
		select {
		case <-s.inFlight[len(s.inFlight)-1].token.Done():
		case <-s.lost:
			return
		case <-limit.C:
			return
		}
	}
	// The client's own Disconnect can hang; closing is the guard's business.
	_, _ = s.guard.Write([]byte{packetDisconnect << 4, 0})
}
