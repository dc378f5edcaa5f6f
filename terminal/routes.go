package terminal

import (
	"context"
	"errors"
	"slices"

	"github.com/ssg-safe/agent/charge"
	"github.com/ssg-safe/agent/providers"
	"github.com/ssg-safe/agent/router"
)

// routes are the ways of a charge's merchant. Those of one that is not configured
// any more are the charge's own.
func (t *Terminal) routes(c charge.Charge) []charge.Route {
	if m, ok := t.merchant(c.Merchant); ok {
		return m.Routes()
	}
	return []charge.Route{{Provider: c.Route, Account: c.Account}}
}

// ways are the routes by which a charge may still be made. A checkout that is taken
// over is at its provider alone.
func (t *Terminal) ways(l *live) []charge.Route {
	if l.token != "" {
		last, _ := l.charge.Last()
		return []charge.Route{t.way(l.charge, last.N)}
	}
	return t.routes(l.charge)
}

// way is the route of attempt n, with the key that the configuration has for it.
func (t *Terminal) way(c charge.Charge, n int) charge.Route {
	provider, account := c.At(n)
	for _, r := range t.routes(c) {
		if r.Provider == provider && r.Account == account {
			return r
		}
	}
	m, _ := t.merchant(c.Merchant)
	return charge.Route{Provider: provider, Account: account, Key: m.Key}
}

// current is the attempt that a charge is about: the accepted one, else the newest.
func current(c charge.Charge) int {
	if a, ok := c.Accepted(); ok {
		return a.N
	}
	last, _ := c.Last()
	return last.N
}

// provider is the name of the provider of a charge's current attempt.
func provider(c charge.Charge) string {
	name, _ := c.At(current(c))
	return name
}

// route is that provider.
func (t *Terminal) route(c charge.Charge) Route {
	name := provider(c)
	if r := t.cfg.Routes[name]; r != nil {
		return r
	}
	return removed(name)
}

// configured reports whether it is.
func (t *Terminal) configured(c charge.Charge) bool { return t.cfg.Routes[provider(c)] != nil }

// next is the fact of a charge's next attempt.
func next(c charge.Charge, by charge.Route) charge.AttemptFact {
	last, _ := c.Last()
	return charge.AttemptFact{Charge: c.ID, N: last.N + 1, State: charge.Sending, Route: by.Provider, Account: by.Account}
}

// moveOn sends a charge by another route when its newest attempt, of unknown
// outcome, cannot be looked up; false when there is none, or no need.
func (t *Terminal) moveOn(l *live, err error) bool {
	last, _ := l.charge.Last()
	e, _ := errors.AsType[*providers.Error](err)
	silent := router.Failing(err) || e != nil && e.Held
	if l.cancel || !silent || l.charge.State != charge.Created || last.State != charge.Uncertain || last.N >= charge.MaxAttempts {
		return false
	}
	if _, more := t.board.Untried(l.charge, t.ways(l), t.clock.Up()); !more {
		return false
	}
	facts, next := l.charge.Unanswered(last.N)
	t.follow(l, facts, next, err, func(*decision) {})
	return true
}

// watchRoutes says which routes are probed while they are out: those of merchants
// who have another one meanwhile. The others are tried by whoever wants to be paid.
func (t *Terminal) watchRoutes() {
	for _, m := range t.cfg.Merchants {
		if len(m.Others) == 0 {
			continue
		}
		for _, r := range m.Routes() {
			if _, ok := t.cfg.Routes[r.Provider].(providers.HealthChecker); ok {
				t.board.Watch(r.Provider)
			}
		}
	}
}

// probe asks the routes that are out whether they are back.
func (t *Terminal) probe() {
	for _, name := range t.board.Due(t.clock.Up()) {
		route := t.cfg.Routes[name]
		health, _ := route.(providers.HealthChecker)
		t.call(t.asks, t.probes, route.Caps().ReadTimeout, func(ctx context.Context) input {
			err := health.CheckHealth(ctx)
			return func() {
				t.noted(name, func() { t.board.Probed(name, err, t.clock.Up()) })
				t.heard(name, err)
			}
		})
	}
}

// reached takes the outcome of a call to a provider.
func (t *Terminal) reached(name string, call router.Call, err error) {
	t.noted(name, func() { t.board.Note(name, call, err, t.clock.Up()) })
	t.heard(name, err)
}

// noted logs when a route goes out or comes back by what f notes.
func (t *Terminal) noted(name string, f func()) {
	before := t.board.Out(name, t.clock.Up())
	f()
	switch after := t.board.Out(name, t.clock.Up()); {
	case after && !before:
		h := t.board.Health(name)
		t.log.Warn("route is out", "provider", name, "why", h.Why)
	case before && !after:
		t.log.Info("route is back", "provider", name)
	}
}

// anotherWay reports whether all merchants who use a provider have another one that
// is not out.
func (t *Terminal) anotherWay(than string) bool {
	return !slices.ContainsFunc(t.cfg.Merchants, func(m charge.Merchant) bool {
		return m.Uses(than) && !slices.ContainsFunc(m.Routes(), func(r charge.Route) bool {
			return r.Provider != than && !t.board.Out(r.Provider, t.clock.Up())
		})
	})
}

// RouteStatus is a provider that some merchant uses.
type RouteStatus struct {
	Provider string
	// Out: new charges go another way, if there is one. Why is the newest failure's
	// kind ([providers.Kind]).
	Out bool
	Why string
}

// routeStatus lists the merchants' providers in the order of the configuration.
func (t *Terminal) routeStatus() []RouteStatus {
	var all []RouteStatus
	seen := map[string]bool{}
	for _, m := range t.cfg.Merchants {
		for _, r := range m.Routes() {
			if seen[r.Provider] {
				continue
			}
			seen[r.Provider] = true
			s := RouteStatus{Provider: r.Provider, Out: t.board.Out(r.Provider, t.clock.Up())}
			if s.Out {
				s.Why = t.board.Health(r.Provider).Why
			}
			all = append(all, s)
		}
	}
	return all
}
