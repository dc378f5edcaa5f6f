package terminal_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/ssg-safe/agent/charge"
	"github.com/ssg-safe/agent/display"
	"github.com/ssg-safe/agent/ledger"
	"github.com/ssg-safe/agent/money"
	"github.com/ssg-safe/agent/printer/emulator"
	"github.com/ssg-safe/agent/providers"
	"github.com/ssg-safe/agent/store"
	"github.com/ssg-safe/agent/terminal"
)

// paid is a charge of 12,34 that was paid by E1, and whose receipt was printed.
func (r *rig) paid() charge.ID {
	r.Helper()
	id := r.begin()
	r.route.pays(1234, "E1")
	r.pass(30 * time.Second)
	if c := r.fold(id); c.State != charge.Paid {
		r.Fatal(c.State)
	}
	return id
}

func word(id charge.ID, refund string, amount money.Amount) terminal.Refund {
	return terminal.Refund{ID: refund, Charge: id, Amount: amount, EndToEnd: "E1", Digest: "ee"}
}

// tell hands the hub's word over and reports whether it was to change anything.
func (r *rig) tell(w terminal.Refund, want terminal.RefundOutcome) {
	r.Helper()
	commits, marks := r.store.Stats().Commits, 0
	got, err := r.term.Refund(r.Context(), w, mark(&marks))
	r.pass(0)
	if err != nil || got != want {
		r.Fatalf("refund %s of %s: %s, %v; want %s", w.ID, w.Amount, got, err, want)
	}
	if made := r.store.Stats().Commits - commits; (want != terminal.RefundKnown) != (marks == 1 && made == 1) {
		r.Errorf("refund %s: %s with %d commits and %d marks", w.ID, got, made, marks)
	}
}

// sums are the ledger's accounts, of the store when it was audited.
func (r *rig) sums() map[ledger.Account]money.Amount {
	r.Helper()
	r.stop()
	s := r.audit().Sums
	r.start()
	return s
}

// TestRefunds: a payment goes back in two parts, each told again and again, with
// restarts in between; more than came, and what is of no payment, goes to suspense and
// to a person.
func TestRefunds(t *testing.T) {
	bubble(t, func(r *rig) {
		id := r.paid()
		r.tell(word(id, "R1", 400), terminal.RefundRecorded)
		r.tell(word(id, "R1", 400), terminal.RefundKnown)
		if c := r.fold(id); c.State != charge.PartiallyRefunded || c.RefundedSum != 400 {
			r.Errorf("%s, %s went back", c.State, c.RefundedSum)
		}
		r.restart(true)
		r.tell(word(id, "R1", 400), terminal.RefundKnown)
		r.tell(word(id, "R2", 834), terminal.RefundRecorded)
		r.restart(false)
		r.tell(word(id, "R2", 834), terminal.RefundKnown)
		if record, err := r.term.Record(id); err != nil || record.Charge.State != charge.Refunded || len(record.Charge.Refunds) != 2 {
			r.Errorf("%+v, %v", record.Charge, err)
		}
		if n := r.count(terminal.ChargeRefunded); n != 2 {
			r.Errorf("%d events about refunds", n)
		}

		r.tell(word(id, "R3", 1), terminal.RefundUnmatched)
		r.tell(word(id, "R3", 1), terminal.RefundKnown)
		other := word(id, "R4", 100)
		other.EndToEnd = "E9"
		r.tell(other, terminal.RefundUnmatched)
		gone := word("T00100000000000000000000X", "R5", 50)
		r.tell(gone, terminal.RefundNowhere)
		r.restart(true)
		r.tell(gone, terminal.RefundKnown)
		back := word(id, "R1", 400)
		back.CameBack = true
		r.tell(back, terminal.RefundUnmatched)
		r.tell(back, terminal.RefundKnown)
		never := word(id, "R6", 5)
		never.CameBack = true
		r.tell(never, terminal.RefundKnown)

		list := r.tickets()
		if len(list) != 4 || r.count(terminal.TicketOpened) != 4 {
			r.Errorf("tickets %+v", list)
		}
		for _, x := range list {
			if x.Kind != "refund_mismatch" || x.Refunded == nil || x.Why == "" || x.Merchant != "loja" || x.Owner != "" {
				r.Errorf("ticket %+v", x)
			}
		}
		if c := r.fold(id); c.State != charge.Refunded || c.RefundedSum != 1234 {
			r.Errorf("%s, %s went back", c.State, c.RefundedSum)
		}
		x, err := r.term.Closing(r.Context(), terminal.ClosingRequest{})
		if err != nil {
			r.Fatal(err)
		}
		var refunded, unmatched money.Amount
		for _, l := range x.Lines {
			refunded, unmatched = refunded+l.Refunded.Sum, unmatched+l.Unmatched.Sum
		}
		if x.Received() != 1234 || refunded != 1234 || unmatched != 151-400 || x.Returned().Sum != 1234+151-400 {
			r.Errorf("closing %+v", x)
		}
		want := map[ledger.Account]money.Amount{
			ledger.PixClearing: 400 - 151, ledger.Sales: -1234, ledger.Refunds: 1234, ledger.Suspense: 151 - 400,
		}
		for account, sum := range r.sums() {
			if sum != want[account] {
				r.Errorf("%s has %s, want %s", account, sum, want[account])
			}
		}
	})
}

// TestRefundsInAnyOrder: whatever comes first, and however often, the end is the same.
func TestRefundsInAnyOrder(t *testing.T) {
	orders := [][]string{{"R1", "R2", "R3"}, {"R3", "R2", "R1"}, {"R2", "R1", "R2", "R3", "R1"}, {"R1", "R1", "R3", "R3", "R2", "R2"}}
	for _, order := range orders {
		bubble(t, func(r *rig) {
			id := r.paid()
			for i, name := range order {
				if _, err := r.term.Refund(r.Context(), word(id, name, 411), mark(new(int))); err != nil {
					r.Fatal(err)
				}
				if i%2 == 1 {
					r.restart(i%4 == 1)
				}
			}
			if c := r.fold(id); c.RefundedSum != 1233 || len(c.Refunds) != 3 || len(r.tickets()) != 0 {
				r.Errorf("%v: %s went back in %d", order, c.RefundedSum, len(c.Refunds))
			}
		})
	}
}

// TestRefundOfUnknownOutcome: a commit that failed leaves nothing or all, and the same
// word again finds out which.
func TestRefundOfUnknownOutcome(t *testing.T) {
	for _, kept := range []bool{false, true} {
		bubble(t, func(r *rig) {
			fail := false
			r.stop()
			r.commit = func(tx *bbolt.Tx) error {
				switch {
				case fail && kept:
					return errors.Join(errors.New("input/output error"), tx.Commit())
				case fail:
					return errors.Join(errors.New("input/output error"), tx.Rollback())
				}
				return tx.Commit()
			}
			r.start()
			id := r.paid()
			fail = true
			if _, err := r.term.Refund(r.Context(), word(id, "R1", 400), mark(new(int))); !errors.Is(err, store.ErrOutcomeUnknown) {
				r.Errorf("got %v, want ErrOutcomeUnknown", err)
			}
			<-r.ended
			fail = false
			r.start()
			want := terminal.RefundRecorded
			if kept {
				want = terminal.RefundKnown
			}
			r.tell(word(id, "R1", 400), want)
			if c := r.fold(id); c.RefundedSum != 400 {
				r.Errorf("%s went back", c.RefundedSum)
			}
		})
	}
}

// TestRefundRefusedByItsSender: what the caller's part refuses changes nothing.
func TestRefundRefusedByItsSender(t *testing.T) {
	bubble(t, func(r *rig) {
		id := r.paid()
		refusal := errors.New("not now")
		for _, w := range []terminal.Refund{word(id, "R1", 400), word(id, "R2", 5000), word("T00100000000000000000000X", "R3", 1)} {
			if _, err := r.term.Refund(r.Context(), w, func(*bbolt.Tx) error { return refusal }); !errors.Is(err, refusal) {
				r.Errorf("got %v, want %v", err, refusal)
			}
			r.pass(0)
		}
		if c := r.fold(id); c.State != charge.Paid || len(r.tickets()) != 0 {
			r.Errorf("%s, tickets %v", c.State, r.tickets())
		}
		r.tell(word(id, "R1", 400), terminal.RefundRecorded)
	})
}

// returnsAs makes every status question end in a payment of 12,34 by E1 of which parts
// went back.
func (r *route) returnsAs(s providers.Status, parts ...providers.Return) {
	amount := money.Amount(1234)
	r.on(func(_ context.Context, ref providers.Ref) (providers.Charge, error) {
		return providers.Charge{
			ProviderID: ref.ProviderID, Status: s, Word: "DEVOLVIDO", Amount: &amount, EndToEnd: "E1", Returns: parts, Digest: "d3",
		}, nil
	})
}

// TestReturnedBeforeItWasKnown: money that had gone back whole when it was learnt that it
// had come is a cancelled charge with late money that was given back: nothing is handed
// out for it, and nobody has to do anything.
func TestReturnedBeforeItWasKnown(t *testing.T) {
	bubble(t, func(r *rig) {
		r.edit = func(c *terminal.Config) {
			c.Reconcile = terminal.Reconcile{Days: 3, Owner: "loja", Deadline: time.Hour}
		}
		r.restart(false)
		id := r.begin()
		r.route.returnsAs(providers.StatusRefunded)
		r.pass(5 * time.Second)
		r.shows(display.Cancelled)
		c := r.fold(id)
		if c.State != charge.Refunded || !c.Late || c.RefundedSum != 1234 || slices.Contains(r.screen.states(), display.Paid) {
			r.Errorf("%s, late %v; the screen showed %v", c.State, c.Late, r.screen.states())
		}
		if r.count(terminal.ChargePaid) != 0 || r.count(terminal.ChargeEnded) != 1 || r.count(terminal.PaymentOdd) != 0 {
			r.Errorf("%d paid, %d ended, %d odd", r.count(terminal.ChargePaid), r.count(terminal.ChargeEnded), r.count(terminal.PaymentOdd))
		}
		r.pass(2 * time.Hour) // compared again and again
		if len(r.tickets()) != 0 {
			r.Errorf("tickets %+v", r.tickets())
		}
		if ids := r.printer.ids(); len(ids) != 1 {
			r.Errorf("printed %v, want the code alone", ids)
		}
		x, err := r.term.Closing(r.Context(), terminal.ClosingRequest{})
		if err != nil || len(x.Lines) != 1 || x.Lines[0].Paid.Count != 0 || x.Lines[0].Late.Sum != 1234 || x.Lines[0].Refunded.Sum != 1234 || x.Lines[0].Cancelled.Count != 1 {
			r.Errorf("closing %+v, %v", x, err)
		}
		for account, sum := range r.sums() {
			if sum != 0 {
				r.Errorf("%s has %s", account, sum)
			}
		}
	})
}

// TestReturnedInPartBeforeItWasKnown: what the payer kept paid for is a sale.
func TestReturnedInPartBeforeItWasKnown(t *testing.T) {
	bubble(t, func(r *rig) {
		id := r.begin()
		r.route.returnsAs(providers.StatusPaid, providers.Return{ID: "B1", Amount: 200})
		r.pass(3 * time.Second)
		r.shows(display.Paid)
		if c := r.fold(id); c.State != charge.PartiallyRefunded || c.Late || c.RefundedSum != 200 {
			r.Errorf("%s, late %v, %s went back", c.State, c.Late, c.RefundedSum)
		}
		r.pass(10 * time.Second)
		if ids := r.printer.ids(); len(ids) != 2 || r.count(terminal.ChargePaid) != 1 {
			r.Errorf("printed %v, want code and receipt", ids)
		}
		if text := emulator.Render(r.printer.jobs[len(r.printer.jobs)-1].Bytes, 576)[0].Text(); !strings.Contains(text, "DEVOLVIDO AO PAGADOR: R$ 2,00") {
			r.Errorf("the receipt does not say what went back:\n%s", text)
		}
		// The hub tells of the same one, and of another.
		r.tell(word(id, "B1", 200), terminal.RefundKnown)
		r.tell(word(id, "R2", 34), terminal.RefundRecorded)
	})
}

// TestProviderTellsOfARefund: a comparison learns what went back, and the hub's word
// about the same is not counted again, by whichever name.
func TestProviderTellsOfARefund(t *testing.T) {
	bubble(t, func(r *rig) {
		r.edit = func(c *terminal.Config) {
			c.Reconcile = terminal.Reconcile{Days: 3, Owner: "loja", Deadline: time.Hour}
		}
		r.restart(false)
		id := r.paid()
		r.route.returnsAs(providers.StatusRefunded)
		r.pass(time.Hour + 10*time.Minute)
		if c := r.fold(id); c.State != charge.Refunded || c.Payments[0].Unnamed != 1234 {
			r.Fatalf("%s: %+v", c.State, c.Payments)
		}
		r.tell(word(id, "R1", 1000), terminal.RefundRecorded)
		r.tell(word(id, "R2", 234), terminal.RefundRecorded)
		r.tell(word(id, "R3", 1), terminal.RefundUnmatched)
		if c := r.fold(id); c.Payments[0].Refunded != 1234 || c.Payments[0].Unnamed != 0 {
			r.Errorf("%+v", c.Payments)
		}
		if x, err := r.term.Closing(r.Context(), terminal.ClosingRequest{}); err != nil || x.Returned().Sum != 1234+1 {
			r.Errorf("closing %+v, %v", x, err)
		}
		if sums := r.sums(); sums[ledger.Refunds] != 1234 || sums[ledger.Suspense] != 1 || sums[ledger.PixClearing] != -1 {
			r.Errorf("sums %v", sums)
		}
	})
}

// TestRefundKnownByWhatWasSent: what the bank lists under an id of its own is the hub's
// refund, known by the money that went, also when its charge is gone, and when it comes back.
func TestRefundKnownByWhatWasSent(t *testing.T) {
	bubble(t, func(r *rig) {
		id := r.begin()
		r.route.returnsAs(providers.StatusPaid, providers.Return{ID: "panel", Sent: "D1", Amount: 400})
		r.pass(10 * time.Second)
		w := word(id, "HUB1", 400)
		w.Sent = "D1"
		for _, want := range []terminal.RefundOutcome{terminal.RefundRecorded, terminal.RefundKnown} {
			r.tell(w, want)
			r.restart(true)
		}
		pruned := w
		pruned.Charge = "T00100000000000000000000X"
		r.tell(pruned, terminal.RefundKnown)
		other := pruned
		other.ID = "HUB2"
		r.tell(other, terminal.RefundKnown)
		slip := w
		slip.ID, slip.Amount = "HUB3", 300 // a person's: it is looked at, and not booked again
		r.tell(slip, terminal.RefundUnmatched)
		r.tell(slip, terminal.RefundKnown)
		w.CameBack = true
		r.tell(w, terminal.RefundUnmatched)
		r.tell(w, terminal.RefundKnown)
		if list := r.tickets(); len(list) != 2 {
			r.Errorf("tickets %+v", list)
		}
		if sums := r.sums(); sums[ledger.Refunds] != 400 || sums[ledger.Suspense] != -400 || sums[ledger.PixClearing] != 1234 {
			r.Errorf("sums %v", sums)
		}
	})
}

// TestRefundBeforeItsPayment: a terminal that was restored may be told of a refund before it
// has learnt again that the money came. What went to suspense is taken out of it when the
// refund finds its payment, whoever tells of it then.
func TestRefundBeforeItsPayment(t *testing.T) {
	for name, find := range map[string]func(r *rig, id charge.ID){
		"the provider lists it": func(r *rig, _ charge.ID) {
			r.route.returnsAs(providers.StatusPaid, providers.Return{ID: "R1", Amount: 400})
			r.pass(10 * time.Second)
		},
		"the hub tells again": func(r *rig, id charge.ID) {
			r.route.pays(1234, "E1")
			r.pass(10 * time.Second)
			r.tell(word(id, "R1", 400), terminal.RefundRecorded)
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(r *rig) {
				id := r.begin()
				r.tell(word(id, "R1", 400), terminal.RefundUnmatched)
				find(r, id)
				r.tell(word(id, "R1", 400), terminal.RefundKnown)
				if c := r.fold(id); c.State != charge.PartiallyRefunded || c.RefundedSum != 400 {
					r.Errorf("%s, %s went back", c.State, c.RefundedSum)
				}
				if x, err := r.term.Closing(r.Context(), terminal.ClosingRequest{}); err != nil || x.Returned().Sum != 400 {
					r.Errorf("closing %+v, %v", x, err)
				}
				want := map[ledger.Account]money.Amount{ledger.PixClearing: 834, ledger.Sales: -1234, ledger.Refunds: 400}
				for account, sum := range r.sums() {
					if sum != want[account] {
						r.Errorf("%s has %s, want %s", account, sum, want[account])
					}
				}
				back := word(id, "R1", 400)
				back.CameBack = true
				r.tell(back, terminal.RefundUnmatched)
				if sums := r.sums(); sums[ledger.Suspense] != -400 {
					r.Errorf("sums %v", sums)
				}
			})
		})
	}
}

// TestRefundOfAPaymentOfTwoCharges: a provider that tells of one payment, and of its refund,
// at two charges does not end the terminal.
func TestRefundOfAPaymentOfTwoCharges(t *testing.T) {
	bubble(t, func(r *rig) {
		r.edit = func(c *terminal.Config) {
			c.Reconcile = terminal.Reconcile{Days: 3, Owner: "loja", Deadline: time.Hour}
		}
		r.restart(false)
		first := r.begin()
		r.route.pays(900, "E1") // another amount: in suspense
		r.pass(10 * time.Second)
		r.tell(word(first, "R1", 400), terminal.RefundRecorded)
		r.route.answer(providers.StatusExpired)
		r.pass(10 * time.Minute)
		second := r.paid()
		r.route.returnsAs(providers.StatusPaid, providers.Return{ID: "R1", Amount: 400})
		r.pass(2 * time.Hour)
		select {
		case err := <-r.ended:
			r.Fatalf("the terminal ended: %v", err)
		default:
		}
		if c := r.fold(second); c.State != charge.Paid || c.RefundedSum != 0 {
			r.Errorf("%s, %s went back", c.State, c.RefundedSum)
		}
		if sums := r.sums(); sums[ledger.PixClearing] != 900+1234-400 {
			r.Errorf("sums %v", sums)
		}
	})
}

// TestReceiptOfARefund: a copy of the receipt says what went back.
func TestReceiptOfARefund(t *testing.T) {
	bubble(t, func(r *rig) {
		id := r.paid()
		r.tell(word(id, "R1", 400), terminal.RefundRecorded)
		if _, err := r.term.Reprint(r.Context(), id); err != nil {
			r.Fatal(err)
		}
		r.pass(10 * time.Second)
		text := emulator.Render(r.printer.jobs[len(r.printer.jobs)-1].Bytes, 576)[0].Text()
		for _, want := range []string{"2ª VIA", "PAGAMENTO CONFIRMADO", "DEVOLVIDO AO PAGADOR: R$ 4,00"} {
			if !strings.Contains(text, want) {
				r.Errorf("the slip does not say %q:\n%s", want, text)
			}
		}
	})
}

// TestStaticCodeThatWasReturned: a payment of a code made here that had gone back when it
// was found is nobody's sale, whether the bank names the refunds or not.
func TestStaticCodeThatWasReturned(t *testing.T) {
	for name, p := range map[string]providers.Payment{
		"named":   {Returns: []providers.Return{{ID: "B1", Amount: 1000}, {ID: "B2", Amount: 234}}, Returned: true},
		"unnamed": {Returned: true},
	} {
		t.Run(name, func(t *testing.T) {
			offline(t, hold(), func(r *rig, b *bank) {
				b.set(providers.NotSent)
				id := r.makeOffline()
				p.EndToEnd, p.TxID, p.Amount, p.At, p.Digest = "E1", string(id), 1234, time.Now(), "d3"
				b.mu.Lock()
				b.received[string(id)] = []providers.Payment{p}
				b.mu.Unlock()
				b.set(0)
				r.pass(10 * time.Minute)
				if c := r.fold(id); c.State != charge.Refunded || !c.Late || c.RefundedSum != 1234 || len(c.Refunds) != max(len(p.Returns), 1) {
					r.Errorf("%s, late %v, %s went back in %d", c.State, c.Late, c.RefundedSum, len(c.Refunds))
				}
				if slices.Contains(r.screen.states(), display.Paid) || r.count(terminal.ChargePaid) != 0 {
					r.Errorf("the screen showed %v", r.screen.states())
				}
			})
		})
	}
}

// TestRefundHistories: whatever the hub and the provider tell of a payment, in whatever
// order and however often, with restarts in between, the ledger's accounts are what the
// charge's payments say and what went to suspense, and no more than was told.
func TestRefundHistories(t *testing.T) {
	for seed := range uint64(12) {
		bubble(t, func(r *rig) {
			rng := rand.New(rand.NewPCG(seed, 7))
			r.edit = func(c *terminal.Config) {
				c.Reconcile = terminal.Reconcile{Days: 3, Owner: "loja", Deadline: time.Hour}
			}
			r.restart(false)
			id := r.paid()
			var listed []providers.Return // by the bank: the sum of these is what has left
			var sent money.Amount
			told := map[string]terminal.Refund{}
			odd := money.Amount(0)
			for n := range 14 {
				switch rng.IntN(4) {
				case 0: // the bank gives a part back, of the hub's order or of somebody in its panel
					if amount := money.Amount(1 + rng.IntN(500)); sent+amount <= 1234 {
						sent += amount
						listed = append(listed, providers.Return{ID: fmt.Sprint("R", n), Sent: fmt.Sprint("D", n), Amount: amount})
						s := providers.StatusPaid
						if sent == 1234 {
							s = providers.StatusRefunded
						}
						r.route.returnsAs(s, slices.Clone(listed)...)
					}
				case 1: // the hub tells of one, perhaps under an id of its own
					if len(listed) == 0 {
						continue
					}
					x := listed[rng.IntN(len(listed))]
					w := word(id, x.ID, x.Amount)
					if w.Sent = x.Sent; rng.IntN(3) == 0 {
						w.ID = "HUB" + x.ID
					}
					told[w.ID] = w
					if _, err := r.term.Refund(r.Context(), w, mark(new(int))); err != nil {
						r.Fatal(err)
					}
				case 2: // what was told comes again
					for _, w := range told {
						if what, err := r.term.Refund(r.Context(), w, mark(new(int))); err != nil || what != terminal.RefundKnown {
							r.Fatalf("again: %s, %v", what, err)
						}
					}
				case 3:
					r.restart(rng.IntN(2) == 0)
					r.pass(time.Hour + time.Duration(rng.IntN(10))*time.Minute)
				}
				if n == 10 { // one that cannot be
					w := word(id, "ODD", 5000)
					told[w.ID], odd = w, 5000
					r.tell(w, terminal.RefundUnmatched)
				}
			}
			if report, classes := r.compare(); report.Problem != "" || classes != "matched" && classes != "refunded" {
				r.Errorf("seed %d: %s, %s", seed, classes, report.Problem)
			}
			c := r.fold(id)
			if c.RefundedSum != sent {
				r.Errorf("seed %d: %s went back here, %s at the bank: %+v", seed, c.RefundedSum, sent, c.Refunds)
			}
			want := map[ledger.Account]money.Amount{
				ledger.PixClearing: 1234 - sent - odd, ledger.Sales: -1234, ledger.Refunds: sent, ledger.Suspense: odd,
			}
			for account, sum := range r.sums() {
				if sum != want[account] {
					r.Errorf("seed %d: %s has %s, want %s", seed, account, sum, want[account])
				}
			}
		})
	}
}

// TestRefundsBeforeAndAfterTheirPayment: the hub tells of refunds under its own ids or the
// bank's, before the payment is learnt (again) and after, the bank names them or only says
// refunded, with restarts in between, and some of the money comes back: each is booked once.
func TestRefundsBeforeAndAfterTheirPayment(t *testing.T) {
	for seed := range uint64(20) {
		bubble(t, func(r *rig) {
			rng := rand.New(rand.NewPCG(seed, 9))
			r.edit = func(c *terminal.Config) {
				c.Reconcile = terminal.Reconcile{Days: 3, Owner: "loja", Deadline: time.Hour}
			}
			r.restart(false)
			id, paid, names := r.begin(), false, seed%2 == 0
			var listed []providers.Return
			var words []terminal.Refund
			var sent, back money.Amount
			bank := func() {
				status, list := providers.StatusPaid, slices.Clone(listed)
				if sent == 1234 {
					status = providers.StatusRefunded
				}
				if !names {
					list = nil
				}
				if paid {
					r.route.returnsAs(status, list...)
				}
			}
			say := func(w terminal.Refund, want terminal.RefundOutcome) {
				if what, err := r.term.Refund(r.Context(), w, mark(new(int))); err != nil || want != "" && what != want {
					r.Fatalf("seed %d: %+v: %s, %v", seed, w, what, err)
				}
			}
			for n := range 16 {
				switch rng.IntN(5) {
				case 0, 1:
					amount := min(money.Amount(1+rng.IntN(800)), 1234-sent)
					if amount == 0 {
						continue
					}
					sent += amount
					w := word(id, fmt.Sprint("R", n), amount)
					w.Sent = fmt.Sprint("D", n)
					listed = append(listed, providers.Return{ID: w.ID, Sent: w.Sent, Amount: amount})
					switch by := rng.IntN(4); {
					case by == 0:
						w.ID = "HUB" + w.ID
					case by == 1 && names: // by hand, and the payment's id taken down for that of what went
						w.ID, w.Sent, w.Digest, w.By = "HUB"+w.ID, w.EndToEnd, "", "bia"
					}
					words = append(words, w)
					bank()
				case 2:
					if len(words) > 0 {
						say(words[rng.IntN(len(words))], "")
					}
				case 3:
					paid = paid || rng.IntN(2) == 0
					bank()
					r.pass(5 * time.Second)
				case 4:
					r.restart(rng.IntN(2) == 0)
					r.pass(time.Duration(rng.IntN(70)) * time.Minute)
				}
			}
			paid = true
			bank()
			r.pass(25 * time.Hour) // the whole day is compared
			for _, want := range []terminal.RefundOutcome{"", terminal.RefundKnown} {
				for _, w := range words {
					say(w, want)
				}
			}
			for i, w := range words {
				if w.CameBack = true; i%3 == 0 {
					back += w.Amount
					say(w, terminal.RefundUnmatched)
					say(w, terminal.RefundKnown)
				}
			}
			if x, err := r.term.Closing(r.Context(), terminal.ClosingRequest{}); err != nil || x.Returned().Sum != sent-back {
				r.Errorf("seed %d: %s went back by the closing, want %s, %v", seed, x.Returned().Sum, sent-back, err)
			}
			c := r.fold(id)
			want := map[ledger.Account]money.Amount{
				ledger.PixClearing: 1234 - sent + back, ledger.Sales: -1234, ledger.Refunds: sent, ledger.Suspense: -back,
			}
			if c.Late {
				want[ledger.Sales], want[ledger.Refunds], want[ledger.CustomerCredit] = 0, 0, sent-1234
			}
			for account, sum := range r.sums() {
				if sum != want[account] {
					r.Errorf("seed %d: %s has %s, want %s: %+v", seed, account, sum, want[account], c)
				}
			}
		})
	}
}
