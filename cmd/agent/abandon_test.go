package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.etcd.io/bbolt"

	"github.com/ssg-safe/agent/device"
	"github.com/ssg-safe/agent/ledger"
	"github.com/ssg-safe/agent/store"
	"github.com/ssg-safe/agent/store/storetest"
)

// TestResetWithout: past an archive that is gone for ever there is a way, which names
// the amount, wants it typed, keeps a copy elsewhere, and is the first thing that the
// new ledger tells.
func TestResetWithout(t *testing.T) {
	t.Setenv("SSG_CLIENT_SECRET", "sim-secret-not-a-credential")
	t.Setenv("SSG_API_TOKEN", apiToken)
	k := newKiosk(t, "--pay-after", "1h")
	text, err := os.ReadFile(k.config)
	if err != nil {
		t.Fatal(err)
	}
	copies, disk := filepath.Join(filepath.Dir(k.config), "copies"), t.TempDir()
	withCopies := append(text[:len(text):len(text)], fmt.Sprintf("\n[archive]\ndir = %q\n", copies)...)
	if err := errors.Join(os.Mkdir(copies, 0o700), os.WriteFile(k.config, withCopies, 0o600)); err != nil {
		t.Fatal(err)
	}
	reset := func(code int, says string, args ...string) string {
		t.Helper()
		got, out, errs := runMain(t, append([]string{"store", "reset", "--data", k.data}, args...)...)
		if got != code || !strings.Contains(out+errs, says) {
			t.Fatalf("store reset %q: exit %d, want %d and %q: %s%s", args, got, code, says, out, errs)
		}
		return out + errs
	}
	pay := func(cents int) {
		t.Helper()
		c := k.charge("POST", "/v1/charges", fmt.Sprintf(`{"reference":"r%d","amount":%d,"present":"never"}`, cents, cents))
		if !eventually(t, func() bool { return k.state(c.ID) == "pending" }) {
			t.Fatal("the charge has no code")
		}
		k.pay(0)
		if !eventually(t, func() bool { return k.state(c.ID) == "paid" }) {
			t.Fatal("the charge is not paid")
		}
	}
	k.start()
	pay(1500)
	k.kill()
	k.start() // the archive takes the first charge
	k.kill()
	if err := os.WriteFile(k.config, text, 0o600); err != nil { // its disk is gone
		t.Fatal(err)
	}
	file := filepath.Join(disk, "ledger.jsonl")
	give := []string{"--without", "archive", "--copy", file, "--by", "ana"}
	reset(1, "the business day of simulador is not closed", give...) // which nothing is a way past
	if code, out, errs := runMain(t, "closing", "z", "--data", k.data, "--config", k.config, "--merchant", "simulador"); code != 0 {
		t.Fatalf("closing z: %d %s%s", code, out, errs)
	}
	reset(1, "if it is gone for ever, see --without")
	for _, wrong := range []struct {
		code int
		says string
		args []string
	}{
		{2, "--copy is for --without", []string{"--copy", file}},
		{2, "--lose is for --without", []string{"--lose", "1.00"}},
		{2, "needs --copy", []string{"--without", "archive", "--by", "ana"}},
		{2, "needs --by", []string{"--without", "archive", "--copy", file}},
		{2, "needs --by", []string{"--without", "archive", "--copy", file, "--by", "529.982.247-25"}},
		{2, "lies in the data directory", []string{"--without", "archive", "--copy", filepath.Join(k.data, "x"), "--by", "ana"}},
		{1, "--without hub: it is not what a reset waits for", append(slices.Clone(give), "--without", "hub")},
		{1, "no such file", []string{"--without", "archive", "--copy", filepath.Join(disk, "no", "x"), "--by", "ana"}},
	} {
		reset(wrong.code, wrong.says, wrong.args...)
	}
	if _, err := os.Stat(file); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("a copy was made (%v)", err)
	}

	entries := len(readLedger(t, k.data))
	told := reset(1, "GONE FOR EVER, as you say: archive", give...)
	// Also what the archive had: it is gone.
	for _, says := range []string{fmt.Sprintf("Nobody else has %d entries", entries), "by which R$ 15.00 came in", file, "--lose"} {
		if !strings.Contains(told, says) {
			t.Errorf("it does not say %q: %s", says, told)
		}
	}
	code := regexp.MustCompile(`--confirm ([0-9a-f]{8})`).FindStringSubmatch(told)[1]
	sum := regexp.MustCompile(`SHA-256 ([0-9a-f]{64})`).FindStringSubmatch(told)[1]
	_, exported, _ := runMain(t, "ledger", "export", "--data", k.data)
	if kept, err := os.ReadFile(file); err != nil || string(kept) != exported {
		t.Errorf("the copy is not the ledger (%v)", err)
	}
	confirm := append(slices.Clone(give), "--confirm", code)
	reset(2, "is not the amount", confirm...)
	reset(2, "is not the amount", append(slices.Clone(confirm), "--lose", "15.01")...)
	reset(2, "is not the code", append(slices.Clone(give), "--confirm", "00000000", "--lose", "15.00")...)
	reset(1, "archive has the entries", "--confirm", code)
	if err := os.Rename(file, file+".away"); err != nil {
		t.Fatal(err)
	}
	reset(1, "no such file", append(slices.Clone(confirm), "--lose", "15.00")...)
	if err := os.WriteFile(file, []byte(exported[:len(exported)-1]), 0o600); err != nil {
		t.Fatal(err)
	}
	reset(1, "is not it", append(slices.Clone(confirm), "--lose", "15.00")...)
	if err := os.Rename(file+".away", file); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(k.data, resetFile)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("something was begun (%v)", err)
	}
	before, err := device.LoadIdentity(k.data)
	if err != nil {
		t.Fatal(err)
	}

	// Cut short before anything was moved: the terminal goes on as before.
	left := abandoned{Device: before.Device, By: "ana"}
	if err := leave(k.data, &left); err != nil {
		t.Fatal(err)
	}
	k.start()
	k.kill()
	if _, err := os.Stat(filepath.Join(k.data, resetFile)); !errors.Is(err, os.ErrNotExist) || len(readLedger(t, k.data)) != entries {
		t.Errorf("a reset that was not made is recorded, or will be (%v)", err)
	}
	// Cut short between identity and store: the command goes on.
	aside := filepath.Join(k.data, fmt.Sprintf("reset-1-%d-%s", entries, code))
	if err := errors.Join(os.Mkdir(aside, 0o700), os.Rename(filepath.Join(k.data, device.IdentityFile), filepath.Join(aside, device.IdentityFile))); err != nil {
		t.Fatal(err)
	}
	reset(0, "begins anew", append(slices.Clone(confirm), "--lose", "15.00")...)
	if n := len(readLedger(t, aside)); n != entries {
		t.Errorf("%d entries were put aside, want %d", n, entries)
	}
	for range 2 { // once, however often it starts
		k.start()
		k.kill()
	}
	list := readLedger(t, k.data)
	var got abandoned
	if err := json.Unmarshal(list[0].Data, &got); err != nil || len(list) != 1 || list[0].Kind != kindReset {
		t.Fatalf("the new ledger has %d entries, first %s (%v)", len(list), list[0].Kind, err)
	}
	if got.Device != before.Device || got.Head.Position != (ledger.Position{Epoch: 1, Seq: uint64(entries)}) || got.Entries != entries || got.Received != 1500 ||
		got.Copy != sum || got.By != "ana" || !slices.Equal(got.Without, []string{"archive"}) {
		t.Errorf("recorded %+v", got)
	}
	// A kill between the entry and the removal of the file.
	if err := leave(k.data, &got); err != nil {
		t.Fatal(err)
	}
	k.start()
	k.kill()
	if n := len(readLedger(t, k.data)); n != 1 {
		t.Errorf("it is recorded twice: %d entries", n)
	}
	if code, _, errs := runMain(t, "ledger", "verify", "--data", k.data); code != 0 {
		t.Errorf("the new ledger: %s", errs)
	}
	if _, err := os.Stat(filepath.Join(k.data, resetFile)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s is still there (%v)", resetFile, err)
	}
}

// TestStoreAfterReset: the store that has recorded a reset takes what comes next.
func TestStoreAfterReset(t *testing.T) {
	cfg := Config{Data: t.TempDir()}
	cfg.Store.Size = storetest.Size
	if err := leave(cfg.Data, &abandoned{Device: "d1", By: "ana"}); err != nil {
		t.Fatal(err)
	}
	st, _, err := openData(t.Context(), cfg, slog.New(slog.DiscardHandler), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := commitAlone(t.Context(), st, store.Op{Name: "test", Do: func(*bbolt.Tx) error { return nil }}); err != nil {
		t.Error(err)
	}
	if err := st.Close(); err != nil {
		t.Error(err)
	}
}
