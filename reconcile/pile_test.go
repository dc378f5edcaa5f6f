package reconcile

import (
	"fmt"
	"reflect"
	"testing"

	"pgregory.net/rapid"

	"github.com/ssg-safe/agent/money"
	"github.com/ssg-safe/agent/providers"
)

// TestPile: many rows are merged as few are.
func TestPile(t *testing.T) {
	few := money.Amount(100)
	rapid.Check(t, func(t *rapid.T) {
		p := pile{at: map[string][]int{}}
		var want []Row
		for n := range rapid.IntRange(0, 12).Draw(t, "rows") {
			word := func(name string) string { return rapid.SampledFrom([]string{"", "a", "b"}).Draw(t, name) }
			row := Row{ID: word("id"), EndToEnd: word("end-to-end"), Own: word("own"), Word: fmt.Sprint(n), Status: providers.StatusPaid}
			if rapid.Bool().Draw(t, "pending") {
				row.Status = providers.StatusPending
			}
			if rapid.Bool().Draw(t, "amount") {
				row.Amount = &few
			}
			p.add(row)
			want = merge(want, row)
		}
		if !reflect.DeepEqual(p.rows, want) {
			t.Fatalf("got %+v, want %+v", p.rows, want)
		}
	})
}

// TestPileOfMany: each row is held against those alone that share an id with it, for an
// account that others are paid into, too, lists a great many.
func TestPileOfMany(t *testing.T) {
	p := pile{at: map[string][]int{}}
	for i := range 20000 {
		row := Row{ID: fmt.Sprintf("id-%d", i), Status: providers.StatusPaid}
		if i%2 == 0 {
			row.EndToEnd = fmt.Sprintf("E%d", i)
		}
		p.add(row)
		p.add(row) // the list moved
	}
	if len(p.rows) != 20000 {
		t.Errorf("%d rows", len(p.rows))
	}
	for k, at := range p.at {
		if len(at) != 1 {
			t.Fatalf("%d rows at %q", len(at), k)
		}
	}
}
