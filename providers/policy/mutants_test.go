package policy

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/ssg-safe/agent/providers"
	"github.com/ssg-safe/agent/providers/internal/pace"
)

// behave holds a policy of two requests a second to its figures. tamper is called
// before each request.
func behave(t *testing.T, tamper func(*Policy)) (err error) {
	begin := func(f func(r *rig, do func(providers.Use, bool) *providers.Error)) {
		bubble(t, 2, func(r *rig) {
			f(r, func(use providers.Use, again bool) *providers.Error {
				tamper(r.policy)
				ctx := r.Context()
				if again {
					ctx = providers.Repeating(ctx)
				}
				return r.do(ctx, use)
			})
		})
	}
	check := func(n, most int, what string) {
		if n > most {
			err = errors.Join(err, fmt.Errorf("%d %s, want at most %d", n, what, most))
		}
	}
	begin(func(r *rig, do func(providers.Use, bool) *providers.Error) {
		for end := time.Now().Add(time.Minute); time.Now().Before(end) && r.far.requests() < 1000; {
			do(providers.Poll, false)
		}
		check(r.far.requests(), 60*2/PollShare+6, "polls")
	})
	begin(func(r *rig, do func(providers.Use, bool) *providers.Error) {
		for end := time.Now().Add(time.Minute); time.Now().Before(end) && r.far.requests() < 1000; {
			do(providers.Act, false)
		}
		check(r.far.requests(), 60*2+6, "requests")
	})
	begin(func(r *rig, do func(providers.Use, bool) *providers.Error) {
		for range 200 {
			do(providers.Act, false)
			do(providers.Act, true)
		}
		check(r.far.requests()-200, 200/RetryShare+RetryStock, "retries")
	})
	begin(func(r *rig, do func(providers.Use, bool) *providers.Error) {
		r.far.set(status(429, "Retry-After", "60"))
		do(providers.Act, false)
		for range 59 {
			time.Sleep(time.Second)
			do(providers.Act, false)
		}
		check(r.far.requests(), 1, "requests before their time")
	})
	begin(func(r *rig, do func(providers.Use, bool) *providers.Error) {
		r.far.set(silent)
		for end := time.Now().Add(10 * time.Minute); time.Now().Before(end); {
			do(providers.Act, false)
			time.Sleep(time.Second)
		}
		check(r.far.requests(), 100, "failures in an outage")
	})
	return err
}

// TestMutants: a policy without one of its parts is found out, and by the figure
// that the part is for.
func TestMutants(t *testing.T) {
	if err := behave(t, func(*Policy) {}); err != nil {
		t.Error(err)
	}
	for want, tamper := range map[string]func(*Policy){
		"polls":                      func(p *Policy) { p.polls = pace.New(0) },
		"requests":                   func(p *Policy) { p.all = pace.New(0) },
		"retries":                    func(p *Policy) { p.stock = RetryStock * RetryShare },
		"requests before their time": func(p *Policy) { p.heldTill = time.Time{} },
		"failures in an outage":      func(p *Policy) { p.failures = 0 },
	} {
		if err := behave(t, tamper); err == nil || !strings.Contains(err.Error(), " "+want+",") {
			t.Errorf("got %v, want too many %s", err, want)
		}
	}
}
