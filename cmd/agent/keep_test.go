package main

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/ssg-safe/agent/device"
	"github.com/ssg-safe/agent/fleet"
	"github.com/ssg-safe/agent/ledger"
	"github.com/ssg-safe/agent/ledger/archive"
	"github.com/ssg-safe/agent/store"
	"github.com/ssg-safe/agent/store/storetest"
)

// keeperRig is a keeper over a store with 200 entries and the private data of
// two charges, all a hundred days old; the first charge is still open.
func keeperRig(t *testing.T) *keeper {
	t.Helper()
	o := storeOptions("", nil)
	st := storetest.Run(t, storetest.Options(t, o.Verify, o.Migrations...))
	id, err := device.CreateIdentity(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	now := time.Date(2027, 3, 1, 12, 0, 0, 0, time.UTC)
	old := now.AddDate(0, 0, -100)
	clock := device.NewClockFrom(device.Sources{
		Now: func() time.Time { return now }, Up: func() time.Duration { return time.Hour },
		Boot: func() string { return "boot" }, Synced: func() bool { return true },
	}, time.Time{})
	k := &keeper{store: st, id: id, clock: clock, log: slog.New(slog.NewTextHandler(t.Output(), nil))}
	k.do(t, func(tx *bbolt.Tx) error {
		for i := range 200 {
			if _, err := ledger.Append(tx, ledger.Stamp{Wall: old, Boot: "b", Quality: ledger.Synced}, ledger.Draft{
				Op: "op/" + strconv.Itoa(i), Kind: "test.entry", Actor: "test",
			}); err != nil {
				return err
			}
		}
		return errors.Join(
			ledger.PutPrivate(tx, old, "OPEN", []byte("a")), ledger.PutPrivate(tx, old, "CLOSED", []byte("b")),
			tx.Bucket([]byte("open_charges")).Put([]byte("OPEN"), store.Seal([]byte("OPEN"), []byte(`{"charge":{"id":"OPEN","state":"pending"}}`))),
		)
	})
	return k
}

func (k *keeper) do(t *testing.T, f func(*bbolt.Tx) error) {
	t.Helper()
	if err := k.store.Commit(t.Context(), store.Op{Name: "test", Do: f}); err != nil {
		t.Fatal(err)
	}
}

// left says how many entries there are, and whose private data.
func (k *keeper) left(t *testing.T) (entries int, private map[string]bool) {
	t.Helper()
	private = map[string]bool{}
	if err := k.store.View(func(tx *bbolt.Tx) error {
		for range ledger.Entries(tx, ledger.Position{}) {
			entries++
		}
		for _, s := range []string{"OPEN", "CLOSED"} {
			data, err := ledger.GetPrivate(tx, s)
			if err != nil {
				return err
			}
			private[s] = data != nil
		}
		_, err := ledger.Verify(tx, ledger.Head{})
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return entries, private
}

// acknowledge moves the hub's cursor and keeps a checkpoint there, as the link
// does on the hub's signed word.
func (k *keeper) acknowledge(t *testing.T, seq uint64) {
	t.Helper()
	k.do(t, func(tx *bbolt.Tx) error {
		raws, err := ledger.Read(tx, ledger.Position{Epoch: 1, Seq: seq}, 1)
		if err != nil {
			return err
		}
		head := ledger.Head{Position: raws[0].Position, Hash: ledger.HashOf(raws[0].Bytes)}
		signed, err := ledger.Sign(k.id.DeviceKey, ledger.Checkpoint{Device: k.id.Device, Head: head, Wall: k.clock.Wall()})
		return errors.Join(err, ledger.PutCheckpoint(tx, signed, k.public()), ledger.Acknowledge(tx, fleet.Consumer, head))
	})
}

// TestKeeperWithAHub: what the hub acknowledged goes when it is old, and
// nothing else; personal data goes, but not that of an open charge.
func TestKeeperWithAHub(t *testing.T) {
	k := keeperRig(t)
	k.consumers = []string{fleet.Consumer}
	k.acknowledge(t, 150)
	if err := k.round(t.Context()); err != nil {
		t.Fatal(err)
	}
	entries, private := k.left(t)
	if entries != 50 {
		t.Errorf("%d entries are left, want the 50 that the hub does not have", entries)
	}
	if !private["OPEN"] || private["CLOSED"] {
		t.Errorf("private data %v, want that of the open charge alone", private)
	}
	before := k.store.Stats().Commits
	if err := k.round(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := k.store.Stats().Commits - before; n != 0 {
		t.Errorf("nothing to do cost %d commits", n)
	}
}

// TestKeeperWithoutConsumers keeps the whole ledger, and purges all the same.
func TestKeeperWithoutConsumers(t *testing.T) {
	k := keeperRig(t)
	if err := k.round(t.Context()); err != nil {
		t.Fatal(err)
	}
	if entries, private := k.left(t); entries != 200 || private["CLOSED"] {
		t.Errorf("%d entries, private %v; want 200, and no data of the closed charge", entries, private)
	}
}

// TestKeeperWithALostArchive: its disk is gone. Nothing is pruned that it
// lacks, and personal data is purged all the same.
func TestKeeperWithALostArchive(t *testing.T) {
	k := keeperRig(t)
	dir := filepath.Join(t.TempDir(), "archive")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	k.archive = archive.New(k.store, dir, nil)
	defer k.archive.Close()
	k.consumers = []string{archive.Consumer, fleet.Consumer}
	k.acknowledge(t, 150)
	if err := os.Rename(dir, dir+".unplugged"); err != nil {
		t.Fatal(err)
	}
	if err := k.round(t.Context()); err == nil {
		t.Error("nobody is told that the archive is gone")
	}
	if entries, private := k.left(t); entries != 200 || private["CLOSED"] {
		t.Errorf("%d entries, private %v; want 200, and no data of the closed charge", entries, private)
	}
	if err := os.Rename(dir+".unplugged", dir); err != nil {
		t.Fatal(err)
	}
	if err := k.round(t.Context()); err != nil {
		t.Fatal(err)
	}
	if entries, _ := k.left(t); entries != 50 {
		t.Errorf("%d entries are left, want the 50 that the hub does not have", entries)
	}
}
