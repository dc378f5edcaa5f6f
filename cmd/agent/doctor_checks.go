package main

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"go.etcd.io/bbolt"
	"golang.org/x/sys/unix"

	"github.com/ssg-safe/agent/device"
	"github.com/ssg-safe/agent/display"
	"github.com/ssg-safe/agent/fleet"
	"github.com/ssg-safe/agent/ledger"
	"github.com/ssg-safe/agent/printer"
	"github.com/ssg-safe/agent/printer/slip"
	"github.com/ssg-safe/agent/providers"
	"github.com/ssg-safe/agent/queue"
	"github.com/ssg-safe/agent/store"
	"github.com/ssg-safe/agent/ticket"
)

// checkStore examines the store as the agent does when it starts, and moves
// nothing. What it learns of time goes to the clock.
func (d *doctor) checkStore(ctx context.Context) {
	o := storeOptions(storePath(d.cfg.Data), d.log)
	err := store.Examine(ctx, o)
	switch {
	case err == nil:
	case errors.Is(err, store.ErrNotExist):
		d.checkNewTerminal()
		return
	case errors.Is(err, store.ErrLocked):
		d.agentRuns = true
		d.add("store", checkOK, "store_in_use", reason(err))
		return
	case errors.Is(err, store.ErrCorrupt):
		d.add("store", checkFail, "store_damaged", reason(err))
		return
	case errors.Is(err, store.ErrNewer):
		d.add("store", checkFail, "store_newer", reason(err))
		return
	default:
		d.add("store", checkFail, "store_unreadable", reason(err))
		return
	}
	if _, err := device.LoadIdentity(d.cfg.Data); err != nil {
		d.add("store", checkFail, "identity_missing", reason(err))
	}
	s, err := store.OpenReadOnly(o)
	if err != nil {
		d.add("store", checkWarn, "store_unreadable", reason(err))
		return
	}
	defer s.Close()
	var entries uint64
	var dead []queue.Job
	var tickets ticket.Count
	err = s.View(func(tx *bbolt.Tx) error {
		report, err := ledger.Verify(tx, ledger.Head{})
		if err != nil {
			return err
		}
		entries = report.Entries
		if floor, err := fleet.Floor(tx); err == nil {
			d.clock.SetFloor(floor)
		}
		if dead, err = queue.Dead(tx); err != nil {
			return err
		}
		tickets, err = ticket.Counted(tx, d.clock.Wall())
		return err
	})
	if err != nil {
		d.add("store", checkFail, "store_unreadable", reason(err))
		return
	}
	d.checkFill(entries, ledger.Capacity(s.Stats().Size))
	if len(dead) > 0 {
		d.add("queue", checkWarn, "dead_letters", len(dead))
	}
	switch {
	case tickets.Overdue > 0:
		d.add("tickets", checkWarn, "tickets_overdue", tickets.Overdue, tickets.Open)
	case tickets.Open > 0:
		d.add("tickets", checkWarn, "tickets_open", tickets.Open)
	}
	for _, w := range store.Warnings(o.Path) {
		d.add("store", checkWarn, "store_place", w)
	}
}

// checkNewTerminal: there is no store. That is right only where there never was
// one.
func (d *doctor) checkNewTerminal() {
	_, err := device.LoadIdentity(d.cfg.Data)
	if err == nil {
		d.add("store", checkFail, "store_missing", storePath(d.cfg.Data))
		return
	}
	d.add("store", checkOK, "store_new", storePath(d.cfg.Data))
}

// checkFill judges how full the store is.
func (d *doctor) checkFill(entries uint64, capacity int64) {
	switch n := int64(entries); {
	case n >= capacity:
		d.add("store", checkFail, "store_full", entries, capacity)
	case n >= capacity*3/4:
		d.add("store", checkWarn, "store_filling", entries, capacity)
	default:
		d.add("store", checkOK, "store_ok", entries, capacity)
	}
}

// checkClock judges the wall clock.
func (d *doctor) checkClock(context.Context) {
	now := d.clock.Wall().Format(time.RFC3339)
	switch d.clock.Quality() {
	case device.QualityFloor:
		d.add("clock", checkFail, "clock_behind", now)
	case device.QualitySynced:
		d.add("clock", checkOK, "clock_ok", now)
	default:
		d.add("clock", checkWarn, "clock_unsynced", now)
	}
}

// lowSpace is where a data partition is called nearly full, in bytes. Logs,
// backups and a new store file need room; the store itself has its own already.
const lowSpace = 64 << 20

// checkDisk examines the place of the data directory by writing to it.
func (d *doctor) checkDisk(context.Context) {
	dir := d.cfg.Data
	for {
		if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) || dir == "/" {
			break
		}
		dir = filepath.Dir(dir) // where the agent would make it
	}
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		d.add("disk", checkFail, "disk_unreadable", dir, reason(err))
		return
	}
	free := int64(st.Bavail) * int64(st.Bsize)
	need := int64(0)
	if _, err := os.Stat(storePath(d.cfg.Data)); errors.Is(err, fs.ErrNotExist) {
		need = int64(d.cfg.Store.Size) + int64(d.cfg.Store.Size)/64
	}
	err := tryToWrite(dir)
	switch {
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT):
		d.add("disk", checkFail, "disk_full", dir, free>>20)
	case errors.Is(err, unix.EROFS):
		d.add("disk", checkFail, "disk_read_only", dir)
	case errors.Is(err, fs.ErrPermission):
		d.add("disk", checkFail, "disk_permission", dir, reason(err))
	case err != nil:
		d.add("disk", checkFail, "disk_unwritable", dir, reason(err))
	case free < need:
		d.add("disk", checkFail, "disk_too_small", dir, free>>20, need>>20)
	case free < lowSpace:
		d.add("disk", checkWarn, "disk_low", dir, free>>20)
	default:
		d.add("disk", checkOK, "disk_ok", dir, free>>20)
	}
}

// tryToWrite writes a page to a new file of a directory and flushes it.
func tryToWrite(dir string) error {
	f, err := os.CreateTemp(dir, ".doctor-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(make([]byte, 4096))
	return errors.Join(err, f.Sync(), f.Close())
}

// checkPorts looks at the serial line of the printer, and lists what else is
// plugged in when it is not there.
func (d *doctor) checkPorts(context.Context) {
	if d.cfg.Printer.Kind != "serial" && d.cfg.Printer.Kind != "usb" {
		return
	}
	path := d.cfg.Printer.Path
	target, err := filepath.EvalSymlinks(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		d.portMissing = true
		d.add("port", checkFail, "port_missing", path, plugged())
	case err != nil:
		d.add("port", checkFail, "port_unreadable", path, reason(err))
	case unix.Access(target, unix.R_OK|unix.W_OK) != nil:
		d.add("port", checkFail, "port_permission", path)
	default:
		d.add("port", checkOK, "port_ok", path, target)
	}
}

// plugged lists serial and printer devices by the names that last.
func plugged() string {
	var names []string
	for _, pattern := range []string{"/dev/ssg/*", "/dev/serial/by-id/*", "/dev/ttyUSB*", "/dev/ttyACM*", "/dev/usb/lp*"} {
		found, _ := filepath.Glob(pattern) // fails for bad patterns only
		names = append(names, found...)
	}
	if len(names) == 0 {
		return "–"
	}
	return strings.Join(names, ", ")
}

// checkPrinter asks the printer how it is, and prints if that is wanted.
func (d *doctor) checkPrinter(ctx context.Context) {
	switch {
	case d.cfg.Printer.Kind == "none":
		d.add("printer", checkOK, "printer_none")
		return
	case d.portMissing: // said already
		return
	}
	p, err := newPrinter(d.cfg.Printer, d.log)
	if err != nil {
		d.add("printer", checkFail, "printer_unreachable", reason(err))
		return
	}
	defer p.Close()
	var status printer.Status
	err = limited(ctx, 15*time.Second, func(ctx context.Context) error {
		status, err = p.Ready(ctx)
		return err
	})
	if !d.printerReady(status, err) || !d.printTest {
		return
	}
	profile, _ := printer.ProfileByName(d.cfg.Printer.Profile) // Validate knows the name
	m, _ := d.cfg.Merchant("")
	doc := slip.Test{Terminal: d.cfg.Terminal.Code, Profile: profile, At: d.clock.Wall().In(m.Zone())}.Document()
	job, err := printer.NewJob(fmt.Sprintf("test/%d", time.Now().UnixNano()), doc, profile)
	if err != nil {
		d.add("printer", checkFail, "print_failed", reason(err))
		return
	}
	switch r := p.Print(ctx, job); r.Outcome {
	case printer.Confirmed:
		d.add("printer", checkOK, "print_confirmed")
	case printer.Sent:
		d.add("printer", checkWarn, "print_sent")
	default:
		d.add("printer", checkFail, "print_failed", fmt.Sprintf("%v: %s", r.Outcome, r.Reason))
	}
}

// printerReady reports what the printer said.
func (d *doctor) printerReady(s printer.Status, err error) bool {
	bad, _ := errors.AsType[*printer.NotReadyError](err)
	switch {
	case err == nil && s.WriteOnly:
		d.add("printer", checkWarn, "printer_write_only")
	case err == nil && s.Paper == printer.PaperLow:
		d.add("printer", checkWarn, "printer_paper_low")
	case err == nil:
		d.add("printer", checkOK, "printer_ok")
	case errors.Is(err, device.ErrInUse) && d.agentRuns:
		d.add("printer", checkWarn, "printer_held_by_agent")
	case errors.Is(err, device.ErrInUse):
		d.add("printer", checkFail, "printer_in_use")
	case bad == nil:
		d.add("printer", checkFail, "printer_unreachable", reason(err))
	default:
		for _, r := range bad.Reasons {
			detail := ""
			if bad.Err != nil {
				detail = ": " + reason(bad.Err)
			}
			d.add("printer", checkFail, "printer_"+string(r), detail)
		}
	}
	return err == nil
}

// checkDisplay looks at the terminal that screens are drawn on.
func (d *doctor) checkDisplay(context.Context) {
	if d.cfg.Display.Kind == "none" {
		d.add("display", checkOK, "display_none")
		return
	}
	p, err := display.ProbeTerminal(d.cfg.Display.TTY)
	switch {
	case err != nil && d.cfg.Display.TTY == "":
		d.add("display", checkWarn, "display_elsewhere", reason(err))
	case err != nil:
		d.add("display", checkFail, "display_unusable", reason(err))
	case p.Colours < 8:
		d.add("display", checkFail, "display_colours")
	case !p.Code && d.cfg.Printer.Kind == "none":
		d.add("display", checkFail, "display_small", p.Cols, p.Rows)
	case !p.Code:
		d.add("display", checkWarn, "display_paper", p.Cols, p.Rows)
	default:
		d.add("display", checkOK, "display_ok", p.Cols, p.Rows)
	}
}

// checkMenu tells whether anybody can open the operator menu.
func (d *doctor) checkMenu(context.Context) {
	switch n := len(d.cfg.Operators); {
	case d.cfg.Display.Kind == "none":
	case n == 0:
		d.add("menu", checkOK, "menu_off")
	default:
		d.add("menu", checkOK, "menu_ok", n)
	}
}

// checkNetwork looks for an address that is not this machine's alone.
func (d *doctor) checkNetwork(context.Context) {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		d.add("network", checkWarn, "network_unknown", reason(err))
		return
	}
	var found []string
	for _, a := range addrs {
		if ip, ok := a.(*net.IPNet); ok && ip.IP.IsGlobalUnicast() {
			found = append(found, ip.IP.String())
		}
	}
	if len(found) == 0 {
		d.add("network", checkFail, "network_none")
		return
	}
	d.add("network", checkOK, "network_ok", strings.Join(found, ", "))
}

// checkProviders proves credentials and reachability.
func (d *doctor) checkProviders(ctx context.Context) {
	for _, p := range d.cfg.Providers {
		if p.ClientSecret.Value == "" {
			d.add("provider", checkWarn, "provider_secret_unseen", p.Name)
			continue
		}
		route, err := openRoute(d.cfg, p, policies{}.of(p, d.log), nil, d.clock.Wall, d.log)
		if err != nil {
			d.add("provider", checkFail, "provider_config", p.Name, reason(err))
			continue
		}
		health, ok := route.(providers.HealthChecker)
		if !ok {
			d.add("provider", checkWarn, "provider_unasked", p.Name)
			continue
		}
		if err := limited(ctx, 30*time.Second, health.CheckHealth); err != nil {
			code, status := providerTrouble(err)
			d.add("provider", status, code, p.Name, reason(err))
			continue
		}
		d.add("provider", checkOK, "provider_ok", p.Name)
	}
}

// providerTrouble sorts the error of a health check by what must be done.
func providerTrouble(err error) (code string, status checkStatus) {
	if code := tlsTrouble(err); code != "" {
		return code, checkFail
	}
	if _, ok := errors.AsType[*net.DNSError](err); ok {
		return "provider_dns", checkFail
	}
	e, _ := errors.AsType[*providers.Error](err)
	switch {
	case e == nil:
		return "provider_unreachable", checkFail
	case e.Kind == providers.Auth:
		return "provider_credentials", checkFail
	case e.Kind == providers.Forbidden:
		return "provider_forbidden", checkFail
	case e.Kind == providers.Rate:
		return "provider_busy", checkWarn
	case e.Kind == providers.Operator:
		return "provider_operator", checkFail
	case e.HTTP >= 500, e.Kind == providers.Unavailable:
		return "provider_down", checkFail
	}
	return "provider_unreachable", checkFail
}

// tlsTrouble recognises what a certificate was refused for; "" for other errors.
func tlsTrouble(err error) string {
	if bad, ok := errors.AsType[x509.CertificateInvalidError](err); ok && bad.Reason == x509.Expired {
		return "tls_time"
	}
	_, host := errors.AsType[x509.HostnameError](err)
	_, unknown := errors.AsType[x509.UnknownAuthorityError](err)
	_, other := errors.AsType[x509.CertificateInvalidError](err)
	if host || unknown || other {
		return "tls_certificate"
	}
	return ""
}

// checkBrokers connects to every broker, TLS included. It does not log in: that
// would take the running agent's place.
func (d *doctor) checkBrokers(ctx context.Context) {
	if len(d.cfg.Fleet.Brokers) == 0 {
		d.add("broker", checkOK, "broker_none")
		return
	}
	secure, err := d.cfg.Fleet.tls(nil)
	if err != nil {
		d.add("broker", checkFail, "broker_config", reason(err))
		return
	}
	secure.Time = d.clock.Wall // as the link has it
	for _, address := range d.cfg.Fleet.Brokers {
		err := limited(ctx, 15*time.Second, func(ctx context.Context) error { return fleet.Reach(ctx, address, secure) })
		if err == nil {
			d.add("broker", checkOK, "broker_ok", address)
			continue
		}
		code := tlsTrouble(err)
		if code == "" {
			code = "broker_unreachable"
		}
		d.add("broker", checkFail, code, address, reason(err))
	}
}
