package store

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"slices"
	"time"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

const (
	// maxWaiting bounds the operations that wait for the committer.
	maxWaiting = 4096
	// maxGroup bounds the operations of one commit.
	maxGroup = 512
	// opPages is what one New operation is reckoned to need at most, so that a
	// large group cannot eat the reserve.
	opPages = 32
	// readerPatience is how long a commit that has no room waits for open readers.
	readerPatience = 10 * time.Second
)

// Op is one unit of work: all of it is in a commit, or none.
type Op struct {
	// Name for logs, such as "charge.create".
	Name string
	// New: a new obligation; refused with ErrFull at the soft limit.
	New bool
	// Frees: it deletes, or is needed before something can be deleted. It alone
	// may use the last of the reserve, and must not be New.
	Frees bool
	// Do works on the transaction and nothing else: it may run more than once.
	// If it returns an error the operation leaves no trace and Done gets that
	// error; the others of the group are not harmed.
	Do func(*bbolt.Tx) error
	// Done is called exactly once, with nil after the commit is durable. It
	// must not block. Committer and Submit call it. May be nil.
	Done func(error)
}

func (op Op) done(err error) {
	if op.Done != nil {
		op.Done(err)
	}
}

// Submit hands an operation to the committer and never waits for the disk. If
// it cannot be taken, Done is called at once with ErrBusy, ErrClosed,
// ErrReadOnly or ErrOutcomeUnknown. Operations are done in the order of Submit.
func (s *Store) Submit(op Op) {
	if err := s.enqueue(op); err != nil {
		s.stats.refused.Add(1)
		op.done(err)
		return
	}
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

func (s *Store) enqueue(op Op) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.readOnly != "":
		return fmt.Errorf("%w: %s", ErrReadOnly, s.readOnly)
	case s.state == broken:
		return s.err
	case s.state == closed:
		return ErrClosed
	case len(s.waiting) >= maxWaiting:
		return ErrBusy
	}
	s.waiting = append(s.waiting, op)
	return nil
}

// Commit submits op and waits for its outcome. When ctx ends first, the
// operation may still be committed.
func (s *Store) Commit(ctx context.Context, op Op) error {
	result := make(chan error, 1)
	then := op.Done
	op.Done = func(err error) {
		if then != nil {
			then(err)
		}
		result <- err
	}
	s.Submit(op)
	select {
	case err := <-result:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Run is the committer. It returns nil when ctx ends, after committing what was
// waiting by then, and an error that wraps ErrOutcomeUnknown when a commit
// failed. It does not close the file.
func (s *Store) Run(ctx context.Context) error {
	for {
		stopping := false
		select {
		case <-s.wake:
		case <-ctx.Done():
			stopping = true
			s.mu.Lock()
			if s.state == accepting {
				s.state = closed
			}
			s.mu.Unlock()
		}
		for {
			group := s.take()
			if len(group) == 0 {
				break
			}
			if err := s.commitGroup(group); err != nil {
				return err
			}
			s.gather(len(group))
		}
		if stopping {
			return nil
		}
	}
}

// gather lets the producers that Done woke submit again, so that the next commit
// carries all of them and not only the first. It ends when as many wait as the
// last commit carried, and after some microseconds in any case: one yield is not
// enough where another processor resumes the committer at once.
func (s *Store) gather(last int) {
	for range min(8*last, 256) {
		runtime.Gosched()
		s.mu.Lock()
		n := len(s.waiting)
		s.mu.Unlock()
		if n >= last {
			return
		}
	}
}

// take returns what is waiting. The slice is valid until the next call.
func (s *Store) take() []Op {
	s.mu.Lock()
	defer s.mu.Unlock()
	group := s.waiting
	clear(s.spare[:cap(s.spare)])
	s.waiting, s.spare = s.spare[:0], group
	return group
}

// commitGroup commits ops in order, in as few commits as size and space allow.
func (s *Store) commitGroup(ops []Op) error {
	for len(ops) > 0 {
		n, full := s.fit(ops)
		results, err := s.try(ops[:n], full)
		for errors.Is(err, errNoRoom) {
			switch {
			case !full:
				full = true
				results, err = s.try(ops[:n], full)
			case n > 1: // what a small commit replaces is free for the next one
				n /= 2
				results, err = s.try(ops[:n], full)
			default:
				results, err = s.squeeze(ops[:n])
			}
		}
		if err != nil {
			s.fail(err)
			for _, op := range ops {
				op.done(s.err)
			}
			return s.err
		}
		for i, result := range results {
			ops[i].done(result)
		}
		ops = ops[n:]
	}
	return nil
}

// fit decides how many of ops go into the next commit, and whether New ones are
// refused.
func (s *Store) fit(ops []Op) (n int, full bool) {
	spare := s.free() - s.reserve
	if spare < 0 {
		return min(len(ops), maxGroup), true
	}
	fresh := 1 + spare/opPages
	for n = range min(len(ops), maxGroup) {
		if ops[n].New {
			if fresh == 0 {
				return n, false
			}
			fresh--
		}
	}
	return n + 1, false
}

// try runs the group in one transaction and returns the result of each. An
// operation that fails is left out and the others run again in a fresh
// transaction. All learn their result after the commit, the failed ones too:
// what they saw may rest on the others. After an error there are no results.
func (s *Store) try(ops []Op, full bool) (results []error, err error) {
	if s.free() < s.last && slices.ContainsFunc(ops, func(op Op) bool { return !op.New && !op.Frees }) {
		return nil, errNoRoom
	}
	results = make([]error, len(ops))
	refused := 0
	if full {
		refused = refuseNew(ops, results)
	}
	for skip := refused; skip < len(ops); skip++ {
		bad, err := s.attempt(ops, results)
		if err != nil {
			return nil, err
		}
		if bad < 0 {
			s.stats.commits.Add(1)
			s.stats.ops.Add(int64(len(ops) - skip))
			break
		}
	}
	s.stats.refused.Add(int64(refused))
	return results, nil
}

// refuseNew gives ErrFull to the New operations.
func refuseNew(ops []Op, results []error) (n int) {
	for i := range ops {
		if ops[i].New {
			results[i] = ErrFull
			n++
		}
	}
	return n
}

// squeeze commits the one operation for which there is no room while readers are
// open: without them every page that is free can be used. What still finds no room
// is refused; bbolt has written nothing.
func (s *Store) squeeze(op []Op) (results []error, err error) {
	open := s.keepReadersOut()
	results, err = s.try(op, true)
	open()
	if errors.Is(err, errNoRoom) {
		s.log.Error("the store has no room left", "op", op[0].Name)
		s.stats.refused.Add(1)
		return []error{ErrFull}, nil
	}
	return results, err
}

// keepReadersOut returns when nobody reads, and lets no one in before open is
// called. Readers get readerPatience to end, once: one that does not may be
// waiting for the committer itself.
func (s *Store) keepReadersOut() (open func()) {
	alone, left := make(chan struct{}), make(chan struct{})
	s.mu.Lock()
	if s.alone = alone; s.readers > 0 && !s.stuck {
		s.left = left
	} else {
		close(left)
	}
	s.mu.Unlock()
	end := time.NewTimer(readerPatience)
	defer end.Stop()
	select {
	case <-left:
	case <-end.C:
		s.log.Warn("a reader keeps pages of the full store", "waited", readerPatience)
		s.mu.Lock()
		s.left, s.stuck = nil, s.readers > 0
		s.mu.Unlock()
	}
	return func() {
		s.mu.Lock()
		s.alone = nil
		s.readers, s.gated = s.readers+s.gated, 0
		s.mu.Unlock()
		close(alone)
	}
}

// attempt runs the operations that have no result yet and commits. It returns
// the index of an operation that failed, with everything rolled back and its
// result set, or -1 after the commit. Any error but errNoRoom ends the store.
func (s *Store) attempt(ops []Op, results []error) (bad int, err error) {
	tx, err := s.db.Begin(true)
	if err != nil {
		return -1, err
	}
	current := ""
	defer func() {
		if p := recover(); p != nil {
			bad, err = -1, s.panicked(current, p)
			_ = guard(tx.Rollback) // lets Close end; the store is over in any case
		}
	}()
	for i := range ops {
		if results[i] != nil {
			continue
		}
		current = ops[i].Name
		if err := ops[i].Do(tx); err != nil {
			results[i] = err
			return i, tx.Rollback()
		}
	}
	return -1, s.finish(tx)
}

func (s *Store) panicked(op string, p any) error {
	s.log.Error("panic in a transaction", "op", op, "panic", p, "stack", string(debug.Stack()))
	return fmt.Errorf("operation %q: panic: %v", op, p)
}

// errNoRoom is the one error of a commit whose outcome is known: bbolt looks for
// free pages before it writes the first byte. It comes up when readers hold the
// pages that former commits have replaced, and for rows of more than half a page,
// which need free pages in a row.
var errNoRoom = bolterrors.ErrMaxSizeReached

// finish commits tx. While it does, readers that see the transaction already
// wait for its end.
func (s *Store) finish(tx *bbolt.Tx) (err error) {
	id := int64(tx.ID())
	ended := make(chan struct{})
	s.inFlight.Store(&ended)
	defer func() {
		if p := recover(); p != nil {
			err = s.panicked("commit", p)
		}
		if err != nil && !errors.Is(err, errNoRoom) {
			s.mark(err)
		}
		close(ended)
	}()
	if err := s.commit(tx); err != nil {
		return err
	}
	s.durable.Store(id)
	return s.db.View(func(tx *bbolt.Tx) error {
		s.stats.highWater.Store(tx.Size() / pageSize)
		return nil
	})
}

// mark makes the store refuse everything, before any reader that waited for the
// commit goes on.
func (s *Store) mark(cause error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state != broken {
		s.state = broken
		s.err = fmt.Errorf("%w: %w", ErrOutcomeUnknown, cause)
	}
}

// fail ends the store: nothing is accepted, read or written any more.
func (s *Store) fail(cause error) {
	s.mark(cause)
	s.mu.Lock()
	left := slices.Clone(s.waiting)
	s.waiting = nil
	s.mu.Unlock()
	s.log.Error("commit failed; the process must end", "err", cause)
	close(s.failed)
	for _, op := range left {
		op.done(s.err)
	}
}
