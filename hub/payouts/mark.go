package payouts

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/ssg-safe/agent/fleet/wire"
	"github.com/ssg-safe/agent/hub"
	"github.com/ssg-safe/agent/payout"
)

// restoredBy signs what the hub does by itself after a restore; no operator has that
// name.
const restoredBy = "hub"

// mark is a file beside the store with the number of the newest fact before which an
// order was sent, or a person was told to. A store that ends below it is an older copy: it
// has forgotten orders that were sent. So is one of another life: each restore begins a new
// one, because after it the numbers say nothing of what was before. Without a path there
// is no mark.
// It is safe for concurrent use.
type mark struct {
	path string

	mu     sync.Mutex // guards all below, and the file
	newest uint64     // what the file holds
	life   string     // the store's; empty in its first
}

// read tells what the file holds, and whether a store that ends with newest, in a life,
// is older. Where there is no file nobody knows, and it is not.
func (m *mark) read(newest uint64, life string) (seq uint64, older bool, err error) {
	if m.path == "" {
		return 0, false, nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.life = life
	text, err := os.ReadFile(m.path)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, false, nil
	}
	if err != nil {
		return 0, false, fmt.Errorf("mark of payouts: %w", err)
	}
	number, lived, _ := strings.Cut(strings.TrimSpace(string(text)), " ")
	seq, err = strconv.ParseUint(number, 10, 64)
	if err != nil {
		return 0, false, fmt.Errorf("mark of payouts: %s holds no number: compare the payouts with the providers' statements, then remove it", m.path)
	}
	m.newest = seq
	return seq, newest < seq || lived != life, nil
}

// raise writes a number, durably, unless a higher one is there: routes send at the same
// time, and whoever comes late with an older number must not forget the other's order.
func (m *mark) raise(seq uint64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if seq <= m.newest {
		return nil
	}
	return m.replace(seq)
}

// begin begins a life of the store, durably, whatever is there.
func (m *mark) begin(seq uint64, life string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.life = life
	return m.replace(seq)
}

func (m *mark) replace(seq uint64) error {
	if m.path == "" {
		return nil
	}
	dir := filepath.Dir(m.path)
	tmp, err := os.CreateTemp(dir, ".mark-*")
	if err != nil {
		return fmt.Errorf("mark of payouts: %w", err)
	}
	defer os.Remove(tmp.Name()) //nolint:errcheck // it has its name by then
	_, err = fmt.Fprintln(tmp, strings.TrimSpace(fmt.Sprint(seq, " ", m.life)))
	if err = errors.Join(err, tmp.Sync(), tmp.Close()); err == nil {
		err = os.Rename(tmp.Name(), m.path)
	}
	if err != nil {
		return fmt.Errorf("mark of payouts: %w", err)
	}
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("mark of payouts: %w", err)
	}
	if err = errors.Join(d.Sync(), d.Close()); err == nil {
		m.newest = seq
	}
	return err
}

// restored ends what may have been sent after the copy of the store was made: all that
// was proposed or approved then. The people look at the statements and propose anew.
func (b *Book) restored(ctx context.Context, seen, newest uint64) error {
	var last uint64
	life := rand.Text()
	err := b.store.Update(ctx, func(tx hub.Tx) error {
		list, err := List(tx, "", false)
		if err != nil {
			return err
		}
		for _, r := range list {
			if r.State != payout.Proposed && r.State != payout.Approved {
				continue
			}
			f := payout.RejectedFact{Payout: r.ID, By: restoredBy, Reason: restoredReason}
			if _, err := b.append(tx, r, f, Entry{}); err != nil {
				return err
			}
		}
		if err := b.forgetProposals(tx); err != nil {
			return err
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
		return errors.Join(err, put(tx, keyLife, life))
	})
	if err != nil {
		return err
	}
	b.log.Error("the store is older than the newest order: what was proposed is ended", "sent_at", seen, "newest", newest)
	return b.mark.begin(last, life)
}
