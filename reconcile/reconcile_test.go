package reconcile_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/ssg-safe/agent/charge"
	"github.com/ssg-safe/agent/ledger"
	"github.com/ssg-safe/agent/money"
	"github.com/ssg-safe/agent/providers"
	"github.com/ssg-safe/agent/reconcile"
)

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func window() reconcile.Window {
	return reconcile.Window{From: start, To: start.Add(24 * time.Hour)}
}

// id is the nth charge's of a terminal.
func id(code string, n int) charge.ID { return charge.ID(fmt.Sprintf("%s%021d", code, n)) }

// made is a charge whose first attempts were orphaned and whose last was accepted.
func made(t *testing.T, n, attempts int, facts ...charge.Fact) reconcile.Charge {
	t.Helper()
	all := []charge.Fact{charge.CreatedFact{Charge: id("T001", n), Merchant: "loja", Route: "banco", Account: "acc", Amount: 1000, Expiry: 300, Source: "api"}}
	for a := 1; a <= attempts; a++ {
		if a > 1 {
			all = append(all, charge.AttemptFact{Charge: id("T001", n), N: a, State: charge.Sending})
		}
		state := charge.Orphaned
		if a == attempts {
			state = charge.Accepted
		}
		all = append(all, charge.AttemptFact{Charge: id("T001", n), N: a, State: state, ProviderID: theirs(n, a)})
	}
	c, err := charge.Fold(append(all, facts...))
	if err != nil {
		t.Fatal(err)
	}
	return reconcile.Charge{Charge: c, Made: start.Add(time.Duration(n) * time.Minute)}
}

// theirs is the provider's id of an attempt.
func theirs(n, attempt int) string { return fmt.Sprintf("tx-%d-%d", n, attempt) }

func evidence(n, attempt int, e2e string, amount money.Amount) charge.Evidence {
	return charge.Evidence{
		Source: charge.FromProvider, Route: "banco", Account: "acc", Attempt: attempt, ProviderID: theirs(n, attempt),
		Amount: &amount, EndToEnd: e2e, Digest: "d",
	}
}

func paid(n, attempt int, e2e string, late bool) charge.Fact {
	return charge.PaidFact{Charge: id("T001", n), Attempt: attempt, Amount: 1000, Evidence: evidence(n, attempt, e2e, 1000), Late: late}
}

func refundOf(e2e string, amount money.Amount, against ledger.Account) charge.Fact {
	return charge.RefundedFact{Charge: id("T001", 1), ID: "R1", Amount: amount, EndToEnd: e2e, Against: against, Evidence: evidence(1, 1, e2e, amount)}
}

func refunded(amount money.Amount, against ledger.Account) charge.Fact {
	return refundOf("E1", amount, against)
}

func returns(r reconcile.Row, amount money.Amount) reconcile.Row {
	r.Returned = &amount
	return r
}

func ended(n int) charge.Fact {
	return charge.EndedFact{Charge: id("T001", n), State: charge.Expired, Reason: "deadline"}
}

func row(n, attempt int, e2e string, amount money.Amount, s providers.Status) reconcile.Row {
	return reconcile.Row{ID: theirs(n, attempt), Own: string(id("T001", n)), EndToEnd: e2e, Status: s, Word: string(s), Amount: &amount, At: start.Add(time.Hour)}
}

func books(charges []reconcile.Charge, rows ...reconcile.Row) reconcile.Books {
	return reconcile.Books{
		Provider: "banco", Merchant: "loja", Terminal: "T001", Window: window(), Listed: true, Charges: charges, Rows: rows, Asked: map[reconcile.Key]string{},
	}
}

func classes(r reconcile.Report) string {
	var all []string
	for _, l := range r.Lines {
		all = append(all, string(l.Class))
	}
	return strings.Join(all, " ")
}

// TestClasses has a case for each thing that can be between the two sides.
func TestClasses(t *testing.T) {
	key := func(n, attempt int) reconcile.Key { return reconcile.Key{Charge: id("T001", n), Attempt: attempt} }
	asked := func(b reconcile.Books, why string) reconcile.Books {
		b.Asked[key(1, 1)] = why
		return b
	}
	unlisted := func(b reconcile.Books) reconcile.Books {
		b.Listed = false
		return b
	}
	shared := func(b reconcile.Books) reconcile.Books {
		b.Shared = true
		return b
	}
	extra := charge.ExtraPaymentFact{Charge: id("T001", 1), Attempt: 1, Amount: 1000, Evidence: evidence(1, 1, "E2", 1000)}
	odd := charge.MismatchFact{Charge: id("T001", 1), Attempt: 1, Amount: 900, Evidence: evidence(1, 1, "E1", 900), Why: "x"}
	one := func(facts ...charge.Fact) []reconcile.Charge { return []reconcile.Charge{made(t, 1, 1, facts...)} }
	const yes, no, back = providers.StatusPaid, providers.StatusPending, providers.StatusRefunded
	stray := reconcile.Row{ID: "x", EndToEnd: "E9", Status: yes, Amount: new(money.Amount), At: start.Add(time.Hour)}
	ours, foreign := stray, stray
	ours.Own, foreign.Own = string(id("T001", 9)), string(id("T002", 9))+"1"
	before := stray
	before.At = start.Add(-time.Minute)
	for _, tt := range []struct {
		name  string
		books reconcile.Books
		want  string
		asks  int
	}{
		{"paid on both sides", books(one(paid(1, 1, "E1", false)), row(1, 1, "E1", 1000, yes)), "matched", 0},
		{"paid on both sides, one without an end-to-end id", books(one(paid(1, 1, "", false)), row(1, 1, "E1", 1000, yes)), "matched", 0},
		{"open on both sides", books(one(), row(1, 1, "", 1000, no)), "open", 0},
		{"open here, expired there", books(one(), row(1, 1, "", 1000, providers.StatusExpired)), "open", 1},
		{"unpaid on both sides", books(one(ended(1)), row(1, 1, "", 1000, providers.StatusExpired)), "unpaid", 0},
		{"unpaid here, nothing there", books(one(ended(1))), "unpaid", 0},
		{"late", books(one(ended(1), paid(1, 1, "E1", true)), row(1, 1, "E1", 1000, yes)), "late", 0},
		{"twice", books(one(paid(1, 1, "E1", false), extra), row(1, 1, "E1", 1000, yes), row(1, 1, "E2", 1000, yes)), "matched double", 0},
		{"twice at the provider only", books(one(paid(1, 1, "E1", false)), row(1, 1, "E1", 1000, yes), row(1, 1, "E2", 1000, yes)), "matched double", 1},
		{"orphan", books([]reconcile.Charge{made(t, 1, 2, paid(1, 1, "E1", false))}, row(1, 1, "E1", 1000, yes)), "orphan", 0},
		{"the shown one of two", books([]reconcile.Charge{made(t, 1, 2, paid(1, 2, "E1", false))}, row(1, 2, "E1", 1000, yes)), "matched", 0},
		{"another amount", books(one(odd), row(1, 1, "E1", 900, yes)), "amount_mismatch", 0},
		{"another amount, not recorded", books(one(), row(1, 1, "E1", 900, yes)), "amount_mismatch", 1},
		{"two amounts", books(one(paid(1, 1, "E1", false)), row(1, 1, "E1", 1100, yes)), "amount_mismatch", 0},
		{"paid there, open here", books(one(), row(1, 1, "E1", 1000, yes)), "status_conflict", 1},
		{"paid there, ended here", books(one(ended(1)), row(1, 1, "E1", 1000, yes)), "status_conflict", 1},
		{"given back there", books(one(paid(1, 1, "E1", false)), row(1, 1, "E1", 1000, back)), "refund_mismatch", 1},
		{"given back on both sides", books(one(paid(1, 1, "E1", false), refunded(1000, "")), row(1, 1, "E1", 1000, back)), "refunded", 0},
		{"given back here, the provider does not say", books(one(paid(1, 1, "E1", false), refunded(400, "")), row(1, 1, "E1", 1000, yes)), "refunded", 0},
		{"given back in part on both sides", books(one(paid(1, 1, "E1", false), refunded(400, "")), returns(row(1, 1, "E1", 1000, yes), 400)), "refunded", 0},
		{"more given back there", books(one(paid(1, 1, "E1", false), refunded(400, "")), returns(row(1, 1, "E1", 1000, yes), 500)), "refund_mismatch", 1},
		{"less given back there", books(one(paid(1, 1, "E1", false), refunded(400, "")), returns(row(1, 1, "E1", 1000, yes), 0)), "refund_mismatch", 1},
		{"late, and given back", books(one(ended(1), paid(1, 1, "E1", true), refunded(1000, ledger.CustomerCredit)), row(1, 1, "E1", 1000, back)), "refunded", 0},
		{"late, and given back in part", books(one(ended(1), paid(1, 1, "E1", true), refunded(400, ledger.CustomerCredit)), returns(row(1, 1, "E1", 1000, yes), 400)), "late", 0},
		{"another amount, and given back", books(one(odd, refundOf("E1", 900, ledger.Suspense)), row(1, 1, "E1", 900, back)), "refunded", 0},
		{"twice, and the second given back", books(one(paid(1, 1, "E1", false), extra, refundOf("E2", 1000, ledger.CustomerCredit)), row(1, 1, "E1", 1000, yes), row(1, 1, "E2", 1000, back)), "matched refunded", 0},
		{"given back here, asked, not known there", asked(books(one(paid(1, 1, "E1", false), refunded(400, ""))), ""), "missing_at_provider", 0},
		{"paid here, not listed", books(one(paid(1, 1, "E1", false))), "not_comparable", 1},
		{"paid here, asked, not known", asked(books(one(paid(1, 1, "E1", false))), ""), "missing_at_provider", 0},
		{"paid here, asked, pending there", asked(books(one(paid(1, 1, "E1", false)), row(1, 1, "", 1000, no)), ""), "status_conflict", 0},
		{"paid here, no answer", asked(books(one(paid(1, 1, "E1", false))), "the provider gave no answer"), "not_comparable", 0},
		{"a word nobody knows", books(one(), row(1, 1, "", 1000, providers.StatusUncertain)), "status_conflict", 1},
		{"of no charge", books(nil, stray), "unknown_at_ledger", 0},
		{"of no charge, before the window", books(nil, before), "", 0},
		{"of no charge, in an account of many", shared(books(nil, stray)), "elsewhere", 0},
		{"our id without a charge", shared(books(nil, ours)), "unknown_at_ledger", 0},
		{"another terminal's", books(nil, foreign), "elsewhere", 0},
		{"without a list, not asked yet", unlisted(books(one())), "not_comparable", 1},
		{"without a list, ended, not asked yet", unlisted(books(one(ended(1)))), "not_comparable", 1},
		{"without a list, asked", asked(unlisted(books(one(ended(1)))), ""), "unpaid", 0},
		{"without a list, asked in vain", asked(unlisted(books(one(ended(1)))), "why"), "not_comparable", 0},
		{"the list shows a row twice", books(one(paid(1, 1, "E1", false)), row(1, 1, "E1", 1000, yes), row(1, 1, "E1", 1000, yes)), "matched", 0},
		{"the answer repeats the list", asked(books(one(paid(1, 1, "E1", false)), row(1, 1, "E1", 1000, yes),
			reconcile.FromAnswer(key(1, 1), providers.Charge{ProviderID: "other", Status: yes, Word: "x"})), ""), "matched", 0},
		{"the list says paid, the answer not yet", asked(books(one(), row(1, 1, "E1", 1000, yes),
			reconcile.FromAnswer(key(1, 1), providers.Charge{ProviderID: theirs(1, 1), Status: no, Word: "x"})), ""), "status_conflict", 0},
		{"another attempt, without an end-to-end id here", books([]reconcile.Charge{made(t, 1, 2, paid(1, 2, "", false))}, row(1, 1, "E1", 1000, yes)), "not_comparable double", 2},
		{"the list has no amount and no end-to-end id, the answer the amount", asked(books(one(paid(1, 1, "", false)),
			reconcile.Row{ID: "ref", Own: theirs(1, 1), Status: yes, At: start.Add(time.Hour)},
			reconcile.FromAnswer(key(1, 1), providers.Charge{ProviderID: theirs(1, 1), Status: yes, Amount: new(money.Amount(1000))})), ""), "matched", 0},
		{"same amount, same time, another charge", books([]reconcile.Charge{made(t, 1, 1, paid(1, 1, "E1", false)), made(t, 2, 1)}, row(1, 1, "E1", 1000, yes)), "matched open", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := reconcile.Compare(tt.books)
			if got := classes(r); got != tt.want || len(r.Questions) != tt.asks {
				t.Errorf("lines %q, %d questions; want %q and %d: %+v", got, len(r.Questions), tt.want, tt.asks, r.Lines)
			}
			for _, l := range r.Lines {
				if l.Class.Difference() != (l.Subject != "") {
					t.Errorf("%s has the subject %q", l.Class, l.Subject)
				}
			}
		})
	}
}

// What comes at no time that the provider tells is no difference of a window: a list
// may be of all times.
func TestUntimed(t *testing.T) {
	r := row(1, 1, "E1", 1000, providers.StatusPaid)
	stray := reconcile.Row{ID: "x", Status: providers.StatusPaid}
	r.At = time.Time{}
	got := reconcile.Compare(books([]reconcile.Charge{made(t, 1, 1, paid(1, 1, "E1", false))}, r, stray))
	if classes(got) != "matched" || got.Untimed != 1 {
		t.Errorf("lines %q, %d untimed", classes(got), got.Untimed)
	}
}

func TestParseOwn(t *testing.T) {
	own := string(id("T001", 1))
	for s, want := range map[string]int{own: 0, own + "1": 1, own + "12": 12, own + "0": -1, own + "01": -1, own + "x": -1, own + "123": -1, own + "-1": -1, own[1:]: -1, strings.ToLower(own): -1, "": -1} {
		k, ok := reconcile.ParseOwn(s)
		if ok != (want >= 0) || ok && (k.Attempt != want || string(k.Charge) != own) {
			t.Errorf("%q: %+v, %v", s, k, ok)
		}
	}
}

// FuzzRow: whatever ids a provider sends, a payment ends on one line, and what is
// kept of it is a token.
func FuzzRow(f *testing.F) {
	own := string(id("T001", 1))
	for _, s := range [][3]string{{own, "tx-1-1", "E1"}, {own + "1", "", ""}, {"", "", ""}, {"52998224725", "52998224725", "52998224725"}, {"\xff", "=cmd", strings.Repeat("E", 300)}, {string(id("T002", 1)), "x", "E1"}} {
		f.Add(s[0], s[1], s[2], int64(1000))
	}
	f.Fuzz(func(t *testing.T, own, theirs, e2e string, amount int64) {
		cents := money.Amount(amount)
		r := reconcile.Compare(books([]reconcile.Charge{made(t, 1, 1)}, reconcile.Row{
			ID: theirs, Own: own, EndToEnd: e2e, Status: providers.StatusPaid, Amount: &cents, At: start.Add(time.Hour),
		}))
		n := 0
		for _, l := range r.Lines {
			if l.Received != nil {
				n++
			}
			if len(l.Subject) > 110 || strings.Contains(l.Subject, "52998224725") {
				t.Errorf("subject %q", l.Subject)
			}
		}
		if n != 1 {
			t.Errorf("the payment is on %d lines: %+v", n, r.Lines)
		}
	})
}

// world is a provider's ledger and ours, made by the same payments.
type world struct {
	charges []reconcile.Charge
	rows    []reconcile.Row
	foreign map[string]bool // end-to-end ids of other terminals'
}

func draw(t *rapid.T) world {
	w := world{foreign: map[string]bool{}}
	pay := 0
	for n := range rapid.IntRange(0, 6).Draw(t, "charges") {
		attempts := rapid.IntRange(1, 3).Draw(t, "attempts")
		all := made(&testing.T{}, n, attempts)
		if rapid.Bool().Draw(t, "ended") {
			all.Charge = apply(t, all.Charge, ended(n))
		}
		for range rapid.IntRange(0, 3).Draw(t, "payments") {
			pay++
			e2e := fmt.Sprintf("E%d", pay)
			a := rapid.IntRange(1, attempts).Draw(t, "attempt")
			amount := rapid.SampledFrom([]money.Amount{1000, 1000, 1000, 900}).Draw(t, "amount")
			w.rows = append(w.rows, row(n, a, e2e, amount, providers.StatusPaid))
			if rapid.IntRange(0, 3).Draw(t, "learnt") > 0 {
				if f := all.Credit(evidence(n, a, e2e, amount)); f != nil {
					all.Charge = apply(t, all.Charge, f)
				}
			}
		}
		w.charges = append(w.charges, all)
	}
	for range rapid.IntRange(0, 3).Draw(t, "strays") {
		pay++
		amount := money.Amount(pay)
		r := reconcile.Row{ID: fmt.Sprintf("s%d", pay), EndToEnd: fmt.Sprintf("E%d", pay), Status: providers.StatusPaid, Amount: &amount, At: start.Add(time.Hour)}
		if rapid.Bool().Draw(t, "foreign") {
			r.Own = string(id("T002", pay))
			w.foreign[r.EndToEnd] = true
		}
		w.rows = append(w.rows, r)
	}
	// A list that drifts shows rows again.
	for range rapid.IntRange(0, 3).Draw(t, "again") {
		if len(w.rows) > 0 {
			w.rows = append(w.rows, rapid.SampledFrom(w.rows).Draw(t, "row"))
		}
	}
	return w
}

func apply(t *rapid.T, c charge.Charge, f charge.Fact) charge.Charge {
	next, err := c.Apply(f)
	if err != nil {
		t.Fatal(err)
	}
	return next
}

// whole reports what a comparison got wrong of a world: every payment of the
// provider on exactly one line, every payment of the ledger too, and both sums to
// the centavo.
func whole(w world, r reconcile.Report) string {
	lines := map[string]int{}
	var ledger, received money.Amount
	for _, l := range r.Lines {
		if l.EndToEnd != "" {
			lines[l.EndToEnd]++
		}
	}
	once := map[string]money.Amount{}
	for _, row := range w.rows {
		once[row.EndToEnd] = *row.Amount
	}
	for e2e, amount := range once {
		if lines[e2e] != 1 {
			return fmt.Sprintf("payment %s is on %d lines", e2e, lines[e2e])
		}
		if !w.foreign[e2e] {
			received += amount
		}
	}
	for _, c := range w.charges {
		for _, p := range c.Payments {
			ledger += p.Amount
		}
	}
	sums, err := r.Sum()
	if err != nil {
		return err.Error()
	}
	var total reconcile.Total
	for _, s := range sums {
		total.Ledger += s.Total.Ledger
		total.Received += s.Total.Received
	}
	if total.Ledger != ledger || total.Received != received {
		return fmt.Sprintf("sums %d and %d, want %d and %d", total.Ledger, total.Received, ledger, received)
	}
	return ""
}

// TestWhole: see whole. Whatever order the rows come in, the lines are the same.
func TestWhole(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := draw(t)
		r := reconcile.Compare(books(w.charges, w.rows...))
		if wrong := whole(w, r); wrong != "" {
			t.Fatalf("%s\n%s", wrong, cmp.Diff([]reconcile.Line{}, r.Lines))
		}
		other := reconcile.Compare(books(w.charges, rapid.Permutation(w.rows).Draw(t, "order")...))
		sorted := func(r reconcile.Report) []reconcile.Line {
			lines := slices.Clone(r.Lines)
			slices.SortFunc(lines, func(a, b reconcile.Line) int {
				return strings.Compare(a.EndToEnd+string(a.Charge), b.EndToEnd+string(b.Charge))
			})
			return lines
		}
		if diff := cmp.Diff(sorted(r), sorted(other)); diff != "" {
			t.Fatalf("another order of the rows, other lines:\n%s", diff)
		}
	})
}

// TestWholeCatches: comparisons that are wrong do not pass for whole.
func TestWholeCatches(t *testing.T) {
	for name, spoil := range map[string]func(*reconcile.Report){
		"a line is lost":      func(r *reconcile.Report) { r.Lines = r.Lines[1:] },
		"a line is doubled":   func(r *reconcile.Report) { r.Lines = append(r.Lines, r.Lines[0]) },
		"a centavo is lost":   func(r *reconcile.Report) { *r.Lines[0].Received -= 1 },
		"a side is forgotten": func(r *reconcile.Report) { r.Lines[0].Ledger = nil },
	} {
		w := world{charges: []reconcile.Charge{made(t, 1, 1, paid(1, 1, "E1", false))}}
		w.rows = []reconcile.Row{row(1, 1, "E1", 1000, providers.StatusPaid)}
		r := reconcile.Compare(books(w.charges, w.rows...))
		if wrong := whole(w, r); wrong != "" {
			t.Fatal(wrong)
		}
		amount := *r.Lines[0].Received
		r.Lines[0].Received = &amount
		spoil(&r)
		if whole(w, r) == "" {
			t.Errorf("%s, and nobody noticed", name)
		}
	}
}

// TestRefundsThatDifferAgain: a ticket that was closed does not hide what differs later in
// the refunds of the same payment; the same difference is one, as ever.
func TestRefundsThatDifferAgain(t *testing.T) {
	of := func(there money.Amount) string {
		report := reconcile.Compare(books([]reconcile.Charge{made(t, 1, 1, paid(1, 1, "E1", false), refunded(400, ""))}, returns(row(1, 1, "E1", 1000, providers.StatusPaid), there)))
		if len(report.Lines) != 1 || report.Lines[0].Class != reconcile.RefundMismatch {
			t.Fatalf("%+v", report.Lines)
		}
		return report.Lines[0].Subject
	}
	first, again := of(500), of(500)
	if first != again || first == of(700) || first == of(300) || of(0) == of(300) {
		t.Errorf("subjects %s, %s, %s, %s, %s", first, again, of(700), of(300), of(0))
	}
}
