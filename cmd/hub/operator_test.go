package main

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"

	"github.com/ssg-safe/agent/fleet/wire"
	"github.com/ssg-safe/agent/hub"
	"github.com/ssg-safe/agent/hub/bolt"
	"github.com/ssg-safe/agent/internal/agenttest"
	"github.com/ssg-safe/agent/internal/cli"
	"github.com/ssg-safe/agent/ledger"
)

func keyOf(seed byte) ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed(slices.Repeat([]byte{seed}, ed25519.SeedSize))
}

func publicOf(seed byte) string { return wire.EncodeKey(keyOf(seed).Public().(ed25519.PublicKey)) }

// must runs a command that succeeds, and returns what it prints.
func must(t *testing.T, data string, args ...string) string {
	t.Helper()
	code, stdout, stderr := hubMain(t, append(args, "--data", data)...)
	if code != 0 {
		t.Fatalf("%q: exit code %d: %s", args, code, stderr)
	}
	return stdout
}

// The same commands do the same whether a hub runs or not.
func TestOperator(t *testing.T) {
	t.Run("stopped", func(t *testing.T) {
		data := t.TempDir()
		must(t, data, "keys", "make")
		operate(t, data)
	})
	t.Run("running", func(t *testing.T) {
		data := t.TempDir()
		must(t, data, "keys", "make")
		startHub(t, data, "[listen]\naddress = \"127.0.0.1:0\"\n")
		operate(t, data)
	})
}

func operate(t *testing.T, data string) {
	const name = "kiosk-1"
	add := []string{"device", "add", name, "--key", publicOf(1), "--tenant", "acme", "--site", "lobby"}
	if got := must(t, data, add...); got != "kiosk-1 is enrolled at acme/lobby\n" {
		t.Errorf("add: %q", got)
	}
	if got := must(t, data, append(add, "--json")...); got != `{"event":"device_added","device":"kiosk-1"}`+"\n" {
		t.Errorf("add again: %q", got)
	}
	other := slices.Clone(add)
	other[4] = publicOf(2)
	if code, _, stderr := hubMain(t, append(other, "--data", data)...); code != 1 || !strings.Contains(stderr, "something else is recorded") {
		t.Errorf("another key: exit code %d, %s", code, stderr)
	}
	show := func() (d deviceInfo) {
		t.Helper()
		if err := json.Unmarshal([]byte(must(t, data, "device", "show", name, "--json")), &d); err != nil {
			t.Fatal(err)
		}
		return d
	}
	if d := show(); d.Event != "device" || d.Tenant != "acme" || d.State != "new" || d.Key != publicOf(1) {
		t.Errorf("show: %+v", d)
	}

	must(t, data, "device", "move", name, "--site", "vault")
	must(t, data, "device", "revoke", name)
	if d := show(); d.Site != "vault" || d.State != "revoked" {
		t.Errorf("moved and revoked: %+v", d)
	}
	must(t, data, "device", "reinstate", name)
	must(t, data, "device", "approve-epoch", name, "7")
	must(t, data, "device", "approve-gap", name)
	if code, _, stderr := hubMain(t, "device", "approve-fork", name, "--data", data); code != 1 || !strings.Contains(stderr, "it has none") {
		t.Errorf("a fork that is not there: exit code %d, %s", code, stderr)
	}
	if got := must(t, data, "device", "list"); !strings.Contains(got, "kiosk-1  acme/vault   ok     ?       0/0") {
		t.Errorf("list:\n%s", got)
	}

	first, second := must(t, data, "device", "password", name), must(t, data, "device", "password", name, "--json")
	if len(first) < 25 || strings.Contains(second, first) {
		t.Errorf("passwords %q and %q", first, second)
	}
	if got := must(t, data, "verify", "--json"); !strings.Contains(got, `"ok":true,"device":"kiosk-1","state":"ok"`) {
		t.Errorf("verify: %s", got)
	}
	if got := must(t, data, "alarms", "list"); got != "no alarms\n" {
		t.Errorf("alarms: %q", got)
	}

	// A backup is a store, whole, with what was entered.
	backup := filepath.Join(t.TempDir(), "hub.db")
	must(t, data, "backup", backup)
	must(t, data, "backup", backup) // over the older one
	if n := must(t, filepath.Dir(backup), "device", "list", "--json"); strings.Count(n, "\n") != 1 {
		t.Errorf("the backup's devices: %q", n)
	}
	if code, _, _ := hubMain(t, "backup", filepath.Join(t.TempDir(), "none", "hub.db"), "--data", data); code != 1 {
		t.Errorf("a backup into no folder: exit code %d", code)
	}
	if text, err := os.ReadFile(backup); err != nil || bytes.Contains(text, []byte(strings.TrimSpace(first))) || bytes.Contains(text, []byte("PRIVATE KEY")) {
		t.Errorf("the backup holds a secret, %v", err)
	}
}

// What the running hub has done is told as it would be without it: output,
// messages and exit code; and another user cannot reach it.
func TestControlSocket(t *testing.T) {
	data := t.TempDir()
	must(t, data, "keys", "make")
	r := startHub(t, data, "[listen]\naddress = \"127.0.0.1:0\"\n")
	info, err := os.Stat(socketPath(data))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("socket %v, %v", info, err)
	}
	if code, stdout, stderr := hubMain(t, "device", "show", "nobody", "--data", data); code != 1 || stdout != "" || !strings.HasPrefix(stderr, "ssg-hub: device nobody: not found") {
		t.Errorf("exit code %d, %q, %q", code, stdout, stderr)
	}
	// The command line is read by the hub, too: what it cannot do there it says.
	code, _, stderr := func() (int, string, string) {
		var out, errs bytes.Buffer
		g := &globals{stdout: &out, stderr: &errs, args: []string{"serve", "--config", "x"}}
		err := g.handOver(t.Context(), data)
		c, _ := err.(cli.Done)
		return int(c), out.String(), errs.String()
	}()
	if code != 1 || !strings.Contains(stderr, "running already") {
		t.Errorf("a second serve inside: exit code %d, %q", code, stderr)
	}
	for _, junk := range []string{"", "\n", "{", `{"args":1}` + "\n", strings.Repeat("x", maxOrder+1)} {
		conn, err := net.Dial("unix", socketPath(data))
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprint(conn, junk)
		conn.Close()
	}
	must(t, data, "device", "list")
	r.end(0)
	if _, err := os.Stat(socketPath(data)); err == nil {
		if code, _, _ := hubMain(t, "device", "list", "--data", data); code != 0 {
			t.Error("a dead hub's socket is in the way")
		}
	}
	// A socket that nobody answers on any more.
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(data, "dead.sock"), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
	if err := os.Rename(filepath.Join(data, "dead.sock"), socketPath(data)); err != nil {
		t.Fatal(err)
	}
	must(t, data, "device", "list")
	startHub(t, data, "[listen]\naddress = \"127.0.0.1:0\"\n")
	must(t, data, "device", "list")
}

// Another process may hold the store for a moment, and says so when it goes on.
func TestLockedStore(t *testing.T) {
	data := t.TempDir()
	s, err := bolt.Open(bolt.Options{Path: storePath(data)})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if code, _, stderr := hubMain(t, "device", "list", "--data", data); code != 1 || !strings.Contains(stderr, "another process holds the hub's store") {
		t.Errorf("exit code %d, %s", code, stderr)
	}
}

func TestKeys(t *testing.T) {
	data := t.TempDir()
	pins := func(args ...string) []string {
		t.Helper()
		var line struct {
			Signing string
			HubKeys []string `json:"hub_keys"`
		}
		if err := json.Unmarshal([]byte(must(t, data, append(args, "--json")...)), &line); err != nil {
			t.Fatal(err)
		}
		if pub, err := wire.ParseKey(line.HubKeys[0]); err != nil || wire.KeyID(pub) != line.Signing {
			t.Errorf("%v: the key that signs does not come first: %+v", args, line)
		}
		return line.HubKeys
	}
	first := pins("keys", "make")
	if got := must(t, data, "keys", "pin"); got != fmt.Sprintf("hub_keys = [%q]\n", first[0]) {
		t.Errorf("pin: %q", got)
	}
	r := startHub(t, data, "[listen]\naddress = \"127.0.0.1:0\"\n")
	both := pins("keys", "make")
	if len(both) != 2 || both[0] != first[0] {
		t.Errorf("the next key: %q after %q", both, first)
	}
	if code, _, stderr := hubMain(t, "keys", "make", "--data", data); code != 1 || !strings.Contains(stderr, "rotate to it first") {
		t.Errorf("a third key: exit code %d, %s", code, stderr)
	}
	if got := pins("keys", "rotate"); len(got) != 1 || got[0] != both[1] {
		t.Errorf("after rotate: %q", got)
	}
	if got := pins("keys", "rotate", "--back"); got[0] != first[0] {
		t.Errorf("after rotate --back: %q", got)
	}
	r.end(0)
	if got := pins("keys", "pin"); len(got) != 2 || got[0] != first[0] {
		t.Errorf("after a stop: %q", got)
	}
	for _, name := range []string{"signing.pem", "next.pem"} {
		if info, err := os.Stat(filepath.Join(keysPath(data), name)); err != nil || info.Mode().Perm() != fs.FileMode(0o600) {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
}

// terminal is a device on MQTT, as simple as can be.
type terminal struct {
	t      *testing.T
	name   string
	seed   byte
	client paho.Client
	acks   chan wire.Ack
}

// connect tries to; false when the broker refuses it.
func (d *terminal) connect(addr string, o *paho.ClientOptions, pins wire.Keys) bool {
	d.t.Helper()
	d.acks = make(chan wire.Ack, 16)
	o.AddBroker(addr).SetClientID(d.name).SetConnectTimeout(time.Minute).SetAutoReconnect(false).SetProtocolVersion(4)
	d.client = paho.NewClient(o)
	if tok := d.client.Connect(); !tok.WaitTimeout(time.Minute) || tok.Error() != nil {
		return false
	}
	d.t.Cleanup(func() { d.client.Disconnect(0) })
	tok := d.client.Subscribe(wire.Subscription("acme", "lobby", d.name), 0, func(_ paho.Client, m paho.Message) {
		var a wire.Ack
		if err := pins.Open(m.Payload(), wire.TypAck, d.name, time.Now(), true, &a); err == nil {
			d.acks <- a
		}
	})
	if !tok.WaitTimeout(time.Minute) || tok.Error() != nil {
		d.t.Fatalf("subscribe: %v", tok.Error())
	}
	return true
}

// send publishes one entry, and waits for its acknowledgement.
func (d *terminal) send() {
	d.t.Helper()
	raw := fmt.Appendf(nil, `{"v":1,"epoch":1,"seq":1,"prev":"%s","at":{"wall":"2026-01-02T03:04:05.000Z","boot":"boot-1","up_ms":5,"quality":"synced"},"op":"op/1","kind":"test.kind","actor":"test","evidence":null,"postings":[],"data":{}}`, ledger.Hash{})
	head := ledger.Head{Position: ledger.Position{Epoch: 1, Seq: 1}, Hash: ledger.HashOf(raw)}
	signed, err := ledger.Sign(keyOf(d.seed), ledger.Checkpoint{Device: d.name, Head: head, Boot: "boot-1", Wall: time.Now()})
	if err != nil {
		d.t.Fatal(err)
	}
	payload, err := wire.Batch{V: 1, SID: "s", From: head.Position, Entries: [][]byte{raw}, Checkpoint: &signed}.Encode()
	if err != nil {
		d.t.Fatal(err)
	}
	topic := wire.Topic{Tenant: "acme", Site: "lobby", Device: d.name, Up: true, Channel: wire.ChannelLedger}
	if tok := d.client.Publish(topic.String(), 1, false, payload); !tok.WaitTimeout(time.Minute) || tok.Error() != nil {
		d.t.Fatalf("publish: %v", tok.Error())
	}
	select {
	case a := <-d.acks:
		if a.Seq != 1 || a.Head != head.Hash {
			d.t.Errorf("acknowledged %+v, want %v", a, head)
		}
	case <-time.After(time.Minute):
		d.t.Error("it is not acknowledged")
	}
}

func pinned(t *testing.T, data string) wire.Keys {
	t.Helper()
	keys, err := hub.LoadKeys(keysPath(data))
	if err != nil {
		t.Fatal(err)
	}
	pins, err := wire.NewKeys(keys.Pin()...)
	if err != nil {
		t.Fatal(err)
	}
	return pins
}

func enrol(t *testing.T, data string, seed byte, names ...string) {
	t.Helper()
	for _, name := range names {
		must(t, data, "device", "add", name, "--key", publicOf(seed), "--tenant", "acme", "--site", "lobby")
	}
}

// The broker inside lets in who is in the registry, by password or by
// certificate, and nobody else.
func TestBrokerInside(t *testing.T) {
	ca := agenttest.NewAuthority(t)
	certificate, key := ca.Issue("hub")
	server := fmt.Sprintf("certificate = %q\nprivate_key = %q\n", certificate, key)

	t.Run("passwords", func(t *testing.T) {
		data := t.TempDir()
		must(t, data, "keys", "make")
		addr := freeAddress(t)
		startHub(t, data, fmt.Sprintf("[listen]\naddress = %q\n%s", addr, server))
		enrol(t, data, 1, "kiosk-1", "kiosk-2")
		password := strings.TrimSpace(must(t, data, "device", "password", "kiosk-1"))
		try := func(user, password string) bool {
			d := &terminal{t: t, name: user, seed: 1}
			ok := d.connect("ssl://"+addr, paho.NewClientOptions().SetUsername(user).SetPassword(password).SetTLSConfig(&tls.Config{RootCAs: ca.Pool}), pinned(t, data))
			if ok {
				d.send()
				d.client.Disconnect(100)
			}
			return ok
		}
		if !try("kiosk-1", password) {
			t.Error("the right password is refused")
		}
		for _, who := range [][2]string{{"kiosk-1", "wrong"}, {"kiosk-1", ""}, {"kiosk-2", password}, {"kiosk-2", ""}, {"nobody", password}, {"", ""}, {"ssg-hub", ""}} {
			if try(who[0], who[1]) {
				t.Errorf("%q with %q is let in", who[0], who[1])
			}
		}
		// With a new password the old one is worth nothing, connected or not.
		d := &terminal{t: t, name: "kiosk-1", seed: 1}
		if !d.connect("ssl://"+addr, paho.NewClientOptions().SetUsername("kiosk-1").SetPassword(password).SetTLSConfig(&tls.Config{RootCAs: ca.Pool}), pinned(t, data)) {
			t.Fatal("the right password is refused")
		}
		old := password
		password = strings.TrimSpace(must(t, data, "device", "password", "kiosk-1"))
		eventually(t, "the connection with the old password has ended", func() bool { return !d.client.IsConnectionOpen() })
		if try("kiosk-1", old) {
			t.Error("the old password is let in")
		}
		must(t, data, "device", "revoke", "kiosk-1")
		if try("kiosk-1", password) {
			t.Error("a revoked terminal is let in")
		}
	})
	t.Run("certificates", func(t *testing.T) {
		data := t.TempDir()
		must(t, data, "keys", "make")
		addr := freeAddress(t)
		startHub(t, data, fmt.Sprintf("[listen]\naddress = %q\n%sclient_ca = %q\n", addr, server, ca.File))
		enrol(t, data, 1, "kiosk-1")
		stranger := agenttest.NewAuthority(t)
		try := func(name string, certificates ...tls.Certificate) bool {
			d := &terminal{t: t, name: name, seed: 1}
			ok := d.connect("ssl://"+addr, paho.NewClientOptions().SetTLSConfig(&tls.Config{RootCAs: ca.Pool, Certificates: certificates}), pinned(t, data))
			if ok {
				d.send()
				d.client.Disconnect(100)
			}
			return ok
		}
		if !try("kiosk-1", ca.Pair("kiosk-1")) {
			t.Error("the right certificate is refused")
		}
		for what, ok := range map[string]bool{
			"one that is not enrolled": try("kiosk-9", ca.Pair("kiosk-9")),
			"one without certificate":  try("kiosk-1"),
			"a stranger's certificate": try("kiosk-1", stranger.Pair("kiosk-1")),
			"another's name":           try("kiosk-1", ca.Pair("kiosk-9")),
		} {
			if ok {
				t.Errorf("%s is let in", what)
			}
		}
		must(t, data, "device", "revoke", "kiosk-1")
		if try("kiosk-1", ca.Pair("kiosk-1")) {
			t.Error("a revoked terminal is let in")
		}
	})
}

// freeAddress is one on the loopback interface that nobody listens on.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(context.WithoutCancel(t.Context()), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}
