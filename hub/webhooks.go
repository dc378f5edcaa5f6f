package hub

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/ssg-safe/agent/charge"
	"github.com/ssg-safe/agent/fleet/wire"
	"github.com/ssg-safe/agent/ledger"
)

// Webhook is one event that a provider reported, verified by whoever received it
// (package hub/webhook). It proves nothing: a device that is told of it asks its
// provider. It holds nothing about people.
type Webhook struct {
	// Source is the way in, as the configuration names it.
	Source string
	// Kind is the provider's word for what happened; Known is false for one that
	// this version does not know.
	Kind  string
	Known bool
	// Key identifies the event for ever within its source: 1 to 128 letters and
	// digits, a hash.
	Key string
	// Names are what the provider calls the charge, most certain first, at most
	// 16. With Guessed they are whatever the body held: only one that is a charge's
	// is kept, and an event without such a name is not.
	Names   []string
	Guessed bool
	// Paid: it says that money came. Where nobody knows what for, somebody is told.
	Paid bool
	// Dispute: somebody wants money back, and a person has to answer.
	Dispute bool
	// Unread: it was signed, and could not be understood.
	Unread bool
	// Digest is the SHA-256 of the body, lower-case hex.
	Digest string
}

// WebhookState is what became of an event.
type WebhookState string

// States of an event.
const (
	WebhookWaiting   WebhookState = "waiting"   // no device has sent the charge yet
	WebhookMatched   WebhookState = "matched"   // whose it is is known: the device of the charge is told to ask
	WebhookUnmatched WebhookState = "unmatched" // it is about no charge that the hub knows by now
)

// WebhookRecord is an event as it is kept: for 90 days, after which only its key
// is. Its JSON form is stored.
type WebhookRecord struct {
	N      uint64       `json:"n"`
	At     time.Time    `json:"at"`
	Source string       `json:"source"`
	Kind   string       `json:"kind"`
	Names  []string     `json:"names,omitempty"`
	Paid   bool         `json:"paid,omitempty"`
	Digest string       `json:"digest"`
	State  WebhookState `json:"state"`
	// Device and Charge are what it is about, once matched; Hint is the id of the
	// message that tells the device, empty where one was under way already.
	Device  string `json:"device,omitempty"`
	Charge  string `json:"charge,omitempty"`
	Attempt int    `json:"attempt,omitempty"`
	Hint    string `json:"hint,omitempty"`
	// Payout is the hub's own payout that it is about.
	Payout string `json:"payout,omitempty"`
}

// subject is a row of the index of what providers call charges. Its JSON form is
// stored. Until a device has sent the charge, Waiting are the events about it.
type subject struct {
	Device  string   `json:"device,omitempty"`
	Charge  string   `json:"charge,omitempty"`
	Attempt int      `json:"attempt,omitempty"`
	Waiting []uint64 `json:"waiting,omitempty"`
}

const (
	// keepWebhooks is how long what an event said is kept.
	keepWebhooks = 90 * 24 * time.Hour
	// matchWithin is how long a charge may take to come from its device.
	matchWithin = 10 * time.Minute
	// hintFor is how long a device is told to ask: after that its own questions
	// have found out.
	hintFor = time.Hour
	// maxHints is how many messages may wait for a device when a hint joins them:
	// those that carry proof have room above it.
	maxHints = maxWaiting / 2
	// maxSubjectWaits is how many events may wait for one charge.
	maxSubjectWaits = 32

	metaWebhook = "webhook"
)

func webhookKey(n uint64) string { return fmt.Sprintf("%016x", n) }

// Receive records events and has the devices told whose charges they are about;
// both are one commit, after which it returns. An event whose key was received
// before, however long ago, changes nothing, nor does one whose names are guessed and
// no charge's. It returns how many were new. After
// an error some may be recorded: the provider sends them again.
func (h *Hub) Receive(ctx context.Context, events []Webhook) (fresh int, err error) {
	for _, e := range events {
		if err := e.check(); err != nil {
			return 0, fmt.Errorf("webhook: %w", err)
		}
	}
	err = h.submit(ctx, func(w *work) error {
		fresh = 0
		for _, e := range events {
			isNew, err := w.webhook(e)
			if err != nil {
				return fmt.Errorf("webhook: %w", err)
			}
			if isNew {
				fresh++
			}
		}
		return nil
	})
	return fresh, err
}

func (e Webhook) check() error {
	plain := func(s string, limit int) bool {
		return s != "" && len(s) <= limit && !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' })
	}
	if !plain(e.Source, wire.MaxID) || !plain(e.Kind, wire.MaxID) || !plain(e.Key, 128) || !plain(e.Digest, wire.MaxID) || len(e.Names) > 16 {
		return errors.New("source, kind, key or digest is missing or too long")
	}
	for _, name := range e.Names {
		if !plain(name, wire.MaxText) {
			return errors.New("a name is too long, or holds odd characters")
		}
	}
	return nil
}

// webhook records one event.
func (w *work) webhook(e Webhook) (fresh bool, err error) {
	key := e.Source + "/" + e.Key
	if _, known, err := find[uint64](w.tx, KindWebhookKey, key); err != nil || known {
		return false, err
	}
	r := WebhookRecord{At: w.now, Source: e.Source, Kind: e.Kind, Names: e.Names, Paid: e.Paid, Digest: e.Digest, State: WebhookUnmatched}
	if r.N, _, err = find[uint64](w.tx, KindMeta, metaWebhook); err != nil {
		return false, err
	}
	r.N++
	if err := w.place(&r, e.Guessed); err != nil {
		return false, err
	}
	if e.Guessed && r.Charge == "" {
		return false, nil // nothing is known of it, and anybody may have sent it
	}
	if err := w.webhookAlarms(e, r); err != nil {
		return false, err
	}
	// The key comes last: an event that was not recorded as a whole comes again.
	return true, errors.Join(
		put(w.tx, KindWebhook, webhookKey(r.N), r),
		put(w.tx, KindMeta, metaWebhook, r.N),
		w.purgeWebhooks(),
		put(w.tx, KindWebhookKey, key, r.N),
	)
}

// place finds the charge of an event, or lets it wait for one.
func (w *work) place(r *WebhookRecord, guessed bool) error {
	for _, name := range r.Names {
		s, known, err := find[subject](w.tx, KindSubject, name)
		if err != nil {
			return err
		}
		if known && s.Device != "" {
			if guessed {
				r.Names = []string{name}
			}
			return w.match(r, name, s)
		}
	}
	if guessed || len(r.Names) == 0 {
		return nil
	}
	r.State = WebhookWaiting
	for _, name := range r.Names {
		s, _, err := find[subject](w.tx, KindSubject, name)
		if err != nil {
			return err
		}
		if len(s.Waiting) >= maxSubjectWaits {
			continue
		}
		s.Waiting = append(s.Waiting, r.N)
		if err := put(w.tx, KindSubject, name, s); err != nil {
			return err
		}
	}
	return put(w.tx, KindWaiting, webhookKey(r.N), r.N)
}

// match notes whose charge an event is about, and has the device told.
func (w *work) match(r *WebhookRecord, name string, s subject) (err error) {
	r.State, r.Device, r.Charge, r.Attempt = WebhookMatched, s.Device, s.Charge, s.Attempt
	r.Hint, err = w.hint(r.theirs(name), s, r.Digest)
	return err
}

// isCallback reports whether a name is the hash of a callback address
// (bspaybr.CallbackName): what is found by it has no name at its provider yet.
func isCallback(name string) bool { return strings.HasPrefix(name, "callback:") }

// subjectOf is the name that an attempt has in the index.
func subjectOf(f charge.AttemptFact) string { return cmp.Or(f.Callback, f.ProviderID) }

// theirs is what the provider calls the subject of an event that was found by a name;
// "" where it does not say.
func (r WebhookRecord) theirs(name string) string {
	if isCallback(name) {
		name = r.Names[0]
	}
	if isCallback(name) {
		return ""
	}
	return name
}

// name enters what a provider calls a charge into the index. The first device
// that has a name keeps it: no other can draw its hints away.
func (w *work) name(d *deviceWork, f charge.AttemptFact) error {
	name := subjectOf(f)
	s, known, err := find[subject](w.tx, KindSubject, name)
	if err != nil || known && s.Device != "" {
		return err
	}
	waiting := s.Waiting
	s = subject{Device: d.Name, Charge: string(f.Charge), Attempt: f.N}
	if err := put(w.tx, KindSubject, name, s); err != nil {
		return err
	}
	for _, n := range waiting {
		r, known, err := find[WebhookRecord](w.tx, KindWebhook, webhookKey(n))
		if err != nil {
			return err
		}
		if !known || r.State == WebhookMatched {
			continue
		}
		// Also one that was given up: the device was away.
		err = errors.Join(w.forget(r, name), w.match(&r, name, s), put(w.tx, KindWebhook, webhookKey(n), r))
		if err != nil {
			return err
		}
	}
	return nil
}

// forget takes an event out of the rows in which it waits, except one.
func (w *work) forget(r WebhookRecord, except string) error {
	for _, name := range r.Names {
		s, known, err := find[subject](w.tx, KindSubject, name)
		if err != nil {
			return err
		}
		if !known || name == except || s.Device != "" {
			continue
		}
		if s.Waiting = without(s.Waiting, r.N); len(s.Waiting) > 0 {
			err = put(w.tx, KindSubject, name, s)
		} else {
			err = w.tx.Delete(KindSubject, name)
		}
		if err != nil {
			return err
		}
	}
	return w.tx.Delete(KindWaiting, webhookKey(r.N))
}

func without(list []uint64, n uint64) (rest []uint64) {
	for _, have := range list {
		if have != n {
			rest = append(rest, have)
		}
	}
	return rest
}

// hint tells a device to ask about a charge: a pay that says pending, which
// proves nothing. It returns the message's id; empty when there is none, because
// one about this charge is under way already, or the device is gone or busy.
func (w *work) hint(name string, s subject, digest string) (string, error) {
	d, err := w.active(s.Device)
	if errors.Is(err, ErrNotFound) {
		return "", nil
	}
	if err != nil || w.h.schedule.count(s.Device) >= maxHints {
		return "", err
	}
	jti, known, err := find[string](w.tx, KindReference, refKey(s.Device, wire.TypPay, s.Charge))
	if err != nil {
		return "", err
	}
	if known {
		m, found, err := find[Message](w.tx, KindMessage, s.Device+"/"+jti)
		if err != nil || found && m.State == Waiting {
			return "", err
		}
	}
	created, err := w.created(s)
	if err != nil || created == nil {
		return "", err
	}
	p := wire.Pay{
		Charge: s.Charge, Ver: 1, Status: string(charge.Pending), Route: created.Route, Account: created.Account,
		ProviderID: name, Attempt: s.Attempt, Digest: digest,
	}
	if w.sample(p) != nil {
		return "", nil // the device's own entry has what no token can carry
	}
	m := Message{Device: s.Device, JTI: newID(), Pay: &p, Made: w.now, Until: w.now.Add(hintFor), State: Waiting}
	return m.JTI, w.start(d, m)
}

// created is the device's entry that began a charge; nil where there is none.
func (w *work) created(s subject) (*charge.CreatedFact, error) {
	op, err := w.tx.Op(s.Device, charge.CreatedFact{Charge: charge.ID(s.Charge)}.Op())
	if errors.Is(err, ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	row, err := w.tx.Entry(s.Device, op.At)
	if err != nil {
		return nil, err
	}
	e, err := ledger.Decode(row.Bytes)
	if err != nil {
		return nil, nil // it is quarantined
	}
	fact, err := charge.Decode(e.Kind, e.Data, e.Evidence)
	if f, ok := fact.(charge.CreatedFact); ok && err == nil {
		return &f, nil
	}
	return nil, nil
}

// webhookAlarms tells people what is for them.
func (w *work) webhookAlarms(e Webhook, r WebhookRecord) error {
	a := Alarm{Device: r.Device, Level: wire.LevelWarn, Detail: map[string]string{"source": e.Source, "event": e.Kind, "webhook": fmt.Sprint(r.N)}}
	switch {
	case e.Unread:
		a.Kind, a.Subject, a.Text = AlarmWebhookUnread, e.Source, "a webhook that the provider signed and this hub cannot read"
	case !e.Known:
		a.Kind, a.Subject, a.Text = AlarmWebhookUnknown, e.Source, "a provider reports an event that this hub does not know"
	case e.Dispute:
		a.Kind, a.Subject, a.Level, a.Text = AlarmWebhookDispute, e.Key, wire.LevelAlarm, "a payment is disputed: answer the provider in time"
		if len(r.Names) > 0 {
			a.Detail["subject"] = r.Names[0]
		}
	default:
		return nil
	}
	return w.alarm(a, false)
}

// purgeWebhooks deletes what is too old, a little at a time. The keys stay.
func (w *work) purgeWebhooks() error {
	var old []WebhookRecord
	for r, err := range scan[WebhookRecord](w.tx, KindWebhook, "") {
		if err != nil {
			return err
		}
		if len(old) == 2 || w.now.Sub(r.At) < keepWebhooks {
			break
		}
		old = append(old, r)
	}
	for _, r := range old {
		if err := errors.Join(w.forget(r, ""), w.tx.Delete(KindWebhook, webhookKey(r.N))); err != nil {
			return err
		}
	}
	return nil
}

// SweepWebhooks calls the events unmatched whose charge no device has sent in ten
// minutes, though it may come yet. Where one says that money came, somebody is
// told. It is to be called every minute or so.
func (h *Hub) SweepWebhooks(ctx context.Context) error {
	due := false
	now := time.Now()
	err := h.store.View(ctx, func(tx Tx) error {
		list, err := overdue(tx, now)
		due = len(list) > 0
		return err
	})
	if err != nil || !due {
		return err
	}
	return h.submit(ctx, func(w *work) error {
		list, err := overdue(w.tx, w.now)
		for _, r := range list {
			if err = w.giveUp(r); err != nil {
				break
			}
		}
		return err
	})
}

// overdue lists the events that have waited for too long.
func overdue(tx Tx, now time.Time) (list []WebhookRecord, err error) {
	numbers, err := collect[uint64](tx, KindWaiting, "")
	for _, n := range numbers {
		r, known, err := find[WebhookRecord](tx, KindWebhook, webhookKey(n))
		switch {
		case err != nil:
			return nil, err
		case !known:
			list = append(list, WebhookRecord{N: n})
		case now.Sub(r.At) >= matchWithin:
			list = append(list, r)
		}
		if len(list) == maxGroup {
			break
		}
	}
	return list, err
}

func (w *work) giveUp(r WebhookRecord) error {
	if err := w.tx.Delete(KindWaiting, webhookKey(r.N)); err != nil || r.Source == "" {
		return err
	}
	r.State = WebhookUnmatched
	if err := put(w.tx, KindWebhook, webhookKey(r.N), r); err != nil || !r.Paid {
		return err
	}
	return w.alarm(Alarm{
		Kind: AlarmWebhookUnmatched, Subject: r.Source + "/" + r.Names[0], Level: wire.LevelAlarm,
		Text:   "a provider reports money for a charge that no terminal has sent: wait for one that is away; else find out whose it is, and give it back or credit it",
		Detail: map[string]string{"source": r.Source, "event": r.Kind, "subject": r.Names[0], "webhook": fmt.Sprint(r.N)},
	}, false)
}

// Webhooks lists the newest events that are kept, oldest first, at most limit.
func Webhooks(tx Tx, limit int) ([]WebhookRecord, error) {
	last, _, err := find[uint64](tx, KindMeta, metaWebhook)
	if err != nil {
		return nil, err
	}
	var list []WebhookRecord
	for n := last - min(last, uint64(limit)) + 1; n <= last; n++ {
		r, known, err := find[WebhookRecord](tx, KindWebhook, webhookKey(n))
		if err != nil {
			return nil, err
		}
		if known {
			list = append(list, r)
		}
	}
	return list, nil
}

// WebhooksAbout lists the events that are kept, matched no charge, and call their
// subject by a name, oldest first.
func WebhooksAbout(tx Tx, name string) ([]WebhookRecord, error) {
	s, _, err := find[subject](tx, KindSubject, name)
	if err != nil {
		return nil, err
	}
	var list []WebhookRecord
	for _, n := range s.Waiting {
		r, known, err := find[WebhookRecord](tx, KindWebhook, webhookKey(n))
		if err != nil {
			return nil, err
		}
		if known {
			list = append(list, r)
		}
	}
	return list, nil
}

// AboutPayout notes that an event is about a payout of the hub's own.
func AboutPayout(tx Tx, r WebhookRecord, payout string) error {
	r.State, r.Payout = WebhookMatched, payout
	return errors.Join(put(tx, KindWebhook, webhookKey(r.N), r), tx.Delete(KindWaiting, webhookKey(r.N)))
}

// GetWebhook returns an event by its number, and the message that told the
// device, if there was one and it is kept. The error may be [ErrNotFound].
func GetWebhook(tx Tx, n uint64) (r WebhookRecord, m *Message, err error) {
	r, known, err := find[WebhookRecord](tx, KindWebhook, webhookKey(n))
	if err == nil && !known {
		err = fmt.Errorf("webhook %d: %w", n, ErrNotFound)
	}
	if err != nil || r.Hint == "" {
		return r, nil, err
	}
	found, known, err := find[Message](tx, KindMessage, r.Device+"/"+r.Hint)
	if err != nil || !known {
		return r, nil, err
	}
	return r, &found, nil
}
