package closing_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.etcd.io/bbolt"
	"pgregory.net/rapid"

	"github.com/ssg-safe/agent/charge"
	"github.com/ssg-safe/agent/closing"
	"github.com/ssg-safe/agent/ledger"
	"github.com/ssg-safe/agent/money"
	"github.com/ssg-safe/agent/store"
	"github.com/ssg-safe/agent/store/storetest"
)

var brt = time.FixedZone("BRT", -3*60*60)

var book = closing.Book{Merchants: []charge.Merchant{
	{ID: "loja", Route: "ssg", Account: "a1", Zone: brt},
	{ID: "bar", Route: "bank", Account: "b1", Zone: brt, CutOff: 3 * time.Hour},
}}

// till is a ledger and the entries a terminal would write into it.
type till struct {
	t      testing.TB
	s      *store.Store
	stop   func()
	n      int
	owners map[charge.ID]string
}

var empty []byte

// newTill is one that the caller stops. It begins with a copy of an empty store,
// which costs no flush.
func newTill(t testing.TB) *till {
	o := storetest.Options(t, func(tx *bbolt.Tx) error {
		_, err := ledger.Verify(tx, ledger.Head{})
		return errors.Join(err, closing.Audit(tx))
	}, slices.Concat(ledger.Migrations, closing.Migrations)...)
	o.Size = store.MinSize
	if empty == nil {
		storetest.Create(t, o)
		var err error
		if empty, err = os.ReadFile(o.Path); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(o.Path, empty, 0o600); err != nil {
		t.Fatal(err)
	}
	s, stop := storetest.Start(t, o)
	return &till{t: t, s: s, stop: stop, owners: map[charge.ID]string{}}
}

// whose is what a closing must find out about an entry.
func (c *till) whose(e ledger.Entry) (merchant string, counts bool) {
	proof := e.Evidence
	if string(proof) == "null" {
		proof = nil
	}
	if e.Kind == charge.KindLostRefund {
		var lost charge.LostRefundFact
		if err := json.Unmarshal(e.Data, &lost); err != nil {
			c.t.Fatal(err)
		}
		if lost.Merchant == "" {
			return closing.Nobody, true
		}
		return lost.Merchant, true
	}
	f, err := charge.Decode(e.Kind, e.Data, proof)
	if err != nil || f == nil {
		return "", false
	}
	return c.owners[f.Subject()], true
}

func (c *till) do(f func(*bbolt.Tx) error) {
	c.t.Helper()
	if err := c.s.Commit(c.t.Context(), store.Op{Do: f}); err != nil {
		c.t.Fatal(err)
	}
}

// day0 is a Wednesday in Brazil, at noon.
var day0 = time.Date(2026, 7, 1, 12, 0, 0, 0, brt)

func at(t time.Time) ledger.Stamp { return ledger.Stamp{Wall: t, Quality: ledger.Synced} }

func (c *till) write(st ledger.Stamp, facts ...charge.Fact) {
	c.t.Helper()
	c.do(func(tx *bbolt.Tx) error {
		for _, f := range facts {
			d := ledger.Draft{Op: f.Op(), Kind: f.Kind(), Actor: "terminal", Postings: charge.Postings(f), Data: f}
			if p := f.Proof(); p != nil {
				d.Evidence = p
			}
			if _, err := ledger.Append(tx, st, d); err != nil {
				return err
			}
		}
		return nil
	})
}

// lose writes a refund that fits nothing.
func (c *till) lose(st ledger.Stamp, f charge.LostRefundFact) {
	c.t.Helper()
	c.do(func(tx *bbolt.Tx) error {
		_, err := ledger.Append(tx, st, ledger.Draft{
			Op: f.Op(), Kind: charge.KindLostRefund, Actor: "terminal", Postings: f.Postings(), Data: f,
			Evidence: charge.Evidence{Source: charge.FromHub, EndToEnd: f.EndToEnd},
		})
		return err
	})
}

func (c *till) created(m string, amount money.Amount) charge.CreatedFact {
	c.n++
	route, account := "ssg", "a1"
	if m == "bar" {
		route, account = "bank", "b1"
	}
	id := charge.ID(fmt.Sprintf("T%d", c.n))
	c.owners[id] = m
	return charge.CreatedFact{Charge: id, Merchant: m, Route: route, Account: account, Amount: amount}
}

func evidence(f charge.CreatedFact, e2e string) charge.Evidence {
	return charge.Evidence{Source: charge.FromProvider, Route: f.Route, Account: f.Account, Attempt: 1, EndToEnd: e2e}
}

func paid(f charge.CreatedFact, e2e string) charge.PaidFact {
	return charge.PaidFact{Charge: f.Charge, Attempt: 1, Amount: f.Amount, Evidence: evidence(f, e2e)}
}

func (c *till) look(m string, now time.Time) (r closing.Report) {
	c.t.Helper()
	if err := c.s.View(func(tx *bbolt.Tx) (err error) {
		r, err = closing.Look(tx, book, m, now)
		return err
	}); err != nil {
		c.t.Fatal(err)
	}
	return r
}

func (c *till) close(m string, now time.Time) (r closing.Report, err error) {
	c.t.Helper()
	err = c.s.Commit(c.t.Context(), store.Op{Do: func(tx *bbolt.Tx) (err error) {
		r, err = closing.Close(tx, at(now), book, m, "operator")
		return err
	}})
	return r, err
}

func (c *till) due(st ledger.Stamp) (rs []closing.Report) {
	c.t.Helper()
	c.do(func(tx *bbolt.Tx) (err error) {
		rs, err = closing.Due(tx, st, book, "terminal")
		return err
	})
	return rs
}

func TestDate(t *testing.T) {
	for _, test := range []struct {
		cutOff time.Duration
		at     string // São Paulo
		want   string
	}{
		{0, "2026-07-01 00:00", "2026-07-01"},
		{0, "2026-06-30 23:59", "2026-06-30"},
		{3 * time.Hour, "2026-07-01 02:59", "2026-06-30"},
		{3 * time.Hour, "2026-07-01 03:00", "2026-07-01"},
		{18 * time.Hour, "2026-06-30 17:59", "2026-06-30"},
		{18 * time.Hour, "2026-06-30 18:00", "2026-07-01"},
		{3 * time.Hour, "2026-01-01 01:00", "2025-12-31"},
	} {
		local, err := time.ParseInLocation("2006-01-02 15:04", test.at, brt)
		if err != nil {
			t.Fatal(err)
		}
		if got := closing.Date(local.UTC(), charge.Merchant{Zone: brt, CutOff: test.cutOff}); got != test.want {
			t.Errorf("cut-off %v, %s: got %s, want %s", test.cutOff, test.at, got, test.want)
		}
	}
}

func TestClosings(t *testing.T) {
	c := newTill(t)
	defer c.stop()
	a, b, bar := c.created("loja", 1000), c.created("loja", 700), c.created("bar", 50)
	c.write(at(day0), a, paid(a, "E1"), b, bar)
	c.write(at(day0), charge.EndedFact{Charge: b.Charge, State: charge.Expired, Reason: "deadline"})

	x := c.look("loja", day0)
	want := closing.Report{
		Merchant: "loja", Date: "2026-07-01", To: ledger.Position{Epoch: 1, Seq: 5},
		Lines: []closing.Line{{
			Provider: "ssg", Created: closing.Total{Count: 2, Sum: 1700}, Paid: closing.Total{Count: 1, Sum: 1000}, Expired: closing.Total{Count: 1, Sum: 700},
		}},
		Postings: map[ledger.Account]money.Amount{ledger.PixClearing: 1000, ledger.Sales: -1000},
	}
	if d := cmp.Diff(want, x); d != "" {
		t.Errorf("X (-want +got):\n%s", d)
	}
	z, err := c.close("loja", day0)
	want.Number = 1
	if d := cmp.Diff(want, z); err != nil || d != "" {
		t.Errorf("Z: %v (-want +got):\n%s", err, d)
	}
	if _, err := c.close("loja", day0); !errors.Is(err, closing.ErrNothing) {
		t.Errorf("a second Z: %v, want ErrNothing", err)
	}
	if x := c.look("bar", day0); x.Lines[0].Created.Count != 1 || x.From != (ledger.Position{}) {
		t.Errorf("the other merchant's X: %+v", x)
	}

	// Money for a charge of the closed time belongs to the next closing.
	late := paid(b, "E2")
	late.Late = true
	c.write(at(day0.Add(time.Hour)), late)
	z, err = c.close("loja", day0.Add(2*time.Hour))
	if err != nil || z.Number != 2 || z.From != want.To || z.Lines[0].Late != (closing.Total{Count: 1, Sum: 700}) || z.Lines[0].Created.Count != 0 ||
		z.Postings[ledger.CustomerCredit] != -700 || z.Received() != 700 {
		t.Errorf("the next Z: %+v, %v", z, err)
	}
}

// TestDue: every day that is over gets its own closing, by its own cut-off.
func TestDue(t *testing.T) {
	c := newTill(t)
	defer c.stop()
	sell := func(m string, when time.Time) {
		f := c.created(m, 100)
		c.write(at(when), f, paid(f, "E"+string(f.Charge)))
	}
	night := time.Date(2026, 7, 2, 1, 0, 0, 0, brt) // of the 1st for the bar
	sell("loja", day0)
	sell("bar", day0)
	sell("bar", night)
	sell("loja", night)
	sell("loja", day0.AddDate(0, 0, 3))
	sell("bar", day0.AddDate(0, 0, 3))

	if rs := c.due(ledger.Stamp{Wall: day0.AddDate(0, 0, 9), Quality: ledger.Unsynced}); rs != nil {
		t.Errorf("closed by a clock that nobody confirms: %+v", rs)
	}
	type z struct {
		merchant, date string
		number         uint64
		paid           int
	}
	got := func(rs []closing.Report) (zs []z) {
		for _, r := range rs {
			zs = append(zs, z{r.Merchant, r.Date, r.Number, r.Lines[0].Paid.Count})
		}
		return zs
	}
	want := []z{{"bar", "2026-07-01", 1, 2}, {"loja", "2026-07-01", 1, 1}, {"loja", "2026-07-02", 2, 1}}
	if d := cmp.Diff(want, got(c.due(at(day0.AddDate(0, 0, 3)))), cmp.AllowUnexported(z{})); d != "" {
		t.Errorf("on the 4th (-want +got):\n%s", d)
	}
	if rs := c.due(at(day0.AddDate(0, 0, 3))); rs != nil {
		t.Errorf("once more: %+v", rs)
	}
	want = []z{{"bar", "2026-07-04", 2, 1}, {"loja", "2026-07-04", 3, 1}}
	if d := cmp.Diff(want, got(c.due(at(day0.AddDate(0, 0, 4)))), cmp.AllowUnexported(z{})); d != "" {
		t.Errorf("on the 5th (-want +got):\n%s", d)
	}
}

// TestUnsureClock: entries made while the clock was wrong take the day of those
// around them.
func TestUnsureClock(t *testing.T) {
	c := newTill(t)
	defer c.stop()
	f, g := c.created("loja", 100), c.created("loja", 200)
	c.write(ledger.Stamp{Wall: day0.AddDate(10, 0, 0), Quality: ledger.Unsynced}, f, paid(f, "E1"))
	c.write(at(day0), g)
	c.write(ledger.Stamp{Wall: day0.AddDate(-9, 0, 0), Quality: ledger.Floor}, paid(g, "E2"))
	rs := c.due(at(day0.AddDate(0, 0, 1)))
	if len(rs) != 1 || rs[0].Date != "2026-07-01" || rs[0].Lines[0].Paid != (closing.Total{Count: 2, Sum: 300}) {
		t.Errorf("got %+v", rs)
	}
}

// TestOwners: a charge whose first entry was pruned is known by its snapshot or
// by the account its money came to; what nobody knows is nobody's.
func TestOwners(t *testing.T) {
	c := newTill(t)
	defer c.stop()
	known, byAccount, unknown := c.created("bar", 10), c.created("bar", 20), c.created("elsewhere", 40)
	unknown.Account = "zzz"
	c.write(at(day0), paid(known, "E1"), paid(byAccount, "E2"), paid(unknown, "E3"))
	b := book
	b.Open = func(_ *bbolt.Tx, id charge.ID) (charge.Charge, bool) {
		return charge.Charge{Merchant: "loja", Route: "ssg", Amount: 10}, id == known.Charge
	}
	for m, want := range map[string]money.Amount{"loja": 10, "bar": 20, closing.Nobody: 40} {
		if err := c.s.View(func(tx *bbolt.Tx) error {
			r, err := closing.Look(tx, b, m, day0)
			if r.Received() != want {
				t.Errorf("%s: %v, want %v", m, r.Received(), want)
			}
			return err
		}); err != nil {
			t.Fatal(err)
		}
	}
}

// TestUnmatchedRefunds: money that went back and fits nothing has a line of its own, at
// the merchant that the entry names, or at nobody's.
func TestUnmatchedRefunds(t *testing.T) {
	c := newTill(t)
	defer c.stop()
	f := c.created("loja", 1000)
	c.write(at(day0), f, paid(f, "E1"))
	c.write(at(day0), charge.RefundedFact{Charge: f.Charge, ID: "R1", Amount: 1000, EndToEnd: "E1", Evidence: evidence(f, "E1")})
	lost := charge.LostRefundFact{ID: "R2", Of: f.Charge, Merchant: "loja", Provider: "ssg", Amount: 300, EndToEnd: "E1"}
	c.lose(at(day0), lost)
	lost.Back = true
	c.lose(at(day0), lost)
	c.lose(at(day0), charge.LostRefundFact{ID: "R3", Of: "T9", Amount: 50, EndToEnd: "E9"})
	r := c.look("loja", day0)
	if len(r.Lines) != 1 || r.Lines[0].Refunded != (closing.Total{Count: 1, Sum: 1000}) || r.Lines[0].Unmatched != (closing.Total{Count: 2}) || r.Postings[ledger.Suspense] != 0 {
		t.Errorf("loja: %+v", r)
	}
	r = c.look(closing.Nobody, day0)
	if len(r.Lines) != 1 || r.Lines[0].Unmatched != (closing.Total{Count: 1, Sum: 50}) || r.Returned().Sum != 50 || r.Postings[ledger.Suspense] != 50 {
		t.Errorf("nobody: %+v", r)
	}
}

// TestSumsAreTheLedgers: whatever happens and whenever it is closed, closings
// and the open rest add up to the ledger's postings; numbers and positions have
// no gaps; what is kept from pruning is all that is in no closing.
func TestSumsAreTheLedgers(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		c := newTill(t)
		now := day0
		var open []charge.CreatedFact
		var zs []closing.Report
		count := func(rs ...closing.Report) { zs = append(zs, rs...) }
		money := 0
		merchants := []string{"loja", "bar", "gone"}
		for range rapid.IntRange(5, 25).Draw(rt, "steps") {
			now = now.Add(time.Duration(rapid.IntRange(0, 10).Draw(rt, "hours")) * time.Hour)
			st := at(now)
			if rapid.IntRange(0, 9).Draw(rt, "clock") == 0 {
				st = ledger.Stamp{Wall: now.AddDate(rapid.IntRange(-5, 5).Draw(rt, "years"), 0, 0), Quality: ledger.Unsynced}
			}
			switch rapid.IntRange(0, 6).Draw(rt, "what") {
			case 0, 1:
				f := c.created(rapid.SampledFrom(merchants).Draw(rt, "merchant"), 1+centavos(rt))
				open = append(open, f)
				c.write(st, f)
			case 2, 3:
				if len(open) == 0 {
					continue
				}
				f := rapid.SampledFrom(open).Draw(rt, "charge")
				money++
				e2e := fmt.Sprintf("E%d", money)
				p := paid(f, e2e)
				p.Late = rapid.Bool().Draw(rt, "late")
				c.write(st, rapid.SampledFrom([]charge.Fact{
					p,
					charge.ExtraPaymentFact{Charge: f.Charge, Attempt: 1, Amount: f.Amount, Evidence: evidence(f, e2e)},
					charge.MismatchFact{Charge: f.Charge, Attempt: 1, Amount: 1 + centavos(rt), Evidence: evidence(f, e2e), Why: "x", Booked: rapid.Bool().Draw(rt, "booked")},
					charge.RefundedFact{Charge: f.Charge, ID: e2e, Amount: 1 + centavos(rt), EndToEnd: e2e, Against: rapid.SampledFrom([]ledger.Account{"", ledger.CustomerCredit, ledger.Suspense}).Draw(rt, "against"), Evidence: evidence(f, e2e)},
				}).Draw(rt, "fact"))
			case 6:
				money++
				c.lose(st, charge.LostRefundFact{
					ID: "R", Of: "X", Merchant: rapid.SampledFrom(append(merchants, "")).Draw(rt, "whose"), Provider: rapid.SampledFrom([]string{"", "ssg"}).Draw(rt, "by"),
					Amount: 1 + centavos(rt), EndToEnd: fmt.Sprintf("E%d", money), Back: rapid.Bool().Draw(rt, "back"),
				})
			case 4:
				z, err := c.close(rapid.SampledFrom(merchants).Draw(rt, "close"), now)
				if err == nil {
					count(z)
				} else if !errors.Is(err, closing.ErrNothing) {
					rt.Fatal(err)
				}
			case 5:
				count(c.due(st)...)
				if rapid.IntRange(0, 3).Draw(rt, "all") == 0 {
					c.do(func(tx *bbolt.Tx) error {
						rs, err := closing.All(tx, st, book, "terminal")
						count(rs...)
						return err
					})
				}
			}
		}
		var kept, unclosed ledger.Position
		var sums map[ledger.Account]amount
		closed := map[string]ledger.Position{}
		for _, z := range zs {
			closed[z.Merchant] = z.To
		}
		if err := c.s.View(func(tx *bbolt.Tx) (err error) {
			report, err := ledger.Verify(tx, ledger.Head{})
			if err != nil {
				return err
			}
			sums, unclosed = report.Sums, ledger.Position{Epoch: 1, Seq: report.Head.Seq + 1}
			for pos, raw := range ledger.Entries(tx, ledger.Position{}) {
				e, err := ledger.Decode(raw)
				if err != nil {
					return err
				}
				if m, counts := c.whose(e); counts && closed[m].Before(pos) {
					unclosed = pos
					break
				}
			}
			kept, err = book.Kept(tx)
			return err
		}); err != nil {
			rt.Fatal(err)
		}
		all := slices.Clone(zs)
		for _, m := range append(merchants, closing.Nobody) {
			x := c.look(m, now)
			all = append(all, x)
			var last closing.Report
			for _, z := range zs {
				if z.Merchant != m {
					continue
				}
				if z.Number != last.Number+1 || z.From != last.To || !z.From.Before(z.To) || z.Date == "" {
					rt.Fatalf("closing %+v after %+v", z, last)
				}
				last = z
			}
			if x.From != last.To {
				rt.Fatalf("the X of %s begins at %v, its last Z ended at %v", m, x.From, last.To)
			}
		}
		got := map[ledger.Account]amount{}
		var received amount
		for _, r := range all {
			for a, v := range r.Postings {
				got[a] += v
			}
			received += r.Received() - r.Returned().Sum
		}
		maps.DeleteFunc(got, func(_ ledger.Account, v amount) bool { return v == 0 })
		maps.DeleteFunc(sums, func(_ ledger.Account, v amount) bool { return v == 0 })
		if d := cmp.Diff(sums, got); d != "" {
			rt.Fatalf("the ledger and its closings (-ledger +closings):\n%s", d)
		}
		if received != sums[ledger.PixClearing] {
			rt.Fatalf("lines say %v, the account %v", received, sums[ledger.PixClearing])
		}
		if want := (ledger.Position{Epoch: 1, Seq: unclosed.Seq - 1}); kept != want {
			rt.Fatalf("kept after %v, want %v", kept, want)
		}
		c.stop()
	})
}

type amount = money.Amount

func centavos(rt *rapid.T) amount { return amount(rapid.Int64Range(0, 1_000_000).Draw(rt, "centavos")) }
