package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestOperatorOnRealScreen is an operator's round as a shop has it: the real program
// on a terminal emulator, with the hash that the real command made, a simulator and
// a printer on a serial line. A wrong PIN, the right one, a copy, the closing, what
// a technician looks at; a charge of others takes the screen meanwhile. PIN, hash and
// provider's secret are on no screen, in no log and in no entry.
func TestOperatorOnRealScreen(t *testing.T) {
	bin, dir := agentBinary(t), t.TempDir()
	paper := filepath.Join(dir, "printer")
	url := startSim(t, bin, filepath.Join(dir, "simulator"), "--pay-after", "1s", "--printer", paper)
	const secret, wrong = "804157", "804158"
	hash := exec.CommandContext(t.Context(), bin, "operator", "hash")
	hash.Stdin = strings.NewReader(secret + "\n")
	phc, err := hash.Output()
	if err != nil {
		t.Fatal(err)
	}
	pinFile, config, data := filepath.Join(dir, "operator-12.pin"), filepath.Join(dir, "agent.toml"), filepath.Join(dir, "data")
	if err := os.WriteFile(pinFile, phc, 0o600); err != nil {
		t.Fatal(err)
	}
	example, err := os.ReadFile("../../configs/simulator.toml")
	if err != nil {
		t.Fatal(err)
	}
	text := strings.NewReplacer("/tmp/ssg-agent-simulator", dir, "http://127.0.0.1:8089", url).Replace(string(example)) +
		fmt.Sprintf("\n[[operator]]\nid = \"12\"\nname = \"Maria\"\nrole = \"technician\"\npin = { file = %q }\n", pinFile)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}

	const clientSecret = "sim-secret-not-a-credential"
	screen := startTmux(t, dir, fmt.Sprintf("exec %s run --config %s 2>%s/stderr", bin, config, dir), "SSG_CLIENT_SECRET="+clientSecret)
	var screens []string
	until := func(want string) {
		t.Helper()
		screens = append(screens, screen.until(want))
	}
	chord := []string{"Escape", "0", "0", "Escape", "0", "0", "Enter"}
	until("Digite o valor")
	screen.digits("1234")
	screen.keys("Enter")
	until("Pagamento confirmado")
	screen.keys("Enter")
	until("Digite o valor")

	identify := func() {
		t.Helper()
		const prompt = "Digite o seu número de operador"
		for range 10 { // again, when the program got no processor and took two keys for a scanner's
			screen.keys(chord...)
			if within(5*time.Second, func() bool { return strings.Contains(screen.run("capture-pane", "-p"), prompt) }) {
				break
			}
		}
		until(prompt)
		screen.digits("12")
		screen.keys("Enter")
		until("Digite o seu PIN")
	}
	identify()
	screen.digits(wrong)
	screen.keys("Enter")
	until("Número ou PIN incorreto")
	screen.keys("BSpace", "Enter") // a key between, or the second Enter counts as held
	until("Digite o valor")
	login := func() {
		t.Helper()
		identify()
		screen.digits(secret)
		until("> ● ● ● ● ● ●")
		screen.keys("Enter")
		until("Maria · técnica")
	}
	login()
	screen.keys("1")
	until("paga")
	screen.keys("1")
	until("Imprimir a 2ª via?")
	screen.keys("Enter")
	until("NSU 000002, 2ª via")
	if !eventually(t, func() bool {
		raw, err := os.ReadFile(filepath.Join(paper, "slip-000003.json"))
		return err == nil && strings.Contains(string(raw), "2ª VIA")
	}) {
		t.Error("no copy came out of the printer")
	}
	screen.keys("Escape", "3")
	until("Fechar o dia: Z 1")
	screen.keys("2")
	until("Não pode ser desfeito")
	screen.keys("Enter")
	until("Fechamento 1 registrado")
	screen.keys("Escape", "5")
	until("em uso")
	screen.keys("Escape", "6")
	until("Configuração 1/")
	for page := 2; page <= 3; page++ {
		screen.keys("9")
		until(fmt.Sprintf("Configuração %d/", page))
	}
	screen.keys("Escape", "7")
	until("Em ordem")

	// A charge of the local API has the screen at once, and the menu is closed.
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", filepath.Join(data, "control.sock"))
	}}}
	r, err := client.Post("http://localhost/v1/charges", "application/json", strings.NewReader(`{"amount":555,"reference":"menu-1"}`))
	if err != nil || r.StatusCode != http.StatusCreated {
		t.Fatalf("a charge beside the menu: %v %v", r, err)
	}
	r.Body.Close()
	until("Expira em")
	until("Pagamento confirmado")
	screen.keys("Enter")
	until("Digite o valor")
	if code := screen.end("C-c"); code != "0" {
		t.Errorf("exit code %s", code)
	}

	log, err := os.ReadFile(filepath.Join(dir, "stderr"))
	if err != nil {
		t.Fatal(err)
	}
	hidden := []string{secret, wrong, clientSecret, strings.TrimSpace(string(phc)), "argon2"}
	var acts []string
	for _, e := range readLedger(t, data) {
		if strings.HasPrefix(e.Actor, "operator") {
			acts = append(acts, e.Kind+" "+e.Actor)
		}
		for _, s := range hidden {
			if strings.Contains(string(e.Data), s) {
				t.Errorf("entry %d holds %q", e.Seq, s)
			}
		}
	}
	want := []string{"operator.refused operator:12", "operator.login operator:12", "slip.issued operator:12", "closing.z operator:12", "slip.issued operator:12"}
	if !slices.Equal(acts, want) {
		t.Errorf("the ledger names the operator in %v", acts)
	}
	for _, s := range hidden {
		if strings.Contains(string(log), s) {
			t.Errorf("the log holds %q", s)
		}
		for _, shown := range screens {
			if strings.Contains(shown, s) {
				t.Errorf("a screen shows %q:\n%s", s, shown)
			}
		}
	}
}
