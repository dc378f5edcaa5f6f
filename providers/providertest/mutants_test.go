package providertest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ssg-safe/agent/charge"
	_ "github.com/ssg-safe/agent/internal/bubbles"
	"github.com/ssg-safe/agent/money"
	"github.com/ssg-safe/agent/providers"
	"github.com/ssg-safe/agent/providers/simkit"
	"github.com/ssg-safe/agent/providers/ssg"
	"github.com/ssg-safe/agent/providers/ssg/ssgsim"
)

// mutant is a provider with one thing wrong. change wraps the sound one, wire
// its transport; make replaces it.
type mutant struct {
	name   string
	killer string // the check that must fail
	change func(sound) providers.Charger
	wire   func(http.RoundTripper) http.RoundTripper
	make   func(f Fixture, url string, line http.RoundTripper, log *slog.Logger) providers.Charger
}

// sound is what mutants embed to be right about everything else.
type sound interface {
	providers.Charger
	providers.StatusReader
	providers.HealthChecker
}

// tampered overrides one call or both.
type tampered struct {
	sound
	create func(context.Context, providers.Intent) (providers.Charge, error)
	get    func(context.Context, providers.Ref) (providers.Charge, error)
	health func(context.Context) error
	caps   func() providers.Caps
}

func (m tampered) CreateCharge(ctx context.Context, in providers.Intent) (providers.Charge, error) {
	if m.create != nil {
		return m.create(ctx, in)
	}
	return m.sound.CreateCharge(ctx, in)
}

func (m tampered) GetCharge(ctx context.Context, ref providers.Ref) (providers.Charge, error) {
	if m.get != nil {
		return m.get(ctx, ref)
	}
	return m.sound.GetCharge(ctx, ref)
}

func (m tampered) CheckHealth(ctx context.Context) error {
	if m.health != nil {
		return m.health(ctx)
	}
	return m.sound.CheckHealth(ctx)
}

func (m tampered) Caps() providers.Caps {
	if m.caps != nil {
		return m.caps()
	}
	return m.sound.Caps()
}

// creating and getting make mutants that alter one call's result.
func creating(alter func(context.Context, sound, providers.Intent) (providers.Charge, error)) func(sound) providers.Charger {
	return func(s sound) providers.Charger {
		return tampered{sound: s, create: func(ctx context.Context, in providers.Intent) (providers.Charge, error) { return alter(ctx, s, in) }}
	}
}

func getting(alter func(context.Context, sound, providers.Ref) (providers.Charge, error)) func(sound) providers.Charger {
	return func(s sound) providers.Charger {
		return tampered{sound: s, get: func(ctx context.Context, r providers.Ref) (providers.Charge, error) { return alter(ctx, s, r) }}
	}
}

// failing alters the error of both calls.
func failing(alter func(*providers.Error)) func(sound) providers.Charger {
	change := func(err error) error {
		if e, ok := errors.AsType[*providers.Error](err); ok {
			copied := *e
			alter(&copied)
			return &copied
		}
		return err
	}
	return func(s sound) providers.Charger {
		return tampered{
			sound: s,
			create: func(ctx context.Context, in providers.Intent) (providers.Charge, error) {
				ch, err := s.CreateCharge(ctx, in)
				return ch, change(err)
			},
			get: func(ctx context.Context, r providers.Ref) (providers.Charge, error) {
				ch, err := s.GetCharge(ctx, r)
				return ch, change(err)
			},
		}
	}
}

func kindIs(err error, kind providers.Kind) bool {
	e, ok := errors.AsType[*providers.Error](err)
	return ok && e.Kind == kind
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// stuck believes that what has expired stays so.
func stuck(s sound) providers.Charger {
	var known sync.Map
	return tampered{sound: s, get: func(ctx context.Context, r providers.Ref) (providers.Charge, error) {
		if ch, ok := known.Load(r.ProviderID); ok {
			return ch.(providers.Charge), nil
		}
		ch, err := s.GetCharge(ctx, r)
		if ch.Status == providers.StatusExpired {
			known.Store(r.ProviderID, ch)
		}
		return ch, err
	}}
}

var mutants = []mutant{
	{name: "one centavo more", killer: "amounts", change: creating(func(ctx context.Context, s sound, in providers.Intent) (providers.Charge, error) {
		in.Amount++
		return s.CreateCharge(ctx, in)
	})},
	{name: "amount through a float", killer: "amounts", change: creating(func(ctx context.Context, s sound, in providers.Intent) (providers.Charge, error) {
		in.Amount = money.Amount(float32(in.Amount))
		return s.CreateCharge(ctx, in)
	})},
	{name: "idempotent by its own word alone", killer: "idempotent", change: func(s sound) providers.Charger {
		return tampered{sound: s, caps: func() providers.Caps {
			c := s.Caps()
			c.Idempotent = true
			return c
		}}
	}},
	{name: "wrong expiry", killer: "create", change: creating(func(ctx context.Context, s sound, in providers.Intent) (providers.Charge, error) {
		in.Expiry += 3 * time.Hour
		return s.CreateCharge(ctx, in)
	})},
	{name: "nothing is refused", killer: "amounts_refused", change: creating(func(ctx context.Context, s sound, in providers.Intent) (providers.Charge, error) {
		in.Amount = max(1, in.Amount)
		return s.CreateCharge(ctx, in)
	})},
	{name: "digest of something else", killer: "create", change: creating(func(ctx context.Context, s sound, in providers.Intent) (providers.Charge, error) {
		ch, err := s.CreateCharge(ctx, in)
		ch.Digest = strings.Repeat("0", 64)
		return ch, err
	})},
	{name: "code changed by its reader", killer: "create", change: creating(func(ctx context.Context, s sound, in providers.Intent) (providers.Charge, error) {
		ch, err := s.CreateCharge(ctx, in)
		ch.BRCode = strings.ToLower(ch.BRCode)
		return ch, err
	})},
	{name: "never sees expiry", killer: "states", change: getting(func(ctx context.Context, s sound, r providers.Ref) (providers.Charge, error) {
		ch, err := s.GetCharge(ctx, r)
		if ch.Status == providers.StatusExpired {
			ch.Status = providers.StatusPending
		}
		return ch, err
	})},
	{name: "a final state stays final", killer: "states", change: stuck},
	{name: "unknown charge is pending", killer: "not_found", change: getting(func(ctx context.Context, s sound, r providers.Ref) (providers.Charge, error) {
		ch, err := s.GetCharge(ctx, r)
		if kindIs(err, providers.NotFound) {
			return providers.Charge{ProviderID: r.ProviderID, Status: providers.StatusPending}, nil
		}
		return ch, err
	})},
	{name: "unknown word is paid", killer: "unknown_word", change: getting(func(ctx context.Context, s sound, r providers.Ref) (providers.Charge, error) {
		ch, err := s.GetCharge(ctx, r)
		if strings.Contains(ch.Word, "PAGO") {
			ch.Status = providers.StatusPaid
		}
		return ch, err
	})},
	{name: "answer about another charge taken", killer: "wrong_echo", change: getting(func(ctx context.Context, s sound, r providers.Ref) (providers.Charge, error) {
		ch, err := s.GetCharge(ctx, r)
		if kindIs(err, providers.Security) {
			return providers.Charge{ProviderID: r.ProviderID, Status: providers.StatusPending}, nil
		}
		return ch, err
	})},
	{name: "code not checked", killer: "codes", make: func(_ Fixture, url string, line http.RoundTripper, log *slog.Logger) providers.Charger {
		cfg := config(url)
		cfg.CodeCheck = ssg.CheckWarn
		return must(ssg.New(cfg, line, log))
	}},
	{name: "location host not checked", killer: "codes", make: func(_ Fixture, url string, line http.RoundTripper, log *slog.Logger) providers.Charger {
		cfg := config(url)
		cfg.LocationHosts = nil
		return must(ssg.New(cfg, line, log))
	}},
	{name: "orphan forgotten", killer: "codes", change: creating(func(ctx context.Context, s sound, in providers.Intent) (providers.Charge, error) {
		ch, err := s.CreateCharge(ctx, in)
		if err != nil {
			return providers.Charge{}, err
		}
		return ch, nil
	})},
	{name: "every failure was sent", killer: "not_sent", change: failing(func(e *providers.Error) {
		if e.Kind == providers.NotSent {
			e.Kind = providers.Ambiguous
		}
	})},
	{name: "no failure was sent", killer: "create_faults", change: failing(func(e *providers.Error) {
		if e.Kind == providers.Ambiguous {
			e.Kind = providers.NotSent
		}
	})},
	{name: "a server error did nothing", killer: "create_faults", change: failing(func(e *providers.Error) {
		if e.HTTP >= 500 {
			e.Kind = providers.Unavailable
		}
	})},
	{name: "an unreadable answer is a refusal", killer: "create_faults", change: failing(func(e *providers.Error) {
		if e.Kind == providers.Contract {
			e.Kind = providers.Invalid
		}
	})},
	{name: "a broken read is no news", killer: "status_faults", change: getting(func(ctx context.Context, s sound, r providers.Ref) (providers.Charge, error) {
		ch, err := s.GetCharge(ctx, r)
		if err != nil {
			return providers.Charge{ProviderID: r.ProviderID, Status: providers.StatusPending}, nil
		}
		return ch, nil
	})},
	{name: "create sent again in doubt", killer: "create_faults", change: creating(func(ctx context.Context, s sound, in providers.Intent) (providers.Charge, error) {
		ch, err := s.CreateCharge(ctx, in)
		if kindIs(err, providers.Ambiguous) {
			return s.CreateCharge(ctx, in)
		}
		return ch, err
	})},
	{name: "ends without context", killer: "cancelled_before", change: creating(func(ctx context.Context, s sound, in providers.Intent) (providers.Charge, error) {
		return s.CreateCharge(context.WithoutCancel(ctx), in)
	})},
	{name: "cannot be cancelled", killer: "cancelled_after", change: getting(func(ctx context.Context, s sound, r providers.Ref) (providers.Charge, error) {
		return s.GetCharge(context.WithoutCancel(ctx), r)
	})},
	{name: "waits longer than it says", killer: "timeouts", change: func(s sound) providers.Charger {
		return tampered{sound: s, caps: func() providers.Caps {
			c := s.Caps()
			c.ReadTimeout /= 2
			return c
		}}
	}},
	{name: "a failed token request leaves doubt", killer: "token_faults", change: failing(func(e *providers.Error) {
		if e.Detail == "no token" {
			e.Kind = providers.Ambiguous
		}
	})},
	{name: "never authenticates again", killer: "unauthorized", wire: func(next http.RoundTripper) http.RoundTripper {
		return roundTripper(func(r *http.Request) (*http.Response, error) {
			resp, err := next.RoundTrip(r)
			if err == nil && resp.StatusCode == http.StatusUnauthorized {
				resp.StatusCode = http.StatusForbidden
			}
			return resp, err
		})
	}},
	{name: "authenticates for ever", killer: "unauthorized", change: creating(func(ctx context.Context, s sound, in providers.Intent) (providers.Charge, error) {
		for {
			ch, err := s.CreateCharge(ctx, in)
			if !kindIs(err, providers.Auth) {
				return ch, err
			}
		}
	})},
	{name: "forgets how long to wait", killer: "rate", change: failing(func(e *providers.Error) { e.RetryAfter = 0 })},
	{name: "waits a day if told", killer: "rate", change: failing(func(e *providers.Error) {
		if e.RetryAfter == providers.MaxRetryAfter {
			e.RetryAfter = 24 * time.Hour
		}
	})},
	{name: "a token for every call", killer: "concurrency", make: func(f Fixture, url string, line http.RoundTripper, log *slog.Logger) providers.Charger {
		fresh := func() sound { return must(f.New(url, line, log)).(sound) }
		return tampered{sound: fresh(), create: func(ctx context.Context, in providers.Intent) (providers.Charge, error) {
			return fresh().CreateCharge(ctx, in)
		}}
	}},
	{name: "one charge for all", killer: "concurrency", change: func(s sound) providers.Charger {
		var once sync.Once
		var ch providers.Charge
		var err error
		return tampered{sound: s, create: func(ctx context.Context, in providers.Intent) (providers.Charge, error) {
			once.Do(func() { ch, err = s.CreateCharge(ctx, in) })
			return ch, err
		}}
	}},
	{name: "a header that net/http repeats on", killer: "manners", wire: func(next http.RoundTripper) http.RoundTripper {
		return roundTripper(func(r *http.Request) (*http.Response, error) {
			r.Header.Set("Idempotency-Key", "1")
			return next.RoundTrip(r)
		})
	}},
	{name: "secret in the address", killer: "manners", wire: func(next http.RoundTripper) http.RoundTripper {
		return roundTripper(func(r *http.Request) (*http.Response, error) {
			r.URL.RawQuery = "client_secret=" + secret
			return next.RoundTrip(r)
		})
	}},
	{name: "always healthy", killer: "manners", change: func(s sound) providers.Charger {
		return tampered{sound: s, health: func(context.Context) error { return nil }}
	}},
	{name: "health check makes a charge", killer: "manners", change: func(s sound) providers.Charger {
		return tampered{sound: s, health: func(ctx context.Context) error {
			_, err := s.CreateCharge(ctx, intent(9, 1))
			return err
		}}
	}},
	{name: "marks the charge paid itself", killer: "manners", wire: func(next http.RoundTripper) http.RoundTripper {
		return roundTripper(func(r *http.Request) (*http.Response, error) {
			patch := r.Clone(r.Context())
			patch.Method, patch.URL.Path, patch.Body = http.MethodPatch, "/api/pix/1", http.NoBody
			if resp, err := next.RoundTrip(patch); err == nil {
				resp.Body.Close() // of no interest
			}
			return next.RoundTrip(r)
		})
	}},
	{name: "quotes the answer in its errors", killer: "secrets", make: func(f Fixture, url string, line http.RoundTripper, log *slog.Logger) providers.Charger {
		var mu sync.Mutex
		last := ""
		s := must(f.New(url, roundTripper(func(r *http.Request) (*http.Response, error) {
			resp, err := line.RoundTrip(r)
			if err == nil {
				text, _ := io.ReadAll(resp.Body)
				resp.Body.Close() // replaced
				resp.Body = io.NopCloser(strings.NewReader(string(text)))
				mu.Lock()
				last = string(text)
				mu.Unlock()
			}
			return resp, err
		}), log)).(sound)
		return failing(func(e *providers.Error) {
			mu.Lock()
			defer mu.Unlock()
			e.Detail = last
		})(s)
	}},
	{name: "logs its requests", killer: "secrets", make: func(f Fixture, url string, line http.RoundTripper, log *slog.Logger) providers.Charger {
		return must(f.New(url, roundTripper(func(r *http.Request) (*http.Response, error) {
			log.Info("request", "header", r.Header)
			return line.RoundTrip(r)
		}), log))
	}},
	{name: "leaves answers open", killer: "closed", wire: func(next http.RoundTripper) http.RoundTripper {
		return roundTripper(func(r *http.Request) (*http.Response, error) {
			resp, err := next.RoundTrip(r)
			if err == nil {
				resp.Body = io.NopCloser(resp.Body)
			}
			return resp, err
		})
	}},
}

// TestMutants runs, for each broken provider, the check meant for it, and
// expects it to fail; the sound provider passes it (that is package ssg's test).
func TestMutants(t *testing.T) {
	for _, m := range mutants {
		t.Run(m.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				whole := fixture(t)
				f := whole
				f.New = func(url string, line http.RoundTripper, log *slog.Logger) (providers.Charger, error) {
					if m.wire != nil {
						line = m.wire(line)
					}
					if m.make != nil {
						return m.make(whole, url, line, log), nil
					}
					p, err := whole.New(url, line, log)
					if m.change != nil {
						p = m.change(p.(sound))
					}
					return p, err
				}
				if failures := trial(t, m.killer, f); len(failures) == 0 {
					t.Errorf("check %q lets this provider pass", m.killer)
				} else {
					t.Logf("killed: %.200s", failures[0])
				}
			})
		})
	}
}

// TestChecksFailOnlyMutants runs every check that kills a mutant on the sound
// provider with the same recorder.
func TestChecksFailOnlyMutants(t *testing.T) {
	for _, c := range checks {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				if failures := trial(t, c.name, fixture(t)); failures != nil {
					t.Errorf("the sound provider fails: %q", failures)
				}
			})
		})
	}
}

// TestEveryCheckKills: a check that kills no mutant may check nothing.
func TestEveryCheckKills(t *testing.T) {
	kills := map[string]bool{}
	for _, m := range mutants {
		kills[m.killer] = true
	}
	for _, c := range checks {
		if !kills[c.name] {
			t.Errorf("no mutant is meant for check %q", c.name)
		}
	}
}

// TestScheduleMutants: random histories find providers that are wrong in one way.
func TestScheduleMutants(t *testing.T) {
	for name, change := range map[string]func(sound) providers.Charger{
		"every word is paid": getting(func(ctx context.Context, s sound, r providers.Ref) (providers.Charge, error) {
			ch, err := s.GetCharge(ctx, r)
			if ch.Status == providers.StatusUncertain {
				ch.Status = providers.StatusPaid
			}
			return ch, err
		}),
		"an answer about another charge is taken": getting(func(ctx context.Context, s sound, r providers.Ref) (providers.Charge, error) {
			ch, err := s.GetCharge(ctx, r)
			if kindIs(err, providers.Security) {
				return providers.Charge{ProviderID: r.ProviderID, Status: providers.StatusPaid, Digest: "d"}, nil
			}
			return ch, err
		}),
		"a final state stays final": stuck,
		"a broken read is an end": getting(func(ctx context.Context, s sound, r providers.Ref) (providers.Charge, error) {
			ch, err := s.GetCharge(ctx, r)
			if err != nil {
				return providers.Charge{ProviderID: r.ProviderID, Status: providers.StatusPaid, Digest: "d"}, nil
			}
			return ch, nil
		}),
		"a lost answer made the charge": creating(func(ctx context.Context, s sound, in providers.Intent) (providers.Charge, error) {
			ch, err := s.CreateCharge(ctx, in)
			if kindIs(err, providers.Ambiguous) {
				return providers.Charge{ProviderID: "lost-" + in.ID, BRCode: "lost"}, nil
			}
			return ch, err
		}),
		"one centavo more": creating(func(ctx context.Context, s sound, in providers.Intent) (providers.Charge, error) {
			in.Amount++
			return s.CreateCharge(ctx, in)
		}),
		"the payer in an error": failing(func(e *providers.Error) { e.Detail = "CPF 12345678909" }),
	} {
		t.Run(name, func(t *testing.T) {
			var found []string
			for seed := uint64(0); seed < 2000 && found == nil; seed++ {
				synctest.Test(t, func(t *testing.T) {
					whole := fixture(t)
					f := whole
					f.New = func(url string, line http.RoundTripper, log *slog.Logger) (providers.Charger, error) {
						p, err := whole.New(url, line, log)
						return change(p.(sound)), err
					}
					rng := rand.New(rand.NewPCG(seed, 2))
					words := simkit.Rule{Route: "status", Fault: simkit.Word, Arg: "LIQUIDADO", Chance: 0.2}
					echo := simkit.Rule{Route: "status", Fault: simkit.Echo, Chance: 0.2}
					found = noted(t, func(tb testing.TB) {
						liveThroughCharges(tb, rng, f, []simkit.Rule{words, echo}, &Ends{States: map[charge.State]int{}})
					})
				})
			}
			if found == nil {
				t.Fatal("nothing was noticed in 2,000 histories")
			}
			t.Logf("%.200s", found)
		})
	}
}

// trial runs one check and returns its complaints. The check "closed" is the
// audit that follows every check.
func trial(t *testing.T, name string, f Fixture) []string {
	run := checkCreate
	for _, c := range checks {
		if c.name == name {
			run = c.run
		}
	}
	return noted(t, func(tb testing.TB) { run(inMemory(tb, f)) })
}

// noted runs something that may fail and returns its complaints.
func noted(t *testing.T, run func(testing.TB)) []string {
	rec := &recorder{TB: t}
	done := make(chan struct{})
	go func() {
		defer close(done)
		run(rec)
	}()
	<-done
	for _, cleanup := range rec.cleanups {
		cleanup()
	}
	return rec.failures
}

// recorder is a test that notes failures instead of failing.
type recorder struct {
	testing.TB
	mu       sync.Mutex
	failures []string
	cleanups []func()
}

func (r *recorder) note(text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failures = append(r.failures, text)
}

func (r *recorder) Helper()                      {}
func (r *recorder) Error(args ...any)            { r.note(fmt.Sprint(args...)) }
func (r *recorder) Errorf(f string, args ...any) { r.note(fmt.Sprintf(f, args...)) }
func (r *recorder) Fatal(args ...any)            { r.Error(args...); runtime.Goexit() }
func (r *recorder) Fatalf(f string, args ...any) { r.Errorf(f, args...); runtime.Goexit() }
func (r *recorder) Cleanup(f func())             { r.cleanups = append(r.cleanups, f) }

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

const secret = "mutant-client-secret-5150"

func config(url string) ssg.Config {
	return ssg.Config{
		BaseURL: url, AllowInsecureHTTP: true, ClientID: "c", ClientSecret: secret, AccountID: ssgsim.DefaultAccount,
		LocationHosts: []string{ssgsim.DefaultLocationHost},
	}
}

func intent(n int, amount money.Amount) providers.Intent {
	return providers.Intent{
		ID: fmt.Sprintf("T001%021d", n), Attempt: 1, Amount: amount, Expiry: 10 * time.Minute, Key: "12345678000195",
		Payer: providers.Payer{
			Name: "Zulmira Quaresma", Document: "12345678909", Email: "zulmira@pagadora.example",
			Address: "Rua Xavantina 4711", City: "Jaguapitanga", State: "SP", Postcode: "04711222",
		},
	}
}

func fixture(tb testing.TB) Fixture {
	sim := must(ssgsim.New(ssgsim.Options{ClientID: "c", ClientSecret: secret}))
	tb.Cleanup(func() { sim.Close() }) // in memory
	return Fixture{
		Simulator: sim,
		New: func(url string, transport http.RoundTripper, log *slog.Logger) (providers.Charger, error) {
			return ssg.New(config(url), transport, log)
		},
		Intent: intent, MaxAmount: 99999999999999, CodeFaults: simkit.CodeFaults(), Tokens: true,
		Canaries: []string{secret, "Quaresma", "12345678909", "pagadora.example", "Xavantina", "Jaguapitanga", "04711222"},
	}
}

var _ Simulator = (*ssgsim.Sim)(nil)
