package payouts

import (
	"context"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ssg-safe/agent/hub"
	"github.com/ssg-safe/agent/payout"
	"github.com/ssg-safe/agent/providers"
	"github.com/ssg-safe/agent/providers/bspaybr"
	"github.com/ssg-safe/agent/providers/bspaybr/bspaybrsim"
)

// TestRestored: a payout that was proposed in a backup, and sent after it, is not sent
// again by the hub that was restored from it. Without the mark it is.
func TestRestored(t *testing.T) {
	for name, marked := range map[string]bool{"with the mark": true, "without it": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				sim := must(bspaybrsim.New(bspaybrsim.Options{Balance: 100000, ClientSecret: secret}))
				client := must(bspaybr.New(bspaybr.Config{
					URL: "http://provider.test", AllowInsecureHTTP: true, ClientID: bspaybrsim.DefaultClientID, ClientSecret: secret,
					CallbackURL: "https://hub.example.com/wh/bspaybr", CallbackKey: "c4nary-callback-key-Qz31-0123456789",
				}, providers.Memory(sim), nil))
				r := bankAccount()
				r.Sender = must(bspaybr.NewPayouts(client, bspaybr.Payer{Name: "Loja Remetente Ltda", Document: "11222333000181"}))
				path := filepath.Join(t.TempDir(), "payouts.mark")
				d := &disk{rows: map[string][]byte{}}
				live := func(do func(b *Book)) {
					b := must(Open(t.Context(), Options{Store: &process{disk: d}, Routes: []Route{r}, Operators: operators("ana", "bia"), Mark: path}))
					do(b)
					time.Sleep(time.Second) // of the bubble
				}
				live(func(b *Book) { b.must(t, sign(t, "ana", proposed(1, 100))) })
				backup := maps.Clone(d.rows)
				approve := func(b *Book) error {
					rec := must(Get(&memoryTx{rows: d.rows}, idOf(1)))
					_, err := b.Do(t.Context(), sign(t, "bia", Statement{Do: Approve, Payout: rec.ID, Digest: rec.Digest}))
					if _, err := (&worker{book: b, a: b.routes["conta"], began: time.Now(), known: map[payout.ID]*pace{}}).round(t.Context()); err != nil {
						t.Fatal(err)
					}
					return err
				}
				live(func(b *Book) {
					if err := approve(b); err != nil {
						t.Fatal(err)
					}
				})
				if n := len(sim.Payouts()); n != 1 {
					t.Fatalf("%d payouts", n)
				}
				d.rows = backup
				if !marked {
					if err := os.Remove(path); err != nil {
						t.Fatal(err)
					}
				}
				live(func(b *Book) {
					if err := approve(b); (err == nil) == marked {
						t.Errorf("approved again: %v", err)
					}
				})
				if n := len(sim.Payouts()); (n == 1) != marked {
					t.Errorf("%d payouts", n)
				}
				if !marked {
					return
				}
				if rec := must(Get(&memoryTx{rows: d.rows}, idOf(1))); rec.State != payout.Rejected {
					t.Errorf("got %+v", rec)
				}
				told := false
				for key, doc := range d.rows {
					told = told || strings.HasPrefix(key, string(hub.KindAlarm)+" ") && strings.Contains(string(doc), "restored from a backup")
				}
				if !told {
					t.Error("nobody is told")
				}
				live(func(*Book) {}) // and again, in order
				must(verify(d))
			})
		})
	}
}

func TestMark(t *testing.T) {
	m := &mark{path: filepath.Join(t.TempDir(), "mark")}
	if seq, older, err := m.read(1, ""); seq != 0 || older || err != nil {
		t.Errorf("nothing there: %d, %v", seq, err)
	}
	// Routes send at the same time: who comes late with an older number lowers nothing.
	for _, s := range []struct{ seq, want uint64 }{{1, 1}, {1 << 60, 1 << 60}, {7, 1 << 60}} {
		if err := m.raise(s.seq); err != nil {
			t.Fatal(err)
		}
		if seq, older, err := m.read(s.want, ""); seq != s.want || older || err != nil {
			t.Errorf("after %d: got %d (%v), want %d", s.seq, seq, err, s.want)
		}
	}
	if err := m.begin(7, "second"); err != nil {
		t.Fatal(err)
	}
	for _, s := range []struct {
		newest uint64
		life   string
		older  bool
	}{{7, "second", false}, {8, "second", false}, {6, "second", true}, {8, "", true}, {8, "third", true}} {
		if seq, older, err := m.read(s.newest, s.life); seq != 7 || older != s.older || err != nil {
			t.Errorf("a store of %d in its life %q: got %d, older %v (%v)", s.newest, s.life, seq, older, err)
		}
	}
	if err := os.WriteFile(m.path, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := m.read(1, ""); err == nil || !strings.Contains(err.Error(), "holds no number") {
		t.Errorf("got %v", err)
	}
}

// TestTicketsAreMarked: a refund that a person has been told to make is not forgotten
// by a hub that is restored from a backup from before.
func TestTicketsAreMarked(t *testing.T) {
	w := newWorld(t, nil, "")
	w.sold("C1", "E182361202026010100000000000001A", 100)
	o := Options{Store: &process{disk: w.disk}, Operators: operators("ana", "bia", "caio"), Mark: filepath.Join(t.TempDir(), "payouts.mark")}
	b := must(Open(t.Context(), o))
	r := b.must(t, sign(t, "ana", Statement{
		Do: Propose, Payout: idOf(1), Kind: payout.Refund, Route: "banco", Amount: 100, Salt: "0123456789abcdef",
		Device: "kiosk-1", Charge: "C1", EndToEnd: "E182361202026010100000000000001A",
	}))
	backup := maps.Clone(w.disk.rows)
	for _, by := range []string{"bia", "caio"} {
		r = b.must(t, sign(t, by, Statement{Do: Approve, Payout: r.ID, Digest: r.Digest}))
	}
	if !r.Manual || r.State != payout.Unknown {
		t.Fatalf("got %+v", r)
	}
	w.disk.rows = backup
	must(Open(t.Context(), o))
	if r := must(Get(&memoryTx{rows: w.disk.rows}, r.ID)); r.State != payout.Rejected {
		t.Errorf("after the restore: %+v", r)
	}
}

// stranger is an account that has never heard of an order, and counts what is sent.
type stranger struct {
	payout.Sender
	sent, asked int
	lost        bool // the answer to what is sent
}

func (s *stranger) SubmitPayout(context.Context, payout.Order) (payout.Answer, error) {
	s.sent++
	if s.lost {
		return payout.Answer{}, &providers.Error{Provider: "x", Op: "payout", Kind: providers.Ambiguous}
	}
	return payout.Answer{State: payout.Settled, Digest: "d"}, nil
}

func (s *stranger) FindPayout(context.Context, payout.Ref) (payout.Answer, error) {
	s.asked++
	return payout.Answer{Digest: "d"}, &providers.Error{Provider: "x", Op: "find payout", Kind: providers.NotFound}
}

// TestAnotherAccount: what was sent from one account is neither asked about nor sent
// again at another that has got its name: it would be paid twice.
func TestAnotherAccount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &disk{rows: map[string][]byte{}}
		open := func(name string, s payout.Sender) (*Book, func()) {
			r := bankAccount()
			r.Account, r.Sender, r.Resend = name, s, true
			b := newBook(t, d, r)
			w := &worker{book: b, a: b.routes["conta"], began: time.Now(), known: map[payout.ID]*pace{}}
			return b, func() {
				if _, err := w.round(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
		}
		first := &stranger{lost: true}
		b, round := open("one", first)
		for n := range 2 {
			b.must(t, sign(t, "ana", proposed(n, 100)))
		}
		approve := func(b *Book, n int) error {
			r := must(Get(&memoryTx{rows: d.rows}, idOf(n)))
			_, err := b.Do(t.Context(), sign(t, "bia", Statement{Do: Approve, Payout: r.ID, Digest: r.Digest}))
			return err
		}
		if err := approve(b, 0); err != nil {
			t.Fatal(err)
		}
		round()
		if err := approve(b, 1); err != nil { // and the hub is stopped before it sends it
			t.Fatal(err)
		}
		second := &stranger{}
		b, round = open("two", second)
		told := false
		for key, doc := range d.rows {
			told = told || strings.HasPrefix(key, string(hub.KindAlarm)+" ") && strings.Contains(string(doc), "not configured any more")
		}
		if !told {
			t.Error("nobody is told that nobody asks")
		}
		for range 60 {
			round()
			time.Sleep(time.Minute)
		}
		if first.sent != 1 || second.sent != 0 || second.asked != 0 {
			t.Errorf("sent from one account %d times, from the other %d times, which was asked %d times", first.sent, second.sent, second.asked)
		}
		for n, want := range []payout.State{payout.Unknown, payout.Proposed} {
			if r := must(Get(&memoryTx{rows: d.rows}, idOf(n))); r.State != want || r.Told != (want == payout.Unknown) {
				t.Errorf("got %+v", r)
			}
		}
		if err := approve(b, 1); !errors.Is(err, payout.ErrIntent) {
			t.Errorf("approved for another account: %v", err)
		}
		_, round = open("one", first)
		first.lost = false
		for range 60 {
			round()
			time.Sleep(time.Minute)
		}
		if r := must(Get(&memoryTx{rows: d.rows}, idOf(0))); r.State != payout.Settled || first.sent != 2 {
			t.Errorf("back at its account: %+v", r)
		}
	})
}

// TestRestoredTwice: whoever restores an old backup, and then a newer one that turns up,
// has with the newer one no proposals either that were sent after it.
func TestRestoredTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &disk{rows: map[string][]byte{}}
		r := bankAccount()
		r.Sender = &stranger{}
		o := Options{Store: &process{disk: d}, Routes: []Route{r}, Operators: operators("ana", "bia"), Mark: filepath.Join(t.TempDir(), "payouts.mark")}
		live := func() (*Book, Record) {
			b := must(Open(t.Context(), o))
			rec, err := Get(&memoryTx{rows: d.rows}, idOf(2))
			if err != nil && !errors.Is(err, hub.ErrNotFound) {
				t.Fatal(err)
			}
			return b, rec
		}
		old := maps.Clone(d.rows)
		b, _ := live()
		send := func(n int) {
			rec := must(Get(&memoryTx{rows: d.rows}, idOf(n)))
			b.must(t, sign(t, "bia", Statement{Do: Approve, Payout: rec.ID, Digest: rec.Digest}))
			if _, err := (&worker{book: b, a: b.routes["conta"], began: time.Now(), known: map[payout.ID]*pace{}}).round(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		b.must(t, sign(t, "ana", proposed(1, 100)))
		send(1)
		b.must(t, sign(t, "ana", proposed(2, 100)))
		newer := maps.Clone(d.rows)
		send(2)
		d.rows = old
		live()
		live()
		d.rows = newer
		if _, rec := live(); rec.State != payout.Rejected {
			t.Errorf("got %+v", rec)
		}
		b, _ = live()
		b.must(t, sign(t, "ana", proposed(3, 100)))
		if live(); must(Get(&memoryTx{rows: d.rows}, idOf(3))).State != payout.Proposed {
			t.Error("a start like any other ends proposals")
		}
	})
}
