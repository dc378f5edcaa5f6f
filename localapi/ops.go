package localapi

import (
	"bytes"
	"context"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"

	"go.etcd.io/bbolt"

	"github.com/ssg-safe/agent/ledger"
	"github.com/ssg-safe/agent/queue"
	"github.com/ssg-safe/agent/ticket"
)

func (s *Server) readStatus(w http.ResponseWriter, r *http.Request, _ *caller) error {
	if _, err := query(r.URL); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), handlerTime)
	defer cancel()
	st, err := s.Status(ctx)
	if err != nil {
		return err
	}
	open, err := s.Desk.Open()
	if err != nil {
		return err
	}
	for _, o := range open {
		st.Pending.Count++
		if st.Pending.Sum, err = st.Pending.Sum.Add(o.Charge.Amount); err != nil {
			return err
		}
		if at := o.Created; !at.IsZero() && (st.Pending.Oldest.IsZero() || at.Before(st.Pending.Oldest)) {
			st.Pending.Oldest = at
		}
	}
	stats := s.Store.Stats()
	st.Store = StoreStatus{Size: stats.Size, Free: stats.Free, Full: stats.Full, ReadOnly: stats.ReadOnly}
	err = s.Store.View(func(tx *bbolt.Tx) error {
		head, err := ledger.GetHead(tx)
		if err != nil {
			return err
		}
		st.Position = encodePosition(head.Position)
		jobs, err := queue.List(tx)
		if err != nil {
			return err
		}
		dead, err := queue.Dead(tx)
		if err != nil {
			return err
		}
		st.Printer.Waiting, st.Printer.Dead = len(jobs), len(dead)
		st.Tickets, err = ticket.Counted(tx, st.Clock.Time)
		return err
	})
	if err != nil {
		return err
	}
	s.write(w, http.StatusOK, "application/json", st)
	return nil
}

func (s *Server) readMetrics(w http.ResponseWriter, r *http.Request, _ *caller) error {
	if _, err := query(r.URL); err != nil {
		return err
	}
	all := s.count.all()
	if s.Metrics != nil {
		for name, n := range s.Metrics() {
			all[name] = n
		}
	}
	s.write(w, http.StatusOK, "application/json", all)
	return nil
}

// counters are the server's own.
type counters struct {
	requests atomic.Int64

	mu       sync.Mutex // guards refusals
	refusals map[Code]int64
}

func (c *counters) refused(code Code) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.refusals == nil {
		c.refusals = map[Code]int64{}
	}
	c.refusals[code]++
}

func (c *counters) all() map[string]int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := map[string]int64{"api.requests": c.requests.Load()}
	for code, n := range c.refusals {
		all["api.refused."+string(code)] = n
	}
	return all
}

// exportLedger writes entries exactly as they are stored, one a line.
func (s *Server) exportLedger(w http.ResponseWriter, r *http.Request, _ *caller) error {
	q, err := query(r.URL, "from", "last")
	if err != nil {
		return err
	}
	from, ok := decodePosition(q.Get("from"))
	if q.Has("from") && (!ok || q.Has("last")) {
		return refuse(BadRequest, "from must be EPOCH:SEQ, without last")
	}
	var head ledger.Head
	if err := s.Store.View(func(tx *bbolt.Tx) (err error) {
		head, err = ledger.GetHead(tx)
		return err
	}); err != nil {
		return err
	}
	if q.Has("last") {
		n, err := strconv.ParseUint(q.Get("last"), 10, 32)
		if err != nil || n == 0 {
			return refuse(BadRequest, "last must be a number of entries")
		}
		if err := s.Store.View(func(tx *bbolt.Tx) error {
			from, _ = ledger.Last(tx, n)
			return nil
		}); err != nil {
			return err
		}
	}
	w.Header().Set("Content-Type", "application/jsonl")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	for next := from; !head.Position.Before(next); {
		lines, last, err := s.lines(next)
		if err == nil {
			err = unhurried(w, writeTime)
		}
		if err == nil {
			_, err = w.Write(lines)
		}
		if err != nil {
			s.log.Warn("ledger export", "err", err)
			panic(http.ErrAbortHandler) // the client must not take it for complete
		}
		if len(lines) == 0 {
			break
		}
		next = ledger.Position{Epoch: last.Epoch, Seq: last.Seq + 1}
	}
	return nil
}

// lines reads a chunk of entries.
func (s *Server) lines(from ledger.Position) (lines []byte, last ledger.Position, err error) {
	err = s.Store.View(func(tx *bbolt.Tx) error {
		raws, err := ledger.Read(tx, from, chunk)
		if err != nil {
			return err
		}
		var b bytes.Buffer
		for _, raw := range raws {
			b.Write(raw.Bytes)
			b.WriteByte('\n')
			last = raw.Position
		}
		lines = b.Bytes()
		return nil
	})
	return lines, last, err
}

// Checked is what a check of the ledger found.
type Checked struct {
	OK      bool   `json:"ok"`
	Problem string `json:"problem,omitempty"`
	ledger.Report
}

// checking lets one check of the ledger run at a time.
var checking sync.Mutex

func (s *Server) checkLedger(w http.ResponseWriter, r *http.Request, _ *caller) error {
	if _, err := query(r.URL); err != nil {
		return err
	}
	if !checking.TryLock() {
		return refuse(Busy, "the ledger is being checked already")
	}
	defer checking.Unlock()
	if err := unhurried(w, checkTime); err != nil {
		return err
	}
	var found Checked
	err := s.Store.View(func(tx *bbolt.Tx) error {
		report, err := ledger.Verify(tx, ledger.Head{})
		if found = (Checked{OK: err == nil, Report: report}); err != nil {
			found.Problem = err.Error()
		}
		return nil
	})
	if err != nil {
		return err
	}
	s.write(w, http.StatusOK, "application/json", found)
	return nil
}

// Jobs are the queue: what waits, and the dead letters.
type Jobs struct {
	Waiting []queue.Job `json:"waiting"`
	Dead    []queue.Job `json:"dead"`
}

func (s *Server) listQueue(w http.ResponseWriter, r *http.Request, _ *caller) error {
	if _, err := query(r.URL); err != nil {
		return err
	}
	var jobs Jobs
	err := s.Store.View(func(tx *bbolt.Tx) (err error) {
		if jobs.Waiting, err = queue.List(tx); err != nil {
			return err
		}
		jobs.Dead, err = queue.Dead(tx)
		return err
	})
	if err != nil {
		return err
	}
	jobs.Waiting, jobs.Dead = append([]queue.Job{}, jobs.Waiting...), append([]queue.Job{}, jobs.Dead...)
	s.write(w, http.StatusOK, "application/json", jobs)
	return nil
}

// Settled are the jobs that were retried or dropped.
type Settled struct {
	Jobs []queue.Job `json:"jobs"`
}

func (s *Server) retryJobs(w http.ResponseWriter, r *http.Request, _ *caller) error {
	return s.settle(w, r, true)
}

func (s *Server) dropJobs(w http.ResponseWriter, r *http.Request, _ *caller) error {
	return s.settle(w, r, false)
}

func (s *Server) settle(w http.ResponseWriter, r *http.Request, retry bool) error {
	if _, err := query(r.URL); err != nil {
		return err
	}
	body, err := s.body(w, r)
	if err != nil {
		return err
	}
	ids, err := decodeJobs(body)
	if err != nil {
		return err
	}
	if err := s.writable(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), handlerTime)
	defer cancel()
	jobs, err := s.Desk.Settle(ctx, retry, ids)
	if err != nil {
		return err
	}
	s.write(w, http.StatusOK, "application/json", Settled{append([]queue.Job{}, jobs...)})
	return nil
}
