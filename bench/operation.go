package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/bbolt"

	"github.com/ssg-safe/agent/ledger"
	"github.com/ssg-safe/agent/queue"
	"github.com/ssg-safe/agent/store"
)

// payloadSize is the content of one operation in bytes, the same for all.
const payloadSize = 350

// content is that content; the peers get its bytes ready-made.
type content struct {
	Note string `json:"note"`
}

// ours is the durable operation as the terminal does it: the operation id is
// looked up, an entry is chained, indexed and made the head, and a job is put,
// in one transaction, through the committer. With it the producer's former job
// goes, which is done by then: a terminal's queue is short. The content, the job
// and the envelope, which is about as much again, are encoded within it; the
// peers get bytes.
type ours struct {
	store *store.Store
	stop  context.CancelFunc
	ended chan error
	jobs  []uint64 // each producer's last
}

func newOurs(ctx context.Context, dir string, size int64) (*ours, error) {
	o := store.Options{
		Path: filepath.Join(dir, "store.db"), Size: size,
		Migrations: slices.Concat(ledger.Migrations, queue.Migrations),
	}
	if err := store.Create(ctx, o); err != nil {
		return nil, err
	}
	st, err := store.Open(o)
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(ctx))
	u := &ours{store: st, stop: stop, ended: make(chan error, 1), jobs: make([]uint64, slices.Max(producers))}
	go func() { u.ended <- st.Run(ctx) }()
	return u, nil
}

var (
	stamp = ledger.Stamp{
		Wall: time.Date(2026, 1, 2, 15, 4, 5, 0, time.UTC), Boot: "4be0643f-1d98-573b-97cd-ca98a65347dd", Up: time.Hour, Quality: ledger.Synced,
	}
	postings = []ledger.Posting{{Account: ledger.PixClearing, Amount: 1050}, {Account: ledger.Sales, Amount: -1050}}
)

func (u *ours) record(ctx context.Context, producer int, op string, payload []byte) error {
	var data content
	data.Note = string(payload[len(`{"note":"`) : len(payload)-len(`"}`)])
	var job queue.Job
	err := u.store.Commit(ctx, store.Op{Name: "bench", New: true, Do: func(tx *bbolt.Tx) error {
		draft := ledger.Draft{Op: op, Kind: "charge.paid", Actor: "terminal", Postings: postings, Data: data}
		if _, err := ledger.Append(tx, stamp, draft); err != nil {
			return err
		}
		if old := u.jobs[producer]; old != 0 {
			if err := queue.Remove(tx, old); err != nil {
				return err
			}
		}
		var err error
		job, err = queue.Put(tx, queue.Job{Op: op, Kind: "print", State: "queued", Subject: op, Created: stamp.Wall})
		return err
	}})
	if err == nil {
		u.jobs[producer] = job.ID
	}
	return err
}

func (u *ours) close() error {
	u.stop()
	return errors.Join(<-u.ended, u.store.Close())
}

// payload is the content's bytes.
func payload() []byte {
	raw, err := json.Marshal(content{strings.Repeat("x", payloadSize-len(`{"note":""}`))})
	if err != nil {
		panic(err)
	}
	return raw
}

// producers that record at the same time.
var producers = []int{1, 8, 32}

// contest is the state of the comparison.
type contest struct {
	names    []string
	subjects []subject
	us       *ours
	disk     *probe
	next     atomic.Int64
	rates    map[int][][]float64 // by producers, subject: operations a second, round by round
	// By producers: our operations and pages in a commit, and how many commits a second
	// we and the bare disk made of so many pages.
	group, pages, commits, bare map[int][]float64
}

// measureOperation lets all subjects take turns on one disk: first by
// themselves, then while others flush all the time, because what a flush costs
// decides what putting many operations into one commit gains.
func measureOperation(ctx context.Context, e *env, s *section) error {
	cell := 200 * time.Millisecond
	if e.quick {
		cell = 100 * time.Millisecond
	}
	for _, t := range []struct {
		rivals, rounds int
		gated          bool
	}{{0, e.count(30, 4), true}, {rivals, e.count(15, 2), false}} {
		dir := filepath.Join(e.dir, fmt.Sprintf("operation-%d", t.rivals))
		if err := os.Mkdir(dir, 0o700); err != nil {
			return err
		}
		c, err := hold(ctx, dir, t.rounds, cell, t.rivals)
		if err != nil {
			return err
		}
		if t.rivals == 0 {
			s.say("%d rounds of %v for each, taking turns; %d bytes of content; ratios are medians of the ratios round by round, quartiles in brackets.",
				t.rounds, cell, payloadSize)
		} else {
			s.say("The same, %d rounds, while %d others write 4 KiB and flush all the time:", t.rounds, t.rivals)
		}
		c.report(s, t.gated)
		if err := os.RemoveAll(dir); err != nil {
			return err
		}
	}
	return nil
}

// rivals is how many others flush in the second half.
const rivals = 4

// hold holds a contest in dir.
func hold(ctx context.Context, dir string, rounds int, cell time.Duration, rivals int) (c *contest, err error) {
	c = &contest{
		names: []string{"this store", "dque", "SQLite"}, rates: map[int][][]float64{},
		group: map[int][]float64{}, pages: map[int][]float64{}, commits: map[int][]float64{}, bare: map[int][]float64{},
	}
	for _, n := range producers {
		c.rates[n] = make([][]float64, len(c.names))
	}
	if c.disk, err = newProbe(dir); err != nil {
		return nil, err
	}
	defer c.disk.close()
	stop, err := disturb(dir, rivals)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, stop(), c.shut()) }()
	for round := range rounds {
		if err := c.open(ctx, dir, round); err != nil {
			return nil, err
		}
		if err := c.round(ctx, round, cell); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// disturb lets others write and flush until stop is called.
func disturb(dir string, others int) (stop func() error, err error) {
	var wg sync.WaitGroup
	var ended atomic.Bool
	errs := make([]error, others)
	for i := range others {
		own := filepath.Join(dir, fmt.Sprintf("rival-%d", i))
		if err := os.Mkdir(own, 0o700); err != nil {
			return nil, err
		}
		p, err := newProbe(own)
		if err != nil {
			return nil, err
		}
		wg.Go(func() {
			for !ended.Load() && errs[i] == nil {
				errs[i] = p.once()
				p.took = p.took[:0]
			}
			errs[i] = errors.Join(errs[i], p.close())
		})
	}
	return func() error {
		ended.Store(true)
		wg.Wait()
		return errors.Join(errs...)
	}, nil
}

// open makes new files for all when ours fills up.
func (c *contest) open(ctx context.Context, dir string, round int) error {
	const size = 512 << 20
	if c.us != nil && c.us.store.Stats().Free > size/2 {
		return nil
	}
	if err := c.shut(); err != nil {
		return err
	}
	dir = filepath.Join(dir, fmt.Sprint(round))
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	us, err := newOurs(ctx, dir, size)
	if err != nil {
		return err
	}
	c.us, c.subjects = us, []subject{us}
	for _, peer := range []func(string) (subject, error){newDque, newSQLite} {
		p, err := peer(dir)
		if err != nil {
			return errors.Join(err, c.shut())
		}
		c.subjects = append(c.subjects, p)
	}
	return nil
}

func (c *contest) shut() error {
	var errs []error
	for _, s := range c.subjects {
		errs = append(errs, s.close())
	}
	c.us, c.subjects = nil, nil
	return errors.Join(errs...)
}

// round lets each subject work once for each number of producers. Who begins
// changes from round to round.
func (c *contest) round(ctx context.Context, round int, cell time.Duration) error {
	data := payload()
	for _, n := range producers {
		for i := range c.subjects {
			i = (i + round) % len(c.subjects)
			before := c.us.store.Stats()
			rate, err := c.cell(ctx, c.subjects[i], n, cell, data)
			if err != nil {
				return fmt.Errorf("%s, %d producers: %w", c.names[i], n, err)
			}
			c.rates[n][i] = append(c.rates[n][i], rate)
			if c.subjects[i] == subject(c.us) {
				after := c.us.store.Stats()
				commits := float64(after.Commits - before.Commits)
				group := float64(after.Ops-before.Ops) / commits
				c.group[n] = append(c.group[n], group)
				c.pages[n] = append(c.pages[n], float64(after.Bytes-before.Bytes)/4096/commits)
				c.commits[n] = append(c.commits[n], rate/group)
			}
		}
		bare, err := c.bareCell(int(c.pages[n][round]+.5), cell)
		if err != nil {
			return err
		}
		c.bare[n] = append(c.bare[n], bare)
		for range 50 {
			if err := c.disk.once(); err != nil {
				return err
			}
		}
	}
	return nil
}

// cell is one subject's turn: n producers, each recording one operation after
// the other. It returns operations a second.
func (c *contest) cell(ctx context.Context, s subject, n int, length time.Duration, data []byte) (float64, error) {
	var wg sync.WaitGroup
	var done atomic.Int64
	errs := make([]error, n)
	began := time.Now()
	for i := range n {
		wg.Go(func() {
			for time.Since(began) < length && errs[i] == nil {
				op := fmt.Sprintf("charge/B00101M8023P%09d/payment/1", c.next.Add(1))
				if errs[i] = s.record(ctx, i, op, data); errs[i] == nil {
					done.Add(1)
				}
			}
		})
	}
	wg.Wait()
	return float64(done.Load()) / time.Since(began).Seconds(), errors.Join(errs...)
}

// bareCell is the turn of the disk without a store: commits a second of so many pages.
func (c *contest) bareCell(pages int, length time.Duration) (float64, error) {
	began, done := time.Now(), 0
	for time.Since(began) < length {
		if err := c.disk.bare(pages); err != nil {
			return 0, err
		}
		done++
	}
	return float64(done) / time.Since(began).Seconds(), nil
}

// report forms ratios within rounds, and tells their medians.
func (c *contest) report(s *section, gated bool) {
	var strips []series
	out := [][]string{{"producers", "this store, full operation", "in a commit", "its pages", "÷ those pages alone", "dque, enqueue", "SQLite, insert", "÷ dque", "÷ SQLite", "target"}}
	ratios := func(us, them []float64) (list []float64) {
		for i := range us {
			list = append(list, us[i]/them[i])
		}
		return list
	}
	spread := func(list []float64) string {
		return fmt.Sprintf("%.2f [%.2f–%.2f]", median(list), quantile(list, .25), quantile(list, .75))
	}
	for _, n := range producers {
		us := c.rates[n][0]
		ratio := func(peer int) (string, float64) {
			list := ratios(us, c.rates[n][peer])
			strips = append(strips, series{fmt.Sprintf("producers: %d, ÷ %s", n, c.names[peer]), list})
			return spread(list), median(list)
		}
		toDque, a := ratio(1)
		toSQLite, b := ratio(2)
		verdict := "none"
		if least := map[int]float64{8: 1.3, 32: 2}[n]; gated && least != 0 {
			verdict = s.target(fmt.Sprintf("%d producers ≥ %.1f×", n, least), a >= least && b >= least)
		}
		out = append(out, []string{
			fmt.Sprint(n), perSecond(us), fmt.Sprintf("%.1f", median(c.group[n])),
			fmt.Sprintf("%.1f", median(c.pages[n])), spread(ratios(c.commits[n], c.bare[n])), perSecond(c.rates[n][1]), perSecond(c.rates[n][2]),
			toDque, toSQLite, verdict,
		})
	}
	s.table(out)
	title, name := "Our operations for each of the peers', in every round, and the median", "operation"
	if !gated {
		title, name = title+"; a busy disk", name+"-busy"
	}
	s.picture(name, title, plot{title: title, axis: "ratio", marks: []mark{{1, "as many"}}, series: strips}.strips())
	s.say("The disk in the same run: 4 KiB and its fdatasync p50 %s, p99 %s.", ms(quantile(c.disk.took, .5)), ms(quantile(c.disk.took, .99)))
}

func perSecond(rates []float64) string { return fmt.Sprintf("%.0f/s", median(rates)) }
