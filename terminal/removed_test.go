package terminal_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/ssg-safe/agent/charge"
	"github.com/ssg-safe/agent/display"
	"github.com/ssg-safe/agent/providers"
	"github.com/ssg-safe/agent/queue"
	"github.com/ssg-safe/agent/terminal"
)

// otherProvider replaces the provider of the rig by one of another name.
func otherProvider(to *route) func(*terminal.Config) {
	return func(c *terminal.Config) {
		c.Merchants[0].Route = "other"
		c.Routes = map[string]terminal.Route{"other": to}
	}
}

// TestProviderIsRemoved: a charge waits for its provider to be configured
// again, and harms no other.
func TestProviderIsRemoved(t *testing.T) {
	bubble(t, func(r *rig) {
		id := r.begin()
		r.stop()
		r.edit = otherProvider(newRoute())
		r.start()
		r.shows(display.Idle)
		if n := r.count(terminal.ChargeResumed); n != 1 {
			r.Errorf("%d charges were taken up, want 1", n)
		}
		if left, err := r.term.Unfinished(r.Context()); err != nil || left.Charges != 1 {
			r.Errorf("unfinished: %+v, %v; want the charge", left, err)
		}
		r.begin()
		r.pass(time.Hour)
		if c := r.fold(id); c.State != charge.Pending {
			r.Errorf("state %s", c.State)
		}
		r.stop()
		r.edit = nil
		r.route.pays(1234, "E1")
		r.start()
		r.pass(time.Second)
		if c := r.fold(id); c.State != charge.Paid {
			r.Errorf("with its provider again it is %s", c.State)
		}
	})
}

func TestProviderIsRemovedDuringCreation(t *testing.T) {
	bubble(t, func(r *rig) {
		r.route.create = func(ctx context.Context, _ providers.Intent) (providers.Charge, error) {
			<-ctx.Done()
			return providers.Charge{}, &providers.Error{Kind: providers.Ambiguous, Err: ctx.Err()}
		}
		r.keys("1234E")
		r.stop()
		r.edit = otherProvider(newRoute())
		r.start()
		r.pass(time.Second)
		// Its merchant has another one meanwhile.
		c := r.fold(charge.ID(r.route.intents[0].ID))
		if by, _ := c.Through(); c.State != charge.Pending || by != "other" {
			r.Errorf("state %s by %s", c.State, by)
		}
	})
}

func TestCreditOfARemovedProvider(t *testing.T) {
	bubble(t, func(r *rig) {
		id := r.begin()
		r.pass(2 * time.Hour)
		r.stop()
		r.edit = otherProvider(newRoute())
		r.start()
		if _, err := r.term.Credit(r.Context(), id, fromHub(r, id, 1234, "E1"), nil); err != nil {
			r.Fatal(err)
		}
		r.pass(time.Second)
		if c := r.fold(id); c.State != charge.Paid || !c.Late {
			r.Errorf("state %s, late %v", c.State, c.Late)
		}
		r.restart(false)
	})
}

func TestMerchantIsRemoved(t *testing.T) {
	bubble(t, func(r *rig) {
		r.printer.ready = errors.New("no paper")
		r.begin()
		r.route.pays(1234, "E1")
		r.pass(3 * time.Second)
		r.shows(display.Paid)
		r.stop()
		r.edit = func(c *terminal.Config) { c.Merchants[0].ID = "renamed" }
		r.start()
		r.shows(display.Paid)
		r.printer.set(func(p *paper) { p.ready = nil })
		r.pass(20 * time.Second)
		if dead := r.jobs(queue.Dead); len(dead) != 1 {
			r.Errorf("dead letters: %+v, want the receipt of nobody we know", dead)
		}
	})
}
