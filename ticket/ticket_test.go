package ticket_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/ssg-safe/agent/ledger"
	"github.com/ssg-safe/agent/store"
	"github.com/ssg-safe/agent/store/storetest"
	"github.com/ssg-safe/agent/ticket"
)

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func stamp(after time.Duration) ledger.Stamp {
	return ledger.Stamp{Wall: start.Add(after), Quality: ledger.Synced}
}

func open(t *testing.T) *store.Store {
	return storetest.Run(t, storetest.Options(t, func(tx *bbolt.Tx) error {
		_, err := ledger.Verify(tx, ledger.Head{})
		return errors.Join(err, ticket.Audit(tx))
	}, slices.Concat(ledger.Migrations, ticket.Migrations)...))
}

func update(t *testing.T, s *store.Store, f func(*bbolt.Tx) error) {
	t.Helper()
	if err := s.Commit(t.Context(), store.Op{Name: "test", Do: f}); err != nil {
		t.Fatal(err)
	}
}

// TestOnce: the same difference is one ticket, open or closed, and one entry; also
// when its entry is not found any more.
func TestOnce(t *testing.T) {
	s := open(t)
	var id string
	opened := func(after time.Duration) (fresh bool) {
		t.Helper()
		update(t, s, func(tx *bbolt.Tx) error {
			made, isFresh, err := ticket.Open(tx, stamp(after), "terminal", "late/C1/p1", ticket.Ticket{Kind: "late", Charge: "C1", Provider: "ssg", Owner: "o", Deadline: start.Add(after + time.Hour)})
			id, fresh = made.ID, isFresh
			return err
		})
		return fresh
	}
	if !opened(0) || opened(time.Minute) {
		t.Error("the same difference is two tickets, or none")
	}
	list := func(all bool) (list []ticket.Ticket) {
		t.Helper()
		if err := s.View(func(tx *bbolt.Tx) (err error) {
			list, err = ticket.List(tx, all)
			return err
		}); err != nil {
			t.Fatal(err)
		}
		return list
	}
	if l := list(false); len(l) != 1 || !l[0].Opened.Equal(start) || !l[0].Deadline.Equal(start.Add(time.Hour)) || l[0].State() != "open" || !l[0].Overdue(start.Add(2*time.Hour)) {
		t.Errorf("tickets %+v", l)
	}
	closeIt := func(id, by string, how ticket.How) error {
		return s.Commit(t.Context(), store.Op{Name: "test", Do: func(tx *bbolt.Tx) error {
			_, err := ticket.Close(tx, stamp(time.Hour), id, by, how)
			return err
		}})
	}
	for name, tt := range map[string]struct {
		id, by string
		how    ticket.How
		want   error
	}{
		"another's":  {"T0000000000", "ana", ticket.Refunded, ticket.ErrNotFound},
		"nobody":     {id, "", ticket.Refunded, ticket.ErrWord},
		"a document": {id, "52998224725", ticket.Refunded, ticket.ErrWord},
		"a CPF":      {id, "ana 529.982.247-25", ticket.Refunded, ticket.ErrWord},
		"two lines":  {id, "ana\nbia", ticket.Refunded, ticket.ErrWord},
		"long":       {id, strings.Repeat("a", 41), ticket.Refunded, ticket.ErrWord},
		"no word":    {id, "ana", "", ticket.ErrWord},
		"free text":  {id, "ana", "gave it back to João", ticket.ErrWord},
	} {
		if err := closeIt(tt.id, tt.by, tt.how); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", name, err, tt.want)
		}
	}
	if err := closeIt(id, "Ana Júlia", ticket.Refunded); err != nil {
		t.Fatal(err)
	}
	if err := closeIt(id, "bia", ticket.Refunded); !errors.Is(err, ticket.ErrClosed) || !strings.Contains(err.Error(), "Ana Júlia") {
		t.Errorf("closed again: %v", err)
	}
	if opened(48 * time.Hour) {
		t.Error("a closed difference opens again")
	}
	if l := list(true); len(list(false)) != 0 || len(l) != 1 || l[0].By != "Ana Júlia" || l[0].How != ticket.Refunded || l[0].Overdue(start.Add(99*time.Hour)) {
		t.Errorf("tickets %+v", l)
	}
	entries := 0
	if err := s.View(func(tx *bbolt.Tx) error {
		for range ledger.Entries(tx, ledger.Position{}) {
			entries++
		}
		return nil
	}); err != nil || entries != 2 {
		t.Errorf("%d entries (%v), want opened and closed", entries, err)
	}
}

// TestRestored: what a restored store finds again is another operation, and the
// same ticket.
func TestRestored(t *testing.T) {
	s := open(t)
	made := func() (m ticket.Ticket) {
		update(t, s, func(tx *bbolt.Tx) (err error) {
			m, _, err = ticket.Open(tx, stamp(0), "terminal", "late/C1/p1", ticket.Ticket{Kind: "late", Owner: "o", Deadline: start})
			return err
		})
		return m
	}
	first := made()
	update(t, s, func(tx *bbolt.Tx) error {
		_, err := ledger.BeginEpoch(tx, stamp(0), "operator", "restored")
		return errors.Join(err, tx.Bucket([]byte("tickets")).Delete([]byte("late/C1/p1")))
	})
	if again := made(); again.ID != first.ID {
		t.Errorf("ticket %s, after the restore %s", first.ID, again.ID)
	}
}

// TestOrder: the most urgent first, then the newest of the closed ones.
func TestOrder(t *testing.T) {
	s := open(t)
	var ids []string
	update(t, s, func(tx *bbolt.Tx) error {
		for i, hours := range []time.Duration{3, 1, 2, 9, 8} {
			m, _, err := ticket.Open(tx, stamp(0), "terminal", fmt.Sprintf("late/C%d/p1", i), ticket.Ticket{Kind: "late", Owner: "o", Deadline: start.Add(hours * time.Hour)})
			if err != nil {
				return err
			}
			ids = append(ids, m.ID)
		}
		_, err1 := ticket.Close(tx, stamp(time.Hour), ids[3], "ana", ticket.Accepted)
		_, err2 := ticket.Close(tx, stamp(2*time.Hour), ids[4], "ana", ticket.Accepted)
		return errors.Join(err1, err2)
	})
	err := s.View(func(tx *bbolt.Tx) error {
		list, err := ticket.List(tx, true)
		var got []string
		for _, m := range list {
			got = append(got, m.ID)
		}
		if want := []string{ids[1], ids[2], ids[0], ids[4], ids[3]}; !slices.Equal(got, want) {
			t.Errorf("order %v, want %v", got, want)
		}
		c, err2 := ticket.Counted(tx, start.Add(90*time.Minute))
		if c != (ticket.Count{Open: 3, Overdue: 1}) {
			t.Errorf("counted %+v", c)
		}
		return errors.Join(err, err2)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestAuditFindsDamage: a row that is damaged, or lies under another name.
func TestAuditFindsDamage(t *testing.T) {
	s := open(t)
	update(t, s, func(tx *bbolt.Tx) error {
		_, _, err := ticket.Open(tx, stamp(0), "terminal", "late/C1/p1", ticket.Ticket{Kind: "late", Owner: "o", Deadline: start})
		return err
	})
	for name, spoil := range map[string]func(key, row []byte) ([]byte, []byte){
		"a bit":        func(key, row []byte) ([]byte, []byte) { row[len(row)/2] ^= 4; return key, row },
		"another name": func(_, row []byte) ([]byte, []byte) { return []byte("late/C2/p1"), row },
	} {
		back := errors.New("taken back")
		err := s.Commit(t.Context(), store.Op{Name: "spoil", Do: func(tx *bbolt.Tx) error {
			b := tx.Bucket([]byte("tickets"))
			key, row := b.Cursor().First()
			key, row = spoil(slices.Clone(key), slices.Clone(row))
			if err := b.Put(key, row); err != nil {
				return err
			}
			if ticket.Audit(tx) == nil {
				t.Errorf("%s: the audit finds nothing", name)
			}
			return back
		}})
		if !errors.Is(err, back) {
			t.Fatal(err)
		}
	}
}
