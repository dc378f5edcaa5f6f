package policy

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	_ "github.com/ssg-safe/agent/internal/bubbles"
	"github.com/ssg-safe/agent/providers"
)

// far is a provider whose answers the test chooses. It notes when each request
// came.
type far struct {
	mu     sync.Mutex
	answer func(*http.Request) (*http.Response, error)
	came   []time.Time
}

func (f *far) RoundTrip(req *http.Request) (*http.Response, error) {
	f.mu.Lock()
	f.came = append(f.came, time.Now())
	answer := f.answer
	f.mu.Unlock()
	return answer(req)
}

func (f *far) set(answer func(*http.Request) (*http.Response, error)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.answer = answer
}

func (f *far) requests() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.came)
}

func status(code int, header ...string) func(*http.Request) (*http.Response, error) {
	return func(*http.Request) (*http.Response, error) {
		w := httptest.NewRecorder()
		for i := 0; i+1 < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(code)
		return w.Result(), nil
	}
}

func silent(*http.Request) (*http.Response, error) { return nil, errors.New("no route to host") }

// rig is an adapter's way to a provider through a policy.
type rig struct {
	*testing.T
	far    *far
	policy *Policy
	http   providers.HTTP
}

func bubble(t *testing.T, perSecond int, f func(*rig)) {
	synctest.Test(t, func(t *testing.T) {
		r := &rig{T: t, far: &far{answer: status(200)}, policy: New(perSecond, nil)}
		r.http = providers.HTTP{Provider: "p", Transport: r.policy.Over(r.far)}
		f(r)
	})
}

// do makes a request with ten seconds' time; nil: it was answered.
func (r *rig) do(ctx context.Context, use providers.Use) *providers.Error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	_, err := r.http.Do(ctx, providers.Call{Op: "x", Method: http.MethodPost, URL: "http://h", Use: use})
	e, _ := errors.AsType[*providers.Error](err)
	return e
}

// held makes a request that must not be sent.
func (r *rig) held(ctx context.Context, use providers.Use, kind providers.Kind, code string) *providers.Error {
	r.Helper()
	before := r.far.requests()
	e := r.do(ctx, use)
	if e == nil || e.Kind != kind || e.Code != code || !e.Held || e.HTTP != 0 || r.far.requests() != before {
		r.Fatalf("got %v, %d requests; want %v %s, held, and none", e, r.far.requests()-before, kind, code)
	}
	return e
}

// TestPollShare: whatever the number of polls, they are a fifth of the rate, and
// acts have the rest.
func TestPollShare(t *testing.T) {
	bubble(t, 2, func(r *rig) {
		const minutes = 5
		ctx, cancel := context.WithTimeout(r.Context(), minutes*time.Minute)
		defer cancel()
		var all sync.WaitGroup
		for range 20 {
			all.Go(func() {
				for ctx.Err() == nil {
					if e := r.do(ctx, providers.Poll); e != nil && ctx.Err() == nil {
						time.Sleep(max(e.RetryAfter, time.Second))
					}
				}
			})
		}
		waited := 0
		for ctx.Err() == nil {
			begun := time.Now()
			if e := r.do(r.Context(), providers.Act); e != nil {
				r.Fatal(e)
			}
			if time.Since(begun) > 0 {
				waited++
			}
			time.Sleep(time.Second)
		}
		all.Wait()
		s := r.policy.Stats()
		if most := uint64(minutes*60*2/PollShare + 5); s.Polls > most || s.Polls < most/2 {
			r.Errorf("%d polls in %d minutes, want about and at most %d", s.Polls, minutes, most)
		}
		if waited > 0 {
			r.Errorf("%d acts waited behind polls", waited)
		}
	})
}

// TestWaitedPoll: the payer in front of the screen does not wait for the polls of
// others.
func TestWaitedPoll(t *testing.T) {
	bubble(t, 2, func(r *rig) {
		for range 3 {
			if e := r.do(r.Context(), providers.Poll); e != nil {
				r.Fatal(e)
			}
		}
		begun := time.Now()
		if e := r.do(providers.WaitedFor(r.Context()), providers.Poll); e != nil {
			r.Fatal(e)
		}
		if took := time.Since(begun); took > 0 {
			r.Errorf("a poll that is waited for took %v", took)
		}
		if r.do(r.Context(), providers.Poll); time.Since(begun) < 5*time.Second {
			r.Errorf("another poll waited %v", time.Since(begun))
		}
	})
}

// TestRateRefusesAtOnce: who cannot have his turn in time is told so at once.
func TestRateRefusesAtOnce(t *testing.T) {
	bubble(t, 1, func(r *rig) {
		ctx, cancel := context.WithTimeout(r.Context(), 500*time.Millisecond)
		defer cancel()
		for range 5 {
			if e := r.do(ctx, providers.Act); e != nil {
				r.Fatal(e)
			}
		}
		begun := time.Now()
		e := r.held(ctx, providers.Act, providers.Rate, "rate_limit")
		if time.Since(begun) > 0 || e.RetryAfter != time.Second {
			r.Errorf("after %v: %v", time.Since(begun), e.RetryAfter)
		}
	})
}

// TestRetryAfter: 429 and 503 hold everything for as long as they say, or for a
// growing pause.
func TestRetryAfter(t *testing.T) {
	for _, code := range []int{429, 503} {
		bubble(t, 2, func(r *rig) {
			r.far.set(status(code, "Retry-After", "120"))
			r.do(r.Context(), providers.Act)
			r.far.set(status(200))
			e := r.held(r.Context(), providers.Act, providers.Rate, "retry_after")
			if e.RetryAfter != 2*time.Minute {
				r.Errorf("HTTP %d: try again after %v, want two minutes", code, e.RetryAfter)
			}
			time.Sleep(2*time.Minute - time.Nanosecond)
			r.held(r.Context(), providers.Poll, providers.Rate, "retry_after")
			time.Sleep(time.Nanosecond)
			if e := r.do(r.Context(), providers.Act); e != nil {
				r.Errorf("HTTP %d, after its time: %v", code, e)
			}
		})
	}
	bubble(t, 2, func(r *rig) {
		r.far.set(status(429))
		for n := 1; n < 12; n++ {
			r.do(r.Context(), providers.Act)
			e := r.held(r.Context(), providers.Act, providers.Rate, "retry_after")
			if bound := min(providers.MinPause<<n, providers.MaxPause); e.RetryAfter < providers.MinPause || e.RetryAfter > bound {
				r.Errorf("pause %d is %v, want between %v and %v", n, e.RetryAfter, providers.MinPause, bound)
			}
			time.Sleep(e.RetryAfter)
		}
	})
}

// TestRetryBudget: after a stock of ten, one request in ten is a retry.
func TestRetryBudget(t *testing.T) {
	bubble(t, 100, func(r *rig) {
		again := providers.Repeating(r.Context())
		sent := 0
		for range 1000 {
			if e := r.do(r.Context(), providers.Act); e != nil {
				r.Fatal(e)
			}
			if e := r.do(again, providers.Act); e == nil {
				sent++
			} else if e.Code != "retry_budget" || !e.Held || e.Kind != providers.Rate {
				r.Fatal(e)
			}
		}
		if s := r.policy.Stats(); sent > 1000/RetryShare+RetryStock || sent < 1000/RetryShare || s.Retries != uint64(sent) {
			r.Errorf("%d retries for 1000 requests (%+v)", sent, s)
		}
	})
}

// TestStats: each request is counted once, as what became of it.
func TestStats(t *testing.T) {
	bubble(t, 1, func(r *rig) {
		ctx, cancel := context.WithTimeout(r.Context(), time.Nanosecond)
		defer cancel()
		for range 7 { // a burst of five, and two without a turn
			r.do(ctx, providers.Act)
		}
		time.Sleep(time.Minute)
		r.far.set(status(429, "Retry-After", "30"))
		for range 4 {
			r.do(r.Context(), providers.Poll)
		}
		time.Sleep(time.Minute)
		r.far.set(silent)
		for range BreakAfter + 3 {
			r.do(r.Context(), providers.Read)
			if r.policy.Stats().Open {
				continue
			}
			time.Sleep(2 * time.Second)
		}
		want := Stats{Sent: 5 + 1 + BreakAfter, Polls: 1, Limited: 1, HeldRate: 2, HeldRetryAfter: 3, HeldBreaker: 3, Opened: 1, Open: true}
		if got := r.policy.Stats(); got != want {
			r.Errorf("got  %+v\nwant %+v", got, want)
		}
		r.far.set(status(200))
		time.Sleep(time.Minute)
		r.do(r.Context(), providers.Read)
		for range RetryStock + 5 {
			time.Sleep(2 * time.Second)
			r.do(providers.Repeating(r.Context()), providers.Read)
		}
		want.Sent, want.Retries, want.HeldBudget, want.Open = want.Sent+1+RetryStock, RetryStock, 5, false
		if got := r.policy.Stats(); got != want {
			r.Errorf("got  %+v\nwant %+v", got, want)
		}
	})
}

// TestBreaker: five failures in a row open it, a probe at a time tries it, and its
// success lets all through.
func TestBreaker(t *testing.T) {
	for name, tt := range map[string]struct {
		down func(*http.Request) (*http.Response, error)
		kind providers.Kind
	}{
		"no answer": {silent, providers.NotSent},
		"5xx":       {status(500), providers.Unavailable},
		"cut off": {func(*http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: 200, Header: http.Header{}, Body: io.NopCloser(io.MultiReader(strings.NewReader("{"), cut{}))}, nil
		}, providers.NotSent},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, 100, func(r *rig) {
				r.far.set(tt.down)
				for range BreakAfter - 1 {
					r.do(r.Context(), providers.Read)
				}
				r.far.set(status(404))
				r.do(r.Context(), providers.Read) // an answer, if no good one
				r.far.set(tt.down)
				for range BreakAfter {
					if e := r.do(r.Context(), providers.Read); e != nil && e.Held {
						r.Fatalf("open too early: %v", e)
					}
				}
				e := r.held(r.Context(), providers.Act, tt.kind, "breaker_open")
				if e.RetryAfter > providers.MinPause<<1 || !r.policy.Stats().Open {
					r.Errorf("the first pause is %v (%+v)", e.RetryAfter, r.policy.Stats())
				}
				// A probe that fails, and one that succeeds.
				time.Sleep(e.RetryAfter)
				if e := r.do(r.Context(), providers.Act); e != nil && e.Held {
					r.Fatalf("no probe: %v", e)
				}
				e = r.held(r.Context(), providers.Act, tt.kind, "breaker_open")
				time.Sleep(e.RetryAfter)
				arrived, release := make(chan struct{}), make(chan struct{})
				r.far.set(func(q *http.Request) (*http.Response, error) {
					close(arrived)
					<-release
					return status(200)(q)
				})
				probed := make(chan *providers.Error)
				go func() { probed <- r.do(r.Context(), providers.Act) }()
				<-arrived
				r.held(r.Context(), providers.Act, tt.kind, "breaker_open") // one at a time
				close(release)
				if e := <-probed; e != nil {
					r.Fatal(e)
				}
				r.far.set(status(200))
				for range 5 {
					if e := r.do(r.Context(), providers.Act); e != nil {
						r.Errorf("closed again: %v", e)
					}
				}
				if r.policy.Stats().Open {
					r.Error("still open")
				}
			})
		})
	}
}

type cut struct{}

func (cut) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

// TestGivenUp: a request that was called off says nothing of the provider, and a
// probe that was leaves the way free for the next.
func TestGivenUp(t *testing.T) {
	bubble(t, 100, func(r *rig) {
		hang := func(q *http.Request) (*http.Response, error) {
			<-q.Context().Done()
			return nil, q.Context().Err()
		}
		r.far.set(hang)
		for range 2 * BreakAfter {
			ctx, cancel := context.WithCancel(r.Context())
			time.AfterFunc(time.Second, cancel)
			if e := r.do(ctx, providers.Read); e == nil || e.Held {
				r.Fatalf("got %v", e)
			}
		}
		for range BreakAfter { // nobody calls it off: no answer in time
			r.do(r.Context(), providers.Read)
		}
		time.Sleep(r.held(r.Context(), providers.Read, providers.NotSent, "breaker_open").RetryAfter)
		ctx, cancel := context.WithCancel(r.Context())
		time.AfterFunc(time.Second, cancel)
		r.do(ctx, providers.Read)
		r.far.set(status(200))
		if e := r.do(r.Context(), providers.Read); e != nil {
			r.Errorf("the next probe: %v", e)
		}
	})
}

// TestOutage: ten minutes without an answer cost a bounded number of requests,
// whatever is asked for.
func TestOutage(t *testing.T) {
	bubble(t, 2, func(r *rig) {
		r.far.set(silent)
		end := time.Now().Add(10 * time.Minute)
		for time.Now().Before(end) {
			r.do(r.Context(), providers.Act)
			time.Sleep(100 * time.Millisecond)
		}
		// Five to open, then one each pause: with full jitter of half a minute 40 on
		// average.
		if n := r.far.requests(); n < 20 || n > 80 {
			r.Errorf("%d requests in ten minutes of outage", n)
		}
	})
}
