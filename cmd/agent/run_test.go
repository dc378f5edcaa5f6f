package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ssg-safe/agent/internal/agenttest"
	"github.com/ssg-safe/agent/providers"
	"github.com/ssg-safe/agent/providers/simkit"
)

// TestRunOnRealInput is the main job as a user has it, by the README's second
// thing to try: `run` with configs/simulator.toml on a terminal emulator, and a
// simulator in a process of its own with a printer on a serial line. What the
// screen shows and what the printer printed are read back by an independent
// decoder.
func TestRunOnRealInput(t *testing.T) {
	bin, dir := agentBinary(t), t.TempDir()
	paper := filepath.Join(dir, "printer")
	url := startSim(t, bin, filepath.Join(dir, "simulator"), "--pay-after", "1s", "--printer", paper)
	slip := func(n int, ext string) []byte {
		t.Helper()
		file := filepath.Join(paper, fmt.Sprintf("slip-%06d.%s", n, ext))
		if !eventually(t, func() bool { _, err := os.Stat(file); return err == nil }) {
			t.Fatalf("slip %d did not come", n)
		}
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}

	example, err := os.ReadFile("../../configs/simulator.toml")
	if err != nil {
		t.Fatal(err)
	}
	data := filepath.Join(dir, "data")
	config := filepath.Join(dir, "agent.toml")
	text := strings.NewReplacer(
		"/tmp/ssg-agent-simulator", dir, "http://127.0.0.1:8089", url,
		// A payer whose data appears nowhere else.
		`name = "Loja Simulada Ltda"`, `name = "Maria da Silva"`, `document = "11222333000181"`, `document = "52998224725"`,
		"pagador@example.com", "maria@example.com",
	).Replace(string(example))
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}

	screen := startTmux(t, dir, fmt.Sprintf("exec %s run --config %s 2>%s/stderr", bin, config, dir),
		"SSG_CLIENT_SECRET=sim-secret-not-a-credential")
	screen.until("Digite o valor")
	screen.digits("1234")
	screen.until("confirme")
	screen.keys("Enter")
	view := screen.until("Expira em")

	var ledger []simkit.Charge
	charges := func() []simkit.Charge {
		if err := json.Unmarshal(httpDo(t, "GET", url+"/sim/ledger", nil), &ledger); err != nil {
			t.Fatal(err)
		}
		return ledger
	}
	if c := charges(); len(c) != 1 || c[0].Amount != 1234 {
		t.Fatalf("the provider has %+v, want one charge of 1234 centavos", c)
	}
	if got := decodePicture(t, halfBlocks(t, view)); got != ledger[0].Code {
		t.Errorf("the code on the screen reads as %q, want %q\n%s", got, ledger[0].Code, view)
	}
	screen.until("Pagamento confirmado")
	if c := charges(); c[0].Status != providers.StatusPaid {
		t.Errorf("PAGO on the screen, and the provider says %s", c[0].Status)
	}
	if got := decodePicture(t, slip(1, "png")); got != ledger[0].Code {
		t.Errorf("the code on paper reads as %q, want %q", got, ledger[0].Code)
	}
	if receipt := string(slip(2, "json")); !strings.Contains(receipt, "PAGAMENTO CONFIRMADO") || strings.Contains(receipt, "000201") {
		t.Errorf("the receipt says\n%s", receipt)
	}

	// Switched off: the terminal goes on and says so.
	httpDo(t, "POST", url+"/sim/printer/power-off", nil)
	screen.until("Digite o valor")
	screen.digits("500")
	screen.keys("Enter")
	screen.until("Pagamento confirmado")
	screen.until("× Impressora")
	httpDo(t, "POST", url+"/sim/printer/power-on", nil)
	if receipt := string(slip(3, "json")); !strings.Contains(receipt, "PAGAMENTO CONFIRMADO") { // the code is not payable any more
		t.Errorf("the slip after the printer came back says\n%s", receipt)
	}
	if code := screen.end("C-c"); code != "0" {
		raw, _ := os.ReadFile(filepath.Join(dir, "stderr"))
		t.Errorf("exit code %s\n%s", code, raw)
	}
	log, err := os.ReadFile(filepath.Join(dir, "stderr"))
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{"sim-secret-not-a-credential", "52998224725", "maria@example.com", "Maria da Silva", ledger[0].Code} {
		if bytes.Contains(log, []byte(secret)) {
			t.Errorf("the log holds %q", secret)
		}
	}
	for _, e := range readLedger(t, data) {
		for _, secret := range []string{"52998224725", "maria@example.com", "Maria", "br.gov.bcb.pix"} {
			if bytes.Contains(e.Data, []byte(secret)) || bytes.Contains(e.Evidence, []byte(secret)) {
				t.Errorf("entry %d holds %q", e.Seq, secret)
			}
		}
	}
}

// tmux is a program on a real terminal emulator.
type tmux struct {
	t      *testing.T
	socket string
	status string
}

func startTmux(t *testing.T, dir, command string, env ...string) *tmux {
	t.Helper()
	agenttest.Tool(t, "tmux")
	m := &tmux{t: t, socket: filepath.Join(dir, "tmux.sock"), status: filepath.Join(dir, "exit")}
	args := []string{"new-session", "-d", "-x", "110", "-y", "34"}
	for _, e := range append(env, "LC_ALL=C.UTF-8") {
		args = append(args, "-e", e)
	}
	m.run(append(args, fmt.Sprintf("(%s); echo $? > %s", command, m.status))...)
	t.Cleanup(func() { exec.Command("tmux", "-S", m.socket, "kill-server").Run() })
	return m
}

func (m *tmux) run(args ...string) string {
	m.t.Helper()
	cmd := exec.Command("tmux", append([]string{"-u", "-S", m.socket, "-f", "/dev/null"}, args...)...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		m.t.Fatalf("tmux %v: %v\n%s", args, err, out)
	}
	return string(out)
}

// keys presses keys as a hand does: the screen takes a burst for a scanner.
func (m *tmux) keys(keys ...string) {
	m.t.Helper()
	for _, k := range keys {
		<-time.After(120 * time.Millisecond)
		m.run("send-keys", k)
	}
}

// digits presses digits that are shown, each after the one before has been: a
// program that gets no processor would read several at once, as from a scanner.
func (m *tmux) digits(digits string) {
	m.t.Helper()
	for _, d := range strings.Split(digits, "") {
		before := m.run("capture-pane", "-p")
		m.keys(d)
		if !eventually(m.t, func() bool { return m.run("capture-pane", "-p") != before }) {
			m.t.Fatalf("nothing shows that %s was pressed:\n%s", d, before)
		}
	}
}

// until waits for a text on the screen and returns the screen.
func (m *tmux) until(want string) string {
	m.t.Helper()
	var screen string
	ok := eventually(m.t, func() bool {
		screen = m.run("capture-pane", "-p")
		return strings.Contains(screen, want)
	})
	if !ok {
		m.t.Fatalf("%q did not come; the screen:\n%s", want, screen)
	}
	return screen
}

// end presses a key and returns the exit code.
func (m *tmux) end(key string) string {
	m.t.Helper()
	m.run("send-keys", key)
	var code []byte
	if !eventually(m.t, func() bool {
		var err error
		code, err = os.ReadFile(m.status)
		return err == nil && len(code) > 0
	}) {
		m.t.Fatal("the program did not end")
	}
	return strings.TrimSpace(string(code))
}

// eventually asks until yes, or until the test has waited for three minutes.
func eventually(t *testing.T, yes func() bool) bool {
	t.Helper()
	return within(3*time.Minute, yes)
}

// within asks until yes, or until the time is over.
func within(limit time.Duration, yes func() bool) bool {
	ask, enough := time.NewTicker(50*time.Millisecond), time.After(limit)
	defer ask.Stop()
	for !yes() {
		select {
		case <-ask.C:
		case <-enough:
			return false
		}
	}
	return true
}

// halfBlocks makes a picture of a text screen's block characters, light on
// dark as the screen is.
func halfBlocks(t *testing.T, screen string) []byte {
	t.Helper()
	const px = 6
	lines := strings.Split(screen, "\n")
	img := image.NewGray(image.Rect(0, 0, 112*px, 2*len(lines)*px))
	fill := func(x, y int) {
		for dy := range px {
			for dx := range px {
				img.SetGray(x*px+dx, y*px+dy, color.Gray{Y: 255})
			}
		}
	}
	for y, l := range lines {
		for x, r := range []rune(l) {
			if r == '█' || r == '▀' {
				fill(x, 2*y)
			}
			if r == '█' || r == '▄' {
				fill(x, 2*y+1)
			}
		}
	}
	var b bytes.Buffer
	if err := png.Encode(&b, img); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// decodePicture reads the code in a picture with an independent decoder.
func decodePicture(t *testing.T, picture []byte) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "code.png")
	if err := os.WriteFile(file, picture, 0o600); err != nil {
		t.Fatal(err)
	}
	codes, err := zbar(t)(file)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(codes, " and ")
}
