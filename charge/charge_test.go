package charge_test

import (
	"encoding/json"
	"errors"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/ssg-safe/agent/charge"
	"github.com/ssg-safe/agent/ledger"
	"github.com/ssg-safe/agent/money"
	"github.com/ssg-safe/agent/providers"
)

const id charge.ID = "T0010123456789ABCDEFGHJKM"

func created() charge.Fact {
	return charge.CreatedFact{Charge: id, Merchant: "loja", Route: "ssg", Account: "acc", Amount: 1000, Expiry: 300, Source: "keypad", Present: true}
}

func attempt(n int, s charge.AttemptState) charge.Fact {
	f := charge.AttemptFact{Charge: id, N: n, State: s}
	if s == charge.Accepted {
		f.ProviderID, f.Digest = providerID(n), "aa"
	}
	return f
}

func providerID(n int) string { return "p" + string(rune('0'+n)) }

func ended(s charge.State) charge.Fact {
	return charge.EndedFact{Charge: id, State: s, Reason: "test"}
}

// answer is a provider's status answer; amount 0 is not said.
func answer(n int, s providers.Status, amount money.Amount, e2e string) providers.Charge {
	a := providers.Charge{ProviderID: providerID(n), Status: s, Word: "W", EndToEnd: e2e, Digest: "bb"}
	if amount != 0 {
		a.Amount = &amount
	}
	return a
}

func fold(t *testing.T, facts ...charge.Fact) charge.Charge {
	t.Helper()
	c, err := charge.Fold(facts)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func apply(t *testing.T, c charge.Charge, facts ...charge.Fact) charge.Charge {
	t.Helper()
	for _, f := range facts {
		var err error
		if c, err = c.Apply(f); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

func pending(t *testing.T) charge.Charge {
	return fold(t, created(), attempt(1, charge.Accepted))
}

// refund gives back a part of the payment E1.
func refund(name string, amount money.Amount) charge.Fact {
	return charge.RefundedFact{Charge: id, ID: name, Amount: amount, EndToEnd: "E1", Evidence: charge.Evidence{Attempt: 1, EndToEnd: "E1"}}
}

func kinds(facts []charge.Fact) string {
	var s []string
	for _, f := range facts {
		k := f.Kind()
		if a, ok := f.(charge.AttemptFact); ok {
			k += ":" + string(a.State)
		}
		s = append(s, strings.TrimPrefix(k, "charge."))
	}
	return strings.Join(s, " ")
}

func TestTransitions(t *testing.T) {
	paid := func(late bool) charge.Fact {
		c := pending(t)
		f := c.Credit(c.FromAnswer(1, answer(1, providers.StatusPaid, 1000, "E1"))).(charge.PaidFact)
		f.Late = late
		return f
	}
	tests := []struct {
		name  string
		facts []charge.Fact
		want  charge.State // "" means the last fact is refused
	}{
		{"created", []charge.Fact{created()}, charge.Created},
		{"created twice", []charge.Fact{created(), created()}, ""},
		{"no charge", []charge.Fact{ended(charge.Expired)}, ""},
		{"accepted", []charge.Fact{created(), attempt(1, charge.Accepted)}, charge.Pending},
		{"accepted twice", []charge.Fact{created(), attempt(1, charge.Accepted), attempt(1, charge.Accepted)}, ""},
		{"unknown attempt", []charge.Fact{created(), attempt(2, charge.Accepted)}, ""},
		{"second attempt too early", []charge.Fact{created(), attempt(2, charge.Sending)}, ""},
		{"second attempt while uncertain", []charge.Fact{created(), attempt(1, charge.Uncertain), attempt(2, charge.Sending)}, ""},
		{"second attempt after an orphan", []charge.Fact{created(), attempt(1, charge.Uncertain), attempt(1, charge.Orphaned), attempt(2, charge.Sending)}, charge.Created},
		{"late answer of an orphan", []charge.Fact{created(), attempt(1, charge.Orphaned), attempt(2, charge.Sending), attempt(1, charge.Accepted)}, charge.Pending},
		{"rejected attempt accepted", []charge.Fact{created(), attempt(1, charge.Rejected), attempt(1, charge.Accepted)}, ""},
		{"failed", []charge.Fact{created(), attempt(1, charge.Rejected), ended(charge.Failed)}, charge.Failed},
		{"pending fails", []charge.Fact{created(), attempt(1, charge.Accepted), ended(charge.Failed)}, ""},
		{"expired", []charge.Fact{created(), attempt(1, charge.Accepted), ended(charge.Expired)}, charge.Expired},
		{"expired then cancelled", []charge.Fact{created(), attempt(1, charge.Accepted), ended(charge.Expired), ended(charge.Cancelled)}, ""},
		{"ended as paid", []charge.Fact{created(), ended(charge.Paid)}, ""},
		{"paid", []charge.Fact{created(), attempt(1, charge.Accepted), paid(false)}, charge.Paid},
		{"paid without an accepted attempt", []charge.Fact{created(), paid(false)}, ""},
		{"paid in time, called late", []charge.Fact{created(), attempt(1, charge.Accepted), paid(true)}, ""},
		{"paid late", []charge.Fact{created(), attempt(1, charge.Accepted), ended(charge.Expired), paid(true)}, charge.Paid},
		{"paid late, not said so", []charge.Fact{created(), attempt(1, charge.Accepted), ended(charge.Expired), paid(false)}, ""},
		{"paid then expired", []charge.Fact{created(), attempt(1, charge.Accepted), paid(false), ended(charge.Expired)}, ""},
		{"part refunded", []charge.Fact{created(), attempt(1, charge.Accepted), paid(false), refund("r1", 400)}, charge.PartiallyRefunded},
		{"all refunded", []charge.Fact{created(), attempt(1, charge.Accepted), paid(false), refund("r1", 400), refund("r2", 600)}, charge.Refunded},
		{"refunded twice under one id", []charge.Fact{created(), attempt(1, charge.Accepted), paid(false), refund("r1", 400), refund("r1", 400)}, ""},
		{"refunded a payment that there is not", []charge.Fact{created(), attempt(1, charge.Accepted), paid(false), charge.RefundedFact{Charge: id, ID: "r1", Amount: 1, EndToEnd: "E2", Evidence: charge.Evidence{Attempt: 1, EndToEnd: "E2"}}}, ""},
		{"refunded what is pending", []charge.Fact{created(), attempt(1, charge.Accepted), refund("r1", 400)}, ""},
		{"refunded too much", []charge.Fact{created(), attempt(1, charge.Accepted), paid(false), refund("r1", 1001)}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			last := len(tt.facts) - 1
			c := fold(t, tt.facts[:last]...)
			before, _ := json.Marshal(c)
			next, err := c.Apply(tt.facts[last])
			if tt.want == "" {
				if _, ok := errors.AsType[*charge.TransitionError](err); !ok {
					t.Fatalf("got state %s, error %v; want a TransitionError", next.State, err)
				}
			} else if err != nil || next.State != tt.want {
				t.Fatalf("got state %s, error %v; want %s", next.State, err, tt.want)
			}
			if after, _ := json.Marshal(c); string(after) != string(before) {
				t.Errorf("Apply changed its receiver:\n%s\n%s", before, after)
			}
		})
	}
}

func TestObserve(t *testing.T) {
	expired := func(t *testing.T) charge.Charge { return apply(t, pending(t), ended(charge.Expired)) }
	paidB := func(t *testing.T) charge.Charge {
		c := pending(t)
		return apply(t, c, c.Observe(1, answer(1, providers.StatusPaid, 1000, "E1"), "")...)
	}
	paidC := func(t *testing.T) charge.Charge {
		c := pending(t)
		return apply(t, c, c.Observe(1, answer(1, providers.StatusPaid, 0, ""), "")...)
	}
	tests := []struct {
		name   string
		charge func(*testing.T) charge.Charge
		answer providers.Charge
		ended  charge.State
		want   string
	}{
		{"still pending", pending, answer(1, providers.StatusPending, 0, ""), "", ""},
		{"pending after the deadline", pending, answer(1, providers.StatusPending, 0, ""), charge.Expired, "expired"},
		{"pending after cancel", pending, answer(1, providers.StatusPending, 0, ""), charge.Cancelled, "cancelled"},
		{"paid after the deadline, in time for us", pending, answer(1, providers.StatusPaid, 1000, "E1"), charge.Expired, "paid"},
		{"provider expired it", pending, answer(1, providers.StatusExpired, 0, ""), "", "expired"},
		{"provider cancelled it", pending, answer(1, providers.StatusCancelled, 0, ""), "", "cancelled"},
		{"unknown word", pending, answer(1, providers.StatusUncertain, 0, ""), charge.Expired, ""},
		{"status word only", pending, answer(1, providers.StatusPaid, 0, ""), "", "paid"},
		{"other amount", pending, answer(1, providers.StatusPaid, 999, "E1"), "", "payment_mismatch"},
		{"other charge", pending, answer(2, providers.StatusPaid, 1000, "E1"), "", "payment_mismatch"},
		{"late", expired, answer(1, providers.StatusPaid, 1000, "E1"), "", "paid"},
		{"expired again", expired, answer(1, providers.StatusExpired, 0, ""), "", ""},
		{"paid again, same payment", paidB, answer(1, providers.StatusPaid, 1000, "E1"), "", ""},
		{"paid again, other payment", paidB, answer(1, providers.StatusPaid, 1000, "E2"), "", "payment_extra"},
		{"paid again, no id", paidC, answer(1, providers.StatusPaid, 0, ""), "", ""},
		{"refunded there, unknown here", pending, answer(1, providers.StatusRefunded, 1000, "E1"), "", "cancelled paid refunded"},
		{"refunded there, paid here", paidB, answer(1, providers.StatusRefunded, 1000, "E1"), "", "refunded"},
		{"refunded there, without a word about which", paidB, answer(1, providers.StatusRefunded, 0, ""), "", "refunded"},
		{"refunded there, ended here", expired, answer(1, providers.StatusRefunded, 1000, "E1"), "", "paid refunded"},
		{"refunded another amount there", pending, answer(1, providers.StatusRefunded, 999, "E1"), "", "payment_mismatch refunded"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := tt.charge(t)
			facts := c.Observe(1, tt.answer, tt.ended)
			if got := kinds(facts); got != tt.want {
				t.Fatalf("got facts %q, want %q", got, tt.want)
			}
			for _, f := range facts {
				next, err := c.Apply(f)
				if err != nil {
					t.Fatal(err)
				}
				if p, ok := f.(charge.PaidFact); ok && p.Late != (c.State == charge.Expired || c.State == charge.Cancelled) {
					t.Errorf("late is %v while %s", p.Late, c.State)
				}
				c = next
			}
			if again := c.Observe(1, tt.answer, tt.ended); len(facts) > 0 && len(again) != 0 {
				t.Errorf("the same answer again gives %q", kinds(again))
			}
		})
	}
}

func TestGrades(t *testing.T) {
	c := pending(t)
	for _, tt := range []struct {
		answer providers.Charge
		want   charge.Grade
	}{
		{answer(1, providers.StatusPaid, 1000, "E1"), charge.GradeA},
		{answer(1, providers.StatusPaid, 1000, ""), charge.GradeB},
		{answer(1, providers.StatusPaid, 0, ""), charge.GradeC},
		{answer(1, providers.StatusPaid, 0, "E1"), charge.GradeC},
	} {
		if got := c.FromAnswer(1, tt.answer).Grade(); got != tt.want {
			t.Errorf("%+v: got grade %s, want %s", tt.answer, got, tt.want)
		}
	}
}

func TestAnswer(t *testing.T) {
	fail := func(k providers.Kind) error { return &providers.Error{Kind: k} }
	first := fold(t, created())
	third := fold(t, created(),
		attempt(1, charge.Orphaned), attempt(2, charge.Sending),
		attempt(2, charge.Rejected), attempt(3, charge.Sending))
	tests := []struct {
		name string
		c    charge.Charge
		n    int
		err  error
		caps providers.Caps
		want string
		next charge.Next
	}{
		{"accepted", first, 1, nil, providers.Caps{}, "attempt:accepted", charge.Wait},
		{"permanent", first, 1, fail(providers.Invalid), providers.Caps{}, "attempt:rejected failed", charge.Wait},
		{"not sent", first, 1, fail(providers.NotSent), providers.Caps{}, "attempt:rejected", charge.Retry},
		{"not sent for the third time", third, 3, fail(providers.NotSent), providers.Caps{}, "attempt:rejected failed", charge.Wait},
		{"ambiguous", first, 1, fail(providers.Ambiguous), providers.Caps{}, "attempt:uncertain attempt:orphaned", charge.Retry},
		{"ambiguous for the third time", third, 3, fail(providers.Ambiguous), providers.Caps{}, "attempt:uncertain attempt:orphaned failed", charge.Wait},
		{"ambiguous, can be looked up", first, 1, fail(providers.Ambiguous), providers.Caps{LookUp: true}, "attempt:uncertain", charge.LookUp},
		{"contract", first, 1, fail(providers.Contract), providers.Caps{}, "attempt:uncertain attempt:orphaned", charge.Retry},
		{"security", first, 1, fail(providers.Security), providers.Caps{}, "attempt:uncertain attempt:orphaned failed", charge.Wait},
		{"an error of no kind is ambiguous", first, 1, errors.New("boom"), providers.Caps{}, "attempt:uncertain attempt:orphaned", charge.Retry},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			facts, next := tt.c.Answer(tt.n, providers.Charge{ProviderID: "p1", Digest: "aa"}, tt.err, "", tt.caps)
			if got := kinds(facts); got != tt.want || next != tt.next {
				t.Fatalf("got %q, next %d; want %q, next %d", got, next, tt.want, tt.next)
			}
			c := apply(t, tt.c, facts...)
			if next == charge.Retry {
				apply(t, c, attempt(tt.n+1, charge.Sending))
			}
		})
	}
}

func TestInterrupted(t *testing.T) {
	tests := []struct {
		name  string
		facts []charge.Fact
		caps  providers.Caps
		want  string
		next  charge.Next
	}{
		{"in flight", []charge.Fact{created()}, providers.Caps{}, "attempt:uncertain attempt:orphaned", charge.Retry},
		{"in flight, can be looked up", []charge.Fact{created()}, providers.Caps{LookUp: true}, "attempt:uncertain", charge.LookUp},
		{"uncertain", []charge.Fact{created(), attempt(1, charge.Uncertain)}, providers.Caps{LookUp: true}, "", charge.LookUp},
		{"waited for the next attempt", []charge.Fact{created(), attempt(1, charge.Rejected)}, providers.Caps{}, "", charge.Wait},
		{"accepted", []charge.Fact{created(), attempt(1, charge.Accepted)}, providers.Caps{}, "", charge.Wait},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := fold(t, tt.facts...)
			facts, next := c.Interrupted(tt.caps)
			if got := kinds(facts); got != tt.want || next != tt.next {
				t.Fatalf("got %q, next %d; want %q, next %d", got, next, tt.want, tt.next)
			}
			apply(t, c, facts...)
		})
	}
}

func TestPostingsBalance(t *testing.T) {
	c := pending(t)
	paid := c.Credit(c.FromAnswer(1, answer(1, providers.StatusPaid, 1000, "E1"))).(charge.PaidFact)
	late := paid
	late.Late = true
	for _, tt := range []struct {
		fact charge.Fact
		to   ledger.Account
	}{
		{paid, ledger.Sales},
		{late, ledger.CustomerCredit},
		{charge.ExtraPaymentFact{Amount: 1000}, ledger.CustomerCredit},
		{charge.MismatchFact{Amount: 700}, ledger.Suspense},
		{charge.RefundedFact{Amount: 700}, ledger.PixClearing},
		{charge.RefundedFact{Amount: 700, Against: ledger.CustomerCredit, Booked: 300}, ledger.PixClearing},
	} {
		lines := charge.Postings(tt.fact)
		var sum money.Amount
		for _, l := range lines {
			sum += l.Amount
		}
		if sum != 0 || len(lines) != 2 || lines[1].Account != tt.to {
			t.Errorf("%s: got %v, want two lines that end in %s and sum to zero", tt.fact.Kind(), lines, tt.to)
		}
	}
}

// TestOnePaymentIsBookedOnce: an end-to-end id that credits another charge is
// recorded and moves no money.
func TestOnePaymentIsBookedOnce(t *testing.T) {
	c := pending(t)
	paid := c.Observe(1, answer(1, providers.StatusPaid, 1000, "E1"), "")[0]
	odd := charge.ClaimedElsewhere(paid)
	if lines := charge.Postings(odd); lines != nil {
		t.Errorf("it posts %v", lines)
	}
	c = apply(t, c, odd)
	if c.State != charge.Pending || len(c.Payments) != 1 || !c.Payments[0].Mismatch {
		t.Errorf("state %s, payments %+v", c.State, c.Payments)
	}
	if again := c.Observe(1, answer(1, providers.StatusPaid, 1000, "E1"), ""); len(again) != 0 {
		t.Errorf("the same answer again gives %q", kinds(again))
	}
	if f := charge.ClaimedElsewhere(odd); f != nil {
		t.Errorf("claimed elsewhere twice: %+v", f)
	}
}

func TestNoMoneyPostsNothing(t *testing.T) {
	for _, amount := range []money.Amount{0, -1} {
		if lines := charge.Postings(charge.MismatchFact{Amount: amount}); lines != nil {
			t.Errorf("a mismatch of %d centavos posts %v", amount, lines)
		}
	}
}

// TestNeverShown: whatever the reason, and whatever comes afterwards, a charge that
// ended before it had a code is known as one, and no other is.
func TestNeverShown(t *testing.T) {
	money := answer(1, providers.StatusPaid, 1000, "E1")
	for _, s := range []charge.State{charge.Expired, charge.Cancelled, charge.Failed} {
		for _, reason := range []string{"", "payer", "deadline", "a reason that comes later"} {
			end := charge.EndedFact{Charge: id, State: s, Reason: reason}
			before := fold(t, created(), attempt(1, charge.Uncertain), end)
			late := apply(t, before, attempt(1, charge.Accepted))
			late = apply(t, late, late.Credit(late.FromAnswer(1, money)))
			if !before.NeverShown || !late.NeverShown || late.State != charge.Paid {
				t.Errorf("%s for %q: %v, then %s and %v", s, reason, before.NeverShown, late.State, late.NeverShown)
			}
			if s == charge.Failed {
				continue // no end of a charge that has a code
			}
			if c := apply(t, pending(t), end); c.NeverShown {
				t.Errorf("%s for %q: a code that was shown is forgotten", s, reason)
			}
		}
	}
	if pending(t).NeverShown {
		t.Error("an open charge counts as one")
	}
}

func TestDecodeRoundTrip(t *testing.T) {
	c := pending(t)
	ev := c.FromAnswer(1, answer(1, providers.StatusPaid, 1000, "E1"))
	for _, f := range []charge.Fact{
		created(), attempt(1, charge.Accepted), ended(charge.Expired), ended(charge.Cancelled), ended(charge.Failed),
		charge.PaidFact{Charge: id, Attempt: 1, Amount: 1000, Evidence: ev, Late: true},
		charge.ExtraPaymentFact{Charge: id, Attempt: 1, Amount: 1000, Evidence: ev},
		charge.MismatchFact{Charge: id, Attempt: 1, Amount: 1000, Evidence: ev, Why: "x"},
		charge.RefundedFact{Charge: id, ID: "r", Amount: 3, EndToEnd: "E1", Against: ledger.Suspense, Sent: "D1", Booked: 1, Evidence: ev},
		charge.RefundedFact{Charge: id, ID: "unnamed1", Amount: 1, EndToEnd: "E1", Unnamed: true, Evidence: ev},
		charge.EndedFact{Charge: id, State: charge.Expired, Reason: "provider", Evidence: &ev},
	} {
		data, err := json.Marshal(f)
		if err != nil {
			t.Fatal(err)
		}
		var proof []byte
		if p := f.Proof(); p != nil {
			if proof, err = json.Marshal(p); err != nil {
				t.Fatal(err)
			}
		}
		got, err := charge.Decode(f.Kind(), data, proof)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(f, got, cmp.AllowUnexported(charge.CreatedFact{}, charge.AttemptFact{})); diff != "" {
			t.Errorf("%s (-want +got):\n%s", f.Kind(), diff)
		}
	}
	if f, err := charge.Decode("slip.printed", []byte(`{}`), nil); f != nil || err != nil {
		t.Errorf("a foreign kind gives %v, %v; want nil, nil", f, err)
	}
	if _, err := charge.Decode("charge.paid", []byte(`{}`), nil); err == nil {
		t.Error("a paid fact without evidence decodes")
	}
}

// TestOpsTellMoneyApart: what is other money has another operation id, and one
// that the ledger takes whatever the provider writes.
func TestOpsTellMoneyApart(t *testing.T) {
	c := pending(t)
	seen := map[string]bool{}
	for _, a := range []providers.Charge{
		answer(1, providers.StatusPaid, 999, ""), answer(1, providers.StatusPaid, 998, ""),
		answer(1, providers.StatusPaid, 997, "E1"), answer(2, providers.StatusPaid, 999, ""),
		answer(1, providers.StatusPaid, 996, "E 1"), answer(1, providers.StatusPaid, 995, strings.Repeat("E", 200)),
		answer(1, providers.StatusPaid, 994, "E\x13"), answer(1, providers.StatusPaid, 1000, "E2"), answer(1, providers.StatusPaid, 1000, "é/2"),
	} {
		f := c.Credit(c.FromAnswer(1, a))
		if a.ProviderID != providerID(1) {
			f = c.Credit(c.FromAnswer(2, a))
		}
		if f == nil || seen[f.Op()] || !opForm.MatchString(f.Op()) {
			t.Errorf("%+v: the operation is %v", a, f)
			continue
		}
		seen[f.Op()] = true
		c = apply(t, c, f)
	}
}

var opForm = regexp.MustCompile(`^[A-Za-z0-9._:/@+#=-]{1,128}$`) // package ledger's

// TestClaimWithoutMoneyHidesNone: a claim that did not say how much is not the
// money that a later answer tells of.
func TestClaimWithoutMoneyHidesNone(t *testing.T) {
	c := pending(t)
	wrong := c.FromAnswer(1, answer(1, providers.StatusPaid, 0, ""))
	wrong.Account = "another"
	f := c.Credit(wrong)
	if lines := charge.Postings(f); f.Kind() != "charge.payment_mismatch" || lines != nil {
		t.Fatalf("%s with postings %v", f.Kind(), lines)
	}
	c = apply(t, c, f)
	if f := c.Credit(wrong); f != nil {
		t.Errorf("the same claim again gives %s", f.Kind())
	}
	f = c.Credit(c.FromAnswer(1, answer(1, providers.StatusPaid, 0, "")))
	if f == nil {
		t.Fatal("the provider's word is taken for the claim")
	}
	if c = apply(t, c, f); c.State != charge.Paid {
		t.Errorf("state %s", c.State)
	}
}

// TestRandomHistories holds the invariants over random answers and random
// attempts to apply any fact: ranks never fall, paid means matching evidence,
// and the books say what the payments say.
func TestRandomHistories(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c, err := charge.Fold([]charge.Fact{created()})
		if err != nil {
			t.Fatal(err)
		}
		books := map[ledger.Account]money.Amount{}
		record := func(facts []charge.Fact) {
			for _, f := range facts {
				next, err := c.Apply(f)
				if err != nil {
					t.Fatalf("a fact made from %s is refused: %v", c.State, err)
				}
				if next.State.Rank() < c.State.Rank() {
					t.Fatalf("%s fell to %s", c.State, next.State)
				}
				for _, p := range charge.Postings(f) {
					books[p.Account] += p.Amount
				}
				c = next
			}
		}
		for range rapid.IntRange(1, 12).Draw(t, "steps") {
			last, _ := c.Last()
			switch rapid.IntRange(0, 3).Draw(t, "step") {
			case 0:
				if last.State != charge.Sending {
					continue
				}
				var err error
				if k := rapid.IntRange(0, int(providers.Security)).Draw(t, "kind"); k > 0 {
					err = &providers.Error{Kind: providers.Kind(k)}
				}
				facts, next := c.Answer(last.N, providers.Charge{ProviderID: providerID(last.N), Digest: "aa"}, err, "", providers.Caps{})
				record(facts)
				if next == charge.Retry {
					record([]charge.Fact{attempt(last.N+1, charge.Sending)})
				}
			case 1:
				n := rapid.IntRange(1, 3).Draw(t, "attempt")
				s := rapid.SampledFrom([]providers.Status{
					providers.StatusPending, providers.StatusPaid, providers.StatusExpired,
					providers.StatusCancelled, providers.StatusUncertain, providers.StatusRefunded,
				}).Draw(t, "status")
				amount := rapid.SampledFrom([]money.Amount{0, 1000, 999}).Draw(t, "amount")
				e2e := rapid.SampledFrom([]string{"", "E1", "E2"}).Draw(t, "e2e")
				over := rapid.SampledFrom([]charge.State{"", charge.Expired, charge.Cancelled}).Draw(t, "ended")
				a := answer(n, s, amount, e2e)
				a.Returns = rapid.SliceOfN(returns(), 0, 3).Draw(t, "returns")
				record(c.Observe(n, a, over))
			case 2: // any fact at all: it is refused or keeps the invariants
				f := rapid.SampledFrom([]charge.Fact{
					created(), attempt(1, charge.Accepted), attempt(2, charge.Orphaned), ended(charge.Failed),
					ended(charge.Expired),
					charge.PaidFact{Charge: id, Attempt: 1, Amount: 1000},
					charge.ExtraPaymentFact{Charge: id},
					refund("r", 10), refund("r1", 2000),
				}).Draw(t, "fact")
				if next, err := c.Apply(f); err == nil {
					record([]charge.Fact{f})
					if next.State != c.State {
						t.Fatalf("got %s, want %s", c.State, next.State)
					}
				}
			case 3: // the hub tells of a refund
				r := returns().Draw(t, "refund")
				ev := charge.Evidence{Source: charge.FromHub, EndToEnd: rapid.SampledFrom([]string{"E1", "E2"}).Draw(t, "of"), Digest: "cc"}
				f, err := c.GiveBack(r, ev)
				if err != nil && !errors.Is(err, charge.ErrRefund) {
					t.Fatal(err)
				}
				if f != nil {
					record([]charge.Fact{f})
					if again, err := c.GiveBack(r, ev); again != nil || err != nil {
						t.Fatalf("the same refund again: %+v, %v", again, err)
					}
				}
			}
			if err := wrongRefunds(c, books); err != nil {
				t.Fatal(err)
			}
			settling, settled := c.Settling()
			if (c.State.Rank() >= charge.Paid.Rank()) != settled {
				t.Fatalf("state %s with payments %+v", c.State, c.Payments)
			}
			if settled && (settling.Amount != c.Amount || settling.Evidence.Digest == "" || settling.Evidence.ProviderID == "") {
				t.Fatalf("paid on %+v", settling)
			}
			var sum money.Amount
			for _, a := range books {
				sum += a
			}
			if sum != 0 {
				t.Fatalf("the books do not balance: %v", books)
			}
		}
	})
}

// FuzzDecode: a fact that can be read is the same after it was written again,
// and whatever it says, a charge refuses it or keeps its rank.
func FuzzDecode(f *testing.F) {
	c, err := charge.Fold([]charge.Fact{created(), attempt(1, charge.Accepted)})
	if err != nil {
		f.Fatal(err)
	}
	proof := `{"source":"provider","route":"ssg","account":"acc","attempt":1,"provider_id":"p1","amount":1000,"end_to_end":"E1","digest":"aa"}`
	for kind, data := range map[string]string{
		"charge.created": `{"charge":"X","amount":1000}`, "charge.attempt": `{"charge":"X","attempt":1,"state":"orphaned"}`,
		"charge.paid": `{"charge":"X","attempt":1,"amount":1000}`, "charge.payment_extra": `{"attempt":-1,"amount":-5}`,
		"charge.payment_mismatch": `{"amount":9,"booked":true}`, "charge.expired": `{"state":"expired"}`, "charge.failed": `{"state":"paid"}`,
		"charge.refunded": `{"refund":"r","amount":9223372036854775807}`, "slip.printed": `{}`, "charge.cancelled": `[`,
	} {
		f.Add(kind, []byte(data), []byte(proof))
		f.Add(kind, []byte(data), []byte(nil))
	}
	f.Fuzz(func(t *testing.T, kind string, data, evidence []byte) {
		fact, err := charge.Decode(kind, data, evidence)
		if err != nil || fact == nil {
			return
		}
		raw, err := json.Marshal(fact)
		if err != nil {
			t.Fatal(err)
		}
		var proof []byte
		if p := fact.Proof(); p != nil {
			if proof, err = json.Marshal(p); err != nil {
				t.Fatal(err)
			}
		}
		again, err := charge.Decode(fact.Kind(), raw, proof)
		if err != nil {
			t.Fatalf("%s %s: %v", fact.Kind(), raw, err)
		}
		if !reflect.DeepEqual(fact, again) {
			t.Fatalf("%+v, written and read again, is %+v", fact, again)
		}
		if next, err := c.Apply(fact); err == nil && next.State.Rank() < c.State.Rank() {
			t.Fatalf("%s fell to %s", c.State, next.State)
		}
	})
}
