package terminal_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/ssg-safe/agent/charge"
	"github.com/ssg-safe/agent/display"
	"github.com/ssg-safe/agent/store"
	"github.com/ssg-safe/agent/terminal"
)

// What callers are told: that nothing was done is never said of what may be done.

// TestAFullInboxRefusesAtOnce: nobody waits for a place to learn that nothing was
// done.
func TestAFullInboxRefusesAtOnce(t *testing.T) {
	bubble(t, func(r *rig) {
		id := r.begin()
		stuck := make(chan struct{})
		r.told = func(terminal.Event) { <-stuck }
		r.route.pays(1234, "E1")
		r.pass(5 * time.Second) // the loop tells that it was paid, and goes no further
		for range 100 {
			r.term.Key(display.Key{Kind: display.Digit})
		}
		asked := time.Now()
		ctx, cancel := context.WithTimeout(r.Context(), time.Minute)
		defer cancel()
		for what, ask := range map[string]func() error{
			"start": func() error {
				_, err := r.term.Start(ctx, terminal.Request{Amount: 1000, Source: "api"})
				return err
			},
			"cancel":  func() error { return r.term.Cancel(ctx, id) },
			"reprint": func() error { _, err := r.term.Reprint(ctx, id); return err },
			"settle":  func() error { _, err := r.term.Settle(ctx, terminal.Dropped, nil); return err },
			"closing": func() error {
				_, err := r.term.Closing(ctx, terminal.ClosingRequest{Z: true})
				return err
			},
			"status": func() error { _, err := r.term.Status(ctx); return err },
		} {
			if err := ask(); !errors.Is(err, terminal.ErrBusy) {
				r.Errorf("%s: %v, want ErrBusy", what, err)
			}
		}
		if waited := time.Since(asked); waited > 0 {
			r.Errorf("waited %v", waited)
		}
		r.told = nil
		close(stuck)
		r.pass(time.Minute)
	})
}

// TestAnEndIsNoRefusal: a caller whose charge is being committed while the
// terminal ends is not told that nothing was done.
func TestAnEndIsNoRefusal(t *testing.T) {
	bubble(t, func(r *rig) {
		r.stop()
		slow := true
		r.commit = func(tx *bbolt.Tx) error {
			if slow {
				time.Sleep(20 * time.Second)
			}
			return tx.Commit()
		}
		r.start()
		req := terminal.Request{Amount: 1000, Source: "api", Reference: "order-1"}
		answer := make(chan error, 1)
		term := r.term
		go func() {
			_, err := term.Start(context.Background(), req)
			answer <- err
		}()
		r.pass(time.Second)
		r.stop()
		if err := <-answer; err == nil || errors.Is(err, terminal.ErrStopping) {
			r.Errorf("%v, want an error that leaves the outcome open", err)
		}
		if _, err := term.Start(r.Context(), terminal.Request{Amount: 1000, Source: "api"}); !errors.Is(err, terminal.ErrStopping) {
			r.Errorf("asked after the end: %v, want ErrStopping", err)
		}
		slow = false
		r.start()
		before := r.kinds()
		if id, err := r.term.Start(r.Context(), req); err != nil || r.fold(id).Reference != "order-1" {
			r.Errorf("asked again: %s, %v", id, err)
		}
		if after := r.kinds(); len(before) == 0 || !slices.Equal(after, before) {
			r.Errorf("ledger %v, then %v; want the charge that was recorded at the end", before, after)
		}
		r.pass(time.Hour)
	})
}

// TestAReferenceIsKnownWhateverElse: who asks again is told the charge, also when
// a new one would be refused by now.
func TestAReferenceIsKnownWhateverElse(t *testing.T) {
	bubble(t, func(r *rig) {
		req := terminal.Request{Amount: 1000, Merchant: "loja", Source: "api", Reference: "order-1"}
		first, err := r.term.Start(r.Context(), req)
		if err != nil {
			r.Fatal(err)
		}
		again := func(what string) {
			r.Helper()
			if id, err := r.term.Start(r.Context(), req); id != first || err != nil {
				r.Errorf("%s: %s, %v; want %s", what, id, err, first)
			}
			other := req
			other.Amount++
			if _, err := r.term.Start(r.Context(), other); !errors.Is(err, terminal.ErrReference) {
				r.Errorf("%s: another amount: %v, want ErrReference", what, err)
			}
		}
		r.pass(time.Second)
		r.edit = func(c *terminal.Config) { c.MinAmount, c.Merchants[0].ID = 5000, "outra" }
		r.restart(true)
		again("other limits and merchants")
		r.pass(2 * time.Hour)
		if c := r.fold(first); c.State != charge.Expired {
			r.Errorf("state %s", c.State)
		}
		again("an ended charge")
		r.fill()
		again("a full store")
		r.stop()
		st, err := store.OpenReadOnly(r.options())
		if err != nil {
			r.Fatal(err)
		}
		r.term, err = terminal.New(r.config(), st, r.clock, r.screen, nil, nil, nil)
		if err != nil {
			r.Fatal(err)
		}
		again("a store that cannot be written")
		fresh := req
		fresh.Reference = "order-2"
		if _, err := r.term.Start(r.Context(), fresh); !errors.Is(err, store.ErrReadOnly) {
			r.Errorf("a new charge in a store that cannot be written: %v, want ErrReadOnly", err)
		}
		if err := st.Close(); err != nil {
			r.Error(err)
		}
		r.start()
	})
}
