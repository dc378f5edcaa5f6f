package providertest

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/ssg-safe/agent/money"
	"github.com/ssg-safe/agent/payout"
	"github.com/ssg-safe/agent/providers"
	"github.com/ssg-safe/agent/redact"
)

// Hub is what stands between a payout's facts and a provider that sends money: it
// commits, sends, asks, and dies. Time is package time's; run it in a bubble.
type Hub struct {
	Payout payout.Payout
	Disk   []payout.Fact

	tb      testing.TB
	details payout.Details
	sent    time.Time
	missed  time.Time // when it was last said to be absent, or the hub began
}

// Propose begins a payout to a key. resend says that the provider takes our id as
// its own.
func Propose(tb testing.TB, route string, n int, amount money.Amount, key redact.Text, resend bool) *Hub {
	tb.Helper()
	h := &Hub{tb: tb, details: payout.Details{Key: key, Description: "troco", Salt: "0123456789abcdef"}, missed: time.Now()}
	f, err := payout.Propose(payout.Intent{
		ID: payout.ID(fmt.Sprintf("T001%021d", n)), Kind: payout.ToKey, Merchant: "loja", Route: route, Amount: amount, By: "ana", Approvers: 1, Resend: resend,
	}, h.details, 0, nil)
	if err != nil {
		tb.Fatal(err)
	}
	h.Commit(f)
	return h
}

// Commit writes a fact down; nil is none.
func (h *Hub) Commit(f payout.Fact) {
	h.tb.Helper()
	if f == nil {
		return
	}
	next, err := h.Payout.Apply(f)
	if err != nil {
		h.tb.Fatal(err)
	}
	h.Payout, h.Disk = next, append(h.Disk, f)
}

// Submit makes the order, approved if need be: what is on disk when it returns
// allows one sending.
func (h *Hub) Submit() (payout.Order, error) {
	h.Commit(h.Payout.Lapsed(time.Now()))
	if h.Payout.State == payout.Proposed {
		f, err := h.Payout.Approve(h.Payout.Digest, "bia", time.Now())
		if err != nil {
			h.tb.Fatal(err)
		}
		h.Commit(f)
	}
	f, err := h.Payout.Submit(time.Now())
	if err != nil {
		return payout.Order{}, err
	}
	h.Commit(f)
	if h.sent.IsZero() {
		h.sent = time.Now()
	}
	return h.Payout.Order(h.details)
}

// Ask asks what became of the order.
func (h *Hub) Ask(s payout.Sender) {
	a, err := s.FindPayout(h.tb.Context(), h.Payout.Ref(h.sent))
	switch e, ok := errors.AsType[*providers.Error](err); {
	case err == nil:
		h.Commit(h.Payout.Observe(a))
	case ok && e.Kind == providers.NotFound:
		if f := h.Payout.Missing(a.Digest, time.Since(h.missed)); f != nil {
			h.Commit(f)
			h.missed = time.Now()
		}
	}
}

// Crash loses what is not on disk.
func (h *Hub) Crash() {
	p, err := payout.Fold(h.Disk)
	if err != nil {
		h.tb.Fatal(err)
	}
	h.Payout, h.missed = p, time.Now()
	h.Commit(p.Interrupted())
}
