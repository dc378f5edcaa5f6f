package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"go.etcd.io/bbolt"

	"github.com/ssg-safe/agent/charge"
	"github.com/ssg-safe/agent/closing"
	"github.com/ssg-safe/agent/device"
	"github.com/ssg-safe/agent/display"
	"github.com/ssg-safe/agent/fleet"
	"github.com/ssg-safe/agent/internal/supervise"
	"github.com/ssg-safe/agent/ledger"
	"github.com/ssg-safe/agent/localapi"
	"github.com/ssg-safe/agent/localapi/facade"
	"github.com/ssg-safe/agent/proposal"
	"github.com/ssg-safe/agent/providers"
	"github.com/ssg-safe/agent/queue"
	"github.com/ssg-safe/agent/store"
	"github.com/ssg-safe/agent/terminal"
	"github.com/ssg-safe/agent/ticket"
)

// front is the terminal as the local API sees it: it implements localapi.Desk.
type front struct {
	cfg      Config
	device   string
	terminal *terminal.Terminal
	store    *store.Store
	link     *fleet.Link // nil: none
	clock    *device.Clock
	limits   policies
	began    time.Duration // when this process began, as boot time
	log      *slog.Logger

	control, api *localapi.Server // api and facade are nil where none is configured
	facade       *facade.Server
}

var _ localapi.Desk = (*front)(nil)

// open makes the servers.
func (f *front) open() {
	o := localapi.Options{Desk: f, Store: f.store, Status: f.status, Metrics: f.metrics, Logger: f.log}
	control := o
	control.Control, control.Hosts, control.Commands = true, []string{"localhost"}, f.commands()
	f.control = localapi.New(control)
	f.openFacade()
	if f.cfg.API.Listen == "" {
		return
	}
	o.Hosts, o.Origins = f.cfg.API.hosts(), f.cfg.API.Origins
	for _, t := range f.cfg.API.Tokens {
		token := localapi.Token{Name: t.Name, Secret: t.Secret.Value}
		for _, s := range t.Scopes {
			token.Scopes = append(token.Scopes, localapi.Scope(s))
		}
		o.Tokens = append(o.Tokens, token)
	}
	f.api = localapi.New(o)
}

// components serve the control socket and, where they are configured, the API and
// the façade.
func (f *front) components() []supervise.Component {
	type server interface {
		Serve(ctx context.Context, l net.Listener) error
	}
	serve := func(name string, s server, listen func() (net.Listener, error)) supervise.Component {
		return supervise.Component{Name: name, Run: func(ctx context.Context) error {
			l, err := listen()
			if err != nil {
				return err
			}
			return s.Serve(ctx, l)
		}}
	}
	list := []supervise.Component{serve("control", f.control, func() (net.Listener, error) {
		return localapi.ListenControl(f.cfg.Data)
	})}
	if f.api != nil {
		list = append(list, serve("api", f.api, func() (net.Listener, error) {
			certificates, err := serverTLS("api.certificate", f.cfg.API.Certificate, f.cfg.API.PrivateKey, f.log)
			if err != nil {
				return nil, err
			}
			return localapi.Listen(f.cfg.API.Listen, certificates)
		}))
	}
	if f.facade != nil {
		list = append(list, serve("facade", f.facade, f.listenFacade))
	}
	return list
}

// wake tells those who watch that the ledger grew.
func (f *front) wake() {
	f.control.Wake()
	if f.api != nil {
		f.api.Wake()
	}
}

// refusals are what the terminal's errors are to a caller of the API.
var refusals = []struct {
	err  error
	code localapi.Code
}{
	{terminal.ErrBusy, localapi.Busy},
	{terminal.ErrStopping, localapi.Stopping},
	{terminal.ErrScreenTaken, localapi.ScreenTaken},
	{terminal.ErrAmount, localapi.AmountRefused},
	{terminal.ErrMerchant, localapi.MerchantUnknown},
	{terminal.ErrReference, localapi.ReferenceTaken},
	{terminal.ErrCheckout, localapi.CheckoutRefused},
	{terminal.ErrNoCharge, localapi.ChargeNotFound},
	{terminal.ErrNoPrinter, localapi.NoPrinter},
	{terminal.ErrNothingToPrint, localapi.NothingToPrint},
	{terminal.ErrSlipWaits, localapi.SlipWaits},
	{terminal.ErrPrinting, localapi.JobBusy},
	{terminal.ErrJobWaits, localapi.JobBusy},
	{closing.ErrNothing, localapi.NothingToClose},
	{closing.ErrNumber, localapi.ClosingNumber},
	{queue.ErrNotFound, localapi.JobNotFound},
	{ticket.ErrNotFound, localapi.TicketNotFound},
	{ticket.ErrClosed, localapi.TicketClosed},
	{proposal.ErrInvalid, localapi.ProposalRefused},
	{proposal.ErrReference, localapi.ReferenceTaken},
	{proposal.ErrTooMany, localapi.TooManyProposals},
	{terminal.ErrPayment, localapi.ProposalRefused},
	{terminal.ErrNoHub, localapi.NoHub},
	{store.ErrFull, localapi.StoreFull},
	{store.ErrReadOnly, localapi.StoreReadOnly},
}

// refused makes a refusal of an error after which nothing was done.
func refused(err error) error {
	for _, r := range refusals {
		if errors.Is(err, r.err) {
			return &localapi.Refusal{Code: r.code, Err: err}
		}
	}
	return err
}

// Start implements localapi.Desk.
func (f *front) Start(ctx context.Context, o localapi.Order) (charge.ID, error) {
	id, err := f.terminal.Start(ctx, terminal.Request{
		Merchant: o.Merchant, Amount: o.Amount, Payer: providers.Payer(o.Payer), Description: o.Description,
		Reference: o.Reference, Source: o.Source, Expiry: o.Expiry, Checkout: o.Checkout,
		Present: o.Present != localapi.PresentNever, Yield: o.Present == localapi.PresentIfFree,
	})
	return id, refused(err)
}

// Cancel implements localapi.Desk.
func (f *front) Cancel(ctx context.Context, id charge.ID) error {
	return refused(f.terminal.Cancel(ctx, id))
}

// Reprint implements localapi.Desk.
func (f *front) Reprint(ctx context.Context, id charge.ID) (localapi.Slip, error) {
	s, err := f.terminal.Reprint(ctx, id)
	return localapi.Slip{Kind: string(s.Kind), NSU: s.NSU, Copy: s.Copy, State: "issued"}, refused(err)
}

// Settle implements localapi.Desk.
func (f *front) Settle(ctx context.Context, retry bool, ids []uint64) ([]queue.Job, error) {
	how := terminal.Dropped
	if retry {
		how = terminal.Retried
	}
	jobs, err := f.terminal.Settle(ctx, how, ids)
	return jobs, refused(err)
}

// Close implements localapi.Desk.
func (f *front) Close(ctx context.Context, c localapi.Closure) (closing.Report, error) {
	report, err := f.terminal.Closing(ctx, terminal.ClosingRequest{
		Merchant: c.Merchant, Z: true, Number: c.Number, Print: c.Print, By: c.Source,
	})
	return report, refused(err)
}

// CloseTicket implements localapi.Desk.
func (f *front) CloseTicket(ctx context.Context, id, by string, how ticket.How) (ticket.Ticket, error) {
	closed, err := f.terminal.CloseTicket(ctx, id, by, how)
	return closed, refused(err)
}

// Look implements localapi.Desk.
func (f *front) Look(merchant string) (report closing.Report, next uint64, err error) {
	m, known := f.cfg.Merchant(merchant)
	if known {
		merchant = m.ID
	}
	err = f.store.View(func(tx *bbolt.Tx) (err error) {
		if next, err = closing.Next(tx, merchant); err != nil {
			return err
		}
		report, err = closing.Look(tx, terminal.Books(f.cfg.merchants()), merchant, f.clock.Wall())
		return err
	})
	if err == nil && !known && next == 1 && report.Empty() { // one that was removed may still have money
		err = fmt.Errorf("%w %q", terminal.ErrMerchant, merchant)
	}
	return report, next, refused(err)
}

// Propose implements localapi.Desk.
func (f *front) Propose(ctx context.Context, o localapi.ProposalOrder) (proposal.Record, error) {
	r, err := f.terminal.Propose(ctx, terminal.ProposalRequest{
		Reference: o.Reference, Amount: o.Amount, Source: o.Source, By: o.By, Merchant: o.Merchant, Details: o.Details, Charge: o.Charge, EndToEnd: o.EndToEnd,
	})
	return r, refused(err)
}

// Charge implements localapi.Desk.
func (f *front) Charge(id charge.ID) (localapi.Record, error) {
	r, err := f.terminal.Record(id)
	return f.record(r), refused(err)
}

// Charges implements localapi.Desk.
func (f *front) Charges(before ledger.Position, limit int) ([]localapi.Record, ledger.Position, error) {
	list, next, err := f.terminal.Records(before, limit)
	return f.records(list), next, err
}

// Open implements localapi.Desk.
func (f *front) Open() ([]localapi.Record, error) {
	list, err := f.terminal.OpenRecords()
	return f.records(list), err
}

func (f *front) records(list []terminal.Record) []localapi.Record {
	out := make([]localapi.Record, 0, len(list))
	for _, r := range list {
		out = append(out, f.record(r))
	}
	return out
}

func (f *front) record(r terminal.Record) localapi.Record {
	by, _ := r.Charge.Through()
	out := localapi.Record{
		Charge: r.Charge, Code: r.Code, Created: r.Created, Expires: r.Expires, Paid: r.Paid, Ended: r.Ended, Newest: r.Newest,
		Merchant: localapi.Merchant{ID: r.Charge.Merchant}, Provider: localapi.Provider{Name: by},
	}
	for _, s := range r.Slips {
		out.Slips = append(out.Slips, localapi.Slip{Kind: string(s.Kind), NSU: s.NSU, Copy: s.Copy, State: s.State})
	}
	if m, ok := f.cfg.Merchant(r.Charge.Merchant); ok {
		out.Merchant.CNPJ, out.Merchant.Name = m.CNPJ, m.Name
	}
	if p, ok := f.cfg.Provider(by); ok {
		out.Provider.Type, out.Provider.CNPJ = p.Type, p.CNPJ
	}
	return out
}

// status is the terminal at a glance.
func (f *front) status(ctx context.Context) (localapi.Status, error) {
	s := localapi.Status{
		Terminal: f.cfg.Terminal.Code, Device: f.device, Version: readBuildInfo().Version,
		Screen: localapi.ScreenStatus{State: string(display.Error)}, Printer: localapi.PrinterStatus{State: health(display.Unknown)},
		Network: health(display.Unknown), Routes: []localapi.RouteStatus{},
		Clock: localapi.ClockStatus{Time: f.clock.Wall(), Quality: f.clock.Quality()},
	}
	if f.store.Stats().ReadOnly == "" { // else its loop does not turn
		t, err := f.terminal.Status(ctx)
		if err != nil {
			return s, refused(err)
		}
		out, err := f.terminal.Exposure(ctx)
		if err != nil {
			return s, refused(err)
		}
		s.Exposure = localapi.ExposureStatus{Pending: localapi.PendingStatus(out.Pending), Released: localapi.PendingStatus(out.Released)}
		for _, r := range t.Routes {
			s.Routes = append(s.Routes, localapi.RouteStatus(r))
		}
		s.Screen = localapi.ScreenStatus{State: string(t.Screen), Charge: t.Charge}
		s.Network, s.Printer.State = health(t.Network), health(t.Printer)
		if !t.HasPrinter {
			s.Printer.State = "none"
		}
	}
	if f.link != nil {
		l := f.link.Status()
		s.Link = localapi.LinkStatus{
			Configured: true, Connected: l.Connected, Since: l.Since, LastError: l.LastError, Pending: l.Pending,
			Acknowledged: fmt.Sprintf("%d:%d", l.Acked.Epoch, l.Acked.Seq),
		}
	}
	return s, nil
}

// health is a device's state in words.
func health(h display.Health) string {
	switch h {
	case display.OK:
		return "ok"
	case display.Warn:
		return "warn"
	case display.Down:
		return "down"
	}
	return "unknown"
}

// hosts are the names by which clients may call the API. They leave out the port
// of their scheme.
func (c APIConfig) hosts() []string {
	hosts := slices.Clone(c.Hosts)
	host, port, err := net.SplitHostPort(c.Listen)
	if err != nil || strings.HasPrefix(c.Listen, "unix:") {
		return append(hosts, "localhost")
	}
	usual := port == "80" && c.Certificate == "" || port == "443" && c.Certificate != ""
	for _, h := range append([]string{host, "localhost", "127.0.0.1", "::1"}, c.Hosts...) {
		full := net.JoinHostPort(h, port)
		hosts = append(hosts, full)
		if usual {
			hosts = append(hosts, strings.TrimSuffix(full, ":"+port))
		}
	}
	return hosts
}

// minToken is how long a token must be: nobody guesses 32 characters.
const minToken = 32

// validate checks what belongs together.
func (c APIConfig) validate(ps *problems) {
	if c.Listen == "" {
		if len(c.Tokens) > 0 {
			ps.warn("api.listen", "is empty, so there is no local API", `write where it listens: listen = "127.0.0.1:8017"`)
		}
		return
	}
	c.validateAddress(ps)
	absolute(ps, "api.certificate", c.Certificate)
	absolute(ps, "api.private_key", c.PrivateKey)
	if (c.Certificate == "") != (c.PrivateKey == "") {
		ps.fail("api.certificate", "certificate and private_key go together", "write both, or neither")
	}
	for i, o := range c.Origins {
		u, err := url.Parse(o)
		if err != nil || u.Scheme == "" || u.Host == "" || o != u.Scheme+"://"+u.Host {
			ps.fail(fmt.Sprintf("api.origins[%d]", i), "is not an origin", `write scheme and host alone: "https://pdv.example.com"`)
		}
	}
	if len(c.Tokens) == 0 {
		ps.fail("api.token", "there is none, so nobody could use the API", "add [[api.token]] with name, scopes and secret")
	}
	seen := map[string]string{}
	secrets := map[string]bool{}
	for i, t := range c.Tokens {
		at := fmt.Sprintf("api.token[%d]", i)
		if t.Name != "" && !plainName.MatchString(t.Name) {
			ps.fail(at+".name", "is not a plain name", plainNameRemedy)
		}
		unique(ps, seen, "token "+t.Name, at, "name")
		for j, s := range t.Scopes {
			if !slices.Contains(localapi.Scopes(), localapi.Scope(s)) {
				ps.fail(fmt.Sprintf("%s.scopes[%d]", at, j), "is no scope", `write "charge", "read" or "ops"`)
			}
		}
		secret := t.Secret.Value.Reveal()
		switch {
		case secret == "": // the schema's business
		case len(secret) < minToken || strings.Contains(secret, " "):
			ps.fail(at+".secret", fmt.Sprintf("is no token: it must have %d characters and no space", minToken), "make one: openssl rand -hex 32")
		case secrets[secret]:
			ps.fail(at+".secret", "is another token's secret too", "give each its own: openssl rand -hex 32")
		}
		secrets[secret] = true
	}
}

// validateAddress keeps the API on this machine, unless it was asked to leave it.
func (c APIConfig) validateAddress(ps *problems) {
	if path, ok := strings.CutPrefix(c.Listen, "unix:"); ok {
		absolute(ps, "api.listen", path)
		if path == "" {
			ps.fail("api.listen", "names no socket", `write its path: listen = "unix:/run/ssg-agent/api.sock"`)
		}
		return
	}
	host, port, err := net.SplitHostPort(c.Listen)
	if err != nil || port == "" {
		ps.fail("api.listen", "is no address", `write host and port, "127.0.0.1:8017", or a socket, "unix:/run/ssg-agent/api.sock"`)
		return
	}
	if addr, err := netip.ParseAddr(host); host == "localhost" || err == nil && addr.IsLoopback() {
		return
	}
	switch {
	case !c.AllowRemote:
		ps.fail("api.listen", "is reached from other machines", `write listen = "127.0.0.1:`+port+`"; or, if that is meant, allow_remote = true with a certificate`)
	case c.Certificate == "":
		ps.fail("api.certificate", "is missing: on the network tokens travel by TLS only", "write certificate and private_key")
	}
}
