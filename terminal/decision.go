package terminal

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.etcd.io/bbolt"

	"github.com/ssg-safe/agent/charge"
	"github.com/ssg-safe/agent/ledger"
	"github.com/ssg-safe/agent/providers"
	"github.com/ssg-safe/agent/queue"
	"github.com/ssg-safe/agent/redact"
	"github.com/ssg-safe/agent/store"
)

// decision is what one input leads to: written in one transaction, or not at
// all, and followed by its effects.
type decision struct {
	name  string
	fresh bool // a new operation: refused when the store is full

	// About one charge.
	live  *live
	next  charge.Charge
	facts []charge.Fact
	// private is the charge's purgeable part, when it changes.
	private *private
	// deadline is the end of the code just accepted, paid when the charge became
	// paid, in boot time.
	deadline, paid time.Duration

	// issue lists slips that get a number and a print job with this commit;
	// print is a change to the spool's current job.
	issue []slip
	print *printChange

	// with is the caller's part of the transaction; reference makes a new charge
	// idempotent, and checkout the only one of what it takes over.
	with                func(*bbolt.Tx) error
	reference, checkout *reference

	// then runs on the loop after the commit; refused when it did not happen.
	then    func(issued []queue.Job)
	refused func(error)
}

// private is what must be erasable: the payable code, what opens the charge at its
// provider, and who pays.
type private struct {
	Code        string       `json:"code,omitempty"`
	Token       string       `json:"token,omitempty"` // a secret: it opens the charge at its provider
	Description string       `json:"description,omitempty"`
	Payer       privatePayer `json:"payer,omitzero"`
}

type privatePayer struct {
	Name     string `json:"name,omitempty"`
	Document string `json:"document,omitempty"`
	Email    string `json:"email,omitempty"`
	Address  string `json:"address,omitempty"`
	District string `json:"district,omitempty"`
	City     string `json:"city,omitempty"`
	State    string `json:"state,omitempty"`
	Postcode string `json:"postcode,omitempty"`
}

// snapshot is an open charge as kept in the store beside its facts, so that
// pruned facts are not missed.
type snapshot struct {
	Charge charge.Charge `json:"charge"`
	// Began is when it was recorded, Deadline the accepted code's end, and Paid
	// when it became paid, on the boot-time clock of Boot.
	Boot     string        `json:"boot"`
	Began    time.Duration `json:"began_ns"`
	Deadline time.Duration `json:"deadline_ns,omitempty"`
	Paid     time.Duration `json:"paid_ns,omitempty"`
}

// Holds reports whether a charge is still worked on, as tx has it.
func Holds(tx *bbolt.Tx, id charge.ID) bool { return tx.Bucket(openBucket).Get([]byte(id)) != nil }

const actor = "terminal"

var openBucket = []byte("open_charges")

// Migrations is the schema of the terminal's store: ledger and queue first.
func Migrations() []store.Migration {
	own := store.Migration{Name: "terminal: open charges", Do: func(tx *bbolt.Tx) error {
		_, err := tx.CreateBucketIfNotExists(openBucket)
		return err
	}}
	references := store.Migration{Name: "terminal: references of callers", Do: func(tx *bbolt.Tx) error {
		_, err := tx.CreateBucketIfNotExists(referenceBucket)
		return err
	}}
	return slices.Concat(ledger.Migrations, queue.Migrations, []store.Migration{own, references})
}

// decide applies facts to a charge and makes a decision of them.
func decide(name string, l *live, facts ...charge.Fact) (*decision, error) {
	next := l.charge
	for _, f := range facts {
		var err error
		if next, err = next.Apply(f); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	return &decision{name: name, live: l, next: next, facts: facts}, nil
}

// commit hands a decision to the committer. The charge is busy until the
// result is back on the loop.
func (t *Terminal) commit(d *decision) {
	if d.live != nil {
		d.live.busy = true
	}
	closing := t.closing
	t.closing = nil
	t.nameOrphans(d)
	at := t.stamp()
	var issued []queue.Job
	t.flight++
	t.store.Submit(store.Op{
		Name: d.name,
		New:  d.fresh,
		Do: func(tx *bbolt.Tx) (err error) {
			issued, err = d.write(tx, at, closing)
			return err
		},
		Done: func(err error) { t.done.add(func() { t.committed(d, closing, issued, err) }) },
	})
}

// committed is the loop's side of a commit: memory follows the disk.
func (t *Terminal) committed(d *decision, closing []charge.ID, issued []queue.Job, err error) {
	t.flight--
	if err != nil {
		t.closing = append(t.closing, closing...)
		if errors.Is(err, store.ErrOutcomeUnknown) {
			return // Run sees the store's failure
		}
		if d.refused == nil && errors.Is(err, store.ErrFull) {
			t.postpone(d)
			return
		}
		if d.refused == nil {
			// Memory and disk would part: end, and take up from the disk.
			t.log.Error("not recorded", "decision", d.name, "err", err)
			t.fatal = fmt.Errorf("%s: %w", d.name, err)
			return
		}
	}
	l := d.live
	if l != nil {
		l.busy = false
		if err == nil {
			l.charge = d.next
			if d.private != nil {
				l.code, l.token = d.private.Code, redact.Secret(d.private.Token)
			}
			if d.deadline != 0 {
				l.deadline, l.known = d.deadline, true
			}
			if d.paid != 0 {
				l.paid, l.paidAt = d.paid, t.wallAt(d.paid)
			}
			if d.fresh {
				t.hold(l)
			}
		}
	}
	if err == nil {
		t.spool.add(issued)
		if d.then != nil {
			d.then(issued)
		}
	} else if d.refused != nil {
		d.refused(err)
	}
	for l != nil && !l.busy && len(l.waiting) > 0 {
		f := l.waiting[0]
		l.waiting = l.waiting[1:]
		f()
	}
}

// fullPause is between attempts to record what the store had no room for.
const fullPause = 5 * time.Second

// postpone keeps a decision for which the store has no room, although it may use
// the reserve. Nothing of it was written, and nobody has been told: its charge
// stays busy until there is room, or until the next start takes it up.
func (t *Terminal) postpone(d *decision) {
	if len(t.postponed) == 0 {
		t.postponedUntil = t.clock.Up() + fullPause
		t.log.Error("not recorded yet: the store has no room left", "decision", d.name)
	}
	if d.live != nil {
		d.live.busy = true
	}
	t.postponed = append(t.postponed, d)
}

// recordPostponed tries again, in the old order.
func (t *Terminal) recordPostponed(up time.Duration) {
	if len(t.postponed) == 0 || up < t.postponedUntil {
		return
	}
	list := t.postponed
	t.postponed = nil
	for _, d := range list {
		t.commit(d)
	}
}

// callersError is an error of the caller's own part: it refuses the decision,
// and says nothing about the store.
type callersError struct{ error }

func (e callersError) Unwrap() error { return e.error }

// write puts a decision into a transaction. It may run more than once for one
// commit and has no effect outside tx.
func (d *decision) write(tx *bbolt.Tx, at ledger.Stamp, closing []charge.ID) ([]queue.Job, error) {
	if d.reference != nil {
		if err := d.reference.claim(tx); err != nil {
			return nil, err
		}
	}
	if d.checkout != nil {
		if err := d.checkout.takeOver(tx); err != nil {
			return nil, err
		}
	}
	if d.with != nil {
		if err := d.with(tx); err != nil {
			return nil, callersError{err}
		}
	}
	for _, f := range d.facts {
		if a, ok := f.(charge.AttemptFact); ok && a.State == charge.Accepted && d.private != nil && d.private.Code != "" {
			hash, err := ledger.KeyedHash(tx, []byte(d.private.Code))
			if err != nil {
				return nil, err
			}
			a.CodeHash = hash
			f = a
		}
		if _, err := ledger.Append(tx, at, entryOf(f)); err != nil && !errors.Is(err, ledger.ErrDuplicate) {
			return nil, fmt.Errorf("append %s: %w", f.Kind(), err)
		}
		if r, ok := f.(charge.RefundedFact); ok && r.EndToEnd != "" {
			if err := settleRefund(tx, at, d.next, r); err != nil {
				return nil, err
			}
		}
	}
	open := tx.Bucket(openBucket)
	for _, id := range closing {
		if err := open.Delete([]byte(id)); err != nil {
			return nil, err
		}
	}
	if d.live != nil {
		s := snapshot{Charge: d.next, Boot: at.Boot, Began: d.live.began, Deadline: d.deadline, Paid: max(d.live.paid, d.paid)}
		if s.Deadline == 0 && d.live.known {
			s.Deadline = d.live.deadline
		}
		key := []byte(d.next.ID)
		row, err := seal(key, s)
		if err != nil {
			return nil, err
		}
		if err := open.Put(key, row); err != nil {
			return nil, err
		}
	}
	if d.private != nil {
		raw, err := json.Marshal(d.private)
		if err != nil {
			return nil, err
		}
		if err := ledger.PutPrivate(tx, at.Wall, string(d.next.ID), raw); err != nil {
			return nil, err
		}
	}
	if d.print != nil {
		if err := d.print.write(tx, at); err != nil {
			return nil, err
		}
	}
	var issued []queue.Job
	for _, s := range d.issue {
		job, err := s.issue(tx, at)
		if err != nil {
			return nil, err
		}
		issued = append(issued, job)
	}
	return issued, nil
}

// entryOf is the ledger entry of a fact.
func entryOf(f charge.Fact) ledger.Draft {
	draft := ledger.Draft{Op: f.Op(), Kind: f.Kind(), Actor: actor, Postings: charge.Postings(f), Data: f}
	if p := f.Proof(); p != nil {
		draft.Evidence = p
	}
	return draft
}

// seal makes a row of v.
func seal(key []byte, v any) ([]byte, error) {
	raw, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	return store.Seal(key, raw), nil
}

// unseal reads a row.
func unseal(key, row []byte, into any) error {
	raw, err := store.Unseal(key, row)
	if err != nil {
		return err
	}
	return json.Unmarshal(raw, into)
}

func fromPayer(p providers.Payer) privatePayer {
	return privatePayer{
		Name: p.Name.Reveal(), Document: p.Document.Reveal(), Email: p.Email.Reveal(), Address: p.Address.Reveal(),
		District: p.District.Reveal(), City: p.City.Reveal(), State: p.State, Postcode: p.Postcode.Reveal(),
	}
}
