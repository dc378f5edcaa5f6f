package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/ssg-safe/agent/charge"
	"github.com/ssg-safe/agent/internal/agenttest"
	"github.com/ssg-safe/agent/ledger"
	"github.com/ssg-safe/agent/ledger/archive"
	"github.com/ssg-safe/agent/localapi"
	"github.com/ssg-safe/agent/money"
	"github.com/ssg-safe/agent/providers"
	"github.com/ssg-safe/agent/providers/simkit"
)

// TestDiskFillsUp fills a disk to its last block under the running agent. While
// nothing can be copied away its store fills up, too: then new charges are refused
// with the reason, payments of those that are open are still recorded, and a kill
// changes nothing of it. Once there is space again, what was recorded is copied,
// acknowledged in a store that is still full, and pruned; nothing is missing.
func TestDiskFillsUp(t *testing.T) {
	for _, fault := range diskFillsUp(t, agentBinary(t)) {
		t.Error(fault)
	}
	t.Run("mutant without a reserve", func(t *testing.T) {
		faults := diskFillsUp(t, mutantBinary(t, "store/store.go",
			"func reservePages(n int) int { return min(max(n/16, opPages*3/2), 1024, n/4) }", "func reservePages(n int) int { return 0 * n }"))
		if len(faults) == 0 {
			t.Fatal("nothing is wrong")
		}
		t.Log(faults[0])
	})
}

// smallDisk mounts a disk of so many MiB that is filled by whoever writes to it.
func smallDisk(t *testing.T, size int) (dir string) {
	t.Helper()
	image, dir := filepath.Join(t.TempDir(), "disk"), t.TempDir()
	run := func(program string, args ...string) error {
		program = agenttest.Tool(t, program)
		cmd := exec.CommandContext(t.Context(), program, args...)
		if os.Getuid() != 0 {
			cmd = exec.CommandContext(t.Context(), agenttest.Tool(t, "sudo"), append([]string{"-n", program}, args...)...)
		}
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("%v: %w: %s", cmd.Args, err, out)
		}
		return nil
	}
	err := errors.Join(os.WriteFile(image, nil, 0o600), os.Truncate(image, int64(size)<<20))
	if err == nil {
		err = run("mkfs.ext4", "-q", "-F", "-m", "0", "-E", fmt.Sprintf("root_owner=%d:%d", os.Getuid(), os.Getgid()), image)
	}
	if err == nil {
		err = run("mount", "-o", "loop", image, dir)
	}
	used := "a loop device with ext4"
	if err != nil {
		t.Logf("THIS MACHINE HAS NO LOOP DEVICE, a tmpfs stands for the disk: %v", err)
		used = "a tmpfs, NOT a disk"
		if err := run("mount", "-t", "tmpfs", "-o", fmt.Sprintf("size=%dm,mode=0700,uid=%d,gid=%d", size, os.Getuid(), os.Getgid()), "none", dir); err != nil {
			t.Fatalf("no disk to fill: %v", err)
		}
	}
	t.Logf("the disk is %s, %d MiB", used, size)
	t.Cleanup(func() {
		cmd := exec.Command("umount", dir)
		if os.Getuid() != 0 {
			cmd = exec.Command("sudo", "-n", "umount", dir)
		}
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("umount: %v: %s", err, out)
		}
	})
	return dir
}

// fill writes a file until the disk is full.
func fill(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, block := range []int{64 << 10, 512} {
		for err = nil; err == nil; {
			_, err = f.Write(make([]byte, block))
		}
	}
	if !strings.Contains(err.Error(), "no space") {
		t.Fatal(err)
	}
}

// askAgent sends a request to the agent's control socket.
func (k *kiosk) askAgent(method, path, body string) (status int, answer []byte) {
	k.Helper()
	client := http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext:       func(ctx context.Context, _, _ string) (net.Conn, error) { return localapi.DialControl(ctx, k.data) },
	}}
	req, err := http.NewRequestWithContext(k.Context(), method, "http://localhost"+path, strings.NewReader(body))
	if err != nil {
		k.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := client.Do(req)
	if err != nil {
		return 0, []byte(err.Error())
	}
	defer resp.Body.Close()
	answer, err = io.ReadAll(resp.Body)
	if err != nil {
		k.Fatal(err)
	}
	return resp.StatusCode, answer
}

// state of a charge; "" when the agent does not say.
func (k *kiosk) state(id string) string {
	k.Helper()
	_, raw := k.askAgent("GET", "/v1/charges/"+id, "")
	var c apiCharge
	_ = json.Unmarshal(raw, &c) // then it is ""
	return c.State
}

// pay lets the payers of charges over at least an amount pay.
func (k *kiosk) pay(from money.Amount) {
	k.Helper()
	for _, c := range k.theirs() {
		if c.Amount >= from && c.Status == providers.StatusPending {
			httpDo(k.T, "POST", k.sim+"/sim/charges/"+c.ID+"/pay", nil)
		}
	}
}

// theirs is what the provider has.
func (k *kiosk) theirs() (list []simkit.Charge) {
	k.Helper()
	if err := json.Unmarshal(httpDo(k.T, "GET", k.sim+"/sim/ledger", nil), &list); err != nil {
		k.Fatal(err)
	}
	return list
}

// noRoom passes an agent's log on and notes that its store refused what is not new.
type noRoom struct {
	log  io.Writer
	said atomic.Bool
}

func (w *noRoom) Write(p []byte) (int, error) {
	if bytes.Contains(p, []byte("the store has no room left")) {
		w.said.Store(true)
	}
	return w.log.Write(p)
}

func diskFillsUp(t *testing.T, bin string) (faults []string) {
	t.Helper()
	disk := smallDisk(t, 8)
	k := newKiosk(t, "--pay-after", "1h")
	k.bin = bin
	log := &noRoom{log: k.Output()}
	k.stderr = log
	text, err := os.ReadFile(k.config)
	if err != nil {
		t.Fatal(err)
	}
	copies := filepath.Join(disk, "copies")
	changed := strings.NewReplacer(k.data, filepath.Join(disk, "data"), "4MiB", "1MiB", "[provider.payer]", "requests_per_second = 100\n[provider.payer]").Replace(string(text))
	changed += fmt.Sprintf("\n[archive]\ndir = %q\n", copies)
	k.data = filepath.Join(disk, "data")
	if err := errors.Join(os.WriteFile(k.config, []byte(changed), 0o600), os.Mkdir(copies, 0o700)); err != nil {
		t.Fatal(err)
	}
	k.start()
	var made []string
	order := func() (status int, answer []byte) {
		status, answer = k.askAgent("POST", "/v1/charges", fmt.Sprintf(`{"reference":"%d","amount":%d,"present":"never"}`, len(made), 100+len(made)))
		var c apiCharge
		if status/100 == 2 && json.Unmarshal(answer, &c) == nil {
			made = append(made, c.ID)
			// One after the other, as at a kiosk: each needs room for its code.
			eventually(t, func() bool { return log.said.Load() || k.state(c.ID) != "created" })
		}
		return status, answer
	}
	order()
	filler := filepath.Join(disk, "filler")
	fill(t, filler)
	status, answer := 0, []byte(nil)
	for len(made) < 5000 && !log.said.Load() {
		if status, answer = order(); status/100 != 2 {
			break
		}
	}
	fault := func(format string, a ...any) { faults = append(faults, fmt.Sprintf(format, a...)) }
	if log.said.Load() {
		fault("after %d charges what follows from them does not fit into the store", len(made))
		return faults
	}
	if status != http.StatusServiceUnavailable || !strings.Contains(string(answer), string(localapi.StoreFull)) {
		fault("after %d charges the answer is %d %s, not %s", len(made), status, answer, localapi.StoreFull)
		return faults
	}
	if _, raw := k.askAgent("GET", "/v1/status", ""); !strings.Contains(string(raw), `"full":true`) {
		fault("status does not say that the store is full: %s", raw)
	}
	open := len(made) - 20
	k.pay(money.Amount(100 + open))
	paid := func() bool {
		for _, id := range made[open:] {
			if k.state(id) != "paid" {
				return false
			}
		}
		return true
	}
	if !eventually(t, paid) {
		fault("payments of open charges do not fit into the store: %s is %q", made[open], k.state(made[open]))
		return faults
	}
	k.kill()
	k.start()
	if status, answer := order(); status != http.StatusServiceUnavailable {
		fault("after a kill the answer is %d %s", status, answer)
	}
	if code, _, errs := runMain(t, "ledger", "verify", "--data", k.data); code != 0 {
		fault("the ledger on the full disk: %s", errs)
	}

	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	accepted := func() bool { status, _ := order(); return status/100 == 2 }
	for range 3 { // a start closes the business day, copies and prunes
		k.kill()
		k.start()
		if accepted() {
			break
		}
	}
	if !eventually(t, accepted) {
		fault("there is space, and new charges are still refused")
	}
	k.pay(money.Amount(100 + open))
	if !eventually(t, paid) {
		fault("not all charges of which the provider has money are paid")
	}
	k.kill()
	if log.said.Load() {
		fault("the store refused what is not new")
	}
	return append(faults, sameMoney(t, k.data, copies, k.theirs())...)
}

// sameMoney holds the store and the copies of what was pruned from it against the
// provider's ledger.
func sameMoney(t *testing.T, data, copies string, theirs []simkit.Charge) (faults []string) {
	t.Helper()
	if _, err := archive.Verify(copies); err != nil {
		faults = append(faults, err.Error())
	}
	segments, err := filepath.Glob(filepath.Join(copies, "*.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	seen := map[ledger.Position]bool{}
	var ours money.Amount
	take := func(e ledger.Entry) {
		var d struct {
			Amount money.Amount `json:"amount"`
		}
		if e.Kind == (charge.PaidFact{}).Kind() && !seen[e.Position()] {
			if err := json.Unmarshal(e.Data, &d); err != nil {
				t.Fatal(err)
			}
			ours += d.Amount
		}
		seen[e.Position()] = true
	}
	for _, s := range segments {
		raw, err := os.ReadFile(s)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(raw)) {
			if e, err := ledger.Decode([]byte(strings.TrimSuffix(line, "\n"))); err == nil { // the last may be cut off
				take(e)
			}
		}
	}
	entries := readLedger(t, data)
	for _, e := range entries {
		take(e)
	}
	if last := entries[len(entries)-1]; uint64(len(seen)) != last.Seq {
		faults = append(faults, fmt.Sprintf("%d entries of %d are there", len(seen), last.Seq))
	}
	var sum money.Amount
	for _, c := range theirs {
		if !c.Paid.IsZero() {
			sum += c.Amount
		}
	}
	if ours != sum {
		faults = append(faults, fmt.Sprintf("the ledger has %s as paid, the provider %s", ours.BRL(), sum.BRL()))
	}
	t.Logf("%d entries, %d charges at the provider, %s paid", len(seen), len(theirs), sum.BRL())
	return faults
}
