package ledger_test

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.etcd.io/bbolt"
	"pgregory.net/rapid"

	"github.com/ssg-safe/agent/ledger"
	"github.com/ssg-safe/agent/store"
	"github.com/ssg-safe/agent/store/storetest"
)

// model is the ledger as plain memory: what each action must do.
type model struct {
	ops     []string // of all entries ever, by sequence from 1
	content map[string]int64
	pruned  uint64
	cursors map[string]uint64
	points  []uint64
	private map[string]secret
	nsu     uint64
}

type secret struct {
	at   time.Time
	data string
}

func (m *model) head() uint64 { return uint64(len(m.ops)) }

// seqOf is where an operation is recorded; 0: nowhere (any more).
func (m *model) seqOf(op string) uint64 {
	for seq := m.head(); seq > m.pruned; seq-- {
		if m.ops[seq-1] == op {
			return seq
		}
	}
	return 0
}

// prune follows the documentation of Retention for entries a second apart.
func (m *model) prune(r ledger.Retention) (n int) {
	low := m.head()
	for _, c := range r.Consumers {
		low = min(low, m.cursors[c])
	}
	old := m.pruned
	for seq := m.pruned + 1; seq <= m.head() && stamp(int(seq)).Wall.Truncate(time.Millisecond).Before(r.Before); seq++ {
		old = seq
	}
	if held := m.head() - m.pruned; r.Entries > 0 && held > r.Entries {
		old = max(old, m.head()-r.Entries)
	}
	to := uint64(0)
	for _, p := range m.points { // in order
		if p <= m.pruned || p > min(low, old) || to != 0 && p-m.pruned > r.Limit {
			continue
		}
		to = p
	}
	if to == 0 {
		return 0
	}
	n = int(to - m.pruned)
	m.pruned = to
	m.points = slices.DeleteFunc(m.points, func(p uint64) bool { return p < to })
	return n
}

func TestLedgerAgainstModel(t *testing.T) {
	first := options(t)
	storetest.Create(t, first)
	empty, err := os.ReadFile(first.Path)
	if err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(r *rapid.T) {
		o := options(t)
		if err := os.WriteFile(o.Path, empty, 0o600); err != nil {
			t.Fatal(err)
		}
		s, stop := storetest.Start(t, o)
		defer func() { stop() }()
		m := &model{content: make(map[string]int64), cursors: make(map[string]uint64), private: make(map[string]secret)}
		commit := func(fn func(*bbolt.Tx) error) error {
			return s.Commit(t.Context(), store.Op{Name: "model", Do: fn})
		}
		subjects := rapid.SampledFrom([]string{"a", "b", "c"})
		r.Repeat(map[string]func(*rapid.T){
			"append": func(r *rapid.T) {
				op, cents := fmt.Sprintf("op-%d", rapid.IntRange(0, 40).Draw(r, "op")), int64(rapid.IntRange(1, 2).Draw(r, "cents"))
				seq, want := m.seqOf(op), error(nil)
				switch {
				case seq != 0 && m.content[op] == cents:
					want = ledger.ErrDuplicate
				case seq != 0:
					want = ledger.ErrConflict
				default:
					seq = m.head() + 1
				}
				var e ledger.Entry
				err := commit(func(tx *bbolt.Tx) (err error) {
					e, err = ledger.Append(tx, stamp(int(m.head()+1)), paid(op, cents))
					return err
				})
				if !errors.Is(err, want) || e.Seq != seq {
					r.Fatalf("append %s: entry %d, %v; want %d, %v", op, e.Seq, err, seq, want)
				}
				if want == nil {
					m.ops, m.content[op] = append(m.ops, op), cents
				}
			},
			"acknowledge": func(r *rapid.T) {
				if m.head() == m.pruned {
					r.Skip("nothing there")
				}
				c := rapid.SampledFrom([]string{"hub", "archive"}).Draw(r, "consumer")
				seq := rapid.Uint64Range(m.pruned+1, m.head()).Draw(r, "seq")
				if err := commit(func(tx *bbolt.Tx) error { return ledger.Acknowledge(tx, c, headAt(t, s, seq)) }); err != nil {
					r.Fatal(err)
				}
				m.cursors[c] = max(m.cursors[c], seq)
			},
			"checkpoint": func(r *rapid.T) {
				if m.head() == m.pruned || slices.Contains(m.points, m.head()) {
					r.Skip("no new head")
				}
				checkpoint(t, s, m.head())
				m.points = append(m.points, m.head())
			},
			"prune": func(r *rapid.T) {
				how := ledger.Retention{
					Consumers: []string{"hub", "archive"}, Key: pub(),
					Before:  stamp(int(m.head())).Wall.Add(time.Duration(rapid.IntRange(-8, 0).Draw(r, "age")) * time.Second),
					Entries: rapid.Uint64Range(0, 8).Draw(r, "entries"),
					Limit:   rapid.Uint64Range(1, 10).Draw(r, "limit"),
				}
				var got int
				err := commit(func(tx *bbolt.Tx) (err error) {
					got, err = ledger.Prune(tx, how)
					return err
				})
				if want := m.prune(how); err != nil || got != want {
					r.Fatalf("pruned %d, %v; want %d", got, err, want)
				}
			},
			"private": func(r *rapid.T) {
				subject, x := subjects.Draw(r, "subject"), secret{day0.Add(time.Duration(rapid.IntRange(0, 5).Draw(r, "at")) * time.Hour), rapid.StringN(0, 5, -1).Draw(r, "data")}
				if err := commit(func(tx *bbolt.Tx) error { return ledger.PutPrivate(tx, x.at, subject, []byte(x.data)) }); err != nil {
					r.Fatal(err)
				}
				m.private[subject] = x
			},
			"purge": func(r *rapid.T) {
				before := day0.Add(time.Duration(rapid.IntRange(0, 6).Draw(r, "before")) * time.Hour)
				if err := commit(func(tx *bbolt.Tx) error {
					_, err := ledger.PurgePrivate(tx, before, 100, nil)
					return err
				}); err != nil {
					r.Fatal(err)
				}
				for subject, x := range m.private {
					if x.at.Truncate(time.Millisecond).Before(before.Truncate(time.Millisecond)) {
						delete(m.private, subject)
					}
				}
			},
			"nsu": func(r *rapid.T) {
				var got uint64
				err := commit(func(tx *bbolt.Tx) (err error) {
					got, err = ledger.NextNSU(tx)
					return err
				})
				if m.nsu++; err != nil || got != m.nsu {
					r.Fatalf("nsu %d, %v; want %d", got, err, m.nsu)
				}
			},
			"reopen": func(*rapid.T) {
				stop()
				s, stop = storetest.Start(t, o)
			},
			"": func(r *rapid.T) { compareModel(t, r, s, m) },
		})
	})
}

func compareModel(t *testing.T, r *rapid.T, s *store.Store, m *model) {
	mustView(t, s, func(tx *bbolt.Tx) error {
		if err := audit(tx); err != nil {
			r.Fatal(err)
		}
		var ops []string
		for pos, raw := range ledger.Entries(tx, ledger.Position{}) {
			e, err := ledger.Decode(raw)
			if err != nil || pos.Seq != m.pruned+uint64(len(ops))+1 {
				r.Fatalf("entry %v after %d: %v", pos, len(ops), err)
			}
			ops = append(ops, e.Op)
		}
		if diff := cmp.Diff(append([]string(nil), m.ops[m.pruned:]...), ops); diff != "" {
			r.Fatalf("operations (-want +got):\n%s", diff)
		}
		for _, consumer := range []string{"hub", "archive"} {
			if got, err := ledger.Cursor(tx, consumer); got.Seq != m.cursors[consumer] {
				r.Fatalf("cursor of %s %d, %v; want %d", consumer, got.Seq, err, m.cursors[consumer])
			}
		}
		for _, subject := range []string{"a", "b", "c"} {
			got, err := ledger.GetPrivate(tx, subject)
			if want, ok := m.private[subject]; err != nil || string(got) != want.data || (got != nil) != ok {
				r.Fatalf("private %s: %q, %v; want %q, %v", subject, got, err, want.data, ok)
			}
		}
		return nil
	})
}
