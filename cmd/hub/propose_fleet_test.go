package main

import (
	"archive/zip"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ssg-safe/agent/hub/payouts"
	"github.com/ssg-safe/agent/localapi"
	"github.com/ssg-safe/agent/providers/bspay/bspaysim"
)

// shownProposal is a proposal as the terminal's command line prints it.
type shownProposal struct {
	ID, State, Reason, By, Source string
	Amount                        int64
	Sent                          string `json:"sent_end_to_end"`
}

// proposer is a rig whose terminal proposes payouts of an account.
type proposer struct {
	*fleetRig
	keys map[string]string
	sim  *bspaysim.Sim
	file string // the terminal's configuration
	home string // the terminal's data directory
	logs []*lockedBuffer
}

func newProposer(t *testing.T, provider string, o bspaysim.Options) *proposer {
	t.Helper()
	keys, people := crew(t, "ana", "bia", "caio")
	sim, account := bspayAccount(t, o)
	account = strings.ReplaceAll(account, `"loja"`, `"simulador"`) +
		"[provider.terminals]\ntenant = \"demo\"\nmax_payout = \"200.00\"\nmax_day = \"260.00\"\n"
	p := &proposer{fleetRig: newFleetRigWith(t, people+account, provider, "--pay-after", "200ms"), keys: keys, sim: sim}
	p.file = p.agent.cmd.Args[len(p.agent.cmd.Args)-1]
	text, err := os.ReadFile(p.file)
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), `data = "`)
	p.home, _, _ = strings.Cut(rest, `"`)
	p.ready()
	return p
}

// ready waits until the terminal answers.
func (p *proposer) ready() {
	p.t.Helper()
	p.logs = append(p.logs, p.agent.log)
	eventually(p.t, "the terminal answers", func() bool {
		conn, err := localapi.DialControl(p.t.Context(), p.home)
		return err == nil && conn.Close() == nil
	})
}

func (p *proposer) restart() {
	p.t.Helper()
	p.agent.end(syscall.SIGKILL)
	p.startAgent(p.file)
	p.ready()
}

// propose runs the terminal's command, the key on its standard input.
func (p *proposer) propose(key, amount, reference string, more ...string) (shownProposal, error) {
	p.t.Helper()
	args := append([]string{"payout", "propose", "--key-file", "-", "--amount", amount, "--reference", reference, "--by", "dora", "--json", "--data", p.home}, more...)
	cmd := exec.CommandContext(p.t.Context(), p.agentBin, args...)
	cmd.Env = append(os.Environ(), p.env...)
	cmd.Stdin = strings.NewReader(key + "\n")
	out, err := cmd.Output()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return shownProposal{}, errors.New(string(exit.Stderr))
	}
	if err != nil {
		p.t.Fatal(err)
	}
	var made shownProposal
	if err := json.Unmarshal(out, &made); err != nil {
		p.t.Fatalf("%q: %v", out, err)
	}
	return made, nil
}

func (p *proposer) must(key, amount, reference string) shownProposal {
	p.t.Helper()
	made, err := p.propose(key, amount, reference)
	if err != nil {
		p.t.Fatal(err)
	}
	return made
}

// seen is what the terminal knows of a proposal.
func (p *proposer) seen(id string) (s shownProposal) {
	p.t.Helper()
	out, err := p.command(p.agentBin, "payout", "show", id, "--json", "--data", p.home)
	if err == nil {
		err = json.Unmarshal([]byte(out), &s)
	}
	if err != nil {
		p.t.Fatal(err)
	}
	return s
}

func (p *proposer) becomes(id, state string) shownProposal {
	p.t.Helper()
	var s shownProposal
	eventually(p.t, "the terminal shows "+id+" as "+state, func() bool {
		s = p.seen(id)
		return s.State == state
	})
	return s
}

func (p *proposer) approve(r payouts.Record, who string) {
	p.t.Helper()
	must(p.t, p.data, "payout", "approve", string(r.ID), r.Digest, "--by", who, "--key", p.keys[who])
}

// A terminal proposes while it is alone; what it proposed is approved by two people at
// the hub, paid once, and known at the terminal, though every process is killed on
// the way. Nobody but the hub ever has the key.
func TestProposals(t *testing.T) {
	p := newProposer(t, "ssg", bspaysim.Options{Balance: 1_000_000, SettleAfter: 300 * time.Millisecond})
	const canary = "canary.of.propose@example.com"
	p.hub.end(syscall.SIGKILL)
	made := p.must(canary, "150.00", "caixa/1")
	if made.State != "queued" || made.By != "dora" || made.Source != "control" || made.Amount != 15000 {
		t.Fatalf("made %+v", made)
	}
	if again := p.must(canary, "150.00", "caixa/1"); again != made {
		t.Errorf("again: %+v, want %+v", again, made)
	}
	for what, other := range map[string][2]string{"another key": {"12345678909", "150.00"}, "another amount": {canary, "150.01"}} {
		if _, err := p.propose(other[0], other[1], "caixa/1"); err == nil || !strings.Contains(err.Error(), "reference is taken") {
			t.Errorf("%s under the reference: %v", what, err)
		}
	}
	p.restart()
	if got := p.seen(made.ID); got != made {
		t.Errorf("after a kill: %+v, want %+v", got, made)
	}
	p.startHub()
	p.becomes(made.ID, "awaiting_approval")

	// The hub shows who proposes, and to whom the money would go.
	r := one(t, p.data, "payout", "show", made.ID)
	if r.Device != p.device || r.Proposal == nil || r.Proposal.By != "dora" || r.By != p.device+"/control/dora" || r.Approvers != 2 || r.Route != "conta" {
		t.Fatalf("the hub has %+v", r)
	}
	shown := must(t, p.data, "payout", "show", made.ID, "--reveal")
	for _, want := range []string{canary, p.device, "caixa/1", "/control/dora"} {
		if !strings.Contains(shown, want) {
			t.Errorf("%s is not shown:\n%s", want, shown)
		}
	}
	p.hub.end(syscall.SIGKILL)
	p.startHub()
	p.approve(r, "bia")
	if n := len(p.sim.Payouts()); n != 0 {
		t.Fatalf("%d payouts after one of two approvals", n)
	}
	p.agent.end(syscall.SIGKILL)
	p.approve(r, "caio")
	eventually(t, "it is paid", func() bool { return one(t, p.data, "payout", "show", made.ID).State == "settled" })
	p.hub.end(syscall.SIGKILL)
	p.startHub()
	p.startAgent(p.file)
	p.ready()
	settled := p.becomes(made.ID, "settled")
	if paid := p.sim.Payouts(); len(paid) != 1 || paid[0].Amount != 15000 || paid[0].ExternalID != made.ID {
		t.Errorf("the provider has %+v", paid)
	}
	if settled.Sent == "" || settled.Sent != one(t, p.data, "payout", "show", made.ID).Paid {
		t.Errorf("the terminal has %+v", settled)
	}
	if again := p.must(canary, "150.00", "caixa/1"); again != settled {
		t.Errorf("asked again when it was over: %+v", again)
	}

	// What is not to be, is not, and the terminal learns why.
	for reference, test := range map[string]struct{ amount, why string }{"caixa/2": {"200.01", "limit"}, "caixa/3": {"110.01", "day"}} {
		got := p.becomes(p.must(canary, test.amount, reference).ID, "refused")
		if got.Reason != test.why {
			t.Errorf("%s: refused because of %q, want %q", test.amount, got.Reason, test.why)
		}
		if code, _, stderr := hubMain(t, "payout", "show", got.ID, "--data", p.data); code != 1 || !strings.Contains(stderr, reference+", and it is refused here: "+test.why) {
			t.Errorf("the hub shows %d %s", code, stderr)
		}
	}
	if !p.alarms()["proposal"] {
		t.Errorf("nobody is told of what was refused: %v", p.alarms())
	}
	small := p.must(canary, "1.00", "caixa/4")
	p.becomes(small.ID, "awaiting_approval")
	must(t, p.data, "payout", "reject", small.ID, "--reason", "not today", "--by", "bia", "--key", p.keys["bia"])
	if got := p.becomes(small.ID, "rejected"); got.Reason != "not today" {
		t.Errorf("rejected: %+v", got)
	}
	must(t, p.data, "payout", "verify")
	must(t, p.data, "verify")
	if n := len(p.sim.Payouts()); n != 1 {
		t.Errorf("%d payouts, want 1", n)
	}

	// The key is nowhere on the terminal: not in the store, the ledger, a log or a bundle.
	bundle := filepath.Join(t.TempDir(), "bundle.zip")
	if out, err := p.command(p.agentBin, "support-bundle", "--data", p.home, "--config", p.file, "--out", bundle); err != nil {
		t.Fatal(out, err)
	}
	p.agent.end(syscall.SIGTERM)
	for _, log := range p.logs {
		if strings.Contains(log.String(), canary) {
			t.Errorf("the log has the key:\n%s", log)
		}
	}
	if strings.Contains(p.hub.log.String(), canary) {
		t.Errorf("the hub's log has the key")
	}
	wantWithout(t, p.home, []byte(canary))
	wantWithoutPacked(t, bundle, []byte(canary))
	if strings.Contains(must(t, p.data, "export", p.device), canary) {
		t.Error("the hub's copy of the ledger has the key")
	}
}

// A terminal proposes to give a payment of its own back: the hub finds the payment in its
// ledger, two people approve, and both the proposal and the charge tell of the end. A
// terminal that was restored from a backup meanwhile learns it all again, and cannot
// propose the same thing a second time.
func TestProposedRefund(t *testing.T) {
	p := newProposer(t, "bspay", bspaysim.Options{Balance: 1_000_000})
	p.charge()
	p.paid(1)
	var charge string
	for line := range strings.Lines(must(t, p.data, "export", p.device)) {
		var e struct {
			Kind string
			Data struct{ Charge string }
		}
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatal(err)
		}
		if e.Kind == "charge.paid" {
			charge = e.Data.Charge
		}
	}
	backup := filepath.Join(t.TempDir(), "backup.db")
	if out, err := p.command(p.agentBin, "store", "backup", "--data", p.home, "--out", backup); err != nil {
		t.Fatal(out, err)
	}
	refund := func(amount, reference string) (shownProposal, error) {
		t.Helper()
		out, err := p.command(p.agentBin, "refund", "propose", charge, "--amount", amount, "--by", "dora", "--reference", reference, "--json", "--data", p.home)
		var made shownProposal
		if err == nil {
			err = json.Unmarshal([]byte(out), &made)
		}
		return made, err
	}
	if _, err := refund("12.51", "volta/1"); err == nil || !strings.Contains(err.Error(), "12.50 of the payment are left") {
		t.Errorf("more than was paid: %v", err)
	}
	made, err := refund("2.50", "volta/1")
	if err != nil {
		t.Fatal(err)
	}
	p.becomes(made.ID, "awaiting_approval")
	r := one(t, p.data, "refund", "show", made.ID)
	if !r.Manual || r.Route != "sim" || r.Amount != 250 || r.Proposal == nil || r.Approvers != 2 {
		t.Fatalf("the hub has %+v", r)
	}
	for _, who := range []string{"bia", "caio"} {
		must(t, p.data, "refund", "approve", made.ID, r.Digest, "--by", who, "--key", p.keys[who])
	}
	p.becomes(made.ID, "unknown") // a person has to do it
	must(t, p.data, "refund", "resolve", made.ID, "--state", "settled", "--end-to-end", "D"+strings.Repeat("0", 31), "--reason", "panel", "--by", "bia", "--key", p.keys["bia"])
	p.becomes(made.ID, "settled")
	eventually(t, "the charge is partly refunded", func() bool {
		return strings.Contains(must(t, p.data, "export", p.device), `"kind":"charge.refunded"`)
	})

	// Restored: it has forgotten the proposal, and asks for the same once more.
	p.agent.end(syscall.SIGTERM)
	if out, err := p.command(p.agentBin, "store", "restore", "--from", backup, "--replace", "--data", p.home); err != nil {
		t.Fatal(out, err)
	}
	p.startAgent(p.file)
	p.ready()
	eventually(t, "the hub asks about the new epoch", func() bool { return p.show().State == "epoch" })
	again, err := refund("2.50", "volta/1")
	if err != nil || again.ID != made.ID {
		t.Fatalf("again: %+v, %v", again, err)
	}
	must(t, p.data, "device", "approve-epoch", p.device, fmt.Sprint(p.show().Asked))
	p.becomes(made.ID, "settled")
	if all := must(t, p.data, "refund", "list", "--all"); strings.Count(all, "\n") != 2 {
		t.Errorf("the hub has\n%s", all)
	}
	must(t, p.data, "payout", "verify")
}

// wantWithout looks for bytes in every file below a directory.
func wantWithout(t *testing.T, dir string, canary []byte) {
	t.Helper()
	files := 0
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		files++
		raw, err := os.ReadFile(path)
		if bytes.Contains(raw, canary) {
			t.Errorf("%s has the key", path)
		}
		return err
	})
	if err != nil || files == 0 {
		t.Errorf("%d files, %v", files, err)
	}
}

// wantWithoutPacked looks for bytes in the files of an archive.
func wantWithoutPacked(t *testing.T, path string, canary []byte) {
	t.Helper()
	z, err := zip.OpenReader(path)
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	for _, file := range z.File {
		in, err := file.Open()
		if err != nil {
			t.Fatal(err)
		}
		raw, err := io.ReadAll(in)
		if err := errors.Join(err, in.Close()); err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(raw, canary) {
			t.Errorf("%s of the bundle has the key", file.Name)
		}
	}
	if len(z.File) == 0 {
		t.Error("the bundle is empty")
	}
}
