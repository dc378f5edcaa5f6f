// Package reconcile holds what the ledger says of charges against what their
// provider says. It is pure: it reads nothing, asks nobody and mends nothing.
//
// [Compare] takes the charges of a window of time, with the payments that the
// ledger has for them, and the provider's rows: what it lists, and what it
// answered when it was asked about one charge. Every payment that either side
// knows of ends on exactly one [Line]; a charge that nobody paid has one line of
// its own. A line's [Class] says whether both sides agree, and if not in what.
//
// # What belongs together
//
// A row and a payment are one by the end-to-end id. Where either side names
// none, by the attempt that both are of, unless their amounts contradict each
// other. A row is of an attempt by the provider's id that the ledger recorded
// for it, or by our own id, which the provider repeats. Amount and time alone
// never make a match.
//
// # Questions
//
// A list is a hint: its rows move while it is read, filters may be ignored, and
// it lags behind. Where a list contradicts the ledger the attempt is to be asked
// about by itself ([Report.Questions]); a provider without a list is asked about
// each. What is learnt by that is evidence for the charge's own rules (package
// charge), and only when it has been asked is a payment called missing.
//
// # Other terminals
//
// Terminals that share an account see each other's rows. Ids begin with the
// terminal's code, so those of others are told apart; they are counted and are
// nobody's business here.
package reconcile

import (
	"cmp"
	"slices"
	"strconv"
	"time"

	"github.com/ssg-safe/agent/charge"
	"github.com/ssg-safe/agent/money"
	"github.com/ssg-safe/agent/providers"
	"github.com/ssg-safe/agent/redact"
)

// Class says what a comparison came to.
type Class string

// The classes. Those of agreement come first.
const (
	// Matched: a payment that both sides have, in time and over the amount.
	Matched Class = "matched"
	// Refunded: a payment that both sides have, and that went back, whole or in part.
	Refunded Class = "refunded"
	// Open: the charge waits for its payer.
	Open Class = "open"
	// Unpaid: the charge ended without money.
	Unpaid Class = "unpaid"
	// Elsewhere: a payment of another terminal that shares the account, or of
	// whatever else does.
	Elsewhere Class = "elsewhere"
	// NotComparable: the provider cannot say anything about it; Why says why.
	NotComparable Class = "not_comparable"

	// Late: the money came after the charge had ended unpaid.
	Late Class = "late"
	// Double: another payment of a charge that was paid.
	Double Class = "double"
	// Orphan: the money came through an attempt whose code was never shown.
	Orphan Class = "orphan"
	// AmountMismatch: another amount, or another account, than the charge's, or two
	// amounts on the two sides.
	AmountMismatch Class = "amount_mismatch"
	// Missing: the ledger has a payment that the provider, asked for it, has not.
	Missing Class = "missing_at_provider"
	// Unknown: the provider has a payment that belongs to no charge of the ledger.
	Unknown Class = "unknown_at_ledger"
	// RefundMismatch: not as much went back on one side as on the other.
	RefundMismatch Class = "refund_mismatch"
	// Conflict: the sides say different things about the charge, such as paid here
	// and cancelled there.
	Conflict Class = "status_conflict"
)

// Classes lists them in the order in which they are told.
func Classes() []Class {
	return []Class{Matched, Refunded, Open, Unpaid, Elsewhere, NotComparable, Late, Double, Orphan, AmountMismatch, Missing, Unknown, RefundMismatch, Conflict}
}

// Difference reports whether a person has to look at lines of the class.
func (c Class) Difference() bool {
	switch c {
	case Matched, Refunded, Open, Unpaid, Elsewhere, NotComparable:
		return false
	}
	return true
}

// Window is a span of time, From ≤ t < To.
type Window struct {
	From time.Time `json:"from"`
	To   time.Time `json:"to"`
}

// Holds reports whether t lies in the window.
func (w Window) Holds(t time.Time) bool { return !t.Before(w.From) && t.Before(w.To) }

// Charge is a charge as the ledger has it.
type Charge struct {
	charge.Charge
	Made time.Time // by the wall clock of its first entry; zero: that was pruned
	// Token is what it takes to ask about its accepted attempt, where it takes
	// something that has not been erased.
	Token redact.Secret
}

// Row is what the provider says of a payment or a charge.
type Row struct {
	// Charge and Attempt are what was asked about; empty: the row is of a list.
	Charge  charge.ID
	Attempt int
	// ID is the provider's own id, Own ours as the provider repeats it; either may
	// be missing.
	ID, Own  string
	EndToEnd string
	Status   providers.Status
	Word     string        // the provider's
	Amount   *money.Amount // nil: not said
	Returned *money.Amount // what went back of it; nil: not said
	At       time.Time     // zero: not said

	answer bool // to a question about one attempt
}

// paid reports whether the row is about money that came.
func (r Row) paid() bool {
	return r.Status == providers.StatusPaid || r.Status == providers.StatusRefunded
}

// FromTransaction makes a row of a line of an account.
func FromTransaction(t providers.Transaction) Row {
	return Row{ID: t.ID, Own: t.ExternalID, EndToEnd: t.EndToEnd, Status: t.Status, Word: t.Word, Amount: t.Cents, Returned: returned(t.Status, t.Cents, t.Returned), At: t.At}
}

// FromAnswer makes a row of the answer to a question about an attempt.
func FromAnswer(k Key, a providers.Charge) Row {
	var back *money.Amount
	if len(a.Returns) > 0 {
		back = sum(a.Returns)
	}
	return Row{
		Charge: k.Charge, Attempt: k.Attempt, ID: a.ProviderID, EndToEnd: a.EndToEnd, Status: a.Status, Word: a.Word, Amount: a.Amount,
		Returned: returned(a.Status, a.Amount, back), answer: true,
	}
}

// returned is what went back of a payment; nil: it is not said.
func returned(s providers.Status, of, said *money.Amount) *money.Amount {
	if s == providers.StatusRefunded {
		return of
	}
	return said
}

// sum is what went back in all; more than there can be is as much as there can be.
func sum(returns []providers.Return) *money.Amount {
	var total money.Amount
	for _, r := range returns {
		next, err := total.Add(r.Amount)
		if err != nil {
			break
		}
		total = next
	}
	return &total
}

// FromPayment makes a row of a payment that was found for an attempt.
func FromPayment(k Key, p providers.Payment) Row {
	status := providers.StatusPaid
	if p.Returned {
		status = providers.StatusRefunded
	}
	return Row{
		Charge: k.Charge, Attempt: k.Attempt, ID: p.EndToEnd, Own: p.TxID, EndToEnd: p.EndToEnd,
		Status: status, Amount: &p.Amount, Returned: returned(status, &p.Amount, sum(p.Returns)), At: p.At,
	}
}

// Key is an attempt of a charge.
type Key struct {
	Charge  charge.ID
	Attempt int
}

// Books are the two sides that are compared.
type Books struct {
	// Provider is its configured name, Merchant the one that is paid through it; ""
	// where there are several.
	Provider, Merchant string
	// Terminal is the code with which the ids of this terminal's charges begin.
	Terminal string
	// Shared: others are paid into the account, too, so what names no charge is not
	// a matter of this terminal.
	Shared bool
	Window Window
	// Listed: the provider lists what it received, and Rows hold all of the window.
	Listed bool
	// LookUp: an attempt without a provider's id can be asked about by our own.
	LookUp bool
	// Charges are those that the ledger touched in the window, and those that rows
	// of it name.
	Charges []Charge
	Rows    []Row
	// Asked are the attempts that were asked about one by one, with the reason why
	// there is no answer; "": there is, and it is among Rows unless the provider
	// knows nothing.
	Asked map[Key]string
}

// Line is a payment, or a charge without one, as both sides have it. Amounts are
// centavos; its JSON form is an interface.
type Line struct {
	Class    Class        `json:"class"`
	Merchant string       `json:"merchant,omitempty"`
	Provider string       `json:"provider"`
	Charge   charge.ID    `json:"charge,omitempty"`
	Attempt  int          `json:"attempt,omitempty"`
	State    charge.State `json:"state,omitempty"` // in the ledger
	// Asked is what the charge is over, Ledger what the ledger received by this
	// payment, Received what the provider says it did; nil: it says nothing.
	Asked    *money.Amount `json:"charged,omitempty"`
	Ledger   *money.Amount `json:"ledger,omitempty"`
	Received *money.Amount `json:"received,omitempty"`
	// Refunded is what went back of it by the ledger, Returned by the provider; nil:
	// nothing, or it says nothing.
	Refunded *money.Amount `json:"refunded,omitempty"`
	Returned *money.Amount `json:"returned,omitempty"`
	// ID, EndToEnd and Word are the provider's.
	ID       string `json:"provider_id,omitempty"`
	EndToEnd string `json:"end_to_end,omitempty"`
	Word     string `json:"word,omitempty"`
	Late     bool   `json:"late,omitempty"`
	// Unsaid: the provider says that money came, and not how much.
	Unsaid bool `json:"unsaid,omitempty"`
	// At is when the payment came, as the provider says, else when the charge was
	// made; zero: nobody says.
	At  time.Time `json:"at,omitzero"`
	Why string    `json:"why,omitempty"`
	// Subject names the difference, the same whenever it is found; "" where there
	// is none.
	Subject string `json:"subject,omitempty"`
	// Ticket is the difference's ticket and how it stands: open, closed; "": none.
	Ticket      string `json:"ticket,omitempty"`
	TicketState string `json:"ticket_state,omitempty"`
}

// Settled reports whether nobody has to do anything about the line any more.
func (l Line) Settled() bool { return !l.Class.Difference() || l.TicketState == "closed" }

// Total is a number of lines, and what each side received by them, in centavos.
// Unsaid is how many of them the provider says no amount of.
type Total struct {
	Count    int          `json:"count"`
	Ledger   money.Amount `json:"ledger"`
	Received money.Amount `json:"received"`
	Unsaid   int          `json:"unsaid,omitempty"`
	// Refunded is what went back of them, by the ledger.
	Refunded money.Amount `json:"refunded,omitempty"`
}

func (t *Total) add(l Line) (err error) {
	t.Count++
	if l.Unsaid {
		t.Unsaid++
	}
	for _, side := range []struct {
		sum *money.Amount
		of  *money.Amount
	}{{&t.Ledger, l.Ledger}, {&t.Received, l.Received}, {&t.Refunded, l.Refunded}} {
		if side.of == nil {
			continue
		}
		if *side.sum, err = side.sum.Add(*side.of); err != nil {
			return err
		}
	}
	return nil
}

// Report is a comparison with one provider.
type Report struct {
	Provider string `json:"provider"`
	Window   Window `json:"window"`
	// Listed: the provider's own list was compared; else its answers about the
	// ledger's charges, which tell of no others.
	Listed bool `json:"listed"`
	// Untimed are the payments that belong to no charge of the window and of which
	// the provider does not say when they came: they may be of any time.
	Untimed int `json:"untimed,omitempty"`
	// Problem is why the comparison is not whole; "": it is.
	Problem string `json:"problem,omitempty"`
	Lines   []Line `json:"lines"`
	// Questions are the attempts to ask about before this is believed.
	Questions []Key `json:"-"`
}

// Agrees reports whether the comparison is whole and nobody has to do anything.
func (r Report) Agrees() bool {
	return r.Problem == "" && !slices.ContainsFunc(r.Lines, func(l Line) bool { return !l.Settled() })
}

// Sums are the totals of one merchant at one provider.
type Sums struct {
	Merchant string          `json:"merchant"`
	Provider string          `json:"provider"`
	Classes  map[Class]Total `json:"classes"`
	// Total is of all lines but those of other terminals.
	Total Total `json:"total"`
}

// Sum adds up the lines by merchant; in the order of the first line of each. The
// error is a sum that no amount can hold.
func (r Report) Sum() ([]Sums, error) {
	var all []Sums
	for _, l := range r.Lines {
		i := slices.IndexFunc(all, func(s Sums) bool { return s.Merchant == l.Merchant })
		if i < 0 {
			i = len(all)
			all = append(all, Sums{Merchant: l.Merchant, Provider: r.Provider, Classes: map[Class]Total{}})
		}
		t := all[i].Classes[l.Class]
		if err := t.add(l); err != nil {
			return nil, err
		}
		all[i].Classes[l.Class] = t
		if l.Class == Elsewhere {
			continue
		}
		if err := all[i].Total.add(l); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// Compare holds the two sides against each other. Lines are in the order of the
// charges, each charge's payments as the ledger has them; then come the rows that
// belong to no charge.
func Compare(b Books) Report {
	c := comparison{Books: b, byID: map[string]Key{}, byPayment: map[string]Key{}, charges: map[charge.ID]*Charge{}, rows: map[charge.ID][]Row{}}
	c.index()
	loose := c.assign()
	r := Report{Provider: b.Provider, Window: b.Window, Listed: b.Listed, Lines: []Line{}}
	for i := range b.Charges {
		r.Lines = append(r.Lines, c.compare(&b.Charges[i])...)
	}
	for _, row := range loose {
		if row.paid() && row.At.IsZero() {
			r.Untimed++
		} else if l, ok := c.stray(row); ok {
			r.Lines = append(r.Lines, l)
		}
	}
	r.Questions = c.questions()
	return r
}

// comparison is one that is under way.
type comparison struct {
	Books
	charges   map[charge.ID]*Charge
	byID      map[string]Key // the provider's id of an attempt
	byPayment map[string]Key // the end-to-end id of a payment that the ledger credits
	rows      map[charge.ID][]Row
	ask       []Key
}

func (c *comparison) index() {
	for i := range c.Charges {
		ch := &c.Charges[i]
		c.charges[ch.ID] = ch
		for _, a := range ch.Attempts {
			if a.ProviderID != "" {
				c.byID[a.ProviderID] = Key{ch.ID, a.N}
			}
		}
		for _, p := range ch.Payments {
			id := p.Evidence.EndToEnd
			if _, known := c.byPayment[id]; id != "" && (!known || !p.Mismatch) {
				c.byPayment[id] = Key{ch.ID, p.Evidence.Attempt}
			}
		}
	}
}

// assign gives the rows to the charges that they are of, each payment once, and
// returns the others.
func (c *comparison) assign() (loose []Row) {
	others := pile{at: map[string][]int{}}
	for _, row := range c.Rows {
		k, ok := c.locate(row)
		if !ok {
			others.add(row)
			continue
		}
		if k.Attempt == 0 {
			k.Attempt = c.shown(k.Charge)
		}
		row.Charge, row.Attempt = k.Charge, k.Attempt
		c.rows[k.Charge] = merge(c.rows[k.Charge], row)
	}
	for id, rows := range c.rows {
		c.rows[id] = tidy(rows)
	}
	return others.rows
}

// merge adds a row, or puts it in place of an older one of the same payment: a
// list that moves shows rows twice, and an answer is newer than the list.
func merge(rows []Row, row Row) []Row {
	if i := slices.IndexFunc(rows, row.same); i >= 0 {
		rows[i] = row.over(rows[i])
		return rows
	}
	return append(rows, row)
}

// same reports whether two rows are of one payment.
func (r Row) same(old Row) bool {
	switch {
	case old.EndToEnd != "" && r.EndToEnd != "":
		return old.EndToEnd == r.EndToEnd
	case old.ID != "" && r.ID != "":
		return old.ID == r.ID
	}
	return old.EndToEnd == r.EndToEnd && old.ID == r.ID && old.Attempt == r.Attempt
}

// over is what is left of an older row of the same payment and of r.
func (r Row) over(old Row) Row {
	if old.paid() && !r.paid() { // money does not become less true
		return old
	}
	r.EndToEnd, r.At = cmp.Or(r.EndToEnd, old.EndToEnd), later(r.At, old.At)
	r.Own = cmp.Or(r.Own, old.Own)
	if r.Amount == nil {
		r.Amount = old.Amount
	}
	if r.Returned == nil || old.Returned != nil && *old.Returned > *r.Returned { // nor does what went back
		r.Returned = old.Returned
	}
	return r
}

// pile is many rows that are merged; at finds them by what they have in common.
type pile struct {
	rows []Row
	at   map[string][]int
}

func (p *pile) add(row Row) {
	i := len(p.rows)
	for _, k := range row.keys() {
		for _, j := range p.at[k] {
			if j < i && row.same(p.rows[j]) {
				i = j
			}
		}
	}
	if i == len(p.rows) {
		p.rows = append(p.rows, row)
	} else {
		p.rows[i] = row.over(p.rows[i])
	}
	for _, k := range p.rows[i].keys() {
		if !slices.Contains(p.at[k], i) {
			p.at[k] = append(p.at[k], i)
		}
	}
}

// keys are those of which rows of one payment share one.
func (r Row) keys() (keys []string) {
	if r.EndToEnd != "" {
		keys = append(keys, "end-to-end "+r.EndToEnd)
	}
	if r.ID != "" || keys == nil {
		keys = append(keys, "id "+r.ID)
	}
	return keys
}

func later(a, b time.Time) time.Time {
	if a.IsZero() {
		return b
	}
	return a
}

// tidy joins each answer with the list's row of the same payment, where either names
// no end-to-end id: of the same attempt, and over no other amount.
func tidy(rows []Row) []Row {
	kept := slices.Clone(rows)
	for i := 0; i < len(kept); i++ {
		a := kept[i]
		if !a.answer || !a.paid() {
			continue
		}
		j := slices.IndexFunc(kept, func(o Row) bool {
			return !o.answer && o.paid() && o.Attempt == a.Attempt && (a.EndToEnd == "" || o.EndToEnd == "") &&
				(a.Amount == nil || o.Amount == nil || *a.Amount == *o.Amount)
		})
		if j < 0 {
			continue
		}
		o := &kept[j]
		if o.EndToEnd = cmp.Or(o.EndToEnd, a.EndToEnd); o.Amount == nil {
			o.Amount = a.Amount
		}
		kept = slices.Delete(kept, i, i+1)
		i--
	}
	slices.SortStableFunc(kept, func(a, b Row) int {
		return cmp.Or(a.At.Compare(b.At), cmp.Compare(a.EndToEnd, b.EndToEnd), cmp.Compare(a.ID, b.ID))
	})
	return kept
}

// locate finds the attempt that a row is of; attempt 0: which one it does not say.
func (c *comparison) locate(row Row) (Key, bool) {
	if row.Charge != "" {
		_, ok := c.charges[row.Charge]
		return Key{row.Charge, row.Attempt}, ok
	}
	own, named := ParseOwn(row.Own)
	if _, ok := c.charges[own.Charge]; named && ok {
		if own.Attempt == 0 {
			for _, id := range []string{row.ID, row.Own} {
				if k, ok := c.byID[id]; ok && k.Charge == own.Charge {
					return k, true
				}
			}
		}
		return own, true
	}
	if k, ok := c.byID[row.ID]; ok && row.ID != "" {
		return k, true
	}
	if k, ok := c.byID[row.Own]; ok && row.Own != "" {
		return k, true
	}
	if k, ok := c.byPayment[row.EndToEnd]; ok && row.EndToEnd != "" {
		return k, true
	}
	return Key{}, false
}

// shown is the attempt whose code the payer saw, or the newest one.
func (c *comparison) shown(id charge.ID) int {
	ch := c.charges[id]
	if a, ok := ch.Accepted(); ok {
		return a.N
	}
	a, _ := ch.Last()
	return a.N
}

// ParseOwn reads our own id as a provider repeats it: a charge's id, 25 capital
// letters and digits, and perhaps an attempt's number behind it.
func ParseOwn(s string) (Key, bool) {
	const length = 25
	if len(s) < length || len(s) > length+2 {
		return Key{}, false
	}
	for i := range length {
		if c := s[i]; (c < '0' || c > '9') && (c < 'A' || c > 'Z') {
			return Key{}, false
		}
	}
	k := Key{Charge: charge.ID(s[:length])}
	if rest := s[length:]; rest != "" {
		n, err := strconv.Atoi(rest)
		if err != nil || n < 1 || rest != strconv.Itoa(n) {
			return Key{}, false
		}
		k.Attempt = n
	}
	return k, true
}

// stray is the line of a payment that belongs to no charge of the ledger; false:
// it is of another time, or no payment.
func (c *comparison) stray(row Row) (Line, bool) {
	if !row.paid() || !c.Window.Holds(row.At) {
		return Line{}, false
	}
	l := Line{Class: Unknown, Merchant: c.Merchant, Provider: c.Provider, Received: row.Amount, ID: row.ID, EndToEnd: row.EndToEnd, Word: row.Word, At: row.At}
	l.Unsaid = row.Amount == nil
	own, named := ParseOwn(row.Own)
	switch {
	case named && string(own.Charge[:len(c.Terminal)]) != c.Terminal:
		l.Class, l.Charge = Elsewhere, own.Charge
		return l, true
	case named:
		l.Charge, l.Attempt, l.Why = own.Charge, own.Attempt, whyNoCharge
	case c.Shared:
		l.Class, l.Why = Elsewhere, whyNobody
	default:
		l.Why = whyNobody
	}
	l.Subject = subject(l.Class, c.Provider, row.name())
	return l, true
}

// name is what tells a row from the provider's others.
func (r Row) name() string { return cmp.Or(r.EndToEnd, r.ID, r.Own) }
