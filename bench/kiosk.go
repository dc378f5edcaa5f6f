package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/gdamore/tcell/v2"
	"go.etcd.io/bbolt"

	"github.com/ssg-safe/agent/charge"
	"github.com/ssg-safe/agent/device"
	"github.com/ssg-safe/agent/display"
	"github.com/ssg-safe/agent/fleet"
	"github.com/ssg-safe/agent/printer"
	"github.com/ssg-safe/agent/providers"
	"github.com/ssg-safe/agent/providers/ssg"
	"github.com/ssg-safe/agent/providers/ssg/ssgsim"
	"github.com/ssg-safe/agent/store"
	"github.com/ssg-safe/agent/terminal"
)

// The kiosk's screen in cells: 1024 by 600 dots with a font of 8 by 16.
const columns, rows = 128, 37

// kiosk is a whole terminal in this process: real store on a real disk, real
// loop, screen without glass, SSG's adapter over a simulator in memory, and a
// printer that confirms at once: paper has its own time, on its own processor.
type kiosk struct {
	store  *store.Store
	term   *terminal.Terminal
	glass  tcell.SimulationScreen
	line   *line
	shown  chan shown
	commit spans
	// created are the charges whose code is known, the newest at most.
	created chan charge.Charge
	crew    crew
}

// shown is something that reached the screen.
type shown struct {
	display.Drawn
	at time.Time
}

// newKiosk builds and starts a terminal in dir. Its payer pays the given time
// after the code's first status question.
func newKiosk(ctx context.Context, dir string, payAfter time.Duration) (*kiosk, error) {
	k := &kiosk{shown: make(chan shown, 1024), created: make(chan charge.Charge, 1)}
	sim, err := ssgsim.New(ssgsim.Options{PayAfter: payAfter, PayeeName: "COFRE DEMONSTRACAO"})
	if err != nil {
		return nil, err
	}
	k.line = &line{next: providers.Memory(sim)}
	client, err := ssg.New(ssg.Config{
		BaseURL: "http://simulator.invalid", AllowInsecureHTTP: true,
		ClientID: ssgsim.DefaultClientID, ClientSecret: ssgsim.DefaultClientSecret,
		LocationHosts: []string{ssgsim.DefaultLocationHost},
		Payer: providers.Payer{
			Name: "Pagador Simulado", Document: "52998224725", Email: "pagador@example.com",
			Address: "Rua Exemplo, 1", City: "São Paulo", State: "SP", Postcode: "01001000",
		},
	}, k.line, nil)
	if err != nil {
		return nil, err
	}
	profile, err := printer.ProfileByName("epson-80")
	if err != nil {
		return nil, err
	}
	o := store.Options{
		Path: filepath.Join(dir, "store.db"), Size: 64 << 20, Migrations: slices.Concat(terminal.Migrations(), fleet.Migrations()),
		Commit: func(tx *bbolt.Tx) error {
			from := time.Now()
			err := tx.Commit()
			k.commit.add(from)
			return err
		},
	}
	if err := store.Create(ctx, o); err != nil {
		return nil, err
	}
	if k.store, err = store.Open(o); err != nil {
		return nil, err
	}
	k.glass = tcell.NewSimulationScreen("UTF-8")
	if err := k.glass.Init(); err != nil {
		return nil, err
	}
	k.glass.SetSize(columns, rows)
	screen := display.New(display.Options{
		Title: "Cofre Demonstração", Screen: k.glass,
		Keys: func(key display.Key) { k.term.Key(key) },
		Drawn: func(d display.Drawn) {
			k.shown <- shown{d, time.Now()}
			k.term.Drawn(d)
		},
	})
	k.term, err = terminal.New(terminal.Config{
		Code: "B001",
		Merchants: []charge.Merchant{{
			ID: "loja", CNPJ: "11222333000181", Name: "Cofre Demonstração", City: "São Paulo", Key: "11222333000181",
			Route: "ssg", Account: ssgsim.DefaultAccount, Zone: time.UTC, Header: []string{"Rua Exemplo, 1 - Centro", "São Paulo - SP"},
		}},
		Routes:    map[string]terminal.Route{"ssg": hurried{client}},
		MinAmount: 100, MaxAmount: 500000, Expiry: 5 * time.Minute, Grace: 10 * time.Second,
		PaidScreen: time.Minute, Profile: profile,
	}, k.store, device.NewClock(time.Time{}), screen, paper{}, k.observe, nil)
	if err != nil {
		return nil, err
	}
	k.crew.run(ctx, screen.Run)
	k.crew.run(ctx, k.store.Run)
	k.crew.run(ctx, k.term.Run) // ends before its store
	return k, nil
}

// stop ends the parts and closes the store.
func (k *kiosk) stop() error { return errors.Join(k.crew.stop(), k.store.Close()) }

// observe keeps the charge whose code the screen shows next.
func (k *kiosk) observe(e terminal.Event) {
	if e.Kind != terminal.ChargeCreated {
		return
	}
	select {
	case <-k.created:
	default:
	}
	k.created <- e.Charge
}

// await returns the first thing on the screen that is wanted.
func (k *kiosk) await(ctx context.Context, what string, wanted func(display.Drawn) bool) (shown, error) {
	limit := time.NewTimer(20 * time.Second)
	defer limit.Stop()
	last := display.State("nothing")
	for {
		select {
		case s := <-k.shown:
			if wanted(s.Drawn) {
				return s, nil
			}
			last = s.View.State
		case <-k.store.Failed():
			return shown{}, k.store.Err()
		case <-limit.C:
			return shown{}, fmt.Errorf("waited for %s in vain; the screen shows %s", what, last)
		case <-ctx.Done():
			return shown{}, ctx.Err()
		}
	}
}

func state(s display.State) func(display.Drawn) bool {
	return func(d display.Drawn) bool { return d.View.State == s }
}

// quiet waits until nothing is owed to provider or printer.
func (k *kiosk) quiet(ctx context.Context) error {
	for {
		left, err := k.term.Unfinished(ctx)
		if err != nil || left == (terminal.Work{}) {
			return err
		}
		select {
		case <-time.After(time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// paper is a printer that prints everything at once, and knows it.
type paper struct{}

func (paper) Ready(context.Context) (printer.Status, error) { return printer.Status{}, nil }

func (paper) Print(_ context.Context, job printer.Job) printer.Result {
	return printer.Result{Outcome: printer.Confirmed, Accepted: len(job.Bytes), Tier: "A"}
}

func (paper) Resolve(context.Context, string) printer.Result {
	return printer.Result{Outcome: printer.Confirmed, Tier: "A"}
}

// hurried asks about charges more often than a provider should be asked, so
// that a run ends.
type hurried struct{ terminal.Route }

// Caps implements providers.Provider.
func (h hurried) Caps() providers.Caps {
	c := h.Route.Caps()
	c.Poll.Open = []providers.PollStep{{Every: 25 * time.Millisecond}}
	return c
}

// spans notes when things were under way. It is safe for concurrent use.
type spans struct {
	mu   sync.Mutex // guards list
	list []span
}

// add notes what began at from and ends now.
func (s *spans) add(from time.Time) {
	to := time.Now()
	s.mu.Lock()
	s.list = append(s.list, span{from, to})
	s.mu.Unlock()
}

// within returns what lay between two times.
func (s *spans) within(from, to time.Time) []span {
	s.mu.Lock()
	defer s.mu.Unlock()
	var found []span
	for _, one := range s.list {
		if !one.from.Before(from) && !one.to.After(to) {
			found = append(found, one)
		}
	}
	return found
}

// total is the length of the first n spans of a list.
func total(list []span, n int) (sum time.Duration) {
	for _, one := range list[:min(n, len(list))] {
		sum += one.length()
	}
	return sum
}

// line is the way to the provider, with a watch on it: from a request's start
// to the last byte of its answer. It is as long as a good one is in earnest, so
// that the terminal has drawn "creating" before the answer is there.
type line struct {
	next http.RoundTripper
	spans
}

const distance = 20 * time.Millisecond

// RoundTrip implements http.RoundTripper.
func (l *line) RoundTrip(r *http.Request) (*http.Response, error) {
	from := time.Now()
	time.Sleep(distance)
	resp, err := l.next.RoundTrip(r)
	if err != nil {
		l.add(from)
		return nil, err
	}
	resp.Body = &watched{ReadCloser: resp.Body, end: sync.OnceFunc(func() { l.add(from) })}
	return resp, nil
}

// watched is an answer's body that tells when it was read.
type watched struct {
	io.ReadCloser
	end func()
}

func (w *watched) Read(p []byte) (int, error) {
	n, err := w.ReadCloser.Read(p)
	if err != nil {
		w.end()
	}
	return n, err
}

func (w *watched) Close() error {
	w.end()
	return w.ReadCloser.Close()
}
