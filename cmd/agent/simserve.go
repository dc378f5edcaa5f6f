package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/ssg-safe/agent/providers"
	"github.com/ssg-safe/agent/providers/simkit"
)

// allProviders is what --provider calls all of them.
const allProviders = "all"

// simHello is what sim prints, as JSON, once it listens.
type simHello struct {
	Event        string `json:"event"` // "listening"
	Provider     string `json:"provider"`
	URL          string `json:"url"`
	ClientID     string `json:"client_id"`
	ClientSecret string `json:"client_secret"` // opens nothing but a simulator
	Account      string `json:"account,omitempty"`
	LocationHost string `json:"location_host,omitempty"`
	Dir          string `json:"dir,omitempty"`
	Printer      string `json:"printer,omitempty"` // the serial line
	Seed         uint64 `json:"seed"`
	// Configuration is the part of an agent's configuration, TOML, that belongs
	// to the simulator.
	Configuration string `json:"configuration"`
}

// simServer is one simulator on its listener.
type simServer struct {
	kind     family
	sim      simulator
	listener net.Listener
	handler  http.Handler
	hello    simHello
	webhooks string // "": none are sent
}

// checkSim refuses flags that make no sense, and returns what is to be simulated.
func (f simFlags) checkSim() ([]family, []simkit.Rule, error) {
	kinds := families
	if f.provider != allProviders {
		kind, err := familyOf(f.provider)
		if err != nil {
			return nil, nil, fmt.Errorf("--provider: %w", err)
		}
		kinds = []family{kind}
	}
	rules, err := readRules(f.faults)
	if err != nil {
		return nil, nil, fmt.Errorf("--faults: %w", err)
	}
	switch {
	case f.payAfter < 0:
		return nil, nil, errors.New("--pay-after: want 0 or more")
	case f.payFraction <= 0 || f.payFraction > 1:
		return nil, nil, errors.New("--pay-fraction: want a number above 0 and up to 1; nothing is paid with --pay-after 0")
	case f.tokenLife != 0 && f.tokenLife < time.Second:
		return nil, nil, errors.New("--token-life: want at least 1s")
	case len(kinds) > 1 && (f.tokenLife != 0 || f.locationHost != "" || len(f.modes) > 0):
		return nil, nil, errors.New("--token-life, --location-host and --mode are for one provider: choose it by --provider")
	}
	if len(kinds) > 1 {
		if _, err := after(f.listen, len(kinds)-1); err != nil {
			return nil, nil, err
		}
	}
	for _, kind := range kinds {
		if err := f.checkKind(kind, len(kinds) == 1); err != nil {
			return nil, nil, err
		}
		if err := kind.sim.rules.Check(rules...); err != nil {
			return nil, nil, fmt.Errorf("--faults: %s: %w", kind.name, err)
		}
	}
	return kinds, rules, nil
}

// checkKind refuses what one simulator does not have.
func (f simFlags) checkKind(kind family, alone bool) error {
	switch {
	case f.tokenLife != 0 && kind.sim.tokenLife == 0:
		return fmt.Errorf("--token-life: %s has no tokens", kind.name)
	case f.locationHost != "" && kind.sim.locationHost == "":
		return fmt.Errorf("--location-host: the codes of %s have no host", kind.name)
	case f.webhooks != "" && alone && len(kind.sim.rules.Forms) == 0:
		return fmt.Errorf("--webhooks: %s sends none", kind.name)
	}
	if f.webhooks != "" {
		if err := simkit.CheckTarget(f.webhooks); err != nil {
			return fmt.Errorf("--webhooks: %w", err)
		}
	}
	if err := kind.sim.checkModes(f.modes); err != nil {
		return fmt.Errorf("--mode: %w", err)
	}
	return nil
}

func serveSim(ctx context.Context, g *globals, f simFlags) (err error) {
	kinds, rules, err := f.checkSim()
	if err != nil {
		return usageError{fmt.Errorf("sim: %w", err)}
	}
	log := slog.New(slog.NewTextHandler(g.stderr, nil))
	var all []*simServer
	defer func() {
		for _, s := range all {
			s.listener.Close() // it failed, or is closed
			s.sim.Close()      // every record was synced when it was written
		}
	}()
	for i, kind := range kinds {
		s, err := f.openServer(kind, i, len(kinds) == 1, rules, log)
		if err != nil {
			return fmt.Errorf("sim: %w", err)
		}
		all = append(all, s)
	}
	if f.printer != "" {
		p, err := openSimPrinter(f.printer, log)
		if err != nil {
			return fmt.Errorf("sim: --printer: %w", err)
		}
		defer p.close() // nothing of it is kept
		first := all[0]
		first.hello.Printer, first.handler = p.link, p.handle(first.sim)
		first.hello.Configuration += "\n" + p.config()
	}
	for _, s := range all {
		if err := s.hello.print(g.stdout, f.asJSON); err != nil {
			return fmt.Errorf("sim: %w", err)
		}
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	errs := make([]error, len(all))
	var serving sync.WaitGroup
	for i, s := range all {
		serving.Go(func() {
			defer stop() // all or none
			errs[i] = s.serve(ctx)
		})
	}
	serving.Wait()
	return errors.Join(errs...)
}

// openServer starts the i-th simulator. The caller closes it.
func (f simFlags) openServer(kind family, i int, alone bool, rules []simkit.Rule, log *slog.Logger) (*simServer, error) {
	address, dir, name, webhooks := f.listen, f.dir, "sim", f.webhooks
	if !alone {
		name, log = kind.name, log.With("provider", kind.name)
		if dir != "" {
			dir = filepath.Join(dir, kind.name)
		}
		if len(kind.sim.rules.Forms) == 0 {
			webhooks = ""
		} else if webhooks != "" {
			webhooks = strings.TrimRight(webhooks, "/") + "/" + kind.name
		}
		var err error
		if address, err = after(f.listen, i); err != nil {
			return nil, err
		}
	}
	host := cmp.Or(f.locationHost, kind.sim.locationHost)
	sim, err := kind.sim.open(simOptions{
		dir: dir, seed: f.seed, payAfter: f.payAfter, payFraction: f.payFraction, tokenLife: cmp.Or(f.tokenLife, kind.sim.tokenLife),
		locationHost: host, modes: f.modes, faults: rules, log: log,
	})
	if err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, errors.Join(err, sim.Close())
	}
	url := "http://" + l.Addr().String()
	return &simServer{
		kind: kind, sim: sim, listener: l, handler: sim, webhooks: webhooks,
		hello: simHello{
			Event: "listening", Provider: kind.name, URL: url, ClientID: kind.sim.clientID, ClientSecret: kind.sim.clientSecret,
			Account: kind.sim.account, LocationHost: host, Dir: dir, Seed: f.seed, Configuration: kind.table(name, url, host),
		},
	}, nil
}

// after is the address i ports after another; after port 0 comes port 0.
func after(address string, i int) (string, error) {
	at, err := netip.ParseAddrPort(address)
	switch {
	case err != nil:
		return "", fmt.Errorf("--listen: want an address and a port such as 127.0.0.1:8100 for all providers: %w", err)
	case at.Port() == 0:
		return address, nil
	case int(at.Port())+i > 65535:
		return "", fmt.Errorf("--listen: there are not enough ports after %d", at.Port())
	}
	return netip.AddrPortFrom(at.Addr(), at.Port()+uint16(i)).String(), nil
}

// serve serves until ctx ends, and sends webhooks.
func (s *simServer) serve(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var reporting sync.WaitGroup
	var reported error
	if r, ok := s.sim.(reporter); ok && s.webhooks != "" {
		reporting.Go(func() {
			defer stop() // without webhooks there is nothing to serve for
			reported = r.Deliver(ctx, s.webhooks, providers.NewTransport(nil))
		})
	}
	err := serveUntil(ctx, s.listener, s.handler)
	stop()
	reporting.Wait()
	return errors.Join(err, reported)
}

// serveUntil serves until ctx ends, then lets requests under way finish. What
// they wait for (delays of the fault script) ends with ctx.
func serveUntil(ctx context.Context, l net.Listener, h http.Handler) error {
	server := &http.Server{
		Handler: h, ReadHeaderTimeout: 10 * time.Second,
		BaseContext: func(net.Listener) context.Context { return ctx },
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	select {
	case err := <-served:
		return fmt.Errorf("sim: %w", err)
	case <-ctx.Done():
	}
	limit, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	err := server.Shutdown(limit)
	if err != nil {
		err = server.Close()
	}
	<-served
	return err
}

// readRules reads a fault script, from a file if it begins with "@".
func readRules(text string) ([]simkit.Rule, error) {
	if path, ok := strings.CutPrefix(text, "@"); ok {
		file, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		text = string(file)
	}
	return simkit.ParseRules(text)
}

func (h simHello) print(w io.Writer, asJSON bool) error {
	if asJSON {
		return json.NewEncoder(w).Encode(h)
	}
	_, err := fmt.Fprintf(w, `Simulated provider %s at %s (seed %d)

Credentials (they open nothing else):
  client id      %s
  client secret  %s

Configuration of an agent that uses it; start the agent with
%s=%s:

%s
Control: GET %s/sim/ledger; Ctrl-C ends it.
`, h.Provider, h.URL, h.Seed, h.ClientID, h.ClientSecret, simSecret, h.ClientSecret, indent(h.Configuration), h.URL)
	return err
}
