package terminal

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/ssg-safe/agent/charge"
	"github.com/ssg-safe/agent/display"
	"github.com/ssg-safe/agent/exposure"
	"github.com/ssg-safe/agent/pix"
	"github.com/ssg-safe/agent/providers"
	"github.com/ssg-safe/agent/queue"
	"github.com/ssg-safe/agent/router"
)

// Offline is what is done while a provider cannot be reached. The zero value
// makes no charges then.
type Offline struct {
	exposure.Rules
	// Statement: payments of codes that the provider cannot list are matched with
	// the bank's statement, by people. Without it only a provider that can list
	// them (providers.StaticFinder) makes charges offline.
	Statement bool
	// Watch is how long such a code is looked for: its payment, and second ones.
	// An unpaid one is expired then.
	Watch time.Duration
}

const (
	// outageAfter is how many calls in a row must have failed before a charge is
	// made without trying the network, and outageLasts for how long that is
	// believed without another failure.
	outageAfter = 2
	outageLasts = time.Minute
	// blip is the longest a refused first attempt took that is tried once more
	// before the terminal makes its own code.
	blip = 2 * time.Second
	// refusedWait is how long a provider that refuses searches is left alone.
	refusedWait = 10 * time.Minute
	// searchLimit bounds one search for payments, which may be many requests.
	searchLimit = 2 * time.Minute
	// clockSlack is how much earlier than the code's making a search begins: an
	// offline terminal's clock may be ahead. searchSpan is the longest one.
	clockSlack = 24 * time.Hour
	searchSpan = 365 * 24 * time.Hour
)

// outage is a provider that calls do not reach, or whose searches fail. It lasts
// until a search succeeds. Times are boot time.
type outage struct {
	failures int           // calls in a row that reached nobody
	at       time.Duration // of the newest of them
	vain     int           // searches in a row that failed
	// probe is when the next search is made. There is one at a time, and its
	// success lets all others follow.
	probe time.Duration
}

// unreachable reports whether an error says that nothing came back from the
// provider.
func unreachable(err error) bool {
	e, ok := errors.AsType[*providers.Error](err)
	return ok && e.HTTP == 0 && (e.Kind == providers.NotSent || e.Kind == providers.Ambiguous)
}

// heard notes whether a provider could be reached.
func (t *Terminal) heard(route string, err error) {
	up := t.clock.Up()
	e, ok := errors.AsType[*providers.Error](err)
	if ok && e.Held { // nothing was learnt of the provider
		return
	}
	switch {
	case err == nil || ok && e.HTTP != 0 && e.HTTP < 500:
		t.network = display.OK
	case ok && (e.Kind == providers.NotSent || e.Kind == providers.Ambiguous):
		t.network = display.Down
		if t.anotherWay(route) {
			t.network = display.Warn
		}
	default:
		t.network = display.Warn
	}
	o := t.outages[route]
	switch {
	case unreachable(err):
		if o == nil {
			o = &outage{probe: up + providers.Backoff(1)}
			t.outages[route] = o
		}
		o.failures++
		o.at = up
	case o != nil && o.failures > 0: // it is back: whoever waits is looked for now
		o.failures, o.vain, o.probe = 0, 0, up
	}
}

// unheard makes one charge try first, of those that were made without a provider
// that this run has not heard of yet.
func (t *Terminal) unheard(c charge.Charge) {
	if _, static := c.Static(); static && t.outages[provider(c)] == nil {
		t.outages[provider(c)] = &outage{}
	}
}

// searched notes how a search for payments ended. The first one that succeeds
// after an outage lets all codes made without that provider be looked for at once.
func (t *Terminal) searched(route string, err error) {
	up := t.clock.Up()
	o := t.outages[route]
	if err != nil {
		if o == nil {
			o = &outage{}
			t.outages[route] = o
		}
		o.vain++
		wait := providers.Backoff(o.vain)
		if e, ok := errors.AsType[*providers.Error](err); ok {
			if wait = max(wait, e.RetryAfter); e.Kind.Permanent() {
				wait = max(wait, refusedWait)
			}
		}
		o.probe = up + wait
		return
	}
	if o == nil {
		return
	}
	delete(t.outages, route)
	for _, l := range t.charges {
		if _, static := l.charge.Static(); static && provider(l.charge) == route {
			l.watch.next = min(l.watch.next, up)
		}
	}
}

// out reports whether a provider is known to be out of reach just now.
func (t *Terminal) out(route string) bool {
	o := t.outages[route]
	return o != nil && o.failures >= outageAfter && t.clock.Up() < o.at+outageLasts
}

// finder is the first of a merchant's routes by which payments of codes made here
// are found; false when there is none.
func (t *Terminal) finder(routes []charge.Route) (charge.Route, bool) {
	for _, r := range routes {
		if _, finds := t.cfg.Routes[r.Provider].(providers.StaticFinder); finds {
			return r, true
		}
	}
	return routes[0], t.cfg.Offline.Statement
}

// ownCode is the code that the terminal makes for a charge while no provider of its
// merchant can be reached, and the route by which its payment is found; false when
// that must not be.
func (t *Terminal) ownCode(c charge.Charge) (string, charge.Route, bool) {
	m, ok := t.merchant(c.Merchant)
	if !ok {
		return "", charge.Route{}, false
	}
	by, ok := t.finder(m.Routes())
	if !ok {
		return "", by, false
	}
	if err := t.cfg.Offline.Make(t.exposure()); err != nil {
		if t.cfg.Offline.Policy != "" {
			t.log.Warn("no charge without the provider", "charge", c.ID, "err", err)
		}
		return "", by, false
	}
	code, err := pix.Static{Key: by.Key, Name: m.Name, City: m.City, Amount: c.Amount, TxID: string(c.ID)}.Encode()
	if err != nil {
		t.log.Error("no code of our own", "charge", c.ID, "err", err)
	}
	return code, by, err == nil
}

// offline returns the facts that a charge begins with: where all providers of its
// merchant are known to be out of reach, a code of the terminal's own among them.
func (t *Terminal) offline(created charge.CreatedFact) (facts []charge.Fact, code string) {
	facts = []charge.Fact{created}
	c, err := charge.Fold(facts)
	if err != nil || slices.ContainsFunc(t.routes(c), func(r charge.Route) bool { return !t.out(r.Provider) }) {
		return facts, ""
	}
	code, by, ok := t.ownCode(c)
	if !ok {
		return facts, ""
	}
	return append(facts, c.Offline(t.clock.Wall(), providers.NotSent.String(), by)...), code
}

// fallBack gives a charge whose provider cannot be reached a code of the
// terminal's own; false when it goes on as before.
func (t *Terminal) fallBack(l *live, err error) bool {
	if l.cancel || l.token != "" || l.charge.State != charge.Created || !unreachable(err) {
		return false
	}
	code, by, ok := t.ownCode(l.charge)
	if !ok {
		return false
	}
	e, _ := errors.AsType[*providers.Error](err)
	d, derr := decide("own code", l, l.charge.Offline(t.clock.Wall(), e.Kind.String(), by)...)
	if derr != nil {
		t.log.Error("own code refused", "err", derr)
		return false
	}
	t.log.Warn("the provider cannot be reached: the terminal makes its own code", "charge", l.charge.ID, "err", err)
	t.payable(d, l, providers.Charge{BRCode: code}, t.clock.Up()+l.charge.ExpiryDuration())
	d.then = func([]queue.Job) {
		l.lookUp = false
		t.changed(l, err)
	}
	t.commit(d)
	return true
}

// seek looks for payments of a code that was made here.
func (t *Terminal) seek(l *live, a charge.Attempt) {
	finder, ok := t.route(l.charge).(providers.StaticFinder)
	if !ok {
		return // matched by people
	}
	name, _ := l.charge.At(a.N)
	if o := t.outages[name]; o != nil {
		o.probe = t.clock.Up() + searchLimit // the others wait for what this one finds
	}
	ended := t.over(l)
	now := t.clock.Wall()
	watched := t.clock.Quality() == "synced" && now.Sub(a.At) >= t.cfg.Offline.Watch
	from := a.At
	if now.Before(from) {
		from = now
	}
	from = from.Add(-clockSlack)
	if earliest := now.Add(-searchSpan); from.Before(earliest) {
		from = earliest
	}
	l.watch.asking = true
	t.call(t.asks, t.line(l), searchLimit, func(ctx context.Context) input {
		found, err := finder.FindStatic(ctx, a.ProviderID, from, now)
		return func() {
			l.later(func() {
				l.watch.asking = false
				t.reached(name, router.Ask, err)
				t.searched(name, err)
				if err != nil {
					t.log.Warn("search for a payment", "charge", l.charge.ID, "err", err)
					return
				}
				l.watch.over = watched
				if watched {
					ended = charge.Expired
				}
				t.found(l, a.N, found, ended)
			})
		}
	})
}

// found records the payments of a code made here, one fact after the other, and
// ends the charge if its time is over and none is left.
func (t *Terminal) found(l *live, n int, payments []providers.Payment, ended charge.State) {
	for i, p := range payments {
		facts := l.charge.Received(l.charge.FromPayment(n, p), p.Returns, p.Returned)
		if len(facts) == 0 {
			continue
		}
		t.learnWith(l, facts, nil, func(_ charge.Fact, err error) {
			if err == nil {
				t.found(l, n, payments[i+1:], ended)
			}
		})
		return
	}
	if ended != "" && l.charge.State == charge.Pending {
		reason := "not_found"
		if ended == charge.Cancelled {
			reason = "payer"
		}
		t.learn(l, []charge.Fact{charge.EndedFact{Charge: l.charge.ID, State: ended, Reason: reason}})
	}
}

// searchInterval is how often a code made here is looked for, by its age: a payer
// may be waiting, then an hour's outage is over, then people pay what they were
// given.
func searchInterval(age time.Duration) time.Duration {
	switch {
	case age < 10*time.Minute:
		return 5 * time.Second
	case age < time.Hour:
		return time.Minute
	case age < 24*time.Hour:
		return 10 * time.Minute
	}
	return 6 * time.Hour
}

// claimed is the payer's word that a code made here was paid: what may leave for
// it leaves now.
func (t *Terminal) claimed(l *live) {
	s := t.exposure()
	if l.charge.State != charge.Pending || l.charge.Released || l.cancel || t.cfg.Offline.Release(s, l.charge.Amount, t.clock.Wall()) != nil {
		return
	}
	sum, err := s.Released.Sum.Add(l.charge.Amount)
	if err != nil {
		return
	}
	d, err := decide("release", l, charge.ReleasedFact{
		Charge: l.charge.ID, Amount: l.charge.Amount, Count: s.Released.Count + 1, Sum: sum,
	})
	if err != nil {
		t.log.Error("release refused", "err", err)
		return
	}
	l.leaving = true
	d.then = func([]queue.Job) { t.observe(Event{Kind: ChargeReleased, Charge: l.charge}) }
	t.commit(d)
}

// exposure sums up the charges that wait to be found. A release that is being
// committed counts.
func (t *Terminal) exposure() exposure.Standing {
	var all []exposure.Charge
	for _, id := range t.order {
		c := t.charges[id].charge
		if a, static := c.Static(); static && c.State == charge.Pending {
			all = append(all, exposure.Charge{Amount: c.Amount, Made: a.At, Released: c.Released || t.charges[id].leaving})
		}
	}
	return exposure.Of(all)
}

// Exposure returns what was made while providers were out of reach and was not
// found yet.
func (t *Terminal) Exposure(ctx context.Context) (s exposure.Standing, err error) {
	err = t.ask(ctx, func() { s = t.exposure() })
	return s, err
}
