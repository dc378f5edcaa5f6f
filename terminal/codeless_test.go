package terminal_test

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/ssg-safe/agent/charge"
	"github.com/ssg-safe/agent/display"
	"github.com/ssg-safe/agent/ledger"
	"github.com/ssg-safe/agent/providers"
	"github.com/ssg-safe/agent/redact"
	"github.com/ssg-safe/agent/terminal"
)

const token = "T0KEN-OF-A-CHECKOUT-0123456789"

// codeless makes the rig's provider one whose charges have no code but a token, and
// returns the tokens that it was asked with.
func (r *rig) codeless() func() []redact.Secret {
	r.route.mu.Lock()
	r.route.caps.Codeless, r.route.caps.LookUp = true, true
	r.route.create = func(_ context.Context, in providers.Intent) (providers.Charge, error) {
		made := in.Checkout
		if made == "" {
			made = redact.Secret(in.ID + token)
		}
		return providers.Charge{ProviderID: in.ID + "-1", Token: made, Status: providers.StatusPending, Digest: "c0"}, nil
	}
	r.route.mu.Unlock()
	var mu sync.Mutex
	var asked []redact.Secret
	r.route.on(func(_ context.Context, ref providers.Ref) (providers.Charge, error) {
		mu.Lock()
		defer mu.Unlock()
		asked = append(asked, ref.Token)
		return providers.Charge{ProviderID: ref.ProviderID, Status: providers.StatusPending, Word: "PENDING", Digest: "d1"}, nil
	})
	return func() []redact.Secret {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(asked)
	}
}

// entriesHold reports whether any entry of the ledger holds a text.
func (r *rig) entriesHold(text string) (held bool) {
	r.Helper()
	if err := r.store.View(func(tx *bbolt.Tx) error {
		for _, raw := range ledger.Entries(tx, ledger.Position{}) {
			held = held || bytes.Contains(raw, []byte(text))
		}
		return nil
	}); err != nil {
		r.Fatal(err)
	}
	return held
}

// TestCodeless: a charge without a code waits on a screen of its own, has no QR slip,
// is asked about by its token, which is no part of the ledger, and prints its receipt.
func TestCodeless(t *testing.T) {
	bubble(t, func(r *rig) {
		asked := r.codeless()
		r.keys("1234E")
		v := r.shows(display.Elsewhere)
		id := charge.ID(v.Charge)
		if v.Code != "" || !v.Codeless || v.Amount != 1234 || len(r.printer.ids()) != 0 {
			r.Errorf("got %+v, slips %v", v, r.printer.ids())
		}
		if _, err := r.term.Reprint(r.Context(), id); !errors.Is(err, terminal.ErrNothingToPrint) {
			r.Errorf("a copy of a code that is not there: got %v", err)
		}
		r.pass(3 * time.Second)
		r.restart(false) // the token is remembered
		r.shows(display.Elsewhere)
		r.pass(3 * time.Second)
		for _, got := range asked() {
			if got != redact.Secret(string(id)+token) {
				r.Errorf("asked with token %q", got.Reveal())
			}
		}
		r.route.pays(1234, "")
		r.pass(5 * time.Second)
		r.shows(display.Paid)
		if n := len(r.printer.ids()); n != 1 || r.fold(id).State != charge.Paid || len(asked()) < 2 {
			r.Errorf("%d slips, state %s, %d questions", n, r.fold(id).State, len(asked()))
		}
		if r.entriesHold(token) {
			r.Error("the ledger holds the token")
		}
	})
}

// TestCodelessExpires: what is over says so in words that are about no code.
func TestCodelessExpires(t *testing.T) {
	bubble(t, func(r *rig) {
		r.codeless()
		r.keys("1234E")
		r.shows(display.Elsewhere)
		r.pass(5*time.Minute + time.Second)
		r.shows(display.Verifying)
		r.pass(20 * time.Second)
		if v := r.shows(display.Expired); !v.Codeless {
			r.Errorf("got %+v", v)
		}
		r.keys("EE1234E")
		r.shows(display.Elsewhere)
		r.keys("C")
		r.pass(6 * time.Second)
		if v := r.shows(display.Cancelled); !v.Codeless {
			r.Errorf("got %+v", v)
		}
	})
}

// TestCodelessLostAnswer: an attempt whose answer was lost is looked up, and followed
// without its token.
func TestCodelessLostAnswer(t *testing.T) {
	bubble(t, func(r *rig) {
		asked := r.codeless()
		r.route.mu.Lock()
		r.route.create = fails(providers.Ambiguous)
		r.route.mu.Unlock()
		r.keys("1234E")
		id := charge.ID(r.shows(display.Elsewhere).Charge)
		r.pass(3 * time.Second)
		if got := asked(); len(got) < 2 || slices.ContainsFunc(got, func(s redact.Secret) bool { return s != "" }) {
			r.Errorf("asked with %d tokens", len(got))
		}
		if c := r.fold(id); c.State != charge.Pending || len(c.Attempts) != 1 {
			r.Errorf("got %+v", c)
		}
	})
}

// TestAdoptedOnce: a checkout is one charge, also across a restart: asked for again
// by the same reference it is that charge, by any other it is refused.
func TestAdoptedOnce(t *testing.T) {
	bubble(t, func(r *rig) {
		asked := r.codeless()
		want := terminal.Request{Amount: 1234, Reference: "pedido-1", Source: "api", Present: true, Yield: true, Checkout: token}
		id, err := r.term.Start(r.Context(), want)
		if err != nil {
			r.Fatal(err)
		}
		r.pass(3 * time.Second)
		if c := r.fold(id); c.State != charge.Pending || len(asked()) == 0 || asked()[0] != token {
			r.Errorf("got %+v, asked with %d", c, len(asked()))
		}
		r.restart(false)
		if again, err := r.term.Start(r.Context(), want); err != nil || again != id {
			r.Errorf("the same again: got %s (%v), want %s", again, err, id)
		}
		other := want
		other.Reference = "pedido-2"
		if _, err := r.term.Start(r.Context(), other); !errors.Is(err, terminal.ErrCheckout) {
			r.Errorf("another reference: got %v, want ErrCheckout", err)
		}
		other.Reference = ""
		if _, err := r.term.Start(r.Context(), other); !errors.Is(err, terminal.ErrCheckout) {
			r.Errorf("no reference: got %v, want ErrCheckout", err)
		}
		changed := want
		changed.Checkout += "x"
		if _, err := r.term.Start(r.Context(), changed); !errors.Is(err, terminal.ErrReference) {
			r.Errorf("the reference with another checkout: got %v, want ErrReference", err)
		}
		if r.shows(display.Elsewhere).Charge != string(id) || r.entriesHold(token) {
			r.Error("a refusal changed the screen, or the ledger holds the token")
		}
	})
}

// TestNoCheckouts: a provider whose charges have codes takes over none.
func TestNoCheckouts(t *testing.T) {
	bubble(t, func(r *rig) {
		if _, err := r.term.Start(r.Context(), terminal.Request{Amount: 1234, Source: "api", Checkout: token}); !errors.Is(err, terminal.ErrCheckout) {
			r.Errorf("got %v, want ErrCheckout", err)
		}
		if n := len(r.kinds()); n != 0 {
			r.Errorf("%d entries", n)
		}
	})
}
