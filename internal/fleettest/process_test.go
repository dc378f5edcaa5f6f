package fleettest

import (
	"context"
	"crypto/ed25519"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ssg-safe/agent/fleet/wire"
	"github.com/ssg-safe/agent/hub"
	"github.com/ssg-safe/agent/hub/bolt"
	"github.com/ssg-safe/agent/hub/broker"
	"github.com/ssg-safe/agent/internal/agenttest"
)

// The test binary is also the hub and the embedded broker: processes that can
// be killed.
const roleVariable = "SSG_FLEETTEST_ROLE"

func TestMain(m *testing.M) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	var err error
	switch role, args, _ := strings.Cut(os.Getenv(roleVariable), " "); role {
	case "hub":
		err = serveHub(ctx, args, func(st hub.Store) hub.Store { return st })
	case "hasty-hub":
		err = serveHub(ctx, args, func(st hub.Store) hub.Store { return newHasty(ctx, st) })
	case "broker":
		var b *broker.Broker
		if b, err = broker.New(broker.Options{Addr: args}); err == nil {
			err = b.Run(ctx)
		}
	default:
		// Of the one processor that package bubbles leaves, go test would conclude
		// to run one test at a time; but most of each is waiting.
		flag.Parse()
		if err = flag.Set("test.parallel", "2"); err == nil {
			os.Exit(m.Run())
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func serveHub(ctx context.Context, args string, as func(hub.Store) hub.Store) error {
	dir, brokers, _ := strings.Cut(args, " ")
	st, err := bolt.Open(bolt.Options{Path: filepath.Join(dir, "hub.db")})
	if err != nil {
		return err
	}
	signer, err := wire.NewSigner(hubKey())
	if err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	h, err := hub.New(hub.Options{Store: as(st), Signer: signer, Logger: log})
	if err != nil {
		return err
	}
	link, err := hub.NewMQTT(hub.MQTTOptions{Brokers: strings.Fields(brokers), Logger: log})
	if err != nil {
		return err
	}
	return errors.Join(h.Run(ctx, link), st.Close())
}

// hasty is a store that says of everything that it is durable, and commits a
// moment later: the fault that the test must see.
type hasty struct{ calls chan func(hub.Tx) }

func newHasty(ctx context.Context, st hub.Store) hasty {
	h := hasty{make(chan func(hub.Tx))}
	go func() {
		for ctx.Err() == nil {
			_ = st.Update(ctx, func(tx hub.Tx) error {
				for moment := time.After(time.Second); ; {
					select {
					case call := <-h.calls:
						call(tx)
					case <-moment:
						return nil
					}
				}
			})
		}
	}()
	return h
}

func (h hasty) Update(_ context.Context, fn func(hub.Tx) error) error {
	err := make(chan error)
	h.calls <- func(tx hub.Tx) { err <- fn(tx) }
	return <-err
}

func (h hasty) View(ctx context.Context, fn func(hub.Tx) error) error { return h.Update(ctx, fn) }

func key(seed byte) ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed(slices.Repeat([]byte{seed}, ed25519.SeedSize))
}

func hubKey() ed25519.PrivateKey { return key(200) }

func public(k ed25519.PrivateKey) ed25519.PublicKey { return k.Public().(ed25519.PublicKey) }

// process is a program that is killed and started again.
type process struct {
	t    *testing.T
	make func() *exec.Cmd

	mu  sync.Mutex // guards cmd
	cmd *exec.Cmd
}

func newProcess(t *testing.T, make func() *exec.Cmd) *process {
	p := &process{t: t, make: make}
	t.Cleanup(p.kill)
	p.start()
	return p
}

func (p *process) start() {
	p.t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	cmd := p.make()
	if err := cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	p.cmd = cmd
}

// kill ends it by SIGKILL and waits until it is gone.
func (p *process) kill() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd != nil {
		p.cmd.Process.Kill()
		p.cmd.Wait() // says that it was killed
		p.cmd = nil
	}
}

func self(t *testing.T, role string) *exec.Cmd {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), roleVariable+"="+role)
	cmd.Stderr = t.Output()
	return cmd
}

// freePort is a port of the loopback interface that nobody listens on.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// listening waits until somebody accepts connections.
func listening(t *testing.T, addr string) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			c.Close()
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("nobody listens on %s: %v", addr, err)
		}
	}
}

// mochi is the embedded broker in a process of its own.
func mochi(t *testing.T) ([]*process, []string) {
	addr := "127.0.0.1:" + freePort(t)
	return []*process{newProcess(t, func() *exec.Cmd { return self(t, "broker "+addr) })}, []string{addr}
}

// mosquitto is the broker of Debian's package.
func mosquitto(t *testing.T) ([]*process, []string) {
	port := freePort(t)
	conf := filepath.Join(t.TempDir(), "mosquitto.conf")
	text := "listener " + port + " 127.0.0.1\nallow_anonymous true\nmax_queued_messages 0\nmax_inflight_messages 0\npersistence false\nlog_type error\n"
	if err := os.WriteFile(conf, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	tool := agenttest.Tool(t, "mosquitto")
	return []*process{newProcess(t, func() *exec.Cmd {
		cmd := exec.Command(tool, "-c", conf)
		cmd.Stderr = t.Output()
		return cmd
	})}, []string{"127.0.0.1:" + port}
}

// nats is a cluster of three nodes.
func nats(t *testing.T) ([]*process, []string) {
	dir := t.TempDir()
	tool := filepath.Join(dir, "nats-server")
	build := exec.Command("go", "build", "-modfile=tools/go.mod", "-o", tool, "github.com/nats-io/nats-server/v2")
	build.Dir = agenttest.Root(t)
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("nats-server: %v\n%s", err, out)
	}
	ports := make([][3]string, 3)
	for i := range ports {
		ports[i] = [3]string{freePort(t), freePort(t), freePort(t)}
	}
	var nodes []*process
	var addrs []string
	for i, p := range ports {
		var routes []string
		for _, o := range ports {
			routes = append(routes, "nats://127.0.0.1:"+o[1])
		}
		conf := filepath.Join(dir, fmt.Sprintf("n%d.conf", i))
		text := fmt.Sprintf(`server_name: n%d
listen: "127.0.0.1:%s"
jetstream { store_dir: "%s/js%d" }
cluster { name: fleet, listen: "127.0.0.1:%s", routes: ["%s"] }
mqtt { listen: "127.0.0.1:%s" }
`, i, p[0], dir, i, p[1], strings.Join(routes, `","`), p[2])
		if err := os.WriteFile(conf, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		nodes = append(nodes, newProcess(t, func() *exec.Cmd { return exec.Command(tool, "-c", conf) }))
		addrs = append(addrs, "127.0.0.1:"+p[2])
	}
	return nodes, addrs
}
