package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ssg-safe/agent/charge"
	"github.com/ssg-safe/agent/internal/agenttest"
	"github.com/ssg-safe/agent/ledger"
	"github.com/ssg-safe/agent/providers/simkit"
)

const apiToken = "0123456789abcdef0123456789abcdef0123456789abcdef"

// kiosk is the agent in a process of its own, with configs/local-api.toml.
type kiosk struct {
	*testing.T
	bin, config, data, addr, sim string
	cmd                          *exec.Cmd
	stderr                       io.Writer // of the agent; nil: the test's output
}

func newKiosk(t *testing.T, simArgs ...string) *kiosk {
	t.Helper()
	dir := t.TempDir()
	k := &kiosk{T: t, bin: agentBinary(t), config: filepath.Join(dir, "agent.toml"), data: filepath.Join(dir, "data")}
	k.sim = startSim(t, k.bin, filepath.Join(dir, "simulator"), simArgs...)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	k.addr = l.Addr().String()
	l.Close()
	example, err := os.ReadFile("../../configs/local-api.toml")
	if err != nil {
		t.Fatal(err)
	}
	text := strings.NewReplacer("/tmp/ssg-agent-api", dir, "http://127.0.0.1:8089", k.sim, "127.0.0.1:8017", k.addr, "32MiB", "4MiB").Replace(string(example))
	if err := os.WriteFile(k.config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if k.cmd != nil {
			k.kill()
		}
	})
	return k
}

// start runs the agent until it answers.
func (k *kiosk) start() {
	k.Helper()
	k.cmd = exec.Command(k.bin, "run", "--config", k.config)
	k.cmd.Env = append(os.Environ(), "SSG_CLIENT_SECRET=sim-secret-not-a-credential", "SSG_API_TOKEN="+apiToken)
	if k.cmd.Stderr = k.stderr; k.stderr == nil {
		k.cmd.Stderr = k.Output()
	}
	if err := k.cmd.Start(); err != nil {
		k.Fatal(err)
	}
	if !eventually(k.T, func() bool { _, err := k.curl("GET", "/v1/status", ""); return err == nil }) {
		k.Fatal("the agent does not answer")
	}
}

// kill ends it as a power cut ends a process.
func (k *kiosk) kill() {
	k.Helper()
	k.cmd.Process.Kill()
	_ = k.cmd.Wait() // it was killed
	k.cmd = nil
}

func (k *kiosk) curlCmd(args ...string) *exec.Cmd {
	k.Helper()
	return exec.Command(agenttest.Tool(k.T, "curl"), append([]string{"-sS", "-H", "Authorization: Bearer " + apiToken}, args...)...)
}

// curl asks the API and returns the answer's body; an error is one of the line
// or a refusal.
func (k *kiosk) curl(method, path, body string) ([]byte, error) {
	k.Helper()
	args := []string{"--fail-with-body", "--max-time", "60", "-X", method, "http://" + k.addr + path}
	if body != "" {
		args = append(args, "-H", "Content-Type: application/json", "-d", body)
	}
	var out, errs bytes.Buffer
	cmd := k.curlCmd(args...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return out.Bytes(), fmt.Errorf("curl: %w: %s%s", err, errs.Bytes(), out.Bytes())
	}
	return out.Bytes(), nil
}

// apiCharge is what the tests read of an answer.
type apiCharge struct {
	ID, State, BRCode string
	Amount            int64
	CodeKind          string `json:"code_kind"`
	Provider          struct{ Name, Type string }
	Payments          []struct {
		Amount     int64
		Kind       string
		EndToEnd   string `json:"end_to_end"`
		Grade      string
		ProviderID string `json:"provider_id"`
	}
	Slips []struct {
		Kind, State string
		Copy        int
	}
}

func (k *kiosk) charge(method, path, body string) apiCharge {
	k.Helper()
	raw, err := k.curl(method, path, body)
	if err != nil {
		k.Fatal(err)
	}
	var c apiCharge
	if err := json.Unmarshal(raw, &c); err != nil || c.ID == "" {
		k.Fatalf("%s %s: %s (%v)", method, path, raw, err)
	}
	return c
}

// watcher is curl on the event stream; it collects ids and kinds.
type watcher struct {
	cmd *exec.Cmd

	mu    sync.Mutex // guards seen
	seen  []string   // "id kind"
	ended chan struct{}
}

func (k *kiosk) watch(last string) *watcher {
	k.Helper()
	args := []string{"-N", "http://" + k.addr + "/v1/events"}
	if last != "" {
		args = append(args, "-H", "Last-Event-ID: "+last)
	}
	w := &watcher{cmd: k.curlCmd(args...), ended: make(chan struct{})}
	out, err := w.cmd.StdoutPipe()
	if err != nil {
		k.Fatal(err)
	}
	if err := w.cmd.Start(); err != nil {
		k.Fatal(err)
	}
	go func() {
		defer close(w.ended)
		id := ""
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			name, value, _ := strings.Cut(lines.Text(), ": ")
			switch name {
			case "id":
				id = value
			case "event":
				w.mu.Lock()
				w.seen = append(w.seen, id+" "+value)
				w.mu.Unlock()
			}
		}
		_ = w.cmd.Wait() // it ends by a kill, ours or the agent's
	}()
	k.Cleanup(w.stop)
	if !eventually(k.T, func() bool { return len(w.all()) > 0 }) {
		k.Fatal("no event stream")
	}
	return w
}

func (w *watcher) stop() {
	w.cmd.Process.Kill()
	<-w.ended
}

func (w *watcher) all() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.seen)
}

// saw waits for an event of a kind.
func (w *watcher) saw(t *testing.T, kind string) {
	t.Helper()
	if !eventually(t, func() bool {
		return slices.ContainsFunc(w.all(), func(s string) bool { return strings.HasSuffix(s, " "+kind) })
	}) {
		t.Fatalf("no event %s among %v", kind, w.all())
	}
}

// TestAPISurvivesAKill is a charge as a point of sale makes it, by curl: made,
// watched, the agent killed in the middle, asked for again, paid, read. Nothing
// is lost or doubled on either side, and the events have no gap.
func TestAPISurvivesAKill(t *testing.T) {
	k := newKiosk(t, "--pay-after", "0s")
	k.start()
	first := k.watch("")
	const order = `{"reference":"venda-1","amount":1500,"description":"Venda 1","expiry_seconds":600}`
	made := k.charge("POST", "/v1/charges", order)
	first.saw(t, "slip.printed") // a kill while it prints makes a dead letter: another test's business
	k.kill()
	<-first.ended
	if _, err := k.curl("POST", "/v1/charges", order); err == nil {
		t.Fatal("a dead agent answers")
	}

	k.start()
	if again := k.charge("POST", "/v1/charges", order); again.ID != made.ID {
		t.Errorf("asked again after the kill: %s, want %s", again.ID, made.ID)
	}
	if _, err := k.curl("POST", "/v1/charges", strings.Replace(order, "1500", "1600", 1)); err == nil || !strings.Contains(err.Error(), "reference_taken") {
		t.Errorf("another amount: %v", err)
	}
	seen := first.all()
	last, _, _ := strings.Cut(seen[len(seen)-1], " ")
	second := k.watch(last)
	c := k.charge("GET", "/v1/charges/"+made.ID, "")
	if c.State != "pending" || c.BRCode == "" || c.CodeKind != "dynamic" || c.Provider.Type != "ssg" {
		t.Errorf("pending: %+v", c)
	}
	var theirs []simkit.Charge
	if err := json.Unmarshal(httpDo(t, "GET", k.sim+"/sim/ledger", nil), &theirs); err != nil || len(theirs) != 1 {
		t.Fatalf("the provider has %+v (%v), want one charge", theirs, err)
	}
	httpDo(t, "POST", k.sim+"/sim/charges/"+theirs[0].ID+"/pay", nil)
	second.saw(t, "charge.paid")
	if c = k.charge("GET", "/v1/charges/"+made.ID, ""); c.State != "paid" || len(c.Payments) != 1 || c.Payments[0].Amount != 1500 || c.BRCode != "" {
		t.Errorf("paid: %+v", c)
	}
	eventually(t, func() bool {
		c = k.charge("GET", "/v1/charges/"+made.ID, "")
		return len(c.Slips) == 2 && c.Slips[1].State == "printed"
	})
	if len(c.Slips) != 2 || c.Slips[1].Kind != "receipt" || c.Slips[1].State != "printed" {
		t.Errorf("slips %+v", c.Slips)
	}
	if raw, err := k.curl("POST", "/v1/charges/"+made.ID+"/reprint", ""); err != nil || !strings.Contains(string(raw), `"copy":2`) {
		t.Errorf("reprint: %s %v", raw, err)
	}
	eventually(t, func() bool {
		c = k.charge("GET", "/v1/charges/"+made.ID, "")
		return len(c.Slips) == 3 && c.Slips[2].State == "printed"
	})
	if len(c.Slips) != 3 || c.Slips[2].Copy != 2 || c.Slips[2].State != "printed" {
		t.Errorf("slips after the reprint: %+v", c.Slips)
	}

	// The two streams together are the ledger, entry by entry.
	var entries []string
	raw, err := k.curl("GET", "/v1/ledger", "")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(raw)) {
		e, err := ledger.Decode([]byte(strings.TrimSuffix(line, "\n")))
		if err != nil {
			t.Fatal(err)
		}
		entries = append(entries, fmt.Sprintf("%d:%d %s", e.Epoch, e.Seq, e.Kind))
	}
	var events []string
	if !eventually(t, func() bool {
		events = append(first.all()[1:], second.all()[1:]...) // without ready
		return len(events) >= len(entries)
	}) || !slices.Equal(events, entries) {
		t.Errorf("events %v\nledger %v", events, entries)
	}
	if counters, err := k.curl("GET", "/v1/metrics", ""); err != nil || !bytes.Contains(counters, []byte(`"provider.sim.sent":`)) {
		t.Errorf("counters: %s (%v)", counters, err)
	}
	k.commands(raw)
}

// commands are those of the command line that ask the running agent.
func (k *kiosk) commands(export []byte) {
	k.Helper()
	run := func(args ...string) string {
		k.Helper()
		code, out, errs := runMain(k.T, append(args, "--data", k.data)...)
		if code != 0 || errs != "" {
			k.Errorf("%v: %d %s %s", args, code, out, errs)
		}
		return out
	}
	if out := run("ledger", "export"); out != string(export) {
		k.Errorf("ledger export differs from the API's:\n%s\n%s", out, export)
	}
	if out := run("ledger", "verify"); !strings.HasPrefix(out, "ok: ") || !strings.Contains(out, "sales") {
		k.Errorf("ledger verify: %s", out)
	}
	if out := run("ledger", "list", "--last", "3"); strings.Count(out, "\n") != 3 {
		k.Errorf("ledger list --last 3: %s", out)
	}
	if out := run("ledger", "export", "--format", "csv"); strings.Count(out, "\n") <= strings.Count(string(export), "\n") {
		k.Errorf("ledger export --format csv: %s", out)
	}
	if out := run("queue", "list"); !strings.Contains(out, "waiting: 0") {
		k.Errorf("queue list: %s", out)
	}
	if out := run("queue", "drop", "--dead"); !strings.Contains(out, "no dead letters") {
		k.Errorf("queue drop --dead: %s", out)
	}
	if code, _, errs := runMain(k.T, "queue", "drop", "99", "--data", k.data); code != 1 || !strings.Contains(errs, "no such job") {
		k.Errorf("queue drop 99: %d %s", code, errs)
	}
	k.backup(run, export)
	if info, err := os.Stat(filepath.Join(k.data, "control.sock")); err != nil || info.Mode().Perm() != 0o600 {
		k.Errorf("control socket: %v %v", info.Mode(), err)
	}
}

// TestAPIKills: whoever repeats a request until it is answered has one charge
// for each reference, whenever the agent is killed.
func TestAPIKills(t *testing.T) {
	k := newKiosk(t, "--pay-after", "0s")
	ids := map[string]string{}
	for i := range 6 {
		k.start()
		reference := fmt.Sprintf("venda-%d", i)
		body := fmt.Sprintf(`{"reference":%q,"amount":%d,"present":"never"}`, reference, 1000+i)
		asked := make(chan struct{})
		go func() {
			defer close(asked)
			req, err := http.NewRequestWithContext(t.Context(), "POST", "http://"+k.addr+"/v1/charges", strings.NewReader(body))
			if err != nil {
				t.Error(err)
				return
			}
			req.Header.Set("Authorization", "Bearer "+apiToken)
			req.Header.Set("Content-Type", "application/json")
			if resp, err := http.DefaultTransport.RoundTrip(req); err == nil { // the kill may be faster
				_, _ = io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
			}
		}()
		<-time.After(time.Duration(i*i) * time.Millisecond)
		k.kill()
		<-asked
		k.start()
		ids[reference] = k.charge("POST", "/v1/charges", body).ID
		k.kill()
	}
	made := map[string]int{}
	for _, e := range readLedger(t, k.data) {
		if e.Kind == (charge.CreatedFact{}).Kind() {
			var f charge.CreatedFact
			if err := json.Unmarshal(e.Data, &f); err != nil {
				t.Fatal(err)
			}
			made[f.Reference]++
			if ids[f.Reference] != string(f.Charge) {
				t.Errorf("reference %s is charge %s, its caller was told %s", f.Reference, f.Charge, ids[f.Reference])
			}
		}
	}
	for reference := range ids {
		if made[reference] != 1 {
			t.Errorf("reference %s was made %d times", reference, made[reference])
		}
	}
}

// TestGuide compiles the client of docs/local-api.md and lets it sell something.
func TestGuide(t *testing.T) {
	guide, err := os.ReadFile("../../docs/local-api.md")
	if err != nil {
		t.Fatal(err)
	}
	_, program, _ := strings.Cut(string(guide), "```go\n")
	program, _, ok := strings.Cut(program, "```")
	if !ok || !strings.Contains(program, "http://127.0.0.1:8017") {
		t.Fatal("docs/local-api.md has no client in Go")
	}
	k := newKiosk(t, "--pay-after", "500ms")
	k.start()
	source := filepath.Join(t.TempDir(), "client.go")
	if err := os.WriteFile(source, []byte(strings.Replace(program, "127.0.0.1:8017", k.addr, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("go", "run", source, "venda-1")
	cmd.Env = append(os.Environ(), "SSG_API_TOKEN="+apiToken, "CGO_ENABLED=0", "GOFLAGS=-mod=mod")
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), " paid\n") || !strings.HasPrefix(string(out), "000201") {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestAPIHosts: clients leave the port of their scheme out of the name, and only
// that one.
func TestAPIHosts(t *testing.T) {
	for _, tt := range []struct {
		listen, certificate string
		named, not          string
	}{
		{"127.0.0.1:8017", "", "localhost:8017", "localhost"},
		{"127.0.0.1:80", "", "localhost", "localhost:8017"},
		{"[::1]:80", "", "[::1]", "::1"},
		{"127.0.0.1:443", "", "pdv.example:443", "localhost"},
		{"192.0.2.1:443", "/etc/ssg-agent/api.pem", "192.0.2.1", "192.0.2.2"},
		{"unix:/run/ssg-agent/api.sock", "", "localhost", "localhost:80"},
	} {
		hosts := APIConfig{Listen: tt.listen, Certificate: tt.certificate, Hosts: []string{"pdv.example"}}.hosts()
		if !slices.Contains(hosts, tt.named) || slices.Contains(hosts, tt.not) {
			t.Errorf("%s is called %v; want %s and not %s", tt.listen, hosts, tt.named, tt.not)
		}
	}
}
