package main

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"

	"github.com/ssg-safe/agent/fleet/wire"
	"github.com/ssg-safe/agent/hub"
	"github.com/ssg-safe/agent/internal/agenttest"
)

func readDoc(t *testing.T, path ...string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(append([]string{"..", ".."}, path...)...))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// block is the code between a begin and an end mark of docs/hub.md.
func block(t *testing.T, name string) string {
	t.Helper()
	_, rest, _ := strings.Cut(readDoc(t, "docs", "hub.md"), "<!-- begin "+name+" -->\n```\n")
	text, _, ok := strings.Cut(rest, "```\n<!-- end -->")
	if !ok {
		t.Fatalf("docs/hub.md has no block %s", name)
	}
	return text
}

// Every kind of alarm, every reason and every command of the documents exists,
// and the other way round.
func TestDocumentsKnowEverything(t *testing.T) {
	text := readDoc(t, "docs", "hub.md")
	for _, file := range []struct{ name, prefix string }{{"alarm.go", "Alarm"}, {"stats.go", "Drop"}} {
		parsed, err := parser.ParseFile(token.NewFileSet(), filepath.Join("..", "..", "hub", file.name), nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		ast.Inspect(parsed, func(node ast.Node) bool {
			spec, ok := node.(*ast.ValueSpec)
			if !ok || !strings.HasPrefix(spec.Names[0].Name, file.prefix) {
				return true
			}
			value, ok := spec.Values[0].(*ast.BasicLit)
			if !ok {
				return true
			}
			n++
			if word := strings.Trim(value.Value, `"`); word != "closed" && !strings.Contains(text, "`"+word+"`") {
				t.Errorf("docs/hub.md does not explain %s", word)
			}
			return true
		})
		if n < 13 {
			t.Errorf("%d constants were found in %s", n, file.name)
		}
	}
	commands := regexp.MustCompile("(?m)ssg-hub ([a-z][a-z -]*)")
	for _, doc := range []string{text, readDoc(t, "README.md"), readDoc(t, "configs", "hub.toml"), readDoc(t, "cmd", "agent", "config.go")} {
		found := commands.FindAllStringSubmatch(doc, -1)
		if len(found) == 0 {
			t.Errorf("no command in %.40q", doc)
		}
		for _, m := range found {
			words := strings.Fields(m[1])
			cmd, _, err := newRootCmd(&globals{}).Find(words[:min(2, len(words))])
			if err != nil || cmd.CommandPath() == "ssg-hub" {
				t.Errorf("a document names ssg-hub %s: %v", m[1], err)
			}
		}
	}
}

// The broker's configuration in docs/hub.md works: with it a terminal reaches the
// hub, and no other terminal can speak for it.
func TestMosquittoAsDocumented(t *testing.T) {
	mosquitto := agenttest.Tool(t, "mosquitto")
	ca, dir, data := agenttest.NewAuthority(t), t.TempDir(), t.TempDir()
	certificate, key := ca.Issue("server")
	addr := freeAddress(t)
	_, port, _ := strings.Cut(addr, ":")
	acl := filepath.Join(dir, "acl")
	conf := strings.NewReplacer("listener 8883", "listener "+port+" 127.0.0.1", "/etc/mosquitto/ca.pem", ca.File,
		"/etc/mosquitto/server.pem", certificate, "/etc/mosquitto/server.key", key, "/etc/mosquitto/acl", acl).Replace(block(t, "mosquitto.conf"))
	for path, text := range map[string]string{acl: block(t, "acl"), filepath.Join(dir, "mosquitto.conf"): conf} {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(filepath.Dir(dir), 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), mosquitto, "-c", filepath.Join(dir, "mosquitto.conf"))
	var log lockedBuffer
	cmd.Stdout, cmd.Stderr = &log, &log
	if os.Geteuid() == 0 { // it would give its rights away, and could not read the files
		conf += "user root\n"
		if err := os.WriteFile(filepath.Join(dir, "mosquitto.conf"), []byte(conf), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait() // says that it was killed
		if t.Failed() {
			t.Logf("mosquitto: %s", &log)
		}
	})

	must(t, data, "keys", "make")
	own, private := ca.Issue("ssg-hub")
	startHub(t, data, fmt.Sprintf("[broker]\naddresses = [\"ssl://%s\"]\nca = %q\ncertificate = %q\nprivate_key = %q\n", addr, ca.File, own, private))
	enrol(t, data, 1, "kiosk-1")
	enrol(t, data, 2, "kiosk-2")
	options := func(name string) *paho.ClientOptions {
		return paho.NewClientOptions().SetTLSConfig(&tls.Config{RootCAs: ca.Pool, Certificates: []tls.Certificate{ca.Pair(name)}})
	}
	d := &terminal{t: t, name: "kiosk-1", seed: 1}
	eventually(t, "mosquitto listens", func() bool { return d.connect("ssl://"+addr, options("kiosk-1"), pinned(t, data)) })
	eventually(t, "the hub is connected", func() bool {
		text, err := wire.Encode(wire.State{V: 1, On: true, SID: "s", Boot: "b", Version: "1", At: time.Now()})
		if err != nil {
			t.Fatal(err)
		}
		topic := wire.Topic{Tenant: "acme", Site: "lobby", Device: "kiosk-1", Up: true, Channel: wire.ChannelState}
		d.client.Publish(topic.String(), 1, false, text).WaitTimeout(5 * time.Second)
		return strings.Contains(must(t, data, "device", "list", "--json"), `"presence"`)
	})
	d.send()

	// kiosk-2 speaks for kiosk-1, and then for itself.
	thief := &terminal{t: t, name: "kiosk-2", seed: 2}
	if !thief.connect("ssl://"+addr, options("kiosk-2"), pinned(t, data)) {
		t.Fatal("kiosk-2 is refused")
	}
	before := packets(t, data)
	for _, topic := range []string{"fleet/v1/acme/lobby/kiosk-1/up/hello", "fleet/v1/acme/lobby/kiosk-1/down/ack"} {
		thief.client.Publish(topic, 1, false, []byte("{}")).WaitTimeout(5 * time.Second)
	}
	thief.send()
	if got := packets(t, data); got != before+1 {
		t.Errorf("the hub got %d packets, want the thief's own one", got-before)
	}
}

func packets(t *testing.T, data string) uint64 {
	t.Helper()
	var s hub.Stats
	if err := json.Unmarshal([]byte(must(t, data, "status", "--json")), &s); err != nil {
		t.Fatal(err)
	}
	return s.Packets
}

// The certificates of docs/hub.md work.
func TestOpenSSLAsDocumented(t *testing.T) {
	dir, data := t.TempDir(), t.TempDir()
	cmd := exec.CommandContext(t.Context(), "sh", "-e", "-c", block(t, "openssl"))
	cmd.Dir = dir
	agenttest.Tool(t, "openssl")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	must(t, data, "keys", "make")
	addr := freeAddress(t)
	startHub(t, data, fmt.Sprintf("[listen]\naddress = %q\ncertificate = %q\nprivate_key = %q\n", addr, filepath.Join(dir, "server.pem"), filepath.Join(dir, "server.key")))
	enrol(t, data, 1, "kiosk-1")
	password := strings.TrimSpace(must(t, data, "device", "password", "kiosk-1"))
	pem, err := os.ReadFile(filepath.Join(dir, "ca.pem"))
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		t.Fatal("ca.pem holds no certificate")
	}
	d := &terminal{t: t, name: "kiosk-1", seed: 1}
	if !d.connect("ssl://"+addr, paho.NewClientOptions().SetUsername("kiosk-1").SetPassword(password).SetTLSConfig(&tls.Config{RootCAs: pool}), pinned(t, data)) {
		t.Fatal("refused")
	}
	d.send()
}
