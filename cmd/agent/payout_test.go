package main

import (
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/ssg-safe/agent/fleet"
	"github.com/ssg-safe/agent/ledger"
	"github.com/ssg-safe/agent/payout"
	"github.com/ssg-safe/agent/proposal"
	"github.com/ssg-safe/agent/store"
	"github.com/ssg-safe/agent/store/storetest"
)

// TestProposalsAtRest: what was proposed is shown also while no agent runs, keeps the
// terminal from beginning anew, and can be proposed by a running agent alone.
func TestProposalsAtRest(t *testing.T) {
	data := t.TempDir()
	o := storeOptions(storePath(data), nil)
	o.Size = storetest.Size
	s, stop := storetest.Start(t, o)
	p := proposal.Proposal{
		ID: proposal.IDOf("d1", "caixa/1"), Kind: payout.ToKey, Reference: "caixa/1", Merchant: "loja", Amount: 15000,
		Source: "control", By: "dora", Sealed: proposal.SealedHash([]byte("sealed")),
	}
	at := ledger.Stamp{Wall: time.Now(), Quality: ledger.Synced}
	err := s.Commit(t.Context(), store.Op{Name: "test", Do: func(tx *bbolt.Tx) error {
		_, _, err := proposal.Make(tx, at, "d1", p, proposal.Details{Key: "12345678909"}, []byte("sealed"))
		return err
	}})
	if err != nil {
		t.Fatal(err)
	}
	reasons := func(without ...string) (list []string) {
		t.Helper()
		if err := s.View(func(tx *bbolt.Tx) error {
			head, err := ledger.GetHead(tx)
			if err != nil {
				return err
			}
			list, err = losses(tx, head, without)
			return err
		}); err != nil {
			t.Fatal(err)
		}
		return slices.DeleteFunc(list, func(r string) bool { return !strings.Contains(r, "proposals") })
	}
	if got := reasons(); len(got) != 1 || !strings.Contains(got[0], string(p.ID)) {
		t.Errorf("a reset would lose %q", got)
	}
	if got := reasons(fleet.Consumer); len(got) != 0 {
		t.Errorf("where the hub is gone for ever: %q", got)
	}
	stop()

	for _, args := range [][]string{{"payout", "list"}, {"payout", "show", string(p.ID)}} {
		code, out, errs := runMain(t, append(args, "--data", data)...)
		if code != 0 || !strings.Contains(out, string(p.ID)) || !strings.Contains(out, "queued") || !strings.Contains(out, "150.00") || !strings.Contains(out, "caixa/1") {
			t.Errorf("%v: %d %s%s", args, code, out, errs)
		}
		if code, out, _ := runMain(t, append(args, "--json", "--data", data)...); code != 0 || !strings.HasPrefix(out, `{"event":"proposal","id":"`+string(p.ID)+`","kind":"payout","state":"queued"`) {
			t.Errorf("%v --json: %d %s", args, code, out)
		}
	}
	file := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(file, []byte("12345678909\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	dotted, empty := filepath.Join(t.TempDir(), "dotted"), filepath.Join(t.TempDir(), "empty")
	for path, text := range map[string]string{dotted: "123.456.789-09\n", empty: "\n"} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for says, args := range map[string][]string{
		"without punctuation":     {"payout", "propose", "--amount", "1.00", "--by", "dora", "--key-file", dotted},
		"nothing":                 {"payout", "propose", "--amount", "1.00", "--by", "dora", "--key-file", empty},
		"no agent runs on":        {"payout", "propose", "--amount", "1.00", "--by", "dora", "--key-file", file},
		"--by is missing":         {"payout", "propose", "--amount", "1.00", "--key-file", file},
		"--amount is missing":     {"payout", "propose", "--by", "dora", "--key-file", file},
		"reais with a dot":        {"payout", "propose", "--amount", "1,00", "--by", "dora", "--key-file", file},
		"Give --key-file FILE":    {"payout", "propose", "--amount", "1.00", "--by", "dora"},
		"unknown flag: --pix-key": {"payout", "propose", "--amount", "1.00", "--by", "dora", "--pix-key", "x"},
		"no such proposal":        {"payout", "show", "QH3K7WZ2M5N4T6V7B2C3D4F5G"},
		"name the proposal":       {"payout", "show", "caixa/1"},
		"name the charge":         {"refund", "propose", "--amount", "1.00", "--by", "dora"},
	} {
		code, out, errs := runMain(t, append(args, "--data", data)...)
		if code == 0 || !strings.Contains(errs, says) || strings.Contains(out+errs, "12345678909") || strings.Contains(out+errs, "456.789") {
			t.Errorf("%v: %d %s%s, want %q", args, code, out, errs, says)
		}
	}

	// An agent that dies before it has answered may have recorded it.
	socket, err := net.Listen("unix", filepath.Join(data, "control.sock"))
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	go func() {
		for {
			conn, err := socket.Accept()
			if err != nil {
				return
			}
			conn.Close()
		}
	}()
	code, _, errs := runMain(t, "payout", "propose", "--amount", "1.00", "--by", "dora", "--key-file", file, "--data", data)
	if code != 1 || !strings.Contains(errs, "to repeat it, add --reference cli-") {
		t.Errorf("an answer is lost: %d %s", code, errs)
	}
}
