package terminal_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ssg-safe/agent/closing"
	"github.com/ssg-safe/agent/printer/emulator"
	"github.com/ssg-safe/agent/queue"
	"github.com/ssg-safe/agent/terminal"
)

// TestClosing: an X changes nothing, a Z is recorded once and printed with a
// number of its own; what comes later is in the next.
func TestClosing(t *testing.T) {
	bubble(t, func(r *rig) {
		r.route.pays(1234, "E1")
		r.begin()
		r.pass(30 * time.Second)
		before := r.kinds()
		x, err := r.term.Closing(r.Context(), terminal.ClosingRequest{})
		if err != nil || x.Merchant != "loja" || x.Number != 0 || x.Received() != 1234 || !slices.Equal(r.kinds(), before) {
			r.Errorf("X: %+v, %v; ledger %v", x, err, r.kinds())
		}
		z, err := r.term.Closing(r.Context(), terminal.ClosingRequest{Z: true, Print: true, By: "operator:ana"})
		if err != nil || z.Number != 1 || z.Received() != 1234 {
			r.Fatalf("Z: %+v, %v", z, err)
		}
		r.pass(10 * time.Second)
		if got, want := r.kinds()[len(before):], []string{closing.Kind, "slip.issued", "slip.printed"}; !slices.Equal(got, want) {
			r.Errorf("ledger %v, want %v", got, want)
		}
		printed := r.printer.jobs[len(r.printer.jobs)-1]
		text := emulator.Render(printed.Bytes, 576)[0].Text()
		for _, want := range []string{"FECHAMENTO Z Nº 1", "Pagas (1)", "R$ 12,34", "000003"} {
			if !strings.Contains(text, want) {
				r.Errorf("the slip does not say %q:\n%s", want, text)
			}
		}
		if _, err := r.term.Closing(r.Context(), terminal.ClosingRequest{Z: true}); !errors.Is(err, closing.ErrNothing) {
			r.Errorf("a second Z: %v", err)
		}
		// A number that was given is that closing, and neither printed nor recorded
		// again; also after a reboot.
		for range 2 {
			before, papers := r.kinds(), len(r.printer.ids())
			again, err := r.term.Closing(r.Context(), terminal.ClosingRequest{Z: true, Number: 1, Print: true})
			if diff := cmp.Diff(z, again); err != nil || diff != "" {
				r.Errorf("closing 1 again: %v\n%s", err, diff)
			}
			r.pass(10 * time.Second)
			if !slices.Equal(r.kinds(), before) || len(r.printer.ids()) != papers {
				r.Errorf("closing 1 again: ledger %v, then %v", before, r.kinds())
			}
			for number, want := range map[uint64]error{2: closing.ErrNothing, 3: closing.ErrNumber} {
				if _, err := r.term.Closing(r.Context(), terminal.ClosingRequest{Z: true, Number: number}); !errors.Is(err, want) {
					r.Errorf("closing %d: %v, want %v", number, err, want)
				}
			}
			r.restart(true)
		}
		if jobs := r.jobs(queue.List); len(jobs) != 0 {
			r.Errorf("jobs %+v", jobs)
		}
		if x, err := r.term.Closing(r.Context(), terminal.ClosingRequest{}); err != nil || !x.Empty() || x.From != z.To {
			r.Errorf("X after a reboot: %+v, %v", x, err)
		}
	})
}
