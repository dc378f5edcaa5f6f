package router

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ssg-safe/agent/charge"
	_ "github.com/ssg-safe/agent/internal/bubbles"
	"github.com/ssg-safe/agent/providers"
)

var routes = []charge.Route{{Provider: "one", Account: "a"}, {Provider: "two", Account: "b"}}

func failure(k providers.Kind) error { return &providers.Error{Kind: k} }

// TestOut: two failures in a row put a route out, whatever they are about the
// provider; what is about the charge does not.
func TestOut(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want bool
	}{
		{nil, false},
		{failure(providers.NotSent), true},
		{failure(providers.Ambiguous), true},
		{failure(providers.Contract), true},
		{failure(providers.Unavailable), true},
		{failure(providers.Rate), true},
		{failure(providers.Auth), true},
		{failure(providers.Forbidden), true},
		{failure(providers.Operator), true},
		{&providers.Error{Kind: providers.Invalid, HTTP: 500}, true},
		{failure(providers.Invalid), false},
		{failure(providers.NotFound), false},
		{failure(providers.PayerDataRequired), false},
		{failure(providers.Conflict), false},
		{failure(providers.Limit), false},
		{failure(providers.Security), false},
		{&providers.Error{Kind: providers.NotSent, Held: true}, false},
		{fmt.Errorf("of no kind"), true},
	} {
		for _, call := range []Call{Create, Ask} {
			var b Board
			b.Note("one", call, tt.err, 0)
			if b.Out("one", 0) {
				t.Errorf("%v: out after one failure", tt.err)
			}
			b.Note("one", call, tt.err, time.Second)
			want := tt.want
			if e, ok := tt.err.(*providers.Error); ok && call == Ask && e.Kind.OfAccount() {
				want = false
			}
			if got := b.Out("one", time.Second); got != want {
				t.Errorf("twice %v (call %d): out is %v", tt.err, call, got)
			}
		}
	}
}

// TestQuestionsDoNotHideCharges: a provider whose status works and that makes no
// charges is out.
func TestQuestionsDoNotHideCharges(t *testing.T) {
	var b Board
	for i := range OutAfter {
		b.Note("one", Create, failure(providers.Auth), time.Duration(i))
		b.Note("one", Ask, nil, time.Duration(i))
	}
	if !b.Out("one", 2) {
		t.Error("it is not out")
	}
	b.Note("one", Create, nil, 3)
	if b.Out("one", 3) {
		t.Error("it is out after a charge")
	}
}

// TestReturn: a watched route is out until a probe succeeds, and after that until
// one more failure; another one for a minute.
func TestReturn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // for its random numbers alone
		var b Board
		b.Watch("one")
		for _, name := range []string{"one", "two"} {
			b.Note(name, Create, failure(providers.NotSent), 0)
			b.Note(name, Create, failure(providers.NotSent), 0)
		}
		if !b.Out("two", OutLasts-1) || b.Out("two", OutLasts) {
			t.Error("a route that is not watched is not out for a minute")
		}
		up := time.Duration(0)
		for range 20 {
			at, ok := b.NextProbe()
			if !ok || at <= up || at > up+providers.MaxPause {
				t.Fatalf("the next probe is at %v (%v), after %v", at, ok, up)
			}
			if due := b.Due(at - 1); due != nil {
				t.Fatalf("probes before their time: %v", due)
			}
			up = at
			if due := b.Due(up); len(due) != 1 || due[0] != "one" || b.Due(up) != nil {
				t.Fatalf("probes %v, and again", due)
			}
			b.Probed("one", failure(providers.Ambiguous), up)
			if !b.Out("one", up+time.Hour) {
				t.Fatal("back without a success")
			}
		}
		at, _ := b.NextProbe()
		b.Due(at)
		b.Probed("one", nil, at)
		if _, more := b.NextProbe(); more || b.Out("one", at) {
			t.Error("not back after a probe")
		}
		b.Note("one", Create, failure(providers.NotSent), at)
		if !b.Out("one", at) {
			t.Error("a probe that promised too much is believed twice")
		}
	})
}

// TestProbesThatPromiseTooMuch: where probes succeed and charges fail, charges are tried
// ever more seldom, and one that is made is believed at once.
func TestProbesThatPromiseTooMuch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // for its random numbers alone
		var b Board
		b.Watch("one")
		tried, up := 0, time.Duration(0)
		for ; up < 4*time.Hour; up += time.Second {
			for range b.Due(up) {
				b.Probed("one", nil, up)
			}
			if !b.Out("one", up) {
				tried++
				b.Note("one", Create, failure(providers.Ambiguous), up)
			}
		}
		if tried < 10 || tried > 20 {
			t.Errorf("%d charges failed in four hours", tried)
		}
		b.Note("one", Create, nil, up)
		if b.Out("one", up) {
			t.Error("out after a charge")
		}
		for range OutAfter {
			b.Note("one", Create, failure(providers.Ambiguous), up)
		}
		at, _ := b.NextProbe()
		b.Due(at)
		if b.Probed("one", nil, at); b.Out("one", at) {
			t.Error("the first probe after that is not believed")
		}
	})
}

// TestProbeThatMayNot: a probe that the account may not make brings a route back
// that was out of reach, and not one whose account is refused.
func TestProbeThatMayNot(t *testing.T) {
	for kind, back := range map[providers.Kind]bool{providers.NotSent: true, providers.Auth: false} {
		var b Board
		b.Watch("one")
		for range OutAfter {
			b.Note("one", Create, failure(kind), 0)
		}
		at, _ := b.NextProbe()
		b.Due(at)
		b.Probed("one", &providers.Error{Kind: providers.Forbidden, HTTP: 403}, at)
		if b.Out("one", at) == back {
			t.Errorf("after %v: out is %v", kind, !back)
		}
	}
}

// TestRest: a provider that asks to be left alone is out for as long.
func TestRest(t *testing.T) {
	var b Board
	b.Note("one", Ask, &providers.Error{Kind: providers.Rate, HTTP: 429, RetryAfter: time.Minute}, 0)
	if !b.Out("one", time.Minute-1) || b.Out("one", time.Minute) {
		t.Error("it is not left alone for a minute")
	}
	// Polls have a share of the requests, and say nothing about charges when it is
	// used up; a charge whose own turn comes too late goes elsewhere.
	held := &providers.Error{Kind: providers.Rate, Code: providers.HeldByRate, Held: true, RetryAfter: time.Minute}
	b.Note("two", Ask, held, 0)
	if b.Out("two", 0) {
		t.Error("out because its polls wait for their turn")
	}
	b.Note("two", Create, held, 0)
	if !b.Out("two", 0) {
		t.Error("not out while charges wait for their turn")
	}
}

// TestOrder: the order of preference, without those that are out, and without
// those that were tried.
func TestOrder(t *testing.T) {
	begun := func(n int) charge.Charge {
		facts := []charge.Fact{charge.CreatedFact{Charge: "C", Route: "one", Account: "a", Amount: 1, Expiry: 1}}
		for i := 1; i < n; i++ {
			facts = append(facts, charge.AttemptFact{Charge: "C", N: i, State: charge.Rejected},
				charge.AttemptFact{Charge: "C", N: i + 1, State: charge.Sending, Route: "two", Account: "b"})
		}
		c, err := charge.Fold(facts)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	for _, tt := range []struct {
		out      string
		tried    int
		first    string
		next     string
		fresh    bool
		untried  bool
		describe string
	}{
		{"", 1, "one", "two", true, true, "all well"},
		{"", 2, "one", "two", false, false, "both tried, and nothing known: a crash"},
		{"one", 1, "two", "two", true, true, "the first is out"},
		{"one", 2, "two", "two", false, false, "the first is out, both tried"},
		{"two", 1, "one", "one", false, false, "the second is out"},
		{"one two", 1, "one", "two", true, false, "both out: better that than nothing"},
		{"one two", 2, "one", "one", false, false, "both out, both tried"},
	} {
		var b Board
		for _, name := range []string{"one", "two"} {
			for i := 0; i < OutAfter && (tt.out == name || tt.out == "one two"); i++ {
				b.Note(name, Create, failure(providers.NotSent), 0)
			}
		}
		c := begun(tt.tried)
		if got := b.First(routes, 0); got.Provider != tt.first {
			t.Errorf("%s: first %s, want %s", tt.describe, got.Provider, tt.first)
		}
		if got, fresh := b.Next(c, routes, 0); got.Provider != tt.next || fresh != tt.fresh {
			t.Errorf("%s: next %s (fresh %v), want %s (%v)", tt.describe, got.Provider, fresh, tt.next, tt.fresh)
		}
		if _, ok := b.Untried(c, routes, 0); ok != tt.untried {
			t.Errorf("%s: untried is %v", tt.describe, ok)
		}
	}
	var b Board
	b.Note("two", Create, failure(providers.NotSent), 0)
	if got, _ := b.Next(begun(2), routes, 0); got.Provider != "one" {
		t.Errorf("both tried, and the second failed last: next %s", got.Provider)
	}
}
