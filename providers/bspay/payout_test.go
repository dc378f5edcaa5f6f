package bspay

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ssg-safe/agent/money"
	"github.com/ssg-safe/agent/payout"
	"github.com/ssg-safe/agent/providers"
	"github.com/ssg-safe/agent/providers/bspay/bspaysim"
	"github.com/ssg-safe/agent/providers/simkit"
	"github.com/ssg-safe/agent/redact"
)

// hub is what stands between a payout's facts and the provider: it commits, sends,
// asks, and dies.
type hub struct {
	t       *testing.T
	disk    []payout.Fact
	p       payout.Payout
	details payout.Details
	sent    time.Time
	missed  time.Time // when it was last said to be absent, or the hub began
}

func propose(t *testing.T, n int, amount money.Amount, key redact.Text) *hub {
	t.Helper()
	h := &hub{t: t, details: payout.Details{Key: key, Description: "troco", Salt: "0123456789abcdef"}, missed: time.Now()}
	f, err := payout.Propose(payout.Intent{
		ID: payout.ID(fmt.Sprintf("T001%021d", n)), Kind: payout.ToKey, Merchant: "loja", Route: Name, Amount: amount, By: "ana", Approvers: 1, Resend: true,
	}, h.details, 0, nil)
	if err != nil {
		t.Fatal(err)
	}
	h.commit(f)
	return h
}

func (h *hub) commit(f payout.Fact) {
	h.t.Helper()
	if f == nil {
		return
	}
	next, err := h.p.Apply(f)
	if err != nil {
		h.t.Fatal(err)
	}
	h.p, h.disk = next, append(h.disk, f)
}

// submit makes the order: what is on disk when it returns allows one sending.
func (h *hub) submit() (payout.Order, error) {
	h.commit(h.p.Lapsed(time.Now()))
	if h.p.State == payout.Proposed {
		f, err := h.p.Approve(h.p.Digest, "bia", time.Now())
		if err != nil {
			h.t.Fatal(err)
		}
		h.commit(f)
	}
	f, err := h.p.Submit(time.Now())
	if err != nil {
		return payout.Order{}, err
	}
	h.commit(f)
	if h.sent.IsZero() {
		h.sent = time.Now()
	}
	return h.p.Order(h.details)
}

// ask asks what became of the order.
func (h *hub) ask(c *Client) {
	a, err := c.FindPayout(h.t.Context(), h.p.Ref(h.sent))
	switch e, ok := errors.AsType[*providers.Error](err); {
	case err == nil:
		h.commit(h.p.Observe(a))
	case ok && e.Kind == providers.NotFound:
		if f := h.p.Missing(a.Digest, time.Since(h.missed)); f != nil {
			h.commit(f)
			h.missed = time.Now()
		}
	}
}

// crash loses what is not on disk.
func (h *hub) crash() {
	p, err := payout.Fold(h.disk)
	if err != nil {
		h.t.Fatal(err)
	}
	h.p, h.missed = p, time.Now()
	h.commit(p.Interrupted())
}

// TestPayout: the whole way of one payout, byte for byte.
func TestPayout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, sim, all := tapped(t, bspaysim.Options{Balance: 100000, SettleAfter: 5 * time.Second}, nil)
		h := propose(t, 1, 15050, "12345678909")
		o, err := h.submit()
		if err != nil {
			t.Fatal(err)
		}
		a, err := c.SubmitPayout(t.Context(), o)
		if err != nil || a.State != payout.Processing || a.Word != "pending" || a.ProviderID != sim.Payouts()[0].ID || a.Digest == "" {
			t.Fatalf("got %+v (%v)", a, err)
		}
		h.commit(h.p.Submitted(o, a, err))
		last := (*all)[len(*all)-1]
		want := `{"external_id":"T001000000000000000000001","amount":150.50,"currency":"BRL","key":"12345678909","key_type":"cpf","description":"troco"}`
		if last.Line != "POST /v2/transactions/cashout" || last.Body != want {
			t.Errorf("got %s %s", last.Line, last.Body)
		}
		signed := signature(signingKey, last.Header.Get("X-Timestamp"), last.Header.Get("X-Nonce"), []byte(want))
		if last.Header.Get("X-Signature") != signed {
			t.Errorf("got signature %s, want %s", last.Header.Get("X-Signature"), signed)
		}
		h.ask(c)
		if h.p.State != payout.Processing {
			t.Errorf("got %s, want processing", h.p.State)
		}
		time.Sleep(5 * time.Second)
		h.ask(c)
		if h.p.State != payout.Settled || h.p.Paid == "" {
			t.Errorf("got %+v, want it settled, with an end-to-end id", h.p)
		}
	})
}

// TestPayoutVectors: an order with the vector's content is the vector's body.
func TestPayoutVectors(t *testing.T) {
	for name, order := range map[string]cashoutRequest{
		"bspay_req_cashout_ascii": {ExternalID: "rt-000123-7", Amount: "150.50", Currency: "BRL", Key: "12345678909", KeyType: "cpf"},
		"bspay_req_cashout_utf8":  {ExternalID: "rt-000123-8", Amount: "10.00", Currency: "BRL", Key: "fulano@exemplo.com.br", KeyType: "email", Description: "Troco cofre São João"},
	} {
		v := vectors(t)[name]
		body := marshal(t, order)
		if body != v.Body {
			t.Errorf("%s: got\n%s\nwant\n%s", name, body, v.Body)
		}
		if got := signature(redact.Secret(v.Key), v.Timestamp, v.Nonce, []byte(body)); got != v.Hex {
			t.Errorf("%s: got %s, want %s", name, got, v.Hex)
		}
	}
}

// TestPayoutRefusals: what the provider says leads where it must.
func TestPayoutRefusals(t *testing.T) {
	for name, tt := range map[string]struct {
		key    redact.Text
		amount money.Amount
		rule   simkit.Rule
		want   payout.State
		asked  payout.State // after asking
	}{
		"no money":           {"12345678909", 100001, simkit.Rule{}, payout.Failed, payout.Failed},
		"nobody there":       {"nobody@example.com", 100, simkit.Rule{}, payout.Processing, payout.Failed},
		"above the limit":    {"12345678909", 1_000_001, simkit.Rule{}, payout.Failed, payout.Failed},
		"answer lost":        {"12345678909", 100, simkit.Rule{Fault: simkit.DropAfter}, payout.Unknown, payout.Settled},
		"error after":        {"12345678909", 100, simkit.Rule{Fault: simkit.ErrorAfter, Arg: "500"}, payout.Unknown, payout.Settled},
		"never arrived":      {"12345678909", 100, simkit.Rule{Fault: simkit.DropBefore}, payout.Unknown, payout.Unknown},
		"a web page":         {"12345678909", 100, simkit.Rule{Fault: simkit.HTML}, payout.Unknown, payout.Unknown},
		"too many":           {"12345678909", 100, simkit.Rule{Fault: simkit.Rate, Arg: "5s"}, payout.Approved, payout.Approved},
		"for approval":       {"12345678909", 100, simkit.Rule{Fault: bspaysim.Refuse, Arg: "200:PENDING_APPROVAL"}, payout.Processing, payout.Processing},
		"something has it":   {"12345678909", 100, simkit.Rule{Fault: bspaysim.Refuse, Arg: "409:SOMETHING"}, payout.Unknown, payout.Unknown},
		"it says it is done": {"12345678909", 100, simkit.Rule{Fault: bspaysim.Refuse, Arg: "409:DUPLICATE_EXTERNAL_ID"}, payout.Unknown, payout.Unknown},
		"account locked":     {"12345678909", 100, simkit.Rule{Fault: bspaysim.Refuse, Arg: "423:SECURITY_BLOCKED"}, payout.Failed, payout.Failed},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, sim := newClient(t, bspaysim.Options{Balance: 100000, SettleAfter: time.Second}, nil)
				h := propose(t, 1, tt.amount, tt.key)
				if tt.rule.Fault != "" {
					tt.rule.Route, tt.rule.Next = "cashout", 1
					faults(t, sim, tt.rule)
				}
				o, err := h.submit()
				if err != nil {
					t.Fatal(err)
				}
				a, err := c.SubmitPayout(t.Context(), o)
				h.commit(h.p.Submitted(o, a, err))
				if h.p.State != tt.want {
					t.Errorf("got %s (%v), want %s", h.p.State, err, tt.want)
				}
				time.Sleep(2 * time.Second)
				h.ask(c)
				if h.p.State != tt.asked || h.p.Odd {
					t.Errorf("after asking: got %+v, want %s", h.p, tt.asked)
				}
				for _, f := range h.disk {
					if text := marshal(t, f); strings.Contains(text, "12345678909") || strings.Contains(text, "example.com") {
						t.Errorf("a fact holds the key: %s", text)
					}
				}
				if err != nil && strings.Contains(err.Error(), tt.key.Reveal()) {
					t.Errorf("the error holds the key: %v", err)
				}
			})
		})
	}
}

// TestPayoutSchedules: payouts under random faults of the provider and kills of
// the hub end as the provider's ledger says, and none leaves twice. SSG_SCHEDULES
// sets how many; make prove runs more.
func TestPayoutSchedules(t *testing.T) {
	schedules := 500
	if text := os.Getenv("SSG_SCHEDULES"); text != "" {
		var err error
		if schedules, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
	}
	first := rand.Uint64()
	ends := map[payout.State]int{}
	for i := range schedules {
		seed := first + uint64(i)
		synctest.Test(t, func(t *testing.T) {
			defer func() {
				if t.Failed() {
					t.Logf("seed %d", seed)
				}
			}()
			ends[schedule(t, seed)]++
		})
		if t.Failed() {
			return
		}
	}
	t.Logf("seeds from %d: %v", first, ends)
	if schedules >= 500 && (ends[payout.Settled] == 0 || ends[payout.Failed] == 0) {
		t.Errorf("every schedule ended alike: %v", ends)
	}
}

// schedule runs one history and returns its end.
func schedule(t *testing.T, seed uint64) payout.State {
	rng := rand.New(rand.NewPCG(seed, 1))
	sim := newSim(t, bspaysim.Options{
		Seed: seed, Balance: 100000, SettleAfter: time.Duration(rng.IntN(60)) * time.Second,
		Conflict: rng.IntN(2) == 0, IgnoreFilters: rng.IntN(2) == 0, BareRows: true,
	})
	client := func() *Client {
		c, err := New(config(), providers.Memory(sim), nil)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	trouble := []simkit.Rule{
		{Route: "cashout", Fault: simkit.DropBefore, Chance: 0.2},
		{Route: "cashout", Fault: simkit.DropAfter, Chance: 0.3},
		{Route: "cashout", Fault: simkit.ErrorAfter, Arg: "503", Chance: 0.2},
		{Route: "cashout", Fault: bspaysim.Refuse, Arg: "409:REPLAY_DETECTED", Chance: 0.2},
		{Route: "cashout", Fault: simkit.Rate, Arg: "2s", Chance: 0.2},
		{Route: "cashout", Fault: simkit.Latency, Arg: "1s..40s", Chance: 0.3},
		{Route: "status", Fault: simkit.Truncate, Chance: 0.2},
		{Route: "status", Fault: simkit.HTTP, Arg: "500", Chance: 0.3},
		{Route: "status", Fault: bspaysim.Drift, Chance: 0.5},
		{Route: "token", Fault: simkit.HTTP, Arg: "503", Chance: 0.2},
	}
	rng.Shuffle(len(trouble), func(i, j int) { trouble[i], trouble[j] = trouble[j], trouble[i] })
	faults(t, sim, trouble[:rng.IntN(len(trouble)+1)]...)
	key := redact.Text("12345678909")
	if rng.IntN(4) == 0 {
		key = "nobody@example.com"
	}
	h, c := propose(t, 1, 12345, key), client()
	for step := 0; !h.p.State.Over(); step++ {
		if step == 60 {
			faults(t, sim) // the trouble is over
		}
		if step == 400 {
			t.Fatalf("after %d steps it is still %+v", step, h.p)
		}
		again := h.p.State == payout.Unknown && h.p.Absent >= payout.AbsentAnswers
		if h.p.State == payout.Proposed || h.p.State == payout.Approved || again {
			o, err := h.submit()
			if err != nil {
				t.Fatal(err)
			}
			killed := rng.IntN(6)
			if killed == 0 {
				h.crash() // before the socket was written
				c = client()
				continue
			}
			a, err := c.SubmitPayout(t.Context(), o)
			if killed == 1 {
				h.crash() // with the answer in hand
				c = client()
				continue
			}
			h.commit(h.p.Submitted(o, a, err))
			continue
		}
		time.Sleep(time.Duration(1+rng.IntN(40)) * time.Second)
		h.ask(c)
	}
	lines := sim.Payouts()
	switch {
	case len(lines) > 1:
		t.Errorf("the provider paid %d times", len(lines))
	case h.p.Odd:
		t.Errorf("a contradiction: %+v", h.p)
	case h.p.State == payout.Settled && (len(lines) != 1 || lines[0].Status != providers.StatusPaid || lines[0].Amount != 12345):
		t.Errorf("settled, and the provider has %+v", lines)
	case h.p.State == payout.Failed && len(lines) == 1 && lines[0].Status != providers.StatusFailed:
		t.Errorf("failed (%s), and the provider has %+v", h.p.Reason, lines)
	}
	if folded, err := payout.Fold(h.disk); err != nil || !slices.Equal(folded.ApprovedBy, h.p.ApprovedBy) || folded.State != h.p.State {
		t.Errorf("memory is not what the disk says: %v", err)
	}
	return h.p.State
}
