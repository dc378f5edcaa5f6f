package oauth

import (
	"context"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/ssg-safe/agent/providers"
	"github.com/ssg-safe/agent/redact"
)

const (
	// MaxRefusals is after how many refusals in a row nothing is sent for
	// [HoldOff]: credentials do not get better by being tried.
	MaxRefusals = 3
	// HoldOff is how long nothing is sent then.
	HoldOff = time.Minute
	// MaxLife bounds what a provider may claim about a token's life.
	MaxLife = 10 * 365 * 24 * time.Hour
	// How long an old token is used on after a renewal failed.
	renewalPause = time.Minute
	// How long a call waits for a renewal while the old token would do.
	renewalWait = 5 * time.Second
)

// Parse reads a token answer (RFC 6749, 5.1): a bearer token with a life. What
// else it holds is ignored. Where standard is not zero, token_type and expires_in
// may be missing, and standard is the life then.
func Parse(body []byte, standard time.Duration) (redact.Secret, time.Duration, error) {
	var in struct {
		Type    *string     `json:"token_type"`
		Expires json.Number `json:"expires_in"`
		Token   string      `json:"access_token"`
	}
	if err := providers.DecodeJSON(body, &in); err != nil {
		return "", 0, err
	}
	if in.Type == nil && standard == 0 || in.Type != nil && !strings.EqualFold(*in.Type, "Bearer") {
		return "", 0, errors.New("token_type is not Bearer")
	}
	if in.Token == "" || len(in.Token) > 8192 || strings.ContainsFunc(in.Token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return "", 0, errors.New("access_token is missing or malformed")
	}
	if in.Expires == "" && standard != 0 {
		return redact.Secret(in.Token), standard, nil
	}
	seconds, err := in.Expires.Int64()
	if err != nil || seconds <= 0 {
		return "", 0, errors.New("expires_in is not a positive number of seconds")
	}
	life := MaxLife
	if seconds < int64(MaxLife/time.Second) {
		life = time.Duration(seconds) * time.Second
	}
	return redact.Secret(in.Token), life, nil
}

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
			if !usable {
				return t.renew(ctx, f)
			}
			limited, cancel := context.WithTimeout(ctx, renewalWait)
			defer cancel()
			tok, err := t.renew(limited, f)
			if err != nil { // the old one still holds
				return cur, nil
			}
			return tok, nil
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
			t.current = &token{value: old.value, serial: old.serial, refreshAt: time.Now().Add(renewalPause), end: old.end}
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
	if t.refusals++; t.refusals >= MaxRefusals {
		t.refusals = MaxRefusals - 1 // after the pause one try decides
		t.heldTill = time.Now().Add(HoldOff)
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
