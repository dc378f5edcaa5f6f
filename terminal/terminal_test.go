package terminal_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.etcd.io/bbolt"

	"github.com/ssg-safe/agent/charge"
	"github.com/ssg-safe/agent/display"
	"github.com/ssg-safe/agent/ledger"
	"github.com/ssg-safe/agent/printer"
	"github.com/ssg-safe/agent/providers"
	"github.com/ssg-safe/agent/queue"
	"github.com/ssg-safe/agent/store"
	"github.com/ssg-safe/agent/terminal"
)

func TestChargeIsPaid(t *testing.T) {
	bubble(t, func(r *rig) {
		r.shows(display.Idle)
		commits := r.store.Stats().Commits
		id := r.begin()
		v := r.shows(display.QR)
		if v.Amount != 1234 || !strings.HasPrefix(v.Code, "000201") || v.Payee != "COFRE TESTE LTDA" || v.Total != 5*time.Minute {
			r.Errorf("the QR screen shows %+v", v)
		}
		if !v.Printed {
			r.Error("the code was printed and the screen does not know")
		}
		r.route.pays(1234, "E1")
		r.pass(3 * time.Second)
		r.shows(display.Paid)
		r.pass(9 * time.Second)
		r.shows(display.Idle)

		want := []string{
			"charge.created", "charge.attempt", "slip.issued", "slip.printed",
			"charge.paid", "slip.issued", "slip.printed",
		}
		if diff := cmp.Diff(want, r.kinds()); diff != "" {
			r.Errorf("ledger (-want +got):\n%s", diff)
		}
		if c := r.fold(id); c.State != charge.Paid || c.Late {
			r.Errorf("folded from the ledger it is %s, late %v", c.State, c.Late)
		}
		if n := r.store.Stats().Commits - commits; n > 7 {
			r.Errorf("a charge with two slips cost %d commits, want at most 7", n)
		}
		for _, k := range []terminal.EventKind{terminal.ChargeCreated, terminal.ChargePaid} {
			if n := r.count(k); n != 1 {
				r.Errorf("%d events %s, want 1", n, k)
			}
		}
		if n := r.count(terminal.SlipPrinted); n != 2 {
			r.Errorf("%d slips printed, want 2", n)
		}
		if jobs := r.jobs(queue.List); len(jobs) != 0 {
			r.Errorf("jobs are left: %+v", jobs)
		}
	})
}

func TestViewsClaimOnlyWhatIsCommitted(t *testing.T) {
	bubble(t, func(r *rig) {
		hold := make(chan struct{})
		r.route.create = func(ctx context.Context, in providers.Intent) (providers.Charge, error) {
			<-hold
			return r.route.accept(ctx, in)
		}
		r.keys("1234E")
		r.shows(display.Creating)
		close(hold)
		synctest.Wait()
		r.shows(display.QR)
	})
}

func TestAmountEntry(t *testing.T) {
	bubble(t, func(r *rig) {
		r.keys("0")
		if v := r.shows(display.Amount); v.Amount != 0 || v.Min != 100 || v.Max != 500000 {
			r.Errorf("got %+v", v)
		}
		r.keys("99E") // below the minimum
		r.shows(display.Amount)
		r.keys("BB500000009") // the last digits do not fit
		if v := r.shows(display.Amount); v.Amount != 500000 {
			r.Errorf("got %d centavos, want 500000", v.Amount)
		}
		r.keys("C")
		r.shows(display.Idle)
		r.keys("12")
		r.pass(61 * time.Second)
		r.shows(display.Idle)
		if len(r.kinds()) != 0 {
			r.Error("typing left entries in the ledger")
		}
	})
}

func TestExpiry(t *testing.T) {
	bubble(t, func(r *rig) {
		id := r.begin()
		r.pass(5*time.Minute + time.Second)
		r.shows(display.Verifying)
		r.pass(15 * time.Second)
		r.shows(display.Expired)
		if c := r.fold(id); c.State != charge.Expired {
			r.Errorf("state %s", c.State)
		}
		asked := r.route.questions()
		r.pass(time.Hour)
		r.shows(display.Idle)
		if n := r.route.questions() - asked; n < 9 || n > 11 {
			r.Errorf("asked %d times for late money, want about 10", n)
		}
	})
}

func TestPaidInTheLastSecond(t *testing.T) {
	bubble(t, func(r *rig) {
		id := r.begin()
		r.pass(5*time.Minute + 5*time.Second)
		r.shows(display.Verifying)
		r.route.pays(1234, "E1")
		r.pass(3 * time.Second)
		r.shows(display.Paid)
		if c := r.fold(id); c.State != charge.Paid || c.Late {
			r.Errorf("state %s, late %v", c.State, c.Late)
		}
	})
}

func TestLateMoneyStaysOutOfTheNextSession(t *testing.T) {
	bubble(t, func(r *rig) {
		id := r.begin()
		r.pass(5*time.Minute + 40*time.Second)
		r.keys("E")
		first := id
		r.route.on(func(_ context.Context, ref providers.Ref) (providers.Charge, error) {
			a := providers.Charge{ProviderID: ref.ProviderID, Status: providers.StatusPending, Word: "PENDENTE", Digest: "d"}
			if strings.HasPrefix(ref.ProviderID, string(first)) {
				a.Status, a.Word = providers.StatusPaid, "PAGO"
			}
			return a, nil
		})
		second := r.begin()
		slips := len(r.printer.ids())
		r.pass(40 * time.Second)
		if v := r.shows(display.QR); v.Charge != string(second) {
			r.Errorf("the screen is about %s", v.Charge)
		}
		if c := r.fold(first); c.State != charge.Paid || !c.Late {
			r.Errorf("the first charge is %s, late %v", c.State, c.Late)
		}
		if n := len(r.printer.ids()); n != slips {
			r.Errorf("late money printed %d slips", n-slips)
		}
		r.route.answer(providers.StatusExpired)
		r.pass(10 * time.Second)
		r.stop()
		if sums := r.audit().Sums; sums[ledger.CustomerCredit] != -1234 || sums[ledger.Sales] != 0 {
			r.Errorf("sums %v: late money is the customer's credit", sums)
		}
		r.start()
	})
}

func TestCancel(t *testing.T) {
	bubble(t, func(r *rig) {
		id := r.begin()
		r.keys("C")
		r.shows(display.Verifying)
		r.pass(10 * time.Second)
		if v := r.shows(display.Cancelled); !v.Printed {
			r.Error("the payer holds a printed code, and the screen does not say so")
		}
		if c := r.fold(id); c.State != charge.Cancelled {
			r.Errorf("state %s", c.State)
		}
	})
}

func TestCancelWhileCreating(t *testing.T) {
	bubble(t, func(r *rig) {
		hold := make(chan struct{})
		r.route.create = func(ctx context.Context, in providers.Intent) (providers.Charge, error) {
			<-hold
			return r.route.accept(ctx, in)
		}
		r.keys("1234E")
		r.keys("C")
		close(hold)
		synctest.Wait()
		r.shows(display.Cancelled)
		if n := len(r.printer.ids()); n != 0 {
			r.Errorf("%d slips of a cancelled charge", n)
		}
	})
}

func TestAttempts(t *testing.T) {
	tests := []struct {
		name   string
		errs   []providers.Kind // of the attempts; then they are accepted
		shows  display.State
		code   string
		sent   int
		within time.Duration
	}{
		{"lost answer", []providers.Kind{providers.Ambiguous}, display.QR, "", 2, 0},
		{"two lost answers", []providers.Kind{providers.Ambiguous, providers.Contract}, display.QR, "", 3, 0},
		{"three lost answers", []providers.Kind{providers.Ambiguous, providers.Ambiguous, providers.Ambiguous}, display.Error, display.ErrUncertain, 3, 0},
		{"not sent, then sent", []providers.Kind{providers.NotSent}, display.QR, "", 2, 2 * time.Second},
		{"never sent", []providers.Kind{providers.NotSent, providers.NotSent, providers.NotSent}, display.Unavailable, display.ErrNetwork, 3, 5 * time.Second},
		{"refused", []providers.Kind{providers.Forbidden}, display.Error, display.ErrProvider, 1, 0},
		{"payer data missing", []providers.Kind{providers.PayerDataRequired}, display.Error, display.ErrPayerData, 1, 0},
		{"foreign code", []providers.Kind{providers.Security}, display.Error, display.ErrCode, 1, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(r *rig) {
				errs := tt.errs
				r.route.create = func(ctx context.Context, in providers.Intent) (providers.Charge, error) {
					if len(errs) == 0 {
						return r.route.accept(ctx, in)
					}
					k := errs[0]
					errs = errs[1:]
					return fails(k)(ctx, in)
				}
				r.keys("1234E")
				r.pass(tt.within)
				if v := r.shows(tt.shows); v.ErrorCode != tt.code {
					r.Errorf("error code %s, want %s", v.ErrorCode, tt.code)
				}
				if n := len(r.route.intents); n != tt.sent {
					r.Errorf("%d attempts were sent, want %d", n, tt.sent)
				}
				for i, in := range r.route.intents {
					if in.Attempt != i+1 || in.ID != r.route.intents[0].ID {
						r.Errorf("attempt %d was sent as %d of %s", i+1, in.Attempt, in.ID)
					}
				}
			})
		})
	}
}

func TestAttemptIsLookedUp(t *testing.T) {
	for _, found := range []bool{true, false} {
		bubble(t, func(r *rig) {
			r.route.caps.LookUp = true
			r.route.create = func(ctx context.Context, in providers.Intent) (providers.Charge, error) {
				if in.Attempt == 1 {
					return fails(providers.Ambiguous)(ctx, in)
				}
				return r.route.accept(ctx, in)
			}
			r.route.on(func(ctx context.Context, ref providers.Ref) (providers.Charge, error) {
				switch {
				case ref.ProviderID != "":
					return providers.Charge{ProviderID: ref.ProviderID, Status: providers.StatusPending, Digest: "d"}, nil
				case found:
					return r.route.accept(ctx, providers.Intent{ID: ref.Charge, Attempt: ref.Attempt, Amount: 1234, Key: "11222333000181"})
				}
				return providers.Charge{}, &providers.Error{Kind: providers.NotFound}
			})
			r.keys("1234E")
			r.pass(time.Second)
			r.shows(display.QR)
			want := 2
			if found {
				want = 1
			}
			if n := len(r.route.intents); n != want {
				r.Errorf("found %v: %d attempts were sent, want %d", found, n, want)
			}
		})
	}
}

func TestOnePaymentCreditsOneCharge(t *testing.T) {
	bubble(t, func(r *rig) {
		r.route.pays(1234, "E1")
		first := r.begin()
		r.pass(20 * time.Second)
		r.shows(display.Idle)
		second := r.begin()
		r.pass(20 * time.Second)
		r.shows(display.QR)
		if a, b := r.fold(first), r.fold(second); a.State != charge.Paid || b.State != charge.Pending || len(b.Payments) != 1 || !b.Payments[0].Mismatch {
			r.Errorf("first %s, second %s with %+v", a.State, b.State, b.Payments)
		}
		r.stop()
		if sums := r.audit().Sums; sums[ledger.Sales] != -1234 || sums[ledger.PixClearing] != 1234 || sums[ledger.Suspense] != 0 {
			r.Errorf("sums %v, want the one payment", sums)
		}
		r.start()
	})
}

func TestWrongAmountIsNotPaid(t *testing.T) {
	bubble(t, func(r *rig) {
		r.route.pays(1233, "E1")
		id := r.begin()
		r.pass(20 * time.Second)
		r.shows(display.QR)
		if c := r.fold(id); c.State != charge.Pending || len(c.Payments) != 1 {
			r.Errorf("state %s, payments %+v", c.State, c.Payments)
		}
		if r.count(terminal.PaymentOdd) != 1 {
			r.Error("nobody was told")
		}
	})
}

// TestRestart ends the terminal in every state of a charge and takes it up.
func TestRestart(t *testing.T) {
	for _, reboot := range []bool{false, true} {
		t.Run(map[bool]string{false: "process", true: "machine"}[reboot], func(t *testing.T) {
			t.Run("attempt in flight", func(t *testing.T) {
				bubble(t, func(r *rig) {
					r.route.create = func(ctx context.Context, _ providers.Intent) (providers.Charge, error) {
						<-ctx.Done()
						return providers.Charge{}, &providers.Error{Kind: providers.Ambiguous, Err: ctx.Err()}
					}
					r.keys("1234E")
					r.shows(display.Creating)
					r.cancel()
					if err := <-r.ended; err != nil {
						r.Fatal(err)
					}
					r.route.create = r.route.accept
					if reboot {
						r.clock.start, r.clock.boot = time.Now(), "boot-2"
					}
					r.start()
					id := charge.ID(r.route.intents[0].ID)
					c := r.fold(id)
					if c.Attempts[0].State != charge.Orphaned {
						r.Errorf("attempt 1 is %s, want orphaned", c.Attempts[0].State)
					}
					if reboot { // its payer is not there any more
						r.shows(display.Idle)
						if c.State != charge.Failed {
							r.Errorf("state %s", c.State)
						}
						return
					}
					r.shows(display.QR)
					if c.State != charge.Pending || len(r.route.intents) != 2 {
						r.Errorf("state %s after %d attempts", c.State, len(r.route.intents))
					}
				})
			})
			t.Run("pending", func(t *testing.T) {
				bubble(t, func(r *rig) {
					id := r.begin()
					code := r.shows(display.QR).Code
					r.restart(reboot)
					if reboot {
						r.shows(display.Idle)
					} else if v := r.shows(display.QR); v.Code != code || v.Charge != string(id) {
						r.Errorf("the screen shows another code")
					}
					r.route.pays(1234, "E1")
					r.pass(6 * time.Second)
					if c := r.fold(id); c.State != charge.Paid || c.Late {
						r.Errorf("state %s", c.State)
					}
				})
			})
			t.Run("paid long ago", func(t *testing.T) {
				bubble(t, func(r *rig) {
					r.route.pays(1234, "E1")
					r.begin()
					r.pass(20 * time.Second)
					r.shows(display.Idle)
					r.pass(time.Hour)
					r.restart(reboot)
					r.pass(time.Second)
					r.shows(display.Idle)
				})
			})
			t.Run("paid while off", func(t *testing.T) {
				bubble(t, func(r *rig) {
					id := r.begin()
					r.stop()
					time.Sleep(time.Hour)
					if reboot {
						r.clock.start, r.clock.boot = time.Now(), "boot-2"
					}
					r.route.pays(1234, "E1")
					r.start()
					r.pass(time.Second)
					if c := r.fold(id); c.State != charge.Paid {
						r.Errorf("state %s", c.State)
					}
				})
			})
			t.Run("paid screen", func(t *testing.T) {
				bubble(t, func(r *rig) {
					r.printer.ready = errors.New("no paper")
					r.begin()
					r.route.pays(1234, "E1")
					r.pass(3 * time.Second)
					r.shows(display.Paid)
					paid := r.shows(display.Paid).At
					r.pass(time.Second)
					r.restart(reboot)
					if reboot { // who stands there now is somebody else
						r.shows(display.Idle)
					} else if v := r.shows(display.Paid); !v.At.Equal(paid) {
						r.Errorf("paid at %v, before the restart %v", v.At, paid)
					}
					r.printer.set(func(p *paper) { p.ready = nil })
					r.pass(20 * time.Second)
					r.shows(display.Idle)
					if n := r.count(terminal.SlipPrinted); n != 1 {
						r.Errorf("%d slips, want the receipt alone: the code is not payable any more", n)
					}
				})
			})
		})
	}
}

func TestSlipOfUnknownFate(t *testing.T) {
	bubble(t, func(r *rig) {
		r.printer.result = func(j printer.Job) printer.Result {
			return printer.Result{Outcome: printer.Unknown, Accepted: 10, Reason: "hang-up"}
		}
		r.printer.resolve = printer.Result{Outcome: printer.Unknown, Reason: "offline"}
		r.begin()
		r.route.pays(1234, "E1")
		r.pass(time.Minute)
		if ids := r.printer.ids(); len(ids) != 1 {
			r.Fatalf("printed %v while the first slip was unknown", ids)
		}
		r.printer.set(func(p *paper) {
			p.result = nil
			p.resolve = printer.Result{Outcome: printer.Unknown, Drained: true}
		})
		r.pass(20 * time.Second)
		if ids := r.printer.ids(); len(ids) != 2 {
			r.Fatalf("printed %v, want the lost code and then the receipt", ids)
		}
		dead := r.jobs(queue.Dead)
		if len(dead) != 1 {
			r.Fatalf("dead letters: %+v", dead)
		}
		r.stop()
		st, err := store.Open(r.options())
		if err != nil {
			r.Fatal(err)
		}
		// A person asks for it again: the code is not payable, so nothing comes.
		ctx, cancel := context.WithCancel(r.Context())
		go st.Run(ctx)
		if err := st.Commit(r.Context(), store.Op{Do: func(tx *bbolt.Tx) error { return queue.Revive(tx, dead[0].ID) }}); err != nil {
			r.Fatal(err)
		}
		cancel()
		synctest.Wait()
		if err := st.Close(); err != nil {
			r.Fatal(err)
		}
		r.start()
		r.pass(time.Second)
		if ids := r.printer.ids(); len(ids) != 2 {
			r.Errorf("a code that cannot be paid was printed again: %v", ids)
		}
	})
}

func TestReceiptPrintedAgainSaysSo(t *testing.T) {
	bubble(t, func(r *rig) {
		n := 0
		r.printer.result = func(j printer.Job) printer.Result {
			if n++; n == 2 {
				return printer.Result{Outcome: printer.Unknown, Accepted: 10, Reason: "hang-up"}
			}
			return printer.Result{Outcome: printer.Confirmed, Tier: printer.TierA}
		}
		r.printer.resolve = printer.Result{Outcome: printer.Unknown, Drained: true}
		r.begin()
		r.route.pays(1234, "E1")
		r.pass(20 * time.Second)
		dead := r.jobs(queue.Dead)
		if len(dead) != 1 {
			r.Fatalf("dead letters: %+v", dead)
		}
		if err := r.store.Commit(r.Context(), store.Op{Do: func(tx *bbolt.Tx) error { return queue.Revive(tx, dead[0].ID) }}); err != nil {
			r.Fatal(err)
		}
		r.restart(false)
		r.pass(time.Second)
		jobs := r.printer.jobs
		if len(jobs) != 3 || !strings.Contains(string(jobs[2].Bytes), "2\xA6 VIA") {
			r.Fatalf("the copy does not say 2ª VIA: %q", r.printer.ids())
		}
		if jobs[2].ID == jobs[1].ID {
			r.Error("a copy would be confirmed by the first one's process id")
		}
	})
}

func TestCommitErrorEndsTheProcess(t *testing.T) {
	for name, durable := range map[string]bool{"and it is on disk": true, "and it is not": false} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(r *rig) {
				r.stop()
				broken := errors.New("input/output error")
				fail := false
				r.commit = func(tx *bbolt.Tx) error {
					switch {
					case !fail:
						return tx.Commit()
					case durable:
						if err := tx.Commit(); err != nil {
							return err
						}
					default:
						if err := tx.Rollback(); err != nil {
							return err
						}
					}
					return broken
				}
				r.start()
				r.begin()
				fail = true
				r.route.pays(1234, "E1")
				time.Sleep(3 * time.Second)
				if err := <-r.ended; !errors.Is(err, store.ErrOutcomeUnknown) {
					r.Fatalf("the terminal ended with %v", err)
				}
				if v := r.screen.last(); v.State == display.Paid {
					r.Error("PAGO was shown without a commit")
				}
				fail = false
				r.start()
				r.pass(10 * time.Second)
				paid := 0
				for _, k := range r.kinds() {
					if k == "charge.paid" {
						paid++
					}
				}
				if paid != 1 {
					r.Errorf("the payment is recorded %d times", paid)
				}
				r.stop()
				if sums := r.audit().Sums; sums[ledger.Sales] != -1234 {
					r.Errorf("sums %v", sums)
				}
				r.start()
			})
		})
	}
}

// fill fills the store to the soft limit with other people's entries.
func (r *rig) fill() {
	r.Helper()
	for i := 0; ; i++ {
		err := r.store.Commit(r.Context(), store.Op{New: true, Do: func(tx *bbolt.Tx) error {
			_, err := ledger.Append(tx, ledger.Stamp{Wall: time.Now(), Boot: "b", Quality: ledger.Synced}, ledger.Draft{
				Op: "fill/" + time.Now().Format("150405.000000000"), Kind: "test.fill", Actor: "test",
				Data: strings.Repeat("x", 1000),
			})
			return err
		}})
		if errors.Is(err, store.ErrFull) {
			return
		}
		if err != nil || i > 5000 {
			r.Fatal(i, err)
		}
		time.Sleep(time.Microsecond)
	}
}

func TestFullStoreRefusesVisibly(t *testing.T) {
	bubble(t, func(r *rig) {
		r.begin()
		r.fill()
		r.route.pays(1234, "E1")
		r.pass(3 * time.Second)
		r.shows(display.Paid) // what is open still ends
		r.pass(10 * time.Second)
		r.keys("1234E")
		if v := r.shows(display.Error); v.ErrorCode != display.ErrFull {
			r.Errorf("error code %s", v.ErrorCode)
		}
	})
}

// TestNoRoomForAPayment uses up the reserve as well. A payment then waits to be
// recorded, and nothing says that it is, until something was deleted; a restart
// in between, and a stop, change nothing.
func TestNoRoomForAPayment(t *testing.T) {
	for _, restart := range []bool{false, true} {
		t.Run(fmt.Sprintf("restart=%t", restart), func(t *testing.T) {
			bubble(t, func(r *rig) {
				id := r.begin()
				filler := []byte("filler")
				put := func(tx *bbolt.Tx) error {
					b, err := tx.CreateBucketIfNotExists(filler)
					if err != nil {
						return err
					}
					n, err := b.NextSequence()
					if err != nil {
						return err
					}
					return b.Put(fmt.Appendf(nil, "%09d", n), make([]byte, 1000))
				}
				var err error
				for err == nil {
					err = r.store.Commit(r.Context(), store.Op{Do: put})
				}
				if !errors.Is(err, store.ErrFull) {
					r.Fatal(err)
				}
				r.route.pays(1234, "E1")
				r.pass(time.Minute)
				select {
				case err := <-r.ended:
					r.Fatalf("the terminal ended: %v", err)
				default:
				}
				if c := r.fold(id); c.State != charge.Pending || r.screen.last().State == display.Paid {
					r.Errorf("in a store without room the charge is %s, the screen %s", c.State, r.screen.last().State)
				}
				if restart {
					r.stop()
					r.start()
					r.pass(time.Minute)
				}
				select {
				case err := <-r.ended:
					r.Fatalf("the terminal ended: %v", err)
				default:
				}
				if err := r.store.Commit(r.Context(), store.Op{Frees: true, Do: func(tx *bbolt.Tx) error {
					return tx.DeleteBucket(filler)
				}}); err != nil {
					r.Fatal(err)
				}
				r.pass(time.Minute)
				if c := r.fold(id); c.State != charge.Paid {
					r.Errorf("with room again the charge is %s", c.State)
				}
			})
		})
	}
}

func TestStartIsRefusedClearly(t *testing.T) {
	bubble(t, func(r *rig) {
		for _, tt := range []struct {
			req  terminal.Request
			want error
		}{
			{terminal.Request{Amount: 99}, terminal.ErrAmount},
			{terminal.Request{Amount: 500001}, terminal.ErrAmount},
			{terminal.Request{Amount: 1000, Merchant: "nobody"}, terminal.ErrMerchant},
		} {
			if _, err := r.term.Start(r.Context(), tt.req); !errors.Is(err, tt.want) {
				r.Errorf("%+v: got %v, want %v", tt.req, err, tt.want)
			}
		}
		r.begin()
		if _, err := r.term.Start(r.Context(), terminal.Request{Amount: 1000, Present: true}); !errors.Is(err, terminal.ErrScreenTaken) {
			r.Errorf("got %v, want ErrScreenTaken", err)
		}
		id, err := r.term.Start(r.Context(), terminal.Request{Amount: 1000, Source: "api"})
		if err != nil {
			r.Fatal(err)
		}
		synctest.Wait()
		if c := r.fold(id); c.State != charge.Pending {
			r.Errorf("a charge beside the screen's is %s", c.State)
		}
	})
}

func TestProviderOutOfReachWhilePending(t *testing.T) {
	bubble(t, func(r *rig) {
		id := r.begin()
		r.route.on(func(context.Context, providers.Ref) (providers.Charge, error) {
			return providers.Charge{}, &providers.Error{Kind: providers.NotSent}
		})
		r.pass(20 * time.Minute)
		r.shows(display.Idle)
		if c := r.fold(id); c.State != charge.Pending {
			r.Errorf("nobody could ask, and the charge is %s", c.State)
		}
		if n := r.route.questions(); n > 80 {
			r.Errorf("%d questions in 20 minutes of outage", n)
		}
		r.route.pays(1234, "E1")
		r.pass(time.Minute)
		if c := r.fold(id); c.State != charge.Paid || c.Late {
			r.Errorf("state %s, late %v", c.State, c.Late)
		}
	})
}
