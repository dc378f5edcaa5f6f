package ledger_test

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.etcd.io/bbolt"

	"github.com/ssg-safe/agent/ledger"
	"github.com/ssg-safe/agent/money"
	"github.com/ssg-safe/agent/store"
	"github.com/ssg-safe/agent/store/storetest"
)

func amount(cents int64) money.Amount { return money.Amount(cents) }

// golden are drafts whose stored form must never change: the file holds what
// hubs, archives and auditors have.
var golden = []ledger.Draft{
	paid("charge/T1AB/paid", 1050),
	{Op: "boot/1", Kind: "agent.started", Actor: "agent"},
	{Op: "x#1", Kind: "k", Actor: "operator:7", Postings: []ledger.Posting{
		{ledger.PixClearing, 1000}, {ledger.Fees, 50}, {ledger.Sales, -1050}, {ledger.Bank, 0},
	}, Data: json.RawMessage(`{ "nested": [1, -2.50, true, null, {"a":"\u00e9\n"}] }`)},
}

func TestStoredFormIsGolden(t *testing.T) {
	s := newStore(t)
	mustDo(t, s, func(tx *bbolt.Tx) error {
		for i, d := range golden {
			if _, err := ledger.Append(tx, stamp(i), d); err != nil {
				return err
			}
		}
		return nil
	})
	var got bytes.Buffer
	mustView(t, s, func(tx *bbolt.Tx) error { return ledger.WriteJSONL(&got, ledger.Entries(tx, ledger.Position{})) })
	compareGolden(t, "entries_v1.jsonl", got.Bytes())

	got.Reset()
	mustView(t, s, func(tx *bbolt.Tx) error { return ledger.WriteCSV(&got, ledger.Entries(tx, ledger.Position{})) })
	compareGolden(t, "entries_v1.csv", got.Bytes())
}

func compareGolden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", name, diff)
	}
}

func TestAppendReturnsWhatIsStored(t *testing.T) {
	s := newStore(t)
	for i, d := range golden {
		var appended, read ledger.Entry
		mustDo(t, s, func(tx *bbolt.Tx) (err error) {
			appended, err = ledger.Append(tx, stamp(i), d)
			return err
		})
		mustView(t, s, func(tx *bbolt.Tx) error {
			e, ok, err := ledger.Lookup(tx, d.Op)
			if !ok {
				t.Errorf("operation %s is not found", d.Op)
			}
			read = e
			return err
		})
		if diff := cmp.Diff(read, appended); diff != "" {
			t.Errorf("%s: stored and returned entries differ (-stored +returned):\n%s", d.Op, diff)
		}
		if got, want := read.Position(), (ledger.Position{Epoch: 1, Seq: uint64(i + 1)}); got != want {
			t.Errorf("position %v, want %v", got, want)
		}
	}
	mustView(t, s, func(tx *bbolt.Tx) error {
		if _, ok, err := ledger.Lookup(tx, "never"); ok || err != nil {
			t.Errorf("Lookup of an unknown operation: %v, %v", ok, err)
		}
		return nil
	})
}

func TestAppendRefuses(t *testing.T) {
	deep := strings.Repeat("[", 70) + strings.Repeat("]", 70)
	with := func(change func(*ledger.Draft)) ledger.Draft {
		d := paid("op", 100)
		change(&d)
		return d
	}
	tests := map[string]struct {
		draft ledger.Draft
		at    ledger.Stamp
		want  error
	}{
		"no op":            {with(func(d *ledger.Draft) { d.Op = "" }), stamp(0), ledger.ErrDraft},
		"op with a quote":  {with(func(d *ledger.Draft) { d.Op = `a"b` }), stamp(0), ledger.ErrDraft},
		"op too long":      {with(func(d *ledger.Draft) { d.Op = strings.Repeat("a", 129) }), stamp(0), ledger.ErrDraft},
		"no kind":          {with(func(d *ledger.Draft) { d.Kind = "" }), stamp(0), ledger.ErrDraft},
		"actor with space": {with(func(d *ledger.Draft) { d.Actor = "José Silva" }), stamp(0), ledger.ErrDraft},
		"unbalanced":       {with(func(d *ledger.Draft) { d.Postings[0].Amount++ }), stamp(0), ledger.ErrUnbalanced},
		"overflow": {with(func(d *ledger.Draft) {
			d.Postings = []ledger.Posting{{ledger.Sales, 1 << 62}, {ledger.Sales, 1 << 62}, {ledger.Sales, 1 << 62}}
		}), stamp(0), ledger.ErrUnbalanced},
		"unknown account":  {with(func(d *ledger.Draft) { d.Postings[0].Account = "petty_cash" }), stamp(0), ledger.ErrDraft},
		"no JSON":          {with(func(d *ledger.Draft) { d.Data = func() {} }), stamp(0), ledger.ErrDraft},
		"raw JSON broken":  {with(func(d *ledger.Draft) { d.Evidence = json.RawMessage(`{"a":`) }), stamp(0), ledger.ErrDraft},
		"too deep":         {with(func(d *ledger.Draft) { d.Data = json.RawMessage(deep) }), stamp(0), ledger.ErrDraft},
		"not UTF-8":        {with(func(d *ledger.Draft) { d.Data = json.RawMessage("\"\xff\"") }), stamp(0), ledger.ErrDraft},
		"too large":        {with(func(d *ledger.Draft) { d.Data = strings.Repeat("x", 64<<10) }), stamp(0), ledger.ErrDraft},
		"year 12026":       {paid("op", 1), ledger.Stamp{Wall: day0.AddDate(10000, 0, 0), Quality: ledger.Synced}, ledger.ErrDraft},
		"no clock quality": {paid("op", 1), ledger.Stamp{Wall: day0}, ledger.ErrDraft},
		"clock before boot": {
			paid("op", 1),
			ledger.Stamp{Wall: day0, Up: -time.Second, Quality: ledger.Floor},
			ledger.ErrDraft,
		},
	}
	s := newStore(t)
	fillEntries(t, s, 0, 1)
	before := headOf(t, s)
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			err := do(t, s, func(tx *bbolt.Tx) error {
				_, err := ledger.Append(tx, test.at, test.draft)
				if err == nil {
					return nil
				}
				head, _ := ledger.GetHead(tx)
				if head != before {
					t.Errorf("the refused draft moved the head to %v", head)
				}
				return err
			})
			if !errors.Is(err, test.want) {
				t.Errorf("got %v, want %v", err, test.want)
			}
		})
	}
}

func TestSameOperationTwice(t *testing.T) {
	s := newStore(t)
	fillEntries(t, s, 0, 3)
	before := headOf(t, s)
	append_ := func(d ledger.Draft) (e ledger.Entry, err error) {
		err = do(t, s, func(tx *bbolt.Tx) error {
			var err error
			e, err = ledger.Append(tx, stamp(99), d) // at another time
			return err
		})
		return e, err
	}
	e, err := append_(paid("op-1", 100))
	if !errors.Is(err, ledger.ErrDuplicate) || e.Seq != 2 || !e.At.Wall.Equal(stamp(1).Wall.Truncate(time.Millisecond)) {
		t.Errorf("same content: entry %v at %v, %v; want the one at 1/2 as it was, with ErrDuplicate", e.Position(), e.At.Wall, err)
	}
	other := map[string]func(*ledger.Draft){
		"kind":     func(d *ledger.Draft) { d.Kind = "charge.late" },
		"actor":    func(d *ledger.Draft) { d.Actor = "hub" },
		"evidence": func(d *ledger.Draft) { d.Evidence = nil },
		"postings": func(d *ledger.Draft) { d.Postings[0].Amount, d.Postings[1].Amount = 101, -101 },
		"data":     func(d *ledger.Draft) { d.Data = nil },
	}
	for what, change := range other {
		d := paid("op-1", 100)
		change(&d)
		if _, err := append_(d); !errors.Is(err, ledger.ErrConflict) {
			t.Errorf("other %s: %v, want ErrConflict", what, err)
		}
	}
	if got := headOf(t, s); got != before {
		t.Errorf("head moved from %v to %v", before, got)
	}
}

func TestNSUHasNoGaps(t *testing.T) {
	s := newStore(t)
	next := func(fail bool) (n uint64) {
		err := do(t, s, func(tx *bbolt.Tx) (err error) {
			if n, err = ledger.NextNSU(tx); err == nil && fail {
				return errors.New("refused after the number was taken")
			}
			return err
		})
		if (err != nil) != fail {
			t.Fatal(err)
		}
		return n
	}
	if a, b, c := next(false), next(true), next(false); a != 1 || b != 2 || c != 2 {
		t.Errorf("numbers %d, %d (not committed), %d; want 1, 2, 2", a, b, c)
	}
}

func TestPrivateData(t *testing.T) {
	s := newStore(t)
	mustDo(t, s, func(tx *bbolt.Tx) error {
		return errors.Join(
			ledger.PutPrivate(tx, day0, "c1", []byte("one")),
			ledger.PutPrivate(tx, day0.Add(time.Hour), "c2", []byte("two")),
			ledger.PutPrivate(tx, day0.Add(-time.Hour), "c3", []byte("three")),
			ledger.PutPrivate(tx, day0.Add(2*time.Hour), "c3", []byte("three again")), // younger now
			ledger.PutPrivate(tx, time.Time{}, "c4", nil),
		)
	})
	if err := do(t, s, func(tx *bbolt.Tx) error { return ledger.PutPrivate(tx, day0, "a b", nil) }); err == nil {
		t.Error("a subject with a space was taken")
	}
	purge := func(before time.Time, limit int) (n int) {
		mustDo(t, s, func(tx *bbolt.Tx) (err error) {
			n, err = ledger.PurgePrivate(tx, before, limit, nil)
			return err
		})
		return n
	}
	if got := purge(day0.Add(90*time.Minute), 2); got != 2 {
		t.Errorf("purged %d, want the limit of 2", got)
	}
	if got := purge(day0.Add(90*time.Minute), 9); got != 1 {
		t.Errorf("purged %d, want 1", got)
	}
	mustView(t, s, func(tx *bbolt.Tx) error {
		for subject, want := range map[string]string{"c1": "", "c2": "", "c4": "", "c3": "three again"} {
			got, err := ledger.GetPrivate(tx, subject)
			if err != nil || string(got) != want {
				t.Errorf("%s: %q, %v; want %q", subject, got, err, want)
			}
		}
		return nil
	})
}

// TestPrivateDataOfWrongClocks: what is in use outlives a purge, and what was
// dated in the future does not stay for ever.
func TestPrivateDataOfWrongClocks(t *testing.T) {
	s := newStore(t)
	mustDo(t, s, func(tx *bbolt.Tx) error {
		return errors.Join(
			ledger.PutPrivate(tx, time.Unix(5, 0), "old", []byte("old")),
			ledger.PutPrivate(tx, time.Unix(5, 0), "open", []byte("open")),
			ledger.PutPrivate(tx, day0, "today", []byte("today")),
			ledger.PutPrivate(tx, day0.AddDate(70, 0, 0), "future", []byte("future")),
		)
	})
	var gone, redated, again, later int
	mustDo(t, s, func(tx *bbolt.Tx) error {
		var err1, err2, err3, err4 error
		gone, err1 = ledger.PurgePrivate(tx, day0, 100, func(subject string) bool { return subject == "open" })
		redated, err2 = ledger.RedatePrivate(tx, day0.Add(time.Hour), day0, 100)
		again, err3 = ledger.RedatePrivate(tx, day0.Add(time.Hour), day0, 100)
		later, err4 = ledger.PurgePrivate(tx, day0.Add(time.Second), 100, nil)
		return errors.Join(err1, err2, err3, err4)
	})
	if gone != 1 || redated != 1 || again != 0 || later != 3 {
		t.Errorf("purged %d, dated %d anew, then %d, purged %d; want 1, 1, 0, 3", gone, redated, again, later)
	}
}

func TestKeyedHash(t *testing.T) {
	a, b := newStore(t), newStore(t)
	hash := func(tx *bbolt.Tx, s string) string {
		h, err := ledger.KeyedHash(tx, []byte(s))
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	mustView(t, a, func(tx *bbolt.Tx) error {
		x := hash(tx, "12345678909")
		if len(x) != 64 || x != hash(tx, "12345678909") || x == hash(tx, "98765432100") {
			t.Errorf("keyed hash %q is not a function of its input", x)
		}
		mustView(t, b, func(other *bbolt.Tx) error {
			if x == hash(other, "12345678909") {
				t.Error("two installations hash alike: the hash can be looked up in a list of all CPFs")
			}
			return nil
		})
		return nil
	})
}

func TestCSVDisarmsFormulas(t *testing.T) {
	s := newStore(t)
	mustDo(t, s, func(tx *bbolt.Tx) error {
		_, err := ledger.Append(tx, stamp(0), ledger.Draft{Op: "=cmd", Kind: "@sum", Actor: "+1", Data: -5, Evidence: "=1+1"})
		return err
	})
	var got bytes.Buffer
	mustView(t, s, func(tx *bbolt.Tx) error { return ledger.WriteCSV(&got, ledger.Entries(tx, ledger.Position{})) })
	rows, err := csv.NewReader(&got).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"'@sum", "'=cmd", "'+1", "", "", `"=1+1"`, "'-5"} // kind to data
	if diff := cmp.Diff(want, rows[1][6:13]); diff != "" {
		t.Errorf("a cell would be run (-want +got):\n%s", diff)
	}
}

func TestReadAndEntries(t *testing.T) {
	s := newStore(t)
	fillEntries(t, s, 1, 20)
	mustView(t, s, func(tx *bbolt.Tx) error {
		var got []string
		raws, err := ledger.Read(tx, ledger.Position{Epoch: 1, Seq: 5}, 3)
		for _, r := range raws {
			e, err := ledger.Decode(r.Bytes)
			if err != nil {
				t.Error(err)
			}
			got = append(got, fmt.Sprint(r.Position, " ", e.Op))
		}
		if diff := cmp.Diff([]string{"1/5 op-5", "1/6 op-6", "1/7 op-7"}, got); diff != "" {
			t.Error(diff)
		}
		if all, _ := ledger.Read(tx, ledger.Position{}, 100); len(all) != 20 {
			t.Errorf("%d entries, want 20", len(all))
		}
		return err
	})
}

// TestCapacity fills a store with new entries, and a payable code for every
// fifth, until it refuses.
func TestCapacity(t *testing.T) {
	o := options(t)
	o.Size = 4 << 20
	s := storetest.Run(t, o)
	var n int64
	var err error
	for ; err == nil; n++ {
		op := fmt.Sprintf("charge/%025d/%d", n/5, n%5)
		err = s.Commit(t.Context(), store.Op{New: true, Do: func(tx *bbolt.Tx) error {
			if _, err := ledger.Append(tx, stamp(0), paid(op, 100)); err != nil || n%5 != 0 {
				return err
			}
			return ledger.PutPrivate(tx, day0, op, make([]byte, 200))
		}})
	}
	want := ledger.Capacity(o.Size)
	if !errors.Is(err, store.ErrFull) || n < want || n > want*5/4 {
		t.Errorf("%d entries, then %v; Capacity promises %d", n, err, want)
	}
	// On the full store: a checkpoint every 50 entries, everything acknowledged,
	// all of it pruned, and there is room again.
	for seq := uint64(50); seq < uint64(n); seq += 50 {
		checkpoint(t, s, seq)
	}
	head := headOf(t, s)
	mustDo(t, s, func(tx *bbolt.Tx) error { return ledger.Acknowledge(tx, "hub", head) })
	pruned := 0
	for last := 1; last > 0; pruned += last {
		mustDo(t, s, func(tx *bbolt.Tx) (err error) {
			last, err = ledger.Prune(tx, ledger.Retention{Consumers: []string{"hub"}, Key: pub(), Before: stamp(1000).Wall})
			return err
		})
	}
	if pruned < int(n)-100 {
		t.Errorf("pruned %d of %d", pruned, n)
	}
	if st := s.Stats(); st.Full || st.Free < st.Size/2 {
		t.Errorf("after pruning: %+v", st)
	}
	if got := ledger.Capacity(store.DefaultSize); got != 125_829 {
		t.Errorf("capacity of the default file %d, documented as 125,829", got)
	}
}
