package hub

import (
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"strings"
	"time"

	"github.com/ssg-safe/agent/fleet/wire"
	"github.com/ssg-safe/agent/ledger"
)

// Device is a row of the registry, which alone says whose a device is and what
// may come from it. Its JSON form is stored: names never change.
type Device struct {
	Name   string `json:"name"`
	Tenant string `json:"tenant"`
	Site   string `json:"site"`
	// Key signs the device's checkpoints.
	Key     ed25519.PublicKey `json:"key"`
	Added   time.Time         `json:"added"`
	Revoked time.Time         `json:"revoked,omitzero"`
	// Epochs that may be sent, in the order of their approval. The first one
	// comes with the first batch: whoever registered the device approved it.
	Epochs []uint64 `json:"epochs,omitempty"`
	// Asked is an epoch that the device sends from and nobody has approved.
	Asked uint64 `json:"asked,omitempty"`
	// Fork is set while nothing is taken from the device because of one.
	Fork *Fork `json:"fork,omitempty"`
	// TakeGap: the next batch behind a gap is taken; an operator has seen that
	// the entries between are lost.
	TakeGap bool `json:"take_gap,omitempty"`
	// TakeFork: the device's version is taken from the first difference on; an
	// operator has seen the fork.
	TakeFork bool `json:"take_fork,omitempty"`
	// Access is the SHA-256 of the password with which the device may connect to
	// a broker that asks the registry; empty: it has none.
	Access []byte `json:"access,omitempty"`
}

// Fork is two different entries for one position.
type Fork struct {
	At    ledger.Position `json:"at"`
	Have  ledger.Hash     `json:"have"`
	Got   ledger.Hash     `json:"got"`
	Since time.Time       `json:"since"`
}

// State of a device in one word.
func (d Device) State() string {
	switch {
	case !d.Revoked.IsZero():
		return "revoked"
	case d.Fork != nil:
		return "forked"
	case d.Asked != 0:
		return "epoch"
	case len(d.Epochs) == 0:
		return "new"
	}
	return "ok"
}

// current is the epoch that was approved last.
func (d Device) current() uint64 {
	if len(d.Epochs) == 0 {
		return 0
	}
	return d.Epochs[len(d.Epochs)-1]
}

// Chain is what the hub holds of one epoch of a device. Its JSON form is stored.
type Chain struct {
	Epoch uint64 `json:"epoch"`
	// Start is what the chain continues: seq 0 and the hash in the first entry.
	Start ledger.Head `json:"start"`
	Head  ledger.Head `json:"head"`
	// Signed is the newest position that a checkpoint of the device covers.
	Signed  ledger.Position `json:"signed"`
	Entries uint64          `json:"entries"`
	Bytes   int64           `json:"bytes"`
	// SID is the session that appended last.
	SID string `json:"sid"`
	// Gaps are holes that an operator let pass.
	Gaps []Gap `json:"gaps,omitempty"`
	// Aside are the names of branches that were set aside after forks.
	Aside []string `json:"aside,omitempty"`
}

// Gap is a hole in a chain: nothing lies between the two.
type Gap struct {
	After  ledger.Head `json:"after"`
	Resume ledger.Head `json:"resume"`
}

// Quarantined is an entry that nothing could be read from, or the other side of
// a fork. Its JSON form is stored.
type Quarantined struct {
	At     ledger.Position `json:"at"`
	Reason string          `json:"reason"`
	Since  time.Time       `json:"since"`
	// Hash and Bytes are of an entry that is not in the chain itself; Bytes is
	// empty when it is too long to be kept.
	Hash  *ledger.Hash `json:"hash,omitempty"`
	Bytes []byte       `json:"bytes,omitempty"`
}

// Payment is what the hub knows about a charge that money came for. Its JSON
// form is stored.
type Payment struct {
	// Pay without claims.
	Pay wire.Pay `json:"pay"`
	// Told: the back office says so.
	Told bool `json:"told,omitempty"`
	// Entry of the device's ledger that says so. Until the device has signed the
	// chain up to there (Proved, or the chain's Signed) it is hearsay: the
	// broker could have made it up.
	Entry  *ledger.Position `json:"entry,omitempty"`
	Proved bool             `json:"proved,omitempty"`
}

// Credit is the charge that an end-to-end id was credited to.
type Credit struct {
	Device string `json:"device"`
	Charge string `json:"charge"`
}

// MessageState is what became of a message downwards.
type MessageState string

// States of a message.
const (
	Waiting MessageState = "waiting" // is sent until a res comes
	Done    MessageState = "done"    // the device has it
	Refused MessageState = "refused" // the device will not have it
	Expired MessageState = "expired" // its time has passed
)

// Message is a pay, a charge request or a word about a payout on its way to a device. Its JSON form is
// stored.
type Message struct {
	Device string              `json:"device"`
	JTI    string              `json:"jti"`
	Pay    *wire.Pay           `json:"pay,omitempty"`    // one of these,
	Charge *wire.ChargeRequest `json:"charge,omitempty"` // without claims
	Payout *wire.Payout        `json:"payout,omitempty"`
	Made   time.Time           `json:"made"`
	Until  time.Time           `json:"until,omitzero"` // zero: no end
	State  MessageState        `json:"state"`
	Res    *wire.Res           `json:"res,omitempty"`
	Ended  time.Time           `json:"ended,omitzero"`
}

// typ and ref identify what the message is about.
func (m Message) typ() string {
	switch {
	case m.Pay != nil:
		return wire.TypPay
	case m.Payout != nil:
		return wire.TypPayout
	}
	return wire.TypCharge
}

func (m Message) ref() string {
	switch {
	case m.Pay != nil:
		return m.Pay.Charge
	case m.Payout != nil:
		return m.Payout.Payout
	}
	return m.Charge.Reference
}

// Keys of records. A device's name has no '/', so a prefix is one device's.

func chainKey(device string, epoch uint64) string { return fmt.Sprintf("%s/%016x", device, epoch) }

func positionKey(device string, p ledger.Position) string {
	return fmt.Sprintf("%s/%016x-%016x", device, p.Epoch, p.Seq)
}

func refKey(device, typ, ref string) string { return device + "/" + typ + "/" + ref }

// get reads a record into a value.
func get[T any](tx Tx, kind Kind, key string) (T, error) {
	var v T
	doc, err := tx.Get(kind, key)
	if err == nil {
		err = decode(kind, key, doc, &v)
	}
	return v, err
}

// find is get for what may not be there.
func find[T any](tx Tx, kind Kind, key string) (T, bool, error) {
	v, err := get[T](tx, kind, key)
	if errors.Is(err, ErrNotFound) {
		return v, false, nil
	}
	return v, err == nil, err
}

func decode(kind Kind, key string, doc []byte, into any) error {
	if err := json.Unmarshal(doc, into); err != nil {
		return fmt.Errorf("read %s %s: %w", kind, key, err)
	}
	return nil
}

func put(tx Tx, kind Kind, key string, v any) error {
	doc, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("write %s %s: %w", kind, key, err)
	}
	return tx.Put(kind, key, doc)
}

// scan reads the records below a prefix.
func scan[T any](tx Tx, kind Kind, prefix string) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for r, err := range tx.Scan(kind, prefix) {
			var v T
			if err == nil {
				err = decode(kind, r.Key, r.Doc, &v)
			}
			if !yield(v, err) || err != nil {
				return
			}
		}
	}
}

// collect is scan into a slice.
func collect[T any](tx Tx, kind Kind, prefix string) ([]T, error) {
	var all []T
	for v, err := range scan[T](tx, kind, prefix) {
		if err != nil {
			return nil, err
		}
		all = append(all, v)
	}
	return all, nil
}

// Devices lists the registry by name.
func Devices(tx Tx) ([]Device, error) { return collect[Device](tx, KindDevice, "") }

// GetDevice returns a registered device, or ErrNotFound.
func GetDevice(tx Tx, name string) (Device, error) {
	d, err := get[Device](tx, KindDevice, name)
	if errors.Is(err, ErrNotFound) {
		return d, fmt.Errorf("device %s: %w in the registry", name, ErrNotFound)
	}
	return d, err
}

// Chains lists what the hub holds of a device, by epoch.
func Chains(tx Tx, device string) ([]Chain, error) {
	return collect[Chain](tx, KindChain, device+"/")
}

// GetHead returns the newest entry that the hub holds of a device, in its newest
// epoch; its Seq is 0 when there is none.
func GetHead(tx Tx, device string) (ledger.Head, error) {
	chains, err := Chains(tx, device)
	if err != nil || len(chains) == 0 {
		return ledger.Head{}, err
	}
	return chains[len(chains)-1].Head, nil
}

// Checkpoints lists what is kept of what a device signed about its ledger.
func Checkpoints(tx Tx, device string) ([]ledger.Checkpoint, error) {
	var list []ledger.Checkpoint
	for s, err := range scan[ledger.Signed](tx, KindCheckpoint, device+"/") {
		if err != nil {
			return nil, err
		}
		var c ledger.Checkpoint
		if err := json.Unmarshal(s.Checkpoint, &c); err != nil {
			return nil, fmt.Errorf("read a checkpoint of %s: %w", device, err)
		}
		list = append(list, c)
	}
	return list, nil
}

// Quarantine lists what was quarantined of a device.
func Quarantine(tx Tx, device string) ([]Quarantined, error) {
	return collect[Quarantined](tx, KindQuarantine, device+"/")
}

// Messages lists the messages downwards to a device that are kept: those that
// wait, and those that ended in the last 30 days.
func Messages(tx Tx, device string) ([]Message, error) {
	return collect[Message](tx, KindMessage, device+"/")
}

// setAside moves what the hub holds from a position on to a branch.
func (c *Chain) setAside(tx Tx, device string, from ledger.Position) (branch string, n int, err error) {
	if err := errors.Join(keepProved(tx, device, from, *c), keepProposals(tx, device, from, *c)); err != nil {
		return "", 0, err
	}
	var bytes int64
	for e, err := range tx.Entries(device, from) {
		if err != nil {
			return "", 0, err
		}
		if e.Epoch != from.Epoch {
			break
		}
		bytes += int64(len(e.Bytes))
	}
	branch = fmt.Sprintf("fork-%d-%d-%d", from.Epoch, from.Seq, len(c.Aside)+1)
	if n, err = tx.SetAside(device, from, branch); err != nil {
		return "", 0, err
	}
	c.Entries -= uint64(n)
	c.Bytes -= bytes
	c.Aside = append(c.Aside, branch)
	return branch, n, errors.Join(
		dropFrom(tx, KindCheckpoint, device, from),
		dropFrom(tx, KindQuarantine, device, from),
		c.rewind(tx, device, from),
	)
}

// rewind sets the head to the entry before from.
func (c *Chain) rewind(tx Tx, device string, from ledger.Position) error {
	c.Head = c.Start
	for _, g := range c.Gaps {
		if g.Resume.Position.Before(from) {
			c.Head = g.Resume
		}
	}
	if before := (ledger.Position{Epoch: from.Epoch, Seq: from.Seq - 1}); c.Head.Position.Before(before) {
		e, err := tx.Entry(device, before)
		if err != nil {
			return err
		}
		c.Head = ledger.Head{Position: before, Hash: e.Hash}
	}
	c.Signed = ledger.Position{Epoch: c.Epoch}
	checkpoints, err := Checkpoints(tx, device)
	for _, cp := range checkpoints {
		if cp.Head.Epoch == c.Epoch && c.Signed.Before(cp.Head.Position) {
			c.Signed = cp.Head.Position
		}
	}
	return err
}

// keepProved sees to the payments that entries from a fork on tell of: those the
// device signed are true whatever becomes of the chain, the others are nothing.
func keepProved(tx Tx, device string, from ledger.Position, c Chain) error {
	payments, err := collect[Payment](tx, KindPayment, device+"/")
	if err != nil {
		return err
	}
	for _, p := range payments {
		if p.Entry == nil || p.Entry.Epoch != from.Epoch || p.Entry.Before(from) {
			continue
		}
		key := device + "/" + p.Pay.Charge
		switch {
		case !c.Signed.Before(*p.Entry):
			p.Proved = true
			err = put(tx, KindPayment, key, p)
		case p.Told:
			p.Entry = nil
			err = put(tx, KindPayment, key, p)
		default:
			err = errors.Join(tx.Delete(KindPayment, key), dropCredit(tx, p.Pay.EndToEnd, Credit{device, p.Pay.Charge}))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// dropCredit frees an end-to-end id, if it is that charge's.
func dropCredit(tx Tx, endToEnd string, mine Credit) error {
	if endToEnd == "" {
		return nil
	}
	if first, known, err := find[Credit](tx, KindCredit, endToEnd); err != nil || !known || first != mine {
		return err
	}
	return tx.Delete(KindCredit, endToEnd)
}

// dropFrom deletes the records of a device's positions from one on, in its epoch.
func dropFrom(tx Tx, kind Kind, device string, from ledger.Position) error {
	var gone []string
	epoch := fmt.Sprintf("%s/%016x-", device, from.Epoch)
	for r, err := range tx.Scan(kind, epoch) {
		if err != nil {
			return err
		}
		if strings.Compare(r.Key, positionKey(device, from)) >= 0 {
			gone = append(gone, r.Key)
		}
	}
	for _, key := range gone {
		if err := tx.Delete(kind, key); err != nil {
			return err
		}
	}
	return nil
}
