package bspaybr

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ssg-safe/agent/money"
	"github.com/ssg-safe/agent/payout"
	"github.com/ssg-safe/agent/providers"
	"github.com/ssg-safe/agent/providers/bspaybr/bspaybrsim"
	"github.com/ssg-safe/agent/providers/providertest"
	"github.com/ssg-safe/agent/providers/simkit"
	"github.com/ssg-safe/agent/redact"
)

func payouts(t *testing.T, c *Client) *Payouts {
	t.Helper()
	p, err := NewPayouts(c, Payer{Name: "Loja Remetente Ltda", Document: "11.222.333/0001-81"})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// hub sends a payout once.
type hub struct {
	*providertest.Hub
	t *testing.T
}

func propose(t *testing.T, n int, amount money.Amount, key redact.Text) hub {
	t.Helper()
	return hub{providertest.Propose(t, Name, n, amount, key, false), t}
}

func (h hub) send(p *Payouts) error {
	h.t.Helper()
	o, err := h.Submit()
	if err != nil {
		h.t.Fatal(err)
	}
	a, err := p.SubmitPayout(h.t.Context(), o)
	h.Commit(h.Payout.Submitted(o, a, err))
	return err
}

// TestPayout: the whole way of one payout. Its reference code comes by webhook, a
// hint; the status proves, and only with the payout's own callback address.
func TestPayout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, sim, all := tapped(t, bspaybrsim.Options{Balance: 100000, SettleAfter: 5 * time.Second}, nil)
		p, h := payouts(t, c), propose(t, 1, 15050, "fulano@exemplo.com.br")
		if err := h.send(p); err != nil || h.Payout.State != payout.Processing {
			t.Fatalf("got %s (%v), want processing", h.Payout.State, err)
		}
		want := sent{
			"POST /v3/pix/payment", "application/x-www-form-urlencoded", " ",
			"chave_pix=fulano%40exemplo.com.br&client_id=client-7&client_secret=c4nary-client-secret%2FXy77%2B%26%3D&cpf=11222333000181" +
				"&nome=Loja+Remetente+Ltda&urlnoty=https%3A%2F%2Fhub.example.com%2Fwh%2Fbspaybr%2F" + callbackToken(p.PayoutCallback("T001000000000000000000001")) + "&valor=150.50",
		}
		if got := (*all)[0]; got != want {
			t.Errorf("got  %+v\nwant %+v", got, want)
		}
		_, err := p.FindPayout(t.Context(), h.Payout.Ref(time.Now()))
		wantError(t, err, providers.Operator, "no_reference")
		time.Sleep(5 * time.Second)
		hook := sim.Webhooks(bspaybrsim.Bare, "")[0]
		e, err := ParseWebhook(hook.Header, []byte(hook.Body), webhookSecret)
		if err != nil || e.Kind != PayoutEvent || hook.URL != p.PayoutCallback(h.Payout.ID) {
			t.Fatalf("got %+v at %s (%v)", e, hook.URL, err)
		}
		ref := payout.Ref{ID: h.Payout.ID, ProviderID: e.Reference}
		a, err := p.FindPayout(t.Context(), ref)
		if err != nil {
			t.Fatal(err)
		}
		h.Commit(h.Payout.Observe(a))
		if h.Payout.State != payout.Settled || h.Payout.Odd {
			t.Errorf("got %+v, want it settled", h.Payout)
		}
		// The code of something else, such as a webhook somebody forged would name.
		_, err = p.FindPayout(t.Context(), payout.Ref{ID: "T001000000000000000000002", ProviderID: e.Reference})
		wantError(t, err, providers.Security, "wrong_callback")
		_, err = p.FindPayout(t.Context(), payout.Ref{ID: h.Payout.ID, ProviderID: "nothing"})
		wantError(t, err, providers.Operator, "")
	})
}

// TestPayoutRefusals: what the provider says leads where it must, and nothing is
// sent twice.
func TestPayoutRefusals(t *testing.T) {
	for name, tt := range map[string]struct {
		amount money.Amount
		rule   simkit.Rule
		want   payout.State
	}{
		"no money":            {100001, simkit.Rule{}, payout.Failed},
		"answer lost":         {100, simkit.Rule{Fault: simkit.DropAfter}, payout.Unknown},
		"error after":         {100, simkit.Rule{Fault: simkit.ErrorAfter, Arg: "500"}, payout.Unknown},
		"never arrived":       {100, simkit.Rule{Fault: simkit.DropBefore}, payout.Unknown},
		"a web page":          {100, simkit.Rule{Fault: simkit.HTML}, payout.Unknown},
		"a page after":        {100, simkit.Rule{Fault: simkit.HTMLAfter}, payout.Unknown},
		"half an answer":      {100, simkit.Rule{Fault: simkit.Truncate}, payout.Unknown},
		"a redirect":          {100, simkit.Rule{Fault: simkit.Redirect}, payout.Unknown},
		"too slow":            {100, simkit.Rule{Fault: simkit.Latency, Arg: "1h"}, payout.Unknown},
		"too many":            {100, simkit.Rule{Fault: simkit.Rate, Arg: "5s"}, payout.Approved},
		"refused":             {100, simkit.Rule{Fault: simkit.HTTP, Arg: "400"}, payout.Failed},
		"credentials":         {100, simkit.Rule{Fault: simkit.HTTP, Arg: "401"}, payout.Failed},
		"refused under 200":   {100, simkit.Rule{Fault: bspaybrsim.Inner, Arg: "403"}, payout.Failed},
		"broken under 200":    {100, simkit.Rule{Fault: bspaybrsim.Inner, Arg: "500"}, payout.Unknown},
		"exists under 200":    {100, simkit.Rule{Fault: bspaybrsim.Inner, Arg: "409"}, payout.Unknown},
		"accepted, perhaps":   {100, simkit.Rule{Fault: bspaybrsim.Inner, Arg: "202"}, payout.Unknown},
		"no number under 200": {100, simkit.Rule{Fault: bspaybrsim.Inner, Arg: "-"}, payout.Unknown},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, sim, _ := tapped(t, bspaybrsim.Options{Balance: 100000}, nil)
				p, h := payouts(t, c), propose(t, 1, tt.amount, "+5511987654321")
				if tt.rule.Fault != "" {
					tt.rule.Route = "payment"
					faults(t, sim, tt.rule)
				}
				err := h.send(p)
				if h.Payout.State != tt.want {
					t.Errorf("got %s (%v), want %s", h.Payout.State, err, tt.want)
				}
				synctest.Wait() // a client that left is logged a little later
				if n := sim.Log().Count("payment"); n != 1 {
					t.Errorf("%d requests were sent, want 1", n)
				}
				for _, canary := range []string{"987654321", "Remetente", "11222333000181", secret} {
					if err != nil && strings.Contains(err.Error(), canary) {
						t.Errorf("%q leaks into %v", canary, err)
					}
				}
				if h.Payout.State != payout.Unknown {
					return
				}
				// Asking changes nothing, however often: only evidence does.
				for range 3 {
					time.Sleep(time.Minute)
					h.Ask(p)
				}
				if _, err := h.Submit(); err == nil || h.Payout.State != payout.Unknown {
					t.Errorf("got %s (%v): an order of unknown outcome may be sent again", h.Payout.State, err)
				}
			})
		})
	}
}

// TestPaid reads answers to a payment.
func TestPaid(t *testing.T) {
	for body, want := range map[string]int{
		`[{"statusCode":200,"message":"ok"}]`:                 200,
		`{"statusCode":200,"message":"ok"}`:                   200,
		` [{"statusCode":200},{"statusCode":200}]`:            200,
		`[{"statusCode":403,"message":"Saldo insuficiente"}]`: 403,
		`[{"statusCode":200},{"statusCode":500}]`:             0,
		`[{"statusCode":"200"}]`:                              200,
		`[{"statusCode":200,"StatusCode":500}]`:               0,
		`[{"statusCode":200.0}]`:                              0,
		`[{"statusCode":1}]`:                                  0,
		`[{"message":"ok"}]`:                                  0,
		`[]`:                                                  0,
		`[null]`:                                              0,
		`[[{"statusCode":200}]]`:                              0,
		`[{"statusCode":200}`:                                 0,
		`{"statusCode":200} {"statusCode":500}`:               0,
		``:                                                    0,
		`<html>`:                                              0,
	} {
		if got, err := parsePaid([]byte(body)); got != want || (err == nil) != (want != 0) {
			t.Errorf("%s: got %d (%v), want %d", body, got, err, want)
		}
	}
}

// TestPayoutsAreChosen: a client by itself cannot send money, and a sender must be
// somebody.
func TestPayoutsAreChosen(t *testing.T) {
	c, _, _ := tapped(t, bspaybrsim.Options{}, nil)
	if _, can := any(c).(payout.Sender); can {
		t.Error("a client of its own can send money")
	}
	for field, from := range map[string]Payer{
		"name": {Document: "11222333000181"}, "document": {Name: "Loja"},
	} {
		_, err := NewPayouts(c, from)
		if e, ok := errors.AsType[*providers.FieldError](err); !ok || e.Field != field {
			t.Errorf("got %v, want it to name %s", err, field)
		}
	}
}
