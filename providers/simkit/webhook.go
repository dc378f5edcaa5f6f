package simkit

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// RouteWebhook is the route of rules about webhooks. "*" does not mean it.
const RouteWebhook = "webhook"

// The faults of a webhook's way, which every simulator with webhooks has. Those of
// the webhook itself, such as a signature by a stranger, are in its [Vocabulary].
const (
	Drop      = "drop"      // never arrives, and counts as unanswered
	Duplicate = "duplicate" // ARG: how many arrive at once; none: 6
	Reorder   = "reorder"   // arrives after the next one of another event, or 10 s late
	Delay     = "delay"     // ARG: duration
	Form      = "form"      // ARG: one of the forms that the provider sends
)

var carrierKinds = []string{Drop, Duplicate, Reorder, Delay, Form}

// Delivery is a webhook as a provider sends it.
type Delivery struct {
	// URL is the callback address that was registered for it; empty: the account's.
	URL    string      `json:"url,omitempty"`
	Header http.Header `json:"header"`
	Body   string      `json:"body"`
}

// Notice is an event that a provider reports.
type Notice struct {
	// ID is another one for each event.
	ID string
	// Write makes a webhook of it, as it is sent now: in a form ("": the usual one),
	// with a fault ("": none).
	Write func(form, fault string) Delivery
}

// Webhooks makes webhooks of events.
func Webhooks(events []Notice, form, fault string) []Delivery {
	all := []Delivery{}
	for _, e := range events {
		all = append(all, e.Write(form, fault))
	}
	return all
}

// ShowWebhooks adds the control route GET /sim/webhooks?form=FORM&fault=FAULT,
// which shows what is due by now, as it would be sent.
func (k *Kit) ShowWebhooks(mux *http.ServeMux, due func() []Notice) {
	mux.HandleFunc("GET /sim/webhooks", func(w http.ResponseWriter, r *http.Request) {
		form, fault := r.FormValue("form"), r.FormValue("fault")
		v := k.script.words
		if form != "" && !slices.Contains(v.Forms, form) || fault != "" && !slices.Contains(v.Spoils, fault) {
			reply(w, http.StatusBadRequest, map[string]string{
				"message": "forms: " + strings.Join(v.Forms, ", ") + "; faults: " + strings.Join(v.Spoils, ", "),
			})
			return
		}
		reply(w, http.StatusOK, Webhooks(due(), form, fault))
	})
	Show(mux, "/sim/deliveries", func() any { return k.sent.Requests() })
}

// Courier delivers a simulator's webhooks, and spoils that as the fault script
// says. Set its fields, then Run it.
type Courier struct {
	Kit *Kit
	// Due lists the events that happened by now, oldest first.
	Due func() []Notice
	// Dir keeps which were delivered, in Name; empty: in memory.
	Dir, Name string
	// To is where webhooks go: those with a callback address of their own to that
	// path at the scheme and host of To, all others to To as it is.
	To string
	// Over carries them; redirects are not followed.
	Over http.RoundTripper
	// Retry are the pauses before a webhook that was not answered by 2xx within ten
	// seconds is sent again; after the last one it is given up.
	Retry []time.Duration
	// Logger: nil discards.
	Logger *slog.Logger
}

const (
	answerWithin = 10 * time.Second
	lookEvery    = 100 * time.Millisecond
	heldAtMost   = 10 * time.Second
	// duplicates is how often a duplicated webhook arrives.
	duplicates = 6
)

// parcel is an event on its way.
type parcel struct {
	Notice
	due     time.Time
	attempt int    // made so far
	faults  Faults // of the next attempt; nil: not drawn yet
	held    bool
}

// CheckTarget reports what is wrong with [Courier.To].
func CheckTarget(to string) error {
	u, err := url.Parse(to)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || u.User != nil {
		return errors.New("want a URL such as http://127.0.0.1:8090/wh")
	}
	return nil
}

// Run delivers until ctx ends. What was sent and not answered by then is sent
// again by the next run, as after a crash.
func (c *Courier) Run(ctx context.Context) error {
	if err := CheckTarget(c.To); err != nil {
		return err
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	known := map[string]bool{}
	journal, err := OpenJournal(c.Dir, c.Name, func(id string) error {
		known[id] = true
		return nil
	})
	if err != nil {
		return err
	}
	defer journal.Close() // every line was synced
	var waiting []*parcel
	for {
		for _, e := range c.Due() {
			if !known[e.ID] {
				known[e.ID] = true
				waiting = append(waiting, &parcel{Notice: e})
			}
		}
		now, left := time.Now(), waiting[:0:0]
		for i, p := range waiting {
			over, err := c.carry(ctx, p, now, waiting)
			switch {
			case ctx.Err() != nil:
				return nil
			case err != nil:
				return err
			case !over:
				left = append(left, waiting[i])
				continue
			}
			if err := journal.Append(p.ID); err != nil {
				return err
			}
		}
		waiting = left
		if !wait(ctx, lookEvery) {
			return nil
		}
	}
}

// carry makes an attempt if one is due; over: there will be no other.
func (c *Courier) carry(ctx context.Context, p *parcel, now time.Time, all []*parcel) (over bool, err error) {
	if now.Before(p.due) {
		return false, nil
	}
	if p.faults == nil {
		p.faults = c.Kit.script.pick(RouteWebhook)
		if d, ok := p.faults.duration(Delay); ok {
			p.due = now.Add(d)
		}
		if p.held = p.faults.Has(Reorder); p.held {
			p.due = now.Add(heldAtMost)
		}
		if now.Before(p.due) {
			return false, nil
		}
	}
	target, spoil := c.To, ""
	for _, s := range c.Kit.script.words.Spoils {
		if p.faults.Has(s) {
			spoil = s
		}
	}
	d := p.Write(p.faults[Form], spoil)
	if d.URL != "" {
		u, err := url.Parse(d.URL)
		if err != nil {
			return false, fmt.Errorf("callback address of %s: %w", p.ID, err)
		}
		base, err := url.Parse(c.To)
		if err != nil {
			return false, err
		}
		u.Scheme, u.Host = base.Scheme, base.Host
		target = u.String()
	}
	taken := c.post(ctx, p, target, d)
	p.attempt++
	for _, other := range all {
		if other.held && other != p {
			other.held, other.due = false, now
		}
	}
	p.faults, p.held = nil, false
	switch {
	case taken:
		return true, nil
	case p.attempt > len(c.Retry):
		c.Logger.Warn("webhook given up", "event", p.ID, "attempts", p.attempt)
		return true, nil
	}
	p.due = now.Add(c.Retry[p.attempt-1])
	return false, nil
}

// post sends a webhook, several times at once if it is to be duplicated, and
// reports whether any of them was taken.
func (c *Courier) post(ctx context.Context, p *parcel, target string, d Delivery) bool {
	entry := Request{Method: http.MethodPost, Path: target, Route: p.ID, Faults: p.faults.names()}
	if p.faults.Has(Drop) {
		c.Kit.sent.add(entry)
		return false
	}
	n := 1
	if p.faults.Has(Duplicate) {
		if n, _ = strconv.Atoi(p.faults[Duplicate]); n == 0 {
			n = duplicates
		}
	}
	statuses := make([]int, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { statuses[i] = c.send(ctx, target, d) })
	}
	wg.Wait()
	taken := false
	for _, status := range statuses {
		entry.Status, entry.Committed = status, status >= 200 && status < 300
		taken = taken || entry.Committed
		c.Kit.sent.add(entry)
	}
	return taken
}

// send returns the answer's status; 0: there was none.
func (c *Courier) send(ctx context.Context, target string, d Delivery) int {
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, target, strings.NewReader(d.Body))
	if err != nil {
		return 0
	}
	req.Header = d.Header.Clone()
	resp, err := c.Over.RoundTrip(req)
	if err != nil {
		return 0
	}
	io.Copy(io.Discard, io.LimitReader(resp.Body, 1<<20)) // whatever it says
	resp.Body.Close()                                     // read
	return resp.StatusCode
}
