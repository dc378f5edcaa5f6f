package terminal

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"go.etcd.io/bbolt"

	"github.com/ssg-safe/agent/closing"
	"github.com/ssg-safe/agent/display"
	"github.com/ssg-safe/agent/exposure"
	"github.com/ssg-safe/agent/ledger"
	"github.com/ssg-safe/agent/money"
	"github.com/ssg-safe/agent/operator"
	"github.com/ssg-safe/agent/queue"
	"github.com/ssg-safe/agent/store"
	"github.com/ssg-safe/agent/ticket"
)

// What package operator's menu asks of the loop. The menu lies over the idle screen:
// whatever else takes the screen closes it (see work).

// menuSlips is how many charges the menu lists, of the newest menuCharges;
// menuTickets how many tickets, of the most urgent.
const (
	menuSlips   = 25
	menuCharges = 50
	menuTickets = 20
	// inspectLimit bounds what is read about the terminal for the menu.
	inspectLimit = 45 * time.Second
)

func newMenu(cfg Config, printer bool) *operator.Menu {
	c := cfg.Operators
	c.Zone, c.Printer, c.Merchants = cfg.Merchants[0].Zone, printer, nil
	for _, m := range cfg.Merchants {
		c.Merchants = append(c.Merchants, operator.Merchant{ID: m.ID, Name: m.Name})
	}
	return operator.New(c)
}

// menuKey gives a key to the menu, and reports whether it was the menu's.
func (t *Terminal) menuKey(k display.Key) bool {
	up := t.clock.Up()
	if t.menu.Open() {
		t.serve(t.menu.Key(k, up))
		return true
	}
	switch t.session.state {
	case display.Idle, display.Amount:
	default:
		t.menu.Unchord()
		return false
	}
	if !t.menu.Chord(k, up) {
		return false
	}
	t.session.idle()
	t.menu.Begin(up)
	return true
}

// serve does what the menu asks for; its answer may lead to the next request.
func (t *Terminal) serve(r *operator.Request) {
	if r == nil {
		return
	}
	answer := func(a operator.Answer, err error) {
		if err != nil {
			t.log.Warn("operator menu", "request", fmt.Sprintf("%T", r.What), "by", r.By, "err", err)
			a = operator.Refused{Err: menuError(err)}
		}
		t.serve(t.menu.Answer(r.Ticket, a, t.clock.Up()))
	}
	// read answers with what is read off the loop.
	read := func(f func(context.Context) (operator.Answer, error)) {
		t.perform(t.asks, func(ctx context.Context) input {
			ctx, cancel := context.WithTimeout(ctx, inspectLimit)
			defer cancel()
			a, err := f(ctx)
			return func() { answer(a, err) }
		})
	}
	switch w := r.What.(type) {
	case operator.Verify:
		read(func(context.Context) (operator.Answer, error) { return operator.Verified(w.Hash.Verify(w.PIN)), nil })
	case operator.Record:
		t.recordLogin(w.Fact, func(err error) { answer(operator.Recorded{}, err) })
	case operator.Read:
		read(func(ctx context.Context) (operator.Answer, error) { return t.readView(ctx, w.View) })
	case operator.ReadDay:
		read(func(context.Context) (operator.Answer, error) { return t.readDay(w.Merchant) })
	case operator.Reprint:
		t.copySlip(w.Charge, r.By, func(s Slip, err error) { answer(operator.Printing{NSU: s.NSU, Copy: s.Copy}, err) })
	case operator.PrintDay:
		t.closeBooks(ClosingRequest{Merchant: w.Merchant, Print: true, By: r.By}, func(_ closing.Report, nsu uint64, err error) {
			answer(operator.Printing{NSU: nsu, Copy: 1}, err)
		})
	case operator.CloseDay:
		z := ClosingRequest{Merchant: w.Merchant, Z: true, Number: w.Number, Print: t.printer != nil, By: r.By}
		t.closeBooks(z, func(report closing.Report, _ uint64, err error) { answer(operator.DayReport{Report: report}, err) })
	case operator.Settle:
		how := Dropped
		if w.Retry {
			how = Retried
		}
		t.settle(how, []uint64{w.Job}, r.By, func(_ []queue.Job, err error) { answer(operator.Settled{}, err) })
	}
}

// menuError is an error in the menu's own.
func menuError(err error) error {
	for _, e := range []struct{ from, to error }{
		{ErrNoPrinter, operator.ErrNoPrinter},
		{ErrNothingToPrint, operator.ErrNothingToPrint},
		{ErrNoCharge, operator.ErrNothingToPrint},
		{ErrSlipWaits, operator.ErrSlipWaits},
		{ErrBusy, operator.ErrBusy},
		{ErrPrinting, operator.ErrBusy},
		{ErrStopping, operator.ErrBusy},
		{closing.ErrNothing, operator.ErrNothingToClose},
		{closing.ErrNumber, operator.ErrGone},
		{queue.ErrNotFound, operator.ErrGone},
		{ErrJobWaits, operator.ErrGone},
		{store.ErrFull, operator.ErrFull},
	} {
		if errors.Is(err, e.from) {
			return e.to
		}
	}
	return err
}

// wrongPINs has a row for each operator whose last PINs were wrong, sealed: how
// many in a row. It is made with the first one.
var wrongPINs = []byte("operator_wrong_pins")

type wrongPIN struct {
	Failures int `json:"failures"`
}

// restoreMenu tells the menu of the wrong PINs of earlier runs.
func (t *Terminal) restoreMenu(tx *bbolt.Tx) error {
	b := tx.Bucket(wrongPINs)
	if b == nil {
		return nil
	}
	return b.ForEach(func(id, row []byte) error {
		var w wrongPIN
		if err := unseal(id, row, &w); err != nil {
			return fmt.Errorf("wrong PINs of operator %s: %w", id, err)
		}
		t.menu.Restore(string(id), w.Failures, t.clock.Up())
		return nil
	})
}

// recordLogin records a log-in or a wrong PIN. A wrong one is refused by a store
// that is full; it counts all the same, until the next start.
func (t *Terminal) recordLogin(f operator.Fact, reply func(error)) {
	if t.stopping {
		reply(ErrStopping)
		return
	}
	at := t.stamp()
	d := &decision{name: "operator", fresh: !f.Login}
	d.with = func(tx *bbolt.Tx) error { return writeLogin(tx, at, f) }
	d.then = func([]queue.Job) {
		if f.LockedFor > 0 {
			t.observe(Event{Kind: OperatorLocked, Operator: f.Operator, Failures: f.Failures})
		}
		reply(nil)
	}
	d.refused = reply
	t.commit(d)
}

func writeLogin(tx *bbolt.Tx, at ledger.Stamp, f operator.Fact) error {
	b, err := tx.CreateBucketIfNotExists(wrongPINs)
	if err != nil {
		return err
	}
	what, key := "login", []byte(f.Operator)
	if f.Login {
		err = b.Delete(key)
	} else {
		what = "refused"
		var row []byte
		if row, err = seal(key, wrongPIN{f.Failures}); err == nil {
			err = b.Put(key, row)
		}
	}
	if err != nil {
		return err
	}
	head, err := ledger.GetHead(tx)
	if err != nil {
		return err
	}
	_, err = ledger.Append(tx, at, ledger.Draft{
		Op:   fmt.Sprintf("operator/%s/%s/%d/%d", f.Operator, what, head.Epoch, head.Seq+1),
		Kind: "operator." + what, Actor: operator.Operator{ID: f.Operator}.Actor(), Data: f,
	})
	return err
}

// readView reads what a view shows. It runs off the loop.
func (t *Terminal) readView(ctx context.Context, v operator.View) (operator.Answer, error) {
	switch v {
	case operator.Slips:
		return t.readSlips()
	case operator.Waiting:
		return t.readStanding(ctx)
	case operator.Letters:
		return t.readLetters()
	}
	if t.cfg.Inspect == nil {
		return nil, fmt.Errorf("nobody knows what to show for view %d", v)
	}
	return t.cfg.Inspect(ctx, v)
}

// readSlips are the newest charges of which a slip could be printed.
func (t *Terminal) readSlips() (operator.Answer, error) {
	records, _, err := t.Records(ledger.Position{}, menuCharges)
	if err != nil {
		return nil, err
	}
	list := operator.SlipList{}
	for _, r := range records {
		s, err := r.again()
		if err != nil || len(list) == menuSlips {
			continue
		}
		out := operator.Slip{Charge: s.Charge, Amount: s.Amount, At: cmp.Or(s.Paid, r.Created), Paid: s.Kind == SlipReceipt, Refunded: s.Refunded}
		if s.Copy > 1 {
			out.NSU, out.Copies = s.NSU, s.Copy-1
		}
		list = append(list, out)
	}
	return list, nil
}

// readStanding is what waits for its payment.
func (t *Terminal) readStanding(ctx context.Context) (operator.Answer, error) {
	out, err := t.Exposure(ctx)
	if err != nil {
		return nil, err
	}
	open, err := t.OpenRecords()
	if err != nil {
		return nil, err
	}
	tally := func(a exposure.Tally) operator.Tally {
		return operator.Tally{Count: a.Count, Sum: a.Sum, Oldest: max(0, t.clock.Wall().Sub(a.Oldest))}
	}
	s := operator.Standing{Pending: tally(out.Pending), Released: tally(out.Released)}
	if err := t.store.View(func(tx *bbolt.Tx) error { return readTickets(tx, t.clock.Wall(), &s) }); err != nil {
		return nil, err
	}
	for _, r := range open {
		_, static := r.Charge.Static()
		s.Open = append(s.Open, operator.Open{
			Charge: r.Charge.ID, Amount: r.Charge.Amount, Made: r.Created, Offline: static, Released: r.Charge.Released,
		})
	}
	return s, nil
}

// readTickets adds the tickets that are open.
func readTickets(tx *bbolt.Tx, now time.Time, s *operator.Standing) error {
	open, err := ticket.List(tx, false)
	s.Tickets, s.OpenTickets, s.Overdues = nil, len(open), 0
	for _, t := range open {
		if t.Overdue(now) {
			s.Overdues++
		}
		if len(s.Tickets) == menuTickets {
			continue
		}
		out := operator.Ticket{ID: t.ID, Deadline: t.Deadline, Overdue: t.Overdue(now)}
		for _, a := range []*money.Amount{t.Charged, t.Ledger, t.Received} {
			if a != nil {
				out.Amount = *a
			}
		}
		s.Tickets = append(s.Tickets, out)
	}
	return err
}

// readLetters are the dead letters of the spool.
func (t *Terminal) readLetters() (operator.Answer, error) {
	list := operator.LetterList{}
	err := t.store.View(func(tx *bbolt.Tx) error {
		list = list[:0]
		dead, err := queue.Dead(tx)
		for _, j := range dead {
			var s slip
			if j.Kind != jobKind || json.Unmarshal(j.Payload, &s) != nil {
				continue
			}
			list = append(list, operator.Letter{Job: j.ID, NSU: s.NSU, Kind: string(s.Kind), Amount: s.Amount, Unsure: j.State == lost})
		}
		return err
	})
	return list, err
}

// readDay is the X of a merchant.
func (t *Terminal) readDay(merchant string) (operator.Answer, error) {
	var day operator.DayReport
	err := t.store.View(func(tx *bbolt.Tx) (err error) {
		if day.Next, err = closing.Next(tx, merchant); err != nil {
			return err
		}
		day.Report, err = closing.Look(tx, Books(t.cfg.Merchants), merchant, t.clock.Wall())
		return err
	})
	return day, err
}

// menuPage puts the menu's page over the idle screen.
func (t *Terminal) menuPage(v display.View) display.View {
	if page := t.menu.Page(t.clock.Up()); page != nil && v.State == display.Idle {
		v.State, v.Page = display.Operator, page
	}
	return v
}
