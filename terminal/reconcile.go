package terminal

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.etcd.io/bbolt"

	"github.com/ssg-safe/agent/charge"
	"github.com/ssg-safe/agent/ledger"
	"github.com/ssg-safe/agent/providers"
	"github.com/ssg-safe/agent/queue"
	"github.com/ssg-safe/agent/reconcile"
	"github.com/ssg-safe/agent/router"
	"github.com/ssg-safe/agent/ticket"
)

// Reconcile is how the ledger is compared with what the providers say. The zero
// value compares only when somebody asks.
type Reconcile struct {
	// Days is how far back the daily comparison goes; 0: nothing is compared by
	// itself.
	Days int
	// Owner and Deadline are a ticket's: whose business it is, and for how long.
	Owner    string
	Deadline time.Duration
	// Shared: others are paid into the accounts, too.
	Shared bool
}

// The schedule, in boot time: a while after the start, then once an hour over the
// last hour and two before it, and over all days once a day. What only people can
// settle brings the next comparison forward.
const (
	compareFirst   = 3 * time.Minute
	compareEvery   = time.Hour
	compareOverlap = 2 * time.Hour
	compareUrgent  = 30 * time.Second
	// compareLimit bounds one comparison in all, compareVain the wait after failures.
	// A provider without a list is asked once in two and a half seconds.
	compareLimit = 2 * time.Hour
	compareVain  = 2 * time.Minute
	// ripening is how old what a provider says of a charge must be before it is a
	// ticket: the two sides are never of the same moment.
	ripening = 10 * time.Minute
	// batch is how many tickets one commit opens, so that it fits beside the reserve
	// of a store that fills up.
	batch = 16
	// maxAsked bounds the comparisons that people may have waiting.
	maxAsked = 8
)

// ErrProvider: no such provider is configured.
var ErrProvider = errors.New("there is no such provider")

// comparing is the loop's part of reconciliation: one comparison at a time.
type comparing struct {
	next  map[string]time.Duration // by route: when the next one is due
	vain  map[string]int           // by route: failures in a row
	days  map[string]string        // by route: the day whose long comparison was made
	now   *pass                    // nil: none is under way
	asked []*pass                  // by people and hints, oldest first
	// hinted is when the newest hint was followed.
	hinted time.Duration
}

// pass is one comparison with one provider. It belongs to the loop, but for the
// effect that is under way.
type pass struct {
	route     string
	only      charge.ID // the one charge that is asked about; "": those of a window
	day       string    // a long one's, which is recorded; "": none
	books     reconcile.Books
	report    reconcile.Report
	questions []reconcile.Key // not asked yet
	round     int
	limit     context.Context
	cancel    context.CancelFunc
	reply     func(reconcile.Report, error) // nil: nobody waits
}

// Reconcile compares the ledger with what a provider has of a window, as the
// terminal does by itself: what is learnt is recorded, and what a person has to
// look at becomes a ticket. An error means that nothing was compared; a report
// whose Problem is set is not whole. Errors: ErrProvider, ErrBusy, ErrStopping,
// the provider's, the store's.
func (t *Terminal) Reconcile(ctx context.Context, provider string, w reconcile.Window) (reconcile.Report, error) {
	type outcome struct {
		report reconcile.Report
		err    error
	}
	result := make(chan outcome, 1)
	err := t.ask(ctx, func() {
		reply := func(r reconcile.Report, err error) { result <- outcome{r, err} }
		switch {
		case t.stopping:
			reply(reconcile.Report{}, ErrStopping)
		case t.cfg.Routes[provider] == nil:
			reply(reconcile.Report{}, fmt.Errorf("%w: %q", ErrProvider, provider))
		case len(t.compare.asked) >= maxAsked:
			reply(reconcile.Report{}, fmt.Errorf("%w: %d comparisons wait", ErrBusy, maxAsked))
		default:
			p := t.newPass(provider, w)
			p.reply = reply
			t.compare.asked = append(t.compare.asked, p)
		}
	})
	if err != nil {
		return reconcile.Report{}, err
	}
	o, err := wait(ctx, t, result)
	if err == nil {
		err = o.err
	}
	return o.report, err
}

// Removed is [Removed] of a running terminal.
func (t *Terminal) Removed(w reconcile.Window) ([]reconcile.Report, error) {
	return Removed(t.store.View, t.cfg.Routes, w)
}

// newPass is a comparison that is not begun.
func (t *Terminal) newPass(route string, w reconcile.Window) *pass {
	p := &pass{route: route, books: BooksOf(t.cfg.Code, t.cfg.Merchants, route, t.cfg.Routes[route], t.cfg.Reconcile.Shared)}
	p.books.Window = w
	return p
}

// compareDue is when the next comparison is due; false: none is.
func (t *Terminal) compareDue() (next time.Duration, ok bool) {
	c := &t.compare
	switch {
	case c.now != nil:
		return 0, false
	case len(c.asked) > 0:
		return 0, true
	case t.cfg.Reconcile.Days == 0:
		return 0, false
	}
	for _, at := range c.next {
		if !ok || at < next {
			next, ok = at, true
		}
	}
	return next, ok
}

// compareNext begins the comparison that is due.
func (t *Terminal) compareNext(up time.Duration) {
	c := &t.compare
	if len(c.next) == 0 && t.cfg.Reconcile.Days > 0 {
		for route := range t.cfg.Routes {
			c.next[route] = up + jitter(compareFirst)
		}
	}
	if c.now != nil {
		return
	}
	if len(c.asked) > 0 {
		p := c.asked[0]
		c.asked = c.asked[1:]
		t.begin(p)
		return
	}
	if at, ok := t.compareDue(); !ok || at > up {
		return
	}
	for route, at := range c.next {
		if at > up {
			continue
		}
		c.next[route] = up + jitter(compareEvery)
		if o := t.outages[route]; o != nil && (o.vain > 0 || t.out(route)) {
			c.next[route] = up + jitter(compareVain) // nothing is asked meanwhile
			continue
		}
		if q := ledger.Quality(t.clock.Quality()); q != ledger.Synced && q != ledger.Anchored {
			continue // by which times?
		}
		now := t.clock.Wall()
		p := t.newPass(route, reconcile.Window{From: now.Add(-compareEvery - compareOverlap), To: now})
		if day := t.today(route, now); c.days[route] != day {
			p.day = day
		}
		t.begin(p)
		return
	}
}

// compareSoon brings the next comparison with a provider forward.
func (t *Terminal) compareSoon(route string) {
	if at, ok := t.compare.next[route]; ok {
		t.compare.next[route] = min(at, t.clock.Up()+compareUrgent)
	}
}

// compareOne asks about every attempt of one charge where it is, on a hint: once in
// [compareUrgent] at most, whatever is hinted.
func (t *Terminal) compareOne(id charge.ID) {
	c, up := &t.compare, t.clock.Up()
	if t.stopping || t.cfg.Reconcile.Days == 0 || len(c.asked) >= maxAsked || c.hinted != 0 && up < c.hinted+compareUrgent {
		return
	}
	c.hinted = up
	t.perform(t.asks, func(context.Context) input {
		r, err := t.Record(id)
		return func() {
			if err != nil || t.stopping {
				return // nobody's, or pruned
			}
			asked := map[string]bool{}
			for _, a := range r.Charge.Attempts {
				name, _ := r.Charge.At(a.N)
				if asked[name] || t.cfg.Routes[name] == nil {
					continue
				}
				asked[name] = true
				p := t.newPass(name, reconcile.Window{From: r.Created, To: t.clock.Wall()})
				p.only, p.books.Listed = id, false
				p.books.Charges = []reconcile.Charge{{Charge: r.Charge.By(name), Made: r.Created, Token: r.token}}
				c.asked = append(c.asked, p)
			}
		}
	})
}

// today is the day of a provider's first merchant.
func (t *Terminal) today(route string, now time.Time) string {
	zone := t.cfg.Merchants[0].Zone
	for _, m := range t.cfg.Merchants {
		if m.Uses(route) {
			zone = m.Zone
			break
		}
	}
	return now.In(zone).Format(time.DateOnly)
}

// begin reads both sides.
func (t *Terminal) begin(p *pass) {
	t.compare.now = p
	p.limit, p.cancel = context.WithTimeout(t.asks, compareLimit)
	if p.only != "" {
		p.report = reconcile.Compare(p.books)
		p.questions = p.report.Questions
		t.consult(p)
		return
	}
	route := t.cfg.Routes[p.route]
	t.perform(p.limit, func(ctx context.Context) input {
		err := t.store.View(func(tx *bbolt.Tx) error {
			if p.day == "" {
				return nil
			}
			op, err := dayOp(tx, p.route, p.day)
			if err != nil {
				return err
			}
			_, done, err := ledger.Lookup(tx, op)
			if p.books.Window.From = p.books.Window.To.AddDate(0, 0, -t.cfg.Reconcile.Days); done {
				p.day, p.books.Window.From = "", p.books.Window.To.Add(-compareEvery-compareOverlap)
			}
			return err
		})
		var books reconcile.Books
		var report reconcile.Report
		if err == nil {
			books, err = gather(ctx, t.store.View, route, p.books)
		}
		if err == nil {
			report = reconcile.Compare(books) // of up to maxRows: not for the loop
		}
		return func() {
			if _, ok := errors.AsType[*providers.Error](err); ok || err == nil && books.Listed {
				t.reached(p.route, router.Ask, err)
			}
			if err != nil {
				t.compared(p, err)
				return
			}
			p.books, p.report = books, report
			p.questions = p.report.Questions
			t.consult(p)
		}
	})
}

// consult asks the next question of a comparison.
func (t *Terminal) consult(p *pass) {
	if len(p.questions) == 0 || t.stopping {
		t.review(p)
		return
	}
	k := p.questions[0]
	p.questions = p.questions[1:]
	i := slices.IndexFunc(p.books.Charges, func(c reconcile.Charge) bool { return c.ID == k.Charge })
	route, c, now := t.cfg.Routes[p.route], p.books.Charges[i], t.clock.Wall()
	t.call(p.limit, t.others, compareLimit, func(ctx context.Context) input {
		got := question(ctx, route, c, k, now)
		return func() {
			if got.why == "" {
				t.reached(p.route, router.Ask, got.err)
			}
			got.put(&p.books)
			if hopeless(got.err) || p.limit.Err() != nil {
				p.report.Problem = whyFailed(got.err)
				p.questions = nil
			}
			t.witness(got, func() { t.consult(p) })
		}
	})
}

// witness gives a testimony about money to the charge that it is of.
func (t *Terminal) witness(got testimony, done func()) {
	paid := got.charge != nil && (got.charge.Status == providers.StatusPaid || got.charge.Status == providers.StatusRefunded)
	if !paid && len(got.payments) == 0 {
		done()
		return
	}
	t.lookFor(got.key.Charge, func(l *live, err error) {
		if err != nil {
			t.log.Warn("reconcile: a charge is gone", "charge", got.key.Charge, "err", err)
			done()
			return
		}
		l.later(func() { t.testify(l, got, done) })
	})
}

// testify records what is new in a testimony, one fact after the other.
func (t *Terminal) testify(l *live, got testimony, done func()) {
	i := slices.IndexFunc(l.charge.Attempts, func(a charge.Attempt) bool { return a.N == got.key.Attempt })
	if i < 0 || l.charge.State == charge.Created {
		done()
		return
	}
	a := l.charge.Attempts[i]
	var facts []charge.Fact
	if got.charge != nil {
		if a.ProviderID == "" && a.State != charge.Accepted { // found by our own id: it was made after all
			t.adopt(l, got, done)
			return
		}
		facts = l.charge.Observe(a.N, *got.charge, "")
		got.charge = nil
	} else if len(got.payments) > 0 {
		p := got.payments[0]
		facts = l.charge.Received(l.charge.FromPayment(a.N, p), p.Returns, p.Returned)
		got.payments = got.payments[1:]
	} else {
		done()
		return
	}
	if len(facts) == 0 {
		t.testify(l, got, done)
		return
	}
	t.learnWith(l, facts, nil, func(_ charge.Fact, err error) {
		if err != nil {
			t.log.Error("reconcile", "charge", l.charge.ID, "err", err)
			done()
			return
		}
		t.testify(l, got, done)
	})
}

// adopt records that an attempt of unknown outcome is at the provider.
func (t *Terminal) adopt(l *live, got testimony, done func()) {
	d, err := decide("adopt attempt", l, charge.AttemptFact{
		Charge: l.charge.ID, N: got.key.Attempt, State: charge.Accepted, ProviderID: got.charge.ProviderID, Digest: got.charge.Digest,
	})
	if err != nil || got.charge.ProviderID == "" {
		t.log.Error("reconcile: attempt not adopted", "charge", l.charge.ID, "err", err)
		done()
		return
	}
	d.then = func([]queue.Job) {
		t.changed(l, nil)
		t.testify(l, got, done)
	}
	t.commit(d)
}

// review compares anew with what was learnt, until there is nothing left to ask.
func (t *Terminal) review(p *pass) {
	if t.stopping {
		t.compared(p, ErrStopping)
		return
	}
	problem := p.report.Problem
	t.perform(p.limit, func(context.Context) input {
		err := reload(t.store.View, &p.books)
		report := reconcile.Compare(p.books)
		report.Problem = problem
		if err == nil {
			err = t.store.View(func(tx *bbolt.Tx) error { return withTickets(tx, report.Lines) })
		}
		return func() {
			if err != nil {
				t.compared(p, err)
				return
			}
			p.report = report
			if p.round++; len(report.Questions) > 0 && p.round < maxRounds && problem == "" {
				p.questions = report.Questions
				t.consult(p)
				return
			}
			t.conclude(p)
		}
	})
}

// Day is what a daily comparison came to: the data of a ledger entry of kind
// [KindDay]. Its JSON form is stored, so names never change.
type Day struct {
	Provider string           `json:"provider"`
	Date     string           `json:"date"`
	Window   reconcile.Window `json:"window"`
	Sums     []reconcile.Sums `json:"sums"`
}

// KindDay is the kind of the entry that records a daily comparison.
const KindDay = "reconcile.day"

// dayOp is its operation id. A restored store compares the day again.
func dayOp(tx *bbolt.Tx, route, day string) (string, error) {
	head, err := ledger.GetHead(tx)
	return fmt.Sprintf("reconcile/%d/%s/%s", head.Epoch, route, day), err
}

// conclude records what is new: tickets for what a person has to look at, and the
// day's comparison if there was anything to compare.
func (t *Terminal) conclude(p *pass) {
	now := t.clock.Wall()
	var fresh []*reconcile.Line
	for i := range p.report.Lines {
		l := &p.report.Lines[i]
		if l.Subject != "" && l.Ticket == "" && ripe(*l, now) {
			fresh = append(fresh, l)
		}
	}
	sums, err := p.report.Sum()
	if err != nil {
		t.compared(p, err)
		return
	}
	more := len(fresh) > batch
	fresh = fresh[:min(len(fresh), batch)]
	daily := !more && p.day != "" && p.report.Problem == "" && len(p.report.Lines) > 0
	if len(fresh) == 0 && !daily {
		t.compared(p, nil)
		return
	}
	at := t.stamp()
	var left int
	d := &decision{name: "reconcile", fresh: true}
	d.with = func(tx *bbolt.Tx) error {
		count, err := ticket.Counted(tx, now)
		if err != nil {
			return err
		}
		left = 0
		for _, l := range fresh {
			if count.Open >= ticket.MaxOpen {
				left++
				continue
			}
			made, opened, err := ticket.Open(tx, at, actor, l.Subject, t.ticketOf(*l, now))
			if err != nil {
				return err
			}
			if opened {
				count.Open++
			}
			l.Ticket, l.TicketState = made.ID, made.State()
		}
		if !daily {
			return nil
		}
		op, err := dayOp(tx, p.route, p.day)
		if err != nil {
			return err
		}
		if _, known, err := ledger.Lookup(tx, op); known || err != nil {
			return err
		}
		_, err = ledger.Append(tx, at, ledger.Draft{Op: op, Kind: KindDay, Actor: actor, Data: Day{p.route, p.day, p.report.Window, sums}})
		return err
	}
	d.then = func([]queue.Job) {
		for _, l := range fresh[:len(fresh)-left] {
			t.log.Warn("ticket opened: a person must look", "ticket", l.Ticket, "kind", l.Class, "charge", l.Charge, "provider", l.Provider)
			t.observe(Event{Kind: TicketOpened})
		}
		if left > 0 {
			t.log.Error("too many tickets are open: close some", "open", ticket.MaxOpen)
			more = false
		}
		if more {
			t.conclude(p)
			return
		}
		t.compared(p, nil)
	}
	d.refused = func(err error) {
		p.report.Problem = "tickets were not opened: " + err.Error()
		t.compared(p, nil)
	}
	t.commit(d)
}

// compared ends a comparison.
func (t *Terminal) compared(p *pass, err error) {
	c := &t.compare
	p.cancel()
	c.now = nil
	up := t.clock.Up()
	switch {
	case errors.Is(err, ErrStopping):
	case err != nil || p.report.Problem != "":
		c.vain[p.route]++
		t.log.Warn("reconcile", "provider", p.route, "err", err, "problem", p.report.Problem, "failures", c.vain[p.route])
		if _, scheduled := c.next[p.route]; scheduled && p.reply == nil && p.only == "" {
			c.next[p.route] = up + jitter(min(compareVain<<min(c.vain[p.route], 5), compareEvery))
		}
	default:
		c.vain[p.route] = 0
		if p.reply == nil && p.only == "" {
			c.days[p.route] = t.today(p.route, p.report.Window.To)
		}
		t.followClaims()
	}
	if p.reply != nil {
		p.reply(p.report, err)
	}
}
