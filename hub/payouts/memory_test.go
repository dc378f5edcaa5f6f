package payouts

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/ssg-safe/agent/hub"
	"github.com/ssg-safe/agent/ledger"
)

// errKilled is what everything returns to a hub that is dead.
var errKilled = errors.New("killed")

// disk is what is durable. It outlives the processes that use it.
type disk struct {
	mu      sync.Mutex
	rows    map[string][]byte
	entries []hub.Entry // the ledger of the one terminal
}

// process is a store as one process sees it: when it is killed, what it commits
// from then on is nowhere.
type process struct {
	hub.Tx // what is not implemented is not used
	disk   *disk
	// before and after are asked at each commit whether the process dies before it
	// is durable, or right after it; nil: never.
	before, after func(rows map[string][]byte) bool
	dead          bool
	// lying does not write, and says that it has: a disk that loses what it flushed,
	// or a hub that does not flush.
	lying func(rows map[string][]byte) bool
	kept  map[string][]byte // what lying pretends
}

func (p *process) Update(ctx context.Context, fn func(hub.Tx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	p.disk.mu.Lock()
	defer p.disk.mu.Unlock()
	if p.dead {
		return errKilled
	}
	tx := &memoryTx{entries: p.disk.entries, rows: maps.Clone(p.seen()), changed: map[string][]byte{}}
	if err := fn(tx); err != nil || len(tx.changed) == 0 {
		return err
	}
	if p.before != nil && p.before(tx.changed) {
		p.dead = true
		return errKilled
	}
	if p.lying != nil && p.lying(tx.changed) {
		p.kept = tx.rows
	} else {
		p.disk.rows, p.kept = tx.rows, nil
	}
	if p.after != nil && p.after(tx.changed) {
		p.dead = true
		return errKilled
	}
	return nil
}

func (p *process) seen() map[string][]byte {
	if p.kept != nil {
		return p.kept
	}
	return p.disk.rows
}

func (p *process) View(ctx context.Context, fn func(hub.Tx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	p.disk.mu.Lock()
	defer p.disk.mu.Unlock()
	if p.dead {
		return errKilled
	}
	return fn(&memoryTx{entries: p.disk.entries, rows: p.seen()})
}

type memoryTx struct {
	hub.Tx
	entries       []hub.Entry
	rows, changed map[string][]byte
}

func (t *memoryTx) Entries(string, ledger.Position) iter.Seq2[hub.Entry, error] {
	return func(yield func(hub.Entry, error) bool) {
		for _, e := range t.entries {
			if !yield(e, nil) {
				return
			}
		}
	}
}

func (t *memoryTx) Entry(_ string, at ledger.Position) (hub.Entry, error) {
	for _, e := range t.entries {
		if e.Position == at {
			return e, nil
		}
	}
	return hub.Entry{}, fmt.Errorf("%v: %w", at, hub.ErrNotFound)
}

func (t *memoryTx) Get(kind hub.Kind, key string) ([]byte, error) {
	if doc, ok := t.rows[string(kind)+" "+key]; ok {
		return doc, nil
	}
	return nil, fmt.Errorf("%s: %w", key, hub.ErrNotFound)
}

func (t *memoryTx) Put(kind hub.Kind, key string, doc []byte) error {
	t.rows[string(kind)+" "+key] = slices.Clone(doc)
	t.changed[string(kind)+" "+key] = t.rows[string(kind)+" "+key]
	return nil
}

func (t *memoryTx) Delete(kind hub.Kind, key string) error {
	delete(t.rows, string(kind)+" "+key)
	t.changed[string(kind)+" "+key] = nil
	return nil
}

func (t *memoryTx) Scan(kind hub.Kind, prefix string) iter.Seq2[hub.Record, error] {
	return func(yield func(hub.Record, error) bool) {
		for _, key := range slices.Sorted(maps.Keys(t.rows)) {
			if strings.HasPrefix(key, string(kind)+" "+prefix) {
				if !yield(hub.Record{Key: strings.TrimPrefix(key, string(kind)+" "), Doc: t.rows[key]}, nil) {
					return
				}
			}
		}
	}
}
