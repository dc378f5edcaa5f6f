package main

import (
	"context"
	"log/slog"
	"maps"
	"time"

	"go.etcd.io/bbolt"

	"github.com/ssg-safe/agent/closing"
	"github.com/ssg-safe/agent/device"
	"github.com/ssg-safe/agent/ledger"
	"github.com/ssg-safe/agent/store"
)

// closer closes the merchants' business days when they are over. It looks once
// a minute, and reads the ledger only when a day has ended.
type closer struct {
	store *store.Store
	book  closing.Book
	clock *device.Clock
	log   *slog.Logger
}

func (c *closer) run(ctx context.Context) error {
	tick := time.NewTicker(time.Minute)
	defer tick.Stop()
	var seen map[string]string // the day that was looked at, by merchant
	for {
		full := c.store.Stats().Full
		if days := c.days(); full || !maps.Equal(days, seen) {
			if err := c.close(ctx, full); err == nil {
				seen = days
			} else if ctx.Err() == nil {
				c.log.Error("closings", "err", err)
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// days are the running business days; nothing while the clock is not right.
func (c *closer) days() map[string]string {
	days := map[string]string{}
	if c.clock.Quality() != device.QualitySynced {
		return days
	}
	for _, m := range c.book.Merchants {
		days[m.ID] = closing.Date(c.clock.Wall(), m)
	}
	return days
}

// close closes the days that are over. A full store cannot wait for a right
// clock: what is in no closing is not pruned, so all of it is closed.
func (c *closer) close(ctx context.Context, full bool) error {
	at := stampOf(c.clock)
	do := closing.Due
	if full {
		do = closing.All
	}
	var closed []closing.Report
	due := false
	err := c.store.View(func(tx *bbolt.Tx) error {
		kept, err := c.book.Kept(tx)
		if err != nil {
			return err
		}
		head, err := ledger.GetHead(tx)
		due = kept.Before(head.Position)
		return err
	})
	if err != nil || !due {
		return err
	}
	err = c.store.Commit(ctx, store.Op{Name: "closings", Frees: true, Do: func(tx *bbolt.Tx) (err error) {
		if closed, err = do(tx, at, c.book, "terminal"); err == nil && len(closed) == 0 {
			return errNothing
		}
		return err
	}})
	if err == errNothing {
		return nil
	}
	for _, r := range closed {
		c.log.Info("business day closed", "merchant", r.Merchant, "number", r.Number, "date", r.Date, "received", r.Received())
	}
	return err
}
