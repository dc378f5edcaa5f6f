package terminal_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.etcd.io/bbolt"

	"github.com/ssg-safe/agent/charge"
	"github.com/ssg-safe/agent/display"
	"github.com/ssg-safe/agent/money"
	"github.com/ssg-safe/agent/providers"
	"github.com/ssg-safe/agent/terminal"
)

// second is another provider, which can be probed.
type second struct {
	*route
	probe  func() error
	mu     sync.Mutex
	probes []time.Time
}

func (s *second) Name() string { return "second" }

func (s *second) CheckHealth(context.Context) error {
	s.mu.Lock()
	s.probes = append(s.probes, time.Now())
	f := s.probe
	s.mu.Unlock()
	if f == nil {
		return nil
	}
	return f()
}

func (s *second) probed() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.probes)
}

// routes runs a terminal whose merchant has two routes: a provider that can be
// probed, then the rig's own.
func routes(t *testing.T, f func(r *rig, first *second)) {
	bubble(t, func(r *rig) {
		first := &second{route: newRoute()}
		r.stop()
		r.edit = twoRoutes(r, first)
		r.start()
		f(r, first)
	})
}

func twoRoutes(r *rig, first terminal.Route) func(*terminal.Config) {
	return func(c *terminal.Config) {
		c.Routes = map[string]terminal.Route{"first": first, "fake": r.route}
		m := &c.Merchants[0]
		m.Route, m.Account = "first", "one"
		m.Others = []charge.Route{{Provider: "fake", Account: "acc", Key: m.Key}}
	}
}

func (r *rig) attempts(c charge.Charge) string {
	s := ""
	for _, a := range c.Attempts {
		by, account := c.At(a.N)
		s += fmt.Sprintf("%s/%s:%s ", by, account, a.State)
	}
	return s
}

// TestFailOver: where the first provider provably made nothing, or cannot be asked
// whether it did, the second one makes the charge, at once.
func TestFailOver(t *testing.T) {
	for _, tt := range []struct {
		name   string
		create providers.Kind
		lookUp bool
		status providers.Kind // of the look-up
		want   string
		state  charge.State
	}{
		{name: "not sent", create: providers.NotSent, want: "first/one:rejected fake/acc:accepted ", state: charge.Pending},
		{name: "too many", create: providers.Rate, want: "first/one:rejected fake/acc:accepted ", state: charge.Pending},
		{name: "unavailable", create: providers.Unavailable, want: "first/one:rejected fake/acc:accepted ", state: charge.Pending},
		{name: "account refused", create: providers.Auth, want: "first/one:rejected fake/acc:accepted ", state: charge.Pending},
		{name: "charge refused", create: providers.Invalid, want: "first/one:rejected ", state: charge.Failed},
		{name: "payer's data", create: providers.PayerDataRequired, want: "first/one:rejected ", state: charge.Failed},
		{name: "foreign code", create: providers.Security, want: "first/one:orphaned ", state: charge.Failed},
		{name: "unknown", create: providers.Ambiguous, want: "first/one:orphaned fake/acc:accepted ", state: charge.Pending},
		{name: "unknown, and there is none", create: providers.Ambiguous, lookUp: true, status: providers.NotFound, want: "first/one:orphaned fake/acc:accepted ", state: charge.Pending},
		{name: "unknown, and nobody answers", create: providers.Ambiguous, lookUp: true, status: providers.NotSent, want: "first/one:orphaned fake/acc:accepted ", state: charge.Pending},
		{name: "unknown, and refused to say", create: providers.Ambiguous, lookUp: true, status: providers.Invalid, want: "first/one:orphaned fake/acc:accepted ", state: charge.Pending},
	} {
		t.Run(tt.name, func(t *testing.T) {
			routes(t, func(r *rig, first *second) {
				first.create = fails(tt.create)
				first.caps.LookUp = tt.lookUp
				first.on(func(context.Context, providers.Ref) (providers.Charge, error) {
					return providers.Charge{}, &providers.Error{Kind: tt.status}
				})
				r.keys("1234E")
				r.pass(time.Second)
				id := charge.ID(first.intents[0].ID)
				c := r.fold(id)
				if got := r.attempts(c); got != tt.want || c.State != tt.state {
					r.Fatalf("attempts %s, %s; want %s, %s", got, c.State, tt.want, tt.state)
				}
				if in := first.intents[0]; in.Account != "one" || len(first.intents) != 1 {
					r.Errorf("the first provider got %d, of account %s", len(first.intents), in.Account)
				}
				if tt.state != charge.Pending {
					if n := len(r.route.intents); n != 0 {
						r.Errorf("the second provider got %d requests", n)
					}
					return
				}
				if in := r.route.intents[0]; in.Account != "acc" || in.Attempt != 2 || len(r.route.intents) != 1 {
					r.Errorf("the second provider got %+v, of %d", in, len(r.route.intents))
				}
				// It is asked about where it is.
				asked := first.questions()
				r.route.pays(1234, "E1")
				r.pass(3 * time.Second)
				r.shows(display.Paid)
				c = r.fold(id)
				if p, _ := c.Settling(); p.Evidence.Route != "fake" || p.Evidence.Account != "acc" || first.questions() != asked {
					r.Errorf("paid by %+v; the first one was asked %d times more", p.Evidence, first.questions()-asked)
				}
			})
		})
	}
}

// TestFailOverIsNoRepeat: the first request for a charge at its second provider is none
// of the retries that are counted there; a further one is.
func TestFailOverIsNoRepeat(t *testing.T) {
	routes(t, func(r *rig, first *second) {
		repeats := ""
		first.create = func(ctx context.Context, in providers.Intent) (providers.Charge, error) {
			repeats += fmt.Sprintf("first %v ", providers.PurposeOf(ctx).Repeat)
			if in.Attempt == 1 {
				return providers.Charge{}, &providers.Error{Kind: providers.NotSent}
			}
			return first.accept(ctx, in)
		}
		r.route.create = func(ctx context.Context, _ providers.Intent) (providers.Charge, error) {
			repeats += fmt.Sprintf("fake %v ", providers.PurposeOf(ctx).Repeat)
			return providers.Charge{}, &providers.Error{Kind: providers.Unavailable}
		}
		r.keys("1234E")
		r.pass(10 * time.Second)
		r.shows(display.QR)
		if repeats != "first false fake false first true " {
			r.Errorf("repeats: %s", repeats)
		}
	})
}

// TestMoneyThroughAnOrphan: it is the charge's, as its only payment or as a second
// one.
func TestMoneyThroughAnOrphan(t *testing.T) {
	routes(t, func(r *rig, first *second) {
		first.create = func(_ context.Context, in providers.Intent) (providers.Charge, error) {
			return providers.Charge{ProviderID: "orphan-" + in.ID}, &providers.Error{Kind: providers.Ambiguous}
		}
		var ids []charge.ID
		for i := range 2 {
			id, err := r.term.Start(r.Context(), terminal.Request{Amount: 1234, Source: "api"})
			if err != nil {
				r.Fatal(err)
			}
			ids = append(ids, id)
			r.pass(time.Second)
			if i == 0 {
				continue
			}
			r.route.on(func(_ context.Context, ref providers.Ref) (providers.Charge, error) {
				a := providers.Charge{ProviderID: ref.ProviderID, Status: providers.StatusPending, Word: "W", Digest: "d"}
				if ref.Charge == string(id) {
					a.Status, a.EndToEnd = providers.StatusPaid, "E2"
				}
				return a, nil
			})
			r.pass(5 * time.Second)
		}
		amount := money.Amount(1234)
		for i, id := range ids {
			ev := charge.Evidence{
				Source: charge.FromHub, Route: "first", Account: "one", Attempt: 1, ProviderID: "orphan-" + string(id),
				Word: "PAGO", Amount: &amount, EndToEnd: fmt.Sprintf("O%d", i), Digest: "signed",
			}
			wrong := ev
			wrong.Route, wrong.Account, wrong.EndToEnd = "fake", "acc", "wrong"
			for _, ev := range []charge.Evidence{ev, ev, wrong} {
				if _, err := r.term.Credit(r.Context(), id, ev, nil); err != nil {
					r.Fatal(err)
				}
			}
			c := r.fold(id)
			var good, extra, odd int
			for _, p := range c.Payments {
				switch {
				case p.Mismatch:
					odd++
				case p.Extra:
					extra++
				default:
					good++
				}
			}
			if c.State != charge.Paid || good != 1 || odd != 1 || extra > 1 || extra != len(c.Payments)-2 {
				r.Errorf("charge %d: %s, %d paid, %d extra, %d odd", i, c.State, good, extra, odd)
			}
		}
	})
}

// TestRouteIsOutAndBack: after two failures new charges begin at the next route;
// a probe that succeeds brings the first one back, and probes are few.
func TestRouteIsOutAndBack(t *testing.T) {
	routes(t, func(r *rig, first *second) {
		down := errors.Join(&providers.Error{Kind: providers.NotSent})
		first.probe = func() error { return down }
		first.create = fails(providers.NotSent)
		begin := func() {
			r.Helper()
			if _, err := r.term.Start(r.Context(), terminal.Request{Amount: 1234, Source: "api"}); err != nil {
				r.Fatal(err)
			}
			synctest.Wait()
		}
		for range 20 {
			begin()
			r.pass(30 * time.Second)
		}
		if n := len(first.intents); n != 2 {
			r.Errorf("the route that is out got %d charges, want two", n)
		}
		if n := first.probed(); n < 20 || n > 80 {
			r.Errorf("%d probes in ten minutes", n)
		}
		s, err := r.term.Status(r.Context())
		if err != nil || len(s.Routes) != 2 || !s.Routes[0].Out || s.Routes[0].Why != "not_sent" || s.Routes[1].Out {
			r.Errorf("status %+v, %v", s.Routes, err)
		}
		if s.Network == display.Down {
			r.Error("the network is called down while charges are made")
		}
		first.mu.Lock()
		first.probe = nil
		first.mu.Unlock()
		first.create = first.accept
		before := len(r.route.intents)
		r.pass(31 * time.Second)
		begin()
		if len(first.intents) != 3 || len(r.route.intents) != before {
			r.Errorf("after the probe the first route got %d, the second %d", len(first.intents)-2, len(r.route.intents)-before)
		}
		if s, err := r.term.Status(r.Context()); err != nil || s.Routes[0].Out {
			r.Errorf("status %+v, %v", s.Routes, err)
		}
		n := first.probed()
		r.pass(time.Hour)
		if first.probed() != n {
			r.Error("a route that is well is probed")
		}
	})
}

// TestOwnCodeOnlyWithoutAnyRoute: while one of the routes answers there is no code
// of the terminal's own, and when none does it is for the route that finds its
// payment.
func TestOwnCodeOnlyWithoutAnyRoute(t *testing.T) {
	bubble(t, func(r *rig) {
		first := &second{route: newRoute()}
		b := &bank{route: r.route, received: map[string][]providers.Payment{}}
		b.caps.Idempotent, b.caps.LookUp = true, true
		edit := twoRoutes(r, first)
		r.stop()
		r.edit = func(c *terminal.Config) {
			edit(c)
			c.Routes["fake"], c.Offline = b, hold()
		}
		r.start()
		first.create = fails(providers.NotSent)
		first.probe = func() error { return &providers.Error{Kind: providers.NotSent} }
		id := r.begin()
		if c := r.fold(id); r.attempts(c) != "first/one:rejected fake/acc:accepted " {
			r.Errorf("attempts %s", r.attempts(c))
		} else if _, static := c.Static(); static {
			r.Error("a code of its own beside a provider that answers")
		}
		r.keys("C")
		r.pass(30 * time.Second)
		// Now nobody answers.
		b.set(providers.NotSent)
		id = r.makeOffline()
		c := r.fold(id)
		a, _ := c.Static()
		if by, account := c.At(a.N); by != "fake" || account != "acc" {
			r.Errorf("its payment is looked for at %s/%s; attempts %s", by, account, r.attempts(c))
		}
		b.set(0)
		b.pays(id, 1234)
		r.pass(time.Minute)
		c = r.fold(id)
		if p, _ := c.Settling(); c.State != charge.Paid || p.Evidence.Route != "fake" {
			r.Errorf("%s by %+v", c.State, p.Evidence)
		}
	})
}

// TestFailOverSurvivesCrashes: the terminal dies at each commit of a charge that
// fails over, whether the commit reached the disk or not. Each attempt is sent once
// at most, to the provider that the ledger names, one code is shown, and it is paid
// once.
func TestFailOverSurvivesCrashes(t *testing.T) {
	for _, lookUp := range []bool{false, true} {
		for _, kept := range []bool{false, true} {
			for n := 1; ; n++ {
				commits := 0
				t.Run(fmt.Sprintf("look-up %v, commit %d, kept %v", lookUp, n, kept), func(t *testing.T) {
					routes(t, func(r *rig, first *second) { commits = crashAt(r, first, n, kept, lookUp) })
				})
				if commits < n {
					break
				}
			}
		}
	}
}

// crashAt returns how many commits there were before the crash, or in all.
func crashAt(r *rig, first *second, n int, kept, lookUp bool) int {
	first.caps.LookUp = lookUp
	first.create = fails(providers.Ambiguous)
	first.on(func(context.Context, providers.Ref) (providers.Charge, error) {
		return providers.Charge{}, &providers.Error{Kind: providers.NotFound}
	})
	commits := 0
	r.stop()
	r.commit = func(tx *bbolt.Tx) error {
		if commits++; commits != n {
			return tx.Commit()
		}
		if kept {
			return errors.Join(errors.New("the power went"), tx.Commit())
		}
		return errors.Join(errors.New("the power went"), tx.Rollback())
	}
	r.start()
	started := commits
	pass := func(d time.Duration) {
		r.pass(d)
		select {
		case <-r.ended:
			r.commit = nil
			r.start()
			r.pass(d)
		default:
		}
	}
	r.keys("1234E")
	pass(time.Second)
	r.route.on(func(_ context.Context, ref providers.Ref) (providers.Charge, error) {
		amount := money.Amount(1234)
		return providers.Charge{
			ProviderID: ref.ProviderID, Status: providers.StatusPaid, Word: "PAGO", Amount: &amount, EndToEnd: "E" + ref.ProviderID, Digest: "d2",
		}, nil
	})
	pass(10 * time.Second)
	if len(first.intents) == 0 {
		return commits - started // it died before anything was recorded
	}
	c := r.fold(charge.ID(first.intents[0].ID))
	sent := map[string]int{}
	for name, got := range map[string][]providers.Intent{"first": first.intents, "fake": r.route.intents} {
		for _, in := range got {
			by, account := c.At(in.Attempt)
			if in.ID != string(c.ID) || by != name || account != in.Account {
				r.Errorf("%s got attempt %d of account %s, on record for %s/%s", name, in.Attempt, in.Account, by, account)
			}
			sent[fmt.Sprint(name, in.Attempt)]++
		}
	}
	for attempt, n := range sent {
		if n > 1 {
			r.Errorf("attempt %s was sent %d times", attempt, n)
		}
	}
	if c.State != charge.Paid || len(c.Payments) != 1 || c.Payments[0].Evidence.Route != "fake" {
		r.Errorf("%s with %d payments; attempts %s", c.State, len(c.Payments), r.attempts(c))
	}
	return commits - started
}
