package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/ssg-safe/agent/hub"
)

// program is a process of the test.
type program struct {
	cmd *exec.Cmd
	log *lockedBuffer
}

// begin starts a program; it is killed at the end of the test.
func begin(t *testing.T, stdout io.Writer, env []string, path string, args ...string) *program {
	t.Helper()
	p := &program{cmd: exec.CommandContext(t.Context(), path, args...), log: new(lockedBuffer)}
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.Stdout, p.cmd.Stderr = io.MultiWriter(stdout, p.log), p.log
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.end(syscall.SIGKILL)
		if t.Failed() {
			t.Logf("%s:\n%s", p.cmd, p.log)
		}
	})
	return p
}

// end signals and waits.
func (p *program) end(s syscall.Signal) {
	if p.cmd.ProcessState == nil {
		p.cmd.Process.Signal(s)
		p.cmd.Wait() // says how it ended
	}
}

// fleetRig is a hub and a terminal as README's third try has them.
type fleetRig struct {
	t                   *testing.T
	agentBin, hubBin    string
	data, hubConf, addr string
	device              string
	env                 []string
	simURL, simTable    string // where the simulated provider is, and the configuration that belongs to it
	hub, agent          *program
	charges             int
}

func newFleetRig(t *testing.T) *fleetRig {
	return newFleetRigWith(t, "", "ssg", "--pay-after", "200ms")
}

// newFleetRigWith has more in the hub's configuration, another provider, and more
// on its simulator's command line.
func newFleetRigWith(t *testing.T, hubTable, provider string, simArgs ...string) *fleetRig {
	t.Helper()
	r := &fleetRig{t: t, data: t.TempDir(), addr: freeAddress(t)}
	r.agentBin, r.hubBin = programs(t)

	in, out := io.Pipe()
	begin(t, out, nil, r.agentBin, append([]string{"sim", "--provider", provider, "--listen", "127.0.0.1:0", "--json"}, simArgs...)...)
	line, err := bufio.NewReader(in).ReadBytes('\n')
	var hello struct{ Event, URL, Configuration string }
	if err := json.Unmarshal(line, &hello); err != nil || hello.Event != "listening" {
		t.Fatalf("the simulator says %q, %v", line, err)
	}
	go io.Copy(io.Discard, in)
	r.simURL, r.simTable = hello.URL, hello.Configuration
	if err != nil {
		t.Fatal(err)
	}

	must(t, r.data, "keys", "make")
	r.hubConf = filepath.Join(t.TempDir(), "hub.toml")
	if err := os.WriteFile(r.hubConf, fmt.Appendf(nil, "version = 1\ndata = %q\n[listen]\naddress = %q\n%s", r.data, r.addr, hubTable), 0o600); err != nil {
		t.Fatal(err)
	}
	r.startHub()

	r.env = []string{"SSG_CLIENT_SECRET=sim-secret-not-a-credential", "SSG_MQTT_PASSWORD=none"}
	first := r.config("first", t.TempDir())
	id, err := r.command(r.agentBin, "identity", "--config", first, "--json")
	var who struct{ Device, Key, Tenant, Site string }
	if err := json.Unmarshal([]byte(id), &who); err != nil {
		t.Fatalf("identity says %q: %v", id, err)
	}
	if err != nil || who.Tenant != "demo" || who.Site != "mesa" {
		t.Fatalf("identity says %q, %v", id, err)
	}
	r.device = who.Device
	must(t, r.data, "device", "add", who.Device, "--key", who.Key, "--tenant", who.Tenant, "--site", who.Site)
	password := strings.TrimSpace(must(t, r.data, "device", "password", who.Device))
	r.env[1] = "SSG_MQTT_PASSWORD=" + password
	r.rename(first)
	r.startAgent(first)
	return r
}

func (r *fleetRig) command(path string, args ...string) (string, error) {
	cmd := exec.CommandContext(r.t.Context(), path, args...)
	cmd.Env = append(os.Environ(), r.env...)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("%w: %s", err, &errs)
	}
	return string(out), err
}

// config is the terminal's of configs/simulator.toml, with a link to the fleet.
func (r *fleetRig) config(name, data string) string {
	r.t.Helper()
	text := readDoc(r.t, "configs", "simulator.toml")
	text = strings.ReplaceAll(text, "/tmp/ssg-agent-simulator/data", filepath.Join(data, "data"))
	text = strings.ReplaceAll(text, "/tmp/ssg-agent-simulator", data)
	before, rest, _ := strings.Cut(text, "[[merchant]]")
	_, rest, _ = strings.Cut(rest, "[printer]")
	text = before + r.simTable + "\n[printer]" + rest
	text = strings.ReplaceAll(text, `size = "32MiB"`, `size = "4MiB"`)
	text += fmt.Sprintf("\n[display]\nkind = \"none\"\n[fleet]\nbrokers = [\"tcp://%s\"]\ntenant = \"demo\"\nsite = \"mesa\"\nusername = \"NAME\"\npassword = { env = \"SSG_MQTT_PASSWORD\" }\n%s",
		r.addr, must(r.t, r.data, "keys", "pin"))
	file := filepath.Join(r.t.TempDir(), name+".toml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		r.t.Fatal(err)
	}
	return file
}

// rename puts the terminal's name into a configuration.
func (r *fleetRig) rename(file string) {
	r.t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		r.t.Fatal(err)
	}
	if err := os.WriteFile(file, bytes.ReplaceAll(text, []byte("NAME"), []byte(r.device)), 0o600); err != nil {
		r.t.Fatal(err)
	}
}

func (r *fleetRig) startHub() {
	r.t.Helper()
	r.hub = begin(r.t, io.Discard, nil, r.hubBin, "serve", "--config", r.hubConf)
	eventually(r.t, "the hub runs", func() bool {
		code, _, _ := hubMain(r.t, "status", "--data", r.data)
		return code == 0
	})
}

func (r *fleetRig) startAgent(file string) {
	r.agent = begin(r.t, io.Discard, r.env, r.agentBin, "run", "--config", file)
}

func (r *fleetRig) show() (d deviceInfo) {
	r.t.Helper()
	if err := json.Unmarshal([]byte(must(r.t, r.data, "device", "show", r.device, "--json")), &d); err != nil {
		r.t.Fatal(err)
	}
	return d
}

func (r *fleetRig) alarms() map[string]bool {
	r.t.Helper()
	kinds := make(map[string]bool)
	for line := range strings.Lines(must(r.t, r.data, "alarms", "list", "--json")) {
		var a hub.Alarm
		if err := json.Unmarshal([]byte(line), &a); err != nil {
			r.t.Fatal(err)
		}
		kinds[a.Kind] = true
	}
	return kinds
}

// charge starts one from the back office, and waits until the terminal has it.
func (r *fleetRig) charge() {
	r.t.Helper()
	r.charges++
	id := strings.TrimSpace(must(r.t, r.data, "charge", "start", r.device,
		"--reference", fmt.Sprint("pedido-", r.charges), "--merchant", "simulador", "--amount", "12.50"))
	eventually(r.t, "the terminal has made the charge", func() bool {
		return strings.HasPrefix(must(r.t, r.data, "charge", "show", r.device, id), "done: done, charge SIM1")
	})
}

// paid waits until the hub holds the charges as paid, signed by the terminal.
func (r *fleetRig) paid(n int) {
	r.t.Helper()
	eventually(r.t, fmt.Sprint("the hub holds ", n, " paid charges"), func() bool {
		d := r.show()
		return d.Head == d.Signed && strings.Count(must(r.t, r.data, "export", r.device), `"kind":"charge.paid"`) == n
	})
	must(r.t, r.data, "verify")
}

// A terminal is enrolled, and its ledger comes. Then a hub that is killed and
// restored from a backup heals by itself, and a copy of the terminal is noticed,
// stopped, and sorted out by a person, with nothing lost.
func TestFleet(t *testing.T) {
	r := newFleetRig(t)
	r.charge()
	r.paid(1)
	eventually(t, "what the terminal counted is shown", func() bool {
		return strings.Contains(must(t, r.data, "device", "show", r.device), "store.commits ")
	})
	backup := filepath.Join(t.TempDir(), "hub.db")
	must(t, r.data, "backup", backup)
	r.charge()
	r.paid(2)

	// Killed, and restored from yesterday.
	whole := must(t, r.data, "export", r.device)
	r.hub.end(syscall.SIGKILL)
	if err := os.Rename(backup, storePath(r.data)); err != nil {
		t.Fatal(err)
	}
	if got := must(t, r.data, "export", r.device); got == whole || !strings.HasPrefix(whole, got) {
		t.Fatal("the backup is not the beginning of the ledger")
	}
	r.startHub()
	eventually(t, "the hub has again what it had forgotten", func() bool { return strings.HasPrefix(must(t, r.data, "export", r.device), whole) })
	if a := r.alarms(); !a[hub.AlarmRestored] || a[hub.AlarmFork] {
		t.Errorf("alarms %v, want one that the hub was restored", a)
	}

	// A copy of the terminal runs somewhere, and makes a charge.
	original := r.agent.cmd.Args[len(r.agent.cmd.Args)-1]
	r.agent.end(syscall.SIGTERM)
	elsewhere := t.TempDir()
	text, err := os.ReadFile(original)
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), `data = "`)
	home, _, _ := strings.Cut(rest, `/data"`)
	if err := os.CopyFS(filepath.Join(elsewhere, "data"), os.DirFS(filepath.Join(home, "data"))); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(elsewhere, "data", "identity.json"), 0o600); err != nil {
		t.Fatal(err)
	}
	clone := filepath.Join(t.TempDir(), "clone.toml")
	if err := os.WriteFile(clone, []byte(strings.ReplaceAll(string(text), home, elsewhere)), 0o600); err != nil {
		t.Fatal(err)
	}
	r.startAgent(clone)
	r.charge()
	r.paid(3)
	r.agent.end(syscall.SIGTERM)
	theirs := must(t, r.data, "export", r.device)

	// The original comes back: it has less than the hub, and then something else.
	r.startAgent(original)
	eventually(t, "the hub notices that the terminal has less", func() bool {
		a := r.alarms()
		return a[hub.AlarmRollback] || a[hub.AlarmFork]
	})
	r.charge()
	r.agent.end(syscall.SIGTERM)
	r.startAgent(original)
	eventually(t, "the hub notices the fork", func() bool { return r.show().State == "forked" && r.alarms()[hub.AlarmFork] })
	if got := must(t, r.data, "export", r.device); got != theirs {
		t.Error("a fork changed what the hub holds")
	}

	// A person has looked: the original goes on, and the copy's entries are kept.
	must(t, r.data, "device", "approve-fork", r.device)
	r.agent.end(syscall.SIGTERM)
	r.startAgent(original)
	eventually(t, "the original goes on", func() bool {
		d := r.show()
		return d.State == "ok" && len(d.Chains) == 1 && len(d.Chains[0].Aside) == 1 && d.Head == d.Signed
	})
	r.paid(3)
	branch := must(t, r.data, "export", r.device, "--branch", r.show().Chains[0].Aside[0])
	if !strings.HasSuffix(theirs, branch) || !strings.Contains(branch, `"kind":"charge.paid"`) {
		t.Errorf("what was set aside is not what the copy had sent:\n%s", branch)
	}
	r.agent.end(syscall.SIGTERM)
	ours, err := r.command(r.agentBin, "ledger", "export", "--data", filepath.Join(home, "data"))
	if got := must(t, r.data, "export", r.device); err != nil || got != ours {
		t.Errorf("the hub's copy is not the terminal's ledger, %v", err)
	}
}
