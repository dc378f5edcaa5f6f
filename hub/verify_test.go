package hub_test

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/ssg-safe/agent/hub"
	"github.com/ssg-safe/agent/hub/bolt"
	"github.com/ssg-safe/agent/ledger"
)

// edit changes a record as a fault would.
func edit(t *testing.T, tx hub.Tx, kind hub.Kind, key string, change func(map[string]any)) error {
	doc, err := tx.Get(kind, key)
	if err != nil {
		return err
	}
	var m map[string]any
	d := json.NewDecoder(bytes.NewReader(doc))
	d.UseNumber()
	if err := d.Decode(&m); err != nil {
		t.Fatal(err)
	}
	change(m)
	if doc, err = json.Marshal(m); err != nil {
		t.Fatal(err)
	}
	return tx.Put(kind, key, doc)
}

// entryRow is a row of the store, with something wrong.
func (d *terminal) entryRow(seq uint64, change func(*hub.Entry)) hub.Entry {
	raw := d.entries[ledger.Position{Epoch: 1, Seq: seq}]
	e := hub.Entry{Position: ledger.Position{Epoch: 1, Seq: seq}, Hash: ledger.HashOf(raw), Bytes: bytes.Clone(raw)}
	change(&e)
	return e
}

// Every fault that the store can have, Verify finds.
func TestVerifyFinds(t *testing.T) {
	const chain, signed = "kiosk-1/0000000000000001", "kiosk-1/0000000000000001-0000000000000014"
	faults := map[string]struct {
		says string
		do   func(t *testing.T, d *terminal, tx hub.Tx) error
	}{
		"a head that is not there": {"it ends at", func(t *testing.T, _ *terminal, tx hub.Tx) error {
			return edit(t, tx, hub.KindChain, chain, func(m map[string]any) { m["head"].(map[string]any)["seq"] = 19 })
		}},
		"a wrong count": {"it ends at", func(t *testing.T, _ *terminal, tx hub.Tx) error {
			return edit(t, tx, hub.KindChain, chain, func(m map[string]any) { m["entries"] = 19 })
		}},
		"a gap that nobody let pass": {"there is no gap", func(t *testing.T, _ *terminal, tx hub.Tx) error {
			return edit(t, tx, hub.KindChain, chain, func(m map[string]any) {
				zero := strings.Repeat("0", 64)
				at := func(seq int) map[string]any { return map[string]any{"epoch": 1, "seq": seq, "hash": zero} }
				m["gaps"] = []any{map[string]any{"after": at(30), "resume": at(40)}}
			})
		}},
		"signed ahead": {"signed up to", func(t *testing.T, _ *terminal, tx hub.Tx) error {
			return edit(t, tx, hub.KindChain, chain, func(m map[string]any) { m["signed"].(map[string]any)["seq"] = 21 })
		}},
		"a lost checkpoint": {"its newest checkpoint", func(_ *testing.T, _ *terminal, tx hub.Tx) error {
			return tx.Delete(hub.KindCheckpoint, signed)
		}},
		"a forged checkpoint": {"a checkpoint", func(_ *testing.T, d *terminal, tx hub.Tx) error {
			s, err := ledger.Sign(keyOf("thief"), ledger.Checkpoint{Device: d.name, Head: d.headAt(1, 20)})
			if err != nil {
				return err
			}
			doc, err := json.Marshal(s)
			return errors.Join(err, tx.Put(hub.KindCheckpoint, signed, doc))
		}},
		"a checkpoint of another device": {"a checkpoint of", func(_ *testing.T, d *terminal, tx hub.Tx) error {
			s, err := ledger.Sign(d.key, ledger.Checkpoint{Device: "kiosk-2", Head: d.headAt(1, 20)})
			if err != nil {
				return err
			}
			doc, err := json.Marshal(s)
			return errors.Join(err, tx.Put(hub.KindCheckpoint, signed, doc))
		}},
		"an entry behind the head": {"it follows", func(_ *testing.T, d *terminal, tx hub.Tx) error {
			return tx.Append(d.name, d.entryRow(1, func(e *hub.Entry) { e.Seq = 23 }))
		}},
		"an entry of no chain": {"belongs to no chain", func(_ *testing.T, d *terminal, tx hub.Tx) error {
			return tx.Append(d.name, d.entryRow(1, func(e *hub.Entry) { e.Epoch = 5 }))
		}},
		"bytes without their hash": {"do not have the hash", func(_ *testing.T, d *terminal, tx hub.Tx) error {
			_, err := tx.SetAside(d.name, ledger.Position{Epoch: 1, Seq: 20}, "x")
			return errors.Join(err, tx.Append(d.name, d.entryRow(20, func(e *hub.Entry) { e.Bytes[len(e.Bytes)-2] = ' ' })))
		}},
		"another past": {"as the hash of", func(_ *testing.T, d *terminal, tx hub.Tx) error {
			_, err := tx.SetAside(d.name, ledger.Position{Epoch: 1, Seq: 20}, "x")
			return errors.Join(err, tx.Append(d.name, d.entryRow(20, func(e *hub.Entry) {
				e.Bytes = bytes.Replace(e.Bytes, []byte(`"prev":"`), []byte(`"prev":"`), 1)
				i := bytes.Index(e.Bytes, []byte(`"prev":"`)) + len(`"prev":"`)
				copy(e.Bytes[i:], strings.Repeat("0", 64))
				e.Hash = ledger.HashOf(e.Bytes)
			})))
		}},
		"a lost row of the index": {"operation op/1/20", func(_ *testing.T, d *terminal, tx hub.Tx) error {
			_, err := tx.SetAside(d.name, ledger.Position{Epoch: 1, Seq: 20}, "x")
			return errors.Join(err, tx.Append(d.name, d.entryRow(20, func(*hub.Entry) {})))
		}},
		"an unreadable entry that is not marked": {"quarantined: false", func(_ *testing.T, d *terminal, tx hub.Tx) error {
			return tx.Delete(hub.KindQuarantine, "kiosk-1/0000000000000001-0000000000000015")
		}},
		"a mark on a good entry": {"quarantined: true", func(t *testing.T, d *terminal, tx hub.Tx) error {
			return tx.Put(hub.KindQuarantine, "kiosk-1/0000000000000001-0000000000000003", []byte(`{"at":{"epoch":1,"seq":3},"reason":"x","since":"2026-01-01T00:00:00Z"}`))
		}},
		"a mark on no entry": {"is not in the chain", func(t *testing.T, d *terminal, tx hub.Tx) error {
			return tx.Put(hub.KindQuarantine, "kiosk-1/0000000000000001-00000000000000ff", []byte(`{"at":{"epoch":1,"seq":255},"reason":"x","since":"2026-01-01T00:00:00Z"}`))
		}},
		"a branch that is gone": {"branch gone is empty", func(t *testing.T, _ *terminal, tx hub.Tx) error {
			return edit(t, tx, hub.KindChain, chain, func(m map[string]any) { m["aside"] = []string{"gone"} })
		}},
		"a payment of another amount": {"does not say", func(t *testing.T, _ *terminal, tx hub.Tx) error {
			return edit(t, tx, hub.KindPayment, "kiosk-1/C1", func(m map[string]any) { m["pay"].(map[string]any)["cents"] = 1 })
		}},
		"a payment that no entry tells of": {"payment of charge C1", func(t *testing.T, _ *terminal, tx hub.Tx) error {
			return edit(t, tx, hub.KindPayment, "kiosk-1/C1", func(m map[string]any) { m["entry"].(map[string]any)["seq"] = 99 })
		}},
	}
	for name, fault := range faults {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t)
				d := r.register("kiosk-1")
				d.add(9)
				d.paid("C1", "E1")
				d.add(10)
				d.sendAll(1)
				d.put(fmt.Appendf(nil, `{"v":1,"epoch":1,"seq":21,"prev":"%s",garbage}`, d.head.Hash))
				d.send(d.batch(1, 21, 21))
				d.wantAck(1, 21)
				r.audit() // it is in order before
				r.update(func(tx hub.Tx) error { return fault.do(t, d, tx) })
				r.view(func(tx hub.Tx) error {
					if _, err := hub.Verify(tx, d.name); !errors.Is(err, hub.ErrBroken) || !strings.Contains(err.Error(), fault.says) {
						t.Errorf("Verify: %v, want ErrBroken with %q", err, fault.says)
					}
					return nil
				})
				r.stop()
			})
		})
	}
}

func TestExport(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		d := r.register("kiosk-1")
		d.add(2)
		d.put(d.entry("op/3", "test.kind", "null", `-5`))
		d.put(fmt.Appendf(nil, `{"v":1,"epoch":1,"seq":4,"prev":"%s",garbage}`, d.head.Hash))
		d.sendAll(1)
		d.wantAck(1, 4)
		var jsonl, table bytes.Buffer
		r.view(func(tx hub.Tx) error {
			return errors.Join(
				hub.WriteJSONL(&jsonl, tx.Entries(d.name, ledger.Position{})),
				hub.WriteCSV(&table, tx.Entries(d.name, ledger.Position{})),
			)
		})
		var want bytes.Buffer
		for seq := uint64(1); seq <= 4; seq++ {
			want.Write(append(d.entries[ledger.Position{Epoch: 1, Seq: seq}], '\n'))
		}
		if !bytes.Equal(jsonl.Bytes(), want.Bytes()) {
			t.Errorf("JSONL is not what was sent:\n%s", &jsonl)
		}
		rows, err := csv.NewReader(&table).ReadAll()
		if err != nil || len(rows) != 8 {
			t.Fatalf("%d rows, %v", len(rows), err)
		}
		if got := rows[1]; got[9] != "pix_clearing" || got[10] != "100" || got[13] != d.headAt(1, 1).Hash.String() {
			t.Errorf("row %q", got)
		}
		if got := rows[5][12]; got != "'-5" {
			t.Errorf("a formula is written as %q", got)
		}
		if got := rows[7]; got[1] != "4" || got[6] != "?" {
			t.Errorf("what cannot be read is written as %q", got)
		}
		full := errors.New("disk full")
		for name, write := range map[string]func(hub.Tx) error{
			"JSONL": func(tx hub.Tx) error { return hub.WriteJSONL(failing{full}, tx.Entries(d.name, ledger.Position{})) },
			"CSV":   func(tx hub.Tx) error { return hub.WriteCSV(failing{full}, tx.Entries(d.name, ledger.Position{})) },
		} {
			if err := r.store.View(t.Context(), write); !errors.Is(err, full) {
				t.Errorf("%s to a full disk: %v", name, err)
			}
		}
	})
}

type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }

var _ hub.Store = (*bolt.Store)(nil)
