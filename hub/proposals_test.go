package hub_test

import (
	"fmt"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ssg-safe/agent/fleet/wire"
	"github.com/ssg-safe/agent/hub"
	"github.com/ssg-safe/agent/payout"
	"github.com/ssg-safe/agent/proposal"
)

var box = []byte("for the hub alone")

// propose appends the entry of a proposal.
func (d *terminal) propose(reference string, cents int) payout.ID {
	return d.proposeSealed(reference, cents, box)
}

func (d *terminal) proposeSealed(reference string, cents int, sealed []byte) payout.ID {
	id := proposal.IDOf(d.name, reference)
	d.put(d.entry(fmt.Sprintf("proposal/%d/%s/made", d.epoch, id), proposal.KindMade, "null", fmt.Sprintf(
		`{"proposal":%q,"kind":"payout","reference":%q,"merchant":"loja","amount":%d,"sealed":%q,"source":"control","by":"dora"}`, id, reference, cents, proposal.SealedHash(sealed))))
	return id
}

// told appends the entry by which the terminal records a word of the hub.
func (d *terminal) told(p wire.Payout) {
	d.put(d.entry(fmt.Sprintf("proposal/%d/%s/said/%d", d.epoch, p.Payout, p.Ctr), proposal.KindSaid,
		fmt.Sprintf(`{"source":"hub","jti":%q,"ctr":%d}`, p.JTI, p.Ctr), fmt.Sprintf(`{"proposal":%q,"state":%q,"amount":%d}`, p.Payout, p.State, p.Cents)))
}

// offer sends the details.
func (d *terminal) offer(id payout.ID, sealed []byte) {
	d.r.t.Helper()
	d.say(wire.Propose{V: 1, SID: d.sid, Proposal: string(id), Sealed: sealed})
	synctest.Wait()
}

// newsOf returns what the terminal was told of proposals, and forgets it.
func (d *terminal) newsOf() (news []wire.Payout) {
	synctest.Wait()
	d.mu.Lock()
	defer d.mu.Unlock()
	news, d.outs = d.outs, nil
	return news
}

// received is the word that the details are there; there must be one.
func (d *terminal) received(id payout.ID) wire.Payout {
	d.r.t.Helper()
	news := d.newsOf()
	if len(news) != 1 || news[0].Payout != string(id) || news[0].State != "received" {
		d.r.t.Fatalf("told %+v, want that %s was received", news, id)
	}
	return news[0]
}

func (r *rig) ready() (ids []payout.ID) {
	r.t.Helper()
	synctest.Wait()
	r.view(func(tx hub.Tx) error {
		list, err := hub.ReadyProposals(tx)
		for _, p := range list {
			ids = append(ids, p.ID)
		}
		return err
	})
	return ids
}

func (r *rig) proposal(d *terminal, id payout.ID) (p hub.Proposal) {
	r.t.Helper()
	r.view(func(tx hub.Tx) (err error) {
		p, err = hub.GetProposal(tx, d.name, id)
		return err
	})
	return p
}

// TestProposal: an entry, its details and the terminal's signed word that it was told of
// their receipt make a proposal that can be approved, once, in this order, each signed.
func TestProposal(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		d := r.register("kiosk-1")
		id := d.propose("caixa/1", 100)
		d.offer(id, box) // too early: the entry comes later
		d.send(d.batch(1, 1, 1))
		d.offer(id, box) // the terminal has not signed it: a broker could have made it up
		if news := d.newsOf(); len(news) != 0 {
			t.Fatalf("of what is not proved the terminal is told %+v", news)
		}
		d.send(d.signed(1, 1, 1))
		d.offer(id, []byte("something else"))
		d.offer("QH3K7WZ2M5N4T6V7B2C3D4F5G", box)
		if news := d.newsOf(); len(news) != 0 {
			t.Fatalf("of other details the terminal is told %+v", news)
		}
		d.offer(id, box)
		word := d.received(id)
		d.offer(id, box) // it comes twice
		if got := r.ready(); len(got) != 0 {
			t.Fatalf("ready before the terminal knows: %v", got)
		}
		d.told(word)
		d.send(d.batch(1, 2, 2))
		if got := r.ready(); len(got) != 0 {
			t.Fatalf("ready by an entry that the terminal has not signed: %v", got)
		}
		d.send(d.signed(1, 1, 2))
		if got := r.ready(); len(got) != 1 || got[0] != id {
			t.Fatalf("ready: %v, want %s", got, id)
		}
		select {
		case <-r.hub.Proposed():
		default:
			t.Error("nobody is told that it is ready")
		}
		p := r.proposal(d, id)
		if string(p.Box) != string(box) || p.By != "dora" || p.Amount != 100 || p.Entry.Seq != 1 {
			t.Errorf("the hub has %+v", p)
		}
		r.update(func(tx hub.Tx) error { return hub.EndProposal(tx, p, hub.Taken, "") })
		d.sendAll(1) // everything once more
		d.offer(id, box)
		if got := r.ready(); len(got) != 0 {
			t.Errorf("ready once more: %v", got)
		}
		if p := r.proposal(d, id); p.Box != nil || p.State != hub.Taken {
			t.Errorf("the details are kept: %+v", p)
		}
		// Who asks for it is told again what he was told last.
		d.answer(word.JTI, true, wire.CodeDone)
		d.newsOf()
		if err := r.hub.Payout(t.Context(), d.name, p.Payout(payout.Proposed, "")); err != nil {
			t.Fatal(err)
		}
		first := d.newsOf()
		d.answer(first[0].JTI, true, wire.CodeDone)
		d.offer(id, box)
		if again := d.newsOf(); len(again) != 1 || again[0].State != "awaiting_approval" {
			t.Errorf("told again %+v", again)
		}
		r.wantAlarms()
	})
}

// TestProposalOfARestoredHub: whatever the backup knew, a proposal that went on in the
// life that is lost is made nothing of a second time.
func TestProposalOfARestoredHub(t *testing.T) {
	for name, at := range map[string]int{"before its entry": 0, "before its details": 1, "before the terminal knew": 2} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, r *rig) {
				d := r.register("kiosk-1")
				d.add(1)
				d.sendAll(1)
				var backups [][]byte
				keep := func() {
					t.Helper()
					synctest.Wait()
					r.stop()
					content, err := os.ReadFile(r.path)
					if err != nil {
						t.Fatal(err)
					}
					backups = append(backups, content)
					r.start()
				}
				keep()
				id := d.propose("caixa/1", 100)
				d.sendAll(1)
				keep()
				d.offer(id, box)
				word := d.received(id)
				keep()
				d.newsOf()
				d.told(word)
				d.sendAll(1)
				if got := r.ready(); len(got) != 1 {
					t.Fatalf("ready %v", got)
				}
				acked := d.head

				// The other hub never sent that word: its own has another id.
				time.Sleep(time.Second)
				r.stop()
				r.replaceStore(backups[at])
				r.start()
				d.hello(acked)
				if at < 2 {
					d.offer(id, box) // a broker delivers an old message once more
				}
				d.sendAll(1)
				if at < 2 {
					d.offer(id, box)
					d.sendAll(1)
					if got := r.ready(); len(got) != 0 {
						t.Errorf("ready a second time: %v", got)
					}
					news := d.newsOf()
					if last := news[len(news)-1]; last.State != "forgotten" {
						t.Errorf("told %+v, want that it is forgotten", last)
					}
					if p := r.proposal(d, id); p.State != proposal.Forgotten || p.Box != nil {
						t.Errorf("the hub has %+v", p)
					}
					return
				}
				// Here the word is this hub's own: the mark of package payouts tells that it
				// was restored.
				if got := r.ready(); len(got) != 1 {
					t.Errorf("ready %v", got)
				}
				r.view(func(tx hub.Tx) error {
					list, err := hub.Proposals(tx)
					if len(list) != 1 || list[0].ID != id || list[0].State != hub.Ready {
						t.Errorf("proposals: %+v", list)
					}
					return err
				})
			})
		})
	}
}

// TestProposalAgain: a terminal that was restored proposes under the same reference. What
// the hub has counts; what it has not taken yet is replaced.
func TestProposalAgain(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		d := r.register("kiosk-1")
		early, late := d.propose("caixa/1", 100), d.propose("caixa/2", 100)
		d.sendAll(1)
		d.offer(late, box)
		d.received(late)
		r.update(func(tx hub.Tx) error { return hub.ApproveEpoch(tx, d.name, 2) })
		d.newEpoch(2)
		if d.propose("caixa/1", 200) != early || d.proposeSealed("caixa/2", 200, []byte("another")) != late {
			t.Fatal("other ids")
		}
		d.sendAll(1)
		if p := r.proposal(d, early); p.Amount != 200 || p.Entry.Epoch != 2 {
			t.Errorf("the newer one does not count: %+v", p)
		}
		p := r.proposal(d, late)
		if p.Amount != 100 || p.Entry.Epoch != 1 {
			t.Errorf("what was received does not count: %+v", p)
		}
		// What becomes of the first one is not what becomes of the one that the terminal has.
		d.newsOf()
		if err := r.hub.Payout(t.Context(), d.name, p.Payout(payout.Rejected, "")); err != nil {
			t.Error(err)
		}
		if news := d.newsOf(); len(news) != 0 {
			t.Errorf("told of another one: %+v", news)
		}
		d.offer(late, []byte("another"))
		if news := d.newsOf(); len(news) != 1 || news[0].State != "refused" || news[0].Reason != "reference" || news[0].Cents != 200 {
			t.Errorf("it does not end: %+v", news)
		}
		r.wantAlarms("kiosk-1:proposal")
	})
}

// TestProposalOverlooked: an entry that a hub of an earlier version has taken, which did not
// know what it proposes, is found when its details are offered.
func TestProposalOverlooked(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		d := r.register("kiosk-1")
		id := d.propose("caixa/1", 100)
		d.sendAll(1)
		r.update(func(tx hub.Tx) error { return tx.Delete(hub.KindProposal, d.name+"/"+string(id)) })
		d.offer(proposal.IDOf(d.name, "caixa/2"), box)
		if news := d.newsOf(); len(news) != 0 {
			t.Errorf("of what it did not propose it is told %+v", news)
		}
		d.offer(id, box)
		d.told(d.received(id))
		d.sendAll(1)
		if got := r.ready(); len(got) != 1 || got[0] != id {
			t.Errorf("ready %v", got)
		}
		r.wantAlarms()
	})
}

// TestHostileProposals: what no terminal would record is nothing but an alarm, and a
// terminal that is revoked, or forked, proposes nothing.
func TestHostileProposals(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		d := r.register("kiosk-1")
		d.put(d.entry("proposal/1/X/made", proposal.KindMade, "null", `{"proposal":"QH3K7WZ2M5N4T6V7B2C3D4F5G","kind":"payout","reference":"caixa/1","amount":1}`))
		d.put(d.entry("proposal/1/Y/made", proposal.KindMade, "null", `[]`))
		d.put(d.entry("proposal/1/Z/said/1", proposal.KindSaid, "null", `{"proposal":1}`))
		d.sendAll(1)
		r.wantAlarms("kiosk-1:proposal")
		id := d.propose("caixa/1", 100)
		d.sendAll(1)
		d.offer(id, box)
		d.told(d.received(id))
		other := d.clone()
		d.sendAll(1)
		if got := r.ready(); len(got) != 1 {
			t.Fatalf("ready %v", got)
		}
		other.sid = "another"
		other.add(3)
		d.add(2)
		d.sendAll(1)
		other.sendAll(6)
		if got := r.ready(); len(got) != 0 || r.device(d.name).Fork == nil {
			t.Errorf("ready of a forked terminal: %v", got)
		}
		if d.offer(id, box); len(d.newsOf()) != 0 {
			t.Error("a forked terminal is answered")
		}
	})
}

// TestProposalSetAside: what was not signed goes with the entries that a fork sets aside.
func TestProposalSetAside(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		d := r.register("kiosk-1")
		d.add(2)
		d.sendAll(1)
		other := d.clone()
		gone := d.propose("caixa/1", 100)
		d.send(d.batch(1, 3, 3)) // not signed
		synctest.Wait()
		other.add(1)
		other.sendAll(3)
		r.update(func(tx hub.Tx) error { return hub.ApproveFork(tx, d.name) })
		other.sendAll(1)
		r.view(func(tx hub.Tx) error {
			if _, err := hub.GetProposal(tx, d.name, gone); err == nil {
				t.Error("it is there, and its entry is not")
			}
			return nil
		})
		if r.device(d.name).Fork != nil {
			t.Error("still forked")
		}
	})
}

// TestProposalOfferedLate: details that come again between the terminal's answer and its
// entry, from a slow connection or by the broker, change nothing.
func TestProposalOfferedLate(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		d := r.register("kiosk-1")
		id := d.propose("caixa/1", 100)
		d.sendAll(1)
		d.offer(id, box)
		word := d.received(id)
		d.answer(word.JTI, true, wire.CodeDone)
		d.offer(id, box)
		d.newsOf()
		d.told(word)
		d.sendAll(1)
		if got := r.ready(); len(got) != 1 || got[0] != id {
			t.Errorf("ready: %v; the hub has %+v", got, r.proposal(d, id))
		}
		r.wantAlarms()
	})
}
