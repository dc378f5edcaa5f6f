package terminal_test

import (
	"errors"
	"slices"
	"testing"

	"go.etcd.io/bbolt"

	"github.com/ssg-safe/agent/ledger"
	"github.com/ssg-safe/agent/money"
	"github.com/ssg-safe/agent/payout"
	"github.com/ssg-safe/agent/proposal"
	"github.com/ssg-safe/agent/terminal"
)

// proposing is a bubble whose terminal has a hub that can open what is sealed: nothing is.
func proposing(t *testing.T, f func(r *rig)) {
	bubble(t, func(r *rig) {
		r.edit = func(c *terminal.Config) {
			c.Proposals = terminal.Proposals{Device: "d1", Seal: func(context string, text []byte) ([]byte, error) {
				return slices.Concat([]byte("sealed for "+context+":"), make([]byte, len(text))), nil
			}}
		}
		r.restart(false)
		f(r)
	})
}

func wants(reference string) terminal.ProposalRequest {
	return terminal.ProposalRequest{
		Reference: reference, Amount: 1000, Source: "control", By: "dora", Details: proposal.Details{Key: "12345678909", Description: "troco"},
	}
}

// TestPropose: one commit makes a proposal, none makes it twice, and it survives.
func TestPropose(t *testing.T) {
	proposing(t, func(r *rig) {
		commits := r.store.Stats().Commits
		made, err := r.term.Propose(r.Context(), wants("caixa/1"))
		if err != nil || made.State != proposal.Queued || made.Merchant != "loja" || made.Kind != payout.ToKey {
			r.Fatalf("made %+v, %v", made, err)
		}
		if n := r.store.Stats().Commits - commits; n != 1 {
			r.Errorf("%d commits, want 1", n)
		}
		again, err := r.term.Propose(r.Context(), wants("caixa/1"))
		if err != nil || again != made || r.store.Stats().Commits-commits != 1 {
			r.Errorf("again: %+v, %v", again, err)
		}
		if r.count(terminal.ProposalChanged) != 1 {
			r.Errorf("events %v", r.events)
		}
		r.restart(false)
		if again, err := r.term.Propose(r.Context(), wants("caixa/1")); err != nil || again != made {
			r.Errorf("after a restart: %+v, %v", again, err)
		}

		marks := 0
		said := proposal.Said{ID: made.ID, State: proposal.Received, Amount: 1000}
		word, err := r.term.ProposalSaid(r.Context(), said, proposal.Evidence{Source: "hub", JTI: "j1", Ctr: 1}, mark(&marks))
		if err != nil || word != proposal.News || marks != 1 {
			r.Errorf("told: %v, %v, %d marks", word, err, marks)
		}
		commits = r.store.Stats().Commits
		word, err = r.term.ProposalSaid(r.Context(), said, proposal.Evidence{Source: "hub", JTI: "j1", Ctr: 2}, mark(&marks))
		if err != nil || word != proposal.Known || marks != 1 || r.store.Stats().Commits != commits {
			r.Errorf("told again: %v, %v, %d marks", word, err, marks)
		}
		said.ID = proposal.IDOf("d1", "another")
		if _, err := r.term.ProposalSaid(r.Context(), said, proposal.Evidence{Ctr: 3}, mark(&marks)); !errors.Is(err, proposal.ErrNotFound) {
			r.Errorf("told of another's: %v", err)
		}
		if err := r.store.View(func(tx *bbolt.Tx) error {
			waiting, err := proposal.Waiting(tx)
			if len(waiting) != 0 {
				r.Errorf("the hub has it, and it waits: %+v", waiting)
			}
			return errors.Join(err, proposal.Audit(tx))
		}); err != nil {
			r.Error(err)
		}
	})
}

// TestProposeRefuses: what cannot be proposed is refused, and changes nothing.
func TestProposeRefuses(t *testing.T) {
	proposing(t, func(r *rig) {
		id := r.begin()
		if _, err := r.term.Credit(r.Context(), id, fromHub(r, id, 1234, "E1234567820260701120012345678901"), nil); err != nil {
			r.Fatal(err)
		}
		r.pass(0)
		refund := func(amount money.Amount) terminal.ProposalRequest {
			w := wants("volta/1")
			w.Amount, w.Details, w.Charge = amount, proposal.Details{}, id
			return w
		}
		change := func(w terminal.ProposalRequest, f func(*terminal.ProposalRequest)) terminal.ProposalRequest {
			f(&w)
			return w
		}
		head := func() (h ledger.Head) {
			r.Helper()
			if err := r.store.View(func(tx *bbolt.Tx) (err error) {
				h, err = ledger.GetHead(tx)
				return err
			}); err != nil {
				r.Fatal(err)
			}
			return h
		}
		before := head()
		for name, test := range map[string]struct {
			w    terminal.ProposalRequest
			want error
		}{
			"no key":             {change(wants("a"), func(w *terminal.ProposalRequest) { w.Details.Key = "" }), proposal.ErrInvalid},
			"no amount":          {change(wants("a"), func(w *terminal.ProposalRequest) { w.Amount = 0 }), proposal.ErrInvalid},
			"a CPF as reference": {wants("12345678909"), proposal.ErrInvalid},
			"another's money":    {change(wants("a"), func(w *terminal.ProposalRequest) { w.Merchant = "outra" }), terminal.ErrMerchant},
			"more than was paid": {refund(1235), proposal.ErrInvalid},
			"no such charge":     {change(refund(1), func(w *terminal.ProposalRequest) { w.Charge = "T001XXXXXXXXXXXXXXXXXXXXX" }), terminal.ErrNoCharge},
			"another payment":    {change(refund(1), func(w *terminal.ProposalRequest) { w.EndToEnd = "E9999999920260701120012345678901" }), terminal.ErrPayment},
		} {
			if _, err := r.term.Propose(r.Context(), test.w); !errors.Is(err, test.want) {
				r.Errorf("%s: %v, want %v", name, err, test.want)
			}
		}
		if got := head(); got != before {
			r.Errorf("the ledger ends with %v, and ended with %v", got, before)
		}
		made, err := r.term.Propose(r.Context(), refund(1234))
		if err != nil || made.Kind != payout.Refund || made.EndToEnd != "E1234567820260701120012345678901" || made.Provider != "fake" || made.Charge != string(id) {
			r.Errorf("made %+v, %v", made, err)
		}
		back := terminal.Refund{ID: "B1", Charge: id, EndToEnd: made.EndToEnd, Sent: "D1234567820260701120012345678901", Amount: 1000}
		if _, err := r.term.Refund(r.Context(), back, mark(new(int))); err != nil {
			r.Fatal(err)
		}
		if again, err := r.term.Propose(r.Context(), refund(1234)); err != nil || again.ID != made.ID {
			r.Errorf("the same one again, when less is left: %+v, %v", again, err)
		}
		more := refund(235)
		more.Reference = "volta/2"
		if _, err := r.term.Propose(r.Context(), more); !errors.Is(err, proposal.ErrInvalid) {
			r.Errorf("more than is left: %v", err)
		}
	})
	bubble(t, func(r *rig) {
		if _, err := r.term.Propose(r.Context(), wants("caixa/1")); !errors.Is(err, terminal.ErrNoHub) {
			r.Errorf("without a hub: %v", err)
		}
	})
}
