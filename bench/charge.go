package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/gdamore/tcell/v2"

	"github.com/ssg-safe/agent/display"
	"github.com/ssg-safe/agent/money"
	"github.com/ssg-safe/agent/store"
)

const latencyTarget = 5 * time.Millisecond

// sample is what one charge took.
type sample struct {
	code, codeDisk time.Duration // confirmed → code drawn, without the provider; its two commits
	provider       time.Duration
	paid, paidDisk time.Duration // answer → "PAGO" drawn; its commit
}

// measureCharge makes charges one after the other, as people do at a kiosk.
func measureCharge(ctx context.Context, e *env, s *section) (err error) {
	dir := filepath.Join(e.dir, "charge")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	k, err := newKiosk(ctx, dir, 40*time.Millisecond)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, k.stop()) }()
	disk, err := newProbe(dir)
	if err != nil {
		return err
	}
	defer disk.close()
	if _, err := k.await(ctx, "the idle screen", state(display.Idle)); err != nil {
		return err
	}
	for i := range 5 { // the token, caches, and the display's first drawing of everything
		if _, err := k.charge(ctx, i); err != nil {
			return err
		}
	}
	n := e.count(400, 20)
	samples := make([]sample, 0, n)
	before, written := k.store.Stats(), int64(0)
	for i := range n {
		if err := disk.once(); err != nil {
			return err
		}
		from, err := ioField(os.Getpid(), "wchar")
		if err != nil {
			return err
		}
		one, err := k.charge(ctx, i)
		if err != nil {
			return fmt.Errorf("charge %d: %w", i+1, err)
		}
		to, err := ioField(os.Getpid(), "wchar")
		if err != nil {
			return err
		}
		samples, written = append(samples, one), written+to-from
	}
	reportCharge(s, samples, disk.took)
	reportWear(s, int64(n), before, k.store.Stats(), written)
	return nil
}

// charge types an amount, waits for code and payment, and leaves.
func (k *kiosk) charge(ctx context.Context, i int) (sample, error) {
	var one sample
	amount := money.Amount(1000 + 37*(i%97))
	for _, c := range strconv.Itoa(int(amount)) {
		k.term.Key(display.Key{Kind: display.Digit, Digit: int(c - '0')})
	}
	typed := func(d display.Drawn) bool { return d.View.State == display.Amount && d.View.Amount == amount }
	if _, err := k.await(ctx, "the amount", typed); err != nil {
		return one, err
	}
	confirmed := time.Now()
	k.glass.InjectKey(tcell.KeyEnter, 0, tcell.ModNone)
	code, err := k.await(ctx, "the code", func(d display.Drawn) bool { return d.QR })
	if err != nil {
		return one, err
	}
	asked := k.line.within(confirmed, code.at)
	one.provider = total(asked, len(asked))
	one.code = code.at.Sub(confirmed) - one.provider
	one.codeDisk = total(k.commit.within(confirmed, code.at), 2)

	paid, err := k.await(ctx, "PAGO", state(display.Paid))
	if err != nil {
		return one, err
	}
	answers := k.line.within(confirmed, paid.at) // the question may be older than the picture of the code
	if len(answers) == 0 {
		return one, errors.New("paid without an answer of the provider")
	}
	answered := answers[len(answers)-1].to
	one.paid = paid.at.Sub(answered)
	one.paidDisk = total(k.commit.within(answered, paid.at), 1)

	if err := k.quiet(ctx); err != nil {
		return one, err
	}
	k.glass.InjectKey(tcell.KeyEscape, 0, tcell.ModNone)
	_, err = k.await(ctx, "the idle screen", state(display.Idle))
	return one, err
}

func reportCharge(s *section, samples []sample, disk []time.Duration) {
	row := func(what, verdict string, of func(sample) time.Duration) []string {
		list := make([]time.Duration, len(samples))
		for i, one := range samples {
			list[i] = of(one)
		}
		return []string{what, ms(quantile(list, .5)), ms(quantile(list, .99)), verdict}
	}
	p99 := func(what string, of func(sample) time.Duration) string {
		list := make([]time.Duration, len(samples))
		for i, one := range samples {
			list[i] = of(one)
		}
		return s.target(what+" p99 ≤ 5 ms", quantile(list, .99) <= latencyTarget)
	}
	code := func(x sample) time.Duration { return x.code }
	paid := func(x sample) time.Duration { return x.paid }
	s.say("%d charges, one after the other, each with its slip and its receipt.", len(samples))
	s.table([][]string{
		{"", "p50", "p99", "target"},
		row("amount confirmed → code drawn, without the provider", p99("code", code), code),
		row("– of this two commits: intent, accepted code", "", func(x sample) time.Duration { return x.codeDisk }),
		row("– of this all else: loop, adapter, checks, drawing", "", func(x sample) time.Duration { return x.code - x.codeDisk }),
		row("provider answers \"paid\" → \"PAGO\" drawn, durable", p99("paid", paid), paid),
		row("– of this one commit", "", func(x sample) time.Duration { return x.paidDisk }),
		row("– of this all else", "", func(x sample) time.Duration { return x.paid - x.paidDisk }),
		{"the disk in the same run: 4 KiB and its fdatasync", ms(quantile(disk, .5)), ms(quantile(disk, .99)), ""},
		row("taken off: the provider, which is in memory and 20 ms away", "", func(x sample) time.Duration { return x.provider }),
	})
	all := func(name string, of func(sample) time.Duration) series {
		list := make([]time.Duration, len(samples))
		for i, one := range samples {
			list[i] = of(one)
		}
		return milliseconds(name, list)
	}
	const title = "How many of the charges took at most so long"
	s.picture("charge", title, plot{
		title: title, axis: "milliseconds", marks: []mark{{5, "target for 99 %: 5 ms"}},
		series: []series{
			all("confirmed → code drawn", code), all("– its two commits", func(x sample) time.Duration { return x.codeDisk }),
			all("paid → PAGO drawn", paid), all("– its commit", func(x sample) time.Duration { return x.paidDisk }),
			milliseconds("the disk: 4 KiB and fdatasync", disk),
		},
	}.curves())
	var codes, paids []float64
	for i, one := range samples {
		codes = append(codes, float64(one.code)/float64(disk[i]))
		paids = append(paids, float64(one.paid)/float64(disk[i]))
	}
	s.say("In units of that disk's write, medians of the ratios charge by charge: code %.1f, paid %.1f. Two commits are four flushes, one is two.",
		median(codes), median(paids))
}

func reportWear(s *section, n int64, before, after store.Stats, written int64) {
	per := func(v int64) string { return fmt.Sprintf("%.1f", float64(v)/float64(n)) }
	s.table([][]string{
		{"for one charge with slip and receipt, both confirmed by the printer", ""},
		{"commits", per(after.Commits - before.Commits)},
		{"operations handed to the committer", per(after.Ops - before.Ops)},
		{"flushes", per(after.Flushes - before.Flushes)},
		{"pages written by the store", bytesOf((after.Bytes - before.Bytes) / n)},
		{"handed to write calls by the whole process, as the kernel counts", bytesOf(written / n)},
	})
}

// ioField is a number in /proc/PID/io: wchar is what a process gave to write
// calls so far, write_bytes the pages it made dirty on disks. The latter counts
// a whole folio of up to 1 MiB for a write of 4 KiB where the filesystem has
// large folios, so it tells zero from something and no more.
func ioField(pid int, name string) (int64, error) {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/io", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(raw)) {
		if value, ok := strings.CutPrefix(line, name+": "); ok {
			return strconv.ParseInt(strings.TrimSpace(value), 10, 64)
		}
	}
	return 0, fmt.Errorf("/proc/%d/io has no %s", pid, name)
}
