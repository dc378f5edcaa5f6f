package payouts

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ssg-safe/agent/charge"
	"github.com/ssg-safe/agent/fleet/wire"
	"github.com/ssg-safe/agent/hub"
	"github.com/ssg-safe/agent/ledger"
	"github.com/ssg-safe/agent/money"
	"github.com/ssg-safe/agent/payout"
)

// mailbox is what terminals were told. It outlives the hubs that tell.
type mailbox struct {
	mu    sync.Mutex
	words []wire.Payout
	err   error
}

// fails sets the error of what is told from now on; nil: none.
func (m *mailbox) fails(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.err = err
}

// told is what was told until now.
func (m *mailbox) told() []wire.Payout {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.words)
}

// empty forgets it.
func (m *mailbox) empty() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.words = nil
}

func (m *mailbox) Proposed() <-chan struct{} { return nil }

func (m *mailbox) Payout(_ context.Context, device string, p wire.Payout) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.err != nil {
		return m.err
	}
	p.Aud = device
	m.words = append(m.words, p)
	return nil
}

// ids are the refunds that the terminal was told to be settled, each once.
func (m *mailbox) ids() (ids []string) {
	for _, w := range m.told() {
		if w.State == string(payout.Settled) && !slices.Contains(ids, w.Payout) {
			ids = append(ids, w.Payout)
		}
	}
	slices.Sort(ids)
	return ids
}

const sold = "E182361202026010100000000000001A"

// settle has a refund by hand made and signed for.
func (b *Book) settle(t *testing.T, n int) Record {
	t.Helper()
	s := refundOf(n, "conta")
	r := b.must(t, sign(t, "ana", s))
	b.must(t, sign(t, "bia", Statement{Do: Approve, Payout: r.ID, Digest: r.Digest}))
	return b.must(t, sign(t, "bia", Statement{Do: Resolve, Payout: r.ID, State: payout.Settled, EndToEnd: "D" + sold[1:], Reason: "seen"}))
}

// TestTerminalsAreTold: of a refund that was made, until the hub has taken the word for
// good; of nothing else; and again when it came back.
func TestTerminalsAreTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, "")
		w.sold("C1", sold, 100)
		box := &mailbox{err: errors.New("not now")}
		b := must(Open(t.Context(), Options{Store: &process{disk: w.disk}, Routes: []Route{bankAccount()}, Operators: operators("ana", "bia"), Devices: box}))
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- b.Run(ctx) }()
		r := b.settle(t, 1)
		synctest.Wait()
		if len(box.told()) != 0 {
			t.Fatalf("told %+v", box.told())
		}
		box.fails(nil)
		time.Sleep(tellEvery)
		synctest.Wait()
		want := wire.Payout{
			Claims: wire.Claims{Aud: "kiosk-1"}, Payout: string(r.ID), Kind: "refund", State: "settled", Cents: r.Amount, Charge: "C1",
			EndToEnd: sold, Sent: "D" + sold[1:], By: "bia",
		}
		if told := box.told(); len(told) != 1 || told[0] != want {
			t.Errorf("told %+v, want %+v", told, want)
		}
		b.must(t, sign(t, "bia", Statement{Do: Resolve, Payout: r.ID, State: payout.Returned, Document: "extrato", Reason: "seen"}))
		synctest.Wait()
		time.Sleep(time.Hour)
		synctest.Wait()
		told := box.told()
		if want.State, want.Sent = "returned", told[len(told)-1].Sent; len(told) != 2 || told[1] != want {
			t.Errorf("told %+v, want %+v", told, want)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// TestToldAgainAfterAKill: what was told, and not noted, is told again; and a hub that
// was killed before tells it when it starts.
func TestToldAgainAfterAKill(t *testing.T) {
	for _, at := range []int{0, 1} { // the commit that notes the look at the ledger, and the one that notes the telling
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, nil, "")
			w.sold("C1", sold, 100)
			box := &mailbox{}
			o := Options{Routes: []Route{bankAccount()}, Operators: operators("ana", "bia"), Devices: box, Store: &process{disk: w.disk}}
			b := must(Open(t.Context(), o))
			b.settle(t, 1)
			live := func(kill bool) {
				commits := 0
				p := &process{disk: w.disk}
				p.before = func(map[string][]byte) bool { commits++; return kill && commits == at+1 }
				o.Store = p
				b := must(Open(t.Context(), o))
				ctx, cancel := context.WithCancel(t.Context())
				ended := make(chan error)
				go func() { ended <- b.Run(ctx) }()
				synctest.Wait()
				cancel()
				if err := <-ended; kill != errors.Is(err, errKilled) {
					t.Errorf("ended with %v", err)
				}
			}
			live(true)
			if len(box.told()) != at {
				t.Errorf("killed at commit %d: told %d times", at, len(box.told()))
			}
			live(false)
			live(false)
			if len(box.told()) != at+1 || len(box.ids()) != 1 {
				t.Errorf("killed at commit %d: told %+v", at, box.told())
			}
		})
	}
}

// entry adds an entry to the terminal's ledger.
func (w *world) entry(at ledger.Position, kind string, data any) {
	doc := must(json.Marshal(data))
	raw := fmt.Appendf(nil, `{"v":1,"epoch":%d,"seq":%d,"prev":"%s","at":{"wall":"2026-01-02T03:04:05.000Z","boot":"boot-1","up_ms":5,"quality":"synced"},"op":"op/%d/%d","kind":%q,"actor":"test","evidence":null,"postings":[],"data":%s}`,
		at.Epoch, at.Seq, ledger.Hash{}, at.Epoch, at.Seq, kind, doc)
	w.disk.entries = append(w.disk.entries, hub.Entry{Position: at, Bytes: raw})
}

// TestRemind: a terminal is told again what its ledger lacks, when that has become
// another: restored from a backup, or a branch was set aside.
func TestRemind(t *testing.T) {
	for name, test := range map[string]struct {
		after func(w *world)
		lacks int
	}{
		"the same ledger": {func(*world) {}, 0},
		"restored to before both": {func(w *world) {
			w.entry(ledger.Position{Epoch: 9, Seq: 1}, ledger.KindEpoch, ledger.EpochData{After: ledger.Head{Position: ledger.Position{Epoch: 1, Seq: 2}}, Reason: "restored"})
			w.disk.rows["chain kiosk-1/0000000000000009"] = []byte(`{"epoch":9,"signed":{"epoch":9,"seq":0}}`)
		}, 2},
		"restored to between them": {func(w *world) {
			w.entry(ledger.Position{Epoch: 9, Seq: 1}, ledger.KindEpoch, ledger.EpochData{After: ledger.Head{Position: ledger.Position{Epoch: 1, Seq: 3}}, Reason: "restored"})
			w.disk.rows["chain kiosk-1/0000000000000009"] = []byte(`{"epoch":9,"signed":{"epoch":9,"seq":1}}`)
		}, 1},
		"restored to after both": {func(w *world) {
			w.entry(ledger.Position{Epoch: 9, Seq: 1}, ledger.KindEpoch, ledger.EpochData{After: ledger.Head{Position: ledger.Position{Epoch: 1, Seq: 4}}, Reason: "restored"})
			w.disk.rows["chain kiosk-1/0000000000000009"] = []byte(`{"epoch":9,"signed":{"epoch":9,"seq":1}}`)
		}, 0},
		"its fork was taken": {func(w *world) {
			w.disk.entries = w.disk.entries[:3]
			w.disk.rows["chain kiosk-1/0000000000000001"] = []byte(`{"epoch":1,"signed":{"epoch":1,"seq":3},"aside":["fork-1-4-1"]}`)
		}, 1},
		"what it did not sign": {func(w *world) {
			w.disk.rows["chain kiosk-1/0000000000000001"] = []byte(`{"epoch":1,"signed":{"epoch":1,"seq":2},"aside":["fork-1-9-1"]}`)
		}, 2},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, nil, "")
				w.sold("C1", sold, 200)
				box := &mailbox{}
				o := Options{Routes: []Route{bankAccount()}, Operators: operators("ana", "bia"), Devices: box, Store: &process{disk: w.disk}}
				b := must(Open(t.Context(), o))
				ctx, cancel := context.WithCancel(t.Context())
				ended := make(chan error)
				go func() { ended <- b.Run(ctx) }()
				first, second := b.settle(t, 1), b.settle(t, 2)
				synctest.Wait()
				w.disk.mu.Lock()
				w.entry(ledger.Position{Epoch: 1, Seq: 3}, charge.RefundedFact{}.Kind(), charge.RefundedFact{Charge: "C1", ID: string(first.ID), Amount: first.Amount, EndToEnd: sold})
				w.entry(ledger.Position{Epoch: 1, Seq: 4}, charge.KindLostRefund, charge.LostRefundFact{Of: "C1", ID: string(second.ID), Amount: second.Amount, EndToEnd: sold})
				w.disk.rows["chain kiosk-1/0000000000000001"] = []byte(`{"epoch":1,"signed":{"epoch":1,"seq":4}}`)
				w.disk.mu.Unlock()
				time.Sleep(2 * tellEvery)
				synctest.Wait()
				box.empty()
				w.disk.mu.Lock()
				test.after(w)
				w.disk.mu.Unlock()
				time.Sleep(2 * tellEvery)
				synctest.Wait()
				if got := box.ids(); len(got) != test.lacks || len(box.told()) != test.lacks || test.lacks == 1 && got[0] != string(second.ID) {
					t.Errorf("told %+v, want %d", box.told(), test.lacks)
				}
				box.empty()
				time.Sleep(2 * tellEvery)
				synctest.Wait()
				if len(box.told()) != 0 {
					t.Errorf("told again: %+v", box.told())
				}
				cancel()
				if err := <-ended; err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// TestRevoked: a terminal that is not in the registry any more is told nothing more.
func TestRevoked(t *testing.T) {
	w := newWorld(t, nil, "")
	w.sold("C1", sold, 100)
	box := &mailbox{err: hub.ErrNotFound}
	b := must(Open(t.Context(), Options{Routes: []Route{bankAccount()}, Operators: operators("ana", "bia"), Devices: box, Store: &process{disk: w.disk}}))
	r := b.settle(t, 1)
	if err := b.tellAll(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := get[bool](&memoryTx{rows: w.disk.rows}, tellKey("kiosk-1", r.ID)); !errors.Is(err, hub.ErrNotFound) {
		t.Errorf("it is still to be told: %v", err)
	}
	box.fails(hub.ErrOutcomeUnknown)
	if err := b.store.Update(t.Context(), func(tx hub.Tx) error { return put(tx, tellKey("kiosk-1", r.ID), true) }); err != nil {
		t.Fatal(err)
	}
	if err := b.tellAll(t.Context()); !errors.Is(err, hub.ErrOutcomeUnknown) {
		t.Errorf("a commit of unknown outcome: %v", err)
	}
}

// TestRefundedElsewhere: what the terminal's ledger says went back by another way leaves no
// room for a refund of the same money; what the hub itself gave back counts once.
func TestRefundedElsewhere(t *testing.T) {
	ours := []payout.Payout{{Intent: payout.Intent{ID: idOf(1)}, Paid: "D1"}}
	fact := func(id, sent string, amount, booked money.Amount) charge.RefundedFact {
		return charge.RefundedFact{ID: id, Sent: sent, Amount: amount, Booked: booked}
	}
	for name, test := range map[string]struct {
		back []charge.RefundedFact
		want money.Amount
	}{
		"nothing":                          {nil, 0},
		"the hub's":                        {[]charge.RefundedFact{fact(string(idOf(1)), "", 40, 0)}, 0},
		"the hub's, by what was sent":      {[]charge.RefundedFact{fact("panel", "D1", 40, 0)}, 0},
		"another":                          {[]charge.RefundedFact{fact("panel", "D2", 40, 0), fact(string(idOf(1)), "D1", 30, 0)}, 40},
		"the hub's, by another name":       {[]charge.RefundedFact{fact("panel", "D2", 40, 0), {ID: string(idOf(1)), Sent: "E1", Amount: 40, Booked: 40, Same: "panel"}, fact("mine", "", 30, 0)}, 30},
		"unnamed, of which the hub's is":   {[]charge.RefundedFact{fact("unnamed1", "", 100, 0), fact(string(idOf(1)), "D1", 30, 30)}, 70},
		"unnamed, and all of it the hub's": {[]charge.RefundedFact{fact("unnamed1", "", 30, 0), fact(string(idOf(1)), "D1", 30, 30)}, 0},
		"more than there can be":           {[]charge.RefundedFact{fact("panel", "", math.MaxInt64, 0), fact("unnamed1", "", math.MaxInt64, 0)}, 200},
	} {
		p := payment{amount: 200, back: map[string]charge.RefundedFact{}}
		for _, f := range test.back {
			p.back[f.ID] = f
		}
		if got := p.elsewhere(ours); got != test.want {
			t.Errorf("%s: %s, want %s", name, got, test.want)
		}
	}
	// What the hub holds for not sent, and the ledger for given back, did go: a restored hub
	// rejects what it may have sent, and a person may be wrong.
	for state, want := range map[payout.State]money.Amount{payout.Rejected: 40, payout.Failed: 40, payout.Settled: 0, payout.Unknown: 0, payout.Returned: 0} {
		ours := []payout.Payout{{Intent: payout.Intent{ID: idOf(1)}, State: state}}
		p := payment{amount: 200, back: map[string]charge.RefundedFact{string(idOf(1)): fact(string(idOf(1)), "", 40, 0)}}
		if got := p.elsewhere(ours); got != want {
			t.Errorf("%s here: %s, want %s", state, got, want)
		}
	}

	w := newWorld(t, nil, "")
	w.sold("C1", sold, 200)
	b := must(Open(t.Context(), Options{Routes: []Route{bankAccount()}, Operators: operators("ana", "bia"), Store: &process{disk: w.disk}}))
	w.entry(ledger.Position{Epoch: 1, Seq: 3}, charge.RefundedFact{}.Kind(), charge.RefundedFact{Charge: "C1", ID: "panel", Amount: 150, EndToEnd: sold})
	w.evidence(`{"source":"provider","route":"banco","attempt":1,"end_to_end":"` + sold + `","digest":"aa"}`)
	if r := b.must(t, sign(t, "ana", func() Statement { s := refundOf(1, "conta"); s.Amount = 50; return s }())); r.State != payout.Proposed {
		t.Errorf("hearsay takes room: %s", r.State)
	}
	w.disk.rows["chain kiosk-1/0000000000000001"] = []byte(`{"epoch":1,"signed":{"epoch":1,"seq":3}}`)
	if _, err := b.Do(t.Context(), sign(t, "ana", func() Statement { s := refundOf(2, "conta"); s.Amount = 1; return s }())); !errors.Is(err, payout.ErrRoom) {
		t.Errorf("150 of 200 went back, 50 are proposed, and one more is: %v", err)
	}
}

// TestRefundedElsewhereBeforeItsApproval: what went back by another way since a refund was
// proposed may leave no room for it.
func TestRefundedElsewhereBeforeItsApproval(t *testing.T) {
	for back, want := range map[money.Amount]error{150: nil, 151: payout.ErrRoom} {
		w := newWorld(t, nil, "")
		w.sold("C1", sold, 200)
		b := must(Open(t.Context(), Options{Routes: []Route{bankAccount()}, Operators: operators("ana", "bia"), Store: &process{disk: w.disk}}))
		r := b.must(t, sign(t, "ana", func() Statement { s := refundOf(1, "conta"); s.Amount = 50; return s }()))
		w.entry(ledger.Position{Epoch: 1, Seq: 3}, charge.RefundedFact{}.Kind(), charge.RefundedFact{Charge: "C1", ID: "panel", Amount: back, EndToEnd: sold})
		w.evidence(`{"source":"provider","route":"banco","attempt":1,"end_to_end":"` + sold + `","digest":"aa"}`)
		w.disk.rows["chain kiosk-1/0000000000000001"] = []byte(`{"epoch":1,"signed":{"epoch":1,"seq":3}}`)
		approve := sign(t, "bia", Statement{Do: Approve, Payout: r.ID, Digest: r.Digest})
		if _, err := b.Do(t.Context(), approve); !errors.Is(err, want) {
			t.Errorf("%s went back by another way: %v, want %v", back, err, want)
		}
	}
}

// evidence puts evidence into the newest entry.
func (w *world) evidence(text string) {
	e := &w.disk.entries[len(w.disk.entries)-1]
	e.Bytes = bytes.Replace(e.Bytes, []byte(`"evidence":null`), []byte(`"evidence":`+text), 1)
}
