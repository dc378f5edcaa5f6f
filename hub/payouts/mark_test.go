package payouts

import (
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
				live(func(b *Book) { b.must(t, sign(t, "ana", proposal(1, 100))) })
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
	m := mark(filepath.Join(t.TempDir(), "mark"))
	if seq, err := m.read(); seq != 0 || err != nil {
		t.Errorf("nothing there: %d, %v", seq, err)
	}
	for _, want := range []uint64{1, 1 << 60, 7} {
		if err := m.write(want); err != nil {
			t.Fatal(err)
		}
		if seq, err := m.read(); seq != want || err != nil {
			t.Errorf("got %d (%v), want %d", seq, err, want)
		}
	}
	if err := os.WriteFile(string(m), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := m.read(); err == nil || !strings.Contains(err.Error(), "holds no number") {
		t.Errorf("got %v", err)
	}
}
