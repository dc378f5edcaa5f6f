package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"github.com/ssg-safe/agent/printer/emulator"
)

// simPrinter is a virtual printer on a serial line: a pseudo-terminal whose
// other side a terminal opens as its printer. The line stays up when the
// terminal goes, as a cable does.
type simPrinter struct {
	paper *emulator.Printer
	tty   *os.File // keeps the line up while no terminal has it open
	link  string   // the terminal's side, by a name that stays
	stop  context.CancelFunc
	ended chan struct{}
}

// simPrinterSpeed is a common printer's, in millimetres a second.
const simPrinterSpeed = 150

// openSimPrinter starts the printer. The slips fall into dir, and dir/tty is
// the line's name while it runs.
func openSimPrinter(dir string, log *slog.Logger) (*simPrinter, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	line, tty, err := openPTY()
	if err != nil {
		return nil, err
	}
	link := filepath.Join(dir, "tty")
	err = os.Remove(link) // of a run that was killed
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		err = os.Symlink(tty.Name(), link)
	}
	if err != nil {
		return nil, errors.Join(err, line.Close(), tty.Close())
	}
	ctx, stop := context.WithCancel(context.Background())
	p := &simPrinter{
		paper: emulator.New(emulator.Config{ProcessID: true, Flow: true, Speed: simPrinterSpeed, Dir: dir, Logger: log}),
		tty:   tty, link: link, stop: stop, ended: make(chan struct{}),
	}
	go func() {
		defer close(p.ended)
		if err := p.paper.Serve(ctx, line); ctx.Err() == nil {
			log.Error("the printer's line ended", "err", err)
		}
	}()
	return p, nil
}

func (p *simPrinter) close() error {
	p.stop()
	<-p.ended
	return errors.Join(p.tty.Close(), os.Remove(p.link))
}

// openPTY opens both sides of a pseudo-terminal that passes every byte as it is.
func openPTY() (line, tty *os.File, err error) {
	line, err = os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, nil, err
	}
	var number uint32
	raw, err := line.SyscallConn()
	if err == nil {
		controlErr := raw.Control(func(fd uintptr) {
			if err = unix.IoctlSetPointerInt(int(fd), unix.TIOCSPTLCK, 0); err == nil {
				number, err = unix.IoctlGetUint32(int(fd), unix.TIOCGPTN)
			}
		})
		err = errors.Join(err, controlErr)
	}
	if err == nil {
		tty, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	}
	if err == nil {
		_, err = term.MakeRaw(int(tty.Fd()))
	}
	if err != nil {
		if tty != nil {
			err = errors.Join(err, tty.Close())
		}
		return nil, nil, errors.Join(fmt.Errorf("pseudo-terminal: %w", err), line.Close())
	}
	return line, tty, nil
}

// config is the part of a configuration file that belongs to the printer.
func (p *simPrinter) config() string {
	return fmt.Sprintf("[printer]\nkind = \"serial\"\npath = %q\nbaud = 115200\n", p.link)
}

// printerEvents is what may happen to a printer, by the name in
// POST /sim/printer/NAME.
var printerEvents = map[string]func(*emulator.Printer){
	"end-paper":   func(p *emulator.Printer) { p.EndPaperAfter(0) },
	"load-paper":  func(p *emulator.Printer) { p.LoadPaper() },
	"open-cover":  func(p *emulator.Printer) { p.SetCover(true) },
	"close-cover": func(p *emulator.Printer) { p.SetCover(false) },
	"power-off":   func(p *emulator.Printer) { p.PowerOff() },
	"power-on":    func(p *emulator.Printer) { p.PowerOn() },
}

func printerEventNames() string {
	return strings.Join(slices.Sorted(maps.Keys(printerEvents)), ", ")
}

// handle adds the printer's control to the simulator's.
func (p *simPrinter) handle(sim http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/", sim)
	mux.HandleFunc("POST /sim/printer/{event}", func(w http.ResponseWriter, r *http.Request) {
		happen, ok := printerEvents[r.PathValue("event")]
		if !ok {
			http.Error(w, "there are: "+printerEventNames(), http.StatusNotFound)
			return
		}
		happen(p.paper)
		w.WriteHeader(http.StatusNoContent)
	})
	return mux
}
