package terminal_test

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.etcd.io/bbolt"

	"github.com/ssg-safe/agent/charge"
	"github.com/ssg-safe/agent/money"
	"github.com/ssg-safe/agent/printer/emulator"
	"github.com/ssg-safe/agent/providers"
	"github.com/ssg-safe/agent/reconcile"
	"github.com/ssg-safe/agent/terminal"
	"github.com/ssg-safe/agent/ticket"
)

// lister is a provider that lists what it received.
type lister struct {
	*route
	mu    sync.Mutex
	rows  []providers.Transaction
	fails error
	lists int
}

func (l *lister) Transactions(_ context.Context, q providers.TransactionQuery) iter.Seq2[providers.Transaction, error] {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lists++
	rows, fails := slices.Clone(l.rows), l.fails
	return func(yield func(providers.Transaction, error) bool) {
		for _, r := range rows {
			if !r.At.Before(q.From) && r.At.Before(q.To) && !yield(r, nil) {
				return
			}
		}
		if fails != nil {
			yield(providers.Transaction{}, fails)
		}
	}
}

func (l *lister) set(f func(*lister)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f(l)
}

func (l *lister) listed() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lists
}

// money adds a row about a charge's first attempt.
func (l *lister) money(id charge.ID, e2e string, amount money.Amount) {
	l.set(func(l *lister) {
		l.rows = append(l.rows, providers.Transaction{
			ID: cmp.Or(string(id)+"-1", e2e), ExternalID: string(id), Status: providers.StatusPaid, Word: "PAGO", Currency: "BRL",
			Cents: &amount, EndToEnd: e2e, At: time.Now(), Digest: "d3",
		})
	})
}

// comparing is a rig whose terminal compares by itself.
func comparing(t *testing.T, f func(r *rig, l *lister)) { comparingIn(t, 1<<20, f) }

// comparingIn is one with a store of a size.
func comparingIn(t *testing.T, size int64, f func(r *rig, l *lister)) {
	bubbleIn(t, size, func(r *rig) {
		l := &lister{route: r.route}
		r.edit = func(c *terminal.Config) {
			c.Routes["fake"] = l
			c.Reconcile = terminal.Reconcile{Days: 7, Owner: "financeiro", Deadline: 72 * time.Hour}
		}
		r.restart(false)
		f(r, l)
	})
}

func (r *rig) tickets() (list []ticket.Ticket) {
	r.Helper()
	if err := r.store.View(func(tx *bbolt.Tx) (err error) {
		list, err = ticket.List(tx, true)
		return err
	}); err != nil {
		r.Fatal(err)
	}
	return list
}

// compare compares the last day and returns the lines' classes.
func (r *rig) compare() (reconcile.Report, string) {
	r.Helper()
	report, err := r.term.Reconcile(r.Context(), "fake", reconcile.Window{From: time.Now().Add(-24 * time.Hour), To: time.Now().Add(time.Minute)})
	if err != nil {
		r.Fatal(err)
	}
	var classes []string
	for _, l := range report.Lines {
		classes = append(classes, string(l.Class))
	}
	slices.Sort(classes)
	return report, strings.Join(classes, " ")
}

func commits(r *rig) int64 { return r.store.Stats().Commits }

// An idle terminal asks once an hour, and writes nothing.
func TestReconcileIdle(t *testing.T) {
	comparing(t, func(r *rig, l *lister) {
		before := commits(r)
		r.pass(26 * time.Hour)
		if n := l.listed(); n < 22 || n > 30 {
			t.Errorf("%d lists in 26 hours, want one an hour", n)
		}
		if n := commits(r) - before; n != 0 {
			t.Errorf("%d commits while nothing happened", n)
		}
	})
}

// A day in which something was compared is recorded once, also over restarts, and
// what is settled is compared again in vain.
func TestReconcileDay(t *testing.T) {
	comparing(t, func(r *rig, l *lister) {
		id := r.begin()
		r.route.pays(1234, "E1")
		l.money(id, "E1", 1234)
		r.pass(2 * time.Hour)
		days := func() (n int) {
			for _, k := range r.kinds() {
				if k == terminal.KindDay {
					n++
				}
			}
			return n
		}
		if n := days(); n != 1 {
			t.Fatalf("%d days recorded: %v", n, r.kinds())
		}
		before := len(r.kinds())
		r.restart(true)
		r.pass(3 * time.Hour)
		if n := len(r.kinds()); n != before {
			t.Errorf("%d entries after a restart, before it %d: %v", n, before, r.kinds()[before:])
		}
		r.pass(24 * time.Hour)
		if n := days(); n != 2 {
			t.Errorf("%d days recorded after another day", n)
		}
		if list := r.tickets(); len(list) != 0 {
			t.Errorf("tickets %+v", list)
		}
	})
}

// A charge that was paid while the agent was down, after it had ended: the list
// tells, the status question is the evidence, and the late money is a ticket.
func TestReconcilePaidWhileDown(t *testing.T) {
	comparing(t, func(r *rig, l *lister) {
		r.route.answer(providers.StatusExpired)
		id := r.begin()
		r.pass(time.Hour) // it expired, and is not asked about any more
		r.stop()
		l.money(id, "E1", 1234)
		r.route.pays(1234, "E1")
		time.Sleep(2 * time.Hour)
		r.clock.start, r.clock.boot = time.Now(), "boot-2"
		r.start()
		r.pass(10 * time.Minute)
		c := r.fold(id)
		if c.State != charge.Paid || !c.Late || len(c.Payments) != 1 || c.Payments[0].Evidence.Grade() != charge.GradeA {
			t.Fatalf("the charge is %+v", c)
		}
		if report, classes := r.compare(); classes != "late" || report.Agrees() || report.Lines[0].TicketState != "open" {
			t.Errorf("lines %s: %+v", classes, report.Lines)
		}
		list := r.tickets()
		if len(list) != 1 || list[0].Kind != "late" || list[0].Owner != "financeiro" || list[0].Deadline.Sub(list[0].Opened) != 72*time.Hour {
			t.Fatalf("tickets %+v", list)
		}
		if _, err := r.term.Closing(r.Context(), terminal.ClosingRequest{Z: true, Print: true, By: "ana"}); err != nil {
			t.Fatal(err)
		}
		r.pass(10 * time.Second)
		if text := emulator.Render(r.printer.jobs[len(r.printer.jobs)-1].Bytes, 576)[0].Text(); !strings.Contains(text, "Diferenças em aberto") {
			t.Errorf("the closing's slip says\n%s", text)
		}
		if _, err := r.term.CloseTicket(r.Context(), list[0].ID, "ana", ticket.Refunded); err != nil {
			t.Fatal(err)
		}
		r.pass(49 * time.Hour)
		if list := r.tickets(); len(list) != 1 || list[0].By != "ana" {
			t.Errorf("the difference opened again: %+v", list)
		}
		if report, _ := r.compare(); len(report.Lines) != 0 && !report.Agrees() {
			t.Errorf("a closed ticket is still a difference: %+v", report.Lines)
		}
	})
}

// Money through an attempt whose answer was lost is the charge's, and a ticket.
func TestReconcileOrphan(t *testing.T) {
	comparing(t, func(r *rig, l *lister) {
		first := true
		accept := r.route.create
		r.route.create = func(ctx context.Context, in providers.Intent) (providers.Charge, error) {
			if first {
				first = false
				return providers.Charge{ProviderID: in.ID + "-1"}, &providers.Error{Provider: "fake", Op: "create", Kind: providers.Ambiguous}
			}
			return accept(ctx, in)
		}
		r.route.on(func(_ context.Context, ref providers.Ref) (providers.Charge, error) {
			a := providers.Charge{ProviderID: ref.ProviderID, Status: providers.StatusPending, Word: "PENDENTE", Digest: "d1"}
			if ref.Attempt == 1 {
				amount := money.Amount(1234)
				a.Status, a.Word, a.Amount, a.EndToEnd = providers.StatusPaid, "PAGO", &amount, "E1"
			}
			return a, nil
		})
		id := r.begin()
		if c := r.fold(id); len(c.Attempts) != 2 || c.Attempts[0].State != charge.Orphaned {
			t.Fatalf("attempts %+v", c.Attempts)
		}
		l.money(id, "E1", 1234)
		if _, classes := r.compare(); classes != "orphan" {
			t.Errorf("lines %s", classes)
		}
		c := r.fold(id)
		if p, ok := c.Settling(); c.State != charge.Paid || !ok || p.Evidence.Attempt != 1 {
			t.Errorf("the charge is %+v", c)
		}
		if list := r.tickets(); len(list) != 1 || list[0].Kind != "orphan" {
			t.Errorf("tickets %+v", list)
		}
	})
}

// An attempt of which nothing is known but our own id is adopted when the provider,
// asked by that id, has its money.
func TestReconcileAdopts(t *testing.T) {
	comparing(t, func(r *rig, l *lister) {
		l.caps.LookUp = true
		r.route.create = fails(providers.Ambiguous)
		r.route.on(func(context.Context, providers.Ref) (providers.Charge, error) {
			return providers.Charge{}, &providers.Error{Provider: "fake", Op: "status", Kind: providers.NotFound}
		})
		id, err := r.term.Start(r.Context(), terminal.Request{Amount: 1234, Source: "api"})
		if err != nil {
			t.Fatal(err)
		}
		r.pass(time.Minute)
		if c := r.fold(id); c.State != charge.Failed || c.Attempts[0].ProviderID != "" {
			t.Fatalf("the charge is %+v", c)
		}
		l.set(func(l *lister) {
			amount := money.Amount(1234)
			l.rows = []providers.Transaction{{ID: "E1", ExternalID: string(id) + "2", Status: providers.StatusPaid, Currency: "BRL", Cents: &amount, EndToEnd: "E1", At: time.Now()}}
		})
		r.route.on(func(_ context.Context, ref providers.Ref) (providers.Charge, error) {
			if ref.Attempt != 2 || ref.ProviderID != "" {
				return providers.Charge{}, &providers.Error{Provider: "fake", Op: "status", Kind: providers.NotFound}
			}
			amount := money.Amount(1234)
			return providers.Charge{ProviderID: string(id) + "2", Status: providers.StatusPaid, Word: "PAGO", Amount: &amount, EndToEnd: "E1", Digest: "d1"}, nil
		})
		if _, classes := r.compare(); classes != "orphan" {
			t.Errorf("lines %s", classes)
		}
		if c := r.fold(id); c.State != charge.Paid || !c.Late {
			t.Errorf("the charge is %+v", c)
		}
	})
}

// What the list lacks is asked for before it is missing; a provider that cannot be
// reached proves nothing, and opens no ticket.
func TestReconcileMissing(t *testing.T) {
	comparing(t, func(r *rig, l *lister) {
		id := r.begin()
		r.route.pays(1234, "E1")
		r.pass(20 * time.Minute)
		if _, classes := r.compare(); classes != "matched" { // not in the list, and confirmed
			t.Errorf("lines %s", classes)
		}
		down := func(context.Context, providers.Ref) (providers.Charge, error) {
			return providers.Charge{}, &providers.Error{Provider: "fake", Op: "status", Kind: providers.NotSent}
		}
		r.route.on(down)
		report, classes := r.compare()
		if classes != "not_comparable" || report.Problem == "" || len(r.tickets()) != 0 {
			t.Errorf("lines %s, problem %q, tickets %v", classes, report.Problem, r.tickets())
		}
		r.route.on(func(context.Context, providers.Ref) (providers.Charge, error) {
			return providers.Charge{}, &providers.Error{Provider: "fake", Op: "status", Kind: providers.NotFound}
		})
		if _, classes := r.compare(); classes != "missing_at_provider" {
			t.Errorf("lines %s", classes)
		}
		if list := r.tickets(); len(list) != 1 || list[0].Kind != "missing_at_provider" || list[0].Charge != id {
			t.Errorf("tickets %+v", list)
		}
		if c := r.fold(id); c.State != charge.Paid {
			t.Errorf("a repair was made: %+v", c)
		}
	})
}

// What went back here and not at the provider is a ticket that says how much.
func TestReconcileRefund(t *testing.T) {
	comparing(t, func(r *rig, l *lister) {
		id, none := r.paid(), money.Amount(0)
		r.tell(word(id, "R1", 400), terminal.RefundRecorded)
		l.money(id, "E1", 1234)
		l.set(func(l *lister) { l.rows[0].Returned = &none })
		if _, classes := r.compare(); classes != "refund_mismatch" {
			t.Errorf("lines %s", classes)
		}
		if list := r.tickets(); len(list) != 1 || list[0].Kind != "refund_mismatch" || list[0].Refunded == nil || *list[0].Refunded != 400 {
			t.Errorf("tickets %+v", list)
		}
	})
}

// Payments of nobody: ours without a charge, another terminal's, somebody's.
func TestReconcileUnknown(t *testing.T) {
	comparing(t, func(r *rig, l *lister) {
		amount := money.Amount(500)
		at := time.Now()
		l.set(func(l *lister) {
			for _, row := range []struct{ own, e2e string }{
				{"T001ABCDEFGHJKMNPQRSTVWXY", "E1"}, {"T002ABCDEFGHJKMNPQRSTVWXY1", "E2"}, {"", "E3"}, {"52998224725", ""},
			} {
				l.rows = append(l.rows, providers.Transaction{
					ID: cmp.Or(row.e2e, "52998224725"), ExternalID: row.own, Status: providers.StatusPaid, Currency: "BRL", Cents: &amount, EndToEnd: row.e2e, At: at,
				})
			}
		})
		r.pass(5 * time.Minute) // too young for tickets
		if list := r.tickets(); len(list) != 0 {
			t.Errorf("tickets of what is younger than ten minutes: %+v", list)
		}
		r.pass(2 * time.Hour)
		if _, classes := r.compare(); classes != "elsewhere unknown_at_ledger unknown_at_ledger unknown_at_ledger" {
			t.Errorf("lines %s", classes)
		}
		list := r.tickets()
		if len(list) != 3 {
			t.Fatalf("tickets %+v", list)
		}
		for _, k := range list {
			if strings.Contains(k.ProviderID, "52998224725") {
				t.Errorf("a document is in the ledger: %+v", k)
			}
		}
	})
}

// What was paid before the entries that are left is not compared: it is no ticket, and
// neither the daily comparison nor one that people ask for makes it one.
func TestReconcilePruned(t *testing.T) {
	comparing(t, func(r *rig, l *lister) {
		pay := func(e2e string) charge.ID {
			id := r.begin()
			r.route.pays(1234, e2e)
			l.money(id, e2e, 1234)
			r.pass(time.Minute)
			r.route.answer(providers.StatusPending)
			return id
		}
		pay("E1")
		r.pass(3 * 24 * time.Hour)
		r.prune()
		pay("E2")
		r.pass(24 * time.Hour) // with a daily comparison
		pay("E3")
		whole := reconcile.Window{From: time.Now().Add(-6 * 24 * time.Hour), To: time.Now().Add(time.Minute)}
		report, err := r.term.Reconcile(r.Context(), "fake", whole)
		if err != nil || len(report.Lines) != 2 || report.Lines[0].Class != reconcile.Matched || report.Lines[1].Class != reconcile.Matched || !report.Window.From.After(whole.From) {
			t.Errorf("report %+v, %v", report, err)
		}
		if list := r.tickets(); len(list) != 0 {
			t.Errorf("tickets %+v", list)
		}
	})
}

// During an outage nothing is asked; failures are followed by longer and longer
// waits, and the next success by an hour.
func TestReconcileOutage(t *testing.T) {
	comparing(t, func(r *rig, l *lister) {
		r.begin()
		r.route.on(func(context.Context, providers.Ref) (providers.Charge, error) {
			return providers.Charge{}, &providers.Error{Provider: "fake", Op: "status", Kind: providers.NotSent}
		})
		r.pass(4 * time.Minute)
		if n := l.listed(); n != 0 {
			t.Errorf("%d lists while the payer's questions reach nobody", n)
		}
		r.route.answer(providers.StatusExpired)
		r.pass(time.Hour)
		l.set(func(l *lister) {
			l.lists, l.fails = 0, &providers.Error{Provider: "fake", Op: "list", Kind: providers.NotSent}
		})
		r.pass(12 * time.Hour)
		if n := l.listed(); n > 24 {
			t.Errorf("%d lists in 12 hours of outage", n)
		}
		l.set(func(l *lister) { l.fails = nil })
		before := l.listed()
		r.pass(3 * time.Hour)
		if n := l.listed() - before; n < 2 || n > 5 {
			t.Errorf("%d lists in the three hours after", n)
		}
	})
}

// A comparison in the middle of which the agent stops ends with it.
func TestReconcileStops(t *testing.T) {
	comparing(t, func(r *rig, l *lister) {
		r.begin()
		r.route.pays(1234, "E1")
		r.pass(time.Minute)
		r.route.on(func(ctx context.Context, _ providers.Ref) (providers.Charge, error) {
			<-ctx.Done()
			return providers.Charge{}, &providers.Error{Provider: "fake", Op: "status", Kind: providers.Ambiguous, Err: ctx.Err()}
		})
		done := make(chan error, 1)
		go func() {
			_, err := r.term.Reconcile(context.Background(), "fake", reconcile.Window{From: time.Now().Add(-time.Hour), To: time.Now()})
			done <- err
		}()
		synctest.Wait()
		r.stop()
		if err := <-done; err == nil {
			t.Error("a comparison that was cut off has no error")
		}
		r.start()
	})
}

// A hint about a charge that ended long ago, such as a provider's webhook through
// the hub, asks about it at once; hints about nobody ask nobody.
func TestReconcileHint(t *testing.T) {
	comparing(t, func(r *rig, l *lister) {
		r.route.answer(providers.StatusExpired)
		id := r.begin()
		r.pass(5*time.Hour + 5*time.Minute)
		r.route.pays(1234, "E1")
		asked := r.route.questions()
		for range 100 {
			r.term.Hint("T001XXXXXXXXXXXXXXXXXXXXX")
			synctest.Wait()
		}
		r.pass(time.Minute)
		if n := r.route.questions() - asked; n != 0 {
			t.Errorf("hints about nobody: %d questions", n)
		}
		r.term.Hint(id)
		r.pass(time.Second)
		if c := r.fold(id); c.State != charge.Paid || !c.Late {
			t.Errorf("the charge is %+v", c)
		}
		if list := r.tickets(); len(list) != 1 || list[0].Kind != "late" {
			t.Errorf("tickets %+v", list)
		}
		asked = r.route.questions()
		for range 100 {
			r.term.Hint(id)
			synctest.Wait()
		}
		if n := r.route.questions() - asked; n > 1 {
			t.Errorf("%d questions by a hundred hints at once", n)
		}
	})
}

// A hint about a charge that went by several routes asks each provider about its own
// attempts, and money that is late is a ticket soon, whichever route it came by.
func TestReconcileFailOver(t *testing.T) {
	for _, hinted := range []bool{true, false} {
		routes(t, func(r *rig, first *second) {
			edit := r.edit
			r.stop()
			r.edit = func(c *terminal.Config) {
				edit(c)
				c.Reconcile = terminal.Reconcile{Days: 7, Owner: "finance", Deadline: 72 * time.Hour}
			}
			r.start()
			first.create = func(_ context.Context, in providers.Intent) (providers.Charge, error) {
				return providers.Charge{ProviderID: "orphan-" + in.ID}, &providers.Error{Kind: providers.Ambiguous}
			}
			r.route.answer(providers.StatusExpired)
			id := r.begin()
			r.pass(4 * time.Minute) // the first comparison was made
			if hinted {
				r.pass(5 * time.Hour)
			}
			c := r.fold(id)
			var mu sync.Mutex
			asked := map[string]int{}
			answer := func(name string, at *route, paid bool) {
				at.on(func(_ context.Context, ref providers.Ref) (providers.Charge, error) {
					mu.Lock()
					defer mu.Unlock()
					asked[name]++
					if by, _ := c.At(ref.Attempt); by != name {
						t.Errorf("%s was asked about attempt %d, which is at %s", name, ref.Attempt, by)
					}
					a := providers.Charge{ProviderID: ref.ProviderID, Status: providers.StatusExpired, Word: "X", Digest: "d"}
					if paid {
						a.Status, a.EndToEnd = providers.StatusPaid, "E1"
					}
					return a, nil
				})
			}
			answer("first", first.route, false)
			answer("fake", r.route, true)
			if hinted {
				r.term.Hint(id)
			}
			r.pass(2 * time.Minute)
			if list := r.tickets(); asked["fake"] == 0 || hinted && asked["first"] == 0 || len(list) != 1 || list[0].Kind != "late" || list[0].Provider != "fake" {
				t.Errorf("hinted %v: asked %v, tickets %+v", hinted, asked, list)
			}
		})
	}
}

// many lists payments of nobody.
func (l *lister) many(n int) {
	amount := money.Amount(500)
	l.set(func(l *lister) {
		for i := range n {
			e2e := fmt.Sprintf("E%d", i)
			l.rows = append(l.rows, providers.Transaction{ID: e2e, Status: providers.StatusPaid, Currency: "BRL", Cents: &amount, EndToEnd: e2e, At: time.Now()})
		}
	})
}

// There are at most so many open tickets; one that is closed makes room.
func TestReconcileManyTickets(t *testing.T) {
	comparingIn(t, 8<<20, func(r *rig, l *lister) {
		l.many(ticket.MaxOpen + 5)
		r.pass(90 * time.Minute)
		list := r.tickets()
		if len(list) != ticket.MaxOpen {
			t.Fatalf("%d tickets, want %d", len(list), ticket.MaxOpen)
		}
		if _, err := r.term.CloseTicket(r.Context(), list[0].ID, "ana", ticket.Foreign); err != nil {
			t.Fatal(err)
		}
		r.pass(time.Hour)
		if n := len(r.tickets()); n != ticket.MaxOpen+1 {
			t.Errorf("%d tickets after one was closed", n)
		}
	})
}

// Tickets leave a store that fills up its reserve, and the terminal goes on.
func TestReconcileFullStore(t *testing.T) {
	comparing(t, func(r *rig, l *lister) {
		l.many(ticket.MaxOpen)
		r.pass(3 * time.Hour)
		n := len(r.tickets())
		if full := r.store.Stats().Full; n == 0 || n == ticket.MaxOpen || !full {
			t.Errorf("%d tickets, full: %v", n, full)
		}
		if report, _ := r.compare(); len(report.Lines) != ticket.MaxOpen || !strings.Contains(report.Problem, "full") {
			t.Errorf("%d lines, problem %q", len(report.Lines), report.Problem)
		}
	})
}
