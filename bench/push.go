package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/gdamore/tcell/v2"

	"github.com/ssg-safe/agent/charge"
	"github.com/ssg-safe/agent/display"
	"github.com/ssg-safe/agent/fleet"
	"github.com/ssg-safe/agent/fleet/wire"
	"github.com/ssg-safe/agent/terminal"
)

// never is when the payer of a push pays by himself.
const never = 24 * time.Hour

// measurePush has the hub tell the terminal of payments that its provider does
// not know of yet: from the last byte of the signed message, read from the
// socket, to "PAGO" drawn, with the payment durable.
func measurePush(ctx context.Context, e *env, s *section) (err error) {
	dir := filepath.Join(e.dir, "push")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	k, err := newKiosk(ctx, dir, never)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, k.stop()) }()
	f, err := newBackOffice(ctx, dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.close()) }()
	desk := &desk{terminal: k.term}
	link, err := f.link(k.store, desk, desk.dial)
	if err != nil {
		return err
	}
	f.run(ctx, link.Run)
	disk, err := newProbe(dir)
	if err != nil {
		return err
	}
	defer disk.close()
	if _, err := k.await(ctx, "the idle screen", state(display.Idle)); err != nil {
		return err
	}
	const warm = 5
	n := e.count(400, 20)
	took, commit := make([]time.Duration, 0, n), make([]time.Duration, 0, n)
	for i := range n + warm {
		if err := disk.once(); err != nil {
			return err
		}
		all, one, err := k.pushed(ctx, f, desk)
		if err != nil {
			return fmt.Errorf("charge %d: %w", i+1, err)
		}
		if i >= warm {
			took, commit = append(took, all), append(commit, one)
		}
	}
	rest := make([]time.Duration, n)
	for i := range rest {
		rest[i] = took[i] - commit[i]
	}
	p99 := quantile(took, .99)
	s.say("%d charges, one after the other, each paid by a push of the hub.", n)
	s.table([][]string{
		{"", "p50", "p99", "target"},
		{"signed message read → \"PAGO\" drawn, durable", ms(quantile(took, .5)), ms(p99), s.target("push p99 ≤ 5 ms", p99 <= latencyTarget)},
		{"– of this one commit", ms(quantile(commit, .5)), ms(quantile(commit, .99)), ""},
		{"– of this all else: signature, checks, loop, drawing", ms(quantile(rest, .5)), ms(quantile(rest, .99)), ""},
		{"the disk in the same run: 4 KiB and its fdatasync", ms(quantile(disk.took, .5)), ms(quantile(disk.took, .99)), ""},
	})
	const title = "How many of the pushed payments took at most so long"
	s.picture("push", title, plot{
		title: title, axis: "milliseconds", marks: []mark{{5, "target for 99 %: 5 ms"}},
		series: []series{milliseconds("message → PAGO drawn", took), milliseconds("– its commit", commit), milliseconds("the disk: 4 KiB and fdatasync", disk.took)},
	}.curves())
	return nil
}

// pushed makes a charge, has it paid by the hub, and leaves.
func (k *kiosk) pushed(ctx context.Context, f *backOffice, d *desk) (took, commit time.Duration, err error) {
	for _, digit := range []int{1, 0, 0, 0} {
		k.term.Key(display.Key{Kind: display.Digit, Digit: digit})
	}
	typed := func(d display.Drawn) bool { return d.View.State == display.Amount && d.View.Amount == 1000 }
	if _, err := k.await(ctx, "the amount", typed); err != nil {
		return 0, 0, err
	}
	k.glass.InjectKey(tcell.KeyEnter, 0, tcell.ModNone)
	if _, err := k.await(ctx, "the code", func(d display.Drawn) bool { return d.QR }); err != nil {
		return 0, 0, err
	}
	c := <-k.created
	a, ok := c.Accepted()
	if !ok {
		return 0, 0, errors.New("a code without an accepted attempt")
	}
	// The code's slip is off the disk before: the payment has a commit of its own.
	for left := (terminal.Work{Slips: 1}); left.Slips > 0; {
		if left, err = k.term.Unfinished(ctx); err != nil {
			return 0, 0, err
		}
	}
	err = f.hub.Pay(ctx, kioskName, wire.Pay{
		Charge: string(c.ID), Status: "paid", Cents: c.Amount, Route: c.Route, Account: c.Account,
		ProviderID: a.ProviderID, Attempt: a.N, Digest: strings.Repeat("ab", 32),
	})
	if err != nil {
		return 0, 0, err
	}
	paid, err := k.await(ctx, "PAGO", state(display.Paid))
	if err != nil {
		return 0, 0, err
	}
	read := time.Unix(0, d.received.Load())
	took, commit = paid.at.Sub(read), total(k.commit.within(read, paid.at), 1)
	if err := k.quiet(ctx); err != nil {
		return 0, 0, err
	}
	k.glass.InjectKey(tcell.KeyEscape, 0, tcell.ModNone)
	_, err = k.await(ctx, "the idle screen", state(display.Idle))
	return took, commit, err
}

// desk hands the hub's word to the terminal, as the agent does, and notes when
// it was read from the socket.
type desk struct {
	deaf
	terminal *terminal.Terminal
	read     atomic.Int64 // when the link last read something, Unix nanoseconds
	received atomic.Int64 // read, when the payment had come
}

// Paid implements fleet.Handler.
func (d *desk) Paid(ctx context.Context, p wire.Pay, with fleet.Include) error {
	d.received.Store(d.read.Load())
	_, err := d.terminal.Credit(ctx, charge.ID(p.Charge), charge.Evidence{
		Source: charge.FromHub, Route: p.Route, Account: p.Account, Attempt: p.Attempt, ProviderID: p.ProviderID,
		Word: p.Status, Amount: &p.Cents, EndToEnd: p.EndToEnd, Digest: p.Digest,
	}, with)
	return err
}

func (d *desk) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, network, addr)
	return &timed{conn, &d.read}, err
}

// timed is a connection that notes when something was read from it.
type timed struct {
	net.Conn
	at *atomic.Int64
}

func (t *timed) Read(p []byte) (int, error) {
	n, err := t.Conn.Read(p)
	t.at.Store(time.Now().UnixNano())
	return n, err
}
