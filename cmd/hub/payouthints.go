package main

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"time"

	"github.com/ssg-safe/agent/hub"
	"github.com/ssg-safe/agent/hub/payouts"
	"github.com/ssg-safe/agent/payout"
	"github.com/ssg-safe/agent/providers/bspaybr"
)

// payoutHints makes the book ask about payouts that a webhook mentions.
//
// Bspaybr gives no id with a payout. One of unknown outcome can be asked about only
// when a webhook at its own callback address has named it: so these are looked for
// again and again among what was received, whatever ended in between.
type payoutHints struct {
	book *payouts.Book
	hub  *hub.Hub
	// callbacks are, by route, the callback address of a payout.
	callbacks map[string]func(payout.ID) string
	wake      chan struct{} // something came to a callback address
	log       *slog.Logger
}

func newPayoutHints(d *desk, routes []payouts.Route, log *slog.Logger) *payoutHints {
	p := &payoutHints{book: d.book, hub: d.hub, callbacks: make(map[string]func(payout.ID) string), wake: make(chan struct{}, 1), log: log}
	for _, r := range routes {
		if s, ok := r.Sender.(interface{ PayoutCallback(payout.ID) string }); ok {
			p.callbacks[r.Name] = s.PayoutCallback
		}
	}
	return p
}

// received follows what providers have just reported.
func (p *payoutHints) received(ctx context.Context, events []hub.Webhook) {
	look := false
	for _, e := range events {
		switch {
		case e.Guessed: // anybody's words
		case len(e.Names) > 0 && strings.HasPrefix(e.Names[len(e.Names)-1], "callback:"):
			look = true
		case strings.HasPrefix(e.Kind, "cashout.") && len(e.Names) > 1:
			p.follow(ctx, payout.ID(e.Names[1]), e.Names[1])
		}
	}
	if look {
		// Looking goes through all payouts: not for each of many webhooks.
		select {
		case p.wake <- struct{}{}:
		default:
		}
	}
}

// look finds payouts that webhooks have named by their callback addresses.
func (p *payoutHints) look(ctx context.Context) {
	if len(p.callbacks) == 0 {
		return
	}
	var list []payouts.Record
	err := p.hub.View(ctx, func(tx hub.Tx) (err error) {
		list, err = payouts.List(tx, payout.ToKey, true)
		return err
	})
	if err != nil {
		p.log.Warn("payouts that webhooks name", "err", err)
	}
	for _, r := range list {
		callback := p.callbacks[r.Route]
		if callback == nil || r.Sent.IsZero() || !r.Ended.IsZero() && time.Since(r.Ended) > time.Hour {
			continue
		}
		url := callback(r.ID)
		p.follow(ctx, r.ID, bspaybr.CallbackName(url[strings.LastIndex(url, "/")+1:]))
	}
}

// follow takes the events about a payout, and has the provider asked while its
// outcome is not known.
func (p *payoutHints) follow(ctx context.Context, id payout.ID, name string) {
	var r payouts.Record
	var about []hub.WebhookRecord
	fresh := false
	err := p.hub.View(ctx, func(tx hub.Tx) (err error) {
		if r, err = payouts.Get(tx, id); err != nil {
			return err
		}
		about, err = hub.WebhooksAbout(tx, name)
		return err
	})
	for _, e := range about {
		fresh = fresh || e.State != hub.WebhookMatched
	}
	if err == nil && fresh {
		err = p.hub.Update(ctx, func(tx hub.Tx) error {
			about, err := hub.WebhooksAbout(tx, name)
			for _, e := range about {
				if e.State != hub.WebhookMatched {
					err = errors.Join(err, hub.AboutPayout(tx, e, string(id)))
				}
			}
			return err
		})
	}
	if len(about) > 0 && err == nil && (fresh || r.State == payout.Unknown) {
		err = p.book.Hint(ctx, id, about[len(about)-1].Names[0])
	}
	if err != nil && !errors.Is(err, hub.ErrNotFound) {
		p.log.Warn("a webhook about a payout", "payout", id, "err", err)
	}
}

// lookPause is the least time between two looks.
const lookPause = time.Second

// run looks when something came, and every minute, until ctx ends.
func (p *payoutHints) run(ctx context.Context) error {
	tick := time.NewTicker(time.Minute)
	defer tick.Stop()
	for {
		p.look(ctx)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(lookPause):
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		case <-p.wake:
		}
	}
}
