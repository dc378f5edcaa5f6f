package main

import (
	"context"
	"database/sql"
	"errors"
	"path/filepath"

	"github.com/joncrlsn/dque"
	_ "modernc.org/sqlite" // database/sql driver "sqlite"
)

// subject is one way to make an operation durable.
type subject interface {
	// record returns when the operation would survive a power cut. Producers
	// call it concurrently, each with its own number.
	record(ctx context.Context, producer int, op string, payload []byte) error
	close() error
}

// dqueItem is what a dque holds; it is written with encoding/gob.
type dqueItem struct {
	Op   string
	Data []byte
}

// dqueSubject is a queue of segment files. Turbo is off, so that every item is
// flushed. It checks no id, chains nothing and knows no second job.
type dqueSubject struct{ queue *dque.DQue }

// dqueSegment is how many items a segment file takes: large, so that a run does
// not pay for new files.
const dqueSegment = 100_000

func newDque(dir string) (subject, error) {
	q, err := dque.NewOrOpen("queue", dir, dqueSegment, func() any { return new(dqueItem) })
	if err != nil {
		return nil, err
	}
	if q.Turbo() {
		return nil, errors.New("dque does not flush every item")
	}
	return dqueSubject{q}, nil
}

func (d dqueSubject) record(_ context.Context, _ int, op string, payload []byte) error {
	return d.queue.Enqueue(&dqueItem{op, payload})
}

func (d dqueSubject) close() error { return d.queue.Close() }

// sqliteSubject is an outbox table: one insert, one transaction, flushed by
// WAL and synchronous=FULL. One connection, because writers exclude each other
// anyway and would only wait for locks in their own time; a prepared statement.
// The key is the row's number, so that it, too, checks no id.
type sqliteSubject struct {
	db     *sql.DB
	insert *sql.Stmt
}

func newSQLite(dir string) (subject, error) {
	db, err := sql.Open("sqlite", "file:"+filepath.Join(dir, "outbox.db")+
		"?_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)&_pragma=busy_timeout(10000)&_txlock=immediate")
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(1)
	if _, err := db.Exec(`create table outbox (seq integer primary key, op text not null, data blob not null)`); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	insert, err := db.Prepare(`insert into outbox (op, data) values (?, ?)`)
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return sqliteSubject{db, insert}, nil
}

func (s sqliteSubject) record(ctx context.Context, _ int, op string, payload []byte) error {
	_, err := s.insert.ExecContext(ctx, op, payload)
	return err
}

func (s sqliteSubject) close() error { return s.db.Close() }
