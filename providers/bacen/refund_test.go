package bacen

import (
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ssg-safe/agent/money"
	"github.com/ssg-safe/agent/payout"
	"github.com/ssg-safe/agent/providers"
	"github.com/ssg-safe/agent/providers/bacen/bacensim"
	"github.com/ssg-safe/agent/providers/simkit"
)

// refundOrder is an approved refund that is being submitted.
func refundOrder(t *testing.T, id payout.ID, endToEnd string, amount money.Amount) (payout.Payout, payout.Order) {
	t.Helper()
	d := payout.Details{Salt: "0123456789abcdef"}
	f, err := payout.Propose(payout.Intent{
		ID: id, Kind: payout.Refund, Merchant: "loja", Route: "banco", Amount: amount, Charge: "C", EndToEnd: endToEnd, By: "ana", Approvers: 1, Resend: true,
	}, d, 1<<40, nil)
	if err != nil {
		t.Fatal(err)
	}
	p, err := payout.Fold([]payout.Fact{f})
	if err != nil {
		t.Fatal(err)
	}
	approved, err := p.Approve(p.Digest, "bia", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if p, err = p.Apply(approved); err != nil {
		t.Fatal(err)
	}
	sub, err := p.Submit(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if p, err = p.Apply(sub); err != nil {
		t.Fatal(err)
	}
	o, err := p.Order(d)
	if err != nil {
		t.Fatal(err)
	}
	return p, o
}

// refunding is a client for refunds, and a simulator with one payment of 10.00.
func refunding(t *testing.T, o bacensim.Options) (*Refunds, *bacensim.Sim, string) {
	t.Helper()
	o.Modes.Refunds = true
	sim := newSim(t, o)
	if err := sim.Receive(static, 1000); err != nil {
		t.Fatal(err)
	}
	r, err := NewRefunds(config(t), providers.Memory(sim), slog.New(slog.NewTextHandler(t.Output(), nil)))
	if err != nil {
		t.Fatal(err)
	}
	return r, sim, sim.Received()[0].EndToEnd
}

const refundA, refundB payout.ID = "HUB00000000000000000000A1", "HUB00000000000000000000B1"

// A payment goes back in parts, each once however often it is sent, and never more
// than was paid.
func TestRefund(t *testing.T) {
	for name, again := range map[string]bool{"the same again is answered": false, "the same again is refused": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r, sim, paid := refunding(t, bacensim.Options{RefundAfter: 5 * time.Second, Modes: bacensim.Modes{RefuseAgain: again}})
				p, o := refundOrder(t, refundA, paid, 600)
				for range 2 {
					a, err := r.SubmitRefund(t.Context(), o)
					if err != nil || a.State != payout.Processing || a.Amount == nil || *a.Amount != 600 || a.Digest == "" || !strings.HasPrefix(a.EndToEnd, "D") {
						t.Fatalf("got %+v (%v)", a, err)
					}
				}
				time.Sleep(5 * time.Second)
				a, err := r.FindRefund(t.Context(), p.Ref(time.Now()))
				if err != nil || a.State != payout.Settled {
					t.Errorf("got %+v (%v)", a, err)
				}
				_, more := refundOrder(t, refundB, paid, 401)
				if _, err := r.SubmitRefund(t.Context(), more); err == nil {
					t.Error("more goes back than was paid")
				}
				if got := sim.Refunds(); len(got) != 1 || sim.Refunded() != 600 {
					t.Errorf("the bank has %+v", got)
				}
			})
		})
	}
}

// What the bank says, and what is lost, leads where it must.
func TestRefundFaults(t *testing.T) {
	for name, tt := range map[string]struct {
		rule  simkit.Rule
		kind  providers.Kind // 0: no error
		state payout.State
		found payout.State // when asked later
	}{
		"answer lost":      {simkit.Rule{Fault: simkit.DropAfter}, providers.Ambiguous, payout.Unknown, payout.Settled},
		"never arrived":    {simkit.Rule{Fault: simkit.DropBefore}, providers.Ambiguous, payout.Unknown, ""},
		"error after":      {simkit.Rule{Fault: simkit.ErrorAfter, Arg: "503"}, providers.Ambiguous, payout.Unknown, payout.Settled},
		"a web page":       {simkit.Rule{Fault: simkit.HTML}, providers.Contract, payout.Unknown, ""},
		"half an answer":   {simkit.Rule{Fault: simkit.Truncate}, providers.Contract, payout.Unknown, payout.Settled},
		"another's answer": {simkit.Rule{Fault: simkit.Echo}, providers.Security, payout.Unknown, payout.Settled},
		"a strange word":   {simkit.Rule{Fault: simkit.Word, Arg: "FEITO"}, 0, payout.Unknown, payout.Settled},
		"it fails":         {simkit.Rule{Fault: bacensim.NotDone}, 0, payout.Processing, payout.Failed},
		"too many":         {simkit.Rule{Fault: simkit.Rate, Arg: "5s"}, providers.Rate, payout.Approved, ""},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r, sim, paid := refunding(t, bacensim.Options{RefundAfter: time.Second})
				tt.rule.Route, tt.rule.Next = bacensim.RouteRefund, 1
				if err := sim.Script().Set(tt.rule); err != nil {
					t.Fatal(err)
				}
				p, o := refundOrder(t, refundA, paid, 1000)
				a, err := r.SubmitRefund(t.Context(), o)
				e, _ := errors.AsType[*providers.Error](err)
				if tt.kind == 0 && err != nil || tt.kind != 0 && (e == nil || e.Kind != tt.kind) {
					t.Fatalf("got %v, want %v", err, tt.kind)
				}
				next, err := p.Apply(p.Submitted(o, a, err))
				if err != nil || next.State != tt.state {
					t.Fatalf("got %s (%v), want %s", next.State, err, tt.state)
				}
				time.Sleep(10 * time.Second)
				a, err = r.FindRefund(t.Context(), next.Ref(time.Now()))
				if tt.found == "" {
					if e, _ := errors.AsType[*providers.Error](err); e == nil || e.Kind != providers.NotFound || a.Digest == "" {
						t.Errorf("got %+v (%v), want not found", a, err)
					}
				} else if err != nil || a.State != tt.found {
					t.Errorf("got %+v (%v), want %s", a, err, tt.found)
				}
			})
		})
	}
}

// A payment that the bank does not know is no refund that is not there, and the
// credentials of a terminal give nothing back.
func TestRefundIsBound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, sim, paid := refunding(t, bacensim.Options{})
		other := "E" + strings.Repeat("0", 31)
		_, err := r.FindRefund(t.Context(), payout.Ref{ID: refundA, EndToEnd: other})
		wantError(t, err, providers.Operator, "no_payment")
		_, err = r.FindRefund(t.Context(), payout.Ref{ID: refundA, EndToEnd: paid + "/../x"})
		wantError(t, err, providers.Invalid, "invalid_id")

		c, err := New(config(t), providers.Memory(sim), nil)
		if err != nil {
			t.Fatal(err)
		}
		_, o := refundOrder(t, refundA, paid, 1000)
		_, err = (&Refunds{c}).SubmitRefund(t.Context(), o)
		wantError(t, err, providers.Forbidden, "AcessoNegado")
		if n := len(sim.Refunds()); n != 0 {
			t.Errorf("%d refunds with a terminal's credentials", n)
		}
	})
}

func FuzzRefund(f *testing.F) {
	const good = `{"id":"A1","rtrId":"D00000000202601010001aaaaaaaaaaa","valor":"10.00","horario":{"solicitacao":"2026-01-01T00:00:00Z"},"status":"DEVOLVIDO"}`
	for _, s := range []string{good, good[:40], `{}`, `null`, `{"id":7}`, strings.Replace(good, "10.00", "-1.00", 1), strings.Replace(good, "DEVOLVIDO", "", 1)} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		d, err := parseRefund(body)
		if err == nil && (d.amount <= 0 || !isTxID(d.id, 1) || d.word == "") {
			t.Errorf("took %+v", d)
		}
	})
}
