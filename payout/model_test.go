package payout_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/ssg-safe/agent/payout"
	"github.com/ssg-safe/agent/providers"
)

// world is a hub with one payout, and a provider with a ledger of its own. What
// the hub knows is what it has committed.
type world struct {
	t      *rapid.T
	mutant string
	disk   []payout.Fact
	p      payout.Payout
	now    time.Time

	ours     bool // the provider takes our id: the same order is one payout
	executed int  // how often money left
	state    payout.State
	late     []time.Time // requests on their way, and when they arrive
	asked    time.Time   // when it was last said to be absent, or the hub began
}

// commit records a fact.
func (w *world) commit(f payout.Fact) {
	if f == nil {
		return
	}
	next, err := w.p.Apply(f)
	if err != nil {
		w.t.Fatalf("%s: %v", f.Kind(), err)
	}
	w.p, w.disk = next, append(w.disk, f)
}

// crash loses what was not committed.
func (w *world) crash() {
	p, err := payout.Fold(w.disk)
	if err != nil {
		w.t.Fatal(err)
	}
	w.p, w.asked = p, w.now // that clock begins anew
	if w.mutant == "a crash means that nothing was sent" && p.State == payout.Submitting {
		w.commit(payout.UnsentFact{Payout: p.ID, N: p.Submissions, Reason: "crash"})
		return
	}
	w.commit(p.Interrupted())
}

// arrive is a request that reaches the provider.
func (w *world) arrive() {
	if w.ours && w.executed > 0 {
		return
	}
	w.executed++
	w.state = rapid.SampledFrom([]payout.State{payout.Processing, payout.Processing, payout.Settled}).Draw(w.t, "provider's state")
}

func (w *world) answer() payout.Answer {
	return payout.Answer{State: w.state, ProviderID: "tx", Digest: "d"}
}

// send submits the order, with whatever can happen to it.
func (w *world) send() {
	f, err := w.p.Submit(w.now)
	if err != nil {
		w.commit(w.p.Lapsed(w.now))
		return
	}
	w.commit(f)
	o, err := w.p.Order(details)
	if err != nil {
		w.t.Fatal(err)
	}
	var a payout.Answer
	err = &providers.Error{Kind: providers.Ambiguous}
	switch rapid.SampledFrom([]string{"not sent", "refused", "answered", "answer lost", "crash before", "crash after", "late", "crash, late"}).Draw(w.t, "sending") {
	case "not sent":
		err = &providers.Error{Kind: providers.NotSent}
	case "refused":
		err = &providers.Error{Kind: providers.Funds}
	case "answered":
		w.arrive()
		a, err = w.answer(), nil
	case "answer lost":
		w.arrive()
	case "late":
		w.late = append(w.late, w.now.Add(w.delay()))
	case "crash before":
		w.crash()
		return
	case "crash after":
		w.arrive()
		w.crash()
		return
	case "crash, late":
		w.late = append(w.late, w.now.Add(w.delay()))
		w.crash()
		return
	}
	out := w.p.Submitted(o, a, err)
	if u, ok := out.(payout.UnknownFact); ok && w.mutant == "an unknown outcome is none" {
		out = payout.UnsentFact(u)
	}
	w.commit(out)
}

// ask asks the provider what became of the order.
func (w *world) ask() {
	if w.p.Submissions == 0 {
		return
	}
	if w.executed > 0 {
		w.commit(w.p.Observe(w.answer()))
		return
	}
	if f := w.p.Missing("d", w.now.Sub(w.asked)); f != nil {
		w.commit(f)
		w.asked = w.now
	}
}

// delay is how long a request can be on its way: longer than any gap.
func (w *world) delay() time.Duration {
	return rapid.SampledFrom([]time.Duration{20 * time.Second, 5 * time.Minute}).Draw(w.t, "delay")
}

func (w *world) pass(d time.Duration) {
	w.now = w.now.Add(d)
	w.late = slices.DeleteFunc(w.late, func(at time.Time) bool {
		if w.now.Before(at) {
			return false
		}
		w.arrive()
		return true
	})
}

// run lives through a random history and returns what is wrong with its end.
func (w *world) run() error {
	in := intent()
	in.Resend = w.ours
	if w.mutant == "our ids are taken for the provider's" {
		in.Resend = true
	}
	fact, err := payout.Propose(in, details, 0, nil)
	if err != nil {
		return err
	}
	w.commit(fact)
	for range rapid.IntRange(5, 30).Draw(w.t, "steps") {
		before := w.p
		switch rapid.SampledFrom([]string{"approve", "send", "send", "ask", "ask", "crash", "time", "settle", "fail"}).Draw(w.t, "step") {
		case "approve":
			if f, err := w.p.Approve(w.p.Digest, "bia", w.now); err == nil {
				w.commit(f)
			}
		case "send":
			w.send()
		case "ask":
			w.ask()
		case "crash":
			w.crash()
		case "time":
			w.pass(rapid.SampledFrom([]time.Duration{time.Second, 15 * time.Second, 31 * time.Second, 6 * time.Minute}).Draw(w.t, "time"))
		case "settle":
			if w.state == payout.Processing {
				w.state = payout.Settled
			}
		case "fail":
			if w.state == payout.Processing {
				w.state = payout.Failed
			}
		}
		if before.State.Over() && before.State != payout.Settled && w.p.State != before.State {
			return fmt.Errorf("%s became %s", before.State, w.p.State)
		}
	}
	switch {
	case w.executed > 1:
		return fmt.Errorf("money left %d times", w.executed)
	case w.p.State == payout.Settled && w.executed == 0:
		return fmt.Errorf("settled, and no money left")
	case w.p.State == payout.Failed && w.executed > 0 && w.state != payout.Failed && !w.p.Odd:
		return fmt.Errorf("failed, and money left")
	}
	folded, err := payout.Fold(w.disk)
	if err != nil || fmt.Sprint(folded) != fmt.Sprint(w.p) {
		return fmt.Errorf("memory %+v is not what the disk says, %+v (%v)", w.p, folded, err)
	}
	return nil
}

// TestAtMostOnce: whatever is lost, delayed or killed, money leaves at most once
// and no state claims what is not so.
func TestAtMostOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := &world{t: t, now: now, asked: now, ours: rapid.Bool().Draw(t, "takes our id")}
		if err := w.run(); err != nil {
			t.Fatal(err)
		}
	})
}

// TestMutants: hubs that are wrong in one way are found out.
func TestMutants(t *testing.T) {
	for _, mutant := range []string{"a crash means that nothing was sent", "an unknown outcome is none", "our ids are taken for the provider's"} {
		t.Run(mutant, func(t *testing.T) {
			var found error
			for seed := 0; seed < 20000 && found == nil; seed++ {
				found = rapid.Custom(func(t *rapid.T) error {
					return (&world{t: t, now: now, asked: now, mutant: mutant}).run()
				}).Example(seed)
			}
			if found == nil {
				t.Fatal("nothing was noticed in 20,000 histories")
			}
			t.Log(found)
		})
	}
}
