package bspay

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ssg-safe/agent/money"
	"github.com/ssg-safe/agent/payout"
	"github.com/ssg-safe/agent/providers/bspay/bspaysim"
	"github.com/ssg-safe/agent/providers/providertest"
	"github.com/ssg-safe/agent/providers/simkit"
	"github.com/ssg-safe/agent/redact"
)

// TestPayout: the whole way of one payout, byte for byte.
func TestPayout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, sim, all := tapped(t, bspaysim.Options{Balance: 100000, SettleAfter: 5 * time.Second}, nil)
		h := providertest.Propose(t, Name, 1, 15050, "12345678909", true)
		o, err := h.Submit()
		if err != nil {
			t.Fatal(err)
		}
		a, err := c.SubmitPayout(t.Context(), o)
		if err != nil || a.State != payout.Processing || a.Word != "pending" || a.ProviderID != sim.Payouts()[0].ID || a.Digest == "" {
			t.Fatalf("got %+v (%v)", a, err)
		}
		h.Commit(h.Payout.Submitted(o, a, err))
		last := (*all)[len(*all)-1]
		want := `{"external_id":"T001000000000000000000001","amount":150.50,"currency":"BRL","key":"12345678909","key_type":"cpf","description":"troco"}`
		if last.Line != "POST /v2/transactions/cashout" || last.Body != want {
			t.Errorf("got %s %s", last.Line, last.Body)
		}
		signed := signature(signingKey, last.Header.Get("X-Timestamp"), last.Header.Get("X-Nonce"), []byte(want))
		if last.Header.Get("X-Signature") != signed {
			t.Errorf("got signature %s, want %s", last.Header.Get("X-Signature"), signed)
		}
		h.Ask(c)
		if h.Payout.State != payout.Processing {
			t.Errorf("got %s, want processing", h.Payout.State)
		}
		time.Sleep(5 * time.Second)
		h.Ask(c)
		if h.Payout.State != payout.Settled || h.Payout.Paid == "" {
			t.Errorf("got %+v, want it settled, with an end-to-end id", h.Payout)
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
				h := providertest.Propose(t, Name, 1, tt.amount, tt.key, true)
				if tt.rule.Fault != "" {
					tt.rule.Route, tt.rule.Next = "cashout", 1
					faults(t, sim, tt.rule)
				}
				o, err := h.Submit()
				if err != nil {
					t.Fatal(err)
				}
				a, err := c.SubmitPayout(t.Context(), o)
				h.Commit(h.Payout.Submitted(o, a, err))
				if h.Payout.State != tt.want {
					t.Errorf("got %s (%v), want %s", h.Payout.State, err, tt.want)
				}
				time.Sleep(2 * time.Second)
				h.Ask(c)
				if h.Payout.State != tt.asked || h.Payout.Odd {
					t.Errorf("after asking: got %+v, want %s", h.Payout, tt.asked)
				}
				for _, f := range h.Disk {
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
