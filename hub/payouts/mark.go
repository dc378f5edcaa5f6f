package payouts

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/ssg-safe/agent/fleet/wire"
	"github.com/ssg-safe/agent/hub"
	"github.com/ssg-safe/agent/payout"
)

// restoredBy signs what the hub does by itself after a restore; no operator has that
// name.
const restoredBy = "hub"

// mark is a file beside the store with the number of the newest fact before which an
// order was sent. A store that ends below it is an older copy: it has forgotten orders
// that were sent. Empty: there is none.
type mark string

// read returns 0 where there is no file.
func (m mark) read() (uint64, error) {
	if m == "" {
		return 0, nil
	}
	text, err := os.ReadFile(string(m))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("mark of payouts: %w", err)
	}
	seq, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("mark of payouts: %s holds no number: compare the payouts with the providers' statements, then remove it", m)
	}
	return seq, nil
}

// write replaces the file, durably.
func (m mark) write(seq uint64) error {
	if m == "" {
		return nil
	}
	dir := filepath.Dir(string(m))
	tmp, err := os.CreateTemp(dir, ".mark-*")
	if err != nil {
		return fmt.Errorf("mark of payouts: %w", err)
	}
	defer os.Remove(tmp.Name()) //nolint:errcheck // it has its name by then
	_, err = fmt.Fprintln(tmp, seq)
	if err = errors.Join(err, tmp.Sync(), tmp.Close()); err == nil {
		err = os.Rename(tmp.Name(), string(m))
	}
	if err != nil {
		return fmt.Errorf("mark of payouts: %w", err)
	}
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("mark of payouts: %w", err)
	}
	return errors.Join(d.Sync(), d.Close())
}

// restored ends what may have been sent after the copy of the store was made: all that
// was proposed or approved then. The people look at the statements and propose anew.
func (b *Book) restored(ctx context.Context, seen, newest uint64) error {
	if newest >= seen {
		return nil
	}
	var last uint64
	err := b.store.Update(ctx, func(tx hub.Tx) error {
		list, err := List(tx, "", false)
		if err != nil {
			return err
		}
		for _, r := range list {
			if r.State != payout.Proposed && r.State != payout.Approved {
				continue
			}
			f := payout.RejectedFact{Payout: r.ID, By: restoredBy, Reason: "the hub was restored from a backup, and this may have been sent since"}
			if _, err := b.append(tx, r, f, Entry{}); err != nil {
				return err
			}
		}
		_, err = hub.Raise(tx, hub.Alarm{
			Device: "hub", Kind: hub.AlarmPayout, Subject: "restored", Level: wire.LevelAlarm, Last: time.Now().UTC(),
			Text:   "the hub was restored from a backup and has forgotten payouts and refunds made since: compare with the providers' statements before you propose anything again",
			Detail: map[string]string{"sent_at": strconv.FormatUint(seen, 10), "newest": strconv.FormatUint(newest, 10)},
		})
		if err != nil {
			return err
		}
		h, err := get[head](tx, keyHead)
		if errors.Is(err, hub.ErrNotFound) {
			err = nil
		}
		last = h.Seq
		return err
	})
	if err != nil {
		return err
	}
	b.log.Error("the store is older than the newest order: what was proposed is ended", "sent_at", seen, "newest", newest)
	return b.mark.write(last)
}
