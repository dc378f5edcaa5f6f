package bspay

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/ssg-safe/agent/redact"
)

// maxOffset is by how much this machine's clock may differ from the provider's
// before nothing is signed. The provider takes five minutes; a clock that is off
// by one is not looked after, and dates come from it.
const maxOffset = time.Minute

// signature is hex(HMAC-SHA256(key, timestamp "." nonce "." body)): of exactly
// the bytes that are sent, since equal JSON of other bytes has another one.
func signature(key redact.Secret, timestamp, nonce string, body []byte) string {
	m := hmac.New(sha256.New, []byte(key.Reveal()))
	fmt.Fprintf(m, "%s.%s.", timestamp, nonce)
	m.Write(body) // a hash never fails
	return hex.EncodeToString(m.Sum(nil))
}

// sign sets the three headers of a signed request, with a nonce of its own.
func sign(h http.Header, key redact.Secret, at time.Time, body []byte) {
	timestamp, nonce := strconv.FormatInt(at.Unix(), 10), uuid()
	h.Set("X-Timestamp", timestamp)
	h.Set("X-Nonce", nonce)
	h.Set("X-Signature", signature(key, timestamp, nonce, body))
}

// uuid is a random UUID (version 4).
func uuid() string {
	var b [16]byte
	rand.Read(b[:]) // never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// clock learns the provider's time from the Date of its answers. It is the
// transport of all requests, so that no answer is missed.
type clock struct {
	next http.RoundTripper
	wall func() time.Time

	mu   sync.Mutex
	date time.Time // the newest Date; zero: none yet
	seen time.Time // when it came, with the monotonic reading
}

// RoundTrip passes a request on and notes the answer's Date. One that a cache
// has kept says nothing.
func (c *clock) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := c.next.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	if date, err := http.ParseTime(resp.Header.Get("Date")); err == nil && resp.Header.Get("Age") == "" {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.date, c.seen = date, time.Now()
	}
	return resp, nil
}

// now is the provider's time, and by how much this machine's clock is ahead of
// it. Without any answer yet it is this machine's.
func (c *clock) now() (time.Time, time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	wall := c.wall()
	if c.date.IsZero() {
		return wall, 0
	}
	at := c.date.Add(time.Since(c.seen))
	return at, wall.Sub(at)
}
