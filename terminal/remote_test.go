package terminal_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/ssg-safe/agent/charge"
	"github.com/ssg-safe/agent/display"
	"github.com/ssg-safe/agent/ledger"
	"github.com/ssg-safe/agent/money"
	"github.com/ssg-safe/agent/providers"
	"github.com/ssg-safe/agent/store"
	"github.com/ssg-safe/agent/terminal"
)

func fromHub(r *rig, id charge.ID, amount money.Amount, e2e string) charge.Evidence {
	c := r.fold(id)
	a, _ := c.Accepted()
	return charge.Evidence{
		Source: charge.FromHub, Route: "fake", Account: "acc", Attempt: a.N, ProviderID: a.ProviderID,
		Word: "PAGO", Amount: &amount, EndToEnd: e2e, Digest: "signed",
	}
}

// mark is a caller's own part of a commit.
func mark(n *int) func(*bbolt.Tx) error {
	return func(*bbolt.Tx) error { *n++; return nil }
}

func TestCreditFromTheHub(t *testing.T) {
	bubble(t, func(r *rig) {
		id := r.begin()
		marks := 0
		ev := fromHub(r, id, 1234, "E1")
		if _, err := r.term.Credit(r.Context(), id, ev, mark(&marks)); err != nil {
			r.Fatal(err)
		}
		r.pass(0)
		r.shows(display.Paid)
		if c := r.fold(id); c.State != charge.Paid || c.Payments[0].Evidence.Source != charge.FromHub {
			r.Errorf("state %s on %+v", c.State, c.Payments)
		}
		commits := r.store.Stats().Commits
		if _, err := r.term.Credit(r.Context(), id, ev, mark(&marks)); err != nil {
			r.Fatal(err)
		}
		r.pass(0)
		if n := r.store.Stats().Commits - commits; n != 0 || marks != 1 {
			r.Errorf("the same word again made %d commits and %d marks", n, marks)
		}
		if _, err := r.term.Credit(r.Context(), "T00100000000000000000000X", ev, nil); !errors.Is(err, terminal.ErrNoCharge) {
			r.Errorf("got %v, want ErrNoCharge", err)
		}
	})
}

func TestCreditOfAClosedCharge(t *testing.T) {
	bubble(t, func(r *rig) {
		id := r.begin()
		r.pass(2 * time.Hour) // expired, watched, forgotten
		r.restart(true)
		if _, err := r.term.Credit(r.Context(), id, fromHub(r, id, 1234, "E1"), nil); err != nil {
			r.Fatal(err)
		}
		r.pass(time.Second)
		r.shows(display.Idle)
		if c := r.fold(id); c.State != charge.Paid || !c.Late {
			r.Errorf("state %s, late %v", c.State, c.Late)
		}
		r.stop()
		if sums := r.audit().Sums; sums[ledger.CustomerCredit] != -1234 {
			r.Errorf("sums %v", sums)
		}
		r.start()
	})
}

func TestHintAsksAtOnce(t *testing.T) {
	bubble(t, func(r *rig) {
		id := r.begin()
		r.pass(40 * time.Second)
		asked := r.route.questions()
		r.route.pays(1234, "E1")
		r.term.Hint(id)
		r.pass(0)
		r.shows(display.Paid)
		if n := r.route.questions() - asked; n != 1 {
			r.Errorf("%d questions after a hint, want 1", n)
		}
	})
}

func TestReferences(t *testing.T) {
	bubble(t, func(r *rig) {
		req := terminal.Request{Amount: 1000, Source: "fleet", Reference: "order-1"}
		marks := 0
		req.With = mark(&marks)
		first, err := r.term.Start(r.Context(), req)
		if err != nil {
			r.Fatal(err)
		}
		again, err := r.term.Start(r.Context(), req)
		if err != nil || again != first {
			r.Errorf("asked again: %s, %v; want %s", again, err, first)
		}
		r.restart(true)
		if again, err = r.term.Start(r.Context(), req); err != nil || again != first {
			r.Errorf("asked again after a restart: %s, %v; want %s", again, err, first)
		}
		req.Amount = 1001
		if _, err := r.term.Start(r.Context(), req); !errors.Is(err, terminal.ErrReference) {
			r.Errorf("asked for another amount: %v, want ErrReference", err)
		}
		req.Source = "api"
		if other, err := r.term.Start(r.Context(), req); err != nil || other == first {
			r.Errorf("another caller's reference: %s, %v", other, err)
		}
		r.pass(time.Second)
		if n := len(r.route.intents); n != 2 {
			r.Errorf("%d charges were created at the provider, want 2", n)
		}
		if marks != 2 {
			r.Errorf("%d marks were committed, want 2", marks)
		}
		r.route.answer(providers.StatusExpired)
		r.pass(10 * time.Second)
	})
}

// TestReferenceOfTheChargeOnTheScreen: who asks again while the first answer's
// charge is shown gets that charge.
func TestReferenceOfTheChargeOnTheScreen(t *testing.T) {
	bubble(t, func(r *rig) {
		req := terminal.Request{Amount: 1000, Source: "fleet", Reference: "order-1", Present: true}
		answers := make(chan charge.ID, 2)
		for range 2 { // the second comes before the first is recorded
			go func() {
				id, err := r.term.Start(r.Context(), req)
				if err != nil {
					r.Error(err)
				}
				answers <- id
			}()
		}
		first, second := <-answers, <-answers
		r.pass(0)
		shown := charge.ID(r.shows(display.QR).Charge)
		third, err := r.term.Start(r.Context(), req)
		if first != shown || second != shown || third != shown || err != nil {
			r.Errorf("got %s, %s, %s, %v; want %s", first, second, third, err, shown)
		}
		r.pass(0)
		r.shows(display.QR)
		other := req
		other.Amount = 1001
		if _, err := r.term.Start(r.Context(), other); !errors.Is(err, terminal.ErrReference) {
			r.Errorf("another amount: got %v, want ErrReference", err)
		}
		other.Reference = "order-2"
		if _, err := r.term.Start(r.Context(), other); !errors.Is(err, terminal.ErrScreenTaken) {
			r.Errorf("another reference: got %v, want ErrScreenTaken", err)
		}
		r.pass(0)
		r.shows(display.QR)
		if n := len(r.route.intents); n != 1 {
			r.Errorf("%d charges were created at the provider, want 1", n)
		}
	})
}

// TestPaidThroughAnOrphanWhileCreating: money for the first attempt, whose
// answer was no good, comes while the second is under way and the payer has
// pressed cancel. The second attempt's answer is recorded all the same.
func TestPaidThroughAnOrphanWhileCreating(t *testing.T) {
	bubble(t, func(r *rig) {
		hold := make(chan struct{})
		r.route.create = func(ctx context.Context, in providers.Intent) (providers.Charge, error) {
			if in.Attempt == 1 {
				return providers.Charge{ProviderID: "orphan", Digest: "d"}, &providers.Error{Kind: providers.Contract}
			}
			<-hold
			return r.route.accept(ctx, in)
		}
		r.keys("1234E")
		r.keys("C")
		id := charge.ID(r.route.intents[0].ID)
		amount := money.Amount(1234)
		f, err := r.term.Credit(r.Context(), id, charge.Evidence{
			Source: charge.FromHub, Route: "fake", Account: "acc", Attempt: 1, ProviderID: "orphan",
			Word: "PAGO", Amount: &amount, EndToEnd: "E1", Digest: "signed",
		}, nil)
		if _, paid := f.(charge.PaidFact); !paid || err != nil {
			r.Fatalf("got %+v, %v", f, err)
		}
		close(hold)
		r.pass(time.Second)
		r.shows(display.Paid)
		if c := r.fold(id); c.State != charge.Paid || c.Attempts[1].State != charge.Accepted {
			r.Errorf("state %s, attempts %+v", c.State, c.Attempts)
		}
		if ids := r.printer.ids(); len(ids) != 1 {
			r.Errorf("printed %v, want the receipt alone", ids)
		}
	})
}

// TestCreditOfAPrunedCharge: of which the ledger has only the end.
func TestCreditOfAPrunedCharge(t *testing.T) {
	bubble(t, func(r *rig) {
		id := charge.ID("T00100000000000000000000X")
		f := charge.EndedFact{Charge: id, State: charge.Expired, Reason: "deadline"}
		if err := r.store.Commit(r.Context(), store.Op{Do: func(tx *bbolt.Tx) error {
			_, err := ledger.Append(tx, ledger.Stamp{Wall: time.Now(), Boot: "b", Quality: ledger.Synced}, ledger.Draft{
				Op: f.Op(), Kind: f.Kind(), Actor: "test", Data: f,
			})
			return err
		}}); err != nil {
			r.Fatal(err)
		}
		amount := money.Amount(1000)
		if _, err := r.term.Credit(r.Context(), id, charge.Evidence{Source: charge.FromHub, Amount: &amount}, nil); !errors.Is(err, terminal.ErrNoCharge) {
			r.Errorf("got %v, want ErrNoCharge", err)
		}
	})
}
