package charge_test

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/ssg-safe/agent/charge"
	"github.com/ssg-safe/agent/ledger"
	"github.com/ssg-safe/agent/money"
	"github.com/ssg-safe/agent/providers"
)

// returns are refunds that a provider or the hub may tell of.
func returns() *rapid.Generator[providers.Return] {
	return rapid.Custom(func(t *rapid.T) providers.Return {
		return providers.Return{
			ID: rapid.SampledFrom([]string{"r1", "r2", "r3"}).Draw(t, "id"), Sent: rapid.SampledFrom([]string{"", "D1", "D2"}).Draw(t, "sent"),
			Amount: rapid.SampledFrom([]money.Amount{1, 400, 600, 999, 1000, 1001}).Draw(t, "amount"),
		}
	})
}

// wrongRefunds holds what went back against what came: never more of a payment than it
// brought, and what the books have of each account is what the payments say.
func wrongRefunds(c charge.Charge, books map[ledger.Account]money.Amount) error {
	want := map[ledger.Account]money.Amount{}
	for _, p := range c.Payments {
		if p.Refunded < 0 || p.Refunded > p.Amount || p.Unnamed < 0 || p.Unnamed > p.Refunded {
			return fmt.Errorf("%d of %d went back, %d of that unnamed", p.Refunded, p.Amount, p.Unnamed)
		}
		if p.Booked {
			continue
		}
		want[ledger.PixClearing] += p.Amount - p.Refunded
		switch {
		case p.Mismatch:
			want[ledger.Suspense] -= p.Amount - p.Refunded
		case p.Extra || c.Late:
			want[ledger.CustomerCredit] -= p.Amount - p.Refunded
		default:
			want[ledger.Sales] -= p.Amount
			want[ledger.Refunds] += p.Refunded
		}
	}
	for _, a := range ledger.Chart() {
		if books[a] != want[a] {
			return fmt.Errorf("the books have %d in %s, the payments say %d: %+v", books[a], a, want[a], c.Payments)
		}
	}
	settled, paid := c.Settling()
	state := c.State
	switch {
	case !paid:
		if c.RefundedSum != 0 || state.Rank() >= charge.Paid.Rank() {
			return fmt.Errorf("%s, and %d went back", state, c.RefundedSum)
		}
		return nil
	case settled.Refunded == 0:
		state = charge.Paid
	case settled.Refunded < c.Amount:
		state = charge.PartiallyRefunded
	default:
		state = charge.Refunded
	}
	if c.State != state || c.RefundedSum != settled.Refunded {
		return fmt.Errorf("%s with %d given back, want %s with %d", c.State, c.RefundedSum, state, settled.Refunded)
	}
	return nil
}

// TestWrongRefunds: each fault in what went back, or in its postings, is found by the
// check that the random histories rest on.
func TestWrongRefunds(t *testing.T) {
	sound := func() (charge.Charge, map[ledger.Account]money.Amount) {
		c, books := pending(t), map[ledger.Account]money.Amount{}
		a := answer(1, providers.StatusPaid, 1000, "E1")
		a.Returns = []providers.Return{{ID: "r1", Amount: 400}}
		for _, f := range c.Observe(1, a, "") {
			c = apply(t, c, f)
			for _, p := range charge.Postings(f) {
				books[p.Account] += p.Amount
			}
		}
		return c, books
	}
	if c, books := sound(); wrongRefunds(c, books) != nil || c.State != charge.PartiallyRefunded {
		t.Fatal(c.State, wrongRefunds(c, books))
	}
	for name, mutant := range map[string]func(*charge.Charge, map[ledger.Account]money.Amount){
		"nothing posted": func(_ *charge.Charge, b map[ledger.Account]money.Amount) {
			b[ledger.Refunds], b[ledger.PixClearing] = 0, 1000
		},
		"posted twice": func(_ *charge.Charge, b map[ledger.Account]money.Amount) {
			b[ledger.Refunds], b[ledger.PixClearing] = 800, 200
		},
		"posted to another": func(_ *charge.Charge, b map[ledger.Account]money.Amount) {
			b[ledger.Refunds], b[ledger.Suspense] = 0, 400
		},
		"the sale is undone": func(_ *charge.Charge, b map[ledger.Account]money.Amount) {
			b[ledger.Refunds], b[ledger.Sales] = 0, -600
		},
		"more than was paid":       func(c *charge.Charge, _ map[ledger.Account]money.Amount) { c.Payments[0].Refunded = 1001 },
		"state does not follow":    func(c *charge.Charge, _ map[ledger.Account]money.Amount) { c.State = charge.Paid },
		"called whole":             func(c *charge.Charge, _ map[ledger.Account]money.Amount) { c.State = charge.Refunded },
		"the sum is another":       func(c *charge.Charge, _ map[ledger.Account]money.Amount) { c.RefundedSum = 1 },
		"more unnamed than in all": func(c *charge.Charge, _ map[ledger.Account]money.Amount) { c.Payments[0].Unnamed = 401 },
	} {
		c, books := sound()
		c.Payments = slices.Clone(c.Payments)
		books = maps.Clone(books)
		if mutant(&c, books); wrongRefunds(c, books) == nil {
			t.Errorf("%s: not found", name)
		}
	}
}

// TestGiveBack has the words about refunds that fit, that are known, and that do not
// fit, and what is booked for each.
func TestGiveBack(t *testing.T) {
	paid := func(s providers.Status, amount money.Amount, returns ...providers.Return) charge.Charge {
		c := pending(t)
		a := answer(1, s, amount, "E1")
		a.Returns = returns
		c = apply(t, c, c.Observe(1, answer(1, providers.StatusPaid, amount, "E1"), "")...)
		return apply(t, c, c.Observe(1, a, "")...)
	}
	whole := paid(providers.StatusPaid, 1000)
	unnamed := paid(providers.StatusRefunded, 1000)
	part := paid(providers.StatusPaid, 1000, providers.Return{ID: "r1", Sent: "D1", Amount: 400})
	odd := paid(providers.StatusPaid, 900)
	two := apply(t, whole, whole.Observe(1, answer(1, providers.StatusPaid, 1000, "E2"), "")...)
	late := apply(t, pending(t), ended(charge.Expired))
	late = apply(t, late, late.Observe(1, answer(1, providers.StatusPaid, 1000, "E1"), "")...)
	for _, tt := range []struct {
		name    string
		c       charge.Charge
		r       providers.Return
		of      string
		state   charge.State // "": it is refused
		moved   money.Amount // 0 with a state: it is known, or booked
		against ledger.Account
	}{
		{"a part", whole, providers.Return{ID: "r1", Amount: 400}, "E1", charge.PartiallyRefunded, 400, ledger.Refunds},
		{"all", whole, providers.Return{ID: "r1", Amount: 1000}, "E1", charge.Refunded, 1000, ledger.Refunds},
		{"more than came", whole, providers.Return{ID: "r1", Amount: 1001}, "E1", "", 0, ""},
		{"of another payment", whole, providers.Return{ID: "r1", Amount: 1}, "E9", "", 0, ""},
		{"of no payment", pending(t), providers.Return{ID: "r1", Amount: 1}, "E1", "", 0, ""},
		{"nothing", whole, providers.Return{ID: "r1"}, "E1", "", 0, ""},
		{"without an id", whole, providers.Return{Amount: 1}, "E1", "", 0, ""},
		{"known by its id", part, providers.Return{ID: "r1", Amount: 400}, "E1", charge.PartiallyRefunded, 0, ""},
		{"known by what was sent", part, providers.Return{ID: "HUB1", Sent: "D1", Amount: 400}, "E1", charge.PartiallyRefunded, 0, ""},
		{"another amount under a known id", part, providers.Return{ID: "r1", Amount: 300}, "E1", "", 0, ""},
		{"the rest", part, providers.Return{ID: "r2", Amount: 600}, "E1", charge.Refunded, 600, ledger.Refunds},
		{"more than the rest", part, providers.Return{ID: "r2", Amount: 601}, "E1", "", 0, ""},
		{"what the provider told of without a name", unnamed, providers.Return{ID: "r1", Amount: 400}, "E1", charge.Refunded, 0, ""},
		{"the second payment", two, providers.Return{ID: "r1", Amount: 1000}, "E2", charge.Paid, 1000, ledger.CustomerCredit},
		{"of another amount", odd, providers.Return{ID: "r1", Amount: 900}, "E1", charge.Pending, 900, ledger.Suspense},
		{"of late money", late, providers.Return{ID: "r1", Amount: 400}, "E1", charge.PartiallyRefunded, 400, ledger.CustomerCredit},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f, err := tt.c.GiveBack(tt.r, charge.Evidence{Source: charge.FromHub, EndToEnd: tt.of, Digest: "cc"})
			if tt.state == "" {
				if !errors.Is(err, charge.ErrRefund) || f != nil {
					t.Fatalf("%+v, %v; want ErrRefund", f, err)
				}
				return
			}
			c := tt.c
			var lines []ledger.Posting
			if f != nil {
				c, lines = apply(t, c, f), charge.Postings(f)
			}
			if err != nil || c.State != tt.state {
				t.Fatalf("%s, %v; want %s", c.State, err, tt.state)
			}
			want := []ledger.Posting{{Account: tt.against, Amount: tt.moved}, {Account: ledger.PixClearing, Amount: -tt.moved}}
			if tt.moved == 0 {
				want = nil
			}
			if !slices.Equal(lines, want) {
				t.Errorf("postings %v, want %v", lines, want)
			}
			if again, err := c.GiveBack(tt.r, charge.Evidence{Source: charge.FromHub, EndToEnd: tt.of}); again != nil || err != nil {
				t.Errorf("the same again: %+v, %v", again, err)
			}
		})
	}
	// What is left of an unnamed one is absorbed as well, and no more than that.
	c := unnamed
	for i, amount := range []money.Amount{400, 600} {
		f, err := c.GiveBack(providers.Return{ID: fmt.Sprint("r", i), Amount: amount}, charge.Evidence{EndToEnd: "E1"})
		if err != nil || charge.Postings(f) != nil {
			t.Fatalf("part %d: %v, %v", i, f, err)
		}
		c = apply(t, c, f)
	}
	if f, err := c.GiveBack(providers.Return{ID: "r9", Amount: 1}, charge.Evidence{EndToEnd: "E1"}); !errors.Is(err, charge.ErrRefund) {
		t.Errorf("a third part: %v, %v", f, err)
	}
}

// TestReturnsByAnotherName: what the hub told of by its own id is not counted again when
// the bank lists it by one that somebody gave it in its panel.
func TestReturnsByAnotherName(t *testing.T) {
	c := pending(t)
	c = apply(t, c, c.Observe(1, answer(1, providers.StatusPaid, 1000, "E1"), "")...)
	f, err := c.GiveBack(providers.Return{ID: "HUB1", Amount: 400}, charge.Evidence{Source: charge.FromHub, EndToEnd: "E1", By: "bia"})
	if err != nil {
		t.Fatal(err)
	}
	c = apply(t, c, f)
	a := answer(1, providers.StatusPaid, 1000, "E1")
	a.Returns = []providers.Return{{ID: "panel1", Amount: 400}}
	if facts := c.Observe(1, a, ""); len(facts) != 0 {
		t.Fatalf("it is counted twice: %+v", facts)
	}
	a.Returns = append(a.Returns, providers.Return{ID: "panel2", Amount: 300})
	if c = apply(t, c, c.Observe(1, a, "")...); c.RefundedSum != 700 {
		t.Errorf("%d centavos went back, want 700", c.RefundedSum)
	}
}

// TestReturnsOfSeveralAmounts: the one that the hub told of by another name is the one of its
// amount, whichever the bank lists first.
func TestReturnsOfSeveralAmounts(t *testing.T) {
	for _, list := range [][]providers.Return{
		{{ID: "panel1", Amount: 300}, {ID: "panel2", Amount: 400}},
		{{ID: "panel2", Amount: 400}, {ID: "panel1", Amount: 300}},
	} {
		c := pending(t)
		c = apply(t, c, c.Observe(1, answer(1, providers.StatusPaid, 1000, "E1"), "")...)
		f, err := c.GiveBack(providers.Return{ID: "HUB1", Amount: 300}, charge.Evidence{Source: charge.FromHub, EndToEnd: "E1", By: "bia"})
		if err != nil {
			t.Fatal(err)
		}
		c = apply(t, c, f)
		a := answer(1, providers.StatusPaid, 1000, "E1")
		a.Returns = list
		if c = apply(t, c, c.Observe(1, a, "")...); c.RefundedSum != 700 {
			t.Errorf("%+v: %d centavos went back, want 700", list, c.RefundedSum)
		}
		if facts := c.Observe(1, a, ""); len(facts) != 0 {
			t.Errorf("again: %+v", facts)
		}
	}
}

// TestReturnedWhileOutside: a charge for which something left already is a sale that was
// given back, not one that was cancelled.
func TestReturnedWhileOutside(t *testing.T) {
	static := attempt(1, charge.Accepted).(charge.AttemptFact)
	c := fold(t, created(), attempt(1, charge.Rejected), charge.AttemptFact{
		Charge: id, N: 2, State: charge.Accepted, ProviderID: string(id), Static: true, At: time.Unix(1, 0), Digest: static.Digest,
	}, charge.ReleasedFact{Charge: id, Amount: 1000, Count: 1, Sum: 1000})
	p := providers.Payment{EndToEnd: "E1", TxID: string(id), Amount: 1000, Digest: "aa", Returns: []providers.Return{{ID: "r1", Amount: 1000}}}
	facts := c.Received(c.FromPayment(2, p), p.Returns, false)
	if got := kinds(facts); got != "paid refunded" {
		t.Errorf("got %q", got)
	}
}

// TestGivenBackByHand: a person who gave money back in the bank's panel signs for it with
// ids that may be wrong. It is the bank's refund of that amount, and another one when there
// is none left that the hub has not told of.
func TestGivenBackByHand(t *testing.T) {
	c := pending(t)
	a := answer(1, providers.StatusPaid, 1000, "E1")
	a.Returns = []providers.Return{{ID: "panel1", Sent: "D1", Amount: 400}, {ID: "panel2", Sent: "D2", Amount: 100}}
	c = apply(t, c, c.Observe(1, a, "")...)
	byHand := charge.Evidence{Source: charge.FromHub, EndToEnd: "E1", By: "bia"}
	say := func(id string, want money.Amount) charge.Fact {
		t.Helper()
		f, err := c.GiveBack(providers.Return{ID: id, Sent: "E1", Amount: 400}, byHand)
		if err != nil || f == nil {
			t.Fatal(f, err)
		}
		if c = apply(t, c, f); c.RefundedSum != want {
			t.Errorf("%s: %d centavos went back, want %d", id, c.RefundedSum, want)
		}
		if again, err := c.GiveBack(providers.Return{ID: id, Sent: "E1", Amount: 400}, byHand); again != nil || err != nil {
			t.Errorf("%s again: %+v, %v", id, again, err)
		}
		return f
	}
	if f := say("HUB1", 500); len(charge.Postings(f)) != 0 {
		t.Errorf("postings %v", charge.Postings(f))
	}
	for name, wrong := range map[string]func(*charge.RefundedFact){
		"another's":   func(f *charge.RefundedFact) { f.Same = "panel3" },
		"told before": func(*charge.RefundedFact) {},
		"another sum": func(f *charge.RefundedFact) { f.Same, f.Amount, f.Booked = "panel2", 400, 400 },
		"a posting":   func(f *charge.RefundedFact) { f.Same, f.Amount, f.Booked = "panel2", 100, 0 },
		"the bank's": func(f *charge.RefundedFact) {
			f.Same, f.Amount, f.Booked, f.Evidence.Source = "panel2", 100, 100, charge.FromProvider
		},
	} {
		f := charge.RefundedFact{Charge: id, ID: "HUB9", Amount: 400, Booked: 400, EndToEnd: "E1", Same: "panel1", Evidence: byHand}
		if wrong(&f); f.Evidence.Attempt == 0 {
			f.Evidence.Attempt = 1
		}
		if _, err := c.Apply(f); err == nil {
			t.Errorf("%s: it is taken", name)
		}
	}
	if f := say("HUB2", 900); len(charge.Postings(f)) != 2 {
		t.Errorf("postings %v", charge.Postings(f))
	}
	a.Returns = append(a.Returns, providers.Return{ID: "panel3", Sent: "D3", Amount: 400})
	if facts := c.Observe(1, a, ""); len(facts) != 0 {
		t.Errorf("the bank's third is counted twice: %+v", facts)
	}
}

// TestOrderedAndByHand: of two refunds of one amount the hub ordered one, which the bank has
// by the hub's id, and a person made the other. Neither is taken for the other, in whatever
// order they are told of.
func TestOrderedAndByHand(t *testing.T) {
	const ordered, byHand = "HUB001KA8VZ0Q00001ABCDEFG", "HUB001KA8VZ0Q00002ABCDEFG"
	order := providers.Return{ID: ordered, Sent: "D1", Amount: 300}
	for _, listed := range []string{byHand, "panel1"} { // the bank's id of the one by hand
		hand := providers.Return{ID: listed, Sent: "D2", Amount: 300}
		for _, steps := range []string{"bobBh", "bohBh", "boBhh", "hBoh", "hboBh", "ohBb", "BohB", "bhoB", "bhB"} {
			c := pending(t)
			c = apply(t, c, c.Observe(1, answer(1, providers.StatusPaid, 1000, "E1"), "")...)
			bank := func(list ...providers.Return) {
				a := answer(1, providers.StatusPaid, 1000, "E1")
				a.Returns = list
				c = apply(t, c, c.Observe(1, a, "")...)
			}
			hub := func(id, sent, digest, by string) {
				f, err := c.GiveBack(providers.Return{ID: id, Sent: sent, Amount: 300}, charge.Evidence{Source: charge.FromHub, EndToEnd: "E1", Digest: digest, By: by})
				if err != nil {
					t.Fatal(err)
				}
				if f != nil {
					c = apply(t, c, f)
				}
			}
			for _, step := range steps + "B" {
				switch step {
				case 'b':
					bank(order)
				case 'B':
					bank(order, hand)
				case 'o':
					hub(ordered, "", "abcd", "")
				case 'h':
					hub(byHand, "", "", "bia")
				}
			}
			if c.RefundedSum != 600 {
				t.Errorf("%s, %s: %d centavos went back, want 600", listed, steps, c.RefundedSum)
			}
		}
	}
}

// TestTwoByHandUnderOneID: a person who gave two refunds of one amount back signs for both
// with the id of the first. They are two.
func TestTwoByHandUnderOneID(t *testing.T) {
	c := pending(t)
	c = apply(t, c, c.Observe(1, answer(1, providers.StatusPaid, 1000, "E1"), "")...)
	ev := charge.Evidence{Source: charge.FromHub, EndToEnd: "E1", By: "bia"}
	for i, id := range []string{"HUB1", "HUB2"} {
		r := providers.Return{ID: id, Sent: "D1", Amount: 300}
		f, err := c.GiveBack(r, ev)
		if err != nil || f == nil {
			t.Fatalf("%s: %v, %v", id, f, err)
		}
		if c = apply(t, c, f); c.RefundedSum != money.Amount(300*(i+1)) {
			t.Errorf("%s: %d centavos went back", id, c.RefundedSum)
		}
		if again, err := c.GiveBack(r, ev); again != nil || err != nil {
			t.Errorf("%s again: %v, %v", id, again, err)
		}
	}
	if f, err := c.GiveBack(providers.Return{ID: "HUB1", Sent: "D1", Amount: 300}, ev); f != nil || err != nil {
		t.Errorf("the first one again: %v, %v", f, err)
	}
}
