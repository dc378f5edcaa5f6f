package basspago

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ssg-safe/agent/providers"
	"github.com/ssg-safe/agent/providers/basspago/basspagosim"
	"github.com/ssg-safe/agent/providers/simkit"
)

// shops makes checkouts as a shop does, a minute apart, and returns the last token.
func shops(t *testing.T, sim *basspagosim.Sim, n int) {
	t.Helper()
	for range n {
		if _, err := sim.Shop(1000); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
	}
}

// read goes through the list: how often each checkout came, and the error.
func read(t *testing.T, c *Client, q providers.TransactionQuery) (map[string]int, error) {
	t.Helper()
	got := map[string]int{}
	for tr, err := range c.Transactions(t.Context(), q) {
		if err != nil {
			return got, err
		}
		if tr.Digest == "" || tr.ID == "" || tr.Kind != "PIX" {
			t.Errorf("got %+v", tr)
		}
		got[tr.ExternalID]++
	}
	return got, nil
}

// TestList: all of it, each once, whichever of the two filters the provider knows,
// and when it knows none.
func TestList(t *testing.T) {
	for _, filters := range []string{basspagosim.FrameworkFilters, basspagosim.DocumentFilters, basspagosim.NoFilters} {
		t.Run("filters "+filters, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, sim, _, log := tapped(t, basspagosim.Options{Filters: filters}, nil)
				if got, err := read(t, c, providers.TransactionQuery{}); err != nil || len(got) != 0 {
					t.Errorf("an empty account: got %v (%v)", got, err)
				}
				began := time.Now()
				shops(t, sim, 120)
				got, err := read(t, c, providers.TransactionQuery{})
				if err != nil || len(got) != 120 {
					t.Fatalf("got %d checkouts (%v)", len(got), err)
				}
				for id, n := range got {
					if n != 1 {
						t.Errorf("%s came %d times", id, n)
					}
				}
				// An hour in the middle, and those that are paid.
				for _, line := range sim.Charges()[30:60] {
					if err := sim.Pay(line.ID); err != nil {
						t.Fatal(err)
					}
				}
				hour, err := read(t, c, providers.TransactionQuery{From: began.Add(20 * time.Minute), To: began.Add(80 * time.Minute)})
				want := 60
				if filters == basspagosim.NoFilters {
					want = 120
				}
				if err != nil || len(hour) != want {
					t.Errorf("an hour: got %d (%v), want %d", len(hour), err, want)
				}
				paid, err := read(t, c, providers.TransactionQuery{Word: "APPROVED"})
				if err != nil || len(paid) != 30 {
					t.Errorf("paid: got %d (%v), want 30", len(paid), err)
				}
				if none, err := read(t, c, providers.TransactionQuery{Currency: "USD"}); err != nil || len(none) != 0 {
					t.Errorf("another currency: got %d (%v)", len(none), err)
				}
				if warned := strings.Contains(log.String(), "ignores filters"); warned != (filters == basspagosim.NoFilters) {
					t.Errorf("warned: %v\n%s", warned, log)
				}
			})
		})
	}
}

// TestListMoves: rows that move from page to page while the list is read come once,
// and none is missed; a list that never holds what it counts is an error.
func TestListMoves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, fault := range []string{basspagosim.Drift, basspagosim.Skip} {
			c, sim, _, _ := tapped(t, basspagosim.Options{}, nil)
			shops(t, sim, 170)
			if _, err := read(t, c, providers.TransactionQuery{}); err != nil {
				t.Fatal(err)
			}
			faults(t, sim, simkit.Rule{Route: basspagosim.RouteList, Fault: fault, Next: 4})
			got, err := read(t, c, providers.TransactionQuery{})
			if err != nil || len(got) != 170 {
				t.Errorf("%s: got %d (%v), want 170", fault, len(got), err)
			}
			for id, n := range got {
				if n != 1 {
					t.Errorf("%s: %s came %d times", fault, id, n)
				}
			}
			faults(t, sim, simkit.Rule{Route: basspagosim.RouteList, Fault: fault})
			got, err = read(t, c, providers.TransactionQuery{})
			if fault == basspagosim.Skip {
				wantError(t, "a list that never ends", err, providers.Contract, "")
			} else if err != nil || len(got) != 170 {
				t.Errorf("%s for ever: got %d (%v)", fault, len(got), err)
			}
		}
	})
}

// TestLostToken: a checkout whose token was lost with the answer is found by our id,
// among those of others, and followed without an amount; one that was not made is
// certainly not there.
func TestLostToken(t *testing.T) {
	for _, filters := range []string{basspagosim.FrameworkFilters, basspagosim.DocumentFilters, basspagosim.NoFilters} {
		t.Run("filters "+filters, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, sim, _, _ := tapped(t, basspagosim.Options{Filters: filters}, nil)
				shops(t, sim, 120)
				faults(t, sim, simkit.Rule{Route: basspagosim.RouteCreate, Fault: simkit.DropAfter})
				in := intent(1, 4200)
				_, err := c.CreateCharge(t.Context(), in)
				wantError(t, "a lost answer", err, providers.Ambiguous, "")
				faults(t, sim)
				ref := providers.Ref{Charge: in.ID, Attempt: 1}
				ch, err := c.GetCharge(t.Context(), ref)
				if err != nil || ch.Status != providers.StatusPending || ch.ProviderID != ExternalID(in.ID, 1) || ch.Amount != nil || ch.Token != "" {
					t.Errorf("got %+v (%v)", ch, err)
				}
				_, err = c.CreateCharge(t.Context(), in) // the same id again
				wantError(t, "sent again", err, providers.Ambiguous, "duplicate")
				shops(t, sim, 60)
				if err := sim.Pay(ch.ProviderID); err != nil {
					t.Fatal(err)
				}
				if ch, err = c.GetCharge(t.Context(), ref); err != nil || ch.Status != providers.StatusPaid || ch.Amount != nil {
					t.Errorf("got %+v (%v)", ch, err)
				}
				ref.Attempt = 2
				_, err = c.GetCharge(t.Context(), ref)
				wantError(t, "another attempt", err, providers.NotFound, "")
			})
		})
	}
}

// TestLongList: among more checkouts than a search reads, the newest are found, and
// what is not found is absent only where the provider's filters say so.
func TestLongList(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, filters := range []string{basspagosim.DocumentFilters, basspagosim.NoFilters} {
			c, sim, _, _ := tapped(t, basspagosim.Options{Filters: filters}, nil)
			shops(t, sim, 1001)
			time.Sleep(72 * time.Hour)
			shops(t, sim, 60)
			_, err := c.GetCharge(t.Context(), providers.Ref{Charge: "X", Attempt: 1})
			if filters == basspagosim.NoFilters {
				wantError(t, "no filters", err, providers.Contract, "")
			} else {
				wantError(t, "filters by time", err, providers.NotFound, "")
			}
			newest := sim.Charges()[1060].ID
			if ch, err := c.GetCharge(t.Context(), providers.Ref{ProviderID: newest}); err != nil || ch.ProviderID != newest {
				t.Errorf("got %+v (%v)", ch, err)
			}
		}
	})
}

// TestListBroken: a list that does not count, or is none.
func TestListBroken(t *testing.T) {
	for _, tt := range []struct{ count, body string }{
		{"", `[]`},
		{"x", `[]`},
		{"-1", `[]`},
		{"0", `[{"referenceNumber":"PCHH051EX9Z","status":"APPROVED"}]`},
		{"1", `{"referenceNumber":"PCHH051EX9Z"}`},
		{"1", `null`},
		{"1", `[{"referenceNumber":"","status":"APPROVED"}]`},
		{"1", `[{"referenceNumber":"PCHH051EX9Z","externalId":"a b","status":"APPROVED"}]`},
		{"1", `[{"referenceNumber":"PCHH051EX9Z","status":"APPROVED","status":"PENDING"}]`},
	} {
		c, err := New(config(), providers.Memory(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X-Total-Count", tt.count)
			fmt.Fprint(w, tt.body) // the client may have gone
		})), nil)
		if err != nil {
			t.Fatal(err)
		}
		wantError(t, tt.count+" "+tt.body, c.CheckHealth(t.Context()), providers.Contract, "")
	}
}
