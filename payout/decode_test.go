package payout_test

import (
	"encoding/json"
	"testing"

	"github.com/ssg-safe/agent/payout"
)

// facts are one of each kind.
func facts() []payout.Fact {
	amount := intent().Amount
	return []payout.Fact{
		payout.ProposedFact{Intent: intent(), Digest: "d"},
		payout.ApprovedFact{Payout: "P", Digest: "d", By: "bia", Until: now},
		payout.LapsedFact{Payout: "P", Until: now},
		payout.RejectedFact{Payout: "P", By: "bia", Reason: "twice"},
		payout.SubmittingFact{Payout: "P", N: 1},
		payout.UnsentFact{Payout: "P", N: 1, Reason: "rate"},
		payout.UnknownFact{Payout: "P", N: 1, Reason: "ambiguous"},
		payout.AbsentFact{Payout: "P", N: 1, Nth: 2, Waited: 30, Digest: "d"},
		payout.OutcomeFact{Payout: "P", State: payout.Settled, Evidence: payout.Evidence{Amount: &amount, Digest: "d"}},
		payout.OddFact{Payout: "P", State: payout.Failed, Why: "another amount"},
	}
}

// What is stored of a fact is read as it was, and nothing else is read at all.
func TestDecode(t *testing.T) {
	for _, f := range facts() {
		text := must(json.Marshal(f))
		got, err := payout.Decode(f.Kind(), text)
		if err != nil || string(must(json.Marshal(got))) != string(text) || got.Op() != f.Op() {
			t.Errorf("%s: got %+v (%v)", f.Kind(), got, err)
		}
		for name, bad := range map[string]string{"another field": `{"payout":"P","new":1}`, "a second text": string(text) + "{}", "half of it": string(text[:len(text)/2]), "nothing": ""} {
			if _, err := payout.Decode(f.Kind(), []byte(bad)); err == nil {
				t.Errorf("%s: %s is taken", f.Kind(), name)
			}
		}
	}
	if _, err := payout.Decode("payout.other", []byte("{}")); err == nil {
		t.Error("an unknown kind is taken")
	}
}

func FuzzDecode(f *testing.F) {
	for _, fact := range facts() {
		f.Add(fact.Kind(), must(json.Marshal(fact)))
	}
	f.Fuzz(func(t *testing.T, kind string, data []byte) {
		fact, err := payout.Decode(kind, data)
		if err != nil {
			return
		}
		again, err := payout.Decode(kind, must(json.Marshal(fact)))
		if err != nil || again.Kind() != kind || again.Op() != fact.Op() || again.Subject() != fact.Subject() {
			t.Errorf("got %+v (%v), want %+v", again, err, fact)
		}
		_, _ = payout.Payout{}.Apply(fact)
	})
}
