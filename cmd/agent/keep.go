package main

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"go.etcd.io/bbolt"

	"github.com/ssg-safe/agent/device"
	"github.com/ssg-safe/agent/ledger"
	"github.com/ssg-safe/agent/ledger/archive"
	"github.com/ssg-safe/agent/store"
)

const (
	// keepPrivate is how long payable codes and payers' data stay readable.
	keepPrivate = 90 * 24 * time.Hour
	// keepEntries is how long acknowledged entries stay in the store while
	// there is room.
	keepEntries = 30 * 24 * time.Hour
)

// keeper looks after what grows: it archives the ledger, signs a checkpoint of
// what was archived, prunes below it, and purges personal data. It commits
// only when there is something to do.
type keeper struct {
	store   *store.Store
	archive *archive.Archive // nil: no archive, and so no pruning
	id      device.Identity
	clock   *device.Clock
	log     *slog.Logger
	signed  ledger.Position
}

func (k *keeper) run(ctx context.Context) error {
	if k.archive != nil {
		defer k.archive.Close()
	}
	tick := time.NewTicker(time.Hour)
	defer tick.Stop()
	for {
		if err := k.round(ctx); err != nil && ctx.Err() == nil {
			k.log.Error("housekeeping", "err", err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

func (k *keeper) round(ctx context.Context) error {
	if k.archive != nil {
		head, err := k.archive.Sync(ctx)
		if err != nil {
			return fmt.Errorf("archive: %w", err)
		}
		if err := k.sign(ctx, head); err != nil {
			return fmt.Errorf("checkpoint: %w", err)
		}
		if err := k.prune(ctx); err != nil {
			return fmt.Errorf("prune: %w", err)
		}
	}
	return k.purge(ctx)
}

// sign keeps a checkpoint of what the archive has, if that is more than before.
func (k *keeper) sign(ctx context.Context, head ledger.Head) error {
	if head.Seq == 0 || !k.signed.Before(head.Position) {
		return nil
	}
	s, err := ledger.Sign(k.id.DeviceKey, ledger.Checkpoint{
		Device: k.id.Device, Head: head, Boot: k.clock.Boot(), Wall: k.clock.Wall(),
	})
	if err != nil {
		return err
	}
	err = k.store.Commit(ctx, store.Op{Name: "checkpoint", Do: func(tx *bbolt.Tx) error {
		return ledger.PutCheckpoint(tx, s, k.public())
	}})
	if err == nil {
		k.signed = head.Position
	}
	return err
}

// prune deletes archived entries that are old, or that a filling store has no
// room for.
func (k *keeper) prune(ctx context.Context) error {
	r := ledger.Retention{
		Consumers: []string{archive.Consumer}, Key: k.public(), Age: keepEntries,
		Now: ledger.Stamp{Wall: k.clock.Wall(), Boot: k.clock.Boot(), Up: k.clock.Up(), Quality: ledger.Quality(k.clock.Quality())},
	}
	if k.store.Stats().Full {
		r.Entries = 1000
	}
	return k.repeat(ctx, "pruned", func(tx *bbolt.Tx) (int, error) { return ledger.Prune(tx, r) })
}

// purge erases personal data whose time is over. It trusts no clock that
// nobody has confirmed.
func (k *keeper) purge(ctx context.Context) error {
	if q := k.clock.Quality(); q != device.QualitySynced {
		return nil
	}
	before := k.clock.Wall().Add(-keepPrivate)
	return k.repeat(ctx, "purged", func(tx *bbolt.Tx) (int, error) { return ledger.PurgePrivate(tx, before, 256) })
}

var errNothing = errors.New("nothing to do")

// repeat deletes in small commits until nothing is left to delete, which costs
// no commit.
func (k *keeper) repeat(ctx context.Context, what string, del func(*bbolt.Tx) (int, error)) error {
	for {
		n := 0
		err := k.store.Commit(ctx, store.Op{Name: what, Do: func(tx *bbolt.Tx) (err error) {
			if n, err = del(tx); err == nil && n == 0 {
				return errNothing
			}
			return err
		}})
		if errors.Is(err, errNothing) {
			return nil
		}
		if err != nil {
			return err
		}
		k.log.Info(what, "count", n)
	}
}

func (k *keeper) public() ed25519.PublicKey { return k.id.DeviceKey.Public().(ed25519.PublicKey) }
