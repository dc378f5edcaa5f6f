package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/ssg-safe/agent/hub"
	"github.com/ssg-safe/agent/hub/bolt"
	"github.com/ssg-safe/agent/hub/payouts"
	"github.com/ssg-safe/agent/hub/webhook"
	"github.com/ssg-safe/agent/internal/cli"
)

// desk is what operators' commands work on.
type desk struct {
	data  string
	store *bolt.Store
	// hub is the one that runs; nil when none does.
	hub *hub.Hub
	// webhooks are received here; nil where they are not.
	webhooks *webhook.Server
	// book has the payouts of the hub that runs; nil when none does.
	book *payouts.Book
	// evict makes a terminal connect anew to the broker inside; nil where there is
	// none.
	evict func(name string)
	// decided is set when something was decided, which the log is to say.
	decided bool
}

// update writes what an operator decided.
func (d *desk) update(ctx context.Context, fn func(hub.Tx) error) error {
	d.decided = true
	if d.hub != nil {
		return d.hub.Update(ctx, fn)
	}
	return d.store.Update(ctx, fn)
}

// decide writes what an operator decided about a terminal. Its connection to the
// broker inside, which rests on what was decided before, ends.
func (d *desk) decide(ctx context.Context, name string, fn func(hub.Tx) error) error {
	err := d.update(ctx, fn)
	if err == nil && d.evict != nil {
		d.evict(name)
	}
	return err
}

// errNotRunning: the command is one for a running hub.
var errNotRunning = errors.New("the hub is not running, on this --data directory; start it: ssg-hub serve --config FILE")

// withDesk does a command: in the hub that runs, or here where none does.
func (g *globals) withDesk(ctx context.Context, data string, do func(*desk) error) error {
	if g.desk != nil {
		return do(g.desk)
	}
	for first := true; ; first = false {
		if err := g.handOver(ctx, data); !errors.Is(err, errNotRunning) {
			return err
		}
		store, err := bolt.Open(bolt.Options{Path: storePath(data)})
		switch {
		case errors.Is(err, bolt.ErrLocked) && first:
			continue // a hub that was just starting
		case errors.Is(err, fs.ErrNotExist):
			return usageError{fmt.Errorf("no directory %s: name the hub's with --data", data)}
		case errors.Is(err, fs.ErrPermission):
			return fmt.Errorf("%w: run this as the hub's user", err)
		case err != nil:
			return err
		}
		return errors.Join(do(&desk{data: data, store: store}), store.Close())
	}
}

// withHub does a command that only a running hub can do.
func (g *globals) withHub(ctx context.Context, data string, do func(*desk) error) error {
	if g.desk != nil {
		return do(g.desk)
	}
	return g.handOver(ctx, data)
}

func storePath(data string) string  { return filepath.Join(data, "hub.db") }
func keysPath(data string) string   { return filepath.Join(data, "keys") }
func socketPath(data string) string { return filepath.Join(data, "control.sock") }

// maxSocketPath is the longest path of a socket that Linux knows, in bytes.
const maxSocketPath = 107

// On the socket: the command line, what the command is to read, and the language, as
// one line of JSON, then lines with what the command writes, and the exit code in the last. Whoever may open the socket may
// do everything; it is the hub's user's alone (mode 0600).
type (
	order struct {
		Args   []string `json:"args"`
		In     []byte   `json:"in,omitempty"`
		Locale string   `json:"locale,omitempty"`
	}
	answer struct {
		Out  []byte `json:"out,omitempty"`
		Err  []byte `json:"err,omitempty"`
		Code *int   `json:"code,omitempty"`
	}
)

const (
	maxOrder = 64 << 10
	// patience is how long the other side may take to send its command line, or
	// to read a piece of the answer: an export holds a transaction open.
	patience = time.Minute
)

// handOver lets the running hub do the command line. Its error is errNotRunning
// when there is no such hub, a [cli.Done] when it has done it, and nil when it
// has done it well.
func (g *globals) handOver(ctx context.Context, data string) error {
	conn, err := new(net.Dialer).DialContext(ctx, "unix", socketPath(data))
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return errNotRunning
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("the hub is running and does not let this user in: %w: run this as the hub's user", err)
	case err != nil:
		return fmt.Errorf("reach the running hub: %w", err)
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	if err := json.NewEncoder(conn).Encode(order{g.args, g.in, g.locale}); err != nil {
		return fmt.Errorf("reach the running hub: %w", err)
	}
	for in := json.NewDecoder(conn); ; {
		var a answer
		if err := in.Decode(&a); err != nil {
			return fmt.Errorf("the running hub did not finish this: %w", err)
		}
		if a.Code != nil {
			if *a.Code == 0 {
				return nil
			}
			return cli.Done(*a.Code)
		}
		if _, err := g.stdout.Write(a.Out); err != nil {
			return err
		}
		if _, err := g.stderr.Write(a.Err); err != nil {
			return err
		}
	}
}

// control is the running hub's socket.
type control struct {
	desk *desk
	log  *slog.Logger
	// ready is called when commands are taken.
	ready func()
}

// run serves until ctx ends. The store is held by now, so that a socket that is
// there is a dead hub's.
func (c *control) run(ctx context.Context) error {
	path := socketPath(c.desk.data)
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("control socket: %w", err)
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "unix", path)
	if err != nil {
		return fmt.Errorf("control socket: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return errors.Join(err, listener.Close())
	}
	defer context.AfterFunc(ctx, func() { listener.Close() })()
	c.ready()
	var wg sync.WaitGroup
	defer wg.Wait()
	for {
		conn, err := listener.Accept()
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			return errors.Join(fmt.Errorf("control socket: %w", err), listener.Close())
		}
		wg.Go(func() { c.serve(ctx, conn) })
	}
}

// serve does one command, and stops when whoever asked for it has left.
func (c *control) serve(ctx context.Context, conn net.Conn) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var watch sync.WaitGroup
	defer watch.Wait()
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	_ = conn.SetReadDeadline(time.Now().Add(patience))
	in := bufio.NewReader(io.LimitReader(conn, maxOrder))
	line, err := in.ReadBytes('\n')
	var o order
	if err == nil {
		err = json.Unmarshal(line, &o)
	}
	if err != nil {
		c.log.Warn("control socket: no command", "err", err)
		return
	}
	_ = conn.SetReadDeadline(time.Time{})
	watch.Go(func() {
		_, _ = in.ReadByte() // nothing more comes: it waits for the end
		cancel()
	})
	out := &frames{conn: conn, out: json.NewEncoder(conn)}
	own := *c.desk
	code := run(ctx, &globals{stdout: stream(out.stdout), stderr: stream(out.stderr), args: o.Args, in: o.In, desk: &own, locale: o.Locale})
	level := slog.LevelDebug
	if own.decided {
		level = slog.LevelInfo
	}
	c.log.Log(ctx, level, "command", "args", o.Args, "code", code)
	_ = out.send(answer{Code: &code}) // whoever does not hear it has seen no end
}

// frames writes answers.
type frames struct {
	conn net.Conn
	out  *json.Encoder
}

func (f *frames) send(a answer) error {
	if err := f.conn.SetWriteDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	return f.out.Encode(a)
}

func (f *frames) stdout(p []byte) error { return f.send(answer{Out: p}) }
func (f *frames) stderr(p []byte) error { return f.send(answer{Err: p}) }

// stream is an io.Writer.
type stream func([]byte) error

func (s stream) Write(p []byte) (int, error) {
	if len(p) == 0 { // it would be an answer that says nothing
		return 0, nil
	}
	if err := s(p); err != nil {
		return 0, err
	}
	return len(p), nil
}
