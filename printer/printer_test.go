package printer_test

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	_ "github.com/ssg-safe/agent/internal/bubbles"
	"github.com/ssg-safe/agent/printer"
	"github.com/ssg-safe/agent/printer/emulator"
)

var _ printer.Port = (*emulator.Conn)(nil)

// bench is a printer on a line in memory, and who speaks with it.
type bench struct {
	*testing.T
	paper *emulator.Printer
	*printer.Printer
	profile printer.Profile
	opened  int
	refuse  error // of open
}

// bubble runs a conversation test on fake time.
func bubble(t *testing.T, cfg emulator.Config, f func(b *bench)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		cfg.ProcessID = true
		b := &bench{T: t, paper: emulator.New(cfg), profile: profile(t, "epson-80")}
		b.restart()
		f(b)
	})
}

// restart is a new process on the same printer.
func (b *bench) restart() {
	log := slog.New(slog.NewTextHandler(b.Output(), nil))
	b.Printer = printer.New(func(context.Context) (printer.Port, error) {
		if b.refuse != nil {
			return nil, b.refuse
		}
		b.opened++
		return b.paper.Connect(), nil
	}, b.profile, log)
}

func (b *bench) job(id string) printer.Job {
	b.Helper()
	d := printer.Document{Blocks: []printer.Block{
		printer.Text{Text: "Comprovante " + id, Align: printer.Centre},
		printer.QR{Code: code(177)},
		printer.Pair{Label: "NSU", Value: id},
	}}
	j, err := printer.NewJob(id, d, b.profile)
	if err != nil {
		b.Fatal(err)
	}
	return j
}

func (b *bench) ready() {
	b.Helper()
	if s, err := b.Ready(b.Context()); err != nil {
		b.Fatalf("not ready: %v (%+v)", err, s)
	}
}

// notReady checks the reasons.
func (b *bench) notReady(want ...printer.Reason) {
	b.Helper()
	_, err := b.Ready(b.Context())
	nr, ok := errors.AsType[*printer.NotReadyError](err)
	if !ok || !errors.Is(err, printer.ErrNotReady) {
		b.Fatalf("got %v, want a NotReadyError", err)
	}
	if !slices.Equal(nr.Reasons, want) {
		b.Errorf("reasons %v, want %v", nr.Reasons, want)
	}
}

// ends checks outcome, tier and drained, and words of the reason.
func (b *bench) ends(got printer.Result, want printer.Result) {
	b.Helper()
	if got.Outcome != want.Outcome || got.Tier != want.Tier || got.Drained != want.Drained ||
		!strings.Contains(got.Reason, want.Reason) || want.Accepted >= 0 && got.Accepted != want.Accepted {
		b.Fatalf("got %+v, want %+v", got, want)
	}
}

// slips checks what fell: the first line of each slip.
func (b *bench) slips(want ...string) {
	b.Helper()
	var got []string
	for _, s := range b.paper.Slips() {
		if len(s.Problems) > 0 {
			b.Errorf("slip %d: %v", s.Number, s.Problems)
		}
		first, _, _ := strings.Cut(strings.TrimSpace(s.Text()), "\n")
		got = append(got, first)
	}
	if d := cmp.Diff(want, got); d != "" {
		b.Errorf("slips (-want +got):\n%s", d)
	}
}

const any = -1 // of Accepted

func TestConfirmed(t *testing.T) {
	bubble(t, emulator.Config{Speed: 70}, func(b *bench) {
		for _, id := range []string{"1", "2"} {
			b.ready()
			j := b.job(id)
			b.ends(b.Print(b.Context(), j), printer.Result{Outcome: printer.Confirmed, Tier: printer.TierA, Accepted: len(j.Bytes)})
		}
		b.slips("Comprovante 1", "Comprovante 2")
		for i, id := range []string{"1", "2"} {
			if got := b.paper.Slips()[i].ProcessIDs; !slices.Equal(got, [][4]byte{printer.ProcessID(id)}) {
				t.Errorf("slip %s has process ids %q", id, got)
			}
			if got := b.paper.Slips()[i].Bytes; string(got[len(got)-len(b.job(id).Bytes):]) != string(b.job(id).Bytes) {
				t.Errorf("slip %s was not made by its job", id)
			}
		}
		if b.opened != 1 {
			t.Errorf("opened %d times, want 1", b.opened)
		}
	})
}

func TestNotReady(t *testing.T) {
	bubble(t, emulator.Config{}, func(b *bench) {
		b.paper.SetCover(true)
		b.notReady(printer.CoverOpen)
		b.paper.SetCover(false)
		b.paper.EndPaperAfter(0)
		b.notReady(printer.PaperOut)
		b.paper.LoadPaper()
		b.paper.SetCutterError(true)
		b.notReady(printer.CutterError)
		b.paper.SetCutterError(false)
		b.paper.SetNearEnd(true)
		s, err := b.Ready(b.Context())
		if want := (printer.Status{Answered: true, Paper: printer.PaperLow}); err != nil || s != want {
			t.Errorf("near the end: %+v, %v, want %+v", s, err, want)
		}

		start := time.Now()
		b.paper.PowerOff()
		b.notReady(printer.Silent)
		if d := time.Since(start); d > time.Second {
			t.Errorf("a silent printer took %v", d)
		}
		b.paper.PowerOn()
		b.ready()

		b.Close()
		b.refuse = os.ErrNotExist
		b.notReady(printer.NoPort)
		b.refuse = nil
		b.ready()

		ctx, cancel := context.WithCancel(b.Context())
		cancel()
		if _, err := b.Ready(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled: %v", err)
		}
		b.ready() // and the end of that context harms nobody else
	})
}

// TestIdleLineDied: network printers close idle connections; that costs no
// failed check.
func TestIdleLineDied(t *testing.T) {
	bubble(t, emulator.Config{}, func(b *bench) {
		b.ready()
		b.paper.HangUp()
		b.ready()
		b.ends(b.Print(b.Context(), b.job("1")), printer.Result{Outcome: printer.Confirmed, Tier: printer.TierA, Accepted: any})
	})
}

func TestNotStarted(t *testing.T) {
	bubble(t, emulator.Config{}, func(b *bench) {
		j := b.job("1")
		b.ends(b.Print(b.Context(), j), printer.Result{Outcome: printer.NotStarted, Reason: "closed"})
		b.ready()
		b.paper.HangUp()
		b.ends(b.Print(b.Context(), j), printer.Result{Outcome: printer.NotStarted})
		b.ready()
		b.paper.Stall(true) // XOFF before the first byte
		start := time.Now()
		b.ends(b.Print(b.Context(), j), printer.Result{Outcome: printer.NotStarted})
		if d := time.Since(start); d > 15*time.Second {
			t.Errorf("a stalled write took %v", d)
		}
		b.notReady(printer.Silent)
		b.paper.Stall(false)
		ctx, cancel := context.WithCancel(b.Context())
		b.ready()
		cancel()
		b.ends(b.Print(ctx, j), printer.Result{Outcome: printer.NotStarted, Reason: "canceled"})
		b.ends(b.Print(b.Context(), j), printer.Result{Outcome: printer.Confirmed, Tier: printer.TierA, Accepted: any})
		b.slips("Comprovante 1")
	})
}

// TestRefused: what must not reach a printer does not, wherever it comes from.
func TestRefused(t *testing.T) {
	bubble(t, emulator.Config{}, func(b *bench) {
		b.ready()
		for _, bad := range []string{"\x10\x14\x01\x00\x01", "\x10\x04\x01", "\x10\x05\x02", "\x1bp\x00\x19\xfa", ""} {
			j := b.job("1")
			if bad == "" {
				j.Bytes = nil
			} else {
				j.Bytes = slices.Insert(slices.Clone(j.Bytes), len(j.Bytes)/2, []byte(bad)...)
			}
			b.ends(b.Print(b.Context(), j), printer.Result{Outcome: printer.Refused})
		}
		b.slips()
		b.ends(b.Print(b.Context(), b.job("1")), printer.Result{Outcome: printer.Confirmed, Tier: printer.TierA, Accepted: any})
		b.slips("Comprovante 1")
	})
}

// TestPaperEnds: the paper ends in the middle of a slip. The job is unknown
// until the roll is changed; then the printer goes on and confirms late.
func TestPaperEnds(t *testing.T) {
	bubble(t, emulator.Config{Speed: 100}, func(b *bench) {
		b.ready()
		b.paper.EndPaperAfter(200)
		j := b.job("1")
		b.ends(b.Print(b.Context(), j), printer.Result{Outcome: printer.Unknown, Accepted: len(j.Bytes), Reason: "paper_out"})
		for range 3 {
			b.ends(b.Resolve(b.Context(), "1"), printer.Result{Outcome: printer.Unknown, Accepted: len(j.Bytes), Reason: "paper_out"})
		}
		b.paper.LoadPaper()
		b.ends(b.Resolve(b.Context(), "1"), printer.Result{Outcome: printer.Confirmed, Tier: printer.TierA, Accepted: len(j.Bytes)})
		b.slips("Comprovante 1")
		b.ready()
		b.ends(b.Print(b.Context(), b.job("2")), printer.Result{Outcome: printer.Confirmed, Tier: printer.TierA, Accepted: any})
		b.slips("Comprovante 1", "Comprovante 2")
	})
}

// TestPowerCycle: the buffer goes with the power. The printer answers again
// and is free, and must not be believed to have printed.
func TestPowerCycle(t *testing.T) {
	bubble(t, emulator.Config{}, func(b *bench) {
		b.ready()
		b.paper.EndPaperAfter(100)
		b.ends(b.Print(b.Context(), b.job("1")), printer.Result{Outcome: printer.Unknown, Accepted: any, Reason: "paper_out"})
		b.paper.PowerOff()
		b.ends(b.Resolve(b.Context(), "1"), printer.Result{Outcome: printer.Unknown, Accepted: any, Reason: "silent"})
		b.paper.LoadPaper()
		b.paper.PowerOn()
		b.ends(b.Resolve(b.Context(), "1"), printer.Result{Outcome: printer.Unknown, Drained: true, Accepted: any, Reason: "did not confirm"})
	})
}

// TestLate: the mechanism is slower than anything we wait for.
func TestLate(t *testing.T) {
	bubble(t, emulator.Config{Speed: 5}, func(b *bench) {
		b.ready()
		start := time.Now()
		j := b.job("1")
		b.ends(b.Print(b.Context(), j), printer.Result{Outcome: printer.Unknown, Accepted: any, Reason: "no answer in"})
		// bytes / rate + millimetres / speed + knife + 2 s, by hand
		want := time.Duration(len(j.Bytes))*time.Second/960 + time.Duration(j.Millimetres)*time.Second/70 + 2500*time.Millisecond
		if d := time.Since(start) - want; d < -time.Millisecond || d > 2*time.Second {
			t.Errorf("waited %v, want %v", time.Since(start), want)
		}
		for range 20 {
			if r := b.Resolve(b.Context(), "1"); r.Outcome == printer.Confirmed {
				b.slips("Comprovante 1")
				return
			} else if r.Drained {
				t.Fatal("drained before it was printed")
			}
		}
		t.Fatal("never confirmed")
	})
}

// TestWrongID: an answer for another job confirms nothing.
func TestWrongID(t *testing.T) {
	bubble(t, emulator.Config{}, func(b *bench) {
		b.paper.AnswerIDs(func([4]byte) [4]byte { return [4]byte([]byte("1234")) })
		b.ready()
		b.ends(b.Print(b.Context(), b.job("1")), printer.Result{Outcome: printer.Unknown, Accepted: any, Reason: "another job"})
		b.ends(b.Resolve(b.Context(), "1"), printer.Result{Outcome: printer.Unknown, Drained: true, Accepted: any})
	})
}

// TestOldConfirmation: what confirmed an earlier print does not confirm this
// one, even of the same job.
func TestOldConfirmation(t *testing.T) {
	bubble(t, emulator.Config{}, func(b *bench) {
		b.ready()
		b.ends(b.Print(b.Context(), b.job("1")), printer.Result{Outcome: printer.Confirmed, Tier: printer.TierA, Accepted: any})
		b.ready()
		b.paper.EndPaperAfter(50)
		b.ends(b.Print(b.Context(), b.job("1")), printer.Result{Outcome: printer.Unknown, Accepted: any, Reason: "paper_out"})
		b.ends(b.Resolve(b.Context(), "1"), printer.Result{Outcome: printer.Unknown, Accepted: any, Reason: "paper_out"})
	})
}

// TestHangUp ends the line after every number of bytes. Whatever it is, the
// slip is confirmed or unknown, never both, the count is right, and the next
// slip begins on clean paper.
func TestHangUp(t *testing.T) {
	n := 0
	bubble(t, emulator.Config{}, func(b *bench) { n = len(b.job("1").Bytes) })
	for cut := 1; cut <= n; cut += 7 {
		bubble(t, emulator.Config{}, func(b *bench) {
			b.ready()
			b.paper.HangUpAfter(cut)
			b.ends(b.Print(b.Context(), b.job("1")), printer.Result{Outcome: printer.Unknown, Accepted: cut})
			b.ends(b.Resolve(b.Context(), "1"), printer.Result{Outcome: printer.Unknown, Drained: true, Accepted: cut})
			b.ready()
			b.ends(b.Print(b.Context(), b.job("2")), printer.Result{Outcome: printer.Confirmed, Tier: printer.TierA, Accepted: any})
			all := b.paper.Slips()
			last := all[len(all)-1]
			if got := strings.Fields(last.Text())[:2]; !slices.Equal(got, []string{"Comprovante", "2"}) || strings.Contains(last.Text(), "Comprovante 1") {
				t.Fatalf("after %d bytes the next slip is\n%s", cut, last.Text())
			}
			for _, s := range all[:len(all)-1] {
				if len(s.ProcessIDs) > 0 {
					t.Fatalf("after %d bytes a piece was confirmed", cut)
				}
			}
			if len(last.Problems) > 0 {
				t.Fatalf("after %d bytes: %v", cut, last.Problems)
			}
		})
	}
}

// TestLostConfirmation: the line dies between the last byte and the answer.
// The slip is there, and only eyes can tell.
func TestLostConfirmation(t *testing.T) {
	bubble(t, emulator.Config{}, func(b *bench) {
		b.ready()
		j := b.job("1")
		b.paper.HangUpAfter(len(j.Bytes))
		b.ends(b.Print(b.Context(), j), printer.Result{Outcome: printer.Unknown, Accepted: len(j.Bytes), Reason: "line died"})
		b.ends(b.Resolve(b.Context(), "1"), printer.Result{Outcome: printer.Unknown, Drained: true, Accepted: any})
		b.slips("Comprovante 1")
	})
}

// TestRestart: the process dies after the last byte. The new one finds the job
// started; what the printer still has in its buffer confirms late, what it
// already confirmed to the dead process stays unknown.
func TestRestart(t *testing.T) {
	bubble(t, emulator.Config{}, func(b *bench) {
		b.ready()
		b.paper.EndPaperAfter(100)
		ctx, kill := context.WithCancel(b.Context())
		time.AfterFunc(time.Second, kill)
		b.ends(b.Print(ctx, b.job("1")), printer.Result{Outcome: printer.Unknown, Accepted: any, Reason: "stopped while waiting"})
		b.restart()
		b.ends(b.Resolve(b.Context(), "1"), printer.Result{Outcome: printer.Unknown, Reason: "paper_out"})
		b.paper.LoadPaper()
		b.ends(b.Resolve(b.Context(), "1"), printer.Result{Outcome: printer.Confirmed, Tier: printer.TierA})
		b.slips("Comprovante 1")

		b.ready()
		b.ends(b.Print(b.Context(), b.job("2")), printer.Result{Outcome: printer.Confirmed, Tier: printer.TierA, Accepted: any})
		b.restart() // before it could be recorded
		b.ends(b.Resolve(b.Context(), "2"), printer.Result{Outcome: printer.Unknown, Drained: true, Reason: "not known"})
		b.slips("Comprovante 1", "Comprovante 2")
	})
}

// TestOverrun: a printer without flow control loses bytes without a word.
func TestOverrun(t *testing.T) {
	bubble(t, emulator.Config{BufferSize: 64, Speed: 100}, func(b *bench) {
		b.ready()
		j := b.job("1")
		b.ends(b.Print(b.Context(), j), printer.Result{Outcome: printer.Unknown, Accepted: len(j.Bytes)})
		if b.paper.Lost() == 0 {
			t.Fatal("nothing was lost: the test tests nothing")
		}
		b.ends(b.Resolve(b.Context(), "1"), printer.Result{Outcome: printer.Unknown, Drained: true, Accepted: any})
	})
}

// TestHeldUp: with flow control a small buffer is no harm, and a printer that
// holds the line in the middle of a job ends it in bounded time.
func TestHeldUp(t *testing.T) {
	bubble(t, emulator.Config{BufferSize: 64, Speed: 100, Flow: true}, func(b *bench) {
		b.ready()
		b.ends(b.Print(b.Context(), b.job("1")), printer.Result{Outcome: printer.Confirmed, Tier: printer.TierA, Accepted: any})
		b.ready()
		b.paper.EndPaperAfter(50)
		start := time.Now()
		j := b.job("2")
		r := b.Print(b.Context(), j)
		if r.Outcome != printer.Unknown || r.Accepted == 0 || r.Accepted >= len(j.Bytes) || !strings.Contains(r.Reason, "bytes went out") {
			t.Fatalf("got %+v", r)
		}
		if d := time.Since(start); d > 20*time.Second {
			t.Errorf("took %v", d)
		}
		b.paper.LoadPaper()
		b.ends(b.Resolve(b.Context(), "2"), printer.Result{Outcome: printer.Unknown, Drained: true, Accepted: r.Accepted})
		b.ready()
		b.ends(b.Print(b.Context(), b.job("3")), printer.Result{Outcome: printer.Confirmed, Tier: printer.TierA, Accepted: any})
		b.slips("Comprovante 1", "Comprovante 2", "Comprovante 3")
	})
}

// TestNoProcessID: a printer that the profile promises too much of.
func TestNoProcessID(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &bench{T: t, paper: emulator.New(emulator.Config{}), profile: profile(t, "epson-80")}
		b.restart()
		b.ready()
		b.ends(b.Print(b.Context(), b.job("1")), printer.Result{Outcome: printer.Unknown, Accepted: any, Reason: "no answer"})
		b.ends(b.Resolve(b.Context(), "1"), printer.Result{Outcome: printer.Unknown, Drained: true, Accepted: any})
	})
}

// noisy puts bytes that nobody asked for before everything a printer says, and
// hands over one byte at a time, as a slow line does.
type noisy struct {
	printer.Port
	noise []byte
}

func (n *noisy) Read(b []byte) (int, error) {
	if len(n.noise) > 0 {
		k := copy(b, n.noise[:1])
		n.noise = n.noise[k:]
		return k, nil
	}
	return n.Port.Read(b[:1])
}

// TestNoise: XON and XOFF, automatic status, a foreign process id, a block
// that never ends and plain rubbish are no answers.
func TestNoise(t *testing.T) {
	for _, noise := range []string{"\x11\x13", "\x10\x00\x00\x0f", "\x37\x22abcd\x00", "\xff\xfe\x80", "\x5fTM-T20\x00", "\x37\x25\x00"} {
		synctest.Test(t, func(t *testing.T) {
			b := &bench{T: t, paper: emulator.New(emulator.Config{ProcessID: true}), profile: profile(t, "epson-80")}
			line := &noisy{}
			b.Printer = printer.New(func(context.Context) (printer.Port, error) {
				line.Port = b.paper.Connect()
				return line, nil
			}, b.profile, nil)
			line.noise = []byte(noise)
			b.ready()
			line.noise = []byte(noise)
			b.ends(b.Print(b.Context(), b.job("1")), printer.Result{Outcome: printer.Confirmed, Tier: printer.TierA, Accepted: any})
		})
	}
}

// TestLateStatus: a status answer that came after its time (or a byte of noise
// that looks like one) is not taken for the next question's, then or later.
func TestLateStatus(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &bench{T: t, paper: emulator.New(emulator.Config{ProcessID: true}), profile: profile(t, "epson-80")}
		line := &noisy{}
		b.Printer = printer.New(func(context.Context) (printer.Port, error) {
			line.Port = b.paper.Connect()
			return line, nil
		}, b.profile, nil)
		b.paper.SetNearEnd(true)
		line.noise = []byte("\x12")
		want := printer.Status{Answered: true, Paper: printer.PaperLow}
		for range 3 {
			if got, err := b.Ready(b.Context()); err != nil || got != want {
				t.Errorf("got %+v, %v, want %+v", got, err, want)
			}
		}
	})
}

// badPort returns nothing, or lies about how much it wrote.
type badPort struct {
	printer.Port
	empty, short bool
}

func (p badPort) Read(b []byte) (int, error) {
	if p.empty {
		return 0, nil
	}
	return p.Port.Read(b)
}

func (p badPort) Write(b []byte) (int, error) {
	if p.short && len(b) > 3 {
		b = b[:len(b)-1]
	}
	return p.Port.Write(b)
}

func TestBadPort(t *testing.T) {
	for _, bad := range []badPort{{empty: true}, {short: true}} {
		synctest.Test(t, func(t *testing.T) {
			paper := emulator.New(emulator.Config{ProcessID: true})
			p := printer.New(func(context.Context) (printer.Port, error) {
				bad.Port = paper.Connect()
				return bad, nil
			}, profile(t, "epson-80"), nil)
			if _, err := p.Ready(t.Context()); !errors.Is(err, printer.ErrNotReady) {
				t.Errorf("got %v", err)
			}
		})
	}
}

// TestFile: a file is no printer. Nothing is asked, and nothing is called
// printed.
func TestFile(t *testing.T) {
	name := filepath.Join(t.TempDir(), "out.bin")
	prof := profile(t, "epson-80")
	p := printer.New(func(context.Context) (printer.Port, error) { return printer.CreateFile(name) }, prof, nil)
	var want []byte
	for _, id := range []string{"1", "2"} {
		s, err := p.Ready(t.Context())
		if err != nil || !s.WriteOnly || s.Answered {
			t.Fatalf("%+v, %v", s, err)
		}
		j, err := printer.NewJob(id, twentyLines(), prof)
		if err != nil {
			t.Fatal(err)
		}
		r := p.Print(t.Context(), j)
		if r.Outcome != printer.Sent || r.Tier != printer.TierD || r.Accepted != len(j.Bytes) {
			t.Fatalf("got %+v", r)
		}
		want = append(want, j.Bytes...)
		if err := p.Close(); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != string(want) {
		t.Errorf("the file holds %d bytes, want the %d of the jobs", len(got), len(want))
	}
	if r := p.Resolve(t.Context(), "1"); r.Outcome != printer.Unknown || !r.Drained {
		t.Errorf("resolve: %+v", r)
	}
	if _, err := printer.CreateFile(t.TempDir()); err == nil {
		t.Error("a directory was opened")
	}
	if _, err := printer.CreateFile("/dev/null"); err == nil {
		t.Error("a device was opened as a file")
	}
}
