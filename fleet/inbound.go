package fleet

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"time"

	"go.etcd.io/bbolt"

	"github.com/ssg-safe/agent/fleet/wire"
	"github.com/ssg-safe/agent/ledger"
	"github.com/ssg-safe/agent/store"
)

// errReplay: a counter that is not above every one accepted before.
var errReplay = errors.New("the counter has been used")

// opened is a token whose signature, use, audience and times are right.
type opened struct {
	wire.Claims
	channel wire.Channel
	ack     wire.Ack
	pay     wire.Pay
	charge  wire.ChargeRequest
	payout  wire.Payout
}

func seenOf(c wire.Claims) seen { return seen{c.Ctr, c.Iat} }

// public is the device's own key.
func (l *Link) public() ed25519.PublicKey { return l.o.DeviceKey.Public().(ed25519.PublicKey) }

// clockTrusted reports whether the wall clock is good enough to call a token
// expired, or from the future.
func clockTrusted(quality string) bool {
	q := ledger.Quality(quality)
	return q == ledger.Synced || q == ledger.Anchored
}

// openToken verifies a message of our own fleet. It changes nothing.
func (l *Link) openToken(topic string, payload []byte) (opened, error) {
	t, err := wire.ParseTopic(topic)
	if err != nil {
		return opened{}, err
	}
	if t.Up || !l.hub() || t.Device != l.o.Device || t.Tenant != l.o.Tenant || t.Site != l.o.Site {
		return opened{}, fmt.Errorf("%w: %.80q", wire.ErrTopic, topic)
	}
	o := opened{channel: t.Channel}
	open := func(typ string, into any) error {
		return l.o.Hub.Open(payload, typ, l.o.Device, l.o.Clock.Wall(), clockTrusted(l.o.Clock.Quality()), into)
	}
	switch t.Channel {
	case wire.ChannelAck:
		err = open(wire.TypAck, &o.ack)
		o.Claims = o.ack.Claims
	case wire.ChannelPay:
		err = open(wire.TypPay, &o.pay)
		o.Claims = o.pay.Claims
	case wire.ChannelCharge:
		err = open(wire.TypCharge, &o.charge)
		o.Claims = o.charge.Claims
	case wire.ChannelPayout:
		err = open(wire.TypPayout, &o.payout)
		o.Claims = o.payout.Claims
	default:
		err = fmt.Errorf("%w: %.80q", wire.ErrTopic, topic)
	}
	if err == nil && l.anchor.past(l.o.Clock, o.ExpiresAt().Add(wire.ClockLeeway)) {
		err = fmt.Errorf("%w: by the hub's own time", wire.ErrExpired)
	}
	return o, err
}

// accept takes the counter of a verified token, or returns errReplay. What it
// raises is in memory; the store follows with what the message causes.
func (l *Link) accept(c wire.Claims) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if c.Ctr <= l.highest.ctr {
		return fmt.Errorf("%w: %d, after %d", errReplay, c.Ctr, l.highest.ctr)
	}
	l.highest = l.highest.over(seenOf(c))
	l.state.heard = l.o.Clock.Wall()
	return nil
}

// accepted is the highest counter accepted, and the newest time of signing.
func (l *Link) accepted() seen {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.highest
}

// refuse counts and logs a message that changes nothing.
func (l *Link) refuse(topic string, err error) {
	n := cRefusedForm
	switch {
	case errors.Is(err, wire.ErrTopic):
		n = cRefusedTopic
	case errors.Is(err, wire.ErrSignature), errors.Is(err, wire.ErrKey), errors.Is(err, wire.ErrAlgorithm):
		n = cRefusedSignature
	case errors.Is(err, wire.ErrType):
		n = cRefusedType
	case errors.Is(err, wire.ErrAudience):
		n = cRefusedAudience
	case errors.Is(err, wire.ErrExpired):
		n = cRefusedExpired
	case errors.Is(err, errReplay):
		n = cRefusedReplay
	case errors.Is(err, errHead):
		n = cRefusedHead
	}
	l.counts.inc(n)
	if held, ok := l.warnings.allow(counterNames[n]); ok {
		if len(topic) > wire.MaxTopic {
			topic = topic[:wire.MaxTopic]
		}
		l.log.Warn("message refused", "reason", counterNames[n], "topic", topic, "suppressed", held, "err", err)
	}
}

// receive takes messages from the client's handler until done is closed.
func (s *session) receive(ctx context.Context, done <-chan struct{}) {
	budget := bucket{size: freeRefusals, every: refusalEvery}
	for {
		var m message
		select {
		case m = <-s.inbox:
		case <-done:
			return
		}
		o, err := s.l.look(m)
		if err == nil && o != nil {
			if err = s.l.accept(o.Claims); err == nil {
				s.l.anchor.set(s.l.o.Clock, o.IssuedAt())
				s.route(*o, done)
			}
		}
		if err == nil {
			continue
		}
		s.l.refuse(m.topic, err)
		if errors.Is(err, errReplay) {
			// The hub itself signed it: it may have been restored from a backup, and
			// learns from a hello which counters it has used.
			if _, ok := s.l.greetings.allow("replay"); ok {
				signal(s.greet)
			}
		}
		if wait := budget.spend(time.Now()); wait > 0 && !sleep(ctx, done, wait) {
			return
		}
	}
}

// look verifies one message: a token of our own fleet, or a hint, which is
// followed at once and returns nil.
func (l *Link) look(m message) (*opened, error) {
	if mapping := l.o.Mapping; mapping != nil {
		if inTopic, ok := mapping.match(l.o.Device, m.topic); ok {
			charge, err := mapping.read(inTopic, m.payload)
			if err == nil && charge != "" {
				l.hint(charge)
			}
			return nil, err
		}
	}
	o, err := l.openToken(m.topic, m.payload)
	if err != nil {
		return nil, err
	}
	return &o, nil
}

// route hands an accepted token to whoever acts on it.
func (s *session) route(o opened, done <-chan struct{}) {
	l := s.l
	switch o.channel {
	case wire.ChannelAck:
		l.counts.inc(cAcks)
		news, err := l.place(o.ack)
		if errors.Is(err, errHead) {
			l.refuse(string(o.channel), err)
			l.alarm("ledger.fork", map[string]string{"hub": news.head.Position.String()})
			news = ackNews{seen: news.seen, hold: wire.HoldFork}
		} else if err != nil {
			l.warn("ledger cannot be read", "err", err)
			return
		}
		select {
		case s.acks <- news:
		case <-done:
		}
	case wire.ChannelPay:
		l.counts.inc(cPays)
		select {
		case l.pays <- o.pay:
		default:
			l.answer(result(o.JTI, o.pay.Charge, ErrBusy))
		}
	case wire.ChannelCharge:
		l.counts.inc(cCharges)
		select {
		case l.charges <- o.charge:
		default:
			l.answer(result(o.JTI, "", ErrBusy))
		}
	case wire.ChannelPayout:
		l.counts.inc(cPayouts)
		select {
		case l.payouts <- o.payout:
		default:
			l.answer(result(o.JTI, o.payout.Charge, ErrBusy))
		}
	}
}

// include is what a handler's commit contains.
func include(c wire.Claims) Include {
	return func(tx *bbolt.Tx) error { return putSeen(tx, seenOf(c)) }
}

// serve calls fn for what comes in until ctx ends.
func serve[T any](ctx context.Context, in <-chan T, fn func(context.Context, T)) {
	for {
		select {
		case v := <-in:
			limited, cancel := context.WithTimeout(ctx, handlerFor)
			fn(limited, v)
			cancel()
		case <-ctx.Done():
			return
		}
	}
}

func (l *Link) pay(ctx context.Context, p wire.Pay) {
	err := l.o.Handler.Paid(ctx, p, include(p.Claims))
	l.tell(result(p.JTI, p.Charge, err), err)
}

func (l *Link) makeCharge(ctx context.Context, r wire.ChargeRequest) {
	charge, err := l.o.Handler.Charge(ctx, r, include(r.Claims))
	l.tell(result(r.JTI, charge, err), err)
}

func (l *Link) payout(ctx context.Context, p wire.Payout) {
	err := l.o.Handler.Payout(ctx, p, include(p.Claims))
	l.tell(result(p.JTI, p.Charge, err), err)
}

// tell answers, and logs what a person may have to look at.
func (l *Link) tell(r wire.Res, err error) {
	if !r.OK {
		l.warn("message of the hub not carried out", "jti", r.JTI, "code", string(r.Code), "charge", r.Charge, "err", err)
	}
	l.answer(r)
}

// result says what became of a message. The text is ours: errors of other
// packages may hold what does not belong into a message.
func result(jti, charge string, err error) wire.Res {
	r := wire.Res{V: wire.Version, SID: "-", JTI: jti, Charge: charge}
	known := []struct {
		err  error
		code wire.Code
	}{
		{ErrKnown, wire.CodeKnown},
		{ErrNotOurs, wire.CodeUnknown},
		{ErrMismatch, wire.CodeMismatch},
		{ErrConflict, wire.CodeConflict},
		{ErrInvalid, wire.CodeInvalid},
		{ErrBusy, wire.CodeBusy},
		{store.ErrBusy, wire.CodeBusy},
	}
	if err == nil {
		r.OK, r.Code = true, wire.CodeDone
		return r
	}
	for _, k := range known {
		if errors.Is(err, k.err) {
			r.OK, r.Code, r.Detail = k.code == wire.CodeKnown, k.code, k.err.Error()
			return r
		}
	}
	r.Code = wire.CodeUnavailable
	return r
}
