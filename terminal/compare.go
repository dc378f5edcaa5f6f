package terminal

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.etcd.io/bbolt"

	"github.com/ssg-safe/agent/charge"
	"github.com/ssg-safe/agent/ledger"
	"github.com/ssg-safe/agent/providers"
	"github.com/ssg-safe/agent/reconcile"
	"github.com/ssg-safe/agent/ticket"
)

// Both sides of a comparison, for the loop (reconcile.go) and for a command
// without an agent.

const (
	// maxRows bounds what a provider may list of one window. More is an error: what
	// is not read cannot be compared.
	maxRows = 20000
	// listSlack is how far beyond the window its list is read: clocks differ.
	listSlack = 15 * time.Minute
	// maxRounds is how often a comparison may lead to further questions.
	maxRounds = 3
)

// whyStatementOnly is why no provider is asked about a code made here.
const whyStatementOnly = "only the bank's statement tells of payments of a code made here"

// viewer reads the store: store.View.
type viewer func(func(*bbolt.Tx) error) error

// BooksOf is what a comparison needs to know besides the two sides.
func BooksOf(code string, merchants []charge.Merchant, provider string, route Route, shared bool) reconcile.Books {
	b := reconcile.Books{Provider: provider, Terminal: code, Shared: shared, LookUp: route.Caps().LookUp, Asked: map[reconcile.Key]string{}}
	_, b.Listed = route.(providers.Lister)
	n := 0
	for _, m := range merchants {
		if m.Uses(provider) {
			b.Merchant = m.ID
			n++
		}
	}
	if n != 1 {
		b.Merchant = ""
	}
	return b
}

// gather reads both sides of the books' window, which begins no earlier than what the
// ledger still has: payments whose entries were pruned would be unknown to it.
func gather(ctx context.Context, view viewer, route Route, b reconcile.Books) (reconcile.Books, error) {
	err := view(func(tx *bbolt.Tx) (err error) {
		begin, err := since(tx)
		if err != nil {
			return err
		}
		if begin.After(b.Window.To) {
			begin = b.Window.To
		}
		if b.Window.From.Before(begin) {
			b.Window.From = begin
		}
		b.Charges, err = touched(tx, b.Provider, b.Window)
		return err
	})
	if err != nil {
		return b, err
	}
	lister, ok := route.(providers.Lister)
	if !ok {
		return b, nil
	}
	q := providers.TransactionQuery{From: b.Window.From.Add(-listSlack), To: b.Window.To.Add(listSlack), Received: true}
	for t, err := range lister.Transactions(ctx, q) {
		switch {
		case err != nil:
			return b, err
		case t.Currency != "" && t.Currency != "BRL":
			continue
		case len(b.Rows) == maxRows:
			return b, fmt.Errorf("the provider lists more than %d transactions: compare a shorter time", maxRows)
		}
		b.Rows = append(b.Rows, reconcile.FromTransaction(t))
	}
	// Charges of another time whose money came in the window.
	known := map[charge.ID]bool{}
	for _, c := range b.Charges {
		known[c.ID] = true
	}
	var named []charge.ID
	for _, row := range b.Rows {
		own, ok := reconcile.ParseOwn(row.Own)
		if !ok || known[own.Charge] || !strings.HasPrefix(string(own.Charge), b.Terminal) || !b.Window.Holds(row.At) {
			continue
		}
		known[own.Charge] = true
		named = append(named, own.Charge)
	}
	err = view(func(tx *bbolt.Tx) error {
		more, err := chargesOf(tx, named, b.Provider)
		b.Charges = append(b.Charges, more...)
		return err
	})
	return b, err
}

// pruneSlack is how long after the oldest entry that is left, unless that begins a
// charge, a charge may be paid whose beginning was pruned.
const pruneSlack = 2 * time.Hour

// since is when the ledger begins to have everything; zero: nothing was pruned.
func since(tx *bbolt.Tx) (time.Time, error) {
	anchor, err := ledger.GetAnchor(tx)
	if err != nil || anchor.Seq == 0 {
		return time.Time{}, err
	}
	slack := pruneSlack
	for pos, raw := range ledger.Entries(tx, ledger.Position{}) {
		e, err := ledger.Decode(raw)
		if err != nil {
			return time.Time{}, fmt.Errorf("entry %v: %w", pos, err)
		}
		if e.Kind == (charge.CreatedFact{}).Kind() {
			slack = 0
		}
		if e.At.Quality == ledger.Synced || e.At.Quality == ledger.Anchored {
			return e.At.Wall.Add(slack), nil
		}
	}
	return time.Time{}, nil
}

// touched are a provider's charges about which the ledger recorded something in a
// window, oldest first; "": all charges, as they are.
func touched(tx *bbolt.Tx, provider string, w reconcile.Window) ([]reconcile.Charge, error) {
	var ids []charge.ID
	seen := map[charge.ID]bool{}
	for pos, raw := range ledger.Backward(tx, ledger.Position{}) {
		e, err := ledger.Decode(raw)
		if err != nil {
			return nil, fmt.Errorf("entry %v: %w", pos, err)
		}
		sure := e.At.Quality == ledger.Synced || e.At.Quality == ledger.Anchored
		if sure && e.At.Wall.Before(w.From) {
			break
		}
		if !w.Holds(e.At.Wall) || !strings.HasPrefix(e.Kind, chargeKinds) {
			continue
		}
		if id := charge.SubjectOf(raw); id != "" && !seen[id] {
			seen[id] = true
			ids = append(ids, id)
		}
	}
	all, err := chargesOf(tx, ids, provider)
	slices.SortStableFunc(all, func(a, b reconcile.Charge) int {
		return cmp.Or(a.Made.Compare(b.Made), cmp.Compare(a.ID, b.ID))
	})
	return slices.DeleteFunc(all, func(c reconcile.Charge) bool { return len(c.Attempts) == 0 }), err
}

// chargeKinds is how the kinds of facts about charges begin.
const chargeKinds = "charge."

// chargesOf reads those of the charges that there are, as a provider knows them;
// "": as they are.
func chargesOf(tx *bbolt.Tx, ids []charge.ID, provider string) ([]reconcile.Charge, error) {
	records, err := readRecords(tx, ids)
	if err != nil {
		return nil, err
	}
	var all []reconcile.Charge
	for _, r := range records {
		if r.Charge.ID == "" {
			continue // its beginning was pruned, and it is closed
		}
		if provider != "" {
			r.Charge = r.Charge.By(provider)
		}
		all = append(all, reconcile.Charge{Charge: r.Charge, Made: r.Created, Token: r.token})
	}
	return all, nil
}

// reload reads the charges of the books anew.
func reload(view viewer, b *reconcile.Books) error {
	var ids []charge.ID
	for _, c := range b.Charges {
		ids = append(ids, c.ID)
	}
	return view(func(tx *bbolt.Tx) error {
		all, err := chargesOf(tx, ids, b.Provider)
		if err != nil {
			return err
		}
		for i, c := range b.Charges {
			if j := slices.IndexFunc(all, func(n reconcile.Charge) bool { return n.ID == c.ID }); j >= 0 {
				b.Charges[i] = all[j]
			}
		}
		return nil
	})
}

// testimony is the answer to a question about one attempt.
type testimony struct {
	key      reconcile.Key
	charge   *providers.Charge   // the provider's status answer
	payments []providers.Payment // or the payments that it lists for the attempt
	err      error               // or why there is neither
	why      string              // why nobody was asked
}

// question asks a provider about an attempt: for the payments of a code made here,
// and for further ones where one is recorded already, else for its status. ctx
// bounds it.
func question(ctx context.Context, route Route, c reconcile.Charge, k reconcile.Key, now time.Time) testimony {
	got := testimony{key: k}
	i := slices.IndexFunc(c.Attempts, func(a charge.Attempt) bool { return a.N == k.Attempt })
	a := c.Attempts[i] // reconcile asks about attempts that there are
	finder, finds := route.(providers.StaticFinder)
	paid := slices.ContainsFunc(c.Payments, func(p charge.Payment) bool { return p.Evidence.Attempt == k.Attempt })
	switch {
	case a.Static && !finds:
		got.why = whyStatementOnly
	case finds && a.ProviderID != "" && (a.Static || paid):
		ctx, cancel := context.WithTimeout(ctx, searchLimit)
		defer cancel()
		from := c.Made.Add(-clockSlack)
		if earliest := now.Add(-searchSpan); from.Before(earliest) {
			from = earliest
		}
		got.payments, got.err = finder.FindStatic(ctx, a.ProviderID, from, now)
	default:
		ctx, cancel := context.WithTimeout(ctx, route.Caps().ReadTimeout)
		defer cancel()
		ref := providers.Ref{Charge: string(k.Charge), Attempt: k.Attempt, ProviderID: a.ProviderID}
		if shown, ok := c.Accepted(); ok && shown.N == a.N {
			ref.Token = c.Token
		}
		ans, err := route.GetCharge(ctx, ref)
		if got.err = err; err == nil {
			got.charge = &ans
		}
	}
	if e, ok := errors.AsType[*providers.Error](got.err); ok && e.Kind == providers.NotFound {
		got.err = nil // the provider knows nothing of it
	}
	return got
}

// put adds a testimony to the books.
func (got testimony) put(b *reconcile.Books) {
	b.Asked[got.key] = got.why
	switch {
	case got.err != nil:
		b.Asked[got.key] = whyFailed(got.err)
	case got.charge != nil:
		b.Rows = append(b.Rows, reconcile.FromAnswer(got.key, *got.charge))
	}
	for _, p := range got.payments {
		b.Rows = append(b.Rows, reconcile.FromPayment(got.key, p))
	}
}

// whyFailed says in a stable word why there is no answer.
func whyFailed(err error) string {
	if e, ok := errors.AsType[*providers.Error](err); ok {
		return "the provider gave no answer: " + e.Kind.String()
	}
	return "the provider gave no answer"
}

// hopeless reports whether further questions to the provider are in vain now.
func hopeless(err error) bool {
	e, ok := errors.AsType[*providers.Error](err)
	return unreachable(err) || ok && (e.Kind == providers.Rate || e.Kind == providers.Unavailable || e.Kind == providers.Auth || e.Kind == providers.Operator)
}

// Compared compares the ledger with one provider and records nothing: what a
// command does where no agent runs. An error means that nothing was compared; a
// report whose Problem is set is not whole.
func Compared(ctx context.Context, view viewer, route Route, b reconcile.Books, now time.Time) (reconcile.Report, error) {
	b, err := gather(ctx, view, route, b)
	if err != nil {
		return reconcile.Report{}, err
	}
	problem := ""
	report := reconcile.Compare(b)
	for round := 0; len(report.Questions) > 0 && round < maxRounds && problem == ""; round++ {
		for _, k := range report.Questions {
			i := slices.IndexFunc(b.Charges, func(c reconcile.Charge) bool { return c.ID == k.Charge })
			got := question(ctx, route, b.Charges[i], k, now)
			if ctx.Err() != nil {
				return reconcile.Report{}, ctx.Err()
			}
			got.put(&b)
			if hopeless(got.err) {
				problem = got.err.Error()
				break
			}
		}
		report = reconcile.Compare(b)
	}
	report.Problem = problem
	return report, view(func(tx *bbolt.Tx) error { return withTickets(tx, report.Lines) })
}

// whyRemoved is why the charges of a provider that is not configured any more are
// not compared.
const whyRemoved = "the provider is not configured any more"

// Removed reports the charges of a window whose providers are not configured any
// more: nobody can be asked about them.
func Removed(view func(func(*bbolt.Tx) error) error, configured map[string]Route, w reconcile.Window) (reports []reconcile.Report, err error) {
	err = view(func(tx *bbolt.Tx) error {
		charges, err := touched(tx, "", w)
		by := map[string]*reconcile.Books{}
		var order []string
		for _, c := range charges {
			for _, a := range c.Attempts {
				name, _ := c.At(a.N)
				if configured[name] != nil {
					continue
				}
				if by[name] == nil {
					by[name] = &reconcile.Books{Provider: name, Window: w, Asked: map[reconcile.Key]string{}}
					order = append(order, name)
				}
				b := by[name]
				if b.Asked[reconcile.Key{Charge: c.ID, Attempt: a.N}] = whyRemoved; len(b.Charges) == 0 || b.Charges[len(b.Charges)-1].ID != c.ID {
					b.Charges = append(b.Charges, reconcile.Charge{Charge: c.By(name), Made: c.Made})
				}
			}
		}
		for _, name := range order {
			r := reconcile.Compare(*by[name])
			r.Problem = whyRemoved
			reports = append(reports, r)
		}
		return err
	})
	return reports, err
}

// withTickets puts the tickets of the differences into the lines.
func withTickets(tx *bbolt.Tx, lines []reconcile.Line) error {
	for i := range lines {
		if lines[i].Subject == "" {
			continue
		}
		t, ok, err := ticket.Find(tx, lines[i].Subject)
		if err != nil {
			return err
		}
		if ok {
			lines[i].Ticket, lines[i].TicketState = t.ID, t.State()
		}
	}
	return nil
}
