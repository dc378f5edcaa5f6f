package queue_test

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.etcd.io/bbolt"
	"pgregory.net/rapid"

	"github.com/ssg-safe/agent/queue"
	"github.com/ssg-safe/agent/store"
	"github.com/ssg-safe/agent/store/storetest"
)

var created = time.Date(2026, 7, 1, 12, 0, 0, 5, time.UTC)

func options(t testing.TB) store.Options {
	return storetest.Options(t, queue.Audit, queue.Migrations...)
}

func do(t testing.TB, s *store.Store, fn func(*bbolt.Tx) error) error {
	t.Helper()
	return s.Commit(t.Context(), store.Op{Name: t.Name(), Do: fn})
}

func job(op string) queue.Job {
	return queue.Job{Op: op, Kind: "print", Subject: "T1AB", State: "queued", Payload: json.RawMessage(`{"nsu":1}`), Created: created}
}

// put adds a job in a commit of its own.
func put(t testing.TB, s *store.Store, j queue.Job) (stored queue.Job) {
	t.Helper()
	err := do(t, s, func(tx *bbolt.Tx) (err error) {
		stored, err = queue.Put(tx, j)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return stored
}

func lists(t testing.TB, s *store.Store) (waiting, dead []queue.Job) {
	t.Helper()
	err := s.View(func(tx *bbolt.Tx) (err error) {
		if waiting, err = queue.List(tx); err != nil {
			return err
		}
		dead, err = queue.Dead(tx)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return waiting, dead
}

func TestLifeOfAJob(t *testing.T) {
	s := storetest.Run(t, options(t))
	j := put(t, s, job("slip/1"))
	want := job("slip/1")
	want.ID = 1
	if diff := cmp.Diff(want, j); diff != "" {
		t.Errorf("put (-want +got):\n%s", diff)
	}
	j.State, j.Attempts, j.Reason, j.Payload = "started", 1, "paper out", json.RawMessage(`{"nsu":1,"copy":2}`)
	if err := do(t, s, func(tx *bbolt.Tx) error { return queue.Update(tx, j) }); err != nil {
		t.Fatal(err)
	}
	if waiting, _ := lists(t, s); !cmp.Equal(waiting, []queue.Job{j}) {
		t.Errorf("after Update: %+v", waiting)
	}
	if err := do(t, s, func(tx *bbolt.Tx) error { return queue.Bury(tx, j.ID, "gave up") }); err != nil {
		t.Fatal(err)
	}
	j.Reason = "gave up"
	if waiting, dead := lists(t, s); len(waiting) != 0 || !cmp.Equal(dead, []queue.Job{j}) {
		t.Errorf("after Bury: %+v, %+v", waiting, dead)
	}
	if err := do(t, s, func(tx *bbolt.Tx) error { return queue.Revive(tx, j.ID) }); err != nil {
		t.Fatal(err)
	}
	j.Attempts = 0
	if waiting, dead := lists(t, s); len(dead) != 0 || !cmp.Equal(waiting, []queue.Job{j}) {
		t.Errorf("after Revive: %+v, %+v", waiting, dead)
	}
	if err := do(t, s, func(tx *bbolt.Tx) error { return queue.Remove(tx, j.ID) }); err != nil {
		t.Fatal(err)
	}
	if again := put(t, s, job("slip/1")); again.ID != 2 {
		t.Errorf("the id %d was given twice", again.ID)
	}
}

func TestOneJobForAnOperation(t *testing.T) {
	s := storetest.Run(t, options(t))
	first := put(t, s, job("slip/1"))
	for _, buried := range []bool{false, true} {
		if buried {
			if err := do(t, s, func(tx *bbolt.Tx) error { return queue.Bury(tx, first.ID, "") }); err != nil {
				t.Fatal(err)
			}
		}
		var got queue.Job
		err := do(t, s, func(tx *bbolt.Tx) (err error) {
			got, err = queue.Put(tx, job("slip/1"))
			return err
		})
		if !errors.Is(err, queue.ErrDuplicate) || got.ID != first.ID {
			t.Errorf("buried %v: job %d, %v; want job %d with ErrDuplicate", buried, got.ID, err, first.ID)
		}
	}
}

func TestRefusals(t *testing.T) {
	s := storetest.Run(t, options(t))
	j := put(t, s, job("slip/1"))
	with := func(change func(*queue.Job)) queue.Job {
		x := j
		change(&x)
		return x
	}
	tests := map[string]struct {
		do   func(*bbolt.Tx) error
		want error
	}{
		"put without op":   {func(tx *bbolt.Tx) error { _, err := queue.Put(tx, queue.Job{Kind: "k"}); return err }, queue.ErrJob},
		"put without kind": {func(tx *bbolt.Tx) error { _, err := queue.Put(tx, queue.Job{Op: "o"}); return err }, queue.ErrJob},
		"put broken JSON": {func(tx *bbolt.Tx) error {
			_, err := queue.Put(tx, queue.Job{Op: "o", Kind: "k", Payload: json.RawMessage("{")})
			return err
		}, queue.ErrJob},
		"put too large": {func(tx *bbolt.Tx) error {
			_, err := queue.Put(tx, queue.Job{Op: "o", Kind: "k", Reason: strings.Repeat("x", 64<<10)})
			return err
		}, queue.ErrJob},
		"update other op":      {func(tx *bbolt.Tx) error { return queue.Update(tx, with(func(j *queue.Job) { j.Op = "x" })) }, queue.ErrJob},
		"update other kind":    {func(tx *bbolt.Tx) error { return queue.Update(tx, with(func(j *queue.Job) { j.Kind = "x" })) }, queue.ErrJob},
		"update other subject": {func(tx *bbolt.Tx) error { return queue.Update(tx, with(func(j *queue.Job) { j.Subject = "x" })) }, queue.ErrJob},
		"update other time": {func(tx *bbolt.Tx) error {
			return queue.Update(tx, with(func(j *queue.Job) { j.Created = created.Add(1) }))
		}, queue.ErrJob},
		"update unknown":    {func(tx *bbolt.Tx) error { return queue.Update(tx, with(func(j *queue.Job) { j.ID = 9 })) }, queue.ErrNotFound},
		"remove unknown":    {func(tx *bbolt.Tx) error { return queue.Remove(tx, 9) }, queue.ErrNotFound},
		"bury unknown":      {func(tx *bbolt.Tx) error { return queue.Bury(tx, 9, "") }, queue.ErrNotFound},
		"revive the living": {func(tx *bbolt.Tx) error { return queue.Revive(tx, 1) }, queue.ErrNotFound},
		"drop the living":   {func(tx *bbolt.Tx) error { return queue.Drop(tx, 1) }, queue.ErrNotFound},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if err := do(t, s, test.do); !errors.Is(err, test.want) {
				t.Errorf("got %v, want %v", err, test.want)
			}
			if waiting, dead := lists(t, s); !cmp.Equal(waiting, []queue.Job{j}) || len(dead) != 0 {
				t.Errorf("the queue changed: %+v, %+v", waiting, dead)
			}
		})
	}
}

// TestAuditNotices damages a good queue behind the package's back.
// Whatever an operation id holds, it goes with its job.
func TestRemoveOddOperations(t *testing.T) {
	s := storetest.Run(t, options(t))
	for _, op := range []string{
		"charge/T1/slip", `"`, `\`, `a\`, `a","op":"b`, `,"op":"`, "<&>", "São", "\x00", "line\nline", "\u2028",
	} {
		err := do(t, s, func(tx *bbolt.Tx) error {
			j, err := queue.Put(tx, job(op))
			if err != nil {
				return err
			}
			if err := queue.Remove(tx, j.ID); err != nil {
				return err
			}
			if err := queue.Audit(tx); err != nil {
				return err
			}
			_, err = queue.Put(tx, job(op))
			return err
		})
		if err != nil {
			t.Errorf("%q: %v", op, err)
		}
	}
}

func TestAuditNotices(t *testing.T) {
	key := func(id uint64) []byte { return binary.BigEndian.AppendUint64(nil, id) }
	sealed := func(id uint64, text string) []byte { return store.Seal(key(id), []byte(text)) }
	tests := map[string]func(tx *bbolt.Tx) error{
		"flipped bit": func(tx *bbolt.Tx) error {
			b := tx.Bucket([]byte("queue"))
			row := bytes.Clone(b.Get(key(1)))
			row[len(row)-10] ^= 1
			return b.Put(key(1), row)
		},
		"not JSON":     func(tx *bbolt.Tx) error { return tx.Bucket([]byte("queue")).Put(key(1), sealed(1, "?")) },
		"under two":    func(tx *bbolt.Tx) error { return tx.Bucket([]byte("queue")).Put(key(1), sealed(1, `{"id":2}`)) },
		"row lost":     func(tx *bbolt.Tx) error { return tx.Bucket([]byte("queue")).Delete(key(1)) },
		"index lost":   func(tx *bbolt.Tx) error { return tx.Bucket([]byte("queue_ops")).Delete([]byte("slip/1")) },
		"index astray": func(tx *bbolt.Tx) error { return tx.Bucket([]byte("queue_ops")).Put([]byte("slip/1"), key(2)) },
		"index extra":  func(tx *bbolt.Tx) error { return tx.Bucket([]byte("queue_ops")).Put([]byte("ghost"), key(1)) },
		"twice": func(tx *bbolt.Tx) error {
			return tx.Bucket([]byte("queue_dead")).Put(key(1), tx.Bucket([]byte("queue")).Get(key(1)))
		},
		"id never given": func(tx *bbolt.Tx) error { return tx.Bucket([]byte("queue")).SetSequence(1) },
	}
	for name, damage := range tests {
		t.Run(name, func(t *testing.T) {
			o := options(t)
			o.Verify = nil // the end is meant to be broken
			s := storetest.Run(t, o)
			put(t, s, job("slip/1"))
			put(t, s, job("slip/2"))
			if err := s.View(queue.Audit); err != nil {
				t.Fatal(err)
			}
			if err := do(t, s, damage); err != nil {
				t.Fatal(err)
			}
			if err := s.View(queue.Audit); !errors.Is(err, queue.ErrBroken) {
				t.Errorf("got %v, want ErrBroken", err)
			}
		})
	}
}

func TestQueueAgainstModel(t *testing.T) {
	first := options(t)
	storetest.Create(t, first)
	empty, err := os.ReadFile(first.Path)
	if err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(r *rapid.T) {
		o := options(t)
		if err := os.WriteFile(o.Path, empty, 0o600); err != nil {
			t.Fatal(err)
		}
		s, stop := storetest.Start(t, o)
		defer func() { stop() }()
		var last uint64
		model := map[bool]map[uint64]queue.Job{false: {}, true: {}} // by dead
		has := func(op string) bool {
			for _, jobs := range model {
				for _, j := range jobs {
					if j.Op == op {
						return true
					}
				}
			}
			return false
		}
		// on draws an id and wants act to work exactly when it is among jobs.
		on := func(r *rapid.T, dead bool, act func(*bbolt.Tx, uint64) error) (queue.Job, bool) {
			id := rapid.Uint64Range(1, last+1).Draw(r, "id")
			j, ok := model[dead][id]
			err := do(t, s, func(tx *bbolt.Tx) error { return act(tx, id) })
			if ok && err != nil || !ok && !errors.Is(err, queue.ErrNotFound) {
				r.Fatalf("job %d is there: %v, but: %v", id, ok, err)
			}
			return j, ok
		}
		r.Repeat(map[string]func(*rapid.T){
			"put": func(r *rapid.T) {
				j := job(fmt.Sprintf("op-%d", rapid.IntRange(0, 6).Draw(r, "op")))
				var got queue.Job
				err := do(t, s, func(tx *bbolt.Tx) (err error) {
					got, err = queue.Put(tx, j)
					return err
				})
				switch {
				case has(j.Op) && !errors.Is(err, queue.ErrDuplicate), !has(j.Op) && err != nil:
					r.Fatalf("put %s: %v", j.Op, err)
				case err == nil:
					last++
					j.ID = last
					if !cmp.Equal(got, j) {
						r.Fatal(cmp.Diff(j, got))
					}
					model[false][j.ID] = j
				}
			},
			"update": func(r *rapid.T) {
				state := rapid.SampledFrom([]string{"queued", "started", "unknown"}).Draw(r, "state")
				if j, ok := on(r, false, func(tx *bbolt.Tx, id uint64) error {
					j, ok, err := queue.Get(tx, id)
					if err != nil || !ok {
						j.ID = id
					}
					j.State = state
					j.Attempts++
					return queue.Update(tx, j)
				}); ok {
					j.State = state
					j.Attempts++
					model[false][j.ID] = j
				}
			},
			"remove": func(r *rapid.T) {
				j, _ := on(r, false, queue.Remove)
				delete(model[false], j.ID)
			},
			"drop": func(r *rapid.T) {
				j, _ := on(r, true, queue.Drop)
				delete(model[true], j.ID)
			},
			"bury": func(r *rapid.T) {
				if j, ok := on(r, false, func(tx *bbolt.Tx, id uint64) error { return queue.Bury(tx, id, "why") }); ok {
					j.Reason = "why"
					delete(model[false], j.ID)
					model[true][j.ID] = j
				}
			},
			"revive": func(r *rapid.T) {
				if j, ok := on(r, true, queue.Revive); ok {
					j.Attempts = 0
					delete(model[true], j.ID)
					model[false][j.ID] = j
				}
			},
			"reopen": func(*rapid.T) {
				stop()
				s, stop = storetest.Start(t, o)
			},
			"": func(r *rapid.T) {
				waiting, dead := lists(t, s)
				for i, got := range [][]queue.Job{waiting, dead} {
					want := []queue.Job(nil)
					for _, j := range model[i == 1] {
						want = append(want, j)
					}
					slices.SortFunc(want, func(a, b queue.Job) int { return int(a.ID) - int(b.ID) })
					if diff := cmp.Diff(want, got); diff != "" {
						r.Fatalf("dead %v (-want +got):\n%s", i == 1, diff)
					}
				}
				if err := s.View(queue.Audit); err != nil {
					r.Fatal(err)
				}
			},
		})
	})
}
