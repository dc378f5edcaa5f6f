package hub

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ssg-safe/agent/charge"
	"github.com/ssg-safe/agent/fleet/wire"
	"github.com/ssg-safe/agent/ledger"
	"github.com/ssg-safe/agent/payout"
)

// ErrBusy: too many messages wait for the device already.
var ErrBusy = errors.New("too many messages wait for the device")

const (
	// maxWaiting is how many messages may wait for one device.
	maxWaiting = 256
	// maxPayouts is how many may wait when a word about a payout joins them: a terminal of
	// an earlier version answers none, and payments must have room.
	maxPayouts = maxWaiting / 4
	// keepEnded is how long a message is kept after its end.
	keepEnded = 30 * 24 * time.Hour
	// replayGap is how soon a hello may cause the same message again.
	replayGap = 2 * time.Second
	// maxDue is how many messages one commit sends again.
	maxDue = 256
)

// retries are the pauses after each sending of a message; the last one repeats.
var retries = []time.Duration{2 * time.Second, 5 * time.Second, 15 * time.Second, 30 * time.Second, time.Minute, 5 * time.Minute}

// Pay tells a device what is known about one of its charges: a webhook, verified
// by the caller, or a person's word. It is durable when Pay returns, and is sent,
// signed, until the device has answered. The claims and Ver of p are set here.
//
// What is known already, or says less than what is known (no fact lowers a
// charge's rank), changes nothing. One end-to-end id credits one charge in the
// whole fleet: another one is [ErrConflict] and an alarm. Other errors:
// [ErrNotFound] for a device that is not registered, [ErrBusy].
func (h *Hub) Pay(ctx context.Context, device string, p wire.Pay) error {
	return h.submit(ctx, func(w *work) error {
		if err := w.pay(device, p); err != nil {
			return fmt.Errorf("pay charge %s of %s: %w", p.Charge, device, err)
		}
		return nil
	})
}

// Charge starts a charge on a device from the back office. It is durable when
// Charge returns, and is sent, signed, until the device has answered or until has
// passed. The claims of r are set here.
//
// Reference is the identity of the charge: the same request again returns the
// same id, another one under the same reference is [ErrConflict]. What became of
// it [Hub.Message] tells. Other errors: [ErrNotFound], [ErrBusy].
func (h *Hub) Charge(ctx context.Context, device string, r wire.ChargeRequest, until time.Time) (id string, err error) {
	err = h.submit(ctx, func(w *work) (err error) {
		if id, err = w.requestCharge(device, r, until); err != nil {
			return fmt.Errorf("charge %s on %s: %w", r.Reference, device, err)
		}
		return nil
	})
	return id, err
}

// Payout tells a device what became of a payout or refund. It is durable when Payout
// returns, and is sent, signed, until the device has answered; it takes the place of
// what was said about the same one before. What is on its way already changes nothing.
// The claims of p are set here. Errors: [ErrNotFound] for a device that is not
// registered, [ErrBusy].
func (h *Hub) Payout(ctx context.Context, device string, p wire.Payout) error {
	return h.submit(ctx, func(w *work) error {
		if err := w.payout(device, p); err != nil {
			return fmt.Errorf("payout %s to %s: %w", p.Payout, device, err)
		}
		return nil
	})
}

// Message returns a message downwards by its id, or [ErrNotFound]. Those that
// ended are kept for 30 days.
func (h *Hub) Message(ctx context.Context, device, id string) (m Message, err error) {
	err = h.store.View(ctx, func(tx Tx) error {
		m, err = get[Message](tx, KindMessage, device+"/"+id)
		return err
	})
	return m, err
}

// active returns a registered device that has not been revoked.
func (w *work) active(name string) (*deviceWork, error) {
	d, err := w.device(name)
	if err != nil {
		return nil, err
	}
	if !d.known || !d.Revoked.IsZero() {
		return nil, fmt.Errorf("device %s: %w in the registry", name, ErrNotFound)
	}
	return d, nil
}

func (w *work) pay(device string, p wire.Pay) error {
	d, err := w.active(device)
	if err != nil {
		return err
	}
	p.Claims = wire.Claims{}
	p.PaidAt = p.PaidAt.UTC()
	key := device + "/" + p.Charge
	known, exists, err := find[Payment](w.tx, KindPayment, key)
	if err != nil {
		return err
	}
	p.Ver = 1
	if exists {
		p.Ver = known.Pay.Ver + 1
		was, is := charge.State(known.Pay.Status).Rank(), charge.State(p.Status).Rank()
		known.Pay.Ver = p.Ver
		if known.Pay == p || is < was && w.valid(d, known) {
			return nil
		}
	}
	if err := w.sample(p); err != nil {
		return err
	}
	if err := w.room(device, wire.TypPay, p.Charge); err != nil {
		return err
	}
	if err := w.credit(d, p.EndToEnd, p.Charge); err != nil {
		return err
	}
	known.Pay, known.Told = p, true
	if err := put(w.tx, KindPayment, key, known); err != nil {
		return err
	}
	return w.start(d, Message{Device: device, JTI: newID(), Pay: &p, Made: w.now, State: Waiting})
}

// sample checks that the claims can be signed, before they are stored.
func (w *work) sample(claims any) error {
	c := wire.Claims{Aud: "device", JTI: "sample", Ctr: 1, Iat: 1, Exp: 2}
	var typ string
	switch v := claims.(type) {
	case wire.Pay:
		v.Claims, typ, claims = c, wire.TypPay, v
		claims = v
	case wire.ChargeRequest:
		v.Claims, typ = c, wire.TypCharge
		claims = v
	case wire.Payout:
		v.Claims, typ = c, wire.TypPayout
		claims = v
	}
	_, err := w.h.signer.Load().Sign(typ, claims)
	return err
}

func (w *work) requestCharge(device string, r wire.ChargeRequest, until time.Time) (string, error) {
	d, err := w.active(device)
	if err != nil {
		return "", err
	}
	r.Claims = wire.Claims{}
	jti, known, err := find[string](w.tx, KindReference, refKey(device, wire.TypCharge, r.Reference))
	if err != nil {
		return "", err
	}
	if known {
		m, err := get[Message](w.tx, KindMessage, device+"/"+jti)
		if err != nil {
			return "", err
		}
		if *m.Charge != r {
			return "", fmt.Errorf("%w under this reference", ErrConflict)
		}
		return jti, nil
	}
	if !until.After(w.now) {
		return "", errors.New("its time has passed already")
	}
	if err := w.sample(r); err != nil {
		return "", err
	}
	if err := w.room(device, wire.TypCharge, r.Reference); err != nil {
		return "", err
	}
	m := Message{Device: device, JTI: newID(), Charge: &r, Made: w.now, Until: until.UTC(), State: Waiting}
	return m.JTI, w.start(d, m)
}

func (w *work) payout(device string, p wire.Payout) error {
	d, err := w.active(device)
	if err != nil {
		return err
	}
	p.Claims = wire.Claims{}
	own, proposed, err := find[Proposal](w.tx, KindProposal, proposalKey(device, payout.ID(p.Payout)))
	if err != nil || own.Again != nil {
		return err
	}
	jti, known, err := find[string](w.tx, KindReference, refKey(device, wire.TypPayout, p.Payout))
	if err != nil {
		return err
	}
	if known {
		m, err := get[Message](w.tx, KindMessage, device+"/"+jti)
		if err != nil {
			return err
		}
		if m.State == Waiting && *m.Payout == p {
			return nil
		}
	}
	if err := w.sample(p); err != nil {
		return err
	}
	if err := w.room(device, wire.TypPayout, p.Payout); err != nil {
		return err
	}
	if proposed {
		own.Said = &p
		if err := put(w.tx, KindProposal, proposalKey(device, own.ID), own); err != nil {
			return err
		}
	}
	return w.start(d, Message{Device: device, JTI: newID(), Payout: &p, Made: w.now, State: Waiting})
}

// room refuses what would let messages pile up for a device.
func (w *work) room(device, typ, ref string) error {
	most := maxWaiting
	if typ == wire.TypPayout {
		most = maxPayouts
	}
	if w.h.schedule.count(device) < most {
		return nil
	}
	// What takes an older message's place needs none.
	if _, known, err := find[string](w.tx, KindReference, refKey(device, typ, ref)); err != nil || known {
		return err
	}
	return ErrBusy
}

// start records a message, in the place of an earlier one about the same, and
// sends it for the first time.
func (w *work) start(d *deviceWork, m Message) error {
	ref := refKey(m.Device, m.typ(), m.ref())
	old, known, err := find[string](w.tx, KindReference, ref)
	if err != nil {
		return err
	}
	if known {
		if err := w.tx.Delete(KindMessage, m.Device+"/"+old); err != nil {
			return err
		}
		w.after = append(w.after, func() { w.h.schedule.remove(m.Device, old) })
	}
	if err := errors.Join(put(w.tx, KindReference, ref, m.JTI), put(w.tx, KindMessage, m.Device+"/"+m.JTI, m)); err != nil {
		return err
	}
	w.sendMessage(d, m)
	w.after = append(w.after, func() { w.h.schedule.add(m.Device, m.JTI, w.now.Add(retries[0]), 1, w.now) })
	return nil
}

func (w *work) sendMessage(d *deviceWork, m Message) {
	claims := w.claims(d, m.JTI, m.Until)
	switch {
	case m.Pay != nil:
		p := *m.Pay
		p.Claims = claims
		w.send(d, wire.ChannelPay, p)
	case m.Payout != nil:
		p := *m.Payout
		p.Claims = claims
		w.send(d, wire.ChannelPayout, p)
	default:
		r := *m.Charge
		r.Claims = claims
		w.send(d, wire.ChannelCharge, r)
	}
}

// due sends again what has not been answered.
func (w *work) due() error {
	for _, t := range w.h.schedule.due(w.now, maxDue) {
		next := w.now.Add(retries[min(t.tries, len(retries)-1)])
		tries, sent := t.tries+1, w.now
		m, known, err := find[Message](w.tx, KindMessage, t.device+"/"+t.jti)
		if err != nil {
			return err
		}
		if !known || m.State != Waiting {
			w.after = append(w.after, func() { w.h.schedule.remove(t.device, t.jti) })
			continue
		}
		d, err := w.device(t.device)
		if err != nil {
			return err
		}
		switch over, err := w.over(d, m); {
		case err != nil:
			return err
		case over:
			continue
		case !d.Revoked.IsZero() || w.h.presence.away(t.device):
			// A hello brings it back at once; this is for a lost one.
			next, tries, sent = w.now.Add(retries[len(retries)-1]), t.tries, t.sent
		default:
			w.sendMessage(d, m)
		}
		if !m.Until.IsZero() && m.Until.Before(next) {
			next = m.Until
		}
		w.after = append(w.after, func() { w.h.schedule.add(t.device, t.jti, next, tries, sent) })
	}
	return nil
}

// over ends a message that needs no answer any more.
func (w *work) over(d *deviceWork, m Message) (bool, error) {
	if !m.Until.IsZero() && !w.now.Before(m.Until) {
		return true, w.end(m, Expired, nil)
	}
	if m.Pay == nil || m.Pay.Status != string(charge.Paid) {
		return false, nil
	}
	// The device's own ledger, signed, says that it knows of this payment.
	p, known, err := find[Payment](w.tx, KindPayment, m.Device+"/"+m.Pay.Charge)
	if err != nil || !known || p.Entry == nil {
		return false, err
	}
	if proved, err := w.proved(d, p); err != nil || !proved {
		return false, err
	}
	e, err := w.tx.Entry(d.Name, *p.Entry)
	if errors.Is(err, ErrNotFound) {
		return false, nil // it was set aside
	}
	if err != nil {
		return false, err
	}
	c := candidate{Entry: e}
	if c.read(); c.pay == nil || c.pay.EndToEnd != m.Pay.EndToEnd || c.pay.Cents != m.Pay.Cents {
		return false, nil // it knows of another
	}
	return true, w.end(m, Done, nil)
}

// end records what became of a message.
func (w *work) end(m Message, state MessageState, res *wire.Res) error {
	m.State, m.Res, m.Ended = state, res, w.now
	w.after = append(w.after, func() { w.h.schedule.remove(m.Device, m.JTI) })
	return put(w.tx, KindMessage, m.Device+"/"+m.JTI, m)
}

// result is a device's answer to a message.
func (w *work) result(d *deviceWork, r wire.Res) error {
	m, known, err := find[Message](w.tx, KindMessage, d.Name+"/"+r.JTI)
	if err != nil || !known || m.State == Done || m.State == Refused {
		return err
	}
	switch {
	case r.OK:
		return w.end(m, Done, &r)
	case r.Code.Again():
		w.after = append(w.after, func() { w.h.schedule.again(d.Name, r.JTI, w.now.Add(retries[2])) })
		return nil
	}
	text := "the device refuses a message of type " + m.typ()
	if p := m.Payout; p != nil && p.Kind == string(payout.Refund) && (p.State == string(payout.Settled) || p.State == string(payout.Returned)) &&
		(r.Code == wire.CodeUnknown || r.Code == wire.CodeMismatch) {
		text = "what was given back does not fit the device's ledger: it is in suspense there, with a ticket"
	}
	err = w.alarm(Alarm{
		Device: d.Name, Kind: AlarmRefused, Subject: m.ref(), Level: wire.LevelWarn, Text: text,
		Detail: map[string]string{"code": string(r.Code), "detail": r.Detail, "ref": m.ref()},
	}, false)
	return errors.Join(err, w.end(m, Refused, &r))
}

// payGet answers what is known about charges. It is asked again and again while
// a code is on the screen, so nothing is kept of it.
func (w *work) payGet(d *deviceWork, ask wire.PayGet) error {
	for _, id := range ask.Charges {
		p, known, err := find[Payment](w.tx, KindPayment, d.Name+"/"+id)
		if err != nil {
			return err
		}
		if !known || p.Pay.Status == string(charge.Pending) || !w.valid(d, p) {
			continue
		}
		jti, waiting, err := find[string](w.tx, KindReference, refKey(d.Name, wire.TypPay, id))
		if err != nil {
			return err
		}
		if !waiting {
			jti = newID()
		}
		answer := p.Pay
		answer.Claims = w.claims(d, jti, time.Time{})
		w.send(d, wire.ChannelPay, answer)
	}
	return nil
}

// valid reports whether a payment is more than hearsay.
func (w *work) valid(d *deviceWork, p Payment) bool {
	if p.Told {
		return true
	}
	proved, err := w.proved(d, p)
	return err == nil && proved
}

// proved reports whether the device has signed the entry that tells of a payment.
func (w *work) proved(d *deviceWork, p Payment) (bool, error) {
	if p.Proved || p.Entry == nil {
		return p.Proved, nil
	}
	c, err := w.chain(d, p.Entry.Epoch)
	if err != nil {
		return false, err
	}
	return !c.Signed.Before(*p.Entry), nil
}

// payment notes what an entry of the ledger says.
func (w *work) payment(d *deviceWork, at ledger.Position, said wire.Pay) error {
	key := d.Name + "/" + said.Charge
	p, known, err := find[Payment](w.tx, KindPayment, key)
	if err != nil {
		return err
	}
	switch {
	case !known:
		p.Pay = said
	case p.Told && p.Pay.EndToEnd != "" && said.EndToEnd != "" && p.Pay.EndToEnd != said.EndToEnd:
		err := w.raise(d, AlarmCredit, wire.LevelAlarm, "the device was paid for a charge by another payment than the hub knows of",
			map[string]string{"charge": said.Charge, "device": said.EndToEnd, "hub": p.Pay.EndToEnd})
		if err != nil {
			return err
		}
	}
	if p.Entry == nil {
		p.Entry = &at
	}
	// A conflict is an alarm; the device's word is kept all the same.
	if err := w.credit(d, said.EndToEnd, said.Charge); err != nil && !errors.Is(err, ErrConflict) {
		return err
	}
	return put(w.tx, KindPayment, key, p)
}

// credit notes which charge an end-to-end id belongs to: one in the fleet.
func (w *work) credit(d *deviceWork, endToEnd, id string) error {
	if endToEnd == "" {
		return nil
	}
	mine := Credit{d.Name, id}
	first, known, err := find[Credit](w.tx, KindCredit, endToEnd)
	switch {
	case err != nil:
		return err
	case !known:
		return put(w.tx, KindCredit, endToEnd, mine)
	case first == mine:
		return nil
	}
	err = w.raise(d, AlarmCredit, wire.LevelAlarm, "one payment is credited to two charges",
		map[string]string{"end_to_end": endToEnd, "first": first.Device + "/" + first.Charge, "again": d.Name + "/" + id})
	return errors.Join(err, fmt.Errorf("%w: %s belongs to charge %s of %s", ErrConflict, endToEnd, first.Charge, first.Device))
}

// loadSchedule reads what is outstanding, and forgets what ended long ago.
func (h *Hub) loadSchedule(ctx context.Context) error {
	now := time.Now()
	var old []Message
	err := h.store.View(ctx, func(tx Tx) error {
		for m, err := range scan[Message](tx, KindMessage, "") {
			switch {
			case err != nil:
				return err
			case m.State == Waiting:
				h.schedule.add(m.Device, m.JTI, now, 0, time.Time{})
			case now.Sub(m.Ended) > keepEnded:
				old = append(old, m)
			}
		}
		return nil
	})
	if err != nil || len(old) == 0 {
		return err
	}
	return h.store.Update(ctx, func(tx Tx) error {
		for _, m := range old {
			err := errors.Join(tx.Delete(KindMessage, m.Device+"/"+m.JTI), tx.Delete(KindReference, refKey(m.Device, m.typ(), m.ref())))
			if err != nil {
				return err
			}
		}
		return nil
	})
}
