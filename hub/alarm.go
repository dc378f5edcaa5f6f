package hub

import (
	"errors"
	"fmt"
	"time"

	"github.com/ssg-safe/agent/fleet/wire"
)

// Kinds of alarms that the hub raises itself. What devices report has the kind
// of their evt behind "device.".
const (
	AlarmFork       = "fork"          // other bytes for a position that the hub holds
	AlarmEpoch      = "epoch"         // a device sends from an epoch that nobody approved
	AlarmRollback   = "rollback"      // a device has less than the hub holds of it
	AlarmRestored   = "restored"      // the hub has less than it acknowledged
	AlarmGap        = "gap"           // a device cannot send what the hub lacks
	AlarmBatch      = "batch"         // a batch that cannot be read
	AlarmChain      = "chain"         // entries that do not hang together
	AlarmCheckpoint = "checkpoint"    // a checkpoint that the device did not sign, or not about this chain
	AlarmPoison     = "poison"        // an entry that nothing can be read from
	AlarmOperation  = "operation"     // an operation id with two contents
	AlarmCredit     = "credit"        // an end-to-end id credited to two charges
	AlarmRefused    = "refused"       // a device will not have what it was sent
	AlarmCounter    = "counter"       // a device says it accepted counters that the hub never gave
	AlarmPayout     = "payout"        // money that left, or not, and nobody knows
	AlarmProposal   = "proposal"      // a device's proposal that a person must look at
	AlarmTicket     = "ticket"        // something that a person has to do by hand
	AlarmDifference = "difference"    // a terminal's reconciliation found what a person has to deal with
	AlarmFlood      = "device.events" // a device reports more than is kept

	AlarmWebhookUnknown   = "webhook.unknown"   // a provider reports an event that this version does not know
	AlarmWebhookUnread    = "webhook.unread"    // signed by a provider, and not to be read
	AlarmWebhookUnmatched = "webhook.unmatched" // a provider reports money for a charge that no device has
	AlarmWebhookDispute   = "webhook.dispute"   // a payer or his bank wants the money back
)

// Alarm is something that a person has to look at. Its JSON form is stored.
type Alarm struct {
	ID      uint64 `json:"id"`
	Device  string `json:"device"`
	Kind    string `json:"kind"`
	Subject string `json:"subject,omitempty"`
	// Level is info, warn or alarm.
	Level  wire.Level        `json:"level"`
	Text   string            `json:"text"`
	Detail map[string]string `json:"detail,omitempty"`
	// First and Last are when it happened, by the hub's clock, Count how often.
	First time.Time `json:"first"`
	Last  time.Time `json:"last"`
	Count uint64    `json:"count"`
	// Acked is when somebody took care of it, and By who.
	Acked time.Time `json:"acked,omitzero"`
	By    string    `json:"by,omitempty"`
}

// maxEvents is how many events of one device may be open.
const maxEvents = 200

const metaAlarm = "alarm"

func alarmKey(id uint64) string { return fmt.Sprintf("%016x", id) }

// Raise records an alarm about something besides the devices' ledgers; Device is
// "hub" where it is about none. One that is open already is counted up. It reports
// whether it is a new one.
func Raise(tx Tx, a Alarm) (fresh bool, err error) { return raise(tx, a, false) }

// raise records an alarm. One that is open already is counted up; with once it
// stays as it is, even when it was taken care of.
func raise(tx Tx, a Alarm, once bool) (fresh bool, err error) {
	key := a.Device + "/" + a.Kind + "/" + a.Subject
	id, known, err := find[uint64](tx, KindAlarmKey, key)
	if err != nil {
		return false, err
	}
	if known {
		old, err := get[Alarm](tx, KindAlarm, alarmKey(id))
		switch {
		case err != nil:
			return false, err
		case once:
			return false, nil
		case old.Acked.IsZero():
			a.ID, a.First, a.Count = old.ID, old.First, old.Count+1
			return false, put(tx, KindAlarm, alarmKey(id), a)
		}
	}
	if id, _, err = find[uint64](tx, KindMeta, metaAlarm); err != nil {
		return false, err
	}
	a.ID, a.First, a.Count = id+1, a.Last, 1
	return true, errors.Join(
		put(tx, KindMeta, metaAlarm, a.ID),
		put(tx, KindAlarmKey, key, a.ID),
		put(tx, KindAlarm, alarmKey(a.ID), a),
	)
}

// Alarms lists the alarms in the order in which they first came, with all those
// that were taken care of as well.
func Alarms(tx Tx, all bool) ([]Alarm, error) {
	var list []Alarm
	for a, err := range scan[Alarm](tx, KindAlarm, "") {
		if err != nil {
			return nil, err
		}
		if all || a.Acked.IsZero() {
			list = append(list, a)
		}
	}
	return list, nil
}

// AckAbout notes that somebody took care of the alarm about a subject; there need
// be none.
func AckAbout(tx Tx, device, kind, subject, by string) error {
	id, known, err := find[uint64](tx, KindAlarmKey, device+"/"+kind+"/"+subject)
	if err != nil || !known {
		return err
	}
	return AckAlarm(tx, id, by)
}

// AckAlarm notes that somebody takes care of an alarm. The next time it happens
// it is a new one.
func AckAlarm(tx Tx, id uint64, by string) error {
	a, err := get[Alarm](tx, KindAlarm, alarmKey(id))
	if errors.Is(err, ErrNotFound) {
		return fmt.Errorf("alarm %d: %w", id, ErrNotFound)
	}
	if err != nil || !a.Acked.IsZero() {
		return err
	}
	a.Acked, a.By = time.Now().UTC(), by
	return put(tx, KindAlarm, alarmKey(id), a)
}
