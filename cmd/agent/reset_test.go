package main

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/ssg-safe/agent/device"
	"github.com/ssg-safe/agent/store/storetest"
)

// TestReset walks to a reset as a person does: refused as long as something would
// be lost, twice to be confirmed, and nothing deleted.
func TestReset(t *testing.T) {
	t.Setenv("SSG_CLIENT_SECRET", "sim-secret-not-a-credential")
	t.Setenv("SSG_API_TOKEN", apiToken)
	k := newKiosk(t, "--pay-after", "1h")
	copies := filepath.Join(filepath.Dir(k.config), "copies")
	text, err := os.ReadFile(k.config)
	if err != nil {
		t.Fatal(err)
	}
	withCopies := append(text[:len(text):len(text)], fmt.Sprintf("\n[archive]\ndir = %q\n", copies)...)
	if err := os.Mkdir(copies, 0o700); err != nil {
		t.Fatal(err)
	}
	reset := func(code int, args ...string) string {
		t.Helper()
		got, out, errs := runMain(t, append([]string{"store", "reset", "--data", k.data}, args...)...)
		if got != code || (code == 0) != (errs == "") {
			t.Fatalf("store reset %v: exit %d, %s%s", args, got, out, errs)
		}
		return out + errs
	}
	must := func(text string, says ...string) {
		t.Helper()
		for _, s := range says {
			if !strings.Contains(text, s) {
				t.Errorf("it does not say %q: %s", s, text)
			}
		}
	}

	k.start()
	c := k.charge("POST", "/v1/charges", `{"reference":"1","amount":1500,"present":"never"}`)
	if !eventually(t, func() bool { return k.state(c.ID) == "pending" }) {
		t.Fatal("the charge has no code")
	}
	must(reset(1), "the agent is running")
	k.kill()
	must(reset(1), "refused, nothing was changed", "nobody else has the 2 entries", "the business day of simulador is not closed", "1 charges are open", c.ID)

	if err := os.WriteFile(k.config, withCopies, 0o600); err != nil {
		t.Fatal(err)
	}
	k.start()
	k.pay(0)
	if !eventually(t, func() bool { return k.state(c.ID) == "paid" }) {
		t.Fatal("the charge is not paid")
	}
	k.kill()
	refusal := reset(1)
	must(refusal, "archive has the entries up to 1/", "the business day of simulador is not closed")
	if strings.Contains(refusal, "open") {
		t.Errorf("a paid charge is no loss: %s", refusal)
	}
	if code, out, errs := runMain(t, "closing", "z", "--data", k.data, "--config", k.config, "--merchant", "simulador"); code != 0 {
		t.Fatalf("closing z: %d %s%s", code, out, errs)
	}
	must(reset(1), "archive has the entries up to 1/")
	copied := func() bool {
		k.start()
		k.kill() // maybe before it has copied
		return !strings.Contains(reset(1), "archive has the entries")
	}
	if !eventually(t, copied) {
		t.Fatal("the archive does not get all entries")
	}

	must(reset(1, "--confirm", ""), "nothing was changed yet")
	code := regexp.MustCompile(`--confirm ([0-9a-f]{8})`).FindStringSubmatch(reset(1))
	if code == nil {
		t.Fatal("no code was given")
	}
	must(reset(2, "--confirm", "00000000"), "is not the code")
	before, err := device.LoadIdentity(k.data)
	if err != nil {
		t.Fatal(err)
	}
	// Cut short after the first step: the agent refuses the store without its
	// identity, and the command goes on.
	entries := len(readLedger(t, k.data))
	aside := filepath.Join(k.data, fmt.Sprintf("reset-1-%d-%s", entries, code[1]))
	identity := filepath.Join(aside, device.IdentityFile)
	if err := errors.Join(os.Mkdir(aside, 0o700), os.Rename(filepath.Join(k.data, device.IdentityFile), identity)); err != nil {
		t.Fatal(err)
	}
	if code, _, errs := runMain(t, "run", "--config", k.config); code != 1 || !strings.Contains(errs, device.IdentityFile) {
		t.Errorf("run without identity: %d %s", code, errs)
	}
	must(reset(0, "--confirm", code[1]), "begins anew", aside)

	if n := len(readLedger(t, aside)); n != entries {
		t.Errorf("%d entries were put aside, want %d", n, entries)
	}
	if old, err := device.LoadIdentity(aside); err != nil || old.Device != before.Device {
		t.Errorf("the identity that was put aside: %v %v", old.Device, err)
	}
	if err := os.WriteFile(k.config, text, 0o600); err != nil { // a new archive needs a folder of its own
		t.Fatal(err)
	}
	k.start()
	c = k.charge("POST", "/v1/charges", `{"reference":"1","amount":1600,"present":"never"}`)
	k.kill()
	if after, err := device.LoadIdentity(k.data); err != nil || after.Device == before.Device {
		t.Errorf("the identity is the old one (%v)", err)
	}
	if e := readLedger(t, k.data)[0]; e.Seq != 1 || e.Kind != "charge.created" {
		t.Errorf("the new ledger begins with %v %s", e.Position(), e.Kind)
	}
}

// TestResetTwice: nothing that was put aside is overwritten, though two ledgers without
// entries have the same head.
func TestResetTwice(t *testing.T) {
	data := t.TempDir()
	var kept []string
	for range 3 {
		cfg := Config{Data: data, Store: StoreConfig{Size: storetest.Size}}
		s, id, err := openData(t.Context(), cfg, slog.New(slog.DiscardHandler), nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		kept = append(kept, id.Device)
		if code, _, errs := runMain(t, "store", "reset", "--data", data, "--confirm", "00000000"); code != 0 {
			t.Fatalf("store reset: %d %s", code, errs)
		}
	}
	for i, name := range []string{"reset-1-0-00000000", "reset-1-0-00000000-2", "reset-1-0-00000000-3"} {
		id, err := device.LoadIdentity(filepath.Join(data, name))
		if err != nil || id.Device != kept[i] {
			t.Errorf("%s: the identity is %s (%v), want %s", name, id.Device, err, kept[i])
		}
		if n := len(readLedger(t, filepath.Join(data, name))); n != 0 {
			t.Errorf("%s: %d entries", name, n)
		}
	}
}
