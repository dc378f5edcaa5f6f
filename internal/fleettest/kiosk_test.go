package fleettest

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/ssg-safe/agent/device"
	"github.com/ssg-safe/agent/fleet"
	"github.com/ssg-safe/agent/fleet/wire"
	"github.com/ssg-safe/agent/hub"
	"github.com/ssg-safe/agent/ledger"
	"github.com/ssg-safe/agent/queue"
	"github.com/ssg-safe/agent/store"
)

// kiosk is a terminal as the fleet sees it: a ledger and a link.
type kiosk struct {
	t     *testing.T
	name  string
	path  string
	store *store.Store
	link  *fleet.Link
	close func() // ends everything
}

func storeOptions(path string) store.Options {
	return store.Options{
		Path: path, Size: 2 << 20,
		Migrations: slices.Concat(ledger.Migrations, queue.Migrations, fleet.Migrations()),
	}
}

// createStore makes the file of a terminal's store.
func createStore(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "store.db")
	if err := store.Create(t.Context(), storeOptions(path)); err != nil {
		t.Fatal(err)
	}
	return path
}

// openKiosk runs terminal number i on a store file.
func openKiosk(t *testing.T, i int, path string, urls []string, keepalive time.Duration, dial func(context.Context, string, string) (net.Conn, error)) *kiosk {
	t.Helper()
	st, err := store.Open(storeOptions(path))
	if err != nil {
		t.Fatal(err)
	}
	k := &kiosk{t: t, name: row(i).Name, path: path, store: st}
	keys, err := wire.NewKeys(public(hubKey()))
	if err != nil {
		t.Fatal(err)
	}
	k.link, err = fleet.New(fleet.Options{
		Device: k.name, Tenant: "acme", Site: "centro", Version: "test", Brokers: urls, ClientID: fleet.ClientIDRandom,
		Keepalive: keepalive, Store: st, DeviceKey: key(byte(i + 1)), Hub: keys, Clock: device.NewClock(time.Time{}),
		Handler: nobody{}, Dial: dial, Logger: slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn})),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	storeCtx, stopStore := context.WithCancel(context.WithoutCancel(t.Context()))
	var run, commit sync.WaitGroup
	commit.Go(func() {
		if err := st.Run(storeCtx); err != nil {
			t.Error(err)
		}
	})
	run.Go(func() {
		if err := k.link.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	k.close = sync.OnceFunc(func() {
		stop()
		run.Wait()
		stopStore()
		commit.Wait()
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	})
	return k
}

// row is terminal number i in the hub's registry.
func row(i int) hub.Device {
	return hub.Device{Name: fmt.Sprintf("d%016d", i), Tenant: "acme", Site: "centro", Key: public(key(byte(i + 1)))}
}

// write appends n entries in one commit. What they say depends on the file they
// are written to: a clone does other things than its original.
func (k *kiosk) write(n int) {
	err := k.store.Commit(context.WithoutCancel(k.t.Context()), store.Op{Do: func(tx *bbolt.Tx) error {
		head, err := ledger.GetHead(tx)
		if err != nil {
			return err
		}
		for i := range n {
			seq := head.Seq + uint64(i)
			_, err := ledger.Append(tx, ledger.Stamp{Wall: time.Now(), Boot: "boot", Quality: ledger.Synced}, ledger.Draft{
				Op: "event/" + k.path + "/" + strconv.FormatUint(seq, 10), Kind: "test.event", Actor: "test", Data: strings.Repeat("x", int(100+seq%400)),
			})
			if err != nil {
				return err
			}
		}
		return nil
	}})
	if err != nil {
		k.t.Error(err)
		return
	}
	k.link.Wake()
}

// nobody answers the fleet's other words.
type nobody struct{}

func (nobody) Paid(context.Context, wire.Pay, fleet.Include) error { return fleet.ErrNotOurs }
func (nobody) Charge(context.Context, wire.ChargeRequest, fleet.Include) (string, error) {
	return "", fleet.ErrInvalid
}
func (nobody) Payout(context.Context, wire.Payout, fleet.Include) error { return fleet.ErrNotOurs }
func (nobody) Open() []string                                           { return nil }
func (nobody) Hint(string)                                              {}
func (nobody) Offers() ([]fleet.Offer, error)                           { return nil, nil }
