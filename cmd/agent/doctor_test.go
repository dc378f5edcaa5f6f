package main

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ssg-safe/agent/device"
	"github.com/ssg-safe/agent/internal/agenttest"
	"github.com/ssg-safe/agent/providers"
	"github.com/ssg-safe/agent/store/storetest"
)

// patient is a terminal for doctor: a store, a printer on a serial line, a
// provider's simulator.
type patient struct {
	*testing.T
	dir     string
	printer *simPrinter
	sim     *simRun
	replace []string // in the configuration
}

func newPatient(t *testing.T) *patient {
	t.Helper()
	dir := t.TempDir()
	line, err := openSimPrinter(filepath.Join(dir, "printer"), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if line != nil {
			line.stop()
		}
	})
	p := &patient{T: t, dir: dir, printer: line, sim: runSim(t, "--provider", "ssg")}
	t.Setenv("SSG_CLIENT_SECRET", p.sim.hello.ClientSecret)
	if err := os.Mkdir(p.data(), 0o700); err != nil {
		t.Fatal(err)
	}
	o := storeOptions(storePath(p.data()), nil)
	o.Size = storetest.Size
	storetest.Create(t, o)
	if _, err := device.CreateIdentity(p.data()); err != nil {
		t.Fatal(err)
	}
	return p
}

func (p *patient) data() string { return filepath.Join(p.dir, "data") }

// config writes the configuration.
func (p *patient) config() string {
	p.Helper()
	example, err := os.ReadFile("../../configs/simulator.toml")
	if err != nil {
		p.Fatal(err)
	}
	text := strings.NewReplacer(append(p.replace,
		"/tmp/ssg-agent-simulator", p.dir, "http://127.0.0.1:8089", p.sim.hello.URL,
		"[store]\nsize = \"32MiB\"", "[display]\nkind = \"none\"\n[store]\nsize = \"1MiB\"",
	)...).Replace(string(example))
	path := filepath.Join(p.dir, "agent.toml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		p.Fatal(err)
	}
	return path
}

// examine returns what doctor finds, by code.
func (p *patient) examine(args ...string) map[string]finding {
	p.Helper()
	code, out, errs := runMain(p.T, append([]string{"doctor", "--json", "--config", p.config()}, args...)...)
	return p.read(code, out, errs)
}

func (p *patient) read(code int, out, errs string) map[string]finding {
	p.Helper()
	found := map[string]finding{}
	fails := 0
	for line := range strings.Lines(out) {
		var f finding
		if err := json.Unmarshal([]byte(line), &f); err != nil {
			p.Fatalf("%v in %q", err, line)
		}
		if f.Event == "check" {
			found[f.Code] = f
			if f.Status == checkFail {
				fails++
			}
			if f.Status != checkOK && f.Remedy == "" {
				p.Errorf("%s has no remedy", f.Code)
			}
		}
	}
	if (code == 0) != (fails == 0) || code > 1 {
		p.Errorf("exit code %d with %d failures: %s", code, fails, errs)
	}
	if strings.Contains(out+errs, p.sim.hello.ClientSecret) {
		p.Error("doctor shows the secret")
	}
	return found
}

// must says which findings must be there, and that nothing else failed.
func (p *patient) must(found map[string]finding, codes ...string) {
	p.Helper()
	for _, c := range codes {
		if _, ok := found[c]; !ok {
			p.Errorf("no %s in %v", c, found)
		}
	}
	for c, f := range found {
		if f.Status == checkFail && !slices.Contains(codes, c) && f.Check != "network" {
			p.Errorf("failed too: %s: %s", c, f.Message)
		}
	}
}

// TestDoctorWalk is a technician's round over what breaks in the field.
func TestDoctorWalk(t *testing.T) {
	p := newPatient(t)
	happens := func(event string) { printerEvents[event](p.printer.paper) }

	found := p.examine("--print-test")
	p.must(found, "config_ok", "store_ok", "disk_ok", "port_ok", "printer_ok", "print_confirmed", "display_none", "provider_ok", "broker_none")
	slips := p.printer.paper.Slips()
	if len(slips) != 1 || !strings.Contains(slips[0].Text(), "TESTE DE IMPRESSÃO") || strings.Contains(slips[0].Text(), "br.gov.bcb.pix") {
		t.Errorf("slips %v", slips)
	}

	for _, test := range []struct{ breaks, mends, finds string }{
		{"end-paper", "load-paper", "printer_paper_out"},
		{"open-cover", "close-cover", "printer_cover_open"},
		{"power-off", "power-on", "printer_silent"},
	} {
		happens(test.breaks)
		p.must(p.examine("--print-test"), test.finds)
		happens(test.mends)
	}
	p.must(p.examine(), "printer_ok")
	if n := len(p.printer.paper.Slips()); n != 1 {
		t.Errorf("%d slips: a printer that was not ready was sent one", n)
	}

	// The agent runs: it holds store and port.
	s, stop := storetest.Start(t, storeOptions(storePath(p.data()), nil))
	line, err := device.OpenSerial(device.SerialConfig{Path: p.printer.link, Baud: 115200})
	if err != nil {
		t.Fatal(err)
	}
	p.must(p.examine(), "store_in_use", "printer_held_by_agent")
	stop()
	p.must(p.examine(), "printer_in_use")
	if err := errors.Join(line.Close(), s.Err()); err != nil {
		t.Fatal(err)
	}

	// The cable is unplugged.
	if err := p.printer.close(); err != nil {
		t.Fatal(err)
	}
	found = p.examine()
	p.must(found, "port_missing")
	if !strings.Contains(found["port_missing"].Message, p.printer.link) {
		t.Errorf("the port is not named: %s", found["port_missing"].Message)
	}
	p.replace = []string{`kind = "serial"`, `kind = "none"`}

	// The store is damaged, then gone.
	path := storePath(p.data())
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, whole[:len(whole)/2], 0o600); err != nil {
		t.Fatal(err)
	}
	p.must(p.examine(), "store_damaged")
	if raw, err := os.ReadFile(path); err != nil || len(raw) != len(whole)/2 {
		t.Errorf("doctor moved the damaged store: %v", err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	p.must(p.examine(), "store_missing")
	if err := os.WriteFile(path, whole, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(p.data(), device.IdentityFile), filepath.Join(p.dir, "identity")); err != nil {
		t.Fatal(err)
	}
	p.must(p.examine(), "identity_missing")
	if err := os.Rename(filepath.Join(p.dir, "identity"), filepath.Join(p.data(), device.IdentityFile)); err != nil {
		t.Fatal(err)
	}

	// The secret is wrong; nobody is there.
	t.Setenv("SSG_CLIENT_SECRET", "another-secret-not-a-credential")
	p.must(p.examine(), "provider_credentials")
	t.Setenv("SSG_CLIENT_SECRET", p.sim.hello.ClientSecret)
	p.replace = append(p.replace, "[store]", "[fleet]\nbrokers = [\"tcp://127.0.0.1:1\"]\ntenant = \"acme\"\nsite = \"centro\"\nhub_keys = [\"RCmTBlAEqh5MSPTdAVgZTAI0m8xmTNluQA6iaZGKjVE\"]\n[store]")
	p.sim.end(t)
	p.must(p.examine(), "provider_unreachable", "broker_unreachable")
}

// TestDoctorOnAFullDisk: the disk has no room, or fails, when doctor's page is
// flushed.
func TestDoctorOnAFullDisk(t *testing.T) {
	strace, bin := agenttest.Tool(t, "strace"), agentBinary(t)
	p := newPatient(t)
	config := p.config()
	for inject, want := range map[string]string{
		"fsync:error=ENOSPC": "disk_full",
		"fsync:error=EIO":    "disk_unwritable",
	} {
		cmd := exec.CommandContext(t.Context(), strace, "-f", "-qqq", "-o", os.DevNull, "-e", "signal=none", "-e", "inject="+inject,
			bin, "doctor", "--json", "--config", config)
		var errs strings.Builder
		cmd.Stderr = &errs
		out, err := cmd.Output()
		if exit, ok := errors.AsType[*exec.ExitError](err); err != nil && !ok {
			t.Fatal(exit, err)
		}
		p.must(p.read(cmd.ProcessState.ExitCode(), string(out), errs.String()), want)
	}
}

// TestDoctorOnTime: clocks that are late, unconfirmed and right.
func TestDoctorOnTime(t *testing.T) {
	now := time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)
	for want, test := range map[string]struct {
		now    time.Time
		synced bool
	}{
		"clock_ok": {now.Add(time.Hour), true}, "clock_unsynced": {now.Add(time.Hour), false}, "clock_behind": {now.AddDate(-5, 0, 0), true},
	} {
		var got finding
		d := &doctor{texts: doctorEnglish, report: func(f finding) { got = f }, clock: device.NewClockFrom(device.Sources{
			Now: func() time.Time { return test.now }, Up: func() time.Duration { return 0 }, Boot: func() string { return "b" },
			Synced: func() bool { return test.synced },
		}, now)}
		d.checkClock(t.Context())
		if got.Code != want {
			t.Errorf("got %s, want %s", got.Code, want)
		}
	}
}

// TestDoctorOnCertificates: a broker whose certificate has expired, and one
// that nobody vouches for.
func TestDoctorOnCertificates(t *testing.T) {
	for want, until := range map[string]time.Duration{"tls_time": -time.Hour, "tls_certificate": time.Hour} {
		pub, key, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		template := &x509.Certificate{
			SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-48 * time.Hour), NotAfter: time.Now().Add(until),
			IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		}
		der, err := x509.CreateCertificate(rand.Reader, template, template, pub, key)
		if err != nil {
			t.Fatal(err)
		}
		l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}})
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		go func() { // ends with the listener
			for conn, err := l.Accept(); err == nil; conn, err = l.Accept() {
				_ = conn.(*tls.Conn).Handshake() // the other side refuses
				_ = conn.Close()
			}
		}()
		fleet := FleetConfig{Brokers: []string{"ssl://" + l.Addr().String()}}
		if want == "tls_time" { // vouched for
			fleet.CA = filepath.Join(t.TempDir(), "ca.pem")
			if err := os.WriteFile(fleet.CA, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		var got []finding
		d := &doctor{cfg: Config{Fleet: fleet}, clock: device.NewClock(time.Time{}), texts: doctorEnglish, report: func(f finding) { got = append(got, f) }}
		d.checkBrokers(t.Context())
		if len(got) != 1 || got[0].Code != want {
			t.Errorf("got %+v, want %s", got, want)
		}
	}
}

func TestDoctorSortsProviderErrors(t *testing.T) {
	for want, err := range map[string]error{
		"provider_credentials": &providers.Error{Kind: providers.Auth, HTTP: 401},
		"provider_forbidden":   &providers.Error{Kind: providers.Forbidden, HTTP: 403},
		"provider_busy":        &providers.Error{Kind: providers.Rate, HTTP: 429},
		"provider_operator":    &providers.Error{Kind: providers.Operator},
		"provider_down":        &providers.Error{Kind: providers.Ambiguous, HTTP: 503},
		"provider_dns":         &providers.Error{Kind: providers.NotSent, Err: &net.DNSError{Name: "pix.example.com"}},
		"provider_unreachable": &providers.Error{Kind: providers.NotSent, Err: io.EOF},
		"tls_time":             &providers.Error{Kind: providers.NotSent, Err: x509.CertificateInvalidError{Reason: x509.Expired}},
		"tls_certificate":      fmt.Errorf("x: %w", x509.HostnameError{Certificate: &x509.Certificate{}, Host: "h"}),
	} {
		if got, _ := providerTrouble(err); got != want {
			t.Errorf("%v: got %s, want %s", err, got, want)
		}
	}
}

// TestDoctorTexts: both languages say the same things, every code that is used
// has words, every problem a remedy, and docs/operating.md lists them all.
func TestDoctorTexts(t *testing.T) {
	verbs := regexp.MustCompile(`%[a-z]`)
	for code, pt := range doctorPortuguese {
		en, ok := doctorEnglish[code]
		if !ok || !slices.Equal(verbs.FindAllString(pt.what, -1), verbs.FindAllString(en.what, -1)) || (pt.remedy == "") != (en.remedy == "") {
			t.Errorf("%s: %q and %q", code, pt, en)
		}
	}
	if len(doctorEnglish) != len(doctorPortuguese) {
		t.Errorf("%d texts in English, %d in Portuguese", len(doctorEnglish), len(doctorPortuguese))
	}
	var source []byte
	for _, name := range []string{"doctor_checks.go", "facade.go"} {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		source = append(source, text...)
	}
	for _, m := range regexp.MustCompile(`check(?:OK|Warn|Fail), "([a-z_]+)"`).FindAllStringSubmatch(string(source), -1) {
		if _, ok := doctorPortuguese[m[1]]; !ok && !strings.HasSuffix(m[1], "_") {
			t.Errorf("%s has no words", m[1])
		}
	}
	const path, mark = "../../docs/operating.md", "<!-- The rest is made from cmd/agent/doctor_text.go by go test ./cmd/agent -update -->\n"
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	head, _, ok := strings.Cut(string(text), mark)
	if !ok {
		t.Fatalf("%s has lost the line %s", path, mark)
	}
	var b strings.Builder
	b.WriteString(head + mark + "\n| código | significa | o que fazer |\n|---|---|---|\n")
	codes := make([]string, 0, len(doctorPortuguese))
	for code, words := range doctorPortuguese {
		if words.remedy != "" {
			codes = append(codes, code)
		}
	}
	slices.Sort(codes)
	for _, code := range codes {
		words := doctorPortuguese[code]
		what := strings.Trim(strings.TrimSuffix(verbs.ReplaceAllString(words.what, "…"), "…"), ": ")
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", code, what, strings.ReplaceAll(words.remedy, "|", `\|`))
	}
	goldenFile(t, path, b.String())
}

func TestDoctorUsage(t *testing.T) {
	for _, args := range [][]string{{"doctor"}, {"doctor", "--config", "none.toml"}, {"doctor", "--config", "x", "y"}} {
		if code, _, errs := runMain(t, args...); code != 2 || errs == "" {
			t.Errorf("%v: exit %d, %s", args, code, errs)
		}
	}
	ctx, stop := context.WithCancel(t.Context())
	stop()
	p := newPatient(t)
	if code := run(ctx, &globals{stdout: io.Discard, stderr: io.Discard}, []string{"doctor", "--config", p.config()}); code != 1 {
		t.Errorf("interrupted: exit %d", code)
	}
}
