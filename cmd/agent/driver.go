package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ssg-safe/agent/charge"
	"github.com/ssg-safe/agent/display"
	"github.com/ssg-safe/agent/fleet"
	"github.com/ssg-safe/agent/ledger"
	"github.com/ssg-safe/agent/money"
	"github.com/ssg-safe/agent/printer"
	"github.com/ssg-safe/agent/printer/emulator"
	"github.com/ssg-safe/agent/store"
	"github.com/ssg-safe/agent/terminal"
)

// driver works a terminal for the demo: it makes charges, waits until each is
// paid and printed, and tells what happens as events.
type driver struct {
	flags demoFlags
	out   io.Writer
	paper *emulator.Printer
	line  *cuttable
	hub   *demoHub
	payer codePayer // nil: codes that no provider made are paid by nobody
	shop  shopper   // nil: the terminal makes all charges itself
	// codeless: charges are shown and printed without codes.
	codeless bool

	mu      sync.Mutex // guards waiting
	waiting []any
	wake    chan struct{}
}

func newDriver(f demoFlags, out io.Writer, paper *emulator.Printer, line *cuttable, hub *demoHub, sim any, codeless bool) *driver {
	d := &driver{flags: f, out: out, paper: paper, line: line, hub: hub, codeless: codeless, wake: make(chan struct{}, 1)}
	d.payer, _ = sim.(codePayer)
	d.shop, _ = sim.(shopper)
	return d
}

// The events of the contract. Amounts are centavos.
type (
	createdEvent struct {
		Event    string       `json:"event"` // charge_created
		Charge   charge.ID    `json:"charge"`
		Amount   money.Amount `json:"amount"`
		BRCode   string       `json:"brcode"`
		Provider string       `json:"provider"`
	}
	shownEvent struct {
		Event  string `json:"event"` // qr_shown
		Charge string `json:"charge"`
	}
	paidEvent struct {
		Event    string          `json:"event"` // charge_paid
		Charge   charge.ID       `json:"charge"`
		Amount   money.Amount    `json:"amount"`
		Evidence charge.Evidence `json:"evidence"`
		Grade    charge.Grade    `json:"grade"`
	}
	endedEvent struct {
		Event  string       `json:"event"` // charge_ended
		Charge charge.ID    `json:"charge"`
		State  charge.State `json:"state"`
		Reason string       `json:"reason"`
	}
	slipEvent struct {
		Event     string            `json:"event"` // slip_printed
		Charge    charge.ID         `json:"charge"`
		Kind      terminal.SlipKind `json:"kind"`
		NSU       uint64            `json:"nsu"`
		Copy      int               `json:"copy"`
		Confirmed bool              `json:"confirmed"`
		BytesFile string            `json:"bytes_file"`
		PNGFile   string            `json:"png_file"`
	}
	syncedEvent struct {
		Event string      `json:"event"` // ledger_synced
		Epoch uint64      `json:"epoch"`
		Seq   uint64      `json:"seq"`
		Head  ledger.Hash `json:"head"`
	}
	summaryEvent struct {
		Event   string `json:"event"` // summary
		Charges int    `json:"charges"`
		Paid    int    `json:"paid"`
		Printed int    `json:"printed"`
		Synced  bool   `json:"synced"` // the hub has the ledger, byte for byte
	}
)

// observe takes the terminal's events; it never blocks.
func (d *driver) observe(e terminal.Event) { d.put(e) }

// drawn takes what reached the screen; it never blocks.
func (d *driver) drawn(v display.Drawn) {
	if v.View.State == display.QR && (v.QR || v.HandedOver) {
		d.put(shownEvent{"qr_shown", v.View.Charge})
	}
}

func (d *driver) put(e any) {
	d.mu.Lock()
	d.waiting = append(d.waiting, e)
	d.mu.Unlock()
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

// progress is how far one charge of the driver's own got.
type progress struct {
	created, shown, paid, qr, receipt, ended bool
}

func (d *driver) done(p *progress) bool {
	return p.ended || p.paid && (p.qr || d.codeless) && p.receipt
}

// patience bounds how long one charge may take.
const patience = 60 * time.Second

func (d *driver) drive(ctx context.Context, t *terminal.Terminal, st *store.Store, link *fleet.Link) error {
	all := map[charge.ID]*progress{}
	if err := d.finish(ctx, t, all); err != nil {
		return err
	}
	own := []charge.ID{}
	for i := range d.flags.charges {
		id, err := d.charge(ctx, t, i, all)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		own = append(own, id)
	}
	if err := d.finish(ctx, t, all); err != nil {
		return err
	}
	sum := summaryEvent{Event: "summary", Charges: len(own)}
	for _, id := range own {
		p := all[id]
		if p.paid {
			sum.Paid++
		}
		if (p.qr || d.codeless) && p.receipt {
			sum.Printed++
		}
	}
	head, syncErr := d.hub.synced(ctx, st, link)
	if syncErr == nil {
		sum.Synced = true
		if err := d.tell(syncedEvent{"ledger_synced", head.Epoch, head.Seq, head.Hash}); err != nil {
			return err
		}
	}
	if err := d.tell(sum); err != nil {
		return err
	}
	if syncErr != nil {
		return fmt.Errorf("not synchronised: %w", syncErr)
	}
	if sum.Paid != sum.Charges || sum.Printed != sum.Charges {
		return fmt.Errorf("of %d charges %d were paid and %d printed", sum.Charges, sum.Paid, sum.Printed)
	}
	return nil
}

// charge makes one charge and follows it to its end.
func (d *driver) charge(ctx context.Context, t *terminal.Terminal, i int, all map[charge.ID]*progress) (charge.ID, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	amount := money.Amount(1000 + 537*(i%97))
	cut := d.flags.offline && i == d.flags.charges/2
	if cut && d.payer != nil { // the terminal makes a code of its own
		cut = false
		d.cut()
	}
	r := terminal.Request{Amount: amount, Source: "demo", Present: true}
	var err error
	if d.shop != nil {
		if r.Checkout, err = d.shop.Shop(amount); err != nil {
			return "", fmt.Errorf("charge %d: %w", i+1, err)
		}
	}
	id, err := t.Start(ctx, r)
	for errors.Is(err, terminal.ErrScreenTaken) || errors.Is(err, terminal.ErrBusy) {
		if err = d.next(ctx, all, 200*time.Millisecond); err == nil {
			id, err = t.Start(ctx, r)
		}
	}
	if err != nil {
		return "", fmt.Errorf("charge %d: %w", i+1, err)
	}
	p := follow(all, id)
	for !d.done(p) {
		if err := d.next(ctx, all, 0); err != nil {
			return "", fmt.Errorf("charge %s took too long: %w", id, err)
		}
		if cut && p.created {
			cut = false
			d.cut()
		}
	}
	return id, nil
}

// cut cuts provider and broker off for a while.
func (d *driver) cut() {
	d.line.cut(3 * time.Second)
	d.hub.broker.Disconnect()
}

// finish waits until nothing is left open.
func (d *driver) finish(ctx context.Context, t *terminal.Terminal, all map[charge.ID]*progress) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		left, err := t.Unfinished(ctx)
		if err == nil && left == (terminal.Work{}) {
			return d.handle(all)
		}
		if err == nil {
			err = d.next(ctx, all, 100*time.Millisecond)
		}
		if err != nil {
			return fmt.Errorf("%d charges and %d slips are still open: %w", left.Charges, left.Slips, err)
		}
	}
}

// next waits for events, at most for the given time (0: as long as ctx).
func (d *driver) next(ctx context.Context, all map[charge.ID]*progress, atMost time.Duration) error {
	var timeout <-chan time.Time
	if atMost > 0 {
		timeout = time.After(atMost)
	}
	select {
	case <-d.wake:
	case <-timeout:
	case <-ctx.Done():
		return ctx.Err()
	}
	return d.handle(all)
}

// handle tells what waits and notes how far charges got.
func (d *driver) handle(all map[charge.ID]*progress) error {
	d.mu.Lock()
	events := d.waiting
	d.waiting = nil
	d.mu.Unlock()
	for _, e := range events {
		var err error
		switch e := e.(type) {
		case shownEvent:
			if p := follow(all, charge.ID(e.Charge)); !p.shown {
				p.shown = true
				err = d.tell(e)
			}
		case terminal.Event:
			err = d.told(e, follow(all, max(e.Charge.ID, e.Slip.Charge)))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func follow(all map[charge.ID]*progress, id charge.ID) *progress {
	if all[id] == nil {
		all[id] = &progress{}
	}
	return all[id]
}

func (d *driver) told(e terminal.Event, p *progress) error {
	switch e.Kind {
	case terminal.ChargeResumed:
		return d.pay(e)
	case terminal.ChargeCreated:
		p.created = true
		if err := d.pay(e); err != nil {
			return err
		}
		return d.tell(createdEvent{"charge_created", e.Charge.ID, e.Charge.Amount, e.Code, d.flags.provider})
	case terminal.ChargePaid:
		p.paid = true
		pay, _ := e.Charge.Settling()
		return d.tell(paidEvent{"charge_paid", e.Charge.ID, pay.Amount, pay.Evidence, pay.Evidence.Grade()})
	case terminal.ChargeEnded:
		p.ended = true
		return d.tell(endedEvent{"charge_ended", e.Charge.ID, e.Charge.State, e.Charge.Reason})
	case terminal.SlipPrinted:
		if e.Slip.Kind == terminal.SlipQR {
			p.qr = true
		} else {
			p.receipt = true
		}
		slip, found, err := d.paper.Find(printer.ProcessID(e.Slip.Job))
		if err != nil {
			return fmt.Errorf("virtual printer: %w", err)
		}
		if !found {
			return fmt.Errorf("slip %d was confirmed and is not on the paper", e.Slip.NSU)
		}
		return d.tell(slipEvent{
			"slip_printed", e.Slip.Charge, e.Slip.Kind, e.Slip.NSU, e.Slip.Copy, e.Confirmed,
			filepath.Clean(slip.BytesFile), filepath.Clean(slip.PNGFile),
		})
	case terminal.SlipUnknown:
		p.qr = p.qr || e.Slip.Kind == terminal.SlipQR
	}
	return nil
}

// pay pays a code that the terminal made by itself.
func (d *driver) pay(e terminal.Event) error {
	if _, static := e.Charge.Static(); !static || d.payer == nil {
		return nil
	}
	if err := d.payer.PayOnce(e.Code); err != nil {
		return fmt.Errorf("charge %s: %w", e.Charge.ID, err)
	}
	return nil
}

// tell writes an event: a JSON line, or a sentence.
func (d *driver) tell(e any) error {
	if d.flags.json {
		return json.NewEncoder(d.out).Encode(e)
	}
	line := ""
	switch e := e.(type) {
	case createdEvent:
		what := "code made by"
		if e.BRCode == "" {
			what = "to be paid at"
		}
		line = fmt.Sprintf("%s  %s  %s %s", e.Charge, e.Amount.BRL(), what, e.Provider)
	case paidEvent:
		line = fmt.Sprintf("%s  %s  paid (evidence grade %s)", e.Charge, e.Amount.BRL(), e.Grade)
	case endedEvent:
		line = fmt.Sprintf("%s  %s: %s", e.Charge, e.State, e.Reason)
	case slipEvent:
		line = fmt.Sprintf("%s  %s slip no. %d printed: %s", e.Charge, e.Kind, e.NSU, e.PNGFile)
	case summaryEvent:
		line = fmt.Sprintf("%d charges, %d paid, %d printed, synchronised: %v", e.Charges, e.Paid, e.Printed, e.Synced)
	case syncedEvent:
		line = fmt.Sprintf("the hub has all entries up to %d/%d", e.Epoch, e.Seq)
	default:
		return nil
	}
	_, err := fmt.Fprintln(d.out, line)
	return err
}

// cuttable is a network line that can be cut for a while.
type cuttable struct {
	next  http.RoundTripper
	until atomic.Int64 // unix nanoseconds
}

func (c *cuttable) cut(d time.Duration) { c.until.Store(time.Now().Add(d).UnixNano()) }

// RoundTrip implements http.RoundTripper.
func (c *cuttable) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := c.err(); err != nil {
		return nil, err
	}
	return c.next.RoundTrip(r)
}

func (c *cuttable) err() error {
	if time.Now().UnixNano() < c.until.Load() {
		return &net.OpError{Op: "dial", Net: "tcp", Err: errors.New("the line is cut")}
	}
	return nil
}
