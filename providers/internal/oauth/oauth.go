// Package oauth makes the authorised calls of adapters whose provider gives out
// bearer tokens for client credentials (RFC 6749, 4.4). A [Session] belongs to
// one credential at one provider: it keeps the token in memory, and repeats a call
// once with a new token after a 401, which is safe because a refused request did
// nothing.
//
// # Tokens
//
// One token request is under way at a time, and whoever needs a token waits for
// it. A token is renewed at 80–95 % of its life, counted from the sending of
// its request on the monotonic clock; when the renewal fails, the old one serves
// on to its end. Refused credentials are not tried with every call.
//
// # What a missing token means
//
// A call that got no token was not sent, so its outcome is known: NotSent, or
// the token request's own error where that is permanent, a wish to be left alone,
// or the client's own policy.
//
// What an adapter's words and errors mean is none of this package's business.
package oauth

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"github.com/ssg-safe/agent/providers"
	"github.com/ssg-safe/agent/providers/internal/pace"
	"github.com/ssg-safe/agent/redact"
)

// Config is what a session needs of its adapter.
type Config struct {
	HTTP *providers.HTTP
	// TokenEvery spaces token requests, bursts of five aside, where the provider
	// limits them more than others; 0: no more.
	TokenEvery time.Duration
	// Token makes the token request, credentials and all, and hides them.
	Token func() providers.Call
	// Failure reads what an unsuccessful token answer says, to be cleaned.
	Failure func(body []byte) (code, detail string)
	// Address is the configuration's name of what to check when there is nothing
	// at the token address.
	Address string
	// Life is how long a token lives whose answer does not say so; such an answer
	// may also leave out that it is a bearer token. Zero: both are required.
	Life time.Duration
	// Stale reports whether a 401 is about the token; nil: each one is. One that
	// is not comes back as any other answer.
	Stale func(providers.Answer) bool
}

// Session makes authorised calls. It is safe for concurrent use.
type Session struct {
	cfg    Config
	logins *pace.Limiter
	tokens tokens
}

// New returns a session. It sends nothing yet.
func New(cfg Config) *Session {
	s := &Session{cfg: cfg, logins: pace.New(cfg.TokenEvery)}
	s.tokens.fetch = s.fetch
	return s
}

// Send makes a call with a JSON body, which is asked for each sending anew (nil:
// no body), as [Session.Do] does.
func (s *Session) Send(ctx context.Context, c providers.Call, body func() any) (providers.Call, providers.Answer, error) {
	return s.Do(ctx, c, func(call *providers.Call) (err error) {
		if body == nil {
			return nil
		}
		call.Header.Set("Content-Type", "application/json")
		call.Body, err = json.Marshal(body())
		return err
	})
}

// Do makes a call: token, request, and after a 401 one new token and one
// repeat. finish completes each sending when it has its token: body, headers of
// their own time; the call's header is its to change.
//
// Any answer comes back, a second 401 too, with the call as it was sent; what it
// hides now includes the token. The error is always a [*providers.Error]; one
// that finish returns as such is returned as it is.
func (s *Session) Do(ctx context.Context, c providers.Call, finish func(*providers.Call) error) (providers.Call, providers.Answer, error) {
	stale := 0
	for {
		tok, err := s.tokens.get(ctx, stale)
		if err != nil {
			return c, providers.Answer{}, s.noToken(c, err)
		}
		call := c
		call.Hide = c.Hide.WithSecret(tok.value)
		if call.Header = c.Header.Clone(); call.Header == nil {
			call.Header = http.Header{}
		}
		if err := finish(&call); err != nil {
			if e, ok := errors.AsType[*providers.Error](err); ok {
				return call, providers.Answer{}, e
			}
			return call, providers.Answer{}, s.cfg.HTTP.Fail(call, providers.Invalid, providers.Answer{}, "", "request cannot be written", err)
		}
		call.Header.Set("Authorization", "Bearer "+tok.value.Reveal())
		a, err := s.cfg.HTTP.Do(ctx, call)
		switch {
		case err != nil:
			return call, providers.Answer{}, err
		case a.Status != http.StatusUnauthorized || s.cfg.Stale != nil && !s.cfg.Stale(a):
			s.tokens.answered(true)
			return call, a, nil
		case stale != 0:
			s.tokens.answered(false)
			return call, a, nil
		}
		stale = tok.serial
	}
}

// noToken turns the failure to get a token into the call's own error.
func (s *Session) noToken(c providers.Call, err error) error {
	kind := providers.NotSent
	var after time.Duration
	held := false
	switch e, ok := errors.AsType[*providers.Error](err); {
	case errors.Is(err, errHeld):
		kind = providers.Auth
	case ok && (e.Held || e.Kind.Permanent() || e.Kind == providers.Rate):
		kind, after, held = e.Kind, e.RetryAfter, e.Held
	}
	e := s.cfg.HTTP.Fail(c, kind, providers.Answer{}, "", "no token", err)
	e.RetryAfter, e.Held = after, held
	return e
}

// fetch is the token request.
func (s *Session) fetch(ctx context.Context) (redact.Secret, time.Duration, error) {
	call := s.cfg.Token()
	if err := s.logins.Wait(ctx, 0); err != nil {
		return "", 0, s.cfg.HTTP.Fail(call, providers.NotSent, providers.Answer{}, "", "waiting for the limit of logins", err)
	}
	a, err := s.cfg.HTTP.Do(ctx, call)
	if err != nil {
		return "", 0, err
	}
	if a.Status != http.StatusOK && a.Status != http.StatusCreated {
		code, detail := s.cfg.Failure(a.Body)
		kind := providers.KindOfStatus(a.Status)
		switch a.Status {
		case http.StatusBadRequest, http.StatusForbidden, http.StatusUnprocessableEntity:
			kind = providers.Auth
		case http.StatusNotFound:
			kind, detail = providers.Operator, "nothing at this address; check "+s.cfg.Address
		}
		return "", 0, s.cfg.HTTP.Fail(call, kind, a, code, detail, nil)
	}
	value, life, err := Parse(a.Body, s.cfg.Life)
	if err != nil {
		return "", 0, s.cfg.HTTP.Fail(call, providers.Contract, a, "", providers.Describe(a), err)
	}
	return value, life, nil
}
