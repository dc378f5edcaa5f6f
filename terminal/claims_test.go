package terminal_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/ssg-safe/agent/charge"
	"github.com/ssg-safe/agent/ledger"
	"github.com/ssg-safe/agent/money"
	"github.com/ssg-safe/agent/providers"
	"github.com/ssg-safe/agent/terminal"
)

// namer is a provider that reports to an address of each attempt's own.
type namer struct{ *route }

func (namer) CallbackName(charge string, attempt int) string {
	return fmt.Sprintf("callback:%s-%d", charge, attempt)
}

// callbacks lists what the ledger has of such addresses.
func (r *rig) callbacks() (names []string) {
	r.Helper()
	if err := r.store.View(func(tx *bbolt.Tx) error {
		for _, raw := range ledger.Entries(tx, ledger.Position{}) {
			e, err := ledger.Decode(raw)
			if err != nil {
				return err
			}
			var a struct{ Callback string }
			if e.Kind == "charge.attempt" && json.Unmarshal(e.Data, &a) == nil && a.Callback != "" {
				names = append(names, a.Callback)
			}
		}
		return nil
	}); err != nil {
		r.Fatal(err)
	}
	return names
}

// TestClaim: an orphan whose answer was lost is recorded with the name of its callback
// address. What a report then calls it is asked about as a claim, and money for it is
// the charge's only if the provider says that it is this attempt's.
func TestClaim(t *testing.T) {
	paid := func(ref providers.Ref) (providers.Charge, error) {
		amount := money.Amount(1234)
		return providers.Charge{ProviderID: ref.ProviderID, Status: providers.StatusPaid, Word: "PAID", Amount: &amount, Digest: "d2"}, nil
	}
	fails := func(k providers.Kind) func(providers.Ref) (providers.Charge, error) {
		return func(providers.Ref) (providers.Charge, error) { return providers.Charge{}, &providers.Error{Kind: k} }
	}
	for _, tt := range []struct {
		name    string
		attempt int
		answer  func(providers.Ref) (providers.Charge, error)
		asked   int // until the next comparison
		later   int // and until the one after
		state   charge.State
		tickets string
	}{
		{"it is paid", 1, paid, 1, 1, charge.Paid, "orphan"},
		{"it is not", 1, func(ref providers.Ref) (providers.Charge, error) {
			return providers.Charge{ProviderID: ref.ProviderID, Status: providers.StatusPending, Digest: "d"}, nil
		}, 1, 1, charge.Expired, ""},
		{"it is another attempt's", 1, fails(providers.Security), 1, 1, charge.Expired, ""},
		{"nobody answers", 1, fails(providers.NotSent), 1, 2, charge.Expired, ""},
		{"of an attempt with a name", 2, paid, 0, 0, charge.Expired, ""},
		{"of an attempt that is none", 9, paid, 0, 0, charge.Expired, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(r *rig) {
				r.edit = func(c *terminal.Config) {
					c.Routes["fake"] = namer{r.route}
					c.Reconcile = terminal.Reconcile{Days: 7, Owner: "financeiro", Deadline: 72 * time.Hour}
				}
				r.restart(false)
				r.route.create = func(ctx context.Context, in providers.Intent) (providers.Charge, error) {
					if in.Attempt == 1 {
						return providers.Charge{}, &providers.Error{Kind: providers.Ambiguous}
					}
					return r.route.accept(ctx, in)
				}
				claims := make(chan providers.Ref, 100)
				r.route.on(func(_ context.Context, ref providers.Ref) (providers.Charge, error) {
					if ref.Claimed {
						claims <- ref
						return tt.answer(ref)
					}
					if ref.Attempt == 1 {
						return tt.answer(ref)
					}
					return providers.Charge{ProviderID: ref.ProviderID, Status: providers.StatusPending, Word: "PENDING", Digest: "d1"}, nil
				})
				id := r.begin()
				if got, want := r.callbacks(), fmt.Sprintf("callback:%s-1", id); len(got) != 1 || got[0] != want {
					t.Fatalf("the ledger names %q, want %s", got, want)
				}
				r.pass(6 * time.Minute) // the code expires
				r.term.Claim("T001XXXXXXXXXXXXXXXXXXXXX", 1, "REF-0")
				r.term.Claim(id, tt.attempt, "")
				r.term.Claim(id, tt.attempt, "REF-1")
				r.pass(time.Second)
				if len(claims) != tt.asked {
					t.Errorf("asked %d times, want %d", len(claims), tt.asked)
				}
				r.compare()
				r.pass(time.Second)
				if len(claims) != tt.later {
					t.Errorf("after a comparison asked %d times, want %d", len(claims), tt.later)
				}
				for range len(claims) {
					if ref := <-claims; ref.Charge != string(id) || ref.Attempt != 1 || ref.ProviderID != "REF-1" {
						t.Errorf("asked about %+v", ref)
					}
				}
				c := r.fold(id)
				if c.State != tt.state {
					t.Errorf("the charge is %s, want %s", c.State, tt.state)
				}
				if p, ok := c.Settling(); tt.state == charge.Paid && (!ok || p.Evidence.Attempt != 1 || p.Evidence.ProviderID != "REF-1") {
					t.Errorf("it is paid by %+v", p)
				}
				r.pass(time.Minute)
				var kinds []string
				for _, ticket := range r.tickets() {
					kinds = append(kinds, ticket.Kind)
				}
				if got := strings.Join(kinds, " "); got != tt.tickets {
					t.Errorf("tickets %q, want %q", got, tt.tickets)
				}
			})
		})
	}
}
