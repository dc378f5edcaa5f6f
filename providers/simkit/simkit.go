// Package simkit is what provider simulators share: a fault script, a request
// log, and a durable journal. A simulator is an [net/http.Handler] that names
// its routes ("token", "create", "status", …), and for each request hands
// [Kit.Serve] a function that does the work and builds the answer; the kit
// delays, drops, refuses or mangles around that function as the script says.
// The moment the function returns is the commit: faults are either before it
// (nothing happened at the provider) or after it (it happened, and the client
// cannot know).
//
// Simulators use timers of package time only, so that they run in memory under
// testing/synctest (providers.Memory) as well as on a socket.
package simkit

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"

	"github.com/ssg-safe/agent/money"
	"github.com/ssg-safe/agent/providers"
)

// Charge is a line of a simulator's ledger: the provider's own truth, against
// which an agent's sums are checked.
type Charge struct {
	ID      string       `json:"id"`
	Amount  money.Amount `json:"amount"` // centavos
	Account string       `json:"account,omitempty"`
	// ExternalID is the id that the client gave; empty where it gives none.
	ExternalID string           `json:"external_id,omitempty"`
	Status     providers.Status `json:"status"`
	Code       string           `json:"code"`
	Created    time.Time        `json:"created"`
	Expires    time.Time        `json:"expires"`
	Paid       time.Time        `json:"paid,omitzero"`
}

// Answer is what a simulator sends when nothing goes wrong.
type Answer struct {
	Status int
	Header http.Header // may be nil
	Body   []byte
}

// JSON is an answer in JSON; body is of types that always have such a form.
func JSON(status int, body any) Answer {
	text, err := json.Marshal(body)
	if err != nil {
		panic(err) // the simulator's own types
	}
	return Answer{Status: status, Header: http.Header{"Content-Type": {"application/json"}}, Body: text}
}

// Share is an option's share of charges that are paid: all where it is 0. An error is
// a share that there cannot be.
func Share(f float64) (float64, error) {
	if f < 0 || f > 1 {
		return 0, fmt.Errorf("fraction of charges to pay: %v does not lie between 0 and 1", f)
	}
	return cmp.Or(f, 1), nil
}

// Pays draws by lot, the same every time, whether a payer pays the charge with
// the id; share is how many do.
func Pays(seed uint64, id string, share float64) bool {
	h := sha256.Sum256(fmt.Appendf(nil, "payer %d %s", seed, id))
	return rand.New(rand.NewChaCha8(h)).Float64() < share
}

// Kit is a simulator's fault script and its logs. It is safe for concurrent use.
// Simulators embed it.
type Kit struct {
	script    *Script
	log, sent *Log
	refusal   func(status int) Answer
}

// NewKit returns a kit with the script of a simulator at its start. refusal builds
// the provider's own error body for an HTTP status.
func NewKit(seed uint64, v Vocabulary, refusal func(status int) Answer, faults ...Rule) (*Kit, error) {
	k := &Kit{script: NewScript(seed, v), log: NewLog(), sent: NewLog(), refusal: refusal}
	return k, k.script.Set(faults...)
}

// Script is the fault script.
func (k *Kit) Script() *Script { return k.script }

// Log is the log of requests.
func (k *Kit) Log() *Log { return k.log }

// Sent is the log of webhooks: every attempt, the event's id as its Route.
func (k *Kit) Sent() *Log { return k.sent }

// Serve answers one request of a route. commit does the work; faults of kinds
// the kit does not know are its to obey.
func (k *Kit) Serve(route string, w http.ResponseWriter, r *http.Request, commit func(Faults) Answer) {
	faults := k.script.pick(route)
	entry := Request{Method: r.Method, Path: r.URL.Path, Route: route, Faults: faults.names()}
	if d, ok := faults.duration(Latency); ok {
		wait(r.Context(), d) // a client that left meanwhile has still asked
	}
	refuse := func(a Answer) {
		entry.Status = a.Status
		k.log.add(entry)
		send(w, a)
	}
	switch {
	case faults.Has(DropBefore):
		k.log.add(entry)
		panic(http.ErrAbortHandler)
	case faults.Has(Rate), faults.Has(RateDate):
		refuse(k.rate(faults))
		return
	case faults.Has(HTTP):
		status, _ := strconv.Atoi(faults[HTTP])
		refuse(k.refusal(status))
		return
	case faults.Has(HTML):
		refuse(Page("Bem-vindo à rede"))
		return
	case faults.Has(Redirect):
		refuse(Answer{Status: http.StatusTemporaryRedirect, Header: http.Header{"Location": {"http://elsewhere.invalid/"}}})
		return
	}

	a := commit(faults)
	entry.Committed, entry.Status = true, a.Status
	k.log.add(entry)

	switch {
	case faults.Has(DropAfter):
		panic(http.ErrAbortHandler)
	case faults.Has(ErrorAfter):
		status, _ := strconv.Atoi(faults[ErrorAfter])
		a = k.refusal(status)
	case faults.Has(HTMLAfter):
		a = Page("502")
	case faults.Has(Truncate):
		a.Body = a.Body[:len(a.Body)/2]
	case faults.Has(Huge):
		a.Body = append(bytes.TrimRight(a.Body, "}"), fmt.Appendf(nil, `,"padding":"%s"}`, bytes.Repeat([]byte("x"), providers.MaxBody))...)
	case faults.Has(Gzip):
		a = zipped(a)
	}
	if faults.Has(Cut) {
		a.Header = headerWith(a.Header, "Content-Length", strconv.Itoa(len(a.Body)))
		a.Body = a.Body[:len(a.Body)/2]
		send(w, a)
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}
	if d, ok := faults.duration(Slow); ok {
		trickle(r.Context(), w, a, d)
		return
	}
	send(w, a)
}

// Missing answers a request that no route serves.
func (k *Kit) Missing(w http.ResponseWriter, r *http.Request, a Answer) {
	k.log.Note(r.Method, r.URL.Path, a.Status)
	send(w, a)
}

func (k *Kit) rate(f Faults) Answer {
	a := k.refusal(http.StatusTooManyRequests)
	if d, ok := f.duration(Rate); ok {
		a.Header = headerWith(a.Header, "Retry-After", strconv.Itoa(int(d/time.Second)))
	} else if d, ok := f.duration(RateDate); ok {
		now := time.Now().UTC()
		a.Header = headerWith(a.Header, "Date", now.Format(http.TimeFormat))
		a.Header.Set("Retry-After", now.Add(d).Format(http.TimeFormat))
	}
	return a
}

// Page is an HTML answer under 200, as proxies, captive portals and web
// frameworks give.
func Page(title string) Answer {
	return Answer{
		Status: http.StatusOK, Header: http.Header{"Content-Type": {"text/html; charset=UTF-8"}},
		Body: fmt.Appendf(nil, "<!DOCTYPE html><html><head><title>%s</title></head><body></body></html>\n", title),
	}
}

func send(w http.ResponseWriter, a Answer) {
	writeHeader(w, a)
	w.Write(a.Body) // the client may have gone
}

func writeHeader(w http.ResponseWriter, a Answer) {
	for name, values := range a.Header {
		w.Header()[name] = values
	}
	w.WriteHeader(a.Status)
}

// trickle sends the body in ten pieces over the duration.
func trickle(ctx context.Context, w http.ResponseWriter, a Answer, d time.Duration) {
	writeHeader(w, a)
	size := max(1, (len(a.Body)+9)/10)
	for rest := a.Body; len(rest) > 0; {
		piece := rest[:min(size, len(rest))]
		rest = rest[len(piece):]
		w.Write(piece) // the client may have gone
		w.(http.Flusher).Flush()
		if !wait(ctx, d/10) {
			return
		}
	}
}

func zipped(a Answer) Answer {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	z.Write(a.Body) // into memory
	z.Close()       // into memory
	return Answer{Status: a.Status, Header: headerWith(a.Header, "Content-Encoding", "gzip"), Body: b.Bytes()}
}

func headerWith(h http.Header, name, value string) http.Header {
	if h = h.Clone(); h == nil {
		h = http.Header{}
	}
	h.Set(name, value)
	return h
}

// wait sleeps; false means that the client left first.
func wait(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
