package providertest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptrace"
	"sync"
	"time"
)

// late is the most that a request is late.
const late = 2 * time.Minute

// unreliable is a line on which requests arrive twice, of which the sender gets
// either answer, or late, when their sender has given them up.
type unreliable struct {
	next http.RoundTripper

	mu     sync.Mutex
	rng    *rand.Rand
	chance float64 // of either
}

// set changes how unreliable it is.
func (u *unreliable) set(chance float64) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.chance = chance
}

var errLost = errors.New("connection lost")

func (u *unreliable) RoundTrip(req *http.Request) (*http.Response, error) {
	u.mu.Lock()
	dice, second, delay := u.rng.Float64(), u.rng.IntN(2) == 0, time.Duration(1+u.rng.Int64N(int64(late)))
	chance := u.chance
	u.mu.Unlock()
	if dice >= 2*chance {
		return u.next.RoundTrip(req)
	}
	var body []byte
	if req.Body != nil {
		var err error
		if body, err = io.ReadAll(req.Body); err != nil {
			return nil, err
		}
	}
	again := func(ctx context.Context) *http.Request {
		r := req.Clone(ctx)
		r.Body = io.NopCloser(bytes.NewReader(body))
		return r
	}
	unheard := func(ctx context.Context) {
		if resp, err := u.next.RoundTrip(again(ctx)); err == nil {
			io.Copy(io.Discard, resp.Body) // nobody is there
			resp.Body.Close()              // nobody is there
		}
	}
	switch {
	case dice < chance:
		if t := httptrace.ContextClientTrace(req.Context()); t != nil {
			t.GetConn(req.URL.Host)
			t.GotConn(httptrace.GotConnInfo{})
			t.WroteHeaders()
		}
		time.AfterFunc(delay, func() { unheard(context.Background()) })
		return nil, errLost
	case second:
		unheard(req.Context())
		return u.next.RoundTrip(again(req.Context()))
	default:
		resp, err := u.next.RoundTrip(again(req.Context()))
		time.AfterFunc(time.Millisecond, func() { unheard(context.Background()) })
		return resp, err
	}
}
