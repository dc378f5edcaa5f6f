package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"
)

// configuration of the agent that is started: a screen, a provider that is not
// asked anything, a printer made of software.
const configuration = `version = 1
data = %q

[terminal]
code = "B001"
name = "` + screenMark + `"

[[merchant]]
id = "loja"
cnpj = "11222333000181"
name = "Padaria"
city = "São Paulo"
pix_key = "11222333000181"
provider = "ssg"
account = "06919b2b-4274-457a-84b0-4cf4de1405fb"

[[provider]]
name = "ssg"
type = "ssg"
url = "https://pix.example.com"
client_id = "bench"
client_secret = { env = "BENCH_SECRET" }

[printer]
kind = "virtual"
path = %q
`

// What stands on every screen, and on the idle one alone.
const (
	screenMark = "Totem-Medido"
	idleMark   = "Digite o valor"
)

// agent is the built program on a pseudo-terminal.
type agent struct {
	cmd     *exec.Cmd
	began   time.Time
	screen  time.Duration // until the first screen was on the terminal
	idle    time.Duration // until the idle screen was
	ready   time.Duration // until it said READY=1, as it does to systemd
	reading sync.WaitGroup
	mu      sync.Mutex // guards glass
	glass   glass
}

// start starts the agent on a data directory and returns when it is ready: its
// idle screen drawn and READY=1 sent.
func (e *env) start(ctx context.Context, data string) (a *agent, err error) {
	binary, err := e.build(ctx)
	if err != nil {
		return nil, err
	}
	config := filepath.Join(e.dir, "agent.toml")
	text := fmt.Sprintf(configuration, data, filepath.Join(e.dir, "slips"))
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return nil, err
	}
	socket := filepath.Join(e.dir, "notify")
	if err := os.Remove(socket); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	notify, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		return nil, err
	}
	defer notify.Close()
	a = &agent{cmd: exec.Command(binary, "run", "--config", config)}
	a.cmd.Env = append(os.Environ(), "TERM=linux", "LC_ALL=C.UTF-8", "BENCH_SECRET=not-a-credential", "NOTIFY_SOCKET="+socket)
	a.began = time.Now()
	terminal, err := pty.StartWithSize(a.cmd, &pty.Winsize{Rows: rows, Cols: columns})
	if err != nil {
		return nil, err
	}
	drawn := make(chan struct{})
	a.reading.Go(func() {
		a.read(terminal, drawn)
		_ = terminal.Close()
	})
	said := make(chan error, 1)
	go func() { said <- a.hear(notify) }()
	limit := time.After(time.Minute)
	for range 2 {
		select {
		case <-drawn:
			drawn = nil
		case err = <-said:
			said = nil
		case <-limit:
			err = errors.New("the agent was not ready within a minute")
		case <-ctx.Done():
			err = ctx.Err()
		}
		if err != nil {
			return nil, errors.Join(err, a.end(), fmt.Errorf("its screen:\n%s", a.shown()))
		}
	}
	return a, nil
}

// read takes what the agent draws, until it ends, and notes when the marks came.
func (a *agent) read(terminal io.Reader, idle chan<- struct{}) {
	buffer := make([]byte, 32<<10)
	for {
		n, err := terminal.Read(buffer)
		at := time.Since(a.began)
		if err != nil {
			return
		}
		a.mu.Lock()
		a.glass.write(buffer[:n])
		if a.screen == 0 && a.glass.shows(screenMark) {
			a.screen = at
		}
		if a.idle == 0 && a.glass.shows(idleMark) {
			a.idle = at
			close(idle)
		}
		a.mu.Unlock()
	}
}

// hear waits for READY=1.
func (a *agent) hear(notify *net.UnixConn) error {
	buffer := make([]byte, 4096)
	for {
		n, err := notify.Read(buffer)
		if err != nil {
			return err
		}
		for line := range strings.Lines(string(buffer[:n])) {
			if strings.TrimSpace(line) == "READY=1" {
				a.ready = time.Since(a.began)
				return nil
			}
		}
	}
}

// shown is what stands on the agent's screen.
func (a *agent) shown() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.glass.String()
}

// end stops the agent as systemd does, and waits for it.
func (a *agent) end() error {
	if err := a.cmd.Process.Signal(unix.SIGTERM); err != nil {
		return err
	}
	stuck := time.AfterFunc(15*time.Second, func() { _ = a.cmd.Process.Kill() })
	defer stuck.Stop()
	err := a.cmd.Wait()
	a.reading.Wait()
	return err
}
