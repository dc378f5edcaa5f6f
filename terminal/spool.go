package terminal

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"go.etcd.io/bbolt"

	"github.com/ssg-safe/agent/charge"
	"github.com/ssg-safe/agent/closing"
	"github.com/ssg-safe/agent/display"
	"github.com/ssg-safe/agent/ledger"
	"github.com/ssg-safe/agent/money"
	"github.com/ssg-safe/agent/printer"
	layout "github.com/ssg-safe/agent/printer/slip"
	"github.com/ssg-safe/agent/queue"
)

// SlipKind says what a slip is.
type SlipKind string

// The slips.
const (
	SlipQR      SlipKind = "qr"      // the code to be paid
	SlipReceipt SlipKind = "receipt" // says that it was paid; carries no code
	SlipClosing SlipKind = "closing" // totals for the merchant
)

// slip is the payload of a print job: all that is needed to lay it out again,
// except the code of a QR slip, which lies in the purgeable bucket.
type slip struct {
	Kind     SlipKind     `json:"kind"`
	Charge   charge.ID    `json:"charge"`
	Merchant string       `json:"merchant"`
	NSU      uint64       `json:"nsu"`
	Copy     int          `json:"copy"` // 2 and more say "2ª VIA"
	Amount   money.Amount `json:"amount"`
	Issued   time.Time    `json:"issued"`
	Expires  time.Time    `json:"expires,omitzero"`
	Paid     time.Time    `json:"paid,omitzero"`
	EndToEnd string       `json:"end_to_end,omitempty"`
	Route    string       `json:"route,omitempty"`
	Refunded money.Amount `json:"refunded,omitempty"` // what went back since
	Offline  bool         `json:"offline,omitempty"`  // the code was made here
	// Closing is what a closing slip says, Tickets how many differences of the
	// merchant waited for a person then.
	Closing *closing.Report `json:"closing,omitempty"`
	Tickets int             `json:"tickets,omitempty"`
	// by is who asked for it, as the actor of its first entry; "": the terminal.
	by string
}

// jobKind is the queue's name for slips; the states are the spool's.
const (
	jobKind = "print"

	queued  = "queued"  // no byte was sent
	started = "started" // recorded before the first byte
	unknown = "unknown" // may be on the paper
	lost    = "lost"    // dead letter; revived, it is printed as a copy
)

// maxStarts bounds how often a job is started without the line taking a byte.
const maxStarts = 10

// slipEntry is the data of the ledger entries about slips: slip.issued,
// slip.printed, slip.unknown, slip.sent, slip.dropped.
type slipEntry struct {
	NSU    uint64    `json:"nsu"`
	Slip   SlipKind  `json:"slip"`
	Charge charge.ID `json:"charge"`
	Copy   int       `json:"copy"`
	Tier   string    `json:"tier,omitempty"`
	Reason string    `json:"reason,omitempty"`
}

func (s slip) entry(what, tier, reason string) ledger.Draft {
	return ledger.Draft{
		Op:    "slip/" + strconv.FormatUint(s.NSU, 10) + "/" + strconv.Itoa(s.Copy) + "/" + what,
		Kind:  "slip." + what,
		Actor: actor,
		Data:  slipEntry{NSU: s.NSU, Slip: s.Kind, Charge: s.Charge, Copy: s.Copy, Tier: tier, Reason: reason},
	}
}

// issue numbers a new slip and queues it; a copy keeps its number.
func (s slip) issue(tx *bbolt.Tx, at ledger.Stamp) (queue.Job, error) {
	if s.Copy == 1 {
		nsu, err := ledger.NextNSU(tx)
		if err != nil {
			return queue.Job{}, err
		}
		s.NSU = nsu
	}
	s.Issued = at.Wall
	issued := s.entry("issued", "", "")
	issued.Actor = cmp.Or(s.by, actor)
	if _, err := ledger.Append(tx, at, issued); err != nil {
		return queue.Job{}, err
	}
	payload, err := json.Marshal(s)
	if err != nil {
		return queue.Job{}, err
	}
	return queue.Put(tx, queue.Job{
		Op: "slip/" + processName(s), Kind: jobKind, Subject: string(s.Charge), State: queued, Payload: payload,
		Created: at.Wall,
	})
}

// printChange moves the job the spool works on.
type printChange struct {
	job    queue.Job
	entry  *ledger.Draft
	remove bool
	bury   string // reason; a dead letter
}

func (c *printChange) write(tx *bbolt.Tx, at ledger.Stamp) error {
	if c.entry != nil {
		if _, err := ledger.Append(tx, at, *c.entry); err != nil {
			return err
		}
	}
	if c.remove {
		return queue.Remove(tx, c.job.ID)
	}
	if err := queue.Update(tx, c.job); err != nil {
		return err
	}
	if c.bury != "" {
		return queue.Bury(tx, c.job.ID, c.bury)
	}
	return nil
}

// spool prints jobs one after the other:
//
//	queued → (printer ready) → started, committed → bytes → confirmed | sent
//	started → no byte was taken → queued again
//	started → anything else, or the process died → unknown
//	unknown → the printer's late confirmation → confirmed
//	unknown → the printer worked off all it had → dead letter, for a person
//
// While a job is unknown no other is sent. Without jobs the printer is asked
// how it is now and then, so that the screen tells of missing paper before a
// payer needs it, and of the new roll after.
type spool struct {
	jobs    []queue.Job
	busy    bool          // an effect or commit about jobs[0] is under way
	looking bool          // the printer is asked how it is
	held    int           // people's decisions about jobs that are being committed
	retryAt time.Duration // not before
	lookAt  time.Duration // without jobs: ask the printer then
	waits   int           // times in a row that the printer was not ready
	health  display.Health
}

func (s *spool) add(jobs []queue.Job) {
	if len(jobs) > 0 && len(s.jobs) == 0 {
		s.retryAt, s.waits = 0, 0
	}
	s.jobs = append(s.jobs, jobs...)
}

func (s *spool) due() (time.Duration, bool) {
	at := s.retryAt
	if len(s.jobs) == 0 {
		at = s.lookAt
	}
	return at, !s.busy && !s.looking && s.held == 0
}

// wait puts the next try off, longer each time, up to 5 s: somebody who puts
// paper in stands beside it.
func (s *spool) wait(up time.Duration) {
	s.waits++
	s.retryAt = up + jitter(min(500*time.Millisecond<<min(s.waits, 6), 5*time.Second))
}

// lookEvery is how often a printer without jobs is asked how it is; one that
// is not ready more often.
func lookEvery(h display.Health) time.Duration {
	if h == display.OK {
		return 30 * time.Second
	}
	return 5 * time.Second
}

// printNext takes the next step for the first job.
func (t *Terminal) printNext(up time.Duration) {
	s := &t.spool
	if at, ok := s.due(); !ok || up < at || t.printer == nil {
		return
	}
	if len(s.jobs) == 0 {
		t.look()
		return
	}
	job := s.jobs[0]
	var what slip
	if err := json.Unmarshal(job.Payload, &what); err != nil {
		t.log.Error("print job is damaged", "job", job.ID, "err", err)
		t.turn(&printChange{job: job, bury: "damaged: " + err.Error()}, nil)
		return
	}
	switch {
	case job.State == unknown || job.State == started:
		s.busy = true
		t.perform(t.asks, func(ctx context.Context) input {
			r := t.printer.Resolve(ctx, processName(what))
			return func() { t.resolved(job, what, r) }
		})
	case t.stale(what):
		t.drop(job, what)
	default:
		s.busy = true
		t.perform(t.asks, func(ctx context.Context) input {
			_, err := t.printer.Ready(ctx)
			return func() { t.ready(job, what, err) }
		})
	}
}

// look asks a printer that has nothing to do how it is.
func (t *Terminal) look() {
	t.spool.looking = true
	t.perform(t.asks, func(ctx context.Context) input {
		_, err := t.printer.Ready(ctx)
		return func() {
			t.spool.looking = false
			t.printerIs(err)
			t.spool.lookAt = t.clock.Up() + lookEvery(t.spool.health)
		}
	})
}

// printerIs takes note of what Ready said.
func (t *Terminal) printerIs(err error) {
	switch s := &t.spool; {
	case t.stopping: // the question was cut short
	case err == nil:
		if s.health == display.Down {
			t.log.Info("printer is ready again")
		}
		s.health = display.OK
	default:
		if s.health != display.Down {
			t.log.Warn("printer is not ready", "err", err)
		}
		s.health = display.Down
	}
}

// stale reports whether a slip must not be printed any more: a code that cannot
// be paid, or whose payer was there before a reboot.
func (t *Terminal) stale(s slip) bool {
	if s.Kind != SlipQR {
		return false
	}
	l := t.charges[s.Charge]
	return l == nil || l.charge.State != charge.Pending || l.cancel || l.code == "" || l.began < 0 || l.known && t.clock.Up() >= l.deadline
}

// drop ends a job of which no byte was sent and that is stale.
func (t *Terminal) drop(job queue.Job, what slip) {
	draft := what.entry("dropped", "", "nobody waits for this code any more")
	t.turn(&printChange{job: job, remove: true, entry: &draft}, nil)
}

// ready starts a job on a printer that is ready, after recording it.
func (t *Terminal) ready(job queue.Job, what slip, err error) {
	s := &t.spool
	s.busy = false
	t.printerIs(err)
	if err != nil {
		s.wait(t.clock.Up())
		return
	}
	if t.stopping || t.stale(what) { // printNext takes it from here
		return
	}
	doc, err := t.document(what)
	var pj printer.Job
	if err == nil {
		pj, err = printer.NewJob(processName(what), doc, t.cfg.Profile)
	}
	if err != nil {
		t.log.Error("slip cannot be laid out", "nsu", what.NSU, "err", err)
		t.turn(&printChange{job: job, bury: err.Error()}, nil)
		return
	}
	job.State = started
	job.Attempts++
	t.turn(&printChange{job: job}, func() {
		if t.stale(what) { // since that was decided
			t.drop(job, what)
			return
		}
		s.busy = true
		t.perform(t.acts, func(ctx context.Context) input {
			r := t.printer.Print(ctx, pj)
			return func() { t.printed(job, what, r) }
		})
	})
}

// printed handles the end of a print.
func (t *Terminal) printed(job queue.Job, what slip, r printer.Result) {
	s := &t.spool
	s.busy = false
	job.Reason = r.Reason
	switch r.Outcome {
	case printer.Confirmed:
		t.confirm(job, what, r)
	case printer.Sent:
		draft := what.entry("sent", string(r.Tier), "")
		t.turn(&printChange{job: job, remove: true, entry: &draft}, func() { t.report(what, r) })
	case printer.NotStarted:
		s.health = display.Down
		s.wait(t.clock.Up())
		job.State = queued
		c := &printChange{job: job}
		if job.Attempts >= maxStarts {
			c.bury = "not started " + strconv.Itoa(job.Attempts) + " times: " + r.Reason
		}
		t.turn(c, nil)
	case printer.Refused:
		t.log.Error("slip refused", "nsu", what.NSU, "reason", r.Reason)
		job.State = queued // no byte was sent
		t.turn(&printChange{job: job, bury: r.Reason}, nil)
	default:
		t.log.Warn("slip may or may not be printed", "nsu", what.NSU, "reason", r.Reason)
		s.health = display.Warn
		s.wait(t.clock.Up())
		job.State = unknown
		t.turn(&printChange{job: job}, nil)
	}
}

// resolved handles the printer's word about a job of unknown outcome. Only its
// own process id confirms; a printer that has worked off everything leaves the
// question to a person.
func (t *Terminal) resolved(job queue.Job, what slip, r printer.Result) {
	s := &t.spool
	s.busy = false
	switch {
	case r.Outcome == printer.Confirmed:
		t.confirm(job, what, r)
	case r.Drained:
		s.health = display.OK
		job.State = lost
		draft := what.entry("unknown", "", job.Reason)
		t.turn(&printChange{job: job, bury: "may or may not be printed; look at the paper, then drop it or retry it as a copy", entry: &draft}, func() {
			t.observe(Event{Kind: SlipUnknown, Slip: what.public()})
		})
	default:
		s.health = display.Down
		s.wait(t.clock.Up())
	}
}

func (t *Terminal) confirm(job queue.Job, what slip, r printer.Result) {
	t.spool.health = display.OK
	t.spool.waits = 0
	draft := what.entry("printed", string(r.Tier), "")
	t.turn(&printChange{job: job, remove: true, entry: &draft}, func() { t.report(what, r) })
}

// turn commits a change of the first job; then runs after it.
func (t *Terminal) turn(c *printChange, then func()) {
	s := &t.spool
	s.busy = true
	d := &decision{name: "print", print: c}
	d.then = func([]queue.Job) {
		s.busy = false
		if c.remove || c.bury != "" {
			s.jobs = s.jobs[1:]
		} else {
			s.jobs[0] = c.job
		}
		if then != nil {
			then()
		}
	}
	t.commit(d)
}

func (t *Terminal) report(what slip, r printer.Result) {
	if l := t.charges[what.Charge]; l != nil {
		l.printed = what.Kind
	}
	t.observe(Event{Kind: SlipPrinted, Slip: what.public(), Confirmed: r.Outcome == printer.Confirmed})
}

// processName is the id under which the printer confirms a slip; a copy has
// its own.
func processName(s slip) string {
	return fmt.Sprintf("%d/%d", s.NSU, s.Copy)
}

// document lays a slip out that is not stale.
func (t *Terminal) document(s slip) (printer.Document, error) {
	m, ok := t.merchant(s.Merchant)
	if s.Kind == SlipClosing {
		return t.closingDocument(s, m), nil
	}
	if !ok {
		return printer.Document{}, fmt.Errorf("merchant %q is not configured", s.Merchant)
	}
	head := layout.Merchant{Name: m.Name, CNPJ: m.CNPJ, Lines: m.Header}
	if s.Kind == SlipReceipt {
		return layout.Receipt{
			Merchant: head, Terminal: t.cfg.Code, NSU: s.NSU, Amount: s.Amount, TxID: string(s.Charge), EndToEnd: s.EndToEnd,
			Provider: s.Route, PaidAt: s.Paid.In(m.Zone), Refunded: s.Refunded, At: s.Issued.In(m.Zone), Copy: s.Copy,
		}.Document(), nil
	}
	return layout.QRSlip{
		Merchant: head, Terminal: t.cfg.Code, NSU: s.NSU, Amount: s.Amount, BRCode: t.charges[s.Charge].code, TxID: string(s.Charge),
		ExpiresAt: s.Expires.In(m.Zone), At: s.Issued.In(m.Zone), Copy: s.Copy, Offline: s.Offline,
	}.Document(), nil
}
