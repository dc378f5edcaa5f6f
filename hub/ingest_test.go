package hub_test

import (
	"bytes"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ssg-safe/agent/fleet/wire"
	"github.com/ssg-safe/agent/hub"
	"github.com/ssg-safe/agent/ledger"
)

// bubble runs a test of a hub in virtual time, and ends with an audit.
func bubble(t *testing.T, test func(t *testing.T, r *rig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		defer r.abort()
		test(t, r)
		r.close()
	})
}

func TestChain(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		d := r.register("kiosk-1")
		d.add(250)
		d.sendAll(1)
		d.wantAck(1, 250)
		d.wantStored()
		// Once more: nothing is doubled, and it is acknowledged again.
		d.send(d.batch(1, 50, 129))
		d.wantAck(1, 250)
		// Half known, half new.
		d.add(10)
		d.send(d.signed(1, 240, 260))
		d.wantAck(1, 260)
		d.wantStored()
		r.wantAlarms()
		head, err := r.hub.Head(t.Context(), d.name)
		if err != nil || head != d.head {
			t.Errorf("the hub's head is %v, %v, want %v", head, err, d.head)
		}
		if s := r.hub.Stats(); s.Entries != 260 || s.Duplicates != 91 {
			t.Errorf("counted %d new and %d known entries, want 260 and 91", s.Entries, s.Duplicates)
		}
	})
}

// Batches that arrive in the wrong order while a commit runs need no question.
func TestReordered(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		gate := r.gate()
		d, other := r.register("kiosk-1"), r.register("kiosk-2")
		d.add(30)
		for range 2 { // one group is being committed, one is read and waits
			other.hello(ledger.Head{})
			synctest.Wait()
		}
		for _, from := range []uint64{11, 21, 1} {
			d.send(d.batch(1, from, from+9))
		}
		close(gate)
		d.wantAck(1, 30)
		d.wantStored()
		if s := r.hub.Stats(); s.Commits != 3 {
			t.Errorf("%d commits, want 3: what waits goes into one", s.Commits)
		}
	})
}

func TestGap(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		d := r.register("kiosk-1")
		d.add(60)
		d.send(d.batch(1, 1, 10))
		d.wantAck(1, 10)
		d.send(d.batch(1, 21, 30))
		d.wantWant(1, 11)
		// A window full of batches behind the gap is one question.
		d.send(d.batch(1, 31, 40))
		d.wantSilence()
		time.Sleep(6 * time.Second)
		d.send(d.batch(1, 41, 50))
		d.wantWant(1, 11)
		d.sendAll(11)
		d.wantAck(1, 60)
		d.wantStored()
		r.wantAlarms()
	})
}

// What a device cannot send any more, a person lets pass.
func TestGapForEver(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		d := r.register("kiosk-1")
		d.add(50)
		d.send(d.signed(1, 1, 10))
		synctest.Wait()
		for range 6 {
			d.send(d.batch(1, 21, 30))
			d.wantWant(1, 11)
			time.Sleep(30 * time.Second)
		}
		r.wantAlarms("kiosk-1:gap")
		r.update(func(tx hub.Tx) error { return hub.ApproveGap(tx, d.name) })
		d.send(d.signed(1, 21, 30))
		d.wantAck(1, 30)
		d.send(d.batch(1, 41, 50)) // it counts once only
		d.wantWant(1, 31)
		// What lies in the hole stays a hole, what lies around it is checked.
		d.send(d.batch(1, 5, 25))
		d.wantAck(1, 30)
		d.sendAll(31)
		d.wantAck(1, 50)
		for seq := uint64(11); seq <= 20; seq++ {
			delete(d.entries, ledger.Position{Epoch: 1, Seq: seq})
		}
		d.wantStored()
		r.view(func(tx hub.Tx) error {
			report, err := hub.Verify(tx, d.name)
			if report.Gaps != 1 || report.Entries != 40 {
				t.Errorf("report %+v", report)
			}
			return err
		})
	})
}

// What is lost may be the end of an epoch before, of which the device has nothing.
func TestGapBeforeAnEpoch(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		d := r.register("kiosk-1")
		d.add(10)
		clear(d.entries)
		d.newEpoch(2)
		d.add(5)
		d.send(d.signed(2, 1, 3))
		d.wantWant(1, 1)
		r.update(func(tx hub.Tx) error { return hub.ApproveGap(tx, d.name) })
		d.send(d.signed(2, 1, 3))
		d.wantAck(2, 3)
		d.send(d.signed(2, 4, 5))
		d.wantAck(2, 5)
		d.wantStored()
		r.audit()
	})
}

// A gap that was let pass is as large as it must be: a batch that overtook the
// first one which the device still has does not count, and what was decided about
// one gap says nothing about the next.
func TestGapNotLargerThanItIs(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		d := r.register("kiosk-1")
		d.add(60)
		d.send(d.signed(1, 1, 10))
		d.wantAck(1, 10)
		d.send(d.batch(1, 21, 30))
		d.wantWant(1, 11)
		r.update(func(tx hub.Tx) error { return hub.ApproveGap(tx, d.name) })
		time.Sleep(10 * time.Second)
		d.send(d.batch(1, 31, 40)) // the one before it was lost on the way
		d.wantWant(1, 11)
		d.send(d.batch(1, 21, 30))
		d.wantAck(1, 30)

		// The next one needs another decision, and gets it for nothing.
		d.send(d.batch(1, 41, 50))
		d.wantWant(1, 31)
		r.update(func(tx hub.Tx) error { return hub.ApproveGap(tx, d.name) })
		d.send(d.batch(1, 31, 40)) // it has them after all
		d.wantAck(1, 40)
		for range 2 {
			time.Sleep(10 * time.Second)
			d.send(d.batch(1, 51, 60))
			d.wantWant(1, 41)
		}
		d.sendAll(41)
		d.wantAck(1, 60)

		// What the device deletes meanwhile is gone.
		d.add(40)
		d.send(d.batch(1, 71, 80))
		d.wantWant(1, 61)
		r.update(func(tx hub.Tx) error { return hub.ApproveGap(tx, d.name) })
		time.Sleep(3 * time.Minute)
		d.send(d.signed(1, 81, 90))
		d.wantAck(1, 90)
	})
}

// A device that is registered late may have pruned its beginning.
func TestGapAtTheBeginning(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		d := r.register("kiosk-1")
		d.add(40)
		d.send(d.batch(1, 21, 30))
		d.wantWant(1, 1)
		r.update(func(tx hub.Tx) error { return hub.ApproveGap(tx, d.name) })
		d.send(d.signed(1, 21, 30))
		d.wantAck(1, 30)
		d.send(d.signed(1, 31, 40))
		d.wantAck(1, 40)
	})
}

func TestFork(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		d := r.register("kiosk-1")
		d.add(20)
		c := d.clone()
		c.sid = "clone"
		d.add(10)
		c.add(15)
		d.sendAll(1)
		d.wantAck(1, 30)
		c.send(c.signed(1, 21, 30))
		d.wantHold(wire.HoldFork)
		r.wantAlarms("kiosk-1:fork")
		d.wantStored() // nothing is overwritten
		// From now on nothing moves, whoever of the two speaks.
		d.add(5)
		d.send(d.signed(1, 31, 35))
		if a := d.ack(); a.Hold != wire.HoldFork || a.Seq != 30 {
			t.Errorf("ack %+v after a fork", a)
		}
		d.hello(d.headAt(1, 30))
		d.wantHold(wire.HoldFork)
		if n := len(r.stored(d.name)); n != 30 {
			t.Errorf("%d entries stored after a fork, want 30", n)
		}
		if got := r.device(d.name); got.State() != "forked" || got.Fork.At != (ledger.Position{Epoch: 1, Seq: 21}) {
			t.Errorf("device %+v", got)
		}
		r.audit()
	})
}

// After a person has looked, the device's version is taken from the first
// difference on, wherever that lies, and the hub's is kept aside.
func TestForkApproved(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		d := r.register("kiosk-1")
		d.add(40)
		c := d.clone()
		c.sid = "clone"
		d.add(400)
		d.paid("CHARGE1", "E1")
		c.add(500)
		d.sendAll(1)
		d.wantAck(1, 441)
		// The clone goes on behind the head: where they part nobody can see.
		c.send(c.signed(1, 442, 520))
		d.wantHold(wire.HoldFork)
		r.update(func(tx hub.Tx) error { return hub.ApproveFork(tx, d.name) })
		from := uint64(442)
		for range 10 {
			c.send(c.signed(1, from, min(from+79, 540)))
			a := d.ack()
			if a.Want == nil {
				break
			}
			if a.Seq != 0 {
				t.Errorf("asked with the head %d, which is the other's", a.Seq)
			}
			from = a.Want.Seq
		}
		c.sendAll(1)
		c.wantStored()
		r.view(func(tx hub.Tx) error {
			report, err := hub.Verify(tx, d.name)
			if report.Aside != 401 {
				t.Errorf("%d entries were set aside, want 401", report.Aside)
			}
			n := 0
			for e, err := range tx.Aside(d.name, "fork-1-41-1") {
				if err != nil || !bytes.Equal(e.Bytes, d.entries[e.Position]) {
					t.Fatalf("branch: entry %v, %v", e.Position, err)
				}
				n++
			}
			if n != 401 {
				t.Errorf("the branch has %d entries", n)
			}
			return err
		})
		// What the device had signed was paid, whatever becomes of the chain.
		d.mu.Lock()
		d.pays = nil
		d.mu.Unlock()
		d.say(wire.PayGet{V: 1, SID: d.sid, Charges: []string{"CHARGE1"}})
		synctest.Wait()
		if len(d.pays) != 1 || d.pays[0].EndToEnd != "E1" {
			t.Errorf("pays %+v", d.pays)
		}
		// It was approved for one fork.
		d.send(d.batch(1, 41, 90))
		d.wantHold(wire.HoldFork)
	})
}

// What is set aside gives back only the end-to-end ids that it had itself.
func TestForkKeepsTheCreditOfOthers(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		d, other := r.register("kiosk-1"), r.register("kiosk-2")
		other.paid("C1", "E1")
		other.sendAll(1)
		d.add(10)
		c := d.clone()
		c.sid = "clone"
		d.paid("C2", "E1") // without a signature: somebody could have made it up
		d.send(d.batch(1, 1, 11))
		d.wantAck(1, 11)
		r.wantAlarms("kiosk-1:credit")
		c.add(5)
		c.send(c.signed(1, 1, 15))
		d.wantHold(wire.HoldFork)
		r.update(func(tx hub.Tx) error { return hub.ApproveFork(tx, d.name) })
		c.sendAll(1)
		c.wantStored()
		if err := r.hub.Pay(t.Context(), d.name, known("C3", "E1")); !errors.Is(err, hub.ErrConflict) {
			t.Errorf("the payment of another charge is credited once more: %v", err)
		}
	})
}

// The very first entries differ: a factory reset without a new epoch.
func TestForkAtTheBeginning(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		d := r.register("kiosk-1")
		d.add(20)
		d.sendAll(1)
		d.wantAck(1, 20)
		c := r.stranger(d.name)
		c.sid = "after the reset"
		c.sid = "session-9"
		c.add(5)
		c.last = d.last
		c.send(c.signed(1, 1, 5))
		c.wantHold(wire.HoldFork)
		r.update(func(tx hub.Tx) error { return hub.ApproveFork(tx, d.name) })
		c.sendAll(1)
		c.wantAck(1, 5)
		c.wantStored()
	})
}

func TestEpochs(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		d := r.register("kiosk-1")
		d.add(30)
		d.send(d.signed(1, 1, 10))
		d.wantAck(1, 10)
		d.newEpoch(2)
		d.add(10)
		d.send(d.signed(2, 1, 10))
		if a := d.ack(); a.Hold != wire.HoldEpoch || a.Epoch != 2 || a.Seq != 0 {
			t.Errorf("ack %+v, want hold of epoch 2", a)
		}
		d.hello(d.headAt(1, 10))
		d.wantHold(wire.HoldEpoch)
		r.wantAlarms("kiosk-1:epoch")
		if got := r.device(d.name); got.Asked != 2 || got.State() != "epoch" {
			t.Errorf("device %+v", got)
		}
		r.update(func(tx hub.Tx) error { return hub.ApproveEpoch(tx, d.name, 2) })
		// An acknowledgement of epoch 2 would cover the rest of epoch 1.
		d.send(d.signed(2, 1, 10))
		d.wantWant(1, 11)
		d.send(d.signed(1, 11, 30))
		d.wantAck(1, 30)
		d.send(d.signed(2, 1, 10))
		d.wantAck(2, 10)
		d.wantStored()
		if got := r.device(d.name); got.Asked != 0 || got.State() != "ok" {
			t.Errorf("device %+v", got)
		}
	})
}

// A terminal that was restored from a backup has less of the old epoch than the
// hub: it is acknowledged what it has.
func TestRestoredTerminal(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		d := r.register("kiosk-1")
		d.add(20)
		backup := d.clone()
		d.add(30)
		d.sendAll(1)
		d.wantAck(1, 50)
		backup.sid = "session-2"
		backup.newEpoch(2)
		backup.add(5)
		r.update(func(tx hub.Tx) error { return hub.ApproveEpoch(tx, d.name, 2) })
		d.hello(ledger.Head{}) // of the old session, delivered again
		d.ack()
		backup.send(backup.signed(1, 11, 20))
		d.wantAck(1, 20)
		backup.send(backup.signed(2, 1, 5))
		if a := d.ack(); a.Epoch != 2 || a.Seq != 5 || a.Head != backup.head.Hash {
			t.Errorf("ack %+v, want 2/5", a)
		}
		if n := len(r.stored(d.name)); n != 55 {
			t.Errorf("%d entries stored, want 50 of epoch 1 and 5 of epoch 2", n)
		}
		r.wantAlarms()
	})
}

// Without a new epoch a restored terminal is noticed when it says hello, and
// stopped when it writes over its past.
func TestRolledBackTerminal(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		d := r.register("kiosk-1")
		d.add(20)
		backup := d.clone()
		d.add(30)
		d.sendAll(1)
		backup.sid = "session-2"
		backup.hello(backup.headAt(1, 10))
		d.wantAck(1, 50)
		r.wantAlarms("kiosk-1:rollback")
		backup.add(1)
		backup.hello(backup.headAt(1, 10))
		d.wantHold(wire.HoldFork)
		r.wantAlarms("kiosk-1:rollback", "kiosk-1:fork")
	})
}

// A hub that was restored from a backup asks for what it has lost.
func TestRestoredHub(t *testing.T) {
	for _, how := range []string{"hello", "batch"} {
		t.Run(how, func(t *testing.T) {
			bubble(t, func(t *testing.T, r *rig) {
				d := r.register("kiosk-1")
				d.add(30)
				d.sendAll(1)
				d.wantAck(1, 30)
				var backup bytes.Buffer
				if err := r.store.Backup(&backup); err != nil {
					t.Fatal(err)
				}
				d.add(270)
				d.sendAll(31)
				d.wantAck(1, 300)
				acked := d.head
				for range 20 {
					d.hello(acked)
					d.wantAck(1, 300)
				}
				if how == "batch" {
					time.Sleep(time.Second)
				}
				r.restore(backup.Bytes())
				d.add(10)
				if how == "hello" {
					d.hello(acked)
					d.wantWant(1, 31)
					r.wantAlarms("kiosk-1:counter", "kiosk-1:restored")
				} else {
					// Its clock alone takes the counters above those that it has
					// forgotten: a device that stays connected says no hello.
					d.send(d.signed(1, 301, 310))
					d.wantWant(1, 31)
				}
				d.sendAll(31)
				d.wantAck(1, 310)
				d.wantStored()
			})
		})
	}
}

// A hub that lost everything is like a new one.
func TestBlankHub(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		d := r.register("kiosk-1")
		d.add(10)
		d.newEpoch(2)
		d.add(10)
		d.hello(d.head)
		d.wantWant(1, 1)
		d.send(d.signed(1, 1, 10))
		d.wantAck(1, 10)
		d.send(d.signed(2, 1, 10))
		d.wantHold(wire.HoldEpoch)
		r.update(func(tx hub.Tx) error { return hub.ApproveEpoch(tx, d.name, 2) })
		d.send(d.signed(2, 1, 10))
		d.wantAck(2, 10)
		d.wantStored()
	})
}

// An entry that nothing can be read from is kept as it is, acknowledged, and
// does not block what comes behind it.
func TestPoison(t *testing.T) {
	poison := map[string]func(d *terminal) []byte{
		"not JSON": func(d *terminal) []byte {
			return fmt.Appendf(nil, `{"v":1,"epoch":1,"seq":%d,"prev":"%s",garbage}`, d.head.Seq+1, d.head.Hash)
		},
		"no prev": func(d *terminal) []byte { return fmt.Appendf(nil, `{"v":1,"epoch":1,"seq":%d,}`, d.head.Seq+1) },
		"unbalanced": func(d *terminal) []byte {
			return bytes.Replace(d.entry("op/x", "k", "null", "null"), []byte(`"amount":-100`), []byte(`"amount":-99`), 1)
		},
		"unknown version": func(d *terminal) []byte {
			return bytes.Replace(d.entry("op/x", "k", "null", "null"), []byte(`{"v":1,`), []byte(`{"v":2,`), 1)
		},
		"a payment without evidence": func(d *terminal) []byte {
			return d.entry("payment/E", "charge.paid", "[]", `{"charge":"C","attempt":1,"amount":100}`)
		},
	}
	for name, make := range poison {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, r *rig) {
				d := r.register("kiosk-1")
				d.add(5)
				d.put(make(d))
				d.add(5)
				d.sendAll(1)
				d.wantAck(1, 11)
				d.wantStored()
				r.wantAlarms("kiosk-1:poison")
				r.view(func(tx hub.Tx) error {
					q, err := hub.Quarantine(tx, d.name)
					if len(q) != 1 || q[0].At.Seq != 6 || q[0].Reason == "" {
						t.Errorf("quarantine %+v", q)
					}
					return err
				})
				d.add(5)
				d.sendAll(12)
				d.wantAck(1, 16)
			})
		})
	}
}

// Entries that do not hang together are refused as a whole.
func TestBrokenChain(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		d := r.register("kiosk-1")
		d.add(20)
		b := d.batch(1, 1, 10)
		b.Entries[4] = bytes.Replace(b.Entries[4], []byte(`"n":1`), []byte(`"n":2`), 1)
		d.send(b)
		d.wantSilence()
		r.wantAlarms("kiosk-1:chain")
		if n := len(r.stored(d.name)); n != 0 {
			t.Errorf("%d entries of it were taken", n)
		}
		d.sendAll(1)
		d.wantAck(1, 20)
		d.wantStored()
	})
}

func TestCheckpoints(t *testing.T) {
	bad := map[string]func(d *terminal) *ledger.Signed{
		"another key": func(d *terminal) *ledger.Signed {
			s, err := ledger.Sign(keyOf("thief"), ledger.Checkpoint{Device: d.name, Head: d.headAt(1, 10)})
			if err != nil {
				d.r.t.Fatal(err)
			}
			return &s
		},
		"another device": func(d *terminal) *ledger.Signed {
			s, err := ledger.Sign(d.key, ledger.Checkpoint{Device: "kiosk-2", Head: d.headAt(1, 10)})
			if err != nil {
				d.r.t.Fatal(err)
			}
			return &s
		},
		"another head": func(d *terminal) *ledger.Signed {
			return d.checkpoint(ledger.Head{Position: ledger.Position{Epoch: 1, Seq: 10}, Hash: ledger.HashOf([]byte("x"))})
		},
	}
	for name, sign := range bad {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, r *rig) {
				d := r.register("kiosk-1")
				d.add(10)
				b := d.batch(1, 1, 10)
				b.Checkpoint = sign(d)
				d.send(b)
				d.wantSilence()
				r.wantAlarms("kiosk-1:checkpoint")
				if n := len(r.stored(d.name)); n != 0 {
					t.Errorf("%d entries of it were taken", n)
				}
			})
		})
	}
	t.Run("about the past", func(t *testing.T) {
		bubble(t, func(t *testing.T, r *rig) {
			d := r.register("kiosk-1")
			d.add(30)
			d.send(d.batch(1, 1, 20))
			d.wantAck(1, 20)
			b := d.batch(1, 21, 30)
			b.Checkpoint = d.checkpoint(ledger.Head{Position: ledger.Position{Epoch: 1, Seq: 7}, Hash: ledger.HashOf([]byte("x"))})
			d.send(b)
			d.wantHold(wire.HoldFork) // the device has signed another past
			r.wantAlarms("kiosk-1:fork")
		})
	})
	t.Run("kept", func(t *testing.T) {
		bubble(t, func(t *testing.T, r *rig) {
			d := r.register("kiosk-1")
			d.add(2500)
			d.sendAll(1)
			d.wantAck(1, 2500)
			r.view(func(tx hub.Tx) error {
				kept, err := hub.Checkpoints(tx, d.name)
				var at []uint64
				for _, c := range kept {
					at = append(at, c.Head.Seq)
				}
				if len(at) != 3 || at[2] != 2500 {
					t.Errorf("checkpoints at %v, want one for each thousand and the newest", at)
				}
				return err
			})
		})
	})
}

// restore stops the hub and starts another on an older copy of its store.
func (r *rig) restore(backup []byte) {
	r.t.Helper()
	synctest.Wait()
	r.stop()
	r.replaceStore(backup)
	r.start()
	synctest.Wait()
}
