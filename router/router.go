// Package router decides by which of a merchant's routes a charge is made. It is
// pure: what it knows are the outcomes of calls that were reported to a [Board],
// and the time it is told.
//
// # Order and health
//
// A merchant's routes are in order of preference. A route is out after two failures
// in a row of charges, or of questions; then new charges begin at the next one that
// is not out, or at the first where all are. A question that the account may not ask
// says nothing about charges. A route that can be probed ([Board.Watch]) is out until
// a probe or a charge succeeds; another one for a minute after its newest failure. A
// provider that asks to be left alone is out for as long as it says.
//
// Probes can be answered while charges are not made. A route that came back by a probe
// and fails the next charge is out for a minute at least, whatever probes say, and for
// twice as long each further time, up to half an hour, until a charge is made there.
//
// # Fail-over
//
// A charge moves to another route only from an attempt that provably made nothing
// (not sent, refused) or that was orphaned, by the rules of package charge; the
// ledger refuses it otherwise. Then it takes the next route that it has not tried
// and that is not out; without one it tries the best there is again. All routes of
// a merchant pay the same beneficiary, which the configuration's check demands.
package router

import (
	"errors"
	"slices"
	"time"

	"github.com/ssg-safe/agent/charge"
	"github.com/ssg-safe/agent/providers"
)

const (
	// OutAfter is how many failures in a row put a route out.
	OutAfter = 2
	// OutLasts is how long a route that cannot be probed stays out, and the least for
	// one whose probes promised too much.
	OutLasts = time.Minute
	// DoubtLasts is the most for such a one.
	DoubtLasts = 32 * time.Minute
)

// Call is what a provider was called for.
type Call int

// Calls.
const (
	Create Call = iota // a charge
	Ask                // anything that changes nothing
)

// Health is what is known of a route. Times are boot time.
type Health struct {
	// Failures in a row, by call.
	Failures [2]int
	// At is when the newest of them was, Since when it went out.
	At, Since time.Duration
	// Why is the newest failure's kind.
	Why     string
	refused bool // the newest failure is a refusal of the account
	// rest is until when the provider wants to be left alone.
	rest time.Duration
	// watched routes are probed, next at probe, while they are out; vain counts
	// probes in a row that failed.
	watched, probing bool
	promised         bool // a probe brought it back, and no charge was tried since
	probe            time.Duration
	vain             int
	// broken counts how often charges failed that a probe had promised, since the
	// newest one that was made; doubt is until when probes are not believed.
	broken int
	doubt  time.Duration
}

func (h *Health) failing() bool { return max(h.Failures[Create], h.Failures[Ask]) >= OutAfter }

// Board holds the health of all routes, by the provider's configured name. The
// zero value knows nothing. It belongs to one goroutine.
type Board struct{ routes map[string]*Health }

func (b *Board) of(provider string) *Health {
	if b.routes == nil {
		b.routes = map[string]*Health{}
	}
	if b.routes[provider] == nil {
		b.routes[provider] = &Health{}
	}
	return b.routes[provider]
}

// Watch says that a route can be probed: who does it asks [Board.Due].
func (b *Board) Watch(provider string) { b.of(provider).watched = true }

// Failing reports whether an error speaks against the provider, or the account
// there, and not against what was asked of it. A request that the client's own
// policy held back proves neither.
func Failing(err error) bool {
	e, ok := errors.AsType[*providers.Error](err)
	if err == nil || ok && e.Held {
		return false
	}
	if !ok || e.HTTP >= 500 {
		return true
	}
	switch e.Kind {
	case providers.NotSent, providers.Ambiguous, providers.Contract, providers.Unavailable, providers.Rate:
		return true
	}
	return e.Kind.OfAccount()
}

// Note takes the outcome of a call.
func (b *Board) Note(provider string, call Call, err error, up time.Duration) {
	h := b.of(provider)
	e, ok := errors.AsType[*providers.Error](err)
	crowded := ok && call == Ask && e.Held && e.Code == providers.HeldByRate // polls have but a share
	if ok && !crowded && (e.Kind == providers.Rate || e.Kind == providers.Unavailable) {
		h.rest = max(h.rest, up+e.RetryAfter)
	}
	switch {
	case ok && e.Held:
	case ok && call == Ask && e.Kind.OfAccount(): // charges may need fewer rights than this question
	case Failing(err):
		was := h.failing()
		h.Failures[call]++
		h.At, h.Why, h.refused = up, providers.Ambiguous.String(), ok && e.Kind.OfAccount()
		if ok {
			h.Why = e.Kind.String()
		}
		if !was && h.failing() {
			if h.promised && call == Create {
				h.doubt = up + min(OutLasts<<min(h.broken, 10), DoubtLasts)
				h.broken++
			}
			h.promised = false
			h.Since, h.vain, h.probe = up, 0, up+providers.Backoff(1)
		}
	case call == Create:
		h.Failures, h.rest, h.doubt, h.broken, h.promised = [2]int{}, 0, 0, 0, false
	default:
		h.Failures[Ask] = 0
	}
}

// Due returns the watched routes to probe now; each is then being probed until
// [Board.Probed].
func (b *Board) Due(up time.Duration) []string {
	var due []string
	for name, h := range b.routes {
		if h.watched && h.failing() && !h.probing && up >= h.probe {
			h.probing = true
			due = append(due, name)
		}
	}
	slices.Sort(due)
	return due
}

// NextProbe is when the next probe is due; false: none is.
func (b *Board) NextProbe() (time.Duration, bool) {
	var next time.Duration
	found := false
	for _, h := range b.routes {
		if h.watched && h.failing() && !h.probing && (!found || h.probe < next) {
			next, found = h.probe, true
		}
	}
	return next, found
}

// Probed takes the end of a probe. A success lets charges try the route again: one
// more failure, and it is out.
func (b *Board) Probed(provider string, err error, up time.Duration) {
	h := b.of(provider)
	h.probing = false
	e, ok := errors.AsType[*providers.Error](err)
	if ok && e.Held {
		h.probe = up + max(e.RetryAfter, providers.MinPause)
		return
	}
	// The probe may need a right that charges do not: then it has at least arrived.
	arrived := ok && e.Kind.OfAccount() && e.HTTP < 500 && !h.refused
	if Failing(err) && !arrived {
		h.vain++
		h.At = up
		h.probe = up + providers.Backoff(h.vain+1)
		return
	}
	h.Failures[Create] = min(h.Failures[Create], OutAfter-1)
	h.Failures[Ask] = 0
	h.rest, h.promised = 0, true
}

// Out reports whether a route is out.
func (b *Board) Out(provider string, up time.Duration) bool {
	h := b.routes[provider]
	switch {
	case h == nil:
		return false
	case up < max(h.rest, h.doubt):
		return true
	case !h.failing():
		return false
	}
	return h.watched || up < h.At+OutLasts
}

// Health is what is known of a route.
func (b *Board) Health(provider string) Health {
	if h := b.routes[provider]; h != nil {
		return *h
	}
	return Health{}
}

// First is the route of a new charge's first attempt. There is at least one route.
func (b *Board) First(routes []charge.Route, up time.Duration) charge.Route {
	for _, r := range routes {
		if !b.Out(r.Provider, up) {
			return r
		}
	}
	return routes[0]
}

// Untried is the next route that is not out and that the charge has not tried;
// false: none is left.
func (b *Board) Untried(c charge.Charge, routes []charge.Route, up time.Duration) (charge.Route, bool) {
	for _, r := range routes {
		if !tried(c, r) && !b.Out(r.Provider, up) {
			return r, true
		}
	}
	return charge.Route{}, false
}

// Next is the route of the charge's next attempt; fresh says that it was not tried
// yet. There is at least one route.
func (b *Board) Next(c charge.Charge, routes []charge.Route, up time.Duration) (r charge.Route, fresh bool) {
	if r, ok := b.Untried(c, routes, up); ok {
		return r, true
	}
	if last, ok := c.Last(); ok { // nothing is held against it: the attempt was cut short by a crash
		provider, account := c.At(last.N)
		for _, r := range routes {
			if r.Provider == provider && r.Account == account && b.Health(provider).Failures == [2]int{} {
				return r, false
			}
		}
	}
	for _, r := range routes {
		if !b.Out(r.Provider, up) {
			return r, false
		}
	}
	for _, r := range routes {
		if !tried(c, r) {
			return r, true
		}
	}
	return routes[0], false
}

func tried(c charge.Charge, r charge.Route) bool {
	return slices.ContainsFunc(c.Attempts, func(a charge.Attempt) bool {
		provider, account := c.At(a.N)
		return provider == r.Provider && account == r.Account
	})
}
