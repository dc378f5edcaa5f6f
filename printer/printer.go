// Package printer turns documents into slips of which we know whether they
// were printed.
//
// Build a [Document] (package printer/slip has the ones we use), make a [Job]
// of it with [NewJob], and give it to a [Printer]: [Printer.Ready] before,
// [Printer.Print] once, [Printer.Resolve] while the outcome is [Unknown].
//
// # What a confirmation is
//
// That the line took the bytes proves nothing. Every job therefore ends with a
// question that the printer answers after the cut, with a number that belongs
// to this job (GS ( H, process id): tier A. An answer with another number
// confirms nothing. How long the answer may take follows from the bytes, the
// paper and the knife; after that the outcome is Unknown.
//
// # What may be sent again
//
// Only a job of which the line accepted no byte ([NotStarted]). From the first
// accepted byte on, any fault means Unknown: printers keep their buffer when
// the paper ends and print it after the reload. The caller records that a job
// is started before it calls Print, treats a job that it finds started after a
// crash as Unknown, and sends nothing else until Resolve says Confirmed or
// Drained.
//
// Resolve listens for a late process id and then asks an ordered question (GS
// r). Answers come in order, so when the second is answered and the first was
// not, the printer has worked off all it had and this job was not among it
// (the buffer was lost with the power, say), or the answer was lost with the
// line. That is Drained, not Confirmed: whether the slip exists, only eyes can
// tell. A printer of tier B will be able to say more here; ours need not.
//
// # What never reaches the wire
//
// Real-time commands inside a job, and drawer pulses: see [ErrForbidden] and
// package printer/escpos.
package printer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"time"

	"github.com/ssg-safe/agent/printer/escpos"
)

const (
	quietTime   = 5 * time.Millisecond   // to hear out what is left over, before questions
	queryTime   = 500 * time.Millisecond // one status answer
	resolveTime = 10 * time.Second       // a barrier behind a job we know nothing of
)

// Printer speaks with one printer. It is used by one goroutine at a time; it
// starts none of its own that outlives a call.
type Printer struct {
	open    func(context.Context) (Port, error)
	profile Profile
	log     *slog.Logger

	port    Port           // nil = to be opened at the next Ready
	replies escpos.Replies // of this port
	ids     [][4]byte      // process ids answered since the last Print began
	last    last
}

// last is the job that Resolve may be asked for.
type last struct {
	id              string
	accepted, total int
	wait            time.Duration
}

// New returns a Printer that opens its port when it needs it, and again after
// the line died; how often it is tried is the caller's matter. It does no I/O.
// A nil logger discards.
func New(open func(context.Context) (Port, error), p Profile, log *slog.Logger) *Printer {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Printer{open: open, profile: p, log: log}
}

// Close gives the port back. The Printer may be used again.
func (p *Printer) Close() error {
	if p.port == nil {
		return nil
	}
	err := p.port.Close()
	p.port = nil
	return err
}

// Ready opens the port if needed and asks the printer how it is. A nil error
// means that a job may be sent now; otherwise it is a [*NotReadyError]
// ([ErrNotReady]), or the context's error. It takes at most the time to open
// the port and half a second for each of four questions.
func (p *Printer) Ready(ctx context.Context) (Status, error) {
	idle := p.port != nil
	s, err := p.ask(ctx)
	if idle && err != nil && ctx.Err() == nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		// The line died since it was last used, as idle connections do.
		s, err = p.ask(ctx)
	}
	switch {
	case ctx.Err() != nil:
		return s, ctx.Err()
	case errors.Is(err, os.ErrDeadlineExceeded) && !errors.Is(err, errOpen):
		return s, &NotReadyError{Reasons: []Reason{Silent}, Err: err}
	case err != nil:
		return s, &NotReadyError{Reasons: []Reason{NoPort}, Err: err}
	}
	if rs := s.Problems(); len(rs) > 0 {
		return s, &NotReadyError{Reasons: rs}
	}
	return s, nil
}

// ask is one try of Ready. An error leaves the port closed: one that stays
// silent may lead to a printer that was switched off, and its late answers
// would be taken for answers to other questions.
func (p *Printer) ask(ctx context.Context) (Status, error) {
	none := Status{Paper: PaperUnknown}
	extra, err := p.connect(ctx)
	if err != nil {
		return none, err
	}
	if p.writeOnly() {
		return Status{WriteOnly: true, Paper: PaperUnknown}, nil
	}
	s, err := p.status(ctx, extra)
	if err != nil {
		p.hangUp(err)
		return none, err
	}
	return s, nil
}

// Print sends a job, once, and waits for its confirmation. Ready must have
// succeeded just before. The context is honoured before the first byte and
// while waiting; in between, half a slip helps nobody and deadlines bound the
// time.
func (p *Printer) Print(ctx context.Context, j Job) Result {
	switch what := escpos.Forbidden(j.Bytes); {
	case what != "":
		return Result{Outcome: Refused, Reason: ErrForbidden.Error() + ": " + what}
	case len(j.Bytes) == 0:
		return Result{Outcome: Refused, Reason: "the job is empty"}
	case p.port == nil:
		return Result{Outcome: NotStarted, Reason: "the port is closed"}
	case ctx.Err() != nil:
		return Result{Outcome: NotStarted, Reason: ctx.Err().Error()}
	}
	p.ids = nil
	p.last = last{id: j.ID, total: len(j.Bytes), wait: j.waiting(p.profile)}
	n, err := p.send(j.Bytes)
	p.last.accepted = n
	switch {
	case err != nil && n == 0:
		p.hangUp(err)
		return Result{Outcome: NotStarted, Reason: err.Error()}
	case err != nil:
		p.hangUp(err)
		return Result{Outcome: Unknown, Accepted: n, Reason: fmt.Sprintf("%d of %d bytes went out: %v", n, len(j.Bytes), err)}
	case p.writeOnly() || p.profile.Tier != TierA:
		return Result{Outcome: Sent, Accepted: n, Tier: TierD, Reason: "nobody confirms"}
	}

	id := ProcessID(j.ID)
	deadline := time.Now().Add(p.last.wait)
	err = p.listen(ctx, deadline, func(escpos.Reply) bool { return slices.Contains(p.ids, id) })
	if err == nil {
		return Result{Outcome: Confirmed, Accepted: n, Tier: TierA}
	}
	reason := p.explain(ctx, err, p.last.wait)
	if slices.Contains(p.ids, id) { // it came while we asked for the reason
		return Result{Outcome: Confirmed, Accepted: n, Tier: TierA}
	}
	return Result{Outcome: Unknown, Accepted: n, Reason: reason}
}

// explain says why a confirmation did not come.
func (p *Printer) explain(ctx context.Context, err error, waited time.Duration) string {
	switch {
	case ctx.Err() != nil:
		return "stopped while waiting for the confirmation: " + ctx.Err().Error()
	case !errors.Is(err, os.ErrDeadlineExceeded):
		p.hangUp(err)
		return "the line died before the confirmation: " + err.Error()
	}
	reason := fmt.Sprintf("no answer in %v", waited.Round(100*time.Millisecond))
	if len(p.ids) > 0 {
		reason += "; the printer answered for another job"
	}
	if _, err := p.Ready(ctx); err != nil {
		reason += "; " + err.Error()
	}
	return reason
}

// Resolve asks what became of a job that ended Unknown, or that was found
// started after a restart. The answer is Confirmed (a late process id), or
// Unknown: with Drained nothing of the job is left in the printer and others
// may be sent; without, the printer is still out of order or busy, and Resolve
// is to be called again later.
//
// When Resolve says Drained it has had the paper cut, so that the remains of a
// broken slip are not the head of the next one.
func (p *Printer) Resolve(ctx context.Context, id string) Result {
	known := p.last.id == id && p.last.total > 0
	if p.last.id != id {
		p.last = last{id: id, wait: resolveTime}
	}
	r := Result{Outcome: Unknown, Accepted: p.last.accepted}
	pid := ProcessID(id)
	confirmed := func() bool { return slices.Contains(p.ids, pid) }
	late := Result{Outcome: Confirmed, Accepted: p.last.accepted, Tier: TierA}

	status, err := p.Ready(ctx) // hears a late answer in passing
	switch {
	case confirmed():
		return late
	case err != nil:
		r.Reason = err.Error()
		return r
	case status.WriteOnly:
		r.Drained, r.Reason = true, "nobody confirms"
		return r
	}

	// Bytes that were lost on the way may have left a command open, which
	// would take the question for its data.
	ask := append(p.resync(), escpos.Barrier()...)
	if _, err := p.send(ask); err != nil {
		p.hangUp(err)
		r.Reason = err.Error()
		return r
	}
	answered := false
	wait := max(p.last.wait, resolveTime)
	err = p.listen(ctx, time.Now().Add(wait), func(a escpos.Reply) bool {
		answered = answered || a.Kind == escpos.Sensor
		return answered
	})
	switch {
	case confirmed():
		return late
	case err != nil:
		r.Reason = p.explain(ctx, err, wait)
		if confirmed() {
			return late
		}
		return r
	}
	if _, err := p.send(escpos.CutOff()); err != nil {
		p.hangUp(err)
	}
	r.Drained = true
	switch {
	case !known:
		r.Reason = "the printer is free; what it did with the job is not known"
	case p.last.accepted < p.last.total:
		r.Reason = fmt.Sprintf("the printer is free; it was sent %d of %d bytes of the job", p.last.accepted, p.last.total)
	default:
		r.Reason = "the printer is free and did not confirm the job: it was switched off, or lost bytes"
	}
	return r
}

// connect opens the port and ends what an interrupted job left open. Extra is
// how much longer the first answer may take for that.
func (p *Printer) connect(ctx context.Context) (extra time.Duration, err error) {
	if p.port != nil {
		return 0, nil
	}
	if p.port, err = p.open(ctx); err != nil {
		p.port = nil
		return 0, fmt.Errorf("%w: %w", errOpen, err)
	}
	p.replies = escpos.Replies{}
	if p.writeOnly() {
		return 0, nil
	}
	resync := p.resync()
	if _, err := p.send(resync); err != nil {
		p.hangUp(err)
		return 0, fmt.Errorf("reset printer: %w", err)
	}
	return p.profile.lineTime(len(resync)), nil
}

// resync ends the longest command that a broken job may have left open.
func (p *Printer) resync() []byte { return escpos.Resync(p.profile.QR.MaxBytes + 8) }

func (p *Printer) writeOnly() bool {
	w, ok := p.port.(interface{ WriteOnly() bool })
	return ok && w.WriteOnly()
}

// hangUp closes a port that failed.
func (p *Printer) hangUp(why error) {
	if p.port == nil {
		return
	}
	p.log.Debug("printer port closed", "err", why) // the caller tells, once
	if err := p.Close(); err != nil {
		p.log.Warn("printer port did not close", "err", err)
	}
}

// send writes all of b, each chunk under its own deadline, and returns how
// many bytes the line accepted.
func (p *Printer) send(b []byte) (accepted int, err error) {
	size := p.profile.Chunk
	if size <= 0 {
		size = len(b)
	}
	for chunk := range slices.Chunk(b, size) {
		deadline := time.Now().Add(p.profile.Stall + p.profile.lineTime(len(chunk)))
		if err := p.port.SetWriteDeadline(deadline); err != nil {
			return accepted, fmt.Errorf("set deadline: %w", err)
		}
		n, err := p.port.Write(chunk)
		accepted += n
		if err != nil {
			return accepted, err
		}
		if n < len(chunk) {
			return accepted, errShort
		}
	}
	return accepted, nil
}

var (
	errOpen  = errors.New("open printer")
	errShort = errors.New("the port took fewer bytes than it said")
	errSpins = errors.New("the port returns nothing and no error")
)

// listen reads answers until done says so, the deadline passes
// ([os.ErrDeadlineExceeded]), the context ends, or the line dies.
func (p *Printer) listen(ctx context.Context, deadline time.Time, done func(escpos.Reply) bool) error {
	port := p.port
	stop := context.AfterFunc(ctx, func() {
		port.SetReadDeadline(time.Unix(1, 0)) //nolint:errcheck // the read below reports
	})
	defer stop()
	found := false
	var buf [128]byte
	for empty := 0; empty < 100; {
		if err := port.SetReadDeadline(deadline); err != nil {
			return fmt.Errorf("set deadline: %w", err)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		n, err := port.Read(buf[:])
		p.replies.Feed(time.Now(), buf[:n], func(r escpos.Reply) {
			p.note(r)
			found = found || done(r)
		})
		switch {
		case found:
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, os.ErrDeadlineExceeded) && time.Now().Before(deadline):
			continue // the end of an earlier context came late
		case err != nil:
			return err
		case n == 0:
			empty++
		default:
			empty = 0
		}
	}
	return errSpins
}

// note keeps what every answer tells, whoever waits for it.
func (p *Printer) note(r escpos.Reply) {
	switch r.Kind {
	case escpos.ProcessID:
		if len(p.ids) == maxIDs {
			p.ids = p.ids[1:]
		}
		p.ids = append(p.ids, r.ID)
	case escpos.Unexpected:
		p.log.Warn("printer sent unexpected bytes", "hex", fmt.Sprintf("% x", r.Raw))
	}
}

const maxIDs = 16
