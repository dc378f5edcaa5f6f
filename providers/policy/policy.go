// Package policy is how a client behaves towards a provider: how much it asks,
// when it leaves it alone, and what it does not even try. A [Policy] belongs to
// one credential, whoever uses it, and stands as an [http.RoundTripper] between
// an adapter and the network, so that adapters know nothing of it.
//
// # What it does
//
//   - Rate: so many requests a second, after a burst of five. Questions leave room
//     for one act, and polls are at most a fifth of the rate (the same burst). A poll
//     that a person waits for may use up the burst that others leave.
//   - Retry-After, after 429 or 503: nothing is sent before, at most ten minutes;
//     without that header a 429 is followed by a growing pause.
//   - Retries: at most a tenth of the requests, after a stock of ten.
//   - Breaker: after five requests in a row without an answer, or with one of 5xx,
//     nothing is sent for a growing pause; then one request is let through as a
//     probe, and its end decides.
//
// Pauses grow from half a second to half a minute, with full jitter ([providers.Backoff]).
//
// # What its refusals mean
//
// What is refused here was not sent: the transport's error is a [providers.Held],
// which becomes a [providers.Error] of kind Rate (limit, Retry-After, retries) or,
// while the breaker is open, NotSent where nothing had come back, Unavailable where
// the provider had answered. A create is thus provably not made. A wait that would
// outlast the request's time is refused at once.
//
// Redirects, sizes of answers and what may be signed while a clock is wrong are the
// business of [providers.HTTP] and of the adapters.
package policy

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/ssg-safe/agent/providers"
	"github.com/ssg-safe/agent/providers/internal/pace"
)

const (
	// DefaultPerSecond is the rate of a credential for which none is configured;
	// no provider states one.
	DefaultPerSecond = 2
	// PollShare is the part of the rate that polls may take: one in so many.
	PollShare = 5
	// RetryShare is the part of all requests that may be retries: one in so many,
	// after a stock of RetryStock.
	RetryShare, RetryStock = 10, 10
	// BreakAfter is after how many failures in a row the breaker opens.
	BreakAfter = 5
	// probing is how long others are sent away while a probe is under way.
	probing = time.Second
)

// Policy is that of one credential. It is safe for concurrent use.
type Policy struct {
	log        *slog.Logger
	all, polls *pace.Limiter

	mu    sync.Mutex // guards what follows; not held while anything waits
	stock int        // retries that may be made, in parts of RetryShare
	// Until heldTill nothing is sent: the provider wished it. limited counts its 429
	// in a row.
	heldTill time.Time
	limited  int
	// The breaker: failures in a row, silent when the newest of them brought no
	// answer; open from BreakAfter of them on. At probeAt one request may try.
	failures int
	silent   bool
	probeAt  time.Time
	probe    bool // it is under way
	stats    Stats
}

// Stats is what a policy did since it was made.
type Stats struct {
	// Sent are the requests that left, Polls and Retries those among them.
	Sent, Polls, Retries uint64
	// Limited are the answers of 429.
	Limited uint64
	// Those that did not leave: their turn would have come too late; the provider
	// wished to be left alone; there were too many retries; the breaker was open.
	HeldRate, HeldRetryAfter, HeldBudget, HeldBreaker uint64
	// Opened is how often the breaker opened, Open whether it is just now.
	Opened uint64
	Open   bool
}

// held counts a request that did not leave.
func (s *Stats) held(err error) {
	h, _ := errors.AsType[*providers.Held](err)
	switch h.Code {
	case providers.HeldByRate:
		s.HeldRate++
	case heldRetryAfter:
		s.HeldRetryAfter++
	case heldBudget:
		s.HeldBudget++
	case heldBreaker:
		s.HeldBreaker++
	}
}

// Codes of what is held beside [providers.HeldByRate].
const (
	heldRetryAfter = "retry_after"
	heldBudget     = "retry_budget"
	heldBreaker    = "breaker_open"
)

// New returns a policy for so many requests a second (0: [DefaultPerSecond]). A
// nil logger discards.
func New(perSecond int, log *slog.Logger) *Policy {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	interval := time.Second / time.Duration(cmp.Or(perSecond, DefaultPerSecond))
	return &Policy{log: log, all: pace.New(interval), polls: pace.New(PollShare * interval), stock: RetryStock * RetryShare}
}

// Over returns a transport that keeps to the policy. One policy may stand over
// several.
func (p *Policy) Over(next http.RoundTripper) http.RoundTripper { return transport{p, next} }

// Stats returns what was done so far.
func (p *Policy) Stats() Stats {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.stats
	s.Open = p.failures >= BreakAfter
	return s
}

type transport struct {
	policy *Policy
	next   http.RoundTripper
}

// RoundTrip makes the request, or returns a [*providers.Held].
func (t transport) RoundTrip(req *http.Request) (*http.Response, error) {
	p, ctx := t.policy, req.Context()
	probe, err := p.admit(ctx, providers.PurposeOf(ctx))
	if err != nil {
		if req.Body != nil {
			_ = req.Body.Close() // as a transport must
		}
		return nil, err
	}
	resp, err := t.next.RoundTrip(req)
	if err != nil {
		p.ended(ctx, probe, nil, err)
		return nil, err
	}
	resp.Body = &body{ReadCloser: resp.Body, ended: func(err error) { p.ended(ctx, probe, resp, err) }}
	return resp, nil
}

// admit returns when a request may leave; probe says that the breaker waits for
// its end. An error is a [*providers.Held], and the request must not leave.
func (p *Policy) admit(ctx context.Context, use providers.Purpose) (probe bool, err error) {
	defer func() {
		if err != nil {
			p.mu.Lock()
			p.stats.held(err)
			p.mu.Unlock()
		}
	}()
	if err := p.closed(); err != nil {
		return false, err
	}
	// Acts leave room for nobody, questions for an act, polls for one that is waited for.
	if use.Use == providers.Poll {
		room := 2
		if use.Waited {
			room = 0
		}
		if err := wait(ctx, p.polls, room); err != nil {
			return false, err
		}
	}
	room := 1
	if use.Use == providers.Act {
		room = 0
	}
	if err := wait(ctx, p.all, room); err != nil {
		return false, err
	}
	return p.leave(use)
}

// closed refuses what need not even wait for its turn.
func (p *Policy) closed() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.refusal(time.Now())
}

// refusal is why nothing may be sent; nil when something may. p.mu is held.
func (p *Policy) refusal(now time.Time) error {
	if left := p.heldTill.Sub(now); left > 0 {
		return &providers.Held{Kind: providers.Rate, Code: heldRetryAfter, After: left, Why: "the provider asked to be left alone"}
	}
	if p.failures < BreakAfter {
		return nil
	}
	left := p.probeAt.Sub(now)
	if p.probe {
		left = probing
	}
	if left <= 0 {
		return nil
	}
	h := &providers.Held{Kind: providers.Unavailable, Code: heldBreaker, After: left, Why: fmt.Sprintf("not sent: the last %d requests failed at the provider", p.failures)}
	if p.silent {
		h.Kind, h.Why = providers.NotSent, fmt.Sprintf("not sent: the last %d requests got no answer", p.failures)
	}
	return h
}

// leave counts a request that has its turn.
func (p *Policy) leave(use providers.Purpose) (probe bool, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	if err := p.refusal(now); err != nil {
		return false, err
	}
	switch {
	case !use.Repeat:
		p.stock = min(p.stock+1, RetryStock*RetryShare)
	case p.stock < RetryShare:
		return false, &providers.Held{Kind: providers.Rate, Code: heldBudget, Why: "not repeated: too many of the last requests were retries"}
	default:
		p.stock -= RetryShare
		p.stats.Retries++
	}
	p.stats.Sent++
	if use.Use == providers.Poll {
		p.stats.Polls++
	}
	if p.failures >= BreakAfter {
		p.probe, probe = true, true
	}
	return probe, nil
}

// wait waits for a place in a limiter.
func wait(ctx context.Context, l *pace.Limiter, room int) error {
	err := l.Wait(ctx, room)
	if err == nil {
		return nil
	}
	h := &providers.Held{Kind: providers.Rate, Code: providers.HeldByRate, Why: "waiting for the request limit"}
	if late, ok := errors.AsType[*pace.Late](err); ok {
		h.After = late.After
	}
	return h
}

// ended takes note of how a request ended, its answer's body and all.
func (p *Policy) ended(ctx context.Context, probe bool, resp *http.Response, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	if probe {
		p.probe = false
	}
	switch {
	case err != nil && errors.Is(ctx.Err(), context.Canceled):
		return // we gave up, which says nothing of the provider
	case err != nil:
		p.failed(now, probe, true)
		return
	}
	after := providers.RetryAfter(resp.Header, now)
	switch status := resp.StatusCode; {
	case status == http.StatusTooManyRequests:
		p.limited++
		p.stats.Limited++
		p.hold(now, cmp.Or(after, providers.Backoff(p.limited)))
	case status >= 500 || status == http.StatusRequestTimeout:
		if status == http.StatusServiceUnavailable {
			p.hold(now, after)
		}
		p.failed(now, probe, false)
		return
	default:
		p.limited = 0
	}
	if p.failures >= BreakAfter {
		p.log.Info("the provider answers again", "failures", p.failures)
	}
	p.failures = 0
}

// hold lets nothing leave for a while. p.mu is held.
func (p *Policy) hold(now time.Time, d time.Duration) {
	if till := now.Add(d); till.After(p.heldTill) {
		p.heldTill = till
	}
}

// failed counts a failure. Those of requests that were under way when the breaker
// opened do not lengthen its pause. p.mu is held.
func (p *Policy) failed(now time.Time, probe, silent bool) {
	if p.failures >= BreakAfter && !probe {
		return
	}
	p.failures++
	p.silent = silent
	if n := p.failures - BreakAfter; n >= 0 {
		if n == 0 {
			p.stats.Opened++
		}
		pause := providers.Backoff(n + 1)
		p.probeAt = now.Add(pause)
		p.log.Warn("the provider does not answer; nothing is sent for a while", "failures", p.failures, "pause", pause.Round(time.Millisecond))
	}
}

// body tells how an answer ended: a provider that breaks off has not answered.
type body struct {
	io.ReadCloser
	once  sync.Once
	ended func(error)
}

// Read reads.
func (b *body) Read(to []byte) (int, error) {
	n, err := b.ReadCloser.Read(to)
	switch {
	case err == io.EOF:
		b.once.Do(func() { b.ended(nil) })
	case err != nil:
		b.once.Do(func() { b.ended(err) })
	}
	return n, err
}

// Close closes it. Who had enough before its end has his answer.
func (b *body) Close() error {
	b.once.Do(func() { b.ended(nil) })
	return b.ReadCloser.Close()
}
