package ssg

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ssg-safe/agent/providers"
	"github.com/ssg-safe/agent/providers/internal/oauth"
	"github.com/ssg-safe/agent/providers/simkit"
	"github.com/ssg-safe/agent/providers/ssg/ssgsim"
)

const year = 365 * 24 * time.Hour

// ask makes a call that needs a token: a status question about no charge.
func ask(t *testing.T, ctx context.Context, c *Client) { // t first, as in every helper
	t.Helper()
	if err := c.CheckHealth(ctx); err != nil {
		t.Fatal(err)
	}
}

// TestTokenLife: one token serves for most of its year and is renewed before
// its end, whatever the wall clock is set to meanwhile.
func TestTokenLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		wall := time.Now()
		c, sim := newClient(t, ssgsim.Options{}, func(cfg *Config) { cfg.Now = func() time.Time { return wall } })
		tokens := func() int { return sim.Log().Count("token") }
		started := time.Now()
		ask(t, t.Context(), c)
		wall = wall.AddDate(50, 0, 0) // the clock is set
		ask(t, t.Context(), c)
		time.Sleep(year*80/100 - time.Since(started) - time.Minute)
		ask(t, t.Context(), c)
		if n := tokens(); n != 1 {
			t.Errorf("%d token requests in the first 80 %% of the year, want 1", n)
		}
		wall = wall.AddDate(-60, 0, 0)
		time.Sleep(year*95/100 - time.Since(started))
		ask(t, t.Context(), c)
		if n := tokens(); n != 2 {
			t.Errorf("%d token requests until 95 %% of the year, want 2", n)
		}
		for _, r := range sim.Log().Requests() {
			if r.Status == 401 {
				t.Errorf("request %+v met a dead token", r)
			}
		}
	})
}

// TestTokenCountedFromSending: a slow token answer does not lengthen its life.
func TestTokenCountedFromSending(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, sim := newClient(t, ssgsim.Options{
			TokenLife: 20 * time.Second, Faults: []simkit.Rule{{Route: "token", Fault: simkit.Slow, Arg: "9s"}},
		}, nil)
		ask(t, t.Context(), c) // takes 9 s
		time.Sleep(10*time.Second + 900*time.Millisecond)
		if err := sim.Script().Set(simkit.Rule{Route: "token", Fault: simkit.HTTP, Arg: "500"}); err != nil {
			t.Fatal(err)
		}
		ask(t, t.Context(), c) // 19.9 s: the old token still holds
		time.Sleep(200 * time.Millisecond)
		e, ok := errors.AsType[*providers.Error](c.CheckHealth(t.Context()))
		if !ok || e.Kind != providers.NotSent {
			t.Errorf("20.1 s after the sending: got %v, want not_sent, because the token is over", e)
		}
		for _, r := range sim.Log().Requests() {
			if r.Status == 401 {
				t.Errorf("request %+v met a dead token", r)
			}
		}
	})
}

// TestOldTokenServesOn: a renewal that fails costs nothing while the old token
// holds, and is not tried with every call.
func TestOldTokenServesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, sim := newClient(t, ssgsim.Options{TokenLife: time.Hour}, nil)
		ask(t, t.Context(), c)
		if err := sim.Script().Set(simkit.Rule{Route: "token", Fault: simkit.HTTP, Arg: "503"}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(58 * time.Minute)
		for range 100 {
			ask(t, t.Context(), c)
			time.Sleep(time.Second)
		}
		if n := sim.Log().Count("token"); n != 3 {
			t.Errorf("%d token requests, want the first and one a minute", n)
		}
	})
}

// TestRenewalHangs: a token request that is not answered costs a call some
// seconds once in a while, not the call itself, while the old token holds.
func TestRenewalHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, sim := newClient(t, ssgsim.Options{TokenLife: time.Hour}, nil)
		ask(t, t.Context(), c)
		if err := sim.Script().Set(simkit.Rule{Route: "token", Fault: simkit.Latency, Arg: "2h"}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(58 * time.Minute)
		started := time.Now()
		for range 10 {
			ask(t, t.Context(), c)
		}
		if d := time.Since(started); d > 6*time.Second {
			t.Errorf("ten calls took %v, want one of them to wait 5s and no more", d)
		}
		_, err := c.CreateCharge(t.Context(), intent(1, 100))
		if err != nil {
			t.Errorf("got %v, want a charge by the old token", err)
		}
	})
}

// TestRefusedCredentials: credentials that are refused are not tried with every
// call.
func TestRefusedCredentials(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, sim := newClient(t, ssgsim.Options{}, func(cfg *Config) { cfg.ClientSecret = "wrong" })
		auth := func() {
			t.Helper()
			if e, ok := errors.AsType[*providers.Error](c.CheckHealth(t.Context())); !ok || e.Kind != providers.Auth {
				t.Fatalf("got %v, want an auth error", e)
			}
		}
		for range 59 {
			auth()
			time.Sleep(time.Second)
		}
		if n := sim.Log().Count("token"); n != oauth.MaxRefusals {
			t.Errorf("%d token requests in a minute, want %d", n, oauth.MaxRefusals)
		}
		for range 60 {
			time.Sleep(time.Second)
			auth()
		}
		if n := sim.Log().Count("token"); n != oauth.MaxRefusals+1 {
			t.Errorf("%d token requests in two minutes, want %d", n, oauth.MaxRefusals+1)
		}
	})
}

// TestAlways401: a provider that gives tokens and refuses them is not flooded
// with token requests.
func TestAlways401(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, sim := newClient(t, ssgsim.Options{Faults: []simkit.Rule{{Route: "status", Fault: simkit.HTTP, Arg: "401"}}}, nil)
		for range 600 {
			if e, ok := errors.AsType[*providers.Error](c.CheckHealth(t.Context())); !ok || e.Kind != providers.Auth {
				t.Fatalf("got %v, want an auth error", e)
			}
			time.Sleep(time.Second)
		}
		if n := sim.Log().Count("token"); n > 15 {
			t.Errorf("%d token requests in ten minutes of 401", n)
		}
		if err := sim.Script().Set(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(oauth.HoldOff)
		ask(t, t.Context(), c)
	})
}

// TestRefusalsInARow: refusals with successes in between are no reason to stop.
func TestRefusalsInARow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, sim := newClient(t, ssgsim.Options{}, nil)
		for range 10 {
			if err := sim.Script().Set(simkit.Rule{Route: "status", Fault: simkit.HTTP, Arg: "401", Next: 2}); err != nil {
				t.Fatal(err)
			}
			if e, ok := errors.AsType[*providers.Error](c.CheckHealth(t.Context())); !ok || e.Kind != providers.Auth {
				t.Fatalf("got %v, want an auth error", e)
			}
			ask(t, t.Context(), c)
		}
	})
}

// TestTokenRefusals: what refuses credentials is permanent and says so.
func TestTokenRefusals(t *testing.T) {
	for status, want := range map[string]providers.Kind{
		"400": providers.Auth, "401": providers.Auth, "403": providers.Auth, "404": providers.Operator, "422": providers.Auth,
		"429": providers.Rate, "500": providers.NotSent, "503": providers.NotSent,
	} {
		c, _ := newClient(t, ssgsim.Options{Faults: []simkit.Rule{{Route: "token", Fault: simkit.HTTP, Arg: status}}}, nil)
		_, err := c.CreateCharge(t.Context(), intent(1, 100))
		if e, ok := errors.AsType[*providers.Error](err); !ok || e.Kind != want || e.Op != "create" {
			t.Errorf("token request answered %s: got %v, want a create error of kind %v", status, err, want)
		}
	}
}

// TestLeaderGivesUp: when the call that fetches the token is cancelled, those
// that wait for it fetch one themselves.
func TestLeaderGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, sim := newClient(t, ssgsim.Options{Faults: []simkit.Rule{{Route: "token", Fault: simkit.Slow, Arg: "5s"}}}, nil)
		leader, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() {
			if err := c.CheckHealth(leader); !errors.Is(err, context.Canceled) {
				t.Errorf("the leader got %v, want context.Canceled", err)
			}
		})
		synctest.Wait()
		for range 10 {
			wg.Go(func() {
				if err := c.CheckHealth(t.Context()); err != nil {
					t.Errorf("a follower got %v", err)
				}
			})
		}
		synctest.Wait()
		cancel()
		wg.Wait()
		if n := sim.Log().Count("token"); n != 2 {
			t.Errorf("%d token requests, want 2", n)
		}
	})
}

// TestFollowersShareTheError: one refused token request answers all that wait.
func TestFollowersShareTheError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, sim := newClient(t, ssgsim.Options{Faults: []simkit.Rule{
			{Route: "token", Fault: simkit.Latency, Arg: "1s"}, {Route: "token", Fault: simkit.Rate, Arg: "30s"},
		}}, nil)
		var wg sync.WaitGroup
		for range 10 {
			wg.Go(func() {
				e, ok := errors.AsType[*providers.Error](c.CheckHealth(t.Context()))
				if !ok || e.Kind != providers.Rate || e.RetryAfter != 30*time.Second {
					t.Errorf("got %v, want a rate error of 30 s", e)
				}
			})
		}
		wg.Wait()
		if n := sim.Log().Count("token"); n != 1 {
			t.Errorf("%d token requests, want 1", n)
		}
	})
}
