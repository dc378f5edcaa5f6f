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
	"github.com/ssg-safe/agent/providers"
	"github.com/ssg-safe/agent/store"
	"github.com/ssg-safe/agent/terminal"
)

// breakable runs the terminal anew with commits that fail while *fail is true.
func breakable(r *rig, fail *bool) {
	r.Helper()
	r.stop()
	r.commit = func(tx *bbolt.Tx) error {
		if *fail {
			return errors.Join(errors.New("input/output error"), tx.Rollback())
		}
		return tx.Commit()
	}
	r.start()
}

func TestAskersLearnOfAnUnknownOutcome(t *testing.T) {
	for name, ask := range map[string]func(*rig, charge.ID) error{
		"start": func(r *rig, _ charge.ID) error {
			_, err := r.term.Start(r.Context(), terminal.Request{Amount: 1000, Source: "api"})
			return err
		},
		"credit": func(r *rig, id charge.ID) error {
			_, err := r.term.Credit(r.Context(), id, fromHub(r, id, 1234, "E1"), nil)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(r *rig) {
				fail := false
				breakable(r, &fail)
				id := r.begin()
				fail = true
				if err := ask(r, id); !errors.Is(err, store.ErrOutcomeUnknown) {
					r.Errorf("got %v, want ErrOutcomeUnknown", err)
				}
				if err := <-r.ended; !errors.Is(err, store.ErrOutcomeUnknown) {
					r.Errorf("the terminal ended with %v", err)
				}
				fail = false
				r.start()
			})
		})
	}
}

// TestBrokenStoreEndsAtOnce: nobody waits for a provider that is slow.
func TestBrokenStoreEndsAtOnce(t *testing.T) {
	bubble(t, func(r *rig) {
		fail := false
		breakable(r, &fail)
		r.begin()
		r.route.on(func(ctx context.Context, _ providers.Ref) (providers.Charge, error) {
			<-ctx.Done()
			return providers.Charge{}, &providers.Error{Kind: providers.Ambiguous, Err: ctx.Err()}
		})
		r.pass(3 * time.Second) // it is being asked
		fail = true
		begun := time.Now()
		if _, err := r.term.Start(r.Context(), terminal.Request{Amount: 1000}); err == nil {
			r.Error("a charge was started")
		}
		<-r.ended
		if took := time.Since(begun); took > 0 {
			r.Errorf("it took %v to end", took)
		}
		fail = false
		r.start()
	})
}

func TestCallersPartRefuses(t *testing.T) {
	// An error of the caller's own, even one that the ledger knows too.
	for _, refusal := range []error{errors.New("not twice"), ledger.ErrConflict} {
		bubble(t, func(r *rig) {
			with := func(*bbolt.Tx) error { return refusal }
			id := r.begin()
			if _, err := r.term.Credit(r.Context(), id, fromHub(r, id, 1234, "E1"), with); !errors.Is(err, refusal) {
				r.Errorf("credit: got %v, want %v", err, refusal)
			}
			if _, err := r.term.Start(r.Context(), terminal.Request{Amount: 1000, With: with}); !errors.Is(err, refusal) {
				r.Errorf("start: got %v, want %v", err, refusal)
			}
			if c := r.fold(id); c.State != charge.Pending || len(c.Payments) != 0 {
				r.Errorf("state %s, payments %+v", c.State, c.Payments)
			}
			if _, err := r.term.Credit(r.Context(), id, fromHub(r, id, 1234, "E1"), nil); err != nil {
				r.Error(err)
			}
			r.pass(10 * time.Second)
			if _, err := r.term.Start(r.Context(), terminal.Request{Amount: 1000, Present: true, With: with}); !errors.Is(err, refusal) {
				r.Errorf("start on the screen: got %v, want %v", err, refusal)
			}
			r.pass(0)
			r.shows(display.Idle)
		})
	}
}

// TestAShutdownLeavesTimeForTheStore: a provider that does not answer holds the
// end up, but not for so long that the supervisor takes the committer away.
func TestAShutdownLeavesTimeForTheStore(t *testing.T) {
	bubble(t, func(r *rig) {
		r.route.create = func(ctx context.Context, _ providers.Intent) (providers.Charge, error) {
			<-ctx.Done()
			return providers.Charge{}, &providers.Error{Kind: providers.Ambiguous, Err: ctx.Err()}
		}
		r.keys("1234E")
		began := time.Now()
		r.stop()
		if took := time.Since(began); took < 5*time.Second || took >= 15*time.Second/2 {
			r.Errorf("the end took %v, want some time for the answer and less than half of the supervisor's 15 s", took)
		}
		r.route.create = r.route.accept
		r.start()
		r.pass(time.Second)
		if c := r.fold(charge.ID(r.route.intents[0].ID)); c.State != charge.Pending || len(c.Attempts) != 2 {
			r.Errorf("state %s after attempts %+v", c.State, c.Attempts)
		}
	})
}
