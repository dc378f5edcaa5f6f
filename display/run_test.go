package display

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gdamore/tcell/v2"
	"github.com/google/go-cmp/cmp"
)

// watched is a simulated screen that counts and can be made to misbehave.
type watched struct {
	tcell.SimulationScreen
	mu        sync.Mutex
	shows     []time.Time
	syncs     []time.Time
	puts      int
	fini      bool
	blockShow chan struct{} // Show waits for it, if not nil
	blockFini chan struct{}
}

func watch(t *testing.T, w, h int) *watched {
	return &watched{SimulationScreen: simulation(t, w, h)}
}

func (s *watched) EventQ() chan tcell.Event {
	return s.SimulationScreen.(interface{ EventQ() chan tcell.Event }).EventQ()
}

func (s *watched) SetContent(x, y int, r rune, c []rune, style tcell.Style) {
	s.mu.Lock()
	s.puts++
	s.mu.Unlock()
	s.SimulationScreen.SetContent(x, y, r, c, style)
}

func (s *watched) Show() {
	s.mu.Lock()
	s.shows = append(s.shows, time.Now())
	block := s.blockShow
	s.mu.Unlock()
	if block != nil {
		<-block
	}
	s.SimulationScreen.Show()
}

func (s *watched) Sync() {
	s.mu.Lock()
	s.syncs = append(s.syncs, time.Now())
	s.mu.Unlock()
	s.SimulationScreen.Sync()
}

func (s *watched) Fini() {
	if s.blockFini != nil {
		<-s.blockFini
	}
	s.mu.Lock()
	s.fini = true
	s.mu.Unlock()
	s.SimulationScreen.Fini()
}

// counts forgets what was counted so far and returns it.
func (s *watched) counts() (shows, syncs, puts int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	shows, syncs, puts = len(s.shows), len(s.syncs), s.puts
	s.shows, s.syncs, s.puts = nil, nil, 0
	return shows, syncs, puts
}

func TestViewsAreDrawnAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		screen := watch(t, 100, 30)
		type report struct {
			state State
			qr    bool
			text  bool
			at    time.Duration
		}
		var got []report
		start := time.Now()
		o := testOptions()
		o.Screen = screen
		o.Drawn = func(d Drawn) {
			// The screen already shows what is reported.
			on := snapshot(screen).String()
			word := map[State]string{Creating: "Gerando", QR: "Expira em", Paid: "Confirmado em"}[d.View.State]
			got = append(got, report{d.View.State, d.QR, strings.Contains(on, word), time.Since(start)})
		}
		d := New(o)
		started(t, d)
		for _, s := range []State{Creating, QR, Paid} {
			time.Sleep(100*time.Millisecond + 7)
			d.Show(sample(s))
			synctest.Wait()
		}
		step := 100*time.Millisecond + 7
		want := []report{{Creating, false, true, step}, {QR, true, true, 2 * step}, {Paid, false, true, 3 * step}}
		if diff := cmp.Diff(got, want, cmp.AllowUnexported(report{})); diff != "" {
			t.Errorf("reports (-got +want):\n%s", diff)
		}
	})
}

// TestNewestViewWins: Show returns at once while the terminal takes no output,
// and of all the Views that come meanwhile only the last is drawn.
func TestNewestViewWins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		screen := watch(t, 80, 25)
		var got []string
		o := testOptions()
		o.Screen = screen
		o.Drawn = func(d Drawn) { got = append(got, d.View.Charge) }
		d := New(o)
		d.Show(View{State: Idle, Charge: "first"})
		started(t, d)
		screen.mu.Lock()
		screen.blockShow = make(chan struct{})
		screen.mu.Unlock()
		d.Show(View{State: Paid, Charge: "stuck"})
		synctest.Wait()
		before := time.Now()
		for i := range 1000 {
			d.Show(View{State: Paid, Charge: fmt.Sprint(i)})
		}
		if waited := time.Since(before); waited != 0 {
			t.Errorf("Show took %v", waited)
		}
		if diff := cmp.Diff(got, []string{"first"}); diff != "" {
			t.Errorf("reported before it was on the screen (-got +want):\n%s", diff)
		}
		screen.mu.Lock()
		close(screen.blockShow)
		screen.blockShow = nil
		screen.mu.Unlock()
		synctest.Wait()
		if diff := cmp.Diff(got, []string{"first", "stuck", "999"}); diff != "" {
			t.Errorf("reports (-got +want):\n%s", diff)
		}
	})
}

// TestOnlyDifferencesAreDrawn counts what one second of each screen costs.
func TestOnlyDifferencesAreDrawn(t *testing.T) {
	for _, tc := range []struct {
		state State
		shows int // in a second
		puts  int // cells, at most
	}{
		{Creating, 4, 8},
		{Verifying, 4, 8},
		{QR, 1, 5},
		{Idle, 0, 0},
		{Amount, 0, 0},
		{Paid, 0, 0},
	} {
		t.Run(string(tc.state), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				screen := watch(t, 100, 30)
				o := testOptions()
				o.Screen = screen
				d := New(o)
				d.Show(sample(tc.state))
				started(t, d)
				screen.counts()
				time.Sleep(time.Second)
				synctest.Wait()
				shows, syncs, puts := screen.counts()
				if shows != tc.shows || syncs != 0 || puts > tc.puts {
					t.Errorf("got %d pictures, %d repaints, %d cells; want %d, 0, at most %d", shows, syncs, puts, tc.shows, tc.puts)
				}
				// The same View again, as when only the terminal's own state moved.
				d.Show(sample(Amount))
				synctest.Wait()
				screen.counts()
				d.Show(sample(Amount))
				synctest.Wait()
				if shows, syncs, puts := screen.counts(); shows+syncs+puts != 0 {
					t.Errorf("the same View again cost %d pictures, %d cells", shows+syncs, puts)
				}
			})
		})
	}
}

// TestCountdownRunsByItself: without another Show, to zero and no further.
func TestCountdownRunsByItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		screen := simulation(t, 100, 30)
		o := testOptions()
		o.Screen = screen
		var reports int
		o.Drawn = func(Drawn) { reports++ }
		// The wall clock jumps about; the countdown does not care.
		wall := noon
		o.Now = func() time.Time { wall = wall.Add(-17 * time.Hour); return wall }
		d := New(o)
		v := sample(QR)
		v.Remaining, v.Total = 3*time.Second+300*time.Millisecond, 10*time.Second
		d.Show(v)
		started(t, d)
		for _, want := range []string{"00:04", "00:03", "00:03", "00:02", "00:02", "00:01", "00:01", "00:00", "00:00"} {
			if got := snapshot(screen).String(); !strings.Contains(got, "Expira em "+want) {
				t.Errorf("want %s on\n%s", want, got)
			}
			time.Sleep(500 * time.Millisecond)
			synctest.Wait()
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if got := snapshot(screen).String(); !strings.Contains(got, "Expira em 00:00") {
			t.Errorf("want 00:00 on\n%s", got)
		}
		if reports != 1 {
			t.Errorf("got %d reports, want 1: frames are no Views", reports)
		}
	})
}

// TestRepaints: everything every minute and after a change of size, with or
// without an event for it.
func TestRepaints(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		screen := watch(t, 100, 30)
		var got []string
		o := testOptions()
		o.Screen = screen
		o.Drawn = func(d Drawn) { got = append(got, fmt.Sprint(d.View.State, d.QR)) }
		d := New(o)
		d.Show(sample(QR))
		started(t, d)
		screen.counts()

		screen.SimulationScreen.SetContent(10, 10, 'k', nil, tcell.StyleDefault) // a kernel message
		time.Sleep(3*time.Minute + time.Second)
		synctest.Wait()
		if _, syncs, _ := screen.counts(); syncs != 3 {
			t.Errorf("got %d repaints in three minutes, want 3", syncs)
		}

		resize := func(w, h int, event bool) {
			screen.SetSize(w, h)
			if event {
				if err := screen.PostEvent(tcell.NewEventResize(w, h)); err != nil {
					t.Fatal(err)
				}
			}
			synctest.Wait()
		}
		resize(40, 20, true) // too small for the code
		resize(100, 30, true)
		resize(50, 20, false) // unnoticed until the next frame
		time.Sleep(time.Second)
		synctest.Wait()
		resize(20, 5, true)
		if p := snapshot(screen); !strings.Contains(p.String(), "pequena") || p.w != 20 {
			t.Errorf("want the message for tiny screens, got %dx%d\n%s", p.w, p.h, p)
		}
		want := []string{"qrtrue", "qrfalse", "qrtrue", "qrfalse"}
		if diff := cmp.Diff(got, want); diff != "" {
			t.Errorf("reports (-got +want):\n%s", diff)
		}
	})
}

// TestHangup: the terminal goes, the code is reported gone, and after a pause
// the screen is there again.
func TestHangup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		screens := make(chan *watched, 4)
		var opened []time.Duration
		start := time.Now()
		type report struct {
			state State
			qr    bool
			at    time.Duration
		}
		var got []report
		o := testOptions()
		o.Drawn = func(d Drawn) { got = append(got, report{d.View.State, d.QR, time.Since(start)}) }
		d := New(o)
		d.open = func(context.Context) (terminal, error) {
			opened = append(opened, time.Since(start))
			if len(opened) == 2 || len(opened) == 3 {
				return terminal{}, errors.New("no such device")
			}
			s := watch(t, 100, 30)
			screens <- s
			return terminal{screen: s}, nil
		}
		d.Show(sample(QR))
		started(t, d)
		time.Sleep(time.Second)
		first := <-screens
		if err := first.PostEvent(tcell.NewEventError(errors.New("EOF"))); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if !first.fini {
			t.Error("the screen that hung up was not ended")
		}
		time.Sleep(4 * reopenPause)
		synctest.Wait()
		d.Show(sample(Paid))
		synctest.Wait()
		if text := snapshot((<-screens).SimulationScreen).String(); !strings.Contains(text, "Confirmado") {
			t.Errorf("want the new View on the new terminal, got\n%s", text)
		}
		p := reopenPause
		if diff := cmp.Diff(opened, []time.Duration{0, time.Second + p, time.Second + 2*p, time.Second + 3*p}); diff != "" {
			t.Errorf("opened at (-got +want):\n%s", diff)
		}
		want := []report{
			{QR, true, 0},
			{QR, false, time.Second},
			{QR, true, time.Second + 3*p},
			{Paid, false, time.Second + 4*p},
		}
		if diff := cmp.Diff(got, want, cmp.AllowUnexported(report{})); diff != "" {
			t.Errorf("reports (-got +want):\n%s", diff)
		}
	})
}

// TestHangupWhileWaiting ends the display in the pause.
func TestHangupWhileWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		d := New(testOptions())
		var screen *watched
		d.open = func(context.Context) (terminal, error) {
			screen = watch(t, 80, 25)
			return terminal{screen: screen}, nil
		}
		done := make(chan error, 1)
		go func() { done <- d.Run(ctx) }()
		synctest.Wait()
		_ = screen.PostEvent(tcell.NewEventError(errors.New("EOF")))
		synctest.Wait()
		cancel()
		if err := <-done; err != nil {
			t.Errorf("got %v, want nil", err)
		}
	})
}

// TestFiniDeadline: a terminal that is stuck, in Show or in Fini, does not hold
// up the end of the program.
func TestFiniDeadline(t *testing.T) {
	for _, where := range []string{"show", "fini"} {
		t.Run(where, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				stuck := make(chan struct{})
				screen := watch(t, 80, 25)
				if where == "show" {
					screen.blockShow = stuck
				} else {
					screen.blockFini = stuck
				}
				ctx, cancel := context.WithCancel(t.Context())
				o := testOptions()
				o.Screen = screen
				d := New(o)
				done := make(chan error, 1)
				go func() { done <- d.Run(ctx) }()
				synctest.Wait()
				d.Show(sample(Paid))
				synctest.Wait()
				start := time.Now()
				cancel()
				if err := <-done; err != nil {
					t.Errorf("got %v, want nil", err)
				}
				if took := time.Since(start); took != finiDeadline {
					t.Errorf("Run ended after %v, want %v", took, finiDeadline)
				}
				close(stuck)
			})
		})
	}
}

// TestPanics: wherever it happens, the terminal is put back first, and then the
// panic comes out of Run.
func TestPanics(t *testing.T) {
	for _, where := range []string{"keys", "drawn", "now"} {
		t.Run(where, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				screen := watch(t, 80, 25)
				boom := func(at string) {
					if at == where {
						panic("boom in " + at)
					}
				}
				calls := 0
				o := Options{
					Screen: screen,
					Keys:   func(Key) { boom("keys") },
					Drawn:  func(Drawn) { boom("drawn") },
					Now: func() time.Time {
						if calls++; calls > 1 {
							boom("now")
						}
						return noon
					},
				}
				d := New(o)
				crash := make(chan any, 1)
				go func() {
					defer func() { crash <- recover() }()
					_ = d.Run(t.Context())
				}()
				synctest.Wait()
				d.Show(sample(Idle))
				screen.InjectKey(tcell.KeyEnter, 0, tcell.ModNone)
				got := fmt.Sprint(<-crash)
				if !strings.Contains(got, "boom in "+where) || !strings.Contains(got, "run_test.go") {
					t.Errorf("got %s, want the panic and its stack", got)
				}
				if !screen.fini {
					t.Error("the screen was not ended")
				}
			})
		})
	}
}

// TestRunsAgain: a supervisor starts Run again after a panic, and nothing that
// was shown is lost.
func TestRunsAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var last *watched
		fail := true
		o := testOptions()
		o.Drawn = func(Drawn) {
			if fail {
				panic("once")
			}
		}
		d := New(o)
		d.open = func(context.Context) (terminal, error) {
			last = watch(t, 100, 30)
			return terminal{screen: last}, nil
		}
		d.Show(sample(Paid))
		func() {
			defer func() { _ = recover() }()
			_ = d.Run(t.Context())
			t.Error("Run returned without the panic")
		}()
		fail = false
		started(t, d)
		if text := snapshot(last.SimulationScreen).String(); !strings.Contains(text, "Confirmado") {
			t.Errorf("want the View on the screen again, got\n%s", text)
		}
	})
}

func TestHeadless(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got []string
		h := NewHeadless(Options{Drawn: func(d Drawn) {
			got = append(got, fmt.Sprint(d.View.Charge, d.QR, d.HandedOver))
		}})
		for _, c := range []string{"a", "b", "c"} {
			h.Show(View{State: QR, Charge: c, Code: "code"})
		}
		if diff := cmp.Diff(got, []string{"afalse true", "bfalse true", "cfalse true"}); diff != "" {
			t.Errorf("reports (-got +want):\n%s", diff)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- h.Run(ctx) }()
		synctest.Wait()
		select {
		case err := <-done:
			t.Errorf("Run returned %v before its context ended", err)
		default:
		}
		cancel()
		if err := <-done; err != nil {
			t.Errorf("got %v, want nil", err)
		}
		NewHeadless(Options{}).Show(View{State: Idle})
	})
}
