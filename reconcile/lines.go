package reconcile

import (
	"cmp"
	"crypto/sha256"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/ssg-safe/agent/charge"
	"github.com/ssg-safe/agent/providers"
)

// Why a line is what it is. Like all words of a report they are stable.
const (
	whyNoCharge   = "the id is of this terminal, and the ledger has no such charge"
	whyNobody     = "it names no charge"
	whyStatement  = "it rests on the word of people"
	whyNoID       = "the provider gave it no id"
	whyNotAsked   = "the provider was not asked about it"
	whyGivenBack  = "given back at the provider, not in the ledger"
	whyKept       = "given back in the ledger, not at the provider"
	whyUnrecorded = "paid at the provider, not in the ledger"
	whyAbsent     = "the provider knows no such payment"
	whyAmounts    = "the two sides have different amounts"
	whyOpenThere  = "paid in the ledger, not at the provider"
	whyWord       = "the provider says something that is not known"
	whyOrphan     = "through an attempt whose code was never shown"
	whyOther      = "not the amount or the account that was asked for"
)

// compare makes the lines of one charge.
func (c *comparison) compare(ch *Charge) []Line {
	rows := c.rows[ch.ID]
	match := pair(ch, rows)
	var lines []Line
	for i := range ch.Payments {
		lines = append(lines, c.recorded(ch, i, match[i], rows))
	}
	settled := ch.State.Rank() >= charge.Paid.Rank()
	for i := range rows {
		if !rows[i].paid() || taken(match, &rows[i]) {
			continue
		}
		l := c.unrecorded(ch, rows[i], settled)
		settled = settled || l.Class == Conflict
		lines = append(lines, l)
	}
	if len(lines) == 0 {
		lines = append(lines, c.unpaid(ch, rows))
	}
	return lines
}

// pair finds the row of each payment: by the end-to-end id, then by the attempt
// where one side names none.
func pair(ch *Charge, rows []Row) []*Row {
	match := make([]*Row, len(ch.Payments))
	find := func(fits func(charge.Payment, Row) bool) {
		for i, p := range ch.Payments {
			for j := range rows {
				if match[i] == nil && rows[j].paid() && !taken(match, &rows[j]) && fits(p, rows[j]) {
					match[i] = &rows[j]
				}
			}
		}
	}
	find(func(p charge.Payment, r Row) bool { return r.EndToEnd != "" && p.Evidence.EndToEnd == r.EndToEnd })
	find(func(p charge.Payment, r Row) bool {
		unnamed := r.EndToEnd == "" || p.Evidence.EndToEnd == ""
		return unnamed && p.Evidence.Attempt == r.Attempt && (r.Amount == nil || p.Amount == 0 || *r.Amount == p.Amount)
	})
	return match
}

func taken(match []*Row, row *Row) bool {
	for _, m := range match {
		if m == row {
			return true
		}
	}
	return false
}

// line begins a line of a charge.
func (c *comparison) line(ch *Charge, attempt int) Line {
	amount := ch.Amount
	return Line{
		Merchant: ch.Merchant, Provider: c.Provider, Charge: ch.ID, Attempt: attempt, State: ch.State, Asked: &amount, At: ch.Made,
	}
}

// take puts what the provider says into a line.
func (l *Line) take(r Row) {
	l.ID, l.EndToEnd, l.Word, l.Received = r.ID, cmp.Or(r.EndToEnd, l.EndToEnd), r.Word, r.Amount
	l.Unsaid = r.paid() && r.Amount == nil
	l.At = later(r.At, l.At)
}

// recorded is the line of the ledger's ith payment of a charge.
func (c *comparison) recorded(ch *Charge, i int, row *Row, rows []Row) Line {
	p := ch.Payments[i]
	l := c.line(ch, p.Evidence.Attempt)
	l.ID, l.EndToEnd = p.Evidence.ProviderID, p.Evidence.EndToEnd
	if p.Amount > 0 && !c.credited(ch, p) {
		l.Ledger = &p.Amount
	}
	l.Class, l.Why = classOf(ch, p)
	l.Late = ch.Late && !p.Extra && !p.Mismatch
	switch {
	case row != nil:
		l.take(*row)
		switch {
		case row.Amount != nil && p.Amount > 0 && *row.Amount != p.Amount:
			l.Class, l.Why = AmountMismatch, whyAmounts
		default:
			c.givenBack(ch, &l, p, *row)
		}
	case p.Mismatch && p.Amount == 0: // a claim of money, not money
	case p.Evidence.Source == charge.FromStatement || p.Evidence.Source == charge.FromOperator:
		if !l.Class.Difference() {
			l.Class, l.Why = NotComparable, whyStatement
		}
	default:
		c.unconfirmed(ch, &l, rows)
	}
	if p.Refunded > 0 {
		l.Refunded = &p.Refunded
		switch whole := p.Refunded == p.Amount; {
		case l.Class == Matched, whole && (l.Class == Late || l.Class == Double || l.Class == Orphan), whole && p.Mismatch && l.Why == whyOther:
			l.Class = Refunded // nobody has to do anything about it any more
		}
	}
	name := p.Evidence.EndToEnd
	if name == "" {
		name = "p" + strconv.Itoa(i+1)
	}
	if l.Class == RefundMismatch { // a payment goes back in parts: another sum is another difference
		off := -p.Refunded
		if l.Returned != nil {
			off += *l.Returned
		}
		name += "-" + strconv.FormatInt(int64(off), 10)
	}
	l.Subject = subject(l.Class, string(ch.ID), name)
	return l
}

// givenBack holds what went back of a payment against what the provider says of it.
func (c *comparison) givenBack(ch *Charge, l *Line, p charge.Payment, row Row) {
	l.Returned = row.Returned
	if row.Returned == nil && row.Status == providers.StatusRefunded {
		l.Returned = &p.Amount
	}
	if l.Returned == nil || *l.Returned == 0 {
		l.Returned = nil
	}
	switch back := row.Returned; {
	case l.Returned != nil && *l.Returned > p.Refunded:
		c.wants(ch, p.Evidence.Attempt)
		l.Class, l.Why = RefundMismatch, whyGivenBack
	case back != nil && *back < p.Refunded:
		c.wants(ch, p.Evidence.Attempt)
		l.Class, l.Why = RefundMismatch, whyKept
	}
}

// credited reports whether a mismatched payment's money is another charge's.
func (c *comparison) credited(ch *Charge, p charge.Payment) bool {
	k, ok := c.byPayment[p.Evidence.EndToEnd]
	return p.Mismatch && ok && k.Charge != ch.ID
}

// classOf is what the ledger itself makes of a payment.
func classOf(ch *Charge, p charge.Payment) (Class, string) {
	last, _ := ch.Last()
	orphaned := ch.NeverShown
	for _, a := range ch.Attempts {
		// A later attempt is made only when nobody was shown the code of this one.
		orphaned = orphaned || a.N == p.Evidence.Attempt && (a.State == charge.Orphaned || a.N < last.N)
	}
	switch {
	case p.Mismatch:
		return AmountMismatch, whyOther
	case p.Extra:
		return Double, ""
	case orphaned:
		return Orphan, whyOrphan
	case ch.Late:
		return Late, ""
	}
	return Matched, ""
}

// unconfirmed judges a payment of the ledger that no row bears out.
func (c *comparison) unconfirmed(ch *Charge, l *Line, rows []Row) {
	k := Key{ch.ID, l.Attempt}
	why, asked := c.Asked[k]
	if !asked && c.wants(ch, l.Attempt) {
		l.Class, l.Why = NotComparable, whyNotAsked
		return
	}
	if !asked {
		why = whyNoID
	}
	if why != "" {
		if !l.Class.Difference() {
			l.Class, l.Why = NotComparable, why
		}
		return
	}
	l.Class, l.Why = Missing, whyAbsent
	for _, r := range rows {
		if r.Attempt == l.Attempt && !r.paid() {
			l.Class, l.Why, l.Word = Conflict, whyOpenThere, r.Word
		}
	}
}

// unrecorded is the line of a payment that only the provider has.
func (c *comparison) unrecorded(ch *Charge, row Row, settled bool) Line {
	l := c.line(ch, row.Attempt)
	l.take(row)
	switch {
	case settled:
		l.Class, l.Why = Double, whyUnrecorded
	case row.Amount != nil && *row.Amount != ch.Amount:
		l.Class, l.Why = AmountMismatch, whyUnrecorded
	default:
		l.Class, l.Why = Conflict, whyUnrecorded
	}
	c.wants(ch, row.Attempt)
	l.Subject = subject(l.Class, string(ch.ID), row.name())
	return l
}

// unpaid is the line of a charge that nobody paid, as far as is known.
func (c *comparison) unpaid(ch *Charge, rows []Row) Line {
	n := c.shown(ch.ID)
	l := c.line(ch, n)
	l.Class = Unpaid
	if ch.State.Open() {
		l.Class = Open
	}
	asked, reachable, why := false, false, ""
	for _, a := range ch.Attempts {
		reason, done := c.Asked[Key{ch.ID, a.N}]
		asked = asked || done
		why = cmp.Or(why, reason)
		reachable = reachable || askable(a, c.LookUp)
		if a.N == n {
			l.ID = a.ProviderID
		}
	}
	for _, r := range rows {
		if r.Attempt == n {
			l.Word = r.Word
		}
		if r.Status == providers.StatusUncertain {
			c.wants(ch, r.Attempt)
			l.Class, l.Why = Conflict, whyWord
			l.Subject = subject(Conflict, string(ch.ID), "word")
			return l
		}
		if ended := r.Status != providers.StatusPending; ch.State.Open() && ended {
			c.wants(ch, r.Attempt)
		}
	}
	switch lost := !reachable && !rejected(ch); {
	case why != "":
		l.Class, l.Why = NotComparable, why
	case c.Listed || asked || ch.State == charge.Created:
	case lost:
		l.Class, l.Why = NotComparable, whyNoID
	case reachable:
		l.Class, l.Why = NotComparable, whyNotAsked
	}
	return l
}

// rejected reports whether nothing of the charge can be at the provider.
func rejected(ch *Charge) bool {
	for _, a := range ch.Attempts {
		if a.State != charge.Rejected {
			return false
		}
	}
	return true
}

// askable reports whether the provider can be asked about an attempt.
func askable(a charge.Attempt, lookUp bool) bool {
	return a.State != charge.Rejected && a.State != charge.Sending && (a.ProviderID != "" || lookUp)
}

// wants notes that an attempt is to be asked about, if it can be and was not.
func (c *comparison) wants(ch *Charge, attempt int) bool {
	k := Key{ch.ID, attempt}
	if _, asked := c.Asked[k]; asked || ch.State == charge.Created {
		return false
	}
	for _, a := range ch.Attempts {
		if a.N == attempt && a.State != charge.Sending && (a.ProviderID != "" || c.LookUp || c.named(k)) {
			c.ask = append(c.ask, k)
			return true
		}
	}
	return false
}

// named reports whether the provider listed the attempt under our own id: then it
// knows it by that.
func (c *comparison) named(k Key) bool {
	return slices.ContainsFunc(c.rows[k.Charge], func(r Row) bool {
		own, ok := ParseOwn(r.Own)
		return ok && own.Charge == k.Charge && r.Attempt == k.Attempt
	})
}

// questions are the attempts that the lines ask for, and without a list all that
// can be asked about. A static code is no question to a provider that cannot find
// it.
func (c *comparison) questions() []Key {
	if !c.Listed {
		for i := range c.Charges {
			ch := &c.Charges[i]
			for _, a := range ch.Attempts {
				if askable(a, c.LookUp) {
					c.wants(ch, a.N)
				}
			}
		}
	}
	var all []Key
	seen := map[Key]bool{}
	for _, k := range c.ask {
		if !seen[k] {
			seen[k] = true
			all = append(all, k)
		}
	}
	return all
}

// subject names a difference by what it is about; "" for a class that is none.
func subject(c Class, of, name string) string {
	if !c.Difference() {
		return ""
	}
	return string(c) + "/" + of + "/" + Token(name)
}

// Token is a provider's id as it may stand in the ledger: itself if it consists
// of at most 48 letters, digits, hyphens and low lines and is not what a person's
// document may be (digits alone), else its hash.
func Token(id string) string {
	odd := func(r rune) bool {
		return (r < 'A' || r > 'Z') && (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' && r != '_'
	}
	if id == "" || len(id) > 48 || strings.ContainsFunc(id, odd) || strings.Trim(id, "0123456789") == "" {
		return fmt.Sprintf("sha256:%.16x", sha256.Sum256([]byte(id)))
	}
	return id
}
