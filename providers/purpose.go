package providers

import (
	"context"
	"math/rand/v2"
	"time"
)

// Use is what a request is for. A client policy (package policy) holds back the
// less urgent ones.
type Use int

// Uses of a request.
const (
	Act  Use = iota // makes or changes something, or lets others do so: a create, a token
	Read            // asks
	Poll            // asks again and again whether a charge was paid
)

// Purpose is all that a transport is told about a request besides its bytes.
type Purpose struct {
	Use Use
	// Repeat: an act that was tried before and failed.
	Repeat bool
	// Waited: somebody stands there and waits for the answer.
	Waited bool
}

type purposeKey struct{}

// PurposeOf returns what the requests under ctx are for.
func PurposeOf(ctx context.Context) Purpose {
	p, _ := ctx.Value(purposeKey{}).(Purpose)
	return p
}

// Repeating marks the calls under ctx as repeats of what was tried before.
func Repeating(ctx context.Context) context.Context {
	p := PurposeOf(ctx)
	p.Repeat = true
	return context.WithValue(ctx, purposeKey{}, p)
}

// WaitedFor marks the calls under ctx as those that a person waits for.
func WaitedFor(ctx context.Context) context.Context {
	p := PurposeOf(ctx)
	p.Waited = true
	return context.WithValue(ctx, purposeKey{}, p)
}

func withUse(ctx context.Context, u Use) context.Context {
	p := PurposeOf(ctx)
	p.Use = u
	return context.WithValue(ctx, purposeKey{}, p)
}

const (
	// MinPause and MaxPause bound a pause.
	MinPause, MaxPause = 500 * time.Millisecond, 30 * time.Second
)

// Backoff is how long to leave a provider alone after n failures in a row, at
// least 1: any span from half a second to a bound that doubles with each, up to
// half a minute. That it may be any (full jitter) is what keeps a fleet from coming
// back in step.
func Backoff(n int) time.Duration {
	bound := min(MinPause<<min(max(n, 1), 10), MaxPause)
	return MinPause + rand.N(bound-MinPause+1)
}

// HeldByRate is the code of a request that its turn would have come too late for.
const HeldByRate = "rate_limit"

// Held is the error of a transport that sent nothing, by a policy of its own.
// [HTTP.Do] makes an [*Error] of it, with Held set.
type Held struct {
	// Kind is NotSent, Rate or Unavailable.
	Kind  Kind
	Code  string        // [HeldByRate], "retry_after", "retry_budget", "breaker_open"
	After time.Duration // when it may be tried again; 0: not known
	Why   string        // for operators
}

// Error is the reason.
func (h *Held) Error() string { return h.Why }

func (h *Held) failure(x *HTTP, c Call) *Error {
	e := x.Fail(c, h.Kind, Answer{}, h.Code, h.Why, nil)
	e.RetryAfter, e.Held = min(h.After, MaxRetryAfter), true
	return e
}
