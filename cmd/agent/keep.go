package main

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"go.etcd.io/bbolt"

	"github.com/ssg-safe/agent/charge"
	"github.com/ssg-safe/agent/closing"
	"github.com/ssg-safe/agent/device"
	"github.com/ssg-safe/agent/ledger"
	"github.com/ssg-safe/agent/ledger/archive"
	"github.com/ssg-safe/agent/proposal"
	"github.com/ssg-safe/agent/store"
	"github.com/ssg-safe/agent/terminal"
)

const (
	// keepPrivate is how long payable codes and payers' data stay readable.
	keepPrivate = 90 * 24 * time.Hour
	// keepEntries is how long acknowledged entries stay in the store while
	// there is room.
	keepEntries = 30 * 24 * time.Hour
)

// keeper looks after what grows: it archives the ledger, signs a checkpoint of
// what was archived, prunes what every consumer has, and purges personal data.
// It commits only when there is something to do.
type keeper struct {
	store   *store.Store
	archive *archive.Archive // nil: no archive
	// consumers must have acknowledged an entry before it is pruned; without any
	// the ledger is kept whole.
	consumers []string
	// book tells which entries are in no closing yet: those stay, too.
	book   closing.Book
	id     device.Identity
	clock  *device.Clock
	log    *slog.Logger
	signed ledger.Position
}

func (k *keeper) run(ctx context.Context) error {
	if k.archive != nil {
		defer k.archive.Close()
	}
	for {
		if err := k.round(ctx); err != nil && ctx.Err() == nil {
			k.log.Error("housekeeping", "err", err)
		}
		wait := time.Hour
		if k.store.Stats().Full { // nothing new is accepted until something can be pruned
			wait = time.Minute
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return nil
		}
	}
}

// round does all there is to do. An archive whose disk is gone keeps nothing
// from the rest; what it lacks is not pruned.
func (k *keeper) round(ctx context.Context) error {
	return errors.Join(k.copyOut(ctx), k.prune(ctx), k.purge(ctx))
}

// copyOut archives what is new.
func (k *keeper) copyOut(ctx context.Context) error {
	if k.archive == nil {
		return nil
	}
	head, err := k.archive.Sync(ctx)
	if err != nil {
		return err
	}
	if err := k.sign(ctx, head); err != nil {
		return fmt.Errorf("checkpoint: %w", err)
	}
	return nil
}

// sign keeps a checkpoint of what the archive has, if that is more than before.
func (k *keeper) sign(ctx context.Context, head ledger.Head) error {
	if head.Seq == 0 || !k.signed.Before(head.Position) {
		return nil
	}
	s, err := k.checkpoint(head)
	if err != nil {
		return err
	}
	err = k.store.Commit(ctx, store.Op{Name: "checkpoint", Frees: true, Do: func(tx *bbolt.Tx) error {
		return ledger.PutCheckpoint(tx, s, k.public())
	}})
	if err == nil {
		k.signed = head.Position
	}
	return err
}

func (k *keeper) checkpoint(head ledger.Head) (ledger.Signed, error) {
	return ledger.Sign(k.id.DeviceKey, ledger.Checkpoint{
		Device: k.id.Device, Head: head, Boot: k.clock.Boot(), Wall: k.clock.Wall(),
	})
}

// prune deletes entries that every consumer has and that are old, or that a
// filling store has no room for.
func (k *keeper) prune(ctx context.Context) error {
	if len(k.consumers) == 0 {
		return nil
	}
	r := ledger.Retention{Consumers: k.consumers, Key: k.public(), Before: k.before(keepEntries)}
	stats := k.store.Stats()
	r.Entries = uint64(ledger.Capacity(stats.Size)) * 3 / 4
	// Read outside of the commits: what is closed meanwhile may stay an hour longer.
	err := k.store.View(func(tx *bbolt.Tx) error {
		head, err := ledger.GetHead(tx)
		if err != nil {
			return err
		}
		anchor, err := ledger.GetAnchor(tx)
		if err != nil {
			return err
		}
		if stats.Full { // a small store is full of fewer, beside much else
			r.Entries, r.Sign = min(1000, (head.Seq-anchor.Seq)/2), k.checkpoint
		}
		r.Keep, err = k.book.Kept(tx)
		return err
	})
	if err != nil {
		return err
	}
	return k.repeat(ctx, "pruned", func(tx *bbolt.Tx) (int, error) { return ledger.Prune(tx, r) })
}

// before is the time that lies certainly an age ago; zero: there is none.
func (k *keeper) before(age time.Duration) time.Time {
	passed := k.clock.Passed()
	if passed.IsZero() {
		return passed
	}
	return passed.Add(-age)
}

// purge erases personal data whose time is over, but not of charges that are
// still worked on. What a clock that ran ahead has dated counts from now, once
// the clock is right.
func (k *keeper) purge(ctx context.Context) error {
	if k.clock.Quality() == device.QualitySynced {
		now := k.clock.Wall()
		if err := k.repeat(ctx, "dated anew", func(tx *bbolt.Tx) (int, error) {
			return ledger.RedatePrivate(tx, now.Add(24*time.Hour), now, 256)
		}); err != nil {
			return err
		}
	}
	before := k.before(keepPrivate)
	return k.repeat(ctx, "purged", func(tx *bbolt.Tx) (int, error) {
		return ledger.PurgePrivate(tx, before, 256, func(subject string) bool {
			return terminal.Holds(tx, charge.ID(subject)) || proposal.Holds(tx, subject)
		})
	})
}

var errNothing = errors.New("nothing to do")

// repeat deletes in small commits until nothing is left to delete, which costs
// no commit.
func (k *keeper) repeat(ctx context.Context, what string, del func(*bbolt.Tx) (int, error)) error {
	for {
		n := 0
		err := k.store.Commit(ctx, store.Op{Name: what, Frees: true, Do: func(tx *bbolt.Tx) (err error) {
			if n, err = del(tx); err == nil && n == 0 {
				return errNothing
			}
			return err
		}})
		if errors.Is(err, errNothing) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		k.log.Info("housekeeping: "+what, "count", n)
	}
}

func (k *keeper) public() ed25519.PublicKey { return k.id.DeviceKey.Public().(ed25519.PublicKey) }
