package terminal

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"go.etcd.io/bbolt"

	"github.com/ssg-safe/agent/charge"
	"github.com/ssg-safe/agent/ledger"
	"github.com/ssg-safe/agent/redact"
)

// What other people ask of the terminal: the fleet, and callers of the local
// API (record.go has what they may read).

// Credit records evidence of money from somebody else than the charge's own
// provider, such as the hub's signed word. The evidence must match the charge
// as a provider's would, else it is recorded as a mismatch. It returns what it
// recorded after the commit; nil for money that is recorded already, which
// commits nothing. with is written in the same transaction; its error refuses
// the credit. Errors: ErrNoCharge, ErrStopping, with's, the store's.
func (t *Terminal) Credit(ctx context.Context, id charge.ID, ev charge.Evidence, with func(*bbolt.Tx) error) (charge.Fact, error) {
	return t.credit(ctx, id, func(c charge.Charge) (charge.Fact, func(*bbolt.Tx) error, error) {
		return c.Credit(ev), with, nil
	})
}

// credit records the fact that decide finds for a charge, which is not being
// changed meanwhile; nil: there is none to record.
func (t *Terminal) credit(ctx context.Context, id charge.ID, decide func(charge.Charge) (charge.Fact, func(*bbolt.Tx) error, error)) (charge.Fact, error) {
	type outcome struct {
		fact charge.Fact
		err  error
	}
	result := make(chan outcome, 1)
	err := t.askPatiently(ctx, func() {
		t.lookFor(id, func(l *live, err error) {
			if err != nil {
				result <- outcome{err: err}
				return
			}
			l.later(func() {
				f, with, err := decide(l.charge)
				if f == nil || err != nil {
					result <- outcome{err: err}
					return
				}
				t.learnWith(l, []charge.Fact{f}, with, func(f charge.Fact, err error) { result <- outcome{f, err} })
			})
		})
	})
	if err != nil {
		return nil, err
	}
	o, err := wait(ctx, t, result)
	return o.fact, cmp.Or(err, o.err)
}

// Hint says that something may have happened to a charge: its provider is
// asked at once; also about one that ended long ago, and about its attempts that
// were written off. It never blocks, and proves nothing.
func (t *Terminal) Hint(id charge.ID) {
	select {
	case t.inbox <- func() {
		l := t.charges[id]
		if l != nil {
			l.watch.hint(t.clock.Up())
		}
		if l == nil || l.watch.over || len(l.charge.Attempts) > 1 {
			t.compareOne(id)
		}
	}:
	default:
	}
}

// lookFor gets a charge, from the ledger if it is not in memory any more. It
// is read once for all who wait: what one of them records, a second reading
// could miss.
func (t *Terminal) lookFor(id charge.ID, then func(*live, error)) {
	if l := t.charges[id]; l != nil {
		then(l, nil)
		return
	}
	waiting, reading := t.folds[id]
	t.folds[id] = append(waiting, then)
	if reading {
		return
	}
	t.perform(t.asks, func(context.Context) input {
		r, err := t.Record(id)
		return func() {
			var l *live
			if err == nil {
				l = &live{charge: r.Charge, began: -1}
				l.watch.start(t.clock.Up(), r.Charge.State)
				l.watch.over = true // closed: only this is recorded
				l.watch.payments, l.watch.refunds = len(r.Charge.Payments), len(r.Charge.Refunds)
				t.hold(l)
			}
			waiting := t.folds[id]
			delete(t.folds, id)
			for _, then := range waiting {
				then(l, err)
			}
		}
	})
}

var referenceBucket = []byte("references")

// reference is a caller's own name for a charge, kept for ever, with a keyed
// hash of what was asked for.
type reference struct {
	key    []byte
	asked  []byte
	known  bool      // asked for while the screen is taken: only a known charge will do
	Charge charge.ID `json:"charge"`
	Asked  string    `json:"asked"`
}

func newReference(r Request, id charge.ID) *reference {
	asked, _ := json.Marshal(struct { // of plain values: cannot fail
		Merchant, Description string
		Amount                int64
		Present               bool
		Payer                 privatePayer
		Yield                 bool          `json:",omitempty"`
		Expiry                time.Duration `json:",omitempty"`
		Checkout              string        `json:",omitempty"`
	}{r.Merchant, r.Description, int64(r.Amount), r.Present, fromPayer(r.Payer), r.Yield, r.Expiry, r.Checkout.Reveal()})
	return &reference{key: []byte(r.Source + "\x00" + r.Reference), asked: asked, Charge: id}
}

// newCheckout is the reference of what a charge takes over.
func newCheckout(token redact.Secret, id charge.ID) *reference {
	sum := sha256.Sum256([]byte(token.Reveal()))
	return &reference{key: append([]byte("\x00checkout\x00"), sum[:]...), Charge: id}
}

// takeOver claims a checkout, or fails with ErrCheckout: two charges must not count
// one payment.
func (r *reference) takeOver(tx *bbolt.Tx) error {
	err := r.claim(tx)
	if known, ok := errors.AsType[knownReference](err); ok {
		return fmt.Errorf("%w: it is that of charge %s", ErrCheckout, known.id)
	}
	return err
}

// knownReference says that the charge exists already.
type knownReference struct{ id charge.ID }

func (k knownReference) Error() string { return "the reference names charge " + string(k.id) }

// find returns the hash of what is asked for. Errors: knownReference,
// ErrReference.
func (r *reference) find(tx *bbolt.Tx) (asked string, err error) {
	asked, err = ledger.KeyedHash(tx, r.asked)
	row := tx.Bucket(referenceBucket).Get(r.key)
	if err != nil || row == nil {
		return asked, err
	}
	var old reference
	if err := unseal(r.key, row, &old); err != nil {
		return "", fmt.Errorf("reference: %w", err)
	}
	if old.Asked != asked {
		return "", fmt.Errorf("%w: %s", ErrReference, old.Charge)
	}
	return "", knownReference{old.Charge}
}

// claim takes the reference, or fails as find does, or with ErrScreenTaken.
func (r *reference) claim(tx *bbolt.Tx) error {
	asked, err := r.find(tx)
	switch {
	case err != nil:
		return err
	case r.known:
		return ErrScreenTaken
	}
	row, err := seal(r.key, reference{Charge: r.Charge, Asked: asked})
	if err != nil {
		return err
	}
	return tx.Bucket(referenceBucket).Put(r.key, row)
}

// named is the charge that the request's reference names already; "" is none.
func (t *Terminal) named(r Request) (id charge.ID, err error) {
	err = t.store.View(func(tx *bbolt.Tx) error {
		_, err := newReference(r, "").find(tx)
		return err
	})
	if known, ok := errors.AsType[knownReference](err); ok {
		return known.id, nil
	}
	return "", err
}
