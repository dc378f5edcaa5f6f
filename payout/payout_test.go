package payout_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/ssg-safe/agent/money"
	"github.com/ssg-safe/agent/payout"
	"github.com/ssg-safe/agent/providers"
)

var (
	now     = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	details = payout.Details{Key: "12345678909", Description: "troco", Salt: "0123456789abcdef"}
)

func intent() payout.Intent {
	return payout.Intent{
		ID: "T0010000000000000000000001", Kind: payout.ToKey, Merchant: "loja", Route: "bspay", Amount: 1000, By: "ana", Approvers: 1, Resend: true,
	}
}

func refund(n int, amount money.Amount) payout.Intent {
	in := intent()
	in.ID = payout.ID(fmt.Sprintf("T00100000000000000000000R%d", n))
	in.Kind, in.Amount, in.Charge, in.EndToEnd = payout.Refund, amount, "T0010000000000000000000009", "E18236120202601010000s0000000001"
	return in
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func proposed(in payout.Intent) payout.Payout {
	return must(payout.Payout{}.Apply(must(payout.Propose(in, details, 0, nil))))
}

// at brings a payout into a state.
func at(t *testing.T, s payout.State) payout.Payout {
	t.Helper()
	p := proposed(intent())
	step := func(f payout.Fact, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		if p, err = p.Apply(f); err != nil {
			t.Fatal(err)
		}
	}
	switch s {
	case payout.Proposed:
		return p
	case payout.Rejected:
		step(payout.RejectedFact{Payout: p.ID, By: "bia"}, nil)
		return p
	}
	step(p.Approve(p.Digest, "bia", now))
	if s == payout.Approved {
		return p
	}
	step(p.Submit(now))
	switch s {
	case payout.Submitting:
	case payout.Unknown:
		step(p.Interrupted(), nil)
	default:
		step(p.Observe(payout.Answer{State: s, Digest: "d", ProviderID: "tx"}), nil)
	}
	if p.State != s {
		t.Fatalf("got state %s, want %s", p.State, s)
	}
	return p
}

var states = []payout.State{
	payout.Proposed, payout.Approved, payout.Rejected, payout.Submitting, payout.Unknown, payout.Processing, payout.Settled, payout.Failed, payout.Returned,
}

// TestTable: which fact leads from which state to which, and no other does.
func TestTable(t *testing.T) {
	legal := map[string]payout.State{
		"awaiting_approval approved": payout.Approved, "awaiting_approval rejected": payout.Rejected,
		"approved rejected": payout.Rejected, "approved lapsed": payout.Proposed, "approved submitting": payout.Submitting,
		"submitting unsent": payout.Approved, "submitting unknown": payout.Unknown, "unknown absent": payout.Unknown,
		"settled returned": payout.Returned,
	}
	for _, from := range []payout.State{payout.Submitting, payout.Unknown, payout.Processing} {
		for _, to := range []payout.State{payout.Processing, payout.Settled, payout.Failed, payout.Returned} {
			if from != to {
				legal[string(from)+" "+string(to)] = to
			}
		}
	}
	for _, s := range states {
		p := at(t, s)
		facts := map[string]payout.Fact{
			"proposed":   must(payout.Propose(intent(), details, 0, nil)),
			"approved":   payout.ApprovedFact{Payout: p.ID, Digest: p.Digest, By: "caio", Until: now.Add(time.Minute)},
			"lapsed":     payout.LapsedFact{Payout: p.ID, Until: p.Until},
			"rejected":   payout.RejectedFact{Payout: p.ID, By: "bia"},
			"submitting": payout.SubmittingFact{Payout: p.ID, N: p.Submissions + 1},
			"unsent":     payout.UnsentFact{Payout: p.ID, N: p.Submissions, Reason: "r"},
			"unknown":    payout.UnknownFact{Payout: p.ID, N: p.Submissions, Reason: "r"},
			"absent":     payout.AbsentFact{Payout: p.ID, N: p.Submissions, Nth: 1, Digest: "d"},
		}
		for _, to := range []payout.State{payout.Processing, payout.Settled, payout.Failed, payout.Returned} {
			facts[string(to)] = payout.OutcomeFact{Payout: p.ID, State: to, Evidence: payout.Evidence{Digest: "d"}}
		}
		for name, f := range facts {
			next, err := p.Apply(f)
			want, ok := legal[string(s)+" "+name]
			switch {
			case ok && (err != nil || next.State != want):
				t.Errorf("%s in state %s: got %s (%v), want %s", name, s, next.State, err, want)
			case !ok && err == nil:
				t.Errorf("%s in state %s leads to %s, want a refusal", name, s, next.State)
			case !ok:
				if _, isTransition := errors.AsType[*payout.TransitionError](err); !isTransition {
					t.Errorf("%s in state %s: got %v, want a TransitionError", name, s, err)
				}
			}
		}
	}
}

// TestFactsRefused: the same facts, with one thing wrong.
func TestFactsRefused(t *testing.T) {
	submitting, unknown, approved := at(t, payout.Submitting), at(t, payout.Unknown), at(t, payout.Approved)
	amount := money.Amount(999)
	for name, tt := range map[string]struct {
		p payout.Payout
		f payout.Fact
	}{
		"another payout":            {approved, payout.SubmittingFact{Payout: "X", N: 1}},
		"a second first submission": {unknown, payout.SubmittingFact{Payout: unknown.ID, N: 1}},
		"a submission left out":     {approved, payout.SubmittingFact{Payout: approved.ID, N: 2}},
		"the wrong submission":      {submitting, payout.UnsentFact{Payout: submitting.ID, N: 2}},
		"no evidence":               {unknown, payout.OutcomeFact{Payout: unknown.ID, State: payout.Settled}},
		"settled by a refusal":      {submitting, payout.OutcomeFact{Payout: unknown.ID, State: payout.Settled, Evidence: payout.Evidence{Refusal: "x"}}},
		"another amount":            {unknown, payout.OutcomeFact{Payout: unknown.ID, State: payout.Settled, Evidence: payout.Evidence{Digest: "d", Amount: &amount}}},
		"absent without an answer":  {unknown, payout.AbsentFact{Payout: unknown.ID, N: 1, Nth: 1}},
		"absent twice at once":      {must(unknown.Apply(unknown.Missing("d", 0))), payout.AbsentFact{Payout: unknown.ID, N: 1, Nth: 2, Waited: 29, Digest: "d"}},
	} {
		if got, err := tt.p.Apply(tt.f); err == nil {
			t.Errorf("%s: got %+v, want a refusal", name, got)
		}
	}
}

func TestApproval(t *testing.T) {
	in := intent()
	in.Approvers = 2
	p := proposed(in)
	if _, err := p.Approve("another digest", "bia", now); !errors.Is(err, payout.ErrDigest) {
		t.Errorf("another digest: got %v", err)
	}
	if _, err := p.Approve(p.Digest, "ana", now); !errors.Is(err, payout.ErrApprover) {
		t.Errorf("the proposer: got %v", err)
	}
	p = must(p.Apply(must(p.Approve(p.Digest, "bia", now))))
	if _, err := p.Approve(p.Digest, "bia", now); err == nil {
		t.Error("one person approved twice")
	}
	if _, err := p.Submit(now); err == nil || p.State != payout.Proposed {
		t.Error("one approval of two was enough")
	}
	p = must(p.Apply(must(p.Approve(p.Digest, "caio", now.Add(4*time.Minute)))))
	if _, err := p.Submit(now.Add(payout.ApprovalLife - 1)); err != nil {
		t.Errorf("in time: %v", err)
	}
	late := now.Add(payout.ApprovalLife) // of the first approval
	if _, err := p.Submit(late); !errors.Is(err, payout.ErrLapsed) {
		t.Errorf("late: got %v, want ErrLapsed", err)
	}
	p = must(p.Apply(p.Lapsed(late)))
	if p.State != payout.Proposed || len(p.ApprovedBy) != 0 || p.Lapsed(late) != nil {
		t.Errorf("after the lapse: %+v", p)
	}
}

// TestOrder: an order is made from a payout that is being submitted, of what was
// approved, and prints nothing of it.
func TestOrder(t *testing.T) {
	for _, s := range states {
		o, err := at(t, s).Order(details)
		if (err == nil) != (s == payout.Submitting) {
			t.Errorf("state %s: got order %v (%v)", s, o, err)
		}
	}
	p := at(t, payout.Submitting)
	other := details
	other.Key = "52998224725"
	if _, err := p.Order(other); !errors.Is(err, payout.ErrDigest) {
		t.Errorf("another key: got %v, want ErrDigest", err)
	}
	o := must(p.Order(details))
	if o.ID() != p.ID || o.Amount() != 1000 || o.Key().Reveal() != "12345678909" || o.Description().Reveal() != "troco" {
		t.Errorf("got %v", o)
	}
	all := fmt.Sprintf("%v %+v %#v %s %d", o, o, o, o, o) + slog.AnyValue(o).String()
	if strings.Contains(all, "12345678909") || strings.Contains(all, "troco") {
		t.Errorf("an order tells %s", all)
	}
	text := must(json.Marshal(must(payout.Propose(intent(), details, 0, nil))))
	if strings.Contains(string(text), "12345678909") || strings.Contains(string(text), "troco") || strings.Contains(string(text), "0123456789abcdef") {
		t.Errorf("a fact holds %s", text)
	}
}

func TestProposals(t *testing.T) {
	for name, change := range map[string]func(*payout.Intent, *payout.Details){
		"no id":               func(in *payout.Intent, _ *payout.Details) { in.ID = "" },
		"no proposer":         func(in *payout.Intent, _ *payout.Details) { in.By = "" },
		"nothing":             func(in *payout.Intent, _ *payout.Details) { in.Amount = 0 },
		"less than nothing":   func(in *payout.Intent, _ *payout.Details) { in.Amount = -1 },
		"nobody approves":     func(in *payout.Intent, _ *payout.Details) { in.Approvers = 0 },
		"no salt":             func(_ *payout.Intent, d *payout.Details) { d.Salt = "" },
		"no key":              func(_ *payout.Intent, d *payout.Details) { d.Key = "" },
		"a phone without +55": func(_ *payout.Intent, d *payout.Details) { d.Key = "11999990000" },
		"a kind of its own":   func(in *payout.Intent, _ *payout.Details) { in.Kind = "gift" },
		"an end-to-end id":    func(in *payout.Intent, _ *payout.Details) { in.EndToEnd = "E1" },
	} {
		in, d := intent(), details
		change(&in, &d)
		if _, err := payout.Propose(in, d, 0, nil); !errors.Is(err, payout.ErrIntent) {
			t.Errorf("%s: got %v, want ErrIntent", name, err)
		}
	}
	nobody := details
	nobody.Key = ""
	for name, change := range map[string]func(*payout.Intent, *payout.Details){
		"no end-to-end id": func(in *payout.Intent, _ *payout.Details) { in.EndToEnd = "" },
		"no charge":        func(in *payout.Intent, _ *payout.Details) { in.Charge = "" },
		"a key":            func(_ *payout.Intent, d *payout.Details) { d.Key = "12345678909" },
	} {
		in, d := refund(1, 100), nobody
		change(&in, &d)
		if _, err := payout.Propose(in, d, 1000, nil); !errors.Is(err, payout.ErrIntent) {
			t.Errorf("refund with %s: got %v, want ErrIntent", name, err)
		}
	}
}

// TestRoom: refunds of a payment never sum to more than it, whatever became of
// the earlier ones.
func TestRoom(t *testing.T) {
	d := details
	d.Key = ""
	for _, s := range states {
		earlier := at(t, s)
		earlier.Intent = refund(1, 700)
		counts := s != payout.Rejected && s != payout.Failed && s != payout.Returned
		for amount, want := range map[money.Amount]bool{300: true, 301: !counts, 1000: !counts, 1001: false} {
			_, err := payout.Propose(refund(2, amount), d, 1000, []payout.Payout{earlier})
			if want != (err == nil) || err != nil && !errors.Is(err, payout.ErrRoom) {
				t.Errorf("%d more of 1000 with 700 %s: got %v", amount, s, err)
			}
		}
	}
	odd := at(t, payout.Failed)
	odd.Intent, odd.Odd = refund(1, 1000), true
	if _, err := payout.Propose(refund(2, 1), d, 1000, []payout.Payout{odd}); !errors.Is(err, payout.ErrRoom) {
		t.Errorf("beside a failed refund that may have been paid: got %v, want ErrRoom", err)
	}
	stranger := at(t, payout.Settled)
	stranger.Intent = refund(1, 1000)
	stranger.EndToEnd = "E2"
	if _, err := payout.Propose(refund(2, 1), d, 1000, []payout.Payout{stranger}); !errors.Is(err, payout.ErrIntent) {
		t.Errorf("another payment's refund: got %v, want ErrIntent", err)
	}
}

// TestSubmitted: what each kind of error means for money that was to leave.
func TestSubmitted(t *testing.T) {
	p := at(t, payout.Submitting)
	o := must(p.Order(details))
	for kind := providers.Invalid; kind <= providers.Security; kind++ {
		want := payout.Failed
		switch kind {
		case providers.NotSent, providers.Rate, providers.Unavailable:
			want = payout.Approved
		case providers.Ambiguous, providers.Contract, providers.Security, providers.Conflict:
			want = payout.Unknown
		}
		next := must(p.Apply(p.Submitted(o, payout.Answer{}, &providers.Error{Kind: kind, Code: "C"})))
		if next.State != want {
			t.Errorf("%v: got %s, want %s", kind, next.State, want)
		}
	}
	amount := money.Amount(1001)
	for name, tt := range map[string]struct {
		a    payout.Answer
		err  error
		want payout.State
	}{
		"pending":        {payout.Answer{State: payout.Processing, Digest: "d"}, nil, payout.Processing},
		"settled":        {payout.Answer{State: payout.Settled, Digest: "d"}, nil, payout.Settled},
		"no known word":  {payout.Answer{Word: "x", Digest: "d"}, nil, payout.Unknown},
		"no digest":      {payout.Answer{State: payout.Settled}, nil, payout.Unknown},
		"another amount": {payout.Answer{State: payout.Settled, Digest: "d", Amount: &amount}, nil, payout.Unknown},
		"any error":      {payout.Answer{}, errors.New("x"), payout.Unknown},
	} {
		if next := must(p.Apply(p.Submitted(o, tt.a, tt.err))); next.State != tt.want {
			t.Errorf("%s: got %s, want %s", name, next.State, tt.want)
		}
	}
}

// TestContradictions: they are recorded once, change no state, and stop the
// payout from being sent again.
func TestContradictions(t *testing.T) {
	amount := money.Amount(1001)
	for name, tt := range map[string]struct {
		p payout.Payout
		a payout.Answer
	}{
		"failed, then settled":      {at(t, payout.Failed), payout.Answer{State: payout.Settled, Digest: "d"}},
		"settled, then failed":      {at(t, payout.Settled), payout.Answer{State: payout.Failed, Digest: "d"}},
		"another amount":            {at(t, payout.Unknown), payout.Answer{State: payout.Settled, Digest: "d", Amount: &amount}},
		"another transaction":       {at(t, payout.Processing), payout.Answer{State: payout.Settled, Digest: "d", ProviderID: "other"}},
		"known without being sent":  {must(at(t, payout.Submitting).Apply(payout.UnsentFact{Payout: intent().ID, N: 1})), payout.Answer{State: payout.Processing, Digest: "d"}},
		"returned, and then failed": {at(t, payout.Returned), payout.Answer{State: payout.Failed, Digest: "d"}},
	} {
		f, ok := tt.p.Observe(tt.a).(payout.OddFact)
		if !ok {
			t.Errorf("%s: got %T, want an OddFact", name, tt.p.Observe(tt.a))
			continue
		}
		next := must(tt.p.Apply(f))
		if next.State != tt.p.State || !next.Odd || next.Observe(tt.a) != nil {
			t.Errorf("%s: got %+v", name, next)
		}
		if _, err := next.Submit(now); err == nil {
			t.Errorf("%s: it can be sent", name)
		}
	}
	for _, older := range []payout.Answer{{State: payout.Processing, Digest: "d"}, {State: payout.Settled, Digest: "d"}} {
		if f := at(t, payout.Returned).Observe(older); f != nil {
			t.Errorf("an older answer became %+v", f)
		}
	}
}

// TestResend: two answers that the order is not there, half a minute apart, at a
// provider that takes our id; nothing else.
func TestResend(t *testing.T) {
	p := at(t, payout.Unknown)
	once := must(p.Apply(p.Missing("d1", 0)))
	if f := once.Missing("d2", payout.AbsentGap-1); f != nil {
		t.Errorf("too soon: got %+v", f)
	}
	if _, err := once.Submit(now); err == nil {
		t.Error("one answer was enough")
	}
	twice := must(once.Apply(once.Missing("d2", payout.AbsentGap)))
	if twice.State != payout.Unknown || twice.Missing("d3", time.Hour) != nil {
		t.Errorf("got %+v", twice)
	}
	again := must(twice.Apply(must(twice.Submit(now.Add(time.Hour)))))
	if again.State != payout.Submitting || again.Submissions != 2 || again.Absent != 0 {
		t.Errorf("got %+v", again)
	}
	// The first one may still arrive, whatever becomes of the second.
	for _, kind := range []providers.Kind{providers.Funds, providers.NotSent, providers.Rate} {
		f := again.Submitted(must(again.Order(details)), payout.Answer{}, &providers.Error{Kind: kind})
		if next := must(again.Apply(f)); next.State != payout.Unknown || next.Absent != 0 {
			t.Errorf("%v after an unknown outcome: got %+v, want unknown", kind, next)
		}
	}
	for _, f := range []payout.Fact{
		payout.UnsentFact{Payout: again.ID, N: 2},
		payout.OutcomeFact{Payout: again.ID, State: payout.Failed, Evidence: payout.Evidence{Refusal: "funds"}},
	} {
		if next, err := again.Apply(f); err == nil {
			t.Errorf("%s after an unknown outcome leads to %s", f.Kind(), next.State)
		}
	}
	in := intent()
	in.Resend = false
	twice.Intent = in
	if _, err := twice.Submit(now); err == nil {
		t.Error("it was sent again to a provider that does not know our ids")
	}
	// A person may say what became of it; not the one who proposed it.
	if _, err := twice.Testify(payout.Failed, payout.Evidence{By: "ana"}, "extrato"); !errors.Is(err, payout.ErrApprover) {
		t.Errorf("the proposer's word: got %v", err)
	}
	if f, err := twice.Testify(payout.Failed, payout.Evidence{By: "bia"}, "extrato"); err != nil || must(twice.Apply(f)).State != payout.Failed {
		t.Errorf("another's word: %v", err)
	}
}
