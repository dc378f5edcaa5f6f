package ssg

import (
	"context"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"github.com/ssg-safe/agent/providers"
	"github.com/ssg-safe/agent/redact"
)

const (
	// After so many refusals in a row nothing is sent for a while: credentials
	// do not get better by being tried, and a token lasts a year.
	maxRefusals = 3
	holdOff     = time.Minute
	// How long an old token is used on after a refresh failed.
	refreshPause = time.Minute
)

// token is an access token. Times are monotonic readings, so that a wall clock
// that is set does not change a token's life.
type token struct {
	value     redact.Secret
	serial    int       // counts tokens from 1
	refreshAt time.Time // 80–95 % of the life
	end       time.Time // counted from the sending of the request
}

// tokens keeps the one token of a credential in memory and never stores it.
// At most one token request is under way; others wait for its result.
type tokens struct {
	fetch func(context.Context) (redact.Secret, time.Duration, error)

	mu       sync.Mutex // never held during a request
	current  *token     // nil: none yet; a pointer, so that printing shows no token
	flight   *flight    // nil: no request under way
	refusals int        // in a row
	heldTill time.Time
}

type flight struct {
	done chan struct{} // closed when err is set
	err  error
}

var errHeld = errors.New("credentials were refused repeatedly; not trying for a minute")

// get returns a token that is not the one with the serial number stale (0:
// any will do).
func (t *tokens) get(ctx context.Context, stale int) (*token, error) {
	for {
		t.mu.Lock()
		now := time.Now()
		cur := t.current
		usable := cur != nil && cur.serial != stale && now.Before(cur.end)
		switch {
		case usable && (now.Before(cur.refreshAt) || t.flight != nil || now.Before(t.heldTill)):
			t.mu.Unlock()
			return cur, nil
		case now.Before(t.heldTill):
			t.mu.Unlock()
			return nil, errHeld
		case t.flight == nil:
			f := &flight{done: make(chan struct{})}
			t.flight = f
			t.mu.Unlock()
			tok, err := t.renew(ctx, f)
			if err != nil && usable { // the old one still holds
				return cur, nil
			}
			return tok, err
		}
		f := t.flight
		t.mu.Unlock()
		select {
		case <-f.done:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		// One that gave up waiting says nothing about the credentials.
		if f.err != nil && !errors.Is(f.err, context.Canceled) && !errors.Is(f.err, context.DeadlineExceeded) {
			return nil, f.err
		}
	}
}

// renew makes the token request as the one under way.
func (t *tokens) renew(ctx context.Context, f *flight) (*token, error) {
	sent := time.Now()
	value, life, err := t.fetch(ctx)
	t.mu.Lock()
	defer t.mu.Unlock()
	defer close(f.done)
	t.flight, f.err = nil, err
	serial := 1
	if t.current != nil {
		serial = t.current.serial + 1
	}
	if err != nil {
		if e, ok := errors.AsType[*providers.Error](err); ok && e.Kind == providers.Auth {
			t.refused()
		}
		if old := t.current; old != nil {
			t.current = &token{value: old.value, serial: old.serial, refreshAt: time.Now().Add(refreshPause), end: old.end}
		}
		return nil, err
	}
	t.current = &token{
		value: value, serial: serial,
		refreshAt: sent.Add(life / 100 * time.Duration(80+rand.IntN(15))), end: sent.Add(life),
	}
	return t.current, nil
}

// refused counts a refusal; t.mu is held.
func (t *tokens) refused() {
	if t.refusals++; t.refusals >= maxRefusals {
		t.refusals = maxRefusals - 1 // after the pause one try decides
		t.heldTill = time.Now().Add(holdOff)
	}
}

// answered records how a call with a fresh token ended.
func (t *tokens) answered(ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if ok {
		t.refusals = 0
	} else {
		t.refused()
	}
}

// fetchToken is the token request. The credentials travel in its body.
func (c *Client) fetchToken(ctx context.Context) (redact.Secret, time.Duration, error) {
	body, err := json.Marshal(tokenRequest{"client_credentials", c.cfg.ClientID, c.cfg.ClientSecret.Reveal()})
	if err != nil {
		return "", 0, err
	}
	call := c.call("token", "/oauth/token", body)
	if err := c.limit.wait(ctx, 0); err != nil {
		return "", 0, c.http.Fail(call, providers.NotSent, providers.Answer{}, "", "waiting for the request limit", err)
	}
	a, err := c.http.Do(ctx, call)
	if err != nil {
		return "", 0, err
	}
	if a.Status != http.StatusOK {
		code, detail := parseFailure(a.Body)
		kind := providers.KindOfStatus(a.Status)
		switch a.Status {
		case http.StatusBadRequest, http.StatusForbidden, http.StatusUnprocessableEntity:
			kind = providers.Auth
		case http.StatusNotFound:
			kind, detail = providers.Operator, "nothing at this address; check base_url"
		}
		return "", 0, c.http.Fail(call, kind, a, code, detail, nil)
	}
	value, life, err := parseToken(a.Body)
	if err != nil {
		return "", 0, c.http.Fail(call, providers.Contract, a, "", providers.Describe(a), err)
	}
	return value, life, nil
}
