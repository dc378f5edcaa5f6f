package terminal

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"go.etcd.io/bbolt"

	"github.com/ssg-safe/agent/charge"
	"github.com/ssg-safe/agent/ledger"
	"github.com/ssg-safe/agent/queue"
)

// What a person decides about slips: print one again, try a dead letter again,
// give a job up.

// Errors of [Terminal.Reprint] and [Terminal.Settle] a caller can branch on.
var (
	// ErrNoPrinter: there is no printer.
	ErrNoPrinter = errors.New("there is no printer")
	// ErrNothingToPrint: the charge has no slip that may be printed now.
	ErrNothingToPrint = errors.New("there is nothing to print for this charge")
	// ErrSlipWaits: a slip of the charge waits for the printer, or is a dead
	// letter that must be settled first.
	ErrSlipWaits = errors.New("a slip of this charge is not settled yet")
	// ErrPrinting: the job is being printed.
	ErrPrinting = errors.New("the job is being printed")
	// ErrJobWaits: the job is no dead letter, and is tried anyway.
	ErrJobWaits = errors.New("the job waits already: the agent tries it when it can")
)

// maxReprints bounds the slips that wait when another copy is asked for.
const maxReprints = 16

// Reprint prints a charge's slip once more, as a copy that says so: the receipt
// of a paid charge, the code of a pending one. A receipt that was never issued,
// because the charge was not presented at the terminal, is printed for the
// first time and gets its number. It returns the slip after the commit. Errors:
// ErrNoCharge, ErrNoPrinter, ErrNothingToPrint, ErrSlipWaits, ErrBusy,
// ErrStopping, the store's.
func (t *Terminal) Reprint(ctx context.Context, id charge.ID) (Slip, error) {
	if t.printer == nil {
		return Slip{}, ErrNoPrinter
	}
	type outcome struct {
		slip Slip
		err  error
	}
	result := make(chan outcome, 1)
	err := t.ask(ctx, func() {
		t.copySlip(id, actor, func(s Slip, err error) { result <- outcome{s, err} })
	})
	if err != nil {
		return Slip{}, err
	}
	o, err := wait(ctx, t, result)
	return o.slip, cmp.Or(err, o.err)
}

// copySlip is Reprint on the loop; by is the actor of the slip's entry.
func (t *Terminal) copySlip(id charge.ID, by string, reply func(Slip, error)) {
	switch {
	case t.printer == nil:
		reply(Slip{}, ErrNoPrinter)
		return
	case t.copying[id]:
		reply(Slip{}, ErrSlipWaits)
		return
	}
	// One at a time: the record is read after the last copy was recorded.
	t.copying[id] = true
	t.perform(t.asks, func(context.Context) input {
		r, err := t.Record(id)
		return func() {
			t.reprint(r, err, by, func(s Slip, err error) {
				delete(t.copying, id)
				reply(s, err)
			})
		}
	})
}

// again is the slip that another copy of would be printed.
func (r Record) again() (slip, error) {
	c := r.Charge
	s := slip{Charge: c.ID, Merchant: c.Merchant, Amount: c.Amount, Copy: 1}
	switch pay, paid := c.Settling(); {
	case paid && !c.Late:
		s.Kind, s.Amount, s.EndToEnd, s.Route, s.Paid = SlipReceipt, pay.Amount, pay.Evidence.EndToEnd, pay.Evidence.Route, r.Paid
		s.Refunded = c.RefundedSum
	case c.State == charge.Pending && r.Code == "":
		return slip{}, fmt.Errorf("%w: it has no code", ErrNothingToPrint)
	case c.State == charge.Pending:
		s.Kind, s.Expires = SlipQR, r.Expires
		_, s.Offline = c.Static()
	default:
		return slip{}, fmt.Errorf("%w: it is %s", ErrNothingToPrint, c.State)
	}
	for _, old := range r.Slips {
		if old.Kind == s.Kind && old.Copy >= s.Copy {
			s.NSU, s.Copy = old.NSU, old.Copy+1
		}
	}
	return s, nil
}

// reprint issues a copy, unless another slip of the charge is on its way.
func (t *Terminal) reprint(r Record, err error, by string, reply func(Slip, error)) {
	var s slip
	if err == nil {
		s, err = r.again()
		s.by = by
	}
	if err != nil {
		reply(Slip{}, err)
		return
	}
	waits := slices.ContainsFunc(t.spool.jobs, func(j queue.Job) bool { return j.Subject == string(s.Charge) })
	switch {
	case t.stopping:
		reply(Slip{}, ErrStopping)
		return
	case t.stale(s):
		reply(Slip{}, fmt.Errorf("%w: its code cannot be paid any more", ErrNothingToPrint))
		return
	case waits:
		reply(Slip{}, ErrSlipWaits)
		return
	case len(t.spool.jobs) >= maxReprints:
		reply(Slip{}, fmt.Errorf("%w: %d slips wait for the printer", ErrBusy, len(t.spool.jobs)))
		return
	}
	d := &decision{name: "reprint", fresh: true, issue: []slip{s}}
	d.with = func(tx *bbolt.Tx) error {
		dead, err := queue.Dead(tx)
		for _, j := range dead {
			if j.Subject == string(s.Charge) {
				return fmt.Errorf("%w: retry or drop job %d", ErrSlipWaits, j.ID)
			}
		}
		return err
	}
	d.then = func(issued []queue.Job) { reply(issuedSlips(issued)[0].public(), nil) }
	d.refused = func(err error) { reply(Slip{}, err) }
	t.commit(d)
}

// issuedSlips are the slips of jobs that were just put into the queue.
func issuedSlips(jobs []queue.Job) []slip {
	slips := make([]slip, len(jobs))
	for i, j := range jobs {
		if err := json.Unmarshal(j.Payload, &slips[i]); err != nil {
			panic(fmt.Sprintf("job %d was marshalled from a slip: %v", j.ID, err))
		}
	}
	return slips
}

// Settlement is what a person does to jobs.
type Settlement string

// The settlements, in the words of their ledger entries.
const (
	Retried Settlement = "retried" // dead letters are tried again
	Dropped Settlement = "dropped" // dead letters or waiting jobs are given up
)

// Settle does it to the named jobs, all or none; no ids are all dead letters.
// It returns them as they were. Errors: queue.ErrNotFound, ErrPrinting,
// ErrJobWaits, ErrBusy, ErrStopping, the store's.
func (t *Terminal) Settle(ctx context.Context, how Settlement, ids []uint64) ([]queue.Job, error) {
	type outcome struct {
		jobs []queue.Job
		err  error
	}
	result := make(chan outcome, 1)
	err := t.ask(ctx, func() {
		t.settle(how, ids, "operator", func(jobs []queue.Job, err error) { result <- outcome{jobs, err} })
	})
	if err != nil {
		return nil, err
	}
	o, err := wait(ctx, t, result)
	return o.jobs, cmp.Or(err, o.err)
}

func (t *Terminal) settle(how Settlement, ids []uint64, by string, reply func([]queue.Job, error)) {
	s := &t.spool
	switch {
	case t.stopping:
		reply(nil, ErrStopping)
		return
	case s.busy && slices.Contains(ids, s.jobs[0].ID):
		reply(nil, fmt.Errorf("job %d: %w", s.jobs[0].ID, ErrPrinting))
		return
	}
	at := t.stamp()
	var settled, revived []queue.Job
	d := &decision{name: "queue " + string(how)}
	d.with = func(tx *bbolt.Tx) (err error) {
		if settled, err = SettleJobs(tx, at, how, ids, by); err != nil {
			return err
		}
		revived = nil
		for _, j := range settled {
			if how == Retried && j.Kind == jobKind {
				if j, _, err = queue.Get(tx, j.ID); err != nil {
					return err
				}
				if j, err = revive(j); err != nil {
					return err
				}
				revived = append(revived, j)
			}
		}
		return nil
	}
	s.held++ // no other job begins meanwhile
	d.then = func([]queue.Job) {
		s.held--
		gone := func(j queue.Job) bool {
			return slices.ContainsFunc(settled, func(o queue.Job) bool { return o.ID == j.ID })
		}
		s.jobs = slices.DeleteFunc(s.jobs, gone)
		s.add(revived)
		reply(settled, nil)
	}
	d.refused = func(err error) {
		s.held--
		reply(nil, err)
	}
	t.commit(d)
}

// revive prepares a dead letter that is tried again: what may be on the paper
// is printed as a copy that says so.
func revive(j queue.Job) (queue.Job, error) {
	if j.State != lost {
		return j, nil
	}
	var s slip
	if err := json.Unmarshal(j.Payload, &s); err != nil {
		return j, fmt.Errorf("print job %d: %w", j.ID, err)
	}
	s.Copy++
	raw, err := json.Marshal(s)
	if err != nil {
		return j, err
	}
	j.Payload, j.State = raw, queued
	return j, nil
}

// SettleJobs does it in the caller's transaction, as [Terminal.Settle] and a
// command without an agent do, and records it in the ledger; by is the actor.
func SettleJobs(tx *bbolt.Tx, at ledger.Stamp, how Settlement, ids []uint64, by string) ([]queue.Job, error) {
	dead, err := queue.Dead(tx)
	if err != nil {
		return nil, err
	}
	if len(ids) == 0 {
		for _, j := range dead {
			ids = append(ids, j.ID)
		}
	}
	var settled []queue.Job
	for _, id := range ids {
		j, ok, err := queue.Get(tx, id)
		isDead := slices.ContainsFunc(dead, func(d queue.Job) bool { return d.ID == id })
		switch {
		case err != nil:
			return nil, err
		case !ok:
			return nil, fmt.Errorf("job %d: %w", id, queue.ErrNotFound)
		case how == Retried && !isDead:
			return nil, fmt.Errorf("job %d: %w", id, ErrJobWaits)
		case how == Retried:
			err = queue.Revive(tx, id)
		case isDead:
			err = queue.Drop(tx, id)
		default:
			err = queue.Remove(tx, id)
		}
		if err != nil {
			return nil, err
		}
		head, err := ledger.GetHead(tx)
		if err != nil {
			return nil, err
		}
		_, err = ledger.Append(tx, at, ledger.Draft{
			Op: fmt.Sprintf("queue/%d/%s/%d/%d", id, how, head.Epoch, head.Seq+1), Kind: "queue." + string(how), Actor: by,
			Data: struct {
				Job      uint64 `json:"job"`
				Kind     string `json:"kind"`
				Op       string `json:"op"`
				Subject  string `json:"subject"`
				State    string `json:"state"`
				Attempts int    `json:"attempts"`
			}{id, j.Kind, j.Op, j.Subject, j.State, j.Attempts},
		})
		if err != nil {
			return nil, err
		}
		settled = append(settled, j)
	}
	return settled, nil
}
