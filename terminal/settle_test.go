package terminal_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/ssg-safe/agent/display"
	"github.com/ssg-safe/agent/printer"
	"github.com/ssg-safe/agent/queue"
	"github.com/ssg-safe/agent/terminal"
)

func TestReprint(t *testing.T) {
	bubble(t, func(r *rig) {
		id := r.begin()
		r.pass(time.Second)
		s, err := r.term.Reprint(r.Context(), id)
		if err != nil || s.Kind != terminal.SlipQR || s.NSU != 1 || s.Copy != 2 {
			r.Errorf("code: %+v, %v", s, err)
		}
		r.pass(time.Second)
		r.route.pays(1234, "E1")
		r.pass(10 * time.Second)
		for copies := 2; copies <= 3; copies++ {
			if s, err = r.term.Reprint(r.Context(), id); err != nil || s.Kind != terminal.SlipReceipt || s.NSU != 2 || s.Copy != copies {
				r.Errorf("receipt: %+v, %v; want copy %d", s, err, copies)
			}
			r.pass(time.Minute) // the last one after the charge was forgotten
		}
		if got, want := r.printer.ids(), []string{"1/1", "1/2", "2/1", "2/2", "2/3"}; !slices.Equal(got, want) {
			r.Errorf("printed %v, want %v", got, want)
		}
		if _, err := r.term.Reprint(r.Context(), "T00100000000000000000000X"); !errors.Is(err, terminal.ErrNoCharge) {
			r.Errorf("unknown charge: %v", err)
		}
	})
}

// TestReprintOnce: of requests that come together one is served, and what was
// never printed is printed first as what it is, not twice as an original.
func TestReprintOnce(t *testing.T) {
	bubble(t, func(r *rig) {
		r.route.pays(1000, "E1")
		id, err := r.term.Start(r.Context(), terminal.Request{Amount: 1000, Source: "api"})
		if err != nil {
			r.Fatal(err)
		}
		r.pass(10 * time.Second)
		answers := make(chan error, 5)
		for range cap(answers) {
			go func() {
				_, err := r.term.Reprint(r.Context(), id)
				answers <- err
			}()
		}
		served := 0
		for range cap(answers) {
			switch err := <-answers; {
			case err == nil:
				served++
			case !errors.Is(err, terminal.ErrSlipWaits):
				r.Error(err)
			}
		}
		r.pass(time.Second)
		if got := r.printer.ids(); served == 0 || len(got) != served || got[0] != "1/1" {
			r.Errorf("%d served, printed %v", served, got)
		}
		for i, pid := range r.printer.ids() {
			if want := "1/" + string(rune('1'+i)); pid != want {
				r.Errorf("print %d is %s, want %s", i, pid, want)
			}
		}
	})
}

func TestReprintRefused(t *testing.T) {
	bubble(t, func(r *rig) {
		id := r.begin()
		r.pass(time.Second)
		r.printer.set(func(p *paper) { p.ready = errors.New("no paper") })
		if _, err := r.term.Reprint(r.Context(), id); err != nil {
			r.Error(err)
		}
		if _, err := r.term.Reprint(r.Context(), id); !errors.Is(err, terminal.ErrSlipWaits) {
			r.Errorf("while one waits: %v", err)
		}
		r.pass(10 * time.Minute) // expired
		if _, err := r.term.Reprint(r.Context(), id); !errors.Is(err, terminal.ErrNothingToPrint) {
			r.Errorf("expired: %v", err)
		}
		r.route.pays(1234, "E1") // late: nothing was delivered
		r.pass(10 * time.Minute)
		if _, err := r.term.Reprint(r.Context(), id); !errors.Is(err, terminal.ErrNothingToPrint) {
			r.Errorf("late: %v", err)
		}
		r.printer.set(func(p *paper) { p.ready = nil })
		r.pass(time.Minute)
		if got := r.printer.ids(); len(got) != 1 {
			r.Errorf("printed %v, want the first code alone", got)
		}
	})
}

// TestSettle: dead letters are retried and dropped, and waiting jobs dropped,
// while the terminal runs.
func TestSettle(t *testing.T) {
	bubble(t, func(r *rig) {
		r.printer.result = func(printer.Job) printer.Result {
			return printer.Result{Outcome: printer.Unknown, Accepted: 10, Reason: "hang-up"}
		}
		r.printer.resolve = printer.Result{Outcome: printer.Unknown, Drained: true}
		r.route.pays(1234, "E1")
		id := r.begin()
		r.pass(30 * time.Second)
		dead := r.jobs(queue.Dead)
		if len(dead) != 2 {
			r.Fatalf("dead letters %+v", dead)
		}
		if _, err := r.term.Reprint(r.Context(), id); !errors.Is(err, terminal.ErrSlipWaits) {
			r.Errorf("a copy beside a dead letter: %v", err)
		}
		if _, err := r.term.Settle(r.Context(), terminal.Retried, []uint64{dead[1].ID, 99}); !errors.Is(err, queue.ErrNotFound) {
			r.Errorf("an unknown job: %v", err)
		}
		r.printer.set(func(p *paper) { p.result = nil })
		if got, err := r.term.Settle(r.Context(), terminal.Retried, []uint64{dead[1].ID}); err != nil || len(got) != 1 {
			r.Errorf("retry: %+v, %v", got, err)
		}
		r.pass(10 * time.Second)
		if got, want := r.printer.ids(), []string{"1/1", "2/1", "2/2"}; !slices.Equal(got, want) {
			r.Errorf("printed %v, want %v", got, want)
		}
		if got, err := r.term.Settle(r.Context(), terminal.Dropped, nil); err != nil || len(got) != 1 || got[0].ID != dead[0].ID {
			r.Errorf("drop: %+v, %v", got, err)
		}
		if s, err := r.term.Reprint(r.Context(), id); err != nil || s.Copy != 3 {
			r.Errorf("a copy after a retry: %+v, %v; want copy 3", s, err)
		}
		r.pass(10 * time.Second)
		if jobs := append(r.jobs(queue.List), r.jobs(queue.Dead)...); len(jobs) != 0 {
			r.Errorf("jobs %+v", jobs)
		}
	})
}

// TestDropWaiting: a waiting job is dropped, but not while it is printed.
func TestDropWaiting(t *testing.T) {
	bubble(t, func(r *rig) {
		release := make(chan struct{})
		r.printer.wait = func(ctx context.Context) { <-release }
		r.begin()
		r.pass(time.Second)
		job := r.jobs(queue.List)[0]
		if _, err := r.term.Settle(r.Context(), terminal.Dropped, []uint64{job.ID}); !errors.Is(err, terminal.ErrPrinting) {
			r.Errorf("at work: %v, want ErrPrinting", err)
		}
		r.printer.set(func(p *paper) { p.ready = errors.New("no paper") })
		close(release)
		r.pass(0)
		if _, err := r.term.Settle(r.Context(), terminal.Dropped, []uint64{job.ID}); err != nil {
			r.Error(err)
		}
		r.printer.set(func(p *paper) { p.ready = nil })
		r.pass(time.Minute)
		if got := r.printer.ids(); len(got) != 0 {
			r.Errorf("printed %v", got)
		}
		r.keys("C")
		r.pass(time.Minute)
		r.shows(display.Idle)
		if got, err := r.term.Settle(r.Context(), terminal.Retried, nil); err != nil || len(got) != 0 {
			r.Errorf("no dead letters: %+v, %v", got, err)
		}
	})
}
