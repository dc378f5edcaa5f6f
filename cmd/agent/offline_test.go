package main

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/ssg-safe/agent/charge"
	"github.com/ssg-safe/agent/device"
	"github.com/ssg-safe/agent/display"
	"github.com/ssg-safe/agent/exposure"
	"github.com/ssg-safe/agent/ledger"
	"github.com/ssg-safe/agent/providers"
	"github.com/ssg-safe/agent/store"
	"github.com/ssg-safe/agent/terminal"
)

// nobody is a provider that cannot be reached.
type nobody struct{}

func (nobody) Name() string         { return "nobody" }
func (nobody) Caps() providers.Caps { return providers.Caps{} }
func (nobody) CreateCharge(context.Context, providers.Intent) (providers.Charge, error) {
	return providers.Charge{}, &providers.Error{Provider: "nobody", Op: "create", Kind: providers.NotSent}
}

func (nobody) GetCharge(context.Context, providers.Ref) (providers.Charge, error) {
	return providers.Charge{}, &providers.Error{Provider: "nobody", Op: "status", Kind: providers.NotSent}
}

type blank struct{}

func (blank) Show(display.View) {}

// madeOffline makes a data directory's store, with charges that were made offline.
func madeOffline(t *testing.T, data string, n int) (ids []charge.ID) {
	t.Helper()
	if err := os.MkdirAll(data, 0o700); err != nil {
		t.Fatal(err)
	}
	o := storeOptions(storePath(data), nil)
	o.Size = 1 << 20
	if err := store.Create(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	st, err := store.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	made := make(chan charge.ID, n)
	term, err := terminal.New(terminal.Config{
		Code: "T001", MinAmount: 1, MaxAmount: 100000, Expiry: time.Minute, Routes: map[string]terminal.Route{"nobody": nobody{}},
		Merchants: []charge.Merchant{{ID: "loja", Name: "LOJA", City: "RECIFE", Key: "11222333000181", Route: "nobody", Zone: time.UTC}},
		Offline:   terminal.Offline{Rules: exposure.Rules{Policy: exposure.Hold}, Statement: true, Watch: time.Hour},
	}, st, device.NewClock(time.Time{}), blank{}, nil, func(e terminal.Event) {
		if e.Kind == terminal.ChargeCreated {
			made <- e.Charge.ID
		}
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	committer, stopStore := context.WithCancel(t.Context())
	ended, committed := make(chan error, 1), make(chan error, 1)
	go func() { ended <- term.Run(ctx) }()
	go func() { committed <- st.Run(committer) }()
	for range n {
		if _, err := term.Start(t.Context(), terminal.Request{Amount: 1234, Source: "api"}); err != nil {
			t.Fatal(err)
		}
		ids = append(ids, <-made)
	}
	stop()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	stopStore()
	<-committed // ends with its context
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	return ids
}

// TestOfflineCommands walks through them with the store alone, and with an agent
// that runs on it and has to keep the books in memory true, too.
func TestOfflineCommands(t *testing.T) {
	t.Run("no agent", func(t *testing.T) {
		data := t.TempDir()
		offlineCommands(t, data, madeOffline(t, data, 3))
		checkNames(t, data, 3)
	})
	t.Run("running agent", func(t *testing.T) {
		k := newKiosk(t)
		k.start() // makes the identity, and a store that another takes the place of
		k.kill()
		if err := os.Remove(storePath(k.data)); err != nil {
			t.Fatal(err)
		}
		ids := madeOffline(t, k.data, 3)
		k.start()
		offlineCommands(t, k.data, ids)
		if c := k.charge("GET", "/v1/charges/"+string(ids[0]), ""); c.State != "paid" {
			t.Errorf("the agent calls the charge %s", c.State)
		}
		// The agent goes on from what was recorded.
		k.kill()
		k.start()
		if got := runSimOnce(t, "offline", "list", "--data", k.data); !strings.Contains(got.out, "2 charges") {
			t.Errorf("after a restart: %q %q", got.out, got.err)
		}
		k.kill()
		checkNames(t, k.data, 3)
	})
	if got := runSimOnce(t, "offline", "list", "--data", filepath.Join(t.TempDir(), "none")); got.code != 2 {
		t.Errorf("no store: exit %d", got.code)
	}
}

// offlineCommands are tried on three charges.
func offlineCommands(t *testing.T, data string, ids []charge.ID) {
	t.Helper()
	ask := func(code int, says string, args ...string) string {
		t.Helper()
		got := runSimOnce(t, append(append([]string{"offline"}, args...), "--data", data)...)
		if got.code != code || !strings.Contains(got.out+got.err, says) {
			t.Errorf("offline %s: exit %d, out %q, err %q; want %d and %q", strings.Join(args, " "), got.code, got.out, got.err, code, says)
		}
		return got.out
	}
	match := func(id charge.ID, amount, e2e, by, second string) []string {
		return []string{"match", string(id), "--amount", amount, "--e2e", e2e, "--by", by, "--second", second}
	}
	const first, other = "E00000000202601021504abcdefghijk", "E00000000202601021504abcdefghijl"
	ask(0, "3 charges over R$\u00a037,02", "list")
	for _, line := range strings.Split(strings.TrimSpace(ask(0, "unfound", "list", "--json")), "\n") {
		var row struct {
			Event  string
			Charge charge.ID
			Amount int64
			Made   time.Time
		}
		if err := json.Unmarshal([]byte(line), &row); err != nil || row.Event != "unfound" || row.Amount != 1234 || time.Since(row.Made) > time.Hour {
			t.Errorf("%s (%v)", line, err)
		}
	}
	ask(1, "names of two people", match(ids[0], "12.34", first, "ana", "ana")...)
	ask(2, "--second is missing", match(ids[0], "12.34", first, "ana", "")...)
	ask(1, "32 letters and digits", match(ids[0], "12.34", "E1", "ana", "bia")...)
	ask(2, "--amount", match(ids[0], "12,34", first, "ana", "bia")...)
	ask(1, "no such charge", match("T00100000000000000000000X", "12.34", first, "ana", "bia")...)
	ask(0, "3 charges", "list") // nothing has changed
	ask(0, "paid", match(ids[0], "12.34", first, "ana", "bia")...)
	ask(1, "recorded already", match(ids[0], "12.34", first, "ana", "bia")...)
	ask(1, "credits another charge", match(ids[1], "12.34", first, "ana", "bia")...)
	ask(0, "not settled", match(ids[1], "12.33", other, "ana", "bia")...)
	ask(0, "a second payment", match(ids[0], "12.34", "E00000000202601021504abcdefghijm", "ana", "bia")...)
	ask(0, "2 charges", "list")
	ask(2, "--by: want a name", match(ids[0], "12.34", other, "529.982.247-25", "bia")...)
	ask(2, "--second: want a name", match(ids[0], "12.34", other, "ana", "bia@example.com")...)
	ask(2, "name the charge", "match")
}

// checkNames counts the entries that name the two people.
func checkNames(t *testing.T, data string, want int) {
	t.Helper()
	s, err := store.OpenReadOnly(storeOptions(storePath(data), nil))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	err = s.View(func(tx *bbolt.Tx) error {
		if _, err := ledger.Verify(tx, ledger.Head{}); err != nil {
			return err
		}
		named := 0
		for _, raw := range ledger.Entries(tx, ledger.Position{}) {
			e, err := ledger.Decode(raw)
			if err != nil {
				return err
			}
			if strings.Contains(string(e.Evidence), `"by":"ana","second":"bia"`) {
				named++
			}
		}
		if named != want {
			t.Errorf("%d entries name the two, want %d", named, want)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}
