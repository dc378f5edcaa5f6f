package fleet

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"time"

	"go.etcd.io/bbolt"

	"github.com/ssg-safe/agent/ledger"
)

// Run keeps the link up until ctx ends, and then returns nil; everything that it
// started has ended by then. It returns an error only if the store cannot be
// read at the start.
func (l *Link) Run(ctx context.Context) error {
	if err := l.load(); err != nil {
		return fmt.Errorf("fleet: %w", err)
	}
	var workers sync.WaitGroup
	defer workers.Wait()
	workers.Go(func() { serve(ctx, l.pays, l.pay) })
	workers.Go(func() { serve(ctx, l.charges, l.makeCharge) })
	workers.Go(func() { serve(ctx, l.payouts, l.payout) })
	at := rand.IntN(len(l.brokers))
	for failed, short := 0, 0; ; {
		b := l.brokers[at%len(l.brokers)]
		served, err := l.connect(ctx, b)
		l.ended(b, err)
		if ctx.Err() != nil {
			return nil
		}
		switch {
		case served == 0:
			short = 0
		case served < shortLife && errors.Is(err, errByPeer):
			short++
		default:
			short = 0
		}
		if short >= shortStreak {
			l.alarm("link.takeover", map[string]string{"connections": strconv.Itoa(short), "broker": b.text})
		}
		wait := time.Duration(0)
		if served >= steady {
			failed = 0
		} else {
			at++ // another broker may be better
		}
		wait = pause(failed)
		failed++
		if !sleep(ctx, nil, wait) {
			return nil
		}
	}
}

// load reads what earlier runs kept.
func (l *Link) load() error {
	var s seen
	err := l.o.Store.View(func(tx *bbolt.Tx) error {
		if err := Verify(tx); err != nil {
			return err
		}
		var err error
		if s, err = getSeen(tx); err != nil {
			return err
		}
		l.cursor.durable, err = ledger.Cursor(tx, Consumer)
		return err
	})
	if err != nil {
		return err
	}
	l.mu.Lock()
	l.highest = s
	l.mu.Unlock()
	if s.iat > 0 {
		l.o.Clock.SetFloor(time.Unix(s.iat, 0).UTC())
	}
	return nil
}

// pause is a fully jittered pause before the next connection, after so many
// that failed.
func pause(failed int) time.Duration {
	limit := maxPause
	if failed < 9 {
		limit = min(limit, minPause<<failed)
	}
	return rand.N(limit + 1)
}

// ended tells of a connection that failed or is over. An outage is logged when
// it begins and then once an hour.
func (l *Link) ended(b broker, err error) {
	if errors.Is(err, errStopped) || err == nil {
		return
	}
	l.update(func(st *linkState) { st.lastError = err.Error() })
	if held, ok := l.outages.allow(b.text); ok {
		l.log.Warn("no connection to the broker", "broker", b.text, "suppressed", held, "err", err)
	}
}
